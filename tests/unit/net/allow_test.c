/* SPDX-License-Identifier: Apache-2.0 */
/* `[net] allow`: what is a rule, what it covers, and for how long a name's addresses are allowed. */
#include "net/allow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static wg_allow_rule rule(const char *text) {
  wg_allow_rule r;
  wg_error err = {0};
  if (wg_allow_parse(text, strlen(text), &r, &err) != WG_OK) fail_msg("%s: %s", text, err.msg);
  return r;
}

static wg_dns_addr address(const char *text) {
  wg_dns_addr a;
  if (!wg_dns_literal(text, strlen(text), &a)) fail_msg("%s", text);
  return a;
}

static bool covers(const char *rule_text, const char *to, uint16_t port) {
  wg_allow_rule r = rule(rule_text);
  wg_dns_addr a = address(to);
  return wg_allow_address((wg_allow){&r, 1}, &a, port);
}

static bool names(const char *rule_text, const char *to, uint16_t port) {
  wg_allow_rule r = rule(rule_text);
  wg_dns_name name;
  const char *why;
  if (!wg_dns_normalise(to, strlen(to), &name, &why)) fail_msg("%s", to);
  return wg_allow_name((wg_allow){&r, 1}, &name, port);
}

static void rules_are_names_addresses_and_networks(void **state) {
  (void)state;
  static const struct {
    const char *text, *shown; /* a name or an address */
    wg_allow_kind kind;
    uint8_t bits;
    uint16_t port;
  } good[] = {
      {"api.example.com:443", "api.example.com", WG_ALLOW_NAME, 0, 443},
      {"API.Example.COM.:443", "api.example.com", WG_ALLOW_NAME, 0, 443},
      {"_x.example:1", "_x.example", WG_ALLOW_NAME, 0, 1},
      {"host:*", "host", WG_ALLOW_NAME, 0, 0},
      {"*.example.com:443", "example.com", WG_ALLOW_BELOW, 0, 443},
      {"*.com:*", "com", WG_ALLOW_BELOW, 0, 0},
      {"192.0.2.7:80", "192.0.2.7", WG_ALLOW_NETWORK, 32, 80},
      {"10.0.0.0/8:5432", "10.0.0.0", WG_ALLOW_NETWORK, 8, 5432},
      {"0.0.0.0/0:65535", "0.0.0.0", WG_ALLOW_NETWORK, 0, 65535},
      {"127.0.0.1:*", "127.0.0.1", WG_ALLOW_NETWORK, 32, 0},
      {"[2001:db8::]/32:443", "2001:db8::", WG_ALLOW_NETWORK, 32, 443},
      {"[2001:DB8::1]:443", "2001:db8::1", WG_ALLOW_NETWORK, 128, 443},
      {"[::]/0:1", "::", WG_ALLOW_NETWORK, 0, 1},
      {"[fe80::]/10:*", "fe80::", WG_ALLOW_NETWORK, 10, 0},
  };
  for (size_t i = 0; i < WG_COUNT(good); i++) {
    wg_allow_rule r = rule(good[i].text);
    char shown[46];
    wg_dns_addr_text(&r.network, shown);
    assert_int_equal(r.kind, good[i].kind);
    assert_int_equal(r.port, good[i].port);
    assert_int_equal(r.bits, good[i].bits);
    assert_string_equal(r.kind == WG_ALLOW_NETWORK ? shown : r.name.text, good[i].shown);
  }
}

