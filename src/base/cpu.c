/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cpu.h"
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Two numbers of a file, "max" being LLONG_MAX; how many there were. */
static int read_numbers(const char *path, long long out[2]) {
  char text[64], *at = text;
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  size_t n = fread(text, 1, sizeof text - 1, f);
  fclose(f);
  text[n] = '\0';
  int count = 0;
  while (count < 2) {
    char *end;
    if (strncmp(at, "max", 3) == 0) {
      out[count++] = LLONG_MAX;
      at += 3;
      continue;
    }
    long long v = strtoll(at, &end, 10);
    if (end == at) break;
    out[count++] = v;
    at = end;
    while (*at == ' ' || *at == '\n') at++;
  }
  return count;
}

static uint32_t hundredths(long long quota, long long period) {
  if (quota <= 0 || period <= 0 || quota == LLONG_MAX || quota > LLONG_MAX / 100) return UINT32_MAX;
  long long h = quota * 100 / period;
  return h < 1 ? 1 : h > UINT32_MAX ? UINT32_MAX : (uint32_t)h;
}

static uint32_t group_quota(const char *folder, bool v2) {
  char path[PATH_MAX];
  long long v[2] = {0, 0}, period[2] = {0, 0};
  if (v2) {
    int n = snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (n < 0 || (size_t)n >= sizeof path || read_numbers(path, v) != 2) return UINT32_MAX;
    return hundredths(v[0], v[1]);
  }
  int n = snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
  if (n < 0 || (size_t)n >= sizeof path || read_numbers(path, v) < 1) return UINT32_MAX;
  n = snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
  if (n < 0 || (size_t)n >= sizeof path || read_numbers(path, period) < 1) return UINT32_MAX;
  return hundredths(v[0], period[0]);
}

/** The least quota of a group and all around it. */
static uint32_t least_quota(const char *mount, char *group, bool v2) {
  uint32_t least = UINT32_MAX;
  char folder[PATH_MAX];
  for (;;) {
    int n = snprintf(folder, sizeof folder, "%s%s", mount, group);
    uint32_t h = n > 0 && (size_t)n < sizeof folder ? group_quota(folder, v2) : UINT32_MAX;
    if (h < least) least = h;
    char *slash = strrchr(group, '/');
    if (!slash) return least;
    *slash = '\0';
  }
}

/** Lines of /proc/self/cgroup are NUMBER:CONTROLLERS:PATH, without controllers for v2. */
static uint32_t quota(const char *root) {
  char path[PATH_MAX], line[PATH_MAX], mount[PATH_MAX];
  uint32_t least = UINT32_MAX;
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *f = fopen(path, "re");
  if (!f) return least;
  while (fgets(line, sizeof line, f)) {
    char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
    if (!second) continue;
    *second = '\0';
    char *group = second + 1;
    group[strcspn(group, "\n")] = '\0';
    bool v2 = first[1] == '\0', cpu = false;
    for (char *save, *c = strtok_r(first + 1, ",", &save); c; c = strtok_r(NULL, ",", &save))
      cpu = cpu || strcmp(c, "cpu") == 0;
    if (!v2 && !cpu) continue;
    snprintf(mount, sizeof mount, v2 ? "%s/sys/fs/cgroup" : "%s/sys/fs/cgroup/cpu", root);
    uint32_t h = least_quota(mount, group, v2);
    if (h < least) least = h;
  }
  fclose(f);
  return least;
}

uint32_t wg_cpu_hundredths(const char *root) {
  cpu_set_t set;
  uint32_t cores = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = (uint32_t)CPU_COUNT(&set);
  uint32_t limit = quota(strcmp(root, "/") == 0 ? "" : root);
  return limit < cores * 100 ? limit : cores * 100;
}
