/* SPDX-License-Identifier: Apache-2.0 */
/** @file names.c  Open-addressing tables, filled once; the first entry of a name holds, so that the
 *  order of filling is the order of the chain. */
#include "dns/names.h"

#include "dns/sentinel.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef struct names_entry {
  char *text; /* owned; NULL: a free place */
  uint32_t hash;
  uint8_t len, link;
  uint16_t count, count4;
  wg_dns_addr *addresses; /* owned */
} names_entry;

/** Names to addresses. */
typedef struct names_map {
  names_entry *places;
  size_t mask; /* places - 1 */
} names_map;

/** An address to its name, which an entry of a map owns. */
typedef struct names_reverse {
  wg_dns_addr address;
  const char *name; /* NULL: a free place */
  uint8_t link;
} names_reverse;
typedef struct reverse_map {
  names_reverse *places;
  size_t mask;
} reverse_map;

struct wg_names {
  atomic_uint refs;
  uint64_t generation;
  wg_dns_settings settings;
  names_map known, sentinels;
  reverse_map known_reverse, sentinels_reverse;
  wg_buf hosts; /* the file */
};

static const wg_dns_addr localhost[2] = {{4, {127, 0, 0, 1}}, {6, {[15] = 1}}};

enum { TIMEOUT_STANDARD_MS = 5000 };

const char *wg_dns_link_name(wg_dns_link link) {
  static const char *const names[] = {"literal", "database", "registry", "hosts",
                                      "domain",  "host",     "nss"};
  return link < WG_COUNT(names) ? names[link] : "?";
}

/* ---- tables ---- */

/** Places for at least `count` entries, at most two thirds of them taken. */
static size_t places_for(size_t count) {
  size_t n = 8;
  while (n < count + count / 2 + 1) n *= 2;
  return n;
}

static const names_entry *map_find(const names_map *m, const wg_dns_name *name) {
  for (size_t i = name->hash & m->mask;; i = (i + 1) & m->mask) {
    const names_entry *e = &m->places[i];
    if (!e->text) return NULL;
    if (e->hash == name->hash && e->len == name->len && memcmp(e->text, name->text, e->len) == 0)
      return e;
  }
}

static const names_reverse *reverse_find(const reverse_map *m, const wg_dns_addr *a) {
  for (size_t i = wg_dns_hash(a, sizeof *a) & m->mask;; i = (i + 1) & m->mask) {
    const names_reverse *r = &m->places[i];
    if (!r->name || wg_dns_addr_equal(&r->address, a)) return r->name ? r : NULL;
  }
}

static void reverse_add(reverse_map *m, const wg_dns_addr *a, const char *name, wg_dns_link link) {
  size_t i = wg_dns_hash(a, sizeof *a) & m->mask;
  for (; m->places[i].name; i = (i + 1) & m->mask)
    if (wg_dns_addr_equal(&m->places[i].address, a)) return;
  m->places[i] = (names_reverse){*a, name, (uint8_t)link};
}

/** Adds a name unless it is there; copies. IPv4 goes first, order holds within a family. */
static wg_code map_add(names_map *m, reverse_map *reverse, const wg_dns_name *name,
                       wg_dns_link link, const wg_dns_addr *addresses, size_t count,
                       wg_error *err) {
  size_t i = name->hash & m->mask;
  for (; m->places[i].text; i = (i + 1) & m->mask)
    if (m->places[i].hash == name->hash && strcmp(m->places[i].text, name->text) == 0) return WG_OK;
  char *text = strdup(name->text);
  wg_dns_addr *copy = calloc(count ? count : 1, sizeof *copy);
  if (!text || !copy) {
    free(text);
    free(copy);
    return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  }
  size_t n = 0, count4;
  for (size_t k = 0; k < count; k++)
    if (addresses[k].family == 4) copy[n++] = addresses[k];
  count4 = n;
  for (size_t k = 0; k < count; k++)
    if (addresses[k].family == 6) copy[n++] = addresses[k];
  m->places[i] = (names_entry){.text = text,
                               .hash = name->hash,
                               .len = (uint8_t)name->len,
                               .link = (uint8_t)link,
                               .count = (uint16_t)n,
                               .count4 = (uint16_t)count4,
                               .addresses = copy};
  for (size_t k = 0; k < n; k++) reverse_add(reverse, &copy[k], text, link);
  return WG_OK;
}

