/* SPDX-License-Identifier: Apache-2.0 */
/** @file table.c  The rows. `make docs` writes docs/cli.md and docs/man/ again after a change. */
#include "cli/cli.h"

#include <string.h>

#define OPT_CONFIG                                                \
  {                                                               \
      .name = "config",                                           \
      .letter = 'c',                                              \
      .value = "FILE",                                            \
      .help = "Configuration to read",                            \
      .standard = "warp.toml or .warpgrid.toml, if there is one", \
  }
#define OPT_ENV                                    \
  {                                                \
      .name = "env",                               \
      .letter = 'e',                               \
      .value = "K=V",                              \
      .help = "Environment variable of the guest", \
      .repeats = true,                             \
  }
#define OPT_DIR                                                             \
  {                                                                         \
      .name = "dir",                                                        \
      .letter = 'd',                                                        \
      .value = "HOST::GUEST",                                               \
      .help = "Folder that the guest sees; `HOST::GUEST:rw` lets it write", \
      .repeats = true,                                                      \
  }
#define OPT_ADMIN                                  \
  {                                                \
      .name = "admin",                             \
      .value = "ADDR:PORT",                        \
      .help = "Its admin endpoint, also as a URL", \
      .standard = "[admin] listen of warp.toml",   \
  }
#define OPT_TRUSTED {.name = "trusted", .help = "Load precompiled native code (.cwasm)"}
#define OPT_LOG_FORMAT             \
  {                                \
      .name = "log-format",        \
      .value = "FORMAT",           \
      .help = "Format of the log", \
      .choices = "logfmt|json",    \
      .standard = "logfmt",        \
  }
#define OPT_LOG_LEVEL(level)                \
  {                                         \
      .name = "log-level",                  \
      .value = "LEVEL",                     \
      .help = "Least level that is logged", \
      .choices = "error|warn|info|debug",   \
      .standard = (level),                  \
  }

