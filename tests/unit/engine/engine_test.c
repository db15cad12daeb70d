/* SPDX-License-Identifier: Apache-2.0 */
/* The embedding API with real components in the real engine: US-101, US-102, US-120 to US-122. */
#include <warpgrid/warpgrid.h>

#include "base/log.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A command whose run() answers ok, and that imports what is put in for %s. */
#define COMMAND                                                         \
  "(component %s"                                                       \
  "  (core module $m (func (export \"run\") (result i32) i32.const 0))" \
  "  (core instance $i (instantiate $m))"                               \
  "  (func $run (result (result)) (canon lift (core func $i \"run\")))" \
  "  (instance $x (export \"run\" (func $run)))"                        \
  "  (export \"wasi:cli/run@0.2.0\" (instance $x)))"
#define THREADING                                                \
  "(import \"warpgrid:shim/threading@0.1.0\" (instance"          \
  "  (type $model (enum \"parallel-required\" \"cooperative\"))" \
  "  (export \"threading-model\" (type $m (eq $model)))"         \
  "  (type $error (enum \"already-declared\"))"                  \
  "  (export \"threading-error\" (type $e (eq $error)))"         \
  "  (export \"declare-threading-model\""                        \
  "    (func (param \"model\" $m) (result (result (error $e)))))))"
#define EMPTY(name) "(import \"" name "\" (instance))"

static char logged[1 << 16];
static void keep_line(void *user, const char *line, size_t len) {
  (void)user;
  size_t n = strlen(logged);
  if (n + len + 1 < sizeof logged) memcpy(logged + n, line, len), logged[n + len] = 0;
}

static int setup(void **state) {
  (void)state;
  logged[0] = 0;
  wg_log_setup(WG_LOG_INFO, WG_LOG_LOGFMT, 2);
  wg__log_sink(keep_line, NULL);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  wg__log_sink(NULL, NULL);
  return 0;
}

static wg_engine *new_engine(const char *config) {
  wg_engine *e;
  wg_error err = {0};
  wg_engine_options o = {.config_text = config, .cache_dir = ""};
  if (wg_engine_new(&o, &e, &err) != WG_OK) fail_msg("%s", err.msg);
  return e;
}

/** Links a command with these imports under this configuration. */
static wg_code link_command(const char *config, const char *imports, wg_error *err,
                            int *exit_code) {
  char wat[4096];
  snprintf(wat, sizeof wat, COMMAND, imports);
  wg_engine *e = new_engine(config);
  wg_component *c;
  wg_app *app;
  wg_code code = wg_engine_load_bytes(e, wat, strlen(wat), &c, err);
  if (code != WG_OK) fail_msg("%s", err->msg);
  assert_int_equal(wg_component_get_kind(c), WG_COMPONENT_P2_COMMAND);
  code = wg_engine_instantiate(e, c, NULL, &app, err);
  if (code == WG_OK) {
    code = wg_engine_run(e, app, exit_code, err);
    wg_app_free(app);
  }
  wg_component_free(c);
  wg_engine_free(e);
  return code;
}

static void us_101_a_command_runs_to_its_end(void **state) {
  (void)state;
  wg_error err;
  int exit_code = -1;
  assert_int_equal(link_command("", "", &err, &exit_code), WG_OK);
  assert_int_equal(exit_code, 0);
}

static void us_121_start_up_logs_the_shims_and_their_settings(void **state) {
  (void)state;
  wg_engine_free(new_engine("[shims]\ndns = false\n[shims.database_proxy]\npool_size = 7\n"));
  assert_non_null(strstr(logged, "event=engine_started"));
  assert_non_null(strstr(logged, "shims=filesystem,signals,database_proxy,threading"));
  assert_non_null(strstr(logged, "shims_off=dns"));
  assert_non_null(strstr(logged, "pool_size=7"));
}

static void us_122_enabled_shims_link(void **state) {
  (void)state;
  wg_error err;
  int exit_code = -1;
  assert_int_equal(link_command("", THREADING, &err, &exit_code), WG_OK);
  assert_int_equal(link_command("[shims]\nthreading = true\n", THREADING, &err, &exit_code), WG_OK);
  static const char *const others[] = {
      EMPTY("warpgrid:shim/filesystem@0.1.0"), EMPTY("warpgrid:shim-async/filesystem@0.1.0"),
      EMPTY("warpgrid:shim/dns@0.1.0"),        EMPTY("warpgrid:shim-async/dns@0.1.0"),
      EMPTY("warpgrid:shim/signals@0.1.0"),    EMPTY("warpgrid:shim-async/signals@0.1.0")};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    assert_int_equal(link_command("", others[i], &err, &exit_code), WG_OK);
}

