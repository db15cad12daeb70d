/* SPDX-License-Identifier: Apache-2.0 */
/** @file scram.h  The client of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) with the
 *  channel binding tls-server-end-point, and PostgreSQL's older md5 answer. Text in, text out. */
#pragma once
#include "base/buf.h"

enum {
  WG_SCRAM_NONCE_MAX = 64,
  WG_SCRAM_BINDING_MAX = 64,
  WG_SCRAM_TEXT_MAX = 1024,         /**< longest message of the server taken */
  WG_SCRAM_ITERATIONS_MAX = 1000000 /**< more would stop the worker for seconds */
};

/** What the client says of channel binding: the gs2-cbind-flag. */
typedef enum wg_scram_channel {
  WG_SCRAM_NO_BINDING,      /**< "n": the client has none */
  WG_SCRAM_BINDING_UNASKED, /**< "y": the client could; a server that could too sees that somebody
                                 has hidden it */
  WG_SCRAM_BOUND            /**< "p": SCRAM-SHA-256-PLUS, over `binding` */
} wg_scram_channel;

/** Zeroed, then `channel` and `binding` are set before the first message. */
typedef struct wg_scram {
  wg_scram_channel channel;
  uint8_t binding[WG_SCRAM_BINDING_MAX];
  uint8_t binding_len;
  char nonce[WG_SCRAM_NONCE_MAX + 1];   /**< ours; set before the first message in tests only */
  char first_bare[WG_SCRAM_NONCE_MAX + 300];
  uint8_t server_signature[32];
  enum { WG_SCRAM_NEW, WG_SCRAM_FIRST_SENT, WG_SCRAM_FINAL_SENT, WG_SCRAM_DONE } state;
} wg_scram;

/** Writes client-first-message with a fresh nonce (or the one that is set).
 *  @param user  "" for PostgreSQL, which takes the name from the start-up packet */
WG_MUSTCHECK wg_code wg_scram_first(wg_scram *s, const char *user, wg_buf *out, wg_error *err);
/** Takes server-first-message, writes client-final-message.
 *  @return WG_OK; WG_PROTOCOL (malformed, nonce not ours, too many iterations), WG_NOMEM, WG_IO
 *  (the crypto library failed) */
WG_MUSTCHECK wg_code wg_scram_final(wg_scram *s, const char *server_first, size_t len,
                                    const wg_secret *password, wg_buf *out, wg_error *err);
/** Takes server-final-message and checks that the server knows the password too.
 *  @return WG_OK; WG_AUTH (wrong signature, or an error that the server reports), WG_PROTOCOL */
WG_MUSTCHECK wg_code wg_scram_verify(wg_scram *s, const char *server_final, size_t len,
                                     wg_error *err);
/** Overwrites what is secret. */
void wg_scram_wipe(wg_scram *s);

/** "md5" and 32 hex digits: AuthenticationMD5Password's answer (protocol 3.0, section 55.2).
 *  @return WG_OK; WG_UNSUPPORTED where the crypto library has no MD5 */
WG_MUSTCHECK wg_code wg_pg_md5(const char *user, const wg_secret *password, const uint8_t salt[4],
                               char out[36], wg_error *err);
