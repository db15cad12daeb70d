/* SPDX-License-Identifier: Apache-2.0 */
/* US-112: the Postgres codec, bytes to bytes: log-in, greeting, frame walking, reset. Every input
 * is also given byte by byte, and must mean the same. */
#include "db/wire/postgres.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S(text) ((const uint8_t *)(text)), (sizeof(text) - 1)
#define AUTH_OK "R\0\0\0\010\0\0\0\0"
#define PARAM_TZ "S\0\0\0\025TimeZone\0Etc/UTC\0"
#define PARAM_ENC "S\0\0\0\031client_encoding\0UTF8\0"
#define KEY "K\0\0\0\014\0\0\0\007\0\0\0\010"
#define READY "Z\0\0\0\005I"

static const wg_secret secret = {(char *)"secret", 6}, none = {NULL, 0};
static const wg_wire_ops *pg = &wg_wire_postgres;

typedef struct peer {
  wg_wire_server *s;
  wg_buf in, out;
  wg_error err;
} peer;

static void peer_init(peer *p, const wg_secret *password) {
  wg_wire_login login = {.user = "app", .database = "shop", .password = password};
  memset(p, 0, sizeof *p);
  p->s = pg->server_new(&login);
  assert_non_null(p->s);
  wg_buf_init(&p->in, WG_WIRE_IN_MAX);
  wg_buf_init(&p->out, WG_WIRE_OUT_MAX);
}
static void peer_release(peer *p) {
  pg->server_free(p->s);
  wg_buf_release(&p->in);
  wg_buf_release(&p->out);
}

static wg_wire_step feed(peer *p, wg_wire_step (*fn)(peer *p), const uint8_t *b, size_t n,
                         bool bytewise) {
  wg_wire_step step = WG_WIRE_MORE;
  if (!bytewise) {
    wg_buf_put(&p->in, b, n);
    return fn(p);
  }
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(step, WG_WIRE_MORE);
    wg_buf_put_u8(&p->in, b[i]);
    step = fn(p);
    if (step == WG_WIRE_ERROR) return step;
  }
  return step;
}
static wg_wire_step fn_login(peer *p) { return pg->login(p->s, &p->in, &p->out, &p->err); }
static wg_wire_step fn_reply(peer *p) { return pg->reply(p->s, &p->in, &p->out, &p->err); }

/* ---- log-in ---- */

static void start(peer *p, const wg_secret *password) {
  peer_init(p, password);
  assert_int_equal(fn_login(p), WG_WIRE_MORE);
}

static void login_trusted(peer *p) {
  start(p, &none);
  assert_int_equal(feed(p, fn_login, S(AUTH_OK PARAM_TZ PARAM_ENC KEY READY), false), WG_WIRE_OK);
  wg_buf_clear(&p->out);
}

static void test_login_startup_packet(void **state) {
  (void)state;
  peer p;
  start(&p, &secret);
  assert_int_equal(wg_buf_len(&p.out), 58);
  assert_memory_equal(wg_buf_head(&p.out),
                      "\0\0\0\072\0\3\0\0user\0app\0database\0shop\0application_name\0warpgrid\0",
                      58);
  peer_release(&p);
}

static void test_login_trust_and_parameters(void **state) {
  (void)state;
  for (int bytewise = 0; bytewise < 2; bytewise++) {
    peer p;
    start(&p, &none);
    assert_int_equal(feed(&p, fn_login, S(AUTH_OK PARAM_TZ PARAM_ENC KEY READY), bytewise),
                     WG_WIRE_OK);
    pg_server *s = (pg_server *)p.s;
    assert_int_equal(s->param_count, 2);
    assert_string_equal(s->params[0].name, "TimeZone"); /* in the server's order */
    assert_string_equal(pg_param_get(s, "CLIENT_encoding"), "UTF8");
    assert_null(pg_param_get(s, "nothing"));
    assert_int_equal(s->pid, 7);
    assert_int_equal(s->key, 8);
    peer_release(&p);
  }
}

static void test_login_cleartext_and_md5(void **state) {
  (void)state;
  for (int bytewise = 0; bytewise < 2; bytewise++) {
    peer p;
    start(&p, &secret);
    wg_buf_clear(&p.out);
    assert_int_equal(feed(&p, fn_login, S("R\0\0\0\010\0\0\0\3"), bytewise), WG_WIRE_MORE);
    assert_int_equal(wg_buf_len(&p.out), 12);
    assert_memory_equal(wg_buf_head(&p.out), "p\0\0\0\013secret\0", 12);
    assert_int_equal(feed(&p, fn_login, S(AUTH_OK KEY READY), bytewise), WG_WIRE_OK);
    peer_release(&p);
    start(&p, &secret);
    wg_buf_clear(&p.out);
    assert_int_equal(feed(&p, fn_login, S("R\0\0\0\014\0\0\0\5salt"), bytewise), WG_WIRE_MORE);
    assert_int_equal(wg_buf_len(&p.out), 41);
    assert_memory_equal(wg_buf_head(&p.out), "p\0\0\0\050md5", 8);
    peer_release(&p);
  }
}

