/* SPDX-License-Identifier: Apache-2.0 */
/* US-104: a guest path has one canonical form, by its letters alone. */
#include "vfs/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static wg_path got;

static wg_path_kind canonical(const char *base, const char *path) {
  return wg_path_canonical(base, strlen(base), path, strlen(path), &got);
}

static void us_104_paths_have_one_form(void **state) {
  (void)state;
  static const struct {
    const char *base, *path, *expect;
    bool directory;
  } table[] = {
      {"", "/etc/hosts", "/etc/hosts", false},
      {"", "/etc/../etc/hosts", "/etc/hosts", false},
      {"", "//etc///hosts", "/etc/hosts", false},
      {"", "/./etc/./hosts", "/etc/hosts", false},
      {"", "/etc/hosts/", "/etc/hosts", true},
      {"", "/etc/hosts/.", "/etc/hosts", true},
      {"", "/etc/hosts/..", "/etc", true},
      {"", "/", "/", true},
      {"", "////", "/", true},
      {"", "/..", "/", true},
      {"", "/../../etc", "/etc", false},
      {"", "/a/b/../../c", "/c", false},
      {"", "/...", "/...", false},
      {"", "/.hidden/..x", "/.hidden/..x", false},
      {"", "/a\\..\\b", "/a\\..\\b", false},
      {"", "/\xff\xfe", "/\xff\xfe", false},
      {"", "/%2e%2e/x", "/%2e%2e/x", false},
      {"/", "etc/hosts", "/etc/hosts", false},
      {"/", ".", "/", true},
      {"/", "./", "/", true},
      {"/data", ".", "/data", true},
      {"/data", "x", "/data/x", false},
      {"/data", "x/..", "/data", true},
      {"/data", "x/../y/.", "/data/y", true},
      {"/data", "./x//y", "/data/x/y", false},
      {"/data/deep", "a/b/../../c", "/data/deep/c", false},
  };
  for (size_t i = 0; i < WG_COUNT(table); i++) {
    assert_int_equal(canonical(table[i].base, table[i].path), WG_PATH_OK);
    assert_string_equal(got.text, table[i].expect);
    assert_int_equal(got.len, strlen(table[i].expect));
    assert_int_equal(got.directory, table[i].directory);
  }
}

static void us_104_no_path_leaves_its_base(void **state) {
  (void)state;
  static const char *const outside[][2] = {
      {"/", ".."},           {"/", "../etc/hosts"},         {"/data", ".."},
      {"/data", "../data"},  {"/data", "x/../../data/x"},   {"/data", "x/../.."},
      {"/data", "/etc"},     {"/data", "/data/x"},          {"/data", "//"},
      {"/data/deep", "../"}, {"/data/deep", "a/../../deep"}};
  for (size_t i = 0; i < WG_COUNT(outside); i++) {
    assert_int_equal(canonical(outside[i][0], outside[i][1]), WG_PATH_OUTSIDE);
    assert_string_equal(got.text, "");
  }
}

static void us_104_what_is_no_path(void **state) {
  (void)state;
  assert_int_equal(canonical("", ""), WG_PATH_INVALID);
  assert_int_equal(canonical("", "etc/hosts"), WG_PATH_INVALID);
  assert_int_equal(canonical("", "./x"), WG_PATH_INVALID);
  assert_int_equal(canonical("data", "x"), WG_PATH_INVALID);
  assert_int_equal(canonical("/data", ""), WG_PATH_EMPTY);
  assert_int_equal(wg_path_canonical("", 0, "/etc/hosts\0x", 12, &got), WG_PATH_INVALID);
  assert_int_equal(wg_path_canonical("/a\0b", 4, "x", 1, &got), WG_PATH_INVALID);
  assert_int_equal(wg_path_canonical(NULL, 0, NULL, 0, &got), WG_PATH_INVALID);
}

static void us_104_longest_paths(void **state) {
  (void)state;
  char *path = malloc(WG_PATH_MAX + 2);
  memset(path, 'x', WG_PATH_MAX + 1);
  path[0] = '/';
  assert_int_equal(wg_path_canonical("", 0, path, WG_PATH_MAX, &got), WG_PATH_OK);
  assert_int_equal(got.len, WG_PATH_MAX);
  assert_memory_equal(got.text, path, WG_PATH_MAX);
  assert_int_equal(got.text[WG_PATH_MAX], '\0');
  assert_int_equal(wg_path_canonical("", 0, path, WG_PATH_MAX + 1, &got), WG_PATH_INVALID);
  /* Each is short enough, together they are not. */
  assert_int_equal(wg_path_canonical("/d", 2, path + 1, WG_PATH_MAX - 3, &got), WG_PATH_OK);
  assert_int_equal(got.len, WG_PATH_MAX);
  assert_int_equal(wg_path_canonical("/d", 2, path + 1, WG_PATH_MAX - 2, &got), WG_PATH_INVALID);
  assert_int_equal(wg_path_canonical(path, WG_PATH_MAX, ".", 1, &got), WG_PATH_OK);
  assert_int_equal(wg_path_canonical(path, WG_PATH_MAX, "y", 1, &got), WG_PATH_INVALID);
  assert_int_equal(wg_path_canonical(path, WG_PATH_MAX + 1, ".", 1, &got), WG_PATH_INVALID);
  /* 4 KiB of slashes and of ups. */
  memset(path, '/', WG_PATH_MAX);
  assert_int_equal(wg_path_canonical("", 0, path, WG_PATH_MAX, &got), WG_PATH_OK);
  assert_string_equal(got.text, "/");
  for (size_t i = 0; i + 3 <= WG_PATH_MAX; i += 3) memcpy(path + i, "/..", 3);
  assert_int_equal(wg_path_canonical("", 0, path, WG_PATH_MAX - 1, &got), WG_PATH_OK);
  assert_string_equal(got.text, "/");
  free(path);
}

static void what_is_below_stands_behind(void **state) {
  (void)state;
  static const char *const sorted[] = {"/",    "/a",   "/a/b", "/a/b/c", "/a/z",
                                       "/a b", "/a-b", "/a.",  "/aa",    "/b"};
  for (size_t i = 0; i < WG_COUNT(sorted); i++)
    for (size_t j = 0; j < WG_COUNT(sorted); j++) {
      int c = wg_path_compare(sorted[i], sorted[j]);
      assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_104_paths_have_one_form),
      cmocka_unit_test(us_104_no_path_leaves_its_base),
      cmocka_unit_test(us_104_what_is_no_path),
      cmocka_unit_test(us_104_longest_paths),
      cmocka_unit_test(what_is_below_stands_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
