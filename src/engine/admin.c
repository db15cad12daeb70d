/* SPDX-License-Identifier: Apache-2.0 */
/** @file admin.c  What the admin endpoint tells: /healthz, /metrics in the Prometheus text format
 *  (version 0.0.4), /stats as JSON; and what it passes on: /signal. */
#include "base/text.h"
#include "engine/engine_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const uint32_t wg__latency_bounds[WG_LATENCY_BUCKETS] = {500,     1000,    2500,    5000,    10000,
                                                         25000,   50000,   100000,  250000,  500000,
                                                         1000000, 2500000, 5000000, 10000000};

void wg__utc_text(time_t when, char out[32]) {
  struct tm tm;
  strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&when, &tm));
}

/* ---- counters, added up over workers ---- */

typedef struct totals {
  uint64_t by_class[5], buckets[WG_LATENCY_BUCKETS + 1], latency_us, failures, requests;
  uint64_t outgoing[WGRT_OUTGOING_COUNT];
  int64_t instances;
} totals;

/* Those before CONNECTED are results, the others routes. */
static const char *const outgoing_names[] = {
    [WGRT_OUTGOING_ANSWERED] = "answered",     [WGRT_OUTGOING_FAILED] = "failed",
    [WGRT_OUTGOING_CONNECTED] = "connected",   [WGRT_OUTGOING_KEPT] = "kept",
    [WGRT_OUTGOING_IN_PROCESS] = "in_process",
};

static totals add_up(const wg_engine *e, unsigned slot) {
  totals t = {0};
  for (unsigned w = 0; w < e->worker_count; w++) {
    const wg_service_metrics *m = &e->metrics[(size_t)w * WG_SLOTS + slot];
    for (size_t i = 0; i < WG_COUNT(t.by_class); i++)
      t.by_class[i] += atomic_load_explicit(&m->by_class[i], memory_order_relaxed);
    for (size_t i = 0; i < WG_COUNT(t.buckets); i++)
      t.buckets[i] += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
    for (size_t i = 0; i < WG_COUNT(t.outgoing); i++)
      t.outgoing[i] += atomic_load_explicit(&m->outgoing[i], memory_order_relaxed);
    t.latency_us += atomic_load_explicit(&m->latency_us, memory_order_relaxed);
    t.failures += atomic_load_explicit(&m->failures, memory_order_relaxed);
    t.instances += atomic_load_explicit(&m->instances, memory_order_relaxed);
  }
  for (size_t i = 0; i < WG_COUNT(t.buckets); i++) t.requests += t.buckets[i];
  return t;
}

/** The latency below which a share of the requests stayed, in ms: linear within its bucket. */
static double quantile_ms(const totals *t, double share) {
  double rank = share * (double)t->requests, seen = 0;
  for (size_t i = 0; i < WG_LATENCY_BUCKETS; i++) {
    double low = i ? wg__latency_bounds[i - 1] : 0, high = wg__latency_bounds[i];
    double n = (double)t->buckets[i];
    if (n > 0 && seen + n >= rank) return (low + (high - low) * (rank - seen) / n) / 1000;
    seen += n;
  }
  return t->requests ? wg__latency_bounds[WG_LATENCY_BUCKETS - 1] / 1000.0 : 0;
}

static double uptime_s(const wg_engine *e) {
  return (double)(wg_now_ms(&wg_clock_monotonic) - e->started_ms) / 1000;
}

static bool draining(const wg_engine *e) { return atomic_load(&e->stops) > 0; }

/** A name in place of slot 0. */
static const char *slot_name(const wg_engine *e, unsigned slot) {
  return slot ? e->slots[slot] : "";
}

/** Places in use; the names below that do not change any more. */
static unsigned slot_count(wg_engine *e) {
  pthread_mutex_lock(&e->lock);
  unsigned n = e->slot_count;
  pthread_mutex_unlock(&e->lock);
  return n;
}

/** Counters of names, added up over workers. */
typedef struct dns_totals {
  uint64_t hits, negative_hits, misses, joined, evictions, failures, by_link[WG_DNS_LINKS];
  int64_t in_flight, entries;
} dns_totals;

