/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/feed.h"

#include "dns/registry.h"

#include <stdlib.h>
#include <string.h>

struct wg_feed {
  wg_engine *engine;
  wg_thread *thread;
  wg_loop loop;
  wg_deadlines *deadlines;
  wg_registry *registry;
  wg_names *own; /* what the configuration alone says, for the registry's own host */
  wgrt_fetch *fetch; /* in progress */
  void (*first)(void *user);
  void *user;
};

static void on_fetched(void *user, uint32_t status, wgrt_bytes etag, wgrt_bytes body,
                       const char *error) {
  wg_feed *f = user;
  char tag[256] = "";
  f->fetch = NULL;
  if (etag.n > 0 && etag.n < sizeof tag) memcpy(tag, etag.p, etag.n);
  wg_registry_fetched(f->registry, status, tag, body.p, body.n, error);
}

/** The address of the URL's host, by [registry] and [hosts]; they may name it, and a private name
 *  must not reach the system's resolver.
 *  @param out  text; "": the system knows */
static wg_code own_address(const wg_feed *f, const char *url, char out[46], wg_error *err) {
  const char *host = strstr(url, "://"), *why;
  const wg_dns_addr *found;
  size_t count, count4;
  wg_dns_name name;
  out[0] = '\0';
  host = host ? host + 3 : url;
  if (!wg_dns_normalise(host, strcspn(host, ":/?#"), &name, &why)) return WG_OK; /* an address */
  wg_dns_link link = wg_names_find(f->own, &name, &found, &count, &count4);
  if (count > 0)
    wg_dns_addr_text(&found[0], out);
  else if (link != WG_DNS_HOST)
    return wg_error_set(err, WG_NOT_FOUND, 0, "host '%s' not found: [hosts] does not have it",
                        name.text);
  return WG_OK;
}

static wg_code feed_fetch(void *ctx, const wg_registry_request *r, wg_error *err) {
  wg_feed *f = ctx;
  wgrt_error re;
  char address[46];
  wg_code code = own_address(f, r->url, address, err);
  if (code != WG_OK) return code;
  const wgrt_fetch_cfg cfg = {.size = sizeof cfg,
                              .timeout_ms = r->timeout_ms,
                              .max_bytes = r->max_bytes,
                              .url = wg__bytes(r->url, strlen(r->url)),
                              .etag = wg__bytes(r->etag, strlen(r->etag)),
                              .authorization =
                                  wg__bytes(r->authorization, strlen(r->authorization)),
                              .address = wg__bytes(address, strlen(address))};
  if (wgrt_fetch_start(f->thread->rt, &cfg, on_fetched, f, &f->fetch, &re) != 0)
    return wg__engine_error(err, &re);
  return WG_OK;
}

static void feed_cancel(void *ctx) {
  wg_feed *f = ctx;
  wgrt_fetch_cancel(f->fetch);
  f->fetch = NULL;
}

/** New names go to the workers with the configuration that is served now. */
static void feed_changed(void *ctx) {
  wg_feed *f = ctx;
  wg_site *site = wg__engine_site(f->engine);
  wg_names *names;
  wg_error err;
  if (wg_names_new(site->config, wg_registry_last(f->registry), &names, &err) == WG_OK)
    wg__engine_publish_names(f->engine, names);
  else
    wg_log(NULL, WG_LOG_ERROR, "registry_not_taken", WG_KV_S("error", err.msg));
  wg__site_unref(site);
}

static void feed_first(void *ctx) {
  wg_feed *f = ctx;
  f->first(f->user);
}

static const wg_registry_ops feed_ops = {feed_fetch, feed_cancel, feed_changed, feed_first};

static void feed_kick(void *ctx) { wgrt_worker_kick(((wg_feed *)ctx)->thread->rt); }

wg_code wg__feed_new(wg_engine *e, wg_thread *t, void (*first)(void *user), void *user,
                     wg_feed **out, wg_error *err) {
  wg_feed *f = calloc(1, sizeof *f);
  if (!f) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  f->engine = e;
  f->thread = t;
  f->first = first;
  f->user = user;
  f->loop = (wg_loop){.uv = &t->uv, .watch_ctx = f, .clock = wg_clock_monotonic, .kick = feed_kick};
  wg_code code = wg_deadlines_new(&f->loop, &f->deadlines, err);
  if (code == WG_OK) code = wg_registry_new(f->deadlines, &feed_ops, f, &f->registry, err);
  if (code == WG_OK) code = wg_names_new(e->config, NULL, &f->own, err);
  if (code == WG_OK) code = wg_registry_configure(f->registry, e->config, err);
  if (code != WG_OK) {
    wg__feed_free(f);
    return code;
  }
  *out = f;
  if (!e->config->registry_url) first(user);
  return WG_OK;
}

void wg__feed_free(wg_feed *f) {
  if (!f) return;
  wg_registry_free(f->registry);
  wg_names_unref(f->own);
  wg_deadlines_free(f->deadlines);
  free(f);
}

wg_code wg__feed_names(wg_feed *f, const wg_config *config, wg_names **out, wg_error *err) {
  wg_names *own;
  wg_code code = wg_names_new(config, NULL, &own, err);
  if (code != WG_OK) return code;
  wg_names_unref(f->own);
  f->own = own;
  code = wg_registry_configure(f->registry, config, err);
  return code == WG_OK ? wg_names_new(config, wg_registry_last(f->registry), out, err) : code;
}
