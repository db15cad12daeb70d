/* SPDX-License-Identifier: Apache-2.0 */
/* What a hostile or broken MySQL server may say: at log-in, in answer to our own requests, to a guest.
 * The first byte chooses which; the rest is the server's stream. It is fed whole and in pieces,
 * and must mean the same. */
#include "db/wire/mysql.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static const wg_secret password = {(char *)"secret", 6};
static const wg_wire_ops *my = &wg_wire_mysql;

/* New modes go to the end: the corpus knows the others by number. */
enum { LOGIN, LOGIN_TLS, ASK_TLS, PING, RESET, TRACK, TRACK_EOF, CHANGE_USER, MODES };

typedef struct run {
  wg_wire_server *s;
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
    if (mode == TRACK || mode == TRACK_EOF) {
      if (my->track_server(&r->track, r->s, p + at, part, &err) == WG_WIRE_ERROR)
        r->step = WG_WIRE_ERROR;
      continue;
    }
    wg_buf_put(&r->in, p + at, part);
    if (r->in.failed) { /* longer than any message may be, and not taken: an endless one */
      r->step = WG_WIRE_ERROR;
      break;
    }
    bool granted;
    r->step = mode <= LOGIN_TLS ? my->login(r->s, &r->in, &r->out, &err)
              : mode == ASK_TLS ? my->ask_tls(r->s, &r->in, &r->out, &granted, &err)
                                : my->reply(r->s, &r->in, &r->out, &err);
  }
}

static void start(run *r, int mode) {
  wg_wire_login login = {.user = "app", .database = "shop", .password = &password};
  login.shape = mode == TRACK || mode == LOGIN ? my->shape : (uint64_t)45 << 32;
  memset(r, 0, sizeof *r);
  r->s = my->server_new(&login);
  REQUIRE(r->s);
  wg_buf_init(&r->in, WG_WIRE_IN_MAX);
  wg_buf_init(&r->out, WG_WIRE_OUT_MAX);
  wg_buf_init(&r->to_guest, WG_WIRE_OUT_MAX);
  r->s->secure.on = r->s->secure.verified = mode == LOGIN_TLS;
  if (mode <= ASK_TLS) return;
  my_server *s = (my_server *)r->s; /* as after a log-in */
  s->state = MY_READY;
  s->caps = MY_BASE | MY_CAP_CONNECT_WITH_DB;
  if (mode == TRACK || mode == RESET) s->caps |= MY_CAP_DEPRECATE_EOF;
  memcpy(s->charset, "utf8mb4", 8);
  memcpy(s->collation, "utf8mb4_bin", 12);
  if (mode == PING) my->ping(r->s, &r->out);
  if (mode == CHANGE_USER) {
    my_hello greeted = {.caps = MY_BASE, .plugin = MY_PLUGIN_CACHING_SHA2, .scramble = "nonce"};
    s->hello = greeted;
    s->old = true;
  }
  if (mode == RESET || mode == CHANGE_USER) my->reset(r->s, &r->track, &r->out);
  if (mode == TRACK || mode == TRACK_EOF) {
    static const uint8_t asked[] = "\2\0\0\0\3q\2\0\0\0\x16q\1\0\0\0\x17\1\0\0\0\x0e\1\0\0\0\x09"
                                   "\2\0\0\0\4t\1\0\0\0\x1c\2\0\0\0\3q\2\0\0\0\3q";
    size_t pass;
    wg_error err;
    REQUIRE(my->track_client(&r->track, asked, sizeof asked - 1, &pass, &err) == WG_WIRE_OK);
    REQUIRE(r->track.pending == 9 && !r->track.tainted);
  }
}

static void end(run *r) {
  my->server_free(r->s);
  wg_buf_release(&r->in);
  wg_buf_release(&r->out);
  wg_buf_release(&r->to_guest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
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
    REQUIRE(whole.s->fault == pieces.s->fault);
    REQUIRE(whole.step == WG_WIRE_ERROR ||
            memcmp(&whole.track, &pieces.track, sizeof whole.track) == 0);
  }
  if (mode <= LOGIN_TLS && whole.step == WG_WIRE_OK)
    REQUIRE(((my_server *)whole.s)->state == MY_READY);
  if (mode == RESET || mode == CHANGE_USER)
    REQUIRE(whole.step != WG_WIRE_OK); /* nobody knows the number of the last answer */
  REQUIRE(!my->idle(&whole.track) || whole.track.pending == 0);
  my->farewell(&whole.track, "gone", &whole.to_guest);
  end(&whole);
  end(&pieces);
  return 0;
}
