/* SPDX-License-Identifier: Apache-2.0 */
/* US-106, US-107 against a real name server: what comes last in the chain, and for how long it is
 * kept. The sockets are real, the clock of the cache is not. */
#include "dns/dns_internal.h"
#include "dns/name_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

static name_server server;

typedef struct fixture {
  uv_loop_t uv;
  uint64_t ahead_ms; /* of the real clock */
  wg_config config;
  char *servers[3];
  uv_udp_t *half; /* of a half_server, while it runs */
  wg_dns_metrics metrics;
  wg_dns *dns;
  unsigned calls;
  wg_code code;
  char all[2048], text[2048], error[512];
  size_t count;
  uint32_t ttl_s;
} fixture;

static char domain[] = "warp.local";

static uint64_t skewed_now(void *user) {
  return wg_now_ms(&wg_clock_monotonic) + ((fixture *)user)->ahead_ms;
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  assert_int_equal(uv_loop_init(&f->uv), 0);
  f->servers[0] = server.address;
  f->config = (wg_config){.dns_domain = domain,
                          .dns_ttl_s = 30,
                          .dns_cache_size = 64,
                          .dns_negative_ttl_ms = 5000,
                          .dns_timeout_ms = 5000,
                          .dns_servers = f->servers};
  *state = f;
  return 0;
}

static void start(fixture *f) {
  wg_loop loop = {.uv = &f->uv, .clock = {skewed_now, f}, .worker = 1};
  wg_names *names;
  wg_error err;
  assert_int_equal(wg_names_new(&f->config, NULL, &names, &err), WG_OK);
  assert_int_equal(wg_dns_new(names, &loop, &f->metrics, &f->dns, &err), WG_OK);
  wg_names_unref(names);
}

static int setup_and_start(void **state) {
  setup(state);
  start(*state);
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  wg__dns_search = NULL;
  if (f->half) uv_close((uv_handle_t *)f->half, NULL); /* the test failed */
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
  f->ttl_s = req->ttl_s;
  f->all[0] = f->error[0] = '\0';
  snprintf(f->text, sizeof f->text, "%s", req->text ? req->text : "");
  if (err) snprintf(f->error, sizeof f->error, "%.500s", err->msg);
  for (size_t i = 0; req->addresses && i < req->count; i++) {
    char text[46];
    wg_dns_addr_text(&req->addresses[i], text);
    if (i) strncat(f->all, " ", sizeof f->all - strlen(f->all) - 1);
    strncat(f->all, text, sizeof f->all - strlen(f->all) - 1);
  }
}

static void run_until(fixture *f, unsigned calls) {
  while (f->calls < calls) uv_run(&f->uv, UV_RUN_ONCE);
}
static void ask(fixture *f, const wg_dns_question *q) {
  wg_dns_req req;
  f->calls = 0;
  wg_dns_ask(f->dns, q, &req, on_done, f);
  run_until(f, 1);
}
static void resolve(fixture *f, const char *name) {
  ask(f, &(wg_dns_question){.what = WG_DNS_ADDRESSES, .name = name, .len = strlen(name)});
}
static void records(fixture *f, const char *name, wg_dns_rrtype type) {
  ask(f, &(wg_dns_question){
             .what = WG_DNS_RECORDS, .name = name, .len = strlen(name), .rrtype = type});
}
static void reverse(fixture *f, const char *address) {
  wg_dns_question q = {.what = WG_DNS_REVERSE};
  assert_true(wg_dns_literal(address, strlen(address), &q.address));
  ask(f, &q);
}

static void us_107_the_ttl_of_the_zone_holds(void **state) {
  fixture *f = *state;
  resolve(f, "one.example.test");
  assert_string_equal(f->all, "192.0.2.1");
  assert_int_equal(f->ttl_s, 7);
  f->ahead_ms += 6000;
  resolve(f, "ONE.example.test.");
  assert_int_equal(f->metrics.hits, 1);
  assert_in_range(f->ttl_s, 1, 1);
  f->ahead_ms += 1000;
  resolve(f, "one.example.test");
  assert_int_equal(f->metrics.hits, 1);
  assert_int_equal(f->metrics.misses, 2);
  assert_int_equal(f->metrics.by_link[WG_DNS_HOST], 2);
}

