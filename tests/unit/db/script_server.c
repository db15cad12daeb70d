/* SPDX-License-Identifier: Apache-2.0 */
#include "db/script_server.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct script_impl {
  int listen_fd, stop[2];
  pthread_t thread;
};

#define CHECK(x) ((x) ? (void)0 : (perror(#x), abort()))

/** Waits until the fd can be read. @return false: the server is to stop */
static bool readable(const script_server *s, int fd) {
  struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = s->impl->stop[0], .events = POLLIN}};
  while (poll(p, 2, -1) < 1) {
  }
  return p[1].revents == 0;
}

static bool say(int fd, const void *p, size_t n) {
  const uint8_t *b = p;
  while (n) {
    ssize_t done = send(fd, b, n, MSG_NOSIGNAL);
    if (done <= 0) return false;
    b += done;
    n -= (size_t)done;
  }
  return true;
}

static void serve(const script_server *s, int fd) {
  uint8_t b[4096];
  if (!say(fd, s->first, s->first_len) || !readable(s, fd) || recv(fd, b, sizeof b, 0) <= 0) return;
  for (unsigned i = 0; i == 0 || i < s->times; i++)
    if (!say(fd, s->answer, s->answer_len)) return;
  if (s->ends) return;
  while (readable(s, fd) && recv(fd, b, sizeof b, 0) > 0) {
  }
}

static void *run(void *arg) {
  script_server *s = arg;
  while (readable(s, s->impl->listen_fd)) {
    int fd = accept(s->impl->listen_fd, NULL, NULL);
    if (fd < 0) continue;
    atomic_fetch_add(&s->open, 1);
    serve(s, fd);
    close(fd);
    atomic_fetch_sub(&s->open, 1);
  }
  return NULL;
}

void script_start(script_server *s) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  s->impl = calloc(1, sizeof *s->impl);
  CHECK(s->impl && (s->impl->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0);
  CHECK(bind(s->impl->listen_fd, (struct sockaddr *)&a, sizeof a) == 0);
  CHECK(listen(s->impl->listen_fd, 64) == 0 && pipe(s->impl->stop) == 0);
  CHECK(getsockname(s->impl->listen_fd, (struct sockaddr *)&a, &len) == 0);
  s->port = ntohs(a.sin_port);
  CHECK(pthread_create(&s->impl->thread, NULL, run, s) == 0);
}

void script_stop(script_server *s) {
  CHECK(write(s->impl->stop[1], "x", 1) == 1);
  pthread_join(s->impl->thread, NULL);
  close(s->impl->listen_fd);
  close(s->impl->stop[0]);
  close(s->impl->stop[1]);
  free(s->impl);
  s->impl = NULL;
}
