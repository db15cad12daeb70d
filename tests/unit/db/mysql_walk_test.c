/* SPDX-License-Identifier: Apache-2.0 */
/* US-115: what the MySQL codec sees of a guest's session: its start-up, and both streams. */
#include "db/wire/mysql.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const wg_wire_ops *const my = &wg_wire_mysql;
enum { CAPS = MY_CAP_MULTI_STATEMENTS | MY_CAP_MULTI_RESULTS };

static void put_packet(wg_buf *b, uint8_t seq, const void *p, size_t n) {
  size_t at = my_begin(b, seq);
  wg_buf_put(b, p, n);
  my_end(b, at);
}

/* ---- streams ---- */

#define P(s) s, sizeof s - 1
#define OK "\0\0\0\2\0\0\0"
#define OK_MORE "\0\1\0\x0a\0\0\0"
#define OK_TRANS "\0\1\0\3\0\0\0"
#define ERR "\xff\x28\x04#42000no"
#define COLUMN "\3def\0\0\0\1a\0"
#define EOF_OLD "\xfe\0\0\2\0"
#define EOF_MORE "\xfe\0\0\x0a\0"
#define EOF_CURSOR "\xfe\0\0\x42\0"
#define EOF_NEW "\xfe\0\0\2\0\0\0"
#define EOF_NEW_MORE "\xfe\0\0\x0a\0\0\0"

enum { BOTH, OLD, NEW }; /* with DEPRECATE_EOF or without */

typedef struct message {
  const char *p;
  size_t n;
} message;

typedef struct exchange {
  const char *what;
  int eof;
  message client[4], server[16];
  bool tainted, in_trans;
} exchange;

