/* SPDX-License-Identifier: Apache-2.0 */
/** @file pipeline.h  What a language adds to a build: its steps. Internal to the build.
 *
 *  A new language is one file with a cli_pipeline and one row in languages.c. */
#pragma once
#include "base/buf.h"
#include "cli/build/build.h"

#include <sys/types.h>

/** Where the output of a step goes. */
typedef enum step_output {
  STEP_MESSAGES, /**< both streams are the compiler's messages */
  STEP_RESULT,   /**< stdout is kept for step_result(), stderr is messages */
  STEP_QUIET     /**< stdout is kept, stderr is dropped */
} step_output;

struct cli_pipeline {
  /** Checks the project and starts the first step.
   *  @return WG_OK: a step runs; else nothing does */
  wg_code (*begin)(cli_build *b, wg_error *err);
  /** Adds what to watch. */
  wg_code (*inputs)(const cli_build_request *r, cli_inputs *out, wg_error *err);
  /** Frees `state`; NULL: nothing to free. */
  void (*release)(void *state);
};

struct cli_build {
  const cli_pipeline *pipeline;
  const wg_config *config;
  bool debug, always, color, show_commands;
  cli_build_say_cb say;
  void *user;
  char *world;     /**< as asked; NULL: not given */
  char *output;    /**< as asked */
  char *target;    /**< the same, absolute */
  char *temporary; /**< in a folder of its own beside it; NULL: not there (any more) */
  size_t made_from; /**< folders of `target` longer than this were made by us; 0: none */
  cli_build_result result;
  /* the step that runs */
  pid_t pid; /**< also its process group; 0: none */
  int pidfd, epoll;
  int messages, kept; /**< memfd of the messages (-1: our stderr) and of a step's stdout */
  char *tool;         /**< of the step that runs */
  /** What to do after the step. @param exit_code  of the step; 128 + N after signal N */
  wg_code (*next)(cli_build *b, int exit_code, wg_error *err);
  bool ended;
  uint64_t started_us;
  char *messages_text;
  void *state; /**< of the pipeline */
};

/** Starts a step.
 *  @param argv  NULL-terminated; borrowed for the call
 *  @param env   NULL-terminated K=V that override our environment; NULL: none
 *  @param hint  what to do when argv[0] cannot be found
 *  @param next  called when it has ended
 *  @return WG_OK; WG_NOT_FOUND (no such program), WG_IO, WG_NOMEM */
WG_MUSTCHECK wg_code build_run(cli_build *b, char *const *argv, char *const *env,
                               step_output output, const char *hint,
                               wg_code (*next)(cli_build *b, int exit_code, wg_error *err),
                               wg_error *err);
/** What the last STEP_RESULT or STEP_QUIET wrote to stdout, NUL-terminated, at most 16 MiB.
 *  The caller frees it. NULL: out of memory, or it cannot be read. */
char *build_kept(cli_build *b);
/** Tells a line, if anybody listens. */
void build_say(cli_build *b, const char *fmt, ...) WG_PRINTF(2, 3);

/** Makes the folders of the output and an empty temporary file: b->temporary. */
WG_MUSTCHECK wg_code build_temporary(cli_build *b, wg_error *err);
/** Whether a file is a component, by its first bytes. */
bool build_is_component(const char *path);
/** Gives the temporary file its place. */
WG_MUSTCHECK wg_code build_install(cli_build *b, wg_error *err);
/** The build has ended; 0: the component is in place. Always WG_OK, unless it is not there. */
WG_MUSTCHECK wg_code build_done(cli_build *b, int exit_code, wg_error *err);

/** "DIR/NAME", or NAME when it is absolute or DIR is "."; NULL: out of memory. */
char *build_path(const char *dir, const char *name);
/** Appends to a list of inputs; takes `path` (NULL: out of memory). */
WG_MUSTCHECK wg_code build_input(cli_inputs *out, char *path, cli_input_kind kind, wg_error *err);

extern const cli_pipeline build_c, build_rust;
