/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/sizes.h"

#include "base/file.h"
#include "cli/sections.h"

static void add(void *user, const cli_section *s) {
  cli_sizes *sizes = user;
  if (s->id == CLI_CUSTOM)
    sizes->custom += s->len;
  else if (s->of_component && s->id == CLI_COMPONENT_MODULE)
    sizes->modules++;
  else if (!s->of_component && s->id == CLI_MODULE_CODE)
    sizes->code += s->len;
  else if (!s->of_component && s->id == CLI_MODULE_DATA)
    sizes->data += s->len;
}

wg_code cli_sizes_read(const void *bytes, size_t len, cli_sizes *out, wg_error *err) {
  cli_sizes sizes = {.total = len};
  wg_code code = cli_sections_each(bytes, len, add, &sizes, &sizes.component, err);
  if (code != WG_OK) return code;
  if (!sizes.component) sizes.modules = 1;
  sizes.other = sizes.total - sizes.code - sizes.data - sizes.custom;
  *out = sizes;
  return WG_OK;
}

wg_code cli_sizes_of_file(const char *path, cli_sizes *out, wg_error *err) {
  wg_file file;
  wg_code code = wg_file_read(path, &file, err);
  if (code != WG_OK) return code;
  code = cli_sizes_read(file.bytes, file.len, out, err);
  wg_file_release(&file);
  if (code != WG_OK) wg_error_wrap(err, "'%s'", path);
  return code;
}
