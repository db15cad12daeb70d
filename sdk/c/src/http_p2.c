/* SPDX-License-Identifier: Apache-2.0 */
/* The handler as `wasi:http/incoming-handler@0.2`: every call blocks, one request at a time. */
#include "http_internal.h"
#include <stdlib.h>
#include <string.h>
#include <world.h>

/* Freed memory of a request that is over costs nothing to keep: an instance that is used again
 * starts from it. */
static wg_http_request the_request;

static const wg_str methods[] = {
    [WASI_HTTP_TYPES_METHOD_GET] = {"GET", 3},
    [WASI_HTTP_TYPES_METHOD_HEAD] = {"HEAD", 4},
    [WASI_HTTP_TYPES_METHOD_POST] = {"POST", 4},
    [WASI_HTTP_TYPES_METHOD_PUT] = {"PUT", 3},
    [WASI_HTTP_TYPES_METHOD_DELETE] = {"DELETE", 6},
    [WASI_HTTP_TYPES_METHOD_CONNECT] = {"CONNECT", 7},
    [WASI_HTTP_TYPES_METHOD_OPTIONS] = {"OPTIONS", 7},
    [WASI_HTTP_TYPES_METHOD_TRACE] = {"TRACE", 5},
    [WASI_HTTP_TYPES_METHOD_PATCH] = {"PATCH", 5},
};

static wg_str http_adopt(wg_http_request *req, wasi2_string_t s) {
  char *p = wg_arena_adopt(&req->arena, s.ptr);
  return (wg_str){p, p == NULL ? 0 : s.len};
}

wg_str wg_http_host_target(wg_http_request *req) {
  wasi2_string_t s;
  wasi_http_types_borrow_incoming_request_t self = {req->request};
  if (!wasi_http_types_method_incoming_request_path_with_query(self, &s)) return (wg_str){NULL, 0};
  return http_adopt(req, s);
}

wg_str wg_http_host_header(wg_http_request *req, const char *name) {
  if (req->headers == 0) {
    wasi_http_types_borrow_incoming_request_t self = {req->request};
    req->headers = wasi_http_types_method_incoming_request_headers(self).__handle;
  }
  wasi_http_types_borrow_fields_t fields = {req->headers};
  wasi_http_types_field_name_t key = {(uint8_t *)(uintptr_t)name, strlen(name)};
  wasi_http_types_list_field_value_t values;
  wasi_http_types_method_fields_get(fields, &key, &values);
  wg_str first = {NULL, 0};
  if (values.len > 0) first = wg_http_copy(req, values.ptr[0].ptr, values.ptr[0].len);
  wasi_http_types_list_field_value_free(&values);
  return first;
}

/* What the error that ended a body says of it. */
static wg_http_body_state http_body_end(const wasi_io_streams_stream_error_t *err) {
  if (err->tag == WASI_IO_STREAMS_STREAM_ERROR_CLOSED) return WG_HTTP_BODY_WHOLE;
  wasi_http_types_error_code_t code;
  wg_http_body_state state = WG_HTTP_BODY_BROKEN;
  if (wasi_http_types_http_error_code(wasi_io_error_borrow_error(err->val.last_operation_failed),
                                      &code)) {
    /* The host's own limit is below ours. */
    if (code.tag == WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_BODY_SIZE)
      state = WG_HTTP_BODY_TOO_LONG;
    wasi_http_types_error_code_free(&code);
  }
  return state;
}

static wg_http_body_state http_read_body(wg_http_request *req) {
  wasi_http_types_own_incoming_body_t body;
  wasi_http_types_borrow_incoming_request_t self = {req->request};
  if (!wasi_http_types_method_incoming_request_consume(self, &body)) return WG_HTTP_BODY_BROKEN;
  wg_http_collector got = {0};
  wasi_http_types_own_input_stream_t stream;
  if (wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body),
                                                  &stream)) {
    wasi_io_streams_borrow_input_stream_t in = wasi_io_streams_borrow_input_stream(stream);
    for (;;) {
      size_t room;
      char *to = wg_http_collector_room(&got, 65536, &room);
      if (to == NULL) break;
      wasi2_list_u8_t chunk;
      wasi_io_streams_stream_error_t err;
      if (!wasi_io_streams_method_input_stream_blocking_read(in, room, &chunk, &err)) {
        got.state = http_body_end(&err);
        wasi_io_streams_stream_error_free(&err);
        break;
      }
      memcpy(to, chunk.ptr, chunk.len);
      got.len += chunk.len;
      wasi2_list_u8_free(&chunk);
    }
    wasi_io_streams_input_stream_drop_own(stream);
  }
  wasi_http_types_incoming_body_drop_own(body);
  wg_http_collector_finish(&got, req);
  return got.state;
}

