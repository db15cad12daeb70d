/* SPDX-License-Identifier: Apache-2.0 */
/* A program of BSD sockets that asks MySQL or MariaDB, as a user that needs no password. It knows
 * nothing of WarpGrid: clang and wasi-libc compile it as they stand, and the machine's own compiler for
 * the native side of a bench.
 *
 *   loop N       one connection, N executions of a prepared `SELECT 1`, blocking
 *   connect N    N times: connect, one `SELECT 1`, close
 *
 * DB_HOST, DB_PORT, DB_NAME and DB_USER say which database. A tenth of N runs first, unmeasured. Prints
 * a line as pg_loop.c does. */
#define PROGRAM "my-loop"
#include "stream.h"

/* PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH, CONNECT_WITH_DB, DEPRECATE_EOF; utf8mb4 */
static const uint8_t response_head[36] = {0, 0, 0, 1, 0x08, 0xA2, 0x08, 0x01, 0, 0, 0, 1, 45};
static const uint8_t ask_text[] = "\x09\0\0\0\3SELECT 1";
static const uint8_t prepare[] = "\x09\0\0\0\x16SELECT 1";
static const uint8_t quit[] = "\1\0\0\0\1";

static uint8_t response[512];
static size_t response_len;

static void environment(void) {
  const char *name, *user;
  place_of();
  names_of(&name, &user);
  memcpy(response, response_head, sizeof response_head);
  int n = snprintf((char *)response + 36, sizeof response - 36, "%s%c%c%s%c%s%c", user, 0, 0, name,
                   0, "mysql_native_password", 0);
  if (n < 0 || n >= (int)sizeof response - 36) fail("environment", "a name is too long");
  response_len = 36 + (size_t)n;
  response[0] = (uint8_t)(response_len - 4);
  response[1] = (uint8_t)((response_len - 4) >> 8);
}

/* One answer, read by as few calls as it comes in; `packets` of it are awaited. */
static uint8_t answer[4096];

static size_t await_packets(int packets) {
  size_t have = 0, at = 0;
  for (;;) {
    while (have - at >= 4) {
      size_t n = answer[at] | (size_t)answer[at + 1] << 8 | (size_t)answer[at + 2] << 16;
      if (have - at < n + 4) break;
      if (answer[at + 4] == 0xFF) fail("answer", (const char *)answer + at + 7);
      at += n + 4;
      if (--packets == 0) return have;
    }
    have += stream_recv(answer + have, sizeof answer - have);
  }
}

/* What asks for TLS is the response's head with one capability more. */
static void ask_tls(void) {
  uint8_t request[36];
  memcpy(request, response, sizeof request);
  request[0] = 32;
  request[1] = 0;
  request[3] = 1;
  request[5] |= 0x08;
  stream_send(request, sizeof request);
  secure();
}

static void open_session(void) {
  stream_open();
  await_packets(1);
  if (secured()) ask_tls();
  response[3] = secured() ? 2 : 1;
  response[5] = secured() ? response_head[5] | 0x08 : response_head[5];
  stream_send(response, response_len);
  await_packets(1);
}

/* Count, column, row, end; the row ends with "1". */
static void ask(const uint8_t *bytes, size_t len) {
  stream_send(bytes, len);
  size_t n = await_packets(4);
  if (n < 40) fail("query", "the answer is not 1");
}

int main(int argc, char **argv) {
  size_t n = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
  int connects = argc == 3 && strcmp(argv[1], "connect") == 0;
  if (n == 0 || (!connects && strcmp(argv[1], "loop") != 0)) {
    fputs("usage: loop N | connect N\n", stderr);
    return 2;
  }
  uint8_t execute[14] = {10, 0, 0, 0, 0x17};
  uint64_t since;
  environment();
  times_of(n);
  if (!connects) {
    open_session();
    stream_send(prepare, sizeof prepare - 1);
    await_packets(2);
    memcpy(execute + 5, answer + 5, 4);
    execute[10] = 1;
  }
  do {
    since = now_ns();
    if (connects) {
      open_session();
      ask(ask_text, sizeof ask_text - 1);
      stream_send(quit, sizeof quit - 1);
      stream_close();
    } else {
      ask(execute, sizeof execute);
    }
  } while (!times_add(since));
  times_print();
  return 0;
}
