/* SPDX-License-Identifier: Apache-2.0 */
/** @file running.h  Asking a running `warp serve`: `warp inspect --running`, `warp signal`,
 *  `warp stats`. */
#pragma once
#include "cli/cli.h"
#include <jansson.h>

/** Asks the admin endpoint of a running `warp serve` for its statistics and prints them.
 *  @return the exit code */
int cli_inspect_running(const cli_args *args);

/** A column of a table: where its value is in a row's object. */
typedef struct cli_column {
  const char *head, *inner, *key; /**< `inner`: the object in the row that has the key, or NULL */
  bool text;
} cli_column;

/** Prints a list of objects as a table; nothing when there is none. What is missing in a row
 *  prints as nothing. */
void cli_running_table(const json_t *rows, const cli_column *columns, size_t count);
/** Prints a text of the answer; nothing in it steers a terminal. */
void cli_running_print(const char *text);

/** Asks the admin endpoint for /stats.
 *  @param stats  the caller's: json_decref()
 *  @return CLI_DONE, or the exit code of a failure that was told */
int cli_running_stats(const cli_args *args, json_t **stats);

/** Asks the admin endpoint that --admin names, or warp.toml (--config).
 *  @param status  gets that of HTTP
 *  @param answer  a JSON object, the caller's: json_decref()
 *  @return CLI_DONE, or the exit code of a failure that was told */
int cli_running_ask(const cli_args *args, const char *method, const char *path, unsigned *status,
                    json_t **answer);
