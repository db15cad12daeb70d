/* SPDX-License-Identifier: Apache-2.0 */
/** @file instances.c  The embedding API: guest instances that can be reached, and their signals. */
#include "engine/engine_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t wg__worker_signal(wg_worker *w, wg_signal signal) {
  size_t told = wg_roster_deliver(&w->roster, 0, NULL, signal).told;
  if (told) {
    wg_log(&(wg_log_ctx){.worker = w->index}, WG_LOG_DEBUG, "signal_delivered",
           WG_KV_S("signal", wg_signal_name(signal)), WG_KV_U("instances", told));
    wg_roster_wake(&w->roster);
  }
  return told;
}

static wg_roster_told deliver(wg_engine *e, uint64_t id, const char *service, wg_signal signal) {
  wg_roster_told all = {0};
  pthread_mutex_lock(&e->lock);
  for (unsigned i = 0; i < e->worker_count; i++) {
    wg_worker *w = e->workers[i];
    if (!w || (id && wg_roster_worker_of(id) != w->index)) continue;
    wg_roster_told t = wg_roster_deliver(&w->roster, id, service, signal);
    all.matched += t.matched;
    all.told += t.told;
    if (t.told) uv_async_send(&w->thread.wake);
  }
  pthread_mutex_unlock(&e->lock);
  wg_log(&(wg_log_ctx){.app = service}, WG_LOG_DEBUG, "signal_delivered",
         WG_KV_S("signal", wg_signal_name(signal)), WG_KV_U("instances", all.told));
  return all;
}

/* ---- services by their names ---- */

/** Calls item() for each name that can be given, until it returns true. @return whether it did */
static bool each_service(wg_engine *e, bool (*item)(void *user, const char *name), void *user) {
  wg_site *s = wg__engine_site(e);
  bool found = false;
  for (size_t i = 0; i < s->app_count && !found; i++) found = item(user, s->apps[i]->name);
  if (s->app_count == 0) { /* the program's own app: its name is in no configuration */
    pthread_mutex_lock(&e->lock);
    for (unsigned i = 1; i < e->slot_count && !found; i++) found = item(user, e->slots[i]);
    pthread_mutex_unlock(&e->lock);
  }
  wg__site_unref(s);
  return found;
}

static bool is_name(void *user, const char *name) { return strcmp(user, name) == 0; }

static bool add_name(void *user, const char *name) {
  wg_error *err = user;
  size_t n = strlen(err->hint);
  snprintf(err->hint + n, sizeof err->hint - n, "%s%s", n ? ", " : "services: ", name);
  return false;
}

wg_code wg__engine_signal(wg_engine *e, uint64_t id, const char *service, wg_signal signal,
                          size_t *told, wg_error *err) {
  if ((unsigned)signal >= WG_SIGNAL_COUNT)
    return wg_error_set(err, WG_INVALID, 0, "there is no signal %d", (int)signal);
  wg_roster_told t = deliver(e, id, service, signal);
  if (told) *told = t.told;
  if (t.matched) return WG_OK;
  if (service && !each_service(e, is_name, (void *)(uintptr_t)service)) {
    wg_error local, *to = err ? err : &local;
    wg_error_set(to, WG_NOT_FOUND, 0, "no service has the name '%s'", service);
    to->hint[0] = '\0';
    (void)each_service(e, add_name, to);
    return WG_NOT_FOUND;
  }
  if (!id) return WG_OK;
  wg_error_set(err, WG_NOT_FOUND, 0, "no instance%s%s%s has the id %llu", service ? " of '" : "",
               service ? service : "", service ? "'" : "", (unsigned long long)id);
  wg_error_hint(err, "it is gone, or never asked for a signal");
  return WG_NOT_FOUND;
}

/* ---- the API ---- */

wg_code wg_engine_deliver_signal(wg_engine *e, uint64_t instance_id, wg_signal signal,
                                 wg_error *err) {
  if (instance_id) return wg__engine_signal(e, instance_id, NULL, signal, NULL, err);
  return wg_error_set(err, WG_NOT_FOUND, 0, "no instance has the id 0");
}

wg_code wg_engine_signal(wg_engine *e, const char *service, wg_signal signal, size_t *told,
                         wg_error *err) {
  return wg__engine_signal(e, 0, service, signal, told, err);
}

wg_code wg_engine_each_instance(wg_engine *e, void (*item)(void *user, const wg_instance_info *i),
                                void *user, wg_error *err) {
  wg_instance_info *list = NULL;
  size_t count = 0;
  wg_code c = WG_OK;
  uint64_t now = wg_now_ms(&wg_clock_monotonic);
  pthread_mutex_lock(&e->lock);
  for (unsigned i = 0; i < e->worker_count && c == WG_OK; i++)
    if (e->workers[i]) c = wg_roster_list(&e->workers[i]->roster, now, &list, &count, err);
  pthread_mutex_unlock(&e->lock);
  for (size_t i = 0; i < count; i++) {
    if (c == WG_OK) item(user, &list[i]);
    free(list[i].service);
  }
  free(list);
  return c;
}
