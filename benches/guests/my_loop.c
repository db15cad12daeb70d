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
#include "sock.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

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

static size_t await_packets(int fd, int packets) {
  size_t have = 0, at = 0;
  for (;;) {
    while (have - at >= 4) {
      size_t n = answer[at] | (size_t)answer[at + 1] << 8 | (size_t)answer[at + 2] << 16;
      if (have - at < n + 4) break;
      if (answer[at + 4] == 0xFF) fail("answer", (const char *)answer + at + 7);
      at += n + 4;
      if (--packets == 0) return have;
    }
    ssize_t n = recv(fd, answer + have, sizeof answer - have, 0);
    if (n <= 0) fail("recv", n == 0 ? "the connection ended" : strerror(errno));
    have += (size_t)n;
  }
}

static void send_all(int fd, const void *bytes, size_t len) {
  if (send(fd, bytes, len, 0) != (ssize_t)len) fail("send", strerror(errno));
}

static int open_session(void) {
  int fd = socket(place->ai_family, SOCK_STREAM, 0), one = 1;
  if (fd < 0) fail("socket", strerror(errno));
  if (connect(fd, place->ai_addr, place->ai_addrlen) != 0) fail("connect", strerror(errno));
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  await_packets(fd, 1);
  send_all(fd, response, response_len);
  await_packets(fd, 1);
  return fd;
}

/* Count, column, row, end; the row ends with "1". */
static void ask(int fd, const uint8_t *bytes, size_t len) {
  send_all(fd, bytes, len);
  size_t n = await_packets(fd, 4);
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
  int fd = connects ? -1 : open_session();
  if (!connects) {
    send_all(fd, prepare, sizeof prepare - 1);
    await_packets(fd, 2);
    memcpy(execute + 5, answer + 5, 4);
    execute[10] = 1;
  }
  do {
    since = now_ns();
    if (connects) {
      fd = open_session();
      ask(fd, ask_text, sizeof ask_text - 1);
      send_all(fd, quit, sizeof quit - 1);
      close(fd);
    } else {
      ask(fd, execute, sizeof execute);
    }
  } while (!times_add(since));
  times_print();
  return 0;
}
