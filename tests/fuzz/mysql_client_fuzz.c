/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile guest may say to the MySQL codec: its start-up, its password where that is asked for
 * (the first byte chooses), then its commands. The stream is fed whole and byte by byte, and must mean
 * the same; no COM_QUIT may pass. */
#include "db/wire/mysql.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static const wg_wire_ops *my = &wg_wire_mysql;

enum { SERVICE, GUEST, MODES };

typedef struct run {
  my_server s;
  wg_wire_guest *g;
  wg_buf to_guest, to_server;
  wg_wire_step step;
  size_t start_up; /* bytes */
  size_t passed; /* bytes that a server would get */
} run;

static void run_all(run *r, int mode, const uint8_t *p, size_t n, size_t part_max) {
  const wg_wire_policy policy = {.database = "shop"};
  wg_error err;
  memset(r, 0, sizeof *r);
  r->s.hello = (my_hello){.version = "10.11.4-MariaDB",
                          .caps = (uint32_t)MY_OFFERED,
                          .status = MY_STATUS_AUTOCOMMIT,
                          .plugin = MY_PLUGIN_CACHING_SHA2};
  r->g = my->guest_new();
  REQUIRE(r->g);
  wg_buf_init(&r->to_guest, WG_WIRE_OUT_MAX);
  wg_buf_init(&r->to_server, WG_WIRE_OUT_MAX);
  size_t at = 0, taken = 0;
  r->step = my->greet(r->g, NULL, &policy, NULL, 0, &taken, &r->to_guest, &r->to_server, &err);
  while (at < n && r->step == WG_WIRE_MORE) {
    size_t part = n - at < part_max ? n - at : part_max;
    r->step =
        my->greet(r->g, NULL, &policy, p + at, part, &taken, &r->to_guest, &r->to_server, &err);
    REQUIRE(taken <= part && (taken > 0 || r->step != WG_WIRE_MORE));
    at += taken;
    if (r->step != WG_WIRE_LEASE) continue;
    REQUIRE(r->g->user && !(r->g->shape & ~((uint64_t)0xFF << 32 | (uint32_t)MY_SHAPE)));
    if (mode == GUEST && !r->g->password) {
      my->ask_password(r->g, &r->to_guest);
      r->step = WG_WIRE_MORE;
    } else {
      r->step =
          my->greet(r->g, &r->s.base, &policy, NULL, 0, &taken, &r->to_guest, &r->to_server, &err);
      REQUIRE(!r->g->password);
    }
  }
  r->start_up = at;
  REQUIRE(r->step != WG_WIRE_ERROR); /* only memory may run out */
  REQUIRE(wg_buf_len(&r->to_server) == 0);
  if (r->step != WG_WIRE_OK) return;
  wg_wire_track *t = &r->g->track;
  while (at < n && !t->ended) {
    size_t part = n - at < part_max ? n - at : part_max, pass = 0;
    REQUIRE(my->track_client(t, p + at, part, &pass, &err) == WG_WIRE_OK);
    REQUIRE(pass <= part && (pass == part || t->ended));
    r->passed += pass;
    at += part;
  }
}

static void end(run *r) {
  my->guest_free(r->g);
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
  REQUIRE(whole.step == bytes.step && whole.start_up == bytes.start_up);
  REQUIRE(wg_buf_len(&whole.to_guest) == wg_buf_len(&bytes.to_guest));
  REQUIRE(a->ended == b->ended && a->pending == b->pending && a->kinds == b->kinds);
  /* A COM_QUIT whose header went ahead is half a packet at the server: not to be used again. */
  REQUIRE(bytes.passed == whole.passed + (a->ended ? 4 : 0));
  if (a->ended)
    REQUIRE(b->tainted && !my->idle(b));
  else
    REQUIRE(memcmp(a, b, sizeof *a) == 0);
  end(&whole);
  end(&bytes);
  return 0;
}
