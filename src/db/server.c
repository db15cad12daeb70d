/* SPDX-License-Identifier: Apache-2.0 */
#include "db/db_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One connection to a server, from its name (dial.c) to its end:
 *
 *   RESOLVING --addresses--> DIALING --connected--> SECURING --TLS--> LOGIN --ready--+
 *                  (one address after the other) \--no TLS wanted------^            v
 *      +------------------ free: wg__pool_on_ready() <-------------------------------+
 *      |                                ^       ^
 *      +--> LEASED --guest left-- RESETTING     |
 *      |    LEASED --guest left, an answer did not--> FINISHING --it came--> LEASED
 *      |    LEASED --guest left, cancel requests under way--> FENCED --they ended--> LEASED
 *      +--> IDLE --lease--> LEASED              |
 *      |    IDLE --quiet for long--> PINGING ---+
 *      +--> MOVING --arrived on the worker of the waiter--> LEASED
 *
 *   any --failure | closed by the server | reaped | cut--> CLOSED, freed
 *
 * The fd is a raw one, so that a connection can change workers; its watch belongs to a worker. */

static void on_watch(void *user, unsigned events);
static void on_step_expired(wg_deadline *d);
static void on_idle_end(wg_deadline *d);
static void on_next_ping(wg_deadline *d);

wg_wire_server *wg__server_wire(wg_pool *pool) {
  bool guest = pool->auth == WG_DB_AUTH_GUEST;
  wg_wire_login login = {.user = pool->user,
                         .database = pool->database,
                         .password = guest ? &pool->password : &pool->config->password,
                         .keys = &pool->keys,
                         .shape = pool->shape,
                         .binding = pool->config->tls.channel_binding};
  return pool->ops->server_new(&login);
}

static _Atomic uint64_t next_id = 1;

wg_server *wg__server_new(wg_local *local) {
  wg_server *srv = calloc(1, sizeof *srv);
  if (!srv) return NULL;
  wg_pool *pool = local->pool;
  srv->ops = pool->ops;
  srv->wire = wg__server_wire(pool);
  if (!srv->wire) {
    free(srv);
    return NULL;
  }
  srv->pool = pool;
  srv->local = local;
  srv->id = atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
  srv->born_ms = srv->since_ms = wg__db_now(local->worker);
  srv->end = END_UNKNOWN;
  srv->fd = -1;
  wg_node_init(&srv->by_state);
  wg_node_init(&srv->by_local);
  wg_node_init(&srv->by_worker);
  wg_node_init(&srv->by_busy);
  wg_list_init(&srv->cancels);
  wg_deadline_init(&srv->step, on_step_expired);
  wg_deadline_init(&srv->idle_end, on_idle_end);
  wg_deadline_init(&srv->next_ping, on_next_ping);
  wg_buf_init(&srv->in, WG_WIRE_IN_MAX);
  wg_buf_init(&srv->out, WG_WIRE_OUT_MAX);
  srv->state = SRV_RESOLVING;
  wg__hosts_begin(srv);
  wg_list_push_back(&pool->servers[SRV_RESOLVING], &srv->by_state);
  wg_list_push_back(&local->worker->servers, &srv->by_worker);
  return srv;
}

/* ---- the mover ---- */

static bool may_enter(wg_server_state from, wg_server_state to) {
  if (from == SRV_CLOSED) return false;
  switch (to) {
  case SRV_RESOLVING: /* the next one of a list */ return from <= SRV_LOGIN;
  case SRV_DIALING: /* from the others: the same address once more */
    return from == SRV_RESOLVING || from == SRV_SECURING || from == SRV_LOGIN;
  case SRV_SECURING: return from == SRV_DIALING;
  case SRV_LOGIN: return from == SRV_DIALING || from == SRV_SECURING;
  case SRV_IDLE:
    return from == SRV_LOGIN || from == SRV_LEASED || from == SRV_RESETTING || from == SRV_PINGING;
  case SRV_LEASED:
    return from == SRV_LOGIN || from == SRV_IDLE || from == SRV_RESETTING || from == SRV_PINGING ||
           from == SRV_MOVING || from == SRV_FINISHING || from == SRV_FENCED;
  case SRV_FINISHING:
  case SRV_FENCED:
  case SRV_RESETTING: return from == SRV_LEASED;
  case SRV_PINGING: return from == SRV_IDLE;
  case SRV_MOVING:
    return from == SRV_LOGIN || from == SRV_LEASED || from == SRV_RESETTING || from == SRV_PINGING;
  case SRV_CLOSED: return true;
  }
  return false;
}