static const exchange exchanges[] = {
    {"ping", BOTH, {{P("\x0e")}}, {{P(OK)}}, false, false},
    {"init_db", BOTH, {{P("\2shop")}}, {{P(OK)}}, false, false},
    {"init_db, refused", BOTH, {{P("\2shop")}}, {{P(ERR)}}, false, false},
    {"query without rows", BOTH, {{P("\3SET @a = 1")}}, {{P(OK)}}, false, false},
    {"into a transaction", BOTH, {{P("\3BEGIN")}}, {{P(OK_TRANS)}}, false, true},
    {"query, refused", BOTH, {{P("\3no")}}, {{P(ERR)}}, false, false},
    {"rows",
     OLD,
     {{P("\3q")}},
     {{P("\2")},
      {P(COLUMN)},
      {P(COLUMN)},
      {P(EOF_OLD)},
      {P("\1a\1b")},
      {P("\xfb\1b")},
      {P(EOF_OLD)}},
     false,
     false},
    {"rows",
     NEW,
     {{P("\3q")}},
     {{P("\2")}, {P(COLUMN)}, {P(COLUMN)}, {P("\1a\1b")}, {P("\xfb\1b")}, {P(EOF_NEW)}},
     false,
     false},
    {"no rows",
     OLD,
     {{P("\3q")}},
     {{P("\1")}, {P(COLUMN)}, {P(EOF_OLD)}, {P(EOF_OLD)}},
     false,
     false},
    {"no rows", NEW, {{P("\3q")}}, {{P("\1")}, {P(COLUMN)}, {P(EOF_NEW)}}, false, false},
    {"an error among the rows",
     NEW,
     {{P("\3q")}},
     {{P("\1")}, {P(COLUMN)}, {P("\1a")}, {P(ERR)}},
     false,
     false},
    {"an error among the rows",
     OLD,
     {{P("\3q")}},
     {{P("\1")}, {P(COLUMN)}, {P(EOF_OLD)}, {P("\1a")}, {P(ERR)}},
     false,
     false},
    {"several results",
     OLD,
     {{P("\3q;q;q")}},
     {{P(OK_MORE)}, {P("\1")}, {P(COLUMN)}, {P(EOF_OLD)}, {P("\1a")}, {P(EOF_MORE)}, {P(OK)}},
     false,
     false},
    {"several results",
     NEW,
     {{P("\3q;q;q")}},
     {{P(OK_MORE)}, {P("\1")}, {P(COLUMN)}, {P("\1a")}, {P(EOF_NEW_MORE)}, {P(OK)}},
     false,
     false},
    {"several results, the last refused",
     NEW,
     {{P("\3q;q")}},
     {{P(OK_MORE)}, {P(ERR)}},
     false,
     false},
    {"prepare",
     OLD,
     {{P("\x16?,?")}},
     {{P("\0\1\0\0\0\1\0\2\0\0\0\0")},
      {P(COLUMN)},
      {P(COLUMN)},
      {P(EOF_OLD)},
      {P(COLUMN)},
      {P(EOF_OLD)}},
     false,
     false},
    {"prepare",
     NEW,
     {{P("\x16?,?")}},
     {{P("\0\1\0\0\0\1\0\2\0\0\0\0")}, {P(COLUMN)}, {P(COLUMN)}, {P(COLUMN)}},
     false,
     false},
    {"prepare without any",
     BOTH,
     {{P("\x16 DO 1")}},
     {{P("\0\1\0\0\0\0\0\0\0\0\0\0")}},
     false,
     false},
    {"prepare, refused", BOTH, {{P("\x16no")}}, {{P(ERR)}}, false, false},
    {"execute",
     NEW,
     {{P("\x17\1\0\0\0\0\1\0\0\0")}},
     {{P("\1")}, {P(COLUMN)}, {P("\0\0\1a")}, {P(EOF_NEW)}},
     false,
     false},
    {"execute with a cursor",
     OLD,
     {{P("\x17\1\0\0\0\1\1\0\0\0")}},
     {{P("\1")}, {P(COLUMN)}, {P(EOF_CURSOR)}},
     false,
     false},
    {"fetch",
     OLD,
     {{P("\x1c\1\0\0\0\1\0\0\0")}},
     {{P("\0\0\1a")}, {P("\0\0\1b")}, {P(EOF_CURSOR)}},
     false,
     false},
    {"fetch", NEW, {{P("\x1c\1\0\0\0\1\0\0\0")}}, {{P("\0\0\1a")}, {P(EOF_NEW)}}, false, false},
    {"fetch, refused", BOTH, {{P("\x1c\1\0\0\0\1\0\0\0")}}, {{P(ERR)}}, false, false},
    {"long data, close",
     BOTH,
     {{P("\x18\1\0\0\0\0\0xxx")}, {P("\x19\1\0\0\0")}},
     {{NULL, 0}},
     false,
     false},
    {"close and ping", BOTH, {{P("\x19\1\0\0\0")}, {P("\x0e")}}, {{P(OK)}}, false, false},
    {"statement reset", BOTH, {{P("\x1a\1\0\0\0")}}, {{P(OK)}}, false, false},
    {"statistics", BOTH, {{P("\x09")}}, {{P("Uptime: 7")}}, false, false},
    {"statistics that look like an error", BOTH, {{P("\x09")}}, {{P("\xffUptime")}}, false, false},
    {"field list", OLD, {{P("\x04t\0")}}, {{P(COLUMN)}, {P(COLUMN)}, {P(EOF_OLD)}}, false, false},
    {"field list", NEW, {{P("\x04t\0")}}, {{P(COLUMN)}, {P(EOF_NEW)}}, false, false},
    {"set option", OLD, {{P("\x1b\0\0")}}, {{P(EOF_OLD)}}, false, false},
    {"reset", BOTH, {{P("\x1f")}}, {{P(OK)}}, false, false},
    {"pipelined",
     NEW,
     {{P("\x16?")}, {P("\x17\1\0\0\0\0\1\0\0\0")}, {P("\x19\1\0\0\0")}, {P("\x0e")}},
     {{P("\0\1\0\0\0\0\0\1\0\0\0\0")}, {P(COLUMN)}, {P(OK)}, {P(OK)}},
     false,
     false},
    {"column count of three bytes",
     NEW,
     {{P("\3q")}},
     {{P("\xfc\1\0")}, {P(COLUMN)}, {P(EOF_NEW)}},
     false,
     false},
    /* What is not walked over, or out of turn, is never idle again. */
    {"change user",
     BOTH,
     {{P("\x11"
         "app\0")}},
     {{P(OK)}},
     true,
     false},
    {"binlog", BOTH, {{P("\x12\0\0\0\0")}}, {{P(OK)}}, true, false},
    {"unknown", BOTH, {{P("\xfa")}}, {{P(OK)}}, true, false},
    {"empty", BOTH, {{P("")}}, {{P(ERR)}}, true, false},
    {"an answer to nothing", BOTH, {{P("\x19\1\0\0\0")}}, {{P(OK)}}, true, false},
    {"an answer too many", BOTH, {{P("\x0e")}}, {{P(OK)}, {P(OK)}}, true, false},
    {"an empty answer", BOTH, {{P("\x0e")}}, {{P("")}}, true, false},
    {"no prepared statement", BOTH, {{P("\x16?")}}, {{P("\0\1")}}, true, false},
    {"no column count", BOTH, {{P("\3q")}}, {{P("\1xx")}}, true, false},
    {"an OK too short", BOTH, {{P("\3q")}}, {{P("\0\0")}}, true, false},
};

