/* SPDX-License-Identifier: Apache-2.0 */
/** @file sizes.h  What the bytes of a component are spent on. A pure function. */
#pragma once
#include "base/base.h"

typedef struct cli_sizes {
  bool component;  /**< false: a core module */
  uint64_t total;  /**< the sum of those below */
  uint64_t code;   /**< functions of all modules in it */
  uint64_t data;   /**< initialised memory */
  uint64_t custom; /**< names, debug information, producers */
  uint64_t other;  /**< types, imports, exports, glue */
  uint32_t modules;
} cli_sizes;

/** Adds up the sections of a component or module, and of those inside of it.
 *  @return WG_OK; WG_COMPONENT: it is none, it is cut short, or nested too deeply */
WG_MUSTCHECK wg_code cli_sizes_read(const void *bytes, size_t len, cli_sizes *out, wg_error *err);
/** The same of a file. @return also WG_NOT_FOUND, WG_IO, WG_NOMEM */
WG_MUSTCHECK wg_code cli_sizes_of_file(const char *path, cli_sizes *out, wg_error *err);
