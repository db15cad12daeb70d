/* SPDX-License-Identifier: Apache-2.0 */
/* US-103: what warp.toml says about virtual files: extra_virtual_paths, [hosts], name servers and
 * time zones. */
#include "config/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EXTRA "[shims.filesystem.extra_virtual_paths]\n"

static void us_103_contents_of_extra_paths(void **state) {
  (void)state;
  setenv("WG_TEST", "from outside", 1);
  wg_config *c = parse_ok(EXTRA "'/etc/../etc//a' = 'a'\n'/b' = { file = 'b' }\n"
                                "'/c/d' = { text = \"x ${WG_TEST} $${Y}\\n\" }\n"
                                "'/e' = { file = '/e', live = true }\n'/f' = { text = '' }\n");
  assert_string_equal(parse_warnings, "");
  assert_int_equal(c->virtual_path_count, 5);
  const wg_virtual_path *v = c->virtual_paths;
  assert_string_equal(v[0].guest, "/etc/a");
  assert_string_equal(v[0].host, "a");
  assert_false(v[0].live);
  assert_null(v[0].text);
  assert_int_equal(v[0].line, 2);
  assert_int_equal(v[0].column, 1);
  assert_string_equal(v[1].host, "b");
  assert_null(v[2].host);
  assert_string_equal(v[2].text, "x from outside ${Y}\n");
  assert_string_equal(v[3].host, "/e");
  assert_true(v[3].live);
  assert_string_equal(v[4].text, "");
  assert_int_equal(v[4].line, 6);
  wg_config_free(c);
}

static void us_103_extra_paths_that_are_wrong(void **state) {
  (void)state;
  parse_fails(EXTRA "'/' = 'x'", "w.toml:2:1: the guest path '/' must be that of a file", NULL);
  parse_fails(EXTRA "'/a/' = 'x'", "w.toml:2:1: the guest path '/a/' must be that of a file", NULL);
  parse_fails(EXTRA "'/a/..' = 'x'", "w.toml:2:1: the guest path '/a/..' must be that of a file",
              NULL);
  parse_fails(EXTRA "'a' = 'x'", "w.toml:2:1: the guest path 'a' must begin with '/'", NULL);
  parse_fails(EXTRA "'' = 'x'", "w.toml:2:1: the guest path '' must begin with '/'", NULL);
  parse_fails(EXTRA "'/a' = 1",
              "w.toml:2:8: '/a' must be a file's name or a table with 'file' or 'text', got an "
              "integer",
              NULL);
  parse_fails(EXTRA "'/a' = ''", "w.toml:2:8: '/a' must not be empty", NULL);
  parse_fails(EXTRA "'/a' = {}", "w.toml:2:1: '/a' needs either 'file' or 'text'", NULL);
  parse_fails(EXTRA "'/a' = { file = 'x', text = 'y' }",
              "w.toml:2:1: '/a' needs either 'file' or 'text'", NULL);
  parse_fails(EXTRA "'/a' = { text = 'x', live = true }", "w.toml:2:1: '/a': 'live' needs 'file'",
              NULL);
  parse_fails(EXTRA "'/a' = { file = 'x', live = 'yes' }",
              "w.toml:2:29: 'live' must be true or false, got a string", NULL);
  parse_fails(EXTRA "'/a' = { text = \"a\\u0000b\" }",
              "w.toml:2:17: the text contains a NUL character", NULL);
  parse_fails(EXTRA "'/a' = 'x'\n'/b/../a' = 'y'",
              "w.toml:3:1: the guest path '/b/../a' was given before in line 2", NULL);
  parse_fails(EXTRA "'/a' = 'x'\n'/ab' = 'x'\n'/a/b' = 'y'",
              "w.toml:4:1: the guest path '/a/b' and '/a' in line 2 cannot both be files", NULL);
  parse_fails(EXTRA "'/a/b/c' = 'x'\n'/a/b' = 'y'",
              "w.toml:3:1: the guest path '/a/b' and '/a/b/c' in line 2 cannot both be files",
              NULL);
  parse_fails("[shims.filesystem]\nextra_virtual_paths = 'x'",
              "w.toml:2:23: 'extra_virtual_paths' must be a table of \"/guest/path\" = "
              "\"host/path\", got a string",
              NULL);
  char text[5000];
  snprintf(text, sizeof text, EXTRA "'/%04096d' = 'x'", 0);
  parse_fails(text, "w.toml:2:1: the guest path is longer than 4096 bytes", NULL);
  wg_config_free(parse_ok(EXTRA "'/a' = { file = 'x', liv = true }\n"));
  assert_string_equal(parse_warnings, "w.toml:2:22: unknown key 'liv'; did you mean 'live'?\n");
}

static void us_103_hosts(void **state) {
  (void)state;
  wg_config *c = parse_ok("[hosts]\n'Mail.Example.' = '10.0.0.1'\ndb = ['10.0.0.2', 'fd00::1']\n"
                          "[registry]\ndb = '10.9.9.9'\n");
  assert_string_equal(parse_warnings, "");
  assert_int_equal(c->host_count, 2);
  assert_int_equal(c->registry_count, 1);
  assert_string_equal(c->hosts[0].name, "mail.example");
  assert_string_equal(c->hosts[0].addresses[0], "10.0.0.1");
  assert_int_equal(c->hosts[1].address_count, 2);
  assert_string_equal(c->hosts[1].addresses[1], "fd00::1");
  wg_config_free(c);
  parse_fails("[hosts]\na = 'b'", "w.toml:2:5: 'b' is not an IPv4 or IPv6 address", NULL);
  parse_fails("[hosts]\na = []", "w.toml:2:5: 'a' needs at least one address", NULL);
  parse_fails("[hosts]\n'a b' = '::1'", "w.toml:2:1: 'a b' is not a host name", NULL);
  parse_fails("[hosts]\na = '::1'\nA = '::2'", "w.toml:3:1: the name 'A' was given before", NULL);
  parse_fails("hosts = 1", "w.toml:1:9: 'hosts' must be a table, got an integer", NULL);
}

