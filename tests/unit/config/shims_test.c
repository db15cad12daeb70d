/* SPDX-License-Identifier: Apache-2.0 */
/* US-120: [shims] of warp.toml, and the part of US-122 that is parsing. */
#include "config/config.h"

#include "config/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void us_120_all_shims_are_on_without_a_section(void **state) {
  (void)state;
  wg_config *c = parse_ok("name = 'x'\n");
  assert_int_equal(c->shims, WG_SHIM_ALL);
  assert_int_equal(c->shims_line, 0);
  for (size_t i = 0; i < 5; i++) assert_int_equal(c->shim_line[i], 0);
  wg_config_free(c);
  c = parse_ok("[shims]\n");
  assert_int_equal(c->shims, WG_SHIM_ALL);
  assert_int_equal(c->shims_line, 1);
  wg_config_free(c);
}

static void us_122_true_and_false(void **state) {
  (void)state;
  wg_config *c = parse_ok("[shims]\nfilesystem = true\ndns = false\n");
  assert_int_equal(c->shims, WG_SHIM_ALL & ~WG_SHIM_DNS);
  assert_int_equal(c->shim_line[0], 2);
  assert_int_equal(c->shim_line[1], 3);
  assert_int_equal(c->shim_line[2], 0);
  wg_config_free(c);
  c = parse_ok("[shims]\nfilesystem = false\ndns = false\nsignals = false\n"
               "database_proxy = false\nthreading = false\n");
  assert_int_equal(c->shims, 0);
  wg_config_free(c);
}

static void us_120_sub_tables(void **state) {
  (void)state;
  wg_config *c =
      parse_ok("[shims.dns]\nttl_seconds = 60\ncache_size = 16\ndomain = 'svc.test'\n"
               "[shims.database_proxy]\npool_size = 5\nconnect_timeout = '250ms'\n"
               "[shims.filesystem]\nextra_virtual_paths = { '/etc/app.conf' = 'app.conf' }\n"
               "[shims.signals]\nqueue = 4\n[shims.threading]\n");
  assert_string_equal(parse_warnings, "");
  assert_int_equal(c->shims, WG_SHIM_ALL);
  assert_int_equal(c->dns_ttl_s, 60);
  assert_int_equal(c->dns_cache_size, 16);
  assert_string_equal(c->dns_domain, "svc.test");
  assert_int_equal(c->pool.pool_size, 5);
  assert_int_equal(c->pool.connect_timeout_ms, 250);
  assert_int_equal(c->virtual_path_count, 1);
  assert_string_equal(c->virtual_paths[0].guest, "/etc/app.conf");
  assert_string_equal(c->virtual_paths[0].host, "app.conf");
  assert_int_equal(c->signals_queue, 4);
  wg_config_free(c);
  c = parse_ok("[shims]\ndns = { ttl = '5m' }\n");
  assert_int_equal(c->dns_ttl_s, 300);
  wg_config_free(c);
}

static void us_120_a_table_can_be_off(void **state) {
  (void)state;
  wg_config *c = parse_ok("[shims.dns]\nttl_seconds = 60\nenabled = false\n"
                          "[shims.signals]\nenabled = true\n");
  assert_string_equal(parse_warnings, "");
  assert_int_equal(c->shims, WG_SHIM_ALL & ~WG_SHIM_DNS);
  assert_int_equal(c->shim_line[1], 3); /* the line that would turn it on */
  wg_config_free(c);
}

static void us_120_unknown_shims_warn(void **state) {
  (void)state;
  wg_config *c =
      parse_ok("[shims]\nfilesytem = false\nmetrics = { a = 1 }\ndatabase-proxy = false\n"
               "[shims.dns]\nttl_secs = 3\n");
  assert_int_equal(c->shims, WG_SHIM_ALL);
  assert_string_equal(parse_warnings,
                      "w.toml:2:1: unknown shim 'filesytem'; did you mean 'filesystem'?\n"
                      "w.toml:3:1: unknown shim 'metrics'\n"
                      "w.toml:4:1: unknown shim 'database-proxy'; did you mean 'database_proxy'?\n"
                      "w.toml:6:1: unknown key 'ttl_secs'; did you mean 'ttl'?\n");
  wg_config_free(c);
}

static void us_120_wrong_types(void **state) {
  (void)state;
  parse_fails("shims = 1", "w.toml:1:9: 'shims' must be a table, got an integer", NULL);
  parse_fails("[shims]\ndns = 'yes'",
              "w.toml:2:7: 'dns' must be true, false or a table, got a string", NULL);
  parse_fails("[shims.dns]\nenabled = 'no'",
              "w.toml:2:11: 'enabled' must be true or false, got a string", NULL);
  parse_fails("[shims.dns]\nttl_seconds = '60'",
              "w.toml:2:15: 'ttl_seconds' must be an integer, got a string", NULL);
  parse_fails("[shims.database_proxy]\npool_size = 0",
              "w.toml:2:13: 'pool_size' must be from 1 to 10000, got 0", NULL);
  parse_fails("[shims.filesystem]\nextra_virtual_paths = { 'etc' = 'x' }",
              "w.toml:2:25: the guest path 'etc' must begin with '/'", NULL);
}

static void shims_have_names(void **state) {
  (void)state;
  assert_string_equal(wg_shim_name(WG_SHIM_FILESYSTEM), "filesystem");
  assert_string_equal(wg_shim_name(WG_SHIM_DATABASE_PROXY), "database_proxy");
  assert_string_equal(wg_shim_name(WG_SHIM_THREADING), "threading");
  assert_null(wg_shim_name(WG_SHIM_ALL));
  assert_null(wg_shim_name(0));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_120_all_shims_are_on_without_a_section),
      cmocka_unit_test(us_122_true_and_false),
      cmocka_unit_test(us_120_sub_tables),
      cmocka_unit_test(us_120_a_table_can_be_off),
      cmocka_unit_test(us_120_unknown_shims_warn),
      cmocka_unit_test(us_120_wrong_types),
      cmocka_unit_test(shims_have_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
