/* SPDX-License-Identifier: Apache-2.0 */
/* The signature of MariaDB's client_ed25519: Ed25519 (RFC 8032) whose secret is SHA-512 of the password
 * where the RFC has SHA-512 of a 32-byte seed. OpenSSL takes seeds only, so the curve is here. Nothing
 * branches on a secret, and no index depends on one.
 *
 * A field element is 16 limbs of 16 bits, little-endian, modulo 2^255 - 19; limbs may be out of range
 * (also negative) between two carries. A point is (X : Y : Z : T), x = X/Z, y = Y/Z, xy = T/Z. */
#include "db/wire/mysql.h"
#include <openssl/evp.h>
#include <string.h>

enum { LIMBS = 16 };
typedef int64_t element[LIMBS];
typedef struct point {
  element x, y, z, t;
} point;

static const element zero = {0}, one = {1};
/** 2d, d being the curve's constant. */
static const element two_d = {0xF159, 0x26B2, 0x9B94, 0xEBD6, 0xB156, 0x8283, 0x149A, 0x00E0,
                              0xD130, 0xEEF3, 0x80F2, 0x198E, 0xFCE7, 0x56DF, 0xD9DC, 0x2406};
/** The base point. */
static const element base_x = {0xD51A, 0x8F25, 0x2D60, 0xC956, 0xA7B2, 0x9525, 0xC760, 0x692C,
                               0xDC5C, 0xFDD6, 0xE231, 0xC0A4, 0x53FE, 0xCD6E, 0x36D3, 0x2169};
static const element base_y = {0x6658, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666,
                               0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666, 0x6666};
/** The order of the base point, little-endian. */
static const uint8_t order[32] = {0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7,
                                  0xA2, 0xDE, 0xF9, 0xDE, 0x14, 0,    0,    0,    0,    0,    0,
                                  0,    0,    0,    0,    0,    0,    0,    0,    0,    0x10};

/* ---- the field ---- */

/** Brings limbs back into 16 bits; what leaves the top comes back times 38. */
static void carry(element a) {
  for (size_t i = 0; i < LIMBS; i++) {
    int64_t over = a[i] >> 16; /* rounds down, also below 0 */
    a[i] -= over * 65536;
    if (i + 1 < LIMBS)
      a[i + 1] += over;
    else
      a[0] += 38 * over;
  }
}

static void add(element out, const element a, const element b) {
  for (size_t i = 0; i < LIMBS; i++) out[i] = a[i] + b[i];
}

static void subtract(element out, const element a, const element b) {
  for (size_t i = 0; i < LIMBS; i++) out[i] = a[i] - b[i];
}

static void multiply(element out, const element a, const element b) {
  int64_t wide[2 * LIMBS] = {0};
  for (size_t i = 0; i < LIMBS; i++)
    for (size_t k = 0; k < LIMBS; k++) wide[i + k] += a[i] * b[k];
  for (size_t i = 0; i < LIMBS; i++) out[i] = wide[i] + 38 * wide[i + LIMBS];
  carry(out);
  carry(out);
}

/** a to the power p - 2. */
static void invert(element out, const element a) {
  element r;
  memcpy(r, a, sizeof r);
  for (int bit = 253; bit >= 0; bit--) {
    multiply(r, r, r);
    if (bit != 2 && bit != 4) multiply(r, r, a); /* the only zeros of p - 2 */
  }
  memcpy(out, r, sizeof r);
}

/** Exchanges a and b when `swap` is 1. */
static void exchange(element a, element b, int64_t swap) {
  int64_t mask = -swap;
  for (size_t i = 0; i < LIMBS; i++) {
    int64_t differ = mask & (a[i] ^ b[i]);
    a[i] ^= differ;
    b[i] ^= differ;
  }
}

/** The one representative below p, little-endian. */
static void pack(uint8_t out[32], const element a) {
  element r, less;
  memcpy(r, a, sizeof r);
  for (int i = 0; i < 3; i++) carry(r);
  for (int i = 0; i < 2; i++) { /* minus p, unless that is below 0 */
    less[0] = r[0] - 0xFFED;
    for (size_t k = 1; k < LIMBS; k++) {
      int64_t top = k == LIMBS - 1 ? 0x7FFF : 0xFFFF;
      less[k] = r[k] - top - (less[k - 1] >> 16 & 1);
      less[k - 1] &= 0xFFFF;
    }
    int64_t below = less[LIMBS - 1] >> 16 & 1;
    less[LIMBS - 1] &= 0xFFFF;
    exchange(r, less, 1 - below);
  }
  for (size_t i = 0; i < LIMBS; i++) {
    out[2 * i] = (uint8_t)r[i];
    out[2 * i + 1] = (uint8_t)(r[i] >> 8);
  }
}

/* ---- the curve ---- */

