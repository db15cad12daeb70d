/* SPDX-License-Identifier: Apache-2.0 */
/** @file dns.c  The chain: literal, sentinels, cache, table, and at its end the host (lookup.c). */
#include "dns/dns_internal.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *wg__dns_resolv_conf = "/etc/resolv.conf";

/* ---- life ---- */

static wg_code ares_for(const wg_dns *d, const wg_names *names, wg__ares **out, wg_error *err) {
  const wg_dns_settings *s = wg_names_settings(names);
  return wg__ares_new(&d->loop, s->servers, s->timeout_ms, out, err);
}

wg_code wg_dns_new(wg_names *names, const wg_loop *loop, wg_dns_metrics *metrics, wg_dns **out,
                   wg_error *err) {
  wg_dns *d = calloc(1, sizeof *d);
  if (!d) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  d->loop = *loop;
  d->metrics = metrics ? metrics : &d->own;
  wg_list_init(&d->lookups);
  wg_list_init(&d->over);
  wg_buf_init(&d->text, 1 << 20);
  wg_code code = wg__dns_cache_init(&d->cache, wg_names_settings(names)->cache_size, err);
  if (code == WG_OK) code = ares_for(d, names, &d->ares, err);
  if (code == WG_OK) code = wg_deadlines_new(&d->loop, &d->deadlines, err);
  if (code != WG_OK) {
    wg__ares_free(d->ares);
    if (d->cache.buckets) wg__dns_cache_release(&d->cache);
    free(d);
    return code;
  }
  d->names = wg_names_ref(names);
  *out = d;
  return WG_OK;
}

void wg_dns_free(wg_dns *d) {
  if (!d) return;
  d->closing = true;
  wg__ares_free(d->ares);
  wg__ares_free_list(&d->retired);
  wg__dns_lookups_free(d);
  wg_deadlines_free(d->deadlines);
  wg__dns_cache_release(&d->cache);
  wg_names_unref(d->names);
  wg_buf_release(&d->text);
  free(d);
}

void wg__dns_follow_host(wg_dns *d) {
  enum { LOOK_MS = 1000 };
  uint64_t now = wg_now_ms(&d->loop.clock);
  struct stat st = {.st_mtim = {0}};
  wg__ares *fresh;
  wg_error err;
  if (wg_names_settings(d->names)->servers || now < d->look_ms) return;
  bool first = d->look_ms == 0;
  d->look_ms = now + LOOK_MS;
  if (stat(wg__dns_resolv_conf, &st) != 0 || /* being replaced: the old servers are good enough */
      (st.st_mtim.tv_sec == d->seen.tv_sec && st.st_mtim.tv_nsec == d->seen.tv_nsec))
    return;
  d->seen = st.st_mtim;
  if (first) return;
  wg_code code = ares_for(d, d->names, &fresh, &err);
  if (code == WG_OK) {
    wg__ares_retire(d->ares, &d->retired);
    d->ares = fresh;
    wg_log0(&((wg_log_ctx){.worker = d->loop.worker}), WG_LOG_DEBUG, "dns_servers_changed");
  } else {
    wg_log(&((wg_log_ctx){.worker = d->loop.worker}), WG_LOG_WARN, "dns_servers_kept",
           WG_KV_S("error", err.msg));
  }
}

static bool same_servers(const wg_dns_settings *a, const wg_dns_settings *b) {
  char *const none[] = {NULL}, *const *x = a->servers ? a->servers : none,
              *const *y = b->servers ? b->servers : none;
  for (; *x && *y && strcmp(*x, *y) == 0; x++, y++) continue;
  return !*x && !*y && a->timeout_ms == b->timeout_ms;
}

