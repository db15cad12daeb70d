/* SPDX-License-Identifier: Apache-2.0 */
/* US-111, US-112: TLS to a server: which modes take which servers, which certificates are refused
 * and how that is told, and every way for a server to go wrong before the handshake's end. */
#include "db/certs.h"
#include "db/db_fixture.h"
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <poll.h>
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

/* `prefer` and a server that takes this user without TLS only (hostnossl in pg_hba.conf): in plain text, as
 * libpq does. Not after a password was refused: that one is wrong there as well. */
static void test_us111_prefer_takes_plain_text_when_told(void **state) {
  (void)state;
  const struct {
    wg_tls_mode mode;
    bool plain_only, wrong;
    unsigned accepted;
  } cases[] = {{WG_TLS_PREFER, true, false, 2},
               {WG_TLS_REQUIRE, true, false, 1},
               {WG_TLS_PREFER, false, true, 1}};
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    db_fixture f;
    wg_error err;
    tls_init(&f, "server", cases[i].mode);
    f.mock.auth = MOCK_SCRAM;
    f.mock.plain_only = cases[i].plain_only;
    if (cases[i].wrong) f.mock.password = "another";
    db_fixture_start(&f);
    if (i == 0) {
      works(&f, false);
    } else {
      assert_int_equal(db_connect(&f, f.guest, &err), 0);
      assert_int_equal(err.code, WG_AUTH);
    }
    assert_int_equal(f.mock.accepted, cases[i].accepted);
    db_fixture_stop(&f);
  }
}

