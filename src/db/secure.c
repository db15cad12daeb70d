/* SPDX-License-Identifier: Apache-2.0 */
/* A server connection from connect(2) to log-in, where TLS is wanted:
 *
 *   SECURING: ask (the codec's words) --yes--> handshake --done--> LOGIN
 *                 |                     \--direct-----^      \--failed--> failed; PREFER: again in
 *                 |                                                        plain text
 *                 +--no--> PREFER: LOGIN in plain text; else failed
 *   ALLOW begins in LOGIN, and comes here when the server refuses that. PREFER goes the other way when
 *   LOGIN under TLS is refused before a password is asked for (hostnossl in pg_hba.conf).
 *
 * What a server says before the handshake's end is said by anybody on the way: it is one answer of
 * the codec's, its text is shown to nobody, and a byte more is an attack that ends the attempt. */
#include "db/db_internal.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

bool wg__secure_wanted(const wg_server *srv) {
  switch (srv->tls_mode) {
  case WG_TLS_AUTO:
  case WG_TLS_DISABLE: return false;
  case WG_TLS_ALLOW: return srv->second_try;
  case WG_TLS_PREFER: return !srv->second_try;
  case WG_TLS_REQUIRE:
  case WG_TLS_VERIFY_CA:
  case WG_TLS_VERIFY_FULL: return true;
  }
  return true;
}

bool wg__secure_again(wg_server *srv) {
  bool refused = srv->state == SRV_LOGIN && srv->wire->fault == WG_WIRE_FAULT_AUTH;
  bool may = false;
  if (srv->tls_mode == WG_TLS_ALLOW) may = refused;
  if (srv->tls_mode == WG_TLS_PREFER)
    may = srv->state == SRV_SECURING || (refused && srv->tls && !srv->wire->asked);
  return may && !srv->second_try && wg__server_redial(srv);
}

static void secure_failed(wg_server *srv, const wg_error *why) {
  wg_error err = *why;
  wg_error_set(&err, why->code, why->sys, "TLS: %.400s (SQLSTATE 08001)", why->msg);
  wg_error_hint(&err, "%s", why->hint);
  wg__pool_on_failed(srv, &err);
}

/** The settings with their files; the pool's own where the configuration was not read from a file.
 *  NULL: *err says why. */
static wg_tls *secure_settings(wg_pool *pool, wg_error *err) {
  if (pool->config->tls.made) return pool->config->tls.made;
  pthread_mutex_lock(&pool->lock);
  wg_tls *tls = pool->tls;
  pthread_mutex_unlock(&pool->lock);
  if (tls || wg_tls_new(&pool->config->tls, &tls, NULL, err) != WG_OK) return tls;
  pthread_mutex_lock(&pool->lock);
  wg_tls *other = pool->tls;
  if (!other) pool->tls = tls;
  pthread_mutex_unlock(&pool->lock);
  if (other) wg_tls_free(tls);
  return other ? other : tls;
}

wg_code wg__secure_open(wg_pool *pool, size_t host, int fd, wg_tls_mode mode, wg_tls_conn **out,
                        wg_error *err) {
  const wg_database_config *config = pool->config;
  const char *name = wg_tls_name_of(config, wg__hosts_name_at(config, host));
  wg_tls *tls = secure_settings(pool, err);
  if (!tls) return err->code;
  /* A resumed session was checked for one name: several servers do not share it. */
  wg_tls_cache *cache = config->host_count > 1 ? NULL : &pool->resume;
  return wg_tls_open(tls, fd, mode, name, pool->ops->alpn, cache, out, err);
}

static bool secure_open(wg_server *srv) {
  wg_error err;
  if (wg__secure_open(srv->pool, srv->host, srv->fd, srv->tls_mode, &srv->tls, &err) == WG_OK)
    return true;
  secure_failed(srv, &err);
  return false;
}

/** The server's answer is whole.  @return true to go on with the handshake */
static bool secure_answered(wg_server *srv, bool granted) {
  wg_error err;
  size_t more = wg_buf_len(&srv->in);
  if (more) {
    wg_error_set(&err, WG_PROTOCOL, 0,
                 "the server sent %zu unencrypted bytes before the handshake's end", more);
    wg_error_hint(&err, "somebody on the way may have put them there");
    secure_failed(srv, &err);
    return false;
  }
  if (granted) return secure_open(srv);
  if (srv->tls_mode == WG_TLS_PREFER) {
    wg__server_login(srv);
    return false;
  }
  wg_error_set(&err, WG_UNSUPPORTED, 0, "the server does not support TLS, and it is required");
  wg_error_hint(&err,
                "switch it on in the server (PostgreSQL: ssl = on, MySQL: ssl_cert), or allow "
                "plain text with "
                "tls = \"disable\" in [databases.%s]",
                srv->pool->config->name);
  secure_failed(srv, &err);
  return false;
}

