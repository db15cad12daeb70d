/* SPDX-License-Identifier: Apache-2.0 */
/* US-204: gethostbyname(), gethostbyaddr() and getnameinfo(). */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

/** The addresses of a name as one line; its h_errno if it has none. */
static const char *host(const char *name) {
  static char text[1024];
  h_errno = 0;
  const struct hostent *h = gethostbyname(name);
  snprintf(text, sizeof text, "h_errno %d", h_errno);
  if (!h) return text;
  CHECK_INT(h->h_addrtype, AF_INET);
  CHECK_INT(h->h_length, 4);
  CHECK(h->h_aliases && !h->h_aliases[0]);
  snprintf(text, sizeof text, "%s", h->h_name);
  for (char **a = h->h_addr_list; *a; a++) {
    char address[INET_ADDRSTRLEN] = "?";
    inet_ntop(AF_INET, *a, address, sizeof address);
    snprintf(text + strlen(text), sizeof text - strlen(text), " %s", address);
  }
  return text;
}

static const char *trouble(int error) {
  static char text[32];
  snprintf(text, sizeof text, "h_errno %d", error);
  return text;
}

static void us_204_gethostbyname_knows_warpgrid(void) {
  CHECK_TEXT(host("cache.staging.warp.local"), "cache.staging.warp.local 192.0.2.20");
  const char *text = host("db.production.warp.local");
  CHECK(strcmp(text, "db.production.warp.local 192.0.2.10 192.0.2.11") == 0 ||
        strcmp(text, "db.production.warp.local 192.0.2.11 192.0.2.10") == 0);
  CHECK_TEXT(host("six.warp.local"), trouble(NO_DATA));
  CHECK_TEXT(host("nobody.warp.local"), trouble(HOST_NOT_FOUND));
}

static void us_204_gethostbyname_asks_the_shim(void) {
  CHECK_TEXT(host("one.mock"), "one.mock 192.0.2.1");
  CHECK_TEXT(host("both.mock"), "both.mock 192.0.2.1 192.0.2.3");
  CHECK_TEXT(host("later.mock"), trouble(TRY_AGAIN));
  CHECK_TEXT(host("no-memory.mock"), trouble(NO_RECOVERY));
  gethostbyname("many.mock");
  const struct hostent *h = gethostbyname("many.mock");
  int n = 0;
  while (h && h->h_addr_list[n]) n++;
  CHECK_INT(n, 48);
}

static void us_204_gethostbyname_elsewhere(void) {
  CHECK_TEXT(host("localhost"), "localhost 127.0.0.1");
  CHECK_TEXT(host("192.0.2.9"), "192.0.2.9 192.0.2.9");
  CHECK_TEXT(host("no.such.name.invalid"), trouble(HOST_NOT_FOUND));
  char longest[400];
  memset(longest, 'a', sizeof longest - 1);
  longest[sizeof longest - 1] = '\0';
  CHECK_TEXT(host(longest), trouble(HOST_NOT_FOUND));
}

static void us_204_gethostbyname_of_nothing(void) { CHECK(!gethostbyname(NULL)); }

/** What getnameinfo() says of an address: "host service", or its error. */
static const char *name_of(const char *address, int port, int flags) {
  static char text[512];
  char name[NI_MAXHOST] = "", service[NI_MAXSERV] = "";
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  int six = strchr(address, ':') != NULL;
  CHECK_INT(
      inet_pton(six ? AF_INET6 : AF_INET, address, six ? (void *)&v6.sin6_addr : &v4.sin_addr), 1);
  int error = getnameinfo(six ? (const void *)&v6 : &v4, six ? sizeof v6 : sizeof v4, name,
                          sizeof name, service, sizeof service, flags);
  if (error)
    snprintf(text, sizeof text, "error %d", error);
  else
    snprintf(text, sizeof text, "%s %s", name, service);
  return text;
}
static const char *error_text(int error) {
  static char text[32];
  snprintf(text, sizeof text, "error %d", error);
  return text;
}

static void us_204_getnameinfo_by_the_shim(void) {
  CHECK_TEXT(name_of("192.0.2.20", 80, 0), "cache.staging.warp.local http");
  CHECK_TEXT(name_of("192.0.2.20", 80, NI_NAMEREQD), "cache.staging.warp.local http");
  CHECK_TEXT(name_of("2001:db8::6", 7777, 0), "six.warp.local 7777");
  CHECK_TEXT(name_of("192.0.2.20", 80, NI_NUMERICHOST), "192.0.2.20 http");
}

static void us_204_getnameinfo_by_the_hosts_file(void) {
  CHECK_TEXT(name_of("192.0.2.30", 80, 0), "listed.warp.local http");
  CHECK_TEXT(name_of("127.0.0.1", 80, 0), "localhost http");
}

