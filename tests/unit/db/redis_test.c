/* SPDX-License-Identifier: Apache-2.0 */
/* US-116: the Redis codec: what goes to a server, what comes of a guest, and both streams. */
#include "db/wire/redis.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const wg_wire_ops *const rd = &wg_wire_redis;
static const wg_secret secret = {(char *)"secret", 6}, none = {NULL, 0};

/* ---- the server's side ---- */

static void take_text(wg_buf *b, char *out, size_t cap) {
  assert_true(wg_buf_len(b) < cap);
  memcpy(out, wg_buf_head(b), wg_buf_len(b));
  out[wg_buf_len(b)] = '\0';
  wg_buf_clear(b);
}

/** Takes the random part out of the last request; it is in s->nonce. */
static void hide_nonce(const wg_wire_server *s, char *text) {
  char *at = strstr(text, ((const rd_server *)s)->nonce);
  assert_non_null(at);
  memset(at, 'N', RD_NONCE);
}

#define PING_N "*2\r\n$4\r\nPING\r\n$16\r\nNNNNNNNNNNNNNNNN\r\n"

static void test_log_in_words(void **state) {
  (void)state;
  static const struct {
    const char *user;
    bool password;
    const char *database, *words;
  } kinds[] = {
      {NULL, false, "0", PING_N},
      {"default", false, "", PING_N},
      {NULL, true, "0", "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n" PING_N},
      {"default", true, "4",
       "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n4\r\n" PING_N},
      {"app", true, "0", "*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$6\r\nsecret\r\n" PING_N},
      {"app", false, "12",
       "*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$0\r\n\r\n*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n" PING_N},
  };
  for (size_t i = 0; i < WG_COUNT(kinds); i++) {
    wg_wire_login login = {.user = kinds[i].user,
                           .database = kinds[i].database,
                           .password = kinds[i].password ? &secret : &none};
    wg_wire_server *s = rd->server_new(&login);
    wg_buf in, out;
    wg_error err;
    char text[512], expected[600];
    wg_buf_init(&in, WG_WIRE_IN_MAX);
    wg_buf_init(&out, WG_WIRE_OUT_MAX);
    assert_int_equal(rd->login(s, &in, &out, &err), WG_WIRE_MORE);
    take_text(&out, text, sizeof text);
    hide_nonce(s, text);
    assert_string_equal(text, kinds[i].words);
    wg_wire_track t = {0};
    rd->reset(s, &t, &out);
    take_text(&out, text, sizeof text);
    hide_nonce(s, text);
    snprintf(expected, sizeof expected, "*1\r\n$5\r\nRESET\r\n%s", kinds[i].words);
    assert_string_equal(text, expected);
    rd->ping(s, &out);
    take_text(&out, text, sizeof text);
    assert_string_equal(text, "*1\r\n$4\r\nPING\r\n");
    rd->server_free(s);
    wg_buf_release(&in);
    wg_buf_release(&out);
  }
}

enum { LOGIN, RESET, PING };

/** Plays the server's words, cut at every byte. '@' stands for the nonce. */
static wg_wire_step play(int what, const char *words, size_t cut, wg_error *err,
                         wg_wire_fault *fault) {
  wg_wire_login login = {.database = "3", .password = &secret};
  wg_wire_server *s = rd->server_new(&login);
  wg_buf in, out;
  wg_wire_track t = {0};
  wg_wire_step step = WG_WIRE_MORE;
  char text[2048];
  size_t n = 0;
  wg_buf_init(&in, WG_WIRE_IN_MAX);
  wg_buf_init(&out, WG_WIRE_OUT_MAX);
  if (what == LOGIN) step = rd->login(s, &in, &out, err);
  if (what == RESET) rd->reset(s, &t, &out);
  if (what == PING) rd->ping(s, &out);
  for (const char *p = words; *p; p++)
    n += (size_t)snprintf(text + n, sizeof text - n, *p == '@' ? "%s" : "%.1s",
                          *p == '@' ? ((rd_server *)s)->nonce : p);
  for (size_t at = 0; at < n && step == WG_WIRE_MORE;) {
    size_t part = at == 0 && cut ? cut : n - at;
    if (part > n - at) part = n - at;
    wg_buf_put(&in, text + at, part);
    at += part;
    step = what == LOGIN ? rd->login(s, &in, &out, err) : rd->reply(s, &in, &out, err);
  }
  *fault = s->fault;
  rd->server_free(s);
  wg_buf_release(&in);
  wg_buf_release(&out);
  return step;
}

