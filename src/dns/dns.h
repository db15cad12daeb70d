/* SPDX-License-Identifier: Apache-2.0 */
/** @file dns.h  Names to addresses and back: one resolver a worker, everything on its thread.
 *
 *  Who answers, in this order; the first answer ends the search, and each is logged at debug:
 *    literal   "10.1.2.3", "::1"
 *    database  sentinels of database hosts and of NAME.db.<dns.domain>: guests only
 *    cache     what was answered before, registry and [hosts] included, until its time is over
 *    registry  [registry], then the HTTP registry
 *    hosts     [hosts]; localhost and all below it are 127.0.0.1 and ::1
 *    domain    names below dns.domain never leave the host: not found
 *    nss       other names below .local: getaddrinfo(3) in libuv's thread pool, which may know mDNS
 *    host      the host's /etc/hosts, then its name servers, or those of shims.dns.servers
 *
 *  Order of addresses: IPv4 first, then IPv6, and each family rotates by itself from call to call,
 *  so that the first address of a name is another one each time. */
#pragma once
#include "dns/names.h"
#include "net/watch.h"
#include <stdatomic.h>
#include <sys/socket.h>

enum {
  WG_DNS_ADDRESSES_MAX = 64, /**< of one answer; nobody tries more */
  WG_DNS_PENDING_MAX = 1024 /**< questions to the host in progress, a worker */
};

/** What a worker's resolver did; written by its thread, read by any. */
typedef struct wg_dns_metrics {
  atomic_uint_fast64_t hits; /**< answered by the cache, */
  atomic_uint_fast64_t negative_hits; /**< of them "not found" */
  atomic_uint_fast64_t misses; /**< that went on to the chain */
  atomic_uint_fast64_t joined; /**< of them, those that waited for an equal question */
  atomic_uint_fast64_t evictions; /**< for want of room */
  atomic_uint_fast64_t failures; /**< neither answered nor not found */
  atomic_uint_fast64_t by_link[WG_DNS_LINKS]; /**< answers that were not the cache's */
  /** Questions to the host, those included that nobody waits for any more: what WG_DNS_PENDING_MAX
   *  bounds. */
  atomic_int_fast64_t in_flight;
  atomic_int_fast64_t entries; /**< of the cache */
} wg_dns_metrics;

typedef struct wg_dns wg_dns;
/** A question in progress: caller's memory at a stable address until the callback or the cancel. */
typedef struct wg_dns_req {
  void (*done)(struct wg_dns_req *req, const wg_error *err);
  void *user; /**< the caller's */
  /* the answer, valid during the callback until that asks something else */
  const wg_dns_addr *addresses; /**< of ADDRESSES */
  size_t count; /**< addresses, records, or names of a REVERSE: 1 or 0 */
  const char *text; /**< REVERSE: the name; RECORDS: "TTL DATA" lines, between them newlines */
  uint32_t ttl_s; /**< for which it may be kept from now on */
  /* the resolver's own */
  struct wg__dns_lookup *lookup; /**< that it waits for */
  wg_node node;
  uint8_t want;
  bool guest; /**< a guest asks, not the host itself */
} wg_dns_req;

typedef enum wg_dns_what { WG_DNS_ADDRESSES, WG_DNS_REVERSE, WG_DNS_RECORDS } wg_dns_what;
/** In the order of `rrtype` of the WIT. */
typedef enum wg_dns_rrtype {
  WG_DNS_RR_A,
  WG_DNS_RR_AAAA,
  WG_DNS_RR_CNAME,
  WG_DNS_RR_PTR,
  WG_DNS_RR_SRV,
  WG_DNS_RR_TXT,
  WG_DNS_RR_TYPES
} wg_dns_rrtype;
typedef struct wg_dns_question {
  wg_dns_what what;
  const char *name; /**< any bytes, borrowed for the call; not of REVERSE */
  size_t len;
  wg_dns_addr address; /**< of REVERSE */
  wg_dns_rrtype rrtype; /**< of RECORDS */
} wg_dns_question;

/** @param names    a reference is taken
 *  @param loop     copied; what it points to must outlive the resolver
 *  @param metrics  counted into, must outlive it; NULL: none
 *  @return WG_OK; WG_IO when the host's settings cannot be read, WG_NOMEM */
WG_MUSTCHECK wg_code wg_dns_new(wg_names *names, const wg_loop *loop, wg_dns_metrics *metrics,
                                wg_dns **out, wg_error *err);
/** Nobody may wait any more, and not from within a callback; run the loop until it is empty
 *  afterwards. NULL is fine. */
void wg_dns_free(wg_dns *d);
/** Takes a new table, at once and for all questions to come. What is cached lives out its time;
 *  questions in progress end with the settings they began with. Takes a reference.
 *  @return WG_OK, also for the table that it has; others: the table is taken, but the name servers
 *          stay those of before until the next table. Not from within a callback */
WG_MUSTCHECK wg_code wg_dns_adopt(wg_dns *d, wg_names *names, wg_error *err);
/** One line, "dns_stats". */
void wg_dns_log_stats(const wg_dns *d);

/** What a guest asks.
 *  done comes exactly once unless canceled; within the call when the answer is at hand.
 *  err: WG_INVALID (not a host name), WG_NOT_FOUND; all others are temporary: WG_IO (name servers
 *  failed or did not answer within shims.dns.timeout), WG_EXHAUSTED (too much in progress),
 *  WG_NOMEM. An address without a name, and a name without records of the type, is an answer with
 *  count 0. An answer of the cache allocates nothing, but for records. */
void wg_dns_ask(wg_dns *d, const wg_dns_question *q, wg_dns_req *req,
                void (*done)(wg_dns_req *req, const wg_error *err), void *user);
/** Addresses as the host itself sees them: no sentinels, and the registry as it is now instead of
 *  what is cached of it. Otherwise as wg_dns_ask(). */
void wg_dns_resolve(wg_dns *d, const char *name, size_t len, wg_dns_req *req,
                    void (*done)(wg_dns_req *req, const wg_error *err), void *user);
/** Synchronous: req is the caller's again, and its callback does not come. Harmless after it came. */
void wg_dns_cancel(wg_dns *d, wg_dns_req *req);

/** What was told of the name's addresses leads nowhere (a failover, perhaps): the next question asks
 *  again, however long the answer may be kept. Allocates nothing; a literal, or a name that is not
 *  cached, is fine. */
void wg_dns_distrust(wg_dns *d, const char *name, size_t len);

/** An address for connect(2). @return its size */
socklen_t wg_dns_sockaddr(const wg_dns_addr *a, uint16_t port, struct sockaddr_storage *out);
