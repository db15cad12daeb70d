/* SPDX-License-Identifier: Apache-2.0 */
/** @file real_postgres.h  A PostgreSQL cluster of its own in a temporary folder, on a free port of
 *  127.0.0.1: roles "app" (scram-sha-256), "app_md5" (md5), both with the password "secret", and the
 *  superuser "postgres" (trusted); database "shop". WARPGRID_PG_BINDIR names its programs where they
 *  are not found. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

typedef struct real_postgres_spec {
  const char *seed; /* SQL that the superuser runs in "shop" */
  const char *hba; /* pg_hba.conf; NULL: as above */
  const char *tls; /* a folder with server.crt, server.key and ca.crt; NULL: without TLS */
} real_postgres_spec;

/** @return false: PostgreSQL is not installed, which was said. Aborts on failure. */
bool real_postgres_start(const real_postgres_spec *spec);
/** NULL-safe: does nothing when it was not started. */
void real_postgres_stop(void);
/** SQL that the superuser runs in "shop"; false: refused, see the log. */
bool real_postgres_sql(const char *sql);
uint16_t real_postgres_port(void);
/** Where its Unix socket is. */
const char *real_postgres_dir(void);
/** Ends all sessions, and starts again on the same port. */
void real_postgres_restart(void);
