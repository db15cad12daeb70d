/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 30 };

wg_code wg_file_read(const char *path, wg_file *out, wg_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat s = {0};
  int sys = fd < 0 || fstat(fd, &s) != 0 ? errno : 0;
  const char *why = NULL;
  if (sys == 0 && !S_ISREG(s.st_mode)) why = "it is no file";
  if (sys == 0 && s.st_size > FILE_MAX) why = "it is larger than 1 GiB";
  size_t size = (size_t)s.st_size;
  wg_file f = {0};
  if (sys == 0 && !why) {
    f.bytes = malloc(size ? size : 1);
    if (!f.bytes) {
      close(fd);
      return wg_error_set(err, WG_NOMEM, 0, "out of memory");
    }
  }
  while (f.bytes && f.len < size) {
    ssize_t n = read(fd, f.bytes + f.len, size - f.len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) sys = errno;
    if (n <= 0) break; /* what was cut short meanwhile is told by who reads it */
    f.len += (size_t)n;
  }
  if (fd >= 0) close(fd);
  if (sys == 0 && !why) {
    *out = f;
    return WG_OK;
  }
  free(f.bytes);
  return wg_error_set(err, sys == ENOENT ? WG_NOT_FOUND : WG_IO, sys, "cannot read '%s': %s", path,
                      why ? why : wg_os_error(sys));
}

void wg_file_release(wg_file *f) {
  free(f->bytes);
  *f = (wg_file){0};
}
