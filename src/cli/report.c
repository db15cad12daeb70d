/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/report.h"

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

static void on_interface(void *user, const wg_interface *i) {
  cli_report *r = user;
  wg_buf *out = i->is_export ? &r->exports : &r->imports;
  bool odd = i->status != WG_INTERFACE_OK;
  /* What is exported in a later version, too, hinders nobody. */
  bool finding = odd && (!i->is_export || r->kind == WG_COMPONENT_OTHER);
  if (finding) r->finding_count++;
  if (finding && i->is_export) r->other_version = true;
  if (!i->is_export) cli_imports_add(&r->imported, i->name, strlen(i->name));
  if (ui_json()) {
    wg_buf_printf(out, "%s{\"name\":", wg_buf_len(out) ? "," : "");
    ui_json_string(out, i->name);
    wg_buf_printf(out, ",\"status\":\"%s\",\"reason\":", status_name(i));
    ui_json_string(out, i->reason);
    wg_buf_put_u8(out, '}');
    return;
  }
  wg_buf_printf(out, "  %s%s%s\n", i->name, odd ? ": " : "", odd ? status_name(i) : "");
  if (finding) wg_buf_printf(&r->findings, "%s: %s\n", i->name, i->reason);
}

void cli_report_read(cli_report *r, const wg_engine *e, const wg_component *c) {
  *r = (cli_report){.kind = wg_component_get_kind(c)};
  wg_buf_init(&r->imports, 4 << 20);
  wg_buf_init(&r->exports, 4 << 20);
  wg_buf_init(&r->findings, 4 << 20);
  wg_engine_inspect(e, c, on_interface, r);
  if (r->kind != WG_COMPONENT_OTHER || r->other_version) return;
  r->finding_count++;
  wg_buf_printf(&r->findings, "it exports neither a wasi:http handler nor wasi:cli/run, so it can "
                              "be neither served nor run\n");
}

void cli_report_add(cli_report *r, const wg_error *err) {
  r->finding_count++;
  wg_buf_printf(&r->findings, "%s%s%s\n", err->msg, err->hint[0] ? "; " : "", err->hint);
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
  wg_buf needs;
  wg_buf_init(&needs, 1024);
  cli_imports_put(&r->imported, &needs);
  if (wg_buf_len(&needs))
    ui_say("%.*s", (int)wg_buf_len(&needs), (const char *)wg_buf_head(&needs));
  wg_buf_release(&needs);
  print_list("exports", &r->exports);
  print_list("imports", &r->imports);
}

void cli_report_json(const cli_report *r, wg_buf *out) {
  wg_buf_printf(out, ",\"kind\":\"%s\",\"wasi\":\"%s\",\"shims\":[",
                wg_component_kind_name(r->kind), cli_report_wasi(r));
  cli_imports_put_shims(&r->imported, "\"", ",", out);
  wg_buf_printf(out, "],\"imports\":[");
  wg_buf_put(out, wg_buf_head(&r->imports), wg_buf_len(&r->imports));
  wg_buf_printf(out, "],\"exports\":[");
  wg_buf_put(out, wg_buf_head(&r->exports), wg_buf_len(&r->exports));
  wg_buf_put_u8(out, ']');
}
