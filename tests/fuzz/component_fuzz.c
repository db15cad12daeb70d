/* SPDX-License-Identifier: Apache-2.0 */
/* A file that may be a component, or compiled: its sizes add up, or it is refused. */
#include "cli/contents.h"
#include "cli/imports.h"
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
  cli_imports needs;
  wg_code read = cli_imports_read(data, size, &needs, &err);
  WG_ASSERT(read == WG_COMPONENT || (read == WG_OK && code == WG_OK));
  static cli_contents c;
  wg_code listed = cli_contents_read(data, size, &c, &err);
  WG_ASSERT(listed == WG_OK || listed == WG_COMPONENT);
  WG_ASSERT(code != WG_OK || listed == WG_OK);
  WG_ASSERT(c.section_count <= CLI_CONTENTS_MAX && c.producer_count <= CLI_CONTENTS_MAX);
  return 0;
}
