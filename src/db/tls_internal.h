/* SPDX-License-Identifier: Apache-2.0 */
/** @file tls_internal.h  What the files of TLS share. */
#pragma once
#include "db/tls.h"
#include <openssl/ssl.h>
#include <stdatomic.h>

struct wg_tls {
  atomic_uint refs;
  SSL_CTX *ctx;
  bool has_ca;        /* issuers of a file, not the system's */
  bool has_cert;      /* the host shows a certificate if asked */
  uint8_t digest[32]; /* SHA-256 over the files */
};

struct wg_tls_conn {
  wg_tls *tls; /* a reference */
  SSL *ssl;
  int fd; /* borrowed */
  wg_tls_mode mode;
  const char *name, *alpn; /* borrowed */
  wg_tls_cache *cache;     /* borrowed; NULL: none */
  bool up;                 /* the handshake is done */
  bool drained;            /* the socket had nothing more when last asked */
  size_t idle_bytes;       /* ciphertext read since the last byte for the application */
  bool eof;                /* the socket has ended */
  bool stalled;            /* OpenSSL writes nothing until it has read the rest of a message */
  bool over;               /* nothing more is to be read: ended, or failed by `read_sys` */
  int read_sys, write_sys; /* errno of what failed; 0: nothing did */
  wg_buf unsent;           /* ciphertext */
  wg_error why;            /* code WG_OK: nothing to say */
};

/** A verify callback of OpenSSL that keeps the first objection in the connection's `why`. */
int wg__tls_on_verify(int ok, X509_STORE_CTX *ctx);
/** Says what OpenSSL's queue of errors says; empties it. A text that `why` has wins. */
wg_code wg__tls_explain(wg_tls_conn *c, wg_error *err);
/** The reason of the first error in OpenSSL's queue, which is emptied; never NULL. */
const char *wg__tls_reason(void);
/** Sets what connections need of their context. */
void wg__tls_prepare(SSL_CTX *ctx);