/* Sends all of it, or stops when the client is gone. */
static void http_write_body(wasi_io_streams_borrow_output_stream_t out, const char *p, size_t len) {
  wasi_io_streams_stream_error_t err;
  wasi2_list_u8_t chunk = {(uint8_t *)(uintptr_t)p, len};
  if (len <= 4096) { /* as much as this call may take (wasi:io/streams) */
    if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(out, &chunk, &err))
      wasi_io_streams_stream_error_free(&err);
    return;
  }
  while (len > 0) {
    uint64_t room;
    if (!wasi_io_streams_method_output_stream_check_write(out, &room, &err)) goto gone;
    if (room == 0) {
      wasi_io_streams_own_pollable_t ready = wasi_io_streams_method_output_stream_subscribe(out);
      wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
      wasi_io_poll_pollable_drop_own(ready);
      continue;
    }
    chunk = (wasi2_list_u8_t){(uint8_t *)(uintptr_t)p, len < room ? len : (size_t)room};
    if (!wasi_io_streams_method_output_stream_write(out, &chunk, &err)) goto gone;
    p += chunk.len;
    len -= chunk.len;
  }
  if (wasi_io_streams_method_output_stream_blocking_flush(out, &err)) return;
gone:
  wasi_io_streams_stream_error_free(&err);
}

/* A header that HTTP does not allow turns the response into a 500. */
static wasi_http_types_own_fields_t http_fields(wg_http_response *res) {
  wasi_http_types_own_fields_t fields;
  wasi_http_types_header_error_t err;
  wasi_http_types_tuple2_field_name_field_value_t few[8], *entries = few;
  if (res->field_count > sizeof few / sizeof few[0])
    entries = wg_arena_alloc(&res->req->arena, res->field_count * sizeof *entries);
  for (size_t i = 0; entries != NULL && i < res->field_count; i++) {
    const wg_http_field *f = &res->fields[i];
    entries[i].f0 = (wasi_http_types_field_name_t){(uint8_t *)(uintptr_t)f->name.ptr, f->name.len};
    entries[i].f1 =
        (wasi_http_types_field_value_t){(uint8_t *)(uintptr_t)f->value.ptr, f->value.len};
  }
  wasi_http_types_list_tuple2_field_name_field_value_t list = {entries, res->field_count};
  if (entries != NULL && wasi_http_types_static_fields_from_list(&list, &fields, &err))
    return fields;
  res->status = 500;
  res->body_len = 0;
  return wasi_http_types_constructor_fields();
}

void exports_wasi_http_incoming_handler_handle(
    exports_wasi_http_incoming_handler_own_incoming_request_t request,
    exports_wasi_http_incoming_handler_own_response_outparam_t out) {
  wg_http_request *req = &the_request;
  req->request = request.__handle;
  wasi_http_types_method_t method;
  wasi_http_types_method_incoming_request_method(
      (wasi_http_types_borrow_incoming_request_t){req->request}, &method);
  req->method = method.tag < WASI_HTTP_TYPES_METHOD_OTHER ? methods[method.tag]
                                                          : http_adopt(req, method.val.other);
  req->body = WG_STR("");
  wg_http_body_state state = WG_HTTP_BODY_WHOLE;
  if (method.tag != WASI_HTTP_TYPES_METHOD_GET && method.tag != WASI_HTTP_TYPES_METHOD_HEAD)
    state = http_read_body(req);

  wg_http_response res;
  wg_http_run_handler(req, &res, state);

  wasi_http_types_own_outgoing_response_t response =
      wasi_http_types_constructor_outgoing_response(http_fields(&res));
  if (res.status != 200)
    wasi_http_types_method_outgoing_response_set_status_code(
        wasi_http_types_borrow_outgoing_response(response), res.status);
  wasi_http_types_own_outgoing_body_t body;
  wasi_http_types_method_outgoing_response_body(wasi_http_types_borrow_outgoing_response(response),
                                                &body);
  wasi_http_types_result_own_outgoing_response_error_code_t result = {.is_err = false,
                                                                      .val.ok = response};
  wasi_http_types_static_response_outparam_set(out, &result);
  wasi_io_streams_own_output_stream_t stream;
  if (res.body_len > 0 && wasi_http_types_method_outgoing_body_write(
                              wasi_http_types_borrow_outgoing_body(body), &stream)) {
    http_write_body(wasi_io_streams_borrow_output_stream(stream), res.body, res.body_len);
    wasi_io_streams_output_stream_drop_own(stream);
  }
  wasi_http_types_error_code_t err;
  if (!wasi_http_types_static_outgoing_body_finish(body, NULL, &err))
    wasi_http_types_error_code_free(&err);

  wg_http_response_release(&res);
  if (req->headers != 0)
    wasi_http_types_fields_drop_own((wasi_http_types_own_fields_t){req->headers});
  wasi_http_types_incoming_request_drop_own((wasi_http_types_own_incoming_request_t){req->request});
  wg_arena_reset(&req->arena);
  req->headers = 0;
  req->have_target = false;
}
