/* SPDX-License-Identifier: Apache-2.0 */
/* US-115 with a real MariaDB (or MySQL): no guest ever gets a session that was authenticated with
 * credentials other than its own, or the service's where the service logs in. Guests that bring their
 * own password, in every order, with a cold and a warm pool, before and after a change of it on the
 * server; and guests that log in themselves. */
#include "db/db_fixture.h"
#include "db/mysql_guest.h"
#include "db/real_mysql.h"
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
  running = real_mysql_start(&(real_mysql_spec){
      .seed = "CREATE USER 'twin'@'%' IDENTIFIED BY 'another';\n"
              "GRANT ALL ON shop.* TO 'twin'@'%';\n"
              "CREATE USER 'self'@'%' IDENTIFIED BY 'first';\n"
              "GRANT ALL ON shop.* TO 'self'@'%';\n"
              "GRANT CREATE USER ON *.* TO 'app'@'%';\n"
              "CREATE USER 'ed'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret');\n"
              "GRANT ALL ON shop.* TO 'ed'@'%';\n"});
  return 0;
}

static int stop_server(void **state) {
  (void)state;
  real_mysql_stop();
  return 0;
}

static void start(db_fixture *f, wg_db_auth auth) {
  if (!running) skip();
  mysql_real_init(f);
  f->database.auth = auth;
  f->database.credential_ttl_ms = TTL_MS;
  if (auth != WG_DB_AUTH_SERVICE) {
    f->database.user = NULL;
    f->database.password = (wg_secret){0};
  }
  db_fixture_start(f);
}

/** Logs a guest in over a socket.  @return 0 or an error's code */
static int enter(mysql_guest *m, db_fixture *f, const char *user, const char *password) {
  m->password = password;
  mysql_open_socket(m, f);
  return mysql_log_in(m, user, "shop");
}

static void leave(mysql_guest *m) {
  unsigned before = db_stats(m->f).active;
  mysql_quit(m);
  for (wg_db_stats s = {.active = before}; s.active == before;) { /* until it is clean */
    uv_run(&m->f->one.uv, UV_RUN_NOWAIT);
    s = db_stats(m->f);
  }
}

static int connection_id(mysql_guest *m) {
  char out[32];
  mysql_connection_id(m, out);
  return atoi(out);
}

static void check_user(mysql_guest *m, const char *user) {
  char expected[64];
  snprintf(expected, sizeof expected, "%s@%%", user);
  mysql_is(m, "SELECT CURRENT_USER()", expected);
}

/* Every user with every password, whatever is in the pool: who may come in is who is on the server,
 * and each gets a connection that its own password opened. */
static void test_us115_credential_matrix(void **state) {
  (void)state;
  static const char *const users[] = {"app", "other", "twin", "stranger"};
  static const char *const passwords[] = {"secret", "another", "wrong", ""};
  static const bool right[4][4] = {{true}, {true}, {false, true}, {false}};
  static const char *const plugins[] = {NULL, "caching_sha2_password", "mysql_native_password"};
  db_fixture f;
  start(&f, WG_DB_AUTH_GUEST);
  int ids[4][4] = {{0}};
  for (int round = 0; round < 3; round++)
    for (size_t u = 0; u < 4; u++)
      for (size_t p = 0; p < 4; p++) {
        mysql_guest m = {.plugin = plugins[round]};
        int code = enter(&m, &f, users[u], passwords[p]);
        if ((code == 0) != right[u][p] || (code && code != 1045))
          fail_msg("%s, %s: %d %s", users[u], passwords[p], code, m.error);
        if (code) {
          mysql_drop(&m);
          continue;
        }
        check_user(&m, users[u]);
        int id = connection_id(&m);
        if (round == 0) ids[u][p] = id;
        assert_int_equal(id, ids[u][p]); /* its own is used again */
        leave(&m);
        for (size_t o = 0; o < 4; o++) assert_true(o == u || ids[o][p] != id);
      }
  db_fixture_stop(&f);
}

