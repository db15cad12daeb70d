/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/c/src/http.c: what both WASI generations share of a guest's HTTP handler. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../../sdk/c/src/arena.c"
#include "../../../sdk/c/src/http.c"
#include "../../../sdk/c/src/str.c"

/* -- The host and the program -- */

static const char *target;
static void (*handler)(wg_http_request *req, wg_http_response *res);

wg_str wg_http_host_target(wg_http_request *req) {
  if (target == NULL) return (wg_str){NULL, 0};
  return wg_http_copy(req, target, strlen(target));
}

wg_str wg_http_host_header(wg_http_request *req, const char *name) {
  (void)req;
  return strcmp(name, "x") == 0 ? WG_STR("1") : (wg_str){NULL, 0};
}

void wg_http_handle(wg_http_request *req, wg_http_response *res) { handler(req, res); }

static wg_http_request *request(const char *path) {
  static wg_http_request req;
  wg_arena_reset(&req.arena);
  memset(&req, 0, sizeof req);
  req.method = WG_STR("GET");
  req.body = WG_STR("");
  target = path;
  return &req;
}

static int release(void **state) {
  (void)state;
  request(NULL);
  return 0;
}

static const char *field(const wg_http_response *res, const char *name) {
  const char *value = NULL;
  for (size_t i = 0; i < res->field_count; i++)
    if (strcmp(res->fields[i].name.ptr, name) == 0) value = res->fields[i].value.ptr;
  return value;
}

#define assert_str(s, text) assert_true(wg_str_is(s, text))

/* -- Tests -- */

static void target_is_split_at_the_question_mark(void **state) {
  (void)state;
  wg_http_request *req = request("/users/1?a=b?c");
  assert_str(wg_http_path(req), "/users/1");
  assert_str(wg_http_query(req), "a=b?c");
  req = request("/users");
  assert_str(wg_http_path(req), "/users");
  assert_null(wg_http_query(req).ptr);
  req = request("/?");
  assert_str(wg_http_query(req), "");
  req = request("?x=1");
  assert_str(wg_http_path(req), "/");
  req = request(NULL);
  assert_str(wg_http_path(req), "/");
  assert_null(wg_http_query(req).ptr);
}

static void query_parameters_are_decoded(void **state) {
  (void)state;
  wg_http_request *req = request("/?a=1&b=x%20y+z&%63=%C3%A9&d&e=&a=2&f=%zz%4&g=%00h&&=i");
  assert_str(wg_http_query_param(req, "a"), "1");
  assert_str(wg_http_query_param(req, "b"), "x y z");
  assert_str(wg_http_query_param(req, "c"), "\xc3\xa9");
  assert_str(wg_http_query_param(req, "d"), "");
  assert_str(wg_http_query_param(req, "e"), "");
  assert_str(wg_http_query_param(req, "f"), "%zz%4");
  assert_int_equal(wg_http_query_param(req, "g").len, 2);
  assert_str(wg_http_query_param(req, ""), "");
  assert_null(wg_http_query_param(req, "h").ptr);
  assert_null(wg_http_query_param(request("/"), "a").ptr);
}

static void write_parts(wg_http_request *req, wg_http_response *res) {
  (void)req;
  wg_http_status(res, 201);
  for (char name[3] = "a0"; name[1] < '9'; name[1]++) wg_http_header(res, name, "v");
  wg_http_static_body(res, "static ", 7);
  wg_http_printf(res, "%d %s", 42, "printed");
  wg_http_write(res, " written", 8);
}

static void body_is_put_together_and_measured(void **state) {
  (void)state;
  wg_http_response res;
  handler = write_parts;
  wg_http_run_handler(request("/"), &res, WG_HTTP_BODY_WHOLE);
  assert_int_equal(res.status, 201);
  assert_int_equal(res.body_len, 25);
  assert_memory_equal(res.body, "static 42 printed written", 25);
  assert_string_equal(field(&res, "content-length"), "25");
  assert_string_equal(field(&res, "a8"), "v");
  assert_int_equal(res.field_count, 10);
  wg_http_response_release(&res);
}

static void write_much(wg_http_request *req, wg_http_response *res) {
  (void)req;
  for (int i = 0; i < 100000; i++) wg_http_write(res, "0123456789", 10);
}

static void body_grows(void **state) {
  (void)state;
  wg_http_response res;
  handler = write_much;
  wg_http_run_handler(request("/"), &res, WG_HTTP_BODY_WHOLE);
  assert_int_equal(res.body_len, 1000000);
  assert_memory_equal(res.body + 999990, "0123456789", 10);
  assert_string_equal(field(&res, "content-length"), "1000000");
  wg_http_response_release(&res);
}

static void answer_204(wg_http_request *req, wg_http_response *res) {
  (void)req;
  wg_http_status(res, 204);
}

static void answer_nonsense(wg_http_request *req, wg_http_response *res) {
  (void)req;
  wg_http_status(res, 42);
  wg_http_write(res, "x", 1);
}

