/* SPDX-License-Identifier: Apache-2.0 */
/* US-112: cancel requests: mapped from our keys to the server's, and fenced, so that a late one
 * never hits the next guest. */
#include "db/certs.h"
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct key {
  uint8_t bytes[8];
} key;

static void start(db_fixture *f, uint32_t pool_size) {
  db_fixture_init(f);
  f->database.pool.pool_size = pool_size;
  db_fixture_start(f);
}

static uint64_t open_on(wg_db_guest *g) {
  const wg_database_config *d = &g->worker->db->config->databases[0];
  uint64_t h = 0;
  assert_int_equal(wg_db_open(g, d->host, strlen(d->host), d->port, &h, NULL), WG_OK);
  return h;
}

/** A session with the key that it was told. */
static uint64_t greeted(db_fixture *f, wg_db_guest *g, key *k) {
  uint8_t bytes[256], *all;
  size_t len;
  uint64_t h = open_on(g);
  db_send(f, g, h, bytes, db_startup(bytes, "user", "whoever", "database", "shop", NULL));
  assert_int_equal(db_read_until(f, g, h, 'Z', &all, &len), 'I');
  assert_true(len > 19 && all[len - 19] == 'K'); /* before ReadyForQuery */
  memcpy(k->bytes, all + len - 14, 8);
  free(all);
  return h;
}

static void say_cancel(db_fixture *f, wg_db_guest *g, uint64_t h, const key *k) {
  uint8_t p[16] = {0, 0, 0, 16, 4, 210, 22, 46};
  memcpy(p + 8, k->bytes, 8);
  db_send(f, g, h, p, sizeof p);
}

/** A cancel request on a connection of its own; its handle. */
static uint64_t cancel(db_fixture *f, wg_db_guest *g, const key *k) {
  uint64_t h = open_on(g);
  say_cancel(f, g, h, k);
  return h;
}

static void expect_end(db_fixture *f, wg_db_guest *g, uint64_t h) {
  uint8_t byte;
  assert_int_equal(db_recv(f, g, h, &byte, 1, NULL), 0);
  db_close(g, h);
}

static void expect_canceled(db_fixture *f, wg_db_guest *g, uint64_t h) {
  uint8_t *all;
  size_t len;
  assert_int_equal(db_read_until(f, g, h, 'Z', &all, &len), 'I');
  assert_true(db_is_error(all, len, "57014"));
  free(all);
}

/** Until the mock has read so many cancel requests. */
static void until_read(db_fixture *f, unsigned n) {
  for (int i = 0; i < 5000 && f->mock.cancels_read < n; i++) {
    db_run(&f->one);
    uv_sleep(1);
  }
  assert_int_equal(f->mock.cancels_read, n);
}

/** A query that only a cancel ends, once the server has begun it. */
static void sleep_long(db_fixture *f, wg_db_guest *g, uint64_t h) {
  unsigned before = f->mock.sleeps;
  db_query(f, g, h, "SLEEP");
  for (int i = 0; i < 5000 && f->mock.sleeps == before; i++) uv_sleep(1);
  assert_int_equal(f->mock.sleeps, before + 1);
}

