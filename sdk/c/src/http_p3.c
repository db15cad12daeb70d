/* SPDX-License-Identifier: Apache-2.0 */
/* The handler as `wasi:http/handler@0.3`. One request is one task:
 *
 *   READ --> READ_END --> HANDLE --> WRITE --> TRAILERS --> ACK --> DONE
 *
 *   READ      the request's body; not for GET and HEAD, which begin in HANDLE
 *   READ_END  its trailers, which say whether all of it came
 *   HANDLE    the program
 *   WRITE     the response's body, if any
 *   TRAILERS  "none", which ends the response
 *   ACK       tells the host that the request's body was taken; after READ only
 *
 * http_step() goes on until the task has to wait for `waiting_for`; the loop (stackful) or the
 * callback brings the event. */
#include "http_internal.h"
#include "task.h"
#include <stdlib.h>
#include <string.h>

enum http_state {
  HTTP_READ,
  HTTP_READ_END,
  HTTP_HANDLE,
  HTTP_WRITE,
  HTTP_TRAILERS,
  HTTP_ACK,
  HTTP_DONE
};

struct http_task {
  wg_task task; /* first: the context slot points at it */
  enum http_state state;
  uint32_t waiting_for;
  bool returned; /* the response is the host's */
  bool consumed; /* the request's body was taken, and its resource with it */
  wg_http_request req;
  wg_http_response res;
  wg_http_collector got;
  wasi_http_types_stream_u8_t in;
  wasi_http_types_future_result_option_own_trailers_error_code_t in_end;
  wasi_http_types_result_option_own_trailers_error_code_t in_end_value;
  wasi_http_types_future_result_void_error_code_writer_t ack;
  wasi_http_types_result_void_error_code_t ack_value;
  wasi_http_types_stream_u8_writer_t out;
  size_t sent;
  wasi_http_types_future_result_option_own_trailers_error_code_writer_t trailers;
  wasi_http_types_result_option_own_trailers_error_code_t trailers_value;
  struct http_task *next; /* of the free list */
};

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

static wg_str http_adopt(wg_http_request *req, wasi3_string_t s) {
  char *p = wg_arena_adopt(&req->arena, s.ptr);
  return (wg_str){p, p == NULL ? 0 : s.len};
}

static wasi_http_types_borrow_request_t http_self(const wg_http_request *req) {
  return (wasi_http_types_borrow_request_t){req->request};
}

wg_str wg_http_host_target(wg_http_request *req) {
  wasi3_string_t s;
  if (!wasi_http_types_method_request_get_path_with_query(http_self(req), &s))
    return (wg_str){NULL, 0};
  return http_adopt(req, s);
}

static int32_t http_headers(wg_http_request *req) {
  if (req->headers == 0)
    req->headers = wasi_http_types_method_request_get_headers(http_self(req)).__handle;
  return req->headers;
}

