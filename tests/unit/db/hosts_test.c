/* SPDX-License-Identifier: Apache-2.0 */
/* US-111: several servers of one database: in which order, when the next one, and what each must be. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = 3 };

/** A database of MANY mocks; the first is that of the fixture. */
typedef struct list_fixture {
  db_fixture f;
  mock_pg more[MANY - 1];
  wg_db_host hosts[MANY];
} list_fixture;

static mock_pg *mock_of(list_fixture *l, size_t i) { return i ? &l->more[i - 1] : &l->f.mock; }

static void list_init(list_fixture *l, wg_db_target_attrs attrs) {
  memset(l, 0, sizeof *l);
  db_fixture_init(&l->f);
  l->f.database.target_attrs = attrs;
  for (size_t i = 0; i < MANY; i++) mock_of(l, i)->tells = true;
}

static void list_start(list_fixture *l) {
  db_fixture_start(&l->f);
  for (size_t i = 0; i < MANY; i++) {
    if (i) mock_pg_start(mock_of(l, i));
    l->hosts[i] = (wg_db_host){(char *)"127.0.0.1", mock_of(l, i)->port};
  }
  l->f.database.hosts = l->hosts;
  l->f.database.host_count = MANY;
}

static void list_stop(list_fixture *l) {
  for (size_t i = 1; i < MANY; i++) mock_pg_stop(mock_of(l, i));
  db_fixture_stop(&l->f);
}

/** Connects; which mock it was is in the port. */
static size_t serves(list_fixture *l) {
  uint64_t h = db_open(&l->f, l->f.guest);
  wg_server *srv = WG_ITEM(wg_list_first(&l->f.one.w->servers), wg_server, by_worker);
  size_t host = srv->host;
  db_close(l->f.guest, h);
  return host;
}

static void test_us111_the_first_that_answers(void **state) {
  (void)state;
  for (size_t dead = 0; dead < MANY; dead++) {
    list_fixture l;
    list_init(&l, WG_DB_TARGET_ANY);
    list_start(&l);
    for (size_t i = 0; i < dead; i++) mock_pg_refuse(mock_of(&l, i));
    assert_int_equal(serves(&l), dead);
    wg_db_stats s = db_stats(&l.f);
    assert_int_equal(s.connects, 1);
    assert_int_equal(s.failures, 0); /* the connection came about */
    for (size_t i = dead + 1; i < MANY; i++) assert_int_equal(mock_of(&l, i)->accepted, 0);
    list_stop(&l);
  }
}

static void test_us111_none_answers(void **state) {
  (void)state;
  list_fixture l;
  wg_error err;
  list_init(&l, WG_DB_TARGET_ANY);
  list_start(&l);
  for (size_t i = 0; i < MANY; i++) mock_pg_refuse(mock_of(&l, i));
  assert_int_equal(db_connect(&l.f, l.f.guest, &err), 0);
  assert_int_equal(err.code, WG_IO);
  assert_non_null(strstr(err.msg, "refused"));
  wg_db_stats s = db_stats(&l.f);
  assert_int_equal(s.failures, 1); /* one attempt, whatever it tried */
  assert_int_equal(s.by_cause[WG_DB_CAUSE_CONNECT], 1);
  assert_int_equal(s.total, 0);
  list_stop(&l);
}

/* A server that is full, or speaks nonsense, or says nothing, is passed over; one that knows the
 * password to be wrong is not. */
static void test_us111_which_failures_go_on(void **state) {
  (void)state;
  for (int how = 0; how < 4; how++) {
    list_fixture l;
    wg_error err;
    list_init(&l, WG_DB_TARGET_ANY);
    l.f.database.pool.connect_timeout_ms = 900;
    l.f.mock.full = how == 0;
    l.f.mock.mute = how == 1;
    if (how == 2) l.f.mock.auth = MOCK_CLEARTEXT, l.f.mock.password = "another";
    if (how == 3) l.f.database.tls.mode = WG_TLS_REQUIRE; /* none of them can */
    list_start(&l);
    if (how < 2) {
      assert_int_equal(serves(&l), 1); /* the mute one had a third of the time */
    } else {
      assert_int_equal(db_connect(&l.f, l.f.guest, &err), 0);
      assert_int_equal(err.code, how == 2 ? WG_AUTH : WG_UNSUPPORTED);
      assert_int_equal(l.more[MANY - 2].accepted, how == 2 ? 0 : 1);
      assert_int_equal(db_stats(&l.f).by_cause[how == 2 ? WG_DB_CAUSE_AUTH : WG_DB_CAUSE_TLS], 1);
    }
    list_stop(&l);
  }
}

