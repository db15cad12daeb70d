/* SPDX-License-Identifier: Apache-2.0 */
/* The native peers of the database benches: what a C program does with libpq and no WarpGrid.
 *
 *   pg_loop loop N          one connection, N prepared `SELECT 1`, blocking
 *   pg_loop spin N          the same, and never sleeps: it asks for bytes until they are there
 *   pg_loop threads C N     C threads, each with its own connection and blocking loop; N in all
 *   pg_loop epoll C N       C connections in one epoll loop, one query in flight on each; N in all
 *   pg_loop connect N       N times: connect, one `SELECT 1`, close
 *   pg_loop bulk BYTES N    N results of BYTES each in rows of 64 KiB, taken row by row; prints mib_s=
 *
 * Where to connect is said by PGHOST, PGPORT, ... as for every libpq program. Prints one line:
 *   n=10000 wall_us=251300 per_op_us=25.130 p50_us=24.800 p99_us=31.000 cpu_us=14.200
 * per_op_us is wall time over n, cpu_us this process's CPU time over n; p50 and p99 are of single
 * operations. A tenth of N runs first, unmeasured. Any wrong answer ends the program with 1. */
#include <errno.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

_Noreturn static void fail(const char *what, const char *why) {
  fprintf(stderr, "pg_loop: %s: %s\n", what, why);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_ns(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000u +
         (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000u;
}

static void *must(void *p) {
  if (!p) fail("memory", "none left");
  return p;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Times of single operations and of the whole; begun after the warm-up. */
typedef struct {
  uint64_t *samples;
  size_t count, cap;
  uint64_t wall, cpu;
} timing;

static timing timing_new(size_t cap) {
  return (timing){.samples = must(calloc(cap, sizeof(uint64_t))), .cap = cap};
}
static void timing_begin(timing *t) {
  t->count = 0;
  t->cpu = cpu_ns();
  t->wall = now_ns();
}
static void timing_add(timing *t, uint64_t ns) {
  if (t->count < t->cap) t->samples[t->count++] = ns;
}
static void timing_print(timing *t) {
  uint64_t wall = now_ns() - t->wall, cpu = cpu_ns() - t->cpu;
  if (t->count == 0) fail("timing", "nothing was measured");
  qsort(t->samples, t->count, sizeof *t->samples, by_value);
  double n = (double)t->count;
  printf("n=%zu wall_us=%.0f per_op_us=%.3f p50_us=%.3f p99_us=%.3f cpu_us=%.3f\n", t->count,
         (double)wall / 1e3, (double)wall / 1e3 / n, (double)t->samples[t->count / 2] / 1e3,
         (double)t->samples[t->count * 99 / 100] / 1e3, (double)cpu / 1e3 / n);
  free(t->samples);
}

static PGconn *open_connection(void) {
  PGconn *c = PQconnectdb("");
  if (PQstatus(c) != CONNECTION_OK) fail("connect", PQerrorMessage(c));
  return c;
}

static void check_one(PGconn *c, PGresult *r) {
  if (PQresultStatus(r) != PGRES_TUPLES_OK) fail("query", PQerrorMessage(c));
  if (PQntuples(r) != 1 || strcmp(PQgetvalue(r, 0, 0), "1") != 0) fail("query", "wrong answer");
  PQclear(r);
}

static void prepare(PGconn *c) {
  PGresult *r = PQprepare(c, "q", "SELECT 1", 0, NULL);
  if (PQresultStatus(r) != PGRES_COMMAND_OK) fail("prepare", PQerrorMessage(c));
  PQclear(r);
}

static void run_prepared(PGconn *c) {
  check_one(c, PQexecPrepared(c, "q", 0, NULL, NULL, NULL, 0));
}

static void mode_loop(size_t n) {
  PGconn *c = open_connection();
  prepare(c);
  timing t = timing_new(n);
  for (size_t i = 0; i < n / 10; i++) run_prepared(c);
  timing_begin(&t);
  for (size_t i = 0; i < n; i++) {
    uint64_t start = now_ns();
    run_prepared(c);
    timing_add(&t, now_ns() - start);
  }
  timing_print(&t);
  PQfinish(c);
}

static void mode_spin(size_t n) {
  PGconn *c = open_connection();
  prepare(c);
  if (PQsetnonblocking(c, 1) != 0) fail("connect", PQerrorMessage(c));
  timing t = timing_new(n);
  for (size_t i = 0; i < n / 10 + n; i++) {
    if (i == n / 10) timing_begin(&t);
    uint64_t start = now_ns();
    if (!PQsendQueryPrepared(c, "q", 0, NULL, NULL, NULL, 0)) fail("send", PQerrorMessage(c));
    do {
      if (!PQconsumeInput(c)) fail("receive", PQerrorMessage(c));
    } while (PQisBusy(c));
    for (PGresult *r; (r = PQgetResult(c)) != NULL;) check_one(c, r);
    if (i >= n / 10) timing_add(&t, now_ns() - start);
  }
  timing_print(&t);
  PQfinish(c);
}

static void mode_connect(size_t n) {
  timing t = timing_new(n);
  size_t warm_up = n / 10;
  for (size_t i = 0; i < n + warm_up; i++) {
    if (i == warm_up) timing_begin(&t);
    uint64_t start = now_ns();
    PGconn *c = open_connection();
    check_one(c, PQexec(c, "SELECT 1"));
    PQfinish(c);
    if (i >= warm_up) timing_add(&t, now_ns() - start);
  }
  timing_print(&t);
}

static void mode_bulk(size_t bytes, size_t n) {
  PGconn *c = open_connection();
  char sql[128];
  snprintf(sql, sizeof sql, "SELECT repeat('x', 65536) FROM generate_series(1, %zu)",
           bytes / 65536);
  uint64_t start = 0;
  for (size_t i = 0; i < n / 10 + n; i++) {
    size_t got = 0;
    if (i == n / 10) start = now_ns();
    if (!PQsendQuery(c, sql) || !PQsetSingleRowMode(c)) fail("send", PQerrorMessage(c));
    for (PGresult *r; (r = PQgetResult(c)) != NULL; PQclear(r))
      for (int k = 0; k < PQntuples(r); k++) got += (size_t)PQgetlength(r, k, 0);
    if (got != bytes / 65536 * 65536) fail("query", "not all bytes came");
  }
  double s = (double)(now_ns() - start) / 1e9;
  printf("n=%zu wall_us=%.0f mib_s=%.1f\n", n, s * 1e6, (double)n * (double)bytes / s / 1048576);
  PQfinish(c);
}

/* One thread of mode_threads. The main thread opens the gate twice: before and after warming up. */
typedef struct {
  pthread_barrier_t *gate;
  size_t n;
  uint64_t *samples;
} thread_job;

static void *thread_main(void *arg) {
  thread_job *job = arg;
  PGconn *c = open_connection();
  prepare(c);
  for (size_t i = 0; i < job->n / 10; i++) run_prepared(c);
  pthread_barrier_wait(job->gate); /* all are warm */
  pthread_barrier_wait(job->gate); /* the clock runs */
  for (size_t i = 0; i < job->n; i++) {
    uint64_t start = now_ns();
    run_prepared(c);
    job->samples[i] = now_ns() - start;
  }
  PQfinish(c);
  return NULL;
}

static void mode_threads(size_t c, size_t n) {
  size_t each = n / c;
  timing t = timing_new(each * c);
  pthread_barrier_t gate;
  pthread_barrier_init(&gate, NULL, (unsigned)c + 1);
  pthread_t *threads = must(calloc(c, sizeof *threads));
  thread_job *jobs = must(calloc(c, sizeof *jobs));
  for (size_t i = 0; i < c; i++) {
    jobs[i] = (thread_job){&gate, each, t.samples + i * each};
    if (pthread_create(&threads[i], NULL, thread_main, &jobs[i]) != 0) fail("thread", "no more");
  }
  pthread_barrier_wait(&gate);
  timing_begin(&t);
  pthread_barrier_wait(&gate);
  for (size_t i = 0; i < c; i++) pthread_join(threads[i], NULL);
  t.count = each * c;
  timing_print(&t);
  pthread_barrier_destroy(&gate);
  free(threads);
  free(jobs);
}

typedef struct {
  PGconn *c;
  uint64_t start;
} slot;

static void slot_send(slot *s) {
  s->start = now_ns();
  if (!PQsendQueryPrepared(s->c, "q", 0, NULL, NULL, NULL, 0)) fail("send", PQerrorMessage(s->c));
}

static void mode_epoll(size_t c, size_t n) {
  timing t = timing_new(n);
  slot *slots = must(calloc(c, sizeof *slots));
  int ep = epoll_create1(EPOLL_CLOEXEC);
  for (size_t i = 0; i < c; i++) {
    slots[i].c = open_connection();
    prepare(slots[i].c);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &slots[i]};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, PQsocket(slots[i].c), &e) != 0) fail("epoll", strerror(errno));
    slot_send(&slots[i]);
  }
  size_t done = 0, warm_up = n / 10 + c;
  while (done < n + warm_up) {
    struct epoll_event events[64];
    int got = epoll_wait(ep, events, 64, 10000);
    if (got == 0) fail("epoll", "no answer within 10 s");
    for (int i = 0; i < got; i++) {
      slot *s = events[i].data.ptr;
      if (!PQconsumeInput(s->c)) fail("receive", PQerrorMessage(s->c));
      if (PQisBusy(s->c)) continue;
      for (PGresult *r; (r = PQgetResult(s->c)) != NULL;) check_one(s->c, r);
      if (done >= warm_up) timing_add(&t, now_ns() - s->start);
      if (++done == warm_up) timing_begin(&t);
      slot_send(s);
    }
  }
  timing_print(&t);
  for (size_t i = 0; i < c; i++) PQfinish(slots[i].c);
  free(slots);
}

/* A whole number from 1 to max, else 0. */
static size_t number(const char *text, size_t max) {
  char *end;
  errno = 0;
  unsigned long long v = strtoull(text, &end, 10);
  return errno || *end || v > max ? 0 : (size_t)v;
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  size_t a = argc > 2 ? number(argv[2], 1u << 30) : 0, b = argc > 3 ? number(argv[3], 10000000) : 0;
  if (argc == 3 && a && strcmp(mode, "loop") == 0)
    mode_loop(a);
  else if (argc == 3 && a && strcmp(mode, "spin") == 0)
    mode_spin(a);
  else if (argc == 3 && a && strcmp(mode, "connect") == 0)
    mode_connect(a);
  else if (argc == 4 && a && b && strcmp(mode, "bulk") == 0)
    mode_bulk(a, b);
  else if (argc == 4 && a && a <= 1000 && b >= a && strcmp(mode, "threads") == 0)
    mode_threads(a, b);
  else if (argc == 4 && a && a <= 1000 && b >= a && strcmp(mode, "epoll") == 0)
    mode_epoll(a, b);
  else {
    fputs("usage: pg_loop loop N | spin N | connect N | bulk BYTES N | threads C N | epoll C N\n",
          stderr);
    return 2;
  }
  return 0;
}
