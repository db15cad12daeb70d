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

#if __has_include(<warpgrid/libc/fs.h>)
#include <warpgrid/libc/fs.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char hosts[] = "127.0.0.1 localhost\n192.0.2.30 listed.warp.local\n";

/** Without ".", ".." and "//", as the host does it. */
static void tidy(const char *path, char out[256]) {
  char *end = out;
  while (*path) {
    size_t n = strcspn(path, "/");
    if (n == 2 && memcmp(path, "..", 2) == 0) {
      while (end > out && *--end != '/') continue;
    } else if (n && !(n == 1 && *path == '.') && (size_t)(end - out) + n + 2 < 256) {
      *end++ = '/';
      memcpy(end, path, n);
      end += n;
    }
    path += n + (path[n] == '/');
  }
  *end = '\0';
}

int __warpgrid_fs_stat(const char *path, enum __warpgrid_fs_type *type, uint64_t *size) {
  char name[256];
  tidy(path, name);
  *size = 0;
  *type = __WARPGRID_FS_FILE;
  if (strcmp(name, "/etc/hosts") == 0) {
    *size = sizeof hosts - 1;
    return 1;
  }
  if (strcmp(name, "/etc/broken") == 0) return -EIO;
  *type = __WARPGRID_FS_DIRECTORY;
  if (strcmp(name, "/etc") == 0 || strcmp(name, "/dev") == 0) return 1;
  *type = __WARPGRID_FS_DEVICE;
  return strcmp(name, "/dev/urandom") == 0 || strcmp(name, "/dev/null") == 0;
}

int __warpgrid_fs_read(const char *path, unsigned char **out, size_t *size) {
  char name[256];
  tidy(path, name);
  size_t len = strcmp(name, "/etc/hosts") == 0 ? sizeof hosts - 1 : 0;
  if (strcmp(name, "/dev/urandom") == 0) len = 4096;
  *out = len ? malloc(len) : NULL;
  *size = len;
  if (len && !*out) return -ENOMEM;
  if (len == 4096)
    for (size_t i = 0; i < len; i += 256) getentropy(*out + i, 256);
  else if (len)
    memcpy(*out, hosts, len);
  return 1;
}
#endif
