/* SPDX-License-Identifier: Apache-2.0 */
/** @file cmd_stats.c  `warp stats`: the database pools of a running `warp serve`, as a table that
 *  is drawn again each second on a terminal. */
#include "cli/cli.h"
#include "cli/running.h"
#include "cli/ui.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { REFRESH_MS = 1000 };

/* ---- the table ---- */

static json_int_t number_of(const json_t *row, const char *key) {
  return json_integer_value(json_object_get(row, key));
}

/** The row of the same pool in an earlier answer; NULL: it had none. */
static const json_t *row_before(const json_t *before, const json_t *row) {
  size_t i;
  const json_t *old;
  json_array_foreach(json_object_get(before, "databases"), i, old) {
    if (json_equal(json_object_get(old, "name"), json_object_get(row, "name")) &&
        json_equal(json_object_get(old, "database"), json_object_get(row, "database")))
      return old;
  }
  return NULL;
}

/** Adds what is computed: all failures, kilobytes, and what happened since the answer before. */
static void complete_rows(json_t *stats, const json_t *before) {
  size_t i;
  json_t *row;
  double seconds = json_number_value(json_object_get(stats, "uptime_s")) -
                   json_number_value(json_object_get(before, "uptime_s"));
  json_array_foreach(json_object_get(stats, "databases"), i, row) {
    json_int_t failed = 0;
    const char *cause;
    json_t *count;
    json_object_foreach(json_object_get(row, "causes"), cause, count) failed +=
        json_integer_value(count);
    json_object_set_new(row, "failed", json_integer(failed));
    json_object_set_new(
        row, "kib",
        json_integer((number_of(row, "received_bytes") + number_of(row, "sent_bytes")) / 1024));
    const json_t *old = row_before(before, row);
    json_int_t leases = number_of(row, "leases") - number_of(old, "leases");
    if (old && seconds > 0 && leases >= 0) /* fewer: a reload made new pools */
      json_object_set_new(row, "per_second", json_real((double)leases / seconds));
  }
}

static void print_table(const json_t *stats) {
  static const cli_column columns[] = {{"pool", NULL, "name", true},
                                       {"database", NULL, "database", true},
                                       {"active", NULL, "active", false},
                                       {"idle", NULL, "idle", false},
                                       {"total", NULL, "total", false},
                                       {"limit", NULL, "limit", false},
                                       {"waiting", NULL, "waiting", false},
                                       {"leases", NULL, "leases", false},
                                       {"per s", NULL, "per_second", false},
                                       {"wait p50", "wait", "p50_ms", false},
                                       {"wait p99", "wait", "p99_ms", false},
                                       {"connects", NULL, "connects", false},
                                       {"timeouts", NULL, "timeouts", false},
                                       {"failed", NULL, "failed", false},
                                       {"KiB", NULL, "kib", false}};
  const char *name = json_string_value(json_object_get(stats, "name"));
  const char *state = json_string_value(json_object_get(stats, "state"));
  const json_t *rows = json_object_get(stats, "databases");
  cli_running_print(name ? name : "");
  ui_print(": ");
  cli_running_print(state ? state : "");
  ui_print(", %zu pool%s\n", json_array_size(rows), json_array_size(rows) == 1 ? "" : "s");
  if (json_array_size(rows))
    cli_running_table(rows, columns, WG_COUNT(columns));
  else
    ui_print("no guest has asked for a database yet\n");
}

static void print_json(const json_t *stats) {
  static const char *const keys[] = {"name", "state", "pid", "generation", "uptime_s", "databases"};
  wg_buf out;
  ui_json_begin(&out, "stats", true);
  for (size_t i = 0; i < WG_COUNT(keys); i++) {
    const json_t *v = json_object_get(stats, keys[i]);
    char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
    wg_buf_printf(&out, ",\"%s\":%s", keys[i], text ? text : "null");
    free(text);
  }
  ui_json_end(&out);
}

/* ---- the terminal ---- */

static volatile sig_atomic_t stopped;

static void on_signal(int number) {
  (void)number;
  stopped = 1;
}

/** Waits for the next second. @return false: somebody wants to end it */
static bool wait_for_next(void) {
  struct pollfd in = {.fd = 0, .events = POLLIN};
  char key;
  if (stopped) return false;
  int n = poll(&in, 1, REFRESH_MS);
  if (n < 0) return errno == EINTR && !stopped;
  if (n == 0) return true;
  if (in.revents & POLLIN) {
    ssize_t got = read(0, &key, 1);
    return got == 1 ? key != 'q' && key != 'Q' : got < 0 && errno == EINTR && !stopped;
  }
  return false; /* the terminal is gone */
}

static int live(const cli_args *args) {
  struct termios was, raw;
  struct sigaction act = {.sa_handler = on_signal}, old[3];
  static const int signals[3] = {SIGINT, SIGTERM, SIGHUP};
  json_t *stats = NULL, *before = NULL;
  bool keys = tcgetattr(0, &was) == 0;
  int exit_code = cli_running_stats(args, &stats);
  if (exit_code != CLI_DONE) return exit_code;
  sigemptyset(&act.sa_mask);
  for (size_t i = 0; i < WG_COUNT(signals); i++) sigaction(signals[i], &act, &old[i]);
  if (keys) {
    raw = was;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(0, TCSANOW, &raw);
  }
  while (exit_code == CLI_DONE) {
    complete_rows(stats, before);
    ui_print("\033[H\033[J"); /* from the top, and nothing of the last one below */
    print_table(stats);
    ui_print("\nq ends it\n");
    json_decref(before);
    before = stats;
    stats = NULL;
    if (!ui_flush() || !wait_for_next()) break;
    exit_code = cli_running_stats(args, &stats);
  }
  json_decref(before);
  if (keys) tcsetattr(0, TCSANOW, &was);
  for (size_t i = 0; i < WG_COUNT(signals); i++) sigaction(signals[i], &old[i], NULL);
  return exit_code;
}

int cmd_stats(const cli_args *args) {
  if (isatty(0) && isatty(1) && !ui_json() && !cli_flag(args, "once")) return live(args);
  json_t *stats;
  int exit_code = cli_running_stats(args, &stats);
  if (exit_code != CLI_DONE) return exit_code;
  if (ui_json()) {
    print_json(stats);
  } else {
    complete_rows(stats, NULL);
    print_table(stats);
  }
  json_decref(stats);
  return CLI_DONE;
}
