/* SPDX-License-Identifier: Apache-2.0 */
/* US-209 to US-211: connections to databases, and to all else. The peer of a connection is in this
 * program: a socket that listens, which the mock connects to as well. tests/e2e/test_libc_sockets.py
 * has the same with real servers. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#if __has_include(<warpgrid/libc/socket.h>)
#include <warpgrid/libc/socket.h>
#endif

/* mock.c's */
extern __attribute__((weak)) uint16_t mock_peer_port; /**< where it connects to */
extern __attribute__((weak)) char mock_opened[256]; /**< "HOST PORT" of the last one */
extern __attribute__((weak)) int mock_opens, mock_closes,
    mock_shut; /* how often; the last direction */

/* The database of the mock's proxy.conf. */
static const char database[] = "240.77.0.1";
enum { DATABASE_PORT = 5432 };

static struct sockaddr_in address(const char *ip, uint16_t port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, ip, &a.sin_addr);
  return a;
}

static int dial(const char *ip, uint16_t port, int flags) {
  struct sockaddr_in a = address(ip, port);
  int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
  int number = errno;
  if (fd >= 0) close(fd);
  errno = number;
  return -1;
}

static int listen_fd = -1;
static uint16_t listening(void) {
  struct sockaddr_in a = address("127.0.0.1", 0);
  socklen_t len = sizeof a;
  if (listen_fd < 0) {
    listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(bind(listen_fd, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_INT(listen(listen_fd, 8), 0);
  }
  CHECK_INT(getsockname(listen_fd, (struct sockaddr *)&a, &len), 0);
  return ntohs(a.sin_port);
}

/** A connection and its other end: to the database where there is a mock of one, else to loopback. */
struct pair {
  int fd, peer;
};
static int mocked(void) { return &mock_opens != NULL; }
static struct pair connected(void) {
  uint16_t port = listening();
  if (mocked()) mock_peer_port = port;
  struct pair p = {mocked() ? dial(database, DATABASE_PORT, 0) : dial("127.0.0.1", port, 0), -1};
  if (p.fd < 0) check_fail(__FILE__, __LINE__, "connect: ", strerror(errno));
  if (p.fd >= 0) p.peer = accept(listen_fd, NULL, NULL);
  CHECK(p.peer >= 0);
  return p;
}
static void hang_up(struct pair p) {
  CHECK_INT(close(p.fd), 0);
  CHECK_INT(close(p.peer), 0);
}

/* ---- US-209 ---- */

static void us_209_an_address_of_proxy_conf_is_opened(void) {
  int before = mock_opens;
  struct pair p = connected();
  CHECK(p.fd > 2);
  CHECK_INT(mock_opens, before + 1);
  CHECK_TEXT(mock_opened, "main 5432");
  hang_up(p);
}

static void us_209_databases_of_one_place_are_told_apart_by_their_start_up(void) {
  mock_peer_port = listening();
  int fd = dial("240.77.0.2", 5433, 0); /* two lines have it */
  CHECK(fd >= 0);
  CHECK_TEXT(mock_opened, "shared.example 5433");
  close(fd);
  close(accept(listen_fd, NULL, NULL));
  fd = dial("240.77.0.3", 5433, 0); /* the second one's own */
  CHECK(fd >= 0);
  CHECK_TEXT(mock_opened, "second 5433");
  close(fd);
  close(accept(listen_fd, NULL, NULL));
}

static void us_209_hosts_that_are_addresses(void) {
  mock_peer_port = listening();
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(6379)};
  int fd = dial("127.0.0.1", 6380, 0); /* localhost */
  CHECK(fd >= 0);
  CHECK_TEXT(mock_opened, "near 6380");
  close(fd);
  close(accept(listen_fd, NULL, NULL));
  fd = dial("192.0.2.77", 3306, 0);
  CHECK_TEXT(mock_opened, "literal 3306");
  close(fd);
  close(accept(listen_fd, NULL, NULL));
  inet_pton(AF_INET6, "100::77", &six.sin6_addr);
  fd = socket(AF_INET6, SOCK_STREAM, 0);
  CHECK_INT(connect(fd, (struct sockaddr *)&six, sizeof six), 0);
  CHECK_TEXT(mock_opened, "cache 6379");
  socklen_t len = sizeof six;
  memset(&six, 0, sizeof six);
  CHECK_INT(getpeername(fd, (struct sockaddr *)&six, &len), 0);
  CHECK_INT(six.sin6_family, AF_INET6);
  CHECK_INT(ntohs(six.sin6_port), 6379);
  CHECK_INT(six.sin6_addr.s6_addr[15], 0x77);
  CHECK_INT(getsockname(fd, (struct sockaddr *)&six, &len), 0);
  CHECK_INT(six.sin6_addr.s6_addr[15], 1);
  close(fd);
  close(accept(listen_fd, NULL, NULL));
}

static void us_209_other_ports_and_addresses_are_wasi(void) {
  int before = mocked() ? mock_opens : 0;
  uint16_t port = listening();
  int fd = dial("127.0.0.1", port, 0), peer = accept(listen_fd, NULL, NULL);
  struct sockaddr_in a;
  socklen_t len = sizeof a;
  char got[8] = "";
  CHECK(fd >= 0 && peer >= 0);
  CHECK_INT(getpeername(fd, (struct sockaddr *)&a, &len), 0);
  CHECK_INT(ntohs(a.sin_port), port);
  CHECK_INT(send(fd, "hello", 5, 0), 5);
  CHECK_INT(recv(peer, got, sizeof got, 0), 5);
  CHECK_TEXT(got, "hello");
  close(fd);
  close(peer);
  if (mocked()) CHECK_INT(mock_opens, before);
}

static void us_209_without_a_shim_the_address_is_wasis(void) {
  /* Nobody is there: what counts is that it fails as any address does. */
  int fd = dial(database, DATABASE_PORT, SOCK_NONBLOCK);
  CHECK(fd < 0);
  CHECK(errno && errno != ENOSYS && errno != EBADF);
}

static void us_209_what_the_host_refuses(void) {
  CHECK_INT(dial("240.77.0.9", 1, 0), -1);
  CHECK_INT(errno, EMFILE);
  CHECK_INT(dial("240.77.0.9", 2, 0), -1);
  CHECK_INT(errno, ETIMEDOUT);
  CHECK_INT(dial("240.77.0.9", 3, 0), -1); /* its streams */
  CHECK_INT(errno, ECONNREFUSED);
  int before = mock_opens;
  CHECK_INT(dial("240.77.0.9", 4, SOCK_NONBLOCK), -1); /* not the host's: WASI is asked */
  CHECK(errno && errno != ECONNREFUSED);
  CHECK_INT(mock_opens, before + 1);
}

static void us_209_options_and_names_of_a_connection(void) {
  struct pair p = connected();
  struct sockaddr_in a = {0};
  socklen_t len = sizeof a;
  int value = -1;
  socklen_t size = sizeof value;
  CHECK_INT(getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &value, &size), 0);
  CHECK_INT(value, 0);
  CHECK_INT(getsockopt(p.fd, SOL_SOCKET, SO_TYPE, &value, &size), 0);
  CHECK_INT(value, SOCK_STREAM);
  value = 1;
  CHECK_INT(setsockopt(p.fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &value, sizeof value), 0);
  CHECK_INT(setsockopt(p.fd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value), 0);
  CHECK_INT(getpeername(p.fd, (struct sockaddr *)&a, &len), 0);
  CHECK_INT(ntohs(a.sin_port), mocked() ? DATABASE_PORT : listening());
  CHECK_INT(getsockname(p.fd, (struct sockaddr *)&a, &len), 0);
  CHECK_INT(ntohl(a.sin_addr.s_addr), INADDR_LOOPBACK);
  CHECK(ntohs(a.sin_port) > 1023);
  CHECK_INT(connect(p.fd, (struct sockaddr *)&a, sizeof a), -1);
  CHECK_INT(errno, EISCONN);
  hang_up(p);
}

