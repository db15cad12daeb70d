/* SPDX-License-Identifier: Apache-2.0 */
/** @file engine.c  The embedding API: configuration, components, apps, serving and running. */
#include "base/text.h"
#include "engine/engine_internal.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <warpgrid/version.h>

/** How often a guest that computes is interrupted, so that others get their turn. */
enum { EPOCH_MS = 10 };
/** Requests in the life of an instance unless [http] reuse says otherwise. */
enum { REUSE_P2 = 1, REUSE_P3 = 128 };

wg_code wg__engine_error(wg_error *err, const wgrt_error *from) {
  static const wg_code codes[] = {
      [WGRT_ERR_OTHER] = WG_IO,
      [WGRT_ERR_IO] = WG_IO,
      [WGRT_ERR_COMPONENT] = WG_COMPONENT,
      [WGRT_ERR_LINK] = WG_LINK,
      [WGRT_ERR_EXPORT] = WG_INVALID,
      [WGRT_ERR_UNTRUSTED] = WG_REFUSED,
      [WGRT_ERR_TRAP] = WG_TRAP,
  };
  bool known = from->kind >= WGRT_ERR_OTHER && (size_t)from->kind < WG_COUNT(codes);
  wg_code c = wg_error_set(err, known ? codes[from->kind] : WG_IO, 0, "%s", from->msg);
  if (c == WG_REFUSED)
    wg_error_hint(err, "pass --trusted if you made this file yourself, with this version");
  return c;
}

const char *wg_version(void) { return WARPGRID_VERSION_STRING; }
const char *wg_wasmtime_version(void) { return wgrt_wasmtime_version(); }

/* ---- engine ---- */

/** $WARPGRID_CACHE, $XDG_CACHE_HOME or ~/.cache, then warpgrid/wasmtime; "" when there is none. */
static void default_cache_dir(char *out, size_t cap) {
  const char *base = getenv("WARPGRID_CACHE"), *home = getenv("HOME");
  out[0] = 0;
  if (!base || !*base) base = getenv("XDG_CACHE_HOME");
  if (base && *base == '/')
    snprintf(out, cap, "%s/warpgrid/wasmtime", base);
  else if (home && *home == '/')
    snprintf(out, cap, "%s/.cache/warpgrid/wasmtime", home);
}

static void warn_to_log(void *user, const char *text) {
  (void)user;
  wg_log(NULL, WG_LOG_WARN, "config_warning", WG_KV_S("text", text));
}

static size_t list_len(const char *const *list) {
  size_t n = 0;
  while (list && list[n]) n++;
  return n;
}

/** Appends copies to a NULL-terminated list of the configuration. */
static wg_code list_append(char ***list, const char *const *more, wg_error *err) {
  size_t n = list_len((const char *const *)*list), k = list_len(more);
  if (!more || k == 0) return WG_OK;
  char **grown = realloc(*list, (n + k + 1) * sizeof *grown);
  if (!grown) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  *list = grown;
  for (size_t i = 0; i <= k; i++) grown[n + i] = NULL;
  for (size_t i = 0; i < k; i++)
    if (!(grown[n + i] = strdup(more[i]))) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  return WG_OK;
}

static wg_code append_dirs(wg_config *c, const char *const *dirs, wg_error *err) {
  size_t k = list_len(dirs);
  if (!dirs || k == 0) return WG_OK;
  wg_preopen *grown = realloc(c->preopens, (c->preopen_count + k) * sizeof *grown);
  if (!grown) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  c->preopens = grown;
  for (size_t i = 0; i < k; i++) {
    wg_code code = wg_preopen_parse(dirs[i], NULL, &grown[c->preopen_count], err);
    if (code != WG_OK) return code;
    c->preopen_count++;
  }
  return WG_OK;
}

static wg_code apply_options(wg_config *c, const wg_engine_options *o, wg_error *err) {
  wg_code code = list_append(&c->env, o->env, err);
  if (code == WG_OK) code = append_dirs(c, o->dirs, err);
  if (code == WG_OK && list_len(o->listen) > 0) {
    for (char **p = c->listen; p && *p; p++) free(*p);
    free(c->listen);
    c->listen = NULL;
    code = list_append(&c->listen, o->listen, err);
  }
  c->loopback_databases = o->allow_loopback_databases != 0;
  if (o->workers) c->workers = o->workers;
  if (c->workers == 0) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    c->workers = n > 0 ? (uint32_t)n : 1;
  }
  return code;
}