static void us_107_the_cap_shortens_long_ones(void **state) {
  fixture *f = *state;
  resolve(f, "long.example.test");
  assert_int_equal(f->ttl_s, 30);
  f->ahead_ms += 30000;
  resolve(f, "long.example.test");
  assert_int_equal(f->metrics.hits, 0);
}

/* US-111: who could not reach what was told asks again, however long that may be kept. */
static void us_111_a_distrusted_answer_is_asked_again(void **state) {
  fixture *f = *state;
  resolve(f, "long.example.test");
  resolve(f, "long.example.test");
  assert_int_equal(f->metrics.hits, 1);
  wg_dns_distrust(f->dns, "LONG.example.test.", 18);
  resolve(f, "long.example.test");
  assert_int_equal(f->metrics.hits, 1);
  assert_int_equal(f->metrics.misses, 2);
  resolve(f, "long.example.test"); /* the new answer is as good as any */
  assert_int_equal(f->metrics.hits, 2);
  wg_dns_distrust(f->dns, "192.0.2.1", 9);
  wg_dns_distrust(f->dns, "never.asked.test", 16);
  wg_dns_distrust(f->dns, "no name", 7);
  assert_int_equal(f->metrics.entries, 1);
}

static void us_107_both_families_in_turn(void **state) {
  fixture *f = *state;
  resolve(f, "dual.example.test");
  assert_int_equal(f->count, 3);
  assert_int_equal(f->ttl_s, 10); /* the least */
  assert_non_null(strstr(f->all, " 2001:db8::3")); /* last */
  char first[sizeof f->all];
  memcpy(first, f->all, sizeof first);
  resolve(f, "dual.example.test");
  assert_string_not_equal(f->all, first);
  resolve(f, "dual.example.test");
  assert_string_equal(f->all, first);
  resolve(f, "six.example.test");
  assert_string_equal(f->all, "2001:db8::6");
}

static void a_chain_of_aliases_has_the_least_ttl(void **state) {
  fixture *f = *state;
  resolve(f, "alias.example.test");
  assert_int_equal(f->count, 3);
  assert_int_equal(f->ttl_s, 5);
  records(f, "alias.example.test", WG_DNS_RR_CNAME);
  assert_string_equal(f->text, "5 further.example.test.");
  resolve(f, "dangling.example.test");
  assert_int_equal(f->code, WG_NOT_FOUND);
}

static void us_106_a_name_that_does_not_exist(void **state) {
  fixture *f = *state;
  resolve(f, "nobody.example.test");
  assert_int_equal(f->code, WG_NOT_FOUND);
  assert_string_equal(f->error, "host 'nobody.example.test' not found");
  f->ahead_ms += 2900; /* the zone says 3 s, less than negative_ttl */
  resolve(f, "nobody.example.test");
  assert_int_equal(f->metrics.negative_hits, 1);
  f->ahead_ms += 200;
  resolve(f, "nobody.example.test");
  assert_int_equal(f->code, WG_NOT_FOUND);
  assert_int_equal(f->metrics.negative_hits, 1);
  assert_int_equal(f->metrics.misses, 2);
  assert_int_equal(f->metrics.failures, 0);
}

static void a_name_without_addresses_is_not_found(void **state) {
  fixture *f = *state;
  resolve(f, "text.example.test");
  assert_int_equal(f->code, WG_NOT_FOUND);
  resolve(f, "text.example.test");
  assert_int_equal(f->metrics.negative_hits, 1);
}

static void servfail_is_temporary_and_not_kept(void **state) {
  fixture *f = *state;
  resolve(f, "www.broken.test");
  assert_int_equal(f->code, WG_IO);
  assert_non_null(strstr(f->error, "SERVFAIL"));
  assert_int_equal(f->metrics.entries, 0);
  assert_int_equal(f->metrics.failures, 1);
  resolve(f, "www.elsewhere.test");
  assert_int_equal(f->code, WG_IO);
  assert_non_null(strstr(f->error, "refused"));
}

