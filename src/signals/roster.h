/* SPDX-License-Identifier: Apache-2.0 */
/** @file roster.h  The guest instances of a worker that others can reach: those that asked for
 *  signals or declared a threading model. An instance that does neither is in no roster and pays
 *  nothing.
 *
 *    any thread ──wg_roster_deliver──▶ the queue of each instance ──▶ wake-up of the worker's loop
 *    worker     ──wg_roster_wake────▶ those who wait, and the warning of a queue that overflowed
 *
 *  Membership and waiters belong to the worker; what is in a queue, interest and model are guarded
 *  by the lock, which is never held across a callback, I/O or a write to the log. */
#pragma once
#include "signals/signals.h"
#include "threading/threading.h"
#include <pthread.h>

/** The low bits of an instance's id name its worker. */
enum { WG_ROSTER_WORKER_BITS = 11 };
static inline unsigned wg_roster_worker_of(uint64_t id) {
  return (unsigned)(id & ((1u << WG_ROSTER_WORKER_BITS) - 1));
}

typedef struct wg_roster {
  pthread_mutex_t lock;
  wg_list members;
  unsigned worker; /**< 1-based */
  bool pending;    /**< something was delivered since the last wake; under the lock */
} wg_roster;

/** One instance. */
typedef struct wg_roster_member {
  wg_node node;
  wg_roster *roster;
  uint64_t id; /**< unique in the process, never 0, never used again */
  const char *service; /**< borrowed as long as it is a member */
  uint64_t since_ms; /**< monotonic */
  wg_signal_queue *queue; /**< NULL until it asked; set under the lock */
  bool overflowed; /**< the log is still to tell; under the lock */
  wg_threading model; /**< written by the worker under the lock */
} wg_roster_member;

/** @param worker  1-based, below 1 << WG_ROSTER_WORKER_BITS */
void wg_roster_init(wg_roster *r, unsigned worker);
/** All members must have left. */
void wg_roster_release(wg_roster *r);

/* ---- on the worker's thread ---- */

/** @param service  borrowed until it leaves
 *  @param since_ms  when the instance began
 *  @return NULL: out of memory */
wg_roster_member *wg_roster_join(wg_roster *r, const char *service, uint64_t since_ms);
/** Nobody may wait any more. NULL is fine. */
void wg_roster_leave(wg_roster_member *m);
/** Registers interest in addition to earlier calls; a queue is made with the first one.
 *  @param mask      1 << wg_signal; other bits are left out; 0 makes the queue only
 *  @param capacity  of the queue
 *  @return WG_OK; WG_NOMEM */
WG_MUSTCHECK wg_code wg_roster_ask(wg_roster_member *m, uint32_t mask, uint32_t capacity,
                                   wg_error *err);
/** Takes the oldest signal; -1: none. */
int wg_roster_take(wg_roster_member *m);
/** Calls ready once there is one to take. It asked before (with any mask). */
void wg_roster_wait(wg_roster_member *m, wg_signal_wait *w, void (*ready)(wg_signal_wait *w));
/** Ends a wait whose ready has not come. */
void wg_roster_wait_cancel(wg_roster_member *m, wg_signal_wait *w);
/** True while somebody waits and there is nothing to take. */
bool wg_roster_waiting(wg_roster_member *m);
/** wg_threading_declare() for a member. */
WG_MUSTCHECK wg_code wg_roster_declare(wg_roster_member *m, wg_threading model,
                                       atomic_bool *warned);
/** After deliveries: tells those who wait, and logs "signal_dropped" once for each queue that
 *  overflowed, until it was empty. */
void wg_roster_wake(wg_roster *r);

/* ---- any thread ---- */

/** How far a delivery came. */
typedef struct wg_roster_told {
  size_t matched; /**< instances that ask for any signal */
  size_t told;    /**< of them, those that asked for this one */
} wg_roster_told;
/** Puts a signal into the queues of members; the worker must be woken when told > 0.
 *  @param id       of one member; 0: of all
 *  @param service  whose instances; NULL: of all */
wg_roster_told wg_roster_deliver(wg_roster *r, uint64_t id, const char *service, wg_signal signal);
/** A copy of every member.
 *  @param list   grows by realloc(3); the caller's, with each service, also on failure
 *  @param count  in and out
 *  @return WG_OK; WG_NOMEM */
WG_MUSTCHECK wg_code wg_roster_list(wg_roster *r, uint64_t now_ms, wg_instance_info **list,
                                    size_t *count, wg_error *err);
