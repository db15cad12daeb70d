/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/cache.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 64 };

wg__dns_payload *wg__dns_payload_addresses(const wg_dns_addr *addresses, size_t count,
                                           size_t count4) {
  wg__dns_payload *p = malloc(sizeof *p + count * sizeof *addresses);
  if (!p) return NULL;
  *p = (wg__dns_payload){.refs = 1, .count = count, .count4 = count4};
  if (count) memcpy(p->addresses, addresses, count * sizeof *addresses);
  return p;
}

wg__dns_payload *wg__dns_payload_records(const uint32_t *ttls, size_t count, const char *texts,
                                         size_t text_bytes) {
  wg__dns_payload *p = malloc(sizeof *p + count * sizeof *ttls + text_bytes + sizeof *ttls);
  if (!p) return NULL;
  /* sizeof *p is a multiple of its alignment, which is that of a pointer. */
  uint32_t *where = (uint32_t *)(void *)(p + 1);
  *p = (wg__dns_payload){.refs = 1,
                         .count = count,
                         .text_bytes = text_bytes,
                         .ttls = where,
                         .texts = (char *)(where + count)};
  if (count) memcpy(p->ttls, ttls, count * sizeof *ttls);
  if (text_bytes) memcpy(p->texts, texts, text_bytes);
  return p;
}

void wg__dns_payload_unref(wg__dns_payload *p) {
  if (p && --p->refs == 0) free(p);
}

static uint32_t hash_of(wg__dns_kind kind, const wg_dns_name *name) {
  return name->hash ^ (uint32_t)kind * 0x9e3779b9u;
}

static wg__dns_entry **bucket_of(const wg__dns_cache *c, uint32_t hash) {
  return &c->buckets[(hash ^ hash >> 15) & (c->bucket_count - 1)];
}

wg_code wg__dns_cache_init(wg__dns_cache *c, size_t max, wg_error *err) {
  *c = (wg__dns_cache){.max = max, .bucket_count = BUCKETS_FIRST};
  wg_list_init(&c->used);
  c->buckets = calloc(c->bucket_count, sizeof(wg__dns_entry *));
  return c->buckets ? WG_OK : wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
}

static void entry_drop(wg__dns_cache *c, wg__dns_entry *e) {
  wg__dns_entry **at = bucket_of(c, e->hash);
  while (*at != e) at = &(*at)->next;
  *at = e->next;
  wg_list_remove(&c->used, &e->used);
  wg__dns_payload_unref(e->payload);
  free(e);
}

void wg__dns_cache_release(wg__dns_cache *c) {
  for (wg_node *n; (n = wg_list_first(&c->used));)
    entry_drop(c, WG_CONTAINER(n, wg__dns_entry, used));
  free(c->buckets);
}

static void evict_down_to(wg__dns_cache *c, size_t count) {
  for (; c->used.count > count; c->evictions++)
    entry_drop(c, WG_CONTAINER(wg_list_last(&c->used), wg__dns_entry, used));
}

void wg__dns_cache_resize(wg__dns_cache *c, size_t max) {
  c->max = max;
  evict_down_to(c, max);
}

wg__dns_entry *wg__dns_cache_find(const wg__dns_cache *c, wg__dns_kind kind,
                                  const wg_dns_name *name) {
  uint32_t hash = hash_of(kind, name);
  for (wg__dns_entry *e = *bucket_of(c, hash); e; e = e->next)
    if (e->hash == hash && e->kind == kind && e->name_len == name->len &&
        memcmp(e->name, name->text, name->len) == 0)
      return e;
  return NULL;
}

void wg__dns_cache_touch(wg__dns_cache *c, wg__dns_entry *e) {
  if (wg_list_first(&c->used) == &e->used) return;
  wg_list_remove(&c->used, &e->used);
  wg_list_push_front(&c->used, &e->used);
}

/** Twice the buckets when there are more entries than that; as before when memory is short. */
static void grow(wg__dns_cache *c) {
  if (c->used.count < c->bucket_count) return;
  size_t n = c->bucket_count * 2;
  wg__dns_entry **old = c->buckets, **grown = calloc(n, sizeof(wg__dns_entry *));
  if (!grown) return;
  size_t old_count = c->bucket_count;
  c->buckets = grown;
  c->bucket_count = n;
  for (size_t i = 0; i < old_count; i++) {
    for (wg__dns_entry *e = old[i], *next; e; e = next) {
      next = e->next;
      wg__dns_entry **to = bucket_of(c, e->hash);
      e->next = *to;
      *to = e;
    }
  }
  free(old);
}

wg__dns_entry *wg__dns_cache_put(wg__dns_cache *c, wg__dns_kind kind, const wg_dns_name *name,
                                 wg__dns_payload *payload) {
  wg__dns_entry *e = wg__dns_cache_find(c, kind, name);
  if (payload && payload->text_bytes > WG__DNS_TEXT_KEPT_MAX) {
    if (e) entry_drop(c, e);
    return NULL;
  }
  if (!e) {
    if (c->max == 0) return NULL;
    evict_down_to(c, c->max - 1);
    e = calloc(1, sizeof *e + name->len + 1);
    if (!e) return NULL;
    grow(c);
    e->hash = hash_of(kind, name);
    e->kind = (uint8_t)kind;
    e->name_len = (uint8_t)name->len;
    memcpy(e->name, name->text, name->len + 1);
    wg_node_init(&e->used);
    wg_list_push_front(&c->used, &e->used);
    wg__dns_entry **at = bucket_of(c, e->hash);
    e->next = *at;
    *at = e;
  } else {
    wg__dns_cache_touch(c, e);
    wg__dns_payload_unref(e->payload);
  }
  e->payload = payload;
  e->missing = payload == NULL;
  if (payload) payload->refs++;
  return e;
}
