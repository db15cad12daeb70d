/* SPDX-License-Identifier: Apache-2.0 */
/* US-112, US-113: a guest's session: bytes pass unchanged, handles are its own, and whatever
 * happens to the server it is told. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fixture(db_fixture *f) {
  db_fixture_init(f);
  db_fixture_start(f);
}

/* US-112, US-113: what the guest sends arrives byte for byte, and what the server says comes back
 * byte for byte: all 256 values, megabytes, in both directions. */
static void test_us113_passthrough(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  enum { BODY = 3000000 };
  uint8_t *msg = malloc(BODY + 5);
  msg[0] = 'd'; /* CopyData: any bytes may be in it; the mock ignores it out of COPY */
  msg[1] = 0, msg[2] = (BODY + 4) >> 16, msg[3] = ((BODY + 4) >> 8) & 255,
  msg[4] = (BODY + 4) & 255;
  for (size_t i = 0; i < BODY; i++) msg[5 + i] = (uint8_t)(i * 31 + i / 256);
  db_send(&f, f.guest, h, msg, BODY + 5);
  db_query(&f, f.guest, h, "ROWS 3 700000");
  uint8_t *all;
  size_t len;
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
  size_t row = 5 + 2 + 4 + 700000;
  assert_int_equal(len, 3 * row + 5 + 7 + 6);
  for (size_t r = 0; r < 3; r++)
    for (size_t i = 0; i < 700000; i++)
      if (all[r * row + 11 + i] != (uint8_t)i) fail_msg("row %zu byte %zu differs", r, i);
  free(all);
  uint8_t *got = mock_pg_received(&f.mock, 1, &len);
  assert_int_equal(len, BODY + 5 + 5 + 14);
  assert_memory_equal(got, msg, BODY + 5);
  assert_memory_equal(got + BODY + 5, "Q\0\0\0\022ROWS 3 700000\0", 19);
  free(got);
  free(msg);
  db_fixture_stop(&f);
}

/* Every byte on its own, in both directions, start-up included. */
static void test_split_every_byte(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.auth = MOCK_SCRAM;
  f.mock.split = true;
  db_fixture_start(&f);
  uint64_t h = db_connect(&f, f.guest, NULL);
  uint8_t startup[256];
  size_t n =
      db_startup(startup, "user", "whoever", "database", "shop", "TimeZone", "Asia/Tokyo", NULL);
  for (size_t i = 0; i < n; i++) db_send(&f, f.guest, h, startup + i, 1);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  const char sql[] = "Q\0\0\0\010PID";
  for (size_t i = 0; i < sizeof sql; i++) db_send(&f, f.guest, h, sql + i, 1);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  const char bye[] = {'X', 0, 0, 0, 4};
  db_send(&f, f.guest, h, bye, 1);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  db_fixture_stop(&f);
  assert_int_equal(f.mock.terminates, 0); /* its goodbye was withheld */
}

/* US-113: a handle that was never given, or is closed, or is another guest's. */
static void test_us113_invalid_handle(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  wg_error err;
  uint8_t b[4];
  wg_db_guest *other;
  assert_int_equal(wg_db_guest_new(f.one.w, &other, &err), WG_OK);
  uint64_t mine = db_open(&f, f.guest), theirs = db_open(&f, other);
  uint64_t bad[] = {0, 1, UINT64_MAX, mine + 1, mine + (1 << 16), theirs};
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    assert_int_equal(wg_db_send(f.guest, bad[i], b, 1, &err), WG_INVALID);
    assert_int_equal(err.code, WG_INVALID);
    assert_non_null(strstr(err.msg, "not open"));
    assert_int_equal(wg_db_recv(f.guest, bad[i], b, 1, &err), WG_INVALID);
    assert_int_equal(wg_db_close(f.guest, bad[i], &err), WG_INVALID);
    assert_int_equal(wg_db_shutdown(f.guest, bad[i], WG_WATCH_WRITE, &err), WG_INVALID);
  }
  db_close(f.guest, mine);
  assert_int_equal(wg_db_send(f.guest, mine, b, 1, &err), WG_INVALID);
  assert_int_equal(wg_db_close(f.guest, mine, &err), WG_INVALID);
  uint64_t next = db_open(&f, f.guest);
  assert_int_not_equal(next, mine); /* same slot, other handle */
  assert_int_equal(wg_db_recv(f.guest, mine, b, 1, &err), WG_INVALID);
  assert_int_equal(wg_db_recv(f.guest, next, b, 0, &err), WG_INVALID);
  assert_int_equal(wg_db_send(f.guest, next, b, 0, &err), 0);
  wg_db_guest_free(other);
  db_fixture_stop(&f);
}

