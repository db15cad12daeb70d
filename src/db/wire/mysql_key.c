/* SPDX-License-Identifier: Apache-2.0 */
/* The key that guests encrypt their passwords with, as a server's clients do. One a process, never
 * stored. Making it takes a tenth of a second: a thread does it as soon as the configuration has a
 * database that needs it. The thread does not outlive those who wanted the key: a process that ends
 * takes the crypto library away from under it. */
#include "db/wire/mysql.h"
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { KEY_BITS = 2048 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t settled = PTHREAD_COND_INITIALIZER;
/* Under the lock: */
static enum { KEY_NONE, KEY_COMING, KEY_MADE } state;
static EVP_PKEY *key; /* constant once KEY_MADE; NULL: the crypto library failed */
static unsigned wanted;
static bool threaded; /* `thread` is to be joined */
static pthread_t thread;

static _Atomic bool unwanted; /* by all who wanted it: the thread is to end soon */

static int go_on(EVP_PKEY_CTX *c) { return !*(_Atomic bool *)EVP_PKEY_CTX_get_app_data(c); }

/** @param stop  _Atomic bool */
static void *make(void *stop) {
  EVP_PKEY *fresh = NULL;
  EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
  if (c && EVP_PKEY_keygen_init(c) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(c, KEY_BITS) == 1) {
    EVP_PKEY_CTX_set_app_data(c, stop);
    EVP_PKEY_CTX_set_cb(c, go_on);
    if (EVP_PKEY_generate(c, &fresh) != 1) fresh = NULL;
  }
  EVP_PKEY_CTX_free(c);
  pthread_mutex_lock(&lock);
  key = fresh;
  state = !fresh && *(_Atomic bool *)stop ? KEY_NONE : KEY_MADE;
  pthread_cond_broadcast(&settled);
  pthread_mutex_unlock(&lock);
  return NULL;
}

void wg_mysql_key_prepare(void) {
  pthread_mutex_lock(&lock);
  wanted++;
  if (state == KEY_NONE && !threaded) {
    unwanted = false;
    threaded = pthread_create(&thread, NULL, make, &unwanted) == 0;
    if (threaded) state = KEY_COMING; /* else the first who needs it makes it */
  }
  pthread_mutex_unlock(&lock);
}

void wg_mysql_key_release(void) {
  pthread_mutex_lock(&lock);
  bool join = --wanted == 0 && threaded;
  if (join) unwanted = true;
  pthread_mutex_unlock(&lock);
  if (!join) return;
  pthread_join(thread, NULL);
  pthread_mutex_lock(&lock);
  threaded = false;
  pthread_mutex_unlock(&lock);
}

static EVP_PKEY *key_get(void) {
  static _Atomic bool never;
  pthread_mutex_lock(&lock);
  while (state == KEY_COMING) pthread_cond_wait(&settled, &lock);
  bool mine = state == KEY_NONE;
  if (mine) state = KEY_COMING;
  pthread_mutex_unlock(&lock);
  if (mine) make(&never);
  return key;
}

wg_code wg_mysql_key_put(wg_buf *out, wg_error *err) {
  EVP_PKEY *k = key_get();
  BIO *bio = k ? BIO_new(BIO_s_mem()) : NULL;
  char *pem = NULL;
  long n = bio && PEM_write_bio_PUBKEY(bio, k) == 1 ? BIO_get_mem_data(bio, &pem) : 0;
  if (n > 0) wg_buf_put(out, pem, (size_t)n);
  BIO_free(bio);
  if (n > 0) return WG_OK;
  return wg_error_set(err, WG_IO, 0, "mysql: the crypto library cannot make a key");
}

wg_code wg_mysql_key_open(const uint8_t *sealed, size_t n, const uint8_t nonce[MY_SCRAMBLE],
                          wg_buf *out) {
  uint8_t text[KEY_BITS / 8];
  size_t len = sizeof text;
  EVP_PKEY *k = key_get();
  EVP_PKEY_CTX *c = k ? EVP_PKEY_CTX_new(k, NULL) : NULL;
  bool ok = c && EVP_PKEY_decrypt_init(c) == 1 &&
            EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING) == 1 &&
            EVP_PKEY_decrypt(c, text, &len, sealed, n) == 1;
  EVP_PKEY_CTX_free(c);
  for (size_t i = 0; ok && i < len; i++) text[i] ^= nonce[i % MY_SCRAMBLE];
  if (ok) wg_buf_put(out, text, len);
  wg_wipe(text, sizeof text);
  return ok ? WG_OK : WG_AUTH;
}
