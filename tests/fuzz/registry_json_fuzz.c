/* SPDX-License-Identifier: Apache-2.0 */
/* What an HTTP registry answers. What is taken is in bounds, in order and in normal form, makes a
 * table in which each name and each address is found again, and reads the same a second time. */
#include "dns/names.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static void check_table(const wg_registry_answer *a) {
  static char domain[] = "warp.local";
  const wg_config config = {.dns_domain = domain};
  wg_names *names;
  wg_error err;
  REQUIRE(wg_names_new(&config, a, &names, &err) == WG_OK);
  for (size_t i = 0; i < a->count; i++) {
    const wg_dns_addr *found;
    size_t count, count4;
    wg_dns_link link = wg_names_find(names, &a->names[i].name, &found, &count, &count4);
    REQUIRE(count4 <= count);
    if (a->names[i].count == 0) continue;
    REQUIRE(link == WG_DNS_REGISTRY && count == a->names[i].count);
    for (size_t k = 0; k < count; k++) {
      REQUIRE(found[k].family == (k < count4 ? 4 : 6));
      REQUIRE(wg_names_reverse(names, &found[k], false, &link) != NULL);
    }
  }
  wg_names_unref(names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  wg_registry_answer *a, *again;
  wg_error err = {.code = WG_OK};
  wg_code code = wg_registry_parse(data, size, &a, &err);
  if (code != WG_OK) {
    REQUIRE(code == WG_INVALID && err.code == code && err.msg[0]);
    return 0;
  }
  REQUIRE(a->count <= WG_REGISTRY_NAMES_MAX);
  for (size_t i = 0; i < a->count; i++) {
    const wg_registry_name *n = &a->names[i];
    wg_dns_name normal;
    const char *why;
    REQUIRE(n->count <= WG_REGISTRY_ADDRESSES_MAX);
    REQUIRE(wg_dns_normalise(n->name.text, n->name.len, &normal, &why));
    REQUIRE(normal.hash == n->name.hash && strcmp(normal.text, n->name.text) == 0);
    REQUIRE(i == 0 || strcmp(a->names[i - 1].name.text, n->name.text) < 0);
  }
  check_table(a);
  REQUIRE(wg_registry_parse(data, size, &again, &err) == WG_OK);
  REQUIRE(wg_registry_answer_equal(a, again));
  wg_registry_answer_free(a);
  wg_registry_answer_free(again);
  return 0;
}
