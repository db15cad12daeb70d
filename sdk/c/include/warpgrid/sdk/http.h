/* SPDX-License-Identifier: Apache-2.0 */
/** @file warpgrid/sdk/http.h  A request handler, the same source for WASI 0.2 and WASI 0.3.
 *
 *  The program defines wg_http_handle(). The library reads the request's body before it calls it: at
 *  most wg_http_body_limit bytes (more is answered 413), and all of it (one that breaks off is
 *  answered 400). It sends the response after the handler returned.
 *
 *  The handler may wait, on a database say: in WASI 0.2 the instance serves nobody else meanwhile;
 *  in WASI 0.3 other requests go on in the same instance, so keep state that must survive a wait in
 *  local variables, not in globals.
 *
 *  @par Example
 *  @code
 *  #include <warpgrid/sdk/http.h>
 *  void wg_http_handle(wg_http_request *req, wg_http_response *res) {
 *    wg_str name = wg_http_query_param(req, "name");
 *    wg_http_header(res, "content-type", "text/plain");
 *    wg_http_printf(res, "hello, %.*s\n", WG_STR_ARGS(name));
 *  }
 *  @endcode */
#pragma once
#include <warpgrid/sdk/base.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct wg_http_request wg_http_request;
typedef struct wg_http_response wg_http_response;

/** Defined by the program. Both pointers are valid until it returns. */
void wg_http_handle(wg_http_request *req, wg_http_response *res);

/** Bytes that a request's body may have; 1 MiB unless the program defines it otherwise. The host
 *  has a limit of its own, which it applies first. */
extern const size_t wg_http_body_limit;

/* -- The request. Every wg_str lives until the handler returns. -- */

/** "GET", "POST", ... as sent. */
wg_str wg_http_method(const wg_http_request *req);
/** The path as sent (percent-encoded), without the query; "/" when there is none. */
wg_str wg_http_path(wg_http_request *req);
/** What follows '?', as sent; ptr is NULL when there is no '?'. */
wg_str wg_http_query(wg_http_request *req);
/** The first query parameter of this name, percent-decoded, '+' read as a space; ptr is NULL when
 *  there is none. */
wg_str wg_http_query_param(wg_http_request *req, const char *name);
/** The first header of this name (any case); ptr is NULL when there is none. */
wg_str wg_http_request_header(wg_http_request *req, const char *name);
wg_str wg_http_body(const wg_http_request *req);
/** Memory that is freed after the response was sent; NULL when there is none left. */
void *wg_http_alloc(wg_http_request *req, size_t size);

/* -- The response: 200, no headers and an empty body until told otherwise. -- */

/** @param status  100..599 */
void wg_http_status(wg_http_response *res, uint16_t status);
/** Adds a header; both strings are copied. `content-length` is added by the library. */
void wg_http_header(wg_http_response *res, const char *name, const char *value);
/** Appends to the body. What does not fit in memory turns the response into a 500. */
void wg_http_write(wg_http_response *res, const void *bytes, size_t len);
void wg_http_printf(wg_http_response *res, const char *fmt, ...) WG_SDK_PRINTF(2, 3);
/** Sets the body without a copy, in place of what was written.
 *  @param bytes  must stay unchanged until the instance ends: a literal, say */
void wg_http_static_body(wg_http_response *res, const void *bytes, size_t len);
/** Forgets status, headers and body written so far: for an error found half way. */
void wg_http_reset(wg_http_response *res);

#ifdef __cplusplus
}
#endif