static void us_204_getnameinfo_asks_the_shim(void) {
  CHECK_TEXT(name_of("192.0.2.1", 80, NI_NAMEREQD), "one.mock http");
  CHECK_TEXT(name_of("192.0.2.2", 80, 0), "192.0.2.2 http");
  CHECK_TEXT(name_of("::ffff:192.0.2.1", 80, 0), "one.mock http");
}

static void us_204_addresses_without_a_name(void) {
  CHECK_TEXT(name_of("203.0.113.9", 80, 0), "203.0.113.9 http");
  CHECK_TEXT(name_of("203.0.113.9", 80, NI_NAMEREQD), error_text(EAI_NONAME));
  CHECK_TEXT(name_of("203.0.113.9", 7777, 0), "203.0.113.9 7777");
  CHECK_TEXT(name_of("2001:db8:9::9", 80, NI_NUMERICSERV), "2001:db8:9::9 80");
  CHECK_TEXT(name_of("203.0.113.9", 53, NI_DGRAM), "203.0.113.9 domain");
}

static void us_204_getnameinfo_and_its_arguments(void) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(80)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_scope_id = 3};
  char name[64], service[32];
  const struct sockaddr *a = (const struct sockaddr *)(const void *)&v4;
  CHECK_INT(getnameinfo(a, sizeof v4, name, 7, service, sizeof service, NI_NUMERICHOST),
            EAI_OVERFLOW);
  CHECK_INT(getnameinfo(a, sizeof v4, name, 8, service, 5, NI_NUMERICHOST), 0);
  CHECK_TEXT(name, "0.0.0.0");
  CHECK_INT(getnameinfo(a, sizeof v4, name, 8, service, 4, NI_NUMERICHOST), EAI_OVERFLOW);
  CHECK_INT(getnameinfo(a, sizeof v4, NULL, 0, service, sizeof service, 0), 0);
  CHECK_TEXT(service, "http");
  CHECK_INT(getnameinfo(a, sizeof v4, name, sizeof name, NULL, 0, NI_NUMERICHOST), 0);
  CHECK_INT(getnameinfo(a, sizeof v4, NULL, 0, NULL, 0, 0), EAI_NONAME);
  CHECK_INT(getnameinfo(a, sizeof v4 - 1, name, sizeof name, NULL, 0, 0), EAI_FAMILY);
  CHECK_INT(getnameinfo(a, sizeof v4, name, sizeof name, NULL, 0, 0x4000), EAI_BADFLAGS);
  v4.sin_family = 99;
  CHECK_INT(getnameinfo(a, sizeof v4, name, sizeof name, NULL, 0, 0), EAI_FAMILY);
  v6.sin6_addr.s6_addr[0] = 0xFE;
  v6.sin6_addr.s6_addr[1] = 0x80;
  CHECK_INT(getnameinfo((const void *)&v6, sizeof v6, name, sizeof name, NULL, 0, NI_NUMERICHOST),
            0);
  CHECK_TEXT(name, "fe80::%3");
}

static void us_204_gethostbyaddr(void) {
  struct in_addr address;
  inet_pton(AF_INET, "192.0.2.30", &address);
  const struct hostent *h = gethostbyaddr(&address, sizeof address, AF_INET);
  CHECK(h != NULL);
  if (h) {
    CHECK_TEXT(h->h_name, "listed.warp.local");
    CHECK(memcmp(h->h_addr_list[0], &address, 4) == 0);
    CHECK(!h->h_addr_list[1]);
  }
}

static void us_204_gethostbyaddr_without_a_name(void) {
  struct in_addr address;
  inet_pton(AF_INET, "203.0.113.9", &address);
  h_errno = 0;
  CHECK(!gethostbyaddr(&address, sizeof address, AF_INET));
  CHECK_INT(h_errno, HOST_NOT_FOUND);
  CHECK(!gethostbyaddr(&address, 3, AF_INET));
  CHECK_INT(h_errno, NO_RECOVERY);
}

static const struct check_test tests[] = {
    TEST(us_204_gethostbyname_knows_warpgrid, WARPGRID),
    TEST(us_204_gethostbyname_asks_the_shim, MOCK),
    TEST(us_204_gethostbyname_elsewhere, PATCHED),
    TEST(us_204_gethostbyname_of_nothing, ANYWHERE),
    TEST(us_204_getnameinfo_by_the_shim, SHIM),
    TEST(us_204_getnameinfo_by_the_hosts_file, WARPGRID),
    TEST(us_204_getnameinfo_asks_the_shim, MOCK),
    TEST(us_204_addresses_without_a_name, PATCHED),
    TEST(us_204_getnameinfo_and_its_arguments, PATCHED),
    TEST(us_204_gethostbyaddr, WARPGRID),
    TEST(us_204_gethostbyaddr_without_a_name, PATCHED),
};

int main(void) { return check_run(tests, sizeof tests / sizeof *tests); }
