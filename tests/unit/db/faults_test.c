/* SPDX-License-Identifier: Apache-2.0 */
/* Servers that are none, that say wrong things, or that stop saying anything: a clear error each
 * time, at the connect's deadline at the latest, and nothing left. And guests that misbehave. */
#include "db/db_fixture.h"
#include "db/script_server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES(text) (text), sizeof(text) - 1

/** Connects to a server of fixed bytes. @return the code, *err says the rest */
static wg_code connect_to(script_server *s, wg_error *err) {
  db_fixture f;
  script_start(s);
  db_fixture_init(&f);
  f.real = true;
  f.database.port = s->port;
  db_fixture_start(&f);
  db_result r;
  db_start_connect(f.guest, &r);
  uint64_t end = wg_now_ms(&wg_clock_monotonic) + 300; /* what it says is all there by then */
  while (!r.done && wg_now_ms(&wg_clock_monotonic) < end) uv_run(&f.one.uv, UV_RUN_NOWAIT);
  if (!r.done) db_advance(&f, 4001);
  assert_true(r.done);
  db_advance(&f, 1000);
  db_run_until_stats(&f, 0, 0, 0);
  *err = r.err;
  for (int i = 0; i < 5000 && s->open; i++) uv_sleep(1); /* its end of it counts as a leak */
  db_fixture_stop(&f);
  script_stop(s);
  return r.code;
}

