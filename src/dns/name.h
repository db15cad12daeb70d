/* SPDX-License-Identifier: Apache-2.0 */
/** @file name.h  Host names and IP addresses as text: pure functions, any thread. */
#pragma once
#include "base/base.h"

enum {
  WG_DNS_NAME_MAX = 253, /**< RFC 1035, section 2.3.4, as text without the root's dot */
  WG_DNS_LABEL_MAX = 63,
  WG_DNS_SERVERS_MAX = 16, /**< name servers of shims.dns.servers */
  WG_DNS_ARPA_MAX = 80 /**< room for the longest name of a reverse lookup, NUL included */
};

/** An IP address. */
typedef struct wg_dns_addr {
  uint8_t family; /**< 4 or 6 */
  uint8_t bytes[16]; /**< network order; IPv4: the first four, the others 0 */
} wg_dns_addr;

/** A name that was checked: lower case, without the root's dot. */
typedef struct wg_dns_name {
  size_t len;
  uint32_t hash; /**< wg_dns_hash() of text */
  char text[WG_DNS_NAME_MAX + 1];
} wg_dns_name;

/** FNV-1a. */
uint32_t wg_dns_hash(const void *p, size_t len);

/** Checks a host name (RFC 1123, section 2.1, and underscores, which service names use), lower-cases
 *  it and drops one dot at its end. A name that getaddrinfo(3) would read as an address ("127.1",
 *  "0x7f.1") is none, so that nobody walks around rules about addresses.
 *  @param name  any bytes
 *  @param why   gets the rest of the sentence "host name ...", static; untouched on success */
bool wg_dns_normalise(const char *name, size_t len, wg_dns_name *out, const char **why);

/** Parses an IPv4 or IPv6 literal; strict: no "127.1", no octal, no zone, no brackets. */
bool wg_dns_literal(const char *text, size_t len, wg_dns_addr *out);
/** Writes it as text; out has INET6_ADDRSTRLEN (46) bytes. */
void wg_dns_addr_text(const wg_dns_addr *a, char out[46]);
bool wg_dns_addr_equal(const wg_dns_addr *a, const wg_dns_addr *b);

/** The name of an address in in-addr.arpa (RFC 1035, section 3.5) or ip6.arpa (RFC 3596, section
 *  2.5). @return its length */
size_t wg_dns_to_arpa(const wg_dns_addr *a, char out[WG_DNS_ARPA_MAX]);
/** The address of such a name, lower case; false for other names and for parts of an address. */
bool wg_dns_from_arpa(const char *name, wg_dns_addr *out);

/** True when `name` is `domain` or stands below it; both lower case. NULL or "" holds nothing. */
bool wg_dns_is_below(const char *name, size_t len, const char *domain);

/** Parses "ADDR", "IPV4:PORT" or "[IPV6]:PORT" of a name server; *port is 53 when there is none. */
bool wg_dns_server_parse(const char *text, wg_dns_addr *out, uint16_t *port);
