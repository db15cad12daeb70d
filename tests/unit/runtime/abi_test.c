/* SPDX-License-Identifier: Apache-2.0 */
/* US-101: the hand-written header and the Rust side of the runtime agree on every struct. */
#include "wgrt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_us_101_layout(void **state) {
  (void)state;
  static const struct {
    const char *what;
    size_t value;
  } expected[] = {
#define SIZE(type) {"sizeof " #type, sizeof(type)}
#define OFFSET(type, field) {#type "." #field, offsetof(type, field)}
      SIZE(wgrt_bytes),
      SIZE(wgrt_error),
      SIZE(wgrt_toml_event),
      OFFSET(wgrt_toml_event, key),
      OFFSET(wgrt_toml_event, integer),
      SIZE(wgrt_engine_cfg),
      OFFSET(wgrt_engine_cfg, max_memory_bytes),
      OFFSET(wgrt_engine_cfg, cache_dir),
      SIZE(wgrt_preopen),
      OFFSET(wgrt_preopen, writable),
      SIZE(wgrt_app_cfg),
      OFFSET(wgrt_app_cfg, app),
      OFFSET(wgrt_app_cfg, memory_bytes),
      OFFSET(wgrt_app_cfg, reuse),
      OFFSET(wgrt_app_cfg, inherit_stdio),
      OFFSET(wgrt_app_cfg, host_names),
      SIZE(wgrt_op),
      SIZE(wgrt_op_db_connect),
      OFFSET(wgrt_op_db_connect, host),
      OFFSET(wgrt_op_db_connect, handle),
      OFFSET(wgrt_op_db_connect, space),
      SIZE(wgrt_op_db_wait),
      OFFSET(wgrt_op_db_wait, handle),
      OFFSET(wgrt_op_db_wait, spin),
      OFFSET(wgrt_op_db_wait, space),
      SIZE(wgrt_address),
      OFFSET(wgrt_address, ttl_s),
      OFFSET(wgrt_address, bytes),
      SIZE(wgrt_op_resolve),
      OFFSET(wgrt_op_resolve, name),
      OFFSET(wgrt_op_resolve, address),
      OFFSET(wgrt_op_resolve, out),
      OFFSET(wgrt_op_resolve, space),
      SIZE(wgrt_op_tcp_connect),
      OFFSET(wgrt_op_tcp_connect, to),
      OFFSET(wgrt_op_tcp_connect, port),
      OFFSET(wgrt_op_tcp_connect, handle),
      OFFSET(wgrt_op_tcp_connect, real),
      OFFSET(wgrt_op_tcp_connect, real_port),
      OFFSET(wgrt_op_tcp_connect, space),
      SIZE(wgrt_op_signal),
      OFFSET(wgrt_op_signal, space),
      SIZE(wgrt_node),
      OFFSET(wgrt_node, id),
      OFFSET(wgrt_node, size),
      SIZE(wgrt_fetch_cfg),
      OFFSET(wgrt_fetch_cfg, url),
      OFFSET(wgrt_fetch_cfg, authorization),
      OFFSET(wgrt_fetch_cfg, address),
      SIZE(wgrt_op_admin),
      OFFSET(wgrt_op_admin, path),
      OFFSET(wgrt_op_admin, json),
      SIZE(wgrt_listen_cfg),
      OFFSET(wgrt_listen_cfg, admin),
      SIZE(wgrt_host),
      OFFSET(wgrt_host, backend_fd),
      OFFSET(wgrt_host, route),
      OFFSET(wgrt_host, instance_new),
      OFFSET(wgrt_host, db_connect),
      OFFSET(wgrt_host, db_wait),
      OFFSET(wgrt_host, spin),
      OFFSET(wgrt_host, tcp_connect),
      OFFSET(wgrt_host, file_find),
      OFFSET(wgrt_host, resolve),
      OFFSET(wgrt_host, signal_interest),
      OFFSET(wgrt_host, stopping),
      OFFSET(wgrt_host, declare_threading),
      OFFSET(wgrt_host, request_done),
#undef SIZE
#undef OFFSET
  };
  enum { COUNT = sizeof expected / sizeof expected[0] };
  uint32_t actual[COUNT];
  assert_int_equal(wgrt_abi_layout(actual, COUNT), COUNT);
  for (size_t i = 0; i < COUNT; i++) {
    if (actual[i] != expected[i].value)
      print_error("%s: C %zu, Rust %u\n", expected[i].what, expected[i].value, actual[i]);
    assert_int_equal(actual[i], expected[i].value);
  }
}