static void map_free(names_map *m, reverse_map *reverse) {
  for (size_t i = 0; m->places && i <= m->mask; i++) {
    free(m->places[i].text);
    free(m->places[i].addresses);
  }
  free(m->places);
  free(reverse->places);
}

static wg_code map_new(names_map *m, reverse_map *reverse, size_t names, size_t addresses,
                       wg_error *err) {
  size_t a = places_for(names), b = places_for(addresses);
  m->places = calloc(a, sizeof *m->places);
  reverse->places = calloc(b, sizeof *reverse->places);
  m->mask = a - 1;
  reverse->mask = b - 1;
  return m->places && reverse->places ? WG_OK
                                      : wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
}

/* ---- filling ---- */

static wg_code add_configured(wg_names *n, const wg_registry_entry *e, const char *section,
                              wg_dns_link link, wg_error *err) {
  wg_dns_name name;
  const char *why;
  if (!wg_dns_normalise(e->name, strlen(e->name), &name, &why))
    return wg_error_set(err, WG_INVALID, 0, "%s: the name '%s' %s", section, e->name, why);
  if (e->address_count > UINT16_MAX)
    return wg_error_set(err, WG_INVALID, 0, "%s: the name '%s' has more than %d addresses", section,
                        e->name, UINT16_MAX);
  wg_dns_addr *addresses = calloc(e->address_count + 1, sizeof *addresses);
  if (!addresses) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  wg_code code = WG_OK;
  for (size_t i = 0; i < e->address_count && code == WG_OK; i++)
    if (!wg_dns_literal(e->addresses[i], strlen(e->addresses[i]), &addresses[i]))
      code = wg_error_set(err, WG_INVALID, 0, "%s: the name '%s': '%s' is not an IP address",
                          section, e->name, e->addresses[i]);
  if (code == WG_OK)
    code = map_add(&n->known, &n->known_reverse, &name, link, addresses, e->address_count, err);
  free(addresses);
  return code;
}

/** Adds the names of an HTTP registry that have addresses, or those that have none. */
static wg_code add_answer(wg_names *n, const wg_registry_answer *more, bool some, wg_error *err) {
  wg_code code = WG_OK;
  for (size_t i = 0; more && i < more->count && code == WG_OK; i++) {
    const wg_registry_name *name = &more->names[i];
    if ((name->count > 0) == some)
      code = map_add(&n->known, &n->known_reverse, &name->name, WG_DNS_REGISTRY, name->addresses,
                     name->count, err);
  }
  return code;
}

static wg_code fill_known(wg_names *n, const wg_config *c, const wg_registry_answer *more,
                          wg_error *err) {
  size_t names = c->registry_count + c->host_count + 1, addresses = 2;
  for (size_t i = 0; i < c->registry_count; i++) addresses += c->registry[i].address_count;
  for (size_t i = 0; i < c->host_count; i++) addresses += c->hosts[i].address_count;
  for (size_t i = 0; more && i < more->count; i++) addresses += more->names[i].count;
  names += more ? more->count : 0;
  wg_code code = map_new(&n->known, &n->known_reverse, names, addresses, err);
  for (size_t i = 0; i < c->registry_count && code == WG_OK; i++)
    code = add_configured(n, &c->registry[i], "[registry]", WG_DNS_REGISTRY, err);
  code = code == WG_OK ? add_answer(n, more, true, err) : code;
  for (size_t i = 0; i < c->host_count && code == WG_OK; i++)
    code = add_configured(n, &c->hosts[i], "[hosts]", WG_DNS_HOSTS, err);
  wg_dns_name local;
  const char *why;
  if (code == WG_OK && wg_dns_normalise("localhost", 9, &local, &why))
    code = map_add(&n->known, &n->known_reverse, &local, WG_DNS_HOSTS, localhost, 2, err);
  /* Last, so that they hide nobody: known, and nowhere. */
  return code == WG_OK ? add_answer(n, more, false, err) : code;
}