static void us_122_a_disabled_shim_is_not_in_the_linker(void **state) {
  (void)state;
  wg_error err;
  int exit_code;
  assert_int_equal(link_command("[shims]\n\nthreading = false\n", THREADING, &err, &exit_code),
                   WG_LINK);
  assert_non_null(strstr(err.msg, "warpgrid:shim/threading@0.1.0"));
  assert_non_null(strstr(err.hint, "warp.toml:3"));
  assert_non_null(strstr(err.hint, "threading = true"));
}

static void us_122_a_shim_that_is_not_there_is_not_a_stub(void **state) {
  (void)state;
  wg_error err;
  int exit_code;
  assert_int_equal(link_command("", EMPTY("warpgrid:shim-async/threading@0.1.0"), &err, &exit_code),
                   WG_LINK);
  assert_non_null(strstr(err.msg, "not available in this version"));
}

static void us_122_unknown_interfaces_are_named(void **state) {
  (void)state;
  static const char *const names[] = {"acme:billing/invoices@1.0.0", "warpgrid:shim/teleport@0.1.0",
                                      "warpgrid:shim/threading@0.2.0", "wasi:keyvalue/store@0.2.0",
                                      "wasi:http/types@0.9.0"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char import[128];
    wg_error err;
    int exit_code;
    snprintf(import, sizeof import, "(import \"%s\" (instance))", names[i]);
    assert_int_equal(link_command("", import, &err, &exit_code), WG_LINK);
    assert_non_null(strstr(err.msg, names[i]));
  }
}

static void us_122_without_shims_standard_wasi_remains(void **state) {
  (void)state;
  wg_error err;
  int exit_code = -1;
  const char *none = "[shims]\nfilesystem = false\ndns = false\nsignals = false\n"
                     "database_proxy = false\nthreading = false\n";
  assert_int_equal(link_command(none, EMPTY("wasi:io/poll@0.2.0"), &err, &exit_code), WG_OK);
  assert_int_equal(link_command(none, THREADING, &err, &exit_code), WG_LINK);
}

static void bad_components_are_told_apart(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len;
    const char *says;
  } cases[] = {
      {"", 0, "is empty"},
      {"hello", 5, "is not a WebAssembly file"},
      {"\0asm", 4, "is truncated"},
      {"\0asm\1\0\0\0", 8, "core WebAssembly module"},
      {"\0asm\x0d\0\1\0\1\xff", 10, "is truncated"},
      {"\0asm\x0e\0\1\0", 8, "unknown WebAssembly version"},
      {"(component", 10, "is not valid"},
  };
  wg_engine *e = new_engine("");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    wg_error err;
    wg_component *c;
    assert_int_equal(wg_engine_load_bytes(e, cases[i].bytes, cases[i].len, &c, &err), WG_COMPONENT);
    if (!strstr(err.msg, cases[i].says)) fail_msg("case %zu: %s", i, err.msg);
  }
  wg_engine_free(e);
}

static void compiled_code_needs_trust(void **state) {
  (void)state;
  char wat[1024], path[] = "/tmp/warpgrid-engine-test.XXXXXX";
  snprintf(wat, sizeof wat, COMMAND, "");
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  wg_engine *e = new_engine("");
  wg_component *c;
  wg_error err;
  assert_int_equal(wg_engine_load_bytes(e, wat, strlen(wat), &c, &err), WG_OK);
  assert_int_equal(wg_component_save(c, path, &err), WG_OK);
  wg_component_free(c);
  assert_int_equal(wg_engine_load(e, path, 0, &c, &err), WG_REFUSED);
  assert_non_null(strstr(err.hint, "--trusted"));
  assert_int_equal(wg_engine_load(e, path, WG_LOAD_TRUSTED, &c, &err), WG_OK);
  assert_int_equal(wg_component_get_kind(c), WG_COMPONENT_P2_COMMAND);
  wg_component_free(c);
  unlink(path);
  assert_int_equal(wg_engine_load(e, path, 0, &c, &err), WG_NOT_FOUND);
  wg_engine_free(e);
}

/* ---- serving ---- */

typedef struct server {
  wg_engine *engine;
  char url[64];
  const char *path; /**< NULL: "/" */
} server;

/** Asks the served component once, then stops the engine: from another thread, as a signal would. */
static void *ask_and_stop(void *p) {
  server *s = p;
  unsigned port = (unsigned)atoi(strrchr(s->url, ':') + 1);
  struct sockaddr_in a = {.sin_family = AF_INET,
                          .sin_port = htons((uint16_t)port),
                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  char *answer = calloc(1, 4096);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  char request[128];
  int len =
      snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
               s->path ? s->path : "/");
  if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0 && write(fd, request, (size_t)len) > 0) {
    ssize_t n, got = 0;
    while (got < 4095 && (n = read(fd, answer + got, (size_t)(4095 - got))) > 0) got += n;
  }
  close(fd);
  wg_engine_stop(s->engine);
  return answer;
}