static void test_us112_cancel(void **state) {
  (void)state;
  db_fixture f;
  start(&f, 1); /* the request itself needs no connection of the pool */
  key k;
  uint64_t h = greeted(&f, f.guest, &k);
  sleep_long(&f, f.guest, h);
  uint64_t c = cancel(&f, f.guest, &k);
  expect_end(&f, f.guest, c);
  assert_int_equal(f.mock.cancels, 1);
  expect_canceled(&f, f.guest, h);
  char pid[16];
  db_ask(&f, f.guest, h, "PID", pid, sizeof pid); /* the session goes on */
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  uint64_t again = greeted(&f, f.guest, &k);
  db_ask(&f, f.guest, again, "PID", pid, sizeof pid);
  assert_string_equal(pid, "1");
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

/* As a first packet after wg_db_connect(), whose connection goes back at once. */
static void test_through_connect(void **state) {
  (void)state;
  db_fixture f;
  start(&f, 2);
  key k;
  uint64_t h = greeted(&f, f.guest, &k);
  sleep_long(&f, f.guest, h);
  uint64_t c = db_connect(&f, f.guest, NULL);
  assert_int_equal(db_stats(&f).active, 2);
  say_cancel(&f, f.guest, c, &k);
  assert_int_equal(db_stats(&f).active, 1);
  assert_int_equal(db_stats(&f).idle, 1);
  expect_end(&f, f.guest, c);
  expect_canceled(&f, f.guest, h);
  db_fixture_stop(&f);
}

/* Ignored as the real server ignores it: the stream ends, and nothing else happens. */
static void test_wrong_and_void_keys(void **state) {
  (void)state;
  db_fixture f;
  start(&f, 2);
  key k, other, wrong;
  uint64_t h = greeted(&f, f.guest, &k), closed = greeted(&f, f.guest, &other);
  assert_memory_not_equal(k.bytes, other.bytes, 8);
  db_close(f.guest, closed);
  for (int i = 0; i < 64; i++) { /* each bit counts */
    wrong = k;
    wrong.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    expect_end(&f, f.guest, cancel(&f, f.guest, &wrong));
  }
  expect_end(&f, f.guest, cancel(&f, f.guest, &other)); /* void since its close */
  static const key servers_own = {{0, 0, 0, 1, 0, 0, 0x12, 0x67}};
  expect_end(&f, f.guest, cancel(&f, f.guest, &servers_own));
  uint64_t half = open_on(f.guest); /* a request of another length */
  db_send(&f, f.guest, half, "\0\0\0\014\004\322\026\056\0\0\0\001", 12);
  expect_end(&f, f.guest, half);
  assert_int_equal(f.mock.cancels_read, 0);
  char pid[16];
  db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
  db_fixture_stop(&f);
}

/* A key of one database means nothing where a connection leads to another. */
static void test_not_across_databases(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  wg_database_config two[2] = {f.database, f.database};
  two[1].name = (char *)"other";
  two[1].host = (char *)"elsewhere";
  two[1].address = (char *)"127.0.0.1";
  f.config.databases = two;
  f.config.database_count = 2;
  db_fixture_start(&f);
  two[0].port = two[1].port = f.mock.port;
  key k;
  uint64_t h = greeted(&f, f.guest, &k), c = 0;
  sleep_long(&f, f.guest, h);
  assert_int_equal(wg_db_open(f.guest, "elsewhere", 9, f.mock.port, &c, NULL), WG_OK);
  say_cancel(&f, f.guest, c, &k);
  expect_end(&f, f.guest, c);
  assert_int_equal(f.mock.cancels_read, 0);
  assert_int_equal(wg_db_open(f.guest, "main", 4, f.mock.port, &c, NULL), WG_OK); /* by its name */
  say_cancel(&f, f.guest, c, &k);
  expect_end(&f, f.guest, c);
  expect_canceled(&f, f.guest, h);
  db_fixture_stop(&f);
}

/* The fence: a cancel that the server is slow to act on. Its session ends meanwhile; the next guest
 * waits for the same backend, gets it clean, and is not hit. */
static void test_late_cancel_hits_nobody(void **state) {
  (void)state;
  for (int gone = 0; gone < 2; gone++) { /* the sender stays, or is gone at once */
    db_fixture f;
    start(&f, 1);
    key k;
    char pid[16];
    uint64_t h = greeted(&f, f.guest, &k);
    db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
    atomic_store(&f.mock.cancel_held, true);
    uint64_t c = cancel(&f, f.guest, &k);
    if (gone) db_close(f.guest, c);
    until_read(&f, 1);
    db_close(f.guest, h);
    db_result next;
    db_start_connect(f.guest, &next);
    for (int i = 0; i < 30; i++) {
      db_run(&f.one);
      uv_sleep(1);
    }
    assert_false(next.done);
    assert_int_equal(f.mock.resets, 0); /* not even reset: that could be what is canceled */
    wg_db_stats s = db_stats(&f);
    assert_int_equal(s.active + s.idle, 0);
    assert_int_equal(s.total, 1);
    atomic_store(&f.mock.cancel_held, false);
    db_run_until(&f.one, &next.done);
    assert_int_equal(next.code, WG_OK);
    assert_int_equal(f.mock.cancels, 1);
    assert_int_equal(f.mock.resets, 1);
    if (!gone) expect_end(&f, f.guest, c);
    db_greet(&f, f.guest, next.req.handle);
    db_query(&f, f.guest, next.req.handle, "SLEEP"); /* would be hit by what is still to come */
    uint8_t byte;
    for (int i = 0; i < 30; i++) {
      db_run(&f.one);
      uv_sleep(1);
    }
    assert_int_equal(wg_db_recv(f.guest, next.req.handle, &byte, 1, NULL), WG_AGAIN);
    assert_int_equal(f.mock.logins, 1);
    db_fixture_stop(&f);
  }
}

/* The server never closes: the sender gets its end after the limit, and the backend is not used
 * again, as the cancel may still come. */
static void test_fence_has_an_end(void **state) {
  (void)state;
  for (int when = 0; when < 2; when++) { /* the session ends before the limit, or after it */
    db_fixture f;
    start(&f, 1);
    f.database.pool.connect_timeout_ms = 60000;
    key k;
    uint64_t h = greeted(&f, f.guest, &k);
    atomic_store(&f.mock.cancel_held, true);
    uint64_t c = cancel(&f, f.guest, &k);
    until_read(&f, 1);
    if (when == 0) db_close(f.guest, h);
    db_advance(&f, DB_CANCEL_TIMEOUT_MS + 1);
    expect_end(&f, f.guest, c);
    char pid[16];
    if (when == 1) {
      db_ask(&f, f.guest, h, "PID", pid, sizeof pid); /* its own guest may go on */
      db_close(f.guest, h);
    }
    uint64_t next = greeted(&f, f.guest, &k);
    db_ask(&f, f.guest, next, "PID", pid, sizeof pid);
    assert_string_not_equal(pid, "1");
    assert_int_equal(f.mock.logins, 2);
    assert_int_equal(f.mock.resets, 0);
    db_fixture_stop(&f);
  }
}

/* Nobody listens any more: nothing was said, so nothing is in doubt. */
static void test_server_takes_no_cancels(void **state) {
  (void)state;
  db_fixture f;
  start(&f, 1);
  key k;
  uint64_t h = greeted(&f, f.guest, &k);
  char pid[16];
  mock_pg_refuse(&f.mock);
  expect_end(&f, f.guest, cancel(&f, f.guest, &k));
  db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  db_fixture_stop(&f);
}

/* The server connection, the sender, the instance, the worker: each may go while one is under way. */
static void test_gone_while_canceling(void **state) {
  (void)state;
  for (int how = 0; how < 4; how++) {
    db_fixture f;
    start(&f, 2);
    key k;
    uint64_t h = greeted(&f, f.guest, &k);
    atomic_store(&f.mock.cancel_held, true);
    uint64_t c = cancel(&f, f.guest, &k);
    if (how != 1) until_read(&f, 1);
    uint8_t byte;
    if (how == 0) { /* the server's connection, and with it the cancel's */
      mock_pg_kill(&f.mock);
      assert_int_equal(db_recv(&f, f.guest, h, &byte, 1, NULL), 1); /* an error, then the end */
      atomic_store(&f.mock.cancel_held, false);
      expect_end(&f, f.guest, c);
    } else if (how == 1) { /* before it was even connected */
      db_close(f.guest, h);
      db_close(f.guest, c);
    } else if (how == 2) { /* both, the meant one last */
      db_close(f.guest, c);
      db_close(f.guest, h);
    } /* 3: the fixture ends all at once */
    db_fixture_stop(&f);
  }
}

/* Several for one session; beyond the limit they are not forwarded. */
static void test_many_for_one(void **state) {
  (void)state;
  db_fixture f;
  start(&f, 1);
  key k;
  uint64_t h = greeted(&f, f.guest, &k), c[DB_CANCELS_MAX + 2];
  atomic_store(&f.mock.cancel_held, true);
  for (size_t i = 0; i < WG_COUNT(c); i++) c[i] = cancel(&f, f.guest, &k);
  for (size_t i = DB_CANCELS_MAX; i < WG_COUNT(c); i++) expect_end(&f, f.guest, c[i]);
  until_read(&f, DB_CANCELS_MAX);
  db_close(f.guest, h);
  atomic_store(&f.mock.cancel_held, false);
  for (size_t i = 0; i < DB_CANCELS_MAX; i++) expect_end(&f, f.guest, c[i]);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(f.mock.resets, 1);
  db_fixture_stop(&f);
}

/* The key is not sent in clear text where the session itself is encrypted. */
static void test_under_tls(void **state) {
  (void)state;
  for (int direct = 0; direct < 2; direct++) {
    db_fixture f;
    db_fixture_init(&f);
    f.database.host = (char *)"db.example";
    f.database.address = (char *)"127.0.0.1";
    f.database.tls.mode = WG_TLS_VERIFY_FULL;
    f.database.tls.negotiation = direct ? WG_TLS_DIRECT : f.database.tls.negotiation;
    f.database.tls.ca = certs_path("ca", "crt");
    f.mock.tls_cert = certs_path("server", "crt");
    f.mock.tls_key = certs_path("server", "key");
    f.mock.tls_direct = direct;
    db_fixture_start(&f);
    key k;
    uint64_t h = greeted(&f, f.guest, &k);
    sleep_long(&f, f.guest, h);
    expect_end(&f, f.guest, cancel(&f, f.guest, &k));
    assert_int_equal(f.mock.cancels_tls, 1);
    expect_canceled(&f, f.guest, h);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);

    h = greeted(&f, f.guest, &k); /* TLS is broken now: nothing is sent */
    atomic_store(&f.mock.tls_fault, MOCK_TLS_GONE);
    if (!direct) {
      expect_end(&f, f.guest, cancel(&f, f.guest, &k));
      assert_int_equal(f.mock.cancels_read, 1);
    }
    db_fixture_stop(&f);
  }
}

