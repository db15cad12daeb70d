/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/mysql.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is asked of a server that has logged us in: to be as good as new, or alive. */

/* ---- life ---- */

static wg_wire_server *my_server_new(const wg_wire_login *login) {
  my_server *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->base.ops = &wg_wire_mysql;
  s->login = *login;
  return &s->base;
}

static void my_server_free(wg_wire_server *base) {
  my_server *s = (my_server *)base;
  if (!s) return;
  wg_wipe(s, sizeof *s);
  free(s);
}

static int my_socket_path(const char *dir, uint16_t port, char *out, size_t cap) {
  (void)port;
  return wg_wire_socket_path(dir, "mysqld.sock", out, cap);
}

/* ---- requests ---- */

void my_await_answer(my_server *s, my_await what) {
  WG_ASSERT(s->await_count < MY_AWAITS_MAX);
  if (s->await_count == 0) {
    s->await_at = 0;
    s->seq = 1;
    memset(&s->row, 0, sizeof s->row);
  }
  s->awaits[s->await_count++] = what;
}

/** What the guest before may have set of the log-in's options, which no reset touches. */
static void put_options(my_server *s, wg_buf *out) {
  if (!s->options) return;
  size_t at = my_begin(out, 0);
  wg_buf_put_u8(out, MY_COM_SET_OPTION);
  my_put_u16(out, s->caps & MY_CAP_MULTI_STATEMENTS ? 0 : 1);
  my_end(out, at);
  my_await_answer(s, MY_AWAIT_EOF);
}

/** No reset takes the texts back that a guest had recorded by SET profiling: where SHOW PROFILES lists any,
 *  the connection is not used again. */
static void put_profiles(my_server *s, wg_buf *out) {
  my_await_answer(s, MY_AWAIT_NO_ROW);
  my_put_command(out, MY_COM_QUERY, "SHOW PROFILES");
}

/** The end of a reset: its answer must bring a number back that nobody knew before, so that an answer to
 *  something that the last guest asked cannot pass for it. */
static void put_question(my_server *s, wg_buf *out) {
  char text[96];
  snprintf(s->token, sizeof s->token, "%016llx", (unsigned long long)wg_random_u64());
  snprintf(text, sizeof text, "SELECT '%s',DATABASE()%s", s->token, s->roles ? MY_ROLE : "");
  my_await_answer(s, MY_AWAIT_ROW);
  my_put_command(out, MY_COM_QUERY, text);
}

void my_put_reset_end(my_server *s, wg_buf *out) {
  put_options(s, out);
  put_profiles(s, out);
  put_question(s, out);
}

/* In one write: the server answers one after the other. */
static void my_reset(wg_wire_server *base, const wg_wire_track *t, wg_buf *out) {
  my_server *s = (my_server *)base;
  char text[2 * MY_NAME_MAX + 64];
  s->options = t->mysql.options;
  s->role_set = false;
  if (s->old) {
    my_change_user(s, out);
    return;
  }
  /* After XA PREPARE a connection that is reset can do nothing with tables. There ROLLBACK fails, and
   * that ends it. */
  s->reset_at = t->txn;
  if (t->txn) {
    my_await_answer(s, MY_AWAIT_OK);
    my_put_command(out, MY_COM_QUERY, "ROLLBACK");
  }
  my_await_answer(s, MY_AWAIT_OK);
  my_put_command(out, MY_COM_RESET_CONNECTION, NULL);
  put_options(s, out);
  if (s->caps & MY_CAP_CONNECT_WITH_DB) {
    my_await_answer(s, MY_AWAIT_OK);
    my_put_command(out, MY_COM_INIT_DB, s->login.database);
  }
  snprintf(text, sizeof text, "SET NAMES '%s' COLLATE '%s'", s->charset, s->collation);
  my_await_answer(s, MY_AWAIT_OK);
  my_put_command(out, MY_COM_QUERY, text);
  put_profiles(s, out);
  put_question(s, out);
}

static void my_ping(wg_wire_server *base, wg_buf *out) {
  my_server *s = (my_server *)base;
  s->token[0] = '\0';
  my_await_answer(s, MY_AWAIT_OK);
  my_put_command(out, MY_COM_PING, NULL);
}

