/* SPDX-License-Identifier: Apache-2.0 */
/* US-112: what a server may say in each state of a log-in, and what it may not: notices anywhere,
 * refusals anywhere, what it tells of itself only when it has let us in. Bytes to bytes, each message
 * whole and in pieces, and the same through a connection. */
#include "db/db_fixture.h"
#include "db/script_server.h"
#include "db/wire/postgres.h"
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(text) (text), sizeof(text) - 1
#define NOTICE "N\0\0\0\022SNOTICE\0Mhi\0\0\0"
#define PARAM "S\0\0\0\013k\0vvvv\0"
#define AUTH_OK "R\0\0\0\010\0\0\0\0"
#define KEY "K\0\0\0\014\0\0\0\007\0\0\0\010"
#define READY "Z\0\0\0\005I"

static const wg_secret secret = {(char *)"secret", 6};
static const wg_wire_ops *pg = &wg_wire_postgres;

typedef struct peer {
  wg_wire_server *s;
  wg_buf in, out;
  wg_error err;
} peer;

static wg_wire_step says(peer *p, const void *bytes, size_t n, bool pieces) {
  const uint8_t *b = bytes;
  wg_wire_step step = WG_WIRE_MORE;
  for (size_t i = 0; i < n && step == WG_WIRE_MORE; i += pieces ? 1 : n) {
    wg_buf_put(&p->in, b + i, pieces ? 1 : n);
    step = pg->login(p->s, &p->in, &p->out, &p->err);
  }
  return step;
}

static void goes_on(peer *p, const void *bytes, size_t n) {
  if (says(p, bytes, n, false) != WG_WIRE_MORE) fail_msg("%s", p->err.msg);
}

static void server_final(peer *p) {
  uint8_t message[128] = {'R', 0, 0, 0, 54, 0, 0, 0, 12, 'v', '='};
  EVP_EncodeBlock(message + 11, ((pg_server *)p->s)->scram.server_signature, 32);
  goes_on(p, message, 55);
}

/** A log-in that has come to this state. */
static void peer_in(peer *p, pg_login_state state) {
  wg_wire_login login = {.user = "app", .database = "shop", .password = &secret};
  memset(p, 0, sizeof *p);
  p->s = pg->server_new(&login);
  wg_buf_init(&p->in, WG_WIRE_IN_MAX);
  wg_buf_init(&p->out, WG_WIRE_OUT_MAX);
  assert_int_equal(pg->login(p->s, &p->in, &p->out, &p->err), WG_WIRE_MORE);
  pg_server *s = (pg_server *)p->s;
  strcpy(s->scram.nonce, "abc");
  if (state == PG_PASSWORD_SENT) goes_on(p, BYTES("R\0\0\0\010\0\0\0\3"));
  if (state >= PG_SASL_FIRST) goes_on(p, BYTES("R\0\0\0\027\0\0\0\012SCRAM-SHA-256\0\0"));
  if (state == PG_SASL_PROOF)
    assert_int_equal(says(p, BYTES("R\0\0\0\044\0\0\0\013r=abcdef,s=c2FsdA==,i=300000"), false),
                     WG_WIRE_BUSY);
  else if (state > PG_SASL_PROOF)
    goes_on(p, BYTES("R\0\0\0\042\0\0\0\013r=abcdef,s=c2FsdA==,i=4096"));
  if (state >= PG_SASL_VERIFIED) server_final(p);
  if (state >= PG_AUTHENTICATED) goes_on(p, BYTES(AUTH_OK));
  assert_int_equal(s->state, state);
  wg_buf_clear(&p->out);
}

static void peer_release(peer *p) {
  pg->server_free(p->s);
  wg_buf_release(&p->in);
  wg_buf_release(&p->out);
}

static const pg_login_state states[] = {PG_STARTED,    PG_PASSWORD_SENT, PG_SASL_FIRST,
                                        PG_SASL_FINAL, PG_SASL_VERIFIED, PG_AUTHENTICATED};

