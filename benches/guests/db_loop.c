/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's side of the database benches; its native peer is ../native/pg_loop.c.
 *
 *   loop C N      N prepared `SELECT 1` over C connections, one in flight on each
 *   connect N     N times: connect, one `SELECT 1`, close
 *   bulk BYTES N  N results of BYTES each, in rows of 64 KiB; prints mib_s= for the times
 *
 * DB_HOST, DB_PORT and DB_NAME say which database. One connection goes through the SDK's client, as
 * the peer goes through libpq; several at once go below it, by the means of the WASI generation.
 * A tenth of N runs first, unmeasured. Prints one line, as the peer does. */
#include "db_loop.h"
#include "../../sdk/c/src/db.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <warpgrid/sdk/clock.h>
#include <warpgrid/sdk/pg.h>

_Noreturn void fail(const char *what, const char *why) {
  fprintf(stderr, "db-loop: %s: %s\n", what, why);
  exit(1);
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

void timing_begin(timing *t) {
  t->count = 0;
  t->wall = wg_now_ns();
}

void timing_add(timing *t, uint64_t ns) {
  if (t->count < t->cap) t->samples[t->count++] = ns;
}

static void timing_print(timing *t) {
  uint64_t wall = wg_now_ns() - t->wall;
  if (t->count == 0) fail("timing", "nothing was measured");
  qsort(t->samples, t->count, sizeof *t->samples, by_value);
  printf("n=%zu wall_us=%.0f per_op_us=%.3f p50_us=%.3f p99_us=%.3f\n", t->count,
         (double)wall / 1e3, (double)wall / 1e3 / (double)t->count,
         (double)t->samples[t->count / 2] / 1e3, (double)t->samples[t->count * 99 / 100] / 1e3);
}

static wg_pg_config config(void) {
  const char *host = getenv("DB_HOST"), *port = getenv("DB_PORT"), *name = getenv("DB_NAME");
  if (host == NULL || name == NULL) fail("environment", "DB_HOST and DB_NAME must be set");
  return (wg_pg_config){.host = host,
                        .port = port == NULL ? 5432 : (uint16_t)atoi(port),
                        .database = name,
                        .user = "bench"};
}

static wg_pg *connect_or_fail(void) {
  wg_pg_error err;
  wg_pg_config c = config();
  wg_pg *db = wg_pg_connect(&c, &err);
  if (db == NULL) fail("connect", err.message);
  return db;
}

static void check(const wg_pg_result *r, const wg_pg_error *err) {
  int64_t one = 0;
  if (r == NULL) fail("query", err->message);
  if (!wg_pg_int64(r, 0, 0, &one) || one != 1) fail("query", "the answer is not 1");
}

static void loop_one(size_t warmup, size_t n, timing *t) {
  wg_pg_error err;
  wg_pg *db = connect_or_fail();
  if (!wg_pg_prepare(db, "one", "SELECT 1", &err)) fail("prepare", err.message);
  for (size_t i = 0; i < warmup + n; i++) {
    if (i == warmup) timing_begin(t);
    uint64_t began = wg_now_ns();
    wg_pg_result *r = wg_pg_query_prepared(db, "one", NULL, 0, &err);
    check(r, &err);
    wg_pg_free(r);
    timing_add(t, wg_now_ns() - began);
  }
  timing_print(t);
  wg_pg_close(db);
}

static void connect_loop(size_t warmup, size_t n, timing *t) {
  for (size_t i = 0; i < warmup + n; i++) {
    if (i == warmup) timing_begin(t);
    wg_pg_error err;
    uint64_t began = wg_now_ns();
    wg_pg *db = connect_or_fail();
    wg_pg_result *r = wg_pg_query(db, "SELECT 1", NULL, 0, &err);
    check(r, &err);
    wg_pg_free(r);
    wg_pg_close(db);
    timing_add(t, wg_now_ns() - began);
  }
  timing_print(t);
}

/* -- Several connections -- */

static const uint8_t query[] = {'B', 0, 0, 0, 15, 0,   'o', 'n', 'e', 0,
                                0,   0, 0, 0, 0,  0, /* Bind */
                                'D', 0, 0, 0, 6,  'P', 0,                     /* Describe */
                                'E', 0, 0, 0, 9,  0,   0,   0,   0,   0, /* Execute */
                                'S', 0, 0, 0, 4}; /* Sync */
const uint8_t *query_bytes = query;
size_t query_len = sizeof query;

int lane_take(lane *l, const uint8_t *p, size_t len) {
  while (len > 0) {
    if (l->skip > 0) {
      size_t n = len < l->skip ? len : l->skip;
      l->skip -= n;
      p += n;
      len -= n;
    } else {
      l->frame[l->frame_len++] = *p++;
      len--;
      if (l->frame_len < sizeof l->frame) continue;
      l->skip = ((size_t)l->frame[1] << 24 | (size_t)l->frame[2] << 16 | (size_t)l->frame[3] << 8 |
                 l->frame[4]) -
                4;
      l->frame_len = 0;
    }
    if (l->skip > 0 || l->frame_len > 0) continue;
    if (l->frame[0] == 'E') fail("query", "the server answered with an error");
    if (l->frame[0] == 'Z') return 1;
  }
  return 0;
}

static void lane_send(lane *l, const void *p, size_t len) {
  wg_db_error err;
  if (!wg_db_send_all(l->handle, p, len, &err)) fail("send", err.message);
}

static void lane_wait(lane *l) {
  wg_db_error err;
  wg_db_bytes got;
  int done;
  do {
    if (!wg_db_recv(l->handle, 65536, &got, &err)) fail("recv", err.message);
    if (got.len == 0) fail("recv", "closed");
    done = lane_take(l, got.ptr, got.len);
    free(got.ptr);
  } while (!done);
}

static void lane_open(lane *l) {
  static const char parse[] = "P\0\0\0\x13one\0SELECT 1\0\0\0S\0\0\0\x04";
  wg_pg_config c = config();
  wg_db_error err;
  if (!wg_db_connect(WG_DB_KIND_POSTGRES, &c, &l->handle, &err)) fail("connect", err.message);
  char start[512];
  int n =
      snprintf(start + 8, sizeof start - 9, "user%cbench%cdatabase%c%s%c", 0, 0, 0, c.database, 0);
  if (n < 0 || n >= (int)sizeof start - 9) fail("connect", "the name is too long");
  uint32_t len = (uint32_t)n + 9;
  memcpy(start,
         (uint8_t[]){(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,
                     0, 3, 0, 0},
         8);
  start[8 + n] = 0;
  lane_send(l, start, len);
  lane_wait(l);
  lane_send(l, parse, sizeof parse - 1);
  lane_wait(l);
}

static void loop_many(size_t lanes, size_t warmup, size_t n, timing *t) {
  lane *all = calloc(lanes, sizeof *all);
  if (all == NULL) fail("memory", "none left");
  for (size_t i = 0; i < lanes; i++) lane_open(&all[i]);
  loop_lanes(all, lanes, warmup, n, t);
  timing_print(t);
  for (size_t i = 0; i < lanes; i++) {
    wg_db_error err;
    wg_db_close(all[i].handle, &err);
  }
  free(all);
}

static void bulk(size_t bytes, size_t warmup, size_t n, timing *t) {
  lane l = {0};
  char sql[128];
  int len = snprintf(sql + 5, sizeof sql - 5,
                     "SELECT repeat('x', 65536) FROM generate_series(1, %zu)", bytes / 65536);
  memcpy(sql, (char[]){'Q', 0, 0, 0, (char)(len + 5)}, 5);
  lane_open(&l);
  for (size_t i = 0; i < warmup + n; i++) {
    if (i == warmup) timing_begin(t);
    lane_send(&l, sql, (size_t)len + 6);
    lane_wait(&l);
  }
  double s = (double)(wg_now_ns() - t->wall) / 1e9;
  printf("n=%zu wall_us=%.0f mib_s=%.1f\n", n, s * 1e6, (double)n * (double)bytes / s / 1048576);
  wg_db_error err;
  wg_db_close(l.handle, &err);
}

static int run(int argc, char **argv) {
  long lanes = 1, n = 0, bytes = 0;
  if (argc == 4 && strcmp(argv[1], "loop") == 0) {
    lanes = atol(argv[2]);
    n = atol(argv[3]);
  } else if (argc == 3 && strcmp(argv[1], "connect") == 0) {
    n = atol(argv[2]);
    lanes = 0;
  }
  if (argc == 4 && strcmp(argv[1], "bulk") == 0) {
    bytes = atol(argv[2]);
    n = atol(argv[3]);
  }
  if (n < 1 || lanes < 0 || lanes > 1000 || bytes < 0)
    fail("usage", "loop C N | connect N | bulk BYTES N");
  timing t = {.samples = malloc((size_t)n * sizeof(uint64_t)), .cap = (size_t)n};
  if (t.samples == NULL) fail("memory", "none left");
  size_t warmup = (size_t)n / 10;
  if (bytes > 0)
    bulk((size_t)bytes, warmup, (size_t)n, &t);
  else if (lanes == 0)
    connect_loop(warmup, (size_t)n, &t);
  else if (lanes == 1)
    loop_one(warmup, (size_t)n, &t);
  else
    loop_many((size_t)lanes, warmup, (size_t)n, &t);
  free(t.samples);
  return 0;
}

#ifdef WG_STACKFUL
#include "../../sdk/c/src/command.h"
#include <world.h>

int wg_main(void) {
  wasi3_list_string_t given;
  wasi_cli_environment_get_arguments(&given);
  char **argv = calloc(given.len + 1, sizeof *argv);
  for (size_t i = 0; argv != NULL && i < given.len; i++)
    argv[i] = strndup((char *)given.ptr[i].ptr, given.ptr[i].len);
  return argv == NULL ? 1 : run((int)given.len, argv);
}
#else
int main(int argc, char **argv) { return run(argc, argv); }
#endif