/** Most recently used first; a server that was only pinged keeps its place. */
static void idle_insert(wg_list *idle, wg_server *srv) {
  wg_node *at = idle->head.next;
  while (at != &idle->head && WG_CONTAINER(at, wg_server, by_local)->idle_ms > srv->idle_ms)
    at = at->next;
  wg__node_between(&srv->by_local, at->prev, at);
  idle->count++;
}

void wg__server_enter_locked(wg_server *srv, wg_server_state next) {
  wg_pool *pool = srv->pool;
  WG_ASSERT(may_enter(srv->state, next));
  wg_list_remove(&pool->servers[srv->state], &srv->by_state);
  if (srv->state == SRV_IDLE) wg_list_remove(&srv->local->idle, &srv->by_local);
  srv->since_ms = wg__db_now(srv->local->worker);
  if (srv->state != SRV_PINGING && next == SRV_IDLE) srv->idle_ms = srv->since_ms;
  if (srv->state == SRV_RESETTING && next != SRV_CLOSED) pool->stats.resets++;
  srv->state = next;
  if (next == SRV_CLOSED) {
    wg__pool_unneeded(pool);
    return;
  }
  wg_list_push_back(&pool->servers[next], &srv->by_state);
  if (next == SRV_IDLE) idle_insert(&srv->local->idle, srv);
}

static void server_free(wg_server *srv) {
  wg_list_remove(&srv->local->worker->servers, &srv->by_worker);
  wg__cancels_orphan(srv);
  if (srv->watch) wg__server_unwatch(srv);
  wg_tls_close(srv->tls);
  if (srv->fd >= 0) close(srv->fd);
  srv->ops->server_free(srv->wire);
  wg_buf_release(&srv->in);
  if (srv->out.data) wg_wipe(srv->out.data, srv->out.cap); /* a password may have been in it */
  wg_buf_release(&srv->out);
  free(srv->addresses);
  free(srv);
}

/** It computes no more. */
static void rest(wg_server *srv) {
  if (wg_node_linked(&srv->by_busy)) wg_list_remove(&srv->local->worker->busy, &srv->by_busy);
}

void wg__server_entered(wg_server *srv) {
  wg_local *local = srv->local;
  srv->said = 0;
  rest(srv);
  wg_deadline_stop(&srv->step);
  wg_deadline_stop(&srv->next_ping);
  if (srv->state != SRV_IDLE && srv->state != SRV_PINGING) wg_deadline_stop(&srv->idle_end);
  switch (srv->state) {
  case SRV_RESOLVING:
  case SRV_SECURING:
  case SRV_LOGIN: wg_deadline_start(wg__hosts_share(srv), &srv->step); break;
  case SRV_DIALING: break; /* each address has its own share of the time */
  case SRV_IDLE:
    if (!srv->idle_end.of) wg_deadline_start(local->idle_timeout, &srv->idle_end);
    wg_deadline_start(local->health, &srv->next_ping);
    if (srv->life_end_ms || srv->pool->config->pool.min_idle) wg__care_start(local);
    wg__server_arm(srv, WG_WATCH_READ); /* a server that hangs up is noticed at once */
    break;
  case SRV_RESETTING:
  case SRV_PINGING: wg_deadline_start(local->talk, &srv->step); break;
  case SRV_FINISHING: wg_deadline_start(local->finish, &srv->step); break;
  case SRV_LEASED:
  case SRV_FENCED: /* cancel requests have deadlines of their own */
  case SRV_MOVING: break;
  case SRV_CLOSED: {
    wg_db_worker *w = local->worker;
    wg__tell_closed(srv);
    server_free(srv);
    wg__worker_check_drained(w);
    break;
  }
  }
}

void wg__server_enter(wg_server *srv, wg_server_state next) {
  wg_pool *pool = srv->pool;
  if (next == SRV_CLOSED && srv->resolving) wg_dns_cancel(srv->local->worker->dns, &srv->dns);
  pthread_mutex_lock(&pool->lock);
  wg__server_enter_locked(srv, next);
  pthread_mutex_unlock(&pool->lock);
  wg__server_entered(srv);
}

