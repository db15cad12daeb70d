/* SPDX-License-Identifier: Apache-2.0 */
/* Out of memory anywhere is an error of that call: no crash, and (under ASan) no leak; an answer of the
 * cache asks for none. The sources are compiled into this file with an allocator that fails its Nth
 * call. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long calls_left = -1; /* allocations until one fails; -1: none fails */
static unsigned long calls;
static int oom(void) { return calls++, calls_left >= 0 && calls_left-- == 0; }
static void *oom_malloc(size_t n) { return oom() ? NULL : malloc(n); }
static void *oom_calloc(size_t n, size_t size) { return oom() ? NULL : calloc(n, size); }
static void *oom_realloc(void *p, size_t n) { return oom() ? NULL : realloc(p, n); }
static char *oom_strdup(const char *s) { return oom() ? NULL : strdup(s); }
#define malloc oom_malloc
#define calloc oom_calloc
#define realloc oom_realloc
#undef strdup
#define strdup oom_strdup
#include "../../../src/base/buf.c"
#include "../../../src/dns/ares.c"
#include "../../../src/dns/cache.c"
#include "../../../src/dns/dns.c"
#include "../../../src/dns/hosts.c"
#include "../../../src/dns/lookup.c"
#include "../../../src/dns/names.c"
#include "../../../src/dns/registry_json.c"
#include "../../../src/dns/sentinel.c"
#undef malloc

#include <setjmp.h>

#include <cmocka.h>

static uint64_t fixed_now(void *user) { return (void)user, 1000; }

static unsigned answers;
static wg_code answer_code;
static void on_done(wg_dns_req *req, const wg_error *err) {
  (void)req;
  answers++;
  answer_code = err ? err->code : WG_OK;
}

static void check_code(wg_code code) { assert_true(code == WG_OK || code == WG_NOMEM); }

static wg_code ask(wg_dns *d, wg_dns_what what, const char *name) {
  wg_dns_req req;
  const wg_dns_question q = {
      .what = what, .name = name, .len = strlen(name), .rrtype = WG_DNS_RR_TXT};
  answers = 0;
  wg_dns_ask(d, &q, &req, on_done, NULL);
  if (answers == 0) { /* the host was asked */
    wg_dns_cancel(d, &req);
    return WG_OK;
  }
  assert_int_equal(answers, 1);
  check_code(answer_code);
  return answer_code;
}

/** Everything once. @return WG_OK when no allocation failed */
static wg_code all(uv_loop_t *uv) {
  static const char json[] = "{\"services\": {\"a.example\": [\"10.0.0.1\"]}}";
  static char *servers[] = {"127.0.0.1:1", NULL}, *addresses[] = {"10.0.0.2", NULL};
  static wg_registry_entry entry = {"b.example", addresses, 1};
  static wg_database_config database = {.name = "d", .host = "db.example", .port = 1};
  const wg_config config = {.registry = &entry,
                            .registry_count = 1,
                            .shims = WG_SHIM_ALL,
                            .databases = &database,
                            .database_count = 1,
                            .dns_domain = "warp.local",
                            .dns_ttl_s = 30,
                            .dns_cache_size = 8,
                            .dns_servers = servers,
                            .dns_timeout_ms = 1000};
  const wg_loop loop = {.uv = uv, .clock = {fixed_now, NULL}};
  wg_registry_answer *more = NULL;
  wg_names *names = NULL;
  wg_dns *d = NULL;
  wg_error err;
  wg_code code = wg_registry_parse(json, sizeof json - 1, &more, &err);
  if (code == WG_OK) code = wg_names_new(&config, more, &names, &err);
  wg_registry_answer_free(more);
  if (code == WG_OK) code = wg_dns_new(names, &loop, NULL, &d, &err);
  if (code == WG_OK) code = ask(d, WG_DNS_ADDRESSES, "a.example");
  if (code == WG_OK) code = ask(d, WG_DNS_ADDRESSES, "elsewhere.example");
  if (code == WG_OK) code = ask(d, WG_DNS_RECORDS, "elsewhere.example");
  if (code == WG_OK) code = ask(d, WG_DNS_RECORDS, "b.example");
  wg_dns_free(d);
  wg_names_unref(names);
  uv_run(uv, UV_RUN_DEFAULT);
  return code;
}

static void each_allocation_may_fail(void **state) {
  (void)state;
  uv_loop_t uv;
  assert_int_equal(uv_loop_init(&uv), 0);
  calls = 0;
  assert_int_equal(all(&uv), WG_OK);
  unsigned long total = calls;
  assert_in_range(total, 10, 10000);
  for (unsigned long i = 0; i < total; i++) {
    calls_left = (long)i;
    check_code(all(&uv));
    calls_left = -1;
  }
  assert_int_equal(uv_loop_close(&uv), 0);
}

static void us_107_a_hit_asks_for_no_memory(void **state) {
  (void)state;
  static char *addresses[] = {"10.0.0.2", "fd00::2", NULL};
  static wg_registry_entry entry = {"b.example", addresses, 2};
  const wg_config config = {.registry = &entry,
                            .registry_count = 1,
                            .dns_domain = "warp.local",
                            .dns_ttl_s = 30,
                            .dns_cache_size = 8};
  uv_loop_t uv;
  assert_int_equal(uv_loop_init(&uv), 0);
  const wg_loop loop = {.uv = &uv, .clock = {fixed_now, NULL}};
  wg_names *names;
  wg_dns *d;
  assert_int_equal(wg_names_new(&config, NULL, &names, NULL), WG_OK);
  assert_int_equal(wg_dns_new(names, &loop, NULL, &d, NULL), WG_OK);
  assert_int_equal(ask(d, WG_DNS_ADDRESSES, "b.example"), WG_OK);
  calls = 0;
  for (int i = 0; i < 100; i++) assert_int_equal(ask(d, WG_DNS_ADDRESSES, "b.example"), WG_OK);
  assert_int_equal(ask(d, WG_DNS_ADDRESSES, "10.0.0.9"), WG_OK); /* nor does a literal */
  assert_int_equal(calls, 0);
  wg_dns_free(d);
  wg_names_unref(names);
  uv_run(&uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&uv), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_allocation_may_fail),
      cmocka_unit_test(us_107_a_hit_asks_for_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
