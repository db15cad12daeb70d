/* SPDX-License-Identifier: Apache-2.0 */
/* A client's Host header and path, on two lines: whatever service gets the request must be one whose
 * host and path fit, and the same whatever the case of the host and whatever its port. */
#include "http/router.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static wg_route routes[] = {
    {"api.example.com", "/v1", NULL}, {"api.example.com", "/v1/new", NULL},
    {"*.example.com", "/", NULL},     {"*.deep.example.com", "/x", NULL},
    {"[::1]", "/six", NULL},          {NULL, "/any", NULL},
};

static bool below(const wg_route *r, const char *path, size_t len) {
  size_t n = strlen(r->path);
  if (n == 1) return true;
  return len >= n && memcmp(path, r->path, n) == 0 && (len == n || path[n] == '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static wg_router *router;
  if (!router) {
    for (size_t i = 0; i < WG_COUNT(routes); i++) routes[i].target = &routes[i];
    REQUIRE(wg_router_new(routes, WG_COUNT(routes), &router, NULL) == WG_OK);
  }
  const char *host = (const char *)data;
  const char *line = size ? memchr(host, '\n', size) : NULL;
  size_t host_len = line ? (size_t)(line - host) : size;
  const char *path = line ? line + 1 : host + size;
  size_t path_len = size - (size_t)(path - host);
  const wg_route *found = wg_router_find(router, host, host_len, path, path_len);
  if (found) REQUIRE(below(found, path, path_len));
  if (found && found->host && found->host[0] != '*')
    REQUIRE(host_len >= strlen(found->host) &&
            strncasecmp(host, found->host, strlen(found->host)) == 0);

  /* The same host shouted, with a port. */
  if (host_len < 256 && !memchr(host, ':', host_len) && (!host_len || host[host_len - 1] != '.')) {
    char loud[256 + 3];
    for (size_t i = 0; i < host_len; i++)
      loud[i] = (char)(host[i] >= 'a' && host[i] <= 'z' ? host[i] - 'a' + 'A' : host[i]);
    memcpy(loud + host_len, ":80", 3);
    REQUIRE(wg_router_find(router, loud, host_len + 3, path, path_len) == found);
  }
  if (wg_host_is_loopback(host, host_len))
    REQUIRE(host_len >= 5 && (host[0] == '1' || host[0] == '[' || (host[0] | 32) == 'l'));
  return 0;
}
