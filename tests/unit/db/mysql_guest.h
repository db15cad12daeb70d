/* SPDX-License-Identifier: Apache-2.0 */
/** @file mysql_guest.h  A small MySQL client inside a guest: what tests of the codec's guest side and
 *  of real servers share. */
#pragma once
#include "db/db_fixture.h"
#include "db/wire/mysql.h"

typedef struct mysql_guest {
  db_fixture *f;
  wg_db_guest *g;
  uint64_t handle;
  uint32_t caps; /* asked for; 0: MYSQL_GUEST_CAPS */
  uint8_t charset; /* 0: 45 */
  const char *plugin; /* NULL: what the server offers */
  const char *password; /* NULL: any proof */
  my_hello hello; /* as it came */
  uint8_t seq; /* of the last packet */
  char error[600]; /* of the last ERR */
  char sqlstate[6];
  uint16_t status; /* of the last OK or EOF */
  unsigned results; /* of the last query */
  uint64_t changed; /* rows, by the last OK */
  uint8_t *packet; /* the last one's body; owned */
  size_t len;
} mysql_guest;

enum {
  MYSQL_GUEST_CAPS = MY_CAP_LONG_PASSWORD | MY_CAP_LONG_FLAG | MY_CAP_PROTOCOL_41 |
                     MY_CAP_TRANSACTIONS | MY_CAP_SECURE_CONNECTION | MY_CAP_PLUGIN_AUTH |
                     MY_CAP_MULTI_STATEMENTS | MY_CAP_MULTI_RESULTS | MY_CAP_PS_MULTI_RESULTS |
                     MY_CAP_LENENC_AUTH | MY_CAP_DEPRECATE_EOF
};

/** Reads one packet.  @return false: end of the stream */
bool mysql_read(mysql_guest *m);
/** Appends the answer to a server's handshake. */
void mysql_put_response(const mysql_guest *m, const char *user, const char *database, wg_buf *out);
/** Reads the handshake and logs in.  @return 0, an error's code, or -1: end of the stream */
int mysql_log_in(mysql_guest *m, const char *user, const char *database);
/** Sends a command of one byte and a body. */
void mysql_send(mysql_guest *m, uint8_t command, const void *body, size_t n);
/** Runs SQL and reads all results. @param cell  first of the first row; "NULL", or "" without rows
 *  @return 0 or an error's code; -1: end of the stream */
int mysql_run(mysql_guest *m, const char *sql, char *cell, size_t cap);
/** Reads the results of a text query that was sent. As above. */
int mysql_results(mysql_guest *m, char *cell, size_t cap);
/** Runs SQL whose first cell must be this. */
void mysql_is(mysql_guest *m, const char *sql, const char *expected);
/** Runs SQL that must do. */
void mysql_do(mysql_guest *m, const char *sql);
/** db_fixture_init() for a database of the server that real_mysql_start() started. */
void mysql_real_init(db_fixture *f);
/** The server's number of the guest's connection. */
void mysql_connection_id(mysql_guest *m, char out[32]);
/** A handle as a socket gets it: no byte was said. */
void mysql_open_socket(mysql_guest *m, db_fixture *f);
/** Connects by wg_db_connect() and logs in, without failure. */
void mysql_open(mysql_guest *m, db_fixture *f, wg_db_guest *g);
/** COM_QUIT, and closes the handle. */
void mysql_quit(mysql_guest *m);
/** Closes the handle without a word. */
void mysql_drop(mysql_guest *m);
