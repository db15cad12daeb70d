/* SPDX-License-Identifier: Apache-2.0 */
#include "http/router.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct route {
  const char *host; /* without "*"; NULL: any */
  size_t host_len;
  bool below; /* host is ".example.com": names that end so */
  const char *path;
  size_t path_len; /* 0: all */
  void *target;
} route;

struct wg_router {
  size_t count;
  route routes[]; /* in the order of precedence: the first that fits wins */
};

static int rank(const route *r) { return !r->host ? 2 : r->below; }

static int precedence(const void *pa, const void *pb) {
  const route *a = pa, *b = pb;
  if (rank(a) != rank(b)) return rank(a) - rank(b);
  if (a->below && a->host_len != b->host_len) return a->host_len > b->host_len ? -1 : 1;
  if (a->path_len != b->path_len) return a->path_len > b->path_len ? -1 : 1;
  return 0;
}

wg_code wg_router_new(const wg_route *routes, size_t count, wg_router **out, wg_error *err) {
  wg_router *r = malloc(sizeof *r + count * sizeof r->routes[0]);
  if (!r) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  r->count = count;
  for (size_t i = 0; i < count; i++) {
    const char *host = routes[i].host, *path = routes[i].path;
    bool below = host && host[0] == '*';
    size_t path_len = path ? strlen(path) : 0;
    while (path_len && path[path_len - 1] == '/') path_len--;
    host += below ? 1 : 0;
    r->routes[i] = (route){.host = host,
                           .host_len = host ? strlen(host) : 0,
                           .below = below,
                           .path = path,
                           .path_len = path_len,
                           .target = routes[i].target};
  }
  qsort(r->routes, count, sizeof r->routes[0], precedence);
  *out = r;
  return WG_OK;
}

void wg_router_free(wg_router *r) { free(r); }

/** Length of a host without its port and the dot at its end. */
static size_t bare_host(const char *host, size_t len) {
  size_t n = len;
  while (n && host[n - 1] >= '0' && host[n - 1] <= '9') n--;
  /* "::1" is no host and port: IPv6 stands in brackets (RFC 3986, section 3.2.2). */
  if (n && host[n - 1] == ':' && (host[0] == '[' || !memchr(host, ':', n - 1))) len = n - 1;
  if (len && host[len - 1] == '.') len--;
  return len;
}

static bool host_fits(const route *r, const char *host, size_t len) {
  if (!r->host) return true;
  if (r->below)
    return len > r->host_len && strncasecmp(host + len - r->host_len, r->host, r->host_len) == 0;
  return len == r->host_len && strncasecmp(host, r->host, len) == 0;
}

static bool path_fits(const route *r, const char *path, size_t len) {
  if (r->path_len == 0) return true;
  return len >= r->path_len && memcmp(path, r->path, r->path_len) == 0 &&
         (len == r->path_len || path[r->path_len] == '/');
}

void *wg_router_find(const wg_router *r, const char *host, size_t host_len, const char *path,
                     size_t path_len) {
  host_len = bare_host(host, host_len);
  for (const route *i = r->routes; i < r->routes + r->count; i++)
    if (host_fits(i, host, host_len) && path_fits(i, path, path_len)) return i->target;
  return NULL;
}

bool wg_host_is_loopback(const char *host, size_t len) {
  static const char *const names[] = {"localhost", "[::1]"};
  char text[16];
  struct in_addr v4;
  len = bare_host(host, len);
  for (size_t i = 0; i < WG_COUNT(names); i++)
    if (len == strlen(names[i]) && strncasecmp(host, names[i], len) == 0) return true;
  if (len >= sizeof text || memchr(host, 0, len)) return false;
  memcpy(text, host, len);
  text[len] = '\0';
  return inet_pton(AF_INET, text, &v4) == 1 && ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
}
