/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/scram.h"
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

/* NEW --client-first--> FIRST_SENT --server-first--> COMPUTING --rounds done, client-final-->
 *     FINAL_SENT --server-final checked--> DONE
 * Any failure ends the attempt; there is no way back.
 *
 * The server says how many rounds of hashing there are. They are done some at a time, so that a
 * million of them hold up nobody else on the thread, and not at all when the cache has their sum. */

static wg_code scram_malformed(wg_error *err, const char *which, const char *what) {
  return wg_error_set(err, WG_PROTOCOL, 0, "SCRAM: malformed %s message: %s", which, what);
}

static wg_code crypto_failed(wg_error *err, const char *what) {
  return wg_error_set(err, WG_IO, 0, "SCRAM: the crypto library cannot compute %s", what);
}

/** Passwords are normalised with SASLprep (RFC 4013) by both sides. What is mapped here is its
 *  table of spaces and of characters that count as nothing; composing characters (NFKC) is left
 *  out, so a password typed with combining accents must be stored in composed form. Text that is
 *  not UTF-8 passes as it is, as PostgreSQL's own client does. */
static size_t saslprep(const char *in, size_t len, char *out) {
  size_t o = 0, i = 0;
  const uint8_t *p = (const uint8_t *)in;
  while (i < len) {
    uint32_t c = p[i];
    size_t need = c < 0x80                  ? 1
                  : (c >= 0xC2 && c < 0xE0) ? 2
                  : (c & 0xF0) == 0xE0      ? 3
                  : (c >= 0xF0 && c < 0xF5) ? 4
                                            : 0;
    if (need == 0 || need > len - i) goto raw;
    if (need > 1) c &= 0xFFu >> (need + 1);
    for (size_t k = 1; k < need; k++) {
      if ((p[i + k] & 0xC0) != 0x80) goto raw;
      c = c << 6 | (p[i + k] & 0x3Fu);
    }
    bool space = c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200B) || c == 0x202F ||
                 c == 0x205F || c == 0x3000;
    bool nothing = c == 0xAD || c == 0x34F || c == 0x1806 || (c >= 0x180B && c <= 0x180D) ||
                   c == 0x200C || c == 0x200D || c == 0x2060 || (c >= 0xFE00 && c <= 0xFE0F) ||
                   c == 0xFEFF;
    if (space) {
      out[o++] = ' ';
    } else if (!nothing) {
      memcpy(out + o, in + i, need);
      o += need;
    }
    i += need;
  }
  if (o) return o; /* nothing left of it: it passes as it is */
raw:
  if (len) memcpy(out, in, len);
  return len;
}

static bool hmac(const uint8_t *key, const void *data, size_t len, uint8_t out[32]) {
  unsigned got = 0;
  return HMAC(EVP_sha256(), key, 32, data, len, out, &got) && got == 32;
}

static const char *gs2_header(const wg_scram *s) {
  switch (s->channel) {
  case WG_SCRAM_NO_BINDING: return "n,,";
  case WG_SCRAM_BINDING_UNASKED: return "y,,";
  case WG_SCRAM_BOUND: return "p=tls-server-end-point,,";
  }
  return "n,,";
}

/** cbind-input in base64: the header, and what the channel is. */
static void cbind(const wg_scram *s, char out[128]) {
  uint8_t input[32 + WG_SCRAM_BINDING_MAX];
  const char *header = gs2_header(s);
  size_t n = strlen(header);
  memcpy(input, header, n);
  if (s->channel == WG_SCRAM_BOUND) {
    memcpy(input + n, s->binding, s->binding_len);
    n += s->binding_len;
  }
  EVP_EncodeBlock((uint8_t *)out, input, (int)n);
}

wg_code wg_scram_first(wg_scram *s, const char *user, wg_buf *out, wg_error *err) {
  WG_ASSERT(s->state == WG_SCRAM_NEW && s->binding_len <= WG_SCRAM_BINDING_MAX);
  if (s->nonce[0] == '\0') {
    uint8_t raw[18];
    wg_random_bytes(raw, sizeof raw);
    EVP_EncodeBlock((uint8_t *)s->nonce, raw, sizeof raw); /* 24 characters, none of them ',' */
  }
  wg_buf bare;
  wg_buf_init(&bare, sizeof s->first_bare - 1);
  wg_buf_printf(&bare, "n=");
  for (const char *c = user; *c; c++) { /* RFC 5802 section 5.1: "saslname" */
    if (*c == '=')
      wg_buf_put(&bare, "=3D", 3);
    else if (*c == ',')
      wg_buf_put(&bare, "=2C", 3);
    else
      wg_buf_put_u8(&bare, (uint8_t)*c);
  }
  wg_buf_printf(&bare, ",r=%s", s->nonce);
  wg_code code = WG_OK;
  if (bare.failed) {
    code = bare.nomem ? wg_error_set(err, WG_NOMEM, 0, "SCRAM: out of memory")
                      : wg_error_set(err, WG_INVALID, 0, "SCRAM: the user name is too long");
  } else {
    memcpy(s->first_bare, wg_buf_head(&bare), wg_buf_len(&bare));
    s->first_bare[wg_buf_len(&bare)] = '\0';
    wg_buf_printf(out, "%s%s", gs2_header(s), s->first_bare);
    if (out->failed)
      code = wg_error_set(err, WG_NOMEM, 0, "SCRAM: out of memory");
    else
      s->state = WG_SCRAM_FIRST_SENT;
  }
  wg_buf_release(&bare);
  return code;
}

