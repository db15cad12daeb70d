/* SPDX-License-Identifier: Apache-2.0 */
/* US-116, US-117 with a real Redis (or Valkey): a server of its own in a temporary folder, on a free port
 * of 127.0.0.1. Skipped, with a word why, where its program is not installed. */
#include "db/certs.h"
#include "db/db_fixture.h"
#include "db/real_redis.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool running;

typedef struct redis_guest {
  db_fixture *f;
  uint64_t handle;
  wg_error err;
  char got[8192]; /* the last answers */
} redis_guest;

static void real_init(db_fixture *f) {
  if (!running) skip();
  db_fixture_init(f);
  f->real = true;
  f->database.protocol = WG_DB_REDIS;
  f->database.port = real_redis_port();
  f->database.database = (char *)"0";
  f->database.user = NULL;
  f->database.password = (wg_secret){(char *)"secret", 6};
}

static void real_start(db_fixture *f) {
  real_init(f);
  db_fixture_start(f);
}

/** Connects as the shim does.  @return false: r->err says why */
static bool guest_try(redis_guest *r, db_fixture *f) {
  const wg_database_config *d = &f->database;
  wg_db_target t = {
      .protocol = WG_DB_REDIS, .host = d->host, .host_len = strlen(d->host), .port = d->port};
  db_result result;
  r->f = f;
  db_start_connect_to(f->guest, &t, &result);
  db_run_until(&f->one, &result.done);
  r->handle = result.req.handle;
  r->err = result.err;
  return result.code == WG_OK;
}

static void guest_connect(redis_guest *r, db_fixture *f) {
  if (!guest_try(r, f)) fail_msg("connect: %s", r->err.msg);
}

/** A handle as a socket gets it. */
static void guest_open(redis_guest *r, db_fixture *f) {
  wg_error err;
  r->f = f;
  if (wg_db_open(f->guest, f->database.host, strlen(f->database.host), f->database.port, &r->handle,
                 &err) != WG_OK)
    fail_msg("open: %s", err.msg);
}

static void say(redis_guest *r, const char *text) {
  db_send(r->f, r->f->guest, r->handle, text, strlen(text));
}

/** Reads just as many bytes as are expected, and compares. */
static void hear(redis_guest *r, const char *expected) {
  size_t want = strlen(expected), have = 0;
  memset(r->got, 0, sizeof r->got);
  while (have < want) {
    wg_error err;
    ssize_t n = db_recv(r->f, r->f->guest, r->handle, r->got + have, want - have, &err);
    if (n <= 0) fail_msg("%s instead of %s, then the end", r->got, expected);
    have += (size_t)n;
  }
  assert_string_equal(r->got, expected);
}

/** Reads up to the end of one line that ends the answer. */
static const char *line(redis_guest *r) {
  size_t have = 0;
  memset(r->got, 0, sizeof r->got);
  while (have < sizeof r->got - 1 && (have < 2 || memcmp(r->got + have - 2, "\r\n", 2) != 0)) {
    wg_error err;
    ssize_t n = db_recv(r->f, r->f->guest, r->handle, r->got + have, 1, &err);
    if (n <= 0) fail_msg("'%s', then the end", r->got);
    have++;
  }
  r->got[have - 2] = '\0';
  return r->got;
}

static void ask(redis_guest *r, const char *text, const char *expected) {
  say(r, text);
  hear(r, expected);
}

static void hear_end(redis_guest *r) {
  char byte;
  wg_error err;
  assert_int_equal(db_recv(r->f, r->f->guest, r->handle, &byte, 1, &err), 0);
}

static long id(redis_guest *r) {
  say(r, "CLIENT ID\r\n");
  const char *text = line(r);
  assert_int_equal(text[0], ':');
  return strtol(text + 1, NULL, 10);
}

static void leave(redis_guest *r) { db_close(r->f->guest, r->handle); }

/** A connection whose reset is over. */
static void quiet(db_fixture *f) { db_run_until_stats(f, 0, 1, 1); }