static void what_is_no_rule_says_what_to_write(void **state) {
  (void)state;
  static const struct {
    const char *text, *message, *hint;
  } bad[] = {
      {"", "a rule of 'allow' is empty", "write HOST:PORT"},
      {"api.example.com", "'api.example.com' has no port",
       "write api.example.com:443, or api.example.com:* for all ports"},
      {"10.0.0.0/8", "'10.0.0.0/8' has no port", "write 10.0.0.0/8:443"},
      {"2001:db8::1", "'2001:db8::1' has no port", "write [2001:db8::1]:443"},
      {"[2001:db8::1]", "'[2001:db8::1]' has no port", "write [2001:db8::1]:443"},
      {"2001:db8::/32:443", "has more than one ':'", "needs brackets"},
      {"api:443:444", "has more than one ':'", NULL},
      {"api:", "'api:' has no port from 1 to 65535", "write api:443"},
      {"api:0", "has no port from 1 to 65535", "write api:443"},
      {"api:65536", "has no port from 1 to 65535", "write api:443"},
      {"api:4294967739", "has no port from 1 to 65535", NULL},
      {"api:-1", "has no port from 1 to 65535", NULL},
      {"api:+80", "has no port from 1 to 65535", NULL},
      {"api:080", "has no port from 1 to 65535", NULL},
      {"api:8 0", "has no port from 1 to 65535", NULL},
      {"api:http", "has no port from 1 to 65535", NULL},
      {"api:**", "has no port from 1 to 65535", NULL},
      {"[::1]:", "has no port from 1 to 65535", "write [::1]:443"},
      {"https://api.example.com", "is a URL", "without scheme and path"},
      {"api.example.com/v1:443", "the host name 'api.example.com/v1'", "without scheme and path"},
      {":443", "the host name '' is empty", "write api.example.com:443"},
      {"*:443", "the host name '*'", "write *.example.com:443 for all names below one"},
      {"*.:443", "the host name '*.'", NULL},
      {"**.example.com:443", "the host name '**.example.com'", "first labels of a name only"},
      {"a.*.com:443", "the host name 'a.*.com'", "first labels of a name only"},
      {"*example.com:443", "the host name '*example.com'", "first labels of a name only"},
      {"exa mple.com:443", "has a character that no host name has", NULL},
      {"\xff\xfe:443", "has a character that no host name has", NULL},
      {"a..b:443", "has an empty label", NULL},
      {"127.1:80", "is a number, not a name or an IP address in its usual form", NULL},
      {"0x7f.0.0.1:80", "is a number", NULL},
      {"017700000001:80", "is a number", NULL},
      {"256.0.0.1:80", "is a number", NULL},
      {"10.0.0.0/33:80", "has no length of a prefix behind '/'", "from 0 to 32"},
      {"10.0.0.0/:80", "has no length of a prefix behind '/'", "from 0 to 32"},
      {"10.0.0.0/08:80", "has no length of a prefix behind '/'", NULL},
      {"10.0.0.0/-1:80", "has no length of a prefix behind '/'", NULL},
      {"10.0.0.0/99999999999:80", "has no length of a prefix behind '/'", NULL},
      {"[2001:db8::]/129:80", "has no length of a prefix behind '/'", "from 0 to 128"},
      {"10.1.2.3/8:80", "'10.1.2.3/8' has bits behind its prefix", "write 10.0.0.0/8"},
      {"[2001:db8::1]/32:80", "has bits behind its prefix", "write [2001:db8::]/32"},
      {"[::ffff:10.0.0.1]:80", "is IPv4 in the form of IPv6", "write 10.0.0.1/32"},
      {"[::ffff:10.0.0.0]/104:80", "is IPv4 in the form of IPv6", "write 10.0.0.0/8"},
      {"240.77.0.0/16:5432", "is among the addresses that stand for databases", "[databases.NAME]"},
      {"240.77.3.4:*", "is among the addresses that stand for databases", NULL},
      {"[100::7]:5432", "is among the addresses that stand for databases", NULL},
      {"[100::]/64:5432", "is among the addresses that stand for databases", NULL},
      {"[]:80", "has no IPv6 address in its brackets", "write [2001:db8::1]:443"},
      {"[10.0.0.1]:80", "has no IPv6 address in its brackets", NULL},
      {"[::1", "has no IPv6 address in its brackets", NULL},
      {"[::1%eth0]:80", "has no IPv6 address in its brackets", NULL},
      {"[2001:db8::/32]:80", "has no IPv6 address in its brackets", "[2001:db8::]/32:443"},
      {"[::1]80", "has something else than '/' or ':' behind ']'", NULL},
      {"[::1]x:80", "has something else than '/' or ':' behind ']'", NULL},
  };
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    wg_allow_rule r;
    wg_error err = {0};
    if (wg_allow_parse(bad[i].text, strlen(bad[i].text), &r, &err) != WG_INVALID)
      fail_msg("'%s' is taken", bad[i].text);
    if (!strstr(err.msg, bad[i].message) || (bad[i].hint && !strstr(err.hint, bad[i].hint)))
      fail_msg("'%s': %s; %s", bad[i].text, err.msg, err.hint);
  }
  wg_allow_rule r;
  wg_error err = {0};
  assert_int_equal(wg_allow_parse("a\0b:80", 6, &r, &err), WG_INVALID);
  assert_non_null(strstr(err.msg, "has a NUL character"));
  char huge[4096];
  memset(huge, 'a', sizeof huge);
  assert_int_equal(wg_allow_parse(huge, sizeof huge, &r, &err), WG_INVALID);
  assert_non_null(strstr(err.msg, "is longer than a host name and a port"));
}

