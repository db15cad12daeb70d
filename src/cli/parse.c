/* SPDX-License-Identifier: Apache-2.0 */
/** @file parse.c  From the command line to the command. */
#include "cli/cli.h"
#include "cli/doc/doc.h"
#include "cli/ui.h"
#include "config/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <warpgrid/warpgrid.h>

enum { HELP_MAX = 1 << 20 };

static int print_help(const cli_command *c) {
  wg_buf out;
  wg_buf_init(&out, HELP_MAX);
  cli_doc_help(&out, c, ui_width(1));
  ui_print("%.*s", (int)wg_buf_len(&out), (const char *)wg_buf_head(&out));
  wg_buf_release(&out);
  return CLI_DONE;
}

int cmd_help(const cli_args *args) {
  return print_help(args->file ? cli_find_command(args->file) : NULL);
}

int cmd_completion(const cli_args *args) {
  wg_buf out;
  wg_buf_init(&out, HELP_MAX);
  cli_doc_completion(&out, (cli_shell)cli_choice_index(args->command->words, args->file));
  ui_print("%.*s", (int)wg_buf_len(&out), (const char *)wg_buf_head(&out));
  wg_buf_release(&out);
  return CLI_DONE;
}

static void print_version(void) {
  if (ui_json()) {
    wg_buf out;
    ui_json_begin(&out, "version", true);
    wg_buf_printf(&out, ",\"warp\":");
    ui_json_string(&out, wg_version());
    wg_buf_printf(&out, ",\"wasmtime\":");
    ui_json_string(&out, wg_wasmtime_version());
    ui_json_end(&out);
    return;
  }
  ui_print("warp %s (Wasmtime %s)\n", wg_version(), wg_wasmtime_version());
}

/* ---- options ---- */

static const cli_option *match_option(const cli_option *list, const char *name, size_t len,
                                      char letter) {
  for (const cli_option *o = list; o->name; o++)
    if (letter ? o->letter == letter : strlen(o->name) == len && !memcmp(o->name, name, len))
      return o;
  return NULL;
}

static int unknown_option(const cli_command *c, const char *arg, size_t len) {
  const char *names[2 * CLI_OPTIONS_MAX];
  size_t count = 0;
  for (const cli_option *o = c->options; o->name; o++) names[count++] = o->name;
  for (const cli_option *o = cli_common_options; o->name; o++) names[count++] = o->name;
  char name[64], hint[128];
  snprintf(name, sizeof name, "%.*s", (int)(len < 63 ? len : 63), arg);
  const char *near = cfg_nearest_of(name + strspn(name, "-"), names, count);
  if (near)
    snprintf(hint, sizeof hint, "did you mean --%s?", near);
  else
    snprintf(hint, sizeof hint, "run 'warp %s --help' for its options", c->name);
  return ui_usage(c->name, hint, "unknown option '%s'", name);
}

/** @param command  whose operand it is, or NULL: it stands in the command's place */
static int unknown_command(const char *command, const char *name) {
  const char *names[64];
  char hint[128];
  size_t count = 0;
  for (; count < cli_command_count && count < WG_COUNT(names); count++)
    names[count] = cli_commands[count].name;
  const char *near = cfg_nearest_of(name, names, count);
  if (near)
    snprintf(hint, sizeof hint, "did you mean 'warp %s%s%s'?", command ? command : "",
             command ? " " : "", near);
  else
    snprintf(hint, sizeof hint, "run 'warp --help' for the commands");
  return ui_usage(command ? command : "warp", hint, "unknown command '%s'", name);
}

/** A value that is none of the possible ones. @param what  "value 'x' of '--option'" */
static int not_a_choice(const char *command, const char *choices, const char *what) {
  wg_error err; /* long enough for every list of the table */
  const char *word;
  size_t len, at = (size_t)snprintf(err.hint, sizeof err.hint, "one of:");
  while (cli_next_choice(&choices, &word, &len) && at < sizeof err.hint)
    at += (size_t)snprintf(err.hint + at, sizeof err.hint - at, " %.*s", (int)len, word);
  return ui_usage(command, err.hint, "unknown %s", what);
}

