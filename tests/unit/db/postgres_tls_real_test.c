/* SPDX-License-Identifier: Apache-2.0 */
/* US-111, US-112 with a real PostgreSQL under TLS: with ssl = on, and a
 * pg_hba.conf that wants TLS and another proof from each role. Skipped, with a word why, where
 * PostgreSQL's programs are not installed. */
#include "db/certs.h"
#include "db/db_fixture.h"
#include "db/real_postgres.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool running;

static const char seed[] = "CREATE ROLE app_plain LOGIN PASSWORD 'secret';\n"
                           "CREATE ROLE app_cert LOGIN;\n"
                           "CREATE ROLE app_both LOGIN PASSWORD 'secret';\n"
                           "CREATE ROLE app_open LOGIN PASSWORD 'secret';\n";

static const char hba[] = "local all all trust\n"
                          "hostssl all app_md5 127.0.0.1/32 md5\n"
                          "hostssl all app_plain 127.0.0.1/32 password\n"
                          "hostssl all app_cert 127.0.0.1/32 cert\n"
                          "hostssl all app_both 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n"
                          "hostnossl all app_open 127.0.0.1/32 scram-sha-256\n"
                          "hostssl all app 127.0.0.1/32 scram-sha-256\n";

static int start_server(void **state) {
  (void)state;
  certs_make(&(cert_spec){.file = "ca", .cn = "test authority", .ca = true});
  certs_make(&(cert_spec){
      .file = "server", .cn = "db.example", .issuer = "ca", .san = "DNS:db.example", .rsa = true});
  certs_make(&(cert_spec){.file = "app_cert", .cn = "app_cert", .issuer = "ca"});
  certs_make(&(cert_spec){.file = "app_both", .cn = "app_both", .issuer = "ca"});
  certs_make(&(cert_spec){.file = "stranger", .cn = "app_cert"});
  running =
      real_postgres_start(&(real_postgres_spec){.seed = seed, .hba = hba, .tls = certs_folder()});
  return 0;
}

static int stop_server(void **state) {
  (void)state;
  certs_remove();
  real_postgres_stop();
  return 0;
}

static void real_init(db_fixture *f, const char *user) {
  if (!running) skip();
  db_fixture_init(f);
  f->real = true;
  f->database.port = real_postgres_port();
  f->database.host = (char *)"db.example";
  f->database.address = (char *)"127.0.0.1";
  f->database.user = (char *)(uintptr_t)user;
  f->database.tls.mode = WG_TLS_VERIFY_FULL;
  f->database.tls.ca = certs_path("ca", "crt");
  f->database.tls.channel_binding = WG_TLS_BINDING_PREFER;
}

static void own_cert(db_fixture *f, const char *file) {
  f->database.tls.cert = certs_path(file, "crt");
  f->database.tls.key = certs_path(file, "key");
}

static void ask_is(db_fixture *f, uint64_t h, const char *sql, const char *expected) {
  char out[256];
  db_ask(f, f->guest, h, sql, out, sizeof out);
  if (strcmp(out, expected) != 0) fail_msg("%s: '%s', expected '%s'", sql, out, expected);
}

#define SSL_OF(what) "SELECT " what " FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

static void refused(db_fixture *f, wg_code code, const char *text) {
  wg_error err;
  db_fixture_start(f);
  assert_int_equal(db_connect(f, f->guest, &err), 0);
  if (err.code != code || !strstr(err.msg, text))
    fail_msg("%s: '%s', expected '%s'", wg_code_name(err.code), err.msg, text);
  db_fixture_stop(f);
}

/* Every way to authenticate. */
static void log_in_methods(const char *version) {
  const char *users[] = {"app", "app_md5", "app_plain", "app_cert", "app_both"};
  for (size_t i = 0; i < WG_COUNT(users); i++) {
    db_fixture f;
    real_init(&f, users[i]);
    if (i >= 3) own_cert(&f, users[i]);
    if (i == 3) f.database.password = (wg_secret){NULL, 0};
    db_fixture_start(&f);
    uint64_t h = db_open(&f, f.guest);
    ask_is(&f, h, "SELECT current_user", users[i]);
    ask_is(&f, h, SSL_OF("version"), version);
    if (i == 3) ask_is(&f, h, SSL_OF("client_dn"), "/CN=app_cert");
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
    db_fixture_stop(&f);
  }
}

