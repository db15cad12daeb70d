/* SPDX-License-Identifier: Apache-2.0 */
/** @file http_internal.h  Between the part of the HTTP library that both WASI generations share
 *  (http.c) and what each does its own way (http_p2.c, http_p3.c). */
#pragma once
#include "arena.h"
#include <warpgrid/sdk/http.h>

struct wg_http_request {
  wg_arena arena;
  int32_t request; /**< resource handle of the incoming request */
  int32_t headers; /**< resource handle of its fields; 0: not asked for yet */
  bool have_target;
  wg_str target; /**< path with query */
  wg_str method;
  wg_str body;
};

typedef struct wg_http_field {
  wg_str name, value;
} wg_http_field;

struct wg_http_response {
  wg_http_request *req; /**< whose arena holds the headers */
  uint16_t status;
  bool failed; /**< memory ran out while it was written */
  wg_http_field *fields;
  size_t field_count, field_cap;
  const char *body;
  char *buffer; /**< malloc'd and the same as `body`, or NULL: the body is static */
  size_t body_len, body_cap;
};

/* -- http.c -- */

/** The empty response to a request. */
void wg_http_response_init(wg_http_response *res, wg_http_request *req);
/** Frees the body; the headers go with the request's arena. */
void wg_http_response_release(wg_http_response *res);
/** How the request's body arrived. */
typedef enum wg_http_body_state {
  WG_HTTP_BODY_WHOLE,
  WG_HTTP_BODY_TOO_LONG, /**< wg_http_body_limit was passed; the rest was not read */
  WG_HTTP_BODY_BROKEN,   /**< it broke off: what came is not what the client meant */
} wg_http_body_state;
/** Calls the handler, or answers 413 or 400 in its place, and adds `content-length`. */
void wg_http_run_handler(wg_http_request *req, wg_http_response *res, wg_http_body_state body);
/** Copies into the arena; ptr is NULL when there is no memory. */
wg_str wg_http_copy(wg_http_request *req, const void *p, size_t len);

/** A body that arrives in pieces. */
typedef struct wg_http_collector {
  char *bytes; /**< malloc'd */
  size_t len, cap;
  wg_http_body_state state;
} wg_http_collector;
/** Room for `want` more bytes (fewer at the limit); NULL: the limit is reached or memory is out. */
char *wg_http_collector_room(wg_http_collector *c, size_t want, size_t *room);
/** Hands the bytes to the request, when all of them came. */
void wg_http_collector_finish(wg_http_collector *c, wg_http_request *req);

/* -- http_p2.c or http_p3.c -- */

/** Asks the host for path and query; ptr is NULL when there is none. */
wg_str wg_http_host_target(wg_http_request *req);
wg_str wg_http_host_header(wg_http_request *req, const char *name);