/** One "x=value" of a comma-separated message; NULL when it is not there. */
static const char *scram_field(const char **at, const char *end, char name, size_t *len) {
  const char *p = *at;
  if (end - p < 2 || p[0] != name || p[1] != '=') return NULL;
  const char *value = p + 2;
  const char *comma = memchr(value, ',', (size_t)(end - value));
  const char *stop = comma ? comma : end;
  *len = (size_t)(stop - value);
  *at = comma ? comma + 1 : end;
  return value;
}

/** Base64 of RFC 4648, strict. @return bytes written, -1 when malformed or longer than cap */
static int base64_decode(const char *in, size_t len, uint8_t *out, size_t cap) {
  if (len == 0 || len % 4 != 0 || len / 4 * 3 > cap + 2) return -1;
  size_t pad = in[len - 1] != '=' ? 0 : in[len - 2] != '=' ? 1 : 2;
  for (size_t i = 0; i < len - pad; i++) {
    char c = in[i];
    if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
          c == '/'))
      return -1;
  }
  uint8_t whole[WG_SCRAM_TEXT_MAX];
  if (len > sizeof whole) return -1;
  int n = EVP_DecodeBlock(whole, (const uint8_t *)in, (int)len);
  if (n < 0 || (size_t)n < pad || (size_t)n - pad > cap) return -1;
  memcpy(out, whole, (size_t)n - pad);
  return n - (int)pad;
}

/* ---- the rounds: PBKDF2 (RFC 8018), which RFC 5802 calls Hi() ---- */

void wg_scram_cache_init(wg_scram_cache *c) {
  memset(c, 0, sizeof *c);
  pthread_mutex_init(&c->lock, NULL);
}

void wg_scram_cache_clear(wg_scram_cache *c) {
  pthread_mutex_lock(&c->lock);
  wg_wipe(c->client_key, sizeof c->client_key);
  wg_wipe(c->server_key, sizeof c->server_key);
  c->iterations = 0;
  pthread_mutex_unlock(&c->lock);
}

void wg_scram_cache_release(wg_scram_cache *c) {
  wg_scram_cache_clear(c);
  pthread_mutex_destroy(&c->lock);
}

static bool cache_get(wg_scram *s) {
  wg_scram_cache *c = s->cache;
  if (!c) return false;
  pthread_mutex_lock(&c->lock);
  bool found = c->iterations == s->iterations && c->salt_len == s->salt_len &&
               memcmp(c->salt, s->salt, s->salt_len) == 0;
  if (found) {
    memcpy(s->client_key, c->client_key, sizeof s->client_key);
    memcpy(s->server_key, c->server_key, sizeof s->server_key);
  }
  pthread_mutex_unlock(&c->lock);
  return found;
}

static void cache_put(const wg_scram *s) {
  wg_scram_cache *c = s->cache;
  if (!c) return;
  pthread_mutex_lock(&c->lock);
  c->iterations = s->iterations;
  c->salt_len = s->salt_len;
  memcpy(c->salt, s->salt, s->salt_len);
  memcpy(c->client_key, s->client_key, sizeof s->client_key);
  memcpy(c->server_key, s->server_key, sizeof s->server_key);
  pthread_mutex_unlock(&c->lock);
}

/** The HMAC of the bytes given to s->mac since its last one, into `last`; the next one may begin. */
static bool round_end(wg_scram *s) {
  size_t n;
  if (EVP_MAC_final(s->mac, s->last, &n, sizeof s->last) != 1 || n != sizeof s->last) return false;
  for (size_t i = 0; i < sizeof s->salted; i++) s->salted[i] ^= s->last[i];
  s->round++;
  return EVP_MAC_init(s->mac, NULL, 0, NULL) == 1;
}