/* One session's statements and parameters are not the next one's. */
static void test_reset_between_guests(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  const char parse[] = "P\0\0\0\013s1\0q\0\0\0S\0\0\0\004";
  for (int i = 0; i < 3; i++) {
    uint64_t h = db_open(&f, f.guest);
    uint8_t *all;
    size_t len;
    db_send(&f, f.guest, h, parse, sizeof parse - 1);
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
    assert_int_equal(all[0], '1'); /* not 42P05 */
    free(all);
    db_close(f.guest, h);
  }
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

/* A guest that leaves in a transaction, or a failed one: rolled back. */
static void test_rollback(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  for (int i = 1; i <= 2; i++) {
    uint64_t h = db_open(&f, f.guest);
    db_query(&f, f.guest, h, "BEGIN");
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'T');
    if (i == 2) {
      db_query(&f, f.guest, h, "FAIL");
      assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'E');
    }
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
    assert_int_equal(f.mock.rollbacks, i);
  }
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

/* A guest that leaves while anything is owed or half said: its server is never used again. */
static void test_unclean_leave_closes_server(void **state) {
  (void)state;
  const struct {
    const char *bytes;
    size_t n;
  } leave[] = {
      {"Q\0\0\0\011HANG", 10},              /* the answer has not come */
      {"Q\0\0\0\010P", 6},                  /* half a message */
      {"Q", 1},
      {"P\0\0\0\010\0\0\0\0", 9},           /* no Sync */
      {"P\0\0\0\010\0\0\0\0H\0\0\0\004", 14},
      {"Q\0\0\0\013COPYIN\0", 12},
      {"z\0\0\0\004", 5},                   /* no such message */
  };
  for (size_t i = 0; i < WG_COUNT(leave); i++) {
    db_fixture f;
    fixture(&f);
    uint64_t h = db_open(&f, f.guest);
    db_send(&f, f.guest, h, leave[i].bytes, leave[i].n);
    if (leave[i].bytes[0] == 'Q' && leave[i].n == 12)
      db_read_until(&f, f.guest, h, 'G', NULL, NULL);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 0, 0);
    db_fixture_stop(&f);
    assert_int_equal(f.mock.resets, 0);
  }
}

/* Terminate ends the guest's session only; answers on their way still come. */
static void test_terminate_withheld(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  const char both[] = "Q\0\0\0\010PID\0X\0\0\0\004";
  wg_error err;
  assert_int_equal(wg_db_send(f.guest, h, (const uint8_t *)both, 14, &err), 14);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  uint8_t b[8];
  assert_int_equal(wg_db_recv(f.guest, h, b, sizeof b, &err), 0);
  assert_int_equal(wg_db_send(f.guest, h, (const uint8_t *)both, 9, &err), WG_LOST);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  size_t len;
  uint8_t *got = mock_pg_received(&f.mock, 1, &len);
  assert_int_equal(len, 9 + 17); /* the query and the reset */
  free(got);
  db_fixture_stop(&f);
}

/* A wait that is linked when the guest says Terminate gets the end of the stream. */
static void on_done(wg_db_req *req, const wg_error *err) {
  db_result *r = req->user;
  assert_false(r->done);
  r->done = true;
  r->code = err ? err->code : WG_OK;
  if (err) r->err = *err;
}
static void start_wait(db_fixture *f, uint64_t h, unsigned events, bool deadline, db_result *r) {
  memset(r, 0, sizeof *r);
  wg_db_wait(f->guest, h, events, deadline, &r->req, on_done, r);
}