typedef struct walk {
  my_server s;
  wg_wire_track t;
  wg_error err;
} walk;

static void put_all(wg_buf *b, const message *m, size_t most) {
  for (size_t i = 0; i < most && m[i].p; i++) put_packet(b, (uint8_t)i, m[i].p, m[i].n);
}

static void client(walk *w, const uint8_t *p, size_t n) {
  size_t pass;
  assert_int_equal(my->track_client(&w->t, p, n, &pass, &w->err), WG_WIRE_OK);
  assert_int_equal(pass, n);
}

static void server(walk *w, const uint8_t *p, size_t n) {
  assert_int_equal(my->track_server(&w->t, &w->s.base, p, n, &w->err), WG_WIRE_OK);
}

static void walk_exchange(const exchange *e, bool deprecate_eof) {
  wg_buf c, s;
  wg_buf_init(&c, 4096);
  wg_buf_init(&s, 4096);
  put_all(&c, e->client, WG_COUNT(e->client));
  put_all(&s, e->server, WG_COUNT(e->server));
  size_t nc = wg_buf_len(&c), ns = wg_buf_len(&s);
  const uint8_t *pc = wg_buf_head(&c), *ps = wg_buf_head(&s);
  for (size_t i = 0; i <= nc; i++)
    for (size_t k = 0; k <= ns; k++) {
      walk w = {.s.caps = CAPS | (deprecate_eof ? (uint32_t)MY_CAP_DEPRECATE_EOF : 0)};
      client(&w, pc, i);
      if (i && i < nc && my->idle(&w.t) && w.t.client.type == 0)
        fail_msg("%s: idle after %zu of %zu bytes of the client", e->what, i, nc);
      client(&w, pc + i, nc - i);
      server(&w, ps, k);
      if (k < ns && my->idle(&w.t) && !e->tainted)
        fail_msg("%s: idle after %zu of %zu bytes of the server", e->what, k, ns);
      server(&w, ps + k, ns - k);
      if (my->idle(&w.t) == e->tainted || w.t.tainted != e->tainted)
        fail_msg("%s (%d), split at %zu and %zu: idle %d, tainted %d, pending %u", e->what,
                 deprecate_eof, i, k, my->idle(&w.t), w.t.tainted, w.t.pending);
      if (!e->tainted) assert_int_equal(w.t.txn, e->in_trans ? MY_STATUS_IN_TRANS : 0);
    }
  wg_buf_release(&c);
  wg_buf_release(&s);
}

static void test_exchanges(void **state) {
  (void)state;
  for (size_t i = 0; i < WG_COUNT(exchanges); i++) {
    if (exchanges[i].eof != NEW) walk_exchange(&exchanges[i], false);
    if (exchanges[i].eof != OLD) walk_exchange(&exchanges[i], true);
  }
}

/* One exchange behind the other, byte by byte: nothing of one is left for the next. */
static void test_one_after_the_other(void **state) {
  (void)state;
  for (int deprecate_eof = 0; deprecate_eof < 2; deprecate_eof++) {
    walk w = {.s.caps = CAPS | (deprecate_eof ? (uint32_t)MY_CAP_DEPRECATE_EOF : 0)};
    for (size_t i = 0; i < WG_COUNT(exchanges); i++) {
      const exchange *e = &exchanges[i];
      if (e->tainted || e->eof == (deprecate_eof ? OLD : NEW)) continue;
      wg_buf c, s;
      wg_buf_init(&c, 4096);
      wg_buf_init(&s, 4096);
      put_all(&c, e->client, WG_COUNT(e->client));
      put_all(&s, e->server, WG_COUNT(e->server));
      for (size_t k = 0; k < wg_buf_len(&c); k++) client(&w, wg_buf_head(&c) + k, 1);
      for (size_t k = 0; k < wg_buf_len(&s); k++) server(&w, wg_buf_head(&s) + k, 1);
      if (!my->idle(&w.t)) fail_msg("%s: not idle", e->what);
      wg_buf_release(&c);
      wg_buf_release(&s);
    }
  }
}

/* A message of 16 MiB - 1 goes on in the next packet, and what that begins with is no command, no
 * row's mark and no end. */
