/* SPDX-License-Identifier: Apache-2.0 */
/** @file control.c  A thread that reloads what is served, answers the admin endpoint and asks the
 *  HTTP registry.
 *
 *    IDLE --asked--> LOADING --loaded--> ADOPTING --all workers took it--> IDLE
 *            LOADING --failed--> IDLE          what is asked meanwhile begins after that
 *
 *  Loading compiles, so it runs on a thread of libuv's pool; the endpoint answers meanwhile. */
#include "base/text.h"
#include "engine/engine_internal.h"
#include "engine/feed.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/** A request to /reload that waits for its end. */
typedef struct waiter {
  wg_node node;
  wgrt_op_admin *op;
} waiter;

typedef enum control_state { CONTROL_IDLE, CONTROL_LOADING, CONTROL_ADOPTING } control_state;
typedef enum control_start { START_PENDING, START_OK, START_FAILED } control_start;

struct wg_control {
  wg_thread thread; /* first: the bridge casts to it */
  wg_engine *engine;
  const wg_serve_options *options; /* NULL: nothing is served, so nothing is reloaded */
  wg_feed *feed;
  const char *const *urls;
  pthread_t id;
  int stop_fd;
  const int *fds;
  size_t fd_count;
  uv_poll_t asked;
  control_state state; /* by control_enter() only */
  atomic_bool adopted; /* set by workers */
  bool again;          /* asked for while one was in progress */
  wg_list waiting;     /* for the reload in progress */
  wg_list next;        /* for the one after it */
  uv_work_t work;
  uint64_t began_ms;
  wg_site *base;   /* what the reload begins from; a reference */
  wg_site *loaded; /* by the work; a reference */
  wg_code code;
  wg_error err;
  char restart[256]; /* keys that differ and need a restart */
  wg_reload_result last;
  pthread_mutex_t start_lock;
  pthread_cond_t start_done;
  control_start started;
  wg_error start_err;
};

static void control_enter(wg_control *c, control_state next);

/* ---- a reload ---- */

static void on_load(uv_work_t *work) {
  wg_control *c = WG_CONTAINER(work, wg_control, work);
  wg_engine *e = c->engine;
  wg_config *config = NULL;
  c->restart[0] = '\0';
  c->loaded = NULL;
  if (c->options->app) {
    c->code = wg_error_set(&c->err, WG_UNSUPPORTED, 0,
                           "the program gave the component itself; there is no file to read again");
    return;
  }
  c->code = wg__engine_read_config(e, &config, &c->err);
  if (c->code == WG_OK) {
    c->code = wg_config_keep_fixed(config, e->config, c->restart, sizeof c->restart, &c->err);
    if (c->code != WG_OK) wg_config_free(config);
  }
  if (c->code == WG_OK) c->code = wg__site_new(config, c->base, &c->loaded, &c->err);
  if (c->code == WG_OK) c->code = wg__site_load(e, c->loaded, c->options, &c->err);
  if (c->code != WG_OK) {
    wg__site_unref(c->loaded);
    c->loaded = NULL;
  }
}

static bool stopping(const wg_control *c) { return atomic_load(&c->engine->stops) > 0; }

static void on_loaded(uv_work_t *work, int status) {
  wg_control *c = WG_CONTAINER(work, wg_control, work);
  if (status != 0) c->code = wg_error_set(&c->err, WG_CANCELED, status, "%s", uv_strerror(status));
  wg__site_unref(c->base);
  c->base = NULL;
  if (c->code == WG_OK && stopping(c)) {
    c->code = wg_error_set(&c->err, WG_CANCELED, 0, "the process is stopping");
    wg__site_unref(c->loaded);
  }
  wg_names *names = NULL;
  if (c->code == WG_OK) {
    c->code = wg__feed_names(c->feed, c->loaded->config, &names, &c->err);
    if (c->code != WG_OK) wg__site_unref(c->loaded);
  }
  if (c->code != WG_OK) {
    control_enter(c, CONTROL_IDLE);
    return;
  }
  control_enter(c, CONTROL_ADOPTING);
  atomic_store(&c->adopted, false);
  wg__engine_publish(c->engine, c->loaded, names);
}

