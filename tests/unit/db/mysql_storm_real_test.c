/* SPDX-License-Identifier: Apache-2.0 */
/* US-115 with a real MariaDB (or MySQL): guests on two workers that ask, change their sessions and go,
 * at any moment, also in the middle of anything; by chance, from seeds that are told. What must hold:
 * every answer is the answer to what this guest asked, in a session where nobody else was before, and
 * at the end nothing is left, which the fixture and the sanitizers see to. */
#include "db/db_fixture.h"
#include "db/mysql_guest.h"
#include "db/real_mysql.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 6, ANSWERS = 400, WORKERS = 2, PLACES = 6, IN_MAX = 1 << 20 };

static bool running;
static uint64_t seed;
static unsigned answers;

static unsigned chance(unsigned n) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (unsigned)((seed >> 11) % n);
}

typedef struct place {
  wg_db_guest *g;
  uint64_t handle;
  enum { GREETING, PROVED, FREE, ASKED, LEAVING } state;
  bool waits, clean; /* clean: nothing was changed in this session */
  wg_db_req wait;
  wg_buf in, out;
  unsigned packets, expected; /* of the answer: that came, and in all */
  char tag[24];
} place;

static void on_wait(wg_db_req *req, const wg_error *err) {
  (void)err;
  ((place *)req->user)->waits = false;
}

static void leave(place *p) {
  if (p->handle) db_close(p->g, p->handle);
  assert_false(p->waits);
  wg_buf_release(&p->in);
  wg_buf_release(&p->out);
  wg_db_guest *g = p->g;
  *p = (place){.g = g};
}

static void enter(db_fixture *f, place *p) {
  const char *host = f->database.host;
  wg_error err;
  if (wg_db_open(p->g, host, strlen(host), f->database.port, &p->handle, &err) != WG_OK)
    fail_msg("open: %s", err.msg);
  wg_buf_init(&p->in, IN_MAX);
  wg_buf_init(&p->out, IN_MAX);
  p->clean = true;
}

static void ask(place *p) {
  char sql[256];
  p->expected = 5;
  snprintf(p->tag, sizeof p->tag, "%llx", (unsigned long long)wg_random_u64());
  switch (chance(8)) {
  case 0:
    snprintf(sql, sizeof sql, "USE till");
    my_put_command(&p->out, MY_COM_QUERY, sql);
    my_put_command(&p->out, MY_COM_QUERY, "SET @mine = 1"); /* behind it */
    p->expected = 2;
    p->tag[0] = '\0';
    p->clean = false;
    break;
  case 1:
    my_put_command(&p->out, MY_COM_PING, NULL);
    p->expected = 1;
    p->tag[0] = '\0';
    break;
  case 2: /* much to read, or to leave unread */
    snprintf(sql, sizeof sql, "SELECT '%s',REPEAT('x',%u)", p->tag, chance(200000));
    my_put_command(&p->out, MY_COM_QUERY, sql);
    break;
  default:
    snprintf(sql, sizeof sql, "SELECT '%s',CONCAT(DATABASE(),IFNULL(@mine,''))", p->tag);
    my_put_command(&p->out, MY_COM_QUERY, sql);
  }
  p->packets = 0;
  p->state = ASKED;
}

/** The row of a SELECT. */
static void check_row(const place *p, wg_reader r) {
  uint64_t n = my_take_lenenc(&r);
  const uint8_t *tag = wg_take_bytes(&r, (size_t)n);
  if (!tag || n != strlen(p->tag) || memcmp(tag, p->tag, n) != 0)
    fail_msg("somebody else's answer");
  n = my_take_lenenc(&r);
  const uint8_t *rest = wg_take_bytes(&r, (size_t)n);
  assert_non_null(rest);
  if (p->clean && n && rest[0] != 'x' && (n != 4 || memcmp(rest, "shop", 4) != 0))
    fail_msg("a session where somebody was before: %.*s", (int)n, (const char *)rest);
  answers++;
}

static void take(place *p, uint8_t first, wg_reader body) {
  switch (p->state) {
  case GREETING: {
    mysql_guest m = {.hello.plugin = MY_PLUGIN_NATIVE,
                     .caps = chance(4) ? 0 : MYSQL_GUEST_CAPS | MY_CAP_FOUND_ROWS};
    if (first == 0xFF) break;
    assert_int_equal(first, 10);
    mysql_put_response(&m, "me", chance(2) ? "shop" : NULL, &p->out);
    p->state = PROVED;
    return;
  }
  case PROVED:
    if (first == 0xFF) break;
    assert_int_equal(first, 0);
    p->state = FREE;
    return;
  case ASKED:
    p->packets++;
    if (p->tag[0] && p->packets == 4) check_row(p, body);
    if (p->packets == p->expected) p->state = FREE;
    if (first == 0xFF) break;
    return;
  case FREE: /* its connection ended */ assert_int_equal(first, 0xFF); break;
  case LEAVING: return;
  }
  p->state = LEAVING;
}

