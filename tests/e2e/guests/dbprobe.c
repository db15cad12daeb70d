/* SPDX-License-Identifier: Apache-2.0 */
/* A service that runs SQL for a test, below any client library: it sends a start-up message of the
 * test's choice, and simple queries of any number of statements. Of MySQL and Redis it speaks less.
 *
 *   GET /sql?q=SQL, POST /sql   rows as `a|b` lines; or 400 (the server refused a statement) and
 *                               503 (anything else) with `SQLSTATE message`
 *     host= port= db= user=     instead of DB_HOST, DB_PORT, DB_NAME, DB_USER
 *     param=NAME=VALUE          one more start-up parameter
 *     password=                 said when it is asked for in clear; give=1: in the connect as well
 *     keep=1                    leaves the connection open at the end
 *     retry=1                   goes on after a `timeout` of recv; header x-timeouts counts them
 *     late=1                    opens the place, and the start-up says which database
 *     proto=mysql|redis         instead of PostgreSQL's; Redis has lines of words, sent all at once
 *   GET /trap, /spin            with a connection in hand, on which q=SQL was run
 *   GET /all                    asks several at once: postgres=, mysql= and redis= are texts for the
 *                               hosts named by POSTGRES_HOST and so on; each given one is answered
 *   GET /env                    the environment */
#include <warpgrid/sdk/http.h>

#include "../../fixtures/db/mysql.h"
#include "../../fixtures/db/redis.h"

const size_t wg_http_body_limit = 16u << 20;

extern char **environ;

static bool flag(wg_http_request *req, const char *name) {
  return wg_str_is(wg_http_query_param(req, name), "1");
}

static const char *setting(wg_http_request *req, const char *param, const char *variable) {
  wg_str given = wg_http_query_param(req, param);
  if (given.ptr == NULL) return getenv(variable);
  char *copy = wg_http_alloc(req, given.len + 1);
  memcpy(copy, given.ptr, given.len);
  copy[given.len] = '\0';
  return copy;
}

static uint32_t u32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static void put_u32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}

/* One message whole: its type and body. */
static bool message(conn *c, char *type, const uint8_t **body, size_t *len) {
  if (!need(c, 5)) return false;
  uint32_t size = u32(c->buf + c->at + 1);
  if (size < 4 || size > (64u << 20)) {
    fail(c, 503, "08P01", "a message of impossible length");
    return false;
  }
  if (!need(c, 1 + (size_t)size)) return false;
  *type = (char)c->buf[c->at];
  *body = c->buf + c->at + 5;
  *len = size - 4;
  c->at += 1 + (size_t)size;
  return true;
}

static void server_error(conn *c, int status, const uint8_t *p, size_t len) {
  const char *state = "XXXXX", *text = "?";
  for (size_t i = 0; i < len && p[i] != 0; i += 2 + strlen((const char *)p + i + 1)) {
    if (p[i] == 'C') state = (const char *)p + i + 1;
    if (p[i] == 'M') text = (const char *)p + i + 1;
  }
  fail(c, status, state, text);
}

/* Where to, and as whom. */
typedef struct target {
  wg_pg_config config;
  const char *password, *param; /* NULL: none */
  size_t param_len;
} target;

static target asked_for(wg_http_request *req) {
  target t = {.config = {.host = setting(req, "host", "DB_HOST"),
                         .port = (uint16_t)atoi(setting(req, "port", "DB_PORT")),
                         .database = setting(req, "db", "DB_NAME"),
                         .user = setting(req, "user", "DB_USER")},
              .password = setting(req, "password", "DB_PASSWORD")};
  wg_str param = wg_http_query_param(req, "param");
  t.param = param.ptr;
  t.param_len = param.len;
  if (flag(req, "give")) t.config.password = t.password;
  return t;
}

