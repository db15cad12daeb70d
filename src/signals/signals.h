/* SPDX-License-Identifier: Apache-2.0 */
/** @file signals.h  The queue of signals of one guest instance: bounded, of the signals that the
 *  guest asked for, dropping the oldest when full. No thread, no lock, no clock: roster.h has them.
 *
 *    EMPTY --put--> SOME --put--> FULL --put: the oldest goes--> OVERFLOWING --taken to the last--> EMPTY */
#pragma once
#include "base/base.h"
#include <warpgrid/engine.h>

enum { WG_SIGNAL_COUNT = 3, WG_SIGNAL_MASK = (1u << WG_SIGNAL_COUNT) - 1 };

/** "terminate", "hangup", "interrupt". Static. */
const char *wg_signal_name(wg_signal signal);
/** The signal of that name; -1: none. */
int wg_signal_find(const char *name, size_t len);

/** Somebody who waits; caller's memory until it was told or canceled. */
typedef struct wg_signal_wait {
  wg_node node;
  void (*ready)(struct wg_signal_wait *w); /**< comes once: there is one to take */
} wg_signal_wait;

typedef struct wg_signal_queue {
  uint32_t interest; /**< 1 << wg_signal, of those asked for */
  uint32_t capacity, first, count;
  uint64_t dropped; /**< in its life */
  bool overflowing; /**< dropped one since it was last empty */
  wg_list waiters; /**< in order of their coming */
  uint8_t items[];
} wg_signal_queue;

/** @param capacity  1 or more
 *  @return NULL: out of memory */
wg_signal_queue *wg_signal_queue_new(uint32_t capacity);
/** Nobody may wait any more. NULL is fine. */
void wg_signal_queue_free(wg_signal_queue *q);

typedef enum wg_signal_put_result {
  WG_SIGNAL_IGNORED, /**< nobody asked for it */
  WG_SIGNAL_QUEUED,
  WG_SIGNAL_OVERFLOWED, /**< queued in place of the oldest: the first time since it was empty */
  WG_SIGNAL_DROPPED     /**< queued in place of the oldest, again */
} wg_signal_put_result;
/** Queues a signal; wg_signal_wait_next() says who is to be told. */
wg_signal_put_result wg_signal_put(wg_signal_queue *q, wg_signal signal);
/** Takes the oldest one; -1: none. */
int wg_signal_take(wg_signal_queue *q);
/** @return true: there is one to take already, and nobody waits; false: w waits */
bool wg_signal_wait_start(wg_signal_queue *q, wg_signal_wait *w);
/** Ends a wait that was not told. */
void wg_signal_wait_cancel(wg_signal_queue *q, wg_signal_wait *w);
/** Whoever waits longest, which ends its wait, if there is one to take; NULL: nobody. All who wait
 *  are told, not one for each signal: who is told may be gone before it takes, and who finds nothing
 *  waits again. */
wg_signal_wait *wg_signal_wait_next(wg_signal_queue *q);
