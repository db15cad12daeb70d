/* SPDX-License-Identifier: Apache-2.0 */
/** @file engine_internal.h  What the files of src/engine share.
 *
 *    wg_engine ── the current wg_site ── apps, router, configuration, pools   (one a reload)
 *        │              ▲ ref
 *        ├── wg_worker ─┴─ wg_tenure: a site on this worker, until its last request is gone
 *        └── wg_control: a thread for reloads and the admin endpoint
 *
 *  Threads. A site is immutable once workers know it, and counted. A worker and its tenures belong
 *  to its thread. wg_engine.lock guards what the engine's struct says. A swap reaches a worker as a
 *  wake-up of its loop; a request touches no lock and no atomic of ours but its own counters. */
#pragma once
#include "base/buf.h"
#include "base/log.h"
#include "config/config.h"
#include "db/db.h"
#include "dns/dns.h"
#include "http/router.h"
#include "net/watch.h"
#include "signals/roster.h"
#include "vfs/vfs.h"
#include "wgrt.h"
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>
#include <warpgrid/engine.h>

/** Guest output lines a second and worker; more are counted and dropped. */
enum { WG_GUEST_LINES_PER_S = 1000 };
/** Questions about names that one instance may have in progress, those of its connects included. */
enum { WG_LOOKUPS_MAX = 256 };

/* ---- counters of a service on one worker: written by its thread, read by any ---- */

enum { WG_LATENCY_BUCKETS = 14 };
/** Upper bounds of the buckets, in microseconds; one more bucket is open. */
extern const uint32_t wg__latency_bounds[WG_LATENCY_BUCKETS];
typedef struct wg_service_metrics {
  atomic_uint_fast64_t by_class[5]; /**< responses 1xx..5xx */
  atomic_uint_fast64_t buckets[WG_LATENCY_BUCKETS + 1];
  atomic_uint_fast64_t latency_us; /**< their sum */
  atomic_uint_fast64_t failures; /**< instances that trapped or ran into a limit */
  atomic_int_fast64_t instances; /**< alive now */
  atomic_uint_fast64_t outgoing[WGRT_OUTGOING_COUNT];
} wg_service_metrics;
/** Places for counters: 0 is for requests that no service got. A service keeps its place over
 *  reloads; names that find none left share 0. */
enum { WG_SLOTS = 1 + WG_SERVICES_MAX };

/* ---- what is served ---- */

/** Databases with the configuration that describes them: shared by the sites that agree on it. */
typedef struct wg_pools {
  atomic_uint refs;
  wg_config *config;
  wg_db *db;
} wg_pools;

wg_pools *wg__pools_ref(wg_pools *p);
/** Any thread; all their workers must be gone. NULL is fine. */
void wg__pools_unref(wg_pools *p);

/** One generation of what is served: a reload makes the next. Counted: the engine, each tenure, and
 *  a reload in progress hold one. */
typedef struct wg_site {
  atomic_uint refs;
  uint64_t generation; /**< 1 for the first */
  wg_config *config; /**< a reference */
  wg_pools *pools; /**< a reference */
  wg_app **apps; /**< owned: those made from files */
  size_t app_count;
  wg_router *router; /**< NULL until something is to be served */
  uint16_t *sentinels; /**< places of the databases' hosts, then of their own names; 0: none */
} wg_site;

/** @param config  the site's from now on, also on failure
 *  @param like    a site whose pools are shared when both agree on databases; NULL: none
 *  @return WG_OK, WG_NOMEM */
WG_MUSTCHECK wg_code wg__site_new(wg_config *config, wg_site *like, wg_site **out, wg_error *err);
/** Loads and links what is to be served: options->app, options->component, or what the site's
 *  configuration names. Any thread, before the site is published. */
WG_MUSTCHECK wg_code wg__site_load(wg_engine *e, wg_site *s, const wg_serve_options *options,
                                   wg_error *err);
/** Forgets what wg__site_load() loaded. No worker may know the site. */
void wg__site_unload(wg_site *s);
wg_site *wg__site_ref(wg_site *s);
/** Any thread. NULL is fine. */
void wg__site_unref(wg_site *s);

