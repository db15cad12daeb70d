/* SPDX-License-Identifier: Apache-2.0 */
/* US-103: the map itself: an immutable tree of paths, made by a builder, and content by versions. */
#include "vfs/vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static wg_vfs *build(wg_vfs_builder *b) {
  wg_vfs *v;
  wg_error err;
  if (wg_vfs_build(b, &v, &err) != WG_OK) fail_msg("%s", err.msg);
  return v;
}

static wg_vfs_node find(wg_vfs *v, const char *path) {
  wg_path canonical;
  wg_vfs_node n;
  assert_int_equal(wg_vfs_find(v, "", 0, path, strlen(path), &canonical, &n), WG_OK);
  return n;
}

static wg_vfs_node find_below(wg_vfs *v, const char *base, const char *path) {
  wg_path canonical;
  wg_vfs_node n;
  assert_int_equal(wg_vfs_find(v, base, strlen(base), path, strlen(path), &canonical, &n), WG_OK);
  return n;
}

/** Names of a directory, each with a blank behind it. */
static const char *names(wg_vfs *v, const char *path) {
  static char text[1024];
  text[0] = '\0';
  wg_vfs_node dir = find(v, path), n;
  assert_int_equal(dir.type, WG_VFS_DIRECTORY);
  const char *name;
  size_t len;
  for (size_t i = 0; wg_vfs_list(v, dir.id, i, &name, &len, &n); i++)
    snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s%s ", (int)len, name,
             n.type == WG_VFS_DIRECTORY ? "/" : "");
  return text;
}

/** The content of a path, by an open with version 0; the caller frees it. */
static char *content(wg_vfs *v, const char *path, size_t *size) {
  wg_vfs_node n = find(v, path);
  uint64_t version = 0;
  int fd;
  wg_error err;
  if (wg_vfs_open(v, n.id, &version, &fd, &err) != WG_OK) fail_msg("%s", err.msg);
  char *text = calloc(1, n.size + 2);
  ssize_t got = pread(fd, text, n.size + 1, 0);
  assert_int_equal(got, n.size);
  close(fd);
  if (size) *size = (size_t)got;
  return text;
}

static void assert_content(wg_vfs *v, const char *path, const char *expect) {
  char *text = content(v, path, NULL);
  assert_string_equal(text, expect);
  free(text);
}