static void test_long_messages(void **state) {
  (void)state;
  uint8_t *data = malloc(MY_PACKET_MAX);
  memset(data, 0xFE, MY_PACKET_MAX);
  const size_t rest[] = {0, 1, 5, 300};
  for (size_t r = 0; r < WG_COUNT(rest); r++) {
    walk w = {.s.caps = CAPS | (uint32_t)MY_CAP_DEPRECATE_EOF};
    wg_buf b;
    wg_buf_init(&b, 1024);
    data[0] = 3;
    client(&w, (const uint8_t *)"\xff\xff\xff\0", 4);
    client(&w, data, MY_PACKET_MAX);
    assert_false(my->idle(&w.t));
    data[0] = 1; /* COM_QUIT, if it were one */
    put_packet(&b, 1, data, rest[r]);
    client(&w, wg_buf_head(&b), wg_buf_len(&b));
    assert_int_equal(w.t.pending, 1);
    assert_false(w.t.ended);
    wg_buf_clear(&b);
    put_packet(&b, 2, "\1", 1);
    put_packet(&b, 3, COLUMN, 9);
    server(&w, wg_buf_head(&b), wg_buf_len(&b));
    data[0] = 0xFE; /* a row whose first text has 16 MiB or more */
    server(&w, (const uint8_t *)"\xff\xff\xff\4", 4);
    server(&w, data, MY_PACKET_MAX);
    wg_buf_clear(&b);
    put_packet(&b, 5, data, rest[r]);
    server(&w, wg_buf_head(&b), wg_buf_len(&b));
    assert_false(my->idle(&w.t));
    assert_false(w.t.tainted);
    wg_buf_clear(&b);
    put_packet(&b, 6, EOF_NEW, 7);
    server(&w, wg_buf_head(&b), wg_buf_len(&b));
    assert_true(my->idle(&w.t));
    wg_buf_release(&b);
  }
  free(data);
}

/* COM_QUIT and what follows it stay here. Where its header went ahead of it, the server has half a
 * packet: that connection is of no more use. */
static void test_quit_is_withheld(void **state) {
  (void)state;
  static const uint8_t bytes[] = {1, 0, 0, 0, 0x0E, 1, 0, 0, 0, 1, 'x', 'y'};
  for (size_t split = 0; split <= 10; split++) {
    walk w = {0};
    size_t first = 0, second = 0;
    assert_int_equal(my->track_client(&w.t, bytes, split, &first, &w.err), WG_WIRE_OK);
    if (!w.t.ended)
      assert_int_equal(my->track_client(&w.t, bytes + split, sizeof bytes - split, &second, &w.err),
                       WG_WIRE_OK);
    assert_true(w.t.ended);
    bool header_went = split > 5 && split < 10;
    assert_int_equal(w.t.tainted, header_went);
    if (!header_went) assert_int_equal(first + second, 5);
    if (header_went) assert_int_equal(second, 0);
  }
}

/* More than that may be under way; the walk then gives up the count, not the guest. */
static void test_many_pipelined(void **state) {
  (void)state;
  for (size_t n = 1; n < 40; n++) {
    walk w = {0};
    for (size_t i = 0; i < n; i++) client(&w, (const uint8_t *)"\1\0\0\0\x0e", 5);
    for (size_t i = 0; i < n; i++) server(&w, (const uint8_t *)"\7\0\0\1" OK, 11);
    assert_int_equal(my->idle(&w.t), n <= 16);
  }
}

/* A file of the guest's is nobody's business, whatever its driver thinks. */
static void test_local_infile(void **state) {
  (void)state;
  walk w = {0};
  static const uint8_t ask[] = "\x0c\0\0\1\xfb/etc/passwd";
  client(&w, (const uint8_t *)"\2\0\0\0\3q", 6);
  server(&w, ask, 4);
  assert_int_equal(my->track_server(&w.t, &w.s.base, ask + 4, sizeof ask - 5, &w.err),
                   WG_WIRE_ERROR);
  assert_int_equal(w.err.code, WG_PROTOCOL);
  assert_false(my->idle(&w.t));
}

static int farewell_seq(const walk *w) {
  wg_buf b;
  wg_buf_init(&b, 4096);
  my->farewell(&w->t, "gone", &b);
  int seq = wg_buf_len(&b) ? wg_buf_head(&b)[3] : -1;
  if (seq >= 0) assert_int_equal(wg_buf_head(&b)[4], 0xFF);
  wg_buf_release(&b);
  return seq;
}

/* The guest is told in the number that it waits for. */
static void test_farewell(void **state) {
  (void)state;
  walk w = {.s.caps = CAPS | (uint32_t)MY_CAP_DEPRECATE_EOF};
  assert_int_equal(farewell_seq(&w), 1);
  client(&w, (const uint8_t *)"\2\0\0\0\3q", 6);
  assert_int_equal(farewell_seq(&w), 1);
  server(&w, (const uint8_t *)"\1\0\0\1\1", 5);
  assert_int_equal(farewell_seq(&w), 2);
  server(&w, (const uint8_t *)"\7\0\0\2\3de", 7);
  assert_int_equal(farewell_seq(&w), -1); /* in the middle of a column */
  walk idle = {0};
  server(&idle, (const uint8_t *)"\5\0\0\0\xff\x1d\4no", 9);
  assert_int_equal(farewell_seq(&idle), -1); /* the server has said it */
}

