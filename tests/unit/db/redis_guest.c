/* SPDX-License-Identifier: Apache-2.0 */
#include "db/redis_guest.h"
#include "db/real_redis.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void redis_init(db_fixture *f) {
  if (!real_redis_running()) skip();
  db_fixture_init(f);
  f->real = true;
  f->database.protocol = WG_DB_REDIS;
  f->database.port = real_redis_port();
  f->database.database = (char *)"0";
  f->database.user = NULL;
  f->database.password = (wg_secret){(char *)"secret", 6};
}

void redis_start(db_fixture *f) {
  redis_init(f);
  db_fixture_start(f);
}

bool redis_try(redis_guest *r, db_fixture *f) {
  const wg_database_config *d = &f->database;
  wg_db_target t = {
      .protocol = WG_DB_REDIS, .host = d->host, .host_len = strlen(d->host), .port = d->port};
  db_result result;
  r->f = f;
  db_start_connect_to(f->guest, &t, &result);
  db_run_until(&f->one, &result.done);
  r->handle = result.req.handle;
  r->err = result.err;
  return result.code == WG_OK;
}

void redis_connect(redis_guest *r, db_fixture *f) {
  if (!redis_try(r, f)) fail_msg("connect: %s", r->err.msg);
}

void redis_open(redis_guest *r, db_fixture *f) {
  wg_error err;
  r->f = f;
  if (wg_db_open(f->guest, f->database.host, strlen(f->database.host), f->database.port, &r->handle,
                 &err) != WG_OK)
    fail_msg("open: %s", err.msg);
}

void redis_say(redis_guest *r, const char *text) {
  db_send(r->f, r->f->guest, r->handle, text, strlen(text));
}

void redis_hear(redis_guest *r, const char *expected) {
  size_t want = strlen(expected), have = 0;
  memset(r->got, 0, sizeof r->got);
  while (have < want) {
    wg_error err;
    ssize_t n = db_recv(r->f, r->f->guest, r->handle, r->got + have, want - have, &err);
    if (n <= 0) fail_msg("%s instead of %s, then the end", r->got, expected);
    have += (size_t)n;
  }
  assert_string_equal(r->got, expected);
}

const char *redis_line(redis_guest *r) {
  size_t have = 0;
  memset(r->got, 0, sizeof r->got);
  while (have < sizeof r->got - 1 && (have < 2 || memcmp(r->got + have - 2, "\r\n", 2) != 0)) {
    wg_error err;
    ssize_t n = db_recv(r->f, r->f->guest, r->handle, r->got + have, 1, &err);
    if (n <= 0) fail_msg("'%s', then the end", r->got);
    have++;
  }
  r->got[have - 2] = '\0';
  return r->got;
}

void redis_ask(redis_guest *r, const char *text, const char *expected) {
  redis_say(r, text);
  redis_hear(r, expected);
}

void redis_hear_end(redis_guest *r) {
  char byte;
  wg_error err;
  assert_int_equal(db_recv(r->f, r->f->guest, r->handle, &byte, 1, &err), 0);
}

long redis_id(redis_guest *r) {
  redis_say(r, "CLIENT ID\r\n");
  const char *text = redis_line(r);
  assert_int_equal(text[0], ':');
  return strtol(text + 1, NULL, 10);
}

void redis_leave(redis_guest *r) { db_close(r->f->guest, r->handle); }

void redis_quiet(db_fixture *f) { db_run_until_stats(f, 0, 1, 1); }
