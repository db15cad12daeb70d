/* SPDX-License-Identifier: Apache-2.0 */
/** @file site.c  One generation of what is served: configuration, apps, router, pools. */
#include "dns/sentinel.h"
#include "engine/engine_internal.h"
#include <stdlib.h>
#include <string.h>

/* ---- pools ---- */

static wg_code pools_new(wg_config *config, wg_pools **out, wg_error *err) {
  wg_pools *p = calloc(1, sizeof *p);
  if (!p) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  wg_code code = wg_db_new(config, &p->db, err);
  if (code != WG_OK) {
    free(p);
    return code;
  }
  p->config = wg_config_ref(config);
  atomic_init(&p->refs, 1);
  *out = p;
  return WG_OK;
}

wg_pools *wg__pools_ref(wg_pools *p) {
  atomic_fetch_add(&p->refs, 1);
  return p;
}

void wg__pools_unref(wg_pools *p) {
  if (!p || atomic_fetch_sub(&p->refs, 1) > 1) return;
  wg_db_free(p->db);
  wg_config_free(p->config);
  free(p);
}

/* ---- life ---- */

/** Guests of this generation keep its sentinels, whatever a reload declares. */
static wg_code place_sentinels(wg_site *s, wg_error *err) {
  size_t n = s->config->database_count;
  if (n == 0 || !(s->config->shims & WG_SHIM_DATABASE_PROXY)) return WG_OK;
  s->sentinels = calloc(2 * n, sizeof *s->sentinels);
  if (!s->sentinels) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  return wg_dns_sentinel_places(s->config, s->sentinels, s->sentinels + n, err);
}

wg_code wg__site_new(wg_config *config, wg_site *like, wg_site **out, wg_error *err) {
  wg_site *s = calloc(1, sizeof *s);
  if (!s) {
    wg_config_free(config);
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  atomic_init(&s->refs, 1);
  s->config = config;
  s->generation = like ? like->generation + 1 : 1;
  wg_code code = place_sentinels(s, err);
  if (code == WG_OK && like && wg_config_same_databases(like->pools->config, config))
    s->pools = wg__pools_ref(like->pools);
  else if (code == WG_OK)
    code = pools_new(config, &s->pools, err);
  if (code != WG_OK) {
    wg__site_unref(s);
    return code;
  }
  *out = s;
  return WG_OK;
}

wg_site *wg__site_ref(wg_site *s) {
  atomic_fetch_add(&s->refs, 1);
  return s;
}

void wg__site_unload(wg_site *s) {
  for (size_t i = 0; i < s->app_count; i++) {
    wg_component *c = s->apps[i]->component;
    wg_app_free(s->apps[i]);
    wg_component_free(c);
  }
  free(s->apps);
  wg_router_free(s->router);
  s->apps = NULL;
  s->app_count = 0;
  s->router = NULL;
}

void wg__site_unref(wg_site *s) {
  if (!s || atomic_fetch_sub(&s->refs, 1) > 1) return;
  wg__site_unload(s);
  wg__pools_unref(s->pools);
  wg_config_free(s->config);
  free(s->sentinels);
  free(s);
}

/* ---- loading ---- */

/** Loads a file, links it and adds it to the site. */
static wg_code add_app(wg_engine *e, wg_site *s, const char *path, unsigned flags,
                       const wg_service_config *service, wg_error *err) {
  wg_component *c;
  wg_app *app = NULL;
  wg_code code = wg_engine_load(e, path, flags, &c, err);
  if (code != WG_OK) return code;
  const wg_app_spec spec = {.name = service ? service->name : s->config->name,
                            .env = service ? service->env : NULL};
  code = wg__app_new(e, s, c, &spec, &app, err);
  if (code == WG_OK && !wg__app_is_service(app)) code = wg__app_not_a_service(app, path, err);
  wg_app **grown = code == WG_OK ? realloc(s->apps, (s->app_count + 1) * sizeof *grown) : NULL;
  if (code == WG_OK && !grown) code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
  if (code != WG_OK) {
    wg_app_free(app);
    wg_component_free(c);
    return code;
  }
  app->component = c;
  app->service = service;
  s->apps = grown;
  s->apps[s->app_count++] = app;
  return WG_OK;
}

static wg_code load_services(wg_engine *e, wg_site *s, unsigned flags, wg_error *err) {
  for (size_t i = 0; i < s->config->service_count; i++) {
    const wg_service_config *service = &s->config->services[i];
    wg_code code = add_app(e, s, service->component, flags, service, err);
    if (code != WG_OK) {
      wg_error_wrap(err, "service '%s'", service->name);
      return code;
    }
  }
  return WG_OK;
}

/** An empty list stands for all. */
static size_t choices(char *const *list) {
  return list && list[0] ? wg__list_len((const char *const *)list) : 1;
}

static wg_code make_router(wg_site *s, wg_app *only, wg_error *err) {
  size_t count = only ? 1 : 0, n = 0;
  for (size_t i = 0; i < s->app_count; i++) {
    const wg_service_config *service = s->apps[i]->service;
    count += service ? choices(service->hosts) * choices(service->paths) : 1;
  }
  wg_route *routes = calloc(count, sizeof *routes);
  if (!routes) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  if (only) routes[n++] = (wg_route){.target = only};
  for (size_t i = 0; i < s->app_count; i++) {
    const wg_service_config *service = s->apps[i]->service;
    if (!service) {
      routes[n++] = (wg_route){.target = s->apps[i]};
      continue;
    }
    for (size_t h = 0; h < choices(service->hosts); h++)
      for (size_t p = 0; p < choices(service->paths); p++)
        routes[n++] = (wg_route){.host = service->hosts ? service->hosts[h] : NULL,
                                 .path = service->paths ? service->paths[p] : NULL,
                                 .target = s->apps[i]};
  }
  WG_ASSERT(n == count);
  wg_code code = wg_router_new(routes, count, &s->router, err);
  free(routes);
  return code;
}

wg_code wg__site_load(wg_engine *e, wg_site *s, const wg_serve_options *options, wg_error *err) {
  wg_code code = WG_OK;
  if (options->app) {
    if (!wg__app_is_service(options->app)) return wg__app_not_a_service(options->app, NULL, err);
  } else if (options->component || s->config->service_count == 0) {
    const char *path = options->component ? options->component : s->config->component;
    code = add_app(e, s, path, options->load_flags, NULL, err);
  } else {
    code = load_services(e, s, options->load_flags, err);
  }
  if (code == WG_OK) code = make_router(s, options->app, err);
  /* Only now: a name of a reload that fails takes no place. */
  if (code == WG_OK && options->app) options->app->slot = wg__engine_slot(e, options->app->name);
  for (size_t i = 0; code == WG_OK && i < s->app_count; i++)
    s->apps[i]->slot = wg__engine_slot(e, s->apps[i]->name);
  if (code != WG_OK) wg__site_unload(s);
  return code;
}
