/* SPDX-License-Identifier: Apache-2.0 */
/* object/: what an object defines and who uses it; renamed definitions; broken and foreign input. */
#include "object/object.h"

#include "object/example.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE_MAX_BYTES = 4096 };

/** An example, read. */
typedef struct fixture {
  wg_buf bytes;
  wg_object o;
} fixture;

static void open_example(fixture *f, const example *e) {
  wg_buf_init(&f->bytes, SIZE_MAX_BYTES);
  example_put(e, &f->bytes);
  assert_false(f->bytes.failed);
  wg_error err = {0};
  wg_code code = wg_object_read(wg_buf_head(&f->bytes), wg_buf_len(&f->bytes), &f->o, &err);
  assert_string_equal(err.msg, "");
  assert_int_equal(code, WG_OK);
}

static void close_example(fixture *f) {
  wg_object_release(&f->o);
  wg_buf_release(&f->bytes);
}

static const wg_object_symbol *find(const fixture *f, const char *name) {
  const wg_object_symbol *s = wg_object_find(&f->o, name);
  assert_non_null(s);
  return s;
}

static void definitions_and_signatures(void **state) {
  (void)state;
  fixture f;
  open_example(&f, &(example){0});
  static const struct {
    const char *name, *kind, *signature;
  } cases[] = {{"alpha", "function", "(i32 i64) -> (i32)"},
               {"beta", "function", "() -> ()"},
               {"table", "data", "4 bytes of each thread"},
               {"counter", "global", "i32 mutable"}};
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    char text[WG_OBJECT_TEXT_MAX];
    const wg_object_symbol *s = find(&f, cases[i].name);
    wg_object_signature(&f.o, s, text);
    assert_string_equal(text, cases[i].signature);
    assert_string_equal(wg_object_kind_name(s->kind), cases[i].kind);
  }
  assert_null(wg_object_find(&f.o, "malloc"));
  assert_null(wg_object_find(&f.o, "secret"));
  assert_null(wg_object_find(&f.o, "alph"));
  assert_memory_equal(f.o.symbols[0].name, "malloc", 6);
  close_example(&f);
}

static void note(void *user, const char *name, size_t len) {
  char *text = user;
  snprintf(text + strlen(text), 128 - strlen(text), "%.*s.", (int)len, name);
}

static void uses_inside(void **state) {
  (void)state;
  static const struct {
    example e;
    const char *users;
  } cases[] = {{{0}, ""},
               {{.beta_calls_alpha = true}, "beta."},
               {{.table_has_alpha = true}, "table."},
               {{.beta_calls_alpha = true, .table_has_alpha = true}, "beta.table."},
               {{.alpha_calls_itself = true}, ""},
               {{.debug_has_alpha = true}, ""},
               {{.beta_calls_alpha = true, .alias = "alpha2"}, "beta."}};
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    fixture f;
    char users[128] = "";
    open_example(&f, &cases[i].e);
    const char *name = cases[i].e.alias ? cases[i].e.alias : "alpha";
    wg_object_each_use(&f.o, find(&f, name), note, users);
    assert_string_equal(users, cases[i].users);
    close_example(&f);
  }
}

static wg_code renamed(const fixture *f, const wg_object_rename *r, size_t n, wg_buf *out,
                       wg_error *err) {
  *err = (wg_error){0};
  wg_buf_init(out, SIZE_MAX_BYTES);
  return wg_object_write_renamed(&f->o, r, n, out, err);
}