static void add_value(const char ***list, const char *value) {
  size_t n = 0;
  while (*list && (*list)[n]) n++;
  const char **grown = realloc(*list, (n + 2) * sizeof *grown);
  if (!grown) {
    fputs("error: out of memory\n", stderr);
    exit(CLI_FAILED);
  }
  grown[n] = value;
  grown[n + 1] = NULL;
  *list = grown;
}

static size_t option_index(const cli_args *a, const char *option) {
  size_t i = 0;
  while (a->command->options[i].name && strcmp(a->command->options[i].name, option) != 0) i++;
  WG_ASSERT(a->command->options[i].name);
  return i;
}
bool cli_flag(const cli_args *a, const char *option) {
  return a->values[option_index(a, option)] != NULL;
}
const char *const *cli_values(const cli_args *a, const char *option) {
  return a->values[option_index(a, option)];
}
const char *cli_value(const cli_args *a, const char *option) {
  const char *const *v = cli_values(a, option);
  while (v && v[0] && v[1]) v++;
  return v ? *v : NULL;
}

int cli_choice(const cli_args *a, const char *option, int standard) {
  const char *value = cli_value(a, option);
  return value ? cli_choice_index(a->command->options[option_index(a, option)].choices, value)
               : standard;
}

/** What the common options said. */
typedef struct common_values {
  bool help, json;
  ui_color color;
} common_values;

/** Reads one option at argv[*i] and its value. */
static int parse_option(cli_args *a, common_values *common, char **argv, int *i) {
  const char *arg = argv[*i];
  const cli_command *c = a->command;
  const cli_option *o;
  const char *value = NULL;
  size_t len = strlen(arg);
  if (arg[1] == '-') {
    const char *equals = strchr(arg, '=');
    if (equals) len = (size_t)(equals - arg);
    o = match_option(c->options, arg + 2, len - 2, 0);
    if (!o) o = match_option(cli_common_options, arg + 2, len - 2, 0);
    if (equals) value = equals + 1;
  } else {
    o = match_option(c->options, NULL, 0, arg[1]);
    if (!o) o = match_option(cli_common_options, NULL, 0, arg[1]);
    if (o && arg[2]) value = arg + 2;
  }
  if (!o) return unknown_option(c, arg, len);
  if (!o->value && value)
    return ui_usage(c->name, "leave the value out", "option '--%s' takes no value", o->name);
  if (o->value && !value) value = argv[*i + 1] ? argv[++*i] : NULL;
  if (o->value && !value) {
    char hint[128];
    snprintf(hint, sizeof hint, "write --%s %s", o->name, o->value);
    return ui_usage(c->name, hint, "option '--%s' needs a value", o->name);
  }
  int choice = o->choices ? cli_choice_index(o->choices, value) : 0;
  if (choice < 0) {
    char what[256];
    snprintf(what, sizeof what, "value '%s' of '--%s'", value, o->name);
    return not_a_choice(c->name, o->choices, what);
  }
  if (strcmp(o->name, "help") == 0) {
    common->help = true;
  } else if (strcmp(o->name, "json") == 0) {
    common->json = true;
  } else if (strcmp(o->name, "color") == 0) {
    common->color = (ui_color)choice;
    ui_setup(common->color, common->json);
  } else {
    const char ***list = &a->values[o - c->options];
    if (*list && !o->repeats)
      return ui_usage(c->name, "give it once", "option '--%s' was given twice", o->name);
    add_value(list, value ? value : "");
  }
  return CLI_DONE;
}

