/* SPDX-License-Identifier: Apache-2.0 */
/* cli/: sections of components, modules and compiled components; broken ones are refused. */
#include "cli/contents.h"

#include "cli/sections.h"
#include "cli/sizes.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t component[] = {0, 'a', 's', 'm', 13, 0, 1, 0};
static const uint8_t module[] = {0, 'a', 's', 'm', 1, 0, 0, 0};

/** A section of fewer than 128 bytes. */
static void put_section(wg_buf *out, uint8_t id, const void *content, size_t len) {
  wg_buf_put_u8(out, id);
  wg_buf_put_u8(out, (uint8_t)len);
  wg_buf_put(out, content, len);
}

static const char producers[] = "\x09producers"
                                "\x02"
                                "\x08language\x01\x03"
                                "C11\x00"
                                "\x0cprocessed-by\x02\x05"
                                "clang\x06"
                                "22.1.0\x05"
                                "clang\x06"
                                "22.1.0";

/** A component with a module with code, data and producers. */
static void put_example(wg_buf *out) {
  wg_buf inner;
  wg_buf_init(&inner, 1024);
  wg_buf_put(&inner, module, sizeof module);
  put_section(&inner, 10, "code", 4);
  put_section(&inner, 11, "da", 2);
  put_section(&inner, 0, producers, sizeof producers - 1);
  wg_buf_put(out, component, sizeof component);
  put_section(out, 7, "type", 4);
  put_section(out, 1, wg_buf_head(&inner), wg_buf_len(&inner));
  put_section(out, 0, "\x04name\x01\x02", 7);
  wg_buf_release(&inner);
}

static const cli_content *find(const cli_contents *c, const char *name) {
  for (size_t i = 0; i < c->section_count; i++)
    if (strcmp(c->sections[i].name, name) == 0) return &c->sections[i];
  return NULL;
}

static void a_component_and_its_module(void **state) {
  (void)state;
  wg_buf b;
  static cli_contents c;
  wg_buf_init(&b, 4096);
  put_example(&b);
  assert_int_equal(cli_contents_read(wg_buf_head(&b), wg_buf_len(&b), &c, NULL), WG_OK);
  assert_int_equal(c.format, CLI_FORMAT_COMPONENT);
  assert_int_equal(c.bytes, wg_buf_len(&b));
  assert_int_equal(find(&c, "code")->bytes, 4);
  assert_true(find(&c, "code")->inner);
  assert_int_equal(find(&c, "data")->bytes, 2);
  assert_int_equal(find(&c, "core module")->count, 1);
  assert_false(find(&c, "type")->inner);
  assert_true(find(&c, "name")->custom);
  assert_int_equal(c.producer_count, 2); /* the same twice is one */
  assert_string_equal(c.producers[0].name, "C11");
  assert_string_equal(c.producers[0].version, "");
  assert_string_equal(c.producers[1].version, "22.1.0");
  cli_sizes s;
  assert_int_equal(cli_sizes_read(wg_buf_head(&b), wg_buf_len(&b), &s, NULL), WG_OK);
  assert_int_equal(s.modules, 1);
  assert_int_equal(s.code + s.data + s.custom + s.other, wg_buf_len(&b));
  wg_buf_release(&b);
}

/** Cut anywhere and changed anywhere, it is an answer or an error, never more. */
static void broken_ones_are_refused(void **state) {
  (void)state;
  wg_buf b;
  static cli_contents c;
  wg_error err;
  wg_buf_init(&b, 4096);
  put_example(&b);
  size_t len = wg_buf_len(&b);
  unsigned refused = 0;
  for (size_t n = 4; n < len; n++) {
    uint8_t *copy = malloc(n);
    memcpy(copy, wg_buf_head(&b), n);
    wg_code code = cli_contents_read(copy, n, &c, &err);
    assert_true(code == WG_OK || code == WG_COMPONENT);
    refused += code != WG_OK;
    free(copy);
  }
  assert_true(refused > len / 2);
  for (size_t i = 0; i < len; i++) {
    for (unsigned v = 0; v < 256; v += 5) {
      uint8_t *copy = malloc(len);
      memcpy(copy, wg_buf_head(&b), len);
      copy[i] = (uint8_t)v;
      wg_code code = cli_contents_read(copy, len, &c, &err);
      assert_true(code == WG_OK || code == WG_COMPONENT);
      free(copy);
    }
  }
  wg_buf_release(&b);
}

