/* SPDX-License-Identifier: Apache-2.0 */
#include "db/db_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A guest's handle, from the lease of a server to the guest's goodbye:
 *
 *   STARTING --start-up is whole--> QUEUED --the pool gives a server--> GREETING
 *      |                              \--refused--> LOST
 *   STARTING --the server is to be heard before the guest is greeted--> QUEUED --heard--> STARTING
 *   GREETING --the guest needs a connection of another shape--> QUEUED
 *   GREETING --start-up answered--> RUNNING --Terminate | shutdown--> ENDED
 *      |  \--parameters to set--> SETTING --taken--> RUNNING
 *      |                            |   \--refused--> ENDED
 *      |                            \--refused, and the guest may try otherwise--> GREETING
 *      +--refused--> ENDED
 *      +--shutdown--> LOST
 *   ENDED --all that is owed was read: the server goes back--> LOST
 *   STARTING | GREETING --cancel request--> CANCELING (without a server) --it is over--> LOST
 *   any --server gone | protocol violation--> LOST
 *   any --close | guest gone--> freed; its server is reset, or closed when in doubt
 *
 * In RUNNING bytes pass straight between the guest's memory and the socket: the codec walks over
 * them to know where messages end, and that is all. No queue, no allocation, no lock; a round trip
 * is write, wait, read. After a short read the socket counts as drained, so the next recv answers
 * WG_AGAIN without asking the kernel, and the wait arms the watch. */

void wg__session_enter(wg_session *s, wg_session_state next) {
  switch (next) {
  case SES_STARTING: WG_ASSERT(s->state == SES_QUEUED && !s->srv); break;
  case SES_QUEUED:
    WG_ASSERT(s->state == SES_STARTING || (s->state == SES_GREETING && !s->srv));
    break;
  case SES_GREETING:
    WG_ASSERT((s->state == SES_QUEUED || s->state == SES_SETTING) && s->srv);
    break;
  case SES_SETTING: WG_ASSERT(s->state == SES_GREETING); break;
  case SES_CANCELING: WG_ASSERT(!s->srv); break;
  case SES_RUNNING: WG_ASSERT(s->state == SES_GREETING || s->state == SES_SETTING); break;
  case SES_ENDED: WG_ASSERT(s->state != SES_ENDED && s->state != SES_LOST); break;
  case SES_LOST: WG_ASSERT(s->state != SES_LOST && !s->srv); break;
  }
  wg_deadline_stop(&s->talk);
  s->state = next;
  if (next != SES_SETTING) return;
  const wg_local *local = s->srv->local;
  bool relay = local->pool->auth == WG_DB_AUTH_RELAY; /* a log-in begins: as long as any may take */
  wg_deadline_start(relay ? local->connect : local->talk, &s->talk);
}

/* ---- handles ---- */

/** NULL: it is not open in this instance. */
static wg_session *session_of(const wg_db_guest *g, uint64_t handle) {
  size_t index = handle & 0xFFFF;
  wg_session *s = index < g->slot_count ? g->slots[index] : NULL;
  return s && s->handle == handle ? s : NULL;
}

static wg_session *session_find(wg_db_guest *g, uint64_t handle, wg_error *err) {
  wg_session *s = session_of(g, handle);
  if (s) return s;
  wg_error_set(err, WG_INVALID, 0, "handle %llu is not open in this instance",
               (unsigned long long)handle);
  return NULL;
}

static bool slot_take(wg_db_guest *g, wg_session *s) {
  size_t i = 0;
  while (i < g->slot_count && g->slots[i]) i++;
  if (i == g->slot_count) {
    size_t more = g->slot_count ? g->slot_count * 2 : 8;
    wg_session **slots = realloc(g->slots, more * sizeof *slots);
    if (!slots) return false;
    memset(slots + g->slot_count, 0, (more - g->slot_count) * sizeof *slots);
    g->slots = slots;
    g->slot_count = more;
  }
  g->slots[i] = s;
  s->handle = g->worker->next_serial++ << 16 | i; /* serials begin at 1: never 0, never reused */
  return true;
}

/* ---- requests ---- */

