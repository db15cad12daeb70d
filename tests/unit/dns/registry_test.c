/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP registry: what it may answer, and how it is asked. */
#include "dns/registry.h"

#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <cmocka.h>

/* ---- the answer ---- */

static wg_code parse(const char *json, char error[512]) {
  wg_registry_answer *a = NULL;
  wg_error err = {.code = WG_OK};
  wg_code code = wg_registry_parse(json, strlen(json), &a, &err);
  snprintf(error, 512, "%.500s", code == WG_OK ? "" : err.msg);
  if (code == WG_OK)
    wg_registry_answer_free(a);
  else
    assert_null(a);
  return code;
}

static void names_and_addresses_are_taken(void **state) {
  (void)state;
  static const char json[] = "{\"version\": 3, \"services\": {\"B.example.\": [\"10.0.0.2\"], "
                             "\"a.example\": [\"::1\", \"10.0.0.1\"], \"none.example\": []}}";
  wg_registry_answer *a;
  wg_error err;
  assert_int_equal(wg_registry_parse(json, strlen(json), &a, &err), WG_OK);
  assert_int_equal(a->count, 3);
  assert_string_equal(a->names[0].name.text, "a.example");
  assert_int_equal(a->names[0].count, 2);
  assert_int_equal(a->names[0].addresses[0].family, 6);
  assert_string_equal(a->names[1].name.text, "b.example");
  assert_int_equal(a->names[2].count, 0);
  wg_registry_answer_free(a);
}

/* One bad entry makes the whole answer bad: half a registry is worse than the old one. */
static void bad_answers_are_refused_whole(void **state) {
  (void)state;
  static const struct {
    const char *json, *error;
  } bad[] = {
      {"", "not JSON"},
      {"{\"services\": {}", "not JSON"},
      {"[]", "no object 'services'"},
      {"{\"services\": []}", "no object 'services'"},
      {"{\"services\": {\"a\": {}}}", "'a' has no list of addresses"},
      {"{\"services\": {\"a\": [\"10.0.0.1\", \"x\"]}}", "address 2 is not an IP address"},
      {"{\"services\": {\"a\": [1]}}", "address 1 is not an IP address"},
      {"{\"services\": {\"a\": [\"10.0.0.1\\u0000\"]}}", "not JSON"},
      {"{\"services\": {\"a b\": []}}", "has a character that no host name has"},
      {"{\"services\": {\"\": []}}", "is empty"},
      {"{\"services\": {\"localhost\": [\"192.0.2.1\"]}}", "'localhost' is this machine's own"},
      {"{\"services\": {\"a.LOCALHOST.\": [\"192.0.2.1\"]}}", "is this machine's own"},
      {"{\"services\": {\"a\": [], \"A\": []}}", "'a' is given twice"},
      {"{\"services\": {\"a\": [], \"a\": []}}", "not JSON"},
  };
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    char error[512];
    assert_int_equal(parse(bad[i].json, error), WG_INVALID);
    if (!strstr(error, bad[i].error)) print_error("'%s': %s\n", bad[i].json, error);
    assert_non_null(strstr(error, bad[i].error));
  }
}

static void answers_have_limits(void **state) {
  (void)state;
  char error[512];
  size_t room = WG_REGISTRY_BYTES_MAX + 100, n = 0;
  char *json = malloc(room);
  n += (size_t)snprintf(json, room, "{\"services\": {\"a\": [");
  for (int i = 0; i <= WG_REGISTRY_ADDRESSES_MAX; i++)
    n += (size_t)snprintf(json + n, room - n, "%s\"10.0.0.%d\"", i ? "," : "", i);
  snprintf(json + n, room - n, "]}}");
  assert_int_equal(parse(json, error), WG_INVALID);
  assert_non_null(strstr(error, "has 65 addresses; at most 64"));
  n = (size_t)snprintf(json, room, "{\"services\": {");
  for (int i = 0; i <= WG_REGISTRY_NAMES_MAX; i++)
    n += (size_t)snprintf(json + n, room - n, "%s\"n%d\":[\"10.0.0.1\"]", i ? "," : "", i);
  snprintf(json + n, room - n, "}}");
  assert_int_equal(parse(json, error), WG_INVALID);
  assert_non_null(strstr(error, "65537 names; at most 65536"));
  memset(json, ' ', room - 1);
  json[room - 1] = '\0';
  assert_int_equal(parse(json, error), WG_INVALID);
  assert_non_null(strstr(error, "larger than 4 MiB"));
  free(json);
}