const cli_command cli_commands[] = {
    {.name = "init",
     .run = cmd_init,
     .summary = "Begin a project in a new or existing folder",
     .about = "Writes a small HTTP service with its configuration and tests to DIR, or to the "
              "current folder, and prints the files. A file that is there already is never "
              "overwritten: then nothing is written at all.\n"
              "On a terminal it asks for what is not given.",
     .examples = "warp init shop\nwarp init shop --template rust --http p3 --yes\n"
                 "warp init shop --template async-rust",
     .needs = CLI_FOLDER,
     .options = {{.name = "template",
                  .letter = 't',
                  .value = "NAME",
                  .help = "Language to begin with; async-rust is of WASI 0.3",
                  .choices = "c|rust|async-rust",
                  .standard = "c"},
                 {.name = "name",
                  .value = "NAME",
                  .help = "Name of the service: lower-case letters, digits and '-'",
                  .standard = "that of the folder"},
                 {.name = "http",
                  .value = "WASI",
                  .help = "WASI 0.2 or 0.3",
                  .choices = "p2|p3",
                  .standard = "p2"},
                 {.name = "database",
                  .value = "KIND",
                  .help = "Database that a service of c or async-rust talks to",
                  .choices = "none|postgres",
                  .standard = "none, or postgres of async-rust"},
                 {.name = "yes", .letter = 'y', .help = "Ask nothing, take the defaults"}}},
    {.name = "pack",
     .run = cmd_pack,
     .summary = "Compile a project to a WebAssembly component",
     .about = "Reads name, lang and [build] of warp.toml and writes dist/NAME.wasm. Without --lang "
              "and lang the files in the project's folder tell the language.\n"
              "When nothing has changed, the component stays as it is. The compiler's messages "
              "and exit code pass through.",
     .examples = "warp pack\nwarp pack --world service-p3 --out dist/app.wasm\n"
                 "warp pack --debug --verbose",
     .needs = CLI_NO_FILE,
     .options = {{.name = "lang",
                  .letter = 'l',
                  .value = "LANG",
                  .help = "Language of the project; this version packs c and rust",
                  .choices = "c|rust|go|bun|typescript|js",
                  .standard = "lang of warp.toml, else what the files tell"},
                 {.name = "world",
                  .letter = 'w',
                  .value = "WORLD",
                  .help = "What to make of C, such as service-p2, service-p3 or command-p2",
                  .standard = "[build] world, service-p2"},
                 {.name = "out",
                  .letter = 'o',
                  .value = "FILE",
                  .help = "Component to write",
                  .standard = "[build] component, dist/NAME.wasm"},
                 {.name = "release", .help = "Optimise and strip, as without it"},
                 {.name = "debug", .help = "Do not optimise, and keep debug information"},
                 {.name = "cwasm", .help = "Also compile to native code, FILE.cwasm beside it"},
                 {.name = "verbose",
                  .letter = 'v',
                  .help = "Print the commands that are run, and the sizes"},
                 OPT_CONFIG}},
    {.name = "dev",
     .run = cmd_dev,
     .summary = "Build, serve, and rebuild on every save",
     .about = "Builds the project as `warp pack --debug` does, serves it, and prints one URL and "
              "its routes. When a source or warp.toml is saved it builds again and swaps the new "
              "code in without losing a request; a newer save cancels a build that runs. When a "
              "build fails, its messages are shown and the last good one is still served.\n"
              "Databases on this machine need no declaration here: the service's own user and "
              "password are used. Ctrl-C ends it.",
     .examples = "warp dev\nwarp dev --listen 127.0.0.1:3000 --env LOG=debug",
     .needs = CLI_NO_FILE,
     .options = {{.name = "listen",
                  .value = "ADDR:PORT",
                  .help = "Address to listen on",
                  .repeats = true,
                  .standard = "[http] listen, localhost:8080"},
                 {.name = "release", .help = "Optimise, as for production"},
                 OPT_ENV,
                 OPT_DIR,
                 OPT_LOG_FORMAT,
                 OPT_LOG_LEVEL("info"),
                 OPT_CONFIG}},
    {.name = "serve",
     .run = cmd_serve,
     .summary = "Serve HTTP with a component",
     .about = "Without FILE it serves the [services] of warp.toml, or the one component that it "
              "names. Prints one URL a line when it listens.\n"
              "SIGHUP reads warp.toml and the components again and swaps them without losing a "
              "request; when they are wrong, the old ones stay. Guests of the old code that asked "
              "for the signal `hangup` are told when they were swapped.\n"
              "Ctrl-C or SIGTERM lets requests in progress finish, at most for "
              "limits.drain_timeout; a second one does not. Guests that asked for `interrupt` or "
              "`terminate` are told first.",
     .examples = "warp serve\nwarp serve dist/app.wasm --listen 127.0.0.1:0 --env LOG=debug",
     .needs = CLI_FILE_OR_CONFIG,
     .options = {{.name = "listen",
                  .value = "ADDR:PORT",
                  .help = "Address to listen on",
                  .repeats = true,
                  .standard = "[http] listen, localhost:8080"},
                 {.name = "admin",
                  .value = "ADDR:PORT",
                  .help = "Loopback address of the admin endpoint: /healthz, /metrics, /stats, "
                          "/reload, /drain, /signal",
                  .repeats = true,
                  .standard = "[admin] listen, none"},
                 {.name = "workers",
                  .value = "N",
                  .help = "Threads",
                  .standard = "[http] workers, one per core"},
                 OPT_ENV,
                 OPT_DIR,
                 OPT_TRUSTED,
                 OPT_LOG_FORMAT,
                 OPT_LOG_LEVEL("info"),
                 OPT_CONFIG}},
    {.name = "run",
     .run = cmd_run,
     .summary = "Run a command component",
     .about =
         "Standard input, output and exit code are those of the component.\n"
         "Ctrl-C or SIGTERM ends it with exit code 130. One that asked for the signal "
         "`interrupt` or `terminate` is told, and may end by itself within "
         "limits.drain_timeout; a second one cuts it. SIGHUP is `hangup` to one that asked for "
         "it, and ends others as the system does.",
     .examples = "warp run dist/tool.wasm -- --verbose input.txt\n"
                 "warp run dist/tool.wasm --dir data::/data:rw",
     .needs = CLI_FILE_AND_REST,
     .options = {OPT_ENV, OPT_DIR, OPT_TRUSTED, OPT_LOG_FORMAT, OPT_LOG_LEVEL("warn"), OPT_CONFIG}},
    {.name = "validate",
     .run = cmd_validate,
     .summary = "Tell what a component needs and whether it can run here",
     .about =
         "Checks warp.toml. Of FILE, or the components of warp.toml, it lists kind, exports "
         "and imports, and compares the shims that they need with warp.toml. Exits with 1 when "
         "one could not run.",
     .examples = "warp validate\nwarp validate dist/app.wasm --strict --json",
     .needs = CLI_FILE_OR_CONFIG,
     .options = {{.name = "strict", .help = "Warnings about warp.toml are findings, too"},
                 {.name = "schema", .help = "Print the JSON Schema of warp.toml, and do no more"},
                 OPT_TRUSTED,
                 OPT_CONFIG}},
    {.name = "inspect",
     .run = cmd_inspect,
     .summary = "Tell what is in a component, or what a running server does",
     .about =
         "Of FILE, or the component of warp.toml: kind, imports, exports, sections and the "
         "tools that made it, also when it could not run here.\n"
         "With --running it asks the admin endpoint of a running `warp serve` for its "
         "requests, instances and database pools, and for the instances that asked for signals "
         "or declared a threading model.",
     .examples = "warp inspect dist/app.wasm\nwarp inspect --running --admin 127.0.0.1:9090 --json",
     .needs = CLI_FILE_OR_CONFIG,
     .options = {{.name = "running", .help = "Ask a running server in place of a file"},
                 OPT_ADMIN,
                 OPT_TRUSTED,
                 OPT_CONFIG}},
    {.name = "signal",
     .run = cmd_signal,
     .summary = "Tell the guests of a running server a signal",
     .about = "Asks the admin endpoint of a running `warp serve`. NAME is a service's name, and "
              "NAME@ID one of its instances, whose ids `warp inspect --running` shows.\n"
              "Only instances that asked for the signal get it, also those of the code before a "
              "reload. It prints how many were told; none is no failure. An instance of WASI 0.2 "
              "lives for one request, unless [http] reuse says more, and can be told only then.\n"
              "`terminate` told in this way stops no server.",
     .examples = "warp signal shop hangup\n"
                 "warp signal shop@6145 terminate --admin 127.0.0.1:9090 --json",
     .needs = CLI_NAME_AND_WORD,
     .name_operand = "NAME",
     .operand = "SIGNAL",
     .words = "terminate|hangup|interrupt",
     .options = {OPT_ADMIN, OPT_CONFIG}},
    {.name = "stats",
     .run = cmd_stats,
     .summary = "Show the database pools of a running server",
     .about = "Asks the admin endpoint of a running `warp serve`. On a terminal the table is drawn "
              "again each second until q or Ctrl-C; else it is printed once.\n"
              "A row is one pool: a server, database and user. `wait p50` and `wait p99` are the "
              "milliseconds below which half and 99 of 100 connects got their connection, and "
              "`failed` counts connections that could not be made or were lost; --json tells the "
              "causes, and /metrics of the endpoint has the same for Prometheus.",
     .examples = "warp stats\nwarp stats --once --admin 127.0.0.1:9090\nwarp stats --json",
     .needs = CLI_NO_FILE,
     .options = {{.name = "once", .help = "Print one table, also on a terminal"},
                 OPT_ADMIN,
                 OPT_CONFIG}},
    {.name = "completion",
     .run = cmd_completion,
     .summary = "Print the completion script of a shell",
     .about = "bash: add `source <(warp completion bash)` to ~/.bashrc.\n"
              "zsh: add `source <(warp completion zsh)` to ~/.zshrc, after compinit.\n"
              "fish: `warp completion fish > ~/.config/fish/completions/warp.fish`.",
     .needs = CLI_WORD,
     .operand = "SHELL",
     .words = "bash|zsh|fish"},
    {.name = "help",
     .run = cmd_help,
     .summary = "Print the commands, or what one of them does",
     .needs = CLI_WORD_OR_NONE,
     .operand = "COMMAND"},
};
const size_t cli_command_count = WG_COUNT(cli_commands);

