/* SPDX-License-Identifier: Apache-2.0 */
/* US-112, US-113 with a real PostgreSQL: every kind of conversation that a driver can have, each
 * followed by a clean return to the pool; the start-up's parameters; cancel requests. */
#include "db/db_fixture.h"
#include "db/real_postgres.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool running;

static void start(db_fixture *f, uint32_t pool_size) {
  if (!running) skip();
  db_fixture_init(f);
  f->real = true;
  f->database.port = real_postgres_port();
  f->database.pool.pool_size = pool_size;
  f->database.pool.recv_timeout_ms = 30000;
  db_fixture_start(f);
}

/* ---- messages ---- */

static void put(wg_buf *b, char type, const void *body, size_t n) {
  wg_buf_put_u8(b, (uint8_t)type);
  wg_buf_put_u32(b, (uint32_t)n + 4);
  wg_buf_put(b, body, n);
}
static void put_parse(wg_buf *b, const char *name, const char *sql) {
  wg_buf_put_u8(b, 'P');
  wg_buf_put_u32(b, (uint32_t)(4 + strlen(name) + 1 + strlen(sql) + 1 + 2));
  wg_buf_put_cstr(b, name);
  wg_buf_put_cstr(b, sql);
  wg_buf_put_u16(b, 0);
}
/** One text parameter, or none when `value` is NULL. */
static void put_bind(wg_buf *b, const char *name, const char *value, size_t n) {
  wg_buf_put_u8(b, 'B');
  wg_buf_put_u32(b, (uint32_t)(4 + 1 + strlen(name) + 1 + 2 + 2 + (value ? 4 + n : 0) + 2));
  wg_buf_put_cstr(b, "");
  wg_buf_put_cstr(b, name);
  wg_buf_put_u16(b, 0);
  wg_buf_put_u16(b, value ? 1 : 0);
  if (value) {
    wg_buf_put_u32(b, (uint32_t)n);
    wg_buf_put(b, value, n);
  }
  wg_buf_put_u16(b, 0);
}
static void put_execute(wg_buf *b, uint8_t rows) {
  const uint8_t body[5] = {0, 0, 0, 0, rows};
  put(b, 'E', body, 5);
}
static void put_run(wg_buf *b, const char *sql) {
  put_parse(b, "", sql);
  put_bind(b, "", NULL, 0);
  put_execute(b, 0);
}
static void put_sync(wg_buf *b) { put(b, 'S', "", 0); }

static void say(db_fixture *f, uint64_t h, wg_buf *b) {
  assert_false(b->failed);
  db_send(f, f->guest, h, wg_buf_head(b), wg_buf_len(b));
  wg_buf_release(b);
}
static wg_buf fresh(void) {
  wg_buf b;
  wg_buf_init(&b, 32u << 20);
  return b;
}

/** What was heard: the types of messages in order, the last SQLSTATE, the last column, the bytes
 *  of CopyData. */
typedef struct heard {
  char types[512];
  char sqlstate[6];
  char value[128];
  size_t value_len, copied;
  uint8_t status;
} heard;

static uint8_t *exactly(db_fixture *f, uint64_t h, size_t n) {
  uint8_t *p = malloc(n + 1);
  for (size_t at = 0; at < n;) {
    wg_error err;
    ssize_t got = db_recv(f, f->guest, h, p + at, n - at, &err);
    if (got <= 0) fail_msg("recv: %zd %s", got, got < 0 ? err.msg : "the end");
    at += (size_t)got;
  }
  p[n] = '\0';
  return p;
}

