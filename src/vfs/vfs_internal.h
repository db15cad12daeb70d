/* SPDX-License-Identifier: Apache-2.0 */
/** @file vfs_internal.h  The map's insides, for its builder. */
#pragma once
#include "vfs/vfs.h"
#include <pthread.h>
#include <stdatomic.h>

typedef enum vfs_source_kind {
  VFS_STATIC,
  VFS_COPY, /**< wiped and freed */
  VFS_PROVIDER,
  VFS_DEVICE,
  VFS_LIVE
} vfs_source_kind;

/** Where content comes from. */
typedef struct vfs_source {
  vfs_source_kind kind;
  bool writable;
  size_t size; /**< STATIC, COPY */
  union {
    const uint8_t *bytes; /**< STATIC, COPY */
    wg_vfs_provider provider;
    char *host; /**< DEVICE, LIVE: path on the host */
  } u;
} vfs_source;
/** Frees what it owns. */
void wg__vfs_source_release(vfs_source *s);

/** A file or a directory; children of a directory stand together, by their names. */
typedef struct vfs_entry {
  const char *name; /**< in the arena; not NUL-terminated */
  uint32_t name_len;
  bool directory, whole;
  uint32_t first; /**< directory: its first child; file: its source */
  uint32_t count; /**< of children */
} vfs_entry;

/** Memory for the names, freed as a whole. */
typedef struct vfs_chunk {
  struct vfs_chunk *next;
  size_t used, size;
  char text[];
} vfs_chunk;
void wg__vfs_chunks_free(vfs_chunk *c);

/** The file in memory of a source; under the lock. */
typedef struct vfs_snapshot {
  int fd; /**< -1: none is kept */
  uint64_t version; /**< 0: none was made */
  size_t size;
} vfs_snapshot;

struct wg_vfs {
  /* immutable */
  vfs_entry *entries; /**< [0] is "/" */
  size_t entry_count, file_count;
  vfs_source *sources;
  size_t source_count;
  vfs_chunk *names;
  /* snapshots */
  pthread_mutex_t lock;
  vfs_snapshot *snapshots; /**< one a source */
  size_t kept; /**< fds in them */
  atomic_uint_fast64_t made;
};

/** Contents that were added so far: the next one's number. */
size_t wg__vfs_sources(const wg_vfs_builder *b);
/** Adds another name for a content. */
void wg__vfs_add_again(wg_vfs_builder *b, const char *path, size_t source);
/** Opens a regular file of the host for reading: never waits for a FIFO or takes a terminal.
 *  @param size  gets its size now
 *  @return WG_OK; WG_NOT_FOUND, WG_INVALID: not a regular file, WG_IO */
WG_MUSTCHECK wg_code wg__vfs_open_host(const char *path, int *fd, size_t *size, wg_error *err);
/** Reads the rest of it into memory of the caller's.
 *  @return WG_OK; WG_EXHAUSTED: more than max; WG_IO, WG_NOMEM */
WG_MUSTCHECK wg_code wg__vfs_read_host(int fd, const char *path, size_t max, uint8_t **bytes,
                                       size_t *size, wg_error *err);
