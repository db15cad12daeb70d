/* SPDX-License-Identifier: Apache-2.0 */
/** @file serve.c  The embedding API: serving with a thread a worker and one for control, running a
 *  command, and the two calls that reach them from outside. */
#include "base/text.h"
#include "engine/engine_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct thread_arg {
  wg_engine *engine;
  const int *fds;
  size_t count;
  unsigned index;
  wg_error err;
  pthread_t thread;
  bool started;
} thread_arg;

static void close_all(const int *fds, size_t count) {
  for (size_t i = 0; i < count; i++) close(fds[i]);
}

static void *serve_thread(void *p) {
  thread_arg *t = p;
  wg_worker w;
  wg_code c = wg__worker_init(&w, t->engine, t->index, &t->err);
  if (c == WG_OK) {
    c = wg__worker_serve(&w, t->fds, t->count, &t->err);
    wg__worker_release(&w);
  } else {
    close_all(t->fds, t->count);
  }
  if (c == WG_OK)
    t->err.code = WG_OK;
  else
    wg_engine_stop(t->engine); /* one worker less would serve worse in silence */
  return NULL;
}

/** Sockets of one kind. */
typedef struct listeners {
  int *fds; /* workers x per_worker */
  size_t per_worker;
  char **urls;
} listeners;

static void listeners_release(listeners *l) {
  free(l->fds);
  wg__listen_free_urls(l->urls);
}

/** Runs all workers to their end; the caller's thread is the first. */
static wg_code run_workers(wg_engine *e, const wg_serve_options *o, const listeners *l,
                           wg_error *err) {
  wg_code c = WG_OK;
  thread_arg *threads = calloc(e->worker_count, sizeof *threads);
  if (!threads) {
    close_all(l->fds, l->per_worker * e->worker_count);
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  for (unsigned i = 0; i < e->worker_count; i++) {
    threads[i] = (thread_arg){
        .engine = e, .fds = l->fds + i * l->per_worker, .count = l->per_worker, .index = i + 1};
    if (i == 0) continue;
    int rc = pthread_create(&threads[i].thread, NULL, serve_thread, &threads[i]);
    threads[i].started = rc == 0;
    if (rc != 0) {
      wg_error_set(&threads[i].err, WG_IO, rc, "cannot start a worker: %s", wg_os_error(rc));
      close_all(threads[i].fds, l->per_worker);
      wg_engine_stop(e);
    }
  }
  if (o->on_listening) o->on_listening(o->user, (const char *const *)l->urls);
  (void)serve_thread(&threads[0]);
  for (unsigned i = 0; i < e->worker_count; i++) {
    if (threads[i].started) pthread_join(threads[i].thread, NULL);
    if (c == WG_OK && threads[i].err.code != WG_OK) {
      c = threads[i].err.code;
      if (err) *err = threads[i].err;
    }
  }
  free(threads);
  return c;
}

static wg_code open_admin(wg_engine *e, listeners *l, wg_error *err) {
  char *const *on = e->config->admin_listen;
  if (!on || !on[0]) return WG_OK;
  wg_code c = wg__listen_open(on, 1, &l->fds, &l->per_worker, &l->urls, err);
  if (c != WG_OK) {
    wg_error_wrap(err, "admin endpoint");
    return c;
  }
  for (char **u = l->urls; *u; u++)
    wg_log(NULL, WG_LOG_INFO, "admin_listening", WG_KV_S("url", *u));
  return WG_OK;
}

/** What is to be served first, and the sockets for it. */
static wg_code prepare(wg_engine *e, const wg_serve_options *o, listeners *public, listeners *admin,
                       wg_error *err) {
  if (e->served)
    return wg_error_set(err, WG_INVALID, 0, "the engine has served before; make another");
  uint64_t early; /* a reload of what is not served yet */
  if (read(e->reload_fd, &early, sizeof early) < 0 && errno != EAGAIN)
    return wg_error_set(err, WG_IO, errno, "cannot read an eventfd: %s", wg_os_error(errno));
  wg_code c = wg__site_load(e, e->site, o, err);
  if (c == WG_OK)
    c = wg__listen_open(e->config->listen, e->worker_count, &public->fds, &public->per_worker,
                        &public->urls, err);
  if (c == WG_OK) c = open_admin(e, admin, err);
  return c;
}

wg_code wg_engine_serve(wg_engine *e, const wg_serve_options *options, wg_error *err) {
  const wg_serve_options none = {0}, *o = options ? options : &none;
  listeners public = {0}, admin = {0};
  wg_code c = prepare(e, o, &public, &admin, err);
  if (c == WG_OK)
    c = wg__control_start(e, o, admin.fds, admin.per_worker, (const char *const *)public.urls, err);
  if (c == WG_OK) {
    e->served = true;
    c = run_workers(e, o, &public, err);
    wg__control_stop(e->control);
  } else {
    if (public.fds) close_all(public.fds, public.per_worker * e->worker_count);
    if (admin.fds) close_all(admin.fds, admin.per_worker);
  }
  listeners_release(&public);
  listeners_release(&admin);
  wg__site_unload(e->site); /* the engine may live on, the caller's app need not */
  return c;
}

wg_code wg_engine_run(wg_engine *e, wg_app *app, int *exit_code, wg_error *err) {
  if (app->kind != WG_COMPONENT_P2_COMMAND && app->kind != WG_COMPONENT_P3_COMMAND) {
    wg_error_set(err, WG_INVALID, 0, "cannot run the component: it exports no command");
    wg_error_hint(err, "a command exports wasi:cli/run; a service is served with 'warp serve'");
    return WG_INVALID;
  }
  static const char *const no_urls[] = {NULL};
  bool registry = e->config->registry_url != NULL;
  wg_worker w;
  wg_code c = registry ? wg__control_start(e, NULL, NULL, 0, no_urls, err) : WG_OK;
  if (c != WG_OK) return c;
  c = wg__worker_init(&w, e, 1, err);
  if (c == WG_OK) {
    app->slot = wg__engine_slot(e, app->name);
    c = wg__worker_run(&w, app, exit_code, err);
    wg__worker_release(&w);
  }
  if (registry) wg__control_stop(e->control);
  return c;
}

/** Adds 1 to an eventfd; safe in a signal handler. */
static void notify(int fd) {
  const uint64_t one = 1;
  int saved = errno;
  ssize_t n = write(fd, &one, sizeof one); /* cannot overflow before 2^64 of them */
  (void)n;
  errno = saved;
}

void wg_engine_stop_with(wg_engine *e, wg_signal signal) {
  int none = -1, known = (unsigned)signal < WG_SIGNAL_COUNT ? (int)signal : WG_SIGNAL_TERMINATE;
  atomic_compare_exchange_strong(&e->stop_signal, &none, known);
  atomic_fetch_add(&e->stops, 1);
  for (unsigned i = 0; i < e->worker_count; i++) notify(e->stop_fds[i]);
}

void wg_engine_stop(wg_engine *e) { wg_engine_stop_with(e, WG_SIGNAL_TERMINATE); }

void wg_engine_reload(wg_engine *e) { notify(e->reload_fd); }
