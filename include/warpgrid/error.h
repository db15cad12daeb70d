/* SPDX-License-Identifier: Apache-2.0 */
/** @file warpgrid/error.h  A code for programs and a sentence for people. */
#pragma once
#ifdef __cplusplus
extern "C" {
#endif

#define WG_MUSTCHECK __attribute__((warn_unused_result))
#define WG_PRINTF(fmt_arg, first_arg) __attribute__((format(printf, fmt_arg, first_arg)))
#define WG_API __attribute__((visibility("default")))

/** One list makes the enum, wg_code_name(), the table in docs/ and "code" in --json. */
#define WG_CODE_MAP(XX)                   \
  XX(OK, 0, "ok")                         \
  XX(INVALID, -1, "invalid argument")     \
  XX(NOMEM, -2, "out of memory")          \
  XX(IO, -3, "I/O failure")               \
  XX(TIMEOUT, -4, "timed out")            \
  XX(CANCELED, -5, "canceled")            \
  XX(NOT_FOUND, -6, "not found")          \
  XX(CONFIG, -7, "invalid configuration") \
  XX(COMPONENT, -8, "invalid component")  \
  XX(LINK, -9, "missing import")          \
  XX(REFUSED, -10, "refused by policy")   \
  XX(PROTOCOL, -11, "protocol violation") \
  XX(AUTH, -12, "authentication failed")  \
  XX(EXHAUSTED, -13, "limit reached")     \
  XX(LOST, -14, "connection lost")        \
  XX(UNSUPPORTED, -15, "not supported")   \
  XX(TRAP, -16, "guest trapped")          \
  XX(AGAIN, -17, "would block")

#define XX(name, value, text) WG_##name = value,
typedef enum wg_code { WG_CODE_MAP(XX) } wg_code;
#undef XX

/** A plain value: lives on the stack, copies, owns nothing. */
typedef struct wg_error {
  wg_code code;
  int sys;       /**< errno, UV_E* or ARES_E* of the first cause; 0 if none */
  char msg[512]; /**< NUL-terminated, outermost context first, cut with "..." */
  char hint[512]; /**< what to do about it, one or more lines; "" if there is nothing to say */
} wg_error;

/** Fills *err (NULL is fine; an earlier hint is cleared) and returns `code`, so that
 *  `return wg_error_set(...)` works. */
WG_API wg_code wg_error_set(wg_error *err, wg_code code, int sys, const char *fmt, ...)
    WG_PRINTF(4, 5);
#ifdef __clang_analyzer__
/* The analyzer does not look into other files: show it that the code comes back unchanged, or it
 * takes every failure for a possible success. */
#define wg_error_set(err, code, ...) ((void)wg_error_set((err), (code), __VA_ARGS__), (code))
#endif
/** Puts "context: " in front of err->msg on the way up; keeps code, sys and hint. */
WG_API void wg_error_wrap(wg_error *err, const char *fmt, ...) WG_PRINTF(2, 3);
/** Sets err->hint (NULL err is fine). */
WG_API void wg_error_hint(wg_error *err, const char *fmt, ...) WG_PRINTF(2, 3);
/** The stable lower-case text of a code, "unknown" for others; never NULL. */
WG_API const char *wg_code_name(wg_code code);

#ifdef __cplusplus
}
#endif