static dns_totals add_up_dns(const wg_engine *e) {
  dns_totals t = {0};
  for (unsigned w = 0; w < e->worker_count; w++) {
    const wg_dns_metrics *m = &e->dns_metrics[w];
    t.hits += atomic_load_explicit(&m->hits, memory_order_relaxed);
    t.negative_hits += atomic_load_explicit(&m->negative_hits, memory_order_relaxed);
    t.misses += atomic_load_explicit(&m->misses, memory_order_relaxed);
    t.joined += atomic_load_explicit(&m->joined, memory_order_relaxed);
    t.evictions += atomic_load_explicit(&m->evictions, memory_order_relaxed);
    t.failures += atomic_load_explicit(&m->failures, memory_order_relaxed);
    for (size_t i = 0; i < WG_DNS_LINKS; i++)
      t.by_link[i] += atomic_load_explicit(&m->by_link[i], memory_order_relaxed);
    t.in_flight += atomic_load_explicit(&m->in_flight, memory_order_relaxed);
    t.entries += atomic_load_explicit(&m->entries, memory_order_relaxed);
  }
  return t;
}

/* ---- /stats ---- */

static void put_dns(wg_buf *out, const wg_engine *e) {
  dns_totals t = add_up_dns(e);
  wg_buf_printf(out,
                ",\"dns\":{\"hits\":%llu,\"negative_hits\":%llu,\"misses\":%llu,\"joined\":%llu,"
                "\"evictions\":%llu,\"failures\":%llu,\"in_flight\":%lld,\"entries\":%lld,"
                "\"answers\":{",
                (unsigned long long)t.hits, (unsigned long long)t.negative_hits,
                (unsigned long long)t.misses, (unsigned long long)t.joined,
                (unsigned long long)t.evictions, (unsigned long long)t.failures,
                (long long)t.in_flight, (long long)t.entries);
  for (size_t i = 0; i < WG_DNS_LINKS; i++)
    wg_buf_printf(out, "%s\"%s\":%llu", i ? "," : "", wg_dns_link_name((wg_dns_link)i),
                  (unsigned long long)t.by_link[i]);
  wg_buf_printf(out, "}}");
}

static void put_string_list(wg_buf *out, const char *key, char *const *list, const char *standard) {
  wg_buf_printf(out, ",\"%s\":[", key);
  if ((!list || !*list) && standard) wg_buf_put_json(out, standard);
  for (size_t i = 0; list && list[i]; i++) {
    if (i) wg_buf_put_u8(out, ',');
    wg_buf_put_json(out, list[i]);
  }
  wg_buf_put_u8(out, ']');
}

static void put_service(wg_buf *out, const wg_engine *e, const wg_app *a) {
  totals t = add_up(e, a->slot);
  wg_buf_printf(out, "{\"name\":");
  wg_buf_put_json(out, a->name);
  wg_buf_printf(out, ",\"component\":");
  wg_buf_put_json(out, a->component && a->component->path ? a->component->path : "");
  wg_buf_printf(out, ",\"kind\":\"%s\"", wg_component_kind_name(a->kind));
  put_string_list(out, "hosts", a->service ? a->service->hosts : NULL, NULL);
  put_string_list(out, "paths", a->service ? a->service->paths : NULL, "/");
  wg_buf_printf(out, ",\"requests\":{");
  for (size_t i = 0; i < WG_COUNT(t.by_class); i++)
    wg_buf_printf(out, "%s\"%zuxx\":%llu", i ? "," : "", i + 1, (unsigned long long)t.by_class[i]);
  wg_buf_printf(out,
                "},\"failures\":%llu,\"instances\":%lld,\"latency_ms\":{\"mean\":%.3f,"
                "\"p50\":%.3f,\"p99\":%.3f},\"outgoing\":{",
                (unsigned long long)t.failures, (long long)t.instances,
                t.requests ? (double)t.latency_us / (double)t.requests / 1000 : 0.0,
                quantile_ms(&t, 0.5), quantile_ms(&t, 0.99));
  for (size_t i = 0; i < WG_COUNT(t.outgoing); i++)
    wg_buf_printf(out, "%s\"%s\":%llu", i ? "," : "", outgoing_names[i],
                  (unsigned long long)t.outgoing[i]);
  wg_buf_printf(out, "},\"virtual_files\":");
  if (a->vfs) {
    wg_vfs_stats v = wg_vfs_get_stats(a->vfs);
    wg_buf_printf(out, "{\"files\":%zu,\"directories\":%zu,\"snapshots\":%llu}}", v.files,
                  v.directories, (unsigned long long)v.snapshots);
  } else {
    wg_buf_printf(out, "null}");
  }
}