static void test_terminate_wakes_reader(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  db_result r;
  uint8_t b[8];
  start_wait(&f, h, WG_WATCH_READ, true, &r);
  assert_false(r.done);
  db_send(&f, f.guest, h, "X\0\0\0\004", 5);
  assert_true(r.done);
  assert_int_equal(r.code, WG_OK);
  assert_int_equal(wg_db_recv(f.guest, h, b, sizeof b, NULL), 0);
  db_fixture_stop(&f);
}

/* US-112: recv's deadline; the session stays valid afterwards. */
static void test_recv_deadline(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  db_result r, none;
  db_freeze(&f);
  start_wait(&f, h, WG_WATCH_READ, true, &r);
  db_advance(&f, 3999);
  assert_false(r.done);
  db_advance(&f, 2);
  assert_true(r.done);
  assert_int_equal(r.code, WG_TIMEOUT);
  assert_non_null(strstr(r.err.msg, "4000 ms"));
  start_wait(&f, h, WG_WATCH_READ, false, &none); /* streams have no deadline */
  db_advance(&f, 1000000);
  assert_false(none.done);
  db_query(&f, f.guest, h, "PID");
  db_run_until(&f.one, &none.done);
  assert_int_equal(none.code, WG_OK);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  db_fixture_stop(&f);
}

static void test_wait_rules(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  db_result rd, wr, twice, odd, bad;
  start_wait(&f, h, WG_WATCH_READ, true, &rd);
  start_wait(&f, h, WG_WATCH_WRITE, true, &wr);
  assert_true(wr.done); /* nothing blocks */
  start_wait(&f, h, WG_WATCH_READ, true, &twice);
  assert_int_equal(twice.code, WG_INVALID);
  start_wait(&f, h, 3, true, &odd);
  assert_int_equal(odd.code, WG_INVALID);
  start_wait(&f, 77, WG_WATCH_READ, true, &bad);
  assert_int_equal(bad.code, WG_INVALID);
  wg_db_cancel(f.guest, &rd.req);
  db_query(&f, f.guest, h, "PID");
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  assert_false(rd.done);
  start_wait(&f, h, WG_WATCH_READ, true, &rd);
  db_close(f.guest, h); /* under the reader */
  assert_true(rd.done);
  assert_int_equal(rd.code, WG_CANCELED);
  db_fixture_stop(&f);
}

/* The kernel takes no more: send says so, the wait ends when the server reads again, and the walk
 * over the stream has counted exactly what was taken. */
static void test_backpressure(void **state) {
  (void)state;
  enum { BODY = 24 << 20 };
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "ROWS 400 100000"); /* the mock writes and does not read meanwhile */
  uint8_t *msg = malloc(BODY + 5), *at = msg, *end = msg + BODY + 5;
  memset(msg, 'X', BODY + 5); /* would each be a Terminate, were the walk to lose its place */
  msg[0] = 'd', msg[1] = BODY >> 24, msg[2] = (BODY >> 16) & 255, msg[3] = 0, msg[4] = 4;
  ssize_t n;
  wg_error err;
  while ((n = wg_db_send(f.guest, h, at, (size_t)(end - at), &err)) > 0) at += n;
  assert_int_equal(n, WG_AGAIN);
  assert_true(at > msg && at < end);
  assert_int_equal(wg_db_send(f.guest, h, at, 100, &err), WG_AGAIN);
  db_result r;
  start_wait(&f, h, WG_WATCH_WRITE, true, &r);
  assert_false(r.done);
  uint8_t *all;
  size_t len;
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
  assert_int_equal(len, 400 * 100011 + 5 + 7 + 6);
  free(all);
  db_run_until(&f.one, &r.done); /* now the mock reads */
  assert_int_equal(r.code, WG_OK);
  db_send(&f, f.guest, h, at, (size_t)(end - at));
  free(msg);
  char pid[16];
  db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  db_fixture_stop(&f);
}

