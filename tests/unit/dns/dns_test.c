/* SPDX-License-Identifier: Apache-2.0 */
/* US-106: registry, then [hosts], then the host; the first link that answers ends the search.
 * US-107: the cache: TTL, LRU, turns, statistics. Name servers are in server_test.c. */
#include "dns/dns.h"

#include "base/log.h"
#include "dns/dns_internal.h"
#include "dns/sentinel.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

typedef struct fixture {
  uv_loop_t uv;
  uint64_t now_ms; /* of the injected clock */
  wg_config config;
  wg_registry_entry registry[3], hosts[2];
  wg_database_config database;
  wg_dns_metrics metrics;
  wg_dns *dns;
  /* what the last callback brought */
  unsigned calls;
  wg_code code;
  char all[4096], text[4096], error[512], hint[512];
  size_t count;
  uint32_t ttl_s;
} fixture;

static char *svc_addresses[] = {"10.1.0.1", "10.1.0.2", "10.1.0.3"};
static char *new_addresses[] = {"10.2.0.1"};
static char *six_addresses[] = {"fd00::1"};
static char *mixed_addresses[] = {"fd00::2", "10.3.0.1", "fd00::3", "10.3.0.2"};
static char *local_addresses[] = {"10.9.9.9"};
static char *hosts_addresses[] = {"10.4.0.1"};
static char domain[] = "warp.local", svc[] = "svc.warp.local", six[] = "six.example",
            localhost[] = "localhost", mixed[] = "mixed.example", printer[] = "printer.example",
            db_host[] = "db.example", db_name[] = "main";
/* Nobody answers there: names that reach the host fail at once or in time. */
static char *no_servers[] = {"127.0.0.1:1", NULL};

static uint64_t fake_now(void *user) { return ((fixture *)user)->now_ms; }