struct wg_component {
  wgrt_component *rt;
  char *path; /**< where it came from; NULL: from memory */
};

struct wg_app {
  wgrt_app *rt;
  wg_component_kind kind;
  char *name; /**< for logs */
  const wg_site *site; /**< whose rules it was linked by */
  wg_component *component; /**< owned when the site loaded it; NULL: the embedder's */
  const wg_service_config *service; /**< NULL: none of [services] */
  wg_vfs *vfs; /**< its virtual files; NULL: their shim is off */
  unsigned slot; /**< of its counters */
  atomic_bool threading_warned; /**< an instance required threads, and the log told it */
};

/** What differs from one app of a site to the next; all borrowed for the call. */
typedef struct wg_app_spec {
  const char *name;
  const char *const *args; /**< NULL-terminated; NULL: none */
  char *const *env; /**< added to the configuration's; NULL-terminated; NULL: none */
} wg_app_spec;
/** Links a component by the rules of a site. @param out  wg_app_free() */
WG_MUSTCHECK wg_code wg__app_new(wg_engine *e, const wg_site *site, wg_component *c,
                                 const wg_app_spec *spec, wg_app **out, wg_error *err);
bool wg__app_is_service(const wg_app *a);
/** WG_INVALID with the sentence for a component that cannot be served.
 *  @param path  where it came from; NULL: from memory */
wg_code wg__app_not_a_service(const wg_app *a, const char *path, wg_error *err);
/** Names every import, then every export, as seen with a configuration. */
void wg__inspect(const wg_config *config, const wg_component *c,
                 void (*item)(void *user, const wg_interface *i), void *user);

/* ---- threads ---- */

/** A libuv loop nested in the poller of a runtime worker; first member of its owner. */
typedef struct wg_thread {
  uv_loop_t uv;
  uv_async_t wake; /**< also keeps the loop alive: an idle one would ask to be run without end */
  wgrt_worker *rt;
} wg_thread;
/** @param host   its ctx is the owner
 *  @param on_wake  what uv_async_send(&t->wake) runs; wake.data is the owner */
WG_MUSTCHECK wg_code wg__thread_init(wg_thread *t, wg_engine *e, const wgrt_host *host,
                                     uv_async_cb on_wake, int stop_fd, wg_error *err);
/** Ends the runtime worker: guests go, and give back what they hold. */
void wg__thread_stop(wg_thread *t);
/** Closes the loop; all handles of others must be closed or closing. */
void wg__thread_release(wg_thread *t);

typedef struct wg_worker wg_worker;

/** Databases on one worker, for the tenures that share them. */
typedef struct wg_worker_pools {
  wg_node by_worker;
  wg_worker *worker;
  wg_pools *pools; /* a reference */
  wg_db_worker *db;
  unsigned tenures; /* 0: on its way out */
  enum { POOLS_SERVING, POOLS_DRAINING, POOLS_DRAINED } state;
} wg_worker_pools;

/** A site on one worker. */
typedef struct wg_tenure {
  wg_node by_worker;
  wg_worker *worker;
  wg_site *site; /* a reference */
  wg_worker_pools *pools;
  size_t uses; /* requests that were routed and instances that live */
} wg_tenure;

/** One worker thread's own world. Everything in it is used on that thread only, but `owes`. */
struct wg_worker {
  wg_thread thread;
  wg_engine *engine;
  unsigned index; /**< 1-based */
  bool owes; /**< has a published site still to take; under the engine's lock */
  wg_loop loop;
  wg_dns *dns; /* its cache outlives reloads */
  wg_list tenures; /* the current one, and those that still have uses */
  wg_list pools;
  wg_tenure *current;
  wg_service_metrics *metrics; /* WG_SLOTS */
  wg_log_limit output_limit, file_limit, connect_limit;
  wg_roster roster; /* instances that others can reach: its deliveries come from any thread */
  int stop_signal; /* the wg_signal of a stop, once it was told; -1 before */
};

