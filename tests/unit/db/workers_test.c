/* SPDX-License-Identifier: Apache-2.0 */
/* US-111: workers on threads of their own share the limit, the queue and the idle connections of a
 * key. Meant for TSan; right without it too. */
#include "db/certs.h"
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORKERS = 3, GUESTS = 4, ROUNDS = 60, OWN_ROUNDS = 40 }; /* the mock takes 512 log-ins */

/* One guest that lives on the loop: connect, start-up, query, close, again. */
typedef struct actor {
  db_fixture *f;
  wg_db_guest *g;
  wg_db_req connect, wait;
  uint64_t handle;
  unsigned round, seed, left;
  bool greeted, canceled, own; /* own: logs in as itself, with one password of several */
  unsigned *live;
  uv_timer_t again;
} actor;

typedef struct thread {
  pthread_t id;
  db_fixture *f;
  unsigned number;
  db_worker_fixture wf;
  unsigned live;
  actor actors[GUESTS];
} thread;

static _Atomic unsigned in_use, most_in_use;

static void actor_start(actor *a);

static void on_actor_closed(uv_handle_t *h) { (*((actor *)h->data)->live)--; }

static void on_again(uv_timer_t *t) {
  actor *a = t->data;
  if (++a->round < ROUNDS) {
    actor_start(a);
    return;
  }
  wg_db_guest_free(a->g);
  uv_close((uv_handle_t *)&a->again, on_actor_closed);
}

static void actor_close(actor *a) {
  atomic_fetch_sub(&in_use, 1);
  assert_int_equal(wg_db_close(a->g, a->handle, NULL), WG_OK);
  uv_timer_start(&a->again, on_again, 0, 0);
}

static void actor_read(actor *a);
static void on_readable(wg_db_req *req, const wg_error *err) {
  if (err) abort();
  actor_read(req->user);
}

static void actor_send(actor *a) {
  static const uint8_t query[] = "Q\0\0\0\010PID";
  if (wg_db_send(a->g, a->handle, query, sizeof query, NULL) != sizeof query) abort();
}

static void actor_read(actor *a) {
  for (;;) {
    uint8_t b[512];
    wg_error err;
    ssize_t n = wg_db_recv(a->g, a->handle, b, sizeof b, &err);
    if (n == WG_AGAIN) {
      wg_db_wait(a->g, a->handle, WG_WATCH_READ, true, &a->wait, on_readable, a);
      return;
    }
    if (n <= 0) abort();
    if (n < 6 || memcmp(b + n - 6, "Z\0\0\0\005I", 6) != 0) continue;
    if (!a->greeted) {
      a->greeted = true;
      actor_send(a);
    } else {
      actor_close(a);
      return;
    }
  }
}

static void on_connected(wg_db_req *req, const wg_error *err) {
  actor *a = req->user;
  if (err) {
    fprintf(stderr, "connect: %s\n", err->msg);
    abort();
  }
  unsigned now = atomic_fetch_add(&in_use, 1) + 1, most = atomic_load(&most_in_use);
  while (now > most && !atomic_compare_exchange_weak(&most_in_use, &most, now)) {
  }
  a->handle = req->handle;
  uint8_t startup[64];
  size_t n = db_startup(startup, "user", "app", NULL);
  if (wg_db_send(a->g, a->handle, startup, n, NULL) != (ssize_t)n) abort();
  actor_read(a);
}

static void actor_start(actor *a) {
  wg_db_target t = {
      .protocol = WG_DB_POSTGRES, .host = "127.0.0.1", .host_len = 9, .port = a->f->database.port};
  a->greeted = false;
  a->seed = a->seed * 1103515245 + 12345;
  a->handle = 0;
  if (a->own) {
    static const char *const passwords[] = {"one", "two", "three", "four", "five"};
    const char *password = passwords[(a->seed >> 16) % WG_COUNT(passwords)];
    t.user = "app"; /* the one that the mock lets in; with MOCK_TRUST it asks for no password */
    t.user_len = 3;
    t.password = password;
    t.password_len = strlen(password);
  }
  wg_db_connect(a->g, &t, &a->connect, on_connected, a);
  if (a->handle == 0 && (a->seed >> 16) % 5 == 0) { /* still queued: give up */
    wg_db_cancel(a->g, &a->connect);
    uv_timer_start(&a->again, on_again, 1, 0);
  }
}

