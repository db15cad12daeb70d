/* SPDX-License-Identifier: Apache-2.0 */
/* US-112 with a real PostgreSQL: no guest ever gets a session that was authenticated with credentials
 * other than its own. Two guests, same host, database and user, one with a wrong password, in every
 * order, with a cold and a warm pool, before and after a change of the password on the server, which
 * the old one outlives by credential_ttl at most; and guests that log in themselves. */
#include "db/db_fixture.h"
#include "db/real_postgres.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TTL_MS = 60000 };

static bool running;

static int start_server(void **state) {
  (void)state;
  running = real_postgres_start(
      &(real_postgres_spec){.seed = "CREATE ROLE twin LOGIN PASSWORD 'secret';\n"});
  return 0;
}

static int stop_server(void **state) {
  (void)state;
  real_postgres_stop();
  return 0;
}

static void set_password(const char *role, const char *password);

static void start_as(db_fixture *f, wg_db_auth auth, uint32_t pool_size) {
  if (!running) skip();
  set_password("app", "secret");
  db_fixture_init(f);
  f->real = true;
  f->database.port = real_postgres_port();
  f->database.auth = auth;
  f->database.credential_ttl_ms = TTL_MS;
  f->database.user = NULL;
  f->database.password = (wg_secret){0};
  f->database.pool.pool_size = pool_size;
  f->database.pool.recv_timeout_ms = 30000;
  db_fixture_start(f);
}

static void start(db_fixture *f, uint32_t pool_size) { start_as(f, WG_DB_AUTH_GUEST, pool_size); }

/** A handle as a socket gets it, and the start-up said. */
static uint64_t begin(db_fixture *f, const char *user) {
  uint64_t h = 0;
  uint8_t bytes[256];
  const char *host = f->database.host;
  assert_int_equal(wg_db_open(f->guest, host, strlen(host), f->database.port, &h, NULL), WG_OK);
  db_send(f, f->guest, h, bytes, db_startup(bytes, "user", user, "database", "shop", NULL));
  return h;
}

/** Says the password that the guest is asked for in clear. */
static void prove(db_fixture *f, uint64_t h, const char *password) {
  uint8_t *all;
  size_t len;
  assert_int_equal(db_read_until(f, f->guest, h, 'R', &all, &len), 0);
  static const uint8_t cleartext[] = {'R', 0, 0, 0, 8, 0, 0, 0, 3};
  assert_int_equal(len, sizeof cleartext);
  assert_memory_equal(all, cleartext, len);
  free(all);
  db_say(f, h, 'p', password, strlen(password) + 1);
}

/** The backend behind a session, or 0 when the server refused with 28P01 and the stream ended. */
static int welcome(db_fixture *f, uint64_t h, const char *sqlstate) {
  uint8_t *all;
  size_t len;
  int status = db_read_until(f, f->guest, h, 'Z', &all, &len);
  if (status < 0) {
    assert_true(db_is_error(all, len, sqlstate));
    free(all);
    db_close(f->guest, h);
    return 0;
  }
  free(all);
  assert_int_equal(status, 'I');
  char pid[32];
  db_ask(f, f->guest, h, "SELECT pg_backend_pid()", pid, sizeof pid);
  return atoi(pid);
}

/** Logs in and leaves the session open in *h; 0: refused. */
static int enter(db_fixture *f, const char *user, const char *password, uint64_t *h) {
  *h = begin(f, user);
  prove(f, *h, password);
  return welcome(f, *h, "28P01");
}

static void add_stats(void *user, const wg_db_stats *s) {
  wg_db_stats *sum = user;
  sum->active += s->active;
  sum->idle += s->idle;
  sum->total += s->total;
}

/** Runs the loop until no connection is in use or being cleaned, whosever it is. */
static void rest(db_fixture *f, unsigned active) {
  for (uint64_t end = wg_now_ms(&wg_clock_monotonic) + 5000;;) {
    wg_db_stats sum = {0};
    wg_db_each_stats(f->db, add_stats, &sum);
    if (sum.active == active && sum.idle + active == sum.total) return;
    assert_true(wg_now_ms(&wg_clock_monotonic) < end);
    uv_run(&f->one.uv, UV_RUN_NOWAIT);
  }
}

