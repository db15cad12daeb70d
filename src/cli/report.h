/* SPDX-License-Identifier: Apache-2.0 */
/** @file report.h  What a component imports and exports, for validate and inspect. */
#pragma once
#include "cli/imports.h"
#include "cli/ui.h"

#include <warpgrid/warpgrid.h>

typedef struct cli_report {
  wg_component_kind kind;
  wg_buf imports, exports; /**< text, or items of a JSON list under --json */
  wg_buf findings;         /**< why it cannot run here; text only */
  cli_imports imported;
  unsigned finding_count;
  bool other_version; /**< one of them is an export that would be called in another version */
} cli_report;

/** Lists the interfaces of a component. cli_report_release() afterwards. */
void cli_report_read(cli_report *r, const wg_engine *e, const wg_component *c);
/** One more reason why it cannot run here. */
void cli_report_add(cli_report *r, const wg_error *err);
void cli_report_release(cli_report *r);

/** The WASI generation, from what the component exports: "0.2", "0.3", "none". */
const char *cli_report_wasi(const cli_report *r);
/** "p2 service, WASI 0.2", or "neither a service nor a command". */
const char *cli_report_kind(const cli_report *r, char text[64]);
/** Prints why it cannot run here, if there is a reason. */
void cli_report_print_findings(const cli_report *r);
/** Prints what it needs, and the two lists. */
void cli_report_print(const cli_report *r);
/** Appends ,"kind":...,"wasi":...,"shims":[...],"imports":[...],"exports":[...] */
void cli_report_json(const cli_report *r, wg_buf *out);