typedef struct db_writer {
  wg_buf *out;
  bool first;
  const char *metric; /* of /metrics */
  uint64_t (*value)(const wg_db_stats *s);
} db_writer;

/** The time below which a share of the leases were given, in ms: linear within its bucket. */
static double wait_quantile_ms(const wg_db_stats *s, double share) {
  double rank = share * (double)s->leases, seen = 0;
  for (size_t i = 0; i < WG_DB_WAIT_BUCKETS; i++) {
    double low = i ? wg_db_wait_bounds[i - 1] : 0, high = wg_db_wait_bounds[i];
    double n = (double)s->waits[i];
    if (n > 0 && seen + n >= rank) return low + (high - low) * (rank - seen) / n;
    seen += n;
  }
  return s->leases ? wg_db_wait_bounds[WG_DB_WAIT_BUCKETS - 1] : 0;
}

static void put_waits(wg_buf *out, const wg_db_stats *s) {
  wg_buf_printf(out, ",\"wait\":{\"mean_ms\":%.3f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"buckets\":{",
                s->leases ? (double)s->wait_ms_total / (double)s->leases : 0.0,
                wait_quantile_ms(s, 0.5), wait_quantile_ms(s, 0.99));
  for (size_t i = 0; i < WG_DB_WAIT_BUCKETS; i++)
    wg_buf_printf(out, "\"%u\":%llu,", wg_db_wait_bounds[i], (unsigned long long)s->waits[i]);
  wg_buf_printf(out, "\"more\":%llu}}", (unsigned long long)s->waits[WG_DB_WAIT_BUCKETS]);
}

static void put_database(void *user, const wg_db_stats *s) {
  db_writer *w = user;
  wg_buf_printf(w->out, "%s{\"name\":", w->first ? "" : ",");
  w->first = false;
  wg_buf_put_json(w->out, s->name);
  wg_buf_printf(w->out, ",\"database\":");
  wg_buf_put_json(w->out, s->database);
  wg_buf_printf(w->out,
                ",\"active\":%u,\"idle\":%u,\"total\":%u,\"waiting\":%u,\"limit\":%u,"
                "\"connects\":%llu,\"leases\":%llu,\"reuses\":%llu,\"wait_ms\":%llu,"
                "\"resets\":%llu,\"reaped\":%llu,\"timeouts\":%llu,\"failures\":%llu,"
                "\"received_bytes\":%llu,\"sent_bytes\":%llu,\"causes\":{",
                s->active, s->idle, s->total, s->waiting, s->limit, (unsigned long long)s->connects,
                (unsigned long long)s->leases, (unsigned long long)s->reuses,
                (unsigned long long)s->wait_ms_total, (unsigned long long)s->resets,
                (unsigned long long)s->reaped, (unsigned long long)s->timeouts,
                (unsigned long long)s->failures, (unsigned long long)s->received,
                (unsigned long long)s->sent);
  for (size_t i = 0; i < WG_DB_CAUSES; i++)
    wg_buf_printf(w->out, "%s\"%s\":%llu", i ? "," : "", wg_db_cause_name((wg_db_cause)i),
                  (unsigned long long)s->by_cause[i]);
  wg_buf_put_u8(w->out, '}');
  put_waits(w->out, s);
  wg_buf_put_u8(w->out, '}');
}

typedef struct instance_writer {
  wg_buf *out;
  bool first;
} instance_writer;

