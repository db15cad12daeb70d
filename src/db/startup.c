/* SPDX-License-Identifier: Apache-2.0 */
/** @file startup.c  A session from its guest's first byte until bytes pass: STARTING, QUEUED, GREETING
 *  and SETTING of the picture in session.c.
 *
 *  Where the protocol has the server speak first, the guest is greeted before it says a word: in the
 *  words of the server that it has, or of one that was met before, or the first guest waits for one.
 *  The codec answers what needs no server. When the start-up is whole it says which database and user
 *  it means; the guest's password is asked for where it is the guest that logs in; then the pool. */
#include "db/db_internal.h"
#include <string.h>

enum { SESSION_GREETING = 512 }; /* a usual one fits: one allocation in place of four */

/** `s` may be gone afterwards. */
static void greeted(wg_session *s, wg_wire_step step) {
  if (step == WG_WIRE_OK && s->wire->again) {
    wg__session_enter(s, SES_GREETING);
    if (s->shut & WG_WATCH_WRITE)
      wg__session_part(s);
    else
      wg__session_changed(s);
    return;
  }
  if (step == WG_WIRE_OK) {
    wg__session_enter(s, SES_RUNNING);
    wg__cancel_register(s);
  }
  if (step == WG_WIRE_END ||
      (step == WG_WIRE_OK && ((s->shut & WG_WATCH_WRITE) || s->wire->track.ended)))
    wg__session_end(s);
  else
    wg__session_changed(s);
}

static void hint_tls(wg_session *s) {
  uint32_t held;
  if (!s->wire->asked_tls || !s->srv || s->state == SES_SETTING) return;
  wg_local *local = s->srv->local;
  if (wg_log_allow(&local->tls_hint, 1, 0, &held)) /* the clock stands still: once */
    wg_log(&local->worker->log, WG_LOG_INFO, "db_guest_asked_tls",
           WG_KV_S("database", local->pool->config->name),
           WG_KV_S("hint", "inside the process there is nothing to encrypt; "
                           "sslmode=disable saves the question, sslmode=require fails"));
}

/** The database that the start-up means. */
static wg_code match(const wg_session *s, const wg_database_config **out, wg_error *err) {
  const wg_wire_guest *wire = s->wire;
  const wg_database_config *c = s->config;
  size_t database_len = wire->database ? strlen(wire->database) : 0;
  if (c) {
    *out = c;
    if (!c->database || !wire->database || strcmp(c->database, wire->database) == 0) return WG_OK;
    return wg_error_set(err, WG_REFUSED, 0,
                        "database \"%.200s\" is not the one that this connection was opened for",
                        wire->database);
  }
  wg_db_target target = {.protocol = wire->ops->protocol,
                         .host = s->host,
                         .host_len = strlen(s->host),
                         .port = s->port,
                         .database = wire->database,
                         .database_len = database_len,
                         .user = wire->user,
                         .user_len = wire->user ? strlen(wire->user) : 0};
  return wg__target_match(s->guest->worker->db->config, &target, out, err);
}

static wg_code check_running(const wg_db_worker *w, const wg_database_config *config,
                             wg_error *err) {
  if (w->state == WORKER_RUNNING) return WG_OK;
  return wg_error_set(err, WG_IO, 0, "database '%s': the host is stopping (SQLSTATE 57P01)",
                      config->name);
}

/** `s` may be gone afterwards. */
static void queue(wg_session *s, wg_local *local, const wg_credentials *who) {
  s->lease = (wg_db_req){.impl = s->guest, .session = s};
  wg_node_init(&s->lease.node);
  wg__session_enter(s, SES_QUEUED);
  wg__pool_ask(local, &s->lease, who);
}

/** The start-up is whole: asks the guest for its password where that is wanted, then the pool for
 *  the server that it means.
 *  @param had  the server that was lent before, of a shape that does not fit; NULL: none */
