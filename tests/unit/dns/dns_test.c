/* SPDX-License-Identifier: Apache-2.0 */
/* US-106: registry first, then the host's resolver; the first link that answers ends the search. */
#include "dns/dns.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <cmocka.h>

typedef struct fixture {
  uv_loop_t uv;
  wg_config config;
  wg_registry_entry registry[3];
  wg_dns *dns;
  /* what the last callback brought */
  unsigned calls;
  wg_code code;
  char first[INET6_ADDRSTRLEN], all[512], hint[512];
  size_t count;
} fixture;

static char *svc_addresses[] = {"10.1.0.1", "10.1.0.2", "10.1.0.3"};
static char *six_addresses[] = {"fd00::1"};
static char *local_addresses[] = {"10.9.9.9"};

static char domain[] = "warp.local";

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  assert_int_equal(uv_loop_init(&f->uv), 0);
  f->registry[0] = (wg_registry_entry){"svc.warp.local", svc_addresses, 3};
  f->registry[1] = (wg_registry_entry){"six.example", six_addresses, 1};
  f->registry[2] = (wg_registry_entry){"localhost", local_addresses, 1};
  f->config.registry = f->registry;
  f->config.registry_count = 2;
  f->config.dns_domain = domain;
  wg_loop loop = {.uv = &f->uv, .clock = wg_clock_monotonic, .worker = 1};
  wg_error err;
  assert_int_equal(wg_dns_new(&f->config, &loop, &f->dns, &err), WG_OK);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  wg_dns_free(f->dns);
  uv_run(&f->uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&f->uv), 0);
  free(f);
  return 0;
}

static void on_done(wg_dns_req *req, const wg_error *err) {
  fixture *f = req->user;
  f->calls++;
  f->code = err ? err->code : WG_OK;
  f->count = req->count;
  f->all[0] = f->hint[0] = '\0';
  if (err) memcpy(f->hint, err->hint, sizeof f->hint);
  for (size_t i = 0; i < req->count; i++) {
    char text[INET6_ADDRSTRLEN];
    const struct sockaddr_storage *a = &req->addresses[i];
    const void *raw = a->ss_family == AF_INET
                          ? (const void *)&((const struct sockaddr_in *)a)->sin_addr
                          : (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr;
    assert_int_equal(((const struct sockaddr_in *)a)->sin_port, 0);
    inet_ntop(a->ss_family, raw, text, sizeof text);
    if (i) strncat(f->all, " ", sizeof f->all - strlen(f->all) - 1);
    strncat(f->all, text, sizeof f->all - strlen(f->all) - 1);
  }
}

static void resolve_n(fixture *f, const char *name, size_t len, wg_dns_req *req) {
  f->calls = 0;
  wg_dns_resolve(f->dns, name, len, req, on_done, f);
}
/** Resolves without running the loop: the answer must be there at once. */
static void resolve_now(fixture *f, const char *name) {
  wg_dns_req req;
  resolve_n(f, name, strlen(name), &req);
  assert_int_equal(f->calls, 1);
}

static void literals(void **state) {
  fixture *f = *state;
  resolve_now(f, "192.0.2.7");
  assert_int_equal(f->code, WG_OK);
  assert_string_equal(f->all, "192.0.2.7");
  resolve_now(f, "2001:db8::1");
  assert_string_equal(f->all, "2001:db8::1");
}

static void registry_answers_and_rotates(void **state) {
  fixture *f = *state;
  resolve_now(f, "svc.warp.local");
  assert_string_equal(f->all, "10.1.0.1 10.1.0.2 10.1.0.3");
  resolve_now(f, "svc.warp.local");
  assert_string_equal(f->all, "10.1.0.2 10.1.0.3 10.1.0.1");
  resolve_now(f, "six.example");
  assert_string_equal(f->all, "fd00::1");
  resolve_now(f, "SVC.Warp.Local."); /* case and the root's dot do not matter */
  assert_string_equal(f->all, "10.1.0.3 10.1.0.1 10.1.0.2");
  resolve_now(f, "svc.warp.local");
  assert_string_equal(f->all, "10.1.0.1 10.1.0.2 10.1.0.3");
}

static void own_domain_never_leaves_the_host(void **state) {
  fixture *f = *state;
  resolve_now(f, "nobody.warp.local"); /* at once: nobody was asked */
  assert_int_equal(f->code, WG_NOT_FOUND);
  assert_non_null(strstr(f->hint, "\"nobody.warp.local\" = "));
  resolve_now(f, "warp.local");
  assert_int_equal(f->code, WG_NOT_FOUND);
}

static void invalid_names_are_refused(void **state) {
  fixture *f = *state;
  char label64[80], long_name[300];
  memset(label64, 'a', 64);
  strcpy(label64 + 64, ".example");
  memset(long_name, 'a', sizeof long_name);
  for (size_t i = 50; i < sizeof long_name; i += 50) long_name[i] = '.';
  long_name[299] = '\0';
  const char *bad[] = {"",           ".",       "..",         "a..b",      ".a",
                       "a b",        "a/b",     "h\xC3\xA9",  "a\nb",      "127.1",
                       "2130706433", "0x7f.1",  "0x7f000001", "1.2.3.4.5", "fe80::1%lo",
                       "[::1]",      "host:80", label64,      long_name};
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    resolve_now(f, bad[i]);
    if (f->code != WG_INVALID) print_message("accepted: '%s'\n", bad[i]);
    assert_int_equal(f->code, WG_INVALID);
  }
  wg_dns_req req;
  resolve_n(f, "a\0b", 3, &req);
  assert_int_equal(f->code, WG_INVALID);
  resolve_n(f, "10.0.0.1\0", 9, &req);
  assert_int_equal(f->code, WG_INVALID);
}

