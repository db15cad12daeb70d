/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile guest may say that is asked for its password before it gets a server: its start-up,
 * then its password, then nothing more. The stream is fed whole and byte by byte, and must mean the
 * same; the bit of the first byte says whether the guest logs in itself. */
#include "db/wire/postgres.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static const wg_secret none = {(char *)"secret", 6};
static const wg_wire_ops *pg = &wg_wire_postgres;

typedef struct run {
  wg_wire_server *s;
  wg_wire_guest *g;
  wg_buf to_guest, to_server;
  wg_wire_step step;
  size_t taken, asked;
  char password[8192];
  size_t password_len;
} run;

/** A server that the guest itself logs in to has heard nothing yet. */
static void lease(run *r, bool relay) {
  wg_wire_policy policy = {.database = "shop", .relay = relay};
  wg_error err;
  size_t taken = 0;
  r->step = pg->greet(r->g, r->s, &policy, NULL, 0, &taken, &r->to_guest, &r->to_server, &err);
  REQUIRE(taken == 0 && r->step != WG_WIRE_MORE && r->step != WG_WIRE_LEASE);
}

static void run_all(run *r, const uint8_t *p, size_t n, size_t part_max, bool relay) {
  wg_wire_login login = {.user = "app", .database = "shop", .password = &none};
  wg_wire_policy policy = {.database = NULL};
  wg_error err;
  memset(r, 0, sizeof *r);
  r->s = pg->server_new(&login);
  r->g = pg->guest_new();
  REQUIRE(r->s && r->g);
  wg_buf_init(&r->to_guest, WG_WIRE_OUT_MAX);
  wg_buf_init(&r->to_server, WG_WIRE_OUT_MAX);
  r->step = WG_WIRE_MORE;
  while (r->taken < n && r->step == WG_WIRE_MORE) {
    size_t part = n - r->taken < part_max ? n - r->taken : part_max, taken = 0;
    r->step = pg->greet(r->g, NULL, &policy, p + r->taken, part, &taken, &r->to_guest,
                        &r->to_server, &err);
    REQUIRE(taken <= part && (taken > 0 || r->step != WG_WIRE_MORE));
    r->taken += taken;
    REQUIRE(wg_buf_len(&r->to_server) == 0);
    if (r->step != WG_WIRE_LEASE) continue;
    REQUIRE(r->g->user && r->g->user[0]);
    if (relay) {
      REQUIRE(!r->g->password);
      lease(r, true);
    } else if (!r->g->password) {
      REQUIRE(r->asked++ == 0);
      pg->ask_password(r->g, &r->to_guest);
      r->step = WG_WIRE_MORE;
    } else {
      REQUIRE(r->asked == 1 && r->g->password_len > 0);
      REQUIRE(r->g->password_len < sizeof r->password);
      REQUIRE(!memchr(r->g->password, 0, r->g->password_len));
      memcpy(r->password, r->g->password, r->g->password_len);
      r->password_len = r->g->password_len;
      lease(r, false);
      REQUIRE(!r->g->password); /* wiped */
    }
  }
  REQUIRE(r->step != WG_WIRE_ERROR); /* only memory may run out */
}

static void end(run *r) {
  pg->server_free(r->s);
  pg->guest_free(r->g);
  wg_buf_release(&r->to_guest);
  wg_buf_release(&r->to_server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  static run whole, bytes;
  run_all(&whole, data + 1, size - 1, SIZE_MAX, data[0] & 1);
  run_all(&bytes, data + 1, size - 1, 1, data[0] & 1);
  REQUIRE(whole.step == bytes.step && whole.asked == bytes.asked);
  if (whole.step != WG_WIRE_END) REQUIRE(whole.taken == bytes.taken);
  REQUIRE(wg_buf_len(&whole.to_guest) == wg_buf_len(&bytes.to_guest));
  REQUIRE(wg_buf_len(&whole.to_server) == wg_buf_len(&bytes.to_server));
  REQUIRE(whole.password_len == bytes.password_len);
  REQUIRE(memcmp(whole.password, bytes.password, whole.password_len) == 0);
  end(&whole);
  end(&bytes);
  return 0;
}