static void change_its_mind(wg_http_request *req, wg_http_response *res) {
  (void)req;
  wg_http_status(res, 201);
  wg_http_header(res, "location", "/x");
  wg_http_write(res, "half", 4);
  wg_http_reset(res);
  wg_http_write(res, "whole", 5);
}

static void status_decides_the_length(void **state) {
  (void)state;
  wg_http_response res;
  handler = answer_204;
  wg_http_run_handler(request("/"), &res, WG_HTTP_BODY_WHOLE);
  assert_int_equal(res.status, 204);
  assert_null(field(&res, "content-length"));
  handler = answer_nonsense;
  wg_http_run_handler(request("/"), &res, WG_HTTP_BODY_WHOLE);
  assert_int_equal(res.status, 500);
  assert_string_equal(field(&res, "content-length"), "0");
  handler = change_its_mind;
  wg_http_run_handler(request("/"), &res, WG_HTTP_BODY_WHOLE);
  assert_int_equal(res.status, 200);
  assert_null(field(&res, "location"));
  assert_string_equal(field(&res, "content-length"), "5");
  wg_http_response_release(&res);
}

static void must_not_run(wg_http_request *req, wg_http_response *res) {
  (void)req;
  (void)res;
  fail();
}

/* Collects a body of `len` bytes that arrives in pieces of `piece`. */
static bool collect(wg_http_request *req, size_t len, size_t piece) {
  wg_http_collector c = {0};
  for (size_t done = 0; done < len;) {
    size_t room;
    char *to = wg_http_collector_room(&c, piece, &room);
    if (to == NULL) break;
    if (room > len - done) room = len - done;
    memset(to, 'b', room);
    c.len += room;
    done += room;
  }
  wg_http_collector_finish(&c, req);
  return c.state != WG_HTTP_BODY_WHOLE;
}

static void long_body_is_413_and_never_reaches_the_handler(void **state) {
  (void)state;
  for (size_t piece = 999; piece < 3000000; piece = piece * 3 + 1) {
    wg_http_request *req = request("/");
    assert_false(collect(req, wg_http_body_limit, piece));
    assert_int_equal(wg_http_body(req).len, wg_http_body_limit);
    assert_int_equal(wg_http_body(req).ptr[wg_http_body_limit - 1], 'b');
    req = request("/");
    assert_true(collect(req, wg_http_body_limit + 1, piece));
    assert_int_equal(wg_http_body(req).len, 0);
    wg_http_response res;
    handler = must_not_run;
    wg_http_run_handler(req, &res, WG_HTTP_BODY_TOO_LONG);
    assert_int_equal(res.status, 413);
  }
  wg_http_request *req = request("/");
  assert_false(collect(req, 0, 10));
  assert_str(wg_http_body(req), "");
}

static void cut_body_is_400_and_never_reaches_the_handler(void **state) {
  (void)state;
  wg_http_request *req = request("/");
  wg_http_collector c = {0};
  size_t room;
  char *to = wg_http_collector_room(&c, 100, &room);
  assert_non_null(to);
  memset(to, 'b', 50);
  c.len = 50;
  c.state = WG_HTTP_BODY_BROKEN;
  wg_http_collector_finish(&c, req);
  assert_str(wg_http_body(req), "");
  wg_http_response res;
  handler = must_not_run;
  wg_http_run_handler(req, &res, c.state);
  assert_int_equal(res.status, 400);
}

static void arena_keeps_and_frees(void **state) {
  (void)state;
  wg_http_request *req = request("/");
  char *all[200];
  for (size_t i = 0; i < 200; i++) {
    all[i] = i % 3 == 0 ? wg_arena_adopt(&req->arena, malloc(20)) : wg_http_alloc(req, i + 1);
    assert_non_null(all[i]);
    assert_int_equal((uintptr_t)all[i] % 16, 0);
    memset(all[i], (int)i, i % 3 == 0 ? 20 : i + 1);
  }
  for (size_t i = 0; i < 200; i++) assert_int_equal((unsigned char)all[i][0], i);
  assert_null(wg_arena_adopt(&req->arena, NULL));
  assert_null(wg_http_alloc(req, SIZE_MAX));
  assert_null(wg_http_alloc(req, SIZE_MAX - 20));
  wg_arena_reset(&req->arena); /* a leak, or a block freed twice, is the sanitizer's to see */
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_teardown(name, release)
      T(target_is_split_at_the_question_mark),
      T(query_parameters_are_decoded),
      T(body_is_put_together_and_measured),
      T(body_grows),
      T(status_decides_the_length),
      T(long_body_is_413_and_never_reaches_the_handler),
      T(cut_body_is_400_and_never_reaches_the_handler),
      T(arena_keeps_and_frees),
  };
  return cmocka_run_group_tests_name("sdk: http", tests, NULL, NULL);
}
