/* SPDX-License-Identifier: Apache-2.0 */
/** @file dev.h  `warp dev`: what its two threads share, and what they print.
 *
 *  The main thread owns the engine: it makes one when there is a component and serves until the end.
 *  The builder's thread watches, builds and asks the engine to take what was built. */
#pragma once
#include "cli/build/build.h"
#include "cli/cli.h"
#include "cli/dev/watch_tree.h"

#include <pthread.h>
#include <warpgrid/warpgrid.h>

typedef struct dev {
  const cli_args *args;
  wg_engine_options options; /**< of the engine; not of a configuration that was edited meanwhile */
  int wake; /**< eventfd: the main thread or the engine has news for the builder */
  int stops; /**< signalfd: SIGINT, SIGTERM, SIGHUP */
  pthread_mutex_t lock; /* guards what is below */
  pthread_cond_t changed; /* `offered` or `stopping` */
  wg_engine *engine; /* NULL: there is none yet, or no more */
  bool offered; /* there is a component that is not served yet */
  bool stopping; /* a signal came, or one of the two cannot go on */
  bool failed; /* that; it was told */
  bool ended; /* the main thread is done: so shall the builder be */
  bool swapped; /* news: the engine took what was offered, or did not */
  wg_error swap_error; /* of that; WG_OK: it did */
  char **urls; /* since it listens */
} dev;

/** Runs the builder until `stopping`. @param d  a dev */
void *dev_build_loop(void *d);
/* ---- report.c: events, as lines for people or one JSON object each ---- */

/** @param changed  name of the file that was saved; NULL: the first build */
void dev_report_building(const char *changed);
void dev_report_built(const cli_build_result *r, bool first);
/** The compiler said no; its messages were shown unless --json. @param serving  an older build is */
void dev_report_build_failed(const cli_build_result *r, bool serving);
/** It could not even be started, a file is broken, or the engine does not take it. */
void dev_report_failed(const char *event, const wg_error *err, bool serving);
/** A newer save ended a build. */
void dev_report_canceled(const char *changed);
/** @param config  what is served by */
void dev_report_listening(const wg_config *config, char *const *urls);
/** @param seconds  since the save; 0: nothing was saved */
void dev_report_reloaded(double seconds);
void dev_report_stopped(void);
