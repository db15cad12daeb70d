/* SPDX-License-Identifier: Apache-2.0 */
/* US-115, US-117 with a real MariaDB (or MySQL): a server of its own in a temporary folder, on a free
 * port of 127.0.0.1. Skipped, with a word why, where its programs are not installed. */
#include "db/db_fixture.h"
#include "db/mysql_guest.h"
#include "db/real_mysql.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool running;

static void real_init(db_fixture *f) {
  if (!running) skip();
  mysql_real_init(f);
}

static void real_start(db_fixture *f) {
  real_init(f);
  db_fixture_start(f);
}

/** A connection whose reset is over. */
static void quiet(db_fixture *f) { db_run_until_stats(f, 0, 1, 1); }

/* US-117: CREATE TABLE, INSERT, SELECT, DROP TABLE. */
static void test_us117_tables(void **state) {
  (void)state;
  db_fixture f;
  real_start(&f);
  mysql_guest m = {0};
  mysql_open(&m, &f, f.guest);
  mysql_is(&m, "SELECT CURRENT_USER()", "app@%");
  mysql_is(&m, "SELECT DATABASE()", "shop");
  mysql_do(&m, "CREATE TABLE things (id INT PRIMARY KEY AUTO_INCREMENT, name TEXT)");
  mysql_do(&m, "INSERT INTO things (name) VALUES ('one'),('two')");
  assert_int_equal(m.changed, 2);
  mysql_is(&m, "SELECT COUNT(*) FROM things", "2");
  mysql_is(&m, "SELECT name FROM things WHERE id = 2", "two");
  mysql_do(&m, "DROP TABLE things");
  assert_int_equal(mysql_run(&m, "SELECT * FROM things", NULL, 0), 1146);
  assert_string_equal(m.sqlstate, "42S02");
  mysql_quit(&m);
  quiet(&f);
  db_fixture_stop(&f);
}

/* What the guest is greeted with is the server's, but for its scramble and its thread id. */
static void test_greeting(void **state) {
  (void)state;
  db_fixture f;
  char version[80], id[32];
  real_start(&f);
  mysql_guest m = {0};
  mysql_open(&m, &f, f.guest);
  assert_int_equal(mysql_run(&m, "SELECT VERSION()", version, sizeof version), 0);
  assert_non_null(strstr(m.hello.version, version));
  assert_int_equal(m.hello.caps & ~(uint32_t)MY_OFFERED, 0);
  mysql_connection_id(&m, id);
  assert_int_not_equal(strtoul(id, NULL, 10), m.hello.thread);
  mysql_quit(&m);
  db_fixture_stop(&f);
}

/* US-117, US-115: connect, close, connect again: the same connection, and nothing of the first guest
 * is left. */