static void test_us111_target_session_attrs(void **state) {
  (void)state;
  enum { PRIMARY, READ_ONLY, STANDBY }; /* what a mock is */
  static const struct {
    wg_db_target_attrs asked;
    int is[MANY];
    int serves; /* -1: none */
  } cases[] = {
      {WG_DB_TARGET_ANY, {STANDBY, PRIMARY, PRIMARY}, 0},
      {WG_DB_TARGET_READ_WRITE, {STANDBY, READ_ONLY, PRIMARY}, 2},
      {WG_DB_TARGET_READ_WRITE, {PRIMARY, PRIMARY, PRIMARY}, 0},
      {WG_DB_TARGET_READ_WRITE, {STANDBY, READ_ONLY, STANDBY}, -1},
      {WG_DB_TARGET_READ_ONLY, {PRIMARY, READ_ONLY, STANDBY}, 1},
      {WG_DB_TARGET_READ_ONLY, {PRIMARY, STANDBY, READ_ONLY}, 1},
      {WG_DB_TARGET_READ_ONLY, {PRIMARY, PRIMARY, PRIMARY}, -1},
      {WG_DB_TARGET_PRIMARY, {STANDBY, READ_ONLY, PRIMARY}, 1},
      {WG_DB_TARGET_PRIMARY, {STANDBY, STANDBY, STANDBY}, -1},
      {WG_DB_TARGET_STANDBY, {PRIMARY, READ_ONLY, STANDBY}, 2},
      {WG_DB_TARGET_STANDBY, {PRIMARY, READ_ONLY, PRIMARY}, -1},
      {WG_DB_TARGET_PREFER_STANDBY, {PRIMARY, PRIMARY, STANDBY}, 2},
      {WG_DB_TARGET_PREFER_STANDBY, {PRIMARY, READ_ONLY, PRIMARY}, 0},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    list_fixture l;
    wg_error err;
    list_init(&l, cases[i].asked);
    for (size_t k = 0; k < MANY; k++) {
      mock_of(&l, k)->standby = cases[i].is[k] == STANDBY;
      mock_of(&l, k)->read_only = cases[i].is[k] == READ_ONLY;
    }
    list_start(&l);
    if (cases[i].serves >= 0) {
      assert_int_equal(serves(&l), cases[i].serves);
    } else {
      assert_int_equal(db_connect(&l.f, l.f.guest, &err), 0);
      assert_int_equal(err.code, WG_REFUSED);
      assert_non_null(strstr(err.hint, "target_session_attrs of [databases.main]"));
      assert_int_equal(db_stats(&l.f).by_cause[WG_DB_CAUSE_ROLE], 1);
      for (int t = 0; t < 500 && l.more[1].terminates == 0; t++) {
        db_run(&l.f.one);
        uv_sleep(1);
      }
      assert_int_equal(l.more[1].terminates, 1); /* politely */
    }
    list_stop(&l);
  }
}

static void test_us111_a_server_that_does_not_tell(void **state) {
  (void)state;
  list_fixture l;
  wg_error err;
  list_init(&l, WG_DB_TARGET_READ_WRITE);
  for (size_t i = 0; i < MANY; i++) mock_of(&l, i)->tells = false;
  list_start(&l);
  l.f.database.host_count = 1; /* one server has to be it, too */
  assert_int_equal(db_connect(&l.f, l.f.guest, &err), 0);
  assert_int_equal(err.code, WG_UNSUPPORTED);
  assert_non_null(strstr(err.hint, "PostgreSQL 14"));
  list_stop(&l);
}

/* A primary becomes a standby while a guest has it: no other guest gets it. */
static void test_us111_a_server_that_changes(void **state) {
  (void)state;
  list_fixture l;
  list_init(&l, WG_DB_TARGET_READ_WRITE);
  list_start(&l);
  uint64_t h = db_open(&l.f, l.f.guest);
  db_query(&l.f, l.f.guest, h, "SET in_hot_standby on");
  assert_int_equal(db_read_until(&l.f, l.f.guest, h, 'Z', NULL, NULL), 'I');
  l.f.mock.standby = true;
  db_close(l.f.guest, h);
  db_run_until_stats(&l.f, 0, 0, 0);
  assert_int_equal(db_stats(&l.f).by_cause[WG_DB_CAUSE_ROLE], 1);
  assert_int_equal(serves(&l), 1);
  list_stop(&l);
}

