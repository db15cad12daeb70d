/* SPDX-License-Identifier: Apache-2.0 */
#include "db/real_mysql.h"
#include "db/real_server.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], program[300], installer[300], tls_args[3][200];
static uint16_t port;
static pid_t pid;

#define CHECK(x) REAL_CHECK(dir, x)

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

/** True when the server says its handshake. */
static bool answers(void) {
  char first[5];
  return real_reach(port, first, 5) && first[4] == 10;
}

static bool launch(bool seed) {
  char data[128], sock[128], at[32], init[128], tmp[128];
  snprintf(data, sizeof data, "--datadir=%s/data", dir);
  snprintf(sock, sizeof sock, "--socket=%s/mysqld.sock", dir);
  snprintf(at, sizeof at, "--port=%u", port);
  /* A server clears its temporary folder when it starts, of other servers' tables as well. */
  snprintf(tmp, sizeof tmp, "--tmpdir=%s", dir);
  snprintf(init, sizeof init, "--init-file=%s/seed.sql", dir);
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
  pid = real_launch(dir, args, answers);
  return pid != 0;
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
    port = real_free_port();
    if (launch(true)) return true;
    CHECK(tries < 5);
  }
}

void real_mysql_stop(void) {
  real_end(&pid, SIGKILL);
  real_remove(dir);
}

void real_mysql_restart(void) {
  real_end(&pid, SIGTERM);
  CHECK(launch(false));
}

void real_mysql_freeze(bool frozen) { real_freeze(pid, frozen); }

uint16_t real_mysql_port(void) { return port; }
const char *real_mysql_dir(void) { return dir; }