static void us_209_a_connect_that_does_not_wait(void) {
  uint16_t port = listening();
  if (mocked()) mock_peer_port = port;
  struct sockaddr_in a = mocked() ? address(database, DATABASE_PORT) : address("127.0.0.1", port);
  int fd = socket(AF_INET, SOCK_STREAM, 0), value = -1;
  CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  int done = connect(fd, (struct sockaddr *)&a, sizeof a);
  CHECK(done == 0 || errno == EINPROGRESS);
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  CHECK_INT(poll(&p, 1, 5000), 1);
  CHECK(p.revents & POLLOUT);
  socklen_t size = sizeof value;
  CHECK_INT(getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size), 0);
  CHECK_INT(value, 0);
  char c;
  CHECK_INT(read(fd, &c, 1), -1);
  CHECK_INT(errno, EAGAIN);
  CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  hang_up((struct pair){fd, accept(listen_fd, NULL, NULL)});
}

/* ---- US-210 ---- */

static void us_210_bytes_both_ways(void) {
  struct pair p = connected();
  char got[64] = "";
  CHECK_INT(send(p.fd, "one", 3, 0), 3);
  CHECK_INT(recv(p.peer, got, sizeof got, 0), 3);
  CHECK_TEXT(got, "one");
  CHECK_INT(write(p.fd, "two-", 4), 4);
  CHECK_INT(recv(p.peer, got, sizeof got, 0), 4);
  struct iovec parts[] = {{"th", 2}, {"", 0}, {"ree", 3}};
  CHECK(writev(p.fd, parts, 3) > 0);
  CHECK_INT(send(p.peer, "answer", 6, MSG_NOSIGNAL), 6);
  CHECK_INT(recv(p.fd, got, sizeof got, 0), 6);
  CHECK(memcmp(got, "answer", 6) == 0);
  CHECK_INT(write(p.peer, "again", 5), 5);
  CHECK_INT(read(p.fd, got, sizeof got), 5);
  CHECK(memcmp(got, "again", 5) == 0);
  char a[2], b[8];
  struct iovec into[] = {{a, sizeof a}, {b, sizeof b}};
  CHECK_INT(write(p.peer, "vector", 6), 6);
  ssize_t n = readv(p.fd, into, 2);
  CHECK(n >= 2 && memcmp(a, "ve", 2) == 0);
  hang_up(p);
}