/* 60 addresses are about 1 KiB: more than a UDP answer without extensions. */
static void truncated_answers_come_by_tcp(void **state) {
  fixture *f = *state;
  resolve(f, "many.example.test");
  assert_int_equal(f->code, WG_OK);
  assert_int_equal(f->count, 60);
  assert_int_equal(f->ttl_s, 30);
}

static void addresses_have_names(void **state) {
  fixture *f = *state;
  reverse(f, "192.0.2.1");
  assert_int_equal(f->count, 1);
  assert_string_equal(f->text, "one.example.test");
  f->ahead_ms += 14000;
  reverse(f, "192.0.2.1");
  assert_int_equal(f->metrics.hits, 1);
  reverse(f, "192.0.2.99");
  assert_int_equal(f->code, WG_OK);
  assert_int_equal(f->count, 0);
  reverse(f, "192.0.2.99");
  assert_int_equal(f->count, 0);
  assert_int_equal(f->metrics.negative_hits, 1);
  records(f, "1.2.0.192.in-addr.arpa", WG_DNS_RR_PTR);
  assert_string_equal(f->text, "1 one.example.test.");
}

static void records_come_in_presentation_form(void **state) {
  fixture *f = *state;
  records(f, "_pg._tcp.example.test", WG_DNS_RR_SRV);
  assert_string_equal(f->text, "8 10 60 5432 one.example.test.");
  records(f, "text.example.test", WG_DNS_RR_TXT);
  assert_int_equal(f->count, 2);
  assert_non_null(strstr(f->text, "8 \"v=1 \\\"quoted\\\"\" \"second\""));
  assert_non_null(strstr(f->text, "8 \"a\\010b\\\\\""));
  f->ahead_ms += 3000;
  records(f, "text.example.test", WG_DNS_RR_TXT);
  assert_non_null(strstr(f->text, "5 \"v=1 "));
  records(f, "one.example.test", WG_DNS_RR_A);
  assert_string_equal(f->text, "7 192.0.2.1");
  records(f, "one.example.test", WG_DNS_RR_TXT); /* exists, but has none */
  assert_int_equal(f->code, WG_OK);
  assert_int_equal(f->count, 0);
  records(f, "nobody.example.test", WG_DNS_RR_TXT);
  assert_int_equal(f->code, WG_NOT_FOUND);
}

static void us_107_equal_questions_are_one(void **state) {
  fixture *f = *state;
  enum { N = 50 };
  static wg_dns_req reqs[N];
  f->calls = 0;
  for (size_t i = 0; i < N; i++)
    wg_dns_resolve(f->dns, "dual.example.test", 17, &reqs[i], on_done, f);
  assert_int_equal(f->calls, 0);
  assert_int_equal(f->metrics.in_flight, 1);
  wg_dns_cancel(f->dns, &reqs[7]);
  run_until(f, N - 1);
  assert_int_equal(f->code, WG_OK);
  assert_int_equal(f->metrics.joined, N - 1);
  assert_int_equal(f->metrics.by_link[WG_DNS_HOST], 1);
  assert_int_equal(f->metrics.in_flight, 0);
  uv_run(&f->uv, UV_RUN_NOWAIT);
  assert_int_equal(f->calls, N - 1);
}

/* A canceled question goes on, for the cache. */
static void what_nobody_waits_for_is_kept(void **state) {
  fixture *f = *state;
  wg_dns_req req;
  f->calls = 0;
  wg_dns_resolve(f->dns, "one.example.test", 16, &req, on_done, f);
  wg_dns_cancel(f->dns, &req);
  while (f->metrics.in_flight) uv_run(&f->uv, UV_RUN_ONCE);
  assert_int_equal(f->calls, 0);
  resolve(f, "one.example.test");
  assert_int_equal(f->metrics.hits, 1);
}

