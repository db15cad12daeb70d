/* SPDX-License-Identifier: Apache-2.0 */
/* US-111, US-113: one connection to a server: every way to authenticate, every way to reach it, and
 * every way for it to fail. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void test_authentication_methods(void **state) {
  (void)state;
  const mock_auth kinds[] = {MOCK_TRUST, MOCK_CLEARTEXT, MOCK_MD5, MOCK_SCRAM};
  for (size_t i = 0; i < WG_COUNT(kinds); i++)
    for (int split = 0; split < 2; split++) {
      db_fixture f;
      db_fixture_init(&f);
      f.mock.auth = kinds[i];
      f.mock.split = split;
      db_fixture_start(&f);
      char pid[16];
      db_ask(&f, f.guest, db_open(&f, f.guest), "PID", pid, sizeof pid);
      assert_string_equal(pid, "1");
      db_fixture_stop(&f);
    }
}

/* US-113: a server that does not know the password is not ours, however it pretends. */
static void test_us113_wrong_scram_server(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    db_fixture f;
    wg_error err;
    db_fixture_init(&f);
    f.mock.auth = MOCK_SCRAM;
    f.mock.wrong_signature = i == 0;
    f.mock.skip_final = i == 1;
    f.mock.wrong_nonce = i == 2;
    db_fixture_start(&f);
    assert_int_equal(db_connect(&f, f.guest, &err), 0);
    assert_int_equal(err.code, i == 2 ? WG_PROTOCOL : WG_AUTH);
    db_run_until_stats(&f, 0, 0, 0);
    db_fixture_stop(&f);
  }
}

static void test_unsupported_authentication(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  db_fixture_init(&f);
  f.mock.auth = MOCK_GSS;
  db_fixture_start(&f);
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_UNSUPPORTED);
  assert_non_null(strstr(err.msg, "method 7"));
  db_fixture_stop(&f);
}

static void test_unix_socket(void **state) {
  (void)state;
  db_fixture f;
  char dir[] = "/tmp/wg_db_testXXXXXX", path[64];
  assert_non_null(mkdtemp(dir));
  db_fixture_init(&f);
  f.mock.socket_dir = dir;
  f.database.host = (char *)"db.example";
  f.database.address = dir;
  db_fixture_start(&f);
  db_open(&f, f.guest);
  db_fixture_stop(&f);
  snprintf(path, sizeof path, "%s/.s.PGSQL.5432", dir);
  unlink(path);
  /* and one that is not there */
  wg_error err;
  db_fixture_init(&f);
  f.database.address = dir;
  db_fixture_start(&f);
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_IO);
  assert_non_null(strstr(err.msg, ".s.PGSQL."));
  db_fixture_stop(&f);
  rmdir(dir);
  /* and one that cannot be */
  char deep[200];
  memset(deep, 'x', sizeof deep - 1);
  deep[0] = '/';
  deep[199] = '\0';
  db_fixture_init(&f);
  f.database.address = deep;
  db_fixture_start(&f);
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_INVALID);
  db_fixture_stop(&f);
}

static void test_ipv6(void **state) {
  (void)state;
  if (access("/proc/net/if_inet6", R_OK) != 0) {
    print_message("no IPv6 here\n");
    skip();
  }
  db_fixture f;
  db_fixture_init(&f);
  f.mock.ipv6 = true;
  f.database.host = (char *)"::1";
  db_fixture_start(&f);
  db_open(&f, f.guest);
  db_fixture_stop(&f);
}

/** Connects. @return turns of the loop that computed something */
static unsigned turns_of_connect(db_fixture *f) {
  db_result r;
  unsigned turns = 0;
  uint64_t end = wg_now_ms(&wg_clock_monotonic) + 5000;
  db_start_connect(f->guest, &r);
  while (!r.done && wg_now_ms(&wg_clock_monotonic) < end) {
    turns += f->one.w->busy.count != 0;
    uv_run(&f->one.uv, UV_RUN_NOWAIT);
  }
  assert_true(r.done && r.code == WG_OK);
  db_greet(f, f->guest, r.req.handle);
  return turns;
}

/* A server that asks for many rounds of SCRAM holds nobody else up: the loop turns between them.
 * The next connection of the pool has their sum. */
static void test_many_rounds(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.auth = MOCK_SCRAM;
  f.mock.iterations = 100000;
  db_fixture_start(&f);
  assert_true(turns_of_connect(&f) >= 100000 / WG_SCRAM_ROUNDS - 1);
  assert_int_equal(turns_of_connect(&f), 0);
  assert_int_equal(f.mock.logins, 2);
  db_fixture_stop(&f);
}

/* Many that compute share the turns, so that a turn is no longer for them. */
static void test_many_rounds_at_once(void **state) {
  (void)state;
  enum { MANY = 8, EACH = 40000 };
  db_fixture f;
  db_fixture_init(&f);
  f.mock.auth = MOCK_SCRAM;
  f.mock.iterations = EACH;
  f.database.pool.pool_size = MANY;
  db_fixture_start(&f);
  db_result r[MANY];
  unsigned turns = 0;
  bool all = false;
  uint64_t end = wg_now_ms(&wg_clock_monotonic) + 5000;
  for (int i = 0; i < MANY; i++) db_start_connect(f.guest, &r[i]);
  while (!all && wg_now_ms(&wg_clock_monotonic) < end) {
    turns += f.one.w->busy.count != 0;
    uv_run(&f.one.uv, UV_RUN_NOWAIT);
    all = true;
    for (int i = 0; i < MANY; i++) all = all && r[i].done;
  }
  for (int i = 0; i < MANY; i++) assert_true(r[i].done && r[i].code == WG_OK);
  assert_true(turns >= MANY * (EACH / WG_SCRAM_ROUNDS - 1));
  db_fixture_stop(&f);
}

