/* SPDX-License-Identifier: Apache-2.0 */
#include "db/mock_postgres.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CONNS_MAX = 512, PREPARED_MAX = 32 };

typedef struct conn {
  mock_pg *m;
  int fd;
  SSL *ssl; /* over two BIOs in memory; NULL: plain text */
  unsigned number;
  bool closed;       /* under the lock */
  char txn;
  _Atomic bool canceled;
  bool failed;       /* extended query: skip until Sync */
  bool set_config;   /* the unnamed statement is one */
  char prepared[PREPARED_MAX][64];
  _Atomic unsigned said; /* messages, as long as stall_at looks at them */
  uint8_t *received;
  size_t received_len;
  pthread_t thread;
} conn;

struct mock_pg_impl {
  int listen_fd;
  SSL_CTX *tls;
  _Atomic bool stopping;
  int stop_pipe[2];
  pthread_t acceptor;
  pthread_mutex_t lock;
  conn *conns[CONNS_MAX];
  unsigned count;
};

#define CHECK(x)                                                                      \
  do {                                                                                \
    if (!(x)) {                                                                       \
      fprintf(stderr, "mock_postgres.c:%d: %s: %s\n", __LINE__, #x, strerror(errno)); \
      abort();                                                                        \
    }                                                                                 \
  } while (0)

/* ---- bytes ---- */

static bool write_raw(conn *c, const void *p, size_t n, size_t chunk) {
  const uint8_t *b = p;
  while (n) {
    size_t part = chunk && chunk < n ? chunk : n;
    ssize_t done = send(c->fd, b, part, MSG_NOSIGNAL);
    if (done <= 0) return false;
    b += done;
    n -= (size_t)done;
  }
  return true;
}

/** Sends what TLS has to say. */
static bool tls_push(conn *c) {
  uint8_t *p;
  BIO *out = SSL_get_wbio(c->ssl);
  long n = BIO_get_mem_data(out, &p);
  bool ok = n <= 0 || write_raw(c, p, (size_t)n, atomic_load(&c->m->tls_chunk));
  (void)BIO_reset(out);
  return ok;
}

/** Waits for the client's next bytes. */
static bool tls_pull(conn *c) {
  uint8_t b[20000];
  ssize_t got = recv(c->fd, b, sizeof b, 0);
  return got > 0 && BIO_write(SSL_get_rbio(c->ssl), b, (int)got) == got;
}

static bool write_all(conn *c, const void *p, size_t n) {
  const uint8_t *b = p;
  if (!c->ssl) return write_raw(c, p, n, atomic_load(&c->m->split));
  while (n) {
    size_t part = atomic_load(&c->m->split) ? 1 : n > 65536 ? 65536 : n, done;
    if (SSL_write_ex(c->ssl, b, part, &done) != 1 || !tls_push(c)) return false;
    b += done;
    n -= done;
  }
  return true;
}

static bool read_tls(conn *c, uint8_t *b, size_t n) {
  while (n) {
    size_t got;
    int rc = SSL_read_ex(c->ssl, b, n, &got);
    if (!tls_push(c)) return false;
    if (rc == 1) {
      b += got;
      n -= got;
    } else if (SSL_get_error(c->ssl, rc) != SSL_ERROR_WANT_READ || !tls_pull(c)) {
      ERR_clear_error();
      return false;
    }
  }
  return true;
}

static bool read_all(conn *c, void *p, size_t n) {
  uint8_t *b = p;
  if (c->ssl) return read_tls(c, b, n);
  while (n) {
    ssize_t got = recv(c->fd, b, n, 0);
    if (got <= 0) return false;
    b += got;
    n -= (size_t)got;
  }
  return true;
}

static uint32_t get32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static void put32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}

static bool hang(conn *c) {
  uint8_t byte;
  while (recv(c->fd, &byte, 1, 0) > 0) {
  }
  return false;
}

static bool send_msg(conn *c, char type, const void *body, size_t n) {
  uint8_t *msg = malloc(n + 5);
  msg[0] = (uint8_t)type;
  put32(msg + 1, (uint32_t)n + 4);
  if (n) memcpy(msg + 5, body, n);
  bool stall = atomic_fetch_add(&c->said, 1) + 1 == atomic_load(&c->m->stall_at);
  size_t whole = !stall ? n + 5 : atomic_load(&c->m->stall_half) ? (n + 5) / 2 : 0;
  bool ok = write_all(c, msg, whole);
  if (stall) {
    atomic_fetch_add(&c->m->stalled, 1);
    ok = hang(c);
  }
  free(msg);
  return ok;
}

static bool send_auth(conn *c, uint32_t kind, const void *more, size_t n) {
  uint8_t body[1024];
  put32(body, kind);
  if (n) memcpy(body + 4, more, n);
  return send_msg(c, 'R', body, n + 4);
}

