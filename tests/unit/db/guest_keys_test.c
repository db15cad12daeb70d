/* SPDX-License-Identifier: Apache-2.0 */
/* US-112: the pools of guests' own credentials come and go: under callbacks that begin and end sessions
 * and free guests, and without a counter that goes back. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct actor {
  db_fixture *f;
  wg_db_guest *g;
  uint64_t h;
  wg_db_req wait;
  void (*act)(struct actor *a); /* once, in the callback */
  struct actor *other;
  bool done;
  char password[32];
} actor;

static void start(db_fixture *f) {
  db_fixture_init(f);
  f->mock.auth = MOCK_SCRAM;
  f->database.auth = WG_DB_AUTH_GUEST;
  f->database.credential_ttl_ms = 60000;
  f->database.user = NULL;
  f->database.password = (wg_secret){0};
  db_fixture_start(f);
}

/** A handle, its start-up and its password, without a look at the loop. */
static void log_in(actor *a) {
  const char *host = a->f->database.host;
  uint8_t b[256];
  assert_int_equal(wg_db_open(a->g, host, strlen(host), a->f->database.port, &a->h, NULL), WG_OK);
  size_t n = db_startup(b, "user", "app", "database", "shop", NULL);
  assert_int_equal(wg_db_send(a->g, a->h, b, n, NULL), (ssize_t)n);
  assert_int_equal(wg_db_recv(a->g, a->h, b, sizeof b, NULL), 9); /* wants the password */
  size_t len = strlen(a->password) + 1;
  b[0] = 'p', b[1] = b[2] = b[3] = 0, b[4] = (uint8_t)(len + 4);
  memcpy(b + 5, a->password, len);
  assert_int_equal(wg_db_send(a->g, a->h, b, len + 5, NULL), (ssize_t)len + 5);
}

static void on_answer(wg_db_req *req, const wg_error *err) {
  actor *a = req->user;
  (void)err;
  assert_false(a->done);
  a->done = true;
  if (a->act) a->act(a);
}

static void await(actor *a) {
  wg_db_wait(a->g, a->h, WG_WATCH_READ, false, &a->wait, on_answer, a);
}

/* The refusal's callback logs in with the next guess: the pool of the last one is of no use any more,
 * and still at work. */
static void guess_again(actor *a) {
  int i = 0;
  sscanf(a->password, "guess %d", &i);
  db_close(a->g, a->h);
  if (i == 20) return;
  snprintf(a->password, sizeof a->password, "guess %d", i + 1);
  a->done = false;
  log_in(a);
  await(a);
}

static void test_log_in_from_a_refusal(void **state) {
  (void)state;
  db_fixture f;
  start(&f);
  actor a = {.f = &f, .g = f.guest, .act = guess_again, .password = "guess 1"};
  log_in(&a);
  await(&a);
  db_run_until(&f.one, &a.done);
  for (int i = 0; i < 5000 && strcmp(a.password, "guess 20") != 0; i++) {
    db_run(&f.one);
    uv_sleep(1);
  }
  db_run_until(&f.one, &a.done);
  assert_string_equal(a.password, "guess 20");
  assert_true(f.db->pools.count <= 2); /* the others went */
  db_fixture_stop(&f);
}

static void free_other(actor *a) {
  actor *other = a->other;
  db_close(a->g, a->h);
  if (other->g) wg_db_guest_free(other->g);
  other->g = NULL;
}

