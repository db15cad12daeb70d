/* SPDX-License-Identifier: Apache-2.0 */
/* TLS in front of a PostgreSQL, with sessions that may be resumed (the real server has none), as a proxy
 * of a managed database has them.
 *
 *   tls_front CERT KEY PORT tickets|none
 *
 * CERT and KEY are PEM files, PORT is PostgreSQL's on 127.0.0.1. Prints `port=N`, then serves until it
 * is ended, a thread a connection. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *ctx;
static struct sockaddr_in server;

_Noreturn static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int tcp(void) {
  int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

/* Both directions, until one of them ends. */
static void pump(SSL *ssl, int client, int behind) {
  char b[65536];
  for (;;) {
    struct pollfd p[2] = {{.fd = client, .events = POLLIN}, {.fd = behind, .events = POLLIN}};
    if (!SSL_pending(ssl) && poll(p, 2, -1) < 0) return;
    if (SSL_pending(ssl) || p[0].revents) {
      int n = SSL_read(ssl, b, sizeof b);
      if (n <= 0 || send(behind, b, (size_t)n, MSG_NOSIGNAL) != n) return;
    }
    if (p[1].revents) {
      ssize_t n = recv(behind, b, sizeof b, 0);
      if (n <= 0 || SSL_write(ssl, b, (int)n) != n) return;
    }
  }
}

static void *serve(void *arg) {
  int client = (int)(long)arg, behind = tcp();
  char request[8];
  SSL *ssl = SSL_new(ctx);
  if (recv(client, request, sizeof request, MSG_WAITALL) == 8 && send(client, "S", 1, 0) == 1 &&
      SSL_set_fd(ssl, client) && SSL_accept(ssl) == 1 &&
      connect(behind, (struct sockaddr *)&server, sizeof server) == 0) {
    pump(ssl, client, behind);
    SSL_shutdown(ssl);
  }
  SSL_free(ssl);
  close(behind);
  close(client);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fputs("usage: tls_front CERT KEY PORT tickets|none\n", stderr);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  server = (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(argv[3])),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  ctx = SSL_CTX_new(TLS_server_method());
  if (!ctx || SSL_CTX_use_certificate_file(ctx, argv[1], SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_use_PrivateKey_file(ctx, argv[2], SSL_FILETYPE_PEM) != 1)
    fail("certificate and key");
  SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"front", 5);
  SSL_CTX_set_num_tickets(ctx, strcmp(argv[4], "tickets") == 0);
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof here;
  int listener = tcp();
  if (bind(listener, (struct sockaddr *)&here, len) != 0 || listen(listener, 128) != 0 ||
      getsockname(listener, (struct sockaddr *)&here, &len) != 0)
    fail("listen");
  printf("port=%d\n", ntohs(here.sin_port));
  fflush(stdout);
  for (;;) {
    int fd = accept(listener, NULL, NULL), on = 1;
    pthread_t thread;
    if (fd < 0) continue;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (pthread_create(&thread, NULL, serve, (void *)(long)fd) == 0)
      pthread_detach(thread);
    else
      close(fd);
  }
}
