/* SPDX-License-Identifier: Apache-2.0 */
/* US-111, US-112: TLS to a server: which modes take which servers, which certificates are refused
 * and how that is told, and every way for a server to go wrong before the handshake's end. */
#include "db/certs.h"
#include "db/db_fixture.h"
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/** A server with the certificate `cert` (NULL: without TLS) behind the name db.example. */
static void tls_init(db_fixture *f, const char *cert, wg_tls_mode mode) {
  db_fixture_init(f);
  f->database.host = (char *)"db.example";
  f->database.address = (char *)"127.0.0.1";
  f->database.tls.mode = mode;
  f->database.tls.channel_binding = WG_TLS_BINDING_PREFER;
  f->database.tls.ca = certs_path("ca", "crt");
  if (!cert) return;
  f->mock.tls_cert = certs_path(cert, "crt");
  f->mock.tls_key = certs_path(cert, "key");
}

static void works(db_fixture *f, bool tls) {
  char pid[16];
  uint64_t h = db_open(f, f->guest);
  db_ask(f, f->guest, h, "PID", pid, sizeof pid);
  db_close(f->guest, h);
  db_run_until_stats(f, 0, 1, 1);
  assert_int_equal(f->mock.tls_logins, tls);
  assert_int_equal(f->mock.logins, 1);
}

static void fails(db_fixture *f, wg_code code, const char *text) {
  wg_error err;
  if (db_connect(f, f->guest, &err) != 0) fail_msg("connected, expected '%s'", text);
  if (err.code != code || !strstr(err.msg, text) || !strstr(err.msg, "(SQLSTATE 08001)"))
    fail_msg("%s: '%s', expected '%s'", wg_code_name(err.code), err.msg, text);
  db_run_until_stats(f, 0, 0, 0);
  assert_int_equal(db_stats(f).failures, 1);
}

static void test_us111_modes(void **state) {
  (void)state;
  enum { PLAIN, TLS, NO };
  const struct {
    wg_tls_mode mode;
    const char *cert;
    bool only; /* the server refuses plain text */
    int way;
  } cases[] = {
      {WG_TLS_DISABLE, NULL, false, PLAIN},      {WG_TLS_DISABLE, "server", false, PLAIN},
      {WG_TLS_ALLOW, NULL, false, PLAIN},        {WG_TLS_ALLOW, "server", false, PLAIN},
      {WG_TLS_ALLOW, "server", true, TLS},       {WG_TLS_PREFER, NULL, false, PLAIN},
      {WG_TLS_PREFER, "server", false, TLS},     {WG_TLS_PREFER, "server", true, TLS},
      {WG_TLS_PREFER, "self", false, TLS},       {WG_TLS_REQUIRE, NULL, false, NO},
      {WG_TLS_REQUIRE, "other", false, TLS},     {WG_TLS_VERIFY_CA, NULL, false, NO},
      {WG_TLS_VERIFY_CA, "other", false, TLS},   {WG_TLS_VERIFY_FULL, NULL, false, NO},
      {WG_TLS_VERIFY_FULL, "server", true, TLS},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    db_fixture f;
    tls_init(&f, cases[i].cert, cases[i].mode);
    f.mock.tls_only = cases[i].only;
    f.mock.auth = MOCK_SCRAM;
    db_fixture_start(&f);
    if (cases[i].way == NO)
      fails(&f, WG_UNSUPPORTED, "the server does not support TLS, and it is required");
    else
      works(&f, cases[i].way == TLS);
    db_fixture_stop(&f);
  }
}

/* `require` without a file of issuers takes anybody, as in libpq. */
static void test_require_takes_anybody(void **state) {
  (void)state;
  const char *certs[] = {"self", "expired", "other", "stranger"};
  for (size_t i = 0; i < WG_COUNT(certs); i++) {
    db_fixture f;
    tls_init(&f, certs[i], WG_TLS_REQUIRE);
    f.database.tls.ca = NULL;
    db_fixture_start(&f);
    works(&f, true);
    db_fixture_stop(&f);
  }
}

static void test_us111_refused_certificates(void **state) {
  (void)state;
  const struct {
    const char *cert;
    wg_tls_mode mode;
    bool system; /* issuers of the system */
    const char *text;
  } cases[] = {
      {"expired", WG_TLS_VERIFY_FULL, false, "of 'db.example', has expired on "},
      {"expired", WG_TLS_VERIFY_CA, false, "of 'db.example', has expired on "},
      {"expired", WG_TLS_REQUIRE, false, "of 'db.example', has expired on "},
      {"future", WG_TLS_VERIFY_FULL, false, "is not yet valid, but from "},
      {"self", WG_TLS_VERIFY_FULL, false, "'db.example', is self-signed and not among the trusted"},
      {"stranger", WG_TLS_VERIFY_FULL, false,
       "is from an issuer that is not trusted: 'strange authority'"},
      {"server", WG_TLS_VERIFY_FULL, true,
       "is from an issuer that is not trusted: 'test authority'"},
      {"other", WG_TLS_VERIFY_FULL, false,
       "is for 'other.example', 'third.example', '10.1.2.3', not for 'db.example'"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++)
    for (int old = 0; old < 2; old++) {
      db_fixture f;
      tls_init(&f, cases[i].cert, cases[i].mode);
      f.mock.tls_version = old ? TLS1_2_VERSION : TLS1_3_VERSION;
      if (cases[i].system) f.database.tls.ca = NULL;
      db_fixture_start(&f);
      fails(&f, WG_AUTH, cases[i].text);
      assert_int_equal(f.mock.logins, 0);
      db_fixture_stop(&f);
    }
}

static int setup(void **state) {
  (void)state;
  certs_make_all();
  return 0;
}
static int teardown(void **state) {
  (void)state;
  certs_remove();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us111_modes),
      cmocka_unit_test(test_require_takes_anybody),
      cmocka_unit_test(test_us111_refused_certificates),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
