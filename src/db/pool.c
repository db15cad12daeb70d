/* SPDX-License-Identifier: Apache-2.0 */
#include "db/db_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A request for a session:
 *
 *   ask --own idle server, nobody waits--> granted
 *   ask --> QUEUED --first, and a server is free here--> granted
 *           QUEUED --first, and a server is free on another worker--> GRANTED --it arrives--> granted
 *           QUEUED | GRANTED --deadline | canceled | nothing to be had--> failed, forgotten
 *
 * A server that becomes free always goes to whoever is first in the queue, whatever worker that is
 * on: a newcomer never overtakes. Who is first among guests is decided by queue.c: they take turns,
 * first come first served within each. wg__pool_pump() is the one place that decides what is to be
 * done for the queue; it runs after every event that can change the answer. What only another worker can do
 * (give up an idle connection, connect for its own guest) it is woken for. */

static wg_db_req *req_of(wg_node *n) { return WG_ITEM(n, wg_db_req, node); }
static wg_local *local_of(const wg_db_req *req) { return ((const wg_turn *)req->impl2)->local; }

size_t wg__pool_connecting(const wg_pool *pool) {
  return pool->servers[SRV_RESOLVING].count + pool->servers[SRV_DIALING].count +
         pool->servers[SRV_SECURING].count + pool->servers[SRV_LOGIN].count;
}

size_t wg__pool_coming(const wg_pool *pool) {
  return wg__pool_connecting(pool) + pool->servers[SRV_FINISHING].count +
         pool->servers[SRV_FENCED].count + pool->servers[SRV_RESETTING].count +
         pool->servers[SRV_PINGING].count;
}

/** Guests are only greeted out of it, and then go to another pool. */
static bool greets(const wg_pool *pool) {
  return (pool->shape & WG_WIRE_SHAPE_GUESS) && pool->auth != WG_DB_AUTH_RELAY;
}

/** Connections that it may have. Whoever is greeted needs a server for no time at all. */
static size_t limit_of(const wg_pool *pool) {
  return greets(pool) ? 1 : pool->config->pool.pool_size;
}

static void wake(wg_local *local) { uv_async_send(&local->worker->wake); }

/* ---- requests ---- */

static void on_queue_deadline(wg_deadline *d);

/** Two stages, so that a slow wait costs a waiter no memory: first slow_wait, then the rest. */
static void on_slow_wait(wg_deadline *d) {
  wg_db_req *req = WG_CONTAINER(d, wg_db_req, deadline);
  wg_local *local = local_of(req);
  d->expired = on_queue_deadline;
  wg_deadline_start(local->connect_rest, d);
  wg__tell_slow(local, wg__db_now(local->worker) - req->since_ms);
}

static void start_queue_deadline(wg_local *local, wg_db_req *req) {
  wg_deadline_init(&req->deadline, local->slow ? on_slow_wait : on_queue_deadline);
  wg_deadline_start(local->slow ? local->slow : local->connect, &req->deadline);
}

/** Takes out of an error what the pool's guests do not know. */
static void plain_words(const wg_pool *pool, wg_error *err) {
  if (!pool->ops->sqlstate) (void)wg_wire_take_sqlstate(err->msg, NULL);
}

