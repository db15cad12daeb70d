/* SPDX-License-Identifier: Apache-2.0 */
/** @file dns.c  Who answers a name, in this order; the first answer ends the search:
 *
 *    literal    "10.1.2.3", "::1"               at once
 *    registry   [registry] of warp.toml          at once, rotating
 *    domain     names under dns.domain           never leave the host: not found
 *    host       uv_getaddrinfo()                 in libuv's thread pool
 *
 *  A lookup in the thread pool cannot be taken back, so a cancel cuts it from its request and the
 *  late answer only frees memory. */
#include "dns/dns.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
  DNS_NAME_MAX = 253,     /* RFC 1035, section 2.3.4, as text without the root's dot */
  DNS_LABEL_MAX = 63,
  DNS_ADDRESSES_MAX = 64, /* of one answer; nobody tries more */
  DNS_PENDING_MAX = 1024  /* lookups in the thread pool, a worker */
};

/** One registry name with its parsed addresses. */
typedef struct dns_entry {
  const char *name;
  struct sockaddr_storage *addresses;
  size_t count;
  size_t turn; /**< first address of the next answer */
} dns_entry;

struct wg_dns {
  const wg_config *config;
  wg_loop loop;
  dns_entry *entries; /**< sorted by name */
  size_t entry_count;
  wg_list lookups; /**< in progress and not canceled */
};

typedef struct dns_lookup {
  uv_getaddrinfo_t uv;
  wg_node node; /**< in wg_dns.lookups until canceled */
  wg_dns *dns;
  wg_dns_req *req; /**< NULL: canceled; dns may be gone then too */
  char name[DNS_NAME_MAX + 1];
} dns_lookup;

/** Parses an IPv4 or IPv6 literal; strict: no "127.1", no octal, no zone. */
static bool dns_literal(const char *text, struct sockaddr_storage *out) {
  memset(out, 0, sizeof *out);
  struct sockaddr_in *v4 = (struct sockaddr_in *)out;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
    v4->sin_family = AF_INET;
  else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
    v6->sin6_family = AF_INET6;
  else
    return false;
  return true;
}

static int entry_order(const void *a, const void *b) {
  return strcmp(((const dns_entry *)a)->name, ((const dns_entry *)b)->name);
}

static void entries_free(dns_entry *entries, size_t count) {
  for (size_t i = 0; i < count; i++) free(entries[i].addresses);
  free(entries);
}

/** The registry of a configuration, sorted by name; its names are borrowed. */
static wg_code entries_new(const wg_config *config, dns_entry **out, size_t *out_count,
                           wg_error *err) {
  size_t count = 0;
  wg_code code = WG_OK;
  dns_entry *entries = calloc(config->registry_count ? config->registry_count : 1, sizeof *entries);
  if (!entries) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  for (size_t i = 0; i < config->registry_count && code == WG_OK; i++) {
    const wg_registry_entry *from = &config->registry[i];
    dns_entry *e = &entries[count++];
    e->name = from->name;
    e->addresses = calloc(from->address_count ? from->address_count : 1, sizeof *e->addresses);
    if (!e->addresses) code = wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
    for (; code == WG_OK && e->count < from->address_count; e->count++)
      if (!dns_literal(from->addresses[e->count], &e->addresses[e->count])) {
        code = wg_error_set(err, WG_INVALID, 0, "registry name '%s': '%s' is not an IP address",
                            from->name, from->addresses[e->count]);
        break;
      }
  }
  if (code != WG_OK) {
    entries_free(entries, count);
    return code;
  }
  qsort(entries, count, sizeof *entries, entry_order);
  *out = entries;
  *out_count = count;
  return WG_OK;
}

wg_code wg_dns_new(const wg_config *config, const wg_loop *loop, wg_dns **out, wg_error *err) {
  wg_dns *d = calloc(1, sizeof *d);
  if (!d) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  d->config = config;
  d->loop = *loop;
  wg_list_init(&d->lookups);
  wg_code code = entries_new(config, &d->entries, &d->entry_count, err);
  if (code != WG_OK) {
    free(d);
    return code;
  }
  *out = d;
  return WG_OK;
}

void wg_dns_free(wg_dns *d) {
  if (!d) return;
  WG_ASSERT(wg_list_empty(&d->lookups));
  entries_free(d->entries, d->entry_count);
  free(d);
}