const cli_option cli_common_options[] = {
    {.name = "json", .help = "Print results and errors as JSON"},
    {.name = "color",
     .value = "WHEN",
     .help = "Colour of messages",
     .choices = "auto|always|never",
     .standard = "auto"},
    {.name = "help", .letter = 'h', .help = "Print help"},
    {0},
};

const cli_option cli_global_options[] = {
    {.name = "help", .letter = 'h', .help = "Print help; `warp COMMAND --help` tells more"},
    {.name = "version", .letter = 'V', .help = "Print the versions of warp and of Wasmtime"},
    {0},
};

const cli_note cli_exit_codes[] = {
    {"0", "Done"},
    {"1", "It failed, or `warp validate` found something"},
    {"2", "The command line is wrong; nothing was done"},
    {"130", "Interrupted"},
    {"other", "Of the compiler that `warp pack` ran"},
    {0},
};

const cli_note cli_environment[] = {
    {"NO_COLOR",
     "When it is not empty, messages have no colour unless `--color always` asks for it"},
    {"WARPGRID_CACHE",
     "Folder for compiled components and tools, in place of `XDG_CACHE_HOME` or ~/.cache"},
    {"WARPGRID_CLANG", "The compiler that `warp pack` runs for C, in place of clang-22"},
    {"WARPGRID_RUSTC",
     "The compiler that `warp pack` has cargo run for Rust, in place of rustup's"},
    {"WARPGRID_SDK", "Folder of the C SDK, in place of sdk/c beside the executable"},
    {"WARPGRID_TRACE", "What Wasmtime tells on stderr of what it does: [TARGET=]LEVEL,..., such as "
                       "`wasmtime::runtime::component=trace`"},
    {0},
};

const cli_note cli_files[] = {
    {"warp.toml", "Configuration of the project; docs/config.md has every key"},
    {".warpgrid.toml", "The same, when there is no warp.toml"},
    {0},
};

const cli_command *cli_find_command(const char *name) {
  for (size_t i = 0; i < cli_command_count; i++)
    if (strcmp(cli_commands[i].name, name) == 0) return &cli_commands[i];
  return NULL;
}

bool cli_next_choice(const char **at, const char **word, size_t *len) {
  if (!*at) return false;
  const char *bar = strchr(*at, '|');
  *word = *at;
  *len = bar ? (size_t)(bar - *at) : strlen(*at);
  *at = bar ? bar + 1 : NULL;
  return true;
}

int cli_choice_index(const char *choices, const char *word) {
  const char *one;
  size_t len;
  for (int i = 0; cli_next_choice(&choices, &one, &len); i++)
    if (strlen(word) == len && memcmp(one, word, len) == 0) return i;
  return -1;
}

bool cli_has_option(const cli_command *c, const char *name) {
  for (const cli_option *o = c->options; o->name; o++)
    if (strcmp(o->name, name) == 0) return true;
  return false;
}
