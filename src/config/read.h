/* SPDX-License-Identifier: Apache-2.0 */
/** @file read.h  From a document to wg_config, by the table of keys. Internal to config. */
#pragma once
#include "config/config.h"
#include "config/doc.h"
#include "config/keys.h"

typedef struct cfg_reader {
  const char *file; /**< for messages */
  wg_config *c;
  wg_config_warn_cb warn;
  void *user;
  wg_error *err; /**< never NULL */
} cfg_reader;

/** A section of a table and the struct that its offsets count from. */
typedef struct cfg_target {
  cfg_section section;
  void *base;
} cfg_target;

/** Fails with "file:line:column: ..."; returns WG_CONFIG. */
wg_code cfg_fail(cfg_reader *r, uint32_t line, uint32_t column, const char *fmt, ...)
    WG_PRINTF(4, 5);
#ifdef __clang_analyzer__
/* As for wg_error_set(): a failure stays one. */
#define cfg_fail(r, line, column, ...) \
  ((void)cfg_fail((r), (line), (column), __VA_ARGS__), WG_CONFIG)
#endif
/** "expected X, got Y" at the value of the node. */
wg_code cfg_fail_type(cfg_reader *r, const cfg_node *n, const char *expected);
wg_code cfg_nomem(cfg_reader *r);
/** Warns with "file:line:column: unknown <what> 'key'" and the nearest name, if any. */
void cfg_warn_unknown(cfg_reader *r, const cfg_node *n, const char *what, const char *nearest);

/** The text of a string node with its ${ENV} replaced; *out is the caller's. */
WG_MUSTCHECK wg_code cfg_text(cfg_reader *r, const cfg_node *n, char **out);
/** Puts a path in the file's folder unless it is absolute; takes `path`, which is freed. */
WG_MUSTCHECK wg_code cfg_join(cfg_reader *r, char *path, char **out);
/** Appends to a NULL-terminated list; takes `item`, which is freed on failure. */
WG_MUSTCHECK wg_code cfg_append(cfg_reader *r, char ***list, char *item);

/** Sets the defaults of a section. */
WG_MUSTCHECK wg_code cfg_defaults(cfg_reader *r, cfg_section section, void *base);
/** Reads the keys of a table into its targets. Children for which `other` returns true are left to
 *  the caller; further unknown keys are warned about.
 *  @param other  may be NULL */
WG_MUSTCHECK wg_code cfg_read_table(cfg_reader *r, const cfg_node *table, const cfg_target *targets,
                                    size_t count, bool (*other)(const cfg_node *child));

/** [shims], [databases], [services], [registry], [hosts], [env]: sections.c and services.c. */
WG_MUSTCHECK wg_code cfg_read_shims(cfg_reader *r, const cfg_node *table);
WG_MUSTCHECK wg_code cfg_read_databases(cfg_reader *r, const cfg_node *table);
WG_MUSTCHECK wg_code cfg_read_registry(cfg_reader *r, const cfg_node *table);
WG_MUSTCHECK wg_code cfg_read_hosts(cfg_reader *r, const cfg_node *table);
WG_MUSTCHECK wg_code cfg_read_env(cfg_reader *r, const cfg_node *table);
WG_MUSTCHECK wg_code cfg_read_services(cfg_reader *r, const cfg_node *table);
/** Appends a table of variables to a list of "K=V". */
WG_MUSTCHECK wg_code cfg_read_variables(cfg_reader *r, const cfg_node *table, char ***list);
/** `extra_virtual_paths`: virtual.c. */
WG_MUSTCHECK wg_code cfg_read_virtual(cfg_reader *r, const cfg_node *table);
/** Checks time zones once all is read. */
WG_MUSTCHECK wg_code cfg_check_zones(cfg_reader *r, const cfg_node *root);
void cfg_virtual_release(wg_virtual_path *v);
/** An IPv4 or IPv6 literal. */
bool cfg_is_address(const char *text);
/** Frees what a service owns. */
void cfg_service_release(wg_service_config *s);
/** To lower case, ASCII only. */
void cfg_lower(char *text);
/** Frees what a database owns. */
void cfg_database_release(wg_database_config *d);
/** Frees a NULL-terminated list. NULL is fine. */
void cfg_free_list(char **list);
