/* SPDX-License-Identifier: Apache-2.0 */
#include "object/example.h"

#include <string.h>

void example_put_header(wg_buf *out) { wg_buf_put(out, "\0asm\1\0\0\0", 8); }

void example_put_name(wg_buf *out, const char *name) {
  wg_buf_put_leb(out, (uint32_t)strlen(name));
  wg_buf_put(out, name, strlen(name));
}

void example_put_section(wg_buf *out, uint8_t id, wg_buf *content) {
  wg_buf_put_u8(out, id);
  wg_buf_put_leb(out, (uint32_t)wg_buf_len(content));
  wg_buf_put(out, wg_buf_head(content), wg_buf_len(content));
  wg_buf_clear(content);
}

static void put_fixed(wg_buf *out, uint8_t id, const char *content, size_t len) {
  wg_buf_put_u8(out, id);
  wg_buf_put_leb(out, (uint32_t)len);
  wg_buf_put(out, content, len);
}
#define FIXED(out, id, content) put_fixed(out, id, content, sizeof content - 1)

/** @param index  of the function; not of a symbol */
static void put_function(wg_buf *out, uint32_t flags, uint32_t index, const char *name) {
  wg_buf_put_u8(out, 0);
  wg_buf_put_leb(out, flags);
  wg_buf_put_leb(out, index);
  if (name) example_put_name(out, name);
}

static void put_data(wg_buf *out, uint32_t flags, const char *name, uint32_t offset) {
  wg_buf_put_u8(out, 1);
  wg_buf_put_leb(out, flags);
  example_put_name(out, name);
  wg_buf_put_leb(out, 0);
  wg_buf_put_leb(out, offset);
  wg_buf_put_leb(out, 4);
}

static void put_subsection(wg_buf *out, uint8_t id, wg_buf *content) {
  example_put_section(out, id, content);
}

static void put_linking(const example *e, wg_buf *out) {
  wg_buf section, sub;
  wg_buf_init(&section, 4096);
  wg_buf_init(&sub, 4096);
  example_put_name(&section, "linking");
  wg_buf_put_leb(&section, 2);
  wg_buf_put(&sub, "\1\5.data\0\0", 9); /* names of segments: of no interest, kept */
  put_subsection(&section, 5, &sub);
  if (e->comdat) {
    wg_buf_put_leb(&sub, 1);
    example_put_name(&sub, "group");
    wg_buf_put(&sub, "\0\1\1\1", 4); /* flags, one entry: function 1 */
    put_subsection(&section, 7, &sub);
  }
  wg_buf_put_leb(&sub, e->alias ? 7 : 6);
  put_function(&sub, 0x10, 0, NULL); /* 0: malloc, named by its import */
  put_function(&sub, 0, 1, e->alpha ? e->alpha : "alpha");
  put_function(&sub, 0x4, 2, "beta"); /* hidden is public, too */
  put_data(&sub, 0x100, "table", 0);
  put_data(&sub, 0x2, "secret", 4);
  wg_buf_put(&sub, "\2\0\0\7counter", 11);
  if (e->alias) put_function(&sub, 0x1, 1, e->alias);
  put_subsection(&section, 8, &sub);
  example_put_section(out, 0, &section);
  wg_buf_release(&section);
  wg_buf_release(&sub);
}

static void put_call(wg_buf *out, bool call, uint8_t function) {
  wg_buf_put(out, call ? "\x10" : "\x01", 1);
  wg_buf_put_u8(out, call ? (uint8_t)(function | 0x80) : 1);
  wg_buf_put(out, call ? "\x80\x80\x80\0" : "\1\1\1\1", 4);
}

void example_put(const example *e, wg_buf *out) {
  wg_buf s;
  wg_buf_init(&s, 4096);
  example_put_header(out);
  FIXED(out, 1, "\2\x60\2\x7f\x7e\1\x7f\x60\0\0");
  FIXED(out, 2, "\1\3env\6malloc\0\1");
  FIXED(out, 3, "\2\0\1");
  FIXED(out, 6, "\1\x7f\1\x41\0\x0b"); /* an i32 that changes */
  /* two bodies: size, no locals, code */
  wg_buf_put(&s, "\2\x0a\0", 3);
  put_call(&s, e->alpha_calls_itself, 1);
  wg_buf_put(&s, "\x41\0\x0b", 3);
  wg_buf_put(&s, "\x0e\0", 2);
  put_call(&s, e->beta_calls_alpha, 1);
  put_call(&s, true, 0);
  wg_buf_put(&s, "\x0b", 1);
  example_put_section(out, 10, &s);
  FIXED(out, 11, "\1\0\x41\0\x0b\x08\0\0\0\0\0\0\0\0");
  put_linking(e, out);

  example_put_name(&s, "reloc.CODE");
  wg_buf_put_leb(&s, 4); /* the number of the code section */
  wg_buf_put_leb(&s, 1u + e->alpha_calls_itself + e->beta_calls_alpha);
  if (e->alpha_calls_itself) wg_buf_put(&s, "\0\4\1", 3);
  if (e->beta_calls_alpha) wg_buf_put(&s, "\0\x0f\1", 3);
  wg_buf_put(&s, "\0\x15\0", 3);
  example_put_section(out, 0, &s);
  if (e->table_has_alpha) {
    example_put_name(&s, "reloc.DATA");
    wg_buf_put(&s, "\5\1\2\6\1", 5); /* a table index in 4 bytes at byte 6 */
    example_put_section(out, 0, &s);
  }
  example_put_name(&s, ".debug_info");
  wg_buf_put(&s, "\0\0\0\0", 4);
  example_put_section(out, 0, &s);
  if (e->debug_has_alpha) {
    example_put_name(&s, "reloc..debug_info");
    wg_buf_put_leb(&s, (uint32_t)(e->table_has_alpha ? 9 : 8));
    wg_buf_put(&s, "\1\x08\0\1\0", 5);
    example_put_section(out, 0, &s);
  }
  wg_buf_release(&s);
}
