/* SPDX-License-Identifier: Apache-2.0 */
/* US-203: getaddrinfo() with names of WarpGrid, and its hints. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

__attribute__((weak)) extern int mock_resolves;

/** What getaddrinfo() answered, as one line: its error, or "address:port/type ..." in order. */
static const char *ask(const char *host, const char *service, int flags, int family, int type) {
  static char text[4096];
  const struct addrinfo hints = {.ai_flags = flags, .ai_family = family, .ai_socktype = type};
  struct addrinfo *list = NULL;
  int error = getaddrinfo(host, service, &hints, &list);
  if (error) {
    snprintf(text, sizeof text, "error %d", error);
    return text;
  }
  text[0] = '\0';
  for (const struct addrinfo *a = list; a; a = a->ai_next) {
    char address[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *v4 = (const void *)a->ai_addr;
    const struct sockaddr_in6 *v6 = (const void *)a->ai_addr;
    int six = a->ai_family == AF_INET6;
    CHECK_INT(a->ai_addrlen, six ? sizeof *v6 : sizeof *v4);
    CHECK_INT(a->ai_addr->sa_family, a->ai_family);
    inet_ntop(a->ai_family, six ? (const void *)&v6->sin6_addr : &v4->sin_addr, address,
              sizeof address);
    size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, "%s%s%s%s:%d/%s", n ? " " : "", six ? "[" : "", address,
             six ? "]" : "", ntohs(six ? v6->sin6_port : v4->sin_port),
             a->ai_socktype == SOCK_STREAM ? "tcp" : "udp");
  }
  freeaddrinfo(list);
  return text;
}
static const char *tcp(const char *host, const char *service) {
  return ask(host, service, 0, AF_UNSPEC, SOCK_STREAM);
}
static const char *error_text(int error) {
  static char text[32];
  snprintf(text, sizeof text, "error %d", error);
  return text;
}

static void us_203_a_name_of_warpgrid(void) {
  /* IPv4 rotates from call to call. */
  const char *text = tcp("db.production.warp.local", "5432");
  CHECK(strcmp(text, "192.0.2.10:5432/tcp 192.0.2.11:5432/tcp [2001:db8::10]:5432/tcp") == 0 ||
        strcmp(text, "192.0.2.11:5432/tcp 192.0.2.10:5432/tcp [2001:db8::10]:5432/tcp") == 0);
  CHECK_TEXT(tcp("cache.staging.warp.local", "6379"), "192.0.2.20:6379/tcp");
  CHECK_TEXT(tcp("CACHE.Staging.Warp.Local.", "6379"), "192.0.2.20:6379/tcp");
  CHECK_TEXT(tcp("listed.warp.local", "1"), "192.0.2.30:1/tcp");
  CHECK_TEXT(tcp("nobody.warp.local", "1"), error_text(EAI_NONAME));
}

static void us_203_families_of_a_name(void) {
  CHECK_TEXT(ask("db.production.warp.local", "1", 0, AF_INET6, SOCK_STREAM),
             "[2001:db8::10]:1/tcp");
  CHECK_TEXT(ask("cache.staging.warp.local", "1", 0, AF_INET6, SOCK_STREAM),
             error_text(EAI_NONAME));
  CHECK_TEXT(ask("six.warp.local", "1", 0, AF_INET, SOCK_STREAM), error_text(EAI_NONAME));
  CHECK_TEXT(ask("cache.staging.warp.local", "1", AI_V4MAPPED, AF_INET6, SOCK_STREAM),
             "[::ffff:192.0.2.20]:1/tcp");
  CHECK_TEXT(ask("six.warp.local", "1", AI_V4MAPPED, AF_INET6, SOCK_STREAM), "[2001:db8::6]:1/tcp");
}

static void us_203_without_a_warpgrid_its_names_are_unknown(void) {
  CHECK_TEXT(tcp("db.production.warp.local", "5432"), error_text(EAI_NONAME));
}

static void us_203_the_shim_answers_first(void) {
  CHECK_TEXT(tcp("one.mock", "80"), "192.0.2.1:80/tcp");
  CHECK_TEXT(tcp("both.mock", "80"), "192.0.2.1:80/tcp [2001:db8::1]:80/tcp 192.0.2.3:80/tcp");
  CHECK_TEXT(ask("both.mock", "80", AI_V4MAPPED | AI_ALL, AF_INET6, SOCK_STREAM),
             "[::ffff:192.0.2.1]:80/tcp [2001:db8::1]:80/tcp [::ffff:192.0.2.3]:80/tcp");
  CHECK_TEXT(tcp("later.mock", "80"), error_text(EAI_AGAIN));
  CHECK_TEXT(tcp("no-memory.mock", "80"), error_text(EAI_MEMORY));
}

