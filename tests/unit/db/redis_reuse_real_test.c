/* SPDX-License-Identifier: Apache-2.0 */
/* US-116, US-117 with a real Redis (or Valkey): one connection, one guest after another. Skipped, with a
 * word why, where no server's program is installed. */
#include "db/real_redis.h"
#include "db/redis_guest.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* US-117: connect, close, connect: the same connection, and nothing of the first guest is left. */
static void test_us117_reuse_and_reset(void **state) {
  (void)state;
  static const struct {
    const char *leave, *left, *ask, *expected;
  } kinds[] = {
      {"SELECT 5\r\n", "+OK\r\n", "SET where here\r\n", "+OK\r\n"},
      {"SELECT 5\r\n", "+OK\r\n", "GET where\r\n", "$4\r\nhere\r\n"},
      {"MULTI\r\nSET a 1\r\n", "+OK\r\n+QUEUED\r\n", "GET a\r\n", "$-1\r\n"},
      {"WATCH w\r\n", "+OK\r\n", "MULTI\r\nGET where\r\nEXEC\r\n",
       "+OK\r\n+QUEUED\r\n*1\r\n$4\r\nhere\r\n"},
      {"CLIENT SETNAME mine\r\n", "+OK\r\n", "CLIENT GETNAME\r\n", "$-1\r\n"},
      {"READONLY\r\n", NULL, "PING\r\n", "+PONG\r\n"}, /* Redis refuses it without a cluster */
      {"nonsense\r\n", "-ERR unknown command 'nonsense', with args beginning with: \r\n",
       "PING\r\n", "+PONG\r\n"},
      {"HELLO\r\n", NULL, "GET where\r\n", "$4\r\nhere\r\n"},
      {"HELLO 3\r\n", NULL, "GET nothing\r\n", "$-1\r\n"},
      {"CLIENT MAINT_NOTIFICATIONS ON\r\n", NULL, "PING\r\n",
       "+PONG\r\n"}, /* unknown: nothing done */
      {"HELLO 3\r\nCLIENT TRACKING ON\r\nGET where\r\n", NULL, "CLIENT TRACKINGINFO\r\n",
       "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n"},
      {"AUTH anything\r\n", "+OK\r\n", "ACL WHOAMI\r\n", "$7\r\ndefault\r\n"},
      {"QUIT\r\n", "+OK\r\n", "PING\r\n", "+PONG\r\n"},
      {"PING\r\nQUIT\r\nSET where there\r\n", "+PONG\r\n+OK\r\n", "GET where\r\n",
       "$4\r\nhere\r\n"},
  };
  db_fixture f;
  redis_guest r;
  redis_start(&f);
  redis_connect(&r, &f);
  redis_ask(&r, "FLUSHALL\r\n", "+OK\r\n");
  long first = redis_id(&r);
  redis_leave(&r);
  redis_quiet(&f);
  for (size_t i = 0; i < WG_COUNT(kinds); i++)
    for (int socket = 0; socket < 2; socket++) {
      if (socket)
        redis_open(&r, &f);
      else
        redis_connect(&r, &f);
      redis_say(&r, kinds[i].leave);
      if (kinds[i].left)
        redis_hear(&r, kinds[i].left);
      else
        redis_line(&r);
      redis_leave(&r);
      redis_quiet(&f);
      redis_connect(&r, &f);
      redis_ask(&r, kinds[i].ask, kinds[i].expected);
      long now = redis_id(&r);
      if (now != first) fail_msg("%s: connection %ld, not %ld", kinds[i].leave, now, first);
      redis_leave(&r);
      redis_quiet(&f);
    }
  assert_int_equal(db_stats(&f).connects, 1);
  db_fixture_stop(&f);
}

/* What a reset would not undo, or could not count, costs the connection and nothing else. */
static void test_in_doubt_it_is_closed(void **state) {
  (void)state;
  static const struct {
    const char *leave, *first_line;
  } kinds[] = {
      {"SUBSCRIBE a b\r\n", "*3"},
      {"PSUBSCRIBE a*\r\n", "*3"},
      {"MONITOR\r\n", "+OK"},
      {"CLIENT NO-EVICT on\r\n", "+OK"},
      {"CLIENT REPLY OFF\r\n", NULL},
      {"CLIENT REPLY SKIP\r\n", NULL},
      {"BLPOP nothing 0\r\n", NULL},
      {"DEBUG SLEEP 0\r\n", "+OK"},
      {"PING\r\nAUTH nonsense\r\n", "+PONG"},
      {"RESET\r\n", "+RESET"},
      {"*2\r\n$3\r\nGET\r\n$100\r\nhalf", NULL},
  };
  db_fixture f;
  redis_guest r;
  redis_start(&f);
  for (size_t i = 0; i < WG_COUNT(kinds); i++) {
    redis_connect(&r, &f);
    long before = redis_id(&r);
    redis_say(&r, kinds[i].leave);
    if (kinds[i].first_line) assert_string_equal(redis_line(&r), kinds[i].first_line);
    redis_leave(&r);
    redis_connect(&r, &f);
    redis_ask(&r, "GET nothing\r\n", "$-1\r\n");
    long after = redis_id(&r);
    if (after == before) fail_msg("%s: used again", kinds[i].leave);
    redis_leave(&r);
    db_run_until_stats(&f, 0, 1, 1);
  }
  db_fixture_stop(&f);
}

