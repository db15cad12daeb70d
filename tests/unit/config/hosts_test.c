/* SPDX-License-Identifier: Apache-2.0 */
/* US-111: `addresses` and `target_session_attrs` of [databases.NAME]. */
#include "config/support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DB "[databases.d]\nuser = 'u'\n"

static void us_111_addresses(void **state) {
  (void)state;
  wg_config *c =
      parse_ok(DB "addresses = ['Db1.example.com:5433', '[fd00::1]:5432', '10.0.0.1:1']\n"
                  "target_session_attrs = 'prefer-standby'\n");
  const wg_database_config *d = &c->databases[0];
  assert_int_equal(d->host_count, 3);
  assert_string_equal(d->hosts[0].name, "db1.example.com");
  assert_int_equal(d->hosts[0].port, 5433);
  assert_string_equal(d->hosts[1].name, "fd00::1");
  assert_int_equal(d->hosts[2].port, 1);
  assert_int_equal(d->target_attrs, WG_DB_TARGET_PREFER_STANDBY);
  wg_config *same = parse_ok(DB "addresses = ['db1.example.com:5433', '[fd00::1]:5432', "
                                "'10.0.0.1:1']\ntarget_session_attrs = 'prefer-standby'\n");
  wg_config *turned = parse_ok(DB "addresses = ['db1.example.com:5433', '10.0.0.1:1', "
                                  "'[fd00::1]:5432']\ntarget_session_attrs = 'prefer-standby'\n");
  wg_config *other = parse_ok(DB "addresses = ['db1.example.com:5433', '[fd00::1]:5432', "
                                 "'10.0.0.1:1']\n");
  assert_true(wg_config_same_databases(c, same));
  assert_false(wg_config_same_databases(c, turned));
  assert_false(wg_config_same_databases(c, other));
  assert_int_equal(other->databases[0].target_attrs, WG_DB_TARGET_ANY);
  wg_config_free(c);
  wg_config_free(same);
  wg_config_free(turned);
  wg_config_free(other);
  c = parse_ok(DB "addresses = ['a:1', 'b:1']\nload_balance = true\n");
  same = parse_ok(DB "addresses = ['a:1', 'b:1']\n");
  assert_true(c->databases[0].load_balance && !same->databases[0].load_balance);
  assert_false(wg_config_same_databases(c, same));
  wg_config_free(same);
  wg_config_free(c);
  c = parse_ok(DB "addresses = 'one.example.com:5432'\n");
  assert_int_equal(c->databases[0].host_count, 1);
  wg_config_free(c);
}

static void us_111_bad_addresses(void **state) {
  (void)state;
  static const char *const bad[] = {"a",       "a:",       ":5432",        "a:0",      "a:70000",
                                    "fd00::1", "a b:5432", "/run/pg:5432", "[::1:5432"};
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    char text[200], message[200];
    snprintf(text, sizeof text, DB "addresses = ['ok:1', '%s']\n", bad[i]);
    snprintf(message, sizeof message, "w.toml:3:13: 'addresses': '%s' is not a host and a port",
             bad[i]);
    parse_fails(text, message, "HOST:PORT");
  }
  parse_fails(DB "addresses = []\n", "w.toml:3:13: 'addresses' needs 1 to 16 addresses, has 0",
              NULL);
  parse_fails(DB
              "addresses = ['a:1', 'a:1', 'a:1', 'a:1', 'a:1', 'a:1', 'a:1', 'a:1', 'a:1', 'a:1', "
              "'a:1', 'a:1', 'a:1', 'a:1', 'a:1', 'a:1', 'a:1']\n",
              "w.toml:3:13: 'addresses' needs 1 to 16 addresses, has 17", NULL);
  parse_fails(DB "address = 'a'\naddresses = ['a:1']\n",
              "w.toml:4:13: 'addresses' and 'address' or 'address_port' contradict each other",
              "HOST:PORT");
  parse_fails(DB "load_balance = true\n", "w.toml:3:16: 'load_balance' needs 'addresses'", NULL);
  parse_fails("[databases.d]\nuser = 'u'\nauth = 'relay'\ntarget_session_attrs = 'primary'\n",
              "w.toml:4:24: 'target_session_attrs' needs the host's own log-in, which auth = "
              "\"relay\" has not",
              "auth = \"service\"");
  parse_fails("[databases.d]\nprotocol = 'redis'\ntarget_session_attrs = 'primary'\n",
              "w.toml:3:24: 'target_session_attrs' is for databases of protocol \"postgres\"",
              NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_111_addresses),
      cmocka_unit_test(us_111_bad_addresses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
