/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/c/src/pg.c, the guests' PostgreSQL client, against a server that says what the test wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../../sdk/c/src/db.c"
#include "../../../sdk/c/src/pg.c"
#include "../../../sdk/c/src/str.c"

/* -- A scripted server behind the database proxy -- */

static struct {
  uint8_t said[1 << 16]; /* what the server says */
  size_t said_len, said_at;
  size_t chunk; /* bytes that one recv brings at most */
  uint8_t heard[1 << 16]; /* what the client sent */
  size_t heard_len;
  size_t send_limit; /* bytes that one send takes at most */
  wg_db_errc connect_fails, send_fails, end; /* end: what recv says when the script is over */
  int open;
} server;

bool wg_db_connect(wg_db_kind kind, const wg_pg_config *config, uint64_t *handle,
                   wg_db_error *err) {
  assert_int_equal(kind, WG_DB_KIND_POSTGRES);
  assert_non_null(config->host);
  if (server.connect_fails != WG_DB_OK) {
    wg_db_error_set(err, server.connect_fails, "no", 2);
    return false;
  }
  server.open++;
  *handle = 7;
  return true;
}

bool wg_db_send(uint64_t handle, const void *bytes, size_t len, size_t *sent, wg_db_error *err) {
  assert_int_equal(handle, 7);
  if (server.send_fails != WG_DB_OK) {
    wg_db_error_set(err, server.send_fails, "cut", 3);
    return false;
  }
  if (len > server.send_limit) len = server.send_limit;
  assert_true(len <= sizeof server.heard - server.heard_len);
  memcpy(server.heard + server.heard_len, bytes, len);
  server.heard_len += len;
  *sent = len;
  return true;
}

bool wg_db_recv(uint64_t handle, uint32_t max_bytes, wg_db_bytes *got, wg_db_error *err) {
  assert_int_equal(handle, 7);
  size_t n = server.said_len - server.said_at;
  if (n == 0 && server.end != WG_DB_OK) {
    wg_db_error_set(err, server.end, "over", 4);
    return false;
  }
  if (n > server.chunk) n = server.chunk;
  if (n > max_bytes) n = max_bytes;
  *got = (wg_db_bytes){n == 0 ? NULL : malloc(n), n};
  if (n > 0) memcpy(got->ptr, server.said + server.said_at, n);
  server.said_at += n;
  return true;
}

bool wg_db_close(uint64_t handle, wg_db_error *err) {
  (void)err;
  assert_int_equal(handle, 7);
  server.open--;
  return true;
}

static int reset(void **state) {
  (void)state;
  memset(&server, 0, sizeof server);
  server.chunk = server.send_limit = SIZE_MAX;
  server.connect_fails = server.send_fails = server.end = WG_DB_OK;
  return 0;
}

static void say_raw(const void *p, size_t n) {
  assert_true(n <= sizeof server.said - server.said_len);
  memcpy(server.said + server.said_len, p, n);
  server.said_len += n;
}

/* One message of the server. */
static void say(char type, const void *body, size_t n) {
  size_t len = n + 4;
  say_raw((uint8_t[]){(uint8_t)type, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
                      (uint8_t)(len >> 8), (uint8_t)len},
          5);
  say_raw(body, n);
}
#define SAY(type, literal) say(type, literal, sizeof(literal) - 1)

static void say_ready(char status) { say('Z', &status, 1); }

static void say_hello(void) {
  SAY('R', "\0\0\0\0");
  SAY('S', "server_version\0"
           "15.5\0");
  SAY('K', "\0\0\x10\x92"
           "secr");
  say_ready('I');
}