/** Reads messages until the `count`th one of type `last`. */
static heard hear(db_fixture *f, uint64_t h, char last, unsigned count) {
  heard x = {0};
  for (size_t i = 0; count > 0;) {
    uint8_t *head = exactly(f, h, 5);
    wg_reader r = wg_reader_of(head + 1, 4);
    size_t n = wg_take_u32(&r) - 4;
    char type = (char)head[0];
    free(head);
    uint8_t *body = exactly(f, h, n);
    /* rows beyond the third in a row are not listed */
    if (i + 1 < sizeof x.types &&
        !(i >= 3 && (type == 'D' || type == 'd') && x.types[i - 1] == type &&
          x.types[i - 2] == type && x.types[i - 3] == type))
      x.types[i++] = type;
    if (type == 'Z') x.status = body[0];
    if (type == 'd') x.copied += n;
    if (type == 'E')
      for (const char *p = (char *)body; *p; p += strlen(p) + 1)
        if (*p == 'C') snprintf(x.sqlstate, sizeof x.sqlstate, "%s", p + 1);
    if (type == 'D' && body[1] == 1) {
      wg_reader v = wg_reader_of(body + 2, 4);
      uint32_t len = wg_take_u32(&v);
      x.value_len = len == UINT32_MAX ? 0 : len;
      snprintf(x.value, sizeof x.value, "%.*s", (int)(x.value_len < 100 ? x.value_len : 100),
               (char *)body + 6);
    }
    free(body);
    if (type == last) count--;
  }
  return x;
}

static void expect(const heard *x, const char *types, const char *sqlstate) {
  if (strcmp(x->types, types) != 0 || strcmp(x->sqlstate, sqlstate) != 0)
    fail_msg("'%s' %s, expected '%s' %s", x->types, x->sqlstate, types, sqlstate);
}
static void ask(db_fixture *f, uint64_t h, const char *sql, const char *types,
                const char *sqlstate) {
  db_query(f, f->guest, h, sql);
  heard x = hear(f, h, 'Z', 1);
  expect(&x, types, sqlstate);
}
static void is(db_fixture *f, uint64_t h, const char *sql, const char *expected) {
  char out[256];
  db_ask(f, f->guest, h, sql, out, sizeof out);
  if (strcmp(out, expected) != 0) fail_msg("%s: '%s', expected '%s'", sql, out, expected);
}

/* ---- conversations ---- */

static void simple(db_fixture *f, uint64_t h) {
  ask(f, h, "SELECT 1; SELECT 2", "TDCTDCZ", "");
  ask(f, h, "", "IZ", "");
  ask(f, h, "SELECT 1; SELECT 1/0; SELECT 2", "TDCEZ", "22012");
  ask(f, h, "nonsense", "EZ", "42601");
  ask(f, h, "BEGIN; SELECT 1", "CTDCZ", "");
  ask(f, h, "SELECT 1/0", "EZ", "22012");
  ask(f, h, "SELECT 1", "EZ", "25P02");
}

static void extended(db_fixture *f, uint64_t h) {
  wg_buf b = fresh();
  put_parse(&b, "named", "SELECT $1::text || '!'");
  put(&b, 'D', "Snamed", 7);
  put_bind(&b, "named", "x", 1);
  put(&b, 'D', "P", 2);
  put_execute(&b, 0);
  put_sync(&b);
  say(f, h, &b);
  heard x = hear(f, h, 'Z', 1);
  expect(&x, "1tT2TDCZ", "");
  assert_string_equal(x.value, "x!");
  put_bind(&b, "named", "y", 1); /* a portal in parts, then closed */
  put_execute(&b, 0);
  put(&b, 'C', "Snamed", 7);
  put_sync(&b);
  say(f, h, &b);
  x = hear(f, h, 'Z', 1);
  expect(&x, "2DC3Z", "");
  put_parse(&b, "", "SELECT generate_series(1, 5)");
  put_bind(&b, "", NULL, 0);
  put_execute(&b, 2);
  put_execute(&b, 2);
  put_execute(&b, 2);
  put_sync(&b);
  say(f, h, &b);
  x = hear(f, h, 'Z', 1);
  expect(&x, "12DDsDDsDCZ", "");
  put_bind(&b, "named", "y", 1); /* what was closed is gone; the rest is skipped up to Sync */
  put_execute(&b, 0);
  put_sync(&b);
  say(f, h, &b);
  x = hear(f, h, 'Z', 1);
  expect(&x, "EZ", "26000");
}

