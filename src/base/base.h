/* SPDX-License-Identifier: Apache-2.0 */
/** @file base.h  Assertions, intrusive lists, time and secrets: what every domain uses. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <warpgrid/error.h>

/** Always on, for our own bugs only: bytes from outside never reach it. */
#define WG_ASSERT(cond) ((cond) ? (void)0 : wg__assert_fail(#cond, __FILE__, __LINE__))
_Noreturn void wg__assert_fail(const char *cond, const char *file, int line);

#define WG_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define WG_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- intrusive doubly linked list: a head and its nodes; an unlinked node points to itself ---- */
typedef struct wg_node {
  struct wg_node *next, *prev;
} wg_node;
/** A list that knows its length, so that statistics count lists and cannot drift. */
typedef struct wg_list {
  wg_node head;
  size_t count;
} wg_list;

static inline void wg_node_init(wg_node *n) { n->next = n->prev = n; }
static inline bool wg_node_linked(const wg_node *n) { return n->next != n; }
static inline void wg_list_init(wg_list *l) {
  wg_node_init(&l->head);
  l->count = 0;
}
static inline bool wg_list_empty(const wg_list *l) { return l->count == 0; }
static inline wg_node *wg_list_first(const wg_list *l) { return l->count ? l->head.next : NULL; }
static inline wg_node *wg_list_last(const wg_list *l) { return l->count ? l->head.prev : NULL; }
/** The node after `n`, NULL at the end. */
static inline wg_node *wg_list_next(const wg_list *l, const wg_node *n) {
  return n->next == &l->head ? NULL : n->next;
}
static inline void wg__node_between(wg_node *n, wg_node *prev, wg_node *next) {
  WG_ASSERT(!wg_node_linked(n));
  n->prev = prev;
  n->next = next;
  prev->next = n;
  next->prev = n;
}
static inline void wg_list_push_back(wg_list *l, wg_node *n) {
  wg__node_between(n, l->head.prev, &l->head);
  l->count++;
}
static inline void wg_list_push_front(wg_list *l, wg_node *n) {
  wg__node_between(n, &l->head, l->head.next);
  l->count++;
}
/** `n` must be in `l` (the count would lie otherwise). */
static inline void wg_list_remove(wg_list *l, wg_node *n) {
  WG_ASSERT(wg_node_linked(n) && l->count > 0);
  n->prev->next = n->next;
  n->next->prev = n->prev;
  wg_node_init(n);
  l->count--;
}
#define WG_ITEM(node, type, member) ((node) ? WG_CONTAINER(node, type, member) : NULL)

/* ---- time: monotonic milliseconds from a clock that tests can move ---- */
typedef struct wg_clock {
  uint64_t (*now_ms)(void *user); /**< monotonic; never goes back */
  void *user;
} wg_clock;
/** CLOCK_MONOTONIC; `user` is unused. */
extern const wg_clock wg_clock_monotonic;
static inline uint64_t wg_now_ms(const wg_clock *c) { return c->now_ms(c->user); }

/** A clock of clock_gettime(2) in microseconds. */
uint64_t wg_clock_us(int clock_id);

/* ---- secrets ---- */
/** A password or key in memory of its own: never printed, wiped when released. */
typedef struct wg_secret {
  char *bytes; /**< NUL-terminated for convenience; may hold NUL bytes before `len` */
  size_t len;
} wg_secret;
WG_MUSTCHECK wg_code wg_secret_set(wg_secret *s, const char *bytes, size_t len, wg_error *err);
/** Wipes and frees; NULL and an empty secret are fine. */
void wg_secret_release(wg_secret *s);
/** Overwrites memory in a way that the compiler cannot drop. */
void wg_wipe(void *p, size_t len);

/** 64 random bits for handles and keys, from getrandom(2). */
uint64_t wg_random_u64(void);
/** Fills p with random bytes from getrandom(2). */
void wg_random_bytes(void *p, size_t len);
