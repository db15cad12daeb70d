/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/scram.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

/* NEW --client-first--> FIRST_SENT --server-first, client-final--> FINAL_SENT
 *                                                     --server-final checked--> DONE
 * Any failure ends the attempt; there is no way back. */

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
  return o;
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

static wg_code scram_prove(wg_scram *s, const wg_secret *password, const uint8_t *salt,
                           size_t salt_len, uint32_t iterations, const char *auth, size_t auth_len,
                           uint8_t proof[32], wg_error *err) {
  uint8_t salted[32], client_key[32], stored_key[32], signature[32], server_key[32];
  char *prepared = malloc(password->len + 1);
  if (!prepared) return wg_error_set(err, WG_NOMEM, 0, "SCRAM: out of memory");
  size_t n = saslprep(password->bytes, password->len, prepared);
  wg_code code = WG_OK;
  if (PKCS5_PBKDF2_HMAC(prepared, (int)n, salt, (int)salt_len, (int)iterations, EVP_sha256(), 32,
                        salted) != 1 ||
      !hmac(salted, "Client Key", 10, client_key) || !SHA256(client_key, 32, stored_key) ||
      !hmac(stored_key, auth, auth_len, signature) || !hmac(salted, "Server Key", 10, server_key) ||
      !hmac(server_key, auth, auth_len, s->server_signature)) {
    code = crypto_failed(err, "SHA-256");
  } else {
    for (size_t i = 0; i < 32; i++) proof[i] = client_key[i] ^ signature[i];
  }
  wg_wipe(prepared, password->len + 1);
  free(prepared);
  wg_wipe(salted, sizeof salted);
  wg_wipe(client_key, sizeof client_key);
  wg_wipe(stored_key, sizeof stored_key);
  wg_wipe(signature, sizeof signature);
  wg_wipe(server_key, sizeof server_key);
  return code;
}

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
  uint8_t salt[256];
  int salt_len = base64_decode(salt64, salt64_len, salt, sizeof salt);
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

  /* AuthMessage = client-first-bare "," server-first "," client-final-without-proof */
  char channel[128];
  cbind(s, channel);
  wg_buf auth;
  wg_buf_init(&auth, 4 * WG_SCRAM_TEXT_MAX);
  wg_buf_printf(&auth, "%s,", s->first_bare);
  wg_buf_put(&auth, server_first, len);
  size_t without_proof = wg_buf_len(&auth) + 1;
  wg_buf_printf(&auth, ",c=%s,r=%.*s", channel, (int)nonce_len, nonce);
  wg_code code;
  uint8_t proof[32];
  if (auth.failed)
    code = wg_error_set(err, WG_NOMEM, 0, "SCRAM: out of memory");
  else
    code = scram_prove(s, password, salt, (size_t)salt_len, iterations,
                       (const char *)wg_buf_head(&auth), wg_buf_len(&auth), proof, err);
  if (code == WG_OK) {
    char proof64[48];
    EVP_EncodeBlock((uint8_t *)proof64, proof, sizeof proof);
    wg_buf_put(out, wg_buf_head(&auth) + without_proof, wg_buf_len(&auth) - without_proof);
    wg_buf_printf(out, ",p=%s", proof64);
    s->state = WG_SCRAM_FINAL_SENT;
  }
  wg_buf_release(&auth);
  return code;
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
  s->state = WG_SCRAM_DONE;
  return WG_OK;
}

void wg_scram_wipe(wg_scram *s) { wg_wipe(s, sizeof *s); }

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
