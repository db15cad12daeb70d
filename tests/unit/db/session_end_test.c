/* SPDX-License-Identifier: Apache-2.0 */
/* US-112: a guest that says it is done hears the end of the stream, in whatever state it says so, as it
 * would from a server itself; what it left unfinished ends the server's connection. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t open_at(db_fixture *f) {
  uint64_t h = 0;
  const char *host = f->database.host;
  assert_int_equal(wg_db_open(f->guest, host, strlen(host), f->database.port, &h, NULL), WG_OK);
  return h;
}

static void expect_end(db_fixture *f, uint64_t h) {
  uint8_t b[512];
  wg_error err;
  ssize_t n;
  while ((n = db_recv(f, f->guest, h, b, sizeof b, &err)) > 0) {
  }
  if (n < 0 && n != WG_LOST) fail_msg("no end: %s", err.msg);
}

/* What a guest may leave unfinished, and how it says that it is done. */
static void test_unfinished(void **state) {
  (void)state;
  const struct {
    const char *bytes;
    size_t n;
    bool copies; /* waits for CopyInResponse */
  } left[] = {
      {"z\0\0\0\004", 5, false}, /* no such message */
      {"P\0\0\0\010\0\0\0\0", 9, false}, /* no Sync */
      {"P\0\0\0\010\0\0\0\0H\0\0\0\004", 14, false},
      {"Q\0\0\0\013COPYIN\0", 12, true},
      {"Q\0\0\0\013COPYIN\0", 12, false}, /* its answer is still on its way */
      {"Q\0\0\0\010P", 6, false}, /* half a message: only shutdown can follow */
      {"Q", 1, false},
  };
  for (size_t i = 0; i < WG_COUNT(left); i++) {
    for (int shut = 0; shut < 2; shut++) {
      db_fixture f;
      if (!shut && i >= 5) continue;
      db_fixture_init(&f);
      f.database.pool.pool_size = 1;
      db_fixture_start(&f);
      uint64_t h = db_open(&f, f.guest);
      db_send(&f, f.guest, h, left[i].bytes, left[i].n);
      if (left[i].copies) db_read_until(&f, f.guest, h, 'G', NULL, NULL);
      if (shut)
        assert_int_equal(wg_db_shutdown(f.guest, h, WG_WATCH_WRITE, NULL), WG_OK);
      else
        db_send(&f, f.guest, h, "X\0\0\0\004", 5);
      expect_end(&f, h);
      db_run_until_stats(&f, 0, 0, 0); /* it is nobody's, though the guest keeps its handle */
      db_close(f.guest, h);
      h = db_open(&f, f.guest);
      db_close(f.guest, h);
      db_fixture_stop(&f);
      assert_int_equal(f.mock.logins, 2);
      assert_int_equal(f.mock.resets, 0);
    }
  }
}

/* Answers that are owed before what is unfinished come all the same. */
static void test_answers_before_the_end(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  db_query(&f, f.guest, h, "PID");
  db_send(&f, f.guest, h, "P\0\0\0\010\0\0\0\0X\0\0\0\004", 14);
  uint8_t *all;
  size_t len;
  assert_int_equal(db_read_until(&f, f.guest, h, '!', &all, &len), -1); /* all there is */
  assert_non_null(memmem(all, len, "Z\0\0\0\5I", 6));
  free(all);
  db_close(f.guest, h);
  db_fixture_stop(&f);
}

