/* SPDX-License-Identifier: Apache-2.0 */
/** @file db.h  The host's database-proxy, the same for both WASI generations (db_p2.c, db_p3.c). */
#pragma once
#include <warpgrid/sdk/pg.h>

/** Cases of `db-error` in the order of the WIT; both generations have the same. */
typedef enum wg_db_errc {
  WG_DB_INVALID_HANDLE,
  WG_DB_INVALID_ARGUMENT,
  WG_DB_NOT_ALLOWED,
  WG_DB_CONNECTION_FAILED,
  WG_DB_CONNECTION_LOST,
  WG_DB_AUTHENTICATION_FAILED,
  WG_DB_POOL_EXHAUSTED,
  WG_DB_TIMEOUT,
  WG_DB_WOULD_BLOCK,
  WG_DB_UNSUPPORTED,
  WG_DB_OK = 255
} wg_db_errc;

typedef struct wg_db_error {
  wg_db_errc code;
  char message[200]; /**< NUL-terminated */
} wg_db_error;

/** Bytes that the host gave; free(ptr). */
typedef struct wg_db_bytes {
  uint8_t *ptr;
  size_t len;
} wg_db_bytes;

typedef enum wg_db_kind { WG_DB_KIND_POSTGRES, WG_DB_KIND_MYSQL, WG_DB_KIND_REDIS } wg_db_kind;

/** One function of the WIT each. @return true, or false with *err filled in */
bool wg_db_connect(wg_db_kind kind, const wg_pg_config *config, uint64_t *handle, wg_db_error *err);
bool wg_db_open(const char *host, uint16_t port, uint64_t *handle, wg_db_error *err);
bool wg_db_send(uint64_t handle, const void *bytes, size_t len, size_t *sent, wg_db_error *err);
bool wg_db_recv(uint64_t handle, uint32_t max_bytes, wg_db_bytes *got, wg_db_error *err);
bool wg_db_close(uint64_t handle, wg_db_error *err);

/** Sends all of it. */
bool wg_db_send_all(uint64_t handle, const void *bytes, size_t len, wg_db_error *err);
/** "pool-exhausted", ...: the name of the case in the WIT. */
const char *wg_db_errc_name(wg_db_errc code);
/** Copies a message from the host, cut to fit. */
void wg_db_error_set(wg_db_error *err, wg_db_errc code, const void *message, size_t len);