static wg_code add_sentinel(wg_names *n, const char *text, uint16_t place, wg_error *err) {
  wg_dns_addr addresses[2] = {{.family = 4}, {.family = 6}};
  wg_dns_name name;
  const char *why;
  /* A database's name may be none of a host; then this way to it does not exist. */
  if (!wg_dns_sentinel_at(place, AF_INET, addresses[0].bytes) ||
      !wg_dns_sentinel_at(place, AF_INET6, addresses[1].bytes) ||
      !wg_dns_normalise(text, strlen(text), &name, &why))
    return WG_OK;
  return map_add(&n->sentinels, &n->sentinels_reverse, &name, WG_DNS_DATABASE, addresses, 2, err);
}

/** Only where the database proxy is on: nobody takes up connections to them otherwise. */
static wg_code fill_sentinels(wg_names *n, const wg_config *c, wg_error *err) {
  size_t count = c->shims & WG_SHIM_DATABASE_PROXY ? c->database_count : 0;
  wg_code code = map_new(&n->sentinels, &n->sentinels_reverse, 2 * count, 4 * count, err);
  if (code != WG_OK || count == 0) return code;
  uint16_t *places = calloc(2 * count, sizeof *places);
  if (!places) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  const uint16_t *own = places + count;
  code = wg_dns_sentinel_places(c, places, places + count, err);
  for (size_t i = 0; i < count && code == WG_OK; i++)
    code = add_sentinel(n, c->databases[i].host, places[i], err);
  for (size_t i = 0; i < count && code == WG_OK && n->settings.domain; i++) {
    char text[2 * WG_DNS_NAME_MAX];
    int len = snprintf(text, sizeof text, "%s.db.%s", c->databases[i].name, n->settings.domain);
    if (len > 0 && (size_t)len < sizeof text) code = add_sentinel(n, text, own[i], err);
  }
  free(places);
  return code;
}

static wg_code copy_settings(wg_dns_settings *s, const wg_config *c, wg_error *err) {
  size_t n = 0;
  while (c->dns_servers && c->dns_servers[n]) n++;
  *s = (wg_dns_settings){.ttl_s = c->dns_ttl_s,
                         .negative_ttl_ms = c->dns_negative_ttl_ms,
                         .timeout_ms = c->dns_timeout_ms ? c->dns_timeout_ms : TIMEOUT_STANDARD_MS,
                         .cache_size = c->dns_cache_size};
  bool ok = true;
  if (c->dns_domain && *c->dns_domain) {
    size_t len = strlen(c->dns_domain);
    s->domain = strdup(c->dns_domain);
    ok = s->domain != NULL;
    for (char *p = s->domain; ok && *p; p++)
      if (*p >= 'A' && *p <= 'Z') *p = (char)(*p - 'A' + 'a');
    if (ok && s->domain[len - 1] == '.') s->domain[len - 1] = '\0';
  }
  if (n && ok) {
    s->servers = calloc(n + 1, sizeof *s->servers);
    ok = s->servers != NULL;
    for (size_t i = 0; i < n && ok; i++) ok = (s->servers[i] = strdup(c->dns_servers[i])) != NULL;
  }
  return ok ? WG_OK : wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
}

