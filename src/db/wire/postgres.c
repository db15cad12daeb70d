/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/postgres.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Log-in (section 55.2.1):
 *
 *   NEW --start-up--> STARTED --cleartext | md5--> PASSWORD_SENT ------------------+
 *                       |  \--SASL--> SASL_FIRST --> SASL_PROOF --> SASL_FINAL --> SASL_VERIFIED--+
 *                       +--trusted------------------------------------------------> AUTHENTICATED
 *   AUTHENTICATED --ParameterStatus*, BackendKeyData, ReadyForQuery--> READY
 *
 * TLS comes before: SSLRequest, to be answered by one byte (section 55.2.11); who asked in NEW is
 * PG_ASKED until the answer. With channel_binding = "require" nothing but SCRAM-SHA-256-PLUS leads
 * to AUTHENTICATED.
 *
 * An ErrorResponse or anything out of turn ends the attempt. AuthenticationOk in SASL_FIRST or
 * SASL_FINAL is out of turn: a server that has not proved to know the password is not ours. */

static void login_enter(pg_server *s, pg_login_state next) {
  switch (next) {
  case PG_NEW: WG_ASSERT(false); break;
  case PG_ASKED: WG_ASSERT(s->state == PG_NEW); break;
  case PG_STARTED: WG_ASSERT(s->state == PG_NEW || s->state == PG_ASKED); break;
  case PG_PASSWORD_SENT:
  case PG_SASL_FIRST: WG_ASSERT(s->state == PG_STARTED); break;
  case PG_SASL_PROOF: WG_ASSERT(s->state == PG_SASL_FIRST); break;
  case PG_SASL_FINAL: WG_ASSERT(s->state == PG_SASL_PROOF); break;
  case PG_SASL_VERIFIED: WG_ASSERT(s->state == PG_SASL_FINAL); break;
  case PG_AUTHENTICATED:
    WG_ASSERT(s->state == PG_STARTED || s->state == PG_PASSWORD_SENT ||
              s->state == PG_SASL_VERIFIED);
    wg_scram_wipe(&s->scram);
    break;
  case PG_READY: WG_ASSERT(s->state == PG_AUTHENTICATED); break;
  }
  s->state = next;
}

/* ---- messages ---- */

wg_wire_step pg_next(const wg_buf *in, uint8_t *type, wg_reader *body, wg_error *err) {
  size_t have = wg_buf_len(in);
  if (have < 5) return WG_WIRE_MORE;
  wg_reader r = wg_reader_of(wg_buf_head(in), have);
  *type = wg_take_u8(&r);
  uint32_t length = wg_take_u32(&r);
  if (length < 4 || length >= in->max) {
    wg_error_set(err, WG_PROTOCOL, 0,
                 "postgres: the server announced a message of %u bytes, outside 4..%zu", length,
                 in->max - 1);
    return WG_WIRE_ERROR;
  }
  if (r.len < length - 4) return WG_WIRE_MORE;
  *body = wg_reader_of(r.p, length - 4);
  return WG_WIRE_OK;
}

void pg_drop(wg_buf *in) {
  wg_reader r = wg_reader_of(wg_buf_head(in), wg_buf_len(in));
  wg_take_u8(&r);
  wg_buf_consume(in, (size_t)wg_take_u32(&r) + 1);
}

size_t pg_begin(wg_buf *out, uint8_t type) {
  if (type) wg_buf_put_u8(out, type);
  size_t at = wg_buf_len(out);
  wg_buf_put_u32(out, 0);
  return at;
}

void pg_end(wg_buf *out, size_t length_at) {
  if (!out->failed) wg_buf_patch_u32(out, length_at, (uint32_t)(wg_buf_len(out) - length_at));
}

static void put_field(wg_buf *out, uint8_t field, const char *text) {
  wg_buf_put_u8(out, field);
  wg_buf_put_cstr(out, text);
}

void pg_put_fatal(wg_buf *out, const char *sqlstate, const char *message, const char *hint) {
  size_t at = pg_begin(out, 'E');
  put_field(out, 'S', "FATAL");
  put_field(out, 'V', "FATAL");
  put_field(out, 'C', sqlstate);
  put_field(out, 'M', message);
  if (hint) put_field(out, 'H', hint);
  wg_buf_put_u8(out, 0);
  pg_end(out, at);
}

