/* SPDX-License-Identifier: Apache-2.0 */
/* US-115: the MySQL codec, byte by byte. */
#include "db/wire/mysql.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const wg_wire_ops *const my = &wg_wire_mysql;

enum {
  SERVER_CAPS = MY_OFFERED | MY_CAP_SSL | MY_CAP_COMPRESS | 1 << 7 /* LOCAL_FILES */,
  USUAL = MY_CAP_LONG_FLAG | MY_CAP_MULTI_STATEMENTS | MY_CAP_MULTI_RESULTS | MY_CAP_DEPRECATE_EOF
};

static const my_hello hello = {.version = "5.5.5-10.11.4-MariaDB",
                               .caps = (uint32_t)SERVER_CAPS,
                               .thread = 7,
                               .status = MY_STATUS_AUTOCOMMIT,
                               .charset = 45,
                               .plugin = MY_PLUGIN_NATIVE,
                               .scramble = "abcdefghijklmnopqrs"};

static void put_packet(wg_buf *b, uint8_t seq, const void *p, size_t n) {
  size_t at = my_begin(b, seq);
  wg_buf_put(b, p, n);
  my_end(b, at);
}

/* ---- log-in ---- */

typedef struct login_case {
  wg_secret password;
  wg_wire_login login;
  wg_wire_server *s;
  wg_buf script, in, out;
  size_t step; /* bytes that come at a time */
  wg_error err;
} login_case;

static void login_begin(login_case *c, const char *password, size_t step) {
  memset(c, 0, sizeof *c);
  c->password = (wg_secret){(char *)password, strlen(password)};
  c->login = (wg_wire_login){.user = "app",
                             .database = "shop",
                             .password = &c->password,
                             .shape = (uint64_t)45 << 32 | USUAL};
  c->s = my->server_new(&c->login);
  c->step = step;
  wg_buf_init(&c->script, 1 << 20);
  wg_buf_init(&c->in, WG_WIRE_IN_MAX);
  wg_buf_init(&c->out, WG_WIRE_OUT_MAX);
}

static void login_end(login_case *c) {
  my->server_free(c->s);
  wg_buf_release(&c->script);
  wg_buf_release(&c->in);
  wg_buf_release(&c->out);
}

/** Feeds what was scripted, `step` bytes at a time. */
static wg_wire_step feed(login_case *c) {
  wg_wire_step step = my->login(c->s, &c->in, &c->out, &c->err);
  while (step == WG_WIRE_MORE && wg_buf_len(&c->script)) {
    size_t n = wg_buf_len(&c->script) < c->step ? wg_buf_len(&c->script) : c->step;
    wg_buf_put(&c->in, wg_buf_head(&c->script), n);
    wg_buf_consume(&c->script, n);
    step = my->login(c->s, &c->in, &c->out, &c->err);
  }
  return step;
}

static void script_names(wg_buf *b, bool deprecate_eof) {
  uint8_t seq = 1;
  put_packet(b, seq++, "\2", 1);
  put_packet(b, seq++, "\3def\0\0\0\1a\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0", 22);
  put_packet(b, seq++, "\3def\0\0\0\1b\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0", 22);
  if (!deprecate_eof) put_packet(b, seq++, "\xfe\0\0\2\0", 5);
  put_packet(b, seq++, "\7utf8mb4\x12utf8mb4_general_ci", 27);
  if (deprecate_eof)
    put_packet(b, seq, "\xfe\0\0\2\0\0\0", 7);
  else
    put_packet(b, seq, "\xfe\0\0\2\0", 5);
}

static void script_ok(wg_buf *b, uint8_t seq) {
  my_put_ok(b, seq, MY_STATUS_AUTOCOMMIT);
  script_names(b, true);
}

static void script_switch(wg_buf *b, uint8_t seq, const char *plugin, const char *data, size_t n) {
  size_t at = my_begin(b, seq);
  wg_buf_put_u8(b, 0xFE);
  wg_buf_put_cstr(b, plugin);
  wg_buf_put(b, data, n);
  my_end(b, at);
}

/** The next packet that the client wrote. */
static wg_reader wrote(login_case *c, uint8_t seq) {
  wg_reader body;
  uint8_t got;
  assert_int_equal(my_next(&c->out, &got, &body, &c->err), WG_WIRE_OK);
  assert_int_equal(got, seq);
  return body;
}

