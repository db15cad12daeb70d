/* SPDX-License-Identifier: Apache-2.0 */
/** @file vfs.h  Virtual files: an immutable map from guest paths to content, made by a builder.
 *
 *    wg_vfs_builder ── add ... ──▶ wg_vfs_build() ──▶ wg_vfs ── find, list: any thread, no lock
 *                                                       └──── open: content becomes a sealed file
 *                                                             in memory, shared until its version
 *                                                             changes
 *
 *  Content comes from bytes, from a provider (a function whose content has a version), from a device
 *  or a file of the host. Real folders are none of its business: a path that is not here is NONE. */
#pragma once
#include "base/buf.h"
#include "vfs/path.h"

typedef enum wg_vfs_type {
  WG_VFS_NONE,      /**< not virtual */
  WG_VFS_FILE,
  WG_VFS_DIRECTORY, /**< implied by what is below it, or declared whole */
  WG_VFS_DEVICE,    /**< of endless or no content */
  WG_VFS_MISSING,   /**< below a whole directory or a file, and not there */
  WG_VFS_OUTSIDE    /**< leaves its base, or is absolute in spite of it */
} wg_vfs_type;
enum {
  WG_VFS_WRITABLE = 1u << 0,    /**< takes writes */
  WG_VFS_WHOLE = 1u << 1,       /**< a directory of which nothing real is seen */
  WG_VFS_AS_DIRECTORY = 1u << 2, /**< the path ended with "/", "." or ".." */
  WG_VFS_BELOW_FILE = 1u << 3 /**< MISSING: what it would be in is no directory */
};
/** What a path stands for. */
typedef struct wg_vfs_node {
  wg_vfs_type type;
  uint32_t flags; /**< WG_VFS_* */
  uint64_t id; /**< > 0 within its map; names of one content share it, as hard links do; 0: none */
  uint64_t size; /**< bytes of a file */
} wg_vfs_node;

/** Content that is made when it is asked for. All functions: any thread, must not block. */
typedef struct wg_vfs_provider {
  /** Of the content as it is now: > 0, another one after each change; NULL: it never changes. */
  uint64_t (*version)(void *user);
  /** Appends the content. Never called twice at a time within a map. */
  wg_code (*content)(void *user, wg_buf *out, wg_error *err);
  /** Comes once: with the map's end, or the builder's. May be NULL. */
  void (*release)(void *user);
  void *user;
} wg_vfs_provider;

/** Bytes of one content, other than a live file's. */
enum { WG_VFS_CONTENT_MAX = 16 << 20 };

/* ---- building: one thread; the first failure sticks and comes out of wg_vfs_build() ---- */

typedef struct wg_vfs_builder wg_vfs_builder;
typedef struct wg_vfs wg_vfs;

/** NULL: out of memory, which all that follows takes for granted and wg_vfs_build() tells. */
wg_vfs_builder *wg_vfs_builder_new(void);
/** Drops what was not built. NULL is fine. */
void wg_vfs_builder_free(wg_vfs_builder *b);
/** Paths are absolute and made canonical; a path that was added before is replaced.
 *  @param bytes  borrowed as long as the map: static data */
void wg_vfs_add_static(wg_vfs_builder *b, const char *path, const void *bytes, size_t size);
/** @param bytes  copied, and wiped in the end */
void wg_vfs_add_copy(wg_vfs_builder *b, const char *path, const void *bytes, size_t size);
/** @param p  copied; p->release comes in any case; NULL: the caller ran out of memory */
void wg_vfs_add_provider(wg_vfs_builder *b, const char *path, const wg_vfs_provider *p);
/** A character device of the host. */
void wg_vfs_add_device(wg_vfs_builder *b, const char *path, const char *host, bool writable);
/** A regular file of the host that is opened each time: its content is never kept. */
void wg_vfs_add_live(wg_vfs_builder *b, const char *path, const char *host);
/** A second name for the content of a path that was added. */
void wg_vfs_add_link(wg_vfs_builder *b, const char *path, const char *target);
/** A directory of which guests see nothing real, with all below it. */
void wg_vfs_add_whole(wg_vfs_builder *b, const char *path);
/** The path of an entry that cannot be there together with a file of this path, because one would
 *  have to be a directory of the other; NULL: none. Borrowed from the builder. */
const char *wg_vfs_builder_clash(const wg_vfs_builder *b, const char *path);
/** Makes the map and frees the builder, also on failure.
 *  @return WG_OK; WG_INVALID: a path that is none, or two that clash; WG_NOMEM */
WG_MUSTCHECK wg_code wg_vfs_build(wg_vfs_builder *b, wg_vfs **out, wg_error *err);

/* ---- the map: any thread ---- */

/** NULL is fine. Files that were opened stay. */
void wg_vfs_free(wg_vfs *v);
/** Looks a path up after canonicalising it; see wg_path_canonical() for `base`. Allocates nothing,
 *  but for the size of a provider's content that nobody asked for yet.
 *  @param canonical  gets the canonical path; of an empty path its base's
 *  @return WG_OK; WG_INVALID: see WG_PATH_INVALID */
WG_MUSTCHECK wg_code wg_vfs_find(wg_vfs *v, const char *base, size_t base_len, const char *path,
                                 size_t len, wg_path *canonical, wg_vfs_node *out);
/** Opens the content of a FILE or DEVICE, close-on-exec, readable from any position.
 *  @param version  in: of the file that the caller has of this node, 0: none; out: the current
 *                  one's, or 0 when each open needs a file of its own
 *  @param fd  the caller's; -1 when the file that the caller has is the current one
 *  @return WG_OK; WG_NOT_FOUND: no such node, or its host file is gone; WG_INVALID: the host file
 *          is no file any more; WG_IO; WG_EXHAUSTED: larger than WG_VFS_CONTENT_MAX; WG_NOMEM */
WG_MUSTCHECK wg_code wg_vfs_open(wg_vfs *v, uint64_t id, uint64_t *version, int *fd, wg_error *err);
/** The index'th entry of a DIRECTORY, in byte order of names.
 *  @param name  borrowed from the map; not NUL-terminated
 *  @return false past the end, or when the node is no directory */
bool wg_vfs_list(wg_vfs *v, uint64_t id, size_t index, const char **name, size_t *name_len,
                 wg_vfs_node *out);

typedef struct wg_vfs_stats {
  size_t files, directories; /**< in the map */
  uint64_t snapshots; /**< contents that were made into a file in memory so far */
} wg_vfs_stats;
wg_vfs_stats wg_vfs_get_stats(const wg_vfs *v);