static void pipeline(db_fixture *f, uint64_t h) {
  wg_buf b = fresh();
  put_run(&b, "SELECT 'a'");
  put_sync(&b);
  put_run(&b, "SELECT 1/0");
  put_run(&b, "SELECT 'skipped'");
  put_sync(&b);
  put_run(&b, "SELECT 'b'");
  put_run(&b, "SELECT 'c'");
  put_sync(&b);
  put_sync(&b);
  say(f, h, &b);
  heard x = hear(f, h, 'Z', 4);
  expect(&x, "12DCZ1EZ12DC12DCZZ", "22012");
  assert_string_equal(x.value, "c");
  for (int i = 0; i < 100; i++) { /* more than the walk remembers kinds of */
    put_run(&b, "SELECT 1");
    put_sync(&b);
  }
  say(f, h, &b);
  x = hear(f, h, 'Z', 100);
  assert_int_equal(x.status, 'I');
}

static void copy_out(db_fixture *f, uint64_t h) {
  db_query(f, f->guest, h,
           "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 3000)) TO STDOUT");
  heard x = hear(f, h, 'Z', 1);
  expect(&x, "HdddcCZ", "");
  assert_int_equal(x.copied, 3000 * 1001);
}

static void copy_in(db_fixture *f, uint64_t h) {
  ask(f, h, "CREATE TEMP TABLE c (x text)", "CZ", "");
  db_query(f, f->guest, h, "COPY c FROM STDIN");
  heard x = hear(f, h, 'G', 1);
  wg_buf b = fresh();
  char row[1001];
  memset(row, 'y', 1000);
  row[1000] = '\n';
  for (int i = 0; i < 2000; i++) put(&b, 'd', row, sizeof row);
  put(&b, 'c', "", 0);
  say(f, h, &b);
  x = hear(f, h, 'Z', 1);
  expect(&x, "CZ", "");
  is(f, h, "SELECT sum(length(x)) FROM c", "2000000");
}

static void copy_fail(db_fixture *f, uint64_t h) {
  ask(f, h, "CREATE TEMP TABLE c (x int)", "CZ", "");
  db_query(f, f->guest, h, "COPY c FROM STDIN");
  heard x = hear(f, h, 'G', 1);
  wg_buf b = fresh();
  put(&b, 'd', "1\n", 2);
  put(&b, 'f', "no more", 8);
  say(f, h, &b);
  x = hear(f, h, 'Z', 1);
  expect(&x, "EZ", "57014");
  db_query(f, f->guest, h, "COPY c FROM STDIN"); /* the server's own mind */
  x = hear(f, h, 'G', 1);
  put(&b, 'd', "word\n", 5);
  put(&b, 'c', "", 0);
  say(f, h, &b);
  x = hear(f, h, 'Z', 1);
  expect(&x, "EZ", "22P02");
  is(f, h, "SELECT count(*) FROM c", "0");
}

static void copy_in_extended(db_fixture *f, uint64_t h) {
  ask(f, h, "CREATE TEMP TABLE c (x int)", "CZ", "");
  for (int early = 0; early < 2; early++) { /* the Sync before CopyInResponse is ignored there */
    wg_buf b = fresh();
    put_run(&b, "COPY c FROM STDIN");
    if (early)
      put_sync(&b);
    else
      put(&b, 'H', "", 0);
    say(f, h, &b);
    heard x = hear(f, h, 'G', 1);
    expect(&x, "12G", "");
    put(&b, 'd', "7\n8\n", 4);
    put(&b, 'c', "", 0);
    put_sync(&b);
    say(f, h, &b);
    x = hear(f, h, 'Z', 1);
    expect(&x, "CZ", "");
  }
  is(f, h, "SELECT sum(x) FROM c", "30");
}

static void notices(db_fixture *f, uint64_t h) {
  ask(f, h, "DO $$ BEGIN RAISE NOTICE 'a'; RAISE WARNING 'b'; END $$", "NNCZ", "");
  ask(f, h, "SELECT 1; DO $$ BEGIN RAISE NOTICE 'a'; END $$; SELECT 2", "TDCNCTDCZ", "");
  wg_buf b = fresh();
  put_run(&b, "DO $$ BEGIN RAISE NOTICE 'c'; END $$");
  put_sync(&b);
  say(f, h, &b);
  heard x = hear(f, h, 'Z', 1);
  expect(&x, "12NCZ", "");
}

