/* SPDX-License-Identifier: Apache-2.0 */
/* A service that does what a test asks for: see the paths below. */
#include "probe.h"

static void echo(wg_http_request *req, wg_http_response *res) {
  wg_str body = wg_http_body(req);
  wg_http_write(res, body.ptr, body.len);
}

/* Requests that this instance has served, this one included. */
static unsigned served;

static void show_count(wg_http_request *req, wg_http_response *res) {
  (void)req;
  wg_http_printf(res, "%u\n", served);
}

static void do_sleep(wg_http_request *req, wg_http_response *res) {
  probe_sleep(probe_number(req, "ms", 0));
  wg_http_printf(res, "slept\n");
}

/* Takes memory and touches all of it. */
static void take(wg_http_request *req, wg_http_response *res) {
  int64_t mb = probe_number(req, "mb", 1);
  char *p = malloc((size_t)mb << 20);
  if (p == NULL) {
    wg_http_status(res, 507);
    wg_http_printf(res, "no memory\n");
    return;
  }
  memset(p, 1, (size_t)mb << 20);
  wg_http_printf(res, "%d\n", (int)mb * p[((size_t)mb << 20) - 1]);
  free(p);
}

static void do_log(wg_http_request *req, wg_http_response *res) {
  wg_str out = wg_http_query_param(req, "out"), err = wg_http_query_param(req, "err");
  int64_t repeat = probe_number(req, "repeat", 0);
  if (out.ptr != NULL) {
    fwrite(out.ptr, 1, out.len, stdout);
    putchar('\n');
  }
  for (int64_t i = 0; i < repeat; i++) putchar('a');
  if (repeat > 0) putchar('\n');
  fflush(stdout);
  if (err.ptr != NULL) fprintf(stderr, "%.*s\n", WG_STR_ARGS(err));
  wg_http_printf(res, "logged\n");
}

void wg_http_handle(wg_http_request *req, wg_http_response *res) {
  static const struct {
    const char *path;
    void (*run)(wg_http_request *req, wg_http_response *res);
  } paths[] = {{"/echo", echo},     {"/count", show_count}, {"/sleep", do_sleep},
               {"/alloc", take},    {"/log", do_log}};
  served++;
  if (probe_common(req, res)) return;
  wg_str path = wg_http_path(req);
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    if (!wg_str_is(path, paths[i].path)) continue;
    paths[i].run(req, res);
    return;
  }
  wg_http_status(res, 404);
}
