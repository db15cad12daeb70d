/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <warpgrid/sdk/base.h>

bool wg_str_is(wg_str s, const char *text) {
  size_t len = strlen(text);
  return s.ptr != NULL && s.len == len && memcmp(s.ptr, text, len) == 0;
}

bool wg_str_int64(wg_str s, int64_t *out) {
  if (s.ptr == NULL) return false;
  bool negative = s.len > 0 && s.ptr[0] == '-';
  if (s.len == (size_t)negative) return false;
  uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX, value = 0;
  for (size_t i = negative; i < s.len; i++) {
    unsigned digit = (unsigned)(unsigned char)s.ptr[i] - '0';
    if (digit > 9 || value > (limit - digit) / 10) return false;
    value = value * 10 + digit;
  }
  *out = negative ? (int64_t)(0 - value) : (int64_t)value;
  return true;
}
