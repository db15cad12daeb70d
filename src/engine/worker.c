/* SPDX-License-Identifier: Apache-2.0 */
/** @file worker.c  One worker thread: a libuv loop nested in the runtime's poller, with the DNS,
 *  the database sessions and the guest instances that live on it.
 *
 *    tenure:  current --a newer site was adopted--> over --last use--> freed
 *    pools:   SERVING --last tenure--> DRAINING --no server connection left--> DRAINED: freed
 *
 *  What ends is freed from on_wake(), never under the feet of a caller. */
#include "engine/engine_internal.h"
#include <stdlib.h>
#include <string.h>

/* ---- the runtime's poller behind src/net/watch.h ---- */

static wg_code rt_watch_start(void *ctx, int fd, wg_watch_cb cb, void *user, wg_watch **out,
                              wg_error *err) {
  wgrt_error e;
  wgrt_watch *watch;
  if (wgrt_watch_start(((wg_worker *)ctx)->thread.rt, fd, cb, user, &watch, &e) != 0)
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

static void rt_kick(void *ctx) { wgrt_worker_kick(((wg_worker *)ctx)->thread.rt); }

/* ---- a loop and its runtime worker ---- */

wg_code wg__thread_init(wg_thread *t, wg_engine *e, const wgrt_host *host, uv_async_cb on_wake,
                        int stop_fd, wg_error *err) {
  int rc = uv_loop_init(&t->uv);
  if (rc != 0) return wg_error_set(err, WG_IO, rc, "cannot make a loop: %s", uv_strerror(rc));
  rc = uv_async_init(&t->uv, &t->wake, on_wake);
  if (rc != 0) {
    (void)uv_loop_close(&t->uv);
    return wg_error_set(err, WG_IO, rc, "cannot make a loop: %s", uv_strerror(rc));
  }
  t->wake.data = t;
  wgrt_error re;
  if (wgrt_worker_new(e->rt, host, stop_fd, &t->rt, &re) == 0) return WG_OK;
  t->rt = NULL;
  wg__thread_release(t);
  return wg__engine_error(err, &re);
}

void wg__thread_stop(wg_thread *t) {
  wgrt_worker_free(t->rt);
  t->rt = NULL;
}

void wg__thread_release(wg_thread *t) {
  uv_close((uv_handle_t *)&t->wake, NULL);
  (void)uv_run(&t->uv, UV_RUN_DEFAULT);
  int rc = uv_loop_close(&t->uv);
  WG_ASSERT(rc == 0); /* somebody left a handle open */
}

/* ---- pools and tenures ---- */

static void on_db_drained(void *user) {
  wg_worker_pools *p = user;
  p->state = POOLS_DRAINED;
  uv_async_send(&p->worker->thread.wake);
}

static void pools_drain(wg_worker_pools *p) {
  if (p->state != POOLS_SERVING) return;
  p->state = POOLS_DRAINING;
  wg_db_worker_drain(p->db, on_db_drained, p);
}

static void pools_free(wg_worker_pools *p) {
  wg_worker *w = p->worker;
  wg_pools *shared = p->pools;
  wg_list_remove(&w->pools, &p->by_worker);
  wg_db_worker_free(p->db);
  free(p);
  wg__pools_unref(shared);
}

static wg_code pools_of(wg_worker *w, wg_pools *shared, wg_worker_pools **out, wg_error *err) {
  for (wg_node *n = wg_list_first(&w->pools); n; n = wg_list_next(&w->pools, n)) {
    *out = WG_CONTAINER(n, wg_worker_pools, by_worker);
    if ((*out)->pools == shared && (*out)->state == POOLS_SERVING) return WG_OK;
  }
  wg_worker_pools *p = calloc(1, sizeof *p);
  if (!p) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  wg_code code = wg_db_worker_new(shared->db, &w->loop, w->dns, &p->db, err);
  if (code != WG_OK) {
    free(p);
    return code;
  }
  p->worker = w;
  p->pools = wg__pools_ref(shared);
  wg_node_init(&p->by_worker);
  wg_list_push_back(&w->pools, &p->by_worker);
  *out = p;
  return WG_OK;
}

static void tenure_free(wg_tenure *t) {
  wg_list_remove(&t->worker->tenures, &t->by_worker);
  if (--t->pools->tenures == 0) pools_drain(t->pools);
  wg__site_unref(t->site);
  free(t);
}

/** Begins with a site, whose reference it takes, also on failure. */
static wg_code tenure_begin(wg_worker *w, wg_site *site, wg_error *err) {
  wg_tenure *t = calloc(1, sizeof *t);
  wg_code code = t ? WG_OK : wg_error_set(err, WG_NOMEM, 0, "out of memory");
  if (code == WG_OK) code = pools_of(w, site->pools, &t->pools, err);
  if (code != WG_OK) {
    wg__site_unref(site);
    free(t);
    return code;
  }
  t->pools->tenures++;
  t->worker = w;
  t->site = site;
  wg_node_init(&t->by_worker);
  wg_list_push_back(&w->tenures, &t->by_worker);
  w->current = t;
  return WG_OK;
}

wg_tenure *wg__worker_tenure(wg_worker *w, const wg_app *app) {
  for (wg_node *n = wg_list_last(&w->tenures); n != &w->tenures.head; n = n->prev) {
    wg_tenure *t = WG_CONTAINER(n, wg_tenure, by_worker);
    if (t->site == app->site) return t;
  }
  WG_ASSERT(false);
  return NULL;
}

void wg__tenure_unuse(wg_tenure *t) {
  WG_ASSERT(t->uses > 0);
  if (--t->uses == 0 && t != t->worker->current) uv_async_send(&t->worker->thread.wake);
}

/** Takes names, and their reference. @return false: their servers cannot be asked, the old ones are */
static bool worker_adopt_names(wg_worker *w, wg_names *names) {
  wg_error err;
  bool adopted = wg_dns_adopt(w->dns, names, &err) == WG_OK;
  if (!adopted)
    wg_log(&(wg_log_ctx){.worker = w->index}, WG_LOG_ERROR, "worker_names_failed",
           WG_KV_S("error", err.msg));
  wg_names_unref(names);
  return adopted;
}

/** Takes the engine's current site, if it is another. @return false: the old one stays */
static bool worker_adopt(wg_worker *w) {
  wg_site *site = wg__engine_site(w->engine);
  wg_tenure *old = w->current;
  wg_error err;
  if (site == old->site) {
    wg__site_unref(site);
  } else if (tenure_begin(w, site, &err) != WG_OK) {
    wg_log(&(wg_log_ctx){.worker = w->index}, WG_LOG_ERROR, "worker_reload_failed",
           WG_KV_S("error", err.msg));
    return false;
  } else {
    /* Before they are retired: who has a signal to take is not idle. */
    wg__worker_signal(w, WG_SIGNAL_HANGUP);
    for (size_t i = 0; i < old->site->app_count; i++)
      wgrt_worker_retire(w->thread.rt, old->site->apps[i]->rt);
  }
  return true;
}

/** Tells control that the worker has what it was to take, or goes. The engine's lock is held. */
static void worker_settle(wg_worker *w, bool failed) {
  wg_engine *e = w->engine;
  if (!w->owes) return;
  w->owes = false;
  e->adopt_failed |= failed;
  if (--e->adopting == 0) wg__control_adopted(e->control);
}

static void on_wake(uv_async_t *async) {
  wg_worker *w = async->data;
  pthread_mutex_lock(&w->engine->lock);
  bool owes = w->owes;
  wg_names *names = wg_names_ref(w->engine->names); /* of what it owes, or newer */
  pthread_mutex_unlock(&w->engine->lock);
  wg_roster_wake(&w->roster);
  bool named = worker_adopt_names(w, names); /* before the site: its pools may dial at once */
  if (owes) {
    bool adopted = worker_adopt(w);
    pthread_mutex_lock(&w->engine->lock);
    worker_settle(w, !adopted || !named);
    pthread_mutex_unlock(&w->engine->lock);
  }
  for (wg_node *n = wg_list_first(&w->tenures), *next; n; n = next) {
    wg_tenure *t = WG_CONTAINER(n, wg_tenure, by_worker);
    next = wg_list_next(&w->tenures, n);
    if (t != w->current && t->uses == 0) tenure_free(t);
  }
  for (wg_node *n = wg_list_first(&w->pools), *next; n; n = next) {
    wg_worker_pools *p = WG_CONTAINER(n, wg_worker_pools, by_worker);
    next = wg_list_next(&w->pools, n);
    if (p->state == POOLS_DRAINED && p->tenures == 0) pools_free(p);
  }
}

/* ---- life ---- */

static void worker_register(wg_worker *w) {
  pthread_mutex_lock(&w->engine->lock);
  w->engine->workers[w->index - 1] = w;
  pthread_mutex_unlock(&w->engine->lock);
}

/** In one step: what is published afterwards does not count on this worker. */
static void worker_unregister(wg_worker *w) {
  pthread_mutex_lock(&w->engine->lock);
  worker_settle(w, false);
  w->engine->workers[w->index - 1] = NULL;
  pthread_mutex_unlock(&w->engine->lock);
}

wg_code wg__worker_init(wg_worker *w, wg_engine *e, unsigned index, wg_error *err) {
  *w = (wg_worker){.engine = e, .index = index, .stop_signal = -1};
  w->metrics = &e->metrics[(size_t)(index - 1) * WG_SLOTS];
  wg_list_init(&w->tenures);
  wg_list_init(&w->pools);
  wgrt_host host;
  wg__bridge_host(w, &host);
  host.spin = e->cpu_hundredths >= 200; /* alone on a core it would keep the server off it */
  wg_code c = wg__thread_init(&w->thread, e, &host, on_wake, e->stop_fds[index - 1], err);
  if (c != WG_OK) return c;
  wg_roster_init(&w->roster, index);
  w->loop = (wg_loop){.uv = &w->thread.uv,
                      .watch = &watch_runtime,
                      .watch_ctx = w,
                      .clock = wg_clock_monotonic,
                      .worker = index,
                      .kick = rt_kick};
  worker_register(w); /* first: what is published from here on is not missed */
  wg_names *names = wg__engine_names(e);
  c = wg_dns_new(names, &w->loop, &e->dns_metrics[index - 1], &w->dns, err);
  wg_names_unref(names);
  if (c == WG_OK) c = tenure_begin(w, wg__engine_site(e), err);
  if (c != WG_OK) wg__worker_release(w);
  return c;
}

void wg__worker_release(wg_worker *w) {
  worker_unregister(w);
  /* First the guests, which give back what they hold; then what they held it of. */
  wg__thread_stop(&w->thread);
  for (wg_node *n; (n = wg_list_first(&w->tenures));) {
    wg_tenure *t = WG_CONTAINER(n, wg_tenure, by_worker);
    WG_ASSERT(t->uses == 0);
    t->pools->state = POOLS_DRAINED; /* freed below: nothing is left to wait for */
    tenure_free(t);
  }
  for (wg_node *n; (n = wg_list_first(&w->pools));)
    pools_free(WG_CONTAINER(n, wg_worker_pools, by_worker));
  wg_roster_release(&w->roster);
  if (w->dns) wg_dns_log_stats(w->dns);
  wg_dns_free(w->dns);
  wg__thread_release(&w->thread);
}

/** Non-zero while there is work of ours to wait for. */
static int worker_idle(void *ctx) {
  wg_worker *w = ctx;
  bool busy = false;
  for (wg_node *n = wg_list_first(&w->pools); n; n = wg_list_next(&w->pools, n)) {
    wg_worker_pools *p = WG_CONTAINER(n, wg_worker_pools, by_worker);
    pools_drain(p);
    busy |= p->state != POOLS_DRAINED;
  }
  return busy && atomic_load(&w->engine->stops) < 2;
}

wg_code wg__worker_serve(wg_worker *w, const int *fds, size_t count, wg_error *err) {
  wgrt_error e;
  const wg_config *c = w->engine->config;
  const wgrt_listen_cfg listen = {.size = sizeof listen, .header_bytes = c->header_bytes};
  if (wgrt_worker_listen(w->thread.rt, &listen, fds, count, &e) != 0 ||
      wgrt_worker_run(w->thread.rt, c->drain_timeout_ms, worker_idle, &e) != 0)
    return wg__engine_error(err, &e);
  return WG_OK;
}

wg_code wg__worker_run(wg_worker *w, wg_app *app, int *exit_code, wg_error *err) {
  wgrt_error e;
  if (wgrt_worker_run_command(w->thread.rt, app->rt, w->engine->config->drain_timeout_ms, exit_code,
                              &e) != 0)
    return wg__engine_error(err, &e);
  return WG_OK;
}