/* ---- workers ---- */

typedef struct pair {
  db_fixture f;
  db_worker_fixture two;
  wg_db_guest *guest2;
} pair;

static void pair_start(pair *p) {
  start(&p->f, 2);
  db_worker_fixture_start(&p->f, &p->two, 2);
  assert_int_equal(wg_db_guest_new(p->two.w, &p->guest2, NULL), WG_OK);
}

static void pair_run(pair *p, unsigned ms) {
  for (unsigned i = 0; i < ms; i++) {
    db_run(&p->f.one);
    db_run(&p->two);
    uv_sleep(1);
  }
}

static void pair_stop(pair *p) {
  wg_db_guest_free(p->guest2);
  if (p->two.w) db_worker_fixture_stop(&p->two);
  db_fixture_stop(&p->f);
}

static void test_for_another_workers_session(void **state) {
  (void)state;
  pair p;
  pair_start(&p);
  key k;
  uint64_t h = greeted(&p.f, p.f.guest, &k);
  sleep_long(&p.f, p.f.guest, h);
  uint64_t c = cancel(&p.f, p.guest2, &k);
  uint8_t byte;
  assert_int_equal(wg_db_recv(p.guest2, c, &byte, 1, NULL), WG_AGAIN);
  for (int i = 0; i < 5000 && wg_db_recv(p.guest2, c, &byte, 1, NULL) == WG_AGAIN; i++)
    pair_run(&p, 1);
  expect_end(&p.f, p.guest2, c);
  expect_canceled(&p.f, p.f.guest, h);
  pair_stop(&p);
}

