/* SPDX-License-Identifier: Apache-2.0 */
/* US-111: who is served next: guests take turns, and nobody overtakes within a guest. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct crowd {
  db_fixture f;
  wg_db_guest *many, *few;
} crowd;

static void crowd_start(crowd *c, uint32_t pool_size) {
  wg_error err;
  db_fixture_init(&c->f);
  c->f.database.pool.pool_size = pool_size;
  c->f.database.pool.max_waiters = 10000;
  c->f.database.pool.connect_timeout_ms = 60000;
  db_fixture_start(&c->f);
  c->many = c->f.guest;
  assert_int_equal(wg_db_guest_new(c->f.one.w, &c->few, &err), WG_OK);
}

static void crowd_stop(crowd *c) {
  wg_db_guest_free(c->few);
  db_fixture_stop(&c->f);
}

/* US-111: an instance that queues thousands of connects delays another one by a single turn. */
static void test_us111_a_crowd_starves_nobody(void **state) {
  (void)state;
  enum { CROWD = 4000 };
  crowd c;
  crowd_start(&c, 1);
  uint64_t h = db_open(&c.f, c.few);
  db_result *r = calloc(CROWD, sizeof *r), one;
  for (int i = 0; i < CROWD; i++) db_start_connect(c.many, &r[i]);
  db_start_connect(c.few, &one); /* the last to come */
  assert_int_equal(db_stats(&c.f).waiting, CROWD + 1);
  db_close(c.few, h);
  db_run_until(&c.f.one, &r[0].done);
  assert_false(one.done);
  db_close(c.many, r[0].req.handle);
  db_run_until(&c.f.one, &one.done);
  assert_int_equal(one.code, WG_OK);
  assert_false(r[1].done);
  db_close(c.few, one.req.handle);
  for (int i = 1; i < CROWD; i++) { /* in order */
    db_run_until(&c.f.one, &r[i].done);
    assert_int_equal(r[i].code, WG_OK);
    if (i + 1 < CROWD) assert_false(r[i + 1].done);
    db_close(c.many, r[i].req.handle);
  }
  crowd_stop(&c);
  free(r);
}

/* Turns alternate as long as both wait, and the order within each stays. */
static void test_turns_alternate(void **state) {
  (void)state;
  crowd c;
  crowd_start(&c, 1);
  uint64_t h = db_open(&c.f, c.many);
  db_result a[4], b[2];
  for (int i = 0; i < 4; i++) db_start_connect(c.many, &a[i]);
  for (int i = 0; i < 2; i++) db_start_connect(c.few, &b[i]);
  struct {
    db_result *r;
    wg_db_guest *g;
  } order[] = {{&a[0], c.many}, {&b[0], c.few},  {&a[1], c.many},
               {&b[1], c.few},  {&a[2], c.many}, {&a[3], c.many}};
  db_close(c.many, h);
  for (size_t i = 0; i < WG_COUNT(order); i++) {
    db_run_until(&c.f.one, &order[i].r->done);
    for (size_t k = i + 1; k < WG_COUNT(order); k++) assert_false(order[k].r->done);
    db_close(order[i].g, order[i].r->req.handle);
  }
  crowd_stop(&c);
}

/* Who gives up leaves the turns of the others as they are. */
static void test_cancel_keeps_the_turns(void **state) {
  (void)state;
  crowd c;
  crowd_start(&c, 1);
  uint64_t h = db_open(&c.f, c.many);
  db_result a[3], b[2];
  for (int i = 0; i < 3; i++) db_start_connect(c.many, &a[i]);
  for (int i = 0; i < 2; i++) db_start_connect(c.few, &b[i]);
  wg_db_cancel(c.many, &a[0].req);
  wg_db_cancel(c.few, &b[1].req);
  assert_int_equal(db_stats(&c.f).waiting, 3);
  db_close(c.many, h);
  db_run_until(&c.f.one, &a[1].done);
  assert_false(b[0].done);
  db_close(c.many, a[1].req.handle);
  db_run_until(&c.f.one, &b[0].done);
  assert_false(a[2].done);
  wg_db_guest_free(c.few); /* with its connection and its place in the queue */
  wg_error err;
  assert_int_equal(wg_db_guest_new(c.f.one.w, &c.few, &err), WG_OK);
  db_run_until(&c.f.one, &a[2].done);
  assert_int_equal(a[2].code, WG_OK);
  crowd_stop(&c);
}

/* A dead server answers all of a crowd, at once and in order. */
static void test_a_crowd_is_refused(void **state) {
  (void)state;
  enum { CROWD = 2000 };
  crowd c;
  crowd_start(&c, 2);
  mock_pg_stop(&c.f.mock);
  db_result *r = calloc(CROWD, sizeof *r), one;
  for (int i = 0; i < CROWD; i++) db_start_connect(c.many, &r[i]);
  db_start_connect(c.few, &one);
  db_run_until(&c.f.one, &r[CROWD - 1].done);
  db_run_until(&c.f.one, &one.done);
  assert_int_equal(one.code, WG_IO);
  for (int i = 0; i < CROWD; i++) {
    assert_int_equal(r[i].code, WG_IO);
    if (i) assert_true(r[i].order > r[i - 1].order);
  }
  assert_int_equal(db_stats(&c.f).waiting, 0);
  crowd_stop(&c);
  free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us111_a_crowd_starves_nobody),
      cmocka_unit_test(test_turns_alternate),
      cmocka_unit_test(test_cancel_keeps_the_turns),
      cmocka_unit_test(test_a_crowd_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
