/* SPDX-License-Identifier: Apache-2.0 */
/** @file lookup.c  Questions to the host: /etc/hosts and name servers through c-ares, names of mDNS
 *  through getaddrinfo(3). Equal questions in progress are one. */
#include "dns/dns_internal.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum {
  RECORDS_BYTES_MAX = 64 << 10,
  OWN_PLACES = 128, /* of WG_DNS_PENDING_MAX, which guests cannot take: databases are dialled */
  OTHER_FAMILY_MS = 250, /* for the second family of addresses, once the first is there; RFC 8305 */
  HALF_TTL_MS = 1000 /* of an answer with one family, while asking for the other failed */
};

static void lookup_free(wg__dns_lookup *k) {
  free(k->ttls);
  wg_buf_release(&k->texts);
  free(k);
}

static void count_in_flight(wg_dns *d) {
  atomic_store_explicit(&d->metrics->in_flight, (int_fast64_t)(d->lookups.count + d->over.count),
                        memory_order_relaxed);
}

/** What was found, or NULL: nothing, and *err says why. */
static wg__dns_payload *lookup_result(wg__dns_lookup *k, wg_error *err) {
  wg__dns_payload *p = NULL;
  if (wg__dns_of_addresses(k->kind) && k->n4 + k->n6 > 0) {
    wg_dns_addr all[2 * WG_DNS_ADDRESSES_MAX];
    memcpy(all, k->v4, k->n4 * sizeof *all);
    memcpy(all + k->n4, k->v6, k->n6 * sizeof *all);
    p = wg__dns_payload_addresses(all, k->n4 + k->n6, k->n4);
  } else if (k->failure != WG_OK) {
    wg_error_set(err, k->failure, 0, "host '%s' cannot be resolved: %s", k->name.text, k->why);
    return NULL;
  } else if (wg__dns_of_addresses(k->kind) || k->missing) {
    wg_error_set(err, WG_NOT_FOUND, 0, "host '%s' not found", k->name.text);
    return NULL;
  } else if (!k->nomem && !k->texts.failed) {
    p = wg__dns_payload_records(k->ttls, k->records, (const char *)wg_buf_head(&k->texts),
                                wg_buf_len(&k->texts));
  }
  if (!p && k->texts.failed && !k->nomem)
    wg_error_set(err, WG_EXHAUSTED, 0, "host '%s' has more than %d KiB of records", k->name.text,
                 RECORDS_BYTES_MAX >> 10);
  else if (!p)
    wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  return p;
}

static wg__dns_entry *lookup_store(wg__dns_lookup *k, wg__dns_payload *p) {
  bool nothing = !p || p->count == 0;
  uint64_t ttl_ms = nothing ? k->negative_ms : (uint64_t)k->ttl_s * 1000;
  if (k->failure != WG_OK && ttl_ms > HALF_TTL_MS) ttl_ms = HALF_TTL_MS;
  return wg__dns_store(k->dns, k->kind, &k->name, k->link, p, ttl_ms, 0);
}

/** Answers all who wait. The lookup goes with c-ares's last answer. */
static void lookup_finish(wg__dns_lookup *k) {
  wg_dns *d = k->dns;
  wg_error err = {.code = WG_OK};
  wg_deadline_stop(&k->deadline);
  wg_list_remove(&d->lookups, &k->node);
  wg_list_push_back(&d->over, &k->node);
  k->over = true;
  wg__dns_payload *p = lookup_result(k, &err);
  if (p || err.code == WG_NOT_FOUND) (void)lookup_store(k, p);
  if (p)
    wg__dns_answered(d, k->name.text, wg_dns_link_name(k->link), p->count);
  else
    wg_log(&((wg_log_ctx){.worker = d->loop.worker}), WG_LOG_DEBUG, "dns_failed",
           WG_KV_S("name", k->name.text), WG_KV_S("link", wg_dns_link_name(k->link)),
           WG_KV_S("error", err.msg));
  if (p || err.code == WG_NOT_FOUND) wg__dns_count(&d->metrics->by_link[k->link], 1);
  uint32_t cap = wg_names_settings(d->names)->ttl_s, ttl_s = k->ttl_s < cap ? k->ttl_s : cap;
  for (wg_dns_req *req; (req = WG_ITEM(wg_list_first(&k->waiters), wg_dns_req, node));) {
    wg_list_remove(&k->waiters, &req->node);
    if (!p) {
      if (err.code == WG_NOT_FOUND)
        wg__dns_give_missing(d, req, k->name.text);
      else
        wg__dns_fail(d, req, &err);
      continue;
    }
    /* Those before may have asked other things and so thrown the entry out. */
    wg__dns_entry *e = wg__dns_cache_find(&d->cache, k->kind, &k->name);
    wg__dns_give(d, req, p, e ? e->turn++ : d->turn++, ttl_s, 0);
  }
  wg__dns_payload_unref(p);
}

