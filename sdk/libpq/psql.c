/* SPDX-License-Identifier: Apache-2.0 */
/* What psql needs in a component, besides what libpq does. */
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- in the place of PostgreSQL's src/common/exec.c ---- */

/* A component cannot look at its own file. It would be where Debian has it, and so are the files that
 * psql looks for relative to it (/etc/postgresql). */
int find_my_exec(const char *name, char *path);
void set_pglocale_pgservice(const char *name, const char *domain);

int find_my_exec(const char *name, char *path) {
  (void)name;
  strcpy(path, "/usr/bin/psql");
  return 0;
}

void set_pglocale_pgservice(const char *name, const char *domain) {
  (void)name, (void)domain;
  setlocale(LC_ALL, "");
}

/* ---- exit codes ---- */

/* psql says by its exit code what went wrong (2: no connection, 3: a script that stopped), but
 * wasi-libc passes on only whether it is 0. */
__attribute__((import_module("wasi:cli/exit@0.2.12"), import_name("exit-with-code"))) extern void
exit_with_code(uint32_t code);
int __real___main_argc_argv(int count, char **words);
int __wrap___main_argc_argv(int count, char **words);

/** By the linker's --wrap: what main() returns would be a yes or no, too. */
int __wrap___main_argc_argv(int count, char **words) {
  exit(__real___main_argc_argv(count, words));
}

_Noreturn void _Exit(int code) {
  exit_with_code((uint8_t)code);
  __builtin_unreachable();
}
