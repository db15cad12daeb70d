/* SPDX-License-Identifier: Apache-2.0 */
#include "db/real_redis.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64], program[300];
static uint16_t port;
static pid_t pid;

#define CHECK(x)                                                               \
  do {                                                                         \
    if (!(x)) {                                                                \
      fprintf(stderr, "real_redis.c:%d: %s; see %s/log\n", __LINE__, #x, dir); \
      abort();                                                                 \
    }                                                                          \
  } while (0)

static bool find(void) {
  static const char *const all[] = {
      "/usr/bin/redis-server",        "/usr/local/bin/redis-server",    "/usr/bin/valkey-server",
      "/usr/local/bin/valkey-server", "/opt/homebrew/bin/redis-server", NULL};
  const char *given = getenv("WARPGRID_REDIS_SERVER");
  if (given) snprintf(program, sizeof program, "%s", given);
  if (given) return access(program, X_OK) == 0;
  for (const char *const *a = all; *a; a++) {
    snprintf(program, sizeof program, "%s", *a);
    if (access(program, X_OK) == 0) return true;
  }
  return false;
}

static uint16_t free_port(void) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof in;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(bind(fd, (struct sockaddr *)&in, len) == 0);
  getsockname(fd, (struct sockaddr *)&in, &len);
  close(fd);
  return ntohs(in.sin_port);
}

static bool listens(void) {
  struct sockaddr_in in = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  bool up = connect(fd, (struct sockaddr *)&in, sizeof in) == 0;
  close(fd);
  return up;
}

static bool launch(void) {
  char config[128], at[32];
  snprintf(config, sizeof config, "%s/redis.conf", dir);
  snprintf(at, sizeof at, "%u", port);
  fflush(NULL);
  pid = fork();
  if (pid == 0) {
    char log[128];
    snprintf(log, sizeof log, "%s/log", dir);
    if (!freopen(log, "a", stdout) || dup2(fileno(stdout), 2) < 0) _exit(1);
    for (int fd = 3; fd < 256; fd++) close(fd);
    execl(program, program, config, (char *)NULL);
    _exit(1);
  }
  CHECK(pid > 0);
  for (int i = 0; i < 400; i++) {
    if (waitpid(pid, NULL, WNOHANG) == pid) return false; /* somebody else has the port */
    if (listens()) return true;
    usleep(25000);
  }
  fprintf(stderr, "real_redis.c: no answer within 10 s; see %s/log\n", dir);
  abort();
}

static void configure(const real_redis_spec *spec) {
  char path[128];
  snprintf(path, sizeof path, "%s/redis.conf", dir);
  FILE *f = fopen(path, "w");
  CHECK(f);
  fprintf(f, "bind 127.0.0.1\ndir %s\nsave \"\"\nappendonly no\ndatabases 16\n", dir);
  fprintf(f, "unixsocket %s/redis.sock\nenable-debug-command local\n", dir);
  fprintf(f, "requirepass secret\n");
  if (spec && spec->old) fprintf(f, "rename-command RESET \"\"\nrename-command HELLO \"\"\n");
  if (spec && spec->lines) fputs(spec->lines, f);
  fprintf(f, "user app on >secret ~* &* +@all\n");
  fprintf(f, "user other on \">another one\" ~* &* +@all\n");
  if (spec && spec->tls)
    fprintf(f,
            "port 0\ntls-port %u\ntls-auth-clients no\ntls-cert-file %s/server.crt\n"
            "tls-key-file %s/server.key\ntls-ca-cert-file %s/ca.crt\n",
            port, spec->tls, spec->tls, spec->tls);
  else
    fprintf(f, "port %u\n", port);
  fclose(f);
}

bool real_redis_start(const real_redis_spec *spec) {
  if (!find()) {
    printf("No server program of Redis or Valkey is installed: skipped\n");
    return false;
  }
  snprintf(dir, sizeof dir, "/tmp/wg_redis_realXXXXXX");
  CHECK(mkdtemp(dir));
  for (int tries = 0;; tries++) {
    port = free_port();
    configure(spec);
    if (launch()) return true;
    CHECK(tries < 5);
  }
}

static void end(int sig) {
  if (pid <= 0) return;
  kill(pid, sig);
  waitpid(pid, NULL, 0);
  pid = 0;
}

void real_redis_stop(void) {
  char command[128];
  if (!dir[0]) return;
  end(SIGKILL);
  snprintf(command, sizeof command, "rm -rf %s", dir);
  CHECK(system(command) == 0);
  dir[0] = '\0';
}

void real_redis_restart(void) {
  end(SIGKILL);
  CHECK(launch());
}

void real_redis_freeze(bool frozen) {
  int status;
  CHECK(kill(pid, frozen ? SIGSTOP : SIGCONT) == 0);
  if (frozen) CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status)); /* all of it */
}

bool real_redis_running(void) { return dir[0] != '\0'; }
uint16_t real_redis_port(void) { return port; }
const char *real_redis_dir(void) { return dir; }
