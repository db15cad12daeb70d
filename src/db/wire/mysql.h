/* SPDX-License-Identifier: Apache-2.0 */
/** @file mysql.h  What the parts of the MySQL codec share. MySQL and MariaDB speak the same protocol:
 *  packets of a 3-byte length (little-endian, as all numbers), a sequence number, and a body. */
/* What does not pass unchanged between a guest and its server; all else does.
 *
 *   from the guest
 *     HandshakeResponse           answered from memory. Its capabilities and its character set choose
 *                                 the server connection (wg_wire_guest.shape), its database must be
 *                                 the declared one; user and proof are not looked at, unless it is
 *                                 the guest that logs in
 *     COM_QUIT                    withheld, and what follows it: it ends the guest's session only
 *   from the server
 *     its handshake               the guest gets one of ours: the server's version, character set and
 *                                 capabilities, less those of MY_OFFERED; a scramble and a thread id of
 *                                 our own (so KILL of that id means nothing)
 *     its log-in                  the pool's
 *     answers to reset and ping   the pool's
 *
 * SQL is not looked at: what it changes in the session is undone by the reset. */
#pragma once
#include "db/wire/wire.h"

enum {
  MY_CAP_LONG_PASSWORD = 1 << 0, /**< MariaDB: unset when it has capabilities of its own */
  MY_CAP_FOUND_ROWS = 1 << 1,
  MY_CAP_LONG_FLAG = 1 << 2,
  MY_CAP_CONNECT_WITH_DB = 1 << 3,
  MY_CAP_NO_SCHEMA = 1 << 4,
  MY_CAP_COMPRESS = 1 << 5,
  MY_CAP_ODBC = 1 << 6,
  MY_CAP_IGNORE_SPACE = 1 << 8,
  MY_CAP_PROTOCOL_41 = 1 << 9,
  MY_CAP_INTERACTIVE = 1 << 10,
  MY_CAP_SSL = 1 << 11,
  MY_CAP_TRANSACTIONS = 1 << 13,
  MY_CAP_SECURE_CONNECTION = 1 << 15,
  MY_CAP_MULTI_STATEMENTS = 1 << 16,
  MY_CAP_MULTI_RESULTS = 1 << 17,
  MY_CAP_PS_MULTI_RESULTS = 1 << 18,
  MY_CAP_PLUGIN_AUTH = 1 << 19,
  MY_CAP_CONNECT_ATTRS = 1 << 20,
  MY_CAP_LENENC_AUTH = 1 << 21,
  MY_CAP_SESSION_TRACK = 1 << 23,
  MY_CAP_DEPRECATE_EOF = 1 << 24,

  /** What a session's meaning or the layout of its packets depends on: fixed at log-in, so it is
   *  part of the pool's key. */
  MY_SHAPE = MY_CAP_FOUND_ROWS | MY_CAP_LONG_FLAG | MY_CAP_NO_SCHEMA | MY_CAP_ODBC |
             MY_CAP_IGNORE_SPACE | MY_CAP_INTERACTIVE | MY_CAP_MULTI_STATEMENTS |
             MY_CAP_MULTI_RESULTS | MY_CAP_PS_MULTI_RESULTS | MY_CAP_SESSION_TRACK |
             MY_CAP_DEPRECATE_EOF,
  /** What every log-in of ours has. */
  MY_BASE = MY_CAP_LONG_PASSWORD | MY_CAP_PROTOCOL_41 | MY_CAP_TRANSACTIONS |
            MY_CAP_SECURE_CONNECTION | MY_CAP_PLUGIN_AUTH,
  /** What a guest may be offered, when the server has it: no compression, no TLS, no LOCAL INFILE, no
   *  layouts that this codec does not walk over. */
  MY_OFFERED =
      MY_SHAPE | MY_BASE | MY_CAP_CONNECT_WITH_DB | MY_CAP_LENENC_AUTH | MY_CAP_CONNECT_ATTRS,
  /** The shape of a usual driver's session, before any guest has said its own; less what the server
   *  does not have. */
  MY_SHAPE_USUAL = MY_CAP_LONG_FLAG | MY_CAP_MULTI_STATEMENTS | MY_CAP_MULTI_RESULTS |
                   MY_CAP_PS_MULTI_RESULTS | MY_CAP_DEPRECATE_EOF
};