static void put_instance(void *user, const wg_instance_info *i) {
  instance_writer *w = user;
  wg_buf_printf(w->out, "%s{\"id\":%llu,\"service\":", w->first ? "" : ",",
                (unsigned long long)i->id);
  w->first = false;
  wg_buf_put_json(w->out, i->service);
  wg_buf_printf(w->out, ",\"worker\":%u,\"signals\":[", i->worker);
  bool first = true;
  for (unsigned s = 0; s < WG_SIGNAL_COUNT; s++) {
    if (!(i->interest & 1u << s)) continue;
    wg_buf_printf(w->out, "%s\"%s\"", first ? "" : ",", wg_signal_name((wg_signal)s));
    first = false;
  }
  wg_buf_printf(w->out, "],\"queued\":%u,\"dropped\":%llu,\"threading\":\"%s\",\"age_ms\":%llu}",
                i->queued, (unsigned long long)i->dropped, wg_threading_name(i->threading),
                (unsigned long long)i->age_ms);
}

static void put_instances(wg_buf *out, wg_engine *e) {
  wg_buf_printf(out, "],\"instances\":[");
  if (wg_engine_each_instance(e, put_instance, &(instance_writer){.out = out, .first = true},
                              NULL) != WG_OK)
    out->failed = true; /* out of memory: a list with none would be a lie */
}

static void put_stats(wg_engine *e, const wg_site *s, const wg_reload_result *last,
                      const char *const *urls, wg_buf *out) {
  char started[32];
  wg__utc_text(e->started, started);
  wg_buf_printf(out, "{\"version\":1,\"warp\":\"%s\",\"wasmtime\":\"%s\",\"pid\":%ld,\"name\":",
                wg_version(), wg_wasmtime_version(), (long)getpid());
  wg_buf_put_json(out, s->config->name);
  wg_buf_printf(out,
                ",\"state\":\"%s\",\"generation\":%llu,\"started\":\"%s\",\"uptime_s\":%.1f,"
                "\"workers\":%u,\"config\":",
                draining(e) ? "draining" : "serving", (unsigned long long)s->generation, started,
                uptime_s(e), e->worker_count);
  wg_buf_put_json(out, s->config->path ? s->config->path : "");
  put_string_list(out, "urls", (char *const *)(uintptr_t)urls, NULL);
  wg_buf_printf(out, ",\"inflight\":%u,\"last_reload\":", wgrt_engine_inflight(e->rt));
  if (last->any) {
    wg_buf_printf(out, "{\"ok\":%s,\"generation\":%llu,\"at\":\"%s\",\"error\":",
                  last->ok ? "true" : "false", (unsigned long long)last->generation, last->at);
    wg_buf_put_json(out, last->error);
    wg_buf_put_u8(out, '}');
  } else {
    wg_buf_printf(out, "null");
  }
  wg_buf_printf(out, ",\"services\":[");
  for (size_t i = 0; i < s->app_count; i++) {
    if (i) wg_buf_put_u8(out, ',');
    put_service(out, e, s->apps[i]);
  }
  wg_buf_printf(out, "],\"databases\":[");
  wg_db_each_stats(s->pools->db, put_database, &(db_writer){.out = out, .first = true});
  put_instances(out, e);
  wg_buf_printf(out, "]");
  put_dns(out, e);
  wg_buf_printf(out, "}\n");
}

/* ---- /metrics ---- */