/** @param events  what is waited for; 0: a connect */
static void req_add(wg_db_guest *g, wg_db_req *req, unsigned events,
                    void (*done)(wg_db_req *req, const wg_error *err), void *user) {
  *req = (wg_db_req){.done = done, .user = user, .impl = g, .state = REQ_NONE, .events = events};
  wg_node_init(&req->node);
  wg_node_init(&req->by_guest);
  wg_list_push_back(events ? &g->waits : &g->connects, &req->by_guest);
}

static void req_remove(wg_db_guest *g, wg_db_req *req) {
  wg_list_remove(req->events ? &g->waits : &g->connects, &req->by_guest);
}

static void req_end(wg_db_req *req, const wg_error *err) {
  req_remove(req->impl, req);
  req->done(req, err);
}

void wg__req_fail(wg_db_req *req, const wg_error *err) {
  if (req->session)
    wg__session_refuse(req->session, err);
  else
    req_end(req, err);
}

static void wait_unlink(wg_session *s, wg_db_req *req) {
  wg_deadline_stop(&req->deadline);
  s->waiting[req->events == WG_WATCH_WRITE] = NULL;
  req->state = REQ_NONE;
}

/** Ends the waits of the given directions. The callbacks may close the session or free the guest:
 *  guard what is needed afterwards. */
static void session_wake(wg_session *s, unsigned events, const wg_error *err) {
  wg_db_guest *g = s->guest;
  wg_db_req *rd = (events & WG_WATCH_READ) ? s->waiting[0] : NULL;
  wg_db_req *wr = (events & WG_WATCH_WRITE) ? s->waiting[1] : NULL;
  if (rd && wr) {
    wg_guard guard = {s, g->worker->guards};
    wg_db_worker *w = g->worker;
    w->guards = &guard;
    wait_unlink(s, rd);
    req_end(rd, err);
    w->guards = guard.next;
    if (!guard.s) return;
    rd = NULL;
    wr = s->waiting[1];
  }
  wg_db_req *one = rd ? rd : wr;
  if (!one) return;
  wait_unlink(s, one);
  req_end(one, err);
}

static bool session_readable(const wg_session *s);
static bool session_writable(const wg_session *s);

static unsigned session_ready(const wg_session *s) {
  return (session_readable(s) ? WG_WATCH_READ : 0u) | (session_writable(s) ? WG_WATCH_WRITE : 0u);
}

/** Ends the waits that the session's new state has an answer for. */
void wg__session_changed(wg_session *s) {
  if (s->waiting[0] || s->waiting[1]) session_wake(s, session_ready(s), NULL);
}

/* ---- the end of a session ---- */

/** Takes the server away from the session. */
wg_server *wg__session_detach(wg_session *s) {
  wg__cancel_void(s);
  wg_server *srv = s->srv;
  s->srv = NULL;
  if (srv) srv->session = NULL;
  return srv;
}

/** The server is of no more use: the guest reads what it was already told, then why, then the
 *  end. Waiters are woken; the caller must not use `s` afterwards unless guarded. */
void wg__session_lose(wg_session *s, const char *why) {
  const wg_wire_track *t = &s->wire->track;
  wg_server *srv = wg__session_detach(s);
  WG_ASSERT(srv);
  wg_log(&s->guest->worker->log, WG_LOG_INFO, "db_session_lost",
         WG_KV_S("database", srv->pool->config->name), WG_KV_S("error", why));
  s->cut = t->server.have != 0 || t->server.left != 0;
  bool told = s->state == SES_ENDED;
  wg__session_enter(s, SES_LOST);
  if (!told) srv->ops->farewell(t, why, &s->to_guest);
  if (s->to_guest.failed) { /* out of memory: no part of an answer instead of half of one */
    wg_buf_clear(&s->to_guest);
    s->cut = true;
  }
  wg_guard guard = {s, s->guest->worker->guards};
  wg_db_worker *w = s->guest->worker;
  w->guards = &guard;
  wg__pool_close(srv);
  w->guards = guard.next;
  if (guard.s) wg__session_changed(s);
}