wg_code wg_dns_adopt(wg_dns *d, wg_names *names, wg_error *err) {
  if (names == d->names) return WG_OK;
  const wg_dns_settings *s = wg_names_settings(names);
  wg_code code = WG_OK;
  if (d->stale || !same_servers(s, wg_names_settings(d->names))) {
    wg__ares *fresh;
    code = ares_for(d, names, &fresh, err);
    d->stale = code != WG_OK;
    if (code == WG_OK) {
      wg__ares_retire(d->ares, &d->retired);
      d->ares = fresh;
    }
  }
  wg_names *old = d->names;
  d->names = wg_names_ref(names);
  wg__dns_cache_resize(&d->cache, s->cache_size);
  wg_names_unref(old);
  return code;
}

void wg_dns_log_stats(const wg_dns *d) {
  const wg_dns_metrics *m = d->metrics;
  wg_log(&((wg_log_ctx){.worker = d->loop.worker}), WG_LOG_INFO, "dns_stats",
         WG_KV_U("hits", atomic_load(&m->hits)), WG_KV_U("misses", atomic_load(&m->misses)),
         WG_KV_U("evictions", atomic_load(&m->evictions)),
         WG_KV_U("negative_hits", atomic_load(&m->negative_hits)),
         WG_KV_U("joined", atomic_load(&m->joined)), WG_KV_U("failures", atomic_load(&m->failures)),
         WG_KV_U("entries", d->cache.used.count));
}

/* ---- answers ---- */

void wg__dns_answered(const wg_dns *d, const char *name, const char *link, size_t count) {
  wg_log(&((wg_log_ctx){.worker = d->loop.worker}), WG_LOG_DEBUG, "dns_resolved",
         WG_KV_S("name", name), WG_KV_S("link", link), WG_KV_U("addresses", count));
}

/** The addresses of one family, beginning with the one whose turn it is. @return how many */
static size_t rotate(const wg_dns_addr *from, size_t count, uint32_t turn, wg_dns_addr *to,
                     size_t room) {
  if (count == 0) return 0;
  size_t first = turn % count, n = count < room ? count : room, head = count - first;
  if (head > n) head = n;
  memcpy(to, from + first, head * sizeof *to);
  memcpy(to + head, from, (n - head) * sizeof *to);
  return n;
}

/** Writes "TTL DATA" lines into d->text. */
static void put_records(wg_dns *d, wg_dns_req *req, const wg__dns_payload *p, uint32_t ttl_s,
                        uint32_t age_s) {
  const char *at = p->texts;
  for (size_t i = 0; i < p->count; i++) {
    uint32_t ttl = ttl_s;
    char text[46];
    if (p->ttls) {
      ttl = p->ttls[i] > age_s ? p->ttls[i] - age_s : 0;
    } else {
      if (p->addresses[i].family != (req->want == WANT_LINES4 ? 4 : 6)) continue;
      wg_dns_addr_text(&p->addresses[i], text);
    }
    wg_buf_printf(&d->text, "%s%u %s", req->count++ ? "\n" : "", ttl, p->ttls ? at : text);
    if (p->ttls) at += strlen(at) + 1;
  }
}

void wg__dns_give(wg_dns *d, wg_dns_req *req, const wg__dns_payload *p, uint32_t turn,
                  uint32_t ttl_s, uint32_t age_s) {
  wg_dns_addr found[WG_DNS_ADDRESSES_MAX];
  req->lookup = NULL;
  req->count = 0;
  req->addresses = found;
  req->text = "";
  req->ttl_s = ttl_s;
  if (req->want == WANT_ADDRESSES) {
    size_t n = rotate(p->addresses, p->count4, turn, found, WG_DNS_ADDRESSES_MAX);
    n += rotate(p->addresses + p->count4, p->count - p->count4, turn, found + n,
                WG_DNS_ADDRESSES_MAX - n);
    req->count = n;
  } else {
    wg_buf_clear(&d->text);
    if (req->want == WANT_NAME) {
      size_t n = p->count ? strlen(p->texts) : 0;
      if (n > 1 && p->texts[n - 1] == '.') n--;
      wg_buf_put(&d->text, p->texts, n);
      req->count = n > 0;
    } else {
      put_records(d, req, p, ttl_s, age_s);
    }
    wg_buf_put_u8(&d->text, 0);
    if (d->text.failed) {
      wg_error err;
      if (d->text.nomem)
        wg_error_set(&err, WG_NOMEM, 0, "dns: out of memory");
      else
        wg_error_set(&err, WG_EXHAUSTED, 0, "dns: the records are larger than 1 MiB");
      wg__dns_fail(d, req, &err);
      return;
    }
    req->text = (const char *)wg_buf_head(&d->text);
  }
  req->done(req, NULL);
}

