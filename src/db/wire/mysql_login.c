/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/mysql.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Log-in:
 *
 *   NEW --handshake--> GREETED --HandshakeResponse--> RESPONDED --OK----------------> NAMING --> READY
 *                         \--SSLRequest--> ASKED_TLS --^  |  ^                          ^
 *                                                         |  +--AuthSwitchRequest       |
 *                                  full authentication:   +--TLS | socket--> PROVED --OK+
 *                                                         \--KEY_ASKED--^
 *
 * NAMING asks for the names of the character set that the log-in chose by its number: the reset needs
 * them, because COM_RESET_CONNECTION brings neither it nor the database back. Nor does it the role, which
 * is asked for where the server has roles. A server that does not know
 * that command (before MySQL 5.7.3 and MariaDB 10.2.4) gets COM_CHANGE_USER, a log-in on the same
 * connection: READY --it--> RESPONDED ... --OK--> READY.
 *
 * An ERR packet or anything out of turn ends the attempt. A password leaves in clear over TLS or a
 * Unix socket only; for mysql_clear_password the certificate must have been verified. */

enum { MY_SWITCHES_MAX = 4, MY_CLIENT_PACKET_MAX = 1 << 30 };

static void login_enter(my_server *s, my_login_state next) {
  switch (next) {
  case MY_NEW: WG_ASSERT(false); break;
  case MY_GREETED: WG_ASSERT(s->state == MY_NEW); break;
  case MY_ASKED_TLS: WG_ASSERT(s->state == MY_GREETED); break;
  case MY_RESPONDED:
    WG_ASSERT(s->state == MY_GREETED || s->state == MY_ASKED_TLS || s->state == MY_READY);
    break;
  case MY_KEY_ASKED: WG_ASSERT(s->state == MY_RESPONDED); break;
  case MY_PROVED: WG_ASSERT(s->state == MY_RESPONDED || s->state == MY_KEY_ASKED); break;
  case MY_NAMING: WG_ASSERT(s->state == MY_RESPONDED || s->state == MY_PROVED); break;
  case MY_READY:
    WG_ASSERT(s->state == MY_NAMING || s->state == MY_RESPONDED || s->state == MY_PROVED);
    break;
  }
  s->state = next;
}

/* ---- errors ---- */

static wg_wire_step login_fail(my_server *s, wg_wire_fault fault, wg_error *err, wg_code code,
                               const char *what) {
  s->base.fault = fault;
  wg_error_set(err, code, 0, "mysql: %s", what);
  return WG_WIRE_ERROR;
}

my_error my_error_read(wg_reader body) {
  my_error e = {.sqlstate = "HY000", .text = ""};
  wg_take_u8(&body);
  e.code = my_take_u16(&body);
  if (body.len >= 6 && body.p[0] == '#') {
    wg_take_u8(&body);
    const uint8_t *state = wg_take_bytes(&body, 5);
    for (int i = 0; i < 5; i++) e.sqlstate[i] = isalnum(state[i]) ? (char)state[i] : '?';
  }
  if (body.failed) return e;
  e.text = (const char *)body.p;
  e.text_len = body.len < 300 ? (int)body.len : 300;
  return e;
}

bool my_one_of(uint16_t code, const uint16_t *list, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (list[i] == code) return true;
  return false;
}

static wg_wire_step login_refused(my_server *s, wg_reader body, wg_error *err) {
  /* ER_DBACCESS_DENIED, ER_ACCOUNT_HAS_BEEN_LOCKED (both), ER_MUST_CHANGE_PASSWORD_LOGIN */
  static const uint16_t auth_codes[] = {1044, 3118, 4151, 1862, 1820};
  /* ER_CON_COUNT, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED, ER_SERVER_SHUTDOWN */
  static const uint16_t busy_codes[] = {1040, 1203, 1226, 1053};
  my_error e = my_error_read(body);
  bool auth =
      strncmp(e.sqlstate, "28", 2) == 0 || my_one_of(e.code, auth_codes, WG_COUNT(auth_codes));
  bool busy = my_one_of(e.code, busy_codes, WG_COUNT(busy_codes));
  s->base.fault = auth ? WG_WIRE_FAULT_AUTH : busy ? WG_WIRE_FAULT_BUSY : WG_WIRE_FAULT_OTHER;
  wg_error_set(err, auth ? WG_AUTH : WG_IO, 0,
               "mysql: the server refused the log-in: %u: %.*s (SQLSTATE %s)", e.code, e.text_len,
               e.text, e.sqlstate);
  if (auth) wg_error_hint(err, "check user and password of this database in warp.toml");
  return WG_WIRE_ERROR;
}