/* Half-close at each point of the start-up. */
static void test_half_close_in_the_start_up(void **state) {
  (void)state;
  uint8_t bytes[256], b[64];
  size_t n;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  /* GREETING: the shim's connect has its server, which goes back at once. */
  for (size_t said = 0; said < 8; said += 7) {
    uint64_t h = db_connect(&f, f.guest, NULL);
    n = db_startup(bytes, "user", "u", "database", "shop", NULL);
    if (said) db_send(&f, f.guest, h, bytes, said);
    assert_int_equal(wg_db_shutdown(f.guest, h, WG_WATCH_WRITE, NULL), WG_OK);
    db_run_until_stats(&f, 0, 1, 1);
    assert_int_equal(wg_db_recv(f.guest, h, b, sizeof b, NULL), 0);
    db_close(f.guest, h);
  }
  /* SETTING, and QUEUED: the welcome comes, then the end. */
  for (int queued = 0; queued < 2; queued++) {
    uint64_t holder = queued ? db_open(&f, f.guest) : 0;
    uint64_t h = open_at(&f);
    n = db_startup(bytes, "user", "u", "database", "shop", "TimeZone",
                   queued ? "Etc/UTC" : "Asia/Tokyo", NULL);
    db_send(&f, f.guest, h, bytes, n);
    assert_int_equal(wg_db_shutdown(f.guest, h, WG_WATCH_WRITE, NULL), WG_OK);
    if (holder) db_close(f.guest, holder);
    assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
    expect_end(&f, h);
    db_run_until_stats(&f, 0, 1, 1);
    db_close(f.guest, h);
  }
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

/* A guest that was refused may keep its handle: its server is the next one's all the same. */
static void test_refused_guest_holds_nothing(void **state) {
  (void)state;
  static const char *const wrong[][2] = {{"replication", "on"}, {"bad", "value"}};
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  for (size_t i = 0; i < WG_COUNT(wrong); i++) {
    uint8_t bytes[256], byte;
    uint64_t h = db_connect(&f, f.guest, NULL);
    db_send(&f, f.guest, h, bytes, db_startup(bytes, "user", "u", wrong[i][0], wrong[i][1], NULL));
    assert_int_equal(db_read_until(&f, f.guest, h, 'E', NULL, NULL), 'S');
    db_run_until_stats(&f, 0, 1, 1);
    assert_int_equal(wg_db_recv(f.guest, h, &byte, 1, NULL), 0);
    db_close(f.guest, h);
  }
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

static wg_code start_narrow(void *ctx, int fd, wg_watch_cb cb, void *user, wg_watch **out,
                            wg_error *err) {
  int least = 1;
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
  return wg_watch_uv.start(ctx, fd, cb, user, out, err);
}

/* With auth = "relay" the kernel may take a part of the start-up only: the rest follows when there is
 * room. */
static void test_relayed_start_up_in_parts(void **state) {
  (void)state;
  char dir[] = "/tmp/wg_db_testXXXXXX", path[64], value[9900];
  uint8_t bytes[10000];
  db_fixture f;
  assert_non_null(mkdtemp(dir));
  db_fixture_init(&f);
  f.database.auth = WG_DB_AUTH_RELAY;
  f.database.host = (char *)"db.example";
  f.database.address = dir;
  f.mock.socket_dir = dir;
  db_fixture_start(&f);
  wg_watch_ops narrow = wg_watch_uv;
  narrow.start = start_narrow;
  f.one.loop.watch = &narrow;

  memset(value, 'v', sizeof value - 1);
  value[sizeof value - 1] = '\0';
  uint64_t h = open_at(&f);
  db_send(&f, f.guest, h, bytes,
          db_startup(bytes, "user", "app", "database", "shop", "application_name", value, NULL));
  wg_pool *pool = WG_CONTAINER(wg_list_first(&f.db->pools), wg_pool, by_db);
  wg_server *srv = WG_ITEM(wg_list_first(&pool->servers[SRV_LEASED]), wg_server, by_state);
  assert_non_null(srv);
  assert_true(wg_buf_len(&srv->out) > 0);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  char pid[16];
  db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 0, 0);
  db_fixture_stop(&f);
  snprintf(path, sizeof path, "%s/.s.PGSQL.5432", dir);
  unlink(path);
  rmdir(dir);
}

static void close_it(wg_db_req *req, const wg_error *err) {
  db_result *r = req->user;
  (void)err;
  r->done = true;
  db_close(req->impl, r->req.handle);
}

/* The reader's callback closes the handle while the writer says goodbye, or shuts down. */
static void test_closed_by_its_own_end(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  for (int way = 0; way < 3; way++) {
    db_result r = {0};
    uint64_t h = db_open(&f, f.guest);
    wg_db_wait(f.guest, h, WG_WATCH_READ, false, &r.req, close_it, &r);
    r.req.handle = h;
    if (way == 0)
      assert_int_equal(wg_db_send(f.guest, h, (const uint8_t *)"X\0\0\0\4", 5, NULL), 5);
    if (way == 1) assert_int_equal(wg_db_shutdown(f.guest, h, WG_WATCH_WRITE, NULL), WG_OK);
    if (way == 2) assert_int_equal(wg_db_shutdown(f.guest, h, 3, NULL), WG_OK);
    assert_true(r.done);
    assert_int_equal(wg_db_close(f.guest, h, NULL), WG_INVALID);
    db_run_until_stats(&f, 0, 1, 1);
  }
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unfinished),
      cmocka_unit_test(test_answers_before_the_end),
      cmocka_unit_test(test_half_close_in_the_start_up),
      cmocka_unit_test(test_refused_guest_holds_nothing),
      cmocka_unit_test(test_relayed_start_up_in_parts),
      cmocka_unit_test(test_closed_by_its_own_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