void wg__dns_fail(wg_dns *d, wg_dns_req *req, const wg_error *err) {
  req->lookup = NULL;
  req->addresses = NULL;
  req->text = "";
  req->count = 0;
  req->ttl_s = 0;
  if (err->code != WG_NOT_FOUND) wg__dns_count(&d->metrics->failures, 1);
  req->done(req, err);
}

/** There are no records, and no need to say so again later. */
static void give_nothing(wg_dns *d, wg_dns_req *req) {
  char none[] = "";
  uint32_t ttl = 0;
  const wg__dns_payload p = {.refs = 1, .ttls = &ttl, .texts = none};
  wg__dns_give(d, req, &p, 0, 0, 0);
}

void wg__dns_give_missing(wg_dns *d, wg_dns_req *req, const char *name) {
  if (req->want == WANT_NAME) {
    give_nothing(d, req);
    return;
  }
  wg_error err;
  wg_error_set(&err, WG_NOT_FOUND, 0, "host '%s' not found", name);
  wg__dns_fail(d, req, &err);
}

wg__dns_entry *wg__dns_store(wg_dns *d, wg__dns_kind kind, const wg_dns_name *name,
                             wg_dns_link link, wg__dns_payload *payload, uint64_t ttl_ms,
                             uint64_t generation) {
  const wg_dns_settings *s = wg_names_settings(d->names);
  uint64_t now = wg_now_ms(&d->loop.clock), cap = (uint64_t)s->ttl_s * 1000;
  wg__dns_entry *e = wg__dns_cache_put(&d->cache, kind, name, payload);
  if (e) {
    e->link = (uint8_t)link;
    e->stored_ms = now;
    e->expires_ms = now + (ttl_ms < cap ? ttl_ms : cap);
    e->generation = generation;
  }
  atomic_store_explicit(&d->metrics->entries, (int_fast64_t)d->cache.used.count,
                        memory_order_relaxed);
  atomic_store_explicit(&d->metrics->evictions, d->cache.evictions, memory_order_relaxed);
  return e;
}

/* ---- the chain ---- */

/** Of a time on the cache's clock, in seconds, rounded up: what is still good is not "0". */
static uint32_t seconds_until(uint64_t at_ms, uint64_t now_ms) {
  return at_ms > now_ms ? (uint32_t)((at_ms - now_ms + 999) / 1000) : 0;
}

/** Whether an entry is what the table of today would lead to. */
static bool is_current(const wg_dns *d, const wg__dns_entry *e, const wg_dns_name *name) {
  const wg_dns_addr *addresses;
  size_t count, count4;
  bool others = wg_names_find(d->names, name, &addresses, &count, &count4) == WG_DNS_HOST;
  return e->generation == (others ? 0 : wg_names_generation(d->names));
}

/** @param current  the table may not have changed since */
static bool ask_cache(wg_dns *d, wg__dns_kind kind, const wg_dns_name *name, wg_dns_req *req,
                      bool current) {
  wg__dns_entry *e = wg__dns_cache_find(&d->cache, kind, name);
  if (!e) return false;
  uint64_t now = wg_now_ms(&d->loop.clock);
  if (now >= e->expires_ms) return false;
  if (current && !is_current(d, e, name)) return false;
  wg__dns_cache_touch(&d->cache, e);
  wg__dns_count(&d->metrics->hits, 1);
  if (e->missing) {
    wg__dns_count(&d->metrics->negative_hits, 1);
    wg__dns_answered(d, name->text, "cache", 0);
    wg__dns_give_missing(d, req, name->text);
  } else {
    wg__dns_answered(d, name->text, "cache", e->payload->count);
    wg__dns_give(d, req, e->payload, e->turn++, seconds_until(e->expires_ms, now),
                 (uint32_t)((now - e->stored_ms) / 1000));
  }
  return true;
}

