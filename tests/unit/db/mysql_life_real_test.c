/* SPDX-License-Identifier: Apache-2.0 */
/* US-115, US-117 with a real MariaDB (or MySQL): the life of pooled connections, from who logs in to
 * what ends them. Skipped, with a word why, where its programs are not installed. */
#include "db/certs.h"
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

static const char seed[] =
    "CREATE USER 'app_ed'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('a longer secret');\n"
    "CREATE USER 'app_two'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('x') OR "
    "mysql_native_password USING PASSWORD('secret');\n"
    "CREATE USER 'app_tls'@'%' IDENTIFIED BY 'secret' REQUIRE SSL;\n"
    "GRANT ALL ON shop.* TO 'app_ed'@'%', 'app_two'@'%', 'app_tls'@'%';\n"
    "CREATE TABLE shop.numbers (n INT PRIMARY KEY);\n"
    "INSERT INTO shop.numbers VALUES (1);\n"
    "INSERT INTO shop.numbers SELECT n + 1 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 2 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 4 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 8 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 16 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 32 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 64 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 128 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 256 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 512 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 1024 FROM shop.numbers;\n"
    "INSERT INTO shop.numbers SELECT n + 2048 FROM shop.numbers;\n"
    "CREATE DEFINER = 'app'@'%' PROCEDURE shop.twice() SELECT 1 UNION SELECT 2;\n";

static int start_server(void **state) {
  (void)state;
  certs_make(&(cert_spec){.file = "ca", .cn = "test authority", .ca = true});
  certs_make(&(cert_spec){
      .file = "server", .cn = "db.example", .issuer = "ca", .san = "DNS:db.example", .rsa = true});
  running = real_mysql_start(&(real_mysql_spec){.seed = seed, .tls = certs_folder()});
  return 0;
}

static int stop_server(void **state) {
  (void)state;
  real_mysql_stop();
  certs_remove();
  return 0;
}

static void real_init(db_fixture *f) {
  if (!running) skip();
  mysql_real_init(f);
}

static void real_start(db_fixture *f) {
  real_init(f);
  db_fixture_start(f);
}

/** Says goodbye and waits for the reset, after which `total` connections are idle. */
static void leave(mysql_guest *m, unsigned total) {
  mysql_quit(m);
  db_run_until_stats(m->f, 0, total, total);
}

/* ---- who logs in ---- */

static void test_log_in_methods(void **state) {
  (void)state;
  static const struct {
    const char *user, *password;
  } who[] = {{"app", "secret"},
             {"app_ed", "a longer secret"},
             {"app_two", "secret"},
             {"app_two", "x"},
             {"nobody", ""}};
  for (size_t i = 0; i < WG_COUNT(who); i++) {
    db_fixture f;
    char expected[64];
    real_init(&f);
    f.database.user = (char *)(uintptr_t)who[i].user;
    f.database.password = (wg_secret){(char *)(uintptr_t)who[i].password, strlen(who[i].password)};
    db_fixture_start(&f);
    mysql_guest m = {0};
    mysql_open(&m, &f, f.guest);
    snprintf(expected, sizeof expected, "%s@%%", who[i].user);
    mysql_is(&m, "SELECT CURRENT_USER()", expected);
    leave(&m, 1);
    db_fixture_stop(&f);
  }
}

static void test_wrong_credentials(void **state) {
  (void)state;
  static const char *const users[] = {"app", "app_ed", "app_two", "stranger"};
  for (size_t i = 0; i < WG_COUNT(users); i++) {
    db_fixture f;
    wg_error err;
    real_init(&f);
    f.database.user = (char *)(uintptr_t)users[i];
    f.database.password = (wg_secret){(char *)"wrong", 5};
    db_fixture_start(&f);
    assert_int_equal(db_connect(&f, f.guest, &err), 0);
    if (err.code != WG_AUTH || !strstr(err.msg, "28000")) fail_msg("%s: %s", users[i], err.msg);
    mysql_guest m = {0};
    mysql_open_socket(&m, &f); /* over a socket it is the server's first and only word */
    int code = mysql_log_in(&m, "me", NULL);
    if (code != 1045) fail_msg("%s: %d %s", users[i], code, m.error);
    assert_false(mysql_read(&m));
    mysql_drop(&m);
    db_fixture_stop(&f);
  }
}

