/* SPDX-License-Identifier: Apache-2.0 */
/* US-112: the Postgres codec's part in TLS, bytes to bytes: SSLRequest and its answer, and what a
 * log-in over TLS says of its channel. */
#include "db/wire/postgres.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SASL "R\0\0\0\052\0\0\0\012SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"

static const wg_secret secret = {(char *)"secret", 6};
static const wg_wire_ops *pg = &wg_wire_postgres;

typedef struct peer {
  wg_wire_server *s;
  wg_buf in, out;
  wg_error err;
  bool granted;
} peer;

static void peer_init(peer *p, wg_tls_binding binding, bool tls) {
  wg_wire_login login = {
      .user = "app", .database = "shop", .password = &secret, .binding = binding};
  memset(p, 0, sizeof *p);
  p->s = pg->server_new(&login);
  p->s->secure.on = tls;
  p->s->secure.binding_len = tls ? 32 : 0;
  wg_buf_init(&p->in, WG_WIRE_IN_MAX);
  wg_buf_init(&p->out, WG_WIRE_OUT_MAX);
}
static void peer_release(peer *p) {
  pg->server_free(p->s);
  wg_buf_release(&p->in);
  wg_buf_release(&p->out);
}
static wg_wire_step ask(peer *p) {
  return pg->ask_tls(p->s, &p->in, &p->out, &p->granted, &p->err);
}

static void test_us112_ssl_request(void **state) {
  (void)state;
  for (int yes = 0; yes < 2; yes++) {
    peer p;
    peer_init(&p, WG_TLS_BINDING_PREFER, false);
    assert_int_equal(ask(&p), WG_WIRE_MORE);
    assert_int_equal(wg_buf_len(&p.out), 8);
    assert_memory_equal(wg_buf_head(&p.out), "\0\0\0\010\4\322\026\057", 8);
    assert_int_equal(ask(&p), WG_WIRE_MORE); /* once only */
    assert_int_equal(wg_buf_len(&p.out), 8);
    wg_buf_clear(&p.out);
    wg_buf_put_u8(&p.in, yes ? 'S' : 'N');
    assert_int_equal(ask(&p), WG_WIRE_OK);
    assert_int_equal(p.granted, yes);
    assert_int_equal(wg_buf_len(&p.in), 0);
    assert_int_equal(pg->login(p.s, &p.in, &p.out, &p.err), WG_WIRE_MORE); /* and on to log in */
    assert_int_equal(wg_buf_len(&p.out), 58);
    peer_release(&p);
  }
}

/* One byte is the answer, whatever follows; what it was is told, its text is not. */
static void test_us112_ssl_answers(void **state) {
  (void)state;
  for (int byte = 0; byte < 256; byte++) {
    peer p;
    peer_init(&p, WG_TLS_BINDING_PREFER, false);
    assert_int_equal(ask(&p), WG_WIRE_MORE);
    wg_buf_put_u8(&p.in, (uint8_t)byte);
    wg_buf_put(&p.in, "secret text", 11);
    wg_wire_step step = ask(&p);
    assert_int_equal(step, byte == 'S' || byte == 'N' ? WG_WIRE_OK : WG_WIRE_ERROR);
    assert_int_equal(wg_buf_len(&p.in), 11);
    if (step == WG_WIRE_ERROR) {
      assert_int_equal(p.err.code, byte == 'E' ? WG_IO : WG_PROTOCOL);
      assert_null(strstr(p.err.msg, "secret"));
      assert_int_equal(p.s->fault, WG_WIRE_FAULT_OTHER);
    }
    peer_release(&p);
  }
}

static wg_wire_step login_with(peer *p, const char *bytes, size_t n) {
  assert_int_equal(pg->login(p->s, &p->in, &p->out, &p->err), WG_WIRE_MORE);
  wg_buf_clear(&p->out);
  wg_buf_put(&p->in, bytes, n);
  return pg->login(p->s, &p->in, &p->out, &p->err);
}

static void test_us112_mechanisms(void **state) {
  (void)state;
  static const char plain[] = "R\0\0\0\027\0\0\0\012SCRAM-SHA-256\0\0";
  static const char plus_only[] = "R\0\0\0\034\0\0\0\012SCRAM-SHA-256-PLUS\0\0";
  const struct {
    wg_tls_binding binding;
    bool tls;
    const char *offer;
    size_t len;
    const char *mechanism, *header; /* NULL: refused */
  } cases[] = {
      {WG_TLS_BINDING_PREFER, true, SASL, 43, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,"},
      {WG_TLS_BINDING_REQUIRE, true, SASL, 43, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,"},
      {WG_TLS_BINDING_DISABLE, true, SASL, 43, "SCRAM-SHA-256", "n,,n=,"},
      {WG_TLS_BINDING_PREFER, true, plain, 24, "SCRAM-SHA-256", "y,,n=,"},
      {WG_TLS_BINDING_REQUIRE, true, plain, 24, NULL, NULL},
      {WG_TLS_BINDING_PREFER, true, plus_only, 29, "SCRAM-SHA-256-PLUS", "p="},
      {WG_TLS_BINDING_DISABLE, true, plus_only, 29, NULL, NULL},
      {WG_TLS_BINDING_PREFER, false, plain, 24, "SCRAM-SHA-256", "n,,n=,"},
      {WG_TLS_BINDING_REQUIRE, false, plain, 24, NULL, NULL},
      {WG_TLS_BINDING_PREFER, false, SASL, 43, NULL, NULL}, /* PLUS without TLS: a lie */
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    peer p;
    peer_init(&p, cases[i].binding, cases[i].tls);
    wg_wire_step step = login_with(&p, cases[i].offer, cases[i].len);
    if (!cases[i].mechanism) {
      assert_int_equal(step, WG_WIRE_ERROR);
      assert_int_equal(p.s->fault, WG_WIRE_FAULT_AUTH);
    } else {
      assert_int_equal(step, WG_WIRE_MORE);
      const char *out = (const char *)wg_buf_head(&p.out);
      assert_int_equal(out[0], 'p');
      assert_string_equal(out + 5, cases[i].mechanism);
      const char *first = out + 5 + strlen(cases[i].mechanism) + 1 + 4;
      assert_memory_equal(first, cases[i].header, strlen(cases[i].header));
    }
    peer_release(&p);
  }
}

/* With "require" nothing else gets through, not even "come in". */
static void test_us112_required_binding(void **state) {
  (void)state;
  const char *const ways[] = {"R\0\0\0\010\0\0\0\0", "R\0\0\0\010\0\0\0\3",
                              "R\0\0\0\014\0\0\0\5salt"};
  const size_t lens[] = {9, 9, 13};
  for (size_t i = 0; i < WG_COUNT(ways); i++)
    for (int tls = 0; tls < 2; tls++) {
      peer p;
      peer_init(&p, WG_TLS_BINDING_REQUIRE, tls);
      assert_int_equal(login_with(&p, ways[i], lens[i]), WG_WIRE_ERROR);
      assert_int_equal(p.err.code, WG_AUTH);
      assert_non_null(strstr(p.err.msg, "channel binding is required"));
      assert_int_equal(wg_buf_len(&p.out), 0); /* no password on its way */
      peer_release(&p);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us112_ssl_request),
      cmocka_unit_test(test_us112_ssl_answers),
      cmocka_unit_test(test_us112_mechanisms),
      cmocka_unit_test(test_us112_required_binding),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