/* An answer that comes after its guest left says that the connection is not to be used again: at once. */
static void test_a_late_answer_ends_it(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  redis_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  db_freeze(&f);
  redis_connect(&r, &f);
  long before = redis_id(&r);
  redis_say(&r, "CLIENT NO-EVICT on\r\n");
  redis_leave(&r);
  redis_connect(&r, &f);
  assert_int_not_equal(redis_id(&r), before);
  redis_leave(&r);
  db_fixture_stop(&f);
}

/* A debugger is the session's, and RESET lets it be. */
static void test_script_debugger_is_not_inherited(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  redis_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  redis_connect(&r, &f);
  redis_ask(&r, "SCRIPT DEBUG YES\r\n", "+OK\r\n");
  redis_leave(&r);
  redis_connect(&r, &f);
  redis_ask(&r, "*3\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n0\r\n", ":1\r\n");
  redis_leave(&r);
  db_fixture_stop(&f);
}

static int blocked_clients(redis_guest *r) {
  int n = -1;
  redis_say(r, "INFO clients\r\nECHO end\r\n");
  for (const char *text; strcmp(text = redis_line(r), "end") != 0;)
    sscanf(text, "blocked_clients:%d", &n);
  return n;
}

/* Who leaves while the server waits for an element takes none away from others. */
static void test_a_block_ends_with_its_guest(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r, other;
  redis_start(&f);
  db_freeze(&f);
  redis_connect(&other, &f);
  redis_ask(&other, "FLUSHALL\r\n", "+OK\r\n");
  redis_connect(&r, &f);
  redis_say(&r, "BLPOP q 60\r\n");
  for (int i = 0; i < 300 && blocked_clients(&other) == 0; i++) continue;
  redis_leave(&r);
  for (int i = 0; i < 300 && blocked_clients(&other) > 0; i++) continue;
  redis_ask(&other, "RPUSH q x\r\nLLEN q\r\n", ":1\r\n:1\r\n");
  redis_leave(&other);
  db_fixture_stop(&f);
}

/** Lines of words as arrays: how drivers send them. */
static void arrays(const char *lines, char *out, size_t cap) {
  size_t n = 0;
  for (const char *end; *lines; lines = end + 2) {
    unsigned count = 1;
    end = strstr(lines, "\r\n");
    for (const char *p = lines; p < end; p++) count += *p == ' ';
    n += (size_t)snprintf(out + n, cap - n, "*%u\r\n", count);
    for (const char *p = lines; p < end;) {
      size_t len = strcspn(p, " \r");
      n += (size_t)snprintf(out + n, cap - n, "$%zu\r\n%.*s\r\n", len, (int)len, p);
      p += len + (p[len] == ' ');
    }
  }
  assert_true(n < cap);
}

