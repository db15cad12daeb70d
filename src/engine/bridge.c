/* SPDX-License-Identifier: Apache-2.0 */
/** @file bridge.c  The runtime's host functions, each one line over a domain: src/db for
 *  database-proxy, src/threading, the log for what guests print. Files, names, signals and sockets
 *  are in bridge_files.c, bridge_names.c, bridge_signals.c and bridge_tcp.c. */
#include "dns/sentinel.h"
#include "engine/engine_internal.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

_Static_assert(sizeof(wg_db_req) <= sizeof(((wgrt_op_db_connect *)0)->space), "room for a connect");
_Static_assert(sizeof(wg_db_req) <= sizeof(((wgrt_op_db_wait *)0)->space), "room for a wait");
_Static_assert((int)WGRT_LINK_FILESYSTEM == (int)WG_SHIM_FILESYSTEM, "same bits");
_Static_assert((int)WGRT_LINK_DNS == (int)WG_SHIM_DNS, "same bits");
_Static_assert((int)WGRT_LINK_SIGNALS == (int)WG_SHIM_SIGNALS, "same bits");
_Static_assert((int)WGRT_LINK_DATABASE_PROXY == (int)WG_SHIM_DATABASE_PROXY, "same bits");
_Static_assert((int)WGRT_LINK_THREADING == (int)WG_SHIM_THREADING, "same bits");

static int loop_backend_fd(void *ctx) { return uv_backend_fd(&((wg_thread *)ctx)->uv); }
static int loop_backend_timeout(void *ctx) { return uv_backend_timeout(&((wg_thread *)ctx)->uv); }
static void loop_run(void *ctx) { (void)uv_run(&((wg_thread *)ctx)->uv, UV_RUN_NOWAIT); }

/* Counters of this worker: no other thread writes them. */
static void count(atomic_uint_fast64_t *counter, uint64_t more) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                        memory_order_relaxed);
}
static void count_instance(wg_worker *w, unsigned slot, int more) {
  atomic_int_fast64_t *n = &w->metrics[slot].instances;
  atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + more,
                        memory_order_relaxed);
}

static const wgrt_app *bridge_route(void *ctx, wgrt_bytes host, wgrt_bytes path) {
  wg_tenure *t = ((wg_worker *)ctx)->current;
  wg_app *app =
      wg_router_find(t->site->router, (const char *)host.p, host.n, (const char *)path.p, path.n);
  if (!app) return NULL;
  t->uses++;
  return app->rt;
}

/** NAME.DOMAIN is service NAME, whatever hosts and paths it has for clients. */
static const wgrt_app *bridge_http_service(void *ctx, void *inst, wgrt_bytes host) {
  (void)inst;
  wg_tenure *t = ((wg_worker *)ctx)->current;
  const char *name = (const char *)host.p, *domain = t->site->config->dns_domain;
  size_t len = domain ? strlen(domain) : 0, n = host.n;
  if (n > 0 && name[n - 1] == '.') n--;
  if (len == 0 || n < len + 2 || name[n - len - 1] != '.' ||
      strncasecmp(name + n - len, domain, len) != 0)
    return NULL;
  n -= len + 1;
  for (size_t i = 0; i < t->site->app_count; i++) {
    const wg_app *app = t->site->apps[i];
    if (!app->service || strlen(app->service->name) != n ||
        strncasecmp(app->service->name, name, n) != 0)
      continue;
    t->uses++;
    return app->rt;
  }
  return NULL;
}

static void bridge_outgoing(void *ctx, void *inst, uint32_t what) {
  wg_worker *w = ctx;
  const wg_instance *i = inst;
  if (what < WGRT_OUTGOING_COUNT) count(&w->metrics[i->app->slot].outgoing[what], 1);
}

static void bridge_app_use(void *ctx, void *app) { wg__worker_tenure(ctx, app)->uses++; }

static void bridge_app_unuse(void *ctx, void *app) {
  wg__tenure_unuse(wg__worker_tenure(ctx, app));
}

