/* SPDX-License-Identifier: Apache-2.0 */
/** @file zones.c  /usr/share/zoneinfo: the built-in zones, or those of a folder of the host. */
#include "base/text.h"
#include "vfs/standard.h"
#include "vfs/vfs_internal.h"
#include "vfs/zoneinfo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZONES "/usr/share/zoneinfo"

/* A folder of time zones: Debian's has 600 files in folders of depth 3, the largest 112 KiB. */
enum { ZONE_FILES_MAX = 5000, ZONE_DEPTH_MAX = 8, ZONE_BYTES_MAX = 1 << 20 };

static wg_code add_built_in(wg_vfs_builder *b, wg_error *err) {
  size_t *first =
      calloc(wg_zoneinfo_contents(), sizeof *first); /* number of each content, from 1 */
  if (!first) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  char path[256] = ZONES "/";
  for (size_t i = 0; i < wg_zoneinfo_count(); i++) {
    wg_zoneinfo_file f = wg_zoneinfo_at(i);
    size_t n = strlen(f.name);
    WG_ASSERT(n < sizeof path - sizeof ZONES);
    memcpy(path + sizeof ZONES, f.name, n + 1);
    if (first[f.content]) {
      wg__vfs_add_again(b, path, first[f.content] - 1);
    } else {
      first[f.content] = wg__vfs_sources(b) + 1;
      wg_vfs_add_static(b, path, f.bytes, f.size);
    }
  }
  free(first);
  return WG_OK;
}

/* ---- a folder ---- */

typedef struct walk {
  wg_vfs_builder *b;
  const char *folder; /**< of the host, for messages */
  char path[WG_PATH_MAX + 256]; /**< of the guest */
  size_t files;
  struct seen {
    dev_t device;
    ino_t inode;
    size_t source; /**< number of its content */
  } *seen; /**< one a file: zones have many names by hard links */
  wg_error *err;
} walk;

/** Tables that are this machine's, or would be everything once more. */
static bool is_left_out(const char *name, unsigned depth) {
  return name[0] == '.' || (depth == 0 && (!strcmp(name, "posix") || !strcmp(name, "right") ||
                                           !strcmp(name, "localtime")));
}

static wg_code add_file(walk *w, int fd, const struct stat *st) {
  for (size_t i = 0; i < w->files; i++)
    if (w->seen[i].device == st->st_dev && w->seen[i].inode == st->st_ino) {
      wg__vfs_add_again(w->b, w->path, w->seen[i].source);
      return WG_OK;
    }
  if (w->files == ZONE_FILES_MAX)
    return wg_error_set(w->err, WG_CONFIG, 0, "'%s' has more than %d files", w->folder,
                        ZONE_FILES_MAX);
  uint8_t *bytes;
  size_t size;
  wg_code code = wg__vfs_read_host(fd, w->path, ZONE_BYTES_MAX, &bytes, &size, w->err);
  if (code != WG_OK) return code;
  w->seen[w->files++] = (struct seen){st->st_dev, st->st_ino, wg__vfs_sources(w->b)};
  wg_vfs_add_copy(w->b, w->path, bytes, size);
  free(bytes);
  return WG_OK;
}

static wg_code add_folder(walk *w, int fd, unsigned depth);

/** One name of a folder: what is neither a file nor a folder is passed over, and so are links to
 *  folders. */
static wg_code add_name(walk *w, int dir, const char *name, unsigned depth) {
  struct stat st;
  size_t len = strlen(w->path);
  if (is_left_out(name, depth) || len + strlen(name) + 2 > sizeof w->path) return WG_OK;
  int fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) != 0) {
    int sys = errno;
    if (fd >= 0) close(fd);
    if (sys == ENOENT || sys == ELOOP) return WG_OK; /* a link to nothing */
    return wg_error_set(w->err, WG_IO, sys, "cannot read '%s' of '%s': %s", name, w->folder,
                        wg_os_error(sys));
  }
  wg_code code = WG_OK;
  snprintf(w->path + len, sizeof w->path - len, "/%s", name);
  if (S_ISREG(st.st_mode)) {
    code = add_file(w, fd, &st);
  } else if (S_ISDIR(st.st_mode) && depth < ZONE_DEPTH_MAX) {
    struct stat link;
    if (fstatat(dir, name, &link, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(link.st_mode)) {
      code = add_folder(w, fd, depth + 1);
      fd = -1;
    }
  }
  if (fd >= 0) close(fd);
  w->path[len] = '\0';
  return code;
}

/** Takes the fd. */
static wg_code add_folder(walk *w, int fd, unsigned depth) {
  DIR *dir = fdopendir(fd);
  int at = dir ? dirfd(dir) : -1;
  if (at < 0) {
    close(fd);
    return wg_error_set(w->err, WG_NOMEM, 0, "out of memory");
  }
  wg_code code = WG_OK;
  const struct dirent *e;
  while (code == WG_OK && (e = readdir(dir))) code = add_name(w, at, e->d_name, depth);
  closedir(dir);
  return code;
}

wg_code wg__vfs_add_zones(wg_vfs_builder *b, const char *folder, wg_error *err) {
  wg_vfs_add_whole(b, ZONES);
  if (!folder) return add_built_in(b, err);
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return wg_error_set(err, WG_IO, errno, "cannot read '%s': %s", folder, wg_os_error(errno));
  walk *w = calloc(1, sizeof *w);
  struct seen *seen = calloc(ZONE_FILES_MAX, sizeof *seen);
  if (!w || !seen) {
    free(w);
    free(seen);
    close(fd);
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  w->b = b;
  w->folder = folder;
  w->seen = seen;
  w->err = err;
  memcpy(w->path, ZONES, sizeof ZONES);
  wg_code code = add_folder(w, fd, 0);
  free(seen);
  free(w);
  return code;
}
