/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines: classes in order, one timer, a clock that the test moves. */
#include "net/deadline.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <uv.h>

#include <cmocka.h>

typedef struct fixture {
  uv_loop_t uv;
  wg_loop loop;
  wg_deadlines *set;
  uint64_t now;
  unsigned kicks;
  char fired[32];
  size_t count;
} fixture;

typedef struct item {
  wg_deadline d;
  fixture *f;
  char name;
  struct item *stops; /* when it fires */
  wg_deadline_class *again;
} item;

static uint64_t fake_now(void *user) { return ((fixture *)user)->now; }
static void on_kick(void *ctx) { ((fixture *)ctx)->kicks++; }

static void on_expired(wg_deadline *d) {
  item *i = WG_CONTAINER(d, item, d);
  i->f->fired[i->f->count++] = i->name;
  if (i->stops) wg_deadline_stop(&i->stops->d);
  if (i->again) wg_deadline_start(i->again, d);
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  wg_error err;
  f->now = 1000;
  assert_int_equal(uv_loop_init(&f->uv), 0);
  f->loop = (wg_loop){.uv = &f->uv, .clock = {fake_now, f}, .watch_ctx = f, .kick = on_kick};
  assert_int_equal(wg_deadlines_new(&f->loop, &f->set, &err), WG_OK);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  wg_deadlines_free(f->set);
  uv_run(&f->uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&f->uv), 0);
  free(f);
  return 0;
}

static void item_init(item *i, fixture *f, char name) {
  *i = (item){.f = f, .name = name};
  wg_deadline_init(&i->d, on_expired);
}

static void test_order_and_classes(void **state) {
  fixture *f = *state;
  wg_deadline_class *shorter = wg_deadlines_class(f->set, 10),
                    *longer = wg_deadlines_class(f->set, 30);
  assert_ptr_equal(wg_deadlines_class(f->set, 10), shorter);
  item a, b, c, d;
  item_init(&a, f, 'a');
  item_init(&b, f, 'b');
  item_init(&c, f, 'c');
  item_init(&d, f, 'd');
  wg_deadline_start(longer, &a.d);  /* 1030 */
  wg_deadline_start(shorter, &b.d); /* 1010 */
  f->now = 1005;
  wg_deadline_start(shorter, &c.d); /* 1015 */
  wg_deadline_start(NULL, &d.d);    /* never */
  wg_deadlines_run(f->set);
  assert_int_equal(f->count, 0);
  f->now = 1010;
  wg_deadlines_run(f->set);
  assert_string_equal(f->fired, "b");
  wg_deadline_stop(&c.d);
  wg_deadline_stop(&c.d);
  f->now = 1029;
  wg_deadlines_run(f->set);
  assert_string_equal(f->fired, "b");
  f->now = 5000;
  wg_deadlines_run(f->set);
  assert_string_equal(f->fired, "ba");
}

static void test_callbacks_may_stop_and_start(void **state) {
  fixture *f = *state;
  wg_deadline_class *c = wg_deadlines_class(f->set, 10);
  item x, y, z;
  item_init(&x, f, 'x');
  item_init(&y, f, 'y');
  item_init(&z, f, 'z');
  x.stops = &y;
  z.again = c;
  wg_deadline_start(c, &x.d);
  wg_deadline_start(c, &y.d);
  wg_deadline_start(c, &z.d);
  f->now = 1010;
  wg_deadlines_run(f->set);
  assert_string_equal(f->fired, "xz");
  f->now = 1020;
  wg_deadlines_run(f->set);
  assert_string_equal(f->fired, "xzz");
  wg_deadline_stop(&z.d);
}

/* The loop's timer is touched only when an earlier deadline appears, and then the loop is told. */
static void test_timer_is_left_alone(void **state) {
  fixture *f = *state;
  wg_deadline_class *c = wg_deadlines_class(f->set, 1000), *sooner = wg_deadlines_class(f->set, 5);
  item a, b;
  item_init(&a, f, 'a');
  item_init(&b, f, 'b');
  for (int i = 0; i < 100; i++) {
    wg_deadline_start(c, &a.d);
    f->now++;
    wg_deadline_stop(&a.d);
  }
  assert_int_equal(f->kicks, 1);
  uv_run(&f->uv, UV_RUN_NOWAIT); /* libuv registers its own descriptors with the first run */
  assert_in_range(uv_backend_timeout(&f->uv), 900, 1000);
  wg_deadline_start(sooner, &b.d);
  assert_int_equal(f->kicks, 2);
  assert_in_range(uv_backend_timeout(&f->uv), 0, 5);
  wg_deadline_stop(&b.d);
}

/* With real time the loop does it by itself. */
static void test_timer_fires(void **state) {
  fixture *f = *state;
  f->loop.clock = wg_clock_monotonic;
  item a;
  item_init(&a, f, 'a');
  wg_deadline_start(wg_deadlines_class(f->set, 3), &a.d);
  while (f->count == 0) uv_run(&f->uv, UV_RUN_ONCE);
  assert_string_equal(f->fired, "a");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_order_and_classes, setup, teardown),
      cmocka_unit_test_setup_teardown(test_callbacks_may_stop_and_start, setup, teardown),
      cmocka_unit_test_setup_teardown(test_timer_is_left_alone, setup, teardown),
      cmocka_unit_test_setup_teardown(test_timer_fires, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
