/* SPDX-License-Identifier: Apache-2.0 */
#include "vfs/path.h"

#include <string.h>

/** Drops the last part. */
static void path_up(wg_path *p) {
  while (p->text[--p->len] != '/') {
  }
}

static wg_path_kind path_fail(wg_path *p, wg_path_kind kind) {
  p->text[0] = '\0';
  p->len = 0;
  p->directory = false;
  return kind;
}

wg_path_kind wg_path_canonical(const char *base, size_t base_len, const char *path, size_t len,
                               wg_path *out) {
  if (len > WG_PATH_MAX || base_len > WG_PATH_MAX || (base_len && base[0] != '/') ||
      (len && memchr(path, '\0', len)) || (base_len && memchr(base, '\0', base_len)))
    return path_fail(out, WG_PATH_INVALID);
  if (len == 0) return path_fail(out, base_len ? WG_PATH_EMPTY : WG_PATH_INVALID);
  if (base_len && path[0] == '/') return path_fail(out, WG_PATH_OUTSIDE);
  if (!base_len && path[0] != '/') return path_fail(out, WG_PATH_INVALID);
  /* While parts are added, "/" is the empty text. */
  out->len = base_len > 1 ? base_len : 0;
  out->directory = false;
  if (out->len) memcpy(out->text, base, out->len);
  size_t floor = out->len;
  for (size_t at = 0; at < len;) {
    size_t end = at;
    while (end < len && path[end] != '/') end++;
    size_t n = end - at;
    const char *part = path + at;
    bool up = n == 2 && part[0] == '.' && part[1] == '.', here = n == 1 && part[0] == '.';
    out->directory = end < len || up || here;
    if (up) {
      if (out->len > floor)
        path_up(out);
      else if (base_len)
        return path_fail(out, WG_PATH_OUTSIDE);
    } else if (n && !here) {
      if (n + 1 > WG_PATH_MAX - out->len) return path_fail(out, WG_PATH_INVALID);
      out->text[out->len++] = '/';
      memcpy(out->text + out->len, part, n);
      out->len += n;
    }
    at = end + 1;
  }
  if (out->len == 0) out->text[out->len++] = '/';
  out->text[out->len] = '\0';
  return WG_PATH_OK;
}

int wg_path_compare(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  unsigned x = (unsigned char)*a, y = (unsigned char)*b;
  if (x == y) return 0;
  /* The end, then '/', then the rest. */
  if (!x || !y) return x ? 1 : -1;
  if (x == '/' || y == '/') return x == '/' ? -1 : 1;
  return x < y ? -1 : 1;
}