static void the_host_file_is_asked_first(void **state) {
  fixture *f = *state;
  char name[256];
  /* The machine's own name usually stands in its /etc/hosts; localhost always does, but we know it
   * ourselves. */
  if (gethostname(name, sizeof name) != 0) skip();
  name[sizeof name - 1] = '\0';
  resolve(f, name);
  if (f->code != WG_OK) {
    print_message("skipped: /etc/hosts of this machine does not have its name '%s'\n", name);
    skip();
  }
  assert_int_equal(f->metrics.by_link[WG_DNS_HOST], 1);
}

/* ---- servers that do not answer ---- */

static void us_106_silence_ends_in_time(void **state) {
  fixture *f = *state;
  char address[32];
  int fd = silent_server(address);
  f->servers[0] = address;
  f->config.dns_timeout_ms = 300;
  start(f);
  uint64_t before = wg_now_ms(&wg_clock_monotonic);
  resolve(f, "one.example.test");
  uint64_t ms = wg_now_ms(&wg_clock_monotonic) - before;
  assert_int_equal(f->code, WG_IO);
  assert_string_equal(f->error,
                      "host 'one.example.test' cannot be resolved: no answer within 300 ms");
  assert_in_range(ms, 290, 5000);
  resolve(f, "one.example.test"); /* failures are not kept; its tries still run */
  assert_int_equal(f->code, WG_IO);
  close(fd);
}

static void the_second_server_answers_for_the_first(void **state) {
  fixture *f = *state;
  char address[32];
  int fd = silent_server(address);
  f->servers[0] = address;
  f->servers[1] = server.address;
  f->config.dns_timeout_ms = 2100; /* a first try is a seventh of it */
  start(f);
  resolve(f, "one.example.test");
  assert_int_equal(f->code, WG_OK);
  close(fd);
}

/* ---- a server that treats the two families differently, on the resolver's own loop ---- */

typedef enum habit { SILENT, FAILS, GARBAGE, ANSWERS } habit;
typedef struct half_server {
  uv_udp_t udp;
  habit a, aaaa;
  unsigned questions[2]; /* of A, of AAAA */
  size_t longest; /* name asked for, in bytes without the root's */
  char address[32];
} half_server;

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf) {
  static char room[1500];
  (void)h, (void)size;
  *buf = uv_buf_init(room, sizeof room);
}

static void on_question(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                        unsigned flags) {
  half_server *h = udp->data;
  (void)flags;
  if (n < 17 || !from) return;
  uint8_t *p = (uint8_t *)buf->base, *at = p + 12;
  while (*at) at += *at + 1;
  if ((size_t)(at - p) - 12 > h->longest) h->longest = (size_t)(at - p) - 12;
  bool six = at[2] == 28;
  habit how = six ? h->aaaa : h->a;
  size_t len = (size_t)(at + 5 - p);
  h->questions[six]++;
  if (how == SILENT) return;
  p[2] = 0x81;
  p[3] = how == FAILS ? 0x82 : 0x80;
  p[7] = how != FAILS; /* one answer, no other records */
  memset(p + 8, 0, 4);
  if (how == ANSWERS) {
    const uint8_t head[] = {0xc0, 12, 0, six ? 28 : 1, 0, 1, 0, 0, 0, 60, 0, six ? 16 : 4};
    memcpy(p + len, head, sizeof head);
    memset(p + len + sizeof head, 7, six ? 16 : 4);
    len += sizeof head + (six ? 16 : 4);
  }
  uv_buf_t reply = uv_buf_init(buf->base, (unsigned)len);
  assert_true(uv_udp_try_send(udp, &reply, 1, from) > 0);
}

static void half_start(fixture *f, half_server *h) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int len = sizeof a;
  assert_int_equal(uv_udp_init(&f->uv, &h->udp), 0);
  h->udp.data = h;
  f->half = &h->udp;
  assert_int_equal(uv_udp_bind(&h->udp, (struct sockaddr *)&a, 0), 0);
  assert_int_equal(uv_udp_getsockname(&h->udp, (struct sockaddr *)&a, &len), 0);
  assert_int_equal(uv_udp_recv_start(&h->udp, on_alloc, on_question), 0);
  snprintf(h->address, sizeof h->address, "127.0.0.1:%u", ntohs(a.sin_port));
  f->servers[0] = h->address;
  start(f);
}