static void us_210_partial_reads_lose_nothing(void) {
  struct pair p = connected();
  static char sent[20000], got[20000];
  for (size_t i = 0; i < sizeof sent; i++) sent[i] = (char)(i * 31 % 251);
  size_t out = 0, in = 0, step = 1;
  while (in < sizeof got) {
    if (out < sizeof sent) {
      ssize_t n = send(p.peer, sent + out, sizeof sent - out, MSG_DONTWAIT);
      if (n > 0) out += (size_t)n;
      if (out == in) { /* there is nothing to read, so this waits */
        struct pollfd room = {.fd = p.peer, .events = POLLOUT};
        poll(&room, 1, 5000);
        continue;
      }
    }
    if (in == out) { /* it could not be sent yet, and a read would wait for ever */
      poll(NULL, 0, 1);
      continue;
    }
    size_t want = sizeof got - in < step ? sizeof got - in : step;
    ssize_t n = in % 2 ? read(p.fd, got + in, want) : recv(p.fd, got + in, want, 0);
    if (n <= 0) break;
    in += (size_t)n;
    step = step % 977 + 7;
  }
  CHECK_INT((long long)in, sizeof got);
  CHECK(memcmp(sent, got, sizeof sent) == 0);
  hang_up(p);
}

static void us_210_peeking_takes_nothing(void) {
  struct pair p = connected();
  char got[16] = "";
  CHECK_INT(recv(p.fd, got, sizeof got, MSG_PEEK | MSG_DONTWAIT), -1);
  CHECK_INT(errno, EAGAIN);
  CHECK_INT(send(p.peer, "abc", 3, 0), 3);
  CHECK_INT(recv(p.fd, got, 2, MSG_PEEK), 2); /* waits */
  CHECK_TEXT(got, "ab");
  CHECK_INT(recv(p.fd, got, sizeof got, MSG_PEEK), 3 - 1 + (got[2] != 0)); /* what came at once */
  CHECK_INT(recvfrom(p.fd, got, 3, MSG_PEEK | MSG_DONTWAIT, NULL, NULL), 3);
  CHECK(memcmp(got, "abc", 3) == 0);
  CHECK_INT(send(p.peer, "def", 3, 0), 3);
  for (int i = 0; i < 1000 && recv(p.fd, got, sizeof got, MSG_PEEK) < 6; i++)
    poll(NULL, 0, 1); /* more than the last time, once it has come */
  CHECK(memcmp(got, "abcdef", 6) == 0);
  CHECK_INT(recv(p.fd, got, 0, MSG_PEEK), 0);
  CHECK_INT(read(p.fd, got, 1), 1);
  CHECK_INT(got[0], 'a');
  CHECK_INT(recv(p.fd, got, sizeof got, MSG_PEEK), 5);
  CHECK_INT(recv(p.fd, got, sizeof got, 0), 5);
  CHECK(memcmp(got, "bcdef", 5) == 0);
  CHECK_INT(recv(p.fd, got, sizeof got, MSG_DONTWAIT), -1);
  CHECK_INT(errno, EAGAIN);
  /* The end comes after what is kept, and may be peeked at. */
  CHECK_INT(send(p.peer, "z", 1, 0), 1);
  CHECK_INT(recv(p.fd, got, sizeof got, MSG_PEEK), 1);
  CHECK_INT(close(p.peer), 0);
  CHECK_INT(recv(p.fd, got, sizeof got, MSG_PEEK), 1);
  CHECK_INT(recv(p.fd, got, sizeof got, 0), 1);
  CHECK_INT(recv(p.fd, got, sizeof got, MSG_PEEK), 0);
  CHECK_INT(recv(p.fd, got, sizeof got, 0), 0);
  CHECK_INT(close(p.fd), 0);
  CHECK_INT(recv(p.fd, got, sizeof got, MSG_PEEK), -1);
  CHECK_INT(errno, EBADF);
  CHECK_INT(recv(1, got, sizeof got, MSG_PEEK), -1); /* no socket */
}