/* US-117: SET, GET, DEL. */
static void test_us117_set_get_del(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  real_start(&f);
  for (int socket = 0; socket < 2; socket++) {
    if (socket)
      guest_open(&r, &f);
    else
      guest_connect(&r, &f);
    ask(&r, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n", "+OK\r\n");
    ask(&r, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$5\r\nvalue\r\n");
    ask(&r, "*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n", ":1\r\n");
    ask(&r, "GET k\r\n", "$-1\r\n");
    leave(&r);
    quiet(&f);
  }
  assert_int_equal(db_stats(&f).connects, 1);
  db_fixture_stop(&f);
}

/* US-117: connect, close, connect: the same connection, and nothing of the first guest is left. */
static void test_us117_reuse_and_reset(void **state) {
  (void)state;
  static const struct {
    const char *leave, *left, *ask, *expected;
  } kinds[] = {
      {"SELECT 5\r\n", "+OK\r\n", "SET where here\r\n", "+OK\r\n"},
      {"SELECT 5\r\n", "+OK\r\n", "GET where\r\n", "$4\r\nhere\r\n"},
      {"MULTI\r\nSET a 1\r\n", "+OK\r\n+QUEUED\r\n", "GET a\r\n", "$-1\r\n"},
      {"WATCH w\r\n", "+OK\r\n", "MULTI\r\nGET where\r\nEXEC\r\n",
       "+OK\r\n+QUEUED\r\n*1\r\n$4\r\nhere\r\n"},
      {"CLIENT SETNAME mine\r\n", "+OK\r\n", "CLIENT GETNAME\r\n", "$-1\r\n"},
      {"READONLY\r\n", NULL, "PING\r\n", "+PONG\r\n"}, /* Redis refuses it without a cluster */
      {"nonsense\r\n", "-ERR unknown command 'nonsense', with args beginning with: \r\n",
       "PING\r\n", "+PONG\r\n"},
      {"HELLO\r\n", NULL, "GET where\r\n", "$4\r\nhere\r\n"},
      {"HELLO 3\r\n", NULL, "GET nothing\r\n", "$-1\r\n"},
      {"AUTH anything\r\n", "+OK\r\n", "ACL WHOAMI\r\n", "$7\r\ndefault\r\n"},
      {"QUIT\r\n", "+OK\r\n", "PING\r\n", "+PONG\r\n"},
      {"PING\r\nQUIT\r\nSET where there\r\n", "+PONG\r\n+OK\r\n", "GET where\r\n",
       "$4\r\nhere\r\n"},
  };
  db_fixture f;
  redis_guest r;
  real_start(&f);
  guest_connect(&r, &f);
  ask(&r, "FLUSHALL\r\n", "+OK\r\n");
  long first = id(&r);
  leave(&r);
  quiet(&f);
  for (size_t i = 0; i < WG_COUNT(kinds); i++)
    for (int socket = 0; socket < 2; socket++) {
      if (socket)
        guest_open(&r, &f);
      else
        guest_connect(&r, &f);
      say(&r, kinds[i].leave);
      if (kinds[i].left)
        hear(&r, kinds[i].left);
      else
        line(&r);
      leave(&r);
      quiet(&f);
      guest_connect(&r, &f);
      ask(&r, kinds[i].ask, kinds[i].expected);
      long now = id(&r);
      if (now != first) fail_msg("%s: connection %ld, not %ld", kinds[i].leave, now, first);
      leave(&r);
      quiet(&f);
    }
  assert_int_equal(db_stats(&f).connects, 1);
  db_fixture_stop(&f);
}

/* What a reset would not undo, or could not count, costs the connection and nothing else. */
static void test_in_doubt_it_is_closed(void **state) {
  (void)state;
  static const struct {
    const char *leave, *first_line;
  } kinds[] = {
      {"SUBSCRIBE a b\r\n", "*3"},
      {"PSUBSCRIBE a*\r\n", "*3"},
      {"MONITOR\r\n", "+OK"},
      {"CLIENT NO-EVICT on\r\n", "+OK"},
      {"CLIENT REPLY OFF\r\n", NULL},
      {"CLIENT REPLY SKIP\r\n", NULL},
      {"BLPOP nothing 0\r\n", NULL},
      {"DEBUG SLEEP 0\r\n", "+OK"},
      {"PING\r\nAUTH nonsense\r\n", "+PONG"},
      {"RESET\r\n", "+RESET"},
      {"*2\r\n$3\r\nGET\r\n$100\r\nhalf", NULL},
  };
  db_fixture f;
  redis_guest r;
  real_start(&f);
  for (size_t i = 0; i < WG_COUNT(kinds); i++) {
    guest_connect(&r, &f);
    long before = id(&r);
    say(&r, kinds[i].leave);
    if (kinds[i].first_line) assert_string_equal(line(&r), kinds[i].first_line);
    leave(&r);
    guest_connect(&r, &f);
    ask(&r, "GET nothing\r\n", "$-1\r\n");
    long after = id(&r);
    if (after == before) fail_msg("%s: used again", kinds[i].leave);
    leave(&r);
    db_run_until_stats(&f, 0, 1, 1);
  }
  db_fixture_stop(&f);
}

/* Redis sends as one pipeline what drivers begin with. */
static void test_what_drivers_begin_with(void **state) {
  (void)state;
  static const struct {
    const char *say, *last;
  } drivers[] = {
      {"*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n*3\r\n$6\r\nCLIENT\r\n"
       "$7\r\nSETNAME\r\n$1\r\nn\r\n*2\r\n$4\r\nECHO\r\n$4\r\nlast\r\n",
       "last"},
      {"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$1\r\nx\r\n*2\r\n$4\r\nECHO\r\n$4\r\nlast\r\n", "last"},
      {"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$1\r\nx\r\n*4\r\n$6\r\nCLIENT\r\n"
       "$7\r\nSETINFO\r\n$8\r\nLIB-NAME\r\n$1\r\nd\r\n*2\r\n$4\r\nECHO\r\n$4\r\nlast\r\n",
       "last"},
      {"*7\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$1\r\nx\r\n$7\r\nSETNAME\r\n$"
       "1\r\nn\r\n"
       "*2\r\n$4\r\nECHO\r\n$4\r\nlast\r\n",
       "last"},
      {"AUTH x\r\nHELLO 3\r\nCLIENT INFO\r\n*2\r\n$4\r\nECHO\r\n$4\r\nlast\r\n", "last"},
  };
  db_fixture f;
  redis_guest r;
  long first = 0;
  real_start(&f);
  for (size_t i = 0; i < WG_COUNT(drivers); i++)
    for (int whole = 0; whole < 2; whole++) {
      guest_open(&r, &f);
      for (const char *p = drivers[i].say; *p; p += whole ? strlen(p) : 1)
        db_send(&f, f.guest, r.handle, p, whole ? strlen(p) : 1);
      while (strcmp(line(&r), drivers[i].last) != 0) {
      }
      long now = id(&r);
      if (!first) first = now;
      assert_int_equal(now, first);
      leave(&r);
      quiet(&f);
    }
  db_fixture_stop(&f);
}

/* US-112, US-117: a connection that died while nobody used it is found and replaced. */
static void test_us117_health_check(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  real_start(&f);
  guest_connect(&r, &f);
  ask(&r, "PING\r\n", "+PONG\r\n");
  leave(&r);
  quiet(&f);
  db_advance(&f, f.database.pool.health_interval_ms + 1); /* a live server answers */
  for (int i = 0; i < 50; i++) db_run(&f.one);
  quiet(&f);
  assert_int_equal(db_stats(&f).unhealthy, 0);
  real_redis_freeze(true);
  db_advance(&f, f.database.pool.health_interval_ms + 1);
  db_run(&f.one);
  db_advance(&f, DB_RESET_TIMEOUT_MS + 1);
  db_run_until_stats(&f, 0, 0, 0);
  assert_int_equal(db_stats(&f).unhealthy, 1);
  real_redis_freeze(false);
  guest_connect(&r, &f);
  ask(&r, "PING\r\n", "+PONG\r\n");
  leave(&r);
  quiet(&f);
  real_redis_restart();
  db_run_until_stats(&f, 0, 0, 0);
  guest_connect(&r, &f);
  ask(&r, "PING\r\n", "+PONG\r\n");
  leave(&r);
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
    real_init(&f);
    f.database.user = (char *)(uintptr_t)kinds[i].user;
    f.database.password =
        (wg_secret){(char *)(uintptr_t)kinds[i].password, strlen(kinds[i].password)};
    f.database.database = (char *)(uintptr_t)kinds[i].database;
    db_fixture_start(&f);
    if (kinds[i].refused) {
      assert_false(guest_try(&r, &f));
      if (!strstr(r.err.msg, kinds[i].refused)) fail_msg("%zu: %s", i, r.err.msg);
      guest_open(&r, &f);
      say(&r, "PING\r\n");
      assert_non_null(strstr(line(&r), kinds[i].refused));
      hear_end(&r);
      leave(&r);
    } else {
      for (int round = 0; round < 2; round++) { /* the second time after a reset */
        char expected[32];
        snprintf(expected, sizeof expected, " db=%s ", kinds[i].database);
        guest_connect(&r, &f);
        ask(&r, "ACL WHOAMI\r\n", kinds[i].who);
        say(&r, "CLIENT INFO\r\n");
        line(&r);
        assert_non_null(strstr(line(&r), expected));
        leave(&r);
        quiet(&f);
      }
    }
    db_fixture_stop(&f);
  }
}

/** What a guest reads that gets no connection, by the shim and by a socket. */
static void refused(db_fixture *f, const char *expected) {
  redis_guest r;
  assert_false(guest_try(&r, f));
  if (!strstr(r.err.msg, expected) || strstr(r.err.msg, "SQLSTATE")) fail_msg("%s", r.err.msg);
  guest_open(&r, f);
  say(&r, "PING\r\n");
  line(&r);
  if (!strstr(r.got, expected) || strstr(r.got, "SQLSTATE")) fail_msg("%s", r.got);
  hear_end(&r);
  leave(&r);
}

/* Codes of SQL are not for Redis's guests. */
static void test_us116_errors_have_no_sqlstate(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  real_init(&f);
  f.database.port = 1;
  db_fixture_start(&f);
  refused(&f, "connect to 127.0.0.1:1: Connection refused");
  db_fixture_stop(&f);

  real_init(&f);
  f.database.address = (char *)"no.such.host.invalid";
  db_fixture_start(&f);
  refused(&f, "resolve 'no.such.host.invalid'");
  db_fixture_stop(&f);

  real_init(&f);
  f.database.pool.pool_size = 1;
  f.database.pool.max_waiters = 0;
  db_fixture_start(&f);
  guest_connect(&r, &f);
  refused(&f, "guests wait for its 1 connections already");
  leave(&r);
  db_fixture_stop(&f);

  real_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  guest_connect(&r, &f);
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
  leave(&r);
  db_fixture_stop(&f);
}

static void test_unix_socket(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  real_init(&f);
  f.database.address = (char *)real_redis_dir();
  db_fixture_start(&f);
  guest_connect(&r, &f);
  ask(&r, "PING\r\n", "+PONG\r\n");
  leave(&r);
  quiet(&f);
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
  real_init(&f);
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
    ask(&r, "ACL WHOAMI\r\n", kinds[i].user[0] ? "$3\r\napp\r\n" : "$7\r\ndefault\r\n");
    leave(&r);
  }
  db_fixture_stop(&f);
}

