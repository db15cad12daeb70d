/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of TLS: files to an SSL_CTX, and which of the modes holds where. */
#include "db/tls_internal.h"
#include "dns/name.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---- */

typedef struct file {
  const char *key, *path;
  char *bytes; /* wiped and freed by file_release() */
  size_t len;
} file;

static void file_release(file *f) {
  if (f->bytes) wg_wipe(f->bytes, f->len);
  free(f->bytes);
  f->bytes = NULL;
}

static wg_code file_fail(const file *f, wg_error *err, const char *what) {
  return wg_error_set(err, WG_CONFIG, 0, "'%s': '%s' %s", f->key, f->path, what);
}

/** Nobody but its owner may read a private key; one of root's may have a group that reads it. */
static bool is_private(const struct stat *st) {
  mode_t forbidden = st->st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;
  return (st->st_mode & forbidden) == 0;
}

static wg_code file_check(const file *f, int fd, bool secret, wg_error *err) {
  struct stat st;
  if (fstat(fd, &st) != 0)
    return wg_error_set(err, WG_CONFIG, errno, "'%s': cannot read '%s': %s", f->key, f->path,
                        strerror(errno));
  if (!S_ISREG(st.st_mode)) return file_fail(f, err, "is not a regular file");
  if (st.st_size > WG_TLS_FILE_MAX) return file_fail(f, err, "is larger than 4 MiB");
  if (!secret || is_private(&st)) return WG_OK;
  wg_error_set(err, WG_CONFIG, 0, "'%s': the private key '%s' can be read by others (mode %04o)",
               f->key, f->path, (unsigned)st.st_mode & 07777u);
  wg_error_hint(err, "chmod 600 %s", f->path);
  return WG_CONFIG;
}

static wg_code file_read(file *f, bool secret, EVP_MD_CTX *digest, wg_error *err) {
  int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return wg_error_set(err, WG_CONFIG, errno, "'%s': cannot read '%s': %s", f->key, f->path,
                        strerror(errno));
  wg_code code = file_check(f, fd, secret, err);
  if (code == WG_OK) {
    f->bytes = malloc(WG_TLS_FILE_MAX);
    if (!f->bytes) code = wg_error_set(err, WG_NOMEM, 0, "TLS: out of memory");
  }
  ssize_t got = 0;
  while (code == WG_OK && f->len < WG_TLS_FILE_MAX &&
         (got = read(fd, f->bytes + f->len, WG_TLS_FILE_MAX - f->len)) > 0)
    f->len += (size_t)got;
  if (code == WG_OK && got < 0)
    code = wg_error_set(err, WG_CONFIG, errno, "'%s': cannot read '%s': %s", f->key, f->path,
                        strerror(errno));
  if (code == WG_OK && (EVP_DigestUpdate(digest, &f->len, sizeof f->len) != 1 ||
                        EVP_DigestUpdate(digest, f->bytes, f->len) != 1))
    code = wg_error_set(err, WG_IO, 0, "TLS: the crypto library cannot compute SHA-256");
  close(fd);
  return code;
}

/* ---- into the context ---- */

static wg_code refused(const file *f, wg_error *err, const char *what) {
  return wg_error_set(err, WG_CONFIG, 0, "'%s': %s '%s': %s", f->key, what, f->path,
                      wg__tls_reason());
}

static wg_code take_ca(wg_tls *tls, const file *f, wg_error *err) {
  X509_STORE *store = SSL_CTX_get_cert_store(tls->ctx);
  BIO *bio = BIO_new_mem_buf(f->bytes, (int)f->len);
  size_t count = 0;
  wg_code code = WG_OK;
  for (X509 *x; bio && code == WG_OK && (x = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL));) {
    if (X509_STORE_add_cert(store, x) != 1) code = refused(f, err, "cannot use a certificate of");
    X509_free(x);
    count++;
  }
  /* The end of the file is PEM_R_NO_START_LINE; anything else is damage. */
  if (code == WG_OK && count && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
    code = refused(f, err, "cannot read a certificate of");
  BIO_free(bio);
  if (code == WG_OK && !bio) return wg_error_set(err, WG_NOMEM, 0, "TLS: out of memory");
  if (code == WG_OK && count == 0) {
    file_fail(f, err, "has no certificate in PEM form");
    wg_error_hint(err, "openssl x509 -inform der -in FILE makes PEM of DER");
    code = WG_CONFIG;
  }
  ERR_clear_error();
  return code;
}

static wg_code take_cert(wg_tls *tls, const file *f, wg_error *err) {
  BIO *bio = BIO_new_mem_buf(f->bytes, (int)f->len);
  if (!bio) return wg_error_set(err, WG_NOMEM, 0, "TLS: out of memory");
  wg_code code = WG_OK;
  X509 *own = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
  if (!own)
    code = file_fail(f, err, "has no certificate in PEM form");
  else if (SSL_CTX_use_certificate(tls->ctx, own) != 1)
    code = refused(f, err, "cannot use the certificate of");
  X509_free(own);
  for (X509 *x; code == WG_OK && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL));) {
    if (SSL_CTX_add0_chain_cert(tls->ctx, x) == 1) continue;
    X509_free(x);
    code = refused(f, err, "cannot use a certificate of");
  }
  BIO_free(bio);
  ERR_clear_error();
  return code;
}

/** Called for a key under a passphrase: there is nobody to ask. */
static int on_passphrase(char *buf, int size, int writing, void *user) {
  (void)buf, (void)size, (void)writing;
  *(bool *)user = true;
  return -1;
}

