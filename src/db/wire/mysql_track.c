/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/mysql.h"
#include <stdio.h>
#include <string.h>

/* Both streams are rows of messages, a message is a row of packets: all but its last are MY_PACKET_MAX
 * long. The client's are commands; each kind of command has its shape of an answer:
 *
 *   OK        one packet: OK, EOF or ERR
 *   TEXT      one packet, whatever it holds
 *   QUERY     OK | ERR | count, columns, [EOF], rows, end; again while the last status says "more"
 *   PREPARE   ERR | OK, parameters, [EOF], columns, [EOF]
 *   FIELDS    columns, end | ERR
 *   FETCH     rows, end | ERR
 *
 * ([EOF]: without DEPRECATE_EOF.) The session is idle when no answer is owed and both streams stand
 * between two messages. Where the walk does not know it must say so (tainted): a session that is closed
 * without need costs a log-in, one that is reused in the middle of an answer hands a guest another
 * guest's rows. */

enum { KIND_OK = 1, KIND_TEXT, KIND_QUERY, KIND_PREPARE, KIND_FIELDS, KIND_FETCH, KIND_NONE };
enum { KIND_LOST = 0 }; /* a command whose answer is not walked over */
enum { KIND_BITS = 4, MY_ANSWERS_MAX = 16 }; /* as many as `kinds` has room for */
enum { PART_START, PART_COUNTED, PART_COLUMNS, PART_ROWS };

static const uint8_t kinds[0x20] = {
    [0x02] = KIND_OK, /* INIT_DB */
    [0x03] = KIND_QUERY,   [0x04] = KIND_FIELDS, /* FIELD_LIST */
    [0x05] = KIND_OK, /* CREATE_DB */
    [0x06] = KIND_OK, /* DROP_DB */
    [0x07] = KIND_OK, /* REFRESH */
    [0x08] = KIND_OK, /* SHUTDOWN */
    [0x09] = KIND_TEXT, /* STATISTICS */
    [0x0A] = KIND_QUERY, /* PROCESS_INFO */
    [0x0C] = KIND_OK, /* PROCESS_KILL */
    [0x0D] = KIND_OK, /* DEBUG */
    [0x0E] = KIND_OK, /* PING */
    [0x16] = KIND_PREPARE, [0x17] = KIND_QUERY, /* STMT_EXECUTE */
    [0x18] = KIND_NONE, /* STMT_SEND_LONG_DATA */
    [0x19] = KIND_NONE, /* STMT_CLOSE */
    [0x1A] = KIND_OK, /* STMT_RESET */
    [0x1B] = KIND_OK, /* SET_OPTION */
    [0x1C] = KIND_FETCH, /* STMT_FETCH */
    [0x1F] = KIND_OK, /* RESET_CONNECTION */
    /* CHANGE_USER, and all that makes a replica of the client: not walked over. */
};

static bool between(const wg_wire_walk *w, bool more) {
  return w->have == 0 && w->left == 0 && !more;
}

/** Takes header bytes; true when the header is complete. */
static bool walk_header(wg_wire_walk *w, uint8_t *seq, const uint8_t *p, size_t n, size_t *i) {
  if (w->have == 0) w->length = 0;
  while (w->have < 4 && *i < n) {
    if (w->have < 3)
      w->length |= (uint32_t)p[*i] << (8 * w->have);
    else
      *seq = p[*i];
    w->have++;
    (*i)++;
  }
  if (w->have < 4) return false;
  w->have = 0;
  w->left = w->length;
  return true;
}

static void on_command(wg_wire_track *t, uint8_t command) {
  uint8_t kind = command < WG_COUNT(kinds) ? kinds[command] : KIND_LOST;
  t->client.type = command;
  if (command == MY_COM_SET_OPTION) t->mysql.options = true;
  /* It hides what the transaction was: after XA PREPARE the connection is of no more use. */
  if (command == MY_COM_RESET_CONNECTION && (t->txn || t->pending)) kind = KIND_LOST;
  if (kind == KIND_NONE) return;
  if (kind == KIND_LOST || t->pending == MY_ANSWERS_MAX) t->tainted = true;
  if (t->tainted) { /* what counts from now on is whether something is awaited at all */
    t->pending = 1;
    return;
  }
  t->kinds |= (uint64_t)kind << (KIND_BITS * t->pending);
  t->pending++;
}

