/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/postgres.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What a guest meets instead of a server's start-up (section 55.2.1):
 *
 *   ASKED --SSLRequest | GSSENCRequest, answered 'N'--> ASKED
 *   ASKED --CancelRequest, its key told to the caller--> ENDED
 *   ASKED --StartupMessage, and no server yet--> ASKED, with the packet kept
 *   ASKED --StartupMessage, nothing to set--> READY
 *   ASKED --StartupMessage with settings--> SETTING --the server took them--> READY
 *   ASKED | SETTING --refused: ErrorResponse--> ENDED
 *
 * With auth = "service" no password is asked for: the session behind has been authenticated with the
 * credentials that warp.toml names, whatever user the guest says. With "guest" the kept packet waits
 * for the guest's own, in clear: nothing of it leaves the process but by the log-in that proves it.
 * With "relay" the packet goes to the server as it is, and the guest answers what that asks. Its first
 * answer is looked at: under TLS a server offers to bind the proof to a channel that the guest does not
 * have, and stock drivers take such an offer without TLS for an attack. */

enum { PG_SETTINGS_MAX = 128, PG_TEXT_MAX = 200, PG_PASSWORD_MAX = 4096 };

typedef enum pg_greet_state {
  GREET_ASKED,
  GREET_PASSWORD,
  GREET_SETTING,
  GREET_READY,
  GREET_ENDED
} pg_greet_state;

typedef struct pg_guest {
  wg_wire_guest base;
  pg_greet_state state;  /* changed by greet_enter() only */
  bool ssl, gss;         /* each may be asked once */
  bool leasing;          /* the packet waits for a server */
  bool refused;          /* SETTING: the server said no */
  bool relay;            /* SETTING: the guest logs in itself */
  wg_buf packet;         /* a start-up packet that came in parts */
  wg_buf secret;         /* a password message, whole or in parts */
} pg_guest;

/** One parameter of the start-up; borrows from the packet or from `options`. */
typedef struct pg_setting {
  const char *name, *value;
} pg_setting;

/** What a StartupMessage says. */
typedef struct pg_startup {
  const char *user, *database, *replication;
  char *options;         /* "-c" switches taken apart in place; owned */
  pg_setting settings[PG_SETTINGS_MAX];
  size_t count;
  const char *unknown[PG_SETTINGS_MAX]; /* protocol options ("_pq_.") that nobody here knows */
  size_t unknown_count;
} pg_startup;

static void secret_drop(pg_guest *g) {
  if (g->secret.data) wg_wipe(g->secret.data, g->secret.cap);
  wg_buf_release(&g->secret);
  g->base.password = NULL;
  g->base.password_len = 0;
}

static void greet_enter(pg_guest *g, pg_greet_state next) {
  switch (next) {
  case GREET_ASKED: WG_ASSERT(g->state == GREET_PASSWORD); break;
  case GREET_PASSWORD: WG_ASSERT(g->state == GREET_ASKED && g->leasing); break;
  case GREET_SETTING: WG_ASSERT(g->state == GREET_ASKED); break;
  case GREET_READY:
  case GREET_ENDED:
    WG_ASSERT(g->state != GREET_READY && g->state != GREET_ENDED);
    wg_buf_release(&g->packet);
    secret_drop(g);
    break;
  }
  g->state = next;
}

wg_wire_guest *pg_guest_new(void) {
  pg_guest *g = calloc(1, sizeof *g);
  if (!g) return NULL;
  g->base.ops = &wg_wire_postgres;
  g->base.track.txn = 'I';
  wg_buf_init(&g->packet, PG_STARTUP_MAX);
  wg_buf_init(&g->secret, PG_PASSWORD_MAX + 6);
  return &g->base;
}

void pg_guest_free(wg_wire_guest *base) {
  pg_guest *g = (pg_guest *)base;
  if (!g) return;
  wg_buf_release(&g->packet);
  secret_drop(g);
  free(g);
}

static wg_wire_step greet_refuse(pg_guest *g, wg_buf *to_guest, const char *sqlstate,
                                 const char *message, const char *hint) {
  pg_put_fatal(to_guest, sqlstate, message, hint);
  greet_enter(g, GREET_ENDED);
  return WG_WIRE_END;
}

