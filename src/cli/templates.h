/* SPDX-License-Identifier: Apache-2.0 */
/** @file templates.h  The files that `warp init` writes: templates/ and the guest crate, built into the
 *  executable. */
#pragma once
#include "base/buf.h"

typedef struct cli_template_file {
  const char *template_name; /**< "c"; "all": of every template */
  const char *path; /**< in the project; "gitignore" stands for ".gitignore" */
  const char *text;
  bool verbatim; /**< the text has no marks: it is written as it is */
} cli_template_file;

extern const cli_template_file cli_template_files[]; /**< ends with a NULL name */

/** Parameters of a project; borrowed texts, all set. */
typedef struct cli_template_values {
  const char *name, *http, *database;
} cli_template_values;

/** Appends a template with its parameters filled in and its optional parts chosen (see
 *  templates/README.md). */
void cli_template_render(wg_buf *out, const char *text, const cli_template_values *values);

/** Makes a project's name of a folder's: lower-case letters, digits and '-', first a letter;
 *  "service" when nothing is left. */
void cli_template_name(const char *folder, char out[64]);
/** True for a name as cli_template_name() makes them. */
bool cli_template_name_ok(const char *name);
