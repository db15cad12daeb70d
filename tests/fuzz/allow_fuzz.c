/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of `[net] allow`, one a line: what is taken covers what it says and nothing special by the
 * way, and every refusal has a sentence and what to write. */
#include "net/allow.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static void check(const wg_allow_rule *r) {
  static const wg_dns_addr places[] = {{4, {127, 0, 0, 1}},  {4, {169, 254, 169, 254}},
                                       {6, {[15] = 1}},      {6, {0xfe, 0x80, [15] = 1}},
                                       {4, {240, 77, 1, 1}}, {6, {1, [15] = 1}}};
  wg_allow allow = {r, 1};
  uint16_t port = r->port ? r->port : 80;
  if (r->kind != WG_ALLOW_NETWORK) {
    wg_dns_name name = r->name, again;
    const char *why;
    REQUIRE(wg_dns_normalise(name.text, name.len, &again, &why));
    REQUIRE(wg_allow_name(allow, &name, port) == (r->kind == WG_ALLOW_NAME));
    wg_allow_memory m = {0};
    wg_dns_addr usual = {4, {198, 51, 100, 1}};
    wg_allow_learn(&m, allow, name.text, name.len, &usual, 1, 30, 1);
    REQUIRE(wg_allow_learned(&m, allow, &usual, port, 90000) == (r->kind == WG_ALLOW_NAME));
    REQUIRE(!wg_allow_learned(&m, allow, &usual, port, 90001));
    wg_allow_memory_release(&m);
  } else {
    REQUIRE(r->bits <= (r->network.family == 4 ? 32 : 128));
    bool whole = r->bits == (r->network.family == 4 ? 32 : 128);
    REQUIRE(wg_allow_address(allow, &r->network, port) || !whole);
  }
  for (size_t i = 0; i < WG_COUNT(places); i++)
    if (wg_allow_address(allow, &places[i], port))
      REQUIRE(r->kind == WG_ALLOW_NETWORK && r->bits >= 3 && i < 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *line = (const char *)data;
  for (size_t left = size; left > 0;) {
    const char *end = memchr(line, '\n', left);
    size_t len = end ? (size_t)(end - line) : left;
    wg_allow_rule r;
    wg_error err = {0};
    char *exact = malloc(len ? len : 1); /* so that the sanitizer sees each byte too many */
    REQUIRE(exact);
    memcpy(exact, line, len);
    if (wg_allow_parse(exact, len, &r, &err) == WG_OK)
      check(&r);
    else
      REQUIRE(err.code == WG_INVALID && err.msg[0]);
    free(exact);
    left -= len;
    line += len;
    if (end) {
      left--;
      line++;
    }
  }
  return 0;
}
