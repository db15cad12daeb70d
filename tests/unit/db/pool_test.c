/* SPDX-License-Identifier: Apache-2.0 */
/* US-111, US-113: the pool of one key: reuse, limit, queue, failures, drain. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* US-113: connect gives a handle, close gives the connection back, connect reuses it. */
static void test_us113_reuse(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  char first[16], second[16];
  uint64_t a = db_open(&f, f.guest);
  assert_int_not_equal(a, 0);
  db_pid(&f, a, first);
  db_close(f.guest, a);
  db_run_until_stats(&f, 0, 1, 1);
  uint64_t b = db_open(&f, f.guest);
  assert_int_not_equal(a, b);
  db_pid(&f, b, second);
  assert_string_equal(first, second);
  wg_db_stats s = db_stats(&f);
  assert_string_equal(s.name, "main");
  assert_int_equal(s.connects, 1);
  assert_int_equal(s.leases, 2);
  assert_int_equal(s.reuses, 1);
  assert_int_equal(s.limit, 2);
  assert_int_equal(f.mock.resets, 1);
  db_fixture_stop(&f);
  assert_int_equal(f.mock.accepted, 1);
}

/* A session that the server never saw needs no cleaning. */
static void test_unused_session_is_not_reset(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  db_close(f.guest, db_open(&f, f.guest));
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(f.mock.resets, 0);
  db_fixture_stop(&f);
}

/* The last one back is the first one out. */
static void test_lifo(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t a = db_open(&f, f.guest), b = db_open(&f, f.guest);
  char last[16], now[16];
  db_pid(&f, a, last);
  db_pid(&f, b, last);
  db_close(f.guest, a);
  db_run_until_stats(&f, 1, 1, 2);
  db_advance(&f, 10);
  db_close(f.guest, b);
  db_run_until_stats(&f, 0, 2, 2);
  uint64_t c = db_open(&f, f.guest);
  db_pid(&f, c, now);
  assert_string_equal(now, last);
  db_fixture_stop(&f);
}

/* US-113: an exhausted pool answers with an error at the deadline. */
static void test_us113_exhausted_deadline(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t a = db_open(&f, f.guest), b = db_open(&f, f.guest);
  db_result r1, r2;
  db_freeze(&f);
  db_start_connect(f.guest, &r1);
  db_advance(&f, 3000);
  db_start_connect(f.guest, &r2);
  assert_int_equal(db_stats(&f).waiting, 2);
  db_advance(&f, 999);
  assert_false(r1.done);
  db_advance(&f, 2);
  assert_true(r1.done);
  assert_int_equal(r1.code, WG_EXHAUSTED);
  assert_non_null(strstr(r1.err.msg, "all 2 connections"));
  assert_non_null(strstr(r1.err.msg, "4000 ms"));
  assert_non_null(strstr(r1.err.msg, "1 more guests"));
  assert_non_null(strstr(r1.err.msg, "53300"));
  assert_non_null(strstr(r1.err.hint, "pool_size"));
  assert_false(r2.done);
  assert_int_equal(db_stats(&f).timeouts, 1);
  db_close(f.guest, a); /* the other one is served */
  db_run_until(&f.one, &r2.done);
  assert_int_equal(r2.code, WG_OK);
  db_close(f.guest, b);
  db_fixture_stop(&f);
}

/* US-113: connects queue in order of arrival, and nobody overtakes. */
static void test_us113_fifo(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  db_result r[5];
  for (int i = 0; i < 5; i++) db_start_connect(f.guest, &r[i]);
  wg_db_cancel(f.guest, &r[2].req);
  for (int i = 0; i < 5; i++) {
    if (i == 2) continue;
    db_advance(&f, 10);
    db_close(f.guest, h);
    db_run_until(&f.one, &r[i].done);
    assert_int_equal(r[i].code, WG_OK);
    for (int k = i + 1; k < 5; k++) assert_false(r[k].done);
    h = r[i].req.handle;
  }
  assert_false(r[2].done);
  wg_db_stats s = db_stats(&f);
  assert_int_equal(s.connects, 1);
  assert_int_equal(s.reuses, 4);
  assert_true(s.wait_ms_total >= 10 + 20 + 30 + 40);
  db_fixture_stop(&f);
}