static size_t open_fds(void) {
  size_t n = 0;
  for (int fd = 0; fd < 4096; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

/* ---- the tree ---- */

static wg_vfs *small(void) {
  wg_vfs_builder *b = wg_vfs_builder_new();
  wg_vfs_add_static(b, "/etc/hosts", "hosts", 5);
  wg_vfs_add_copy(b, "/etc/app/b", "bb", 2);
  wg_vfs_add_copy(b, "/etc/app-x", "x", 1);
  wg_vfs_add_copy(b, "/etc/app/a", "", 0);
  wg_vfs_add_whole(b, "/whole");
  wg_vfs_add_static(b, "/whole/in/deep", "deep", 4);
  wg_vfs_add_link(b, "/whole/again", "/etc/hosts");
  wg_vfs_add_device(b, "/dev/null", "/dev/null", true);
  return build(b);
}

static void us_103_what_paths_stand_for(void **state) {
  (void)state;
  wg_vfs *v = small();
  wg_vfs_node n = find(v, "/etc/hosts");
  assert_int_equal(n.type, WG_VFS_FILE);
  assert_int_equal(n.size, 5);
  assert_int_equal(n.flags, 0);
  assert_true(n.id > 0);
  assert_int_equal(find(v, "/etc/../etc//./hosts").id, n.id);
  assert_int_equal(find_below(v, "/etc", "hosts").id, n.id);
  assert_int_equal(find_below(v, "/", "etc/app/../hosts").id, n.id);
  n = find(v, "/etc/hosts/");
  assert_int_equal(n.type, WG_VFS_FILE);
  assert_int_equal(n.flags, WG_VFS_AS_DIRECTORY);
  n = find(v, "/etc");
  assert_int_equal(n.type, WG_VFS_DIRECTORY);
  assert_int_equal(n.flags, 0);
  assert_true(n.id > 0);
  assert_int_equal(n.size, 0);
  assert_int_equal(find(v, "/").type, WG_VFS_DIRECTORY);
  assert_int_equal(find(v, "/").flags, WG_VFS_AS_DIRECTORY);
  assert_int_equal(find(v, "/whole").flags, WG_VFS_WHOLE);
  assert_int_equal(find(v, "/whole/in").flags, WG_VFS_WHOLE);
  assert_int_equal(find(v, "/whole/in/.").flags, WG_VFS_WHOLE | WG_VFS_AS_DIRECTORY);
  n = find(v, "/dev/null");
  assert_int_equal(n.type, WG_VFS_DEVICE);
  assert_int_equal(n.flags, WG_VFS_WRITABLE);

  static const char *const none[] = {"/et", "/etcx",   "/etc/host", "/etc/hostsx",  "/etc/app/c",
                                     "/x",  "/wholes", "/\xff",     "/etc/\xf0\x28"};
  for (size_t i = 0; i < WG_COUNT(none); i++) assert_int_equal(find(v, none[i]).type, WG_VFS_NONE);
  static const char *const missing[] = {"/whole/x",     "/whole/in/x",   "/whole/in/deep/x",
                                        "/etc/hosts/x", "/dev/null/x/y", "/whole/\xff"};
  for (size_t i = 0; i < WG_COUNT(missing); i++) {
    assert_int_equal(find(v, missing[i]).type, WG_VFS_MISSING);
    assert_int_equal(find(v, missing[i]).id, 0);
  }
  assert_int_equal(find_below(v, "/etc", "../etc/hosts").type, WG_VFS_OUTSIDE);
  assert_int_equal(find_below(v, "/etc", "/etc/hosts").type, WG_VFS_OUTSIDE);
  wg_vfs_free(v);
}

static void us_103_paths_that_are_none(void **state) {
  (void)state;
  wg_vfs *v = small();
  wg_path canonical;
  wg_vfs_node n;
  assert_int_equal(wg_vfs_find(v, "", 0, "/etc/hosts\0/x", 13, &canonical, &n), WG_INVALID);
  assert_int_equal(wg_vfs_find(v, "", 0, "etc/hosts", 9, &canonical, &n), WG_INVALID);
  assert_int_equal(wg_vfs_find(v, "", 0, "", 0, &canonical, &n), WG_INVALID);
  char *longest = malloc(WG_PATH_MAX + 1);
  memset(longest, 'x', WG_PATH_MAX + 1);
  longest[0] = '/';
  assert_int_equal(wg_vfs_find(v, "", 0, longest, WG_PATH_MAX + 1, &canonical, &n), WG_INVALID);
  assert_int_equal(wg_vfs_find(v, "", 0, longest, WG_PATH_MAX, &canonical, &n), WG_OK);
  assert_int_equal(n.type, WG_VFS_NONE);
  /* 4 KiB that end in a file. */
  size_t tail = strlen("/etc/hosts");
  memset(longest, '/', WG_PATH_MAX);
  memcpy(longest + WG_PATH_MAX - tail, "/etc/hosts", tail);
  assert_int_equal(wg_vfs_find(v, "", 0, longest, WG_PATH_MAX, &canonical, &n), WG_OK);
  assert_int_equal(n.type, WG_VFS_FILE);
  assert_string_equal(canonical.text, "/etc/hosts");
  free(longest);
  /* Nothing is named by nothing: whoever asks the real file system hears so. */
  assert_int_equal(wg_vfs_find(v, "/etc", 4, "", 0, &canonical, &n), WG_OK);
  assert_int_equal(n.type, WG_VFS_NONE);
  assert_string_equal(canonical.text, "/etc");
  wg_vfs_free(v);
}

static void us_103_directories_list_in_order(void **state) {
  (void)state;
  wg_vfs *v = small();
  assert_string_equal(names(v, "/"), "dev/ etc/ whole/ ");
  assert_string_equal(names(v, "/etc"), "app/ app-x hosts ");
  assert_string_equal(names(v, "/etc/app"), "a b ");
  assert_string_equal(names(v, "/whole"), "again in/ ");
  assert_string_equal(names(v, "/whole/in"), "deep ");
  const char *name;
  size_t len;
  wg_vfs_node n;
  assert_false(wg_vfs_list(v, find(v, "/etc/hosts").id, 0, &name, &len, &n));
  assert_false(wg_vfs_list(v, 0, 0, &name, &len, &n));
  assert_false(wg_vfs_list(v, 9999, 0, &name, &len, &n));
  assert_false(wg_vfs_list(v, UINT64_MAX, 0, &name, &len, &n));
  assert_false(wg_vfs_list(v, find(v, "/etc").id, SIZE_MAX, &name, &len, &n));
  assert_true(wg_vfs_list(v, find(v, "/etc").id, 2, &name, &len, &n));
  assert_int_equal(n.id, find(v, "/etc/hosts").id);
  assert_int_equal(n.size, 5);
  wg_vfs_free(v);
}

static void us_103_names_of_one_content_are_one_file(void **state) {
  (void)state;
  wg_vfs *v = small();
  assert_int_equal(find(v, "/whole/again").id, find(v, "/etc/hosts").id);
  assert_content(v, "/etc/hosts", "hosts");
  assert_content(v, "/whole/again", "hosts");
  assert_int_equal(wg_vfs_get_stats(v).snapshots, 1);
  assert_int_equal(wg_vfs_get_stats(v).files, 7);
  assert_int_equal(wg_vfs_get_stats(v).directories, 6);
  wg_vfs_free(v);
}

static void us_103_every_path_of_many_is_found(void **state) {
  (void)state;
  enum { MANY = 3000 };
  char path[64], expect[16];
  wg_vfs_builder *b = wg_vfs_builder_new();
  for (unsigned i = 0; i < MANY; i++) {
    unsigned k = i * 7919 % MANY; /* in no order */
    snprintf(path, sizeof path, "/d%u/%u/f-%u", k % 7, k % 31, k);
    snprintf(expect, sizeof expect, "%u", k);
    wg_vfs_add_copy(b, path, expect, strlen(expect));
  }
  wg_vfs *v = build(b);
  uint64_t last = 0;
  for (unsigned k = 0; k < MANY; k++) {
    snprintf(path, sizeof path, "/d%u/%u/f-%u", k % 7, k % 31, k);
    snprintf(expect, sizeof expect, "%u", k);
    wg_vfs_node n = find(v, path);
    assert_int_equal(n.type, WG_VFS_FILE);
    assert_int_equal(n.size, strlen(expect));
    assert_int_not_equal(n.id, last);
    last = n.id;
    if (k % 100 == 0) assert_content(v, path, expect);
  }
  assert_int_equal(wg_vfs_get_stats(v).files, MANY);
  assert_int_equal(wg_vfs_get_stats(v).directories, 1 + 7 + 7 * 31);
  wg_vfs_free(v);
}

/* ---- the builder ---- */

static void a_later_entry_replaces(void **state) {
  (void)state;
  wg_vfs_builder *b = wg_vfs_builder_new();
  wg_vfs_add_static(b, "/a", "old", 3);
  wg_vfs_add_device(b, "/b", "/dev/null", true);
  wg_vfs_add_static(b, "/b/../a", "newer", 5);
  wg_vfs_add_static(b, "/b", "file", 4);
  wg_vfs *v = build(b);
  assert_content(v, "/a", "newer");
  assert_content(v, "/b", "file");
  assert_int_equal(wg_vfs_get_stats(v).files, 2);
  wg_vfs_free(v);
}

static void what_cannot_be_built(void **state) {
  (void)state;
  static const struct {
    const char *first, *second, *message;
  } table[] = {
      {"/a/b", "/a", "'/a' cannot be a virtual file beside '/a/b'"},
      {"/a", "/a/b/c", "'/a/b/c' cannot be a virtual file beside '/a'"},
      {"/a", "b", "'b' is not the absolute path of a file"},
      {"/a", "/b/", "'/b/' is not the absolute path of a file"},
      {"/", "/a", "'/' is not the absolute path of a file"},
      {"/a", "", "'' is not the absolute path of a file"},
  };
  for (size_t i = 0; i < WG_COUNT(table); i++) {
    wg_vfs_builder *b = wg_vfs_builder_new();
    wg_vfs *v;
    wg_error err;
    wg_vfs_add_static(b, table[i].first, "x", 1);
    wg_vfs_add_static(b, table[i].second, "y", 1);
    wg_vfs_add_static(b, "/after", "z", 1);
    assert_int_equal(wg_vfs_build(b, &v, &err), WG_INVALID);
    assert_string_equal(err.msg, table[i].message);
  }
  wg_vfs_builder *b = wg_vfs_builder_new();
  wg_vfs *v;
  wg_vfs_add_static(b, "/a", "x", 1);
  wg_vfs_add_whole(b, "/a");
  assert_int_equal(wg_vfs_build(b, &v, NULL), WG_INVALID);
  b = wg_vfs_builder_new();
  wg_vfs_add_link(b, "/a", "/gone");
  assert_int_equal(wg_vfs_build(b, &v, NULL), WG_INVALID);
  assert_int_equal(wg_vfs_build(NULL, &v, NULL), WG_NOMEM);
}

static void clashes_are_seen_before(void **state) {
  (void)state;
  wg_vfs_builder *b = wg_vfs_builder_new();
  wg_vfs_add_static(b, "/a/b", "x", 1);
  wg_vfs_add_whole(b, "/w");
  assert_string_equal(wg_vfs_builder_clash(b, "/a"), "/a/b");
  assert_string_equal(wg_vfs_builder_clash(b, "/a/b/c"), "/a/b");
  assert_string_equal(wg_vfs_builder_clash(b, "/w"), "/w");
  assert_null(wg_vfs_builder_clash(b, "/a/b"));
  assert_null(wg_vfs_builder_clash(b, "/a/bc"));
  assert_null(wg_vfs_builder_clash(b, "/w/x"));
  wg_vfs_builder_free(b);
  wg_vfs_builder_free(NULL);
}

static void an_empty_map(void **state) {
  (void)state;
  wg_vfs *v = build(wg_vfs_builder_new());
  assert_int_equal(find(v, "/").type, WG_VFS_DIRECTORY);
  assert_string_equal(names(v, "/"), "");
  assert_int_equal(find(v, "/x").type, WG_VFS_NONE);
  wg_vfs_free(v);
  wg_vfs_builder *b = wg_vfs_builder_new();
  wg_vfs_add_whole(b, "/");
  wg_vfs_add_static(b, "/a/b", "x", 1);
  v = build(b);
  assert_int_equal(find(v, "/x").type, WG_VFS_MISSING);
  assert_int_equal(find(v, "/a/x").type, WG_VFS_MISSING);
  assert_int_equal(find(v, "/a").flags, WG_VFS_WHOLE);
  wg_vfs_free(v);
  wg_vfs_free(NULL);
}

/* ---- content ---- */

static void us_103_nobody_can_change_content(void **state) {
  (void)state;
  wg_vfs *v = small();
  uint64_t version = 0;
  int fd;
  assert_int_equal(wg_vfs_open(v, find(v, "/etc/hosts").id, &version, &fd, NULL), WG_OK);
  assert_int_equal(version, 1);
  assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
                                               F_SEAL_WRITE |
                                               (fcntl(fd, F_GET_SEALS) & 0x20 /* F_SEAL_EXEC */));
  assert_int_equal(write(fd, "x", 1), -1);
  assert_int_equal(ftruncate(fd, 0), -1);
  /* Also not by opening it again. */
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int again = open(path, O_RDWR);
  if (again >= 0) {
    assert_int_equal(write(again, "x", 1), -1);
    assert_int_equal(errno, EPERM);
    assert_ptr_equal(mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0), MAP_FAILED);
    close(again);
  }
  close(fd);
  assert_content(v, "/etc/hosts", "hosts");
  wg_vfs_free(v);
}