static void us_103_name_servers(void **state) {
  (void)state;
  wg_config *c = parse_ok("");
  assert_string_equal(c->nameservers[0], "127.0.0.1");
  assert_null(c->nameservers[1]);
  wg_config_free(c);
  c = parse_ok("[shims.filesystem]\nnameservers = ['10.0.0.1', 'fd00::53']\n");
  assert_string_equal(c->nameservers[0], "10.0.0.1");
  assert_string_equal(c->nameservers[1], "fd00::53");
  assert_null(c->nameservers[2]);
  wg_config_free(c);
  parse_fails("[shims.filesystem]\nnameservers = ['10.0.0.1', 'dns.example']",
              "w.toml:2:28: 'dns.example' is not an IPv4 or IPv6 address", NULL);
}

static void us_103_time_zones(void **state) {
  (void)state;
  wg_config *c = parse_ok("");
  assert_string_equal(c->timezone, "UTC");
  assert_null(c->zoneinfo);
  wg_config_free(c);
  c = parse_ok("[shims.filesystem]\ntimezone = 'US/Pacific'\n"
               "[env]\nTZ = ':Europe/London'\n[services.a.env]\nTZ = 'EST5EDT,M3.2.0,M11.1.0'\n"
               "[services.b.env]\nTZ = ''\n[services.b]\npath = '/b'\n"
               "[services.c]\npath = '/c'\n[services.c.env]\nTZ = '/usr/share/zoneinfo/UTC'\n"
               "[services.d]\npath = '/d'\n[services.d.env]\nTZ = ':/own/zone'\n"
               "[services.e]\npath = '/e'\n[services.e.env]\nTZ = '<+03>-3'\n");
  assert_string_equal(c->timezone, "US/Pacific");
  wg_config_free(c);
  parse_fails("[shims.filesystem]\ntimezone = 'Mars/Olympus'",
              "w.toml:2:12: 'timezone': unknown time zone 'Mars/Olympus'", "Europe/London");
  static const char *const bad[] = {"tzdata.zi", "Europe", "../UTC", "UTC/", "Europe//London"};
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    char text[128], message[128];
    snprintf(text, sizeof text, "[shims.filesystem]\ntimezone = '%s'", bad[i]);
    snprintf(message, sizeof message, "w.toml:2:12: 'timezone': unknown time zone '%s'", bad[i]);
    parse_fails(text, message, NULL);
  }
  parse_fails("[env]\nA = 'x'\nTZ = 'Europe/Lodnon'",
              "w.toml:3:6: 'TZ': unknown time zone 'Europe/Lodnon'", NULL);
  parse_fails("[services.a.env]\nTZ = ':Etc/GMT+99'",
              "w.toml:2:6: 'TZ': unknown time zone 'Etc/GMT+99'", NULL);
  /* Nobody reads it. */
  wg_config_free(parse_ok("[shims]\nfilesystem = false\n[env]\nTZ = 'Europe/Lodnon'\n"));
}

static void us_103_zones_of_a_folder(void **state) {
  (void)state;
  char folder[] = "/tmp/wg-zones-XXXXXX", text[256], message[256];
  assert_non_null(mkdtemp(folder));
  snprintf(text, sizeof text,
           "mkdir %s/Mars && printf 'TZif%%044d' 0 >%s/Mars/Olympus && echo x >%s/UTC && "
           "mkfifo %s/Fifo",
           folder, folder, folder, folder);
  assert_int_equal(system(text), 0);
  snprintf(text, sizeof text, "[shims.filesystem]\nzoneinfo = '%s'\ntimezone = 'Mars/Olympus'\n",
           folder);
  wg_config *c = parse_ok(text);
  assert_string_equal(c->zoneinfo, folder);
  wg_config_free(c);
  static const char *const bad[] = {"UTC", "Fifo", "Mars", "Europe/London"};
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    snprintf(text, sizeof text, "[shims.filesystem]\nzoneinfo = '%s'\ntimezone = '%s'\n", folder,
             bad[i]);
    snprintf(message, sizeof message, "w.toml:3:12: 'timezone': unknown time zone '%s'", bad[i]);
    parse_fails(text, message, folder);
  }
  snprintf(text, sizeof text, "[shims.filesystem]\nzoneinfo = '%s/UTC'\n", folder);
  snprintf(message, sizeof message, "w.toml:2:12: 'zoneinfo': '%s/UTC' is no folder", folder);
  parse_fails(text, message, NULL);
  snprintf(text, sizeof text, "rm -rf %s", folder);
  assert_int_equal(system(text), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_103_contents_of_extra_paths),
      cmocka_unit_test(us_103_extra_paths_that_are_wrong),
      cmocka_unit_test(us_103_hosts),
      cmocka_unit_test(us_103_name_servers),
      cmocka_unit_test(us_103_time_zones),
      cmocka_unit_test(us_103_zones_of_a_folder),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
