/* SPDX-License-Identifier: Apache-2.0 */
/** @file build.h  A build of a project, as a job that can be waited for and cancelled.
 *
 *  A build is one or more steps; each is a process in a group of its own, run in the project's
 *  folder. The component takes its place by a rename, when it is whole; until then, and when the
 *  build fails or is cancelled, nothing that was there before has changed. Not thread-safe: call
 *  everything about one build from one thread.
 *
 *  @par Example
 *  @code
 *    cli_build *b;
 *    bool ended = false;
 *    wg_code code = cli_build_start(&(cli_build_request){.config = config}, &b, &err);
 *    while (code == WG_OK && !ended) {
 *      struct pollfd p = {.fd = cli_build_fd(b), .events = POLLIN};
 *      if (poll(&p, 1, -1) == 1) code = cli_build_step(b, &ended, &err);
 *    }
 *    if (code == WG_OK) use(cli_build_get_result(b));
 *    cli_build_free(b);
 *  @endcode */
#pragma once
#include "config/config.h"

typedef struct cli_build cli_build;

/** A line about a step that takes long ("installing the Rust target ..."), without line feed.
 *  Borrowed for the call; comes from inside cli_build_start() and cli_build_step(). */
typedef void (*cli_build_say_cb)(void *user, const char *line);

/** What to build; zero-initialise. All but `config` is borrowed for cli_build_start() only. */
typedef struct cli_build_request {
  const wg_config *config; /**< of the project; must outlive the build */
  const char *lang;        /**< NULL: as configured, else by what is in the project's folder */
  const char *world;       /**< C only; NULL: as configured, else service-p2 */
  const char *output;      /**< NULL: as configured (dist/NAME.wasm) */
  bool debug;              /**< without optimisation, with debug information */
  bool always;             /**< C: do not ask whether anything changed; the caller knows */
  bool capture;            /**< keep the compiler's messages; else they go to our stderr */
  bool color;              /**< of the compiler's messages */
  bool show_commands;      /**< tell the command line of each step by `say` */
  cli_build_say_cb say;    /**< NULL: nothing is told */
  void *user;
} cli_build_request;

typedef struct cli_build_result {
  int exit_code;        /**< 0; else the compiler's, and the output is as it was */
  int signal;           /**< that ended the compiler; exit_code is then 128 more; 0: none */
  bool fresh;           /**< the output was up to date, and was not written again */
  const char *lang;     /**< "c", "rust" */
  const char *world;    /**< of a C project; NULL for other languages */
  const char *output;   /**< path of the component, as the request or configuration has it */
  uint64_t bytes;       /**< of the component; 0 when the build failed */
  double seconds;
  const char *messages; /**< what the compiler said, the first MiB; "" unless captured */
} cli_build_result;

/** Starts a build.
 *  @param out  owned by the caller: cli_build_free()
 *  @return WG_OK; WG_NOT_FOUND (a tool, an SDK or a source is missing: the hint says what to do),
 *          WG_UNSUPPORTED (a language of a later version), WG_INVALID, WG_IO, WG_NOMEM: nothing
 *          runs, and what was there before has not changed */
WG_MUSTCHECK wg_code cli_build_start(const cli_build_request *request, cli_build **out,
                                     wg_error *err);
/** Readable when cli_build_step() has something to do; the same one as long as the build lives. */
int cli_build_fd(const cli_build *b);
/** Goes on after a step has ended; does nothing when none has. Does not block.
 *  @param ended  true: cli_build_get_result() tells how
 *  @return WG_OK; or what cli_build_start() returns: the build has ended without a result */
WG_MUSTCHECK wg_code cli_build_step(cli_build *b, bool *ended, wg_error *err);
/** Waits until it has ended. @return as cli_build_step() */
WG_MUSTCHECK wg_code cli_build_wait(cli_build *b, wg_error *err);
/** How it ended. Borrowed; valid as long as the build. */
const cli_build_result *cli_build_get_result(cli_build *b);
/** Says how the compiler failed. */
void cli_build_failure(const cli_build_result *r, wg_error *err);
/** Ends it now: SIGTERM for the whole process group, SIGKILL for what is left of it after a
 *  second. Returns when the compiler is gone; the output is as it was. Fine when it has ended. */
void cli_build_cancel(cli_build *b);
/** Cancels it if it runs. NULL is fine. */
void cli_build_free(cli_build *b);

/* ---- what a build is made of ---- */

typedef enum cli_input_kind {
  CLI_INPUT_FILE,   /**< this file, whether it exists now or not */
  CLI_INPUT_FOLDER, /**< the files in this folder, not in those below it */
  CLI_INPUT_TREE    /**< everything below this folder */
} cli_input_kind;
typedef struct cli_input {
  char *path; /**< relative to the current folder, as the configuration's folder is, or absolute */
  cli_input_kind kind;
} cli_input;
typedef struct cli_inputs {
  cli_input *list;
  size_t count;
} cli_inputs;

/** Names what to watch: a change in one of these may change the component. Files that a build
 *  writes (its output, hidden and temporary files) may be in these folders, and are no change.
 *  @param out  cli_inputs_release() afterwards
 *  @return WG_OK; as cli_build_start() when the language cannot be told */
WG_MUSTCHECK wg_code cli_build_inputs(const cli_build_request *request, cli_inputs *out,
                                      wg_error *err);
void cli_inputs_release(cli_inputs *inputs);

/* ---- languages ---- */

typedef struct cli_pipeline cli_pipeline; /* cli/build/pipeline.h */
typedef struct cli_language {
  const char *name; /**< of --lang and `lang =` */
  const char *title; /**< for sentences: "Rust" */
  const char *const *markers; /**< files that tell it; NULL-terminated */
  const cli_pipeline *pipeline; /**< NULL: not in this version */
} cli_language;
extern const cli_language cli_languages[];
extern const size_t cli_language_count;

/** Finds the language: `lang`, else that of warp.toml, else by the files in its folder.
 *  @param lang  NULL: not given
 *  @return WG_OK; WG_UNSUPPORTED, WG_INVALID (ambiguous), WG_NOT_FOUND */
WG_MUSTCHECK wg_code cli_language_find(const wg_config *config, const char *lang,
                                       const cli_language **out, wg_error *err);