/* ---- asking ---- */

typedef struct fixture {
  uv_loop_t uv;
  wg_loop loop;
  uint64_t now_ms;
  wg_deadlines *deadlines;
  wg_registry *registry;
  wg_config config;
  char url[64];
  /* what the registry asked for */
  unsigned fetches, cancels, changes, firsts;
  bool refuse;
  char seen_url[64], seen_etag[64], seen_authorization[64];
} fixture;

static uint64_t fake_now(void *user) { return ((fixture *)user)->now_ms; }

static wg_code on_fetch(void *ctx, const wg_registry_request *r, wg_error *err) {
  fixture *f = ctx;
  f->fetches++;
  snprintf(f->seen_url, sizeof f->seen_url, "%s", r->url);
  snprintf(f->seen_etag, sizeof f->seen_etag, "%s", r->etag);
  snprintf(f->seen_authorization, sizeof f->seen_authorization, "%s", r->authorization);
  assert_int_equal(r->timeout_ms, 2000);
  assert_int_equal(r->max_bytes, WG_REGISTRY_BYTES_MAX);
  return f->refuse ? wg_error_set(err, WG_IO, 0, "cannot begin") : WG_OK;
}
static void on_cancel(void *ctx) { ((fixture *)ctx)->cancels++; }
static void on_changed(void *ctx) { ((fixture *)ctx)->changes++; }
static void on_first(void *ctx) { ((fixture *)ctx)->firsts++; }
static const wg_registry_ops ops = {on_fetch, on_cancel, on_changed, on_first};

static char log_text[4096];
static unsigned log_lines;
static void on_line(void *user, const char *line, size_t len) {
  (void)user;
  log_lines++;
  snprintf(log_text, sizeof log_text, "%.*s", (int)len, line);
}

static void pass(fixture *f, uint64_t ms) {
  f->now_ms += ms;
  wg_deadlines_run(f->deadlines);
}
static void answer(fixture *f, uint32_t status, const char *etag, const char *json) {
  wg_registry_fetched(f->registry, status, etag, json, strlen(json), status ? NULL : "no route");
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  wg_error err;
  assert_int_equal(uv_loop_init(&f->uv), 0);
  f->now_ms = 1000;
  f->loop = (wg_loop){.uv = &f->uv, .clock = {fake_now, f}};
  assert_int_equal(wg_deadlines_new(&f->loop, &f->deadlines, &err), WG_OK);
  assert_int_equal(wg_registry_new(f->deadlines, &ops, f, &f->registry, &err), WG_OK);
  strcpy(f->url, "http://registry.test/v1?key=k");
  f->config.registry_url = f->url;
  f->config.registry_interval_ms = 5000;
  f->config.registry_timeout_ms = 2000;
  assert_int_equal(wg_registry_configure(f->registry, &f->config, &err), WG_OK);
  assert_int_equal(f->fetches, 0); /* from the loop only */
  pass(f, 0);
  assert_int_equal(f->fetches, 1);
  log_lines = 0;
  wg__log_sink(on_line, NULL);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  wg__log_sink(NULL, NULL);
  wg_registry_free(f->registry);
  wg_deadlines_free(f->deadlines);
  uv_run(&f->uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&f->uv), 0);
  wg_secret_release(&f->config.registry_token);
  free(f);
  return 0;
}

static const char one[] = "{\"services\": {\"a\": [\"10.0.0.1\"]}}";
static const char two[] = "{\"services\": {\"a\": [\"10.0.0.2\"], \"b\": [\"10.0.0.3\"]}}";

static void it_is_asked_every_interval_with_its_etag(void **state) {
  fixture *f = *state;
  assert_string_equal(f->seen_etag, "");
  answer(f, 200, "\"1\"", one);
  assert_int_equal(f->changes, 1);
  assert_int_equal(f->firsts, 1);
  assert_int_equal(wg_registry_last(f->registry)->count, 1);
  pass(f, 4999);
  assert_int_equal(f->fetches, 1);
  pass(f, 1);
  assert_int_equal(f->fetches, 2);
  assert_string_equal(f->seen_etag, "\"1\"");
  pass(f, 60000); /* one at a time */
  assert_int_equal(f->fetches, 2);
  answer(f, 304, "\"1\"", "");
  assert_int_equal(f->changes, 1);
  pass(f, 5000);
  answer(f, 200, "\"2\"", one); /* the same names by another tag */
  assert_int_equal(f->changes, 1);
  pass(f, 5000);
  assert_string_equal(f->seen_etag, "\"2\"");
  answer(f, 200, "\"3\"", two);
  assert_int_equal(f->changes, 2);
  assert_int_equal(wg_registry_last(f->registry)->count, 2);
  assert_int_equal(f->firsts, 1);
}

