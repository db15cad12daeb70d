/* SPDX-License-Identifier: Apache-2.0 */
/** @file deadline.h  Deadlines without a timer each.
 *
 *  Everything that waits for the same length of time is one class, a FIFO list: what was started
 *  first is due first. Starting or stopping is a list operation, and one uv timer a worker, set to
 *  the earliest of all, is touched only when a deadline earlier than it appears. Times come from
 *  the loop's wg_clock, so tests move them and call wg_deadlines_run(). Not thread-safe: everything
 *  on the loop's thread. */
#pragma once
#include "net/watch.h"

typedef struct wg_deadlines wg_deadlines;
typedef struct wg_deadline_class wg_deadline_class;

/** One running or stopped deadline: the owner's memory. */
typedef struct wg_deadline {
  wg_node node;
  wg_deadline_class *of;  /**< NULL while it does not run */
  uint64_t at_ms;         /**< on the loop's clock */
  /** Comes from the loop, once a start; the deadline is stopped and may be started again or its
   *  memory be freed. */
  void (*expired)(struct wg_deadline *d);
} wg_deadline;

/** @param loop  borrowed; must outlive the set */
WG_MUSTCHECK wg_code wg_deadlines_new(const wg_loop *loop, wg_deadlines **out, wg_error *err);
/** All deadlines must be stopped. Its uv timer closes on the loop afterwards. NULL is fine. */
void wg_deadlines_free(wg_deadlines *set);
/** The class of a duration, made at the first call; lives as long as the set.
 *  @return NULL when memory ran out */
wg_deadline_class *wg_deadlines_class(wg_deadlines *set, uint64_t timeout_ms);
/** Expires what is due by now. */
void wg_deadlines_run(wg_deadlines *set);

static inline void wg_deadline_init(wg_deadline *d, void (*expired)(wg_deadline *d)) {
  wg_node_init(&d->node);
  d->of = NULL;
  d->at_ms = 0;
  d->expired = expired;
}
/** Due in the class's duration from now. `d` must be stopped. NULL class: no deadline at all. */
void wg_deadline_start(wg_deadline_class *c, wg_deadline *d);
/** Stopping twice is fine. */
void wg_deadline_stop(wg_deadline *d);