enum {
  MY_STATUS_IN_TRANS = 0x0001,
  MY_STATUS_AUTOCOMMIT = 0x0002,
  MY_STATUS_MORE_RESULTS = 0x0008,
  MY_STATUS_CURSOR_EXISTS = 0x0040
};

enum {
  MY_COM_QUIT = 0x01,
  MY_COM_INIT_DB = 0x02,
  MY_COM_QUERY = 0x03,
  MY_COM_FIELD_LIST = 0x04,
  MY_COM_STATISTICS = 0x09,
  MY_COM_PROCESS_INFO = 0x0A,
  MY_COM_PING = 0x0E,
  MY_COM_CHANGE_USER = 0x11,
  MY_COM_STMT_PREPARE = 0x16,
  MY_COM_STMT_EXECUTE = 0x17,
  MY_COM_STMT_SEND_LONG_DATA = 0x18,
  MY_COM_STMT_CLOSE = 0x19,
  MY_COM_STMT_RESET = 0x1A,
  MY_COM_SET_OPTION = 0x1B,
  MY_COM_STMT_FETCH = 0x1C,
  MY_COM_RESET_CONNECTION = 0x1F
};

enum {
  MY_PACKET_MAX = 0xFFFFFF, /**< of one packet; a longer message goes on in the next one */
  MY_SCRAMBLE = 20,
  MY_VERSION_MAX = 80, /**< of a server's version text */
  MY_NAME_MAX = 64 /**< of a character set or collation; of SHA-256 in hexadecimal */
};

/** How the password is proved. */
typedef enum my_plugin {
  MY_PLUGIN_NONE,
  MY_PLUGIN_NATIVE, /**< mysql_native_password */
  MY_PLUGIN_CACHING_SHA2, /**< caching_sha2_password */
  MY_PLUGIN_SHA256, /**< sha256_password */
  MY_PLUGIN_ED25519, /**< client_ed25519 (MariaDB) */
  MY_PLUGIN_CLEAR /**< mysql_clear_password */
} my_plugin;

/** What a server says first. */
typedef struct my_hello {
  char version[MY_VERSION_MAX];
  uint32_t caps;
  uint32_t thread;
  uint16_t status;
  uint8_t charset;
  uint8_t plugin; /**< my_plugin; NONE: one that we do not know */
  uint8_t scramble[MY_SCRAMBLE];
} my_hello;

typedef enum my_login_state {
  MY_NEW, /**< the server's handshake is awaited */
  MY_GREETED, /**< it came */
  MY_ASKED_TLS, /**< SSLRequest sent */
  MY_RESPONDED, /**< HandshakeResponse sent, the server says how to go on */
  MY_KEY_ASKED, /**< full authentication: the server's public key is awaited */
  MY_PROVED, /**< full authentication: the password was sent */
  MY_NAMING, /**< logged in; the names of the character set are asked for */
  MY_READY
} my_login_state;

/** What one of our own requests is to be answered by. */
typedef enum my_await {
  MY_AWAIT_OK,
  MY_AWAIT_EOF,
  MY_AWAIT_ROW,
  MY_AWAIT_NO_ROW /**< columns without rows, or that the server does not know the question */
} my_await;

enum { MY_AWAITS_MAX = 8, MY_CELLS = 3 };

/** One row of text that answers a request of ours: column count, columns, [EOF], row, end. */
typedef struct my_row {
  uint8_t part; /**< 0: the count is awaited; 1: columns; 2: their end; 3: the row; 4: the end */
  uint8_t columns; /**< still to come */
  uint8_t cells;
  char cell[MY_CELLS][MY_NAME_MAX + 1];
} my_row;

