/* SPDX-License-Identifier: Apache-2.0 */
/* One TLS connection against a server of OpenSSL's in the same thread: the test decides which bytes
 * arrive when, so nothing here waits or depends on time. */
#include "db/certs.h"
#include "db/tls.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

typedef struct peer {
  wg_tls_config config;
  const char *cert, *name;
  int version; /* 0: any */
  bool tickets, wants_cert;
  int small; /* SO_SNDBUF of the client; 0: the system's */
  wg_tls_mode mode;
  wg_tls_cache *cache;
  /* made */
  wg_tls *tls;
  SSL_CTX *ctx;
  SSL *ssl; /* the server's */
  int fd[2]; /* client's, server's */
  wg_tls_conn *c;
  bool readable, blocked;
} peer;

static void peer_init(peer *p) {
  *p = (peer){.cert = "server", .name = "db.example", .mode = WG_TLS_VERIFY_FULL};
  p->config.ca = certs_path("ca", "crt");
}

static void peer_open(peer *p) {
  static const uint8_t id[] = "test";
  wg_error err;
  if (wg_tls_new(&p->config, &p->tls, NULL, &err) != WG_OK) fail_msg("%s", err.msg);
  p->ctx = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_security_level(p->ctx, 0); /* old digests are wanted here */
  assert_int_equal(
      SSL_CTX_use_certificate_file(p->ctx, certs_path(p->cert, "crt"), SSL_FILETYPE_PEM), 1);
  assert_int_equal(
      SSL_CTX_use_PrivateKey_file(p->ctx, certs_path(p->cert, "key"), SSL_FILETYPE_PEM), 1);
  SSL_CTX_set_session_id_context(p->ctx, id, sizeof id);
  if (p->version) {
    SSL_CTX_set_min_proto_version(p->ctx, p->version);
    SSL_CTX_set_max_proto_version(p->ctx, p->version);
  }
  if (!p->tickets) {
    SSL_CTX_set_num_tickets(p->ctx, 0);
    SSL_CTX_set_options(p->ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(p->ctx, SSL_SESS_CACHE_OFF);
  }
  if (p->wants_cert) {
    assert_int_equal(SSL_CTX_load_verify_locations(p->ctx, certs_path("ca", "crt"), NULL), 1);
    SSL_CTX_set_verify(p->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  }
}

static void peer_connect(peer *p) {
  wg_error err;
  p->ssl = SSL_new(p->ctx);
  SSL_set_bio(p->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_accept_state(p->ssl);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p->fd), 0);
  if (p->small) setsockopt(p->fd[0], SOL_SOCKET, SO_SNDBUF, &p->small, sizeof p->small);
  p->readable = p->blocked = false;
  assert_int_equal(wg_tls_open(p->tls, p->fd[0], p->mode, p->name, "test", p->cache, &p->c, &err),
                   WG_OK);
}

static void peer_disconnect(peer *p) {
  wg_tls_close(p->c);
  p->c = NULL;
  SSL_free(p->ssl);
  p->ssl = NULL;
  close(p->fd[0]);
  if (p->fd[1] >= 0) close(p->fd[1]);
}

static void peer_release(peer *p) {
  SSL_CTX_free(p->ctx);
  wg_tls_free(p->tls);
}

/** Takes up to `most` bytes of the client's in.  @return how many came */
static size_t pull(peer *p, size_t most) {
  uint8_t b[65536];
  size_t all = 0;
  while (all < most) {
    ssize_t n = recv(p->fd[1], b, most - all < sizeof b ? most - all : sizeof b, 0);
    if (n <= 0) break;
    assert_int_equal(BIO_write(SSL_get_rbio(p->ssl), b, (int)n), n);
    all += (size_t)n;
  }
  return all;
}

/** Gives the client up to `most` bytes of what the server has to say, and tells it so. */
static size_t push(peer *p, size_t most) {
  uint8_t b[65536];
  size_t all = 0;
  while (all < most) {
    uint8_t *head;
    long n = BIO_get_mem_data(SSL_get_wbio(p->ssl), &head);
    if ((size_t)n > most - all) n = (long)(most - all);
    if (n > (long)sizeof b) n = sizeof b;
    if (n <= 0) break;
    ssize_t done = send(p->fd[1], head, (size_t)n, MSG_NOSIGNAL);
    if (done <= 0) break;
    assert_int_equal(BIO_read(SSL_get_wbio(p->ssl), b, (int)done), done);
    all += (size_t)done;
  }
  if (all) {
    p->readable = true;
    wg_tls_readable(p->c);
  }
  return all;
}

/** Both sides until the client is done, `step` bytes at a time. */
static wg_tls_step shake(peer *p, size_t step, wg_error *err) {
  for (int i = 0; i < 20000; i++) {
    wg_tls_step s = wg_tls_handshake(p->c, err);
    if (s != WG_TLS_MORE) {
      if (s == WG_TLS_DONE) {
        p->readable = true;
        while (pull(p, step)) SSL_do_handshake(p->ssl);
      }
      return s;
    }
    pull(p, step);
    wg_tls_flush(p->c);
    SSL_do_handshake(p->ssl);
    push(p, step);
  }
  fail_msg("the handshake does not end");
  return WG_TLS_FAILED;
}

static void peer_up(peer *p) {
  wg_error err;
  peer_connect(p);
  if (shake(p, SIZE_MAX, &err) != WG_TLS_DONE) fail_msg("%s", err.msg);
  while (p->readable) { /* what came behind the handshake */
    uint8_t b[16];
    push(p, SIZE_MAX);
    assert_int_equal(wg_tls_read(p->c, b, sizeof b, &p->readable), -EAGAIN);
  }
}

static void server_says(peer *p, const void *data, size_t n) {
  size_t done;
  assert_int_equal(SSL_write_ex(p->ssl, data, n, &done), 1);
  assert_int_equal(done, n);
}

static void server_hears(peer *p, const void *data, size_t n) {
  uint8_t *got = malloc(n + 1);
  size_t have = 0;
  pull(p, SIZE_MAX);
  while (have < n) {
    size_t k;
    if (SSL_read_ex(p->ssl, got + have, n - have, &k) != 1) break;
    have += k;
  }
  assert_int_equal(have, n);
  assert_memory_equal(got, data, n);
  free(got);
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
static const char *const version_names[] = {"TLSv1.2", "TLSv1.3"};

/* Every byte of a handshake in a packet of its own, in both directions. */
static void test_handshake_in_pieces(void **state) {
  (void)state;
  const size_t steps[] = {1, 7, 1000, SIZE_MAX};
  for (size_t v = 0; v < 2; v++)
    for (size_t i = 0; i < WG_COUNT(steps); i++) {
      peer p;
      wg_error err;
      peer_init(&p);
      p.version = versions[v];
      peer_open(&p);
      peer_connect(&p);
      if (shake(&p, steps[i], &err) != WG_TLS_DONE) fail_msg("%s", err.msg);
      assert_string_equal(wg_tls_version_name(p.c), version_names[v]);
      assert_false(wg_tls_alpn_chosen(p.c));
      assert_int_equal(wg_tls_write(p.c, (const uint8_t *)"hello", 5, &p.blocked), 5);
      assert_false(p.blocked);
      server_hears(&p, "hello", 5);
      peer_disconnect(&p);
      peer_release(&p);
    }
}

/* The host's certificate with a long chain does not fit into the socket's buffer. */
static void test_handshake_waits_to_write(void **state) {
  (void)state;
  char chain[65536];
  size_t n = 0;
  for (int i = 0; i < 40; i++) {
    FILE *f = fopen(certs_path(i ? "ca" : "client", "crt"), "r");
    n += fread(chain + n, 1, sizeof chain - 1 - n, f);
    fclose(f);
  }
  chain[n] = '\0';
  certs_write("chain", "crt", chain, 0644);
  for (size_t v = 0; v < 2; v++) {
    peer p;
    wg_error err;
    peer_init(&p);
    p.version = versions[v];
    p.wants_cert = true;
    p.small = 1;
    p.config.cert = certs_path("chain", "crt");
    p.config.key = certs_path("client", "key");
    peer_open(&p);
    peer_connect(&p);
    size_t most = 0;
    bool more = true;
    for (int i = 0; more && i < 1000; i++) {
      wg_tls_step s = wg_tls_handshake(p.c, &err);
      if (wg_tls_unsent(p.c) > most) most = wg_tls_unsent(p.c);
      assert_int_not_equal(s, WG_TLS_FAILED);
      pull(&p, 2000);
      wg_tls_flush(p.c);
      SSL_do_handshake(p.ssl);
      push(&p, SIZE_MAX);
      more = s == WG_TLS_MORE || wg_tls_unsent(p.c) || !SSL_is_init_finished(p.ssl);
    }
    assert_false(more);
    assert_true(most > 1000);
    assert_non_null(SSL_get0_peer_certificate(p.ssl));
    peer_disconnect(&p);
    peer_release(&p);
  }
}

/* A write that the kernel cuts short says what it took; whoever then sends something else has not
 * broken anything, and all of what was taken arrives once and in order. */
static void test_short_writes(void **state) {
  (void)state;
  uint8_t *data = malloc(MIB), *got = malloc(MIB);
  for (size_t i = 0; i < MIB; i++) data[i] = (uint8_t)(i * 7 + i / 251);
  for (size_t v = 0; v < 2; v++) {
    peer p;
    size_t sent = 0, heard = 0;
    unsigned full = 0, cut = 0;
    peer_init(&p);
    p.version = versions[v];
    p.small = 4096;
    peer_open(&p);
    peer_up(&p);
    while (heard < MIB) {
      size_t want = MIB - sent > 100000 ? 100000 - full % 1000 : MIB - sent;
      ssize_t n = want ? wg_tls_write(p.c, data + sent, want, &p.blocked) : 0;
      if (n == -EAGAIN) {
        assert_true(p.blocked && wg_tls_unsent(p.c));
        full++;
      } else {
        assert_true(n >= 0);
        if (want) assert_int_equal(p.blocked, wg_tls_unsent(p.c) != 0);
        cut += (size_t)n < want;
        sent += (size_t)n;
      }
      pull(&p, 3000);
      for (size_t k; heard < MIB && SSL_read_ex(p.ssl, got + heard, MIB - heard, &k) == 1;)
        heard += k;
      wg_tls_flush(p.c);
    }
    assert_int_equal(sent, MIB);
    assert_true(full > 10 && cut > 10);
    assert_memory_equal(got, data, MIB);
    peer_disconnect(&p);
    peer_release(&p);
  }
  free(data);
  free(got);
}

/* 1 MiB in records of all sizes, in packets that end anywhere: nothing waits in OpenSSL's buffers
 * once `readable` is false, or the loop would stand still. */
static void test_partial_records(void **state) {
  (void)state;
  uint8_t *data = malloc(MIB), *got = malloc(MIB);
  for (size_t i = 0; i < MIB; i++) data[i] = (uint8_t)(i * 13 + i / 509);
  const size_t packets[] = {1500, 4999, 16384, 60000}, caps[] = {10, 4096, 65536, MIB};
  for (size_t k = 0; k < WG_COUNT(packets); k++) {
    peer p;
    peer_init(&p);
    p.version = versions[k % 2];
    peer_open(&p);
    peer_up(&p);
    for (size_t at = 0, n = 1; at < MIB; at += n, n = n * 5 % 40009 + 1) {
      if (n > MIB - at) n = MIB - at;
      for (size_t part = 0; part < n;) {
        size_t some = n - part > 16384 ? 16384 : n - part;
        server_says(&p, data + at + part, some);
        part += some;
      }
    }
    size_t have = 0, whole = 0;
    while (push(&p, packets[k])) {
      whole++;
      for (int i = 0; p.readable; i++) {
        size_t cap = caps[i % 4] < MIB - have ? caps[i % 4] : MIB - have;
        uint8_t end;
        ssize_t n = wg_tls_read(p.c, cap ? got + have : &end, cap ? cap : 1, &p.readable);
        if (n == -EAGAIN) break;
        assert_true(n > 0);
        have += (size_t)n;
      }
      assert_false(p.readable);
    }
    assert_int_equal(have, MIB);
    assert_true(whole > 10);
    assert_memory_equal(got, data, MIB);
    peer_disconnect(&p);
    peer_release(&p);
  }
  free(data);
  free(got);
}

/* The check of an idle connection takes tickets and new keys in, and takes nothing away. */
static void test_silent(void **state) {
  (void)state;
  peer p;
  uint8_t b[8];
  peer_init(&p);
  p.version = TLS1_3_VERSION;
  peer_open(&p);
  peer_up(&p);
  assert_true(wg_tls_silent(p.c));
  for (int i = 0; i < 3; i++) {
    assert_int_equal(SSL_new_session_ticket(p.ssl), 1);
    assert_int_equal(SSL_do_handshake(p.ssl), 1);
  }
  push(&p, 20); /* a part of one, too */
  assert_true(wg_tls_silent(p.c));
  push(&p, SIZE_MAX);
  assert_true(wg_tls_silent(p.c));
  assert_int_equal(SSL_key_update(p.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
  assert_int_equal(SSL_do_handshake(p.ssl), 1);
  push(&p, SIZE_MAX);
  assert_true(wg_tls_silent(p.c));
  assert_int_equal(wg_tls_write(p.c, (const uint8_t *)"ask", 3, &p.blocked), 3);
  server_hears(&p, "ask", 3);
  server_says(&p, "note", 4);
  push(&p, SIZE_MAX);
  assert_false(wg_tls_silent(p.c));
  assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), 4);
  assert_false(p.readable);
  assert_true(wg_tls_silent(p.c));
  SSL_shutdown(p.ssl);
  push(&p, SIZE_MAX);
  assert_false(wg_tls_silent(p.c));
  assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), 0);
  assert_true(p.readable); /* the end stays */
  assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), 0);
  peer_disconnect(&p);
  peer_connect(&p); /* and the end of the socket alone */
  wg_error err;
  assert_int_equal(shake(&p, SIZE_MAX, &err), WG_TLS_DONE);
  close(p.fd[1]);
  p.fd[1] = -1;
  assert_false(wg_tls_silent(p.c));
  peer_disconnect(&p);
  peer_release(&p);
}

