/* SPDX-License-Identifier: Apache-2.0 */
/* [services.NAME], [admin], and what a reload compares. */
#include "config/config.h"

#include "config/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void services_have_defaults(void **state) {
  (void)state;
  wg_config *c = parse_ok("[services.api]\nhost = 'API.Example.com'\npath = '/v1/'\n"
                          "[services.web]\ncomponent = 'w.wasm'\n"
                          "[services.web.env]\nA = 'b'\n");
  assert_int_equal(c->service_count, 2);
  assert_string_equal(c->services[0].component, "dist/api.wasm");
  assert_string_equal(c->services[0].hosts[0], "api.example.com");
  assert_string_equal(c->services[0].paths[0], "/v1");
  assert_null(c->services[0].env);
  assert_string_equal(c->services[1].component, "w.wasm");
  assert_null(c->services[1].hosts);
  assert_string_equal(c->services[1].env[0], "A=b");
  assert_int_equal(c->services[1].line, 4);
  wg_config_free(c);
}

static void slips_in_services_are_errors(void **state) {
  (void)state;
  parse_fails("services = 1\n", "w.toml:1:12: 'services' must be a table, got an integer", NULL);
  parse_fails("[services]\na = 1\n", "w.toml:2:5: 'a' must be a table, got an integer", NULL);
  parse_fails("[services.a]\npath = 'x'\n", "w.toml:2:8: 'x' is not the beginning of a path",
              "write /api");
  parse_fails("[services.a]\nhost = 'a/b'\n", "w.toml:2:8: 'a/b' is not a host", "*.example.com");
  parse_fails("[services.a]\nhost = '*.'\n", "w.toml:2:8: '*.' is not a host", NULL);
  parse_fails("[services.a]\nhost = 'a.b:80'\n", "w.toml:2:8: 'a.b:80' is not a host",
              "without port");
  parse_fails("[services.a]\nhost = '::1'\n", "w.toml:2:8: '::1' is not a host", NULL);
  parse_fails("[services.a]\nhost = 'a.b.'\n", "w.toml:2:8: 'a.b.' is not a host", NULL);
  wg_config_free(parse_ok("[services.a]\nhost = ['[::1]', '127.0.0.1']\n"));
  parse_fails("[services.a]\nhost = []\n",
              "w.toml:2:8: 'host' must not be empty; leave it out for all", NULL);
  parse_fails("[services.a]\npath = []\n",
              "w.toml:2:8: 'path' must not be empty; leave it out for all", NULL);
  parse_fails(
      "[services.a]\n[services.b]\npath = '/'\n",
      "w.toml:2:11: service 'b' gets the same requests as 'a' in line 1: host '*', path '/'",
      "by 'host' or by 'path'");
  parse_fails("[services.a]\n[services.a.env]\n'x=' = '1'\n",
              "w.toml:3:1: 'x=' is not a name for a variable", NULL);
}

static void services_that_differ_in_one_of_both_are_fine(void **state) {
  (void)state;
  wg_config_free(parse_ok("[services.a]\nhost = 'x'\n[services.b]\nhost = 'y'\n"
                          "[services.c]\nhost = ['x', 'y']\npath = '/c'\n"));
}

static void admin_is_for_loopback(void **state) {
  (void)state;
  wg_config *c =
      parse_ok("[admin]\nlisten = ['127.0.0.1:9', '[::1]:9', 'localhost:9', '127.9.9.9:1']");
  assert_string_equal(c->admin_listen[0], "127.0.0.1:9");
  wg_config_free(c);
  c = parse_ok("");
  assert_null(c->admin_listen);
  wg_config_free(c);
  parse_fails("[admin]\nlisten = '0.0.0.0:9'\n",
              "w.toml:2:10: the admin endpoint cannot listen on '0.0.0.0:9'", "127.0.0.1:9");
  parse_fails("[admin]\nlisten = 'myhost:9'\n",
              "w.toml:2:10: the admin endpoint cannot listen on 'myhost:9'", "loopback only");
}