static void test_us112_what_may_be_said(void **state) {
  (void)state;
  enum { ANYWHERE = -1, NOWHERE = -2 };
  static const struct {
    const char *bytes;
    size_t n;
    int only; /* the one state in which it may come */
    wg_code code; /* where it may not */
  } cases[] = {
      {BYTES(NOTICE), ANYWHERE, WG_OK},
      {BYTES(NOTICE NOTICE NOTICE), ANYWHERE, WG_OK},
      {BYTES(PARAM), PG_AUTHENTICATED, WG_PROTOCOL},
      {BYTES(KEY), PG_AUTHENTICATED, WG_PROTOCOL},
      {BYTES("v\0\0\0\014\0\3\0\0\0\0\0\0"), PG_STARTED, WG_PROTOCOL},
      {BYTES("E\0\0\0\023SFATAL\0C28P01\0\0"), NOWHERE, WG_AUTH},
      {BYTES("E\0\0\0\023SFATAL\0C53300\0\0"), NOWHERE, WG_IO},
      {BYTES("E\0\0\0\004"), NOWHERE, WG_IO},
      {BYTES("A\0\0\0\013\0\0\0\1a\0b\0"), NOWHERE, WG_PROTOCOL}, /* of a LISTEN that nobody said */
      {BYTES("T\0\0\0\006\0\0"), NOWHERE, WG_PROTOCOL},
      {BYTES("R\0\0\0\010\0\0\0\7"), NOWHERE, WG_OK}, /* WG_UNSUPPORTED, or out of turn */
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++)
    for (size_t k = 0; k < WG_COUNT(states); k++)
      for (int pieces = 0; pieces < 2; pieces++) {
        peer p;
        peer_in(&p, states[k]);
        bool may = cases[i].only == ANYWHERE || cases[i].only == (int)states[k];
        wg_wire_step step = says(&p, cases[i].bytes, cases[i].n, pieces);
        if (step != (may ? WG_WIRE_MORE : WG_WIRE_ERROR))
          fail_msg("case %zu in state %d: %d", i, states[k], step);
        if (!may && cases[i].code != WG_OK) assert_int_equal(p.err.code, cases[i].code);
        assert_int_equal(wg_buf_len(&p.out), 0); /* and nothing is answered to any of them */
        if (may) assert_int_equal(((pg_server *)p.s)->state, states[k]);
        peer_release(&p);
      }
}

/* The proof is being computed, a server that does not wait for it is heard when that is done. */
static void test_us112_said_while_it_computes(void **state) {
  (void)state;
  peer p;
  peer_in(&p, PG_SASL_PROOF);
  wg_buf_put(&p.in, NOTICE "E\0\0\0\023SFATAL\0C57P03\0\0", sizeof NOTICE - 1 + 20);
  wg_wire_step step = WG_WIRE_BUSY;
  int turns = 0;
  for (; step == WG_WIRE_BUSY; turns++) step = pg->login(p.s, &p.in, &p.out, &p.err);
  assert_int_equal(step, WG_WIRE_ERROR);
  assert_int_equal(p.s->fault, WG_WIRE_FAULT_BUSY);
  assert_true(turns > 50);
  peer_release(&p);
}

/** @return the code of a connect to a server that answers so */
static wg_code connect_to(const char *answer, size_t n, wg_error *err) {
  script_server s = {.answer = answer, .answer_len = n};
  db_fixture f;
  script_start(&s);
  db_fixture_init(&f);
  f.real = true;
  f.database.port = s.port;
  f.database.pool.idle_timeout_ms = 10;
  db_fixture_start(&f);
  uint64_t h = db_connect(&f, f.guest, err);
  wg_code code = h ? WG_OK : err->code;
  if (h) db_close(f.guest, h);
  db_advance(&f, 11);
  db_run_until_stats(&f, 0, 0, 0);
  for (int i = 0; i < 5000 && s.open; i++) uv_sleep(1); /* its end of it counts as a leak */
  db_fixture_stop(&f);
  script_stop(&s);
  return code;
}

static void test_us112_through_a_connection(void **state) {
  (void)state;
  wg_error err;
  assert_int_equal(
      connect_to(BYTES(NOTICE AUTH_OK NOTICE PARAM NOTICE KEY NOTICE PARAM READY), &err), WG_OK);
  assert_int_equal(connect_to(BYTES(PARAM AUTH_OK READY), &err), WG_PROTOCOL);
  assert_non_null(strstr(err.msg, "message 0x53 out of turn during log-in"));
  assert_int_equal(connect_to(BYTES(NOTICE "E\0\0\0\023SFATAL\0C28000\0\0"), &err), WG_AUTH);
  assert_int_equal(connect_to(BYTES(AUTH_OK PARAM "E\0\0\0\023SFATAL\0C3D000\0\0"), &err), WG_IO);
  assert_non_null(strstr(err.msg, "3D000"));
  /* Behind ReadyForQuery a guest would take it for an answer to its first question. */
  assert_int_equal(connect_to(BYTES(AUTH_OK READY NOTICE), &err), WG_PROTOCOL);
  assert_non_null(strstr(err.msg, "more than was asked for"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_us112_what_may_be_said),
      cmocka_unit_test(test_us112_said_while_it_computes),
      cmocka_unit_test(test_us112_through_a_connection),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