/* Two columns, "id" and "name", of two rows; the last name is NULL. */
static void say_rows(void) {
  SAY('1', "");
  SAY('2', "");
  SAY('T', "\0\2id\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"
           "name\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
  SAY('D', "\0\2\0\0\0\1"
           "1\0\0\0\3"
           "Ada");
  SAY('D', "\0\2\0\0\0\3-12\xff\xff\xff\xff");
  SAY('C', "SELECT 2\0");
  say_ready('I');
}

static void say_error(const char *sqlstate, char status) {
  char body[128] = "SERROR";
  size_t n = 7;
  n += (size_t)snprintf(body + n, sizeof body - n, "C%s", sqlstate) + 1;
  n += (size_t)snprintf(body + n, sizeof body - n, "Mduplicate key") + 1;
  n += (size_t)snprintf(body + n, sizeof body - n, "ntest_users_email_key") + 1;
  say('E', body, n + 1);
  if (status != 0) say_ready(status);
}

static wg_pg *connected(void) {
  static const wg_pg_config config = {.host = "db", .user = "app", .application = "t"};
  wg_pg_error err;
  say_hello();
  wg_pg *c = wg_pg_connect(&config, &err);
  assert_non_null(c);
  server.heard_len = 0;
  return c;
}

static bool text_is(wg_str s, const char *text) { return wg_str_is(s, text); }

/* -- Tests -- */

static void startup_names_user_database_and_encoding(void **state) {
  (void)state;
  wg_pg_config config = {.host = "db", .user = "app", .database = "shop", .application = "t"};
  wg_pg_error err;
  say_hello();
  wg_pg *c = wg_pg_connect(&config, &err);
  assert_non_null(c);
  static const char expected[] = "\0\0\0\x48\0\3\0\0user\0app\0database\0shop\0"
                                 "application_name\0t\0client_encoding\0UTF8\0";
  assert_int_equal(server.heard_len, sizeof expected);
  assert_memory_equal(server.heard, expected, sizeof expected);
  assert_int_equal(wg_pg_backend_pid(c), 0x1092);
  assert_int_equal(wg_pg_transaction_status(c), 'I');
  wg_pg_close(c);
  assert_int_equal(server.open, 0);
}

static void password_is_sent_only_when_asked_for(void **state) {
  (void)state;
  wg_pg_config config = {.host = "db", .user = "app", .password = "s3cret"};
  wg_pg_error err;
  SAY('R', "\0\0\0\3");
  say_hello();
  wg_pg *c = wg_pg_connect(&config, &err);
  assert_non_null(c);
  static const char expected[] = "p\0\0\0\x0bs3cret";
  assert_memory_equal(server.heard + server.heard_len - sizeof expected, expected, sizeof expected);
  wg_pg_close(c);

  reset(NULL);
  SAY('R', "\0\0\0\3");
  config.password = NULL;
  assert_null(wg_pg_connect(&config, &err));
  assert_int_equal(err.code, WG_PG_DENIED);
  assert_int_equal(server.open, 0);
}

static void rows_are_typed(void **state) {
  (void)state;
  wg_pg *c = connected();
  say_rows();
  wg_pg_error err;
  wg_pg_result *r = wg_pg_query(c, "SELECT id, name FROM t", NULL, 0, &err);
  assert_non_null(r);
  assert_int_equal(wg_pg_rows(r), 2);
  assert_int_equal(wg_pg_columns(r), 2);
  assert_true(text_is(wg_pg_column(r, 1), "name"));
  int64_t id = 0;
  assert_true(wg_pg_int64(r, 1, 0, &id));
  assert_int_equal(id, -12);
  assert_true(text_is(wg_pg_text(r, 0, 1), "Ada"));
  assert_false(wg_pg_int64(r, 0, 1, &id));
  assert_true(wg_pg_is_null(r, 1, 1));
  assert_true(wg_pg_is_null(r, 2, 0));
  assert_true(wg_pg_is_null(r, 0, 2));
  assert_true(text_is(wg_pg_tag(r), "SELECT 2"));
  assert_int_equal(wg_pg_affected(r), 2);
  wg_pg_free(r);
  wg_pg_close(c);
}

static void booleans(void **state) {
  (void)state;
  wg_pg *c = connected();
  SAY('T', "\0\3a\0\0\0\0\0\0\0\0\0\0\x10\0\1\xff\xff\xff\xff\0\0"
           "b\0\0\0\0\0\0\0\0\0\0\x10\0\1\xff\xff\xff\xff\0\0"
           "c\0\0\0\0\0\0\0\0\0\0\x10\0\1\xff\xff\xff\xff\0\0");
  SAY('D', "\0\3\0\0\0\1t\0\0\0\1f\0\0\0\0");
  SAY('C', "SELECT 1\0");
  say_ready('I');
  wg_pg_error err;
  wg_pg_result *r = wg_pg_query(c, "SELECT", NULL, 0, &err);
  bool v = false;
  assert_true(wg_pg_boolean(r, 0, 0, &v) && v);
  assert_true(wg_pg_boolean(r, 0, 1, &v) && !v);
  assert_false(wg_pg_boolean(r, 0, 2, &v));
  assert_true(text_is(wg_pg_text(r, 0, 2), ""));
  assert_false(wg_pg_is_null(r, 0, 2));
  wg_pg_free(r);
  wg_pg_close(c);
}

static void parameters_travel_beside_the_text(void **state) {
  (void)state;
  wg_pg *c = connected();
  say_rows();
  wg_pg_error err;
  const wg_pg_param params[] = {wg_pg_int(INT64_MIN), wg_pg_cstr("O'Hara"), wg_pg_null(),
                                wg_pg_bytes("\0\1", 2), wg_pg_bool(true)};
  wg_pg_free(wg_pg_query(c, "S", params, 5, &err));
  static const char expected[] = "P\0\0\0\x09\0S\0\0\0"
                                 "B\0\0\0\x47\0\0"
                                 "\0\5\0\0\0\0\0\0\0\1\0\0"
                                 "\0\5\0\0\0\x14-9223372036854775808\0\0\0\6O'Hara"
                                 "\xff\xff\xff\xff\0\0\0\2\0\1\0\0\0\1t\0\0"
                                 "D\0\0\0\6P\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\4";
  assert_int_equal(server.heard_len, sizeof expected - 1);
  assert_memory_equal(server.heard, expected, sizeof expected - 1);
  wg_pg_close(c);
}

static void every_split_reads_the_same(void **state) {
  (void)state;
  for (size_t chunk = 1; chunk < 40; chunk++) {
    reset(NULL);
    server.chunk = chunk;
    server.send_limit = chunk;
    wg_pg *c = connected();
    for (int i = 0; i < 3; i++) {
      say_rows();
      wg_pg_error err;
      wg_pg_result *r = wg_pg_query(c, "SELECT", NULL, 0, &err);
      assert_non_null(r);
      assert_true(text_is(wg_pg_text(r, 0, 1), "Ada"));
      wg_pg_free(r);
    }
    wg_pg_close(c);
  }
}

static void servers_error_leaves_the_connection_usable(void **state) {
  (void)state;
  wg_pg *c = connected();
  say_error("23505", 'E');
  say_rows();
  wg_pg_error err;
  assert_null(wg_pg_query(c, "INSERT", NULL, 0, &err));
  assert_int_equal(err.code, WG_PG_SERVER);
  assert_string_equal(err.sqlstate, "23505");
  assert_string_equal(err.constraint, "test_users_email_key");
  assert_string_equal(err.message, "duplicate key");
  assert_int_equal(wg_pg_transaction_status(c), 'E');
  wg_pg_result *r = wg_pg_query(c, "SELECT", NULL, 0, &err);
  assert_non_null(r);
  wg_pg_free(r);
  wg_pg_close(c);
}

static void error_after_rows_is_an_error(void **state) {
  (void)state;
  wg_pg *c = connected();
  SAY('T', "\0\1a\0\0\0\0\0\0\0\0\0\0\x10\0\1\xff\xff\xff\xff\0\0");
  SAY('D', "\0\1\0\0\0\1t");
  say_error("22012", 'I');
  wg_pg_error err;
  assert_null(wg_pg_query(c, "SELECT 1/x", NULL, 0, &err));
  assert_string_equal(err.sqlstate, "22012");
  wg_pg_close(c);
}

static void errors_say_what_a_program_can_do(void **state) {
  (void)state;
  static const struct {
    const char *sqlstate;
    wg_pg_errc code;
  } cases[] = {{"57P01", WG_PG_UNAVAILABLE}, {"57P03", WG_PG_UNAVAILABLE},
               {"08006", WG_PG_UNAVAILABLE}, {"53300", WG_PG_EXHAUSTED},
               {"28P01", WG_PG_DENIED},      {"42601", WG_PG_SERVER}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    reset(NULL);
    wg_pg_config config = {.host = "db", .user = "app"};
    wg_pg_error err;
    say_error(cases[i].sqlstate, 0);
    assert_null(wg_pg_connect(&config, &err));
    assert_int_equal(err.code, cases[i].code);
    assert_string_equal(err.sqlstate, cases[i].sqlstate);
    assert_int_equal(server.open, 0);
  }
  static const struct {
    wg_db_errc from;
    wg_pg_errc code;
    const char *message;
  } hosts[] = {{WG_DB_POOL_EXHAUSTED, WG_PG_EXHAUSTED, "pool-exhausted: no"},
               {WG_DB_NOT_ALLOWED, WG_PG_DENIED, "not-allowed: no"},
               {WG_DB_AUTHENTICATION_FAILED, WG_PG_DENIED, "authentication-failed: no"},
               {WG_DB_CONNECTION_FAILED, WG_PG_UNAVAILABLE, "connection-failed: no"},
               {WG_DB_TIMEOUT, WG_PG_UNAVAILABLE, "timeout: no"},
               {WG_DB_UNSUPPORTED, WG_PG_INVALID, "unsupported: no"}};
  for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
    reset(NULL);
    server.connect_fails = hosts[i].from;
    wg_pg_config config = {.host = "db", .user = "app"};
    wg_pg_error err;
    assert_null(wg_pg_connect(&config, &err));
    assert_int_equal(err.code, hosts[i].code);
    assert_string_equal(err.message, hosts[i].message);
  }
}

