/* SPDX-License-Identifier: Apache-2.0 */
/** @file support.h  Helpers of the config tests. */
#pragma once
#include "config/config.h"

/** Parses a text as "w.toml"; the error and the warnings are in the two globals below. */
wg_code parse(const char *text, wg_config **out);
extern wg_error parse_error;
extern char parse_warnings[8192]; /**< one a line */

/** Parses what must be right. The caller frees. */
wg_config *parse_ok(const char *text);
/** Asserts that a text fails with this message, and with a hint that contains `hint` (or NULL). */
void parse_fails(const char *text, const char *message, const char *hint);
