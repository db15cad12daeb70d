/* SPDX-License-Identifier: Apache-2.0 */
/* cli/: the command table, JSON texts, guest.flags. What is printed: tests/e2e/test_golden.py. */
#include "cli/cli.h"

#include "cli/build/sdk.h"
#include "cli/ui.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void the_table_is_sound(void **state) {
  (void)state;
  for (size_t i = 0; i < cli_command_count; i++) {
    const cli_command *c = &cli_commands[i];
    assert_non_null(c->run);
    assert_non_null(c->summary);
    assert_int_not_equal(c->summary[strlen(c->summary) - 1], '.'); /* one is added */
    assert_true(!c->about || c->about[strlen(c->about) - 1] == '.');
    assert_true((c->needs >= CLI_WORD) == (c->operand != NULL));
    size_t n = 0;
    for (const cli_option *o = c->options; o->name; o++, n++) {
      assert_true(n < CLI_OPTIONS_MAX - 1); /* room for the end */
      assert_non_null(o->help);
      assert_true(o->value || !(o->repeats || o->choices || o->standard));
      assert_int_not_equal(o->help[strlen(o->help) - 1], '.'); /* one is added */
      assert_string_not_equal(o->name, "help");
      assert_string_not_equal(o->name, "json");
      assert_string_not_equal(o->name, "color");
      assert_int_not_equal(o->letter, 'h');
      for (const cli_option *p = c->options; p < o; p++) {
        assert_string_not_equal(p->name, o->name);
        if (o->letter) assert_int_not_equal(p->letter, o->letter);
      }
    }
    for (size_t k = 0; k < i; k++) assert_string_not_equal(cli_commands[k].name, c->name);
  }
}

static void expect_json(const char *text, const char *expected) {
  wg_buf out;
  wg_buf_init(&out, 1024);
  ui_json_string(&out, text);
  wg_buf_put_u8(&out, 0);
  assert_string_equal((const char *)wg_buf_head(&out), expected);
  wg_buf_release(&out);
}

static void json_strings(void **state) {
  (void)state;
  expect_json("", "\"\"");
  expect_json("a \"b\" \\ /", "\"a \\\"b\\\" \\\\ /\"");
  expect_json("\n\t\x01\x7f", "\"\\n\\t\\u0001\\u007f\"");
  expect_json("gr\xC3\xBC\xC3\x9F \xF0\x9F\x8C\x8D", "\"gr\xC3\xBC\xC3\x9F \xF0\x9F\x8C\x8D\"");
  expect_json("\xFF\xC3", "\"\\ufffd\\ufffd\"");
}

/* ---- guest.flags ---- */

static char folder[] = "/tmp/wg-cli-XXXXXX";
static int make_sdk(void **state) {
  (void)state;
  char path[64];
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/guest.flags", folder);
  FILE *f = fopen(path, "w");
  if (!f) return -1;
  fputs("# comment: not a key\n"
        "worlds: one two\n"
        "compile: -a  -I${SDK}/include\t-b\n"
        "compile.one: -one\n"
        "compile: -again ${OTHER}\n"
        "compiler: -no\n"
        "link.one: ${SDK}/x.o ${SDK}/y.o",
        f);
  setenv("WARPGRID_SDK", folder, 1);
  return fclose(f);
}
static int drop_sdk(void **state) {
  (void)state;
  char path[64];
  snprintf(path, sizeof path, "%s/guest.flags", folder);
  unlink(path);
  return rmdir(folder);
}

static void expect_words(const cli_sdk *sdk, const char *key, const char *part,
                         const char *expected) {
  char **words = NULL;
  char seen[1024] = "";
  assert_int_equal(cli_sdk_words(sdk, key, part, &words, NULL), WG_OK);
  for (char **w = words; w && *w; w++) {
    strncat(seen, *w, sizeof seen - strlen(seen) - 1);
    strncat(seen, "|", sizeof seen - strlen(seen) - 1);
  }
  assert_string_equal(seen, expected);
  cli_list_free(words);
}

static void guest_flags(void **state) {
  (void)state;
  cli_sdk sdk;
  char expected[256];
  assert_int_equal(cli_sdk_find(&sdk, NULL), WG_OK);
  expect_words(&sdk, "worlds", NULL, "one|two|");
  snprintf(expected, sizeof expected, "-a|-I%s/include|-b|-again|${OTHER}|", folder);
  expect_words(&sdk, "compile", NULL, expected);
  expect_words(&sdk, "compile", "one", "-one|");
  expect_words(&sdk, "compile", "two", "");
  snprintf(expected, sizeof expected, "%s/x.o|%s/y.o|", folder, folder);
  expect_words(&sdk, "link", "one", expected);
  cli_sdk_release(&sdk);
}

static void missing_sdk_says_how_to_make_it(void **state) {
  (void)state;
  cli_sdk sdk;
  wg_error err;
  setenv("WARPGRID_SDK", "/nonexistent", 1);
  assert_int_equal(cli_sdk_find(&sdk, &err), WG_NOT_FOUND);
  assert_non_null(strstr(err.msg, "/nonexistent"));
  assert_non_null(strstr(err.hint, "build-guest-c.sh --sdk"));
  unsetenv("WARPGRID_SDK"); /* beside this test there is none either */
  assert_int_equal(cli_sdk_find(&sdk, &err), WG_NOT_FOUND);
  assert_non_null(strstr(err.hint, "WARPGRID_SDK"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_table_is_sound),
      cmocka_unit_test(json_strings),
      cmocka_unit_test(guest_flags),
      cmocka_unit_test(missing_sdk_says_how_to_make_it),
  };
  return cmocka_run_group_tests(tests, make_sdk, drop_sdk);
}
