/* SPDX-License-Identifier: Apache-2.0 */
/* config/: defaults, types, ranges, databases, registry, env, files. [shims]: shims_test.c. */
#include "config/config.h"

#include "config/support.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void defaults_are_the_documented_ones(void **state) {
  (void)state;
  wg_config *c = parse_ok("");
  assert_string_equal(parse_warnings, "");
  assert_string_equal(c->name, "service");
  assert_string_equal(c->component, "dist/service.wasm");
  assert_string_equal(c->dir, ".");
  assert_null(c->path);
  assert_null(c->lang);
  assert_string_equal(c->listen[0], "localhost:8080");
  assert_null(c->listen[1]);
  assert_int_equal(c->workers, 0);
  assert_int_equal(c->max_inflight, 1000);
  assert_int_equal(c->reuse, 0);
  assert_int_equal(c->max_concurrent, 16);
  assert_int_equal(c->instance_idle_ms, 1000);
  assert_int_equal(c->memory_bytes, 128 << 20);
  assert_int_equal(c->request_timeout_ms, 30000);
  assert_int_equal(c->body_bytes, 10 << 20);
  assert_int_equal(c->header_bytes, 64 << 10);
  assert_int_equal(c->instances, 1000);
  assert_int_equal(c->drain_timeout_ms, 30000);
  assert_true(c->epochs);
  assert_int_equal(c->dns_ttl_s, 30);
  assert_int_equal(c->dns_cache_size, 1024);
  assert_string_equal(c->dns_domain, "warp.local");
  assert_int_equal(c->signals_queue, 16);
  assert_int_equal(c->pool.pool_size, 10);
  assert_int_equal(c->pool.max_waiters, 10000);
  assert_int_equal(c->pool.connect_timeout_ms, 5000);
  assert_int_equal(c->pool.idle_timeout_ms, 300000);
  assert_int_equal(c->pool.health_interval_ms, 30000);
  assert_int_equal(c->pool.recv_timeout_ms, 30000);
  assert_int_equal(c->pool.send_timeout_ms, 30000);
  assert_int_equal(c->pool.drain_timeout_ms, 30000);
  assert_int_equal(c->pool.reset, WG_DB_RESET_DISCARD);
  assert_int_equal(c->pool.spin, WG_DB_SPIN_AUTO);
  assert_int_equal(c->database_count, 0);
  assert_int_equal(c->registry_count, 0);
  assert_null(c->env);
  assert_int_equal(c->preopen_count, 0);
  wg_config_free(c);
  wg_config_free(NULL);
}

static void every_kind_of_value(void **state) {
  (void)state;
  wg_config *c =
      parse_ok("name = 'users'\nlang = 'c'\n"
               "[build]\nsources = ['a.c', 'b.c']\nworld = 'service-p3'\nflags = '-O1'\n"
               "[http]\nlisten = ['127.0.0.1:0', '[::1]:8081']\nworkers = 2\n"
               "[limits]\nmemory = '64MiB'\nbody_bytes = 1024\nrequest_timeout_ms = 250\n"
               "drain_timeout_seconds = 7\nheader = '8KiB'\nepochs = false\n");
  assert_string_equal(parse_warnings, "");
  assert_string_equal(c->name, "users");
  assert_string_equal(c->lang, "c");
  assert_string_equal(c->component, "dist/users.wasm");
  assert_string_equal(c->build_sources[1], "b.c");
  assert_null(c->build_sources[2]);
  assert_string_equal(c->build_world, "service-p3");
  assert_string_equal(c->build_flags[0], "-O1");
  assert_string_equal(c->listen[1], "[::1]:8081");
  assert_int_equal(c->workers, 2);
  assert_int_equal(c->memory_bytes, 64 << 20);
  assert_int_equal(c->body_bytes, 1024);
  assert_int_equal(c->request_timeout_ms, 250);
  assert_int_equal(c->drain_timeout_ms, 7000);
  assert_int_equal(c->header_bytes, 8192);
  assert_false(c->epochs);
  wg_config_free(c);
}