/** The end of a reload as JSON, for whoever asked by /reload. */
static void answer_waiters(wg_control *c) {
  wg_buf body;
  wg_buf_init(&body, 1 << 16);
  wg_buf_printf(&body, "{\"version\":1,\"ok\":%s,\"generation\":%llu",
                c->last.ok ? "true" : "false", (unsigned long long)c->last.generation);
  if (!c->last.ok) {
    wg_buf_printf(&body, ",\"error\":");
    wg_buf_put_json(&body, c->err.msg);
    wg_buf_printf(&body, ",\"hint\":");
    wg_buf_put_json(&body, c->err.hint);
  }
  wg_buf_printf(&body, ",\"needs_restart\":");
  wg_buf_put_json(&body, c->restart);
  wg_buf_printf(&body, "}\n");
  wg_buf_put_u8(&body, 0);
  for (waiter *w; (w = WG_ITEM(wg_list_first(&c->waiting), waiter, node));) {
    wg_list_remove(&c->waiting, &w->node);
    w->op->json = 1;
    wgrt_op_complete(&w->op->op,
                     body.failed  ? 500
                     : c->last.ok ? 200
                                  : 422,
                     body.failed ? "{}" : (const char *)wg_buf_head(&body));
    free(w);
  }
  wg_buf_release(&body);
}

static void reload_ended(wg_control *c) {
  wg_site *site = wg__engine_site(c->engine);
  c->last = (wg_reload_result){.any = true, .ok = c->code == WG_OK, .generation = site->generation};
  wg__site_unref(site);
  wg__utc_text(time(NULL), c->last.at);
  uint64_t ms = wg_now_ms(&wg_clock_monotonic) - c->began_ms;
  if (c->last.ok) {
    wg_log(NULL, WG_LOG_INFO, "reloaded", WG_KV_U("generation", c->last.generation),
           WG_KV_U("ms", ms));
    if (c->restart[0])
      wg_log(NULL, WG_LOG_WARN, "reload_needs_restart", WG_KV_S("keys", c->restart));
  } else {
    snprintf(c->last.error, sizeof c->last.error, "%s%s%s", c->err.msg, c->err.hint[0] ? "; " : "",
             c->err.hint);
    wg_log(NULL, WG_LOG_ERROR, "reload_failed", WG_KV_S("error", c->err.msg),
           WG_KV_S("hint", c->err.hint), WG_KV_U("generation", c->last.generation));
  }
  answer_waiters(c);
  if (c->options->on_reloaded)
    c->options->on_reloaded(c->options->user, c->last.generation, c->last.ok ? NULL : &c->err);
}

static void move_all(wg_list *from, wg_list *to) {
  for (wg_node *n; (n = wg_list_first(from));) {
    wg_list_remove(from, n);
    wg_list_push_back(to, n);
  }
}

static void reload_begin(wg_control *c) {
  if (c->state != CONTROL_IDLE) {
    c->again = true;
    return;
  }
  c->again = false;
  move_all(&c->next, &c->waiting);
  control_enter(c, CONTROL_LOADING);
}

static void control_enter(wg_control *c, control_state next) {
  switch (c->state = next) {
  case CONTROL_LOADING:
    c->began_ms = wg_now_ms(&wg_clock_monotonic);
    c->base = wg__engine_site(c->engine);
    c->code = WG_OK;
    c->err = (wg_error){.code = WG_OK};
    int rc = uv_queue_work(&c->thread.uv, &c->work, on_load, on_loaded);
    WG_ASSERT(rc == 0); /* fails for a missing callback only */
    break;
  case CONTROL_ADOPTING: break;
  case CONTROL_IDLE:
    reload_ended(c);
    if (c->again && !stopping(c)) reload_begin(c);
    break;
  }
}

void wg__control_adopted(wg_control *c) {
  if (!c) return;
  atomic_store(&c->adopted, true);
  uv_async_send(&c->thread.wake);
}

static void on_wake(uv_async_t *async) {
  wg_control *c = async->data;
  if (c->state != CONTROL_ADOPTING || !atomic_load(&c->adopted)) return;
  pthread_mutex_lock(&c->engine->lock);
  bool failed = c->engine->adopt_failed;
  pthread_mutex_unlock(&c->engine->lock);
  if (failed)
    c->code = wg_error_set(&c->err, WG_NOMEM, 0,
                           "a worker could not take all of the new configuration and keeps part of "
                           "the old one; the log says why");
  control_enter(c, CONTROL_IDLE);
}

static void on_asked(uv_poll_t *poll, int status, int events) {
  wg_control *c = poll->data;
  uint64_t count;
  (void)status, (void)events;
  if (read(c->engine->reload_fd, &count, sizeof count) == sizeof count && c->options)
    reload_begin(c);
}

/* ---- the admin endpoint ---- */

static bool is(wgrt_bytes b, const char *text) {
  return b.n == strlen(text) && memcmp(b.p, text, b.n) == 0;
}

