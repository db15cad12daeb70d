/* SPDX-License-Identifier: Apache-2.0 */
/* base/cpu.c: quotas of cgroups, in a folder that stands for the root. */
#include "base/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void put(const char *root, const char *path, const char *text) {
  char full[512];
  snprintf(full, sizeof full, "%s%s", root, path);
  for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
    *at = '\0';
    (void)mkdir(full, 0700);
    *at = '/';
  }
  FILE *f = fopen(full, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void test_the_least_quota_of_all_groups_counts(void **state) {
  (void)state;
  char root[] = "/tmp/warpgrid-cpu.XXXXXX";
  assert_non_null(mkdtemp(root));
  uint32_t all = wg_cpu_hundredths(root);
  assert_true(all >= 100);
  assert_int_equal(all % 100, 0);

  put(root, "/proc/self/cgroup", "0::/outer/inner\n");
  put(root, "/sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
  assert_int_equal(wg_cpu_hundredths(root), all);
  put(root, "/sys/fs/cgroup/outer/cpu.max", "50000 100000\n");
  assert_int_equal(wg_cpu_hundredths(root), 50);
  put(root, "/sys/fs/cgroup/outer/inner/cpu.max", "25000 100000\n");
  assert_int_equal(wg_cpu_hundredths(root), 25);

  put(root, "/proc/self/cgroup", "3:cpuset:/x\n2:cpuacct,cpu:/v1\n");
  put(root, "/sys/fs/cgroup/cpu/v1/cpu.cfs_quota_us", "-1\n");
  put(root, "/sys/fs/cgroup/cpu/v1/cpu.cfs_period_us", "100000\n");
  assert_int_equal(wg_cpu_hundredths(root), all);
  put(root, "/sys/fs/cgroup/cpu/v1/cpu.cfs_quota_us", "80000\n");
  assert_int_equal(wg_cpu_hundredths(root), 80);

  put(root, "/sys/fs/cgroup/cpu/v1/cpu.cfs_quota_us", "nonsense\n");
  assert_int_equal(wg_cpu_hundredths(root), all);
  put(root, "/proc/self/cgroup", "::\nno colons\n");
  assert_int_equal(wg_cpu_hundredths(root), all);
  char remove[600];
  snprintf(remove, sizeof remove, "rm -r '%s'", root);
  assert_int_equal(system(remove), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_least_quota_of_all_groups_counts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
