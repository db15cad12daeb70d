/* SPDX-License-Identifier: Apache-2.0 */
/* US-206, US-208: files that the host supplies, by stdio and by descriptors. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOSTS "/etc/hosts"

/** The whole of a file by reads of a size; NULL: it cannot be opened. */
static const char *content(const char *path, size_t step) {
  static char text[65536];
  size_t n = 0;
  int fd = open(path, O_RDONLY);
  if (fd < 0) return NULL;
  for (ssize_t got = 1; got > 0 && n + step < sizeof text; n += (size_t)got) {
    got = read(fd, text + n, step);
    CHECK(got >= 0);
    if (got < 0) break;
  }
  text[n] = '\0';
  CHECK_INT(close(fd), 0);
  return text;
}

static void us_206_fopen_reads_what_the_host_supplies(void) {
  char text[4096], first[4096];
  FILE *f = fopen(HOSTS, "r");
  CHECK(f != NULL);
  if (!f) return;
  size_t n = fread(text, 1, sizeof text - 1, f);
  text[n] = '\0';
  CHECK(strstr(text, "listed.warp.local") != NULL);
  CHECK(feof(f));
  CHECK(!ferror(f));
  rewind(f);
  CHECK(!feof(f));
  CHECK(fgets(first, sizeof first, f) != NULL);
  CHECK(strncmp(text, first, strlen(first)) == 0);
  CHECK_INT(fseek(f, 5, SEEK_SET), 0);
  CHECK_INT(getc(f), (unsigned char)text[5]);
  CHECK_INT(ftell(f), 6);
  CHECK_INT(fclose(f), 0);
}

static void us_206_open_and_read(void) {
  static char whole[65536];
  const char *text = content(HOSTS, 4096);
  CHECK(text && strstr(text, "listed.warp.local"));
  if (!text) return;
  strcpy(whole, text);
  CHECK_TEXT(content(HOSTS, 1), whole);
  CHECK_TEXT(content(HOSTS, 16), whole);
  CHECK_TEXT(content("/etc/../etc//hosts", 4096), whole);
}

static void us_206_writing_is_refused(void) {
  errno = 0;
  CHECK(!fopen(HOSTS, "w"));
  CHECK_INT(errno, EROFS);
  errno = 0;
  CHECK(!fopen(HOSTS, "a"));
  CHECK_INT(errno, EROFS);
  errno = 0;
  CHECK(!fopen(HOSTS, "r+"));
  CHECK_INT(errno, EROFS);
  errno = 0;
  CHECK_INT(open(HOSTS, O_WRONLY), -1);
  CHECK_INT(errno, EROFS);
  errno = 0;
  CHECK_INT(open(HOSTS, O_RDONLY | O_CREAT | O_EXCL, 0600), -1);
  CHECK_INT(errno, EEXIST);
  int fd = open(HOSTS, O_RDONLY);
  errno = 0;
  CHECK_INT(write(fd, "x", 1), -1);
  CHECK_INT(errno, EBADF);
  errno = 0;
  CHECK_INT(pwrite(fd, "x", 1, 0), -1);
  CHECK_INT(errno, EBADF);
  errno = 0;
  CHECK_INT(ftruncate(fd, 0), -1);
  CHECK_INT(errno, EINVAL);
  close(fd);
}

/** The host says EPERM. */
static void us_206_writing_to_what_was_opened_to_read(void) {
  int fd = open("/real/check.h", O_RDONLY);
  CHECK(fd >= 0);
  errno = 0;
  CHECK_INT(write(fd, "x", 1), -1);
  CHECK_INT(errno, EBADF);
  close(fd);
}

static void us_206_one_file_has_one_inode(void) {
  struct stat a = {0}, b = {0};
  CHECK_INT(stat(HOSTS, &a), 0);
  CHECK_INT(stat("/etc/..//etc/./hosts", &b), 0);
  CHECK(a.st_ino == b.st_ino);
  CHECK_INT(stat("/etc", &b), 0);
  CHECK(a.st_ino != b.st_ino);
}

static void us_206_links(void) {
  char path[PATH_MAX];
  errno = 0;
  CHECK_INT(readlink(HOSTS, path, sizeof path), -1);
  CHECK_INT(errno, EINVAL);
  errno = 0;
  CHECK_INT(readlink("/etc/no-such-file", path, sizeof path), -1);
  CHECK_INT(errno, ENOENT);
  CHECK_TEXT(realpath("/etc/../etc/hosts", path), HOSTS);
  errno = 0;
  CHECK(!realpath("/etc/no-such-file", path));
  CHECK_INT(errno, ENOENT);
}