static int add_appdata(SSL *ssl, void *arg) {
  static uint8_t much[3000];
  (void)arg;
  return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), much, sizeof much);
}

static SSL_TICKET_RETURN take_appdata(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                      size_t name_len, SSL_TICKET_STATUS status, void *arg) {
  (void)ssl, (void)session, (void)name, (void)name_len, (void)arg;
  return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_IGNORE;
}

/* A ticket that takes several records (RFC 8446, section 5.1) is in the middle of arriving: OpenSSL
 * writes nothing until it has the rest, which is no failure. */
static void test_write_within_a_ticket(void **state) {
  (void)state;
  peer p;
  uint8_t b[64];
  peer_init(&p);
  p.version = TLS1_3_VERSION;
  p.tickets = true;
  peer_open(&p);
  SSL_CTX_set_session_ticket_cb(p.ctx, add_appdata, take_appdata, NULL);
  SSL_CTX_set_max_send_fragment(p.ctx, 512);
  peer_up(&p);
  assert_int_equal(SSL_new_session_ticket(p.ssl), 1);
  assert_int_equal(SSL_do_handshake(p.ssl), 1);
  push(&p, 1000); /* more than one record, less than the ticket */
  assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), -EAGAIN);
  assert_true(wg_tls_silent(p.c));
  assert_int_equal(wg_tls_write(p.c, (const uint8_t *)"ask", 3, &p.blocked), -EAGAIN);
  assert_true(p.blocked);
  assert_int_equal(wg_tls_waits(p.c), WG_WATCH_READ); /* not to write: the socket always could */
  server_says(&p, "told", 4);
  push(&p, SIZE_MAX);
  assert_int_equal(wg_tls_waits(p.c), 0);
  assert_int_equal(wg_tls_write(p.c, (const uint8_t *)"other", 5, &p.blocked), 5);
  assert_false(p.blocked);
  server_hears(&p, "other", 5);
  assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), 4); /* came along with the rest */
  peer_disconnect(&p);
  peer_release(&p);
}

