/* SPDX-License-Identifier: Apache-2.0 */
/* object/: archives as `ar` writes them; plans of hooks and what they refuse. */
#include "object/archive.h"

#include "object/example.h"
#include "object/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES_MAX = 1 << 16 };
#define HEADER(name, size) name "0           0     0     644     " size "`\n"

static void written_as_llvm_does(void **state) {
  (void)state;
  wg_buf object, out;
  wg_buf_init(&object, BYTES_MAX);
  wg_buf_init(&out, BYTES_MAX);
  example_put(&(example){0}, &object);
  size_t len = wg_buf_len(&object);
  wg_archive a = {0};
  wg_error err = {0};
  assert_int_equal(wg_archive_add(&a, "one.o", wg_buf_head(&object), len, &err), WG_OK);
  assert_int_equal(wg_archive_add(&a, "a_name_of_twenty_one.o", wg_buf_head(&object), len, &err),
                   WG_OK);
  assert_int_equal(wg_archive_write(&a, &out, &err), WG_OK);
  wg_archive_release(&a);

  const char *p = (const char *)wg_buf_head(&out);
  static const char start[] = "!<arch>\n"
                              "/               0           0     0     0       ";
  assert_memory_equal(p, start, sizeof start - 1);
  wg_reader r = wg_reader_of(p + 68, wg_buf_len(&out) - 68);
  assert_int_equal(wg_take_u32(&r), 8);
  uint32_t offsets[8];
  for (size_t i = 0; i < 8; i++) offsets[i] = wg_take_u32(&r);
  static const char *const names[] = {"alpha", "beta", "table", "counter"};
  for (size_t i = 0; i < 8; i++) assert_string_equal(wg_take_cstr(&r), names[i % 4]);
  size_t names_at = offsets[0] - 60 - 24; /* a header and one long name */
  assert_memory_equal(p + names_at, "//                                              24        `\n",
                      60);
  assert_memory_equal(p + names_at + 60, "a_name_of_twenty_one.o/\n", 24);
  assert_memory_equal(p + offsets[0], "one.o/          0           0     0     644     ", 48);
  assert_memory_equal(p + offsets[7], "/0              0           0     0     644     ", 48);
  assert_memory_equal(p + offsets[0] + 60, wg_buf_head(&object), len);

  wg_archive again;
  assert_int_equal(wg_archive_read(p, wg_buf_len(&out), &again, &err), WG_OK);
  assert_int_equal(again.count, 2);
  assert_string_equal(again.members[0].name, "one.o");
  assert_string_equal(again.members[1].name, "a_name_of_twenty_one.o");
  assert_int_equal(again.members[1].len, len);
  wg_buf second;
  wg_buf_init(&second, BYTES_MAX);
  assert_int_equal(wg_archive_write(&again, &second, &err), WG_OK);
  assert_int_equal(wg_buf_len(&second), wg_buf_len(&out));
  assert_memory_equal(wg_buf_head(&second), p, wg_buf_len(&out));
  wg_archive_release(&again);
  wg_buf_release(&second);
  wg_buf_release(&out);
  wg_buf_release(&object);
}

