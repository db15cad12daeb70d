/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/mysql.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a guest meets instead of a server's log-in:
 *
 *   NEW --our handshake--> SAID --HandshakeResponse, no server of that shape--> LEASING
 *                           |                                                     | a server
 *                           +--the server at hand has its shape--> READY <--------+
 *   LEASING --its password is wanted--> SWITCHED --proof--> PROVED --asks for our key--> KEY_SENT
 *                                          (left out when the guest's own plugin is caching_sha2)
 *           KEY_SENT --password, encrypted--> LEASING
 *   any --refused: ERR--> ENDED
 *
 * With auth = "service" any proof will do: the session behind has been authenticated with the
 * credentials that warp.toml names, whatever user the guest says. With "guest" the full
 * authentication of caching_sha2_password brings the guest's own, and nothing of it leaves the
 * process but by the log-in that proves it. With "relay" the server's handshake and all that follows
 * passes as it is. */

enum { MY_RESPONSE_MAX = 16 * 1024 };

typedef enum my_greet_state {
  GREET_NEW,
  GREET_SAID,
  GREET_LEASING,
  GREET_SWITCHED,
  GREET_PROVED,
  GREET_KEY_SENT,
  GREET_READY,
  GREET_ENDED
} my_greet_state;

typedef struct my_guest {
  wg_wire_guest base;
  my_greet_state state;  /* changed by greet_enter() only */
  my_hello said;         /* our handshake */
  uint8_t seq;           /* of our next packet */
  bool proof;            /* the response held one: the guest has a password */
  my_plugin plugin;      /* that the response names */
  char *user, *database; /* of the response; owned */
  wg_buf packet;         /* what came of the next packet */
  wg_buf secret;         /* the guest's password */
} my_guest;

static void secret_drop(my_guest *g) {
  if (g->secret.data) wg_wipe(g->secret.data, g->secret.cap);
  wg_buf_release(&g->secret);
  g->base.password = NULL;
  g->base.password_len = 0;
}

static void packet_drop(my_guest *g) {
  if (g->packet.data) wg_wipe(g->packet.data, g->packet.cap);
  wg_buf_release(&g->packet);
}

static void greet_enter(my_guest *g, my_greet_state next) {
  switch (next) {
  case GREET_NEW: WG_ASSERT(false); break;
  case GREET_SAID: WG_ASSERT(g->state == GREET_NEW); break;
  case GREET_LEASING: WG_ASSERT(g->state >= GREET_SAID && g->state <= GREET_KEY_SENT); break;
  case GREET_SWITCHED: WG_ASSERT(g->state == GREET_LEASING); break;
  case GREET_PROVED: WG_ASSERT(g->state == GREET_LEASING || g->state == GREET_SWITCHED); break;
  case GREET_KEY_SENT: WG_ASSERT(g->state == GREET_PROVED); break;
  case GREET_READY:
  case GREET_ENDED:
    WG_ASSERT(g->state != GREET_READY && g->state != GREET_ENDED);
    packet_drop(g);
    secret_drop(g);
    break;
  }
  g->state = next;
}

wg_wire_guest *my_guest_new(void) {
  my_guest *g = calloc(1, sizeof *g);
  if (!g) return NULL;
  g->base.ops = &wg_wire_mysql;
  wg_buf_init(&g->packet, MY_RESPONSE_MAX + 4);
  wg_buf_init(&g->secret, 4096);
  return &g->base;
}

void my_guest_free(wg_wire_guest *base) {
  my_guest *g = (my_guest *)base;
  if (!g) return;
  packet_drop(g);
  secret_drop(g);
  free(g->user);
  free(g->database);
  free(g);
}

static wg_wire_step greet_refuse(my_guest *g, wg_buf *to_guest, uint16_t code, const char *sqlstate,
                                 const char *message) {
  my_put_error(to_guest, g->seq++, code, sqlstate, message);
  greet_enter(g, GREET_ENDED);
  return WG_WIRE_END;
}

/* ---- our handshake ---- */

/** What is said for a server that nobody has met: what MySQL 5.7 and MariaDB 10.2 have in common. */
static my_hello hello_unmet(void) {
  return (my_hello){.version = "5.7.99-warpgrid",
                    .caps = (uint32_t)MY_OFFERED,
                    .status = MY_STATUS_AUTOCOMMIT,
                    .charset = 45, /* utf8mb4_general_ci */
                    .plugin = MY_PLUGIN_NATIVE};
}

/** What a server said, as it was kept. */
static my_hello hello_met(const wg_wire_hello *kept) {
  my_hello h;
  wg_reader r = wg_reader_of(kept->bytes, kept->len);
  wg_take_bytes(&r, 4);
  if (my_hello_read(&h, r) == NULL) return h;
  return hello_unmet();
}

static void greet_hello(my_guest *g, const my_server *s, const wg_wire_hello *kept,
                        wg_buf *to_guest) {
  my_hello *h = &g->said;
  *h = s ? s->hello : kept && kept->len ? hello_met(kept) : hello_unmet();
  h->caps &= MY_OFFERED;
  h->status = MY_STATUS_AUTOCOMMIT & h->status;
  if (h->plugin != MY_PLUGIN_CACHING_SHA2) h->plugin = MY_PLUGIN_NATIVE;
  h->caps |= MY_CAP_PLUGIN_AUTH;
  uint64_t random = wg_random_u64();
  h->thread = (uint32_t)(random >> 33) | 1; /* drivers keep it signed */
  wg_random_bytes(h->scramble, sizeof h->scramble);
  for (size_t i = 0; i < sizeof h->scramble; i++) /* as servers make it: no NUL, and 7 bits */
    h->scramble[i] = (uint8_t)(h->scramble[i] % 0x5D + 0x21);
  my_hello_put(to_guest, h);
  g->seq = 2; /* the guest's is 1 */
  greet_enter(g, GREET_SAID);
}

/* ---- HandshakeResponse ---- */

/** A guest's words, for a message. */
static void quoted(char *out, size_t cap, const char *text) {
  size_t n = 0;
  for (; text[n] && n + 1 < cap; n++) out[n] = text[n] < 0x20 || text[n] > 0x7E ? '?' : text[n];
  out[n] = '\0';
}

static bool keep(char **to, const char *text) {
  free(*to);
  *to = strdup(text);
  return *to != NULL;
}

/** @return NULL, or what is wrong with it */
static const char *response_read(my_guest *g, wg_reader r) {
  static const char malformed[] = "Bad handshake";
  uint32_t caps = my_take_u32(&r);
  my_take_u32(&r); /* its longest packet */
  uint8_t charset = wg_take_u8(&r);
  wg_take_bytes(&r, 23);
  if (r.failed) return malformed;
  if (!(caps & MY_CAP_PROTOCOL_41) || !(caps & MY_CAP_SECURE_CONNECTION))
    return "Bad handshake: the client is older than MySQL 4.1";
  if (caps & MY_CAP_SSL)
    return "Bad handshake: there is no TLS inside of the process, nor need for it: switch it off";
  if (caps & MY_CAP_COMPRESS) return "Bad handshake: compression was not offered";
  const char *user = wg_take_cstr(&r);
  uint64_t n = caps & MY_CAP_LENENC_AUTH ? my_take_lenenc(&r) : wg_take_u8(&r);
  if (!user || n > r.len) return malformed;
  wg_take_bytes(&r, (size_t)n);
  const char *database = caps & MY_CAP_CONNECT_WITH_DB ? wg_take_cstr(&r) : "";
  const char *plugin = caps & MY_CAP_PLUGIN_AUTH && r.len ? wg_take_cstr(&r) : "";
  if (r.failed) return malformed;
  g->proof = n > 0;
  g->plugin = my_plugin_of(plugin);
  g->base.shape = (uint64_t)charset << 32 | (caps & g->said.caps & MY_SHAPE);
  if (!keep(&g->user, user) || !keep(&g->database, database)) return "Out of memory";
  g->base.user = g->user;
  g->base.database = g->database[0] ? g->database : NULL;
  return NULL;
}

/** The server is there: the guest may begin. */
static wg_wire_step greet_welcome(my_guest *g, const my_server *s, const wg_wire_policy *policy,
                                  wg_buf *to_guest) {
  g->base.user = g->base.database = NULL;
  if (policy->database && g->database[0] && strcmp(g->database, policy->database) != 0) {
    char name[200], text[300];
    quoted(name, sizeof name, g->database);
    snprintf(text, sizeof text,
             "Unknown database '%s': it is not the one that this connection was opened for", name);
    return greet_refuse(g, to_guest, 1049, "42000", text);
  }
  bool sha2 = g->plugin == MY_PLUGIN_CACHING_SHA2 && g->said.plugin == MY_PLUGIN_CACHING_SHA2;
  if (sha2 && g->proof && g->seq == 2) { /* its client waits for a word about the proof */
    size_t at = my_begin(to_guest, g->seq++);
    my_put_u16(to_guest, 0x0301);
    my_end(to_guest, at);
  }
  my_put_ok(to_guest, g->seq++, s->hello.status & MY_STATUS_AUTOCOMMIT);
  greet_enter(g, GREET_READY);
  return WG_WIRE_OK;
}

static wg_wire_step greet_response(my_guest *g, const my_server *s, const wg_wire_policy *policy,
                                   wg_reader body, wg_buf *to_guest) {
  const char *wrong = response_read(g, body);
  if (wrong) return greet_refuse(g, to_guest, 1043, "08S01", wrong);
  greet_enter(g, GREET_LEASING);
  if (s && s->login.shape == g->base.shape) return greet_welcome(g, s, policy, to_guest);
  return WG_WIRE_LEASE;
}

/* ---- the guest's password ---- */

static void ask_in_full(my_guest *g, wg_buf *to_guest) {
  size_t at = my_begin(to_guest, g->seq++);
  my_put_u16(to_guest, 0x0401);
  my_end(to_guest, at);
  greet_enter(g, GREET_PROVED);
}

void my_ask_password(wg_wire_guest *base, wg_buf *to_guest) {
  my_guest *g = (my_guest *)base;
  if (g->proof && g->plugin == MY_PLUGIN_CACHING_SHA2 && g->said.plugin == MY_PLUGIN_CACHING_SHA2) {
    ask_in_full(g, to_guest);
    return;
  }
  size_t at = my_begin(to_guest, g->seq++);
  wg_buf_put_u8(to_guest, 0xFE);
  wg_buf_put_cstr(to_guest, my_plugin_name(MY_PLUGIN_CACHING_SHA2));
  wg_buf_put(to_guest, g->said.scramble, MY_SCRAMBLE);
  wg_buf_put_u8(to_guest, 0);
  my_end(to_guest, at);
  greet_enter(g, GREET_SWITCHED);
}

static wg_wire_step denied(my_guest *g, wg_buf *to_guest) {
  char name[100], text[200];
  quoted(name, sizeof name, g->user);
  snprintf(text, sizeof text, "Access denied for user '%s' (using password: NO)", name);
  return greet_refuse(g, to_guest, 1045, "28000", text);
}

/** The password is in `secret`, with its NUL or without. */
static wg_wire_step greet_secret(my_guest *g, wg_buf *to_guest) {
  const char *text = (const char *)wg_buf_head(&g->secret);
  size_t n = strnlen(text, wg_buf_len(&g->secret));
  if (n == 0) return denied(g, to_guest);
  g->base.password = text;
  g->base.password_len = n;
  greet_enter(g, GREET_LEASING);
  return WG_WIRE_LEASE;
}

/** A packet of the guest after ask_password(). */
static wg_wire_step greet_proof(my_guest *g, wg_reader body, wg_buf *to_guest, wg_error *err) {
  enum { KEY_REQUEST = 2 };
  bool empty = body.len == 0 || (body.len == 1 && body.p[0] == 0);
  if (empty) return denied(g, to_guest);
  switch (g->state) {
  case GREET_SWITCHED: ask_in_full(g, to_guest); return WG_WIRE_MORE;
  case GREET_PROVED:
    if (body.len == 1 && body.p[0] == KEY_REQUEST) {
      size_t at = my_begin(to_guest, g->seq++);
      wg_buf_put_u8(to_guest, 1);
      if (wg_mysql_key_put(to_guest, err) != WG_OK) return WG_WIRE_ERROR;
      my_end(to_guest, at);
      greet_enter(g, GREET_KEY_SENT);
      return WG_WIRE_MORE;
    }
    wg_buf_put(&g->secret, body.p, body.len); /* a client that takes the way for a safe one */
    return greet_secret(g, to_guest);
  default: break;
  }
  if (wg_mysql_key_open(body.p, body.len, g->said.scramble, &g->secret) != WG_OK)
    return greet_refuse(g, to_guest, 1045, "28000", "Access denied: the password is not readable");
  return greet_secret(g, to_guest);
}

/* ---- the whole ---- */

static wg_wire_step greet_packet(my_guest *g, const my_server *s, const wg_wire_policy *policy,
                                 wg_buf *to_guest, wg_error *err) {
  wg_reader r = wg_reader_of(wg_buf_head(&g->packet), wg_buf_len(&g->packet));
  my_take_u24(&r);
  g->seq = (uint8_t)(wg_take_u8(&r) + 1);
  wg_wire_step step = g->state == GREET_SAID ? greet_response(g, s, policy, r, to_guest)
                                             : greet_proof(g, r, to_guest, err);
  packet_drop(g);
  return step;
}

/** Takes bytes of the guest's next packet.  @return true when it is whole */
static bool greet_take(my_guest *g, const uint8_t *p, size_t n, size_t *taken, bool *too_long) {
  for (;;) {
    size_t have = wg_buf_len(&g->packet), want = 4;
    if (have >= 4) {
      wg_reader r = wg_reader_of(wg_buf_head(&g->packet), 4);
      want = my_take_u24(&r) + (size_t)4;
      *too_long = want > MY_RESPONSE_MAX + 4;
      if (*too_long || have == want) return !*too_long;
    }
    if (*taken == n) return false;
    if (have == 0) (void)wg_buf_reserve(&g->packet, 1024); /* usually not moved: no copy is left */
    size_t part = n - *taken < want - have ? n - *taken : want - have;
    wg_buf_put(&g->packet, p + *taken, part);
    *taken += part;
    if (g->packet.failed) return false;
  }
}

static wg_wire_step greet_no_memory(wg_error *err) {
  wg_error_set(err, WG_NOMEM, 0, "mysql: no memory for the guest's start-up");
  return WG_WIRE_ERROR;
}

wg_wire_step my_greet(wg_wire_guest *base, wg_wire_server *server, const wg_wire_policy *policy,
                      const uint8_t *p, size_t n, size_t *taken, wg_buf *to_guest,
                      wg_buf *to_server, wg_error *err) {
  my_guest *g = (my_guest *)base;
  const my_server *s = (const my_server *)server;
  wg_wire_step step = WG_WIRE_MORE;
  (void)to_server;
  *taken = 0;
  if (g->state == GREET_NEW && policy->relay) {
    g->base.track.tainted = true; /* never pooled */
    g->base.track.mysql.relayed = true;
    greet_enter(g, GREET_READY);
    return WG_WIRE_OK;
  }
  if (g->state == GREET_NEW) greet_hello(g, s, policy->hello, to_guest);
  if (g->state == GREET_LEASING) {
    WG_ASSERT(s && n == 0);
    secret_drop(g);
    step = greet_welcome(g, s, policy, to_guest);
  }
  bool too_long = false;
  while (step == WG_WIRE_MORE && greet_take(g, p, n, taken, &too_long))
    step = greet_packet(g, s, policy, to_guest, err);
  if (too_long) step = greet_refuse(g, to_guest, 1153, "08S01", "Got a packet bigger than allowed");
  if (g->packet.failed || g->secret.failed || to_guest->failed) return greet_no_memory(err);
  return step;
}

wg_wire_step my_greet_reply(wg_wire_guest *g, wg_wire_server *s, wg_buf *in, wg_buf *to_guest,
                            wg_error *err) {
  (void)g, (void)s, (void)in, (void)to_guest;
  wg_error_set(err, WG_PROTOCOL, 0, "mysql: nothing was asked"); /* no ASK ever comes of greet() */
  return WG_WIRE_ERROR;
}

void my_refuse(wg_wire_guest *base, const wg_error *why, wg_buf *to_guest) {
  static const struct {
    const char *given;
    uint16_t code;
    const char *sqlstate;
  } known[] = {{"53300", 1040, "08004"},
               {"57P01", 1053, "08S01"},
               {"28P01", 1045, "28000"},
               {"28000", 1045, "28000"},
               {"3D000", 1049, "42000"}};
  my_guest *g = (my_guest *)base;
  uint16_t code = why->code == WG_REFUSED     ? 1049
                  : why->code == WG_EXHAUSTED ? 1040
                  : why->code == WG_AUTH      ? 1045
                                              : 2003;
  const char *sqlstate = why->code == WG_REFUSED     ? "42000"
                         : why->code == WG_EXHAUSTED ? "08004"
                         : why->code == WG_AUTH      ? "28000"
                                                     : "HY000";
  char text[sizeof why->msg + sizeof why->hint + 4], own[6];
  snprintf(text, sizeof text, "%s", why->msg);
  if (wg_wire_take_sqlstate(text, own))
    for (size_t i = 0; i < WG_COUNT(known); i++)
      if (strcmp(own, known[i].given) == 0) {
        code = known[i].code;
        sqlstate = known[i].sqlstate;
      }
  size_t n = strlen(text);
  if (why->hint[0]) snprintf(text + n, sizeof text - n, "; %s", why->hint);
  if (strlen(text) > 511) text[511] = '\0'; /* as long as servers make them */
  my_put_error(to_guest, g->seq, code, g->state == GREET_NEW ? NULL : sqlstate, text);
}
