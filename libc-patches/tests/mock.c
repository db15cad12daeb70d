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

/** The files of the mock. */
static const struct {
  const char *name, *text;
} files[] = {{"/etc/hosts", "127.0.0.1 localhost\n192.0.2.30 listed.warp.local\n"},
             {"/etc/warpgrid/proxy.conf",
              "# NAME PROTOCOL HOST PORT DATABASE ADDRESS...\n"
              "main postgres db.example 5432 app 240.77.0.1 100::1\n"
              "first postgres shared.example 5433 one 240.77.0.2\n"
              "second postgres shared.example 5433 two 240.77.0.2 240.77.0.3\n"
              "near redis localhost 6380 *\n"
              "literal mysql 192.0.2.77 3306 app\n"
              "refused postgres refused.example 1 app 240.77.0.9\n"
              "refused postgres refused.example 2 app 240.77.0.9\n"
              "refused postgres refused.example 3 app 240.77.0.9\n"
              "refused postgres refused.example 4 app 240.77.0.9\n"
              "short postgres 240.77.0.1\n\n"
              "cache redis cache.example 6379 * 240.77.0.4 100::77"}};

static const char *file_text(const char *name) {
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (strcmp(name, files[i].name) == 0) return files[i].text;
  return NULL;
}

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
  if (file_text(name)) {
    *size = strlen(file_text(name));
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
  const char *text = file_text(name);
  size_t len = text ? strlen(text) : 0;
  if (strcmp(name, "/dev/urandom") == 0) len = 4096;
  *out = len ? malloc(len) : NULL;
  *size = len;
  if (len && !*out) return -ENOMEM;
  if (len == 4096)
    for (size_t i = 0; i < len; i += 256) getentropy(*out + i, 256);
  else if (len)
    memcpy(*out, text, len);
  return 1;
}
#endif

#if __has_include(<warpgrid/libc/socket.h>)
#include <warpgrid/libc/socket.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <wasi/wasip2.h>

uint16_t mock_peer_port;
char mock_opened[256];
int mock_opens, mock_closes, mock_shut;

/** A connection is a socket of WASI's that has no descriptor. */
static struct {
  tcp_own_tcp_socket_t socket;
  tcp_tuple2_own_input_stream_own_output_stream_t streams;
} connections[16];
enum { CONNECTIONS = sizeof connections / sizeof *connections, WITHOUT_STREAMS = 99 };

static void give_up(const char *what, int code) {
  fprintf(stderr, "mock: %s: error %d of wasi:sockets\n", what, code);
  abort();
}

int __warpgrid_proxy_open(const char *host, uint16_t port, uint64_t *connection) {
  tcp_error_code_t err;
  tcp_ip_socket_address_t to = {.tag = NETWORK_IP_SOCKET_ADDRESS_IPV4};
  unsigned i = 0;
  mock_opens++;
  snprintf(mock_opened, sizeof mock_opened, "%.200s %u", host, (unsigned)port);
  *connection = WITHOUT_STREAMS;
  if (strcmp(host, "refused") == 0) return port == 1 ? -EMFILE : port == 2 ? -ETIMEDOUT : port == 3;
  while (i < CONNECTIONS && connections[i].socket.__handle) i++;
  if (i == CONNECTIONS) give_up("open", 0);
  if (!tcp_create_socket_create_tcp_socket(NETWORK_IP_ADDRESS_FAMILY_IPV4, &connections[i].socket,
                                           &err))
    give_up("create", err);
  to.val.ipv4 = (network_ipv4_socket_address_t){.port = mock_peer_port, .address = {127, 0, 0, 1}};
  tcp_borrow_tcp_socket_t socket = tcp_borrow_tcp_socket(connections[i].socket);
  instance_network_own_network_t network = instance_network_instance_network();
  if (!tcp_method_tcp_socket_start_connect(socket, network_borrow_network(network), &to, &err))
    give_up("connect", err);
  network_network_drop_own(network);
  tcp_own_pollable_t done = tcp_method_tcp_socket_subscribe(socket);
  poll_method_pollable_block(poll_borrow_pollable(done));
  poll_pollable_drop_own(done);
  if (!tcp_method_tcp_socket_finish_connect(socket, &connections[i].streams, &err))
    give_up("connect", err);
  *connection = i + 1;
  return 1;
}

int __warpgrid_proxy_streams(uint64_t connection, int32_t *input, int32_t *output) {
  if (connection == WITHOUT_STREAMS) return -ECONNREFUSED;
  *input = connections[connection - 1].streams.f0.__handle;
  *output = connections[connection - 1].streams.f1.__handle;
  return 0;
}

int __warpgrid_proxy_shutdown(uint64_t connection, int how) {
  (void)connection;
  mock_shut = how;
  return 0;
}

void __warpgrid_proxy_close(uint64_t connection) {
  mock_closes++;
  if (connection == WITHOUT_STREAMS) return;
  tcp_tcp_socket_drop_own(connections[connection - 1].socket);
  connections[connection - 1].socket.__handle = 0;
}
#endif
