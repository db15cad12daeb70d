/* SPDX-License-Identifier: Apache-2.0 */
/* US-111: what is told of a pool: events of a connection's life, waiting times, causes of failures,
 * bytes, the warning of a slow wait. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char logged[65536];
static size_t logged_len;

static void on_line(void *user, const char *line, size_t len) {
  (void)user;
  if (logged_len + len + 1 >= sizeof logged) return;
  memcpy(logged + logged_len, line, len);
  logged_len += len;
  if (len && line[len - 1] != '\n') logged[logged_len++] = '\n';
  logged[logged_len] = '\0';
}

static void log_all(void) {
  wg_log_setup(WG_LOG_DEBUG, WG_LOG_LOGFMT, 2);
  wg__log_sink(on_line, NULL);
  logged_len = 0;
  logged[0] = '\0';
}

/** The line of an event from `from` on; NULL: none. */
static const char *event(const char *name, const char *from) {
  static char line[1024];
  char find[64];
  snprintf(find, sizeof find, "event=%s ", name);
  const char *at = strstr(from ? from : logged, find);
  if (!at) return NULL;
  while (at > logged && at[-1] != '\n') at--;
  snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
  return line;
}

static unsigned count_of(const char *name) {
  char find[64];
  unsigned n = 0;
  snprintf(find, sizeof find, "event=%s ", name);
  for (const char *p = logged; (p = strstr(p, find)); p++) n++;
  return n;
}

static void assert_says(const char *line, const char *text) {
  if (!line || !strstr(line, text)) fail_msg("'%s' is not in: %s", text, line ? line : logged);
}

/* Each step of a connection's life is an event with the connection's number. */
static void test_us111_events_of_a_life(void **state) {
  (void)state;
  db_fixture f;
  char conn[32];
  db_fixture_init(&f);
  f.mock.auth = MOCK_CLEARTEXT;
  f.database.pool.health_interval_ms = 0;
  db_fixture_start(&f);
  log_all();
  uint64_t h = db_open(&f, f.guest);
  const char *line = event("db_connecting", NULL);
  assert_says(line, "level=debug");
  assert_says(line, "address=127.0.0.1");
  const char *at = strstr(line, "conn=");
  assert_non_null(at);
  snprintf(conn, sizeof conn, "%.*s", (int)strcspn(at, " "), at);
  line = event("db_connected", NULL);
  assert_says(line, "level=info");
  assert_says(line, conn);
  assert_says(line, " ms=");
  line = event("db_leased", NULL);
  assert_says(line, "level=debug");
  assert_says(line, conn);
  char pid[16];
  db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  assert_says(event("db_returned", NULL), conn);
  assert_says(event("db_returned", NULL), "fit=true used=true");
  assert_says(event("db_reset", NULL), conn);
  assert_int_equal(db_stats(&f).resets, 1);
  db_advance(&f, 300001);
  db_run_until_stats(&f, 0, 0, 0);
  line = event("db_closed", NULL);
  assert_says(line, "level=info");
  assert_says(line, conn);
  assert_says(line, "cause=idle");
  assert_says(line, "age_ms=30");
  assert_says(line, "leases=1");
  h = db_open(&f, f.guest); /* the next one has another number */
  at = strstr(event("db_connected", strstr(logged, "event=db_closed")), conn);
  assert_true(!at || at[strlen(conn)] != ' ');
  db_close(f.guest, h);
  assert_null(strstr(logged, "secret"));
  wg__log_sink(NULL, NULL);
  db_fixture_stop(&f);
}

/* A pool that closes its connections after each guest does not flood the log. */
static void test_us111_a_busy_pool_does_not_flood(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.reset = WG_DB_RESET_CLOSE;
  db_fixture_start(&f);
  log_all();
  db_freeze(&f);
  for (int i = 0; i < 40; i++) {
    uint64_t h = db_open(&f, f.guest);
    char pid[16];
    db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
    db_close(f.guest, h);
    if (i == 5) assert_says(event("db_connected", NULL), "level=info");
    if (i == 5) assert_says(event("db_closed", NULL), "cause=policy");
    if (i == 30) assert_says(event("db_connected", NULL), "level=debug");
    if (i == 30) assert_says(event("db_closed", NULL), "level=debug");
    logged_len = 0;
  }
  wg__log_sink(NULL, NULL);
  db_fixture_stop(&f);
}

static void test_us111_waits_are_counted_in_buckets(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  uint64_t spent = db_stats(&f).wait_ms_total; /* the log-in */
  db_freeze(&f);
  static const unsigned ms[] = {0, 1, 2, 7, 600, 3900};
  for (size_t i = 0; i < WG_COUNT(ms); i++) {
    db_result r;
    db_start_connect(f.guest, &r);
    if (ms[i]) db_advance(&f, ms[i]);
    db_close(f.guest, h);
    db_run_until(&f.one, &r.done);
    assert_int_equal(r.code, WG_OK);
    h = r.req.handle;
  }
  wg_db_stats s = db_stats(&f);
  uint64_t sum = 0;
  for (size_t i = 0; i <= WG_DB_WAIT_BUCKETS; i++) sum += s.waits[i];
  assert_int_equal(sum, s.leases);
  assert_int_equal(s.leases, 7);
  assert_int_equal(s.wait_ms_total - spent, 0 + 1 + 2 + 7 + 600 + 3900);
  assert_int_equal(wg_db_wait_bounds[0], 1);
  assert_int_equal(wg_db_wait_bounds[WG_DB_WAIT_BUCKETS - 1], 10000);
  assert_true(s.waits[0] >= 2); /* 0 and 1; the log-in is anywhere */
  assert_true(s.waits[9] >= 1); /* 600 ms: up to 1 s */
  assert_true(s.waits[11] == 1); /* 3.9 s: up to 5 s */
  db_fixture_stop(&f);
}