static void us_103_ten_thousand_opens_share_one_snapshot(void **state) {
  (void)state;
  wg_vfs *v = small();
  size_t before = open_fds();
  uint64_t id = find(v, "/etc/hosts").id, known = 0;
  int first;
  assert_int_equal(wg_vfs_open(v, id, &known, &first, NULL), WG_OK);
  assert_true(first >= 0);
  for (unsigned i = 0; i < 10000; i++) {
    int fd;
    assert_int_equal(wg_vfs_open(v, id, &known, &fd, NULL), WG_OK);
    assert_int_equal(fd, -1); /* the caller's is the current one */
    uint64_t version = 0;
    assert_int_equal(wg_vfs_open(v, id, &version, &fd, NULL), WG_OK);
    assert_int_equal(version, known);
    close(fd);
  }
  close(first);
  assert_int_equal(wg_vfs_get_stats(v).snapshots, 1);
  assert_int_equal(open_fds(), before + 1);
  wg_vfs_free(v);
  assert_int_equal(open_fds(), before);
}

typedef struct changing {
  atomic_uint_fast64_t version;
  atomic_uint made, released;
  wg_code code;
  size_t size; /* of the content, when it is not text */
} changing;
static uint64_t changing_version(void *user) { return atomic_load(&((changing *)user)->version); }
static wg_code changing_content(void *user, wg_buf *out, wg_error *err) {
  changing *c = user;
  atomic_fetch_add(&c->made, 1);
  if (c->code != WG_OK) return wg_error_set(err, c->code, 0, "no content today");
  if (c->size) {
    uint8_t *to = wg_buf_reserve(out, c->size);
    if (to) {
      memset(to, 'x', c->size);
      wg_buf_commit(out, c->size);
    }
  } else {
    wg_buf_printf(out, "version %llu\n", (unsigned long long)atomic_load(&c->version));
  }
  return WG_OK;
}
static void changing_release(void *user) { atomic_fetch_add(&((changing *)user)->released, 1); }
static const wg_vfs_provider changing_provider = {
    .version = changing_version, .content = changing_content, .release = changing_release};

