/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/running.h"

#include "cli/http_ask.h"
#include "cli/ui.h"
#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 5000, ANSWER_MAX = 4 << 20, CELL = 64 };

/* ---- the answer, for people; what is missing prints as nothing ---- */

static const char *string_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

/** "one two" of a list of texts. */
static void list_cell(const json_t *list, char out[CELL]) {
  size_t i, n = 0;
  const json_t *item;
  json_array_foreach(list, i, item) {
    if (n + 1 >= CELL || !json_is_string(item)) return;
    if (n) out[n++] = ' ';
    ui_safe(json_string_value(item), out + n, CELL - n);
    n += strlen(out + n);
  }
}

/** A member as the text of a cell. */
static void cell(const json_t *object, const char *key, char out[CELL]) {
  const json_t *v = json_object_get(object, key);
  out[0] = '\0';
  if (json_is_string(v))
    ui_safe(json_string_value(v), out, CELL);
  else if (json_is_integer(v))
    snprintf(out, CELL, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
  else if (json_is_real(v))
    snprintf(out, CELL, "%.1f", json_real_value(v));
  else if (json_is_array(v))
    list_cell(v, out);
}

void cli_running_print(const char *text) {
  char safe[1024];
  ui_safe(text, safe, sizeof safe);
  ui_print("%s", safe);
}

/** A list of texts behind a title, one a line. */
static void print_list(const char *title, const json_t *list) {
  size_t i;
  const json_t *item;
  json_array_foreach(list, i, item) {
    ui_print("%-12s", i == 0 ? title : "");
    cli_running_print(json_string_value(item) ? json_string_value(item) : "");
    ui_print("\n");
  }
}

void cli_running_table(const json_t *rows, const cli_column *columns, size_t count) {
  size_t n = json_array_size(rows), r;
  const json_t *row;
  const char *heads[16];
  unsigned numbers = 0;
  char (*texts)[CELL] = calloc(n ? n * count : 1, sizeof *texts);
  const char **cells = calloc(n ? n * count : 1, sizeof *cells);
  for (size_t i = 0; i < count; i++) {
    heads[i] = columns[i].head;
    if (!columns[i].text) numbers |= 1u << i;
  }
  if (texts && cells && n) {
    json_array_foreach(rows, r, row) {
      for (size_t i = 0; i < count; i++) {
        const json_t *in = columns[i].inner ? json_object_get(row, columns[i].inner) : row;
        cell(in, columns[i].key, texts[r * count + i]);
        cells[r * count + i] = texts[r * count + i];
      }
    }
    ui_print("\n");
    ui_table(heads, count, numbers, cells, n);
  }
  free(texts);
  free(cells);
}

static void print_seconds(double s) {
  unsigned long long n = s > 0 ? (unsigned long long)s : 0;
  if (n >= 86400)
    ui_print("%llud %lluh", n / 86400, n / 3600 % 24);
  else if (n >= 3600)
    ui_print("%lluh %llum", n / 3600, n / 60 % 60);
  else if (n >= 60)
    ui_print("%llum %llus", n / 60, n % 60);
  else
    ui_print("%llus", n);
}

static void print_reload(const json_t *last) {
  char at[CELL];
  if (!json_is_object(last)) return;
  cell(last, "at", at);
  ui_print("%-12s%s", "reload", json_is_true(json_object_get(last, "ok")) ? "done" : "failed");
  if (*at) ui_print(" at %s", at);
  if (*string_of(last, "error")) {
    ui_print(": ");
    cli_running_print(string_of(last, "error"));
  }
  ui_print("\n");
}

static void print_people(const json_t *s) {
  static const cli_column services[] = {
      {"service", NULL, "name", true},          {"kind", NULL, "kind", true},
      {"2xx", "requests", "2xx", false},        {"3xx", "requests", "3xx", false},
      {"4xx", "requests", "4xx", false},        {"5xx", "requests", "5xx", false},
      {"failures", NULL, "failures", false},    {"instances", NULL, "instances", false},
      {"mean ms", "latency_ms", "mean", false}, {"p50", "latency_ms", "p50", false},
      {"p99", "latency_ms", "p99", false}};
  static const cli_column databases[] = {
      {"database", NULL, "name", true},      {"active", NULL, "active", false},
      {"idle", NULL, "idle", false},         {"limit", NULL, "limit", false},
      {"waiting", NULL, "waiting", false},   {"connects", NULL, "connects", false},
      {"leases", NULL, "leases", false},     {"reuses", NULL, "reuses", false},
      {"timeouts", NULL, "timeouts", false}, {"failures", NULL, "failures", false}};
  static const cli_column instances[] = {
      {"instance", NULL, "id", true},         {"service", NULL, "service", true},
      {"worker", NULL, "worker", false},      {"signals", NULL, "signals", true},
      {"queued", NULL, "queued", false},      {"dropped", NULL, "dropped", false},
      {"threading", NULL, "threading", true}, {"age ms", NULL, "age_ms", false}};
  char pid[CELL], generation[CELL], workers[CELL], inflight[CELL];
  cell(s, "pid", pid);
  cell(s, "generation", generation);
  cell(s, "workers", workers);
  cell(s, "inflight", inflight);
  cli_running_print(string_of(s, "name"));
  ui_print(": ");
  cli_running_print(string_of(s, "state"));
  ui_print(" for ");
  print_seconds(json_number_value(json_object_get(s, "uptime_s")));
  ui_print("\n%-12s", "version");
  cli_running_print(string_of(s, "warp"));
  ui_print(" (Wasmtime ");
  cli_running_print(string_of(s, "wasmtime"));
  ui_print(")\n%-12s%s\n%-12s%s\n", "process", pid, "workers", workers);
  if (*string_of(s, "config")) {
    ui_print("%-12s", "config");
    cli_running_print(string_of(s, "config"));
    ui_print("\n");
  }
  ui_print("%-12s%s\n", "generation", generation);
  print_reload(json_object_get(s, "last_reload"));
  print_list("urls", json_object_get(s, "urls"));
  ui_print("%-12s%s\n", "in progress", inflight);
  cli_running_table(json_object_get(s, "services"), services, WG_COUNT(services));
  cli_running_table(json_object_get(s, "databases"), databases, WG_COUNT(databases));
  cli_running_table(json_object_get(s, "instances"), instances, WG_COUNT(instances));
}

static void print_json(const json_t *stats) {
  char *text = json_dumps(stats, JSON_COMPACT | JSON_REAL_PRECISION(9));
  wg_buf out;
  ui_json_begin(&out, "inspect", true);
  wg_buf_printf(&out, ",\"running\":%s", text ? text : "null");
  ui_json_end(&out);
  free(text);
}

/* ---- where to ask ---- */

/** "http://127.0.0.1:9090/" or "127.0.0.1:9090" to host and port. */
static wg_code parse_admin(const char *text, char host[256], uint16_t *port, wg_error *err) {
  char address[300];
  static const char scheme[] = "http://";
  const char *p = strncmp(text, scheme, sizeof scheme - 1) == 0 ? text + sizeof scheme - 1 : text;
  snprintf(address, sizeof address, "%s", p);
  size_t n = strlen(address);
  if (n && address[n - 1] == '/') address[n - 1] = '\0';
  return wg_listen_parse(address, host, port, err);
}

static int find_admin(const cli_args *args, char host[256], uint16_t *port) {
  wg_error err;
  const char *given = cli_value(args, "admin");
  if (given) {
    if (parse_admin(given, host, port, &err) == WG_OK) return CLI_DONE;
    return ui_usage(args->command->name, "write --admin 127.0.0.1:9090", "%s", err.msg);
  }
  wg_config *config;
  wg_code code = wg_config_load(cli_value(args, "config"), NULL, NULL, &config, &err);
  if (code == WG_OK) {
    char **listen = config->admin_listen;
    if (listen && *listen) {
      code = wg_listen_parse(*listen, host, port, &err);
    } else {
      code = wg_error_set(&err, WG_CONFIG, 0, "'%s' has no admin endpoint",
                          config->path ? config->path : "warp.toml");
      wg_error_hint(&err,
                    "add [admin] listen = \"127.0.0.1:9090\" and start 'warp serve' again, or "
                    "pass --admin ADDR:PORT");
    }
    wg_config_free(config);
  }
  return code == WG_OK ? CLI_DONE : ui_fail(args->command->name, &err, CLI_FAILED);
}

int cli_running_ask(const cli_args *args, const char *method, const char *path, unsigned *status,
                    json_t **answer) {
  wg_error err;
  char host[256] = "";
  uint16_t port = 0;
  int exit_code = find_admin(args, host, &port);
  if (exit_code != CLI_DONE) return exit_code;
  wg_buf body;
  wg_buf_init(&body, ANSWER_MAX);
  wg_code code = cli_http_ask(method, host, port, path, TIMEOUT_MS, status, &body, &err);
  json_t *json = NULL;
  if (code == WG_OK) {
    json_error_t where;
    json = json_loads((const char *)wg_buf_head(&body), JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(json)) {
      json_decref(json);
      code = *status == 200 ? wg_error_set(&err, WG_IO, 0, "the answer is none of 'warp serve'")
                            : wg_error_set(&err, WG_IO, 0, "the answer has status %u", *status);
    }
  }
  wg_buf_release(&body);
  if (code == WG_OK) {
    *answer = json;
    return CLI_DONE;
  }
  bool v6 = strchr(host, ':') != NULL;
  wg_error_wrap(&err, "cannot ask 'http://%s%s%s:%u%s'", v6 ? "[" : "", host, v6 ? "]" : "", port,
                path);
  wg_error_hint(&err, "is 'warp serve' running with [admin] listen at this address?");
  (void)ui_fail(args->command->name, &err, CLI_FAILED);
  return CLI_FAILED;
}

int cli_running_stats(const cli_args *args, json_t **stats) {
  unsigned status;
  int exit_code = cli_running_ask(args, "GET", "/stats", &status, stats);
  if (exit_code != CLI_DONE || status == 200) return exit_code;
  wg_error err;
  json_decref(*stats);
  wg_error_set(&err, WG_IO, 0, "the server cannot tell: status %u", status);
  return ui_fail(args->command->name, &err, CLI_FAILED);
}

int cli_inspect_running(const cli_args *args) {
  json_t *stats;
  int exit_code = cli_running_stats(args, &stats);
  if (exit_code != CLI_DONE) return exit_code;
  if (ui_json())
    print_json(stats);
  else
    print_people(stats);
  json_decref(stats);
  return CLI_DONE;
}
