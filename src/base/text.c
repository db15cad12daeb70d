/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/** Length of the UTF-8 sequence at p, 0 when the bytes are none: no overlong form, no surrogate,
 *  nothing beyond U+10FFFF (RFC 3629, section 4). */
static size_t utf8_len(const unsigned char *p, size_t n) {
  size_t len = 0;
  if (p[0] < 0x80)
    len = 1;
  else if (p[0] >= 0xC2 && p[0] <= 0xDF)
    len = 2;
  else if ((p[0] & 0xF0) == 0xE0)
    len = 3;
  else if (p[0] >= 0xF0 && p[0] <= 0xF4)
    len = 4;
  if (len == 0 || len > n) return 0;
  for (size_t i = 1; i < len; i++)
    if ((p[i] & 0xC0) != 0x80) return 0;
  if (len == 3 && ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F))) return 0;
  if (len == 4 && ((p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))) return 0;
  return len;
}

size_t wg_json_escape(const char *s, size_t n, char out[8], size_t *len) {
  const unsigned char *p = (const unsigned char *)s;
  size_t used = utf8_len(p, n);
  unsigned code = p[0];
  if (used == 0) {
    used = 1;
    code = 0xFFFD;
  } else if (used == 2 && p[0] == 0xC2 && p[1] < 0xA0) {
    code = p[1];
  } else if (code == '"' || code == '\\' || code == '\n' || code == '\r' || code == '\t') {
    out[0] = '\\';
    out[1] = code == '\n' ? 'n' : code == '\r' ? 'r' : code == '\t' ? 't' : (char)code;
    *len = 2;
    return used;
  } else if (code >= 0x20 && code != 0x7F) {
    memcpy(out, s, used);
    *len = used;
    return used;
  }
  snprintf(out, 8, "\\u%04x", code);
  *len = 6;
  return used;
}

const char *wg_os_error(int sys) {
  static _Thread_local char text[128];
  const char *found = strerror_r(sys, text, sizeof text);
  if (found != text) snprintf(text, sizeof text, "%s", found);
  /* "Is a directory", but not "RFS specific error". */
  if (text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z'))
    text[0] = (char)(text[0] - 'A' + 'a');
  return text;
}