static bool send_error(conn *c, const char *severity, const char *sqlstate, const char *message) {
  char body[512];
  int n = snprintf(body, sizeof body, "S%s%cV%s%cC%s%cM%s%c", severity, 0, severity, 0, sqlstate, 0,
                   message, 0);
  body[n++] = '\0';
  return send_msg(c, 'E', body, (size_t)n);
}

static bool send_param(conn *c, const char *name, const char *value) {
  char body[1024];
  int n = snprintf(body, sizeof body, "%s%c%s", name, 0, value);
  return send_msg(c, 'S', body, (size_t)n + 1);
}

static bool send_ready(conn *c) {
  bool ok = send_msg(c, 'Z', &c->txn, 1);
  if (ok) atomic_fetch_add(&c->m->readies, 1);
  return ok;
}
static bool send_done(conn *c, const char *tag) { return send_msg(c, 'C', tag, strlen(tag) + 1); }

static bool send_row(conn *c, const void *value, size_t n) {
  uint8_t *body = malloc(n + 6);
  body[0] = 0, body[1] = 1;
  put32(body + 2, (uint32_t)n);
  if (n) memcpy(body + 6, value, n);
  bool ok = send_msg(c, 'D', body, n + 6);
  free(body);
  return ok;
}

/* ---- log-in ---- */

static uint8_t *read_msg(conn *c, uint8_t *type, uint32_t *len) {
  uint8_t head[5];
  if (!read_all(c, head, 5)) return NULL;
  *type = head[0];
  *len = get32(head + 1) - 4;
  uint8_t *body = malloc(*len + 1);
  if (!read_all(c, body, *len)) {
    free(body);
    return NULL;
  }
  body[*len] = '\0';
  return body;
}

static void md5_hex(const char *a, size_t a_len, const char *b, size_t b_len, char out[33]) {
  uint8_t d[16];
  unsigned n;
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  EVP_DigestInit_ex(ctx, EVP_md5(), NULL);
  EVP_DigestUpdate(ctx, a, a_len);
  EVP_DigestUpdate(ctx, b, b_len);
  EVP_DigestFinal_ex(ctx, d, &n);
  EVP_MD_CTX_free(ctx);
  for (int i = 0; i < 16; i++) snprintf(out + 2 * i, 3, "%02x", d[i]);
}

static void hmac256(const uint8_t *key, const char *data, size_t n, uint8_t out[32]) {
  unsigned len;
  HMAC(EVP_sha256(), key, 32, (const uint8_t *)data, n, out, &len);
}

static bool login_refuse(conn *c) {
  char message[128];
  snprintf(message, sizeof message, "password authentication failed for user \"%s\"", c->m->user);
  send_error(c, "FATAL", "28P01", message);
  return false;
}

/** cbind-input of tls-server-end-point, in base64. */
static void channel_of(conn *c, char out[160]) {
  uint8_t input[128] = "p=tls-server-end-point,,";
  unsigned n = 0;
  int nid = NID_sha256;
  X509 *x = SSL_get_certificate(c->ssl);
  X509_get_signature_info(x, &nid, NULL, NULL, NULL);
  if (nid == NID_sha1) nid = NID_sha256;
  CHECK(X509_digest(x, EVP_get_digestbynid(nid), input + 24, &n) == 1);
  if (atomic_load(&c->m->renewed) && SSL_session_reused(c->ssl)) input[24] ^= 1;
  EVP_EncodeBlock((uint8_t *)out, input, 24 + (int)n);
}

