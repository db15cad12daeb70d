/* SPDX-License-Identifier: Apache-2.0 */
/* base/base.[ch]: lists, secrets, time and random bytes. */
#include "base/base.h"

#include "base/text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

typedef struct item {
  int value;
  wg_node node;
} item;

static void lists_keep_order_and_count(void **state) {
  (void)state;
  wg_list l;
  item items[4];
  wg_list_init(&l);
  assert_true(wg_list_empty(&l));
  assert_null(wg_list_first(&l));
  assert_null(wg_list_last(&l));
  for (int i = 0; i < 4; i++) {
    items[i].value = i;
    wg_node_init(&items[i].node);
    assert_false(wg_node_linked(&items[i].node));
  }
  wg_list_push_back(&l, &items[1].node);
  wg_list_push_back(&l, &items[2].node);
  wg_list_push_front(&l, &items[0].node);
  wg_list_push_back(&l, &items[3].node);
  int expect = 0;
  for (wg_node *n = wg_list_first(&l); n; n = wg_list_next(&l, n))
    assert_int_equal(WG_ITEM(n, item, node)->value, expect++);
  assert_int_equal(expect, 4);
  assert_int_equal(l.count, 4);
  wg_list_remove(&l, &items[1].node);
  assert_false(wg_node_linked(&items[1].node));
  assert_ptr_equal(wg_list_next(&l, &items[0].node), &items[2].node);
  wg_list_remove(&l, &items[3].node);
  assert_ptr_equal(wg_list_last(&l), &items[2].node);
  wg_list_remove(&l, &items[0].node);
  wg_list_remove(&l, &items[2].node);
  assert_true(wg_list_empty(&l));
}

static void secrets_are_copies_with_an_end(void **state) {
  (void)state;
  wg_secret s = {0};
  char source[] = "pa\0ss";
  assert_int_equal(wg_secret_set(&s, source, 5, NULL), WG_OK);
  memset(source, 'x', sizeof source);
  assert_int_equal(s.len, 5);
  assert_memory_equal(s.bytes, "pa\0ss", 6);
  assert_int_equal(wg_secret_set(&s, "", 0, NULL), WG_OK);
  assert_int_equal(s.len, 0);
  assert_string_equal(s.bytes, "");
  wg_secret_release(&s);
  assert_null(s.bytes);
  wg_secret_release(&s);
  wg_secret_release(NULL);
}

static void wipe_overwrites(void **state) {
  (void)state;
  char text[] = "secret";
  wg_wipe(text, sizeof text);
  for (size_t i = 0; i < sizeof text; i++) assert_int_equal(text[i], 0);
  wg_wipe(NULL, 0);
}

static uint64_t fixed(void *user) { return *(uint64_t *)user; }

static void clocks(void **state) {
  (void)state;
  uint64_t a = wg_now_ms(&wg_clock_monotonic), b = wg_now_ms(&wg_clock_monotonic);
  assert_true(a > 0 && b >= a);
  uint64_t t = 5;
  wg_clock fake = {fixed, &t};
  assert_int_equal(wg_now_ms(&fake), 5);
  t = 6;
  assert_int_equal(wg_now_ms(&fake), 6);
}

static void random_bytes_fill_everything(void **state) {
  (void)state;
  unsigned char seen[64] = {0}, bytes[64];
  for (int round = 0; round < 32; round++) {
    wg_random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) seen[i] |= bytes[i];
  }
  for (size_t i = 0; i < sizeof seen; i++) assert_int_not_equal(seen[i], 0);
  assert_true(wg_random_u64() != wg_random_u64());
}

static void system_errors_read_like_ours(void **state) {
  (void)state;
  assert_string_equal(wg_os_error(ENOENT), "no such file or directory");
  assert_string_equal(wg_os_error(EACCES), "permission denied");
  assert_string_equal(wg_os_error(EADDRINUSE), "address already in use");
  assert_string_equal(wg_os_error(EREMOTE), "object is remote");
  assert_string_equal(wg_os_error(12345), "unknown error 12345");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lists_keep_order_and_count),
      cmocka_unit_test(secrets_are_copies_with_an_end),
      cmocka_unit_test(wipe_overwrites),
      cmocka_unit_test(clocks),
      cmocka_unit_test(random_bytes_fill_everything),
      cmocka_unit_test(system_errors_read_like_ours),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
