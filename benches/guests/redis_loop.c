/* SPDX-License-Identifier: Apache-2.0 */
/* A program of BSD sockets that asks Redis. It knows nothing of WarpGrid: clang and wasi-libc compile it as
 * it stands, and the machine's own compiler for the native side of a bench.
 *
 *   loop N       one connection, N times `GET bench`, blocking
 *   pipeline N   one connection, N times 1,000 of them at once
 *   connect N    N times: connect, one `GET bench`, close
 *
 * DB_HOST and DB_PORT say where; DB_PASSWORD is sent when it is set. A tenth of N runs first, unmeasured.
 * Prints a line as pg_loop.c does. */
#define PROGRAM "redis-loop"
#include "stream.h"

enum { BATCH = 1000 };

static const char get[] = "*2\r\n$3\r\nGET\r\n$5\r\nbench\r\n", found[] = "$5\r\nvalue\r\n";
static char batch[BATCH * (sizeof get - 1)];

static void await_bytes(size_t want) {
  static char answer[BATCH * sizeof found];
  size_t have = 0;
  while (have < want) {
    have += stream_recv(answer + have, want - have);
    if (answer[0] == '-') fail("answer", "an error");
  }
}

static void ask(const char *p, size_t len, size_t answers) {
  stream_send(p, len);
  await_bytes(answers * (sizeof found - 1));
}

static void open_session(void) {
  stream_open();
  if (secured()) secure();
  const char *password = getenv("DB_PASSWORD");
  char text[200];
  if (password != NULL) {
    int n = snprintf(text, sizeof text, "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", strlen(password),
                     password);
    if (n < 0 || n >= (int)sizeof text) fail("environment", "DB_PASSWORD is too long");
    stream_send(text, (size_t)n);
    await_bytes(5);
  }
}

int main(int argc, char **argv) {
  size_t n = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
  int connects = argc == 3 && strcmp(argv[1], "connect") == 0;
  int pipeline = argc == 3 && strcmp(argv[1], "pipeline") == 0;
  if (n == 0 || (!connects && !pipeline && strcmp(argv[1], "loop") != 0)) {
    fputs("usage: loop N | pipeline N | connect N\n", stderr);
    return 2;
  }
  for (size_t i = 0; i < BATCH; i++) memcpy(batch + i * (sizeof get - 1), get, sizeof get - 1);
  place_of();
  times_of(n);
  if (!connects) open_session();
  uint64_t since;
  do {
    since = now_ns();
    if (connects) open_session();
    if (pipeline)
      ask(batch, sizeof batch, BATCH);
    else
      ask(get, sizeof get - 1, 1);
    if (connects) stream_close();
  } while (!times_add(since));
  times_print();
  return 0;
}
