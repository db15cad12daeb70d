/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL's frontend protocol 3.0, extended query (chapters 55.2.3 and 55.7 of its manual).
 *
 *   IDLE --query--> BUSY --ReadyForQuery--> IDLE
 *                    |  lost, timed out, or a message that the protocol does not allow
 *                    v
 *                  BROKEN: every call fails; close() lets the host end the session */
#include "db.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum pg_state { PG_IDLE, PG_BUSY, PG_BROKEN };

enum {
  PG_RECV_BYTES = 64 * 1024,
  PG_MAX_MESSAGE = 64 * 1024 * 1024, /* of one message, and of one result */
  PG_MAX_COLUMNS = 1664,             /* the server's own limit */
  PG_MAX_PARAMS = 65535,             /* Int16 in Bind, read as unsigned */
};

/* Bytes that grow. */
typedef struct pg_bytes {
  uint8_t *ptr;
  size_t len, cap;
  bool failed; /* memory ran out; what was written since is lost */
} pg_bytes;

struct wg_pg {
  enum pg_state state; /* changed by pg_enter() only */
  uint64_t handle;
  int32_t backend_pid;
  char transaction;
  pg_bytes out;
  pg_bytes in;    /* received; [at, len) is not consumed yet */
  size_t in_at;
  wg_pg_error broken; /* why, once it is */
};

/* A field is `len` bytes at `offset` in the result's bytes; -1: NULL. */
typedef struct pg_field {
  size_t offset;
  int32_t len;
} pg_field;

struct wg_pg_result {
  pg_bytes bytes; /* names and values */
  pg_field *columns;
  size_t column_count;
  pg_field *fields;
  size_t row_count, field_cap;
  char tag[64];
};

static void pg_enter(wg_pg *c, enum pg_state next) {
  if (c->state != PG_BROKEN) c->state = next; /* there is no way back */
}

/* -- Errors -- */

static bool pg_fail(wg_pg_error *err, wg_pg_errc code, const char *message) {
  *err = (wg_pg_error){.code = code};
  snprintf(err->message, sizeof err->message, "%s", message);
  return false;
}

/* The connection is in doubt from now on. */
static bool pg_break(wg_pg *c, wg_pg_error *err, wg_pg_errc code, const char *message) {
  pg_fail(err, code, message);
  c->broken = *err;
  pg_enter(c, PG_BROKEN);
  return false;
}

static wg_pg_errc pg_errc_of(wg_db_errc code) {
  switch (code) {
  case WG_DB_POOL_EXHAUSTED: return WG_PG_EXHAUSTED;
  case WG_DB_NOT_ALLOWED:
  case WG_DB_AUTHENTICATION_FAILED: return WG_PG_DENIED;
  case WG_DB_CONNECTION_FAILED:
  case WG_DB_CONNECTION_LOST:
  case WG_DB_TIMEOUT: return WG_PG_UNAVAILABLE;
  case WG_DB_INVALID_HANDLE:
  case WG_DB_INVALID_ARGUMENT:
  case WG_DB_WOULD_BLOCK:
  case WG_DB_UNSUPPORTED:
  case WG_DB_OK: break;
  }
  return WG_PG_INVALID;
}

static void pg_error_of(wg_pg_error *err, const wg_db_error *from) {
  *err = (wg_pg_error){.code = pg_errc_of(from->code)};
  snprintf(err->message, sizeof err->message, "%s: %s", wg_db_errc_name(from->code), from->message);
}

static bool pg_break_db(wg_pg *c, wg_pg_error *err, const wg_db_error *from) {
  pg_error_of(err, from);
  c->broken = *err;
  pg_enter(c, PG_BROKEN);
  return false;
}

/* What a program can do about an error of the server; classes of appendix A of the manual. */
static wg_pg_errc pg_errc_of_sqlstate(const char *state) {
  if (memcmp(state, "08", 2) == 0 || memcmp(state, "57P", 3) == 0) return WG_PG_UNAVAILABLE;
  if (strcmp(state, "53300") == 0) return WG_PG_EXHAUSTED;
  if (memcmp(state, "28", 2) == 0) return WG_PG_DENIED;
  return WG_PG_SERVER;
}