static void test_answers(void **state) {
  (void)state;
  static const struct {
    int what;
    const char *words;
    wg_wire_step step;
    wg_wire_fault fault;
    const char *message;
  } all[] = {
      {LOGIN, "+OK\r\n+OK\r\n$16\r\n@\r\n", WG_WIRE_OK, WG_WIRE_FAULT_NONE, NULL},
      {LOGIN, "+OK\r\n+OK\r\n$16\r\n@\r", WG_WIRE_MORE, WG_WIRE_FAULT_NONE, NULL},
      {LOGIN, "+OK\r\n+OK\r\n$16\r\n@\r\n+OK\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER, "more than"},
      {LOGIN, "+OK\r\n+OK\r\n$16\r\n0123456789012345\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER,
       "not the one"},
      {LOGIN, "+OK\r\n+OK\r\n+PONG\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER, "not the one"},
      {LOGIN, "-WRONGPASS no\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_AUTH, "WRONGPASS no"},
      {LOGIN, "-ERR invalid password\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_AUTH, "invalid password"},
      {LOGIN, "-ERR AUTH <password> called without any password configured\r\n", WG_WIRE_ERROR,
       WG_WIRE_FAULT_AUTH, "without any"},
      {LOGIN, "-DENIED Redis is running in protected mode\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_AUTH,
       "protected"},
      {LOGIN, "+OK\r\n-NOPERM select\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_AUTH, "NOPERM"},
      {LOGIN, "+OK\r\n-ERR DB index is out of range\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER,
       "out of range"},
      {LOGIN, "-ERR max number of clients reached\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_BUSY, "max"},
      {LOGIN, "-LOADING Redis is loading\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_BUSY, "LOADING"},
      {LOGIN, "HTTP/1.1 400 Bad Request\r\n\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER,
       "not the one"},
      {LOGIN, "-ERR unknown command 'AUTH', with args beginning with: 'secret' \r\n", WG_WIRE_ERROR,
       WG_WIRE_FAULT_OTHER, "unknown command 'AUTH'"},
      {LOGIN, "-ERR unknown command `AUTH`, with args beginning with: `secret`, \r\n",
       WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER, "unknown command `AUTH`"},
      {LOGIN, "-ERR no such command: AUTH secret\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER,
       "no such command: AUTH"},
      {LOGIN, "-ERR ab\tcd\x1b[31m\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER, "ab cd [31m"},
      {RESET, "+RESET\r\n+OK\r\n+OK\r\n$16\r\n@\r\n", WG_WIRE_OK, WG_WIRE_FAULT_NONE, NULL},
      {RESET, "+OK\r\n+RESET\r\n+OK\r\n+OK\r\n$16\r\n@\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER,
       "not the one"},
      {RESET, "$5\r\nother\r\n+RESET\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER, "not the one"},
      {RESET, "+RESET\r\n+OK\r\n+OK\r\n$16\r\n@\r\n$1\r\nx\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER,
       "more than"},
      {RESET, "-ERR unknown command 'RESET'\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER, "unknown"},
      {PING, "+PONG\r\n", WG_WIRE_OK, WG_WIRE_FAULT_NONE, NULL},
      {PING, "-LOADING wait\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_BUSY, "LOADING"},
      {PING, "$4\r\nPONG\r\n", WG_WIRE_ERROR, WG_WIRE_FAULT_OTHER, "not the one"},
  };
  for (size_t i = 0; i < WG_COUNT(all); i++)
    for (size_t cut = 0; cut <= strlen(all[i].words) + 16; cut++) {
      wg_error err = {0};
      wg_wire_fault fault;
      wg_wire_step step = play(all[i].what, all[i].words, cut, &err, &fault);
      /* What comes behind the last answer and later is found by who waits for the next one. */
      bool later =
          all[i].message && strcmp(all[i].message, "more than") == 0 && cut && step == WG_WIRE_OK;
      if (later) continue;
      if (step != all[i].step || fault != all[i].fault)
        fail_msg("%s, cut at %zu: %d %d", all[i].words, cut, step, fault);
      if (all[i].message && !strstr(err.msg, all[i].message)) fail_msg("%s", err.msg);
      if (strstr(err.msg, "secret")) fail_msg("%s", err.msg); /* the password */
    }
}

/* A refusal that never ends is not waited for. */
static void test_endless_refusal(void **state) {
  (void)state;
  char words[RD_LINE_MAX + 2];
  wg_error err;
  wg_wire_fault fault;
  memset(words, 'x', sizeof words);
  words[0] = '-';
  words[sizeof words - 1] = '\0';
  assert_int_equal(play(LOGIN, words, 0, &err, &fault), WG_WIRE_ERROR);
}

/* ---- both streams ---- */

typedef struct exchange {
  const char *client, *server;
  bool tainted, listens;
  uint32_t owed;
} exchange;

static const exchange exchanges[] = {
    {"*1\r\n$4\r\nPING\r\n", "+PONG\r\n", false, false, 0},
    {"PING\r\n", "+PONG\r\n", false, false, 0},
    {"  ping  \n", "+PONG\r\n", false, false, 0},
    {"\r\n\r\n*0\r\n*-1\r\n", "", false, false, 0},
    {"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "$-1\r\n", false, false, 0},
    {"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "$0\r\n\r\n", false, false, 0},
    {"*2\r\n$3\r\nGET\r\n$4\r\n\r\n*1\r\n", "$6\r\n+OK\r\n\n\r\n", false, false, 0},
    {"GET a\r\nGET b\r\n", "$1\r\nx\r\n", false, false, 1},
    {"*1\r\n$4\r\nPING\r\n", "-ERR no\r\n", false, false, 0},
    {"KEYS *\r\n", "*0\r\n", false, false, 0},
    {"KEYS *\r\n", "*-1\r\n", false, false, 0},
    {"KEYS *\r\n", "*2\r\n$1\r\na\r\n$-1\r\n", false, false, 0},
    {"EXEC\r\n", "*2\r\n*2\r\n:1\r\n*0\r\n*1\r\n+a\r\n", false, false, 0},
    {"EXEC\r\n", "*2\r\n*1\r\n:1\r\n", false, false, 1},
    {"HGETALL a\r\n", "%1\r\n+k\r\n~2\r\n:1\r\n_\r\n", false, false, 0},
    {"a\r\n", "#t\r\n", false, false, 0},
    {"a\r\n", ",1.5\r\n", false, false, 0},
    {"a\r\n", "(123456789012345678901234567890\r\n", false, false, 0},
    {"a\r\n", "!5\r\nERR x\r\n", false, false, 0},
    {"a\r\n", "=5\r\ntxt:a\r\n", false, false, 0},
    {"a\r\n", "|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n", false, false, 0},
    {"a\r\n", "*2\r\n|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n:2\r\n", false, false, 0},
    {"a\r\n", ">2\r\n+invalidate\r\n*0\r\n", false, false, 1},
    {"a\r\n", ">2\r\n+invalidate\r\n*0\r\n+OK\r\n", false, false, 0},
    {"", "+OK\r\n", true, false, 0},
    {"a\r\n", "$?\r\n;1\r\nx\r\n", true, false, 1},
    {"a\r\n", "HTTP/1.1\r\n", true, false, 1},
    {"a\r\n", "$x\r\n", true, false, 1},
    {"a\r\n", "*99999999999\r\n", true, false, 1},
    {"a\r\n", "|0\r\n", true, false, 1},
    {"SUBSCRIBE a\r\n", "*3\r\n+subscribe\r\n+a\r\n:1\r\n", true, true, 0},
    {"*2\r\n$10\r\npSubScribe\r\n$1\r\na\r\n", "", true, true, 1},
    {"*2\r\n$12\r\npunsubscribe\r\n$1\r\na\r\n", "", true, true, 1},
    {"*2\r\n$13\r\npunsubscriber\r\n$1\r\na\r\n", "", false, false, 1},
    {"MONITOR\r\n", "+OK\r\n", true, true, 0},
    {"CLIENT SETNAME a\r\n", "+OK\r\n", false, false, 0},
    {"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETINFO\r\n$0\r\n\r\n", "+OK\r\n", false, false, 0},
    {"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n", "", true, false, 1},
    {"CLIENT NO-EVICT on\r\n", "+OK\r\n", true, false, 0},
    {"CLIENT REPLY\r\n", "-ERR\r\n", true, false, 0},
    {"CLIENT\r\n", "-ERR\r\n", false, false, 0},
    {"CLIENT MAINT_NOTIFICATIONS ON\r\n", "", false, false, 1},
    {"CLIENT MAINT_NOTIFICATIONS ON\r\n", "-ERR no\r\n", false, false, 0},
    {"CLIENT MAINT_NOTIFICATIONS ON\r\n", "+OK\r\n", true, false, 0},
    {"*3\r\n$6\r\nclient\r\n$4\r\ncapa\r\n$1\r\na\r\n", "!3\r\nERR\r\n", false, false, 0},
    {"*3\r\n$6\r\nclient\r\n$4\r\ncapa\r\n$1\r\na\r\n", "$3\r\n-OK\r\n", true, false, 0},
    {"CLIENT CAPA a\r\n", "*1\r\n-ERR no\r\n", true, false, 0},
    {"CLIENT CAPA a\r\n", "|1\r\n+a\r\n+b\r\n-ERR no\r\n", false, false, 0},
    {"CLIENT CAPA a\r\n", ">1\r\n-ERR no\r\n+OK\r\n", true, false, 0},
    {"MULTI\r\nCLIENT CAPA a\r\n", "+OK\r\n+QUEUED\r\n", true, false, 0},
    {"GET a\r\nCLIENT CAPA a\r\nGET b\r\n", "+a\r\n-ERR no\r\n+b\r\n", false, false, 0},
    {"GET a\r\nCLIENT CAPA a\r\nGET b\r\n", "-ERR no\r\n+OK\r\n-ERR no\r\n", true, false, 0},
    {"CLIENT CAPA a\r\nCLIENT CAPA b\r\n", "-ERR no\r\n+OK\r\n", true, false, 0},
    {"SCRIPT DEBUG YES\r\n", "+OK\r\n", true, false, 0},
    {"*3\r\n$6\r\nscript\r\n$5\r\ndebug\r\n$4\r\nsync\r\n", "+OK\r\n", true, false, 0},
    {"SCRIPT LOAD a\r\nSCRIPT EXISTS a\r\nSCRIPT\r\n", "+a\r\n*0\r\n-ERR\r\n", false, false, 0},
    {"CLIENT TRACKING ON\r\nCLIENT CACHING YES\r\n", "+OK\r\n+OK\r\n", false, false, 0},
    {"CLIENT TRACKINGINFO\r\nCLIENT GETREDIR\r\n", "*0\r\n:0\r\n", false, false, 0},
    {"HELLO\r\n", "*0\r\n", false, false, 0},
    {"HELLO 3\r\n", "%0\r\n", false, false, 0},
    {"HELLO 3 AUTH a b\r\n", "%0\r\n", true, false, 0},
    {"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$1\r\na\r\n$1\r\nb\r\n", "", true, false, 1},
    {"AUTH x\r\n", "+OK\r\n", true, false, 0},
    {"RESET\r\n", "+RESET\r\n", true, false, 0},
    {"\"MONITOR\"\r\n", "+OK\r\n", true, false, 0},
    {"PI\rNG\r\n", "+OK\r\n", true, false, 0},
    {"*x\r\n", "", true, false, 0},
    {"*1\r\n:4\r\n", "", true, false, 0},
    {"*1\r\n$-1\r\n", "", true, false, 0},
    {"*1\n", "", true, false, 0},
    {"*1\r\n$99999999999999999999\r\n", "", true, false, 0},
};

static void walk_client(wg_wire_track *t, const char *p, size_t n, size_t part) {
  wg_error err;
  for (size_t at = 0; at < n; at += part) {
    size_t some = n - at < part ? n - at : part, pass;
    assert_int_equal(rd->track_client(t, (const uint8_t *)p + at, some, &pass, &err), WG_WIRE_OK);
    assert_int_equal(pass, some);
  }
}

static void walk_server(wg_wire_track *t, const char *p, size_t n, size_t part) {
  wg_error err;
  for (size_t at = 0; at < n; at += part) {
    size_t some = n - at < part ? n - at : part;
    assert_int_equal(rd->track_server(t, NULL, (const uint8_t *)p + at, some, &err), WG_WIRE_OK);
  }
}

static void test_us116_streams(void **state) {
  (void)state;
  for (size_t i = 0; i < WG_COUNT(exchanges); i++) {
    const exchange *e = &exchanges[i];
    for (size_t part = 1; part <= 64; part++) {
      wg_wire_track t = {0};
      assert_true(rd->idle(&t));
      walk_client(&t, e->client, strlen(e->client), part);
      walk_server(&t, e->server, strlen(e->server), part);
      if (t.tainted != e->tainted || t.listens != e->listens || t.pending != e->owed)
        fail_msg("%s | %s in %zu: tainted %d listens %d owed %u", e->client, e->server, part,
                 t.tainted, t.listens, t.pending);
      assert_int_equal(rd->idle(&t), !e->tainted && e->owed == 0);
    }
  }
}

/* US-116: until what may block was answered, a guest waits as long as it takes. */
static void test_us116_commands_that_block(void **state) {
  (void)state;
  static const struct {
    const char *client, *server;
    uint32_t patient;
  } all[] = {
      {"BLPOP a 60\r\n", "", 1},
      {"*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$2\r\n60\r\n", "", 1},
      {"*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$2\r\n60\r\n", "*-1\r\n", 0},
      {"brpop a 60\r\n", "", 1},
      {"BRPOPLPUSH a b 60\r\n", "", 1},
      {"BLMOVE a b LEFT LEFT 60\r\n", "", 1},
      {"BLMPOP 60 1 a LEFT\r\n", "", 1},
      {"BZPOPMIN a 60\r\n", "", 1},
      {"BZPOPMAX a 60\r\n", "", 1},
      {"BZMPOP 60 1 a MIN\r\n", "", 1},
      {"XREAD BLOCK 60000 STREAMS a $\r\n", "", 1},
      {"XREADGROUP GROUP a b BLOCK 60000 STREAMS a >\r\n", "", 1},
      {"WAIT 1 60000\r\n", "", 1},
      {"WAITAOF 1 1 60000\r\n", "", 1},
      {"GET a\r\nBLPOP a 60\r\nGET a\r\n", "", 2},
      {"GET a\r\nBLPOP a 60\r\nGET a\r\n", "+a\r\n", 1},
      {"GET a\r\nBLPOP a 60\r\nGET a\r\n", "+a\r\n*-1\r\n", 0},
      {"GET a\r\nLPOP a\r\nWAITS\r\n", "", 0},
      {"BLPOP a 60\r\n", ">2\r\n+a\r\n+b\r\n", 1},
  };
  for (size_t i = 0; i < WG_COUNT(all); i++)
    for (size_t part = 1; part <= 64; part++) {
      wg_wire_track t = {0};
      walk_client(&t, all[i].client, strlen(all[i].client), part);
      walk_server(&t, all[i].server, strlen(all[i].server), part);
      if (t.patient != all[i].patient || t.tainted)
        fail_msg("%s | %s in %zu: %u", all[i].client, all[i].server, part, t.patient);
    }
}

/* Whether a command was refused is known of so many at a time; of more, it counts as taken. */
static void test_doubt_has_an_end(void **state) {
  (void)state;
  for (unsigned before = 60; before < 70; before++) {
    wg_wire_track t = {0};
    for (unsigned i = 0; i < before; i++) walk_client(&t, "GET a\r\n", 7, 7);
    walk_client(&t, "CLIENT CAPA a\r\n", 15, 15);
    for (unsigned i = 0; i < before; i++) walk_server(&t, "+a\r\n", 4, 4);
    walk_server(&t, "-ERR no\r\n", 9, 9);
    assert_int_equal(t.pending, 0);
    assert_int_equal(t.tainted, before > 63);
  }
}

/* Half a command or half an answer is not idle, wherever it is cut. */
static void test_halves_are_not_idle(void **state) {
  (void)state;
  static const char command[] = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
  static const char answer[] = "*2\r\n$1\r\na\r\n|1\r\n+k\r\n+v\r\n%1\r\n:1\r\n:2\r\n";
  for (size_t cut = 1; cut < sizeof command - 1; cut++) {
    wg_wire_track t = {0};
    walk_client(&t, command, cut, 100);
    assert_false(rd->idle(&t));
    assert_true(rd->unfinished(&t));
  }
  for (size_t cut = 0; cut < sizeof answer - 1; cut++) {
    wg_wire_track t = {0};
    walk_client(&t, command, sizeof command - 1, 100);
    walk_server(&t, answer, cut, 100);
    assert_false(rd->idle(&t));
    assert_int_equal(t.pending, 1);
  }
}

static void test_deep_answers(void **state) {
  (void)state;
  for (int depth = WG_REDIS_DEPTH - 1; depth < WG_REDIS_DEPTH + 3; depth++) {
    wg_wire_track t = {0};
    walk_client(&t, "a\r\n", 3, 3);
    for (int i = 0; i < depth; i++) walk_server(&t, "*1\r\n", 4, 4);
    walk_server(&t, "+x\r\n", 4, 4);
    assert_int_equal(t.tainted, depth > WG_REDIS_DEPTH);
    assert_int_equal(rd->idle(&t), depth <= WG_REDIS_DEPTH);
  }
}

static void test_quit(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t pass;
    bool ended;
  } all[] = {
      {"QUIT\r\n", 0, true},
      {"*1\r\n$4\r\nquit\r\n", 0, true},
      {"PING\r\nQUIT\r\nSET a b\r\n", 6, true},
      {"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n", 14, true},
      {"*2\r\n$3\r\nGET\r\n$4\r\nQUIT\r\n", 23, false},
      {"GET QUIT\r\n", 10, false},
      {"QUITE\r\n", 7, false},
      {"MONITOR\r\nQUIT\r\n", 15, false}, /* never used again: the server answers and closes */
  };
  for (size_t i = 0; i < WG_COUNT(all); i++) {
    wg_wire_track t = {0};
    wg_error err;
    size_t pass;
    rd->track_client(&t, (const uint8_t *)all[i].text, strlen(all[i].text), &pass, &err);
    assert_int_equal(pass, all[i].pass);
    assert_int_equal(t.ended, all[i].ended);
    wg_buf out;
    wg_buf_init(&out, 100);
    rd->parting(&t, &out);
    assert_int_equal(wg_buf_len(&out), all[i].ended ? 5 : 0);
    wg_buf_release(&out);
  }
  /* Nothing of it may have passed: a part that came before went to the server. */
  for (size_t cut = 1; cut < 12; cut++) {
    static const char quit[] = "*1\r\n$4\r\nQUIT\r\n";
    wg_wire_track t = {0};
    wg_error err;
    size_t pass;
    rd->track_client(&t, (const uint8_t *)quit, cut, &pass, &err);
    assert_int_equal(pass, cut);
    rd->track_client(&t, (const uint8_t *)quit + cut, sizeof quit - 1 - cut, &pass, &err);
    assert_int_equal(pass, sizeof quit - 1 - cut);
    assert_true(!t.ended && t.tainted && t.pending == 1);
  }
}

static void test_farewell(void **state) {
  (void)state;
  wg_buf out;
  char text[128];
  wg_buf_init(&out, 1000);
  wg_wire_track t = {0};
  rd->farewell(&t, "gone", &out);
  assert_int_equal(wg_buf_len(&out), 0); /* nobody asked */
  walk_client(&t, "a\r\n", 3, 3);
  rd->farewell(&t, "gone\r\n+OK", &out);
  take_text(&out, text, sizeof text);
  assert_string_equal(text, "-ERR gone  +OK\r\n");
  walk_server(&t, "$5\r\nab", 6, 6);
  rd->farewell(&t, "gone", &out);
  assert_int_equal(wg_buf_len(&out), 0); /* within an answer */
  wg_buf_release(&out);
}

/* ---- a guest's start-up ---- */

typedef struct start {
  wg_wire_guest *g;
  wg_wire_step step;
  char to_guest[256], to_server[256], user[32], password[32];
  unsigned leases;
} start;

/** Plays a guest with a server to be had; with `demand` the guest has to log in. */
static start begin(const char *text, size_t part, bool demand, bool relay) {
  start r = {.g = rd->guest_new(), .step = WG_WIRE_MORE};
  wg_wire_policy policy = {.database = "0"};
  wg_wire_login login = {.password = &none};
  wg_wire_server *s = rd->server_new(&login), *has = NULL;
  wg_buf to_guest, to_server;
  wg_error err;
  size_t n = strlen(text), at = 0, taken;
  wg_buf_init(&to_guest, WG_WIRE_OUT_MAX);
  wg_buf_init(&to_server, WG_WIRE_OUT_MAX);
  while (at < n && r.step == WG_WIRE_MORE) {
    size_t some = n - at < part ? n - at : part;
    r.step = rd->greet(r.g, has, &policy, (const uint8_t *)text + at, some, &taken, &to_guest,
                       &to_server, &err);
    at += taken;
    while (r.step == WG_WIRE_LEASE) {
      if (demand && !r.g->password) {
        rd->ask_password(r.g, &to_guest);
        assert_true(r.g->more);
      } else {
        if (r.g->password) {
          snprintf(r.user, sizeof r.user, "%s", r.g->user);
          snprintf(r.password, sizeof r.password, "%.*s", (int)r.g->password_len, r.g->password);
        }
        r.leases++;
        has = s;
        policy.relay = relay;
      }
      r.step = rd->greet(r.g, has, &policy, NULL, 0, &taken, &to_guest, &to_server, &err);
    }
  }
  assert_true(r.step != WG_WIRE_MORE || at == n);
  take_text(&to_guest, r.to_guest, sizeof r.to_guest);
  take_text(&to_server, r.to_server, sizeof r.to_server);
  if (r.step == WG_WIRE_OK && at < n) { /* what came later passes */
    size_t have = strlen(r.to_server);
    snprintf(r.to_server + have, sizeof r.to_server - have, "%s", text + at);
  }
  rd->server_free(s);
  wg_buf_release(&to_guest);
  wg_buf_release(&to_server);
  return r;
}

#define AUTH_XY "*3\r\n$4\r\nAUTH\r\n$1\r\nx\r\n$2\r\nyz\r\n"
#define GET_A "*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
#define NOAUTH "-NOAUTH Authentication required.\r\n"

static void test_us116_start_up(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool demand, relay;
    wg_wire_step step;
    const char *to_guest, *to_server, *user, *password;
  } all[] = {
      {GET_A, false, false, WG_WIRE_OK, "", GET_A, "", ""},
      {AUTH_XY GET_A, false, false, WG_WIRE_OK, "+OK\r\n", GET_A, "x", "yz"},
      {"AUTH pw\r\n" GET_A, false, false, WG_WIRE_OK, "+OK\r\n", GET_A, "default", "pw"},
      {AUTH_XY AUTH_XY, false, false, WG_WIRE_MORE, "+OK\r\n+OK\r\n", "", "x", "yz"},
      {AUTH_XY "QUIT\r\n", false, false, WG_WIRE_END, "+OK\r\n+OK\r\n", "", "x", "yz"},
      {"QUIT\r\n", false, false, WG_WIRE_END, "+OK\r\n", "", "", ""},
      {"\r\n*0\r\nQUIT\r\n", true, false, WG_WIRE_END, "+OK\r\n", "", "", ""},
      {"AUTH\r\n" GET_A, false, false, WG_WIRE_OK,
       "-ERR wrong number of arguments for 'auth' command\r\n", GET_A, "", ""},
      {"HELLO 3 AUTH x yz SETNAME n\r\n", false, false, WG_WIRE_ASK, "",
       "*4\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$7\r\nSETNAME\r\n$1\r\nn\r\n", "x", "yz"},
      {"HELLO 3 SETNAME n AUTH x yz\r\n", false, false, WG_WIRE_ASK, "",
       "*4\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$7\r\nSETNAME\r\n$1\r\nn\r\n", "x", "yz"},
      {"HELLO\r\n", false, false, WG_WIRE_ASK, "", "*1\r\n$5\r\nHELLO\r\n", "", ""},
      {"HELLO 3 AUTH x\r\n", false, false, WG_WIRE_ASK, "",
       "*4\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$1\r\nx\r\n", "", ""}, /* it is refused */
      {"AUTH yz\r\nHELLO 2\r\n", false, false, WG_WIRE_ASK, "+OK\r\n",
       "*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n", "default", "yz"},
      {GET_A AUTH_XY GET_A, true, false, WG_WIRE_OK, NOAUTH "+OK\r\n", GET_A, "x", "yz"},
      {GET_A "GET b\r\nHELLO 3\r\n" AUTH_XY GET_A, true, false, WG_WIRE_OK,
       NOAUTH NOAUTH NOAUTH "+OK\r\n", GET_A, "x", "yz"},
      {"HELLO 3\r\nHELLO 2 AUTH x yz\r\n", true, false, WG_WIRE_ASK, NOAUTH,
       "*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n", "x", "yz"},
      {"*1\r\nnonsense", true, false, WG_WIRE_END, NOAUTH "-ERR Protocol error\r\n", "", "", ""},
      {AUTH_XY GET_A, false, true, WG_WIRE_OK, "", AUTH_XY GET_A, "x", "yz"},
      {"QUIT\r\n", false, false, WG_WIRE_END, "+OK\r\n", "", "", ""},
  };
  for (size_t i = 0; i < WG_COUNT(all); i++)
    for (size_t part = 1; part < 80; part++) {
      start r = begin(all[i].text, part, all[i].demand, all[i].relay);
      bool same = r.step == all[i].step && strcmp(r.to_guest, all[i].to_guest) == 0 &&
                  strcmp(r.to_server, all[i].to_server) == 0 && strcmp(r.user, all[i].user) == 0 &&
                  strcmp(r.password, all[i].password) == 0;
      if (!same)
        fail_msg("%s in %zu: step %d, to guest '%s', to server '%s', user '%s'", all[i].text, part,
                 r.step, r.to_guest, r.to_server, r.user);
      assert_true(r.leases <= 1);
      rd->guest_free(r.g);
    }
}

/* The answer to HELLO is the guest's; what follows it is not taken. */
static void test_hello_reply(void **state) {
  (void)state;
  static const char reply[] = "%2\r\n+server\r\n+redis\r\n+modules\r\n*0\r\n";
  static const char more[] = "+OK\r\n";
  for (size_t cut = 1; cut < sizeof reply; cut++) {
    start r = begin("HELLO 3\r\nPING\r\n", 100, false, false);
    assert_int_equal(r.step, WG_WIRE_ASK);
    assert_string_equal(r.to_server, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\nPING\r\n");
    assert_int_equal(r.g->track.pending, 1); /* PING */
    wg_buf in, out;
    wg_error err;
    wg_buf_init(&in, 1000);
    wg_buf_init(&out, 1000);
    wg_buf_put(&in, reply, cut);
    wg_wire_step step = rd->greet_reply(r.g, NULL, &in, &out, &err);
    assert_int_equal(step, cut == sizeof reply - 1 ? WG_WIRE_OK : WG_WIRE_MORE);
    wg_buf_put(&in, reply + cut, sizeof reply - 1 - cut);
    wg_buf_put(&in, more, sizeof more - 1);
    if (step == WG_WIRE_MORE) step = rd->greet_reply(r.g, NULL, &in, &out, &err);
    assert_int_equal(step, WG_WIRE_OK);
    assert_int_equal(wg_buf_len(&out), sizeof reply - 1);
    assert_int_equal(wg_buf_len(&in), sizeof more - 1);
    rd->guest_free(r.g);
    wg_buf_release(&in);
    wg_buf_release(&out);
  }
}

/* More than an AUTH may have is no AUTH, and passes. */
static void test_long_starts(void **state) {
  (void)state;
  size_t n = RD_START_MAX + 100;
  char *text = malloc(n + 64);
  int head = sprintf(text, "*2\r\n$4\r\nAUTH\r\n$%zu\r\n", n);
  memset(text + head, 'x', n - (size_t)head);
  wg_wire_guest *g = rd->guest_new();
  wg_wire_login login = {.password = &none};
  wg_wire_server *s = rd->server_new(&login);
  wg_wire_policy policy = {0};
  wg_buf to_guest, to_server;
  wg_error err;
  size_t taken;
  wg_buf_init(&to_guest, WG_WIRE_OUT_MAX);
  wg_buf_init(&to_server, WG_WIRE_OUT_MAX);
  assert_int_equal(
      rd->greet(g, s, &policy, (uint8_t *)text, n, &taken, &to_guest, &to_server, &err),
      WG_WIRE_OK);
  assert_int_equal(taken, RD_START_MAX);
  assert_int_equal(wg_buf_len(&to_server), RD_START_MAX);
  assert_false(rd->idle(&g->track));
  rd->guest_free(g);
  rd->server_free(s);
  wg_buf_release(&to_guest);
  wg_buf_release(&to_server);
  free(text);
}

static void test_take_sqlstate(void **state) {
  (void)state;
  static const struct {
    const char *text, *rest, *code;
  } all[] = {
      {"no (SQLSTATE 28P01)", "no", "28P01"},
      {"resolve 'a' (SQLSTATE 08001): no", "resolve 'a': no", "08001"},
      {" (SQLSTATE 08001)", "", "08001"},
      {"no", "no", NULL},
      {"no (SQLSTATE ", "no (SQLSTATE ", NULL},
      {"no (SQLSTATE 0800)", "no (SQLSTATE 0800)", NULL},
      {"no (SQLSTATE 08001", "no (SQLSTATE 08001", NULL},
      {"no (SQLSTATE 080011)", "no (SQLSTATE 080011)", NULL},
  };
  for (size_t i = 0; i < WG_COUNT(all); i++) {
    char text[64], code[6] = "";
    snprintf(text, sizeof text, "%s", all[i].text);
    assert_int_equal(wg_wire_take_sqlstate(text, code), all[i].code != NULL);
    assert_string_equal(text, all[i].rest);
    assert_string_equal(code, all[i].code ? all[i].code : "");
  }
}

static void test_refuse(void **state) {
  (void)state;
  wg_buf out;
  wg_error why;
  char text[256];
  wg_wire_guest *g = rd->guest_new();
  wg_buf_init(&out, 1000);
  wg_error_set(&why, WG_AUTH, 0, "database 'a': no (SQLSTATE 28P01)");
  rd->refuse(g, &why, &out);
  take_text(&out, text, sizeof text);
  assert_string_equal(text, "-WRONGPASS database 'a': no\r\n");
  wg_error_set(&why, WG_EXHAUSTED, 0, "full");
  wg_error_hint(&why, "wait\r\n");
  rd->refuse(g, &why, &out);
  take_text(&out, text, sizeof text);
  assert_string_equal(text, "-ERR full (wait  )\r\n");
  rd->guest_free(g);
  wg_buf_release(&out);
}

static void test_names_of_databases(void **state) {
  (void)state;
  static const char *const good[] = {"0", "1", "15", "99999"};
  static const char *const bad[] = {"", "-1", "00", "01", "1a", "100000", " 1", "shop"};
  for (size_t i = 0; i < WG_COUNT(good); i++)
    assert_true(wg_redis_database_ok(good[i], strlen(good[i])));
  for (size_t i = 0; i < WG_COUNT(bad); i++)
    assert_false(wg_redis_database_ok(bad[i], strlen(bad[i])));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_log_in_words),
      cmocka_unit_test(test_answers),
      cmocka_unit_test(test_endless_refusal),
      cmocka_unit_test(test_us116_streams),
      cmocka_unit_test(test_us116_commands_that_block),
      cmocka_unit_test(test_doubt_has_an_end),
      cmocka_unit_test(test_halves_are_not_idle),
      cmocka_unit_test(test_deep_answers),
      cmocka_unit_test(test_quit),
      cmocka_unit_test(test_farewell),
      cmocka_unit_test(test_us116_start_up),
      cmocka_unit_test(test_hello_reply),
      cmocka_unit_test(test_long_starts),
      cmocka_unit_test(test_take_sqlstate),
      cmocka_unit_test(test_refuse),
      cmocka_unit_test(test_names_of_databases),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
