/* SPDX-License-Identifier: Apache-2.0 */
/** @file cmd_dev.c  `warp dev`: the main thread, which serves what the builder builds. */
#include "base/text.h"
#include "cli/build/sdk.h"
#include "cli/common.h"
#include "cli/dev/dev.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void wake(dev *d) {
  const uint64_t one = 1;
  ssize_t n = write(d->wake, &one, sizeof one);
  (void)n; /* it is readable already when the counter is full */
}

/** Tells the builder how serving or reloading went. Any thread. @param err  NULL: well */
static void dev_swapped(dev *d, const wg_error *err) {
  pthread_mutex_lock(&d->lock);
  d->swapped = true;
  d->swap_error = err ? *err : (wg_error){.code = WG_OK};
  pthread_mutex_unlock(&d->lock);
  wake(d);
}

static void on_listening(void *user, const char *const *urls) {
  dev *d = user;
  wg_error err;
  wg_code code = WG_OK;
  pthread_mutex_lock(&d->lock);
  for (; *urls && code == WG_OK; urls++) code = cli_list_add(&d->urls, *urls, &err);
  pthread_mutex_unlock(&d->lock);
  dev_swapped(d, code == WG_OK ? NULL : &err);
}

static void on_reloaded(void *user, uint64_t generation, const wg_error *err) {
  (void)generation;
  dev_swapped(user, err);
}

/** Serves until a signal, or until something is wrong. */
static wg_code dev_serve(dev *d, wg_error *err) {
  wg_engine *engine;
  wg_code code = wg_engine_new(&d->options, &engine, err);
  if (code != WG_OK) return code;
  /* How the engine was made is not what a developer waits for; what the service prints is. */
  wg_engine_options read_before;
  (void)common_options_read(d->args, WG_LOG_INFO, &read_before);
  pthread_mutex_lock(&d->lock);
  d->engine = engine;
  bool stopping = d->stopping;
  pthread_mutex_unlock(&d->lock);
  const wg_serve_options serve = {
      .on_listening = on_listening, .on_reloaded = on_reloaded, .user = d};
  if (!stopping) code = wg_engine_serve(engine, &serve, err);
  pthread_mutex_lock(&d->lock);
  d->engine = NULL;
  pthread_mutex_unlock(&d->lock);
  wg_engine_free(engine);
  return code;
}

/** True for what the next save may repair: the component or warp.toml, not the port. */
static bool repairable(wg_code code) {
  switch (code) {
  case WG_INVALID:
  case WG_NOT_FOUND:
  case WG_CONFIG:
  case WG_COMPONENT:
  case WG_LINK:
  case WG_REFUSED:
  case WG_UNSUPPORTED: return true;
  default: return false;
  }
}

/** Waits for a component, and serves it, until somebody stops. */
static void dev_main(dev *d) {
  wg_error err;
  pthread_mutex_lock(&d->lock);
  while (!d->stopping) {
    if (!d->offered) {
      pthread_cond_wait(&d->changed, &d->lock);
      continue;
    }
    d->offered = false;
    pthread_mutex_unlock(&d->lock);
    wg_code code = dev_serve(d, &err);
    bool again = code != WG_OK && !d->urls && repairable(code);
    if (again)
      dev_swapped(d, &err);
    else if (code != WG_OK)
      ui_fail("dev", &err, CLI_FAILED);
    pthread_mutex_lock(&d->lock);
    d->failed |= code != WG_OK && !again;
    d->stopping |= !again;
  }
  d->ended = true;
  pthread_mutex_unlock(&d->lock);
  wake(d);
}

int cmd_dev(const cli_args *args) {
  wg_error err;
  sigset_t stops, before;
  pthread_t builder;
  dev d = {.args = args};
  int code = common_options_read(args, WG_LOG_WARN, &d.options);
  if (code != CLI_DONE) return code;
  d.options.listen = cli_values(args, "listen");
  code = common_check_addresses(args, d.options.listen, common_check_listen);
  if (code != CLI_DONE) return code;
  d.options.allow_loopback_databases = 1;
  d.options.on_warning = common_warn;

  /* Taken by the builder's signalfd: no thread shall be interrupted. */
  common_block_stops(&stops, &before);
  pthread_mutex_init(&d.lock, NULL);
  pthread_cond_init(&d.changed, NULL);
  d.stops = signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
  d.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int rc = d.stops < 0 || d.wake < 0 ? errno : 0;
  if (rc == 0) rc = pthread_create(&builder, NULL, dev_build_loop, &d);
  if (rc == 0) {
    dev_main(&d);
    pthread_join(builder, NULL);
    if (!d.failed) dev_report_stopped();
    code = d.failed ? CLI_FAILED : CLI_DONE;
  } else {
    wg_error_set(&err, WG_IO, rc, "cannot start: %s", wg_os_error(rc));
    code = ui_fail("dev", &err, CLI_FAILED);
  }
  if (d.stops >= 0) close(d.stops);
  if (d.wake >= 0) close(d.wake);
  cli_list_free(d.urls);
  pthread_cond_destroy(&d.changed);
  pthread_mutex_destroy(&d.lock);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return code;
}
