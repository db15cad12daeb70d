/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doc/doc.h"
#include "cli/ui.h"

#include <stdio.h>
#include <string.h>

enum { ROOM = 24 /* columns that help needs beside a name */, LEFT = 29 };

const char *cli_doc_operand(const cli_command *c) {
  switch (c->needs) {
  case CLI_NO_FILE: return NULL;
  case CLI_FILE_OR_CONFIG:
  case CLI_FILE_AND_REST: return "FILE";
  case CLI_FOLDER: return "DIR";
  case CLI_WORD:
  case CLI_WORD_OR_NONE:
  case CLI_NAME_AND_WORD: return c->operand;
  }
  return NULL;
}

void cli_doc_words(const cli_command *c, char words[64][32]) {
  size_t n = 0, len;
  const char *at = c->words, *word;
  if (c->needs >= CLI_WORD && !c->words)
    for (; n < cli_command_count && n < 63; n++)
      snprintf(words[n], sizeof words[n], "%s", cli_commands[n].name);
  while (n < 63 && cli_next_choice(&at, &word, &len))
    snprintf(words[n++], sizeof words[0], "%.*s", (int)len, word);
  words[n][0] = '\0';
}

void cli_doc_usage(wg_buf *out, const cli_command *c) {
  const char *operand = cli_doc_operand(c);
  bool required =
      c->needs == CLI_FILE_AND_REST || c->needs == CLI_WORD || c->needs == CLI_NAME_AND_WORD;
  wg_buf_printf(out, "warp %s [options]", c->name);
  if (c->needs == CLI_NAME_AND_WORD) wg_buf_printf(out, " %s", c->name_operand);
  if (operand) wg_buf_printf(out, required ? " %s" : " [%s]", operand);
  if (c->needs == CLI_FILE_AND_REST) wg_buf_printf(out, " [-- ARGS]");
}

void cli_doc_option(wg_buf *out, const cli_option *o) {
  wg_buf_printf(out, "%s", o->help);
  const char *at = o->choices, *word;
  size_t len;
  for (bool first = true; cli_next_choice(&at, &word, &len); first = false)
    wg_buf_printf(out, "%s%.*s", first ? ": " : at ? ", " : " or ", (int)len, word);
  if (o->standard) wg_buf_printf(out, " (default: %s)", o->standard);
  if (o->repeats) wg_buf_printf(out, "; repeats");
}

/** A text of its own lines: each is wrapped and ends with a newline. */
static void put_text(wg_buf *out, const char *text, unsigned indent, unsigned width) {
  wg_buf_printf(out, "%*s", (int)indent, "");
  ui_wrap(out, text, indent, indent, width);
  wg_buf_put_u8(out, '\n');
}

/** A name and what it means, side by side where there is room. */
static void put_row(wg_buf *out, const char *name, const char *help, unsigned left,
                    unsigned width) {
  wg_buf_printf(out, "  %s", name);
  unsigned column = 2 + (unsigned)strlen(name);
  if (width < left + ROOM) left = 6;
  if (column + 2 > left) {
    wg_buf_printf(out, "\n%*s", (int)left, "");
  } else {
    wg_buf_printf(out, "%*s", (int)(left - column), "");
  }
  ui_wrap(out, help, left, left, width);
  wg_buf_put_u8(out, '\n');
}

static void put_option(wg_buf *out, const cli_option *o, unsigned width) {
  char name[64], letter[5] = "    ";
  if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
  snprintf(name, sizeof name, "%s--%s%s%s", letter, o->name, o->value ? " " : "",
           o->value ? o->value : "");
  wg_buf help;
  wg_buf_init(&help, 4096);
  cli_doc_option(&help, o);
  wg_buf_put_u8(&help, 0);
  put_row(out, name, help.failed ? o->help : (const char *)wg_buf_head(&help), LEFT, width);
  wg_buf_release(&help);
}

static void put_command(wg_buf *out, const cli_command *c, unsigned width) {
  wg_buf text;
  wg_buf_init(&text, 4096);
  wg_buf_printf(&text, "usage: ");
  cli_doc_usage(&text, c);
  wg_buf_put_u8(&text, 0);
  ui_wrap(out, (const char *)wg_buf_head(&text), 0, 9, width);
  wg_buf_clear(&text);
  wg_buf_printf(out, "\n\n");
  wg_buf_printf(&text, "%s.", c->summary);
  if (c->about) wg_buf_printf(&text, "\n%s", c->about);
  wg_buf_put_u8(&text, 0);
  put_text(out, (const char *)wg_buf_head(&text), 0, width);
  wg_buf_release(&text);
  if (c->needs >= CLI_WORD) {
    char words[64][32];
    cli_doc_words(c, words);
    wg_buf_printf(out, "\n%s:\n", c->operand);
    for (size_t i = 0; words[i][0]; i++) wg_buf_printf(out, "  %s\n", words[i]);
  }
  wg_buf_printf(out, "\noptions:\n");
  for (const cli_option *o = c->options; o->name; o++) put_option(out, o, width);
  for (const cli_option *o = cli_common_options; o->name; o++) put_option(out, o, width);
  if (c->examples) {
    wg_buf_printf(out, "\nexamples:\n");
    for (const char *p = c->examples; *p;) {
      size_t len = strcspn(p, "\n");
      wg_buf line;
      wg_buf_init(&line, 1024);
      wg_buf_put(&line, p, len);
      wg_buf_put_u8(&line, 0);
      wg_buf_printf(out, "  ");
      ui_wrap(out, line.failed ? "" : (const char *)wg_buf_head(&line), 2, 6, width);
      wg_buf_put_u8(out, '\n');
      wg_buf_release(&line);
      p += len + (p[len] == '\n');
    }
  }
}

void cli_doc_help(wg_buf *out, const cli_command *c, unsigned width) {
  if (c) {
    put_command(out, c, width);
    return;
  }
  put_text(out, "usage: warp COMMAND [options]", 0, width);
  wg_buf_put_u8(out, '\n');
  put_text(out, "Runs WebAssembly components on the server.", 0, width);
  wg_buf_printf(out, "\ncommands:\n");
  for (size_t i = 0; i < cli_command_count; i++)
    put_row(out, cli_commands[i].name, cli_commands[i].summary, 14, width);
  wg_buf_printf(out, "\noptions:\n");
  for (const cli_option *o = cli_global_options; o->name; o++) {
    char name[64];
    snprintf(name, sizeof name, "-%c, --%s", o->letter, o->name);
    put_row(out, name, o->help, 18, width);
  }
}
