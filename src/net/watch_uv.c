/* SPDX-License-Identifier: Apache-2.0 */
#include "net/watch.h"
#include <stdlib.h>
#include <uv.h>

/* OPEN, nothing armed --arm--> OPEN, armed --ready | hang-up--> OPEN, less armed
 *      OPEN --stop--> CLOSING --uv's close callback--> freed
 * uv_poll is level-triggered, so what is not armed is not polled for. */

struct wg_watch {
  uv_poll_t poll;
  unsigned armed;
  wg_watch_cb cb;
  void *user;
};

static void on_poll(uv_poll_t *h, int status, int events);

static void watch_poll_for(wg_watch *w, unsigned armed) {
  w->armed = armed;
  int events =
      ((armed & WG_WATCH_READ) ? UV_READABLE : 0) | ((armed & WG_WATCH_WRITE) ? UV_WRITABLE : 0);
  if (events)
    uv_poll_start(&w->poll, events, on_poll); /* cannot fail on an open handle */
  else
    uv_poll_stop(&w->poll);
}

static void on_poll(uv_poll_t *h, int status, int events) {
  wg_watch *w = h->data;
  unsigned ready = ((events & UV_READABLE) ? WG_WATCH_READ : 0u) |
                   ((events & UV_WRITABLE) ? WG_WATCH_WRITE : 0u);
  if (status < 0 || ready == 0) ready = WG_WATCH_READ | WG_WATCH_WRITE;
  ready &= w->armed;
  watch_poll_for(w, w->armed & ~ready);
  if (ready) w->cb(w->user, ready);
}

static wg_code watch_uv_start(void *ctx, int fd, wg_watch_cb cb, void *user, wg_watch **out,
                              wg_error *err) {
  wg_watch *w = calloc(1, sizeof *w);
  if (!w) return wg_error_set(err, WG_NOMEM, 0, "watch: out of memory");
  int rc = uv_poll_init(ctx, &w->poll, fd);
  if (rc != 0) {
    free(w);
    return wg_error_set(err, WG_IO, rc, "watch: %s", uv_strerror(rc));
  }
  w->poll.data = w;
  w->cb = cb;
  w->user = user;
  *out = w;
  return WG_OK;
}

static void watch_uv_arm(void *ctx, wg_watch *w, unsigned events) {
  (void)ctx;
  watch_poll_for(w, w->armed | events);
}

static void on_closed(uv_handle_t *h) { free(h->data); }

static void watch_uv_stop(void *ctx, wg_watch *w) {
  (void)ctx;
  uv_poll_stop(&w->poll);
  uv_close((uv_handle_t *)&w->poll, on_closed);
}

const wg_watch_ops wg_watch_uv = {
    .start = watch_uv_start, .arm = watch_uv_arm, .stop = watch_uv_stop};