/* Each side may go at each point. */
static void test_workers_gone(void **state) {
  (void)state;
  for (int how = 0; how < 7; how++) {
    pair p;
    pair_start(&p);
    key k;
    wg_db_guest *g = how >= 4 ? p.guest2 : p.f.guest, *sender = how >= 4 ? p.f.guest : p.guest2;
    uint64_t h = greeted(&p.f, g, &k);
    atomic_store(&p.f.mock.cancel_held, how != 3);
    uint64_t c = cancel(&p.f, sender, &k);
    if (how == 0) db_close(g, h); /* before it was looked at */
    if (how == 1) db_close(sender, c);
    if (how == 2) { /* under way */
      for (int i = 0; i < 5000 && p.f.mock.cancels_read < 1; i++) pair_run(&p, 1);
      db_close(sender, c);
      pair_run(&p, 2);
      atomic_store(&p.f.mock.cancel_held, false);
    }
    if (how == 3) { /* over, and on its way back */
      for (int i = 0; i < 5000 && p.f.mock.cancels < 1; i++) {
        db_run(&p.f.one);
        uv_sleep(1);
      }
      for (int i = 0; i < 20; i++) {
        db_run(&p.f.one);
        uv_sleep(1);
      }
      db_close(sender, c);
    }
    if (how == 4 || how == 5) { /* the worker of the session that is meant */
      for (int i = 0; how == 5 && i < 5000 && p.f.mock.cancels_read < 1; i++) pair_run(&p, 1);
      wg_db_guest_free(p.guest2);
      p.guest2 = NULL;
      db_worker_fixture_stop(&p.two);
      p.two.w = NULL;
      uint8_t byte;
      assert_int_equal(db_recv(&p.f, sender, c, &byte, 1, NULL), 0);
    }
    if (how == 6) { /* sender's instance and worker, then the other's */
      wg_db_guest_free(p.f.guest);
      assert_int_equal(wg_db_guest_new(p.f.one.w, &p.f.guest, NULL), WG_OK);
    }
    if (p.two.w) pair_run(&p, 5);
    pair_stop(&p);
  }
}

