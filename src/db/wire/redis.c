/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/redis.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The server's side. Log-in, reset and check are rows of commands sent at once, each with the one answer
 * that it must have:
 *
 *   log-in  [AUTH] [SELECT] PING nonce
 *   reset   RESET [AUTH] [SELECT] PING nonce
 *   check   PING
 *
 * The one catastrophe is an answer left over for the next guest: what a reset brings must match byte for
 * byte, and nobody but the server that read our last command knows its nonce. */

static wg_wire_server *rd_server_new(const wg_wire_login *login) {
  rd_server *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->base.ops = &wg_wire_redis;
  s->login = *login;
  return &s->base;
}

static void rd_server_free(wg_wire_server *base) { free(base); }

static int rd_socket_path(const char *dir, uint16_t port, char *out, size_t cap) {
  (void)port;
  return wg_wire_socket_path(dir, "redis.sock", out, cap);
}

/* ---- our own requests ---- */

void rd_put(wg_buf *out, const void *p, size_t n) {
  wg_buf_printf(out, "$%zu\r\n", n);
  wg_buf_put(out, p, n);
  wg_buf_put(out, "\r\n", 2);
}

static void put_text(wg_buf *out, const char *text) { rd_put(out, text, strlen(text)); }

static void await(rd_server *s, rd_expect what) {
  WG_ASSERT(s->expect_count < RD_EXPECT_MAX);
  s->expect[s->expect_count++] = what;
}

/** The user's name as it is sent; NULL: the password alone says who. */
static const char *user_of(const rd_server *s) {
  const char *user = s->login.user;
  return user && user[0] && strcmp(user, "default") != 0 ? user : NULL;
}

/** Who we are and where, and the question that ends it. */
static void put_identity(rd_server *s, wg_buf *out) {
  const wg_secret *password = s->login.password;
  size_t len = password ? password->len : 0;
  const char *user = user_of(s), *database = s->login.database;
  (void)wg_buf_reserve(out, len + (user ? strlen(user) : 0) + 256); /* it never moves: no copies */
  if (user || len) {
    wg_buf_printf(out, "*%d\r\n$4\r\nAUTH\r\n", user ? 3 : 2);
    if (user) put_text(out, user);
    rd_put(out, len ? password->bytes : "", len);
    await(s, RD_EXPECT_OK);
  }
  if (database && database[0] && strcmp(database, "0") != 0) {
    wg_buf_printf(out, "*2\r\n$6\r\nSELECT\r\n");
    put_text(out, database);
    await(s, RD_EXPECT_OK);
  }
  uint8_t raw[RD_NONCE / 2];
  wg_random_bytes(raw, sizeof raw);
  for (size_t i = 0; i < sizeof raw; i++) snprintf(s->nonce + 2 * i, 3, "%02x", raw[i]);
  wg_buf_printf(out, "*2\r\n$4\r\nPING\r\n");
  put_text(out, s->nonce);
  await(s, RD_EXPECT_NONCE);
}

static void requests_begin(rd_server *s) { s->expect_count = s->expect_at = 0; }

/** "-CODE text" without its line break; NULL: not whole yet. */
static char *refusal(const wg_buf *in, char out[RD_LINE_MAX]) {
  const uint8_t *p = wg_buf_head(in), *end = memchr(p, '\n', wg_buf_len(in));
  size_t n = end ? (size_t)(end - p) : wg_buf_len(in);
  if (!end && n < RD_LINE_MAX) return NULL;
  if (n > 0 && end && p[n - 1] == '\r') n--;
  if (n > RD_LINE_MAX - 1) n = RD_LINE_MAX - 1;
  for (size_t i = 1; i < n; i++) out[i - 1] = (char)(p[i] < ' ' || p[i] == 0x7F ? ' ' : p[i]);
  out[n > 0 ? n - 1 : 0] = '\0';
  return out;
}

static bool begins(const char *text, const char *with) {
  return strncmp(text, with, strlen(with)) == 0;
}

/** Servers repeat what they do not know: what we said is nobody's to read. A password so short that it
 *  is part of any text is looked for in Redis's own words only. */
static void forget_words(const rd_server *s, char *text) {
  const wg_secret *password = s->login.password;
  char *at = strstr(text, ", with args beginning with:");
  if (at) *at = '\0';
  if (!password || password->len < 6) return;
  at = memmem(text, strlen(text), password->bytes, password->len);
  if (at) *at = '\0';
}