static bool conn_open(conn *c, const target *t) {
  const char *password = t->password, *db = t->config.database, *user = t->config.user;
  if (c->protocol == WG_DB_KIND_MYSQL) return mysql_open(c, &t->config);
  if (c->protocol == WG_DB_KIND_REDIS) return redis_open(c, &t->config);
  if (!conn_connect(c, WG_DB_KIND_POSTGRES, &t->config)) return false;
  uint8_t start[2048];
  size_t n = 8;
  const char *eq = t->param ? memchr(t->param, '=', t->param_len) : NULL;
  put_u32(start + 4, 196608);
  n += (size_t)snprintf((char *)start + n, 300, "user%c%s", 0, user) + 1;
  n += (size_t)snprintf((char *)start + n, 300, "database%c%s", 0, db) + 1;
  if (eq != NULL && t->param_len < 1000) {
    memcpy(start + n, t->param, t->param_len);
    start[n + (size_t)(eq - t->param)] = 0;
    n += t->param_len;
    start[n++] = 0;
  }
  start[n++] = 0;
  put_u32(start, (uint32_t)n);
  if (!conn_send(c, start, n)) return false;
  char type;
  const uint8_t *body;
  size_t len;
  while (message(c, &type, &body, &len)) {
    if (type == 'Z') return true;
    if (type == 'E') {
      server_error(c, 503, body, len);
      return false;
    }
    if (type == 'R' && u32(body) == 3 && password != NULL) {
      uint8_t answer[300];
      size_t size = strlen(password) + 1;
      if (size > sizeof answer - 5) size = sizeof answer - 5;
      answer[0] = 'p';
      put_u32(answer + 1, (uint32_t)size + 4);
      memcpy(answer + 5, password, size);
      if (!conn_send(c, answer, size + 5)) return false;
      password = NULL; /* once */
      continue;
    }
    if (type == 'R' && u32(body) != 0) {
      fail(c, 503, "28000", "the host asked the guest for a password");
      return false;
    }
  }
  return false;
}

static void row(wg_http_response *res, const uint8_t *p) {
  unsigned columns = (unsigned)p[0] << 8 | p[1];
  p += 2;
  for (unsigned i = 0; i < columns; i++) {
    int32_t n = (int32_t)u32(p);
    p += 4;
    if (i > 0) wg_http_write(res, "|", 1);
    if (n > 0) {
      wg_http_write(res, p, (size_t)n);
      p += n;
    }
  }
  wg_http_write(res, "\n", 1);
}

static void put(void *res, const char *text, size_t len) { wg_http_write(res, text, len); }

static void put_row(void *res, const mysql_cell *cells, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    if (i > 0) wg_http_write(res, "|", 1);
    wg_http_write(res, cells[i].p, cells[i].len);
  }
  wg_http_write(res, "\n", 1);
}

static void run(conn *c, wg_http_response *res, wg_str sql) {
  if (c->protocol == WG_DB_KIND_MYSQL) {
    mysql_run(c, sql.ptr, sql.len, put_row, res);
    return;
  }
  if (c->protocol == WG_DB_KIND_REDIS) {
    redis_run(c, sql.ptr, sql.len, true, put, res);
    return;
  }
  uint8_t *query = malloc(sql.len + 6);
  if (query == NULL) {
    fail(c, 503, "53200", "the guest is out of memory");
    return;
  }
  query[0] = 'Q';
  put_u32(query + 1, (uint32_t)sql.len + 5);
  memcpy(query + 5, sql.ptr, sql.len);
  query[5 + sql.len] = 0;
  bool sent = conn_send(c, query, sql.len + 6);
  free(query);
  if (!sent) return;
  char type;
  const uint8_t *body;
  size_t len;
  while (message(c, &type, &body, &len)) {
    if (type == 'D') row(res, body);
    if (type == 'E') server_error(c, memcmp(body, "SFATAL", 6) == 0 ? 503 : 400, body, len);
    if (type == 'Z') return;
  }
}