static void test_send_deadline(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.send_timeout_ms = 2000;
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "ROWS 400 100000");
  uint8_t *msg = calloc(1, 1 << 20);
  msg[0] = 'd', msg[1] = 0x10;
  while (wg_db_send(f.guest, h, msg, 1 << 20, NULL) > 0) msg[0] = msg[1] = 0;
  free(msg);
  db_result r;
  start_wait(&f, h, WG_WATCH_WRITE, true, &r);
  db_advance(&f, 2001);
  assert_true(r.done);
  assert_int_equal(r.code, WG_TIMEOUT);
  db_fixture_stop(&f);
}

/* The server dies in the middle of a message: what came, then connection-lost; never an
 * ErrorResponse in the middle of a row. */
static void test_server_dies_mid_message(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "DIE");
  uint8_t b[64];
  wg_error err;
  ssize_t n = 0, got = 0;
  while ((n = db_recv(&f, f.guest, h, b + got, sizeof b - (size_t)got, &err)) > 0) got += n;
  assert_int_equal(got, 15);
  assert_memory_equal(b + 11, "half", 4);
  assert_int_equal(n, WG_LOST);
  assert_int_equal(wg_db_recv(f.guest, h, b, 1, &err), WG_LOST); /* and stays so */
  assert_int_equal(wg_db_send(f.guest, h, b, 1, &err), WG_LOST);
  db_run_until_stats(&f, 0, 0, 0);
  db_close(f.guest, h);
  db_fixture_stop(&f);
}

/* At a boundary: FATAL 08006, then the end. */
static void test_server_dies_at_boundary(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  uint8_t *all;
  size_t len;
  db_query(&f, f.guest, h, "GO");
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
  assert_true(db_is_error(all, len, "08006"));
  assert_int_equal(len, all[4] + 1u + all[3] * 256u); /* one message and nothing else */
  free(all);
  uint8_t b[4];
  assert_int_equal(wg_db_recv(f.guest, h, b, 4, NULL), 0);
  db_close(f.guest, h);
  db_fixture_stop(&f);
}

/* The server says by itself why it goes: its words alone. */
static void test_server_fatal(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  uint8_t *all;
  size_t len;
  db_query(&f, f.guest, h, "FATAL");
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
  assert_true(db_is_error(all, len, "57P01"));
  assert_int_equal(len, all[4] + 1u + all[3] * 256u);
  free(all);
  db_fixture_stop(&f);
}

/* The server went while the guest was thinking: the next query learns why by reading. */
static void test_server_gone_before_send(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  mock_pg_kill(&f.mock);
  while (f.mock.open) uv_sleep(1);
  uint8_t *all;
  size_t len;
  db_query(&f, f.guest, h, "PID"); /* perhaps into nothing */
  db_query(&f, f.guest, h, "PID");
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
  assert_true(db_is_error(all, len, "08006"));
  free(all);
  wg_error err;
  db_result r;
  start_wait(&f, h, WG_WATCH_READ, true, &r); /* nobody waits for what cannot come */
  assert_true(r.done);
  start_wait(&f, h, WG_WATCH_WRITE, true, &r);
  assert_true(r.done);
  assert_int_equal(wg_db_send(f.guest, h, (const uint8_t *)"Q", 1, &err), WG_LOST);
  db_close(f.guest, h);
  db_open(&f, f.guest); /* the next one is fine */
  db_fixture_stop(&f);
}

/* Gone in the middle of the guest's own message, while it waits for room. */
static void test_server_gone_while_sending(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "HANG");
  uint8_t *msg = calloc(1, 1 << 20);
  msg[0] = 'd', msg[1] = 0x10;
  db_query(&f, f.guest, h, "HANG"); /* read and dropped by the mock: it takes all */
  mock_pg_kill(&f.mock);
  wg_error err;
  ssize_t n;
  int rounds = 0;
  do n = wg_db_send(f.guest, h, msg, 1 << 20, &err);
  while (n > 0 && ++rounds < 100);
  assert_int_equal(n, WG_LOST);
  free(msg);
  uint8_t *all;
  size_t len;
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
  assert_true(db_is_error(all, len, "08006"));
  free(all);
  db_fixture_stop(&f);
}

