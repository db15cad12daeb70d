/* SPDX-License-Identifier: Apache-2.0 */
/** @file ares.h  A channel of c-ares on a worker's loop. Internal to dns. */
#pragma once
#include "dns/names.h"
#include "net/watch.h"

typedef struct wg__ares wg__ares;

/** @param loop  borrowed; must outlive the channel
 *  @param servers  "ADDR[:PORT]", NULL-terminated, copied; NULL: the host's, read now
 *  @param timeout_ms  by when the last try of a question has ended, roughly
 *  @return WG_OK; WG_IO, WG_INVALID for servers that are none, WG_NOMEM */
WG_MUSTCHECK wg_code wg__ares_new(const wg_loop *loop, char *const *servers, uint32_t timeout_ms,
                                  wg__ares **out, wg_error *err);
/** Questions in progress are answered WG_CANCELED within this call. Its handles close on the loop
 *  afterwards. Not from within an answer. NULL is fine. */
void wg__ares_free(wg__ares *a);
/** Puts the channel into a list, where it ends by itself, from the loop, with its last question. */
void wg__ares_retire(wg__ares *a, wg__ares **list);
/** Frees all that are still there. */
void wg__ares_free_list(wg__ares **list);

/** @param code  WG_OK: the name exists, `reply` may lack records of the type; WG_NOT_FOUND: it does
 *               not, `reply` may say for how long; WG_CANCELED; others: temporary, `why` says what
 *  @param reply  borrowed for the call; NULL with len 0 when there is none */
typedef void (*wg__ares_answer)(void *user, wg_code code, const char *why, const uint8_t *reply,
                                size_t len);
/** Asks name servers for a name as it is. `answer` comes exactly once, maybe within this call.
 *  @param type  WG__RR_* */
void wg__ares_ask(wg__ares *a, const char *name, uint16_t type, wg__ares_answer answer, void *user);

/** The names that `name` may be short for, one after another, as resolv.conf(5) says: with its search
 *  domains, and by itself, which goes first when it has as many dots as `ndots`. Names below the
 *  private domain are left out.
 *  @param own  the private domain; NULL or "": none
 *  @param at   0 in the beginning
 *  @return false: there is no other */
bool wg__ares_candidate(const wg__ares *a, const wg_dns_name *name, const char *own, unsigned *at,
                        wg_dns_name *out);

/** Whether there are search domains. */
bool wg__ares_searches(const wg__ares *a);

/** Addresses in the host's /etc/hosts, IPv4 first. @return how many, at most cap */
size_t wg__ares_hosts(wg__ares *a, const char *name, wg_dns_addr *out, size_t cap, size_t *count4);
/** The name of an address there. @return false: none */
bool wg__ares_hosts_reverse(wg__ares *a, const wg_dns_addr *address, wg_dns_name *out);