static void us_210_poll_and_select_see_what_was_peeked_at(void) {
  struct pair p = connected(), q = connected();
  char got[8];
  struct pollfd both[] = {{.fd = p.fd, .events = POLLIN},
                          {.fd = -1, .events = POLLIN},
                          {.fd = q.fd, .events = POLLIN | POLLOUT}};
  CHECK_INT(poll(both, 1, 0), 0);
  CHECK_INT(send(p.peer, "x", 1, 0), 1);
  CHECK_INT(poll(both, 1, 5000), 1);
  CHECK_INT(recv(p.fd, got, 1, MSG_PEEK), 1);
  CHECK_INT(poll(both, 1, -1), 1); /* would wait for ever */
  CHECK(both[0].revents & POLLIN);
  both[0].revents = both[2].revents = 0;
  CHECK_INT(poll(both, 3, 5000), 2);
  CHECK(both[0].revents & POLLIN);
  CHECK_INT(both[2].revents, POLLOUT);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(p.fd, &set);
  FD_SET(q.fd, &set);
  CHECK_INT(select(q.fd + 1, &set, NULL, NULL, NULL), 1);
  CHECK(FD_ISSET(p.fd, &set) && !FD_ISSET(q.fd, &set));
  CHECK_INT(recv(p.fd, got, sizeof got, 0), 1);
  CHECK_INT(recv(p.fd, got, sizeof got, MSG_DONTWAIT), -1);
  both[0].revents = 0;
  CHECK_INT(poll(both, 1, 0), 0);
  hang_up(p);
  hang_up(q);
}

/* ---- US-211 ---- */

static void us_211_close_gives_the_connection_back(void) {
  char c = 0;
  int before = mocked() ? mock_closes : 0;
  struct pair p = connected();
  CHECK_INT(close(p.fd), 0);
  if (mocked()) CHECK_INT(mock_closes, before + 1);
  CHECK_INT(read(p.fd, &c, 1), -1);
  CHECK_INT(errno, EBADF);
  CHECK_INT(write(p.fd, &c, 1), -1);
  CHECK_INT(errno, EBADF);
  CHECK_INT(send(p.fd, &c, 1, 0), -1);
  CHECK_INT(errno, EBADF);
  CHECK_INT(recv(p.fd, &c, 1, 0), -1);
  CHECK_INT(errno, EBADF);
  CHECK_INT(close(p.fd), -1);
  CHECK_INT(errno, EBADF);
  CHECK_INT(read(p.peer, &c, 1), 0);
  CHECK_INT(close(p.peer), 0);
}

