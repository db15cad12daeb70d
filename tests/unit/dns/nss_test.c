/* SPDX-License-Identifier: Apache-2.0 */
/* Names of mDNS wait for libuv's thread pool: who waits there no longer gives the place back. */
#include "dns/dns_internal.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { THREADS = 2, NAMES = 50 };

static uint64_t now_ms = 1000;
static uint64_t fake_now(void *user) { return (void)user, now_ms; }

static sem_t busy, go;
static void block(uv_work_t *work) {
  (void)work;
  sem_post(&busy);
  while (sem_wait(&go) != 0) continue;
}

static unsigned answers;
static void on_done(wg_dns_req *req, const wg_error *err) {
  (void)req;
  assert_non_null(err);
  assert_int_equal(err->code, WG_IO);
  answers++;
}

static void a_deadline_gives_the_place_back(void **state) {
  (void)state;
  static char server[] = "127.0.0.1:1", domain[] = "warp.internal", *servers[] = {server, NULL};
  const wg_config config = {.dns_domain = domain,
                            .dns_ttl_s = 30,
                            .dns_cache_size = 4,
                            .dns_timeout_ms = 300,
                            .dns_servers = servers};
  static wg_dns_req reqs[NAMES];
  static wg_dns_metrics metrics;
  uv_work_t work[THREADS];
  uv_loop_t uv;
  wg_names *names;
  wg_dns *d;
  wg_error err;
  assert_int_equal(uv_loop_init(&uv), 0);
  assert_int_equal(sem_init(&busy, 0, 0), 0);
  assert_int_equal(sem_init(&go, 0, 0), 0);
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(uv_queue_work(&uv, &work[i], block, NULL), 0);
  for (size_t i = 0; i < THREADS; i++)
    while (sem_wait(&busy) != 0) continue;

  const wg_loop loop = {.uv = &uv, .clock = {fake_now, NULL}};
  assert_int_equal(wg_names_new(&config, NULL, &names, &err), WG_OK);
  assert_int_equal(wg_dns_new(names, &loop, &metrics, &d, &err), WG_OK);
  wg_names_unref(names);
  for (int i = 0; i < NAMES; i++) {
    char name[32];
    int len = snprintf(name, sizeof name, "x%d.local", i);
    wg_dns_resolve(d, name, (size_t)len, &reqs[i], on_done, NULL);
  }
  assert_int_equal(metrics.in_flight, NAMES);
  now_ms += 300;
  wg_deadlines_run(d->deadlines);
  assert_int_equal(answers, NAMES);
  assert_int_equal(metrics.in_flight, NAMES); /* until libuv has said that it let go of them */
  for (int i = 0; i < 100 && d->over.count; i++) uv_run(&uv, UV_RUN_NOWAIT);
  assert_int_equal(d->over.count, 0); /* though the pool is as busy as before */
  assert_int_equal(metrics.in_flight, 0);

  for (size_t i = 0; i < THREADS; i++) sem_post(&go);
  wg_dns_free(d);
  uv_run(&uv, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&uv), 0);
  sem_destroy(&busy);
  sem_destroy(&go);
}

int main(void) {
  setenv("UV_THREADPOOL_SIZE", "2", 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_deadline_gives_the_place_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