static wg_wire_step out_of_turn(my_server *s, wg_error *err, const char *during) {
  s->base.fault = WG_WIRE_FAULT_OTHER;
  wg_error_set(err, WG_PROTOCOL, 0, "mysql: a packet out of turn during %s", during);
  wg_error_hint(err, "is a MySQL or MariaDB server listening there?");
  return WG_WIRE_ERROR;
}

/* ---- the server's handshake, and TLS ---- */

/** The capabilities that this log-in asks for. A guess takes what the server has. */
static wg_wire_step choose_caps(my_server *s, wg_error *err) {
  uint64_t shape = s->login.shape;
  uint32_t wish = (uint32_t)shape & MY_SHAPE;
  if (shape & WG_WIRE_SHAPE_GUESS) wish &= s->hello.caps;
  if (wish & ~s->hello.caps) {
    login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_UNSUPPORTED,
               "the server lacks a capability that the guest was promised");
    wg_error_hint(err, "it is older than the one before, or than MySQL 5.7 and MariaDB 10.2");
    return WG_WIRE_ERROR;
  }
  s->caps = wish | MY_BASE;
  if (!(s->hello.caps & MY_CAP_PLUGIN_AUTH)) s->caps &= ~(uint32_t)MY_CAP_PLUGIN_AUTH;
  s->caps |= s->hello.caps & (MY_CAP_LENENC_AUTH | MY_CAP_CONNECT_ATTRS);
  if (s->login.database && s->login.database[0]) s->caps |= MY_CAP_CONNECT_WITH_DB;
  return WG_WIRE_OK;
}

static uint8_t charset_of(const my_server *s) {
  return s->login.shape & WG_WIRE_SHAPE_GUESS ? s->hello.charset : (uint8_t)(s->login.shape >> 32);
}

/** NEW: takes the handshake. */
static wg_wire_step take_hello(my_server *s, wg_buf *in, wg_error *err) {
  wg_reader body;
  uint8_t seq;
  wg_wire_step step = my_next(in, &seq, &body, err);
  if (step == WG_WIRE_ERROR) s->base.fault = WG_WIRE_FAULT_OTHER;
  if (step != WG_WIRE_OK) return step;
  if (body.len && body.p[0] == 0xFF) return login_refused(s, body, err);
  const char *wrong = seq == 0 ? my_hello_read(&s->hello, body) : "malformed handshake";
  if (wrong) {
    login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL, wrong);
    wg_error_hint(err, "is a MySQL or MariaDB server listening there?");
    return WG_WIRE_ERROR;
  }
  my_drop(in);
  s->seq = 1;
  login_enter(s, MY_GREETED);
  return choose_caps(s, err);
}

static void put_response_head(my_server *s, wg_buf *out, uint32_t caps) {
  static const uint8_t none[23];
  my_put_u32(out, caps);
  my_put_u32(out, MY_CLIENT_PACKET_MAX);
  wg_buf_put_u8(out, charset_of(s));
  wg_buf_put(out, none, sizeof none);
}

wg_wire_step my_ask_tls(wg_wire_server *base, wg_buf *in, wg_buf *out, bool *granted,
                        wg_error *err) {
  my_server *s = (my_server *)base;
  WG_ASSERT(s->state == MY_NEW);
  wg_wire_step step = take_hello(s, in, err);
  if (step != WG_WIRE_OK) return step;
  *granted = (s->hello.caps & MY_CAP_SSL) != 0;
  if (!*granted) return WG_WIRE_OK;
  s->caps |= MY_CAP_SSL;
  size_t at = my_begin(out, s->seq++);
  put_response_head(s, out, s->caps);
  my_end(out, at);
  login_enter(s, MY_ASKED_TLS);
  if (out->failed) return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_NOMEM, "out of memory");
  return WG_WIRE_OK;
}