static void *run(void *arg) {
  thread *t = arg;
  wg_error err;
  db_worker_fixture_start(t->f, &t->wf, t->number);
  t->live = GUESTS;
  for (unsigned i = 0; i < GUESTS; i++) {
    actor *a = &t->actors[i];
    a->f = t->f;
    a->live = &t->live;
    a->seed = t->number * 100 + i;
    a->own = t->f->database.auth == WG_DB_AUTH_GUEST;
    if (a->own) a->round = ROUNDS - OWN_ROUNDS;
    if (wg_db_guest_new(t->wf.w, &a->g, &err) != WG_OK) abort();
    uv_timer_init(&t->wf.uv, &a->again);
    a->again.data = a;
    actor_start(a);
  }
  while (t->live) uv_run(&t->wf.uv, UV_RUN_ONCE);
  db_worker_fixture_stop(&t->wf);
  return NULL;
}

static void use_tls(db_fixture *f) {
  f->mock.tls_cert = certs_path("server", "crt");
  f->mock.tls_key = certs_path("server", "key");
  f->mock.tls_resumes = true;
  f->database.tls.mode = WG_TLS_VERIFY_FULL;
  f->database.tls.ca = certs_path("ca", "crt");
}

static void share_a_key(bool tls) {
  db_fixture f;
  db_fixture_init(&f);
  if (tls) use_tls(&f);
  atomic_store(&most_in_use, 0);
  f.database.pool.pool_size = 3;
  f.database.pool.connect_timeout_ms = 60000;
  f.database.pool.health_interval_ms = 5;
  f.mock.auth = MOCK_SCRAM;
  db_fixture_start(&f);
  thread *threads = calloc(WORKERS, sizeof *threads);
  for (unsigned i = 0; i < WORKERS; i++) {
    threads[i].f = &f;
    threads[i].number = i + 2;
    assert_int_equal(pthread_create(&threads[i].id, NULL, run, &threads[i]), 0);
  }
  for (unsigned i = 0; i < WORKERS; i++) pthread_join(threads[i].id, NULL);
  free(threads);
  wg_db_stats s = db_stats(&f);
  assert_int_equal(s.waiting, 0);
  assert_int_equal(s.active, 0);
  assert_true(s.leases > WORKERS * GUESTS * ROUNDS / 2);
  assert_in_range(atomic_load(&most_in_use), 2, 3); /* the limit is shared, and used */
  /* A worker that ends takes its connections along; the others live on. */
  assert_true(s.connects < s.leases / 4);
  if (tls) assert_int_equal(f.mock.tls_logins, f.mock.logins);
  db_fixture_stop(&f);
}
static void test_workers_share_a_key(void **state) {
  (void)state;
  share_a_key(false);
}
static void test_workers_share_a_key_under_tls(void **state) {
  (void)state;
  share_a_key(true);
}

/* Guests' keys come and go on all workers at once: what one sweeps away, another is about to use. */
static void share_keys_that_go(void) {
  db_fixture f;
  db_fixture_init(&f);
  f.database.auth = WG_DB_AUTH_GUEST;
  f.database.credential_ttl_ms = 0; /* nothing is kept: each visit leaves an empty key */
  f.database.user = NULL;
  f.database.password = (wg_secret){0};
  f.database.pool.pool_size = WORKERS * GUESTS;
  f.database.pool.connect_timeout_ms = 60000;
  db_fixture_start(&f);
  thread *threads = calloc(WORKERS, sizeof *threads);
  for (unsigned i = 0; i < WORKERS; i++) {
    threads[i].f = &f;
    threads[i].number = i + 2;
    assert_int_equal(pthread_create(&threads[i].id, NULL, run, &threads[i]), 0);
  }
  for (unsigned i = 0; i < WORKERS; i++) pthread_join(threads[i].id, NULL);
  free(threads);
  assert_true(f.mock.logins >= WORKERS * GUESTS * OWN_ROUNDS);
  db_fixture_stop(&f);
}

