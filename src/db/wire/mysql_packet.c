/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/mysql.h"
#include <stdio.h>
#include <string.h>

/* ---- numbers ---- */

uint16_t my_take_u16(wg_reader *r) {
  uint16_t low = wg_take_u8(r);
  return (uint16_t)(low | wg_take_u8(r) << 8);
}

uint32_t my_take_u24(wg_reader *r) {
  uint32_t low = my_take_u16(r);
  return low | (uint32_t)wg_take_u8(r) << 16;
}

uint32_t my_take_u32(wg_reader *r) {
  uint32_t low = my_take_u16(r);
  return low | (uint32_t)my_take_u16(r) << 16;
}

uint64_t my_take_u64(wg_reader *r) {
  uint64_t low = my_take_u32(r);
  return low | (uint64_t)my_take_u32(r) << 32;
}

uint64_t my_take_lenenc(wg_reader *r) {
  uint8_t first = wg_take_u8(r);
  switch (first) {
  case 0xFB:
  case 0xFF: r->failed = true; return 0;
  case 0xFC: return my_take_u16(r);
  case 0xFD: return my_take_u24(r);
  case 0xFE: return my_take_u64(r);
  default: return first;
  }
}

void my_put_u16(wg_buf *out, uint16_t v) {
  wg_buf_put_u8(out, (uint8_t)v);
  wg_buf_put_u8(out, (uint8_t)(v >> 8));
}

void my_put_u24(wg_buf *out, uint32_t v) {
  my_put_u16(out, (uint16_t)v);
  wg_buf_put_u8(out, (uint8_t)(v >> 16));
}

void my_put_u32(wg_buf *out, uint32_t v) {
  my_put_u16(out, (uint16_t)v);
  my_put_u16(out, (uint16_t)(v >> 16));
}

void my_put_lenenc(wg_buf *out, uint64_t v) {
  if (v < 0xFB) {
    wg_buf_put_u8(out, (uint8_t)v);
  } else if (v <= 0xFFFF) {
    wg_buf_put_u8(out, 0xFC);
    my_put_u16(out, (uint16_t)v);
  } else {
    WG_ASSERT(v <= 0xFFFFFF); /* nothing of ours is longer */
    wg_buf_put_u8(out, 0xFD);
    my_put_u24(out, (uint32_t)v);
  }
}

/* ---- packets ---- */

size_t my_begin(wg_buf *out, uint8_t seq) {
  size_t at = wg_buf_len(out);
  my_put_u24(out, 0);
  wg_buf_put_u8(out, seq);
  return at;
}

void my_end(wg_buf *out, size_t at) {
  if (out->failed) return;
  uint32_t n = (uint32_t)(wg_buf_len(out) - at - 4);
  uint8_t seq = wg_buf_head(out)[at + 3];
  wg_buf_patch_u32(out, at, n << 24 | (n >> 8 & 0xFF) << 16 | (n >> 16 & 0xFF) << 8 | seq);
}

void my_put_command(wg_buf *out, uint8_t command, const char *text) {
  size_t at = my_begin(out, 0);
  wg_buf_put_u8(out, command);
  if (text) wg_buf_put(out, text, strlen(text));
  my_end(out, at);
}

void my_put_error(wg_buf *out, uint8_t seq, uint16_t code, const char *sqlstate,
                  const char *message) {
  size_t at = my_begin(out, seq);
  wg_buf_put_u8(out, 0xFF);
  my_put_u16(out, code);
  if (sqlstate) {
    wg_buf_put_u8(out, '#');
    wg_buf_put(out, sqlstate, 5);
  }
  wg_buf_put(out, message, strlen(message));
  my_end(out, at);
}

void my_put_ok(wg_buf *out, uint8_t seq, uint16_t status) {
  size_t at = my_begin(out, seq);
  wg_buf_put_u8(out, 0);
  my_put_lenenc(out, 0); /* rows */
  my_put_lenenc(out, 0); /* id */
  my_put_u16(out, status);
  my_put_u16(out, 0); /* warnings */
  my_end(out, at);
}

