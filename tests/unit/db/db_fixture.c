/* SPDX-License-Identifier: Apache-2.0 */
#include "db/db_fixture.h"
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PATIENCE_MS = 30000 /* what comes on a busy machine, comes late */ };

static uint64_t skewed_now(void *user) {
  db_fixture *f = user;
  uint64_t frozen = atomic_load(&f->frozen_ms);
  return (frozen ? frozen : wg_now_ms(&wg_clock_monotonic)) + atomic_load(&f->skew_ms);
}

void db_freeze(db_fixture *f) { atomic_store(&f->frozen_ms, wg_now_ms(&wg_clock_monotonic)); }

int db_open_fds(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  while (readdir(d)) n++;
  closedir(d);
  return n;
}

void db_fixture_init(db_fixture *f) {
  memset(f, 0, sizeof *f);
  f->database = (wg_database_config){.name = (char *)"main",
                                     .protocol = WG_DB_POSTGRES,
                                     .host = (char *)"127.0.0.1",
                                     .database = (char *)"shop",
                                     .user = (char *)"app",
                                     .password = {(char *)"secret", 6},
                                     .pool = {.pool_size = 2,
                                              .max_waiters = 100,
                                              .connect_timeout_ms = 4000,
                                              .idle_timeout_ms = 300000,
                                              .health_interval_ms = 30000,
                                              .recv_timeout_ms = 4000,
                                              .send_timeout_ms = 4000,
                                              .drain_timeout_ms = 4000}};
  f->config.name = (char *)"test";
  f->config.dns_domain = (char *)"warp.local";
  f->config.pool = f->database.pool;
  f->config.databases = &f->database;
  f->config.database_count = 1;
}

void db_worker_fixture_start(db_fixture *f, db_worker_fixture *wf, unsigned number) {
  wg_error err;
  assert_int_equal(uv_loop_init(&wf->uv), 0);
  wf->loop = (wg_loop){.uv = &wf->uv,
                       .watch = &wg_watch_uv,
                       .watch_ctx = &wf->uv,
                       .clock = {skewed_now, f},
                       .worker = number};
  wg_names *names;
  assert_int_equal(wg_names_new(&f->config, NULL, &names, &err), WG_OK);
  assert_int_equal(wg_dns_new(names, &wf->loop, NULL, &wf->dns, &err), WG_OK);
  wg_names_unref(names);
  assert_int_equal(wg_db_worker_new(f->db, &wf->loop, wf->dns, &wf->w, &err), WG_OK);
}

void db_worker_fixture_stop(db_worker_fixture *wf) {
  wg_db_worker_free(wf->w);
  wg_dns_free(wf->dns);
  uv_run(&wf->uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&wf->uv), 0);
}

void db_fixture_start(db_fixture *f) {
  wg_error err;
  signal(SIGPIPE, SIG_IGN);
  wg_log_setup(WG_LOG_ERROR, WG_LOG_LOGFMT, 2);
  uv_loop_t once; /* libuv opens descriptors of the process with its first loop */
  assert_int_equal(uv_loop_init(&once), 0);
  assert_int_equal(uv_loop_close(&once), 0);
  f->fds = db_open_fds();
  if (!f->real) mock_pg_start(&f->mock);
  if (f->database.port == 0) f->database.port = f->mock.port;
  assert_int_equal(wg_db_new(&f->config, &f->db, &err), WG_OK);
  db_worker_fixture_start(f, &f->one, 1);
  assert_int_equal(wg_db_guest_new(f->one.w, &f->guest, &err), WG_OK);
}

void db_fixture_stop(db_fixture *f) {
  wg_db_guest_free(f->guest);
  db_worker_fixture_stop(&f->one);
  wg_db_free(f->db);
  mock_pg_stop(&f->mock);
  assert_int_equal(db_open_fds(), f->fds);
}

/* ---- the loop ---- */

static void on_tick(uv_timer_t *t) { (void)t; }