static void on_queue_deadline(wg_deadline *d) {
  wg_db_req *req = WG_CONTAINER(d, wg_db_req, deadline);
  wg_pool *pool = local_of(req)->pool;
  const wg_database_config *config = pool->config;
  wg_error err;
  wg__pool_forget(req);
  pthread_mutex_lock(&pool->lock);
  pool->stats.timeouts++;
  size_t connecting = wg__pool_connecting(pool), others = pool->waiting;
  size_t total = wg__pool_total(pool);
  uint64_t ms = config->pool.connect_timeout_ms;
  if (connecting > 0 || total < config->pool.pool_size) {
    if (pool->failures)
      wg_error_set(&err, WG_TIMEOUT, 0, "no connection within %llu ms; last failure: %.300s",
                   (unsigned long long)ms, pool->last_error.msg);
    else
      wg_error_set(&err, WG_TIMEOUT, 0, "no answer of %s:%u within %llu ms (SQLSTATE 08001)",
                   config->address ? config->address : config->host,
                   config->address_port ? config->address_port : config->port,
                   (unsigned long long)ms);
  } else {
    wg_error_set(&err, WG_EXHAUSTED, 0,
                 "all %u connections stayed in use for %llu ms, %zu more guests are waiting "
                 "(SQLSTATE 53300)",
                 config->pool.pool_size, (unsigned long long)ms, others);
    wg_error_hint(&err, "raise pool_size of [databases.%s], or give connections back sooner",
                  config->name);
  }
  pthread_mutex_unlock(&pool->lock);
  wg_error_wrap(&err, "database '%s'", config->name);
  plain_words(pool, &err);
  wg__req_fail(req, &err);
}

void wg__pool_forget(wg_db_req *req) {
  wg_local *local = local_of(req);
  wg_deadline_stop(&req->deadline);
  pthread_mutex_lock(&local->pool->lock);
  if (req->state == REQ_QUEUED)
    wg__queue_drop(req);
  else if (req->state == REQ_GRANTED)
    wg_list_remove(&local->granted, &req->node);
  req->state = REQ_NONE;
  wg__pool_unneeded(local->pool);
  pthread_mutex_unlock(&local->pool->lock);
}

/** Both are on this thread; the request is in no list any more, the server LEASED. */
static void lease(wg_db_req *req, wg_server *srv) {
  wg_pool *pool = srv->pool;
  uint64_t now = wg__db_now(srv->local->worker), waited_ms = now - req->since_ms;
  wg_deadline_stop(&req->deadline);
  pthread_mutex_lock(&pool->lock);
  srv->since_ms = now; /* from guest to guest it was LEASED before: last in the list by age */
  wg_list_remove(&pool->servers[SRV_LEASED], &srv->by_state);
  wg_list_push_back(&pool->servers[SRV_LEASED], &srv->by_state);
  if (srv->leased++ > 0) pool->stats.reuses++;
  wg__pool_count_wait(pool, waited_ms);
  pthread_mutex_unlock(&pool->lock);
  wg__tell_leased(srv, waited_ms);
  wg__session_granted(req, srv);
}

/** A connection of no guest turned out to be dead. */
static void unhealthy(wg_server *srv, wg_db_cause cause) {
  pthread_mutex_lock(&srv->pool->lock);
  srv->pool->stats.unhealthy++;
  srv->pool->stats.by_cause[cause]++;
  pthread_mutex_unlock(&srv->pool->lock);
  srv->end = cause;
  wg__server_enter(srv, SRV_CLOSED);
}

/* ---- what guests' own passwords opened ---- */

void wg__pool_unneeded(wg_pool *pool) {
  if (pool->auth != WG_DB_AUTH_GUEST || pool->waiting || wg__pool_total(pool)) return;
  wg_secret_release(&pool->password);
  wg_scram_cache_clear(&pool->keys);
}

bool wg__pool_stale(const wg_server *srv, uint64_t now_ms) {
  const wg_pool *pool = srv->pool;
  if (pool->auth != WG_DB_AUTH_GUEST) return false;
  uint64_t ttl = pool->config->credential_ttl_ms; /* another worker's clock may be ahead of ours */
  uint64_t age = now_ms > pool->proved_ms ? now_ms - pool->proved_ms : 0;
  return age > ttl || (age == ttl && srv->leased > 0);
}

