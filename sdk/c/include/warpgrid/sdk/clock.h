/* SPDX-License-Identifier: Apache-2.0 */
/** @file warpgrid/sdk/clock.h  Time. In WASI 0.3 other tasks run during a sleep; libc's own sleep
 *  would hold up the instance. */
#pragma once
#include <warpgrid/sdk/base.h>
#ifdef __cplusplus
extern "C" {
#endif

/** Nanoseconds of a clock that never goes back, since some moment. */
uint64_t wg_now_ns(void);
void wg_sleep_ms(uint32_t ms);

#ifdef __cplusplus
}
#endif
