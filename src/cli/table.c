/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/ui.h"
#include "config/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <warpgrid/warpgrid.h>

#define OPT_CONFIG                                                                                 \
  {"config", 'c', "FILE", "Configuration (default: warp.toml or .warpgrid.toml, if there is one)", \
   false}
#define OPT_ENV {"env", 'e', "K=V", "Environment variable of the guest", true}
#define OPT_DIR \
  {"dir", 'd', "HOST::GUEST", "Folder that the guest sees; HOST::GUEST:rw lets it write", true}
#define OPT_TRUSTED {"trusted", 0, NULL, "Load precompiled native code (.cwasm)", false}
#define OPT_LOG_FORMAT {"log-format", 0, "FORMAT", "logfmt (default) or json", false}
#define OPT_LOG_LEVEL(standard) \
  {"log-level", 0, "LEVEL", "error, warn, info or debug (default: " standard ")", false}

const cli_command cli_commands[] = {
    {"pack",
     cmd_pack,
     "Compile a project to a WebAssembly component",
     "Reads name, lang and [build] of warp.toml and writes dist/NAME.wasm.",
     CLI_NO_FILE,
     {{"lang", 'l', "LANG", "Language of the project: c (default: lang of warp.toml)", false},
      {"world", 'w', "WORLD", "What to make: service-p2, service-p3, command-p2, ...", false},
      {"output", 'o', "FILE", "Component to write", false},
      {"verbose", 'v', NULL, "Print the compiler's command line", false},
      OPT_CONFIG}},
    {"serve",
     cmd_serve,
     "Serve HTTP with a component",
     "Without FILE it serves the component of warp.toml. Prints one URL a line when it listens.\n"
     "Ctrl-C or SIGTERM lets requests in progress finish; a second one does not.",
     CLI_FILE_OR_CONFIG,
     {{"listen", 0, "ADDR:PORT", "Address to listen on (default: [http] listen, localhost:8080)",
       true},
      {"workers", 0, "N", "Threads (default: [http] workers, one per core)", false},
      OPT_ENV,
      OPT_DIR,
      OPT_TRUSTED,
      OPT_LOG_FORMAT,
      OPT_LOG_LEVEL("info"),
      OPT_CONFIG}},
    {"run",
     cmd_run,
     "Run a command component",
     "Standard input, output and exit code are those of the component.",
     CLI_FILE_AND_REST,
     {OPT_ENV, OPT_DIR, OPT_TRUSTED, OPT_LOG_FORMAT, OPT_LOG_LEVEL("warn"), OPT_CONFIG}},
    {"validate",
     cmd_validate,
     "Tell what a component needs and whether it can run here",
     "Lists kind, exports and imports, and compares the shims that it needs with warp.toml.\n"
     "Exits with 1 when it could not run.",
     CLI_FILE_OR_CONFIG,
     {{"strict", 0, NULL, "Warnings about warp.toml are findings too", false},
      OPT_TRUSTED,
      OPT_CONFIG}},
};
const size_t cli_command_count = WG_COUNT(cli_commands);

/* Every command has these. */
static const cli_option common_options[] = {
    {"json", 0, NULL, "Print results and errors as JSON", false},
    {"color", 0, "WHEN", "auto (default), always or never", false},
    {"help", 'h', NULL, "Print help", false},
};

/* ---- help ---- */

static void print_option(const cli_option *o) {
  char left[40];
  char letter[5] = "    ";
  if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
  snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->value ? " " : "",
           o->value ? o->value : "");
  ui_print("  %-27s %s%s\n", left, o->help, o->repeats ? "; repeats" : "");
}

static void print_command_help(const cli_command *c) {
  static const char *const operands[] = {"", " [FILE]", " FILE"};
  ui_print("usage: warp %s [options]%s%s\n\n%s.\n", c->name, operands[c->needs],
           c->needs == CLI_FILE_AND_REST ? " [-- ARGS]" : "", c->summary);
  if (c->about) ui_print("%s\n", c->about);
  ui_print("\noptions:\n");
  for (const cli_option *o = c->options; o->name; o++) print_option(o);
  for (size_t i = 0; i < WG_COUNT(common_options); i++) print_option(&common_options[i]);
}

