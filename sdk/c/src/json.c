/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <warpgrid/sdk/json.h>

json_t *wg_http_json_body(const wg_http_request *req, json_error_t *error) {
  wg_str body = wg_http_body(req);
  return json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, error);
}

static int on_dump(const char *bytes, size_t len, void *res) {
  wg_http_write(res, bytes, len);
  return 0;
}

void wg_http_json(wg_http_response *res, uint16_t status, json_t *value) {
  wg_http_reset(res);
  wg_http_status(res, status);
  wg_http_header(res, "content-type", "application/json");
  if (value == NULL ||
      json_dump_callback(value, on_dump, res, JSON_COMPACT | JSON_ENCODE_ANY) != 0) {
    wg_http_reset(res);
    wg_http_status(res, 500);
  }
  json_decref(value);
}

/* Bytes of the UTF-8 character at p, 0 when there is none (RFC 3629 section 4). */
static size_t utf8_length(const unsigned char *p, size_t len) {
  if (p[0] < 0x80) return 1;
  size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
  if (p[0] < 0xc2 || p[0] > 0xf4 || n > len) return 0;
  for (size_t i = 1; i < n; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
      (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
    return 0;
  return n;
}

json_t *wg_json_string(wg_str s) {
  json_t *value = json_stringn(s.ptr == NULL ? "" : s.ptr, s.len);
  if (value != NULL || s.len > SIZE_MAX / 4) return value;
  char *fixed = malloc(s.len * 3);
  if (fixed == NULL) return NULL;
  size_t out = 0;
  for (size_t i = 0; i < s.len;) {
    size_t n = utf8_length((const unsigned char *)s.ptr + i, s.len - i);
    memcpy(fixed + out, n == 0 ? "\xef\xbf\xbd" : s.ptr + i, n == 0 ? 3 : n);
    out += n == 0 ? 3 : n;
    i += n == 0 ? 1 : n;
  }
  value = json_stringn(fixed, out);
  free(fixed);
  return value;
}