/** The same, and gives the session back. */
static int visit(db_fixture *f, const char *user, const char *password) {
  uint64_t h;
  int pid = enter(f, user, password, &h);
  if (pid) db_close(f->guest, h);
  return pid;
}

/** What the server itself lets in, through a database of our own with the superuser. */
static void set_password(const char *role, const char *password) {
  char sql[160];
  snprintf(sql, sizeof sql, "ALTER ROLE %s PASSWORD '%s'", role, password);
  assert_true(real_postgres_sql(sql));
}

typedef enum warmth { COLD, WARM, BUSY, WARMTHS } warmth;

/* Right, wrong and right again in every order: on an empty pool, on one with an idle session of the
 * right password, and while that session is in use. */
static void us_112_a_wrong_password_never_enters(void **state) {
  (void)state;
  static const char *const orders[] = {"rw", "wr", "rwr", "wrw", "wwr", "rrw", "wrrw", "rwwr"};
  for (warmth warm = COLD; warm < WARMTHS; warm++) {
    for (size_t i = 0; i < WG_COUNT(orders); i++) {
      db_fixture f;
      uint64_t held = 0;
      start(&f, 4);
      int first = 0;
      if (warm == WARM) first = visit(&f, "app", "secret");
      if (warm == BUSY) first = enter(&f, "app", "secret", &held);
      assert_true(warm == COLD || first);
      for (const char *who = orders[i]; *who; who++) {
        int pid = visit(&f, "app", *who == 'r' ? "secret" : "Secret");
        assert_int_equal(pid != 0, *who == 'r');
        if (pid && held) assert_int_not_equal(pid, first);
      }
      if (held) db_close(f.guest, held);
      db_fixture_stop(&f);
    }
  }
}

/* Both at once, neither log-in answered before the other has begun; the right one with the wrong one
 * behind it in the queue of a pool of one, and the other way around. */
static void us_112_both_at_once(void **state) {
  (void)state;
  for (int order = 0; order < 2; order++) {
    for (uint32_t size = 1; size <= 2; size++) {
      db_fixture f;
      start(&f, size);
      const char *const passwords[] = {order ? "wrong" : "secret", order ? "secret" : "wrong"};
      uint64_t h[2] = {begin(&f, "app"), begin(&f, "app")};
      for (int i = 0; i < 2; i++) prove(&f, h[i], passwords[i]);
      for (int i = 1; i >= 0; i--)
        assert_int_equal(welcome(&f, h[i], "28P01") != 0, strcmp(passwords[i], "secret") == 0);
      db_close(f.guest, h[order]);
      db_fixture_stop(&f);
    }
  }
}

static void count_line(void *user, const wg_db_stats *s) {
  (*(unsigned *)user)++;
  assert_string_equal(s->database, "shop");
}

/* The key is the user as well as the password, and a session is used again by its own only. */
static void us_112_same_password_other_user(void **state) {
  (void)state;
  db_fixture f;
  char name[64];
  uint64_t h;
  start(&f, 4);
  int app = visit(&f, "app", "secret");
  db_run_until_stats(&f, 0, 1, 1);
  int twin = enter(&f, "twin", "secret", &h);
  db_ask(&f, f.guest, h, "SELECT session_user", name, sizeof name);
  assert_string_equal(name, "twin");
  assert_int_not_equal(app, twin);
  unsigned lines = 0;
  wg_db_each_stats(f.db, count_line, &lines);
  assert_int_equal(lines, 1); /* of two keys */
  assert_int_equal(db_stats(&f).total, 2);
  db_close(f.guest, h);
  assert_int_equal(visit(&f, "app", "secret"), app);
  assert_int_equal(visit(&f, "nobody", "secret"), 0);
  db_fixture_stop(&f);
}

/* After a change on the server: pooled sessions serve the old password until credential_ttl after the
 * log-in that proved it, also when they are used all the time, and no longer. */
