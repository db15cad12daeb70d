/* SPDX-License-Identifier: Apache-2.0 */
/** @file bridge_files.c  The runtime's view of virtual files. */
#include "engine/engine_internal.h"

static int32_t bridge_file_find(void *ctx, void *inst, wgrt_bytes base, wgrt_bytes path,
                                wgrt_node *out, char *canonical) {
  (void)ctx, (void)inst, (void)base, (void)path;
  *out = (wgrt_node){.type = WGRT_NODE_NONE};
  canonical[0] = '\0';
  return 0;
}

static int32_t bridge_file_open(void *ctx, void *inst, uint64_t id, uint64_t *version, int *fd,
                                wgrt_error *err) {
  (void)ctx, (void)inst, (void)id, (void)version, (void)fd, (void)err;
  return WG_NOT_FOUND;
}

static int32_t bridge_file_list(void *ctx, void *inst, uint64_t id, size_t index, wgrt_bytes *name,
                                wgrt_node *out) {
  (void)ctx, (void)inst, (void)id, (void)index, (void)name, (void)out;
  return 0;
}

void wg__bridge_files(wgrt_host *out) {
  out->file_find = bridge_file_find;
  out->file_open = bridge_file_open;
  out->file_list = bridge_file_list;
}