static void put_head(wg_buf *out, const char *name, const char *type, const char *help) {
  wg_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/** A label's value: backslash, quote and newline are escaped, as the format asks. */
static void put_label(wg_buf *out, const char *value) {
  for (; *value; value++) {
    if (*value == '\\' || *value == '"') wg_buf_put_u8(out, '\\');
    wg_buf_put_u8(out, *value == '\n' ? ' ' : (uint8_t)*value);
  }
}

static void put_one(wg_buf *out, const char *name, const char *type, const char *help,
                    double value) {
  put_head(out, name, type, help);
  wg_buf_printf(out, "%s %.15g\n", name, value);
}

/** NAMESUFFIX{service="..." of a sample: more labels or the brace may follow. */
static void put_series(wg_buf *out, const char *name, const char *suffix, const char *service) {
  wg_buf_printf(out, "%s%s{service=\"", name, suffix);
  put_label(out, service);
  wg_buf_put_u8(out, '"');
}

static void put_service_sample(wg_buf *out, const char *name, const char *service, uint64_t v) {
  put_series(out, name, "", service);
  wg_buf_printf(out, "} %llu\n", (unsigned long long)v);
}

static void put_requests(wg_buf *out, const wg_engine *e, unsigned slots) {
  static const char requests[] = "warpgrid_requests_total";
  put_head(out, requests, "counter", "Responses by service and class of status; no service: \"\".");
  for (unsigned s = 0; s < slots; s++) {
    totals t = add_up(e, s);
    for (size_t i = 0; i < WG_COUNT(t.by_class); i++) {
      put_series(out, requests, "", slot_name(e, s));
      wg_buf_printf(out, ",code=\"%zuxx\"} %llu\n", i + 1, (unsigned long long)t.by_class[i]);
    }
  }
}

static void put_latency(wg_buf *out, const wg_engine *e, unsigned slots) {
  static const char name[] = "warpgrid_request_duration_seconds";
  put_head(out, name, "histogram", "From a request's head to its response's head.");
  for (unsigned s = 1; s < slots; s++) {
    totals t = add_up(e, s);
    uint64_t below = 0;
    for (size_t i = 0; i <= WG_LATENCY_BUCKETS; i++) {
      below += t.buckets[i];
      put_series(out, name, "_bucket", slot_name(e, s));
      if (i < WG_LATENCY_BUCKETS)
        wg_buf_printf(out, ",le=\"%g\"} %llu\n", wg__latency_bounds[i] / 1e6,
                      (unsigned long long)below);
      else
        wg_buf_printf(out, ",le=\"+Inf\"} %llu\n", (unsigned long long)below);
    }
    put_series(out, name, "_sum", slot_name(e, s));
    wg_buf_printf(out, "} %.6f\n", (double)t.latency_us / 1e6);
    put_series(out, name, "_count", slot_name(e, s));
    wg_buf_printf(out, "} %llu\n", (unsigned long long)t.requests);
  }
}

/** NAMESUFFIX{pool="...",database="..." of a sample: more labels or the brace may follow. */
static void put_pool_series(wg_buf *out, const char *name, const char *suffix,
                            const wg_db_stats *s) {
  wg_buf_printf(out, "%s%s{pool=\"", name, suffix);
  put_label(out, s->name);
  wg_buf_printf(out, "\",database=\"");
  put_label(out, s->database);
  wg_buf_put_u8(out, '"');
}

static void put_database_sample(void *user, const wg_db_stats *s) {
  db_writer *w = user;
  put_pool_series(w->out, w->metric, "", s);
  wg_buf_printf(w->out, "} %llu\n", (unsigned long long)w->value(s));
}

static void put_database_waits(void *user, const wg_db_stats *s) {
  db_writer *w = user;
  uint64_t below = 0;
  for (size_t i = 0; i <= WG_DB_WAIT_BUCKETS; i++) {
    below += s->waits[i];
    put_pool_series(w->out, w->metric, "_bucket", s);
    if (i < WG_DB_WAIT_BUCKETS)
      wg_buf_printf(w->out, ",le=\"%g\"} %llu\n", wg_db_wait_bounds[i] / 1e3,
                    (unsigned long long)below);
    else
      wg_buf_printf(w->out, ",le=\"+Inf\"} %llu\n", (unsigned long long)below);
  }
  put_pool_series(w->out, w->metric, "_sum", s);
  wg_buf_printf(w->out, "} %.3f\n", (double)s->wait_ms_total / 1e3);
  put_pool_series(w->out, w->metric, "_count", s);
  wg_buf_printf(w->out, "} %llu\n", (unsigned long long)s->leases);
}

static void put_database_causes(void *user, const wg_db_stats *s) {
  db_writer *w = user;
  for (size_t i = 0; i < WG_DB_CAUSES; i++) {
    put_pool_series(w->out, w->metric, "", s);
    wg_buf_printf(w->out, ",cause=\"%s\"} %llu\n", wg_db_cause_name((wg_db_cause)i),
                  (unsigned long long)s->by_cause[i]);
  }
}

static uint64_t db_active(const wg_db_stats *s) { return s->active; }
static uint64_t db_idle(const wg_db_stats *s) { return s->idle; }
static uint64_t db_total(const wg_db_stats *s) { return s->total; }
static uint64_t db_waiting(const wg_db_stats *s) { return s->waiting; }
static uint64_t db_limit(const wg_db_stats *s) { return s->limit; }
static uint64_t db_connects(const wg_db_stats *s) { return s->connects; }
static uint64_t db_leases(const wg_db_stats *s) { return s->leases; }
static uint64_t db_reuses(const wg_db_stats *s) { return s->reuses; }
static uint64_t db_resets(const wg_db_stats *s) { return s->resets; }
static uint64_t db_reaped(const wg_db_stats *s) { return s->reaped; }
static uint64_t db_timeouts(const wg_db_stats *s) { return s->timeouts; }
static uint64_t db_received(const wg_db_stats *s) { return s->received; }
static uint64_t db_sent(const wg_db_stats *s) { return s->sent; }

static void put_databases(wg_buf *out, wg_db *db) {
  static const struct {
    const char *name, *type, *help;
    uint64_t (*value)(const wg_db_stats *s);
  } metrics[] = {
      {"warpgrid_db_connections_active", "gauge", "Connections that guests have.", db_active},
      {"warpgrid_db_connections_idle", "gauge", "Connections that wait for a guest.", db_idle},
      {"warpgrid_db_connections", "gauge", "All connections, also those being made or cleaned.",
       db_total},
      {"warpgrid_db_connections_limit", "gauge", "Connections that the pool may have.", db_limit},
      {"warpgrid_db_waiting", "gauge", "Guests that wait for a connection.", db_waiting},
      {"warpgrid_db_connects_total", "counter", "Log-ins to the server.", db_connects},
      {"warpgrid_db_leases_total", "counter", "Sessions given to guests.", db_leases},
      {"warpgrid_db_reuses_total", "counter", "Sessions given without a log-in.", db_reuses},
      {"warpgrid_db_resets_total", "counter", "Sessions cleaned for the next guest.", db_resets},
      {"warpgrid_db_reaped_total", "counter", "Connections closed that nobody used.", db_reaped},
      {"warpgrid_db_timeouts_total", "counter", "Guests that waited in vain.", db_timeouts},
      {"warpgrid_db_received_bytes_total", "counter", "Bytes from the server, without TLS's own.",
       db_received},
      {"warpgrid_db_sent_bytes_total", "counter", "Bytes to the server, without TLS's own.",
       db_sent},
  };
  static const char failures[] = "warpgrid_db_failures_total", waits[] = "warpgrid_db_wait_seconds";
  for (size_t i = 0; i < WG_COUNT(metrics); i++) {
    put_head(out, metrics[i].name, metrics[i].type, metrics[i].help);
    wg_db_each_stats(
        db, put_database_sample,
        &(db_writer){.out = out, .metric = metrics[i].name, .value = metrics[i].value});
  }
  put_head(out, failures, "counter", "Connections that failed, by cause.");
  wg_db_each_stats(db, put_database_causes, &(db_writer){.out = out, .metric = failures});
  put_head(out, waits, "histogram", "From a guest's connect to its session.");
  wg_db_each_stats(db, put_database_waits, &(db_writer){.out = out, .metric = waits});
}

static void put_names(wg_buf *out, const wg_engine *e) {
  static const char answers[] = "warpgrid_dns_answers_total";
  dns_totals t = add_up_dns(e);
  put_one(out, "warpgrid_dns_cache_hits_total", "counter", "Names answered by the cache.",
          (double)t.hits);
  put_one(out, "warpgrid_dns_cache_negative_hits_total", "counter", "Of them \"not found\".",
          (double)t.negative_hits);
  put_one(out, "warpgrid_dns_cache_misses_total", "counter", "Names that the cache did not have.",
          (double)t.misses);
  put_one(out, "warpgrid_dns_cache_evictions_total", "counter", "Answers dropped for want of room.",
          (double)t.evictions);
  put_one(out, "warpgrid_dns_cache_entries", "gauge", "Names in the caches of all workers.",
          (double)t.entries);
  put_one(out, "warpgrid_dns_joined_total", "counter", "Lookups that waited for an equal one.",
          (double)t.joined);
  put_one(out, "warpgrid_dns_failures_total", "counter", "Lookups without an answer.",
          (double)t.failures);
  put_one(out, "warpgrid_dns_inflight", "gauge", "Lookups that wait for the host.",
          (double)t.in_flight);
  put_head(out, answers, "counter", "Answers by the link of the chain that gave them.");
  for (size_t i = 0; i < WG_DNS_LINKS; i++)
    wg_buf_printf(out, "%s{link=\"%s\"} %llu\n", answers, wg_dns_link_name((wg_dns_link)i),
                  (unsigned long long)t.by_link[i]);
}

/** Resident memory in bytes; 0 when the system does not tell. */
static double resident_bytes(void) {
  char line[128] = "";
  FILE *f = fopen("/proc/self/statm", "re");
  if (!f) return 0;
  const char *second = fgets(line, sizeof line, f) ? strchr(line, ' ') : NULL; /* proc(5) */
  fclose(f);
  return second ? (double)strtoul(second, NULL, 10) * (double)sysconf(_SC_PAGESIZE) : 0;
}

/** HTTP requests of guests. */
static void put_outgoing(wg_buf *out, const wg_engine *e, unsigned slots) {
  static const struct {
    const char *name, *label, *help;
    unsigned from, to;
  } metrics[] = {
      {"warpgrid_outgoing_requests_total", "result", "HTTP requests of guests, by how they ended.",
       0, WGRT_OUTGOING_CONNECTED},
      {"warpgrid_outgoing_routes_total", "route",
       "HTTP requests of guests, by what they went over.", WGRT_OUTGOING_CONNECTED,
       WGRT_OUTGOING_COUNT},
  };
  for (size_t m = 0; m < WG_COUNT(metrics); m++) {
    put_head(out, metrics[m].name, "counter", metrics[m].help);
    for (unsigned slot = 1; slot < slots; slot++) {
      totals t = add_up(e, slot);
      for (unsigned i = metrics[m].from; i < metrics[m].to; i++) {
        put_series(out, metrics[m].name, "", slot_name(e, slot));
        wg_buf_printf(out, ",%s=\"%s\"} %llu\n", metrics[m].label, outgoing_names[i],
                      (unsigned long long)t.outgoing[i]);
      }
    }
  }
}

static void put_metrics(wg_engine *e, const wg_site *s, wg_buf *out) {
  unsigned slots = slot_count(e);
  put_one(out, "warpgrid_up", "gauge", "1 while requests are accepted.", draining(e) ? 0 : 1);
  put_one(out, "warpgrid_generation", "gauge", "Of what is served: one more with each reload.",
          (double)s->generation);
  put_one(out, "warpgrid_workers", "gauge", "Threads that serve.", e->worker_count);
  put_one(out, "warpgrid_inflight_requests", "gauge", "Requests in progress.",
          wgrt_engine_inflight(e->rt));
  put_one(out, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
  put_one(out, "process_start_time_seconds", "gauge", "Start, in seconds since 1970.",
          (double)e->started);
  put_requests(out, e, slots);
  put_latency(out, e, slots);
  put_head(out, "warpgrid_guest_failures_total", "counter",
           "Instances that trapped or ran into a limit.");
  for (unsigned i = 1; i < slots; i++)
    put_service_sample(out, "warpgrid_guest_failures_total", slot_name(e, i),
                       add_up(e, i).failures);
  put_head(out, "warpgrid_instances", "gauge", "Guest instances alive.");
  for (unsigned i = 1; i < slots; i++)
    put_service_sample(out, "warpgrid_instances", slot_name(e, i),
                       (uint64_t)add_up(e, i).instances);
  put_outgoing(out, e, slots);
  put_databases(out, s->pools->db);
  put_names(out, e);
}

/* ---- /signal ---- */

/** Decodes %XX in place (RFC 3986, section 2.1). @return false: not well-formed, or a NUL */
static bool percent_decode(char *text) {
  static const char digits[] = "0123456789abcdefABCDEF";
  char *to = text;
  for (const char *p = text; *p; p++) {
    char hex[3] = "";
    if (*p != '%') {
      *to++ = *p;
      continue;
    }
    if (strspn(p + 1, digits) < 2) return false;
    memcpy(hex, p + 1, 2);
    *to = (char)strtoul(hex, NULL, 16);
    if (!*to++) return false;
    p += 2;
  }
  *to = '\0';
  return true;
}

/** Cuts "@ID" off a name. @return false: none was there */
static bool take_id(char *name, uint64_t *id) {
  char *at = strrchr(name, '@');
  *id = 0;
  if (!at || !at[1] || strspn(at + 1, "0123456789") != strlen(at + 1)) return false;
  *at = '\0';
  *id = strtoull(at + 1, NULL, 10);
  return true;
}

static int put_failure(wg_buf *out, int status, const wg_error *err) {
  wg_buf_printf(out, "{\"version\":1,\"error\":");
  wg_buf_put_json(out, err->msg);
  wg_buf_printf(out, ",\"hint\":");
  wg_buf_put_json(out, err->hint);
  wg_buf_printf(out, "}\n");
  wg_buf_put_u8(out, 0);
  return status;
}

int wg__admin_signal(wg_engine *e, const char *path, wg_buf *out) {
  char name[1024];
  wg_error err;
  size_t told = 0;
  snprintf(name, sizeof name, "%s", path);
  char *slash = strrchr(name, '/');
  int signal = slash ? wg_signal_find(slash + 1, strlen(slash + 1)) : -1;
  if (slash) *slash = '\0';
  if (signal < 0 || !*name || !percent_decode(name)) {
    wg_error_set(&err, WG_INVALID, 0, "'/signal/%s' names no service and signal", path);
    wg_error_hint(&err, "write /signal/NAME/SIGNAL or /signal/NAME@ID/SIGNAL, with one of: "
                        "terminate hangup interrupt");
    return put_failure(out, 400, &err);
  }
  uint64_t id;
  if (take_id(name, &id) && id == 0) { /* to the engine it would mean all of them */
    wg_error_set(&err, WG_NOT_FOUND, 0, "no instance of '%s' has the id 0", name);
    return put_failure(out, 404, &err);
  }
  if (wg__engine_signal(e, id, name, (wg_signal)signal, &told, &err) != WG_OK)
    return put_failure(out, 404, &err);
  wg_buf_printf(out, "{\"version\":1,\"told\":%zu}\n", told);
  wg_buf_put_u8(out, 0);
  return 200;
}

int wg__admin_answer(wg_engine *e, const char *path, const wg_reload_result *last,
                     const char *const *urls, wg_buf *out, bool *json) {
  int status = 200;
  *json = false;
  if (strcmp(path, "/healthz") == 0) {
    status = draining(e) ? 503 : 200;
    wg_buf_printf(out, draining(e) ? "draining\n" : "ok\n");
  } else if (strcmp(path, "/stats") == 0 || strcmp(path, "/metrics") == 0) {
    wg_site *site = wg__engine_site(e);
    *json = path[1] == 's';
    if (*json)
      put_stats(e, site, last, urls, out);
    else
      put_metrics(e, site, out);
    wg__site_unref(site);
  } else {
    status = 404;
    wg_buf_printf(out, "GET /healthz, /metrics, /stats; POST /reload, /drain, "
                       "/signal/NAME/SIGNAL\n");
  }
  wg_buf_put_u8(out, 0);
  return status;
}
