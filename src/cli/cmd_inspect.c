/* SPDX-License-Identifier: Apache-2.0 */
/** @file cmd_inspect.c  `warp inspect`: what is in a component, or what a running `warp serve` does.
 *  It describes: a component that could not run here is described, too. */
#include "base/file.h"
#include "base/text.h"
#include "cli/common.h"
#include "cli/contents.h"
#include "cli/report.h"
#include "cli/running.h"

#include <stdio.h>
#include <string.h>

typedef struct inspection {
  const char *path;
  cli_contents contents;
  cli_report report;
  bool has_report;
  wg_error problem; /**< why there is no report, or the sections end early; code WG_OK: none */
} inspection;

/** The sections of one part, as a table. */
static void print_part(const cli_contents *c, const char *title, bool custom, bool inner) {
  enum { COLUMNS = 3, CELL = 4 * CLI_CONTENTS_TEXT };
  static char texts[CLI_CONTENTS_MAX][COLUMNS][CELL]; /* a hundred KiB, once */
  const char *cells[CLI_CONTENTS_MAX * COLUMNS], *heads[COLUMNS] = {title, "bytes", "count"};
  size_t rows = 0;
  for (size_t i = 0; i < c->section_count; i++) {
    const cli_content *s = &c->sections[i];
    if (s->custom != custom || (!custom && s->inner != inner)) continue;
    snprintf(texts[rows][0], CELL, "  ");
    ui_safe(s->name, texts[rows][0] + 2, CELL - 2);
    snprintf(texts[rows][1], CELL, "%llu", (unsigned long long)s->bytes);
    snprintf(texts[rows][2], CELL, "%u", s->count);
    for (size_t k = 0; k < COLUMNS; k++) cells[rows * COLUMNS + k] = texts[rows][k];
    rows++;
  }
  if (rows) ui_table(heads, COLUMNS, 6, cells, rows);
}

static void print_sections(const inspection *x) {
  const cli_contents *c = &x->contents;
  print_part(c, "sections", false, false);
  print_part(c, "in core modules", false, true);
  print_part(c, "custom sections", true, false);
  if (c->producer_count) ui_print("producers\n");
  for (size_t i = 0; i < c->producer_count; i++) {
    const cli_producer *p = &c->producers[i];
    char field[4 * CLI_CONTENTS_TEXT], name[sizeof field], version[sizeof field];
    ui_safe(p->field, field, sizeof field);
    ui_safe(p->name, name, sizeof name);
    ui_safe(p->version, version, sizeof version);
    ui_say("  %s: %s%s%s", field, name, *version ? " " : "", version);
  }
}

static void print_text(const inspection *x) {
  const char *format = cli_format_name(x->contents.format);
  unsigned long long bytes = x->contents.bytes;
  char kind[64];
  if (x->has_report)
    ui_say("%s: %s, %s, %llu bytes", x->path, format, cli_report_kind(&x->report, kind), bytes);
  else
    ui_say("%s: %s, %llu bytes", x->path, format, bytes);
  if (x->has_report) cli_report_print(&x->report);
  print_sections(x);
  if (x->problem.code != WG_OK) {
    ui_note("note:", x->problem.msg);
    if (x->problem.hint[0]) ui_note("hint:", x->problem.hint);
  }
}