/** No server is free for it now: it waits for its turn. */
static void enqueue(wg_local *local, wg_db_req *req, const wg_credentials *who) {
  wg_pool *pool = local->pool;
  const wg_pool_config *c = &pool->config->pool;
  wg_error err;
  wg_turn *turn = wg__turn_of(req->impl, local);
  if (!turn) {
    wg_error_set(&err, WG_NOMEM, 0, "database '%s': out of memory", pool->config->name);
    wg__req_fail(req, &err);
    return;
  }
  pthread_mutex_lock(&pool->lock);
  /* Whom a connection is being made for, or can be, does not wait for another guest. */
  size_t queued = pool->waiting, total = wg__pool_total(pool);
  size_t room = (c->pool_size > total ? c->pool_size - total : 0) + wg__pool_coming(pool);
  bool full = queued >= c->max_waiters + room;
  wg_code code = WG_OK;
  if (!full && who && pool->auth == WG_DB_AUTH_GUEST && pool->password.len == 0)
    code = wg_secret_set(&pool->password, who->password, who->password_len, &err);
  if (!full && code == WG_OK) wg__queue_push(turn, req);
  pthread_mutex_unlock(&pool->lock);
  if (code != WG_OK) {
    wg__req_fail(req, &err);
    return;
  }
  if (full) {
    wg_error_set(&err, WG_EXHAUSTED, 0,
                 "database '%s': %zu guests wait for its %u connections already (SQLSTATE 53300)",
                 pool->config->name, queued, c->pool_size);
    wg_error_hint(&err, "raise pool_size or max_waiters of [databases.%s]", pool->config->name);
    plain_words(pool, &err);
    wg__req_fail(req, &err);
    return;
  }
  start_queue_deadline(local, req);
  wg__pool_pump(local);
}

void wg__pool_ask(wg_local *local, wg_db_req *req, const wg_credentials *who) {
  wg_pool *pool = local->pool;
  wg_deadline_init(&req->deadline, NULL);
  req->since_ms = wg__db_now(local->worker);
  for (;;) {
    pthread_mutex_lock(&pool->lock);
    wg_server *srv =
        pool->waiting == 0 ? WG_ITEM(wg_list_first(&local->idle), wg_server, by_local) : NULL;
    bool stale = srv && wg__pool_stale(srv, req->since_ms);
    if (srv) wg__server_enter_locked(srv, SRV_LEASED);
    pthread_mutex_unlock(&pool->lock);
    if (!srv) break;
    wg__server_entered(srv);
    if (stale) {
      wg__server_dismiss(srv, END_POLICY);
      continue;
    }
    if (wg__server_alive(srv)) {
      lease(req, srv);
      return;
    }
    unhealthy(srv, WG_DB_CAUSE_LOST);
  }
  enqueue(local, req, who);
}

/** Fails the guests of this worker that wait for the pool, `most` of them. */
static void fail_own(wg_local *local, size_t most, const wg_error *err) {
  wg_pool *pool = local->pool;
  wg_error mine = *err;
  while (most-- > 0) {
    pthread_mutex_lock(&pool->lock);
    wg_db_req *req = wg__queue_first_of(local);
    if (req) wg__queue_take(req);
    wg__pool_unneeded(pool);
    pthread_mutex_unlock(&pool->lock);
    if (!req) return;
    wg_deadline_stop(&req->deadline);
    wg__req_fail(req, &mine);
  }
}

/* ---- the queue ---- */

