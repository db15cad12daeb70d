/* SPDX-License-Identifier: Apache-2.0 */
/** @file dns.h  Names to addresses: the registry of warp.toml first, then the host's resolver.
 *  One a worker; everything on its thread. */
#pragma once
#include "config/config.h"
#include "net/watch.h"
#include <sys/socket.h>

typedef struct wg_dns wg_dns;
/** A lookup in progress: caller's memory at a stable address until the callback or the cancel. */
typedef struct wg_dns_req {
  void (*done)(struct wg_dns_req *req, const wg_error *err);
  void *user;                          /**< the caller's */
  struct sockaddr_storage *addresses;  /**< valid during the callback; port is 0 */
  size_t count;
  void *impl;
} wg_dns_req;

/** @param config, loop  borrowed; must outlive the wg_dns */
WG_MUSTCHECK wg_code wg_dns_new(const wg_config *config, const wg_loop *loop, wg_dns **out,
                                wg_error *err);
/** No lookup may be in progress but canceled ones; run the loop until it is empty afterwards. */
void wg_dns_free(wg_dns *d);

/** Resolves a host name or address literal (1..253 bytes, borrowed for the call).
 *  done comes exactly once unless canceled; at once for literals and registry names.
 *  err: WG_INVALID (not a host name), WG_NOT_FOUND, WG_IO (temporary), WG_NOMEM, WG_EXHAUSTED (too
 *  many lookups in progress). A name under dns.domain that the registry lacks is WG_NOT_FOUND
 *  without asking anybody. Addresses of a registry name rotate from call to call. The host's
 *  resolver has its own time-out; a caller with a shorter one cancels. */
void wg_dns_resolve(wg_dns *d, const char *name, size_t len, wg_dns_req *req,
                    void (*done)(wg_dns_req *req, const wg_error *err), void *user);
/** Synchronous: req is the caller's again, and its callback does not come. */
void wg_dns_cancel(wg_dns *d, wg_dns_req *req);
