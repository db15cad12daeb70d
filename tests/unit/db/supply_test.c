/* SPDX-License-Identifier: Apache-2.0 */
/* US-111: where a waiter's connection comes from while the pool has room: from one that is about to be
 * free, or from a new log-in. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/** Asks, and moves the clock on until the answer is there; how far that was, at most `most`. */
static uint64_t ask_for(db_fixture *f, db_result *r, uint64_t most) {
  uint64_t waited = 0;
  db_start_connect(f->guest, r);
  for (int quiet = 0; !r->done && waited < most;) {
    db_run(&f->one);
    if (r->done) break;
    if (f->mock.logins + f->mock.pings + f->mock.resets > 0 && quiet++ < 5) {
      uv_sleep(1); /* the server is a thread of its own */
      continue;
    }
    quiet = 0;
    db_advance(f, 10);
    waited += 10;
  }
  return waited;
}

/* A connection that is being reset is back in a moment: no other one is made. */
static void us_111_a_reset_spares_a_login(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  for (int i = 0; i < 20; i++) {
    db_result r;
    db_query(&f, f.guest, h, "BEGIN");
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'T');
    db_close(f.guest, h);
    assert_int_equal(db_stats(&f).idle, 0);
    db_start_connect(f.guest, &r);
    db_run_until(&f.one, &r.done);
    assert_int_equal(r.code, WG_OK);
    h = r.req.handle;
    db_greet(&f, f.guest, h);
  }
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

/* One whose server has gone silent is waited for a moment only, when the pool has room. */
static void us_111_a_silent_reset_stops_nobody(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "BEGIN");
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'T');
  db_freeze(&f);
  f.mock.reset_hangs = true;
  db_close(f.guest, h);
  db_result r;
  uint64_t waited = ask_for(&f, &r, 4000);
  assert_true(r.done);
  assert_int_equal(r.code, WG_OK);
  assert_in_range(waited, 1, 300);
  assert_int_equal(f.mock.logins, 2);
  assert_int_equal(db_stats(&f).total, 2);
  db_fixture_stop(&f);
}

/* The same while idle connections are checked: a half-open one is found out after seconds. */
static void us_111_a_silent_check_stops_nobody(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  db_close(f.guest, db_open(&f, f.guest));
  db_run_until_stats(&f, 0, 1, 1);
  db_freeze(&f);
  f.mock.ping_hangs = true;
  db_advance(&f, 30001);
  assert_int_equal(db_stats(&f).idle, 0);
  db_result r;
  uint64_t waited = ask_for(&f, &r, 4000);
  assert_true(r.done);
  assert_int_equal(r.code, WG_OK);
  assert_in_range(waited, 1, 300);
  assert_int_equal(f.mock.logins, 2);
  db_fixture_stop(&f);
}

/* Attempts that fail together are one failure of the server: the pause is the shortest. */
static void us_111_a_wave_of_failures_is_one(void **state) {
  (void)state;
  enum { WAVE = 10 };
  db_fixture f;
  db_result r[WAVE];
  db_fixture_init(&f);
  f.database.pool.pool_size = WAVE;
  db_fixture_start(&f);
  mock_pg_stop(&f.mock);
  db_freeze(&f);
  for (int i = 0; i < WAVE; i++) db_start_connect(f.guest, &r[i]);
  for (int i = 0; i < WAVE; i++) {
    db_run_until(&f.one, &r[i].done);
    assert_int_equal(r[i].code, WG_IO);
  }
  assert_in_range(db_stats(&f).failures, 1, WAVE);
  mock_pg_start(&f.mock);
  db_advance(&f, DB_BACKOFF_MIN_MS + 1);
  db_open(&f, f.guest);
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_111_a_reset_spares_a_login),
      cmocka_unit_test(us_111_a_silent_reset_stops_nobody),
      cmocka_unit_test(us_111_a_silent_check_stops_nobody),
      cmocka_unit_test(us_111_a_wave_of_failures_is_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