static void us_112_password_change(void **state) {
  (void)state;
  db_fixture f;
  uint64_t held;
  start(&f, 3);
  int old = visit(&f, "app", "secret");
  db_run_until_stats(&f, 0, 1, 1);
  set_password("app", "fresh");
  assert_int_equal(visit(&f, "app", "secret"), old); /* pooled already */
  int fresh = visit(&f, "app", "fresh");
  assert_int_not_equal(fresh, 0);
  assert_int_not_equal(fresh, old);

  /* No new log-in has the old one, while the session that it opened is in use. */
  assert_int_equal(enter(&f, "app", "secret", &held), old);
  assert_int_equal(visit(&f, "app", "secret"), 0);
  db_close(f.guest, held);

  for (int used = 0; used < 5; used++) { /* each use is no proof */
    rest(&f, 0);
    db_advance(&f, TTL_MS / 6);
    assert_int_equal(visit(&f, "app", "secret"), old);
    assert_int_not_equal(visit(&f, "app", "fresh"), 0);
  }
  rest(&f, 0);
  db_advance(&f, TTL_MS / 6 + 1000);
  assert_int_equal(visit(&f, "app", "secret"), 0);
  assert_int_not_equal(visit(&f, "app", "fresh"), 0);
  assert_int_equal(visit(&f, "app", "secret"), 0);

  set_password("app", "secret");
  rest(&f, 0);
  db_advance(&f, TTL_MS + 1000);
  assert_int_equal(visit(&f, "app", "fresh"), 0);
  assert_int_not_equal(visit(&f, "app", "secret"), 0);
  db_fixture_stop(&f);
}

/* A guest may keep what it has for longer than the password is good; the next one in the queue, with
 * the same password, does not get it. */
static void us_112_no_handing_over_after_the_ttl(void **state) {
  (void)state;
  db_fixture f;
  uint64_t held;
  start(&f, 1);
  f.database.pool.connect_timeout_ms = 4000;
  int old = enter(&f, "app", "secret", &held);
  assert_int_not_equal(old, 0);
  db_advance(&f, TTL_MS - 2000);
  set_password("app", "fresh");
  uint64_t waiting = begin(&f, "app");
  prove(&f, waiting, "secret");
  db_run(&f.one);
  db_advance(&f, 2500);
  char pid[32];
  db_ask(&f, f.guest, held, "SELECT pg_backend_pid()", pid, sizeof pid);
  assert_int_equal(atoi(pid), old);
  db_close(f.guest, held);
  assert_int_equal(welcome(&f, waiting, "28P01"), 0);
  set_password("app", "secret");
  db_fixture_stop(&f);
}

/* With the password unchanged, the end of its time costs a log-in, and no more. */
static void us_112_proved_again(void **state) {
  (void)state;
  db_fixture f;
  start(&f, 2);
  int first = visit(&f, "app", "secret");
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(visit(&f, "app", "secret"), first);
  db_advance(&f, TTL_MS + 1000);
  int second = visit(&f, "app", "secret");
  assert_int_not_equal(second, 0);
  assert_int_not_equal(second, first);
  db_run_until_stats(&f, 0, 1, 1);
  db_fixture_stop(&f);
}

/* A log-in on another worker, whose clock is a little ahead, is no reason to close what is idle here. */
static void us_112_proved_elsewhere(void **state) {
  (void)state;
  db_fixture f;
  start(&f, 2);
  int first = visit(&f, "app", "secret");
  db_run_until_stats(&f, 0, 1, 1);
  wg_pool *pool = WG_CONTAINER(wg_list_first(&f.db->pools), wg_pool, by_db);
  pool->proved_ms = wg__db_now(f.one.w) + 500;
  assert_int_equal(visit(&f, "app", "secret"), first);
  db_fixture_stop(&f);
}

/* Guesses have pools of their own, which go: however many there are, the right password has its
 * session at once, and its pool does not back off. */
static void us_112_guesses(void **state) {
  (void)state;
  db_fixture f;
  uint64_t h;
  start(&f, 4);
  int right = visit(&f, "app", "secret");
  db_run_until_stats(&f, 0, 1, 1);
  for (int i = 0; i < 200; i++) {
    char guess[32];
    snprintf(guess, sizeof guess, "guess%d", i);
    assert_int_equal(visit(&f, "app", guess), 0);
    assert_true(f.db->pools.count <= 4);
    if (i % 50 == 0) assert_int_equal(visit(&f, "app", "secret"), right);
  }
  assert_int_equal(enter(&f, "app", "secret", &h), right);
  assert_int_not_equal(visit(&f, "app", "secret"), 0); /* a second connection: a new log-in */
  db_close(f.guest, h);
  db_fixture_stop(&f);
}

