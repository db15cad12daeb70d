/* SPDX-License-Identifier: Apache-2.0 */
#include "vfs/standard.h"

#include "vfs/vfs_internal.h"
#include "vfs/zoneinfo.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** The one user of every guest: without rights, without a home. */
#define USER "warp"
enum { USER_ID = 1000 };

static void add_text(wg_vfs_builder *b, const char *path, const char *fmt, ...) WG_PRINTF(3, 4);
static void add_text(wg_vfs_builder *b, const char *path, const char *fmt, ...) {
  char text[4096];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  WG_ASSERT(n >= 0 && (size_t)n < sizeof text);
  wg_vfs_add_copy(b, path, text, (size_t)n);
}

/** Adds what a buffer holds, and releases it. */
static wg_code add_buf(wg_vfs_builder *b, const char *path, wg_buf *text, wg_error *err) {
  wg_code code = WG_OK;
  if (text->failed)
    code = text->nomem ? wg_error_set(err, WG_NOMEM, 0, "out of memory")
                       : wg_error_set(err, WG_EXHAUSTED, 0, "'%s' is larger than 16 MiB", path);
  else
    wg_vfs_add_copy(b, path, wg_buf_head(text), wg_buf_len(text));
  if (text->data) wg_wipe(text->data, text->cap);
  wg_buf_release(text);
  return code;
}

static wg_code add_etc(wg_vfs_builder *b, const wg_vfs_options *o, wg_error *err) {
  wg_buf text;
  add_text(b, "/etc/hostname", "%s\n", o->name);
  add_text(b, "/etc/passwd", USER ":x:%d:%d::/:/usr/sbin/nologin\n", USER_ID, USER_ID);
  add_text(b, "/etc/group", USER ":x:%d:\n", USER_ID);
  wg__vfs_add_hosts(b, o);
  wg_buf_init(&text, WG_VFS_CONTENT_MAX);
  for (char **n = o->config->nameservers; n && *n; n++) wg_buf_printf(&text, "nameserver %s\n", *n);
  wg_code code = add_buf(b, "/etc/resolv.conf", &text, err);
  if (code != WG_OK) return code;
  wg_buf_init(&text, WG_VFS_CONTENT_MAX);
  wg__vfs_put_databases(o->config, &text);
  return add_buf(b, "/etc/warpgrid/proxy.conf", &text, err);
}

/** Texts, each with its NUL. */
static wg_code add_strings(wg_vfs_builder *b, const char *path, const char *const *list,
                           wg_error *err) {
  wg_buf text;
  wg_buf_init(&text, WG_VFS_CONTENT_MAX);
  for (; list && *list; list++) wg_buf_put_cstr(&text, *list);
  return add_buf(b, path, &text, err);
}

/** A process as a guest may see itself: number 1, one thread. Nothing of the host's /proc is seen, even
 *  where a guest was given all of `/`: there is our own environment in it, passwords and all. */
static wg_code add_proc(wg_vfs_builder *b, const wg_vfs_options *o, wg_error *err) {
  uint64_t kib = o->config->memory_bytes / 1024;
  wg_vfs_add_whole(b, "/proc");
  add_text(b, "/proc/self/comm", "%.15s\n", o->name);
  add_text(b, "/proc/self/status",
           "Name:\t%.15s\nUmask:\t0022\nState:\tR (running)\nTgid:\t1\nPid:\t1\nPPid:\t0\n"
           "TracerPid:\t0\nUid:\t%d\t%d\t%d\t%d\nGid:\t%d\t%d\t%d\t%d\nVmPeak:\t%8" PRIu64
           " kB\nVmSize:\t%8" PRIu64 " kB\nThreads:\t1\n",
           o->name, USER_ID, USER_ID, USER_ID, USER_ID, USER_ID, USER_ID, USER_ID, USER_ID, kib,
           kib);
  /* proc(5): 52 fields; 20 is the number of threads, 23 the size of memory. */
  add_text(b, "/proc/self/stat",
           "1 (%.15s) R 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 %" PRIu64
           " 0 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
           o->name, o->config->memory_bytes);
  wg_code code = add_strings(b, "/proc/self/cmdline", o->args, err);
  return code == WG_OK ? add_strings(b, "/proc/self/environ", o->env, err) : code;
}

