/* SPDX-License-Identifier: Apache-2.0 */
/* Names and addresses as guests and warp.toml write them: what is taken is in normal form, stays so,
 * and is never an address to getaddrinfo(3); addresses survive the way to text and to .arpa and back. */
#include "dns/name.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static void check_address(const wg_dns_addr *a) {
  wg_dns_addr back;
  wg_dns_name name;
  const char *why;
  char text[46], arpa[WG_DNS_ARPA_MAX];
  wg_dns_addr_text(a, text);
  REQUIRE(wg_dns_literal(text, strlen(text), &back) && wg_dns_addr_equal(a, &back));
  size_t n = wg_dns_to_arpa(a, arpa);
  REQUIRE(n == strlen(arpa) && n < sizeof arpa);
  REQUIRE(wg_dns_from_arpa(arpa, &back) && wg_dns_addr_equal(a, &back));
  REQUIRE(wg_dns_normalise(arpa, n, &name, &why) && strcmp(name.text, arpa) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *text = (const char *)data, *why = NULL;
  wg_dns_name name, again;
  wg_dns_addr address;
  uint16_t port;
  if (wg_dns_literal(text, size, &address)) check_address(&address);
  char *copy = malloc(size + 1);
  REQUIRE(copy);
  if (size) memcpy(copy, text, size);
  copy[size] = '\0';
  if (wg_dns_server_parse(copy, &address, &port)) {
    REQUIRE(port != 0);
    check_address(&address);
  }
  free(copy);
  if (!wg_dns_normalise(text, size, &name, &why)) {
    REQUIRE(why && *why);
    return 0;
  }
  struct in_addr old;
  REQUIRE(name.len >= 1 && name.len <= WG_DNS_NAME_MAX && strlen(name.text) == name.len);
  REQUIRE(name.hash == wg_dns_hash(name.text, name.len));
  REQUIRE(wg_dns_normalise(name.text, name.len, &again, &why) &&
          strcmp(again.text, name.text) == 0);
  REQUIRE(inet_aton(name.text, &old) == 0 && !wg_dns_literal(name.text, name.len, &address));
  REQUIRE(wg_dns_is_below(name.text, name.len, name.text));
  if (wg_dns_from_arpa(name.text, &address)) check_address(&address);
  return 0;
}