static bool login_scram(conn *c) {
  mock_pg *m = c->m;
  bool plus = c->ssl && !m->tls_no_plus;
  uint8_t type;
  uint32_t len;
  if (!(plus ? send_auth(c, 10, "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0", 34)
             : send_auth(c, 10, "SCRAM-SHA-256\0", 15)))
    return false;
  uint8_t *first = read_msg(c, &type, &len);
  if (!first) return false;
  bool bound = type == 'p' && strcmp((char *)first, "SCRAM-SHA-256-PLUS") == 0;
  CHECK(bound || (type == 'p' && strcmp((char *)first, "SCRAM-SHA-256") == 0));
  const char *client_first = (char *)first + strlen((char *)first) + 1 + 4;
  const char *header = bound ? "p=tls-server-end-point,," : client_first[0] == 'y' ? "y,," : "n,,";
  CHECK(strncmp(client_first, header, strlen(header)) == 0);
  CHECK(header[0] != 'y' || (c->ssl && !plus)); /* else somebody hides that we could */
  const char *bare = client_first + strlen(header);
  CHECK(strncmp(bare, "n=", 2) == 0);
  char channel[160];
  if (bound)
    channel_of(c, channel);
  else
    EVP_EncodeBlock((uint8_t *)channel, (const uint8_t *)header, 3);
  char nonce[128], server_first[256], salt64[32];
  const uint8_t *salt = (const uint8_t *)"0123456789abcdef";
  EVP_EncodeBlock((uint8_t *)salt64, salt, 16);
  snprintf(nonce, sizeof nonce, "%s%s", strstr(bare, "r=") + 2, "MOCKNONCE");
  if (atomic_load(&m->wrong_nonce)) nonce[0] ^= 1;
  int iterations = m->iterations ? (int)m->iterations : 4096;
  int n = snprintf(server_first, sizeof server_first, "r=%s,s=%s,i=%d", nonce, salt64, iterations);
  if (!send_auth(c, 11, server_first, (size_t)n)) {
    free(first);
    return false;
  }
  uint8_t *final = read_msg(c, &type, &len);
  bool ok = final != NULL;
  if (ok) {
    char *proof64 = strstr((char *) final, ",p=");
    CHECK(proof64);
    size_t channel_len = strlen(channel);
    CHECK(strncmp((char *) final, "c=", 2) == 0);
    ok = strncmp((char *) final + 2, channel, channel_len) == 0 &&
         ((char *) final)[2 + channel_len] == ',';
    if (ok && bound) atomic_fetch_add(&m->tls_plus, 1);
    char auth[1024];
    int auth_len = snprintf(auth, sizeof auth, "%s,%s,%.*s", bare, server_first,
                            (int)(proof64 - (char *) final), (char *) final);
    uint8_t salted[32], client_key[32], stored[32], signature[32], server_key[32], proof[64];
    PKCS5_PBKDF2_HMAC(m->password, (int)strlen(m->password), salt, 16, iterations, EVP_sha256(), 32,
                      salted);
    hmac256(salted, "Client Key", 10, client_key);
    SHA256(client_key, 32, stored);
    hmac256(stored, auth, (size_t)auth_len, signature);
    EVP_DecodeBlock(proof, (uint8_t *)proof64 + 3, (int)strlen(proof64 + 3));
    for (int i = 0; i < 32; i++) ok = ok && (proof[i] ^ signature[i]) == client_key[i];
    if (!ok) login_refuse(c);
    hmac256(salted, "Server Key", 10, server_key);
    hmac256(server_key, auth, (size_t)auth_len, signature);
    if (atomic_load(&m->wrong_signature)) signature[7] ^= 0x40;
    char answer[64] = "v=";
    EVP_EncodeBlock((uint8_t *)answer + 2, signature, 32);
    if (ok && !atomic_load(&m->skip_final)) ok = send_auth(c, 12, answer, strlen(answer));
  }
  free(first);
  free(final);
  return ok;
}

static bool login_password(conn *c) {
  mock_pg *m = c->m;
  char expected[256];
  if (m->auth == MOCK_MD5) {
    char inner[33], outer[33];
    md5_hex(m->password, strlen(m->password), m->user, strlen(m->user), inner);
    md5_hex(inner, 32, "salt", 4, outer);
    snprintf(expected, sizeof expected, "md5%s", outer);
    if (!send_auth(c, 5, "salt", 4)) return false;
  } else {
    snprintf(expected, sizeof expected, "%s", m->password);
    if (!send_auth(c, 3, NULL, 0)) return false;
  }
  uint8_t type;
  uint32_t len;
  uint8_t *answer = read_msg(c, &type, &len);
  if (!answer) return false;
  bool ok = type == 'p' && strcmp((char *)answer, expected) == 0;
  free(answer);
  return ok || login_refuse(c);
}

/* ---- TLS ---- */

static int choose_alpn(SSL *ssl, const uint8_t **out, uint8_t *n, const uint8_t *in, unsigned len,
                       void *user) {
  (void)ssl, (void)user;
  static const uint8_t ours[] = "\012postgresql";
  return SSL_select_next_proto((uint8_t **)(uintptr_t)out, n, ours, 11, in, len) ==
                 OPENSSL_NPN_NEGOTIATED
             ? SSL_TLSEXT_ERR_OK
             : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_TICKET_RETURN take_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                     size_t name_len, SSL_TICKET_STATUS status, void *user) {
  (void)ssl, (void)session, (void)name, (void)name_len, (void)user;
  return status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW
             ? SSL_TICKET_RETURN_USE_RENEW
             : SSL_TICKET_RETURN_IGNORE_RENEW;
}

