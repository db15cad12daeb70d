/* SPDX-License-Identifier: Apache-2.0 */
/** @file warpgrid/sdk/base.h  What the guest library's headers share. Guests have one thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define WG_SDK_PRINTF(fmt_arg, first_arg) __attribute__((format(printf, fmt_arg, first_arg)))

/** Bytes with a length: not NUL-terminated, may hold NUL bytes. ptr is NULL when there is nothing,
 *  and not NULL for an empty value. Borrowed; who returns one says for how long. */
typedef struct wg_str {
  const char *ptr;
  size_t len;
} wg_str;

/** A wg_str of a string literal. */
#define WG_STR(literal) ((wg_str){"" literal "", sizeof(literal) - 1})
/** For printf: `printf("%.*s", WG_STR_ARGS(s))`. */
#define WG_STR_ARGS(s) (int)(s).len, (s).ptr

/** True when `s` is exactly the NUL-terminated `text`. */
bool wg_str_is(wg_str s, const char *text);
/** Reads a whole decimal integer: an optional '-', then digits, nothing else.
 *  @return false (and *out untouched) for anything else or out of range */
bool wg_str_int64(wg_str s, int64_t *out);

#ifdef __cplusplus
}
#endif
