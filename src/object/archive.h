/* SPDX-License-Identifier: Apache-2.0 */
/** @file archive.h  `ar` archives of WebAssembly objects: reading and writing.
 *
 *  The format is GNU's, which LLVM writes on Linux: a member's header of 60 bytes of text, names of
 *  more than 15 bytes in a member "//", and a symbol table in a member "/" (big-endian offsets of
 *  the members that define a name). The table is made anew with every write, and times, owners and
 *  modes are those of `ar D`, so that equal content makes equal bytes. */
#pragma once
#include "base/buf.h"

typedef struct wg_archive_member {
  char *name; /**< NUL-terminated, owned by the archive; several members may have the same */
  const uint8_t *bytes; /**< borrowed */
  size_t len;
} wg_archive_member;

/** Members in their order. */
typedef struct wg_archive {
  wg_archive_member *members;
  size_t count;
} wg_archive;

/** Whether bytes begin like an archive of any kind. */
bool wg_archive_is(const void *bytes, size_t len);
/** Reads an archive. Its bytes are borrowed and must outlive it.
 *  @return WG_OK: wg_archive_release() afterwards; WG_UNSUPPORTED: a thin or BSD archive, or none at
 *          all; WG_INVALID: it is broken; WG_NOMEM */
WG_MUSTCHECK wg_code wg_archive_read(const void *bytes, size_t len, wg_archive *out, wg_error *err);
void wg_archive_release(wg_archive *a);
/** Puts a member at the end; its bytes are borrowed, the name is copied.
 *  @return WG_OK; WG_INVALID: the name is empty or has '/' or a line break; WG_NOMEM */
WG_MUSTCHECK wg_code wg_archive_add(wg_archive *a, const char *name, const void *bytes, size_t len,
                                    wg_error *err);
/** Appends the archive to `out`, with a symbol table of its objects.
 *  @return WG_OK; what wg_object_read() returns for a member, which err names; WG_EXHAUSTED: `out`
 *          is full; WG_NOMEM */
WG_MUSTCHECK wg_code wg_archive_write(const wg_archive *a, wg_buf *out, wg_error *err);
