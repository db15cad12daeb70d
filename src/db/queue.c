/* SPDX-License-Identifier: Apache-2.0 */
/** @file queue.c  Who is served next by a pool, over all workers: guests take turns, and within a
 *  guest the first to come is the first to go.
 *
 *      pool->turns   A ──> B ──> C           a guest (an instance) that waits, once
 *                    │     │     └ c1
 *                    │     └ b1              served: a1 b1 c1 a2 a3 ... a5000
 *                    └ a1 a2 a3 ... a5000
 *
 *  So an instance that asks for 5,000 connections at once delays another one by a single turn, and
 *  where every instance waits for one connection, the order is that of arrival. Every step is a
 *  list operation: nothing is searched. */
#include "db/db_internal.h"
#include <stdlib.h>

static wg_turn *turn_of(const wg_db_req *req) { return req->impl2; }
static wg_db_req *req_of(wg_node *n) { return WG_ITEM(n, wg_db_req, node); }

wg_turn *wg__turn_of(wg_db_guest *g, wg_local *local) {
  for (wg_node *n = wg_list_first(&g->turns); n; n = wg_list_next(&g->turns, n)) {
    wg_turn *t = WG_CONTAINER(n, wg_turn, by_guest);
    if (t->local == local) return t; /* one a database that this guest ever waited for */
  }
  wg_turn *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  wg_node_init(&t->by_guest);
  wg_node_init(&t->by_pool);
  wg_node_init(&t->by_local);
  wg_list_init(&t->reqs);
  t->local = local;
  wg_list_push_back(&g->turns, &t->by_guest);
  return t;
}

void wg__turns_forget(wg_db_guest *g, const wg_local *local) {
  for (wg_node *n = wg_list_first(&g->turns), *next; n; n = next) {
    wg_turn *t = WG_CONTAINER(n, wg_turn, by_guest);
    next = wg_list_next(&g->turns, n);
    if (t->local != local) continue;
    WG_ASSERT(wg_list_empty(&t->reqs));
    wg_list_remove(&g->turns, n);
    free(t);
  }
}

void wg__turns_free(wg_db_guest *g) {
  for (wg_node *n; (n = wg_list_first(&g->turns));) {
    wg_turn *t = WG_CONTAINER(n, wg_turn, by_guest);
    WG_ASSERT(wg_list_empty(&t->reqs));
    wg_list_remove(&g->turns, n);
    free(t);
  }
}

static void leave(wg_turn *t) {
  wg_list_remove(&t->local->pool->turns, &t->by_pool);
  wg_list_remove(&t->local->turns, &t->by_local);
}

static void join(wg_turn *t) {
  wg_list_push_back(&t->local->pool->turns, &t->by_pool);
  wg_list_push_back(&t->local->turns, &t->by_local);
}

void wg__queue_push(wg_turn *t, wg_db_req *req) {
  req->impl2 = t;
  req->state = REQ_QUEUED;
  if (wg_list_empty(&t->reqs)) join(t);
  wg_list_push_back(&t->reqs, &req->node);
  t->local->pool->waiting++;
}

void wg__queue_push_front(wg_turn *t, wg_db_req *req) {
  req->impl2 = t;
  req->state = REQ_QUEUED;
  if (!wg_list_empty(&t->reqs)) leave(t);
  wg_list_push_front(&t->reqs, &req->node);
  wg_list_push_front(&t->local->pool->turns, &t->by_pool);
  wg_list_push_front(&t->local->turns, &t->by_local);
  t->local->pool->waiting++;
}

void wg__queue_drop(wg_db_req *req) {
  wg_turn *t = turn_of(req);
  WG_ASSERT(req->state == REQ_QUEUED);
  wg_list_remove(&t->reqs, &req->node);
  req->state = REQ_NONE;
  t->local->pool->waiting--;
  if (wg_list_empty(&t->reqs)) leave(t);
}

void wg__queue_take(wg_db_req *req) {
  wg_turn *t = turn_of(req);
  wg__queue_drop(req);
  if (wg_list_empty(&t->reqs)) return;
  leave(t);
  join(t);
}

wg_db_req *wg__queue_first(const wg_pool *pool) {
  wg_turn *t = WG_ITEM(wg_list_first(&pool->turns), wg_turn, by_pool);
  return t ? req_of(wg_list_first(&t->reqs)) : NULL;
}

wg_db_req *wg__queue_first_of(const wg_local *local) {
  wg_turn *t = WG_ITEM(wg_list_first(&local->turns), wg_turn, by_local);
  return t ? req_of(wg_list_first(&t->reqs)) : NULL;
}
