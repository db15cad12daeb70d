/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"
#include <stddef.h>
const char *wg_shim_name(uint32_t bit) {
  static const char *const names[] = {"filesystem", "dns", "signals", "database_proxy",
                                      "threading"};
  for (size_t i = 0; i < WG_COUNT(names); i++)
    if (bit == 1u << i) return names[i];
  return NULL;
}
