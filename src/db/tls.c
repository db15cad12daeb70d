/* SPDX-License-Identifier: Apache-2.0 */
#include "db/tls_internal.h"
#include "dns/name.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A connection:  opened --handshake--> up --end of stream | failure--> over (for reading)
 *
 * OpenSSL sits on a BIO of ours. Reading, it stops at the first short answer of the kernel, which
 * has drained the socket. Writing never blocks: what the kernel does not take goes into `unsent`,
 * so OpenSSL has no half-written record that would have to be repeated with the same bytes, and
 * its state never hangs between two calls. A failed write is remembered and shown by the next one,
 * because what the peer said before it went can still be read. */

/* ---- the BIO ---- */

static int bio_read(BIO *b, char *p, int cap) {
  wg_tls_conn *c = BIO_get_data(b);
  BIO_clear_retry_flags(b);
  if (c->drained) {
    BIO_set_retry_read(b);
    return -1;
  }
  ssize_t n;
  do n = recv(c->fd, p, (size_t)cap, 0);
  while (n < 0 && errno == EINTR);
  if (n < 0) {
    int sys = errno;
    c->drained = true;
    if (sys == EAGAIN || sys == EWOULDBLOCK)
      BIO_set_retry_read(b);
    else
      c->read_sys = sys;
    return -1;
  }
  if (n == 0) c->eof = true;
  if (n > 0 && n < cap) c->drained = true;
  c->idle_bytes += (size_t)n;
  if (c->idle_bytes > WG_TLS_IDLE_MAX) {
    c->read_sys = EPROTO;
    if (c->why.code == WG_OK)
      wg_error_set(&c->why, WG_PROTOCOL, 0,
                   "the server sent more than %d MiB and nothing for the application in it",
                   WG_TLS_IDLE_MAX >> 20);
    return -1;
  }
  return (int)n;
}

/** Gives the kernel what it takes of p.  @return bytes taken */
static size_t send_some(wg_tls_conn *c, const uint8_t *p, size_t n) {
  ssize_t done;
  do done = send(c->fd, p, n, MSG_NOSIGNAL);
  while (done < 0 && errno == EINTR);
  if (done >= 0) return (size_t)done;
  if (errno != EAGAIN && errno != EWOULDBLOCK) c->write_sys = errno;
  return 0;
}

static int bio_write(BIO *b, const char *p, int n) {
  wg_tls_conn *c = BIO_get_data(b);
  BIO_clear_retry_flags(b);
  if (n <= 0 || c->write_sys) return n;
  size_t len = (size_t)n, done = 0;
  if (wg_buf_len(&c->unsent) == 0) done = send_some(c, (const uint8_t *)p, len);
  if (c->write_sys || done == len) return n;
  wg_buf_put(&c->unsent, p + done, len - done);
  if (c->unsent.failed) c->write_sys = ENOBUFS;
  return n;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr) {
  (void)num, (void)ptr;
  const wg_tls_conn *c = BIO_get_data(b);
  if (cmd == BIO_CTRL_EOF) return c->eof;
  return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static BIO_METHOD *bio_method;
static void bio_method_make(void) {
  BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fd");
  if (m && BIO_meth_set_read(m, bio_read) && BIO_meth_set_write(m, bio_write) &&
      BIO_meth_set_ctrl(m, bio_ctrl))
    bio_method = m;
  else
    BIO_meth_free(m);
}

/** Made once, never freed: connections of any thread share it. */
static BIO_METHOD *bio_method_get(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, bio_method_make);
  return bio_method;
}

/* ---- resumption ---- */

void wg_tls_cache_init(wg_tls_cache *c) {
  c->session = NULL;
  c->name[0] = '\0';
  pthread_mutex_init(&c->lock, NULL);
}

static void cache_put(wg_tls_cache *c, SSL_SESSION *session, const char *name) {
  size_t n = strlen(name);
  pthread_mutex_lock(&c->lock);
  SSL_SESSION *old = c->session;
  c->session = session;
  if (n < sizeof c->name) memcpy(c->name, name, n + 1);
  pthread_mutex_unlock(&c->lock);
  SSL_SESSION_free(old);
}