/** A fixed set of addresses that is not cached: a literal or sentinels. */
static void give_fixed(wg_dns *d, const char *name, wg_dns_link link, const wg_dns_addr *addresses,
                       size_t count, size_t count4, wg_dns_req *req) {
  union { /* without an allocation */
    wg__dns_payload head;
    uint8_t room[sizeof(wg__dns_payload) + 2 * sizeof(wg_dns_addr)];
  } p = {.head = {.refs = 1, .count = count, .count4 = count4}};
  memcpy(p.head.addresses, addresses, count * sizeof *addresses);
  wg__dns_count(&d->metrics->by_link[link], 1);
  wg__dns_answered(d, name, wg_dns_link_name(link), count);
  wg__dns_give(d, req, &p.head, 0, wg_names_settings(d->names)->ttl_s, 0);
}

static void not_in_domain(wg_dns *d, const wg_dns_name *name, wg_dns_req *req) {
  wg_error err;
  wg_error_set(&err, WG_NOT_FOUND, 0, "host '%s' not found", name->text);
  wg_error_hint(&err,
                "names under '%s' are answered by warp.toml alone; add\n[registry]\n"
                "\"%s\" = [\"ADDRESS\"]",
                wg_names_settings(d->names)->domain, name->text);
  wg__dns_count(&d->metrics->by_link[WG_DNS_DOMAIN], 1);
  wg_log(&((wg_log_ctx){.worker = d->loop.worker}), WG_LOG_DEBUG, "dns_failed",
         WG_KV_S("name", name->text), WG_KV_S("link", "domain"), WG_KV_S("error", err.msg));
  wg__dns_fail(d, req, &err);
}

/** The registry has the name, and no address for it. */
static void nowhere(wg_dns *d, const wg_dns_name *name, wg_dns_req *req) {
  wg_error err;
  wg_error_set(&err, WG_NOT_FOUND, 0, "host '%s' not found", name->text);
  wg_error_hint(&err, "the registry lists it without an address");
  wg__dns_count(&d->metrics->by_link[WG_DNS_REGISTRY], 1);
  wg_log(&((wg_log_ctx){.worker = d->loop.worker}), WG_LOG_DEBUG, "dns_failed",
         WG_KV_S("name", name->text), WG_KV_S("link", "registry"), WG_KV_S("error", err.msg));
  wg__dns_fail(d, req, &err);
}

/** The table, then the host. */
static void ask_chain(wg_dns *d, wg__dns_kind kind, const wg_dns_name *name, wg_dns_req *req) {
  const wg_dns_addr *addresses;
  size_t count, count4;
  wg__dns_count(&d->metrics->misses, 1);
  wg_dns_link link = wg_names_find(d->names, name, &addresses, &count, &count4);
  if (link == WG_DNS_DOMAIN) {
    not_in_domain(d, name, req);
    return;
  }
  if (link == WG_DNS_HOST) {
    wg__dns_ask_host(d, kind, name, req);
    return;
  }
  if (count == 0) {
    nowhere(d, name, req);
    return;
  }
  /* The table knows addresses; a name of it has no records of other types. */
  wg__dns_payload *p = wg__dns_of_addresses(kind)
                           ? wg__dns_payload_addresses(addresses, count, count4)
                           : wg__dns_payload_records(NULL, 0, NULL, 0);
  if (!p) {
    wg_error err;
    wg_error_set(&err, WG_NOMEM, 0, "dns: out of memory");
    wg__dns_fail(d, req, &err);
    return;
  }
  uint32_t ttl_s = wg_names_settings(d->names)->ttl_s;
  wg__dns_entry *e =
      wg__dns_store(d, kind, name, link, p, (uint64_t)ttl_s * 1000, wg_names_generation(d->names));
  wg__dns_count(&d->metrics->by_link[link], 1);
  wg__dns_answered(d, name->text, wg_dns_link_name(link), p->count);
  wg__dns_give(d, req, p, e ? e->turn++ : d->turn++, ttl_s, 0);
  wg__dns_payload_unref(p);
}