void pg_put_query(wg_buf *out, const char *sql) {
  size_t at = pg_begin(out, 'Q');
  wg_buf_put_cstr(out, sql);
  pg_end(out, at);
}

pg_error_fields pg_error_read(wg_reader body) {
  pg_error_fields f = {"", "", "", ""};
  for (;;) {
    uint8_t field = wg_take_u8(&body);
    if (field == 0) return f; /* the end, or the bytes ran out */
    const char *text = wg_take_cstr(&body);
    if (!text) return f;
    if (field == 'V' || (field == 'S' && !f.severity[0]))
      f.severity = text;
    else if (field == 'C')
      f.sqlstate = text;
    else if (field == 'M')
      f.message = text;
    else if (field == 'H')
      f.hint = text;
  }
}

/* ---- parameters ---- */

static pg_param *param_find(pg_server *s, const char *name) {
  for (size_t i = 0; i < s->param_count; i++)
    if (strcasecmp(s->params[i].name, name) == 0) return &s->params[i];
  return NULL;
}

const char *pg_param_get(const pg_server *s, const char *name) {
  for (size_t i = 0; i < s->param_count; i++)
    if (strcasecmp(s->params[i].name, name) == 0) return s->params[i].value;
  return NULL;
}

bool pg_param_take(pg_server *s, wg_reader body) {
  const char *name = wg_take_cstr(&body);
  const char *value = wg_take_cstr(&body);
  if (!name || !value || body.failed || body.len != 0 || name[0] == '\0') return false;
  pg_param *p = param_find(s, name);
  if (p && strcmp(p->value, value) == 0) return true;
  size_t name_len = strlen(name) + 1, value_len = strlen(value) + 1;
  if (name_len + value_len > PG_PARAM_BYTES_MAX) return false;
  if (!p && s->param_count == PG_PARAMS_MAX) return false;
  char *both = malloc(name_len + value_len);
  if (!both) return false;
  memcpy(both, name, name_len);
  memcpy(both + name_len, value, value_len);
  if (p)
    free(p->name);
  else
    p = &s->params[s->param_count++];
  p->name = both;
  p->value = both + name_len;
  return true;
}

/* ---- life ---- */

static wg_wire_server *pg_server_new(const wg_wire_login *login) {
  pg_server *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->base.ops = &wg_wire_postgres;
  s->login = *login;
  wg_buf_init(&s->capture, PG_PARAM_BYTES_MAX);
  return &s->base;
}

static void pg_server_free(wg_wire_server *base) {
  pg_server *s = (pg_server *)base;
  if (!s) return;
  for (size_t i = 0; i < s->param_count; i++) free(s->params[i].name);
  wg_buf_release(&s->capture);
  wg_scram_wipe(&s->scram);
  wg_wipe(s, sizeof *s);
  free(s);
}

static int pg_socket_path(const char *dir, uint16_t port, char *out, size_t cap) {
  return snprintf(out, cap, "%s/.s.PGSQL.%u", dir, port);
}

/* ---- TLS ---- */

static wg_wire_step pg_ask_tls(wg_wire_server *base, wg_buf *in, wg_buf *out, bool *granted,
                               wg_error *err) {
  pg_server *s = (pg_server *)base;
  if (s->state == PG_NEW) {
    size_t at = pg_begin(out, 0);
    wg_buf_put_u32(out, PG_SSL_REQUEST);
    pg_end(out, at);
    login_enter(s, PG_ASKED);
  }
  if (out->failed) {
    s->base.fault = WG_WIRE_FAULT_OTHER;
    wg_error_set(err, WG_NOMEM, 0, "postgres: out of memory");
    return WG_WIRE_ERROR;
  }
  if (wg_buf_len(in) == 0) return WG_WIRE_MORE;
  uint8_t answer = wg_buf_head(in)[0];
  wg_buf_consume(in, 1);
  *granted = answer == 'S';
  if (answer == 'S' || answer == 'N') return WG_WIRE_OK;
  s->base.fault = WG_WIRE_FAULT_OTHER;
  if (answer == 'E') { /* its text is anybody's on the way: not shown */
    wg_error_set(err, WG_IO, 0, "postgres: the server answered the request for TLS by an error");
    wg_error_hint(err, "see the server's log: without TLS its message cannot be trusted");
  } else {
    wg_error_set(err, WG_PROTOCOL, 0,
                 "postgres: the server answered the request for TLS by 0x%02x, not by 'S' or 'N'",
                 answer);
    wg_error_hint(err, "is a PostgreSQL server listening there?");
  }
  return WG_WIRE_ERROR;
}

