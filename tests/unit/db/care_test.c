/* SPDX-License-Identifier: Apache-2.0 */
/* US-111, US-113: what a pool does as time goes by, and what it tells: idle and lifetime limits, health
 * checks, the minimum of idle connections, the line of statistics. */
#include "db/db_fixture.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

/* US-113: idle connections go after their time, busy ones and fresh ones do not. */
static void test_us113_idle_reaped(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.health_interval_ms = 0;
  db_fixture_start(&f);
  uint64_t a = db_open(&f, f.guest), b = db_open(&f, f.guest);
  db_close(f.guest, a);
  db_run_until_stats(&f, 1, 1, 2);
  db_advance(&f, 200000);
  db_close(f.guest, b);
  db_run_until_stats(&f, 0, 2, 2);
  db_advance(&f, 99000);
  db_run_until_stats(&f, 0, 2, 2);
  db_advance(&f, 1001);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(db_stats(&f).reaped, 1);
  db_advance(&f, 200000);
  db_run_until_stats(&f, 0, 0, 0);
  assert_int_equal(db_stats(&f).reaped, 2);
  db_fixture_stop(&f);
  assert_int_equal(f.mock.terminates, 2); /* politely */
}

/* Pings do not keep an idle connection alive. */
static void test_pings_do_not_delay_reaping(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  db_close(f.guest, db_open(&f, f.guest));
  for (int i = 1; i <= 9; i++) {
    db_advance(&f, 30001);
    db_run_until_stats(&f, 0, 1, 1);
    assert_int_equal(f.mock.pings, i);
  }
  db_advance(&f, 30001);
  db_run_until_stats(&f, 0, 0, 0);
  assert_int_equal(db_stats(&f).reaped, 1);
  db_fixture_stop(&f);
}

/* A ping is no use by a guest: the order of the idle stays. */
static void test_pings_keep_lifo(void **state) {
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
  db_advance(&f, 10000);
  db_close(f.guest, b);
  db_run_until_stats(&f, 0, 2, 2);
  db_advance(&f, 20001);
  db_run_until_stats(&f, 0, 2, 2);
  assert_int_equal(f.mock.pings, 1); /* a */
  db_pid(&f, db_open(&f, f.guest), now);
  assert_string_equal(now, last);
  db_fixture_stop(&f);
}

/* US-113: a connection whose ping fails, or is not answered, is removed. */
static void test_us113_failing_ping(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  db_close(f.guest, db_open(&f, f.guest));
  f.mock.ping_fails = true;
  db_advance(&f, 30001);
  db_run_until_stats(&f, 0, 0, 0);
  assert_int_equal(db_stats(&f).unhealthy, 1);
  f.mock.ping_fails = false;
  f.mock.ping_hangs = true;
  db_close(f.guest, db_open(&f, f.guest));
  db_run_until_stats(&f, 0, 1, 1);
  db_advance(&f, 30001);
  assert_int_equal(db_stats(&f).total, 1);
  assert_int_equal(db_stats(&f).idle, 0); /* nobody is given it meanwhile */
  db_advance(&f, 5001);
  db_run_until_stats(&f, 0, 0, 0);
  assert_int_equal(db_stats(&f).unhealthy, 2);
  db_fixture_stop(&f);
}

/* A connection that the server closed while idle is noticed, and never handed out. */
static void test_idle_closed_by_server(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  db_close(f.guest, db_open(&f, f.guest));
  mock_pg_kill(&f.mock);
  db_run_until_stats(&f, 0, 0, 0);
  assert_int_equal(db_stats(&f).unhealthy, 1);
  /* and when the loop has not yet seen it: the peek before the lease does */
  db_close(f.guest, db_open(&f, f.guest));
  db_run_until_stats(&f, 0, 1, 1);
  mock_pg_terminate(&f.mock);
  while (f.mock.open) uv_sleep(1);
  uint64_t h = db_open(&f, f.guest);
  char pid[16];
  db_pid(&f, h, pid);
  assert_string_equal(pid, "3");
  assert_int_equal(db_stats(&f).unhealthy, 2);
  db_fixture_stop(&f);
}

/* US-111: statistics are events at level info: at most one a minute, and only when there is news. */
static char logged[65536];
static size_t logged_len;
static void on_line(void *user, const char *line, size_t len) {
  (void)user;
  if (logged_len + len < sizeof logged) {
    memcpy(logged + logged_len, line, len);
    logged_len += len;
  }
  logged[logged_len] = '\0';
}
static unsigned count_of(const char *what) {
  unsigned n = 0;
  for (const char *p = logged; (p = strstr(p, what)); p++) n++;
  return n;
}

