/* SPDX-License-Identifier: Apache-2.0 */
/* What a name server sends. Addresses stay within their room, records are lines of printable text
 * (so that a guest gets no line more than there are records), and no TTL grows. */
#include "dns/reply.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())
enum { CAP = 5 };

static void on_record(void *user, uint32_t ttl_s, const char *data) {
  REQUIRE(ttl_s <= INT32_MAX);
  REQUIRE(data[0] != '\0');
  for (const char *p = data; *p; p++) REQUIRE(*p >= ' ' && *p <= '~');
  ++*(size_t *)user;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint16_t types[] = {WG__RR_A,   WG__RR_AAAA, WG__RR_CNAME, WG__RR_PTR,
                                   WG__RR_SRV, WG__RR_TXT,  WG__RR_SOA};
  for (size_t i = 0; i < WG_COUNT(types); i++) {
    size_t records = 0;
    (void)wg__reply_records(data, size, types[i], on_record, &records);
    REQUIRE(records <= 65535);
  }
  for (size_t i = 0; i < 2; i++) {
    wg_dns_addr out[CAP + 1];
    uint32_t ttl = 30;
    memset(out, 0xEE, sizeof out);
    size_t n;
    (void)wg__reply_addresses(data, size, types[i], out, CAP, &n, &ttl);
    REQUIRE(n <= CAP && ttl <= 30 && (n > 0 || ttl == 30));
    for (size_t k = 0; k < n; k++) REQUIRE(out[k].family == (i == 0 ? 4 : 6));
    REQUIRE(out[CAP].family == 0xEE);
  }
  uint32_t negative;
  if (wg__reply_negative_ttl(data, size, &negative)) REQUIRE(negative <= INT32_MAX);
  return 0;
}