static void large_objects(db_fixture *f, uint64_t h) {
  char oid[16], sql[128];
  ask(f, h, "BEGIN", "CZ", "");
  db_query(f, f->guest, h, "SELECT lo_from_bytea(0, convert_to(repeat('z', 500000), 'UTF8'))");
  heard x = hear(f, h, 'Z', 1);
  snprintf(oid, sizeof oid, "%.15s", x.value);
  snprintf(sql, sizeof sql, "SELECT length(lo_get(%s))", oid);
  db_query(f, f->guest, h, sql);
  x = hear(f, h, 'Z', 1);
  assert_string_equal(x.value, "500000");
  snprintf(sql, sizeof sql, "SELECT lo_open(%s, 393216)", oid); /* a descriptor left open */
  ask(f, h, sql, "TDCZ", "");
}

static void function_call(db_fixture *f, uint64_t h) {
  uint8_t call[] = {0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 4, 0, 0, 0, 49, 0, 1};
  char oid[16];
  db_ask(f, f->guest, h, "SELECT 'chr(int4)'::regprocedure::oid", oid, sizeof oid);
  uint32_t n = (uint32_t)strtoul(oid, NULL, 10);
  for (int i = 0; i < 4; i++) call[i] = (uint8_t)(n >> (24 - 8 * i));
  wg_buf b = fresh();
  put(&b, 'F', call, sizeof call);
  say(f, h, &b);
  heard x = hear(f, h, 'Z', 1);
  expect(&x, "VZ", "");
  memset(call, 0xFF, 4);
  put(&b, 'F', call, sizeof call);
  say(f, h, &b);
  x = hear(f, h, 'Z', 1);
  expect(&x, "EZ", "42883");
}

static void big_parameters(db_fixture *f, uint64_t h) {
  size_t n = 5u << 20;
  char *big = malloc(n);
  memset(big, 'q', n);
  wg_buf b = fresh();
  put_parse(&b, "", "SELECT $1::text");
  put_bind(&b, "", big, n);
  put_execute(&b, 0);
  put_sync(&b);
  say(f, h, &b);
  heard x = hear(f, h, 'Z', 1);
  expect(&x, "12DCZ", "");
  assert_int_equal(x.value_len, n);
  free(big);
}

static void parameter_status(db_fixture *f, uint64_t h) {
  ask(f, h, "SET TimeZone = 'Asia/Tokyo'", "CSZ", "");
  ask(f, h, "SET application_name = 'me'; SET DateStyle = 'German'", "CCSSZ", "");
  ask(f, h, "SET client_encoding = 'LATIN1'", "CSZ", "");
}

static void flush_only(db_fixture *f, uint64_t h) {
  wg_buf b = fresh();
  put_run(&b, "SELECT 1");
  put(&b, 'H', "", 0);
  say(f, h, &b);
  heard x = hear(f, h, 'C', 1);
  expect(&x, "12DC", "");
  put_run(&b, "SELECT 2");
  put(&b, 'H', "", 0);
  say(f, h, &b);
  x = hear(f, h, 'C', 1);
  expect(&x, "12DC", "");
  put_sync(&b);
  say(f, h, &b);
  x = hear(f, h, 'Z', 1);
  expect(&x, "Z", "");
}

static void each_byte(db_fixture *f, uint64_t h) {
  wg_buf b = fresh();
  put_run(&b, "SELECT 'slow'");
  put_sync(&b);
  for (size_t i = 0; i < wg_buf_len(&b); i++) db_send(f, f->guest, h, wg_buf_head(&b) + i, 1);
  wg_buf_release(&b);
  heard x = hear(f, h, 'Z', 1);
  expect(&x, "12DCZ", "");
}