static void test_unix_socket(void **state) {
  (void)state;
  db_fixture f;
  real_init(&f);
  f.database.address = (char *)real_mysql_dir();
  db_fixture_start(&f);
  mysql_guest m = {0};
  mysql_open(&m, &f, f.guest);
  mysql_is(&m,
           "SELECT SUBSTRING_INDEX(HOST, ':', 1) FROM information_schema.processlist "
           "WHERE ID = CONNECTION_ID()",
           "localhost");
  leave(&m, 1);
  db_fixture_stop(&f);
}

static void tls_init(db_fixture *f, wg_tls_mode mode) {
  real_init(f);
  f->database.host = (char *)"db.example";
  f->database.address = (char *)"127.0.0.1";
  f->database.tls.mode = mode;
  f->database.tls.ca = certs_path("ca", "crt");
}

static void test_tls(void **state) {
  (void)state;
  static const wg_tls_mode modes[] = {WG_TLS_VERIFY_FULL, WG_TLS_VERIFY_CA, WG_TLS_REQUIRE,
                                      WG_TLS_PREFER};
  static const char cipher[] = "SELECT LENGTH(VARIABLE_VALUE) > 0 FROM "
                               "information_schema.session_status WHERE VARIABLE_NAME = "
                               "'SSL_CIPHER'";
  for (size_t i = 0; i < WG_COUNT(modes); i++) {
    db_fixture f;
    tls_init(&f, modes[i]);
    f.database.user = (char *)"app_tls";
    db_fixture_start(&f);
    for (int round = 0; round < 3; round++) {
      mysql_guest m = {0};
      mysql_open(&m, &f, f.guest);
      mysql_is(&m, cipher, "1");
      leave(&m, 1);
    }
    db_fixture_stop(&f);
  }
  db_fixture f;
  wg_error err;
  tls_init(&f, WG_TLS_VERIFY_FULL);
  f.database.host = (char *)"other.example";
  db_fixture_start(&f);
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_non_null(strstr(err.msg, "other.example"));
  db_fixture_stop(&f);
}

/* ---- the greeting ---- */

/* The guest of a socket reads first. The first one of all waits for a server; others are greeted
 * from memory, and the guess that the first log-in was is not kept. */
static void test_us115_greeted_before_the_first_byte(void **state) {
  (void)state;
  db_fixture f;
  char id[32];
  real_start(&f);
  for (int round = 0; round < 3; round++) {
    mysql_guest m = {0};
    mysql_open_socket(&m, &f);
    uint8_t byte;
    wg_error err;
    ssize_t n = wg_db_recv(m.g, m.handle, &byte, 1, &err);
    if (round == 0) assert_int_equal(n, WG_AGAIN);
    if (round > 0) {
      assert_int_equal(n, 1); /* at once */
      mysql_drop(&m);
      mysql_open_socket(&m, &f);
    }
    assert_int_equal(mysql_log_in(&m, "me", "shop"), 0);
    mysql_is(&m, "SELECT DATABASE()", "shop");
    if (round == 0) mysql_connection_id(&m, id);
    if (round > 0) mysql_is(&m, "SELECT CONNECTION_ID()", id);
    leave(&m, 1);
  }
  db_fixture_stop(&f);
}

/* A guest that says no more before it was greeted, or before it answered, reads the end. */
static void test_shut_down_early(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  uint8_t byte[512];
  real_start(&f);
  for (int when = 0; when < 3; when++) {
    mysql_guest m = {0};
    if (when < 2) {
      mysql_open_socket(&m, &f);
    } else {
      m = (mysql_guest){.f = &f, .g = f.guest, .handle = db_connect(&f, f.guest, &err)};
    }
    assert_int_equal(wg_db_shutdown(m.g, m.handle, WG_WATCH_WRITE, &err), WG_OK);
    ssize_t n;
    while ((n = db_recv(&f, m.g, m.handle, byte, sizeof byte, &err)) > 0);
    assert_int_equal(n, 0);
    mysql_drop(&m);
    mysql_open(&m, &f, f.guest);
    leave(&m, 1);
  }
  db_fixture_stop(&f);
}