static void wrong_types_name_the_place(void **state) {
  (void)state;
  parse_fails("name = 3", "w.toml:1:8: 'name' must be a string, got an integer", NULL);
  parse_fails("http = true", "w.toml:1:8: 'http' must be a table, got true or false", NULL);
  parse_fails("[http]\nworkers = '2'", "w.toml:2:11: 'workers' must be an integer, got a string",
              NULL);
  parse_fails("[http]\n  listen = [1]", "w.toml:2:13: expected a string, got an integer", NULL);
  parse_fails("[limits]\nepochs = 1", "w.toml:2:10: 'epochs' must be true or false, got an integer",
              NULL);
  parse_fails("[limits]\nmemory = 128",
              "w.toml:2:10: 'memory' must be a size such as \"64MiB\", got an integer",
              "memory_bytes = 128");
  parse_fails("[limits]\nrequest_timeout = 30",
              "w.toml:2:19: 'request_timeout' must be a duration such as \"30s\", got an integer",
              "request_timeout = \"30s\", or request_timeout_seconds = 30");
  parse_fails("[limits]\nmemory_bytes = '1MiB'",
              "w.toml:2:16: 'memory_bytes' must be an integer, got a string", NULL);
  parse_fails("[limits]\nmemory = '12 apples'",
              "w.toml:2:10: 'memory' must be a size such as \"64MiB\", got \"12 apples\"", "MiB");
  parse_fails("[http]\nlisten = '8080'", "w.toml:2:10: '8080' is not an address and a port",
              "127.0.0.1:8080");
  parse_fails("name = \"a\\u0000b\"", "w.toml:1:8: the text contains a NUL character", NULL);
  parse_fails("name = ''", "w.toml:1:8: 'name' must not be empty", NULL);
  parse_fails("name = '../x'",
              "w.toml:1:8: 'name' must be at most 63 letters, digits, '-', '_' and '.', got "
              "\"../x\"",
              NULL);
}

static void ranges(void **state) {
  (void)state;
  parse_fails("[limits]\nmemory = '1KiB'",
              "w.toml:2:10: 'memory' must be from 64KiB to 4GiB, got 1KiB", NULL);
  parse_fails("[http]\nworkers = -1", "w.toml:2:11: 'workers' must be from 0 to 1024, got -1",
              NULL);
  parse_fails("[limits]\nrequest_timeout = '48h'",
              "w.toml:2:19: 'request_timeout' must be from 1ms to 86400s, got 172800s", NULL);
  parse_fails("[limits]\nrequest_timeout_seconds = 9223372036854775807",
              "w.toml:2:27: 'request_timeout_seconds' must be from 1ms to 86400s, got "
              "18446744073709551615ms",
              NULL);
  parse_fails("[http]\nworkers = 99999999999999999999",
              "w.toml:2:11: 'workers' must be an integer, got a number with a fraction, or out of "
              "range",
              NULL);
  parse_fails("[shims.dns]\nttl = '1500ms'", "w.toml:2:7: 'ttl' must be whole seconds", NULL);
}

static void one_field_in_two_forms_is_an_error(void **state) {
  (void)state;
  parse_fails("[limits]\nmemory = '1MiB'\nmemory_bytes = 1048576",
              "w.toml:3:1: 'memory_bytes' was given in another form in line 2", NULL);
}

static void grammar_errors_name_the_place(void **state) {
  (void)state;
  wg_config *c;
  assert_int_equal(parse("name = 'a'\n[http\n", &c), WG_CONFIG);
  assert_memory_equal(parse_error.msg, "w.toml:2:", 9);
  assert_int_equal(parse("a = 1\na = 2\n", &c), WG_CONFIG);
  assert_memory_equal(parse_error.msg, "w.toml:2:", 9);
  assert_int_equal(parse("name = '\xff'\n", &c), WG_CONFIG);
  assert_memory_equal(parse_error.msg, "w.toml:1:", 9);
}

