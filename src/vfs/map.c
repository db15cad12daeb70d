/* SPDX-License-Identifier: Apache-2.0 */
/** @file map.c  Looking up, listing and opening in a map that was built. */
#include "vfs/vfs_internal.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* Files in memory that a map holds open by itself, for callers that have none yet. */
enum { VFS_KEPT_MAX = 64 };

/* Ids: directories count from 1, content from here. */
static const uint64_t CONTENT_ID = (uint64_t)1 << 32;

void wg_vfs_free(wg_vfs *v) {
  if (!v) return;
  for (size_t i = 0; i < v->source_count; i++) {
    if (v->snapshots[i].fd >= 0) close(v->snapshots[i].fd);
    wg__vfs_source_release(&v->sources[i]);
  }
  pthread_mutex_destroy(&v->lock);
  wg__vfs_chunks_free(v->names);
  free(v->snapshots);
  free(v->sources);
  free(v->entries);
  free(v);
}

/* ---- snapshots ---- */

static uint64_t current_version(const vfs_source *s) {
  bool changes = s->kind == VFS_PROVIDER && s->u.provider.version;
  return changes ? s->u.provider.version(s->u.provider.user) : 1;
}

static wg_code memory_failed(wg_error *err) {
  int sys = errno;
  return wg_error_set(err, WG_IO, sys, "cannot make a file in memory: %s", wg_os_error(sys));
}

/** A sealed file in memory, open for reading. */
static wg_code seal(const uint8_t *bytes, size_t size, int *out, wg_error *err) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = memfd_create("warpgrid-vfs", flags | MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("warpgrid-vfs", flags); /* before Linux 6.3 */
  if (fd < 0) return memory_failed(err);
  for (size_t done = 0; done < size;) {
    ssize_t n = write(fd, bytes + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      wg_code code = memory_failed(err);
      close(fd);
      return code;
    }
    done += (size_t)n;
  }
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    wg_code code = memory_failed(err);
    close(fd);
    return code;
  }
  /* Where there is no /proc the seals alone keep writers out. */
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int reader = open(path, O_RDONLY | O_CLOEXEC);
  if (reader >= 0) {
    close(fd);
    fd = reader;
  }
  *out = fd;
  return WG_OK;
}

/** Makes the current snapshot of a source. Under the lock. @param fd  the caller's */
static wg_code make_snapshot(wg_vfs *v, size_t at, uint64_t version, int *fd, wg_error *err) {
  const vfs_source *s = &v->sources[at];
  wg_code code = WG_OK;
  wg_buf b;
  wg_buf_init(&b, WG_VFS_CONTENT_MAX);
  const uint8_t *bytes = s->kind == VFS_PROVIDER ? NULL : s->u.bytes;
  size_t size = s->size;
  if (s->kind == VFS_PROVIDER) {
    code = s->u.provider.content(s->u.provider.user, &b, err);
    if (code == WG_OK && b.failed)
      code = b.nomem ? wg_error_set(err, WG_NOMEM, 0, "out of memory")
                     : wg_error_set(err, WG_EXHAUSTED, 0, "the content is larger than 16 MiB");
    bytes = wg_buf_head(&b);
    size = wg_buf_len(&b);
  }
  if (code == WG_OK) code = seal(bytes, size, fd, err);
  if (b.data) wg_wipe(b.data, b.cap);
  wg_buf_release(&b);
  if (code != WG_OK) return code;
  vfs_snapshot *known = &v->snapshots[at];
  if (known->fd >= 0) {
    close(known->fd);
    v->kept--;
  }
  *known = (vfs_snapshot){.fd = -1, .version = version, .size = size};
  atomic_fetch_add_explicit(&v->made, 1, memory_order_relaxed);
  if (v->kept < VFS_KEPT_MAX) {
    known->fd = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    if (known->fd >= 0) v->kept++;
  }
  return WG_OK;
}

/** The current snapshot of bytes or a provider. */
static wg_code open_snapshot(wg_vfs *v, size_t at, uint64_t *version, int *fd, wg_error *err) {
  const vfs_source *s = &v->sources[at];
  *fd = -1;
  if (*version && *version == current_version(s)) return WG_OK;
  pthread_mutex_lock(&v->lock);
  uint64_t now = current_version(s);
  const vfs_snapshot *known = &v->snapshots[at];
  wg_code code = WG_OK;
  if (known->fd >= 0 && known->version == now) {
    *fd = fcntl(known->fd, F_DUPFD_CLOEXEC, 3);
    if (*fd < 0) code = memory_failed(err);
  } else {
    code = make_snapshot(v, at, now, fd, err);
  }
  pthread_mutex_unlock(&v->lock);
  if (code == WG_OK) *version = now;
  return code;
}

