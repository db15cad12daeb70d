/* SPDX-License-Identifier: Apache-2.0 */
/** @file value.h  Texts of values: sizes, durations, ${ENV}, nearest names. Pure functions. */
#pragma once
#include "base/base.h"

/** "128MiB", "64KiB", "1GiB", "10MB", "512B" (1024 for KiB, 1000 for kB) to bytes.
 *  @return false when it is none, or does not fit */
bool cfg_parse_size(const char *text, uint64_t *bytes);
/** "500ms", "30s", "5m", "1h" to milliseconds.
 *  @return false when it is none, or does not fit */
bool cfg_parse_duration(const char *text, uint64_t *ms);
/** The shortest text that cfg_parse_size() and cfg_parse_duration() read back. */
void cfg_format_size(uint64_t bytes, char out[32]);
void cfg_format_duration(uint64_t ms, char out[32]);

/** Replaces ${NAME} and ${NAME:-default} by the environment's values; "$${" stands for "${".
 *  @param out  owned by the caller (may hold a secret: wipe)
 *  @return WG_OK; WG_CONFIG (not set, not closed, not a name: the message has no position);
 *          WG_NOMEM */
WG_MUSTCHECK wg_code cfg_expand_env(const char *text, char **out, wg_error *err);

/** The candidate nearest to `name` in edit distance (a swap of neighbours counts one); NULL when
 *  none is near enough to be a slip. `next` gives candidates until NULL. */
const char *cfg_nearest(const char *name, const char *(*next)(void *user), void *user);
/** The same over an array. */
const char *cfg_nearest_of(const char *name, const char *const *names, size_t count);
