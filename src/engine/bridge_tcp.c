/* SPDX-License-Identifier: Apache-2.0 */
/** @file bridge_tcp.c  Where a guest's TCP connections go:
 *
 *    a sentinel, declared port      a session of that database
 *    a sentinel, any other port     the real address behind the name, if `[net] allow` names it
 *    a declared host's address      a session, when warp.toml gives the address itself as `host`
 *    this machine, `warp dev`       there, as for databases
 *    any other address              there, if `[net] allow` covers it, or a name that this instance
 *                                   got it for
 *    else                           refused; the log and the guest get the line to add */
#include "dns/sentinel.h"
#include "engine/engine_internal.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
  LINES_PER_S = 20, /* about refused connects, a worker */
  AGAIN_S = 60 /* the same place is told again after this, in the process */
};

/** Lives in the op, so that nothing is allocated. */
typedef struct dial {
  wg_dns_req req;
  wg_instance *instance;
} dial;
_Static_assert(sizeof(dial) <= sizeof(((wgrt_op_tcp_connect *)0)->space), "room for a lookup");

/** The host part of a rule. */
typedef struct place {
  char host[WG_DNS_NAME_MAX + 1];
} place;

static dial *dial_of(wgrt_op_tcp_connect *op) { return (dial *)(void *)op->space; }

static wg_dns_addr address_of(const wgrt_address *from) {
  wg_dns_addr a = {.family = from->family};
  memcpy(a.bytes, from->bytes, a.family == 4 ? 4 : 16);
  return a;
}

static place place_of_name(const char *name, size_t len) {
  place p;
  size_t n = 0;
  for (; n < len && n < WG_DNS_NAME_MAX; n++)
    p.host[n] =
        name[n] > ' ' && name[n] < 0x7f && name[n] != '"' && name[n] != '\\' ? name[n] : '?';
  p.host[n] = '\0';
  return p;
}

static place place_of_address(const wg_dns_addr *a) {
  place p;
  char text[46];
  wg_dns_addr plain = wg_allow_unmapped(a);
  wg_dns_addr_text(&plain, text);
  snprintf(p.host, sizeof p.host, plain.family == 4 ? "%s" : "[%s]", text);
  return p;
}

/** Whether the log is to tell of this place now. */
static bool tell(wg_instance *i, const place *p, uint32_t port, uint64_t now_ms) {
  wg_worker *w = i->worker;
  uint32_t hash = wg_dns_hash(p->host, strlen(p->host)) ^ wg_dns_hash(&port, sizeof port) * 31 ^
                  wg_dns_hash(i->app->name, strlen(i->app->name)) * 37;
  atomic_uint_fast64_t *at = &w->engine->told[hash % WG_COUNT(w->engine->told)];
  uint64_t now_s = now_ms / 1000;
  uint_fast64_t before = atomic_load(at),
                after = (uint64_t)hash << 32 | (uint32_t)(now_s + AGAIN_S);
  uint32_t suppressed;
  if (before >> 32 == hash && (uint32_t)before > now_s) return false;
  if (!wg_log_allow(&w->connect_limit, LINES_PER_S, now_ms, &suppressed)) return false;
  return atomic_compare_exchange_strong(at, &before, after);
}

/** @param err  whose hint is shown */
static void tell_refused(wg_instance *i, const place *p, uint32_t port, const wg_error *err,
                         const char *why) {
  if (!tell(i, p, port, wg_now_ms(&i->worker->loop.clock))) return;
  const wg_log_ctx lc = {.app = i->app->name, .worker = i->worker->index};
  wg_log(&lc, WG_LOG_WARN, "connect_refused", WG_KV_S("host", p->host), WG_KV_U("port", port),
         WG_KV_S("reason", why), WG_KV_S("hint", err->hint));
}

/** @param rule  whether a rule would allow it: it is shown then */
static void refuse(wgrt_op_tcp_connect *op, wg_instance *i, const place *p, const char *why,
                   bool rule) {
  wg_error err;
  const wg_config *c = i->app->site->config;
  wg_error_set(&err, WG_REFUSED, 0, "connect: %s:%u %s", p->host, op->port, why);
  if (rule)
    wg_error_hint(&err, "add to [net] in %.200s: allow = [\"%.253s:%u\"]",
                  c->path ? c->path : "warp.toml", p->host, op->port);
  else
    wg_error_hint(&err, "declare the database in [databases.NAME]");
  tell_refused(i, p, op->port, &err, why);
  wg__op_complete(&op->op, &err);
}

