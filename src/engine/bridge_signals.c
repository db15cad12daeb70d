/* SPDX-License-Identifier: Apache-2.0 */
/** @file bridge_signals.c  The runtime's view of signals. */
#include "engine/engine_internal.h"

static void bridge_signal_interest(void *ctx, void *inst, uint32_t mask) {
  (void)ctx, (void)inst, (void)mask;
}
static int32_t bridge_signal_take(void *ctx, void *inst) {
  (void)ctx, (void)inst;
  return -1;
}
static void bridge_signal_wait(void *ctx, void *inst, wgrt_op_signal *op) {
  (void)ctx, (void)inst, (void)op;
}
static void bridge_signal_wait_cancel(void *ctx, void *inst, wgrt_op_signal *op) {
  (void)ctx, (void)inst, (void)op;
}
static int32_t bridge_signal_waiting(void *ctx, void *inst) {
  (void)ctx, (void)inst;
  return 0;
}
static uint32_t bridge_stopping(void *ctx) {
  (void)ctx;
  return 0;
}

void wg__bridge_signals(wgrt_host *out) {
  out->signal_interest = bridge_signal_interest;
  out->signal_take = bridge_signal_take;
  out->signal_wait = bridge_signal_wait;
  out->signal_wait_cancel = bridge_signal_wait_cancel;
  out->signal_waiting = bridge_signal_waiting;
  out->stopping = bridge_stopping;
}