wg_wire_step my_next(const wg_buf *in, uint8_t *seq, wg_reader *body, wg_error *err) {
  size_t have = wg_buf_len(in);
  if (have < 4) return WG_WIRE_MORE;
  wg_reader r = wg_reader_of(wg_buf_head(in), have);
  uint32_t length = my_take_u24(&r);
  *seq = wg_take_u8(&r);
  if (length + 4 >= in->max) {
    wg_error_set(err, WG_PROTOCOL, 0, "mysql: the server announced a packet of %u bytes, above %zu",
                 length, in->max - 5);
    wg_error_hint(err, "is a MySQL or MariaDB server listening there?");
    return WG_WIRE_ERROR;
  }
  if (r.len < length) return WG_WIRE_MORE;
  *body = wg_reader_of(r.p, length);
  return WG_WIRE_OK;
}

void my_drop(wg_buf *in) {
  wg_reader r = wg_reader_of(wg_buf_head(in), wg_buf_len(in));
  wg_buf_consume(in, (size_t)my_take_u24(&r) + 4);
}

uint16_t my_status(const uint8_t *head, size_t have, size_t length, bool deprecate_eof) {
  wg_reader r = wg_reader_of(head, have);
  uint8_t first = wg_take_u8(&r);
  if (first == 0xFE && !deprecate_eof) {
    if (length != 5) return 0;
    my_take_u16(&r); /* warnings */
    return my_take_u16(&r);
  }
  if (first != 0 && first != 0xFE) return 0;
  my_take_lenenc(&r);
  my_take_lenenc(&r);
  uint16_t status = my_take_u16(&r);
  return r.failed ? 0 : status;
}

/* ---- a server's first words ---- */

const char *my_hello_read(my_hello *h, wg_reader body) {
  memset(h, 0, sizeof *h);
  uint8_t version = wg_take_u8(&body);
  if (version != 10) return "the server does not speak version 10 of the protocol";
  const char *text = wg_take_cstr(&body);
  if (!text || strlen(text) >= sizeof h->version)
    return "malformed handshake: the server's version";
  memcpy(h->version, text, strlen(text) + 1);
  h->thread = my_take_u32(&body);
  const uint8_t *part = wg_take_bytes(&body, 8);
  if (part) memcpy(h->scramble, part, 8);
  wg_take_u8(&body);
  h->caps = my_take_u16(&body);
  h->charset = wg_take_u8(&body);
  h->status = my_take_u16(&body);
  h->caps |= (uint32_t)my_take_u16(&body) << 16;
  wg_take_u8(&body);        /* length of the scramble: 20 and its NUL, whatever it says */
  wg_take_bytes(&body, 10); /* MariaDB's own capabilities: none of them is used */
  part = wg_take_bytes(&body, MY_SCRAMBLE - 8);
  if (part) memcpy(h->scramble + 8, part, MY_SCRAMBLE - 8);
  if (body.failed) return "malformed handshake";
  wg_take_u8(&body);
  const char *plugin = h->caps & MY_CAP_PLUGIN_AUTH ? wg_take_cstr(&body) : NULL;
  h->plugin = (uint8_t)(plugin ? my_plugin_of(plugin) : MY_PLUGIN_NONE);
  if ((h->caps & MY_CAP_PROTOCOL_41) == 0 || (h->caps & MY_CAP_SECURE_CONNECTION) == 0)
    return "the server is older than MySQL 4.1";
  return NULL;
}

void my_hello_put(wg_buf *out, const my_hello *h) {
  static const uint8_t none[10];
  size_t at = my_begin(out, 0);
  wg_buf_put_u8(out, 10);
  wg_buf_put_cstr(out, h->version);
  my_put_u32(out, h->thread);
  wg_buf_put(out, h->scramble, 8);
  wg_buf_put_u8(out, 0);
  my_put_u16(out, (uint16_t)h->caps);
  wg_buf_put_u8(out, h->charset);
  my_put_u16(out, h->status);
  my_put_u16(out, (uint16_t)(h->caps >> 16));
  wg_buf_put_u8(out, MY_SCRAMBLE + 1); /* its NUL counts */
  wg_buf_put(out, none, sizeof none);
  wg_buf_put(out, h->scramble + 8, MY_SCRAMBLE - 8);
  wg_buf_put_u8(out, 0);
  wg_buf_put_cstr(out, my_plugin_name((my_plugin)h->plugin));
  my_end(out, at);
}