static void lost_connection_stays_lost(void **state) {
  (void)state;
  wg_pg *c = connected();
  SAY('1', "");
  wg_pg_error err;
  assert_null(wg_pg_query(c, "SELECT", NULL, 0, &err)); /* the peer closes in the middle */
  assert_int_equal(err.code, WG_PG_UNAVAILABLE);
  say_rows();
  size_t heard = server.heard_len;
  assert_null(wg_pg_query(c, "SELECT", NULL, 0, &err));
  assert_int_equal(err.code, WG_PG_UNAVAILABLE);
  assert_int_equal(server.heard_len, heard);
  wg_pg_close(c);
  assert_int_equal(server.open, 0);

  reset(NULL);
  c = connected();
  server.end = WG_DB_CONNECTION_LOST;
  assert_null(wg_pg_query(c, "SELECT", NULL, 0, &err));
  assert_string_equal(err.message, "connection-lost: over");
  wg_pg_close(c);

  reset(NULL);
  c = connected();
  server.send_fails = WG_DB_CONNECTION_LOST;
  assert_null(wg_pg_query(c, "SELECT", NULL, 0, &err));
  assert_string_equal(err.message, "connection-lost: cut");
  wg_pg_close(c);
}

static void broken_messages_break_the_connection(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len;
  } cases[] = {
#define BAD(literal) {literal, sizeof(literal) - 1}
      BAD("Z\0\0\0\3I"), /* a length below its own size */
      BAD("D\x7f\xff\xff\xff"), /* two gigabytes */
      BAD("D\0\0\0\x06\0\1"), /* a row without a description */
      BAD("T\0\0\0\x06\0\1"), /* a column that is not there */
      BAD("T\0\0\0\x06\xff\xff"), /* too many columns */
      BAD("T\0\0\0\x06\0\0D\0\0\0\x06\0\1"), /* a row with more fields than columns */
      BAD("T\0\0\0\x1a\0\1a\0\0\0\0\0\0\0\0\0\0\x10\0\1\xff\xff\xff\xff\0\0"
          "D\0\0\0\x0b\0\1\0\0\0\2t"), /* a field that ends behind the message */
      BAD("T\0\0\0\x1a\0\1a\0\0\0\0\0\0\0\0\0\0\x10\0\1\xff\xff\xff\xff\0\0"
          "D\0\0\0\x0a\0\1\xff\xff\xff\xfe"), /* a length of -2 */
      BAD("C\0\0\0\x05x"), /* a text without an end */
      BAD("R\0\0\0\x08\0\0\0\0"), /* what only belongs to the start-up */
      BAD("~\0\0\0\4"),
#undef BAD
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    reset(NULL);
    wg_pg *c = connected();
    say_raw(cases[i].bytes, cases[i].len);
    say_ready('I');
    wg_pg_error err;
    assert_null(wg_pg_query(c, "SELECT", NULL, 0, &err));
    assert_int_equal(err.code, WG_PG_PROTOCOL);
    assert_null(wg_pg_query(c, "SELECT", NULL, 0, &err));
    assert_int_equal(err.code, WG_PG_PROTOCOL);
    wg_pg_close(c);
  }
}