static wg_wire_step unexpected(wg_error *err, const char *what) {
  wg_error_set(err, WG_PROTOCOL, 0, "mysql: %s not expected", what);
  return WG_WIRE_ERROR;
}

/** A text, NULL being "".  @return false: malformed, or longer than anything that was asked for */
static bool row_cell(wg_reader *r, char out[MY_NAME_MAX + 1]) {
  out[0] = '\0';
  if (r->len && r->p[0] == 0xFB) {
    wg_take_u8(r);
    return true;
  }
  uint64_t n = my_take_lenenc(r);
  if (n > MY_NAME_MAX) return false;
  const uint8_t *p = wg_take_bytes(r, (size_t)n);
  if (!p || memchr(p, 0, (size_t)n)) return false;
  memcpy(out, p, (size_t)n);
  out[n] = '\0';
  return true;
}

/** A packet of a one-row answer.  @return MORE, OK (that was its end), ERROR */
static wg_wire_step row_packet(my_server *s, wg_reader body, wg_error *err) {
  enum { COUNT, COLUMNS, COLUMNS_END, ROW, END };
  my_row *row = &s->row;
  bool deprecate_eof = s->caps & MY_CAP_DEPRECATE_EOF;
  bool none = s->awaits[s->await_at] == MY_AWAIT_NO_ROW;
  uint8_t first = body.len ? body.p[0] : 0;
  switch (row->part) {
  case COUNT:
    if (none && first == 0 && body.len >= 7) return WG_WIRE_OK; /* not even columns */
    if (body.len != 1 || first == 0 || first > MY_CELLS) return unexpected(err, "a column count");
    row->columns = row->cells = first;
    row->part = COLUMNS;
    return WG_WIRE_MORE;
  case COLUMNS:
    if (first != 3) return unexpected(err, "a column"); /* of the catalog "def" */
    if (--row->columns == 0) row->part = deprecate_eof ? ROW : COLUMNS_END;
    return WG_WIRE_MORE;
  case COLUMNS_END:
    if (first != 0xFE || body.len != 5) return unexpected(err, "the end of columns");
    row->part = ROW;
    return WG_WIRE_MORE;
  case ROW:
    if (none) break;
    for (size_t i = 0; i < row->cells; i++)
      if (!row_cell(&body, row->cell[i])) return unexpected(err, "a row");
    if (body.len) return unexpected(err, "a row");
    row->part = END;
    return WG_WIRE_MORE;
  default: break;
  }
  uint16_t status = my_status(body.p, body.len, body.len, deprecate_eof);
  if (s->change) status &= (uint16_t)~MY_STATUS_IN_TRANS; /* the guest's, which still goes */
  if (first != 0xFE || (status & (MY_STATUS_MORE_RESULTS | MY_STATUS_IN_TRANS)))
    return unexpected(err, "the end of rows");
  return WG_WIRE_OK;
}

/** The packet of an awaited answer.  @return MORE, OK (that was its end), ERROR */
static wg_wire_step reply_packet(my_server *s, wg_reader body, wg_error *err) {
  enum { UNKNOWN_COMMAND = 1047 };
  /* ER_PARSE_ERROR, ER_UNKNOWN_ERROR, ER_NOT_SUPPORTED_YET, ER_FEATURE_DISABLED */
  static const uint16_t unknown_codes[] = {1064, 1105, 1235, 1289};
  my_await what = s->awaits[s->await_at];
  uint8_t first = body.len ? body.p[0] : 0xFB;
  if (first == 0xFF) {
    my_error e = my_error_read(body);
    if (e.code == UNKNOWN_COMMAND && s->token[0] && s->await_at == s->reset_at && !s->old) {
      s->old = s->change = true;
      return WG_WIRE_OK;
    }
    if (what == MY_AWAIT_NO_ROW && my_one_of(e.code, unknown_codes, WG_COUNT(unknown_codes)))
      return WG_WIRE_OK;
    wg_error_set(err, WG_LOST, 0, "mysql: %u: %.*s (SQLSTATE %s)", e.code, e.text_len, e.text,
                 e.sqlstate);
    return WG_WIRE_ERROR;
  }
  switch (what) {
  case MY_AWAIT_NO_ROW:
  case MY_AWAIT_ROW: return row_packet(s, body, err);
  case MY_AWAIT_EOF:
    if (first == 0xFE && body.len < 9) return WG_WIRE_OK;
    break;
  case MY_AWAIT_OK: break;
  }
  uint16_t status = my_status(body.p, body.len, body.len, true);
  if (first != 0 || body.len < 7 || (status & MY_STATUS_MORE_RESULTS))
    return unexpected(err, "an answer");
  return WG_WIRE_OK;
}