/* The password, a byte at a time; and what is none. */
static void us_112_password_messages(void **state) {
  (void)state;
  db_fixture f;
  start(&f, 2);
  static const uint8_t right[] = {'p', 0, 0, 0, 11, 's', 'e', 'c', 'r', 'e', 't', 0};
  uint64_t h = begin(&f, "app");
  assert_int_equal(db_read_until(&f, f.guest, h, 'R', NULL, NULL), 0);
  for (size_t i = 0; i < sizeof right; i++) db_send(&f, f.guest, h, right + i, 1);
  assert_int_not_equal(welcome(&f, h, ""), 0);
  db_close(f.guest, h);

  static const struct {
    const char *bytes;
    size_t n;
    const char *sqlstate;
  } wrong[] = {
      {"p\0\0\0\5\0", 6, "28P01"}, /* empty */
      {"p\0\0\0\4", 5, "08P01"}, /* without its NUL */
      {"p\0\0\0\3", 5, "08P01"}, /* shorter than its length */
      {"p\x7f\xff\xff\xff", 5, "08P01"}, /* 2 GiB */
      {"p\xff\xff\xff\xff", 5, "08P01"}, /* negative */
      {"p\0\0\0\6xx", 7, "08P01"}, /* no NUL at its end */
      {"p\0\0\0\7a\0\0", 8, "08P01"}, /* a NUL within */
      {"Q\0\0\0\x0dSELECT 1\0", 14, "08P01"}, /* a query in its place */
      {"\0\0\0\x08\x04\xd2\x16\x2f", 8, "08P01"}, /* an SSLRequest in its place */
  };
  for (size_t i = 0; i < WG_COUNT(wrong); i++) {
    h = begin(&f, "app");
    assert_int_equal(db_read_until(&f, f.guest, h, 'R', NULL, NULL), 0);
    for (size_t k = 0; k < wrong[i].n; k++) /* the end of it finds nobody, where it is too much */
      if (wg_db_send(f.guest, h, (const uint8_t *)wrong[i].bytes + k, 1, NULL) < 0) break;
    assert_int_equal(welcome(&f, h, wrong[i].sqlstate), 0);
  }
  for (int way = 0; way < 3; way++) { /* guests that go instead of an answer */
    h = begin(&f, "app");
    assert_int_equal(db_read_until(&f, f.guest, h, 'R', NULL, NULL), 0);
    if (way == 1) db_say(&f, h, 'X', "", 0);
    if (way == 2) db_send(&f, f.guest, h, right, 8);
    db_close(f.guest, h);
  }
  db_run_until_stats(&f, 0, 1, 1);
  db_fixture_stop(&f);
}

/* What a guest left in its session, the next one of the same credentials does not find. */
static void us_112_reset_between_guests_of_one_password(void **state) {
  (void)state;
  db_fixture f;
  uint64_t h;
  char text[64];
  start(&f, 1);
  int pid = enter(&f, "app", "secret", &h);
  db_ask(&f, f.guest, h, "SELECT set_config('app.tenant', '7', false)", text, sizeof text);
  db_close(f.guest, h);
  assert_int_equal(enter(&f, "app", "secret", &h), pid);
  db_ask(&f, f.guest, h, "SELECT '<' || coalesce(current_setting('app.tenant', true), '') || '>'",
         text, sizeof text);
  assert_string_equal(text, "<>");
  db_close(f.guest, h);
  db_fixture_stop(&f);
}

/* ---- relay ---- */

/** SCRAM-SHA-256 as the guest's own driver speaks it with the server. */
static int scram(db_fixture *f, uint64_t h, const char *password) {
  db_scram(f, h, password, WG_SCRAM_NO_BINDING, "SCRAM-SHA-256");
  return welcome(f, h, "28P01");
}

/* The guest's driver proves the password to the server; each guest has a backend of its own, which
 * ends with it; the wrong one hears the server's word. */
