/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile or broken Redis server may say: at log-in, in answer to our own requests, to a guest.
 * The first byte chooses which; the rest is the server's stream. It is fed whole and in pieces,
 * and must mean the same. */
#include "db/wire/redis.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static const wg_secret password = {(char *)"secret", 6};
static const wg_wire_ops *rd = &wg_wire_redis;
static const char nonce[] = "0123456789abcdef"; /* the corpus knows it */

/* New modes go to the end: the corpus knows the others by number. */
enum { LOGIN, RESET, PING, TRACK, HELLO, MODES };

typedef struct run {
  wg_wire_server *s;
  wg_wire_guest *g;
  wg_buf in, out, to_guest;
  wg_wire_step step;
  wg_wire_track track;
} run;

/* Pieces of 1, 2, 3 ... bytes, or one. */
static void feed(run *r, int mode, const uint8_t *p, size_t n, bool pieces) {
  wg_error err;
  size_t part = pieces ? 1 : n;
  r->step = WG_WIRE_MORE;
  for (size_t at = 0; at < n && r->step == WG_WIRE_MORE; at += part) {
    if (pieces && at) part = part % 7 + 1;
    if (part > n - at) part = n - at;
    if (mode == TRACK) {
      REQUIRE(rd->track_server(&r->track, r->s, p + at, part, &err) == WG_WIRE_OK);
      continue;
    }
    wg_buf_put(&r->in, p + at, part);
    r->step = mode == LOGIN   ? rd->login(r->s, &r->in, &r->out, &err)
              : mode == HELLO ? rd->greet_reply(r->g, r->s, &r->in, &r->to_guest, &err)
                              : rd->reply(r->s, &r->in, &r->out, &err);
  }
}

static void start(run *r, int mode) {
  static const uint8_t asked[] = "PING\r\nGET a\r\nEXEC\r\nMGET a b\r\nHGETALL a\r\n";
  wg_wire_login login = {.user = "app", .database = "3", .password = &password};
  wg_error err;
  size_t n;
  memset(r, 0, sizeof *r);
  r->s = rd->server_new(&login);
  r->g = rd->guest_new();
  REQUIRE(r->s && r->g);
  wg_buf_init(&r->in, 1 << 20);
  wg_buf_init(&r->out, WG_WIRE_OUT_MAX);
  wg_buf_init(&r->to_guest, 1 << 20);
  if (mode == LOGIN) REQUIRE(rd->login(r->s, &r->in, &r->out, &err) == WG_WIRE_MORE);
  if (mode == RESET) rd->reset(r->s, &r->track, &r->out);
  if (mode == PING) rd->ping(r->s, &r->out);
  memcpy(((rd_server *)r->s)->nonce, nonce, sizeof nonce);
  if (mode == TRACK) {
    REQUIRE(rd->track_client(&r->track, asked, sizeof asked - 1, &n, &err) == WG_WIRE_OK);
    REQUIRE(r->track.pending == 5 && !r->track.tainted);
  }
  if (mode == HELLO) {
    const wg_wire_policy policy = {.database = "0"};
    REQUIRE(rd->greet(r->g, r->s, &policy, (const uint8_t *)"HELLO 3\r\n", 9, &n, &r->to_guest,
                      &r->out, &err) == WG_WIRE_ASK);
  }
}

static void end(run *r) {
  rd->server_free(r->s);
  rd->guest_free(r->g);
  wg_buf_release(&r->in);
  wg_buf_release(&r->out);
  wg_buf_release(&r->to_guest);
}

/** The only words that make a connection somebody's. */
static bool exactly(int mode, const uint8_t *p, size_t n) {
  static const char *const words[] = {"+OK\r\n+OK\r\n$16\r\n0123456789abcdef\r\n",
                                      "+RESET\r\n+OK\r\n+OK\r\n$16\r\n0123456789abcdef\r\n",
                                      "+PONG\r\n"};
  return n == strlen(words[mode]) && memcmp(p, words[mode], n) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  int mode = data[0] % MODES;
  run whole, pieces;
  start(&whole, mode);
  feed(&whole, mode, data + 1, size - 1, false);
  start(&pieces, mode);
  feed(&pieces, mode, data + 1, size - 1, true);
  const wg_wire_track *a = &whole.track, *b = &pieces.track;
  if (mode <= PING) {
    REQUIRE((whole.step == WG_WIRE_OK) == exactly(mode, data + 1, size - 1));
    /* In pieces what follows the last answer may not have come yet. */
    REQUIRE(whole.step == pieces.step || pieces.step == WG_WIRE_OK);
  } else if (mode == TRACK) {
    REQUIRE(a->pending == b->pending && a->tainted == b->tainted);
    REQUIRE(a->redis.depth == b->redis.depth && a->redis.server == b->redis.server);
    REQUIRE(rd->idle(a) == rd->idle(b));
    REQUIRE(!rd->idle(a) || a->pending == 0);
  } else {
    REQUIRE(whole.step == pieces.step);
    if (whole.step == WG_WIRE_OK)
      REQUIRE(wg_buf_len(&whole.to_guest) == wg_buf_len(&pieces.to_guest));
  }
  wg_buf_clear(&whole.to_guest);
  rd->farewell(a, "gone", &whole.to_guest);
  end(&whole);
  end(&pieces);
  return 0;
}
