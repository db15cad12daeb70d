/* SPDX-License-Identifier: Apache-2.0 */
/* base/buf.c: bytes in, bytes out, and nothing past the ends. */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void put_and_take_are_inverse(void **state) {
  (void)state;
  wg_buf b;
  wg_buf_init(&b, 1024);
  wg_buf_put_u8(&b, 0xAB);
  wg_buf_put_u16(&b, 0x1234);
  wg_buf_put_u32(&b, 0xDEADBEEF);
  wg_buf_put_cstr(&b, "name");
  wg_buf_printf(&b, "%d-%s", 42, "x");
  wg_reader r = wg_reader_of(wg_buf_head(&b), wg_buf_len(&b));
  assert_int_equal(wg_take_u8(&r), 0xAB);
  assert_int_equal(wg_take_u16(&r), 0x1234);
  assert_int_equal(wg_take_u32(&r), 0xDEADBEEF);
  assert_string_equal(wg_take_cstr(&r), "name");
  assert_memory_equal(wg_take_bytes(&r, 4), "42-x", 4);
  assert_false(r.failed);
  assert_int_equal(r.len, 0);
  wg_buf_release(&b);
}

static void network_order(void **state) {
  (void)state;
  wg_buf b;
  wg_buf_init(&b, 16);
  wg_buf_put_u32(&b, 1);
  assert_memory_equal(wg_buf_head(&b), "\0\0\0\1", 4);
  wg_buf_release(&b);
}

static void cap_is_hard_and_sticky(void **state) {
  (void)state;
  wg_buf b;
  wg_buf_init(&b, 10);
  wg_buf_put(&b, "12345678", 8);
  assert_false(b.failed);
  wg_buf_put(&b, "901", 3);
  assert_true(b.failed);
  assert_false(b.nomem);
  assert_int_equal(wg_buf_len(&b), 8);
  wg_buf_put_u8(&b, 1); /* would fit, but a failure stays */
  assert_int_equal(wg_buf_len(&b), 8);
  assert_null(wg_buf_reserve(&b, 0));
  wg_buf_clear(&b);
  assert_false(b.failed);
  wg_buf_put(&b, "1234567890", 10);
  assert_int_equal(wg_buf_len(&b), 10);
  assert_false(b.failed);
  wg_buf_release(&b);
}

static void huge_sizes_do_not_overflow(void **state) {
  (void)state;
  wg_buf b;
  wg_buf_init(&b, SIZE_MAX);
  wg_buf_put(&b, "abc", 3);
  assert_null(wg_buf_reserve(&b, SIZE_MAX - 2));
  assert_true(b.failed);
  wg_buf_clear(&b);
  wg_buf_init(&(wg_buf){0}, 0);
  wg_buf_release(&b);
  wg_reader r = wg_reader_of("abc", 3);
  assert_null(wg_take_bytes(&r, SIZE_MAX));
  assert_true(r.failed);
}

static void consume_frees_room_at_the_front(void **state) {
  (void)state;
  wg_buf b;
  wg_buf_init(&b, 64);
  unsigned char expect = 0, put = 0;
  for (int round = 0; round < 1000; round++) {
    for (int i = 0; i < 40; i++) wg_buf_put_u8(&b, put++);
    for (int i = 0; i < 40; i++) {
      assert_int_equal(*wg_buf_head(&b), expect++);
      wg_buf_consume(&b, 1);
    }
  }
  assert_false(b.failed);
  assert_true(b.cap <= 64);
  wg_buf_consume(&b, 1);
  assert_true(b.failed);
  wg_buf_release(&b);
}

static void consume_part_keeps_the_rest(void **state) {
  (void)state;
  wg_buf b;
  wg_buf_init(&b, 128);
  for (int i = 0; i < 100; i++) wg_buf_put_u8(&b, (uint8_t)i);
  wg_buf_consume(&b, 90);
  for (int i = 100; i < 200; i++) wg_buf_put_u8(&b, (uint8_t)i);
  assert_int_equal(wg_buf_len(&b), 110);
  for (int i = 90; i < 200; i++) assert_int_equal(wg_buf_head(&b)[i - 90], i);
  wg_buf_release(&b);
}

static void patch_checks_its_place(void **state) {
  (void)state;
  wg_buf b;
  wg_buf_init(&b, 64);
  wg_buf_put_u32(&b, 0);
  wg_buf_put_u8(&b, 7);
  wg_buf_consume(&b, 1);
  wg_buf_patch_u32(&b, 0, 0x01020304);
  assert_memory_equal(wg_buf_head(&b), "\1\2\3\4", 4);
  wg_buf_patch_u32(&b, 1, 0);
  assert_true(b.failed);
  wg_buf_release(&b);
}

static void printf_longer_than_the_stack(void **state) {
  (void)state;
  wg_buf b;
  wg_buf_init(&b, 4096);
  wg_buf_printf(&b, "%0*d", 2000, 7);
  assert_int_equal(wg_buf_len(&b), 2000);
  assert_int_equal(wg_buf_head(&b)[1999], '7');
  wg_buf_printf(&b, "%0*d", 3000, 7);
  assert_true(b.failed);
  wg_buf_release(&b);
}

static void reader_is_sticky(void **state) {
  (void)state;
  wg_reader r = wg_reader_of("\1\2\3", 3);
  assert_int_equal(wg_take_u32(&r), 0);
  assert_true(r.failed);
  assert_int_equal(wg_take_u8(&r), 0);
  assert_null(wg_take_cstr(&r));
  r = wg_reader_of("no end", 6);
  assert_null(wg_take_cstr(&r));
  assert_true(r.failed);
  r = wg_reader_of(NULL, 0);
  assert_non_null(wg_take_bytes(&r, 0));
  assert_false(r.failed);
  assert_int_equal(wg_take_u8(&r), 0);
  assert_true(r.failed);
}

static void leb_numbers(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len;
    uint32_t value;
    bool ok;
  } cases[] = {{"\x00", 1, 0, true},
               {"\x7f", 1, 127, true},
               {"\x80\x01", 2, 128, true},
               {"\xff\xff\xff\xff\x0f", 5, UINT32_MAX, true},
               {"\xff\xff\xff\xff\x1f", 5, 0, false},
               {"\x80\x80\x80\x80\x80\x00", 6, 0, false},
               {"\x80", 1, 0, false},
               {"", 0, 0, false}};
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    wg_reader r = wg_reader_of(cases[i].bytes, cases[i].len);
    assert_int_equal(wg_take_leb(&r), cases[i].value);
    assert_int_equal(r.failed, !cases[i].ok);
    if (!cases[i].ok) continue;
    wg_buf b;
    wg_buf_init(&b, 16);
    wg_buf_put_leb(&b, cases[i].value);
    assert_int_equal(wg_buf_len(&b), cases[i].len);
    assert_memory_equal(wg_buf_head(&b), cases[i].bytes, cases[i].len);
    wg_buf_release(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(put_and_take_are_inverse),
      cmocka_unit_test(network_order),
      cmocka_unit_test(cap_is_hard_and_sticky),
      cmocka_unit_test(huge_sizes_do_not_overflow),
      cmocka_unit_test(consume_frees_room_at_the_front),
      cmocka_unit_test(consume_part_keeps_the_rest),
      cmocka_unit_test(patch_checks_its_place),
      cmocka_unit_test(printf_longer_than_the_stack),
      cmocka_unit_test(reader_is_sticky),
      cmocka_unit_test(leb_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
