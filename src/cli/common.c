/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/common.h"

#include "config/config.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int common_options_read(const cli_args *args, wg_log_level standard, wg_engine_options *options) {
  int level = (int)standard, format = WG_LOG_LOGFMT;
  options->config_path = cli_value(args, "config");
  if (cli_has_option(args->command, "log-level")) {
    level = cli_choice(args, "log-level", level);
    format = cli_choice(args, "log-format", format);
  }
  wg_log_setup((wg_log_level)level, (wg_log_format)format, 2);
  if (cli_has_option(args->command, "env")) {
    options->env = cli_values(args, "env");
    options->dirs = cli_values(args, "dir");
    for (const char *const *e = options->env; e && *e; e++) {
      const char *equals = strchr(*e, '=');
      if (!equals || equals == *e)
        return ui_usage(args->command->name, "write --env NAME=VALUE", "'%s' is not NAME=VALUE",
                        *e);
    }
  }
  return CLI_DONE;
}

static void on_warning(void *user, const char *text) {
  common_engine *x = user;
  if (ui_json()) {
    if (x->warnings) wg_buf_put_u8(&x->told, ',');
    ui_json_string(&x->told, text);
  } else {
    ui_warn(text);
  }
  x->warnings++;
}

int common_check_addresses(const cli_args *args, const char *const *list,
                           wg_code (*check)(const char *text, wg_error *err)) {
  wg_error err;
  for (; list && *list; list++)
    if (check(*list, &err) != WG_OK) return ui_usage(args->command->name, err.hint, "%s", err.msg);
  return CLI_DONE;
}

wg_code common_check_listen(const char *text, wg_error *err) {
  char host[256];
  uint16_t port;
  return wg_listen_parse(text, host, &port, err);
}

void common_warn(void *user, const char *text) {
  (void)user;
  if (!ui_json()) ui_warn(text);
}

int common_engine_new(const cli_args *args, wg_engine_options *options, common_engine *out) {
  wg_error err;
  options->on_warning = on_warning;
  options->user = out;
  wg_buf_init(&out->told, 1 << 20);
  if (wg_engine_new(options, &out->engine, &err) != WG_OK)
    return ui_fail(args->command->name, &err, CLI_FAILED);
  out->path = args->file ? args->file : wg_engine_component_path(out->engine);
  return CLI_DONE;
}

int common_load(const cli_args *args, wg_engine_options *options, common_engine *out) {
  wg_error err;
  int exit_code = common_engine_new(args, options, out);
  if (exit_code != CLI_DONE) return exit_code;
  unsigned flags = cli_flag(args, "trusted") ? WG_LOAD_TRUSTED : 0;
  wg_code rc = wg_engine_load(out->engine, out->path, flags, &out->component, &err);
  if (rc == WG_NOT_FOUND && !args->file)
    wg_error_hint(&err, "run 'warp pack' first, or give a file: warp %s FILE", args->command->name);
  return rc == WG_OK ? CLI_DONE : ui_fail(args->command->name, &err, CLI_FAILED);
}

void common_free(common_engine *x) {
  wg_app_free(x->app);
  wg_component_free(x->component);
  wg_engine_free(x->engine);
  wg_buf_release(&x->told);
}

void common_block_stops(sigset_t *stops, sigset_t *before) {
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  sigemptyset(stops);
  for (size_t i = 0; i < WG_COUNT(signals); i++) {
    struct sigaction now;
    /* Blocked, an ignored signal would be kept, and read. */
    if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
      sigaddset(stops, signals[i]);
  }
  pthread_sigmask(SIG_BLOCK, stops, before);
}

wg_signal common_signal_of(int signal_number) {
  return signal_number == SIGINT ? WG_SIGNAL_INTERRUPT : WG_SIGNAL_TERMINATE;
}

static _Atomic(wg_engine *) stopping, reloading;

static volatile sig_atomic_t on_terminal;

/** A SIGHUP because the terminal was closed is the user's goodbye, not a wish for a reload. */
static void on_hangup(int signal_number) {
  (void)signal_number;
  wg_engine *e = atomic_load(&reloading);
  int saved = errno;
  if (e && on_terminal && tcgetpgrp(STDIN_FILENO) < 0)
    wg_engine_stop(e);
  else if (e)
    wg_engine_reload(e);
  errno = saved;
}

void common_reload_on_hangup(wg_engine *engine) {
  struct sigaction action = {.sa_flags = SA_RESTART, .sa_handler = on_hangup};
  atomic_store(&reloading, engine);
  if (!engine) return; /* the handler stays, and does nothing */
  on_terminal = isatty(STDIN_FILENO);
  sigemptyset(&action.sa_mask);
  sigaction(SIGHUP, &action, NULL);
}

static void on_stop_signal(int signal_number) {
  static atomic_uint count;
  wg_engine *e = atomic_load(&stopping);
  /* Two are asked for nicely. A guest whose output nobody reads cannot answer. */
  if (atomic_fetch_add(&count, 1) >= 2) _exit(CLI_INTERRUPTED);
  if (e) wg_engine_stop_with(e, common_signal_of(signal_number));
}

void common_stop_on_signals(wg_engine *engine) {
  static const int signals[] = {SIGINT, SIGTERM};
  atomic_store(&stopping, engine);
  /* The handlers stay: a signal during the clean-up must not take away the exit code. */
  for (size_t i = 0; engine && i < WG_COUNT(signals); i++) {
    struct sigaction now, action = {.sa_flags = SA_RESTART, .sa_handler = on_stop_signal};
    sigemptyset(&action.sa_mask);
    /* Whoever started us may want a signal ignored. */
    if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
      sigaction(signals[i], &action, NULL);
  }
}
