/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/name_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { READY_MS = 10000, STEP_MS = 20 };

static const char *program(void) {
  static const char *const places[] = {"/usr/sbin/nsd", "/usr/local/sbin/nsd", "/sbin/nsd"};
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
    if (access(places[i], X_OK) == 0) return places[i];
  return NULL;
}

static FILE *create(const name_server *s, const char *name) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", s->dir, name);
  FILE *f = fopen(path, "we");
  assert_non_null(f);
  return f;
}

static void write_config(const name_server *s) {
  FILE *f = create(s, "nsd.conf");
  fprintf(f,
          "server:\n  ip-address: 127.0.0.1@%u\n  do-ip6: no\n  username: \"\"\n"
          "  zonesdir: \"%s\"\n  database: \"\"\n  pidfile: \"\"\n  logfile: \"%s/log\"\n"
          "  zonelistfile: \"%s/zone.list\"\n  xfrdfile: \"\"\n  xfrdir: \"%s\"\n"
          "  server-count: 1\n  rrl-ratelimit: 0\n"
          "remote-control:\n  control-enable: no\n",
          s->port, s->dir, s->dir, s->dir, s->dir);
  static const char *const zones[] = {"example.test", "2.0.192.in-addr.arpa", "broken.test"};
  for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++)
    fprintf(f, "zone:\n  name: %s\n  zonefile: %s.zone\n", zones[i], zones[i]);
  fclose(f);
}

static void write_zones(const name_server *s) {
  /* What does not exist is known for 3 seconds. */
  static const char soa[] = "$TTL 60\n@ IN SOA ns.example.test. admin.example.test. 1 3600 600 "
                            "86400 3\n@ IN NS ns.example.test.\n";
  FILE *f = create(s, "example.test.zone");
  fprintf(f, "$ORIGIN example.test.\n%s", soa);
  fputs("ns A 127.0.0.1\n"
        "one 7 A 192.0.2.1\n"
        "long 3600 A 192.0.2.2\n"
        "dual 20 A 192.0.2.3\ndual 20 A 192.0.2.4\ndual 10 AAAA 2001:db8::3\n"
        "six 20 AAAA 2001:db8::6\n"
        "alias 5 CNAME further.example.test.\nfurther 9 CNAME dual.example.test.\n"
        "dangling CNAME nobody.example.test.\n"
        "text 8 TXT \"v=1 \\\"quoted\\\"\" \"second\"\ntext 8 TXT \"a\\010b\\\\\"\n"
        "_pg._tcp 8 SRV 10 60 5432 one.example.test.\n",
        f);
  for (unsigned i = 1; i <= 60; i++) fprintf(f, "many A 198.51.100.%u\n", i);
  fclose(f);
  f = create(s, "2.0.192.in-addr.arpa.zone");
  fprintf(f, "$ORIGIN 2.0.192.in-addr.arpa.\n%s1 15 PTR one.example.test.\n", soa);
  fclose(f);
}

static uint16_t free_port(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
  close(fd);
  return ntohs(a.sin_port);
}

static void wait_until_ready(name_server *s) {
  struct sockaddr_in a = {
      .sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  for (int ms = 0; ms < READY_MS; ms += STEP_MS) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = connect(fd, (struct sockaddr *)&a, sizeof a);
    close(fd);
    if (rc == 0) return;
    if (waitpid(s->pid, NULL, WNOHANG) == s->pid) fail_msg("nsd ended: see %s/log", s->dir);
    nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
  }
  fail_msg("nsd did not listen within %d ms: see %s/log", READY_MS, s->dir);
}

bool name_server_start(name_server *s) {
  const char *nsd = program();
  if (!nsd) {
    print_message("skipped: this machine has no nsd; scripts/bootstrap.sh test installs it\n");
    return false;
  }
  const char *tmp = getenv("TMPDIR");
  snprintf(s->dir, sizeof s->dir, "%s/wg-nsd-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
  assert_non_null(mkdtemp(s->dir));
  s->port = free_port();
  snprintf(s->address, sizeof s->address, "127.0.0.1:%u", s->port);
  write_config(s);
  write_zones(s);
  char config[128];
  snprintf(config, sizeof config, "%s/nsd.conf", s->dir);
  s->pid = fork();
  if (s->pid == 0) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, 1);
    dup2(null, 2);
    execl(nsd, "nsd", "-d", "-c", config, (char *)NULL);
    _exit(127);
  }
  assert_true(s->pid > 0);
  wait_until_ready(s);
  return true;
}

void name_server_stop(name_server *s) {
  static const char *const files[] = {
      "nsd.conf", "example.test.zone", "2.0.192.in-addr.arpa.zone", "zone.list", "log", NULL};
  kill(s->pid, SIGTERM);
  while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) continue;
  for (size_t i = 0; files[i]; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", s->dir, files[i]);
    unlink(path);
  }
  rmdir(s->dir);
}

int silent_server(char address[32]) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
  snprintf(address, 32, "127.0.0.1:%u", ntohs(a.sin_port));
  return fd;
}
