/* SPDX-License-Identifier: Apache-2.0 */
/** @file watch_tree.h  Tells when one of a project's inputs is saved, by inotify(7).
 *
 *  What counts is a whole save: a file closed after writing, moved in place, removed. Names that
 *  begin with a dot or end with '~', editors' own files, and the folders that builds write (dist,
 *  target, node_modules) do not count below a folder that is watched. New folders are watched as
 *  they come; a folder that does not exist yet is noticed when it comes. Not thread-safe. */
#pragma once
#include "cli/build/build.h"

typedef struct watch_tree watch_tree;

enum { WATCH_FOLDERS_MAX = 8192 /**< folders that one project may have */ };

/** What changed; zero-initialise. */
typedef struct watch_change {
  unsigned events; /**< that counted; 0: nothing changed */
  uint64_t at_us; /**< CLOCK_MONOTONIC, the first save: the file's mtime where that is plausible */
  char name[256]; /**< of a file that changed, cut; without its folder */
} watch_change;

/** @param out  owned by the caller: watch_tree_free() */
WG_MUSTCHECK wg_code watch_tree_new(watch_tree **out, wg_error *err);
/** Watches these inputs and nothing else from now on. Changes that were not read yet stay.
 *  @param ignored  a path that is no input, the build's output; NULL: none
 *  @return WG_OK; WG_EXHAUSTED (too many folders), WG_IO, WG_NOMEM: some are watched */
WG_MUSTCHECK wg_code watch_tree_set(watch_tree *w, const cli_inputs *inputs, const char *ignored,
                                    wg_error *err);
/** Readable when watch_tree_read() has something to do. */
int watch_tree_fd(const watch_tree *w);
/** Adds what has happened to *change, without waiting. */
void watch_tree_read(watch_tree *w, watch_change *change);
/** Folders that are watched. */
size_t watch_tree_count(const watch_tree *w);
/** NULL is fine. */
void watch_tree_free(watch_tree *w);
