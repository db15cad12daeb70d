/* SPDX-License-Identifier: Apache-2.0 */
/* US-109, US-110: signals that other threads deliver to the instances of a worker. */
#include "signals/roster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char logged[1 << 16];
static void keep_line(void *user, const char *line, size_t len) {
  (void)user;
  size_t n = strlen(logged);
  if (n + len + 1 < sizeof logged) memcpy(logged + n, line, len), logged[n + len] = 0;
}
static unsigned times(const char *text) {
  unsigned n = 0;
  for (const char *p = logged; (p = strstr(p, text)); p++) n++;
  return n;
}

static wg_roster roster;

static int setup(void **state) {
  (void)state;
  logged[0] = 0;
  wg_log_setup(WG_LOG_INFO, WG_LOG_LOGFMT, 2);
  wg__log_sink(keep_line, NULL);
  wg_roster_init(&roster, 3);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  wg_roster_release(&roster);
  wg__log_sink(NULL, NULL);
  return 0;
}

static wg_roster_member *member(const char *service, uint32_t interest) {
  wg_roster_member *m = wg_roster_join(&roster, service, 0);
  assert_non_null(m);
  if (interest) assert_int_equal(wg_roster_ask(m, interest, 16, NULL), WG_OK);
  return m;
}
static size_t told(uint64_t id, const char *service, wg_signal s) {
  return wg_roster_deliver(&roster, id, service, s).told;
}

enum { TERM = 1u << WG_SIGNAL_TERMINATE, HUP = 1u << WG_SIGNAL_HANGUP };

static void us_109_a_signal_is_delivered_by_id(void **state) {
  (void)state;
  wg_roster_member *a = member("shop", TERM), *b = member("shop", TERM);
  assert_int_not_equal(a->id, b->id);
  assert_int_equal(wg_roster_worker_of(a->id), 3);
  assert_int_equal(told(b->id, NULL, WG_SIGNAL_TERMINATE), 1);
  assert_int_equal(wg_roster_take(a), -1);
  assert_int_equal(wg_roster_take(b), WG_SIGNAL_TERMINATE);
  assert_int_equal(wg_roster_take(b), -1);
  assert_int_equal(told(b->id, "other", WG_SIGNAL_TERMINATE), 0);
  uint64_t gone_id = b->id;
  wg_roster_leave(b);
  wg_roster_told gone = wg_roster_deliver(&roster, gone_id, NULL, WG_SIGNAL_TERMINATE);
  assert_int_equal(gone.matched, 0);
  wg_roster_leave(a);
  wg_roster_leave(NULL);
}

static void ids_are_never_used_again(void **state) {
  (void)state;
  uint64_t last = 0;
  for (int i = 0; i < 1000; i++) {
    wg_roster_member *m = member("shop", 0);
    assert_true(m->id > last);
    last = m->id;
    wg_roster_leave(m);
  }
}

static void us_110_a_signal_nobody_asked_for_is_ignored(void **state) {
  (void)state;
  wg_roster_member *m = member("shop", HUP), *silent = member("shop", 0);
  wg_roster_told t = wg_roster_deliver(&roster, 0, NULL, WG_SIGNAL_TERMINATE);
  assert_int_equal(t.matched, 1);
  assert_int_equal(t.told, 0);
  assert_int_equal(wg_roster_take(m), -1);
  assert_int_equal(wg_roster_take(silent), -1);
  assert_int_equal(wg_roster_ask(m, TERM, 16, NULL), WG_OK); /* adds to what it asked before */
  assert_int_equal(told(0, NULL, WG_SIGNAL_TERMINATE), 1);
  assert_int_equal(told(0, NULL, WG_SIGNAL_HANGUP), 1);
  assert_int_equal(wg_roster_take(m), WG_SIGNAL_TERMINATE);
  assert_int_equal(wg_roster_take(m), WG_SIGNAL_HANGUP);
  wg_roster_leave(m);
  wg_roster_leave(silent);
}

