/* SPDX-License-Identifier: Apache-2.0 */
/* Databases of this machine that nobody declared: who may reach them, with whose credentials. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static wg_db_target target(const char *host, uint16_t port, const char *database, const char *user,
                           const char *password) {
  return (wg_db_target){.protocol = WG_DB_POSTGRES,
                        .host = host,
                        .host_len = strlen(host),
                        .port = port,
                        .database = database,
                        .database_len = strlen(database),
                        .user = user,
                        .user_len = strlen(user),
                        .password = password,
                        .password_len = password ? strlen(password) : 0};
}

static void on_done(wg_db_req *req, const wg_error *err) {
  db_result *r = req->user;
  r->done = true;
  r->code = err ? err->code : WG_OK;
  if (err) r->err = *err;
}

/** Connects and blocks; 0 and *err on failure. */
static uint64_t connect_to(db_fixture *f, wg_db_target t, wg_error *err) {
  db_result r = {0};
  wg_db_connect(f->guest, &t, &r.req, on_done, &r);
  db_run_until(&f->one, &r.done);
  if (r.code == WG_OK) return r.req.handle;
  if (err) *err = r.err;
  return 0;
}

static void start(db_fixture *f, bool allowed) {
  db_fixture_init(f);
  f->mock.auth = MOCK_SCRAM;
  f->config.loopback_databases = allowed;
  f->config.database_count = 0;
  db_fixture_start(f);
}

static void test_off_unless_asked_for(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  start(&f, false);
  assert_int_equal(connect_to(&f, target("127.0.0.1", f.mock.port, "shop", "app", "secret"), &err),
                   0);
  assert_int_equal(err.code, WG_REFUSED);
  assert_int_equal(f.mock.accepted, 0);
  db_fixture_stop(&f);
}

static void test_names_of_this_machine(void **state) {
  (void)state;
  db_fixture f;
  start(&f, true);
  static const char *const ok[] = {"127.0.0.1", "localhost", "LOCALHOST.", "127.1.2.3"};
  for (size_t i = 0; i < WG_COUNT(ok); i++) {
    wg_db_target t = target(ok[i], f.mock.port, "shop", "app", "secret");
    assert_true(wg__loopback_meant(f.db, &t));
  }
  wg_db_target six = target("::1", f.mock.port, "shop", "app", "secret");
  assert_true(wg__loopback_meant(f.db, &six));
  six = target("[::1]", f.mock.port, "shop", "app", "secret");
  assert_true(wg__loopback_meant(f.db, &six));
  uint64_t h = connect_to(&f, target("127.0.0.1", f.mock.port, "shop", "app", "secret"), NULL);
  assert_int_not_equal(h, 0);
  db_greet(&f, f.guest, h);
  char text[64];
  db_ask(&f, f.guest, h, "PID", text, sizeof text);
  assert_string_equal(text, "1");
  db_close(f.guest, h);
  db_fixture_stop(&f);
}

static void test_other_hosts_stay_refused(void **state) {
  (void)state;
  db_fixture f;
  start(&f, true);
  static const char *const bad[] = {
      "db.example", "128.0.0.1",  "10.0.0.1", "localhost.example", "127.0.0.1.evil", "::2", "", ".",
      "127.1",      "0x7f000001", "[]",       "::ffff:127.0.0.1",  "0.0.0.0"};
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    wg_error err;
    wg_db_target t = target(bad[i], f.mock.port, "shop", "app", "secret");
    assert_false(wg__loopback_meant(f.db, &t));
    assert_int_equal(connect_to(&f, t, &err), 0);
    assert_true(err.code == WG_REFUSED || err.code == WG_INVALID);
  }
  wg_error err;
  wg_db_target t = target("localhost", 0, "shop", "app", "secret");
  assert_int_equal(connect_to(&f, t, &err), 0);
  assert_int_equal(err.code, WG_REFUSED);
  t = target("localhost", f.mock.port, "shop", "app", "secret");
  t.protocol = (wg_db_protocol)9;
  assert_int_equal(connect_to(&f, t, &err), 0);
  assert_int_equal(err.code, WG_INVALID);
  assert_int_equal(f.mock.accepted, 0);
  db_fixture_stop(&f);
}