/** AuthenticationOk, what the server told of itself, our key, ReadyForQuery. */
static wg_wire_step greet_welcome(pg_guest *g, const pg_server *s, wg_buf *to_guest) {
  size_t at = pg_begin(to_guest, 'R');
  wg_buf_put_u32(to_guest, 0);
  pg_end(to_guest, at);
  for (size_t i = 0; i < s->param_count; i++) {
    at = pg_begin(to_guest, 'S');
    wg_buf_put_cstr(to_guest, s->params[i].name);
    wg_buf_put_cstr(to_guest, s->params[i].value);
    pg_end(to_guest, at);
  }
  uint64_t random = wg_random_u64();
  uint32_t pid = (uint32_t)(random >> 33), key = (uint32_t)random; /* drivers keep the pid signed */
  g->base.key = (uint64_t)pid << 32 | key;
  at = pg_begin(to_guest, 'K');
  wg_buf_put_u32(to_guest, pid);
  wg_buf_put_u32(to_guest, key);
  pg_end(to_guest, at);
  at = pg_begin(to_guest, 'Z');
  wg_buf_put_u8(to_guest, 'I');
  pg_end(to_guest, at);
  greet_enter(g, GREET_READY);
  return WG_WIRE_OK;
}

/* ---- reading a StartupMessage ---- */

/** The last of several settings of one name counts, as in the real server. */
static bool setting_put(pg_startup *u, const char *name, const char *value) {
  for (size_t i = 0; i < u->count; i++)
    if (strcasecmp(u->settings[i].name, name) == 0) {
      u->settings[i].value = value;
      return true;
    }
  if (u->count == PG_SETTINGS_MAX) return false;
  u->settings[u->count++] = (pg_setting){name, value};
  return true;
}

/** Cuts the next word of `options` off in place: blanks separate, a backslash takes the next
 *  character as it is. NULL at the end. */
static char *options_word(char **at) {
  char *in = *at;
  while (isspace((unsigned char)*in)) in++;
  if (*in == '\0') return NULL;
  char *word = in, *out = in;
  while (*in && !isspace((unsigned char)*in)) {
    if (*in == '\\' && in[1]) in++;
    *out++ = *in++;
  }
  *at = *in ? in + 1 : in;
  *out = '\0';
  return word;
}

/** "-c name=value", "-cname=value" and "--name=value" of `options`.
 *  @return NULL, or what is wrong with it */
static const char *options_read(pg_startup *u, const char *text) {
  u->options = strdup(text);
  if (!u->options) return "out of memory";
  char *at = u->options;
  for (char *word; (word = options_word(&at));) {
    char *assign = NULL;
    if (word[0] == '-' && word[1] == 'c')
      assign = word[2] ? word + 2 : options_word(&at);
    else if (word[0] == '-' && word[1] == '-' && word[2])
      assign = word + 2;
    else
      return "only -c name=value and --name=value are available in the option \"options\"";
    char *equals = assign ? strchr(assign, '=') : NULL;
    if (!equals || equals == assign) return "a switch in the option \"options\" lacks its value";
    *equals = '\0';
    for (char *c = assign; *c; c++)
      if (*c == '-') *c = '_';
    if (!setting_put(u, assign, equals + 1)) return "too many start-up parameters";
  }
  return NULL;
}

/** @return NULL, or what is wrong with it; *sqlstate then says of which kind */
static const char *startup_read(pg_startup *u, wg_reader body, const char **sqlstate) {
  static const char layout[] = "invalid startup packet layout: expected terminator as last byte";
  const wg_reader whole = body;
  *sqlstate = "08P01";
  for (int pass = 0; pass < 2; pass++) { /* "options" first: parameters of their own beat them */
    body = whole;
    for (;;) {
      const char *name = wg_take_cstr(&body);
      if (!name) return layout;
      if (name[0] == '\0') break;
      const char *value = wg_take_cstr(&body);
      if (!value) return layout;
      bool options = strcmp(name, "options") == 0;
      if (options != (pass == 0)) continue;
      if (options) {
        free(u->options);
        u->options = NULL;
        u->count = 0;
        const char *wrong = options_read(u, value);
        *sqlstate = "42601";
        if (wrong) return wrong;
        *sqlstate = "08P01";
      } else if (strcmp(name, "user") == 0) {
        u->user = value;
      } else if (strcmp(name, "database") == 0) {
        u->database = value;
      } else if (strcmp(name, "replication") == 0) {
        u->replication = value;
      } else if (strncmp(name, "_pq_.", 5) == 0) {
        if (u->unknown_count < PG_SETTINGS_MAX) u->unknown[u->unknown_count++] = name;
      } else if (!setting_put(u, name, value)) {
        *sqlstate = "54000";
        return "too many start-up parameters";
      }
    }
    if (body.len != 0) return layout;
  }
  return NULL;
}