void wg_tls_cache_release(wg_tls_cache *c) {
  SSL_SESSION_free(c->session);
  c->session = NULL;
  pthread_mutex_destroy(&c->lock);
}

/** At the end of a TLS 1.2 handshake, or when a ticket comes under TLS 1.3; keeps the session. */
static int on_new_session(SSL *ssl, SSL_SESSION *session) {
  wg_tls_conn *c = SSL_get_app_data(ssl);
  if (!c->cache || !SSL_SESSION_is_resumable(session) || strlen(c->name) >= sizeof c->cache->name)
    return 0;
  cache_put(c->cache, session, c->name);
  return 1;
}

/** A resumed session is not checked again, so its certificate must hold still. */
static bool may_resume(const SSL_SESSION *s) {
  time_t now = time(NULL), made = (time_t)SSL_SESSION_get_time(s);
  long life = SSL_SESSION_get_timeout(s);
  if (life > WG_TLS_RESUME_S) life = WG_TLS_RESUME_S;
  X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)s);
  return now >= made && now < made + life && peer &&
         X509_cmp_current_time(X509_get0_notAfter(peer)) > 0;
}

static void resume(wg_tls_conn *c) {
  if (!c->cache) return;
  pthread_mutex_lock(&c->cache->lock);
  SSL_SESSION *s = strcmp(c->cache->name, c->name) == 0 ? c->cache->session : NULL;
  if (s) SSL_SESSION_up_ref(s);
  pthread_mutex_unlock(&c->cache->lock);
  if (s && may_resume(s)) (void)SSL_set_session(c->ssl, s); /* a failure is a full handshake */
  SSL_SESSION_free(s);
}

/* ---- life ---- */

static bool set_alpn(wg_tls_conn *c) {
  uint8_t wire[64];
  size_t n = c->alpn ? strlen(c->alpn) : 0;
  if (n == 0) return true;
  WG_ASSERT(n < sizeof wire);
  wire[0] = (uint8_t)n;
  memcpy(wire + 1, c->alpn, n);
  return SSL_set_alpn_protos(c->ssl, wire, (unsigned)n + 1) == 0; /* 0: success */
}

