/* SPDX-License-Identifier: Apache-2.0 */
/** @file cli.h  The command table of `warp`: it makes parsing, suggestions, help, man pages,
 *  docs/cli.md and the completion of shells (doc.h). */
#pragma once
#include "base/base.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };
enum { CLI_OPTIONS_MAX = 16 };

typedef struct cli_option {
  const char *name;     /**< without dashes */
  char letter;          /**< 0: none */
  const char *value;    /**< what its value is called in help; NULL: takes none. FILE and DIR are
                             completed by names of files and folders */
  const char *help;     /**< one phrase; choices, default and "repeats" are added to it */
  bool repeats;         /**< may be given more than once */
  const char *choices;  /**< "a|b|c" when only these values are possible; NULL: any */
  const char *standard; /**< what holds without it, as help says it; NULL: nothing to say */
} cli_option;

typedef struct cli_args cli_args;

/** What stands behind the options. */
typedef enum cli_needs {
  CLI_NO_FILE,
  CLI_FILE_OR_CONFIG, /**< FILE, or the component of warp.toml */
  CLI_FILE_AND_REST,  /**< FILE and, after "--", arguments that are not ours */
  CLI_FOLDER,         /**< DIR, or the current folder */
  CLI_WORD,           /**< one of `words` */
  CLI_WORD_OR_NONE,   /**< one of `words`, or nothing */
  CLI_NAME_AND_WORD   /**< any text, then one of `words` */
} cli_needs;

typedef struct cli_command {
  const char *name;
  int (*run)(const cli_args *args); /**< returns the exit code */
  const char *summary;              /**< one line, without full stop */
  const char *about;                /**< sentences for its own help; "\n" ends a paragraph */
  const char *examples;             /**< command lines, one a line; may be NULL */
  cli_needs needs;
  const char *name_operand; /**< what the text is called in help; of CLI_NAME_AND_WORD */
  const char *operand; /**< what the word is called in help; of CLI_WORD and those below it */
  const char *words; /**< "a|b|c"; of CLI_WORD and those below it; NULL: the commands' names */
  cli_option options[CLI_OPTIONS_MAX]; /**< ends with a NULL name */
} cli_command;

/** A name and what it means: exit codes, environment variables, files. */
typedef struct cli_note {
  const char *name, *help;
} cli_note;

struct cli_args {
  const cli_command *command;
  const char *file; /**< what stands behind the options; NULL: not given */
  const char *word; /**< of CLI_NAME_AND_WORD: what stands behind that; NULL: not given */
  const char *const *rest; /**< behind "--", NULL-terminated; never NULL */
  const char **values[CLI_OPTIONS_MAX]; /**< of each option, NULL-terminated; NULL: not given */
};

extern const cli_command cli_commands[];
extern const size_t cli_command_count;
extern const cli_option cli_common_options[]; /**< of every command; ends with a NULL name */
extern const cli_option cli_global_options[]; /**< in place of a command; ends with a NULL name */
extern const cli_note cli_exit_codes[]; /**< these three end with a NULL name */
extern const cli_note cli_environment[];
extern const cli_note cli_files[];

/** The command of that name; NULL: none. */
const cli_command *cli_find_command(const char *name);
/** The place of a word in "a|b|c"; -1: it is none of them. */
int cli_choice_index(const char *choices, const char *word);
/** The next word of "a|b|c". @param at  in: where to look, NULL at the end; out: behind it
 *  @return false at the end */
bool cli_next_choice(const char **at, const char **word, size_t *len);

/** True when the command has an option of this name. */
bool cli_has_option(const cli_command *c, const char *name);
/** True when an option without value was given. */
bool cli_flag(const cli_args *a, const char *option);
/** The value, the last one if it repeats; NULL: not given. The option must be in the table. */
const char *cli_value(const cli_args *a, const char *option);
/** The place of the value in the option's choices; `standard` when it was not given. */
int cli_choice(const cli_args *a, const char *option, int standard);
/** All values, NULL-terminated; NULL: not given. */
const char *const *cli_values(const cli_args *a, const char *option);

/** Parses the command line and runs the command. @return the exit code */
int cli_main(int argc, char **argv);

int cmd_completion(const cli_args *args);
int cmd_dev(const cli_args *args);
int cmd_init(const cli_args *args);
int cmd_inspect(const cli_args *args);
int cmd_help(const cli_args *args);
int cmd_pack(const cli_args *args);
int cmd_serve(const cli_args *args);
int cmd_run(const cli_args *args);
int cmd_signal(const cli_args *args);
int cmd_stats(const cli_args *args);
int cmd_validate(const cli_args *args);