static void names_hold_for_themselves_or_all_below(void **state) {
  (void)state;
  assert_true(names("api.example.com:443", "API.example.com.", 443));
  assert_false(names("api.example.com:443", "api.example.com", 444));
  assert_false(names("api.example.com:443", "x.api.example.com", 443));
  assert_false(names("api.example.com:443", "example.com", 443));
  assert_true(names("api.example.com:*", "api.example.com", 1));
  assert_true(names("*.example.com:443", "a.example.com", 443));
  assert_true(names("*.example.com:443", "a.b.example.com", 443));
  assert_false(names("*.example.com:443", "example.com", 443));
  assert_false(names("*.example.com:443", "notexample.com", 443));
  assert_false(names("*.example.com:443", "example.com.evil.org", 443));
  assert_false(names("0.0.0.0/0:443", "a.example.com", 443));
  assert_false(wg_allow_name((wg_allow){NULL, 0}, NULL, 443));
}

static void networks_hold_by_their_prefix(void **state) {
  (void)state;
  assert_true(covers("10.0.0.0/8:5432", "10.255.0.1", 5432));
  assert_false(covers("10.0.0.0/8:5432", "11.0.0.1", 5432));
  assert_false(covers("10.0.0.0/8:5432", "10.0.0.1", 5433));
  assert_true(covers("10.0.0.0/9:*", "10.127.0.1", 1));
  assert_false(covers("10.0.0.0/9:*", "10.128.0.1", 1));
  assert_true(covers("192.0.2.7:80", "192.0.2.7", 80));
  assert_false(covers("192.0.2.7:80", "192.0.2.6", 80));
  assert_true(covers("0.0.0.0/0:80", "198.51.100.1", 80));
  assert_false(covers("0.0.0.0/0:80", "2001:db8::1", 80));
  assert_true(covers("[2001:db8::]/33:443", "2001:db8:7fff::1", 443));
  assert_false(covers("[2001:db8::]/33:443", "2001:db8:8000::1", 443));
  assert_false(covers("api.example.com:443", "10.0.0.1", 443));
}

static void mapped_addresses_are_judged_as_ipv4(void **state) {
  (void)state;
  assert_true(covers("10.0.0.0/8:80", "::ffff:10.0.0.1", 80));
  assert_false(covers("[::]/0:80", "::ffff:10.0.0.1", 80));
  assert_false(covers("[::]/0:80", "::ffff:127.0.0.1", 80));
  assert_false(covers("0.0.0.0/0:80", "::ffff:169.254.169.254", 80));
  assert_true(covers("127.0.0.0/8:80", "::ffff:127.0.0.1", 80));
}

