/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doc/doc.h"

#include <string.h>

/** Text for a table's cell or a paragraph: no cell ends in it, and <, > and * are themselves. */
static void put_text(wg_buf *out, const char *text) {
  bool code = false;
  for (const char *p = text; *p; p++) {
    if (*p == '`') code = !code;
    if (*p == '\n')
      wg_buf_printf(out, "\n\n");
    else if (*p == '|' || (!code && strchr("<>*_[]", *p)))
      wg_buf_printf(out, "\\%c", *p);
    else
      wg_buf_put_u8(out, (uint8_t)*p);
  }
}

static void put_option(wg_buf *out, const cli_option *o) {
  wg_buf_printf(out, "| `--%s%s%s`", o->name, o->value ? " " : "", o->value ? o->value : "");
  if (o->letter) wg_buf_printf(out, ", `-%c`", o->letter);
  wg_buf_printf(out, " | ");
  wg_buf help;
  wg_buf_init(&help, 4096);
  cli_doc_option(&help, o);
  wg_buf_put_u8(&help, 0);
  put_text(out, help.failed ? o->help : (const char *)wg_buf_head(&help));
  wg_buf_printf(out, ". |\n");
  wg_buf_release(&help);
}

static void put_options(wg_buf *out, const cli_option *list) {
  for (const cli_option *o = list; o->name; o++) put_option(out, o);
}

static void put_notes(wg_buf *out, const char *title, const cli_note *notes) {
  wg_buf_printf(out, "\n## %s\n\n| | meaning |\n| --- | --- |\n", title);
  for (const cli_note *n = notes; n->name; n++) {
    wg_buf_printf(out, "| `%s` | ", n->name);
    put_text(out, n->help);
    wg_buf_printf(out, ". |\n");
  }
}

static void put_command(wg_buf *out, const cli_command *c) {
  wg_buf_printf(out, "\n## warp %s\n\n```text\n", c->name);
  cli_doc_usage(out, c);
  wg_buf_printf(out, "\n```\n\n");
  put_text(out, c->summary);
  wg_buf_put_u8(out, '.');
  if (c->about) {
    wg_buf_printf(out, "\n\n");
    put_text(out, c->about);
  }
  wg_buf_put_u8(out, '\n');
  if (c->needs >= CLI_WORD) {
    char words[64][32];
    cli_doc_words(c, words);
    wg_buf_printf(out, "\n%s is one of", c->operand);
    for (size_t i = 0; words[i][0]; i++) wg_buf_printf(out, "%s`%s`", i ? ", " : " ", words[i]);
    wg_buf_printf(out, ".\n");
  }
  if (c->options[0].name) {
    wg_buf_printf(out, "\n| option | meaning |\n| --- | --- |\n");
    put_options(out, c->options);
  }
  if (c->examples) wg_buf_printf(out, "\n```text\n%s\n```\n", c->examples);
}

void cli_doc_markdown(wg_buf *out) {
  wg_buf_printf(out, "\n| command | what it does |\n| --- | --- |\n");
  for (size_t i = 0; i < cli_command_count; i++) {
    wg_buf_printf(out, "| [`warp %s`](#warp-%s) | ", cli_commands[i].name, cli_commands[i].name);
    put_text(out, cli_commands[i].summary);
    wg_buf_printf(out, ". |\n");
  }
  for (size_t i = 0; i < cli_command_count; i++) put_command(out, &cli_commands[i]);
  wg_buf_printf(out, "\n## Options of every command\n\n| option | meaning |\n| --- | --- |\n");
  put_options(out, cli_common_options);
  wg_buf_printf(out, "\n## Options without a command\n\n| option | meaning |\n| --- | --- |\n");
  put_options(out, cli_global_options);
  put_notes(out, "Exit codes", cli_exit_codes);
  put_notes(out, "Environment variables", cli_environment);
  put_notes(out, "Files", cli_files);
  wg_buf_put_u8(out, '\n');
}