static void unknown_keys_warn_with_the_nearest(void **state) {
  (void)state;
  wg_config *c = parse_ok("nmae = 'x'\n[htpp]\nlisten = 'x'\n[http]\n  listn = 'x'\n[limits]\n"
                          "quux = 1\n[databases.d]\nuser = 'u'\npool_sise = 3\n");
  assert_string_equal(parse_warnings,
                      "w.toml:5:3: unknown key 'listn'; did you mean 'listen'?\n"
                      "w.toml:7:1: unknown key 'quux'\n"
                      "w.toml:10:1: unknown key 'pool_sise'; did you mean 'pool_size'?\n"
                      "w.toml:1:1: unknown key 'nmae'; did you mean 'name'?\n"
                      "w.toml:2:2: unknown section 'htpp'; did you mean 'http'?\n");
  wg_config_free(c);
}

static void databases(void **state) {
  (void)state;
  setenv("WG_TEST_PW", "s3cret", 1);
  wg_config *c = parse_ok("[databases.main]\n"
                          "protocol = 'postgres'\nhost = 'DB.test.warp.local'\nport = 6543\n"
                          "address = '/run/postgresql'\naddress_port = 5555\n"
                          "database = 'app'\nuser = 'svc'\npassword = '${WG_TEST_PW}'\n"
                          "pool_size = 3\nreset = 'close'\nspin = 'off'\n"
                          "[databases.cache]\nprotocol = 'redis'\n"
                          "[databases.'my.sql']\nprotocol = 'mysql'\nuser = 'm'\n"
                          "password_env = 'WG_TEST_PW'\nauth = 'service'\n"
                          "[shims.database_proxy]\npool_size = 7\nidle_timeout = '10s'\n");
  assert_string_equal(parse_warnings, "");
  assert_int_equal(c->database_count, 3);
  const wg_database_config *d = &c->databases[0];
  assert_string_equal(d->name, "main");
  assert_int_equal(d->protocol, WG_DB_POSTGRES);
  assert_string_equal(d->host, "db.test.warp.local");
  assert_int_equal(d->port, 6543);
  assert_string_equal(d->address, "/run/postgresql");
  assert_int_equal(d->address_port, 5555);
  assert_string_equal(d->database, "app");
  assert_string_equal(d->user, "svc");
  assert_int_equal(d->password.len, 6);
  assert_string_equal(d->password.bytes, "s3cret");
  assert_int_equal(d->pool.pool_size, 3);
  assert_int_equal(d->pool.reset, WG_DB_RESET_CLOSE);
  assert_int_equal(d->pool.spin, WG_DB_SPIN_OFF);
  assert_int_equal(d->pool.idle_timeout_ms, 10000); /* the shim's default, given further down */
  assert_int_equal(d->line, 1);
  d = &c->databases[1];
  assert_int_equal(d->protocol, WG_DB_REDIS);
  assert_string_equal(d->host, "cache");
  assert_int_equal(d->port, 6379);
  assert_null(d->user);
  assert_int_equal(d->password.len, 0);
  assert_int_equal(d->pool.pool_size, 7);
  d = &c->databases[2];
  assert_string_equal(d->host, "my.sql");
  assert_int_equal(d->port, 3306);
  assert_string_equal(d->password.bytes, "s3cret");
  wg_config_free(c);
}