static bool ask_next(wg__dns_lookup *k);

/** A server that drops questions of one family must not hold up the other. */
static void hurry(wg__dns_lookup *k) {
  wg_dns *d = k->dns;
  if (k->deadline.of && k->deadline.at_ms <= wg_now_ms(&d->loop.clock) + OTHER_FAMILY_MS) return;
  wg_deadline_class *class = wg_deadlines_class(d->deadlines, OTHER_FAMILY_MS);
  if (!class) return;
  wg_deadline_stop(&k->deadline);
  wg_deadline_start(class, &k->deadline);
}

/** One answer less to come; after the last one there is nothing to keep the lookup for. */
static void lookup_answered(wg__dns_lookup *k) {
  wg_dns *d = k->dns;
  if (--k->asked > 0) {
    if (!k->over && k->n4 + k->n6 > 0) hurry(k);
    return;
  }
  if (!k->over && !d->closing && k->n4 + k->n6 == 0 && ask_next(k)) return;
  if (!k->over && !d->closing) lookup_finish(k);
  wg_list_remove(k->over ? &d->over : &d->lookups, &k->node);
  count_in_flight(d);
  wg_deadline_stop(&k->deadline);
  WG_ASSERT(wg_list_empty(&k->waiters));
  lookup_free(k);
}

static void on_deadline(wg_deadline *deadline) {
  wg__dns_lookup *k = WG_CONTAINER(deadline, wg__dns_lookup, deadline);
  k->failure = WG_IO;
  snprintf(k->why, sizeof k->why, "no answer within %u ms", k->timeout_ms);
  lookup_finish(k); /* with the addresses of one family, if they came */
  /* Out of the queue of the thread pool, if it has not begun: its callback comes, and frees. */
  if (k->link == WG_DNS_NSS) (void)uv_cancel((uv_req_t *)&k->uv);
}

/* ---- c-ares ---- */

static void on_record(void *user, uint32_t ttl_s, const char *data) {
  wg__dns_lookup *k = user;
  if (k->records == k->records_cap) {
    size_t cap = k->records_cap ? k->records_cap * 2 : 8;
    uint32_t *grown = realloc(k->ttls, cap * sizeof *grown);
    k->nomem |= !grown;
    if (!grown) return;
    k->ttls = grown;
    k->records_cap = cap;
  }
  k->ttls[k->records++] = ttl_s;
  wg_buf_put_cstr(&k->texts, data);
  if (ttl_s < k->ttl_s) k->ttl_s = ttl_s;
}

static void take_answer(wg__dns_lookup *k, uint16_t type, wg_code code, const char *why,
                        const uint8_t *reply, size_t len) {
  uint32_t negative_s;
  size_t n = 0;
  bool good = true;
  if (k->over || code == WG_CANCELED) return;
  if (code != WG_OK && code != WG_NOT_FOUND) {
    k->failure = code;
    snprintf(k->why, sizeof k->why, "%s", why);
    return;
  }
  if (code == WG_NOT_FOUND)
    k->missing = true;
  else if (type == WG__RR_A)
    good = !len ||
           wg__reply_addresses(reply, len, type, k->v4, WG_DNS_ADDRESSES_MAX, &k->n4, &k->ttl_s);
  else if (type == WG__RR_AAAA)
    good = !len ||
           wg__reply_addresses(reply, len, type, k->v6, WG_DNS_ADDRESSES_MAX, &k->n6, &k->ttl_s);
  else
    good = !len || wg__reply_records(reply, len, type, on_record, k);
  n = type == WG__RR_A ? k->n4 : type == WG__RR_AAAA ? k->n6 : 0;
  if (!good) {
    k->failure = WG_IO;
    snprintf(k->why, sizeof k->why, "the name server's reply is malformed");
  }
  if (n == 0 && wg__reply_negative_ttl(reply, len, &negative_s) &&
      (uint64_t)negative_s * 1000 < k->negative_ms)
    k->negative_ms = (uint64_t)negative_s * 1000;
}

#define ANSWER_OF(name, type)                                                                     \
  static void name(void *user, wg_code code, const char *why, const uint8_t *reply, size_t len) { \
    take_answer(user, (type), code, why, reply, len);                                             \
    lookup_answered(user);                                                                        \
  }
ANSWER_OF(on_a, WG__RR_A)
ANSWER_OF(on_aaaa, WG__RR_AAAA)
ANSWER_OF(on_cname, WG__RR_CNAME)
ANSWER_OF(on_ptr, WG__RR_PTR)
ANSWER_OF(on_srv, WG__RR_SRV)
ANSWER_OF(on_txt, WG__RR_TXT)