/** An address or a name of a host, as a guest or we ourselves see it. */
static void ask_addresses(wg_dns *d, const char *name, size_t len, bool guest, wg_dns_req *req) {
  wg_dns_addr literal;
  wg_dns_name host;
  const char *why;
  if (req->want == WANT_ADDRESSES && wg_dns_literal(name, len, &literal)) {
    char text[46];
    wg_dns_addr_text(&literal, text);
    give_fixed(d, text, WG_DNS_LITERAL, &literal, 1, literal.family == 4, req);
    return;
  }
  if (!wg_dns_normalise(name, len, &host, &why)) {
    wg_error err;
    /* The name is not quoted: it came from a guest, and may be anything. */
    wg_error_set(&err, WG_INVALID, 0, "host name %s", why);
    wg__dns_fail(d, req, &err);
    return;
  }
  wg__dns_kind kind =
      name[len - 1] == '.' && wg__ares_searches(d->ares) ? WG__DNS_ROOTED : WG__DNS_ADDRESSES;
  const wg_dns_addr *sentinels;
  size_t count, count4;
  if (guest && wg_names_sentinel(d->names, &host, &sentinels, &count, &count4))
    give_fixed(d, host.text, WG_DNS_DATABASE, sentinels, count, count4, req);
  else if (!ask_cache(d, kind, &host, req, !guest))
    ask_chain(d, kind, &host, req);
}

/** A name of an address: the table's own, then PTR records. */
static void ask_reverse(wg_dns *d, const wg_dns_addr *address, wg_dns_req *req) {
  wg_dns_name arpa;
  wg_dns_link link;
  const char *name = wg_names_reverse(d->names, address, true, &link);
  if (name) {
    wg__dns_payload p = {
        .refs = 1, .count = 1, .ttls = &(uint32_t){wg_names_settings(d->names)->ttl_s}};
    char text[WG_DNS_NAME_MAX + 2];
    size_t n = strlen(name);
    memcpy(text, name, n);
    memcpy(text + n, ".", 2);
    p.texts = text;
    wg__dns_count(&d->metrics->by_link[link], 1);
    wg__dns_answered(d, name, wg_dns_link_name(link), 1);
    wg__dns_give(d, req, &p, 0, p.ttls[0], 0);
    return;
  }
  arpa.len = wg_dns_to_arpa(address, arpa.text);
  arpa.hash = wg_dns_hash(arpa.text, arpa.len);
  if (ask_cache(d, WG__DNS_PTR, &arpa, req, false)) return;
  wg__dns_count(&d->metrics->misses, 1);
  wg__dns_ask_host(d, WG__DNS_PTR, &arpa, req);
}

