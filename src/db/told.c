/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of a pool: its counters, and the events of its connections' lives. A connection has
 * a number, `conn`, that is the process's: what became of one is found by it. Steps that every
 * request makes are of level debug. Beginnings and ends are of level info, but in a worker that
 * makes more than LIFE_EVENTS of them a second the rest are of level debug, too: a pool with
 * reset = "close" says no more than others. */
#include "db/db_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIFE_EVENTS = 20 };

const uint32_t wg_db_wait_bounds[WG_DB_WAIT_BUCKETS] = {1,   2,   5,    10,   25,   50,   100,
                                                        250, 500, 1000, 2500, 5000, 10000};

static const char *const ends[SRV_ENDS] = {
    [WG_DB_CAUSE_CONNECT] = "connect",
    [WG_DB_CAUSE_AUTH] = "auth",
    [WG_DB_CAUSE_TLS] = "tls",
    [WG_DB_CAUSE_ROLE] = "role",
    [WG_DB_CAUSE_BUSY] = "busy",
    [WG_DB_CAUSE_TIMEOUT] = "timeout",
    [WG_DB_CAUSE_PROTOCOL] = "protocol",
    [WG_DB_CAUSE_RESET] = "reset",
    [WG_DB_CAUSE_PING] = "ping",
    [WG_DB_CAUSE_LOST] = "lost",
    [END_UNKNOWN] = "canceled",
    [END_IDLE] = "idle",
    [END_LIFETIME] = "lifetime",
    [END_GUEST] = "guest",
    [END_POLICY] = "policy",
    [END_STOP] = "stop",
};

const char *wg_db_cause_name(wg_db_cause cause) { return ends[cause]; }

/* ---- counting ---- */

size_t wg__pool_total(const wg_pool *pool) {
  size_t n = 0;
  for (size_t i = 0; i < SRV_STATES; i++) n += pool->servers[i].count;
  return n;
}

void wg__pool_count_wait(wg_pool *pool, uint64_t waited_ms) {
  size_t i = 0;
  while (i < WG_DB_WAIT_BUCKETS && waited_ms > wg_db_wait_bounds[i]) i++;
  pool->stats.waits[i]++;
  pool->stats.leases++;
  pool->stats.wait_ms_total += waited_ms;
}

wg_db_cause wg__server_cause(const wg_server *srv, const wg_error *err) {
  if (srv->misfit) return WG_DB_CAUSE_ROLE;
  if (srv->state == SRV_RESETTING) return WG_DB_CAUSE_RESET;
  if (srv->state == SRV_PINGING) return WG_DB_CAUSE_PING;
  if (srv->wire->fault == WG_WIRE_FAULT_BUSY) return WG_DB_CAUSE_BUSY;
  if (err->code == WG_TIMEOUT) return WG_DB_CAUSE_TIMEOUT;
  if (srv->state == SRV_SECURING || (srv->tls && wg_tls_why(srv->tls))) return WG_DB_CAUSE_TLS;
  if (srv->wire->fault == WG_WIRE_FAULT_AUTH || err->code == WG_AUTH) return WG_DB_CAUSE_AUTH;
  if (err->code == WG_PROTOCOL || err->code == WG_UNSUPPORTED) return WG_DB_CAUSE_PROTOCOL;
  return WG_DB_CAUSE_CONNECT;
}

void wg__pool_stats(wg_pool *pool, wg_db_stats *out) {
  pthread_mutex_lock(&pool->lock);
  *out = pool->stats;
  snprintf(out->name, sizeof out->name, "%s", pool->config->name);
  snprintf(out->database, sizeof out->database, "%s", pool->database);
  out->active = (uint32_t)pool->servers[SRV_LEASED].count;
  out->idle = (uint32_t)pool->servers[SRV_IDLE].count;
  out->total = (uint32_t)wg__pool_total(pool);
  out->waiting = (uint32_t)pool->waiting;
  for (wg_node *n = wg_list_first(&pool->locals); n; n = wg_list_next(&pool->locals, n)) {
    wg_local *local = WG_CONTAINER(n, wg_local, by_pool);
    out->waiting += (uint32_t)local->granted.count;
    out->received += atomic_load_explicit(&local->received, memory_order_relaxed);
    out->sent += atomic_load_explicit(&local->sent, memory_order_relaxed);
  }
  out->limit = pool->shape & WG_WIRE_SHAPE_GUESS ? 0 : pool->config->pool.pool_size;
  pthread_mutex_unlock(&pool->lock);
}