/** Bytes that a provider's content has now; 0 when it cannot be made. */
static size_t provider_size(wg_vfs *v, size_t at) {
  int fd = -1;
  size_t size = 0;
  pthread_mutex_lock(&v->lock);
  uint64_t now = current_version(&v->sources[at]);
  if (v->snapshots[at].version == now || make_snapshot(v, at, now, &fd, NULL) == WG_OK)
    size = v->snapshots[at].size;
  pthread_mutex_unlock(&v->lock);
  if (fd >= 0) close(fd);
  return size;
}

/* ---- files of the host ---- */

wg_code wg__vfs_open_host(const char *path, int *out, size_t *size, wg_error *err) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) != 0) {
    int sys = errno;
    if (fd >= 0) close(fd);
    bool gone = sys == ENOENT || sys == ENOTDIR;
    return wg_error_set(err, gone ? WG_NOT_FOUND : WG_IO, sys, "cannot read '%s': %s", path,
                        wg_os_error(sys));
  }
  if (!S_ISREG(st.st_mode)) {
    close(fd);
    return wg_error_set(err, WG_INVALID, 0, "'%s' is not a regular file", path);
  }
  *out = fd;
  *size = (size_t)st.st_size;
  return WG_OK;
}

wg_code wg__vfs_read_host(int fd, const char *path, size_t max, uint8_t **bytes, size_t *size,
                          wg_error *err) {
  struct stat st;
  size_t cap = fstat(fd, &st) == 0 && (size_t)st.st_size < max ? (size_t)st.st_size + 1 : max + 1;
  uint8_t *text = malloc(cap);
  wg_code code = text ? WG_OK : wg_error_set(err, WG_NOMEM, 0, "out of memory");
  size_t n = 0;
  while (code == WG_OK) {
    if (n == cap) { /* it grew meanwhile */
      cap = cap * 2 < max + 1 ? cap * 2 : max + 1;
      uint8_t *grown = n > max ? NULL : realloc(text, cap);
      if (grown)
        text = grown;
      else
        code = n > max ? wg_error_set(err, WG_EXHAUSTED, 0, "'%s' is larger than %zu MiB", path,
                                      max >> 20)
                       : wg_error_set(err, WG_NOMEM, 0, "out of memory");
      continue;
    }
    ssize_t got = read(fd, text + n, cap - n);
    if (got == 0) break;
    if (got > 0)
      n += (size_t)got;
    else if (errno != EINTR)
      code = wg_error_set(err, WG_IO, errno, "cannot read '%s': %s", path, wg_os_error(errno));
  }
  if (code != WG_OK) {
    if (text) wg_wipe(text, n);
    free(text);
    return code;
  }
  *bytes = text;
  *size = n;
  return WG_OK;
}

static wg_code open_device(const vfs_source *s, uint64_t *version, int *fd, wg_error *err) {
  struct stat st;
  *fd = -1;
  if (*version == 1) return WG_OK;
  int mode = s->writable ? O_RDWR : O_RDONLY, sys = 0;
  *fd = open(s->u.host, mode | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (*fd < 0 || fstat(*fd, &st) != 0)
    sys = errno;
  else if (!S_ISCHR(st.st_mode))
    sys = ENODEV;
  if (sys == 0) {
    *version = 1;
    return WG_OK;
  }
  if (*fd >= 0) close(*fd);
  *fd = -1;
  return wg_error_set(err, WG_IO, sys, "cannot open '%s': %s", s->u.host, wg_os_error(sys));
}

/* ---- the tree ---- */

static void describe(wg_vfs *v, size_t at, wg_vfs_node *out) {
  const vfs_entry *e = &v->entries[at];
  if (e->directory) {
    *out = (wg_vfs_node){
        .type = WG_VFS_DIRECTORY, .flags = e->whole ? WG_VFS_WHOLE : 0, .id = (uint64_t)at + 1};
    return;
  }
  const vfs_source *s = &v->sources[e->first];
  struct stat st;
  *out = (wg_vfs_node){.type = s->kind == VFS_DEVICE ? WG_VFS_DEVICE : WG_VFS_FILE,
                       .flags = s->writable ? WG_VFS_WRITABLE : 0,
                       .id = CONTENT_ID + e->first};
  switch (s->kind) {
  case VFS_STATIC:
  case VFS_COPY: out->size = s->size; break;
  case VFS_PROVIDER: out->size = provider_size(v, e->first); break;
  case VFS_LIVE: out->size = stat(s->u.host, &st) == 0 ? (uint64_t)st.st_size : 0; break;
  case VFS_DEVICE: break;
  }
}

/** The child of that name; 0: none. */
static size_t find_child(const wg_vfs *v, const vfs_entry *dir, const char *name, size_t n) {
  size_t low = dir->first, high = low + dir->count;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    const vfs_entry *e = &v->entries[mid];
    size_t shared = n < e->name_len ? n : e->name_len;
    int c = memcmp(name, e->name, shared);
    if (c == 0 && n == e->name_len) return mid;
    if (c < 0 || (c == 0 && n < e->name_len))
      high = mid;
    else
      low = mid + 1;
  }
  return 0;
}

