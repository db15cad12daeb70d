/* SPDX-License-Identifier: Apache-2.0 */
/** @file cli.h  The command table of `warp`: it makes parsing, help and suggestions. */
#pragma once
#include "base/base.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };
enum { CLI_OPTIONS_MAX = 16 };

typedef struct cli_option {
  const char *name;  /**< without dashes */
  char letter;       /**< 0: none */
  const char *value; /**< what its value is called in help; NULL: takes none */
  const char *help;
  bool repeats;      /**< may be given more than once */
} cli_option;

typedef struct cli_args cli_args;

/** What stands behind the options. */
typedef enum cli_needs {
  CLI_NO_FILE,
  CLI_FILE_OR_CONFIG, /**< FILE, or the component of warp.toml */
  CLI_FILE_AND_REST   /**< FILE and, after "--", arguments that are not ours */
} cli_needs;

typedef struct cli_command {
  const char *name;
  int (*run)(const cli_args *args); /**< returns the exit code */
  const char *summary;              /**< one line */
  const char *about;                /**< more lines for its own help; may be NULL */
  cli_needs needs;
  cli_option options[CLI_OPTIONS_MAX]; /**< ends with a NULL name */
} cli_command;

struct cli_args {
  const cli_command *command;
  const char *file;          /**< NULL: not given */
  const char *const *rest;   /**< behind "--", NULL-terminated; never NULL */
  const char **values[CLI_OPTIONS_MAX]; /**< of each option, NULL-terminated; NULL: not given */
};

extern const cli_command cli_commands[];
extern const size_t cli_command_count;

/** True when an option without value was given. */
bool cli_flag(const cli_args *a, const char *option);
/** The value, the last one if it repeats; NULL: not given. The option must be in the table. */
const char *cli_value(const cli_args *a, const char *option);
/** All values, NULL-terminated; NULL: not given. */
const char *const *cli_values(const cli_args *a, const char *option);

/** Parses the command line and runs the command. @return the exit code */
int cli_main(int argc, char **argv);

int cmd_pack(const cli_args *args);
int cmd_serve(const cli_args *args);
int cmd_run(const cli_args *args);
int cmd_validate(const cli_args *args);