static void us_203_what_the_shim_does_not_know_wasi_is_asked(void) {
  int asked = mock_resolves;
  CHECK_TEXT(ask("localhost", "80", 0, AF_INET, SOCK_STREAM), "127.0.0.1:80/tcp");
  CHECK_INT(mock_resolves, asked + 1);
}

static void us_203_long_answers_are_cut(void) {
  struct addrinfo *list = NULL;
  CHECK_INT(getaddrinfo("many.mock", "80", NULL, &list), 0);
  int n = 0;
  for (const struct addrinfo *a = list; a; a = a->ai_next) n++;
  CHECK_INT(n, 48);
  freeaddrinfo(list);
}

static void us_203_numbers_ask_nobody(void) {
  int asked = &mock_resolves ? mock_resolves : 0;
  CHECK_TEXT(ask("127.0.0.1", "5432", AI_NUMERICHOST, AF_UNSPEC, SOCK_STREAM),
             "127.0.0.1:5432/tcp");
  CHECK_TEXT(ask("::1", "5432", AI_NUMERICHOST, AF_UNSPEC, SOCK_STREAM), "[::1]:5432/tcp");
  CHECK_TEXT(ask("localhost", "5432", AI_NUMERICHOST, AF_UNSPEC, SOCK_STREAM),
             error_text(EAI_NONAME));
  CHECK_TEXT(ask("one.mock", "5432", AI_NUMERICHOST, AF_UNSPEC, SOCK_STREAM),
             error_text(EAI_NONAME));
  CHECK_TEXT(tcp("192.0.2.7", "1"), "192.0.2.7:1/tcp");
  CHECK_TEXT(tcp("127.1", "1"), "127.0.0.1:1/tcp");
  CHECK_TEXT(ask("192.0.2.7", "1", 0, AF_INET6, SOCK_STREAM), error_text(EAI_NONAME));
  CHECK_TEXT(ask("192.0.2.7", "1", AI_V4MAPPED, AF_INET6, SOCK_STREAM), "[::ffff:192.0.2.7]:1/tcp");
  CHECK_TEXT(ask("::1", "1", 0, AF_INET, SOCK_STREAM), error_text(EAI_NONAME));
  CHECK_INT(&mock_resolves ? mock_resolves : 0, asked);
}

static void us_203_scopes(void) {
  struct addrinfo *list = NULL;
  CHECK_INT(getaddrinfo("fe80::1%7", "1", NULL, &list), 0);
  if (list) {
    CHECK_INT(((const struct sockaddr_in6 *)(const void *)list->ai_addr)->sin6_scope_id, 7);
    freeaddrinfo(list);
  }
  CHECK_TEXT(ask("fe80::1%eth0", "1", AI_NUMERICHOST, AF_UNSPEC, 0), error_text(EAI_NONAME));
  CHECK_TEXT(ask("fe80::1%", "1", AI_NUMERICHOST, AF_UNSPEC, 0), error_text(EAI_NONAME));
}

static void us_203_no_host_is_this_one_or_any(void) {
  CHECK_TEXT(tcp(NULL, "80"), "127.0.0.1:80/tcp [::1]:80/tcp");
  CHECK_TEXT(ask(NULL, "80", AI_PASSIVE, AF_UNSPEC, SOCK_STREAM), "0.0.0.0:80/tcp [::]:80/tcp");
  CHECK_TEXT(ask(NULL, "80", AI_PASSIVE, AF_INET6, SOCK_STREAM), "[::]:80/tcp");
  CHECK_TEXT(ask("192.0.2.7", "80", AI_PASSIVE, AF_UNSPEC, SOCK_STREAM), "192.0.2.7:80/tcp");
  CHECK_TEXT(tcp(NULL, NULL), error_text(EAI_NONAME));
}

static void us_203_services_and_types(void) {
  CHECK_TEXT(tcp("192.0.2.7", "http"), "192.0.2.7:80/tcp");
  CHECK_TEXT(tcp("192.0.2.7", NULL), "192.0.2.7:0/tcp");
  CHECK_TEXT(ask("192.0.2.7", "domain", 0, AF_UNSPEC, 0), "192.0.2.7:53/tcp 192.0.2.7:53/udp");
  CHECK_TEXT(ask("192.0.2.7", "domain", 0, AF_UNSPEC, SOCK_DGRAM), "192.0.2.7:53/udp");
  CHECK_TEXT(ask("192.0.2.7", "53", 0, AF_UNSPEC, SOCK_DGRAM), "192.0.2.7:53/udp");
  CHECK_TEXT(ask("192.0.2.7", "53", 0, AF_UNSPEC, 0), "192.0.2.7:53/tcp");
  CHECK_TEXT(tcp("192.0.2.7", "no-such-service"), error_text(EAI_SERVICE));
  CHECK_TEXT(tcp("192.0.2.7", "65535"), "192.0.2.7:65535/tcp");
  CHECK_TEXT(tcp("192.0.2.7", "65536"), error_text(EAI_SERVICE));
  CHECK_TEXT(tcp("192.0.2.7", "99999999999999999999"), error_text(EAI_SERVICE));
  CHECK_TEXT(ask("192.0.2.7", "http", AI_NUMERICSERV, AF_UNSPEC, SOCK_STREAM),
             error_text(EAI_NONAME));
}

