/* SPDX-License-Identifier: Apache-2.0 */
/** @file registry.h  Asks an HTTP registry again and again and keeps its last good answer. The GET
 *  itself is the caller's, so that this needs no HTTP. Everything on one thread. */
#pragma once
#include "config/config.h"
#include "dns/names.h"
#include "net/deadline.h"

/** One GET; all borrowed for the call. */
typedef struct wg_registry_request {
  const char *url;
  const char *etag; /**< of the last good answer; "": none */
  const char *authorization; /**< value of that header; "": none; secret */
  uint32_t timeout_ms;
  uint64_t max_bytes;
} wg_registry_request;

typedef struct wg_registry_ops {
  /** Begins a GET, which ends by wg_registry_fetched(), not within this call.
   *  @return WG_OK; others count as an answer that did not come */
  wg_code (*fetch)(void *ctx, const wg_registry_request *r, wg_error *err);
  /** Ends the GET in progress: wg_registry_fetched() does not come. */
  void (*cancel)(void *ctx);
  /** There are other names now: wg_registry_answer(). */
  void (*changed)(void *ctx);
  /** The first GET is over, for better or worse. Once. */
  void (*first)(void *ctx);
} wg_registry_ops;

typedef struct wg_registry wg_registry;
/** Asks nobody until wg_registry_configure().
 *  @param deadlines  of the thread; borrowed, must outlive it
 *  @param ops  static */
WG_MUSTCHECK wg_code wg_registry_new(wg_deadlines *deadlines, const wg_registry_ops *ops, void *ctx,
                                     wg_registry **out, wg_error *err);
void wg_registry_free(wg_registry *r);
/** Takes [registry] of a configuration; asks from the loop, soon, when that is another than before.
 *  The last good answer stays until there is a newer one; without a URL it is forgotten.
 *  @return WG_OK; WG_NOMEM: nothing changed */
WG_MUSTCHECK wg_code wg_registry_configure(wg_registry *r, const wg_config *config, wg_error *err);
/** The GET is over.
 *  @param status  of HTTP; 0: no answer, `error` says why
 *  @param etag, body  borrowed for the call; etag NUL-terminated, "" for none */
void wg_registry_fetched(wg_registry *r, uint32_t status, const char *etag, const void *body,
                         size_t len, const char *error);
/** The last good answer; NULL: none. Valid until the next `changed`, configure or free. */
const wg_registry_answer *wg_registry_last(const wg_registry *r);
