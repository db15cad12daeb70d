/* SPDX-License-Identifier: Apache-2.0 */
/** @file http_ask.h  One request of plain HTTP, blocking: for the admin endpoint of a server on this
 *  machine. */
#pragma once
#include "base/buf.h"

/** Asks and reads the whole answer.
 *  @param method      "GET", or "POST" without a body
 *  @param host        name or address, without brackets; each of its addresses is tried
 *  @param path        "/stats"
 *  @param timeout_ms  for everything together
 *  @param status      gets that of the answer, 100..999
 *  @param body        gets the body, then a NUL that is not counted; init and release are the
 *                     caller's, and its cap is the limit of the answer, header included
 *  @return WG_OK, whatever the status; WG_IO (nothing listens, no HTTP, too long), WG_TIMEOUT,
 *          WG_NOMEM */
WG_MUSTCHECK wg_code cli_http_ask(const char *method, const char *host, uint16_t port,
                                  const char *path, unsigned timeout_ms, unsigned *status,
                                  wg_buf *body, wg_error *err);