static void test_max_waiters(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  f.database.pool.max_waiters = 1;
  db_fixture_start(&f);
  db_open(&f, f.guest);
  db_result r1, r2;
  db_start_connect(f.guest, &r1);
  db_start_connect(f.guest, &r2);
  assert_true(r2.done); /* at once */
  assert_int_equal(r2.code, WG_EXHAUSTED);
  assert_false(r1.done);
  db_fixture_stop(&f);
}

/* No queue at all is no reason not to connect. */
static void test_no_waiters(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.max_waiters = 0;
  db_fixture_start(&f);
  db_result r[3];
  for (int i = 0; i < 3; i++) db_start_connect(f.guest, &r[i]);
  assert_true(r[2].done); /* the pool has two */
  assert_int_equal(r[2].code, WG_EXHAUSTED);
  for (int i = 0; i < 2; i++) {
    db_run_until(&f.one, &r[i].done);
    assert_int_equal(r[i].code, WG_OK);
  }
  db_fixture_stop(&f);
}

/* A failed reset: the connection is closed, and the one who waits gets a new one. */
static void test_failed_reset(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  f.mock.reset_fails = true;
  uint64_t h = db_open(&f, f.guest);
  char pid[16];
  db_pid(&f, h, pid);
  db_result r;
  db_start_connect(f.guest, &r);
  db_close(f.guest, h);
  db_run_until(&f.one, &r.done);
  assert_int_equal(r.code, WG_OK);
  assert_int_equal(f.mock.logins, 2);
  db_fixture_stop(&f);
}

/* The server goes, or falls silent, in the middle of a reset: nobody is given that connection. */
static void test_reset_interrupted(void **state) {
  (void)state;
  for (int silent = 0; silent < 2; silent++) {
    db_fixture f;
    db_fixture_init(&f);
    f.database.pool.pool_size = 1;
    f.database.pool.connect_timeout_ms = 20000;
    db_fixture_start(&f);
    f.mock.reset_hangs = true;
    uint64_t h = db_open(&f, f.guest);
    char pid[16];
    db_pid(&f, h, pid);
    db_close(f.guest, h);
    db_result r;
    db_start_connect(f.guest, &r);
    while (f.mock.resets == 0) db_run(&f.one);
    assert_false(r.done);
    if (silent)
      db_advance(&f, 5001);
    else
      mock_pg_kill(&f.mock);
    db_run_until(&f.one, &r.done);
    assert_int_equal(r.code, WG_OK);
    assert_int_equal(db_stats(&f).unhealthy, 1);
    assert_int_equal(f.mock.logins, 2);
    db_fixture_stop(&f);
  }
}

static void test_reset_close(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.reset = WG_DB_RESET_CLOSE;
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  char pid[16];
  db_pid(&f, h, pid);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 0, 0);
  db_fixture_stop(&f);
  assert_int_equal(f.mock.resets, 0);
  assert_int_equal(f.mock.terminates, 1);
}

/* A refused server answers at once, also those who queue behind, and during backoff. */
static void test_refused_server(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  mock_pg_stop(&f.mock);
  db_result r[4];
  for (int i = 0; i < 4; i++) db_start_connect(f.guest, &r[i]);
  for (int i = 0; i < 4; i++) {
    db_run_until(&f.one, &r[i].done);
    assert_int_equal(r[i].code, WG_IO);
    assert_non_null(strstr(r[i].err.msg, "08001"));
    assert_non_null(strstr(r[i].err.msg, "database 'main'"));
    assert_non_null(strstr(r[i].err.msg, "efused"));
  }
  db_result again;
  db_start_connect(f.guest, &again);
  assert_true(again.done); /* backoff: not even tried */
  assert_int_equal(again.code, WG_IO);
  uint64_t failures = db_stats(&f).failures;
  assert_true(failures >= 1 && failures <= 4);
  mock_pg_start(&f.mock); /* back again on the same port */
  db_advance(&f, 2001);
  db_open(&f, f.guest);
  db_fixture_stop(&f);
}

