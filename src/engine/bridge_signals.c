/* SPDX-License-Identifier: Apache-2.0 */
/** @file bridge_signals.c  The runtime's view of signals: each function one call of src/signals. */
#include "engine/engine_internal.h"

_Static_assert(sizeof(wg_signal_wait) <= sizeof(((wgrt_op_signal *)0)->space), "room for a wait");

/** Makes the instance's queue with its first call. @return NULL: out of memory, *err says it */
static wg_roster_member *ask(wg_instance *i, uint32_t mask, wg_error *err) {
  wg_roster_member *m = wg__instance_known(i);
  if (!m)
    wg_error_set(err, WG_NOMEM, 0, "out of memory");
  else if (wg_roster_ask(m, mask, i->app->site->config->signals_queue, err) == WG_OK)
    return m;
  return NULL;
}

static void bridge_signal_interest(void *ctx, void *inst, uint32_t mask) {
  wg_worker *w = ctx;
  wg_instance *i = inst;
  wg_error err;
  uint32_t before = i->known && i->known->queue ? i->known->queue->interest : 0;
  wg_roster_member *m = ask(i, mask, &err);
  const wg_log_ctx lc = {.app = i->app->name, .worker = w->index};
  if (!m)
    wg_log(&lc, WG_LOG_ERROR, "signal_interest_failed", WG_KV_S("error", err.msg));
  else if (w->stop_signal >= 0 && mask & ~before & 1u << w->stop_signal) {
    /* The others were told before it asked. */
    (void)wg_roster_deliver(&w->roster, m->id, NULL, (wg_signal)w->stop_signal);
    wg_roster_wake(&w->roster); /* another of its tasks may wait already */
  }
}

static int32_t bridge_signal_take(void *ctx, void *inst) {
  (void)ctx;
  wg_instance *i = inst;
  return i->known ? wg_roster_take(i->known) : -1;
}

static wgrt_op_signal *op_of(wg_signal_wait *w) {
  return WG_CONTAINER((uint64_t *)(void *)w, wgrt_op_signal, space);
}
static wg_signal_wait *wait_of(wgrt_op_signal *op) { return (wg_signal_wait *)(void *)op->space; }

static void on_ready(wg_signal_wait *w) { wg__op_complete(&op_of(w)->op, NULL); }

static void bridge_signal_wait(void *ctx, void *inst, wgrt_op_signal *op) {
  (void)ctx;
  wg_error err;
  wg_roster_member *m = ask(inst, 0, &err);
  if (m)
    wg_roster_wait(m, wait_of(op), on_ready);
  else
    wg__op_complete(&op->op, &err);
}

static void bridge_signal_wait_cancel(void *ctx, void *inst, wgrt_op_signal *op) {
  (void)ctx;
  wg_roster_wait_cancel(((wg_instance *)inst)->known, wait_of(op));
}

static int32_t bridge_signal_waiting(void *ctx, void *inst) {
  (void)ctx;
  wg_instance *i = inst;
  return i->known && wg_roster_waiting(i->known);
}

static uint32_t bridge_stopping(void *ctx) {
  wg_worker *w = ctx;
  int signal = atomic_load(&w->engine->stop_signal);
  w->stop_signal = signal < 0 ? WG_SIGNAL_TERMINATE : signal;
  return (uint32_t)wg__worker_signal(w, (wg_signal)w->stop_signal);
}

void wg__bridge_signals(wgrt_host *out) {
  out->signal_interest = bridge_signal_interest;
  out->signal_take = bridge_signal_take;
  out->signal_wait = bridge_signal_wait;
  out->signal_wait_cancel = bridge_signal_wait_cancel;
  out->signal_waiting = bridge_signal_waiting;
  out->stopping = bridge_stopping;
}