void wg__session_cut(wg_session *s, const wg_error *err) { wg__session_lose(s, err->msg); }

/** A session without a server gets none: the guest reads why, then the end. */
void wg__session_refuse(wg_session *s, const wg_error *why) {
  wg_log(&s->guest->worker->log, WG_LOG_INFO, "db_session_refused", WG_KV_S("error", why->msg));
  wg__session_enter(s, SES_LOST);
  s->wire->ops->refuse(s->wire, why, &s->to_guest);
  s->swallowed = true;
  wg__session_changed(s);
}

/** Whether the next guest can have the server, at once or when it has said what it owes. A driver that
 *  met an error, say, closes in front of the ReadyForQuery behind it. */
static bool session_fit(const wg_session *s, const wg_server *srv) {
  const wg_wire_track *t = &s->wire->track;
  if (srv->ops->idle(t)) return s->state != SES_SETTING;
  /* What waits for others would take from them what nobody reads. */
  return (s->state == SES_RUNNING || s->state == SES_ENDED) && !srv->ops->unfinished(t) &&
         !t->patient && !srv->blocked && !srv->broken;
}

/** Frees the session; its server goes back to the pool when the protocol is idle. No wait may be
 *  linked any more. */
static void session_free(wg_session *s) {
  wg_db_guest *g = s->guest;
  wg_server *srv = wg__session_detach(s);
  for (wg_guard *guard = g->worker->guards; guard; guard = guard->next)
    if (guard->s == s) guard->s = NULL;
  WG_ASSERT(!s->waiting[0] && !s->waiting[1]);
  wg_deadline_stop(&s->talk);
  if (s->state == SES_QUEUED) wg__pool_forget(&s->lease);
  wg__cancel_forget(s);
  g->slots[s->handle & 0xFFFF] = NULL;
  wg_list_remove(&g->sessions, &s->by_guest);
  if (srv) wg__session_return(s, srv, session_fit(s, srv));
  if (s->wire) s->wire->ops->guest_free(s->wire);
  wg_buf_release(&s->to_guest);
  free(s->host);
  free(s->given_user);
  wg_secret_release(&s->given);
  free(s);
}

/* ---- connect ---- */

/** NULL: out of memory. */
static wg_session *session_new(wg_db_guest *g, const wg_wire_ops *ops, wg_session_state state) {
  wg_session *s = calloc(1, sizeof *s);
  if (s) s->wire = ops->guest_new();
  if (!s || !s->wire || !slot_take(g, s)) {
    if (s && s->wire) ops->guest_free(s->wire);
    free(s);
    return NULL;
  }
  s->guest = g;
  s->state = state;
  wg_deadline_init(&s->talk, wg__startup_expired);
  wg_buf_init(&s->to_guest, WG_WIRE_OUT_MAX);
  wg_node_init(&s->by_guest);
  wg_node_init(&s->by_key);
  wg_list_push_back(&g->sessions, &s->by_guest);
  return s;
}

void wg__session_bind(wg_session *s, wg_server *srv) {
  s->srv = srv;
  srv->session = s;
}

void wg__session_granted(wg_db_req *req, wg_server *srv) {
  if (req->session) {
    wg__startup_leased(req->session, srv);
    return;
  }
  wg_db_guest *g = req->impl;
  const wg_database_config *config = srv->pool->config;
  /* It was met, and what the guest needs it says then: it may take its time, the server is others'. */
  bool met = (srv->pool->shape & WG_WIRE_SHAPE_GUESS) && config->database;
  wg_session *s = session_new(g, srv->ops, met ? SES_STARTING : SES_GREETING);
  if (!s) {
    wg__pool_return(srv, true, NULL);
    wg_error err;
    wg_error_set(&err, WG_NOMEM, 0, "connect: out of memory");
    req_end(req, &err);
    return;
  }
  if (met)
    s->config = config;
  else
    wg__session_bind(s, srv);
  req->handle = s->handle;
  wg_error ignored; /* the guest reads it */
  if (srv->ops->hello) (void)wg__startup_take(s, NULL, 0, &ignored);
  if (met) wg__pool_return(srv, true, NULL);
  req_end(req, NULL);
}