/* The guest gives up, or the worker goes, at any point of the search. */
static void test_us111_given_up_meanwhile(void **state) {
  (void)state;
  for (unsigned rounds = 0; rounds < 12; rounds++) {
    list_fixture l;
    db_result r;
    list_init(&l, WG_DB_TARGET_READ_WRITE);
    l.f.mock.standby = l.more[0].standby = true;
    list_start(&l);
    db_start_connect(l.f.guest, &r);
    for (unsigned i = 0; i < rounds && !r.done; i++) {
      uv_run(&l.f.one.uv, UV_RUN_NOWAIT);
      uv_sleep(1);
    }
    if (!r.done && rounds % 2) wg_db_cancel(l.f.guest, &r.req);
    list_stop(&l); /* asserts that nothing is left */
  }
}

/* A dead first server costs its share of the time once, not for each connection; later it is first
 * again. */
static void test_us111_what_failed_is_tried_last(void **state) {
  (void)state;
  list_fixture l;
  list_init(&l, WG_DB_TARGET_ANY);
  l.f.database.pool.reset = WG_DB_RESET_CLOSE;
  l.f.database.pool.idle_timeout_ms = 1000;
  l.f.database.pool.health_interval_ms = 0;
  list_start(&l);
  db_freeze(&l.f);
  mock_pg_refuse(&l.f.mock);
  assert_int_equal(serves(&l), 1);
  wg_pool *pool = WG_CONTAINER(wg_list_first(&l.f.db->pools), wg_pool, by_db);
  db_advance(&l.f, 1001);
  db_run_until_stats(&l.f, 0, 0, 0);
  assert_true(pool->host_down_ms[0] > 0);
  uint64_t until = pool->host_down_ms[0];
  assert_int_equal(serves(&l), 1);
  assert_true(pool->host_down_ms[0] == until); /* it was not asked */
  mock_pg_refuse(&l.more[0]);
  mock_pg_refuse(&l.more[1]);
  wg_error err;
  db_advance(&l.f, 1001);
  db_run_until_stats(&l.f, 0, 0, 0);
  assert_int_equal(db_connect(&l.f, l.f.guest, &err), 0); /* but before giving up it was */
  assert_true(pool->host_down_ms[1] > 0 && pool->host_down_ms[2] > 0);
  db_advance(&l.f, DB_HOST_DOWN_MS + 1);
  wg_local *local = WG_CONTAINER(wg_list_first(&pool->locals), wg_local, by_pool);
  pthread_mutex_lock(&pool->lock);
  wg_server *srv = wg__server_new(local);
  pthread_mutex_unlock(&pool->lock);
  for (size_t i = 0; i < MANY; i++) assert_int_equal(srv->host_order[i], i);
  wg__server_enter(srv, SRV_CLOSED);
  list_stop(&l);
}

/* load_balance: every server is first for about as many connections, and each is in the order once. */
static void test_us111_load_balance(void **state) {
  (void)state;
  list_fixture l;
  unsigned first[MANY] = {0};
  list_init(&l, WG_DB_TARGET_ANY);
  l.f.database.load_balance = true;
  list_start(&l);
  (void)serves(&l);
  wg_pool *pool = WG_CONTAINER(wg_list_first(&l.f.db->pools), wg_pool, by_db);
  wg_local *local = WG_CONTAINER(wg_list_first(&pool->locals), wg_local, by_pool);
  for (int i = 0; i < 3000; i++) {
    unsigned seen = 0;
    pthread_mutex_lock(&pool->lock);
    wg_server *srv = wg__server_new(local);
    pthread_mutex_unlock(&pool->lock);
    first[srv->host]++;
    for (size_t k = 0; k < MANY; k++) seen |= 1u << srv->host_order[k];
    assert_int_equal(seen, (1u << MANY) - 1);
    wg__server_enter(srv, SRV_CLOSED);
  }
  for (size_t k = 0; k < MANY; k++) assert_in_range(first[k], 800, 1200);
  list_stop(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us111_the_first_that_answers),
      cmocka_unit_test(test_us111_none_answers),
      cmocka_unit_test(test_us111_which_failures_go_on),
      cmocka_unit_test(test_us111_target_session_attrs),
      cmocka_unit_test(test_us111_a_server_that_does_not_tell),
      cmocka_unit_test(test_us111_a_server_that_changes),
      cmocka_unit_test(test_us111_given_up_meanwhile),
      cmocka_unit_test(test_us111_what_failed_is_tried_last),
      cmocka_unit_test(test_us111_load_balance),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
