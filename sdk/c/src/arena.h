/* SPDX-License-Identifier: Apache-2.0 */
/** @file arena.h  Memory of one request, freed at once. */
#pragma once
#include <stddef.h>

/** Allocations are rare and small, so each beyond the first block has a malloc of its own. */
typedef struct wg_arena {
  struct wg_arena_block *blocks; /**< malloc'd; freed by reset */
  size_t used;                   /**< of `first` */
  _Alignas(16) char first[1024];
} wg_arena;

/** @return memory aligned for any type, or NULL when there is none left */
void *wg_arena_alloc(wg_arena *a, size_t size);
/** Takes over memory that malloc (or cabi_realloc) gave; freed by reset. NULL is fine. Frees it at
 *  once and returns NULL when it cannot be noted. */
void *wg_arena_adopt(wg_arena *a, void *p);
void wg_arena_reset(wg_arena *a);
