/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/templates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_render(const char *text, const char *expected) {
  const cli_template_values values = {"shop", "p3", "postgres"};
  wg_buf out;
  wg_buf_init(&out, 1 << 20);
  cli_template_render(&out, text, &values);
  wg_buf_put_u8(&out, 0);
  assert_string_equal((const char *)wg_buf_head(&out), expected);
  wg_buf_release(&out);
}

static void parameters_and_parts(void **state) {
  (void)state;
  expect_render("", "");
  expect_render("a", "a");
  expect_render("a @@name@@ b @@http@@@@database@@\n", "a shop b p3postgres\n");
  expect_render("a\n// @@if p3\nb\n// @@end\nc\n", "a\nb\nc\n");
  expect_render("a\n# @@if p2\nb @@name@@\n# @@end\nc", "a\nc");
  expect_render(
      "<!-- @@if none -->\nb\n<!-- @@end -->\n<!-- @@if postgres -->\nc\n<!-- @@end -->\n", "c\n");
}

/** A slip in a template would end `warp init`. */
static void every_template_renders(void **state) {
  (void)state;
  static const char *const http[] = {"p2", "p3"}, *const database[] = {"none", "postgres"};
  size_t count = 0;
  for (const cli_template_file *f = cli_template_files; f->path; f++, count++) {
    assert_int_equal(f->verbatim, strncmp(f->path, "warpgrid-async/", 15) == 0);
    for (size_t i = 0; i < 4 && !f->verbatim; i++) {
      const cli_template_values values = {"shop", http[i / 2], database[i % 2]};
      wg_buf out;
      wg_buf_init(&out, 1 << 20);
      cli_template_render(&out, f->text, &values);
      wg_buf_put_u8(&out, 0);
      assert_false(out.failed);
      assert_null(strstr((const char *)wg_buf_head(&out), "@@"));
      wg_buf_release(&out);
    }
    assert_null(strstr(f->path, "//"));
    assert_true(f->path[0] != '/');
  }
  assert_true(count >= 5);
}

static void names(void **state) {
  (void)state;
  static const char *const pairs[][2] = {
      {"shop", "shop"},    {"My Shop_2", "my-shop-2"}, {"2nd-shop", "nd-shop"},
      {"shop-", "shop"},   {"---", "service"},         {"", "service"},
      {"a.b..c", "a-b-c"}, {"\xC3\xA4pfel", "pfel"},
  };
  for (size_t i = 0; i < WG_COUNT(pairs); i++) {
    char out[64];
    cli_template_name(pairs[i][0], out);
    assert_string_equal(out, pairs[i][1]);
    assert_true(cli_template_name_ok(out));
  }
  char name[80];
  memset(name, 'a', sizeof name);
  name[64] = '\0';
  assert_false(cli_template_name_ok(name));
  char out[64];
  cli_template_name(name, out);
  assert_int_equal(strlen(out), 63);
  static const char *const bad[] = {"",    "A",   "1a",  "-a",  "a-",
                                    "a b", "a/b", "a.b", "a_b", "\xC3\xA4"};
  for (size_t i = 0; i < WG_COUNT(bad); i++) assert_false(cli_template_name_ok(bad[i]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parameters_and_parts),
      cmocka_unit_test(every_template_renders),
      cmocka_unit_test(names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