static pthread_t client;
static void on_listening(void *user, const char *const *urls) {
  server *s = user;
  snprintf(s->url, sizeof s->url, "%s", urls[0]);
  assert_null(urls[1]);
  assert_int_equal(pthread_create(&client, NULL, ask_and_stop, s), 0);
}

static void us_101_a_service_is_served_until_the_stop(void **state) {
  (void)state;
  static const char *const guests[] = {"hello-p2", "hello-p3"};
  for (size_t i = 0; i < 2; i++) {
    char path[512];
    snprintf(path, sizeof path, WARPGRID_BINARY_DIR "/guests/%s.wasm", guests[i]);
    server s = {.engine = new_engine("[http]\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\n")};
    wg_component *c;
    wg_app *app;
    wg_error err;
    void *answer;
    if (wg_engine_load(s.engine, path, 0, &c, &err) != WG_OK) fail_msg("%s", err.msg);
    assert_int_equal(wg_engine_instantiate(s.engine, c, NULL, &app, &err), WG_OK);
    const wg_serve_options o = {.app = app, .on_listening = on_listening, .user = &s};
    assert_int_equal(wg_engine_serve(s.engine, &o, &err), WG_OK);
    pthread_join(client, &answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK"));
    free(answer);
    wg_app_free(app);
    wg_component_free(c);
    wg_engine_free(s.engine);
  }
}

/* An earlier worker's stop on this thread must not cut requests of a later engine that wait. */
static void engines_serve_one_after_the_other(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    server s = {.engine = new_engine("[http]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n"),
                .path = "/sleep?ms=20"};
    const wg_serve_options o = {.component = WARPGRID_BINARY_DIR "/guests/lab-p2.wasm",
                                .on_listening = on_listening,
                                .user = &s};
    wg_error err = {0};
    void *answer;
    if (wg_engine_serve(s.engine, &o, &err) != WG_OK) fail_msg("%s", err.msg);
    pthread_join(client, &answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK"));
    free(answer);
    assert_int_equal(wg_engine_serve(s.engine, &o, &err), WG_INVALID);
    assert_non_null(strstr(err.msg, "has served before"));
    wg_engine_free(s.engine);
  }
}

static void a_file_is_loaded_and_served(void **state) {
  (void)state;
  server s = {.engine = new_engine("[http]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n")};
  const wg_serve_options o = {.component = WARPGRID_BINARY_DIR "/guests/hello-p2.wasm",
                              .on_listening = on_listening,
                              .user = &s};
  wg_error err = {0};
  void *answer;
  if (wg_engine_serve(s.engine, &o, &err) != WG_OK) fail_msg("%s", err.msg);
  pthread_join(client, &answer);
  assert_non_null(strstr(answer, "HTTP/1.1 200 OK"));
  free(answer);
  wg_engine_free(s.engine);
  s.engine = new_engine("");
  const wg_serve_options missing = {.component = WARPGRID_BINARY_DIR "/guests/none.wasm"};
  assert_int_equal(wg_engine_serve(s.engine, &missing, &err), WG_NOT_FOUND);
  wg_engine_free(s.engine);
}

static void a_command_is_not_served(void **state) {
  (void)state;
  char wat[1024];
  snprintf(wat, sizeof wat, COMMAND, "");
  wg_engine *e = new_engine("");
  wg_component *c;
  wg_app *app;
  wg_error err;
  assert_int_equal(wg_engine_load_bytes(e, wat, strlen(wat), &c, &err), WG_OK);
  assert_int_equal(wg_engine_instantiate(e, c, NULL, &app, &err), WG_OK);
  assert_int_equal(wg_engine_serve(e, &(wg_serve_options){.app = app}, &err), WG_INVALID);
  assert_non_null(strstr(err.msg, "wasi:http/handler@0.3"));
  wg_app_free(app);
  wg_component_free(c);
  wg_engine_free(e);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
      TEST(us_101_a_command_runs_to_its_end),
      TEST(us_121_start_up_logs_the_shims_and_their_settings),
      TEST(us_122_enabled_shims_link),
      TEST(us_122_a_disabled_shim_is_not_in_the_linker),
      TEST(us_122_a_shim_that_is_not_there_is_not_a_stub),
      TEST(us_122_unknown_interfaces_are_named),
      TEST(us_122_without_shims_standard_wasi_remains),
      TEST(bad_components_are_told_apart),
      TEST(compiled_code_needs_trust),
      TEST(us_101_a_service_is_served_until_the_stop),
      TEST(engines_serve_one_after_the_other),
      TEST(a_file_is_loaded_and_served),
      TEST(a_command_is_not_served),
#undef TEST
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
