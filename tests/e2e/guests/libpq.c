/* SPDX-License-Identifier: Apache-2.0 */
/* An ordinary program with libpq that knows nothing of WarpGrid.
 *
 *   libpq CONNINFO STEP...
 *
 * Prints a line about each step. What fails goes to stderr in libpq's own words, and the exit code is
 * 1. Steps of one connection, which the first of them opens:
 *
 *   select big prepared copy_in copy_out copy_fail cancel async notice notify sleep=SECONDS
 *
 * Steps that open others: connect start both */
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 20000, WIDTH = 100 };
static const char *conninfo;
static PGconn *kept;

_Noreturn static void fail(const char *format, ...) {
  va_list words;
  va_start(words, format);
  fflush(stdout);
  vfprintf(stderr, format, words);
  va_end(words);
  exit(1);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void check_open(PGconn *c) {
  if (PQstatus(c) != CONNECTION_OK) fail("status %d: %s", PQstatus(c), PQerrorMessage(c));
}

static PGconn *connection(void) {
  if (!kept) check_open(kept = PQconnectdb(conninfo));
  return kept;
}

/** The result when it is as expected. */
static PGresult *expect(PGconn *c, PGresult *r, ExecStatusType status) {
  if (PQresultStatus(r) != status)
    fail("%s, SQLSTATE %s: %s", PQresStatus(PQresultStatus(r)),
         r && PQresultErrorField(r, PG_DIAG_SQLSTATE) ? PQresultErrorField(r, PG_DIAG_SQLSTATE)
                                                      : "none",
         PQerrorMessage(c));
  return r;
}

static PGresult *query(PGconn *c, const char *sql) {
  return expect(c, PQexec(c, sql), PGRES_TUPLES_OK);
}

static void command(PGconn *c, const char *sql) {
  PQclear(expect(c, PQexec(c, sql), PGRES_COMMAND_OK));
}

static void no_more(PGconn *c) {
  if (PQgetResult(c)) fail("another result\n");
}

static void step_select(PGconn *c) {
  PGresult *r = query(c, "SELECT 1");
  printf("select %s\n", PQgetvalue(r, 0, 0));
  PQclear(r);
}

/** 2 MB in rows, and 2 MB in one value. */
static void step_big(PGconn *c) {
  char sql[128];
  snprintf(sql, sizeof sql, "SELECT i, repeat(chr(97 + i %% 26), %d) FROM generate_series(0, %d) i",
           WIDTH, ROWS - 1);
  PGresult *r = query(c, sql);
  size_t bytes = 0;
  for (int i = 0; i < PQntuples(r); i++) {
    const char *text = PQgetvalue(r, i, 1);
    if (atoi(PQgetvalue(r, i, 0)) != i || text[0] != 'a' + i % 26 || text[WIDTH - 1] != text[0])
      fail("row %d is '%s' '%s'\n", i, PQgetvalue(r, i, 0), text);
    bytes += (size_t)PQgetlength(r, i, 1);
  }
  printf("big %d rows %zu bytes", PQntuples(r), bytes);
  PQclear(r);
  r = query(c, "SELECT repeat('0123456789', 200000)");
  const char *text = PQgetvalue(r, 0, 0);
  for (int i = 0; i < PQgetlength(r, 0, 0); i++)
    if (text[i] != '0' + i % 10) fail("byte %d is %c\n", i, text[i]);
  printf(", one of %d bytes\n", PQgetlength(r, 0, 0));
  PQclear(r);
}

static void step_prepared(PGconn *c) {
  PQclear(expect(c, PQprepare(c, "add", "SELECT $1::int + $2::int", 2, NULL), PGRES_COMMAND_OK));
  const char *words[] = {"20", "22"};
  PGresult *r = expect(c, PQexecPrepared(c, "add", 2, words, NULL, NULL, 0), PGRES_TUPLES_OK);
  printf("prepared %s", PQgetvalue(r, 0, 0));
  PQclear(r);
  r = expect(c, PQexecParams(c, "SELECT $1::int", 1, NULL, words, NULL, NULL, 1), PGRES_TUPLES_OK);
  const unsigned char *bytes = (const unsigned char *)PQgetvalue(r, 0, 0);
  printf(", %d in binary\n", bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3]);
  PQclear(r);
}