/* ---- log-in ---- */

/** The proof for the plugin that the server named; in clear is another matter. */
static bool put_proof(const my_server *s, wg_buf *out) {
  uint8_t proof[64];
  size_t n = 0;
  bool ok = true;
  const wg_secret *password = s->login.password;
  if (password->len == 0) return true;
  if (s->plugin == MY_PLUGIN_NATIVE) {
    ok = my_native(password, s->nonce, proof);
    n = 20;
  } else if (s->plugin == MY_PLUGIN_CACHING_SHA2) {
    ok = my_sha2(password, s->nonce, proof);
    n = 32;
  } else if (s->plugin == MY_PLUGIN_ED25519) {
    ok = my_ed25519(password, s->nonce, proof);
    n = 64;
  }
  if (ok) wg_buf_put(out, proof, n);
  wg_wipe(proof, sizeof proof);
  return ok;
}

static void put_text(wg_buf *out, const char *text) {
  my_put_lenenc(out, strlen(text));
  wg_buf_put(out, text, strlen(text));
}

/** The user's name and the proof, by what the server said first.  @return false: no proof */
static bool put_who(my_server *s, wg_buf *out) {
  wg_buf proof;
  wg_buf_init(&proof, 64);
  s->plugin = s->hello.plugin == MY_PLUGIN_CACHING_SHA2 ? MY_PLUGIN_CACHING_SHA2 : MY_PLUGIN_NATIVE;
  s->nonce_len = MY_SCRAMBLE;
  memcpy(s->nonce, s->hello.scramble, MY_SCRAMBLE);
  bool ok = put_proof(s, &proof);
  wg_buf_put_cstr(out, s->login.user);
  wg_buf_put_u8(out, (uint8_t)wg_buf_len(&proof));
  wg_buf_put(out, wg_buf_head(&proof), wg_buf_len(&proof));
  wg_buf_release(&proof);
  return ok;
}

static void put_plugin(const my_server *s, wg_buf *out) {
  static const char name[] = "program_name", value[] = "warpgrid";
  if (s->caps & MY_CAP_PLUGIN_AUTH) wg_buf_put_cstr(out, my_plugin_name(s->plugin));
  if (s->caps & MY_CAP_CONNECT_ATTRS) {
    my_put_lenenc(out, sizeof name + sizeof value); /* each with a byte of its length for its NUL */
    put_text(out, name);
    put_text(out, value);
  }
}

static wg_wire_step put_response(my_server *s, wg_buf *out, wg_error *err) {
  size_t at = my_begin(out, s->seq++);
  put_response_head(s, out, s->caps);
  bool ok = put_who(s, out);
  if (s->caps & MY_CAP_CONNECT_WITH_DB) wg_buf_put_cstr(out, s->login.database);
  put_plugin(s, out);
  my_end(out, at);
  if (!ok)
    return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_IO,
                      "the crypto library cannot compute the proof of the password");
  login_enter(s, MY_RESPONDED);
  return WG_WIRE_MORE;
}

/** The password itself. */
static wg_wire_step put_clear(my_server *s, wg_buf *out) {
  size_t at = my_begin(out, s->seq++);
  wg_buf_put(out, s->login.password->bytes, s->login.password->len);
  wg_buf_put_u8(out, 0);
  my_end(out, at);
  login_enter(s, MY_PROVED);
  return WG_WIRE_MORE;
}

/** Full authentication: the password in clear where nobody else can read it, else encrypted with the
 *  server's key, which is asked for by `request`. */
static wg_wire_step full_authentication(my_server *s, uint8_t request, wg_buf *out) {
  if (s->base.secure.on || s->base.secure.local) return put_clear(s, out);
  size_t at = my_begin(out, s->seq++);
  wg_buf_put_u8(out, request);
  my_end(out, at);
  login_enter(s, MY_KEY_ASKED);
  return WG_WIRE_MORE;
}

