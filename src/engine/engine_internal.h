/* SPDX-License-Identifier: Apache-2.0 */
/** @file engine_internal.h  What the files of src/engine share: the engine, its workers, and the
 *  bridge between the runtime's operations and our domains. */
#pragma once
#include "base/log.h"
#include "config/config.h"
#include "db/db.h"
#include "dns/dns.h"
#include "net/watch.h"
#include "wgrt.h"
#include <stdatomic.h>
#include <uv.h>
#include <warpgrid/engine.h>

/** Guest output lines a second and worker; more are counted and dropped. */
enum { WG_GUEST_LINES_PER_S = 1000 };

struct wg_engine {
  wg_config *config;
  wgrt_engine *rt;
  wg_db *db;
  atomic_uint stops; /**< asked for so far; any thread */
  int *stop_fds;     /**< an eventfd a worker, so that wg_engine_stop() is one write(2) each */
  unsigned worker_count;
};

struct wg_component {
  wgrt_component *rt;
};

struct wg_app {
  wgrt_app *rt;
  wg_component_kind kind;
  char *name; /**< for logs */
};

/** One worker thread's own world. Everything in it is used on that thread only. */
typedef struct wg_worker {
  wg_engine *engine;
  unsigned index; /**< 1-based */
  uv_loop_t uv;
  uv_async_t keep; /**< keeps the loop alive: an idle loop would ask to be run without end */
  wgrt_worker *rt;
  wg_loop loop;
  wg_dns *dns;
  wg_db_worker *db;
  enum { WORKER_SERVING, WORKER_DRAINING, WORKER_DRAINED } state;
  wg_log_limit output_limit;
} wg_worker;

/** Makes the worker of the calling thread.
 *  @param w  caller's memory at a stable address until wg__worker_release() */
WG_MUSTCHECK wg_code wg__worker_init(wg_worker *w, wg_engine *e, unsigned index, wg_error *err);
/** Serves until stopped; takes the fds. */
WG_MUSTCHECK wg_code wg__worker_serve(wg_worker *w, wg_app *app, const int *fds, size_t count,
                                      wg_error *err);
/** Runs a command to its end. */
WG_MUSTCHECK wg_code wg__worker_run(wg_worker *w, wg_app *app, int *exit_code, wg_error *err);
void wg__worker_release(wg_worker *w);

/** The table of host functions for a worker; ctx is the wg_worker. */
void wg__bridge_host(wg_worker *w, wgrt_host *out);

/** Turns the runtime's error into ours. */
wg_code wg__engine_error(wg_error *err, const wgrt_error *from);

static inline wgrt_bytes wg__bytes(const char *s, size_t n) {
  return (wgrt_bytes){(const uint8_t *)s, n};
}

/** Opens the listening sockets of one worker after another.
 *  @param listen  NULL-terminated "ADDR:PORT"; NULL or empty: localhost:8080
 *  @param out     fds of all workers: worker i has out[i * *per_worker ...]; caller's to free and
 *                 close
 *  @param urls    NULL-terminated, caller's to free, each and all */
WG_MUSTCHECK wg_code wg__listen_open(char *const *listen, unsigned workers, int **out,
                                     size_t *per_worker, char ***urls, wg_error *err);
void wg__listen_free_urls(char **urls);
