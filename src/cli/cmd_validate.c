/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/common.h"
#include "config/config.h"

#include <stdio.h>
#include <string.h>

/** What the two lists are made of, in one pass. */
typedef struct report {
  wg_buf imports, exports; /**< text, or items of a JSON list */
  wg_buf findings;         /**< text only */
  uint32_t shims;          /**< WG_SHIM_* bits that it imports */
  unsigned finding_count;
} report;

static const char *status_name(const wg_interface *i) {
  switch (i->status) {
  case WG_INTERFACE_OK: return "ok";
  case WG_INTERFACE_DISABLED: return "disabled";
  case WG_INTERFACE_UNAVAILABLE: return "unavailable";
  case WG_INTERFACE_UNKNOWN: return "unknown";
  }
  return "unknown";
}

/** The shim that an import stands for: "warpgrid:shim/database-proxy@0.1.0" is database_proxy. */
static uint32_t shim_of(const char *import) {
  static const char prefix[] = "warpgrid:shim";
  const char *slash = strchr(import, '/');
  if (strncmp(import, prefix, sizeof prefix - 1) != 0 || !slash) return 0;
  size_t n = strcspn(++slash, "@");
  for (uint32_t bit = 1; bit < WG_SHIM_ALL; bit <<= 1) {
    const char *name = wg_shim_name(bit);
    size_t i = 0;
    while (i < n && (slash[i] == name[i] || (slash[i] == '-' && name[i] == '_'))) i++;
    if (i == n && !name[i]) return bit;
  }
  return 0;
}

/** Appends the names of shims. @param mark  around each; @param between  and between them */
static void put_shims(wg_buf *out, uint32_t shims, const char *mark, const char *between) {
  bool first = true;
  for (uint32_t bit = 1; bit < WG_SHIM_ALL; bit <<= 1) {
    if (!(shims & bit)) continue;
    wg_buf_printf(out, "%s%s%s%s", first ? "" : between, mark, wg_shim_name(bit), mark);
    first = false;
  }
}

static void on_interface(void *user, const wg_interface *i) {
  report *r = user;
  wg_buf *out = i->is_export ? &r->exports : &r->imports;
  bool finding = !i->is_export && i->status != WG_INTERFACE_OK;
  if (finding) r->finding_count++;
  if (!i->is_export) r->shims |= shim_of(i->name);
  if (ui_json()) {
    wg_buf_printf(out, "%s{\"name\":", wg_buf_len(out) ? "," : "");
    ui_json_string(out, i->name);
    if (!i->is_export) {
      wg_buf_printf(out, ",\"status\":\"%s\",\"reason\":", status_name(i));
      ui_json_string(out, i->reason);
    }
    wg_buf_put_u8(out, '}');
    return;
  }
  if (!finding) {
    wg_buf_printf(out, "  %s\n", i->name);
    return;
  }
  wg_buf_printf(out, "  %-40s  %s\n", i->name, status_name(i));
  wg_buf_printf(&r->findings, "%s: %s\n", i->name, i->reason);
}

/** The WASI generation, from what the component exports. */
static const char *wasi_version(wg_component_kind kind) {
  switch (kind) {
  case WG_COMPONENT_P2_SERVICE:
  case WG_COMPONENT_P2_COMMAND: return "0.2";
  case WG_COMPONENT_P3_SERVICE:
  case WG_COMPONENT_P3_COMMAND: return "0.3";
  case WG_COMPONENT_OTHER: break;
  }
  return "none";
}

static void print_json(const common_engine *x, report *r, bool ok, wg_component_kind kind) {
  wg_buf out;
  ui_json_begin(&out, "validate", ok);
  wg_buf_printf(&out, ",\"file\":");
  ui_json_string(&out, x->path);
  wg_buf_printf(&out, ",\"kind\":\"%s\",\"wasi\":\"%s\",\"warnings\":%u,\"shims\":[",
                wg_component_kind_name(kind), wasi_version(kind), x->warnings);
  put_shims(&out, r->shims, "\"", ",");
  wg_buf_printf(&out, "],\"imports\":[");
  wg_buf_put(&out, wg_buf_head(&r->imports), wg_buf_len(&r->imports));
  wg_buf_printf(&out, "],\"exports\":[");
  wg_buf_put(&out, wg_buf_head(&r->exports), wg_buf_len(&r->exports));
  wg_buf_printf(&out, "]");
  ui_json_end(&out);
}

static void print_list(const char *title, const wg_buf *items) {
  ui_print("%s\n%.*s", title, (int)wg_buf_len(items),
           wg_buf_len(items) ? (const char *)wg_buf_head(items) : "");
  if (!wg_buf_len(items)) ui_print("  none\n");
}

static int print_schema(void) {
  wg_buf out;
  wg_buf_init(&out, 1 << 20);
  wg_config_schema(&out);
  ui_print("%.*s", (int)wg_buf_len(&out), (const char *)wg_buf_head(&out));
  wg_buf_release(&out);
  return CLI_DONE;
}

int cmd_validate(const cli_args *args) {
  if (cli_flag(args, "schema")) return print_schema();
  wg_engine_options options = {0};
  int code = common_options_read(args, WG_LOG_ERROR, &options);
  if (code != CLI_DONE) return code;
  common_engine x = {0};
  code = common_load(args, &options, &x);
  if (code != CLI_DONE) {
    common_free(&x);
    return code;
  }
  report r = {0};
  wg_buf_init(&r.imports, 4 << 20);
  wg_buf_init(&r.exports, 4 << 20);
  wg_buf_init(&r.findings, 4 << 20);
  wg_engine_inspect(x.engine, x.component, on_interface, &r);
  wg_component_kind kind = wg_component_get_kind(x.component);
  if (kind == WG_COMPONENT_OTHER) {
    r.finding_count++;
    wg_buf_printf(&r.findings, "it exports neither a wasi:http handler nor wasi:cli/run, so it can "
                               "be neither served nor run\n");
  }
  bool strict = cli_flag(args, "strict") && x.warnings;
  bool ok = r.finding_count == 0 && !strict;
  if (ui_json()) {
    print_json(&x, &r, ok, kind);
  } else {
    ui_print("%s: %s, WASI %s\n", x.path, wg_component_kind_name(kind), wasi_version(kind));
    wg_buf shims;
    wg_buf_init(&shims, 1024);
    put_shims(&shims, r.shims, "", ", ");
    if (wg_buf_len(&shims))
      ui_print("needs the shims %.*s\n", (int)wg_buf_len(&shims),
               (const char *)wg_buf_head(&shims));
    wg_buf_release(&shims);
    print_list("exports", &r.exports);
    print_list("imports", &r.imports);
    if (wg_buf_len(&r.findings))
      ui_print("findings\n%.*s", (int)wg_buf_len(&r.findings),
               (const char *)wg_buf_head(&r.findings));
    if (strict) ui_print("findings\nwarnings about the configuration: %u\n", x.warnings);
    if (ok)
      ui_print("ok: it can be %s here\n",
               kind == WG_COMPONENT_P2_SERVICE || kind == WG_COMPONENT_P3_SERVICE ? "served"
                                                                                  : "run");
  }
  wg_buf_release(&r.imports);
  wg_buf_release(&r.exports);
  wg_buf_release(&r.findings);
  common_free(&x);
  return ok ? CLI_DONE : CLI_FAILED;
}