/* US-111: without tls_ca the system's issuers count; where those are, OpenSSL's environment says. */
static void test_us111_issuers_of_the_system(void **state) {
  (void)state;
  const char *files[] = {certs_path("ca", "crt"), certs_path("strangers", "crt")};
  for (int i = 0; i < 2; i++) {
    db_fixture f;
    tls_init(&f, "server", WG_TLS_VERIFY_FULL);
    f.database.tls.ca = NULL;
    setenv("SSL_CERT_FILE", files[i], 1);
    db_fixture_start(&f);
    if (i == 0)
      works(&f, true);
    else
      fails(&f, WG_AUTH, "is from an issuer that is not trusted: 'test authority'");
    db_fixture_stop(&f);
    unsetenv("SSL_CERT_FILE");
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

/* The address that is dialled decides what "auto" is, unless another key asks for TLS. */
static void test_us111_what_auto_stands_for(void **state) {
  (void)state;
  const struct {
    const char *ip;
    wg_tls_mode mode;
  } cases[] = {
      {"127.0.0.1", WG_TLS_DISABLE},
      {"127.255.1.2", WG_TLS_DISABLE},
      {"::1", WG_TLS_DISABLE},
      {"::ffff:127.0.0.1", WG_TLS_DISABLE},
      {"128.0.0.1", WG_TLS_VERIFY_FULL},
      {"10.0.0.1", WG_TLS_VERIFY_FULL},
      {"0.0.0.0", WG_TLS_VERIFY_FULL},
      {"::", WG_TLS_VERIFY_FULL},
      {"::ffff:10.0.0.1", WG_TLS_VERIFY_FULL},
      {"fe80::1", WG_TLS_VERIFY_FULL},
  };
  const wg_tls_config plain = {0};
  const wg_tls_config asked[] = {
      {.ca = (char *)"x"},
      {.cert = (char *)"x"},
      {.server_name = (char *)"x"},
      {.negotiation = WG_TLS_DIRECT},
      {.channel_binding = WG_TLS_BINDING_REQUIRE},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    wg_dns_addr ip;
    struct sockaddr_storage a;
    assert_true(wg_dns_literal(cases[i].ip, strlen(cases[i].ip), &ip));
    (void)wg_dns_sockaddr(&ip, 5432, &a);
    if (wg_tls_mode_for(&plain, &a) != cases[i].mode) fail_msg("%s", cases[i].ip);
    for (size_t k = 0; k < WG_COUNT(asked); k++)
      assert_int_equal(wg_tls_mode_for(&asked[k], &a), WG_TLS_VERIFY_FULL);
    for (int m = WG_TLS_DISABLE; m <= WG_TLS_VERIFY_FULL; m++) {
      wg_tls_config c = {.mode = (wg_tls_mode)m};
      assert_int_equal(wg_tls_mode_for(&c, &a), m);
    }
  }
  struct sockaddr_storage un = {.ss_family = AF_UNIX};
  wg_tls_config all = {.mode = WG_TLS_PREFER};
  assert_int_equal(wg_tls_mode_for(&all, &un), WG_TLS_DISABLE);
}

static void test_us111_which_name_is_checked(void **state) {
  (void)state;
  const struct {
    const char *host, *address, *server_name, *checked;
  } cases[] = {
      {"db.example", NULL, NULL, "db.example"},
      {"db.example", "10.0.0.1", NULL, "db.example"},
      {"db.example", "real.example", NULL, "real.example"},
      {"db.example", "/run/postgresql", NULL, "db.example"},
      {"10.0.0.1", NULL, NULL, "10.0.0.1"},
      {"db.example", "real.example", "third.example", "third.example"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    wg_database_config d = {.host = (char *)(uintptr_t)cases[i].host,
                            .address = (char *)(uintptr_t)cases[i].address,
                            .tls.server_name = (char *)(uintptr_t)cases[i].server_name};
    const char *dialled = d.address ? d.address : d.host;
    assert_string_equal(wg_tls_name_of(&d, dialled), cases[i].checked);
  }
}

/* Without a word about TLS a server of this machine is spoken to in plain text, and any other has
 * to prove who it is. */
static void test_us111_auto_on_this_machine(void **state) {
  (void)state;
  db_fixture f;
  tls_init(&f, "self", WG_TLS_AUTO);
  f.database.tls.ca = NULL;
  db_fixture_start(&f);
  works(&f, false);
  assert_false(f.mock.tls_asked);
  db_fixture_stop(&f);
  tls_init(&f, "self", WG_TLS_AUTO); /* with tls_ca */
  db_fixture_start(&f);
  fails(&f, WG_AUTH, "is self-signed");
  db_fixture_stop(&f);
}

static void test_us111_sni_and_server_name(void **state) {
  (void)state;
  db_fixture f;
  tls_init(&f, "other", WG_TLS_VERIFY_FULL);
  f.database.tls.server_name = (char *)"third.example";
  db_fixture_start(&f);
  works(&f, true);
  assert_string_equal(f.mock.sni, "third.example");
  db_fixture_stop(&f);
  tls_init(&f, "server", WG_TLS_VERIFY_FULL);
  f.database.tls.server_name = (char *)"127.0.0.1";
  db_fixture_start(&f);
  works(&f, true);
  assert_string_equal(f.mock.sni, ""); /* no address is one */
  db_fixture_stop(&f);
}

static void test_us111_versions(void **state) {
  (void)state;
  const struct {
    int server;
    wg_tls_version min;
    bool works;
  } cases[] = {{TLS1_2_VERSION, WG_TLS_1_2, true},
               {TLS1_3_VERSION, WG_TLS_1_2, true},
               {TLS1_3_VERSION, WG_TLS_1_3, true},
               {TLS1_2_VERSION, WG_TLS_1_3, false},
               {TLS1_1_VERSION, WG_TLS_1_2, false}};
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    db_fixture f;
    tls_init(&f, "server", WG_TLS_VERIFY_FULL);
    f.mock.tls_version = cases[i].server;
    f.database.tls.min_version = cases[i].min;
    db_fixture_start(&f);
    if (cases[i].works)
      works(&f, true);
    else
      fails(&f, WG_UNSUPPORTED, "the server's protocol version is too low");
    db_fixture_stop(&f);
  }
}

static void test_us111_direct(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    db_fixture f;
    tls_init(&f, "server", WG_TLS_VERIFY_FULL);
    f.mock.tls_direct = true;
    f.mock.auth = MOCK_SCRAM;
    f.mock.tls_version = i ? TLS1_3_VERSION : TLS1_2_VERSION;
    f.database.tls.negotiation = WG_TLS_DIRECT;
    db_fixture_start(&f);
    works(&f, true);
    assert_false(f.mock.tls_asked);
    assert_int_equal(f.mock.tls_plus, 1);
    db_fixture_stop(&f);
  }
  /* A server that has to be asked closes on the first byte of TLS; one asked although it wants it
   * direct does not answer in TLS. */
  db_fixture f;
  tls_init(&f, "server", WG_TLS_VERIFY_FULL);
  f.mock.tls_direct = true;
  db_fixture_start(&f);
  wg_error err;
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_non_null(strstr(err.msg, "TLS: "));
  db_fixture_stop(&f);
}

/* Who is in between could offer less, or nothing: with "require" that is noticed. */
static void test_us111_channel_binding(void **state) {
  (void)state;
  certs_make(
      &(cert_spec){.file = "ed", .cn = "db.example", .san = "DNS:db.example", .ed25519 = true});
  const struct {
    wg_tls_binding binding;
    mock_auth auth;
    bool no_plus;
    const char *cert;
    int plus; /* -1: refused */
    const char *text;
  } cases[] = {
      {WG_TLS_BINDING_PREFER, MOCK_SCRAM, false, "server", 1, NULL},
      {WG_TLS_BINDING_REQUIRE, MOCK_SCRAM, false, "server", 1, NULL},
      {WG_TLS_BINDING_DISABLE, MOCK_SCRAM, false, "server", 0, NULL},
      {WG_TLS_BINDING_PREFER, MOCK_SCRAM, true, "server", 0, NULL},
      {WG_TLS_BINDING_PREFER, MOCK_MD5, false, "server", 0, NULL},
      {WG_TLS_BINDING_PREFER, MOCK_CLEARTEXT, false, "server", 0, NULL},
      {WG_TLS_BINDING_PREFER, MOCK_SCRAM, false, "ed", 0, NULL},
      {WG_TLS_BINDING_REQUIRE, MOCK_SCRAM, true, "server", -1, "does not offer SCRAM-SHA-256-PLUS"},
      {WG_TLS_BINDING_REQUIRE, MOCK_SCRAM, false, "ed", -1, "certificate has no digest"},
      {WG_TLS_BINDING_REQUIRE, MOCK_TRUST, false, "server", -1, "the server let us in without it"},
      {WG_TLS_BINDING_REQUIRE, MOCK_MD5, false, "server", -1, "the server asks for md5"},
      {WG_TLS_BINDING_REQUIRE, MOCK_CLEARTEXT, false, "server", -1,
       "the server asks for a password"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    db_fixture f;
    wg_error err;
    tls_init(&f, cases[i].cert, WG_TLS_VERIFY_FULL);
    f.database.tls.channel_binding = cases[i].binding;
    f.mock.auth = cases[i].auth;
    f.mock.tls_no_plus = cases[i].no_plus;
    if (strcmp(cases[i].cert, "ed") == 0) f.database.tls.ca = certs_path("ed", "crt");
    db_fixture_start(&f);
    if (cases[i].plus >= 0) {
      works(&f, true);
      assert_int_equal(f.mock.tls_plus, cases[i].plus);
    } else {
      assert_int_equal(db_connect(&f, f.guest, &err), 0);
      assert_int_equal(err.code, WG_AUTH);
      if (!strstr(err.msg, cases[i].text)) fail_msg("'%s', expected '%s'", err.msg, cases[i].text);
    }
    db_fixture_stop(&f);
  }
}

static void test_us111_client_certificates(void **state) {
  (void)state;
  for (int i = 0; i < 6; i++) {
    db_fixture f;
    wg_error err;
    tls_init(&f, "server", WG_TLS_VERIFY_FULL);
    f.mock.tls_client_ca = certs_path("ca", "crt");
    f.mock.tls_version = i % 2 ? TLS1_3_VERSION : TLS1_2_VERSION;
    const char *own = i < 2 ? "client" : i < 4 ? NULL : "stranger";
    if (own) {
      f.database.tls.cert = certs_path(own, "crt");
      f.database.tls.key = certs_path(own, "key");
    }
    db_fixture_start(&f);
    if (i < 2) {
      works(&f, true);
      assert_int_equal(f.mock.tls_clients, 1);
    } else {
      assert_int_equal(db_connect(&f, f.guest, &err), 0);
      const char *text = i == 2   ? "it wants a certificate of the host"
                         : i == 3 ? "refused the host's certificate: it wants one"
                                  : "refused the host's certificate: its issuer is unknown to it";
      if (!strstr(err.msg, text)) fail_msg("%d: '%s'", i, err.msg);
      assert_non_null(strstr(err.hint, "tls_cert"));
      assert_non_null(strstr(err.msg, "(SQLSTATE 08001)"));
    }
    db_fixture_stop(&f);
  }
}

/* What comes before the handshake's end is anybody's: it ends the connection and is not shown. */
static void test_us111_server_goes_wrong(void **state) {
  (void)state;
  const struct {
    mock_tls_fault fault;
    wg_code code;
    const char *text;
    bool waits; /* until the deadline */
    bool plain_next; /* "prefer" goes on in plain text */
  } cases[] = {
      {MOCK_TLS_MUTE, WG_TIMEOUT, "TLS: the server did not answer the request for it in time", true,
       false},
      {MOCK_TLS_GONE, WG_LOST, "closed the connection when asked for TLS", false, true},
      {MOCK_TLS_ERROR, WG_IO, "answered the request for TLS by an error", false, true},
      {MOCK_TLS_GARBAGE, WG_PROTOCOL, "by 0x48, not by 'S' or 'N'", false, true},
      {MOCK_TLS_STUFFED, WG_PROTOCOL, "sent 9 unencrypted bytes before the handshake's end", false,
       false},
      {MOCK_TLS_STUFFED_NO, WG_PROTOCOL, "sent 9 unencrypted bytes before the handshake's end",
       false, false},
      {MOCK_TLS_LATE_STUFF, WG_PROTOCOL, "what the server sent is not TLS", false, true},
      {MOCK_TLS_STALL, WG_TIMEOUT, "TLS: the server did not finish the handshake in time", true,
       false},
      {MOCK_TLS_STALL_MID, WG_TIMEOUT, "TLS: the server did not finish the handshake in time", true,
       false},
      {MOCK_TLS_HANG_UP, WG_LOST, "closed the connection during the TLS handshake", false, true},
      {MOCK_TLS_HALF_CLOSE, WG_LOST, "closed the connection during the TLS handshake", false, true},
      {MOCK_TLS_RESET, WG_LOST, "the connection was lost: Connection reset", false, true},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++)
    for (int prefer = 0; prefer < 2; prefer++)
      for (int old = 0; old < 2; old++) {
        db_fixture f;
        db_result r;
        tls_init(&f, "server", prefer ? WG_TLS_PREFER : WG_TLS_VERIFY_FULL);
        f.mock.tls_version = old ? TLS1_2_VERSION : TLS1_3_VERSION;
        f.mock.tls_fault = cases[i].fault;
        f.database.pool.connect_timeout_ms = 60000;
        db_fixture_start(&f);
        if (prefer && cases[i].plain_next) {
          works(&f, false);
          assert_int_equal(f.mock.accepted, 2);
          db_fixture_stop(&f);
          continue;
        }
        db_start_connect(f.guest, &r);
        if (cases[i].waits) {
          while (!f.mock.tls_asked) db_run(&f.one);
          for (int k = 0; k < 20; k++) { /* as far as it goes */
            db_run(&f.one);
            uv_sleep(1);
          }
          assert_int_equal(db_stats(&f).total, 1);
          wg_db_cancel(f.guest, &r.req); /* nobody waits, and still it does not stay for ever */
          db_advance(&f, 60001);
        } else {
          db_run_until(&f.one, &r.done);
          if (r.code != cases[i].code || !strstr(r.err.msg, cases[i].text))
            fail_msg("%zu: %s: '%s'", i, wg_code_name(r.code), r.err.msg);
          assert_null(strstr(r.err.msg, "shown"));
          assert_null(strstr(r.err.hint, "shown"));
        }
        db_run_until_stats(&f, 0, 0, 0);
        assert_int_equal(db_stats(&f).failures, 1);
        assert_int_equal(f.mock.logins, 0);
        db_fixture_stop(&f);
      }
}

/* As a stall looks to the guest that waits for it. */
static void test_stall_is_told(void **state) {
  (void)state;
  db_fixture f;
  db_result r;
  tls_init(&f, "server", WG_TLS_VERIFY_FULL);
  f.mock.tls_fault = MOCK_TLS_STALL;
  db_fixture_start(&f);
  db_start_connect(f.guest, &r);
  while (!f.mock.tls_asked) db_run(&f.one);
  db_run(&f.one);
  db_advance(&f, 4001);
  db_run_until(&f.one, &r.done);
  assert_int_equal(r.code, WG_TIMEOUT);
  db_run_until_stats(&f, 0, 0, 0);
  db_fixture_stop(&f);
}

/* 1 MiB and more through packets that end in mid-record, small buffers, both versions; the guest
 * reads in small and in large pieces. */
static void test_us112_large_results(void **state) {
  (void)state;
  const unsigned chunks[] = {0, 1000, 16400};
  for (size_t i = 0; i < 2 * WG_COUNT(chunks); i++) {
    db_fixture f;
    uint8_t *all;
    size_t len;
    tls_init(&f, "server", WG_TLS_VERIFY_FULL);
    f.mock.tls_version = i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION;
    f.mock.tls_chunk = chunks[i / 2];
    f.mock.small_buffers = 8192;
    db_fixture_start(&f);
    uint64_t h = db_open(&f, f.guest);
    db_query(&f, f.guest, h, "ROWS 21 50000");
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
    assert_int_equal(len, 21 * (50000 + 11) + 5 + 7 + 6);
    for (size_t k = 0; k < 50000; k++) assert_int_equal(all[20 * 50011 + 11 + k], (uint8_t)k);
    free(all);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
    db_fixture_stop(&f);
  }
}

/* A guest that sends 4 MiB to a server that reads slowly: taken as the kernel takes it, and whole. */
static void test_us112_large_sends(void **state) {
  (void)state;
  enum { SIZE = 4 << 20, PART = 100000 };
  for (int i = 0; i < 2; i++) {
    db_fixture f;
    uint8_t *part = malloc(PART + 5), *all;
    size_t len;
    tls_init(&f, "server", WG_TLS_VERIFY_FULL);
    f.mock.tls_version = i ? TLS1_2_VERSION : TLS1_3_VERSION;
    f.mock.small_buffers = 65536;
    db_fixture_start(&f);
    uint64_t h = db_open(&f, f.guest);
    db_query(&f, f.guest, h, "COPYIN");
    db_read_until(&f, f.guest, h, 'G', NULL, NULL);
    memset(part, 'x', PART + 5);
    memcpy(part, "d\0\1\206\244", 5); /* 100004 */
    for (size_t at = 0; at < SIZE; at += PART) db_send(&f, f.guest, h, part, PART + 5);
    db_send(&f, f.guest, h, "c\0\0\0\4", 5);
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), 'I');
    free(all);
    free(part);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
    db_fixture_stop(&f);
  }
}

