/* SPDX-License-Identifier: Apache-2.0 */
/** @file wire.h  What the proxy needs to know of a database's wire protocol: one table a protocol.
 *
 *  A codec is functions from bytes to bytes. It does no I/O, reads no clock, and takes outside
 *  bytes through wg_buf and wg_reader only, so it runs alike under a server connection, a unit
 *  test and a fuzzer.
 *
 *  Two parties, two objects:
 *    wg_wire_server  what is known of one connection to the real server: its log-in, and what the
 *                    server told of itself. Lives as long as the connection, on whatever worker.
 *    wg_wire_guest   what is known of one guest's session: its start-up and the walk over both of
 *                    its streams. Lives as long as the guest's handle.
 *  A protocol whose greeting comes from the server (MySQL) has hello(), and writes the greeting in
 *  greet()'s first call, with no bytes given: in the words of `s`, or of a server that was met before.
 *  One that can be greeted before there is a server (Redis) ignores `s`. */
#pragma once
#include "base/buf.h"
#include "config/config.h"

/** How a codec's function ended. */
typedef enum wg_wire_step {
  WG_WIRE_OK,    /**< done */
  WG_WIRE_MORE,  /**< wants more bytes of the side that it reads */
  WG_WIRE_BUSY,  /**< login: has more to compute; call again after others on this thread */
  WG_WIRE_ASK,   /**< greet: asks the server first; go on with greet_reply() */
  WG_WIRE_LEASE, /**< greet: the start-up is whole; go on with a server */
  WG_WIRE_CANCEL, /**< greet: it is a cancel request; the guest's `key` says of which session */
  WG_WIRE_END,   /**< greet: the guest has its last answer; nothing is to follow */
  WG_WIRE_ERROR  /**< *err says why; the connection is of no more use */
} wg_wire_step;

/** What a server's refusal at log-in means to a pool. */
typedef enum wg_wire_fault {
  WG_WIRE_FAULT_NONE,
  WG_WIRE_FAULT_AUTH,  /**< these credentials will not do */
  WG_WIRE_FAULT_BUSY,  /**< no room now: connections that exist go on, new ones may work later */
  WG_WIRE_FAULT_OTHER
} wg_wire_fault;

enum {
  WG_WIRE_IN_MAX = 64 * 1024,   /**< longest message of the server that is read by ourselves */
  WG_WIRE_OUT_MAX = 64 * 1024,
  /** Bytes of a server in one log-in, reset or check: words that need no answer (notices) could go
   *  on for ever, and keep the worker busy. */
  WG_WIRE_SAID_MAX = 1 << 20,
  WG_WIRE_HELLO_MAX = 256 /**< of what is kept of a server's first words */
};

/** In a shape: no guest has said its own yet. Such a connection is lent, and not kept. */
#define WG_WIRE_SHAPE_GUESS ((uint64_t)1 << 63)

/** What a server says first, to greet guests with before there is a server. The codec's own. */
typedef struct wg_wire_hello {
  size_t len; /**< 0: not known */
  uint8_t bytes[WG_WIRE_HELLO_MAX];
} wg_wire_hello;

typedef struct wg_wire_ops wg_wire_ops;
struct wg_scram_cache; /* scram.h */

/** Who logs in. Borrowed; must outlive the wg_wire_server. */
typedef struct wg_wire_login {
  const char *user;
  const char *database;
  const wg_secret *password;
  struct wg_scram_cache
      *keys; /**< of this password; any number of connections have it; NULL: none */
  wg_tls_binding
      binding; /**< whether the proof of the password is to be bound to the TLS channel */
  uint64_t shape; /**< what else a log-in fixes, in the codec's own terms: part of the pool's key */
} wg_wire_login;

/** What the connection below is, for the log-in. */
typedef struct wg_wire_secure {
  bool on; /**< TLS */
  bool verified; /**< TLS, and the server's certificate is one that we trust */
  bool local; /**< a Unix socket */
  uint8_t binding_len; /**< of tls-server-end-point (RFC 5929); 0: there is none */
  uint8_t binding[64];
} wg_wire_secure;

