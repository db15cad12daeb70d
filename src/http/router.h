/* SPDX-License-Identifier: Apache-2.0 */
/** @file router.h  Which service gets a request, by host and path. Immutable once made: any thread
 *  may ask. */
#pragma once
#include "base/base.h"

typedef struct wg_router wg_router;

/** Where requests of a host and below a path go. Strings are borrowed as long as the router. */
typedef struct wg_route {
  const char *host; /**< lower case; "*.example.com": every name below; NULL: any */
  const char *path; /**< "/api": itself and all below "/api/"; "/" or NULL: all */
  void *target;     /**< the caller's own, not NULL */
} wg_route;

/** @param out  owned by the caller: wg_router_free()
 *  @return WG_OK; WG_NOMEM */
WG_MUSTCHECK wg_code wg_router_new(const wg_route *routes, size_t count, wg_router **out,
                                   wg_error *err);
void wg_router_free(wg_router *r);

/** The target for a request: an exact host wins over "*." and that over any; of those that fit, the
 *  longest path. A host without a fitting path leaves the request to the less exact ones.
 *  Allocates nothing.
 *  @param host  as the client wrote it, in any case, with or without a port (RFC 9110, section 7.2)
 *  @param path  without the query (RFC 9110, section 4.2)
 *  @return NULL: none fits */
void *wg_router_find(const wg_router *r, const char *host, size_t host_len, const char *path,
                     size_t path_len);

/** Whether a Host header names this machine by a loopback address or "localhost", with or without a
 *  port: a page of another site may have made its own name point here. */
bool wg_host_is_loopback(const char *host, size_t len);