/** Makes the worker of the calling thread, with the engine's current site.
 *  @param w  caller's memory at a stable address until wg__worker_release() */
WG_MUSTCHECK wg_code wg__worker_init(wg_worker *w, wg_engine *e, unsigned index, wg_error *err);
/** Serves until stopped; takes the fds. */
WG_MUSTCHECK wg_code wg__worker_serve(wg_worker *w, const int *fds, size_t count, wg_error *err);
/** Runs a command to its end. */
WG_MUSTCHECK wg_code wg__worker_run(wg_worker *w, wg_app *app, int *exit_code, wg_error *err);
void wg__worker_release(wg_worker *w);
/** The tenure of an app that was routed to or has instances. */
wg_tenure *wg__worker_tenure(wg_worker *w, const wg_app *app);
/** One use less; the last one of a tenure that is over ends it from the loop. */
void wg__tenure_unuse(wg_tenure *t);

/* ---- what the runtime calls ---- */

/** A guest instance as the host sees it; on its worker's thread. */
typedef struct wg_instance {
  wg_worker *worker;
  wg_app *app; /**< as long as the tenure */
  wg_tenure *tenure; /**< whose use it is */
  wg_db_guest *db; /**< NULL until its first connect */
  uint32_t lookups; /**< of names, in progress */
  uint64_t since_ms;
  wg_roster_member *known; /**< NULL until it asks for signals or declares a threading model */
  wg_allow_memory learned; /**< what its lookups allow it to dial */
} wg_instance;

/** The name that a sentinel stands for in the instance's configuration. @return false: for none */
bool wg__instance_sentinel_name(const wg_instance *i, const wg_dns_addr *a,
                                char out[2 * WG_DNS_NAME_MAX]);

static inline wg_allow wg__instance_allow(const wg_instance *i) {
  return (wg_allow){i->app->site->config->allow, i->app->site->config->allow_count};
}
/** Its databases, made with the first use. @return WG_OK, WG_NOMEM */
WG_MUSTCHECK wg_code wg__instance_db(wg_instance *i, wg_error *err);

/** Makes the instance known to others, once; NULL: out of memory. */
wg_roster_member *wg__instance_known(wg_instance *i);

/** The table of host functions for a worker; ctx is the wg_worker. */
void wg__bridge_host(wg_worker *w, wgrt_host *out);
/** Their parts of the table. */
void wg__bridge_files(wgrt_host *out);
void wg__bridge_names(wgrt_host *out);
void wg__bridge_signals(wgrt_host *out);
void wg__bridge_tcp(wgrt_host *out);
/** Ends an op with the sentence a guest gets: the message, and the hint that tells what to do.
 *  @param err  NULL: success */
void wg__op_complete(wgrt_op *op, const wg_error *err);

/* ---- signals for guests: instances.c ---- */

/** Delivers to the instances of this worker, and tells those who wait. On its thread.
 *  @return how many asked for this signal */
size_t wg__worker_signal(wg_worker *w, wg_signal signal);
/** Delivers to instances of all workers. Any thread.
 *  @param id       of one of them; 0: all
 *  @param service  whose; NULL: of all
 *  @return WG_OK; WG_NOT_FOUND: no such service, or no such instance; WG_INVALID: no signal */
WG_MUSTCHECK wg_code wg__engine_signal(wg_engine *e, uint64_t id, const char *service,
                                       wg_signal signal, size_t *told, wg_error *err);

/* ---- control: reloads and the admin endpoint, on a thread of their own ---- */

typedef struct wg_control wg_control;
/** Makes itself the engine's control before its thread begins. Returns when the HTTP registry, if
 *  there is one, has answered or was given the time for it.
 *  @param options  NULL: nothing is served, only the HTTP registry asked
 *  @param fds  listening sockets of the admin endpoint, taken on success; may be none
 *  @param urls  of all listeners, borrowed as long as the control lives */
WG_MUSTCHECK wg_code wg__control_start(wg_engine *e, const wg_serve_options *options,
                                       const int *fds, size_t fd_count, const char *const *urls,
                                       wg_error *err);