/** @param more  connections about to be made, those in progress not counted */
static wg_code check_room(const wg_db_guest *g, size_t more, wg_error *err) {
  if (g->sessions.count + g->connects.count + more <= DB_SESSIONS_MAX) return WG_OK;
  return wg_error_set(err, WG_EXHAUSTED, 0,
                      "connect: this instance has %d connections open already", DB_SESSIONS_MAX);
}

/** Guests that log in for themselves do so in their start-up, so the handle comes at once. */
static void connect_late(wg_db_guest *g, const wg_database_config *config,
                         const wg_db_target *target, wg_db_req *req) {
  wg_session *s = session_new(g, wg_wire_of(config->protocol), SES_STARTING);
  wg_error err;
  wg_code code = s ? WG_OK : WG_NOMEM;
  if (s) {
    s->config = config;
    if (config->auth == WG_DB_AUTH_GUEST && target->user_len && target->password_len) {
      s->given_user = strndup(target->user, target->user_len);
      code = s->given_user ? wg_secret_set(&s->given, target->password, target->password_len, &err)
                           : WG_NOMEM;
    }
  }
  if (code != WG_OK) {
    if (s) session_free(s);
    wg_error_set(&err, WG_NOMEM, 0, "connect: out of memory");
    req_end(req, &err);
    return;
  }
  req->handle = s->handle;
  wg__startup_greet(s);
  req_end(req, NULL);
}

void wg_db_connect(wg_db_guest *g, const wg_db_target *target, wg_db_req *req,
                   void (*done)(wg_db_req *req, const wg_error *err), void *user) {
  const wg_database_config *config;
  wg_local *local = NULL;
  wg_error err;
  req_add(g, req, 0, done, user);
  wg_code code = wg__target_match(g->worker->db->config, target, &config, &err);
  if (code == WG_REFUSED && wg__loopback_meant(g->worker->db, target))
    code = wg__loopback_match(g->worker, target, &config, &err);
  if (code == WG_OK && g->worker->state != WORKER_RUNNING)
    code = wg_error_set(&err, WG_REFUSED, 0, "database '%s': the host is stopping", config->name);
  if (code == WG_OK) code = check_room(g, 0, &err);
  if (code == WG_OK && config->auth != WG_DB_AUTH_SERVICE) {
    connect_late(g, config, target, req);
    return;
  }
  if (code == WG_OK)
    code = wg__worker_pool(g->worker, config, target->database, target->database_len, NULL,
                           wg__hello_guess(g->worker->db, config), &local, &err);
  if (code == WG_OK)
    wg__pool_ask(local, req, NULL);
  else
    req_end(req, &err);
}

wg_code wg_db_open(wg_db_guest *g, const char *host, size_t host_len, uint16_t port,
                   uint64_t *handle, wg_error *err) {
  wg_db_protocol protocol;
  size_t len = host_len;
  if (host_len == 0 || host_len > WG_DNS_NAME_MAX)
    return wg_error_set(err, WG_INVALID, 0, "connect: the host has %zu bytes, 1 to 253 are taken",
                        host_len);
  if (!wg__target_at(g->worker->db->config, host, &len, port, &protocol))
    return wg_error_set(err, WG_NOT_FOUND, 0, "connect: no database is declared at %.*s:%u",
                        (int)host_len, host, port);
  const wg_wire_ops *ops = wg_wire_of(protocol);
  if (!ops)
    return wg_error_set(err, WG_REFUSED, 0, "connect: this version does not speak %s (%.*s:%u)",
                        wg_db_protocol_name(protocol), (int)host_len, host, port);
  wg_code code = check_room(g, 1, err);
  if (code != WG_OK) return code;
  char *copy = strndup(host, len);
  wg_session *s = copy ? session_new(g, ops, SES_STARTING) : NULL;
  if (!s) {
    free(copy);
    return wg_error_set(err, WG_NOMEM, 0, "connect: out of memory");
  }
  s->host = copy;
  s->port = port;
  *handle = s->handle;
  wg__startup_greet(s);
  return WG_OK;
}

