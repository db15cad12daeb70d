/* SPDX-License-Identifier: Apache-2.0 */
/* US-112: a session whose database the guest's own start-up chooses: what a socket gets that is
 * connected to a declared host. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t open_at(db_fixture *f, const char *host) {
  uint64_t h = 0;
  assert_int_equal(wg_db_open(f->guest, host, strlen(host), f->database.port, &h, NULL), WG_OK);
  assert_int_not_equal(h, 0);
  return h;
}

static size_t startup(uint8_t out[256]) {
  return db_startup(out, "user", "whoever", "database", "shop", NULL);
}

/* The handle is there before any connection; the start-up, byte for byte, leads to ReadyForQuery. */
static void test_the_start_up_chooses(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  for (int i = 0; i < 2; i++) {
    uint64_t h = open_at(&f, i ? f.database.name : f.database.host);
    uint8_t bytes[256], byte;
    size_t n = startup(bytes);
    assert_int_equal(wg_db_recv(f.guest, h, &byte, 1, NULL), WG_AGAIN);
    assert_int_equal(f.mock.logins, i);
    for (size_t k = 0; k < n; k++) assert_int_equal(wg_db_send(f.guest, h, bytes + k, 1, NULL), 1);
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
    char pid[16];
    db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
  }
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

/* 'N' to SSLRequest comes before there is a server. */
static void test_encryption_is_declined_at_once(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t h = open_at(&f, f.database.host);
  static const uint8_t ssl[] = {0, 0, 0, 8, 4, 210, 22, 47};
  uint8_t byte;
  assert_int_equal(wg_db_send(f.guest, h, ssl, sizeof ssl, NULL), (ssize_t)sizeof ssl);
  assert_int_equal(wg_db_recv(f.guest, h, &byte, 1, NULL), 1);
  assert_int_equal(byte, 'N');
  assert_int_equal(f.mock.logins, 0);
  db_greet(&f, f.guest, h);
  db_close(f.guest, h);
  db_fixture_stop(&f);
}

/* What is not to be had is told as the server would: an ErrorResponse, then the end. */
static void expect_refusal(db_fixture *f, uint64_t h, const char *sqlstate) {
  uint8_t *all, byte;
  size_t len;
  assert_int_equal(db_read_until(f, f->guest, h, 'E', &all, &len), 'S');
  assert_true(db_is_error(all, len, sqlstate));
  free(all);
  assert_int_equal(wg_db_recv(f->guest, h, &byte, 1, NULL), 0);
  db_close(f->guest, h);
}

static void test_refusals(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint8_t bytes[256];
  uint64_t h;
  wg_error err;
  assert_int_equal(wg_db_open(f.guest, "elsewhere", 9, f.database.port, &h, &err), WG_NOT_FOUND);
  assert_int_equal(wg_db_open(f.guest, f.database.host, strlen(f.database.host),
                              (uint16_t)(f.database.port + 1), &h, &err),
                   WG_NOT_FOUND);

  h = open_at(&f, f.database.host);
  db_send(&f, f.guest, h, bytes, db_startup(bytes, "user", "u", "database", "other", NULL));
  expect_refusal(&f, h, "3D000");

  h = open_at(&f, f.database.host);
  db_send(&f, f.guest, h, bytes, db_startup(bytes, "database", "shop", NULL));
  expect_refusal(&f, h, "28000");
  db_fixture_stop(&f);
  assert_int_equal(f.mock.logins, 0);
}

/* All connections are in use: it queues as a connect does, and times out as one. */
static void test_waits_its_turn(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  uint8_t bytes[256], byte;
  size_t n = startup(bytes);
  uint64_t first = db_open(&f, f.guest);
  uint64_t second = open_at(&f, f.database.host), third = open_at(&f, f.database.host);
  db_send(&f, f.guest, second, bytes, n);
  db_send(&f, f.guest, third, bytes, n);
  assert_int_equal(db_stats(&f).waiting, 2);
  assert_int_equal(wg_db_send(f.guest, second, bytes, 1, NULL), WG_AGAIN);
  assert_int_equal(wg_db_recv(f.guest, second, &byte, 1, NULL), WG_AGAIN);

  db_close(f.guest, third); /* out of the queue */
  assert_int_equal(db_stats(&f).waiting, 1);
  db_close(f.guest, first);
  assert_int_equal(db_read_until(&f, f.guest, second, 'Z', NULL, NULL), 'I');

  uint64_t late = open_at(&f, f.database.host);
  db_send(&f, f.guest, late, bytes, n);
  db_advance(&f, f.database.pool.connect_timeout_ms + 1);
  expect_refusal(&f, late, "53300");
  db_close(f.guest, second);
  db_fixture_stop(&f);
}

/* The guest goes at each point. */
static void test_guest_free_at_each_point(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  uint8_t bytes[256];
  size_t n = startup(bytes);
  wg_db_guest *g;
  for (int i = 0; i < 2; i++) {
    uint64_t holder = i ? db_open(&f, f.guest) : 0, h;
    assert_int_equal(wg_db_guest_new(f.one.w, &g, NULL), WG_OK);
    for (size_t k = 0; k < 3; k++) {
      assert_int_equal(
          wg_db_open(g, f.database.host, strlen(f.database.host), f.database.port, &h, NULL),
          WG_OK);
      db_send(&f, g, h, bytes, k == 0 ? 4 : n);
    }
    wg_db_guest_free(g);
    assert_int_equal(db_stats(&f).waiting, 0);
    if (holder) db_close(f.guest, holder);
  }
  db_fixture_stop(&f);
}

static void ignore(wg_db_req *req, const wg_error *err) {
  (void)req;
  (void)err;
}

/* What a guest waits for are not connections: it has as many as the limits table says, each of them
 * waited on. */
static void test_as_many_as_the_limit(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  static wg_db_req waits[DB_SESSIONS_MAX];
  uint64_t h;
  for (size_t i = 0; i < DB_SESSIONS_MAX; i++) {
    h = open_at(&f, f.database.host);
    wg_db_wait(f.guest, h, WG_WATCH_READ, false, &waits[i], ignore, NULL);
  }
  wg_error err;
  assert_int_equal(
      wg_db_open(f.guest, f.database.host, strlen(f.database.host), f.database.port, &h, &err),
      WG_EXHAUSTED);
  assert_string_equal(err.msg, "connect: this instance has 4096 connections open already");
  db_fixture_stop(&f);
}

/* A half-close before the start-up is whole ends it. */
static void test_half_close(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t h = open_at(&f, f.database.host);
  uint8_t byte;
  assert_int_equal(wg_db_shutdown(f.guest, h, WG_WATCH_WRITE, NULL), WG_OK);
  assert_int_equal(wg_db_recv(f.guest, h, &byte, 1, NULL), 0);
  db_close(f.guest, h);
  db_fixture_stop(&f);
}

/* After Terminate the server is the next guest's, also while the socket stays open. */
static void test_good_bye_gives_the_server_back(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  uint64_t h[3];
  char pid[3][16];
  for (int i = 0; i < 3; i++) {
    h[i] = open_at(&f, f.database.host);
    db_greet(&f, f.guest, h[i]);
    db_ask(&f, f.guest, h[i], "PID", pid[i], sizeof pid[i]);
    assert_string_equal(pid[i], pid[0]);
    db_send(&f, f.guest, h[i], "X\0\0\0\4", 5);
    db_run_until_stats(&f, 0, 1, 1);
    uint8_t byte;
    assert_int_equal(wg_db_recv(f.guest, h[i], &byte, 1, NULL), 0);
    assert_int_equal(wg_db_send(f.guest, h[i], &byte, 1, NULL), WG_LOST);
  }
  for (int i = 0; i < 3; i++) db_close(f.guest, h[i]);
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

/* A driver that met an error may not wait for the ReadyForQuery behind it: its server is kept. */
static void test_close_in_front_of_ready(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  for (int i = 0; i < 3; i++) {
    uint64_t h = open_at(&f, f.database.host);
    db_greet(&f, f.guest, h);
    db_query(&f, f.guest, h, "PID");
    uint8_t byte;
    wg_error err;
    assert_int_equal(db_recv(&f, f.guest, h, &byte, 1, &err), 1);
    db_await_ready(
        &f, (unsigned)(1 + 2 * i + 1)); /* the rest of the answer is there, and nobody reads it */
    db_send(&f, f.guest, h, "X\0\0\0\4", 5);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
  }
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

/** Asks, reads a part of the answer, and closes. */
static void close_early(db_fixture *f, const char *sql) {
  uint8_t some[4];
  wg_error err;
  uint64_t h = open_at(f, f->database.host);
  db_greet(f, f->guest, h);
  db_query(f, f->guest, h, sql);
  assert_true(db_recv(f, f->guest, h, some, sizeof some, &err) > 0);
  db_close(f->guest, h);
}

/* The rest of an answer that nobody reads any more is waited for a moment, by the host alone; neither
 * is a long one nor one that does not come. */
static void test_the_rest_of_an_answer(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  db_freeze(&f);
  f.mock.end_held = true;
  close_early(&f, "LATE");
  db_run(&f.one);
  db_run_until_stats(&f, 0, 0, 1);
  assert_int_equal(f.mock.resets, 0);
  f.mock.end_held = false;
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(f.mock.resets, 1);
  assert_int_equal(f.mock.logins, 1);

  close_early(&f, "ROWS 1000 1000");
  db_run_until_stats(&f, 0, 0, 0);
  assert_int_equal(f.mock.logins, 1);

  f.mock.end_held = true;
  close_early(&f, "LATE");
  db_run_until_stats(&f, 0, 0, 1);
  db_advance(&f, DB_FINISH_MS);
  db_run_until_stats(&f, 0, 0, 0);
  f.mock.end_held = false;
  assert_int_equal(f.mock.logins, 2);
  db_fixture_stop(&f);
}

/* Also when it is the whole guest that goes; and the host may end meanwhile. */
static void test_the_rest_without_the_guest(void **state) {
  (void)state;
  db_fixture f;
  wg_db_guest *g;
  uint64_t h;
  for (int ends = 0; ends < 2; ends++) {
    db_fixture_init(&f);
    db_fixture_start(&f);
    db_freeze(&f);
    f.mock.end_held = true;
    assert_int_equal(wg_db_guest_new(f.one.w, &g, NULL), WG_OK);
    h = db_open(&f, g);
    db_query(&f, g, h, "LATE");
    wg_db_guest_free(g);
    db_run_until_stats(&f, 0, 0, 1);
    f.mock.end_held = false;
    if (!ends) db_run_until_stats(&f, 0, 1, 1);
    db_fixture_stop(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_start_up_chooses),
      cmocka_unit_test(test_encryption_is_declined_at_once),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_waits_its_turn),
      cmocka_unit_test(test_guest_free_at_each_point),
      cmocka_unit_test(test_as_many_as_the_limit),
      cmocka_unit_test(test_half_close),
      cmocka_unit_test(test_good_bye_gives_the_server_back),
      cmocka_unit_test(test_close_in_front_of_ready),
      cmocka_unit_test(test_the_rest_of_an_answer),
      cmocka_unit_test(test_the_rest_without_the_guest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