/* ---- log-in ---- */

static wg_wire_step login_fail(pg_server *s, wg_wire_fault fault, wg_error *err, wg_code code,
                               const char *what) {
  s->base.fault = fault;
  wg_error_set(err, code, 0, "postgres: %s", what);
  return WG_WIRE_ERROR;
}

static wg_wire_step login_refused(pg_server *s, wg_reader body, wg_error *err) {
  pg_error_fields f = pg_error_read(body);
  bool auth = strncmp(f.sqlstate, "28", 2) == 0;
  bool busy = strncmp(f.sqlstate, "53", 2) == 0 || strcmp(f.sqlstate, "57P03") == 0;
  s->base.fault = auth ? WG_WIRE_FAULT_AUTH : busy ? WG_WIRE_FAULT_BUSY : WG_WIRE_FAULT_OTHER;
  wg_error_set(err, auth ? WG_AUTH : WG_IO, 0,
               "postgres: the server refused the log-in: %s: "
               "%.300s (SQLSTATE %.5s)",
               f.severity[0] ? f.severity : "FATAL", f.message,
               f.sqlstate[0] ? f.sqlstate : "08004");
  if (auth)
    wg_error_hint(err, "check user and password of this database in warp.toml");
  else if (f.hint[0])
    wg_error_hint(err, "%.300s", f.hint);
  return WG_WIRE_ERROR;
}

static void put_startup(pg_server *s, wg_buf *out) {
  size_t at = pg_begin(out, 0);
  wg_buf_put_u32(out, PG_PROTOCOL_3_0);
  wg_buf_put_cstr(out, "user");
  wg_buf_put_cstr(out, s->login.user);
  wg_buf_put_cstr(out, "database");
  wg_buf_put_cstr(out, s->login.database);
  wg_buf_put_cstr(out, "application_name");
  wg_buf_put_cstr(out, "warpgrid");
  wg_buf_put_u8(out, 0);
  pg_end(out, at);
}

/** channel_binding = "require": whoever gets around it is not let through. */
static wg_wire_step login_unbound(pg_server *s, wg_error *err, const char *what) {
  s->base.fault = WG_WIRE_FAULT_AUTH;
  wg_error_set(err, WG_AUTH, 0, "postgres: channel binding is required, but %s", what);
  wg_error_hint(err, "it needs TLS, PostgreSQL 11 or newer, and scram-sha-256 in pg_hba.conf");
  return WG_WIRE_ERROR;
}

/** What can be said of the channel to a server that does, or does not, offer to bind to it. */
static wg_scram_channel login_channel(const pg_server *s, bool plus) {
  if (!s->base.secure.on || !s->base.secure.binding_len ||
      s->login.binding == WG_TLS_BINDING_DISABLE)
    return WG_SCRAM_NO_BINDING;
  return plus ? WG_SCRAM_BOUND : WG_SCRAM_BINDING_UNASKED;
}

