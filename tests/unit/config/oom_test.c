/* SPDX-License-Identifier: Apache-2.0 */
/* Out of memory anywhere in the reader is WG_NOMEM: no crash, and (under ASan) no leak. The sources
 * are compiled into this file with an allocator that fails its Nth call. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long calls_left = -1; /* allocations until one fails; -1: none fails */
static int oom(void) { return calls_left >= 0 && calls_left-- == 0; }
static void *oom_malloc(size_t n) { return oom() ? NULL : malloc(n); }
static void *oom_calloc(size_t n, size_t size) { return oom() ? NULL : calloc(n, size); }
static void *oom_realloc(void *p, size_t n) { return oom() ? NULL : realloc(p, n); }
static char *oom_strdup(const char *s) { return oom() ? NULL : strdup(s); }
static char *oom_strndup(const char *s, size_t n) { return oom() ? NULL : strndup(s, n); }
__attribute__((format(printf, 2, 3))) static int oom_asprintf(char **out, const char *fmt, ...) {
  if (oom()) return -1;
  va_list ap;
  va_start(ap, fmt);
  int n = vasprintf(out, fmt, ap);
  va_end(ap);
  return n;
}
#define malloc oom_malloc
#define calloc oom_calloc
#define realloc oom_realloc
#undef strdup
#define strdup oom_strdup
#undef strndup
#define strndup oom_strndup
#define asprintf oom_asprintf
#pragma GCC diagnostic ignored "-Wshadow"
#include "../../../src/base/base.c"
#include "../../../src/base/buf.c"
#include "../../../src/config/config.c"
#include "../../../src/config/doc.c"
#include "../../../src/config/keys.c"
#include "../../../src/config/read.c"
#include "../../../src/config/sections.c"
#include "../../../src/config/value.c"
#include "../../../src/config/virtual.c"

#include <setjmp.h>

#include <cmocka.h>

static const char full[] =
    "name = 'users'\nlang = 'c'\n"
    "[build]\ncomponent = 'x.wasm'\nsources = ['a.c', 'b.c']\nworld = 'w'\nflags = '-O1'\n"
    "[http]\nlisten = ['127.0.0.1:0', '[::1]:1']\n"
    "[files]\npreopens = ['data::/data', '/abs::/abs:rw']\n"
    "[shims.filesystem]\nextra_virtual_paths = { '/a' = 'b', '/c' = { text = 'd' } }\n"
    "nameservers = ['10.0.0.1', '::1']\ntimezone = 'Europe/London'\nzoneinfo = "
    "'/usr/share/zoneinfo'\n"
    "[shims.dns]\ndomain = '.x.test'\n"
    "[databases.a]\nuser = 'u'\npassword = '${HOME}'\ndatabase = 'd'\naddress = '/run'\n"
    "[databases.b]\nprotocol = 'redis'\nhost = 'h'\npassword_env = 'HOME'\n"
    "[databases.c]\nuser = 'u'\npassword_file = '/dev/null'\n"
    "[registry]\n'a.b' = ['10.0.0.1', '::1']\nc = '10.0.0.2'\n"
    "[hosts]\nd = '10.0.0.3'\n"
    "[env]\nA = 'x ${HOME}'\nB = 2\nC = true\n";

static wg_code load_once(wg_error *err) {
  wg_config *c = NULL;
  wg_code code =
      config_from("folder/warp.toml", "w.toml", full, sizeof full - 1, NULL, NULL, &c, err);
  if (code == WG_OK)
    wg_config_free(c);
  else
    assert_null(c);
  return code;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  wg_error err;
  setenv("HOME", "/home", 1);
  assert_int_equal(load_once(&err), WG_OK);
  long n = 0;
  for (;; n++) {
    calls_left = n;
    wg_code code = load_once(&err);
    bool failed = calls_left < 0;
    calls_left = -1;
    if (!failed) {
      assert_int_equal(code, WG_OK);
      break;
    }
    assert_int_equal(code, WG_NOMEM);
    assert_int_equal(err.code, WG_NOMEM);
    assert_non_null(strstr(err.msg, "out of memory"));
  }
  assert_true(n > 100); /* the loop did reach the allocations */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