static void host_resolver_knows_localhost(void **state) {
  fixture *f = *state;
  wg_dns_req req;
  resolve_n(f, "localhost", 9, &req);
  assert_int_equal(f->calls, 0); /* never inside our function */
  uv_run(&f->uv, UV_RUN_DEFAULT);
  assert_int_equal(f->calls, 1);
  assert_int_equal(f->code, WG_OK);
  assert_true(strstr(f->all, "127.0.0.1") || strstr(f->all, "::1"));
}

static void registry_comes_before_the_host(void **state) {
  fixture *f = *state;
  f->config.registry_count = 3;
  wg_dns *dns;
  wg_loop loop = {.uv = &f->uv, .clock = wg_clock_monotonic};
  assert_int_equal(wg_dns_new(&f->config, &loop, &dns, NULL), WG_OK);
  wg_dns_req req;
  f->calls = 0;
  wg_dns_resolve(dns, "localhost", 9, &req, on_done, f);
  assert_int_equal(f->calls, 1);
  assert_string_equal(f->all, "10.9.9.9");
  wg_dns_free(dns);
}

static void cancel_means_no_callback(void **state) {
  fixture *f = *state;
  wg_dns_req reqs[20];
  f->calls = 0;
  for (size_t i = 0; i < WG_COUNT(reqs); i++)
    wg_dns_resolve(f->dns, "localhost", 9, &reqs[i], on_done, f);
  for (size_t i = 0; i < WG_COUNT(reqs); i++) wg_dns_cancel(f->dns, &reqs[i]);
  memset(reqs, 0xEE, sizeof reqs); /* ours again: nobody looks at it */
  /* The wg_dns may go while canceled lookups still run in the thread pool. */
  wg_dns_free(f->dns);
  f->dns = NULL;
  uv_run(&f->uv, UV_RUN_DEFAULT);
  assert_int_equal(f->calls, 0);
}

static void cancel_after_the_answer_is_harmless(void **state) {
  fixture *f = *state;
  wg_dns_req req;
  resolve_n(f, "localhost", 9, &req);
  uv_run(&f->uv, UV_RUN_DEFAULT);
  wg_dns_cancel(f->dns, &req);
  resolve_n(f, "10.0.0.1", 8, &req);
  wg_dns_cancel(f->dns, &req);
  assert_int_equal(f->calls, 1);
}

static void pending_lookups_are_bounded(void **state) {
  fixture *f = *state;
  enum { N = 1025 };
  wg_dns_req *reqs = calloc(N, sizeof *reqs);
  f->calls = 0;
  for (size_t i = 0; i < N; i++) wg_dns_resolve(f->dns, "localhost", 9, &reqs[i], on_done, f);
  assert_int_equal(f->calls, 1);
  assert_int_equal(f->code, WG_EXHAUSTED);
  for (size_t i = 0; i < N; i++) wg_dns_cancel(f->dns, &reqs[i]);
  free(reqs);
}

static void bad_registry_address_is_an_error(void **state) {
  fixture *f = *state;
  char *addresses[] = {"10.0.0.1", "not-an-address"};
  wg_registry_entry entry = {"x", addresses, 2};
  wg_config config = {.registry = &entry, .registry_count = 1};
  wg_loop loop = {.uv = &f->uv};
  wg_dns *dns = NULL;
  wg_error err;
  assert_int_equal(wg_dns_new(&config, &loop, &dns, &err), WG_INVALID);
  assert_non_null(strstr(err.msg, "'not-an-address'"));
}

static char log_text[4096];
static void on_line(void *user, const char *line, size_t len) {
  (void)user;
  size_t have = strlen(log_text);
  if (have + len + 2 > sizeof log_text) return;
  memcpy(log_text + have, line, len);
  strcpy(log_text + have + len, "\n");
}

static void each_step_is_logged_at_debug(void **state) {
  fixture *f = *state;
  wg_log_setup(WG_LOG_DEBUG, WG_LOG_LOGFMT, 2);
  wg__log_sink(on_line, NULL);
  wg_dns_req req;
  resolve_now(f, "svc.warp.local");
  resolve_now(f, "x.warp.local");
  resolve_n(f, "localhost", 9, &req);
  uv_run(&f->uv, UV_RUN_DEFAULT);
  wg__log_sink(NULL, NULL);
  wg_log_setup(WG_LOG_INFO, WG_LOG_LOGFMT, 2);
  assert_non_null(strstr(log_text, "level=debug event=dns_resolved worker=1 name=svc.warp.local "
                                   "link=registry addresses=3"));
  assert_non_null(strstr(log_text, "event=dns_failed worker=1 name=x.warp.local link=domain"));
  assert_non_null(strstr(log_text, "name=localhost link=host"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(literals),
      TEST(registry_answers_and_rotates),
      TEST(own_domain_never_leaves_the_host),
      TEST(invalid_names_are_refused),
      TEST(host_resolver_knows_localhost),
      TEST(registry_comes_before_the_host),
      TEST(cancel_means_no_callback),
      TEST(cancel_after_the_answer_is_harmless),
      TEST(pending_lookups_are_bounded),
      TEST(bad_registry_address_is_an_error),
      TEST(each_step_is_logged_at_debug),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
