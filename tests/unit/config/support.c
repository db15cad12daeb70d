/* SPDX-License-Identifier: Apache-2.0 */
#include "config/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

wg_error parse_error;
char parse_warnings[8192];

static void on_warning(void *user, const char *text) {
  (void)user;
  strncat(parse_warnings, text, sizeof parse_warnings - strlen(parse_warnings) - 1);
  strncat(parse_warnings, "\n", sizeof parse_warnings - strlen(parse_warnings) - 1);
}

wg_code parse(const char *text, wg_config **out) {
  parse_warnings[0] = '\0';
  memset(&parse_error, 0, sizeof parse_error);
  *out = NULL;
  return wg_config_parse("w.toml", text, strlen(text), on_warning, NULL, out, &parse_error);
}

wg_config *parse_ok(const char *text) {
  wg_config *c;
  wg_code code = parse(text, &c);
  if (code != WG_OK) print_error("%s\n", parse_error.msg);
  assert_int_equal(code, WG_OK);
  assert_non_null(c);
  return c;
}

void parse_fails(const char *text, const char *message, const char *hint) {
  wg_config *c;
  wg_code code = parse(text, &c);
  if (code != WG_CONFIG) print_error("accepted: %s\n", text);
  assert_int_equal(code, WG_CONFIG);
  assert_null(c);
  assert_string_equal(parse_error.msg, message);
  if (hint && !strstr(parse_error.hint, hint)) print_error("hint is: %s\n", parse_error.hint);
  if (hint) assert_non_null(strstr(parse_error.hint, hint));
}
