/* SPDX-License-Identifier: Apache-2.0 */
/* A program of BSD sockets that asks PostgreSQL, with a role that needs no password. It knows nothing
 * of WarpGrid: clang and wasi-libc compile it as they stand, and the machine's own compiler for the
 * native side of a bench.
 *
 *   loop N           one connection, N prepared `SELECT 1`, blocking
 *   connect N        N times: connect, one `SELECT 1`, close
 *   bulk BYTES N     N results of BYTES each, in rows of 64 KiB; checked by their length
 *   turns C N        C clients at once, who connect, ask once and close, over and over; N in all
 *   keep C N         C clients at once, who stay connected; N questions in all
 *
 * DB_HOST, DB_PORT, DB_NAME and DB_USER say which database. A tenth of N runs first, unmeasured. Prints
 * a line as pg_loop.c does; bulk prints mib_s= instead of the times of single ones. */
#define PROGRAM "sock-loop"
#include "sock.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

enum { MAX_CLIENTS = 1000, ROW = 65536 };

/* -- The protocol -- */

static uint8_t startup[512];
static size_t startup_len;

static const char parse_one[] = "P\0\0\0\x13one\0SELECT 1\0\0\0S\0\0\0\x04";
static const uint8_t ask_one[] = {'B', 0, 0, 0,   15, 0, 'o', 'n', 'e', 0, 0,   0, 0,
                                  0,   0, 0, 'D', 0,  0, 0,   6,   'P', 0, 'E', 0, 0,
                                  0,   9, 0, 0,   0,  0, 0,   'S', 0,   0, 0,   4};
static const char ask_simple[] = "Q\0\0\0\x0dSELECT 1";
static const char terminate[] = "X\0\0\0\x04";

static void environment(void) {
  const char *name, *user;
  place_of();
  names_of(&name, &user);
  int n = snprintf((char *)startup + 8, sizeof startup - 9, "user%c%s%cdatabase%c%s%c", 0, user, 0,
                   0, name, 0);
  if (n < 0 || n >= (int)sizeof startup - 9) fail("environment", "a name is too long");
  startup_len = (size_t)n + 9;
  startup[2] = (uint8_t)(startup_len >> 8);
  startup[3] = (uint8_t)startup_len;
  startup[5] = 3;
}

/* The server's messages of one answer. */
typedef struct answer {
  uint8_t head[5];
  size_t head_len, skip;
  uint64_t rows; /* bytes of DataRow messages */
} answer;

/* @return 1 when the server is ready again */
static int answer_take(answer *a, const uint8_t *p, size_t len) {
  while (len > 0) {
    if (a->skip > 0) {
      size_t n = len < a->skip ? len : a->skip;
      a->skip -= n;
      p += n;
      len -= n;
    } else {
      a->head[a->head_len++] = *p++;
      len--;
      if (a->head_len < sizeof a->head) continue;
      a->skip = ((size_t)a->head[1] << 24 | (size_t)a->head[2] << 16 | (size_t)a->head[3] << 8 |
                 a->head[4]) -
                4;
      if (a->head[0] == 'D') a->rows += a->skip;
      a->head_len = 0;
    }
    if (a->skip > 0 || a->head_len > 0) continue;
    if (a->head[0] == 'E') fail("query", "the server answered with an error");
    if (a->head[0] == 'Z') return 1;
  }
  return 0;
}

/* -- One blocking connection -- */

static void send_all(int fd, const void *bytes, size_t len) {
  const uint8_t *p = bytes;
  while (len > 0) {
    ssize_t n = send(fd, p, len, 0);
    if (n <= 0) fail("send", strerror(errno));
    p += n;
    len -= (size_t)n;
  }
}

/* @return bytes of rows */
static uint64_t await_answer(int fd) {
  static uint8_t bytes[1 << 16];
  answer a = {0};
  for (;;) {
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0) fail("recv", n == 0 ? "the connection ended" : strerror(errno));
    if (answer_take(&a, bytes, (size_t)n)) return a.rows;
  }
}

