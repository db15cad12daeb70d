/* SPDX-License-Identifier: Apache-2.0 */
/* A reload whose name servers cannot be asked: the worker takes the names all the same. */
#include "dns/dns_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static char name[] = "svc.example", domain[] = "warp.local", server[] = "127.0.0.1:1",
            no_server[] = "nowhere";
static uint64_t fixed_now(void *user) { return (void)user, 1000; }

/** Takes a table in which svc.example has one address. */
static wg_code adopt(wg_dns *d, char *const *servers, const char *address, wg_names **out,
                     wg_error *err) {
  char *addresses[] = {(char *)(uintptr_t)address, NULL};
  wg_registry_entry entry = {name, addresses, 1};
  const wg_config config = {.registry = &entry,
                            .registry_count = 1,
                            .dns_domain = domain,
                            .dns_ttl_s = 30,
                            .dns_cache_size = 4,
                            .dns_timeout_ms = 300,
                            .dns_servers = (char **)(uintptr_t)servers};
  assert_int_equal(wg_names_new(&config, NULL, out, err), WG_OK);
  return d ? wg_dns_adopt(d, *out, err) : WG_OK;
}

static char found[46];
static void on_done(wg_dns_req *req, const wg_error *err) {
  assert_null(err);
  assert_int_equal(req->count, 1);
  wg_dns_addr_text(&req->addresses[0], found);
}

/** As the host sees it: without the cache. */
static const char *resolve(wg_dns *d) {
  wg_dns_req req;
  found[0] = '\0';
  wg_dns_resolve(d, name, sizeof name - 1, &req, on_done, NULL);
  return found;
}

static void names_are_taken_though_servers_are_not(void **state) {
  (void)state;
  char *const good[] = {server, NULL}, *const bad[] = {no_server, NULL};
  uv_loop_t uv;
  assert_int_equal(uv_loop_init(&uv), 0);
  const wg_loop loop = {.uv = &uv, .clock = {fixed_now, NULL}};
  wg_names *names;
  wg_dns *d;
  wg_error err;
  adopt(NULL, good, "10.0.0.1", &names, &err);
  assert_int_equal(wg_dns_new(names, &loop, NULL, &d, &err), WG_OK);
  wg_names_unref(names);
  wg__ares *first = d->ares;
  assert_string_equal(resolve(d), "10.0.0.1");

  assert_int_equal(adopt(d, bad, "10.0.0.2", &names, &err), WG_INVALID);
  assert_non_null(strstr(err.msg, "'nowhere' is not the address of a name server"));
  assert_string_equal(resolve(d), "10.0.0.2");
  assert_ptr_equal(d->ares, first);
  assert_int_equal(wg_dns_adopt(d, names, &err), WG_OK); /* said once */
  wg_names_unref(names);

  /* The servers are the table's now, but still not those that are asked. */
  assert_int_equal(adopt(d, bad, "10.0.0.3", &names, &err), WG_INVALID);
  assert_string_equal(resolve(d), "10.0.0.3");
  wg_names_unref(names);

  assert_int_equal(adopt(d, good, "10.0.0.4", &names, &err), WG_OK);
  assert_string_equal(resolve(d), "10.0.0.4");
  assert_ptr_not_equal(d->ares, first);
  wg_names_unref(names);

  wg_dns_free(d);
  uv_run(&uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&uv), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_are_taken_though_servers_are_not),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