/* Everything that must not get a server past the log-in. */
static void test_login_refusals(void **state) {
  (void)state;
  const struct {
    const char *name;
    const uint8_t *b;
    size_t n;
    wg_code code;
    int fault;
  } bad[] = {
      {"wants a password, has none", S("R\0\0\0\010\0\0\0\3"), WG_AUTH, WG_WIRE_FAULT_AUTH},
      {"kerberos", S("R\0\0\0\010\0\0\0\2"), WG_UNSUPPORTED, WG_WIRE_FAULT_AUTH},
      {"gss", S("R\0\0\0\010\0\0\0\7"), WG_UNSUPPORTED, WG_WIRE_FAULT_AUTH},
      {"sasl continue first", S("R\0\0\0\012\0\0\0\013r="), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"sasl final first", S("R\0\0\0\012\0\0\0\014v="), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"short auth", S("R\0\0\0\006\0\0"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"length 3", S("R\0\0\0\003"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"length 0", S("R\0\0\0\0"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"length 4 GiB", S("R\377\377\377\377"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"length 1 GiB", S("E\100\0\0\0"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"not a server", S("HTTP/1.1 400 Bad Request\r\n"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"ssh", S("SSH-2.0-OpenSSH_9.2p1\r\n"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"parameters before auth", S(PARAM_TZ), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"ready before auth", S(READY), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"auth twice", S(AUTH_OK AUTH_OK), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"no password", S("E\0\0\0\023SFATAL\0C28P01\0\0"), WG_AUTH, WG_WIRE_FAULT_AUTH},
      {"full", S("E\0\0\0\023SFATAL\0C53300\0\0"), WG_IO, WG_WIRE_FAULT_BUSY},
      {"starting up", S("E\0\0\0\023SFATAL\0C57P03\0\0"), WG_IO, WG_WIRE_FAULT_BUSY},
      {"no database", S("E\0\0\0\023SFATAL\0C3D000\0\0"), WG_IO, WG_WIRE_FAULT_OTHER},
      {"empty error", S("E\0\0\0\005\0"), WG_IO, WG_WIRE_FAULT_OTHER},
      {"no fields", S("E\0\0\0\004"), WG_IO, WG_WIRE_FAULT_OTHER},
      {"unterminated field", S("E\0\0\0\007SFA"), WG_IO, WG_WIRE_FAULT_OTHER},
      {"bad parameter", S(AUTH_OK "S\0\0\0\010abcd"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"nameless parameter", S(AUTH_OK "S\0\0\0\007\0a\0"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"short key", S(AUTH_OK "K\0\0\0\010abcd"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"ready in a transaction", S(AUTH_OK "Z\0\0\0\005T"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"ready without status", S(AUTH_OK "Z\0\0\0\004"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
      {"rows", S(AUTH_OK "D\0\0\0\006\0\0"), WG_PROTOCOL, WG_WIRE_FAULT_OTHER},
  };
  for (size_t i = 0; i < WG_COUNT(bad); i++)
    for (int bytewise = 0; bytewise < 2; bytewise++) {
      peer p;
      start(&p, &none);
      wg_wire_step step = feed(&p, fn_login, bad[i].b, bad[i].n, bytewise);
      if (step != WG_WIRE_ERROR) fail_msg("%s: accepted", bad[i].name);
      if (p.err.code != bad[i].code) fail_msg("%s: code %d", bad[i].name, p.err.code);
      if ((int)p.s->fault != bad[i].fault) fail_msg("%s: fault %d", bad[i].name, p.s->fault);
      peer_release(&p);
    }
}

static void sasl_until_final(peer *p) {
  start(p, &secret);
  wg_buf_clear(&p->out);
  strcpy(((pg_server *)p->s)->scram.nonce, "abc");
  assert_int_equal(feed(p, fn_login, S("R\0\0\0\027\0\0\0\012SCRAM-SHA-256\0\0"), false),
                   WG_WIRE_MORE);
  assert_memory_equal(wg_buf_head(&p->out), "p\0\0\0\041SCRAM-SHA-256\0\0\0\0\013n,,n=,r=abc", 34);
  wg_buf_clear(&p->out);
  assert_int_equal(feed(p, fn_login, S("R\0\0\0\042\0\0\0\013r=abcdef,s=c2FsdA==,i=4096"), false),
                   WG_WIRE_MORE);
  assert_int_equal(*wg_buf_head(&p->out), 'p');
  assert_memory_equal(wg_buf_head(&p->out) + 5, "c=biws,r=abcdef,p=", 18);
}

static void test_login_scram_needs_the_servers_proof(void **state) {
  (void)state;
  peer p;
  sasl_until_final(&p); /* AuthenticationOk before server-final */
  assert_int_equal(feed(&p, fn_login, S(AUTH_OK), false), WG_WIRE_ERROR);
  assert_int_equal(p.err.code, WG_AUTH);
  assert_non_null(strstr(p.err.msg, "without proving"));
  peer_release(&p);
  sasl_until_final(&p); /* a wrong one */
  assert_int_equal(feed(&p, fn_login,
                        S("R\0\0\0\066\0\0\0\014v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
                        false),
                   WG_WIRE_ERROR);
  assert_int_equal(p.err.code, WG_AUTH);
  assert_non_null(strstr(p.err.msg, "signature is wrong"));
  peer_release(&p);
  sasl_until_final(&p); /* asks again, for the password itself */
  assert_int_equal(feed(&p, fn_login, S("R\0\0\0\010\0\0\0\3"), false), WG_WIRE_ERROR);
  assert_null(memmem(wg_buf_head(&p.out), wg_buf_len(&p.out), "secret", 6));
  peer_release(&p);
  start(&p, &secret); /* nothing that we speak */
  assert_int_equal(feed(&p, fn_login, S("R\0\0\0\017\0\0\0\012OTHER\0\0"), false), WG_WIRE_ERROR);
  assert_int_equal(p.err.code, WG_UNSUPPORTED);
  peer_release(&p);
  start(&p, &secret); /* a list without its end */
  assert_int_equal(feed(&p, fn_login, S("R\0\0\0\016\0\0\0\012OTHER\0"), false), WG_WIRE_ERROR);
  peer_release(&p);
}

static void test_login_error_text(void **state) {
  (void)state;
  peer p;
  start(&p, &none);
  feed(&p, fn_login,
       S("E\0\0\0\102SFATAL\0VFATAL\0C3D000\0Mdatabase \"x\" does not exist\0Hcreate it\0\0"),
       false);
  assert_string_equal(p.err.msg, "postgres: the server refused the log-in: FATAL: database \"x\" "
                                 "does not exist (SQLSTATE 3D000)");
  assert_string_equal(p.err.hint, "create it");
  peer_release(&p);
}

static void test_too_many_parameters(void **state) {
  (void)state;
  peer p;
  start(&p, &none);
  wg_wire_step step = feed(&p, fn_login, S(AUTH_OK), false);
  for (int i = 0; i < PG_PARAMS_MAX + 1; i++) {
    char msg[32];
    int n = snprintf(msg + 5, sizeof msg - 5, "p%03d", i);
    assert_int_equal(n, 4);
    memcpy(msg, "S\0\0\0\013", 5);
    memcpy(msg + 9, "\0v", 3);
    step = feed(&p, fn_login, (uint8_t *)msg, 12, false);
    assert_int_equal(step, i < PG_PARAMS_MAX ? WG_WIRE_MORE : WG_WIRE_ERROR);
  }
  peer_release(&p);
}

/* ---- reset and ping ---- */

static void test_reset_and_ping(void **state) {
  (void)state;
  wg_wire_track t = {.txn = 'I'};
  peer p;
  login_trusted(&p);
  pg->ping(p.s, &p.out);
  assert_memory_equal(wg_buf_head(&p.out), "Q\0\0\0\005\0", 6);
  wg_buf_clear(&p.out);
  assert_int_equal(feed(&p, fn_reply, S("I\0\0\0\004" READY), true), WG_WIRE_OK);
  pg->reset(p.s, &t, &p.out);
  assert_int_equal(wg_buf_len(&p.out), 17);
  assert_memory_equal(wg_buf_head(&p.out), "Q\0\0\0\020DISCARD ALL\0", 17);
  wg_buf_clear(&p.out);
  assert_int_equal(
      feed(&p, fn_reply, S("S\0\0\0\021TimeZone\0GMT\0C\0\0\0\020DISCARD ALL\0" READY), true),
      WG_WIRE_OK);
  assert_string_equal(pg_param_get((pg_server *)p.s, "timezone"), "GMT");
  t.txn = 'E';
  pg->reset(p.s, &t, &p.out);
  assert_memory_equal(wg_buf_head(&p.out), "Q\0\0\0\015ROLLBACK\0Q\0\0\0\020DISCARD ALL\0", 31);
  assert_int_equal(feed(&p, fn_reply, S("C\0\0\0\015ROLLBACK\0" READY), true), WG_WIRE_MORE);
  assert_int_equal(feed(&p, fn_reply, S("C\0\0\0\020DISCARD ALL\0" READY), true), WG_WIRE_OK);
  const struct {
    const uint8_t *b;
    size_t n;
  } bad[] = {{S("E\0\0\0\023SERROR\0C25001\0\0")},
             {S("D\0\0\0\006\0\0")},
             {S("Z\0\0\0\005T")},
             {S("Z\0\0\0\004")},
             {S("Q\0\0\0\003")}};
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    t.txn = 'I';
    wg_buf_clear(&p.in);
    pg->reset(p.s, &t, &p.out);
    assert_int_equal(feed(&p, fn_reply, bad[i].b, bad[i].n, false), WG_WIRE_ERROR);
  }
  wg_buf_clear(&p.out);
  pg->bye(p.s, &p.out);
  assert_memory_equal(wg_buf_head(&p.out), "X\0\0\0\004", 5);
  peer_release(&p);
}

static void test_socket_path(void **state) {
  (void)state;
  char path[32];
  assert_int_equal(pg->socket_path("/run/postgresql", 5433, path, sizeof path), 29);
  assert_string_equal(path, "/run/postgresql/.s.PGSQL.5433");
  assert_true(pg->socket_path("/a/very/long/folder/name/for/a/socket", 1, path, 8) > 8);
}

/* ---- the guest's start-up ---- */

typedef struct greeting {
  peer p;
  wg_wire_guest *g;
  wg_buf to_guest;
  wg_wire_step step;
  size_t taken;
} greeting;

static void greet_start(greeting *x) {
  login_trusted(&x->p);
  x->g = pg->guest_new();
  wg_buf_init(&x->to_guest, WG_WIRE_OUT_MAX);
}
static void greet_end(greeting *x) {
  pg->guest_free(x->g);
  wg_buf_release(&x->to_guest);
  peer_release(&x->p);
}
static void greet_feed(greeting *x, const uint8_t *b, size_t n, bool bytewise) {
  const wg_wire_policy policy = {.database = "shop"};
  size_t at = 0;
  x->step = WG_WIRE_MORE;
  x->taken = 0;
  while (at < n && x->step == WG_WIRE_MORE) {
    size_t taken;
    x->step = pg->greet(x->g, x->p.s, &policy, b + at, bytewise ? 1 : n - at, &taken, &x->to_guest,
                        &x->p.out, &x->p.err);
    assert_true(taken > 0);
    at += taken;
  }
  x->taken = at;
}
static bool has(const wg_buf *b, const char *what, size_t n) {
  return wg_buf_len(b) && memmem(wg_buf_head(b), wg_buf_len(b), what, n);
}

static size_t startup_of(uint8_t *out, uint32_t version, const char *body, size_t n) {
  size_t len = n + 8;
  const uint8_t head[8] = {(uint8_t)(len >> 24),     (uint8_t)(len >> 16),
                           (uint8_t)(len >> 8),      (uint8_t)len,
                           (uint8_t)(version >> 24), (uint8_t)(version >> 16),
                           (uint8_t)(version >> 8),  (uint8_t)version};
  memcpy(out, head, 8);
  if (n) memcpy(out + 8, body, n);
  return len;
}

static void test_greet_from_memory(void **state) {
  (void)state;
  for (int bytewise = 0; bytewise < 2; bytewise++) {
    greeting x;
    uint8_t packet[256];
    greet_start(&x);
    size_t n = startup_of(packet, 3 << 16, "user\0me\0database\0shop\0", 23);
    memcpy(packet + n, "Q...", 4); /* what follows is not the start-up's */
    greet_feed(&x, packet, n + 4, bytewise);
    assert_int_equal(x.step, WG_WIRE_OK);
    assert_int_equal(x.taken, n);
    const uint8_t *a = wg_buf_head(&x.to_guest);
    size_t prefix = sizeof(AUTH_OK PARAM_TZ PARAM_ENC) - 1;
    assert_int_equal(wg_buf_len(&x.to_guest), prefix + 13 + 6);
    assert_memory_equal(a, AUTH_OK PARAM_TZ PARAM_ENC, prefix);
    assert_memory_equal(a + prefix, "K\0\0\0\014", 5);
    assert_memory_not_equal(a + prefix + 5, "\0\0\0\007\0\0\0\010", 8); /* never the server's key */
    assert_memory_equal(a + prefix + 13, READY, 6);
    assert_int_equal(wg_buf_len(&x.p.out), 0);
    assert_false(x.g->touched);
    greet_end(&x);
  }
}

static void test_greet_refuses_encryption_once(void **state) {
  (void)state;
  for (int bytewise = 0; bytewise < 2; bytewise++) {
    greeting x;
    uint8_t packet[256];
    greet_start(&x);
    greet_feed(&x, S("\0\0\0\010\004\322\026\057"), bytewise);
    assert_int_equal(x.step, WG_WIRE_MORE);
    greet_feed(&x, S("\0\0\0\010\004\322\026\060"), bytewise);
    assert_int_equal(x.step, WG_WIRE_MORE);
    assert_int_equal(wg_buf_len(&x.to_guest), 2);
    assert_memory_equal(wg_buf_head(&x.to_guest), "NN", 2);
    assert_true(x.g->asked_tls);
    size_t n = startup_of(packet, 3 << 16, "user\0me\0", 9);
    greet_feed(&x, packet, n, bytewise);
    assert_int_equal(x.step, WG_WIRE_OK);
    greet_end(&x);
    greet_start(&x);
    greet_feed(&x, S("\0\0\0\010\004\322\026\057\0\0\0\010\004\322\026\057"), bytewise);
    assert_int_equal(x.step, WG_WIRE_END);
    greet_end(&x);
  }
}

static void test_greet_refusals(void **state) {
  (void)state;
  static char many[8000];
  size_t many_len = 0;
  for (int i = 0; i < 200; i++)
    many_len += (size_t)snprintf(many + many_len, 32, "name_%d", i) + 1,
        many_len += (size_t)snprintf(many + many_len, 32, "v") + 1;
  many[many_len++] = '\0';
  const struct {
    const char *name;
    uint32_t version;
    const char *b;
    size_t n;
    const char *sqlstate;
  } bad[] = {
      {"other database", 3 << 16, "user\0me\0database\0other\0", 24, "3D000"},
      {"replication", 3 << 16, "replication\0database\0", 22, "0A000"},
      {"replication on", 3 << 16, "replication\0true\0", 18, "0A000"},
      {"protocol 2", 2 << 16, "me", 3, "0A000"},
      {"protocol 4", 4 << 16, "user\0me\0", 9, "0A000"},
      {"no end", 3 << 16, "user\0me", 8, "08P01"},
      {"no value", 3 << 16, "user", 5, "08P01"},
      {"nothing", 3 << 16, "", 0, "08P01"},
      {"bytes behind the end", 3 << 16, "user\0me\0\0x", 11, "08P01"},
      {"unterminated", 3 << 16, "user\0me\0abc", 11, "08P01"},
      {"options: -e", 3 << 16, "options\0-e\0", 12, "42601"},
      {"options: no value", 3 << 16, "options\0-c\0", 12, "42601"},
      {"options: no name", 3 << 16, "options\0-c =1\0", 15, "42601"},
      {"options: no equals", 3 << 16, "options\0--geqo\0", 16, "42601"},
      {"too many", 3 << 16, many, many_len, "54000"},
  };
  for (size_t i = 0; i < WG_COUNT(bad); i++)
    for (int bytewise = 0; bytewise < 2; bytewise++) {
      greeting x;
      uint8_t packet[9000];
      greet_start(&x);
      greet_feed(&x, packet, startup_of(packet, bad[i].version, bad[i].b, bad[i].n), bytewise);
      if (x.step != WG_WIRE_END) fail_msg("%s: accepted", bad[i].name);
      char code[8];
      snprintf(code, sizeof code, "C%s", bad[i].sqlstate);
      if (!has(&x.to_guest, code, 7)) fail_msg("%s: not %s", bad[i].name, code);
      assert_int_equal(*wg_buf_head(&x.to_guest), 'E');
      assert_int_equal(wg_buf_len(&x.p.out), 0); /* the server hears nothing of it */
      greet_end(&x);
    }
}

static void test_greet_lengths(void **state) {
  (void)state;
  const struct {
    const uint8_t *b;
    size_t n;
  } bad[] = {{S("\0\0\0\0")},         {S("\0\0\0\007")},         {S("\0\0\047\021")},
             {S("\377\377\377\377")}, {S("GET / HTTP/1.1\r\n")}, {S("\026\003\001\002\000\001")}};
  for (size_t i = 0; i < WG_COUNT(bad); i++)
    for (int bytewise = 0; bytewise < 2; bytewise++) {
      greeting x;
      greet_start(&x);
      greet_feed(&x, bad[i].b, bad[i].n, bytewise);
      assert_int_equal(x.step, WG_WIRE_END);
      assert_true(has(&x.to_guest, "C08P01", 7));
      if (i == 5) assert_true(has(&x.to_guest, "TLS", 3));
      greet_end(&x);
    }
  greeting x; /* a cancel request is taken, and not answered */
  greet_start(&x);
  greet_feed(&x, S("\0\0\0\020\004\322\026\056\0\0\0\001\0\0\0\002"), false);
  assert_int_equal(x.step, WG_WIRE_CANCEL);
  assert_true(x.g->key == (1ULL << 32 | 2));
  assert_int_equal(wg_buf_len(&x.to_guest), 0);
  greet_end(&x);
  greet_start(&x); /* one of another length means nobody */
  greet_feed(&x, S("\0\0\0\014\004\322\026\056\0\0\0\001"), false);
  assert_int_equal(x.step, WG_WIRE_END);
  assert_int_equal(wg_buf_len(&x.to_guest), 0);
  greet_end(&x);
}

static void test_greet_parameters(void **state) {
  (void)state;
  for (int bytewise = 0; bytewise < 2; bytewise++) {
    greeting x;
    uint8_t packet[512];
    greet_start(&x);
    const char body[] =
        "client_encoding\0LATIN1\0zzz\0x\0user\0me\0TimeZone\0Etc/UTC\0search_path\0a,b'; DROP\0"
        "options\0-c geqo=off --work-mem=1\\ MB -csearch_path=x\0replication\0off\0";
    greet_feed(&x, packet, startup_of(packet, 3 << 16, body, sizeof body), bytewise);
    assert_int_equal(x.step, WG_WIRE_ASK);
    assert_true(x.g->touched);
    assert_int_equal(wg_buf_len(&x.to_guest), 0);
    const uint8_t *q = wg_buf_head(&x.p.out);
    size_t n = wg_buf_len(&x.p.out);
    assert_memory_equal(q, "P\0\0\0\061\0SELECT pg_catalog.set_config($1,$2,false)\0\0\0", 50);
    assert_memory_equal(q + n - 5, "S\0\0\0\004", 5);
    const char *const order[] = {"geqo\0\0\0\003off", "search_path\0\0\0\012a,b'; DROP",
                                 "work_mem\0\0\0\0041 MB", "client_encoding\0\0\0\006LATIN1"};
    const size_t lens[] = {11, 25, 16, 25};
    for (size_t i = 0; i < 4; i++)
      if (!memmem(q, n, order[i], lens[i])) fail_msg("missing %s", order[i]);
    assert_null(memmem(q, n, "TimeZone", 8)); /* as it is already */
    assert_null(memmem(q, n, "replication", 11));
    assert_true((const char *)memmem(q, n, "client_encoding", 15) >
                (const char *)memmem(q, n, "zzz", 3)); /* last */
    /* the server's answers */
    const char answer[] = "1\0\0\0\0042\0\0\0\004D\0\0\0\013\0\1\0\0\0\1xC\0\0\0\015SELECT 1\0"
                          "S\0\0\0\033client_encoding\0LATIN1\0" READY;
    size_t len = sizeof answer - 1;
    wg_wire_step step = WG_WIRE_MORE;
    for (size_t i = 0; i < len; i++) {
      assert_int_equal(step, WG_WIRE_MORE);
      wg_buf_put_u8(&x.p.in, (uint8_t)answer[i]);
      step = pg->greet_reply(x.g, x.p.s, &x.p.in, &x.to_guest, &x.p.err);
    }
    assert_int_equal(step, WG_WIRE_OK);
    assert_true(has(&x.to_guest, "client_encoding\0LATIN1", 23));
    greet_end(&x);
  }
}

/* One encoding has many spellings; asking for what is there already costs nothing. */
static void test_greet_same_encoding(void **state) {
  (void)state;
  greeting x;
  uint8_t packet[512];
  greet_start(&x);
  greet_feed(&x, packet,
             startup_of(packet, 3 << 16, "client_encoding\0utf-8\0TimeZone\0Etc/UTC\0", 40), false);
  assert_int_equal(x.step, WG_WIRE_OK);
  greet_end(&x);
  greet_start(&x);
  greet_feed(&x, packet, startup_of(packet, 3 << 16, "client_encoding\0UTF\0", 21), false);
  assert_int_equal(x.step, WG_WIRE_ASK);
  greet_end(&x);
}

static void test_greet_rejected_parameter(void **state) {
  (void)state;
  greeting x;
  uint8_t packet[512];
  greet_start(&x);
  greet_feed(&x, packet, startup_of(packet, 3 << 16, "bad\0x\0", 7), false);
  assert_int_equal(x.step, WG_WIRE_ASK);
  const char error[] = "E\0\0\0\034SERROR\0C42704\0Mno such\0\0";
  wg_buf_put(&x.p.in, "1\0\0\0\004", 5);
  wg_buf_put(&x.p.in, error, 29);
  wg_buf_put(&x.p.in, READY, 6);
  assert_int_equal(pg->greet_reply(x.g, x.p.s, &x.p.in, &x.to_guest, &x.p.err), WG_WIRE_END);
  assert_int_equal(wg_buf_len(&x.to_guest), 29);
  assert_memory_equal(wg_buf_head(&x.to_guest), error, 29); /* unchanged */
  greet_end(&x);
}

static void test_greet_newer_minor_version(void **state) {
  (void)state;
  greeting x;
  uint8_t packet[512];
  greet_start(&x);
  greet_feed(&x, packet, startup_of(packet, 3 << 16 | 2, "user\0me\0_pq_.thing\0on\0", 23), false);
  assert_int_equal(x.step, WG_WIRE_OK);
  assert_memory_equal(wg_buf_head(&x.to_guest), "v\0\0\0\027\0\3\0\0\0\0\0\001_pq_.thing\0R", 25);
  greet_end(&x);
}

/* ---- walking over the streams ---- */

typedef struct walk {
  peer p;
  wg_wire_track t;
  wg_error err;
  bool bytewise;
} walk;

static void client(walk *w, const uint8_t *b, size_t n) {
  for (size_t i = 0; i < n; i += w->bytewise ? 1 : n) {
    size_t part = w->bytewise ? 1 : n, pass;
    assert_int_equal(pg->track_client(&w->t, b + i, part, &pass, &w->err), WG_WIRE_OK);
    assert_int_equal(pass, part);
  }
}
static void server(walk *w, const uint8_t *b, size_t n) {
  for (size_t i = 0; i < n; i += w->bytewise ? 1 : n)
    assert_int_equal(pg->track_server(&w->t, w->p.s, b + i, w->bytewise ? 1 : n, &w->err),
                     WG_WIRE_OK);
}
static void walk_init(walk *w, int bytewise) {
  memset(w, 0, sizeof *w);
  login_trusted(&w->p);
  w->t.txn = 'I';
  w->bytewise = bytewise;
  assert_true(pg->idle(&w->t));
}

#define QUERY "Q\0\0\0\010abc\0"
#define PARSE "P\0\0\0\010\0\0\0\0"
#define BIND "B\0\0\0\010\0\0\0\0"
#define EXEC "E\0\0\0\011\0\0\0\0\0"
#define SYNC "S\0\0\0\004"
#define FLUSH "H\0\0\0\004"
#define DONE "C\0\0\0\007OK\0"
#define COPY_IN "G\0\0\0\007\0\0\0"
#define COPY_DATA "d\0\0\0\010abcd"
#define COPY_DONE "c\0\0\0\004"
#define COPY_FAIL "f\0\0\0\006x\0"
#define ERR "E\0\0\0\005\0"

/* A table of conversations: '>' the guest, '<' the server; whether the session is idle after it. */
static void test_track_idle(void **state) {
  (void)state;
  const struct {
    const char *name;
    struct {
      char dir;
      const char *b;
      size_t n;
    } s[8];
    bool idle;
    char txn;
  } talks[] = {
#define G(text) {'>', text, sizeof(text) - 1}
#define V(text) {'<', text, sizeof(text) - 1}
      {"query", {G(QUERY), V(DONE READY)}, true, 'I'},
      {"query without answer", {G(QUERY)}, false, 'I'},
      {"query, half an answer", {G(QUERY), V(DONE "Z\0\0\0\005")}, false, 'I'},
      {"two queries, one answer", {G(QUERY QUERY), V(DONE READY)}, false, 'I'},
      {"two queries, two answers", {G(QUERY QUERY), V(DONE READY DONE READY)}, true, 'I'},
      {"half a query", {G("Q\0\0\0\010ab")}, false, 'I'},
      {"half a header", {G("Q\0\0")}, false, 'I'},
      {"extended", {G(PARSE BIND EXEC SYNC), V("1\0\0\0\0042\0\0\0\004" DONE READY)}, true, 'I'},
      {"no sync", {G(PARSE BIND EXEC), V("1\0\0\0\0042\0\0\0\004" DONE)}, false, 'I'},
      {"flush alone", {G(FLUSH)}, true, 'I'},
      {"sync alone", {G(SYNC)}, false, 'I'},
      {"function call", {G("F\0\0\0\004"), V("V\0\0\0\004" READY)}, true, 'I'},
      {"begin", {G(QUERY), V(DONE "Z\0\0\0\005T")}, true, 'T'},
      {"failed transaction", {G(QUERY), V(ERR "Z\0\0\0\005E")}, true, 'E'},
      {"simple copy in", {G(QUERY), V(COPY_IN), G(COPY_DATA COPY_DONE), V(DONE READY)}, true, 'I'},
      {"simple copy in, open", {G(QUERY), V(COPY_IN), G(COPY_DATA)}, false, 'I'},
      {"simple copy failed", {G(QUERY), V(COPY_IN), G(COPY_FAIL), V(ERR READY)}, true, 'I'},
      {"copy out", {G(QUERY), V("H\0\0\0\007\0\0\0" COPY_DATA COPY_DONE DONE READY)}, true, 'I'},
      {"copy in, flush",
       {G(PARSE BIND EXEC FLUSH), V("1\0\0\0\0042\0\0\0\004" COPY_IN), G(COPY_DATA COPY_DONE SYNC),
        V(DONE READY)},
       true,
       'I'},
      {"copy in, early sync",
       {G(PARSE BIND EXEC SYNC), V("1\0\0\0\0042\0\0\0\004" COPY_IN), G(COPY_DATA COPY_DONE SYNC),
        V(DONE READY)},
       true,
       'I'},
      {"copy in, early sync, no end",
       {G(PARSE BIND EXEC SYNC), V(COPY_IN), G(COPY_DATA COPY_DONE), V(DONE)},
       false,
       'I'},
      {"copy in, all at once",
       {G(PARSE BIND EXEC SYNC COPY_DATA COPY_DONE SYNC), V(COPY_IN DONE READY)},
       false,
       'I'},
      {"copy both", {G(QUERY), V("W\0\0\0\004" DONE READY)}, false, 'I'},
      {"answer to nothing", {V(READY)}, false, 'I'},
      {"answer to nothing, then more", {V(READY), G(QUERY), V(DONE READY)}, false, 'I'},
      {"notice while idle", {V("N\0\0\0\005\0")}, true, 'I'},
      {"half a notice", {V("N\0\0\0\005")}, false, 'I'},
      {"unknown message", {G("z\0\0\0\004" QUERY), V(ERR READY)}, false, 'I'},
      {"password out of turn", {G("p\0\0\0\004")}, false, 'I'},
      {"authentication out of turn", {V(AUTH_OK)}, false, 'I'},
#undef G
#undef V
  };
  for (size_t i = 0; i < WG_COUNT(talks); i++)
    for (int bytewise = 0; bytewise < 2; bytewise++) {
      walk w;
      walk_init(&w, bytewise);
      for (size_t k = 0; k < WG_COUNT(talks[i].s) && talks[i].s[k].b; k++)
        (talks[i].s[k].dir == '>' ? client : server)(&w, (const uint8_t *)talks[i].s[k].b,
                                                     talks[i].s[k].n);
      if (pg->idle(&w.t) != talks[i].idle)
        fail_msg("%s: idle is %d", talks[i].name, !talks[i].idle);
      if (w.t.txn != talks[i].txn) fail_msg("%s: txn %c", talks[i].name, w.t.txn);
      peer_release(&w.p);
    }
}

/* Hundreds of queries on their way; the count stays right. */
static void test_track_deep_pipeline(void **state) {
  (void)state;
  walk w;
  walk_init(&w, false);
  for (int i = 0; i < 300; i++) client(&w, S(PARSE BIND EXEC SYNC));
  for (int i = 0; i < 299; i++) server(&w, S(DONE READY));
  assert_false(pg->idle(&w.t));
  server(&w, S(DONE READY));
  assert_true(pg->idle(&w.t));
  peer_release(&w.p);
}

static void test_track_terminate(void **state) {
  (void)state;
  walk w;
  size_t pass;
  walk_init(&w, false);
  assert_int_equal(pg->track_client(&w.t, S(QUERY "X\0\0\0\004" QUERY), &pass, &w.err), WG_WIRE_OK);
  assert_int_equal(pass, 9);
  assert_true(w.t.ended);
  peer_release(&w.p);
  walk_init(&w, false); /* an X in a body is only an X */
  assert_int_equal(pg->track_client(&w.t, S("Q\0\0\0\010XXX\0"), &pass, &w.err), WG_WIRE_OK);
  assert_int_equal(pass, 9);
  assert_false(w.t.ended);
  assert_int_equal(pg->track_client(&w.t, S("X"), &pass, &w.err), WG_WIRE_OK); /* in parts */
  assert_int_equal(pass, 0);
  assert_true(w.t.ended);
  peer_release(&w.p);
}

static void test_track_lengths(void **state) {
  (void)state;
  const struct {
    const uint8_t *b;
    size_t n;
  } bad[] = {{S("Q\0\0\0\0")},
             {S("Q\0\0\0\003")},
             {S("Q\100\0\0\0")},
             {S("Q\200\0\0\0")},
             {S("Q\377\377\377\377")}};
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    walk w;
    size_t pass;
    walk_init(&w, false);
    assert_int_equal(pg->track_client(&w.t, bad[i].b, bad[i].n, &pass, &w.err), WG_WIRE_ERROR);
    assert_int_equal(w.err.code, WG_PROTOCOL);
    peer_release(&w.p);
    walk_init(&w, false);
    assert_int_equal(pg->track_server(&w.t, w.p.s, bad[i].b, bad[i].n, &w.err), WG_WIRE_ERROR);
    peer_release(&w.p);
  }
  walk w;
  walk_init(&w, false); /* the longest that may be, without a byte of it held */
  client(&w, S("d\077\377\377\377"));
  uint8_t *block = calloc(1, 1 << 20);
  for (int i = 0; i < 1023; i++) client(&w, block, 1 << 20);
  client(&w, block, (1 << 20) - 6);
  assert_false(pg->idle(&w.t));
  client(&w, block, 1);
  client(&w, block, 0);
  assert_true(w.t.client.left == 0 && w.t.client.have == 0);
  free(block);
  peer_release(&w.p);
  const uint8_t *ready[] = {(const uint8_t *)"Z\0\0\0\004", (const uint8_t *)"Z\0\0\0\006",
                            (const uint8_t *)"Z\0\0\0\005X"};
  for (size_t i = 0; i < 3; i++) {
    walk_init(&w, false);
    assert_int_equal(pg->track_server(&w.t, w.p.s, ready[i], i == 2 ? 6 : 5, &w.err),
                     WG_WIRE_ERROR);
    peer_release(&w.p);
  }
}

/* What the server tells of itself during a session is told to the next guest. */
static void test_track_parameter_status(void **state) {
  (void)state;
  for (int bytewise = 0; bytewise < 2; bytewise++) {
    walk w;
    walk_init(&w, bytewise);
    client(&w, S(QUERY));
    server(&w, S("S\0\0\0\021TimeZone\0CET\0S\0\0\0\015is_new\0y\0" DONE READY));
    assert_true(pg->idle(&w.t));
    assert_string_equal(pg_param_get((pg_server *)w.p.s, "TimeZone"), "CET");
    assert_string_equal(pg_param_get((pg_server *)w.p.s, "is_new"), "y");
    client(&w, S(QUERY)); /* one that cannot be kept: never pooled again */
    server(&w, S("S\0\0\0\010abcd" DONE READY));
    assert_false(pg->idle(&w.t));
    peer_release(&w.p);
  }
}

static void test_farewell(void **state) {
  (void)state;
  walk w;
  wg_buf out;
  wg_buf_init(&out, 4096);
  walk_init(&w, false);
  client(&w, S(QUERY));
  pg->farewell(&w.t, "gone", &out);
  assert_memory_equal(wg_buf_head(&out), "E\0\0\0\040SFATAL\0VFATAL\0C08006\0Mgone\0\0", 33);
  wg_buf_clear(&out);
  server(&w, S("D\0\0\0\006\0"));
  pg->farewell(&w.t, "gone", &out); /* in the middle of a row */
  assert_int_equal(wg_buf_len(&out), 0);
  server(&w, S("\0" ERR));
  pg->farewell(&w.t, "gone", &out); /* the server has said it */
  assert_int_equal(wg_buf_len(&out), 0);
  wg_buf_release(&out);
  peer_release(&w.p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_login_startup_packet),
      cmocka_unit_test(test_login_trust_and_parameters),
      cmocka_unit_test(test_login_cleartext_and_md5),
      cmocka_unit_test(test_login_refusals),
      cmocka_unit_test(test_login_scram_needs_the_servers_proof),
      cmocka_unit_test(test_login_error_text),
      cmocka_unit_test(test_too_many_parameters),
      cmocka_unit_test(test_reset_and_ping),
      cmocka_unit_test(test_socket_path),
      cmocka_unit_test(test_greet_from_memory),
      cmocka_unit_test(test_greet_refuses_encryption_once),
      cmocka_unit_test(test_greet_refusals),
      cmocka_unit_test(test_greet_lengths),
      cmocka_unit_test(test_greet_parameters),
      cmocka_unit_test(test_greet_same_encoding),
      cmocka_unit_test(test_greet_rejected_parameter),
      cmocka_unit_test(test_greet_newer_minor_version),
      cmocka_unit_test(test_track_idle),
      cmocka_unit_test(test_track_deep_pipeline),
      cmocka_unit_test(test_track_terminate),
      cmocka_unit_test(test_track_lengths),
      cmocka_unit_test(test_track_parameter_status),
      cmocka_unit_test(test_farewell),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
