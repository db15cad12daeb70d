/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <warpgrid/error.h>

#include <cmocka.h>

static void set_returns_its_code(void **state) {
  (void)state;
  wg_error err;
  assert_int_equal(wg_error_set(&err, WG_IO, 111, "connect: %s", "refused"), WG_IO);
  assert_int_equal(err.code, WG_IO);
  assert_int_equal(err.sys, 111);
  assert_string_equal(err.msg, "connect: refused");
  assert_string_equal(err.hint, "");
  assert_int_equal(wg_error_set(NULL, WG_NOMEM, 0, "x"), WG_NOMEM);
}

static void wrap_puts_context_in_front(void **state) {
  (void)state;
  wg_error err;
  wg_error_set(&err, WG_TIMEOUT, 0, "timed out");
  wg_error_hint(&err, "raise %s", "connect_timeout");
  wg_error_wrap(&err, "connect");
  wg_error_wrap(&err, "pool '%s'", "orders");
  assert_string_equal(err.msg, "pool 'orders': connect: timed out");
  assert_string_equal(err.hint, "raise connect_timeout");
  assert_int_equal(err.code, WG_TIMEOUT);
  wg_error_wrap(NULL, "x");
  wg_error_hint(NULL, "x");
}

static void long_texts_are_cut_with_dots(void **state) {
  (void)state;
  wg_error err;
  wg_error_set(&err, WG_IO, 0, "%0*d", 2000, 1);
  assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
  assert_string_equal(err.msg + strlen(err.msg) - 4, "0...");
  wg_error_wrap(&err, "context");
  assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
  assert_memory_equal(err.msg, "context: 000", 12);
  wg_error_hint(&err, "%0*d", 2000, 1);
  assert_string_equal(err.hint + strlen(err.hint) - 4, "0...");
}

static void set_may_quote_the_old_text(void **state) {
  (void)state;
  wg_error err;
  wg_error_set(&err, WG_IO, 0, "inner");
  wg_error_hint(&err, "old hint");
  wg_error_set(&err, WG_LOST, 0, "outer (%s)", err.msg);
  assert_string_equal(err.msg, "outer (inner)");
  assert_string_equal(err.hint, "");
}

static void every_code_has_a_name(void **state) {
  (void)state;
  assert_string_equal(wg_code_name(WG_OK), "ok");
  assert_string_equal(wg_code_name(WG_AGAIN), "would block");
  assert_string_equal(wg_code_name((wg_code)12345), "unknown");
  for (int code = 0; code >= WG_AGAIN; code--)
    assert_string_not_equal(wg_code_name((wg_code)code), "unknown");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(set_returns_its_code),         cmocka_unit_test(wrap_puts_context_in_front),
      cmocka_unit_test(long_texts_are_cut_with_dots), cmocka_unit_test(set_may_quote_the_old_text),
      cmocka_unit_test(every_code_has_a_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