/* Tickets and new keys that arrive while nobody uses the connection do not end it. */
static void test_tickets_and_keys(void **state) {
  (void)state;
  db_fixture f;
  char pid[16];
  tls_init(&f, "server", WG_TLS_VERIFY_FULL);
  f.mock.tls_version = TLS1_3_VERSION;
  f.mock.tls_resumes = true;
  db_fixture_start(&f);
  for (int i = 0; i < 4; i++) {
    uint64_t h = db_open(&f, f.guest);
    db_query(&f, f.guest, h, i % 2 ? "KEYS" : "TICKETS");
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
    db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
    assert_string_equal(pid, "1");
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
    f.mock.tickets_when_idle = true;
    uv_sleep(2);
    db_run(&f.one);
    assert_int_equal(db_stats(&f).idle, 1);
  }
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

static void on_waited(wg_db_req *req, const wg_error *err) { *(bool *)req->user = err == NULL; }

/* A guest that sends when half of a ticket has come waits for the other half, and the loop rests. */
static void test_send_within_a_ticket(void **state) {
  (void)state;
  static const uint8_t ask[] = "Q\0\0\0\010PID";
  db_fixture f;
  wg_error err;
  uint8_t b[64];
  char pid[16];
  tls_init(&f, "server", WG_TLS_VERIFY_FULL);
  f.mock.tls_version = TLS1_3_VERSION;
  f.mock.tls_resumes = true;
  f.mock.ticket_held = true;
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "TICKET");
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  for (int i = 0; i < 5000 && !f.mock.half_tickets; i++) uv_sleep(1);
  bool readable = false, writable = false;
  wg_db_req reading = {0}, writing = {0};
  wg_db_wait(f.guest, h, WG_WATCH_READ, false, &reading, on_waited, &readable);
  db_run(&f.one); /* unless it came along with the answer */
  if (!readable) wg_db_cancel(f.guest, &reading);
  assert_int_equal(wg_db_recv(f.guest, h, b, sizeof b, &err), WG_AGAIN);
  assert_int_equal(wg_db_send(f.guest, h, ask, sizeof ask, &err), WG_AGAIN);
  wg_db_wait(f.guest, h, WG_WATCH_WRITE, false, &writing, on_waited, &writable);
  db_run(&f.one);
  struct pollfd loop = {.fd = uv_backend_fd(&f.one.uv), .events = POLLIN};
  assert_int_equal(poll(&loop, 1, 0), 0); /* not to be woken by a socket that can be written to */
  assert_false(writable);
  f.mock.ticket_held = false;
  db_run_until(&f.one, &writable);
  db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
  assert_string_equal(pid, "1");
  db_fixture_stop(&f);
}

