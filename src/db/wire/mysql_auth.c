/* SPDX-License-Identifier: Apache-2.0 */
/* How a client proves that it knows the password, by the names of the servers' plugins. In all of them
 * `nonce` is what the server sent, 20 bytes but for Ed25519's 32. */
#include "db/wire/mysql.h"
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

static const struct {
  my_plugin plugin;
  const char *name;
} plugins[] = {{MY_PLUGIN_NATIVE, "mysql_native_password"},
               {MY_PLUGIN_CACHING_SHA2, "caching_sha2_password"},
               {MY_PLUGIN_SHA256, "sha256_password"},
               {MY_PLUGIN_ED25519, "client_ed25519"},
               {MY_PLUGIN_CLEAR, "mysql_clear_password"}};

my_plugin my_plugin_of(const char *name) {
  for (size_t i = 0; i < WG_COUNT(plugins); i++)
    if (strcmp(plugins[i].name, name) == 0) return plugins[i].plugin;
  return MY_PLUGIN_NONE;
}

const char *my_plugin_name(my_plugin plugin) {
  for (size_t i = 0; i < WG_COUNT(plugins); i++)
    if (plugins[i].plugin == plugin) return plugins[i].name;
  return "";
}

/** Digest of a and b, one after the other. */
static bool hash(const EVP_MD *md, const void *a, size_t a_len, const void *b, size_t b_len,
                 uint8_t *out) {
  EVP_MD_CTX *c = EVP_MD_CTX_new();
  bool ok = c && EVP_DigestInit_ex(c, md, NULL) == 1 && EVP_DigestUpdate(c, a, a_len) == 1 &&
            EVP_DigestUpdate(c, b, b_len) == 1 && EVP_DigestFinal_ex(c, out, NULL) == 1;
  EVP_MD_CTX_free(c);
  return ok;
}

bool my_native(const wg_secret *password, const uint8_t nonce[MY_SCRAMBLE], uint8_t out[20]) {
  uint8_t once[20], twice[20], mixed[20];
  bool ok = hash(EVP_sha1(), password->bytes, password->len, "", 0, once) &&
            hash(EVP_sha1(), once, sizeof once, "", 0, twice) &&
            hash(EVP_sha1(), nonce, MY_SCRAMBLE, twice, sizeof twice, mixed);
  for (size_t i = 0; ok && i < sizeof once; i++) out[i] = once[i] ^ mixed[i];
  wg_wipe(once, sizeof once);
  wg_wipe(twice, sizeof twice);
  wg_wipe(mixed, sizeof mixed); /* with the proof that was sent it tells the password's hash */
  return ok;
}

bool my_sha2(const wg_secret *password, const uint8_t nonce[MY_SCRAMBLE], uint8_t out[32]) {
  uint8_t once[32], twice[32], mixed[32];
  bool ok = hash(EVP_sha256(), password->bytes, password->len, "", 0, once) &&
            hash(EVP_sha256(), once, sizeof once, "", 0, twice) &&
            hash(EVP_sha256(), twice, sizeof twice, nonce, MY_SCRAMBLE, mixed);
  for (size_t i = 0; ok && i < sizeof once; i++) out[i] = once[i] ^ mixed[i];
  wg_wipe(once, sizeof once);
  wg_wipe(twice, sizeof twice);
  wg_wipe(mixed, sizeof mixed); /* with the proof that was sent it tells the password's hash */
  return ok;
}

wg_code my_rsa_encrypt(const wg_secret *password, const uint8_t nonce[MY_SCRAMBLE],
                       const uint8_t *pem, size_t pem_len, wg_buf *out, wg_error *err) {
  enum { TEXT_MAX = 512 };
  uint8_t text[TEXT_MAX], sealed[1024];
  size_t len = password->len + 1, sealed_len = sizeof sealed;
  if (len > TEXT_MAX)
    return wg_error_set(err, WG_INVALID, 0, "mysql: the password has %zu bytes, above %d",
                        password->len, TEXT_MAX - 1);
  BIO *bio = BIO_new_mem_buf(pem, (int)pem_len);
  EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
  BIO_free(bio);
  if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA ||
      EVP_PKEY_get_size(key) > (int)sizeof sealed) {
    EVP_PKEY_free(key);
    return wg_error_set(err, WG_PROTOCOL, 0, "mysql: what the server sent is not its public key");
  }
  for (size_t i = 0; i < len; i++)
    text[i] =
        (uint8_t)((i < password->len ? (uint8_t)password->bytes[i] : 0) ^ nonce[i % MY_SCRAMBLE]);
  EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(key, NULL);
  bool ok = c && EVP_PKEY_encrypt_init(c) == 1 &&
            EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING) == 1 &&
            EVP_PKEY_encrypt(c, sealed, &sealed_len, text, len) == 1;
  EVP_PKEY_CTX_free(c);
  EVP_PKEY_free(key);
  wg_wipe(text, sizeof text);
  if (!ok)
    return wg_error_set(err, WG_IO, 0,
                        "mysql: the password cannot be encrypted with the server's public key");
  wg_buf_put(out, sealed, sealed_len);
  return WG_OK;
}