/* Threads of their own, each canceling the other's sessions: meant for TSan. */
enum { ROUNDS = 40 };
typedef struct peer {
  pthread_t id;
  db_fixture *f;
  unsigned number;
  struct peer *other;
  pthread_mutex_t lock;
  key k; /* of its session, under the lock */
} peer;

static void *peer_run(void *arg) {
  peer *me = arg;
  db_worker_fixture wf;
  wg_db_guest *g;
  db_worker_fixture_start(me->f, &wf, me->number);
  assert_int_equal(wg_db_guest_new(wf.w, &g, NULL), WG_OK);
  for (int i = 0; i < ROUNDS; i++) {
    key mine, theirs;
    uint64_t h = greeted(me->f, g, &mine);
    pthread_mutex_lock(&me->lock);
    me->k = mine;
    pthread_mutex_unlock(&me->lock);
    pthread_mutex_lock(&me->other->lock);
    theirs = me->other->k;
    pthread_mutex_unlock(&me->other->lock);
    uint64_t c = cancel(me->f, g, &theirs);
    if (i % 3 == 0) db_close(g, c);
    db_query(me->f, g, h, "PID");
    assert_int_equal(db_read_until(me->f, g, h, 'Z', NULL, NULL), 'I');
    if (i % 2) db_close(g, h);
    if (i % 3) expect_end(me->f, g, c);
    if (i % 2 == 0) db_close(g, h);
  }
  wg_db_guest_free(g);
  db_worker_fixture_stop(&wf);
  return NULL;
}