static void database_mistakes(void **state) {
  (void)state;
  unsetenv("WG_TEST_NONE");
  parse_fails("[databases.d]\nhost = 'x'", "w.toml:1:12: database 'd' needs 'user'",
              "[databases.d]: user = \"NAME\"");
  parse_fails("[databases.d]\nprotocol = 'oracle'",
              "w.toml:2:12: 'protocol' must be one of postgres|mysql|redis, got \"oracle\"", NULL);
  parse_fails(
      "[databases.d]\nuser = 'u'\nhost = 'a b'",
      "w.toml:1:12: database 'd': the host name 'a b' has a character that no host name has", NULL);
  parse_fails("[databases.d]\nuser = 'u'\nhost = 'a..b'",
              "w.toml:1:12: database 'd': the host name 'a..b' has an empty label", NULL);
  parse_fails("[databases.d]\nuser = 'u'\nport = 70000",
              "w.toml:3:8: 'port' must be from 1 to 65535, got 70000", NULL);
  parse_fails("[databases.d]\nuser = 'u'\nauth = 'nobody'",
              "w.toml:3:8: 'auth' must be one of service|guest|relay, got \"nobody\"", NULL);
  parse_fails("[databases.d]\nauth = 'guest'\npassword = 'p'",
              "w.toml:3:1: 'password' is not used: with this 'auth' guests bring their own", NULL);
  parse_fails(
      "[databases.d]\nauth = 'relay'\ntls = 'require'\nchannel_binding = 'require'",
      "w.toml:4:19: 'channel_binding' cannot be required with auth = \"relay\": the guest does "
      "not see the TLS channel",
      NULL);
  parse_fails(
      "[databases.d]\nprotocol = 'mysql'\nauth = 'relay'\ntls = 'require'",
      "w.toml:4:7: 'tls' cannot be had with auth = \"relay\" and protocol \"mysql\": its first "
      "words come before TLS",
      "tls = \"disable\"");
  parse_fails("[databases.d]\nprotocol = 'mysql'\nuser = 'u'\ntls = 'require'\n"
              "channel_binding = 'require'",
              "w.toml:5:19: 'channel_binding' is for databases of protocol \"postgres\"", NULL);
  parse_fails("[databases.d]\nprotocol = 'mysql'\nuser = 'u'\ntls = 'require'\n"
              "tls_negotiation = 'direct'",
              "w.toml:5:19: 'tls_negotiation' is for databases of protocol \"postgres\"", NULL);
  parse_fails("[databases.d]\nuser = 'u'\npassword = 'a'\npassword_env = 'HOME'",
              "w.toml:4:1: 'password_env' was given in another form in line 3", NULL);
  parse_fails("[databases.d]\nuser = 'u'\npassword = '${WG_TEST_NONE}'",
              "w.toml:3:12: 'password': the environment variable 'WG_TEST_NONE' is not set",
              "set WG_TEST_NONE");
  parse_fails("[databases.d]\nuser = 'u'\npassword_env = 'WG_TEST_NONE'",
              "w.toml:3:16: 'password_env': the environment variable 'WG_TEST_NONE' is not set",
              "'password'");
  parse_fails("[databases.a]\nhost = 'h'\nuser = 'u'\n[databases.b]\nhost = 'H'\nuser = 'u'\n",
              "w.toml:4:12: database 'b' is the same as 'a' in line 1: host, port, database and "
              "user",
              NULL);
  parse_fails("databases = 3", "w.toml:1:13: 'databases' must be a table, got an integer", NULL);
  parse_fails("[databases]\nd = 3", "w.toml:2:5: 'd' must be a table, got an integer", NULL);
}

static void no_secret_in_any_message(void **state) {
  (void)state;
  wg_config *c;
  static const char *const texts[] = {
      "[databases.d]\nuser = 'u'\npassword = ['hunter2']\n",
      "[databases.d]\nuser = 'u'\npassword = \"hunter2\\u0000\"\n",
      "[databases.d]\nuser = 'u'\npassword = 'hunter2'\npasword = 'hunter2'\nport = 'x'\n",
      "[databases.d]\nuser = 'u'\npassword = 'hunter2\n",
      "[databases.d]\nuser = 'u'\npassword = 'hunter2${'\n",
      "[databases.d]\npassword = 'hunter2'\n",
  };
  for (size_t i = 0; i < WG_COUNT(texts); i++) {
    assert_int_equal(parse(texts[i], &c), WG_CONFIG);
    assert_null(strstr(parse_error.msg, "hunter2"));
    assert_null(strstr(parse_error.hint, "hunter2"));
    assert_null(strstr(parse_warnings, "hunter2"));
  }
}

