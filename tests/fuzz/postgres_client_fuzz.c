/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile guest may say: its start-up, then its messages. The stream is fed whole and byte
 * by byte, and must mean the same; no Terminate may pass, and not a byte be changed in count. */
#include "db/wire/postgres.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static const wg_secret password = {(char *)"secret", 6};
static const wg_wire_ops *pg = &wg_wire_postgres;
static const uint8_t welcome[] = "R\0\0\0\010\0\0\0\0S\0\0\0\025TimeZone\0Etc/UTC\0"
                                 "S\0\0\0\031client_encoding\0UTF8\0"
                                 "K\0\0\0\014\0\0\0\007\0\0\0\010Z\0\0\0\005I";

typedef struct run {
  wg_wire_server *s;
  wg_wire_guest *g;
  wg_buf to_guest, to_server;
  wg_wire_step step;
  size_t start_up;  /* bytes */
  size_t passed;    /* bytes that a server would get */
  bool wrong;       /* protocol error in a message */
} run;

static void run_all(run *r, const uint8_t *p, size_t n, size_t part_max) {
  wg_wire_login login = {.user = "app", .database = "shop", .password = &password};
  const wg_wire_policy policy = {.database = "shop"};
  wg_error err;
  wg_buf in;
  memset(r, 0, sizeof *r);
  r->s = pg->server_new(&login);
  r->g = pg->guest_new();
  REQUIRE(r->s && r->g);
  wg_buf_init(&r->to_guest, WG_WIRE_OUT_MAX);
  wg_buf_init(&r->to_server, WG_WIRE_OUT_MAX);
  wg_buf_init(&in, WG_WIRE_IN_MAX);
  wg_buf_put(&in, welcome, sizeof welcome - 1);
  REQUIRE(pg->login(r->s, &in, &r->to_server, &err) == WG_WIRE_OK);
  wg_buf_release(&in);
  wg_buf_clear(&r->to_server);

  size_t at = 0;
  r->step = WG_WIRE_MORE;
  while (at < n && r->step == WG_WIRE_MORE) {
    size_t part = n - at < part_max ? n - at : part_max, taken = 0;
    r->step =
        pg->greet(r->g, r->s, &policy, p + at, part, &taken, &r->to_guest, &r->to_server, &err);
    REQUIRE(taken > 0 && taken <= part);
    at += taken;
  }
  r->start_up = at;
  REQUIRE(r->step != WG_WIRE_ERROR); /* only memory may run out */
  if (r->step == WG_WIRE_ASK) {
    const uint8_t *q = wg_buf_head(&r->to_server);
    size_t len = wg_buf_len(&r->to_server);
    REQUIRE(len > 50 && q[0] == 'P' && memcmp(q + len - 5, "S\0\0\0\004", 5) == 0);
    r->step = WG_WIRE_OK; /* as if the server had taken them */
  } else {
    REQUIRE(wg_buf_len(&r->to_server) == 0);
  }
  if (r->step != WG_WIRE_OK) return;
  wg_wire_track *t = &r->g->track;
  while (at < n && !t->ended) {
    size_t part = n - at < part_max ? n - at : part_max, pass = 0;
    if (pg->track_client(t, p + at, part, &pass, &err) != WG_WIRE_OK) {
      r->wrong = true;
      return;
    }
    REQUIRE(pass <= part && (pass == part || t->ended));
    /* A Terminate passes only as body of something else. */
    REQUIRE(!t->ended || pass == part || p[at + pass] == 'X');
    r->passed += pass;
    at += part;
  }
}

static void end(run *r) {
  pg->server_free(r->s);
  pg->guest_free(r->g);
  wg_buf_release(&r->to_guest);
  wg_buf_release(&r->to_server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  run whole, bytes;
  run_all(&whole, data, size, SIZE_MAX);
  run_all(&bytes, data, size, 1);
  REQUIRE(whole.step == bytes.step && whole.start_up == bytes.start_up);
  REQUIRE(wg_buf_len(&whole.to_guest) == wg_buf_len(&bytes.to_guest));
  REQUIRE(wg_buf_len(&whole.to_server) == wg_buf_len(&bytes.to_server));
  REQUIRE(whole.wrong == bytes.wrong);
  if (!whole.wrong) {
    REQUIRE(whole.passed == bytes.passed);
    REQUIRE(memcmp(&whole.g->track, &bytes.g->track, sizeof whole.g->track) == 0);
    /* An idle session is one to which nothing at all was said, or after whose answers. */
    if (pg->idle(&whole.g->track)) REQUIRE(whole.g->track.pending == 0);
  }
  end(&whole);
  end(&bytes);
  return 0;
}