static void half_stop(fixture *f, half_server *h) {
  uv_close((uv_handle_t *)&h->udp, NULL);
  f->half = NULL;
  wg_dns_free(f->dns);
  f->dns = NULL;
  uv_run(&f->uv, UV_RUN_DEFAULT);
}

/* RFC 8305: one family that nobody answers for must not hold up the other. */
static void a_silent_family_holds_nothing_up(void **state) {
  fixture *f = *state;
  static half_server h;
  h = (half_server){.a = ANSWERS, .aaaa = SILENT};
  half_start(f, &h);
  uint64_t before = wg_now_ms(&wg_clock_monotonic);
  resolve(f, "half.example");
  assert_int_equal(f->code, WG_OK);
  assert_string_equal(f->all, "7.7.7.7");
  assert_in_range(wg_now_ms(&wg_clock_monotonic) - before, 0, 2500); /* of 5000 */
  half_stop(f, &h);
}

/* Half of an answer is good for now, not for as long as a whole one. */
static void half_an_answer_is_not_kept_for_long(void **state) {
  fixture *f = *state;
  static half_server h;
  h = (half_server){.a = FAILS, .aaaa = ANSWERS};
  half_start(f, &h);
  resolve(f, "half.example");
  assert_string_equal(f->all, "707:707:707:707:707:707:707:707");
  h.a = ANSWERS;
  f->ahead_ms += 1001;
  resolve(f, "half.example");
  assert_string_equal(f->all, "7.7.7.7 707:707:707:707:707:707:707:707");
  half_stop(f, &h);
}

static void a_malformed_reply_is_a_temporary_failure(void **state) {
  fixture *f = *state;
  static half_server h;
  h = (half_server){.a = GARBAGE, .aaaa = GARBAGE};
  half_start(f, &h);
  resolve(f, "bad.example");
  assert_int_equal(f->code, WG_IO);
  assert_non_null(strstr(f->error, "malformed"));
  h.a = h.aaaa = ANSWERS;
  resolve(f, "bad.example"); /* it was not kept */
  assert_int_equal(f->count, 2);
  half_stop(f, &h);
}

/* Both families of one name, before the next name is tried; private names are never asked for. */
static void the_search_list_is_walked_by_names(void **state) {
  fixture *f = *state;
  static char nowhere[] = "nowhere.test", own[] = "warp.local", zone[] = "example.test";
  static char *search[] = {own, nowhere, zone, NULL};
  wg__dns_search = search;
  start(f);
  resolve(f, "one");
  assert_int_equal(f->code, WG_OK);
  assert_int_not_equal(f->count, 0);
  resolve(f, "one.example.test");
  assert_int_equal(f->code, WG_OK);
  wg__dns_search = NULL;
}

static void a_name_with_dots_goes_before_its_search_list(void **state) {
  fixture *f = *state;
  static char zone[] = "example.test";
  static char *search[] = {zone, NULL};
  static half_server h;
  h = (half_server){.a = ANSWERS, .aaaa = SILENT};
  wg__dns_search = search;
  h.aaaa = ANSWERS;
  half_start(f, &h);
  resolve(f, "a.b");
  assert_int_equal(h.questions[0], 1); /* the first name was enough, for both */
  assert_int_equal(h.questions[1], 1);
  half_stop(f, &h);
  wg__dns_search = NULL;
}

static void private_names_stay_here(void **state) {
  fixture *f = *state;
  static char *search[] = {domain, NULL};
  static half_server h;
  h = (half_server){.a = ANSWERS, .aaaa = ANSWERS};
  wg__dns_search = search;
  half_start(f, &h);
  resolve(f, "db");
  assert_int_equal(f->code, WG_OK);
  assert_int_equal(h.longest, 3); /* "db", not "db.warp.local" */
  half_stop(f, &h);
  wg__dns_search = NULL;
}

