/* SPDX-License-Identifier: Apache-2.0 */
#include "signals/signals.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[WG_SIGNAL_COUNT] = {
    [WG_SIGNAL_TERMINATE] = "terminate",
    [WG_SIGNAL_HANGUP] = "hangup",
    [WG_SIGNAL_INTERRUPT] = "interrupt",
};

const char *wg_signal_name(wg_signal signal) { return names[signal]; }

int wg_signal_find(const char *name, size_t len) {
  for (int i = 0; i < WG_SIGNAL_COUNT; i++)
    if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) return i;
  return -1;
}

wg_signal_queue *wg_signal_queue_new(uint32_t capacity) {
  WG_ASSERT(capacity > 0);
  wg_signal_queue *q = calloc(1, sizeof *q + capacity);
  if (!q) return NULL;
  q->capacity = capacity;
  wg_list_init(&q->waiters);
  return q;
}

void wg_signal_queue_free(wg_signal_queue *q) {
  WG_ASSERT(!q || wg_list_empty(&q->waiters));
  free(q);
}

wg_signal_put_result wg_signal_put(wg_signal_queue *q, wg_signal signal) {
  if (!(q->interest & 1u << signal)) return WG_SIGNAL_IGNORED;
  if (q->count < q->capacity) {
    q->items[(q->first + q->count++) % q->capacity] = (uint8_t)signal;
    return WG_SIGNAL_QUEUED;
  }
  q->items[q->first] = (uint8_t)signal;
  q->first = (q->first + 1) % q->capacity;
  q->dropped++;
  bool before = q->overflowing;
  q->overflowing = true;
  return before ? WG_SIGNAL_DROPPED : WG_SIGNAL_OVERFLOWED;
}

int wg_signal_take(wg_signal_queue *q) {
  if (q->count == 0) return -1;
  int signal = q->items[q->first];
  q->first = (q->first + 1) % q->capacity;
  if (--q->count == 0) q->overflowing = false;
  return signal;
}

bool wg_signal_wait_start(wg_signal_queue *q, wg_signal_wait *w) {
  wg_node_init(&w->node);
  if (q->count > 0) return true;
  wg_list_push_back(&q->waiters, &w->node);
  return false;
}

void wg_signal_wait_cancel(wg_signal_queue *q, wg_signal_wait *w) {
  wg_list_remove(&q->waiters, &w->node);
}

wg_signal_wait *wg_signal_wait_next(wg_signal_queue *q) {
  wg_node *n = q->count > 0 ? wg_list_first(&q->waiters) : NULL;
  if (!n) return NULL;
  wg_list_remove(&q->waiters, n);
  return WG_CONTAINER(n, wg_signal_wait, node);
}
