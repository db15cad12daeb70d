/* SPDX-License-Identifier: Apache-2.0 */
/** @file app.c  Apps: a component linked by the rules of a configuration. */
#include "engine/engine_internal.h"
#include "vfs/standard.h"
#include <stdlib.h>
#include <string.h>

/** Requests in the life of an instance unless [http] reuse says otherwise. */
enum { REUSE_P2 = 1, REUSE_P3 = 128 };

typedef struct check {
  wg_error err;
  bool callable; /**< something else is exported that is called */
} check;

/** Keeps the first interface that does not fit as an error. */
static void refuse(void *user, const wg_interface *i) {
  check *k = user;
  if (i->status == WG_INTERFACE_OK || k->err.code != WG_OK) return;
  if (i->is_export && k->callable) return;
  const char *verb = i->is_export ? "exports" : "imports";
  if (i->versions[0] && i->status == WG_INTERFACE_UNKNOWN)
    wg_error_set(&k->err, WG_LINK, 0, "the component %s '%s', but this host has %s", verb, i->name,
                 i->versions);
  else
    wg_error_set(&k->err, WG_LINK, 0, "the component %s '%s', which is %s", verb, i->name,
                 i->status == WG_INTERFACE_DISABLED      ? "turned off"
                 : i->status == WG_INTERFACE_UNAVAILABLE ? "not available in this version"
                                                         : "unknown to this host");
  if (i->status == WG_INTERFACE_UNAVAILABLE)
    wg_error_hint(&k->err, "this is version %s; 'warp validate' lists what it has", wg_version());
  else
    wg_error_hint(&k->err, "%s", i->reason);
}

static wg_code check_interfaces(const wg_config *config, const wg_component *c, wg_error *err) {
  check k = {.callable = wg_component_get_kind(c) != WG_COMPONENT_OTHER};
  wg__inspect(config, c, refuse, &k);
  if (k.err.code != WG_OK && err) *err = k.err;
  return k.err.code;
}

/** Names the version beside an interface that the runtime could not link or call: the series fits,
 *  but a function is missing or of another type. */
static void explain(void *user, const wg_interface *i) {
  wg_error *err = user;
  if (!i->versions[0] || err->hint[0] || i->is_export != (err->code == WG_INVALID)) return;
  /* Of an import the message has the name as it is, of an export that of the host's version. */
  size_t known = i->is_export ? strcspn(i->name, "@") + 1 : strlen(i->name);
  if (!memmem(err->msg, strlen(err->msg), i->name, known)) return;
  if (i->is_export) wg_error_wrap(err, "'%s' of the component", i->name);
  wg_error_hint(err,
                "this host has version %s of it, and serves what was built with bindings of that "
                "version or uses no more than it has; else a WarpGrid newer than %s is needed",
                i->versions, wg_version());
}

bool wg__app_is_service(const wg_app *a) {
  return a->kind == WG_COMPONENT_P2_SERVICE || a->kind == WG_COMPONENT_P3_SERVICE;
}

wg_code wg__app_not_a_service(const wg_app *a, const char *path, wg_error *err) {
  wg_error_set(err, WG_INVALID, 0,
               "cannot serve %s%s%s: it exports neither wasi:http/incoming-handler@0.2 nor "
               "wasi:http/handler@0.3",
               path ? "'" : "the component", path ? path : "", path ? "'" : "");
  if (a->kind == WG_COMPONENT_OTHER)
    wg_error_hint(err, "see 'warp validate %s'", path ? path : "FILE");
  else
    wg_error_hint(err, "it is a command: warp run %s", path ? path : "FILE");
  return WG_INVALID;
}

/** Adds "K=V" to a list that has room for it; the last one given for K holds. */
static void set_variable(wgrt_bytes *env, size_t *count, const char *pair) {
  size_t i = 0, name = strcspn(pair, "=");
  while (i < *count &&
         (env[i].n <= name || env[i].p[name] != '=' || memcmp(env[i].p, pair, name) != 0))
    i++;
  env[i] = wg__bytes(pair, strlen(pair));
  if (i == *count) ++*count;
}

static wg_names *current_names(void *engine) { return wg__engine_names(engine); }

