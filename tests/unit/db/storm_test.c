/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that do anything at any time, while the server fails in every way it knows: by chance, from
 * seeds that are told. What must hold: each callback comes at most once and none after its cancel,
 * the statistics count what there is, and at the end nothing is left, which the fixture and the
 * sanitizers see to. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 24, STEPS = 4000, GUESTS = 3, HANDLES = 4, TEMPLATE_MAX = 256 };

static uint64_t seed;
static unsigned chance(unsigned n) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (unsigned)((seed >> 11) % n);
}

typedef struct pending {
  wg_db_req req;
  bool on;
} pending;

typedef struct place {
  uint64_t handle; /* 0: none */
  pending connect, wait[2]; /* reading, writing */
  bool connecting, greeted;
  uint8_t say[TEMPLATE_MAX];
  size_t len, said;
} place;

typedef struct actor {
  wg_db_guest *g;
  place places[HANDLES];
} actor;

static void on_connect(wg_db_req *req, const wg_error *err) {
  place *p = req->user;
  assert_true(p->connect.on);
  p->connect.on = false;
  if (!err) p->handle = req->handle;
}

static void on_wait(wg_db_req *req, const wg_error *err) {
  pending *p = req->user;
  (void)err;
  assert_true(p->on);
  p->on = false;
}

/* What a guest says next: mostly sense. */
static void choose(place *p) {
  static const char *const queries[] = {
      "PID", "PID",   "ROWS 20 1000", "ROWS 300 9000",    "BEGIN",   "FAIL", "HANG", "DIE",
      "GO",  "FATAL", "COPYIN",       "SET TimeZone UTC", "GARBAGE", ""};
  static const struct {
    const char *bytes;
    size_t len;
  } odd[] = {{"\0\0\0\10\4\322\26\57", 8},
             {"\0\0\0\10\4\322\26\60", 8},
             {"S\0\0\0\4", 5},
             {"X\0\0\0\4", 5},
             {"H\0\0\0\4", 5},
             {"c\0\0\0\4", 5},
             {"f\0\0\0\6no", 7},
             {"Q\377\377\377\377", 5},
             {"GET / HTTP/1.1\r\n\r\n", 18},
             {"P\0\0\0\20\0SELECT 1\0\0\0", 17},
             {"\0\0\0\20\4\322\26\56\0\0\0\1\0\0\0\2", 16}};
  p->said = 0;
  unsigned kind = chance(10);
  if (!p->greeted && kind < 8) {
    static const char *const params[] = {"TimeZone", "bad", "application_name"};
    p->len =
        chance(3)
            ? db_startup(p->say, "user", "u", "database", chance(12) ? "shop" : "x", NULL)
            : db_startup(p->say, "user", "u", "database", "shop", params[chance(3)], "v", NULL);
    p->greeted = true;
  } else if (p->greeted && kind < 8) {
    const char *sql = queries[chance(WG_COUNT(queries))];
    size_t n = strlen(sql) + 1;
    p->say[0] = 'Q';
    p->say[1] = p->say[2] = p->say[3] = 0;
    p->say[4] = (uint8_t)(n + 4);
    memcpy(p->say + 5, sql, n);
    p->len = n + 5;
  } else if (kind == 8) {
    unsigned i = chance(WG_COUNT(odd));
    p->len = odd[i].len;
    memcpy(p->say, odd[i].bytes, p->len);
  } else {
    p->len = 1 + chance(40);
    for (size_t i = 0; i < p->len; i++) p->say[i] = (uint8_t)chance(256);
  }
}

static void forget(place *p) { *p = (place){0}; }