static void test_us112_conversations(void **state) {
  (void)state;
  void (*const talks[])(db_fixture *f, uint64_t h) = {
      simple,         extended,         pipeline,   copy_out,      copy_in,
      copy_fail,      copy_in_extended, notices,    large_objects, function_call,
      big_parameters, parameter_status, flush_only, each_byte};
  db_fixture f;
  char pid[32];
  start(&f, 1);
  uint64_t h = db_open(&f, f.guest);
  db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", pid, sizeof pid);
  for (size_t i = 0; i < WG_COUNT(talks); i++) {
    talks[i](&f, h);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 1, 1);
    h = db_open(&f, f.guest);
    is(&f, h, "SELECT pg_backend_pid()", pid); /* clean enough to be used again */
    is(&f, h, "SELECT count(*) FROM pg_prepared_statements", "0");
    is(&f, h, "SELECT count(*) FROM pg_class WHERE relpersistence = 't'", "0");
    is(&f, h, "SELECT pg_current_xact_id_if_assigned() IS NULL", "t");
    is(&f, h, "SHOW TimeZone", "Etc/UTC");
    is(&f, h, "SHOW client_encoding", "UTF8");
    is(&f, h, "SHOW application_name", "warpgrid");
  }
  db_fixture_stop(&f);
}

/* What cannot be cleaned is not used again: the next guest has another backend. */
static void test_half_conversations(void **state) {
  (void)state;
  for (int how = 0; how < 5; how++) {
    db_fixture f;
    char pid[32], next[32];
    start(&f, 1);
    uint64_t h = db_open(&f, f.guest);
    db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", pid, sizeof pid);
    wg_buf b = fresh();
    switch (how) {
    case 0: put(&b, 'Q', "SELECT pg_sleep(1)", 19); break; /* the answer is not awaited */
    case 1: /* nor that of the second of two */
      put(&b, 'Q', "SELECT 1", 9);
      put(&b, 'Q', "SELECT pg_sleep(1)", 19);
      break;
    case 2: put_run(&b, "SELECT 1"); break; /* no Sync */
    case 3: wg_buf_put(&b, "Q\0\0", 3); break; /* half a header */
    case 4: put(&b, 'Q', "COPY shop_items FROM STDIN", 27); break;
    }
    say(&f, h, &b);
    if (how == 4) hear(&f, h, 'G', 1);
    db_close(f.guest, h);
    db_run_until_stats(&f, 0, 0, 0);
    h = db_open(&f, f.guest);
    db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", next, sizeof next);
    assert_string_not_equal(pid, next);
    db_fixture_stop(&f);
  }
}

/* A notification comes while nobody asked anything; the next guest gets none. */
static void test_listen_and_notify(void **state) {
  (void)state;
  db_fixture f;
  start(&f, 2);
  uint64_t a = db_open(&f, f.guest), b = db_open(&f, f.guest);
  ask(&f, a, "LISTEN news", "CZ", "");
  for (int i = 0; i < 3; i++) {
    ask(&f, b, "NOTIFY news, 'today'", "CZ", "");
    heard x = hear(&f, a, 'A', 1);
    expect(&x, "A", "");
  }
  db_close(f.guest, a);
  db_run_until_stats(&f, 1, 1, 2);
  a = db_open(&f, f.guest);
  is(&f, a, "SELECT count(*) FROM pg_listening_channels()", "0");
  ask(&f, b, "NOTIFY news, 'later'", "CZ", "");
  is(&f, a, "SELECT 1", "1");
  uint8_t byte;
  assert_int_equal(wg_db_recv(f.guest, a, &byte, 1, NULL), WG_AGAIN);
  db_fixture_stop(&f);
}

/* ---- the start-up ---- */

static uint64_t open_bare(db_fixture *f, wg_db_guest *g) {
  uint64_t h = 0;
  assert_int_equal(
      wg_db_open(g, f->database.host, strlen(f->database.host), f->database.port, &h, NULL), WG_OK);
  return h;
}