static void ask_pool(wg_session *s, const wg_server *had) {
  wg_db_worker *w = s->guest->worker;
  const wg_wire_guest *wire = s->wire;
  const wg_database_config *config = had ? had->pool->config : NULL;
  const char *database = had ? had->pool->database : wire->database;
  wg_local *local = NULL;
  wg_error err;
  wg_code code = had ? WG_OK : match(s, &config, &err);
  if (code == WG_OK) code = check_running(w, config, &err);
  wg_credentials who = {wire->user, wire->password, wire->password_len};
  if (code == WG_OK) {
    bool guest = config->auth == WG_DB_AUTH_GUEST;
    if (guest && !who.password && s->given.len &&
        (!wire->user || strcmp(s->given_user, wire->user) == 0)) {
      who.user = s->given_user;
      who.password = s->given.bytes;
      who.password_len = s->given.len;
    }
    if (guest && !who.password) {
      wire->ops->ask_password(s->wire, &s->to_guest);
      if (wire->more)
        (void)wg__startup_take(s, NULL, 0, &err);
      else
        wg__session_changed(s);
      return;
    }
    code = wg__worker_pool(w, config, database, database ? strlen(database) : 0,
                           config->auth == WG_DB_AUTH_SERVICE ? NULL : &who, wire->shape, &local,
                           &err);
    if (code == WG_OK && wire->shape) wg__hello_shape(w->db, config, wire->shape);
  }
  if (code != WG_OK) {
    wg__session_refuse(s, &err);
    return;
  }
  queue(s, local, &who); /* `s` may be gone afterwards */
}

static ssize_t take(wg_session *s, const wg_wire_hello *hello, const uint8_t *p, size_t n,
                    wg_error *err);

/** Where the guest is to be greeted by a server. */
static const wg_database_config *first_place(const wg_session *s) {
  if (s->config) return s->config;
  return wg__target_first(s->guest->worker->db->config, s->host, s->port);
}

void wg__startup_greet(wg_session *s) {
  wg_db_worker *w = s->guest->worker;
  if (!s->wire->ops->hello) return;
  const wg_database_config *config = first_place(s);
  wg_wire_hello hello;
  wg_error err;
  bool relay = config->auth == WG_DB_AUTH_RELAY;
  bool met = !relay && wg__hello_known(w->db, config, &hello);
  if (met || config->auth == WG_DB_AUTH_GUEST) {
    (void)take(s, met ? &hello : NULL, NULL, 0, &err); /* the guest reads what went wrong */
    return;
  }
  wg_local *local = NULL;
  wg_code code = check_running(w, config, &err);
  if (code == WG_OK)
    code = wg__worker_pool(w, config, NULL, 0, NULL, wg__hello_guess(w->db, config), &local, &err);
  if (code != WG_OK) {
    wg__session_refuse(s, &err);
    return;
  }
  s->probing = !relay;
  queue(s, local, NULL);
}

/** The start-up is a cancel request. It needs no server of its own. `s` may be gone afterwards. */
static void ask_cancel(wg_session *s) {
  wg_server *srv = wg__session_detach(s);
  if (srv) s->place = srv->pool->config;
  wg__session_enter(s, SES_CANCELING);
  wg__cancel_ask(s, s->wire->key);
  if (srv) wg__pool_return(srv, true, NULL);
}

void wg__session_canceled(wg_session *s) {
  s->cancel = NULL;
  s->swallowed = true;
  wg__session_enter(s, SES_LOST);
  wg__session_changed(s);
}

void wg__startup_leased(wg_session *s, wg_server *srv) {
  wg_error err;
  if (s->probing) { /* it was met, so the guest can be greeted; what it needs it says then */
    s->probing = false;
    bool over = s->shut & WG_WATCH_WRITE;
    wg__session_enter(s, over ? SES_LOST : SES_STARTING);
    if (over)
      wg__session_changed(s);
    else
      (void)wg__startup_take(s, NULL, 0, &err);
    wg__pool_return(srv, true, NULL);
    return;
  }
  wg__session_bind(s, srv);
  wg__session_enter(s, SES_GREETING);
  (void)wg__startup_take(s, NULL, 0, &err);
}

ssize_t wg__startup_take(wg_session *s, const uint8_t *p, size_t n, wg_error *err) {
  wg_wire_hello hello;
  bool greets = !p && !s->srv && s->wire->ops->hello;
  bool met = greets && wg__hello_known(s->guest->worker->db, first_place(s), &hello);
  return take(s, met ? &hello : NULL, p, n, err);
}