typedef struct my_server {
  wg_wire_server base;
  my_login_state state; /* changed by login_enter() only */
  wg_wire_login login;
  my_hello hello;
  uint32_t caps; /* of this session */
  uint8_t seq; /* of the next packet of the log-in, or of a reply */
  my_plugin plugin; /* that the server is being answered with */
  uint8_t switches; /* of plugins, that the server has asked for */
  uint8_t nonce[32]; /* of the plugin */
  size_t nonce_len;
  char charset[MY_NAME_MAX + 1], collation[MY_NAME_MAX + 1]; /* "" : not known */
  bool roles; /* the server has roles */
  char role[MY_NAME_MAX + 1]; /* digest of the log-in's; "": none */
  my_await awaits[MY_AWAITS_MAX]; /* of our own requests, in order */
  uint8_t await_count, await_at;
  uint8_t reset_at; /* of COM_RESET_CONNECTION */
  my_row row;
  char token[17]; /* that the last answer to a reset must bring back */
  bool options; /* the guest before sent COM_SET_OPTION */
  bool old; /* COM_RESET_CONNECTION is unknown: COM_CHANGE_USER takes its place */
  bool change; /* that was found out in this reset, which COM_CHANGE_USER is to follow */
  bool role_set; /* in this reset the log-in's role was asked for */
} my_server;

/* ---- bytes: mysql_packet.c ---- */

uint16_t my_take_u16(wg_reader *r);
uint32_t my_take_u24(wg_reader *r);
uint32_t my_take_u32(wg_reader *r);
uint64_t my_take_u64(wg_reader *r);
/** A length-encoded integer; fails on the marks of NULL and of an error. */
uint64_t my_take_lenenc(wg_reader *r);
void my_put_u16(wg_buf *out, uint16_t v);
void my_put_u24(wg_buf *out, uint32_t v);
void my_put_u32(wg_buf *out, uint32_t v);
void my_put_lenenc(wg_buf *out, uint64_t v);

/** Begins a packet; returns where it is, for my_end(). */
size_t my_begin(wg_buf *out, uint8_t seq);
void my_end(wg_buf *out, size_t at);
/** A command of one byte and a text, not NUL-terminated; text may be NULL. */
void my_put_command(wg_buf *out, uint8_t command, const char *text);
/** An ERR packet. @param sqlstate  NULL: before the capabilities are agreed on */
void my_put_error(wg_buf *out, uint8_t seq, uint16_t code, const char *sqlstate,
                  const char *message);
void my_put_ok(wg_buf *out, uint8_t seq, uint16_t status);

/** Cuts one whole packet off the front of `in`. The body borrows from `in` until my_drop().
 *  @return OK, MORE, ERROR (too long for one of ours) */
wg_wire_step my_next(const wg_buf *in, uint8_t *seq, wg_reader *body, wg_error *err);
/** Removes the packet that my_next() gave. */
void my_drop(wg_buf *in);

/** Reads a handshake of version 10.  @return NULL, or what is wrong with it */
const char *my_hello_read(my_hello *h, wg_reader body);
/** Appends one. */
void my_hello_put(wg_buf *out, const my_hello *h);

/** The status of an OK (also of one that stands for an EOF) or EOF packet; 0 for others.
 *  @param head  the first bytes of the body  @param length  of the whole body */
uint16_t my_status(const uint8_t *head, size_t have, size_t length, bool deprecate_eof);

/* ---- log-in: mysql_login.c ---- */

/* Comments that servers read for themselves: MariaDB's, and MySQL's from version 8 on. */
#define MY_ON_MARIADB(text) "/*M!100005 " text "*/"
#define MY_ON_MYSQL(text) "/*!80000 " text "*/"
#define MY_ROLE ",SHA2(CURRENT_ROLE(),256)" /* its name may be longer than a cell */

/** An ERR packet; borrowed. */
typedef struct my_error {
  uint16_t code;
  char sqlstate[6];
  int text_len;
  const char *text;
} my_error;