wg_str wg_http_host_header(wg_http_request *req, const char *name) {
  wasi_http_types_borrow_fields_t fields = {http_headers(req)};
  wasi_http_types_field_name_t key = {(uint8_t *)(uintptr_t)name, strlen(name)};
  wasi_http_types_list_field_value_t values;
  wasi_http_types_method_fields_get(fields, &key, &values);
  wg_str first = {NULL, 0};
  if (values.len > 0) first = wg_http_copy(req, values.ptr[0].ptr, values.ptr[0].len);
  wasi_http_types_list_field_value_free(&values);
  return first;
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

/* Takes the request's body; what the program may ask of the request must be read before. */
static void http_consume(struct http_task *t) {
  wg_http_request *req = &t->req;
  http_headers(req);
  wg_http_path(req);
  wasi_http_types_future_result_void_error_code_t ack =
      wasi_http_types_future_result_void_error_code_new(&t->ack);
  wasi_http_types_tuple2_stream_u8_future_result_option_own_trailers_error_code_t body;
  wasi_http_types_static_request_consume_body((wasi_http_types_own_request_t){req->request}, ack,
                                              &body);
  t->in = body.f0;
  t->in_end = body.f1;
  t->consumed = true;
}

static void http_begin(struct http_task *t, int32_t request) {
  wg_task_begin(&t->task);
  t->waiting_for = 0;
  t->returned = t->consumed = false;
  t->req.arena.blocks = NULL;
  t->req.arena.used = 0;
  t->req.request = request;
  t->req.headers = 0;
  t->req.have_target = false;
  t->req.body = WG_STR("");
  t->got = (wg_http_collector){0};
  t->sent = 0;

  wasi_http_types_method_t method;
  wasi_http_types_method_request_get_method(http_self(&t->req), &method);
  t->req.method = method.tag < WASI_HTTP_TYPES_METHOD_OTHER ? methods[method.tag]
                                                            : http_adopt(&t->req, method.val.other);
  t->state = HTTP_HANDLE;
  if (method.tag != WASI_HTTP_TYPES_METHOD_GET && method.tag != WASI_HTTP_TYPES_METHOD_HEAD) {
    http_consume(t);
    t->state = HTTP_READ;
  }
}

static void http_return(struct http_task *t) {
  wasi_http_types_future_result_option_own_trailers_error_code_t trailers =
      wasi_http_types_future_result_option_own_trailers_error_code_new(&t->trailers);
  t->trailers_value = (wasi_http_types_result_option_own_trailers_error_code_t){.is_err = false};
  wasi_http_types_own_fields_t fields = http_fields(&t->res);
  wasi_http_types_stream_u8_t body = 0, *has_body = NULL;
  if (t->res.body_len > 0) {
    body = wasi_http_types_stream_u8_new(&t->out);
    has_body = &body;
  }
  wasi_http_types_tuple2_own_response_future_result_void_error_code_t made;
  wasi_http_types_static_response_new(fields, has_body, trailers, &made);
  wasi_http_types_future_result_void_error_code_drop_readable(made.f1);
  if (t->res.status != 200)
    wasi_http_types_method_response_set_status_code(wasi_http_types_borrow_response(made.f0),
                                                    t->res.status);
  exports_wasi_http_handler_result_own_response_error_code_t result = {.is_err = false,
                                                                       .val.ok = made.f0};
  exports_wasi_http_handler_handle_return(result);
  t->returned = true;
}

/* What a read, a write or its event says, applied to the task. */
static void http_progress(struct http_task *t, uint32_t status) {
  uint32_t count = WASI3_WAITABLE_COUNT(status);
  bool dropped = WASI3_WAITABLE_STATE(status) != WASI3_WAITABLE_COMPLETED;
  switch (t->state) {
  case HTTP_READ:
    t->got.len += count;
    if (dropped) t->state = HTTP_READ_END;
    break;
  case HTTP_READ_END:
    if (dropped) {
      t->got.state = WG_HTTP_BODY_BROKEN;
    } else {
      if (t->in_end_value.is_err) /* the host's own limit may be below ours */
        t->got.state =
            t->in_end_value.val.err.tag == WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_BODY_SIZE
                ? WG_HTTP_BODY_TOO_LONG
                : WG_HTTP_BODY_BROKEN;
      wasi_http_types_result_option_own_trailers_error_code_free(&t->in_end_value);
    }
    t->state = HTTP_HANDLE;
    break;
  case HTTP_WRITE:
    t->sent += count;
    if (dropped || t->sent == t->res.body_len) {
      wasi_http_types_stream_u8_drop_writable(t->out);
      t->state = HTTP_TRAILERS;
    }
    break;
  case HTTP_TRAILERS:
    wasi_http_types_future_result_option_own_trailers_error_code_drop_writable(t->trailers);
    t->state = t->consumed ? HTTP_ACK : HTTP_DONE;
    break;
  case HTTP_ACK:
    wasi_http_types_future_result_void_error_code_drop_writable(t->ack);
    t->state = HTTP_DONE;
    break;
  case HTTP_HANDLE:
  case HTTP_DONE: break;
  }
}

/* @return true: wait for `waiting_for`, then http_on_event(); false: the task is over */
static bool http_step(struct http_task *t) {
  for (;;) {
    uint32_t status, waitable;
    switch (t->state) {
    case HTTP_READ: {
      size_t room;
      char *to = wg_http_collector_room(&t->got, 65536, &room);
      if (to == NULL) {
        t->state = HTTP_HANDLE;
        continue;
      }
      waitable = t->in;
      status = wasi_http_types_stream_u8_read(t->in, (uint8_t *)to, room);
      break;
    }
    case HTTP_READ_END:
      waitable = t->in_end;
      status = wasi_http_types_future_result_option_own_trailers_error_code_read(t->in_end,
                                                                                 &t->in_end_value);
      break;
    case HTTP_HANDLE: {
      if (t->consumed) {
        wasi_http_types_stream_u8_drop_readable(t->in);
        wasi_http_types_future_result_option_own_trailers_error_code_drop_readable(t->in_end);
        wg_http_collector_finish(&t->got, &t->req);
      }
      wg_http_run_handler(&t->req, &t->res, t->got.state);
      http_return(t);
      t->state = t->res.body_len > 0 ? HTTP_WRITE : HTTP_TRAILERS;
      continue;
    }
    case HTTP_WRITE:
      waitable = t->out;
      status = wasi_http_types_stream_u8_write(t->out, (const uint8_t *)t->res.body + t->sent,
                                               t->res.body_len - t->sent);
      break;
    case HTTP_TRAILERS:
      waitable = t->trailers;
      status = wasi_http_types_future_result_option_own_trailers_error_code_write(
          t->trailers, &t->trailers_value);
      break;
    case HTTP_ACK:
      waitable = t->ack;
      t->ack_value = (wasi_http_types_result_void_error_code_t){.is_err = false};
      status = wasi_http_types_future_result_void_error_code_write(t->ack, &t->ack_value);
      break;
    case HTTP_DONE: return false;
    }
    if (status == WASI3_WAITABLE_STATUS_BLOCKED) {
      t->waiting_for = waitable;
      wg_task_join(&t->task, waitable);
      return true;
    }
    http_progress(t, status);
  }
}

static void http_on_event(struct http_task *t, const wasi3_event_t *event) {
  if (event->waitable != t->waiting_for) return;
  wg_task_leave(t->waiting_for);
  http_progress(t, event->code);
}

static void http_end(struct http_task *t) {
  wg_http_response_release(&t->res);
  if (t->req.headers != 0)
    wasi_http_types_fields_drop_own((wasi_http_types_own_fields_t){t->req.headers});
  if (!t->consumed)
    wasi_http_types_request_drop_own((wasi_http_types_own_request_t){t->req.request});
  wg_arena_reset(&t->req.arena);
  wg_task_end(&t->task);
}

#if WG_STACKFUL

void wg_task_main(uint32_t request) {
  struct http_task t;
  http_begin(&t, (int32_t)request);
  while (http_step(&t)) {
    wasi3_event_t event = wg_task_wait(&t.task);
    http_on_event(&t, &event);
  }
  http_end(&t);
}

void wg_export_handle(uint32_t request);
__attribute__((export_name("[async-lift-stackful]wasi:http/handler@0.3.0#handle"))) void
wg_export_handle(uint32_t request) {
  wg_task_run(request);
}

#else

static struct http_task *free_tasks;

static wasi3_callback_code_t http_go_on(struct http_task *t) {
  if (http_step(t)) return WASI3_CALLBACK_CODE_WAIT(t->task.set);
  http_end(t);
  t->next = free_tasks;
  free_tasks = t;
  return WASI3_CALLBACK_CODE_EXIT;
}

wasi3_callback_code_t
exports_wasi_http_handler_handle(exports_wasi_http_handler_own_request_t request) {
  struct http_task *t = free_tasks;
  if (t != NULL)
    free_tasks = t->next;
  else
    t = malloc(sizeof *t);
  if (t == NULL) __builtin_trap();
  http_begin(t, request.__handle);
  return http_go_on(t);
}

wasi3_callback_code_t exports_wasi_http_handler_handle_callback(wasi3_event_t *event) {
  struct http_task *t = (struct http_task *)(void *)wg_task_current();
  if (event->event == WASI3_EVENT_CANCEL) /* no caller to answer; the writes still have to end */
    return WASI3_CALLBACK_CODE_WAIT(t->task.set);
  http_on_event(t, event);
  return http_go_on(t);
}

#endif
