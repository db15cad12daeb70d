/* SPDX-License-Identifier: Apache-2.0 */
#include "vfs/zoneinfo.h"

#include "vfs/path.h"
#include "vfs/zoneinfo_data.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *wg_zoneinfo_version(void) { return wg__zoneinfo_version; }
size_t wg_zoneinfo_count(void) { return wg__zoneinfo_count; }
size_t wg_zoneinfo_contents(void) { return wg__zoneinfo_contents; }

wg_zoneinfo_file wg_zoneinfo_at(size_t i) {
  WG_ASSERT(i < wg__zoneinfo_count);
  const wg__zoneinfo_file *f = &wg__zoneinfo_files[i];
  return (wg_zoneinfo_file){.name = wg__zoneinfo_names + f->name,
                            .bytes = wg__zoneinfo_bytes + f->offset,
                            .size = f->size,
                            .content = f->content};
}

/** What every compiled zone begins with (RFC 8536). */
static bool is_zone(const void *head, size_t n) { return n >= 44 && memcmp(head, "TZif", 4) == 0; }

static bool built_in(const char *name) {
  size_t low = 0, high = wg__zoneinfo_count;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    wg_zoneinfo_file f = wg_zoneinfo_at(mid);
    int c = wg_path_compare(name, f.name);
    if (c == 0) return is_zone(f.bytes, f.size);
    if (c < 0)
      high = mid;
    else
      low = mid + 1;
  }
  return false;
}

bool wg_zone_exists(const char *folder, const char *name) {
  wg_path path;
  size_t len = strlen(name);
  if (wg_path_canonical("/", 1, name, len, &path) != WG_PATH_OK || path.directory ||
      strcmp(path.text + 1, name) != 0)
    return false;
  if (!folder) return built_in(name);
  char head[44];
  int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  struct stat st;
  ssize_t n = -1;
  if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) n = read(fd, head, sizeof head);
  if (fd >= 0) close(fd);
  if (dir >= 0) close(dir);
  return n > 0 && is_zone(head, (size_t)n);
}

/** "EST5EDT,M3.2.0,M11.1.0" or "<+03>-3": POSIX's own form, in which an offset always stands. */
static bool is_rule(const char *value) {
  size_t n = strcspn(value, ",");
  return value[0] == '<' || (!memchr(value, '/', n) && strcspn(value, "0123456789") < n);
}

wg_tz_kind wg_tz_read(const char *folder, const char *value, const char **name) {
  static const char usual[] = "/usr/share/zoneinfo/";
  if (*value == ':') value++;
  if (strncmp(value, usual, sizeof usual - 1) == 0) value += sizeof usual - 1;
  if (!*value || *value == '/') return WG_TZ_OTHER;
  *name = value;
  if (wg_zone_exists(folder, value)) return WG_TZ_ZONE;
  return is_rule(value) ? WG_TZ_OTHER : WG_TZ_UNKNOWN;
}
