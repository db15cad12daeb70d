/* SPDX-License-Identifier: Apache-2.0 */
/** @file dns_internal.h  What the files of a resolver share. */
#pragma once
#include "base/buf.h"
#include "base/log.h"
#include "dns/ares.h"
#include "dns/cache.h"
#include "dns/dns.h"
#include "dns/reply.h"
#include "net/deadline.h"
#include <time.h>
#include <uv.h>

/** In what form a request wants its answer. */
typedef enum dns_want {
  WANT_ADDRESSES,
  WANT_LINES4, /* addresses of one family, as records */
  WANT_LINES6,
  WANT_LINES,
  WANT_NAME /* the first record, without the root's dot */
} dns_want;

struct wg_dns {
  wg_loop loop;
  wg_names *names; /* a reference */
  wg__dns_cache cache;
  wg_dns_metrics *metrics;
  wg_dns_metrics own; /* where nobody looks */
  wg_deadlines *deadlines;
  wg__ares *ares;
  wg__ares *retired; /* that still have questions */
  wg_list lookups; /* of wg__dns_lookup.node: others may join them */
  wg_list over; /* answered, but c-ares is not done with them */
  uint64_t look_ms; /* when to look at the host's resolv.conf again */
  struct timespec seen; /* its time of change then */
  uint32_t turn; /* for names that are not in the cache */
  wg_buf text; /* of the answer that is being given */
  bool stale; /* ares is not that of the table's servers: making that failed */
  bool closing;
};

/** A question to the host, and who waits for it.
 *
 *    ASKED --all answers | deadline--> OVER --c-ares's last answer--> freed
 *
 *  getaddrinfo(3) cannot be taken back, so its lookup may outlive the resolver. */
typedef struct wg__dns_lookup {
  wg_dns *dns; /* NULL: gone */
  wg_node node;
  wg_list waiters; /* of wg_dns_req.node */
  wg_deadline deadline;
  uint32_t timeout_ms;
  wg__dns_kind kind;
  wg_dns_link link;
  wg_dns_name name;
  unsigned candidate; /* the next in the search list */
  unsigned asked; /* answers still to come */
  bool over;
  /* what came so far */
  wg_dns_addr v4[WG_DNS_ADDRESSES_MAX], v6[WG_DNS_ADDRESSES_MAX];
  size_t n4, n6;
  uint32_t *ttls; /* of records */
  size_t records, records_cap;
  wg_buf texts; /* of records, each with its NUL */
  bool nomem;
  bool missing; /* a server said that the name does not exist */
  uint32_t ttl_s; /* the least */
  uint64_t negative_ms; /* how long "there is none" holds, at most */
  wg_code failure; /* WG_OK: none */
  char why[128];
  uv_getaddrinfo_t uv;
} wg__dns_lookup;

/** Only the worker's thread writes. */
static inline void wg__dns_count(atomic_uint_fast64_t *counter, uint64_t more) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                        memory_order_relaxed);
}

/** Gives an answer to one who asked.
 *  @param turn   how often the addresses were given before
 *  @param age_s  since the records came */
void wg__dns_give(wg_dns *d, wg_dns_req *req, const wg__dns_payload *payload, uint32_t turn,
                  uint32_t ttl_s, uint32_t age_s);
void wg__dns_fail(wg_dns *d, wg_dns_req *req, const wg_error *err);
/** The name does not exist: WG_NOT_FOUND, or no name for who asked for the name of an address. */
void wg__dns_give_missing(wg_dns *d, wg_dns_req *req, const char *name);
/** Stores an answer. @return its entry; NULL: not kept */
wg__dns_entry *wg__dns_store(wg_dns *d, wg__dns_kind kind, const wg_dns_name *name,
                             wg_dns_link link, wg__dns_payload *payload, uint64_t ttl_ms,
                             uint64_t generation);
/** Follows the host's name servers, when those are asked: a new channel for a new resolv.conf, which
 *  is looked at once a second at most. */
void wg__dns_follow_host(wg_dns *d);
/** Test seam: the host's resolv.conf. */
extern const char *wg__dns_resolv_conf;
/** Test seam: search domains in place of the host's; NULL-terminated. */
extern char *const *wg__dns_search;
/** Asks the host, or joins who did already. */
void wg__dns_ask_host(wg_dns *d, wg__dns_kind kind, const wg_dns_name *name, wg_dns_req *req);
void wg__dns_lookups_free(wg_dns *d);
void wg__dns_answered(const wg_dns *d, const char *name, const char *link, size_t count);