/** What programs do to files that they read only. */
static void us_206_advice_and_sync_do_nothing(void) {
  int fd = open(HOSTS, O_RDONLY);
  CHECK(fd >= 0);
  CHECK_INT(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
  CHECK_INT(fsync(fd), 0);
  CHECK_INT(fdatasync(fd), 0);
  close(fd);
}

static void us_206_the_root_is_a_folder(void) {
  struct stat s = {0};
  CHECK_INT(stat("/", &s), 0);
  CHECK(S_ISDIR(s.st_mode));
  int root = open("/", O_RDONLY | O_DIRECTORY);
  CHECK(root >= 0);
  int fd = openat(root, "etc/hosts", O_RDONLY);
  CHECK(fd >= 0);
  close(fd);
  close(root);
  CHECK_INT(chdir("/etc"), 0);
  fd = open("hosts", O_RDONLY);
  CHECK(fd >= 0);
  close(fd);
  CHECK_INT(chdir("/"), 0);
}

static void us_208_seeking(void) {
  char whole[4096], part[8];
  int fd = open(HOSTS, O_RDONLY);
  CHECK(fd >= 0);
  ssize_t size = read(fd, whole, sizeof whole);
  CHECK(size > 20);
  CHECK_INT(lseek(fd, 0, SEEK_CUR), size);
  CHECK_INT(lseek(fd, 3, SEEK_SET), 3);
  CHECK_INT(read(fd, part, sizeof part), sizeof part);
  CHECK(memcmp(part, whole + 3, sizeof part) == 0);
  CHECK_INT(lseek(fd, -4, SEEK_END), size - 4);
  CHECK_INT(read(fd, part, sizeof part), 4);
  CHECK_INT(lseek(fd, 100, SEEK_END), size + 100);
  CHECK_INT(read(fd, part, sizeof part), 0);
  CHECK_INT(lseek(fd, -1, SEEK_SET), -1);
  CHECK_INT(pread(fd, part, 4, 2), 4);
  CHECK(memcmp(part, whole + 2, 4) == 0);
  close(fd);
}

static void us_208_two_descriptors_are_independent(void) {
  char a[8], b[8];
  int one = open(HOSTS, O_RDONLY), two = open(HOSTS, O_RDONLY);
  CHECK(one >= 0 && two >= 0 && one != two);
  CHECK_INT(read(one, a, 8), 8);
  CHECK_INT(read(one, a, 8), 8);
  CHECK_INT(read(two, b, 8), 8);
  CHECK_INT(lseek(one, 0, SEEK_CUR), 16);
  CHECK_INT(lseek(two, 0, SEEK_CUR), 8);
  CHECK_INT(close(one), 0);
  CHECK_INT(read(two, b, 8), 8);
  CHECK(memcmp(a, b, 8) == 0);
  CHECK_INT(close(two), 0);
  errno = 0;
  CHECK_INT(read(two, b, 8), -1);
  CHECK_INT(errno, EBADF);
}

static void us_206_stat_and_access(void) {
  struct stat s = {0}, t = {0};
  const char *text = content(HOSTS, 4096);
  CHECK_INT(stat(HOSTS, &s), 0);
  CHECK(S_ISREG(s.st_mode));
  CHECK_INT(s.st_size, text ? (long long)strlen(text) : -1);
  int fd = open(HOSTS, O_RDONLY);
  CHECK_INT(fstat(fd, &t), 0);
  CHECK_INT(t.st_size, s.st_size);
  CHECK(S_ISREG(t.st_mode));
  close(fd);
  CHECK_INT(access(HOSTS, F_OK), 0);
  CHECK_INT(access(HOSTS, R_OK), 0);
  CHECK_INT(stat("/etc", &s), 0);
  CHECK(S_ISDIR(s.st_mode));
}

static void us_206_poll(void) {
  struct pollfd p = {.fd = open(HOSTS, O_RDONLY), .events = POLLIN};
  CHECK(p.fd >= 0);
  CHECK_INT(poll(&p, 1, 1000), 1);
  CHECK_INT(p.revents & POLLIN, POLLIN);
  close(p.fd);
}

static void open_and_close(int times, int first) {
  for (int i = 0; i < times; i++) {
    char byte;
    int fd = open(HOSTS, O_RDONLY);
    CHECK_INT(fd, first);
    CHECK_INT(read(fd, &byte, 1), 1);
    CHECK_INT(close(fd), 0);
    FILE *f = fopen(HOSTS, "r");
    CHECK(f && fgetc(f) != EOF);
    if (f) fclose(f);
  }
}

static void us_208_a_thousand_times(void) {
  int first = open(HOSTS, O_RDONLY);
  CHECK(first >= 0);
  close(first);
  open_and_close(100, first);
  size_t pages = __builtin_wasm_memory_size(0);
  open_and_close(1000, first);
  CHECK_INT(__builtin_wasm_memory_size(0), pages);
}

static void us_206_nothing_else_can_be_done_to_it(void) {
  errno = 0;
  CHECK_INT(unlink(HOSTS), -1);
  CHECK(errno != 0);
  errno = 0;
  CHECK_INT(unlink("/etc/no-such-file"), -1);
  CHECK_INT(errno, ENOENT);
  errno = 0;
  CHECK_INT(rename("/etc/no-such-file", "/etc/other"), -1);
  CHECK_INT(errno, ENOENT);
  errno = 0;
  CHECK_INT(mkdir("/etc", 0700), -1);
  CHECK_INT(errno, EEXIST);
  CHECK_INT(mkdir("/etc/more", 0700), -1);
  CHECK_INT(rename(HOSTS, "/etc/guests"), -1);
  CHECK_INT(open("/etc/new-file", O_WRONLY | O_CREAT, 0600), -1);
  struct stat s;
  CHECK_INT(stat(HOSTS, &s), 0);
}

static void us_206_devices(void) {
  char a[5000], b[5000];
  FILE *f = fopen("/dev/urandom", "r");
  CHECK(f != NULL);
  if (!f) return;
  CHECK_INT(fread(a, 1, sizeof a, f), sizeof a);
  CHECK_INT(fread(b, 1, sizeof b, f), sizeof b);
  CHECK(memcmp(a, b, sizeof a) != 0);
  CHECK(memcmp(a, a + 2000, 2000) != 0);
  fclose(f);
  int fd = open("/dev/null", O_RDONLY);
  CHECK(fd >= 0);
  CHECK_INT(read(fd, a, sizeof a), 0);
  close(fd);
}

static void us_206_the_device_that_takes_all(void) {
  FILE *f = fopen("/dev/null", "w");
  CHECK(f != NULL);
  if (!f) return;
  CHECK_INT(fputs("gone", f) >= 0, 1);
  CHECK_INT(fclose(f), 0);
}

static void us_206_what_is_not_there(void) {
  errno = 0;
  CHECK(!fopen("/etc/no-such-file", "r"));
  CHECK_INT(errno, ENOENT);
  struct stat s;
  errno = 0;
  CHECK_INT(stat("/etc/no-such-file", &s), -1);
  CHECK_INT(errno, ENOENT);
}

static void us_208_without_a_warpgrid_there_is_no_file(void) {
  errno = 0;
  CHECK(!fopen("/etc/resolv.conf", "r"));
  CHECK_INT(errno, ENOENT);
  CHECK(!fopen(HOSTS, "r"));
}

/** The file of the host beside this program (warp run --dir, wasmtime --dir). */
static void us_206_real_files_stay_as_they_are(void) {
  FILE *f = fopen("/real/check.h", "r");
  char text[64] = "";
  CHECK(f != NULL);
  if (!f) return;
  CHECK(fgets(text, sizeof text, f) != NULL);
  CHECK(strstr(text, "SPDX") != NULL);
  fclose(f);
  struct stat s;
  CHECK_INT(stat("/real/check.h", &s), 0);
  CHECK(S_ISREG(s.st_mode) && s.st_size > 1000);
  errno = 0;
  CHECK_INT(open("/real/none", O_RDONLY), -1);
  CHECK_INT(errno, ENOENT);
  int dir = open("/real", O_RDONLY | O_DIRECTORY);
  CHECK(dir >= 0);
  int fd = openat(dir, "check.h", O_RDONLY);
  CHECK(fd >= 0);
  close(fd);
  close(dir);
}

enum { WITH_FILES = WARPGRID | MOCK };

static const struct check_test tests[] = {
    TEST(us_206_fopen_reads_what_the_host_supplies, WITH_FILES),
    TEST(us_206_open_and_read, WITH_FILES),
    TEST(us_206_writing_is_refused, WITH_FILES),
    TEST(us_206_stat_and_access, WITH_FILES),
    TEST(us_206_poll, WITH_FILES),
    TEST(us_206_what_is_not_there, ANYWHERE),
    TEST(us_206_real_files_stay_as_they_are, ANYWHERE),
    TEST(us_206_nothing_else_can_be_done_to_it, WITH_FILES),
    TEST(us_206_devices, WITH_FILES),
    TEST(us_206_the_device_that_takes_all, WARPGRID),
    TEST(us_206_writing_to_what_was_opened_to_read, WARPGRID),
    TEST(us_206_one_file_has_one_inode, WITH_FILES),
    TEST(us_206_links, WITH_FILES),
    TEST(us_206_advice_and_sync_do_nothing, WITH_FILES),
    TEST(us_206_the_root_is_a_folder, WITH_FILES),
    TEST(us_208_seeking, WITH_FILES),
    TEST(us_208_two_descriptors_are_independent, WITH_FILES),
    TEST(us_208_a_thousand_times, WITH_FILES),
    TEST(us_208_without_a_warpgrid_there_is_no_file, VANILLA | STOCK),
};

int main(void) { return check_run(tests, sizeof tests / sizeof *tests); }