static void check_names_query(login_case *c) {
  wg_reader body = wrote(c, 0);
  assert_memory_equal(body.p, "\3SELECT @@", 10);
  my_drop(&c->out);
  assert_int_equal(wg_buf_len(&c->out), 0);
}

/** HandshakeResponse. @return its proof's length */
static size_t check_response(login_case *c, uint8_t seq, const char *plugin, const uint8_t *proof) {
  wg_reader r = wrote(c, seq);
  uint32_t caps = my_take_u32(&r);
  assert_int_equal(caps & MY_SHAPE, USUAL);
  assert_int_equal(caps & ~(uint32_t)MY_OFFERED & ~(uint32_t)MY_CAP_SSL, 0);
  assert_true(caps & MY_CAP_PROTOCOL_41);
  my_take_u32(&r);
  assert_int_equal(wg_take_u8(&r), 45);
  wg_take_bytes(&r, 23);
  assert_string_equal(wg_take_cstr(&r), "app");
  size_t n = wg_take_u8(&r);
  const uint8_t *p = wg_take_bytes(&r, n);
  if (proof) assert_memory_equal(p, proof, n);
  assert_string_equal(wg_take_cstr(&r), "shop");
  assert_string_equal(wg_take_cstr(&r), plugin);
  uint64_t attributes = my_take_lenenc(&r);
  assert_int_equal(attributes, r.len);
  assert_false(r.failed);
  my_drop(&c->out);
  return n;
}

static void test_log_in_native(void **state) {
  (void)state;
  for (size_t step = 1; step < 80; step += 13) {
    login_case c;
    uint8_t proof[20];
    login_begin(&c, "secret", step);
    my_hello_put(&c.script, &hello);
    script_ok(&c.script, 2);
    assert_int_equal(feed(&c), WG_WIRE_OK);
    assert_true(my_native(&c.password, hello.scramble, proof));
    assert_int_equal(check_response(&c, 1, "mysql_native_password", proof), 20);
    check_names_query(&c);
    assert_string_equal(((my_server *)c.s)->charset, "utf8mb4");
    assert_string_equal(((my_server *)c.s)->collation, "utf8mb4_general_ci");
    login_end(&c);
  }
}

/* caching_sha2_password: what the server remembers is proved by one packet. */
static void test_log_in_sha2_fast(void **state) {
  (void)state;
  for (size_t step = 1; step < 80; step += 13) {
    login_case c;
    uint8_t proof[32];
    my_hello h = hello;
    h.plugin = MY_PLUGIN_CACHING_SHA2;
    login_begin(&c, "secret", step);
    my_hello_put(&c.script, &h);
    put_packet(&c.script, 2, "\1\3", 2);
    script_ok(&c.script, 3);
    assert_int_equal(feed(&c), WG_WIRE_OK);
    assert_true(my_sha2(&c.password, h.scramble, proof));
    assert_int_equal(check_response(&c, 1, "caching_sha2_password", proof), 32);
    check_names_query(&c);
    login_end(&c);
  }
}

/* What it does not remember needs the password: in clear over TLS or a Unix socket, else encrypted
 * with the server's key. */
static void test_log_in_sha2_full(void **state) {
  (void)state;
  enum { PLAIN, TLS, SOCKET, KINDS };
  for (int kind = 0; kind < KINDS; kind++)
    for (size_t step = 1; step < 80; step += 13) {
      login_case c;
      my_hello h = hello;
      h.plugin = MY_PLUGIN_CACHING_SHA2;
      login_begin(&c, "secret", step);
      c.s->secure.on = kind == TLS;
      c.s->secure.local = kind == SOCKET;
      my_hello_put(&c.script, &h);
      put_packet(&c.script, 2, "\1\4", 2);
      uint8_t seq = 4;
      if (kind == PLAIN) {
        size_t at = my_begin(&c.script, seq++);
        wg_buf_put_u8(&c.script, 1);
        assert_int_equal(wg_mysql_key_put(&c.script, &c.err), WG_OK);
        my_end(&c.script, at);
        seq++;
      }
      script_ok(&c.script, seq);
      assert_int_equal(feed(&c), WG_WIRE_OK);
      assert_int_equal(check_response(&c, 1, "caching_sha2_password", NULL), 32);
      wg_reader body = wrote(&c, 3);
      if (kind == PLAIN) {
        assert_int_equal(body.len, 1);
        assert_int_equal(body.p[0], 2);
        my_drop(&c.out);
        body = wrote(&c, 5);
        wg_buf open;
        wg_buf_init(&open, 512);
        assert_int_equal(wg_mysql_key_open(body.p, body.len, h.scramble, &open), WG_OK);
        assert_string_equal((const char *)wg_buf_head(&open), "secret");
        wg_buf_release(&open);
      } else {
        assert_int_equal(body.len, 7);
        assert_memory_equal(body.p, "secret", 7);
      }
      my_drop(&c.out);
      check_names_query(&c);
      login_end(&c);
    }
}