static void test_us_101_versions(void **state) {
  (void)state;
  assert_int_equal(wgrt_abi_version(), WGRT_ABI_VERSION);
  assert_string_equal(wgrt_wasmtime_version(), WARPGRID_WASMTIME_VERSION);
}

static void join_version(void *user, wgrt_bytes version) {
  char *text = user;
  size_t n = strlen(text);
  snprintf(text + n, 32 - n, "%s%.*s", n ? " " : "", (int)version.n, (const char *)version.p);
}

/* US-102, US-504: only what is implemented is offered for linking, by the rules of semver. */
static void test_us_102_implemented_interfaces(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int is_export, implemented;
    uint32_t link;
    const char *versions;
  } cases[] = {
      {"warpgrid:shim/database-proxy@0.1.0", 0, 1, WGRT_LINK_DATABASE_PROXY, "0.1.0"},
      {"warpgrid:shim-async/database-proxy@0.1.0", 0, 1, WGRT_LINK_DATABASE_PROXY, "0.1.0"},
      {"warpgrid:shim/threading@0.1.0", 0, 1, WGRT_LINK_THREADING, "0.1.0"},
      {"warpgrid:shim/filesystem@0.1.7", 0, 1, WGRT_LINK_FILESYSTEM, "0.1.0"},
      {"warpgrid:shim-async/filesystem@0.1.0", 0, 1, WGRT_LINK_FILESYSTEM, "0.1.0"},
      {"warpgrid:shim/dns@0.1.0", 0, 1, WGRT_LINK_DNS, "0.1.0"},
      {"warpgrid:shim-async/dns@0.1.0", 0, 1, WGRT_LINK_DNS, "0.1.0"},
      {"warpgrid:shim/signals@0.1.0", 0, 1, WGRT_LINK_SIGNALS, "0.1.0"},
      {"warpgrid:shim-async/signals@0.1.0", 0, 1, WGRT_LINK_SIGNALS, "0.1.0"},
      {"warpgrid:shim-async/threading@0.1.0", 0, 0, 0, ""},
      {"warpgrid:shim/threading@0.2.0", 0, 0, WGRT_LINK_THREADING, "0.1.0"},
      {"warpgrid:shim/threading@0.0.0", 0, 0, WGRT_LINK_THREADING, "0.1.0"},
      {"warpgrid:shim/threading@0.1", 0, 0, WGRT_LINK_THREADING, "0.1.0"},
      {"warpgrid:shim/threading@0.1.0-rc", 0, 0, WGRT_LINK_THREADING, "0.1.0"},
      {"warpgrid:shim/threading@0.1.2+build.3", 0, 1, WGRT_LINK_THREADING, "0.1.0"},
      {"warpgrid:shim/threading@99999999999999999999.1.0", 0, 0, WGRT_LINK_THREADING, "0.1.0"},
      {"warpgrid:shim/threading", 0, 0, WGRT_LINK_THREADING, "0.1.0"},
      {"wasi:http/types@0.2.0", 0, 1, 0, "0.2.12 0.3.0"},
      {"wasi:http/types@0.3.9", 0, 1, 0, "0.2.12 0.3.0"},
      {"wasi:http/types@0.4.0", 0, 0, 0, "0.2.12 0.3.0"},
      {"wasi:http/handler@0.3.0", 0, 0, 0, ""},
      {"wasi:http/handler@0.3.1", 1, 1, 0, "0.3.0"},
      {"wasi:http/types@0.3.0", 1, 0, 0, ""},
      {"wasi:filesystem/dns@0.3.0", 0, 0, 0, ""},
      {"wasi:http@0.3.0", 0, 0, 0, ""},
      {"@", 0, 0, 0, ""},
      {"", 0, 0, 0, ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint32_t link = 0;
    char versions[32] = "";
    wgrt_bytes name = {(const uint8_t *)cases[i].name, strlen(cases[i].name)};
    assert_int_equal(wgrt_implements(name, cases[i].is_export, &link, join_version, versions),
                     cases[i].implemented);
    assert_int_equal(link, cases[i].link);
    assert_string_equal(versions, cases[i].versions);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us_101_layout),
      cmocka_unit_test(test_us_101_versions),
      cmocka_unit_test(test_us_102_implemented_interfaces),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
