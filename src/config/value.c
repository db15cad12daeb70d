/* SPDX-License-Identifier: Apache-2.0 */
#include "config/value.h"

#include "base/buf.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEAREST_NAME_MAX = 63, ENV_TEXT_MAX = 1 << 20 };

typedef struct unit {
  const char *name;
  uint64_t factor;
} unit;
static const unit size_units[] = {{"GiB", 1u << 30},  {"MiB", 1u << 20}, {"KiB", 1u << 10},
                                  {"GB", 1000000000}, {"MB", 1000000},   {"kB", 1000},
                                  {"KB", 1000},       {"B", 1}};
static const unit time_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

static bool parse_with_unit(const char *text, const unit *units, size_t count, uint64_t *out) {
  uint64_t n = 0;
  const char *p = text;
  if (*p < '0' || *p > '9') return false;
  for (; *p >= '0' && *p <= '9'; p++) {
    if (n > (UINT64_MAX - 9) / 10) return false;
    n = n * 10 + (uint64_t)(*p - '0');
  }
  while (*p == ' ') p++;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(p, units[i].name) != 0) continue;
    return !__builtin_mul_overflow(n, units[i].factor, out);
  }
  return false;
}

bool cfg_parse_size(const char *text, uint64_t *bytes) {
  return parse_with_unit(text, size_units, WG_COUNT(size_units), bytes);
}

bool cfg_parse_duration(const char *text, uint64_t *ms) {
  return parse_with_unit(text, time_units, WG_COUNT(time_units), ms);
}

static void format_with_unit(uint64_t n, const unit *units, size_t count, char out[32]) {
  size_t i = 0;
  while (i + 1 < count && (n < units[i].factor || n % units[i].factor)) i++;
  snprintf(out, 32, "%" PRIu64 "%s", n / units[i].factor, units[i].name);
}

void cfg_format_size(uint64_t bytes, char out[32]) {
  /* Binary units only, then plain bytes: 1,000,000 is rarely meant. */
  static const unit binary[] = {{"GiB", 1u << 30}, {"MiB", 1u << 20}, {"KiB", 1u << 10}, {"B", 1}};
  format_with_unit(bytes, binary, WG_COUNT(binary), out);
}

void cfg_format_duration(uint64_t ms, char out[32]) {
  static const unit seconds[] = {{"s", 1000}, {"ms", 1}};
  if (ms == 0)
    memcpy(out, "0s", 3);
  else
    format_with_unit(ms, seconds, WG_COUNT(seconds), out);
}

static bool env_name_ok(const char *p, size_t n) {
  if (n == 0 || (p[0] >= '0' && p[0] <= '9')) return false;
  for (size_t i = 0; i < n; i++)
    if (!isalnum((unsigned char)p[i]) && p[i] != '_') return false;
  return true;
}

/** Appends the value of the reference that begins at p ("${"); *end is behind its "}". */
static wg_code env_put(wg_buf *out, const char *p, const char **end, wg_error *err) {
  const char *name = p + 2, *close = strchr(name, '}');
  if (!close) return wg_error_set(err, WG_CONFIG, 0, "'${' without '}'");
  const char *standard = NULL;
  size_t len = (size_t)(close - name);
  for (size_t i = 0; i + 1 < len; i++) {
    if (name[i] == ':' && name[i + 1] == '-') {
      standard = name + i + 2;
      len = i;
      break;
    }
  }
  if (len > 255 || !env_name_ok(name, len))
    return wg_error_set(err, WG_CONFIG, 0, "'${...}' needs the name of an environment variable");
  char key[256];
  memcpy(key, name, len);
  key[len] = '\0';
  const char *value = getenv(key);
  if (value && (*value || !standard)) {
    wg_buf_put(out, value, strlen(value));
  } else if (standard) {
    wg_buf_put(out, standard, (size_t)(close - standard));
  } else {
    wg_error_set(err, WG_CONFIG, 0, "the environment variable '%s' is not set", key);
    wg_error_hint(err, "set %s, or give a default: ${%s:-default}", key, key);
    return WG_CONFIG;
  }
  *end = close + 1;
  return WG_OK;
}

