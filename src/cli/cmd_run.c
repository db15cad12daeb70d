/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/common.h"

#include <stdio.h>
#include <string.h>

int cmd_run(const cli_args *args) {
  wg_error err;
  wg_engine_options options = {0};
  int code = common_options_read(args, WG_LOG_WARN, &options);
  if (code != CLI_DONE) return code;
  common_engine x = {0};
  code = common_load(args, &options, &x);
  if (code == CLI_DONE) {
    wg_component_kind kind = wg_component_get_kind(x.component);
    if (kind != WG_COMPONENT_P2_COMMAND && kind != WG_COMPONENT_P3_COMMAND) {
      wg_error_set(&err, WG_INVALID, 0, "cannot run '%s': it exports no wasi:cli/run", x.path);
      if (kind == WG_COMPONENT_OTHER)
        wg_error_hint(&err, "see 'warp validate %s'", x.path);
      else
        wg_error_hint(&err, "it is a service: warp serve %s", x.path);
      code = ui_fail("run", &err, CLI_FAILED);
    }
  }
  if (code == CLI_DONE) {
    const char *slash = strrchr(x.path, '/');
    const wg_app_options app = {.args = args->rest, .name = slash ? slash + 1 : x.path};
    int guest_code = 0;
    wg_code rc = wg_engine_instantiate(x.engine, x.component, &app, &x.app, &err);
    if (rc == WG_OK) {
      common_stop_on_signals(x.engine);
      rc = wg_engine_run(x.engine, x.app, &guest_code, &err);
      common_stop_on_signals(NULL);
    }
    if (rc == WG_TRAP) wg_error_wrap(&err, "run of '%s' failed", x.path);
    code = rc == WG_OK ? guest_code : ui_fail("run", &err, CLI_FAILED);
  }
  common_free(&x);
  return code;
}