/** Adds counts and gauges; the names stay. */
static void stats_add(wg_db_stats *to, const wg_db_stats *more) {
  to->active += more->active;
  to->idle += more->idle;
  to->total += more->total;
  to->waiting += more->waiting;
  to->limit += more->limit;
  to->connects += more->connects;
  to->leases += more->leases;
  to->reuses += more->reuses;
  to->wait_ms_total += more->wait_ms_total;
  for (size_t i = 0; i < WG_COUNT(to->waits); i++) to->waits[i] += more->waits[i];
  to->resets += more->resets;
  to->timeouts += more->timeouts;
  to->failures += more->failures;
  to->reaped += more->reaped;
  to->unhealthy += more->unhealthy;
  for (size_t i = 0; i < WG_COUNT(to->by_cause); i++) to->by_cause[i] += more->by_cause[i];
  to->received += more->received;
  to->sent += more->sent;
}

/* ---- keys that guests chose ---- */

/* One line a database: users and passwords are nobody's business. */

/** What the keys that are gone have counted for one database. */
typedef struct wg_counts {
  wg_node by_db;
  const wg_database_config *config;
  wg_db_stats stats;
} wg_counts;

/** True when the line is that of this pool. */
static bool shown_as(const wg_pool *pool, const wg_database_config *config, const char *database) {
  return wg__pool_chosen(pool) && pool->config == config &&
         strncmp(pool->database, database, sizeof((wg_db_stats *)0)->database - 1) == 0;
}

static wg_counts *counts_of(const wg_db *db, const wg_pool *pool) {
  for (wg_node *n = wg_list_first(&db->counts); n; n = wg_list_next(&db->counts, n)) {
    wg_counts *c = WG_CONTAINER(n, wg_counts, by_db);
    if (shown_as(pool, c->config, c->stats.database)) return c;
  }
  return NULL;
}

void wg__counts_keep(wg_pool *pool) {
  wg_db *db = pool->db;
  wg_counts *c = counts_of(db, pool);
  wg_db_stats last;
  wg__pool_stats(pool, &last);
  last.limit = 0; /* a gauge, as the others are that are 0 by now */
  if (c) {
    stats_add(&c->stats, &last);
    return;
  }
  if (db->counts.count == DB_POOLS_MAX) return; /* guests that make up names of databases */
  c = calloc(1, sizeof *c);
  if (!c) return;
  wg_node_init(&c->by_db);
  c->config = pool->config;
  c->stats = last;
  wg_list_push_back(&db->counts, &c->by_db);
}

void wg__counts_free(wg_db *db) {
  for (wg_node *n; (n = wg_list_first(&db->counts));) {
    wg_list_remove(&db->counts, n);
    free(WG_CONTAINER(n, wg_counts, by_db));
  }
}

/** Adds up the pools of a line from `n` on. */
static void add_pools(wg_db *db, wg_node *n, const wg_database_config *config, const char *database,
                      wg_db_stats *sum) {
  for (; n; n = wg_list_next(&db->pools, n)) {
    wg_pool *pool = WG_CONTAINER(n, wg_pool, by_db);
    wg_db_stats more;
    if (!shown_as(pool, config, database)) continue;
    wg__pool_stats(pool, &more);
    stats_add(sum, &more);
  }
}

static bool shown_before(const wg_db *db, const wg_pool *pool) {
  for (wg_node *n = wg_list_first(&db->pools); n != &pool->by_db; n = wg_list_next(&db->pools, n))
    if (shown_as(WG_CONTAINER(n, wg_pool, by_db), pool->config, pool->database)) return true;
  return false;
}

void wg_db_each_stats(wg_db *db, void (*cb)(void *user, const wg_db_stats *s), void *user) {
  pthread_mutex_lock(&db->lock);
  for (wg_node *n = wg_list_first(&db->counts); n; n = wg_list_next(&db->counts, n)) {
    const wg_counts *c = WG_CONTAINER(n, wg_counts, by_db);
    wg_db_stats sum = c->stats;
    add_pools(db, wg_list_first(&db->pools), c->config, sum.database, &sum);
    cb(user, &sum);
  }
  for (wg_node *n = wg_list_first(&db->pools); n; n = wg_list_next(&db->pools, n)) {
    wg_pool *pool = WG_CONTAINER(n, wg_pool, by_db);
    bool chosen = wg__pool_chosen(pool);
    wg_db_stats sum;
    if (chosen && (counts_of(db, pool) || shown_before(db, pool))) continue;
    wg__pool_stats(pool, &sum);
    if (chosen) add_pools(db, wg_list_next(&db->pools, n), pool->config, pool->database, &sum);
    cb(user, &sum);
  }
  pthread_mutex_unlock(&db->lock);
}

/* ---- a connection's life ---- */

static const wg_log_ctx *log_of(const wg_server *srv) { return &srv->local->worker->log; }
static const char *name_of(const wg_server *srv) { return srv->pool->config->name; }
static uint64_t now_of(const wg_server *srv) { return wg__db_now(srv->local->worker); }

/** The level of a beginning or an end. */
static wg_log_level life_level(const wg_server *srv, wg_log_limit *limit) {
  uint32_t held; /* they are told all the same, at debug */
  return wg_log_allow(limit, LIFE_EVENTS, now_of(srv), &held) ? WG_LOG_INFO : WG_LOG_DEBUG;
}

