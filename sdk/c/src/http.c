/* SPDX-License-Identifier: Apache-2.0 */
#include "http_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((weak)) const size_t wg_http_body_limit = 1024 * 1024;

/* -- Request -- */

wg_str wg_http_copy(wg_http_request *req, const void *p, size_t len) {
  char *copy = wg_arena_alloc(&req->arena, len + 1);
  if (copy == NULL) return (wg_str){NULL, 0};
  memcpy(copy, p, len);
  copy[len] = '\0';
  return (wg_str){copy, len};
}

void *wg_http_alloc(wg_http_request *req, size_t size) { return wg_arena_alloc(&req->arena, size); }
wg_str wg_http_method(const wg_http_request *req) { return req->method; }
wg_str wg_http_body(const wg_http_request *req) { return req->body; }
wg_str wg_http_request_header(wg_http_request *req, const char *name) {
  return wg_http_host_header(req, name);
}

static wg_str http_target(wg_http_request *req) {
  if (!req->have_target) {
    req->target = wg_http_host_target(req);
    if (req->target.len == 0) req->target = WG_STR("/");
    req->have_target = true;
  }
  return req->target;
}

wg_str wg_http_path(wg_http_request *req) {
  wg_str target = http_target(req);
  const char *mark = memchr(target.ptr, '?', target.len);
  if (mark == NULL) return target;
  if (mark == target.ptr) return WG_STR("/");
  return (wg_str){target.ptr, (size_t)(mark - target.ptr)};
}

wg_str wg_http_query(wg_http_request *req) {
  wg_str target = http_target(req);
  const char *mark = memchr(target.ptr, '?', target.len);
  if (mark == NULL) return (wg_str){NULL, 0};
  return (wg_str){mark + 1, target.len - (size_t)(mark + 1 - target.ptr)};
}

static int http_hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes into `out`, which has room for s.len bytes; a broken escape stays as it is. */
static size_t http_decode(wg_str s, char *out) {
  size_t n = 0;
  for (size_t i = 0; i < s.len; i++) {
    char c = s.ptr[i];
    if (c == '+') c = ' ';
    if (c == '%' && s.len - i > 2) {
      int high = http_hex(s.ptr[i + 1]), low = http_hex(s.ptr[i + 2]);
      if (high >= 0 && low >= 0) {
        c = (char)(high << 4 | low);
        i += 2;
      }
    }
    out[n++] = c;
  }
  return n;
}

wg_str wg_http_query_param(wg_http_request *req, const char *name) {
  wg_str rest = wg_http_query(req);
  char *buffer = rest.ptr == NULL ? NULL : wg_arena_alloc(&req->arena, rest.len + 1);
  if (buffer == NULL) return (wg_str){NULL, 0};
  size_t name_len = strlen(name);
  while (rest.len > 0) {
    const char *end = memchr(rest.ptr, '&', rest.len);
    wg_str pair = {rest.ptr, end == NULL ? rest.len : (size_t)(end - rest.ptr)};
    size_t skip = pair.len + (end != NULL);
    rest = (wg_str){rest.ptr + skip, rest.len - skip};

    const char *eq = memchr(pair.ptr, '=', pair.len);
    wg_str key = {pair.ptr, eq == NULL ? pair.len : (size_t)(eq - pair.ptr)};
    if (http_decode(key, buffer) != name_len || memcmp(buffer, name, name_len) != 0) continue;
    wg_str value = {eq == NULL ? pair.ptr : eq + 1, eq == NULL ? 0 : pair.len - key.len - 1};
    size_t len = http_decode(value, buffer);
    buffer[len] = '\0';
    return (wg_str){buffer, len};
  }
  return (wg_str){NULL, 0};
}

char *wg_http_collector_room(wg_http_collector *c, size_t want, size_t *room) {
  if (c->len > wg_http_body_limit) return NULL;
  size_t left = wg_http_body_limit + 1 - c->len; /* one more, to see that it is too long */
  if (want > left) want = left;
  if (c->cap - c->len < want) {
    size_t cap = c->cap * 2 > c->len + want ? c->cap * 2 : c->len + want;
    char *bytes = realloc(c->bytes, cap);
    if (bytes == NULL) {
      c->state = WG_HTTP_BODY_TOO_LONG;
      return NULL;
    }
    c->bytes = bytes;
    c->cap = cap;
  }
  *room = want;
  return c->bytes + c->len;
}

void wg_http_collector_finish(wg_http_collector *c, wg_http_request *req) {
  if (c->len > wg_http_body_limit) c->state = WG_HTTP_BODY_TOO_LONG;
  char *bytes = wg_arena_adopt(&req->arena, c->bytes);
  if (c->bytes != NULL && bytes == NULL) c->state = WG_HTTP_BODY_TOO_LONG;
  bool whole = bytes != NULL && c->state == WG_HTTP_BODY_WHOLE;
  req->body = whole ? (wg_str){bytes, c->len} : WG_STR("");
  c->bytes = NULL;
}