static int open_socket(int nonblocking) {
  int fd = socket(place->ai_family, SOCK_STREAM, 0), one = 1;
  if (fd < 0) fail("socket", strerror(errno));
  if (nonblocking && fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl", strerror(errno));
  if (connect(fd, place->ai_addr, place->ai_addrlen) != 0 && errno != EINPROGRESS)
    fail("connect", strerror(errno));
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static int open_session(void) {
  int fd = open_socket(0);
  send_all(fd, startup, startup_len);
  await_answer(fd);
  return fd;
}

static void mode_loop(void) {
  int fd = open_session();
  send_all(fd, parse_one, sizeof parse_one - 1);
  await_answer(fd);
  uint64_t since;
  do {
    since = now_ns();
    send_all(fd, ask_one, sizeof ask_one);
    if (await_answer(fd) != 7) fail("query", "the answer is not 1");
  } while (!times_add(since));
  times_print();
  close(fd);
}

static void mode_connect(void) {
  uint64_t since;
  do {
    since = now_ns();
    int fd = open_session();
    send_all(fd, ask_simple, sizeof ask_simple);
    if (await_answer(fd) != 7) fail("query", "the answer is not 1");
    send_all(fd, terminate, sizeof terminate - 1);
    close(fd);
  } while (!times_add(since));
  times_print();
}

static void mode_bulk(size_t bytes) {
  size_t rows = bytes / ROW;
  char sql[128];
  int n = snprintf(sql + 5, sizeof sql - 5, "SELECT repeat('x', %d) FROM generate_series(1, %zu)",
                   ROW, rows);
  sql[0] = 'Q';
  sql[1] = sql[2] = sql[3] = 0;
  sql[4] = (char)(n + 5);
  int fd = open_session();
  uint64_t since;
  do {
    since = now_ns();
    send_all(fd, sql, (size_t)n + 6);
    if (await_answer(fd) != rows * (ROW + 6)) fail("query", "the answer has another length");
  } while (!times_add(since));
  double s = (double)(now_ns() - began) / 1e9;
  printf("n=%zu wall_us=%.0f mib_s=%.1f\n", count, s * 1e6,
         (double)count * (double)bytes / s / 1048576);
  close(fd);
}

/* -- Many at once -- */

typedef struct client {
  enum { CONNECTING, GREETED, ASKED } state;
  answer answer;
  uint64_t since;
} client;

static client clients[MAX_CLIENTS];
static struct pollfd waits[MAX_CLIENTS];

/* A socket that takes no bytes just now is waited for: its buffer is free in no time. */
static void client_send(size_t i, const void *bytes, size_t len) {
  ssize_t n;
  while ((n = send(waits[i].fd, bytes, len, 0)) < 0 && errno == EAGAIN) {
    struct pollfd room = {.fd = waits[i].fd, .events = POLLOUT};
    poll(&room, 1, 1000);
  }
  if (n != (ssize_t)len) fail("send", n < 0 ? strerror(errno) : "a part only");
}

static void client_open(size_t i) {
  clients[i] = (client){.state = CONNECTING, .since = now_ns()};
  waits[i] = (struct pollfd){.fd = open_socket(1), .events = POLLOUT};
}

static void client_ask(size_t i) {
  clients[i].state = ASKED;
  client_send(i, ask_simple, sizeof ask_simple);
}

/* @return 1 when all is done */
static int client_advance(size_t i, int keep) {
  static uint8_t bytes[1 << 16];
  client *c = &clients[i];
  if (c->state == CONNECTING) {
    int why = 0;
    socklen_t len = sizeof why;
    if (getsockopt(waits[i].fd, SOL_SOCKET, SO_ERROR, &why, &len) != 0 || why != 0)
      fail("connect", strerror(why));
    client_send(i, startup, startup_len);
    c->state = GREETED;
    waits[i].events = POLLIN;
    return 0;
  }
  ssize_t n = recv(waits[i].fd, bytes, sizeof bytes, 0);
  if (n < 0 && errno == EAGAIN) return 0;
  if (n <= 0) fail("recv", n == 0 ? "the connection ended" : strerror(errno));
  if (!answer_take(&c->answer, bytes, (size_t)n)) return 0;
  if (c->state == GREETED) {
    if (keep) c->since = now_ns();
    client_ask(i);
    return 0;
  }
  if (c->answer.rows != 7) fail("query", "the answer is not 1");
  c->answer.rows = 0;
  int last = times_add(c->since);
  if (keep) {
    c->since = now_ns();
    client_ask(i);
  } else {
    client_send(i, terminate, sizeof terminate - 1);
    close(waits[i].fd);
    client_open(i);
  }
  return last;
}

static void mode_many(size_t n, int keep) {
  for (size_t i = 0; i < n; i++) client_open(i);
  for (;;) {
    if (poll(waits, (nfds_t)n, 30000) <= 0) fail("poll", "no answer within 30 s");
    for (size_t i = 0; i < n; i++) {
      if (waits[i].revents != 0 && client_advance(i, keep)) {
        times_print();
        return;
      }
    }
  }
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  size_t a = argc > 2 ? strtoul(argv[2], NULL, 10) : 0,
         b = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
  int many = strcmp(mode, "turns") == 0 || strcmp(mode, "keep") == 0;
  size_t n = argc == 4 ? b : a;
  if (n == 0 || a == 0 || (many && a > MAX_CLIENTS)) {
    fputs("usage: loop N | connect N | bulk BYTES N | turns C N | keep C N\n", stderr);
    return 2;
  }
  environment();
  times_of(n);
  if (strcmp(mode, "loop") == 0)
    mode_loop();
  else if (strcmp(mode, "connect") == 0)
    mode_connect();
  else if (strcmp(mode, "bulk") == 0)
    mode_bulk(a);
  else if (many)
    mode_many(a, mode[0] == 'k');
  return 0;
}
