/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong in pgbouncer, published as CVEs in 2025 and 2026, asked of this host: one test a
 * number, which names the class. Where the class cannot be here, the nearest thing is tested.
 * CVE-2025-2291 (expired passwords) and CVE-2026-6667 (commands for an administrator) need a real
 * server: tests/e2e/test_faults.py. */
#include "db/db_fixture.h"
#include "db/wire/postgres.h"
#include "db/wire/scram.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const wg_wire_ops *pg = &wg_wire_postgres;

/* ---- a greeting of bytes, without a server ---- */

/** Gives a codec a guest's first bytes. @return how it ended; *out holds its answer */
static wg_wire_step greet(const void *p, size_t n, wg_buf *out) {
  wg_wire_guest *g = pg->guest_new();
  const wg_wire_policy policy = {.database = "shop"};
  wg_buf to_server;
  wg_error err = {0};
  size_t taken = 0;
  assert_non_null(g);
  wg_buf_init(out, WG_WIRE_OUT_MAX);
  wg_buf_init(&to_server, WG_WIRE_OUT_MAX);
  wg_wire_step step = pg->greet(g, NULL, &policy, p, n, &taken, out, &to_server, &err);
  assert_true(taken <= n);
  assert_int_equal(wg_buf_len(&to_server), 0);
  wg_buf_release(&to_server);
  pg->guest_free(g);
  return step;
}

static void put32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}

/* CVE-2025-12819: search_path of a StartupMessage was in force while the pooler asked a query of its
 * own. Ours are three, without names that a path could lead elsewhere: ROLLBACK, DISCARD ALL, and
 * set_config, which is qualified and takes the guest's texts as parameters only. */
static void cve_2025_12819_own_queries_do_not_follow_search_path(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  wg_error err;
  uint8_t startup[512];
  uint64_t h = db_connect(&f, f.guest, &err);
  size_t n = db_startup(startup, "user", "u", "database", "shop", "search_path",
                        "evil, pg_catalog'; DROP TABLE x; --", "TimeZone", "UTC", NULL);
  db_send(&f, f.guest, h, startup, n);
  assert_int_equal(db_read_until(&f, f.guest, h, 'Z', NULL, NULL), 'I');
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 1, 1);
  size_t len;
  uint8_t *all = mock_pg_received(&f.mock, 1, &len);
  unsigned parses = 0, queries = 0;
  for (size_t at = 0; at + 5 <= len;) {
    wg_reader r = wg_reader_of(all + at + 1, 4);
    size_t size = wg_take_u32(&r);
    const char *body = (const char *)all + at + 5;
    if (all[at] == 'P') {
      assert_string_equal(body, ""); /* unnamed */
      assert_string_equal(body + 1, "SELECT pg_catalog.set_config($1,$2,false)");
      parses++;
    } else if (all[at] == 'Q') {
      assert_string_equal(body, "DISCARD ALL");
      queries++;
    }
    at += size + 1;
  }
  assert_true(parses > 0 && queries == 1);
  free(all);
  db_fixture_stop(&f);
}

/* CVE-2026-6664: a length inside of a message overflowed the check of its bounds. Ours subtracts,
 * and takes no SASL of guests: lengths up to 2^32-1 in every place of 'p' end that guest alone. */
static void cve_2026_6664_lengths_inside_of_messages(void **state) {
  (void)state;
  static const uint32_t lengths[] = {5, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff};
  for (size_t i = 0; i < WG_COUNT(lengths); i++) {
    uint8_t bytes[] = "\0\0\0\22SCRAM-SHA-256\0LLLLn,,n";
    wg_reader r = wg_reader_of(bytes, 8);
    assert_non_null(wg_take_bytes(&r, 4));
    assert_null(wg_take_bytes(&r, lengths[i]));
    assert_true(r.failed);
    r = wg_reader_of(bytes, 8);
    assert_null(wg_take_bytes(&r, SIZE_MAX - 3 + i % 3));
    /* In place of a start-up, and of a message in a session. */
    uint8_t sasl[64] = "pLLLLSCRAM-SHA-256\0NNNNn,,n=,r=x";
    put32(sasl + 1, i ? 31 : lengths[4]);
    put32(sasl + 19, lengths[i]);
    wg_buf out;
    assert_int_equal(greet(sasl, 32, &out), WG_WIRE_END);
    assert_true(wg_buf_len(&out) > 0 && *wg_buf_head(&out) == 'E');
    wg_buf_release(&out);
  }
  db_fixture f;
  db_fixture_init(&f);
  db_fixture_start(&f);
  wg_db_guest *other;
  wg_error err;
  char pid[16];
  assert_int_equal(wg_db_guest_new(f.one.w, &other, NULL), WG_OK);
  uint64_t h = db_open(&f, f.guest), well = db_open(&f, other);
  assert_int_equal(wg_db_send(f.guest, h, (const uint8_t *)"p\377\377\377\377SCRAM", 10, &err),
                   WG_PROTOCOL);
  db_ask(&f, other, well, "PID", pid, sizeof pid);
  db_close(f.guest, h);
  wg_db_guest_free(other);
  db_fixture_stop(&f);
}