static void go(wgrt_op_tcp_connect *op, const wg_dns_addr *a) {
  op->route = WGRT_TCP_REAL;
  op->real = (wgrt_address){.family = a->family};
  memcpy(op->real.bytes, a->bytes, sizeof op->real.bytes);
  op->real_port = op->port;
  wg__op_complete(&op->op, NULL);
}

/** Opens a session. @return false: none is declared there, and the op goes on */
static bool open_database(wgrt_op_tcp_connect *op, wg_instance *i, const char *host) {
  wg_error err;
  wg_code code = wg__instance_db(i, &err);
  if (code == WG_OK)
    code = wg_db_open(i->db, host, strlen(host), (uint16_t)op->port, &op->handle, &err);
  if (code == WG_NOT_FOUND) return false;
  if (code != WG_OK) {
    place p = place_of_name(host, strlen(host));
    tell_refused(i, &p, op->port, &err, err.msg);
  }
  op->route = WGRT_TCP_DATABASE;
  wg__op_complete(&op->op, code == WG_OK ? NULL : &err);
  return true;
}

/* ---- sentinels ---- */

/** The real addresses of a name that `allow` permits: the first one of the guest's family that a
 *  name may lead to, or that a rule about addresses covers. */
static void on_resolved(wg_dns_req *req, const wg_error *err) {
  wgrt_op_tcp_connect *op = req->user;
  wg_instance *i = dial_of(op)->instance;
  i->lookups--;
  if (err) {
    wg__op_complete(&op->op, err);
    return;
  }
  wg_allow allow = wg__instance_allow(i);
  bool any = false;
  for (size_t n = 0; n < req->count; n++) {
    wg_dns_addr a = req->addresses[n];
    if (a.family != op->to.family) continue;
    any = true;
    if (!wg_allow_resolved(&a) && !wg_allow_address(allow, &a, (uint16_t)op->port)) continue;
    go(op, &a);
    return;
  }
  wg_error why;
  if (any)
    wg_error_set(&why, WG_REFUSED, 0,
                 "connect: the name leads to a loopback, link-local or reserved address");
  else
    wg_error_set(&why, WG_NOT_FOUND, 0, "connect: the name has no %s address",
                 op->to.family == 4 ? "IPv4" : "IPv6");
  wg__op_complete(&op->op, &why);
}

static void dial_name(wgrt_op_tcp_connect *op, wg_instance *i, const char *host) {
  wg_dns_name name;
  const char *why;
  place p = place_of_name(host, strlen(host));
  if (!wg_dns_normalise(host, strlen(host), &name, &why) ||
      !wg_allow_name(wg__instance_allow(i), &name, (uint16_t)op->port)) {
    refuse(op, i, &p, "is neither a declared database nor allowed", true);
    return;
  }
  if (i->lookups >= WG_LOOKUPS_MAX) {
    wg_error err;
    wg_error_set(&err, WG_EXHAUSTED, 0, "the instance has %d lookups in progress", WG_LOOKUPS_MAX);
    wg__op_complete(&op->op, &err);
    return;
  }
  i->lookups++;
  wg_dns_resolve(i->worker->dns, host, strlen(host), &dial_of(op)->req, on_resolved, op);
}

bool wg__instance_sentinel_name(const wg_instance *i, const wg_dns_addr *a,
                                char out[2 * WG_DNS_NAME_MAX]) {
  const wg_site *s = i->app->site;
  const wg_config *c = s->config;
  uint16_t at = wg_dns_sentinel_place(a);
  if (at == 0 || !s->sentinels) return false;
  for (size_t n = 0; n < 2 * c->database_count; n++) {
    if (s->sentinels[n] != at) continue;
    bool host = n < c->database_count;
    const wg_database_config *d = &c->databases[n % c->database_count];
    if (host)
      snprintf(out, 2 * WG_DNS_NAME_MAX, "%s", d->host);
    else if (c->dns_domain && *c->dns_domain)
      snprintf(out, 2 * WG_DNS_NAME_MAX, "%s.db.%s", d->name, c->dns_domain);
    else
      return false;
    return true;
  }
  return false;
}