static bool means_no(const char *v) {
  static const char *const no[] = {"false", "off", "no", "0", "f", "n"};
  for (size_t i = 0; i < WG_COUNT(no); i++)
    if (strcasecmp(v, no[i]) == 0) return true;
  return false;
}

/* ---- settings that differ from the session's ---- */

/** "UTF8", "utf-8" and "Utf_8" are one encoding. */
static bool same_encoding(const char *a, const char *b) {
  for (;;) {
    while (*a && !isalnum((unsigned char)*a)) a++;
    while (*b && !isalnum((unsigned char)*b)) b++;
    if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) return false;
    if (*a == '\0') return true;
    a++;
    b++;
  }
}

static bool is_encoding(const char *name) { return strcasecmp(name, "client_encoding") == 0; }

static bool setting_differs(const pg_server *s, const pg_setting *set) {
  const char *now = pg_param_get(s, set->name);
  if (!now) return true;
  return is_encoding(set->name) ? !same_encoding(now, set->value) : strcmp(now, set->value) != 0;
}

static void put_set(wg_buf *out, const pg_setting *set) {
  const char *const value[] = {set->name, set->value};
  size_t at = pg_begin(out, 'B');
  wg_buf_put_cstr(out, ""); /* portal */
  wg_buf_put_cstr(out, ""); /* statement */
  wg_buf_put_u16(out, 0); /* parameters are text */
  wg_buf_put_u16(out, 2);
  for (size_t i = 0; i < 2; i++) {
    size_t n = strlen(value[i]);
    wg_buf_put_u32(out, (uint32_t)n);
    wg_buf_put(out, value[i], n);
  }
  wg_buf_put_u16(out, 0); /* the result is text */
  pg_end(out, at);
  at = pg_begin(out, 'E');
  wg_buf_put_cstr(out, "");
  wg_buf_put_u32(out, 0);
  pg_end(out, at);
}

/** One extended query for all of them, in one implicit transaction: all are set or none.
 *  @return how many differ */
static size_t put_settings(const pg_server *s, const pg_startup *u, wg_buf *out) {
  size_t differ = 0, at;
  /* client_encoding last: the values before it are in the encoding that the session has now. */
  for (int encoding = 0; encoding < 2; encoding++)
    for (size_t i = 0; i < u->count; i++) {
      const pg_setting *set = &u->settings[i];
      if (is_encoding(set->name) != (encoding == 1) || !setting_differs(s, set)) continue;
      if (differ++ == 0) {
        at = pg_begin(out, 'P');
        wg_buf_put_cstr(out, "");
        wg_buf_put_cstr(out, "SELECT pg_catalog.set_config($1,$2,false)");
        wg_buf_put_u16(out, 0);
        pg_end(out, at);
      }
      put_set(out, set);
    }
  if (differ) pg_end(out, pg_begin(out, 'S'));
  return differ;
}

/** NegotiateProtocolVersion: we speak 3.0 and none of the options asked for. */
static void put_negotiate(wg_buf *out, const pg_startup *u) {
  size_t at = pg_begin(out, 'v');
  wg_buf_put_u32(out, PG_PROTOCOL_3_0);
  wg_buf_put_u32(out, (uint32_t)u->unknown_count);
  for (size_t i = 0; i < u->unknown_count; i++) wg_buf_put_cstr(out, u->unknown[i]);
  pg_end(out, at);
}

/** The guest's packet as it is; @param database  added at its end, where the server would take the
 *  user's name for one that was not said, or is empty: the last of two counts. NULL: none is */
static void relay_startup(const pg_guest *g, const char *database, wg_buf *to_server) {
  const uint8_t *packet = wg_buf_head(&g->packet);
  size_t n = wg_buf_len(&g->packet);
  if (!database) {
    wg_buf_put(to_server, packet, n);
    return;
  }
  size_t more = sizeof "database" + strlen(database) + 1;
  wg_buf_put_u32(to_server, (uint32_t)(n + more));
  wg_buf_put(to_server, packet + 4, n - 4 - 1); /* without its terminator */
  wg_buf_put_cstr(to_server, "database");
  wg_buf_put_cstr(to_server, database);
  wg_buf_put_u8(to_server, 0);
}