static void tls_make(mock_pg *m) {
  static const uint8_t id[] = "mock";
  SSL_CTX *ctx = m->impl->tls = SSL_CTX_new(TLS_server_method());
  CHECK(SSL_CTX_use_certificate_file(ctx, m->tls_cert, SSL_FILETYPE_PEM) == 1);
  CHECK(SSL_CTX_use_PrivateKey_file(ctx, m->tls_key, SSL_FILETYPE_PEM) == 1);
  if (m->tls_version) { /* old ones need the lowest security level */
    SSL_CTX_set_min_proto_version(ctx, m->tls_version);
    SSL_CTX_set_max_proto_version(ctx, m->tls_version);
    if (m->tls_version < TLS1_2_VERSION) SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0");
  }
  if (m->tls_client_ca) {
    CHECK(SSL_CTX_load_verify_locations(ctx, m->tls_client_ca, NULL) == 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  }
  SSL_CTX_set_session_id_context(ctx, id, sizeof id);
  if (!m->tls_resumes) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  }
  SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
  SSL_CTX_set_session_ticket_cb(ctx, NULL, take_ticket, NULL);
}

static bool tls_half_flight(conn *c) {
  uint8_t *p;
  long n = BIO_get_mem_data(SSL_get_wbio(c->ssl), &p);
  CHECK(n > 100);
  if (!write_raw(c, p, (size_t)n / 2, 0)) return false;
  struct linger now = {1, 0};
  switch (atomic_load(&c->m->tls_fault)) {
  case MOCK_TLS_STALL_MID: return hang(c);
  case MOCK_TLS_HALF_CLOSE: shutdown(c->fd, SHUT_WR); return hang(c);
  case MOCK_TLS_RESET: setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now); return false;
  default: return false;
  }
}

static bool tls_accept(conn *c) {
  mock_pg *m = c->m;
  c->ssl = SSL_new(m->impl->tls);
  SSL_set_bio(c->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_accept_state(c->ssl);
  for (;;) {
    int rc = SSL_do_handshake(c->ssl);
    if (rc != 1 && atomic_load(&m->tls_fault) >= MOCK_TLS_STALL_MID &&
        BIO_pending(SSL_get_wbio(c->ssl)) > 0)
      return tls_half_flight(c);
    if (!tls_push(c)) return false;
    if (rc == 1) break;
    if (SSL_get_error(c->ssl, rc) != SSL_ERROR_WANT_READ || !tls_pull(c)) {
      ERR_clear_error();
      return false;
    }
  }
  const char *sni = SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name);
  pthread_mutex_lock(&m->impl->lock);
  snprintf(m->sni, sizeof m->sni, "%s", sni ? sni : "");
  pthread_mutex_unlock(&m->impl->lock);
  if (SSL_session_reused(c->ssl)) atomic_fetch_add(&m->tls_resumed, 1);
  if (SSL_get0_peer_certificate(c->ssl)) atomic_fetch_add(&m->tls_clients, 1);
  return true;
}

/** After SSLRequest.  @return false: the connection is over */
static bool tls_answer(conn *c) {
  mock_pg *m = c->m;
  atomic_store(&m->tls_asked, true);
  switch (atomic_load(&m->tls_fault)) {
  case MOCK_TLS_MUTE: return hang(c);
  case MOCK_TLS_GONE: return false;
  case MOCK_TLS_ERROR: send_error(c, "FATAL", "57P03", "<b>not to be shown</b>"); return false;
  case MOCK_TLS_GARBAGE: write_raw(c, "H", 1, 0); return hang(c);
  case MOCK_TLS_STUFFED: write_raw(c, "SR\0\0\0\010\0\0\0\0", 10, 0); return hang(c);
  case MOCK_TLS_STUFFED_NO: write_raw(c, "NR\0\0\0\010\0\0\0\0", 10, 0); return hang(c);
  case MOCK_TLS_LATE_STUFF: {
    uint8_t hello[512];
    write_raw(c, "S", 1, 0);
    if (recv(c->fd, hello, sizeof hello, 0) > 0)
      write_raw(c, "R\0\0\0\010\0\0\0\0Z\0\0\0\005I", 15, 0);
    return hang(c);
  }
  case MOCK_TLS_STALL: write_raw(c, "S", 1, 0); return hang(c);
  default: break;
  }
  if (!m->tls_cert) return write_raw(c, "N", 1, 0);
  return write_raw(c, "S", 1, 0) && tls_accept(c);
}

/** A cancel request: acts on it when it may, as the signal that a real server sends. */
static void take_cancel(conn *c) {
  mock_pg *m = c->m;
  uint8_t who[8];
  if (!read_all(c, who, 8)) return;
  atomic_fetch_add(&m->cancels_read, 1);
  if (c->ssl) atomic_fetch_add(&m->cancels_tls, 1);
  while (atomic_load(&m->cancel_held) && !atomic_load(&m->impl->stopping)) usleep(1000);
  pthread_mutex_lock(&m->impl->lock);
  uint32_t n = get32(who);
  if (n >= 1 && n <= m->impl->count && get32(who + 4) == 4711)
    atomic_store(&m->impl->conns[n - 1]->canceled, true);
  pthread_mutex_unlock(&m->impl->lock);
  atomic_fetch_add(&m->cancels, 1);
}