static void test_us111_events(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.auth = MOCK_CLEARTEXT;
  db_fixture_start(&f);
  wg_log_setup(WG_LOG_DEBUG, WG_LOG_LOGFMT, 2);
  wg__log_sink(on_line, NULL);
  logged_len = 0;
  db_advance(&f, 60000);
  uint64_t h = db_open(&f, f.guest);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(count_of("db_pool"), 1);
  assert_non_null(strstr(logged, "database=main"));
  assert_non_null(strstr(logged, "active=1 idle=0 total=1 waiting=0"));
  h = db_open(&f, f.guest);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(count_of("db_pool"), 1);
  db_advance(&f, 60001); /* pinged, and told of it */
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(count_of("db_pool"), 2);
  db_advance(&f, 60001); /* nothing new since */
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(count_of("db_pool"), 2);
  for (int i = 0; i < 2; i++) { /* sslmode=prefer: answered, and hinted at once in a life */
    wg_error err;
    uint8_t no[4];
    h = db_connect(&f, f.guest, &err);
    db_send(&f, f.guest, h, "\0\0\0\010\004\322\026\057", 8);
    assert_int_equal(wg_db_recv(f.guest, h, no, sizeof no, &err), 1);
    assert_int_equal(no[0], 'N');
    db_greet(&f, f.guest, h);
    db_close(f.guest, h);
  }
  assert_int_equal(count_of("db_guest_asked_tls"), 1);
  assert_null(strstr(logged, "secret"));
  wg__log_sink(NULL, NULL);
  db_fixture_stop(&f);
}

static void log_begin(void) {
  wg_log_setup(WG_LOG_DEBUG, WG_LOG_LOGFMT, 2);
  wg__log_sink(on_line, NULL);
  logged_len = 0;
  logged[0] = '\0';
}

static void log_end(void) {
  wg__log_sink(NULL, NULL);
  wg_log_setup(WG_LOG_ERROR, WG_LOG_LOGFMT, 2);
}

/* ---- lifetimes ---- */

/* US-111: a connection ends at max_lifetime, or up to a tenth before it, and they do not end at
 * once. */
static void test_us111_lifetime_of_idle_ones(void **state) {
  (void)state;
  enum { N = 20 };
  db_fixture f;
  uint64_t h[N];
  db_fixture_init(&f);
  f.database.pool.pool_size = N;
  f.database.pool.health_interval_ms = 0;
  f.database.pool.idle_timeout_ms = 0;
  f.database.pool.max_lifetime_ms = 1000000;
  db_fixture_start(&f);
  db_freeze(&f);
  for (int i = 0; i < N; i++) h[i] = db_open(&f, f.guest);
  for (int i = 0; i < N; i++) db_close(f.guest, h[i]);
  db_run_until_stats(&f, 0, N, N);
  db_advance(&f, 898000);
  assert_int_equal(db_stats(&f).total, N);
  unsigned last = N, steps = 0;
  for (int i = 0; i < 103; i++) {
    db_advance(&f, 1001);
    unsigned now = db_stats(&f).total;
    assert_true(now <= last);
    steps += now < last;
    last = now;
  }
  assert_int_equal(last, 0);
  assert_true(steps > 3);
  assert_int_equal(db_stats(&f).reaped, N);
  db_fixture_stop(&f);
  assert_int_equal(f.mock.terminates, N); /* politely */
}

/* US-111: never under a guest, but when it gives the connection back. */
static void test_us111_lifetime_ends_at_return(void **state) {
  (void)state;
  db_fixture f;
  char pid[16];
  db_fixture_init(&f);
  f.database.pool.max_lifetime_ms = 10000;
  f.database.pool.health_interval_ms = 0;
  db_fixture_start(&f);
  log_begin();
  uint64_t h = db_open(&f, f.guest);
  db_advance(&f, 60000);
  db_pid(&f, h, pid);
  assert_string_equal(pid, "1");
  assert_int_equal(db_stats(&f).active, 1);
  db_close(f.guest, h);
  log_end();
  assert_int_equal(db_stats(&f).total, 0);
  assert_non_null(strstr(logged, "cause=lifetime"));
  assert_int_equal(f.mock.resets, 0);
  db_pid(&f, db_open(&f, f.guest), pid);
  assert_string_equal(pid, "2");
  db_fixture_stop(&f);
}

/* ---- min_idle ---- */

/* min_idle connections are there before a guest asks, stay, and come back when they are taken. */
static void test_min_idle(void **state) {
  (void)state;
  db_fixture f;
  uint64_t h[3];
  db_fixture_init(&f);
  f.database.pool.pool_size = 4;
  f.database.pool.min_idle = 2;
  f.database.pool.health_interval_ms = 0;
  db_fixture_start(&f);
  assert_int_equal(db_stats(&f).total, 0);
  db_advance(&f, 101);
  db_run_until_stats(&f, 0, 2, 2);
  for (int i = 0; i < 3; i++) {
    db_advance(&f, 300001);
    db_run_until_stats(&f, 0, 2, 2);
  }
  assert_int_equal(db_stats(&f).reaped, 0);
  for (int i = 0; i < 3; i++) h[i] = db_open(&f, f.guest);
  db_advance(&f, 1001);
  db_run_until_stats(&f, 3, 1, 4); /* pool_size is the limit */
  for (int i = 0; i < 3; i++) db_close(f.guest, h[i]);
  db_run_until_stats(&f, 0, 4, 4);
  db_advance(&f, 300001); /* what is more than the minimum goes */
  db_run_until_stats(&f, 0, 2, 2);
  mock_pg_kill(&f.mock);
  db_run_until_stats(&f, 0, 0, 0);
  db_advance(&f, 1001);
  db_run_until_stats(&f, 0, 2, 2);
  db_fixture_stop(&f);
}