/* A second connection of the pool does less: the server knows it again. */
static void test_us111_resumption(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    db_fixture f;
    tls_init(&f, "server", WG_TLS_VERIFY_FULL);
    f.mock.tls_version = i ? TLS1_2_VERSION : TLS1_3_VERSION;
    f.mock.tls_resumes = true;
    f.mock.auth = MOCK_SCRAM;
    db_fixture_start(&f);
    db_open(&f, f.guest);
    db_open(&f, f.guest);
    assert_int_equal(f.mock.tls_logins, 2);
    assert_int_equal(f.mock.tls_resumed, 1);
    assert_int_equal(f.mock.tls_plus, 2); /* bound to the same certificate */
    db_fixture_stop(&f);
  }
}

/* The server has another certificate by now, and still resumes sessions: what is bound to the old one is
 * refused once, and not for as long as the session lasts. */
static void test_certificate_renewed_under_a_session(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  tls_init(&f, "server", WG_TLS_VERIFY_FULL);
  f.mock.tls_resumes = true;
  f.mock.auth = MOCK_SCRAM;
  f.database.pool.pool_size = 3;
  db_fixture_start(&f);
  db_open(&f, f.guest);
  f.mock.renewed = true;
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_AUTH);
  assert_int_equal(f.mock.tls_resumed, 1);
  db_advance(&f, 3000); /* a pause follows a failure */
  db_open(&f, f.guest);
  assert_int_equal(f.mock.tls_resumed, 1);
  assert_int_equal(f.mock.logins, 2);
  db_fixture_stop(&f);
}