/** Lower-cases and checks a host name (RFC 1123, section 2.1, and underscores, which service names
 *  use); drops one dot at the end.
 *  @return false with the reason in *why */
static bool dns_normalise(const char *name, size_t len, char out[DNS_NAME_MAX + 1],
                          const char **why) {
  if (len && name[len - 1] == '.') len--;
  *why = len == 0 ? "is empty" : "is longer than 253 characters";
  if (len == 0 || len > DNS_NAME_MAX) return false;
  size_t label = 0;
  bool digits = true; /* of the last label */
  for (size_t i = 0; i < len; i++) {
    char c = name[i];
    if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
    out[i] = c;
    if (c == '.') {
      *why = "has an empty label";
      if (label == 0) return false;
      label = 0;
      digits = true;
      continue;
    }
    *why = "has a character that no host name has";
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) return false;
    if (c < '0' || c > '9') digits = false;
    *why = "has a label of more than 63 characters";
    if (++label > DNS_LABEL_MAX) return false;
  }
  out[len] = '\0';
  *why = "has an empty label";
  if (label == 0) return false;
  /* getaddrinfo(3) would read "127.1", "2130706433" and "0x7f.1" as addresses, and so walk around
   * every rule about addresses. No top-level domain is a number. */
  const char *last = strrchr(out, '.');
  last = last ? last + 1 : out;
  *why = "is a number, not a name or an IP address in its usual form";
  if (digits || (last[0] == '0' && last[1] == 'x')) return false;
  return true;
}

static bool dns_in_domain(const wg_dns *d, const char *name) {
  const char *domain = d->config->dns_domain;
  if (!domain || !*domain) return false;
  size_t n = strlen(name), m = strlen(domain);
  return n >= m && strcmp(name + n - m, domain) == 0 && (n == m || name[n - m - 1] == '.');
}

static void dns_answered(const wg_dns *d, const char *name, const char *link, size_t count) {
  wg_log(&((wg_log_ctx){.worker = d->loop.worker}), WG_LOG_DEBUG, "dns_resolved",
         WG_KV_S("name", name), WG_KV_S("link", link), WG_KV_U("addresses", count));
}

static void dns_failed(const wg_dns *d, const char *name, const char *link, const wg_error *err) {
  wg_log(&((wg_log_ctx){.worker = d->loop.worker}), WG_LOG_DEBUG, "dns_failed",
         WG_KV_S("name", name), WG_KV_S("link", link), WG_KV_S("error", err->msg));
}

static void req_succeed(wg_dns_req *req, struct sockaddr_storage *addresses, size_t count) {
  req->addresses = addresses;
  req->count = count;
  req->impl = NULL;
  req->done(req, NULL);
}

static void req_fail(wg_dns_req *req, const wg_error *err) {
  req->addresses = NULL;
  req->count = 0;
  req->impl = NULL;
  req->done(req, err);
}

static wg_code dns_uv_error(int status, const char *name, wg_error *err) {
  switch (status) {
  case UV_EAI_NONAME:
  case UV_EAI_NODATA:
  case UV_EAI_ADDRFAMILY:
  case UV_EAI_FAMILY: return wg_error_set(err, WG_NOT_FOUND, status, "host '%s' not found", name);
  case UV_EAI_MEMORY:
  case UV_ENOMEM: return wg_error_set(err, WG_NOMEM, status, "dns: out of memory");
  default:
    return wg_error_set(err, WG_IO, status, "host '%s' cannot be resolved: %s", name,
                        uv_strerror(status));
  }
}

static void on_addrinfo(uv_getaddrinfo_t *uv, int status, struct addrinfo *list) {
  dns_lookup *k = WG_CONTAINER(uv, dns_lookup, uv);
  wg_dns_req *req = k->req;
  if (!req) { /* canceled: k->dns may be gone */
    uv_freeaddrinfo(list);
    free(k);
    return;
  }
  wg_list_remove(&k->dns->lookups, &k->node);
  struct sockaddr_storage found[DNS_ADDRESSES_MAX];
  size_t count = 0;
  for (const struct addrinfo *a = list; a && count < DNS_ADDRESSES_MAX; a = a->ai_next) {
    if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
    memset(&found[count], 0, sizeof found[count]);
    memcpy(&found[count++], a->ai_addr, a->ai_addrlen);
  }
  uv_freeaddrinfo(list);
  wg_error err;
  bool failed = status != 0 || count == 0;
  if (failed) {
    dns_uv_error(status ? status : UV_EAI_NODATA, k->name, &err);
    dns_failed(k->dns, k->name, "host", &err);
  } else {
    dns_answered(k->dns, k->name, "host", count);
  }
  free(k); /* before the callback, which may free everything else */
  if (failed)
    req_fail(req, &err);
  else
    req_succeed(req, found, count);
}

