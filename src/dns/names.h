/* SPDX-License-Identifier: Apache-2.0 */
/** @file names.h  What this host itself knows about names: one immutable, counted table, made from a
 *  configuration and the newest answer of the HTTP registry, and shared by all workers. A worker
 *  takes a new one by its pointer. */
#pragma once
#include "base/buf.h"
#include "config/config.h"
#include "dns/name.h"

/** The link of the chain that answered. */
typedef enum wg_dns_link {
  WG_DNS_LITERAL, /**< the name was an IP address */
  WG_DNS_DATABASE, /**< a sentinel: guests only */
  WG_DNS_REGISTRY, /**< [registry], then the HTTP registry */
  WG_DNS_HOSTS, /**< [hosts], localhost */
  WG_DNS_DOMAIN, /**< below dns.domain and not known: nobody else is asked */
  WG_DNS_HOST, /**< the host's /etc/hosts or its name servers */
  WG_DNS_NSS, /**< the host's getaddrinfo(3), for names of mDNS */
  WG_DNS_LINKS
} wg_dns_link;
/** "registry", ... */
const char *wg_dns_link_name(wg_dns_link link);

/** Names and addresses of an HTTP registry, checked. */
typedef struct wg_registry_name {
  wg_dns_name name;
  wg_dns_addr *addresses; /**< owned */
  size_t count;
} wg_registry_name;
typedef struct wg_registry_answer {
  wg_registry_name *names; /**< each once */
  size_t count;
} wg_registry_answer;

enum {
  WG_REGISTRY_BYTES_MAX = 4 << 20, /**< of an answer */
  WG_REGISTRY_NAMES_MAX = 65536,
  WG_REGISTRY_ADDRESSES_MAX = 64 /**< of a name */
};
/** Parses {"services": {NAME: [ADDRESS, ...], ...}}; other members are passed over. One bad entry
 *  makes the whole answer bad.
 *  @return WG_OK; WG_INVALID with what and where, WG_NOMEM */
WG_MUSTCHECK wg_code wg_registry_parse(const void *json, size_t len, wg_registry_answer **out,
                                       wg_error *err);
bool wg_registry_answer_equal(const wg_registry_answer *a, const wg_registry_answer *b);
void wg_registry_answer_free(wg_registry_answer *a);

/** How names are resolved; a copy of what the configuration says. */
typedef struct wg_dns_settings {
  uint32_t ttl_s, negative_ttl_ms, timeout_ms, cache_size;
  char *domain; /**< lower case; NULL: none */
  char **servers; /**< NULL-terminated; NULL: the host's */
} wg_dns_settings;

typedef struct wg_names wg_names;
/** @param config  borrowed for the call
 *  @param more    of an HTTP registry, borrowed for the call; NULL: none
 *  @return WG_OK with one reference for the caller; WG_INVALID for a name or an address that is
 *          none, WG_NOMEM */
WG_MUSTCHECK wg_code wg_names_new(const wg_config *config, const wg_registry_answer *more,
                                  wg_names **out, wg_error *err);
/** Any thread. */
wg_names *wg_names_ref(wg_names *n);
/** Any thread. NULL is fine. */
void wg_names_unref(wg_names *n);

const wg_dns_settings *wg_names_settings(const wg_names *n);
/** Differs from table to table of the process. */
uint64_t wg_names_generation(const wg_names *n);

/** Addresses of a name that the table holds.
 *  @param addresses  as long as the table, IPv4 first
 *  @param count4     how many of them are IPv4
 *  @return the link: WG_DNS_REGISTRY (with *count 0 for a name that the HTTP registry has without an
 *          address: it is nowhere, and nobody else is asked) or WG_DNS_HOSTS; WG_DNS_DOMAIN for a name below dns.domain that
 *          is not known (*count is 0); WG_DNS_HOST when others are to be asked */
wg_dns_link wg_names_find(const wg_names *n, const wg_dns_name *name, const wg_dns_addr **addresses,
                          size_t *count, size_t *count4);
/** The sentinels that guests see behind a database's host and behind NAME.db.<dns.domain>. */
bool wg_names_sentinel(const wg_names *n, const wg_dns_name *name, const wg_dns_addr **addresses,
                       size_t *count, size_t *count4);
/** Calls item() for each name of one link (DATABASE, REGISTRY or HOSTS), in byte order.
 *  @param addresses  as long as the table, IPv4 first
 *  @return WG_OK; WG_NOMEM */
WG_MUSTCHECK wg_code wg_names_each(const wg_names *n, wg_dns_link link,
                                   void (*item)(void *user, const char *name,
                                                const wg_dns_addr *addresses, size_t count),
                                   void *user, wg_error *err);
/** The table as guests see it, as a hosts file: localhost, sentinels, the registry, [hosts]; made
 *  with the table, and as long as it. */
const char *wg_names_hosts(const wg_names *n, size_t *len);
/** Writes that; inits `out`, which is the caller's also on failure. */
WG_MUSTCHECK wg_code wg__names_write_hosts(const wg_names *n, wg_buf *out, wg_error *err);
/** The name of an address: of a sentinel, of the registry, of [hosts].
 *  @return as long as the table; NULL: not known */
const char *wg_names_reverse(const wg_names *n, const wg_dns_addr *address, bool guest,
                             wg_dns_link *link);