static wg_vfs *with_provider(changing *c) {
  wg_vfs_builder *b = wg_vfs_builder_new();
  wg_vfs_provider p = changing_provider;
  p.user = c;
  wg_vfs_add_provider(b, "/live/now", &p);
  return build(b);
}

static void us_103_a_snapshot_lives_until_its_version_changes(void **state) {
  (void)state;
  changing c = {.version = 7};
  wg_vfs *v = with_provider(&c);
  assert_int_equal(c.made, 0); /* not before somebody asks */
  wg_vfs_node n = find(v, "/live/now");
  assert_int_equal(n.size, 10);
  assert_int_equal(c.made, 1);
  uint64_t version = 0;
  int old, fd;
  assert_int_equal(wg_vfs_open(v, n.id, &version, &old, NULL), WG_OK);
  assert_int_equal(version, 7);
  assert_int_equal(wg_vfs_open(v, n.id, &version, &fd, NULL), WG_OK);
  assert_int_equal(fd, -1);
  assert_int_equal(c.made, 1);

  c.version = 12;
  assert_int_equal(wg_vfs_open(v, n.id, &version, &fd, NULL), WG_OK);
  assert_int_equal(version, 12);
  assert_true(fd >= 0);
  char text[32] = "";
  assert_int_equal(pread(fd, text, sizeof text, 0), 11);
  assert_string_equal(text, "version 12\n");
  /* What was opened before keeps what it had. */
  memset(text, 0, sizeof text);
  assert_int_equal(pread(old, text, sizeof text, 0), 10);
  assert_string_equal(text, "version 7\n");
  close(old);
  close(fd);
  assert_int_equal(find(v, "/live/now").size, 11);
  assert_int_equal(c.made, 2);
  assert_int_equal(wg_vfs_get_stats(v).snapshots, 2);
  assert_int_equal(c.released, 0);
  wg_vfs_free(v);
  assert_int_equal(c.released, 1);
}

