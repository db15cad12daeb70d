/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void wg_buf_init(wg_buf *b, size_t max_bytes) { *b = (wg_buf){.max = max_bytes}; }

void wg_buf_release(wg_buf *b) {
  free(b->data);
  wg_buf_init(b, b->max);
}

void wg_buf_clear(wg_buf *b) {
  b->start = b->end = 0;
  b->failed = b->nomem = false;
}

uint8_t *wg_buf_reserve(wg_buf *b, size_t n) {
  if (b->failed) return NULL;
  size_t held = wg_buf_len(b);
  if (held > b->max || n > b->max - held) {
    b->failed = true;
    return NULL;
  }
  if (b->data && b->cap - b->end >= n) return b->data + b->end;
  /* Take the room in front back before growing; growth doubles, so each byte moves O(1) times. */
  if (b->data && held + n <= b->cap && b->start >= held) {
    memcpy(b->data, b->data + b->start, held);
    b->start = 0;
    b->end = held;
    return b->data + b->end;
  }
  size_t cap = b->cap ? b->cap : 64;
  while (cap < held + n) cap = cap > b->max / 2 ? b->max : cap * 2;
  if (cap < b->cap) cap = b->cap; /* max was lowered by the owner: never shrink here */
  uint8_t *data = malloc(cap ? cap : 1);
  if (!data) {
    b->failed = b->nomem = true;
    return NULL;
  }
  if (b->data) memcpy(data, b->data + b->start, held);
  free(b->data);
  b->data = data;
  b->cap = cap;
  b->start = 0;
  b->end = held;
  return b->data + b->end;
}

void wg_buf_commit(wg_buf *b, size_t n) {
  if (b->failed) return;
  WG_ASSERT(n <= b->cap - b->end);
  b->end += n;
}

void wg_buf_consume(wg_buf *b, size_t n) {
  if (b->failed) return;
  if (n > wg_buf_len(b)) {
    b->failed = true;
    return;
  }
  b->start += n;
  if (b->start == b->end) b->start = b->end = 0;
}

void wg_buf_put(wg_buf *b, const void *p, size_t n) {
  if (n == 0) return;
  uint8_t *at = wg_buf_reserve(b, n);
  if (!at) return;
  memcpy(at, p, n);
  b->end += n;
}

void wg_buf_put_u8(wg_buf *b, uint8_t v) { wg_buf_put(b, &v, 1); }

void wg_buf_put_u16(wg_buf *b, uint16_t v) {
  uint8_t bytes[2] = {(uint8_t)(v >> 8), (uint8_t)v};
  wg_buf_put(b, bytes, sizeof bytes);
}

static void store_u32(uint8_t *at, uint32_t v) {
  at[0] = (uint8_t)(v >> 24);
  at[1] = (uint8_t)(v >> 16);
  at[2] = (uint8_t)(v >> 8);
  at[3] = (uint8_t)v;
}

void wg_buf_put_u32(wg_buf *b, uint32_t v) {
  uint8_t bytes[4];
  store_u32(bytes, v);
  wg_buf_put(b, bytes, sizeof bytes);
}

void wg_buf_put_leb(wg_buf *b, uint32_t v) {
  for (; v > 0x7F; v >>= 7) wg_buf_put_u8(b, (uint8_t)(v | 0x80));
  wg_buf_put_u8(b, (uint8_t)v);
}

void wg_buf_put_cstr(wg_buf *b, const char *s) { wg_buf_put(b, s, strlen(s) + 1); }

void wg_buf_put_json(wg_buf *out, const char *text) {
  char one[8];
  size_t len, left = strlen(text);
  wg_buf_put_u8(out, '"');
  while (left) {
    size_t used = wg_json_escape(text, left, one, &len);
    wg_buf_put(out, one, len);
    text += used;
    left -= used;
  }
  wg_buf_put_u8(out, '"');
}

void wg_buf_printf(wg_buf *b, const char *fmt, ...) {
  if (b->failed) return;
  va_list ap, again;
  va_start(ap, fmt);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  /* vsnprintf writes a NUL after the text: room for it, but it is not part of the content. */
  char stack[512];
  if (n < 0) {
    b->failed = true;
  } else if ((size_t)n < sizeof stack) {
    vsnprintf(stack, sizeof stack, fmt, again);
    wg_buf_put(b, stack, (size_t)n);
  } else {
    char *heap = malloc((size_t)n + 1);
    if (heap) {
      vsnprintf(heap, (size_t)n + 1, fmt, again);
      wg_buf_put(b, heap, (size_t)n);
      free(heap);
    } else {
      b->failed = b->nomem = true;
    }
  }
  va_end(again);
}

void wg_buf_patch_u32(wg_buf *b, size_t at, uint32_t v) {
  if (b->failed) return;
  size_t len = wg_buf_len(b);
  if (len < 4 || at > len - 4) {
    b->failed = true;
    return;
  }
  store_u32(b->data + b->start + at, v);
}

const uint8_t *wg_take_bytes(wg_reader *r, size_t n) {
  if (r->failed || n > r->len) {
    r->failed = true;
    return NULL;
  }
  /* An empty reader may have no memory at all, and NULL + 0 is not defined before C2Y. */
  if (n == 0) return r->p ? r->p : (const uint8_t *)"";
  const uint8_t *at = r->p;
  r->p += n;
  r->len -= n;
  return at;
}

uint8_t wg_take_u8(wg_reader *r) {
  const uint8_t *p = wg_take_bytes(r, 1);
  return p ? p[0] : 0;
}

uint16_t wg_take_u16(wg_reader *r) {
  const uint8_t *p = wg_take_bytes(r, 2);
  return (uint16_t)(p ? p[0] << 8 | p[1] : 0);
}

uint32_t wg_take_u32(wg_reader *r) {
  const uint8_t *p = wg_take_bytes(r, 4);
  return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

const char *wg_take_cstr(wg_reader *r) {
  const uint8_t *nul = r->failed || r->len == 0 ? NULL : memchr(r->p, 0, r->len);
  if (!nul) {
    r->failed = true;
    return NULL;
  }
  return (const char *)wg_take_bytes(r, (size_t)(nul - r->p) + 1);
}

uint32_t wg_take_leb(wg_reader *r) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    uint8_t byte = wg_take_u8(r);
    value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte & 0x80) continue;
    if (value <= UINT32_MAX) return (uint32_t)value;
    break;
  }
  r->failed = true;
  return 0;
}

const char *wg_take_name(wg_reader *r, size_t *len) {
  *len = wg_take_leb(r);
  return (const char *)wg_take_bytes(r, *len);
}