/* ---- all addresses ---- */

/** The declared host that is this address; "localhost" is both of its own. */
static const char *declared_host(const wg_config *c, const wg_dns_addr *a, uint32_t port) {
  wg_dns_addr plain = wg_allow_unmapped(a);
  for (size_t n = 0; n < c->database_count; n++) {
    const wg_database_config *d = &c->databases[n];
    wg_dns_addr host;
    if (d->port != port) continue;
    if (strcmp(d->host, "localhost") == 0
            ? wg_allow_is_loopback(&plain)
            : wg_dns_literal(d->host, strlen(d->host), &host) && wg_dns_addr_equal(&host, &plain))
      return d->host;
  }
  return NULL;
}

/** While a service is being developed: what `warp serve` would want as a rule, told once. */
static void go_here(wgrt_op_tcp_connect *op, wg_instance *i, const wg_dns_addr *a) {
  place p = place_of_address(a);
  if (tell(i, &p, op->port, wg_now_ms(&i->worker->loop.clock))) {
    char rule[96];
    snprintf(rule, sizeof rule, "add to [net]: allow = [\"%.60s:%u\"]", p.host, op->port);
    const wg_log_ctx lc = {.app = i->app->name, .worker = i->worker->index};
    wg_log(&lc, WG_LOG_WARN, "connect_loopback", WG_KV_S("host", p.host), WG_KV_U("port", op->port),
           WG_KV_S("reason", "allowed while developing only; 'warp serve' wants a rule"),
           WG_KV_S("hint", rule));
  }
  go(op, a);
}

static void bridge_tcp_connect(void *ctx, void *inst, wgrt_op_tcp_connect *op) {
  (void)ctx;
  wg_instance *i = inst;
  const wg_config *c = i->app->site->config;
  wg_dns_addr a = address_of(&op->to);
  bool proxy = c->shims & WG_SHIM_DATABASE_PROXY;
  char name[2 * WG_DNS_NAME_MAX];
  place p = place_of_address(&a);
  dial_of(op)->instance = i;
  if ((a.family != 4 && a.family != 6) || op->port == 0 || op->port > 65535) {
    wg_error err;
    wg_error_set(&err, WG_INVALID, 0, "connect: not an address and a port");
    wg__op_complete(&op->op, &err);
    return;
  }
  if (wg_dns_in_sentinels(&a)) {
    if (!wg__instance_sentinel_name(i, &a, name))
      refuse(op, i, &p, "stands for no declared database", false);
    else if (!open_database(op, i, name))
      dial_name(op, i, name);
    return;
  }
  const char *host = proxy ? declared_host(c, &a, op->port) : NULL;
  if (host && open_database(op, i, host)) return;
  uint64_t now_ms = wg_now_ms(&i->worker->loop.clock);
  if (wg_allow_address(wg__instance_allow(i), &a, (uint16_t)op->port) ||
      wg_allow_learned(&i->learned, wg__instance_allow(i), &a, (uint16_t)op->port, now_ms)) {
    go(op, &a);
    return;
  }
  if (c->loopback_databases && wg_allow_is_loopback(&a)) {
    go_here(op, i, &a);
    return;
  }
  size_t len;
  wg_dns_addr literal;
  const char *asked = wg_allow_asked(&i->learned, &a, &len);
  if (asked && !wg_allow_special(&a) && !wg_dns_literal(asked, len, &literal))
    p = place_of_name(asked, len);
  refuse(op, i, &p, wg_allow_special(&a) ? "is not allowed, and never by a name" : "is not allowed",
         true);
}

static void bridge_tcp_connect_cancel(void *ctx, void *inst, wgrt_op_tcp_connect *op) {
  ((wg_instance *)inst)->lookups--;
  wg_dns_cancel(((wg_worker *)ctx)->dns, &dial_of(op)->req);
}

void wg__bridge_tcp(wgrt_host *out) {
  out->tcp_connect = bridge_tcp_connect;
  out->tcp_connect_cancel = bridge_tcp_connect_cancel;
}
