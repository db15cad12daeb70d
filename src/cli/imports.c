/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/imports.h"

#include "base/file.h"
#include "cli/sections.h"
#include "config/config.h"

#include <string.h>

/** The shim that an import stands for: "warpgrid:shim/database-proxy@0.1.0" is database_proxy. */
static uint32_t shim_of(const char *import, size_t len) {
  static const char prefix[] = "warpgrid:shim";
  const char *slash = memchr(import, '/', len);
  if (len < sizeof prefix - 1 || memcmp(import, prefix, sizeof prefix - 1) != 0 || !slash) return 0;
  slash++;
  const char *end = import + len, *at = memchr(slash, '@', (size_t)(end - slash));
  size_t n = (size_t)((at ? at : end) - slash);
  for (uint32_t bit = 1; bit < WG_SHIM_ALL; bit <<= 1) {
    const char *name = wg_shim_name(bit);
    size_t i = 0;
    while (i < n && (slash[i] == name[i] || (slash[i] == '-' && name[i] == '_'))) i++;
    if (i == n && !name[i]) return bit;
  }
  return 0;
}

void cli_imports_add(cli_imports *n, const char *import, size_t len) {
  uint32_t shim = shim_of(import, len);
  n->shims |= shim;
  if (!shim && (len < 5 || memcmp(import, "wasi:", 5) != 0)) n->other = true;
}

/** Passes over what kind of thing an import is. */
static void skip_kind(wg_reader *r) {
  enum { MODULE, FUNCTION, VALUE, TYPE, COMPONENT, INSTANCE };
  switch (wg_take_u8(r)) {
  case MODULE:
    if (wg_take_u8(r) != 0x11) r->failed = true;
    (void)wg_take_leb(r);
    return;
  case TYPE:
    if (wg_take_u8(r) == 0) (void)wg_take_leb(r);
    return;
  case VALUE: (void)wg_take_u8(r); /* and then a type or an index */ /* fallthrough */
  case FUNCTION:
  case COMPONENT:
  case INSTANCE: (void)wg_take_leb(r); return;
  default: r->failed = true;
  }
}

typedef struct reading {
  cli_imports needs;
  bool malformed;
} reading;

static void on_section(void *user, const cli_section *s) {
  reading *to = user;
  if (!s->of_component || s->depth || s->id != CLI_COMPONENT_IMPORT) return;
  wg_reader r = wg_reader_of(s->content, s->len);
  for (uint32_t left = wg_take_leb(&r); left && !r.failed; left--) {
    size_t len;
    if (wg_take_u8(&r) > 1) r.failed = true;
    const char *name = wg_take_name(&r, &len);
    skip_kind(&r);
    if (!r.failed) cli_imports_add(&to->needs, name, len);
  }
  if (r.failed || r.len) to->malformed = true;
}

wg_code cli_imports_read(const void *bytes, size_t len, cli_imports *out, wg_error *err) {
  reading r = {0};
  wg_code code = cli_sections_each(bytes, len, on_section, &r, NULL, err);
  if (code == WG_OK && r.malformed)
    code = wg_error_set(err, WG_COMPONENT, 0, "not a component: its imports are malformed");
  if (code == WG_OK) *out = r.needs;
  return code;
}

wg_code cli_imports_of_file(const char *path, cli_imports *out, wg_error *err) {
  wg_file file;
  wg_code code = wg_file_read(path, &file, err);
  if (code != WG_OK) return code;
  code = cli_imports_read(file.bytes, file.len, out, err);
  wg_file_release(&file);
  if (code != WG_OK) wg_error_wrap(err, "'%s'", path);
  return code;
}

void cli_imports_put_shims(const cli_imports *n, const char *mark, const char *between,
                           wg_buf *out) {
  bool first = true;
  for (uint32_t bit = 1; bit < WG_SHIM_ALL; bit <<= 1) {
    if (!(n->shims & bit)) continue;
    wg_buf_printf(out, "%s%s%s%s", first ? "" : between, mark, wg_shim_name(bit), mark);
    first = false;
  }
}

void cli_imports_put(const cli_imports *n, wg_buf *out) {
  if (n->shims) {
    wg_buf_printf(out, "needs the shims ");
    cli_imports_put_shims(n, "", ", ", out);
    wg_buf_printf(out, ": a host with WASI alone cannot run it");
  } else if (!n->other) {
    wg_buf_printf(out, "needs WASI alone: other hosts can run it, too");
  }
}