static void registry(void **state) {
  (void)state;
  wg_config *c = parse_ok("[registry]\n'Svc.Warp.Local.' = ['10.1.2.3', 'fd00::1']\n"
                          "one = '10.0.0.1'\n");
  assert_int_equal(c->registry_count, 2);
  assert_string_equal(c->registry[0].name, "svc.warp.local");
  assert_int_equal(c->registry[0].address_count, 2);
  assert_string_equal(c->registry[0].addresses[1], "fd00::1");
  assert_int_equal(c->registry[1].address_count, 1);
  wg_config_free(c);
  parse_fails("[registry]\nsvc = ['10.1.2']", "w.toml:2:8: '10.1.2' is not an IPv4 or IPv6 address",
              NULL);
  parse_fails("[registry]\nsvc = []", "w.toml:2:7: 'svc' needs at least one address", NULL);
  parse_fails("[registry]\nsvc.warp.local = ['10.0.0.1']",
              "w.toml:2:1: 'svc' must be a list of addresses, got a table",
              "quote names with dots");
  parse_fails("[registry]\na = '10.0.0.1'\nA = '10.0.0.2'",
              "w.toml:3:1: the name 'A' was given before", NULL);
  parse_fails("[registry]\n'a b' = '10.0.0.1'", "w.toml:2:1: 'a b' is not a host name", NULL);
}

static void registry_over_http(void **state) {
  (void)state;
  setenv("WG_TEST_TOKEN", "t0k3n", 1);
  wg_config *c = parse_ok("[registry]\nurl = 'http://registry:8500/v1'\ninterval = '1s'\n"
                          "token_env = 'WG_TEST_TOKEN'\n'url.example' = '10.0.0.1'\n");
  assert_string_equal(parse_warnings, "");
  assert_string_equal(c->registry_url, "http://registry:8500/v1");
  assert_int_equal(c->registry_interval_ms, 1000);
  assert_int_equal(c->registry_timeout_ms, 2000);
  assert_string_equal(c->registry_token.bytes, "t0k3n");
  assert_int_equal(c->registry_count, 1);
  wg_config_free(c);
  c = parse_ok("");
  assert_null(c->registry_url);
  assert_int_equal(c->registry_interval_ms, 5000);
  assert_false(c->host_dns);
  wg_config_free(c);
  parse_fails(
      "[registry]\nurl = 'https://registry'",
      "w.toml:2:7: 'url' must begin with http://; https:// is not supported in this version",
      "proxy");
  static const char *const bad[] = {
      "registry:8500", "http://",           "http:///v1",      "http://a b/", "http://user@host/",
      "ftp://host/",   "http://h/\xC3\xA4", "http://h:99999/", "http://:80/", "http://h:/",
      "http://h:0/",   "http://[]:80/",     "http://[::1]80/", "http://h:8x/"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char text[128];
    snprintf(text, sizeof text, "[registry]\nurl = '%s'", bad[i]);
    parse_fails(text, "w.toml:2:7: 'url' must be http://HOST[:PORT][/PATH]", NULL);
  }
  parse_fails("[registry]\nurl = ['10.0.0.1']", "w.toml:2:7: 'url' must be a string, got a list",
              NULL);
  parse_fails("[registry]\ntimeout = '2m'",
              "w.toml:2:11: 'timeout' must be from 1ms to 60s, got 120s", NULL);
  parse_fails("[registry]\ntoken = \"a\\nb\"",
              "w.toml:2:1: the token of [registry] has a character that no header can hold", NULL);
  parse_fails("[registry]\ntoken_env = 'WG_TEST_NOT_SET'",
              "w.toml:2:13: 'token_env': the environment variable 'WG_TEST_NOT_SET' is not set",
              "the token itself is 'token'");
}