/* What drivers begin with, in one pipeline and in pieces, costs no connection. */
static void test_what_drivers_begin_with(void **state) {
  (void)state;
  static const char *const drivers[] = {
      /* redis-py, StackExchange.Redis, and others in RESP2 */
      "AUTH x\r\nSELECT 2\r\nCLIENT SETNAME n\r\n",
      "AUTH me x\r\nCLIENT SETINFO LIB-NAME d\r\nCLIENT SETINFO LIB-VER 1\r\n",
      "AUTH x\r\nHELLO 3\r\nCLIENT INFO\r\n",
      /* the crate redis, jedis */
      "HELLO 3 AUTH me x\r\nCLIENT SETINFO LIB-NAME d\r\n",
      "HELLO 3 AUTH me x SETNAME n\r\n",
      /* go-redis, node-redis, lettuce, jedis: only Redis's own service knows the last one */
      "HELLO 3\r\nCLIENT SETNAME n\r\nCLIENT SETINFO LIB-NAME d\r\nCLIENT SETINFO LIB-VER 1\r\n"
      "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip\r\n",
      "HELLO 3 AUTH me x\r\nCLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type none\r\nSELECT "
      "3\r\n",
      /* rueidis, valkey-go */
      "HELLO 3 SETNAME n\r\nCLIENT TRACKING ON OPTIN\r\nCLIENT SETINFO LIB-NAME d\r\n",
      /* ioredis */
      "AUTH x\r\nSELECT 1\r\nCLIENT SETNAME n\r\nCLIENT SETINFO LIB-NAME d\r\nINFO\r\n",
  };
  db_fixture f;
  redis_guest r;
  long first = 0;
  redis_start(&f);
  for (size_t i = 0; i < WG_COUNT(drivers); i++)
    for (int whole = 0; whole < 2; whole++) {
      char text[1024];
      arrays(drivers[i], text, sizeof text);
      redis_open(&r, &f);
      for (const char *p = text; *p; p += whole ? strlen(p) : 1)
        db_send(&f, f.guest, r.handle, p, whole ? strlen(p) : 1);
      redis_say(&r, "ECHO last\r\n");
      while (strcmp(redis_line(&r), "last") != 0) {
      }
      long now = redis_id(&r);
      if (!first) first = now;
      if (now != first) fail_msg("%s: connection %ld, not %ld", drivers[i ? i - 1 : 0], now, first);
      redis_leave(&r);
      redis_quiet(&f);
    }
  redis_connect(&r, &f);
  assert_int_equal(redis_id(&r), first);
  redis_leave(&r);
  db_fixture_stop(&f);
}

/* Many guests on two connections, some of which leave in the middle: each hears its own answers. */
static void test_many_guests(void **state) {
  (void)state;
  db_fixture f;
  redis_start(&f);
  for (int i = 0; i < 300; i++) {
    redis_guest r;
    char text[128], expected[128];
    if (i % 2)
      redis_open(&r, &f);
    else
      redis_connect(&r, &f);
    snprintf(text, sizeof text, "SELECT %d\r\nECHO guest-%d\r\n", i % 16, i);
    snprintf(expected, sizeof expected, "+OK\r\n$%d\r\nguest-%d\r\n",
             i < 10    ? 7
             : i < 100 ? 8
                       : 9,
             i);
    redis_ask(&r, text, expected);
    if (i % 3 == 1) redis_say(&r, "ECHO unread\r\nECHO unread\r\n");
    if (i % 3 == 2) redis_say(&r, "*2\r\n$4\r\nECHO\r\n$100\r\n");
    redis_leave(&r);
  }
  db_fixture_stop(&f);
}

/** Reads one line and its bytes of answer, some of it or all. */
static void hear_some(redis_guest *r, const char *expected, size_t want) {
  for (size_t have = 0; have < want;) {
    char bytes[4096];
    wg_error err;
    size_t room = want - have < sizeof bytes ? want - have : sizeof bytes;
    ssize_t n = db_recv(r->f, r->f->guest, r->handle, bytes, room, &err);
    if (n <= 0) fail_msg("the end after %zu of %zu bytes", have, want);
    if (memcmp(bytes, expected + have, (size_t)n) != 0)
      fail_msg("another's answer at %zu: %.60s", have, bytes);
    have += (size_t)n;
  }
}

/* Guests side by side on few connections, half of which leave somewhere in their answers. */
static void test_a_storm(void **state) {
  (void)state;
  enum { SIDE = 6, ROUNDS = 60, TIMES = 3, BULK = 30000 };
  db_fixture f;
  redis_guest r[SIDE];
  char *ask = malloc(TIMES * (BULK + 64)), *answer = malloc(TIMES * (BULK + 64));
  unsigned seed = 7, mark = 0;
  redis_init(&f);
  f.database.pool.pool_size = SIDE;
  db_fixture_start(&f);
  for (int round = 0; round < ROUNDS; round++) {
    size_t want[SIDE], len[SIDE];
    unsigned first = mark, bulk[SIDE];
    for (int pass = 0; pass < 2; pass++)
      for (int i = 0; i < SIDE; i++) {
        size_t n = 0, m = 0;
        if (pass == 0) {
          seed = seed * 1103515245u + 12345u;
          bulk[i] = 8 + (seed >> 16) % (i % 2 ? 64u : BULK - 64u);
        }
        for (int k = 0; k < TIMES; k++) {
          n += (size_t)sprintf(ask + n, "*2\r\n$4\r\nECHO\r\n$%u\r\n%0*u\r\n", bulk[i],
                               (int)bulk[i], first + (unsigned)(i * TIMES + k));
          m += (size_t)sprintf(answer + m, "$%u\r\n%0*u\r\n", bulk[i], (int)bulk[i],
                               first + (unsigned)(i * TIMES + k));
        }
        if (pass == 0) {
          len[i] = m;
          want[i] = (round + i) % 2 ? m : (seed >> 8) % m;
          if (i % 3)
            redis_connect(&r[i], &f);
          else
            redis_open(&r[i], &f);
          redis_say(&r[i], ask);
        } else {
          hear_some(&r[i], answer, want[i] < len[i] ? want[i] : len[i]);
          redis_leave(&r[i]);
        }
      }
    mark += SIDE * TIMES;
  }
  db_fixture_stop(&f);
  free(ask);
  free(answer);
}

