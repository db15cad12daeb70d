/* SPDX-License-Identifier: Apache-2.0 */
/** @file real_mysql.h  A MariaDB (or MySQL) server of its own in a temporary folder, on a free port of
 *  127.0.0.1: users "app" and "other" (mysql_native_password, "secret"), "app_ed" (ed25519, where the
 *  server has it), "nobody" (no password) and "root" (no password); databases "shop" and "till".
 *  WARPGRID_MYSQL_BINDIR names the folder of its programs where they are not found. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

typedef struct real_mysql_spec {
  const char *seed; /* more SQL for root, one statement a line; NULL: none */
  const char *tls; /* a folder with server.crt, server.key and ca.crt; NULL: without TLS */
} real_mysql_spec;

/** @return false: no server is installed, which was said. Aborts on failure. */
bool real_mysql_start(const real_mysql_spec *spec);
/** Does nothing when it was not started. */
void real_mysql_stop(void);
uint16_t real_mysql_port(void);
/** Where its Unix socket "mysqld.sock" is. */
const char *real_mysql_dir(void);
/** Stops the server in its tracks, or lets it go on. */
void real_mysql_freeze(bool frozen);
/** Ends all sessions, and starts again on the same port. */
void real_mysql_restart(void);
