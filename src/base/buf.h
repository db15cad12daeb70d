/* SPDX-License-Identifier: Apache-2.0 */
/** @file buf.h  The only way to touch bytes from outside: bounds-checked take and put with a
 *  sticky error and a hard cap. Not thread-safe. Big-endian ("network order") unless said. */
#pragma once
#include "base/base.h"

/** A growing byte queue: `put` appends at the end, `take` consumes from the front.
 *  After a failure (`failed`) all puts and takes do nothing and takes give zeroes, so a parser
 *  checks once at its end. */
typedef struct wg_buf {
  uint8_t *data;
  size_t start; /**< first byte not yet taken */
  size_t end;   /**< one past the last byte put */
  size_t cap;   /**< allocated */
  size_t max;   /**< bytes held never exceed this */
  bool failed;  /**< sticky: a take past the end, a put past `max`, or out of memory */
  bool nomem;   /**< `failed` because memory ran out */
} wg_buf;

/** An empty buffer that never holds more than max_bytes. Allocates nothing yet. */
void wg_buf_init(wg_buf *b, size_t max_bytes);
/** Frees the memory; the buffer can be used again as after init. */
void wg_buf_release(wg_buf *b);
/** Forgets content and failure, keeps the memory. */
void wg_buf_clear(wg_buf *b);
static inline size_t wg_buf_len(const wg_buf *b) { return b->end - b->start; }
/** The first byte; never NULL, also when there is none. */
static inline const uint8_t *wg_buf_head(const wg_buf *b) {
  return b->data ? b->data + b->start : (const uint8_t *)"";
}

/** Makes room for `n` more bytes and returns where to write them (then wg_buf_commit); NULL and
 *  `failed` when that breaks `max`. Moves data: earlier pointers into the buffer are void. */
uint8_t *wg_buf_reserve(wg_buf *b, size_t n);
void wg_buf_commit(wg_buf *b, size_t n);
/** Drops n bytes from the front; n beyond the length fails the buffer. */
void wg_buf_consume(wg_buf *b, size_t n);

void wg_buf_put(wg_buf *b, const void *p, size_t n);
void wg_buf_put_u8(wg_buf *b, uint8_t v);
void wg_buf_put_u16(wg_buf *b, uint16_t v);
void wg_buf_put_u32(wg_buf *b, uint32_t v);
/** An unsigned LEB128 in as few bytes as it needs. */
void wg_buf_put_leb(wg_buf *b, uint32_t v);
/** The string and its terminating NUL. */
void wg_buf_put_cstr(wg_buf *b, const char *s);
/** A text as a JSON string, with its quotes (RFC 8259, section 7). */
void wg_buf_put_json(wg_buf *b, const char *text);
void wg_buf_printf(wg_buf *b, const char *fmt, ...) WG_PRINTF(2, 3);
/** Overwrites 4 bytes at `at` (counted from the head) with v: for lengths known afterwards. */
void wg_buf_patch_u32(wg_buf *b, size_t at, uint32_t v);

/** A cursor over borrowed bytes, with the same sticky failure. The bytes must outlive it. */
typedef struct wg_reader {
  const uint8_t *p;
  size_t len;
  bool failed;
} wg_reader;
static inline wg_reader wg_reader_of(const void *p, size_t n) { return (wg_reader){p, n, false}; }
uint8_t wg_take_u8(wg_reader *r);
uint16_t wg_take_u16(wg_reader *r);
uint32_t wg_take_u32(wg_reader *r);
/** The next n bytes, borrowed; NULL and `failed` when there are fewer. */
const uint8_t *wg_take_bytes(wg_reader *r, size_t n);
/** A NUL-terminated string, borrowed; NULL and `failed` when no NUL is left. */
const char *wg_take_cstr(wg_reader *r);
/** An unsigned LEB128 of 32 bits, as WebAssembly writes numbers; fails the reader otherwise. */
uint32_t wg_take_leb(wg_reader *r);
/** A length as wg_take_leb() and so many bytes, as WebAssembly writes names: borrowed, not
 *  NUL-terminated; NULL when the reader failed. */
const char *wg_take_name(wg_reader *r, size_t *len);
