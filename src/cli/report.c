/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/report.h"

#include "config/config.h"

#include <stdio.h>
#include <string.h>

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
  cli_report *r = user;
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
  wg_buf_printf(out, "  %s: %s\n", i->name, status_name(i));
  wg_buf_printf(&r->findings, "%s: %s\n", i->name, i->reason);
}

void cli_report_read(cli_report *r, const wg_engine *e, const wg_component *c) {
  *r = (cli_report){.kind = wg_component_get_kind(c)};
  wg_buf_init(&r->imports, 4 << 20);
  wg_buf_init(&r->exports, 4 << 20);
  wg_buf_init(&r->findings, 4 << 20);
  wg_engine_inspect(e, c, on_interface, r);
  if (r->kind != WG_COMPONENT_OTHER) return;
  r->finding_count++;
  wg_buf_printf(&r->findings, "it exports neither a wasi:http handler nor wasi:cli/run, so it can "
                              "be neither served nor run\n");
}

void cli_report_release(cli_report *r) {
  wg_buf_release(&r->imports);
  wg_buf_release(&r->exports);
  wg_buf_release(&r->findings);
}

const char *cli_report_wasi(const cli_report *r) {
  switch (r->kind) {
  case WG_COMPONENT_P2_SERVICE:
  case WG_COMPONENT_P2_COMMAND: return "0.2";
  case WG_COMPONENT_P3_SERVICE:
  case WG_COMPONENT_P3_COMMAND: return "0.3";
  case WG_COMPONENT_OTHER: break;
  }
  return "none";
}

const char *cli_report_kind(const cli_report *r, char text[64]) {
  bool known = r->kind != WG_COMPONENT_OTHER;
  snprintf(text, 64, "%s%s%s", wg_component_kind_name(r->kind), known ? ", WASI " : "",
           known ? cli_report_wasi(r) : "");
  return text;
}

void cli_report_print_findings(const cli_report *r) {
  const char *p = (const char *)wg_buf_head(&r->findings), *end = p + wg_buf_len(&r->findings);
  if (p < end) ui_print("findings\n");
  while (p < end) {
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    int n = (int)((newline ? newline : end) - p);
    ui_say("- %.*s", n, p);
    p += n + (newline != NULL);
  }
}

static void print_list(const char *title, const wg_buf *items) {
  ui_print("%s\n%.*s", title, (int)wg_buf_len(items),
           wg_buf_len(items) ? (const char *)wg_buf_head(items) : "");
  if (!wg_buf_len(items)) ui_print("  none\n");
}

void cli_report_print(const cli_report *r) {
  wg_buf shims;
  wg_buf_init(&shims, 1024);
  put_shims(&shims, r->shims, "", ", ");
  if (wg_buf_len(&shims))
    ui_say("needs the shims %.*s", (int)wg_buf_len(&shims), (const char *)wg_buf_head(&shims));
  wg_buf_release(&shims);
  print_list("exports", &r->exports);
  print_list("imports", &r->imports);
}

void cli_report_json(const cli_report *r, wg_buf *out) {
  wg_buf_printf(out, ",\"kind\":\"%s\",\"wasi\":\"%s\",\"shims\":[",
                wg_component_kind_name(r->kind), cli_report_wasi(r));
  put_shims(out, r->shims, "\"", ",");
  wg_buf_printf(out, "],\"imports\":[");
  wg_buf_put(out, wg_buf_head(&r->imports), wg_buf_len(&r->imports));
  wg_buf_printf(out, "],\"exports\":[");
  wg_buf_put(out, wg_buf_head(&r->exports), wg_buf_len(&r->exports));
  wg_buf_put_u8(out, ']');
}
