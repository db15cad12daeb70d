/* SPDX-License-Identifier: Apache-2.0 */
#include "db/real_postgres.h"
#include "db/real_server.h"
#include <glob.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char bin[256], dir[64];
static uint16_t port;

#define CHECK(x) REAL_CHECK(dir, x)

/* PostgreSQL refuses to run as root. */
static int as_owner(const char *fmt, ...) {
  char command[1024], whole[2048];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(command, sizeof command, fmt, ap);
  va_end(ap);
  const char *who = geteuid() == 0 ? "runuser -u postgres -- " : "";
  snprintf(whole, sizeof whole, "cd %s && %s%s >> %s/log 2>&1", dir, who, command, dir);
  return system(whole);
}

static void put(const char *name, const char *text, mode_t mode) {
  char path[300];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  CHECK(f);
  fputs(text, f);
  fclose(f);
  chmod(path, mode);
}

/** Certificates as the server takes them: its own, and the key nobody else's. */
static void copy_tls(const char *folder, const struct passwd *owner) {
  char command[1024], key[300];
  snprintf(command, sizeof command, "cp %s/server.* %s/ca.crt %s && chmod 600 %s/server.key",
           folder, folder, dir, dir);
  CHECK(system(command) == 0);
  snprintf(key, sizeof key, "%s/server.key", dir);
  if (owner) CHECK(chown(key, owner->pw_uid, owner->pw_gid) == 0);
}

bool real_postgres_start(const real_postgres_spec *spec) {
  glob_t g;
  const char *given = getenv("WARPGRID_PG_BINDIR");
  if (given) {
    snprintf(bin, sizeof bin, "%s", given);
  } else if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &g) == 0) {
    snprintf(bin, sizeof bin, "%s", g.gl_pathv[g.gl_pathc - 1]);
    globfree(&g);
  }
  if (!bin[0]) {
    printf("PostgreSQL's server programs are not installed: skipped\n");
    return false;
  }
  snprintf(dir, sizeof dir, "/tmp/wg_pg_realXXXXXX");
  CHECK(mkdtemp(dir));
  struct passwd *owner = geteuid() == 0 ? getpwnam("postgres") : NULL;
  if (owner) CHECK(chown(dir, owner->pw_uid, owner->pw_gid) == 0);
  put("log", "", 0666);
  put("role.sql",
      "CREATE ROLE app LOGIN PASSWORD 'secret';\n"
      "SET password_encryption = 'md5';\nCREATE ROLE app_md5 LOGIN PASSWORD 'secret';\n"
      "CREATE DATABASE shop;\n",
      0644);
  put("seed.sql", spec->seed, 0644);
  char tls[512] = "";
  if (spec->tls) {
    copy_tls(spec->tls, owner);
    snprintf(tls, sizeof tls,
             " -c ssl=on -c ssl_cert_file=%s/server.crt -c ssl_key_file=%s/server.key "
             "-c ssl_ca_file=%s/ca.crt",
             dir, dir, dir);
  }
  put("hba.conf",
      spec->hba ? spec->hba
                : "local all all trust\nhost all postgres 127.0.0.1/32 trust\n"
                  "host all app_md5 127.0.0.1/32 md5\nhost all all 127.0.0.1/32 scram-sha-256\n",
      0644);
  CHECK(as_owner("%s/initdb -N -D %s/data -A trust -U postgres --no-locale -E UTF8", bin, dir) ==
        0);
  for (int tries = 0;; tries++) { /* somebody else may take the port meanwhile */
    port = real_free_port();
    if (as_owner(
            "%s/pg_ctl -w -D %s/data -l %s/data/log -o '-F -p %u -k %s -c "
            "listen_addresses=127.0.0.1 -c max_connections=20 -c hba_file=%s/hba.conf%s' start",
            bin, dir, dir, port, dir, dir, tls) == 0)
      break;
    CHECK(tries < 5);
  }
  CHECK(as_owner("%s/psql -v ON_ERROR_STOP=1 -h %s -p %u -U postgres -f role.sql", bin, dir,
                 port) == 0);
  CHECK(as_owner("%s/psql -v ON_ERROR_STOP=1 -h %s -p %u -U postgres -d shop -f seed.sql", bin, dir,
                 port) == 0);
  return true;
}

void real_postgres_stop(void) {
  char command[300];
  if (!dir[0]) return;
  as_owner("%s/pg_ctl -D %s/data -m immediate stop", bin, dir);
  snprintf(command, sizeof command, "rm -rf %s", dir);
  CHECK(system(command) == 0);
}

bool real_postgres_sql(const char *sql) {
  put("more.sql", sql, 0644);
  return as_owner("%s/psql -v ON_ERROR_STOP=1 -h %s -p %u -U postgres -d shop -f more.sql", bin,
                  dir, port) == 0;
}

void real_postgres_restart(void) {
  CHECK(as_owner("%s/pg_ctl -w -m fast -D %s/data -l %s/data/log restart", bin, dir, dir) == 0);
}

uint16_t real_postgres_port(void) { return port; }
const char *real_postgres_dir(void) { return dir; }