/* A server that breaks the protocol costs its own connection. */
static void test_server_garbage(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "GARBAGE");
  uint8_t b[64];
  wg_error err;
  assert_int_equal(db_recv(&f, f.guest, h, b, sizeof b, &err), WG_PROTOCOL);
  assert_non_null(strstr(err.msg, "3 bytes"));
  assert_int_equal(wg_db_recv(f.guest, h, b, sizeof b, &err), WG_LOST);
  db_run_until_stats(&f, 0, 0, 0);
  db_fixture_stop(&f);
}

/* A guest that breaks the protocol: refused before the server sees the length. */
static void test_guest_garbage(void **state) {
  (void)state;
  const uint8_t bad[][5] = {
      {'Q', 0, 0, 0, 3}, {'Q', 0x40, 0, 0, 0}, {'Q', 255, 255, 255, 255}, {'Q', 0, 0, 0, 0}};
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    db_fixture f;
    wg_error err;
    fixture(&f);
    uint64_t h = db_open(&f, f.guest);
    assert_int_equal(wg_db_send(f.guest, h, bad[i], 5, &err), WG_PROTOCOL);
    db_run_until_stats(&f, 0, 0, 0);
    db_close(f.guest, h);
    db_fixture_stop(&f);
  }
}

/* The guest dies at every stage of its session, with waits in progress. */
static void test_guest_free_at_each_state(void **state) {
  (void)state;
  for (int stage = 0; stage < 8; stage++) {
    db_fixture f;
    fixture(&f);
    wg_db_guest *g;
    wg_error err;
    db_result r, w;
    bool clean = false;
    memset(&r, 0, sizeof r);
    assert_int_equal(wg_db_guest_new(f.one.w, &g, &err), WG_OK);
    if (stage == 0) {
      db_start_connect(g, &r); /* connecting */
      clean = true;
    } else {
      uint64_t h = db_connect(&f, g, &err);
      uint8_t startup[64];
      size_t n = db_startup(startup, "user", "u", "TimeZone", "Asia/Tokyo", NULL);
      if (stage == 1) clean = true; /* nothing said */
      if (stage == 2) {
        db_send(&f, g, h, startup, 7); /* half a start-up */
        clean = true;
      }
      if (stage == 3) db_send(&f, g, h, startup, n); /* the server is being asked */
      if (stage >= 4) db_greet(&f, g, h);
      if (stage == 4) {
        wg_db_wait(g, h, WG_WATCH_READ, true, &r.req, on_done, &r); /* waits, idle */
        clean = true;
      }
      if (stage == 5) {
        db_query(&f, g, h, "HANG");
        wg_db_wait(g, h, WG_WATCH_READ, true, &r.req, on_done, &r);
      }
      if (stage == 6) {
        db_query(&f, g, h, "BEGIN");
        db_read_until(&f, g, h, 'Z', NULL, NULL);
        clean = true;
      }
      if (stage == 7) { /* queued behind another */
        db_open(&f, g);
        db_start_connect(g, &w);
        clean = true;
      }
    }
    wg_db_guest_free(g);
    assert_false(stage == 0 || stage == 4 || stage == 5 ? r.done : false);
    unsigned left = clean ? (stage == 7 ? 2 : 1) : 0;
    db_run_until_stats(&f, 0, left, left);
    assert_int_equal(db_stats(&f).waiting, 0);
    db_fixture_stop(&f);
  }
}

static void test_shutdown(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  wg_error err;
  uint8_t b[8];
  uint64_t h = db_open(&f, f.guest);
  assert_int_equal(wg_db_shutdown(f.guest, h, 0, &err), WG_INVALID);
  db_query(&f, f.guest, h, "PID");
  assert_int_equal(wg_db_shutdown(f.guest, h, WG_WATCH_WRITE, &err), WG_OK);
  assert_int_equal(wg_db_send(f.guest, h, b, 1, &err), WG_INVALID);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I'); /* what is owed comes */
  assert_int_equal(wg_db_recv(f.guest, h, b, 8, &err), 0);
  db_run_until_stats(&f, 0, 1, 1); /* the server waits for nobody's close */
  uint64_t h2 = db_open(&f, f.guest);
  db_result r;
  start_wait(&f, h2, WG_WATCH_READ, true, &r);
  assert_int_equal(wg_db_shutdown(f.guest, h2, WG_WATCH_READ, &err), WG_OK);
  assert_true(r.done); /* the reader is told */
  assert_int_equal(r.code, WG_OK);
  db_close(f.guest, h2);
  assert_int_equal(wg_db_shutdown(f.guest, h, WG_WATCH_READ, &err), WG_OK);
  assert_int_equal(wg_db_recv(f.guest, h, b, 8, &err), 0);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  db_fixture_stop(&f);
}