static void one_that_is_down_keeps_its_names_and_says_so_once(void **state) {
  fixture *f = *state;
  static const struct {
    uint32_t status;
    const char *body;
  } failures[] = {{0, ""}, {500, "oops"}, {200, "{\"services\": {\"a b\": []}}"}, {200, "{"}};
  answer(f, 200, "\"1\"", one);
  assert_int_equal(log_lines, 1);
  assert_non_null(strstr(log_text, "event=registry_up url=http://registry.test/v1 names=1"));
  for (size_t i = 0; i < WG_COUNT(failures); i++) {
    pass(f, 5000);
    assert_string_equal(f->seen_etag, "\"1\"");
    answer(f, failures[i].status, "\"bad\"", failures[i].body);
    assert_int_equal(f->changes, 1);
    assert_int_equal(wg_registry_last(f->registry)->count, 1);
  }
  assert_int_equal(log_lines, 2);
  assert_non_null(strstr(log_text, "level=warn event=registry_down"));
  assert_non_null(strstr(log_text, "no route"));
  assert_non_null(strstr(log_text, "names_kept=1"));
  pass(f, 5000);
  answer(f, 304, "", "");
  assert_int_equal(log_lines, 3);
  assert_non_null(strstr(log_text, "level=info event=registry_up"));
  pass(f, 5000);
  answer(f, 304, "", "");
  assert_int_equal(log_lines, 3);
}

static void a_start_without_it_goes_on(void **state) {
  fixture *f = *state;
  answer(f, 0, "", "");
  assert_int_equal(f->firsts, 1);
  assert_null(wg_registry_last(f->registry));
  assert_int_equal(log_lines, 1);
  pass(f, 5000);
  answer(f, 304, "", ""); /* of nothing */
  assert_null(wg_registry_last(f->registry));
  pass(f, 5000);
  f->refuse = true;
  answer(f, 200, "", one);
  assert_int_equal(f->changes, 1);
  pass(f, 5000); /* cannot even begin */
  pass(f, 5000);
  assert_int_equal(f->fetches, 5);
  assert_int_equal(wg_registry_last(f->registry)->count, 1);
}

static void the_token_is_sent_and_not_logged(void **state) {
  fixture *f = *state;
  wg_error err;
  answer(f, 200, "\"1\"", one);
  assert_int_equal(wg_secret_set(&f->config.registry_token, "t0k3n", 5, &err), WG_OK);
  assert_int_equal(wg_registry_configure(f->registry, &f->config, &err), WG_OK);
  pass(f, 0);
  assert_string_equal(f->seen_authorization, "Bearer t0k3n");
  answer(f, 401, "", "");
  assert_null(strstr(log_text, "t0k3n"));
  assert_null(strstr(log_text, "key=k")); /* nor the URL's query */
}

static void a_reload_changes_where_it_is_asked(void **state) {
  fixture *f = *state;
  wg_error err;
  char other[] = "http://other.test/";
  assert_int_equal(wg_registry_configure(f->registry, &f->config, &err), WG_OK); /* the same */
  assert_int_equal(f->cancels, 0);
  answer(f, 200, "\"1\"", one);
  f->config.registry_url = other;
  assert_int_equal(wg_registry_configure(f->registry, &f->config, &err), WG_OK);
  assert_int_equal(wg_registry_last(f->registry)->count, 1); /* until there is a better one */
  pass(f, 0);
  assert_string_equal(f->seen_url, other);
  assert_string_equal(f->seen_etag, "");
  f->config.registry_url = NULL;
  assert_int_equal(wg_registry_configure(f->registry, &f->config, &err), WG_OK);
  assert_int_equal(f->cancels, 1);
  assert_null(wg_registry_last(f->registry));
  pass(f, 60000);
  assert_int_equal(f->fetches, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_and_addresses_are_taken),
      cmocka_unit_test(bad_answers_are_refused_whole),
      cmocka_unit_test(answers_have_limits),
      TEST(it_is_asked_every_interval_with_its_etag),
      TEST(one_that_is_down_keeps_its_names_and_says_so_once),
      TEST(a_start_without_it_goes_on),
      TEST(the_token_is_sent_and_not_logged),
      TEST(a_reload_changes_where_it_is_asked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