/** "a,b,c" of the shims for which keep() holds. */
static void shim_names(const wg_engine *e, bool (*keep)(const wg_engine *, uint32_t), char *out,
                       size_t cap) {
  size_t n = 0;
  out[0] = 0;
  for (uint32_t bit = 1; bit & WG_SHIM_ALL; bit <<= 1) {
    if (!keep(e, bit)) continue;
    int k = snprintf(out + n, cap - n, "%s%s", n ? "," : "", wg_shim_name(bit));
    n += k > 0 ? (size_t)k : 0;
  }
}
static bool shim_on(const wg_engine *e, uint32_t bit) { return e->config->shims & bit; }
static bool shim_off(const wg_engine *e, uint32_t bit) { return !shim_on(e, bit); }
/** On in the configuration, but nothing to link in this version. */
static bool shim_later(const wg_engine *e, uint32_t bit) {
  return shim_on(e, bit) && !(bit & WGRT_LINK_ALL);
}

/** US-121: which shims are on, and their key settings. */
static void log_started(const wg_engine *e) {
  const wg_config *c = e->config;
  char on[128], off[128], later[128];
  shim_names(e, shim_on, on, sizeof on);
  shim_names(e, shim_off, off, sizeof off);
  shim_names(e, shim_later, later, sizeof later);
  wg_log(NULL, WG_LOG_INFO, "engine_started", WG_KV_S("version", wg_version()),
         WG_KV_S("wasmtime", wg_wasmtime_version()),
         WG_KV_S("config", c->path ? c->path : "defaults"), WG_KV_U("workers", c->workers),
         WG_KV_S("shims", on), WG_KV_S("shims_off", off), WG_KV_S("shims_not_yet", later),
         WG_KV_U("databases", c->database_count), WG_KV_U("pool_size", c->pool.pool_size),
         WG_KV_U("connect_timeout_ms", c->pool.connect_timeout_ms),
         WG_KV_U("dns_ttl_s", c->dns_ttl_s), WG_KV_S("dns_domain", c->dns_domain));
}

static wg_code new_runtime(wg_engine *e, const char *cache_dir, wg_error *err) {
  char dir[4096];
  if (cache_dir)
    snprintf(dir, sizeof dir, "%s", cache_dir);
  else
    default_cache_dir(dir, sizeof dir);
  wgrt_engine_cfg cfg = {
      .size = sizeof cfg,
      .epoch_ms = e->config->epochs ? EPOCH_MS : 0,
      .max_instances = e->config->instances,
      .max_tasks = e->config->max_inflight,
      .max_memory_bytes = e->config->memory_bytes,
      .cache_dir = wg__bytes(dir, strlen(dir)),
  };
  wgrt_error re;
  if (wgrt_engine_new(&cfg, &e->rt, &re) != 0) {
    wg_code c = wg__engine_error(err, &re);
    wg_error_wrap(err, "cannot start the engine");
    return c;
  }
  return WG_OK;
}

static wg_code new_stop_fds(wg_engine *e, wg_error *err) {
  e->stop_fds = calloc(e->config->workers, sizeof *e->stop_fds);
  if (!e->stop_fds) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  for (; e->worker_count < e->config->workers; e->worker_count++) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    if (fd < 0)
      return wg_error_set(err, WG_IO, errno, "cannot make an eventfd: %s", wg_os_error(errno));
    e->stop_fds[e->worker_count] = fd;
  }
  return WG_OK;
}

wg_code wg_engine_new(const wg_engine_options *options, wg_engine **out, wg_error *err) {
  wg_engine_options none = {0};
  const wg_engine_options *o = options ? options : &none;
  wg_config_warn_cb warn = o->on_warning ? o->on_warning : warn_to_log;
  wg_engine *e = calloc(1, sizeof *e);
  if (!e) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  wg_code c = o->config_text ? wg_config_parse("warp.toml", o->config_text, strlen(o->config_text),
                                               warn, o->user, &e->config, err)
                             : wg_config_load(o->config_path, warn, o->user, &e->config, err);
  if (c == WG_OK) c = apply_options(e->config, o, err);
  if (c == WG_OK) c = new_stop_fds(e, err);
  if (c == WG_OK) c = wg_db_new(e->config, &e->db, err);
  if (c == WG_OK) c = new_runtime(e, o->cache_dir, err);
  if (c != WG_OK) {
    wg_engine_free(e);
    return c;
  }
  log_started(e);
  *out = e;
  return WG_OK;
}

