/* SPDX-License-Identifier: Apache-2.0 */
/* US-109, US-110, US-118: signals and threading models through the C API, with a real component. */
#include <warpgrid/warpgrid.h>

#include "base/base.h"
#include "base/log.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char logged[1 << 16];
static void keep_line(void *user, const char *line, size_t len) {
  (void)user;
  size_t n = strlen(logged);
  if (n + len + 1 < sizeof logged) memcpy(logged + n, line, len), logged[n + len] = 0;
}
static unsigned times(const char *text) {
  unsigned n = 0;
  for (const char *p = logged; (p = strstr(p, text)); p++) n++;
  return n;
}

static int setup(void **state) {
  (void)state;
  logged[0] = 0;
  wg_log_setup(WG_LOG_WARN, WG_LOG_LOGFMT, 2);
  wg__log_sink(keep_line, NULL);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  wg__log_sink(NULL, NULL);
  return 0;
}

/* ---- a server that does steps, and the test on a thread beside it ---- */

typedef struct server {
  wg_engine *engine;
  uint16_t port;
  void (*test)(struct server *s);
  pthread_t thread;
} server;

/** Asks the guest for steps; *answer gets its lines, NUL-terminated. */
static void ask(const server *s, const char *steps, char answer[1024]) {
  struct sockaddr_in a = {
      .sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  char request[1024], all[4096] = "";
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int len =
      snprintf(request, sizeof request,
               "POST / HTTP/1.0\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", strlen(steps), steps);
  assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(write(fd, request, (size_t)len), len);
  size_t got = 0;
  for (ssize_t n; got < sizeof all - 1 && (n = read(fd, all + got, sizeof all - 1 - got)) > 0;)
    got += (size_t)n;
  close(fd);
  const char *body = strstr(all, "\r\n\r\n");
  assert_non_null(body);
  snprintf(answer, 1024, "%s", body + 4);
}

static void expect(const server *s, const char *steps, const char *lines) {
  char answer[1024];
  ask(s, steps, answer);
  assert_string_equal(answer, lines);
}

static void *beside(void *p) {
  server *s = p;
  s->test(s);
  wg_engine_stop(s->engine);
  return NULL;
}

static void on_listening(void *user, const char *const *urls) {
  server *s = user;
  s->port = (uint16_t)atoi(strrchr(urls[0], ':') + 1);
  assert_int_equal(pthread_create(&s->thread, NULL, beside, s), 0);
}

/* One instance, which is used again. */
#define LISTEN "name = \"shop\"\n[http]\nlisten = \"127.0.0.1:0\"\ninstance_idle = \"60s\"\n"
static const char one[] = LISTEN "workers = 1\nreuse = 1000\n";

static void serve(const char *config, const char *guest, void (*test)(server *s)) {
  char path[512];
  wg_error err = {0};
  server s = {.test = test};
  snprintf(path, sizeof path, WARPGRID_BINARY_DIR "/guests/%s.wasm", guest);
  const wg_engine_options options = {.config_text = config, .cache_dir = ""};
  if (wg_engine_new(&options, &s.engine, &err) != WG_OK) fail_msg("%s", err.msg);
  const wg_serve_options o = {.component = path, .on_listening = on_listening, .user = &s};
  if (wg_engine_serve(s.engine, &o, &err) != WG_OK) fail_msg("%s", err.msg);
  pthread_join(s.thread, NULL);
  /* Nobody is left, and that is no failure. */
  assert_int_equal(wg_engine_deliver_signal(s.engine, 2049, WG_SIGNAL_HANGUP, &err), WG_NOT_FOUND);
  assert_int_equal(wg_engine_signal(s.engine, NULL, WG_SIGNAL_HANGUP, NULL, &err), WG_OK);
  wg_engine_free(s.engine);
}

typedef struct seen {
  wg_instance_info list[8];
  char service[64]; /* of the last */
  size_t count;
} seen;
static void keep_instance(void *user, const wg_instance_info *i) {
  seen *x = user;
  assert_true(x->count < WG_COUNT(x->list));
  snprintf(x->service, sizeof x->service, "%s", i->service);
  x->list[x->count++] = *i;
}
static seen look(const server *s) {
  seen x = {.count = 0};
  wg_error err;
  assert_int_equal(wg_engine_each_instance(s->engine, keep_instance, &x, &err), WG_OK);
  return x;
}

enum { TERM = 1u << WG_SIGNAL_TERMINATE, HUP = 1u << WG_SIGNAL_HANGUP };

/* ---- delivery by id ---- */

static void deliver(server *s) {
  wg_error err;
  assert_int_equal(look(s).count, 0); /* nobody asked */
  expect(s, "poll-signal", "none\n");
  assert_int_equal(look(s).count, 0); /* nor did that */
  expect(s, "on-signal terminate", "ok\n");
  seen x = look(s);
  assert_int_equal(x.count, 1);
  const wg_instance_info *i = &x.list[0];
  assert_string_equal(x.service, "shop");
  assert_int_equal(i->worker, 1);
  assert_int_equal(i->interest, TERM);
  assert_int_equal(i->threading, WG_THREADING_NONE);
  assert_int_equal(wg_engine_deliver_signal(s->engine, i->id, WG_SIGNAL_TERMINATE, &err), WG_OK);
  expect(s, "poll-signal\npoll-signal", "ok terminate\nnone\n");
  /* Others are ignored, and so is what is none. */
  assert_int_equal(wg_engine_deliver_signal(s->engine, i->id, WG_SIGNAL_HANGUP, &err), WG_OK);
  expect(s, "poll-signal", "none\n");
  assert_int_equal(wg_engine_deliver_signal(s->engine, i->id, (wg_signal)7, &err), WG_INVALID);
  assert_int_equal(wg_engine_deliver_signal(s->engine, i->id, (wg_signal)-1, &err), WG_INVALID);
  /* Nobody of that id; ids of other workers; 0. */
  static const uint64_t off[] = {1, 2048, 1ull << 40};
  for (size_t k = 0; k < WG_COUNT(off); k++) {
    wg_code c = wg_engine_deliver_signal(s->engine, i->id + off[k], WG_SIGNAL_TERMINATE, &err);
    assert_int_equal(c, WG_NOT_FOUND);
    assert_non_null(strstr(err.hint, "it is gone"));
  }
  assert_int_equal(wg_engine_deliver_signal(s->engine, 0, WG_SIGNAL_TERMINATE, &err), WG_NOT_FOUND);
  expect(s, "poll-signal", "none\n");
}
static void us_109_a_signal_is_delivered_by_id(void **state) {
  (void)state;
  serve(one, "shims-service-p2", deliver);
}

static void outlive(server *s) {
  wg_error err;
  expect(s, "on-signal terminate", "ok\n");
  uint64_t id = look(s).list[0].id;
  expect(s, "on-signal terminate", "ok\n"); /* its last request: reuse = 2 */
  for (int n = 0; look(s).count > 0; n++) {
    assert_true(n < 10000);
    usleep(1000);
  }
  assert_int_equal(wg_engine_deliver_signal(s->engine, id, WG_SIGNAL_TERMINATE, &err),
                   WG_NOT_FOUND);
  expect(s, "on-signal terminate", "ok\n");
  assert_int_not_equal(look(s).list[0].id, id);
}
static void us_109_a_dead_instance_is_not_found(void **state) {
  (void)state;
  serve(LISTEN "workers = 1\nreuse = 2\n", "shims-service-p2", outlive);
}

/* ---- a burst ---- */

static wg_signal nth(unsigned n) { return (wg_signal)(n * n % 5 % 3); }

static void burst(server *s) {
  static const char *const names[] = {"terminate", "hangup", "interrupt"};
  wg_error err;
  char steps[512] = "", lines[512] = "";
  expect(s, "on-signal terminate,hangup,interrupt", "ok\n");
  uint64_t id = look(s).list[0].id;
  for (unsigned n = 0; n < 20; n++)
    assert_int_equal(wg_engine_deliver_signal(s->engine, id, nth(n), &err), WG_OK);
  seen x = look(s);
  assert_int_equal(x.list[0].queued, 16);
  assert_int_equal(x.list[0].dropped, 4);
  for (unsigned n = 4; n < 20; n++) {
    strcat(steps, "poll-signal\n");
    snprintf(lines + strlen(lines), sizeof lines - strlen(lines), "ok %s\n", names[nth(n)]);
  }
  strcat(steps, "poll-signal");
  strcat(lines, "none\n");
  expect(s, steps, lines);
  assert_int_equal(times("event=signal_dropped"), 1);
}
static void us_110_of_twenty_the_sixteen_newest_remain(void **state) {
  (void)state;
  serve(one, "shims-service-p2", burst);
}

/* ---- services ---- */

static void services(server *s) {
  wg_error err;
  size_t told = 99;
  wg_code c = wg_engine_signal(s->engine, "shop", WG_SIGNAL_HANGUP, &told, &err);
  assert_int_equal(c, WG_OK); /* nobody asked: no failure */
  assert_int_equal(told, 0);
  expect(s, "on-signal hangup", "ok\n");
  assert_int_equal(wg_engine_signal(s->engine, NULL, WG_SIGNAL_HANGUP, &told, &err), WG_OK);
  assert_int_equal(told, 1);
  assert_int_equal(wg_engine_signal(s->engine, "shop", WG_SIGNAL_HANGUP, NULL, NULL), WG_OK);
  expect(s, "wait-signal\nwait-signal", "ok hangup\nok hangup\n");
  c = wg_engine_signal(s->engine, "ship", WG_SIGNAL_HANGUP, &told, &err);
  assert_int_equal(c, WG_NOT_FOUND);
  assert_string_equal(err.hint, "services: shop");
  assert_int_equal(wg_engine_signal(s->engine, "shop", (wg_signal)3, &told, &err), WG_INVALID);
}
static void us_109_a_service_is_told(void **state) {
  (void)state;
  serve(one, "shims-service-p2", services);
  serve(one, "shims-service-p3", services);
}

/* ---- threading ---- */

static void threading(server *s) {
  expect(s, "declare parallel-required\ndeclare cooperative\nsay on",
         "ok\nerror already-declared\nok on\n");
  seen x = look(s);
  assert_int_equal(x.count, 1);
  assert_int_equal(x.list[0].threading, WG_THREADING_PARALLEL_REQUIRED);
  assert_int_equal(x.list[0].interest, 0);
  wg_error err;
  wg_code c = wg_engine_deliver_signal(s->engine, x.list[0].id, WG_SIGNAL_HANGUP, &err);
  assert_int_equal(c, WG_NOT_FOUND); /* it never asked */
  expect(s, "on-signal hangup", "ok\n");
  assert_int_equal(look(s).list[0].interest, HUP);
}
static void us_118_the_model_of_an_instance_can_be_asked_for(void **state) {
  (void)state;
  serve(one, "shims-service-p2", threading);
  assert_int_equal(times("event=threading_not_parallel"), 1);
  serve(one, "shims-service-p3", threading);
  assert_int_equal(times("event=threading_not_parallel"), 2);
}

/* ---- many threads ---- */

enum { ROUNDS = 60 };
typedef struct beside_many {
  server *s;
  atomic_bool over;
} beside_many;

static void keep_id(void *user, const wg_instance_info *i) { *(uint64_t *)user = i->id; }

static void *tell_many(void *p) {
  beside_many *b = p;
  uint64_t id = 1;
  while (!atomic_load(&b->over)) {
    wg_error err;
    size_t told;
    wg_code c = wg_engine_signal(b->s->engine, NULL, WG_SIGNAL_HANGUP, &told, &err);
    assert_int_equal(c, WG_OK);
    assert_int_equal(wg_engine_each_instance(b->s->engine, keep_id, &id, &err), WG_OK);
    c = wg_engine_deliver_signal(b->s->engine, id, WG_SIGNAL_HANGUP, &err);
    assert_true(c == WG_OK || c == WG_NOT_FOUND);
  }
  return NULL;
}

static void come_and_go(server *s) {
  beside_many b = {.s = s};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, tell_many, &b), 0);
  for (int n = 0; n < ROUNDS; n++)
    expect(s, "on-signal hangup\nwait-signal\nwait-signal\nsay bye",
           "ok\nok hangup\nok hangup\nok bye\n");
  wg_engine_stop(s->engine); /* and they go on */
  usleep(50000);
  atomic_store(&b.over, true);
  pthread_join(thread, NULL);
}
static void instances_come_and_go_while_others_tell_them(void **state) {
  (void)state;
  serve(LISTEN "workers = 2\n", "shims-service-p2", come_and_go);
}