/** Runs until it is canceled. What was canceled before it began is forgotten. */
static bool sleep_long(conn *c) {
  atomic_store(&c->canceled, false);
  atomic_fetch_add(&c->m->sleeps, 1);
  for (;;) {
    char byte;
    if (atomic_load(&c->canceled))
      return send_error(c, "ERROR", "57014", "canceling statement due to user request") &&
             send_ready(c);
    if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) return false;
    usleep(1000);
  }
}

static bool login(conn *c) {
  mock_pg *m = c->m;
  uint8_t head[8];
  char user[128] = "", database[128] = "";
  if (m->tls_direct && !tls_accept(c)) return false;
  if (!read_all(c, head, 8)) return false;
  if (!m->tls_direct && get32(head) == 8 && get32(head + 4) == 80877103 &&
      (!tls_answer(c) || !read_all(c, head, 8)))
    return false;
  if (get32(head) == 16 && get32(head + 4) == 80877102) {
    take_cancel(c);
    return false;
  }
  CHECK(get32(head + 4) == 196608);
  uint32_t len = get32(head) - 8;
  char *pairs = malloc(len + 1);
  bool got = read_all(c, pairs, len);
  for (char *p = pairs; got && p < pairs + len && *p;) {
    char *value = p + strlen(p) + 1;
    if (strcmp(p, "user") == 0) snprintf(user, sizeof user, "%s", value);
    if (strcmp(p, "database") == 0) snprintf(database, sizeof database, "%s", value);
    p = value + strlen(value) + 1;
  }
  free(pairs);
  if (!got) return false;
  unsigned ms = atomic_load(&m->login_delay_ms);
  struct timespec delay = {ms / 1000, (long)(ms % 1000) * 1000000};
  nanosleep(&delay, NULL);
  if (atomic_load(&m->full)) {
    send_error(c, "FATAL", "53300", "sorry, too many clients already");
    return false;
  }
  if (c->ssl ? m->plain_only : m->tls_only) {
    send_error(c, "FATAL", "28000", "no pg_hba.conf entry for this host and encryption");
    return false;
  }
  if (strcmp(user, m->user) != 0) return login_refuse(c);
  if (strcmp(database, m->database) != 0) {
    send_error(c, "FATAL", "3D000", "database does not exist");
    return false;
  }
  bool ok = true;
  switch (m->auth) {
  case MOCK_TRUST: break;
  case MOCK_CLEARTEXT:
  case MOCK_MD5: ok = login_password(c); break;
  case MOCK_SCRAM: ok = login_scram(c); break;
  case MOCK_GSS: ok = send_auth(c, 7, NULL, 0) && false; break;
  }
  if (!ok || !send_auth(c, 0, NULL, 0)) return false;
  uint8_t key[8];
  put32(key, c->number);
  put32(key + 4, 4711);
  c->txn = 'I';
  atomic_fetch_add(&m->logins, 1);
  if (c->ssl) atomic_fetch_add(&m->tls_logins, 1);
  if (atomic_load(&m->tells) &&
      !(send_param(c, "in_hot_standby", atomic_load(&m->standby) ? "on" : "off") &&
        send_param(c, "default_transaction_read_only", atomic_load(&m->read_only) ? "on" : "off")))
    return false;
  return send_param(c, "server_version", "15.0 (mock)") &&
         send_param(c, "client_encoding", "UTF8") && send_param(c, "TimeZone", "Etc/UTC") &&
         send_param(c, "DateStyle", "ISO, MDY") && send_msg(c, 'K', key, 8) && send_ready(c);
}

/* ---- queries ---- */

static bool copy_in(conn *c) {
  uint8_t format[3] = {0};
  if (!send_msg(c, 'G', format, 3)) return false;
  for (;;) {
    uint8_t type;
    uint32_t len;
    uint8_t *body = read_msg(c, &type, &len);
    if (!body) return false;
    free(body);
    if (type == 'X') { /* as the real one does */
      atomic_fetch_add(&c->m->terminates, 1);
      return false;
    }
    if (type == 'c') return send_done(c, "COPY 0");
    if (type == 'f') return send_error(c, "ERROR", "57014", "COPY from stdin failed");
  }
}

/** Two more session tickets, TLS 1.3. */
static bool tickets(conn *c) {
  for (int i = 0; i < 2; i++)
    if (SSL_new_session_ticket(c->ssl) != 1 || SSL_do_handshake(c->ssl) != 1) return false;
  return tls_push(c);
}

