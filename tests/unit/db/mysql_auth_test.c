/* SPDX-License-Identifier: Apache-2.0 */
/* US-115: how a MySQL client proves its password. */
#include "db/wire/mysql.h"
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t nonce[32] = {10, 47, 74, 111, 75, 73, 34, 48, 88, 76, 114,
                                  74, 37, 13, 3,   80, 82, 2,  23, 21, 9,  200,
                                  3,  77, 91, 130, 17, 64, 33, 5,  1,  99};

static wg_secret secret_of(const char *text) { return (wg_secret){(char *)text, strlen(text)}; }

/* Figures computed apart from this code, from the public description of the plugins. */
static void test_native(void **state) {
  (void)state;
  static const uint8_t expected[20] = {106, 20,  155, 221, 128, 189, 161, 235, 240, 250,
                                       43,  210, 207, 46,  151, 23,  254, 204, 52,  187};
  uint8_t out[20];
  wg_secret s = secret_of("secret");
  assert_true(my_native(&s, nonce, out));
  assert_memory_equal(out, expected, sizeof out);
}

static void test_caching_sha2(void **state) {
  (void)state;
  static const uint8_t expected[2][32] = {
      {244, 144, 231, 111, 102, 217, 216, 102, 101, 206, 84, 217, 140, 120, 208, 172,
       254, 47,  176, 176, 139, 66,  61,  168, 7,   20,  72, 115, 211, 11,  49,  44},
      {171, 195, 147, 74, 1, 44, 243, 66,  232, 118, 7,   28,  142, 226, 2,  222,
       81,  120, 91,  67, 2, 88, 167, 160, 19,  139, 199, 156, 77,  128, 11, 198}};
  static const char *const passwords[] = {"secret", "secret2"};
  for (size_t i = 0; i < 2; i++) {
    uint8_t out[32];
    wg_secret s = secret_of(passwords[i]);
    assert_true(my_sha2(&s, nonce, out));
    assert_memory_equal(out, expected[i], sizeof out);
  }
}

/* A password of 32 bytes is a seed of plain Ed25519, which OpenSSL signs with. */
static void test_ed25519_is_openssls(void **state) {
  (void)state;
  for (unsigned i = 0; i < 64; i++) {
    uint8_t seed[32], message[32], ours[64], theirs[64];
    size_t n = sizeof theirs;
    for (size_t k = 0; k < 32; k++) {
      seed[k] = (uint8_t)(i * 37 + k * 101 + (i * k) % 7);
      message[k] = (uint8_t)(i ^ (k * 59));
    }
    if (i == 0) memset(message, 0xFF, sizeof message);
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof seed);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, theirs, &n, message, sizeof message), 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    wg_secret s = {(char *)seed, sizeof seed};
    assert_true(my_ed25519(&s, message, ours));
    assert_memory_equal(ours, theirs, 64);
  }
}

/* What is encrypted with our key is readable with it, once the nonce is taken off. */
static void test_rsa_and_back(void **state) {
  (void)state;
  wg_buf pem, sealed, open;
  wg_error err;
  wg_buf_init(&pem, 4096);
  wg_buf_init(&sealed, 4096);
  wg_buf_init(&open, 4096);
  wg_mysql_key_prepare();
  assert_int_equal(wg_mysql_key_put(&pem, &err), WG_OK);
  wg_secret s = secret_of("a secret that is longer than a nonce has bytes");
  assert_int_equal(my_rsa_encrypt(&s, nonce, wg_buf_head(&pem), wg_buf_len(&pem), &sealed, &err),
                   WG_OK);
  assert_int_equal(wg_buf_len(&sealed), 256);
  assert_int_equal(wg_mysql_key_open(wg_buf_head(&sealed), 256, nonce, &open), WG_OK);
  assert_int_equal(wg_buf_len(&open), s.len + 1);
  assert_memory_equal(wg_buf_head(&open), s.bytes, s.len + 1);
  assert_int_equal(wg_mysql_key_open(wg_buf_head(&sealed), 255, nonce, &open), WG_AUTH);
  wg_buf_clear(&sealed);
  s = (wg_secret){(char *)s.bytes, 600};
  assert_int_equal(my_rsa_encrypt(&s, nonce, wg_buf_head(&pem), wg_buf_len(&pem), &sealed, &err),
                   WG_INVALID);
  s.len = 300; /* more than the key can take */
  char long_one[300];
  memset(long_one, 'x', sizeof long_one);
  s.bytes = long_one;
  assert_int_equal(my_rsa_encrypt(&s, nonce, wg_buf_head(&pem), wg_buf_len(&pem), &sealed, &err),
                   WG_IO);
  assert_int_equal(my_rsa_encrypt(&s, nonce, (const uint8_t *)"no key", 6, &sealed, &err),
                   WG_PROTOCOL);
  wg_buf_release(&pem);
  wg_buf_release(&sealed);
  wg_buf_release(&open);
  wg_mysql_key_release();
}

/* Whoever wanted the key may be gone before it is made, and others come. Runs first: the key is one a
 * process. */
static void test_key_that_nobody_waits_for(void **state) {
  (void)state;
  for (int i = 0; i < 20; i++) {
    wg_mysql_key_prepare();
    if (i % 3 == 0) {
      wg_mysql_key_prepare();
      wg_mysql_key_release();
    }
    wg_mysql_key_release();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_key_that_nobody_waits_for),
      cmocka_unit_test(test_native),
      cmocka_unit_test(test_caching_sha2),
      cmocka_unit_test(test_ed25519_is_openssls),
      cmocka_unit_test(test_rsa_and_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
