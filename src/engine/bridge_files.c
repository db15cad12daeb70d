/* SPDX-License-Identifier: Apache-2.0 */
/** @file bridge_files.c  The runtime's view of src/vfs: each decision about a path is an event at
 *  debug. */
#include "engine/engine_internal.h"
#include "vfs/vfs.h"
#include <string.h>

_Static_assert((int)WGRT_NODE_NONE == (int)WG_VFS_NONE, "same types");
_Static_assert((int)WGRT_NODE_FILE == (int)WG_VFS_FILE, "same types");
_Static_assert((int)WGRT_NODE_DIRECTORY == (int)WG_VFS_DIRECTORY, "same types");
_Static_assert((int)WGRT_NODE_DEVICE == (int)WG_VFS_DEVICE, "same types");
_Static_assert((int)WGRT_NODE_MISSING == (int)WG_VFS_MISSING, "same types");
_Static_assert((int)WGRT_NODE_OUTSIDE == (int)WG_VFS_OUTSIDE, "same types");
_Static_assert((int)WGRT_NODE_WRITABLE == (int)WG_VFS_WRITABLE, "same flags");
_Static_assert((int)WGRT_NODE_WHOLE == (int)WG_VFS_WHOLE, "same flags");
_Static_assert((int)WGRT_NODE_AS_DIRECTORY == (int)WG_VFS_AS_DIRECTORY, "same flags");
_Static_assert((int)WGRT_NODE_BELOW_FILE == (int)WG_VFS_BELOW_FILE, "same flags");
_Static_assert((int)WGRT_PATH_MAX == (int)WG_PATH_MAX, "same limit");

/** Events about files that could not be opened, a worker; guests may try again without end. */
enum { FAILURES_PER_S = 5 };

static wgrt_node node_of(const wg_vfs_node *n) {
  return (wgrt_node){.type = n->type, .flags = n->flags, .id = n->id, .size = n->size};
}

/** A path as it was given: the canonical one is empty when it is refused. */
static void log_decision(const wg_worker *w, const wg_instance *i, wgrt_bytes base, wgrt_bytes path,
                         const wg_path *canonical, const wg_vfs_node *n, wg_code code) {
  static const char *const kinds[] = {"real", "file", "directory", "device", "missing", "outside"};
  const wg_log_ctx lc = {.app = i->app->name, .worker = w->index};
  const char *p = (const char *)path.p;
  if (code != WG_OK || n->type == WG_VFS_OUTSIDE)
    wg_log(&lc, WG_LOG_DEBUG, "file_refused", WG_KV_N("path", p, path.n),
           WG_KV_N("base", (const char *)base.p, base.n),
           WG_KV_S("reason", code == WG_OK ? "outside" : "invalid"));
  else if (n->type == WG_VFS_NONE)
    wg_log(&lc, WG_LOG_DEBUG, "file_real", WG_KV_N("path", canonical->text, canonical->len));
  else
    wg_log(&lc, WG_LOG_DEBUG, "file_virtual", WG_KV_N("path", canonical->text, canonical->len),
           WG_KV_S("kind", kinds[n->type]));
}

static int32_t bridge_file_find(void *ctx, void *inst, wgrt_bytes base, wgrt_bytes path,
                                wgrt_node *out, char *canonical) {
  const wg_instance *i = inst;
  wg_path p;
  wg_vfs_node node;
  *out = (wgrt_node){.type = WGRT_NODE_NONE};
  canonical[0] = '\0';
  if (!i->app->vfs) return 0;
  wg_code code = wg_vfs_find(i->app->vfs, (const char *)base.p, base.n, (const char *)path.p,
                             path.n, &p, &node);
  if (wg_log_enabled(WG_LOG_DEBUG)) log_decision(ctx, i, base, path, &p, &node, code);
  if (code != WG_OK) return code;
  *out = node_of(&node);
  memcpy(canonical, p.text, p.len + 1);
  return 0;
}

static int32_t bridge_file_open(void *ctx, void *inst, uint64_t id, uint64_t *version, int *fd,
                                wgrt_error *out) {
  wg_worker *w = ctx;
  const wg_instance *i = inst;
  wg_error err;
  uint32_t suppressed;
  wg_code code = i->app->vfs ? wg_vfs_open(i->app->vfs, id, version, fd, &err)
                             : wg_error_set(&err, WG_NOT_FOUND, 0, "there are no virtual files");
  if (code == WG_OK) return 0;
  const wg_log_ctx lc = {.app = i->app->name, .worker = w->index};
  if (wg_log_allow(&w->file_limit, FAILURES_PER_S, wg_now_ms(&w->loop.clock), &suppressed))
    wg_log(&lc, WG_LOG_WARN, "file_failed", WG_KV_S("reason", err.msg),
           WG_KV_U("suppressed", suppressed));
  snprintf(out->msg, sizeof out->msg, "%s", err.msg);
  return code;
}

static int32_t bridge_file_list(void *ctx, void *inst, uint64_t id, size_t index, wgrt_bytes *name,
                                wgrt_node *out) {
  (void)ctx;
  const wg_instance *i = inst;
  wg_vfs_node node;
  const char *text;
  size_t n;
  if (!i->app->vfs || !wg_vfs_list(i->app->vfs, id, index, &text, &n, &node)) return 0;
  *name = wg__bytes(text, n);
  *out = node_of(&node);
  return 1;
}

void wg__bridge_files(wgrt_host *out) {
  out->file_find = bridge_file_find;
  out->file_open = bridge_file_open;
  out->file_list = bridge_file_list;
}
