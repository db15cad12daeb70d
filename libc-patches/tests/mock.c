/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of -lwarpgrid_shim with answers of their own, so that each can be had at will. */
#if __has_include(<warpgrid/libc/dns.h>)
#include <warpgrid/libc/dns.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int mock_resolves; /* how often it was asked */

int __warpgrid_dns_resolve(const char *name, struct __warpgrid_address **out) {
  mock_resolves++;
  if (strcmp(name, "later.mock") == 0) return EAI_AGAIN;
  if (strcmp(name, "no-memory.mock") == 0) return EAI_MEMORY;
  int n = strcmp(name, "one.mock") == 0 ? 1 : strcmp(name, "many.mock") == 0 ? 60 : 0;
  if (strcmp(name, "both.mock") == 0) n = 3;
  if (!n) return 0;
  struct __warpgrid_address *list = calloc((size_t)n, sizeof *list);
  if (!list) return EAI_MEMORY;
  for (int i = 0; i < n; i++) {
    list[i].family = AF_INET;
    memcpy(list[i].bytes, "\xc0\0\2", 3);
    list[i].bytes[3] = (unsigned char)(i + 1);
  }
  if (n == 3) { /* an IPv6 address in the middle: the order is the shim's */
    list[1].family = AF_INET6;
    inet_pton(AF_INET6, "2001:db8::1", list[1].bytes);
  }
  *out = list;
  return n;
}

size_t __warpgrid_dns_reverse(const struct __warpgrid_address *address, char *name, size_t size) {
  if (address->family != AF_INET || memcmp(address->bytes, "\xc0\0\2\1", 4) != 0) return 0;
  if (size > strlen("one.mock")) strcpy(name, "one.mock");
  return strlen("one.mock");
}
#endif
