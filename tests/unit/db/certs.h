/* SPDX-License-Identifier: Apache-2.0 */
/** @file certs.h  Certificates and keys for tests, made on the spot, in a folder of their own. */
#pragma once
#include <stdbool.h>

typedef struct cert_spec {
  const char *file;   /* FILE.crt and FILE.key */
  const char *cn;     /* common name */
  const char *san;    /* as in openssl's config: "DNS:db.example,IP:127.0.0.1"; NULL: none */
  const char *issuer; /* FILE of another that was made before; NULL: by itself */
  bool ca;            /* may issue */
  int from_days, until_days; /* from now; both 0: valid from yesterday until tomorrow */
  int digest; /* NID of the signature's digest; 0: SHA-256 */
  bool ed25519; /* a key without a digest, in place of ECDSA */
  bool rsa;
} cert_spec;

/** Makes the folder; the path stays valid until certs_remove(). */
const char *certs_folder(void);
/** "FOLDER/FILE.EXT"; kept until certs_remove(). */
char *certs_path(const char *file, const char *ext);
void certs_make(const cert_spec *spec);
/** The set that most tests want: "ca"; "server" (db.example, *.wild.example, 127.0.0.1) and "client"
 *  (CN app) from it; "expired", "future", "other" (another name), "self" (self-signed for
 *  db.example), "stranger" (from an unknown issuer). */
void certs_make_all(void);
/** Writes a file of the folder. */
void certs_write(const char *file, const char *ext, const char *text, unsigned mode);
void certs_remove(void);
/** certs_make_all() and certs_remove() around a group of tests. */
int certs_setup(void **state);
int certs_teardown(void **state);