/** A codec's own state begins with this. */
typedef struct wg_wire_server {
  const wg_wire_ops *ops;
  wg_wire_fault fault; /**< after login() gave WG_WIRE_ERROR */
  bool asked; /**< login: the server wants a proof, so it takes connections of this kind */
  wg_wire_secure secure; /**< set from outside, before login() */
  uint64_t told_key; /**< told to a guest that logged in itself, to cancel with; 0: not yet */
} wg_wire_server;

/** Where a walk over one stream stands. */
typedef struct wg_wire_walk {
  uint64_t left; /**< bytes of the current message still to come, its header not counted */
  uint32_t length; /**< of the header read so far */
  uint8_t have; /**< bytes of the header read so far; 0 with left == 0: at a boundary */
  uint8_t type; /**< of the current message, or of the last one */
  uint8_t first; /**< first byte of its body */
  bool body; /**< `first` was seen */
} wg_wire_walk;

/** What a walk over MySQL's streams knows besides. */
typedef struct wg_mysql_track {
  uint8_t head[24]; /**< first bytes of the server's message */
  uint8_t head_len;
  uint8_t part; /**< of the oldest awaited answer: which packets come now */
  uint8_t client_seq, server_seq; /**< of the last packets */
  bool client_more, server_more; /**< the message goes on in the next packet */
  bool options; /**< COM_SET_OPTION came */
  bool relayed; /**< not even packets are sure */
  bool told; /**< the server said by itself why it goes */
  uint32_t packets; /**< of that part, still to come */
} wg_mysql_track;

enum { WG_REDIS_DEPTH = 16 /**< of values in values; deeper, a connection is not used again */ };

/** A number in the middle of being read. */
typedef struct wg_redis_number {
  uint64_t value;
  uint8_t digits;
  bool minus, cr;
} wg_redis_number;

/** What a walk over Redis's streams knows besides. */
typedef struct wg_redis_track {
  wg_redis_number client_number, server_number;
  uint8_t client, server; /**< where in a command, in a value */
  bool dollar; /**< of the word's length, '$' was read */
  bool filled; /**< a command that is a line has more than blanks */
  bool goodbye; /**< the guest said QUIT, and waits for its answer */
  uint8_t arg; /**< which word it is; 2 stands for all later ones */
  uint8_t word_len[2]; /**< one more than there is room for: too long */
  char word[2][12]; /**< the command's name and what follows it */
  uint32_t args, args_left; /**< words of the command */
  uint8_t depth; /**< values that are open */
  uint16_t aside; /**< one bit each: answers nothing (attributes, pushes) */
  uint32_t open[WG_REDIS_DEPTH]; /**< values still to come in each */
} wg_redis_track;

/** What walking over both streams tells of a session. A plain value: it is copied to try a send
 *  that the kernel may cut short. */
typedef struct wg_wire_track {
  wg_wire_walk client, server;
  uint64_t kinds; /**< the codec's: one bit for each awaited answer, oldest lowest */
  uint32_t pending; /**< answers that the server still owes */
  uint32_t patient; /**< so many of those, from the oldest on, the server was asked to wait with */
  uint8_t txn; /**< the codec's transaction status */
  bool open; /**< the client began something that it has to end (extended query, COPY) */
  bool copying; /**< the server waits for the client's part of a COPY */
  bool tainted; /**< the walk has lost count: never to be pooled again */
  bool ended; /**< the client ended its session; the message that said so is withheld */
  bool listens; /**< the guest waits for what comes unasked, however long that takes */
  union { /* what one codec keeps besides */
    wg_mysql_track mysql;
    wg_redis_track redis;
  };
} wg_wire_track;