/* ---- a guest's start-up ---- */

typedef struct guest {
  wg_wire_guest *g;
  wg_wire_hello kept;
  wg_wire_policy policy;
  my_server server;
  wg_wire_login login;
  wg_buf out, none;
  wg_error err;
  size_t taken;
  my_hello hello;
} guest;

static void guest_begin(guest *g, my_plugin plugin) {
  memset(g, 0, sizeof *g);
  g->g = my->guest_new();
  g->server = (my_server){.base.ops = my,
                          .hello = {.version = "10.11.4-MariaDB",
                                    .caps = (uint32_t)MY_OFFERED | MY_CAP_SSL | MY_CAP_COMPRESS,
                                    .status = MY_STATUS_AUTOCOMMIT,
                                    .charset = 45,
                                    .plugin = (uint8_t)plugin}};
  my->hello(&g->server.base, &g->kept);
  g->policy = (wg_wire_policy){.hello = &g->kept};
  wg_buf_init(&g->out, 1 << 16);
  wg_buf_init(&g->none, 1);
}

static void guest_end(guest *g) {
  my->guest_free(g->g);
  wg_buf_release(&g->out);
  wg_buf_release(&g->none);
}

static wg_wire_step say(guest *g, wg_wire_server *s, const void *p, size_t n) {
  return my->greet(g->g, s, &g->policy, p, n, &g->taken, &g->out, &g->none, &g->err);
}

/** The first words, which are a handshake. */
static void greeted(guest *g, wg_wire_server *s) {
  wg_reader body;
  uint8_t seq;
  assert_int_equal(say(g, s, NULL, 0), WG_WIRE_MORE);
  assert_int_equal(my_next(&g->out, &seq, &body, &g->err), WG_WIRE_OK);
  assert_int_equal(seq, 0);
  assert_null(my_hello_read(&g->hello, body));
  my_drop(&g->out);
  assert_int_equal(wg_buf_len(&g->out), 0);
}

enum { GUEST_CAPS = CAPS | MY_CAP_PROTOCOL_41 | MY_CAP_SECURE_CONNECTION | MY_CAP_PLUGIN_AUTH };

static void put_response(wg_buf *b, uint32_t caps, const char *database, const char *plugin,
                         size_t proof) {
  static const uint8_t none[64];
  size_t at = my_begin(b, 1);
  my_put_u32(b, caps | (database ? (uint32_t)MY_CAP_CONNECT_WITH_DB : 0));
  my_put_u32(b, 1 << 24);
  wg_buf_put_u8(b, 33);
  wg_buf_put(b, none, 23);
  wg_buf_put_cstr(b, "me");
  wg_buf_put_u8(b, (uint8_t)proof);
  wg_buf_put(b, none, proof);
  if (database) wg_buf_put_cstr(b, database);
  if (plugin) wg_buf_put_cstr(b, plugin);
  my_end(b, at);
}

static void check_packet(guest *g, uint8_t seq, const void *p, size_t n) {
  wg_reader body;
  uint8_t got;
  assert_int_equal(my_next(&g->out, &got, &body, &g->err), WG_WIRE_OK);
  assert_int_equal(got, seq);
  assert_true(body.len >= n);
  assert_memory_equal(body.p, p, n);
  my_drop(&g->out);
}

