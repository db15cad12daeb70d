/* SPDX-License-Identifier: Apache-2.0 */
/* The key that guests encrypt their passwords with, as a server's clients do. One a process, never
 * stored. Making it takes a tenth of a second: a thread does it as soon as the configuration has a
 * database that needs it. */
#include "db/wire/mysql.h"
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <string.h>

enum { KEY_BITS = 2048 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t made = PTHREAD_COND_INITIALIZER;
static enum { KEY_NONE, KEY_COMING, KEY_MADE } state; /* under the lock */
static EVP_PKEY *key; /* constant once KEY_MADE; NULL: the crypto library failed */

static void *make(void *unused) {
  EVP_PKEY *fresh = EVP_RSA_gen(KEY_BITS);
  pthread_mutex_lock(&lock);
  key = fresh;
  state = KEY_MADE;
  pthread_cond_broadcast(&made);
  pthread_mutex_unlock(&lock);
  return unused;
}

void wg_mysql_key_prepare(void) {
  pthread_t thread;
  pthread_mutex_lock(&lock);
  bool mine = state == KEY_NONE;
  if (mine) state = KEY_COMING;
  pthread_mutex_unlock(&lock);
  if (!mine) return;
  if (pthread_create(&thread, NULL, make, NULL) == 0)
    pthread_detach(thread);
  else
    make(NULL);
}

static EVP_PKEY *key_get(void) {
  wg_mysql_key_prepare();
  pthread_mutex_lock(&lock);
  while (state != KEY_MADE) pthread_cond_wait(&made, &lock);
  pthread_mutex_unlock(&lock);
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