static void test_no_server(void **state) {
  (void)state;
  db_fixture f;
  real_init(&f);
  f.database.port = 1;
  db_fixture_start(&f);
  mysql_guest m = {0};
  mysql_open_socket(&m, &f);
  assert_int_equal(mysql_log_in(&m, "me", "shop"), 2003);
  assert_string_equal(m.sqlstate, ""); /* nothing was agreed on yet */
  assert_non_null(strstr(m.error, "127.0.0.1:1"));
  assert_false(mysql_read(&m));
  mysql_drop(&m);
  db_fixture_stop(&f);
}

static void test_other_database(void **state) {
  (void)state;
  db_fixture f;
  real_start(&f);
  for (int socket = 0; socket < 2; socket++) {
    mysql_guest m = {.f = &f, .g = f.guest};
    wg_error err;
    if (socket)
      mysql_open_socket(&m, &f);
    else
      m.handle = db_connect(&f, f.guest, &err);
    assert_int_equal(mysql_log_in(&m, "me", "till"), 1049);
    mysql_drop(&m);
  }
  db_fixture_stop(&f);
}

/* Without a declared database the guest's counts, or none: a guest that then chooses one leaves a
 * connection that cannot be brought back. */
static void test_undeclared_database(void **state) {
  (void)state;
  db_fixture f;
  char first[32], second[32];
  real_init(&f);
  f.database.database = NULL;
  db_fixture_start(&f);
  mysql_guest m = {0};
  mysql_open_socket(&m, &f);
  assert_int_equal(mysql_log_in(&m, "me", "till"), 0);
  mysql_is(&m, "SELECT DATABASE()", "till");
  leave(&m, 1);
  mysql_open_socket(&m, &f);
  assert_int_equal(mysql_log_in(&m, "me", NULL), 0);
  mysql_is(&m, "SELECT DATABASE()", "NULL");
  mysql_connection_id(&m, first);
  mysql_quit(&m);
  mysql_open_socket(&m, &f);
  assert_int_equal(mysql_log_in(&m, "me", NULL), 0);
  mysql_is(&m, "SELECT CONNECTION_ID()", first);
  mysql_do(&m, "USE shop");
  mysql_quit(&m);
  mysql_open_socket(&m, &f);
  assert_int_equal(mysql_log_in(&m, "me", NULL), 0);
  mysql_is(&m, "SELECT DATABASE()", "NULL");
  mysql_connection_id(&m, second);
  assert_string_not_equal(first, second);
  mysql_quit(&m);
  db_fixture_stop(&f);
}

/* ---- what passes ---- */

/* Rows, several results, procedures, prepared statements with and without a cursor, errors: the walk
 * counts as the server does, so the connection is used again after each. */
