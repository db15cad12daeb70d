/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/dev/dev.h"
#include "cli/ui.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The URL and the routes are the result, on stdout; everything else is progress, on stderr. With
 * --json all events are on stdout, one object a line. */

static void begin(wg_buf *out, const char *event, bool ok) {
  ui_json_begin(out, "dev", ok);
  wg_buf_printf(out, ",\"event\":\"%s\"", event);
}

static void put_text(wg_buf *out, const char *key, const char *text) {
  wg_buf_printf(out, ",\"%s\":", key);
  if (text)
    ui_json_string(out, text);
  else
    wg_buf_printf(out, "null");
}

static void put_error(wg_buf *out, const wg_error *err) {
  wg_buf_printf(out, ",\"error\":{\"code\":");
  ui_json_string(out, wg_code_name(err->code));
  wg_buf_printf(out, ",\"message\":");
  ui_json_string(out, err->msg);
  wg_buf_printf(out, ",\"hint\":");
  ui_json_string(out, err->hint);
  wg_buf_printf(out, "}");
}

static const char *still(bool serving) {
  return serving ? "the last good build is still served" : "nothing is served until it is repaired";
}

void dev_report_building(const char *changed) {
  if (ui_json()) {
    wg_buf out;
    begin(&out, "building", true);
    put_text(&out, "changed", changed);
    ui_json_end(&out);
  } else if (changed) {
    char text[320];
    snprintf(text, sizeof text, "%s was saved", changed);
    ui_note("building:", text);
  } else {
    ui_note("building:", "all of it");
  }
}

void dev_report_built(const cli_build_result *r, bool first) {
  if (ui_json()) {
    wg_buf out;
    begin(&out, "built", true);
    put_text(&out, "output", r->output);
    put_text(&out, "lang", r->lang);
    wg_buf_printf(&out, ",\"fresh\":%s,\"seconds\":%.3f,\"bytes\":%llu",
                  r->fresh ? "true" : "false", r->seconds, (unsigned long long)r->bytes);
    put_text(&out, "messages", r->messages);
    ui_json_end(&out);
    return;
  }
  char text[256];
  snprintf(text, sizeof text, "in %.2f s", r->seconds);
  if (r->fresh)
    ui_note("built:", "it was up to date");
  else
    ui_note(first ? "built:" : "rebuilt:", text);
}

void dev_report_build_failed(const cli_build_result *r, bool serving) {
  if (ui_json()) {
    wg_buf out;
    begin(&out, "build_failed", false);
    wg_buf_printf(&out, ",\"exit_code\":%d,\"seconds\":%.3f,\"serving\":%s", r->exit_code,
                  r->seconds, serving ? "true" : "false");
    put_text(&out, "messages", r->messages);
    ui_json_end(&out);
    return;
  }
  wg_error err;
  cli_build_failure(r, &err);
  ui_fail("dev", &err, CLI_FAILED);
  ui_note("waiting:", still(serving));
}

void dev_report_failed(const char *event, const wg_error *err, bool serving) {
  if (ui_json()) {
    wg_buf out;
    begin(&out, event, false);
    wg_buf_printf(&out, ",\"serving\":%s", serving ? "true" : "false");
    put_error(&out, err);
    ui_json_end(&out);
    return;
  }
  ui_fail("dev", err, CLI_FAILED);
  ui_note("waiting:", still(serving));
}

void dev_report_canceled(const char *changed) {
  if (ui_json()) {
    wg_buf out;
    begin(&out, "canceled", true);
    put_text(&out, "changed", changed);
    ui_json_end(&out);
  } else {
    ui_note("canceled:", "a newer save");
  }
}

/** What a service gets: "HOST/PATH", or "/" for everything. Called for each pair. */
static void each_route(const wg_service_config *s,
                       void (*put)(void *user, const char *service, const char *component,
                                   const char *host, const char *path),
                       void *user) {
  static char *any_host[] = {(char *)"", NULL}, *any_path[] = {(char *)"/", NULL};
  for (char **h = s->hosts ? s->hosts : any_host; *h; h++)
    for (char **p = s->paths ? s->paths : any_path; *p; p++)
      put(user, s->name, s->component, *h, *p);
}

static void print_route(void *user, const char *service, const char *component, const char *host,
                        const char *path) {
  (void)user;
  ui_print("  %s%s%s  %s (%s)\n", host, path, strcmp(path, "/") == 0 ? "" : "/", service,
           component);
}

typedef struct route_list {
  wg_buf *out;
  bool more;
} route_list;

static void put_route(void *user, const char *service, const char *component, const char *host,
                      const char *path) {
  route_list *l = user;
  wg_buf_printf(l->out, "%s{\"host\":", l->more ? "," : "");
  l->more = true;
  if (*host)
    ui_json_string(l->out, host);
  else
    wg_buf_printf(l->out, "null");
  put_text(l->out, "path", path);
  put_text(l->out, "service", service);
  put_text(l->out, "component", component);
  wg_buf_printf(l->out, "}");
}

void dev_report_listening(const wg_config *config, char *const *urls) {
  const wg_service_config only = {.name = config->name, .component = config->component};
  const wg_service_config *services = config->service_count ? config->services : &only;
  size_t count = config->service_count ? config->service_count : 1;
  if (ui_json()) {
    wg_buf out;
    begin(&out, "listening", true);
    put_text(&out, "url", urls[0]);
    wg_buf_printf(&out, ",\"urls\":[");
    for (size_t i = 0; urls[i]; i++) {
      if (i) wg_buf_put_u8(&out, ',');
      ui_json_string(&out, urls[i]);
    }
    wg_buf_printf(&out, "],\"routes\":[");
    route_list l = {.out = &out};
    for (size_t i = 0; i < count; i++) each_route(&services[i], put_route, &l);
    wg_buf_put_u8(&out, ']');
    ui_json_end(&out);
    return;
  }
  ui_print("%s\n", urls[0]);
  for (size_t i = 0; i < count; i++) each_route(&services[i], print_route, NULL);
  ui_flush();
}

void dev_report_reloaded(double seconds) {
  if (ui_json()) {
    wg_buf out;
    begin(&out, "reloaded", true);
    wg_buf_printf(&out, ",\"edit_to_response_seconds\":%.3f", seconds);
    ui_json_end(&out);
    return;
  }
  char text[96];
  snprintf(text, sizeof text, "new requests get the new code, %.2f s after the save", seconds);
  ui_note("serving:", text);
}

void dev_report_stopped(void) {
  if (!ui_json()) {
    if (isatty(STDERR_FILENO)) fputc('\n', stderr); /* behind the terminal's ^C */
    ui_note("stopped:", "requests in progress have ended");
    return;
  }
  wg_buf out;
  begin(&out, "stopped", true);
  ui_json_end(&out);
}
