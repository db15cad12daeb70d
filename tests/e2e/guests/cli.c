/* SPDX-License-Identifier: Apache-2.0 */
/* A WASI 0.3 command with some verbs of tests/fixtures/command/tool.c, and doing the same:
 * args, env, cat, exit, read, write, print lines. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <world.h>

#include "../../../sdk/c/src/command.h"

extern char **environ;

static int copy(FILE *from) {
  static char buf[16384];
  size_t n, total = 0;
  while ((n = fread(buf, 1, sizeof buf, from)) > 0) {
    if (fwrite(buf, 1, n, stdout) != n) return 1;
    total += n;
  }
  fprintf(stderr, "%zu bytes\n", total);
  return ferror(from) != 0;
}

static int file_failed(const char *name) {
  fprintf(stderr, "%s: %s\n", name, strerror(errno));
  return 1;
}

static int run(size_t argc, char **argv) {
  const char *verb = argc > 1 ? argv[1] : "";
  if (strcmp(verb, "args") == 0) {
    for (size_t i = 2; i < argc; i++) puts(argv[i]);
    return 0;
  }
  if (strcmp(verb, "env") == 0) {
    for (char **e = environ; e != NULL && *e != NULL; e++) puts(*e);
    return 0;
  }
  if (strcmp(verb, "cat") == 0) return copy(stdin);
  if (strcmp(verb, "print") == 0) {
    fputs("first line\nsecond line\n", argc > 3 ? stderr : stdout);
    return 0;
  }
  if (strcmp(verb, "exit") == 0 && argc > 2) return atoi(argv[2]);
  if (strcmp(verb, "read") == 0 && argc > 2) {
    FILE *f = fopen(argv[2], "rb");
    return f == NULL ? file_failed(argv[2]) : copy(f);
  }
  if (strcmp(verb, "write") == 0 && argc > 3) {
    FILE *f = fopen(argv[2], "wb");
    if (f == NULL || fputs(argv[3], f) < 0 || fclose(f) != 0) return file_failed(argv[2]);
    return 0;
  }
  fprintf(stderr, "unknown verb '%s'\n", verb);
  return 2;
}

int wg_main(void) {
  wasi3_list_string_t given;
  wasi_cli_environment_get_arguments(&given);
  char **argv = calloc(given.len + 1, sizeof *argv);
  if (argv == NULL) return 1;
  for (size_t i = 0; i < given.len; i++)
    argv[i] = strndup((char *)given.ptr[i].ptr, given.ptr[i].len);
  return run(given.len, argv);
}
