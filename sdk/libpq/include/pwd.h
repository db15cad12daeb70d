/* SPDX-License-Identifier: Apache-2.0 */
/* wasi-libc has no users. */
#pragma once
#include <sys/types.h>

struct passwd {
  char *pw_name, *pw_passwd, *pw_gecos, *pw_dir, *pw_shell;
  uid_t pw_uid;
  gid_t pw_gid;
};

struct passwd *getpwuid(uid_t uid);
struct passwd *getpwnam(const char *name);
