/* SPDX-License-Identifier: Apache-2.0 */
/** @file allow.h  `[net] allow`: which addresses guests may connect to besides declared databases.
 *
 *  A rule is HOST:PORT. HOST is a name ("api.example.com"), all names below one ("*.example.com"), an
 *  address ("192.0.2.7", "[2001:db8::1]") or a network ("10.0.0.0/8", "[2001:db8::]/32"); PORT is a
 *  number or "*".
 *
 *  A rule about addresses holds for what guests dial. A rule about names holds for the addresses that
 *  the instance itself was given for such a name, until WG_ALLOW_GRACE_S after their TTL; who answers
 *  for a name must not get guests to places of this machine or its network's control, so special
 *  addresses (wg_allow_special()) are never allowed by a name, and only by networks that lie within
 *  theirs: "0.0.0.0/0:80" does not open 127.0.0.1 or 169.254.169.254.
 *
 *  Pure functions, but for wg_allow_memory, which belongs to one thread. */
#pragma once
#include "dns/name.h"

enum {
  WG_ALLOW_RULES_MAX = 1024,
  WG_ALLOW_GRACE_S = 60, /**< added to the TTL of an answer */
  WG_ALLOW_ANSWERS_MAX = 64 /**< answers about allowed names that an instance keeps */
};

typedef enum wg_allow_kind {
  WG_ALLOW_NAME, /**< itself */
  WG_ALLOW_BELOW, /**< all names below it, not itself */
  WG_ALLOW_NETWORK
} wg_allow_kind;

typedef struct wg_allow_rule {
  wg_allow_kind kind;
  uint16_t port; /**< 0: any */
  uint8_t bits; /**< of NETWORK */
  wg_dns_addr network; /**< of NETWORK; the bits behind `bits` are 0 */
  wg_dns_name name; /**< of NAME and BELOW */
} wg_allow_rule;

/** The rules of a configuration; borrowed. */
typedef struct wg_allow {
  const wg_allow_rule *rules;
  size_t count;
} wg_allow;

/** Reads one rule.
 *  @param text  any bytes
 *  @return WG_OK; WG_INVALID with what is wrong (no position) and, as the hint, what to write */
WG_MUSTCHECK wg_code wg_allow_parse(const char *text, size_t len, wg_allow_rule *out,
                                    wg_error *err);

/** Whether a rule about names holds. @param name  normalised; NULL: false */
bool wg_allow_name(wg_allow allow, const wg_dns_name *name, uint16_t port);
/** Whether a rule about addresses holds. An IPv4-mapped IPv6 address is judged as IPv4. Never for
 *  the addresses that stand for databases. */
bool wg_allow_address(wg_allow allow, const wg_dns_addr *a, uint16_t port);
/** Whether an address that a name stands for may be dialled because the name may: not special. */
bool wg_allow_resolved(const wg_dns_addr *a);

/** Unspecified, loopback, link-local, multicast and reserved addresses, those at which clouds give
 *  out credentials, and IPv6 forms (mapped, compatible, NAT64, 6to4) of such IPv4 ones. */
bool wg_allow_special(const wg_dns_addr *a);
/** 127.0.0.0/8, ::1, or the mapped form. */
bool wg_allow_is_loopback(const wg_dns_addr *a);
/** The IPv4 address in an IPv4-mapped IPv6 one; others stay themselves. */
wg_dns_addr wg_allow_unmapped(const wg_dns_addr *a);

/** What one instance learned of names. Zero-initialise; release. */
typedef struct wg_allow_memory {
  struct wg__allow_answer *answers; /**< about allowed names, the newest first */
  size_t count;
  struct {
    uint8_t len, addresses;
    char name[WG_DNS_NAME_MAX]; /**< as it was asked */
    wg_dns_addr address[4];
  } last; /**< the last one of any other name, for the hint of a refusal */
} wg_allow_memory;

/** Takes note of an answer that the instance got.
 *  @param name    as it was asked, any bytes
 *  @param now_ms  of the loop's clock
 *  Without memory nothing is kept: what the answer would allow is then refused. */
void wg_allow_learn(wg_allow_memory *m, wg_allow allow, const char *name, size_t len,
                    const wg_dns_addr *addresses, size_t count, uint32_t ttl_s, uint64_t now_ms);
/** Whether the address is of a name that may be dialled at this port, and not special. */
bool wg_allow_learned(const wg_allow_memory *m, wg_allow allow, const wg_dns_addr *a, uint16_t port,
                      uint64_t now_ms);
/** The name that the instance got an address for, as it was asked; NULL: not known any more.
 *  @param len  of the name, which ends with no NUL; it is valid until the next wg_allow_learn() */
const char *wg_allow_asked(const wg_allow_memory *m, const wg_dns_addr *a, size_t *len);
void wg_allow_memory_release(wg_allow_memory *m);
