/* SPDX-License-Identifier: Apache-2.0 */
/** @file file.h  Whole files in memory. */
#pragma once
#include "base/base.h"

/** A whole file in memory. */
typedef struct wg_file {
  uint8_t *bytes;
  size_t len;
} wg_file;
/** Reads a file of at most 1 GiB.
 *  @return WG_OK: wg_file_release() afterwards; WG_NOT_FOUND, WG_IO, WG_NOMEM */
WG_MUSTCHECK wg_code wg_file_read(const char *path, wg_file *out, wg_error *err);
void wg_file_release(wg_file *f);
