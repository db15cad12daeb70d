/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/common.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- SIGHUP: `hangup` to a guest that asked for it; else the process ends, as by default ---- */

typedef struct hangups {
  wg_engine *engine;
  pthread_t thread;
  bool on;
  atomic_bool over;
} hangups;

static atomic_int hangup_fd = -1;

static void on_hangup(int signal_number) {
  const uint64_t one = 1;
  int saved = errno;
  (void)signal_number;
  ssize_t n = write(atomic_load(&hangup_fd), &one, sizeof one);
  (void)n;
  errno = saved;
}

static void *tell_hangups(void *p) {
  hangups *h = p;
  uint64_t count;
  bool asked = false;
  while (read(atomic_load(&hangup_fd), &count, sizeof count) == sizeof count &&
         !atomic_load(&h->over)) {
    wg_error err;
    size_t told = 0;
    asked |= wg_engine_signal(h->engine, NULL, WG_SIGNAL_HANGUP, &told, &err) == WG_OK && told > 0;
    if (asked) continue; /* also when it has just ended, perhaps because of the one before */
    signal(SIGHUP, SIG_DFL);
    kill(getpid(), SIGHUP);
  }
  return NULL;
}

static void find_signals(void *user, const wg_interface *i) {
  static const char *const names[] = {"warpgrid:shim/signals@", "warpgrid:shim-async/signals@"};
  bool *found = user;
  for (size_t k = 0; k < WG_COUNT(names); k++)
    *found |= !i->is_export && strncmp(i->name, names[k], strlen(names[k])) == 0;
}

/** Nothing changes for a guest without signals, or when the caller has SIGHUP ignored (nohup). */
static void hangups_begin(hangups *h, const common_engine *x) {
  struct sigaction now, mine = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
  bool wanted = false;
  wg_engine_inspect(x->engine, x->component, find_signals, &wanted);
  *h = (hangups){.engine = x->engine};
  if (!wanted || sigaction(SIGHUP, NULL, &now) != 0 || now.sa_handler != SIG_DFL) return;
  int fd = eventfd(0, EFD_CLOEXEC);
  if (fd < 0) return;
  atomic_store(&hangup_fd, fd);
  h->on = pthread_create(&h->thread, NULL, tell_hangups, h) == 0;
  sigemptyset(&mine.sa_mask);
  if (h->on)
    sigaction(SIGHUP, &mine, NULL);
  else
    close(fd);
}

static void hangups_end(hangups *h) {
  if (!h->on) return;
  atomic_store(&h->over, true);
  on_hangup(SIGHUP);
  pthread_join(h->thread, NULL);
  /* The handler and its fd stay: another one during the clean-up must not take away the guest's
   * exit code. */
}

int cmd_run(const cli_args *args) {
  wg_error err;
  wg_engine_options options = {0};
  int code = common_options_read(args, WG_LOG_WARN, &options);
  if (code != CLI_DONE) return code;
  common_engine x = {0};
  code = common_load(args, &options, &x);
  if (code == CLI_DONE) {
    wg_component_kind kind = wg_component_get_kind(x.component);
    bool command = kind == WG_COMPONENT_P2_COMMAND || kind == WG_COMPONENT_P3_COMMAND;
    /* What exports wasi:cli/run in another version is refused with the versions. */
    if (kind == WG_COMPONENT_OTHER &&
        wg_engine_instantiate(x.engine, x.component, NULL, &x.app, &err) != WG_OK) {
      code = ui_fail("run", &err, CLI_FAILED);
    } else if (!command) {
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
      hangups told;
      hangups_begin(&told, &x);
      common_stop_on_signals(x.engine);
      rc = wg_engine_run(x.engine, x.app, &guest_code, &err);
      common_stop_on_signals(NULL);
      hangups_end(&told);
    }
    if (rc == WG_TRAP) wg_error_wrap(&err, "run of '%s' failed", x.path);
    code = rc == WG_OK ? guest_code : ui_fail("run", &err, CLI_FAILED);
  }
  common_free(&x);
  return code;
}