/* ---- guests that log in themselves ---- */

static void auth_start(db_fixture *f, wg_db_auth auth) {
  real_init(f);
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
  guest_open(&r, &f);
  ask(&r, "GET a\r\nHELLO 3\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n\r\n*0\r\n",
      "-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n"
      "-NOAUTH Authentication required.\r\n");
  ask(&r, "AUTH app secret\r\nACL WHOAMI\r\n", "+OK\r\n$3\r\napp\r\n");
  long app = id(&r);
  leave(&r);
  guest_open(&r, &f);
  say(&r, "AUTH app wrong\r\n");
  assert_true(strncmp(line(&r), "-WRONGPASS ", 11) == 0);
  hear_end(&r);
  leave(&r);
  guest_open(&r, &f);
  ask(&r, "AUTH other \"another one\"\r\n", "-NOAUTH Authentication required.\r\n"); /* quotes */
  ask(&r, "*3\r\n$4\r\nAUTH\r\n$5\r\nother\r\n$11\r\nanother one\r\n", "+OK\r\n");
  ask(&r, "ACL WHOAMI\r\n", "$5\r\nother\r\n");
  assert_int_not_equal(id(&r), app);
  leave(&r);
  guest_open(&r, &f);
  ask(&r, "AUTH secret\r\nACL WHOAMI\r\n", "+OK\r\n$7\r\ndefault\r\n");
  assert_int_not_equal(id(&r), app);
  leave(&r);
  guest_open(&r, &f);
  say(&r, "HELLO 2 AUTH app secret\r\n");
  assert_string_equal(line(&r), "*14");
  say(&r, "ECHO end\r\n");
  while (strcmp(line(&r), "end") != 0) {
  }
  assert_int_equal(id(&r), app); /* the same guest's, used again */
  leave(&r);
  db_fixture_stop(&f);
}