/** SASL (section 55.3): the server lists mechanisms; the answer names one. */
static wg_wire_step login_sasl(pg_server *s, wg_reader body, wg_buf *out, wg_error *err) {
  bool offered = false, plus = false;
  for (;;) {
    const char *name = wg_take_cstr(&body);
    if (!name) return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL, "malformed SASL list");
    if (name[0] == '\0') break;
    if (strcmp(name, "SCRAM-SHA-256") == 0) offered = true;
    if (strcmp(name, "SCRAM-SHA-256-PLUS") == 0) plus = true;
  }
  if (plus && !s->base.secure.on)
    return login_fail(s, WG_WIRE_FAULT_AUTH, err, WG_PROTOCOL,
                      "the server offers SCRAM-SHA-256-PLUS without TLS: somebody is in between");
  wg_scram_channel channel = login_channel(s, plus);
  const char *mechanism = channel == WG_SCRAM_BOUND ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256";
  if (s->login.binding == WG_TLS_BINDING_REQUIRE && channel != WG_SCRAM_BOUND)
    return login_unbound(s, err,
                         !s->base.secure.on ? "the connection has no TLS"
                         : !plus            ? "the server does not offer SCRAM-SHA-256-PLUS"
                                            : "the server's certificate has no digest to bind to");
  if (!offered && channel != WG_SCRAM_BOUND)
    return login_fail(s, WG_WIRE_FAULT_AUTH, err, WG_UNSUPPORTED,
                      "the server offers no SASL mechanism that we speak (SCRAM-SHA-256)");
  wg_buf first;
  wg_buf_init(&first, WG_SCRAM_TEXT_MAX);
  s->scram.channel = channel;
  s->scram.cache = s->login.keys;
  if (channel == WG_SCRAM_BOUND) {
    s->scram.binding_len = s->base.secure.binding_len;
    memcpy(s->scram.binding, s->base.secure.binding, s->scram.binding_len);
  }
  wg_code code = wg_scram_first(&s->scram, "", &first, err);
  if (code == WG_OK) {
    size_t at = pg_begin(out, 'p');
    wg_buf_put_cstr(out, mechanism);
    wg_buf_put_u32(out, (uint32_t)wg_buf_len(&first));
    wg_buf_put(out, wg_buf_head(&first), wg_buf_len(&first));
    pg_end(out, at);
    login_enter(s, PG_SASL_FIRST);
  }
  wg_buf_release(&first);
  return code == WG_OK ? WG_WIRE_MORE : WG_WIRE_ERROR;
}

/** SASL_PROOF: the proof takes as many rounds of hashing as the server likes. */
static wg_wire_step login_prove(pg_server *s, const wg_reader *first, wg_buf *out, wg_error *err) {
  wg_buf final;
  wg_buf_init(&final, 4 * WG_SCRAM_TEXT_MAX);
  wg_code code = first ? wg_scram_final(&s->scram, (const char *)first->p, first->len,
                                        s->login.password, &final, err)
                       : wg_scram_rounds(&s->scram, &final, err);
  if (code == WG_OK) {
    size_t at = pg_begin(out, 'p');
    wg_buf_put(out, wg_buf_head(&final), wg_buf_len(&final));
    pg_end(out, at);
    login_enter(s, PG_SASL_FINAL);
  }
  wg_buf_release(&final);
  if (code == WG_OK) return WG_WIRE_MORE;
  if (code == WG_AGAIN) return WG_WIRE_BUSY;
  s->base.fault = WG_WIRE_FAULT_AUTH;
  return WG_WIRE_ERROR;
}

