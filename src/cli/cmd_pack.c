/* SPDX-License-Identifier: Apache-2.0 */
/** @file cmd_pack.c  `warp pack`: one build (cli/build/build.h), and a report of what it made. */
#include "base/log.h"
#include "base/text.h"
#include "cli/build/build.h"
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/imports.h"
#include "cli/sizes.h"
#include "cli/ui.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <warpgrid/warpgrid.h>

static void on_say(void *user, const char *line) {
  (void)user;
  fprintf(stderr, "%s\n", line);
}

/** Signals that ask for an end wait in a file descriptor from now on.
 *  @return -1 with err */
static int stops_begin(sigset_t *before, wg_error *err) {
  sigset_t stops;
  common_block_stops(&stops, before);
  int fd = signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) wg_error_set(err, WG_IO, errno, "cannot wait for signals: %s", wg_os_error(errno));
  return fd;
}

static void stops_end(int fd, const sigset_t *before) {
  /* What came meanwhile shall not end us now, when all is cleaned up. */
  struct signalfd_siginfo seen;
  while (fd >= 0 && read(fd, &seen, sizeof seen) > 0) continue;
  if (fd >= 0) close(fd);
  sigprocmask(SIG_SETMASK, before, NULL);
}

/** Builds to the end, or until a signal asks for one.
 *  @param out  gets the build, when there is one
 *  @return CLI_DONE, CLI_INTERRUPTED, or CLI_FAILED with err */
static int pack_build(const cli_build_request *request, cli_build **out, wg_error *err) {
  sigset_t before;
  bool ended = false;
  int stop = stops_begin(&before, err);
  int code = stop >= 0 && cli_build_start(request, out, err) == WG_OK ? CLI_DONE : CLI_FAILED;
  while (code == CLI_DONE && !ended) {
    struct pollfd both[] = {{.fd = cli_build_fd(*out), .events = POLLIN},
                            {.fd = stop, .events = POLLIN}};
    poll(both, WG_COUNT(both), -1);
    if (both[1].revents)
      code = CLI_INTERRUPTED;
    else if (cli_build_step(*out, &ended, err) != WG_OK)
      code = CLI_FAILED;
  }
  if (code == CLI_INTERRUPTED) cli_build_cancel(*out);
  stops_end(stop, &before);
  return code;
}

/** Compiles the component to native code: FILE.wasm to FILE.cwasm.
 *  @param out  owned by the caller; NULL when it fails */
static wg_code pack_cwasm(const char *config_path, const char *output, char **out, wg_error *err) {
  size_t len = strlen(output);
  if (len > 5 && strcmp(output + len - 5, ".wasm") == 0) len -= 5;
  wg_engine_options options = {.config_path = config_path, .on_warning = common_warn};
  wg_engine *engine = NULL;
  wg_component *component = NULL;
  char *path = NULL;
  wg_log_setup(WG_LOG_ERROR, WG_LOG_LOGFMT, 2);
  if (asprintf(&path, "%.*s.cwasm", (int)len, output) < 0)
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  wg_code code = wg_engine_new(&options, &engine, err);
  if (code == WG_OK) code = wg_engine_load(engine, output, 0, &component, err);
  if (code == WG_OK) code = wg_component_save(component, path, err);
  wg_component_free(component);
  wg_engine_free(engine);
  if (code != WG_OK)
    free(path);
  else
    *out = path;
  return code;
}

static void print_json(const cli_build_result *r, const cli_sizes *s, const cli_imports *needs,
                       bool debug, const char *cwasm) {
  wg_buf out;
  ui_json_begin(&out, "pack", true);
  wg_buf_printf(&out, ",\"output\":");
  ui_json_string(&out, r->output);
  wg_buf_printf(&out, ",\"lang\":\"%s\",\"world\":", r->lang);
  if (r->world)
    ui_json_string(&out, r->world);
  else
    wg_buf_printf(&out, "null");
  wg_buf_printf(&out, ",\"profile\":\"%s\",\"fresh\":%s,\"seconds\":%.3f,\"bytes\":%llu",
                debug ? "debug" : "release", r->fresh ? "true" : "false", r->seconds,
                (unsigned long long)r->bytes);
  wg_buf_printf(&out,
                ",\"sections\":{\"code\":%llu,\"data\":%llu,\"custom\":%llu,\"other\":%llu}"
                ",\"shims\":[",
                (unsigned long long)s->code, (unsigned long long)s->data,
                (unsigned long long)s->custom, (unsigned long long)s->other);
  cli_imports_put_shims(needs, "\"", ",", &out);
  wg_buf_printf(&out, "],\"cwasm\":");
  if (cwasm)
    ui_json_string(&out, cwasm);
  else
    wg_buf_printf(&out, "null");
  ui_json_end(&out);
}

