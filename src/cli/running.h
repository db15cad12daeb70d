/* SPDX-License-Identifier: Apache-2.0 */
/** @file running.h  `warp inspect --running`. */
#pragma once
#include "cli/cli.h"

/** Asks the admin endpoint of a running `warp serve` for its statistics and prints them.
 *  @return the exit code */
int cli_inspect_running(const cli_args *args);