/** All answers came. */
static wg_wire_step reply_over(my_server *s, wg_buf *out, wg_error *err) {
  s->await_count = 0;
  if (s->state != MY_READY || !s->token[0]) return WG_WIRE_OK;
  const char *database = s->caps & MY_CAP_CONNECT_WITH_DB ? s->login.database : "";
  bool back = s->row.cells == 2 + s->roles && strcmp(s->row.cell[0], s->token) == 0;
  s->token[0] = '\0';
  if (!back) return unexpected(err, "somebody else's answer");
  if (s->change) { /* and nothing is reset yet */
    s->change = false;
    my_change_user(s, out);
    return WG_WIRE_MORE;
  }
  /* Where no database is chosen, COM_RESET_CONNECTION chooses none: what a guest chose stays. */
  if (database[0] == '\0' && s->row.cell[1][0]) return unexpected(err, "a chosen database");
  if (!s->roles || strcmp(s->row.cell[2], s->role) == 0) return WG_WIRE_OK;
  if (s->role_set) return unexpected(err, "a chosen role");
  s->role_set = true;
  my_await_answer(s, MY_AWAIT_OK);
  my_put_command(out, MY_COM_QUERY, "SET ROLE " MY_ON_MARIADB("NONE") MY_ON_MYSQL("DEFAULT"));
  put_question(s, out);
  return WG_WIRE_MORE;
}

wg_wire_step my_reply(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err) {
  my_server *s = (my_server *)base;
  if (s->state < MY_NAMING) { /* COM_CHANGE_USER's */
    wg_wire_step step = my_login_talk(s, in, out, err);
    if (step != WG_WIRE_MORE || s->state != MY_READY) return step;
  }
  while (s->await_at < s->await_count) {
    wg_reader body;
    uint8_t seq;
    wg_wire_step step = my_next(in, &seq, &body, err);
    if (step != WG_WIRE_OK) return step;
    if (seq != s->seq++) return unexpected(err, "a packet out of turn");
    step = reply_packet(s, body, err);
    if (step == WG_WIRE_ERROR) return step;
    my_drop(in);
    if (step == WG_WIRE_MORE) continue;
    s->await_at++;
    s->row.part = 0;
    s->seq = 1;
  }
  return reply_over(s, out, err);
}

static void my_bye(wg_wire_server *base, wg_buf *out) {
  (void)base;
  my_put_command(out, MY_COM_QUIT, NULL);
}

static void my_hello_keep(const wg_wire_server *base, wg_wire_hello *out) {
  const my_server *s = (const my_server *)base;
  my_hello h = s->hello;
  wg_buf b;
  memset(h.scramble, 0, sizeof h.scramble);
  wg_buf_init(&b, sizeof out->bytes);
  my_hello_put(&b, &h);
  out->len = b.failed ? 0 : wg_buf_len(&b);
  memcpy(out->bytes, wg_buf_head(&b), out->len);
  wg_buf_release(&b);
}

const wg_wire_ops wg_wire_mysql = {
    .protocol = WG_DB_MYSQL,
    .name = "mysql",
    .sqlstate = true,
    .unnamed = "",
    .ask_tls = my_ask_tls,
    .socket_path = my_socket_path,
    .server_new = my_server_new,
    .server_free = my_server_free,
    .login = my_login,
    .reset = my_reset,
    .ping = my_ping,
    .reply = my_reply,
    .bye = my_bye,
    .hello = my_hello_keep,
    .shape = WG_WIRE_SHAPE_GUESS | MY_SHAPE_USUAL,
    .guest_new = my_guest_new,
    .guest_free = my_guest_free,
    .greet = my_greet,
    .greet_reply = my_greet_reply,
    .track_client = my_track_client,
    .track_server = my_track_server,
    .idle = my_idle,
    .unfinished = my_unfinished,
    .ask_password = my_ask_password,
    .refuse = my_refuse,
    .farewell = my_farewell,
};