static void point_add(point *p, const point *q) {
  element a, b, c, d, e, f, g, h;
  subtract(a, p->y, p->x);
  subtract(e, q->y, q->x);
  multiply(a, a, e);
  add(b, p->x, p->y);
  add(e, q->x, q->y);
  multiply(b, b, e);
  multiply(c, p->t, q->t);
  multiply(c, c, two_d);
  multiply(d, p->z, q->z);
  add(d, d, d);
  subtract(e, b, a);
  subtract(f, d, c);
  add(g, d, c);
  add(h, b, a);
  multiply(p->x, e, f);
  multiply(p->y, h, g);
  multiply(p->z, g, f);
  multiply(p->t, e, h);
}

static void point_exchange(point *a, point *b, int64_t swap) {
  exchange(a->x, b->x, swap);
  exchange(a->y, b->y, swap);
  exchange(a->z, b->z, swap);
  exchange(a->t, b->t, swap);
}

/** The base point, `scalar` times, as the RFC writes points. */
static void point_of(uint8_t out[32], const uint8_t scalar[32]) {
  point r = {.x = {0}}, b;
  memcpy(r.y, one, sizeof r.y);
  memcpy(r.z, one, sizeof r.z);
  memcpy(r.t, zero, sizeof r.t);
  memcpy(b.x, base_x, sizeof b.x);
  memcpy(b.y, base_y, sizeof b.y);
  memcpy(b.z, one, sizeof b.z);
  multiply(b.t, base_x, base_y);
  for (int bit = 255; bit >= 0; bit--) {
    int64_t set = scalar[bit / 8] >> (bit & 7) & 1;
    point_exchange(&r, &b, set);
    point_add(&b, &r);
    point twice = r;
    point_add(&r, &twice);
    point_exchange(&r, &b, set);
  }
  element inverse, x, y;
  uint8_t sign[32];
  invert(inverse, r.z);
  multiply(x, r.x, inverse);
  multiply(y, r.y, inverse);
  pack(out, y);
  pack(sign, x);
  out[31] ^= (uint8_t)(sign[0] << 7 & 0x80);
  wg_wipe(&r, sizeof r);
  wg_wipe(&b, sizeof b);
}

/* ---- numbers modulo the order ---- */

/** Reduces 64 digits of base 256, each of which may be larger, to 32 bytes. */
static void reduce(uint8_t out[32], int64_t x[64]) {
  /* 16 times the order is 2^256 plus 16 times its low half: so the digits above vanish, the highest
   * first, when that is taken off. */
  for (size_t i = 63; i >= 32; i--) {
    int64_t over = 0;
    size_t k;
    for (k = i - 32; k < i - 12; k++) {
      x[k] += over - 16 * x[i] * order[k - (i - 32)];
      over = (x[k] + 128) >> 8;
      x[k] -= over * 256;
    }
    x[k] += over;
    x[i] = 0;
  }
  int64_t over = 0;
  for (size_t i = 0; i < 32; i++) {
    x[i] += over - (x[31] >> 4) * order[i];
    over = x[i] >> 8;
    x[i] &= 255;
  }
  for (size_t i = 0; i < 32; i++) x[i] -= over * order[i];
  for (size_t i = 0; i < 32; i++) {
    x[i + 1] += x[i] >> 8;
    out[i] = (uint8_t)x[i];
  }
}

static void reduce_hash(uint8_t out[32], const uint8_t hash[64]) {
  int64_t x[64];
  for (size_t i = 0; i < 64; i++) x[i] = hash[i];
  reduce(out, x);
}

/* ---- the signature ---- */

static bool sha512(const void *a, size_t a_len, const void *b, size_t b_len, const void *c,
                   size_t c_len, uint8_t out[64]) {
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha512(), NULL) == 1 &&
            EVP_DigestUpdate(ctx, a, a_len) == 1 && EVP_DigestUpdate(ctx, b, b_len) == 1 &&
            EVP_DigestUpdate(ctx, c, c_len) == 1 && EVP_DigestFinal_ex(ctx, out, NULL) == 1;
  EVP_MD_CTX_free(ctx);
  return ok;
}

bool my_ed25519(const wg_secret *password, const uint8_t nonce[32], uint8_t out[64]) {
  uint8_t secret[64] = {0}, hash[64], random[32], key[32], challenge[32];
  int64_t sum[64] = {0};
  bool ok = sha512(password->bytes, password->len, "", 0, "", 0, secret);
  secret[0] &= 248;
  secret[31] = (secret[31] & 63) | 64;
  ok = ok && sha512(secret + 32, 32, nonce, 32, "", 0, hash);
  if (ok) {
    reduce_hash(random, hash);
    point_of(key, secret);
    point_of(out, random);
    ok = sha512(out, 32, key, 32, nonce, 32, hash);
  }
  if (ok) {
    reduce_hash(challenge, hash);
    for (size_t i = 0; i < 32; i++) sum[i] = random[i];
    for (size_t i = 0; i < 32; i++)
      for (size_t k = 0; k < 32; k++) sum[i + k] += (int64_t)challenge[i] * secret[k];
    reduce(out + 32, sum);
  }
  wg_wipe(secret, sizeof secret);
  wg_wipe(hash, sizeof hash);
  wg_wipe(random, sizeof random);
  wg_wipe(sum, sizeof sum);
  return ok;
}
