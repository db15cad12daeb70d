/* SPDX-License-Identifier: Apache-2.0 */
/** @file path.h  Guest paths in their one canonical form. Pure functions. */
#pragma once
#include "base/base.h"

/** Bytes of a path as given and of a canonical one, without the NUL. */
enum { WG_PATH_MAX = 4096 };

typedef enum wg_path_kind {
  WG_PATH_OK,
  WG_PATH_EMPTY,   /**< "": names nothing */
  WG_PATH_OUTSIDE, /**< leaves its base by "..", or is absolute in spite of a base */
  WG_PATH_INVALID  /**< a NUL byte, longer than WG_PATH_MAX, or not absolute without a base */
} wg_path_kind;

/** A path that begins with '/', has no empty part, no "." and no "..", and no '/' at its end but
 *  for "/" itself. */
typedef struct wg_path {
  char text[WG_PATH_MAX + 1]; /**< NUL-terminated; "" unless WG_PATH_OK */
  size_t len;
  bool directory; /**< it ended with "/", "." or "..": only a directory fits */
} wg_path;

/** Makes a path canonical by its letters alone: links are not looked at, bytes are not decoded.
 *  @param base  canonical path of the directory that `path` counts from, which it may not leave;
 *               empty: `path` must be absolute, and ".." of "/" is "/" */
wg_path_kind wg_path_canonical(const char *base, size_t base_len, const char *path, size_t len,
                               wg_path *out);
/** strcmp(3) for canonical paths, but '/' comes before all other bytes: what is below a directory
 *  stands together, directly after it. */
int wg_path_compare(const char *a, const char *b);