/* Other settings of TLS are another pool. */
static void test_us111_settings_are_of_the_key(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  wg_local *a, *b, *c;
  wg_database_config three[3];
  tls_init(&f, "server", WG_TLS_VERIFY_FULL);
  for (int i = 0; i < 3; i++) three[i] = f.database;
  three[1].tls.min_version = WG_TLS_1_3;
  f.config.databases = three;
  f.config.database_count = 3;
  db_fixture_start(&f);
  assert_int_equal(wg__worker_pool(f.one.w, &three[0], "shop", 4, NULL, 0, &a, &err), WG_OK);
  assert_int_equal(wg__worker_pool(f.one.w, &three[1], "shop", 4, NULL, 0, &b, &err), WG_OK);
  assert_int_equal(wg__worker_pool(f.one.w, &three[2], "shop", 4, NULL, 0, &c, &err), WG_OK);
  assert_ptr_equal(a, c);
  assert_ptr_not_equal(a->pool, b->pool);
  db_fixture_stop(&f);
}

/* The server ends while a session has it, and while nobody has. */
static void test_server_goes(void **state) {
  (void)state;
  db_fixture f;
  uint8_t *all;
  size_t len;
  const char *ways[] = {"GO", "FATAL"};
  tls_init(&f, "server", WG_TLS_VERIFY_FULL);
  db_fixture_start(&f);
  for (size_t i = 0; i < WG_COUNT(ways); i++) {
    uint64_t h = db_open(&f, f.guest);
    db_query(&f, f.guest, h, ways[i]);
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', &all, &len), -1);
    assert_true(db_is_error(all, len, i ? "57P01" : "08006"));
    free(all);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 0, 0);
  }
  db_close(f.guest, db_open(&f, f.guest));
  db_run_until_stats(&f, 0, 1, 1);
  mock_pg_kill(&f.mock);
  db_run_until_stats(&f, 0, 0, 0);
  db_fixture_stop(&f);
}

