/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several servers a connection is made to, as libpq chooses:
 *
 *   the first of `addresses` --fails | is not what target_session_attrs asks for--> the next one
 *   the last one --prefer-standby, and a server was there--> all of them again: any will do
 *                \--> failed, with what the last one said
 *
 * The order is that of the list, or a random one with load_balance; what failed or did not fit within
 * the last DB_HOST_DOWN_MS comes last, so that a dead first server costs its share of the time once
 * and not for each connection.
 *
 * One that refuses the credentials ends the search: the others have the same, and asking each of
 * them would only lock the role out. What a server is it says by itself at log-in and when it
 * changes (in_hot_standby, default_transaction_read_only: PostgreSQL 14 and newer), so that costs no
 * round trip, and a connection to a primary that became a standby is found when it is reset or
 * checked. */
#include "db/db_internal.h"
#include <string.h>

bool wg_db_same_hosts(const wg_database_config *a, const wg_database_config *b) {
  if (a->host_count != b->host_count || a->target_attrs != b->target_attrs ||
      a->load_balance != b->load_balance)
    return false;
  for (size_t i = 0; i < a->host_count; i++)
    if (a->hosts[i].port != b->hosts[i].port || strcmp(a->hosts[i].name, b->hosts[i].name) != 0)
      return false;
  return true;
}

size_t wg__hosts_count(const wg_server *srv) {
  size_t n = srv->pool->config->host_count;
  return n ? n : 1;
}

const char *wg__hosts_name_at(const wg_database_config *d, size_t host) {
  if (d->host_count) return d->hosts[host].name;
  return d->address ? d->address : d->host;
}

const char *wg__hosts_name(const wg_server *srv) {
  return wg__hosts_name_at(srv->pool->config, srv->host);
}

uint16_t wg__hosts_port(const wg_server *srv) {
  const wg_database_config *d = srv->pool->config;
  if (d->host_count) return d->hosts[srv->host].port;
  return d->address_port ? d->address_port : d->port;
}

wg_deadline_class *wg__hosts_share(const wg_server *srv) {
  wg_local *local = srv->local;
  size_t n = wg__hosts_count(srv);
  if (n == 1) return local->connect;
  uint64_t ms = srv->pool->config->pool.connect_timeout_ms / n;
  wg_deadline_class *share = wg_deadlines_class(local->worker->deadlines, ms ? ms : 1);
  return share ? share : local->connect;
}

void wg__hosts_begin(wg_server *srv) {
  const wg_pool *pool = srv->pool;
  size_t n = pool->config->host_count, good = 0, bad = 0;
  uint8_t listed[WG_DB_HOSTS_MAX], down[WG_DB_HOSTS_MAX];
  uint64_t now = wg__db_now(srv->local->worker);
  WG_ASSERT(n <= WG_DB_HOSTS_MAX);
  for (size_t i = 0; i < n; i++) listed[i] = (uint8_t)i;
  for (size_t i = n; pool->config->load_balance && i > 1; i--) { /* each order is as likely */
    size_t k = wg_random_u64() % i;
    uint8_t other = listed[k];
    listed[k] = listed[i - 1];
    listed[i - 1] = other;
  }
  for (size_t i = 0; i < n; i++) {
    if (now < pool->host_down_ms[listed[i]])
      down[bad++] = listed[i];
    else
      srv->host_order[good++] = listed[i];
  }
  for (size_t i = 0; i < bad; i++) srv->host_order[good + i] = down[i];
  srv->host = n ? srv->host_order[0] : 0;
}

bool wg__hosts_next(wg_server *srv, const wg_error *why) {
  const wg_database_config *d = srv->pool->config;
  if (srv->state > SRV_LOGIN || srv->wire->fault == WG_WIRE_FAULT_AUTH || why->code == WG_NOMEM)
    return false;
  bool last = srv->host_at + 1u >= wg__hosts_count(srv);
  bool again = last && d->target_attrs == WG_DB_TARGET_PREFER_STANDBY && !srv->second_pass &&
               (srv->reached || srv->misfit);
  if (last && !again) return false;
  uint32_t held;
  if (d->host_count > 1 &&
      wg_log_allow(&srv->local->host_limit, WG_DB_HOSTS_MAX, wg__db_now(srv->local->worker), &held))
    wg_log(&srv->local->worker->log, WG_LOG_INFO, "db_address_failed", WG_KV_S("database", d->name),
           WG_KV_U("conn", srv->id), WG_KV_S("address", wg__hosts_name(srv)),
           WG_KV_U("port", wg__hosts_port(srv)), WG_KV_S("error", why->msg),
           WG_KV_U("suppressed", held));
  wg__server_distrust(srv);
  if (srv->misfit) srv->reached = true;
  size_t at = srv->host_at;
  bool misfit = srv->misfit;
  pthread_mutex_lock(&srv->pool->lock);
  srv->pool->host_down_ms[srv->host] = wg__db_now(srv->local->worker) + DB_HOST_DOWN_MS;
  pthread_mutex_unlock(&srv->pool->lock);
  srv->host_at = last ? 0 : (uint8_t)(at + 1);
  srv->host = srv->host_order[srv->host_at];
  srv->second_pass = srv->second_pass || again;
  srv->misfit = false;
  if (wg__server_start_over(srv)) return true;
  srv->host_at = (uint8_t)at;
  srv->host = srv->host_order[at];
  srv->misfit = misfit;
  return false;
}

/** What target_session_attrs asks for. */
static bool fits(wg_db_target_attrs attrs, bool standby, bool read_only, bool second_pass) {
  switch (attrs) {
  case WG_DB_TARGET_ANY: return true;
  case WG_DB_TARGET_READ_WRITE: return !standby && !read_only;
  case WG_DB_TARGET_READ_ONLY: return standby || read_only;
  case WG_DB_TARGET_PRIMARY: return !standby;
  case WG_DB_TARGET_STANDBY: return standby;
  case WG_DB_TARGET_PREFER_STANDBY: return standby || second_pass;
  }
  return true;
}

bool wg__hosts_fit(wg_server *srv, wg_error *err) {
  static const char *const asked[] = {"any",     "read-write", "read-only",
                                      "primary", "standby",    "prefer-standby"};
  const wg_database_config *d = srv->pool->config;
  if (d->target_attrs == WG_DB_TARGET_ANY || !srv->ops->told) return true;
  const char *standby = srv->ops->told(srv->wire, "in_hot_standby");
  const char *read_only = srv->ops->told(srv->wire, "default_transaction_read_only");
  if (!standby || !read_only) {
    wg_error_set(err, WG_UNSUPPORTED, 0,
                 "%s:%u does not tell whether it is a standby (SQLSTATE 08001)",
                 wg__hosts_name(srv), wg__hosts_port(srv));
    wg_error_hint(err, "target_session_attrs needs PostgreSQL 14 or newer");
    return false;
  }
  bool is_standby = strcmp(standby, "on") == 0, is_read_only = strcmp(read_only, "on") == 0;
  srv->misfit = !fits(d->target_attrs, is_standby, is_read_only, srv->second_pass);
  if (!srv->misfit) return true;
  wg_error_set(err, WG_REFUSED, 0, "%s:%u is a %s, not %s%s (SQLSTATE 08001)", wg__hosts_name(srv),
               wg__hosts_port(srv),
               is_standby     ? "standby"
               : is_read_only ? "read-only server"
                              : "primary that takes writes",
               asked[d->target_attrs], d->host_count > 1 ? ", as all that answered" : "");
  wg_error_hint(err, "target_session_attrs of [databases.%s] asks for it", d->name);
  return false;
}