static void test_conversations(void **state) {
  (void)state;
  for (int deprecate_eof = 0; deprecate_eof < 2; deprecate_eof++)
    for (int track = 0; track < 2; track++) {
      db_fixture f;
      char id[32];
      real_start(&f);
      mysql_guest m = {.caps = (MYSQL_GUEST_CAPS & ~(uint32_t)MY_CAP_DEPRECATE_EOF) |
                               (deprecate_eof ? (uint32_t)MY_CAP_DEPRECATE_EOF : 0) |
                               (track ? (uint32_t)MY_CAP_SESSION_TRACK : 0)};
      mysql_open(&m, &f, f.guest);
      mysql_connection_id(&m, id);
      for (int i = 0; i < 14; i++) {
        char cell[64];
        uint8_t execute[9] = {0, 0, 0, 0, 0, 1, 0, 0, 0};
        switch (i) {
        case 0: mysql_is(&m, "SELECT COUNT(*) FROM numbers", "4096"); break;
        case 1: mysql_is(&m, "SELECT n FROM numbers ORDER BY n", "1"); break;
        case 2:
          assert_int_equal(mysql_run(&m, "SELECT 1; DO 2; SELECT 3", cell, sizeof cell), 0);
          assert_int_equal(m.results, 3);
          break;
        case 3:
          assert_int_equal(mysql_run(&m, "CALL twice()", cell, sizeof cell), 0);
          assert_int_equal(m.results, 2);
          break;
        case 4: assert_int_equal(mysql_run(&m, "nonsense", NULL, 0), 1064); break;
        case 5: assert_int_equal(mysql_run(&m, "SELECT 1; nonsense", NULL, 0), 1064); break;
        case 6: mysql_is(&m, "SELECT * FROM numbers WHERE n < 0", ""); break;
        case 7:
        case 8: /* prepare, execute (with a cursor: fetch), reset, close */
          mysql_send(&m, MY_COM_STMT_PREPARE, "SELECT n FROM numbers WHERE n < 9", 33);
          assert_true(mysql_read(&m));
          memcpy(execute, m.packet + 1, 4);
          execute[4] = i == 8; /* CURSOR_TYPE_READ_ONLY */
          assert_true(mysql_read(&m)); /* the column */
          if (!deprecate_eof) assert_true(mysql_read(&m));
          mysql_send(&m, MY_COM_STMT_EXECUTE, execute, sizeof execute);
          if (i == 7) {
            assert_int_equal(mysql_results(&m, NULL, 0), 0);
          } else {
            uint8_t fetch[8] = {0, 0, 0, 0, 3, 0, 0, 0};
            memcpy(fetch, execute, 4);
            for (int part = 0; part < 3; part++) { /* count, column, end */
              assert_true(mysql_read(&m));
            }
            assert_int_equal(m.packet[0], 0xFE);
            mysql_send(&m, MY_COM_STMT_FETCH, fetch, sizeof fetch);
            for (int row = 0; row < 4; row++) assert_true(mysql_read(&m));
            assert_int_equal(m.packet[0], 0xFE);
          }
          mysql_send(&m, MY_COM_STMT_RESET, execute, 4);
          assert_true(mysql_read(&m));
          mysql_send(&m, MY_COM_STMT_CLOSE, execute, 4);
          break;
        case 9: /* two parameters, and long data */
          mysql_send(&m, MY_COM_STMT_PREPARE, "SELECT ?,?", 10);
          assert_true(mysql_read(&m));
          memcpy(execute, m.packet + 1, 4);
          for (int part = deprecate_eof ? 0 : -2; part < 4; part++) assert_true(mysql_read(&m));
          mysql_send(&m, MY_COM_STMT_SEND_LONG_DATA, "\0\0\0\0\0\0xyz", 9);
          mysql_send(&m, MY_COM_STMT_CLOSE, execute, 4);
          break;
        case 10:
          mysql_send(&m, MY_COM_FIELD_LIST, "numbers\0", 9);
          assert_true(mysql_read(&m));
          assert_true(mysql_read(&m));
          assert_int_equal(m.packet[0], 0xFE);
          break;
        case 11:
          mysql_send(&m, MY_COM_STATISTICS, NULL, 0);
          assert_true(mysql_read(&m));
          break;
        case 12:
          mysql_send(&m, MY_COM_PROCESS_INFO, NULL, 0);
          assert_int_equal(mysql_results(&m, NULL, 0), 0);
          break;
        default:
          mysql_do(&m, "SET @@session.time_zone = '+01:00'"); /* with SESSION_TRACK: told of */
          mysql_do(&m, "USE till");
          break;
        }
        leave(&m, 1);
        mysql_open(&m, &f, f.guest);
        char now[32];
        mysql_connection_id(&m, now);
        if (strcmp(now, id) != 0) fail_msg("conversation %d: not the same connection", i);
      }
      leave(&m, 1);
      db_fixture_stop(&f);
    }
}

