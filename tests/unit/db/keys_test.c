/* SPDX-License-Identifier: Apache-2.0 */
/* US-111: how many pools there are when guests choose what they are of. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static wg_code pool_of(db_fixture *f, const wg_database_config *config, const char *database,
                       wg_local **out, wg_error *err) {
  return wg__worker_pool(f->one.w, config, database, strlen(database), NULL, 0, out, err);
}

static wg_code shape_of(db_fixture *f, const wg_database_config *config, uint64_t shape,
                        wg_local **out, wg_error *err) {
  return wg__worker_pool(f->one.w, config, "shop", 4, NULL, shape, out, err);
}

/* "main" is spelled out in warp.toml, "any" leaves the database to the guests. */
static void fixture(db_fixture *f, wg_database_config both[2]) {
  db_fixture_init(f);
  both[0] = both[1] = f->database;
  both[1].name = (char *)"any";
  both[1].database = NULL;
  f->config.databases = both;
  f->config.database_count = 2;
  db_fixture_start(f);
}

static void count_line(void *user, const wg_db_stats *s) {
  *(int *)user += strcmp(s->database, "guess5") == 0;
}

static void us_111_guests_names_leave_room(void **state) {
  (void)state;
  db_fixture f;
  wg_database_config both[2];
  wg_local *held[DB_POOLS_MAX], *other;
  wg_node promised[DB_POOLS_MAX];
  wg_error err;
  char name[32];
  fixture(&f, both);
  for (int i = 0; i < DB_POOLS_MAX; i++) {
    snprintf(name, sizeof name, "guess%d", i);
    assert_int_equal(pool_of(&f, &both[1], name, &held[i], &err), WG_OK);
    wg_node_init(&promised[i]);
    wg_list_push_back(&held[i]->granted, &promised[i]); /* somebody is to have a session of it */
  }

  /* All in use: no more of them, but what is spelled out is there. */
  assert_int_equal(pool_of(&f, &both[1], "another", &other, &err), WG_EXHAUSTED);
  assert_string_equal(err.msg, "database 'any': 1024 pools exist already");
  assert_int_equal(pool_of(&f, &both[0], "", &other, &err), WG_OK);
  assert_string_equal(other->pool->database, "shop");

  /* Those that nobody wants any more make room; the others, and what is spelled out, stay. */
  for (int i = 2; i < DB_POOLS_MAX; i++) wg_list_remove(&held[i]->granted, &promised[i]);
  db_run(&f.one);
  assert_int_equal(f.db->pools.count, 2 + 1);
  assert_int_equal(pool_of(&f, &both[1], "another", &other, &err), WG_OK);
  assert_int_equal(pool_of(&f, &both[1], "guess1", &other, &err), WG_OK);
  assert_ptr_equal(other, held[1]);

  int lines = 0;
  assert_int_equal(pool_of(&f, &both[1], "guess5", &other, &err), WG_OK);
  wg_db_each_stats(f.db, count_line, &lines);
  assert_int_equal(lines, 1); /* of a pool that is there again */
  for (int i = 0; i < 2; i++) wg_list_remove(&held[i]->granted, &promised[i]);
  db_fixture_stop(&f);
}

/* US-115: what a log-in fixes besides (a MySQL guest's capabilities and character set) is chosen by
 * guests, too, where the database is not. */
static void us_115_guests_shapes_are_bounded(void **state) {
  (void)state;
  enum { MORE = DB_SHAPES_MAX * 2 };
  db_fixture f;
  wg_database_config both[2];
  wg_local *held[DB_SHAPES_MAX], *other, *guess;
  wg_node promised[DB_SHAPES_MAX];
  wg_error err;
  fixture(&f, both);
  for (uint64_t i = 0; i < DB_SHAPES_MAX; i++) {
    assert_int_equal(shape_of(&f, &both[0], i + 1, &held[i], &err), WG_OK);
    wg_node_init(&promised[i]);
    wg_list_push_back(&held[i]->granted, &promised[i]); /* somebody is to have a session of it */
  }

  /* All in use: no more of them, but those that are there, another database, and a guess. */
  assert_int_equal(shape_of(&f, &both[0], DB_SHAPES_MAX + 1, &other, &err), WG_EXHAUSTED);
  assert_non_null(strstr(err.msg, "8 kinds of connections"));
  assert_int_equal(shape_of(&f, &both[0], 3, &other, &err), WG_OK);
  assert_ptr_equal(other, held[2]);
  assert_int_equal(wg__worker_pool(f.one.w, &both[1], "till", 4, NULL, 1, &other, &err), WG_OK);
  assert_int_equal(shape_of(&f, &both[0], WG_WIRE_SHAPE_GUESS | 1, &guess, &err), WG_OK);
  size_t all = f.db->pools.count;
  assert_int_equal(all, DB_SHAPES_MAX + 2);

  /* One that nobody wants makes room, at once; that is in use from then on as well. */
  wg_list_remove(&held[2]->granted, &promised[2]);
  assert_int_equal(shape_of(&f, &both[0], 100, &held[2], &err), WG_OK);
  wg_list_push_back(&held[2]->granted, &promised[2]);
  assert_int_equal(shape_of(&f, &both[0], 101, &other, &err), WG_EXHAUSTED);
  assert_int_equal(shape_of(&f, &both[0], 3, &other, &err), WG_EXHAUSTED);
  db_run(&f.one);
  assert_int_equal(f.db->pools.count, all);
  assert_int_equal(shape_of(&f, &both[0], 3, &other, &err), WG_EXHAUSTED);

  /* However many come, one after the other: no more than that. */
  for (int i = 0; i < DB_SHAPES_MAX; i++) wg_list_remove(&held[i]->granted, &promised[i]);
  for (uint64_t i = 0; i < MORE; i++) {
    assert_int_equal(shape_of(&f, &both[0], 1000 + i, &other, &err), WG_OK);
    db_run(&f.one);
    assert_in_range(f.db->pools.count, 1, all);
  }
  assert_int_equal(shape_of(&f, &both[0], 1000 + MORE - 1, &held[0], &err), WG_OK);
  assert_ptr_equal(held[0], other); /* the last ones stay */
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_111_guests_names_leave_room),
      cmocka_unit_test(us_115_guests_shapes_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
