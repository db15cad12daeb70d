/* SPDX-License-Identifier: Apache-2.0 */
/** @file hosts.c  /etc/hosts and /etc/warpgrid/proxy.conf: names, and what is behind them. */
#include "dns/sentinel.h"
#include "vfs/standard.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

typedef struct hosts {
  const wg_config *config;
  wg_vfs_names registry; /**< version NULL: the configuration's */
  char name[]; /**< of the app */
} hosts;

/** A table of warp.toml may have any name; only some can be part of a host's. */
static bool is_host_name(const char *name) {
  return *name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789-_.")];
}

/** A text without spaces, whatever it was. */
static void put_word(wg_buf *out, const char *text) {
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    wg_buf_put_u8(out, c <= ' ' || c == 0x7f ? '_' : c);
  }
}

static void put_line(wg_buf *out, const char *address, const char *name) {
  wg_buf_printf(out, "%s\t%s\n", address, name);
}

/* ---- databases ---- */

typedef bool (*sentinel_of)(const wg_config *c, size_t database, int family, uint8_t out[16]);

/** The sentinel of a database as a text; false: it has none. */
static bool sentinel_text(const wg_config *c, size_t i, sentinel_of of, int family,
                          char out[INET6_ADDRSTRLEN]) {
  uint8_t raw[16];
  return of(c, i, family, raw) && inet_ntop(family, raw, out, INET6_ADDRSTRLEN);
}

static const int families[] = {AF_INET, AF_INET6};

static void put_sentinels(const wg_config *c, size_t i, sentinel_of of, const char *name,
                          wg_buf *out) {
  char text[INET6_ADDRSTRLEN];
  for (size_t f = 0; f < WG_COUNT(families); f++)
    if (sentinel_text(c, i, of, families[f], text)) put_line(out, text, name);
}

/** True when a database before the i'th has the name, as its host. */
static bool is_database(const wg_config *c, size_t i, const char *name) {
  for (size_t k = 0; k < i; k++)
    if (strcmp(c->databases[k].host, name) == 0) return true;
  return false;
}

/** "main.db.warp.local" */
static void own_name(const wg_config *c, size_t i, wg_buf *out) {
  wg_buf_clear(out);
  wg_buf_printf(out, "%s.db.%s", c->databases[i].name, c->dns_domain ? c->dns_domain : "");
  wg_buf_put_u8(out, 0);
}

static void put_databases(const wg_config *c, wg_buf *out) {
  wg_buf own;
  wg_buf_init(&own, 4096);
  for (size_t i = 0; i < c->database_count; i++) {
    if (!is_database(c, i, c->databases[i].host))
      put_sentinels(c, i, wg_dns_sentinel, c->databases[i].host, out);
    own_name(c, i, &own);
    if (!own.failed && is_host_name((const char *)wg_buf_head(&own)))
      put_sentinels(c, i, wg_dns_sentinel_own, (const char *)wg_buf_head(&own), out);
  }
  if (own.nomem) out->failed = out->nomem = true;
  wg_buf_release(&own);
}

void wg__vfs_put_databases(const wg_config *c, wg_buf *out) {
  wg_buf_printf(out, "# Databases: connect without credentials, the host logs in.\n"
                     "# NAME PROTOCOL HOST PORT DATABASE ADDRESS...\n");
  static const char *const protocols[] = {"postgres", "mysql", "redis"};
  for (size_t i = 0; i < c->database_count; i++) {
    const wg_database_config *d = &c->databases[i];
    put_word(out, d->name);
    wg_buf_printf(out, " %s %s %u ", protocols[d->protocol], d->host, d->port);
    put_word(out, d->database ? d->database : "*");
    char text[INET6_ADDRSTRLEN];
    for (size_t f = 0; f < WG_COUNT(families); f++)
      if (sentinel_text(c, i, wg_dns_sentinel, families[f], text)) wg_buf_printf(out, " %s", text);
    wg_buf_put_u8(out, '\n');
  }
}

/* ---- the registry, which may change, and [hosts] ---- */

typedef struct registry_writer {
  const wg_config *config;
  wg_buf *out;
} registry_writer;

static void put_registered(void *to, const char *name, const char *address) {
  registry_writer *w = to;
  if (!is_database(w->config, w->config->database_count, name)) put_line(w->out, address, name);
}

static void each_registered(const hosts *h,
                            void (*name)(void *to, const char *name, const char *address),
                            void *to) {
  if (h->registry.each) {
    h->registry.each(h->registry.user, name, to);
    return;
  }
  for (size_t i = 0; i < h->config->registry_count; i++)
    for (size_t k = 0; k < h->config->registry[i].address_count; k++)
      name(to, h->config->registry[i].name, h->config->registry[i].addresses[k]);
}

/** Marks the entries of [hosts] that the registry has, too. */
typedef struct registry_search {
  const wg_config *config;
  bool *found; /**< one an entry */
} registry_search;

static void mark_registered(void *to, const char *name, const char *address) {
  registry_search *s = to;
  (void)address;
  for (size_t i = 0; i < s->config->host_count; i++)
    if (strcmp(s->config->hosts[i].name, name) == 0) s->found[i] = true;
}

static wg_code hosts_content(void *user, wg_buf *out, wg_error *err) {
  const hosts *h = user;
  const wg_config *c = h->config;
  registry_search search = {c, calloc(c->host_count + 1, sizeof *search.found)};
  if (!search.found) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  put_line(out, "127.0.0.1", "localhost");
  put_line(out, "::1", "localhost");
  put_line(out, "127.0.0.1", h->name);
  put_databases(c, out);
  each_registered(h, put_registered, &(registry_writer){c, out});
  each_registered(h, mark_registered, &search);
  for (size_t i = 0; i < c->host_count; i++) {
    const wg_registry_entry *e = &c->hosts[i];
    if (search.found[i] || is_database(c, c->database_count, e->name)) continue;
    for (size_t k = 0; k < e->address_count; k++) put_line(out, e->addresses[k], e->name);
  }
  free(search.found);
  return WG_OK;
}

static uint64_t hosts_version(void *user) {
  const hosts *h = user;
  return 1 + h->registry.version(h->registry.user);
}

static void hosts_release(void *user) {
  hosts *h = user;
  if (h->registry.release) h->registry.release(h->registry.user);
  free(h);
}

void wg__vfs_add_hosts(wg_vfs_builder *b, const wg_vfs_options *o) {
  size_t n = strlen(o->name) + 1;
  hosts *h = malloc(sizeof *h + n);
  if (!h) {
    if (o->registry && o->registry->release) o->registry->release(o->registry->user);
    wg_vfs_add_provider(b, "/etc/hosts", NULL);
    return;
  }
  h->config = o->config;
  h->registry = o->registry ? *o->registry : (wg_vfs_names){0};
  memcpy(h->name, o->name, n);
  wg_vfs_add_provider(b, "/etc/hosts",
                      &(wg_vfs_provider){.version = o->registry ? hosts_version : NULL,
                                         .content = hosts_content,
                                         .release = hosts_release,
                                         .user = h});
}
