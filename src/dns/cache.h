/* SPDX-License-Identifier: Apache-2.0 */
/** @file cache.h  Answers of a worker: a hash table whose entries stand in one list, the one used
 *  last in front. An entry whose time is over stays until it is replaced or falls off the end, so
 *  that the turn of its addresses goes on. Not thread-safe. Internal to dns. */
#pragma once
#include "dns/names.h"

/** Records of more text than this are given, and not kept: the cache counts entries, not bytes. */
enum { WG__DNS_TEXT_KEPT_MAX = 4096 };

/** What is asked for; addresses of both families are one question. */
typedef enum wg__dns_kind {
  WG__DNS_ADDRESSES,
  WG__DNS_ROOTED, /**< addresses of a name as it is, without the search domains of the host */
  WG__DNS_CNAME,
  WG__DNS_PTR,
  WG__DNS_SRV,
  WG__DNS_TXT
} wg__dns_kind;

static inline bool wg__dns_of_addresses(wg__dns_kind kind) { return kind <= WG__DNS_ROOTED; }

/** What came: addresses, or records as text. Counted, so that it outlives its entry while it is
 *  given to those who wait. */
typedef struct wg__dns_payload {
  unsigned refs;
  size_t count; /**< addresses or records; 0: there are none */
  size_t count4; /**< addresses of IPv4, which stand in front */
  size_t text_bytes; /**< of records */
  uint32_t *ttls; /**< of each record, in this memory; NULL: addresses */
  char *texts; /**< of records: one NUL-terminated text after the other, in this memory */
  wg_dns_addr addresses[];
} wg__dns_payload;

/** With one reference; copies. NULL when memory ran out. */
wg__dns_payload *wg__dns_payload_addresses(const wg_dns_addr *addresses, size_t count,
                                           size_t count4);
/** @param texts  text_bytes bytes: one NUL-terminated text for each ttl */
wg__dns_payload *wg__dns_payload_records(const uint32_t *ttls, size_t count, const char *texts,
                                         size_t text_bytes);
void wg__dns_payload_unref(wg__dns_payload *p);

typedef struct wg__dns_entry {
  wg_node used; /**< in wg__dns_cache.used */
  struct wg__dns_entry *next; /**< of its bucket */
  uint32_t hash;
  uint8_t kind, link, name_len;
  bool missing; /**< the name does not exist; payload is NULL */
  uint32_t turn; /**< of the addresses: how often they were given */
  uint64_t stored_ms, expires_ms;
  uint64_t generation; /**< of the wg_names that it came from; 0: from elsewhere */
  wg__dns_payload *payload; /**< a reference */
  char name[];
} wg__dns_entry;

typedef struct wg__dns_cache {
  wg__dns_entry **buckets;
  size_t bucket_count; /**< a power of two */
  wg_list used;
  size_t max; /**< entries; 0: none are kept */
  uint64_t evictions;
} wg__dns_cache;

WG_MUSTCHECK wg_code wg__dns_cache_init(wg__dns_cache *c, size_t max, wg_error *err);
void wg__dns_cache_release(wg__dns_cache *c);
/** Evicts what is too much now. */
void wg__dns_cache_resize(wg__dns_cache *c, size_t max);

/** The entry, whether its time is over or not; NULL: none. Allocates nothing. */
wg__dns_entry *wg__dns_cache_find(const wg__dns_cache *c, wg__dns_kind kind,
                                  const wg_dns_name *name);
/** It was used now. Allocates nothing. */
void wg__dns_cache_touch(wg__dns_cache *c, wg__dns_entry *e);
/** Stores an answer in the entry of its name, which is made if need be at the cost of the one used
 *  longest ago, and leaves its turn alone. The caller fills in the times and the link.
 *  @param payload  a reference more is taken; NULL: the name does not exist
 *  @return NULL when nothing is kept, or memory ran out: the answer is good all the same */
wg__dns_entry *wg__dns_cache_put(wg__dns_cache *c, wg__dns_kind kind, const wg_dns_name *name,
                                 wg__dns_payload *payload);