wg_code wg_names_new(const wg_config *config, const wg_registry_answer *more, wg_names **out,
                     wg_error *err) {
  static atomic_uint_fast64_t generations;
  wg_names *n = calloc(1, sizeof *n);
  if (!n) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  atomic_init(&n->refs, 1);
  n->generation = atomic_fetch_add(&generations, 1) + 1;
  wg_code code = copy_settings(&n->settings, config, err);
  if (code == WG_OK) code = fill_known(n, config, more, err);
  if (code == WG_OK) code = fill_sentinels(n, config, err);
  if (code == WG_OK) code = wg__names_write_hosts(n, &n->hosts, err);
  if (code != WG_OK) {
    wg_names_unref(n);
    return code;
  }
  *out = n;
  return WG_OK;
}

wg_names *wg_names_ref(wg_names *n) {
  atomic_fetch_add(&n->refs, 1);
  return n;
}

void wg_names_unref(wg_names *n) {
  if (!n || atomic_fetch_sub(&n->refs, 1) > 1) return;
  map_free(&n->known, &n->known_reverse);
  map_free(&n->sentinels, &n->sentinels_reverse);
  for (char **s = n->settings.servers; s && *s; s++) free(*s);
  free(n->settings.servers);
  free(n->settings.domain);
  wg_buf_release(&n->hosts);
  free(n);
}

/* ---- asking ---- */

const wg_dns_settings *wg_names_settings(const wg_names *n) { return &n->settings; }
uint64_t wg_names_generation(const wg_names *n) { return n->generation; }

static void give(const names_entry *e, const wg_dns_addr **addresses, size_t *count,
                 size_t *count4) {
  *addresses = e->addresses;
  *count = e->count;
  *count4 = e->count4;
}

wg_dns_link wg_names_find(const wg_names *n, const wg_dns_name *name, const wg_dns_addr **addresses,
                          size_t *count, size_t *count4) {
  const names_entry *e = map_find(&n->known, name);
  if (e) {
    give(e, addresses, count, count4);
    return e->link;
  }
  *count = *count4 = 0;
  if (wg_dns_is_below(name->text, name->len, "localhost")) { /* RFC 6761, section 6.3 */
    *addresses = localhost;
    *count = 2;
    *count4 = 1;
    return WG_DNS_HOSTS;
  }
  return wg_dns_is_below(name->text, name->len, n->settings.domain) ? WG_DNS_DOMAIN : WG_DNS_HOST;
}

bool wg_names_sentinel(const wg_names *n, const wg_dns_name *name, const wg_dns_addr **addresses,
                       size_t *count, size_t *count4) {
  const names_entry *e = map_find(&n->sentinels, name);
  if (e) give(e, addresses, count, count4);
  return e != NULL;
}

const char *wg_names_hosts(const wg_names *n, size_t *len) {
  *len = wg_buf_len(&n->hosts);
  return (const char *)wg_buf_head(&n->hosts);
}

static int by_text(const void *a, const void *b) {
  return strcmp((*(const names_entry *const *)a)->text, (*(const names_entry *const *)b)->text);
}

wg_code wg_names_each(const wg_names *n, wg_dns_link link,
                      void (*item)(void *user, const char *name, const wg_dns_addr *addresses,
                                   size_t count),
                      void *user, wg_error *err) {
  const names_map *m = link == WG_DNS_DATABASE ? &n->sentinels : &n->known;
  const names_entry **list = calloc(m->mask + 1, sizeof *list);
  if (!list) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  size_t count = 0;
  for (size_t i = 0; i <= m->mask; i++)
    if (m->places[i].text && m->places[i].link == link) list[count++] = &m->places[i];
  if (count) qsort(list, count, sizeof *list, by_text);
  for (size_t i = 0; i < count; i++) item(user, list[i]->text, list[i]->addresses, list[i]->count);
  free(list);
  return WG_OK;
}

const char *wg_names_reverse(const wg_names *n, const wg_dns_addr *address, bool guest,
                             wg_dns_link *link) {
  const names_reverse *r = guest ? reverse_find(&n->sentinels_reverse, address) : NULL;
  if (!r) r = reverse_find(&n->known_reverse, address);
  if (!r) return NULL;
  *link = r->link;
  return r->name;
}