static void test_free_another_guest_from_a_failure(void **state) {
  (void)state;
  for (int lost = 0; lost < 2; lost++) {
    db_fixture f;
    db_fixture_init(&f);
    f.database.pool.pool_size = 4;
    db_fixture_start(&f);
    actor a[4] = {0};
    for (int i = 0; i < 4; i++) {
      a[i] = (actor){.f = &f, .act = free_other, .other = &a[i ^ 1]};
      assert_int_equal(wg_db_guest_new(f.one.w, &a[i].g, NULL), WG_OK);
    }
    if (!lost) mock_pg_refuse(&f.mock);
    for (int i = 0; i < 4; i++) {
      const char *host = f.database.host;
      assert_int_equal(wg_db_open(a[i].g, host, strlen(host), f.database.port, &a[i].h, NULL),
                       WG_OK);
      if (lost) {
        db_greet(&f, a[i].g, a[i].h);
      } else {
        uint8_t b[256];
        db_send(&f, a[i].g, a[i].h, b, db_startup(b, "user", "u", "database", "shop", NULL));
      }
    }
    for (int i = 0; i < 4; i++) await(&a[i]);
    if (lost) mock_pg_kill(&f.mock);
    for (int i = 0; i < 5000 && !((a[0].done || a[1].done) && (a[2].done || a[3].done)); i++) {
      db_run(&f.one);
      uv_sleep(1);
    }
    for (int i = 0; i < 4; i += 2) {
      assert_true(a[i].done != a[i + 1].done); /* one of each two ended the other */
      assert_true((a[i].g != NULL) != (a[i + 1].g != NULL));
      wg_db_guest_free(a[i].g ? a[i].g : a[i + 1].g);
    }
    db_fixture_stop(&f);
  }
}

static void visit(db_fixture *f, const char *password, bool right) {
  actor a = {.f = f, .g = f->guest};
  snprintf(a.password, sizeof a.password, "%s", password);
  log_in(&a);
  assert_int_equal(db_read_until(f, f->guest, a.h, right ? 'Z' : 'E', NULL, NULL),
                   right ? 'I' : 'S');
  db_close(f->guest, a.h);
  db_run(&f->one);
}

static void count_lines(void *user, const wg_db_stats *s) {
  (void)s;
  ++*(unsigned *)user;
}

/* A key's counts outlive it: no counter of the database ever goes back, and it has one line. */
static void test_counters_stay(void **state) {
  (void)state;
  db_fixture f;
  start(&f);
  wg_db_stats last = {0};
  for (unsigned i = 1; i <= 12; i++) {
    char guess[16];
    snprintf(guess, sizeof guess, "guess %u", i);
    visit(&f, i % 3 ? guess : "secret", i % 3 == 0);
    if (i % 3 == 0) { /* its key goes, too */
      db_run_until_stats(&f, 0, 1, 1);
      db_advance(&f, f.database.credential_ttl_ms + 1);
      db_run_until_stats(&f, 0, 0, 0);
    }
    unsigned lines = 0;
    wg_db_each_stats(f.db, count_lines, &lines);
    assert_int_equal(lines, 1);
    wg_db_stats now = db_stats(&f);
    assert_int_equal(now.failures, i - i / 3);
    assert_int_equal(now.by_cause[WG_DB_CAUSE_AUTH], i - i / 3);
    assert_int_equal(now.connects, i / 3);
    assert_int_equal(now.leases, i / 3);
    assert_int_equal(now.reaped, i / 3);
    assert_true(now.received > last.received && now.sent > last.sent);
    assert_true(now.limit <= 2 * f.database.pool.pool_size);
    assert_string_equal(now.name, "main");
    assert_string_equal(now.database, "shop");
    last = now;
  }
  assert_true(f.db->pools.count <= 2);
  db_fixture_stop(&f);
}

static void on_drained(void *user) { *(bool *)user = true; }

/* The password is forgotten with the last connection that it opened, whatever ends that. */
static void test_password_is_forgotten(void **state) {
  (void)state;
  for (int way = 0; way < 3; way++) {
    db_fixture f;
    bool drained = false;
    start(&f);
    visit(&f, "secret", true);
    db_run_until_stats(&f, 0, 1, 1);
    wg_pool *pool = WG_CONTAINER(wg_list_first(&f.db->pools), wg_pool, by_db);
    assert_int_equal(pool->password.len, 6);
    if (way == 0) db_advance(&f, f.database.credential_ttl_ms + 1);
    if (way == 1) mock_pg_kill(&f.mock);
    if (way == 2) {
      wg_db_worker_drain(f.one.w, on_drained, &drained);
      assert_int_equal(pool->password.len, 0); /* at once */
    }
    db_run_until_stats(&f, 0, 0, 0);
    assert_int_equal(pool->password.len, 0);
    assert_null(pool->password.bytes);
    if (way == 2) db_run_until(&f.one, &drained);
    db_fixture_stop(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_log_in_from_a_refusal),
      cmocka_unit_test(test_free_another_guest_from_a_failure),
      cmocka_unit_test(test_counters_stay),
      cmocka_unit_test(test_password_is_forgotten),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