static void test_us111_log_in_methods(void **state) {
  (void)state;
  log_in_methods("TLSv1.3");
}

/* SCRAM-SHA-256-PLUS: "require" lets nothing else through, so that it works is the proof. */
static void test_us111_channel_binding(void **state) {
  (void)state;
  const char *users[] = {"app", "app_both"};
  for (size_t i = 0; i < WG_COUNT(users); i++) {
    db_fixture f;
    real_init(&f, users[i]);
    f.database.tls.channel_binding = WG_TLS_BINDING_REQUIRE;
    if (i) own_cert(&f, users[i]);
    db_fixture_start(&f);
    ask_is(&f, db_open(&f, f.guest), SSL_OF("ssl"), "t");
    db_fixture_stop(&f);
  }
  db_fixture f;
  real_init(&f, "app");
  f.database.tls.channel_binding = WG_TLS_BINDING_DISABLE;
  db_fixture_start(&f);
  db_open(&f, f.guest);
  db_fixture_stop(&f);
  real_init(&f, "app_md5");
  f.database.tls.channel_binding = WG_TLS_BINDING_REQUIRE;
  refused(&f, WG_AUTH, "channel binding is required, but the server asks for md5");
  real_init(&f, "app_cert");
  own_cert(&f, "app_cert");
  f.database.tls.channel_binding = WG_TLS_BINDING_REQUIRE;
  refused(&f, WG_AUTH, "channel binding is required, but the server let us in without it");
}

static void test_us111_refusals(void **state) {
  (void)state;
  db_fixture f;
  real_init(&f, "app");
  f.database.tls.mode = WG_TLS_DISABLE;
  refused(&f, WG_AUTH, "SQLSTATE 28000"); /* no entry for this host without encryption */
  real_init(&f, "app_cert");
  refused(&f, WG_AUTH, "SQLSTATE 28000"); /* a valid client certificate is wanted */
  real_init(&f, "app_cert");
  own_cert(&f, "app_both");
  refused(&f, WG_AUTH, "SQLSTATE 28000"); /* that of another role */
  real_init(&f, "app_cert");
  own_cert(&f, "stranger");
  refused(&f, WG_AUTH, "the server refused the host's certificate: its issuer is unknown to it");
  real_init(&f, "app");
  f.database.tls.server_name = (char *)"other.example";
  refused(&f, WG_AUTH, "is for 'db.example', not for 'other.example'");
  real_init(&f, "app");
  f.database.tls.ca = NULL;
  f.database.tls.server_name = (char *)"db.example";
  refused(&f, WG_AUTH, "is from an issuer that is not trusted: 'test authority'");
  real_init(&f, "app");
  f.database.password = (wg_secret){(char *)"wrong", 5};
  refused(&f, WG_AUTH, "28P01");
}

/* `allow` begins in plain text and comes back with TLS; `prefer` the other way round. */
static void test_us111_allow_and_prefer(void **state) {
  (void)state;
  const struct {
    wg_tls_mode mode;
    const char *user, *ssl;
  } cases[] = {
      {WG_TLS_ALLOW, "app", "t"}, {WG_TLS_ALLOW, "app_open", "f"}, {WG_TLS_PREFER, "app", "t"}};
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    db_fixture f;
    real_init(&f, cases[i].user);
    f.database.tls.mode = cases[i].mode;
    db_fixture_start(&f);
    ask_is(&f, db_open(&f, f.guest), SSL_OF("ssl"), cases[i].ssl);
    assert_int_equal(db_stats(&f).failures, 0);
    db_fixture_stop(&f);
  }
}

/* Direct negotiation is of PostgreSQL 17: an older one closes, which is said. */
static void test_us111_direct_or_not(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  real_init(&f, "app");
  f.database.tls.negotiation = WG_TLS_DIRECT;
  db_fixture_start(&f);
  uint64_t h = db_connect(&f, f.guest, &err);
  if (h)
    db_greet(&f, f.guest, h);
  else
    assert_non_null(strstr(err.msg, "TLS: the server closed the connection during the TLS"));
  db_fixture_stop(&f);
}

