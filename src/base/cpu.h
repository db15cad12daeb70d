/* SPDX-License-Identifier: Apache-2.0 */
/** @file cpu.h  How much of the machine this process may use. */
#pragma once
#include <stdint.h>

/** CPU time a second that the process may use, in hundredths of a core: the cores that the calling
 *  thread may run on, or less where a cgroup's quota (v2 cpu.max, v1 cpu.cfs_quota_us), also of an
 *  outer group, says so. Reads a few files: not for a hot path.
 *  @param root  "/" but in tests */
uint32_t wg_cpu_hundredths(const char *root);
