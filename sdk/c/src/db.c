/* SPDX-License-Identifier: Apache-2.0 */
#include "db.h"

bool wg_db_send_all(uint64_t handle, const void *bytes, size_t len, wg_db_error *err) {
  const char *p = bytes;
  while (len > 0) {
    size_t sent;
    if (!wg_db_send(handle, p, len, &sent, err)) return false;
    if (sent == 0 || sent > len) {
      wg_db_error_set(err, WG_DB_CONNECTION_LOST, "the host took a wrong number of bytes", 37);
      return false;
    }
    p += sent;
    len -= sent;
  }
  return true;
}

const char *wg_db_errc_name(wg_db_errc code) {
  switch (code) {
  case WG_DB_INVALID_HANDLE: return "invalid-handle";
  case WG_DB_INVALID_ARGUMENT: return "invalid-argument";
  case WG_DB_NOT_ALLOWED: return "not-allowed";
  case WG_DB_CONNECTION_FAILED: return "connection-failed";
  case WG_DB_CONNECTION_LOST: return "connection-lost";
  case WG_DB_AUTHENTICATION_FAILED: return "authentication-failed";
  case WG_DB_POOL_EXHAUSTED: return "pool-exhausted";
  case WG_DB_TIMEOUT: return "timeout";
  case WG_DB_WOULD_BLOCK: return "would-block";
  case WG_DB_UNSUPPORTED: return "unsupported";
  case WG_DB_OK: return "ok";
  }
  return "unknown";
}

void wg_db_error_set(wg_db_error *err, wg_db_errc code, const void *message, size_t len) {
  if (len > sizeof err->message - 1) len = sizeof err->message - 1;
  err->code = code;
  memcpy(err->message, message, len);
  err->message[len] = '\0';
}