void db_run_until(db_worker_fixture *wf, const bool *flag) {
  uv_timer_t tick; /* the loop must come back even if nothing happens */
  uint64_t end = wg_now_ms(&wg_clock_monotonic) + PATIENCE_MS;
  uv_timer_init(&wf->uv, &tick);
  uv_timer_start(&tick, on_tick, 10, 10);
  while (!*flag && wg_now_ms(&wg_clock_monotonic) < end) uv_run(&wf->uv, UV_RUN_ONCE);
  uv_close((uv_handle_t *)&tick, NULL);
  uv_run(&wf->uv, UV_RUN_NOWAIT);
  assert_true(*flag);
}

void db_await_ready(const db_fixture *f, unsigned total) {
  for (int i = 0; i < 5000 && f->mock.readies < total; i++) uv_sleep(1);
  assert_int_equal(f->mock.readies, total);
}

void db_run(db_worker_fixture *wf) {
  for (int i = 0; i < 5; i++) uv_run(&wf->uv, UV_RUN_NOWAIT);
}

void db_advance(db_fixture *f, uint64_t ms) {
  atomic_fetch_add(&f->skew_ms, ms);
  wg_deadlines_run(f->one.w->deadlines);
  db_run(&f->one);
}

static void take_stats(void *user, const wg_db_stats *s) { *(wg_db_stats *)user = *s; }

wg_db_stats db_stats(db_fixture *f) {
  wg_db_stats s = {0};
  wg_db_each_stats(f->db, take_stats, &s);
  return s;
}

void db_run_until_stats(db_fixture *f, unsigned active, unsigned idle, unsigned total) {
  uint64_t end = wg_now_ms(&wg_clock_monotonic) + PATIENCE_MS;
  wg_db_stats s;
  do {
    uv_run(&f->one.uv, UV_RUN_NOWAIT);
    s = db_stats(f);
    if (s.active == active && s.idle == idle && s.total == total) return;
    uv_sleep(1);
  } while (wg_now_ms(&wg_clock_monotonic) < end);
  fail_msg("active=%u idle=%u total=%u, expected %u %u %u", s.active, s.idle, s.total, active, idle,
           total);
}

/* ---- a guest that blocks ---- */

static _Atomic unsigned results;

static void on_done(wg_db_req *req, const wg_error *err) {
  db_result *r = req->user;
  assert_false(r->done);
  r->done = true;
  r->order = ++results;
  r->code = err ? err->code : WG_OK;
  if (err) r->err = *err;
}

static wg_db_target target_of(const wg_db_guest *g) {
  const wg_database_config *d = &g->worker->db->config->databases[0];
  return (wg_db_target){.protocol = d->protocol,
                        .host = d->host,
                        .host_len = strlen(d->host),
                        .port = d->port,
                        .database = "shop",
                        .database_len = 4,
                        .user = "whoever",
                        .user_len = 7};
}

void db_start_connect(wg_db_guest *g, db_result *r) {
  wg_db_target t = target_of(g);
  db_start_connect_to(g, &t, r);
}

void db_start_connect_to(wg_db_guest *g, const wg_db_target *target, db_result *r) {
  memset(r, 0, sizeof *r);
  wg_db_connect(g, target, &r->req, on_done, r);
}

static db_worker_fixture *worker_of(wg_db_guest *g) {
  return (db_worker_fixture *)((char *)g->worker->loop - offsetof(db_worker_fixture, loop));
}

uint64_t db_connect(db_fixture *f, wg_db_guest *g, wg_error *err) {
  (void)f;
  db_result r;
  db_start_connect(g, &r);
  db_run_until(worker_of(g), &r.done);
  if (r.code == WG_OK) return r.req.handle;
  if (err) *err = r.err;
  return 0;
}

static wg_code wait_for(wg_db_guest *g, uint64_t handle, unsigned events, wg_error *err) {
  db_result r = {0};
  wg_db_wait(g, handle, events, true, &r.req, on_done, &r);
  db_run_until(worker_of(g), &r.done);
  if (r.code != WG_OK && err) *err = r.err;
  return r.code;
}