static bool send_notices(conn *c) {
  static const uint8_t zeros[60000];
  for (unsigned i = 0; i < atomic_load(&c->m->notices); i++)
    if (!send_msg(c, 'N', zeros, sizeof zeros)) return false;
  return true;
}

static bool ticket_in_halves(conn *c) {
  static const uint8_t much[3000];
  SSL_set_max_send_fragment(c->ssl, 512);
  if (SSL_SESSION_set1_ticket_appdata(SSL_get_session(c->ssl), much, sizeof much) != 1 ||
      SSL_new_session_ticket(c->ssl) != 1 || SSL_do_handshake(c->ssl) != 1)
    return false;
  uint8_t b[8192];
  int n = BIO_read(SSL_get_wbio(c->ssl), b, sizeof b);
  CHECK(n > 3000);
  if (!write_raw(c, b, (size_t)n / 2, 0)) return false;
  atomic_fetch_add(&c->m->half_tickets, 1);
  while (atomic_load(&c->m->ticket_held) && !atomic_load(&c->m->impl->stopping)) usleep(1000);
  return write_raw(c, b + n / 2, (size_t)(n - n / 2), 0);
}

static bool query(conn *c, const char *sql) {
  mock_pg *m = c->m;
  if (sql[0] == '\0') {
    atomic_fetch_add(&m->pings, 1);
    if (atomic_load(&m->ping_hangs)) return hang(c);
    if (atomic_load(&m->ping_fails)) {
      send_error(c, "FATAL", "57P01", "terminating connection due to administrator command");
      return false;
    }
    return send_notices(c) && send_msg(c, 'I', NULL, 0) && send_ready(c);
  }
  unsigned rows, size;
  char name[64], value[64];
  if (strcmp(sql, "BEGIN") == 0) {
    c->txn = 'T';
    return send_done(c, sql) && send_ready(c);
  }
  if (strcmp(sql, "FAIL") == 0) {
    if (c->txn != 'I') c->txn = 'E';
    return send_error(c, "ERROR", "22012", "division by zero") && send_ready(c);
  }
  if (strcmp(sql, "ROLLBACK") == 0) {
    atomic_fetch_add(&m->rollbacks, 1);
    c->txn = 'I';
    return send_done(c, sql) && send_ready(c);
  }
  if (strcmp(sql, "DISCARD ALL") == 0) {
    atomic_fetch_add(&m->resets, 1);
    if (atomic_load(&m->reset_hangs)) return hang(c);
    if (c->txn != 'I' || atomic_load(&m->reset_fails))
      return send_error(c, "ERROR", "25001", "DISCARD ALL cannot run inside a transaction block") &&
             send_ready(c);
    memset(c->prepared, 0, sizeof c->prepared);
    bool ok = send_notices(c) && send_param(c, "TimeZone", "Etc/UTC") && send_done(c, sql) &&
              send_ready(c);
    return ok && (!atomic_load(&m->tickets_when_idle) || tickets(c));
  }
  if (sscanf(sql, "ROWS %u %u", &rows, &size) == 2) {
    uint8_t *bytes = malloc(size + 1);
    for (unsigned i = 0; i < size; i++) bytes[i] = (uint8_t)i;
    bool ok = true;
    for (unsigned i = 0; ok && i < rows; i++) ok = send_row(c, bytes, size);
    free(bytes);
    return ok && send_done(c, "SELECT") && send_ready(c);
  }
  if (strcmp(sql, "PID") == 0) {
    char pid[16];
    int n = snprintf(pid, sizeof pid, "%u", c->number);
    return send_row(c, pid, (size_t)n) && send_done(c, "SELECT 1") && send_ready(c);
  }
  if (sscanf(sql, "SET %63s %63s", name, value) == 2)
    return send_param(c, name, value) && send_done(c, "SET") && send_ready(c);
  if (strcmp(sql, "TICKETS") == 0) return send_done(c, "OK") && send_ready(c) && tickets(c);
  if (strcmp(sql, "TICKET") == 0) return send_done(c, "OK") && send_ready(c) && ticket_in_halves(c);
  if (strcmp(sql, "KEYS") == 0) { /* new ones, and the client is to change its own */
    if (SSL_key_update(c->ssl, SSL_KEY_UPDATE_REQUESTED) != 1) return false;
    return send_done(c, "OK") && send_ready(c);
  }
  if (strcmp(sql, "COPYIN") == 0) return copy_in(c) && send_ready(c);
  if (strcmp(sql, "LATE") == 0) {
    if (!send_row(c, "late", 4)) return false;
    while (atomic_load(&m->end_held)) usleep(1000);
    return send_done(c, "SELECT 1") && send_ready(c);
  }
  if (strcmp(sql, "SLEEP") == 0) return sleep_long(c);
  if (strcmp(sql, "HANG") == 0) return hang(c);
  if (strcmp(sql, "DIE") == 0) {
    uint8_t half[] = {'D', 0, 0, 0, 100, 0, 1, 0, 0, 0, 90, 'h', 'a', 'l', 'f'};
    write_all(c, half, sizeof half);
    return false;
  }
  if (strcmp(sql, "GO") == 0) return false;
  if (strcmp(sql, "FATAL") == 0) {
    send_error(c, "FATAL", "57P01", "terminating connection due to administrator command");
    return false;
  }
  if (strcmp(sql, "GARBAGE") == 0) {
    uint8_t garbage[] = {'D', 0, 0, 0, 3, 1, 2, 3};
    write_all(c, garbage, sizeof garbage);
    return hang(c);
  }
  return send_done(c, "OK") && send_ready(c);
}

