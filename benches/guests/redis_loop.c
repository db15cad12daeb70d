/* SPDX-License-Identifier: Apache-2.0 */
/* A program of BSD sockets that asks Redis. It knows nothing of WarpGrid: clang and wasi-libc compile it as
 * it stands, and the machine's own compiler for the native side of a bench.
 *
 *   loop N       one connection, N times `GET bench`, blocking
 *   pipeline N   one connection, N times 1,000 of them at once
 *   connect N    N times: connect, one `GET bench`, close
 *
 * DB_HOST and DB_PORT say where; DB_PASSWORD is sent when it is set. A tenth of N runs first, unmeasured.
 * Prints a line as pg_loop.c does. */
#define PROGRAM "redis-loop"
#include "sock.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { BATCH = 1000 };

static const char get[] = "*2\r\n$3\r\nGET\r\n$5\r\nbench\r\n", found[] = "$5\r\nvalue\r\n";
static char batch[BATCH * (sizeof get - 1)];

static void send_all(int fd, const char *p, size_t len) {
  while (len > 0) {
    ssize_t n = send(fd, p, len, 0);
    if (n <= 0) fail("send", strerror(errno));
    p += n;
    len -= (size_t)n;
  }
}

static void await_bytes(int fd, size_t want) {
  static char answer[BATCH * sizeof found];
  size_t have = 0;
  while (have < want) {
    ssize_t n = recv(fd, answer + have, want - have, 0);
    if (n <= 0) fail("recv", n == 0 ? "the connection ended" : strerror(errno));
    have += (size_t)n;
    if (answer[0] == '-') fail("answer", "an error");
  }
}

static void ask(int fd, const char *p, size_t len, size_t answers) {
  send_all(fd, p, len);
  await_bytes(fd, answers * (sizeof found - 1));
}

static int open_session(void) {
  int fd = socket(place->ai_family, SOCK_STREAM, 0), one = 1;
  if (fd < 0) fail("socket", strerror(errno));
  if (connect(fd, place->ai_addr, place->ai_addrlen) != 0) fail("connect", strerror(errno));
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  const char *password = getenv("DB_PASSWORD");
  char text[200];
  if (password != NULL) {
    int n = snprintf(text, sizeof text, "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", strlen(password),
                     password);
    if (n < 0 || n >= (int)sizeof text) fail("environment", "DB_PASSWORD is too long");
    send_all(fd, text, (size_t)n);
    await_bytes(fd, 5);
  }
  return fd;
}

int main(int argc, char **argv) {
  size_t n = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
  int connects = argc == 3 && strcmp(argv[1], "connect") == 0;
  int pipeline = argc == 3 && strcmp(argv[1], "pipeline") == 0;
  if (n == 0 || (!connects && !pipeline && strcmp(argv[1], "loop") != 0)) {
    fputs("usage: loop N | pipeline N | connect N\n", stderr);
    return 2;
  }
  for (size_t i = 0; i < BATCH; i++) memcpy(batch + i * (sizeof get - 1), get, sizeof get - 1);
  place_of();
  times_of(n);
  int fd = connects ? -1 : open_session();
  uint64_t since;
  do {
    since = now_ns();
    if (connects) fd = open_session();
    if (pipeline)
      ask(fd, batch, sizeof batch, BATCH);
    else
      ask(fd, get, sizeof get - 1, 1);
    if (connects) close(fd);
  } while (!times_add(since));
  times_print();
  return 0;
}