/* CVE-2026-6665: a server's long nonce ran over the end of SCRAM's client-final. Ours is made in a
 * buffer that grows; what is longer than WG_SCRAM_TEXT_MAX is refused. */
static void cve_2026_6665_long_nonces_of_servers(void **state) {
  (void)state;
  const wg_secret password = {(char *)"pencil", 6};
  for (size_t extra = 1; extra < 3 * WG_SCRAM_TEXT_MAX; extra += extra < 1100 ? 1 : 97) {
    wg_scram s = {.nonce = "abcdef"};
    wg_buf out;
    wg_error err = {0};
    char *first = malloc(extra + 64);
    assert_non_null(first);
    wg_buf_init(&out, 8192);
    assert_int_equal(wg_scram_first(&s, "", &out, &err), WG_OK);
    wg_buf_clear(&out);
    size_t n = 8;
    memcpy(first, "r=abcdef", n);
    memset(first + n, 'N', extra);
    n += extra;
    n += (size_t)snprintf(first + n, 40, ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1");
    wg_code code = wg_scram_final(&s, first, n, &password, &out, &err);
    if (n > WG_SCRAM_TEXT_MAX) {
      assert_int_equal(code, WG_PROTOCOL);
      assert_int_equal(wg_buf_len(&out), 0);
    } else {
      assert_int_equal(code, WG_OK);
      assert_non_null(memmem(wg_buf_head(&out), wg_buf_len(&out), first, 8 + extra)); /* whole */
    }
    free(first);
    wg_buf_release(&out);
  }
}

/* CVE-2026-6666: an ErrorResponse without its SQLSTATE was read through NULL. In a log-in, and to
 * the reset of a session that is to be used again. */
static void cve_2026_6666_errors_without_sqlstate(void **state) {
  (void)state;
  static const struct {
    const char *message;
    size_t len;
  } errors[] = {{"E\0\0\0\14SFATAL\0\0", 13},
                {"E\0\0\0\5\0", 6},
                {"E\0\0\0\4", 5},
                {"E\0\0\0\14Mgo away", 13}};
  for (size_t i = 0; i < WG_COUNT(errors); i++) {
    wg_wire_login login = {.user = "app", .database = "shop", .password = &(wg_secret){NULL, 0}};
    wg_wire_server *s = pg->server_new(&login);
    wg_buf in, out;
    wg_error err = {0};
    wg_buf_init(&in, WG_WIRE_IN_MAX);
    wg_buf_init(&out, WG_WIRE_OUT_MAX);
    assert_int_equal(pg->login(s, &in, &out, &err), WG_WIRE_MORE);
    wg_buf_put(&in, errors[i].message, errors[i].len);
    assert_int_equal(pg->login(s, &in, &out, &err), WG_WIRE_ERROR);
    assert_true(err.code != WG_OK && err.msg[0]);
    pg->server_free(s);
    s = pg->server_new(&login);
    assert_int_equal(pg->login(s, &in, &out, &err), WG_WIRE_MORE);
    static const char ready[] = "R\0\0\0\10\0\0\0\0Z\0\0\0\5I";
    wg_buf_clear(&in);
    wg_buf_put(&in, ready, sizeof ready - 1);
    assert_int_equal(pg->login(s, &in, &out, &err), WG_WIRE_OK);
    pg->ping(s, &out);
    wg_buf_clear(&in);
    wg_buf_put(&in, errors[i].message, errors[i].len);
    wg_buf_put(&in, "Z\0\0\0\5I", 6);
    assert_int_equal(pg->reply(s, &in, &out, &err), WG_WIRE_ERROR);
    pg->server_free(s);
    wg_buf_release(&in);
    wg_buf_release(&out);
  }
}

/* CVE-2026-6668 and CVE-2026-107348: announced lengths overflowed the growth of a buffer, which then
 * looped. Ours refuses by the header, before it asks for room, in a start-up and in a session. */
static void cve_2026_6668_107348_lengths_beyond_2_to_31(void **state) {
  (void)state;
  static const uint32_t lengths[] = {0x40000000, 0x7fffffff, 0x80000000, 0x80000001,
                                     0xc0000000, 0xfffffffe, 0xffffffff};
  wg_buf b;
  wg_buf_init(&b, 1000);
  assert_null(wg_buf_reserve(&b, SIZE_MAX));
  assert_null(wg_buf_reserve(&b, (size_t)1 << 31));
  assert_null(wg_buf_reserve(&b, ((size_t)1 << 32) - 1));
  wg_buf_release(&b);
  for (size_t i = 0; i < WG_COUNT(lengths); i++) {
    uint8_t startup[8] = {[5] = 3}, message[5] = {'Q'};
    wg_buf out;
    put32(startup, lengths[i]);
    assert_int_equal(greet(startup, sizeof startup, &out), WG_WIRE_END);
    assert_true(out.cap <= WG_WIRE_OUT_MAX);
    wg_buf_release(&out);
    wg_wire_track t = {0};
    wg_error err;
    size_t pass;
    put32(message + 1, lengths[i]);
    assert_int_equal(pg->track_client(&t, message, sizeof message, &pass, &err), WG_WIRE_ERROR);
  }
}

/* CVE-2026-6669: a server named any count of SCRAM's iterations, and got them computed. Here at most
 * WG_SCRAM_ITERATIONS_MAX, and a number that overflows is more than that. */
static void cve_2026_6669_iterations_without_end(void **state) {
  (void)state;
  const wg_secret password = {(char *)"pencil", 6};
  static const char *const counts[] = {
      "1000001",    "2147483647",           "2147483648",
      "4294967296", "4294971392",           "9223372036854775807",
      "-4096",      "18446744073709551616", "18446744073709555712"};
  for (size_t i = 0; i < WG_COUNT(counts); i++) {
    wg_scram s = {.nonce = "abcdef"};
    wg_buf out;
    wg_error err = {0};
    char first[128];
    wg_buf_init(&out, 4096);
    assert_int_equal(wg_scram_first(&s, "", &out, &err), WG_OK);
    wg_buf_clear(&out);
    int n = snprintf(first, sizeof first, "r=abcdefX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=%s", counts[i]);
    uint64_t begun = wg_now_ms(&wg_clock_monotonic);
    assert_int_equal(wg_scram_final(&s, first, (size_t)n, &password, &out, &err), WG_PROTOCOL);
    assert_true(wg_now_ms(&wg_clock_monotonic) - begun < 100);
    assert_int_equal(wg_buf_len(&out), 0);
    wg_buf_release(&out);
  }
}

/* CVE-2026-19888: SCRAM's parser of the other side reported success without a value that must be
 * there. We parse two messages of servers: each attribute missing, twice, and out of turn. */
static void cve_2026_19888_attributes_of_scram(void **state) {
  (void)state;
  const wg_secret password = {(char *)"pencil", 6};
#define SALT "s=W22ZaJ0SNY7soEsUEjb6gQ=="
  static const char *const firsts[] = {SALT ",i=1",
                                       "r=abcdefX,i=1",
                                       "r=abcdefX," SALT,
                                       "r=abcdefX,," SALT ",i=1",
                                       "i=1," SALT ",r=abcdefX",
                                       "r=abcdefX,r=abcdefX," SALT,
                                       "r=abcdefX," SALT "," SALT,
                                       "r=,s=,i=",
                                       ",,",
                                       "=,=,="};
  for (size_t i = 0; i < WG_COUNT(firsts); i++) {
    wg_scram s = {.nonce = "abcdef"};
    wg_buf out;
    wg_error err = {0};
    wg_buf_init(&out, 4096);
    assert_int_equal(wg_scram_first(&s, "", &out, &err), WG_OK);
    wg_code code = wg_scram_final(&s, firsts[i], strlen(firsts[i]), &password, &out, &err);
    if (code != WG_PROTOCOL) fail_msg("%s", firsts[i]);
    wg_buf_release(&out);
  }
  static const char *const finals[] = {"", "v", "v=", "e", "e=", "x=1", ",v=", "v=,v=", "=", "p=x"};
  for (size_t i = 0; i < WG_COUNT(finals); i++) {
    wg_scram s = {.nonce = "abcdef"};
    wg_buf out;
    wg_error err = {0};
    wg_buf_init(&out, 4096);
    assert_int_equal(wg_scram_first(&s, "", &out, &err), WG_OK);
    static const char first[] = "r=abcdefX," SALT ",i=1";
    assert_int_equal(wg_scram_final(&s, first, sizeof first - 1, &password, &out, &err), WG_OK);
    if (wg_scram_verify(&s, finals[i], strlen(finals[i]), &err) == WG_OK) fail_msg("%s", finals[i]);
    wg_buf_release(&out);
  }
}

/* CVE-2026-107349: an option without a name looped for ever. */
static void cve_2026_107349_options_without_names(void **state) {
  (void)state;
  static const char *const options[] = {
      "-c=", "-c =",    "-c  ",       "-c",       "--", "--=",     "--=x",  "-",      "-c a",
      "\\",  "-c=1 -c", "-c a=1 -c=", "-c -c -c", "=",  "- c a=1", "-c\ta", "--\\=1", "\\-c=a"};
  for (size_t i = 0; i < WG_COUNT(options); i++) {
    uint8_t startup[256];
    size_t n = db_startup(startup, "user", "u", "database", "shop", "options", options[i], NULL);
    wg_buf out;
    if (greet(startup, n, &out) != WG_WIRE_END) fail_msg("'%s' is taken", options[i]);
    assert_true(db_is_error(wg_buf_head(&out), wg_buf_len(&out), "42601"));
    wg_buf_release(&out);
  }
}

/* CVE-2026-107350: a second StartupMessage during the log-in changed who was logged in. Here the
 * first one counts: what follows is no start-up, behind a refused database, while the pool is waited
 * for, and in the session. */
static void cve_2026_107350_a_second_start_up(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.database.pool.pool_size = 1;
  db_fixture_start(&f);
  uint8_t both[512], byte;
  wg_error err;
  const char *host = f.database.host;
  size_t first = db_startup(both, "user", "u", "database", "other", NULL);
  size_t n = first + db_startup(both + first, "user", "admin", "database", "shop", NULL);
  uint64_t h;
  assert_int_equal(wg_db_open(f.guest, host, strlen(host), f.database.port, &h, &err), WG_OK);
  (void)wg_db_send(f.guest, h, both, n, &err);
  uint8_t *all;
  size_t len;
  assert_int_equal(db_read_until(&f, f.guest, h, 'E', &all, &len), 'S');
  assert_true(db_is_error(all, len, "3D000"));
  free(all);
  assert_int_equal(wg_db_recv(f.guest, h, &byte, 1, &err), 0); /* the end, whatever was said next */
  db_close(f.guest, h);
  assert_int_equal(f.mock.logins, 0);

  uint64_t holder = db_open(&f, f.guest);
  first = db_startup(both, "user", "u", "database", "shop", NULL);
  n = first + db_startup(both + first, "user", "admin", "database", "other", NULL);
  assert_int_equal(wg_db_open(f.guest, host, strlen(host), f.database.port, &h, &err), WG_OK);
  ssize_t sent = wg_db_send(f.guest, h, both, n, &err); /* it waits for the pool now */
  assert_true(sent >= (ssize_t)first || sent == WG_AGAIN);
  db_close(f.guest, holder);
  size_t rest = sent > 0 ? (size_t)sent : 0;
  wg_code code = WG_OK;
  for (int i = 0; i < 2000 && code == WG_OK && rest < n; i++) {
    ssize_t more = wg_db_send(f.guest, h, both + rest, n - rest, &err);
    if (more > 0) rest += (size_t)more;
    if (more < 0 && more != WG_AGAIN) code = (wg_code)more;
    db_run(&f.one);
    uv_sleep(1);
  }
  /* To the walk it is a message of type 0, which no client has: its connection is nobody's again. */
  assert_true(code == WG_OK || code == WG_PROTOCOL);
  db_close(f.guest, h);
  db_run_until_stats(&f, 0, 0, 0);
  assert_int_equal(f.mock.logins, 1);
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cve_2025_12819_own_queries_do_not_follow_search_path),
      cmocka_unit_test(cve_2026_6664_lengths_inside_of_messages),
      cmocka_unit_test(cve_2026_6665_long_nonces_of_servers),
      cmocka_unit_test(cve_2026_6666_errors_without_sqlstate),
      cmocka_unit_test(cve_2026_6668_107348_lengths_beyond_2_to_31),
      cmocka_unit_test(cve_2026_6669_iterations_without_end),
      cmocka_unit_test(cve_2026_19888_attributes_of_scram),
      cmocka_unit_test(cve_2026_107349_options_without_names),
      cmocka_unit_test(cve_2026_107350_a_second_start_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
