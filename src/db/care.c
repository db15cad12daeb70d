/* SPDX-License-Identifier: Apache-2.0 */
/** @file care.c  What is done for a pool as time goes by: idle and lifetime limits, health checks, the
 *  minimum of idle connections, room for pools of other shapes.
 *
 *  A connection lives at most max_lifetime, less up to a tenth by chance, so that those made together
 *  do not end together; it is closed when it comes back or when it is idle, never under a guest.
 *  Of min_idle connections each worker that knows the pool holds its share; they move to other
 *  workers at need. A server that fails is asked again after the back-off that guests cause too, by
 *  one attempt at a time. */
#include "db/db_internal.h"

/** Without a guest there is nobody to log in as, unless the host does. */
static size_t min_idle_of(const wg_pool *pool) {
  return pool->auth == WG_DB_AUTH_SERVICE ? pool->config->pool.min_idle : 0;
}

/* ---- idle connections ---- */

void wg__pool_reap(wg_server *srv) {
  wg_local *local = srv->local;
  wg_pool *pool = srv->pool;
  pthread_mutex_lock(&pool->lock);
  size_t idle = pool->servers[SRV_IDLE].count + pool->servers[SRV_PINGING].count;
  bool keep = idle <= min_idle_of(pool) && local->worker->state == WORKER_RUNNING;
  if (!keep) pool->stats.reaped++;
  pthread_mutex_unlock(&pool->lock);
  if (keep) {
    wg_deadline_start(local->idle_timeout, &srv->idle_end);
    return;
  }
  if (srv->state == SRV_IDLE) wg__server_bye(srv);
  wg__pool_discard(srv, END_IDLE);
  wg__tell_pool(local);
}

void wg__pool_health(wg_server *srv) {
  wg__tell_pool(srv->local);
  wg__server_ping(srv);
}

/* ---- lifetimes ---- */

void wg__care_born(wg_server *srv) {
  uint64_t life = srv->pool->config->pool.max_lifetime_ms;
  if (life)
    srv->life_end_ms = wg__db_now(srv->local->worker) + life - wg_random_u64() % (life / 10 + 1);
}

bool wg__care_expired(const wg_server *srv) {
  return srv->life_end_ms && wg__db_now(srv->local->worker) >= srv->life_end_ms;
}

/** The first of this worker's idle connections that is too old; NULL: none. */
static wg_server *first_expired(const wg_local *local) {
  for (wg_node *n = wg_list_first(&local->idle); n; n = wg_list_next(&local->idle, n)) {
    wg_server *srv = WG_CONTAINER(n, wg_server, by_local);
    if (wg__care_expired(srv)) return srv;
  }
  return NULL;
}

static void close_expired(wg_local *local) {
  for (wg_server *srv; (srv = first_expired(local));) {
    pthread_mutex_lock(&local->pool->lock);
    local->pool->stats.reaped++;
    pthread_mutex_unlock(&local->pool->lock);
    wg__server_bye(srv);
    wg__pool_discard(srv, END_LIFETIME);
  }
}

/* ---- min_idle ---- */

/** This worker's connections of the pool that are or will be free. */
static size_t own_ready(const wg_local *local) {
  const wg_db_worker *w = local->worker;
  size_t ready = 0;
  for (wg_node *n = wg_list_first(&w->servers); n; n = wg_list_next(&w->servers, n)) {
    const wg_server *srv = WG_CONTAINER(n, wg_server, by_worker);
    ready += srv->pool == local->pool && srv->state != SRV_LEASED;
  }
  return ready;
}

/** A part of min_idle for each worker, the rest to the first ones. The lock is held. */
static size_t own_share(const wg_local *local) {
  const wg_pool *pool = local->pool;
  size_t min = min_idle_of(pool), count = pool->locals.count, index = 0;
  for (wg_node *n = wg_list_first(&pool->locals); n && n != &local->by_pool;
       n = wg_list_next(&pool->locals, n))
    index++;
  return min / count + (index < min % count);
}

/** A new connection for min_idle; NULL: there are enough, or it is not the time. */
static wg_server *refill_next(wg_local *local) {
  wg_pool *pool = local->pool;
  const wg_pool_config *c = &pool->config->pool;
  size_t own = own_ready(local);
  wg_server *srv = NULL;
  pthread_mutex_lock(&pool->lock);
  size_t ready = pool->servers[SRV_IDLE].count + wg__pool_coming(pool);
  bool lacks = ready < min_idle_of(pool) && own < own_share(local) && pool->waiting == 0 &&
               !atomic_load(&pool->retiring) && wg__pool_total(pool) < c->pool_size;
  bool failing = pool->failures > 0 &&
                 (wg__pool_connecting(pool) > 0 || wg__db_now(local->worker) < pool->retry_ms);
  if (lacks && !failing) srv = wg__server_new(local);
  pthread_mutex_unlock(&pool->lock);
  return srv;
}

static void refill(wg_local *local) {
  wg_server *srv;
  while ((srv = refill_next(local))) wg__server_start(srv);
}

/* ---- making room for another shape ---- */

bool wg__pool_rests(wg_pool *pool, uint64_t *used_ms) {
  *used_ms = 0;
  pthread_mutex_lock(&pool->lock);
  const wg_list *idle = &pool->servers[SRV_IDLE];
  bool rests = pool->waiting == 0 && wg__pool_total(pool) == idle->count;
  for (wg_node *n = wg_list_first(&pool->locals); n; n = wg_list_next(&pool->locals, n))
    rests = rests && wg_list_empty(&WG_CONTAINER(n, wg_local, by_pool)->granted);
  for (wg_node *n = wg_list_first(idle); n; n = wg_list_next(idle, n)) {
    const wg_server *srv = WG_CONTAINER(n, wg_server, by_state);
    if (srv->idle_ms > *used_ms) *used_ms = srv->idle_ms;
  }
  pthread_mutex_unlock(&pool->lock);
  return rests;
}

void wg__pool_retire(wg_pool *pool) {
  atomic_store(&pool->retiring, true);
  pthread_mutex_lock(&pool->lock);
  for (wg_node *n = wg_list_first(&pool->locals); n; n = wg_list_next(&pool->locals, n))
    uv_async_send(&WG_CONTAINER(n, wg_local, by_pool)->worker->wake);
  pthread_mutex_unlock(&pool->lock);
}

void wg__pool_leave(wg_local *local) {
  for (wg_server *srv; (srv = WG_ITEM(wg_list_first(&local->idle), wg_server, by_local));)
    wg__server_dismiss(srv, END_POLICY);
}

/* ---- from time to time ---- */

static void on_tidy(wg_deadline *d) {
  wg_local *local = WG_CONTAINER(d, wg_local, tidy);
  bool min_idle = min_idle_of(local->pool) > 0;
  if (local->worker->state != WORKER_RUNNING) return;
  close_expired(local);
  if (min_idle) refill(local);
  if (min_idle || !wg_list_empty(&local->idle)) wg__care_start(local);
}

void wg__care_start(wg_local *local) {
  if (!local->tidy.of) wg_deadline_start(local->tidy_class, &local->tidy);
}

void wg__care_init(wg_local *local) {
  wg_deadline_init(&local->tidy, on_tidy);
  local->tidy_class = wg_deadlines_class(local->worker->deadlines, DB_TIDY_MS);
}
