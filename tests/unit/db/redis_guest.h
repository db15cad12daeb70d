/* SPDX-License-Identifier: Apache-2.0 */
/** @file redis_guest.h  A small Redis client inside a guest, with the server of real_redis.h: what the
 *  tests of real servers share. */
#pragma once
#include "db/db_fixture.h"

typedef struct redis_guest {
  db_fixture *f;
  uint64_t handle;
  wg_error err;
  char got[8192]; /* the last answers */
} redis_guest;

/** Declares the running server, user default; skips the test where none runs. */
void redis_init(db_fixture *f);
/** The same, and starts. */
void redis_start(db_fixture *f);
/** Connects as the shim does.  @return false: r->err says why */
bool redis_try(redis_guest *r, db_fixture *f);
void redis_connect(redis_guest *r, db_fixture *f);
/** A handle as a socket gets it. */
void redis_open(redis_guest *r, db_fixture *f);
void redis_say(redis_guest *r, const char *text);
/** Reads just as many bytes as are expected, and compares. */
void redis_hear(redis_guest *r, const char *expected);
/** Reads up to the end of one line that ends the answer. */
const char *redis_line(redis_guest *r);
void redis_ask(redis_guest *r, const char *text, const char *expected);
void redis_hear_end(redis_guest *r);
/** The server's number of the connection. */
long redis_id(redis_guest *r);
void redis_leave(redis_guest *r);
/** Waits for a single connection whose reset is over. */
void redis_quiet(db_fixture *f);
