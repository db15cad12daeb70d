/* SPDX-License-Identifier: Apache-2.0 */
#include "signals/roster.h"

#include <stdlib.h>
#include <string.h>

/** Of all workers: who comes to a roster is too rare to fight for it. */
static atomic_uint_fast64_t ids;

void wg_roster_init(wg_roster *r, unsigned worker) {
  WG_ASSERT(worker > 0 && worker < 1u << WG_ROSTER_WORKER_BITS);
  *r = (wg_roster){.worker = worker};
  pthread_mutex_init(&r->lock, NULL);
  wg_list_init(&r->members);
}

void wg_roster_release(wg_roster *r) {
  WG_ASSERT(wg_list_empty(&r->members));
  pthread_mutex_destroy(&r->lock);
}

wg_roster_member *wg_roster_join(wg_roster *r, const char *service, uint64_t since_ms) {
  wg_roster_member *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->roster = r;
  m->id = (atomic_fetch_add(&ids, 1) + 1) << WG_ROSTER_WORKER_BITS | r->worker;
  m->service = service;
  m->since_ms = since_ms;
  wg_node_init(&m->node);
  pthread_mutex_lock(&r->lock);
  wg_list_push_back(&r->members, &m->node);
  pthread_mutex_unlock(&r->lock);
  return m;
}

void wg_roster_leave(wg_roster_member *m) {
  if (!m) return;
  pthread_mutex_lock(&m->roster->lock);
  wg_list_remove(&m->roster->members, &m->node);
  pthread_mutex_unlock(&m->roster->lock);
  wg_signal_queue_free(m->queue);
  free(m);
}

wg_code wg_roster_ask(wg_roster_member *m, uint32_t mask, uint32_t capacity, wg_error *err) {
  wg_signal_queue *fresh = m->queue ? NULL : wg_signal_queue_new(capacity);
  if (!m->queue && !fresh) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  pthread_mutex_lock(&m->roster->lock);
  if (fresh) m->queue = fresh;
  m->queue->interest |= mask & WG_SIGNAL_MASK;
  pthread_mutex_unlock(&m->roster->lock);
  return WG_OK;
}

int wg_roster_take(wg_roster_member *m) {
  if (!m->queue) return -1;
  pthread_mutex_lock(&m->roster->lock);
  int signal = wg_signal_take(m->queue);
  pthread_mutex_unlock(&m->roster->lock);
  return signal;
}

void wg_roster_wait(wg_roster_member *m, wg_signal_wait *w, void (*ready)(wg_signal_wait *w)) {
  w->ready = ready;
  pthread_mutex_lock(&m->roster->lock);
  bool now = wg_signal_wait_start(m->queue, w);
  pthread_mutex_unlock(&m->roster->lock);
  if (now) ready(w);
}

void wg_roster_wait_cancel(wg_roster_member *m, wg_signal_wait *w) {
  pthread_mutex_lock(&m->roster->lock);
  wg_signal_wait_cancel(m->queue, w);
  pthread_mutex_unlock(&m->roster->lock);
}

bool wg_roster_waiting(wg_roster_member *m) {
  if (!m->queue) return false;
  pthread_mutex_lock(&m->roster->lock);
  bool waiting = m->queue->count == 0 && !wg_list_empty(&m->queue->waiters);
  pthread_mutex_unlock(&m->roster->lock);
  return waiting;
}

wg_code wg_roster_declare(wg_roster_member *m, wg_threading model, atomic_bool *warned) {
  wg_threading now = m->model;
  const wg_log_ctx lc = {.app = m->service, .worker = m->roster->worker};
  wg_code code = wg_threading_declare(&now, model, warned, &lc);
  pthread_mutex_lock(&m->roster->lock);
  m->model = now;
  pthread_mutex_unlock(&m->roster->lock);
  return code;
}

static void tell_all(wg_roster_member *m) {
  wg_signal_wait *w;
  do {
    pthread_mutex_lock(&m->roster->lock);
    w = wg_signal_wait_next(m->queue);
    pthread_mutex_unlock(&m->roster->lock);
    if (w) w->ready(w);
  } while (w);
}

void wg_roster_wake(wg_roster *r) {
  pthread_mutex_lock(&r->lock);
  bool pending = r->pending;
  r->pending = false;
  pthread_mutex_unlock(&r->lock);
  if (!pending) return;
  for (wg_node *n = wg_list_first(&r->members); n; n = wg_list_next(&r->members, n)) {
    wg_roster_member *m = WG_CONTAINER(n, wg_roster_member, node);
    if (!m->queue) continue;
    pthread_mutex_lock(&r->lock);
    bool overflowed = m->overflowed;
    m->overflowed = false;
    pthread_mutex_unlock(&r->lock);
    const wg_log_ctx lc = {.app = m->service, .worker = r->worker};
    if (overflowed)
      wg_log(&lc, WG_LOG_WARN, "signal_dropped", WG_KV_U("instance", m->id),
             WG_KV_U("queue", m->queue->capacity),
             WG_KV_S("reason", "the guest takes its signals too slowly; the oldest ones go"));
    tell_all(m);
  }
}

wg_roster_told wg_roster_deliver(wg_roster *r, uint64_t id, const char *service, wg_signal signal) {
  wg_roster_told t = {0};
  pthread_mutex_lock(&r->lock);
  for (wg_node *n = wg_list_first(&r->members); n; n = wg_list_next(&r->members, n)) {
    wg_roster_member *m = WG_CONTAINER(n, wg_roster_member, node);
    if ((id && m->id != id) || (service && strcmp(m->service, service) != 0)) continue;
    if (!m->queue || !m->queue->interest) continue;
    t.matched++;
    wg_signal_put_result put = wg_signal_put(m->queue, signal);
    m->overflowed |= put == WG_SIGNAL_OVERFLOWED;
    t.told += put != WG_SIGNAL_IGNORED;
  }
  r->pending |= t.told > 0;
  pthread_mutex_unlock(&r->lock);
  return t;
}

/** Under the lock. */
static bool copy_member(const wg_roster_member *m, uint64_t now_ms, wg_instance_info *out) {
  *out = (wg_instance_info){
      .id = m->id,
      .service = strdup(m->service),
      .worker = m->roster->worker,
      .interest = m->queue ? m->queue->interest : 0,
      .queued = m->queue ? m->queue->count : 0,
      .dropped = m->queue ? m->queue->dropped : 0,
      .threading = m->model,
      .age_ms = now_ms > m->since_ms ? now_ms - m->since_ms : 0,
  };
  return out->service != NULL;
}

wg_code wg_roster_list(wg_roster *r, uint64_t now_ms, wg_instance_info **list, size_t *count,
                       wg_error *err) {
  bool ok = true;
  pthread_mutex_lock(&r->lock);
  size_t n = r->members.count;
  wg_instance_info *grown = n ? realloc(*list, (*count + n) * sizeof *grown) : *list;
  ok = grown || !n;
  if (ok) *list = grown;
  for (wg_node *m = wg_list_first(&r->members); ok && m; m = wg_list_next(&r->members, m)) {
    ok = copy_member(WG_CONTAINER(m, wg_roster_member, node), now_ms, &(*list)[*count]);
    if (ok) ++*count;
  }
  pthread_mutex_unlock(&r->lock);
  return ok ? WG_OK : wg_error_set(err, WG_NOMEM, 0, "out of memory");
}
