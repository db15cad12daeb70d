/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime's worker: libuv nested in its poller, readiness of C's sockets, and stopping. */
#include "net/watch.h"
#include "wgrt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

typedef struct fixture {
  uv_loop_t uv;
  uv_async_t keep;
  uv_timer_t timers[2];
  int stop_fd;
  int pair[2];
  wgrt_engine *engine;
  wgrt_worker *worker;
  wgrt_watch *watch;
  unsigned fired;  /**< callbacks of the watch */
  unsigned events; /**< of the last one */
  unsigned idle_calls;
} fixture;

static int v_fd(void *x) { return uv_backend_fd(&((fixture *)x)->uv); }
static int v_timeout(void *x) { return uv_backend_timeout(&((fixture *)x)->uv); }
static void v_run(void *x) { (void)uv_run(&((fixture *)x)->uv, UV_RUN_NOWAIT); }

static void never(void) { fail_msg("no guest runs here"); }

static void stop(fixture *f) { assert_int_equal(eventfd_write(f->stop_fd, 1), 0); }

static uint32_t v_stopping(void *ctx) {
  (void)ctx;
  return 0;
}

static int setup(void **state) {
  static fixture f;
  f = (fixture){0};
  assert_int_equal(uv_loop_init(&f.uv), 0);
  assert_int_equal(uv_async_init(&f.uv, &f.keep, NULL), 0);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(uv_timer_init(&f.uv, &f.timers[i]), 0);
    f.timers[i].data = &f;
  }
  f.stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f.pair), 0);
  wgrt_error err;
  wgrt_engine_cfg ec = {.size = sizeof ec, .max_instances = 1, .max_memory_bytes = 1 << 20};
  assert_int_equal(wgrt_engine_new(&ec, &f.engine, &err), 0);
  wgrt_host host = {.size = sizeof host,
                    .ctx = &f,
                    .backend_fd = v_fd,
                    .backend_timeout = v_timeout,
                    .run_nowait = v_run};
  void (*const unused)(void) = never;
  for (size_t at = offsetof(wgrt_host, route); at < sizeof host; at += sizeof unused)
    memcpy((char *)&host + at, &unused, sizeof unused);
  host.stopping = v_stopping;
  assert_int_equal(wgrt_worker_new(f.engine, &host, f.stop_fd, &f.worker, &err), 0);
  *state = &f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  if (f->watch) wgrt_watch_stop(f->watch);
  wgrt_worker_free(f->worker);
  wgrt_engine_free(f->engine);
  uv_close((uv_handle_t *)&f->keep, NULL);
  for (int i = 0; i < 2; i++) uv_close((uv_handle_t *)&f->timers[i], NULL);
  (void)uv_run(&f->uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&f->uv), 0);
  close(f->pair[0]);
  close(f->pair[1]);
  close(f->stop_fd);
  return 0;
}

static int idle(void *ctx) { return ++((fixture *)ctx)->idle_calls < 3; }

static void run(fixture *f) {
  wgrt_error err;
  assert_int_equal(wgrt_worker_run(f->worker, 1000, idle, &err), 0);
}

static void on_stop(uv_timer_t *t) { stop(t->data); }

static void test_timers_run_and_stop_ends_it(void **state) {
  fixture *f = *state;
  uv_timer_start(&f->timers[0], on_stop, 5, 0);
  run(f);
  assert_int_equal(f->idle_calls, 3); /* asked until it had nothing left to do */
}

static void on_ready(void *user, unsigned events) {
  fixture *f = user;
  char byte;
  f->fired++;
  f->events = events;
  assert_int_equal(read(f->pair[0], &byte, 1), 1);
  stop(f);
}

static void watch(fixture *f, void (*cb)(void *, unsigned)) {
  wgrt_error err;
  assert_int_equal(wgrt_watch_start(f->worker, f->pair[0], cb, f, &f->watch, &err), 0);
}

static void on_write_peer(uv_timer_t *t) {
  fixture *f = t->data;
  assert_int_equal(write(f->pair[1], "x", 1), 1);
}

static void test_armed_watch_fires_once(void **state) {
  fixture *f = *state;
  watch(f, on_ready);
  wgrt_watch_arm(f->watch, WG_WATCH_READ);
  uv_timer_start(&f->timers[0], on_write_peer, 5, 0);
  run(f);
  assert_int_equal(f->fired, 1);
  assert_int_equal(f->events, WG_WATCH_READ);
}

static void on_arm(uv_timer_t *t) { wgrt_watch_arm(((fixture *)t->data)->watch, WG_WATCH_READ); }

/* The poller sees the byte while nothing is armed; the arm that comes later must find it. */
static void test_event_between_drain_and_arm_is_kept(void **state) {
  fixture *f = *state;
  char byte;
  watch(f, on_ready);
  assert_int_equal(read(f->pair[0], &byte, 1), -1); /* drained */
  uv_timer_start(&f->timers[0], on_write_peer, 5, 0);
  uv_timer_start(&f->timers[1], on_arm, 30, 0);
  run(f);
  assert_int_equal(f->fired, 1);
}

static void on_hang_up(void *user, unsigned events) {
  fixture *f = user;
  char byte;
  f->fired++;
  f->events |= events;
  assert_int_equal(read(f->pair[0], &byte, 1), 0);
  if (f->fired < 3)
    wgrt_watch_arm(f->watch, WG_WATCH_READ);
  else
    stop(f);
}

static void on_close_peer(uv_timer_t *t) {
  fixture *f = t->data;
  assert_int_equal(shutdown(f->pair[1], SHUT_RDWR), 0);
}

/* A hang-up is never forgotten: whoever arms again is told again, from the loop. */
static void test_hang_up_fires_at_each_arm(void **state) {
  fixture *f = *state;
  watch(f, on_hang_up);
  wgrt_watch_arm(f->watch, WG_WATCH_READ);
  uv_timer_start(&f->timers[0], on_close_peer, 5, 0);
  run(f);
  assert_int_equal(f->fired, 3);
}

static void on_never(void *user, unsigned events) {
  (void)user, (void)events;
  fail_msg("called back after stop");
}

static void on_stop_watch(uv_timer_t *t) {
  fixture *f = t->data;
  assert_int_equal(write(f->pair[1], "x", 1), 1);
  wgrt_watch_stop(f->watch);
  f->watch = NULL;
}

static void test_stopped_watch_is_silent(void **state) {
  fixture *f = *state;
  watch(f, on_never);
  wgrt_watch_arm(f->watch, WG_WATCH_READ);
  uv_timer_start(&f->timers[0], on_stop_watch, 5, 0);
  uv_timer_start(&f->timers[1], on_stop, 30, 0);
  run(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
      TEST(test_timers_run_and_stop_ends_it),
      TEST(test_armed_watch_fires_once),
      TEST(test_event_between_drain_and_arm_is_kept),
      TEST(test_hang_up_fires_at_each_arm),
      TEST(test_stopped_watch_is_silent),
#undef TEST
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