static void say(wgrt_op_admin *op, int status, const char *text) {
  wgrt_op_complete(&op->op, status, text);
}

static const char signal_path[] = "/signal/";
enum { SIGNAL_PATH = sizeof signal_path - 1 };

static bool is_signal(const wgrt_op_admin *op) {
  return op->path.n >= SIGNAL_PATH && memcmp(op->path.p, signal_path, SIGNAL_PATH) == 0;
}

static void admin_signal(wg_control *c, wgrt_op_admin *op) {
  char path[1024] = ""; /* one that is longer names no service */
  wg_buf body;
  wg_buf_init(&body, 1 << 16);
  if (op->path.n - SIGNAL_PATH < sizeof path)
    memcpy(path, op->path.p + SIGNAL_PATH, op->path.n - SIGNAL_PATH);
  int status = wg__admin_signal(c->engine, path, &body);
  op->json = 1;
  say(op, body.failed ? 500 : status, body.failed ? "{}" : (const char *)wg_buf_head(&body));
  wg_buf_release(&body);
}

static void admin_post(wg_control *c, wgrt_op_admin *op) {
  if (is_signal(op)) {
    admin_signal(c, op);
    return;
  }
  if (is(op->path, "/drain")) {
    say(op, 202, "draining\n");
    /* As a signal would, but no second one: that would cut what is in progress. */
    if (atomic_load(&c->engine->stops) == 0) wg_engine_stop(c->engine);
    return;
  }
  waiter *w = calloc(1, sizeof *w);
  if (!w) {
    say(op, 503, "out of memory\n");
    return;
  }
  w->op = op;
  op->op.priv = w;
  wg_node_init(&w->node);
  wg_list_push_back(&c->next, &w->node);
  reload_begin(c);
}

static void control_admin(void *ctx, wgrt_op_admin *op) {
  wg_control *c = ctx;
  bool changes = is(op->path, "/reload") || is(op->path, "/drain") || is_signal(op);
  if (op->origin.n || !wg_host_is_loopback((const char *)op->host.p, op->host.n)) {
    say(op, 403,
        "the admin endpoint answers to no web page: Origin, or a Host that is not this "
        "machine\n");
  } else if (changes ? !is(op->method, "POST")
                     : !is(op->method, "GET") && !is(op->method, "HEAD")) {
    say(op, 405, changes ? "use POST\n" : "use GET\n");
  } else if (changes) {
    admin_post(c, op);
  } else {
    char path[64] = "";
    bool json = false;
    wg_buf body;
    wg_buf_init(&body, 4 << 20);
    if (op->path.n < sizeof path) memcpy(path, op->path.p, op->path.n);
    int status = wg__admin_answer(c->engine, path, &c->last, c->urls, &body, &json);
    op->json = json;
    say(op, body.failed ? 500 : status,
        body.failed ? "out of memory\n" : (const char *)wg_buf_head(&body));
    wg_buf_release(&body);
  }
}

static void control_admin_cancel(void *ctx, wgrt_op_admin *op) {
  wg_control *c = ctx;
  waiter *w = op->op.priv;
  for (wg_node *n = wg_list_first(&c->next); n; n = wg_list_next(&c->next, n))
    if (n == &w->node) {
      wg_list_remove(&c->next, n);
      free(w);
      return;
    }
  wg_list_remove(&c->waiting, &w->node);
  free(w);
}

static const wgrt_app *control_route(void *ctx, wgrt_bytes host, wgrt_bytes path) {
  (void)ctx, (void)host, (void)path;
  return NULL;
}

/* No guests live here. */
static uint32_t control_stopping(void *ctx) {
  (void)ctx;
  return 0;
}

/* ---- the thread ---- */

static int control_busy(void *ctx) { return ((wg_control *)ctx)->state != CONTROL_IDLE; }

static void tell_start(wg_control *c, control_start how) {
  pthread_mutex_lock(&c->start_lock);
  c->started = how;
  pthread_cond_signal(&c->start_done);
  pthread_mutex_unlock(&c->start_lock);
}

/** The HTTP registry answered, or did not in time: whoever waits for the start may go on. */
static void on_first_names(void *user) { tell_start(user, START_OK); }

