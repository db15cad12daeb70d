/* SPDX-License-Identifier: Apache-2.0 */
/** @file imports.h  Which hosts can run a component, told by what it imports. Pure functions.
 *
 *  A component has no optional import: what it names must be there. Programs of the patched C library
 *  are linked in two ways, with WASI alone or with -lwarpgrid_shim (docs/FORK-MAINTENANCE.md). */
#pragma once
#include "base/buf.h"

typedef struct cli_imports {
  uint32_t shims; /**< WG_SHIM_* bits of `warpgrid:` imports */
  bool other;     /**< imports that are neither of `wasi:` nor a shim */
} cli_imports;

/** Takes one import into account, such as "warpgrid:shim/database-proxy@0.1.0". */
void cli_imports_add(cli_imports *n, const char *import, size_t len);
/** Reads the imports of a component (Component Model, Binary.md: imports); a core module has none.
 *  @return WG_OK; WG_COMPONENT: it is neither, or malformed */
WG_MUSTCHECK wg_code cli_imports_read(const void *bytes, size_t len, cli_imports *out,
                                      wg_error *err);
/** The same of a file. @return also WG_NOT_FOUND, WG_IO, WG_NOMEM */
WG_MUSTCHECK wg_code cli_imports_of_file(const char *path, cli_imports *out, wg_error *err);

/** Appends the names of the shims. @param mark  around each; @param between  and between them */
void cli_imports_put_shims(const cli_imports *n, const char *mark, const char *between,
                           wg_buf *out);
/** Appends a sentence for people without its newline; nothing for imports that we cannot judge. */
void cli_imports_put(const cli_imports *n, wg_buf *out);