/** Asks for the addresses of the next name in the list of the host's search domains, both families
 *  of one name at once. @return false: there is none */
static bool ask_next(wg__dns_lookup *k) {
  wg_dns *d = k->dns;
  wg__ares *ares = d->ares;
  wg_dns_name name;
  if (!wg__dns_of_addresses(k->kind) || k->link != WG_DNS_HOST) return false;
  const char *own = wg_names_settings(d->names)->domain;
  if (k->kind == WG__DNS_ROOTED) {
    if (k->candidate++) return false;
    name = k->name;
  } else if (!wg__ares_candidate(ares, &k->name, own, &k->candidate, &name)) {
    return false;
  }
  k->asked = 2; /* each may be answered within its call */
  wg__ares_ask(ares, name.text, WG__RR_A, on_a, k);
  wg__ares_ask(ares, name.text, WG__RR_AAAA, on_aaaa, k);
  return true;
}

static void ask_servers(wg__dns_lookup *k) {
  static const struct {
    uint16_t type;
    wg__ares_answer answer;
  } by_kind[] = {[WG__DNS_CNAME] = {WG__RR_CNAME, on_cname},
                 [WG__DNS_PTR] = {WG__RR_PTR, on_ptr},
                 [WG__DNS_SRV] = {WG__RR_SRV, on_srv},
                 [WG__DNS_TXT] = {WG__RR_TXT, on_txt}};
  wg_dns *d = k->dns;
  wg_deadline_start(wg_deadlines_class(d->deadlines, k->timeout_ms), &k->deadline);
  if (wg__dns_of_addresses(k->kind)) {
    (void)ask_next(k); /* the name as it is, if nothing else, can be asked for */
  } else {
    k->asked = 1;
    wg__ares_ask(d->ares, k->name.text, by_kind[k->kind].type, by_kind[k->kind].answer, k);
  }
}

/* ---- getaddrinfo(3) ---- */