static wg_wire_step no_password(my_server *s, wg_error *err) {
  return login_fail(s, WG_WIRE_FAULT_AUTH, err, WG_AUTH,
                    "the server wants a password and warp.toml gives none");
}

/** AuthSwitchRequest: another plugin, and a nonce for it. */
static wg_wire_step auth_switch(my_server *s, wg_reader body, wg_buf *out, wg_error *err) {
  enum { SHA256_KEY = 1 };
  if (s->state != MY_RESPONDED) return out_of_turn(s, err, "log-in");
  wg_take_u8(&body);
  if (body.len == 0)
    return login_fail(s, WG_WIRE_FAULT_AUTH, err, WG_UNSUPPORTED,
                      "the server asks for the proof of MySQL 4.0 (mysql_old_password)");
  const char *name = wg_take_cstr(&body);
  if (!name || s->nonce_len == 0 || s->switches++ >= MY_SWITCHES_MAX)
    return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL, "malformed request of a plugin");
  s->plugin = my_plugin_of(name);
  size_t want = s->plugin == MY_PLUGIN_ED25519 ? 32
                : s->plugin == MY_PLUGIN_CLEAR ? 0
                                               : MY_SCRAMBLE;
  if (s->plugin == MY_PLUGIN_NONE) {
    s->base.fault = WG_WIRE_FAULT_AUTH;
    wg_error_set(err, WG_UNSUPPORTED, 0,
                 "mysql: the server asks for authentication by '%.64s', which is not supported",
                 name);
    wg_error_hint(err, "give the user caching_sha2_password, client_ed25519 or "
                       "mysql_native_password on the server");
    return WG_WIRE_ERROR;
  }
  if (body.len < want)
    return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL, "malformed request of a plugin");
  memcpy(s->nonce, body.p, want);
  if (s->plugin == MY_PLUGIN_CLEAR) {
    if (!s->base.secure.verified && !s->base.secure.local) {
      login_fail(s, WG_WIRE_FAULT_AUTH, err, WG_AUTH,
                 "the server asks for the password in clear, and who it is was not verified");
      wg_error_hint(err,
                    "set tls = \"verify-full\", or give the user another plugin on the server");
      return WG_WIRE_ERROR;
    }
    return put_clear(s, out);
  }
  if (s->plugin == MY_PLUGIN_SHA256) {
    if (s->login.password->len == 0) return no_password(s, err);
    return full_authentication(s, SHA256_KEY, out);
  }
  size_t at = my_begin(out, s->seq++);
  bool ok = put_proof(s, out);
  my_end(out, at);
  if (ok) return WG_WIRE_MORE;
  return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_IO,
                    "the crypto library cannot compute the proof of the password");
}

/** AuthMoreData. */
static wg_wire_step auth_more(my_server *s, wg_reader body, wg_buf *out, wg_error *err) {
  enum { FAST_OK = 3, FULL = 4, SHA2_KEY = 2 };
  wg_take_u8(&body);
  if (s->state == MY_KEY_ASKED) {
    size_t at = my_begin(out, s->seq++);
    wg_code code = my_rsa_encrypt(s->login.password, s->nonce, body.p, body.len, out, err);
    my_end(out, at);
    if (code != WG_OK) {
      s->base.fault = WG_WIRE_FAULT_AUTH;
      return WG_WIRE_ERROR;
    }
    login_enter(s, MY_PROVED);
    return WG_WIRE_MORE;
  }
  if (s->state != MY_RESPONDED || s->plugin != MY_PLUGIN_CACHING_SHA2 || body.len != 1)
    return out_of_turn(s, err, "log-in");
  if (body.p[0] == FAST_OK) return WG_WIRE_MORE;
  if (body.p[0] != FULL) return out_of_turn(s, err, "log-in");
  if (s->login.password->len == 0) return no_password(s, err);
  return full_authentication(s, SHA2_KEY, out);
}