static void start(fixture *f) {
  wg_loop loop = {.uv = &f->uv, .clock = {fake_now, f}, .worker = 1};
  wg_names *names;
  wg_error err;
  assert_int_equal(wg_names_new(&f->config, NULL, &names, &err), WG_OK);
  assert_int_equal(wg_dns_new(names, &loop, &f->metrics, &f->dns, &err), WG_OK);
  wg_names_unref(names);
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  assert_int_equal(uv_loop_init(&f->uv), 0);
  f->now_ms = 1000000;
  f->registry[0] = (wg_registry_entry){svc, svc_addresses, 3};
  f->registry[1] = (wg_registry_entry){six, six_addresses, 1};
  f->registry[2] = (wg_registry_entry){mixed, mixed_addresses, 4};
  f->hosts[0] = (wg_registry_entry){printer, hosts_addresses, 1};
  f->hosts[1] = (wg_registry_entry){svc, hosts_addresses, 1};
  f->database = (wg_database_config){.name = db_name, .host = db_host, .port = 5432};
  f->config = (wg_config){.registry = f->registry,
                          .registry_count = 3,
                          .hosts = f->hosts,
                          .host_count = 2,
                          .shims = WG_SHIM_ALL,
                          .databases = &f->database,
                          .database_count = 1,
                          .dns_domain = domain,
                          .dns_ttl_s = 30,
                          .dns_cache_size = 4,
                          .dns_negative_ttl_ms = 5000,
                          .dns_timeout_ms = 300,
                          .dns_servers = no_servers};
  start(f);
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

/** Swaps the table for one of the configuration as it is now. */
static void adopt(fixture *f, const wg_registry_answer *more) {
  wg_names *names;
  wg_error err;
  assert_int_equal(wg_names_new(&f->config, more, &names, &err), WG_OK);
  assert_int_equal(wg_dns_adopt(f->dns, names, &err), WG_OK);
  wg_names_unref(names);
}

static void on_done(wg_dns_req *req, const wg_error *err) {
  fixture *f = req->user;
  f->calls++;
  f->code = err ? err->code : WG_OK;
  f->count = req->count;
  f->ttl_s = req->ttl_s;
  f->all[0] = f->hint[0] = f->error[0] = '\0';
  snprintf(f->text, sizeof f->text, "%s", req->text ? req->text : "");
  if (err) memcpy(f->hint, err->hint, sizeof f->hint);
  if (err) snprintf(f->error, sizeof f->error, "%.500s", err->msg);
  for (size_t i = 0; req->addresses && i < req->count; i++) {
    char text[46];
    wg_dns_addr_text(&req->addresses[i], text);
    if (i) strncat(f->all, " ", sizeof f->all - strlen(f->all) - 1);
    strncat(f->all, text, sizeof f->all - strlen(f->all) - 1);
  }
}

static void resolve_n(fixture *f, const char *name, size_t len, wg_dns_req *req) {
  f->calls = 0;
  wg_dns_question q = {.what = WG_DNS_ADDRESSES, .name = name, .len = len};
  wg_dns_ask(f->dns, &q, req, on_done, f);
}
/** Resolves without running the loop: the answer must be there at once. */
static void resolve_now(fixture *f, const char *name) {
  wg_dns_req req;
  resolve_n(f, name, strlen(name), &req);
  assert_int_equal(f->calls, 1);
}
/** As src/db does it. */
static void resolve_for_host(fixture *f, const char *name) {
  wg_dns_req req;
  f->calls = 0;
  wg_dns_resolve(f->dns, name, strlen(name), &req, on_done, f);
  assert_int_equal(f->calls, 1);
}
static void reverse_now(fixture *f, const char *address) {
  wg_dns_req req;
  wg_dns_question q = {.what = WG_DNS_REVERSE};
  assert_true(wg_dns_literal(address, strlen(address), &q.address));
  f->calls = 0;
  wg_dns_ask(f->dns, &q, &req, on_done, f);
  assert_int_equal(f->calls, 1);
}
static void records_now(fixture *f, const char *name, wg_dns_rrtype type) {
  wg_dns_req req;
  wg_dns_question q = {.what = WG_DNS_RECORDS, .name = name, .len = strlen(name), .rrtype = type};
  f->calls = 0;
  wg_dns_ask(f->dns, &q, &req, on_done, f);
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

static void us_106_registry_answers_and_rotates(void **state) {
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

/* Each name has a turn of its own, and each family within it; IPv4 goes first. */
static void us_107_families_keep_together(void **state) {
  fixture *f = *state;
  resolve_now(f, "mixed.example");
  assert_string_equal(f->all, "10.3.0.1 10.3.0.2 fd00::2 fd00::3");
  resolve_now(f, "svc.warp.local");
  resolve_now(f, "mixed.example");
  assert_string_equal(f->all, "10.3.0.2 10.3.0.1 fd00::3 fd00::2");
  resolve_now(f, "svc.warp.local");
  assert_string_equal(f->all, "10.1.0.2 10.1.0.3 10.1.0.1");
}

static void us_106_hosts_come_after_the_registry(void **state) {
  fixture *f = *state;
  resolve_now(f, "printer.example");
  assert_string_equal(f->all, "10.4.0.1");
  resolve_now(f, "svc.warp.local"); /* in both */
  assert_int_equal(f->count, 3);
  assert_int_equal(f->metrics.by_link[WG_DNS_HOSTS], 1);
  assert_int_equal(f->metrics.by_link[WG_DNS_REGISTRY], 1);
}

static void us_106_own_domain_never_leaves_the_host(void **state) {
  fixture *f = *state;
  resolve_now(f, "nobody.warp.local"); /* at once: nobody was asked */
  assert_int_equal(f->code, WG_NOT_FOUND);
  assert_string_equal(f->error, "host 'nobody.warp.local' not found");
  assert_non_null(strstr(f->hint, "\"nobody.warp.local\" = "));
  resolve_now(f, "warp.local");
  assert_int_equal(f->code, WG_NOT_FOUND);
  records_now(f, "nobody.warp.local", WG_DNS_RR_TXT);
  assert_int_equal(f->code, WG_NOT_FOUND);
  assert_int_equal(f->metrics.in_flight, 0);
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
    records_now(f, bad[i], WG_DNS_RR_SRV);
    assert_int_equal(f->code, WG_INVALID);
  }
  wg_dns_req req;
  resolve_n(f, "a\0b", 3, &req);
  assert_int_equal(f->code, WG_INVALID);
  resolve_n(f, "10.0.0.1\0", 9, &req);
  assert_int_equal(f->code, WG_INVALID);
}

static void localhost_is_built_in(void **state) {
  fixture *f = *state;
  resolve_now(f, "localhost");
  assert_string_equal(f->all, "127.0.0.1 ::1");
  resolve_now(f, "app.localhost");
  assert_string_equal(f->all, "127.0.0.1 ::1");
}

static void registry_comes_before_localhost(void **state) {
  fixture *f = *state;
  f->registry[0] = (wg_registry_entry){localhost, local_addresses, 1};
  adopt(f, NULL);
  resolve_now(f, "localhost");
  assert_string_equal(f->all, "10.9.9.9");
}

/* ---- the two views ---- */

static void guests_see_sentinels_of_databases(void **state) {
  fixture *f = *state;
  wg_dns_addr want[2] = {{.family = 4}, {.family = 6}};
  char v4[46], v6[46], both[100];
  assert_true(wg_dns_sentinel(&f->config, 0, AF_INET, want[0].bytes));
  assert_true(wg_dns_sentinel(&f->config, 0, AF_INET6, want[1].bytes));
  wg_dns_addr_text(&want[0], v4);
  wg_dns_addr_text(&want[1], v6);
  snprintf(both, sizeof both, "%s %s", v4, v6);
  resolve_now(f, "DB.example");
  assert_string_equal(f->all, both);
  assert_int_equal(f->metrics.by_link[WG_DNS_DATABASE], 1);
  reverse_now(f, v4);
  assert_string_equal(f->text, "db.example");
  reverse_now(f, v6);
  assert_string_equal(f->text, "db.example");
  resolve_now(f, "main.db.warp.local");
  assert_int_equal(f->count, 2);
  assert_string_not_equal(f->all, both);
}

static void the_host_sees_where_databases_are(void **state) {
  fixture *f = *state;
  f->registry[0] = (wg_registry_entry){db_host, svc_addresses, 3};
  adopt(f, NULL);
  resolve_for_host(f, "db.example");
  assert_string_equal(f->all, "10.1.0.1 10.1.0.2 10.1.0.3");
  /* A reload that moves it holds at once, unlike for guests (US-108). */
  f->registry[0].addresses = new_addresses;
  f->registry[0].address_count = 1;
  adopt(f, NULL);
  resolve_for_host(f, "db.example");
  assert_string_equal(f->all, "10.2.0.1");
  resolve_now(f, "db.example");
  assert_non_null(strstr(f->all, "240.77."));
}

/* ---- US-107 ---- */

static void us_107_an_answer_lives_for_its_ttl(void **state) {
  fixture *f = *state;
  resolve_now(f, "svc.warp.local");
  assert_int_equal(f->ttl_s, 30);
  f->registry[0].addresses = new_addresses;
  f->registry[0].address_count = 1;
  adopt(f, NULL); /* without flushing the cache: US-108 */
  f->now_ms += 29999;
  resolve_now(f, "svc.warp.local");
  assert_string_equal(f->all, "10.1.0.2 10.1.0.3 10.1.0.1");
  assert_int_equal(f->ttl_s, 1);
  f->now_ms += 1;
  resolve_now(f, "svc.warp.local");
  assert_string_equal(f->all, "10.2.0.1");
  assert_int_equal(f->metrics.hits, 1);
  assert_int_equal(f->metrics.misses, 2);
}

static void us_107_turns_outlive_the_ttl(void **state) {
  fixture *f = *state;
  resolve_now(f, "svc.warp.local");
  f->now_ms += 60000;
  resolve_now(f, "svc.warp.local");
  assert_string_equal(f->all, "10.1.0.2 10.1.0.3 10.1.0.1");
}

static void us_107_the_one_used_longest_ago_goes(void **state) {
  fixture *f = *state;
  char name[32];
  for (int i = 0; i < 4; i++) { /* as many as there is room for */
    snprintf(name, sizeof name, "n%d.localhost", i);
    resolve_now(f, name);
  }
  assert_int_equal(f->metrics.entries, 4);
  resolve_now(f, "n0.localhost"); /* used again: now n1 is the oldest */
  assert_int_equal(f->metrics.hits, 1);
  assert_int_equal(f->metrics.evictions, 0);
  resolve_now(f, "n4.localhost");
  assert_int_equal(f->metrics.evictions, 1);
  assert_int_equal(f->metrics.entries, 4);
  resolve_now(f, "n0.localhost");
  resolve_now(f, "n2.localhost");
  resolve_now(f, "n3.localhost");
  assert_int_equal(f->metrics.hits, 4);
  resolve_now(f, "n1.localhost");
  assert_int_equal(f->metrics.hits, 4);
  assert_int_equal(f->metrics.misses, 6);
}

static void us_107_a_smaller_cache_evicts(void **state) {
  fixture *f = *state;
  resolve_now(f, "a.localhost");
  resolve_now(f, "b.localhost");
  f->config.dns_cache_size = 1;
  adopt(f, NULL);
  assert_int_equal(f->metrics.hits, 0);
  resolve_now(f, "b.localhost");
  assert_int_equal(f->metrics.hits, 1);
  resolve_now(f, "a.localhost");
  assert_int_equal(f->metrics.hits, 1);
  assert_int_equal(f->metrics.evictions, 2);
}

static void us_107_without_a_cache_names_still_take_turns(void **state) {
  fixture *f = *state;
  f->config.dns_cache_size = 0;
  adopt(f, NULL);
  resolve_now(f, "svc.warp.local");
  resolve_now(f, "svc.warp.local");
  assert_string_equal(f->all, "10.1.0.2 10.1.0.3 10.1.0.1");
  assert_int_equal(f->metrics.hits, 0);
  assert_int_equal(f->metrics.entries, 0);
}

static void us_107_many_names_are_found_again(void **state) {
  fixture *f = *state;
  char name[32];
  f->config.dns_cache_size = 5000;
  adopt(f, NULL);
  for (int round = 0; round < 2; round++)
    for (int i = 0; i < 5000; i++) {
      snprintf(name, sizeof name, "n%d.localhost", i);
      resolve_now(f, name);
    }
  assert_int_equal(f->metrics.hits, 5000);
  assert_int_equal(f->metrics.evictions, 0);
}

static char log_text[8192];
static void on_line(void *user, const char *line, size_t len) {
  (void)user;
  size_t have = strlen(log_text);
  if (have + len + 2 > sizeof log_text) return;
  memcpy(log_text + have, line, len);
  strcpy(log_text + have + len, "\n");
}

static void us_106_each_step_is_logged_at_debug(void **state) {
  fixture *f = *state;
  wg_log_setup(WG_LOG_DEBUG, WG_LOG_LOGFMT, 2);
  wg__log_sink(on_line, NULL);
  resolve_now(f, "svc.warp.local");
  resolve_now(f, "svc.warp.local");
  resolve_now(f, "x.warp.local");
  resolve_now(f, "printer.example");
  wg_dns_log_stats(f->dns); /* US-107: at info */
  wg__log_sink(NULL, NULL);
  wg_log_setup(WG_LOG_INFO, WG_LOG_LOGFMT, 2);
  assert_non_null(strstr(log_text, "level=debug event=dns_resolved worker=1 name=svc.warp.local "
                                   "link=registry addresses=3"));
  assert_non_null(strstr(log_text, "name=svc.warp.local link=cache addresses=3"));
  assert_non_null(strstr(log_text, "event=dns_failed worker=1 name=x.warp.local link=domain"));
  assert_non_null(strstr(log_text, "name=printer.example link=hosts"));
  assert_non_null(strstr(log_text, "level=info event=dns_stats worker=1 hits=1 misses=3 "
                                   "evictions=0 negative_hits=0"));
}

/* ---- reverse and records ---- */

static void addresses_of_the_table_have_names(void **state) {
  fixture *f = *state;
  reverse_now(f, "10.1.0.2");
  assert_int_equal(f->count, 1);
  assert_string_equal(f->text, "svc.warp.local");
  reverse_now(f, "fd00::1");
  assert_string_equal(f->text, "six.example");
  reverse_now(f, "127.0.0.1");
  assert_string_equal(f->text, "localhost");
  records_now(f, "2.0.1.10.in-addr.arpa", WG_DNS_RR_PTR);
  assert_string_equal(f->text, "30 svc.warp.local.");
}

static void names_of_the_table_have_records(void **state) {
  fixture *f = *state;
  records_now(f, "mixed.example", WG_DNS_RR_A);
  assert_int_equal(f->count, 2);
  assert_string_equal(f->text, "30 10.3.0.1\n30 10.3.0.2");
  f->now_ms += 10000;
  records_now(f, "mixed.example", WG_DNS_RR_AAAA);
  assert_string_equal(f->text, "20 fd00::2\n20 fd00::3");
  records_now(f, "mixed.example", WG_DNS_RR_TXT);
  assert_int_equal(f->code, WG_OK);
  assert_int_equal(f->count, 0);
  records_now(f, "six.example", WG_DNS_RR_A);
  assert_int_equal(f->code, WG_OK);
  assert_int_equal(f->count, 0);
}

/* ---- questions to the host; nobody answers at 127.0.0.1:1 ---- */

static void cancel_means_no_callback(void **state) {
  fixture *f = *state;
  wg_dns_req reqs[20];
  f->calls = 0;
  for (size_t i = 0; i < WG_COUNT(reqs); i++)
    wg_dns_resolve(f->dns, "nobody.example", 14, &reqs[i], on_done, f);
  assert_int_equal(f->metrics.in_flight, 1);
  assert_int_equal(f->metrics.joined, WG_COUNT(reqs) - 1);
  for (size_t i = 0; i < WG_COUNT(reqs); i++) wg_dns_cancel(f->dns, &reqs[i]);
  memset(reqs, 0xEE, sizeof reqs); /* ours again: nobody looks at it */
  /* The wg_dns may go while canceled lookups still run. */
  wg_dns_req local;
  wg_dns_resolve(f->dns, "printer.local", 13, &local, on_done, f);
  wg_dns_cancel(f->dns, &local);
  wg_dns_free(f->dns);
  f->dns = NULL;
  uv_run(&f->uv, UV_RUN_DEFAULT);
  assert_int_equal(f->calls, 0);
}

static void no_server_is_a_temporary_failure(void **state) {
  fixture *f = *state;
  wg_dns_req req;
  resolve_n(f, "nobody.example", 14, &req);
  while (f->calls == 0) uv_run(&f->uv, UV_RUN_ONCE);
  assert_int_equal(f->code, WG_IO);
  assert_non_null(strstr(f->error, "host 'nobody.example' cannot be resolved: "));
  assert_int_equal(f->metrics.failures, 1);
  assert_int_equal(f->metrics.entries, 0); /* failures are not kept */
  wg_dns_cancel(f->dns, &req); /* after the answer it is harmless */
}

static void lookups_in_progress_are_bounded(void **state) {
  fixture *f = *state;
  enum { N = WG_DNS_PENDING_MAX + 1 };
  wg_dns_req *reqs = calloc(N, sizeof *reqs);
  char name[32];
  f->calls = 0;
  for (int i = 0; i < N; i++) {
    int len = snprintf(name, sizeof name, "n%d.example", i);
    wg_dns_resolve(f->dns, name, (size_t)len, &reqs[i], on_done, f);
  }
  assert_int_equal(f->calls, 1);
  assert_int_equal(f->code, WG_EXHAUSTED);
  for (size_t i = 0; i < N; i++) wg_dns_cancel(f->dns, &reqs[i]);
  free(reqs);
}

/* Guests cannot take the places that the host needs to dial databases. */
static void some_lookups_are_the_hosts_own(void **state) {
  fixture *f = *state;
  enum { N = WG_DNS_PENDING_MAX };
  wg_dns_req *reqs = calloc(N + 1, sizeof *reqs);
  char name[32];
  f->calls = 0;
  for (int i = 0; i < N; i++) {
    int len = snprintf(name, sizeof name, "g%d.example", i);
    wg_dns_question q = {.what = WG_DNS_ADDRESSES, .name = name, .len = (size_t)len};
    wg_dns_ask(f->dns, &q, &reqs[i], on_done, f);
  }
  assert_int_equal(f->calls, 128);
  assert_int_equal(f->code, WG_EXHAUSTED);
  f->calls = 0;
  wg_dns_resolve(f->dns, "db.example", 10, &reqs[N], on_done, f);
  assert_int_equal(f->calls, 0); /* it is asked for */
  for (size_t i = 0; i <= N; i++) wg_dns_cancel(f->dns, &reqs[i]);
  free(reqs);
}

static void bad_addresses_are_errors(void **state) {
  fixture *f = *state;
  char *addresses[] = {"10.0.0.1", "not-an-address"};
  wg_names *names = NULL;
  wg_error err;
  f->registry[0] = (wg_registry_entry){svc, addresses, 2};
  assert_int_equal(wg_names_new(&f->config, NULL, &names, &err), WG_INVALID);
  assert_non_null(strstr(err.msg, "'not-an-address'"));
}

static void the_registry_of_the_file_wins_over_http(void **state) {
  fixture *f = *state;
  static const char json[] = "{\"services\": {\"svc.warp.local\": [\"10.7.0.1\"],"
                             "\"Printer.example.\": [\"10.7.0.2\", \"fd00::7\"]}}";
  wg_registry_answer *answer;
  wg_error err;
  assert_int_equal(wg_registry_parse(json, sizeof json - 1, &answer, &err), WG_OK);
  adopt(f, answer);
  wg_registry_answer_free(answer);
  resolve_now(f, "svc.warp.local");
  assert_int_equal(f->count, 3);
  resolve_now(f, "printer.example");
  assert_string_equal(f->all, "10.7.0.2 fd00::7");
  reverse_now(f, "fd00::7");
  assert_string_equal(f->text, "printer.example");
}

/* A service without an instance is nowhere: nobody else is asked, and [hosts] is not hidden. */
static void a_registry_name_without_addresses_is_nowhere(void **state) {
  fixture *f = *state;
  static const char json[] =
      "{\"services\": {\"gone.example\": [], \"printer.example\": [], \"gone.warp.local\": []}}";
  wg_registry_answer *answer;
  wg_error err;
  assert_int_equal(wg_registry_parse(json, sizeof json - 1, &answer, &err), WG_OK);
  adopt(f, answer);
  wg_registry_answer_free(answer);
  resolve_now(f, "gone.example");
  assert_int_equal(f->code, WG_NOT_FOUND);
  resolve_now(f, "gone.warp.local");
  assert_int_equal(f->code, WG_NOT_FOUND);
  resolve_now(f, "printer.example");
  assert_int_equal(f->count, 1);
}

static void write_file(const char *path, const char *text, time_t when) {
  FILE *file = fopen(path, "we");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
  const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
  assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* A laptop changes its network, a container gets its servers late. */
static void the_hosts_servers_may_change(void **state) {
  fixture *f = *state;
  char path[] = "/tmp/wg-resolv-XXXXXX";
  wg_dns_req reqs[5];
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  const char *machine = wg__dns_resolv_conf;
  wg__dns_resolv_conf = path;
  f->config.dns_servers = NULL;
  adopt(f, NULL);
  write_file(path, "nameserver 127.0.0.1\n", 1000);
  wg_dns_resolve(f->dns, "a.example", 9, &reqs[0], on_done, f);
  wg__ares *first = f->dns->ares;
  write_file(path, "nameserver 127.0.0.2\n", 2000);
  f->now_ms += 999; /* too early to look */
  wg_dns_resolve(f->dns, "b.example", 9, &reqs[1], on_done, f);
  assert_ptr_equal(f->dns->ares, first);
  f->now_ms += 1;
  wg_dns_resolve(f->dns, "c.example", 9, &reqs[2], on_done, f);
  assert_ptr_not_equal(f->dns->ares, first);
  wg__ares *second = f->dns->ares;
  f->now_ms += 1000; /* unchanged */
  wg_dns_resolve(f->dns, "d.example", 9, &reqs[3], on_done, f);
  assert_ptr_equal(f->dns->ares, second);
  unlink(path); /* on its way to be replaced */
  f->now_ms += 1000;
  wg_dns_resolve(f->dns, "e.example", 9, &reqs[4], on_done, f);
  assert_ptr_equal(f->dns->ares, second);
  for (size_t i = 0; i < WG_COUNT(reqs); i++) wg_dns_cancel(f->dns, &reqs[i]);
  wg__dns_resolv_conf = machine;
}

/* ---- the table, shared by workers ---- */

static void *ask_a_table(void *p) {
  wg_names *names = p;
  wg_dns_name name;
  const char *why;
  assert_true(wg_dns_normalise("svc.warp.local", 14, &name, &why));
  for (int i = 0; i < 20000; i++) {
    const wg_dns_addr *found;
    size_t count, count4;
    wg_names_ref(names);
    assert_int_equal(wg_names_find(names, &name, &found, &count, &count4), WG_DNS_REGISTRY);
    wg_names_unref(names);
  }
  wg_names_unref(names); /* the last one frees it */
  return NULL;
}

static void threads_share_a_table(void **state) {
  fixture *f = *state;
  wg_names *names;
  wg_error err;
  pthread_t threads[3];
  assert_int_equal(wg_names_new(&f->config, NULL, &names, &err), WG_OK);
  for (size_t i = 0; i < WG_COUNT(threads); i++)
    assert_int_equal(pthread_create(&threads[i], NULL, ask_a_table, wg_names_ref(names)), 0);
  wg_names_unref(names);
  for (size_t i = 0; i < WG_COUNT(threads); i++) pthread_join(threads[i], NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
  setenv("RES_OPTIONS", "timeout:1 attempts:1",
         1); /* of getaddrinfo(3): the machine may be offline */
  const struct CMUnitTest tests[] = {
      TEST(literals),
      TEST(us_106_registry_answers_and_rotates),
      TEST(us_107_families_keep_together),
      TEST(us_106_hosts_come_after_the_registry),
      TEST(us_106_own_domain_never_leaves_the_host),
      TEST(invalid_names_are_refused),
      TEST(localhost_is_built_in),
      TEST(registry_comes_before_localhost),
      TEST(guests_see_sentinels_of_databases),
      TEST(the_host_sees_where_databases_are),
      TEST(us_107_an_answer_lives_for_its_ttl),
      TEST(us_107_turns_outlive_the_ttl),
      TEST(us_107_the_one_used_longest_ago_goes),
      TEST(us_107_a_smaller_cache_evicts),
      TEST(us_107_without_a_cache_names_still_take_turns),
      TEST(us_107_many_names_are_found_again),
      TEST(us_106_each_step_is_logged_at_debug),
      TEST(addresses_of_the_table_have_names),
      TEST(names_of_the_table_have_records),
      TEST(cancel_means_no_callback),
      TEST(no_server_is_a_temporary_failure),
      TEST(lookups_in_progress_are_bounded),
      TEST(some_lookups_are_the_hosts_own),
      TEST(bad_addresses_are_errors),
      TEST(the_registry_of_the_file_wins_over_http),
      TEST(a_registry_name_without_addresses_is_nowhere),
      TEST(the_hosts_servers_may_change),
      TEST(threads_share_a_table),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
