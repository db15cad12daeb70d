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

/* Comments that servers read for themselves: MariaDB's, and MySQL's from version 8 on. */
#define ON_MARIADB(text) "/*M!100005 " text "*/"
#define ON_MYSQL(text) "/*!80000 " text "*/"
#define ROLE ",SHA2(CURRENT_ROLE(),256)" /* its name may be longer than a cell */

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

/* ---- life ---- */

static wg_wire_server *my_server_new(const wg_wire_login *login) {
  my_server *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->base.ops = &wg_wire_mysql;
  s->login = *login;
  return &s->base;
}

static void my_server_free(wg_wire_server *base) {
  my_server *s = (my_server *)base;
  if (!s) return;
  wg_wipe(s, sizeof *s);
  free(s);
}

static int my_socket_path(const char *dir, uint16_t port, char *out, size_t cap) {
  size_t n = strlen(dir);
  (void)port;
  if (n > 5 && strcmp(dir + n - 5, ".sock") == 0) return snprintf(out, cap, "%s", dir);
  return snprintf(out, cap, "%s/mysqld.sock", dir);
}

/* ---- errors ---- */

static wg_wire_step login_fail(my_server *s, wg_wire_fault fault, wg_error *err, wg_code code,
                               const char *what) {
  s->base.fault = fault;
  wg_error_set(err, code, 0, "mysql: %s", what);
  return WG_WIRE_ERROR;
}

/** An ERR packet; borrowed. */
typedef struct my_error {
  uint16_t code;
  char sqlstate[6];
  int text_len;
  const char *text;
} my_error;

