/* SPDX-License-Identifier: Apache-2.0 */
/* US-115: the MySQL codec logs in, byte by byte. */
#include "db/mysql_case.h"

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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_log_in_native),    cmocka_unit_test(test_log_in_sha2_fast),
      cmocka_unit_test(test_log_in_sha2_full), cmocka_unit_test(test_log_in_switched),
      cmocka_unit_test(test_log_in_clear),     cmocka_unit_test(test_log_in_refused),
      cmocka_unit_test(test_log_in_numbers),   cmocka_unit_test(test_capabilities),
      cmocka_unit_test(test_tls_is_asked_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
