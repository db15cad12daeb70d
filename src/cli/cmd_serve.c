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

int cmd_serve(const cli_args *args) {
  wg_error err;
  wg_engine_options options = {0};
  int code = common_options_read(args, WG_LOG_INFO, &options);
  if (code != CLI_DONE) return code;
  options.listen = cli_values(args, "listen");
  for (const char *const *l = options.listen; l && *l; l++) {
    char host[256];
    uint16_t port;
    if (wg_listen_parse(*l, host, &port, &err) != WG_OK)
      return ui_usage("serve", err.hint, "%s", err.msg);
  }
  const char *workers = cli_value(args, "workers");
  if (workers) {
    char *end;
    unsigned long n = strtoul(workers, &end, 10);
    if (*workers < '0' || *workers > '9' || *end || n < 1 || n > 1024)
      return ui_usage("serve", "write --workers 4", "'--workers' must be from 1 to 1024, got '%s'",
                      workers);
    options.workers = (uint32_t)n;
  }

  common_engine x = {0};
  code = common_load(args, &options, &x);
  if (code == CLI_DONE) {
    wg_component_kind kind = wg_component_get_kind(x.component);
    if (kind != WG_COMPONENT_P2_SERVICE && kind != WG_COMPONENT_P3_SERVICE) {
      wg_error_set(&err, WG_INVALID, 0,
                   "cannot serve '%s': it exports neither wasi:http/incoming-handler@0.2 nor "
                   "wasi:http/handler@0.3",
                   x.path);
      if (kind == WG_COMPONENT_OTHER)
        wg_error_hint(&err, "see 'warp validate %s'", x.path);
      else
        wg_error_hint(&err, "it is a command: warp run %s", x.path);
      code = ui_fail("serve", &err, CLI_FAILED);
    }
  }
  if (code == CLI_DONE) {
    wg_code rc = wg_engine_instantiate(x.engine, x.component, NULL, &x.app, &err);
    if (rc == WG_OK) {
      common_stop_on_signals(x.engine);
      rc = wg_engine_serve(x.engine,
                           &(wg_serve_options){.app = x.app, .on_listening = on_listening}, &err);
      common_stop_on_signals(NULL);
    }
    if (rc != WG_OK) code = ui_fail("serve", &err, CLI_FAILED);
  }
  common_free(&x);
  return code;
}
