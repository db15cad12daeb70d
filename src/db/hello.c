/* SPDX-License-Identifier: Apache-2.0 */
/** @file hello.c  How servers greet, in protocols where they speak first (MySQL).
 *
 *  A guest is greeted in the words of the server that it means: drivers choose their ways by its
 *  version. The first guest of a database waits for one log-in; all others, of all workers, are greeted
 *  from memory. What a log-in has to be like (its shape) only the guest's answer tells, so a guess
 *  is made for guests whose server is to be there before: what the last guest needed. */
#include "db/db_internal.h"
#include <stdlib.h>
#include <string.h>

typedef struct hello {
  wg_node node; /* in db->hellos */
  const wg_database_config *config;
  wg_wire_hello said;
  uint64_t shape; /* 0: no guest has said one */
} hello;

/** The db's lock is held. NULL: none, or out of memory. */
static hello *hello_find(wg_db *db, const wg_database_config *config, bool make) {
  for (wg_node *n = wg_list_first(&db->hellos); n; n = wg_list_next(&db->hellos, n))
    if (WG_CONTAINER(n, hello, node)->config == config) return WG_CONTAINER(n, hello, node);
  hello *h = make ? calloc(1, sizeof *h) : NULL;
  if (!h) return NULL;
  h->config = config;
  wg_node_init(&h->node);
  wg_list_push_back(&db->hellos, &h->node);
  return h;
}

void wg__hello_learn(const wg_server *srv) {
  wg_db *db = srv->pool->db;
  if (!srv->ops->hello || srv->pool->auth == WG_DB_AUTH_RELAY) return; /* not ours: unread */
  pthread_mutex_lock(&db->lock);
  hello *h = hello_find(db, srv->pool->config, true);
  if (h) srv->ops->hello(srv->wire, &h->said);
  pthread_mutex_unlock(&db->lock);
}

bool wg__hello_known(wg_db *db, const wg_database_config *config, wg_wire_hello *out) {
  pthread_mutex_lock(&db->lock);
  const hello *h = hello_find(db, config, false);
  bool known = h && h->said.len;
  if (known) *out = h->said;
  pthread_mutex_unlock(&db->lock);
  return known;
}

void wg__hello_shape(wg_db *db, const wg_database_config *config, uint64_t shape) {
  pthread_mutex_lock(&db->lock);
  hello *h = hello_find(db, config, true);
  if (h) h->shape = shape;
  pthread_mutex_unlock(&db->lock);
}

uint64_t wg__hello_guess(wg_db *db, const wg_database_config *config) {
  const wg_wire_ops *ops = wg_wire_of(config->protocol);
  if (!ops->shape || config->auth == WG_DB_AUTH_RELAY) return ops->shape ? WG_WIRE_SHAPE_GUESS : 0;
  pthread_mutex_lock(&db->lock);
  const hello *h = hello_find(db, config, false);
  uint64_t shape = h && h->shape ? h->shape : ops->shape;
  pthread_mutex_unlock(&db->lock);
  return shape;
}

void wg__hellos_free(wg_db *db) {
  for (wg_node *n; (n = wg_list_first(&db->hellos));) {
    wg_list_remove(&db->hellos, n);
    free(WG_CONTAINER(n, hello, node));
  }
}
