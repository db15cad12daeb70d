/* SPDX-License-Identifier: Apache-2.0 */
/** @file interfaces.c  What the host can do for each import of a component, and what to tell the
 *  user when that is nothing (US-121, US-122). */
#include "engine/engine_internal.h"
#include <stdio.h>
#include <string.h>

static bool starts_with(const char *s, const char *prefix) {
  return strncmp(s, prefix, strlen(prefix)) == 0;
}

/** The shim that "warpgrid:shim/NAME@0.1.x" or "warpgrid:shim-async/NAME@0.1.x" names; 0: none.
 *  warp.toml writes '_' where WIT writes '-'. */
static uint32_t shim_of(const char *name) {
  const char *p = NULL;
  if (starts_with(name, "warpgrid:shim/"))
    p = name + strlen("warpgrid:shim/");
  else if (starts_with(name, "warpgrid:shim-async/"))
    p = name + strlen("warpgrid:shim-async/");
  const char *at = p ? strchr(p, '@') : NULL;
  if (!at || !starts_with(at, "@0.1.")) return 0;
  for (uint32_t bit = 1; bit & WG_SHIM_ALL; bit <<= 1) {
    const char *shim = wg_shim_name(bit);
    size_t i = 0;
    while (p + i < at && shim[i] && (p[i] == shim[i] || (p[i] == '-' && shim[i] == '_'))) i++;
    if (p + i == at && !shim[i]) return bit;
  }
  return 0;
}

static unsigned bit_index(uint32_t bit) {
  unsigned i = 0;
  while (bit >>= 1) i++;
  return i;
}

static wg_interface_status disabled(const wg_config *c, uint32_t bit, char *reason, size_t cap) {
  uint32_t line = c->shim_line[bit_index(bit)];
  snprintf(reason, cap, "'%s' is turned off by %s:%u; write '%s = true' there, under [shims]",
           wg_shim_name(bit), c->path ? c->path : "warp.toml", line, wg_shim_name(bit));
  return WG_INTERFACE_DISABLED;
}

/** The versions of an interface, "0.2.12 and 0.3.0". */
typedef struct versions {
  char text[64];
  unsigned count;
} versions;

static void on_version(void *user, wgrt_bytes version) {
  versions *v = user;
  size_t n = strlen(v->text);
  snprintf(v->text + n, sizeof v->text - n, "%s%.*s", v->count++ ? " and " : "", (int)version.n,
           (const char *)version.p);
}

static void say_versions(const versions *has, char *reason, size_t cap) {
  snprintf(reason, cap,
           "this host has version%s %s; build it with bindings of %s, or use a WarpGrid newer than "
           "%s",
           has->count > 1 ? "s" : "", has->text, has->count > 1 ? "one of them" : "that version",
           wg_version());
}

/** @param has     gets the versions that there are
 *  @param reason  filled for people when the status is not OK */
static wg_interface_status status_of(const wg_config *c, const char *name, int is_export,
                                     versions *has, char *reason, size_t cap) {
  uint32_t link, shim = is_export ? 0 : shim_of(name);
  bool served = wgrt_implements(wg__bytes(name, strlen(name)), is_export, &link, on_version, has);
  if (shim && !(c->shims & shim)) return disabled(c, shim, reason, cap);
  if (served) return WG_INTERFACE_OK;
  if (has->count) {
    say_versions(has, reason, cap);
    return WG_INTERFACE_UNKNOWN;
  }
  if (is_export) return WG_INTERFACE_OK;
  if (shim) {
    snprintf(reason, cap, "not available in this version (%s)", wg_version());
    return WG_INTERFACE_UNAVAILABLE;
  }
  snprintf(reason, cap, "this host has no interface of that name");
  return WG_INTERFACE_UNKNOWN;
}

typedef struct inspection {
  const wg_config *config;
  void (*item)(void *user, const wg_interface *i);
  void *user;
} inspection;

static void on_interface(void *user, int is_export, wgrt_bytes name) {
  inspection *in = user;
  char text[512], reason[600] = "";
  snprintf(text, sizeof text, "%.*s", (int)name.n, (const char *)name.p);
  versions has = {{0}, 0};
  wg_interface i = {.name = text, .is_export = is_export, .reason = reason, .versions = has.text};
  i.status = status_of(in->config, text, is_export, &has, reason, sizeof reason);
  in->item(in->user, &i);
}

void wg__inspect(const wg_config *config, const wg_component *c,
                 void (*item)(void *user, const wg_interface *i), void *user) {
  inspection in = {config, item, user};
  wgrt_component_each(c->rt, on_interface, &in);
}

void wg_engine_inspect(const wg_engine *e, const wg_component *c,
                       void (*item)(void *user, const wg_interface *i), void *user) {
  wg__inspect(e->config, c, item, user);
}
