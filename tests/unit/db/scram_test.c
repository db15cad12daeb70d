/* SPDX-License-Identifier: Apache-2.0 */
/* SCRAM-SHA-256 by RFC 7677's example, md5, and what a hostile server may say. */
#include "db/wire/scram.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const wg_secret pencil = {(char *)"pencil", 6};
#define SERVER_NONCE "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define SERVER_FIRST "r=" SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"

static void first_with(wg_scram *s, const char *nonce, const char *user) {
  wg_buf out;
  wg_error err;
  memset(s, 0, sizeof *s);
  snprintf(s->nonce, sizeof s->nonce, "%s", nonce);
  wg_buf_init(&out, 4096);
  assert_int_equal(wg_scram_first(s, user, &out, &err), WG_OK);
  wg_buf_release(&out);
}

static void assert_text(wg_buf *b, const char *expected) {
  wg_buf_put_u8(b, 0);
  assert_string_equal((const char *)wg_buf_head(b), expected);
}

/* RFC 7677 section 3. */
static void test_rfc7677_example(void **state) {
  (void)state;
  wg_scram s = {0};
  wg_buf out;
  wg_error err;
  wg_buf_init(&out, 4096);
  strcpy(s.nonce, "rOprNGfwEbeRWgbNEkqO");
  assert_int_equal(wg_scram_first(&s, "user", &out, &err), WG_OK);
  assert_text(&out, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
  wg_buf_clear(&out);
  assert_int_equal(wg_scram_final(&s, SERVER_FIRST, strlen(SERVER_FIRST), &pencil, &out, &err),
                   WG_OK);
  assert_text(&out, "c=biws,r=" SERVER_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
  const char final[] = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
  assert_int_equal(wg_scram_verify(&s, final, strlen(final), &err), WG_OK);
  wg_buf_release(&out);
}

/* What is said of the channel is part of what the proof is over (RFC 5802, section 6). */
static void test_channel_binding(void **state) {
  (void)state;
  const struct {
    wg_scram_channel channel;
    const char *header, *cbind;
  } cases[] = {
      {WG_SCRAM_NO_BINDING, "n,,", "biws"},
      {WG_SCRAM_BINDING_UNASKED, "y,,", "eSws"},
      {WG_SCRAM_BOUND, "p=tls-server-end-point,,",
       "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
  };
  char proofs[3][64];
  for (size_t i = 0; i < 3; i++) {
    wg_scram s = {.channel = cases[i].channel, .binding_len = 32};
    wg_buf out;
    wg_error err;
    char text[256];
    for (uint8_t k = 0; k < 32; k++) s.binding[k] = k;
    strcpy(s.nonce, "rOprNGfwEbeRWgbNEkqO");
    wg_buf_init(&out, 4096);
    assert_int_equal(wg_scram_first(&s, "user", &out, &err), WG_OK);
    snprintf(text, sizeof text, "%sn=user,r=rOprNGfwEbeRWgbNEkqO", cases[i].header);
    assert_text(&out, text);
    wg_buf_clear(&out);
    assert_int_equal(wg_scram_final(&s, SERVER_FIRST, strlen(SERVER_FIRST), &pencil, &out, &err),
                     WG_OK);
    int n = snprintf(text, sizeof text, "c=%s,r=%s,p=", cases[i].cbind, SERVER_NONCE);
    assert_memory_equal(wg_buf_head(&out), text, (size_t)n);
    snprintf(proofs[i], sizeof proofs[i], "%.44s", (const char *)wg_buf_head(&out) + n);
    wg_buf_release(&out);
  }
  assert_string_equal(proofs[0], "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
  assert_string_not_equal(proofs[0], proofs[1]);
  assert_string_not_equal(proofs[1], proofs[2]);
}

static void test_fresh_nonces_and_names(void **state) {
  (void)state;
  wg_scram a = {0}, b = {0};
  wg_buf out;
  wg_error err;
  wg_buf_init(&out, 4096);
  assert_int_equal(wg_scram_first(&a, "a=b,c", &out, &err), WG_OK);
  assert_int_equal(strncmp((const char *)wg_buf_head(&out), "n,,n=a=3Db=2Cc,r=", 17), 0);
  wg_buf_clear(&out);
  assert_int_equal(wg_scram_first(&b, "", &out, &err), WG_OK);
  assert_string_not_equal(a.nonce, b.nonce);
  assert_int_equal(strlen(a.nonce), 24);
  wg_buf_release(&out);
  char long_name[400];
  memset(long_name, 'x', sizeof long_name - 1);
  long_name[399] = '\0';
  wg_scram c = {0};
  wg_buf_init(&out, 4096);
  assert_int_equal(wg_scram_first(&c, long_name, &out, &err), WG_INVALID);
  wg_buf_release(&out);
}

static void test_malformed_server_first(void **state) {
  (void)state;
  const char *const bad[] = {
      "",
      "r",
      "r=",
      "x=1",
      "r=abcdefX",
      "s=abc,r=abc,i=1",
      "r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",       /* adds nothing to our nonce */
      "r=abcdeg123,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",    /* is not our nonce */
      "r=abcdef\t123,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
      "r=abcdef123,s=,i=4096",
      "r=abcdef123,s=W22Z%J0S,i=4096",
      "r=abcdef123,s=W22,i=4096",
      "r=abcdef123,s=====,i=4096",
      "r=abcdef123,s=W22ZaJ0SNY7soEsUEjb6gQ==",
      "r=abcdef123,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=",
      "r=abcdef123,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
      "r=abcdef123,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-1",
      "r=abcdef123,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096x",
      "r=abcdef123,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001",
      "r=abcdef123,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999999999999",
      "m=ext,r=abcdef123,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
  };
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    wg_scram s;
    wg_buf out;
    wg_error err = {0};
    first_with(&s, "abcdef", "");
    wg_buf_init(&out, 4096);
    if (wg_scram_final(&s, bad[i], strlen(bad[i]), &pencil, &out, &err) != WG_PROTOCOL)
      fail_msg("accepted: %s", bad[i]);
    assert_int_equal(wg_buf_len(&out), 0);
    assert_non_null(strstr(err.msg, "SCRAM"));
    wg_buf_release(&out);
  }
  char *huge = malloc(5000);
  memset(huge, 'A', 5000);
  memcpy(huge, "r=abcdef", 8);
  wg_scram s;
  wg_buf out;
  wg_error err;
  first_with(&s, "abcdef", "");
  wg_buf_init(&out, 4096);
  assert_int_equal(wg_scram_final(&s, huge, 5000, &pencil, &out, &err), WG_PROTOCOL);
  wg_buf_release(&out);
  free(huge);
}

static void test_server_must_prove_itself(void **state) {
  (void)state;
  const struct {
    const char *text;
    wg_code code;
  } bad[] = {
      {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95H4=", WG_AUTH},
      {"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", WG_AUTH},
      {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95A==", WG_PROTOCOL}, /* too short */
      {"v=", WG_PROTOCOL},
      {"", WG_PROTOCOL},
      {"e=other-error", WG_AUTH},
      {"e=\n", WG_PROTOCOL},
      {"V=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", WG_PROTOCOL},
  };
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    wg_scram s;
    wg_buf out;
    wg_error err;
    first_with(&s, "rOprNGfwEbeRWgbNEkqO", "user");
    wg_buf_init(&out, 4096);
    assert_int_equal(wg_scram_final(&s, SERVER_FIRST, strlen(SERVER_FIRST), &pencil, &out, &err),
                     WG_OK);
    assert_int_equal(wg_scram_verify(&s, bad[i].text, strlen(bad[i].text), &err), bad[i].code);
    wg_buf_release(&out);
  }
}

/* SASLprep's spaces and nothings (RFC 4013): the same proof as the plain password. */
static void test_saslprep(void **state) {
  (void)state;
  const struct {
    const char *typed, *plain;
  } same[] = {
      {"pen\xC2\xAD"
       "cil",
       "pencil"},         /* SOFT HYPHEN */
      {"\xEF\xBB\xBFpencil", "pencil"},     /* ZERO WIDTH NO-BREAK SPACE */
      {"pen\xC2\xA0"
       "cil",
       "pen cil"},     /* NO-BREAK SPACE */
      {"pen\xE3\x80\x80"
       "cil",
       "pen cil"}, /* IDEOGRAPHIC SPACE */
      {"p\xC3\xA4ncil", "p\xC3\xA4ncil"},
      {"\xC2\xAD", "\xC2\xAD"}, /* nothing would be left: as it is, as PostgreSQL does */
  };
  for (size_t i = 0; i < WG_COUNT(same); i++) {
    wg_buf out[2];
    for (int k = 0; k < 2; k++) {
      wg_scram s;
      wg_error err;
      const char *text = k ? same[i].plain : same[i].typed;
      wg_secret password = {(char *)text, strlen(text)};
      first_with(&s, "rOprNGfwEbeRWgbNEkqO", "user");
      wg_buf_init(&out[k], 4096);
      assert_int_equal(
          wg_scram_final(&s, SERVER_FIRST, strlen(SERVER_FIRST), &password, &out[k], &err), WG_OK);
    }
    assert_int_equal(wg_buf_len(&out[0]), wg_buf_len(&out[1]));
    assert_memory_equal(wg_buf_head(&out[0]), wg_buf_head(&out[1]), wg_buf_len(&out[0]));
    wg_buf_release(&out[0]);
    wg_buf_release(&out[1]);
  }
}

/* RFC 7677's example with another count; the proof from OpenSSL's own PBKDF2. */
static void proof_of(int iterations, const char *password, char proof64[48], char signature64[48]) {
  static const uint8_t salt[] = {0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e,
                                 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81};
  uint8_t salted[32], key[32], stored[32], signature[32];
  char auth[512];
  unsigned n;
  int len = snprintf(auth, sizeof auth,
                     "n=user,r=rOprNGfwEbeRWgbNEkqO,r=%s"
                     ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=%d,c=biws,r=%s",
                     SERVER_NONCE, iterations, SERVER_NONCE);
  PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, sizeof salt, iterations, EVP_sha256(),
                    32, salted);
  HMAC(EVP_sha256(), salted, 32, (const uint8_t *)"Client Key", 10, key, &n);
  SHA256(key, 32, stored);
  HMAC(EVP_sha256(), stored, 32, (uint8_t *)auth, (size_t)len, signature, &n);
  for (int i = 0; i < 32; i++) key[i] ^= signature[i];
  EVP_EncodeBlock((uint8_t *)proof64, key, 32);
  HMAC(EVP_sha256(), salted, 32, (const uint8_t *)"Server Key", 10, key, &n);
  HMAC(EVP_sha256(), key, 32, (uint8_t *)auth, (size_t)len, signature, &n);
  EVP_EncodeBlock((uint8_t *)signature64, signature, 32);
}

/** @return how often it had to be called, or 0: it failed */
static int prove(wg_scram *s, int iterations, const wg_secret *password, wg_buf *out) {
  char first[256];
  wg_error err;
  int n = snprintf(first, sizeof first, "r=%s,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=%d", SERVER_NONCE,
                   iterations),
      calls = 1;
  wg_code code = wg_scram_final(s, first, (size_t)n, password, out, &err);
  for (; code == WG_AGAIN; calls++) {
    assert_int_equal(wg_buf_len(out), 0);
    code = wg_scram_rounds(s, out, &err);
  }
  return code == WG_OK ? calls : 0;
}

/* However many rounds a server asks for, they are done some at a time, and come to the same. */
static void test_rounds_in_turns(void **state) {
  (void)state;
  static const int counts[] = {1, 2, 4095, 4096, 4097, 4098, 8193, 30000};
  for (size_t i = 0; i < WG_COUNT(counts); i++) {
    wg_scram s;
    wg_buf out;
    char proof[48], signature[48], text[256];
    proof_of(counts[i], "pencil", proof, signature);
    first_with(&s, "rOprNGfwEbeRWgbNEkqO", "user");
    wg_buf_init(&out, 4096);
    assert_int_equal(prove(&s, counts[i], &pencil, &out),
                     counts[i] < 2 ? 1 : (counts[i] - 2) / WG_SCRAM_ROUNDS + 1);
    snprintf(text, sizeof text, "c=biws,r=%s,p=%s", SERVER_NONCE, proof);
    assert_text(&out, text);
    wg_scram_wipe(&s);
    wg_buf_release(&out);
  }
  wg_scram s; /* given up in the middle of them */
  wg_buf out;
  wg_error err;
  static const char million[] = "r=" SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000000";
  first_with(&s, "rOprNGfwEbeRWgbNEkqO", "user");
  wg_buf_init(&out, 4096);
  assert_int_equal(wg_scram_final(&s, million, sizeof million - 1, &pencil, &out, &err), WG_AGAIN);
  wg_scram_wipe(&s);
  wg_buf_release(&out);
}

/* What the rounds came to is kept once the server has proved that it knows the password. */
static void test_rounds_are_done_once(void **state) {
  (void)state;
  wg_scram_cache cache;
  char proof[48], signature[48], text[256], final[64];
  wg_scram_cache_init(&cache);
  proof_of(20000, "pencil", proof, signature);
  snprintf(text, sizeof text, "c=biws,r=%s,p=%s", SERVER_NONCE, proof);
  enum { WRONG, RIGHT, KEPT, OTHER_COUNT, KEPT_STILL, CLEARED };
  static const int calls[] = {5, 5, 1, 2, 1, 5};
  for (int i = WRONG; i <= CLEARED; i++) {
    wg_scram s;
    wg_buf out;
    wg_error err;
    first_with(&s, "rOprNGfwEbeRWgbNEkqO", "user");
    s.cache = &cache;
    wg_buf_init(&out, 4096);
    if (i == CLEARED) wg_scram_cache_clear(&cache);
    assert_int_equal(prove(&s, i == OTHER_COUNT ? 5000 : 20000, &pencil, &out), calls[i]);
    if (i != OTHER_COUNT) assert_text(&out, text);
    snprintf(final, sizeof final, "v=%s", i == WRONG ? proof : signature);
    assert_int_equal(wg_scram_verify(&s, final, strlen(final), &err),
                     i == WRONG || i == OTHER_COUNT ? WG_AUTH : WG_OK);
    wg_scram_wipe(&s);
    wg_buf_release(&out);
  }
  wg_scram_cache_clear(&cache);
  for (size_t i = 0; i < 32; i++) assert_int_equal(cache.client_key[i] | cache.server_key[i], 0);
  wg_scram_cache_release(&cache);
}

/* md5(md5("secret" "app") "salt"), computed with md5sum(1). */
static void test_md5_vector(void **state) {
  (void)state;
  const wg_secret password = {(char *)"secret", 6};
  char out[36];
  wg_error err;
  assert_int_equal(wg_pg_md5("app", &password, (const uint8_t *)"salt", out, &err), WG_OK);
  assert_string_equal(out, "md57f097e06031b34893c20e25a0e68242c");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rfc7677_example),
      cmocka_unit_test(test_channel_binding),
      cmocka_unit_test(test_fresh_nonces_and_names),
      cmocka_unit_test(test_malformed_server_first),
      cmocka_unit_test(test_server_must_prove_itself),
      cmocka_unit_test(test_saslprep),
      cmocka_unit_test(test_rounds_in_turns),
      cmocka_unit_test(test_rounds_are_done_once),
      cmocka_unit_test(test_md5_vector),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