static void test_us111_failures_by_cause(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  for (unsigned cause = 0; cause < WG_DB_CAUSES; cause++) {
    uint64_t h = 0;
    uint64_t failures = 1, unhealthy = 0;
    char pid[16];
    if (cause == WG_DB_CAUSE_TLS || cause == WG_DB_CAUSE_ROLE) continue; /* hosts_test.c */
    db_fixture_init(&f);
    f.database.pool.connect_timeout_ms = 200;
    f.mock.auth = MOCK_CLEARTEXT;
    if (cause == WG_DB_CAUSE_AUTH) f.mock.password = "another";
    f.mock.full = cause == WG_DB_CAUSE_BUSY;
    f.mock.mute = cause == WG_DB_CAUSE_TIMEOUT;
    db_fixture_start(&f);
    if (cause == WG_DB_CAUSE_CONNECT) mock_pg_refuse(&f.mock);
    switch (cause) {
    case WG_DB_CAUSE_RESET:
    case WG_DB_CAUSE_PING:
    case WG_DB_CAUSE_PROTOCOL:
    case WG_DB_CAUSE_LOST:
      failures = 0;
      h = db_open(&f, f.guest);
      db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
      f.mock.reset_fails = cause == WG_DB_CAUSE_RESET;
      f.mock.ping_fails = true;
      if (cause == WG_DB_CAUSE_LOST) {
        db_query(&f, f.guest, h, "GO");
        assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), -1);
      }
      if (cause == WG_DB_CAUSE_PROTOCOL) {
        db_query(&f, f.guest, h, "GARBAGE");
        assert_int_equal(db_recv(&f, f.guest, h, pid, sizeof pid, &err), WG_PROTOCOL);
      }
      db_close(f.guest, h);
      unhealthy = cause == WG_DB_CAUSE_RESET || cause == WG_DB_CAUSE_PING;
      if (cause == WG_DB_CAUSE_PING) {
        db_run_until_stats(&f, 0, 1, 1);
        db_advance(&f, 30001);
      }
      db_run_until_stats(&f, 0, 0, 0);
      break;
    default:
      assert_int_equal(db_connect(&f, f.guest, &err), 0);
      db_run_until_stats(&f, 0, 0, 0);
      break;
    }
    wg_db_stats s = db_stats(&f);
    for (unsigned i = 0; i < WG_DB_CAUSES; i++)
      if (s.by_cause[i] != (i == cause))
        fail_msg("%s: %s=%llu", wg_db_cause_name(cause), wg_db_cause_name(i),
                 (unsigned long long)s.by_cause[i]);
    assert_int_equal(s.failures, failures);
    assert_int_equal(s.unhealthy, unhealthy);
    db_fixture_stop(&f);
  }
}

/* Bytes are those of the protocol: what the mock received of us and more. */
static void test_us111_bytes(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  wg_db_stats before = db_stats(&f);
  assert_true(before.sent > 8 && before.received > 8); /* the log-in */
  db_query(&f, f.guest, h, "ROWS 10 1000");
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  wg_db_stats after = db_stats(&f);
  assert_int_equal(after.sent - before.sent, 5 + sizeof "ROWS 10 1000");
  assert_in_range(after.received - before.received, 10000, 11000);
  wg_db_guest_free(f.guest); /* a worker's counters outlive it */
  f.guest = NULL;
  db_run_until_stats(&f, 0, 1, 1);
  before = db_stats(&f);
  db_worker_fixture_stop(&f.one);
  after = db_stats(&f);
  assert_true(after.sent >= before.sent && after.received == before.received);
  db_worker_fixture_start(&f, &f.one, 1);
  db_fixture_stop(&f);
}

static void test_us111_slow_wait(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  f.database.pool.slow_wait_ms = 1000;
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  log_all();
  db_freeze(&f);
  db_result r[4];
  db_advance(&f, 500);
  for (int i = 0; i < 3; i++) db_start_connect(f.guest, &r[i]);
  db_advance(&f, 999);
  assert_int_equal(count_of("db_slow_wait"), 0);
  db_advance(&f, 1);
  assert_int_equal(count_of("db_slow_wait"), 1); /* of three */
  const char *line = event("db_slow_wait", NULL);
  assert_says(line, "level=warn");
  assert_says(line, "waited_ms=1000");
  assert_says(line, "pool_size=1");
  assert_says(line, "active=1");
  assert_says(line, "waiting=3");
  const char *age = strstr(line, "longest_lease_ms=");
  assert_non_null(age);
  assert_in_range(strtoul(age + 17, NULL, 10), 1500, 6500);
  db_start_connect(f.guest, &r[3]);
  db_advance(&f, 1000);
  line = event("db_slow_wait", strstr(logged, "event=db_slow_wait") + 1);
  assert_says(line, "suppressed=2");
  assert_int_equal(count_of("db_slow_wait"), 2);
  db_advance(&f, 1999); /* the deadline is where it was */
  assert_false(r[0].done);
  db_advance(&f, 1);
  assert_true(r[0].done && r[1].done && r[2].done);
  assert_int_equal(r[0].code, WG_EXHAUSTED);
  assert_false(r[3].done);
  db_close(f.guest, h);
  db_run_until(&f.one, &r[3].done);
  assert_int_equal(r[3].code, WG_OK);
  wg__log_sink(NULL, NULL);
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us111_events_of_a_life),
      cmocka_unit_test(test_us111_a_busy_pool_does_not_flood),
      cmocka_unit_test(test_us111_waits_are_counted_in_buckets),
      cmocka_unit_test(test_us111_failures_by_cause),
      cmocka_unit_test(test_us111_bytes),
      cmocka_unit_test(test_us111_slow_wait),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