static void step_copy_in(PGconn *c) {
  command(c, "CREATE TEMP TABLE IF NOT EXISTS copied (id int, name text)");
  PQclear(expect(c, PQexec(c, "COPY copied FROM STDIN"), PGRES_COPY_IN));
  char row[WIDTH + 32], name[WIDTH + 1];
  memset(name, 'x', WIDTH), name[WIDTH] = 0;
  for (int i = 0; i < ROWS; i++) {
    int len = snprintf(row, sizeof row, "%d\t%s\n", i, name);
    if (PQputCopyData(c, row, len) != 1) fail("PQputCopyData: %s", PQerrorMessage(c));
  }
  if (PQputCopyEnd(c, NULL) != 1) fail("PQputCopyEnd: %s", PQerrorMessage(c));
  PGresult *r = expect(c, PQgetResult(c), PGRES_COMMAND_OK);
  printf("copy_in %s rows\n", PQcmdTuples(r));
  PQclear(r);
  no_more(c);
}

static void step_copy_out(PGconn *c) {
  PQclear(expect(c, PQexec(c, "COPY copied TO STDOUT"), PGRES_COPY_OUT));
  char *row;
  long rows = 0, sum = 0, bytes = 0;
  int len;
  while ((len = PQgetCopyData(c, &row, 0)) > 0) {
    rows++, sum += atoi(row), bytes += len;
    PQfreemem(row);
  }
  if (len != -1) fail("PQgetCopyData: %s", PQerrorMessage(c));
  PQclear(expect(c, PQgetResult(c), PGRES_COMMAND_OK));
  no_more(c);
  printf("copy_out %ld rows sum %ld %ld bytes\n", rows, sum, bytes);
}

/** What the program gives up, and what the server does not take. */
static void step_copy_fail(PGconn *c) {
  command(c, "CREATE TEMP TABLE IF NOT EXISTS copied (id int, name text)");
  for (int i = 0; i < 2; i++) {
    PQclear(expect(c, PQexec(c, "COPY copied FROM STDIN"), PGRES_COPY_IN));
    if (i == 1) PQputCopyData(c, "one\ttwo\n", 8);
    PQputCopyEnd(c, i == 0 ? "changed my mind" : NULL);
    PGresult *r = expect(c, PQgetResult(c), PGRES_FATAL_ERROR);
    printf("copy_fail %s\n", PQresultErrorField(r, PG_DIAG_SQLSTATE));
    PQclear(r);
    no_more(c);
  }
  step_select(c);
}

static void step_cancel(PGconn *c) {
  double begun = seconds();
  if (!PQsendQuery(c, "SELECT pg_sleep(60)")) fail("PQsendQuery: %s", PQerrorMessage(c));
  nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL); // the server has begun
  PGcancel *cancel = PQgetCancel(c);
  char error[256] = "";
  if (!cancel) fail("no cancel key\n");
  if (!PQcancel(cancel, error, sizeof error)) fail("PQcancel: %s", error);
  PQfreeCancel(cancel);
  PGresult *r = expect(c, PQgetResult(c), PGRES_FATAL_ERROR);
  printf("cancel %s %s\n", PQresultErrorField(r, PG_DIAG_SQLSTATE),
         seconds() - begun < 10 ? "soon" : "late");
  PQclear(r);
  no_more(c);
  step_select(c);
}

static void wait_for(PGconn *c, short events) {
  struct pollfd p = {.fd = PQsocket(c), .events = events};
  int n = poll(&p, 1, 20000);
  if (n < 1) fail("poll: %s\n", n ? strerror(errno) : "nothing in 20 s");
}

static PGconn *start(const char *info) {
  PGconn *c = PQconnectStart(info);
  if (!c || PQstatus(c) == CONNECTION_BAD) fail("PQconnectStart: %s", PQerrorMessage(c));
  return c;
}