/* Greeted in the words of a server that was met before; the response says which one is wanted. */
static void test_greeting(void **state) {
  (void)state;
  const my_plugin plugins[] = {MY_PLUGIN_NATIVE, MY_PLUGIN_CACHING_SHA2, MY_PLUGIN_SHA256};
  for (size_t k = 0; k < WG_COUNT(plugins); k++) {
    wg_buf b;
    wg_buf_init(&b, 1024);
    bool sha2 = plugins[k] == MY_PLUGIN_CACHING_SHA2;
    put_response(&b, GUEST_CAPS | MY_CAP_DEPRECATE_EOF, "shop",
                 sha2 ? "caching_sha2_password" : "mysql_native_password", sha2 ? 32 : 20);
    for (size_t split = 0; split <= wg_buf_len(&b); split++) {
      guest g;
      guest_begin(&g, plugins[k]);
      greeted(&g, NULL);
      assert_string_equal(g.hello.version, "10.11.4-MariaDB");
      assert_int_equal(g.hello.plugin, sha2 ? MY_PLUGIN_CACHING_SHA2 : MY_PLUGIN_NATIVE);
      assert_int_equal(g.hello.caps & (MY_CAP_SSL | MY_CAP_COMPRESS | 1 << 7), 0);
      assert_int_not_equal(g.hello.thread, 0);
      assert_null(memchr(g.hello.scramble, 0, MY_SCRAMBLE));
      wg_wire_step step = say(&g, NULL, wg_buf_head(&b), split);
      assert_int_equal(g.taken, split);
      if (split < wg_buf_len(&b)) {
        assert_int_equal(step, WG_WIRE_MORE);
        step = say(&g, NULL, wg_buf_head(&b) + split, wg_buf_len(&b) - split);
        assert_int_equal(g.taken, wg_buf_len(&b) - split);
      }
      assert_int_equal(step, WG_WIRE_LEASE);
      assert_string_equal(g.g->user, "me");
      assert_string_equal(g.g->database, "shop");
      assert_true(g.g->shape == ((uint64_t)33 << 32 | CAPS | (uint32_t)MY_CAP_DEPRECATE_EOF));
      assert_int_equal(say(&g, &g.server.base, NULL, 0), WG_WIRE_OK);
      if (sha2) check_packet(&g, 2, "\1\3", 2);
      check_packet(&g, sha2 ? 3 : 2, OK, 7);
      assert_int_equal(wg_buf_len(&g.out), 0);
      guest_end(&g);
    }
    wg_buf_release(&b);
  }
}

/* With a server at hand: it is kept when it is what the guest needs. Bytes behind the response are
 * for the server. */
static void test_greeting_with_a_server(void **state) {
  (void)state;
  for (int fits = 0; fits < 2; fits++) {
    guest g;
    wg_buf b;
    wg_buf_init(&b, 1024);
    guest_begin(&g, MY_PLUGIN_NATIVE);
    g.policy.hello = NULL;
    g.policy.database = "shop";
    g.server.login.shape = (uint64_t)(fits ? 33 : 45) << 32 | CAPS;
    greeted(&g, &g.server.base);
    put_response(&b, GUEST_CAPS, NULL, "mysql_native_password", 0);
    size_t n = wg_buf_len(&b);
    wg_buf_put(&b, "\1\0\0\0\x0e", 5);
    wg_wire_step step = say(&g, &g.server.base, wg_buf_head(&b), wg_buf_len(&b));
    assert_int_equal(g.taken, n);
    assert_int_equal(step, fits ? WG_WIRE_OK : WG_WIRE_LEASE);
    if (!fits) {
      g.server.login.shape = g.g->shape;
      assert_int_equal(say(&g, &g.server.base, NULL, 0), WG_WIRE_OK);
    }
    check_packet(&g, 2, OK, 7);
    guest_end(&g);
    wg_buf_release(&b);
  }
}

/* A server that nobody has met yet. */
static void test_greeting_unmet(void **state) {
  (void)state;
  guest g;
  guest_begin(&g, MY_PLUGIN_NATIVE);
  g.policy.hello = NULL;
  greeted(&g, NULL);
  assert_int_equal(g.hello.caps & ~(uint32_t)MY_OFFERED, 0);
  guest_end(&g);
}

static void test_refused_responses(void **state) {
  (void)state;
  static const struct {
    uint32_t caps;
    const char *database;
    uint16_t code;
  } cases[] = {{GUEST_CAPS | MY_CAP_SSL, NULL, 1043},
               {GUEST_CAPS | MY_CAP_COMPRESS, NULL, 1043},
               {GUEST_CAPS & ~(uint32_t)MY_CAP_PROTOCOL_41, NULL, 1043},
               {GUEST_CAPS & ~(uint32_t)MY_CAP_SECURE_CONNECTION, NULL, 1043},
               {GUEST_CAPS, "till\n", 1049}};
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    guest g;
    wg_buf b;
    wg_buf_init(&b, 1024);
    guest_begin(&g, MY_PLUGIN_NATIVE);
    g.policy.database = "shop";
    g.server.login.shape = (uint64_t)33 << 32 | CAPS;
    greeted(&g, &g.server.base);
    put_response(&b, cases[i].caps, cases[i].database, "mysql_native_password", 20);
    assert_int_equal(say(&g, &g.server.base, wg_buf_head(&b), wg_buf_len(&b)), WG_WIRE_END);
    const uint8_t mark[] = {0xFF, (uint8_t)cases[i].code, (uint8_t)(cases[i].code >> 8), '#'};
    check_packet(&g, 2, mark, 4);
    guest_end(&g);
    wg_buf_release(&b);
  }
}