static void a_dot_at_the_end_ends_the_search(void **state) {
  fixture *f = *state;
  static char zone[] = "example.test";
  static char *search[] = {zone, NULL};
  wg__dns_search = search;
  start(f);
  resolve(f, "one");
  assert_string_equal(f->all, "192.0.2.1");
  resolve(f, "one."); /* neither from the search list nor from what was kept of that */
  assert_int_not_equal(f->code, WG_OK);
  assert_int_equal(f->metrics.hits, 0);
  resolve(f, "one.example.test.");
  assert_string_equal(f->all, "192.0.2.1");
  resolve(f, "one.example.test.");
  assert_int_equal(f->metrics.hits, 1);
  wg__dns_search = NULL;
}

/* An answer of one family shortens the wait for the other, and never makes it longer. */
static void a_late_family_does_not_move_the_deadline(void **state) {
  fixture *f = *state;
  static half_server h;
  h = (half_server){.a = ANSWERS, .aaaa = SILENT};
  half_start(f, &h);
  static wg_dns_req req;
  wg_dns_resolve(f->dns, "half.example", 12, &req, on_done, f);
  wg__dns_lookup *k = WG_CONTAINER(wg_list_first(&f->dns->lookups), wg__dns_lookup, node);
  uint64_t at_ms = k->deadline.at_ms;
  f->ahead_ms += 4900; /* of 5000 */
  while (k->n4 == 0) uv_run(&f->uv, UV_RUN_ONCE);
  wg_dns_cancel(f->dns, &req);
  assert_true(k->deadline.at_ms == at_ms);
  half_stop(f, &h);
}

/* Questions in progress end with the servers that they were put to. */
static void a_reload_may_change_the_servers(void **state) {
  fixture *f = *state;
  char address[32];
  int fd = silent_server(address);
  wg_names *names;
  wg_error err;
  wg_dns_req old;
  f->servers[0] = address;
  f->config.dns_timeout_ms = 300;
  start(f);
  f->calls = 0;
  wg_dns_resolve(f->dns, "long.example.test", 17, &old, on_done, f);
  f->servers[0] = server.address;
  f->config.dns_timeout_ms = 5000;
  assert_int_equal(wg_names_new(&f->config, NULL, &names, &err), WG_OK);
  assert_int_equal(wg_dns_adopt(f->dns, names, &err), WG_OK);
  wg_names_unref(names);
  resolve(f, "one.example.test");
  assert_int_equal(f->code, WG_OK);
  f->calls = 0;
  run_until(f, 1);
  assert_int_equal(f->code, WG_IO);
  close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_and_start, teardown)
#define TEST_LATER(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(us_107_the_ttl_of_the_zone_holds),
      TEST(us_107_the_cap_shortens_long_ones),
      TEST(us_111_a_distrusted_answer_is_asked_again),
      TEST(us_107_both_families_in_turn),
      TEST(a_chain_of_aliases_has_the_least_ttl),
      TEST(us_106_a_name_that_does_not_exist),
      TEST(a_name_without_addresses_is_not_found),
      TEST(servfail_is_temporary_and_not_kept),
      TEST(truncated_answers_come_by_tcp),
      TEST(addresses_have_names),
      TEST(records_come_in_presentation_form),
      TEST(us_107_equal_questions_are_one),
      TEST(what_nobody_waits_for_is_kept),
      TEST(the_host_file_is_asked_first),
      TEST_LATER(us_106_silence_ends_in_time),
      TEST_LATER(the_second_server_answers_for_the_first),
      TEST_LATER(a_silent_family_holds_nothing_up),
      TEST_LATER(half_an_answer_is_not_kept_for_long),
      TEST_LATER(a_malformed_reply_is_a_temporary_failure),
      TEST_LATER(the_search_list_is_walked_by_names),
      TEST_LATER(a_name_with_dots_goes_before_its_search_list),
      TEST_LATER(private_names_stay_here),
      TEST_LATER(a_dot_at_the_end_ends_the_search),
      TEST_LATER(a_late_family_does_not_move_the_deadline),
      TEST_LATER(a_reload_may_change_the_servers),
  };
  if (!name_server_start(&server)) return 0;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  name_server_stop(&server);
  return failed;
}
