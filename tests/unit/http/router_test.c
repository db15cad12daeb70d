/* SPDX-License-Identifier: Apache-2.0 */
/* Which service gets a request. */
#include "http/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char api[] = "api", v2[] = "v2", any[] = "any", below[] = "below", deep[] = "deep",
            six[] = "six";

static wg_router *make(const wg_route *routes, size_t count) {
  wg_router *r;
  assert_int_equal(wg_router_new(routes, count, &r, NULL), WG_OK);
  return r;
}

static const char *find(const wg_router *r, const char *host, const char *path) {
  const char *found = wg_router_find(r, host, strlen(host), path, strlen(path));
  return found ? found : "none";
}

static wg_router *example(void) {
  static const wg_route routes[] = {
      {NULL, "/", any},
      {"*.example.com", "/", below},
      {"*.deep.example.com", "/", deep},
      {"api.example.com", "/v1/", api},
      {"api.example.com", "/v1/new", v2},
      {"[::1]", NULL, six},
  };
  return make(routes, WG_COUNT(routes));
}

static void exact_hosts_win_over_patterns(void **state) {
  (void)state;
  wg_router *r = example();
  assert_string_equal(find(r, "api.example.com", "/v1/users"), "api");
  assert_string_equal(find(r, "www.example.com", "/v1/users"), "below");
  assert_string_equal(find(r, "a.deep.example.com", "/"), "deep");
  assert_string_equal(find(r, "deep.example.com", "/"), "below");
  assert_string_equal(find(r, "example.com", "/"), "any"); /* not below itself */
  assert_string_equal(find(r, "notexample.com", "/"), "any");
  assert_string_equal(find(r, "", "/"), "any");
  wg_router_free(r);
}

static void the_longest_path_wins_at_a_slash(void **state) {
  (void)state;
  wg_router *r = example();
  assert_string_equal(find(r, "api.example.com", "/v1"), "api");
  assert_string_equal(find(r, "api.example.com", "/v1/"), "api");
  assert_string_equal(find(r, "api.example.com", "/v1/new"), "v2");
  assert_string_equal(find(r, "api.example.com", "/v1/new/1"), "v2");
  assert_string_equal(find(r, "api.example.com", "/v1/newer"), "api");
  assert_string_equal(find(r, "api.example.com", "/v10"), "below"); /* a less exact host has it */
  assert_string_equal(find(r, "api.example.com", "/V1"), "below");  /* paths have case */
  wg_router_free(r);
}

static void hosts_come_with_ports_dots_and_any_case(void **state) {
  (void)state;
  wg_router *r = example();
  assert_string_equal(find(r, "API.Example.COM:8080", "/v1"), "api");
  assert_string_equal(find(r, "api.example.com.", "/v1"), "api");
  assert_string_equal(find(r, "api.example.com.:80", "/v1"), "api");
  assert_string_equal(find(r, "api.example.com:", "/v1"), "api");
  assert_string_equal(find(r, "[::1]:8080", "/"), "six");
  assert_string_equal(find(r, "[::1]", "/"), "six");
  assert_string_equal(find(r, "::1", "/"), "any");
  assert_string_equal(find(r, ":", "/"), "any");
  wg_router_free(r);
}

static void without_a_fitting_route_there_is_none(void **state) {
  (void)state;
  const wg_route one = {"api.example.com", "/v1", api};
  wg_router *r = make(&one, 1);
  assert_string_equal(find(r, "api.example.com", "/"), "none");
  assert_string_equal(find(r, "other", "/v1"), "none");
  assert_string_equal(find(r, "api.example.com", ""), "none");
  wg_router_free(r);
  r = make(NULL, 0);
  assert_string_equal(find(r, "x", "/"), "none");
  wg_router_free(r);
}

static bool loopback(const char *host) { return wg_host_is_loopback(host, strlen(host)); }

static void hosts_that_are_this_machine(void **state) {
  (void)state;
  static const char *const yes[] = {"localhost",   "LocalHost:80", "127.0.0.1", "127.0.0.1:9000",
                                    "127.9.8.7:1", "[::1]",        "[::1]:80",  "localhost."};
  static const char *const no[] = {"",
                                   ":80",
                                   "example.com",
                                   "localhost.example.com",
                                   "127.0.0.1.example.com",
                                   "128.0.0.1",
                                   "127.1",
                                   "::1",
                                   "[::2]",
                                   "0.0.0.0",
                                   "127.0.0.1a",
                                   "notlocalhost",
                                   "127.0.0.1:80:80",
                                   "2130706433"};
  for (size_t i = 0; i < WG_COUNT(yes); i++)
    if (!loopback(yes[i])) fail_msg("%s", yes[i]);
  for (size_t i = 0; i < WG_COUNT(no); i++)
    if (loopback(no[i])) fail_msg("%s", no[i]);
  assert_false(wg_host_is_loopback("127.0.0.1\0x", 11));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exact_hosts_win_over_patterns),
      cmocka_unit_test(the_longest_path_wins_at_a_slash),
      cmocka_unit_test(hosts_come_with_ports_dots_and_any_case),
      cmocka_unit_test(without_a_fitting_route_there_is_none),
      cmocka_unit_test(hosts_that_are_this_machine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
