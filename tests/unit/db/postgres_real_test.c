/* SPDX-License-Identifier: Apache-2.0 */
/* US-111, US-112, US-113 with a real PostgreSQL: a cluster of its own in a temporary folder, on a
 * free port of 127.0.0.1. Skipped, with a word why, where PostgreSQL's programs are not installed. */
#include "db/db_fixture.h"
#include "db/real_postgres.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool running;

static const char seed[] = "CREATE TABLE items (id int, name text);\n"
                           "GRANT ALL ON items TO app;\n";

static void real_start(db_fixture *f, const char *user) {
  if (!running) skip();
  db_fixture_init(f);
  f->real = true;
  f->database.port = real_postgres_port();
  f->database.user = (char *)user;
  db_fixture_start(f);
}

static void ask_is(db_fixture *f, uint64_t h, const char *sql, const char *expected) {
  char out[256];
  db_ask(f, f->guest, h, sql, out, sizeof out);
  if (strcmp(out, expected) != 0) fail_msg("%s: '%s', expected '%s'", sql, out, expected);
}

static void run_ok(db_fixture *f, uint64_t h, const char *sql) {
  uint8_t *all;
  size_t len;
  db_query(f, f->guest, h, sql);
  assert_int_equal(db_read_until(f, f->guest, h, 'Z', &all, &len), 'I');
  assert_int_not_equal(all[0], 'E');
  free(all);
}

static void test_log_in_methods(void **state) {
  (void)state;
  const char *users[] = {"app", "app_md5", "postgres"};
  for (size_t i = 0; i < WG_COUNT(users); i++) {
    db_fixture f;
    real_start(&f, users[i]);
    uint64_t h = db_open(&f, f.guest);
    ask_is(&f, h, "SELECT current_user", users[i]);
    ask_is(&f, h, "SELECT current_database()", "shop");
    ask_is(&f, h, "SHOW application_name", "warpgrid");
    db_fixture_stop(&f);
  }
}

static void test_unix_socket(void **state) {
  (void)state;
  if (!running) skip();
  db_fixture f;
  db_fixture_init(&f);
  f.real = true;
  f.database.port = real_postgres_port();
  f.database.address = (char *)real_postgres_dir();
  db_fixture_start(&f);
  ask_is(&f, db_open(&f, f.guest), "SELECT coalesce(inet_server_addr()::text, 'none')", "none");
  db_fixture_stop(&f);
}

static void test_wrong_credentials(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  if (!running) skip();
  db_fixture_init(&f);
  f.real = true;
  f.database.port = real_postgres_port();
  f.database.password = (wg_secret){(char *)"wrong", 5};
  db_fixture_start(&f);
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_AUTH);
  assert_non_null(strstr(err.msg, "28P01"));
  db_fixture_stop(&f);
}

/* US-113, US-114: the same backend serves the next guest, and nothing of the first is left. */
static void test_us113_reuse_and_reset(void **state) {
  (void)state;
  db_fixture f;
  char first[32];
  real_start(&f, "app");
  uint64_t h = db_open(&f, f.guest);
  db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", first, sizeof first);
  run_ok(&f, h, "PREPARE s1 AS SELECT 1");
  run_ok(&f, h, "CREATE TEMP TABLE t (x int)");
  run_ok(&f, h, "SET search_path = pg_catalog; SET TimeZone = 'Asia/Tokyo'; LISTEN ch");
  run_ok(&f, h, "SELECT pg_advisory_lock(7)");
  run_ok(&f, h, "SELECT set_config('app.secret', 'x', false)");
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  h = db_open(&f, f.guest);
  ask_is(&f, h, "SELECT pg_backend_pid()", first);
  ask_is(&f, h, "SELECT count(*) FROM pg_prepared_statements", "0");
  ask_is(&f, h, "SELECT coalesce(to_regclass('t')::text, 'none')", "none");
  ask_is(&f, h, "SHOW search_path", "\"$user\", public");
  ask_is(&f, h, "SELECT count(*) FROM pg_listening_channels()", "0");
  ask_is(&f, h, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0");
  ask_is(&f, h, "SELECT coalesce(nullif(current_setting('app.secret', true), ''), 'none')", "none");
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  db_fixture_stop(&f);
}

/* In a transaction, in a failed one: rolled back, same backend. */
static void test_open_transactions(void **state) {
  (void)state;
  db_fixture f;
  char first[32];
  real_start(&f, "app");
  for (int i = 0; i < 3; i++) {
    uint64_t h = db_open(&f, f.guest);
    if (i == 0)
      db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", first, sizeof first);
    else
      ask_is(&f, h, "SELECT pg_backend_pid()", first);
    ask_is(&f, h, "SELECT count(*) FROM items", "0");
    db_query(&f, f.guest, h, "BEGIN; INSERT INTO items VALUES (1, 'x')");
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'T');
    if (i == 1) {
      db_query(&f, f.guest, h, "SELECT 1/0");
      assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'E');
    }
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
  }
  assert_int_equal(db_stats(&f).connects, 1);
  db_fixture_stop(&f);
}