static void leave(conn *c) {
  if (c->protocol == WG_DB_KIND_MYSQL)
    mysql_quit(c);
  else
    conn_close(c);
}

static void tell_error(wg_http_response *res, const conn *c) {
  if (c->status == 0) return;
  wg_http_reset(res);
  wg_http_status(res, (uint16_t)c->status);
  wg_http_printf(res, "%s\n", c->error);
}

static void sql(wg_http_request *req, wg_http_response *res, conn *c) {
  wg_str text = wg_http_query_param(req, "q");
  if (text.ptr == NULL) text = wg_http_body(req);
  target t = asked_for(req);
  if (conn_open(c, &t)) run(c, res, text);
  char timeouts[16];
  snprintf(timeouts, sizeof timeouts, "%u", c->timeouts);
  if (flag(req, "keep"))
    free(c->buf);
  else
    leave(c);
  tell_error(res, c);
  wg_http_header(res, "x-timeouts", timeouts);
}

/* A connection in hand, in the state that the SQL left it in. */
static bool in_hand(wg_http_request *req, wg_http_response *res, conn *c) {
  wg_str text = wg_http_query_param(req, "q");
  target t = asked_for(req);
  if (!conn_open(c, &t)) return false;
  if (text.ptr != NULL) run(c, res, text);
  return true;
}

/* All of them open, then all asked, then all closed. */
static void all(wg_http_request *req, wg_http_response *res) {
  static const struct {
    const char *param, *host, *database;
    uint16_t port;
    wg_db_kind protocol;
  } sides[] = {{"postgres", "POSTGRES_HOST", "POSTGRES_DB", 5432, WG_DB_KIND_POSTGRES},
               {"mysql", "MYSQL_HOST", "MYSQL_DB", 3306, WG_DB_KIND_MYSQL},
               {"redis", "REDIS_HOST", "REDIS_DB", 6379, WG_DB_KIND_REDIS}};
  enum { SIDES = sizeof sides / sizeof *sides };
  conn conns[SIDES] = {0};
  for (int step = 0; step < 3; step++)
    for (unsigned i = 0; i < SIDES; i++) {
      wg_str text = wg_http_query_param(req, sides[i].param);
      conn *c = &conns[i];
      if (text.ptr == NULL) continue;
      c->protocol = sides[i].protocol;
      target t = {.config = {.host = getenv(sides[i].host),
                             .port = sides[i].port,
                             .database = env(sides[i].database, ""),
                             .user = "anybody"}};
      if (step == 0) (void)conn_open(c, &t);
      if (step == 1 && c->status == 0) run(c, res, text);
      if (step == 2) leave(c);
    }
  for (unsigned i = 0; i < SIDES; i++) tell_error(res, &conns[i]);
}

void wg_http_handle(wg_http_request *req, wg_http_response *res) {
  wg_str proto = wg_http_query_param(req, "proto");
  conn c = {.retry = flag(req, "retry"),
            .late = flag(req, "late"),
            .protocol = wg_str_is(proto, "mysql")   ? WG_DB_KIND_MYSQL
                        : wg_str_is(proto, "redis") ? WG_DB_KIND_REDIS
                                                    : WG_DB_KIND_POSTGRES};
  wg_str path = wg_http_path(req);
  if (wg_str_is(path, "/sql")) {
    sql(req, res, &c);
  } else if (wg_str_is(path, "/trap")) {
    if (in_hand(req, res, &c)) __builtin_trap();
    tell_error(res, &c);
  } else if (wg_str_is(path, "/spin")) {
    if (in_hand(req, res, &c))
      for (volatile uint32_t i = 0;; i = i + 1) {
      }
    tell_error(res, &c);
  } else if (wg_str_is(path, "/all")) {
    all(req, res);
  } else if (wg_str_is(path, "/env")) {
    for (char **e = environ; e != NULL && *e != NULL; e++) wg_http_printf(res, "%s\n", *e);
  } else {
    wg_http_status(res, 404);
  }
}