/** A LEASED server of nobody: to the first waiter, or idle. */
static void give(wg_server *srv) {
  wg_local *local = srv->local;
  wg_pool *pool = srv->pool;
  wg_db_worker *w = local->worker;
  pthread_mutex_lock(&pool->lock);
  wg_db_req *req = wg__queue_first(pool);
  if (wg__pool_stale(srv, wg__db_now(w))) {
    pthread_mutex_unlock(&pool->lock);
    wg__server_dismiss(srv, END_POLICY);
    wg__pool_pump(local);
    return;
  }
  if (!req) {
    bool passing = pool->shape & WG_WIRE_SHAPE_GUESS || atomic_load(&pool->retiring);
    bool goes_on = w->state == WORKER_RUNNING && !w->freeing;
    bool keep = goes_on && pool->auth != WG_DB_AUTH_RELAY && !passing;
    if (keep) wg__server_enter_locked(srv, SRV_IDLE);
    pthread_mutex_unlock(&pool->lock);
    if (keep) {
      wg__server_entered(srv);
    } else {
      wg__server_dismiss(srv, !goes_on ? END_STOP : passing ? END_POLICY : END_GUEST);
      wg__pool_pump(local); /* somebody on another worker may have come to wait meanwhile */
    }
    return;
  }
  wg__queue_take(req);
  wg_local *to = local_of(req);
  if (to == local) {
    pthread_mutex_unlock(&pool->lock);
    lease(req, srv);
    return;
  }
  /* To another worker: everything of this thread is taken off the server before its inbox has it.
   * That worker cannot be gone: its guest's request was in the queue a moment ago, and a worker
   * that goes takes its requests out under this lock. */
  req->state = REQ_GRANTED;
  wg_list_push_back(&to->granted, &req->node);
  wg__server_enter_locked(srv, SRV_MOVING);
  wg__server_entered(srv);
  wg__server_unwatch(srv);
  wg_list_remove(&w->servers, &srv->by_worker);
  srv->local = to;
  pthread_mutex_lock(&to->worker->inbox_lock);
  wg_list_push_back(&to->worker->inbox, &srv->by_worker);
  pthread_mutex_unlock(&to->worker->inbox_lock);
  wake(to);
  pthread_mutex_unlock(&pool->lock);
  wg__worker_check_drained(w);
}

static void lend(wg_server *srv) {
  if (srv->state != SRV_LEASED) wg__server_enter(srv, SRV_LEASED);
  give(srv);
}

void wg__pool_arrived(wg_server *srv) {
  wg_local *local = srv->local;
  wg_pool *pool = local->pool;
  wg_error err;
  wg_list_push_back(&local->worker->servers, &srv->by_worker);
  wg__server_enter(srv, SRV_LEASED);
  bool fit = wg__server_watch(srv, &err) == WG_OK && wg__server_alive(srv);
  pthread_mutex_lock(&pool->lock);
  wg_db_req *req = req_of(wg_list_first(&local->granted));
  if (req) {
    wg_list_remove(&local->granted, &req->node);
    req->state = REQ_NONE;
    if (!fit) wg__queue_push_front(req->impl2, req);
  }
  pthread_mutex_unlock(&pool->lock);
  if (!fit) {
    unhealthy(srv, WG_DB_CAUSE_LOST);
    wg__pool_pump(local);
  } else if (req) {
    lease(req, srv);
  } else {
    give(srv); /* its guest gave up meanwhile */
  }
}

/** What pump found to do under the lock. */
typedef enum pump_act { PUMP_REST, PUMP_LEND, PUMP_START, PUMP_FAIL, PUMP_RETRY } pump_act;

/** Connections that should be free again by now: a server that is silent for so long while it is
 *  cleaned or checked may be so for good. The lists are in the order in which they were entered. */
static size_t overdue(const wg_pool *pool, uint64_t now) {
  static const wg_server_state states[] = {SRV_FINISHING, SRV_FENCED, SRV_RESETTING, SRV_PINGING};
  size_t late = 0;
  for (size_t i = 0; i < WG_COUNT(states); i++) {
    const wg_list *list = &pool->servers[states[i]];
    for (wg_node *n = wg_list_first(list); n; n = wg_list_next(list, n)) {
      if (now < WG_CONTAINER(n, wg_server, by_state)->since_ms + DB_RETRY_MS) break;
      late++;
    }
  }
  return late;
}

