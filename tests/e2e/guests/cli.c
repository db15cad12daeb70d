/* SPDX-License-Identifier: Apache-2.0 */
/* A command that shows what it was given:
 *   show [ARG...]   arguments and environment, a line each     cat          stdin to stdout
 *   both            a line on stdout and one on stderr         exit CODE
 *   read FILE       the file to stdout                         write FILE TEXT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

static int copy(FILE *from) {
  static char buf[65536];
  size_t n;
  while ((n = fread(buf, 1, sizeof buf, from)) > 0)
    if (fwrite(buf, 1, n, stdout) != n) return 1;
  return ferror(from) || fflush(stdout) != 0;
}

static int file_failed(const char *name) {
  fprintf(stderr, "cannot open '%s': %s\n", name, strerror(errno));
  return 1;
}

static int run(int argc, char **argv) {
  const char *verb = argc > 1 ? argv[1] : "show";
  if (strcmp(verb, "show") == 0) {
    for (int i = 1; i < argc; i++) printf("arg %s\n", argv[i]);
    for (char **e = environ; e != NULL && *e != NULL; e++) printf("env %s\n", *e);
    return fflush(stdout) != 0;
  }
  if (strcmp(verb, "cat") == 0) return copy(stdin);
  if (strcmp(verb, "both") == 0) {
    puts("to stdout");
    fputs("to stderr\n", stderr);
    return fflush(stdout) != 0;
  }
  if (strcmp(verb, "exit") == 0 && argc > 2) return atoi(argv[2]);
  if (strcmp(verb, "read") == 0 && argc > 2) {
    FILE *f = fopen(argv[2], "r");
    return f == NULL ? file_failed(argv[2]) : copy(f);
  }
  if (strcmp(verb, "write") == 0 && argc > 3) {
    FILE *f = fopen(argv[2], "w");
    if (f == NULL || fputs(argv[3], f) < 0 || fclose(f) != 0) return file_failed(argv[2]);
    return 0;
  }
  fprintf(stderr, "unknown verb '%s'\n", verb);
  return 1;
}

#ifdef WG_STACKFUL
#include "../../../sdk/c/src/command.h"
#include <world.h>

int wg_main(void) {
  wasi3_list_string_t given;
  wasi_cli_environment_get_arguments(&given);
  char **argv = calloc(given.len + 1, sizeof *argv);
  for (size_t i = 0; argv != NULL && i < given.len; i++)
    argv[i] = strndup((char *)given.ptr[i].ptr, given.ptr[i].len);
  return argv == NULL ? 1 : run((int)given.len, argv);
}
#else
int main(int argc, char **argv) { return run(argc, argv); }
#endif