static void read_some(place *p) {
  uint8_t block[8192];
  wg_error err;
  ssize_t n = wg_db_recv(p->g, p->handle, block, 1 + chance(sizeof block), &err);
  if (n == WG_AGAIN) {
    if (p->waits) return;
    p->waits = true;
    wg_db_wait(p->g, p->handle, WG_WATCH_READ, false, &p->wait, on_wait, p);
    return;
  }
  if (n <= 0) {
    leave(p);
    return;
  }
  wg_buf_put(&p->in, block, (size_t)n);
  for (;;) {
    wg_reader body;
    uint8_t seq;
    wg_wire_step step = my_next(&p->in, &seq, &body, &err);
    assert_int_not_equal(step, WG_WIRE_ERROR);
    if (step != WG_WIRE_OK) return;
    take(p, body.len ? body.p[0] : 0, body);
    my_drop(&p->in);
  }
}

static void write_some(place *p) {
  wg_error err;
  size_t n = wg_buf_len(&p->out);
  if (n == 0) return;
  if (chance(4) == 0) n = 1 + chance((unsigned)n); /* in pieces */
  ssize_t done = wg_db_send(p->g, p->handle, wg_buf_head(&p->out), n, &err);
  if (done > 0)
    wg_buf_consume(&p->out, (size_t)done);
  else if (done != WG_AGAIN)
    p->state = LEAVING;
}

static void act(db_fixture *f, place *p) {
  if (!p->handle) {
    enter(f, p);
    return;
  }
  if (chance(60) == 0 || (p->state == LEAVING && chance(3) == 0)) {
    if (p->state == FREE && chance(2)) {
      my_put_command(&p->out, MY_COM_QUIT, NULL);
      write_some(p);
    }
    if (chance(10) == 0 && p->state == FREE) { /* half a command */
      wg_buf_put(&p->out, "\x20\0\0\0\3SELECT", 11);
      write_some(p);
    }
    leave(p);
    return;
  }
  if (p->state == FREE && wg_buf_len(&p->out) == 0 && chance(3)) ask(p);
  write_some(p);
  read_some(p);
}

static void test_us115_storm(void **state) {
  (void)state;
  if (!running) skip();
  for (unsigned round = 0; round < ROUNDS; round++) {
    db_fixture f;
    db_worker_fixture two;
    wg_error err;
    place places[WORKERS * PLACES];
    memset(places, 0, sizeof places);
    seed = 0x9E3779B97F4A7C15ull * (round + 1);
    mysql_real_init(&f);
    f.database.pool.pool_size = 3;
    db_fixture_start(&f);
    db_worker_fixture_start(&f, &two, 2);
    wg_db_guest *other;
    assert_int_equal(wg_db_guest_new(two.w, &other, &err), WG_OK);
    for (size_t i = 0; i < WG_COUNT(places); i++) places[i].g = i % 2 ? other : f.guest;
    uint64_t give_up = wg_now_ms(&wg_clock_monotonic) + 15000;
    answers = 0;
    while (answers < ANSWERS) {
      assert_true(wg_now_ms(&wg_clock_monotonic) < give_up);
      act(&f, &places[chance(WG_COUNT(places))]);
      uv_run(&f.one.uv, UV_RUN_NOWAIT);
      uv_run(&two.uv, UV_RUN_NOWAIT);
    }
    for (size_t i = 0; i < WG_COUNT(places); i++) leave(&places[i]);
    wg_db_stats s = {.active = 1};
    for (uint64_t end = wg_now_ms(&wg_clock_monotonic) + 5000;
         s.active && wg_now_ms(&wg_clock_monotonic) < end;) {
      uv_run(&f.one.uv, UV_RUN_NOWAIT);
      uv_run(&two.uv, UV_RUN_NOWAIT);
      s = db_stats(&f);
    }
    if (s.active) fail_msg("seed of round %u: %u connections stay in use", round, s.active);
    wg_db_guest_free(other);
    db_worker_fixture_stop(&two);
    db_fixture_stop(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_us115_storm)};
  running = real_mysql_start(NULL);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  real_mysql_stop();
  return failed;
}