/* Refused while another connection is in use: the guest that it was for is told at once, and does
 * not wait for the other. */
static void test_refused_beside_a_leased_one(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  mock_pg_refuse(&f.mock);
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_IO);
  char pid[16];
  db_pid(&f, h, pid);
  /* during backoff a guest may still hope for the one that is in use */
  db_result r;
  db_start_connect(f.guest, &r);
  assert_false(r.done);
  db_close(f.guest, h);
  db_run_until(&f.one, &r.done);
  assert_int_equal(r.code, WG_OK);
  db_fixture_stop(&f);
}

/* Backoff grows, stays within bounds, and ends with the first success. */
static void test_backoff_bounds(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  mock_pg_stop(&f.mock);
  uint64_t failures = 0;
  for (int i = 0; i < 12; i++) {
    db_result r;
    db_start_connect(f.guest, &r);
    db_run_until(&f.one, &r.done);
    assert_int_equal(db_stats(&f).failures, ++failures);
    uint64_t cap = (uint64_t)50 << i < 2000 ? (uint64_t)50 << i : 2000;
    wg_pool *pool = WG_CONTAINER(wg_list_first(&f.db->pools), wg_pool, by_db);
    uint64_t left = pool->retry_ms - wg__db_now(f.one.w);
    assert_in_range(left, 0, cap);
    assert_true(left + 50 >= cap / 2);
    db_advance(&f, cap + 1);
  }
  mock_pg_start(&f.mock);
  db_open(&f, f.guest);
  wg_pool *pool = WG_CONTAINER(wg_list_first(&f.db->pools), wg_pool, by_db);
  assert_int_equal(pool->failures, 0);
  db_fixture_stop(&f);
}

/* A server that is full refuses new log-ins, but the connections that exist serve the queue. */
static void test_full_server(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  f.mock.full = true;
  db_result r;
  db_start_connect(f.guest, &r);
  while (db_stats(&f).failures == 0) db_run(&f.one);
  assert_false(r.done);
  db_close(f.guest, h);
  db_run_until(&f.one, &r.done);
  assert_int_equal(r.code, WG_OK);
  /* without any connection left, its refusal is the answer */
  wg_error err;
  db_close(f.guest, r.req.handle);
  db_run_until_stats(&f, 0, 1, 1);
  mock_pg_kill(&f.mock);
  db_run_until_stats(&f, 0, 0, 0);
  db_advance(&f, 3000);
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_IO);
  assert_non_null(strstr(err.msg, "53300"));
  db_fixture_stop(&f);
}

/* The queue looks again when backoff is over, without anybody coming back. */
static void test_retry_after_backoff(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  db_open(&f, f.guest);
  f.mock.full = true;
  db_result r;
  db_start_connect(f.guest, &r);
  while (db_stats(&f).failures == 0) db_run(&f.one);
  f.mock.full = false;
  db_run_until(&f.one, &r.done); /* in real time: 25 to 150 ms */
  assert_int_equal(r.code, WG_OK);
  db_fixture_stop(&f);
}

static void test_wrong_password(void **state) {
  (void)state;
  const mock_auth kinds[] = {MOCK_CLEARTEXT, MOCK_MD5, MOCK_SCRAM};
  for (size_t i = 0; i < WG_COUNT(kinds); i++) {
    db_fixture f;
    wg_error err;
    db_fixture_init(&f);
    f.mock.auth = kinds[i];
    f.mock.password = "something else";
    db_fixture_start(&f);
    assert_int_equal(db_connect(&f, f.guest, &err), 0);
    assert_int_equal(err.code, WG_AUTH);
    assert_non_null(strstr(err.msg, "28P01"));
    assert_non_null(strstr(err.msg, "password authentication failed for user \"app\""));
    assert_null(strstr(err.msg, "secret"));
    db_fixture_stop(&f);
  }
}

/* A server that never answers: the guest's connect ends at its deadline, as unreachable and not as
 * exhausted. */
