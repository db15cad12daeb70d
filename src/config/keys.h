/* SPDX-License-Identifier: Apache-2.0 */
/** @file keys.h  The one table of warp.toml's keys. It feeds the reader, the range checks, the
 *  suggestions for slips and docs/config.md. Internal to config. */
#pragma once
#include "config/config.h"

/** Where a key stands, and what its offset counts from. */
typedef enum cfg_section {
  CFG_ROOT,       /**< before the first table; wg_config */
  CFG_BUILD,      /**< [build]; wg_config */
  CFG_HTTP,       /**< [http]; wg_config */
  CFG_ADMIN,      /**< [admin]; wg_config */
  CFG_LIMITS,     /**< [limits]; wg_config */
  CFG_FILES,      /**< [files]; wg_config */
  CFG_SHIMS,      /**< [shims]; wg_config */
  CFG_FILESYSTEM, /**< [shims.filesystem]; wg_config */
  CFG_DNS,        /**< [shims.dns]; wg_config */
  CFG_SIGNALS,    /**< [shims.signals]; wg_config */
  CFG_POOL,       /**< [shims.database_proxy] and [databases.NAME]; wg_pool_config */
  CFG_THREADING,  /**< [shims.threading]; wg_config */
  CFG_DATABASE,   /**< [databases.NAME]; wg_database_config */
  CFG_SERVICE,    /**< [services.NAME]; wg_service_config */
  CFG_REGISTRY,   /**< [registry], which also holds names; wg_config */
  CFG_NET         /**< [net]; wg_config */
} cfg_section;

typedef enum cfg_type {
  CFG_STRING,      /**< char *; NULL when not set */
  CFG_STRINGS,     /**< char **, NULL-terminated: one string or a list of them */
  CFG_SHIM,        /**< true, false or the shim's own table; a bit of wg_config.shims */
  CFG_FLAG,        /**< bool */
  CFG_COUNT,       /**< uint32_t */
  CFG_PORT,        /**< uint16_t */
  CFG_SIZE,        /**< uint64_t bytes: "128MiB", or KEY_bytes = 134217728 */
  CFG_SIZE32,      /**< the same in uint32_t */
  CFG_DURATION,    /**< uint32_t milliseconds: "30s", or KEY_seconds = 30, or KEY_ms = 30000 */
  CFG_DURATION_S,  /**< the same, kept in whole seconds */
  CFG_CHOICE,      /**< int: the position in `choices` */
  CFG_SECRET,      /**< wg_secret: the text itself */
  CFG_SECRET_ENV,  /**< wg_secret: the name of an environment variable that holds it */
  CFG_SECRET_FILE, /**< wg_secret: a file that holds it, one newline at the end is dropped */
  CFG_PATH,        /**< char *, made relative to the file's folder */
  CFG_LISTEN,      /**< char **, each checked as ADDR:PORT */
  CFG_SERVERS,     /**< char **, each checked as an IP address with or without a port */
  CFG_URL,         /**< char *, checked as http:// */
  CFG_PREOPENS,    /**< wg_preopen list: "HOST::GUEST" or "HOST::GUEST:rw" */
  CFG_ALLOW,       /**< wg_allow_rule list: "HOST:PORT" */
  CFG_ADDRESSES,   /**< char **, each an IPv4 or IPv6 address */
  CFG_VIRTUAL      /**< wg_virtual_path list: a table of GUEST = "HOST" or a table of its own */
} cfg_type;

typedef struct cfg_key {
  cfg_section section;
  const char *name;
  cfg_type type;
  size_t offset;
  uint64_t min, max;    /**< of numbers, in the unit of the field */
  const char *standard; /**< default, as one would write it; NULL: not set */
  const char *choices;  /**< of CFG_CHOICE: "a|b|c" in the order of the enum */
  bool live;            /**< a reload takes it up; false: only a restart does */
  const char *help;     /**< one sentence for docs, without its full stop */
} cfg_key;

extern const cfg_key cfg_keys[];
extern const size_t cfg_key_count;

/** "[shims.dns]", "" for the root. */
const char *cfg_section_name(cfg_section s);
/** The key of that name; NULL: none. `KEY_seconds`, `KEY_ms` and `KEY_bytes` find their KEY, and
 *  *unit is then what their integer counts (in ms or bytes); else 0. */
const cfg_key *cfg_find_key(cfg_section s, const char *name, uint64_t *unit);
/** The key of the section (or of `also`) nearest to a name; NULL when none is near. */
const char *cfg_nearest_key(cfg_section s, cfg_section also, const char *name);