static void test_us116_relay(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  auth_start(&f, WG_DB_AUTH_RELAY);
  guest_open(&r, &f);
  ask(&r, "GET a\r\n", "-NOAUTH Authentication required.\r\n");
  say(&r, "AUTH app wrong\r\n");
  assert_true(strncmp(line(&r), "-WRONGPASS ", 11) == 0);
  ask(&r, "AUTH app secret\r\nACL WHOAMI\r\n", "+OK\r\n$3\r\napp\r\n"); /* the server's answers */
  ask(&r, "QUIT\r\n", "+OK\r\n");
  hear_end(&r);
  leave(&r);
  guest_open(&r, &f);
  ask(&r, "GET a\r\n", "-NOAUTH Authentication required.\r\n"); /* nobody else's log-in */
  leave(&r);
  db_run_until_stats(&f, 0, 0, 0);
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
    real_start(&f);
    guest_connect(&r, &f);
    if (listens)
      ask(&r, "SUBSCRIBE news\r\n", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    else
      ask(&r, "PING\r\n", "+PONG\r\n");
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
      guest_connect(&other, &f);
      ask(&other, "PUBLISH news hot\r\n", ":1\r\n");
      leave(&other);
      for (int i = 0; i < 1000 && !done; i++) db_run(&f.one);
      assert_int_equal(done, 1);
      hear(&r, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\nhot\r\n");
    }
    leave(&r);
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
  real_start(&f);
  guest_connect(&r, &f);
  guest_connect(&other, &f);
  ask(&other, "FLUSHALL\r\n", "+OK\r\n");
  for (size_t i = 0; i < WG_COUNT(kinds); i++) {
    say(&r, kinds[i].ask);
    if (wait_long(&r) != 0) fail_msg("%s: cut", kinds[i].ask);
    ask(&other, kinds[i].other, kinds[i].others);
    hear(&r, kinds[i].answer);
    assert_int_equal(wait_long(&r), WG_TIMEOUT);
  }
  leave(&other);
  leave(&r);
  db_fixture_stop(&f);
}

/* ---- what passes ---- */

static void test_a_long_pipeline(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  char expected[7 * 1000 + 1] = "", *text = malloc(64 * 1024), *at = text;
  real_start(&f);
  guest_connect(&r, &f);
  long before = id(&r);
  for (int i = 0; i < 1000; i++) {
    at += sprintf(at, "*2\r\n$4\r\nPING\r\n$1\r\n%d\r\n", i % 10);
    snprintf(expected + 7 * i, 8, "$1\r\n%d\r\n", i % 10);
  }
  ask(&r, text, expected);
  leave(&r);
  quiet(&f);
  guest_connect(&r, &f);
  say(&r, text);
  leave(&r); /* with all answers owed: read away, then reset; or closed */
  guest_connect(&r, &f);
  ask(&r, "GET nothing\r\n", "$-1\r\n");
  (void)before;
  leave(&r);
  db_fixture_stop(&f);
  free(text);
}

static void test_a_server_that_goes(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  real_start(&f);
  guest_connect(&r, &f);
  ask(&r, "PING\r\n", "+PONG\r\n");
  say(&r, "BLPOP nothing 0\r\n");
  real_redis_restart();
  assert_true(strncmp(line(&r), "-ERR ", 5) == 0);
  hear_end(&r);
  leave(&r);
  db_fixture_stop(&f);
}

static void on_drained(void *user) { *(bool *)user = true; }

/* US-116: while the host stops, nobody new is served, and what is in progress ends first. */
static void test_us116_draining(void **state) {
  (void)state;
  db_fixture f;
  redis_guest idle, busy, late;
  bool drained = false;
  real_start(&f);
  guest_connect(&idle, &f);
  guest_connect(&busy, &f);
  ask(&idle, "PING\r\n", "+PONG\r\n");
  leave(&idle);
  db_run_until_stats(&f, 1, 1, 2);
  guest_open(&late, &f);
  say(&busy, "DEBUG SLEEP 0.2\r\n");
  wg_db_worker_drain(f.one.w, on_drained, &drained);
  db_run_until_stats(&f, 1, 0, 1);
  say(&late, "PING\r\n");
  assert_non_null(strstr(line(&late), "-ERR database 'main': the host is stopping"));
  hear_end(&late);
  leave(&late);
  assert_false(guest_try(&late, &f));
  assert_false(drained);
  hear(&busy, "+OK\r\n");
  leave(&busy);
  db_run_until(&f.one, &drained);
  assert_int_equal(db_stats(&f).total, 0);
  db_fixture_stop(&f);
}

/* Many guests on two connections, some of which leave in the middle: each hears its own answers. */
static void test_many_guests(void **state) {
  (void)state;
  db_fixture f;
  real_start(&f);
  for (int i = 0; i < 300; i++) {
    redis_guest r;
    char text[128], expected[128];
    if (i % 2)
      guest_open(&r, &f);
    else
      guest_connect(&r, &f);
    snprintf(text, sizeof text, "SELECT %d\r\nECHO guest-%d\r\n", i % 16, i);
    snprintf(expected, sizeof expected, "+OK\r\n$%d\r\nguest-%d\r\n",
             i < 10    ? 7
             : i < 100 ? 8
                       : 9,
             i);
    ask(&r, text, expected);
    if (i % 3 == 1) say(&r, "ECHO unread\r\nECHO unread\r\n");
    if (i % 3 == 2) say(&r, "*2\r\n$4\r\nECHO\r\n$100\r\n");
    leave(&r);
  }
  db_fixture_stop(&f);
}

static void test_min_idle(void **state) {
  (void)state;
  db_fixture f;
  real_init(&f);
  f.database.pool.min_idle = 2;
  db_fixture_start(&f);
  db_run_until_stats(&f, 0, 2, 2);
  db_fixture_stop(&f);
}

/* Where RESET is not to be had (before Redis 6.2) a connection serves once. */
static void test_without_reset(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  if (!running) skip();
  real_redis_stop();
  running = real_redis_start(&(real_redis_spec){.old = true});
  real_start(&f);
  long before = 0;
  for (int i = 0; i < 3; i++) {
    guest_connect(&r, &f);
    long now = id(&r);
    assert_int_not_equal(now, before);
    before = now;
    leave(&r);
    db_run_until_stats(&f, 0, 0, 0);
  }
  db_fixture_stop(&f);
}

static void test_us116_tls(void **state) {
  (void)state;
  static const wg_tls_mode modes[] = {WG_TLS_VERIFY_FULL, WG_TLS_VERIFY_CA, WG_TLS_REQUIRE,
                                      WG_TLS_PREFER};
  db_fixture f;
  redis_guest r;
  if (!running) skip();
  real_redis_stop();
  certs_make(&(cert_spec){.file = "ca", .cn = "test authority", .ca = true});
  certs_make(&(cert_spec){
      .file = "server", .cn = "db.example", .issuer = "ca", .san = "DNS:db.example", .rsa = true});
  running = real_redis_start(&(real_redis_spec){.tls = certs_folder()});
  for (size_t i = 0; i <= WG_COUNT(modes); i++) {
    bool wrong = i == WG_COUNT(modes);
    real_init(&f);
    f.database.host = (char *)(wrong ? "other.example" : "db.example");
    f.database.address = (char *)"127.0.0.1";
    f.database.tls.mode = wrong ? WG_TLS_VERIFY_FULL : modes[i];
    f.database.tls.ca = certs_path("ca", "crt");
    db_fixture_start(&f);
    for (int round = 0; round < 2 && !wrong; round++) {
      guest_connect(&r, &f);
      ask(&r, "PING\r\n", "+PONG\r\n");
      leave(&r);
      quiet(&f);
    }
    if (wrong) {
      assert_false(guest_try(&r, &f));
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
      cmocka_unit_test(test_us117_reuse_and_reset),
      cmocka_unit_test(test_in_doubt_it_is_closed),
      cmocka_unit_test(test_what_drivers_begin_with),
      cmocka_unit_test(test_us117_health_check),
      cmocka_unit_test(test_log_in),
      cmocka_unit_test(test_us116_errors_have_no_sqlstate),
      cmocka_unit_test(test_unix_socket),
      cmocka_unit_test(test_undeclared_loopback),
      cmocka_unit_test(test_us116_guest_auth),
      cmocka_unit_test(test_us116_relay),
      cmocka_unit_test(test_us116_subscribers_have_no_deadline),
      cmocka_unit_test(test_us116_commands_that_block),
      cmocka_unit_test(test_a_long_pipeline),
      cmocka_unit_test(test_a_server_that_goes),
      cmocka_unit_test(test_us116_draining),
      cmocka_unit_test(test_many_guests),
      cmocka_unit_test(test_min_idle),
      cmocka_unit_test(test_without_reset), /* with servers of their own */
      cmocka_unit_test(test_us116_tls),
  };
  running = real_redis_start(NULL);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  real_redis_stop();
  return failed;
}
