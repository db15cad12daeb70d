/* SPDX-License-Identifier: Apache-2.0 */
/* The host's own small HTTP client, against a server on a thread that answers as told. */
#include "wgrt.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

typedef struct fixture {
  uv_loop_t uv;
  uv_async_t keep;
  uv_timer_t timer;
  int stop_fd, listener;
  uint16_t port;
  pthread_t server;
  const char *host; /**< that the URL has, with its address beside it; NULL: the address */
  const char *answer; /**< NULL: the server reads, and says nothing */
  char request[2048]; /**< what it read */
  wgrt_engine *engine;
  wgrt_worker *worker;
  wgrt_fetch *fetch;
  unsigned called;
  uint32_t status;
  char etag[64], body[256], error[256];
} fixture;

static int v_fd(void *x) { return uv_backend_fd(&((fixture *)x)->uv); }
static int v_timeout(void *x) { return uv_backend_timeout(&((fixture *)x)->uv); }
static void v_run(void *x) { (void)uv_run(&((fixture *)x)->uv, UV_RUN_NOWAIT); }
static void never(void) { fail_msg("no guest runs here"); }
static uint32_t v_stopping(void *x) {
  (void)x;
  return 0;
}
static int idle(void *x) {
  (void)x;
  return 0;
}

/** Serves one connection. */
static void *serve(void *x) {
  fixture *f = x;
  int fd = accept(f->listener, NULL, NULL);
  if (fd < 0) return NULL;
  size_t n = 0;
  while (n < sizeof f->request - 1 && !strstr(f->request, "\r\n\r\n")) {
    ssize_t more = read(fd, f->request + n, sizeof f->request - 1 - n);
    if (more <= 0) break;
    n += (size_t)more;
    f->request[n] = '\0';
  }
  if (f->answer) {
    size_t left = strlen(f->answer);
    assert_int_equal(write(fd, f->answer, left), (ssize_t)left);
  } else {
    char byte; /* until the client goes */
    while (read(fd, &byte, 1) > 0) {
    }
  }
  close(fd);
  return NULL;
}

static int setup(void **state) {
  static fixture f;
  f = (fixture){0};
  assert_int_equal(uv_loop_init(&f.uv), 0);
  assert_int_equal(uv_async_init(&f.uv, &f.keep, NULL), 0);
  assert_int_equal(uv_timer_init(&f.uv, &f.timer), 0);
  f.timer.data = &f;
  f.stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);
  wgrt_error err;
  wgrt_engine_cfg ec = {.size = sizeof ec, .max_instances = 1, .max_memory_bytes = 1 << 20};
  assert_int_equal(wgrt_engine_new(&ec, &f.engine, &err), 0);
  wgrt_host host = {.size = sizeof host,
                    .ctx = &f,
                    .backend_fd = v_fd,
                    .backend_timeout = v_timeout,
                    .run_nowait = v_run};
  void (*const unused)(void) = never;
  for (size_t at = offsetof(wgrt_host, route); at < sizeof host; at += sizeof unused)
    memcpy((char *)&host + at, &unused, sizeof unused);
  host.stopping = v_stopping;
  assert_int_equal(wgrt_worker_new(f.engine, &host, f.stop_fd, &f.worker, &err), 0);

  f.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  assert_int_equal(bind(f.listener, (struct sockaddr *)&a, len), 0);
  assert_int_equal(listen(f.listener, 4), 0);
  assert_int_equal(getsockname(f.listener, (struct sockaddr *)&a, &len), 0);
  f.port = ntohs(a.sin_port);
  *state = &f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  wgrt_worker_free(f->worker);
  wgrt_engine_free(f->engine);
  uv_close((uv_handle_t *)&f->keep, NULL);
  uv_close((uv_handle_t *)&f->timer, NULL);
  (void)uv_run(&f->uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&f->uv), 0);
  close(f->stop_fd);
  if (f->listener >= 0) close(f->listener);
  return 0;
}

static void copy(char *to, size_t cap, wgrt_bytes from) {
  assert_true(from.n < cap);
  if (from.n) memcpy(to, from.p, from.n);
  to[from.n] = '\0';
}

static void on_fetched(void *user, uint32_t status, wgrt_bytes etag, wgrt_bytes body,
                       const char *error) {
  fixture *f = user;
  f->called++;
  f->status = status;
  copy(f->etag, sizeof f->etag, etag);
  copy(f->body, sizeof f->body, body);
  snprintf(f->error, sizeof f->error, "%s", error ? error : "");
  assert_int_equal(eventfd_write(f->stop_fd, 1), 0);
}

static wgrt_bytes text(const char *s) { return (wgrt_bytes){(const uint8_t *)s, strlen(s)}; }

static void start(fixture *f, const char *etag, uint32_t timeout_ms, uint64_t max) {
  char url[64];
  wgrt_error err;
  snprintf(url, sizeof url, "http://%s:%u/v1/services", f->host ? f->host : "127.0.0.1", f->port);
  wgrt_fetch_cfg cfg = {.size = sizeof cfg,
                        .timeout_ms = timeout_ms,
                        .max_bytes = max,
                        .url = text(url),
                        .etag = text(etag),
                        .authorization = text("Bearer t0ken"),
                        .address = text(f->host ? "127.0.0.1" : "")};
  assert_int_equal(wgrt_fetch_start(f->worker, &cfg, on_fetched, f, &f->fetch, &err), 0);
}