wg_wire_step my_track_client(wg_wire_track *t, const uint8_t *p, size_t n, size_t *pass,
                             wg_error *err) {
  wg_wire_walk *w = &t->client;
  wg_mysql_track *m = &t->mysql;
  (void)err;
  *pass = n;
  for (size_t i = 0; i < n;) {
    if (w->left == 0) {
      if (!walk_header(w, &m->client_seq, p, n, &i)) break;
      w->body = m->client_more; /* no command in there */
      if (w->length == 0 && !m->client_more) t->tainted = true;
      m->client_more = w->length == MY_PACKET_MAX;
      continue;
    }
    if (!w->body) {
      w->body = true;
      /* It ends the guest's session, not the server's. A header that went ahead of it is half a
       * packet there. */
      if (p[i] == MY_COM_QUIT && !m->relayed) {
        t->ended = true;
        if (i < 4) t->tainted = true;
        *pass = i < 4 ? 0 : i - 4;
        w->left = 0;
        return WG_WIRE_OK;
      }
      on_command(t, p[i]);
    }
    size_t skip = n - i < w->left ? n - i : (size_t)w->left;
    w->left -= skip;
    i += skip;
  }
  return WG_WIRE_OK;
}

/* ---- answers ---- */

static void paid(wg_wire_track *t) {
  t->pending--;
  t->kinds >>= KIND_BITS;
  t->mysql.part = PART_START;
}

/** The status at the end of a result: another one may follow. */
static void on_end(wg_wire_track *t, uint16_t status) {
  t->txn = status & MY_STATUS_IN_TRANS;
  if (status & MY_STATUS_MORE_RESULTS)
    t->mysql.part = PART_START;
  else
    paid(t);
}

/** The answer to a PREPARE: how much follows. */
static bool on_prepared(wg_wire_track *t, uint32_t length, bool deprecate_eof) {
  wg_mysql_track *m = &t->mysql;
  wg_reader r = wg_reader_of(m->head, m->head_len);
  if (wg_take_u8(&r) != 0 || length < 9) return false;
  my_take_u32(&r); /* the statement's id */
  uint32_t columns = my_take_u16(&r), params = my_take_u16(&r);
  m->packets = columns + params;
  if (!deprecate_eof) m->packets += (columns ? 1u : 0u) + (params ? 1u : 0u);
  m->part = PART_COUNTED;
  if (m->packets == 0) paid(t);
  return true;
}

/** The first packet of a result.  @return false: none that we know */
static bool on_result(wg_wire_track *t, uint32_t length, bool deprecate_eof) {
  wg_mysql_track *m = &t->mysql;
  if (m->head[0] == 0) {
    on_end(t, my_status(m->head, m->head_len, length, deprecate_eof));
    return length >= 7;
  }
  wg_reader r = wg_reader_of(m->head, m->head_len);
  uint64_t columns = my_take_lenenc(&r);
  if (r.failed || r.len || m->head_len != length || columns > 0xFFFF) return false;
  m->packets = (uint32_t)columns + (deprecate_eof ? 0 : 1);
  m->part = PART_COLUMNS;
  return true;
}

/** The first packet of an answer.  @return false: none that we know */
static bool on_start(wg_wire_track *t, uint32_t length, bool deprecate_eof) {
  wg_mysql_track *m = &t->mysql;
  uint8_t first = m->head[0];
  switch (t->kinds & 15) {
  case KIND_TEXT: paid(t); return true;
  case KIND_OK:
    if (first != 0 && first != 0xFE) return false;
    t->txn = my_status(m->head, m->head_len, length, length > 5) & MY_STATUS_IN_TRANS;
    paid(t);
    return true;
  case KIND_QUERY: return on_result(t, length, deprecate_eof);
  case KIND_PREPARE: return on_prepared(t, length, deprecate_eof);
  case KIND_FIELDS:
    if (first == 0xFE) paid(t);
    return first == 0xFE || first == 3;
  default: return false;
  }
}

