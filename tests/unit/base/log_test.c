/* SPDX-License-Identifier: Apache-2.0 */
/* base/log.c: escaping, secrets, limits. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static char last[16 * 1024];
static unsigned lines;
static void on_line(void *user, const char *line, size_t len) {
  (void)user;
  assert_true(len < sizeof last);
  memcpy(last, line, len);
  last[len] = '\0';
  lines++;
}

static int setup(void **state) {
  (void)state;
  lines = 0;
  wg__log_sink(on_line, NULL);
  wg_log_setup(WG_LOG_DEBUG, WG_LOG_LOGFMT, 2);
  return 0;
}

/** The part after the time, which changes. */
static const char *after_time(void) {
  const char *p = strstr(last, "level");
  assert_non_null(p);
  return p;
}

static void logfmt_line(void **state) {
  (void)state;
  wg_log_ctx ctx = {.app = "users", .worker = 2, .request = 77};
  wg_log(&ctx, WG_LOG_INFO, "conn_opened", WG_KV_S("db", "orders"), WG_KV_U("wait_ms", 3),
         WG_KV_I("delta", -4), WG_KV_B("reused", true), WG_KV_F("ratio", 0.5));
  assert_string_equal(after_time(), "level=info event=conn_opened app=users worker=2 request=77 "
                                    "db=orders wait_ms=3 delta=-4 reused=true ratio=0.5");
  assert_memory_equal(last, "time=20", 7);
  wg_log0(NULL, WG_LOG_WARN, "bare");
  assert_string_equal(after_time(), "level=warn event=bare");
}

static void json_line(void **state) {
  (void)state;
  wg_log_setup(WG_LOG_DEBUG, WG_LOG_JSON, 2);
  wg_log(NULL, WG_LOG_ERROR, "failed", WG_KV_S("error", "a \"b\"\n\\c"), WG_KV_U("n", 1),
         WG_KV_S("none", NULL));
  assert_string_equal(after_time(),
                      "level\":\"error\",\"event\":\"failed\",\"error\":\"a \\\"b\\\"\\n\\\\c\","
                      "\"n\":1,\"none\":null}");
  assert_memory_equal(last, "{\"time\":\"20", 11);
}

static void escapes_what_a_terminal_would_obey(void **state) {
  (void)state;
  wg_log(NULL, WG_LOG_INFO, "e", WG_KV_N("v", "\x1b[2J\x7f\xC2\x9b\0x", 9));
  assert_string_equal(after_time(), "level=info event=e v=\"\\u001b[2J\\u007f\\u009b\\u0000x\"");
  wg_log(NULL, WG_LOG_INFO, "e", WG_KV_S("v", "bad \xC3( \xED\xA0\x80 \xF5 gr\xC3\xBC\xC3\x9F"));
  assert_string_equal(after_time(), "level=info event=e v=\"bad \\ufffd( \\ufffd\\ufffd\\ufffd "
                                    "\\ufffd gr\xC3\xBC\xC3\x9F\"");
  wg_log(NULL, WG_LOG_INFO, "e", WG_KV_S("v", "a=b"), WG_KV_S("w", ""));
  assert_string_equal(after_time(), "level=info event=e v=\"a=b\" w=\"\"");
}

static void secrets_are_never_printed(void **state) {
  (void)state;
  wg_secret s = {0};
  assert_int_equal(wg_secret_set(&s, "hunter2", 7, NULL), WG_OK);
  wg_log(NULL, WG_LOG_INFO, "login", WG_KV_X("password", &s));
  assert_null(strstr(last, "hunter2"));
  assert_non_null(strstr(last, "password=***"));
  wg_secret_release(&s);
}

static void long_lines_are_cut_and_stay_well_formed(void **state) {
  (void)state;
  static char big[20000];
  memset(big, 'x', sizeof big - 1);
  for (int json = 0; json < 2; json++) {
    wg_log_setup(WG_LOG_DEBUG, json ? WG_LOG_JSON : WG_LOG_LOGFMT, 2);
    wg_log(NULL, WG_LOG_INFO, "big", WG_KV_S("v", big), WG_KV_U("after", 1));
    size_t n = strlen(last);
    assert_in_range(n, 100, 12 * 1024);
    const char *end = json ? "...\",\"cut\":true}" : "...\" cut=true";
    assert_string_equal(last + n - strlen(end), end);
    /* every possible place of the cut */
    for (size_t len = 12 * 1024 - 200; len < 12 * 1024 + 10; len++) {
      wg_log(NULL, WG_LOG_INFO, "big", WG_KV_N("v", big, len), WG_KV_U("number", 123456789),
             WG_KV_S("text", "some words"));
      n = strlen(last);
      assert_in_range(n, 100, 12 * 1024);
      unsigned quotes = 0;
      for (const char *p = last; *p; p++) quotes += *p == '"';
      assert_int_equal(quotes % 2, 0);
      if (json) assert_int_equal(last[n - 1], '}');
    }
  }
}

static void levels_filter(void **state) {
  (void)state;
  wg_log_setup(WG_LOG_WARN, WG_LOG_LOGFMT, 2);
  wg_log0(NULL, WG_LOG_INFO, "quiet");
  assert_int_equal(lines, 0);
  assert_false(wg_log_enabled(WG_LOG_INFO));
  wg_log0(NULL, WG_LOG_ERROR, "loud");
  assert_int_equal(lines, 1);
}

static void limit_counts_what_it_held_back(void **state) {
  (void)state;
  wg_log_limit l = {0};
  uint32_t held = 99;
  assert_true(wg_log_allow(&l, 2, 0, &held));
  assert_int_equal(held, 0);
  assert_true(wg_log_allow(&l, 2, 10, &held));
  for (int i = 0; i < 5; i++) assert_false(wg_log_allow(&l, 2, 999, &held));
  assert_true(wg_log_allow(&l, 2, 1000, &held));
  assert_int_equal(held, 5);
  assert_true(wg_log_allow(&l, 2, 1001, &held));
  assert_int_equal(held, 0);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(logfmt_line),
      TEST(json_line),
      TEST(escapes_what_a_terminal_would_obey),
      TEST(secrets_are_never_printed),
      TEST(long_lines_are_cut_and_stay_well_formed),
      TEST(levels_filter),
      TEST(limit_counts_what_it_held_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