/* A server that is down is asked by one attempt at a time, after the back-off. */
static void test_min_idle_makes_no_storm(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 100;
  f.database.pool.min_idle = 100;
  db_fixture_start(&f);
  db_freeze(&f);
  mock_pg_stop(&f.mock);
  db_advance(&f, 101);
  uint64_t end = wg_now_ms(&wg_clock_monotonic) + 5000;
  while (db_stats(&f).total && wg_now_ms(&wg_clock_monotonic) < end) db_run(&f.one);
  uint64_t first = db_stats(&f).failures;
  assert_in_range(first, 1, 100);
  db_advance(&f, 10000);
  for (int i = 0; i < 10; i++) {
    while (db_stats(&f).total && wg_now_ms(&wg_clock_monotonic) < end) db_run(&f.one);
    db_advance(&f, 1001);
  }
  assert_in_range(db_stats(&f).failures, first + 1, first + 11);
  mock_pg_start(&f.mock);
  db_advance(&f, 2001);
  db_run_until_stats(&f, 0, 1, 1);
  db_advance(&f, 1001);
  db_run_until_stats(&f, 0, 100, 100);
  db_fixture_stop(&f);
}

/* Workers share them. */
static void test_min_idle_on_two_workers(void **state) {
  (void)state;
  db_fixture f;
  db_worker_fixture two;
  db_fixture_init(&f);
  f.database.pool.pool_size = 10;
  f.database.pool.min_idle = 5;
  db_fixture_start(&f);
  db_worker_fixture_start(&f, &two, 2);
  db_advance(&f, 1101);
  wg_deadlines_run(two.w->deadlines);
  for (int i = 0; i < 2000 && db_stats(&f).idle < 5; i++) {
    db_run(&f.one);
    db_run(&two);
    uv_sleep(1);
  }
  assert_int_equal(db_stats(&f).idle, 5);
  assert_int_equal(f.one.w->servers.count, 3);
  assert_int_equal(two.w->servers.count, 2);
  db_worker_fixture_stop(&two); /* the one that stays takes over */
  db_advance(&f, 1001);
  db_run_until_stats(&f, 0, 5, 5);
  db_fixture_stop(&f);
}

/* ---- peers that vanish ---- */

static int option_of(const db_fixture *f, int level, int name) {
  const wg_server *srv = WG_CONTAINER(wg_list_first(&f->one.w->servers), wg_server, by_worker);
  int value = -1;
  socklen_t len = sizeof value;
  assert_int_equal(getsockopt(srv->fd, level, name, &value, &len), 0);
  return value;
}

/* US-111: the kernel is told how long a silent or deaf peer is borne. */
static void test_us111_tcp_settings(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.tcp_keepalive_ms = 6500;
  f.database.pool.tcp_user_timeout_ms = 12345;
  db_fixture_start(&f);
  db_close(f.guest, db_open(&f, f.guest));
  assert_int_equal(option_of(&f, SOL_SOCKET, SO_KEEPALIVE), 1);
  assert_int_equal(option_of(&f, IPPROTO_TCP, TCP_KEEPIDLE), 7);
  assert_int_equal(option_of(&f, IPPROTO_TCP, TCP_KEEPINTVL), 2);
  assert_int_equal(option_of(&f, IPPROTO_TCP, TCP_KEEPCNT), 3);
  assert_int_equal(option_of(&f, IPPROTO_TCP, TCP_USER_TIMEOUT), 12345);
  assert_int_equal(option_of(&f, IPPROTO_TCP, TCP_NODELAY), 1);
  db_fixture_stop(&f);

  db_fixture_init(&f); /* 0: as the kernel has it */
  db_fixture_start(&f);
  db_close(f.guest, db_open(&f, f.guest));
  assert_int_equal(option_of(&f, SOL_SOCKET, SO_KEEPALIVE), 0);
  assert_int_equal(option_of(&f, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us113_idle_reaped),
      cmocka_unit_test(test_pings_do_not_delay_reaping),
      cmocka_unit_test(test_pings_keep_lifo),
      cmocka_unit_test(test_us113_failing_ping),
      cmocka_unit_test(test_idle_closed_by_server),
      cmocka_unit_test(test_us111_events),
      cmocka_unit_test(test_us111_lifetime_of_idle_ones),
      cmocka_unit_test(test_us111_lifetime_ends_at_return),
      cmocka_unit_test(test_min_idle),
      cmocka_unit_test(test_min_idle_makes_no_storm),
      cmocka_unit_test(test_min_idle_on_two_workers),
      cmocka_unit_test(test_us111_tcp_settings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
