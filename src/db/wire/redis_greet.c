/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/redis.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A guest's start-up: its first commands, as long as they are AUTH, HELLO or QUIT. What comes behind them
 * passes as it is.
 *
 *   COMMAND --AUTH--> answered "+OK", COMMAND          (the pool has logged in)
 *           --HELLO--> REPLY --the server's answer--> passes
 *                        \--a refusal--> COMMAND        (an AUTH may follow)
 *           --QUIT--> answered "+OK", the end
 *           --another--> passes; where it is the guest that logs in: "-NOAUTH", COMMAND
 *
 * Drivers send AUTH or HELLO first, and at once with it more: the rest of what came with a HELLO goes to
 * the server behind it. */

typedef enum rd_kind { RD_PARTIAL, RD_EMPTY, RD_OTHER, RD_AUTH, RD_HELLO, RD_QUIT } rd_kind;

typedef struct rd_word {
  const uint8_t *p;
  size_t n;
} rd_word;

typedef struct rd_command {
  rd_kind kind;
  size_t len; /* with its line breaks; not of PARTIAL and OTHER */
  unsigned count;
  rd_word words[RD_ARGS_MAX];
} rd_command;

typedef struct rd_guest {
  wg_wire_guest base;
  wg_buf packet; /* the guest's bytes that were not dealt with; may hold a password */
  char *user; /* with LEASE */
  bool leasing; /* LEASE was given: the next call has the server, or the guest is to log in */
  bool demands; /* the guest must log in first */
  bool skipping; /* the rest of a command that was refused */
  bool alone; /* nothing was passed on behind HELLO */
  wg_wire_track aside; /* over that, and over the answer to HELLO */
} rd_guest;

wg_wire_guest *rd_guest_new(void) {
  rd_guest *g = calloc(1, sizeof *g);
  if (!g) return NULL;
  g->base.ops = &wg_wire_redis;
  wg_buf_init(&g->packet, RD_START_MAX);
  return &g->base;
}

/** What has been there may have been a password. */
static void packet_drop(rd_guest *g) {
  if (g->packet.data) wg_wipe(g->packet.data, g->packet.cap);
  wg_buf_release(&g->packet);
  wg_buf_init(&g->packet, RD_START_MAX);
}

static void wish_drop(rd_guest *g) {
  free(g->user);
  g->user = NULL;
  g->base.user = g->base.password = NULL;
  g->base.password_len = 0;
}

void rd_guest_free(wg_wire_guest *base) {
  rd_guest *g = (rd_guest *)base;
  if (!g) return;
  packet_drop(g);
  wg_buf_release(&g->packet);
  wish_drop(g);
  free(g);
}

/** Appends; leaves no copy of the bytes behind when it has to grow. */
static void packet_put(rd_guest *g, const uint8_t *p, size_t n) {
  size_t have = wg_buf_len(&g->packet);
  if (have && g->packet.cap - g->packet.end < n) {
    wg_buf old = g->packet;
    wg_buf_init(&g->packet, RD_START_MAX);
    (void)wg_buf_reserve(&g->packet, RD_START_MAX);
    wg_buf_put(&g->packet, wg_buf_head(&old), have);
    wg_wipe(old.data, old.cap);
    wg_buf_release(&old);
  }
  wg_buf_put(&g->packet, p, n);
}

/** Removes bytes from the front, for good. */
static void packet_take(rd_guest *g, size_t n) {
  wg_wipe(g->packet.data + g->packet.start, n);
  wg_buf_consume(&g->packet, n);
  if (wg_buf_len(&g->packet) == 0) packet_drop(g);
}

/* ---- commands ---- */

static bool is(const rd_word *w, const char *text) {
  return w->n == strlen(text) && strncasecmp((const char *)w->p, text, w->n) == 0;
}

static rd_kind kind_of(const rd_word *name) {
  return is(name, "auth")    ? RD_AUTH
         : is(name, "hello") ? RD_HELLO
         : is(name, "quit")  ? RD_QUIT
                             : RD_OTHER;
}