static void test_start_up_parameters(void **state) {
  (void)state;
  static const struct {
    const char *name, *value, *show, *expected;
  } p[] = {{"client_encoding", "LATIN1", "client_encoding", "LATIN1"},
           {"TimeZone", "Asia/Tokyo", "TimeZone", "Asia/Tokyo"},
           {"timezone", "Europe/Oslo", "TimeZone", "Europe/Oslo"},
           {"search_path", "pg_catalog, \"it's\"", "search_path", "pg_catalog, \"it's\""},
           {"options", "-c geqo=off -c statement_timeout=5s", "geqo", "off"},
           {"options", "--work-mem=2MB", "work_mem", "2MB"},
           {"options", "-c application_name=a\\ b", "application_name", "a b"},
           {"DateStyle", "German, YMD", "DateStyle", "German, DMY"},
           {"application_name", "mine'; DROP TABLE shop_items; --", "application_name",
            "mine'; DROP TABLE shop_items; --"},
           {"extra_float_digits", "-3", "extra_float_digits", "-3"},
           {"app.own", "w\xc3\xb6rd", "app.own", "w\xc3\xb6rd"},
           {"_pq_.x", "1", "geqo", "on"}};
  db_fixture f;
  uint8_t bytes[512];
  char pid[32], sql[64];
  start(&f, 1);
  for (int bare = 0; bare < 2; bare++)
    for (size_t i = 0; i < WG_COUNT(p); i++) {
      uint64_t h = bare ? open_bare(&f, f.guest) : db_connect(&f, f.guest, NULL);
      db_send(&f, f.guest, h, bytes,
              db_startup(bytes, "user", "me", "database", "shop", p[i].name, p[i].value, NULL));
      heard x = hear(&f, h, 'Z', 1);
      assert_int_equal(x.types[0] == 'v', p[i].name[0] == '_');
      snprintf(sql, sizeof sql, "SHOW %s", p[i].show);
      if (strcmp(p[i].name, "DateStyle") == 0) {
        char out[64];
        db_ask(&f, f.guest, h, sql, out, sizeof out);
        assert_non_null(strstr(out, "German"));
      } else {
        is(&f, h, sql, p[i].expected);
      }
      db_close(f.guest, h);
      db_run_until_stats(&f, 0, 1, 1);
      h = db_open(&f, f.guest); /* nothing of it is left */
      is(&f, h, "SHOW client_encoding", "UTF8");
      is(&f, h, "SHOW TimeZone", "Etc/UTC");
      is(&f, h, "SHOW search_path", "\"$user\", public");
      is(&f, h, "SHOW geqo", "on");
      is(&f, h, "SHOW application_name", "warpgrid");
      if (i == 0 && !bare) db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", pid, sizeof pid);
      is(&f, h, "SELECT pg_backend_pid()", pid);
      is(&f, h, "SELECT count(*) FROM shop_items", "0");
      db_close(f.guest, h);
      db_run_until_stats(&f, 0, 1, 1);
    }
  db_fixture_stop(&f);
}

static void test_start_ups_refused(void **state) {
  (void)state;
  static const struct {
    const char *name, *value, *sqlstate;
  } p[] = {{"TimeZone", "Nowhere/Never", "22023"},
           {"client_encoding", "KLINGON", "22023"},
           {"no_such_thing", "1", "42704"},
           {"extra_float_digits", "99", "22023"},
           {"replication", "true", "0A000"},
           {"replication", "database", "0A000"},
           {"session_preload_libraries", "evil", "42501"}};
  db_fixture f;
  uint8_t bytes[512], byte;
  start(&f, 1);
  for (int bare = 0; bare < 2; bare++) {
    for (size_t i = 0; i < WG_COUNT(p); i++) {
      uint64_t h = bare ? open_bare(&f, f.guest) : db_connect(&f, f.guest, NULL);
      db_send(&f, f.guest, h, bytes,
              db_startup(bytes, "user", "me", "database", "shop", p[i].name, p[i].value, NULL));
      heard x = hear(&f, h, 'E', 1);
      expect(&x, "E", p[i].sqlstate);
      assert_int_equal(db_recv(&f, f.guest, h, &byte, 1, NULL), 0);
      db_close(f.guest, h);
      db_run_until_stats(&f, 0, 1, 1);
    }
    uint64_t h = bare ? open_bare(&f, f.guest) : db_connect(&f, f.guest, NULL);
    db_send(&f, f.guest, h, bytes, db_startup(bytes, "user", "me", "database", "mine", NULL));
    heard x = hear(&f, h, 'E', 1);
    expect(&x, "E", "3D000");
    assert_int_equal(db_recv(&f, f.guest, h, &byte, 1, NULL), 0);
    db_close(f.guest, h);
  }
  uint64_t h = db_open(&f, f.guest);
  is(&f, h, "SHOW TimeZone", "Etc/UTC");
  db_fixture_stop(&f);
}

