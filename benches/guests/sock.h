/* SPDX-License-Identifier: Apache-2.0 */
/** @file sock.h  What the programs of BSD sockets share: where the database is, and times. Whoever
 *  includes it is one file, and defines PROGRAM for its messages. */
#pragma once
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

_Noreturn static void fail(const char *what, const char *why) {
  fprintf(stderr, PROGRAM ": %s: %s\n", what, why);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* -- Times -- */

static uint64_t *samples, began;
static size_t warmup, count, seen;

static void times_of(size_t n) {
  count = n;
  warmup = n / 10;
  samples = calloc(n, sizeof *samples);
  if (samples == NULL) fail("memory", "none left");
  if (warmup == 0) began = now_ns();
}

/* One more is done that was begun at `since`. @return 1 when it was the last one */
static int times_add(uint64_t since) {
  uint64_t now = now_ns();
  if (seen >= warmup && seen < warmup + count) samples[seen - warmup] = now - since;
  if (++seen == warmup) began = now;
  return seen >= warmup + count;
}

static void times_print(void) {
  double wall = (double)(now_ns() - began) / 1e3;
  qsort(samples, count, sizeof *samples, by_value);
  printf("n=%zu wall_us=%.0f per_op_us=%.3f p50_us=%.3f p99_us=%.3f\n", count, wall,
         wall / (double)count, (double)samples[count / 2] / 1e3,
         (double)samples[count * 99 / 100] / 1e3);
}

/* -- The database -- */

static struct addrinfo *place;

/* Looks DB_HOST and DB_PORT up. */
static void place_of(void) {
  const char *host = getenv("DB_HOST"), *port = getenv("DB_PORT");
  if (host == NULL || port == NULL) fail("environment", "DB_HOST and DB_PORT must be set");
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  int rc = getaddrinfo(host, port, &hints, &place);
  if (rc != 0) fail(host, gai_strerror(rc));
}

/* What a database wants to know besides. */
static inline void names_of(const char **name, const char **user) {
  *name = getenv("DB_NAME");
  *user = getenv("DB_USER");
  if (*name == NULL || *user == NULL) fail("environment", "DB_NAME and DB_USER must be set");
}