/** Connects without blocking. */
static PGconn *start_and_poll(const char *info) {
  PGconn *c = start(info);
  for (PostgresPollingStatusType next = PGRES_POLLING_WRITING; next != PGRES_POLLING_OK;
       next = PQconnectPoll(c)) {
    if (next == PGRES_POLLING_FAILED) fail("PQconnectPoll: %s", PQerrorMessage(c));
    wait_for(c, next == PGRES_POLLING_READING ? POLLIN : POLLOUT);
  }
  check_open(c);
  return c;
}

/** The next result, waiting with poll(). */
static PGresult *next_result(PGconn *c) {
  int left;
  while ((left = PQflush(c)) == 1) {
    wait_for(c, POLLIN | POLLOUT);
    if (!PQconsumeInput(c)) fail("PQconsumeInput: %s", PQerrorMessage(c));
  }
  if (left < 0) fail("PQflush: %s", PQerrorMessage(c));
  while (PQisBusy(c)) {
    wait_for(c, POLLIN);
    if (!PQconsumeInput(c)) fail("PQconsumeInput: %s", PQerrorMessage(c));
  }
  return PQgetResult(c);
}

/** Row by row; a question of 2 MB, which no buffer takes at once; a pipeline. */
static void step_async(PGconn *c) {
  if (PQsetnonblocking(c, 1) != 0) fail("PQsetnonblocking: %s", PQerrorMessage(c));
  if (!PQsendQuery(c, "SELECT i FROM generate_series(1, 1000) i") || !PQsetSingleRowMode(c))
    fail("PQsendQuery: %s", PQerrorMessage(c));
  PGresult *r;
  int rows = 0;
  for (; (r = next_result(c)); PQclear(r)) rows += PQresultStatus(r) == PGRES_SINGLE_TUPLE;
  char *text = malloc(2000001);
  memset(text, 'q', 2000000), text[2000000] = 0;
  const char *words[] = {text};
  if (!PQsendQueryParams(c, "SELECT length($1)", 1, NULL, words, NULL, NULL, 0))
    fail("PQsendQueryParams: %s", PQerrorMessage(c));
  r = expect(c, next_result(c), PGRES_TUPLES_OK);
  printf("async %d rows, %s sent", rows, PQgetvalue(r, 0, 0));
  PQclear(r);
  free(text);
  if (next_result(c)) fail("another result\n");
  if (!PQenterPipelineMode(c)) fail("PQenterPipelineMode: %s", PQerrorMessage(c));
  const char *numbers[] = {"1", "2", "3"};
  for (int i = 0; i < 3; i++)
    PQsendQueryParams(c, "SELECT $1::int * 10", 1, NULL, numbers + i, NULL, NULL, 0);
  PQpipelineSync(c);
  printf(", pipeline");
  for (int i = 0; i < 3; i++) {
    r = expect(c, next_result(c), PGRES_TUPLES_OK);
    printf(" %s", PQgetvalue(r, 0, 0));
    PQclear(r);
    if (next_result(c)) fail("another result\n");
  }
  PQclear(expect(c, next_result(c), PGRES_PIPELINE_SYNC));
  if (!PQexitPipelineMode(c)) fail("PQexitPipelineMode: %s", PQerrorMessage(c));
  PQsetnonblocking(c, 0);
  printf("\n");
}

static void on_notice(void *user, const char *message) {
  (void)user;
  printf("notice %s", message);
}

static void step_notice(PGconn *c) {
  PQsetNoticeProcessor(c, on_notice, NULL);
  command(c, "DO $$ BEGIN RAISE NOTICE 'hear, hear'; END $$");
}

/** What another connection tells. */
static void step_notify(PGconn *c) {
  command(c, "LISTEN news");
  PGconn *other = PQconnectdb(conninfo);
  check_open(other);
  command(other, "NOTIFY news, 'rain'");
  PQfinish(other);
  PGnotify *told;
  while (!(told = PQnotifies(c))) {
    wait_for(c, POLLIN);
    if (!PQconsumeInput(c)) fail("PQconsumeInput: %s", PQerrorMessage(c));
  }
  printf("notify %s %s\n", told->relname, told->extra);
  PQfreemem(told);
}

