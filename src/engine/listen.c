/* SPDX-License-Identifier: Apache-2.0 */
/** @file listen.c  Listening sockets: one a worker and address, sharing the port by SO_REUSEPORT
 *  so that the kernel spreads connections without a lock between workers. */
#include "base/text.h"
#include "engine/engine_internal.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 1024, MAX_ADDRESSES = 16 };

typedef struct address {
  struct sockaddr_storage sa;
  socklen_t len;
  bool optional; /**< the other family of "localhost": left out where the system lacks it */
} address;

static void address_set_port(address *a, uint16_t port) {
  if (a->sa.ss_family == AF_INET6)
    ((struct sockaddr_in6 *)&a->sa)->sin6_port = htons(port);
  else
    ((struct sockaddr_in *)&a->sa)->sin_port = htons(port);
}

static uint16_t address_port(const address *a) {
  return ntohs(a->sa.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&a->sa)->sin6_port
                                           : ((const struct sockaddr_in *)&a->sa)->sin_port);
}

/** "127.0.0.1:8080", "[::1]:8080". */
static void address_text(const address *a, char *out, size_t cap) {
  char ip[INET6_ADDRSTRLEN] = "?";
  if (a->sa.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&a->sa)->sin6_addr, ip, sizeof ip);
    snprintf(out, cap, "[%s]:%u", ip, address_port(a));
  } else {
    inet_ntop(AF_INET, &((const struct sockaddr_in *)&a->sa)->sin_addr, ip, sizeof ip);
    snprintf(out, cap, "%s:%u", ip, address_port(a));
  }
}

/** Resolves one "ADDR:PORT"; "localhost" is both families. Appends to out. */
static wg_code resolve(const char *text, address *out, size_t *count, wg_error *err) {
  char host[256];
  uint16_t port;
  wg_code c = wg_listen_parse(text, host, &port, err);
  if (c != WG_OK) return c;
  if (*count + 2 > MAX_ADDRESSES)
    return wg_error_set(err, WG_INVALID, 0, "more than %d listen addresses", MAX_ADDRESSES);
  if (strcmp(host, "localhost") == 0) {
    address *v4 = &out[(*count)++], *v6 = &out[(*count)++];
    *v4 = (address){.len = sizeof(struct sockaddr_in)};
    *v6 = (address){.len = sizeof(struct sockaddr_in6), .optional = true};
    *(struct sockaddr_in *)&v4->sa = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *(struct sockaddr_in6 *)&v6->sa = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
    return WG_OK;
  }
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
  int rc = getaddrinfo(host, NULL, &hints, &found);
  if (rc != 0)
    return wg_error_set(err, WG_INVALID, rc, "cannot listen on '%s': %s", text, gai_strerror(rc));
  address *a = &out[(*count)++];
  *a = (address){.len = found->ai_addrlen};
  memcpy(&a->sa, found->ai_addr, found->ai_addrlen);
  address_set_port(a, port);
  freeaddrinfo(found);
  return WG_OK;
}

/** A bound socket. */
static wg_code open_socket(const address *a, bool share, int *out, wg_error *err) {
  int on = 1;
  int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0) {
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->sa.ss_family == AF_INET6)
      (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (share) (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&a->sa, a->len) == 0) {
      *out = fd;
      return WG_OK;
    }
  }
  int sys = errno;
  if (fd >= 0) close(fd);
  char text[80];
  address_text(a, text, sizeof text);
  wg_error_set(err, WG_IO, sys, "cannot listen on %s: %s", text,
               sys == EADDRINUSE ? "the port is in use" : wg_os_error(sys));
  if (sys == EADDRINUSE)
    wg_error_hint(err, "stop the other process, or pass --listen with another port");
  else if (sys == EACCES)
    wg_error_hint(err, "ports below 1024 need a privilege; pass --listen with a higher one");
  return WG_IO;
}

/** Binds without SO_REUSEPORT first: a port shared with a stranger would take half of its
 *  connections in silence. Chooses the port when it is 0. */
static wg_code claim(address *a, wg_error *err) {
  int fd;
  wg_code c = open_socket(a, false, &fd, err);
  if (c != WG_OK) return c;
  if (address_port(a) == 0) {
    a->len = sizeof a->sa;
    (void)getsockname(fd, (struct sockaddr *)&a->sa, &a->len);
  }
  close(fd);
  return WG_OK;
}

void wg__listen_free_urls(char **urls) {
  if (!urls) return;
  for (char **u = urls; *u; u++) free(*u);
  free(urls);
}

wg_code wg__listen_open(char *const *listen_on, unsigned workers, int **out, size_t *per_worker,
                        char ***urls, wg_error *err) {
  static char *const by_default[] = {"localhost:8080", NULL};
  address a[MAX_ADDRESSES];
  size_t n = 0, kept = 0, opened = 0;
  wg_code c = WG_OK;
  int *fds = NULL;
  char **names = NULL;
  if (!listen_on || !listen_on[0]) listen_on = by_default;
  for (size_t i = 0; listen_on[i]; i++)
    if ((c = resolve(listen_on[i], a, &n, err)) != WG_OK) return c;
  for (size_t i = 0; i < n; i++) {
    /* The second family of a chosen port takes the port of the first. */
    if (a[i].optional && kept > 0 && address_port(&a[i]) == 0)
      address_set_port(&a[i], address_port(&a[kept - 1]));
    c = claim(&a[i], err);
    if (c == WG_OK)
      a[kept++] = a[i];
    else if (!a[i].optional || err == NULL || err->sys == EADDRINUSE)
      return c;
  }
  fds = calloc(kept * workers, sizeof *fds);
  names = calloc(kept + 1, sizeof *names);
  if (!fds || !names) {
    c = wg_error_set(err, WG_NOMEM, 0, "out of memory");
    goto fail;
  }
  for (unsigned w = 0; w < workers; w++) {
    for (size_t i = 0; i < kept; i++) {
      int fd;
      if ((c = open_socket(&a[i], workers > 1, &fd, err)) != WG_OK) goto fail;
      fds[opened++] = fd;
      if (listen(fd, BACKLOG) != 0) {
        c = wg_error_set(err, WG_IO, errno, "cannot listen: %s", wg_os_error(errno));
        goto fail;
      }
    }
  }
  for (size_t i = 0; i < kept; i++) {
    char text[80];
    address_text(&a[i], text, sizeof text);
    if (asprintf(&names[i], "http://%s", text) < 0) {
      names[i] = NULL;
      c = wg_error_set(err, WG_NOMEM, 0, "out of memory");
      goto fail;
    }
  }
  *out = fds;
  *per_worker = kept;
  *urls = names;
  return WG_OK;
fail:
  for (size_t i = 0; i < opened; i++) close(fds[i]);
  free(fds);
  wg__listen_free_urls(names);
  return c;
}