static wg_wire_step login_auth(pg_server *s, wg_reader body, wg_buf *out, wg_error *err) {
  enum { OK = 0, CLEARTEXT = 3, MD5 = 5, SASL = 10, SASL_CONTINUE = 11, SASL_FINAL = 12 };
  uint32_t kind = wg_take_u32(&body);
  if (body.failed)
    return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL, "malformed authentication request");
  if (kind == OK) {
    if (s->state != PG_STARTED && s->state != PG_PASSWORD_SENT && s->state != PG_SASL_VERIFIED)
      return login_fail(s, WG_WIRE_FAULT_AUTH, err, WG_AUTH,
                        "the server let us in without proving that it knows the password");
    if (s->login.binding == WG_TLS_BINDING_REQUIRE && s->scram.channel != WG_SCRAM_BOUND)
      return login_unbound(s, err, "the server let us in without it");
    login_enter(s, PG_AUTHENTICATED);
    return WG_WIRE_MORE;
  }
  if ((kind == CLEARTEXT || kind == MD5) && s->login.binding == WG_TLS_BINDING_REQUIRE)
    return login_unbound(
        s, err, kind == MD5 ? "the server asks for md5" : "the server asks for a password");
  if (kind == CLEARTEXT || kind == MD5 || kind == SASL) {
    s->base.asked = true;
    if (s->state != PG_STARTED)
      return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL,
                        "the server asked for two proofs");
    if (s->login.password->len == 0)
      return login_fail(s, WG_WIRE_FAULT_AUTH, err, WG_AUTH,
                        "the server wants a password and warp.toml gives none");
  }
  size_t at;
  switch (kind) {
  case CLEARTEXT: /* room for all of it first: a buffer that grows leaves a copy behind */
    (void)wg_buf_reserve(out, s->login.password->len + 6);
    at = pg_begin(out, 'p');
    wg_buf_put(out, s->login.password->bytes, s->login.password->len);
    wg_buf_put_u8(out, 0);
    pg_end(out, at);
    login_enter(s, PG_PASSWORD_SENT);
    return WG_WIRE_MORE;
  case MD5: {
    const uint8_t *salt = wg_take_bytes(&body, 4);
    char answer[36];
    if (!salt) return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL, "malformed md5 salt");
    if (wg_pg_md5(s->login.user, s->login.password, salt, answer, err) != WG_OK) {
      s->base.fault = WG_WIRE_FAULT_AUTH;
      return WG_WIRE_ERROR;
    }
    at = pg_begin(out, 'p');
    wg_buf_put_cstr(out, answer);
    pg_end(out, at);
    wg_wipe(answer, sizeof answer);
    login_enter(s, PG_PASSWORD_SENT);
    return WG_WIRE_MORE;
  }
  case SASL: return login_sasl(s, body, out, err);
  case SASL_CONTINUE:
    if (s->state != PG_SASL_FIRST) break;
    login_enter(s, PG_SASL_PROOF);
    return login_prove(s, &body, out, err);
  case SASL_FINAL:
    if (s->state != PG_SASL_FINAL) break;
    if (wg_scram_verify(&s->scram, (const char *)body.p, body.len, err)) {
      s->base.fault = WG_WIRE_FAULT_AUTH;
      return WG_WIRE_ERROR;
    }
    login_enter(s, PG_SASL_VERIFIED);
    return WG_WIRE_MORE;
  default:
    s->base.fault = WG_WIRE_FAULT_AUTH;
    wg_error_set(err, WG_UNSUPPORTED, 0,
                 "postgres: the server asks for authentication method %u, which is not supported",
                 kind);
    wg_error_hint(err, "let pg_hba.conf say scram-sha-256 for this host");
    return WG_WIRE_ERROR;
  }
  return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL, "SASL message out of turn");
}

static wg_wire_step login_message(pg_server *s, uint8_t type, wg_reader body, wg_buf *out,
                                  wg_error *err) {
  switch (type) {
  case 'E': return login_refused(s, body, err);
  case 'N': return WG_WIRE_MORE;
  case 'R':
    if (s->state == PG_AUTHENTICATED) break;
    return login_auth(s, body, out, err);
  case 'v': /* NegotiateProtocolVersion: we ask for the oldest and no option; nothing to give up */
    if (s->state != PG_STARTED) break;
    return WG_WIRE_MORE;
  case 'S':
    if (s->state != PG_AUTHENTICATED) break;
    if (pg_param_take(s, body)) return WG_WIRE_MORE;
    return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL, "malformed ParameterStatus");
  case 'K':
    if (s->state != PG_AUTHENTICATED) break;
    s->pid = wg_take_u32(&body);
    s->key = wg_take_u32(&body);
    if (!body.failed) return WG_WIRE_MORE;
    return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL, "malformed BackendKeyData");
  case 'Z':
    if (s->state != PG_AUTHENTICATED) break;
    if (wg_take_u8(&body) != 'I' || body.failed)
      return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL, "malformed ReadyForQuery");
    login_enter(s, PG_READY);
    return WG_WIRE_OK;
  default: break;
  }
  s->base.fault = WG_WIRE_FAULT_OTHER;
  wg_error_set(err, WG_PROTOCOL, 0, "postgres: message 0x%02x out of turn during log-in", type);
  wg_error_hint(err, "is a PostgreSQL server listening there?");
  return WG_WIRE_ERROR;
}