/** The first round. */
static wg_code rounds_begin(wg_scram *s, const wg_secret *password, wg_error *err) {
  static const uint8_t first_block[4] = {0, 0, 0, 1};
  char sha256[] = "SHA256";
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
                               OSSL_PARAM_construct_end()};
  char *prepared = malloc(password->len + 1);
  if (!prepared) return wg_error_set(err, WG_NOMEM, 0, "SCRAM: out of memory");
  size_t n = saslprep(password->bytes, password->len, prepared);
  EVP_MAC *hmac256 = EVP_MAC_fetch(NULL, "HMAC", NULL);
  s->mac = hmac256 ? EVP_MAC_CTX_new(hmac256) : NULL;
  EVP_MAC_free(hmac256);
  memset(s->salted, 0, sizeof s->salted);
  s->round = 0;
  bool ok = s->mac && EVP_MAC_init(s->mac, (const uint8_t *)prepared, n, params) == 1 &&
            EVP_MAC_update(s->mac, s->salt, s->salt_len) == 1 &&
            EVP_MAC_update(s->mac, first_block, sizeof first_block) == 1 && round_end(s);
  wg_wipe(prepared, password->len + 1);
  free(prepared);
  return ok ? WG_OK : crypto_failed(err, "SHA-256");
}

/** What was needed for the rounds only. */
static void rounds_drop(wg_scram *s) {
  EVP_MAC_CTX_free(s->mac); /* overwrites its key */
  s->mac = NULL;
  wg_wipe(s->last, sizeof s->last);
  wg_wipe(s->salted, sizeof s->salted);
  wg_buf_release(&s->auth);
}

/** With the keys: the proof, and the signature that is to come for it. */
static wg_code prove(wg_scram *s, wg_buf *out, wg_error *err) {
  uint8_t stored_key[32], signature[32], proof[32];
  const uint8_t *auth = wg_buf_head(&s->auth);
  size_t n = wg_buf_len(&s->auth);
  wg_code code = WG_OK;
  if (!SHA256(s->client_key, 32, stored_key) || !hmac(stored_key, auth, n, signature) ||
      !hmac(s->server_key, auth, n, s->server_signature)) {
    code = crypto_failed(err, "SHA-256");
  } else {
    char proof64[48];
    for (size_t i = 0; i < 32; i++) proof[i] = s->client_key[i] ^ signature[i];
    EVP_EncodeBlock((uint8_t *)proof64, proof, sizeof proof);
    wg_buf_put(out, auth + s->without_proof, n - s->without_proof);
    wg_buf_printf(out, ",p=%s", proof64);
    if (out->failed)
      code = wg_error_set(err, WG_NOMEM, 0, "SCRAM: out of memory");
    else
      s->state = WG_SCRAM_FINAL_SENT;
  }
  wg_wipe(stored_key, sizeof stored_key);
  wg_wipe(signature, sizeof signature);
  return code;
}

wg_code wg_scram_rounds(wg_scram *s, wg_buf *out, wg_error *err) {
  WG_ASSERT(s->state == WG_SCRAM_COMPUTING);
  bool ok = true;
  for (int n = 0; ok && s->mac && s->round < s->iterations; n++) {
    if (n == WG_SCRAM_ROUNDS) return WG_AGAIN;
    ok = EVP_MAC_update(s->mac, s->last, sizeof s->last) == 1 && round_end(s);
  }
  if (ok && s->mac) /* else they are the cache's */
    ok = hmac(s->salted, "Client Key", 10, s->client_key) &&
         hmac(s->salted, "Server Key", 10, s->server_key);
  wg_code code = ok ? prove(s, out, err) : crypto_failed(err, "SHA-256");
  rounds_drop(s);
  return code;
}

/* ---- messages ---- */

