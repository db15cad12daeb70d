/* SPDX-License-Identifier: Apache-2.0 */
/** @file warpgrid/sdk/json.h  JSON for handlers: jansson (its own documentation applies) and the
 *  way into a response. Values nest at most 128 deep. */
#pragma once
#include <jansson.h>
#include <warpgrid/sdk/http.h>
#ifdef __cplusplus
extern "C" {
#endif

/** Parses the request's body, which must be an object or an array, in UTF-8, without a key twice.
 *  @param error  where and why, when NULL is returned
 *  @return owned by the caller: json_decref() */
json_t *wg_http_json_body(const wg_http_request *req, json_error_t *error);
/** Makes the response: status, `content-type: application/json` and the value.
 *  @param value  taken over, as by json_object_set_new(); NULL (out of memory while it was built)
 *                answers 500 */
void wg_http_json(wg_http_response *res, uint16_t status, json_t *value);
/** A string of bytes that need not be UTF-8: what is not becomes U+FFFD. */
json_t *wg_json_string(wg_str s);

#ifdef __cplusplus
}
#endif
