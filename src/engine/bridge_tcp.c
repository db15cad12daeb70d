/* SPDX-License-Identifier: Apache-2.0 */
/** @file bridge_tcp.c  Where a guest's TCP connections go. */
#include "engine/engine_internal.h"

static void bridge_tcp_connect(void *ctx, void *inst, wgrt_op_tcp_connect *op) {
  (void)ctx, (void)inst;
  wg_error err;
  wg_error_set(&err, WG_REFUSED, 0, "connections to addresses are not allowed");
  wg__op_complete(&op->op, &err);
}

static void bridge_tcp_connect_cancel(void *ctx, void *inst, wgrt_op_tcp_connect *op) {
  (void)ctx, (void)inst, (void)op;
}

void wg__bridge_tcp(wgrt_host *out) {
  out->tcp_connect = bridge_tcp_connect;
  out->tcp_connect_cancel = bridge_tcp_connect_cancel;
}