static bool parse(conn *c, const char *body) {
  const char *sql = body + strlen(body) + 1;
  c->set_config = strstr(sql, "set_config($1,$2,false)") != NULL;
  atomic_fetch_add(&c->m->parses, 1);
  if (body[0]) {
    for (int i = 0; i < PREPARED_MAX; i++)
      if (strcmp(c->prepared[i], body) == 0) {
        c->failed = true;
        return send_error(c, "ERROR", "42P05", "prepared statement already exists");
      }
    for (int i = 0; i < PREPARED_MAX; i++)
      if (!c->prepared[i][0]) {
        snprintf(c->prepared[i], sizeof c->prepared[i], "%s", body);
        break;
      }
  }
  return send_msg(c, '1', NULL, 0);
}

static bool bind_msg(conn *c, const uint8_t *body) {
  if (!c->set_config) return send_msg(c, '2', NULL, 0);
  const uint8_t *p = body + 2 + 2 + 2; /* portal, statement, no formats, two values */
  char text[2][256];
  for (int i = 0; i < 2; i++) {
    uint32_t n = get32(p);
    CHECK(n < sizeof text[i]);
    memcpy(text[i], p + 4, n);
    text[i][n] = '\0';
    p += 4 + n;
  }
  if (strcmp(text[0], "bad") == 0) {
    c->failed = true;
    return send_error(c, "ERROR", "42704", "unrecognized configuration parameter \"bad\"");
  }
  return send_msg(c, '2', NULL, 0) && send_param(c, text[0], text[1]);
}

static bool serve_msg(conn *c, uint8_t type, const uint8_t *body) {
  if (c->failed && type != 'S') return true;
  switch (type) {
  case 'Q': return query(c, (const char *)body);
  case 'P': return parse(c, (const char *)body);
  case 'B': return bind_msg(c, body);
  case 'D': return send_msg(c, 'n', NULL, 0);
  case 'E':
    if (c->set_config) return send_row(c, "x", 1) && send_done(c, "SELECT 1");
    return send_done(c, "SELECT 0");
  case 'S': c->failed = false; return send_notices(c) && send_ready(c);
  case 'X': atomic_fetch_add(&c->m->terminates, 1); return false;
  default: return true;
  }
}

static void *serve(void *arg) {
  conn *c = arg;
  mock_pg *m = c->m;
  bool ok = atomic_load(&m->mute) ? hang(c) : login(c);
  while (ok) {
    uint8_t head[5];
    if (!read_all(c, head, 5)) break;
    uint32_t len = get32(head + 1) - 4;
    uint8_t *body = malloc(len + 1);
    if (!read_all(c, body, len)) {
      free(body);
      break;
    }
    body[len] = '\0';
    pthread_mutex_lock(&m->impl->lock);
    c->received = realloc(c->received, c->received_len + 5 + len);
    memcpy(c->received + c->received_len, head, 5);
    memcpy(c->received + c->received_len + 5, body, len);
    c->received_len += 5 + len;
    pthread_mutex_unlock(&m->impl->lock);
    ok = serve_msg(c, head[0], body);
    free(body);
  }
  pthread_mutex_lock(&m->impl->lock);
  c->closed = true;
  SSL_free(c->ssl);
  close(c->fd);
  pthread_mutex_unlock(&m->impl->lock);
  atomic_fetch_sub(&m->open, 1);
  return NULL;
}

/* ---- life ---- */

