/* SPDX-License-Identifier: Apache-2.0 */
#include "users.h"
#include <stdlib.h>

/* id, name, email and the time in the form of RFC 3339, whatever the session's time zone is. */
#define USER_COLUMNS                                                                              \
  "id, name, email, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') " \
  "AS created_at"

static const char *env_or(const char *name, const char *standard) {
  const char *value = getenv(name);
  return value != NULL && value[0] != '\0' ? value : standard;
}

/* One statement on a leased connection. */
static wg_pg_result *users_query(const char *sql, const wg_pg_param *params, size_t count,
                                 wg_pg_error *err) {
  wg_pg_config config = {
      .host = env_or("DATABASE_HOST", "db.test.warp.local"),
      .port = 5432,
      .database = env_or("DATABASE_NAME", "warpgrid"),
      .user = env_or("DATABASE_USER", "warpgrid_app"),
      .application = "c-users",
  };
  wg_pg *db = wg_pg_connect(&config, err);
  if (db == NULL) return NULL;
  wg_pg_result *rows = wg_pg_query(db, sql, params, count, err);
  wg_pg_close(db);
  return rows;
}

/* Out of memory while JSON is built. */
static json_t *users_checked(json_t *value, wg_pg_error *err) {
  if (value == NULL) *err = (wg_pg_error){.code = WG_PG_NOMEM, .message = "out of memory"};
  return value;
}

static json_t *user_of(const wg_pg_result *rows, size_t row) {
  json_t *user = json_object();
  int64_t id = 0;
  wg_pg_int64(rows, row, 0, &id);
  if (json_object_set_new(user, "id", json_integer(id)) == 0 &&
      json_object_set_new(user, "name", wg_json_string(wg_pg_text(rows, row, 1))) == 0 &&
      json_object_set_new(user, "email", wg_json_string(wg_pg_text(rows, row, 2))) == 0 &&
      json_object_set_new(user, "created_at", wg_json_string(wg_pg_text(rows, row, 3))) == 0)
    return user;
  json_decref(user);
  return NULL;
}

json_t *users_list(int64_t after, int64_t limit, wg_pg_error *err) {
  wg_pg_param params[] = {wg_pg_int(after), wg_pg_int(limit)};
  wg_pg_result *rows = users_query(
      "SELECT " USER_COLUMNS " FROM test_users WHERE id > $1 ORDER BY id LIMIT $2", params, 2, err);
  if (rows == NULL) return NULL;
  json_t *list = json_array();
  for (size_t i = 0; list != NULL && i < wg_pg_rows(rows); i++) {
    if (json_array_append_new(list, user_of(rows, i)) == 0) continue;
    json_decref(list);
    list = NULL;
  }
  wg_pg_free(rows);
  return users_checked(list, err);
}

json_t *users_get(int64_t id, wg_pg_error *err) {
  wg_pg_param params[] = {wg_pg_int(id)};
  wg_pg_result *rows =
      users_query("SELECT " USER_COLUMNS " FROM test_users WHERE id = $1", params, 1, err);
  if (rows == NULL) return NULL;
  json_t *user = wg_pg_rows(rows) == 0 ? json_null() : user_of(rows, 0);
  wg_pg_free(rows);
  return users_checked(user, err);
}

json_t *users_add(wg_str name, wg_str email, wg_pg_error *err) {
  wg_pg_param params[] = {wg_pg_str(name), wg_pg_str(email)};
  wg_pg_result *rows =
      users_query("INSERT INTO test_users (name, email) VALUES ($1, $2) RETURNING " USER_COLUMNS,
                  params, 2, err);
  if (rows == NULL) return NULL;
  json_t *user = user_of(rows, 0);
  wg_pg_free(rows);
  return users_checked(user, err);
}

json_t *users_remove(int64_t id, wg_pg_error *err) {
  wg_pg_param params[] = {wg_pg_int(id)};
  wg_pg_result *rows = users_query("DELETE FROM test_users WHERE id = $1", params, 1, err);
  if (rows == NULL) return NULL;
  json_t *removed = json_boolean(wg_pg_affected(rows) > 0);
  wg_pg_free(rows);
  return removed;
}

json_t *users_count(wg_pg_error *err) {
  wg_pg_result *rows = users_query("SELECT count(*) FROM test_users", NULL, 0, err);
  if (rows == NULL) return NULL;
  int64_t count = 0;
  wg_pg_int64(rows, 0, 0, &count);
  wg_pg_free(rows);
  return users_checked(json_integer(count), err);
}
