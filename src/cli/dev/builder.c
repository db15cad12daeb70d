/* SPDX-License-Identifier: Apache-2.0 */
/* The builder of `warp dev`:
 *
 *   WATCHING --a save--> SETTLING --quiet for a moment--> BUILDING --good--> SWAPPING --> WATCHING
 *                           ^                               | `--failed--> WATCHING
 *                           |------a newer save cancels-----'
 *                           `------a save meanwhile, when the engine has answered------ SWAPPING
 *
 * Watches are set before a build starts, so that what is saved later comes as an event and what was
 * saved earlier is in the build. */
#include "cli/dev/dev.h"

#include "base/text.h"
#include "cli/common.h"
#include "cli/ui.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
  QUIET_MS = 20,  /* no event for so long: the save is over */
  SETTLE_MS = 300 /* but no longer than this, when events do not end */
};

typedef enum builder_state { WATCHING, SETTLING, BUILDING, SWAPPING } builder_state;

typedef struct builder {
  dev *d;
  builder_state state; /* changed by enter() only */
  watch_tree *watch;
  wg_config *config;   /* of the last file that was good */
  cli_inputs inputs;   /* that are watched */
  cli_build *build;    /* NULL: none */
  watch_change change; /* what the next build is for */
  watch_change built;  /* what the build that runs, or the swap, is for */
  uint64_t settle_end_us;
  bool first;          /* no build was good yet */
  bool serving;        /* the engine has taken one */
} builder;

static void ignore_warning(void *user, const char *text) {
  (void)user, (void)text; /* the engine tells them when it reads the same file */
}

static void on_say(void *user, const char *line) {
  (void)user;
  if (!ui_json()) ui_note("build:", line);
}

static void build_now(builder *b);

static void enter(builder *b, builder_state next) {
  b->state = next;
  switch (next) {
  case WATCHING:
    if (b->change.events) enter(b, SETTLING);
    break;
  case SETTLING: b->settle_end_us = wg_clock_us(CLOCK_MONOTONIC) + SETTLE_MS * 1000; break;
  case BUILDING:
    b->built = b->change;
    b->change = (watch_change){0};
    build_now(b);
    break;
  case SWAPPING: break;
  }
}

/* ---- building ---- */

static cli_build_request request_of(const builder *b) {
  return (cli_build_request){.config = b->config,
                             .debug = !cli_flag(b->d->args, "release"),
                             .always = !b->first,
                             .capture = ui_json(),
                             .color = ui_colored(),
                             .say = on_say};
}

static bool same_inputs(const cli_inputs *a, const cli_inputs *c) {
  if (a->count != c->count) return false;
  for (size_t i = 0; i < a->count; i++)
    if (a->list[i].kind != c->list[i].kind || strcmp(a->list[i].path, c->list[i].path) != 0)
      return false;
  return true;
}

static wg_code add_file(cli_inputs *inputs, const char *path, wg_error *err) {
  cli_input *grown = realloc(inputs->list, (inputs->count + 1) * sizeof *grown);
  if (grown) {
    inputs->list = grown;
    grown[inputs->count] = (cli_input){strdup(path), CLI_INPUT_FILE};
    if (grown[inputs->count].path) {
      inputs->count++;
      return WG_OK;
    }
  }
  return wg_error_set(err, WG_NOMEM, 0, "out of memory");
}