/* ---- bytes from the guest ---- */

/** The one send after which the guest learns by reading why its server is gone, as a client of a
 *  real socket does. Later ones fail. */
static ssize_t send_lost(wg_session *s, size_t n, wg_error *err) {
  if (!s->swallowed && !s->cut) {
    s->swallowed = true;
    return (ssize_t)n;
  }
  return wg_error_set(err, WG_LOST, 0, "the connection to the server is lost");
}

/** `s` may be gone afterwards. */
static ssize_t session_send(wg_session *s, const uint8_t *p, size_t n, wg_error *err) {
  wg_server *srv = s->srv;
  wg_wire_track track = s->wire->track; /* a copy: the kernel may take less than all */
  size_t pass;
  if (srv->ops->track_client(&track, p, n, &pass, err) != WG_WIRE_OK) {
    wg__session_lose(s, err->msg);
    return WG_PROTOCOL;
  }
  s->used = true;
  if (pass > 0) {
    ssize_t done = wg__server_write(srv, p, pass);
    if (done == -EAGAIN) return WG_AGAIN;
    if (done < 0) {
      /* Broken, but what the server said before it went may still be there to read. */
      s->wire->track.tainted = true;
      s->swallowed = true;
      wg__server_look(srv);
      return (ssize_t)n;
    }
    if ((size_t)done < pass) {
      srv->ops->track_client(&s->wire->track, p, (size_t)done, &pass, err);
      return done;
    }
  }
  s->wire->track = track;
  if (track.ended) wg__session_end(s);
  return (ssize_t)n;
}

ssize_t wg_db_send(wg_db_guest *g, uint64_t handle, const uint8_t *p, size_t n, wg_error *err) {
  wg_error ignored;
  if (!err) err = &ignored;
  wg_session *s = session_find(g, handle, err);
  if (!s) return WG_INVALID;
  if (n == 0) return 0;
  if (s->shut & WG_WATCH_WRITE)
    return wg_error_set(err, WG_INVALID, 0, "send: this direction was shut down");
  switch (s->state) {
  case SES_RUNNING:
    if (s->swallowed) return wg_error_set(err, WG_LOST, 0, "the connection to the server is lost");
    return session_send(s, p, n, err);
  case SES_STARTING:
  case SES_GREETING: return wg__startup_take(s, p, n, err);
  case SES_QUEUED:
  case SES_SETTING: return wg_error_set(err, WG_AGAIN, 0, "the start-up is not answered yet");
  case SES_ENDED: return wg_error_set(err, WG_LOST, 0, "send: the session has ended");
  case SES_CANCELING: return (ssize_t)n; /* nobody listens to more than the request */
  case SES_LOST: return send_lost(s, n, err);
  }
  return WG_INVALID;
}

/* ---- bytes to the guest ---- */

static bool session_readable(const wg_session *s) {
  if (wg_buf_len(&s->to_guest) || (s->shut & WG_WATCH_READ)) return true;
  switch (s->state) {
  case SES_STARTING:
  case SES_QUEUED:
  case SES_GREETING:
  case SES_CANCELING:
  case SES_SETTING: return false;
  case SES_RUNNING: return s->srv->readable;
  case SES_ENDED: return wg__session_over(s) || s->srv->readable;
  case SES_LOST: return true;
  }
  return true;
}

static bool session_writable(const wg_session *s) {
  switch (s->state) {
  case SES_QUEUED:
  case SES_SETTING: return false;
  case SES_RUNNING: return !s->srv->blocked;
  case SES_STARTING:
  case SES_GREETING:
  case SES_CANCELING:
  case SES_ENDED:
  case SES_LOST: return true;
  }
  return true;
}