/** "*12\r\n".  @return bytes; 0: not whole yet; -1: none that we read */
static int number(const uint8_t *p, size_t n, char mark, size_t *value) {
  if (n == 0) return 0;
  if (p[0] != (uint8_t)mark) return -1;
  *value = 0;
  for (size_t i = 1; i < n && i < 8; i++) {
    if (p[i] == '\r' && i > 1) return i + 1 == n ? 0 : p[i + 1] == '\n' ? (int)i + 2 : -1;
    if (p[i] < '0' || p[i] > '9') return -1;
    *value = *value * 10 + (size_t)(p[i] - '0');
  }
  return n < 8 ? 0 : -1;
}

static rd_command read_array(const uint8_t *p, size_t n) {
  rd_command c = {.kind = RD_OTHER};
  size_t count, len;
  int got = number(p, n, '*', &count);
  if (got == 0) c.kind = RD_PARTIAL;
  if (got > 0 && count == 0) c = (rd_command){.kind = RD_EMPTY, .len = (size_t)got};
  if (got <= 0 || count == 0 || count > RD_ARGS_MAX) return c;
  size_t at = (size_t)got;
  for (; c.count < count; c.count++) {
    got = number(p + at, n - at, '$', &len);
    if (got < 0 || (got > 0 && (len > RD_START_MAX || (c.count == 0 && len > 5)))) return c;
    size_t body = at + (size_t)got;
    if (got == 0 || n - body < len + 2) {
      c.kind = RD_PARTIAL;
      return c;
    }
    c.words[c.count] = (rd_word){p + body, len};
    at = body + len + 2;
    if (c.count == 0 && kind_of(&c.words[0]) == RD_OTHER) return c;
  }
  c.kind = kind_of(&c.words[0]);
  c.len = at;
  return c;
}

/** A line of words. Quotes are the server's business. */
static rd_command read_line(const uint8_t *p, size_t n) {
  rd_command c = {.kind = RD_OTHER};
  const uint8_t *end = memchr(p, '\n', n < RD_LINE_MAX ? n : RD_LINE_MAX);
  if (!end) {
    if (n < RD_LINE_MAX) c.kind = RD_PARTIAL;
    return c;
  }
  for (const uint8_t *q = p; q < end;) {
    if (*q == ' ' || *q == '\t' || (*q == '\r' && q + 1 == end)) {
      q++;
      continue;
    }
    if (c.count == RD_ARGS_MAX) return c;
    rd_word *w = &c.words[c.count++];
    for (w->p = q; q < end && *q != ' ' && *q != '\t' && *q != '\r'; q++, w->n++)
      if (*q < ' ' || *q > '~' || *q == '"' || *q == '\'' || *q == '\\') return c;
    if (q < end && *q == '\r' && q + 1 != end) return c;
  }
  c.kind = c.count ? kind_of(&c.words[0]) : RD_EMPTY;
  c.len = (size_t)(end - p) + 1;
  return c;
}

static rd_command read_command(const wg_buf *packet) {
  const uint8_t *p = wg_buf_head(packet);
  size_t n = wg_buf_len(packet);
  rd_command c = p[0] == '*' ? read_array(p, n) : read_line(p, n);
  if (c.kind == RD_PARTIAL && n == RD_START_MAX) c.kind = RD_OTHER;
  return c;
}

/** Which words of a HELLO or AUTH are user and password. False: none. A HELLO that says more than we
 *  know of has none either, so it passes as it is, and the server says what is wrong.
 *  @param auth  where "AUTH" stands */
