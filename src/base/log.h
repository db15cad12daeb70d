/* SPDX-License-Identifier: Apache-2.0 */
/** @file log.h  Levelled events with typed pairs, as logfmt or JSON lines on stderr.
 *  Thread-safe: one write(2) a line. Escaping is done here and nowhere else. */
#pragma once
#include "base/base.h"

typedef enum wg_log_level { WG_LOG_ERROR, WG_LOG_WARN, WG_LOG_INFO, WG_LOG_DEBUG } wg_log_level;
typedef enum wg_log_format { WG_LOG_LOGFMT, WG_LOG_JSON } wg_log_format;

/** Where an event comes from; printed with it. Zero fields are left out. */
typedef struct wg_log_ctx {
  const char *app; /**< borrowed for the call */
  unsigned worker; /**< 1-based */
  uint64_t request; /**< request or connection id */
} wg_log_ctx;

typedef struct wg_kv {
  const char *key;
  enum {
    WG_KV_STR,
    WG_KV_STRN,
    WG_KV_INT,
    WG_KV_UINT,
    WG_KV_BOOL,
    WG_KV_SECRET,
    WG_KV_DOUBLE
  } type;
  union {
    const char *s;
    struct {
      const char *p;
      size_t n;
    } strn;
    int64_t i;
    uint64_t u;
    double d;
    bool b;
  } v;
} wg_kv;
#define WG_KV_S(k, val) ((wg_kv){.key = (k), .type = WG_KV_STR, .v.s = (val)})
#define WG_KV_N(k, ptr, len) ((wg_kv){.key = (k), .type = WG_KV_STRN, .v.strn = {(ptr), (len)}})
#define WG_KV_I(k, val) ((wg_kv){.key = (k), .type = WG_KV_INT, .v.i = (int64_t)(val)})
#define WG_KV_U(k, val) ((wg_kv){.key = (k), .type = WG_KV_UINT, .v.u = (uint64_t)(val)})
#define WG_KV_B(k, val) ((wg_kv){.key = (k), .type = WG_KV_BOOL, .v.b = (val)})
#define WG_KV_F(k, val) ((wg_kv){.key = (k), .type = WG_KV_DOUBLE, .v.d = (val)})
/** Prints "***", whatever is given. */
#define WG_KV_X(k, secret) \
  ((wg_kv){.key = (k), .type = WG_KV_SECRET, .v.s = ((void)(secret), NULL)})

/** Process-wide; call before threads start. fd is borrowed (default 2). */
void wg_log_setup(wg_log_level level, wg_log_format format, int fd);
bool wg_log_enabled(wg_log_level level);
/** One event: a stable lower_snake_case name and pairs. `ctx` may be NULL. */
void wg__log(const wg_log_ctx *ctx, wg_log_level level, const char *event, const wg_kv *kv,
             size_t n);
#define wg_log(ctx, level, event, ...)                                               \
  do {                                                                               \
    if (wg_log_enabled(level)) {                                                     \
      const wg_kv wg_kvs_[] = {__VA_ARGS__};                                         \
      wg__log((ctx), (level), (event), wg_kvs_, sizeof wg_kvs_ / sizeof wg_kvs_[0]); \
    }                                                                                \
  } while (0)
/** An event without pairs. */
#define wg_log0(ctx, level, event) wg__log((ctx), (level), (event), NULL, 0)

/** At most `burst` events a second pass; the next one that does carries how many were held back.
 *  Zero-initialise; one per call site or object; not thread-safe. */
typedef struct wg_log_limit {
  uint64_t second;
  uint32_t passed;
  uint32_t suppressed;
} wg_log_limit;
/** True when the event may be logged; *suppressed then says how many were not since the last one. */
bool wg_log_allow(wg_log_limit *l, uint32_t burst, uint64_t now_ms, uint32_t *suppressed);
/** Test seam: a sink that gets each finished line instead of the fd; NULL restores. */
void wg__log_sink(void (*sink)(void *user, const char *line, size_t len), void *user);