static void ask_records(wg_dns *d, const wg_dns_question *q, wg_dns_req *req) {
  static const wg__dns_kind kinds[] = {[WG_DNS_RR_CNAME] = WG__DNS_CNAME,
                                       [WG_DNS_RR_PTR] = WG__DNS_PTR,
                                       [WG_DNS_RR_SRV] = WG__DNS_SRV,
                                       [WG_DNS_RR_TXT] = WG__DNS_TXT};
  wg_dns_name name;
  wg_dns_addr address;
  const char *why;
  if (q->rrtype <= WG_DNS_RR_AAAA) {
    req->want = q->rrtype == WG_DNS_RR_A ? WANT_LINES4 : WANT_LINES6;
    ask_addresses(d, q->name, q->len, true, req);
    return;
  }
  wg_error err;
  if (q->rrtype >= WG_DNS_RR_TYPES) {
    wg_error_set(&err, WG_INVALID, 0, "dns: there is no such type of records");
    wg__dns_fail(d, req, &err);
    return;
  }
  if (!wg_dns_normalise(q->name, q->len, &name, &why)) {
    wg_error_set(&err, WG_INVALID, 0, "host name %s", why);
    wg__dns_fail(d, req, &err);
    return;
  }
  wg__dns_kind kind = kinds[q->rrtype];
  const wg_dns_addr *sentinels;
  size_t count, count4;
  if (kind == WG__DNS_PTR && wg_dns_from_arpa(name.text, &address)) {
    ask_reverse(d, &address, req);
  } else if (wg_names_sentinel(d->names, &name, &sentinels, &count, &count4)) {
    wg__dns_count(&d->metrics->by_link[WG_DNS_DATABASE], 1);
    wg__dns_answered(d, name.text, wg_dns_link_name(WG_DNS_DATABASE), 0);
    give_nothing(d, req);
  } else if (!ask_cache(d, kind, &name, req, false)) {
    ask_chain(d, kind, &name, req);
  }
}

void wg_dns_distrust(wg_dns *d, const char *name, size_t len) {
  static const wg__dns_kind kinds[] = {WG__DNS_ADDRESSES, WG__DNS_ROOTED};
  wg_dns_addr literal;
  wg_dns_name host;
  const char *why;
  if (wg_dns_literal(name, len, &literal) || !wg_dns_normalise(name, len, &host, &why)) return;
  uint64_t now = wg_now_ms(&d->loop.clock);
  for (size_t i = 0; i < WG_COUNT(kinds); i++) {
    wg__dns_entry *e = wg__dns_cache_find(&d->cache, kinds[i], &host);
    if (e && e->expires_ms > now) e->expires_ms = now;
  }
}

static void req_begin(wg_dns_req *req, dns_want want,
                      void (*done)(wg_dns_req *req, const wg_error *err), void *user) {
  *req = (wg_dns_req){.done = done, .user = user, .want = (uint8_t)want, .guest = true};
  wg_node_init(&req->node);
}

void wg_dns_ask(wg_dns *d, const wg_dns_question *q, wg_dns_req *req,
                void (*done)(wg_dns_req *req, const wg_error *err), void *user) {
  switch (q->what) {
  case WG_DNS_ADDRESSES:
    req_begin(req, WANT_ADDRESSES, done, user);
    ask_addresses(d, q->name, q->len, true, req);
    break;
  case WG_DNS_REVERSE:
    req_begin(req, WANT_NAME, done, user);
    ask_reverse(d, &q->address, req);
    break;
  case WG_DNS_RECORDS:
    req_begin(req, WANT_LINES, done, user);
    ask_records(d, q, req);
    break;
  }
}

void wg_dns_resolve(wg_dns *d, const char *name, size_t len, wg_dns_req *req,
                    void (*done)(wg_dns_req *req, const wg_error *err), void *user) {
  req_begin(req, WANT_ADDRESSES, done, user);
  req->guest = false;
  ask_addresses(d, name, len, false, req);
}

void wg_dns_cancel(wg_dns *d, wg_dns_req *req) {
  wg__dns_lookup *k = req->lookup;
  if (!k) return;
  WG_ASSERT(k->dns == d);
  wg_list_remove(&k->waiters, &req->node);
  req->lookup = NULL; /* what was asked goes on, for the cache */
}

socklen_t wg_dns_sockaddr(const wg_dns_addr *a, uint16_t port, struct sockaddr_storage *out) {
  memset(out, 0, sizeof *out);
  if (a->family == 4) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    memcpy(&v4->sin_addr, a->bytes, 4);
    return sizeof *v4;
  }
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port);
  memcpy(&v6->sin6_addr, a->bytes, 16);
  return sizeof *v6;
}