/** @param hello  what a server said, for the first call; NULL: none is known */
static ssize_t take(wg_session *s, const wg_wire_hello *hello, const uint8_t *p, size_t n,
                    wg_error *err) {
  wg_server *srv = s->srv;
  wg_wire_policy policy = {.database = srv ? srv->pool->database : NULL,
                           .relay = srv && srv->pool->auth == WG_DB_AUTH_RELAY,
                           .hello = hello};
  size_t taken = 0;
  wg_buf none;
  wg_buf_init(&none, 1);
  (void)wg_buf_reserve(&s->to_guest, SESSION_GREETING); /* a failure is the greeting's, below */
  wg_wire_step step = s->wire->ops->greet(s->wire, srv ? srv->wire : NULL, &policy, p, n, &taken,
                                          &s->to_guest, srv ? &srv->out : &none, err);
  hint_tls(s);
  if (step == WG_WIRE_LEASE) {
    wg_server *had = wg__session_detach(s);
    ask_pool(s, had);
    if (had) wg__pool_return(had, true, NULL);
    return (ssize_t)taken;
  }
  if (step == WG_WIRE_CANCEL) {
    ask_cancel(s);
    return (ssize_t)taken;
  }
  if (!srv && (step == WG_WIRE_ERROR || step == WG_WIRE_END)) {
    wg__session_enter(s, SES_LOST);
    s->swallowed = true;
    wg__session_changed(s);
    return step == WG_WIRE_ERROR ? WG_NOMEM : (ssize_t)taken;
  }
  if (step == WG_WIRE_ERROR) {
    wg__session_lose(s, err->msg);
    return WG_NOMEM;
  }
  if (step == WG_WIRE_ASK) {
    WG_ASSERT(srv); /* who else was asked? */
    srv->said = 0;
    wg__session_enter(s, SES_SETTING);
    if (!wg__server_flush(srv)) {
      wg__session_lose(s, "the server closed the connection");
      return (ssize_t)taken;
    }
    wg__server_arm(srv, WG_WATCH_READ | (srv->blocked ? WG_WATCH_WRITE : 0u));
  }
  if (step == WG_WIRE_OK && srv && (policy.relay || wg_buf_len(&srv->out))) {
    if (!wg__server_flush(srv) || wg_buf_len(&srv->out)) {
      wg__session_lose(s, "the server closed the connection");
      return (ssize_t)taken;
    }
    wg__server_arm(srv, WG_WATCH_READ); /* somebody may wait for the answer already */
  }
  greeted(s, step);
  return (ssize_t)taken;
}

/** SETTING: the server answers. `s` may be gone afterwards. */
void wg__startup_talk(wg_session *s) {
  wg_server *srv = s->srv;
  for (;;) {
    wg_error err;
    int sys;
    bool up = wg__server_fill(srv, &sys);
    wg_wire_step step = srv->ops->greet_reply(s->wire, srv->wire, &srv->in, &s->to_guest, &err);
    size_t rest = wg_buf_len(&srv->in);
    if (step == WG_WIRE_ERROR) {
      wg__session_lose(s, err.msg);
      return;
    }
    if (step != WG_WIRE_MORE) {
      /* What the server said after its answer (a notice) is the guest's. */
      if (rest && srv->ops->track_server(&s->wire->track, srv->wire, wg_buf_head(&srv->in), rest,
                                         &err) != WG_WIRE_OK) {
        wg__session_lose(s, err.msg);
        return;
      }
      if (rest) wg_buf_put(&s->to_guest, wg_buf_head(&srv->in), rest);
      wg_buf_clear(&srv->in);
      if (s->to_guest.failed) {
        wg__session_lose(s, "out of memory");
        return;
      }
      if (step == WG_WIRE_OK && wg_buf_len(&srv->out) && srv->pool->auth != WG_DB_AUTH_RELAY) {
        wg__session_lose(s, "the server answers, and reads no more");
        return;
      }
      wg_buf_clear(&srv->out); /* of a relayed start-up that the server did not want to hear out */
      if (srv->wire->told_key) s->wire->key = srv->wire->told_key; /* relayed, without a password */
      greeted(s, step);
      return;
    }
    if (wg__server_babbles(srv, &err)) {
      srv->end = WG_DB_CAUSE_PROTOCOL;
      wg__session_lose(s, err.msg);
      return;
    }
    if (!up || !wg__server_flush(srv)) {
      wg__session_lose(s, "the server closed the connection");
      return;
    }
    if (srv->readable) continue;
    wg__server_arm(srv, WG_WATCH_READ | (srv->blocked ? WG_WATCH_WRITE : 0u));
    return;
  }
}

void wg__startup_expired(wg_deadline *d) {
  wg_session *s = WG_CONTAINER(d, wg_session, talk);
  wg__session_lose(s, s->srv->pool->auth == WG_DB_AUTH_RELAY
                          ? "the server did not answer the start-up in time"
                          : "the server did not take the session's parameters in time");
}