/* "Wrong protocol on the port", of servers that speak first and of those that wait. */
static void test_wrong_protocol_on_the_port(void **state) {
  (void)state;
  static const struct {
    const char *name, *first;
    size_t first_len;
    const char *answer;
    size_t answer_len;
  } others[] = {
      {"HTTP", NULL, 0, BYTES("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")},
      {"SSH", BYTES("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), NULL, 0},
      {"MySQL", BYTES("J\0\0\0\n8.0.36\0\10\0\0\0abcdefgh\0\377\367\377\2\0\377\337\25\0\0"), NULL,
       0},
      {"Redis", NULL, 0, BYTES("-ERR Protocol error: invalid multibulk length\r\n")},
      {"SMTP", BYTES("220 mail.example.com ESMTP\r\n"), NULL, 0},
      {"TLS alert", NULL, 0, BYTES("\25\3\1\0\2\2\50")},
      {"zeros", NULL, 0, BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")},
  };
  for (size_t i = 0; i < WG_COUNT(others); i++) {
    wg_error err = {0};
    script_server s = {.first = others[i].first,
                       .first_len = others[i].first_len,
                       .answer = others[i].answer,
                       .answer_len = others[i].answer_len};
    wg_code code = connect_to(&s, &err);
    if (code != WG_PROTOCOL && code != WG_IO && code != WG_LOST)
      fail_msg("%s: %s: %s", others[i].name, wg_code_name(code), err.msg);
    assert_non_null(strstr(err.msg, "main"));
    s.ends = true; /* the same, and it hangs up */
    code = connect_to(&s, &err);
    if (code == WG_OK || code == WG_TIMEOUT)
      fail_msg("%s, closing: %s: %s", others[i].name, wg_code_name(code), err.msg);
  }
}

/* "Negative and overflowing lengths" in each message of a log-in: refused by the header, without
 * waiting for a body of gigabytes. */
static void test_lengths_of_a_log_in(void **state) {
  (void)state;
  static const uint32_t lengths[] = {0,          1,          3,          0x10001,   0x7ffffffe,
                                     0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
  static const char types[] = {'R', 'E', 'S', 'K', 'Z', 'N', 'v'};
  for (size_t t = 0; t < sizeof types; t++)
    for (size_t i = 0; i < WG_COUNT(lengths); i++) {
      uint32_t n = lengths[i];
      uint8_t bytes[] = {(uint8_t)types[t],
                         (uint8_t)(n >> 24),
                         (uint8_t)(n >> 16),
                         (uint8_t)(n >> 8),
                         (uint8_t)n,
                         0,
                         0,
                         0,
                         0};
      wg_wire_login login = {.user = "app", .database = "shop", .password = &(wg_secret){NULL, 0}};
      wg_wire_server *s = wg_wire_postgres.server_new(&login);
      wg_buf in, out;
      wg_error err = {0};
      wg_buf_init(&in, WG_WIRE_IN_MAX);
      wg_buf_init(&out, WG_WIRE_OUT_MAX);
      assert_int_equal(wg_wire_postgres.login(s, &in, &out, &err), WG_WIRE_MORE);
      wg_buf_put(&in, bytes, sizeof bytes);
      if (wg_wire_postgres.login(s, &in, &out, &err) != WG_WIRE_ERROR)
        fail_msg("'%c' of %u bytes is taken", types[t], n);
      assert_true(err.code == WG_PROTOCOL && err.msg[0]);
      wg_wire_postgres.server_free(s);
      wg_buf_release(&in);
      wg_buf_release(&out);
    }
}

/* "Missing error fields": whatever an ErrorResponse lacks, the refusal is told. */
static void test_missing_error_fields(void **state) {
  (void)state;
  static const struct {
    const char *body;
    size_t len;
  } errors[] = {
      {BYTES("")},
      {BYTES("\0")},
      {BYTES("C28P01\0\0")},
      {BYTES("Mgo away\0\0")},
      {BYTES("SFATAL\0\0")},
      {BYTES("SFATAL\0Mno end")},
      {BYTES("C\0M\0S\0\0")},
      {BYTES("C2\0Mshort code\0\0")},
      {BYTES("C28P01toolong\0Mlong code\0\0")},
      {BYTES("x\377\377\0\0")},
      {BYTES("SFATAL\0C28P01\0Mtwice\0Mtwice\0C53300\0\0")},
  };
  for (size_t i = 0; i < WG_COUNT(errors); i++) {
    uint8_t message[128] = {'E', 0, 0, 0, (uint8_t)(errors[i].len + 4)};
    wg_error err = {0};
    memcpy(message + 5, errors[i].body, errors[i].len);
    script_server s = {.answer = message, .answer_len = errors[i].len + 5, .ends = true};
    wg_code code = connect_to(&s, &err);
    if (code == WG_OK || code == WG_TIMEOUT || !err.msg[0])
      fail_msg("%zu: %s: %s", i, wg_code_name(code), err.msg);
  }
}

/* A server that never stops talking: each word is allowed, and answered by nothing, so only their
 * sum tells. Without a limit it would keep the whole worker listening. */
static void test_a_server_that_never_stops(void **state) {
  (void)state;
  enum { SAID = 60000, TIMES = 400 };
  uint8_t *notice = calloc(1, SAID);
  wg_error err = {0};
  notice[0] = 'N';
  notice[3] = (SAID - 1) >> 8;
  notice[4] = (SAID - 1) & 0xFF;
  script_server s = {.answer = notice, .answer_len = SAID, .times = TIMES};
  assert_int_equal(connect_to(&s, &err), WG_PROTOCOL);
  assert_non_null(strstr(err.msg, "more than 1 MiB"));
  free(notice);

  enum { RESET, CHECK, SETTINGS };
  for (int when = RESET; when <= SETTINGS; when++) {
    db_fixture f;
    db_fixture_init(&f);
    f.database.pool.health_interval_ms = 1000;
    db_fixture_start(&f);
    uint64_t h = when == SETTINGS ? db_connect(&f, f.guest, &err) : db_open(&f, f.guest);
    if (when == RESET) {
      db_query(&f, f.guest, h, "PID");
      db_read_until(&f, f.guest, h, 'Z', NULL, NULL);
    }
    if (when != CHECK) f.mock.notices = TIMES;
    if (when == SETTINGS) {
      uint8_t *all, hello[256];
      size_t len;
      size_t n =
          db_startup(hello, "user", "app", "database", "shop", "TimeZone", "Asia/Tokyo", NULL);
      db_send(&f, f.guest, h, hello, n);
      assert_int_equal(db_read_until(&f, f.guest, h, 'E', &all, &len), 'S');
      all[len] = '\0';
      assert_non_null(memmem(all, len, "more than 1 MiB", 15));
      free(all);
    }
    db_close(f.guest, h);
    if (when == CHECK) {
      db_run_until_stats(&f, 0, 1, 1);
      f.mock.notices = TIMES;
      db_advance(&f, 1001);
    }
    db_run_until_stats(&f, 0, 0, 0);
    db_fixture_stop(&f);
  }
}

/* "Unknown auth method": its number is told. 0 is no method, 3, 5 and 10 are known, 11 and 12 come
 * out of turn. */
static void test_unknown_auth_methods(void **state) {
  (void)state;
  static const uint32_t methods[] = {1, 2, 4, 6, 7, 8, 9, 11, 12, 13, 255, 0x7fffffff, 0xffffffff};
  for (size_t i = 0; i < WG_COUNT(methods); i++) {
    uint32_t m = methods[i];
    uint8_t message[] = {
        'R', 0, 0, 0, 8, (uint8_t)(m >> 24), (uint8_t)(m >> 16), (uint8_t)(m >> 8), (uint8_t)m};
    wg_error err = {0};
    script_server s = {.answer = message, .answer_len = sizeof message};
    wg_code code = connect_to(&s, &err);
    bool turn = m == 11 || m == 12;
    char number[32];
    snprintf(number, sizeof number, "method %u", m);
    if (code != (turn ? WG_PROTOCOL : WG_UNSUPPORTED) || (!turn && !strstr(err.msg, number)))
      fail_msg("%u: %s: %s", m, wg_code_name(code), err.msg);
  }
}

/* "A server that stalls in every state of login": before each message of it, and in the middle of
 * each, by every method. The guest's connect ends at its deadline, and a database beside it is none
 * the slower. */
static void test_stalls_in_every_state_of_a_log_in(void **state) {
  (void)state;
  static const mock_auth methods[] = {MOCK_TRUST, MOCK_CLEARTEXT, MOCK_MD5, MOCK_SCRAM};
  for (size_t a = 0; a < WG_COUNT(methods); a++)
    for (int half = 0; half < 2; half++) {
      bool through = false;
      unsigned k = 1;
      for (; !through; k++) {
        db_fixture f;
        db_result r;
        db_fixture_init(&f);
        f.mock.auth = methods[a];
        f.mock.stall_at = k;
        f.mock.stall_half = half;
        db_fixture_start(&f);
        db_freeze(&f);
        db_start_connect(f.guest, &r);
        uint64_t end = wg_now_ms(&wg_clock_monotonic) + 5000;
        while (!r.done && !f.mock.stalled && wg_now_ms(&wg_clock_monotonic) < end)
          uv_run(&f.one.uv, UV_RUN_NOWAIT);
        uv_sleep(2); /* what it said is on its way */
        db_run(&f.one);
        through = r.done && r.code == WG_OK;
        if (!r.done) {
          db_advance(&f, 3999);
          assert_false(r.done);
          db_advance(&f, 2);
          assert_true(r.done);
          assert_int_equal(r.code, WG_TIMEOUT);
          assert_non_null(strstr(r.err.msg, "main"));
          db_advance(&f, 1000);
          db_run_until_stats(&f, 0, 0, 0);
        }
        db_fixture_stop(&f);
      }
      /* Ready, four parameters, the key, AuthenticationOk, and what the method adds. */
      assert_int_equal(k, 9 + (methods[a] == MOCK_SCRAM ? 3 : methods[a] == MOCK_TRUST ? 0 : 1));
    }
}

static size_t resident_kib(void) {
  size_t pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  assert_non_null(f);
  assert_int_equal(fscanf(f, "%*s %zu", &pages), 1);
  fclose(f);
  return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* "A guest that never reads": the server is held back by the network, not by our memory; others go
 * on; and when the guest goes, so does its connection. */
static void test_a_guest_that_never_reads(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  wg_db_guest *lazy;
  assert_int_equal(wg_db_guest_new(f.one.w, &lazy, NULL), WG_OK);
  uint64_t h = db_open(&f, lazy), other = db_open(&f, f.guest);
  char pid[16];
  db_ask(&f, f.guest, other, "PID", pid, sizeof pid);
  size_t before = resident_kib();
  db_query(&f, lazy, h, "ROWS 3000 100000"); /* 300 MB */
  for (int i = 0; i < 200; i++) {
    db_ask(&f, f.guest, other, "PID", pid, sizeof pid);
    uv_sleep(1);
  }
  size_t grown = resident_kib() - before;
  if (grown > 48 * 1024 && resident_kib() > before) fail_msg("%zu KiB more", grown);
  assert_int_equal(db_stats(&f).active, 2);
  wg_db_guest_free(lazy);
  db_run_until_stats(&f, 1, 0, 1);
  db_ask(&f, f.guest, other, "PID", pid, sizeof pid);
  db_close(f.guest, other);
  db_fixture_stop(&f);
}

/* "Half a message and death", of a guest: at every byte of what it had to say. */
static void test_half_a_message_and_death(void **state) {
  (void)state;
  static const uint8_t parse[] = "P\0\0\0\024name\0SELECT 1\0\0\0";
  for (size_t n = 1; n < sizeof parse - 1; n++) {
    db_fixture f;
    db_fixture_init(&f);
    db_fixture_start(&f);
    wg_db_guest *dying;
    assert_int_equal(wg_db_guest_new(f.one.w, &dying, NULL), WG_OK);
    uint64_t h = db_open(&f, dying);
    db_send(&f, dying, h, parse, n);
    wg_db_guest_free(dying);
    db_run_until_stats(&f, 0, 0, 0); /* half a message is in the server: closed, never reused */
    char pid[16];
    h = db_open(&f, f.guest);
    db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
    assert_string_equal(pid, "2");
    db_close(f.guest, h);
    db_fixture_stop(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_wrong_protocol_on_the_port),
      cmocka_unit_test(test_lengths_of_a_log_in),
      cmocka_unit_test(test_missing_error_fields),
      cmocka_unit_test(test_a_server_that_never_stops),
      cmocka_unit_test(test_unknown_auth_methods),
      cmocka_unit_test(test_stalls_in_every_state_of_a_log_in),
      cmocka_unit_test(test_a_guest_that_never_reads),
      cmocka_unit_test(test_half_a_message_and_death),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