static int greet_with(db_fixture *f, uint64_t h, const uint8_t *packet, size_t n, uint8_t **all,
                      size_t *len) {
  db_send(f, f->guest, h, packet, n);
  return db_read_until(f, f->guest, h, 'Z', all, len);
}

/* Start-up parameters arrive as the server itself would have taken them. */
static void test_startup_parameters(void **state) {
  (void)state;
  db_fixture f;
  uint8_t packet[512], *all;
  size_t len;
  real_start(&f, "app");
  wg_error err;
  uint64_t h = db_connect(&f, f.guest, &err);
  size_t n = db_startup(packet, "user", "u", "client_encoding", "LATIN1", "DateStyle", "German",
                        "TimeZone", "Europe/Berlin", "search_path", "pg_catalog, \"odd'name\"",
                        "application_name", "caf\xc3\xa9; DROP TABLE items", "options",
                        "-c geqo=off --work-mem=7\\MB -cextra_float_digits=2", NULL);
  assert_int_equal(greet_with(&f, h, packet, n, &all, &len), 'I');
  assert_non_null(memmem(all, len, "client_encoding\0LATIN1", 23));
  assert_non_null(memmem(all, len, "DateStyle\0German, DMY", 22));
  assert_non_null(memmem(all, len, "TimeZone\0Europe/Berlin", 23));
  free(all);
  ask_is(&f, h, "SHOW client_encoding", "LATIN1");
  ask_is(&f, h, "SHOW DateStyle", "German, DMY");
  ask_is(&f, h, "SHOW TimeZone", "Europe/Berlin");
  ask_is(&f, h, "SHOW search_path", "pg_catalog, \"odd'name\"");
  ask_is(&f, h, "SHOW geqo", "off");
  ask_is(&f, h, "SHOW work_mem", "7MB");
  ask_is(&f, h, "SHOW extra_float_digits", "2");
  ask_is(&f, h, "SELECT count(*) FROM public.items", "0");
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  h = db_open(&f, f.guest); /* and are gone for the next */
  ask_is(&f, h, "SHOW client_encoding", "UTF8");
  ask_is(&f, h, "SHOW geqo", "on");
  ask_is(&f, h, "SHOW application_name", "warpgrid");
  assert_int_equal(db_stats(&f).connects, 1);
  db_fixture_stop(&f);
}

static void test_rejected_parameters(void **state) {
  (void)state;
  const struct {
    const char *name, *value, *sqlstate;
  } bad[] = {
      {"TimeZone", "Nowhere/Land", "22023"},   {"no_such_parameter", "1", "42704"},
      {"client_encoding", "KLINGON", "22023"}, {"max_connections", "5", "55P02"},
      {"log_connections", "on", "55P02"},
  };
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    db_fixture f;
    wg_error err;
    uint8_t packet[256], *all;
    size_t len;
    real_start(&f, "app");
    uint64_t h = db_connect(&f, f.guest, &err);
    size_t n = db_startup(packet, "user", "u", bad[i].name, bad[i].value, NULL);
    assert_int_equal(greet_with(&f, h, packet, n, &all, &len), -1);
    if (!db_is_error(all, len, bad[i].sqlstate))
      fail_msg("%s: not %s", bad[i].name, bad[i].sqlstate);
    free(all);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1); /* no harm to the connection */
    db_fixture_stop(&f);
  }
}

static size_t put_msg(uint8_t *out, char type, const char *body, size_t n) {
  out[0] = (uint8_t)type;
  out[1] = out[2] = 0;
  out[3] = (uint8_t)((n + 4) >> 8);
  out[4] = (uint8_t)(n + 4);
  if (n) memcpy(out + 5, body, n);
  return n + 5;
}

/* COPY by the extended protocol, with the early Sync that some drivers send: poolable all the same,
 * so the walk over the streams counts as the server does. */