static void providers_fail_and_come_back(void **state) {
  (void)state;
  changing c = {.version = 1, .code = WG_LOST};
  wg_vfs *v = with_provider(&c);
  wg_vfs_node n = find(v, "/live/now");
  assert_int_equal(n.type, WG_VFS_FILE);
  assert_int_equal(n.size, 0);
  uint64_t version = 0;
  int fd = 5;
  wg_error err;
  assert_int_equal(wg_vfs_open(v, n.id, &version, &fd, &err), WG_LOST);
  assert_string_equal(err.msg, "no content today");
  assert_int_equal(fd, -1);
  c.code = WG_OK;
  assert_content(v, "/live/now", "version 1\n");
  c.version = 2;
  c.size = WG_VFS_CONTENT_MAX + 1;
  assert_int_equal(wg_vfs_open(v, n.id, &version, &fd, &err), WG_EXHAUSTED);
  assert_string_equal(err.msg, "the content is larger than 16 MiB");
  c.version = 3;
  c.size = WG_VFS_CONTENT_MAX;
  assert_int_equal(find(v, "/live/now").size, WG_VFS_CONTENT_MAX);
  wg_vfs_free(v);
  /* A builder that is dropped, and one that fails, release theirs. */
  wg_vfs_builder *b = wg_vfs_builder_new();
  wg_vfs_provider p = changing_provider;
  p.user = &c;
  wg_vfs_add_provider(b, "/a", &p);
  wg_vfs_builder_free(b);
  assert_int_equal(c.released, 2);
  b = wg_vfs_builder_new();
  wg_vfs_add_static(b, "bad", "x", 1);
  wg_vfs_add_provider(b, "/a", &p);
  assert_int_equal(c.released, 3);
  assert_int_equal(wg_vfs_build(b, &v, NULL), WG_INVALID);
}

