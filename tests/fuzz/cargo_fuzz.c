/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of cargo, and the rules of make that a compiler prints. */
#include "cli/build/cargo.h"
#include "cli/build/sdk.h"
#include "cli/build/stamp.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = malloc(size + 1);
  WG_ASSERT(text);
  memcpy(text, data, size);
  text[size] = '\0';

  cargo_made m;
  cargo_find_made(text, "/p/Cargo.toml", &m);
  WG_ASSERT(!m.other || (m.wasm && strcmp(m.wasm, m.other) != 0));
  WG_ASSERT(!m.wasm || strlen(m.wasm) > 5);
  cargo_made_release(&m);

  /* A string that was read is no longer than its text. */
  char *string = cargo_json_string((cargo_json){text, size});
  WG_ASSERT(!string || strlen(string) + 2 <= size);
  free(string);

  char **list = NULL;
  wg_error err;
  if (cli_deps_read(text, &list, &err) == WG_OK)
    for (char **d = list; d && *d; d++) WG_ASSERT(strlen(*d) <= size);
  cli_list_free(list);
  free(text);
  return 0;
}
