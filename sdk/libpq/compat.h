/* SPDX-License-Identifier: Apache-2.0 */
/* Put in front of each of PostgreSQL's sources (-include): what they ask of a Unix that wasi-libc does
 * not declare. A component has no users, signals from outside or other processes, so compat.c answers
 * as a system does where there are none. */
#pragma once
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>

/* Errors of other systems' sockets, with numbers that WASI does not use. */
#define EHOSTDOWN 200

/* Signals: only raise() brings one, so there is nothing to block. */
#define SA_RESTART 0x10000000
#define SA_NOCLDSTOP 1
#define SIG_BLOCK 0
#define SIG_UNBLOCK 1
#define SIG_SETMASK 2

struct sigaction {
  void (*sa_handler)(int);
  sigset_t sa_mask;
  int sa_flags;
};

int sigaction(int number, const struct sigaction *action, struct sigaction *old);
int sigemptyset(sigset_t *set);

/* Macros that turn <setjmp.h>'s declarations of these, too, into ones of those that there are. */
#define sigsetjmp(env, save) setjmp(env)
#define siglongjmp(env, value) longjmp(env, value)

/* Users: one, by the environment's USER and HOME. */
uid_t geteuid(void);

/* Files have no modes. */
mode_t umask(mode_t mask);

/* Programs cannot be started: -1 or NULL with errno ENOSYS. */
FILE *popen(const char *command, const char *mode);
int pclose(FILE *stream);
int system(const char *command);