static wg_wire_step pg_login(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err) {
  pg_server *s = (pg_server *)base;
  wg_wire_step step = WG_WIRE_MORE;
  if (s->state == PG_NEW || s->state == PG_ASKED) {
    put_startup(s, out);
    login_enter(s, PG_STARTED);
  }
  if (s->state == PG_SASL_PROOF) step = login_prove(s, NULL, out, err);
  while (step == WG_WIRE_MORE) {
    uint8_t type;
    wg_reader body;
    step = pg_next(in, &type, &body, err);
    if (step == WG_WIRE_ERROR) s->base.fault = WG_WIRE_FAULT_OTHER;
    if (step != WG_WIRE_OK) break;
    step = login_message(s, type, body, out, err);
    pg_drop(in);
  }
  if (step != WG_WIRE_ERROR && out->failed)
    return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_NOMEM, "out of memory");
  return step;
}

/* ---- our own requests ---- */

static void pg_reset(wg_wire_server *base, const wg_wire_track *t, wg_buf *out) {
  pg_server *s = (pg_server *)base;
  s->awaited = 1;
  if (t->txn != 'I') { /* DISCARD ALL cannot run inside a transaction, so two messages */
    pg_put_query(out, "ROLLBACK");
    s->awaited = 2;
  }
  pg_put_query(out, "DISCARD ALL");
}

static void pg_ping(wg_wire_server *base, wg_buf *out) {
  ((pg_server *)base)->awaited = 1;
  pg_put_query(out, "");
}

static void pg_cancel(const wg_wire_server *base, wg_buf *out) {
  const pg_server *s = (const pg_server *)base;
  if (s->pid == 0) return;
  size_t at = pg_begin(out, 0);
  wg_buf_put_u32(out, PG_CANCEL_REQUEST);
  wg_buf_put_u32(out, s->pid);
  wg_buf_put_u32(out, s->key);
  pg_end(out, at);
}

static wg_wire_step pg_reply(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err) {
  (void)out;
  pg_server *s = (pg_server *)base;
  for (;;) {
    uint8_t type;
    wg_reader body;
    wg_wire_step step = pg_next(in, &type, &body, err);
    if (step != WG_WIRE_OK) return step;
    bool fine = true;
    switch (type) {
    case 'Z':
      fine = wg_take_u8(&body) == 'I' && !body.failed && s->awaited > 0;
      if (fine) s->awaited--;
      break;
    case 'S': fine = pg_param_take(s, body); break;
    case 'C': /* CommandComplete */
    case 'I': /* EmptyQueryResponse */
    case 'N': /* what a LISTEN left, or a warning (no transaction to roll back) */
    case 'A': break;
    case 'E': {
      pg_error_fields f = pg_error_read(body);
      wg_error_set(err, WG_LOST, 0, "postgres: %.300s (SQLSTATE %.5s)", f.message, f.sqlstate);
      return WG_WIRE_ERROR;
    }
    default: fine = false; break;
    }
    if (!fine) {
      wg_error_set(err, WG_PROTOCOL, 0, "postgres: message 0x%02x not expected", type);
      return WG_WIRE_ERROR;
    }
    pg_drop(in);
    if (type == 'Z' && s->awaited == 0) return WG_WIRE_OK;
  }
}

static void pg_bye(wg_wire_server *base, wg_buf *out) {
  (void)base;
  pg_end(out, pg_begin(out, 'X'));
}

static const char *pg_told(const wg_wire_server *base, const char *name) {
  return pg_param_get((const pg_server *)base, name);
}

const wg_wire_ops wg_wire_postgres = {
    .protocol = WG_DB_POSTGRES,
    .alpn = "postgresql",
    .ask_tls = pg_ask_tls,
    .name = "postgres",
    .sqlstate = true,
    .socket_path = pg_socket_path,
    .server_new = pg_server_new,
    .server_free = pg_server_free,
    .login = pg_login,
    .reset = pg_reset,
    .ping = pg_ping,
    .reply = pg_reply,
    .told = pg_told,
    .bye = pg_bye,
    .cancel = pg_cancel,
    .guest_new = pg_guest_new,
    .guest_free = pg_guest_free,
    .greet = pg_greet,
    .greet_reply = pg_greet_reply,
    .track_client = pg_track_client,
    .track_server = pg_track_server,
    .idle = pg_idle,
    .unfinished = pg_unfinished,
    .ask_password = pg_ask_password,
    .refuse = pg_refuse,
    .farewell = pg_farewell,
};