/** A string of WASI is UTF-8: the host ends a program that gives another. */
static void us_203_names_that_are_no_text(void) {
  static const char *const names[] = {"h\xff",
                                      "\x80",
                                      "\xc3",
                                      "\xc3(.invalid",
                                      "\xc0\xaf",
                                      "\xe0\x9f\xbf",
                                      "\xe2\x82",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80\x80"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    CHECK_TEXT(tcp(names[i], "1"), error_text(EAI_NONAME));
    CHECK(!gethostbyname(names[i]));
    CHECK_INT(h_errno, HOST_NOT_FOUND);
  }
  /* What is text is the host's to judge. */
  CHECK(strncmp(tcp("h\xc3\xa9.invalid", "1"), "error ", 6) == 0);
  CHECK(strncmp(tcp("\xf0\x9f\x90\x98.invalid", "1"), "error ", 6) == 0);
}

static void us_203_hints_that_are_wrong(void) {
  CHECK_TEXT(ask("192.0.2.7", "1", 0x8000, AF_UNSPEC, SOCK_STREAM), error_text(EAI_BADFLAGS));
  CHECK_TEXT(ask(NULL, "1", AI_CANONNAME, AF_UNSPEC, SOCK_STREAM), error_text(EAI_BADFLAGS));
  CHECK_TEXT(ask("192.0.2.7", "1", 0, 99, SOCK_STREAM), error_text(EAI_FAMILY));
  CHECK_TEXT(ask("192.0.2.7", "1", 0, AF_UNSPEC, 77), error_text(EAI_SOCKTYPE));
  const struct addrinfo mixed = {.ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_UDP};
  struct addrinfo *list = NULL;
  CHECK_INT(getaddrinfo("192.0.2.7", "1", &mixed, &list), EAI_SOCKTYPE);
}

static void us_203_canonical_names(void) {
  const struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM};
  struct addrinfo *list = NULL;
  CHECK_INT(getaddrinfo("localhost", "1", &hints, &list), 0);
  if (!list) return;
  CHECK_TEXT(list->ai_canonname, "localhost");
  CHECK(!list->ai_next || !list->ai_next->ai_canonname);
  freeaddrinfo(list);
}

/** An entry opens a socket as it is. */
static void us_203_entries_fit_socket(void) {
  const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
  struct addrinfo *list = NULL;
  CHECK_INT(getaddrinfo(NULL, "0", &hints, &list), 0);
  for (const struct addrinfo *a = list; a; a = a->ai_next)
    CHECK(socket(a->ai_family, a->ai_socktype, a->ai_protocol) >= 0);
  if (list) freeaddrinfo(list);
}

static void us_205_names_that_all_know(void) {
  CHECK_TEXT(ask("localhost", "5432", 0, AF_INET, SOCK_STREAM), "127.0.0.1:5432/tcp");
  CHECK_TEXT(tcp("no.such.name.invalid", "1"), error_text(EAI_NONAME));
}

static const struct check_test tests[] = {
    TEST(us_203_a_name_of_warpgrid, WARPGRID),
    TEST(us_203_families_of_a_name, WARPGRID),
    TEST(us_203_without_a_warpgrid_its_names_are_unknown, VANILLA | STOCK),
    TEST(us_203_the_shim_answers_first, MOCK),
    TEST(us_203_what_the_shim_does_not_know_wasi_is_asked, MOCK),
    TEST(us_203_long_answers_are_cut, MOCK),
    TEST(us_203_numbers_ask_nobody, PATCHED),
    TEST(us_203_scopes, PATCHED),
    TEST(us_203_no_host_is_this_one_or_any, PATCHED),
    TEST(us_203_services_and_types, PATCHED),
    TEST(us_203_names_that_are_no_text, PATCHED),
    TEST(us_203_hints_that_are_wrong, PATCHED),
    TEST(us_203_canonical_names, PATCHED),
    TEST(us_203_entries_fit_socket, PATCHED),
    TEST(us_205_names_that_all_know, ANYWHERE),
};

int main(void) { return check_run(tests, sizeof tests / sizeof *tests); }