static wg_wire_step greet_startup(pg_guest *g, pg_server *s, const wg_wire_policy *policy,
                                  uint32_t version, wg_reader body, wg_buf *to_guest,
                                  wg_buf *to_server) {
  pg_startup u = {0};
  const char *sqlstate;
  const char *wrong = startup_read(&u, body, &sqlstate);
  wg_wire_step step;
  if (wrong) {
    step = greet_refuse(g, to_guest, sqlstate, wrong, NULL);
  } else if (u.replication && !means_no(u.replication)) {
    step =
        greet_refuse(g, to_guest, "0A000", "replication is not available through the pool", NULL);
  } else if (policy->database && u.database && u.database[0] &&
             strcmp(u.database, policy->database) != 0) {
    char message[PG_TEXT_MAX + 128], hint[PG_TEXT_MAX + 64];
    snprintf(message, sizeof message,
             "database \"%.*s\" is not the one that this connection was opened for", PG_TEXT_MAX,
             u.database);
    snprintf(hint, sizeof hint, "Declared in warp.toml is \"%.*s\".", PG_TEXT_MAX,
             policy->database);
    step = greet_refuse(g, to_guest, "3D000", message, hint);
  } else {
    if (policy->relay) {
      bool named = !policy->database || (u.database && u.database[0]);
      relay_startup(g, named ? NULL : policy->database, to_server);
      g->base.track.tainted = true; /* never pooled */
      g->relay = true;
      greet_enter(g, GREET_SETTING);
      free(u.options);
      return WG_WIRE_ASK;
    }
    if (version != PG_PROTOCOL_3_0 || u.unknown_count) put_negotiate(to_guest, &u);
    if (put_settings(s, &u, to_server) == 0) {
      step = greet_welcome(g, s, to_guest);
    } else {
      g->base.touched = true;
      greet_enter(g, GREET_SETTING);
      step = WG_WIRE_ASK;
    }
  }
  free(u.options);
  return step;
}

/** There is no server yet: says which one is wanted. The packet is read again when it is there. */
static wg_wire_step greet_wish(pg_guest *g, wg_reader body, wg_buf *to_guest) {
  pg_startup u = {0};
  const char *sqlstate;
  const char *wrong = startup_read(&u, body, &sqlstate);
  free(u.options);
  if (wrong) return greet_refuse(g, to_guest, sqlstate, wrong, NULL);
  if (!u.user || !u.user[0])
    return greet_refuse(g, to_guest, "28000", "no PostgreSQL user name specified in startup packet",
                        NULL);
  g->base.user = u.user;
  g->base.database = u.database && u.database[0] ? u.database : NULL;
  g->leasing = true;
  return WG_WIRE_LEASE;
}

void pg_ask_password(wg_wire_guest *base, wg_buf *to_guest) {
  pg_guest *g = (pg_guest *)base;
  size_t at = pg_begin(to_guest, 'R');
  wg_buf_put_u32(to_guest, 3); /* AuthenticationCleartextPassword */
  pg_end(to_guest, at);
  greet_enter(g, GREET_PASSWORD);
}

/** PasswordMessage: type, length, the text and a NUL. */
static wg_wire_step greet_password(pg_guest *g, const uint8_t *p, size_t n, size_t *taken,
                                   wg_buf *to_guest) {
  for (;;) {
    size_t have = wg_buf_len(&g->secret), want = 5;
    const uint8_t *head = wg_buf_head(&g->secret);
    if (have && head[0] == 'X') { /* the rest of its goodbye, too */
      *taken = n;
      greet_enter(g, GREET_ENDED);
      return WG_WIRE_END;
    }
    if (have && head[0] != 'p')
      return greet_refuse(g, to_guest, "08P01", "expected a password", NULL);
    if (have >= 5) {
      wg_reader r = wg_reader_of(head + 1, 4);
      uint32_t length = wg_take_u32(&r);
      if (length < 5 || length > PG_PASSWORD_MAX + 5)
        return greet_refuse(g, to_guest, "08P01", "invalid length of password message", NULL);
      want = (size_t)length + 1;
      if (have == want) break;
    }
    if (*taken == n) return WG_WIRE_MORE;
    size_t part = n - *taken < want - have ? n - *taken : want - have;
    if (have == 0) {
      (void)wg_buf_reserve(&g->secret,
                           PG_PASSWORD_MAX + 6); /* never moved: no copy is left behind */
      part = 1;
    }
    wg_buf_put(&g->secret, p + *taken, part);
    *taken += part;
    if (g->secret.failed) return WG_WIRE_MORE;
  }
  const uint8_t *text = wg_buf_head(&g->secret) + 5;
  size_t len = wg_buf_len(&g->secret) - 6;
  if (text[len] != 0 || memchr(text, 0, len))
    return greet_refuse(g, to_guest, "08P01", "invalid password packet", NULL);
  if (len == 0)
    return greet_refuse(g, to_guest, "28P01", "empty password returned by client", NULL);
  greet_enter(g, GREET_ASKED);
  g->base.password = (const char *)text;
  g->base.password_len = len;
  return WG_WIRE_LEASE;
}

