/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/http_ask.h"

#include "base/text.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static wg_code timed_out(wg_error *err) {
  return wg_error_set(err, WG_TIMEOUT, ETIMEDOUT, "no answer in time");
}

/** Waits for the socket. @return WG_OK, WG_TIMEOUT, WG_IO */
static wg_code wait_for(int fd, short events, uint64_t deadline_ms, wg_error *err) {
  for (;;) {
    uint64_t now = now_ms();
    if (now >= deadline_ms) return timed_out(err);
    struct pollfd p = {.fd = fd, .events = events};
    int n = poll(&p, 1, (int)(deadline_ms - now));
    if (n > 0) return WG_OK;
    if (n < 0 && errno != EINTR) return wg_error_set(err, WG_IO, errno, "%s", wg_os_error(errno));
  }
}

static wg_code dial(const struct addrinfo *a, uint64_t deadline_ms, int *out, wg_error *err) {
  int sys = 0;
  socklen_t size = sizeof sys;
  int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return wg_error_set(err, WG_IO, errno, "%s", wg_os_error(errno));
  wg_code code = WG_OK;
  if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
    sys = errno;
    if (sys == EINPROGRESS) {
      code = wait_for(fd, POLLOUT, deadline_ms, err);
      if (code == WG_OK && getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &size) != 0) sys = errno;
    }
  }
  if (code == WG_OK && sys != 0) code = wg_error_set(err, WG_IO, sys, "%s", wg_os_error(sys));
  if (code == WG_OK)
    *out = fd;
  else
    close(fd);
  return code;
}

static wg_code send_all(int fd, const char *text, size_t len, uint64_t deadline_ms, wg_error *err) {
  while (len) {
    ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
    if (n > 0) {
      text += n;
      len -= (size_t)n;
    } else if (errno == EAGAIN) {
      wg_code code = wait_for(fd, POLLOUT, deadline_ms, err);
      if (code != WG_OK) return code;
    } else if (errno != EINTR) {
      return wg_error_set(err, WG_IO, errno, "%s", wg_os_error(errno));
    }
  }
  return WG_OK;
}

static wg_code receive_all(int fd, wg_buf *in, uint64_t deadline_ms, wg_error *err) {
  enum { CHUNK = 4096 };
  for (;;) {
    wg_code code = wait_for(fd, POLLIN, deadline_ms, err);
    if (code != WG_OK) return code;
    uint8_t *at = wg_buf_reserve(in, CHUNK);
    if (!at) {
      if (in->nomem) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
      return wg_error_set(err, WG_IO, 0, "the answer is larger than %zu bytes", in->max - CHUNK);
    }
    ssize_t n = recv(fd, at, CHUNK, 0);
    if (n == 0) return WG_OK;
    if (n > 0)
      wg_buf_commit(in, (size_t)n);
    else if (errno != EAGAIN && errno != EINTR)
      return wg_error_set(err, WG_IO, errno, "%s", wg_os_error(errno));
  }
}

/** Drops the header, takes the status, checks the length (RFC 9112); the answer is of HTTP/1.0, so it has no
 *  chunks and ends with the connection. */
static wg_code take_body(wg_buf *in, unsigned *status, wg_error *err) {
  wg_buf_put_u8(in, 0);
  if (in->failed) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  const char *head = (const char *)wg_buf_head(in), *end = strstr(head, "\r\n\r\n");
  static const char version[] = "HTTP/1.";
  enum { VERSION = sizeof version - 1 };
  if (!end || strncmp(head, version, VERSION) != 0 || strspn(head + VERSION, "01") != 1 ||
      head[VERSION + 1] != ' ' || strspn(head + VERSION + 2, "0123456789") != 3)
    return wg_error_set(err, WG_IO, 0, "the answer is no HTTP");
  *status = (unsigned)strtoul(head + VERSION + 2, NULL, 10);
  size_t header = (size_t)(end - head) + 4, body = wg_buf_len(in) - 1 - header;
  for (const char *line = strstr(head, "\r\n"); line && line < end; line = strstr(line, "\r\n")) {
    line += 2;
    if (strncasecmp(line, "content-length:", 15) == 0 && strtoull(line + 15, NULL, 10) != body)
      return wg_error_set(err, WG_IO, 0, "the answer was cut short");
    if (strncasecmp(line, "transfer-encoding:", 18) == 0)
      return wg_error_set(err, WG_IO, 0, "the answer has an encoding that was not asked for");
  }
  wg_buf_consume(in, header);
  return WG_OK;
}

wg_code cli_http_ask(const char *method, const char *host, uint16_t port, const char *path,
                     unsigned timeout_ms, unsigned *status, wg_buf *body, wg_error *err) {
  uint64_t deadline_ms = now_ms() + timeout_ms;
  char service[8], request[2048];
  snprintf(service, sizeof service, "%u", port);
  int n = snprintf(request, sizeof request, "%s %s HTTP/1.0\r\nHost: %s%s%s:%u\r\n%s\r\n", method,
                   path, strchr(host, ':') ? "[" : "", host, strchr(host, ':') ? "]" : "", port,
                   strcmp(method, "POST") == 0 ? "Content-Length: 0\r\n" : "");
  if (n < 0 || (size_t)n >= sizeof request)
    return wg_error_set(err, WG_INVALID, 0, "the address is too long");
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
  int rc = getaddrinfo(host, service, &hints, &list);
  if (rc != 0) return wg_error_set(err, WG_IO, 0, "%s", gai_strerror(rc));
  wg_code code = WG_IO;
  int fd = -1;
  for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
    code = dial(a, deadline_ms, &fd, err);
  freeaddrinfo(list);
  if (fd < 0) return code;
  code = send_all(fd, request, (size_t)n, deadline_ms, err);
  if (code == WG_OK) code = receive_all(fd, body, deadline_ms, err);
  close(fd);
  return code == WG_OK ? take_body(body, status, err) : code;
}