static wg_wire_step logged_in(my_server *s, wg_reader body, wg_buf *out, wg_error *err) {
  if (s->state != MY_RESPONDED && s->state != MY_PROVED) return out_of_turn(s, err, "log-in");
  s->hello.status = my_status(body.p, body.len, body.len, true);
  if (s->charset[0]) { /* it is a reset */
    login_enter(s, MY_READY);
    my_put_reset_end(s, out);
    return WG_WIRE_MORE;
  }
  login_enter(s, MY_NAMING);
  my_await_answer(s, MY_AWAIT_ROW);
  my_put_command(out, MY_COM_QUERY,
                 "SELECT @@character_set_client,@@collation_connection" MY_ON_MARIADB(MY_ROLE)
                     MY_ON_MYSQL(MY_ROLE));
  return WG_WIRE_MORE;
}

static wg_wire_step login_packet(my_server *s, wg_reader body, wg_buf *out, wg_error *err) {
  switch (body.len ? body.p[0] : 0x80) {
  case 0x00: return logged_in(s, body, out, err);
  case 0x01: return auth_more(s, body, out, err);
  case 0xFE: return auth_switch(s, body, out, err);
  case 0xFF: return login_refused(s, body, err);
  default: return out_of_turn(s, err, "log-in");
  }
}

static bool is_name(const char *text) {
  for (const char *p = text; *p; p++)
    if (!isalnum((unsigned char)*p) && *p != '_') return false;
  return text[0] != '\0';
}

/** NAMING: the row with the names. */
static wg_wire_step login_names(my_server *s, wg_buf *in, wg_buf *out, wg_error *err) {
  wg_wire_step step = my_reply(&s->base, in, out, err);
  if (step == WG_WIRE_ERROR) s->base.fault = WG_WIRE_FAULT_OTHER;
  if (step != WG_WIRE_OK) return step;
  if (s->row.cells < 2 || !is_name(s->row.cell[0]) || !is_name(s->row.cell[1]))
    return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_PROTOCOL,
                      "the server does not name its character set");
  memcpy(s->charset, s->row.cell[0], sizeof s->charset);
  memcpy(s->collation, s->row.cell[1], sizeof s->collation);
  s->roles = s->row.cells == 3;
  if (s->roles) memcpy(s->role, s->row.cell[2], sizeof s->role);
  login_enter(s, MY_READY);
  return WG_WIRE_OK;
}

wg_wire_step my_login_talk(my_server *s, wg_buf *in, wg_buf *out, wg_error *err) {
  wg_wire_step step = WG_WIRE_MORE;
  while (step == WG_WIRE_MORE && s->state < MY_NAMING) {
    wg_reader body;
    uint8_t seq;
    step = my_next(in, &seq, &body, err);
    if (step == WG_WIRE_ERROR) s->base.fault = WG_WIRE_FAULT_OTHER;
    if (step != WG_WIRE_OK) break;
    step = seq == s->seq ? WG_WIRE_MORE : out_of_turn(s, err, "log-in");
    s->seq++;
    if (step == WG_WIRE_MORE) step = login_packet(s, body, out, err);
    my_drop(in);
  }
  if (step != WG_WIRE_ERROR && out->failed)
    return login_fail(s, WG_WIRE_FAULT_OTHER, err, WG_NOMEM, "out of memory");
  return step;
}

wg_wire_step my_login(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err) {
  my_server *s = (my_server *)base;
  wg_wire_step step = WG_WIRE_MORE;
  if (s->state == MY_NEW) {
    step = take_hello(s, in, err);
    if (step != WG_WIRE_OK) return step;
  }
  if (s->state == MY_GREETED || s->state == MY_ASKED_TLS) step = put_response(s, out, err);
  if (step == WG_WIRE_MORE) step = my_login_talk(s, in, out, err);
  if (step == WG_WIRE_MORE && s->state == MY_NAMING) step = login_names(s, in, out, err);
  return step;
}

void my_change_user(my_server *s, wg_buf *out) {
  s->seq = 1;
  s->switches = 0;
  size_t at = my_begin(out, 0);
  wg_buf_put_u8(out, MY_COM_CHANGE_USER);
  (void)put_who(s, out);
  wg_buf_put_cstr(out, s->caps & MY_CAP_CONNECT_WITH_DB ? s->login.database : "");
  my_put_u16(out, charset_of(s));
  put_plugin(s, out);
  my_end(out, at);
  login_enter(s, MY_RESPONDED);
}