/* Only control listens for the admin. */
static void bridge_admin(void *ctx, wgrt_op_admin *op) {
  (void)ctx;
  wgrt_op_complete(&op->op, 404, "not found\n");
}
static void bridge_admin_cancel(void *ctx, wgrt_op_admin *op) { (void)ctx, (void)op; }

static void *bridge_instance_new(void *ctx, void *app) {
  wg_worker *w = ctx;
  wg_instance *i = calloc(1, sizeof *i);
  if (!i) return NULL;
  i->worker = w;
  i->app = app;
  i->since_ms = wg_now_ms(&w->loop.clock);
  i->tenure = wg__worker_tenure(w, app);
  i->tenure->uses++;
  count_instance(w, i->app->slot, 1);
  return i;
}

static void bridge_instance_gone(void *ctx, void *inst) {
  wg_instance *i = inst;
  wg_db_guest_free(i->db);
  wg_allow_memory_release(&i->learned);
  wg_roster_leave(i->known);
  count_instance(ctx, i->app->slot, -1);
  wg__tenure_unuse(i->tenure);
  free(i);
}

void wg__op_complete(wgrt_op *op, const wg_error *err) {
  if (!err) {
    wgrt_op_complete(op, 0, NULL);
    return;
  }
  char text[sizeof err->msg + sizeof err->hint + 4];
  snprintf(text, sizeof text, "%s%s%s", err->msg, err->hint[0] ? "; " : "", err->hint);
  wgrt_op_complete(op, err->code, text);
}

static void on_connected(wg_db_req *req, const wg_error *err) {
  wgrt_op_db_connect *op = req->user;
  op->handle = req->handle;
  wg__op_complete(&op->op, err);
}

wg_code wg__instance_db(wg_instance *i, wg_error *err) {
  return i->db ? WG_OK : wg_db_guest_new(i->tenure->pools->db, &i->db, err);
}

/** The host that a guest means: behind the address that its name resolved to, the name. Borrowed from
 *  `host` or `name`. */
static wgrt_bytes meant_host(const wg_instance *i, wgrt_bytes host,
                             char name[2 * WG_DNS_NAME_MAX]) {
  wg_dns_addr a;
  if (wg_dns_literal((const char *)host.p, host.n, &a) && wg_dns_in_sentinels(&a) &&
      wg__instance_sentinel_name(i, &a, name))
    return wg__bytes(name, strlen(name));
  return host;
}

static void bridge_db_connect(void *ctx, void *inst, wgrt_op_db_connect *op) {
  (void)ctx;
  wg_instance *i = inst;
  wg_error err;
  if (wg__instance_db(i, &err) != WG_OK) {
    wg__op_complete(&op->op, &err);
    return;
  }
  char name[2 * WG_DNS_NAME_MAX];
  wgrt_bytes host = meant_host(i, op->host, name);
  wg_db_target target = {
      .protocol = (wg_db_protocol)op->protocol,
      .host = (const char *)host.p,
      .host_len = host.n,
      .port = (uint16_t)op->port,
      .database = (const char *)op->database.p,
      .database_len = op->database.n,
      .user = (const char *)op->user.p,
      .user_len = op->user.n,
      .password = op->has_password ? (const char *)op->password.p : NULL,
      .password_len = op->password.n,
  };
  wg_db_connect(i->db, &target, (wg_db_req *)(void *)op->space, on_connected, op);
}

static void bridge_db_connect_cancel(void *ctx, void *inst, wgrt_op_db_connect *op) {
  (void)ctx;
  wg_db_cancel(((wg_instance *)inst)->db, (wg_db_req *)(void *)op->space);
}

static int64_t failed(wgrt_error *out, const wg_error *err, int64_t code) {
  if (code != WG_AGAIN) snprintf(out->msg, sizeof out->msg, "%s", err->msg);
  return code;
}

/** An instance that never connected has no handle. */
static wg_code no_handle(wg_error *err, uint64_t handle) {
  return wg_error_set(err, WG_INVALID, 0, "no connection has the handle %llu",
                      (unsigned long long)handle);
}