wg_code wg_scram_final(wg_scram *s, const char *server_first, size_t len, const wg_secret *password,
                       wg_buf *out, wg_error *err) {
  static const char which[] = "server-first";
  WG_ASSERT(s->state == WG_SCRAM_FIRST_SENT);
  if (len > WG_SCRAM_TEXT_MAX) return scram_malformed(err, which, "too long");
  if (memchr(server_first, '\0', len)) return scram_malformed(err, which, "a NUL byte");
  const char *at = server_first, *end = server_first + len;
  size_t nonce_len, salt64_len, iter_len;
  const char *nonce = scram_field(&at, end, 'r', &nonce_len);
  const char *salt64 = nonce ? scram_field(&at, end, 's', &salt64_len) : NULL;
  const char *iter = salt64 ? scram_field(&at, end, 'i', &iter_len) : NULL;
  if (!iter) return scram_malformed(err, which, "not of the form r=,s=,i=");

  size_t ours = strlen(s->nonce);
  if (nonce_len <= ours || memcmp(nonce, s->nonce, ours) != 0)
    return scram_malformed(err, which, "its nonce does not extend ours");
  for (size_t i = 0; i < nonce_len; i++)
    if (nonce[i] < 0x21 || nonce[i] > 0x7E)
      return scram_malformed(err, which, "its nonce is not printable");
  int salt_len = base64_decode(salt64, salt64_len, s->salt, sizeof s->salt);
  if (salt_len <= 0) return scram_malformed(err, which, "its salt is not base64");
  uint32_t iterations = 0;
  for (size_t i = 0; i < iter_len; i++) {
    if (iter[i] < '0' || iter[i] > '9' || iterations > WG_SCRAM_ITERATIONS_MAX)
      return scram_malformed(err, which, "its iteration count");
    iterations = iterations * 10 + (uint32_t)(iter[i] - '0');
  }
  if (iterations == 0 || iterations > WG_SCRAM_ITERATIONS_MAX)
    return wg_error_set(err, WG_PROTOCOL, 0, "SCRAM: %u iterations, outside 1..%d", iterations,
                        WG_SCRAM_ITERATIONS_MAX);

  s->salt_len = (size_t)salt_len;
  s->iterations = iterations;

  /* AuthMessage = client-first-bare "," server-first "," client-final-without-proof */
  char channel[128];
  cbind(s, channel);
  wg_buf_init(&s->auth, 4 * WG_SCRAM_TEXT_MAX);
  wg_buf_printf(&s->auth, "%s,", s->first_bare);
  wg_buf_put(&s->auth, server_first, len);
  s->without_proof = wg_buf_len(&s->auth) + 1;
  wg_buf_printf(&s->auth, ",c=%s,r=%.*s", channel, (int)nonce_len, nonce);
  wg_code code = WG_OK;
  if (s->auth.failed)
    code = wg_error_set(err, WG_NOMEM, 0, "SCRAM: out of memory");
  else if (!cache_get(s))
    code = rounds_begin(s, password, err);
  if (code != WG_OK) {
    rounds_drop(s);
    return code;
  }
  s->state = WG_SCRAM_COMPUTING;
  return wg_scram_rounds(s, out, err);
}

wg_code wg_scram_verify(wg_scram *s, const char *server_final, size_t len, wg_error *err) {
  static const char which[] = "server-final";
  WG_ASSERT(s->state == WG_SCRAM_FINAL_SENT);
  if (len > WG_SCRAM_TEXT_MAX) return scram_malformed(err, which, "too long");
  const char *at = server_final, *end = server_final + len;
  size_t n;
  const char *value = scram_field(&at, end, 'e', &n);
  if (value) {
    for (size_t i = 0; i < n; i++)
      if (value[i] < 0x20 || value[i] > 0x7E) return scram_malformed(err, which, "its error");
    return wg_error_set(err, WG_AUTH, 0, "SCRAM: the server reports '%.*s'", n > 100 ? 100 : (int)n,
                        value);
  }
  value = scram_field(&at, end, 'v', &n);
  uint8_t signature[32];
  if (!value || base64_decode(value, n, signature, sizeof signature) != 32)
    return scram_malformed(err, which, "no signature");
  if (CRYPTO_memcmp(signature, s->server_signature, sizeof signature) != 0) {
    wg_error_set(err, WG_AUTH, 0,
                 "SCRAM: the server's signature is wrong: it does not know the password");
    wg_error_hint(err, "something else than the declared database may be listening there");
    return WG_AUTH;
  }
  cache_put(s);
  s->state = WG_SCRAM_DONE;
  return WG_OK;
}

void wg_scram_wipe(wg_scram *s) {
  rounds_drop(s);
  wg_wipe(s, sizeof *s);
}

static bool md5_hex(const void *a, size_t a_len, const void *b, size_t b_len, char out[33]) {
  uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) && EVP_DigestUpdate(ctx, a, a_len) &&
            EVP_DigestUpdate(ctx, b, b_len) && EVP_DigestFinal_ex(ctx, digest, &n) && n == 16;
  EVP_MD_CTX_free(ctx);
  for (size_t i = 0; ok && i < 16; i++) {
    out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
    out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
  }
  out[32] = '\0';
  wg_wipe(digest, sizeof digest);
  return ok;
}

wg_code wg_pg_md5(const char *user, const wg_secret *password, const uint8_t salt[4], char out[36],
                  wg_error *err) {
  char inner[33], outer[33];
  const char *bytes = password->bytes ? password->bytes : "";
  bool ok = md5_hex(bytes, password->len, user, strlen(user), inner) &&
            md5_hex(inner, 32, salt, 4, outer);
  if (ok) {
    memcpy(out, "md5", 3);
    memcpy(out + 3, outer, 33);
  }
  wg_wipe(inner, sizeof inner);
  if (ok) return WG_OK;
  wg_error_set(err, WG_UNSUPPORTED, 0, "md5: the crypto library refuses MD5");
  wg_error_hint(err, "store the role's password as scram-sha-256");
  return WG_UNSUPPORTED;
}