void db_send(db_fixture *f, wg_db_guest *g, uint64_t handle, const void *p, size_t n) {
  (void)f;
  const uint8_t *b = p;
  while (n) {
    wg_error err;
    ssize_t done = wg_db_send(g, handle, b, n, &err);
    if (done == WG_AGAIN) {
      assert_int_equal(wait_for(g, handle, WG_WATCH_WRITE, &err), WG_OK);
      continue;
    }
    if (done < 0) fail_msg("send: %s", err.msg);
    b += done;
    n -= (size_t)done;
  }
}

ssize_t db_recv(db_fixture *f, wg_db_guest *g, uint64_t handle, void *p, size_t cap,
                wg_error *err) {
  (void)f;
  for (;;) {
    ssize_t n = wg_db_recv(g, handle, p, cap, err);
    if (n != WG_AGAIN) return n;
    wg_code code = wait_for(g, handle, WG_WATCH_READ, err);
    if (code != WG_OK) return code;
  }
}

size_t db_startup(uint8_t *out, ...) {
  wg_buf b;
  wg_buf_init(&b, 20000);
  wg_buf_put_u32(&b, 0);
  wg_buf_put_u32(&b, 3 << 16);
  va_list ap;
  va_start(ap, out);
  for (const char *s; (s = va_arg(ap, const char *));) wg_buf_put_cstr(&b, s);
  va_end(ap);
  wg_buf_put_u8(&b, 0);
  size_t n = wg_buf_len(&b);
  wg_buf_patch_u32(&b, 0, (uint32_t)n);
  memcpy(out, wg_buf_head(&b), n);
  wg_buf_release(&b);
  return n;
}

int db_read_until(db_fixture *f, wg_db_guest *g, uint64_t handle, char last, uint8_t **all,
                  size_t *len) {
  wg_buf b;
  wg_buf_init(&b, 64u << 20);
  size_t at = 0;
  int found = -2;
  while (found == -2) {
    size_t have = wg_buf_len(&b);
    const uint8_t *p = have ? wg_buf_head(&b) : NULL;
    if (have - at >= 5) {
      wg_reader r = wg_reader_of(p + at + 1, 4);
      size_t n = wg_take_u32(&r);
      if (have - at >= n + 1) {
        if (p[at] == (uint8_t)last) found = n > 4 ? p[at + 5] : 0;
        at += n + 1;
        continue;
      }
    }
    wg_error err;
    uint8_t *room = wg_buf_reserve(&b, 65536);
    assert_non_null(room);
    ssize_t n = db_recv(f, g, handle, room, 65536, &err);
    if (n < 0) fail_msg("recv: %s", err.msg);
    if (n == 0)
      found = -1;
    else
      wg_buf_commit(&b, (size_t)n);
  }
  if (found >= 0) assert_int_equal(at, wg_buf_len(&b)); /* nothing behind it */
  if (all) {
    *len = wg_buf_len(&b);
    *all = malloc(*len + 1);
    if (*len) memcpy(*all, wg_buf_head(&b), *len);
  }
  wg_buf_release(&b);
  return found;
}

void db_greet(db_fixture *f, wg_db_guest *g, uint64_t handle) {
  uint8_t startup[256];
  size_t n = db_startup(startup, "user", "whoever", "database", "shop", NULL);
  db_send(f, g, handle, startup, n);
  assert_int_equal(db_read_until(f, g, handle, 'Z', NULL, NULL), 'I');
}

uint64_t db_open(db_fixture *f, wg_db_guest *g) {
  wg_error err;
  uint64_t handle = db_connect(f, g, &err);
  if (!handle) fail_msg("connect: %s", err.msg);
  db_greet(f, g, handle);
  return handle;
}

void db_pid(db_fixture *f, uint64_t handle, char out[16]) {
  db_ask(f, f->guest, handle, "PID", out, 16);
}

void db_close(wg_db_guest *g, uint64_t handle) {
  assert_int_equal(wg_db_close(g, handle, NULL), WG_OK);
}