static void run(fixture *f) {
  wgrt_error err;
  assert_int_equal(wgrt_worker_run(f->worker, 1000, idle, &err), 0);
}

static void exchange(fixture *f, const char *answer, const char *etag, uint32_t timeout_ms) {
  f->answer = answer;
  assert_int_equal(pthread_create(&f->server, NULL, serve, f), 0);
  start(f, etag, timeout_ms, 200);
  run(f);
  assert_int_equal(pthread_join(f->server, NULL), 0);
  assert_int_equal(f->called, 1);
}

static void test_an_answer(void **state) {
  fixture *f = *state;
  exchange(f, "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 2\r\n\r\n{}", "", 5000);
  assert_int_equal(f->status, 200);
  assert_string_equal(f->etag, "\"v1\"");
  assert_string_equal(f->body, "{}");
  assert_non_null(strstr(f->request, "GET /v1/services HTTP/1.1\r\n"));
  assert_non_null(strstr(f->request, "authorization: Bearer t0ken\r\n"));
  assert_null(strstr(f->request, "if-none-match"));
}

static void test_a_host_whose_address_is_known(void **state) {
  fixture *f = *state;
  f->host = "registry.invalid";
  exchange(f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "", 5000);
  assert_int_equal(f->status, 200);
  assert_non_null(strstr(f->request, "host: registry.invalid:"));
}

static void test_not_modified(void **state) {
  fixture *f = *state;
  exchange(f, "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n", "\"v1\"", 5000);
  assert_int_equal(f->status, 304);
  assert_non_null(strstr(f->request, "if-none-match: \"v1\"\r\n"));
}

static void test_chunks_and_a_closed_connection(void **state) {
  fixture *f = *state;
  exchange(f,
           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
           "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
           "", 5000);
  assert_string_equal(f->body, "{}");
}

static void test_a_body_over_the_limit(void **state) {
  fixture *f = *state;
  exchange(f, "HTTP/1.1 200 OK\r\nContent-Length: 201\r\n\r\nx", "", 5000);
  assert_int_equal(f->status, 0);
  assert_non_null(strstr(f->error, "body"));
}

static void test_half_an_answer(void **state) {
  fixture *f = *state;
  exchange(f, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nx", "", 5000);
  assert_int_equal(f->status, 0);
  assert_string_not_equal(f->error, "");
}

static void test_no_http(void **state) {
  fixture *f = *state;
  exchange(f, "220 mail.example ESMTP\r\n\r\n", "", 5000);
  assert_int_equal(f->status, 0);
  assert_string_not_equal(f->error, "");
}

static void test_no_answer_in_time(void **state) {
  fixture *f = *state;
  exchange(f, NULL, "", 50);
  assert_int_equal(f->status, 0);
  assert_string_equal(f->error, "no answer within 50 ms");
}

static void test_nobody_listens(void **state) {
  fixture *f = *state;
  close(f->listener);
  f->listener = -1;
  start(f, "", 5000, 200);
  run(f);
  assert_int_equal(f->called, 1);
  assert_int_equal(f->status, 0);
  assert_non_null(strstr(f->error, "cannot connect to 127.0.0.1:"));
}

static void on_cancel(uv_timer_t *t) {
  fixture *f = t->data;
  wgrt_fetch_cancel(f->fetch);
  assert_int_equal(eventfd_write(f->stop_fd, 1), 0);
}

static void test_canceled_no_callback_comes(void **state) {
  fixture *f = *state;
  f->answer = NULL;
  assert_int_equal(pthread_create(&f->server, NULL, serve, f), 0);
  start(f, "", 5000, 200);
  uv_timer_start(&f->timer, on_cancel, 20, 0);
  run(f);
  assert_int_equal(f->called, 0);
  shutdown(f->listener, SHUT_RDWR); /* in case the connection was never made */
  assert_int_equal(pthread_join(f->server, NULL), 0);
}

static void test_urls_that_cannot_be_asked(void **state) {
  fixture *f = *state;
  static const char *const urls[] = {"",           "registry",  "https://127.0.0.1/",
                                     "http://",    "http:///x", "ftp://127.0.0.1/",
                                     "http://a b/"};
  for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
    wgrt_error err;
    wgrt_fetch_cfg cfg = {.size = sizeof cfg, .timeout_ms = 1000, .url = text(urls[i])};
    assert_int_equal(wgrt_fetch_start(f->worker, &cfg, on_fetched, f, &f->fetch, &err), -1);
    assert_non_null(strstr(err.msg, "URL '"));
    assert_null(strstr(err.msg, "s3cret"));
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(test_an_answer),
      TEST(test_a_host_whose_address_is_known),
      TEST(test_not_modified),
      TEST(test_chunks_and_a_closed_connection),
      TEST(test_a_body_over_the_limit),
      TEST(test_half_an_answer),
      TEST(test_no_http),
      TEST(test_no_answer_in_time),
      TEST(test_nobody_listens),
      TEST(test_canceled_no_callback_comes),
      TEST(test_urls_that_cannot_be_asked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
