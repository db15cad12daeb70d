/* SPDX-License-Identifier: Apache-2.0 */
/** @file check.h  Tests of the patched libc: small functions in a program that scripts/test-libc.sh
 *  builds and runs in several ways. Each prints a line: "ok - name", "skip - name: why", "FAIL - ...".
 *  The last line is "end".
 *
 *  A program is a table of TESTs, each with where it runs, and a main() that calls check_run(). */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Ways to run. In each but STOCK the program is linked with the patched sysroot. */
enum {
  WASI = 1, /**< on WarpGrid, by WASI alone */
  SHIM = 2, /**< on WarpGrid, with -lwarpgrid_shim */
  VANILLA = 4, /**< the program of WASI in Wasmtime's own command */
  MOCK = 8, /**< there, linked with mock.c in the place of -lwarpgrid_shim */
  STOCK = 16, /**< there, linked with the stock sysroot */
  WARPGRID = WASI | SHIM,
  PATCHED = WARPGRID | VANILLA | MOCK,
  ANYWHERE = PATCHED | STOCK
};

static int check_failed;
static const char *check_name = "";

#define CHECK(cond) ((cond) ? (void)0 : check_fail(__FILE__, __LINE__, #cond, ""))
#define CHECK_INT(is, wanted) check_int((is), (wanted), #is, __FILE__, __LINE__)
#define CHECK_TEXT(is, wanted) check_text((is), (wanted), #is, __FILE__, __LINE__)

static inline void check_fail(const char *file, int line, const char *what, const char *more) {
  const char *slash = strrchr(file, '/');
  /* The first reason is the test's, more are told below it. */
  printf(check_failed++ ? "  %s: " : "FAIL - %s: ", check_name);
  printf("%s:%d: %s%s\n", slash ? slash + 1 : file, line, what, more);
}
static inline void check_int(long long is, long long wanted, const char *what, const char *file,
                             int line) {
  char more[96];
  snprintf(more, sizeof more, " is %lld, not %lld", is, wanted);
  if (is != wanted) check_fail(file, line, what, more);
}
static inline void check_text(const char *is, const char *wanted, const char *what,
                              const char *file, int line) {
  char more[512];
  snprintf(more, sizeof more, " is '%.200s', not '%.200s'", is ? is : "(null)", wanted);
  if (!is || strcmp(is, wanted) != 0) check_fail(file, line, what, more);
}

struct check_test {
  const char *name;
  void (*run)(void);
  int where;
};

static inline int check_run(const struct check_test *tests, size_t count) {
  static const char *const names[] = {"wasi", "shim", "vanilla", "mock", "stock"};
  const char *way = getenv("LIBC_TEST_WAY");
  int bit = 0;
  for (int i = 0; i < 5; i++)
    if (way && strcmp(way, names[i]) == 0) bit = 1 << i;
  if (!bit) {
    fprintf(stderr, "LIBC_TEST_WAY must be one of wasi, shim, vanilla, mock, stock\n");
    return 2;
  }
  int failed = 0;
  for (size_t i = 0; i < count; i++) {
    check_name = tests[i].name;
    check_failed = 0;
    if (!(tests[i].where & bit)) {
      if (bit == STOCK) printf("skip - %s: shim not available\n", check_name);
      continue;
    }
    tests[i].run();
    if (!check_failed) printf("ok - %s\n", check_name);
    failed += check_failed > 0;
    fflush(stdout);
  }
  printf("end\n"); /* so that a program which stops in the middle is seen */
  return failed > 0;
}

#define TEST(function, where) {#function, function, where}
