/* SPDX-License-Identifier: Apache-2.0 */
/* Out of memory anywhere in making a map is WG_NOMEM: no crash, and (under ASan) no leak; looking up
 * asks for none. The sources are compiled into this file with an allocator that fails its Nth call. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long calls_left = -1; /* allocations until one fails; -1: none fails */
static unsigned long calls;
static int oom(void) { return calls++, calls_left >= 0 && calls_left-- == 0; }
static void *oom_malloc(size_t n) { return oom() ? NULL : malloc(n); }
static void *oom_calloc(size_t n, size_t size) { return oom() ? NULL : calloc(n, size); }
static void *oom_realloc(void *p, size_t n) { return oom() ? NULL : realloc(p, n); }
static char *oom_strdup(const char *s) { return oom() ? NULL : strdup(s); }
#define malloc oom_malloc
#define calloc oom_calloc
#define realloc oom_realloc
#undef strdup
#define strdup oom_strdup
#pragma GCC diagnostic ignored "-Wshadow"
#include "../../../src/base/buf.c"
#include "../../../src/dns/names.c"
#include "../../../src/vfs/builder.c"
#include "../../../src/vfs/hosts.c"
#include "../../../src/vfs/map.c"
#undef USER
#include "../../../src/vfs/standard.c"
#include "../../../src/vfs/zones.c"
#undef malloc

#include <setjmp.h>

#include <cmocka.h>

static wg_names *table;
static wg_names *current(void *user) { return (void)user, wg_names_ref(table); }
static void publish(const wg_config *c) {
  wg_names_unref(table);
  assert_int_equal(wg_names_new(c, NULL, &table, NULL), WG_OK);
}

static wg_config c;
static wg_code make_once(const char *zoneinfo, wg_vfs **out, wg_error *err) {
  static char *servers[] = {"127.0.0.1", NULL}, *addresses[] = {"10.0.0.2", NULL};
  static wg_registry_entry hosts[] = {{"h", addresses, 1}};
  static wg_virtual_path extra[] = {{.guest = "/x", .text = "x"},
                                    {.guest = "/y", .host = "/etc/passwd"},
                                    {.guest = "/z", .host = "/etc/passwd", .live = true}};
  static wg_database_config database = {.name = "d", .host = "db.example", .port = 1};
  c = (wg_config){.memory_bytes = 1 << 20,
                  .nameservers = servers,
                  .timezone = "UTC",
                  .zoneinfo = (char *)(uintptr_t)zoneinfo,
                  .hosts = hosts,
                  .host_count = 1,
                  .shims = WG_SHIM_ALL,
                  .databases = &database,
                  .database_count = 1,
                  .virtual_paths = extra,
                  .virtual_path_count = WG_COUNT(extra)};
  static const char *const env[] = {"A=1", NULL};
  return wg_vfs_new(
      &(wg_vfs_options){
          .config = &c, .name = "n", .args = env, .env = env, .names = {current, NULL}},
      out, err);
}

static uint64_t hosts_id(wg_vfs *v) {
  wg_path p;
  wg_vfs_node n;
  assert_int_equal(wg_vfs_find(v, "/etc", 4, "hosts", 5, &p, &n), WG_OK);
  return n.id;
}

static void every_allocation_may_fail(const char *zoneinfo) {
  wg_error err;
  wg_vfs *v;
  long n = 0;
  for (;; n++) {
    calls_left = n;
    wg_code code = make_once(zoneinfo, &v, &err);
    bool failed = calls_left < 0;
    calls_left = -1;
    if (!failed) {
      assert_int_equal(code, WG_OK);
      break;
    }
    assert_int_equal(code, WG_NOMEM);
    assert_string_equal(err.msg, "out of memory");
  }
  assert_true(n > 30);
  publish(&c);
  uint64_t id = hosts_id(v);
  for (n = 0;; n++) {
    int fd;
    uint64_t known = 0;
    publish(&c);
    calls_left = n;
    wg_code code = wg_vfs_open(v, id, &known, &fd, &err);
    bool failed = calls_left < 0;
    calls_left = -1;
    if (fd >= 0) close(fd);
    assert_int_equal(code, failed ? WG_NOMEM : WG_OK);
    if (!failed) break;
  }
  assert_true(n > 0);
  wg_vfs_free(v);
  wg_names_unref(table);
  table = NULL;
}

static void us_103_out_of_memory_with_built_in_zones(void **state) {
  (void)state;
  every_allocation_may_fail(NULL);
}

static void us_103_out_of_memory_with_a_folder_of_zones(void **state) {
  (void)state;
  char folder[] = "/tmp/wg-vfs-XXXXXX", command[256];
  assert_non_null(mkdtemp(folder));
  snprintf(command, sizeof command,
           "mkdir %s/a && printf 'TZif%%044d' 0 >%s/a/b && cp %s/a/b %s/UTC", folder, folder,
           folder, folder);
  assert_int_equal(system(command), 0);
  every_allocation_may_fail(folder);
  snprintf(command, sizeof command, "rm -r %s", folder);
  assert_int_equal(system(command), 0);
}

static void us_103_lookups_ask_for_no_memory(void **state) {
  (void)state;
  wg_vfs *v;
  wg_error err;
  assert_int_equal(make_once(NULL, &v, &err), WG_OK);
  publish(&c);
  (void)hosts_id(v); /* its size is known from here on */
  static const char *const paths[] = {
      "/etc/hosts",   "/etc/passwd", "/dev/null",
      "/nothing",     "/",           "/etc/../usr/share/zoneinfo/Europe/London",
      "/proc/self/x", "/z"};
  unsigned long before = calls;
  for (size_t i = 0; i < WG_COUNT(paths); i++) {
    wg_path p;
    wg_vfs_node n;
    const char *name;
    size_t len;
    assert_int_equal(wg_vfs_find(v, "", 0, paths[i], strlen(paths[i]), &p, &n), WG_OK);
    (void)wg_vfs_list(v, n.id, 0, &name, &len, &n);
  }
  assert_int_equal(calls, before);
  wg_vfs_free(v);
  wg_names_unref(table);
  table = NULL;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_103_out_of_memory_with_built_in_zones),
      cmocka_unit_test(us_103_out_of_memory_with_a_folder_of_zones),
      cmocka_unit_test(us_103_lookups_ask_for_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