static void a_renamed_definition_is_all_that_changes(void **state) {
  (void)state;
  static const wg_object_rename r[] = {{"alpha", "__stock_alpha"}, {"table", "__stock_table"}};
  fixture f, expected;
  wg_buf out;
  wg_error err;
  open_example(&f, &(example){0});
  open_example(&expected, &(example){.alpha = "__stock_alpha"});
  assert_int_equal(renamed(&f, r, 1, &out, &err), WG_OK);
  assert_int_equal(wg_buf_len(&out), wg_buf_len(&expected.bytes));
  assert_memory_equal(wg_buf_head(&out), wg_buf_head(&expected.bytes), wg_buf_len(&out));
  wg_buf_release(&out);
  close_example(&expected);

  assert_int_equal(renamed(&f, r, 2, &out, &err), WG_OK);
  wg_object o;
  assert_int_equal(wg_object_read(wg_buf_head(&out), wg_buf_len(&out), &o, &err), WG_OK);
  assert_non_null(wg_object_find(&o, "__stock_alpha"));
  assert_non_null(wg_object_find(&o, "__stock_table"));
  assert_null(wg_object_find(&o, "alpha"));
  assert_int_equal(o.symbol_count, f.o.symbol_count);
  wg_object_release(&o);
  wg_buf_release(&out);
  close_example(&f);
}

