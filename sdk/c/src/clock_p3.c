/* SPDX-License-Identifier: Apache-2.0 */
#include "task.h"
#include <warpgrid/sdk/clock.h>

uint64_t wg_now_ns(void) { return wasi_clocks_monotonic_clock_now(); }

void wg_sleep_ms(uint32_t ms) {
  wg_task_await_subtask(wasi_clocks_monotonic_clock_wait_for((uint64_t)ms * 1000000u));
}