static void where_guests_may_connect_to(void **state) {
  (void)state;
  wg_config *c = parse_ok("[net]\nallow = ['api.example.com:443', '10.0.0.0/8:*']\n");
  assert_string_equal(parse_warnings, "");
  assert_int_equal(c->allow_count, 2);
  assert_string_equal(c->allow[0].name.text, "api.example.com");
  assert_int_equal(c->allow[1].bits, 8);
  wg_config_free(c);
  setenv("WG_TEST_API", "api.example.org:443", 1);
  c = parse_ok("[net]\nallow = '${WG_TEST_API}'\n");
  assert_int_equal(c->allow_count, 1);
  assert_string_equal(c->allow[0].name.text, "api.example.org");
  wg_config_free(c);
  c = parse_ok("[net]\nallow = []\n");
  assert_int_equal(c->allow_count, 0);
  wg_config_free(c);
  parse_fails("[net]\nallow = ['a.b:443',\n  'api.example.com']",
              "w.toml:3:3: 'api.example.com' has no port",
              "write api.example.com:443, or api.example.com:* for all ports");
  parse_fails("[net]\nallow = '10.1.2.3/8:80'",
              "w.toml:2:9: '10.1.2.3/8' has bits behind its prefix", "write 10.0.0.0/8");
  parse_fails("[net]\nallow = ['240.77.0.1:5432']",
              "w.toml:2:10: '240.77.0.1' is among the addresses that stand for databases",
              "[databases.NAME]");
  parse_fails("[net]\nallow = [443]", "w.toml:2:10: expected a string, got an integer", NULL);
  parse_fails("[net]\nallow = true",
              "w.toml:2:9: 'allow' must be a list of \"HOST:PORT\" texts, got true or false", NULL);
  char text[WG_ALLOW_RULES_MAX * 8 + 64] = "[net]\nallow = [";
  size_t n = strlen(text);
  for (int i = 0; i <= WG_ALLOW_RULES_MAX; i++, n += 6) memcpy(text + n, "'a:1',", 7);
  memcpy(text + n, "]", 2);
  parse_fails(text, "w.toml:2:6154: 'allow' has more than 1024 rules", NULL);
}

static void name_servers_and_times_of_dns(void **state) {
  (void)state;
  wg_config *c =
      parse_ok("[shims.dns]\nservers = ['10.0.0.1', '10.0.0.2:5353', '::1', '[::1]:53']\n"
               "timeout = '250ms'\nnegative_ttl = '1s'\n[net]\nhost_dns = true\n");
  assert_string_equal(parse_warnings, "");
  assert_string_equal(c->dns_servers[3], "[::1]:53");
  assert_null(c->dns_servers[4]);
  assert_int_equal(c->dns_timeout_ms, 250);
  assert_int_equal(c->dns_negative_ttl_ms, 1000);
  assert_true(c->host_dns);
  wg_config_free(c);
  static const char *const bad[] = {"ns.example",     "10.0.0.1:",    "10.0.0.1:0",
                                    "10.0.0.1:65536", "[::1]",        "[::1]53",
                                    "::1:x",          "10.0.0.1:53x", ""};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char text[128], message[128];
    snprintf(text, sizeof text, "[shims.dns]\nservers = '%s'", bad[i]);
    snprintf(message, sizeof message, "w.toml:2:11: '%s' is not the address of a name server",
             bad[i]);
    parse_fails(text, message, "192.0.2.1:5353");
  }
  c = parse_ok("[shims.dns]\ndomain = '.Corp.Internal.'\n[databases.d]\nuser = 'u'\n"
               "host = 'DB.example.'\n");
  assert_string_equal(c->dns_domain, "corp.internal");
  assert_string_equal(c->databases[0].host, "db.example");
  wg_config_free(c);
  parse_fails("[shims.dns]\ndomain = '*.internal'",
              "w.toml:2:10: 'domain': '*.internal' has a character that no host name has", NULL);
  parse_fails("[shims]\ndns = { domain = 'x..y' }",
              "w.toml:2:18: 'domain': 'x..y' has an empty label", NULL);
  parse_fails("[shims.dns]\nservers = ['10.0.0.1','10.0.0.1','10.0.0.1','10.0.0.1','10.0.0.1',"
              "'10.0.0.1','10.0.0.1','10.0.0.1','10.0.0.1','10.0.0.1','10.0.0.1','10.0.0.1',"
              "'10.0.0.1','10.0.0.1','10.0.0.1','10.0.0.1',\n'10.0.0.17']",
              "w.toml:3:1: 'servers' has more than 16 addresses", NULL);
  parse_fails("[net]\nhost_dns = 1",
              "w.toml:2:12: 'host_dns' must be true or false, got an integer", NULL);
}

static void environment_of_guests(void **state) {
  (void)state;
  setenv("WG_TEST_A", "alpha", 1);
  wg_config *c = parse_ok("[env]\nGREETING = 'hi ${WG_TEST_A}'\nN = 3\nON = true\n");
  assert_string_equal(c->env[0], "GREETING=hi alpha");
  assert_string_equal(c->env[1], "N=3");
  assert_string_equal(c->env[2], "ON=true");
  assert_null(c->env[3]);
  wg_config_free(c);
  parse_fails("[env]\n'A=B' = 'x'", "w.toml:2:1: 'A=B' is not a name for a variable", NULL);
  parse_fails("[env]\nA = [1]",
              "w.toml:2:5: 'A' must be a string, an integer, true or false, got a list", NULL);
}

