/* SPDX-License-Identifier: Apache-2.0 */
#include "db/real_redis.h"
#include "db/real_server.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], program[300];
static uint16_t port;
static pid_t pid;

#define CHECK(x) REAL_CHECK(dir, x)

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

static bool listens(void) { return real_reach(port, NULL, 0); }

static bool launch(void) {
  char config[128];
  snprintf(config, sizeof config, "%s/redis.conf", dir);
  pid = real_launch(dir, (const char *[]){program, config, NULL}, listens);
  return pid != 0;
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
    port = real_free_port();
    configure(spec);
    if (launch()) return true;
    CHECK(tries < 5);
  }
}

void real_redis_stop(void) {
  real_end(&pid, SIGKILL);
  real_remove(dir);
}

void real_redis_restart(void) {
  real_end(&pid, SIGKILL);
  CHECK(launch());
}

void real_redis_freeze(bool frozen) { real_freeze(pid, frozen); }

bool real_redis_running(void) { return dir[0] != '\0'; }
uint16_t real_redis_port(void) { return port; }
const char *real_redis_dir(void) { return dir; }
