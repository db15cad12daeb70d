/* SPDX-License-Identifier: Apache-2.0 */
/* A base and a path, parted by a newline: whatever is accepted is canonical, below its base, and
 * its own canonical form. */
#include "vfs/path.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static void require_canonical(const wg_path *p) {
  REQUIRE(p->len >= 1 && p->len <= WG_PATH_MAX && strlen(p->text) == p->len && p->text[0] == '/');
  for (const char *part = p->text; p->len > 1 && *part;) {
    size_t n = strcspn(part + 1, "/");
    REQUIRE(n > 0 && !(n == 1 && part[1] == '.') && !(n == 2 && !memcmp(part + 1, "..", 2)));
    part += 1 + n;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static wg_path base, found, again;
  const char *text = (const char *)data, *line = size ? memchr(text, '\n', size) : NULL;
  size_t base_len = line ? (size_t)(line - text) : 0;
  const char *path = line ? line + 1 : text;
  size_t len = size - (size_t)(path - text);

  /* Without a base: what is accepted is the base of the next. */
  wg_path_kind kind = wg_path_canonical("", 0, text, base_len, &base);
  REQUIRE(kind == WG_PATH_OK || kind == WG_PATH_INVALID);
  if (kind == WG_PATH_OK) require_canonical(&base);

  kind = wg_path_canonical(base.text, base.len, path, len, &found);
  REQUIRE(kind != WG_PATH_OUTSIDE || base.len > 0);
  if (kind != WG_PATH_OK) {
    REQUIRE(found.len == 0 && found.text[0] == '\0');
    return 0;
  }
  require_canonical(&found);
  REQUIRE(!memchr(path, '\0', len) && len <= WG_PATH_MAX);
  if (base.len > 1)
    REQUIRE(found.len >= base.len && memcmp(found.text, base.text, base.len) == 0 &&
            (found.len == base.len || found.text[base.len] == '/'));
  REQUIRE(wg_path_canonical("", 0, found.text, found.len, &again) == WG_PATH_OK);
  REQUIRE(again.len == found.len && memcmp(again.text, found.text, found.len) == 0);
  REQUIRE(wg_path_canonical(found.text, found.len, ".", 1, &again) == WG_PATH_OK);
  REQUIRE(again.directory && wg_path_compare(again.text, found.text) == 0);
  return 0;
}