static void test_mute_server(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.mute = true;
  db_fixture_start(&f);
  db_result r;
  db_start_connect(f.guest, &r);
  while (f.mock.accepted == 0) db_run(&f.one);
  db_run(&f.one);
  db_advance(&f, 4001);
  assert_true(r.done);
  assert_int_equal(r.code, WG_TIMEOUT);
  assert_non_null(strstr(r.err.msg, "08001"));
  db_advance(&f, 1000); /* the attempt itself has ended, or does now */
  db_run_until_stats(&f, 0, 0, 0);
  db_fixture_stop(&f);
}

/* US-111: draining refuses newcomers, closes what is idle, waits for what is leased. */
static void on_drained(void *user) { *(bool *)user = true; }

static void test_us113_drain(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t a = db_open(&f, f.guest), b = db_open(&f, f.guest);
  db_close(f.guest, a);
  db_run_until_stats(&f, 1, 1, 2);
  bool drained = false;
  wg_db_worker_drain(f.one.w, on_drained, &drained);
  assert_false(drained); /* from the loop only */
  db_run_until_stats(&f, 1, 0, 1);
  wg_error err;
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_REFUSED);
  char pid[16];
  db_pid(&f, b, pid); /* work in flight goes on */
  uv_async_send(&f.one.w->wake); /* as another worker may */
  db_run(&f.one);
  assert_false(drained);
  db_close(f.guest, b);
  db_run_until(&f.one, &drained);
  assert_int_equal(db_stats(&f).total, 0);
  db_fixture_stop(&f);
}

static void test_drain_of_nothing(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  bool drained = false;
  wg_db_worker_drain(f.one.w, on_drained, &drained);
  db_run_until(&f.one, &drained);
  db_fixture_stop(&f);
}

/* Nothing becomes idle any more: not what was never used, nor what was being connected. */
static void test_drain_keeps_nothing(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.login_delay_ms = 20;
  f.config.pool.drain_timeout_ms = f.database.pool.drain_timeout_ms = 60000;
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  db_result r;
  bool drained = false;
  db_start_connect(f.guest, &r);
  wg_db_cancel(f.guest, &r.req);
  wg_db_worker_drain(f.one.w, on_drained, &drained);
  db_close(f.guest, h);
  db_run_until(&f.one, &drained);
  assert_int_equal(db_stats(&f).total, 0);
  assert_int_equal(f.mock.logins, 2);
  db_fixture_stop(&f);
}

/* Guests that wait when draining begins are still served by what comes back. */
static void test_drain_serves_the_queue(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  char pid[16];
  db_pid(&f, h, pid);
  db_result r;
  bool drained = false;
  db_start_connect(f.guest, &r);
  wg_db_worker_drain(f.one.w, on_drained, &drained);
  db_close(f.guest, h);
  db_run_until(&f.one, &r.done);
  assert_int_equal(r.code, WG_OK);
  assert_false(drained);
  db_close(f.guest, r.req.handle);
  db_run_until(&f.one, &drained);
  db_fixture_stop(&f);
}

static void test_drain_deadline_cuts(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  bool drained = false;
  wg_db_worker_drain(f.one.w, on_drained, &drained);
  db_advance(&f, 4001);
  db_run_until(&f.one, &drained);
  uint8_t *all;
  size_t len;
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
  assert_true(db_is_error(all, len, "08006"));
  free(all);
  db_fixture_stop(&f);
}

/* Cancel while the name resolves, while the log-in runs, and in the queue; the connection that was
 * under way is not lost. */
