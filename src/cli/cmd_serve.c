/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/common.h"
#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_listening(void *user, const char *const *urls) {
  (void)user;
  if (ui_json()) {
    wg_buf out;
    ui_json_begin(&out, "serve", true);
    wg_buf_printf(&out, ",\"event\":\"listening\",\"urls\":[");
    for (size_t i = 0; urls[i]; i++) {
      if (i) wg_buf_put_u8(&out, ',');
      ui_json_string(&out, urls[i]);
    }
    wg_buf_put_u8(&out, ']');
    ui_json_end(&out);
    return;
  }
  for (size_t i = 0; urls[i]; i++) ui_print("%s\n", urls[i]);
  ui_flush();
}

static void on_reloaded(void *user, uint64_t generation, const wg_error *err) {
  (void)user;
  if (!ui_json()) return; /* the log tells it */
  wg_buf out;
  ui_json_begin(&out, "serve", err == NULL);
  wg_buf_printf(&out, ",\"event\":\"reloaded\",\"generation\":%llu",
                (unsigned long long)generation);
  if (err) {
    wg_buf_printf(&out, ",\"error\":");
    ui_json_string(&out, err->msg);
    wg_buf_printf(&out, ",\"hint\":");
    ui_json_string(&out, err->hint);
  }
  ui_json_end(&out);
  ui_flush();
}

int cmd_serve(const cli_args *args) {
  wg_error err;
  wg_engine_options options = {0};
  int code = common_options_read(args, WG_LOG_INFO, &options);
  if (code != CLI_DONE) return code;
  options.listen = cli_values(args, "listen");
  options.admin = cli_values(args, "admin");
  code = common_check_addresses(args, options.listen, common_check_listen);
  if (code == CLI_DONE) code = common_check_addresses(args, options.admin, wg_admin_listen_check);
  if (code != CLI_DONE) return code;
  const char *workers = cli_value(args, "workers");
  if (workers) {
    char *end;
    unsigned long n = strtoul(workers, &end, 10);
    if (*workers < '0' || *workers > '9' || *end || n < 1 || n > 1024)
      return ui_usage("serve", "write --workers 4", "'--workers' must be from 1 to 1024, got '%s'",
                      workers);
    options.workers = (uint32_t)n;
  }

  wg_engine *engine = NULL;
  const wg_serve_options serve = {.component = args->file,
                                  .load_flags = cli_flag(args, "trusted") ? WG_LOAD_TRUSTED : 0,
                                  .on_listening = on_listening,
                                  .on_reloaded = on_reloaded};
  options.on_warning = common_warn;
  wg_code rc = wg_engine_new(&options, &engine, &err);
  if (rc == WG_OK) {
    common_stop_on_signals(engine);
    common_reload_on_hangup(engine);
    rc = wg_engine_serve(engine, &serve, &err);
    common_reload_on_hangup(NULL);
    common_stop_on_signals(NULL);
  }
  if (rc == WG_NOT_FOUND && !args->file)
    wg_error_hint(&err, "run 'warp pack' first, or give a file: warp serve FILE");
  if (rc != WG_OK) code = ui_fail("serve", &err, CLI_FAILED);
  wg_engine_free(engine);
  return code;
}
