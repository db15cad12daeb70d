/* SPDX-License-Identifier: Apache-2.0 */
/** @file virtual.c  What guests find in virtual files: extra_virtual_paths, and time zones. */
#include "config/read.h"
#include "config/value.h"
#include "vfs/path.h"
#include "vfs/zoneinfo.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- extra_virtual_paths ---- */

void cfg_virtual_release(wg_virtual_path *v) {
  free(v->guest);
  free(v->host);
  if (v->text) wg_wipe(v->text, strlen(v->text));
  free(v->text);
}

/** A file's name, not empty, joined with the folder. */
static wg_code read_host(cfg_reader *r, const cfg_node *n, char **out) {
  char *host;
  wg_code code = cfg_text(r, n, &host);
  if (code != WG_OK) return code;
  if (!*host) {
    free(host);
    return cfg_fail(r, n->value_line, n->value_column, "'%s' must not be empty", n->key);
  }
  return cfg_join(r, host, out);
}

/** { file = "...", live = true } or { text = "..." }. */
static wg_code read_content(cfg_reader *r, const cfg_node *table, wg_virtual_path *v) {
  static const char *const names[] = {"file", "live", "text"};
  for (const cfg_node *n = table->child; n; n = n->next) {
    wg_code code = WG_OK;
    if (strcmp(n->key, "file") == 0) {
      code = read_host(r, n, &v->host);
    } else if (strcmp(n->key, "text") == 0) {
      code = cfg_text(r, n, &v->text);
    } else if (strcmp(n->key, "live") == 0) {
      if (n->type != WGRT_TOML_BOOL) return cfg_fail_type(r, n, "true or false");
      v->live = n->integer != 0;
    } else {
      cfg_warn_unknown(r, n, "key", cfg_nearest_of(n->key, names, WG_COUNT(names)));
    }
    if (code != WG_OK) return code;
  }
  if (!v->host == !v->text)
    return cfg_fail(r, table->line, table->column, "'%s' needs either 'file' or 'text'",
                    table->key);
  if (v->live && v->text)
    return cfg_fail(r, table->line, table->column, "'%s': 'live' needs 'file'", table->key);
  return WG_OK;
}

/** "/a" and "/a/b" cannot both be files. */
static bool is_below(const char *path, const char *folder) {
  size_t n = strlen(folder);
  return strncmp(path, folder, n) == 0 && path[n] == '/';
}

static wg_code check_guest(cfg_reader *r, const cfg_node *n, const char *guest) {
  const wg_config *c = r->c;
  for (size_t i = 0; i + 1 < c->virtual_path_count; i++) {
    const wg_virtual_path *o = &c->virtual_paths[i];
    if (strcmp(o->guest, guest) == 0)
      return cfg_fail(r, n->line, n->column, "the guest path '%s' was given before in line %u",
                      n->key, o->line);
    if (is_below(guest, o->guest) || is_below(o->guest, guest))
      return cfg_fail(r, n->line, n->column,
                      "the guest path '%s' and '%s' in line %u cannot both be files", n->key,
                      o->guest, o->line);
  }
  return WG_OK;
}

static wg_code read_one(cfg_reader *r, const cfg_node *n) {
  wg_config *c = r->c;
  wg_path path;
  if (n->key[0] != '/')
    return cfg_fail(r, n->line, n->column, "the guest path '%s' must begin with '/'", n->key);
  if (wg_path_canonical("", 0, n->key, strlen(n->key), &path) != WG_PATH_OK)
    return cfg_fail(r, n->line, n->column, "the guest path is longer than %d bytes", WG_PATH_MAX);
  if (path.directory)
    return cfg_fail(r, n->line, n->column, "the guest path '%s' must be that of a file", n->key);
  wg_virtual_path *grown = realloc(c->virtual_paths, (c->virtual_path_count + 1) * sizeof *grown);
  if (!grown) return cfg_nomem(r);
  c->virtual_paths = grown;
  wg_virtual_path *v = &grown[c->virtual_path_count++];
  *v = (wg_virtual_path){.line = n->line, .column = n->column, .guest = strdup(path.text)};
  if (!v->guest) return cfg_nomem(r);
  wg_code code = check_guest(r, n, v->guest);
  if (code != WG_OK) return code;
  if (n->type == WGRT_TOML_TABLE_BEGIN) return read_content(r, n, v);
  if (n->type != WGRT_TOML_STRING)
    return cfg_fail_type(r, n, "a file's name or a table with 'file' or 'text'");
  return read_host(r, n, &v->host);
}

wg_code cfg_read_virtual(cfg_reader *r, const cfg_node *table) {
  if (table->type != WGRT_TOML_TABLE_BEGIN)
    return cfg_fail_type(r, table, "a table of \"/guest/path\" = \"host/path\"");
  for (const cfg_node *n = table->child; n; n = n->next) {
    wg_code code = read_one(r, n);
    if (code != WG_OK) return code;
  }
  return WG_OK;
}

/* ---- time zones ---- */

static wg_code unknown_zone(cfg_reader *r, const cfg_node *at, const char *key, const char *zone) {
  cfg_fail(r, at ? at->value_line : 1, at ? at->value_column : 1, "'%s': unknown time zone '%s'",
           key, zone);
  if (r->c->zoneinfo)
    wg_error_hint(r->err, "zones are the files of '%s'", r->c->zoneinfo);
  else
    wg_error_hint(r->err,
                  "write a name such as Europe/London; this build has version %s of the "
                  "time zone database",
                  wg_zoneinfo_version());
  return WG_CONFIG;
}

/** TZ of a list of "K=V". */
static wg_code check_variables(cfg_reader *r, const cfg_node *table, char *const *env) {
  for (; env && *env; env++) {
    const char *name;
    if (strncmp(*env, "TZ=", 3) == 0 &&
        wg_tz_read(r->c->zoneinfo, *env + 3, &name) == WG_TZ_UNKNOWN)
      return unknown_zone(r, cfg_child(table, "TZ"), "TZ", name);
  }
  return WG_OK;
}

wg_code cfg_check_zones(cfg_reader *r, const cfg_node *root) {
  const wg_config *c = r->c;
  const cfg_node *own = cfg_child(cfg_child(root, "shims"), "filesystem"), *at;
  struct stat st;
  if (!(c->shims & WG_SHIM_FILESYSTEM)) return WG_OK;
  if (c->zoneinfo && (stat(c->zoneinfo, &st) != 0 || !S_ISDIR(st.st_mode))) {
    at = cfg_child(own, "zoneinfo");
    return cfg_fail(r, at ? at->value_line : 1, at ? at->value_column : 1,
                    "'zoneinfo': '%s' is no folder", c->zoneinfo);
  }
  if (!wg_zone_exists(c->zoneinfo, c->timezone))
    return unknown_zone(r, cfg_child(own, "timezone"), "timezone", c->timezone);
  wg_code code = check_variables(r, cfg_child(root, "env"), c->env);
  for (size_t i = 0; i < c->service_count && code == WG_OK; i++)
    code = check_variables(
        r, cfg_child(cfg_child(cfg_child(root, "services"), c->services[i].name), "env"),
        c->services[i].env);
  return code;
}
