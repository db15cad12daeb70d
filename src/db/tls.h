/* SPDX-License-Identifier: Apache-2.0 */
/** @file tls.h  TLS over a non-blocking fd that belongs to somebody else, by OpenSSL.
 *
 *    wg_tls        the settings of a database and its files, loaded once; immutable, any thread
 *    wg_tls_cache  what one pool has learned to resume; has a lock of its own
 *    wg_tls_conn   one connection; belongs to one thread at a time, to no special one
 *
 *  A connection keeps the edge-triggered contract of net/watch.h in both directions: it asks the
 *  kernel only for what may be there, and says what is left in its own buffers. A record that the
 *  kernel does not take whole stays here and goes out with wg_tls_flush(), so that bytes once
 *  taken are never asked for again. */
#pragma once
#include "base/buf.h"
#include "config/config.h"
#include "net/watch.h"
#include <pthread.h>
#include <sys/socket.h>
#include <sys/types.h>

enum {
  WG_TLS_FILE_MAX = 4 << 20,      /**< bytes of a PEM file */
  WG_TLS_UNSENT_MAX = 256 * 1024, /**< ciphertext that waits for the kernel: one record, or a flight
                                       of the handshake */
  /** Bytes of TLS itself (tickets) between two for the application: more might never come to an end,
   *  and keep the worker busy. */
  WG_TLS_IDLE_MAX = 1 << 20,
  WG_TLS_RESUME_S = 3600 /**< longest that a session is resumed */
};

typedef struct wg_tls wg_tls;
typedef struct wg_tls_conn wg_tls_conn;

/* ---- settings ---- */

/** Loads what the settings name.
 *  @param key  gets the key of warp.toml that a failure is about ("tls_ca"); may be NULL
 *  @return WG_OK; WG_CONFIG (a file is missing, not PEM, not fitting, open to others), WG_NOMEM,
 *          WG_UNSUPPORTED (the crypto library refuses) */
WG_MUSTCHECK wg_code wg_tls_new(const wg_tls_config *config, wg_tls **out, const char **key,
                                wg_error *err);
wg_tls *wg_tls_ref(wg_tls *tls);
/** NULL is fine. */
void wg_tls_free(wg_tls *tls);
/** True when both mean the same, down to the contents of the files where they were read. */
bool wg_tls_same(const wg_tls_config *a, const wg_tls_config *b);

/** The mode for a server at this address: what WG_TLS_AUTO stands for there. Never WG_TLS_AUTO;
 *  a Unix socket has none. */
wg_tls_mode wg_tls_mode_for(const wg_tls_config *config, const struct sockaddr_storage *address);
/** The name or address that the server's certificate must be for: `tls_server_name`, else what is
 *  dialled if that is a name, else `host`. Borrowed from either.
 *  @param dialled  name, address or folder of a socket */
const char *wg_tls_name_of(const wg_database_config *database, const char *dialled);

/* ---- resumption ---- */

typedef struct wg_tls_cache {
  pthread_mutex_t lock;
  struct ssl_session_st *session; /* of the last connection that may be resumed; NULL: none */
  char name[256]; /* whose certificate it was */
} wg_tls_cache;
void wg_tls_cache_init(wg_tls_cache *c);
void wg_tls_cache_release(wg_tls_cache *c);

/* ---- a connection ---- */

typedef enum wg_tls_step { WG_TLS_DONE, WG_TLS_MORE, WG_TLS_FAILED } wg_tls_step;

/** @param fd     borrowed; must outlive the connection
 *  @param mode   of wg_tls_mode_for(), WG_TLS_ALLOW or more
 *  @param name   of wg_tls_name_of(); borrowed, must outlive the connection
 *  @param alpn   the protocol's name; NULL: none is asked for
 *  @param cache  borrowed, must outlive the connection; NULL: nothing is resumed */
WG_MUSTCHECK wg_code wg_tls_open(wg_tls *tls, int fd, wg_tls_mode mode, const char *name,
                                 const char *alpn, wg_tls_cache *cache, wg_tls_conn **out,
                                 wg_error *err);
/** Tells the peer that this is the end, if that can be done without waiting, and frees. */
void wg_tls_close(wg_tls_conn *c);

/** Goes on with the handshake. On MORE wait to read, and to write while wg_tls_unsent().
 *  @return FAILED with WG_AUTH (certificate), WG_PROTOCOL, WG_LOST, WG_UNSUPPORTED, WG_NOMEM */
wg_tls_step wg_tls_handshake(wg_tls_conn *c, wg_error *err);

/** The watch said that the fd is readable. */
void wg_tls_readable(wg_tls_conn *c);
/** The watch said that the fd is writable: sends what is left. Failures show in the next write. */
void wg_tls_flush(wg_tls_conn *c);
/** Bytes that the kernel has not taken yet: it is asked again by wg_tls_flush(). */
size_t wg_tls_unsent(const wg_tls_conn *c);
/** What a write waits for: WG_WATCH_WRITE while something is unsent; WG_WATCH_READ while a message
 *  of TLS itself has come in part, which goes before all else; 0: nothing. */
unsigned wg_tls_waits(const wg_tls_conn *c);

/** @param readable  whether the next read may find something; kept
 *  @return bytes; 0 at the end of the stream, -EAGAIN, -EPROTO (wg_tls_why()), -errno */
ssize_t wg_tls_read(wg_tls_conn *c, uint8_t *p, size_t cap, bool *readable);
/** @param blocked  something is unsent or had to be left: wait for what wg_tls_waits() says
 *  @return bytes taken, for good; -EAGAIN, -errno */
ssize_t wg_tls_write(wg_tls_conn *c, const uint8_t *p, size_t n, bool *blocked);
/** True when the connection stands and has nothing for the application; session tickets are taken
 *  in. After true nothing is readable. */
bool wg_tls_silent(wg_tls_conn *c);
/** Why the last read failed, or NULL: *err is as for the handshake. */
const wg_error *wg_tls_why(const wg_tls_conn *c);

/** RFC 5929's tls-server-end-point: a hash of the server's certificate.
 *  @return its length; 0: this certificate has none */
size_t wg_tls_binding_data(const wg_tls_conn *c, uint8_t out[64]);
/** True when the server took the application protocol that was offered. */
bool wg_tls_alpn_chosen(const wg_tls_conn *c);
/** "TLSv1.3", "TLS_AES_256_GCM_SHA384", for logs. */
const char *wg_tls_version_name(const wg_tls_conn *c);
const char *wg_tls_cipher_name(const wg_tls_conn *c);
bool wg_tls_resumed(const wg_tls_conn *c);
/** The next connection with this cache begins afresh: what was resumed may be to blame for what came
 *  after the handshake. */
void wg_tls_forget(wg_tls_conn *c);
