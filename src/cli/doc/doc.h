/* SPDX-License-Identifier: Apache-2.0 */
/** @file doc.h  Texts made of the command table: help, man pages, docs/cli.md, completion. Each
 *  function appends to `out`; a failed buffer (no memory) is the caller's to notice. */
#pragma once
#include "base/buf.h"
#include "cli/cli.h"

typedef enum cli_shell { CLI_BASH, CLI_ZSH, CLI_FISH } cli_shell;

/** Help of a command; of all when `c` is NULL. @param width  columns, 20 or more */
void cli_doc_help(wg_buf *out, const cli_command *c, unsigned width);
/** Man page of a command (warp-NAME.1), or of all (warp.1), in man macros. */
void cli_doc_man(wg_buf *out, const cli_command *c);
/** The generated part of docs/cli.md. */
void cli_doc_markdown(wg_buf *out);
/** Completion script of a shell. */
void cli_doc_completion(wg_buf *out, cli_shell shell);

/** "usage: " is not part of it: "warp run [options] FILE [-- ARGS]". */
void cli_doc_usage(wg_buf *out, const cli_command *c);
/** The help of an option with its choices and default: "Format of the log: logfmt or json (default:
 *  logfmt)". */
void cli_doc_option(wg_buf *out, const cli_option *o);
/** What may stand behind the options: "FILE", "DIR", a word's name; NULL: nothing. */
const char *cli_doc_operand(const cli_command *c);
/** The words that may stand there, as a NULL-terminated list of at most 63; empty when any may. */
void cli_doc_words(const cli_command *c, char words[64][32]);
