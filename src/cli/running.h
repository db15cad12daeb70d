/* SPDX-License-Identifier: Apache-2.0 */
/** @file running.h  Asking a running `warp serve`: `warp inspect --running`, `warp signal`. */
#pragma once
#include "cli/cli.h"
#include <jansson.h>

/** Asks the admin endpoint of a running `warp serve` for its statistics and prints them.
 *  @return the exit code */
int cli_inspect_running(const cli_args *args);

/** Asks the admin endpoint that --admin names, or warp.toml (--config).
 *  @param status  gets that of HTTP
 *  @param answer  a JSON object, the caller's: json_decref()
 *  @return CLI_DONE, or the exit code of a failure that was told */
int cli_running_ask(const cli_args *args, const char *method, const char *path, unsigned *status,
                    json_t **answer);