static int64_t bridge_db_send(void *ctx, void *inst, uint64_t handle, const uint8_t *p, size_t n,
                              wgrt_error *out) {
  (void)ctx;
  wg_instance *i = inst;
  wg_error err;
  int64_t r = i->db ? wg_db_send(i->db, handle, p, n, &err) : no_handle(&err, handle);
  return r < 0 ? failed(out, &err, r) : r;
}

static int64_t bridge_db_recv(void *ctx, void *inst, uint64_t handle, uint8_t *p, size_t cap,
                              wgrt_error *out) {
  (void)ctx;
  wg_instance *i = inst;
  wg_error err;
  int64_t r = i->db ? wg_db_recv(i->db, handle, p, cap, &err) : no_handle(&err, handle);
  return r < 0 ? failed(out, &err, r) : r;
}

static int32_t bridge_db_open(void *ctx, void *inst, wgrt_bytes host, uint32_t port,
                              uint64_t *handle, wgrt_error *out) {
  (void)ctx;
  wg_instance *i = inst;
  wg_error err;
  wg_code c = wg__instance_db(i, &err);
  char name[2 * WG_DNS_NAME_MAX];
  host = meant_host(i, host, name);
  if (c == WG_OK) c = wg_db_open(i->db, (const char *)host.p, host.n, (uint16_t)port, handle, &err);
  if (c == WG_NOT_FOUND) c = err.code = WG_REFUSED; /* as connect() has it */
  return c < 0 ? (int32_t)failed(out, &err, c) : 0;
}

static void on_waited(wg_db_req *req, const wg_error *err) {
  wgrt_op_db_wait *op = req->user;
  wg__op_complete(&op->op, err);
}

static void bridge_db_wait(void *ctx, void *inst, wgrt_op_db_wait *op) {
  (void)ctx;
  wg_instance *i = inst;
  if (!i->db) {
    wg_error err;
    (void)no_handle(&err, op->handle);
    wg__op_complete(&op->op, &err);
    return;
  }
  op->spin = op->events == WG_WATCH_READ && wg_db_spins(i->db, op->handle);
  wg_db_wait(i->db, op->handle, op->events, op->deadline != 0, (wg_db_req *)(void *)op->space,
             on_waited, op);
}

static void bridge_db_wait_cancel(void *ctx, void *inst, wgrt_op_db_wait *op) {
  (void)ctx;
  wg_db_cancel(((wg_instance *)inst)->db, (wg_db_req *)(void *)op->space);
}

static int32_t bridge_db_shutdown(void *ctx, void *inst, uint64_t handle, uint32_t how,
                                  wgrt_error *out) {
  (void)ctx;
  wg_instance *i = inst;
  wg_error err;
  wg_code c = i->db ? wg_db_shutdown(i->db, handle, how, &err) : no_handle(&err, handle);
  return c < 0 ? (int32_t)failed(out, &err, c) : 0;
}

static int32_t bridge_db_close(void *ctx, void *inst, uint64_t handle, wgrt_error *out) {
  (void)ctx;
  wg_instance *i = inst;
  wg_error err;
  wg_code c = i->db ? wg_db_close(i->db, handle, &err) : no_handle(&err, handle);
  return c < 0 ? (int32_t)failed(out, &err, c) : 0;
}

wg_roster_member *wg__instance_known(wg_instance *i) {
  if (!i->known) i->known = wg_roster_join(&i->worker->roster, i->app->name, i->since_ms);
  return i->known;
}

