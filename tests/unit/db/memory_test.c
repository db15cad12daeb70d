/* SPDX-License-Identifier: Apache-2.0 */
/* Memory: the data path allocates none, and running out of it anywhere else is an error of one
 * operation, not of the process. The allocator is replaced in this program, so sanitizers, which
 * do the same, leave these tests out. */
#include "db/certs.h"
#include "db/db_fixture.h"
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REPLACED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define REPLACED 0
#endif
#endif
#ifndef REPLACED
#define REPLACED 1
#endif

static _Thread_local bool counting;
static _Thread_local long calls, fail_at;
static _Thread_local size_t live_count;
static _Thread_local const char
    *secret; /* must not be in what is given back; NULL: not looked for */
static _Thread_local unsigned spilled;

#if REPLACED
static _Thread_local void *live[4096]; /* what our code has and must give back */
extern char __executable_start, etext;
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

/* Only what our own code asks for may fail: libraries have their own ideas about that. */
static bool ours(const void *caller) {
  return counting && (const char *)caller >= &__executable_start && (const char *)caller < &etext;
}
static bool fails(const void *caller) { return ours(caller) && ++calls == fail_at; }

static void *taken(void *p, const void *caller) {
  if (p && ours(caller) && live_count < WG_COUNT(live)) live[live_count++] = p;
  return p;
}
static void given_back(void *p) {
  if (secret && p && memmem(p, malloc_usable_size(p), secret, strlen(secret))) spilled++;
  for (size_t i = live_count; p && i-- > 0;)
    if (live[i] == p) {
      live[i] = live[--live_count];
      return;
    }
}

void *malloc(size_t n) {
  const void *caller = __builtin_return_address(0);
  return fails(caller) ? NULL : taken(__libc_malloc(n), caller);
}
void *calloc(size_t n, size_t size) {
  const void *caller = __builtin_return_address(0);
  return fails(caller) ? NULL : taken(__libc_calloc(n, size), caller);
}
void *realloc(void *old, size_t n) {
  if (fails(__builtin_return_address(0))) return NULL;
  void *p = malloc(n);
  if (!p || !old) return p;
  size_t had = malloc_usable_size(old);
  memcpy(p, old, had < n ? had : n);
  free(old);
  return p;
}
void free(void *p) {
  given_back(p);
  __libc_free(p);
}
char *strdup(const char *s) {
  size_t n = strlen(s) + 1;
  char *p = malloc(n);
  return p ? memcpy(p, s, n) : NULL;
}
char *strndup(const char *s, size_t n) {
  char *p = malloc(n + 1);
  if (!p) return NULL;
  p[n] = '\0';
  return memcpy(p, s, n);
}
#endif

static void need_replaced(void) {
  if (REPLACED) return;
  print_message("the sanitizer has the allocator: skipped\n");
  skip();
}

static void use_tls(db_fixture *f) {
  f->mock.tls_cert = certs_path("server", "crt");
  f->mock.tls_key = certs_path("server", "key");
  f->mock.tls_resumes = true;
  f->database.tls.mode = WG_TLS_VERIFY_FULL;
  f->database.tls.ca = certs_path("ca", "crt");
  f->database.tls.cert = certs_path("client", "crt");
  f->database.tls.key = certs_path("client", "key");
  f->database.tls.channel_binding = WG_TLS_BINDING_PREFER;
}

static void data_path_allocates_nothing(bool tls) {
  need_replaced();
  static const uint8_t query[] = "Q\0\0\0\010PID";
  db_fixture f;
  db_fixture_init(&f);
  if (tls) use_tls(&f);
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  assert_int_equal(f.mock.tls_logins, tls);
  uint8_t b[256];
  wg_error err;
  for (int i = 0; i < 200; i++) {
    if (i == 100) { /* warm */
      calls = 0;
      fail_at = -1;
      counting = true;
    }
    assert_int_equal(wg_db_send(f.guest, h, query, sizeof query, &err), sizeof query);
    bool ready = false;
    while (!ready) {
      ssize_t n = db_recv(&f, f.guest, h, b, sizeof b, &err);
      assert_true(n > 0);
      ready = b[n - 1] == 'I';
    }
  }
  counting = false;
  assert_int_equal(calls, 0);
  db_fixture_stop(&f);
}

static void test_data_path_allocates_nothing(void **state) {
  (void)state;
  data_path_allocates_nothing(false);
}

/* Nor does ours under TLS; what OpenSSL does is its own business. */
static void test_data_path_under_tls(void **state) {
  (void)state;
  data_path_allocates_nothing(true);
}

