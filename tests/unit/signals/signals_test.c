/* SPDX-License-Identifier: Apache-2.0 */
/* US-109, US-110: the bounded queue of an instance. */
#include "signals/signals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static wg_signal_queue *queue(uint32_t capacity, uint32_t interest) {
  wg_signal_queue *q = wg_signal_queue_new(capacity);
  assert_non_null(q);
  q->interest = interest;
  return q;
}

static void us_109_signals_come_in_order(void **state) {
  (void)state;
  wg_signal_queue *q = queue(4, WG_SIGNAL_MASK);
  assert_int_equal(wg_signal_put(q, WG_SIGNAL_HANGUP), WG_SIGNAL_QUEUED);
  assert_int_equal(wg_signal_put(q, WG_SIGNAL_TERMINATE), WG_SIGNAL_QUEUED);
  assert_int_equal(wg_signal_put(q, WG_SIGNAL_INTERRUPT), WG_SIGNAL_QUEUED);
  assert_int_equal(wg_signal_take(q), WG_SIGNAL_HANGUP);
  assert_int_equal(wg_signal_take(q), WG_SIGNAL_TERMINATE);
  assert_int_equal(wg_signal_take(q), WG_SIGNAL_INTERRUPT);
  assert_int_equal(wg_signal_take(q), -1);
  wg_signal_queue_free(q);
}

static void us_110_an_empty_queue_gives_none(void **state) {
  (void)state;
  wg_signal_queue *q = queue(16, WG_SIGNAL_MASK);
  assert_int_equal(wg_signal_take(q), -1);
  wg_signal_queue_free(q);
  wg_signal_queue_free(NULL);
}

static void us_110_what_was_not_asked_for_is_ignored(void **state) {
  (void)state;
  wg_signal_queue *q = queue(16, 0);
  for (int s = 0; s < WG_SIGNAL_COUNT; s++)
    assert_int_equal(wg_signal_put(q, (wg_signal)s), WG_SIGNAL_IGNORED);
  q->interest = 1u << WG_SIGNAL_HANGUP;
  assert_int_equal(wg_signal_put(q, WG_SIGNAL_TERMINATE), WG_SIGNAL_IGNORED);
  assert_int_equal(wg_signal_put(q, WG_SIGNAL_INTERRUPT), WG_SIGNAL_IGNORED);
  assert_int_equal(wg_signal_take(q), -1);
  assert_int_equal(wg_signal_put(q, WG_SIGNAL_HANGUP), WG_SIGNAL_QUEUED);
  assert_int_equal(wg_signal_take(q), WG_SIGNAL_HANGUP);
  assert_int_equal(q->dropped, 0);
  wg_signal_queue_free(q);
}

/** What the n'th of a row of deliveries is, so that their order can be seen. */
static wg_signal nth(unsigned n) { return (wg_signal)(n * n % 5 % WG_SIGNAL_COUNT); }

static void us_110_of_twenty_the_sixteen_newest_remain(void **state) {
  (void)state;
  wg_signal_queue *q = queue(16, WG_SIGNAL_MASK);
  for (unsigned n = 0; n < 20; n++)
    assert_int_equal(wg_signal_put(q, nth(n)), n < 16    ? WG_SIGNAL_QUEUED
                                               : n == 16 ? WG_SIGNAL_OVERFLOWED
                                                         : WG_SIGNAL_DROPPED);
  assert_int_equal(q->dropped, 4);
  for (unsigned n = 4; n < 20; n++) assert_int_equal(wg_signal_take(q), nth(n));
  assert_int_equal(wg_signal_take(q), -1);
  wg_signal_queue_free(q);
}

