/* SPDX-License-Identifier: Apache-2.0 */
/** @file worker.c  One worker thread: a libuv loop nested in the runtime's poller, with the DNS,
 *  the database sessions and the guest instances that live on it.
 *
 *    SERVING --stop, requests done--> DRAINING --no server connection left--> DRAINED */
#include "engine/engine_internal.h"
#include <string.h>

/* ---- the runtime's poller behind src/net/watch.h ---- */

static wg_code rt_watch_start(void *ctx, int fd, wg_watch_cb cb, void *user, wg_watch **out,
                              wg_error *err) {
  wgrt_error e;
  wgrt_watch *watch;
  if (wgrt_watch_start(((wg_worker *)ctx)->rt, fd, cb, user, &watch, &e) != 0)
    return wg__engine_error(err, &e);
  *out = (wg_watch *)watch;
  return WG_OK;
}
static void rt_watch_arm(void *ctx, wg_watch *w, unsigned events) {
  (void)ctx;
  wgrt_watch_arm((wgrt_watch *)w, events);
}
static void rt_watch_stop(void *ctx, wg_watch *w) {
  (void)ctx;
  wgrt_watch_stop((wgrt_watch *)w);
}
static const wg_watch_ops watch_runtime = {rt_watch_start, rt_watch_arm, rt_watch_stop};

static void rt_kick(void *ctx) { wgrt_worker_kick(((wg_worker *)ctx)->rt); }

/* ---- life ---- */

static void loop_close(wg_worker *w) {
  uv_close((uv_handle_t *)&w->keep, NULL);
  (void)uv_run(&w->uv, UV_RUN_DEFAULT);
  int rc = uv_loop_close(&w->uv);
  WG_ASSERT(rc == 0); /* somebody left a handle open */
}

wg_code wg__worker_init(wg_worker *w, wg_engine *e, unsigned index, wg_error *err) {
  *w = (wg_worker){.engine = e, .index = index, .state = WORKER_SERVING};
  int rc = uv_loop_init(&w->uv);
  if (rc != 0) return wg_error_set(err, WG_IO, rc, "cannot make a loop: %s", uv_strerror(rc));
  rc = uv_async_init(&w->uv, &w->keep, NULL);
  if (rc != 0) {
    (void)uv_loop_close(&w->uv);
    return wg_error_set(err, WG_IO, rc, "cannot make a loop: %s", uv_strerror(rc));
  }
  w->loop = (wg_loop){.uv = &w->uv,
                      .watch = &watch_runtime,
                      .watch_ctx = w,
                      .clock = wg_clock_monotonic,
                      .worker = index,
                      .kick = rt_kick};
  wgrt_host host;
  wg__bridge_host(w, &host);
  wgrt_error re;
  wg_code c;
  if (wgrt_worker_new(e->rt, &host, e->stop_fds[index - 1], &w->rt, &re) != 0)
    c = wg__engine_error(err, &re);
  else if ((c = wg_dns_new(e->config, &w->loop, &w->dns, err)) == WG_OK)
    c = wg_db_worker_new(e->db, &w->loop, w->dns, &w->db, err);
  if (c != WG_OK) wg__worker_release(w);
  return c;
}

void wg__worker_release(wg_worker *w) {
  /* First the guests, which give back what they hold; then what they held it of. */
  wgrt_worker_free(w->rt);
  if (w->db) wg_db_worker_free(w->db);
  if (w->dns) wg_dns_free(w->dns);
  loop_close(w);
}

static void on_db_drained(void *user) { ((wg_worker *)user)->state = WORKER_DRAINED; }

/** Non-zero while there is work of ours to wait for. */
static int worker_idle(void *ctx) {
  wg_worker *w = ctx;
  if (w->state == WORKER_SERVING) {
    w->state = WORKER_DRAINING;
    wg_db_worker_drain(w->db, on_db_drained, w);
  }
  return w->state != WORKER_DRAINED && atomic_load(&w->engine->stops) < 2;
}

wg_code wg__worker_serve(wg_worker *w, wg_app *app, const int *fds, size_t count, wg_error *err) {
  wgrt_error e;
  if (wgrt_worker_serve(w->rt, app->rt, fds, count, &e) != 0 ||
      wgrt_worker_run(w->rt, w->engine->config->drain_timeout_ms, worker_idle, &e) != 0)
    return wg__engine_error(err, &e);
  return WG_OK;
}

wg_code wg__worker_run(wg_worker *w, wg_app *app, int *exit_code, wg_error *err) {
  wgrt_error e;
  if (wgrt_worker_run_command(w->rt, app->rt, exit_code, &e) != 0) return wg__engine_error(err, &e);
  return WG_OK;
}