my_error my_error_read(wg_reader body);
bool my_one_of(uint16_t code, const uint16_t *list, size_t n);
wg_wire_step my_ask_tls(wg_wire_server *base, wg_buf *in, wg_buf *out, bool *granted,
                        wg_error *err);
wg_wire_step my_login(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err);
/** Logs in once more (COM_CHANGE_USER), which leaves nothing of the session before. Without a proof it
 *  is refused. */
void my_change_user(my_server *s, wg_buf *out);
/** The packets of a log-in, up to the OK.  @return MORE, also when that came; ERROR */
wg_wire_step my_login_talk(my_server *s, wg_buf *in, wg_buf *out, wg_error *err);

/* ---- requests of ours: mysql.c ---- */

/** One more answer is awaited. */
void my_await_answer(my_server *s, my_await what);
/** What every reset ends with. */
void my_put_reset_end(my_server *s, wg_buf *out);
/** Takes awaited answers, see wg_wire_ops. */
wg_wire_step my_reply(wg_wire_server *base, wg_buf *in, wg_buf *out, wg_error *err);

/* ---- proofs of passwords: mysql_auth.c ---- */

my_plugin my_plugin_of(const char *name);
const char *my_plugin_name(my_plugin plugin);
/** SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password))). False: the crypto library failed. */
bool my_native(const wg_secret *password, const uint8_t nonce[MY_SCRAMBLE], uint8_t out[20]);
/** SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce). */
bool my_sha2(const wg_secret *password, const uint8_t nonce[MY_SCRAMBLE], uint8_t out[32]);
/** MariaDB's Ed25519: the key is SHA512(password), the signature that of the nonce. */
bool my_ed25519(const wg_secret *password, const uint8_t nonce[32], uint8_t out[64]);
/** RSA-OAEP of the password and its NUL, XOR the nonce, with a server's key in PEM.
 *  @return WG_OK; WG_PROTOCOL (no such key), WG_INVALID (too long), WG_IO */
WG_MUSTCHECK wg_code my_rsa_encrypt(const wg_secret *password, const uint8_t nonce[MY_SCRAMBLE],
                                    const uint8_t *pem, size_t pem_len, wg_buf *out, wg_error *err);

/** Appends the public part of the process's own key in PEM; waits for it. */
WG_MUSTCHECK wg_code wg_mysql_key_put(wg_buf *out, wg_error *err);
/** Reads what a client encrypted with it: appends the password with its NUL. */
WG_MUSTCHECK wg_code wg_mysql_key_open(const uint8_t *sealed, size_t n,
                                       const uint8_t nonce[MY_SCRAMBLE], wg_buf *out);

/* ---- the rest of the table ---- */

/* mysql_greet.c */
wg_wire_guest *my_guest_new(void);
void my_guest_free(wg_wire_guest *g);
wg_wire_step my_greet(wg_wire_guest *g, wg_wire_server *s, const wg_wire_policy *policy,
                      const uint8_t *p, size_t n, size_t *taken, wg_buf *to_guest,
                      wg_buf *to_server, wg_error *err);
wg_wire_step my_greet_reply(wg_wire_guest *g, wg_wire_server *s, wg_buf *in, wg_buf *to_guest,
                            wg_error *err);
void my_ask_password(wg_wire_guest *g, wg_buf *to_guest);
void my_refuse(wg_wire_guest *g, const wg_error *why, wg_buf *to_guest);
/* mysql_track.c */
wg_wire_step my_track_client(wg_wire_track *t, const uint8_t *p, size_t n, size_t *pass,
                             wg_error *err);
wg_wire_step my_track_server(wg_wire_track *t, wg_wire_server *s, const uint8_t *p, size_t n,
                             wg_error *err);
bool my_idle(const wg_wire_track *t);
bool my_unfinished(const wg_wire_track *t);
void my_farewell(const wg_wire_track *t, const char *message, wg_buf *to_guest);
