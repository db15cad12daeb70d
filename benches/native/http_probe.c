/* SPDX-License-Identifier: Apache-2.0 */
/* Times of single HTTP/1.1 requests, for the instance benches.
 *
 *   http_probe requests PORT PATH N       N requests one after the other over one connection
 *   http_probe process PORT PATH -- CMD   starts CMD, asks until it answers, then ends it with TERM
 *   http_probe hold PORT PATH C           opens C connections, sends one request on each, says
 *                                         "holding C", and keeps them until standard input ends
 *
 * All on 127.0.0.1. `requests` and `process` print p50_us= and p99_us= of the time from the request
 * (from the start of CMD) to the first byte of the answer. An answer other than 200 is an error. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

_Noreturn static void fail(const char *what) {
  fprintf(stderr, "http_probe: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A connected socket, or -1 with errno. */
static int dial(uint16_t port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  struct timeval limit = {.tv_sec = 30};
  if (fd < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
  int saved = errno;
  close(fd);
  errno = saved;
  return -1;
}

static void send_get(int fd, const char *path) {
  char text[512];
  int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
  if (n <= 0 || (size_t)n >= sizeof text) fail("path too long");
  if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) fail("send");
}

/* Reads one answer whole: by Content-Length, or by chunks up to the empty one.
 * Returns when its first byte came; 0 when the peer closed before that. */
static uint64_t read_answer(int fd) {
  static char buf[65536];
  size_t have = 0;
  uint64_t first = 0;
  for (;;) {
    ssize_t n = recv(fd, buf + have, sizeof buf - 1 - have, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 && have == 0) return 0;
    if (n <= 0) fail("the answer was cut");
    if (!first) first = now_ns();
    have += (size_t)n;
    buf[have] = '\0';
    char *end = strstr(buf, "\r\n\r\n");
    if (!end) continue;
    if (have < 12 || memcmp(buf + 9, "200", 3) != 0) {
      *strchr(buf, '\r') = '\0';
      errno = 0;
      fail(buf);
    }
    size_t head = (size_t)(end - buf) + 4;
    char *length = strcasestr(buf, "\r\ncontent-length:");
    if (length && length < end) {
      if (have - head >= strtoul(length + 17, NULL, 10)) return first;
    } else if (have >= 5 && memcmp(buf + have - 5, "0\r\n\r\n", 5) == 0) {
      return first;
    }
    if (have == sizeof buf - 1) fail("answer too long");
  }
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void mode_requests(uint16_t port, const char *path, size_t n) {
  uint64_t *t = calloc(n, sizeof *t);
  int fd = dial(port);
  if (!t || fd < 0) fail("connect");
  for (size_t i = 0; i < n + n / 10; i++) { /* the first tenth warms up */
    uint64_t start = now_ns();
    send_get(fd, path);
    uint64_t first = read_answer(fd);
    if (!first) fail("closed without an answer");
    t[i % n] = first - start;
  }
  qsort(t, n, sizeof *t, by_value);
  printf("n=%zu p50_us=%.1f p99_us=%.1f\n", n, (double)t[n / 2] / 1e3,
         (double)t[n * 99 / 100] / 1e3);
  free(t);
  close(fd);
}

static void mode_process(uint16_t port, const char *path, char **cmd) {
  uint64_t start = now_ns();
  pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid == 0) {
    execvp(cmd[0], cmd);
    _exit(127);
  }
  uint64_t first = 0, limit = start + 60000000000u;
  while (!first) {
    int status;
    if (waitpid(pid, &status, WNOHANG) == pid) {
      errno = 0;
      fail("the server ended before it answered");
    }
    if (now_ns() > limit) {
      kill(pid, SIGKILL);
      errno = 0;
      fail("no answer within 60 s");
    }
    int fd = dial(port);
    if (fd < 0) {
      nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
      continue;
    }
    send_get(fd, path);
    first = read_answer(fd);
    close(fd);
  }
  kill(pid, SIGTERM);
  waitpid(pid, NULL, 0);
  printf("n=1 p50_us=%.1f p99_us=%.1f\n", (double)(first - start) / 1e3,
         (double)(first - start) / 1e3);
}

static void mode_hold(uint16_t port, const char *path, size_t c) {
  struct rlimit files = {.rlim_cur = c + 64, .rlim_max = c + 64};
  struct rlimit now;
  if (getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur < files.rlim_cur) {
    files.rlim_max = now.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) fail("too few file descriptors");
  }
  struct pollfd *fds = calloc(c + 1, sizeof *fds);
  if (!fds) fail("memory");
  for (size_t i = 0; i < c; i++) {
    fds[i] = (struct pollfd){.fd = dial(port), .events = POLLIN};
    if (fds[i].fd < 0) fail("connect");
    send_get(fds[i].fd, path);
  }
  fds[c] = (struct pollfd){.fd = 0, .events = POLLIN};
  printf("holding %zu\n", c);
  fflush(stdout);
  for (;;) {
    if (poll(fds, (nfds_t)c + 1, 120000) <= 0) fail("held for 2 minutes");
    char drop[64];
    if (fds[c].revents && read(0, drop, sizeof drop) <= 0) return;
    for (size_t i = 0; i < c; i++) {
      if (!fds[i].revents) continue;
      errno = 0;
      fail("a held request was answered or closed too early");
    }
  }
}

/* A whole number from 1 to max, else 0. */
static size_t number(const char *text, size_t max) {
  char *end;
  errno = 0;
  unsigned long long v = strtoull(text, &end, 10);
  return errno || *end || v > max ? 0 : (size_t)v;
}

int main(int argc, char **argv) {
  uint16_t port = argc > 2 ? (uint16_t)number(argv[2], 65535) : 0;
  size_t n = argc > 4 ? number(argv[4], 1000000) : 0;
  if (port && argc == 5 && n && strcmp(argv[1], "requests") == 0)
    mode_requests(port, argv[3], n);
  else if (port && argc == 5 && n && strcmp(argv[1], "hold") == 0)
    mode_hold(port, argv[3], n);
  else if (port && argc > 5 && strcmp(argv[1], "process") == 0 && strcmp(argv[4], "--") == 0)
    mode_process(port, argv[3], argv + 5);
  else {
    fputs(
        "usage: http_probe requests PORT PATH N | process PORT PATH -- CMD... | hold PORT PATH C\n",
        stderr);
    return 2;
  }
  return 0;
}
