/* SPDX-License-Identifier: Apache-2.0 */
#include "db/certs.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(x)                                                \
  do {                                                          \
    if (!(x)) {                                                 \
      fprintf(stderr, "certs.c:%d: %s failed\n", __LINE__, #x); \
      abort();                                                  \
    }                                                           \
  } while (0)

static char folder[] = "/tmp/wg_certsXXXXXX";
static bool made;
static char *paths[128];
static size_t path_count;

const char *certs_folder(void) {
  if (!made) CHECK(mkdtemp(folder));
  made = true;
  return folder;
}

char *certs_path(const char *file, const char *ext) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s.%s", certs_folder(), file, ext);
  for (size_t i = 0; i < path_count; i++)
    if (strcmp(paths[i], path) == 0) return paths[i];
  CHECK(path_count < sizeof paths / sizeof *paths);
  return paths[path_count++] = strdup(path);
}

void certs_write(const char *file, const char *ext, const char *text, unsigned mode) {
  FILE *f = fopen(certs_path(file, ext), "w");
  CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
  CHECK(chmod(certs_path(file, ext), mode) == 0);
}

void certs_remove(void) {
  for (size_t i = 0; i < path_count; i++) {
    unlink(paths[i]);
    free(paths[i]);
  }
  path_count = 0;
  if (made) CHECK(rmdir(folder) == 0);
  made = false;
  memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
}

static void add_extension(X509 *x, X509 *issuer, int nid, const char *value) {
  X509V3_CTX ctx;
  X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
  X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
  CHECK(e && X509_add_ext(x, e, -1) == 1);
  X509_EXTENSION_free(e);
}

void certs_make(const cert_spec *s) {
  static long serial;
  EVP_PKEY *key = s->ed25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                  : s->rsa   ? EVP_RSA_gen(2048)
                             : EVP_EC_gen("P-256");
  X509 *x = X509_new(), *issuer = x;
  EVP_PKEY *issuer_key = key;
  CHECK(key && x);
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), getpid() * 1000L + ++serial);
  bool days = s->from_days || s->until_days;
  X509_time_adj_ex(X509_getm_notBefore(x), days ? s->from_days : -1, 0, NULL);
  X509_time_adj_ex(X509_getm_notAfter(x), days ? s->until_days : 1, 0, NULL);
  X509_set_pubkey(x, key);
  X509_NAME *name = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)s->cn, -1, -1, 0);
  if (s->issuer) {
    FILE *f = fopen(certs_path(s->issuer, "crt"), "r");
    CHECK(f && (issuer = PEM_read_X509(f, NULL, NULL, NULL)));
    fclose(f);
    f = fopen(certs_path(s->issuer, "key"), "r");
    CHECK(f && (issuer_key = PEM_read_PrivateKey(f, NULL, NULL, NULL)));
    fclose(f);
  }
  X509_set_issuer_name(x, X509_get_subject_name(issuer));
  add_extension(x, issuer, NID_basic_constraints, s->ca ? "critical,CA:TRUE" : "CA:FALSE");
  add_extension(x, issuer, NID_subject_key_identifier, "hash");
  add_extension(x, issuer, NID_authority_key_identifier, "keyid");
  if (s->san) add_extension(x, issuer, NID_subject_alt_name, s->san);
  bool none = EVP_PKEY_get_id(issuer_key) == EVP_PKEY_ED25519;
  const EVP_MD *md = none ? NULL : s->digest ? EVP_get_digestbynid(s->digest) : EVP_sha256();
  CHECK(X509_sign(x, issuer_key, md) > 0);
  FILE *f = fopen(certs_path(s->file, "crt"), "w");
  CHECK(f && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
  f = fopen(certs_path(s->file, "key"), "w");
  CHECK(f && PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(f) == 0);
  CHECK(chmod(certs_path(s->file, "key"), 0600) == 0);
  if (s->issuer) {
    X509_free(issuer);
    EVP_PKEY_free(issuer_key);
  }
  X509_free(x);
  EVP_PKEY_free(key);
}

void certs_make_all(void) {
  const cert_spec all[] = {
      {.file = "ca", .cn = "test authority", .ca = true},
      {.file = "server",
       .cn = "db.example",
       .issuer = "ca",
       .san = "DNS:db.example,DNS:*.wild.example,IP:127.0.0.1"},
      {.file = "client", .cn = "app", .issuer = "ca"},
      {.file = "expired",
       .cn = "db.example",
       .issuer = "ca",
       .san = "DNS:db.example",
       .from_days = -20,
       .until_days = -10},
      {.file = "future",
       .cn = "db.example",
       .issuer = "ca",
       .san = "DNS:db.example",
       .from_days = 10,
       .until_days = 20},
      {.file = "other",
       .cn = "other.example",
       .issuer = "ca",
       .san = "DNS:other.example,DNS:third.example,IP:10.1.2.3"},
      {.file = "self", .cn = "db.example", .san = "DNS:db.example"},
      {.file = "strangers", .cn = "strange authority", .ca = true},
      {.file = "stranger", .cn = "db.example", .issuer = "strangers", .san = "DNS:db.example"},
  };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) certs_make(&all[i]);
}

int certs_setup(void **state) {
  (void)state;
  certs_make_all();
  return 0;
}

int certs_teardown(void **state) {
  (void)state;
  certs_remove();
  return 0;
}
