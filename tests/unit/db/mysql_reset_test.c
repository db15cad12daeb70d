/* SPDX-License-Identifier: Apache-2.0 */
/* US-115: what the MySQL codec asks of a server that has logged it in, byte by byte. */
#include "db/mysql_case.h"

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
      cmocka_unit_test(test_reset),           cmocka_unit_test(test_reset_in_doubt),
      cmocka_unit_test(test_reset_of_a_role), cmocka_unit_test(test_reset_finds),
      cmocka_unit_test(test_change_user),     cmocka_unit_test(test_change_user_in_doubt),
      cmocka_unit_test(test_ping_and_bye),    cmocka_unit_test(test_long_packets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