/* -- Response -- */

void wg_http_response_init(wg_http_response *res, wg_http_request *req) {
  *res = (wg_http_response){.req = req, .status = 200};
}

void wg_http_response_release(wg_http_response *res) {
  free(res->buffer);
  res->buffer = NULL;
}

void wg_http_reset(wg_http_response *res) {
  wg_http_response_release(res);
  wg_http_response_init(res, res->req);
}

void wg_http_status(wg_http_response *res, uint16_t status) { res->status = status; }

void wg_http_header(wg_http_response *res, const char *name, const char *value) {
  if (res->field_count == res->field_cap) {
    size_t cap = res->field_cap == 0 ? 4 : res->field_cap * 2;
    wg_http_field *fields = wg_arena_alloc(&res->req->arena, cap * sizeof *fields);
    if (fields == NULL) {
      res->failed = true;
      return;
    }
    if (res->field_count > 0) memcpy(fields, res->fields, res->field_count * sizeof *fields);
    res->fields = fields;
    res->field_cap = cap;
  }
  wg_http_field field = {wg_http_copy(res->req, name, strlen(name)),
                         wg_http_copy(res->req, value, strlen(value))};
  if (field.name.ptr == NULL || field.value.ptr == NULL)
    res->failed = true;
  else
    res->fields[res->field_count++] = field;
}

/* Room for `len` more bytes of body. */
static char *http_body_room(wg_http_response *res, size_t len) {
  if (res->buffer == NULL && res->body_len > 0) { /* it was static */
    const char *body = res->body;
    size_t body_len = res->body_len;
    res->body_len = res->body_cap = 0;
    char *room = http_body_room(res, body_len);
    if (room == NULL) return NULL;
    memcpy(room, body, body_len);
    res->body_len = body_len;
  }
  if (len > (size_t)PTRDIFF_MAX - res->body_len) len = SIZE_MAX / 2; /* realloc will refuse */
  if (res->body_cap - res->body_len < len) {
    size_t cap = res->body_cap < 512 ? 512 : res->body_cap * 2;
    if (cap < res->body_len + len) cap = res->body_len + len;
    char *buffer = realloc(res->buffer, cap);
    if (buffer == NULL) {
      res->failed = true;
      return NULL;
    }
    res->body = res->buffer = buffer;
    res->body_cap = cap;
  }
  return res->buffer + res->body_len;
}

void wg_http_write(wg_http_response *res, const void *bytes, size_t len) {
  char *room = len == 0 ? NULL : http_body_room(res, len);
  if (room == NULL) return;
  memcpy(room, bytes, len);
  res->body_len += len;
}

void wg_http_printf(wg_http_response *res, const char *fmt, ...) {
  va_list args, again;
  va_start(args, fmt);
  va_copy(again, args);
  int len = vsnprintf(NULL, 0, fmt, args);
  char *room = len < 0 ? NULL : http_body_room(res, (size_t)len + 1);
  if (room != NULL) {
    vsnprintf(room, (size_t)len + 1, fmt, again);
    res->body_len += (size_t)len;
  }
  va_end(again);
  va_end(args);
}

void wg_http_static_body(wg_http_response *res, const void *bytes, size_t len) {
  wg_http_response_release(res);
  res->body = bytes;
  res->body_len = len;
  res->body_cap = 0;
}

/* A decimal number without printf, which a small handler should not pull in. */
static void http_add_length(wg_http_response *res, size_t len) {
  char digits[24];
  size_t at = sizeof digits;
  digits[--at] = '\0';
  do digits[--at] = (char)('0' + len % 10);
  while ((len /= 10) > 0);
  wg_http_header(res, "content-length", digits + at);
}

void wg_http_run_handler(wg_http_request *req, wg_http_response *res, wg_http_body_state body) {
  static const char too_long[] = "the request's body is too long\n",
                    broken[] = "the request's body broke off\n";
  wg_http_response_init(res, req);
  if (body == WG_HTTP_BODY_WHOLE) {
    wg_http_handle(req, res);
  } else {
    wg_http_status(res, body == WG_HTTP_BODY_TOO_LONG ? 413 : 400);
    wg_http_header(res, "content-type", "text/plain");
    if (body == WG_HTTP_BODY_TOO_LONG)
      wg_http_static_body(res, too_long, sizeof too_long - 1);
    else
      wg_http_static_body(res, broken, sizeof broken - 1);
  }
  if (res->failed || res->status < 100 || res->status > 599) {
    wg_http_reset(res);
    wg_http_status(res, 500);
  }
  /* RFC 9110 section 8.6: no content-length with 1xx and 204. */
  if (res->status >= 200 && res->status != 204 && res->status != 304)
    http_add_length(res, res->body_len);
}