void wg_engine_free(wg_engine *e) {
  if (!e) return;
  wgrt_engine_free(e->rt);
  if (e->db) wg_db_free(e->db);
  wg_config_free(e->config);
  for (unsigned i = 0; i < e->worker_count; i++) close(e->stop_fds[i]);
  free(e->stop_fds);
  free(e);
}

const char *wg_engine_component_path(const wg_engine *e) { return e->config->component; }

/* ---- components ---- */

static wg_code new_component(wgrt_component *rt, wg_component **out, wg_error *err) {
  wg_component *c = malloc(sizeof *c);
  if (!c) {
    wgrt_component_free(rt);
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  c->rt = rt;
  *out = c;
  return WG_OK;
}

wg_code wg_engine_load(wg_engine *e, const char *path, unsigned flags, wg_component **out,
                       wg_error *err) {
  wgrt_error re;
  wgrt_component *rt;
  struct stat st;
  if (stat(path, &st) != 0 && errno == ENOENT) {
    wg_error_set(err, WG_NOT_FOUND, ENOENT, "cannot read '%s': no such file", path);
    wg_error_hint(err, "run 'warp pack' to build it, or name the component to load");
    return WG_NOT_FOUND;
  }
  if (wgrt_component_load(e->rt, wg__bytes(path, strlen(path)), (flags & WG_LOAD_TRUSTED) != 0, &rt,
                          &re) != 0)
    return wg__engine_error(err, &re);
  return new_component(rt, out, err);
}

wg_code wg_engine_load_bytes(wg_engine *e, const void *bytes, size_t len, wg_component **out,
                             wg_error *err) {
  wgrt_error re;
  wgrt_component *rt;
  if (wgrt_component_from_bytes(e->rt, wg__bytes(bytes, len), &rt, &re) != 0)
    return wg__engine_error(err, &re);
  return new_component(rt, out, err);
}

wg_component_kind wg_component_get_kind(const wg_component *c) {
  switch (wgrt_component_kind(c->rt)) {
  case WGRT_KIND_P2_HTTP: return WG_COMPONENT_P2_SERVICE;
  case WGRT_KIND_P3_HTTP: return WG_COMPONENT_P3_SERVICE;
  case WGRT_KIND_P2_COMMAND: return WG_COMPONENT_P2_COMMAND;
  case WGRT_KIND_P3_COMMAND: return WG_COMPONENT_P3_COMMAND;
  case WGRT_KIND_OTHER: break;
  }
  return WG_COMPONENT_OTHER;
}

const char *wg_component_kind_name(wg_component_kind kind) {
  switch (kind) {
  case WG_COMPONENT_P2_SERVICE: return "p2 service";
  case WG_COMPONENT_P3_SERVICE: return "p3 service";
  case WG_COMPONENT_P2_COMMAND: return "p2 command";
  case WG_COMPONENT_P3_COMMAND: return "p3 command";
  case WG_COMPONENT_OTHER: break;
  }
  return "neither a service nor a command";
}

wg_code wg_component_save(wg_component *c, const char *path, wg_error *err) {
  wgrt_error re;
  if (wgrt_component_save(c->rt, wg__bytes(path, strlen(path)), &re) != 0)
    return wg__engine_error(err, &re);
  return WG_OK;
}

void wg_component_free(wg_component *c) {
  if (!c) return;
  wgrt_component_free(c->rt);
  free(c);
}

/* ---- apps ---- */

/** Keeps the first import that cannot be linked as an error. */
static void refuse_import(void *user, const wg_interface *i) {
  wg_error *err = user;
  if (i->status == WG_INTERFACE_OK || err->code != WG_OK) return;
  wg_error_set(err, WG_LINK, 0, "the component imports '%s', which is %s", i->name,
               i->status == WG_INTERFACE_DISABLED      ? "turned off"
               : i->status == WG_INTERFACE_UNAVAILABLE ? "not available in this version"
                                                       : "unknown to this host");
  if (i->status == WG_INTERFACE_UNAVAILABLE)
    wg_error_hint(err, "this is version %s; 'warp validate' lists what it has", wg_version());
  else
    wg_error_hint(err, "%s", i->reason);
}

static wg_code check_imports(const wg_engine *e, const wg_component *c, wg_error *err) {
  wg_error found = {.code = WG_OK};
  wg_engine_inspect(e, c, refuse_import, &found);
  if (found.code != WG_OK && err) *err = found;
  return found.code;
}

wg_code wg_engine_instantiate(wg_engine *e, wg_component *c, const wg_app_options *options,
                              wg_app **out, wg_error *err) {
  const wg_config *cfg = e->config;
  const char *const *args = options ? options->args : NULL;
  wg_code code = check_imports(e, c, err);
  if (code != WG_OK) return code;
  wg_component_kind kind = wg_component_get_kind(c);
  bool service = kind == WG_COMPONENT_P2_SERVICE || kind == WG_COMPONENT_P3_SERVICE;
  size_t env_n = list_len((const char *const *)cfg->env), arg_n = list_len(args);

  wg_app *app = calloc(1, sizeof *app);
  wgrt_bytes *env = calloc(env_n + 1, sizeof *env), *argv = calloc(arg_n + 1, sizeof *argv);
  wgrt_preopen *dirs = calloc(cfg->preopen_count + 1, sizeof *dirs);
  if (app) app->name = strdup(options && options->name ? options->name : cfg->name);
  if (!app || !app->name || !env || !argv || !dirs) {
    code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
    goto out;
  }
  app->kind = kind;
  for (size_t i = 0; i < env_n; i++) env[i] = wg__bytes(cfg->env[i], strlen(cfg->env[i]));
  argv[0] = wg__bytes(app->name, strlen(app->name));
  for (size_t i = 0; args && i < arg_n; i++) argv[i + 1] = wg__bytes(args[i], strlen(args[i]));
  for (size_t i = 0; i < cfg->preopen_count; i++) {
    const wg_preopen *p = &cfg->preopens[i];
    dirs[i] = (wgrt_preopen){.host = wg__bytes(p->host, strlen(p->host)),
                             .guest = wg__bytes(p->guest, strlen(p->guest)),
                             .writable = p->writable};
  }
  wgrt_app_cfg ac = {
      .size = sizeof ac,
      .link = cfg->shims & WGRT_LINK_ALL,
      .app = app,
      .env = env,
      .env_count = env_n,
      .args = argv,
      .arg_count = arg_n + 1,
      .preopens = dirs,
      .preopen_count = cfg->preopen_count,
      .memory_bytes = cfg->memory_bytes,
      .body_bytes = cfg->body_bytes,
      .header_bytes = cfg->header_bytes,
      .reuse = cfg->reuse                        ? cfg->reuse
               : kind == WG_COMPONENT_P3_SERVICE ? REUSE_P3
                                                 : REUSE_P2,
      .max_concurrent = cfg->max_concurrent,
      .max_inflight = cfg->max_inflight,
      .request_timeout_ms = cfg->request_timeout_ms,
      .instance_idle_ms = cfg->instance_idle_ms,
      .inherit_stdio = !service,
  };
  wgrt_error re;
  if (wgrt_app_new(e->rt, c->rt, &ac, &app->rt, &re) != 0) code = wg__engine_error(err, &re);
out:
  free(env);
  free(argv);
  free(dirs);
  if (code != WG_OK)
    wg_app_free(app);
  else
    *out = app;
  return code;
}

void wg_app_free(wg_app *a) {
  if (!a) return;
  wgrt_app_free(a->rt);
  free(a->name);
  free(a);
}

/* ---- serving ---- */

typedef struct thread_arg {
  wg_engine *engine;
  wg_app *app;
  const int *fds;
  size_t count;
  unsigned index;
  wg_error err;
  pthread_t thread;
  bool started;
} thread_arg;

static void *serve_thread(void *p) {
  thread_arg *t = p;
  wg_worker w;
  wg_code c = wg__worker_init(&w, t->engine, t->index, &t->err);
  if (c == WG_OK) {
    c = wg__worker_serve(&w, t->app, t->fds, t->count, &t->err);
    wg__worker_release(&w);
  } else {
    for (size_t i = 0; i < t->count; i++) close(t->fds[i]);
  }
  if (c == WG_OK)
    t->err.code = WG_OK;
  else
    wg_engine_stop(t->engine); /* one worker less would serve worse in silence */
  return NULL;
}

static wg_code serve_app(wg_engine *e, wg_app *app, const wg_serve_options *o, wg_error *err) {
  if (app->kind != WG_COMPONENT_P2_SERVICE && app->kind != WG_COMPONENT_P3_SERVICE) {
    wg_error_set(err, WG_INVALID, 0, "cannot serve the component: it exports no HTTP handler");
    wg_error_hint(err, "a service exports wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3; "
                       "a command is run with 'warp run'");
    return WG_INVALID;
  }
  int *fds;
  size_t per_worker;
  char **urls;
  wg_code c = wg__listen_open(e->config->listen, e->worker_count, &fds, &per_worker, &urls, err);
  if (c != WG_OK) return c;
  thread_arg *threads = calloc(e->worker_count, sizeof *threads);
  if (!threads) {
    for (size_t i = 0; i < per_worker * e->worker_count; i++) close(fds[i]);
    free(fds);
    wg__listen_free_urls(urls);
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  for (unsigned i = 0; i < e->worker_count; i++) {
    threads[i] = (thread_arg){
        .engine = e, .app = app, .fds = fds + i * per_worker, .count = per_worker, .index = i + 1};
    if (i == 0) continue; /* the caller's thread is the first worker */
    int rc = pthread_create(&threads[i].thread, NULL, serve_thread, &threads[i]);
    threads[i].started = rc == 0;
    if (rc != 0) {
      wg_error_set(&threads[i].err, WG_IO, rc, "cannot start a worker: %s", wg_os_error(rc));
      for (size_t k = 0; k < per_worker; k++) close(threads[i].fds[k]);
      wg_engine_stop(e);
    }
  }
  if (o->on_listening) o->on_listening(o->user, (const char *const *)urls);
  (void)serve_thread(&threads[0]);
  for (unsigned i = 0; i < e->worker_count; i++) {
    if (threads[i].started) pthread_join(threads[i].thread, NULL);
    if (c == WG_OK && threads[i].err.code != WG_OK) {
      c = threads[i].err.code;
      if (err) *err = threads[i].err;
    }
  }
  free(threads);
  free(fds);
  wg__listen_free_urls(urls);
  return c;
}

wg_code wg_engine_serve(wg_engine *e, const wg_serve_options *options, wg_error *err) {
  const wg_serve_options none = {0}, *o = options ? options : &none;
  if (o->app) return serve_app(e, o->app, o, err);
  wg_component *component;
  wg_app *app;
  const char *path = o->component ? o->component : wg_engine_component_path(e);
  wg_code c = wg_engine_load(e, path, o->load_flags, &component, err);
  if (c != WG_OK) return c;
  c = wg_engine_instantiate(e, component, NULL, &app, err);
  if (c == WG_OK) {
    c = serve_app(e, app, o, err);
    wg_app_free(app);
  }
  wg_component_free(component);
  return c;
}

wg_code wg_engine_run(wg_engine *e, wg_app *app, int *exit_code, wg_error *err) {
  if (app->kind != WG_COMPONENT_P2_COMMAND && app->kind != WG_COMPONENT_P3_COMMAND) {
    wg_error_set(err, WG_INVALID, 0, "cannot run the component: it exports no command");
    wg_error_hint(err, "a command exports wasi:cli/run; a service is served with 'warp serve'");
    return WG_INVALID;
  }
  wg_worker w;
  wg_code c = wg__worker_init(&w, e, 1, err);
  if (c != WG_OK) return c;
  c = wg__worker_run(&w, app, exit_code, err);
  wg__worker_release(&w);
  return c;
}

void wg_engine_stop(wg_engine *e) {
  const uint64_t one = 1;
  atomic_fetch_add(&e->stops, 1);
  for (unsigned i = 0; i < e->worker_count; i++) {
    /* The counter cannot overflow before somebody presses Ctrl-C 2^64 times. */
    ssize_t n = write(e->stop_fds[i], &one, sizeof one);
    (void)n;
  }
}
