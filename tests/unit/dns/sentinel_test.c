/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/sentinel.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static char domain[] = "warp.local", main_name[] = "main", other_name[] = "other",
            third_name[] = "third", db1[] = "db1.example", db2[] = "db2.example", v4[] = "10.0.0.1",
            v6[] = "fd00::1", local[] = "localhost";

static wg_config config_of(wg_database_config *databases, size_t count) {
  return (wg_config){
      .shims = WG_SHIM_ALL, .databases = databases, .database_count = count, .dns_domain = domain};
}

static void a_host_has_one_sentinel_of_each_family(void **state) {
  (void)state;
  wg_database_config databases[] = {{.name = main_name, .host = db1, .port = 5432},
                                    {.name = other_name, .host = db2, .port = 5432},
                                    {.name = third_name, .host = db1, .port = 6379}};
  wg_config c = config_of(databases, 3);
  uint8_t a[16], b[16], same[16], six[16];
  assert_true(wg_dns_sentinel(&c, 0, AF_INET, a));
  assert_true(wg_dns_sentinel(&c, 1, AF_INET, b));
  assert_true(wg_dns_sentinel(&c, 2, AF_INET, same));
  assert_int_equal(a[0], 240);
  assert_int_equal(a[1], 77);
  assert_memory_equal(a, same, 4);
  assert_memory_not_equal(a, b, 4);
  assert_true(wg_dns_sentinel(&c, 0, AF_INET6, six));
  const uint8_t prefix[8] = {0x01, 0, 0, 0, 0, 0, 0, 0};
  assert_memory_equal(six, prefix, sizeof prefix);
  assert_memory_equal(six + 14, a + 2, 2);
  assert_false(wg_dns_sentinel(&c, 3, AF_INET, a));
}

static void an_address_says_its_place(void **state) {
  (void)state;
  wg_database_config databases[] = {{.name = main_name, .host = db1, .port = 5432}};
  wg_config c = config_of(databases, 1);
  uint16_t host, own;
  assert_int_equal(wg_dns_sentinel_places(&c, &host, &own, NULL), WG_OK);
  wg_dns_addr four = {.family = 4}, six = {.family = 6};
  assert_true(wg_dns_sentinel_at(host, AF_INET, four.bytes));
  assert_true(wg_dns_sentinel_at(own, AF_INET6, six.bytes));
  assert_int_equal(wg_dns_sentinel_place(&four), host);
  assert_int_equal(wg_dns_sentinel_place(&six), own);
  assert_true(wg_dns_in_sentinels(&four) && wg_dns_in_sentinels(&six));
  six.bytes[9] = 1; /* of the network, but given to nobody */
  assert_int_equal(wg_dns_sentinel_place(&six), 0);
  assert_true(wg_dns_in_sentinels(&six));
  six.bytes[7] = 1;
  assert_false(wg_dns_in_sentinels(&six));
  four.bytes[1] = 78;
  assert_int_equal(wg_dns_sentinel_place(&four), 0);
  assert_false(wg_dns_in_sentinels(&four));
  assert_int_equal(wg_dns_sentinel_place(&(wg_dns_addr){4, {240, 77}}), 0);
}

static void it_outlives_changes_of_the_configuration(void **state) {
  (void)state;
  wg_database_config before[] = {{.name = main_name, .host = db1}},
                     after[] = {{.name = other_name, .host = db2},
                                {.name = main_name, .host = db1}};
  wg_config old = config_of(before, 1), new = config_of(after, 2);
  uint8_t a[16], b[16];
  assert_true(wg_dns_sentinel(&old, 0, AF_INET6, a));
  assert_true(wg_dns_sentinel(&new, 1, AF_INET6, b));
  assert_memory_equal(a, b, 16);
  assert_true(wg_dns_sentinel_own(&old, 0, AF_INET6, a));
  assert_true(wg_dns_sentinel_own(&new, 1, AF_INET6, b));
  assert_memory_equal(a, b, 16);
}

static void addresses_and_localhost_stay_themselves(void **state) {
  (void)state;
  wg_database_config databases[] = {{.name = main_name, .host = v4},
                                    {.name = other_name, .host = v6},
                                    {.name = third_name, .host = local}};
  wg_config c = config_of(databases, 3);
  uint8_t out[16], seen[3][16];
  for (size_t i = 0; i < 3; i++) {
    assert_false(wg_dns_sentinel(&c, i, AF_INET, out));
    assert_true(wg_dns_sentinel_own(&c, i, AF_INET, seen[i]));
  }
  assert_memory_not_equal(seen[0], seen[1], 4);
  assert_memory_not_equal(seen[1], seen[2], 4);
}

/* Of 600 names in 65,534 places some fall on one: each still has its own. */
static void no_two_hosts_share_one(void **state) {
  (void)state;
  enum { HOSTS = 600 };
  static char names[HOSTS][16];
  static wg_database_config databases[HOSTS];
  static bool seen[65536];
  for (size_t i = 0; i < HOSTS; i++) {
    snprintf(names[i], sizeof names[i], "h%zu.example", i);
    databases[i] = (wg_database_config){.name = names[i], .host = names[i]};
  }
  wg_config c = config_of(databases, HOSTS);
  for (size_t i = 0; i < 2 * (size_t)HOSTS; i++) {
    uint8_t a[16];
    assert_true((i < HOSTS ? wg_dns_sentinel : wg_dns_sentinel_own)(&c, i % HOSTS, AF_INET, a));
    unsigned place = (unsigned)a[2] << 8 | a[3];
    assert_true(place != 0 && place != 65535);
    assert_false(seen[place]);
    seen[place] = true;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_host_has_one_sentinel_of_each_family),
      cmocka_unit_test(an_address_says_its_place),
      cmocka_unit_test(it_outlives_changes_of_the_configuration),
      cmocka_unit_test(addresses_and_localhost_stay_themselves),
      cmocka_unit_test(no_two_hosts_share_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