static void a_reload_keeps_what_needs_a_restart(void **state) {
  (void)state;
  wg_config *old =
      parse_ok("[http]\nlisten = '127.0.0.1:1'\nworkers = 2\n[limits]\nbody = '1MiB'\n");
  wg_config *c = parse_ok("[http]\nlisten = ['127.0.0.1:2', '127.0.0.1:3']\nworkers = 3\n"
                          "[admin]\nlisten = 'localhost:1'\n"
                          "[limits]\nmemory = '1MiB'\nepochs = false\nbody = '2MiB'\n");
  char names[128], few[8];
  wg_error err;
  assert_int_equal(wg_config_keep_fixed(c, old, names, sizeof names, &err), WG_OK);
  assert_string_equal(names,
                      "http.listen, http.workers, admin.listen, limits.memory, limits.epochs");
  assert_string_equal(c->listen[0], "127.0.0.1:1");
  assert_null(c->listen[1]);
  assert_null(c->admin_listen);
  assert_int_equal(c->workers, 2);
  assert_int_equal(c->memory_bytes, old->memory_bytes);
  assert_true(c->epochs);
  assert_int_equal(c->body_bytes, 2 << 20); /* live */
  assert_int_equal(wg_config_keep_fixed(c, old, names, sizeof names, &err), WG_OK);
  assert_string_equal(names, "");
  wg_config_free(c);
  c = parse_ok("[limits]\nmemory = '1MiB'\n");
  assert_int_equal(wg_config_keep_fixed(c, old, few, sizeof few, &err), WG_OK);
  assert_int_equal(strlen(few), sizeof few - 1); /* cut, not overrun */
  wg_config_free(c);
  wg_config_free(old);
}

#define DATABASE "[databases.a]\nuser = 'u'\n"
static void databases_are_compared_with_all_they_have(void **state) {
  (void)state;
  static const char *const others[] = {
      "",
      DATABASE "password = 'q'\n",
      DATABASE "password = 'p'\npool_size = 3\n",
      DATABASE "password = 'p'\nport = 1\n",
      DATABASE "password = 'p'\nhost = 'h'\n",
      DATABASE "password = 'p'\naddress = 'h'\n",
      DATABASE "password = 'p'\ndatabase = 'd'\n",
      DATABASE "password = 'p'\nprotocol = 'mysql'\n",
      DATABASE "password = 'p'\nreset = 'close'\n",
      "[shims.database_proxy]\npool_size = 3\n" DATABASE "password = 'p'\npool_size = 10\n",
      DATABASE "password = 'p'\n[databases.b]\nuser = 'u'\n",
      "[databases.a]\nuser = 'v'\npassword = 'p'\n",
      DATABASE "password = 'p'\n[registry]\na = '10.0.0.1'\n", /* where 'a' is */
      DATABASE "password = 'p'\n[shims.dns]\ndomain = 'other'\n",
  };
  wg_config *a = parse_ok(DATABASE "password = 'p'\n");
  wg_config *same = parse_ok("name = 'other'\n" DATABASE
                             "password = 'p'\nport = 5432\n[registry]\nb = '10.0.0.1'\n");
  assert_true(wg_config_same_databases(a, same));
  wg_config_free(same);
  for (size_t i = 0; i < WG_COUNT(others); i++) {
    wg_config *b = parse_ok(others[i]);
    if (wg_config_same_databases(a, b)) fail_msg("case %zu", i);
    wg_config_free(b);
  }
  wg_config_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(services_have_defaults),
      cmocka_unit_test(slips_in_services_are_errors),
      cmocka_unit_test(services_that_differ_in_one_of_both_are_fine),
      cmocka_unit_test(admin_is_for_loopback),
      cmocka_unit_test(a_reload_keeps_what_needs_a_restart),
      cmocka_unit_test(databases_are_compared_with_all_they_have),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