static wg_wire_step refused(rd_server *s, char *text, wg_error *err) {
  static const char *const auth[] = {"WRONGPASS",      "NOAUTH",           "NOPERM", "DENIED",
                                     "ERR invalid pa", "ERR AUTH <passwo", NULL};
  static const char *const busy[] = {
      "ERR max number of clients", "LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", NULL};
  wg_code code = WG_PROTOCOL;
  rd_expect what = s->expect[s->expect_at];
  s->base.fault = WG_WIRE_FAULT_OTHER;
  forget_words(s, text);
  for (const char *const *a = auth; *a; a++)
    if (begins(text, *a)) s->base.fault = WG_WIRE_FAULT_AUTH, code = WG_AUTH;
  for (const char *const *b = busy; *b; b++)
    if (begins(text, *b)) s->base.fault = WG_WIRE_FAULT_BUSY, code = WG_EXHAUSTED;
  if (begins(text, "WRONGPASS")) s->base.asked = true; /* it was ready to listen */
  wg_error_set(err, code, 0, "redis: %.400s", text);
  if (begins(text, "NOAUTH") && what == RD_EXPECT_NONCE)
    wg_error_hint(err, "the server wants a password and warp.toml gives none");
  else if (begins(text, "NOPERM"))
    wg_error_hint(err,
                  "the user needs the commands PING and SELECT: ACL SETUSER %.60s "
                  "+ping +select",
                  user_of(s) ? user_of(s) : "default");
  else if (what == RD_EXPECT_RESET)
    wg_error_hint(err,
                  "connections cannot be used again where RESET is unknown (before Redis 6.2)");
  return WG_WIRE_ERROR;
}

/** Takes the answers to what was asked, in order. */
static wg_wire_step take_answers(rd_server *s, wg_buf *in, wg_error *err) {
  while (s->expect_at < s->expect_count) {
    char want[64], line[RD_LINE_MAX];
    switch (s->expect[s->expect_at]) {
    case RD_EXPECT_OK: snprintf(want, sizeof want, "+OK\r\n"); break;
    case RD_EXPECT_RESET: snprintf(want, sizeof want, "+RESET\r\n"); break;
    case RD_EXPECT_PONG: snprintf(want, sizeof want, "+PONG\r\n"); break;
    case RD_EXPECT_NONCE: snprintf(want, sizeof want, "$%d\r\n%s\r\n", RD_NONCE, s->nonce); break;
    }
    size_t have = wg_buf_len(in), len = strlen(want);
    const uint8_t *p = wg_buf_head(in);
    if (have > 0 && p[0] == '-') {
      char *text = refusal(in, line);
      return text ? refused(s, text, err) : WG_WIRE_MORE;
    }
    if (memcmp(p, want, have < len ? have : len) != 0) {
      s->base.fault = WG_WIRE_FAULT_OTHER;
      wg_error_set(err, WG_PROTOCOL, 0, "redis: the answer is not the one to what was asked");
      wg_error_hint(err, "is a Redis or Valkey server listening there?");
      return WG_WIRE_ERROR;
    }
    if (have < len) return WG_WIRE_MORE;
    wg_buf_consume(in, len);
    s->expect_at++;
  }
  if (wg_buf_len(in) == 0) return WG_WIRE_OK;
  s->base.fault = WG_WIRE_FAULT_OTHER;
  wg_error_set(err, WG_PROTOCOL, 0, "redis: the server said more than it was asked");
  return WG_WIRE_ERROR;
}

static wg_wire_step rd_login(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err) {
  rd_server *s = (rd_server *)base;
  if (!s->started) {
    s->started = true;
    requests_begin(s);
    put_identity(s, out);
    if (out->failed) {
      s->base.fault = WG_WIRE_FAULT_OTHER;
      wg_error_set(err, WG_NOMEM, 0, "redis: out of memory");
      return WG_WIRE_ERROR;
    }
  }
  return take_answers(s, in, err);
}

static void rd_reset(wg_wire_server *base, const wg_wire_track *t, wg_buf *out) {
  rd_server *s = (rd_server *)base;
  (void)t; /* RESET ends transactions, too */
  requests_begin(s);
  wg_buf_printf(out, "*1\r\n$5\r\nRESET\r\n");
  await(s, RD_EXPECT_RESET);
  put_identity(s, out);
}

static void rd_ping(wg_wire_server *base, wg_buf *out) {
  rd_server *s = (rd_server *)base;
  requests_begin(s);
  wg_buf_printf(out, "*1\r\n$4\r\nPING\r\n");
  await(s, RD_EXPECT_PONG);
}

static wg_wire_step rd_reply(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err) {
  (void)out;
  return take_answers((rd_server *)base, in, err);
}

static void rd_bye(wg_wire_server *base, wg_buf *out) {
  (void)base;
  wg_buf_printf(out, "*1\r\n$4\r\nQUIT\r\n");
}

const wg_wire_ops wg_wire_redis = {
    .protocol = WG_DB_REDIS,
    .name = "redis",
    .unnamed = "0",
    .socket_path = rd_socket_path,
    .server_new = rd_server_new,
    .server_free = rd_server_free,
    .login = rd_login,
    .reset = rd_reset,
    .ping = rd_ping,
    .reply = rd_reply,
    .bye = rd_bye,
    .guest_new = rd_guest_new,
    .guest_free = rd_guest_free,
    .greet = rd_greet,
    .greet_reply = rd_greet_reply,
    .track_client = rd_track_client,
    .track_server = rd_track_server,
    .idle = rd_idle,
    .unfinished = rd_unfinished,
    .parting = rd_parting,
    .ask_password = rd_ask_password,
    .refuse = rd_refuse,
    .farewell = rd_farewell,
};
