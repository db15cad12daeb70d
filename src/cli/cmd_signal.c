/* SPDX-License-Identifier: Apache-2.0 */
/** @file cmd_signal.c  `warp signal`: asks a running `warp serve` to tell guests a signal. */
#include "cli/cli.h"
#include "cli/running.h"
#include "cli/ui.h"

#include <string.h>

/** Appends a part of a path, RFC 3986; '@' may stand there. */
static void put_encoded(wg_buf *out, const char *text) {
  static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~@";
  for (; *text; text++) {
    if (strchr(plain, *text))
      wg_buf_put_u8(out, (uint8_t)*text);
    else
      wg_buf_printf(out, "%%%02X", (unsigned char)*text);
  }
}

static int print_told(const cli_args *args, long long told) {
  if (ui_json()) {
    wg_buf out;
    ui_json_begin(&out, "signal", true);
    wg_buf_printf(&out, ",\"name\":");
    ui_json_string(&out, args->file);
    wg_buf_printf(&out, ",\"signal\":\"%s\",\"told\":%lld", args->word, told);
    ui_json_end(&out);
    return CLI_DONE;
  }
  ui_say("%lld instance%s told", told, told == 1 ? "" : "s");
  if (told == 0)
    ui_note("note:",
            "no instance that lives now asked for this signal; 'warp inspect --running' "
            "lists those that asked for any. An instance of WASI 0.2 lives for one request "
            "unless [http] reuse says more");
  return CLI_DONE;
}

/** What the server says of a failure, as ours. */
static int print_failure(const json_t *answer, unsigned status) {
  wg_error err;
  const char *text = json_string_value(json_object_get(answer, "error"));
  const char *hint = json_string_value(json_object_get(answer, "hint"));
  if (text)
    wg_error_set(&err, status == 404 ? WG_NOT_FOUND : WG_INVALID, 0, "%s", text);
  else
    wg_error_set(&err, WG_IO, 0, "the answer has status %u", status);
  if (hint && *hint) wg_error_hint(&err, "%s", hint);
  return ui_fail("signal", &err, CLI_FAILED);
}

int cmd_signal(const cli_args *args) {
  unsigned status;
  json_t *answer;
  wg_buf path;
  if (!*args->file) return ui_usage("signal", "give the name of a service", "the name is empty");
  wg_buf_init(&path, 900);
  wg_buf_printf(&path, "/signal/");
  put_encoded(&path, args->file);
  wg_buf_printf(&path, "/%s", args->word);
  wg_buf_put_u8(&path, 0);
  if (path.failed) {
    wg_buf_release(&path);
    return ui_usage("signal", "give the name of a service", "the name is too long");
  }
  int code = cli_running_ask(args, "POST", (const char *)wg_buf_head(&path), &status, &answer);
  wg_buf_release(&path);
  if (code != CLI_DONE) return code;
  const json_t *told = json_object_get(answer, "told");
  code = status == 200 && json_is_integer(told) ? print_told(args, json_integer_value(told))
                                                : print_failure(answer, status);
  json_decref(answer);
  return code;
}