wg_code cfg_expand_env(const char *text, char **out, wg_error *err) {
  wg_buf b;
  wg_buf_init(&b, ENV_TEXT_MAX);
  wg_code code = WG_OK;
  for (const char *p = text; *p && code == WG_OK;) {
    if (p[0] == '$' && p[1] == '$' && p[2] == '{') {
      wg_buf_put(&b, "${", 2);
      p += 3;
    } else if (p[0] == '$' && p[1] == '{') {
      code = env_put(&b, p, &p, err);
    } else {
      wg_buf_put(&b, p++, 1);
    }
  }
  wg_buf_put_u8(&b, 0);
  if (code == WG_OK && b.failed)
    code = b.nomem ? wg_error_set(err, WG_NOMEM, 0, "out of memory")
                   : wg_error_set(err, WG_CONFIG, 0, "the text is longer than 1 MiB");
  if (code == WG_OK) {
    *out = (char *)b.data; /* nothing was taken: data is the start of the block */
    return WG_OK;
  }
  if (b.data) wg_wipe(b.data, b.cap);
  wg_buf_release(&b);
  return code;
}

/** Optimal string alignment distance. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m) {
  size_t rows[3][NEAREST_NAME_MAX + 2];
  size_t *two_ago = rows[0], *ago = rows[1], *now = rows[2];
  for (size_t j = 0; j <= m; j++) ago[j] = j;
  for (size_t i = 1; i <= n; i++) {
    now[0] = i;
    for (size_t j = 1; j <= m; j++) {
      size_t best = ago[j - 1] + (a[i - 1] != b[j - 1]);
      if (ago[j] + 1 < best) best = ago[j] + 1;
      if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
          two_ago[j - 2] + 1 < best)
        best = two_ago[j - 2] + 1;
      now[j] = best;
    }
    size_t *spare = two_ago;
    two_ago = ago;
    ago = now;
    now = spare;
  }
  return ago[m];
}

/** Case and the kind of dash do not make a different name. */
static size_t fold(const char *name, char out[NEAREST_NAME_MAX + 1]) {
  size_t n = strlen(name);
  if (n > NEAREST_NAME_MAX) return 0;
  for (size_t i = 0; i <= n; i++) {
    char c = (char)tolower((unsigned char)name[i]);
    out[i] = c == '-' ? '_' : c;
  }
  return n;
}

const char *cfg_nearest(const char *name, const char *(*next)(void *user), void *user) {
  char want[NEAREST_NAME_MAX + 1], have[NEAREST_NAME_MAX + 1];
  size_t n = fold(name, want);
  if (n == 0) return NULL;
  const char *best = NULL;
  size_t best_distance = SIZE_MAX;
  for (const char *candidate; (candidate = next(user));) {
    size_t m = fold(candidate, have);
    if (m == 0) continue;
    size_t d = edit_distance(want, n, have, m);
    /* A slip changes about a third of a word at most; a part of a long word is one too, and so is
     * a word with more behind it ("ttl_secs"). */
    size_t near = (m > n ? m : n) / 3;
    bool part = (n >= 3 && strstr(have, want) != NULL) ||
                (n > m && want[m] == '_' && memcmp(want, have, m) == 0);
    if (d > (near ? near : 1) && !part) continue;
    if (d < best_distance) {
      best = candidate;
      best_distance = d;
    }
  }
  return best;
}

typedef struct name_list {
  const char *const *names;
  size_t left;
} name_list;
static const char *name_list_next(void *user) {
  name_list *l = user;
  return l->left ? (l->left--, *l->names++) : NULL;
}
const char *cfg_nearest_of(const char *name, const char *const *names, size_t count) {
  return cfg_nearest(name, name_list_next, &(name_list){names, count});
}