static void test_cancel_at_each_state(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.login_delay_ms = 30;
  db_fixture_start(&f);
  db_result r;
  db_start_connect(f.guest, &r); /* dialing */
  wg_db_cancel(f.guest, &r.req);
  db_run_until_stats(&f, 0, 1, 1);
  assert_false(r.done);
  uint64_t h = db_open(&f, f.guest);
  f.mock.login_delay_ms = 500; /* longer than this thread is ever kept from the next lines */
  db_start_connect(f.guest, &r);
  while (f.mock.accepted < 2) db_run(&f.one); /* log-in */
  wg_db_cancel(f.guest, &r.req);
  db_run_until_stats(&f, 1, 1, 2);
  uint64_t i = db_open(&f, f.guest);
  db_start_connect(f.guest, &r); /* queue */
  wg_db_cancel(f.guest, &r.req);
  assert_int_equal(db_stats(&f).waiting, 0);
  db_close(f.guest, h);
  db_close(f.guest, i);
  db_run_until_stats(&f, 0, 2, 2);
  assert_false(r.done);
  db_fixture_stop(&f);
}

/* Statistics are what the lists hold, at every moment of a connection's life. */
static void test_stats_equal_lists(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.login_delay_ms = 20;
  db_fixture_start(&f);
  db_result r[3];
  for (int i = 0; i < 3; i++) db_start_connect(f.guest, &r[i]);
  wg_db_stats s = db_stats(&f);
  assert_int_equal(s.active, 0);
  assert_int_equal(s.total, 2);
  assert_int_equal(s.waiting, 3);
  db_run_until(&f.one, &r[1].done);
  wg_pool *pool = WG_CONTAINER(wg_list_first(&f.db->pools), wg_pool, by_db);
  s = db_stats(&f);
  assert_int_equal(s.active, pool->servers[SRV_LEASED].count);
  assert_int_equal(s.active, 2);
  assert_int_equal(s.waiting, 1);
  assert_int_equal(s.total, f.one.w->servers.count);
  db_close(f.guest, r[0].req.handle);
  db_run_until(&f.one, &r[2].done);
  assert_int_equal(db_stats(&f).waiting, 0);
  db_fixture_stop(&f);
}

static void test_shutdown_in_every_state(void **state) {
  (void)state;
  for (int stage = 0; stage < 6; stage++) { /* the fixture's end asserts that nothing is left */
    db_fixture f;
    db_result r;
    db_fixture_init(&f);
    f.mock.login_delay_ms = 30;
    f.database.pool.health_interval_ms = 1000;
    db_fixture_start(&f);
    if (stage == 0) db_start_connect(f.guest, &r);
    if (stage == 1) {
      db_start_connect(f.guest, &r);
      while (f.mock.accepted == 0) db_run(&f.one);
    }
    if (stage >= 2) {
      uint64_t h = db_open(&f, f.guest);
      char pid[16];
      db_pid(&f, h, pid);
      if (stage >= 3) db_close(f.guest, h); /* 3: resetting */
      if (stage >= 4) db_run_until_stats(&f, 0, 1, 1);
      if (stage == 5) {
        f.mock.ping_hangs = true;
        db_advance(&f, 1001);
      }
    }
    db_fixture_stop(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us113_reuse),
      cmocka_unit_test(test_unused_session_is_not_reset),
      cmocka_unit_test(test_lifo),
      cmocka_unit_test(test_us113_exhausted_deadline),
      cmocka_unit_test(test_us113_fifo),
      cmocka_unit_test(test_max_waiters),
      cmocka_unit_test(test_no_waiters),
      cmocka_unit_test(test_failed_reset),
      cmocka_unit_test(test_reset_interrupted),
      cmocka_unit_test(test_reset_close),
      cmocka_unit_test(test_refused_server),
      cmocka_unit_test(test_refused_beside_a_leased_one),
      cmocka_unit_test(test_backoff_bounds),
      cmocka_unit_test(test_full_server),
      cmocka_unit_test(test_retry_after_backoff),
      cmocka_unit_test(test_wrong_password),
      cmocka_unit_test(test_mute_server),
      cmocka_unit_test(test_us113_drain),
      cmocka_unit_test(test_drain_of_nothing),
      cmocka_unit_test(test_drain_keeps_nothing),
      cmocka_unit_test(test_drain_serves_the_queue),
      cmocka_unit_test(test_drain_deadline_cuts),
      cmocka_unit_test(test_cancel_at_each_state),
      cmocka_unit_test(test_stats_equal_lists),
      cmocka_unit_test(test_shutdown_in_every_state),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
