/* SPDX-License-Identifier: Apache-2.0 */
/* US-112 with a real PostgreSQL: what it says though nobody asked. Settings that are reloaded reach
 * guests as well as the pool, which loses no connection by it; a NOTIFY reaches a guest that only
 * waits, and no other. */
#include "db/db_fixture.h"
#include "db/real_postgres.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool running;

static int start_server(void **state) {
  (void)state;
  running = real_postgres_start(&(real_postgres_spec){.seed = ""});
  return 0;
}

static int stop_server(void **state) {
  (void)state;
  real_postgres_stop();
  return 0;
}

static void start(db_fixture *f) {
  if (!running) skip();
  db_fixture_init(f);
  f->real = true;
  f->database.port = real_postgres_port();
  f->database.pool.pool_size = 2;
  f->database.pool.recv_timeout_ms = 30000;
  db_fixture_start(f);
}

static uint64_t open_told(db_fixture *f, uint8_t **all, size_t *len) {
  uint8_t bytes[256];
  uint64_t h = db_connect(f, f->guest, NULL);
  db_send(f, f->guest, h, bytes, db_startup(bytes, "user", "u", "database", "shop", NULL));
  assert_int_equal(db_read_until(f, f->guest, h, 'Z', all, len), 'I');
  return h;
}

static void reload(const char *sql) {
  assert_true(real_postgres_sql(sql));
  assert_true(real_postgres_sql("SELECT pg_reload_conf()"));
}

/* PostgreSQL reads its settings anew with the next command, and tells of them in front of its answer: an
 * idle connection that is pinged remembers it, and the next guest's welcome has it. */
static void test_reload_while_pooled(void **state) {
  (void)state;
  db_fixture f;
  uint8_t *all;
  size_t len;
  start(&f);
  db_close(f.guest, db_open(&f, f.guest));
  db_run_until_stats(&f, 0, 1, 1);
  reload("ALTER SYSTEM SET intervalstyle = 'iso_8601'");
  for (int i = 0;; i++) { /* until the server has got the signal */
    db_run_until_stats(&f, 0, 1, 1);
    db_advance(&f, f.database.pool.health_interval_ms + 1);
    db_run_until_stats(&f, 0, 1, 1);
    uint64_t h = open_told(&f, &all, &len);
    bool told = memmem(all, len, "IntervalStyle\0iso_8601", 23);
    free(all);
    db_close(f.guest, h);
    if (told) break;
    assert_int_not_equal(i, 100);
    uv_sleep(10);
  }
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(db_stats(&f).connects, 1);
  assert_int_equal(db_stats(&f).unhealthy, 0);
  reload("ALTER SYSTEM RESET intervalstyle");
  db_fixture_stop(&f);
}

/* In a session it is the guest's, and the next guest's welcome has it, too. */
static void test_reload_in_a_session(void **state) {
  (void)state;
  db_fixture f;
  uint8_t *all;
  size_t len;
  start(&f);
  uint64_t h = db_open(&f, f.guest);
  reload("ALTER SYSTEM SET intervalstyle = 'sql_standard'");
  for (int i = 0;; i++) {
    db_query(&f, f.guest, h, "SELECT 1");
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
    bool told = memmem(all, len, "S\0\0\0\x1fIntervalStyle\0sql_standard", 32);
    free(all);
    if (told) break;
    assert_int_not_equal(i, 100);
    uv_sleep(10);
  }
  db_close(f.guest, h);
  h = open_told(&f, &all, &len);
  assert_non_null(memmem(all, len, "IntervalStyle\0sql_standard", 27));
  free(all);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(db_stats(&f).connects, 1);
  reload("ALTER SYSTEM RESET intervalstyle");
  db_fixture_stop(&f);
}

/* A guest that listens, and then only waits; and the next one, which hears nothing of it. */
static void test_notify_to_who_waits(void **state) {
  (void)state;
  db_fixture f;
  uint8_t *all, byte;
  size_t len;
  start(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "LISTEN news");
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  for (int i = 0; i < 3; i++) {
    assert_int_equal(wg_db_recv(f.guest, h, &byte, 1, NULL), WG_AGAIN);
    assert_true(real_postgres_sql("NOTIFY news, 'extra'"));
    db_read_until(&f, f.guest, h, 'A', &all, &len);
    assert_memory_equal(all + 9, "news\0extra", 11);
    free(all);
  }
  assert_true(real_postgres_sql("NOTIFY news, 'unread'"));
  uv_sleep(100);
  db_close(f.guest, h); /* with a notification that nobody read */
  db_run_until_stats(&f, 0, 1, 1);
  assert_true(real_postgres_sql("NOTIFY news, 'late'"));
  h = open_told(&f, &all, &len);
  assert_null(memmem(all, len, "news", 4));
  free(all);
  db_query(&f, f.guest, h, "SELECT 1");
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
  assert_null(memmem(all, len, "news", 4));
  free(all);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(db_stats(&f).connects, 1);
  db_fixture_stop(&f);
}

/* What setseed() did is one of the things that a reset does not undo, as the docs say. */
static void test_setseed_survives(void **state) {
  (void)state;
  db_fixture f;
  char first[64], second[64];
  start(&f);
  for (int i = 0; i < 2; i++) {
    uint64_t h = db_open(&f, f.guest);
    db_query(&f, f.guest, h, "SELECT setseed(0.5)");
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
    h = db_open(&f, f.guest);
    db_ask(&f, f.guest, h, "SELECT random()::text", i ? second : first, sizeof first);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
  }
  assert_string_equal(first, second);
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reload_while_pooled),
      cmocka_unit_test(test_reload_in_a_session),
      cmocka_unit_test(test_notify_to_who_waits),
      cmocka_unit_test(test_setseed_survives),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
