/* SPDX-License-Identifier: Apache-2.0 */
/* A file that may be a component: its sizes add up, or it is refused. */
#include "cli/sizes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  cli_sizes s;
  wg_error err = {0};
  wg_code code = cli_sizes_read(data, size, &s, &err);
  if (code == WG_OK) {
    WG_ASSERT(s.total == size && s.code <= size && s.data <= size && s.custom <= size);
    WG_ASSERT(s.code + s.data + s.custom + s.other == size);
    WG_ASSERT(s.modules <= size / 8);
  } else {
    WG_ASSERT(code == WG_COMPONENT && err.msg[0]);
  }
  return 0;
}
