/* SPDX-License-Identifier: Apache-2.0 */
/** @file bridge_names.c  The runtime's view of src/dns. */
#include "engine/engine_internal.h"

static void bridge_resolve(void *ctx, void *inst, wgrt_op_resolve *op) {
  (void)ctx, (void)inst;
  wgrt_op_complete(&op->op, WG_NOT_FOUND, NULL);
}

static void bridge_resolve_cancel(void *ctx, void *inst, wgrt_op_resolve *op) {
  (void)ctx, (void)inst, (void)op;
}

void wg__bridge_names(wgrt_host *out) {
  out->resolve = bridge_resolve;
  out->resolve_cancel = bridge_resolve_cancel;
}