/* What has come and was not waited for is taken before the connection goes back, under TLS as well:
 * a guest that closes in front of the last answer costs no connection. */
static void test_close_before_the_answer_is_read(void **state) {
  (void)state;
  db_fixture f;
  tls_init(&f, "server", WG_TLS_VERIFY_FULL);
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "PID");
  db_await_ready(&f, 1 + 1); /* it is there, and nobody has looked */
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(f.mock.resets, 1);
  db_fixture_stop(&f);
}

/* Files that are wrong are told when they are needed, should nobody have looked before. */
static void test_bad_files(void **state) {
  (void)state;
  db_fixture f;
  wg_error err;
  tls_init(&f, "server", WG_TLS_VERIFY_FULL);
  f.database.tls.ca = certs_path("nobody", "crt");
  db_fixture_start(&f);
  assert_int_equal(db_connect(&f, f.guest, &err), 0);
  assert_int_equal(err.code, WG_CONFIG);
  assert_non_null(strstr(err.msg, "'tls_ca': cannot read "));
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us111_modes),
      cmocka_unit_test(test_us111_prefer_takes_plain_text_when_told),
      cmocka_unit_test(test_require_takes_anybody),
      cmocka_unit_test(test_us111_refused_certificates),
      cmocka_unit_test(test_us111_issuers_of_the_system),
      cmocka_unit_test(test_us111_what_auto_stands_for),
      cmocka_unit_test(test_us111_which_name_is_checked),
      cmocka_unit_test(test_us111_auto_on_this_machine),
      cmocka_unit_test(test_us111_sni_and_server_name),
      cmocka_unit_test(test_us111_versions),
      cmocka_unit_test(test_us111_direct),
      cmocka_unit_test(test_us111_channel_binding),
      cmocka_unit_test(test_us111_client_certificates),
      cmocka_unit_test(test_us111_server_goes_wrong),
      cmocka_unit_test(test_stall_is_told),
      cmocka_unit_test(test_us112_large_results),
      cmocka_unit_test(test_us112_large_sends),
      cmocka_unit_test(test_tickets_and_keys),
      cmocka_unit_test(test_send_within_a_ticket),
      cmocka_unit_test(test_us111_resumption),
      cmocka_unit_test(test_certificate_renewed_under_a_session),
      cmocka_unit_test(test_us111_settings_are_of_the_key),
      cmocka_unit_test(test_server_goes),
      cmocka_unit_test(test_bad_files),
      cmocka_unit_test(test_close_before_the_answer_is_read),
  };
  return cmocka_run_group_tests(tests, certs_setup, certs_teardown);
}
