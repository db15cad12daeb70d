/* SPDX-License-Identifier: Apache-2.0 */
/* A small service over a table of users. The same source is a WASI 0.2 and a WASI 0.3 service.
 *
 *   GET    /users         ?limit=1..1000 (100)  ?after=ID    {"users":[...]}
 *   POST   /users         {"name":"...","email":"..."}        201, the new user, Location
 *   GET    /users/count                                       {"users":N}
 *   GET    /users/ID                                          the user
 *   DELETE /users/ID                                          204
 *
 * Whatever goes wrong is answered by {"error":"..."}. */
#include "users.h"
#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = 200 /* characters of a name or an address of mail */ };

static void answer_error(wg_http_response *res, uint16_t status, const char *message) {
  wg_http_json(res, status,
               json_pack("{s:o}", "error", wg_json_string((wg_str){message, strlen(message)})));
}

static void answer_method(wg_http_response *res, const char *allow) {
  answer_error(res, 405, "method not allowed");
  wg_http_header(res, "allow", allow);
}

/* The server's own words can name tables and values, so they go to the log, not to the client. */
static void answer_database_error(wg_http_response *res, const wg_pg_error *err) {
  switch (err->code) {
  case WG_PG_UNAVAILABLE:
  case WG_PG_EXHAUSTED:
  case WG_PG_DENIED:
    fprintf(stderr, "database unavailable: %s %s\n", err->sqlstate, err->message);
    answer_error(res, 503,
                 err->code == WG_PG_EXHAUSTED ? "all database connections are in use, try again"
                                              : "the database is not available, try again");
    wg_http_header(res, "retry-after", "1");
    return;
  case WG_PG_SERVER:
    if (strcmp(err->sqlstate, "23505") == 0) {
      answer_error(res, 409, "a user with this email exists already");
      return;
    }
    break;
  case WG_PG_OK:
  case WG_PG_INVALID:
  case WG_PG_PROTOCOL:
  case WG_PG_NOMEM: break;
  }
  fprintf(stderr, "database error: %s %s\n", err->sqlstate, err->message);
  answer_error(res, 500, "internal error");
}

/* @return false, and answered, when the parameter is there and no number from `min` to `max` */
static bool read_param(wg_http_request *req, wg_http_response *res, const char *name, int64_t min,
                       int64_t max, int64_t *value) {
  wg_str text = wg_http_query_param(req, name);
  if (text.ptr == NULL) return true;
  if (wg_str_int64(text, value) && *value >= min && *value <= max) return true;
  char message[96];
  snprintf(message, sizeof message, "'%s' must be a number from %lld to %lld", name, (long long)min,
           (long long)max);
  answer_error(res, 400, message);
  return false;
}

static void list_users(wg_http_request *req, wg_http_response *res) {
  int64_t limit = 100, after = 0;
  if (!read_param(req, res, "limit", 1, 1000, &limit)) return;
  if (!read_param(req, res, "after", 0, INT32_MAX, &after)) return;
  wg_pg_error err;
  json_t *users = users_list(after, limit, &err);
  if (users == NULL)
    answer_database_error(res, &err);
  else
    wg_http_json(res, 200, json_pack("{s:o}", "users", users));
}

/* A required member of the body. @return false, and answered, when it is not a text of 1 to
 * MAX_TEXT characters */
static bool read_text(wg_http_response *res, const json_t *body, const char *key, wg_str *out) {
  const json_t *value = json_object_get(body, key);
  *out = (wg_str){json_string_value(value), json_string_length(value)};
  size_t characters = 0;
  for (size_t i = 0; i < out->len; i++) characters += ((unsigned char)out->ptr[i] & 0xc0) != 0x80;
  if (out->ptr != NULL && characters >= 1 && characters <= MAX_TEXT) return true;
  char message[96];
  snprintf(message, sizeof message, "'%s' must be a text of 1 to %d characters", key, MAX_TEXT);
  answer_error(res, 400, message);
  return false;
}

static void add_user(wg_http_request *req, wg_http_response *res) {
  json_error_t where;
  json_t *body = wg_http_json_body(req, &where);
  if (body == NULL) {
    char message[160];
    snprintf(message, sizeof message, "not valid JSON in line %d, column %d: %.80s", where.line,
             where.column, where.text);
    answer_error(res, 400, message);
    return;
  }
  wg_str name, email;
  wg_pg_error err;
  if (!json_is_object(body)) {
    answer_error(res, 400, "the body must be a JSON object");
  } else if (read_text(res, body, "name", &name) && read_text(res, body, "email", &email)) {
    const char *at = memchr(email.ptr, '@', email.len);
    if (at == NULL || at == email.ptr || at == email.ptr + email.len - 1) {
      answer_error(res, 400, "'email' must look like name@example.com");
    } else {
      json_t *user = users_add(name, email, &err);
      if (user == NULL) {
        answer_database_error(res, &err);
      } else {
        char location[48];
        snprintf(location, sizeof location, "/users/%" JSON_INTEGER_FORMAT,
                 json_integer_value(json_object_get(user, "id")));
        wg_http_json(res, 201, user);
        wg_http_header(res, "location", location);
      }
    }
  }
  json_decref(body);
}

static void answer_no_user(wg_http_response *res, int64_t id) {
  char message[48];
  snprintf(message, sizeof message, "no user %lld", (long long)id);
  answer_error(res, 404, message);
}

static void get_user(wg_http_response *res, int64_t id) {
  wg_pg_error err;
  json_t *user = users_get(id, &err);
  if (user == NULL)
    answer_database_error(res, &err);
  else if (json_is_null(user))
    answer_no_user(res, id);
  else
    wg_http_json(res, 200, user);
}

static void remove_user(wg_http_response *res, int64_t id) {
  wg_pg_error err;
  json_t *removed = users_remove(id, &err);
  if (removed == NULL)
    answer_database_error(res, &err);
  else if (json_is_true(removed))
    wg_http_status(res, 204);
  else
    answer_no_user(res, id);
}

static void count_users(wg_http_response *res) {
  wg_pg_error err;
  json_t *count = users_count(&err);
  if (count == NULL)
    answer_database_error(res, &err);
  else
    wg_http_json(res, 200, json_pack("{s:o}", "users", count));
}

void wg_http_handle(wg_http_request *req, wg_http_response *res) {
  wg_str method = wg_http_method(req), path = wg_http_path(req);
  bool get = wg_str_is(method, "GET") || wg_str_is(method, "HEAD");
  static const char prefix[] = "/users/";
  if (wg_str_is(path, "/users")) {
    if (get)
      list_users(req, res);
    else if (wg_str_is(method, "POST"))
      add_user(req, res);
    else
      answer_method(res, "GET, HEAD, POST");
  } else if (wg_str_is(path, "/users/count")) {
    if (get)
      count_users(res);
    else
      answer_method(res, "GET, HEAD");
  } else if (path.len > sizeof prefix - 1 && memcmp(path.ptr, prefix, sizeof prefix - 1) == 0) {
    int64_t id;
    wg_str text = {path.ptr + sizeof prefix - 1, path.len - (sizeof prefix - 1)};
    if (!wg_str_int64(text, &id) || id < 1 || id > INT32_MAX)
      answer_error(res, 400, "the id must be a number from 1 to 2147483647");
    else if (get)
      get_user(res, id);
    else if (wg_str_is(method, "DELETE"))
      remove_user(res, id);
    else
      answer_method(res, "GET, HEAD, DELETE");
  } else {
    answer_error(res, 404, "not found");
  }
}