/** Takes what stands behind the options, or tells why it cannot stand there. */
static int parse_operand(cli_args *a, const char *arg) {
  const cli_command *c = a->command;
  if (c->needs == CLI_NO_FILE)
    return ui_usage(c->name, "run it in the project's folder", "'warp %s' takes no file, got '%s'",
                    c->name, arg);
  bool second = c->needs == CLI_NAME_AND_WORD && a->file && !a->word;
  if (a->file && !second) {
    const char *hint = c->needs == CLI_FILE_AND_REST   ? "put -- in front of the component's own "
                                                         "arguments"
                       : c->needs == CLI_FOLDER        ? "give one folder"
                       : c->needs == CLI_NAME_AND_WORD ? "quote a name with spaces in it"
                       : c->needs >= CLI_WORD          ? "give one word"
                                                       : "give one file";
    return ui_usage(c->name, hint, "unexpected argument '%s'", arg);
  }
  if (second)
    a->word = arg;
  else
    a->file = arg;
  if (c->needs < CLI_WORD || (c->needs == CLI_NAME_AND_WORD && !second)) return CLI_DONE;
  if (!c->words) return cli_find_command(arg) ? CLI_DONE : unknown_command(c->name, arg);
  if (cli_choice_index(c->words, arg) >= 0) return CLI_DONE;
  char what[256];
  snprintf(what, sizeof what, "%s '%s'", c->operand, arg);
  return not_a_choice(c->name, c->words, what);
}

/** What must be there and is not. */
static int check_operand(const cli_args *a) {
  const cli_command *c = a->command;
  char hint[160];
  if (c->needs == CLI_NAME_AND_WORD && !a->word) {
    snprintf(hint, sizeof hint, "write warp %s %s %s", c->name, a->file ? a->file : c->name_operand,
             c->words);
    return ui_usage(c->name, hint, "no %s was given", a->file ? c->operand : c->name_operand);
  }
  if (a->file || (c->needs != CLI_FILE_AND_REST && c->needs != CLI_WORD)) return CLI_DONE;
  if (c->needs == CLI_FILE_AND_REST) {
    snprintf(hint, sizeof hint, "write warp %s FILE", c->name);
    return ui_usage(c->name, hint, "no file was given");
  }
  snprintf(hint, sizeof hint, "write warp %s %s", c->name, c->words);
  return ui_usage(c->name, hint, "no %s was given", c->operand);
}

static int run_command(const cli_command *c, char **argv, common_values common) {
  static const char *const nothing[] = {NULL};
  cli_args a = {.command = c, .rest = nothing};
  int code = CLI_DONE;
  for (int i = 0; argv[i] && code == CLI_DONE; i++) {
    const char *arg = argv[i];
    if (strcmp(arg, "--") == 0) {
      if (c->needs != CLI_FILE_AND_REST && argv[i + 1])
        code = ui_usage(c->name, "leave out what stands behind --",
                        "'warp %s' hands no arguments to the component", c->name);
      a.rest = (const char *const *)&argv[i + 1];
      break;
    }
    code = arg[0] == '-' && arg[1] ? parse_option(&a, &common, argv, &i) : parse_operand(&a, arg);
  }
  if (code == CLI_DONE && common.help) {
    code = print_help(c);
  } else if (code == CLI_DONE) {
    code = check_operand(&a);
    if (code == CLI_DONE) code = c->run(&a);
  }
  for (size_t i = 0; i < CLI_OPTIONS_MAX; i++) free(a.values[i]);
  return code;
}

int cli_main(int argc, char **argv) {
  common_values common = {.color = UI_COLOR_AUTO};
  int code = CLI_USAGE;
  char **arg = argv + (argc > 0);
  /* Wherever --json stands, a mistake in front of it is told as JSON, too. */
  for (char **a = arg; *a && strcmp(*a, "--") != 0; a++) common.json |= strcmp(*a, "--json") == 0;
  ui_setup(common.color, common.json);
  while (*arg && strcmp(*arg, "--json") == 0) arg++;
  if (!*arg) {
    code = ui_usage("warp", "run 'warp --help' for the commands", "no command was given");
  } else if (strcmp(*arg, "--help") == 0 || strcmp(*arg, "-h") == 0) {
    code = print_help(NULL);
  } else if (strcmp(*arg, "--version") == 0 || strcmp(*arg, "-V") == 0) {
    print_version();
    code = CLI_DONE;
  } else if (**arg == '-') {
    code = ui_usage("warp", "options stand behind the command; run 'warp --help'",
                    "unknown option '%s'", *arg);
  } else {
    const cli_command *c = cli_find_command(*arg);
    code = c ? run_command(c, arg + 1, common) : unknown_command(NULL, *arg);
  }
  /* A reader that went away is no news, but the result did not arrive. */
  if (!ui_flush() && code == CLI_DONE) code = CLI_FAILED;
  return code;
}