static void copy_is_refused_in_step(void **state) {
  (void)state;
  wg_pg *c = connected();
  wg_pg_error err;
  SAY('1', "");
  SAY('2', "");
  SAY('G', "\0\0\0");
  say_error("57014", 0);
  say_ready('I');
  assert_null(wg_pg_query(c, "COPY t FROM STDIN", NULL, 0, &err));
  assert_string_equal(err.sqlstate, "57014");
  assert_non_null(memmem(server.heard, server.heard_len, "COPY FROM STDIN", 15));

  SAY('H', "\0\0\0");
  SAY('d', "1\n");
  SAY('c', "");
  SAY('C', "COPY 1\0");
  say_ready('I');
  assert_null(wg_pg_query(c, "COPY t TO STDOUT", NULL, 0, &err));
  assert_int_equal(err.code, WG_PG_INVALID);

  say_rows();
  wg_pg_result *r = wg_pg_query(c, "SELECT", NULL, 0, &err);
  assert_non_null(r);
  wg_pg_free(r);
  wg_pg_close(c);
}

static void prepared_statement_is_bound_by_name(void **state) {
  (void)state;
  wg_pg *c = connected();
  wg_pg_error err;
  SAY('1', "");
  say_ready('I');
  assert_true(wg_pg_prepare(c, "one", "SELECT 1", &err));
  static const char parse[] = "P\0\0\0\x13one\0SELECT 1\0\0\0S\0\0\0\4";
  assert_int_equal(server.heard_len, sizeof parse - 1);
  assert_memory_equal(server.heard, parse, sizeof parse - 1);
  server.heard_len = 0;
  say_rows();
  wg_pg_free(wg_pg_query_prepared(c, "one", NULL, 0, &err));
  assert_memory_equal(server.heard, "B\0\0\0\x0f\0one\0", 10);
  say_error("26000", 'I');
  assert_null(wg_pg_query_prepared(c, "two", NULL, 0, &err));
  assert_string_equal(err.sqlstate, "26000");
  wg_pg_close(c);
}

