/* SPDX-License-Identifier: Apache-2.0 */
/* config/value.c: sizes, durations, the environment, nearest names. */
#include "config/value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void sizes(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint64_t bytes;
  } good[] = {{"0B", 0},
              {"1B", 1},
              {"64KiB", 65536},
              {"128MiB", 134217728},
              {"4GiB", 1ull << 32},
              {"10MB", 10000000},
              {"1kB", 1000},
              {"2 MiB", 2097152}};
  uint64_t v;
  for (size_t i = 0; i < WG_COUNT(good); i++) {
    assert_true(cfg_parse_size(good[i].text, &v));
    assert_int_equal(v, good[i].bytes);
  }
  static const char *const bad[] = {"",
                                    "12",
                                    "MiB",
                                    "-1B",
                                    "1.5MiB",
                                    "1mib",
                                    "1 M",
                                    " 1B",
                                    "99999999999999999999B",
                                    "18446744073709551615GiB",
                                    "1MiBx"};
  for (size_t i = 0; i < WG_COUNT(bad); i++) assert_false(cfg_parse_size(bad[i], &v));
}

static void durations(void **state) {
  (void)state;
  uint64_t v;
  assert_true(cfg_parse_duration("500ms", &v) && v == 500);
  assert_true(cfg_parse_duration("30s", &v) && v == 30000);
  assert_true(cfg_parse_duration("5m", &v) && v == 300000);
  assert_true(cfg_parse_duration("1h", &v) && v == 3600000);
  assert_true(cfg_parse_duration("0s", &v) && v == 0);
  assert_false(cfg_parse_duration("30", &v));
  assert_false(cfg_parse_duration("1d", &v));
  assert_false(cfg_parse_duration("1s1s", &v));
}

static void formats_read_back(void **state) {
  (void)state;
  static const uint64_t values[] = {0, 1, 999, 1000, 1024, 1536, 65536, 300000, 134217728};
  for (size_t i = 0; i < WG_COUNT(values); i++) {
    char text[32];
    uint64_t v;
    cfg_format_size(values[i], text);
    assert_true(cfg_parse_size(text, &v) && v == values[i]);
    cfg_format_duration(values[i], text);
    assert_true(cfg_parse_duration(text, &v) && v == values[i]);
  }
  char text[32];
  cfg_format_size(134217728, text);
  assert_string_equal(text, "128MiB");
  cfg_format_duration(300000, text);
  assert_string_equal(text, "300s");
}

static void expect_env(const char *text, const char *expected) {
  char *out;
  assert_int_equal(cfg_expand_env(text, &out, NULL), WG_OK);
  assert_string_equal(out, expected);
  free(out);
}

static void environment(void **state) {
  (void)state;
  setenv("WG_TEST_A", "alpha", 1);
  setenv("WG_TEST_EMPTY", "", 1);
  unsetenv("WG_TEST_NONE");
  expect_env("", "");
  expect_env("plain $ text }", "plain $ text }");
  expect_env("${WG_TEST_A}", "alpha");
  expect_env("<${WG_TEST_A}|${WG_TEST_A}>", "<alpha|alpha>");
  expect_env("${WG_TEST_EMPTY}", "");
  expect_env("${WG_TEST_NONE:-fall back}", "fall back");
  expect_env("${WG_TEST_EMPTY:-x}", "x");
  expect_env("${WG_TEST_NONE:-}", "");
  expect_env("$${WG_TEST_A}", "${WG_TEST_A}");
  char *out;
  wg_error err;
  assert_int_equal(cfg_expand_env("a ${WG_TEST_NONE} b", &out, &err), WG_CONFIG);
  assert_string_equal(err.msg, "the environment variable 'WG_TEST_NONE' is not set");
  static const char *const bad[] = {"${", "${A", "${}", "${1A}", "${A B}", "${A-x}", "${:-x}"};
  for (size_t i = 0; i < WG_COUNT(bad); i++)
    assert_int_equal(cfg_expand_env(bad[i], &out, &err), WG_CONFIG);
}

static void nearest_names(void **state) {
  (void)state;
  static const char *const names[] = {"filesystem", "dns", "signals", "database_proxy",
                                      "threading"};
#define NEAR(name) cfg_nearest_of(name, names, WG_COUNT(names))
  assert_string_equal(NEAR("filesytem"), "filesystem");
  assert_string_equal(NEAR("database-proxy"), "database_proxy");
  assert_string_equal(NEAR("database"), "database_proxy");
  assert_string_equal(NEAR("dsn"), "dns");
  assert_string_equal(NEAR("signal"), "signals");
  assert_string_equal(NEAR("Threading"), "threading");
  assert_null(NEAR("metrics"));
  assert_null(NEAR("x"));
  assert_null(NEAR(""));
  char long_name[200];
  memset(long_name, 'a', sizeof long_name - 1);
  long_name[sizeof long_name - 1] = '\0';
  assert_null(NEAR(long_name));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes),
      cmocka_unit_test(durations),
      cmocka_unit_test(formats_read_back),
      cmocka_unit_test(environment),
      cmocka_unit_test(nearest_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