/** Reads warp.toml and watches what it names. The old configuration stays when it is broken. */
static wg_code builder_configure(builder *b, wg_error *err) {
  wg_config *config;
  cli_inputs inputs;
  const char *path = cli_value(b->d->args, "config");
  wg_code code = wg_config_load(path, ignore_warning, NULL, &config, err);
  if (code != WG_OK) return code;
  const cli_build_request r = {.config = config};
  code = cli_build_inputs(&r, &inputs, err);
  if (code != WG_OK) {
    wg_config_free(config);
    return code;
  }
  if (!config->path) code = add_file(&inputs, "warp.toml", err); /* it may come */
  for (size_t i = 0; i < config->service_count && code == WG_OK; i++)
    if (strcmp(config->services[i].component, config->component) != 0)
      code = add_file(&inputs, config->services[i].component, err);
  /* What is watched is noted when it is: what cannot be now is tried again with the next save. */
  bool same = b->config && same_inputs(&inputs, &b->inputs) &&
              strcmp(config->component, b->config->component) == 0;
  if (code == WG_OK && !same) {
    cli_inputs_release(&b->inputs);
    code = watch_tree_set(b->watch, &inputs, config->component, err);
    if (code == WG_OK) {
      b->inputs = inputs;
      inputs = (cli_inputs){0};
    }
  }
  wg_config_free(b->config);
  b->config = config;
  cli_inputs_release(&inputs);
  return code;
}

static void builder_cancel(builder *b) {
  cli_build_free(b->build);
  b->build = NULL;
  /* What it was for is still to be built, and its save is the older one. */
  if (b->built.events) b->change.at_us = b->built.at_us;
}

/** Gives a component to the main thread, which serves it, or asks the engine to take it. */
static void offer(builder *b) {
  dev *d = b->d;
  pthread_mutex_lock(&d->lock);
  d->swapped = false;
  if (d->engine) {
    wg_engine_reload(d->engine);
  } else {
    d->offered = true;
    pthread_cond_signal(&d->changed);
  }
  pthread_mutex_unlock(&d->lock);
  enter(b, SWAPPING);
}

static void on_build_event(builder *b) {
  wg_error err;
  bool ended = false;
  wg_code code = cli_build_step(b->build, &ended, &err);
  if (code == WG_OK && !ended) return;
  const cli_build_result *r = cli_build_get_result(b->build);
  bool good = code == WG_OK && r->exit_code == 0;
  if (code != WG_OK) {
    dev_report_failed("build_failed", &err, b->serving);
  } else if (!good) {
    dev_report_build_failed(r, b->serving);
  } else {
    dev_report_built(r, b->first);
    b->first = false;
  }
  cli_build_free(b->build);
  b->build = NULL;
  if (good)
    offer(b);
  else
    enter(b, WATCHING);
}

static void build_now(builder *b) {
  wg_error err;
  dev_report_building(b->built.events ? b->built.name : NULL);
  wg_code code = builder_configure(b, &err);
  if (code == WG_OK) {
    const cli_build_request r = request_of(b);
    code = cli_build_start(&r, &b->build, &err);
  }
  if (code == WG_OK) {
    on_build_event(b); /* there may have been nothing to do */
    return;
  }
  b->build = NULL;
  dev_report_failed("build_failed", &err, b->serving);
  enter(b, WATCHING);
}

/* ---- events ---- */

static void on_save(builder *b) {
  switch (b->state) {
  case WATCHING: enter(b, SETTLING); break;
  case SETTLING: break; /* waits longer */
  case BUILDING:
    dev_report_canceled(b->change.name);
    builder_cancel(b);
    enter(b, SETTLING);
    break;
  case SWAPPING: break; /* WATCHING looks at it */
  }
}

static void on_wake(builder *b) {
  dev *d = b->d;
  uint64_t count;
  if (read(d->wake, &count, sizeof count) < 0) return;
  pthread_mutex_lock(&d->lock);
  bool news = d->swapped;
  char **urls = d->urls;
  wg_error err = d->swap_error;
  d->swapped = false;
  pthread_mutex_unlock(&d->lock);
  if (!news || b->state != SWAPPING) return;
  if (err.code != WG_OK) {
    dev_report_failed(b->serving ? "reload_failed" : "serve_failed", &err, b->serving);
  } else {
    if (!b->serving) dev_report_listening(b->config, urls);
    if (b->built.events)
      dev_report_reloaded((double)(wg_clock_us(CLOCK_MONOTONIC) - b->built.at_us) / 1e6);
    b->serving = true;
  }
  enter(b, WATCHING);
}

