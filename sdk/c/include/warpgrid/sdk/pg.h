/* SPDX-License-Identifier: Apache-2.0 */
/** @file warpgrid/sdk/pg.h  A PostgreSQL client over the host's connection pool.
 *
 *  Speaks protocol 3.0 with the extended query cycle: parameters travel beside the SQL text, never
 *  inside it. A connection is leased from the pool by wg_pg_connect() and given back by
 *  wg_pg_close(); both are cheap, so lease for one request at a time. In WASI 0.3 every call may
 *  let other tasks run.
 *
 *  @par Example
 *  @code
 *  wg_pg_error err;
 *  wg_pg *db = wg_pg_connect(&(wg_pg_config){.host = "db.test.warp.local", .database = "app",
 *                                            .user = "app"}, &err);
 *  wg_pg_result *r = db ? wg_pg_query(db, "SELECT name FROM users WHERE id = $1",
 *                                     (wg_pg_param[]){wg_pg_int(7)}, 1, &err) : NULL;
 *  if (r == NULL) fprintf(stderr, "%s\n", err.message);
 *  else if (wg_pg_rows(r) == 1) printf("%.*s\n", WG_STR_ARGS(wg_pg_text(r, 0, 0)));
 *  wg_pg_free(r);
 *  wg_pg_close(db);
 *  @endcode */
#pragma once
#include <string.h>
#include <warpgrid/sdk/base.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct wg_pg wg_pg;
typedef struct wg_pg_result wg_pg_result;

/** What went wrong, as far as a program can act on it. */
typedef enum wg_pg_errc {
  WG_PG_OK,
  WG_PG_SERVER,      /**< the server said no: see sqlstate. The connection can be used further */
  WG_PG_UNAVAILABLE, /**< refused, unreachable, lost, timed out or starting up: try later */
  WG_PG_EXHAUSTED,   /**< the pool's or the server's connections were all in use: try later */
  WG_PG_DENIED,      /**< not declared in warp.toml, or the credentials were refused */
  WG_PG_INVALID,     /**< the program's own mistake: an argument, a closed handle, a limit */
  WG_PG_PROTOCOL,    /**< the server sent what the protocol does not allow */
  WG_PG_NOMEM,
} wg_pg_errc;

/** A plain value; owns nothing. */
typedef struct wg_pg_error {
  wg_pg_errc code;
  char sqlstate[6];    /**< five characters, or "" when it does not come from the server */
  char constraint[64]; /**< the constraint that was violated, or "" */
  char message[256];
} wg_pg_error;

/** Strings are borrowed for the call. */
typedef struct wg_pg_config {
  const char *host;        /**< as in warp.toml */
  uint16_t port;           /**< 0: 5432 */
  const char *database;    /**< NULL: the same as user */
  const char *user;
  const char *password;    /**< NULL unless warp.toml says auth = "guest" */
  const char *application; /**< application_name; may be NULL */
} wg_pg_config;

/** Leases a connection, waiting in the pool's queue if need be.
 *  @return owned by the caller: wg_pg_close(); NULL: see *err */
wg_pg *wg_pg_connect(const wg_pg_config *config, wg_pg_error *err);
/** Gives the connection back, or ends it when it is in doubt. NULL is fine. */
void wg_pg_close(wg_pg *c);
/** Process id of the server's backend as the handshake told it. */
int32_t wg_pg_backend_pid(const wg_pg *c);
/** 'I' idle, 'T' in a transaction, 'E' in a failed one. */
char wg_pg_transaction_status(const wg_pg *c);

/** One parameter; make it with a function below. Borrows its bytes until the query returns. */
typedef struct wg_pg_param {
  const void *bytes; /**< NULL: SQL NULL, unless it is a number */
  size_t len;
  int64_t number;
  enum { WG_PG_PARAM_TEXT, WG_PG_PARAM_BINARY, WG_PG_PARAM_INT } kind;
} wg_pg_param;

static inline wg_pg_param wg_pg_null(void) { return (wg_pg_param){NULL, 0, 0, WG_PG_PARAM_TEXT}; }
/** The server reads the text as the type that it inferred for the parameter. */
static inline wg_pg_param wg_pg_str(wg_str s) {
  return (wg_pg_param){s.ptr, s.len, 0, WG_PG_PARAM_TEXT};
}
static inline wg_pg_param wg_pg_cstr(const char *s) {
  return (wg_pg_param){s, s == NULL ? 0 : strlen(s), 0, WG_PG_PARAM_TEXT};
}
/** Any integer type; out of the column's range is the server's error 22003. */
static inline wg_pg_param wg_pg_int(int64_t v) {
  return (wg_pg_param){NULL, 0, v, WG_PG_PARAM_INT};
}
static inline wg_pg_param wg_pg_bool(bool v) {
  return (wg_pg_param){v ? "t" : "f", 1, 0, WG_PG_PARAM_TEXT};
}
/** A bytea. */
static inline wg_pg_param wg_pg_bytes(const void *p, size_t len) {
  return (wg_pg_param){p, len, 0, WG_PG_PARAM_BINARY};
}

/** Runs one statement and reads all of its rows.
 *  @param sql  one statement with $1, $2, ... for the parameters
 *  @return owned by the caller: wg_pg_free(); NULL: see *err */
wg_pg_result *wg_pg_query(wg_pg *c, const char *sql, const wg_pg_param *params, size_t count,
                          wg_pg_error *err);
/** Names a statement on this connection for wg_pg_query_prepared(); it is gone after wg_pg_close(). */
bool wg_pg_prepare(wg_pg *c, const char *name, const char *sql, wg_pg_error *err);
wg_pg_result *wg_pg_query_prepared(wg_pg *c, const char *name, const wg_pg_param *params,
                                   size_t count, wg_pg_error *err);

/** NULL is fine. */
void wg_pg_free(wg_pg_result *r);
size_t wg_pg_rows(const wg_pg_result *r);
size_t wg_pg_columns(const wg_pg_result *r);
/** Name of a column; lives as long as the result, as all wg_str below do. */
wg_str wg_pg_column(const wg_pg_result *r, size_t column);
/** The server's tag, such as "INSERT 0 1". */
wg_str wg_pg_tag(const wg_pg_result *r);
/** Rows that the statement touched or returned, from the tag; 0 when it does not say. */
int64_t wg_pg_affected(const wg_pg_result *r);

/* Fields: out of range reads as NULL. */

bool wg_pg_is_null(const wg_pg_result *r, size_t row, size_t column);
/** The field as text; ptr is NULL for SQL NULL. */
wg_str wg_pg_text(const wg_pg_result *r, size_t row, size_t column);
/** @return false (and *out untouched) when it is NULL or no integer in range */
bool wg_pg_int64(const wg_pg_result *r, size_t row, size_t column, int64_t *out);
/** @return false (and *out untouched) when it is NULL or no boolean */
bool wg_pg_boolean(const wg_pg_result *r, size_t row, size_t column, bool *out);

#ifdef __cplusplus
}
#endif
