/* SPDX-License-Identifier: Apache-2.0 */
#include "compat.h"
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "nobody" of Unix. */
enum { UID = 65534 };

int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
  void (*was)(int) = signal(number, action ? action->sa_handler : SIG_DFL);
  if (was == SIG_ERR) return -1;
  if (!action) signal(number, was);
  if (old) *old = (struct sigaction){.sa_handler = was};
  return 0;
}

int sigemptyset(sigset_t *set) {
  memset(set, 0, sizeof *set);
  return 0;
}

uid_t geteuid(void) { return UID; }

struct passwd *getpwuid(uid_t uid) {
  static char none[] = "", nobody[] = "nobody", slash[] = "/";
  static struct passwd user;
  char *name = getenv("USER"), *home = getenv("HOME");
  errno = 0;
  if (uid != UID) return NULL;
  user = (struct passwd){
      .pw_name = name && *name ? name : nobody,
      .pw_passwd = none,
      .pw_gecos = none,
      .pw_dir = home && *home ? home : slash,
      .pw_shell = none,
      .pw_uid = UID,
      .pw_gid = UID,
  };
  return &user;
}

struct passwd *getpwnam(const char *name) {
  struct passwd *user = getpwuid(UID);
  return strcmp(user->pw_name, name) == 0 ? user : NULL;
}

mode_t umask(mode_t mask) {
  (void)mask;
  return 0;
}

FILE *popen(const char *command, const char *mode) {
  (void)command, (void)mode;
  errno = ENOSYS;
  return NULL;
}

int pclose(FILE *stream) {
  (void)stream;
  errno = ENOSYS;
  return -1;
}

int system(const char *command) {
  if (!command) return 0;
  errno = ENOSYS;
  return -1;
}

/** In the place of PostgreSQL's, which reads /dev/urandom. */
bool pg_strong_random(void *bytes, size_t size);
bool pg_strong_random(void *bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    size_t part = size - done < 256 ? size - done : 256;
    if (getentropy((char *)bytes + done, part) != 0) return false;
    done += part;
  }
  return true;
}