static void on_addrinfo(uv_getaddrinfo_t *uv, int status, struct addrinfo *list) {
  wg__dns_lookup *k = WG_CONTAINER(uv, wg__dns_lookup, uv);
  if (!k->dns) {
    uv_freeaddrinfo(list);
    lookup_free(k);
    return;
  }
  for (const struct addrinfo *a = list; a; a = a->ai_next) {
    if (a->ai_family == AF_INET && k->n4 < WG_DNS_ADDRESSES_MAX) {
      wg_dns_addr *to = &k->v4[k->n4++];
      to->family = 4;
      memcpy(to->bytes, &((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_addr, 4);
    } else if (a->ai_family == AF_INET6 && k->n6 < WG_DNS_ADDRESSES_MAX) {
      wg_dns_addr *to = &k->v6[k->n6++];
      to->family = 6;
      memcpy(to->bytes, &((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_addr, 16);
    }
  }
  uv_freeaddrinfo(list);
  switch (status) {
  case 0:
  case UV_EAI_NONAME:
  case UV_EAI_NODATA:
  case UV_EAI_ADDRFAMILY:
  case UV_EAI_FAMILY: break;
  case UV_EAI_MEMORY:
  case UV_ENOMEM: k->failure = WG_NOMEM; break;
  default: k->failure = WG_IO; break;
  }
  snprintf(k->why, sizeof k->why, "%s", status ? uv_strerror(status) : "");
  lookup_answered(k);
}

static void ask_nss(wg__dns_lookup *k) {
  wg_dns *d = k->dns;
  /* Without AI_ADDRCONFIG, which hides IPv6 loopback on hosts without other IPv6 addresses. */
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  k->link = WG_DNS_NSS;
  k->asked = 1;
  wg_deadline_start(wg_deadlines_class(d->deadlines, k->timeout_ms), &k->deadline);
  int rc = uv_getaddrinfo(d->loop.uv, &k->uv, on_addrinfo, k->name.text, NULL, &hints);
  if (rc != 0) {
    k->failure = WG_IO;
    snprintf(k->why, sizeof k->why, "%s", uv_strerror(rc));
    lookup_answered(k);
  }
}

/* ---- asking ---- */

/** What the host's /etc/hosts says, at once. */
static bool ask_hosts(wg_dns *d, wg__dns_kind kind, const wg_dns_name *name, wg_dns_req *req) {
  wg_dns_addr found[WG_DNS_ADDRESSES_MAX], address;
  wg_dns_name owner;
  size_t count4, n;
  wg__dns_payload *p = NULL;
  uint32_t ttl_s = wg_names_settings(d->names)->ttl_s;
  if (wg__dns_of_addresses(kind)) {
    n = wg__ares_hosts(d->ares, name->text, found, WG_DNS_ADDRESSES_MAX, &count4);
    if (n) p = wg__dns_payload_addresses(found, n, count4);
  } else if (kind == WG__DNS_PTR && wg_dns_from_arpa(name->text, &address) &&
             wg__ares_hosts_reverse(d->ares, &address, &owner)) {
    char text[WG_DNS_NAME_MAX + 2];
    memcpy(text, owner.text, owner.len);
    memcpy(text + owner.len, ".", 2);
    p = wg__dns_payload_records(&ttl_s, 1, text, owner.len + 2);
  }
  if (!p) return false;
  wg__dns_entry *e = wg__dns_store(d, kind, name, WG_DNS_HOST, p, (uint64_t)ttl_s * 1000, 0);
  wg__dns_count(&d->metrics->by_link[WG_DNS_HOST], 1);
  wg__dns_answered(d, name->text, wg_dns_link_name(WG_DNS_HOST), p->count);
  wg__dns_give(d, req, p, e ? e->turn++ : d->turn++, ttl_s, 0);
  wg__dns_payload_unref(p);
  return true;
}

static wg__dns_lookup *find_equal(wg_dns *d, wg__dns_kind kind, const wg_dns_name *name) {
  for (wg_node *n = wg_list_first(&d->lookups); n; n = wg_list_next(&d->lookups, n)) {
    wg__dns_lookup *k = WG_CONTAINER(n, wg__dns_lookup, node);
    if (k->kind == kind && k->name.hash == name->hash && strcmp(k->name.text, name->text) == 0)
      return k;
  }
  return NULL;
}

static void wait_for(wg__dns_lookup *k, wg_dns_req *req) {
  req->lookup = k;
  wg_list_push_back(&k->waiters, &req->node);
}

void wg__dns_ask_host(wg_dns *d, wg__dns_kind kind, const wg_dns_name *name, wg_dns_req *req) {
  bool local = wg_dns_is_below(name->text, name->len, "local");
  wg__dns_lookup *k = find_equal(d, kind, name);
  wg_error err;
  if (k) {
    wg__dns_count(&d->metrics->joined, 1);
    wait_for(k, req);
    return;
  }
  if (ask_hosts(d, kind, name, req)) return;
  if (local && !wg__dns_of_addresses(kind)) { /* RFC 6762, section 3: not for name servers */
    wg__dns_give_missing(d, req, name->text);
    return;
  }
  size_t places = WG_DNS_PENDING_MAX - (req->guest ? OWN_PLACES : 0);
  if (d->lookups.count + d->over.count >= places) {
    wg_error_set(&err, WG_EXHAUSTED, 0, "host '%s': %zu lookups are in progress already",
                 name->text, places);
    wg__dns_fail(d, req, &err);
    return;
  }
  k = calloc(1, sizeof *k);
  if (!k) {
    wg_error_set(&err, WG_NOMEM, 0, "dns: out of memory");
    wg__dns_fail(d, req, &err);
    return;
  }
  const wg_dns_settings *s = wg_names_settings(d->names);
  k->dns = d;
  k->kind = kind;
  k->link = WG_DNS_HOST;
  k->name = *name;
  k->timeout_ms = s->timeout_ms;
  k->ttl_s = s->ttl_s;
  k->negative_ms = s->negative_ttl_ms;
  wg_node_init(&k->node);
  wg_list_init(&k->waiters);
  wg_deadline_init(&k->deadline, on_deadline);
  wg_buf_init(&k->texts, RECORDS_BYTES_MAX);
  wg_list_push_back(&d->lookups, &k->node);
  wait_for(k, req);
  count_in_flight(d);
  if (local) {
    ask_nss(k);
  } else {
    wg__dns_follow_host(d);
    ask_servers(k);
  }
}

/** c-ares has answered all of its own; what is left is getaddrinfo(3)'s. */
void wg__dns_lookups_free(wg_dns *d) {
  wg_list *lists[] = {&d->lookups, &d->over};
  for (size_t i = 0; i < WG_COUNT(lists); i++) {
    for (wg_node *n; (n = wg_list_first(lists[i]));) {
      wg__dns_lookup *k = WG_CONTAINER(n, wg__dns_lookup, node);
      WG_ASSERT(wg_list_empty(&k->waiters));
      wg_list_remove(lists[i], n);
      wg_deadline_stop(&k->deadline);
      k->dns = NULL;
      /* Takes it out of the queue of the thread pool if it has not begun; its callback frees. */
      if (!k->over)
        uv_cancel((uv_req_t *)&k->uv); /* else its deadline did so, and twice is once too often */
    }
  }
  count_in_flight(d);
}
