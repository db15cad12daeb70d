/* SPDX-License-Identifier: Apache-2.0 */
/* What the probes of the end-to-end tests share. */
#pragma once
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <warpgrid/sdk/http.h>
#ifdef WG_STACKFUL
#include "../../../sdk/c/src/task.h"
#endif

/* Waits; other requests of a WASI 0.3 instance go on meanwhile. */
static inline void probe_sleep(int64_t ms) {
#ifdef WG_STACKFUL
  wg_task_await_subtask(wasi_clocks_monotonic_clock_wait_for((uint64_t)ms * 1000000u));
#else
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
  nanosleep(&t, NULL);
#endif
}

static inline int64_t probe_number(wg_http_request *req, const char *name, int64_t otherwise) {
  int64_t n = otherwise;
  wg_str_int64(wg_http_query_param(req, name), &n);
  return n;
}

/* Functions with names that a backtrace must show. */
__attribute__((noinline)) static void probe_trap(void) { __builtin_trap(); }
__attribute__((noinline)) static void probe_spin(void) {
  for (volatile uint32_t i = 0;; i++) {}
}

/* What both probes answer. @return false: not one of these paths */
static inline bool probe_common(wg_http_request *req, wg_http_response *res) {
  extern char **environ;
  wg_str path = wg_http_path(req);
  if (wg_str_is(path, "/trap")) probe_trap();
  else if (wg_str_is(path, "/spin")) probe_spin();
  else if (wg_str_is(path, "/env"))
    for (char **e = environ; e != NULL && *e != NULL; e++) wg_http_printf(res, "%s\n", *e);
  else return false;
  return true;
}