static void print_json(const inspection *x) {
  static const char *const formats[] = {"component", "module", "cwasm", "text"};
  const cli_contents *c = &x->contents;
  wg_buf out;
  ui_json_begin(&out, "inspect", true);
  wg_buf_printf(&out, ",\"file\":");
  ui_json_string(&out, x->path);
  wg_buf_printf(&out, ",\"format\":\"%s\",\"bytes\":%llu", formats[c->format],
                (unsigned long long)c->bytes);
  if (x->has_report) cli_report_json(&x->report, &out);
  wg_buf_printf(&out, ",\"sections\":[");
  for (size_t i = 0; i < c->section_count; i++) {
    const cli_content *s = &c->sections[i];
    wg_buf_printf(&out, "%s{\"name\":", i ? "," : "");
    ui_json_string(&out, s->name);
    wg_buf_printf(&out, ",\"custom\":%s,\"inner\":%s,\"count\":%u,\"bytes\":%llu}",
                  s->custom ? "true" : "false", s->inner ? "true" : "false", s->count,
                  (unsigned long long)s->bytes);
  }
  wg_buf_printf(&out, "],\"producers\":[");
  for (size_t i = 0; i < c->producer_count; i++) {
    const cli_producer *p = &c->producers[i];
    wg_buf_printf(&out, "%s{\"field\":", i ? "," : "");
    ui_json_string(&out, p->field);
    wg_buf_printf(&out, ",\"name\":");
    ui_json_string(&out, p->name);
    wg_buf_printf(&out, ",\"version\":");
    ui_json_string(&out, p->version);
    wg_buf_put_u8(&out, '}');
  }
  wg_buf_printf(&out, "],\"problem\":");
  ui_json_string(&out, x->problem.code == WG_OK ? "" : x->problem.msg);
  ui_json_end(&out);
}

/** Loads it for its interfaces; what hinders that is told beside the rest. */
static void read_interfaces(const cli_args *args, inspection *x, common_engine *engine) {
  wg_error err;
  bool trusted = cli_flag(args, "trusted");
  if (x->contents.format == CLI_FORMAT_CWASM && !trusted) {
    wg_error_set(&x->problem, WG_REFUSED, 0,
                 "its imports and exports are not shown: they are in native code");
    wg_error_hint(&x->problem, "pass --trusted to load it");
    return;
  }
  wg_code code = wg_engine_load(engine->engine, x->path, trusted ? WG_LOAD_TRUSTED : 0,
                                &engine->component, &err);
  if (code == WG_OK) {
    cli_report_read(&x->report, engine->engine, engine->component);
    x->has_report = true;
    return;
  }
  wg_error_set(&x->problem, code, err.sys, "its imports and exports are not shown: %s", err.msg);
  if (x->contents.format == CLI_FORMAT_MODULE)
    wg_error_hint(&x->problem, "a core module becomes a component by 'wasm-tools component new'");
}

static int inspect_file(const cli_args *args) {
  static inspection x; /* a hundred KiB, once */
  wg_error err;
  wg_engine_options options = {0};
  int exit_code = common_options_read(args, WG_LOG_ERROR, &options);
  if (exit_code != CLI_DONE) return exit_code;
  common_engine engine = {0};
  exit_code = common_engine_new(args, &options, &engine);
  if (exit_code == CLI_DONE) {
    wg_file file = {0};
    x.path = engine.path;
    x.problem.code = WG_OK;
    wg_code code = wg_file_read(x.path, &file, &err);
    if (code == WG_OK) {
      wg_code sections = cli_contents_read(file.bytes, file.len, &x.contents, &x.problem);
      if (sections == WG_OK) x.problem.code = WG_OK;
      wg_file_release(&file);
      if (sections == WG_OK) read_interfaces(args, &x, &engine);
    } else if (code == WG_NOT_FOUND && !args->file) {
      wg_error_hint(&err, "run 'warp pack' first, or give a file: warp inspect FILE");
    }
    /* A text that is no component is just some file. */
    if (code == WG_OK && x.contents.format == CLI_FORMAT_TEXT && !x.has_report)
      code = wg_error_set(&err, WG_COMPONENT, 0, "'%s' is no component: %s", x.path, x.problem.msg);
    if (code != WG_OK)
      exit_code = ui_fail("inspect", &err, CLI_FAILED);
    else if (ui_json())
      print_json(&x);
    else
      print_text(&x);
  }
  if (x.has_report) cli_report_release(&x.report);
  common_free(&engine);
  return exit_code;
}

int cmd_inspect(const cli_args *args) {
  bool running = cli_flag(args, "running");
  if (!running && cli_value(args, "admin"))
    return ui_usage("inspect", "write warp inspect --running --admin ADDR:PORT",
                    "'--admin' goes with '--running'");
  if (running && args->file)
    return ui_usage("inspect", "leave out one of them", "'--running' takes no file, got '%s'",
                    args->file);
  return running ? cli_inspect_running(args) : inspect_file(args);
}