static wg_code control_open(wg_control *c, wg_error *err) {
  wgrt_host host;
  wgrt_error re;
  wg__bridge_host(NULL, &host);
  host.ctx = c;
  host.route = control_route;
  host.stopping = control_stopping;
  host.admin = control_admin;
  host.admin_cancel = control_admin_cancel;
  wg_code code = wg__thread_init(&c->thread, c->engine, &host, on_wake, c->stop_fd, err);
  if (code != WG_OK) return code;
  int rc = uv_poll_init(&c->thread.uv, &c->asked, c->engine->reload_fd);
  if (rc == 0) {
    c->asked.data = c;
    rc = uv_poll_start(&c->asked, UV_READABLE, on_asked);
    if (rc != 0) uv_close((uv_handle_t *)&c->asked, NULL);
  }
  if (rc != 0) {
    code = wg_error_set(err, WG_IO, rc, "cannot watch for reloads: %s", uv_strerror(rc));
  } else {
    code = wg__feed_new(c->engine, &c->thread, on_first_names, c, &c->feed, err);
    if (code != WG_OK) uv_close((uv_handle_t *)&c->asked, NULL);
  }
  if (code != WG_OK) {
    wg__thread_stop(&c->thread);
    wg__thread_release(&c->thread);
    return code;
  }
  const wgrt_listen_cfg listen = {
      .size = sizeof listen, .header_bytes = c->engine->config->header_bytes, .admin = 1};
  rc = wgrt_worker_listen(c->thread.rt, &listen, c->fds, c->fd_count, &re);
  WG_ASSERT(rc == 0); /* refuses another version of the ABI only */
  return WG_OK;
}

static void *control_thread(void *p) {
  wg_control *c = p;
  enum { LAST_ANSWERS_MS = 200 };
  if (control_open(c, &c->start_err) != WG_OK) {
    tell_start(c, START_FAILED);
    return NULL;
  }
  wgrt_error re;
  if (wgrt_worker_run(c->thread.rt, LAST_ANSWERS_MS, control_busy, &re) != 0)
    wg_log(NULL, WG_LOG_ERROR, "control_failed", WG_KV_S("error", re.msg));
  tell_start(c, START_OK); /* in case that it ended before it came so far */
  wg__feed_free(c->feed);
  wg__thread_stop(&c->thread);
  uv_close((uv_handle_t *)&c->asked, NULL);
  wg__thread_release(&c->thread);
  return NULL;
}

static void control_free(wg_control *c) {
  pthread_mutex_destroy(&c->start_lock);
  pthread_cond_destroy(&c->start_done);
  close(c->stop_fd);
  free(c);
}

/** Who is told when workers took a site. */
static void set_control(wg_engine *e, wg_control *c) {
  pthread_mutex_lock(&e->lock);
  e->control = c;
  pthread_mutex_unlock(&e->lock);
}

wg_code wg__control_start(wg_engine *e, const wg_serve_options *options, const int *fds,
                          size_t fd_count, const char *const *urls, wg_error *err) {
  wg_control *c = calloc(1, sizeof *c);
  int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
  if (!c || stop_fd < 0) {
    int sys = errno;
    wg_code code = c ? wg_error_set(err, WG_IO, sys, "cannot make an eventfd: %s", wg_os_error(sys))
                     : wg_error_set(err, WG_NOMEM, 0, "out of memory");
    free(c);
    if (stop_fd >= 0) close(stop_fd);
    return code;
  }
  c->engine = e;
  c->options = options;
  c->urls = urls;
  c->fds = fds;
  c->fd_count = fd_count;
  c->stop_fd = stop_fd;
  wg_list_init(&c->waiting);
  wg_list_init(&c->next);
  pthread_mutex_init(&c->start_lock, NULL);
  pthread_cond_init(&c->start_done, NULL);
  set_control(e, c);
  wg_code code = WG_OK;
  int rc = pthread_create(&c->id, NULL, control_thread, c);
  if (rc != 0) {
    code = wg_error_set(err, WG_IO, rc, "cannot start a thread: %s", wg_os_error(rc));
  } else {
    pthread_mutex_lock(&c->start_lock);
    while (c->started == START_PENDING) pthread_cond_wait(&c->start_done, &c->start_lock);
    pthread_mutex_unlock(&c->start_lock);
    if (c->started == START_OK) return WG_OK;
    code = c->start_err.code;
    if (err) *err = c->start_err;
    pthread_join(c->id, NULL);
  }
  set_control(e, NULL);
  control_free(c);
  return code;
}

void wg__control_stop(wg_control *c) {
  wg_engine *e = c->engine;
  const uint64_t one = 1;
  ssize_t n = write(c->stop_fd, &one, sizeof one);
  (void)n;
  pthread_join(c->id, NULL);
  set_control(e, NULL);
  control_free(c);
}