/** A codec's own state begins with this. */
typedef struct wg_wire_guest {
  const wg_wire_ops *ops;
  wg_wire_track track;
  const char *password; /**< with LEASE, after ask_password(): not NUL-terminated; else NULL */
  size_t password_len;
  const char *user, *database; /**< with LEASE: the guest's wish, until the next call; NULL: none */
  uint64_t shape; /**< with LEASE: of the log-in that the guest needs */
  uint64_t key; /**< OK: what a request to cancel this session brings; CANCEL: what it brought */
  bool asked_tls; /**< wanted encryption and was told no */
  bool more; /**< ask_password: it had more of the guest's bytes; greet() is to be called at once */
  bool again; /**< greet_reply, OK: it was refused, and greet() takes what the guest says next */
  bool touched; /**< greet changed the server's session: reset it before its next use */
} wg_wire_guest;

/** What a guest may ask for in its start-up. Borrowed for the call. */
typedef struct wg_wire_policy {
  const char *database; /**< the only one; NULL: the codec does not look */
  bool relay; /**< the guest logs in itself: its start-up goes to the server as it is */
  const wg_wire_hello *hello; /**< without a server: what one said; NULL: none is known */
} wg_wire_policy;

struct wg_wire_ops {
  wg_db_protocol protocol;
  const char *name; /**< as in warp.toml */
  bool sqlstate; /**< its guests read SQLSTATEs; else errors carry none */
  /** The database of a guest that names none; NULL: the one named like the user. */
  const char *unnamed;

  /** The path of the server's socket in a folder.
   *  @return bytes needed without the NUL, as snprintf(3) */
  int (*socket_path)(const char *dir, uint16_t port, char *out, size_t cap);

  /* ---- towards the real server ---- */
  /** NULL when memory ran out. */
  wg_wire_server *(*server_new)(const wg_wire_login *login);
  void (*server_free)(wg_wire_server *s);
  /** The protocol's name in TLS (ALPN); NULL: it has none. */
  const char *alpn;
  /** Asks for TLS. Called first with an empty `in`, then whenever more has come. NULL: TLS begins
   *  with the first byte. Nothing of the answer is to be trusted or shown.
   *  @param granted  with OK: the handshake follows; what is left in `in` then is an attack
   *  @return MORE, OK, ERROR */
  wg_wire_step (*ask_tls)(wg_wire_server *s, wg_buf *in, wg_buf *out, bool *granted, wg_error *err);
  /** Logs in. Called first with an empty `in`, then whenever more has come; takes whole messages
   *  from `in` and appends to `out`.
   *  @return MORE, BUSY, OK (ready for a guest), ERROR (WG_AUTH, WG_IO, WG_PROTOCOL, WG_UNSUPPORTED
   *  with the server's own words; s->fault is set) */
  wg_wire_step (*login)(wg_wire_server *s, wg_buf *in, wg_buf *out, wg_error *err);
  /** Appends what makes the session as good as new. `t` says how the guest left it. */
  void (*reset)(wg_wire_server *s, const wg_wire_track *t, wg_buf *out);
  /** Appends the smallest request that only a live server answers. */
  void (*ping)(wg_wire_server *s, wg_buf *out);
  /** Takes the answers to reset() or ping(), and appends what they ask for.
   *  @return MORE, OK (all came, none refused), ERROR */
  wg_wire_step (*reply)(wg_wire_server *s, wg_buf *in, wg_buf *out, wg_error *err);
  /** Appends what a connection of its own says in place of a log-in, to cancel what `s` runs.
   *  Nothing when the server gave no key for that. NULL: the protocol cannot. */
  void (*cancel)(const wg_wire_server *s, wg_buf *out);
  /** What the server has told of itself: the value of a parameter that it reports by itself.
   *  @return NULL when it does not */
  const char *(*told)(const wg_wire_server *s, const char *name);
  /** After login(): what the server said first, for guests to come. NULL: the guest speaks first. */
  void (*hello)(const wg_wire_server *s, wg_wire_hello *out);
  /** Of a log-in before any guest has said what it needs. */
  uint64_t shape;
  /** Appends the protocol's polite end. */
  void (*bye)(wg_wire_server *s, wg_buf *out);

