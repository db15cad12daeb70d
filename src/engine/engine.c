/* SPDX-License-Identifier: Apache-2.0 */
/** @file engine.c  The embedding API: engines and their configuration, and components. */
#include "base/cpu.h"
#include "base/text.h"
#include "engine/engine_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <warpgrid/version.h>

/** How often a guest that computes is interrupted, so that others get their turn. */
enum { EPOCH_MS = 10 };

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

/** Appends copies to a NULL-terminated list of the configuration. */
static wg_code list_append(char ***list, const char *const *more, wg_error *err) {
  size_t n = wg__list_len((const char *const *)*list), k = wg__list_len(more);
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
  size_t k = wg__list_len(dirs);
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

static void free_list(char **list) {
  for (char **p = list; p && *p; p++) {
    wg_wipe(*p, strlen(*p)); /* variables of guests may be secrets */
    free(*p);
  }
  free(list);
}

static wg_code replace_list(char ***list, char *const *by, wg_error *err) {
  if (!by) return WG_OK;
  free_list(*list);
  *list = NULL;
  return list_append(list, (const char *const *)by, err);
}

/** What wg_engine_new() was given wins over the file. */
static wg_code apply_given(const wg_engine *e, wg_config *c, wg_error *err) {
  wg_code code = list_append(&c->env, (const char *const *)e->given.env, err);
  if (code == WG_OK) code = append_dirs(c, (const char *const *)e->given.dirs, err);
  if (code == WG_OK) code = replace_list(&c->listen, e->given.listen, err);
  if (code == WG_OK) code = replace_list(&c->admin_listen, e->given.admin, err);
  for (char **l = e->given.admin; code == WG_OK && l && *l; l++)
    code = wg_admin_listen_check(*l, err);
  c->loopback_databases = e->given.loopback_databases;
  if (e->given.workers) c->workers = e->given.workers;
  if (c->workers == 0) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    c->workers = n > 0 ? (uint32_t)n : 1;
  }
  return code;
}

/** @param path  NULL: the file of the current folder, if there is one */
static wg_code read_config(wg_engine *e, const char *path, wg_config_warn_cb warn, void *user,
                           wg_config **out, wg_error *err) {
  const char *text = e->given.config_text;
  wg_config *config;
  wg_code code = text ? wg_config_parse("warp.toml", text, strlen(text), warn, user, &config, err)
                      : wg_config_load(path, warn, user, &config, err);
  if (code != WG_OK) return code;
  code = apply_given(e, config, err);
  if (code != WG_OK) {
    wg_config_free(config);
    return code;
  }
  *out = config;
  return WG_OK;
}

wg_code wg__engine_read_config(wg_engine *e, wg_config **out, wg_error *err) {
  return read_config(e, e->config->path, warn_to_log, NULL, out, err);
}

static char *copy(const char *text, bool *failed) {
  char *to = text ? strdup(text) : NULL;
  *failed = *failed || (text && !to);
  return to;
}

static wg_code keep_given(wg_engine *e, const wg_engine_options *o, wg_error *err) {
  bool failed = false;
  e->given.config_text = copy(o->config_text, &failed);
  e->given.workers = o->workers;
  e->given.loopback_databases = o->allow_loopback_databases != 0;
  if (failed) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  wg_code code = list_append(&e->given.listen, o->listen, err);
  if (code == WG_OK) code = list_append(&e->given.admin, o->admin, err);
  if (code == WG_OK) code = list_append(&e->given.env, o->env, err);
  if (code == WG_OK) code = list_append(&e->given.dirs, o->dirs, err);
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
  const char *registry = c->registry_url ? c->registry_url : "static";
  shim_names(e, shim_on, on, sizeof on);
  shim_names(e, shim_off, off, sizeof off);
  shim_names(e, shim_later, later, sizeof later);
  wg_log(NULL, WG_LOG_INFO, "engine_started", WG_KV_S("version", wg_version()),
         WG_KV_S("wasmtime", wg_wasmtime_version()),
         WG_KV_S("config", c->path ? c->path : "defaults"), WG_KV_U("workers", c->workers),
         WG_KV_S("shims", on), WG_KV_S("shims_off", off), WG_KV_S("shims_not_yet", later),
         WG_KV_U("databases", c->database_count), WG_KV_U("pool_size", c->pool.pool_size),
         WG_KV_U("connect_timeout_ms", c->pool.connect_timeout_ms),
         WG_KV_U("dns_ttl_s", c->dns_ttl_s), WG_KV_S("dns_domain", c->dns_domain),
         /* Without its query, which may hold a key. */
         WG_KV_N("registry", registry, strcspn(registry, "?")));
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

static wg_code new_event(int flags, int *fd, wg_error *err) {
  *fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | flags);
  if (*fd >= 0) return WG_OK;
  return wg_error_set(err, WG_IO, errno, "cannot make an eventfd: %s", wg_os_error(errno));
}