static ssize_t session_recv(wg_session *s, uint8_t *p, size_t cap, wg_error *err) {
  wg_server *srv = s->srv;
  if (!srv->readable) return WG_AGAIN;
  ssize_t n = wg__server_read(srv, p, cap);
  if (n == -EAGAIN) return WG_AGAIN;
  if (n > 0) {
    if (srv->ops->track_server(&s->wire->track, srv->wire, p, (size_t)n, err) == WG_WIRE_OK) {
      if (srv->wire->told_key && !s->key) { /* once, in a log-in that is relayed */
        s->wire->key = srv->wire->told_key;
        wg__cancel_register(s);
      }
      return n;
    }
    s->wire->track.server.left = 1; /* somewhere within a message that will not end */
    srv->end = WG_DB_CAUSE_PROTOCOL;
    wg__session_lose(s, err->msg);
    return WG_PROTOCOL;
  }
  wg__session_lose(s, n == 0 ? "the server closed the connection" : strerror((int)-n));
  return 0;
}

ssize_t wg_db_recv(wg_db_guest *g, uint64_t handle, uint8_t *p, size_t cap, wg_error *err) {
  wg_error ignored;
  if (!err) err = &ignored;
  wg_session *s = session_find(g, handle, err);
  if (!s) return WG_INVALID;
  if (cap == 0) return wg_error_set(err, WG_INVALID, 0, "recv: max-bytes is 0");
  if (s->shut & WG_WATCH_READ) return 0;
  if (wg_buf_len(&s->to_guest) == 0 &&
      (s->state == SES_RUNNING || (s->state == SES_ENDED && !wg__session_over(s)))) {
    ssize_t n = session_recv(s, p, cap, err);
    if (n > 0 && s->state == SES_ENDED) wg__session_finish(s);
    if (n != 0) return n;
    s = session_find(g, handle, err); /* lost; the callbacks of that may have closed it */
    if (!s) return WG_INVALID;
  }
  size_t n = wg_buf_len(&s->to_guest);
  if (n) {
    if (n > cap) n = cap;
    memcpy(p, wg_buf_head(&s->to_guest), n);
    wg_buf_consume(&s->to_guest, n);
    return (ssize_t)n;
  }
  switch (s->state) {
  case SES_STARTING:
  case SES_QUEUED:
  case SES_GREETING:
  case SES_CANCELING:
  case SES_SETTING: return WG_AGAIN;
  case SES_LOST:
    if (s->cut)
      return wg_error_set(err, WG_LOST, 0, "the connection was lost in the middle of a message");
    return 0;
  case SES_RUNNING:
  case SES_ENDED: return 0;
  }
  return 0;
}

/* ---- waiting ---- */

void wg__session_on_ready(wg_session *s, unsigned events) {
  if (s->state == SES_ENDED && wg_buf_len(&s->srv->out)) /* a goodbye that was not taken at once */
    wg__goodbye_say(s->srv);
  if (s->state == SES_SETTING)
    wg__startup_talk(s);
  else
    session_wake(s, events & session_ready(s), NULL);
}

static void on_wait_expired(wg_deadline *d) {
  wg_db_req *req = WG_CONTAINER(d, wg_db_req, deadline);
  wg_session *s = req->impl2;
  wg_error err;
  const wg_pool_config *c = s->srv ? &s->srv->pool->config->pool : NULL;
  bool reading = req->events == WG_WATCH_READ;
  wg_error_set(&err, WG_TIMEOUT, 0, "%s: nothing %s within %u ms", reading ? "recv" : "send",
               reading ? "came" : "was taken",
               !c        ? 0
               : reading ? c->recv_timeout_ms
                         : c->send_timeout_ms);
  wait_unlink(s, req);
  req_end(req, &err);
}

void wg_db_wait(wg_db_guest *g, uint64_t handle, unsigned events, bool deadline, wg_db_req *req,
                void (*done)(wg_db_req *req, const wg_error *err), void *user) {
  wg_error err;
  wg_session *s = session_find(g, handle, &err);
  size_t dir = events == WG_WATCH_WRITE;
  bool one = events == WG_WATCH_READ || events == WG_WATCH_WRITE;
  req_add(g, req, one ? events : WG_WATCH_READ, done, user);
  if (!s) {
    req_end(req, &err);
    return;
  }
  if (!one || s->waiting[dir]) {
    wg_error_set(&err, WG_INVALID, 0, "wait: one direction at a time, and one wait for each");
    req_end(req, &err);
    return;
  }
  if (session_ready(s) & events) {
    req_end(req, NULL);
    return;
  }
  req->impl2 = s;
  req->state = REQ_WAITING;
  s->waiting[dir] = req;
  wg_deadline_init(&req->deadline, on_wait_expired);
  if (deadline && s->srv && (dir || !(s->wire->track.listens || s->wire->track.patient))) {
    wg_local *local = s->srv->local;
    wg_deadline_start(dir ? local->send : local->recv, &req->deadline);
  }
  if (s->state == SES_RUNNING || s->state == SES_ENDED) wg__server_arm(s->srv, events);
}