static bool find_credentials(const rd_command *c, unsigned *auth, rd_word *user,
                             rd_word *password) {
  static const rd_word standard = {(const uint8_t *)"default", 7};
  bool found = false;
  if (c->kind == RD_AUTH) {
    if (c->count != 2 && c->count != 3) return false;
    *auth = 0;
    *user = c->count == 3 ? c->words[1] : standard;
    *password = c->words[c->count - 1];
    return true;
  }
  for (unsigned i = 2; c->kind == RD_HELLO && i < c->count;) {
    if (is(&c->words[i], "auth") && i + 2 < c->count && !found) {
      found = true;
      *auth = i;
      *user = c->words[i + 1];
      *password = c->words[i + 2];
      i += 3;
    } else if (is(&c->words[i], "setname") && i + 1 < c->count) {
      i += 2;
    } else {
      return false;
    }
  }
  return found;
}

/** Whether the command logs somebody in who can have a pool. */
static bool brings_credentials(const rd_command *c, rd_word *user, rd_word *password) {
  unsigned auth;
  return find_credentials(c, &auth, user, password) && !memchr(user->p, 0, user->n);
}

/* ---- the start-up ---- */

/** What the guest has said so far passes as it is. */
static void pass_on(rd_guest *g, wg_buf *to_server) {
  size_t n = wg_buf_len(&g->packet), pass = 0;
  wg_error ignored;
  (void)rd_track_client(&g->base.track, wg_buf_head(&g->packet), n, &pass, &ignored);
  wg_buf_put(to_server, wg_buf_head(&g->packet), pass);
  g->base.touched = true;
  packet_drop(g);
}

static wg_wire_step lease(rd_guest *g, const rd_command *c) {
  rd_word user, password;
  if (brings_credentials(c, &user, &password)) {
    g->user = strndup((const char *)user.p, user.n);
    if (!g->user) return WG_WIRE_ERROR;
    g->base.user = g->user;
    g->base.password = (const char *)password.p;
    g->base.password_len = password.n;
  }
  g->leasing = true;
  return WG_WIRE_LEASE;
}

static wg_wire_step hello(rd_guest *g, const rd_command *c, wg_buf *to_server) {
  unsigned auth = 0;
  rd_word user, password;
  bool known = find_credentials(c, &auth, &user, &password);
  wg_buf_printf(to_server, "*%u\r\n", known ? c->count - 3 : c->count);
  for (unsigned i = 0; i < c->count; i++)
    if (!known || i < auth || i > auth + 2) rd_put(to_server, c->words[i].p, c->words[i].n);
  g->base.touched = true;
  memset(&g->aside, 0, sizeof g->aside);
  g->aside.pending = 1;
  packet_take(g, c->len);
  g->alone = wg_buf_len(&g->packet) == 0;
  if (!g->alone) pass_on(g, to_server);
  return WG_WIRE_ASK;
}

/** Refuses the command that the packet begins with. */
static void demand(rd_guest *g, wg_buf *to_guest) {
  rd_put_error(to_guest, "NOAUTH", "Authentication required.");
  g->demands = g->skipping = true;
  memset(&g->aside, 0, sizeof g->aside);
}

/** @return false: the guest speaks another protocol */
static bool skip(rd_guest *g) {
  size_t pass,
      n = rd_walk_client(&g->aside, wg_buf_head(&g->packet), wg_buf_len(&g->packet), &pass);
  packet_take(g, n);
  g->skipping = g->aside.client.have != 0;
  return !(g->aside.tainted && g->skipping && wg_buf_len(&g->packet) == 0);
}

static wg_wire_step greet_command(rd_guest *g, wg_wire_server *s, const rd_command *c,
                                  wg_buf *to_guest, wg_buf *to_server) {
  rd_word user, password;
  if (c->kind == RD_EMPTY) { /* not answered */
    packet_take(g, c->len);
    return WG_WIRE_MORE;
  }
  if (c->kind == RD_QUIT) {
    wg_buf_put(to_guest, "+OK\r\n", 5);
    packet_drop(g);
    return WG_WIRE_END;
  }
  if (c->kind == RD_AUTH && c->count != 2 && c->count != 3) {
    rd_put_error(to_guest, "ERR", "wrong number of arguments for 'auth' command");
    packet_take(g, c->len);
    return WG_WIRE_MORE;
  }
  if (!s && g->demands && !brings_credentials(c, &user, &password)) {
    demand(g, to_guest);
    return WG_WIRE_MORE;
  }
  if (!s) return lease(g, c);
  if (c->kind == RD_HELLO) return hello(g, c, to_server);
  if (c->kind == RD_AUTH) {
    wg_buf_put(to_guest, "+OK\r\n", 5);
    packet_take(g, c->len);
    return WG_WIRE_MORE;
  }
  pass_on(g, to_server);
  return WG_WIRE_OK;
}