/* More than one packet holds, both ways, in pieces as they come. */
static void test_large_packets(void **state) {
  (void)state;
  db_fixture f;
  char id[32], cell[64];
  real_start(&f);
  mysql_guest m = {0};
  mysql_open(&m, &f, f.guest);
  mysql_connection_id(&m, id);
  static const size_t sizes[] = {MY_PACKET_MAX - 16, MY_PACKET_MAX - 15, MY_PACKET_MAX - 14,
                                 20u << 20, 2 * (size_t)MY_PACKET_MAX - 15};
  char *sql = malloc(40u << 20);
  for (size_t i = 0; i < WG_COUNT(sizes); i++) {
    memset(sql, 'x', sizes[i]);
    memcpy(sql, "SELECT LENGTH('", 15);
    memcpy(sql + sizes[i], "')", 3);
    snprintf(cell, sizeof cell, "%zu", sizes[i] - 15);
    mysql_is(&m, sql, cell);
  }
  free(sql);
  assert_int_equal(mysql_run(&m, "SELECT REPEAT('x', 40000000)", cell, sizeof cell), 0);
  leave(&m, 1);
  mysql_open(&m, &f, f.guest);
  mysql_is(&m, "SELECT CONNECTION_ID()", id);
  leave(&m, 1);
  db_fixture_stop(&f);
}

/* A guest that goes in the middle of an answer, or without reading it: nobody gets the rest. */
static void test_left_in_the_middle(void **state) {
  (void)state;
  db_fixture f;
  char id[32], now[32];
  real_start(&f);
  for (int how = 0; how < 4; how++) {
    mysql_guest m = {0};
    mysql_open(&m, &f, f.guest);
    mysql_connection_id(&m, id);
    const char *sql = "SELECT a.n FROM numbers a, numbers b LIMIT 1000000";
    if (how == 0) mysql_send(&m, MY_COM_QUERY, sql, strlen(sql));
    if (how == 1) {
      mysql_send(&m, MY_COM_QUERY, sql, strlen(sql));
      assert_true(mysql_read(&m));
    }
    if (how == 2) db_send(&f, f.guest, m.handle, "\x10\0\0\0\3SEL", 8); /* half a command */
    if (how == 3) mysql_send(&m, MY_COM_CHANGE_USER, "other\0\0shop\0", 12);
    mysql_drop(&m);
    mysql_open(&m, &f, f.guest);
    mysql_connection_id(&m, now);
    assert_string_not_equal(now, id);
    mysql_is(&m, "SELECT CURRENT_USER()", "app@%");
    leave(&m, 1);
  }
  db_fixture_stop(&f);
}

/* ---- what ends a connection ---- */

/* US-117: the check of idle connections finds a dead server, and one that is not is asked and kept. */
static void test_us117_health(void **state) {
  (void)state;
  db_fixture f;
  char id[32];
  real_start(&f);
  mysql_guest m = {0};
  mysql_open(&m, &f, f.guest);
  mysql_connection_id(&m, id);
  leave(&m, 1);
  uint64_t sent = db_stats(&f).sent;
  db_advance(&f, 30000);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(db_stats(&f).sent, sent + 5); /* COM_PING */
  mysql_open(&m, &f, f.guest);
  mysql_is(&m, "SELECT CONNECTION_ID()", id);
  leave(&m, 1);
  real_mysql_freeze(true);
  db_advance(&f, 30000);
  db_advance(&f, 5001);
  assert_int_equal(db_stats(&f).total, 0);
  assert_int_equal(db_stats(&f).unhealthy, 1);
  assert_int_equal(db_stats(&f).by_cause[WG_DB_CAUSE_PING], 1);
  real_mysql_freeze(false);
  mysql_open(&m, &f, f.guest);
  leave(&m, 1);
  db_fixture_stop(&f);
}

/* The server ends an idle connection, or starts again: noticed at once; one that is in use is told. */
static void test_lost(void **state) {
  (void)state;
  db_fixture f;
  char id[32], sql[64];
  real_start(&f);
  mysql_guest a = {0}, b = {0};
  mysql_open(&a, &f, f.guest);
  mysql_open(&b, &f, f.guest);
  mysql_connection_id(&a, id);
  mysql_quit(&a);
  db_run_until_stats(&f, 1, 1, 2);
  snprintf(sql, sizeof sql, "KILL %s", id);
  mysql_do(&b, sql);
  db_run_until_stats(&f, 1, 0, 1);
  assert_int_equal(db_stats(&f).unhealthy, 1);
  real_mysql_restart();
  int code = mysql_run(&b, "SELECT 1", NULL, 0);
  if (code != 2013 && code != 1053 && code != 1927) fail_msg("%d %s", code, b.error);
  assert_false(mysql_read(&b));
  mysql_drop(&b);
  mysql_open(&a, &f, f.guest);
  leave(&a, 1);
  db_fixture_stop(&f);
}