/* ---- bytes ---- */

/** Counts what was read or written, and remembers an end. */
static ssize_t moved(wg_server *srv, _Atomic uint64_t *counter, ssize_t n) {
  if (n > 0)
    wg__local_count(counter, (size_t)n);
  else if (n != -EAGAIN)
    srv->broken = true;
  return n;
}

static ssize_t plain_read(wg_server *srv, uint8_t *p, size_t cap) {
  ssize_t n;
  do n = recv(srv->fd, p, cap, 0);
  while (n < 0 && errno == EINTR);
  if (n < 0) {
    int sys = errno;
    if (sys == EAGAIN || sys == EWOULDBLOCK) {
      srv->readable = false;
      return -EAGAIN;
    }
    return -sys;
  }
  /* A short read has drained the socket: the next read would only say EAGAIN. The end of the
   * stream stays readable. */
  if (n > 0 && (size_t)n < cap) srv->readable = false;
  return n;
}

ssize_t wg__server_read(wg_server *srv, uint8_t *p, size_t cap) {
  ssize_t n = srv->tls ? wg_tls_read(srv->tls, p, cap, &srv->readable) : plain_read(srv, p, cap);
  return moved(srv, &srv->local->received, n);
}

static ssize_t server_write(wg_server *srv, const uint8_t *p, size_t n) {
  ssize_t done;
  if (srv->tls) {
    done = wg_tls_write(srv->tls, p, n, &srv->blocked);
    if (srv->blocked) /* what was taken goes out by itself */
      wg__server_arm(srv, wg_tls_waits(srv->tls));
    return done;
  }
  do done = send(srv->fd, p, n, MSG_NOSIGNAL);
  while (done < 0 && errno == EINTR);
  if (done < 0) {
    int sys = errno;
    if (sys != EAGAIN && sys != EWOULDBLOCK) return -sys;
    srv->blocked = true;
    return -EAGAIN;
  }
  srv->blocked = (size_t)done < n;
  return done;
}

ssize_t wg__server_write(wg_server *srv, const uint8_t *p, size_t n) {
  return moved(srv, &srv->local->sent, server_write(srv, p, n));
}

void wg__server_look(wg_server *srv) {
  srv->readable = true;
  if (srv->tls) wg_tls_readable(srv->tls);
}

bool wg__server_flush(wg_server *srv) {
  if (srv->out.failed) return false; /* out of memory: half a request is worse than none */
  while (wg_buf_len(&srv->out) && !srv->blocked) {
    ssize_t n = wg__server_write(srv, wg_buf_head(&srv->out), wg_buf_len(&srv->out));
    if (n == -EAGAIN) break;
    if (n < 0) return false;
    wg_buf_consume(&srv->out, (size_t)n);
  }
  return true;
}

bool wg__server_fill(wg_server *srv, int *sys) {
  *sys = 0;
  while (srv->readable && srv->said <= WG_WIRE_SAID_MAX) {
    size_t room = srv->in.max - wg_buf_len(&srv->in);
    if (room > 4096) room = 4096;
    if (room == 0) return true; /* full: the codec finds out what is wrong with it */
    uint8_t *p = wg_buf_reserve(&srv->in, room);
    if (!p) {
      *sys = ENOMEM;
      return false;
    }
    ssize_t n = wg__server_read(srv, p, room);
    if (n == -EAGAIN) return true;
    if (n <= 0) {
      *sys = (int)-n;
      return false;
    }
    wg_buf_commit(&srv->in, (size_t)n);
    srv->said += (size_t)n;
  }
  return true;
}

bool wg__server_babbles(const wg_server *srv, wg_error *err) {
  if (srv->said <= WG_WIRE_SAID_MAX) return false;
  wg_error_set(err, WG_PROTOCOL, 0,
               "the server said more than %d MiB without coming to an end (SQLSTATE 08P01)",
               WG_WIRE_SAID_MAX >> 20);
  return true;
}

