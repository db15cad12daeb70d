/* SPDX-License-Identifier: Apache-2.0 */
/** @file services.c  [services.NAME]: which component gets which requests. */
#include "config/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_env_table(const cfg_node *n) { return strcmp(n->key, "env") == 0; }

/** The key's node, or that of its table. */
static const cfg_node *place_of(const cfg_node *table, const char *key) {
  const cfg_node *n = cfg_child(table, key);
  return n ? n : table;
}

/** A name, an IPv4 address, an IPv6 address in brackets, or "*." and a name: what the router
 *  compares with, so without a port and without a dot at the end. */
static bool host_ok(const char *host) {
  const char *p = strncmp(host, "*.", 2) == 0 ? host + 2 : host;
  size_t n = strlen(p);
  if (n == 0 || n > 253) return false;
  if (host[0] == '[')
    return n > 4 && host[n - 1] == ']' && strspn(host + 1, "0123456789abcdef:.") == n - 2;
  return p[n - 1] != '.' && strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == n;
}

/** An empty list would stand for all: certainly not what was meant. */
static wg_code check_not_empty(cfg_reader *r, const cfg_node *table, const char *key) {
  for (const cfg_node *n = table->child; n; n = n->next)
    if (strcmp(n->key, key) == 0 && n->type == WGRT_TOML_ARRAY_BEGIN && !n->child)
      return cfg_fail(r, n->value_line, n->value_column,
                      "'%s' must not be empty; leave it out for all", key);
  return WG_OK;
}

static wg_code check_hosts(cfg_reader *r, const cfg_node *n, char **hosts) {
  for (; hosts && *hosts; hosts++) {
    cfg_lower(*hosts);
    if (host_ok(*hosts)) continue;
    cfg_fail(r, n->value_line, n->value_column, "'%s' is not a host", *hosts);
    wg_error_hint(r->err, "write a name without port and scheme, such as api.example.com or "
                          "*.example.com");
    return WG_CONFIG;
  }
  return WG_OK;
}

static wg_code check_paths(cfg_reader *r, const cfg_node *n, char **paths) {
  for (; paths && *paths; paths++) {
    size_t len = strlen(*paths);
    if ((*paths)[0] != '/' || strpbrk(*paths, "?#* ")) {
      cfg_fail(r, n->value_line, n->value_column, "'%s' is not the beginning of a path", *paths);
      wg_error_hint(r->err, "write /api for itself and all below");
      return WG_CONFIG;
    }
    while (len > 1 && (*paths)[len - 1] == '/') (*paths)[--len] = '\0';
  }
  return WG_OK;
}

static bool lists_meet(char **a, char **b, const char *standard, const char **where) {
  char *fallback[] = {(char *)(uintptr_t)standard, NULL};
  for (char **x = a && *a ? a : fallback; *x; x++)
    for (char **y = b && *b ? b : fallback; *y; y++)
      if (strcmp(*x, *y) == 0) {
        *where = *x;
        return true;
      }
  return false;
}

/** A request that two services would get with equal right is a slip. */
static wg_code check_unique(cfg_reader *r, const cfg_node *table, const wg_service_config *s) {
  for (const wg_service_config *o = r->c->services; o < s; o++) {
    const char *host, *path;
    if (strcmp(o->name, s->name) == 0)
      return cfg_fail(r, table->line, table->column, "service '%s' was given before", s->name);
    if (!lists_meet(o->hosts, s->hosts, "*", &host) || !lists_meet(o->paths, s->paths, "/", &path))
      continue;
    cfg_fail(r, table->line, table->column,
             "service '%s' gets the same requests as '%s' in line %u: host '%s', path '%s'",
             s->name, o->name, o->line, host, path);
    wg_error_hint(r->err, "tell them apart by 'host' or by 'path'");
    return WG_CONFIG;
  }
  return WG_OK;
}

static bool name_ok(const char *name) {
  size_t n = strlen(name);
  return n > 0 && n <= 63 && name[0] != '.' &&
         strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

static wg_code read_service(cfg_reader *r, const cfg_node *table) {
  if (table->type != WGRT_TOML_TABLE_BEGIN) return cfg_fail_type(r, table, "a table");
  wg_config *c = r->c;
  if (!name_ok(table->key))
    return cfg_fail(r, table->line, table->column,
                    "a service's name must be at most 63 letters, digits, '-', '_' and '.', got "
                    "\"%s\"",
                    table->key);
  if (c->service_count == WG_SERVICES_MAX)
    return cfg_fail(r, table->line, table->column, "there are more than %d services",
                    WG_SERVICES_MAX);
  wg_service_config *grown = realloc(c->services, (c->service_count + 1) * sizeof *grown);
  if (!grown) return cfg_nomem(r);
  c->services = grown;
  wg_service_config *s = &grown[c->service_count++];
  *s = (wg_service_config){.line = table->line, .name = strdup(table->key)};
  if (!s->name) return cfg_nomem(r);
  const cfg_target target = {CFG_SERVICE, s};
  wg_code code = cfg_read_table(r, table, &target, 1, is_env_table);
  for (const cfg_node *n = table->child; n && code == WG_OK; n = n->next)
    if (is_env_table(n)) code = cfg_read_variables(r, n, &s->env);
  if (code == WG_OK) code = check_not_empty(r, table, "host");
  if (code == WG_OK) code = check_not_empty(r, table, "path");
  if (code == WG_OK) code = check_hosts(r, place_of(table, "host"), s->hosts);
  if (code == WG_OK) code = check_paths(r, place_of(table, "path"), s->paths);
  if (code == WG_OK) code = check_unique(r, table, s);
  if (code == WG_OK && !s->component) {
    char *path;
    if (asprintf(&path, "dist/%s.wasm", s->name) < 0) return cfg_nomem(r);
    code = cfg_join(r, path, &s->component);
  }
  return code;
}

wg_code cfg_read_services(cfg_reader *r, const cfg_node *table) {
  if (table->type != WGRT_TOML_TABLE_BEGIN) return cfg_fail_type(r, table, "a table");
  for (const cfg_node *n = table->child; n; n = n->next) {
    wg_code code = read_service(r, n);
    if (code != WG_OK) return code;
  }
  return WG_OK;
}

void cfg_service_release(wg_service_config *s) {
  for (char **e = s->env; e && *e; e++) wg_wipe(*e, strlen(*e));
  free(s->name);
  free(s->component);
  cfg_free_list(s->hosts);
  cfg_free_list(s->paths);
  cfg_free_list(s->env);
}
