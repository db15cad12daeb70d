/* SPDX-License-Identifier: Apache-2.0 */
/** @file sentinel.h  Addresses that stand for databases: what guests see behind a database's name.
 *  Nothing routes them, so a connection that the host does not take up itself goes nowhere. */
#pragma once
#include "config/config.h"
#include "dns/name.h"

/** The sentinel of a database's host name. It depends on the name alone (unless two names of a
 *  configuration fall on one place: then the one that stands later in warp.toml moves to the next),
 *  so that it survives reloads and restarts. Databases of one host share it.
 *  @param family  AF_INET: 4 bytes of 240.77.0.0/16; AF_INET6: 16 bytes of 100::/64 (RFC 6666)
 *  @param out     network order
 *  @return false: the host is no name (an IP address) or is "localhost", which stay themselves, or
 *          the configuration has more than 65,534 names, or memory ran out */
bool wg_dns_sentinel(const wg_config *c, size_t database_index, int family, uint8_t out[16]);

/** The same for its other name, NAME.db.<dns.domain>, by which guests tell databases of one host
 *  and port apart. Every database has one. */
bool wg_dns_sentinel_own(const wg_config *c, size_t database_index, int family, uint8_t out[16]);

/** All at once, for many databases: each gets a place, by which wg_dns_sentinel_at() makes both of its
 *  addresses.
 *  @param hosts, own  database_count numbers each; 0: it has none
 *  @return WG_OK, WG_NOMEM */
WG_MUSTCHECK wg_code wg_dns_sentinel_places(const wg_config *c, uint16_t *hosts, uint16_t *own,
                                            wg_error *err);
/** @return false for place 0 */
bool wg_dns_sentinel_at(uint16_t place, int family, uint8_t out[16]);
/** The place of an address; 0: it is none of those given. */
uint16_t wg_dns_sentinel_place(const wg_dns_addr *a);
/** Whether an address is of the networks that sentinels are taken from. */
bool wg_dns_in_sentinels(const wg_dns_addr *a);