static void *accept_loop(void *arg) {
  mock_pg *m = arg;
  struct mock_pg_impl *impl = m->impl;
  for (;;) {
    struct pollfd fds[2] = {{impl->listen_fd, POLLIN, 0}, {impl->stop_pipe[0], POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents) return NULL;
    int fd = accept4(impl->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) continue;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int size = (int)m->small_buffers;
    if (size) {
      setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    conn *c = calloc(1, sizeof *c);
    c->m = m;
    c->fd = fd;
    pthread_mutex_lock(&impl->lock);
    CHECK(impl->count < CONNS_MAX);
    impl->conns[impl->count++] = c;
    c->number = impl->count;
    pthread_mutex_unlock(&impl->lock);
    atomic_fetch_add(&m->accepted, 1);
    atomic_fetch_add(&m->open, 1);
    CHECK(pthread_create(&c->thread, NULL, serve, c) == 0);
  }
}

void mock_pg_start(mock_pg *m) {
  if (!m->user) m->user = "app";
  if (!m->password) m->password = "secret";
  if (!m->database) m->database = "shop";
  struct mock_pg_impl *impl = m->impl = calloc(1, sizeof *impl);
  pthread_mutex_init(&impl->lock, NULL);
  CHECK(pipe(impl->stop_pipe) == 0);
  if (m->tls_cert) tls_make(m);
  struct sockaddr_storage a = {0};
  socklen_t len;
  if (m->socket_dir) {
    struct sockaddr_un *sun = (void *)&a;
    if (!m->port) m->port = 5432;
    sun->sun_family = AF_UNIX;
    snprintf(sun->sun_path, sizeof sun->sun_path, "%s/.s.PGSQL.%u", m->socket_dir, m->port);
    unlink(sun->sun_path);
    len = sizeof *sun;
  } else if (m->ipv6) {
    struct sockaddr_in6 *in = (void *)&a;
    in->sin6_family = AF_INET6;
    in->sin6_addr = in6addr_loopback;
    in->sin6_port = htons(m->port);
    len = sizeof *in;
  } else {
    struct sockaddr_in *in = (void *)&a;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in->sin_port = htons(m->port);
    len = sizeof *in;
  }
  impl->listen_fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int on = 1;
  setsockopt(impl->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  CHECK(bind(impl->listen_fd, (struct sockaddr *)&a, len) == 0);
  CHECK(listen(impl->listen_fd, 128) == 0);
  if (!m->socket_dir) {
    CHECK(getsockname(impl->listen_fd, (struct sockaddr *)&a, &len) == 0);
    m->port = ntohs(m->ipv6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                            : ((struct sockaddr_in *)&a)->sin_port);
  }
  CHECK(pthread_create(&impl->acceptor, NULL, accept_loop, m) == 0);
}

static void each_open(mock_pg *m, void (*fn)(conn *c)) {
  pthread_mutex_lock(&m->impl->lock);
  for (unsigned i = 0; i < m->impl->count; i++)
    if (!m->impl->conns[i]->closed) fn(m->impl->conns[i]);
  pthread_mutex_unlock(&m->impl->lock);
}

static void conn_cut(conn *c) { shutdown(c->fd, SHUT_RDWR); }
static void conn_terminate(conn *c) {
  CHECK(!c->ssl); /* its thread's own */
  atomic_store(&c->said, 1u << 30); /* it is not to wait here */
  struct pollfd room = {c->fd, POLLOUT, 0};
  if (poll(&room, 1, 0) == 1) /* else it would wait for the reader, who may be the caller */
    send_error(c, "FATAL", "57P01", "terminating connection due to administrator command");
  shutdown(c->fd, SHUT_RDWR);
}
void mock_pg_kill(mock_pg *m) { each_open(m, conn_cut); }
void mock_pg_terminate(mock_pg *m) { each_open(m, conn_terminate); }

void mock_pg_refuse(mock_pg *m) {
  struct mock_pg_impl *impl = m->impl;
  if (impl->listen_fd < 0) return;
  CHECK(write(impl->stop_pipe[1], "x", 1) == 1);
  pthread_join(impl->acceptor, NULL);
  close(impl->listen_fd);
  impl->listen_fd = -1;
}

void mock_pg_stop(mock_pg *m) {
  struct mock_pg_impl *impl = m->impl;
  if (!impl) return;
  mock_pg_refuse(m);
  atomic_store(&impl->stopping, true);
  mock_pg_kill(m);
  for (unsigned i = 0; i < impl->count; i++) pthread_join(impl->conns[i]->thread, NULL);
  for (unsigned i = 0; i < impl->count; i++) {
    free(impl->conns[i]->received);
    free(impl->conns[i]);
  }
  close(impl->stop_pipe[0]);
  close(impl->stop_pipe[1]);
  pthread_mutex_destroy(&impl->lock);
  SSL_CTX_free(impl->tls);
  free(impl);
  m->impl = NULL;
}

uint8_t *mock_pg_received(mock_pg *m, unsigned n, size_t *len) {
  pthread_mutex_lock(&m->impl->lock);
  CHECK(n >= 1 && n <= m->impl->count);
  conn *c = m->impl->conns[n - 1];
  *len = c->received_len;
  uint8_t *copy = malloc(c->received_len + 1);
  if (c->received_len) memcpy(copy, c->received, c->received_len);
  pthread_mutex_unlock(&m->impl->lock);
  return copy;
}