/** Asks for TLS in the protocol's own words.  @return true when it can begin */
static bool secure_ask(wg_server *srv) {
  if (!srv->ops->ask_tls || srv->pool->config->tls.negotiation == WG_TLS_DIRECT)
    return secure_open(srv);
  for (;;) {
    wg_error err;
    int sys = 0;
    bool granted = false, up = wg__server_fill(srv, &sys);
    wg_wire_step step = srv->ops->ask_tls(srv->wire, &srv->in, &srv->out, &granted, &err);
    bool sent = wg__server_flush(srv);
    bool asked = sent && wg_buf_len(&srv->out) == 0; /* its last words are out, too */
    if (step == WG_WIRE_OK && asked) return secure_answered(srv, granted);
    bool lost = !up || !sent || step == WG_WIRE_OK;
    if (step != WG_WIRE_ERROR && !lost) {
      if (srv->readable) continue;
      wg__server_arm(srv, WG_WATCH_READ | (srv->blocked ? WG_WATCH_WRITE : 0u));
      return false;
    }
    if (wg__secure_again(srv)) return false;
    if (step != WG_WIRE_ERROR)
      wg_error_set(&err, WG_LOST, sys, "the server closed the connection when asked for TLS%s%s",
                   sys ? ": " : "", sys ? strerror(sys) : "");
    secure_failed(srv, &err);
    return false;
  }
}

static void secure_done(wg_server *srv) {
  wg_pool *pool = srv->pool;
  wg_error err;
  if (pool->config->tls.negotiation == WG_TLS_DIRECT && srv->ops->alpn &&
      !wg_tls_alpn_chosen(srv->tls)) {
    wg_error_set(&err, WG_PROTOCOL, 0, "the server did not agree to the application protocol '%s'",
                 srv->ops->alpn);
    wg_error_hint(&err, "tls_negotiation = \"direct\" needs PostgreSQL 17 or newer");
    secure_failed(srv, &err);
    return;
  }
  srv->wire->secure.on = true;
  srv->wire->secure.verified = srv->tls_mode >= WG_TLS_VERIFY_CA;
  srv->wire->secure.binding_len = (uint8_t)wg_tls_binding_data(srv->tls, srv->wire->secure.binding);
  wg_log(&srv->local->worker->log, WG_LOG_DEBUG, "db_tls", WG_KV_S("database", pool->config->name),
         WG_KV_U("conn", srv->id), WG_KV_S("version", wg_tls_version_name(srv->tls)),
         WG_KV_S("cipher", wg_tls_cipher_name(srv->tls)),
         WG_KV_S("resumed", wg_tls_resumed(srv->tls) ? "yes" : "no"));
  srv->readable = true; /* it may have read more than the handshake */
  srv->blocked = wg_tls_unsent(srv->tls) != 0;
  wg__server_login(srv);
}

void wg__secure_talk(wg_server *srv) {
  wg_error err;
  if (!srv->tls && !secure_ask(srv)) return;
  switch (wg_tls_handshake(srv->tls, &err)) {
  case WG_TLS_DONE: secure_done(srv); break;
  case WG_TLS_MORE:
    wg__server_arm(srv, WG_WATCH_READ | (wg_tls_unsent(srv->tls) ? WG_WATCH_WRITE : 0u));
    break;
  case WG_TLS_FAILED:
    if (!wg__secure_again(srv)) secure_failed(srv, &err);
    break;
  }
}

unsigned wg__secure_ready(wg_server *srv, unsigned events) {
  if (events & WG_WATCH_READ) {
    if (wg_tls_waits(srv->tls) == WG_WATCH_READ) events |= WG_WATCH_WRITE; /* worth another try */
    wg_tls_readable(srv->tls);
  }
  if (!(events & WG_WATCH_WRITE)) return events;
  wg_tls_flush(srv->tls);
  unsigned waits = wg_tls_waits(srv->tls);
  if (!waits) return events;
  wg__server_arm(srv, waits);
  return events & ~(unsigned)WG_WATCH_WRITE;
}