static void us_112_relay(void **state) {
  (void)state;
  db_fixture f;
  start_as(&f, WG_DB_AUTH_RELAY, 2);
  int last = 0;
  static const char *const passwords[] = {"wrong", "secret", "wrong", "secret", "secret"};
  for (size_t i = 0; i < WG_COUNT(passwords); i++) {
    uint64_t h = begin(&f, "app");
    int pid = scram(&f, h, passwords[i]);
    assert_int_equal(pid != 0, strcmp(passwords[i], "secret") == 0);
    if (pid) {
      assert_int_not_equal(pid, last);
      last = pid;
      db_close(f.guest, h);
    }
    db_run_until_stats(&f, 0, 0, 0);
  }
  set_password("app", "fresh"); /* which counts at once */
  uint64_t h = begin(&f, "app");
  assert_int_equal(scram(&f, h, "secret"), 0);
  h = begin(&f, "app");
  assert_int_not_equal(scram(&f, h, "fresh"), 0);
  db_close(f.guest, h);
  set_password("app", "secret");
  db_fixture_stop(&f);
}

/* The server's own key reaches the guest, and a request with it reaches the server: from a connection
 * to the same place, which gets no other word than the end. */
static void us_112_relay_cancel(void **state) {
  (void)state;
  db_fixture f;
  start_as(&f, WG_DB_AUTH_RELAY, 1);
  uint8_t *all, key[8], byte;
  size_t len;
  uint64_t h = begin(&f, "postgres"); /* trusted: one answer holds all */
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
  bool found = false;
  for (size_t at = 0; at + 5 <= len; at += 1 + ((size_t)all[at + 3] << 8 | all[at + 4])) {
    if (all[at] != 'K') continue;
    memcpy(key, all + at + 5, 8);
    found = true;
  }
  free(all);
  assert_true(found);
  for (int wrong = 1; wrong >= 0; wrong--) {
    uint64_t other = 0;
    uint8_t request[16] = {0, 0, 0, 16, 4, 210, 22, 46};
    const char *host = f.database.host;
    memcpy(request + 8, key, 8);
    if (wrong) request[15] ^= 1;
    if (!wrong) { /* the notice says that it has begun */
      db_query(&f, f.guest, h, "DO $$ BEGIN RAISE NOTICE 'x'; PERFORM pg_sleep(30); END $$");
      assert_int_equal(db_read_until(&f, f.guest, h, 'N', NULL, NULL), 'S');
    }
    assert_int_equal(wg_db_open(f.guest, host, strlen(host), f.database.port, &other, NULL), WG_OK);
    db_send(&f, f.guest, other, request, sizeof request);
    assert_int_equal(db_recv(&f, f.guest, other, &byte, 1, NULL), 0);
    db_close(f.guest, other);
  }
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
  found = false;
  for (size_t at = 0; at + 5 <= len; at += 1 + ((size_t)all[at + 3] << 8 | all[at + 4]))
    if (all[at] == 'E') found = db_is_error(all + at, len - at, "57014");
  free(all);
  assert_true(found);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 0, 0);
  db_fixture_stop(&f);
}

/* pool_size counts them; who comes too late waits for the end of one. */
static void us_112_relay_counts(void **state) {
  (void)state;
  db_fixture f;
  start_as(&f, WG_DB_AUTH_RELAY, 1);
  uint64_t first = begin(&f, "app");
  int one = scram(&f, first, "secret");
  assert_int_not_equal(one, 0);
  uint64_t second = begin(&f, "app");
  db_run(&f.one);
  wg_db_stats s = db_stats(&f);
  assert_int_equal(s.waiting, 1);
  assert_int_equal(s.total, 1);
  db_close(f.guest, first);
  int two = scram(&f, second, "secret");
  assert_int_not_equal(two, 0);
  assert_int_not_equal(two, one);
  db_close(f.guest, second);
  db_run_until_stats(&f, 0, 0, 0);
  db_fixture_stop(&f);
}

/* Without a database, or with an empty one, the server would take the one named like the user: the
 * guest is in the declared one all the same, as with the other modes, and in no other. */
static void us_112_relay_stays_in_the_declared_database(void **state) {
  (void)state;
  static const char *const said[] = {NULL, "", "shop"};
  db_fixture f;
  char name[64];
  start_as(&f, WG_DB_AUTH_RELAY, 1);
  const char *host = f.database.host;
  for (size_t i = 0; i <= WG_COUNT(said); i++) {
    uint64_t h = 0;
    uint8_t bytes[256];
    const char *database = i < WG_COUNT(said) ? said[i] : "postgres";
    size_t n = database ? db_startup(bytes, "user", "postgres", "database", database, NULL)
                        : db_startup(bytes, "user", "postgres", NULL);
    assert_int_equal(wg_db_open(f.guest, host, strlen(host), f.database.port, &h, NULL), WG_OK);
    db_send(&f, f.guest, h, bytes, n);
    if (i == WG_COUNT(said)) { /* it exists, and is not declared */
      assert_int_equal(welcome(&f, h, "3D000"), 0);
      break;
    }
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
    db_ask(&f, f.guest, h, "SELECT current_database()", name, sizeof name);
    assert_string_equal(name, "shop");
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 0, 0);
  }
  db_fixture_stop(&f);
}