void pg_refuse(wg_wire_guest *base, const wg_error *why, wg_buf *to_guest) {
  (void)base;
  const char *state = why->code == WG_REFUSED     ? "3D000"
                      : why->code == WG_EXHAUSTED ? "53300"
                      : why->code == WG_AUTH      ? "28000"
                      : why->code == WG_INVALID   ? "08P01"
                                                  : "08001";
  char text[sizeof why->msg], own[6];
  snprintf(text, sizeof text, "%s", why->msg);
  if (wg_wire_take_sqlstate(text, own)) state = own;
  pg_put_fatal(to_guest, state, text, why->hint[0] ? why->hint : NULL);
}

/* ---- packets without a type byte ---- */

static wg_wire_step greet_packet(pg_guest *g, pg_server *s, const wg_wire_policy *policy,
                                 wg_buf *to_guest, wg_buf *to_server) {
  wg_reader r = wg_reader_of(wg_buf_head(&g->packet), wg_buf_len(&g->packet));
  wg_take_u32(&r);
  uint32_t code = wg_take_u32(&r);
  switch (code) {
  case PG_SSL_REQUEST:
  case PG_GSSENC_REQUEST: {
    bool *asked = code == PG_SSL_REQUEST ? &g->ssl : &g->gss;
    if (*asked || r.len != 0) break;
    *asked = true;
    g->base.asked_tls = true;
    wg_buf_put_u8(to_guest, 'N');
    wg_buf_clear(&g->packet);
    return WG_WIRE_MORE;
  }
  case PG_CANCEL_REQUEST: { /* never answered */
    uint64_t pid = wg_take_u32(&r), key = wg_take_u32(&r);
    bool whole = !r.failed && r.len == 0;
    greet_enter(g, GREET_ENDED);
    g->base.key = pid << 32 | key;
    return whole ? WG_WIRE_CANCEL : WG_WIRE_END;
  }
  default:
    if (code >> 16 == 3 && !s) return greet_wish(g, r, to_guest);
    if (code >> 16 == 3) return greet_startup(g, s, policy, code, r, to_guest, to_server);
    char message[96];
    snprintf(message, sizeof message, "unsupported frontend protocol %u.%u: server supports 3.0",
             code >> 16, code & 0xFFFF);
    return greet_refuse(g, to_guest, "0A000", message, NULL);
  }
  return greet_refuse(g, to_guest, "08P01", "encryption was asked for twice", NULL);
}

wg_wire_step pg_greet(wg_wire_guest *base, wg_wire_server *server, const wg_wire_policy *policy,
                      const uint8_t *p, size_t n, size_t *taken, wg_buf *to_guest,
                      wg_buf *to_server, wg_error *err) {
  pg_guest *g = (pg_guest *)base;
  wg_wire_step step = WG_WIRE_MORE;
  *taken = 0;
  if (g->state == GREET_PASSWORD) {
    step = greet_password(g, p, n, taken, to_guest);
    if (!g->secret.failed && !to_guest->failed) return step;
  } else {
    WG_ASSERT(g->state == GREET_ASKED);
  }
  if (g->leasing && g->state == GREET_ASKED) {
    WG_ASSERT(server && n == 0);
    g->leasing = false;
    g->base.user = g->base.database = NULL;
    secret_drop(g);
    step = greet_packet(g, (pg_server *)server, policy, to_guest, to_server);
  }
  while (step == WG_WIRE_MORE && *taken < n) {
    size_t have = wg_buf_len(&g->packet), want = 4;
    if (have >= 4) {
      wg_reader r = wg_reader_of(wg_buf_head(&g->packet), 4);
      want = wg_take_u32(&r); /* was checked when it came */
    }
    size_t part = n - *taken < want - have ? n - *taken : want - have;
    wg_buf_put(&g->packet, p + *taken, part);
    *taken += part;
    if (g->packet.failed) break;
    have += part;
    if (want == 4 && have == 4) {
      wg_reader r = wg_reader_of(wg_buf_head(&g->packet), 4);
      uint32_t length = wg_take_u32(&r);
      if (length < 8 || length > PG_STARTUP_MAX)
        step = greet_refuse(g, to_guest, "08P01", "invalid length of startup packet",
                            length >> 24 == 0x16 ? "This is a TLS handshake: use sslmode=disable."
                                                 : NULL);
    } else if (want > 4 && have == want) {
      step = greet_packet(g, (pg_server *)server, policy, to_guest, to_server);
    }
  }
  if (g->packet.failed || g->secret.failed || to_guest->failed || to_server->failed) {
    wg_error_set(err, WG_NOMEM, 0, "postgres: no memory for the guest's start-up");
    return WG_WIRE_ERROR;
  }
  return step;
}