static pump_act pump_decide(wg_local *local, wg_server **srv, wg_error *err) {
  wg_pool *pool = local->pool;
  if (pool->waiting == 0) return PUMP_REST;
  *srv = WG_ITEM(wg_list_first(&local->idle), wg_server, by_local);
  if (*srv) {
    wg__server_enter_locked(*srv, SRV_LEASED);
    return PUMP_LEND;
  }
  if (pool->servers[SRV_IDLE].count) {
    wg_node *n = wg_list_first(&pool->locals);
    while (n && wg_list_empty(&WG_CONTAINER(n, wg_local, by_pool)->idle))
      n = wg_list_next(&pool->locals, n);
    if (n) wake(WG_CONTAINER(n, wg_local, by_pool));
    return PUMP_REST;
  }
  size_t total = wg__pool_total(pool);
  if (total >= limit_of(pool)) return PUMP_REST;
  size_t coming = wg__pool_coming(pool) - overdue(pool, wg__db_now(local->worker));
  if (pool->waiting <= coming) /* those being cleaned come back in a moment, or are overdue then */
    return coming > wg__pool_connecting(pool) ? PUMP_RETRY : PUMP_REST;

  /* The first `coming` turns are provided for; the worker of the next one connects for it. */
  wg_node *n = wg_list_first(&pool->turns);
  for (size_t i = 0; i < coming; i++) {
    n = wg_list_next(&pool->turns, n);
    if (!n) n = wg_list_first(&pool->turns);
  }
  wg_local *next = WG_CONTAINER(n, wg_turn, by_pool)->local;
  if (next != local) {
    wake(next);
    return PUMP_REST;
  }
  if (wg__db_now(local->worker) >= pool->retry_ms) {
    *srv = wg__server_new(local);
    if (*srv) return PUMP_START;
    wg_error_set(err, WG_NOMEM, 0, "database '%s': out of memory", pool->config->name);
    return PUMP_FAIL;
  }
  /* Others will come back: look again after a while. Of a full server the other pool may have them. */
  if (total > 0 || (greets(pool) && pool->full)) return PUMP_RETRY;
  *err = pool->last_error;
  return PUMP_FAIL;
}

void wg__pool_pump(wg_local *local) {
  for (;;) {
    wg_server *srv = NULL;
    wg_error err;
    pthread_mutex_lock(&local->pool->lock);
    pump_act act = pump_decide(local, &srv, &err);
    pthread_mutex_unlock(&local->pool->lock);
    switch (act) {
    case PUMP_REST: return;
    case PUMP_LEND:
      wg__server_entered(srv);
      if (wg__server_alive(srv))
        give(srv);
      else
        unhealthy(srv, WG_DB_CAUSE_LOST);
      break;
    case PUMP_START: wg__server_start(srv); break;
    case PUMP_FAIL: fail_own(local, SIZE_MAX, &err); break; /* then the next worker's turn */
    case PUMP_RETRY:
      if (!local->retry.of) wg_deadline_start(local->retry_class, &local->retry);
      return;
    }
  }
}

static void on_retry(wg_deadline *d) { wg__pool_pump(WG_CONTAINER(d, wg_local, retry)); }

/* ---- what happens to servers ---- */

void wg__pool_on_ready(wg_server *srv) {
  wg_pool *pool = srv->pool;
  if (srv->state == SRV_LOGIN) {
    pthread_mutex_lock(&pool->lock);
    pool->stats.connects++;
    pool->failures = 0;
    pool->retry_ms = 0;
    pool->proved_ms = wg__db_now(srv->local->worker);
    pthread_mutex_unlock(&pool->lock);
    srv->logged_in = true;
    wg__hello_learn(srv);
    wg__care_born(srv);
    wg__tell_connected(srv);
  }
  /* A log-in has the password in it; so does a reset that logs in once more. */
  if (srv->state != SRV_PINGING && srv->out.data) wg_wipe(srv->out.data, srv->out.cap);
  if (srv->state == SRV_RESETTING) wg__tell_reset(srv);
  if (srv->state == SRV_PINGING) { /* keeps its place among the idle, unless somebody waits */
    pthread_mutex_lock(&pool->lock);
    bool rest = pool->waiting == 0 && srv->local->worker->state == WORKER_RUNNING;
    if (rest) wg__server_enter_locked(srv, SRV_IDLE);
    pthread_mutex_unlock(&pool->lock);
    if (rest) {
      wg__server_entered(srv);
      return;
    }
  }
  lend(srv);
}