wg_wire_step rd_greet(wg_wire_guest *base, wg_wire_server *server, const wg_wire_policy *policy,
                      const uint8_t *p, size_t n, size_t *taken, wg_buf *to_guest,
                      wg_buf *to_server, wg_error *err) {
  rd_guest *g = (rd_guest *)base;
  wg_wire_step step = WG_WIRE_MORE;
  base->more = base->again = false;
  if (g->leasing) {
    WG_ASSERT(n == 0);
    g->leasing = false;
    wish_drop(g);
  }
  size_t room = RD_START_MAX - wg_buf_len(&g->packet);
  *taken = n < room ? n : room;
  packet_put(g, p, *taken);
  while (step == WG_WIRE_MORE && wg_buf_len(&g->packet) && !g->packet.failed) {
    if (g->skipping) {
      if (skip(g)) continue;
      rd_put_error(to_guest, "ERR", "Protocol error");
      step = WG_WIRE_END;
    } else if (server && policy->relay) {
      g->base.track.tainted = true; /* never pooled */
      pass_on(g, to_server);
      step = WG_WIRE_OK;
    } else {
      rd_command c = read_command(&g->packet);
      if (c.kind == RD_PARTIAL) break;
      step = greet_command(g, server, &c, to_guest, to_server);
    }
  }
  if (step == WG_WIRE_ERROR || g->packet.failed || to_guest->failed || to_server->failed) {
    wg_error_set(err, WG_NOMEM, 0, "redis: no memory for the guest's start-up");
    return WG_WIRE_ERROR;
  }
  return step;
}

wg_wire_step rd_greet_reply(wg_wire_guest *base, wg_wire_server *s, wg_buf *in, wg_buf *to_guest,
                            wg_error *err) {
  rd_guest *g = (rd_guest *)base;
  (void)s;
  while (g->aside.pending && wg_buf_len(in)) {
    size_t n = rd_walk_server(&g->aside, wg_buf_head(in), wg_buf_len(in));
    wg_buf_put(to_guest, wg_buf_head(in), n);
    wg_buf_consume(in, n);
    if (g->aside.tainted || to_guest->failed) {
      wg_error_set(err, WG_PROTOCOL, 0, "redis: the answer to HELLO is none that can be read");
      return WG_WIRE_ERROR;
    }
  }
  if (g->aside.pending) return WG_WIRE_MORE;
  base->again = g->alone && (g->aside.server.type == '-' || g->aside.server.type == '!');
  return WG_WIRE_OK;
}

void rd_ask_password(wg_wire_guest *base, wg_buf *to_guest) {
  rd_guest *g = (rd_guest *)base;
  g->leasing = false;
  wish_drop(g);
  demand(g, to_guest);
  base->more = true;
}

void rd_refuse(wg_wire_guest *base, const wg_error *why, wg_buf *to_guest) {
  char text[sizeof why->msg + sizeof why->hint + 4];
  (void)base;
  snprintf(text, sizeof text, "%s", why->msg);
  (void)wg_wire_take_sqlstate(text, NULL);
  if (why->hint[0]) snprintf(text + strlen(text), sizeof text - strlen(text), " (%s)", why->hint);
  rd_put_error(to_guest, why->code == WG_AUTH ? "WRONGPASS" : "ERR", text);
}