/** The places of this machine and of its cloud: nobody opens them by the way. */
static void special_addresses_need_a_rule_of_their_own(void **state) {
  (void)state;
  static const char *const special[] = {"0.0.0.0",
                                        "0.1.2.3",
                                        "127.0.0.1",
                                        "127.255.255.255",
                                        "169.254.169.254",
                                        "169.254.0.1",
                                        "100.100.100.200",
                                        "168.63.129.16",
                                        "192.0.0.192",
                                        "224.0.0.1",
                                        "240.0.0.1",
                                        "255.255.255.255",
                                        "::",
                                        "::1",
                                        "::127.0.0.1",
                                        "fe80::1",
                                        "fec0::1",
                                        "ff02::1",
                                        "fd00:ec2::254",
                                        "fd20:ce::254",
                                        "::ffff:127.0.0.1",
                                        "::ffff:169.254.169.254",
                                        "64:ff9b::169.254.169.254",
                                        "64:ff9b::127.0.0.1",
                                        "2002:7f00:1::",
                                        "2002:a9fe:a9fe::1"};
  for (size_t i = 0; i < WG_COUNT(special); i++) {
    wg_dns_addr a = address(special[i]);
    if (!wg_allow_special(&a) || wg_allow_resolved(&a)) fail_msg("%s", special[i]);
    if (covers("0.0.0.0/0:*", special[i], 80) || covers("[::]/0:*", special[i], 80))
      fail_msg("all networks hold %s", special[i]);
  }
  static const char *const usual[] = {"10.0.0.1",        "192.168.1.1",   "172.16.0.1",
                                      "198.51.100.1",    "8.8.8.8",       "100.64.0.1",
                                      "2001:db8::1",     "fd12:3456::1",  "64:ff9b::8.8.8.8",
                                      "2002:808:808::1", "::ffff:8.8.8.8"};
  for (size_t i = 0; i < WG_COUNT(usual); i++) {
    wg_dns_addr a = address(usual[i]);
    if (wg_allow_special(&a)) fail_msg("%s", usual[i]);
  }
  assert_true(covers("127.0.0.1:80", "127.0.0.1", 80));
  assert_true(covers("127.0.0.0/8:80", "127.0.0.2", 80));
  assert_true(covers("169.254.169.254:80", "169.254.169.254", 80));
  assert_false(covers("169.254.0.0/15:80", "169.254.169.254", 80));
  assert_true(covers("[::1]:80", "::1", 80));
  assert_true(covers("[fe80::]/10:80", "fe80::1", 80));
  assert_true(covers("[64:ff9b::7f00:1]:80", "64:ff9b::127.0.0.1", 80));
  assert_false(covers("[64:ff9b::]/96:80", "64:ff9b::127.0.0.1", 80));
  assert_true(covers("[64:ff9b::]/96:80", "64:ff9b::8.8.8.8", 80));
}

static void sentinels_are_under_no_rule(void **state) {
  (void)state;
  assert_false(covers("240.0.0.0/4:*", "240.77.0.9", 5432));
  assert_false(covers("240.0.0.0/4:*", "::ffff:240.77.0.9", 5432));
  assert_true(covers("240.0.0.0/4:*", "240.78.0.9", 5432));
  assert_false(covers("[100::]/32:*", "100::9", 5432));
}

/* ---- what an instance learned ---- */

typedef struct fixture {
  wg_allow_rule rules[3];
  wg_allow allow;
  wg_allow_memory memory;
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  f->rules[0] = rule("api.example.com:443");
  f->rules[1] = rule("*.example.org:*");
  f->rules[2] = rule("10.0.0.0/8:5432");
  f->allow = (wg_allow){f->rules, 3};
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  wg_allow_memory_release(&f->memory);
  free(f);
  return 0;
}

static void learn(fixture *f, const char *name, const char *to, uint32_t ttl_s, uint64_t now_ms) {
  wg_dns_addr a = address(to);
  wg_allow_learn(&f->memory, f->allow, name, strlen(name), &a, 1, ttl_s, now_ms);
}

static bool learned(const fixture *f, const char *to, uint16_t port, uint64_t now_ms) {
  wg_dns_addr a = address(to);
  return wg_allow_learned(&f->memory, f->allow, &a, port, now_ms);
}

static void a_names_addresses_hold_for_its_ports_until_their_time_is_over(void **state) {
  fixture *f = *state;
  assert_false(learned(f, "198.51.100.1", 443, 1000));
  learn(f, "API.example.com.", "198.51.100.1", 30, 1000);
  assert_true(learned(f, "198.51.100.1", 443, 1000));
  assert_true(learned(f, "::ffff:198.51.100.1", 443, 1000));
  assert_false(learned(f, "198.51.100.1", 444, 1000));
  assert_false(learned(f, "198.51.100.2", 443, 1000));
  assert_true(learned(f, "198.51.100.1", 443, 1000 + 90 * 1000 - 1));
  assert_false(learned(f, "198.51.100.1", 443, 1000 + 90 * 1000));
  learn(f, "x.example.org", "198.51.100.2", 0, 1000);
  assert_true(learned(f, "198.51.100.2", 22, 60 * 1000));
  assert_false(learned(f, "198.51.100.2", 22, 61 * 1000));
  learn(f, "other.example.com", "198.51.100.3", 30, 1000);
  assert_false(learned(f, "198.51.100.3", 443, 1000));
}

