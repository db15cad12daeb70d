/* SPDX-License-Identifier: Apache-2.0 */
#include "db/mysql_guest.h"
#include "db/real_mysql.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t caps_of(const mysql_guest *m) {
  return m->caps ? m->caps : (uint32_t)MYSQL_GUEST_CAPS;
}

static bool read_exactly(mysql_guest *m, uint8_t *p, size_t n) {
  while (n) {
    wg_error err;
    ssize_t got = db_recv(m->f, m->g, m->handle, p, n, &err);
    if (got < 0) fail_msg("recv: %s", err.msg);
    if (got == 0) return false;
    p += got;
    n -= (size_t)got;
  }
  return true;
}

bool mysql_read(mysql_guest *m) {
  size_t part = MY_PACKET_MAX;
  free(m->packet);
  m->packet = NULL;
  m->len = 0;
  while (part == MY_PACKET_MAX) {
    uint8_t head[4];
    if (!read_exactly(m, head, 4)) return false;
    part = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
    m->seq = head[3];
    m->packet = realloc(m->packet, m->len + part + 1);
    if (!read_exactly(m, m->packet + m->len, part)) return false;
    m->len += part;
  }
  return true;
}

/** The last packet is an ERR: remembers it.  @return its code */
static int take_error(mysql_guest *m) {
  wg_reader r = wg_reader_of(m->packet + 1, m->len - 1);
  int code = my_take_u16(&r);
  m->sqlstate[0] = '\0';
  if (r.len && r.p[0] == '#') {
    memcpy(m->sqlstate, r.p + 1, 5);
    m->sqlstate[5] = '\0';
    wg_take_bytes(&r, 6);
  }
  snprintf(m->error, sizeof m->error, "%.*s", (int)r.len, (const char *)r.p);
  return code;
}

static bool is_error(const mysql_guest *m) { return m->len && m->packet[0] == 0xFF; }

static size_t put_proof(const mysql_guest *m, const char *plugin, const uint8_t *nonce,
                        uint8_t out[32]) {
  wg_secret password = {(char *)m->password, m->password ? strlen(m->password) : 0};
  if (m->password && !m->password[0]) return 0;
  if (my_plugin_of(plugin) == MY_PLUGIN_CACHING_SHA2) {
    if (m->password) assert_true(my_sha2(&password, nonce, out));
    return 32;
  }
  if (m->password) assert_true(my_native(&password, nonce, out));
  return 20;
}

void mysql_put_response(const mysql_guest *m, const char *user, const char *database, wg_buf *out) {
  static const uint8_t none[23];
  const char *plugin = m->plugin ? m->plugin : my_plugin_name((my_plugin)m->hello.plugin);
  uint8_t proof[32] = "any bytes are taken as a proof.";
  size_t n = put_proof(m, plugin, m->hello.scramble, proof);
  size_t at = my_begin(out, 1);
  uint32_t caps = caps_of(m);
  my_put_u32(out, caps | (database ? (uint32_t)MY_CAP_CONNECT_WITH_DB : 0));
  my_put_u32(out, 1 << 24);
  wg_buf_put_u8(out, m->charset ? m->charset : 45);
  wg_buf_put(out, none, 23);
  wg_buf_put_cstr(out, user);
  wg_buf_put_u8(out, (uint8_t)n);
  wg_buf_put(out, proof, n);
  if (database) wg_buf_put_cstr(out, database);
  if (caps & MY_CAP_PLUGIN_AUTH) wg_buf_put_cstr(out, plugin);
  my_end(out, at);
}

static void send_packet(mysql_guest *m, const void *p, size_t n) {
  wg_buf b;
  wg_buf_init(&b, n + 4);
  size_t at = my_begin(&b, (uint8_t)(m->seq + 1));
  wg_buf_put(&b, p, n);
  my_end(&b, at);
  db_send(m->f, m->g, m->handle, wg_buf_head(&b), wg_buf_len(&b));
  wg_buf_release(&b);
}

/** The password, encrypted with the key in the last packet. */
static void send_sealed(mysql_guest *m, const uint8_t *nonce) {
  wg_secret password = {(char *)m->password, strlen(m->password)};
  wg_buf sealed;
  wg_error err;
  wg_buf_init(&sealed, 1024);
  assert_int_equal(m->packet[0], 1);
  assert_int_equal(my_rsa_encrypt(&password, nonce, m->packet + 1, m->len - 1, &sealed, &err),
                   WG_OK);
  send_packet(m, wg_buf_head(&sealed), wg_buf_len(&sealed));
  wg_buf_release(&sealed);
}

int mysql_log_in(mysql_guest *m, const char *user, const char *database) {
  wg_buf b;
  uint8_t nonce[MY_SCRAMBLE], proof[32] = {0};
  if (!mysql_read(m)) return -1;
  if (is_error(m)) return take_error(m);
  const char *wrong = my_hello_read(&m->hello, wg_reader_of(m->packet, m->len));
  if (wrong) fail_msg("%s", wrong);
  memcpy(nonce, m->hello.scramble, MY_SCRAMBLE);
  wg_buf_init(&b, 4096);
  mysql_put_response(m, user, database, &b);
  db_send(m->f, m->g, m->handle, wg_buf_head(&b), wg_buf_len(&b));
  wg_buf_release(&b);
  for (uint8_t seq = 2, sent = 0;; seq = (uint8_t)(m->seq + 1 + sent), sent = 0) {
    if (!mysql_read(m)) return -1;
    assert_int_equal(m->seq, seq);
    if (is_error(m)) return take_error(m);
    if (m->packet[0] == 0) return 0;
    if (m->packet[0] == 0xFE) { /* another plugin */
      const char *plugin = (const char *)m->packet + 1;
      memcpy(nonce, plugin + strlen(plugin) + 1, MY_SCRAMBLE);
      send_packet(m, proof, put_proof(m, plugin, nonce, proof));
      sent = 1;
    } else if (m->packet[0] == 1 && m->len == 2 && m->packet[1] == 4) {
      send_packet(m, "\2", 1);
      assert_true(mysql_read(m));
      send_sealed(m, nonce);
      sent = 1;
    } else {
      assert_true(m->packet[0] == 1 && m->len == 2 && m->packet[1] == 3);
    }
  }
}