static void us_103_devices_are_the_real_ones(void **state) {
  (void)state;
  wg_vfs_builder *b = wg_vfs_builder_new();
  wg_vfs_add_device(b, "/dev/null", "/dev/null", true);
  wg_vfs_add_device(b, "/dev/urandom", "/dev/urandom", false);
  wg_vfs_add_device(b, "/dev/gone", "/dev/no-such-device", false);
  wg_vfs_add_device(b, "/dev/file", "/etc/passwd", false);
  wg_vfs *v = build(b);
  uint64_t version = 0;
  int fd;
  char bytes[64] = {0}, zero[64] = {0};
  assert_int_equal(wg_vfs_open(v, find(v, "/dev/null").id, &version, &fd, NULL), WG_OK);
  assert_true(version > 0); /* one for all opens */
  assert_int_equal(pread(fd, bytes, sizeof bytes, 100), 0);
  assert_int_equal(pwrite(fd, bytes, sizeof bytes, 100), sizeof bytes);
  int other;
  assert_int_equal(wg_vfs_open(v, find(v, "/dev/null").id, &version, &other, NULL), WG_OK);
  assert_int_equal(other, -1);
  close(fd);
  version = 0;
  assert_int_equal(wg_vfs_open(v, find(v, "/dev/urandom").id, &version, &fd, NULL), WG_OK);
  assert_int_equal(pread(fd, bytes, 32, 0), 32);
  assert_int_equal(pread(fd, bytes + 32, 32, 0), 32);
  assert_memory_not_equal(bytes, zero, 32);
  assert_memory_not_equal(bytes, bytes + 32, 32);
  assert_int_equal(write(fd, "x", 1), -1);
  close(fd);
  version = 0;
  wg_error err;
  assert_int_equal(wg_vfs_open(v, find(v, "/dev/gone").id, &version, &fd, &err), WG_IO);
  assert_string_equal(err.msg, "cannot open '/dev/no-such-device': no such file or directory");
  assert_int_equal(wg_vfs_open(v, find(v, "/dev/file").id, &version, &fd, &err), WG_IO);
  wg_vfs_free(v);
}

static void us_103_live_files_of_the_host(void **state) {
  (void)state;
  char folder[] = "/tmp/wg-vfs-XXXXXX", path[64], fifo[64];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/file", folder);
  snprintf(fifo, sizeof fifo, "%s/fifo", folder);
  FILE *f = fopen(path, "w");
  fputs("one", f);
  fclose(f);
  assert_int_equal(mkfifo(fifo, 0600), 0);
  wg_vfs_builder *b = wg_vfs_builder_new();
  wg_vfs_add_live(b, "/live", path);
  wg_vfs_add_live(b, "/fifo", fifo);
  wg_vfs_add_live(b, "/folder", folder);
  wg_vfs *v = build(b);
  assert_content(v, "/live", "one");
  f = fopen(path, "w");
  fputs("three", f);
  fclose(f);
  assert_content(v, "/live", "three");
  uint64_t version = 9;
  int fd;
  wg_error err;
  assert_int_equal(wg_vfs_open(v, find(v, "/live").id, &version, &fd, &err), WG_OK);
  assert_int_equal(version, 0); /* each open has its own */
  assert_int_equal(write(fd, "x", 1), -1);
  close(fd);
  assert_int_equal(wg_vfs_get_stats(v).snapshots, 0);
  assert_int_equal(wg_vfs_open(v, find(v, "/fifo").id, &version, &fd, &err), WG_INVALID);
  assert_non_null(strstr(err.msg, "is not a regular file"));
  assert_int_equal(wg_vfs_open(v, find(v, "/folder").id, &version, &fd, &err), WG_INVALID);
  unlink(path);
  assert_int_equal(wg_vfs_open(v, find(v, "/live").id, &version, &fd, &err), WG_NOT_FOUND);
  assert_int_equal(find(v, "/live").size, 0);
  unlink(fifo);
  rmdir(folder);
  wg_vfs_free(v);
}

