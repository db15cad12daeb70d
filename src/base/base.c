/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

void wg__assert_fail(const char *cond, const char *file, int line) {
  fprintf(stderr, "warpgrid: assertion failed: %s (%s:%d)\n", cond, file, line);
  abort();
}

static uint64_t clock_monotonic_ms(void *user) {
  (void)user;
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail with this clock */
  return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}
uint64_t wg_clock_us(int clock_id) {
  struct timespec t;
  clock_gettime(clock_id, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

const wg_clock wg_clock_monotonic = {clock_monotonic_ms, NULL};

void wg_wipe(void *p, size_t len) {
  if (len) explicit_bzero(p, len);
}

wg_code wg_secret_set(wg_secret *s, const char *bytes, size_t len, wg_error *err) {
  char *copy = malloc(len + 1);
  if (!copy) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  if (len) memcpy(copy, bytes, len);
  copy[len] = '\0';
  wg_secret_release(s);
  s->bytes = copy;
  s->len = len;
  return WG_OK;
}

void wg_secret_release(wg_secret *s) {
  if (!s) return;
  if (s->bytes) wg_wipe(s->bytes, s->len);
  free(s->bytes);
  s->bytes = NULL;
  s->len = 0;
}

void wg_random_bytes(void *p, size_t len) {
  uint8_t *at = p;
  while (len) {
    ssize_t n = getrandom(at, len, 0);
    if (n < 0) {
      /* Only EINTR can happen on a kernel that has the call; keys must never be guessable. */
      WG_ASSERT(errno == EINTR);
      continue;
    }
    at += n;
    len -= (size_t)n;
  }
}

uint64_t wg_random_u64(void) {
  uint64_t v;
  wg_random_bytes(&v, sizeof v);
  return v;
}
