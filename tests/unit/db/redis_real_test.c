/* SPDX-License-Identifier: Apache-2.0 */
/* US-116, US-117 with a real Redis (or Valkey): a server of its own in a temporary folder, on a free port
 * of 127.0.0.1. Skipped, with a word why, where its program is not installed. */
#include "db/certs.h"
#include "db/db_fixture.h"
#include "db/real_redis.h"
#include "db/redis_guest.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* US-117: SET, GET, DEL. */
static void test_us117_set_get_del(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  redis_start(&f);
  for (int socket = 0; socket < 2; socket++) {
    if (socket)
      redis_open(&r, &f);
    else
      redis_connect(&r, &f);
    redis_ask(&r, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n", "+OK\r\n");
    redis_ask(&r, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$5\r\nvalue\r\n");
    redis_ask(&r, "*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n", ":1\r\n");
    redis_ask(&r, "GET k\r\n", "$-1\r\n");
    redis_leave(&r);
    redis_quiet(&f);
  }
  assert_int_equal(db_stats(&f).connects, 1);
  db_fixture_stop(&f);
}

/* US-112, US-117: a connection that died while nobody used it is found and replaced. */
static void test_us117_health_check(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  redis_start(&f);
  redis_connect(&r, &f);
  redis_ask(&r, "PING\r\n", "+PONG\r\n");
  redis_leave(&r);
  redis_quiet(&f);
  db_advance(&f, f.database.pool.health_interval_ms + 1); /* a live server answers */
  for (int i = 0; i < 50; i++) db_run(&f.one);
  redis_quiet(&f);
  assert_int_equal(db_stats(&f).unhealthy, 0);
  real_redis_freeze(true);
  db_advance(&f, f.database.pool.health_interval_ms + 1);
  db_run(&f.one);
  db_advance(&f, DB_RESET_TIMEOUT_MS + 1);
  db_run_until_stats(&f, 0, 0, 0);
  assert_int_equal(db_stats(&f).unhealthy, 1);
  real_redis_freeze(false);
  redis_connect(&r, &f);
  redis_ask(&r, "PING\r\n", "+PONG\r\n");
  redis_leave(&r);
  redis_quiet(&f);
  real_redis_restart();
  db_run_until_stats(&f, 0, 0, 0);
  redis_connect(&r, &f);
  redis_ask(&r, "PING\r\n", "+PONG\r\n");
  redis_leave(&r);
  db_fixture_stop(&f);
}

static void test_log_in(void **state) {
  (void)state;
  static const struct {
    const char *user, *password, *database, *who, *refused;
  } kinds[] = {
      {NULL, "secret", "0", "$7\r\ndefault\r\n", NULL},
      {"", "secret", "7", "$7\r\ndefault\r\n", NULL},
      {"default", "secret", "0", "$7\r\ndefault\r\n", NULL},
      {"app", "secret", "3", "$3\r\napp\r\n", NULL},
      {"other", "another one", "0", "$5\r\nother\r\n", NULL},
      {"app", "wrong", "0", NULL, "WRONGPASS"},
      {"stranger", "secret", "0", NULL, "WRONGPASS"},
      {NULL, "", "0", NULL, "NOAUTH"},
      {NULL, "wrong", "0", NULL, "WRONGPASS"},
      {NULL, "secret", "99", NULL, "DB index is out of range"},
  };
  for (size_t i = 0; i < WG_COUNT(kinds); i++) {
    db_fixture f;
    redis_guest r;
    redis_init(&f);
    f.database.user = (char *)(uintptr_t)kinds[i].user;
    f.database.password =
        (wg_secret){(char *)(uintptr_t)kinds[i].password, strlen(kinds[i].password)};
    f.database.database = (char *)(uintptr_t)kinds[i].database;
    db_fixture_start(&f);
    if (kinds[i].refused) {
      assert_false(redis_try(&r, &f));
      if (!strstr(r.err.msg, kinds[i].refused)) fail_msg("%zu: %s", i, r.err.msg);
      redis_open(&r, &f);
      redis_say(&r, "PING\r\n");
      assert_non_null(strstr(redis_line(&r), kinds[i].refused));
      redis_hear_end(&r);
      redis_leave(&r);
    } else {
      for (int round = 0; round < 2; round++) { /* the second time after a reset */
        char expected[32];
        snprintf(expected, sizeof expected, " db=%s ", kinds[i].database);
        redis_connect(&r, &f);
        redis_ask(&r, "ACL WHOAMI\r\n", kinds[i].who);
        redis_say(&r, "CLIENT INFO\r\n");
        redis_line(&r);
        assert_non_null(strstr(redis_line(&r), expected));
        redis_leave(&r);
        redis_quiet(&f);
      }
    }
    db_fixture_stop(&f);
  }
}

/** What a guest reads that gets no connection, by the shim and by a socket. */
static void refused(db_fixture *f, const char *expected) {
  redis_guest r;
  assert_false(redis_try(&r, f));
  if (!strstr(r.err.msg, expected) || strstr(r.err.msg, "SQLSTATE")) fail_msg("%s", r.err.msg);
  redis_open(&r, f);
  redis_say(&r, "PING\r\n");
  redis_line(&r);
  if (!strstr(r.got, expected) || strstr(r.got, "SQLSTATE")) fail_msg("%s", r.got);
  redis_hear_end(&r);
  redis_leave(&r);
}

/* Codes of SQL are not for Redis's guests. */
static void test_us116_errors_have_no_sqlstate(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  redis_init(&f);
  f.database.port = 1;
  db_fixture_start(&f);
  refused(&f, "connect to 127.0.0.1:1: Connection refused");
  db_fixture_stop(&f);

  redis_init(&f);
  f.database.address = (char *)"no.such.host.invalid";
  db_fixture_start(&f);
  refused(&f, "resolve 'no.such.host.invalid'");
  db_fixture_stop(&f);

  redis_init(&f);
  f.database.pool.pool_size = 1;
  f.database.pool.max_waiters = 0;
  db_fixture_start(&f);
  redis_connect(&r, &f);
  refused(&f, "guests wait for its 1 connections already");
  redis_leave(&r);
  db_fixture_stop(&f);

  redis_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  redis_connect(&r, &f);
  db_result late;
  wg_db_target t = {.protocol = WG_DB_REDIS,
                    .host = f.database.host,
                    .host_len = strlen(f.database.host),
                    .port = f.database.port};
  db_start_connect_to(f.guest, &t, &late);
  db_advance(&f, f.database.pool.connect_timeout_ms + 1u);
  db_run_until(&f.one, &late.done);
  assert_non_null(strstr(late.err.msg, "stayed in use"));
  assert_null(strstr(late.err.msg, "SQLSTATE"));
  redis_leave(&r);
  db_fixture_stop(&f);
}

static void test_unix_socket(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  redis_init(&f);
  f.database.address = (char *)real_redis_dir();
  db_fixture_start(&f);
  redis_connect(&r, &f);
  redis_ask(&r, "PING\r\n", "+PONG\r\n");
  redis_leave(&r);
  redis_quiet(&f);
  db_fixture_stop(&f);
}

/* While developing, a server of this machine needs no declaration, nor a user. */
static void test_undeclared_loopback(void **state) {
  (void)state;
  static const struct {
    const char *user, *password, *database;
    wg_code code;
  } kinds[] = {{"", "secret", "", WG_OK},
               {"app", "secret", "4", WG_OK},
               {"app", "wrong", "", WG_AUTH},
               {"", "secret", "shop", WG_INVALID}};
  db_fixture f;
  redis_init(&f);
  f.database.port = 1; /* of the only declared one */
  f.config.loopback_databases = true;
  db_fixture_start(&f);
  for (size_t i = 0; i < WG_COUNT(kinds); i++) {
    wg_db_target t = {.protocol = WG_DB_REDIS,
                      .host = "127.0.0.1",
                      .host_len = 9,
                      .port = real_redis_port(),
                      .user = kinds[i].user,
                      .user_len = strlen(kinds[i].user),
                      .password = kinds[i].password,
                      .password_len = strlen(kinds[i].password),
                      .database = kinds[i].database,
                      .database_len = strlen(kinds[i].database)};
    db_result result;
    db_start_connect_to(f.guest, &t, &result);
    db_run_until(&f.one, &result.done);
    if (result.code != kinds[i].code) fail_msg("%zu: %s", i, result.err.msg);
    if (result.code != WG_OK) continue;
    redis_guest r = {.f = &f, .handle = result.req.handle};
    redis_ask(&r, "ACL WHOAMI\r\n", kinds[i].user[0] ? "$3\r\napp\r\n" : "$7\r\ndefault\r\n");
    redis_leave(&r);
  }
  db_fixture_stop(&f);
}

/* ---- guests that log in themselves ---- */

static void auth_start(db_fixture *f, wg_db_auth auth) {
  redis_init(f);
  f->database.auth = auth;
  f->database.password = (wg_secret){0};
  f->database.credential_ttl_ms = 60000;
  f->database.pool.pool_size = 1; /* of each user: who comes again waits for the reset */
  db_fixture_start(f);
}

static void test_us116_guest_auth(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  auth_start(&f, WG_DB_AUTH_GUEST);
  redis_open(&r, &f);
  redis_ask(&r, "GET a\r\nHELLO 3\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n\r\n*0\r\n",
            "-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n"
            "-NOAUTH Authentication required.\r\n");
  redis_ask(&r, "AUTH app secret\r\nACL WHOAMI\r\n", "+OK\r\n$3\r\napp\r\n");
  long app = redis_id(&r);
  redis_leave(&r);
  redis_open(&r, &f);
  redis_say(&r, "AUTH app wrong\r\n");
  assert_true(strncmp(redis_line(&r), "-WRONGPASS ", 11) == 0);
  redis_hear_end(&r);
  redis_leave(&r);
  redis_open(&r, &f);
  redis_ask(&r, "AUTH other \"another one\"\r\n",
            "-NOAUTH Authentication required.\r\n"); /* quotes */
  redis_ask(&r, "*3\r\n$4\r\nAUTH\r\n$5\r\nother\r\n$11\r\nanother one\r\n", "+OK\r\n");
  redis_ask(&r, "ACL WHOAMI\r\n", "$5\r\nother\r\n");
  assert_int_not_equal(redis_id(&r), app);
  redis_leave(&r);
  redis_open(&r, &f);
  redis_ask(&r, "AUTH secret\r\nACL WHOAMI\r\n", "+OK\r\n$7\r\ndefault\r\n");
  assert_int_not_equal(redis_id(&r), app);
  redis_leave(&r);
  redis_open(&r, &f);
  redis_say(&r, "HELLO 2 AUTH app secret\r\n");
  assert_string_equal(redis_line(&r), "*14");
  redis_say(&r, "ECHO end\r\n");
  while (strcmp(redis_line(&r), "end") != 0) {
  }
  assert_int_equal(redis_id(&r), app); /* the same guest's, used again */
  redis_leave(&r);
  db_fixture_stop(&f);
}

static void test_us116_relay(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  auth_start(&f, WG_DB_AUTH_RELAY);
  redis_open(&r, &f);
  redis_ask(&r, "GET a\r\n", "-NOAUTH Authentication required.\r\n");
  redis_say(&r, "AUTH app wrong\r\n");
  assert_true(strncmp(redis_line(&r), "-WRONGPASS ", 11) == 0);
  redis_ask(&r, "AUTH app secret\r\nACL WHOAMI\r\n",
            "+OK\r\n$3\r\napp\r\n"); /* the server's answers */
  redis_ask(&r, "QUIT\r\n", "+OK\r\n");
  redis_hear_end(&r);
  redis_leave(&r);
  redis_open(&r, &f);
  redis_ask(&r, "GET a\r\n", "-NOAUTH Authentication required.\r\n"); /* nobody else's log-in */
  redis_leave(&r);
  db_run_until_stats(&f, 0, 0, 0);
  db_fixture_stop(&f);
}

/** Says a line to the server as its administrator, over a guest of another fixture. */
static void administer(const char *text) {
  db_fixture f;
  redis_guest r;
  redis_init(&f);
  f.database.user = (char *)"other";
  f.database.password = (wg_secret){(char *)"another one", 11};
  db_fixture_start(&f);
  redis_connect(&r, &f);
  redis_ask(&r, text, "+OK\r\n");
  redis_leave(&r);
  db_fixture_stop(&f);
}

/* A password that was changed on the server: who is logged in goes on, and nobody comes after. */
static void test_a_password_is_changed(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  redis_init(&f);
  f.database.user = (char *)"app";
  db_fixture_start(&f);
  redis_connect(&r, &f);
  redis_ask(&r, "PING\r\n", "+PONG\r\n");
  administer("ACL SETUSER app resetpass >changed\r\n");
  redis_ask(&r, "PING\r\n", "+PONG\r\n");
  redis_leave(&r);
  db_run_until_stats(&f, 0, 0, 0); /* its reset was refused */
  assert_false(redis_try(&r, &f));
  assert_non_null(strstr(r.err.msg, "WRONGPASS"));
  administer("ACL SETUSER app resetpass >secret\r\n");
  db_advance(&f, 60000); /* it is not asked at once again */
  redis_connect(&r, &f);
  redis_ask(&r, "ACL WHOAMI\r\n", "$3\r\napp\r\n");
  redis_leave(&r);
  db_fixture_stop(&f);
}

/* The same where guests bring it: the new one is asked of the server, the old one opens nothing new. */
static void test_us116_guest_auth_after_a_change(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  auth_start(&f, WG_DB_AUTH_GUEST);
  redis_open(&r, &f);
  redis_ask(&r, "AUTH app secret\r\nPING\r\n", "+OK\r\n+PONG\r\n");
  administer("ACL SETUSER app resetpass >changed\r\n");
  redis_leave(&r);
  db_run_until_stats(&f, 0, 0, 0);
  for (int round = 0; round < 2; round++) {
    redis_open(&r, &f);
    redis_say(&r, "AUTH app secret\r\n");
    assert_true(strncmp(redis_line(&r), "-WRONGPASS ", 11) == 0);
    redis_hear_end(&r);
    redis_leave(&r);
    redis_open(&r, &f);
    redis_ask(&r, "AUTH app changed\r\nACL WHOAMI\r\n", "+OK\r\n$3\r\napp\r\n");
    redis_leave(&r);
    redis_quiet(&f);
  }
  administer("ACL SETUSER app resetpass >secret\r\n");
  db_fixture_stop(&f);
}

/* ---- subscriptions ---- */

static void on_done(wg_db_req *req, const wg_error *err) {
  *(int *)req->user = err ? (int)err->code : 1;
}

/* A subscriber waits as long as it takes; others have the deadline. */
static void test_us116_subscribers_have_no_deadline(void **state) {
  (void)state;
  for (int listens = 0; listens < 2; listens++) {
    db_fixture f;
    redis_guest r;
    redis_start(&f);
    redis_connect(&r, &f);
    if (listens)
      redis_ask(&r, "SUBSCRIBE news\r\n", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    else
      redis_ask(&r, "PING\r\n", "+PONG\r\n");
    int done = 0;
    char byte;
    wg_db_req req = {0};
    assert_int_equal(wg_db_recv(f.guest, r.handle, (uint8_t *)&byte, 1, NULL), WG_AGAIN);
    wg_db_wait(f.guest, r.handle, WG_WATCH_READ, true, &req, on_done, &done);
    db_advance(&f, f.database.pool.recv_timeout_ms + 1000u);
    db_run(&f.one);
    assert_int_equal(done, listens ? 0 : WG_TIMEOUT);
    if (listens) {
      redis_guest other;
      redis_connect(&other, &f);
      redis_ask(&other, "PUBLISH news hot\r\n", ":1\r\n");
      redis_leave(&other);
      for (int i = 0; i < 5000 && !done; i++, uv_sleep(1)) db_run(&f.one);
      assert_int_equal(done, 1);
      redis_hear(&r, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\nhot\r\n");
    }
    redis_leave(&r);
    db_fixture_stop(&f);
  }
}

/** Waits past the deadline.  @return what came of it; 0: it still waits */
static int wait_long(redis_guest *r) {
  int done = 0;
  uint8_t byte;
  wg_db_req req = {0};
  assert_int_equal(wg_db_recv(r->f->guest, r->handle, &byte, 1, NULL), WG_AGAIN);
  wg_db_wait(r->f->guest, r->handle, WG_WATCH_READ, true, &req, on_done, &done);
  db_advance(r->f, r->f->database.pool.recv_timeout_ms + 1000u);
  db_run(&r->f->one);
  if (!done) wg_db_cancel(r->f->guest, &req);
  return done;
}

/* Who asked the server to wait is not cut while it does; afterwards the deadline is back. */
static void test_us116_commands_that_block(void **state) {
  (void)state;
  static const struct {
    const char *ask, *other, *others, *answer;
  } kinds[] = {
      {"BLPOP q 60\r\n", "RPUSH q x\r\n", ":1\r\n", "*2\r\n$1\r\nq\r\n$1\r\nx\r\n"},
      {"BLMOVE q p LEFT LEFT 60\r\n", "RPUSH q x\r\n", ":1\r\n", "$1\r\nx\r\n"},
      {"BZPOPMIN z 60\r\n", "ZADD z 1 x\r\n", ":1\r\n", "*3\r\n$1\r\nz\r\n$1\r\nx\r\n$1\r\n1\r\n"},
      {"XREAD BLOCK 60000 STREAMS s 0\r\n", "XADD s 1-1 a b\r\n", "$3\r\n1-1\r\n",
       "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"},
  };
  db_fixture f;
  redis_guest r, other;
  redis_start(&f);
  redis_connect(&r, &f);
  redis_connect(&other, &f);
  redis_ask(&other, "FLUSHALL\r\n", "+OK\r\n");
  for (size_t i = 0; i < WG_COUNT(kinds); i++) {
    redis_say(&r, kinds[i].ask);
    if (wait_long(&r) != 0) fail_msg("%s: cut", kinds[i].ask);
    redis_ask(&other, kinds[i].other, kinds[i].others);
    redis_hear(&r, kinds[i].answer);
    assert_int_equal(wait_long(&r), WG_TIMEOUT);
  }
  redis_leave(&other);
  redis_leave(&r);
  db_fixture_stop(&f);
}

/* ---- what passes ---- */

static void test_a_long_pipeline(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  char expected[7 * 1000 + 1] = "", *text = malloc(64 * 1024), *at = text;
  redis_start(&f);
  redis_connect(&r, &f);
  long before = redis_id(&r);
  for (int i = 0; i < 1000; i++) {
    at += sprintf(at, "*2\r\n$4\r\nPING\r\n$1\r\n%d\r\n", i % 10);
    snprintf(expected + 7 * i, 8, "$1\r\n%d\r\n", i % 10);
  }
  redis_ask(&r, text, expected);
  redis_leave(&r);
  redis_quiet(&f);
  redis_connect(&r, &f);
  assert_int_equal(redis_id(&r), before); /* it was counted to the end */
  redis_say(&r, text);
  redis_leave(&r); /* with all answers owed: read away, then reset; or closed */
  redis_connect(&r, &f);
  redis_ask(&r, "GET nothing\r\n", "$-1\r\n");
  redis_leave(&r);
  db_fixture_stop(&f);
  free(text);
}

static void test_a_server_that_goes(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  redis_start(&f);
  redis_connect(&r, &f);
  redis_ask(&r, "PING\r\n", "+PONG\r\n");
  redis_say(&r, "BLPOP nothing 0\r\n");
  real_redis_restart();
  assert_true(strncmp(redis_line(&r), "-ERR ", 5) == 0);
  redis_hear_end(&r);
  redis_leave(&r);
  db_fixture_stop(&f);
}

/* Killed while nobody has it, and while somebody does. */
static void test_client_kill(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r, other;
  char kill[64];
  real_redis_restart();
  redis_start(&f);
  redis_connect(&other, &f);
  for (int used = 0; used < 3; used++) { /* idle; in use; in use and waiting */
    redis_connect(&r, &f);
    long before = redis_id(&r);
    if (!used) redis_leave(&r);
    if (!used) db_run_until_stats(&f, 1, 1, 2);
    if (used == 2) redis_say(&r, "BLPOP nothing 0\r\n");
    snprintf(kill, sizeof kill, "CLIENT KILL ID %ld\r\n", before);
    redis_ask(&other, kill, ":1\r\n");
    if (used == 1) redis_hear_end(&r); /* it asked nothing */
    if (used == 2) redis_ask(&r, "", "-ERR the server closed the connection\r\n");
    if (used) redis_leave(&r);
    redis_connect(&r, &f);
    assert_int_not_equal(redis_id(&r), before);
    redis_leave(&r);
  }
  redis_leave(&other);
  db_fixture_stop(&f);
}

/* All of it is passed on before a word is read, and answered in order; nothing is kept in between. */
static void test_a_pipeline_of_100000(void **state) {
  (void)state;
  enum { N = 100000, ASK = 26, ANSWER = 12 };
  db_fixture f;
  redis_guest r;
  char *text = malloc(N * ASK + 1), *answers = malloc(N * ANSWER + 1);
  assert_non_null(text);
  assert_non_null(answers);
  redis_start(&f);
  redis_connect(&r, &f);
  long before = redis_id(&r);
  for (int i = 0; i < N; i++) {
    snprintf(text + i * ASK, ASK + 1, "*2\r\n$4\r\nECHO\r\n$6\r\n%06d\r\n", i);
    snprintf(answers + i * ANSWER, ANSWER + 1, "$6\r\n%06d\r\n", i);
  }
  redis_say(&r, text);
  for (size_t have = 0; have < (size_t)N * ANSWER;) {
    char bytes[65536];
    wg_error err;
    ssize_t n = db_recv(&f, f.guest, r.handle, bytes, sizeof bytes, &err);
    assert_true(n > 0 && have + (size_t)n <= (size_t)N * ANSWER);
    assert_memory_equal(bytes, answers + have, (size_t)n);
    have += (size_t)n;
  }
  redis_leave(&r);
  redis_quiet(&f);
  redis_connect(&r, &f);
  assert_int_equal(redis_id(&r), before);
  redis_leave(&r);
  db_fixture_stop(&f);
  free(text);
  free(answers);
}

static void on_drained(void *user) { *(bool *)user = true; }

/* US-116: while the host stops, nobody new is served, and what is in progress ends first. */
static void test_us116_draining(void **state) {
  (void)state;
  db_fixture f;
  redis_guest idle, busy, late;
  bool drained = false;
  redis_start(&f);
  redis_connect(&idle, &f);
  redis_connect(&busy, &f);
  redis_ask(&idle, "PING\r\n", "+PONG\r\n");
  redis_leave(&idle);
  db_run_until_stats(&f, 1, 1, 2);
  redis_open(&late, &f);
  redis_say(&busy, "DEBUG SLEEP 0.2\r\n");
  wg_db_worker_drain(f.one.w, on_drained, &drained);
  db_run_until_stats(&f, 1, 0, 1);
  redis_say(&late, "PING\r\n");
  assert_non_null(strstr(redis_line(&late), "-ERR database 'main': the host is stopping"));
  redis_hear_end(&late);
  redis_leave(&late);
  assert_false(redis_try(&late, &f));
  assert_false(drained);
  redis_hear(&busy, "+OK\r\n");
  redis_leave(&busy);
  db_run_until(&f.one, &drained);
  assert_int_equal(db_stats(&f).total, 0);
  db_fixture_stop(&f);
}

/* Nor is a transaction cut, or a subscription, between two commands. */
static void test_us116_draining_between_commands(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  bool drained = false;
  redis_start(&f);
  redis_connect(&r, &f);
  redis_ask(&r, "MULTI\r\nSET drained 1\r\n", "+OK\r\n+QUEUED\r\n");
  wg_db_worker_drain(f.one.w, on_drained, &drained);
  redis_ask(&r, "GET drained\r\nEXEC\r\n", "+QUEUED\r\n*2\r\n+OK\r\n$1\r\n1\r\n");
  redis_ask(&r, "SUBSCRIBE news\r\n", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
  assert_false(drained);
  redis_leave(&r);
  db_run_until(&f.one, &drained);
  assert_int_equal(db_stats(&f).total, 0);
  db_fixture_stop(&f);
}

static void test_min_idle(void **state) {
  (void)state;
  db_fixture f;
  redis_init(&f);
  f.database.pool.min_idle = 2;
  db_fixture_start(&f);
  db_run_until_stats(&f, 0, 2, 2);
  db_fixture_stop(&f);
}

/* A server that repeats what it does not know repeats the password: not to guests, nor to the log. */
static void test_a_password_is_not_repeated(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  if (!real_redis_running()) skip();
  real_redis_stop();
  (void)real_redis_start(&(real_redis_spec){.lines = "rename-command AUTH \"\"\n"});
  redis_init(&f);
  f.database.user = (char *)"app";
  db_fixture_start(&f);
  assert_false(redis_try(&r, &f));
  assert_non_null(strstr(r.err.msg, "unknown command 'AUTH'"));
  assert_null(strstr(r.err.msg, "secret"));
  db_fixture_stop(&f);
}

static void test_us116_tls(void **state) {
  (void)state;
  static const wg_tls_mode modes[] = {WG_TLS_VERIFY_FULL, WG_TLS_VERIFY_CA, WG_TLS_REQUIRE,
                                      WG_TLS_PREFER};
  db_fixture f;
  redis_guest r;
  if (!real_redis_running()) skip();
  real_redis_stop();
  certs_make(&(cert_spec){.file = "ca", .cn = "test authority", .ca = true});
  certs_make(&(cert_spec){
      .file = "server", .cn = "db.example", .issuer = "ca", .san = "DNS:db.example", .rsa = true});
  (void)real_redis_start(&(real_redis_spec){.tls = certs_folder()});
  for (size_t i = 0; i <= WG_COUNT(modes); i++) {
    bool wrong = i == WG_COUNT(modes);
    redis_init(&f);
    f.database.host = (char *)(wrong ? "other.example" : "db.example");
    f.database.address = (char *)"127.0.0.1";
    f.database.tls.mode = wrong ? WG_TLS_VERIFY_FULL : modes[i];
    f.database.tls.ca = certs_path("ca", "crt");
    db_fixture_start(&f);
    for (int round = 0; round < 2 && !wrong; round++) {
      redis_connect(&r, &f);
      redis_ask(&r, "PING\r\n", "+PONG\r\n");
      redis_leave(&r);
      redis_quiet(&f);
    }
    if (wrong) {
      assert_false(redis_try(&r, &f));
      assert_non_null(strstr(r.err.msg, "other.example"));
    } else {
      assert_int_equal(db_stats(&f).connects, 1);
    }
    db_fixture_stop(&f);
  }
  certs_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us117_set_get_del),
      cmocka_unit_test(test_us117_health_check),
      cmocka_unit_test(test_log_in),
      cmocka_unit_test(test_us116_errors_have_no_sqlstate),
      cmocka_unit_test(test_unix_socket),
      cmocka_unit_test(test_undeclared_loopback),
      cmocka_unit_test(test_us116_guest_auth),
      cmocka_unit_test(test_us116_relay),
      cmocka_unit_test(test_a_password_is_changed),
      cmocka_unit_test(test_us116_guest_auth_after_a_change),
      cmocka_unit_test(test_client_kill),
      cmocka_unit_test(test_a_pipeline_of_100000),
      cmocka_unit_test(test_us116_subscribers_have_no_deadline),
      cmocka_unit_test(test_us116_commands_that_block),
      cmocka_unit_test(test_a_long_pipeline),
      cmocka_unit_test(test_a_server_that_goes),
      cmocka_unit_test(test_us116_draining),
      cmocka_unit_test(test_us116_draining_between_commands),
      cmocka_unit_test(test_min_idle),
      cmocka_unit_test(test_a_password_is_not_repeated), /* with servers of their own */
      cmocka_unit_test(test_us116_tls),
  };
  (void)real_redis_start(NULL);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  real_redis_stop();
  return failed;
}