static void act(db_fixture *f, actor *a) {
  place *p = &a->places[chance(HANDLES)];
  uint8_t block[8192];
  wg_error err;
  if (!p->handle) {
    const wg_database_config *d = &f->database;
    if (p->connect.on) {
      if (chance(4) == 0) {
        wg_db_cancel(a->g, &p->connect.req);
        forget(p);
      }
    } else if (chance(2)) {
      wg_db_target t = {.protocol = WG_DB_POSTGRES,
                        .host = d->host,
                        .host_len = strlen(d->host),
                        .port = d->port,
                        .database = "shop",
                        .database_len = 4,
                        .user = "u",
                        .user_len = 1};
      forget(p);
      p->connect.on = true;
      wg_db_connect(a->g, &t, &p->connect.req, on_connect, p);
    } else {
      forget(p);
      if (wg_db_open(a->g, d->host, strlen(d->host), d->port, &p->handle, &err) != WG_OK)
        p->handle = 0;
    }
    return;
  }
  switch (chance(12)) {
  case 0:
  case 1:
  case 2:
  case 3: {
    if (p->said == p->len) choose(p);
    size_t part = 1 + chance((unsigned)(p->len - p->said));
    if (chance(3) == 0) part = p->len - p->said;
    ssize_t n = wg_db_send(a->g, p->handle, p->say + p->said, part, &err);
    assert_true(n <= (ssize_t)part);
    if (n > 0) p->said += (size_t)n;
    break;
  }
  case 4:
  case 5:
  case 6:
  case 7: {
    ssize_t n = wg_db_recv(a->g, p->handle, block, 1 + chance(sizeof block), &err);
    assert_true(n <= (ssize_t)sizeof block);
    break;
  }
  case 8:
  case 9: {
    unsigned way = chance(2);
    if (p->wait[way].on) {
      if (chance(2)) break;
      wg_db_cancel(a->g, &p->wait[way].req);
      p->wait[way].on = false;
    } else {
      p->wait[way].on = true;
      wg_db_wait(a->g, p->handle, way ? WG_WATCH_WRITE : WG_WATCH_READ, chance(2) == 0,
                 &p->wait[way].req, on_wait, &p->wait[way]);
    }
    break;
  }
  case 10:
    if (chance(4) == 0)
      assert_int_not_equal(
          wg_db_shutdown(a->g, p->handle, chance(2) ? WG_WATCH_WRITE : WG_WATCH_READ, &err),
          WG_INVALID);
    break;
  default:
    if (chance(3)) break;
    assert_int_equal(wg_db_close(a->g, p->handle, &err), WG_OK);
    assert_false(p->wait[0].on || p->wait[1].on); /* they ended with it */
    forget(p);
  }
}

static void disturb(db_fixture *f) {
  mock_pg *m = &f->mock;
  switch (chance(14)) {
  case 0: mock_pg_kill(m); break;
  case 1: mock_pg_terminate(m); break;
  case 2: m->full = !m->full; break;
  case 3: m->reset_fails = !m->reset_fails; break;
  case 4: m->ping_hangs = !m->ping_hangs; break;
  case 5: m->stall_at = chance(2) ? 1 + chance(9) : 0; break;
  case 6: m->stall_half = !m->stall_half; break;
  case 7: m->reset_hangs = !m->reset_hangs; break;
  case 8: m->split = !m->split; break;
  case 9: db_advance(f, chance(50)); break;
  case 10: db_advance(f, 4001); break;
  case 11: db_advance(f, 30001); break;
  default: m->stall_at = 0; m->full = m->reset_fails = m->ping_hangs = m->reset_hangs = false;
  }
}

static void leave(actor *a) {
  wg_db_guest_free(a->g);
  memset(a, 0, sizeof *a); /* a callback that came now would find nothing on */
}

/** @return how many sessions guests got in it */
static uint64_t storm(uint64_t start) {
  db_fixture f;
  actor actors[GUESTS] = {0};
  seed = start * 0x9e3779b97f4a7c15u + 1;
  db_fixture_init(&f);
  f.mock.auth = chance(2) ? MOCK_TRUST : MOCK_MD5;
  f.database.pool.pool_size = 1 + chance(3);
  f.database.pool.max_waiters = chance(5);
  f.database.pool.reset = chance(4) ? WG_DB_RESET_DISCARD : WG_DB_RESET_CLOSE;
  db_fixture_start(&f);
  wg_log_setup(WG_LOG_ERROR, WG_LOG_LOGFMT, 2);
  for (int i = 0; i < STEPS && f.mock.accepted < 400; i++) {
    actor *a = &actors[chance(GUESTS)];
    if (!a->g) {
      assert_int_equal(wg_db_guest_new(f.one.w, &a->g, NULL), WG_OK);
    } else if (chance(120) == 0) {
      leave(a);
    } else {
      act(&f, a);
    }
    if (chance(3) == 0) db_run(&f.one);
    if (chance(25) == 0) uv_sleep(1);
    if (chance(25) == 0) disturb(&f);
    wg_db_stats s = db_stats(&f);
    assert_true(s.total <= s.limit && s.active + s.idle <= s.total);
    /* Those for whom a connection is being made are in the queue too. */
    assert_true(s.waiting <= f.database.pool.max_waiters + f.database.pool.pool_size);
  }
  uint64_t leases = db_stats(&f).leases;
  for (size_t i = 0; i < GUESTS; i++) leave(&actors[i]);
  assert_int_equal(db_stats(&f).waiting, 0);
  db_fixture_stop(&f);
  return leases;
}

static void test_storms(void **state) {
  (void)state;
  const char *only = getenv("WARPGRID_STORM_SEED");
  uint64_t leases = 0;
  for (uint64_t i = 1; i <= ROUNDS; i++) {
    uint64_t n = only ? strtoull(only, NULL, 10) : i;
    print_message("seed %llu\n", (unsigned long long)n);
    leases += storm(n);
    if (only) return;
  }
  assert_true(leases > 5 * ROUNDS); /* there was something to disturb */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_storms)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