static void renames_that_are_refused(void **state) {
  (void)state;
  static const struct {
    example e;
    wg_object_rename renames[2];
    wg_code code;
    const char *message;
  } cases[] = {
      {{0}, {{"gamma", "x"}}, WG_NOT_FOUND, "'gamma' is not defined here"},
      {{0}, {{"malloc", "x"}}, WG_NOT_FOUND, "'malloc' is not defined here"},
      {{0}, {{"secret", "x"}}, WG_NOT_FOUND, "'secret' is not defined here"},
      {{.beta_calls_alpha = true},
       {{"alpha", "x"}},
       WG_REFUSED,
       "'alpha' is used inside of its member, by 'beta'"},
      {{.table_has_alpha = true},
       {{"alpha", "x"}},
       WG_REFUSED,
       "'alpha' is used inside of its member, by 'table'"},
      {{0},
       {{"alpha", "beta"}},
       WG_INVALID,
       "'alpha' cannot be renamed to 'beta': that is here already"},
      {{0},
       {{"alpha", "malloc"}},
       WG_INVALID,
       "'alpha' cannot be renamed to 'malloc': that is here already"},
      {{0}, {{"alpha", ""}}, WG_INVALID, "'alpha' cannot be renamed to '': no name"},
      {{.comdat = true},
       {{"alpha", "x"}},
       WG_INVALID,
       "'alpha' cannot be renamed: it is in a COMDAT"},
      {{.comdat = true}, {{"beta", "x"}}, WG_OK, ""},
      {{0},
       {{"alpha", "x"}, {"beta", "x"}},
       WG_INVALID,
       "'alpha' is renamed to 'x', and 'beta' to 'x'"},
      {{0},
       {{"alpha", "x"}, {"alpha", "y"}},
       WG_INVALID,
       "'alpha' is renamed to 'x', and 'alpha' to 'y'"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    fixture f;
    wg_buf out;
    wg_error err;
    open_example(&f, &cases[i].e);
    size_t n = cases[i].renames[1].from ? 2 : 1;
    assert_int_equal(renamed(&f, cases[i].renames, n, &out, &err), cases[i].code);
    assert_string_equal(err.msg, cases[i].message);
    wg_buf_release(&out);
    close_example(&f);
  }
}

static void no_room_for_the_result(void **state) {
  (void)state;
  fixture f;
  wg_buf out;
  wg_error err = {0};
  open_example(&f, &(example){0});
  wg_buf_init(&out, wg_buf_len(&f.bytes));
  const wg_object_rename r = {"alpha", "__stock_alpha"};
  assert_int_equal(wg_object_write_renamed(&f.o, &r, 1, &out, &err), WG_EXHAUSTED);
  wg_buf_release(&out);
  close_example(&f);
}

static void other_formats_are_named(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len;
    const char *message;
  } cases[] = {
      {"", 0, "not a WebAssembly object: it is an empty file"},
      {"\177ELF....", 8, "not a WebAssembly object: it is an ELF file"},
      {"BC\xc0\xde....", 8, "not a WebAssembly object: it is LLVM bitcode"},
      {"\0asm\x0d\0\1\0", 8, "not a WebAssembly object: it is a component"},
      {"\0asm\2\0\0\0", 8, "not a WebAssembly object: it is WebAssembly of another version"},
      {"!<arch>\n", 8, "not a WebAssembly object: it is an archive"},
      {"hello, world", 12, "not a WebAssembly object: it is of an unknown format"},
      {"\0asm\1\0\0\0", 8,
       "not a WebAssembly object that can be read: it has no section 'linking': it is linked "
       "already"},
      {"\0asm\1\0\0\0\0\x09\7linking\3", 19,
       "not a WebAssembly object that can be read: its section 'linking' has version 3, not 2"},
      {"\0asm\1\0\0\0\1\2\1\x5e", 12,
       "not a WebAssembly object that can be read: type form 0x5e is not known"},
      {"\0asm\1\0\0\0\1\5\1\x60\1\x63\0", 15,
       "not a WebAssembly object that can be read: value type 0x63 is not known"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    wg_object o;
    wg_error err = {0};
    assert_int_equal(wg_object_read(cases[i].bytes, cases[i].len, &o, &err), WG_UNSUPPORTED);
    assert_string_equal(err.msg, cases[i].message);
  }
}

static void names_are_words(void **state) {
  (void)state;
  static const char *const names[] = {"", " ", "a b", "a\tb", "a\n", "\x7f", "a\x01"};
  for (size_t i = 0; i < WG_COUNT(names); i++) {
    wg_buf b;
    wg_object o;
    wg_error err = {0};
    wg_buf_init(&b, SIZE_MAX_BYTES);
    example_put(&(example){.alpha = names[i]}, &b);
    assert_int_equal(wg_object_read(wg_buf_head(&b), wg_buf_len(&b), &o, &err), WG_INVALID);
    assert_non_null(strstr(err.msg, "the name of a symbol is none"));
    wg_buf_release(&b);
  }
}

/** Every prefix, and every byte with another value: an error or an object, never more. */
static void broken_ones_are_refused(void **state) {
  (void)state;
  static const example all = {.alias = "alpha2",
                              .beta_calls_alpha = true,
                              .table_has_alpha = true,
                              .debug_has_alpha = true,
                              .comdat = true};
  fixture f;
  open_example(&f, &all);
  size_t len = wg_buf_len(&f.bytes), refused = 0;
  for (size_t n = 0; n < len; n++) {
    void *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    if (n) memcpy(copy, wg_buf_head(&f.bytes), n);
    wg_object o;
    wg_code code = wg_object_read(copy, n, &o, NULL);
    if (code == WG_OK) wg_object_release(&o); /* cut between sections behind 'linking' */
    refused += code != WG_OK;
    free(copy);
  }
  assert_true(refused > len * 9 / 10);
  static const uint8_t values[] = {0, 1, 0x7F, 0x80, 0xFF};
  for (size_t i = 8; i < len; i++)
    for (size_t v = 0; v < WG_COUNT(values); v++) {
      uint8_t *copy = malloc(len);
      assert_non_null(copy);
      memcpy(copy, wg_buf_head(&f.bytes), len);
      copy[i] = values[v];
      wg_object o;
      wg_code code = wg_object_read(copy, len, &o, NULL);
      assert_true(code == WG_OK || code == WG_INVALID || code == WG_UNSUPPORTED);
      if (code == WG_OK) {
        char text[WG_OBJECT_TEXT_MAX], users[128] = "";
        for (size_t k = 0; k < o.symbol_count; k++) {
          wg_object_signature(&o, &o.symbols[k], text);
          wg_object_each_use(&o, &o.symbols[k], note, users);
        }
        wg_object_release(&o);
      }
      free(copy);
    }
  close_example(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(definitions_and_signatures),
      cmocka_unit_test(uses_inside),
      cmocka_unit_test(a_renamed_definition_is_all_that_changes),
      cmocka_unit_test(renames_that_are_refused),
      cmocka_unit_test(no_room_for_the_result),
      cmocka_unit_test(other_formats_are_named),
      cmocka_unit_test(names_are_words),
      cmocka_unit_test(broken_ones_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