static my_error error_read(wg_reader body) {
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

static bool one_of(uint16_t code, const uint16_t *list, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (list[i] == code) return true;
  return false;
}

static wg_wire_step login_refused(my_server *s, wg_reader body, wg_error *err) {
  /* ER_DBACCESS_DENIED, ER_ACCOUNT_HAS_BEEN_LOCKED (both), ER_MUST_CHANGE_PASSWORD_LOGIN */
  static const uint16_t auth_codes[] = {1044, 3118, 4151, 1862, 1820};
  /* ER_CON_COUNT, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED, ER_SERVER_SHUTDOWN */
  static const uint16_t busy_codes[] = {1040, 1203, 1226, 1053};
  my_error e = error_read(body);
  bool auth = strncmp(e.sqlstate, "28", 2) == 0 || one_of(e.code, auth_codes, WG_COUNT(auth_codes));
  bool busy = one_of(e.code, busy_codes, WG_COUNT(busy_codes));
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

static wg_wire_step my_ask_tls(wg_wire_server *base, wg_buf *in, wg_buf *out, bool *granted,
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

static void await(my_server *s, my_await what) {
  WG_ASSERT(s->await_count < MY_AWAITS_MAX);
  if (s->await_count == 0) {
    s->await_at = 0;
    s->seq = 1;
    memset(&s->row, 0, sizeof s->row);
  }
  s->awaits[s->await_count++] = what;
}

/** What the guest before may have set of the log-in's options, which no reset touches. */
static void put_options(my_server *s, wg_buf *out) {
  if (!s->options) return;
  size_t at = my_begin(out, 0);
  wg_buf_put_u8(out, MY_COM_SET_OPTION);
  my_put_u16(out, s->caps & MY_CAP_MULTI_STATEMENTS ? 0 : 1);
  my_end(out, at);
  await(s, MY_AWAIT_EOF);
}

/** No reset takes the texts back that a guest had recorded by SET profiling: where SHOW PROFILES lists any,
 *  the connection is not used again. */
static void put_profiles(my_server *s, wg_buf *out) {
  await(s, MY_AWAIT_NO_ROW);
  my_put_command(out, MY_COM_QUERY, "SHOW PROFILES");
}

/** The end of a reset: its answer must bring a number back that nobody knew before, so that an answer to
 *  something that the last guest asked cannot pass for it. */
static void put_question(my_server *s, wg_buf *out) {
  char text[96];
  snprintf(s->token, sizeof s->token, "%016llx", (unsigned long long)wg_random_u64());
  snprintf(text, sizeof text, "SELECT '%s',DATABASE()%s", s->token, s->roles ? ROLE : "");
  await(s, MY_AWAIT_ROW);
  my_put_command(out, MY_COM_QUERY, text);
}

static wg_wire_step logged_in(my_server *s, wg_reader body, wg_buf *out, wg_error *err) {
  if (s->state != MY_RESPONDED && s->state != MY_PROVED) return out_of_turn(s, err, "log-in");
  s->hello.status = my_status(body.p, body.len, body.len, true);
  if (s->charset[0]) { /* it is a reset */
    login_enter(s, MY_READY);
    put_options(s, out);
    put_profiles(s, out);
    put_question(s, out);
    return WG_WIRE_MORE;
  }
  login_enter(s, MY_NAMING);
  await(s, MY_AWAIT_ROW);
  my_put_command(out, MY_COM_QUERY,
                 "SELECT @@character_set_client,@@collation_connection" ON_MARIADB(ROLE)
                     ON_MYSQL(ROLE));
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

static wg_wire_step my_reply(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err);

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

/** The packets of a log-in, up to the OK. */
static wg_wire_step login_talk(my_server *s, wg_buf *in, wg_buf *out, wg_error *err) {
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

static wg_wire_step my_login(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err) {
  my_server *s = (my_server *)base;
  wg_wire_step step = WG_WIRE_MORE;
  if (s->state == MY_NEW) {
    step = take_hello(s, in, err);
    if (step != WG_WIRE_OK) return step;
  }
  if (s->state == MY_GREETED || s->state == MY_ASKED_TLS) step = put_response(s, out, err);
  if (step == WG_WIRE_MORE) step = login_talk(s, in, out, err);
  if (step == WG_WIRE_MORE && s->state == MY_NAMING) step = login_names(s, in, out, err);
  return step;
}

/* ---- our own requests ---- */

/** Logs in once more, which leaves nothing of the session before. Without a proof it is refused. */
static void change_user(my_server *s, wg_buf *out) {
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

/* In one write: the server answers one after the other. */
static void my_reset(wg_wire_server *base, const wg_wire_track *t, wg_buf *out) {
  my_server *s = (my_server *)base;
  char text[2 * MY_NAME_MAX + 64];
  s->options = t->mysql.options;
  s->role_set = false;
  if (s->old) {
    change_user(s, out);
    return;
  }
  /* After XA PREPARE a connection that is reset can do nothing with tables. There ROLLBACK fails, and
   * that ends it. */
  s->reset_at = t->txn;
  if (t->txn) {
    await(s, MY_AWAIT_OK);
    my_put_command(out, MY_COM_QUERY, "ROLLBACK");
  }
  await(s, MY_AWAIT_OK);
  my_put_command(out, MY_COM_RESET_CONNECTION, NULL);
  put_options(s, out);
  if (s->caps & MY_CAP_CONNECT_WITH_DB) {
    await(s, MY_AWAIT_OK);
    my_put_command(out, MY_COM_INIT_DB, s->login.database);
  }
  snprintf(text, sizeof text, "SET NAMES '%s' COLLATE '%s'", s->charset, s->collation);
  await(s, MY_AWAIT_OK);
  my_put_command(out, MY_COM_QUERY, text);
  put_profiles(s, out);
  put_question(s, out);
}

static void my_ping(wg_wire_server *base, wg_buf *out) {
  my_server *s = (my_server *)base;
  s->token[0] = '\0';
  await(s, MY_AWAIT_OK);
  my_put_command(out, MY_COM_PING, NULL);
}

static wg_wire_step unexpected(wg_error *err, const char *what) {
  wg_error_set(err, WG_PROTOCOL, 0, "mysql: %s not expected", what);
  return WG_WIRE_ERROR;
}

/** A text, NULL being "".  @return false: malformed, or longer than anything that was asked for */
static bool row_cell(wg_reader *r, char out[MY_NAME_MAX + 1]) {
  out[0] = '\0';
  if (r->len && r->p[0] == 0xFB) {
    wg_take_u8(r);
    return true;
  }
  uint64_t n = my_take_lenenc(r);
  if (n > MY_NAME_MAX) return false;
  const uint8_t *p = wg_take_bytes(r, (size_t)n);
  if (!p || memchr(p, 0, (size_t)n)) return false;
  memcpy(out, p, (size_t)n);
  out[n] = '\0';
  return true;
}

/** A packet of a one-row answer.  @return MORE, OK (that was its end), ERROR */
static wg_wire_step row_packet(my_server *s, wg_reader body, wg_error *err) {
  enum { COUNT, COLUMNS, COLUMNS_END, ROW, END };
  my_row *row = &s->row;
  bool deprecate_eof = s->caps & MY_CAP_DEPRECATE_EOF;
  bool none = s->awaits[s->await_at] == MY_AWAIT_NO_ROW;
  uint8_t first = body.len ? body.p[0] : 0;
  switch (row->part) {
  case COUNT:
    if (none && first == 0 && body.len >= 7) return WG_WIRE_OK; /* not even columns */
    if (body.len != 1 || first == 0 || first > MY_CELLS) return unexpected(err, "a column count");
    row->columns = row->cells = first;
    row->part = COLUMNS;
    return WG_WIRE_MORE;
  case COLUMNS:
    if (first != 3) return unexpected(err, "a column"); /* of the catalog "def" */
    if (--row->columns == 0) row->part = deprecate_eof ? ROW : COLUMNS_END;
    return WG_WIRE_MORE;
  case COLUMNS_END:
    if (first != 0xFE || body.len != 5) return unexpected(err, "the end of columns");
    row->part = ROW;
    return WG_WIRE_MORE;
  case ROW:
    if (none) break;
    for (size_t i = 0; i < row->cells; i++)
      if (!row_cell(&body, row->cell[i])) return unexpected(err, "a row");
    if (body.len) return unexpected(err, "a row");
    row->part = END;
    return WG_WIRE_MORE;
  default: break;
  }
  uint16_t status = my_status(body.p, body.len, body.len, deprecate_eof);
  if (s->change) status &= (uint16_t)~MY_STATUS_IN_TRANS; /* the guest's, which still goes */
  if (first != 0xFE || (status & (MY_STATUS_MORE_RESULTS | MY_STATUS_IN_TRANS)))
    return unexpected(err, "the end of rows");
  return WG_WIRE_OK;
}

/** The packet of an awaited answer.  @return MORE, OK (that was its end), ERROR */
static wg_wire_step reply_packet(my_server *s, wg_reader body, wg_error *err) {
  enum { UNKNOWN_COMMAND = 1047 };
  /* ER_PARSE_ERROR, ER_UNKNOWN_ERROR, ER_NOT_SUPPORTED_YET, ER_FEATURE_DISABLED */
  static const uint16_t unknown_codes[] = {1064, 1105, 1235, 1289};
  my_await what = s->awaits[s->await_at];
  uint8_t first = body.len ? body.p[0] : 0xFB;
  if (first == 0xFF) {
    my_error e = error_read(body);
    if (e.code == UNKNOWN_COMMAND && s->token[0] && s->await_at == s->reset_at && !s->old) {
      s->old = s->change = true;
      return WG_WIRE_OK;
    }
    if (what == MY_AWAIT_NO_ROW && one_of(e.code, unknown_codes, WG_COUNT(unknown_codes)))
      return WG_WIRE_OK;
    wg_error_set(err, WG_LOST, 0, "mysql: %u: %.*s (SQLSTATE %s)", e.code, e.text_len, e.text,
                 e.sqlstate);
    return WG_WIRE_ERROR;
  }
  switch (what) {
  case MY_AWAIT_NO_ROW:
  case MY_AWAIT_ROW: return row_packet(s, body, err);
  case MY_AWAIT_EOF:
    if (first == 0xFE && body.len < 9) return WG_WIRE_OK;
    break;
  case MY_AWAIT_OK: break;
  }
  uint16_t status = my_status(body.p, body.len, body.len, true);
  if (first != 0 || body.len < 7 || (status & MY_STATUS_MORE_RESULTS))
    return unexpected(err, "an answer");
  return WG_WIRE_OK;
}

/** All answers came. */
static wg_wire_step reply_over(my_server *s, wg_buf *out, wg_error *err) {
  s->await_count = 0;
  if (s->state != MY_READY || !s->token[0]) return WG_WIRE_OK;
  const char *database = s->caps & MY_CAP_CONNECT_WITH_DB ? s->login.database : "";
  bool back = s->row.cells == 2 + s->roles && strcmp(s->row.cell[0], s->token) == 0;
  s->token[0] = '\0';
  if (!back) return unexpected(err, "somebody else's answer");
  if (s->change) { /* and nothing is reset yet */
    s->change = false;
    change_user(s, out);
    return WG_WIRE_MORE;
  }
  /* Where no database is chosen, COM_RESET_CONNECTION chooses none: what a guest chose stays. */
  if (database[0] == '\0' && s->row.cell[1][0]) return unexpected(err, "a chosen database");
  if (!s->roles || strcmp(s->row.cell[2], s->role) == 0) return WG_WIRE_OK;
  if (s->role_set) return unexpected(err, "a chosen role");
  s->role_set = true;
  await(s, MY_AWAIT_OK);
  my_put_command(out, MY_COM_QUERY, "SET ROLE " ON_MARIADB("NONE") ON_MYSQL("DEFAULT"));
  put_question(s, out);
  return WG_WIRE_MORE;
}

static wg_wire_step my_reply(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err) {
  my_server *s = (my_server *)base;
  if (s->state < MY_NAMING) { /* COM_CHANGE_USER's */
    wg_wire_step step = login_talk(s, in, out, err);
    if (step != WG_WIRE_MORE || s->state != MY_READY) return step;
  }
  while (s->await_at < s->await_count) {
    wg_reader body;
    uint8_t seq;
    wg_wire_step step = my_next(in, &seq, &body, err);
    if (step != WG_WIRE_OK) return step;
    if (seq != s->seq++) return unexpected(err, "a packet out of turn");
    step = reply_packet(s, body, err);
    if (step == WG_WIRE_ERROR) return step;
    my_drop(in);
    if (step == WG_WIRE_MORE) continue;
    s->await_at++;
    s->row.part = 0;
    s->seq = 1;
  }
  return reply_over(s, out, err);
}

static void my_bye(wg_wire_server *base, wg_buf *out) {
  (void)base;
  my_put_command(out, MY_COM_QUIT, NULL);
}

static void my_hello_keep(const wg_wire_server *base, wg_wire_hello *out) {
  const my_server *s = (const my_server *)base;
  my_hello h = s->hello;
  wg_buf b;
  memset(h.scramble, 0, sizeof h.scramble);
  wg_buf_init(&b, sizeof out->bytes);
  my_hello_put(&b, &h);
  out->len = b.failed ? 0 : wg_buf_len(&b);
  memcpy(out->bytes, wg_buf_head(&b), out->len);
  wg_buf_release(&b);
}

const wg_wire_ops wg_wire_mysql = {
    .protocol = WG_DB_MYSQL,
    .name = "mysql",
    .sqlstate = true,
    .unnamed = "",
    .ask_tls = my_ask_tls,
    .socket_path = my_socket_path,
    .server_new = my_server_new,
    .server_free = my_server_free,
    .login = my_login,
    .reset = my_reset,
    .ping = my_ping,
    .reply = my_reply,
    .bye = my_bye,
    .hello = my_hello_keep,
    .shape = WG_WIRE_SHAPE_GUESS | MY_SHAPE_USUAL,
    .guest_new = my_guest_new,
    .guest_free = my_guest_free,
    .greet = my_greet,
    .greet_reply = my_greet_reply,
    .track_client = my_track_client,
    .track_server = my_track_server,
    .idle = my_idle,
    .unfinished = my_unfinished,
    .ask_password = my_ask_password,
    .refuse = my_refuse,
    .farewell = my_farewell,
};