/** Makes the virtual files of an app. @param env, argv  texts that end with a NUL */
static wg_code make_files(wg_engine *e, wg_app *app, const wg_site *site, const wgrt_bytes *env,
                          size_t env_n, const wgrt_bytes *argv, size_t arg_n, wg_error *err) {
  const char **texts = calloc(env_n + arg_n + 2, sizeof *texts);
  if (!texts) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  for (size_t i = 0; i < env_n; i++) texts[i] = (const char *)env[i].p;
  const char **args = texts + env_n + 1;
  for (size_t i = 0; i < arg_n; i++) args[i] = (const char *)argv[i].p;
  const wg_vfs_options options = {.config = site->config,
                                  .name = app->name,
                                  .args = args,
                                  .env = texts,
                                  .names = {current_names, e}};
  wg_code code = wg_vfs_new(&options, &app->vfs, err);
  free(texts);
  return code;
}

wg_code wg__app_new(wg_engine *e, const wg_site *site, wg_component *c, const wg_app_spec *spec,
                    wg_app **out, wg_error *err) {
  const wg_config *cfg = site->config;
  wg_code code = check_interfaces(cfg, c, err);
  if (code != WG_OK) return code;
  size_t own_env = wg__list_len((const char *const *)cfg->env), env_count = 0;
  size_t env_n = own_env + wg__list_len((const char *const *)spec->env),
         arg_n = wg__list_len(spec->args);

  wg_app *app = calloc(1, sizeof *app);
  wgrt_bytes *env = calloc(env_n + 1, sizeof *env), *argv = calloc(arg_n + 1, sizeof *argv);
  wgrt_preopen *dirs = calloc(cfg->preopen_count + 1, sizeof *dirs);
  if (app) app->name = strdup(spec->name);
  if (!app || !app->name || !env || !argv || !dirs) {
    code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
    goto out;
  }
  app->kind = wg_component_get_kind(c);
  app->site = site;
  for (size_t i = 0; i < own_env; i++) set_variable(env, &env_count, cfg->env[i]);
  for (char *const *pair = spec->env; pair && *pair; pair++) set_variable(env, &env_count, *pair);
  argv[0] = wg__bytes(app->name, strlen(app->name));
  for (size_t i = 0; spec->args && i < arg_n; i++)
    argv[i + 1] = wg__bytes(spec->args[i], strlen(spec->args[i]));
  for (size_t i = 0; i < cfg->preopen_count; i++) {
    const wg_preopen *p = &cfg->preopens[i];
    dirs[i] = (wgrt_preopen){.host = wg__bytes(p->host, strlen(p->host)),
                             .guest = wg__bytes(p->guest, strlen(p->guest)),
                             .writable = p->writable};
  }
  if (cfg->shims & WG_SHIM_FILESYSTEM)
    code = make_files(e, app, site, env, env_count, argv, arg_n + 1, err);
  if (code != WG_OK) goto out;
  wgrt_app_cfg ac = {
      .size = sizeof ac,
      .link = cfg->shims & WGRT_LINK_ALL,
      .app = app,
      .env = env,
      .env_count = env_count,
      .args = argv,
      .arg_count = arg_n + 1,
      .preopens = dirs,
      .preopen_count = cfg->preopen_count,
      .memory_bytes = cfg->memory_bytes,
      .body_bytes = cfg->body_bytes,
      .reuse = cfg->reuse                             ? cfg->reuse
               : app->kind == WG_COMPONENT_P3_SERVICE ? REUSE_P3
                                                      : REUSE_P2,
      .max_concurrent = cfg->max_concurrent,
      .max_inflight = cfg->max_inflight,
      .request_timeout_ms = cfg->request_timeout_ms,
      .instance_idle_ms = cfg->instance_idle_ms,
      .inherit_stdio = !wg__app_is_service(app),
      .host_names = cfg->host_dns,
  };
  wgrt_error re;
  if (wgrt_app_new(e->rt, c->rt, &ac, &app->rt, &re) != 0) {
    code = wg__engine_error(err, &re);
    if (err && (code == WG_LINK || code == WG_INVALID)) wg__inspect(cfg, c, explain, err);
  }
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

wg_code wg_engine_instantiate(wg_engine *e, wg_component *c, const wg_app_options *options,
                              wg_app **out, wg_error *err) {
  wg_site *site = wg__engine_site(e);
  const wg_app_spec spec = {.name = options && options->name ? options->name : e->config->name,
                            .args = options ? options->args : NULL};
  wg_code code = wg__app_new(e, site, c, &spec, out, err);
  wg__site_unref(site);
  return code;
}

void wg_app_free(wg_app *a) {
  if (!a) return;
  wgrt_app_free(a->rt);
  wg_vfs_free(a->vfs);
  free(a->name);
  free(a);
}