static void test_us111_versions(void **state) {
  (void)state;
  db_fixture f;
  real_init(&f, "app");
  assert_true(real_postgres_sql("ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'"));
  assert_true(real_postgres_sql("SELECT pg_reload_conf()"));
  db_fixture_start(&f);
  for (int i = 0; i < 100; i++) { /* until the server has read it */
    char version[32];
    uint64_t h = db_open(&f, f.guest);
    db_ask(&f, f.guest, h, SSL_OF("version"), version, sizeof version);
    db_query(&f, f.guest, h, "SELECT pg_terminate_backend(pg_backend_pid())");
    db_read_until(&f, f.guest, h, 'Z', NULL, NULL);
    db_close(f.guest, h);
    if (strcmp(version, "TLSv1.2") == 0) break;
    assert_int_not_equal(i, 99);
    uv_sleep(20);
  }
  db_fixture_stop(&f);
  real_init(&f, "app");
  f.database.tls.min_version = WG_TLS_1_3;
  refused(&f, WG_UNSUPPORTED, "protocol version is too low: it does not speak TLS 1.3");
  log_in_methods("TLSv1.2");
  assert_true(real_postgres_sql("ALTER SYSTEM RESET ssl_max_protocol_version"));
  assert_true(real_postgres_sql("SELECT pg_reload_conf()"));
}

/* US-113: reuse, reset, ping, and 20 MB of result under TLS. */
static void test_us113_reuse(void **state) {
  (void)state;
  db_fixture f;
  char pid[32];
  uint8_t *all;
  size_t len;
  real_init(&f, "app");
  db_fixture_start(&f);
  for (int i = 0; i < 4; i++) {
    uint64_t h = db_open(&f, f.guest);
    if (i == 0)
      db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", pid, sizeof pid);
    else
      ask_is(&f, h, "SELECT pg_backend_pid()", pid);
    db_query(&f, f.guest, h, "SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
    assert_true(len > 20000 * 1000);
    free(all);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
    db_advance(&f, 31000); /* pinged */
    db_run_until_stats(&f, 0, 1, 1);
  }
  assert_int_equal(db_stats(&f).connects, 1);
  db_fixture_stop(&f);
}

/* US-112, auth = "relay": the server offers to bind the proof to its TLS; the guest has none, and
 * libpq refuses such an offer without TLS: it does not see it. A guest that would bind its proof, and
 * is told that the server cannot ("y"), is refused by the server: somebody may be in between. */
static void test_us112_relay(void **state) {
  (void)state;
  db_fixture f;
  real_init(&f, "app");
  f.database.auth = WG_DB_AUTH_RELAY;
  f.database.user = NULL;
  f.database.password = (wg_secret){0};
  db_fixture_start(&f);
  static const char *const users[] = {"app", "app_plain", "app"};
  for (size_t i = 0; i < WG_COUNT(users); i++) {
    uint64_t h = 0;
    uint8_t bytes[256], *all;
    size_t len;
    assert_int_equal(wg_db_open(f.guest, "db.example", 10, f.database.port, &h, NULL), WG_OK);
    db_send(&f, f.guest, h, bytes, db_startup(bytes, "user", users[i], "database", "shop", NULL));
    if (i == 1) { /* asked for in clear */
      assert_int_equal(db_read_until(&f, f.guest, h, 'R', NULL, NULL), 0);
      db_say(&f, h, 'p', "secret", 7);
    } else {
      db_scram(&f, h, "secret", i == 2 ? WG_SCRAM_BINDING_UNASKED : WG_SCRAM_NO_BINDING,
               "SCRAM-SHA-256");
    }
    if (i == 2) {
      assert_int_equal(db_read_until(&f, f.guest, h, 'E', &all, &len), 'S');
      assert_non_null(memmem(all, len, "channel binding", 15));
      free(all);
    } else {
      assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
      ask_is(&f, h, SSL_OF("ssl"), "t");
      ask_is(&f, h, "SELECT session_user", users[i]);
    }
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 0, 0);
  }
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us111_log_in_methods), cmocka_unit_test(test_us111_channel_binding),
      cmocka_unit_test(test_us111_refusals),       cmocka_unit_test(test_us111_allow_and_prefer),
      cmocka_unit_test(test_us111_direct_or_not),  cmocka_unit_test(test_us111_versions),
      cmocka_unit_test(test_us113_reuse),          cmocka_unit_test(test_us112_relay),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
