/* SPDX-License-Identifier: Apache-2.0 */
/** @file scram.h  The client of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) with the
 *  channel binding tls-server-end-point, and PostgreSQL's older md5 answer. Text in, text out. */
#pragma once
#include "base/buf.h"
#include <pthread.h>

enum {
  WG_SCRAM_NONCE_MAX = 64,
  WG_SCRAM_BINDING_MAX = 64,
  WG_SCRAM_TEXT_MAX = 1024,         /**< longest message of the server taken */
  WG_SCRAM_SALT_MAX = 256,
  WG_SCRAM_ITERATIONS_MAX = 1000000, /**< a quarter of a second of one core */
  WG_SCRAM_ROUNDS = 4096 /**< computed in one go, about a millisecond: PostgreSQL's default count */
};

/** What the rounds came to, for the next log-in with the same password: the server's salt and count
 *  stay the same until the password changes. Any thread; has a lock of its own. */
typedef struct wg_scram_cache {
  pthread_mutex_t lock;
  uint8_t salt[WG_SCRAM_SALT_MAX];
  size_t salt_len;
  uint32_t iterations; /**< 0: nothing is kept */
  uint8_t client_key[32], server_key[32]; /**< as good as the password to whoever has them */
} wg_scram_cache;
void wg_scram_cache_init(wg_scram_cache *c);
/** Overwrites what is kept: the password is not to be kept any longer either. */
void wg_scram_cache_clear(wg_scram_cache *c);
void wg_scram_cache_release(wg_scram_cache *c);

/** What the client says of channel binding: the gs2-cbind-flag. */
typedef enum wg_scram_channel {
  WG_SCRAM_NO_BINDING, /**< "n": the client has none */
  WG_SCRAM_BINDING_UNASKED, /**< "y": the client could; a server that could too sees that somebody
                                 has hidden it */
  WG_SCRAM_BOUND /**< "p": SCRAM-SHA-256-PLUS, over `binding` */
} wg_scram_channel;

/** Zeroed, then `channel`, `binding` and `cache` are set before the first message; ends with
 *  wg_scram_wipe(). */
typedef struct wg_scram {
  wg_scram_channel channel;
  wg_scram_cache *cache; /**< of this password; borrowed; NULL: none */
  uint8_t binding[WG_SCRAM_BINDING_MAX];
  uint8_t binding_len;
  char nonce[WG_SCRAM_NONCE_MAX + 1]; /**< ours; set before the first message in tests only */
  char first_bare[WG_SCRAM_NONCE_MAX + 300];
  uint8_t salt[WG_SCRAM_SALT_MAX];
  size_t salt_len;
  uint32_t iterations, round; /**< asked for; done */
  struct evp_mac_ctx_st *mac; /**< ROUNDS: HMAC under the password */
  uint8_t last[32], salted[32]; /**< of the last round; of all of them */
  uint8_t client_key[32], server_key[32], server_signature[32];
  wg_buf auth; /**< ROUNDS: what the proof is over */
  size_t without_proof; /**< where client-final begins in it */
  enum {
    WG_SCRAM_NEW,
    WG_SCRAM_FIRST_SENT,
    WG_SCRAM_COMPUTING,
    WG_SCRAM_FINAL_SENT,
    WG_SCRAM_DONE
  } state;
} wg_scram;

/** Writes client-first-message with a fresh nonce (or the one that is set).
 *  @param user  "" for PostgreSQL, which takes the name from the start-up packet */
WG_MUSTCHECK wg_code wg_scram_first(wg_scram *s, const char *user, wg_buf *out, wg_error *err);
/** Takes server-first-message, writes client-final-message.
 *  @return WG_OK; WG_AGAIN (WG_SCRAM_ROUNDS are done, nothing is written yet: go on with
 *  wg_scram_rounds() when others had their turn); WG_PROTOCOL (malformed, nonce not ours, too many
 *  iterations), WG_NOMEM, WG_IO (the crypto library failed) */
WG_MUSTCHECK wg_code wg_scram_final(wg_scram *s, const char *server_first, size_t len,
                                    const wg_secret *password, wg_buf *out, wg_error *err);
/** Computes WG_SCRAM_ROUNDS more; after the last of them writes client-final-message.
 *  @return as wg_scram_final() */
WG_MUSTCHECK wg_code wg_scram_rounds(wg_scram *s, wg_buf *out, wg_error *err);
/** Takes server-final-message and checks that the server knows the password too. Then the cache gets
 *  what was computed: what anybody else made us compute is worth nothing.
 *  @return WG_OK; WG_AUTH (wrong signature, or an error that the server reports), WG_PROTOCOL */
WG_MUSTCHECK wg_code wg_scram_verify(wg_scram *s, const char *server_final, size_t len,
                                     wg_error *err);
/** Overwrites what is secret, and frees. */
void wg_scram_wipe(wg_scram *s);

/** "md5" and 32 hex digits: AuthenticationMD5Password's answer (protocol 3.0, section 55.2).
 *  @return WG_OK; WG_UNSUPPORTED where the crypto library has no MD5 */
WG_MUSTCHECK wg_code wg_pg_md5(const char *user, const wg_secret *password, const uint8_t salt[4],
                               char out[36], wg_error *err);