static void notices_and_parameters_are_passed_over(void **state) {
  (void)state;
  wg_pg *c = connected();
  SAY('N', "SNOTICE\0Mhello\0\0");
  SAY('S', "TimeZone\0UTC\0");
  SAY('A', "\0\0\0\1channel\0payload\0");
  say_rows();
  wg_pg_error err;
  wg_pg_result *r = wg_pg_query(c, "SELECT", NULL, 0, &err);
  assert_int_equal(wg_pg_rows(r), 2);
  wg_pg_free(r);
  wg_pg_close(c);
}

static void arguments_are_checked(void **state) {
  (void)state;
  wg_pg_error err;
  assert_null(wg_pg_connect(&(wg_pg_config){.user = "app"}, &err));
  assert_int_equal(err.code, WG_PG_INVALID);
  assert_null(wg_pg_connect(&(wg_pg_config){.host = "db"}, &err));
  assert_int_equal(err.code, WG_PG_INVALID);
  wg_pg *c = connected();
  assert_null(wg_pg_query(c, "S", NULL, 65536, &err));
  assert_int_equal(err.code, WG_PG_INVALID);
  /* Too large for one message: refused before a byte is sent, and the connection stays good. */
  wg_pg_param huge = wg_pg_bytes("x", 65u * 1024 * 1024);
  assert_null(wg_pg_query(c, "S", &huge, 1, &err));
  assert_int_equal(err.code, WG_PG_NOMEM);
  assert_int_equal(server.heard_len, 0);
  say_rows();
  wg_pg_result *r = wg_pg_query(c, "S", NULL, 0, &err);
  assert_non_null(r);
  wg_pg_free(r);
  wg_pg_close(c);
  wg_pg_close(NULL);
  wg_pg_free(NULL);
}

static void integers_are_read_whole(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool good;
    int64_t value;
  } cases[] = {{"0", true, 0},
               {"-0", true, 0},
               {"007", true, 7},
               {"9223372036854775807", true, INT64_MAX},
               {"-9223372036854775808", true, INT64_MIN},
               {"9223372036854775808", false, 0},
               {"-9223372036854775809", false, 0},
               {"99999999999999999999", false, 0},
               {"", false, 0},
               {"-", false, 0},
               {"+1", false, 0},
               {" 1", false, 0},
               {"1 ", false, 0},
               {"1.5", false, 0},
               {"--1", false, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t v = 99;
    wg_str s = {cases[i].text, strlen(cases[i].text)};
    assert_int_equal(wg_str_int64(s, &v), cases[i].good);
    assert_int_equal(v, cases[i].good ? cases[i].value : 99);
  }
  int64_t v;
  assert_false(wg_str_int64((wg_str){NULL, 0}, &v));
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, reset)
      T(startup_names_user_database_and_encoding),
      T(password_is_sent_only_when_asked_for),
      T(rows_are_typed),
      T(booleans),
      T(parameters_travel_beside_the_text),
      T(every_split_reads_the_same),
      T(servers_error_leaves_the_connection_usable),
      T(error_after_rows_is_an_error),
      T(errors_say_what_a_program_can_do),
      T(lost_connection_stays_lost),
      T(broken_messages_break_the_connection),
      T(copy_is_refused_in_step),
      T(prepared_statement_is_bound_by_name),
      T(notices_and_parameters_are_passed_over),
      T(arguments_are_checked),
      T(integers_are_read_whole),
  };
  return cmocka_run_group_tests_name("sdk: pg", tests, NULL, NULL);
}