static void numbers_from_the_environment(void **state) {
  (void)state;
  setenv("WG_TEST_PORT", "5433", 1);
  wg_config *c = parse_ok("[databases.d]\nuser = 'u'\nport = '${WG_TEST_PORT}'\n");
  assert_int_equal(c->databases[0].port, 5433);
  wg_config_free(c);
  setenv("WG_TEST_PORT", "x", 1);
  parse_fails("[databases.d]\nuser = 'u'\nport = '${WG_TEST_PORT}'\n",
              "w.toml:3:8: 'port' must be an integer, but '${WG_TEST_PORT}' is not", NULL);
}

static void preopens(void **state) {
  (void)state;
  wg_config *c = parse_ok("[files]\npreopens = ['data::/data', '/var/tmp::/tmp:rw', 'a::/b:ro']\n");
  assert_int_equal(c->preopen_count, 3);
  assert_string_equal(c->preopens[0].host, "data");
  assert_string_equal(c->preopens[0].guest, "/data");
  assert_false(c->preopens[0].writable);
  assert_string_equal(c->preopens[1].host, "/var/tmp");
  assert_string_equal(c->preopens[1].guest, "/tmp");
  assert_true(c->preopens[1].writable);
  assert_false(c->preopens[2].writable);
  wg_config_free(c);
  parse_fails("[files]\npreopens = ['data:/data']",
              "w.toml:2:13: 'data:/data' is not HOST::GUEST with an absolute GUEST", "data::/data");
}

static void listen_addresses(void **state) {
  (void)state;
  char host[256];
  uint16_t port;
  assert_int_equal(wg_listen_parse("0.0.0.0:80", host, &port, NULL), WG_OK);
  assert_string_equal(host, "0.0.0.0");
  assert_int_equal(port, 80);
  assert_int_equal(wg_listen_parse("[::]:0", host, &port, NULL), WG_OK);
  assert_string_equal(host, "::");
  assert_int_equal(wg_listen_parse(":8080", host, &port, NULL), WG_OK);
  assert_string_equal(host, "127.0.0.1");
  static const char *const bad[] = {"",        "8080",   "host",     "host:",  "host:x",
                                    "h:65536", "::1:80", "[::1]",    "[]:80",  "[::1:80",
                                    "h:-1",    "h: 80",  "h:000000", "[::1]80"};
  for (size_t i = 0; i < WG_COUNT(bad); i++)
    assert_int_equal(wg_listen_parse(bad[i], host, &port, NULL), WG_INVALID);
}

/* ---- files ---- */

static char folder[] = "/tmp/wg-config-XXXXXX";
static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : -1;
}
static int drop_folder(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command);
}
static const char *put(const char *name, const char *text, size_t len) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, len, f), len);
  fclose(f);
  return path;
}

static void paths_count_from_the_files_folder(void **state) {
  (void)state;
  put("pw", "from file\n", 10);
  const char *text = "[databases.d]\nuser = 'u'\npassword_file = 'pw'\n"
                     "[files]\npreopens = ['data::/data', '/abs::/abs']\n"
                     "[shims.filesystem]\nextra_virtual_paths = { '/etc/x' = 'x', '/y' = '/y' }\n";
  const char *path = put("warp.toml", text, strlen(text));
  wg_config *c;
  wg_error err;
  assert_int_equal(wg_config_load(path, NULL, NULL, &c, &err), WG_OK);
  char expect[300];
  assert_string_equal(c->path, path);
  assert_string_equal(c->dir, folder);
  snprintf(expect, sizeof expect, "%s/dist/service.wasm", folder);
  assert_string_equal(c->component, expect);
  assert_string_equal(c->databases[0].password.bytes, "from file");
  snprintf(expect, sizeof expect, "%s/data", folder);
  assert_string_equal(c->preopens[0].host, expect);
  assert_string_equal(c->preopens[1].host, "/abs");
  assert_int_equal(c->virtual_path_count, 2);
  assert_string_equal(c->virtual_paths[0].guest, "/etc/x");
  snprintf(expect, sizeof expect, "%s/x", folder);
  assert_string_equal(c->virtual_paths[0].host, expect);
  assert_string_equal(c->virtual_paths[1].host, "/y");
  wg_config_free(c);
}

