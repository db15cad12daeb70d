/* SPDX-License-Identifier: Apache-2.0 */
/** @file postgres.h  What the parts of the Postgres codec share. Chapter and section numbers are
 *  of PostgreSQL's documentation, chapter "Frontend/Backend Protocol". */
/* What does not pass unchanged between a guest and its server; all else does.
 *
 *   from the guest
 *     SSLRequest, GSSENCRequest   answered 'N': inside the process there is nothing to encrypt
 *     StartupMessage              answered from memory; parameters that differ from the server's
 *                                 session are set there by set_config(); `replication` is refused
 *     password messages           the server's log-in is the host's; a session that sends one is
 *                                 passed on and not used again
 *     CancelRequest               its key is ours: the server is told its own, or nothing
 *     Terminate                   withheld, and what follows it: it ends the guest's session only
 *   from the server
 *     its log-in                  Authentication*, NegotiateProtocolVersion, errors of it: the pool's
 *     BackendKeyData              withheld: the guest has a key of its own, void at its close
 *     answers to reset and ping   the pool's
 *
 * SQL is not looked at: what it changes in the session is undone by the reset. */
#pragma once
#include "db/wire/scram.h"
#include "db/wire/wire.h"

enum {
  PG_PROTOCOL_3_0 = 3 << 16,
  PG_CANCEL_REQUEST = 80877102,
  PG_SSL_REQUEST = 80877103,
  PG_GSSENC_REQUEST = 80877104,
  PG_STARTUP_MAX = 10000,          /**< of a start-up packet, as in the real server */
  PG_MESSAGE_MAX = 0x3FFFFFFF,     /**< of any message: 1 GiB - 1, as in the real server */
  PG_PARAMS_MAX = 64,              /**< parameters that a server may report */
  PG_PARAM_BYTES_MAX = 32768        /**< of one reported name and value */
};

/** A reported parameter: one allocation, "name\0value\0". */
typedef struct pg_param {
  char *name;
  const char *value;
} pg_param;

typedef enum pg_login_state {
  PG_NEW,           /**< nothing sent */
  PG_ASKED,         /**< SSLRequest sent, or answered */
  PG_STARTED,       /**< start-up sent, the server says how to authenticate */
  PG_PASSWORD_SENT, /**< cleartext or md5 */
  PG_SASL_FIRST,    /**< client-first sent */
  PG_SASL_PROOF,    /**< server-first came, the proof is being computed */
  PG_SASL_FINAL,    /**< client-final sent */
  PG_SASL_VERIFIED, /**< the server has proved itself */
  PG_AUTHENTICATED, /**< AuthenticationOk came, parameters follow */
  PG_READY
} pg_login_state;

typedef struct pg_server {
  wg_wire_server base;
  pg_login_state state;           /* changed by login_enter() only */
  wg_wire_login login;
  wg_scram scram;
  pg_param params[PG_PARAMS_MAX]; /* in the order in which the server first told them */
  size_t param_count;
  uint32_t pid, key;              /* BackendKeyData */
  uint32_t awaited;               /* ReadyForQuery messages that our own requests are owed */
  wg_buf capture;                 /* body of a ParameterStatus on its way to a guest */
} pg_server;

/** Cuts one whole message off the front of `in`. The body borrows from `in` until pg_drop().
 *  @return OK, MORE, ERROR (length below 4, or above the buffer's limit) */
wg_wire_step pg_next(const wg_buf *in, uint8_t *type, wg_reader *body, wg_error *err);
/** Removes the message that pg_next() gave. */
void pg_drop(wg_buf *in);

/** Takes the body of a ParameterStatus. False: malformed, too many, or out of memory. */
bool pg_param_take(pg_server *s, wg_reader body);
/** The value of a reported parameter, without regard to case; NULL when the server has none. */
const char *pg_param_get(const pg_server *s, const char *name);

/** The fields of an ErrorResponse that we use; borrowed, "" when absent. */
typedef struct pg_error_fields {
  const char *severity, *sqlstate, *message, *hint;
} pg_error_fields;
pg_error_fields pg_error_read(wg_reader body);

/** Begins a message; returns where its length goes, for pg_end(). */
size_t pg_begin(wg_buf *out, uint8_t type);
void pg_end(wg_buf *out, size_t length_at);
/** A whole ErrorResponse of severity FATAL; hint may be NULL. */
void pg_put_fatal(wg_buf *out, const char *sqlstate, const char *message, const char *hint);
void pg_put_query(wg_buf *out, const char *sql);

/* postgres_greet.c */
wg_wire_guest *pg_guest_new(void);
void pg_guest_free(wg_wire_guest *g);
wg_wire_step pg_greet(wg_wire_guest *g, wg_wire_server *s, const wg_wire_policy *policy,
                      const uint8_t *p, size_t n, size_t *taken, wg_buf *to_guest,
                      wg_buf *to_server, wg_error *err);
wg_wire_step pg_greet_reply(wg_wire_guest *g, wg_wire_server *s, wg_buf *in, wg_buf *to_guest,
                            wg_error *err);
/* postgres_track.c */
wg_wire_step pg_track_client(wg_wire_track *t, const uint8_t *p, size_t n, size_t *pass,
                             wg_error *err);
wg_wire_step pg_track_server(wg_wire_track *t, wg_wire_server *s, const uint8_t *p, size_t n,
                             wg_error *err);
bool pg_idle(const wg_wire_track *t);
bool pg_unfinished(const wg_wire_track *t);
/* postgres_greet.c */
void pg_ask_password(wg_wire_guest *base, wg_buf *to_guest);
void pg_refuse(wg_wire_guest *g, const wg_error *why, wg_buf *to_guest);
/* postgres_track.c */
void pg_farewell(const wg_wire_track *t, const char *message, wg_buf *to_guest);
