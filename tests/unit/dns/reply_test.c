/* SPDX-License-Identifier: Apache-2.0 */
/* Replies that a name server need not have sent in good faith, and how much of them is kept. */
#include "dns/cache.h"
#include "dns/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/** A reply to a question for "q.example", written record by record. */
typedef struct reply {
  uint8_t bytes[65535];
  size_t n;
  unsigned answers;
} reply;

static void put(reply *r, const void *p, size_t n) {
  assert_true(r->n + n <= sizeof r->bytes);
  memcpy(r->bytes + r->n, p, n);
  r->n += n;
}
static void put16(reply *r, unsigned v) { put(r, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2); }

/** "a.b" as labels. */
static void put_name(reply *r, const char *name) {
  while (*name) {
    size_t n = strcspn(name, ".");
    put(r, &(uint8_t){(uint8_t)n}, 1);
    put(r, name, n);
    name += n + (name[n] == '.');
  }
  put(r, "", 1);
}

static void begin(reply *r) {
  *r = (reply){.n = 0};
  put(r, (uint8_t[]){0, 1, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, 12);
  put_name(r, "q.example");
  put16(r, WG__RR_A);
  put16(r, 1);
}

static void owner(reply *r, const char *name, uint16_t type) {
  put_name(r, name);
  put16(r, type);
  put16(r, 1);
  put16(r, 0);
  put16(r, 60);
  r->bytes[6] = (uint8_t)(++r->answers >> 8);
  r->bytes[7] = (uint8_t)r->answers;
}

static void cname(reply *r, const char *name, const char *to) {
  owner(r, name, WG__RR_CNAME);
  put16(r, (unsigned)strlen(to) + 2);
  put_name(r, to);
}

static void address(reply *r, const char *name) {
  owner(r, name, WG__RR_A);
  put16(r, 4);
  put(r, (uint8_t[]){192, 0, 2, 7}, 4);
}

static size_t addresses(const reply *r) {
  wg_dns_addr out[64];
  uint32_t ttl = 30;
  size_t count;
  bool good = wg__reply_addresses(r->bytes, r->n, WG__RR_A, out, 64, &count, &ttl);
  assert_true(good || count == 0);
  return count;
}

static void aliases_may_come_in_any_order(void **state) {
  (void)state;
  static reply r;
  begin(&r);
  address(&r, "n12.example");
  for (int i = 12; i > 1; i--) {
    char from[32], to[32];
    snprintf(from, sizeof from, "n%d.example", i - 1);
    snprintf(to, sizeof to, "n%d.example", i);
    cname(&r, from, to);
  }
  cname(&r, "Q.Example", "n1.example");
  assert_int_equal(addresses(&r), 1);
}

static void a_loop_of_aliases_has_no_end(void **state) {
  (void)state;
  static reply r;
  begin(&r);
  cname(&r, "q.example", "a.example");
  cname(&r, "a.example", "q.example");
  address(&r, "a.example");
  assert_int_equal(addresses(&r), 0);
}

/* Each step of a chain looks at all of them. */
static void too_many_aliases_are_no_answer(void **state) {
  (void)state;
  static reply r;
  begin(&r);
  address(&r, "q.example");
  for (int i = 0; i < 200; i++) cname(&r, "other.example", "another.example");
  assert_int_equal(addresses(&r), 0);
}

/* Owners of other types are passed over, however they are written. */
static void names_of_no_interest_are_not_followed(void **state) {
  (void)state;
  static reply r;
  begin(&r);
  for (int i = 0; i < 1000; i++) {
    put(&r, (uint8_t[]){0xc0, 0xff}, 2); /* points into nowhere of interest */
    put16(&r, WG__RR_TXT);
    put16(&r, 1);
    put16(&r, 0);
    put16(&r, 60);
    put16(&r, 1);
    put(&r, "", 1);
    r.answers++;
  }
  address(&r, "q.example");
  assert_int_equal(addresses(&r), 1);
  r.n -= 3; /* the address is cut */
  assert_int_equal(addresses(&r), 0);
}

static void long_texts_are_given_and_not_kept(void **state) {
  (void)state;
  static const char text[WG__DNS_TEXT_KEPT_MAX + 1];
  wg__dns_cache c;
  wg_error err;
  wg_dns_name name;
  const char *why;
  const uint32_t ttl = 30;
  assert_true(wg_dns_normalise("a.example", 9, &name, &why));
  assert_int_equal(wg__dns_cache_init(&c, 8, &err), WG_OK);
  for (size_t more = 0; more < 2; more++) {
    wg__dns_payload *p =
        wg__dns_payload_records(&ttl, 1, text, (size_t)WG__DNS_TEXT_KEPT_MAX + more);
    wg__dns_entry *e = wg__dns_cache_put(&c, WG__DNS_TXT, &name, p);
    assert_int_equal(e != NULL, more == 0);
    assert_ptr_equal(wg__dns_cache_find(&c, WG__DNS_TXT, &name), e);
    wg__dns_payload_unref(p);
  }
  wg__dns_cache_release(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(aliases_may_come_in_any_order),
      cmocka_unit_test(a_loop_of_aliases_has_no_end),
      cmocka_unit_test(too_many_aliases_are_no_answer),
      cmocka_unit_test(names_of_no_interest_are_not_followed),
      cmocka_unit_test(long_texts_are_given_and_not_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