/* ---- stops ---- */

static void *stop_soon(void *p) {
  server *s = p;
  for (int n = 0; look(s).count == 0; n++) {
    assert_true(n < 20000);
    usleep(1000);
  }
  wg_engine_stop_with(s->engine, WG_SIGNAL_INTERRUPT);
  return NULL;
}

/** Runs a command that asks for `asks`, then waits for a signal. */
static int run_and_stop(const char *asks) {
  char step[64];
  server s = {.engine = NULL};
  wg_component *c;
  wg_app *app;
  wg_error err = {0};
  pthread_t thread;
  int exit_code = -1;
  snprintf(step, sizeof step, "on-signal %s", asks);
  const char *args[] = {step, "wait-signal", NULL};
  wg_engine_options options = {.config_text = "", .cache_dir = ""};
  if (wg_engine_new(&options, &s.engine, &err) != WG_OK) fail_msg("%s", err.msg);
  if (wg_engine_load(s.engine, WARPGRID_BINARY_DIR "/guests/shims-p2.wasm", 0, &c, &err) != WG_OK)
    fail_msg("%s", err.msg);
  const wg_app_options ao = {.args = args, .name = "tool"};
  assert_int_equal(wg_engine_instantiate(s.engine, c, &ao, &app, &err), WG_OK);
  assert_int_equal(pthread_create(&thread, NULL, stop_soon, &s), 0);
  assert_int_equal(wg_engine_run(s.engine, app, &exit_code, &err), WG_OK);
  pthread_join(thread, NULL);
  wg_app_free(app);
  wg_component_free(c);
  wg_engine_free(s.engine);
  return exit_code;
}
static void a_stop_says_which_signal_it_is(void **state) {
  (void)state;
  assert_int_equal(run_and_stop("interrupt"), 0);
  assert_int_equal(run_and_stop("terminate"), 130);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
      TEST(us_109_a_signal_is_delivered_by_id),
      TEST(us_109_a_dead_instance_is_not_found),
      TEST(us_110_of_twenty_the_sixteen_newest_remain),
      TEST(us_109_a_service_is_told),
      TEST(us_118_the_model_of_an_instance_can_be_asked_for),
      TEST(instances_come_and_go_while_others_tell_them),
      TEST(a_stop_says_which_signal_it_is),
#undef TEST
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