void db_query(db_fixture *f, wg_db_guest *g, uint64_t handle, const char *sql) {
  wg_buf b;
  wg_buf_init(&b, 65536);
  wg_buf_put_u8(&b, 'Q');
  wg_buf_put_u32(&b, (uint32_t)strlen(sql) + 5);
  wg_buf_put_cstr(&b, sql);
  db_send(f, g, handle, wg_buf_head(&b), wg_buf_len(&b));
  wg_buf_release(&b);
}

void db_say(db_fixture *f, uint64_t handle, char type, const void *p, size_t n) {
  wg_buf b;
  wg_buf_init(&b, 65536);
  wg_buf_put_u8(&b, (uint8_t)type);
  wg_buf_put_u32(&b, (uint32_t)n + 4);
  wg_buf_put(&b, p, n);
  assert_false(b.failed);
  db_send(f, f->guest, handle, wg_buf_head(&b), wg_buf_len(&b));
  wg_buf_release(&b);
}

void db_scram(db_fixture *f, uint64_t handle, const char *password, wg_scram_channel channel,
              const char *offer) {
  uint8_t *all;
  size_t len;
  wg_error err;
  wg_scram client = {.channel = channel};
  wg_secret secret = {(char *)(uintptr_t)password, strlen(password)};
  wg_buf text, message;
  wg_buf_init(&text, 4096);
  wg_buf_init(&message, 4096);

  assert_int_equal(db_read_until(f, f->guest, handle, 'R', &all, &len), 0);
  assert_int_equal(all[8], 10); /* SASL */
  for (size_t at = 9; at + 2 < len; at++)
    if (all[at] == 0) all[at] = ',';
  assert_string_equal((char *)all + 9, offer);
  free(all);
  assert_int_equal(wg_scram_first(&client, "", &text, &err), WG_OK);
  wg_buf_put_cstr(&message, "SCRAM-SHA-256");
  wg_buf_put_u32(&message, (uint32_t)wg_buf_len(&text));
  wg_buf_put(&message, wg_buf_head(&text), wg_buf_len(&text));
  db_say(f, handle, 'p', wg_buf_head(&message), wg_buf_len(&message));
  wg_buf_clear(&text);
  if (channel == WG_SCRAM_NO_BINDING) {
    assert_int_equal(db_read_until(f, f->guest, handle, 'R', &all, &len), 0);
    assert_int_equal(all[8], 11); /* SASLContinue */
    assert_int_equal(wg_scram_final(&client, (char *)all + 9, len - 9, &secret, &text, &err),
                     WG_OK);
    free(all);
    db_say(f, handle, 'p', wg_buf_head(&text), wg_buf_len(&text));
  }
  wg_buf_release(&text);
  wg_buf_release(&message);
  wg_scram_wipe(&client);
}

void db_ask(db_fixture *f, wg_db_guest *g, uint64_t handle, const char *sql, char *out,
            size_t cap) {
  uint8_t *all;
  size_t len;
  db_query(f, g, handle, sql);
  int status = db_read_until(f, g, handle, 'Z', &all, &len);
  if (status != 'I') fail_msg("%s: status %d", sql, status);
  wg_reader r = wg_reader_of(all, len);
  uint8_t type;
  while ((type = wg_take_u8(&r)) != 'D') { /* RowDescription, notices */
    if (r.failed || type == 'E') fail_msg("%s: no row", sql);
    wg_take_bytes(&r, wg_take_u32(&r) - 4);
  }
  wg_take_bytes(&r, 6);
  size_t n = wg_take_u32(&r);
  const uint8_t *value = wg_take_bytes(&r, n);
  assert_non_null(value);
  snprintf(out, cap, "%.*s", (int)n, (const char *)value);
  free(all);
}

bool db_is_error(const uint8_t *p, size_t n, const char *sqlstate) {
  if (n < 6 || p[0] != 'E') return false;
  for (size_t i = 5; i + 6 < n; i += strlen((const char *)p + i) + 1)
    if (p[i] == 'C') return strcmp((const char *)p + i + 1, sqlstate) == 0;
  return false;
}
