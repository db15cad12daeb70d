/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/paths.h"

#include "base/text.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

wg_code cli_make_folders(char *path, size_t *first_new, wg_error *err) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    int sys = mkdir(path, 0777) == 0 ? 0 : errno;
    if (sys == 0 && first_new && !*first_new) *first_new = (size_t)(slash - path);
    if (sys != 0 && sys != EEXIST)
      wg_error_set(err, WG_IO, sys, "cannot make folder '%s': %s", path, wg_os_error(sys));
    *slash = '/';
    if (sys != 0 && sys != EEXIST) return WG_IO;
  }
  return WG_OK;
}

wg_code cli_own_folder(char out[4096], wg_error *err) {
  ssize_t n = readlink("/proc/self/exe", out, 4095);
  if (n < 0)
    return wg_error_set(err, WG_IO, errno, "cannot read '/proc/self/exe': %s", wg_os_error(errno));
  out[n] = '\0';
  *strrchr(out, '/') = '\0';
  return WG_OK;
}