/** Whoever answers for an allowed name must not lead guests to this machine: DNS rebinding. */
static void a_name_never_leads_to_special_addresses(void **state) {
  fixture *f = *state;
  static const char *const special[] = {"127.0.0.1",     "169.254.169.254",  "0.0.0.0",    "::1",
                                        "fe80::1",       "::ffff:127.0.0.1", "240.77.0.5", "100::5",
                                        "fd00:ec2::254", "64:ff9b::7f00:1"};
  for (size_t i = 0; i < WG_COUNT(special); i++) {
    learn(f, "api.example.com", special[i], 30, 1000);
    if (learned(f, special[i], 443, 1000)) fail_msg("%s", special[i]);
  }
  learn(f, "api.example.com", "10.0.0.7", 30, 1000); /* private networks are usual */
  assert_true(learned(f, "10.0.0.7", 443, 1000));
}

static void an_instance_keeps_so_many_answers_and_the_newest(void **state) {
  fixture *f = *state;
  for (int i = 0; i < 3 * WG_ALLOW_ANSWERS_MAX; i++) {
    char name[64], to[32];
    snprintf(name, sizeof name, "n%d.example.org", i);
    snprintf(to, sizeof to, "198.51.%d.%d", i / 250, i % 250);
    learn(f, name, to, 30, 1000);
    assert_true(learned(f, to, 80, 1000));
  }
  assert_int_equal(f->memory.count, WG_ALLOW_ANSWERS_MAX);
  assert_false(learned(f, "198.51.0.0", 80, 1000));
  /* The same answer again takes no second place, and those that are over give up theirs. */
  for (int i = 0; i < 10; i++) learn(f, "api.example.com", "198.51.100.1", 30, 200 * 1000);
  assert_int_equal(f->memory.count, 1);
  /* Names that no rule holds take none. */
  learn(f, "evil.example", "198.51.100.2", 30, 200 * 1000);
  assert_int_equal(f->memory.count, 1);
}

/** A name with more addresses than an answer has shows some of them at a time. */
static void answers_that_say_less_take_nothing_back(void **state) {
  fixture *f = *state;
  learn(f, "api.example.com", "198.51.100.1", 30, 1000);
  learn(f, "api.example.com", "198.51.100.2", 30, 2000);
  assert_true(learned(f, "198.51.100.1", 443, 3000));
  assert_true(learned(f, "198.51.100.2", 443, 3000));
}

static void a_refusal_can_name_what_was_asked(void **state) {
  fixture *f = *state;
  size_t len = 0;
  wg_dns_addr a = address("198.51.100.9");
  assert_null(wg_allow_asked(&f->memory, &a, &len));
  learn(f, "Other.example.com", "198.51.100.9", 30, 1000);
  const char *name = wg_allow_asked(&f->memory, &a, &len);
  assert_non_null(name);
  assert_int_equal(len, strlen("Other.example.com"));
  assert_memory_equal(name, "Other.example.com", len);
  learn(f, "api.example.com", "198.51.100.9", 30, 1000);
  name = wg_allow_asked(&f->memory, &a, &len);
  assert_memory_equal(name, "api.example.com", len);
  char huge[400];
  memset(huge, 'a', sizeof huge);
  wg_allow_learn(&f->memory, f->allow, huge, sizeof huge, &a, 1, 30, 1000);
  wg_allow_learn(&f->memory, f->allow, NULL, 0, &a, 1, 30, 1000);
  wg_allow_learn(&f->memory, f->allow, "x", 1, NULL, 0, 30, 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rules_are_names_addresses_and_networks),
      cmocka_unit_test(what_is_no_rule_says_what_to_write),
      cmocka_unit_test(names_hold_for_themselves_or_all_below),
      cmocka_unit_test(networks_hold_by_their_prefix),
      cmocka_unit_test(mapped_addresses_are_judged_as_ipv4),
      cmocka_unit_test(special_addresses_need_a_rule_of_their_own),
      cmocka_unit_test(sentinels_are_under_no_rule),
      cmocka_unit_test_setup_teardown(a_names_addresses_hold_for_its_ports_until_their_time_is_over,
                                      setup, teardown),
      cmocka_unit_test_setup_teardown(a_name_never_leads_to_special_addresses, setup, teardown),
      cmocka_unit_test_setup_teardown(an_instance_keeps_so_many_answers_and_the_newest, setup,
                                      teardown),
      cmocka_unit_test_setup_teardown(answers_that_say_less_take_nothing_back, setup, teardown),
      cmocka_unit_test_setup_teardown(a_refusal_can_name_what_was_asked, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