/* ---- cancel ---- */

static uint64_t keyed(db_fixture *f, wg_db_guest *g, uint8_t request[16]) {
  uint8_t bytes[256], *all;
  size_t len;
  uint64_t h = open_bare(f, g);
  db_send(f, g, h, bytes, db_startup(bytes, "user", "me", "database", "shop", NULL));
  assert_int_equal(db_read_until(f, g, h, 'Z', &all, &len), 'I');
  memcpy(request, "\0\0\0\020\004\322\026\056", 8);
  memcpy(request + 8, all + len - 14, 8);
  free(all);
  return h;
}

static void cancel(db_fixture *f, wg_db_guest *g, const uint8_t request[16]) {
  uint8_t byte;
  uint64_t h = open_bare(f, g);
  db_send(f, g, h, request, 16);
  assert_int_equal(db_recv(f, g, h, &byte, 1, NULL), 0);
  db_close(g, h);
}

static void test_us112_cancel(void **state) {
  (void)state;
  db_fixture f;
  uint8_t request[16], old[16];
  char pid[32];
  start(&f, 1);
  uint64_t h = keyed(&f, f.guest, request);
  db_ask(&f, f.guest, h, "SELECT pg_backend_pid()", pid, sizeof pid);
  for (int i = 0; i < 3; i++) {
    db_query(&f, f.guest, h, "SELECT pg_sleep(20)");
    uv_sleep(50); /* until it runs: a cancel before that is for nothing */
    cancel(&f, f.guest, request);
    heard x = hear(&f, h, 'Z', 1);
    expect(&x, "TEZ", "57014");
    is(&f, h, "SELECT pg_backend_pid()", pid);
  }
  cancel(&f, f.guest, request); /* while it is idle: nothing */
  is(&f, h, "SELECT 1", "1");
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  memcpy(old, request, 16);
  h = keyed(&f, f.guest, request);
  db_query(&f, f.guest, h, "SELECT pg_backend_pid()::text FROM pg_sleep(0.3)");
  uv_sleep(50);
  cancel(&f, f.guest, old); /* void: the next guest of the same backend is not hit */
  old[15] ^= 1;
  cancel(&f, f.guest, old);
  request[15] ^= 1;
  cancel(&f, f.guest, request);
  heard x = hear(&f, h, 'Z', 1);
  expect(&x, "TDCZ", "");
  assert_string_equal(x.value, pid);
  db_fixture_stop(&f);
}

/* A cancel races with the close, many times: the next guest never sees 57014, nor does the reset. */
static void test_cancel_and_close(void **state) {
  (void)state;
  db_fixture f;
  uint8_t request[16], byte;
  start(&f, 1);
  for (int i = 0; i < 100; i++) {
    uint64_t h = keyed(&f, f.guest, request), c = open_bare(&f, f.guest);
    is(&f, h, "SELECT count(*) FROM generate_series(1, 1000)", "1000");
    db_send(&f, f.guest, c, request, 16);
    db_close(f.guest, h);
    if (i % 2) db_close(f.guest, c);
    h = keyed(&f, f.guest, request);
    is(&f, h, "SELECT count(*) FROM generate_series(1, 20000)", "20000");
    db_close(f.guest, h);
    if (i % 2 == 0) {
      assert_int_equal(db_recv(&f, f.guest, c, &byte, 1, NULL), 0);
      db_close(f.guest, c);
    }
  }
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(db_stats(&f).connects, 1);
  assert_int_equal(db_stats(&f).unhealthy, 0);
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us112_conversations), cmocka_unit_test(test_half_conversations),
      cmocka_unit_test(test_listen_and_notify),   cmocka_unit_test(test_start_up_parameters),
      cmocka_unit_test(test_start_ups_refused),   cmocka_unit_test(test_us112_cancel),
      cmocka_unit_test(test_cancel_and_close),
  };
  running = real_postgres_start(&(real_postgres_spec){
      .seed = "CREATE TABLE shop_items (id int);\nGRANT ALL ON shop_items TO app;\n"});
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  real_postgres_stop();
  return failed;
}