static wg_code add_zones(wg_vfs_builder *b, const wg_vfs_options *o, wg_error *err) {
  const wg_config *c = o->config;
  const char *zone = c->timezone, *name;
  wg_code code = wg__vfs_add_zones(b, c->zoneinfo, err);
  if (code != WG_OK) return code;
  for (const char *const *e = o->env; e && *e; e++) {
    if (strncmp(*e, "TZ=", 3) != 0) continue;
    wg_tz_kind kind = wg_tz_read(c->zoneinfo, *e + 3, &name);
    if (kind == WG_TZ_UNKNOWN)
      return wg_error_set(err, WG_CONFIG, 0, "the variable 'TZ': unknown time zone '%s'", name);
    if (kind == WG_TZ_ZONE) zone = name;
  }
  char path[512];
  int n = snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", zone);
  if (n < 0 || (size_t)n >= sizeof path || !wg_zone_exists(c->zoneinfo, zone))
    return wg_error_set(err, WG_CONFIG, 0, "'timezone': unknown time zone '%s'", zone);
  wg_vfs_add_link(b, "/etc/localtime", path);
  add_text(b, "/etc/timezone", "%s\n", zone);
  return WG_OK;
}

/* ---- extra_virtual_paths ---- */

/** Reads a file of the host, or looks whether it could be. */
static wg_code add_host_file(wg_vfs_builder *b, const wg_virtual_path *v, wg_error *err) {
  int fd;
  size_t size;
  uint8_t *bytes;
  wg_code code = wg__vfs_open_host(v->host, &fd, &size, err);
  if (code != WG_OK) return code;
  if (v->live) {
    close(fd);
    wg_vfs_add_live(b, v->guest, v->host);
    return WG_OK;
  }
  code = wg__vfs_read_host(fd, v->host, WG_VFS_CONTENT_MAX, &bytes, &size, err);
  close(fd);
  if (code != WG_OK) return code;
  wg_vfs_add_copy(b, v->guest, bytes, size);
  wg_wipe(bytes, size);
  free(bytes);
  return WG_OK;
}

static wg_code add_extra(wg_vfs_builder *b, const wg_config *c, const wg_virtual_path *v,
                         wg_error *err) {
  wg_code code = WG_OK;
  const char *other = wg_vfs_builder_clash(b, v->guest);
  if (other)
    code = wg_error_set(err, WG_CONFIG, 0, "it cannot be a file beside '%s'", other);
  else if (v->text)
    wg_vfs_add_copy(b, v->guest, v->text, strlen(v->text));
  else
    code = add_host_file(b, v, err);
  if (code == WG_OK || code == WG_NOMEM) return code;
  char why[400];
  snprintf(why, sizeof why, "%.399s", err ? err->msg : "");
  wg_error_set(err, WG_CONFIG, err ? err->sys : 0, "%s:%u:%u: '%s': %s",
               c->path ? c->path : "warp.toml", v->line, v->column, v->guest, why);
  if (code == WG_EXHAUSTED)
    wg_error_hint(err, "'live = true' opens the file itself, whatever its size");
  return WG_CONFIG;
}

/** An embedder may give any name; what is no letter of a host's becomes '-'. */
static void host_name(const char *name, char out[64]) {
  size_t n = 0;
  for (; name[n] && n < 63; n++)
    out[n] = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", name[n])
                 ? name[n]
                 : '-';
  out[n] = '\0';
}

wg_code wg_vfs_new(const wg_vfs_options *given, wg_vfs **out, wg_error *err) {
  const wg_config *c = given->config;
  char name[64];
  wg_vfs_options own = *given, *o = &own;
  host_name(given->name, name);
  own.name = name;
  wg_vfs_builder *b = wg_vfs_builder_new();
  if (!b) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  wg_vfs_add_device(b, "/dev/null", "/dev/null", true);
  wg_vfs_add_device(b, "/dev/zero", "/dev/zero", false);
  wg_vfs_add_device(b, "/dev/random", "/dev/urandom", false);
  wg_vfs_add_device(b, "/dev/urandom", "/dev/urandom", false);
  wg_code code = add_etc(b, o, err);
  if (code == WG_OK) code = add_proc(b, o, err);
  if (code == WG_OK) code = add_zones(b, o, err);
  for (size_t i = 0; i < c->virtual_path_count && code == WG_OK; i++)
    code = add_extra(b, c, &c->virtual_paths[i], err);
  if (code == WG_OK) return wg_vfs_build(b, out, err);
  wg_vfs_builder_free(b);
  return code;
}
