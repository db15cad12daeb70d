/* SPDX-License-Identifier: Apache-2.0 */
/** @file reply.h  Replies of name servers (RFC 1035, section 4): what the installed c-ares does not
 *  tell, the times to live of all records and of "there is none". Pure functions over borrowed
 *  bytes, any thread. Internal to dns. */
#pragma once
#include "base/buf.h"
#include "dns/name.h"

enum {
  WG__RR_A = 1,
  WG__RR_CNAME = 5,
  WG__RR_SOA = 6,
  WG__RR_PTR = 12,
  WG__RR_TXT = 16,
  WG__RR_AAAA = 28,
  WG__RR_SRV = 33
};

/** Collects the addresses of the question's name, through its aliases.
 *  @param type  WG__RR_A or WG__RR_AAAA
 *  @param out   gets at most cap of them, *count says how many
 *  @param ttl_s lowered to the least TTL on the way
 *  @return false for bytes that are no reply; *count is 0 then */
bool wg__reply_addresses(const uint8_t *p, size_t len, uint16_t type, wg_dns_addr *out, size_t cap,
                         size_t *count, uint32_t *ttl_s);

/** Walks the records of a type that belong to the question's name, through its aliases.
 *  @param item  gets each in presentation form (RFC 1035, section 5.1), NUL-terminated; one line
 *  @return false for bytes that are no reply; some items may have come */
bool wg__reply_records(const uint8_t *p, size_t len, uint16_t type,
                       void (*item)(void *user, uint32_t ttl_s, const char *data), void *user);

/** For how long "there is none" holds (RFC 2308, section 5): the least of the SOA's TTL and its
 *  minimum. @return false when the reply has no SOA in its authority section */
bool wg__reply_negative_ttl(const uint8_t *p, size_t len, uint32_t *ttl_s);