static void test_pools_do_not_mix_credentials(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  start(&f, true);
  uint64_t h = connect_to(&f, target("127.0.0.1", f.mock.port, "shop", "app", "secret"), NULL);
  assert_int_not_equal(h, 0);
  db_greet(&f, f.guest, h);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  /* The idle session is not for one who does not know the password. */
  assert_int_equal(connect_to(&f, target("127.0.0.1", f.mock.port, "shop", "app", "wrong"), &err),
                   0);
  assert_int_equal(err.code, WG_AUTH);
  assert_null(strstr(err.msg, "wrong"));
  assert_int_equal(connect_to(&f, target("127.0.0.1", f.mock.port, "shop", "app", NULL), &err), 0);
  assert_int_equal(err.code, WG_AUTH);
  assert_int_equal(f.mock.logins, 1);
  /* It is for one who does. */
  h = connect_to(&f, target("127.0.0.1", f.mock.port, "shop", "app", "secret"), NULL);
  assert_int_not_equal(h, 0);
  assert_int_equal(f.mock.logins, 1);
  db_close(f.guest, h);
  assert_int_equal(f.db->loopbacks.count, 3);
  db_fixture_stop(&f);
}

static void test_a_declared_database_comes_first(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.auth = MOCK_SCRAM;
  f.config.loopback_databases = true;
  db_fixture_start(&f);
  uint64_t h =
      connect_to(&f, target("127.0.0.1", f.mock.port, "shop", "anybody", "whatever"), NULL);
  assert_int_not_equal(h, 0); /* the host's own credentials */
  db_close(f.guest, h);
  assert_int_equal(f.db->loopbacks.count, 0);
  db_fixture_stop(&f);
}

static void test_bounded(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  start(&f, true);
  mock_pg_refuse(&f.mock);
  for (int i = 0; i <= DB_LOOPBACKS_MAX; i++) {
    char database[32];
    snprintf(database, sizeof database, "db%d", i);
    wg_db_target t = target("127.0.0.1", f.mock.port, database, "app", "secret");
    const wg_database_config *c = NULL, *again = NULL;
    wg_code code = wg__loopback_match(f.one.w, &t, &c, &err);
    if (i < DB_LOOPBACKS_MAX) {
      assert_int_equal(code, WG_OK);
      assert_int_equal(wg__loopback_match(f.one.w, &t, &again, &err), WG_OK);
      assert_ptr_equal(c, again);
    } else {
      assert_int_equal(code, WG_EXHAUSTED);
    }
  }
  wg_db_target t = target("127.0.0.1", f.mock.port, "shop", "", "secret");
  assert_int_equal(connect_to(&f, t, &err), 0);
  assert_int_equal(err.code, WG_INVALID);
  char *huge = calloc(1, DB_PASSWORD_MAX + 2);
  memset(huge, 'x', DB_PASSWORD_MAX + 1);
  t = target("127.0.0.1", f.mock.port, "shop", "app", huge);
  assert_int_equal(connect_to(&f, t, &err), 0);
  assert_int_equal(err.code, WG_INVALID);
  free(huge);
  db_fixture_stop(&f);
}

static char logged[8192];
static void keep_line(void *user, const char *line, size_t len) {
  (void)user;
  strncat(logged, line, len < sizeof logged - strlen(logged) - 1 ? len : 0);
}

static void test_says_once_what_to_declare(void **state) {
  (void)state;
  db_fixture f;
  start(&f, true);
  wg_log_setup(WG_LOG_WARN, WG_LOG_LOGFMT, 2);
  wg__log_sink(keep_line, NULL);
  for (int i = 0; i < 2; i++) {
    uint64_t h = connect_to(&f, target("127.0.0.1", f.mock.port, "", "shop", "secret"), NULL);
    assert_int_equal(h, 0); /* the mock knows no such user */
  }
  wg__log_sink(NULL, NULL);
  char *line = strstr(logged, "db_loopback_undeclared");
  assert_non_null(line);
  assert_null(strstr(line + 1, "db_loopback_undeclared"));
  assert_non_null(strstr(logged, "/shop"));
  assert_null(strstr(logged, "secret"));
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_off_unless_asked_for),
      cmocka_unit_test(test_names_of_this_machine),
      cmocka_unit_test(test_other_hosts_stay_refused),
      cmocka_unit_test(test_pools_do_not_mix_credentials),
      cmocka_unit_test(test_a_declared_database_comes_first),
      cmocka_unit_test(test_bounded),
      cmocka_unit_test(test_says_once_what_to_declare),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