/* It goes, or the deadline comes, in the middle of them. */
static void test_gone_within_the_rounds(void **state) {
  (void)state;
  for (int late = 0; late < 3; late++) {
    db_fixture f;
    db_fixture_init(&f);
    f.mock.auth = MOCK_SCRAM;
    f.mock.iterations = 1000000;
    db_fixture_start(&f);
    db_result r;
    db_start_connect(f.guest, &r);
    uint64_t end = wg_now_ms(&wg_clock_monotonic) + 5000;
    while (f.one.w->busy.count == 0 && wg_now_ms(&wg_clock_monotonic) < end)
      uv_run(&f.one.uv, UV_RUN_NOWAIT);
    assert_int_equal(f.one.w->busy.count, 1);
    if (late == 0) mock_pg_kill(&f.mock);
    if (late == 1) db_advance(&f, 4001);
    if (late < 2) {
      db_run_until(&f.one, &r.done);
      assert_int_equal(r.code, late ? WG_TIMEOUT : WG_LOST);
      assert_int_equal(f.one.w->busy.count, 0);
    }
    db_fixture_stop(&f); /* or all of the worker does */
  }
}

/* A name with several addresses: each is tried, the last failure is told. */
static char *addresses[] = {(char *)"127.0.0.9", (char *)"127.0.0.8", (char *)"127.0.0.1"};
static wg_registry_entry registry[] = {{(char *)"db.warp.local", addresses, 3}};

static void test_addresses_in_turn(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) { /* the registry rotates them */
    db_fixture f;
    db_fixture_init(&f);
    f.config.registry = registry;
    f.config.registry_count = 1;
    f.database.host = (char *)"db.warp.local";
    db_fixture_start(&f);
    for (int k = 0; k < i; k++) {
      db_close(f.guest, db_open(&f, f.guest));
      mock_pg_kill(&f.mock);
      db_run_until_stats(&f, 0, 0, 0);
    }
    db_open(&f, f.guest);
    assert_int_equal(db_stats(&f).failures, 0);
    db_fixture_stop(&f);
  }
  db_fixture f;
  wg_error err;
  db_fixture_init(&f);
  f.config.registry = registry;
  f.config.registry_count = 1;
  f.database.host = (char *)"db.warp.local";
  db_fixture_start(&f);
  mock_pg_stop(&f.mock);
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_IO);
  assert_int_equal(db_stats(&f).failures, 1); /* one attempt, three addresses */
  db_fixture_stop(&f);
}

static void test_unknown_name(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  db_fixture_init(&f);
  f.database.host = (char *)"nobody.warp.local"; /* never leaves the host */
  db_fixture_start(&f);
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_NOT_FOUND);
  assert_non_null(strstr(err.msg, "nobody.warp.local"));
  assert_non_null(strstr(err.msg, "08001"));
  db_fixture_stop(&f);
}

/* `address` is dialled, `host` is what guests say. */
static void test_address_overrides_host(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  mock_pg_start(&f.mock);
  uint16_t port = f.mock.port;
  mock_pg_stop(&f.mock);
  f.database.host = (char *)"db.example";
  f.database.port = 5432;
  f.database.address = (char *)"127.0.0.1";
  f.database.address_port = port;
  db_fixture_start(&f);
  db_open(&f, f.guest);
  db_fixture_stop(&f);
}

/* The server goes in the middle of the log-in, at every byte of what it says. */
static void test_server_gone_during_login(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.auth = MOCK_SCRAM;
  f.mock.login_delay_ms = 30;
  db_fixture_start(&f);
  db_result r;
  db_start_connect(f.guest, &r);
  while (f.mock.accepted == 0) db_run(&f.one);
  mock_pg_kill(&f.mock);
  db_run_until(&f.one, &r.done);
  assert_int_equal(r.code, WG_LOST);
  assert_non_null(strstr(r.err.msg, "08001"));
  db_run_until_stats(&f, 0, 0, 0);
  db_fixture_stop(&f);
}

/* "Not a database server": told from its first bytes, not by a timeout. */
static void test_log_in_deadline(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.mute = true;
  db_fixture_start(&f);
  db_result r;
  db_start_connect(f.guest, &r);
  while (f.mock.accepted == 0) db_run(&f.one);
  db_run(&f.one);
  wg_db_cancel(f.guest, &r.req);
  db_advance(&f, 4001); /* nobody waits, and still it does not stay for ever */
  db_run_until_stats(&f, 0, 0, 0);
  assert_int_equal(db_stats(&f).failures, 1);
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_authentication_methods),
      cmocka_unit_test(test_us113_wrong_scram_server),
      cmocka_unit_test(test_unsupported_authentication),
      cmocka_unit_test(test_unix_socket),
      cmocka_unit_test(test_ipv6),
      cmocka_unit_test(test_many_rounds),
      cmocka_unit_test(test_many_rounds_at_once),
      cmocka_unit_test(test_gone_within_the_rounds),
      cmocka_unit_test(test_addresses_in_turn),
      cmocka_unit_test(test_unknown_name),
      cmocka_unit_test(test_address_overrides_host),
      cmocka_unit_test(test_server_gone_during_login),
      cmocka_unit_test(test_log_in_deadline),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