static void files_that_cannot_be_read(void **state) {
  (void)state;
  wg_config *c;
  wg_error err;
  assert_int_equal(wg_config_load("/nonexistent/warp.toml", NULL, NULL, &c, &err), WG_IO);
  assert_string_equal(err.msg, "cannot read '/nonexistent/warp.toml': no such file or directory");
  assert_non_null(strstr(err.hint, "--config"));
  assert_int_equal(wg_config_load(folder, NULL, NULL, &c, &err), WG_IO);
  const char *text = "[databases.d]\nuser = 'u'\npassword_file = 'gone'\n";
  assert_int_equal(wg_config_load(put("w.toml", text, strlen(text)), NULL, NULL, &c, &err),
                   WG_CONFIG);
  assert_non_null(strstr(err.msg, "w.toml:3:17: 'password_file': cannot read '"));
  size_t big = (1 << 20) + 1;
  char *spaces = malloc(big);
  memset(spaces, '\n', big);
  assert_int_equal(wg_config_load(put("big.toml", spaces, big), NULL, NULL, &c, &err), WG_CONFIG);
  assert_non_null(strstr(err.msg, "larger than 1 MiB"));
  assert_int_equal(wg_config_load(put("full.toml", spaces, big - 1), NULL, NULL, &c, &err), WG_OK);
  wg_config_free(c);
  free(spaces);
}

static void standard_names_in_the_current_folder(void **state) {
  (void)state;
  char before[4096];
  assert_non_null(getcwd(before, sizeof before));
  char sub[300];
  snprintf(sub, sizeof sub, "%s/standard", folder);
  assert_int_equal(mkdir(sub, 0700), 0);
  assert_int_equal(chdir(sub), 0);
  wg_config *c;
  assert_int_equal(wg_config_load(NULL, NULL, NULL, &c, NULL), WG_OK);
  assert_null(c->path);
  wg_config_free(c);
  put("standard/.warpgrid.toml", "name = 'dot'\n", 13);
  assert_int_equal(wg_config_load(NULL, NULL, NULL, &c, NULL), WG_OK);
  assert_string_equal(c->name, "dot");
  assert_string_equal(c->path, ".warpgrid.toml");
  wg_config_free(c);
  put("standard/warp.toml", "name = 'warp'\n", 14);
  assert_int_equal(wg_config_load(NULL, NULL, NULL, &c, NULL), WG_OK);
  assert_string_equal(c->name, "warp");
  wg_config_free(c);
  assert_int_equal(chdir(before), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_are_the_documented_ones),
      cmocka_unit_test(every_kind_of_value),
      cmocka_unit_test(wrong_types_name_the_place),
      cmocka_unit_test(ranges),
      cmocka_unit_test(one_field_in_two_forms_is_an_error),
      cmocka_unit_test(grammar_errors_name_the_place),
      cmocka_unit_test(unknown_keys_warn_with_the_nearest),
      cmocka_unit_test(databases),
      cmocka_unit_test(database_mistakes),
      cmocka_unit_test(no_secret_in_any_message),
      cmocka_unit_test(registry),
      cmocka_unit_test(registry_over_http),
      cmocka_unit_test(where_guests_may_connect_to),
      cmocka_unit_test(name_servers_and_times_of_dns),
      cmocka_unit_test(environment_of_guests),
      cmocka_unit_test(numbers_from_the_environment),
      cmocka_unit_test(preopens),
      cmocka_unit_test(listen_addresses),
      cmocka_unit_test(paths_count_from_the_files_folder),
      cmocka_unit_test(files_that_cannot_be_read),
      cmocka_unit_test(standard_names_in_the_current_folder),
  };
  return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