static wg_code dns_ask_host(wg_dns *d, const char *name, wg_dns_req *req, wg_error *err) {
  if (d->lookups.count >= DNS_PENDING_MAX)
    return wg_error_set(err, WG_EXHAUSTED, 0, "host '%s': %d lookups are in progress already", name,
                        DNS_PENDING_MAX);
  dns_lookup *k = calloc(1, sizeof *k);
  if (!k) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  k->dns = d;
  k->req = req;
  wg_node_init(&k->node);
  memcpy(k->name, name, strlen(name) + 1);
  /* Without AI_ADDRCONFIG, which hides IPv6 loopback on hosts without other IPv6 addresses. */
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  int rc = uv_getaddrinfo(d->loop.uv, &k->uv, on_addrinfo, k->name, NULL, &hints);
  if (rc != 0) {
    free(k);
    return dns_uv_error(rc, name, err);
  }
  wg_list_push_back(&d->lookups, &k->node);
  req->impl = k;
  return WG_OK;
}

void wg_dns_resolve(wg_dns *d, const char *name, size_t len, wg_dns_req *req,
                    void (*done)(wg_dns_req *req, const wg_error *err), void *user) {
  *req = (wg_dns_req){.done = done, .user = user};
  struct sockaddr_storage found[DNS_ADDRESSES_MAX];
  wg_error err;

  char literal[INET6_ADDRSTRLEN];
  if (len > 0 && len < sizeof literal && !memchr(name, 0, len)) {
    memcpy(literal, name, len);
    literal[len] = '\0';
    if (dns_literal(literal, &found[0])) {
      dns_answered(d, literal, "literal", 1);
      req_succeed(req, found, 1);
      return;
    }
  }

  char host[DNS_NAME_MAX + 1];
  const char *why;
  if (!dns_normalise(name, len, host, &why)) {
    /* The name is quoted only when it is text: it came from a guest. */
    wg_error_set(&err, WG_INVALID, 0, "host name %s", why);
    req_fail(req, &err);
    return;
  }

  const dns_entry key = {.name = host};
  dns_entry *e = d->entry_count
                     ? bsearch(&key, d->entries, d->entry_count, sizeof *d->entries, entry_order)
                     : NULL;
  if (e && e->count) {
    size_t count = e->count < DNS_ADDRESSES_MAX ? e->count : DNS_ADDRESSES_MAX;
    for (size_t i = 0; i < count; i++) found[i] = e->addresses[(e->turn + i) % e->count];
    e->turn = (e->turn + 1) % e->count;
    dns_answered(d, host, "registry", count);
    req_succeed(req, found, count);
    return;
  }

  wg_code code;
  if (dns_in_domain(d, host)) {
    code = wg_error_set(&err, WG_NOT_FOUND, 0, "host '%s' not found", host);
    wg_error_hint(&err,
                  "names under '%s' are answered by warp.toml alone; add\n[registry]\n"
                  "\"%s\" = [\"ADDRESS\"]",
                  d->config->dns_domain, host);
    dns_failed(d, host, "domain", &err);
  } else {
    code = dns_ask_host(d, host, req, &err);
    if (code != WG_OK) dns_failed(d, host, "host", &err);
  }
  if (code != WG_OK) req_fail(req, &err);
}

void wg_dns_cancel(wg_dns *d, wg_dns_req *req) {
  dns_lookup *k = req->impl;
  if (!k) return;
  WG_ASSERT(k->dns == d && k->req == req);
  req->impl = NULL;
  wg_list_remove(&d->lookups, &k->node);
  k->req = NULL;
  k->dns = NULL;
  /* Takes it out of the queue of the thread pool if it has not begun; its callback still frees. */
  uv_cancel((uv_req_t *)&k->uv);
}
