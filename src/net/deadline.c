/* SPDX-License-Identifier: Apache-2.0 */
#include "net/deadline.h"
#include <stdlib.h>
#include <uv.h>

/* A deadline:  stopped --start--> in its class's list --stop | expired--> stopped
 * The timer:   off --a deadline appears--> set to the earliest --fires--> set again, or off
 * A deadline that stops leaves the timer alone: it then fires once for nothing, which is cheaper
 * than two heap operations of libuv for each wait of a guest. */

struct wg_deadline_class {
  wg_deadlines *set;
  uint64_t timeout_ms;
  wg_list waiting; /* of wg_deadline.node; at_ms never falls from front to back */
  wg_deadline_class *next;
};

struct wg_deadlines {
  const wg_loop *loop;
  wg_deadline_class *classes;
  uv_timer_t timer;
  bool set;         /* the timer runs */
  uint64_t set_to;  /* on the loop's clock */
};

static void timer_at(wg_deadlines *set, uint64_t at_ms);

static void on_timer(uv_timer_t *t) {
  wg_deadlines *set = t->data;
  set->set = false;
  wg_deadlines_run(set);
}

static void timer_at(wg_deadlines *set, uint64_t at_ms) {
  uint64_t now = wg_now_ms(&set->loop->clock);
  uv_update_time(set->loop->uv); /* libuv counts from its own, possibly old, idea of now */
  uv_timer_start(&set->timer, on_timer, at_ms > now ? at_ms - now : 0, 0);
  set->set = true;
  set->set_to = at_ms;
  if (set->loop->kick) set->loop->kick(set->loop->watch_ctx);
}

wg_code wg_deadlines_new(const wg_loop *loop, wg_deadlines **out, wg_error *err) {
  wg_deadlines *set = calloc(1, sizeof *set);
  if (!set) return wg_error_set(err, WG_NOMEM, 0, "deadlines: out of memory");
  set->loop = loop;
  int rc = uv_timer_init(loop->uv, &set->timer);
  if (rc != 0) {
    free(set);
    return wg_error_set(err, WG_IO, rc, "deadlines: %s", uv_strerror(rc));
  }
  set->timer.data = set;
  *out = set;
  return WG_OK;
}

static void on_closed(uv_handle_t *h) {
  wg_deadlines *set = h->data;
  while (set->classes) {
    wg_deadline_class *c = set->classes;
    set->classes = c->next;
    free(c);
  }
  free(set);
}

void wg_deadlines_free(wg_deadlines *set) {
  if (!set) return;
  for (wg_deadline_class *c = set->classes; c; c = c->next) WG_ASSERT(wg_list_empty(&c->waiting));
  uv_close((uv_handle_t *)&set->timer, on_closed);
}

wg_deadline_class *wg_deadlines_class(wg_deadlines *set, uint64_t timeout_ms) {
  for (wg_deadline_class *c = set->classes; c; c = c->next)
    if (c->timeout_ms == timeout_ms) return c;
  wg_deadline_class *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->set = set;
  c->timeout_ms = timeout_ms;
  wg_list_init(&c->waiting);
  c->next = set->classes;
  set->classes = c;
  return c;
}

void wg_deadlines_run(wg_deadlines *set) {
  uint64_t now = wg_now_ms(&set->loop->clock);
  for (wg_deadline_class *c = set->classes; c; c = c->next) {
    wg_deadline *d;
    while ((d = WG_ITEM(wg_list_first(&c->waiting), wg_deadline, node)) && d->at_ms <= now) {
      wg_deadline_stop(d);
      d->expired(d); /* may start and stop others, and add classes at the front of the chain */
    }
  }
  uint64_t earliest = UINT64_MAX;
  for (wg_deadline_class *c = set->classes; c; c = c->next) {
    wg_deadline *d = WG_ITEM(wg_list_first(&c->waiting), wg_deadline, node);
    if (d && d->at_ms < earliest) earliest = d->at_ms;
  }
  if (earliest != UINT64_MAX && (!set->set || earliest < set->set_to)) timer_at(set, earliest);
}

void wg_deadline_start(wg_deadline_class *c, wg_deadline *d) {
  if (!c) return;
  WG_ASSERT(!d->of);
  wg_deadlines *set = c->set;
  d->of = c;
  d->at_ms = wg_now_ms(&set->loop->clock) + c->timeout_ms;
  wg_list_push_back(&c->waiting, &d->node);
  if (!set->set || d->at_ms < set->set_to) timer_at(set, d->at_ms);
}

void wg_deadline_stop(wg_deadline *d) {
  if (!d->of) return;
  wg_list_remove(&d->of->waiting, &d->node);
  d->of = NULL;
}