static void test_threads(void **state) {
  (void)state;
  db_fixture f;
  start(&f, 2);
  peer peers[2] = {{.f = &f, .number = 2, .other = &peers[1]},
                   {.f = &f, .number = 3, .other = &peers[0]}};
  for (int i = 0; i < 2; i++) pthread_mutex_init(&peers[i].lock, NULL);
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&peers[i].id, NULL, peer_run, &peers[i]), 0);
  for (int i = 0; i < 2; i++) pthread_join(peers[i].id, NULL);
  for (int i = 0; i < 2; i++) pthread_mutex_destroy(&peers[i].lock);
  db_fixture_stop(&f);
}

/** auth = "guest": a session of this password, and its key. */
static uint64_t greeted_as(db_fixture *f, const char *password, key *k) {
  uint8_t bytes[256], *all;
  size_t len, n = strlen(password) + 5;
  uint64_t h = open_on(f->guest);
  db_send(f, f->guest, h, bytes, db_startup(bytes, "user", "app", "database", "shop", NULL));
  assert_int_equal(db_read_until(f, f->guest, h, 'R', NULL, NULL), 0);
  bytes[0] = 'p';
  memset(bytes + 1, 0, 3);
  bytes[4] = (uint8_t)n;
  memcpy(bytes + 5, password, n - 4);
  db_send(f, f->guest, h, bytes, n + 1);
  assert_int_equal(db_read_until(f, f->guest, h, 'Z', &all, &len), 'I');
  memcpy(k->bytes, all + len - 14, 8);
  free(all);
  return h;
}

static void on_line(void *user, const char *line, size_t len) {
  if (memmem(line, len, "db_cancel_failed", 16) && memmem(line, len, "database=main", 13))
    *(bool *)user = true;
}

/* The session and its connection are gone, and a guest with another password comes, while a cancel is
 * still on its way: its pool stays until then. */
static void test_the_pool_outlives_a_cancel(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.auth = WG_DB_AUTH_GUEST;
  f.database.credential_ttl_ms = 60000;
  f.database.user = NULL;
  f.database.password = (wg_secret){0};
  f.mock.cancel_held = true;
  db_fixture_start(&f);
  key k;
  uint64_t h = greeted_as(&f, "one", &k);
  sleep_long(&f, f.guest, h);
  uint64_t c = cancel(&f, f.guest, &k);
  until_read(&f, 1);
  db_close(f.guest, h);
  db_run(&f.one);
  h = greeted_as(&f, "two", &k);
  wg_log_setup(WG_LOG_WARN, WG_LOG_LOGFMT, 2);
  bool told = false;
  wg__log_sink(on_line, &told);
  db_advance(&f, 5001); /* it fails, and says of which database */
  wg__log_sink(NULL, NULL);
  assert_true(told);
  expect_end(&f, f.guest, c);
  db_close(f.guest, h);
  f.mock.cancel_held = false;
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us112_cancel),
      cmocka_unit_test(test_through_connect),
      cmocka_unit_test(test_wrong_and_void_keys),
      cmocka_unit_test(test_not_across_databases),
      cmocka_unit_test(test_late_cancel_hits_nobody),
      cmocka_unit_test(test_fence_has_an_end),
      cmocka_unit_test(test_server_takes_no_cancels),
      cmocka_unit_test(test_gone_while_canceling),
      cmocka_unit_test(test_many_for_one),
      cmocka_unit_test(test_under_tls),
      cmocka_unit_test(test_for_another_workers_session),
      cmocka_unit_test(test_workers_gone),
      cmocka_unit_test(test_threads),
      cmocka_unit_test(test_the_pool_outlives_a_cancel),
  };
  certs_make_all();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  certs_remove();
  return failed;
}
