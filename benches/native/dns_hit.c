/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer of the resolver's cache costs the host: the same call that a guest's lookup ends in,
 * with the debug log off and databases declared, so that their sentinels are looked through.
 *
 *   dns_hit N       N lookups of one name with three addresses, all but the first from the cache
 *
 * Prints one line:
 *   n=1000000 per_op_ns=95.2 allocations=0
 * A tenth of N runs first, unmeasured. A wrong answer ends the program with 1. */
#include "dns/dns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

/* The linker puts these in place of the allocator's (--wrap). */
static unsigned long long allocations;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n) { return allocations++, __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return allocations++, __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return allocations++, __real_realloc(p, n); }

static void on_done(wg_dns_req *req, const wg_error *err) {
  if (!err && req->count == 3) ++*(unsigned long long *)req->user;
}

static unsigned long long lookups(wg_dns *dns, const char *name, unsigned long long n) {
  unsigned long long good = 0;
  const wg_dns_question q = {.what = WG_DNS_ADDRESSES, .name = name, .len = strlen(name)};
  for (unsigned long long i = 0; i < n; i++) {
    wg_dns_req req;
    wg_dns_ask(dns, &q, &req, on_done, &good);
  }
  return good;
}

static double cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* other processes are not part of it */
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv) {
  unsigned long long n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
  char *addresses[] = {"10.1.2.3", "10.1.2.4", "10.1.2.5"};
  wg_registry_entry entry = {"orders.bench.warp.local", addresses, 3};
  wg_database_config database = {.name = "main", .host = "db.bench.warp.local", .port = 5432};
  wg_config config = {.registry = &entry,
                      .registry_count = 1,
                      .databases = &database,
                      .database_count = 1,
                      .dns_domain = "warp.local",
                      .dns_ttl_s = 86400,
                      .dns_cache_size = 1024};
  uv_loop_t uv;
  wg_loop loop = {.uv = &uv, .clock = wg_clock_monotonic, .worker = 1};
  wg_dns_metrics metrics = {0};
  wg_names *names;
  wg_dns *dns;
  wg_error err;
  if (uv_loop_init(&uv) != 0 || wg_names_new(&config, NULL, &names, &err) != WG_OK ||
      wg_dns_new(names, &loop, &metrics, &dns, &err) != WG_OK) {
    fprintf(stderr, "dns_hit: cannot begin\n");
    return 1;
  }
  bool good = lookups(dns, entry.name, n / 10 + 1) == n / 10 + 1;
  unsigned long long before = allocations;
  double began = cpu_ns();
  good = good && lookups(dns, entry.name, n) == n;
  double per_op = (cpu_ns() - began) / (double)(n ? n : 1);
  unsigned long long during = allocations - before;
  good = good && atomic_load(&metrics.hits) == n + n / 10;
  printf("n=%llu per_op_ns=%.1f allocations=%llu\n", n, per_op, during);
  wg_dns_free(dns);
  wg_names_unref(names);
  uv_run(&uv, UV_RUN_DEFAULT);
  uv_loop_close(&uv);
  if (!good) fprintf(stderr, "dns_hit: wrong answers\n");
  return good ? 0 : 1;
}