/* Tickets without end and nothing for the application: they would keep the worker reading. */
static void test_tickets_without_end(void **state) {
  (void)state;
  peer p;
  uint8_t b[64];
  peer_init(&p);
  p.version = TLS1_3_VERSION;
  peer_open(&p);
  for (int useful = 0; useful < 2; useful++) {
    size_t sent = 0;
    ssize_t n = -EAGAIN;
    peer_up(&p);
    while (n == -EAGAIN && sent < 4 * MIB) {
      for (int i = 0; i < 50; i++) {
        assert_int_equal(SSL_new_session_ticket(p.ssl), 1);
        assert_int_equal(SSL_do_handshake(p.ssl), 1);
      }
      if (useful) server_says(&p, "word", 4);
      sent += push(&p, SIZE_MAX);
      n = wg_tls_read(p.c, b, sizeof b, &p.readable);
      if (useful && n == 4) n = -EAGAIN;
    }
    assert_int_equal(n, useful ? -EAGAIN : -EPROTO);
    if (useful) assert_true(sent >= 4 * MIB);
    if (!useful) assert_non_null(strstr(wg_tls_why(p.c)->msg, "1 MiB"));
    peer_disconnect(&p);
  }
  peer_release(&p);
}

/* The end of the stream, a record that was tampered with, an alert. */
static void test_ends(void **state) {
  (void)state;
  peer p;
  uint8_t b[64];
  peer_init(&p);
  peer_open(&p);
  for (int half = 0; half < 2; half++) { /* between two records, and in one */
    peer_up(&p);
    server_says(&p, "last words", 10);
    if (half) server_says(&p, "half of it", 10);
    push(&p, half ? 40 : SIZE_MAX);
    close(p.fd[1]);
    p.fd[1] = -1;
    p.readable = true;
    wg_tls_readable(p.c);
    assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), 10);
    wg_tls_readable(p.c); /* the watch tells of the end */
    assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), 0);
    assert_null(wg_tls_why(p.c));
    peer_disconnect(&p);
  }
  peer_up(&p);
  server_says(&p, "first", 5);
  server_says(&p, "second", 6);
  uint8_t *raw;
  long n = BIO_get_mem_data(SSL_get_wbio(p.ssl), &raw);
  raw[n - 1] ^= 1;
  push(&p, SIZE_MAX);
  assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), 5); /* what was right first */
  assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), -EPROTO);
  assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), -EPROTO);
  assert_non_null(wg_tls_why(p.c));
  assert_int_equal(wg_tls_why(p.c)->code, WG_PROTOCOL);
  peer_disconnect(&p);
  peer_release(&p);
}

