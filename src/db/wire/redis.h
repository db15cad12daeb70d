/* SPDX-License-Identifier: Apache-2.0 */
/** @file redis.h  What the parts of the Redis codec share. Redis and Valkey speak RESP: commands are
 *  arrays of byte strings (or lines of words), each answered by one value; in version 3 a server may
 *  also push values that answer nothing. */
/* What does not pass unchanged between a guest and its server; all else does.
 *
 *   from the guest, as long as it has said nothing else
 *     AUTH                        answered from memory: the pool has logged in
 *     HELLO                       passes without its AUTH
 *   at any time
 *     QUIT                        withheld, and what follows it; answered by us when all else was
 *   from the server
 *     its log-in                  the pool's
 *     answers to reset and ping   the pool's
 *
 * With auth = "relay" AUTH and HELLO pass too. A later AUTH passes: the connection is not used again. */
#pragma once
#include "db/wire/wire.h"

enum {
  RD_START_MAX = 16 * 1024, /**< bytes of a guest's AUTH or HELLO, and of what is kept behind it */
  RD_ARGS_MAX = 16, /**< words of an AUTH or HELLO */
  RD_LINE_MAX = 1024, /**< of a server's refusal; of a command that is a line of words */
  RD_NONCE = 16, /**< digits that only the answer to the last of our own requests brings */
  RD_EXPECT_MAX = 4
};

/** What answers one of our own requests. */
typedef enum rd_expect { RD_EXPECT_OK, RD_EXPECT_RESET, RD_EXPECT_PONG, RD_EXPECT_NONCE } rd_expect;

typedef struct rd_server {
  wg_wire_server base;
  wg_wire_login login;
  bool started; /* login was sent */
  rd_expect expect[RD_EXPECT_MAX];
  uint8_t expect_count, expect_at;
  char nonce[RD_NONCE + 1];
} rd_server;

/** Walks over a guest's bytes up to the end of one command at most.
 *  @return bytes walked over; all of them once the walk has lost its way */
size_t rd_walk_client(wg_wire_track *t, const uint8_t *p, size_t n, size_t *pass);
/** Walks over a server's bytes up to the end of one value at most.  @return as above */
size_t rd_walk_server(wg_wire_track *t, const uint8_t *p, size_t n);
/** True when the walk stands between two values of the server. */
bool rd_server_between(const wg_wire_track *t);

/** Appends a word of a command. */
void rd_put(wg_buf *out, const void *p, size_t n);

/* redis_greet.c */
wg_wire_guest *rd_guest_new(void);
void rd_guest_free(wg_wire_guest *g);
wg_wire_step rd_greet(wg_wire_guest *g, wg_wire_server *s, const wg_wire_policy *policy,
                      const uint8_t *p, size_t n, size_t *taken, wg_buf *to_guest,
                      wg_buf *to_server, wg_error *err);
wg_wire_step rd_greet_reply(wg_wire_guest *g, wg_wire_server *s, wg_buf *in, wg_buf *to_guest,
                            wg_error *err);
void rd_ask_password(wg_wire_guest *g, wg_buf *to_guest);
void rd_refuse(wg_wire_guest *g, const wg_error *why, wg_buf *to_guest);
/* redis_track.c */
wg_wire_step rd_track_client(wg_wire_track *t, const uint8_t *p, size_t n, size_t *pass,
                             wg_error *err);
wg_wire_step rd_track_server(wg_wire_track *t, wg_wire_server *s, const uint8_t *p, size_t n,
                             wg_error *err);
bool rd_idle(const wg_wire_track *t);
bool rd_unfinished(const wg_wire_track *t);
void rd_parting(const wg_wire_track *t, wg_buf *to_guest);
void rd_farewell(const wg_wire_track *t, const char *message, wg_buf *to_guest);
/** Appends "-PREFIX text", its line breaks made harmless. */
void rd_put_error(wg_buf *out, const char *prefix, const char *text);
