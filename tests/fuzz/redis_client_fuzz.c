/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile guest may say to the Redis codec: its start-up, with a log-in of its own or without, or
 * relayed (the first byte chooses), then its commands. The stream is fed whole and byte by byte: what a
 * server would get must be the same bytes, and none of the guest's AUTH unless it is relayed. */
#include "db/wire/redis.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static const wg_wire_ops *rd = &wg_wire_redis;
static const wg_secret none = {NULL, 0};

enum { SERVICE, GUEST, RELAY, MODES };

typedef struct run {
  wg_wire_server *s;
  wg_wire_guest *g;
  wg_buf to_guest, to_server;
  wg_wire_step step;
  unsigned leases;
} run;

static void run_all(run *r, int mode, const uint8_t *p, size_t n, size_t part_max) {
  wg_wire_policy policy = {.database = "0"};
  wg_wire_login login = {.password = &none};
  wg_wire_server *has = NULL;
  wg_error err;
  size_t at = 0, taken = 0;
  memset(r, 0, sizeof *r);
  r->g = rd->guest_new();
  r->s = rd->server_new(&login);
  REQUIRE(r->g && r->s);
  wg_buf_init(&r->to_guest, 4 << 20);
  wg_buf_init(&r->to_server, 4 << 20);
  r->step = WG_WIRE_MORE;
  while (at < n && r->step == WG_WIRE_MORE) {
    size_t part = n - at < part_max ? n - at : part_max;
    r->step =
        rd->greet(r->g, has, &policy, p + at, part, &taken, &r->to_guest, &r->to_server, &err);
    REQUIRE(taken <= part && (taken > 0 || r->step != WG_WIRE_MORE));
    at += taken;
    while (r->step == WG_WIRE_LEASE) {
      REQUIRE(!has && (r->g->password == NULL) == (r->g->user == NULL));
      REQUIRE(++r->leases <= 2); /* the first may be asked for its password */
      if (mode == GUEST && !r->g->password) {
        rd->ask_password(r->g, &r->to_guest);
      } else {
        has = r->s;
        policy.relay = mode == RELAY;
      }
      r->step = rd->greet(r->g, has, &policy, NULL, 0, &taken, &r->to_guest, &r->to_server, &err);
      REQUIRE(!r->g->password || r->step == WG_WIRE_LEASE);
    }
  }
  REQUIRE(r->step != WG_WIRE_ERROR); /* only memory may run out */
  REQUIRE(has || wg_buf_len(&r->to_server) == 0);
  if (r->step != WG_WIRE_OK && r->step != WG_WIRE_ASK) return;
  wg_wire_track *t = &r->g->track;
  while (at < n && !t->ended) {
    size_t part = n - at < part_max ? n - at : part_max, pass = 0;
    REQUIRE(rd->track_client(t, p + at, part, &pass, &err) == WG_WIRE_OK);
    REQUIRE(pass <= part && (pass == part || t->ended));
    wg_buf_put(&r->to_server, p + at, pass);
    at += part;
  }
}

static void end(run *r) {
  rd->guest_free(r->g);
  rd->server_free(r->s);
  wg_buf_release(&r->to_guest);
  wg_buf_release(&r->to_server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  int mode = data[0] % MODES;
  run whole, bytes;
  run_all(&whole, mode, data + 1, size - 1, SIZE_MAX);
  run_all(&bytes, mode, data + 1, size - 1, 1);
  const wg_wire_track *a = &whole.g->track, *b = &bytes.g->track;
  if (mode == RELAY && whole.step == WG_WIRE_OK) REQUIRE(a->tainted && !rd->idle(a));
  /* A QUIT whose first bytes went ahead is the server's to answer: then the two part. */
  if (size <= RD_START_MAX && !a->ended && !b->ended && !b->tainted && whole.step == bytes.step) {
    REQUIRE(a->pending == b->pending && !a->tainted);
    REQUIRE(wg_buf_len(&whole.to_server) == wg_buf_len(&bytes.to_server));
    REQUIRE(memcmp(wg_buf_head(&whole.to_server), wg_buf_head(&bytes.to_server),
                   wg_buf_len(&whole.to_server)) == 0);
  }
  end(&whole);
  end(&bytes);
  return 0;
}