/** Doubles from failure to failure; between half and the whole of it, so that workers and hosts
 *  do not come back all at once. Attempts that were under way together are one failure of the server.
 *  The lock is held.
 *  @param born  when the attempt began */
static void back_off(wg_pool *pool, uint64_t born, uint64_t now) {
  if (pool->failures && born <= pool->failed_ms) return;
  pool->failed_ms = now;
  uint32_t doublings = pool->failures < 10 ? pool->failures : 10;
  uint64_t ms = (uint64_t)DB_BACKOFF_MIN_MS << doublings;
  if (ms > DB_BACKOFF_MAX_MS) ms = DB_BACKOFF_MAX_MS;
  pool->failures++;
  pool->retry_ms = now + ms / 2 + wg_random_u64() % (ms / 2 + 1);
}

void wg__pool_on_failed(wg_server *srv, const wg_error *failed) {
  wg_local *local = srv->local;
  wg_pool *pool = srv->pool;
  wg_error err = *failed;
  plain_words(pool, &err);
  if (wg__hosts_next(srv, &err)) return;
  uint64_t now = wg__db_now(local->worker);
  wg_db_cause cause = wg__server_cause(srv, &err);
  wg_error_wrap(&err, "database '%s'", pool->config->name);
  if (srv->state == SRV_RESETTING || srv->state == SRV_PINGING) {
    wg_log(
        &local->worker->log, WG_LOG_WARN, "db_unhealthy", WG_KV_S("database", pool->config->name),
        WG_KV_S("during", srv->state == SRV_PINGING ? "ping" : "reset"), WG_KV_S("error", err.msg));
    unhealthy(srv, cause);
    wg__pool_pump(local);
    return;
  }
  /* A server that moved (failover) has another address by now. */
  if (srv->state != SRV_RESOLVING && cause != WG_DB_CAUSE_AUTH) wg__server_distrust(srv);
  uint64_t born = srv->born_ms;
  srv->end = cause;
  wg__server_enter(srv, SRV_CLOSED);
  pthread_mutex_lock(&pool->lock);
  pool->stats.failures++;
  pool->stats.by_cause[cause]++;
  back_off(pool, born, now);
  pool->last_error = err;
  pool->full = cause == WG_DB_CAUSE_BUSY;
  bool others = wg__pool_total(pool) > 0;
  pthread_mutex_unlock(&pool->lock);
  uint32_t held = 0;
  if (wg_log_allow(&local->fail_limit, 1, now, &held))
    wg_log(&local->worker->log, WG_LOG_WARN, "db_connect_failed",
           WG_KV_S("database", pool->config->name), WG_KV_S("error", err.msg),
           WG_KV_S("hint", err.hint), WG_KV_U("suppressed", held));
  /* Without any connection left the queue has nothing to wait for, and pump fails all of it. With
   * some, the guest that this attempt was for gets the answer; but a server that is merely full
   * will serve it through one of those. */
  if (others && cause != WG_DB_CAUSE_BUSY) fail_own(local, 1, &err);
  wg__pool_pump(local);
}

void wg__pool_close(wg_server *srv) {
  if (srv->end == END_UNKNOWN) srv->end = srv->broken ? (unsigned)WG_DB_CAUSE_LOST : END_GUEST;
  if (srv->end < WG_DB_CAUSES) {
    pthread_mutex_lock(&srv->pool->lock);
    srv->pool->stats.by_cause[srv->end]++;
    pthread_mutex_unlock(&srv->pool->lock);
  }
  wg__pool_discard(srv, srv->end);
}

