/* SPDX-License-Identifier: Apache-2.0 */
/* Speaks to databases over plain sockets, as a driver of C does; a line for each step.
 *
 *   dbsock HOST PORT STEP...
 *     ping       Redis: a PING by send() and recv(), another by write() and read()
 *     peek       the answer, peeked at, waited for and taken
 *     nonblock   connects and reads without waiting
 *     big N      a value of N bytes, written and read in pieces of odd sizes
 *     shutdown   the last answer comes after shutdown(SHUT_WR), then the end
 *     two        two connections at once
 *     cycles N   N connections one after the other; numbers of descriptors and memory do not grow
 *     greet      MySQL: the server speaks first
 *     start DATABASE  PostgreSQL: until it is ready
 *   An address in the place of HOST is taken as it is. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *host, *port;

static void stop(const char *what) {
  printf("%s: %s\n", what, strerror(errno));
  exit(1);
}
#define NEED(cond) ((cond) ? (void)0 : stop(#cond))

static int dial(int flags) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  int why = getaddrinfo(host, port, &hints, &found);
  if (why) {
    printf("getaddrinfo: %s\n", gai_strerror(why));
    exit(1);
  }
  int fd = socket(found->ai_family, SOCK_STREAM | flags, 0);
  NEED(fd >= 0);
  if (connect(fd, found->ai_addr, found->ai_addrlen) != 0 && errno != EINPROGRESS) stop("connect");
  freeaddrinfo(found);
  return fd;
}

static void say(int fd, const char *text) {
  for (size_t n = strlen(text); n;) {
    ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
    NEED(sent > 0);
    text += sent;
    n -= (size_t)sent;
  }
}
static void hear(int fd, const char *text) {
  char got[200] = "";
  size_t n = strlen(text), have = 0;
  while (have < n) {
    ssize_t more = recv(fd, got + have, n - have, 0);
    NEED(more > 0);
    have += (size_t)more;
  }
  if (memcmp(got, text, n) == 0) return;
  have += (size_t)recv(fd, got + have, sizeof got - have, 0);
  printf("%.*s\n", (int)strcspn(got, "\r"), got);
  exit(1);
}

static void ping(void) {
  struct sockaddr_storage name;
  socklen_t len = sizeof name;
  char c, got[8];
  int fd = dial(0), error = -1;
  socklen_t size = sizeof error;
  NEED(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
  NEED(getpeername(fd, (struct sockaddr *)&name, &len) == 0);
  uint16_t peer =
      ntohs(((struct sockaddr_in *)&name)->sin_port); /* at one place in both families */
  NEED(getsockname(fd, (struct sockaddr *)&name, &len) == 0);
  say(fd, "PING\r\n");
  hear(fd, "+PONG\r\n");
  NEED(write(fd, "PING\r\n", 6) == 6);
  for (size_t n = 0; n < 7; n++) NEED(read(fd, got + n, 1) == 1);
  struct iovec out[] = {{"PI", 2}, {"NG\r\n", 4}};
  for (size_t i = 0; i < 2; i++) NEED(writev(fd, out + i, 1) == (ssize_t)out[i].iov_len);
  hear(fd, "+PONG\r\n");
  NEED(close(fd) == 0);
  NEED(recv(fd, &c, 1, 0) < 0 && errno == EBADF);
  NEED(write(fd, "x", 1) < 0 && errno == EBADF);
  printf("ping: %.5s port %u", got, peer);
}