static void test_copy_in_extended(void **state) {
  (void)state;
  db_fixture f;
  char first[32];
  real_start(&f, "app");
  for (int early = 0; early < 2; early++)
    for (int broken = 0; broken < 2; broken++) {
      uint64_t h = db_open(&f, f.guest);
      if (early == 0 && broken == 0)
        db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", first, sizeof first);
      else
        ask_is(&f, h, "SELECT pg_backend_pid()", first);
      uint8_t b[512];
      size_t n = put_msg(b, 'P', "\0COPY items FROM STDIN\0\0\0", 25);
      n += put_msg(b + n, 'B', "\0\0\0\0\0\0\0\0", 8);
      n += put_msg(b + n, 'E', "\0\0\0\0\0", 5);
      n += put_msg(b + n, early ? 'S' : 'H', "", 0);
      db_send(&f, f.guest, h, b, n);
      db_read_until(&f, f.guest, h, 'G', NULL, NULL);
      n = put_msg(b, 'd', broken ? "what\n" : "1\tone\n", broken ? 5 : 6);
      n += put_msg(b + n, 'c', "", 0);
      n += put_msg(b + n, 'S', "", 0);
      db_send(&f, f.guest, h, b, n);
      uint8_t *all;
      size_t len;
      assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
      assert_int_equal(all[0], broken ? 'E' : 'C');
      free(all);
      db_close(f.guest, h);
      db_run_until_stats(&f, 0, 1, 1);
    }
  assert_int_equal(db_stats(&f).connects, 1);
  uint64_t h = db_open(&f, f.guest);
  ask_is(&f, h, "SELECT count(*) FROM items", "2");
  run_ok(&f, h, "DELETE FROM items");
  db_fixture_stop(&f);
}

/* A pipeline with an error in the middle; the count stays right. */
static void test_pipeline_with_error(void **state) {
  (void)state;
  db_fixture f;
  char first[32];
  real_start(&f, "app");
  uint64_t h = db_open(&f, f.guest);
  db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", first, sizeof first);
  uint8_t b[8192];
  size_t n = 0;
  for (int i = 0; i < 30; i++) {
    n += i == 15 ? put_msg(b + n, 'P', "\0SELECT 1/0\0\0\0", 14)
                 : put_msg(b + n, 'P', "\0SELECT 1\0\0\0", 12);
    n += put_msg(b + n, 'B', "\0\0\0\0\0\0\0\0", 8);
    n += put_msg(b + n, 'E', "\0\0\0\0\0", 5);
    n += put_msg(b + n, 'S', "", 0);
  }
  db_send(&f, f.guest, h, b, n);
  int ready = 0, errors = 0;
  wg_buf in;
  wg_buf_init(&in, 1 << 20);
  while (ready < 30) {
    uint8_t *room = wg_buf_reserve(&in, 4096), type;
    wg_error err;
    wg_reader body;
    ssize_t got = db_recv(&f, f.guest, h, room, 4096, &err);
    assert_true(got > 0);
    wg_buf_commit(&in, (size_t)got);
    while (wg_buf_len(&in) >= 5) {
      wg_reader r = wg_reader_of(wg_buf_head(&in), wg_buf_len(&in));
      type = wg_take_u8(&r);
      uint32_t len = wg_take_u32(&r);
      body = r;
      if (body.len < len - 4) break;
      ready += type == 'Z';
      errors += type == 'E';
      wg_buf_consume(&in, len + 1);
    }
  }
  wg_buf_release(&in);
  assert_int_equal(errors, 1);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  h = db_open(&f, f.guest);
  ask_is(&f, h, "SELECT pg_backend_pid()", first);
  db_fixture_stop(&f);
}

static uint64_t open_again(db_fixture *f) {
  for (int i = 0; i < 200; i++) {
    wg_error err;
    uint64_t h = db_connect(f, f->guest, &err);
    if (h) {
      db_greet(f, f->guest, h);
      return h;
    }
    assert_true(err.code == WG_IO || err.code == WG_LOST);
    assert_true(strstr(err.msg, "08001") || strstr(err.msg, "57P0"));
    uv_sleep(50);
  }
  fail_msg("the server did not come back");
  return 0;
}

/* kill -9 of a backend in mid-result: what came, then connection-lost; and the next connect works
 * as soon as the server does. */