/* Every prefix and every single changed byte of a response: an answer, and no harm. */
static void test_hostile_responses(void **state) {
  (void)state;
  wg_buf b;
  wg_buf_init(&b, 1024);
  put_response(&b, GUEST_CAPS | MY_CAP_LENENC_AUTH, "shop", "caching_sha2_password", 32);
  size_t n = wg_buf_len(&b);
  for (size_t at = 0; at < n; at++)
    for (int flip = 0; flip < 8; flip++) {
      uint8_t copy[256];
      guest g;
      memcpy(copy, wg_buf_head(&b), n);
      copy[at] ^= (uint8_t)(1 << flip);
      guest_begin(&g, MY_PLUGIN_CACHING_SHA2);
      greeted(&g, NULL);
      (void)say(&g, NULL, copy, n);
      assert_true(g.taken <= n);
      guest_end(&g);
    }
  for (size_t body = 0; body < n - 4; body++) { /* cut short, with a length that says so */
    uint8_t copy[256] = {(uint8_t)body, 0, 0, 1};
    guest g;
    memcpy(copy + 4, wg_buf_head(&b) + 4, body);
    guest_begin(&g, MY_PLUGIN_CACHING_SHA2);
    greeted(&g, NULL);
    wg_wire_step step = say(&g, NULL, copy, body + 4);
    assert_true(step == WG_WIRE_END || step == WG_WIRE_LEASE);
    guest_end(&g);
  }
  guest g;
  guest_begin(&g, MY_PLUGIN_NATIVE);
  greeted(&g, NULL);
  assert_int_equal(say(&g, NULL, "\0\0\1\1", 4), WG_WIRE_END); /* 64 KiB are announced */
  guest_end(&g);
  wg_buf_release(&b);
}

/* ---- the guest's password ---- */

/** Sends `password` as a client does that was asked in full. */
static wg_wire_step say_password(guest *g, const char *password, uint8_t seq) {
  wg_buf b;
  wg_reader body;
  uint8_t got;
  wg_buf_init(&b, 1024);
  put_packet(&b, seq, "\2", 1);
  assert_int_equal(say(g, NULL, wg_buf_head(&b), 5), WG_WIRE_MORE);
  assert_int_equal(my_next(&g->out, &got, &body, &g->err), WG_WIRE_OK);
  assert_int_equal(got, seq + 1);
  assert_int_equal(body.p[0], 1);
  wg_buf_clear(&b);
  wg_secret s = {(char *)password, strlen(password)};
  size_t at = my_begin(&b, (uint8_t)(seq + 2));
  assert_int_equal(my_rsa_encrypt(&s, g->hello.scramble, body.p + 1, body.len - 1, &b, &g->err),
                   WG_OK);
  my_end(&b, at);
  my_drop(&g->out);
  wg_wire_step step = WG_WIRE_MORE;
  for (size_t i = 0; i < wg_buf_len(&b); i++) step = say(g, NULL, wg_buf_head(&b) + i, 1);
  wg_buf_release(&b);
  return step;
}

static void test_guests_password(void **state) {
  (void)state;
  for (int sha2 = 0; sha2 < 2; sha2++) {
    guest g;
    wg_buf b;
    wg_buf_init(&b, 1024);
    guest_begin(&g, sha2 ? MY_PLUGIN_CACHING_SHA2 : MY_PLUGIN_NATIVE);
    greeted(&g, NULL);
    put_response(&b, GUEST_CAPS, NULL, sha2 ? "caching_sha2_password" : "mysql_native_password",
                 sha2 ? 32 : 20);
    assert_int_equal(say(&g, NULL, wg_buf_head(&b), wg_buf_len(&b)), WG_WIRE_LEASE);
    my->ask_password(g.g, &g.out);
    uint8_t seq = 3;
    if (!sha2) { /* the other plugin first */
      check_packet(&g, 2,
                   "\xfe"
                   "caching_sha2_password",
                   23);
      wg_buf_clear(&b);
      put_packet(&b, 3, "any proof will do: it is not read", 32);
      assert_int_equal(say(&g, NULL, wg_buf_head(&b), wg_buf_len(&b)), WG_WIRE_MORE);
      seq = 5;
    }
    check_packet(&g, (uint8_t)(seq - 1), "\1\4", 2);
    assert_int_equal(say_password(&g, "mine", seq), WG_WIRE_LEASE);
    assert_int_equal(g.g->password_len, 4);
    assert_memory_equal(g.g->password, "mine", 4);
    assert_int_equal(say(&g, &g.server.base, NULL, 0), WG_WIRE_OK);
    assert_null(g.g->password);
    check_packet(&g, (uint8_t)(seq + 3), OK, 7);
    guest_end(&g);
    wg_buf_release(&b);
  }
}