bool wg_db_spins(const wg_db_guest *g, uint64_t handle) {
  const wg_session *s = session_of(g, handle);
  return s && s->state == SES_RUNNING && s->wire->track.pending > 0 && !s->wire->track.patient &&
         s->srv->pool->config->pool.spin == WG_DB_SPIN_AUTO;
}

void wg_db_cancel(wg_db_guest *g, wg_db_req *req) {
  if (req->events)
    wait_unlink(req->impl2, req);
  else
    wg__pool_forget(req); /* whose state other workers change: looked at under the lock */
  req_remove(g, req);
}

/* ---- the end ---- */

wg_code wg_db_shutdown(wg_db_guest *g, uint64_t handle, unsigned how, wg_error *err) {
  wg_session *s = session_find(g, handle, err);
  if (!s) return WG_INVALID;
  if (how == 0 || (how & ~(unsigned)(WG_WATCH_READ | WG_WATCH_WRITE)))
    return wg_error_set(err, WG_INVALID, 0, "shutdown: no such direction");
  s->shut |= how;
  if (how & WG_WATCH_WRITE) {
    if (s->state == SES_RUNNING) {
      wg__session_end(s);
    } else if (s->state == SES_STARTING) {
      wg__session_enter(s, SES_LOST);
    } else if (s->state == SES_GREETING) {
      wg__session_part(s);
    } /* QUEUED, SETTING: when it is RUNNING; the others expect no more */
  }
  s = session_of(g, handle); /* callbacks may have closed it */
  if (s) wg__session_changed(s);
  return WG_OK;
}

wg_code wg_db_close(wg_db_guest *g, uint64_t handle, wg_error *err) {
  wg_session *s = session_find(g, handle, err);
  if (!s) return WG_INVALID;
  if (s->waiting[0] || s->waiting[1]) {
    wg_error canceled;
    wg_error_set(&canceled, WG_CANCELED, 0, "the connection was closed meanwhile");
    wg_guard guard = {s, g->worker->guards};
    wg_db_worker *w = g->worker;
    w->guards = &guard;
    session_wake(s, WG_WATCH_READ | WG_WATCH_WRITE, &canceled);
    w->guards = guard.next;
    if (!guard.s) return WG_OK;
  }
  session_free(s);
  return WG_OK;
}

wg_code wg_db_guest_new(wg_db_worker *w, wg_db_guest **out, wg_error *err) {
  wg_db_guest *g = calloc(1, sizeof *g);
  if (!g) return wg_error_set(err, WG_NOMEM, 0, "guest: out of memory");
  g->worker = w;
  wg_list_init(&g->connects);
  wg_list_init(&g->waits);
  wg_list_init(&g->turns);
  wg_list_init(&g->sessions);
  wg_node_init(&g->by_worker);
  wg_list_push_back(&w->guests, &g->by_worker);
  *out = g;
  return WG_OK;
}

void wg_db_guest_free(wg_db_guest *g) {
  if (!g) return;
  for (wg_node *n; (n = wg_list_first(&g->connects)) || (n = wg_list_first(&g->waits));)
    wg_db_cancel(g, WG_CONTAINER(n, wg_db_req, by_guest));
  for (wg_node *n; (n = wg_list_first(&g->sessions));)
    session_free(WG_CONTAINER(n, wg_session, by_guest));
  wg_list_remove(&g->worker->guests, &g->by_worker);
  wg__turns_free(g);
  free(g->slots);
  free(g);
}