/* The guest's parameters are set on the server, and reset for the next guest. */
static void test_startup_parameters(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  uint8_t startup[512], *all;
  size_t n, len;
  uint64_t h = db_connect(&f, f.guest, NULL);
  n = db_startup(startup, "user", "u", "TimeZone", "Asia/Tokyo", "client_encoding", "utf-8", NULL);
  db_send(&f, f.guest, h, startup, n);
  uint8_t byte;
  wg_error err;
  assert_int_equal(wg_db_send(f.guest, h, (const uint8_t *)"Q", 1, &err), WG_AGAIN); /* not yet */
  assert_int_equal(wg_db_recv(f.guest, h, &byte, 1, &err), WG_AGAIN);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
  assert_non_null(memmem(all, len, "TimeZone\0Asia/Tokyo", 20));
  free(all);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(f.mock.resets, 1);
  h = db_connect(&f, f.guest, NULL);
  n = db_startup(startup, "user", "u", NULL);
  db_send(&f, f.guest, h, startup, n);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
  assert_non_null(memmem(all, len, "TimeZone\0Etc/UTC", 17));
  free(all);
  db_fixture_stop(&f);
}

/* A parameter that the server refuses: its own ErrorResponse, then the end; the server lives. */
static void test_rejected_parameter(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint8_t startup[512], *all;
  uint64_t h = db_connect(&f, f.guest, NULL);
  size_t n = db_startup(startup, "user", "u", "bad", "1", "TimeZone", "X", NULL), len;
  db_send(&f, f.guest, h, startup, n);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
  assert_true(db_is_error(all, len, "42704"));
  free(all);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(f.mock.resets, 1);
  db_fixture_stop(&f);
}

static void test_wrong_database(void **state) {
  (void)state;
  db_fixture f;
  fixture(&f);
  uint8_t startup[512], *all;
  uint64_t h = db_connect(&f, f.guest, NULL);
  size_t n = db_startup(startup, "user", "u", "database", "other", NULL), len;
  db_send(&f, f.guest, h, startup, n);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
  assert_true(db_is_error(all, len, "3D000"));
  free(all);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  db_fixture_stop(&f);
}

/* The server dies while it is asked for the guest's parameters, or never answers. */
static void test_server_gone_during_parameters(void **state) {
  (void)state;
  for (int silent = 0; silent < 2; silent++) {
    db_fixture f;
    fixture(&f);
    uint8_t startup[512], *all;
    uint64_t h = db_connect(&f, f.guest, NULL);
    size_t n = db_startup(startup, "user", "u", "TimeZone", "X", NULL), len;
    db_result r;
    start_wait(&f, h, WG_WATCH_READ, false, &r);
    if (!silent) mock_pg_kill(&f.mock);
    db_send(&f, f.guest, h, startup, n);
    if (silent) { /* before the loop has seen the answer */
      atomic_fetch_add(&f.skew_ms, 5001);
      wg_deadlines_run(f.one.w->deadlines);
    }
    db_run_until(&f.one, &r.done);
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
    assert_true(db_is_error(all, len, "08006"));
    free(all);
    db_run_until_stats(&f, 0, 0, 0);
    db_fixture_stop(&f);
  }
}

/* The callback of a wait closes the session under the other wait of the same session. */
typedef struct closer {
  db_result *other;
  wg_db_guest *g;
  uint64_t h;
  unsigned calls;
} closer;
static void on_done_close(wg_db_req *req, const wg_error *err) {
  closer *c = req->user;
  (void)err;
  c->calls++;
  assert_int_equal(wg_db_close(c->g, c->h, NULL), WG_OK);
}