/** A signal: the first one ends in order, the next one at once. */
static void on_signal(builder *b) {
  dev *d = b->d;
  struct signalfd_siginfo info;
  if (read(d->stops, &info, sizeof info) != (ssize_t)sizeof info) return;
  if (b->build) {
    cli_build_free(b->build);
    b->build = NULL;
  }
  pthread_mutex_lock(&d->lock);
  d->stopping = true;
  if (d->engine) wg_engine_stop_with(d->engine, common_signal_of((int)info.ssi_signo));
  pthread_cond_signal(&d->changed);
  pthread_mutex_unlock(&d->lock);
}

static bool is_stopping(dev *d) {
  pthread_mutex_lock(&d->lock);
  bool stopping = d->stopping;
  pthread_mutex_unlock(&d->lock);
  return stopping;
}

/** After the first signal only the next one matters, until the main thread is done. */
static void wait_for_end(builder *b) {
  dev *d = b->d;
  for (;;) {
    struct pollfd p[] = {{.fd = d->stops, .events = POLLIN}, {.fd = d->wake, .events = POLLIN}};
    uint64_t count;
    pthread_mutex_lock(&d->lock);
    bool done = d->ended;
    pthread_mutex_unlock(&d->lock);
    if (done) return;
    if (poll(p, WG_COUNT(p), -1) < 0) continue; /* EINTR */
    if (p[0].revents) on_signal(b);
    if (p[1].revents && read(d->wake, &count, sizeof count) < 0) continue;
  }
}

static int settle_timeout(const builder *b) {
  uint64_t now = wg_clock_us(CLOCK_MONOTONIC);
  if (now >= b->settle_end_us) return 0;
  uint64_t left = (b->settle_end_us - now) / 1000 + 1;
  return left < QUIET_MS ? (int)left : QUIET_MS;
}

static void builder_loop(builder *b) {
  while (!is_stopping(b->d)) {
    struct pollfd p[] = {{.fd = b->d->stops, .events = POLLIN},
                         {.fd = b->d->wake, .events = POLLIN},
                         {.fd = watch_tree_fd(b->watch), .events = POLLIN},
                         {.fd = b->build ? cli_build_fd(b->build) : -1, .events = POLLIN}};
    int n = poll(p, WG_COUNT(p), b->state == SETTLING ? settle_timeout(b) : -1);
    if (n < 0) continue; /* EINTR */
    if (p[0].revents) {
      on_signal(b);
      continue;
    }
    bool saved = false;
    if (p[2].revents) {
      unsigned before = b->change.events;
      watch_tree_read(b->watch, &b->change);
      saved = b->change.events != before;
    }
    if (p[1].revents) on_wake(b);
    if (saved)
      on_save(b);
    else if (p[3].revents && b->build)
      on_build_event(b);
    else if (b->state == SETTLING && (n == 0 || wg_clock_us(CLOCK_MONOTONIC) >= b->settle_end_us))
      enter(b, BUILDING);
  }
}

void *dev_build_loop(void *arg) {
  dev *d = arg;
  wg_error err;
  builder b = {.d = d, .first = true};
  wg_code code = watch_tree_new(&b.watch, &err);
  /* A mistake in warp.toml at the start is no build that failed: there is nothing to watch yet. */
  if (code == WG_OK) code = builder_configure(&b, &err);
  if (code == WG_OK) {
    enter(&b, BUILDING);
    builder_loop(&b);
  } else {
    ui_fail("dev", &err, CLI_FAILED);
    pthread_mutex_lock(&d->lock);
    d->failed = d->stopping = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
  }
  wait_for_end(&b);
  cli_build_free(b.build);
  cli_inputs_release(&b.inputs);
  wg_config_free(b.config);
  watch_tree_free(b.watch);
  return NULL;
}
