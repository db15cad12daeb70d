/* SPDX-License-Identifier: Apache-2.0 */
/* What comes out of a compiler: sizes of components, and what cargo says that it made. */
#include "cli/build/cargo.h"
#include "cli/imports.h"
#include "cli/sizes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- sizes ---- */

#define MODULE "\0asm\1\0\0\0"
#define COMPONENT "\0asm\x0d\0\1\0"
#define BYTES(text) (text), sizeof(text) - 1

static void sizes_are_added_up(void **state) {
  (void)state;
  cli_sizes s;
  wg_error err;
  static const char whole[] = COMPONENT "\x01\x12" MODULE "\x0a\x03"
                                        "abc"
                                        "\x0b\x03"
                                        "dat"
                                        "\x04\x1b" COMPONENT "\x00\x04\x01"
                                        "xyz"
                                        "\x01\x0b" MODULE "\x07\x01"
                                        "e"
                                        "\x00\x82\x00"
                                        "nn";
  if (cli_sizes_read(whole, sizeof whole - 1, &s, &err) != WG_OK) fail_msg("%s", err.msg);
  assert_true(s.component);
  assert_int_equal(s.total, sizeof whole - 1);
  assert_int_equal(s.code, 3);
  assert_int_equal(s.data, 3);
  assert_int_equal(s.custom, 4 + 2);
  assert_int_equal(s.modules, 2);
  assert_int_equal(s.other, s.total - 12);
  assert_int_equal(cli_sizes_read(BYTES(MODULE "\x0a\x01x"), &s, &err), WG_OK);
  assert_false(s.component);
  assert_int_equal(s.code, 1);
  assert_int_equal(s.modules, 1);
}

/* ---- needs ---- */

#define IMPORT(name, kind) "\0" name kind
#define INSTANCE "\x05\x07"

/** What is said of a component whose section of imports this is. */
static const char *needs_of(const char *imports, size_t len) {
  static char text[200];
  char whole[300] = COMPONENT "\x0a";
  cli_imports needs;
  wg_error err;
  wg_buf out;
  whole[9] = (char)len;
  memcpy(whole + 10, imports, len);
  if (cli_imports_read(whole, 10 + len, &needs, &err) != WG_OK) {
    assert_string_equal(err.msg, "not a component: its imports are malformed");
    return "malformed";
  }
  wg_buf_init(&out, sizeof text);
  cli_imports_put(&needs, &out);
  snprintf(text, sizeof text, "%.*s", (int)wg_buf_len(&out), (const char *)wg_buf_head(&out));
  wg_buf_release(&out);
  return text;
}