static void nesting_has_an_end(void **state) {
  (void)state;
  static cli_contents c;
  wg_error err;
  wg_buf b;
  wg_buf_init(&b, 1 << 16);
  wg_buf_put(&b, component, sizeof component);
  for (int i = 0; i < 11; i++) { /* 11 * 10 bytes: the length still fits one byte */
    wg_buf outer;
    wg_buf_init(&outer, 1 << 16);
    wg_buf_put(&outer, component, sizeof component);
    put_section(&outer, 4, wg_buf_head(&b), wg_buf_len(&b));
    wg_buf_release(&b);
    b = outer;
  }
  assert_int_equal(cli_contents_read(wg_buf_head(&b), wg_buf_len(&b), &c, &err), WG_OK);
  assert_int_equal(find(&c, "component")->count, 11);
  for (int i = 0; i < 6; i++) { /* two bytes for the length */
    wg_buf outer;
    size_t n = wg_buf_len(&b);
    wg_buf_init(&outer, 1 << 16);
    wg_buf_put(&outer, component, sizeof component);
    wg_buf_put_u8(&outer, 4);
    wg_buf_put_u8(&outer, (uint8_t)(0x80 | (n & 0x7F)));
    wg_buf_put_u8(&outer, (uint8_t)(n >> 7));
    wg_buf_put(&outer, wg_buf_head(&b), n);
    wg_buf_release(&b);
    b = outer;
  }
  assert_int_equal(cli_contents_read(wg_buf_head(&b), wg_buf_len(&b), &c, &err), WG_COMPONENT);
  assert_non_null(strstr(err.msg, "nested"));
  wg_buf_release(&b);
}

static void compiled_code(void **state) {
  (void)state;
  static cli_contents c;
  wg_error err;
  struct {
    Elf64_Ehdr head;
    Elf64_Shdr sections[3];
    char names[24];
  } file = {.names = "\0.text\0.shstrtab"};
  memcpy(file.head.e_ident, ELFMAG, SELFMAG);
  file.head.e_ident[EI_CLASS] = ELFCLASS64;
  file.head.e_shoff = offsetof(__typeof__(file), sections);
  file.head.e_shentsize = sizeof(Elf64_Shdr);
  file.head.e_shnum = 3;
  file.head.e_shstrndx = 2;
  file.sections[1] = (Elf64_Shdr){.sh_name = 1, .sh_size = 4711};
  file.sections[2] = (Elf64_Shdr){
      .sh_name = 7, .sh_offset = offsetof(__typeof__(file), names), .sh_size = sizeof file.names};
  assert_int_equal(cli_contents_read(&file, sizeof file, &c, &err), WG_OK);
  assert_int_equal(c.format, CLI_FORMAT_CWASM);
  assert_int_equal(find(&c, ".text")->bytes, 4711);
  for (size_t n = SELFMAG; n < sizeof file; n++) { /* cut anywhere */
    void *copy = malloc(n);
    memcpy(copy, &file, n);
    assert_int_equal(cli_contents_read(copy, n, &c, &err), WG_COMPONENT);
    free(copy);
  }
  for (size_t i = SELFMAG; i < sizeof file; i++) {
    for (unsigned v = 0; v < 256; v += 15) {
      __typeof__(file) *copy = malloc(sizeof file);
      memcpy(copy, &file, sizeof file);
      ((uint8_t *)copy)[i] = (uint8_t)v;
      wg_code code = cli_contents_read(copy, sizeof file, &c, &err);
      assert_true(code == WG_OK || code == WG_COMPONENT);
      free(copy);
    }
  }
}

static void something_else(void **state) {
  (void)state;
  static cli_contents c;
  assert_int_equal(cli_contents_read("", 0, &c, NULL), WG_OK);
  assert_int_equal(c.format, CLI_FORMAT_TEXT);
  assert_int_equal(cli_contents_read("(component)", 11, &c, NULL), WG_OK);
  assert_int_equal(c.format, CLI_FORMAT_TEXT);
  assert_int_equal(cli_contents_read(module, sizeof module, &c, NULL), WG_OK);
  assert_int_equal(c.format, CLI_FORMAT_MODULE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_component_and_its_module),
      cmocka_unit_test(broken_ones_are_refused),
      cmocka_unit_test(nesting_has_an_end),
      cmocka_unit_test(compiled_code),
      cmocka_unit_test(something_else),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