  /* ---- towards a guest ---- */
  /** NULL when memory ran out. */
  wg_wire_guest *(*guest_new)(void);
  void (*guest_free)(wg_wire_guest *g);
  /** Answers the guest's start-up.
   *  @param s         NULL: there is no server yet; LEASE asks for one, and then the next call
   *                   comes with it, and with no bytes. With a server LEASE asks for another one, of
   *                   the shape that the guest needs
   *  @param p,n       the guest's bytes
   *  @param taken     how many of them belong to the start-up; the rest is to come again
   *  @param to_guest  answers are appended
   *  @param to_server with ASK: the request is appended
   *  @return MORE, LEASE, ASK, OK (the guest is ready: bytes pass from now on), CANCEL, END; ERROR
   *  for WG_NOMEM */
  wg_wire_step (*greet)(wg_wire_guest *g, wg_wire_server *s, const wg_wire_policy *policy,
                        const uint8_t *p, size_t n, size_t *taken, wg_buf *to_guest,
                        wg_buf *to_server, wg_error *err);
  /** After ASK: takes the server's answers.  @return MORE, OK, END (refused), ERROR */
  wg_wire_step (*greet_reply)(wg_wire_guest *g, wg_wire_server *s, wg_buf *in, wg_buf *to_guest,
                              wg_error *err);
  /** Walks over bytes from the guest.
   *  @param pass  how many of them go to the server: n, or fewer when the guest ends its session
   *               (then t->ended, and what follows is dropped)
   *  @return OK; ERROR (WG_PROTOCOL) */
  wg_wire_step (*track_client)(wg_wire_track *t, const uint8_t *p, size_t n, size_t *pass,
                               wg_error *err);
  /** Walks over bytes of the server, and remembers what it tells of itself in `s`. */
  wg_wire_step (*track_server)(wg_wire_track *t, wg_wire_server *s, const uint8_t *p, size_t n,
                               wg_error *err);
  /** True when nobody owes anybody anything, so that reset() can follow. */
  bool (*idle)(const wg_wire_track *t);
  /** True when a client that says no more can be owed answers for ever: it left something open, or
   *  they cannot be counted. Only the end of the server's connection brings the rest of them. */
  bool (*unfinished)(const wg_wire_track *t);
  /** Appends the answer to a goodbye (t->ended), when all else was answered. NULL: there is none. */
  void (*parting)(const wg_wire_track *t, wg_buf *to_guest);
  /** After LEASE: appends the demand for the guest's password; LEASE comes again with it. */
  void (*ask_password)(wg_wire_guest *g, wg_buf *to_guest);
  /** Appends what tells a guest in its start-up that it gets no session. */
  void (*refuse)(wg_wire_guest *g, const wg_error *why, wg_buf *to_guest);
  /** Appends what tells the guest that the server is gone, when its stream stands at a boundary
   *  and the server itself has not said so. */
  void (*farewell)(const wg_wire_track *t, const char *message, wg_buf *to_guest);
};

extern const wg_wire_ops wg_wire_postgres;
extern const wg_wire_ops wg_wire_mysql;
extern const wg_wire_ops wg_wire_redis;

/** Makes the process's own key, on a thread of its own, unless that was done: the first guest of a
 *  MySQL database that logs in itself needs it. */
void wg_mysql_key_prepare(void);
/** Takes one wg_mysql_key_prepare() back; with the last one the thread has ended. Any thread. */
void wg_mysql_key_release(void);

/** The table of a protocol; NULL when this version does not speak it. */
const wg_wire_ops *wg_wire_of(wg_db_protocol protocol);

/** The path of a server's socket: `name` in the folder `dir`, or `dir` itself where that ends in ".sock".
 *  @return bytes needed without the NUL, as snprintf(3) */
int wg_wire_socket_path(const char *dir, const char *name, char *out, size_t cap);

/** Takes " (SQLSTATE xxxxx)" out of an error's text.
 *  @param code  gets the five characters; may be NULL
 *  @return true when it was there */
bool wg_wire_take_sqlstate(char *text, char code[6]);

/** True when the text names a database of Redis: a number from 0 to 99999, without a leading 0. */
bool wg_redis_database_ok(const char *text, size_t n);