/* What a server pushes to a guest that has gone reaches no other. */
static void test_a_push_left_behind(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r, other;
  redis_init(&f);
  db_fixture_start(&f);
  redis_connect(&other, &f);
  redis_ask(&other, "SET k 1\r\n", "+OK\r\n");
  redis_connect(&r, &f);
  redis_say(&r, "HELLO 3\r\nCLIENT TRACKING ON\r\nGET k\r\nECHO last\r\n");
  while (strcmp(redis_line(&r), "last") != 0) {
  }
  redis_ask(&other, "SET k 2\r\n", "+OK\r\n");
  redis_leave(&r);
  for (int i = 0; i < 3; i++) {
    redis_connect(&r, &f);
    redis_ask(&other, "SET k 3\r\n", "+OK\r\n");
    redis_ask(&r, "GET k\r\n", "$1\r\n3\r\n");
    redis_leave(&r);
  }
  redis_leave(&other);
  db_fixture_stop(&f);
}

/* Drivers that are refused HELLO go on with AUTH, which is ours to answer. */
static void test_hello_refused_then_auth(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  if (!real_redis_running()) skip();
  real_redis_stop();
  (void)real_redis_start(&(real_redis_spec){.old = true});
  redis_start(&f);
  for (int times = 1; times <= 2; times++) {
    redis_open(&r, &f);
    for (int i = 0; i < times; i++) {
      redis_say(&r, "HELLO 3 AUTH me x\r\n");
      assert_true(strncmp(redis_line(&r), "-ERR unknown command", 20) == 0);
    }
    redis_ask(&r, "AUTH me x\r\n", "+OK\r\n");
    redis_ask(&r, "ACL WHOAMI\r\n", "$7\r\ndefault\r\n");
    redis_leave(&r);
    db_run_until_stats(&f, 0, 0, 0);
  }
  redis_open(&r, &f); /* it may leave after the refusal, too */
  redis_say(&r, "HELLO 3\r\n");
  redis_line(&r);
  redis_ask(&r, "QUIT\r\n", "+OK\r\n");
  redis_hear_end(&r);
  redis_leave(&r);
  redis_open(&r, &f);
  redis_say(&r, "HELLO 3\r\n");
  redis_line(&r);
  assert_int_equal(wg_db_shutdown(f.guest, r.handle, WG_WATCH_WRITE, NULL), WG_OK);
  redis_hear_end(&r);
  redis_leave(&r);
  db_fixture_stop(&f);
}

/* Where RESET is not to be had (before Redis 6.2) a connection serves once. */
static void test_without_reset(void **state) {
  (void)state;
  db_fixture f;
  redis_guest r;
  if (!real_redis_running()) skip();
  real_redis_stop();
  (void)real_redis_start(&(real_redis_spec){.old = true});
  redis_start(&f);
  long before = 0;
  for (int i = 0; i < 3; i++) {
    redis_connect(&r, &f);
    long now = redis_id(&r);
    assert_int_not_equal(now, before);
    before = now;
    redis_leave(&r);
    db_run_until_stats(&f, 0, 0, 0);
  }
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us117_reuse_and_reset),
      cmocka_unit_test(test_in_doubt_it_is_closed),
      cmocka_unit_test(test_a_late_answer_ends_it),
      cmocka_unit_test(test_script_debugger_is_not_inherited),
      cmocka_unit_test(test_a_block_ends_with_its_guest),
      cmocka_unit_test(test_what_drivers_begin_with),
      cmocka_unit_test(test_many_guests),
      cmocka_unit_test(test_a_storm),
      cmocka_unit_test(test_a_push_left_behind),
      cmocka_unit_test(test_hello_refused_then_auth), /* with servers of their own */
      cmocka_unit_test(test_without_reset),
  };
  (void)real_redis_start(NULL);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  real_redis_stop();
  return failed;
}