static void print_help(void) {
  ui_print("usage: warp COMMAND [options]\n\n"
           "Runs WebAssembly components on the server.\n\ncommands:\n");
  for (size_t i = 0; i < cli_command_count; i++)
    ui_print("  %-10s %s\n", cli_commands[i].name, cli_commands[i].summary);
  ui_print("\noptions:\n"
           "  -h, --help     Print help; `warp COMMAND --help` tells more\n"
           "  -V, --version  Print the versions of warp and of Wasmtime\n");
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

/* ---- parsing ---- */

static const cli_option *find_option(const cli_command *c, const char *name, size_t len,
                                     char letter) {
  for (const cli_option *o = c->options; o->name; o++)
    if (letter ? o->letter == letter : strlen(o->name) == len && !memcmp(o->name, name, len))
      return o;
  for (size_t i = 0; i < WG_COUNT(common_options); i++) {
    const cli_option *o = &common_options[i];
    if (letter ? o->letter == letter : strlen(o->name) == len && !memcmp(o->name, name, len))
      return o;
  }
  return NULL;
}

static int unknown_option(const cli_command *c, const char *arg, size_t len) {
  const char *names[CLI_OPTIONS_MAX + WG_COUNT(common_options)];
  size_t count = 0;
  for (const cli_option *o = c->options; o->name; o++) names[count++] = o->name;
  for (size_t i = 0; i < WG_COUNT(common_options); i++) names[count++] = common_options[i].name;
  char name[64], hint[128];
  snprintf(name, sizeof name, "%.*s", (int)(len < 63 ? len : 63), arg);
  const char *near = cfg_nearest_of(name + strspn(name, "-"), names, count);
  if (near)
    snprintf(hint, sizeof hint, "did you mean --%s?", near);
  else
    snprintf(hint, sizeof hint, "run 'warp %s --help' for its options", c->name);
  return ui_usage(c->name, hint, "unknown option '%s'", name);
}

static int unknown_command(const char *name) {
  const char *names[WG_COUNT(cli_commands)];
  char hint[128];
  for (size_t i = 0; i < cli_command_count; i++) names[i] = cli_commands[i].name;
  const char *near = cfg_nearest_of(name, names, cli_command_count);
  if (near)
    snprintf(hint, sizeof hint, "did you mean 'warp %s'?", near);
  else
    snprintf(hint, sizeof hint, "run 'warp --help' for the commands");
  return ui_usage("warp", hint, "unknown command '%s'", name);
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

/** What the common options said. */
typedef struct common_values {
  bool help, json;
  ui_color color;
} common_values;

static int set_color(common_values *common, const char *command, const char *value) {
  static const char *const words[] = {"auto", "always", "never"};
  for (size_t i = 0; i < WG_COUNT(words); i++) {
    if (!value || strcmp(value, words[i]) != 0) continue;
    common->color = (ui_color)i;
    ui_setup(common->color, common->json);
    return CLI_DONE;
  }
  return ui_usage(command, "write --color auto, always or never", "unknown colour mode '%s'",
                  value);
}

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
    o = find_option(c, arg + 2, len - 2, 0);
    if (equals) value = equals + 1;
  } else {
    o = find_option(c, NULL, 0, arg[1]);
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
  if (strcmp(o->name, "help") == 0)
    common->help = true;
  else if (strcmp(o->name, "json") == 0)
    common->json = true;
  else if (strcmp(o->name, "color") == 0)
    return set_color(common, c->name, value);
  else {
    const char ***list = &a->values[o - c->options];
    if (*list && !o->repeats)
      return ui_usage(c->name, "give it once", "option '--%s' was given twice", o->name);
    add_value(list, value ? value : "");
  }
  return CLI_DONE;
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
    if (arg[0] == '-' && arg[1]) {
      code = parse_option(&a, &common, argv, &i);
    } else if (c->needs == CLI_NO_FILE) {
      code = ui_usage(c->name, "run it in the project's folder",
                      "'warp %s' takes no file, got '%s'", c->name, arg);
    } else if (a.file) {
      code = ui_usage(c->name,
                      c->needs == CLI_FILE_AND_REST
                          ? "put -- in front of the component's own arguments"
                          : "give one file",
                      "unexpected argument '%s'", arg);
    } else {
      a.file = arg;
    }
  }
  if (code == CLI_DONE && common.help) {
    print_command_help(c);
  } else if (code == CLI_DONE && c->needs == CLI_FILE_AND_REST && !a.file) {
    char hint[64];
    snprintf(hint, sizeof hint, "write warp %s FILE", c->name);
    code = ui_usage(c->name, hint, "no file was given");
  } else if (code == CLI_DONE) {
    code = c->run(&a);
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
  } else if (strcmp(*arg, "--help") == 0 || strcmp(*arg, "-h") == 0 || strcmp(*arg, "help") == 0) {
    print_help();
    code = CLI_DONE;
  } else if (strcmp(*arg, "--version") == 0 || strcmp(*arg, "-V") == 0) {
    print_version();
    code = CLI_DONE;
  } else if (**arg == '-') {
    code = ui_usage("warp", "options stand behind the command; run 'warp --help'",
                    "unknown option '%s'", *arg);
  } else {
    const cli_command *c = NULL;
    for (size_t i = 0; i < cli_command_count; i++)
      if (strcmp(cli_commands[i].name, *arg) == 0) c = &cli_commands[i];
    code = c ? run_command(c, arg + 1, common) : unknown_command(*arg);
  }
  /* A reader that went away is no news, but the result did not arrive. */
  if (!ui_flush() && code == CLI_DONE) code = CLI_FAILED;
  return code;
}