static void test_callback_closes_session(void **state) {
  (void)state;
  for (int how = 0; how < 3; how++) {
    db_fixture f;
    fixture(&f);
    uint64_t h = db_open(&f, f.guest);
    db_query(&f, f.guest, h, "ROWS 400 100000");
    uint8_t *msg = calloc(1, 1 << 20);
    msg[0] = 'd', msg[1] = 0x10;
    while (wg_db_send(f.guest, h, msg, 1 << 20, NULL) > 0) msg[0] = msg[1] = 0;
    free(msg);
    uint8_t b[65536];
    while (wg_db_recv(f.guest, h, b, sizeof b, NULL) != WG_AGAIN) {
    }
    closer c = {.g = f.guest, .h = h};
    db_result w;
    wg_db_req rd;
    wg_db_wait(f.guest, h, WG_WATCH_READ, true, &rd, on_done_close, &c);
    start_wait(&f, h, WG_WATCH_WRITE, true, &w);
    if (c.calls == 0 && how == 0) assert_int_equal(wg_db_close(f.guest, h, NULL), WG_OK);
    if (c.calls == 0 && how == 1) mock_pg_kill(&f.mock);
    db_run_until(&f.one, &w.done);
    assert_int_equal(c.calls, 1);
    assert_int_equal(w.code, WG_CANCELED);
    db_fixture_stop(&f);
  }
}

/* COPY in the ways drivers use it: the server can be used again. */
static void test_copy_in(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "COPYIN");
  db_read_until(&f, f.guest, h, 'G', NULL, NULL);
  db_send(&f, f.guest, h, "d\0\0\0\010abcdc\0\0\0\004", 14);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

/* Many handles of one guest; the limit is an error, not a crash. */
static void test_many_sessions(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 40;
  db_fixture_start(&f);
  uint64_t h[40];
  for (int i = 0; i < 40; i++) h[i] = db_open(&f, f.guest);
  char a[16], b[16];
  db_ask(&f, f.guest, h[0], "PID", a, sizeof a);
  db_ask(&f, f.guest, h[39], "PID", b, sizeof b);
  assert_string_not_equal(a, b);
  for (int i = 0; i < 40; i += 2) db_close(f.guest, h[i]);
  db_ask(&f, f.guest, h[1], "PID", a, sizeof a);
  for (int i = 0; i < 40; i += 2) h[i] = db_open(&f, f.guest);
  db_ask(&f, f.guest, h[0], "PID", a, sizeof a);
  db_fixture_stop(&f);
  assert_true(f.mock.logins <= 60);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us113_passthrough),
      cmocka_unit_test(test_split_every_byte),
      cmocka_unit_test(test_us113_invalid_handle),
      cmocka_unit_test(test_reset_between_guests),
      cmocka_unit_test(test_rollback),
      cmocka_unit_test(test_unclean_leave_closes_server),
      cmocka_unit_test(test_terminate_withheld),
      cmocka_unit_test(test_terminate_wakes_reader),
      cmocka_unit_test(test_recv_deadline),
      cmocka_unit_test(test_wait_rules),
      cmocka_unit_test(test_backpressure),
      cmocka_unit_test(test_send_deadline),
      cmocka_unit_test(test_server_dies_mid_message),
      cmocka_unit_test(test_server_dies_at_boundary),
      cmocka_unit_test(test_server_fatal),
      cmocka_unit_test(test_server_gone_before_send),
      cmocka_unit_test(test_server_gone_while_sending),
      cmocka_unit_test(test_server_garbage),
      cmocka_unit_test(test_guest_garbage),
      cmocka_unit_test(test_guest_free_at_each_state),
      cmocka_unit_test(test_shutdown),
      cmocka_unit_test(test_startup_parameters),
      cmocka_unit_test(test_rejected_parameter),
      cmocka_unit_test(test_wrong_database),
      cmocka_unit_test(test_server_gone_during_parameters),
      cmocka_unit_test(test_callback_closes_session),
      cmocka_unit_test(test_copy_in),
      cmocka_unit_test(test_many_sessions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
