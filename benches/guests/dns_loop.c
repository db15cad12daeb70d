/* SPDX-License-Identifier: Apache-2.0 */
/* A stock program that looks a name up: `NAME N` calls getaddrinfo N times, a tenth of N before that
 * unmeasured. Prints one line as db_loop.c does. */
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 0, warm = n / 10;
  uint64_t *samples = calloc(n + 1, sizeof *samples), began = 0;
  if (n == 0 || samples == NULL) return 2;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
  for (size_t i = 0; i < warm + n; i++) {
    uint64_t start = now_ns();
    if (i == warm) began = start;
    int rc = getaddrinfo(argv[1], NULL, &hints, &list);
    if (rc != 0) {
      fprintf(stderr, "dns-loop: %s: %s\n", argv[1], gai_strerror(rc));
      return 1;
    }
    freeaddrinfo(list);
    if (i >= warm) samples[i - warm] = now_ns() - start;
  }
  double wall = (double)(now_ns() - began) / 1e3;
  qsort(samples, n, sizeof *samples, by_value);
  printf("n=%zu wall_us=%.0f per_op_us=%.3f p50_us=%.3f p99_us=%.3f\n", n, wall, wall / (double)n,
         (double)samples[n / 2] / 1e3, (double)samples[n * 99 / 100] / 1e3);
  return 0;
}