/** A message of the server is whole. @param longer  it had more than one packet */
static void on_message(wg_wire_track *t, const my_server *s, bool longer) {
  wg_mysql_track *m = &t->mysql;
  bool deprecate_eof = s->caps & MY_CAP_DEPRECATE_EOF;
  uint32_t length = t->server.length;
  uint8_t first = m->head_len ? m->head[0] : 0xFF;
  if (t->tainted) {
    t->pending = 0;
    return;
  }
  if (t->pending == 0 || m->head_len == 0) { /* an answer to nothing that we saw */
    m->told = first == 0xFF;
    t->tainted = true;
    return;
  }
  if (m->part == PART_START && (t->kinds & 15) == KIND_FETCH) m->part = PART_ROWS;
  bool ends = first == 0xFE && !longer && (deprecate_eof || length < 9);
  if (first == 0xFF && !longer && (t->kinds & 15) != KIND_TEXT) {
    paid(t); /* ERR: whatever was to come does not */
    return;
  }
  switch (m->part) {
  case PART_START:
    if (longer || !on_start(t, length, deprecate_eof)) t->tainted = true;
    return;
  case PART_COUNTED:
    if (--m->packets == 0) paid(t);
    return;
  case PART_COLUMNS:
    if (--m->packets) return;
    m->part = PART_ROWS;
    /* A cursor was opened: its rows are to be fetched. */
    if (!deprecate_eof && my_status(m->head, m->head_len, length, false) & MY_STATUS_CURSOR_EXISTS)
      on_end(t, my_status(m->head, m->head_len, length, false));
    return;
  case PART_ROWS:
    if (ends) on_end(t, my_status(m->head, m->head_len, length, deprecate_eof));
    return;
  default: t->tainted = true; return;
  }
}

wg_wire_step my_track_server(wg_wire_track *t, wg_wire_server *base, const uint8_t *p, size_t n,
                             wg_error *err) {
  const my_server *s = (const my_server *)base;
  wg_wire_walk *w = &t->server;
  wg_mysql_track *m = &t->mysql;
  for (size_t i = 0; i < n;) {
    bool goes_on = m->server_more; /* this packet continues a message */
    if (w->left == 0) {
      if (!walk_header(w, &m->server_seq, p, n, &i)) break;
      if (!goes_on) m->head_len = 0;
      w->body = goes_on;
    }
    if (w->left && i < n) {
      size_t part = n - i < w->left ? n - i : (size_t)w->left;
      if (!goes_on && m->head_len < sizeof m->head) {
        size_t room = sizeof m->head - m->head_len, take = part < room ? part : room;
        if (m->head_len == 0 && p[i] == 0xFB && m->part == PART_START && t->pending &&
            !t->tainted && (t->kinds & 15) == KIND_QUERY) {
          t->tainted = true;
          wg_error_set(err, WG_PROTOCOL, 0,
                       "mysql: the server asks for a file of the guest (LOCAL INFILE)");
          return WG_WIRE_ERROR;
        }
        memcpy(m->head + m->head_len, p + i, take);
        m->head_len = (uint8_t)(m->head_len + take);
      }
      w->left -= part;
      i += part;
    }
    if (w->left) break;
    m->server_more = w->length == MY_PACKET_MAX;
    if (!m->server_more) on_message(t, s, goes_on);
  }
  return WG_WIRE_OK;
}

bool my_idle(const wg_wire_track *t) {
  return !t->tainted && t->pending == 0 && between(&t->client, t->mysql.client_more) &&
         between(&t->server, t->mysql.server_more);
}

bool my_unfinished(const wg_wire_track *t) {
  return t->tainted || !between(&t->client, t->mysql.client_more);
}

void my_farewell(const wg_wire_track *t, const char *message, wg_buf *to_guest) {
  const wg_mysql_track *m = &t->mysql;
  char text[512];
  if (m->relayed || m->told || !between(&t->server, m->server_more)) return;
  uint8_t last = t->pending && m->part != PART_START ? m->server_seq : m->client_seq;
  int n = snprintf(text, sizeof text, "Lost connection to MySQL server: %.400s", message);
  WG_ASSERT(n > 0);
  my_put_error(to_guest, (uint8_t)(last + 1), 2013, "HY000", text);
}