/* A write to a server that is gone raises no signal, and what it said before can still be read. */
static void test_write_to_nobody(void **state) {
  (void)state;
  peer p;
  uint8_t b[64];
  void (*old)(int) = signal(SIGPIPE, SIG_DFL);
  peer_init(&p);
  peer_open(&p);
  peer_up(&p);
  server_says(&p, "bye", 3);
  push(&p, SIZE_MAX);
  close(p.fd[1]);
  p.fd[1] = -1;
  assert_int_equal(wg_tls_write(p.c, b, 10, &p.blocked), -EPIPE);
  assert_false(p.blocked); /* nobody is to wait for it */
  assert_int_equal(wg_tls_write(p.c, b, 10, &p.blocked), -EPIPE);
  assert_int_equal(wg_tls_read(p.c, b, sizeof b, &p.readable), 3);
  assert_false(wg_tls_silent(p.c));
  peer_disconnect(&p);
  peer_release(&p);
  signal(SIGPIPE, old);
}

/* tls-server-end-point: the digest of the signature, SHA-256 for the weak ones, none for others. */
static void test_channel_binding(void **state) {
  (void)state;
  const struct {
    cert_spec spec;
    const EVP_MD *md;
  } cases[] = {
      {{.file = "cb256", .cn = "x", .digest = NID_sha256}, EVP_sha256()},
      {{.file = "cb384", .cn = "x", .digest = NID_sha384}, EVP_sha384()},
      {{.file = "cb512", .cn = "x", .digest = NID_sha512}, EVP_sha512()},
      {{.file = "cb1", .cn = "x", .digest = NID_sha1}, EVP_sha256()},
      {{.file = "cbed", .cn = "x", .ed25519 = true}, NULL},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    peer p;
    uint8_t got[64], want[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    certs_make(&cases[i].spec);
    peer_init(&p);
    p.cert = cases[i].spec.file;
    p.mode = WG_TLS_REQUIRE;
    p.config.ca = NULL;
    peer_open(&p);
    peer_up(&p);
    if (cases[i].md) X509_digest(SSL_get_certificate(p.ssl), cases[i].md, want, &len);
    assert_int_equal(wg_tls_binding_data(p.c, got), len);
    assert_memory_equal(got, want, len);
    peer_disconnect(&p);
    peer_release(&p);
  }
}

static void test_us111_resumption(void **state) {
  (void)state;
  for (size_t v = 0; v < 2; v++) {
    peer p;
    wg_error err;
    wg_tls_cache cache;
    wg_tls_cache_init(&cache);
    peer_init(&p);
    p.version = versions[v];
    p.tickets = true;
    p.cache = &cache;
    peer_open(&p);
    for (int i = 0; i < 4; i++) {
      uint8_t first[64], again[64];
      peer_up(&p);
      assert_int_equal(wg_tls_resumed(p.c), i > 0);
      assert_int_equal(wg_tls_binding_data(p.c, i ? again : first), 32);
      if (i) assert_memory_equal(first, again, 32);
      if (i == 2) close(p.fd[1]), p.fd[1] = -1; /* a connection that breaks harms no other */
      peer_disconnect(&p);
    }
    /* After a failure the next one is from scratch. */
    peer_connect(&p);
    close(p.fd[1]);
    p.fd[1] = -1;
    wg_tls_readable(p.c);
    assert_int_equal(wg_tls_handshake(p.c, &err), WG_TLS_FAILED);
    peer_disconnect(&p);
    peer_up(&p);
    assert_false(wg_tls_resumed(p.c));
    peer_disconnect(&p);
    peer_release(&p);
    wg_tls_cache_release(&cache);
  }
}

/* Nor is its name looked at again, so a session is for the name that it was made for. */
static void test_another_name_is_not_resumed(void **state) {
  (void)state;
  peer p;
  wg_error err;
  wg_tls_cache cache;
  wg_tls_cache_init(&cache);
  peer_init(&p);
  p.tickets = true;
  p.cache = &cache;
  peer_open(&p);
  peer_up(&p);
  peer_disconnect(&p);
  p.name = "other.example";
  peer_connect(&p);
  assert_int_equal(shake(&p, SIZE_MAX, &err), WG_TLS_FAILED);
  assert_int_equal(err.code, WG_AUTH);
  peer_disconnect(&p);
  peer_release(&p);
  wg_tls_cache_release(&cache);
}

/* The certificate of a session that is resumed is not shown again, so an expired one ends it. */
static void test_expired_is_not_resumed(void **state) {
  (void)state;
  peer p;
  wg_tls_cache cache;
  wg_tls_cache_init(&cache);
  peer_init(&p);
  p.cert = "expired";
  p.mode = WG_TLS_REQUIRE;
  p.config.ca = NULL;
  p.tickets = true;
  p.cache = &cache;
  peer_open(&p);
  for (int i = 0; i < 2; i++) {
    peer_up(&p);
    assert_false(wg_tls_resumed(p.c));
    peer_disconnect(&p);
  }
  peer_release(&p);
  wg_tls_cache_release(&cache);
}

static void test_us111_names(void **state) {
  (void)state;
  const struct {
    const char *name, *sni;
    bool fits;
  } cases[] = {
      {"db.example", "db.example", true},
      {"DB.example", "DB.example", true},
      {"db.example.", "db.example", true}, /* the dot only says that the name is whole */
      {"a.wild.example.", "a.wild.example", true},
      {"a.wild.example", "a.wild.example", true},
      {"a.b.wild.example", "a.b.wild.example", false},
      {"wild.example", "wild.example", false},
      {"127.0.0.1", NULL, true},
      {"127.0.0.2", NULL, false},
      {"::1", NULL, false},
      {"db.example.evil", "db.example.evil", false},
      {"example", "example", false},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    peer p;
    wg_error err;
    peer_init(&p);
    p.name = cases[i].name;
    peer_open(&p);
    peer_connect(&p);
    wg_tls_step s = shake(&p, SIZE_MAX, &err);
    if (s != (cases[i].fits ? WG_TLS_DONE : WG_TLS_FAILED)) fail_msg("%s", cases[i].name);
    if (!cases[i].fits) {
      assert_int_equal(err.code, WG_AUTH);
      assert_non_null(strstr(err.msg, "for 'db.example', '*.wild.example', '127.0.0.1', not for "));
    }
    const char *sni = SSL_get_servername(p.ssl, TLSEXT_NAMETYPE_host_name);
    assert_int_equal(sni == NULL, cases[i].sni == NULL);
    if (sni) assert_string_equal(sni, cases[i].sni);
    peer_disconnect(&p);
    peer_release(&p);
  }
}

/* Who issued it, and for whom where only the common name says so. */
static void test_us111_issuers(void **state) {
  (void)state;
  certs_make(&(cert_spec){
      .file = "old", .cn = "old authority", .ca = true, .from_days = -9, .until_days = -1});
  certs_make(
      &(cert_spec){.file = "of_old", .cn = "db.example", .san = "DNS:db.example", .issuer = "old"});
  certs_make(&(cert_spec){.file = "cn_only", .cn = "db.example", .issuer = "ca"});
  certs_make(
      &(cert_spec){.file = "cn_too", .cn = "db.example", .san = "DNS:x.example", .issuer = "ca"});
  const struct {
    const char *cert, *ca;
    const char *text; /* NULL: it is fine */
  } cases[] = {
      {"of_old", "old", "its issuer's certificate, of 'old authority', has expired on "},
      {"cn_only", "ca", NULL}, /* as libpq */
      {"cn_too", "ca", "is for 'x.example', not for 'db.example'"},
      {"self", "self", NULL}, /* itself in tls_ca, as the hint of its refusal says */
      {"server", "self", "is from an issuer that is not trusted: 'test authority'"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    peer p;
    wg_error err;
    peer_init(&p);
    p.cert = cases[i].cert;
    p.config.ca = certs_path(cases[i].ca, "crt");
    peer_open(&p);
    peer_connect(&p);
    wg_tls_step s = shake(&p, SIZE_MAX, &err);
    if (s != (cases[i].text ? WG_TLS_FAILED : WG_TLS_DONE)) fail_msg("%s", cases[i].cert);
    if (cases[i].text && !strstr(err.msg, cases[i].text)) fail_msg("%s", err.msg);
    peer_disconnect(&p);
    peer_release(&p);
  }
}

/* Text in a certificate is anybody's: neither control characters nor quotes come through. */
static void test_names_are_made_harmless(void **state) {
  (void)state;
  peer p;
  wg_error err;
  certs_make(&(cert_spec){.file = "nasty", .cn = "x\n\033[31m'; DROP\xc3\xa9", .issuer = "ca"});
  peer_init(&p);
  p.cert = "nasty";
  peer_open(&p);
  peer_connect(&p);
  assert_int_equal(shake(&p, SIZE_MAX, &err), WG_TLS_FAILED);
  assert_non_null(strstr(err.msg, "for 'x??[31m?; DROP?\?', not for 'db.example'"));
  peer_disconnect(&p);
  peer_release(&p);
}

static void test_settings(void **state) {
  (void)state;
  char *ca = certs_path("ca", "crt"), *cert = certs_path("client", "crt");
  char *key = certs_path("client", "key"), *other = certs_path("server", "key");
  certs_write("text", "crt", "no certificate at all\n", 0644);
  certs_write("broken", "crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
              0644);
  certs_write("open", "key", "", 0644);
  certs_write("empty", "key", "", 0600);
  FILE *locked = fopen(certs_path("locked", "key"), "w");
  EVP_PKEY *any = EVP_EC_gen("P-256");
  assert_int_equal(PEM_write_PKCS8PrivateKey(locked, any, EVP_aes_128_cbc(), "x", 1, NULL, NULL),
                   1);
  EVP_PKEY_free(any);
  fclose(locked);
  assert_int_equal(chmod(certs_path("locked", "key"), 0600), 0);
  const struct {
    char *ca, *cert, *key;
    const char *about, *text;
  } bad[] = {
      {certs_path("nobody", "crt"), NULL, NULL, "tls_ca", "No such file"},
      {(char *)(uintptr_t)certs_folder(), NULL, NULL, "tls_ca", "is not a regular file"},
      {certs_path("text", "crt"), NULL, NULL, "tls_ca", "has no certificate in PEM form"},
      {certs_path("broken", "crt"), NULL, NULL, "tls_ca", "has no certificate in PEM form"},
      {ca, certs_path("nobody", "crt"), key, "tls_cert", "No such file"},
      {ca, certs_path("text", "crt"), key, "tls_cert", "has no certificate in PEM form"},
      {ca, cert, certs_path("nobody", "key"), "tls_key", "No such file"},
      {ca, cert, certs_path("open", "key"), "tls_key", "can be read by others (mode 0644)"},
      {ca, cert, certs_path("empty", "key"), "tls_key", "has no private key in PEM form"},
      {ca, cert, certs_path("locked", "key"), "tls_key", "is protected by a passphrase"},
      {ca, cert, other, "tls_key", "does not belong to the certificate"},
      {ca, cert, NULL, "tls_cert", "can be read by others"},
  };
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    wg_tls_config c = {.ca = bad[i].ca, .cert = bad[i].cert, .key = bad[i].key};
    wg_tls *tls = NULL;
    wg_error err;
    const char *about = NULL;
    assert_int_equal(wg_tls_new(&c, &tls, &about, &err), WG_CONFIG);
    if (!strstr(err.msg, bad[i].text)) fail_msg("'%s', expected '%s'", err.msg, bad[i].text);
    assert_string_equal(about, bad[i].about);
    assert_int_equal(ERR_peek_error(), 0);
  }
  /* Certificate and key in one file; a group may read a key of root's. */
  char both[8192], *at = both;
  const char *exts[] = {"crt", "key"};
  for (int i = 0; i < 2; i++) {
    FILE *f = fopen(certs_path("client", exts[i]), "r");
    at += fread(at, 1, sizeof both - 1 - (size_t)(at - both), f);
    fclose(f);
  }
  *at = '\0';
  certs_write("both", "pem", both, geteuid() == 0 ? 0640 : 0600);
  wg_tls_config a = {.ca = ca, .cert = certs_path("both", "pem")}, b = a;
  wg_error err;
  assert_int_equal(wg_tls_new(&a, &a.made, NULL, &err), WG_OK);
  assert_int_equal(wg_tls_new(&b, &b.made, NULL, &err), WG_OK);
  assert_true(wg_tls_same(&a, &b));
  wg_tls_free(b.made);
  certs_make(&(cert_spec){.file = "ca", .cn = "test authority", .ca = true}); /* it was renewed */
  assert_int_equal(wg_tls_new(&b, &b.made, NULL, &err), WG_OK);
  assert_false(wg_tls_same(&a, &b));
  b.min_version = WG_TLS_1_3;
  assert_false(wg_tls_same(&a, &b));
  wg_tls_free(wg_tls_ref(a.made));
  wg_tls_free(a.made);
  wg_tls_free(b.made);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_handshake_in_pieces),
      cmocka_unit_test(test_handshake_waits_to_write),
      cmocka_unit_test(test_short_writes),
      cmocka_unit_test(test_partial_records),
      cmocka_unit_test(test_silent),
      cmocka_unit_test(test_write_within_a_ticket),
      cmocka_unit_test(test_tickets_without_end),
      cmocka_unit_test(test_ends),
      cmocka_unit_test(test_write_to_nobody),
      cmocka_unit_test(test_channel_binding),
      cmocka_unit_test(test_us111_resumption),
      cmocka_unit_test(test_expired_is_not_resumed),
      cmocka_unit_test(test_another_name_is_not_resumed),
      cmocka_unit_test(test_us111_names),
      cmocka_unit_test(test_us111_issuers),
      cmocka_unit_test(test_names_are_made_harmless),
      cmocka_unit_test(test_settings), /* last: makes a new authority */
  };
  return cmocka_run_group_tests(tests, certs_setup, certs_teardown);
}
