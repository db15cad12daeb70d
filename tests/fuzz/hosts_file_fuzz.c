/* SPDX-License-Identifier: Apache-2.0 */
/* The hosts file that guests read, made of whatever an HTTP registry answered: every line is an address
 * that its name has, a tab and a name in normal form, so that no answer can write a line of its own;
 * a database's host shows its sentinel and nothing else. */
#include "dns/names.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static bool has(const wg_dns_addr *list, size_t count, const wg_dns_addr *a) {
  for (size_t i = 0; i < count; i++)
    if (wg_dns_addr_equal(&list[i], a)) return true;
  return false;
}

static void check_line(const wg_names *names, const char *line, size_t len) {
  const char *tab = memchr(line, '\t', len), *why;
  REQUIRE(tab);
  const wg_dns_addr *found;
  size_t count, count4, name_len = len - (size_t)(tab + 1 - line);
  wg_dns_addr address;
  wg_dns_name name;
  REQUIRE(wg_dns_literal(line, (size_t)(tab - line), &address));
  REQUIRE(wg_dns_normalise(tab + 1, name_len, &name, &why));
  REQUIRE(name.len == name_len && memcmp(name.text, tab + 1, name_len) == 0);
  if (!wg_names_sentinel(names, &name, &found, &count, &count4))
    (void)wg_names_find(names, &name, &found, &count, &count4);
  REQUIRE(has(found, count, &address));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char domain[] = "warp.local", host[] = "db.example", main_name[] = "main",
              printer[] = "printer.example", *printer_addresses[] = {"10.4.0.1", "fd00::4"};
  static wg_registry_entry hosts = {printer, printer_addresses, 2};
  static wg_database_config database = {.name = main_name, .host = host, .port = 5432};
  const wg_config config = {.dns_domain = domain,
                            .hosts = &hosts,
                            .host_count = 1,
                            .shims = WG_SHIM_ALL,
                            .databases = &database,
                            .database_count = 1};
  wg_registry_answer *a;
  wg_names *names;
  wg_error err;
  if (wg_registry_parse(data, size, &a, &err) != WG_OK) return 0;
  REQUIRE(wg_names_new(&config, a, &names, &err) == WG_OK);
  wg_registry_answer_free(a);
  size_t len;
  const char *text = wg_names_hosts(names, &len), *end = text + len;
  REQUIRE(len > 0 && end[-1] == '\n');
  while (text < end) {
    const char *newline = memchr(text, '\n', (size_t)(end - text));
    check_line(names, text, (size_t)(newline - text));
    text = newline + 1;
  }
  wg_names_unref(names);
  return 0;
}