void mysql_send(mysql_guest *m, uint8_t command, const void *body, size_t n) {
  wg_buf b;
  wg_buf_init(&b, n + 1024);
  size_t left = n + 1;
  const uint8_t *p = body;
  for (uint8_t seq = 0;; seq++) { /* as many packets as it takes */
    size_t part = left < MY_PACKET_MAX ? left : MY_PACKET_MAX;
    my_put_u24(&b, (uint32_t)part);
    wg_buf_put_u8(&b, seq);
    if (seq == 0) wg_buf_put_u8(&b, command);
    wg_buf_put(&b, p, seq == 0 ? part - 1 : part);
    p += seq == 0 ? part - 1 : part;
    left -= part;
    if (part < MY_PACKET_MAX) break;
  }
  assert_false(b.failed);
  db_send(m->f, m->g, m->handle, wg_buf_head(&b), wg_buf_len(&b));
  wg_buf_release(&b);
}

static void take_status(mysql_guest *m) {
  bool deprecate = caps_of(m) & MY_CAP_DEPRECATE_EOF;
  m->status = my_status(m->packet, m->len, m->len, deprecate || m->packet[0] == 0);
  if (m->packet[0] == 0) {
    wg_reader r = wg_reader_of(m->packet + 1, m->len - 1);
    m->changed = my_take_lenenc(&r);
  }
}

int mysql_results(mysql_guest *m, char *cell, size_t cap) {
  bool deprecate = caps_of(m) & MY_CAP_DEPRECATE_EOF;
  bool first = true;
  m->results = 0;
  if (cap) cell[0] = '\0';
  do {
    if (!mysql_read(m)) return -1;
    if (is_error(m)) return take_error(m);
    m->results++;
    if (m->packet[0] == 0) {
      take_status(m);
      continue;
    }
    wg_reader r = wg_reader_of(m->packet, m->len);
    uint64_t columns = my_take_lenenc(&r) + (deprecate ? 0 : 1);
    while (columns--) assert_true(mysql_read(m));
    for (;;) {
      if (!mysql_read(m)) return -1;
      if (is_error(m)) return take_error(m);
      if (m->packet[0] == 0xFE && m->len < MY_PACKET_MAX) break;
      if (first && cap) {
        r = wg_reader_of(m->packet, m->len);
        bool null = m->packet[0] == 0xFB;
        size_t n = null ? 4 : (size_t)my_take_lenenc(&r);
        snprintf(cell, cap, "%.*s", (int)n, null ? "NULL" : (const char *)r.p);
      }
      first = false;
    }
    take_status(m);
  } while (m->status & MY_STATUS_MORE_RESULTS);
  return 0;
}

int mysql_run(mysql_guest *m, const char *sql, char *cell, size_t cap) {
  mysql_send(m, MY_COM_QUERY, sql, strlen(sql));
  return mysql_results(m, cell, cap);
}

void mysql_is(mysql_guest *m, const char *sql, const char *expected) {
  char cell[300];
  int code = mysql_run(m, sql, cell, sizeof cell);
  if (code) fail_msg("%s: %d %s", sql, code, m->error);
  if (strcmp(cell, expected) != 0) fail_msg("%s: '%s', expected '%s'", sql, cell, expected);
}

void mysql_do(mysql_guest *m, const char *sql) {
  int code = mysql_run(m, sql, NULL, 0);
  if (code) fail_msg("%s: %d %s", sql, code, m->error);
}

void mysql_real_init(db_fixture *f) {
  db_fixture_init(f);
  f->database.pool.recv_timeout_ms = 30000; /* a busy machine writes slowly */
  f->real = true;
  f->database.protocol = WG_DB_MYSQL;
  f->database.port = real_mysql_port();
}

void mysql_connection_id(mysql_guest *m, char out[32]) {
  assert_int_equal(mysql_run(m, "SELECT CONNECTION_ID()", out, 32), 0);
}

void mysql_open_socket(mysql_guest *m, db_fixture *f) {
  const char *host = f->database.host;
  wg_error err;
  m->f = f;
  m->g = f->guest;
  if (wg_db_open(f->guest, host, strlen(host), f->database.port, &m->handle, &err) != WG_OK)
    fail_msg("open: %s", err.msg);
}

void mysql_open(mysql_guest *m, db_fixture *f, wg_db_guest *g) {
  wg_error err;
  m->f = f;
  m->g = g;
  m->handle = db_connect(f, g, &err);
  if (!m->handle) fail_msg("connect: %s", err.msg);
  int code = mysql_log_in(m, "whoever", NULL);
  if (code) fail_msg("log-in: %d %s", code, m->error);
}

void mysql_quit(mysql_guest *m) {
  mysql_send(m, MY_COM_QUIT, NULL, 0);
  mysql_drop(m);
}

void mysql_drop(mysql_guest *m) {
  db_close(m->g, m->handle);
  free(m->packet);
  m->packet = NULL;
}