static void test_us117_reuse_and_reset(void **state) {
  (void)state;
  static const struct {
    const char *leave, *ask, *expected;
  } left[] = {
      {"USE till", "SELECT DATABASE()", "shop"},
      {"SET @mine = 'secret'", "SELECT @mine", "NULL"},
      {"SET SESSION sql_mode = 'ANSI_QUOTES'", "SELECT @@sql_mode = @@global.sql_mode", "1"},
      {"SET time_zone = '+09:00'", "SELECT @@time_zone", "SYSTEM"},
      {"SET NAMES latin1", "SELECT @@character_set_client", "utf8mb4"},
      {"SET NAMES latin1", "SELECT @@collation_connection", "utf8mb4_general_ci"},
      {"SET NAMES latin1", "SELECT @@character_set_results", "utf8mb4"},
      {"SET autocommit = 0", "SELECT @@autocommit", "1"},
      {"SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
       "SELECT @@tx_isolation = @@global.tx_isolation", "1"},
      {"SET SESSION TRANSACTION READ ONLY", "SELECT @@tx_read_only", "0"},
      {"SET ROLE NONE", "SELECT CURRENT_ROLE()", "NULL"},
      {"CREATE OR REPLACE ROLE r1; SET ROLE r1", "SELECT CURRENT_ROLE()", "NULL"},
      {"SET foreign_key_checks = 0, unique_checks = 0",
       "SELECT @@foreign_key_checks + @@unique_checks", "2"},
      {"SET max_statement_time = 1", "SELECT @@max_statement_time", "0.000000"},
      {"CREATE TEMPORARY TABLE t1 (x INT)",
       "SELECT IF(EXISTS(SELECT 1 FROM information_schema.innodb_sys_tables WHERE name LIKE "
       "'%#sql%'), 'left', 'none')",
       "none"},
      {"SELECT GET_LOCK('mine', 0)", "SELECT IS_FREE_LOCK('mine')", "1"},
      {"SELECT GET_LOCK('a', 0) + GET_LOCK('b', 0)", "SELECT IS_FREE_LOCK('a') + IS_FREE_LOCK('b')",
       "2"},
      {"SELECT CAST('x' AS INT)", "SELECT @@warning_count", "0"},
      {"SELECT CAST('x' AS INT)", "SHOW WARNINGS", ""},
      {"CREATE OR REPLACE SEQUENCE s2; SELECT NEXTVAL(s2)", "SELECT LASTVAL(s2)", "NULL"},
      {"CREATE OR REPLACE TABLE t3 (x INT PRIMARY KEY AUTO_INCREMENT); SET insert_id = 77",
       "INSERT INTO t3 VALUES (NULL); SELECT MAX(x) FROM t3", "1"},
      {"SET rand_seed1 = 1, rand_seed2 = 1", "SELECT RAND() = 0.0000000037252902984619140625", "0"},
      {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT @@tx_isolation", "REPEATABLE-READ"},
      {"SET TRANSACTION READ ONLY",
       "CREATE OR REPLACE TABLE t4 (x INT); INSERT INTO t4 VALUES (1); "
       "SELECT COUNT(*) FROM t4",
       "1"},
      {"FLUSH TABLES WITH READ LOCK", "CREATE OR REPLACE TABLE t5 (x INT); SELECT 1", "1"},
      {"BACKUP STAGE START", "BACKUP STAGE START; BACKUP STAGE END; SELECT 1", "1"},
      {"BACKUP LOCK t4", "DROP TABLE t4; SELECT 1", "1"},
      {"SET pseudo_thread_id = 1", "SELECT @@pseudo_thread_id = CONNECTION_ID()", "1"},
      {"SET gtid_domain_id = 7, server_id = 99", "SELECT @@gtid_domain_id = 7 OR @@server_id = 99",
       "0"},
      {"SET sql_log_bin = 0", "SELECT @@sql_log_bin", "1"},
      {"SET sql_select_limit = 1", "SELECT @@sql_select_limit > 1", "1"},
      {"SET check_constraint_checks = 0", "SELECT @@check_constraint_checks", "1"},
      {"SET big_tables = 1, sql_big_selects = 0, sql_safe_updates = 1, sql_notes = 0",
       "SELECT @@sql_safe_updates", "0"},
      {"SET character_set_results = ucs2", "SELECT @@character_set_results", "utf8mb4"},
      {"SET character_set_results = NULL, collation_connection = latin1_bin",
       "SELECT @@collation_connection", "utf8mb4_general_ci"},
      {"SET collation_database = latin1_bin, character_set_server = latin1",
       "SELECT @@character_set_server = @@global.character_set_server", "1"},
      {"SET system_versioning_asof = '2020-01-01 00:00:00'", "SELECT @@system_versioning_asof",
       "DEFAULT"},
      {"SET lc_messages = 'de_DE', lc_time_names = 'de_DE'", "SELECT @@lc_time_names", "en_US"},
      {"SET wait_timeout = 1", "SELECT @@wait_timeout = @@global.wait_timeout", "1"},
      {"SET default_storage_engine = MEMORY", "SELECT @@default_storage_engine", "InnoDB"},
      {"SET SESSION query_cache_type = 0, max_session_mem_used = 10000000",
       "SELECT @@max_session_mem_used = @@global.max_session_mem_used", "1"},
      {"PREPARE s1 FROM 'SELECT 1'",
       "SELECT VARIABLE_VALUE FROM information_schema.global_status "
       "WHERE VARIABLE_NAME = 'PREPARED_STMT_COUNT'",
       "0"},
      {"SET last_insert_id = 77", "SELECT LAST_INSERT_ID()", "0"},
      {"SET timestamp = 1", "SELECT NOW() > '2020-01-01'", "1"},
      {"CREATE TABLE kept (id INT) ENGINE=InnoDB; LOCK TABLES kept WRITE",
       "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'kept'", "1"},
      {"START TRANSACTION; INSERT INTO kept VALUES (1)", "SELECT COUNT(*) FROM kept", "0"},
      {"START TRANSACTION READ ONLY", "SELECT @@in_transaction", "0"},
      {"HANDLER kept OPEN", "SELECT 1", "1"},
  };
  db_fixture f;
  char first[32];
  real_start(&f);
  mysql_guest m = {0};
  mysql_open(&m, &f, f.guest);
  mysql_connection_id(&m, first);
  mysql_quit(&m);
  quiet(&f);
  for (size_t i = 0; i < WG_COUNT(left); i++) {
    mysql_open(&m, &f, f.guest);
    mysql_do(&m, left[i].leave);
    mysql_quit(&m);
    quiet(&f);
    mysql_open(&m, &f, f.guest);
    mysql_is(&m, "SELECT CONNECTION_ID()", first);
    mysql_is(&m, left[i].ask, left[i].expected);
    mysql_quit(&m);
    quiet(&f);
  }
  mysql_open(&m, &f, f.guest);
  assert_int_equal(mysql_run(&m, "SELECT * FROM t1", NULL, 0), 1146); /* the temporary table */
  assert_int_equal(mysql_run(&m, "EXECUTE s1", NULL, 0), 1243);
  assert_int_equal(mysql_run(&m, "HANDLER kept READ FIRST", NULL, 0), 1109);
  mysql_do(&m, "DROP TABLE kept");
  mysql_quit(&m);
  quiet(&f);
  wg_db_stats s = db_stats(&f);
  assert_int_equal(s.connects, 2); /* the first, to learn of the guest's needs; and this one */
  assert_int_equal(s.unhealthy, 0);
  db_fixture_stop(&f);
}

/* US-115: what COM_RESET_CONNECTION does not take back costs the connection: statements that a guest had
 * recorded, and XA PREPARE, after which it fails on every table (MariaDB 10.11). */
static void test_us115_what_is_not_undone(void **state) {
  (void)state;
  static const char xa[] = "XA START 'x'; INSERT INTO kept VALUES (1); XA END 'x'; XA PREPARE 'x'";
  db_fixture f;
  char first[32], now[32], cell[64] = "";
  real_start(&f);
  mysql_guest m = {0};
  mysql_open(&m, &f, f.guest);
  mysql_do(&m, "CREATE OR REPLACE TABLE kept (id INT) ENGINE=InnoDB");
  mysql_quit(&m);
  quiet(&f);
  for (int kind = 0; kind < 4; kind++) {
    mysql_open(&m, &f, f.guest);
    mysql_connection_id(&m, first);
    mysql_do(&m, kind == 0 ? "SET profiling = 1; SELECT 'secret'; SET profiling = 0" : xa);
    if (kind >= 2) { /* a driver's own pool resets as well */
      mysql_send(&m, MY_COM_RESET_CONNECTION, NULL, 0);
      if (kind == 2) assert_true(mysql_read(&m));
    }
    mysql_quit(&m);
    db_run_until_stats(&f, 0, 0, 0);
    mysql_open(&m, &f, f.guest);
    mysql_connection_id(&m, now);
    assert_string_not_equal(now, first);
    assert_int_equal(mysql_run(&m, "SHOW PROFILES", cell, sizeof cell), 0);
    assert_string_equal(cell, "");
    mysql_is(&m, "SELECT COUNT(*) FROM kept", "0");
    if (kind) mysql_do(&m, "XA ROLLBACK 'x'");
    mysql_quit(&m);
    quiet(&f);
  }
  db_fixture_stop(&f);
}

/* What the log-in fixes chooses the connection: guests of one kind share, others do not. */
static void test_shapes(void **state) {
  (void)state;
  static const struct {
    uint32_t more, less;
    uint8_t charset;
    const char *client, *collation;
  } kinds[] = {{0, 0, 45, "utf8mb4", "utf8mb4_general_ci"},
               {0, 0, 8, "latin1", "latin1_swedish_ci"},
               {0, 0, 224, "utf8mb4", "utf8mb4_unicode_ci"},
               {MY_CAP_FOUND_ROWS, 0, 45, "utf8mb4", "utf8mb4_general_ci"},
               {0, MY_CAP_DEPRECATE_EOF, 45, "utf8mb4", "utf8mb4_general_ci"},
               {0, MY_CAP_MULTI_STATEMENTS, 63, "binary", "binary"},
               {MY_CAP_SESSION_TRACK, 0, 33, "utf8mb3", "utf8mb3_general_ci"}};
  db_fixture f;
  char ids[WG_COUNT(kinds)][32], sql[64];
  real_start(&f);
  f.database.pool.pool_size = 1;
  for (int round = 0; round < 3; round++)
    for (size_t i = 0; i < WG_COUNT(kinds); i++) {
      mysql_guest m = {.caps = (MYSQL_GUEST_CAPS | kinds[i].more) & ~kinds[i].less,
                       .charset = kinds[i].charset};
      mysql_open(&m, &f, f.guest);
      if (round == 0) mysql_connection_id(&m, ids[i]);
      mysql_is(&m, "SELECT CONNECTION_ID()", ids[i]);
      mysql_is(&m, "SELECT @@character_set_client", kinds[i].client);
      mysql_is(&m, "SELECT @@character_set_results", kinds[i].client);
      mysql_is(&m, "SELECT @@collation_connection", kinds[i].collation);
      mysql_do(&m, "CREATE TEMPORARY TABLE r (x INT)");
      mysql_do(&m, "INSERT INTO r VALUES (1)");
      mysql_do(&m, "UPDATE r SET x = 1");
      assert_int_equal(m.changed, kinds[i].more == MY_CAP_FOUND_ROWS ? 1 : 0);
      bool many = !(kinds[i].less & MY_CAP_MULTI_STATEMENTS);
      assert_int_equal(mysql_run(&m, "SELECT 1; SELECT 2", NULL, 0), many ? 0 : 1064);
      snprintf(sql, sizeof sql, "SET NAMES %s", i % 2 ? "utf8mb4" : "latin1");
      mysql_do(&m, sql);
      mysql_send(&m, MY_COM_SET_OPTION, many ? "\1\0" : "\0\0", 2); /* the other way round */
      assert_true(mysql_read(&m));
      assert_int_equal(mysql_run(&m, "SELECT 1; SELECT 2", NULL, 0), many ? 1064 : 0);
      mysql_quit(&m);
      db_run_until_stats(&f, 0, round ? (unsigned)WG_COUNT(kinds) : (unsigned)i + 1,
                         round ? (unsigned)WG_COUNT(kinds) : (unsigned)i + 1);
    }
  db_fixture_stop(&f);
}

/* US-115: a guest that makes up a new kind each time has no more connections than a few kinds have, and
 * takes none from others for good. */
static void test_us115_shapes_are_bounded(void **state) {
  (void)state;
  static const uint8_t charsets[] = {8, 33, 45, 47, 63, 83, 192, 193, 194, 195, 196, 197, 198, 199};
  enum { KINDS = sizeof charsets };
  db_fixture f;
  mysql_guest m[KINDS];
  real_start(&f);
  f.database.pool.pool_size = 1;
  for (size_t i = 0; i < KINDS; i++) {
    m[i] = (mysql_guest){.charset = charsets[i]};
    mysql_open(&m[i], &f, f.guest);
    mysql_is(&m[i], "SELECT 1", "1");
    mysql_quit(&m[i]);
    unsigned kinds = i + 1 < DB_SHAPES_MAX ? (unsigned)i + 1 : DB_SHAPES_MAX;
    db_run_until_stats(&f, 0, kinds, kinds);
  }
  assert_int_equal(db_stats(&f).unhealthy, 0);

  /* All at the same time: the first ones get theirs. */
  for (size_t i = 0; i < KINDS; i++) {
    mysql_open_socket(&m[i], &f);
    int code = mysql_log_in(&m[i], "whoever", NULL);
    if (code != (i < DB_SHAPES_MAX ? 0 : 1040)) fail_msg("%zu: %d %s", i, code, m[i].error);
  }
  assert_non_null(strstr(m[KINDS - 1].error, "kinds of connections"));
  for (size_t i = DB_SHAPES_MAX; i < KINDS; i++) mysql_drop(&m[i]);
  mysql_quit(&m[2]);
  db_run_until_stats(&f, DB_SHAPES_MAX - 1, 1, DB_SHAPES_MAX);
  mysql_open_socket(&m[KINDS - 1], &f);
  assert_int_equal(mysql_log_in(&m[KINDS - 1], "whoever", NULL), 0);
  mysql_is(&m[KINDS - 1], "SELECT 1", "1");
  mysql_quit(&m[KINDS - 1]);
  for (size_t i = 0; i < DB_SHAPES_MAX; i++)
    if (i != 2) mysql_quit(&m[i]);
  db_run_until_stats(&f, 0, DB_SHAPES_MAX, DB_SHAPES_MAX);
  db_fixture_stop(&f);
}

/* US-115: of the first guests one that never answers its greeting holds nobody else up: nobody knows
 * yet what connections guests need, and one is enough to learn how the server greets. */
static void test_us115_first_guest_that_is_silent(void **state) {
  (void)state;
  db_fixture f;
  db_result r[3];
  wg_error err;
  real_start(&f);
  memset(r, 0, sizeof r);
  for (size_t i = 0; i < WG_COUNT(r); i++) db_start_connect(f.guest, &r[i]);
  for (size_t i = 0; i < WG_COUNT(r); i++) {
    db_run_until(&f.one, &r[i].done);
    if (r[i].code) fail_msg("%zu: %s", i, r[i].err.msg);
  }
  uint64_t silent = db_connect(&f, f.guest, &err);
  if (!silent) fail_msg("%s", err.msg);
  mysql_guest m = {0};
  mysql_open(&m, &f, f.guest);
  mysql_is(&m, "SELECT DATABASE()", "shop");
  mysql_quit(&m);
  db_close(f.guest, silent);
  for (size_t i = 0; i < WG_COUNT(r); i++) db_close(f.guest, r[i].req.handle);
  quiet(&f);
  db_fixture_stop(&f);
}

/* A server without TLS: refused where it is required, in plain text where it is preferred. */
static void test_server_without_tls(void **state) {
  (void)state;
  for (int required = 0; required < 2; required++) {
    db_fixture f;
    wg_error err;
    real_init(&f);
    f.database.tls.mode = required ? WG_TLS_REQUIRE : WG_TLS_PREFER;
    db_fixture_start(&f);
    mysql_guest m = {0};
    if (required) {
      assert_int_equal(db_connect(&f, f.guest, &err), 0);
      assert_int_equal(err.code, WG_UNSUPPORTED);
      assert_non_null(strstr(err.msg, "does not support TLS"));
    } else {
      mysql_open(&m, &f, f.guest);
      mysql_is(&m, "SELECT CURRENT_USER()", "app@%");
      mysql_quit(&m);
      quiet(&f);
    }
    db_fixture_stop(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us117_tables),
      cmocka_unit_test(test_greeting),
      cmocka_unit_test(test_us117_reuse_and_reset),
      cmocka_unit_test(test_us115_what_is_not_undone),
      cmocka_unit_test(test_shapes),
      cmocka_unit_test(test_us115_first_guest_that_is_silent),
      cmocka_unit_test(test_server_without_tls),
      cmocka_unit_test(test_us115_shapes_are_bounded),
  };
  running = real_mysql_start(NULL);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  real_mysql_stop();
  return failed;
}