/** AuthenticationSASL without the mechanisms that bind to a channel. */
static void put_offer(wg_reader body, wg_buf *to_guest) {
  size_t at = pg_begin(to_guest, 'R');
  wg_buf_put_u32(to_guest, wg_take_u32(&body));
  for (const char *name; (name = wg_take_cstr(&body)) && name[0];) {
    size_t n = strlen(name);
    if (n < 5 || strcmp(name + n - 5, "-PLUS") != 0) wg_buf_put_cstr(to_guest, name);
  }
  wg_buf_put_u8(to_guest, 0);
  pg_end(to_guest, at);
}

/** The server's answer to a start-up that was relayed: the guest's, up to what says how to log in. */
static wg_wire_step relay_reply(pg_guest *g, const pg_server *s, wg_buf *in, wg_buf *to_guest,
                                wg_error *err) {
  enum { SASL = 10 };
  for (bool answered = false; !answered;) {
    uint8_t type;
    wg_reader body;
    wg_wire_step step = pg_next(in, &type, &body, err);
    if (step != WG_WIRE_OK) return step;
    wg_reader kind = body;
    if (type == 'R' && s->base.secure.on && wg_take_u32(&kind) == SASL)
      put_offer(body, to_guest);
    else
      wg_buf_put(to_guest, wg_buf_head(in), body.len + 5);
    g->base.track.server.type = type;
    answered = type != 'N' && type != 'v';
    pg_drop(in);
  }
  greet_enter(g, GREET_READY);
  return WG_WIRE_OK;
}

wg_wire_step pg_greet_reply(wg_wire_guest *base, wg_wire_server *server, wg_buf *in,
                            wg_buf *to_guest, wg_error *err) {
  pg_guest *g = (pg_guest *)base;
  pg_server *s = (pg_server *)server;
  WG_ASSERT(g->state == GREET_SETTING);
  if (g->relay) return relay_reply(g, s, in, to_guest, err);
  for (;;) {
    uint8_t type;
    wg_reader body;
    wg_wire_step step = pg_next(in, &type, &body, err);
    if (step != WG_WIRE_OK) return step;
    bool fine = true, over = false;
    switch (type) {
    case 'E': /* the guest gets the server's own words; the rest of them is skipped up to 'Z' */
      if (!g->refused) wg_buf_put(to_guest, wg_buf_head(in), body.len + 5);
      g->refused = true;
      break;
    case 'S': fine = pg_param_take(s, body); break;
    case 'Z': over = true; break;
    case '1': /* ParseComplete */
    case '2': /* BindComplete */
    case 'D':
    case 'C':
    case 'N':
    case 'A': break;
    default: fine = false; break;
    }
    if (!fine) {
      wg_error_set(err, WG_PROTOCOL, 0, "postgres: message 0x%02x not expected", type);
      return WG_WIRE_ERROR;
    }
    pg_drop(in);
    if (!over) continue;
    if (g->refused)
      greet_enter(g, GREET_ENDED);
    else
      greet_welcome(g, s, to_guest);
    if (to_guest->failed) {
      wg_error_set(err, WG_NOMEM, 0, "postgres: no memory for the guest's start-up");
      return WG_WIRE_ERROR;
    }
    return g->refused ? WG_WIRE_END : WG_WIRE_OK;
  }
}
