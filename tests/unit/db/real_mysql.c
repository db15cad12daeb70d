/* SPDX-License-Identifier: Apache-2.0 */
#include "db/real_mysql.h"
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

static char dir[64], program[300], installer[300], tls_args[3][200];
static uint16_t port;
static pid_t pid;

#define CHECK(x)                                                               \
  do {                                                                         \
    if (!(x)) {                                                                \
      fprintf(stderr, "real_mysql.c:%d: %s; see %s/log\n", __LINE__, #x, dir); \
      abort();                                                                 \
    }                                                                          \
  } while (0)

static const char users[] =
    "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;\n"
    "CREATE DATABASE till;\n"
    "CREATE USER 'app'@'%' IDENTIFIED BY 'secret';\n"
    "CREATE USER 'other'@'%' IDENTIFIED BY 'secret';\n"
    "CREATE USER 'nobody'@'%';\n"
    "GRANT ALL ON *.* TO 'app'@'%';\n"
    "GRANT ALL ON shop.* TO 'other'@'%';\n"
    "GRANT ALL ON shop.* TO 'nobody'@'%';\n";

static bool find(char *out, size_t cap, const char *const *names) {
  const char *given = getenv("WARPGRID_MYSQL_BINDIR");
  const char *folders[] = {given ? given : "/usr/sbin", "/usr/bin", "/usr/local/bin"};
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
    for (const char *const *n = names; *n; n++) {
      snprintf(out, cap, "%s/%s", folders[i], *n);
      if (access(out, X_OK) == 0) return true;
    }
  return false;
}

static void put(const char *name, const char *text, const char *more) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *file = fopen(path, "w");
  CHECK(file);
  fputs(text, file);
  if (more) fputs(more, file);
  fclose(file);
}

static struct sockaddr_in loopback(uint16_t at) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(at), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static uint16_t free_port(void) {
  struct sockaddr_in in = loopback(0);
  socklen_t len = sizeof in;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(bind(fd, (struct sockaddr *)&in, len) == 0);
  getsockname(fd, (struct sockaddr *)&in, &len);
  close(fd);
  return ntohs(in.sin_port);
}

/** True when the server says its handshake. */
static bool answers(void) {
  struct sockaddr_in in = loopback(port);
  char first[5];
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  bool up = connect(fd, (struct sockaddr *)&in, sizeof in) == 0 && read(fd, first, 5) == 5 &&
            first[4] == 10;
  close(fd);
  return up;
}

static bool launch(bool seed) {
  char data[128], sock[128], at[32], init[128], tmp[128];
  snprintf(data, sizeof data, "--datadir=%s/data", dir);
  snprintf(sock, sizeof sock, "--socket=%s/mysqld.sock", dir);
  snprintf(at, sizeof at, "--port=%u", port);
  /* A server clears its temporary folder when it starts, of other servers' tables as well. */
  snprintf(tmp, sizeof tmp, "--tmpdir=%s", dir);
  snprintf(init, sizeof init, "--init-file=%s/seed.sql", dir);
  fflush(NULL);
  pid = fork();
  if (pid == 0) {
    char log[128];
    snprintf(log, sizeof log, "%s/log", dir);
    if (!freopen(log, "a", stdout) || dup2(fileno(stdout), 2) < 0) _exit(1);
    for (int fd = 3; fd < 256; fd++) close(fd);
    const char *args[24] = {program,
                            "--no-defaults",
                            data,
                            sock,
                            tmp,
                            at,
                            "--bind-address=127.0.0.1",
                            "--innodb-flush-log-at-trx-commit=0",
                            "--innodb-buffer-pool-size=16M",
                            "--max-connections=40",
                            "--max-allowed-packet=64M",
                            "--plugin-load-add=auth_ed25519"};
    size_t n = 12;
    if (seed) args[n++] = init;
    if (geteuid() == 0) args[n++] = "--user=root";
    for (size_t i = 0; i < 3; i++)
      if (tls_args[i][0]) args[n++] = tls_args[i];
    execv(program, (char *const *)args);
    _exit(1);
  }
  CHECK(pid > 0);
  for (int i = 0; i < 600; i++) {
    if (waitpid(pid, NULL, WNOHANG) == pid) return false; /* somebody else has the port */
    if (answers()) return true;
    usleep(50000);
  }
  fprintf(stderr, "real_mysql.c: no answer within 30 s; see %s/log\n", dir);
  abort();
}

bool real_mysql_start(const real_mysql_spec *spec) {
  const char *const servers[] = {"mariadbd", "mysqld", NULL};
  const char *const installers[] = {"mariadb-install-db", "mysql_install_db", NULL};
  if (!find(program, sizeof program, servers) || !find(installer, sizeof installer, installers)) {
    printf("No server program of MariaDB or MySQL is installed: skipped\n");
    return false;
  }
  snprintf(dir, sizeof dir, "/tmp/wg_mysql_realXXXXXX");
  CHECK(mkdtemp(dir));
  put("seed.sql", users, spec ? spec->seed : NULL);
  memset(tls_args, 0, sizeof tls_args);
  if (spec && spec->tls) {
    snprintf(tls_args[0], sizeof tls_args[0], "--ssl-cert=%s/server.crt", spec->tls);
    snprintf(tls_args[1], sizeof tls_args[1], "--ssl-key=%s/server.key", spec->tls);
    snprintf(tls_args[2], sizeof tls_args[2], "--ssl-ca=%s/ca.crt", spec->tls);
  }
  char command[800];
  snprintf(command, sizeof command,
           "%s --no-defaults --auth-root-authentication-method=normal --skip-test-db "
           "--datadir=%s/data --tmpdir=%s %s >>%s/log 2>&1",
           installer, dir, dir, geteuid() == 0 ? "--user=root" : "", dir);
  CHECK(system(command) == 0);
  for (int tries = 0;; tries++) {
    port = free_port();
    if (launch(true)) return true;
    CHECK(tries < 5);
  }
}

static void end(int sig) {
  if (pid <= 0) return;
  kill(pid, sig);
  waitpid(pid, NULL, 0);
  pid = 0;
}

void real_mysql_stop(void) {
  char command[128];
  if (!dir[0]) return;
  end(SIGKILL);
  snprintf(command, sizeof command, "rm -rf %s", dir);
  CHECK(system(command) == 0);
}

void real_mysql_restart(void) {
  end(SIGTERM);
  CHECK(launch(false));
}

void real_mysql_freeze(bool frozen) {
  int status;
  CHECK(kill(pid, frozen ? SIGSTOP : SIGCONT) == 0);
  if (frozen) CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status)); /* all of it */
}

uint16_t real_mysql_port(void) { return port; }
const char *real_mysql_dir(void) { return dir; }