void wg__pool_discard(wg_server *srv, unsigned end) {
  wg_local *local = srv->local;
  srv->end = end;
  wg__server_enter(srv, SRV_CLOSED);
  wg__pool_pump(local); /* there is room for another one now */
}

void wg__pool_lost(wg_server *srv) {
  wg_local *local = srv->local;
  unhealthy(srv, WG_DB_CAUSE_LOST);
  wg__pool_pump(local);
}

/** What becomes of a server that can serve again, and that no session and no cancel request holds. */
static void settle(wg_server *srv, const wg_wire_track *dirty) {
  wg_local *local = srv->local;
  unsigned end = END_UNKNOWN;
  if (wg__care_expired(srv)) end = END_LIFETIME;
  if (dirty && local->pool->config->pool.reset == WG_DB_RESET_CLOSE) end = END_POLICY;
  if (dirty && local->worker->state != WORKER_RUNNING) {
    pthread_mutex_lock(&local->pool->lock);
    if (local->pool->waiting == 0) end = END_STOP;
    pthread_mutex_unlock(&local->pool->lock);
  }
  if (srv->doubtful) end = END_GUEST;
  if (end != END_UNKNOWN) {
    wg__server_bye(srv);
    wg__pool_discard(srv, end);
  } else if (dirty) {
    wg__server_reset(srv, dirty);
  } else {
    give(srv);
  }
}

/** The same, once the cancel requests on their way to it are over. */
static void fence(wg_server *srv, const wg_wire_track *dirty) {
  if (wg_list_empty(&srv->cancels)) {
    settle(srv, dirty);
    return;
  }
  WG_ASSERT(dirty);
  wg__server_enter(srv, SRV_FENCED);
}

void wg__pool_return(wg_server *srv, bool fit, const wg_wire_track *dirty) {
  wg__tell_pool(srv->local);
  if (srv->pool->auth == WG_DB_AUTH_RELAY) fit = false; /* it is of no other guest */
  wg__tell_returned(srv, fit, dirty != NULL);
  if (dirty) srv->left = *dirty;
  bool owing = fit && dirty && !srv->ops->idle(&srv->left);
  if (!fit || (owing && srv->pool->config->pool.reset == WG_DB_RESET_CLOSE)) {
    wg__pool_close(srv);
  } else if (owing) {
    wg__server_enter(srv, SRV_FINISHING);
    wg__server_look(srv); /* nobody has since */
    wg__pool_finish(srv);
  } else {
    fence(srv, dirty ? &srv->left : NULL);
  }
}

void wg__pool_finish(wg_server *srv) {
  while (!srv->ops->idle(&srv->left)) {
    uint8_t rest[4096];
    wg_error ignored;
    if (!srv->readable) {
      wg__server_arm(srv, WG_WATCH_READ | (srv->blocked ? WG_WATCH_WRITE : 0u));
      return;
    }
    ssize_t n = wg__server_read(srv, rest, sizeof rest);
    if (n == -EAGAIN) continue;
    if (n > 0) srv->said += (size_t)n;
    if (n <= 0 || srv->said > DB_FINISH_BYTES ||
        srv->ops->track_server(&srv->left, srv->wire, rest, (size_t)n, &ignored) != WG_WIRE_OK ||
        srv->left.tainted) {
      wg__pool_close(srv);
      return;
    }
  }
  wg__server_enter(srv, SRV_LEASED);
  fence(srv, &srv->left);
}

void wg__pool_unfenced(wg_server *srv) {
  wg__server_enter(srv, SRV_LEASED);
  settle(srv, &srv->left);
}

/* ---- the end ---- */