static void us_112_workers_share_keys_that_go(void **state) {
  (void)state;
  for (int i = 0; i < 5; i++) share_keys_that_go();
}

/* Two loops on one thread, so that the order of events is the test's. */
typedef struct pair {
  db_fixture f;
  db_worker_fixture two;
  wg_db_guest *guest2;
} pair;

static void pair_start_as(pair *p, uint32_t pool_size, bool tls) {
  wg_error err;
  db_fixture_init(&p->f);
  if (tls) use_tls(&p->f);
  p->f.database.pool.pool_size = pool_size;
  db_fixture_start(&p->f);
  db_worker_fixture_start(&p->f, &p->two, 2);
  assert_int_equal(wg_db_guest_new(p->two.w, &p->guest2, &err), WG_OK);
}
static void pair_start(pair *p, uint32_t pool_size) { pair_start_as(p, pool_size, false); }
static void pair_stop(pair *p) {
  wg_db_guest_free(p->guest2);
  db_worker_fixture_stop(&p->two);
  db_fixture_stop(&p->f);
}
static void both(pair *p, const bool *flag) {
  for (int i = 0; i < 2000 && !*flag; i++) {
    db_run(&p->f.one);
    db_run(&p->two);
    if (!*flag) uv_sleep(1);
  }
  assert_true(*flag);
}

/* The other worker's idle connection comes over; no second log-in. */
static void idle_connection_moves(bool tls) {
  pair p;
  pair_start_as(&p, 2, tls);
  p.f.mock.tickets_when_idle = tls;
  uint64_t h = db_open(&p.f, p.f.guest);
  db_query(&p.f, p.f.guest, h, "");
  db_read_until(&p.f, p.f.guest, h, 'Z', NULL, NULL);
  db_close(p.f.guest, h);
  db_run_until_stats(&p.f, 0, 1, 1);
  db_result r;
  db_start_connect(p.guest2, &r);
  assert_false(r.done);
  both(&p, &r.done);
  assert_int_equal(r.code, WG_OK);
  char pid[16];
  db_greet(&p.f, p.guest2, r.req.handle);
  db_ask(&p.f, p.guest2, r.req.handle, "PID", pid, sizeof pid);
  assert_string_equal(pid, "1");
  assert_int_equal(p.f.mock.logins, 1);
  assert_int_equal(p.f.mock.tls_logins, tls);
  pair_stop(&p);
}
static void test_idle_connection_moves(void **state) {
  (void)state;
  idle_connection_moves(false);
}
static void test_idle_tls_connection_moves(void **state) {
  (void)state;
  idle_connection_moves(true);
}

/* One queue: who came first is served first, whatever worker it is on. */
static void test_fifo_across_workers(void **state) {
  (void)state;
  pair p;
  pair_start(&p, 1);
  uint64_t h = db_open(&p.f, p.f.guest);
  db_result r[4];
  wg_db_guest *guest[4] = {p.guest2, p.f.guest, p.guest2, p.f.guest};
  for (int i = 0; i < 4; i++) db_start_connect(guest[i], &r[i]);
  assert_int_equal(db_stats(&p.f).waiting, 4);
  db_close(p.f.guest, h);
  for (int i = 0; i < 4; i++) {
    both(&p, &r[i].done);
    assert_int_equal(r[i].code, WG_OK);
    for (int k = i + 1; k < 4; k++) assert_false(r[k].done);
    db_close(guest[i], r[i].req.handle);
  }
  assert_int_equal(p.f.mock.logins, 1);
  pair_stop(&p);
}

