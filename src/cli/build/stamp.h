/* SPDX-License-Identifier: Apache-2.0 */
/** @file stamp.h  Whether an output is up to date, by content: SHA-256 of what went in and of what
 *  came out, kept in the cache under the output's path. */
#pragma once
#include "base/base.h"

enum { CLI_HASH_SIZE = 65 }; /* hexadecimal, with its NUL */

/** A hash in progress. */
typedef struct cli_hash cli_hash;
/** @return NULL: out of memory */
cli_hash *cli_hash_new(void);
/** Adds a text, with its end. */
void cli_hash_text(cli_hash *h, const char *text);
/** Adds the content of a regular file; of a large one (more than 8 MiB) its identity.
 *  @param dir  folder of a relative name
 *  @return false when there is no such file, which is a content, too */
bool cli_hash_file(cli_hash *h, const char *dir, const char *name);
/** Adds which file this is, without reading it: device, number, size and time. */
void cli_hash_identity(cli_hash *h, const char *path);
/** Adds a program as found on PATH: its name and identity.
 *  @return its real path, which the caller frees; NULL: not found, or out of memory */
char *cli_hash_program(cli_hash *h, const char *name);
/** The hash of a file, as stamps have it. @return false when there is none */
bool cli_hash_of_file(const char *path, char hex[CLI_HASH_SIZE]);
/** Ends and frees it. */
void cli_hash_end(cli_hash *h, char hex[CLI_HASH_SIZE]);

/** $WARPGRID_CACHE, $XDG_CACHE_HOME or ~/.cache, then "/warpgrid/" and `name`; the caller frees it.
 *  NULL: there is none, or out of memory. */
char *cli_cache_path(const char *name);

/** True when a build with this key made the output, and nobody has changed it since.
 *  @param output  the same name each time, so an absolute one */
bool cli_stamp_matches(const char *output, const char *key);
/** Remembers that. Without a cache it does nothing: the next build is not skipped.
 *  @param made  cli_hash_of_file() of what was built, from before it was given its place, where
 *               somebody else may have put another since */
void cli_stamp_write(const char *output, const char *key, const char *made);

/** Reads what `cc -M` prints: rules of make, "a.o: a.c a.h \", with "\ ", "\#" and "$$" for space,
 *  # and $. Targets are left out.
 *  @param list  NULL-terminated, appended to; cli_list_free() */
WG_MUSTCHECK wg_code cli_deps_read(const char *text, char ***list, wg_error *err);