/* The server wants another plugin than the one it named first. */
static void test_log_in_switched(void **state) {
  (void)state;
  static const char nonce[] = "ABCDEFGHIJKLMNOPQRST0123456789ab";
  static const struct {
    const char *plugin;
    size_t nonce, proof;
  } kinds[] = {{"mysql_native_password", 21, 20},
               {"caching_sha2_password", 21, 32},
               {"client_ed25519", 32, 64}};
  for (size_t k = 0; k < WG_COUNT(kinds); k++)
    for (size_t step = 1; step < 80; step += 13) {
      login_case c;
      login_begin(&c, "secret", step);
      my_hello_put(&c.script, &hello);
      script_switch(&c.script, 2, kinds[k].plugin, nonce, kinds[k].nonce);
      script_ok(&c.script, 4);
      assert_int_equal(feed(&c), WG_WIRE_OK);
      check_response(&c, 1, "mysql_native_password", NULL);
      wg_reader body = wrote(&c, 3);
      assert_int_equal(body.len, kinds[k].proof);
      uint8_t proof[64];
      const uint8_t *n = (const uint8_t *)nonce;
      assert_true(k == 0   ? my_native(&c.password, n, proof)
                  : k == 1 ? my_sha2(&c.password, n, proof)
                           : my_ed25519(&c.password, n, proof));
      assert_memory_equal(body.p, proof, kinds[k].proof);
      my_drop(&c.out);
      check_names_query(&c);
      login_end(&c);
    }
}

/* A password in clear goes to nobody whose certificate was not verified. */
static void test_log_in_clear(void **state) {
  (void)state;
  for (int verified = 0; verified < 2; verified++) {
    login_case c;
    login_begin(&c, "secret", 1000);
    c.s->secure.on = true;
    c.s->secure.verified = verified;
    my_hello_put(&c.script, &hello);
    script_switch(&c.script, 2, "mysql_clear_password", "", 0);
    if (verified) script_ok(&c.script, 4);
    assert_int_equal(feed(&c), verified ? WG_WIRE_OK : WG_WIRE_ERROR);
    check_response(&c, 1, "mysql_native_password", NULL);
    if (verified) {
      assert_memory_equal(wrote(&c, 3).p, "secret", 7);
    } else {
      assert_int_equal(c.err.code, WG_AUTH);
      assert_int_equal(wg_buf_len(&c.out), 0);
    }
    login_end(&c);
  }
}