static wg_code take_key(wg_tls *tls, const file *f, wg_error *err) {
  bool locked = false;
  BIO *bio = BIO_new_mem_buf(f->bytes, (int)f->len);
  if (!bio) return wg_error_set(err, WG_NOMEM, 0, "TLS: out of memory");
  EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, &locked);
  BIO_free(bio);
  wg_code code = WG_OK;
  if (locked) {
    code = file_fail(f, err, "is protected by a passphrase");
    wg_error_hint(err, "openssl pkey -in FILE -out FILE takes it off; then chmod 600 FILE");
  } else if (!key) {
    code = file_fail(f, err, "has no private key in PEM form");
  } else if (SSL_CTX_use_PrivateKey(tls->ctx, key) != 1) {
    ERR_clear_error();
    code = file_fail(f, err, "does not belong to the certificate of 'tls_cert'");
  }
  EVP_PKEY_free(key);
  ERR_clear_error();
  return code;
}

/** Which file fails is told in *key. */
static wg_code take_files(wg_tls *tls, const wg_tls_config *config, EVP_MD_CTX *digest,
                          const char **key, wg_error *err) {
  file ca = {"tls_ca", config->ca, NULL, 0}, cert = {"tls_cert", config->cert, NULL, 0};
  file own = {"tls_key", config->key, NULL, 0};
  wg_code code = WG_OK;
  if (config->ca) {
    *key = ca.key;
    code = file_read(&ca, false, digest, err);
    if (code == WG_OK) code = take_ca(tls, &ca, err);
  } else if (SSL_CTX_set_default_verify_paths(tls->ctx) != 1) {
    *key = "tls";
    code = wg_error_set(err, WG_CONFIG, 0, "TLS: the system's certificates cannot be used: %s",
                        wg__tls_reason());
  }
  if (code == WG_OK && config->cert) {
    *key = cert.key;
    code = file_read(&cert, !config->key, digest, err);
    if (code == WG_OK) code = take_cert(tls, &cert, err);
    if (code == WG_OK && config->key) {
      *key = own.key;
      code = file_read(&own, true, digest, err);
    }
    if (code == WG_OK) code = take_key(tls, config->key ? &own : &cert, err);
  }
  file_release(&ca);
  file_release(&cert);
  file_release(&own);
  return code;
}

wg_code wg_tls_new(const wg_tls_config *config, wg_tls **out, const char **key, wg_error *err) {
  const char *ignored;
  unsigned len;
  if (!key) key = &ignored;
  *key = "tls";
  ERR_clear_error();
  wg_tls *tls = calloc(1, sizeof *tls);
  EVP_MD_CTX *digest = EVP_MD_CTX_new();
  if (tls) tls->ctx = SSL_CTX_new(TLS_client_method());
  if (!tls || !tls->ctx || !digest) {
    free(tls);
    EVP_MD_CTX_free(digest);
    return wg_error_set(err, WG_NOMEM, 0, "TLS: out of memory");
  }
  atomic_init(&tls->refs, 1);
  tls->has_ca = config->ca != NULL;
  tls->has_cert = config->cert != NULL;
  int version = config->min_version == WG_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
  wg__tls_prepare(tls->ctx);
  wg_code code = WG_OK;
  if (SSL_CTX_set_min_proto_version(tls->ctx, version) != 1 ||
      EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
    code = wg_error_set(err, WG_UNSUPPORTED, 0, "TLS: the crypto library refuses: %s",
                        wg__tls_reason());
  if (code == WG_OK) code = take_files(tls, config, digest, key, err);
  if (code == WG_OK && EVP_DigestFinal_ex(digest, tls->digest, &len) != 1)
    code = wg_error_set(err, WG_IO, 0, "TLS: the crypto library cannot compute SHA-256");
  EVP_MD_CTX_free(digest);
  if (code != WG_OK) {
    wg_tls_free(tls);
    return code;
  }
  *out = tls;
  return WG_OK;
}

wg_tls *wg_tls_ref(wg_tls *tls) {
  atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
  return tls;
}

void wg_tls_free(wg_tls *tls) {
  if (!tls || atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) > 1) return;
  SSL_CTX_free(tls->ctx);
  free(tls);
}

/* ---- what holds ---- */

static bool same(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

bool wg_tls_same(const wg_tls_config *a, const wg_tls_config *b) {
  return a->mode == b->mode && a->negotiation == b->negotiation &&
         a->min_version == b->min_version && a->channel_binding == b->channel_binding &&
         same(a->ca, b->ca) && same(a->cert, b->cert) && same(a->key, b->key) &&
         same(a->server_name, b->server_name) && !a->made == !b->made &&
         (!a->made || memcmp(a->made->digest, b->made->digest, sizeof a->made->digest) == 0);
}

static bool is_here(const struct sockaddr_storage *a) {
  if (a->ss_family == AF_INET)
    return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
  if (a->ss_family != AF_INET6) return false;
  const struct in6_addr *in6 = &((const struct sockaddr_in6 *)a)->sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
}

wg_tls_mode wg_tls_mode_for(const wg_tls_config *config, const struct sockaddr_storage *address) {
  if (address->ss_family == AF_UNIX) return WG_TLS_DISABLE;
  if (config->mode != WG_TLS_AUTO) return config->mode;
  bool asked = config->ca || config->cert || config->server_name ||
               config->negotiation == WG_TLS_DIRECT ||
               config->channel_binding == WG_TLS_BINDING_REQUIRE;
  return asked || !is_here(address) ? WG_TLS_VERIFY_FULL : WG_TLS_DISABLE;
}

const char *wg_tls_name_of(const wg_database_config *d, const char *dialled) {
  wg_dns_addr ip;
  if (d->tls.server_name) return d->tls.server_name;
  bool name = dialled[0] != '/' && !wg_dns_literal(dialled, strlen(dialled), &ip);
  return name ? dialled : d->host;
}