/* Waiters are served in turn by the connections of one shape. */
static void test_many_guests(void **state) {
  (void)state;
  db_fixture f;
  real_start(&f);
  mysql_guest first = {0};
  mysql_open(&first, &f, f.guest);
  leave(&first, 1);
  db_result r[20];
  for (size_t i = 0; i < WG_COUNT(r); i++) db_start_connect(f.guest, &r[i]);
  for (size_t i = 0; i < WG_COUNT(r); i++) {
    mysql_guest m = {.f = &f, .g = f.guest};
    db_run_until(&f.one, &r[i].done);
    assert_int_equal(r[i].code, WG_OK);
    m.handle = r[i].req.handle;
    assert_int_equal(mysql_log_in(&m, "me", NULL), 0);
    mysql_is(&m, "SELECT @seen", "NULL");
    mysql_do(&m, "SET @seen = 1");
    mysql_quit(&m);
  }
  db_run_until_stats(&f, 0, 2, 2);
  assert_int_equal(db_stats(&f).connects, 3); /* the first to learn of the guest's needs */
  db_fixture_stop(&f);
}

static void on_drained(void *user) { *(bool *)user = true; }

/* US-115: while the host stops, nobody new is served, and what is in progress ends first. */
static void test_us115_draining(void **state) {
  (void)state;
  db_fixture f;
  bool drained = false;
  real_start(&f);
  mysql_guest idle = {0}, busy = {0}, late = {0};
  mysql_open(&idle, &f, f.guest);
  mysql_open(&busy, &f, f.guest);
  mysql_quit(&idle);
  db_run_until_stats(&f, 1, 1, 2);
  mysql_open_socket(&late, &f); /* greeted, but without a server yet */
  const char *sql = "SELECT 'done' FROM (SELECT SLEEP(0.2)) s";
  mysql_send(&busy, MY_COM_QUERY, sql, strlen(sql));
  wg_db_worker_drain(f.one.w, on_drained, &drained);
  db_run_until_stats(&f, 1, 0, 1);
  assert_int_equal(mysql_log_in(&late, "me", "shop"), 1053);
  mysql_drop(&late);
  mysql_open_socket(&late, &f);
  assert_int_equal(mysql_log_in(&late, "me", "shop"), 1053);
  mysql_drop(&late);
  wg_error err;
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_false(drained);
  char cell[16];
  assert_int_equal(mysql_results(&busy, cell, sizeof cell), 0);
  assert_string_equal(cell, "done");
  mysql_quit(&busy);
  db_run_until(&f.one, &drained);
  assert_int_equal(db_stats(&f).total, 0);
  db_fixture_stop(&f);
}

/* min_idle is seen to as soon as a guest has said what it needs. */
static void test_min_idle(void **state) {
  (void)state;
  db_fixture f;
  real_init(&f);
  f.database.pool.min_idle = 2;
  db_fixture_start(&f);
  mysql_guest m = {0};
  mysql_open(&m, &f, f.guest);
  mysql_quit(&m);
  db_run_until_stats(&f, 0, 1, 1);
  db_advance(&f, 1001);
  db_run_until_stats(&f, 0, 2, 2);
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_log_in_methods),
      cmocka_unit_test(test_wrong_credentials),
      cmocka_unit_test(test_unix_socket),
      cmocka_unit_test(test_tls),
      cmocka_unit_test(test_us115_greeted_before_the_first_byte),
      cmocka_unit_test(test_shut_down_early),
      cmocka_unit_test(test_no_server),
      cmocka_unit_test(test_other_database),
      cmocka_unit_test(test_undeclared_database),
      cmocka_unit_test(test_conversations),
      cmocka_unit_test(test_large_packets),
      cmocka_unit_test(test_left_in_the_middle),
      cmocka_unit_test(test_us117_health),
      cmocka_unit_test(test_lost),
      cmocka_unit_test(test_many_guests),
      cmocka_unit_test(test_us115_draining),
      cmocka_unit_test(test_min_idle),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