static void what_a_component_needs(void **state) {
  (void)state;
  static const char wasi[] = "needs WASI alone: other hosts can run it, too";
  static const struct {
    const char *imports;
    size_t len;
    const char *needs;
  } cases[] = {
      {BYTES("\0"), wasi},
      {BYTES("\1" IMPORT("\x0dwasi:io/error", INSTANCE)), wasi},
      {BYTES("\1" IMPORT("\x10warpgrid:shim/nn", INSTANCE)), ""},
      {BYTES("\1" IMPORT("\x05"
                         "other",
                         "\x01\x80\x01")),
       ""},
      {BYTES("\2" IMPORT("\x17warpgrid:shim/dns@0.1.0", INSTANCE) IMPORT("\x07wasi:io", INSTANCE)),
       "needs the shims dns: a host with WASI alone cannot run it"},
      {BYTES("\2" IMPORT("\x16warpgrid:shim/dns@1234", INSTANCE)
                 IMPORT("\x22warpgrid:shim-async/database-proxy", INSTANCE)),
       "needs the shims dns, database_proxy: a host with WASI alone cannot run it"},
      {BYTES("\5" IMPORT("\x06wasi:a", "\x00\x11\x02") IMPORT("\x06wasi:b", "\x02\x01\x73")
                 IMPORT("\x06wasi:c", "\x03\x00\x01") IMPORT("\x06wasi:d", "\x03\x01")
                     IMPORT("\x06wasi:e", "\x04\x01")),
       wasi},
      {BYTES("\2" IMPORT("\x06wasi:a", INSTANCE)), "malformed"},
      {BYTES("\1" IMPORT("\x06wasi:a", INSTANCE) "x"), "malformed"},
      {BYTES("\1" IMPORT("\x7fwasi:a", INSTANCE)), "malformed"},
      {BYTES("\1" IMPORT("\x06wasi:a", "\x06\x00")), "malformed"},
      {BYTES("\1" IMPORT("\x06wasi:a", "\x00\x12\x00")), "malformed"},
      {BYTES("\1\2\x06wasi:a" INSTANCE), "malformed"},
      {BYTES(""), "malformed"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *got = needs_of(cases[i].imports, cases[i].len);
    if (strcmp(got, cases[i].needs) != 0) fail_msg("case %zu: %s", i, got);
  }
}

static void what_is_no_component_has_no_sizes(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len;
    const char *message;
  } cases[] = {
      {BYTES(""), "not a component: its header is that of something else"},
      {BYTES("\0asm\x0d\0\1"), "not a component: its header is that of something else"},
      {BYTES("\177ELF\2\1\1\0"), "not a component: its header is that of something else"},
      {BYTES(COMPONENT "\x00"), "not a component: it is cut short"},
      {BYTES(COMPONENT "\x00\x02x"), "not a component: it is cut short"},
      {BYTES(COMPONENT "\x00\xff\xff\xff\xff\x7f"), "not a component: it is cut short"},
      {BYTES(COMPONENT "\x00\x80\x80\x80\x80\x80\x01"), "not a component: it is cut short"},
      {BYTES(COMPONENT "\x01\x08" COMPONENT), "not a component: what is inside has another header"},
      {BYTES(COMPONENT "\x04\x08" MODULE), "not a component: what is inside has another header"},
      {BYTES(COMPONENT "\x01\x01x"), "not a component: what is inside has another header"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    cli_sizes s;
    wg_error err = {0};
    assert_int_equal(cli_sizes_read(cases[i].bytes, cases[i].len, &s, &err), WG_COMPONENT);
    assert_string_equal(err.msg, cases[i].message);
  }
  /* Components in components: 16 levels are fine. */
  char deep[8 + 11 * 17];
  size_t len = 8;
  memcpy(deep, COMPONENT, 8);
  cli_sizes s;
  wg_error err = {0};
  for (size_t level = 1; level <= 17; level++) {
    assert_int_equal(cli_sizes_read(deep, len, &s, &err), level <= 16 ? WG_OK : WG_COMPONENT);
    memmove(deep + 11, deep, len);
    memcpy(deep, COMPONENT "\x04", 9);
    deep[9] = (char)(0x80 | (len & 0x7F));
    deep[10] = (char)(len >> 7);
    len += 11;
  }
  assert_string_equal(err.msg, "not a component: it is nested too deeply");
  assert_int_equal(cli_sizes_of_file("/proc/none", &s, &err), WG_NOT_FOUND);
}

/* ---- cargo ---- */

#define ARTIFACT(manifest, files, fresh)                                                          \
  "{\"reason\":\"compiler-artifact\",\"package_id\":\"x\",\"manifest_path\":\"" manifest "\","    \
  "\"target\":{\"kind\":[\"bin\"],\"name\":\"a\"},\"filenames\":[" files "],\"executable\":null," \
  "\"fresh\":" fresh "}\n"

static void expect_made(const char *text, const char *wasm, const char *other, bool fresh,
                        bool elsewhere) {
  cargo_made m;
  cargo_find_made(text, "/p/Cargo.toml", &m);
  assert_string_equal(m.wasm ? m.wasm : "", wasm);
  assert_string_equal(m.other ? m.other : "", other);
  assert_int_equal(m.fresh, fresh);
  assert_int_equal(m.elsewhere, elsewhere);
  cargo_made_release(&m);
}

static void what_cargo_made(void **state) {
  (void)state;
  expect_made("", "", "", false, false);
  expect_made("   Compiling x\n{\"reason\":\"build-finished\",\"success\":true}\n{broken\n", "", "",
              false, false);
  expect_made(ARTIFACT("/d/Cargo.toml", "\"/t/libd.rlib\",\"/t/libd.rmeta\"", "true")
                  ARTIFACT("/p/Cargo.toml", "\"/t/a.wasm\"", "false"),
              "/t/a.wasm", "", false, false);
  expect_made(ARTIFACT("/p/Cargo.toml", "\"/t/\\u00fc \\\"a\\\".wasm\"", "true"),
              "/t/\xC3\xBC \"a\".wasm", "", true, false);
  expect_made(ARTIFACT("/p/Cargo.toml", "\"/t/a.wasm\"", "true")
                  ARTIFACT("/p/Cargo.toml", "\"/t/a.wasm\", \"/t/b.wasm\"", "true")
                      ARTIFACT("/p/Cargo.toml", "\"/t/c.wasm\"", "true"),
              "/t/a.wasm", "/t/b.wasm", true, false);
  expect_made(ARTIFACT("/p/x/Cargo.toml", "\"/t/a.wasm\"", "true"), "", "", false, true);
  /* The build script of the package is no component. */
  expect_made(ARTIFACT("/p/Cargo.toml", "\"/t/build-script-build\",\".wasm\"", "true"), "", "",
              false, false);
}

static void expect_text(const char *json, const char *expected) {
  char *text = cargo_json_string((cargo_json){json, strlen(json)});
  if (!expected) {
    assert_null(text);
    return;
  }
  assert_non_null(text);
  assert_string_equal(text, expected);
  free(text);
}

static void json_strings(void **state) {
  (void)state;
  expect_text("\"\"", "");
  expect_text("\"a\\\\b\\/c\\n\\t\"", "a\\b/c\n\t");
  expect_text("\"\\u20ac \\uD83C\\uDF0D\"", "\xE2\x82\xAC \xF0\x9F\x8C\x8D");
  static const char *const bad[] = {"",
                                    "\"",
                                    "a",
                                    "\"\\",
                                    "\"\\\"",
                                    "\"\\x\"",
                                    "\"\\u12\"",
                                    "\"\\u12x4\"",
                                    "\"\\u0000\"",
                                    "\"\\ud800\"",
                                    "\"\\udc00\"",
                                    "\"\\ud800\\u0041\""};
  for (size_t i = 0; i < WG_COUNT(bad); i++) expect_text(bad[i], NULL);
}

static void json_members(void **state) {
  (void)state;
  static const char text[] =
      " { \"a\" : 1 , \"b\":{\"c\":[1,\"}\",{}]},\"c\":\"x\", \"d\" : [ ] } ";
  const cargo_json object = {text, sizeof text - 1};
  cargo_json c = cargo_json_member(object, "c"), item;
  assert_int_equal(c.len, 3);
  assert_memory_equal(c.p, "\"x\"", 3);
  assert_int_equal(cargo_json_member(object, "a").len, 1);
  assert_int_equal(cargo_json_member(object, "x").len, 0);
  cargo_json list = cargo_json_member(object, "d");
  assert_int_equal(list.len, 3);
  assert_false(cargo_json_next(&list, &item));
  list = cargo_json_member(cargo_json_member(object, "b"), "c");
  int count = 0;
  while (cargo_json_next(&list, &item)) count++;
  assert_int_equal(count, 3);
  static const char *const bad[] = {"",        "{",        "[]",        "{\"c\"",
                                    "{\"c\":", "{\"c\":}", "{\"c\":[1", "{,}"};
  for (size_t i = 0; i < WG_COUNT(bad); i++)
    assert_int_equal(cargo_json_member((cargo_json){bad[i], strlen(bad[i])}, "c").len, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_are_added_up),
      cmocka_unit_test(what_a_component_needs),
      cmocka_unit_test(what_is_no_component_has_no_sizes),
      cmocka_unit_test(what_cargo_made),
      cmocka_unit_test(json_strings),
      cmocka_unit_test(json_members),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