/* -- Writing -- */

static uint8_t *bytes_room(pg_bytes *b, size_t want) {
  if (b->failed) return NULL;
  if (b->cap - b->len < want) {
    size_t cap = b->cap < 512 ? 512 : b->cap * 2;
    if (cap < b->len + want) cap = b->len + want;
    uint8_t *p = want > PG_MAX_MESSAGE || cap > 2u * PG_MAX_MESSAGE ? NULL : realloc(b->ptr, cap);
    if (p == NULL) {
      b->failed = true;
      return NULL;
    }
    b->ptr = p;
    b->cap = cap;
  }
  return b->ptr + b->len;
}

static void put(pg_bytes *b, const void *p, size_t len) {
  uint8_t *to = bytes_room(b, len);
  if (to == NULL) return;
  if (len > 0) memcpy(to, p, len);
  b->len += len;
}

static void put_u8(pg_bytes *b, unsigned v) { put(b, &(uint8_t){(uint8_t)v}, 1); }

static void put_u16(pg_bytes *b, unsigned v) {
  put(b, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

static void put_u32(pg_bytes *b, uint32_t v) {
  put(b, (uint8_t[]){(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}, 4);
}

/* A string that the server reads up to its NUL. */
static void put_text(pg_bytes *b, const char *s) { put(b, s, strlen(s) + 1); }

/* Begins a message; message_end() fills in its length. @param type  0: none (start-up) */
static size_t message_begin(pg_bytes *b, char type) {
  if (type != 0) put_u8(b, (unsigned char)type);
  size_t at = b->len;
  put_u32(b, 0);
  return at;
}

static void message_end(pg_bytes *b, size_t at) {
  if (b->failed) return;
  uint32_t len = (uint32_t)(b->len - at);
  for (int i = 0; i < 4; i++) b->ptr[at + (size_t)i] = (uint8_t)(len >> (24 - 8 * i));
}

static bool pg_flush(wg_pg *c, wg_pg_error *err) {
  bool failed = c->out.failed;
  size_t len = c->out.len;
  c->out.len = 0;
  c->out.failed = false;
  /* Nothing was sent: the connection stays as good as it was. */
  if (failed) return pg_fail(err, WG_PG_NOMEM, "the query does not fit into memory");
  wg_db_error why;
  if (!wg_db_send_all(c->handle, c->out.ptr, len, &why)) return pg_break_db(c, err, &why);
  pg_enter(c, PG_BUSY);
  return true;
}

/* -- Reading -- */

/* The rest of a message; reading past its end makes it bad and yields zeroes. */
typedef struct pg_reader {
  const uint8_t *p;
  size_t left;
  bool bad;
} pg_reader;

static const uint8_t *get(pg_reader *r, size_t n) {
  if (n > r->left) {
    r->bad = true;
    r->left = 0;
    return NULL;
  }
  const uint8_t *p = r->p;
  r->p += n;
  r->left -= n;
  return p;
}

static uint32_t get_int(pg_reader *r, size_t size) {
  const uint8_t *p = get(r, size);
  uint32_t v = 0;
  for (size_t i = 0; p != NULL && i < size; i++) v = v << 8 | p[i];
  return v;
}

/* @return "" when there is no NUL */
static const char *get_text(pg_reader *r) {
  const uint8_t *end = r->left == 0 ? NULL : memchr(r->p, 0, r->left);
  if (end == NULL) {
    get(r, r->left + 1);
    return "";
  }
  return (const char *)get(r, (size_t)(end - r->p) + 1);
}

/* Receives until `want` bytes are there. */
static bool pg_fill(wg_pg *c, size_t want, wg_pg_error *err) {
  while (c->in.len - c->in_at < want) {
    if (c->in_at > 0) {
      memmove(c->in.ptr, c->in.ptr + c->in_at, c->in.len - c->in_at);
      c->in.len -= c->in_at;
      c->in_at = 0;
    }
    wg_db_bytes got;
    wg_db_error why;
    if (!wg_db_recv(c->handle, PG_RECV_BYTES, &got, &why)) return pg_break_db(c, err, &why);
    if (got.len == 0)
      return pg_break(c, err, WG_PG_UNAVAILABLE, "the server closed the connection");
    if (c->in.len == 0) { /* the usual case: take the memory instead of copying it */
      free(c->in.ptr);
      c->in = (pg_bytes){got.ptr, got.len, got.len, false};
    } else {
      put(&c->in, got.ptr, got.len);
      free(got.ptr);
      if (c->in.failed) return pg_break(c, err, WG_PG_NOMEM, "a message does not fit into memory");
    }
  }
  return true;
}

/* The next message. Its bytes are valid until the next call. */
static bool pg_next(wg_pg *c, char *type, pg_reader *r, wg_pg_error *err) {
  if (!pg_fill(c, 5, err)) return false;
  const uint8_t *p = c->in.ptr + c->in_at;
  uint32_t len = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
  if (len < 4 || len > PG_MAX_MESSAGE)
    return pg_break(c, err, WG_PG_PROTOCOL, "the server sent a message of an impossible length");
  if (!pg_fill(c, (size_t)len + 1, err)) return false;
  p = c->in.ptr + c->in_at;
  *type = (char)p[0];
  *r = (pg_reader){p + 5, len - 4, false};
  c->in_at += (size_t)len + 1;
  return true;
}

/* ErrorResponse: fields of a type byte and a string each. */
static void pg_error_response(pg_reader *r, wg_pg_error *err) {
  *err = (wg_pg_error){.code = WG_PG_SERVER};
  char type;
  while (r->left > 0 && (type = (char)get_int(r, 1)) != 0) {
    const char *text = get_text(r);
    if (type == 'C')
      snprintf(err->sqlstate, sizeof err->sqlstate, "%s", text);
    else if (type == 'n')
      snprintf(err->constraint, sizeof err->constraint, "%s", text);
    else if (type == 'M')
      snprintf(err->message, sizeof err->message, "%s", text);
  }
  err->code = pg_errc_of_sqlstate(err->sqlstate);
}

/* -- Connecting -- */

static bool pg_handshake(wg_pg *c, const wg_pg_config *config, wg_pg_error *err) {
  size_t at = message_begin(&c->out, 0);
  put_u32(&c->out, 3 << 16);
  put_text(&c->out, "user");
  put_text(&c->out, config->user);
  if (config->database != NULL) {
    put_text(&c->out, "database");
    put_text(&c->out, config->database);
  }
  if (config->application != NULL) {
    put_text(&c->out, "application_name");
    put_text(&c->out, config->application);
  }
  put_text(&c->out, "client_encoding");
  put_text(&c->out, "UTF8");
  put_u8(&c->out, 0);
  message_end(&c->out, at);
  if (!pg_flush(c, err)) return false;

  for (;;) {
    char type;
    pg_reader r;
    if (!pg_next(c, &type, &r, err)) return false;
    switch (type) {
    case 'R': {
      uint32_t method = get_int(&r, 4);
      if (method == 0) break;
      if (method != 3) /* AuthenticationCleartextPassword: the host's own, inside the process */
        return pg_break(c, err, WG_PG_DENIED, "the host asks for an unknown way to authenticate");
      if (config->password == NULL)
        return pg_break(c, err, WG_PG_DENIED, "the database wants a password");
      at = message_begin(&c->out, 'p');
      put_text(&c->out, config->password);
      message_end(&c->out, at);
      if (!pg_flush(c, err)) return false;
      break;
    }
    case 'K': c->backend_pid = (int32_t)get_int(&r, 4); break;
    case 'S':
    case 'N': break; /* ParameterStatus, NoticeResponse */
    case 'E':
      pg_error_response(&r, err);
      c->broken = *err;
      pg_enter(c, PG_BROKEN);
      return false;
    case 'Z':
      c->transaction = (char)get_int(&r, 1);
      pg_enter(c, PG_IDLE);
      return true;
    default:
      return pg_break(c, err, WG_PG_PROTOCOL, "the server sent an unexpected message at start-up");
    }
    if (r.bad) return pg_break(c, err, WG_PG_PROTOCOL, "the server sent a broken message");
  }
}

wg_pg *wg_pg_connect(const wg_pg_config *config, wg_pg_error *err) {
  if (config->host == NULL || config->user == NULL) {
    pg_fail(err, WG_PG_INVALID, "host and user must be given");
    return NULL;
  }
  wg_pg *c = calloc(1, sizeof *c);
  if (c == NULL) {
    pg_fail(err, WG_PG_NOMEM, "out of memory");
    return NULL;
  }
  wg_pg_config full = *config;
  if (full.port == 0) full.port = 5432;
  if (full.database == NULL) full.database = full.user;
  wg_db_error why;
  if (!wg_db_connect(WG_DB_KIND_POSTGRES, &full, &c->handle, &why)) {
    pg_error_of(err, &why);
    free(c);
    return NULL;
  }
  if (!pg_handshake(c, &full, err)) {
    wg_pg_close(c);
    return NULL;
  }
  return c;
}

void wg_pg_close(wg_pg *c) {
  if (c == NULL) return;
  wg_db_error why;
  wg_db_close(c->handle, &why); /* it can only say that the connection is gone already */
  free(c->in.ptr);
  free(c->out.ptr);
  free(c);
}

int32_t wg_pg_backend_pid(const wg_pg *c) { return c->backend_pid; }
char wg_pg_transaction_status(const wg_pg *c) { return c->transaction; }

/* -- Queries -- */

static void pg_put_bind(pg_bytes *b, const char *name, const wg_pg_param *params, size_t count) {
  size_t at = message_begin(b, 'B');
  put_u8(b, 0); /* the unnamed portal */
  put_text(b, name);
  put_u16(b, (unsigned)count);
  for (size_t i = 0; i < count; i++) put_u16(b, params[i].kind == WG_PG_PARAM_BINARY);
  put_u16(b, (unsigned)count);
  for (size_t i = 0; i < count; i++) {
    const wg_pg_param *p = &params[i];
    char digits[24];
    if (p->kind == WG_PG_PARAM_INT) {
      int len = snprintf(digits, sizeof digits, "%lld", (long long)p->number);
      put_u32(b, (uint32_t)len);
      put(b, digits, (size_t)len);
    } else if (p->bytes == NULL) {
      put_u32(b, UINT32_MAX);
    } else {
      if (p->len > PG_MAX_MESSAGE) b->failed = true;
      put_u32(b, (uint32_t)p->len);
      put(b, p->bytes, p->len);
    }
  }
  put_u16(b, 0); /* all columns as text */
  message_end(b, at);
}

static void pg_put_parse(pg_bytes *b, const char *name, const char *sql) {
  size_t at = message_begin(b, 'P');
  put_text(b, name);
  put_text(b, sql);
  put_u16(b, 0); /* the server infers the types */
  message_end(b, at);
}

static void pg_put_sync(pg_bytes *b) { message_end(b, message_begin(b, 'S')); }

static void pg_put_run(pg_bytes *b, const char *statement, const wg_pg_param *params,
                       size_t count) {
  pg_put_bind(b, statement, params, count);
  size_t at = message_begin(b, 'D');
  put(b, "P", 2); /* describe the unnamed portal */
  message_end(b, at);
  at = message_begin(b, 'E');
  put_u8(b, 0);
  put_u32(b, 0); /* all rows */
  message_end(b, at);
  pg_put_sync(b);
}

/* Copies a value into the result. */
static pg_field result_keep(wg_pg_result *res, const void *p, size_t len) {
  pg_field f = {res->bytes.len, (int32_t)len};
  put(&res->bytes, p, len);
  return f;
}

static bool result_columns(wg_pg_result *res, pg_reader *r) {
  size_t count = get_int(r, 2);
  if (r->bad || count > PG_MAX_COLUMNS || res->columns != NULL) return false;
  res->columns = calloc(count + 1, sizeof *res->columns);
  if (res->columns == NULL) {
    res->bytes.failed = true;
    return true;
  }
  res->column_count = count;
  for (size_t i = 0; i < count; i++) {
    const char *name = get_text(r);
    res->columns[i] = result_keep(res, name, strlen(name));
    get(r, 18); /* table, attribute, type, size, modifier, format */
  }
  return !r->bad;
}

static bool result_row(wg_pg_result *res, pg_reader *r) {
  size_t count = get_int(r, 2);
  if (r->bad || count != res->column_count || res->columns == NULL) return false;
  if (res->bytes.failed) return true;
  if ((res->row_count + 1) * count > res->field_cap) {
    size_t cap = res->field_cap * 2 + count * 16;
    pg_field *fields =
        cap > PG_MAX_MESSAGE / sizeof *fields ? NULL : realloc(res->fields, cap * sizeof *fields);
    if (fields == NULL) {
      res->bytes.failed = true;
      return true;
    }
    res->fields = fields;
    res->field_cap = cap;
  }
  for (size_t i = 0; i < count; i++) {
    uint32_t len = get_int(r, 4);
    pg_field *f = &res->fields[res->row_count * count + i];
    if (len == UINT32_MAX) {
      *f = (pg_field){0, -1};
      continue;
    }
    const uint8_t *p = get(r, len);
    if (p == NULL) return false;
    *f = result_keep(res, p, len);
  }
  res->row_count++;
  return !r->bad;
}

/* Reads up to ReadyForQuery. The first error wins; the connection stays in step all the same. */
static bool pg_read_result(wg_pg *c, wg_pg_result *res, wg_pg_error *err) {
  bool failed = false;
  for (;;) {
    char type;
    pg_reader r;
    wg_pg_error late;
    if (!pg_next(c, &type, &r, failed ? &late : err)) return false;
    bool good = true;
    switch (type) {
    case '1': /* ParseComplete */
    case '2': /* BindComplete */
    case 'n': /* NoData */
    case 's': /* PortalSuspended */
    case 'I': /* EmptyQueryResponse */
    case 'N': /* NoticeResponse */
    case 'S': /* ParameterStatus */
    case 'A': /* NotificationResponse */
    case 't': /* ParameterDescription */ break;
    case 'T': good = result_columns(res, &r); break;
    case 'D': good = result_row(res, &r); break;
    case 'C': snprintf(res->tag, sizeof res->tag, "%s", get_text(&r)); break;
    case 'E':
      pg_error_response(&r, failed ? &late : err);
      failed = true;
      break;
    case 'G': { /* CopyInResponse: nothing to copy; CopyFail makes the server answer with an error */
      size_t at = message_begin(&c->out, 'f');
      put_text(&c->out, "COPY FROM STDIN is not supported by this client");
      message_end(&c->out, at);
      pg_put_sync(&c->out); /* the first Sync was eaten by the copy */
      if (!pg_flush(c, failed ? &late : err)) return false;
      break;
    }
    case 'H': /* CopyOutResponse */
    case 'd': /* CopyData */
    case 'c': /* CopyDone */
      if (!failed) pg_fail(err, WG_PG_INVALID, "COPY TO STDOUT is not supported by this client");
      failed = true;
      break;
    case 'Z':
      c->transaction = (char)get_int(&r, 1);
      pg_enter(c, PG_IDLE);
      if (!failed && res->bytes.failed) {
        pg_fail(err, WG_PG_NOMEM, "the result does not fit into memory");
        failed = true;
      }
      return !failed;
    default: good = false;
    }
    if (!good || r.bad)
      return pg_break(c, failed ? &late : err, WG_PG_PROTOCOL, "the server sent a broken message");
  }
}

static bool pg_ready(wg_pg *c, size_t count, wg_pg_error *err) {
  if (c->state == PG_BROKEN) {
    *err = c->broken;
    return false;
  }
  if (c->state == PG_BUSY) /* another task of this instance uses it */
    return pg_fail(err, WG_PG_INVALID, "the connection is in use");
  if (count > PG_MAX_PARAMS) return pg_fail(err, WG_PG_INVALID, "more than 65535 parameters");
  return true;
}

/* Sends what was put and reads the answer. */
static wg_pg_result *pg_roundtrip(wg_pg *c, wg_pg_error *err) {
  wg_pg_result *res = calloc(1, sizeof *res);
  if (res == NULL) {
    c->out.len = 0;
    pg_fail(err, WG_PG_NOMEM, "out of memory");
    return NULL;
  }
  if (pg_flush(c, err) && pg_read_result(c, res, err)) return res;
  wg_pg_free(res);
  return NULL;
}

wg_pg_result *wg_pg_query(wg_pg *c, const char *sql, const wg_pg_param *params, size_t count,
                          wg_pg_error *err) {
  if (!pg_ready(c, count, err)) return NULL;
  pg_put_parse(&c->out, "", sql);
  pg_put_run(&c->out, "", params, count);
  return pg_roundtrip(c, err);
}

bool wg_pg_prepare(wg_pg *c, const char *name, const char *sql, wg_pg_error *err) {
  if (!pg_ready(c, 0, err)) return false;
  pg_put_parse(&c->out, name, sql);
  pg_put_sync(&c->out);
  wg_pg_result *res = pg_roundtrip(c, err);
  wg_pg_free(res);
  return res != NULL;
}

wg_pg_result *wg_pg_query_prepared(wg_pg *c, const char *name, const wg_pg_param *params,
                                   size_t count, wg_pg_error *err) {
  if (!pg_ready(c, count, err)) return NULL;
  pg_put_run(&c->out, name, params, count);
  return pg_roundtrip(c, err);
}

/* -- Results -- */

void wg_pg_free(wg_pg_result *r) {
  if (r == NULL) return;
  free(r->bytes.ptr);
  free(r->columns);
  free(r->fields);
  free(r);
}

size_t wg_pg_rows(const wg_pg_result *r) { return r->row_count; }
size_t wg_pg_columns(const wg_pg_result *r) { return r->column_count; }
wg_str wg_pg_tag(const wg_pg_result *r) { return (wg_str){r->tag, strlen(r->tag)}; }

static wg_str result_str(const wg_pg_result *r, const pg_field *f) {
  if (f->len < 0) return (wg_str){NULL, 0};
  if (f->len == 0) return WG_STR("");
  return (wg_str){(const char *)r->bytes.ptr + f->offset, (size_t)f->len};
}

wg_str wg_pg_column(const wg_pg_result *r, size_t column) {
  return column < r->column_count ? result_str(r, &r->columns[column]) : (wg_str){NULL, 0};
}

wg_str wg_pg_text(const wg_pg_result *r, size_t row, size_t column) {
  if (row >= r->row_count || column >= r->column_count) return (wg_str){NULL, 0};
  return result_str(r, &r->fields[row * r->column_count + column]);
}

bool wg_pg_is_null(const wg_pg_result *r, size_t row, size_t column) {
  return wg_pg_text(r, row, column).ptr == NULL;
}

bool wg_pg_int64(const wg_pg_result *r, size_t row, size_t column, int64_t *out) {
  return wg_str_int64(wg_pg_text(r, row, column), out);
}

bool wg_pg_boolean(const wg_pg_result *r, size_t row, size_t column, bool *out) {
  wg_str s = wg_pg_text(r, row, column);
  if (wg_str_is(s, "t"))
    *out = true;
  else if (wg_str_is(s, "f"))
    *out = false;
  else
    return false;
  return true;
}

int64_t wg_pg_affected(const wg_pg_result *r) {
  const char *last = strrchr(r->tag, ' ');
  int64_t n = 0;
  if (last != NULL) wg_str_int64((wg_str){last + 1, strlen(last + 1)}, &n);
  return n;
}