/** What there is one a worker of. */
static wg_code new_worker_parts(wg_engine *e, wg_error *err) {
  size_t n = e->config->workers;
  e->stop_fds = calloc(n, sizeof *e->stop_fds);
  e->workers = calloc(n, sizeof *e->workers);
  e->metrics = calloc(n * WG_SLOTS, sizeof *e->metrics);
  e->dns_metrics = calloc(n, sizeof *e->dns_metrics);
  if (!e->stop_fds || !e->workers || !e->metrics || !e->dns_metrics)
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  wg_code c = new_event(0, &e->reload_fd, err);
  for (; c == WG_OK && e->worker_count < n; e->worker_count++) {
    c = new_event(EFD_SEMAPHORE, &e->stop_fds[e->worker_count], err);
    if (c != WG_OK) break;
  }
  return c;
}

wg_code wg_engine_new(const wg_engine_options *options, wg_engine **out, wg_error *err) {
  const wg_engine_options none = {0}, *o = options ? options : &none;
  wg_engine *e = calloc(1, sizeof *e);
  if (!e) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  pthread_mutex_init(&e->lock, NULL);
  e->reload_fd = -1;
  atomic_init(&e->stop_signal, -1);
  e->slot_count = 1;
  e->cpu_hundredths = wg_cpu_hundredths("/");
  e->started = time(NULL);
  e->started_ms = wg_now_ms(&wg_clock_monotonic);
  wg_code c = keep_given(e, o, err);
  if (c == WG_OK)
    c = read_config(e, o->config_path, o->on_warning ? o->on_warning : warn_to_log, o->user,
                    &e->config, err);
  if (c == WG_OK) c = new_worker_parts(e, err);
  if (c == WG_OK) c = wg__site_new(wg_config_ref(e->config), NULL, &e->site, err);
  if (c == WG_OK) c = wg_names_new(e->config, NULL, &e->names, err);
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
  wg__site_unref(e->site);
  wg_names_unref(e->names);
  wgrt_engine_free(e->rt);
  wg_config_free(e->config);
  for (unsigned i = 0; i < e->worker_count; i++) close(e->stop_fds[i]);
  if (e->reload_fd >= 0) close(e->reload_fd);
  free(e->stop_fds);
  free(e->workers);
  free(e->metrics);
  free(e->dns_metrics);
  for (unsigned i = 1; i < e->slot_count; i++) free(e->slots[i]);
  if (e->given.config_text) wg_wipe(e->given.config_text, strlen(e->given.config_text));
  free(e->given.config_text);
  free_list(e->given.listen);
  free_list(e->given.admin);
  free_list(e->given.env);
  free_list(e->given.dirs);
  pthread_mutex_destroy(&e->lock);
  free(e);
}

/* ---- what workers share ---- */

wg_site *wg__engine_site(wg_engine *e) {
  pthread_mutex_lock(&e->lock);
  wg_site *s = wg__site_ref(e->site);
  pthread_mutex_unlock(&e->lock);
  return s;
}

wg_names *wg__engine_names(wg_engine *e) {
  pthread_mutex_lock(&e->lock);
  wg_names *n = wg_names_ref(e->names);
  pthread_mutex_unlock(&e->lock);
  return n;
}

void wg__engine_publish_names(wg_engine *e, wg_names *names) {
  pthread_mutex_lock(&e->lock);
  wg_names *old = e->names;
  e->names = names;
  for (unsigned i = 0; i < e->worker_count; i++)
    if (e->workers[i]) uv_async_send(&e->workers[i]->thread.wake);
  pthread_mutex_unlock(&e->lock);
  wg_names_unref(old);
}

void wg__engine_publish(wg_engine *e, wg_site *site, wg_names *names) {
  pthread_mutex_lock(&e->lock);
  wg_site *old = e->site;
  wg_names *old_names = e->names;
  e->site = site;
  e->names = names;
  e->adopt_failed = false;
  for (unsigned i = 0; i < e->worker_count; i++) {
    wg_worker *w = e->workers[i];
    if (!w || w->owes) continue;
    w->owes = true;
    e->adopting++;
    uv_async_send(&w->thread.wake);
  }
  if (e->adopting == 0) wg__control_adopted(e->control);
  pthread_mutex_unlock(&e->lock);
  wg__site_unref(old);
  wg_names_unref(old_names);
}

unsigned wg__engine_slot(wg_engine *e, const char *name) {
  unsigned slot = 1;
  pthread_mutex_lock(&e->lock);
  while (slot < e->slot_count && strcmp(e->slots[slot], name) != 0) slot++;
  if (slot == e->slot_count) {
    char *mine = slot < WG_SLOTS ? strdup(name) : NULL;
    if (mine)
      e->slots[e->slot_count++] = mine;
    else
      slot = 0;
  }
  pthread_mutex_unlock(&e->lock);
  return slot;
}

const char *wg_engine_component_path(const wg_engine *e) { return e->config->component; }

/* ---- components ---- */

static wg_code new_component(wgrt_component *rt, const char *path, wg_component **out,
                             wg_error *err) {
  bool failed = false;
  wg_component *c = calloc(1, sizeof *c);
  if (c) c->path = copy(path, &failed);
  if (!c || failed) {
    free(c);
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
  return new_component(rt, path, out, err);
}

wg_code wg_engine_load_bytes(wg_engine *e, const void *bytes, size_t len, wg_component **out,
                             wg_error *err) {
  wgrt_error re;
  wgrt_component *rt;
  if (wgrt_component_from_bytes(e->rt, wg__bytes(bytes, len), &rt, &re) != 0)
    return wg__engine_error(err, &re);
  return new_component(rt, NULL, out, err);
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
  free(c->path);
  free(c);
}