static void peek(void) {
  char got[16];
  int fd = dial(0);
  struct pollfd p = {.fd = fd, .events = POLLIN};
  NEED(recv(fd, got, sizeof got, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN);
  say(fd, "PING\r\n");
  NEED(poll(&p, 1, 5000) == 1 && p.revents & POLLIN);
  NEED(recv(fd, got, 3, MSG_PEEK) == 3 && memcmp(got, "+PO", 3) == 0);
  NEED(poll(&p, 1, 5000) == 1 && p.revents & POLLIN);
  for (ssize_t n = 0; n < 7;) NEED((n = recv(fd, got, sizeof got, MSG_PEEK)) >= 3);
  NEED(memcmp(got, "+PONG\r\n", 7) == 0);
  hear(fd, "+PONG\r\n");
  NEED(recv(fd, got, sizeof got, MSG_DONTWAIT) < 0 && errno == EAGAIN);
  close(fd);
  printf("peek: ok");
}

static void nonblock(void) {
  char got[16];
  int fd = dial(SOCK_NONBLOCK), error = -1;
  socklen_t size = sizeof error;
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  fd_set set;
  NEED(poll(&p, 1, 5000) == 1 && p.revents & POLLOUT);
  NEED(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
  NEED(fcntl(fd, F_GETFL) & O_NONBLOCK);
  NEED(read(fd, got, 1) < 0 && errno == EAGAIN);
  say(fd, "PING\r\n");
  FD_ZERO(&set);
  FD_SET(fd, &set);
  NEED(select(fd + 1, &set, NULL, NULL, &(struct timeval){5, 0}) == 1 && FD_ISSET(fd, &set));
  NEED(read(fd, got, sizeof got) == 7);
  NEED(fcntl(fd, F_SETFL, 0) == 0);
  say(fd, "PING\r\n");
  hear(fd, "+PONG\r\n");
  close(fd);
  printf("nonblock: ok");
}

static void big(size_t size) {
  char *value = malloc(size), head[64];
  int fd = dial(0);
  NEED(value);
  for (size_t i = 0; i < size; i++) value[i] = (char)('a' + i * 7 % 23);
  snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%zu\r\n", size);
  say(fd, head);
  for (size_t at = 0, step = 1; at < size; step = step * 3 % 65521) {
    ssize_t n = write(fd, value + at, size - at < step ? size - at : step);
    NEED(n > 0);
    at += (size_t)n;
  }
  say(fd, "\r\n");
  hear(fd, "+OK\r\n");
  say(fd, "GET big\r\n");
  snprintf(head, sizeof head, "$%zu\r\n", size);
  hear(fd, head);
  size_t wrong = 0;
  char got[4099];
  for (size_t at = 0, step = 1; at < size; step = step * 5 % sizeof got + 1) {
    size_t want = size - at < step ? size - at : step;
    ssize_t n = at % 2 ? read(fd, got, want) : recv(fd, got, want, 0);
    NEED(n > 0);
    wrong += memcmp(got, value + at, (size_t)n) != 0;
    at += (size_t)n;
  }
  hear(fd, "\r\n");
  close(fd);
  free(value);
  printf("big: %zu bytes, %zu pieces wrong", size, wrong);
}

static void finish(void) {
  char c;
  int fd = dial(0);
  say(fd, "PING\r\n");
  NEED(shutdown(fd, SHUT_WR) == 0);
  hear(fd, "+PONG\r\n");
  NEED(recv(fd, &c, 1, 0) == 0);
  NEED(send(fd, "x", 1, MSG_NOSIGNAL) < 0);
  close(fd);
  printf("shutdown: ok");
}

static void two(void) {
  int a = dial(0), b = dial(0);
  struct pollfd p[] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
  NEED(a != b);
  say(a, "ECHO a\r\n");
  say(b, "BLPOP nothing 0.2\r\n");
  NEED(poll(p, 2, 5000) == 1 && p[0].revents & POLLIN && !p[1].revents);
  hear(a, "$1\r\na\r\n");
  hear(b, "*-1\r\n");
  close(a);
  say(b, "ECHO b\r\n");
  hear(b, "$1\r\nb\r\n");
  close(b);
  printf("two: ok");
}

static void cycles(int n) {
  int first = -1;
  size_t pages = 0;
  for (int i = 0; i < n; i++) {
    int fd = dial(0);
    if (i == 0) first = fd;
    if (i == 100) pages = __builtin_wasm_memory_size(0);
    NEED(fd == first);
    say(fd, "PING\r\n");
    hear(fd, "+PONG\r\n");
    NEED(close(fd) == 0);
  }
  printf("cycles: %d, %zu pages more", n, n > 100 ? __builtin_wasm_memory_size(0) - pages : 0);
}

static void greet(void) {
  char head[5];
  int fd = dial(0);
  NEED(recv(fd, head, 1, MSG_PEEK) == 1); /* waits */
  for (size_t n = 0; n < sizeof head; n++) NEED(recv(fd, head + n, 1, 0) == 1);
  close(fd);
  printf("greet: protocol %d", head[4]);
}

static void start(const char *database) {
  char message[256], type = 0;
  int fd = dial(0), n = 8;
  n += snprintf(message + n, 200, "user%canybody%cdatabase%c%.100s%c", 0, 0, 0, database, 0) + 1;
  memcpy(message, (unsigned char[]){0, 0, 0, (unsigned char)n, 0, 3, 0, 0}, 8);
  NEED(write(fd, message, (size_t)n) == n);
  printf("start:");
  while (type != 'Z' && type != 'E') {
    unsigned char head[5];
    for (size_t k = 0; k < sizeof head; k++) NEED(read(fd, head + k, 1) == 1);
    type = (char)head[0];
    if (!strchr("SK", type)) printf(" %c", type);
    for (unsigned left = (head[3] << 8 | head[4]) - 4u; left; left--) {
      NEED(read(fd, message, 1) == 1);
      if (type == 'E') putchar(message[0] ? message[0] : '|');
    }
  }
  close(fd);
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  host = argv[1];
  port = argv[2];
  for (int i = 3; i < argc; i++) {
    const char *step = argv[i], *more = i + 1 < argc ? argv[i + 1] : "";
    if (strcmp(step, "ping") == 0) ping();
    if (strcmp(step, "peek") == 0) peek();
    if (strcmp(step, "nonblock") == 0) nonblock();
    if (strcmp(step, "big") == 0) big(strtoul(more, NULL, 10)), i++;
    if (strcmp(step, "shutdown") == 0) finish();
    if (strcmp(step, "two") == 0) two();
    if (strcmp(step, "cycles") == 0) cycles(atoi(more)), i++;
    if (strcmp(step, "greet") == 0) greet();
    if (strcmp(step, "start") == 0) start(more), i++;
    putchar('\n');
    fflush(stdout);
  }
  return 0;
}
