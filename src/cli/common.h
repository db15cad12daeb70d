/* SPDX-License-Identifier: Apache-2.0 */
/** @file common.h  What serve, run and validate share. */
#pragma once
#include "base/log.h"
#include "cli/cli.h"
#include "cli/ui.h"

#include <signal.h>
#include <warpgrid/warpgrid.h>

/** An engine with a component; zero-initialise, common_free() at the end whatever happened. */
typedef struct common_engine {
  wg_engine *engine;
  wg_component *component;
  wg_app *app;
  const char *path;  /**< of the component; borrowed */
  unsigned warnings; /**< about the configuration */
  wg_buf told;       /**< under --json: their texts, as items of a list */
} common_engine;

/** Reads --env, --dir, --config, --log-format and --log-level where the command has them, and sets
 *  up the log.
 *  @return CLI_DONE, or the exit code of a mistake that was told */
int common_options_read(const cli_args *args, wg_log_level standard, wg_engine_options *options);
/** Makes the engine; out->path is FILE or the configured component.
 *  @return CLI_DONE, or the exit code of a failure that was told */
int common_engine_new(const cli_args *args, wg_engine_options *options, common_engine *out);
/** The same, and loads it.
 *  @return CLI_DONE, or the exit code of a failure that was told */
int common_load(const cli_args *args, wg_engine_options *options, common_engine *out);
void common_free(common_engine *x);

/** Checks the addresses of an option. @return CLI_DONE, or the code of a mistake that was told */
int common_check_addresses(const cli_args *args, const char *const *list,
                           wg_code (*check)(const char *text, wg_error *err));
/** A check for addresses to serve on. */
wg_code common_check_listen(const char *text, wg_error *err);

/** Prints a warning about the configuration; for wg_engine_options.on_warning. */
void common_warn(void *user, const char *text);

/** Blocks the signals that ask for an end, but those that the caller of the process has ignored (as
 *  nohup does), so that they can be read from a signalfd.
 *  @param stops   gets them
 *  @param before  gets the mask to restore */
void common_block_stops(sigset_t *stops, sigset_t *before);
/** What a guest is told of a signal that ends the process. Safe in a signal handler. */
wg_signal common_signal_of(int signal_number);
/** SIGHUP reloads the engine from now on; NULL: it does nothing any more. */
void common_reload_on_hangup(wg_engine *engine);
/** SIGINT and SIGTERM stop the engine from now on, unless our parent has them ignored; NULL: they do
 *  nothing any more. The third one ends the process. */
void common_stop_on_signals(wg_engine *engine);
