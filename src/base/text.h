/* SPDX-License-Identifier: Apache-2.0 */
/** @file text.h  The one place that knows UTF-8 and JSON's escapes. */
#pragma once
#include "base/base.h"

/** Writes the next character of a text as it may stand in a JSON string, which is also safe on a
 *  terminal: quotes, backslashes, controls (C0, DEL, C1) are escaped, and a byte that is no UTF-8
 *  (RFC 3629) becomes U+FFFD.
 *  @param s    at least one byte of the text
 *  @param n    how many bytes are left; 1 or more
 *  @param out  gets 1..6 bytes, no NUL
 *  @param len  gets how many
 *  @return bytes of s that were used, 1..4 */
size_t wg_json_escape(const char *s, size_t n, char out[8], size_t *len);

/** What the system says about an errno, in the style of our messages: "no such file or directory".
 *  Borrowed; valid until the thread's next call. */
const char *wg_os_error(int sys);
