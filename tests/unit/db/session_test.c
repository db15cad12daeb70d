/* SPDX-License-Identifier: Apache-2.0 */
/* US-112, US-113: a guest's session: bytes pass unchanged, handles are its own, and whatever
 * happens to the server it is told. */
#include "db/db_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_open_query_close(void **state) {
  (void)state;
  db_fixture f;
  db_fixture_init(&f);
  f.mock.auth = MOCK_SCRAM;
  db_fixture_start(&f);
  uint64_t h = db_open(&f, f.guest);
  char pid[16];
  db_ask(&f, f.guest, h, "PID", pid, sizeof pid);
  assert_string_equal(pid, "1");
  assert_int_equal(wg_db_close(f.guest, h, NULL), WG_OK);
  db_run_until_stats(&f, 0, 1, 1);
  assert_int_equal(f.mock.resets, 1);
  db_fixture_stop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_open_query_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