static void services_are_told_apart(void **state) {
  (void)state;
  wg_roster_member *a = member("a", TERM), *b = member("b", TERM), *a2 = member("a", TERM);
  assert_int_equal(told(0, "a", WG_SIGNAL_TERMINATE), 2);
  assert_int_equal(wg_roster_take(b), -1);
  assert_int_equal(wg_roster_take(a), WG_SIGNAL_TERMINATE);
  assert_int_equal(wg_roster_take(a2), WG_SIGNAL_TERMINATE);
  assert_int_equal(told(0, NULL, WG_SIGNAL_TERMINATE), 3);
  wg_roster_leave(a);
  wg_roster_leave(b);
  wg_roster_leave(a2);
}

static void us_109_an_overflow_is_logged_once_until_the_queue_was_empty(void **state) {
  (void)state;
  wg_roster_member *m = member("shop", WG_SIGNAL_MASK);
  for (int i = 0; i < 20; i++) {
    assert_int_equal(told(m->id, NULL, WG_SIGNAL_HANGUP), 1);
    wg_roster_wake(&roster);
  }
  assert_int_equal(times("event=signal_dropped"), 1);
  assert_non_null(strstr(logged, "level=warn"));
  assert_non_null(strstr(logged, "app=shop"));
  assert_non_null(strstr(logged, "queue=16"));
  for (int i = 0; i < 16; i++) assert_int_equal(wg_roster_take(m), WG_SIGNAL_HANGUP);
  assert_int_equal(wg_roster_take(m), -1);
  for (int i = 0; i < 20; i++) (void)told(m->id, NULL, WG_SIGNAL_HANGUP);
  wg_roster_wake(&roster);
  assert_int_equal(times("event=signal_dropped"), 2);
  wg_roster_leave(m);
}

typedef struct waiter {
  wg_signal_wait wait;
  wg_roster_member *m;
  int got; /* -1: not told */
  unsigned order;
} waiter;
static unsigned told_so_far;

static void on_ready(wg_signal_wait *w) {
  waiter *x = WG_CONTAINER(w, waiter, wait);
  x->order = ++told_so_far;
  x->got = wg_roster_take(x->m); /* the lock is free here */
}

static void us_109_a_wait_ends_with_the_wake_after_a_delivery(void **state) {
  (void)state;
  wg_roster_member *m = member("shop", TERM);
  waiter w[3];
  told_so_far = 0;
  for (int i = 0; i < 3; i++) {
    w[i] = (waiter){.m = m, .got = -2};
    wg_roster_wait(m, &w[i].wait, on_ready);
  }
  assert_true(wg_roster_waiting(m));
  wg_roster_wait_cancel(m, &w[1].wait);
  assert_int_equal(told(m->id, NULL, WG_SIGNAL_TERMINATE), 1);
  assert_int_equal(told(m->id, NULL, WG_SIGNAL_TERMINATE), 1);
  assert_false(wg_roster_waiting(m));
  assert_int_equal(told_so_far, 0);
  wg_roster_wake(&roster);
  assert_int_equal(w[0].order, 1);
  assert_int_equal(w[2].order, 2);
  assert_int_equal(w[0].got, WG_SIGNAL_TERMINATE);
  assert_int_equal(w[2].got, WG_SIGNAL_TERMINATE);
  assert_int_equal(w[1].got, -2);
  assert_int_equal(told(m->id, NULL, WG_SIGNAL_TERMINATE), 1);
  wg_roster_wait(m, &w[1].wait, on_ready); /* at once */
  assert_int_equal(w[1].got, WG_SIGNAL_TERMINATE);
  assert_false(wg_roster_waiting(m));
  wg_roster_leave(m);
}

static void who_never_asked_may_wait(void **state) {
  (void)state;
  wg_roster_member *m = member("shop", 0);
  assert_false(wg_roster_waiting(m));
  assert_int_equal(wg_roster_ask(m, 0, 16, NULL), WG_OK);
  waiter w = {.m = m, .got = -2};
  wg_roster_wait(m, &w.wait, on_ready);
  assert_true(wg_roster_waiting(m));
  assert_int_equal(wg_roster_deliver(&roster, m->id, NULL, WG_SIGNAL_TERMINATE).matched, 0);
  wg_roster_wake(&roster);
  assert_int_equal(w.got, -2);
  wg_roster_wait_cancel(m, &w.wait);
  wg_roster_leave(m);
}

