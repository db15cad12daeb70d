/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile or broken server may say: at log-in, in answer to our own requests, to a guest.
 * The first byte chooses which; the rest is the server's stream. It is fed whole and in pieces,
 * and must mean the same. */
#include "db/wire/postgres.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static const wg_secret password = {(char *)"secret", 6};
static const wg_wire_ops *pg = &wg_wire_postgres;
static const uint8_t welcome[] = "R\0\0\0\010\0\0\0\0S\0\0\0\025TimeZone\0Etc/UTC\0"
                                 "K\0\0\0\014\0\0\0\007\0\0\0\010Z\0\0\0\005I";

/* New modes go to the end: the corpus knows the others by number. */
enum { LOGIN, REPLY, GREET_REPLY, TRACK, LOGIN_TLS, ASK_TLS, RELAY, MODES };

typedef struct run {
  wg_wire_server *s;
  wg_wire_guest *g;
  wg_buf in, out, to_guest;
  wg_wire_step step;
  wg_wire_track track;
} run;

static wg_wire_step log_in(run *r, wg_error *err) {
  wg_wire_step step;
  do step = pg->login(r->s, &r->in, &r->out, err);
  while (step == WG_WIRE_BUSY);
  return step;
}

/* Pieces of 1, 2, 3 ... bytes, or one. */
static void feed(run *r, int mode, const uint8_t *p, size_t n, bool pieces) {
  wg_error err;
  size_t part = pieces ? 1 : n;
  r->step = WG_WIRE_MORE;
  for (size_t at = 0; at < n && r->step == WG_WIRE_MORE; at += part) {
    if (pieces && at) part = part % 7 + 1;
    if (part > n - at) part = n - at;
    if (mode == TRACK) {
      if (pg->track_server(&r->track, r->s, p + at, part, &err) == WG_WIRE_ERROR)
        r->step = WG_WIRE_ERROR;
      continue;
    }
    wg_buf_put(&r->in, p + at, part);
    if (r->in.failed) { /* longer than any message may be, and not taken: an endless one */
      r->step = WG_WIRE_ERROR;
      break;
    }
    bool granted;
    r->step = mode == LOGIN || mode == LOGIN_TLS ? log_in(r, &err)
              : mode == ASK_TLS ? pg->ask_tls(r->s, &r->in, &r->out, &granted, &err)
              : mode == REPLY   ? pg->reply(r->s, &r->in, &r->out, &err)
                                : pg->greet_reply(r->g, r->s, &r->in, &r->to_guest, &err);
  }
}

static void start(run *r, int mode) {
  wg_wire_login login = {
      .user = "app", .database = "shop", .password = &password, .binding = WG_TLS_BINDING_REQUIRE};
  if (mode != LOGIN_TLS) login.binding = WG_TLS_BINDING_PREFER;
  wg_error err;
  memset(r, 0, sizeof *r);
  r->s = pg->server_new(&login);
  r->g = pg->guest_new();
  REQUIRE(r->s && r->g);
  memcpy(((pg_server *)r->s)->scram.nonce, "abc", 4);
  wg_buf_init(&r->in, WG_WIRE_IN_MAX);
  wg_buf_init(&r->out, WG_WIRE_OUT_MAX);
  wg_buf_init(&r->to_guest, WG_WIRE_OUT_MAX);
  r->track.txn = 'I';
  bool granted;
  if (mode == ASK_TLS) {
    REQUIRE(pg->ask_tls(r->s, &r->in, &r->out, &granted, &err) == WG_WIRE_MORE);
    return;
  }
  if (mode == RELAY) { /* under TLS, of which the guest is to see nothing */
    static const uint8_t packet[] = "\0\0\0\022\0\3\0\0user\0app\0";
    const wg_wire_policy policy = {.database = "shop", .relay = true};
    size_t taken;
    r->s->secure.on = true;
    REQUIRE(pg->greet(r->g, r->s, &policy, packet, sizeof packet, &taken, &r->to_guest, &r->out,
                      &err) == WG_WIRE_ASK);
    return;
  }
  r->s->secure.on = mode == LOGIN_TLS;
  r->s->secure.binding_len = mode == LOGIN_TLS ? 32 : 0;
  REQUIRE(pg->login(r->s, &r->in, &r->out, &err) == WG_WIRE_MORE);
  if (mode == LOGIN || mode == LOGIN_TLS) return;
  wg_buf_put(&r->in, welcome, sizeof welcome - 1);
  REQUIRE(pg->login(r->s, &r->in, &r->out, &err) == WG_WIRE_OK);
  if (mode == REPLY) {
    r->track.txn = 'T';
    pg->reset(r->s, &r->track, &r->out);
  }
  if (mode == GREET_REPLY) {
    static const uint8_t packet[] = "\0\0\0\022\0\3\0\0geqo\0off\0";
    const wg_wire_policy policy = {.database = "shop"};
    size_t taken;
    REQUIRE(pg->greet(r->g, r->s, &policy, packet, sizeof packet, &taken, &r->to_guest, &r->out,
                      &err) == WG_WIRE_ASK);
  }
  if (mode == TRACK) {
    static const uint8_t asked[] = "Q\0\0\0\010abc\0S\0\0\0\004P\0\0\0\010\0\0\0\0S\0\0\0\004";
    size_t pass;
    REQUIRE(pg->track_client(&r->track, asked, sizeof asked - 1, &pass, &err) == WG_WIRE_OK);
  }
}

static void end(run *r) {
  pg->server_free(r->s);
  pg->guest_free(r->g);
  wg_buf_release(&r->in);
  wg_buf_release(&r->out);
  wg_buf_release(&r->to_guest);
}

/* Half a million rounds of SHA-256 teach a fuzzer nothing. */
static bool is_slow(const uint8_t *p, size_t n) {
  for (size_t i = 0; i + 6 < n; i++)
    if (p[i] == 'i' && p[i + 1] == '=' && memcmp(p + i + 2, "4096", 4) != 0 && p[i + 4] >= '0' &&
        p[i + 4] <= '9' && p[i + 5] >= '0' && p[i + 5] <= '9')
      return true;
  return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1 || is_slow(data, size)) return 0;
  int mode = data[0] % MODES;
  run whole, pieces;
  start(&whole, mode);
  feed(&whole, mode, data + 1, size - 1, false);
  start(&pieces, mode);
  feed(&pieces, mode, data + 1, size - 1, true);
  /* In one piece a stream may outgrow the buffer that in pieces it does not. */
  if (!whole.in.failed) {
    REQUIRE(whole.step == pieces.step);
    REQUIRE(wg_buf_len(&whole.out) == wg_buf_len(&pieces.out));
    REQUIRE(wg_buf_len(&whole.to_guest) == wg_buf_len(&pieces.to_guest));
    REQUIRE(whole.s->fault == pieces.s->fault);
    REQUIRE(((pg_server *)whole.s)->param_count == ((pg_server *)pieces.s)->param_count);
    REQUIRE(whole.step == WG_WIRE_ERROR ||
            memcmp(&whole.track, &pieces.track, sizeof whole.track) == 0);
  }
  if (mode == LOGIN && whole.step == WG_WIRE_OK) REQUIRE(((pg_server *)whole.s)->state == PG_READY);
  /* Channel binding is required there, and no made-up server can prove that it knows the password. */
  if (mode == LOGIN_TLS) REQUIRE(whole.step != WG_WIRE_OK);
  pg->farewell(&whole.track, "gone", &whole.to_guest);
  end(&whole);
  end(&pieces);
  return 0;
}