static void archives_of_other_kinds(void **state) {
  (void)state;
  static const struct {
    const char *text;
    wg_code code;
    const char *message;
  } cases[] = {
      {"!<thin>\n", WG_UNSUPPORTED, "not an archive with content: it is a thin archive"},
      {"hello, archive", WG_UNSUPPORTED, "not an archive with content: it is of an unknown format"},
      {"!<arch>\n" HEADER("#1/12           ", "0         "), WG_UNSUPPORTED,
       "not a GNU archive: it has names in BSD's way"},
      {"!<arch>\n" HEADER("__.SYMDEF SORTED", "0         "), WG_UNSUPPORTED,
       "not a GNU archive: it has names in BSD's way"},
      {"!<arch>\nshort", WG_INVALID, "broken archive: a header is cut short at byte 8"},
      {"!<arch>\n" HEADER("a/              ", "9         "), WG_INVALID,
       "broken archive: a member is cut short at byte 8"},
      {"!<arch>\n" HEADER("a/              ", "x         "), WG_INVALID,
       "broken archive: a header is none at byte 8"},
      {"!<arch>\n" HEADER("/7              ", "0         "), WG_INVALID,
       "broken archive: a member has no name at byte 8"},
      {"!<arch>\n" HEADER("no slash        ", "0         "), WG_INVALID,
       "broken archive: a member has no name at byte 8"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    wg_archive a;
    wg_error err = {0};
    assert_int_equal(wg_archive_read(cases[i].text, strlen(cases[i].text), &a, &err),
                     cases[i].code);
    assert_string_equal(err.msg, cases[i].message);
  }
  wg_archive a = {0};
  wg_error err = {0};
  assert_int_equal(wg_archive_add(&a, "a/b", "", 0, &err), WG_INVALID);
  assert_int_equal(wg_archive_add(&a, "text.o", "hello", 5, &err), WG_OK);
  wg_buf out;
  wg_buf_init(&out, BYTES_MAX);
  assert_int_equal(wg_archive_write(&a, &out, &err), WG_UNSUPPORTED);
  assert_string_equal(err.msg,
                      "member 'text.o': not a WebAssembly object: it is of an unknown format");
  wg_archive_release(&a);
  wg_buf_release(&out);
}

/** Names that look a little like BSD's are read again. */
static void odd_names(void **state) {
  (void)state;
  static const char *const names[] = {
      "#1", "__.SYMDEF", "__.SYMDEF_2.o", "__.SYMDEF 2.o", "exactly_15_chr.", "x y.o"};
  for (size_t i = 0; i < WG_COUNT(names); i++) {
    wg_buf object, out;
    wg_archive a = {0}, again;
    wg_error err = {0};
    wg_buf_init(&object, BYTES_MAX);
    wg_buf_init(&out, BYTES_MAX);
    example_put(&(example){0}, &object);
    const void *bytes = wg_buf_head(&object);
    assert_int_equal(wg_archive_add(&a, names[i], bytes, wg_buf_len(&object), &err), WG_OK);
    assert_int_equal(wg_archive_write(&a, &out, &err), WG_OK);
    assert_int_equal(wg_archive_read(wg_buf_head(&out), wg_buf_len(&out), &again, &err), WG_OK);
    assert_string_equal(again.members[0].name, names[i]);
    wg_archive_release(&again);
    wg_archive_release(&a);
    wg_buf_release(&out);
    wg_buf_release(&object);
  }
}

/* ---- plans ---- */

/** An archive of two examples, both named errno.o. */
typedef struct fixture {
  wg_buf objects[2];
  wg_archive a;
} fixture;

static void open_archive(fixture *f, const example *one, const example *two) {
  const example *all[2] = {one, two};
  f->a = (wg_archive){0};
  for (size_t i = 0; i < 2; i++) {
    wg_buf_init(&f->objects[i], BYTES_MAX);
    if (!all[i]) continue;
    example_put(all[i], &f->objects[i]);
    assert_int_equal(wg_archive_add(&f->a, "errno.o", wg_buf_head(&f->objects[i]),
                                    wg_buf_len(&f->objects[i]), NULL),
                     WG_OK);
  }
}

static void close_archive(fixture *f) {
  wg_archive_release(&f->a);
  for (size_t i = 0; i < 2; i++) wg_buf_release(&f->objects[i]);
}

static wg_code put_item(void *user, const wg_plan_item *i, wg_error *err) {
  (void)err;
  wg_buf_printf(user, "%s %s %s %s %s [%s] [%s]\n", i->member, i->symbol, i->kind, i->binding,
                i->signature, i->aliases, i->users);
  return WG_OK;
}

static void everything_that_is_defined(void **state) {
  (void)state;
  fixture f;
  wg_buf text;
  wg_error err = {0};
  wg_buf_init(&text, BYTES_MAX);
  open_archive(&f, &(example){.alias = "alpha2", .beta_calls_alpha = true, .table_has_alpha = true},
               &(example){.alpha = "gamma"});
  assert_int_equal(wg_plan_each(&f.a, put_item, &text, &err), WG_OK);
  wg_buf_put_u8(&text, 0);
  assert_string_equal((const char *)wg_buf_head(&text),
                      "errno.o alpha function global (i32 i64) -> (i32) [alpha2] [beta table]\n"
                      "errno.o beta function global () -> () [-] [-]\n"
                      "errno.o table data global 4 bytes of each thread [-] [-]\n"
                      "errno.o counter global global i32 mutable [-] [-]\n"
                      "errno.o alpha2 function weak (i32 i64) -> (i32) [alpha] [beta table]\n"
                      "errno.o@2 gamma function global (i32 i64) -> (i32) [-] [-]\n"
                      "errno.o@2 beta function global () -> () [-] [-]\n"
                      "errno.o@2 table data global 4 bytes of each thread [-] [-]\n"
                      "errno.o@2 counter global global i32 mutable [-] [-]\n");
  close_archive(&f);
  wg_buf_release(&text);
}

static wg_code apply(const fixture *f, const char *text, wg_buf *out, wg_error *err) {
  static wg_plan plan;
  *err = (wg_error){0};
  wg_buf_init(out, BYTES_MAX);
  wg_code code = wg_plan_read(text, strlen(text), &plan, err);
  if (code == WG_OK) {
    code = wg_plan_apply(&plan, &f->a, out, err);
    wg_plan_release(&plan);
  }
  return code;
}

static void a_plan_is_applied(void **state) {
  (void)state;
  fixture f;
  wg_buf out, text;
  wg_error err;
  open_archive(&f, &(example){0}, &(example){.alpha = "gamma"});
  assert_int_equal(apply(&f,
                         "# hooks\n\n"
                         "errno.o@2 beta __stock_beta () -> ()\n"
                         "\t*  alpha __stock_alpha\t(i32 i64) -> (i32)\n",
                         &out, &err),
                   WG_OK);
  wg_archive a;
  assert_int_equal(wg_archive_read(wg_buf_head(&out), wg_buf_len(&out), &a, &err), WG_OK);
  wg_buf_init(&text, BYTES_MAX);
  assert_int_equal(wg_plan_each(&a, put_item, &text, &err), WG_OK);
  wg_buf_put_u8(&text, 0);
  assert_string_equal((const char *)wg_buf_head(&text),
                      "errno.o __stock_alpha function global (i32 i64) -> (i32) [-] [-]\n"
                      "errno.o beta function global () -> () [-] [-]\n"
                      "errno.o table data global 4 bytes of each thread [-] [-]\n"
                      "errno.o counter global global i32 mutable [-] [-]\n"
                      "errno.o@2 gamma function global (i32 i64) -> (i32) [-] [-]\n"
                      "errno.o@2 __stock_beta function global () -> () [-] [-]\n"
                      "errno.o@2 table data global 4 bytes of each thread [-] [-]\n"
                      "errno.o@2 counter global global i32 mutable [-] [-]\n");
  wg_archive_release(&a);
  wg_buf_release(&out);
  wg_buf_release(&text);
  close_archive(&f);
}

static void plans_that_are_refused(void **state) {
  (void)state;
  static const struct {
    example one;
    const char *plan;
    wg_code code;
    const char *message;
  } cases[] = {
      {{0}, "errno.o alpha x\n", WG_INVALID, "line 1 is not 'MEMBER SYMBOL NEW-NAME SIGNATURE'"},
      {{0},
       "* alpha x (i32)\n* alpha y (i32)",
       WG_INVALID,
       "'alpha' is hooked in line 1 and in line 2"},
      {{0},
       "errno.o alpha x (i32) -> (i32)",
       WG_REFUSED,
       "member 'errno.o': 'alpha' is '(i32 i64) -> (i32)' here, not '(i32) -> (i32)'"},
      {{.alias = "alpha2"},
       "errno.o alpha x (i32 i64) -> (i32)",
       WG_REFUSED,
       "member 'errno.o': 'alpha' is also known as 'alpha2'"},
      {{.beta_calls_alpha = true},
       "errno.o alpha x (i32 i64) -> (i32)",
       WG_REFUSED,
       "member 'errno.o': 'alpha' is used inside of its member, by 'beta'"},
      {{0},
       "errno.o delta x () -> ()",
       WG_NOT_FOUND,
       "member 'errno.o' is not there or does not define 'delta'"},
      {{0},
       "errno.o@3 beta x () -> ()",
       WG_NOT_FOUND,
       "member 'errno.o@3' is not there or does not define 'beta'"},
      {{0}, "* delta x () -> ()", WG_NOT_FOUND, "no member defines 'delta'"},
      {{0}, "* beta x () -> ()", WG_REFUSED, "'beta' is defined by 'errno.o' and by 'errno.o@2'"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    fixture f;
    wg_buf out;
    wg_error err;
    open_archive(&f, &cases[i].one, &(example){.alpha = "gamma"});
    assert_int_equal(apply(&f, cases[i].plan, &out, &err), cases[i].code);
    assert_string_equal(err.msg, cases[i].message);
    wg_buf_release(&out);
    close_archive(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(written_as_llvm_does),
      cmocka_unit_test(archives_of_other_kinds),
      cmocka_unit_test(odd_names),
      cmocka_unit_test(everything_that_is_defined),
      cmocka_unit_test(a_plan_is_applied),
      cmocka_unit_test(plans_that_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