/** Two connections, each asked something that takes a second; one loop with poll(). At once it was when
 *  each began before the other ended. */
static void step_both(void) {
  PGconn *c[2] = {start(conninfo), start(conninfo)};
  PostgresPollingStatusType next[2] = {PGRES_POLLING_WRITING, PGRES_POLLING_WRITING};
  bool asked[2] = {false, false}, done[2] = {false, false};
  double begun[2] = {0, 0}, ended[2] = {0, 0};
  while (!done[0] || !done[1]) {
    struct pollfd p[2];
    for (int i = 0; i < 2; i++) {
      bool reads = asked[i] || next[i] == PGRES_POLLING_READING;
      p[i] =
          (struct pollfd){.fd = done[i] ? -1 : PQsocket(c[i]), .events = reads ? POLLIN : POLLOUT};
    }
    if (poll(p, 2, 20000) < 1) fail("poll: %s\n", strerror(errno));
    for (int i = 0; i < 2; i++) {
      if (done[i] || !p[i].revents) continue;
      if (!asked[i]) {
        next[i] = PQconnectPoll(c[i]);
        if (next[i] == PGRES_POLLING_FAILED) fail("PQconnectPoll: %s", PQerrorMessage(c[i]));
        if (next[i] != PGRES_POLLING_OK) continue;
        asked[i] = PQsendQuery(c[i], "SELECT extract(epoch FROM clock_timestamp()), pg_sleep(1), "
                                     "extract(epoch FROM clock_timestamp())");
        continue;
      }
      PQconsumeInput(c[i]);
      if (PQisBusy(c[i])) continue;
      PGresult *r = expect(c[i], PQgetResult(c[i]), PGRES_TUPLES_OK);
      begun[i] = atof(PQgetvalue(r, 0, 0)), ended[i] = atof(PQgetvalue(r, 0, 2));
      PQclear(r);
      done[i] = true;
    }
  }
  printf("both %s\n", begun[0] < ended[1] && begun[1] < ended[0] ? "at once" : "in turn");
  PQfinish(c[0]), PQfinish(c[1]);
}

static void step_connect(void) {
  PGconn *c = PQconnectdb(conninfo);
  check_open(c);
  printf("connect server %d, user %s, database %s\n", PQserverVersion(c) / 10000, PQuser(c),
         PQdb(c));
  PQfinish(c);
}

int main(int argc, char **argv) {
  if (argc < 3) fail("usage: libpq CONNINFO STEP...\n");
  conninfo = argv[1];
  static const struct {
    const char *name;
    void (*with)(PGconn *);
    void (*alone)(void);
  } steps[] = {
      {"select", step_select, NULL},     {"big", step_big, NULL},
      {"prepared", step_prepared, NULL}, {"copy_in", step_copy_in, NULL},
      {"copy_out", step_copy_out, NULL}, {"copy_fail", step_copy_fail, NULL},
      {"cancel", step_cancel, NULL},     {"async", step_async, NULL},
      {"notice", step_notice, NULL},     {"notify", step_notify, NULL},
      {"both", NULL, step_both},         {"connect", NULL, step_connect},
  };
  for (int i = 2; i < argc; i++) {
    size_t at = 0, count = sizeof steps / sizeof *steps;
    while (at < count && strcmp(steps[at].name, argv[i]) != 0) at++;
    if (at < count && steps[at].alone) {
      steps[at].alone();
    } else if (at < count) {
      steps[at].with(connection());
    } else if (strcmp(argv[i], "start") == 0) {
      PGconn *c = start_and_poll(conninfo);
      printf("start, then ");
      step_select(c);
      PQfinish(c);
    } else if (strncmp(argv[i], "sleep=", 6) == 0) {
      char sql[64];
      snprintf(sql, sizeof sql, "SELECT pg_sleep(%.9s)", argv[i] + 6);
      printf("asleep\n");
      fflush(stdout);
      PQclear(query(connection(), sql));
    } else {
      fail("no step '%s'\n", argv[i]);
    }
  }
  PQfinish(kept);
  return 0;
}
