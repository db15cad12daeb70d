/* SPDX-License-Identifier: Apache-2.0 */
/** @file watch.h  Readiness of a non-blocking fd, without owning the fd.
 *
 *  Two implementations stand behind one small table: the runtime's (the worker's own poller, one
 *  persistent registration an fd: no system call to arm) and libuv's (unit tests, TSan).
 *  The contract is the edge-triggered one of epoll(7):
 *    - a fresh watch counts as not ready in both directions: arm before the first wait;
 *    - arm only after the direction was drained: the last read or write gave EAGAIN or was short;
 *      what becomes ready between the drain and the arm is not lost;
 *    - the callback comes at most once an arm, from the loop, never inside a call of ours;
 *    - POLL hang-up and errors are reported as ready in every armed direction: read to learn why.
 *    - the peer's end of stream stays ready: an arm after the short read that it came along with is
 *      answered, though epoll has no new edge for it;
 *    - a callback may be mistaken: be ready for EAGAIN.
 *  Everything happens on the loop's thread. */
#pragma once
#include "base/base.h"

enum { WG_WATCH_READ = 1, WG_WATCH_WRITE = 2 };

typedef struct wg_watch wg_watch;
/** @param events  the armed directions that became ready; they are disarmed now. The callback may
 *                 stop the watch. */
typedef void (*wg_watch_cb)(void *user, unsigned events);

typedef struct wg_watch_ops {
  /** Starts watching; *out is valid until stop. The fd must be non-blocking and outlive it. */
  wg_code (*start)(void *ctx, int fd, wg_watch_cb cb, void *user, wg_watch **out, wg_error *err);
  /** Asks for one callback when any of `events` is ready; adds to what is armed already. */
  void (*arm)(void *ctx, wg_watch *w, unsigned events);
  /** Ends it: no callback comes after this returns. The caller closes the fd afterwards. */
  void (*stop)(void *ctx, wg_watch *w);
} wg_watch_ops;

/** What a worker lends to the code that runs on it. */
struct uv_loop_s;
typedef struct wg_loop {
  struct uv_loop_s *uv;        /**< timers, DNS, signals, files */
  const wg_watch_ops *watch;   /**< sockets of the data path */
  void *watch_ctx;
  wg_clock clock;              /**< monotonic; tests move it */
  unsigned worker;             /**< 1-based, for logs */
  void (*kick)(void *watch_ctx); /**< a timer of `uv` was moved nearer outside of uv_run(): look at
                                      its timeout again. NULL where uv_run() drives the thread */
} wg_loop;

/** libuv's implementation of the table; ctx is the uv_loop_t. Its own handles close on the loop
 *  after stop, so run the loop before closing it. */
extern const wg_watch_ops wg_watch_uv;