static void ids_that_are_none(void **state) {
  (void)state;
  wg_vfs *v = small();
  static const uint64_t ids[] = {0, 1, 3, 99, UINT32_MAX, (uint64_t)1 << 40, UINT64_MAX};
  for (size_t i = 0; i < WG_COUNT(ids); i++) {
    uint64_t version = 0;
    int fd;
    wg_error err;
    assert_int_equal(wg_vfs_open(v, ids[i], &version, &fd, &err), WG_NOT_FOUND);
    assert_int_equal(fd, -1);
  }
  wg_vfs_free(v);
}

/** More contents than the map keeps files of: the rest are the callers' alone. */
static void files_kept_open_are_few(void **state) {
  (void)state;
  wg_vfs_builder *b = wg_vfs_builder_new();
  char path[32];
  for (unsigned i = 0; i < 200; i++) {
    snprintf(path, sizeof path, "/f%u", i);
    wg_vfs_add_static(b, path, "content", 7);
  }
  wg_vfs *v = build(b);
  size_t before = open_fds();
  for (unsigned i = 0; i < 200; i++) {
    snprintf(path, sizeof path, "/f%u", i);
    assert_content(v, path, "content");
  }
  assert_int_equal(open_fds(), before + 64);
  wg_vfs_free(v);
}

/* ---- threads ---- */

typedef struct crowd {
  wg_vfs *v;
  changing *c;
  atomic_uint bad;
} crowd;
static void *crowd_run(void *arg) {
  crowd *c = arg;
  uint64_t version = 0;
  int mine = -1;
  for (unsigned i = 0; i < 300; i++) {
    wg_path canonical;
    wg_vfs_node n;
    int fd;
    if (wg_vfs_find(c->v, "/live", 5, "now", 3, &canonical, &n) != WG_OK)
      atomic_fetch_add(&c->bad, 1);
    uint64_t before = version;
    if (wg_vfs_open(c->v, n.id, &version, &fd, NULL) != WG_OK || (fd < 0 && version != before))
      atomic_fetch_add(&c->bad, 1);
    if (fd >= 0) {
      if (mine >= 0) close(mine);
      mine = fd;
    }
    /* What is read is of that version or a later one, never a mixture. */
    char text[32] = "";
    unsigned long long seen = 0;
    ssize_t got = pread(mine, text, sizeof text - 1, 0);
    if (got <= 0 || sscanf(text, "version %llu\n", &seen) != 1 || seen < version)
      atomic_fetch_add(&c->bad, 1);
    if (i % 50 == 0) atomic_fetch_add(&c->c->version, 1);
  }
  close(mine);
  return NULL;
}

static void us_103_all_workers_share_the_map(void **state) {
  (void)state;
  changing c = {.version = 1};
  crowd all = {.v = with_provider(&c), .c = &c};
  pthread_t threads[4];
  for (size_t i = 0; i < WG_COUNT(threads); i++)
    assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, &all), 0);
  for (size_t i = 0; i < WG_COUNT(threads); i++) pthread_join(threads[i], NULL);
  assert_int_equal(all.bad, 0);
  assert_int_equal(wg_vfs_get_stats(all.v).snapshots, c.made);
  assert_true(c.made <= c.version);
  wg_vfs_free(all.v);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_103_what_paths_stand_for),
      cmocka_unit_test(us_103_paths_that_are_none),
      cmocka_unit_test(us_103_directories_list_in_order),
      cmocka_unit_test(us_103_names_of_one_content_are_one_file),
      cmocka_unit_test(us_103_every_path_of_many_is_found),
      cmocka_unit_test(a_later_entry_replaces),
      cmocka_unit_test(what_cannot_be_built),
      cmocka_unit_test(clashes_are_seen_before),
      cmocka_unit_test(an_empty_map),
      cmocka_unit_test(us_103_nobody_can_change_content),
      cmocka_unit_test(us_103_ten_thousand_opens_share_one_snapshot),
      cmocka_unit_test(us_103_a_snapshot_lives_until_its_version_changes),
      cmocka_unit_test(providers_fail_and_come_back),
      cmocka_unit_test(us_103_devices_are_the_real_ones),
      cmocka_unit_test(us_103_live_files_of_the_host),
      cmocka_unit_test(ids_that_are_none),
      cmocka_unit_test(files_kept_open_are_few),
      cmocka_unit_test(us_103_all_workers_share_the_map),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