static void test_us113_backend_killed(void **state) {
  (void)state;
  db_fixture f;
  char pid[32];
  real_start(&f, "app");
  uint64_t h = db_open(&f, f.guest);
  db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", pid, sizeof pid);
  db_query(&f, f.guest, h, "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)");
  uint8_t b[4096];
  wg_error err;
  ssize_t n = db_recv(&f, f.guest, h, b, sizeof b, &err);
  assert_true(n > 0);
  assert_int_equal(kill((pid_t)atoi(pid), SIGKILL), 0);
  size_t total = 0;
  uint8_t last[4096] = {0};
  ssize_t last_n = 0;
  while ((n = db_recv(&f, f.guest, h, b, sizeof b, &err)) > 0) {
    total += (size_t)n;
    memcpy(last, b, (size_t)n);
    last_n = n;
  }
  assert_true(total < 900000000);
  if (n == 0) { /* cut at a boundary: it was told so */
    size_t at = (size_t)last_n;
    bool told = false;
    while (at-- > 0 && !told) told = db_is_error(last + at, (size_t)last_n - at, "08006");
    assert_true(told);
  } else {
    assert_int_equal(n, WG_LOST);
  }
  db_close(f.guest, h);
  for (int tries = 0, status = -1; status != 'I'; tries++) {
    assert_true(tries <
                10); /* the server may take a log-in, and only then see that it has crashed */
    h = open_again(&f);
    db_query(&f, f.guest, h, "SELECT 1");
    status = db_read_until(&f, f.guest, h, 'Z', NULL, NULL);
    db_close(f.guest, h);
  }
  db_fixture_stop(&f);
}

/* The administrator ends the backend of a guest that waits: the server's own words reach it. */
static void test_backend_terminated(void **state) {
  (void)state;
  db_fixture f;
  char pid[32], sql[64];
  real_start(&f, "postgres");
  uint64_t h = open_again(&f), other = db_open(&f, f.guest);
  db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", pid, sizeof pid);
  db_query(&f, f.guest, h, "SELECT pg_sleep(60)");
  snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%s)", pid);
  ask_is(&f, other, sql, "t");
  uint8_t *all;
  size_t len;
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
  assert_non_null(memmem(all, len, "C57P01", 6));
  assert_null(memmem(all, len, "C08006", 6));
  free(all);
  db_fixture_stop(&f);
}

/* A restart: idle connections are dropped, guests with a session are told, new ones work. */
static void test_us113_server_restart(void **state) {
  (void)state;
  db_fixture f;
  real_start(&f, "app");
  uint64_t h = db_open(&f, f.guest), idle = db_open(&f, f.guest);
  db_close(f.guest, idle);
  db_run_until_stats(&f, 1, 1, 2);
  real_postgres_restart();
  db_run_until_stats(&f, 1, 0, 1);
  uint8_t *all;
  size_t len;
  db_query(&f, f.guest, h, "SELECT 1");
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
  assert_true(db_is_error(all, len, "57P01") || db_is_error(all, len, "08006"));
  free(all);
  db_close(f.guest, h);
  ask_is(&f, open_again(&f), "SELECT 1", "1");
  db_fixture_stop(&f);
}

/* US-113: the limit is the server's view too. */
static void test_us113_limit(void **state) {
  (void)state;
  db_fixture f;
  real_start(&f, "app");
  uint64_t a = db_open(&f, f.guest);
  db_open(&f, f.guest);
  db_result r;
  db_start_connect(f.guest, &r);
  char count[16] = "";
  for (int i = 0; i < 100 && strcmp(count, "2") != 0; i++) { /* those of the last test may linger */
    db_ask(&f, f.guest, a,
           "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'warpgrid'", count,
           sizeof count);
    uv_sleep(10);
  }
  assert_string_equal(count, "2");
  assert_false(r.done);
  db_advance(&f, 4001);
  assert_int_equal(r.code, WG_EXHAUSTED);
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_log_in_methods),       cmocka_unit_test(test_unix_socket),
      cmocka_unit_test(test_wrong_credentials),    cmocka_unit_test(test_us113_reuse_and_reset),
      cmocka_unit_test(test_open_transactions),    cmocka_unit_test(test_startup_parameters),
      cmocka_unit_test(test_rejected_parameters),  cmocka_unit_test(test_copy_in_extended),
      cmocka_unit_test(test_pipeline_with_error),  cmocka_unit_test(test_us113_limit),
      cmocka_unit_test(test_us113_backend_killed), cmocka_unit_test(test_backend_terminated),
      cmocka_unit_test(test_us113_server_restart),
  };
  running = real_postgres_start(&(real_postgres_spec){.seed = seed});
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  real_postgres_stop();
  return failed;
}