static void us_109_a_queue_overflows_once_until_it_was_empty(void **state) {
  (void)state;
  wg_signal_queue *q = queue(2, WG_SIGNAL_MASK);
  unsigned overflows = 0;
  for (unsigned n = 0; n < 50; n++) overflows += wg_signal_put(q, nth(n)) == WG_SIGNAL_OVERFLOWED;
  assert_int_equal(overflows, 1);
  assert_int_not_equal(wg_signal_take(q), -1);
  assert_int_equal(wg_signal_put(q, WG_SIGNAL_HANGUP), WG_SIGNAL_QUEUED);
  assert_int_equal(wg_signal_put(q, WG_SIGNAL_HANGUP), WG_SIGNAL_DROPPED);
  while (wg_signal_take(q) >= 0) continue;
  for (unsigned n = 0; n < 50; n++) overflows += wg_signal_put(q, nth(n)) == WG_SIGNAL_OVERFLOWED;
  assert_int_equal(overflows, 2);
  assert_int_equal(q->dropped, 48 + 1 + 48);
  wg_signal_queue_free(q);
}

static void a_queue_of_one_keeps_the_newest(void **state) {
  (void)state;
  wg_signal_queue *q = queue(1, WG_SIGNAL_MASK);
  for (int i = 0; i < 7; i++) {
    (void)wg_signal_put(q, WG_SIGNAL_TERMINATE);
    (void)wg_signal_put(q, WG_SIGNAL_INTERRUPT);
    assert_int_equal(wg_signal_take(q), WG_SIGNAL_INTERRUPT);
    assert_int_equal(wg_signal_take(q), -1);
  }
  wg_signal_queue_free(q);
}

static void us_109_who_waits_is_told_in_order(void **state) {
  (void)state;
  wg_signal_queue *q = queue(16, WG_SIGNAL_MASK);
  wg_signal_wait w[3];
  assert_null(wg_signal_wait_next(q));
  for (int i = 0; i < 3; i++) assert_false(wg_signal_wait_start(q, &w[i]));
  assert_null(wg_signal_wait_next(q));
  (void)wg_signal_put(q, WG_SIGNAL_HANGUP);
  for (int i = 0; i < 3; i++) assert_ptr_equal(wg_signal_wait_next(q), &w[i]);
  assert_null(wg_signal_wait_next(q));
  assert_true(wg_signal_wait_start(q, &w[0])); /* there is one to take already */
  assert_null(wg_signal_wait_next(q));
  assert_int_equal(wg_signal_take(q), WG_SIGNAL_HANGUP);
  assert_false(wg_signal_wait_start(q, &w[0]));
  wg_signal_wait_cancel(q, &w[0]);
  wg_signal_queue_free(q);
}

static void us_109_a_canceled_wait_is_not_told(void **state) {
  (void)state;
  wg_signal_queue *q = queue(16, WG_SIGNAL_MASK);
  wg_signal_wait w[3];
  for (int i = 0; i < 3; i++) assert_false(wg_signal_wait_start(q, &w[i]));
  wg_signal_wait_cancel(q, &w[1]);
  (void)wg_signal_put(q, WG_SIGNAL_HANGUP);
  assert_ptr_equal(wg_signal_wait_next(q), &w[0]);
  assert_ptr_equal(wg_signal_wait_next(q), &w[2]);
  assert_null(wg_signal_wait_next(q));
  wg_signal_queue_free(q);
}

static void names_and_numbers_agree(void **state) {
  (void)state;
  for (int i = 0; i < WG_SIGNAL_COUNT; i++) {
    const char *name = wg_signal_name((wg_signal)i);
    assert_int_equal(wg_signal_find(name, strlen(name)), i);
    assert_int_equal(wg_signal_find(name, strlen(name) - 1), -1);
  }
  assert_string_equal(wg_signal_name(WG_SIGNAL_TERMINATE), "terminate");
  assert_int_equal(wg_signal_find("kill", 4), -1);
  assert_int_equal(wg_signal_find("", 0), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_109_signals_come_in_order),
      cmocka_unit_test(us_110_an_empty_queue_gives_none),
      cmocka_unit_test(us_110_what_was_not_asked_for_is_ignored),
      cmocka_unit_test(us_110_of_twenty_the_sixteen_newest_remain),
      cmocka_unit_test(us_109_a_queue_overflows_once_until_it_was_empty),
      cmocka_unit_test(a_queue_of_one_keeps_the_newest),
      cmocka_unit_test(us_109_who_waits_is_told_in_order),
      cmocka_unit_test(us_109_a_canceled_wait_is_not_told),
      cmocka_unit_test(names_and_numbers_agree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
