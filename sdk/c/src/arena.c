/* SPDX-License-Identifier: Apache-2.0 */
#include "arena.h"
#include <stdlib.h>

struct wg_arena_block {
  struct wg_arena_block *next;
  void *adopted; /* NULL: the memory follows this header */
  _Alignas(16) char bytes[];
};

void *wg_arena_alloc(wg_arena *a, size_t size) {
  size_t rounded = (size + 15) & ~(size_t)15;
  if (rounded >= size && rounded <= sizeof a->first - a->used) {
    void *p = a->first + a->used;
    a->used += rounded;
    return p;
  }
  if (size > (size_t)PTRDIFF_MAX - sizeof(struct wg_arena_block)) return NULL;
  struct wg_arena_block *b = malloc(sizeof *b + size);
  if (b == NULL) return NULL;
  b->next = a->blocks;
  b->adopted = NULL;
  a->blocks = b;
  return b->bytes;
}

void *wg_arena_adopt(wg_arena *a, void *p) {
  if (p == NULL) return NULL;
  struct wg_arena_block *b = wg_arena_alloc(a, sizeof *b);
  if (b == NULL) {
    free(p);
    return NULL;
  }
  /* The note lies in `first` or in a block of its own, which is older and so is freed later. */
  b->next = a->blocks;
  b->adopted = p;
  a->blocks = b;
  return p;
}

void wg_arena_reset(wg_arena *a) {
  struct wg_arena_block *b = a->blocks;
  while (b != NULL) {
    struct wg_arena_block *next = b->next;
    free(b->adopted != NULL ? b->adopted : b);
    b = next;
  }
  a->blocks = NULL;
  a->used = 0;
}
