/* SPDX-License-Identifier: Apache-2.0 */
/* warp.toml from anybody: it is accepted, or refused with a place and a reason. */
#include "base/base.h"
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

static void on_warning(void *user, const char *text) {
  (void)user;
  WG_ASSERT(strncmp(text, "fuzz:", 5) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  /* Keep the reader away from files and variables of the machine: what an input finds must not
   * depend on where it runs. */
  if (memmem(data, size, "password_file", 13)) return 0;
  static bool cleared;
  if (!cleared) {
    clearenv();
    setenv("SET", "value", 1);
    cleared = true;
  }
  wg_config *c = NULL;
  wg_error err;
  memset(&err, 0, sizeof err);
  wg_code code = wg_config_parse("fuzz", (const char *)data, size, on_warning, NULL, &c, &err);
  if (code == WG_OK) {
    /* What was accepted keeps the promises that the rest of the host relies on. */
    WG_ASSERT(c->name && c->name[0] && !strchr(c->name, '/') && c->component && c->dir);
    WG_ASSERT((c->shims & ~(uint32_t)WG_SHIM_ALL) == 0);
    WG_ASSERT(c->memory_bytes >= 65536 && c->instances >= 1 && c->max_concurrent >= 1);
    WG_ASSERT(c->pool.pool_size >= 1 && c->pool.pool_size <= 10000);
    for (size_t i = 0; i < c->database_count; i++) {
      const wg_database_config *d = &c->databases[i];
      WG_ASSERT(d->name && d->host && d->host[0] && d->port && d->pool.pool_size >= 1);
      WG_ASSERT(d->user || d->protocol == WG_DB_REDIS);
    }
    for (size_t i = 0; i < c->registry_count; i++) WG_ASSERT(c->registry[i].address_count > 0);
    wg_config_free(c);
  } else {
    WG_ASSERT(code == WG_CONFIG && !c && err.msg[0]);
    /* "fuzz:LINE:COLUMN: why", for grammar and meaning alike. */
    char *end;
    WG_ASSERT(strncmp(err.msg, "fuzz:", 5) == 0);
    WG_ASSERT(strtoul(err.msg + 5, &end, 10) >= 1 && *end == ':');
    WG_ASSERT(strtoul(end + 1, &end, 10) >= 1 && *end == ':');
  }
  return 0;
}
