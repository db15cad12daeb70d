/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of net/watch.h, by libuv. */
#include "net/watch.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

typedef struct fixture {
  uv_loop_t uv;
  int fd[2];
  wg_watch *w;
  unsigned calls, last;
  bool stops;
} fixture;

static void on_ready(void *user, unsigned events) {
  fixture *f = user;
  f->calls++;
  f->last = events;
  if (f->stops) {
    wg_watch_uv.stop(&f->uv, f->w);
    f->w = NULL;
  }
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  wg_error err;
  assert_int_equal(uv_loop_init(&f->uv), 0);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f->fd), 0);
  assert_int_equal(wg_watch_uv.start(&f->uv, f->fd[0], on_ready, f, &f->w, &err), WG_OK);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  if (f->w) wg_watch_uv.stop(&f->uv, f->w);
  close(f->fd[0]);
  if (f->fd[1] >= 0) close(f->fd[1]);
  uv_run(&f->uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&f->uv), 0);
  free(f);
  return 0;
}

static void turn(fixture *f) {
  for (int i = 0; i < 3; i++) uv_run(&f->uv, UV_RUN_NOWAIT);
}

static void test_silent_until_armed(void **state) {
  fixture *f = *state;
  assert_int_equal(write(f->fd[1], "x", 1), 1);
  turn(f);
  assert_int_equal(f->calls, 0);
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_READ);
  assert_int_equal(f->calls, 0); /* never from inside */
  turn(f);
  assert_int_equal(f->calls, 1);
  assert_int_equal(f->last, WG_WATCH_READ);
}

static void test_once_an_arm(void **state) {
  fixture *f = *state;
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_READ);
  turn(f);
  assert_int_equal(f->calls, 0);
  assert_int_equal(write(f->fd[1], "x", 1), 1);
  turn(f);
  assert_int_equal(write(f->fd[1], "y", 1), 1);
  turn(f);
  assert_int_equal(f->calls, 1);
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_WRITE);
  turn(f);
  assert_int_equal(f->calls, 2);
  assert_int_equal(f->last, WG_WATCH_WRITE); /* what is not armed is not told */
}

static void test_arms_add_up(void **state) {
  fixture *f = *state;
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_READ);
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_WRITE);
  turn(f);
  assert_int_equal(f->last, WG_WATCH_WRITE);
  assert_int_equal(write(f->fd[1], "x", 1), 1);
  turn(f);
  assert_int_equal(f->calls, 2);
  assert_int_equal(f->last, WG_WATCH_READ);
}

static void test_hang_up_is_ready(void **state) {
  fixture *f = *state;
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_READ);
  close(f->fd[1]);
  f->fd[1] = -1;
  turn(f);
  assert_int_equal(f->calls, 1);
  assert_int_equal(f->last, WG_WATCH_READ);
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_READ); /* the end does not go away */
  turn(f);
  assert_int_equal(f->calls, 2);
}

/* The last bytes and the end come together; the read that takes the bytes is short. */
static void test_end_behind_last_bytes(void **state) {
  fixture *f = *state;
  char b[8];
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_READ);
  assert_int_equal(write(f->fd[1], "x", 1), 1);
  close(f->fd[1]);
  f->fd[1] = -1;
  turn(f);
  assert_int_equal(f->calls, 1);
  assert_int_equal(read(f->fd[0], b, sizeof b), 1);
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_READ);
  turn(f);
  assert_int_equal(f->calls, 2);
  assert_int_equal(read(f->fd[0], b, sizeof b), 0);
}

static void test_stop_within_callback(void **state) {
  fixture *f = *state;
  f->stops = true;
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_READ | WG_WATCH_WRITE);
  assert_int_equal(write(f->fd[1], "x", 1), 1);
  turn(f);
  assert_int_equal(f->calls, 1);
  turn(f);
  assert_int_equal(f->calls, 1);
}

/* The number of a closed fd comes back at once with the next socket. */
static void test_fd_number_reused(void **state) {
  fixture *f = *state;
  wg_error err;
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_READ);
  wg_watch_uv.stop(&f->uv, f->w);
  assert_int_equal(dup2(f->fd[1], f->fd[0]), f->fd[0]);
  assert_int_equal(wg_watch_uv.start(&f->uv, f->fd[0], on_ready, f, &f->w, &err), WG_OK);
  wg_watch_uv.arm(&f->uv, f->w, WG_WATCH_WRITE);
  turn(f);
  assert_int_equal(f->calls, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_silent_until_armed, setup, teardown),
      cmocka_unit_test_setup_teardown(test_once_an_arm, setup, teardown),
      cmocka_unit_test_setup_teardown(test_arms_add_up, setup, teardown),
      cmocka_unit_test_setup_teardown(test_hang_up_is_ready, setup, teardown),
      cmocka_unit_test_setup_teardown(test_end_behind_last_bytes, setup, teardown),
      cmocka_unit_test_setup_teardown(test_stop_within_callback, setup, teardown),
      cmocka_unit_test_setup_teardown(test_fd_number_reused, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