void wg__tell_connecting(const wg_server *srv, const char *address) {
  wg_log(log_of(srv), WG_LOG_DEBUG, "db_connecting", WG_KV_S("database", name_of(srv)),
         WG_KV_U("conn", srv->id), WG_KV_S("address", address));
}

void wg__tell_connected(const wg_server *srv) {
  if (!wg_log_enabled(WG_LOG_INFO)) return;
  wg_log(log_of(srv), life_level(srv, &srv->local->open_limit), "db_connected",
         WG_KV_S("database", name_of(srv)), WG_KV_U("conn", srv->id),
         WG_KV_U("ms", now_of(srv) - srv->born_ms));
}

void wg__tell_leased(const wg_server *srv, uint64_t waited_ms) {
  wg_log(log_of(srv), WG_LOG_DEBUG, "db_leased", WG_KV_S("database", name_of(srv)),
         WG_KV_U("conn", srv->id), WG_KV_U("waited_ms", waited_ms), WG_KV_U("lease", srv->leased));
}

void wg__tell_returned(const wg_server *srv, bool fit, bool dirty) {
  wg_log(log_of(srv), WG_LOG_DEBUG, "db_returned", WG_KV_S("database", name_of(srv)),
         WG_KV_U("conn", srv->id), WG_KV_U("held_ms", now_of(srv) - srv->since_ms),
         WG_KV_B("fit", fit), WG_KV_B("used", dirty));
}

void wg__tell_reset(const wg_server *srv) {
  wg_log(log_of(srv), WG_LOG_DEBUG, "db_reset", WG_KV_S("database", name_of(srv)),
         WG_KV_U("conn", srv->id), WG_KV_U("ms", now_of(srv) - srv->since_ms));
}

void wg__tell_closed(const wg_server *srv) {
  if (!wg_log_enabled(WG_LOG_INFO)) return;
  wg_log_level level =
      srv->logged_in ? life_level(srv, &srv->local->close_limit) : WG_LOG_DEBUG; /* an attempt */
  wg_log(log_of(srv), level, "db_closed", WG_KV_S("database", name_of(srv)),
         WG_KV_U("conn", srv->id), WG_KV_S("cause", ends[srv->end]),
         WG_KV_U("age_ms", now_of(srv) - srv->born_ms), WG_KV_U("leases", srv->leased));
}

/* ---- a pool ---- */

void wg__tell_slow(wg_local *local, uint64_t waited_ms) {
  wg_pool *pool = local->pool;
  uint64_t now = wg__db_now(local->worker), longest = 0, conn = 0;
  uint32_t held;
  if (!wg_log_enabled(WG_LOG_WARN) || !wg_log_allow(&local->slow_limit, 1, now, &held)) return;
  pthread_mutex_lock(&pool->lock);
  size_t active = pool->servers[SRV_LEASED].count, total = wg__pool_total(pool);
  size_t waiting = pool->waiting;
  wg_server *oldest = WG_ITEM(wg_list_first(&pool->servers[SRV_LEASED]), wg_server, by_state);
  if (oldest) { /* they are in order of their leases */
    longest = now > oldest->since_ms ? now - oldest->since_ms : 0;
    conn = oldest->id;
  }
  pthread_mutex_unlock(&pool->lock);
  wg_log(&local->worker->log, WG_LOG_WARN, "db_slow_wait", WG_KV_S("database", pool->config->name),
         WG_KV_U("waited_ms", waited_ms), WG_KV_U("pool_size", pool->config->pool.pool_size),
         WG_KV_U("active", active), WG_KV_U("total", total), WG_KV_U("waiting", waiting),
         WG_KV_U("longest_lease_ms", longest), WG_KV_U("conn", conn), WG_KV_U("suppressed", held));
}

void wg__tell_pool(wg_local *local) {
  wg_pool *pool = local->pool;
  uint64_t now = wg__db_now(local->worker);
  if (!wg_log_enabled(WG_LOG_INFO)) return;
  pthread_mutex_lock(&pool->lock);
  bool due = now - pool->logged_ms >= DB_STATS_LOG_MS && pool->stats.leases != pool->logged_leases;
  size_t active = pool->servers[SRV_LEASED].count, idle = pool->servers[SRV_IDLE].count;
  size_t total = wg__pool_total(pool), waiting = pool->waiting;
  if (due) {
    pool->logged_ms = now;
    pool->logged_leases = pool->stats.leases;
  }
  pthread_mutex_unlock(&pool->lock);
  if (due)
    wg_log(&local->worker->log, WG_LOG_INFO, "db_pool", WG_KV_S("database", pool->config->name),
           WG_KV_U("active", active), WG_KV_U("idle", idle), WG_KV_U("total", total),
           WG_KV_U("waiting", waiting));
}