void wg__pool_free(wg_pool *pool) {
  for (size_t i = 0; i < SRV_STATES; i++) WG_ASSERT(wg_list_empty(&pool->servers[i]));
  WG_ASSERT(wg_list_empty(&pool->locals) && pool->waiting == 0);
  pthread_mutex_destroy(&pool->lock);
  wg_tls_cache_release(&pool->resume);
  wg_scram_cache_release(&pool->keys);
  wg_tls_free(pool->tls);
  wg_secret_release(&pool->password);
  free(pool->user);
  free(pool->database);
  free(pool);
}

bool wg__key_chosen(const wg_database_config *config, uint64_t shape) {
  return config->auth == WG_DB_AUTH_GUEST || !config->database || shape;
}

bool wg__pool_chosen(const wg_pool *pool) { return wg__key_chosen(pool->config, pool->shape); }

bool wg__local_unused(wg_local *local) {
  wg_pool *pool = local->pool;
  pthread_mutex_lock(&pool->lock);
  bool unused = pool->waiting == 0 && wg__pool_total(pool) == 0;
  for (wg_node *n = wg_list_first(&pool->locals); n; n = wg_list_next(&pool->locals, n))
    unused = unused && wg_list_empty(&WG_CONTAINER(n, wg_local, by_pool)->granted);
  pthread_mutex_unlock(&pool->lock);
  return unused;
}

void wg__local_init(wg_local *local, wg_pool *pool, wg_db_worker *w) {
  const wg_pool_config *c = &pool->config->pool;
  wg_node_init(&local->by_pool);
  wg_node_init(&local->by_worker);
  local->pool = pool;
  local->worker = w;
  wg_list_init(&local->idle);
  wg_list_init(&local->granted);
  wg_list_init(&local->turns);
  wg_deadline_init(&local->retry, on_retry);
  wg__care_init(local);
  local->connect = wg_deadlines_class(w->deadlines, c->connect_timeout_ms);
  local->talk = wg_deadlines_class(w->deadlines, DB_RESET_TIMEOUT_MS);
  local->finish = wg_deadlines_class(w->deadlines, DB_FINISH_MS);
  local->retry_class = wg_deadlines_class(w->deadlines, DB_RETRY_MS);
  if (c->slow_wait_ms && c->slow_wait_ms < c->connect_timeout_ms) {
    local->connect_rest = wg_deadlines_class(w->deadlines, c->connect_timeout_ms - c->slow_wait_ms);
    if (local->connect_rest) local->slow = wg_deadlines_class(w->deadlines, c->slow_wait_ms);
  }
  if (c->recv_timeout_ms) local->recv = wg_deadlines_class(w->deadlines, c->recv_timeout_ms);
  if (c->send_timeout_ms) local->send = wg_deadlines_class(w->deadlines, c->send_timeout_ms);
  uint64_t idle_ms = c->idle_timeout_ms, ttl = pool->config->credential_ttl_ms;
  if (pool->auth == WG_DB_AUTH_GUEST && (idle_ms == 0 || ttl < idle_ms)) idle_ms = ttl ? ttl : 1;
  if (idle_ms) local->idle_timeout = wg_deadlines_class(w->deadlines, idle_ms);
  if (c->health_interval_ms)
    local->health = wg_deadlines_class(w->deadlines, c->health_interval_ms);
}

void wg__local_free(wg_local *local) {
  wg_pool *pool = local->pool;
  WG_ASSERT(wg_list_empty(&local->idle) && wg_list_empty(&local->granted));
  wg_deadline_stop(&local->retry);
  wg_deadline_stop(&local->tidy);
  pthread_mutex_lock(&pool->lock);
  pool->stats.received += atomic_load_explicit(&local->received, memory_order_relaxed);
  pool->stats.sent += atomic_load_explicit(&local->sent, memory_order_relaxed);
  wg_list_remove(&pool->locals, &local->by_pool);
  pthread_mutex_unlock(&pool->lock);
  wg_list_remove(&local->worker->locals, &local->by_worker);
  free(local);
}
