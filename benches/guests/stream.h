/* SPDX-License-Identifier: Apache-2.0 */
/** @file stream.h  One connection to the database at a time, for programs that need no more. Compiled
 *  with WITH_TLS (native peers only: a guest's host speaks TLS for it), and where DB_TLS_CA names the
 *  authority, secure() checks certificate and DB_TLS_NAME and encrypts from there on. */
#pragma once
#include "sock.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

static int stream_fd = -1;

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL *tls;

static int secured(void) { return getenv("DB_TLS_CA") != NULL; }

static void secure(void) {
  static SSL_CTX *all;
  if (all == NULL) {
    all = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(all, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_file(all, getenv("DB_TLS_CA")) != 1) fail("TLS", "no DB_TLS_CA");
  }
  tls = SSL_new(all);
  if (SSL_set1_host(tls, getenv("DB_TLS_NAME")) != 1 || SSL_set_fd(tls, stream_fd) != 1 ||
      SSL_connect(tls) != 1)
    fail("TLS", ERR_error_string(ERR_get_error(), NULL));
}

static ssize_t put(const void *p, size_t len) {
  return tls != NULL ? SSL_write(tls, p, (int)len) : send(stream_fd, p, len, 0);
}
static ssize_t take(void *p, size_t cap) {
  return tls != NULL ? SSL_read(tls, p, (int)cap) : recv(stream_fd, p, cap, 0);
}
static void unsecure(void) {
  if (tls == NULL) return;
  SSL_shutdown(tls);
  SSL_free(tls);
  tls = NULL;
}
#else
static int secured(void) { return 0; }
static void secure(void) {}
static ssize_t put(const void *p, size_t len) { return send(stream_fd, p, len, 0); }
static ssize_t take(void *p, size_t cap) { return recv(stream_fd, p, cap, 0); }
static void unsecure(void) {}
#endif

static void stream_open(void) {
  int one = 1;
  stream_fd = socket(place->ai_family, SOCK_STREAM, 0);
  if (stream_fd < 0) fail("socket", strerror(errno));
  if (connect(stream_fd, place->ai_addr, place->ai_addrlen) != 0) fail("connect", strerror(errno));
  (void)setsockopt(stream_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void stream_close(void) {
  unsecure();
  close(stream_fd);
}

static void stream_send(const void *bytes, size_t len) {
  for (const char *p = bytes; len > 0;) {
    ssize_t n = put(p, len);
    if (n <= 0) fail("send", strerror(errno));
    p += n;
    len -= (size_t)n;
  }
}

/* @return bytes, at least one */
static size_t stream_recv(void *p, size_t cap) {
  ssize_t n = take(p, cap);
  if (n <= 0) fail("recv", n == 0 ? "the connection ended" : strerror(errno));
  return (size_t)n;
}