/* What ends a log-in, and what it means to the pool. */
static void test_log_in_refused(void **state) {
  (void)state;
  static const struct {
    const char *packet; /* in answer to the response; first: in place of the handshake */
    size_t len;
    bool first;
    wg_code code;
    wg_wire_fault fault;
    const char *text;
  } cases[] = {
#define ANSWER(s) s, sizeof s - 1, false
#define FIRST(s) s, sizeof s - 1, true
      {ANSWER("\xff\x15\x04#28000Access denied"), WG_AUTH, WG_WIRE_FAULT_AUTH,
       "1045: Access denied (SQLSTATE 28000)"},
      {ANSWER("\xff\x14\x04#42000Access denied to database"), WG_AUTH, WG_WIRE_FAULT_AUTH, "1044"},
      {ANSWER("\xff\x19\x04#42000Unknown database 'shop'"), WG_IO, WG_WIRE_FAULT_OTHER, "1049"},
      {FIRST("\xff\x10\x04Too many connections"), WG_IO, WG_WIRE_FAULT_BUSY,
       "1040: Too many connections"},
      {FIRST("\xff\x6a\x04Host '1' is not allowed"), WG_IO, WG_WIRE_FAULT_OTHER, "1130: Host '1'"},
      {ANSWER("\xfe"), WG_UNSUPPORTED, WG_WIRE_FAULT_AUTH, "mysql_old_password"},
      {ANSWER("\xfe"
              "authentication_kerberos\0x"),
       WG_UNSUPPORTED, WG_WIRE_FAULT_AUTH, "authentication_kerberos"},
      {ANSWER("\xfemysql_native_password\0short"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER, "malformed"},
      {ANSWER("\xfemysql_native_password"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER, "malformed"},
      {ANSWER("\1\3"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER, "out of turn"},
      {ANSWER("\1"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER, "out of turn"},
      {ANSWER(""), WG_PROTOCOL, WG_WIRE_FAULT_OTHER, "out of turn"},
      {ANSWER("\x05"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER, "out of turn"},
      {FIRST("\x09"
             "3.20"),
       WG_PROTOCOL, WG_WIRE_FAULT_OTHER, "version 10"},
      {FIRST("\x0a"
             "8.0\0\1\2"),
       WG_PROTOCOL, WG_WIRE_FAULT_OTHER, "malformed"},
      {FIRST(""), WG_PROTOCOL, WG_WIRE_FAULT_OTHER, "version 10"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++)
    for (size_t step = 1; step < 40; step += 19) {
      login_case c;
      login_begin(&c, "secret", step);
      if (!cases[i].first) my_hello_put(&c.script, &hello);
      put_packet(&c.script, cases[i].first ? 0 : 2, cases[i].packet, cases[i].len);
      assert_int_equal(feed(&c), WG_WIRE_ERROR);
      if (c.err.code != cases[i].code || c.s->fault != cases[i].fault ||
          !strstr(c.err.msg, cases[i].text))
        fail_msg("%zu: %d %d %s", i, c.err.code, c.s->fault, c.err.msg);
      assert_null(strstr(c.err.msg, "secret"));
      login_end(&c);
    }
}

/* A packet with another number than the next one is nobody's. */
static void test_log_in_numbers(void **state) {
  (void)state;
  for (int wrong = 0; wrong < 3; wrong++) {
    login_case c;
    login_begin(&c, "secret", 1000);
    size_t at = wg_buf_len(&c.script);
    my_hello_put(&c.script, &hello);
    if (wrong == 0) wg_buf_patch_u32(&c.script, at, 0x4a000005);
    my_put_ok(&c.script, wrong == 1 ? 3 : 2, 2);
    if (wrong == 2) put_packet(&c.script, 2, "\1", 1);
    assert_int_equal(feed(&c), WG_WIRE_ERROR);
    assert_int_equal(c.err.code, WG_PROTOCOL);
    login_end(&c);
  }
}

/* A guess takes what the server has; a guest's own wish must be there. */
static void test_capabilities(void **state) {
  (void)state;
  for (int guess = 0; guess < 2; guess++) {
    login_case c;
    my_hello h = hello;
    h.caps &= ~(uint32_t)(MY_CAP_DEPRECATE_EOF | MY_CAP_LENENC_AUTH | MY_CAP_CONNECT_ATTRS);
    h.charset = 8;
    login_begin(&c, "", 1000);
    c.login.shape = guess ? my->shape : (uint64_t)45 << 32 | USUAL;
    my->server_free(c.s);
    c.s = my->server_new(&c.login);
    my_hello_put(&c.script, &h);
    my_put_ok(&c.script, 2, 2);
    script_names(&c.script, false);
    assert_int_equal(feed(&c), guess ? WG_WIRE_OK : WG_WIRE_ERROR);
    if (guess) {
      wg_reader r = wrote(&c, 1);
      assert_int_equal(my_take_u32(&r) & (h.caps ^ SERVER_CAPS), 0);
      my_take_u32(&r);
      assert_int_equal(wg_take_u8(&r), 8);
    } else {
      assert_int_equal(c.err.code, WG_UNSUPPORTED);
    }
    login_end(&c);
  }
}

/* The request for TLS is the server's handshake answered by half a response; the rest follows under
 * TLS, one number on. */
static void test_tls_is_asked_for(void **state) {
  (void)state;
  for (int has = 0; has < 2; has++) {
    login_case c;
    bool granted = !has;
    my_hello h = hello;
    if (!has) h.caps &= ~(uint32_t)MY_CAP_SSL;
    login_begin(&c, "secret", 1000);
    my_hello_put(&c.script, &h);
    wg_wire_step step = my->ask_tls(c.s, &c.in, &c.out, &granted, &c.err);
    while (step == WG_WIRE_MORE) {
      wg_buf_put(&c.in, wg_buf_head(&c.script), 1);
      wg_buf_consume(&c.script, 1);
      step = my->ask_tls(c.s, &c.in, &c.out, &granted, &c.err);
    }
    assert_int_equal(step, WG_WIRE_OK);
    assert_int_equal(granted, has);
    assert_int_equal(wg_buf_len(&c.in), 0);
    if (has) {
      wg_reader r = wrote(&c, 1);
      assert_int_equal(r.len, 32);
      assert_true(my_take_u32(&r) & MY_CAP_SSL);
      my_drop(&c.out);
    }
    assert_int_equal(wg_buf_len(&c.out), 0);
    c.s->secure.on = has;
    script_ok(&c.script, has ? 3 : 2);
    assert_int_equal(feed(&c), WG_WIRE_OK);
    check_response(&c, has ? 2 : 1, "mysql_native_password", NULL);
    login_end(&c);
  }
}

/* ---- reset, ping, goodbye ---- */

static void logged_in(login_case *c, size_t step) {
  login_begin(c, "secret", step);
  my_hello_put(&c->script, &hello);
  script_ok(&c->script, 2);
  assert_int_equal(feed(c), WG_WIRE_OK);
  wg_buf_clear(&c->out);
}

static wg_wire_step feed_reply(login_case *c) {
  wg_wire_step step = WG_WIRE_MORE;
  while (step == WG_WIRE_MORE && wg_buf_len(&c->script)) {
    size_t n = wg_buf_len(&c->script) < c->step ? wg_buf_len(&c->script) : c->step;
    wg_buf_put(&c->in, wg_buf_head(&c->script), n);
    wg_buf_consume(&c->script, n);
    step = my->reply(c->s, &c->in, &c->out, &c->err);
  }
  return step;
}

/** SHOW PROFILES' answer. */
static void put_profiles(wg_buf *b, const char *text) {
  put_packet(b, 1, "\3", 1);
  for (uint8_t i = 2; i < 5; i++) put_packet(b, i, "\3def", 4);
  if (text) put_packet(b, 5, text, strlen(text));
  put_packet(b, text ? 6 : 5, "\xfe\0\0\2\0\0\0", 7);
}

static void put_token_row(wg_buf *b, const char *token, const char *database, uint16_t status) {
  put_packet(b, 1, "\2", 1);
  put_packet(b, 2, "\3def", 4);
  put_packet(b, 3, "\3def", 4);
  size_t at = my_begin(b, 4);
  wg_buf_put_u8(b, (uint8_t)strlen(token));
  wg_buf_put(b, token, strlen(token));
  wg_buf_put_u8(b, (uint8_t)strlen(database));
  wg_buf_put(b, database, strlen(database));
  my_end(b, at);
  const uint8_t end[] = {0xFE, 0, 0, (uint8_t)status, 0, 0, 0};
  put_packet(b, 5, end, sizeof end);
}

/** The last answers of a reset. */
static void put_row(wg_buf *b, const char *token, const char *database, uint16_t status) {
  put_profiles(b, NULL);
  put_token_row(b, token, database, status);
}

static void check_sent(login_case *c, const char *what, size_t n) {
  wg_reader body = wrote(c, 0);
  assert_int_equal(body.len, n);
  assert_memory_equal(body.p, what, n);
  my_drop(&c->out);
}

static void test_reset(void **state) {
  (void)state;
  for (int options = 0; options < 2; options++)
    for (size_t step = 1; step < 100; step += 9) {
      login_case c;
      wg_wire_track t = {.mysql.options = options};
      logged_in(&c, step);
      my->reset(c.s, &t, &c.out);
      check_sent(&c, "\x1f", 1);
      if (options) check_sent(&c, "\x1b\0\0", 3);
      check_sent(&c, "\2shop", 5);
      check_sent(&c, "\3SET NAMES 'utf8mb4' COLLATE 'utf8mb4_general_ci'", 49);
      check_sent(&c, "\3SHOW PROFILES", 14);
      wg_reader body = wrote(&c, 0);
      assert_memory_equal(body.p, "\3SELECT '", 9);
      char token[17] = "";
      memcpy(token, body.p + 9, 16);
      my_drop(&c.out);
      my_put_ok(&c.script, 1, 2);
      if (options) put_packet(&c.script, 1, "\xfe\0\0\2\0", 5);
      my_put_ok(&c.script, 1, 2);
      my_put_ok(&c.script, 1, 2);
      put_row(&c.script, token, "shop", 2);
      assert_int_equal(feed_reply(&c), WG_WIRE_OK);
      assert_int_equal(wg_buf_len(&c.in), 0);
      login_end(&c);
    }
}

/* Whatever a guest left behind on its connection, and however it looks, does not pass for the answers
 * to a reset. */
static void test_reset_in_doubt(void **state) {
  (void)state;
  enum { EXTRA_OK, EXTRA_ROW, FORGED, FAILED, IN_TRANS, MORE, NUMBER, NO_DATABASE, KINDS };
  for (int kind = 0; kind < KINDS; kind++) {
    login_case c;
    wg_wire_track t = {0};
    logged_in(&c, 1000);
    if (kind == NO_DATABASE) ((my_server *)c.s)->caps &= ~(uint32_t)MY_CAP_CONNECT_WITH_DB;
    my->reset(c.s, &t, &c.out);
    char token[17];
    memcpy(token, ((my_server *)c.s)->token, sizeof token);
    if (kind == EXTRA_OK) my_put_ok(&c.script, 1, 2);
    if (kind == EXTRA_ROW) put_row(&c.script, "0123456789abcdef", "shop", 2);
    my_put_ok(&c.script, kind == NUMBER ? 2 : 1, kind == MORE ? 10 : 2);
    if (kind != NO_DATABASE) my_put_ok(&c.script, 1, 2);
    if (kind == FAILED)
      my_put_error(&c.script, 1, 1064, "42000", "no");
    else
      my_put_ok(&c.script, 1, 2);
    put_row(&c.script, kind == FORGED ? "0123456789abcdef" : token, "till",
            kind == IN_TRANS ? 3 : 2);
    assert_int_equal(feed_reply(&c), WG_WIRE_ERROR);
    login_end(&c);
  }
}

static void put_role_row(login_case *c, const char *role) {
  const char *cells[] = {((my_server *)c->s)->token, "shop", role};
  put_packet(&c->script, 1, "\3", 1);
  for (uint8_t i = 0; i < 3; i++) put_packet(&c->script, (uint8_t)(2 + i), "\3def", 4);
  size_t at = my_begin(&c->script, 5);
  for (size_t i = 0; i < 3; i++) {
    my_put_lenenc(&c->script, strlen(cells[i]));
    wg_buf_put(&c->script, cells[i], strlen(cells[i]));
  }
  my_end(&c->script, at);
  put_packet(&c->script, 6, "\xfe\0\0\2\0\0\0", 7);
}

/* COM_RESET_CONNECTION leaves a guest's role: it is taken back, or the connection is not used again. */
static void test_reset_of_a_role(void **state) {
  (void)state;
  for (int stays = 0; stays < 2; stays++) {
    login_case c;
    wg_wire_track t = {0};
    logged_in(&c, 7);
    ((my_server *)c.s)->roles = true;
    for (int time = 0; time < 2; time++) {
      my->reset(c.s, &t, &c.out);
      for (int i = 0; i < 3; i++) my_put_ok(&c.script, 1, 2);
      put_profiles(&c.script, NULL);
      put_role_row(&c, "abc");
      wg_buf_clear(&c.out);
      assert_int_equal(feed_reply(&c), WG_WIRE_MORE);
      check_sent(&c, "\3SET ROLE /*M!100005 NONE*//*!80000 DEFAULT*/", 45);
      assert_memory_equal(wrote(&c, 0).p, "\3SELECT '", 9);
      my_drop(&c.out);
      my_put_ok(&c.script, 1, 2);
      put_role_row(&c, stays ? "abc" : "");
      assert_int_equal(feed_reply(&c), stays ? WG_WIRE_ERROR : WG_WIRE_OK);
      if (stays) break;
    }
    login_end(&c);
  }
}

/* What COM_RESET_CONNECTION does not take back: recorded statements, and XA PREPARE, which leaves the guest in
 * a transaction that ROLLBACK does not end. A server that has no SHOW PROFILES lists nothing. */
static void test_reset_finds(void **state) {
  (void)state;
  enum { NOTHING, NO_PROFILES, PROFILES, KILLED, PREPARED, KINDS };
  for (int kind = 0; kind < KINDS; kind++) {
    login_case c;
    wg_wire_track t = {.txn = 1};
    logged_in(&c, 5);
    my->reset(c.s, &t, &c.out);
    check_sent(&c, "\3ROLLBACK", 9);
    check_sent(&c, "\x1f", 1);
    if (kind == PREPARED)
      my_put_error(&c.script, 1, 1399, "XAE07", "XAER_RMFAIL");
    else
      my_put_ok(&c.script, 1, 2);
    for (int i = 0; i < 3; i++) my_put_ok(&c.script, 1, 2);
    if (kind == NO_PROFILES)
      my_put_error(&c.script, 1, 1289, "HY000", "disabled");
    else if (kind == KILLED)
      my_put_error(&c.script, 1, 1317, "70100", "interrupted");
    else if (kind == PROFILES)
      put_profiles(&c.script, "\1\061\1\062\06SELECT");
    if (kind == NO_PROFILES)
      put_token_row(&c.script, ((my_server *)c.s)->token, "shop", 2);
    else
      put_row(&c.script, ((my_server *)c.s)->token, "shop", 2);
    assert_int_equal(feed_reply(&c), kind <= NO_PROFILES ? WG_WIRE_OK : WG_WIRE_ERROR);
    login_end(&c);
  }
}

/* What a server that does not know COM_RESET_CONNECTION answers to a reset; the transaction of the guest
 * before goes on. */
static void script_unknown(login_case *c) {
  my_put_error(&c->script, 1, 1047, "08S01", "Unknown command");
  my_put_ok(&c->script, 1, 3);
  my_put_ok(&c->script, 1, 3);
  put_row(&c->script, ((my_server *)c->s)->token, "till", 3);
}

/* US-115: COM_CHANGE_USER in its place, at once from the second time on, with a log-in of any kind. */
static void test_change_user(void **state) {
  (void)state;
  for (int options = 0; options < 2; options++)
    for (size_t step = 1; step < 100; step += 9) {
      login_case c;
      wg_wire_track t = {.mysql.options = options};
      logged_in(&c, step);
      for (int time = 0; time < 3; time++) {
        my->reset(c.s, &t, &c.out);
        if (time == 0) {
          if (options) {
            my_put_error(&c.script, 1, 1047, "08S01", "Unknown command");
            put_packet(&c.script, 1, "\xfe\0\0\2\0", 5);
            my_put_ok(&c.script, 1, 3);
            my_put_ok(&c.script, 1, 3);
            put_row(&c.script, ((my_server *)c.s)->token, "till", 3);
          } else {
            script_unknown(&c);
          }
          wg_buf_clear(&c.out);
          assert_int_equal(feed_reply(&c), WG_WIRE_MORE);
        }
        wg_reader body = wrote(&c, 0);
        assert_int_equal(wg_take_u8(&body), MY_COM_CHANGE_USER);
        assert_string_equal(wg_take_cstr(&body), "app");
        assert_int_equal(wg_take_u8(&body), 20);
        (void)wg_take_bytes(&body, 20);
        assert_string_equal(wg_take_cstr(&body), "shop");
        (void)my_take_u16(&body);
        assert_string_equal(wg_take_cstr(&body), "mysql_native_password");
        my_drop(&c.out);
        assert_int_equal(wg_buf_len(&c.out), 0);
        uint8_t seq = 1;
        if (time == 2) { /* the server wants another proof */
          char request[1 + 22 + 21] = "\xfemysql_native_password";
          memset(request + 23, 'n', 20);
          put_packet(&c.script, 1, request, sizeof request);
          assert_int_equal(feed_reply(&c), WG_WIRE_MORE);
          assert_int_equal(wrote(&c, 2).len, 20);
          my_drop(&c.out);
          seq = 3;
        }
        my_put_ok(&c.script, seq, 2);
        assert_int_equal(feed_reply(&c), WG_WIRE_MORE);
        if (options) check_sent(&c, "\x1b\0\0", 3);
        check_sent(&c, "\3SHOW PROFILES", 14);
        assert_memory_equal(wrote(&c, 0).p, "\3SELECT '", 9);
        my_drop(&c.out);
        if (options) put_packet(&c.script, 1, "\xfe\0\0\2\0", 5);
        put_row(&c.script, ((my_server *)c.s)->token, "shop", 2);
        assert_int_equal(feed_reply(&c), WG_WIRE_OK);
        assert_int_equal(wg_buf_len(&c.in), 0);
      }
      login_end(&c);
    }
}

/* It too ends with its own answer or not at all. */
static void test_change_user_in_doubt(void **state) {
  (void)state;
  enum { REFUSED, NUMBER, FORGED, IN_TRANS, LATE_UNKNOWN, TWICE, KINDS };
  for (int kind = 0; kind < KINDS; kind++) {
    login_case c;
    wg_wire_track t = {0};
    logged_in(&c, 1000);
    my->reset(c.s, &t, &c.out);
    if (kind == LATE_UNKNOWN) { /* not of the first command */
      my_put_ok(&c.script, 1, 2);
      my_put_error(&c.script, 1, 1047, "08S01", "Unknown command");
      assert_int_equal(feed_reply(&c), WG_WIRE_ERROR);
      login_end(&c);
      continue;
    }
    script_unknown(&c);
    assert_int_equal(feed_reply(&c), WG_WIRE_MORE);
    if (kind == REFUSED)
      my_put_error(&c.script, 1, 1045, "28000", "Access denied");
    else if (kind == TWICE)
      my_put_error(&c.script, 1, 1047, "08S01", "Unknown command");
    else
      my_put_ok(&c.script, kind == NUMBER ? 2 : 1, 2);
    wg_wire_step step = feed_reply(&c);
    if (kind == FORGED || kind == IN_TRANS) {
      assert_int_equal(step, WG_WIRE_MORE);
      const char *token = ((my_server *)c.s)->token;
      put_row(&c.script, kind == FORGED ? "0123456789abcdef" : token, "shop",
              kind == IN_TRANS ? 3 : 2);
      step = feed_reply(&c);
    }
    assert_int_equal(step, WG_WIRE_ERROR);
    login_end(&c);
  }
}

static void test_ping_and_bye(void **state) {
  (void)state;
  for (int bad = 0; bad < 2; bad++) {
    login_case c;
    logged_in(&c, 1);
    my->ping(c.s, &c.out);
    check_sent(&c, "\x0e", 1);
    if (bad)
      my_put_error(&c.script, 1, 1053, "08S01", "Server shutdown in progress");
    else
      my_put_ok(&c.script, 1, 2);
    assert_int_equal(feed_reply(&c), bad ? WG_WIRE_ERROR : WG_WIRE_OK);
    if (bad) assert_non_null(strstr(c.err.msg, "shutdown"));
    my->bye(c.s, &c.out);
    check_sent(&c, "\1", 1);
    login_end(&c);
  }
}

/* A packet longer than anything that is asked for ends it; what is announced is not waited for. */
static void test_long_packets(void **state) {
  (void)state;
  login_case c;
  logged_in(&c, 1000);
  my->ping(c.s, &c.out);
  wg_buf_put(&c.script, "\xff\xff\xff\1", 4);
  assert_int_equal(feed_reply(&c), WG_WIRE_ERROR);
  login_end(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_log_in_native),        cmocka_unit_test(test_log_in_sha2_fast),
      cmocka_unit_test(test_log_in_sha2_full),     cmocka_unit_test(test_log_in_switched),
      cmocka_unit_test(test_log_in_clear),         cmocka_unit_test(test_log_in_refused),
      cmocka_unit_test(test_log_in_numbers),       cmocka_unit_test(test_capabilities),
      cmocka_unit_test(test_tls_is_asked_for),     cmocka_unit_test(test_reset),
      cmocka_unit_test(test_reset_in_doubt),       cmocka_unit_test(test_change_user),
      cmocka_unit_test(test_change_user_in_doubt), cmocka_unit_test(test_reset_of_a_role),
      cmocka_unit_test(test_reset_finds),          cmocka_unit_test(test_ping_and_bye),
      cmocka_unit_test(test_long_packets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