wg_code wg_vfs_find(wg_vfs *v, const char *base, size_t base_len, const char *path, size_t len,
                    wg_path *canonical, wg_vfs_node *out) {
  *out = (wg_vfs_node){.type = WG_VFS_NONE};
  switch (wg_path_canonical(base, base_len, path, len, canonical)) {
  case WG_PATH_INVALID: return WG_INVALID;
  case WG_PATH_OUTSIDE: out->type = WG_VFS_OUTSIDE; return WG_OK;
  case WG_PATH_EMPTY:
    return wg_path_canonical("", 0, base, base_len, canonical) == WG_PATH_OK ? WG_OK : WG_INVALID;
  case WG_PATH_OK: break;
  }
  size_t at = 0;
  const char *p = canonical->text + 1, *end = canonical->text + canonical->len;
  while (p < end) {
    const vfs_entry *e = &v->entries[at];
    const char *slash = memchr(p, '/', (size_t)(end - p));
    size_t n = (size_t)((slash ? slash : end) - p);
    size_t next = e->directory ? find_child(v, e, p, n) : 0;
    if (!next) {
      if (e->whole || !e->directory) out->type = WG_VFS_MISSING;
      if (!e->directory) out->flags |= WG_VFS_BELOW_FILE;
      return WG_OK;
    }
    at = next;
    p += n + 1;
  }
  describe(v, at, out);
  if (canonical->directory) out->flags |= WG_VFS_AS_DIRECTORY;
  return WG_OK;
}

bool wg_vfs_list(wg_vfs *v, uint64_t id, size_t index, const char **name, size_t *name_len,
                 wg_vfs_node *out) {
  if (id == 0 || id > v->entry_count) return false;
  const vfs_entry *dir = &v->entries[id - 1];
  if (!dir->directory || index >= dir->count) return false;
  size_t at = dir->first + index;
  *name = v->entries[at].name;
  *name_len = v->entries[at].name_len;
  describe(v, at, out);
  return true;
}

wg_code wg_vfs_open(wg_vfs *v, uint64_t id, uint64_t *version, int *fd, wg_error *err) {
  *fd = -1;
  if (id < CONTENT_ID || id - CONTENT_ID >= v->source_count)
    return wg_error_set(err, WG_NOT_FOUND, 0, "no virtual file has the number %llu",
                        (unsigned long long)id);
  size_t at = (size_t)(id - CONTENT_ID), size;
  const vfs_source *s = &v->sources[at];
  switch (s->kind) {
  case VFS_STATIC:
  case VFS_COPY:
  case VFS_PROVIDER: break;
  case VFS_DEVICE: return open_device(s, version, fd, err);
  case VFS_LIVE: {
    wg_code code = wg__vfs_open_host(s->u.host, fd, &size, err);
    if (code == WG_OK) *version = 0;
    return code;
  }
  }
  return open_snapshot(v, at, version, fd, err);
}

wg_vfs_stats wg_vfs_get_stats(const wg_vfs *v) {
  return (wg_vfs_stats){
      .files = v->file_count,
      .directories = v->entry_count - v->file_count,
      .snapshots = atomic_load_explicit(&v->made, memory_order_relaxed),
  };
}