static void us_211_a_socket_that_never_connected(void) {
  int before = mocked() ? mock_closes : 0, fd = socket(AF_INET, SOCK_STREAM, 0);
  char c;
  CHECK_INT(recv(fd, &c, 1, 0), -1);
  CHECK_INT(errno, ENOTCONN);
  CHECK_INT(shutdown(fd, SHUT_WR), -1);
  CHECK_INT(errno, ENOTCONN);
  CHECK_INT(close(fd), 0);
  if (mocked()) CHECK_INT(mock_closes, before);
}

static void us_211_shutdown_ends_a_direction(void) {
  struct pair p = connected();
  char c = 0;
  if (mocked()) mock_shut = -1;
  CHECK_INT(send(p.fd, "x", 1, 0), 1);
  CHECK_INT(shutdown(p.fd, SHUT_WR), 0);
  if (mocked()) {
    CHECK_INT(mock_shut, SHUT_WR);
    CHECK_INT(shutdown(p.fd, SHUT_RDWR), 0);
    CHECK_INT(mock_shut, SHUT_RDWR);
    CHECK_INT(shutdown(p.fd, SHUT_RD), 0);
    CHECK_INT(mock_shut, SHUT_RD);
  } else {
    CHECK_INT(recv(p.peer, &c, 1, 0), 1);
    CHECK_INT(recv(p.peer, &c, 1, 0), 0);
    CHECK_INT(send(p.peer, "y", 1, 0), 1);
    CHECK_INT(recv(p.fd, &c, 1, 0), 1);
  }
  hang_up(p);
}

static void us_211_connections_leave_nothing_behind(void) {
  int opens = mocked() ? mock_opens : 0, closes = mocked() ? mock_closes : 0, first = -1;
  int peek = strcmp(getenv("LIBC_TEST_WAY"), "stock") == 0 ? 0 : MSG_PEEK;
  size_t pages = 0;
  char c;
  for (int i = 0; i < 300 && !check_failed; i++) {
    struct pair p = connected();
    if (i == 0) first = p.fd;
    CHECK(p.fd <= first + 1); /* of two numbers that are free, either */
    CHECK_INT(send(p.fd, "q", 1, 0), 1);
    CHECK_INT(recv(p.peer, &c, 1, 0), 1);
    CHECK_INT(send(p.peer, "rs", 2, 0), 2);
    CHECK_INT(recv(p.fd, &c, 1, i % 2 ? peek : 0), 1); /* some is always left */
    hang_up(p);
    if (i == 100) pages = __builtin_wasm_memory_size(0);
  }
  CHECK_INT((long long)__builtin_wasm_memory_size(0), (long long)pages);
  if (mocked()) {
    CHECK_INT(mock_opens - opens, 300);
    CHECK_INT(mock_closes - closes, 300);
  }
}

/** WarpGrid lets nobody listen: there, the peers are real servers. */
enum { LISTENS = VANILLA | MOCK | STOCK };

static const struct check_test tests[] = {
    TEST(us_209_an_address_of_proxy_conf_is_opened, MOCK),
    TEST(us_209_databases_of_one_place_are_told_apart_by_their_start_up, MOCK),
    TEST(us_209_hosts_that_are_addresses, MOCK),
    TEST(us_209_what_the_host_refuses, MOCK),
    TEST(us_209_other_ports_and_addresses_are_wasi, LISTENS),
    TEST(us_209_without_a_shim_the_address_is_wasis, VANILLA | WARPGRID | STOCK),
    TEST(us_209_options_and_names_of_a_connection, LISTENS),
    TEST(us_209_a_connect_that_does_not_wait, LISTENS),
    TEST(us_210_bytes_both_ways, LISTENS),
    TEST(us_210_partial_reads_lose_nothing, LISTENS),
    TEST(us_210_peeking_takes_nothing, LISTENS & ~STOCK),
    TEST(us_210_poll_and_select_see_what_was_peeked_at, LISTENS & ~STOCK),
    TEST(us_211_close_gives_the_connection_back, LISTENS),
    TEST(us_211_a_socket_that_never_connected, ANYWHERE),
    TEST(us_211_shutdown_ends_a_direction, LISTENS),
    TEST(us_211_connections_leave_nothing_behind, LISTENS),
};

int main(void) { return check_run(tests, sizeof tests / sizeof *tests); }
