/* SPDX-License-Identifier: Apache-2.0 */
/* Serves a component from a C program: ./embed service.wasm [ADDR:PORT], until Ctrl-C. Build with
 *   cc embed.c $(pkg-config --cflags --libs warpgrid) -o embed */
#include <signal.h>
#include <stdio.h>
#include <warpgrid/warpgrid.h>

static wg_engine *engine;

static void on_signal(int number) {
  (void)number;
  wg_engine_stop(engine); /* safe in a signal handler: requests in flight finish first */
}

static void on_listening(void *user, const char *const *urls) {
  (void)user;
  for (; *urls; urls++) puts(*urls);
  fflush(stdout);
}

int main(int argc, char **argv) {
  const char *listen[] = {argc > 2 ? argv[2] : "127.0.0.1:0", NULL};
  wg_engine_options options = {.listen = listen};
  wg_serve_options serve = {.component = argc > 1 ? argv[1] : NULL, .on_listening = on_listening};
  wg_error err;

  wg_code code = wg_engine_new(&options, &engine, &err);
  if (code == WG_OK) {
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    code = wg_engine_serve(engine, &serve, &err);
    signal(SIGINT, SIG_IGN); /* the engine goes before the handlers do */
    signal(SIGTERM, SIG_IGN);
  }
  wg_engine_free(engine);
  if (code == WG_OK) return 0;
  fprintf(stderr, "%s: %s\n%s\n", wg_code_name(code), err.msg, err.hint);
  return 1;
}
