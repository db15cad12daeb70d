/* SPDX-License-Identifier: Apache-2.0 */
/* US-118, US-119: a guest declares its threading model once, and an operator is warned once. */
#include "threading/threading.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static char logged[1 << 14];
static void keep_line(void *user, const char *line, size_t len) {
  (void)user;
  size_t n = strlen(logged);
  if (n + len + 1 < sizeof logged) memcpy(logged + n, line, len), logged[n + len] = 0;
}
static unsigned warnings(void) {
  unsigned n = 0;
  for (const char *p = logged; (p = strstr(p, "event=threading_not_parallel")); p++) n++;
  return n;
}

static const wg_log_ctx where = {.app = "shop", .worker = 2};

static int setup(void **state) {
  (void)state;
  logged[0] = 0;
  wg_log_setup(WG_LOG_INFO, WG_LOG_LOGFMT, 2);
  wg__log_sink(keep_line, NULL);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  wg__log_sink(NULL, NULL);
  return 0;
}

static void us_119_cooperative_is_kept_in_silence(void **state) {
  (void)state;
  wg_threading model = WG_THREADING_NONE;
  atomic_bool warned = false;
  assert_int_equal(wg_threading_declare(&model, WG_THREADING_COOPERATIVE, &warned, &where), WG_OK);
  assert_int_equal(model, WG_THREADING_COOPERATIVE);
  assert_int_equal(warnings(), 0);
  assert_false(warned);
}

static void us_119_parallel_required_is_kept_with_a_warning(void **state) {
  (void)state;
  wg_threading model = WG_THREADING_NONE;
  atomic_bool warned = false;
  assert_int_equal(wg_threading_declare(&model, WG_THREADING_PARALLEL_REQUIRED, &warned, &where),
                   WG_OK);
  assert_int_equal(model, WG_THREADING_PARALLEL_REQUIRED);
  assert_int_equal(warnings(), 1);
  assert_non_null(strstr(logged, "level=warn"));
  assert_non_null(strstr(logged, "app=shop"));
  assert_non_null(strstr(logged, "cooperatively"));
}

static void us_119_a_second_declaration_is_an_error(void **state) {
  (void)state;
  static const wg_threading models[] = {WG_THREADING_PARALLEL_REQUIRED, WG_THREADING_COOPERATIVE};
  for (int first = 0; first < 2; first++)
    for (int second = 0; second < 2; second++) {
      wg_threading model = WG_THREADING_NONE;
      atomic_bool warned = false;
      assert_int_equal(wg_threading_declare(&model, models[first], &warned, &where), WG_OK);
      assert_int_equal(wg_threading_declare(&model, models[second], &warned, &where), WG_INVALID);
      assert_int_equal(model, models[first]);
    }
  assert_int_equal(warnings(), 2); /* by the first declarations alone */
}

static void us_118_a_component_is_warned_of_once(void **state) {
  (void)state;
  atomic_bool one = false, other = false;
  for (int i = 0; i < 100; i++) {
    wg_threading model = WG_THREADING_NONE;
    assert_int_equal(wg_threading_declare(&model, WG_THREADING_PARALLEL_REQUIRED, &one, &where),
                     WG_OK);
  }
  assert_int_equal(warnings(), 1);
  wg_threading model = WG_THREADING_NONE;
  assert_int_equal(wg_threading_declare(&model, WG_THREADING_PARALLEL_REQUIRED, &other, &where),
                   WG_OK);
  assert_int_equal(warnings(), 2);
}

static void nothing_else_is_a_model(void **state) {
  (void)state;
  wg_threading model = WG_THREADING_NONE;
  atomic_bool warned = false;
  assert_int_equal(wg_threading_declare(&model, WG_THREADING_NONE, &warned, &where), WG_INVALID);
  assert_int_equal(wg_threading_declare(&model, (wg_threading)7, &warned, &where), WG_INVALID);
  assert_int_equal(model, WG_THREADING_NONE);
  assert_string_equal(wg_threading_name(WG_THREADING_NONE), "none");
  assert_string_equal(wg_threading_name(WG_THREADING_PARALLEL_REQUIRED), "parallel-required");
  assert_string_equal(wg_threading_name(WG_THREADING_COOPERATIVE), "cooperative");
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
      TEST(us_119_cooperative_is_kept_in_silence),
      TEST(us_119_parallel_required_is_kept_with_a_warning),
      TEST(us_119_a_second_declaration_is_an_error),
      TEST(us_118_a_component_is_warned_of_once),
      TEST(nothing_else_is_a_model),
#undef TEST
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
