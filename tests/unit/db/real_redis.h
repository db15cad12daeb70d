/* SPDX-License-Identifier: Apache-2.0 */
/** @file real_redis.h  A Redis (or Valkey) server of its own in a temporary folder, on a free port of
 *  127.0.0.1: the default user's password is "secret"; users "app" ("secret") and "other" ("another one").
 *  WARPGRID_REDIS_SERVER names the program where it is not found. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

typedef struct real_redis_spec {
  const char *tls; /**< a folder with server.crt, server.key and ca.crt: TLS only; NULL: without */
  const char *lines; /**< of its configuration; NULL: none */
  bool old; /**< knows neither RESET nor HELLO */
} real_redis_spec;

/** @return false: no server is installed, which was said. Aborts on failure. */
bool real_redis_start(const real_redis_spec *spec);
/** Does nothing when it was not started. */
/** True between start and stop. */
bool real_redis_running(void);
void real_redis_stop(void);
uint16_t real_redis_port(void);
/** Where its Unix socket "redis.sock" is. */
const char *real_redis_dir(void);
/** Stops the server in its tracks, or lets it go on. */
void real_redis_freeze(bool frozen);
/** Ends all sessions, and starts again on the same port. */
void real_redis_restart(void);