/** `warpgrid:shim/threading`: 0 is parallel-required, 1 cooperative, as in the WIT. */
static int32_t bridge_declare_threading(void *ctx, void *inst, uint32_t model) {
  wg_worker *w = ctx;
  wg_instance *i = inst;
  wg_roster_member *m = wg__instance_known(i);
  if (!m) {
    const wg_log_ctx lc = {.app = i->app->name, .worker = w->index};
    wg_log(&lc, WG_LOG_ERROR, "threading_not_kept", WG_KV_S("error", "out of memory"));
    return 0; /* it would change nothing; "declared before" would be a lie */
  }
  return wg_roster_declare(m,
                           model == 0 ? WG_THREADING_PARALLEL_REQUIRED : WG_THREADING_COOPERATIVE,
                           &i->app->threading_warned) == WG_OK
             ? 0
             : -1;
}

static void bridge_guest_output(void *ctx, void *app, uint64_t request, int32_t fd,
                                wgrt_bytes line) {
  wg_worker *w = ctx;
  uint32_t suppressed;
  if (!wg_log_allow(&w->output_limit, WG_GUEST_LINES_PER_S, wg_now_ms(&w->loop.clock), &suppressed))
    return;
  wg_log_ctx lc = {.app = ((wg_app *)app)->name, .worker = w->index, .request = request};
  if (suppressed) wg_log(&lc, WG_LOG_WARN, "guest_output_suppressed", WG_KV_U("lines", suppressed));
  wg_log(&lc, fd == 2 ? WG_LOG_WARN : WG_LOG_INFO, fd == 2 ? "guest_stderr" : "guest_stdout",
         WG_KV_N("line", (const char *)line.p, line.n));
}

static void bridge_guest_failed(void *ctx, void *app, uint64_t request, wgrt_bytes text) {
  wg_worker *w = ctx;
  wg_log_ctx lc = {.app = ((wg_app *)app)->name, .worker = w->index, .request = request};
  count(&w->metrics[((wg_app *)app)->slot].failures, 1);
  wg_log(&lc, WG_LOG_ERROR, "guest_failed", WG_KV_N("cause", (const char *)text.p, text.n));
}

static void bridge_request_done(void *ctx, void *app, uint64_t request, uint32_t status,
                                uint64_t usec) {
  wg_worker *w = ctx;
  const wg_app *a = app;
  wg_service_metrics *m = &w->metrics[a ? a->slot : 0];
  size_t bucket = 0;
  while (bucket < WG_LATENCY_BUCKETS && usec > wg__latency_bounds[bucket]) bucket++;
  if (status >= 100 && status < 600) count(&m->by_class[status / 100 - 1], 1);
  count(&m->buckets[bucket], 1);
  count(&m->latency_us, usec);
  wg_log_ctx lc = {.app = a ? a->name : NULL, .worker = w->index, .request = request};
  wg_log(&lc, WG_LOG_DEBUG, "request", WG_KV_U("status", status), WG_KV_U("usec", usec));
}

void wg__bridge_host(wg_worker *w, wgrt_host *out) {
  *out = (wgrt_host){
      .size = sizeof *out,
      .ctx = w,
      .backend_fd = loop_backend_fd,
      .backend_timeout = loop_backend_timeout,
      .run_nowait = loop_run,
      .route = bridge_route,
      .http_service = bridge_http_service,
      .outgoing = bridge_outgoing,
      .app_use = bridge_app_use,
      .app_unuse = bridge_app_unuse,
      .admin = bridge_admin,
      .admin_cancel = bridge_admin_cancel,
      .instance_new = bridge_instance_new,
      .instance_gone = bridge_instance_gone,
      .db_connect = bridge_db_connect,
      .db_connect_cancel = bridge_db_connect_cancel,
      .db_open = bridge_db_open,
      .db_send = bridge_db_send,
      .db_recv = bridge_db_recv,
      .db_wait = bridge_db_wait,
      .db_wait_cancel = bridge_db_wait_cancel,
      .db_shutdown = bridge_db_shutdown,
      .db_close = bridge_db_close,
      .declare_threading = bridge_declare_threading,
      .guest_output = bridge_guest_output,
      .guest_failed = bridge_guest_failed,
      .request_done = bridge_request_done,
  };
  wg__bridge_files(out);
  wg__bridge_names(out);
  wg__bridge_signals(out);
  wg__bridge_tcp(out);
}