/* ---- beside the host's own ---- */

/** Opens the declared database of this name as "app"; *asked tells whether a password was wanted. */
static uint64_t open_named(db_fixture *f, const char *host, bool *asked) {
  uint64_t h = 0;
  uint8_t bytes[256], first = 0;
  assert_int_equal(wg_db_open(f->guest, host, strlen(host), f->database.port, &h, NULL), WG_OK);
  db_send(f, f->guest, h, bytes, db_startup(bytes, "user", "app", "database", "shop", NULL));
  assert_int_equal(db_recv(f, f->guest, h, &first, 1, NULL), 1);
  assert_int_equal(first, 'R');
  uint8_t rest_of[8]; /* length and kind */
  for (size_t at = 0; at < sizeof rest_of; at++)
    assert_int_equal(db_recv(f, f->guest, h, rest_of + at, 1, NULL), 1);
  *asked = rest_of[7] == 3;
  assert_true(*asked || rest_of[7] == 0);
  return h;
}

/* One server, database, user and password, declared for the host's log-in and for the guests' own:
 * neither ever has a session of the other, whichever is warm, and the host's being let in does not
 * let a wrong password in. */
static void us_112_service_and_guest_never_mix(void **state) {
  (void)state;
  if (!running) skip();
  set_password("app", "secret");
  for (int guest_first = 0; guest_first < 2; guest_first++) {
    db_fixture f;
    bool asked;
    uint64_t h;
    db_fixture_init(&f);
    f.real = true;
    f.database.port = real_postgres_port();
    f.database.pool.recv_timeout_ms = 30000;
    f.database.credential_ttl_ms = TTL_MS;
    wg_database_config both[2] = {f.database, f.database}; /* "main": "app" with "secret" */
    both[1].name = (char *)"own";
    both[1].auth = WG_DB_AUTH_GUEST;
    both[1].user = NULL;
    both[1].password = (wg_secret){0};
    f.config.databases = both;
    f.config.database_count = 2;
    db_fixture_start(&f);

    int pid[2] = {0, 0}; /* of the host's log-in, of the guest's */
    for (int round = 0; round < 6; round++) {
      int own = (round + guest_first) % 2;
      h = open_named(&f, own ? "own" : "main", &asked);
      assert_int_equal(asked, own);
      if (own) db_say(&f, h, 'p', "secret", 7);
      int now = welcome(&f, h, "");
      assert_int_not_equal(now, 0);
      assert_true(pid[own] == 0 || pid[own] == now); /* warm: its own again */
      pid[own] = now;
      assert_int_not_equal(pid[0], pid[1]);
      db_close(f.guest, h);
      rest(&f, 0);
      h = open_named(&f, "own", &asked);
      assert_true(asked);
      db_say(&f, h, 'p', "Secret", 7);
      assert_int_equal(welcome(&f, h, "28P01"), 0);
      rest(&f, 0);
    }
    db_fixture_stop(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_112_a_wrong_password_never_enters),
      cmocka_unit_test(us_112_both_at_once),
      cmocka_unit_test(us_112_same_password_other_user),
      cmocka_unit_test(us_112_password_change),
      cmocka_unit_test(us_112_no_handing_over_after_the_ttl),
      cmocka_unit_test(us_112_proved_again),
      cmocka_unit_test(us_112_proved_elsewhere),
      cmocka_unit_test(us_112_guesses),
      cmocka_unit_test(us_112_password_messages),
      cmocka_unit_test(us_112_reset_between_guests_of_one_password),
      cmocka_unit_test(us_112_relay),
      cmocka_unit_test(us_112_relay_cancel),
      cmocka_unit_test(us_112_relay_counts),
      cmocka_unit_test(us_112_relay_stays_in_the_declared_database),
      cmocka_unit_test(us_112_service_and_guest_never_mix),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