bool wg__server_alive(wg_server *srv) {
  char byte;
  ssize_t n;
  if (srv->tls) {
    srv->readable = !wg_tls_silent(srv->tls);
    return !srv->readable;
  }
  do n = recv(srv->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  srv->readable = false;
  return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void wg__server_bye(wg_server *srv) {
  if (srv->pool->auth == WG_DB_AUTH_RELAY && !srv->session)
    return; /* perhaps nobody has logged in */
  srv->ops->bye(srv->wire, &srv->out);
  wg__server_flush(srv);
}

void wg__server_dismiss(wg_server *srv, unsigned end) {
  srv->end = end;
  wg__server_bye(srv);
  wg__server_enter(srv, SRV_CLOSED);
}

/* ---- readiness ---- */

wg_code wg__server_watch(wg_server *srv, wg_error *err) {
  const wg_loop *loop = srv->local->worker->loop;
  wg_code code = loop->watch->start(loop->watch_ctx, srv->fd, on_watch, srv, &srv->watch, err);
  if (code == WG_OK && srv->tls && wg_tls_waits(srv->tls))
    wg__server_arm(srv, wg_tls_waits(srv->tls));
  return code;
}

void wg__server_unwatch(wg_server *srv) {
  const wg_loop *loop = srv->local->worker->loop;
  loop->watch->stop(loop->watch_ctx, srv->watch);
  srv->watch = NULL;
}

void wg__server_arm(wg_server *srv, unsigned events) {
  const wg_loop *loop = srv->local->worker->loop;
  loop->watch->arm(loop->watch_ctx, srv->watch, events);
}

/* ---- our own talk: log-in, reset, ping ---- */

void wg__server_fail(wg_server *srv, wg_code code, int sys, const char *sqlstate,
                     const char *what) {
  wg_error err;
  wg_error_set(&err, code, sys, "%s%s%s (SQLSTATE %s)", what, sys ? ": " : "",
               sys ? strerror(sys) : "", sqlstate);
  wg__pool_on_failed(srv, &err);
}

void wg__server_login(wg_server *srv) {
  wg__server_enter(srv, SRV_LOGIN);
  if (srv->pool->auth != WG_DB_AUTH_RELAY) {
    wg__server_talk(srv);
  } else if (srv->ops->hello && wg__secure_wanted(srv)) { /* its first words came before TLS */
    wg__server_fail(srv, WG_UNSUPPORTED, 0, "08001",
                    "auth = \"relay\" over TLS is not available with this protocol");
  } else {
    wg__pool_on_ready(srv); /* the guest does */
  }
}

static void server_lost(wg_server *srv, int sys) {
  const char *sqlstate = srv->state == SRV_LOGIN ? "08001" : "08006";
  const wg_error *why = srv->tls ? wg_tls_why(srv->tls) : NULL;
  if (!why) {
    wg__server_fail(srv, WG_LOST, sys, sqlstate, "the server closed the connection");
    return;
  }
  wg_error err;
  wg_error_set(&err, why->code, 0, "TLS: %.400s (SQLSTATE %s)", why->msg, sqlstate);
  wg_error_hint(&err, "%s", why->hint);
  wg__pool_on_failed(srv, &err);
}

void wg__server_talk(wg_server *srv) {
  for (bool last = false;;) {
    wg_error err;
    int sys = 0;
    bool up = wg__server_fill(srv, &sys);
    wg_wire_step step = srv->state == SRV_LOGIN
                            ? srv->ops->login(srv->wire, &srv->in, &srv->out, &err)
                            : srv->ops->reply(srv->wire, &srv->in, &srv->out, &err);
    if (step == WG_WIRE_ERROR) {
      /* The proof was bound to the certificate of that session; the server may have a new one. */
      if (srv->tls && srv->state == SRV_LOGIN && wg_tls_resumed(srv->tls)) wg_tls_forget(srv->tls);
      if (srv->wire->fault == WG_WIRE_FAULT_AUTH && srv->pool->auth == WG_DB_AUTH_GUEST)
        wg_error_hint(&err, "user and password are the guest's own: auth = \"guest\"");
      if (!wg__secure_again(srv)) wg__pool_on_failed(srv, &err);
      return;
    }
    if (step == WG_WIRE_OK && up) {
      if (wg_buf_len(&srv->in)) { /* it says more than was asked: not to be trusted with a guest */
        wg__server_fail(srv, WG_PROTOCOL, 0, "08P01", "the server sent more than was asked for");
        return;
      }
      if (wg__hosts_fit(srv, &err)) {
        wg__pool_on_ready(srv);
      } else {
        wg__server_bye(srv);
        wg__pool_on_failed(srv, &err);
      }
      return;
    }
    if (wg__server_babbles(srv, &err)) {
      wg__pool_on_failed(srv, &err);
      return;
    }
    if (!up || !wg__server_flush(srv)) {
      if (up && !last) { /* what it said before it went may still be there to read */
        wg__server_look(srv);
        last = true;
        continue;
      }
      server_lost(srv, sys);
      return;
    }
    if (step == WG_WIRE_BUSY) {
      wg_db_worker *w = srv->local->worker;
      if (!wg_node_linked(&srv->by_busy)) wg_list_push_back(&w->busy, &srv->by_busy);
      uv_async_send(&w->wake);
    } else if (srv->readable) {
      continue;
    }
    wg__server_arm(srv, WG_WATCH_READ | (srv->blocked ? WG_WATCH_WRITE : 0u));
    return;
  }
}

void wg__server_reset(wg_server *srv, const wg_wire_track *track) {
  wg__server_enter(srv, SRV_RESETTING);
  srv->ops->reset(srv->wire, track, &srv->out);
  wg__server_talk(srv);
}

void wg__server_ping(wg_server *srv) {
  wg__server_enter(srv, SRV_PINGING);
  srv->ops->ping(srv->wire, &srv->out);
  wg__server_talk(srv);
}

/* ---- events ---- */

static void on_watch(void *user, unsigned events) {
  wg_server *srv = user;
  if (srv->tls && (events = wg__secure_ready(srv, events)) == 0) return;
  if (events & WG_WATCH_READ) srv->readable = true;
  if (events & WG_WATCH_WRITE) srv->blocked = false;
  switch (srv->state) {
  case SRV_DIALING: wg__dial_answered(srv); break;
  case SRV_SECURING: wg__secure_talk(srv); break;
  case SRV_LOGIN:
  case SRV_RESETTING:
  case SRV_PINGING: wg__server_talk(srv); break;
  case SRV_IDLE: /* nobody asked it anything: it hangs up, or says why it will; or nothing at all */
    if (wg__server_alive(srv))
      wg__server_arm(srv, WG_WATCH_READ);
    else
      wg__pool_lost(srv);
    break;
  case SRV_LEASED:
    if (srv->session) wg__session_on_ready(srv->session, events);
    break;
  case SRV_FINISHING: wg__pool_finish(srv); break;
  case SRV_FENCED: break; /* the reset finds out what it said */
  case SRV_RESOLVING:
  case SRV_MOVING:
  case SRV_CLOSED: WG_ASSERT(false); break; /* no watch there */
  }
}

static void on_step_expired(wg_deadline *d) {
  wg_server *srv = WG_CONTAINER(d, wg_server, step);
  switch (srv->state) {
  case SRV_DIALING: wg__dial_expired(srv); break;
  case SRV_RESOLVING:
    wg__server_fail(srv, WG_TIMEOUT, 0, "08001", "the server's name was not resolved in time");
    break;
  case SRV_SECURING:
    wg__server_fail(srv, WG_TIMEOUT, 0, "08001",
                    srv->tls ? "TLS: the server did not finish the handshake in time"
                             : "TLS: the server did not answer the request for it in time");
    break;
  case SRV_LOGIN:
    wg__server_fail(srv, WG_TIMEOUT, 0, "08001", "the server did not answer the log-in in time");
    break;
  case SRV_RESETTING:
  case SRV_PINGING:
    wg__server_fail(srv, WG_TIMEOUT, 0, "08006", "the server did not answer in time");
    break;
  case SRV_FINISHING: wg__pool_close(srv); break;
  case SRV_IDLE:
  case SRV_LEASED:
  case SRV_FENCED:
  case SRV_MOVING:
  case SRV_CLOSED: WG_ASSERT(false); break;
  }
}

static void on_idle_end(wg_deadline *d) { wg__pool_reap(WG_CONTAINER(d, wg_server, idle_end)); }
static void on_next_ping(wg_deadline *d) { wg__pool_health(WG_CONTAINER(d, wg_server, next_ping)); }