/** Name for the server to choose its certificate by, and what of that is checked. */
static bool set_verify(wg_tls_conn *c) {
  wg_dns_addr ip;
  char name[256];
  size_t n = strlen(c->name);
  bool is_ip = wg_dns_literal(c->name, n, &ip);
  if (n > 1 && c->name[n - 1] == '.') n--; /* neither SNI (RFC 6066) nor certificates have it */
  if (n >= sizeof name) return false;
  memcpy(name, c->name, n);
  name[n] = '\0';
  if (!is_ip && SSL_set_tlsext_host_name(c->ssl, name) != 1) return false;
  bool chain = c->mode >= WG_TLS_VERIFY_CA || (c->mode == WG_TLS_REQUIRE && c->tls->has_ca);
  if (!chain) {
    SSL_set_verify(c->ssl, SSL_VERIFY_NONE, NULL);
    return true;
  }
  SSL_set_verify(c->ssl, SSL_VERIFY_PEER, wg__tls_on_verify);
  if (c->mode != WG_TLS_VERIFY_FULL) return true;
  X509_VERIFY_PARAM *param = SSL_get0_param(c->ssl);
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1
               : X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

wg_code wg_tls_open(wg_tls *tls, int fd, wg_tls_mode mode, const char *name, const char *alpn,
                    wg_tls_cache *cache, wg_tls_conn **out, wg_error *err) {
  WG_ASSERT(mode >= WG_TLS_ALLOW);
  ERR_clear_error();
  wg_tls_conn *c = calloc(1, sizeof *c);
  if (!c) return wg_error_set(err, WG_NOMEM, 0, "TLS: out of memory");
  c->tls = wg_tls_ref(tls);
  c->fd = fd;
  c->mode = mode;
  c->name = name;
  c->alpn = alpn;
  c->cache = cache;
  c->drained = true; /* the watch will say when not */
  c->why.code = WG_OK;
  wg_buf_init(&c->unsent, WG_TLS_UNSENT_MAX);
  BIO *bio = bio_method_get() ? BIO_new(bio_method) : NULL;
  c->ssl = bio ? SSL_new(tls->ctx) : NULL;
  if (!c->ssl) {
    BIO_free(bio);
    wg_tls_close(c);
    return wg_error_set(err, WG_NOMEM, 0, "TLS: out of memory");
  }
  BIO_set_data(bio, c);
  BIO_set_init(bio, 1);
  SSL_set_bio(c->ssl, bio, bio);
  SSL_set_app_data(c->ssl, c);
  SSL_set_connect_state(c->ssl);
  if (!set_alpn(c) || !set_verify(c)) {
    wg_tls_close(c);
    return wg_error_set(err, WG_INVALID, 0, "TLS: '%.100s' cannot be checked: %s", name,
                        wg__tls_reason());
  }
  resume(c);
  *out = c;
  return WG_OK;
}

void wg_tls_close(wg_tls_conn *c) {
  if (!c) return;
  ERR_clear_error();
  if (c->ssl) {
    if (c->up && !c->read_sys && !c->write_sys && !wg_buf_len(&c->unsent)) {
      (void)SSL_shutdown(c->ssl);
    } else if (c->up) {
      SSL_set_quiet_shutdown(c->ssl, 1);
      (void)SSL_shutdown(c->ssl); /* else OpenSSL takes the session for a broken one */
    }
    SSL_free(c->ssl);
  }
  ERR_clear_error();
  wg_tls_free(c->tls);
  wg_buf_release(&c->unsent);
  free(c);
}

/* ---- the handshake ---- */

void wg_tls_forget(wg_tls_conn *c) {
  if (c->cache) cache_put(c->cache, NULL, "");
}

static wg_tls_step handshake_failed(wg_tls_conn *c, wg_error *err) {
  wg_tls_forget(c);
  wg__tls_explain(c, err);
  return WG_TLS_FAILED;
}

wg_tls_step wg_tls_handshake(wg_tls_conn *c, wg_error *err) {
  ERR_clear_error();
  int rc = SSL_do_handshake(c->ssl);
  if (rc != 1) {
    if (SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ && !c->write_sys) return WG_TLS_MORE;
    return handshake_failed(c, err);
  }
  const unsigned char *chosen;
  unsigned len;
  SSL_get0_alpn_selected(c->ssl, &chosen, &len);
  if (len && (!c->alpn || strlen(c->alpn) != len || memcmp(c->alpn, chosen, len) != 0)) {
    wg_error_set(&c->why, WG_PROTOCOL, 0,
                 "the server chose an application protocol that was not "
                 "offered");
    return handshake_failed(c, err);
  }
  c->up = true;
  return WG_TLS_DONE;
}

bool wg_tls_alpn_chosen(const wg_tls_conn *c) {
  const unsigned char *chosen;
  unsigned len;
  SSL_get0_alpn_selected(c->ssl, &chosen, &len);
  return len != 0;
}

/* ---- bytes ---- */

void wg_tls_readable(wg_tls_conn *c) { c->drained = c->stalled = false; }

void wg_tls_flush(wg_tls_conn *c) {
  size_t n = wg_buf_len(&c->unsent);
  if (n == 0 || c->write_sys) return;
  wg_buf_consume(&c->unsent, send_some(c, wg_buf_head(&c->unsent), n));
}

size_t wg_tls_unsent(const wg_tls_conn *c) { return c->write_sys ? 0 : wg_buf_len(&c->unsent); }

unsigned wg_tls_waits(const wg_tls_conn *c) {
  if (c->write_sys) return 0;
  if (wg_buf_len(&c->unsent)) return WG_WATCH_WRITE;
  return c->stalled ? WG_WATCH_READ : 0;
}

/** A read gave nothing.  @return true when it only has to wait */
static bool read_stopped(wg_tls_conn *c, int rc) {
  int what = SSL_get_error(c->ssl, rc);
  if (what == SSL_ERROR_WANT_READ) return true;
  c->over = true;
  if (what == SSL_ERROR_ZERO_RETURN || c->read_sys) return false;
  wg_error err;
  if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ||
      (what == SSL_ERROR_SYSCALL && c->eof)) {
    ERR_clear_error(); /* the protocol above knows whether it was in the middle of something */
    return false;
  }
  wg__tls_explain(c, &err);
  c->why = err;
  c->read_sys = EPROTO;
  return false;
}