/* Nothing is taken for a password that is none. */
static void test_guests_without_password(void **state) {
  (void)state;
  enum { EMPTY_PROOF, ZERO_PROOF, EMPTY_TEXT, NOISE, KINDS };
  for (int kind = 0; kind < KINDS; kind++) {
    guest g;
    wg_buf b;
    wg_buf_init(&b, 1024);
    guest_begin(&g, MY_PLUGIN_NATIVE);
    greeted(&g, NULL);
    put_response(&b, GUEST_CAPS, NULL, "mysql_native_password", 0);
    assert_int_equal(say(&g, NULL, wg_buf_head(&b), wg_buf_len(&b)), WG_WIRE_LEASE);
    my->ask_password(g.g, &g.out);
    wg_buf_clear(&g.out);
    wg_buf_clear(&b);
    wg_wire_step step;
    if (kind == EMPTY_PROOF || kind == ZERO_PROOF) {
      put_packet(&b, 3, "", kind == ZERO_PROOF ? 1 : 0);
      step = say(&g, NULL, wg_buf_head(&b), wg_buf_len(&b));
    } else {
      put_packet(&b, 3, "a proof of 32 bytes, or of others", 32);
      assert_int_equal(say(&g, NULL, wg_buf_head(&b), wg_buf_len(&b)), WG_WIRE_MORE);
      wg_buf_clear(&g.out);
      if (kind == EMPTY_TEXT) {
        step = say_password(&g, "", 5);
      } else {
        wg_buf_clear(&b);
        put_packet(&b, 5, "\2", 1);
        assert_int_equal(say(&g, NULL, wg_buf_head(&b), 5), WG_WIRE_MORE);
        wg_buf_clear(&g.out);
        wg_buf_clear(&b);
        put_packet(&b, 7, "noise", 5);
        step = say(&g, NULL, wg_buf_head(&b), wg_buf_len(&b));
      }
    }
    assert_int_equal(step, WG_WIRE_END);
    assert_null(g.g->password);
    assert_int_equal(wg_buf_head(&g.out)[4], 0xFF);
    guest_end(&g);
    wg_buf_release(&b);
  }
}

/* ---- no session ---- */

static void test_refuse(void **state) {
  (void)state;
  static const struct {
    wg_code code;
    const char *msg;
    uint16_t number;
    const char *sqlstate, *text;
  } cases[] = {
      {WG_EXHAUSTED, "all in use (SQLSTATE 53300)", 1040, "08004", "all in use"},
      {WG_IO, "database 'main': the host is stopping (SQLSTATE 57P01)", 1053, "08S01", "stopping"},
      {WG_AUTH, "refused: 1045: Access denied (SQLSTATE 28000)", 1045, "28000", "Access denied"},
      {WG_REFUSED, "no such database", 1049, "42000", "no such database"},
      {WG_TIMEOUT, "no answer (SQLSTATE 08001)", 2003, "HY000", "no answer"}};
  for (size_t i = 0; i < WG_COUNT(cases); i++)
    for (int said = 0; said < 2; said++) {
      guest g;
      wg_error why;
      char body[600] = "";
      guest_begin(&g, MY_PLUGIN_NATIVE);
      if (said) greeted(&g, NULL);
      wg_error_set(&why, cases[i].code, 0, "%s", cases[i].msg);
      my->refuse(g.g, &why, &g.out);
      wg_reader r;
      uint8_t seq;
      assert_int_equal(my_next(&g.out, &seq, &r, &g.err), WG_WIRE_OK);
      assert_int_equal(seq, said ? 2 : 0);
      assert_int_equal(wg_take_u8(&r), 0xFF);
      assert_int_equal(my_take_u16(&r), cases[i].number);
      if (said) {
        assert_int_equal(wg_take_u8(&r), '#');
        assert_memory_equal(wg_take_bytes(&r, 5), cases[i].sqlstate, 5);
      }
      memcpy(body, r.p, r.len);
      assert_non_null(strstr(body, cases[i].text));
      assert_null(strstr(body, "SQLSTATE"));
      guest_end(&g);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exchanges),
      cmocka_unit_test(test_one_after_the_other),
      cmocka_unit_test(test_long_messages),
      cmocka_unit_test(test_quit_is_withheld),
      cmocka_unit_test(test_many_pipelined),
      cmocka_unit_test(test_local_infile),
      cmocka_unit_test(test_farewell),
      cmocka_unit_test(test_greeting),
      cmocka_unit_test(test_greeting_with_a_server),
      cmocka_unit_test(test_greeting_unmet),
      cmocka_unit_test(test_refused_responses),
      cmocka_unit_test(test_hostile_responses),
      cmocka_unit_test(test_guests_password),
      cmocka_unit_test(test_guests_without_password),
      cmocka_unit_test(test_refuse),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