/* A guest whose own worker has an idle connection does not overtake one that waits elsewhere. */
static void test_no_overtaking(void **state) {
  (void)state;
  pair p;
  pair_start(&p, 1);
  db_close(p.f.guest, db_open(&p.f, p.f.guest));
  db_run_until_stats(&p.f, 0, 1, 1);
  db_result first, second;
  db_start_connect(p.guest2, &first); /* asks worker one for its idle connection */
  db_start_connect(p.f.guest, &second);
  assert_false(second.done);
  both(&p, &first.done);
  assert_int_equal(first.code, WG_OK);
  assert_false(second.done);
  db_close(p.guest2, first.req.handle);
  both(&p, &second.done);
  assert_int_equal(second.code, WG_OK);
  pair_stop(&p);
}

/* The guest gives up, or its worker ends, while a connection is on its way to it. */
static void test_gone_while_moving(void **state) {
  (void)state;
  for (int how = 0; how < 4; how++) {
    pair p;
    pair_start(&p, 1);
    uint64_t h = db_open(&p.f, p.f.guest);
    db_result r, mine;
    db_start_connect(p.guest2, &r);
    db_start_connect(p.f.guest, &mine);
    db_close(p.f.guest, h); /* unused, so it goes at once */
    assert_int_equal(db_stats(&p.f).waiting, 2); /* one of them was promised it */
    assert_false(r.done);
    if (how == 0) wg_db_cancel(p.guest2, &r.req);
    if (how == 1) {
      wg_db_guest_free(p.guest2);
      p.guest2 = NULL;
    }
    if (how == 2) { /* the server dies on the way: a new one, and still in order */
      mock_pg_kill(&p.f.mock);
      while (p.f.mock.open) uv_sleep(1);
      both(&p, &r.done);
      assert_int_equal(r.code, WG_OK);
      db_close(p.guest2, r.req.handle);
    }
    if (how == 3) { /* its worker ends: room for the other's own connect */
      wg_db_guest_free(p.guest2);
      p.guest2 = NULL;
      db_worker_fixture_stop(&p.two);
      db_run_until(&p.f.one, &mine.done);
    } else {
      both(&p, &mine.done);
    }
    assert_int_equal(mine.code, WG_OK);
    assert_int_equal(r.done, how == 2);
    assert_int_equal(p.f.mock.logins, how < 2 ? 1 : 2);
    if (how == 3)
      db_fixture_stop(&p.f);
    else
      pair_stop(&p);
  }
}

/* A refused server answers the waiters of every worker. */
static void test_refusal_reaches_all_workers(void **state) {
  (void)state;
  pair p;
  pair_start(&p, 1);
  mock_pg_stop(&p.f.mock);
  db_result a, b;
  db_start_connect(p.f.guest, &a);
  db_start_connect(p.guest2, &b);
  both(&p, &a.done);
  both(&p, &b.done);
  assert_int_equal(a.code, WG_IO);
  assert_int_equal(b.code, WG_IO);
  pair_stop(&p);
}

/* Draining a worker leaves the others at work, and hands them what they wait for. */
static void on_drained(void *user) { *(bool *)user = true; }
static void test_drain_one_of_two(void **state) {
  (void)state;
  pair p;
  pair_start(&p, 1);
  uint64_t h = db_open(&p.f, p.f.guest);
  db_result r;
  db_start_connect(p.guest2, &r);
  bool drained = false;
  wg_db_worker_drain(p.f.one.w, on_drained, &drained);
  db_close(p.f.guest, h);
  both(&p, &r.done);
  both(&p, &drained);
  assert_int_equal(r.code, WG_OK);
  assert_int_equal(p.f.mock.logins, 1);
  pair_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_workers_share_a_key),
      cmocka_unit_test(us_112_workers_share_keys_that_go),
      cmocka_unit_test(test_workers_share_a_key_under_tls),
      cmocka_unit_test(test_idle_tls_connection_moves),
      cmocka_unit_test(test_idle_connection_moves),
      cmocka_unit_test(test_fifo_across_workers),
      cmocka_unit_test(test_no_overtaking),
      cmocka_unit_test(test_gone_while_moving),
      cmocka_unit_test(test_refusal_reaches_all_workers),
      cmocka_unit_test(test_drain_one_of_two),
  };
  return cmocka_run_group_tests(tests, certs_setup, certs_teardown);
}
