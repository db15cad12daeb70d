/* SPDX-License-Identifier: Apache-2.0 */
/** @file zoneinfo_data.h  The built-in time zones, as scripts/gen-zoneinfo.py writes them: read-only
 *  data without a pointer, so that it costs nothing until it is read. Internal to vfs. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct wg__zoneinfo_file {
  uint32_t name; /**< where in names: "Europe/London" */
  uint32_t content; /**< number of its content: files with the same one are the same */
  uint32_t offset, size; /**< in bytes */
} wg__zoneinfo_file;

extern const char wg__zoneinfo_version[];
extern const size_t wg__zoneinfo_count, wg__zoneinfo_contents;
extern const wg__zoneinfo_file wg__zoneinfo_files[]; /**< in the order of wg_path_compare() */
extern const char wg__zoneinfo_names[];
extern const unsigned char wg__zoneinfo_bytes[];