static void us_118_the_list_tells_of_signals_and_threads(void **state) {
  (void)state;
  wg_roster_member *a = wg_roster_join(&roster, "a", 1000), *b = wg_roster_join(&roster, "b", 5000);
  atomic_bool warned = false;
  assert_int_equal(wg_roster_ask(a, TERM | HUP, 2, NULL), WG_OK);
  for (int i = 0; i < 5; i++) (void)told(a->id, NULL, WG_SIGNAL_HANGUP);
  assert_int_equal(wg_roster_declare(b, WG_THREADING_COOPERATIVE, &warned), WG_OK);
  assert_int_equal(wg_roster_declare(b, WG_THREADING_COOPERATIVE, &warned), WG_INVALID);
  wg_instance_info *list = NULL;
  size_t count = 0;
  assert_int_equal(wg_roster_list(&roster, 6000, &list, &count, NULL), WG_OK);
  assert_int_equal(count, 2);
  assert_int_equal(list[0].id, a->id);
  assert_string_equal(list[0].service, "a");
  assert_int_equal(list[0].worker, 3);
  assert_int_equal(list[0].interest, TERM | HUP);
  assert_int_equal(list[0].queued, 2);
  assert_int_equal(list[0].dropped, 3);
  assert_int_equal(list[0].threading, WG_THREADING_NONE);
  assert_int_equal(list[0].age_ms, 5000);
  assert_string_equal(list[1].service, "b");
  assert_int_equal(list[1].interest, 0);
  assert_int_equal(list[1].threading, WG_THREADING_COOPERATIVE);
  assert_int_equal(list[1].age_ms, 1000);
  for (size_t i = 0; i < count; i++) free(list[i].service);
  free(list);
  wg_roster_leave(a);
  wg_roster_leave(b);
}

/* ---- threads ---- */

enum { SENDERS = 3, EACH = 2000 };

static void *send_many(void *p) {
  uint64_t *id = p;
  for (int i = 0; i < EACH; i++) {
    (void)wg_roster_deliver(&roster, *id, NULL, WG_SIGNAL_HANGUP);
    if (i % 64) continue;
    wg_instance_info *list = NULL;
    size_t count = 0;
    assert_int_equal(wg_roster_list(&roster, 0, &list, &count, NULL), WG_OK);
    for (size_t k = 0; k < count; k++) free(list[k].service);
    free(list);
  }
  return NULL;
}

static void any_thread_may_deliver(void **state) {
  (void)state;
  pthread_t threads[SENDERS];
  wg_roster_member *m = member("shop", HUP);
  uint64_t id = m->id, taken = 0;
  for (int i = 0; i < SENDERS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, send_many, &id), 0);
  waiter w = {.m = m, .got = -2};
  for (int turn = 0; turn < 5000; turn++) {
    wg_roster_member *other = member("other", HUP);
    wg_roster_wait(m, &w.wait, on_ready);
    wg_roster_wake(&roster);
    if (w.got == -2) wg_roster_wait_cancel(m, &w.wait);
    taken += w.got >= 0;
    w.got = -2;
    wg_roster_leave(other);
  }
  for (int i = 0; i < SENDERS; i++) pthread_join(threads[i], NULL);
  while (wg_roster_take(m) >= 0) taken++;
  assert_int_equal(taken + m->queue->dropped, SENDERS * EACH);
  wg_roster_wake(&roster);
  wg_roster_leave(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
      TEST(us_109_a_signal_is_delivered_by_id),
      TEST(ids_are_never_used_again),
      TEST(us_110_a_signal_nobody_asked_for_is_ignored),
      TEST(services_are_told_apart),
      TEST(us_109_an_overflow_is_logged_once_until_the_queue_was_empty),
      TEST(us_109_a_wait_ends_with_the_wake_after_a_delivery),
      TEST(who_never_asked_may_wait),
      TEST(us_118_the_list_tells_of_signals_and_threads),
      TEST(any_thread_may_deliver),
#undef TEST
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
