/* SPDX-License-Identifier: Apache-2.0 */
/** @file real_server.h  What the real servers of tests have in common: a folder of their own with a file
 *  `log`, a free port of 127.0.0.1, a process. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** Ends the test program: the test cannot be set up. */
#define REAL_CHECK(dir, x)                                                          \
  do {                                                                              \
    if (!(x)) {                                                                     \
      fprintf(stderr, "%s:%d: %s; see %s/log\n", __FILE_NAME__, __LINE__, #x, dir); \
      abort();                                                                      \
    }                                                                               \
  } while (0)

/** A port that nobody listens at now. */
uint16_t real_free_port(void);
/** Connects and reads so many bytes.  @return false: that did not come about */
bool real_reach(uint16_t port, void *first, size_t n);
/** Starts a program that writes to the folder's log, and waits until it answers, 30 s at most.
 *  @return its process; 0: it ended, as when somebody else has the port */
pid_t real_launch(const char *dir, const char *const *args, bool (*answers)(void));
/** Ends a process, which is 0 then. */
void real_end(pid_t *pid, int sig);
/** Returns when all threads of the process stand still, or go on. */
void real_freeze(pid_t pid, bool frozen);
/** Removes the folder; its name is "" then. */
void real_remove(char *dir);