/** Waits for a reload in progress; all workers must be gone. */
void wg__control_stop(wg_control *c);
/** All workers took the site that was published. Any thread. */
void wg__control_adopted(wg_control *c);

/** How the last reload went. */
typedef struct wg_reload_result {
  bool any, ok;
  uint64_t generation; /**< being served since */
  char at[32]; /**< "2026-01-02T03:04:05Z" */
  char error[1032]; /**< message and hint; "" when ok */
} wg_reload_result;
/** "2026-01-02T03:04:05Z". */
void wg__utc_text(time_t when, char out[32]);
/** What the admin endpoint answers to POST /signal/NAME/SIGNAL and /signal/NAME@ID/SIGNAL.
 *  @param path  behind "/signal/", NUL-terminated
 *  @param out   gets the body, JSON; NUL-terminated
 *  @return the HTTP status */
int wg__admin_signal(wg_engine *e, const char *path, wg_buf *out);
/** What the admin endpoint answers to GET.
 *  @param out  gets the body; NUL-terminated
 *  @return the HTTP status; *json tells the kind of body */
int wg__admin_answer(wg_engine *e, const char *path, const wg_reload_result *last,
                     const char *const *urls, wg_buf *out, bool *json);
/* ---- the engine ---- */

struct wg_engine {
  wg_config *config; /**< the first; keys that only a restart changes never differ from it */
  wgrt_engine *rt;
  atomic_uint stops; /**< asked for so far; any thread */
  atomic_int stop_signal; /**< of the first stop; -1 before */
  int *stop_fds; /**< an eventfd a worker, so that wg_engine_stop() is one write(2) each */
  int reload_fd; /**< eventfd; control reads it */
  unsigned worker_count;
  uint32_t cpu_hundredths; /**< of a core that the process may use, at its start */
  wg_service_metrics *metrics; /**< WG_SLOTS a worker */
  wg_dns_metrics *dns_metrics; /**< one a worker */
  /** Places of guests' connects that the log told of: the hash, then the second until which it does
   *  not tell again. Any thread. */
  atomic_uint_fast64_t told[256];
  time_t started;
  uint64_t started_ms;
  struct { /* what wg_engine_new() was given, for the reload */
    char *config_text;
    char **listen, **admin, **env, **dirs; /* NULL-terminated; NULL: none */
    uint32_t workers;
    bool loopback_databases;
  } given;

  pthread_mutex_t lock; /**< guards what follows */
  wg_site *site; /**< the current one; a reference */
  wg_names *names; /**< the current ones; a reference */
  wg_worker **workers; /**< those that serve; NULL places */
  unsigned adopting; /**< workers that owe */
  bool adopt_failed; /**< one of them could not, since the last publish */
  bool served; /**< wg_engine_serve() came as far as its threads */
  wg_control *control; /**< NULL: not serving */
  char *slots[WG_SLOTS];
  unsigned slot_count;
};

/** The current site, with a reference for the caller. Any thread. */
wg_site *wg__engine_site(wg_engine *e);
/** Makes a site, and the names that go with it, the current ones and tells the workers. Takes the
 *  references. */
void wg__engine_publish(wg_engine *e, wg_site *site, wg_names *names);
/** The current names, with a reference for the caller. Any thread. */
wg_names *wg__engine_names(wg_engine *e);
/** Makes names the current ones and tells the workers, which take them at once. Takes the
 *  reference. */
void wg__engine_publish_names(wg_engine *e, wg_names *names);
/** The place of a service's counters. Any thread. */
unsigned wg__engine_slot(wg_engine *e, const char *name);
/** Reads the configuration again, as wg_engine_new() did. Warnings go to the log. */
WG_MUSTCHECK wg_code wg__engine_read_config(wg_engine *e, wg_config **out, wg_error *err);

/** Length of a NULL-terminated list; NULL is an empty one. */
static inline size_t wg__list_len(const char *const *list) {
  size_t n = 0;
  while (list && list[n]) n++;
  return n;
}

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