/* The password changes on the server: the old one opens nothing new, and what it opened is lent for
 * credential_ttl at most. */
static void test_changed_password(void **state) {
  (void)state;
  db_fixture f;
  start(&f, WG_DB_AUTH_GUEST);
  mysql_guest root = {0}, m = {0};
  assert_int_equal(enter(&m, &f, "self", "first"), 0);
  leave(&m);
  assert_int_equal(enter(&root, &f, "app", "secret"), 0);
  mysql_do(&root, "SET PASSWORD FOR 'self'@'%' = PASSWORD('second')");
  assert_int_equal(enter(&m, &f, "self", "second"), 0);
  check_user(&m, "self");
  leave(&m);
  db_advance(&f, TTL_MS + 1);
  assert_int_equal(enter(&m, &f, "self", "first"), 1045);
  mysql_drop(&m);
  assert_int_equal(enter(&m, &f, "self", "second"), 0);
  leave(&m);
  mysql_do(&root, "SET PASSWORD FOR 'self'@'%' = PASSWORD('first')");
  leave(&root);
  db_fixture_stop(&f);
}

/* auth = "service": whatever the guest says of itself, it is the service. */
static void test_service(void **state) {
  (void)state;
  static const char *const users[] = {"app", "twin", "root", ""};
  db_fixture f;
  start(&f, WG_DB_AUTH_SERVICE);
  for (size_t i = 0; i < WG_COUNT(users); i++) {
    mysql_guest m = {0};
    assert_int_equal(enter(&m, &f, users[i], i % 2 ? NULL : ""), 0);
    check_user(&m, "app");
    leave(&m);
  }
  db_fixture_stop(&f);
}

/* auth = "relay": the server's own handshake, the guest's own proof, a connection for it alone. */
static void test_relay(void **state) {
  (void)state;
  db_fixture f;
  start(&f, WG_DB_AUTH_RELAY);
  int last = 0;
  for (int round = 0; round < 3; round++) {
    mysql_guest m = {0};
    assert_int_equal(enter(&m, &f, "twin", "another"), 0);
    check_user(&m, "twin");
    int id = connection_id(&m);
    assert_int_equal(id, m.hello.thread);
    assert_int_not_equal(id, last);
    last = id;
    leave(&m);
    assert_int_equal(db_stats(&f).total, 0);
    assert_int_equal(enter(&m, &f, "twin", "wrong"), 1045);
    mysql_drop(&m);
  }
  db_fixture_stop(&f);
}

/* Through the shim: connect's own user and password stand for those of the start-up. */
static void test_connects_password(void **state) {
  (void)state;
  for (int wrong = 0; wrong < 2; wrong++) {
    db_fixture f;
    start(&f, WG_DB_AUTH_GUEST);
    wg_db_target t = {.protocol = WG_DB_MYSQL,
                      .host = f.database.host,
                      .host_len = strlen(f.database.host),
                      .port = f.database.port,
                      .database = "shop",
                      .database_len = 4,
                      .user = "twin",
                      .user_len = 4,
                      .password = wrong ? "wrong" : "another",
                      .password_len = wrong ? 5 : 7};
    db_result r;
    db_start_connect_to(f.guest, &t, &r);
    db_run_until(&f.one, &r.done);
    assert_int_equal(r.code, WG_OK);
    mysql_guest m = {.f = &f, .g = f.guest, .handle = r.req.handle};
    assert_int_equal(mysql_log_in(&m, "twin", NULL), wrong ? 1045 : 0);
    if (wrong)
      mysql_drop(&m);
    else
      leave(&m);
    db_fixture_stop(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us115_credential_matrix),
      cmocka_unit_test(test_changed_password),
      cmocka_unit_test(test_service),
      cmocka_unit_test(test_relay),
      cmocka_unit_test(test_connects_password),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