/* One life of a guest; everything in it may fail. True when nothing did. */
static bool live_once(db_fixture *f) {
  wg_db_guest *g;
  wg_error err;
  uint8_t packet[256], b[512];
  bool whole = false;
  if (wg_db_guest_new(f->one.w, &g, &err) != WG_OK) return false;
  db_result r, queued;
  db_start_connect(g, &r);
  db_start_connect(g, &queued);
  db_run_until(&f->one, &r.done);
  if (r.code == WG_OK) {
    size_t n =
        db_startup(packet, "user", "u", "TimeZone", "Asia/Tokyo", "options", "-c geqo=off", NULL);
    ssize_t sent = wg_db_send(g, r.req.handle, packet, n, &err);
    if (sent == (ssize_t)n) {
      do sent = db_recv(f, g, r.req.handle, b, sizeof b, &err);
      while (sent > 0 && b[sent - 1] != 'I');
      whole = sent > 0;
    }
    wg_code closed = wg_db_close(g, r.req.handle, &err);
    assert_int_equal(closed, WG_OK);
  }
  db_run_until(&f->one, &queued.done);
  whole = whole && queued.code == WG_OK;
  wg_db_guest_free(g);
  return whole;
}

static void fail_each(bool declared, bool tls) {
  need_replaced();
  bool whole = false;
  long n;
  for (n = 1; !whole && n < 500; n++) {
    db_fixture f;
    db_fixture_init(&f);
    if (tls) use_tls(&f);
    f.database.pool.pool_size = 1;
    f.database.database = NULL; /* whatever the guest asks for: a key of its own */
    f.config.loopback_databases = !declared;
    f.config.database_count = declared; /* the target is that of the array, counted or not */
    f.mock.auth = declared ? MOCK_SCRAM : MOCK_TRUST;
    if (!declared) f.mock.user = "whoever"; /* the guest's own */
    live_count = 0;
    fail_at = -1;
    counting = true;
    db_fixture_start(&f);
    calls = 0;
    fail_at = n;
    whole = live_once(&f) && calls < n;
    fail_at = -1;
    atomic_fetch_add(&f.skew_ms, 3000); /* backoff is over */
    if (!live_once(&f)) fail_msg("not well again after failure %ld", n);
    db_fixture_stop(&f);
    counting = false;
    if (live_count) fail_msg("%zu blocks leaked after failure %ld", live_count, n);
  }
  assert_true(whole);
  print_message("%ld allocations failed in turn\n", n - 1);
}

static void test_out_of_memory_everywhere(void **state) {
  (void)state;
  fail_each(true, false);
}

static void test_out_of_memory_undeclared(void **state) {
  (void)state;
  fail_each(false, false);
}

static void test_out_of_memory_under_tls(void **state) {
  (void)state;
  fail_each(true, true);
}

/* A password of any length is in no block that was given back: neither the one that it was written to
 * nor one that was too small for what followed. */
static void test_no_password_is_left_behind(void **state) {
  (void)state;
  need_replaced();
  const mock_auth kinds[] = {MOCK_CLEARTEXT, MOCK_MD5, MOCK_SCRAM};
  for (size_t k = 0; k < WG_COUNT(kinds); k++)
    for (size_t n = 8; n < 140; n += kinds[k] == MOCK_SCRAM ? 20 : 1) {
      db_fixture f;
      char text[256];
      wg_error err;
      for (size_t i = 0; i < n; i++) text[i] = "correct horse "[i % 14];
      text[n] = '\0';
      db_fixture_init(&f);
      f.mock.auth = kinds[k];
      f.mock.password = text;
      f.database.password = (wg_secret){text, n};
      spilled = 0;
      secret = "correct ";
      db_fixture_start(&f);
      uint64_t h = db_connect(&f, f.guest, &err);
      assert_true(h != 0);
      db_close(f.guest, h);
      db_fixture_stop(&f);
      secret = NULL;
      if (spilled)
        fail_msg("%u blocks with a password of %zu bytes, method %d", spilled, n, kinds[k]);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_password_is_left_behind),
      cmocka_unit_test(test_data_path_allocates_nothing),
      cmocka_unit_test(test_out_of_memory_everywhere),
      cmocka_unit_test(test_out_of_memory_undeclared),
      cmocka_unit_test(test_data_path_under_tls),
      cmocka_unit_test(test_out_of_memory_under_tls),
  };
  return cmocka_run_group_tests(tests, certs_setup, certs_teardown);
}