ssize_t wg_tls_read(wg_tls_conn *c, uint8_t *p, size_t cap, bool *readable) {
  size_t got = 0;
  if (!c->over) ERR_clear_error();
  while (got < cap && !c->over) {
    size_t n;
    int rc = SSL_read_ex(c->ssl, p + got, cap - got, &n);
    if (rc == 1) {
      got += n;
      c->idle_bytes = 0;
      if (!c->drained || SSL_has_pending(c->ssl)) continue;
      *readable = false;
      return (ssize_t)got;
    }
    if (!read_stopped(c, rc)) break;
    *readable = false;
    return got ? (ssize_t)got : -EAGAIN;
  }
  *readable = true; /* more of it, or the end */
  return got ? (ssize_t)got : -(ssize_t)c->read_sys;
}

ssize_t wg_tls_write(wg_tls_conn *c, const uint8_t *p, size_t n, bool *blocked) {
  size_t done = 0;
  ERR_clear_error();
  wg_tls_flush(c);
  c->stalled = false;
  while (done < n && !c->write_sys && wg_buf_len(&c->unsent) == 0) {
    size_t k;
    int rc = SSL_write_ex(c->ssl, p + done, n - done, &k);
    if (rc == 1) {
      done += k;
      continue;
    }
    c->stalled = SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ;
    if (!c->stalled) c->write_sys = EPROTO; /* the other side ended with an alert: reading tells */
    ERR_clear_error();
    break;
  }
  *blocked = wg_tls_waits(c) != 0;
  if (c->write_sys) return -(ssize_t)c->write_sys;
  return done || n == 0 ? (ssize_t)done : -EAGAIN;
}

bool wg_tls_silent(wg_tls_conn *c) {
  uint8_t byte;
  size_t n;
  if (c->over || c->write_sys) return false;
  ERR_clear_error();
  c->drained = false;
  int rc = SSL_peek_ex(c->ssl, &byte, 1, &n);
  if (rc == 1) c->idle_bytes = 0;
  return rc != 1 && read_stopped(c, rc);
}

const wg_error *wg_tls_why(const wg_tls_conn *c) { return c->why.code == WG_OK ? NULL : &c->why; }

/* ---- what was agreed on ---- */

size_t wg_tls_binding_data(const wg_tls_conn *c, uint8_t out[64]) {
  X509 *x = SSL_get0_peer_certificate(c->ssl);
  int nid = NID_undef;
  unsigned len = 0;
  if (!x || X509_get_signature_info(x, &nid, NULL, NULL, NULL) != 1 || nid == NID_undef) return 0;
  if (nid == NID_md5 || nid == NID_sha1) nid = NID_sha256; /* RFC 5929, section 4.1 */
  const EVP_MD *md = EVP_get_digestbynid(nid);
  uint8_t digest[EVP_MAX_MD_SIZE];
  if (!md || X509_digest(x, md, digest, &len) != 1 || len > 64) {
    ERR_clear_error();
    return 0;
  }
  memcpy(out, digest, len);
  return len;
}

const char *wg_tls_version_name(const wg_tls_conn *c) { return SSL_get_version(c->ssl); }
const char *wg_tls_cipher_name(const wg_tls_conn *c) { return SSL_get_cipher_name(c->ssl); }
bool wg_tls_resumed(const wg_tls_conn *c) { return SSL_session_reused(c->ssl) == 1; }

void wg__tls_prepare(SSL_CTX *ctx) {
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(ctx, 1);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(ctx, on_new_session);
}
