/* @@name@@: a small JSON service. The routes are at the end. */
#include <warpgrid/sdk/http.h>
#include <warpgrid/sdk/json.h>
//@@if postgres
#include <stdio.h>
#include <stdlib.h>
#include <warpgrid/sdk/pg.h>
//@@end

static void answer_error(wg_http_response *res, uint16_t status, const char *message) {
  wg_http_json(res, status, json_pack("{s:s}", "error", message));
}

/* GET /hello?name=Ada */
static void hello(wg_http_request *req, wg_http_response *res) {
  wg_str name = wg_http_query_param(req, "name");
  if (name.ptr == NULL) name = WG_STR("world");
  wg_http_json(res, 200, json_pack("{s:o}", "hello", wg_json_string(name)));
}

/* POST /echo */
static void echo(wg_http_request *req, wg_http_response *res) {
  json_error_t where;
  json_t *body = wg_http_json_body(req, &where);
  if (body == NULL)
    answer_error(res, 400, "the body must be a JSON object or array");
  else
    wg_http_json(res, 200, json_pack("{s:o}", "echo", body));
}

//@@if postgres
/* GET /time, as the database tells it */
static void database_time(wg_http_response *res) {
  wg_pg_error err;
  wg_pg_config config = {
      .host = "db.warp.local", /* [databases.main] of warp.toml */
      .database = getenv("DATABASE_NAME"),
      .user = getenv("DATABASE_USER"),
  };
  wg_pg *db = wg_pg_connect(&config, &err); /* leased from the host's pool */
  wg_pg_result *rows = db ? wg_pg_query(db, "SELECT now()::text", NULL, 0, &err) : NULL;
  if (rows == NULL) {
    fprintf(stderr, "database: %s\n", err.message);
    answer_error(res, 503, "the database is not available");
  } else {
    wg_http_json(res, 200, json_pack("{s:o}", "time", wg_json_string(wg_pg_text(rows, 0, 0))));
  }
  wg_pg_free(rows);
  wg_pg_close(db);
}

//@@end
void wg_http_handle(wg_http_request *req, wg_http_response *res) {
  wg_str method = wg_http_method(req), path = wg_http_path(req);
  bool get = wg_str_is(method, "GET") || wg_str_is(method, "HEAD");
  if (get && wg_str_is(path, "/"))
    wg_http_json(res, 200, json_pack("{s:s}", "service", "@@name@@"));
  else if (get && wg_str_is(path, "/hello"))
    hello(req, res);
  else if (wg_str_is(method, "POST") && wg_str_is(path, "/echo"))
    echo(req, res);
  //@@if postgres
  else if (get && wg_str_is(path, "/time"))
    database_time(res);
  //@@end
  else
    answer_error(res, 404, "not found");
}