static void print_size(const char *what, uint64_t bytes) {
  fprintf(stderr, "  %-8s%10.1f KiB\n", what, (double)bytes / 1024);
}

static void print_report(const cli_build_result *r, const cli_sizes *s, const cli_imports *needs,
                         bool table) {
  if (r->fresh) fprintf(stderr, "up to date\n");
  if (!table) return;
  print_size("code", s->code);
  print_size("data", s->data);
  print_size("custom", s->custom);
  print_size("other", s->other);
  print_size("total", s->total);
  fprintf(stderr, "  %-8s%10.2f s\n", "time", r->seconds);
  wg_buf text, lines;
  wg_buf_init(&text, 1024);
  wg_buf_init(&lines, 1024);
  cli_imports_put(needs, &text);
  if (wg_buf_len(&text)) {
    wg_buf_put_u8(&text, 0);
    ui_wrap(&lines, (const char *)wg_buf_head(&text), 2, 2,
            isatty(STDERR_FILENO) ? ui_width(STDERR_FILENO) : UINT_MAX);
    fprintf(stderr, "  %.*s\n", (int)wg_buf_len(&lines), (const char *)wg_buf_head(&lines));
  }
  wg_buf_release(&lines);
  wg_buf_release(&text);
}

/** What comes after a build that made a component. */
static int pack_report(const cli_args *args, cli_build *b) {
  wg_error err;
  const cli_build_result *r = cli_build_get_result(b);
  cli_sizes sizes;
  cli_imports needs;
  char *cwasm = NULL;
  wg_code code = cli_sizes_of_file(r->output, &sizes, &err);
  /* A form of imports that is newer than this version is not a failure of the build. */
  if (code == WG_OK && cli_imports_of_file(r->output, &needs, &err) != WG_OK)
    needs = (cli_imports){.other = true};
  if (code == WG_OK && cli_flag(args, "cwasm"))
    code = pack_cwasm(cli_value(args, "config"), r->output, &cwasm, &err);
  if (code != WG_OK) return ui_fail("pack", &err, CLI_FAILED);
  if (ui_json()) {
    print_json(r, &sizes, &needs, cli_flag(args, "debug"), cwasm);
  } else {
    print_report(r, &sizes, &needs, cli_flag(args, "verbose") || isatty(STDERR_FILENO));
    ui_print("%s\n", r->output);
    if (cwasm) ui_print("%s\n", cwasm);
  }
  free(cwasm);
  return CLI_DONE;
}

int cmd_pack(const cli_args *args) {
  wg_error err;
  wg_config *config = NULL;
  cli_build *b = NULL;
  if (cli_flag(args, "debug") && cli_flag(args, "release"))
    return ui_usage("pack", "give one of them", "'--debug' and '--release' exclude each other");
  wg_code code = wg_config_load(cli_value(args, "config"), common_warn, NULL, &config, &err);
  int exit_code = CLI_FAILED;
  if (code == WG_OK) {
    const cli_build_request request = {.config = config,
                                       .lang = cli_value(args, "lang"),
                                       .world = cli_value(args, "world"),
                                       .output = cli_value(args, "out"),
                                       .debug = cli_flag(args, "debug"),
                                       .color = ui_colored(),
                                       .show_commands = cli_flag(args, "verbose"),
                                       .say = on_say};
    exit_code = pack_build(&request, &b, &err);
  }
  if (exit_code == CLI_FAILED) {
    ui_fail("pack", &err, exit_code);
  } else if (exit_code == CLI_INTERRUPTED) {
    wg_error_set(&err, WG_CANCELED, 0, "interrupted");
    ui_fail("pack", &err, exit_code);
  } else if ((exit_code = cli_build_get_result(b)->exit_code) != CLI_DONE) {
    /* A compiler that ended by itself has told people why; programs are told that it did. */
    cli_build_failure(cli_build_get_result(b), &err);
    if (ui_json() || cli_build_get_result(b)->signal) ui_fail("pack", &err, exit_code);
  } else {
    exit_code = pack_report(args, b);
  }
  cli_build_free(b);
  wg_config_free(config);
  return exit_code;
}
