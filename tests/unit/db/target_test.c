/* SPDX-License-Identifier: Apache-2.0 */
/* Which declared database a guest means, and what it is told when there is none. */
#include "db/db_internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static wg_database_config declared[] = {
    {.name = (char *)"orders",
     .host = (char *)"db.example",
     .port = 5432,
     .database = (char *)"orders",
     .user = (char *)"svc"},
    {.name = (char *)"stock",
     .host = (char *)"DB.example",
     .port = 5432,
     .database = (char *)"stock",
     .user = (char *)"svc"},
    {.name = (char *)"stock_ro",
     .host = (char *)"db.example",
     .port = 5432,
     .database = (char *)"stock",
     .user = (char *)"reader"},
    {.name = (char *)"any", .host = (char *)"lab.example", .port = 5433, .user = (char *)"lab"},
    {.name = (char *)"old",
     .protocol = WG_DB_MYSQL,
     .host = (char *)"db.example",
     .port = 3306,
     .database = (char *)"old",
     .user = (char *)"svc"},
};
static const wg_config config = {
    .path = (char *)"dir/warp.toml", .databases = declared, .database_count = WG_COUNT(declared)};

static wg_db_target target(wg_db_protocol p, const char *host, uint16_t port, const char *database,
                           const char *user) {
  return (wg_db_target){.protocol = p,
                        .host = host,
                        .host_len = strlen(host),
                        .port = port,
                        .database = database,
                        .database_len = strlen(database),
                        .user = user,
                        .user_len = strlen(user)};
}

static void test_matches(void **state) {
  (void)state;
  const struct {
    const char *host;
    uint16_t port;
    const char *database, *user, *expect;
  } ok[] = {
      {"db.example", 5432, "orders", "svc", "orders"},
      {"Db.Example.", 5432, "orders", "", "orders"},
      {"db.example", 5432, "stock", "svc", "stock"},
      {"db.example", 5432, "stock", "reader", "stock_ro"},
      {"db.example", 5432, "stock", "somebody", "stock"},  /* the first that fits */
      {"db.example", 5432, "", "", "orders"},
      {"db.example", 5432, "", "reader", "stock_ro"},
      {"lab.example", 5433, "whatever", "x", "any"},
      {"stock_ro", 0, "", "", "stock_ro"},                 /* by the name of the table */
      {"stock_ro", 5432, "stock", "x", "stock_ro"},
  };
  for (size_t i = 0; i < WG_COUNT(ok); i++) {
    wg_db_target t = target(WG_DB_POSTGRES, ok[i].host, ok[i].port, ok[i].database, ok[i].user);
    const wg_database_config *out = NULL;
    wg_error err;
    assert_int_equal(wg__target_match(&config, &t, &out, &err), WG_OK);
    assert_string_equal(out->name, ok[i].expect);
  }
}

static void test_refusals(void **state) {
  (void)state;
  const struct {
    wg_db_target t;
    wg_code code;
    const char *msg, *hint;
  } bad[] = {
      {target(WG_DB_POSTGRES, "elsewhere", 5432, "d", "u"), WG_REFUSED,
       "no postgres database at elsewhere:5432",
       "host = \"elsewhere\"\nport = 5432\ndatabase = \"d\"\nuser = \"u\""},
      {target(WG_DB_POSTGRES, "db.example", 5433, "orders", "u"), WG_REFUSED, "db.example:5433",
       "[databases."},
      {target(WG_DB_POSTGRES, "db.example", 5432, "secret", "u"), WG_REFUSED,
       "database 'secret' on db.example:5432 is not declared", "dir/warp.toml"},
      {target(WG_DB_POSTGRES, "db.example", 3306, "old", "u"), WG_REFUSED, "declared as mysql", ""},
      {target(WG_DB_POSTGRES, "", 5432, "d", "u"), WG_INVALID, "host is empty", ""},
      {target((wg_db_protocol)9, "x", 5432, "d", "u"), WG_INVALID, "unknown protocol", ""},
      {target(WG_DB_POSTGRES, "a\"\n]\\x", 5432, "\x1b[31m", "u"), WG_REFUSED, "a??]?x:5432",
       "database = \"?[31m\""},
      {target(WG_DB_POSTGRES, "orders", 1, "", ""), WG_REFUSED, "orders:1", ""},
  };
  for (size_t i = 0; i < WG_COUNT(bad); i++) {
    const wg_database_config *out = NULL;
    wg_error err = {0};
    assert_int_equal(wg__target_match(&config, &bad[i].t, &out, &err), bad[i].code);
    if (!strstr(err.msg, bad[i].msg)) fail_msg("'%s' lacks '%s'", err.msg, bad[i].msg);
    if (!strstr(err.hint, bad[i].hint)) fail_msg("'%s' lacks '%s'", err.hint, bad[i].hint);
  }
}

static void test_odd_bytes(void **state) {
  (void)state;
  char text[300];
  const wg_database_config *out;
  wg_error err;
  memset(text, 'a', sizeof text);
  wg_db_target t = {.host = text, .host_len = 254, .port = 1};
  assert_int_equal(wg__target_match(&config, &t, &out, &err), WG_INVALID);
  t.host_len = 253;
  assert_int_equal(wg__target_match(&config, &t, &out, &err), WG_REFUSED);
  t = target(WG_DB_POSTGRES, "db.example", 5432, "", "");
  t.database = text;
  t.database_len = 300;
  assert_int_equal(wg__target_match(&config, &t, &out, &err), WG_INVALID);
  t.database = "ord\0ers";
  t.database_len = 7;
  assert_int_equal(wg__target_match(&config, &t, &out, &err), WG_INVALID);
  const wg_config empty = {0};
  t = target(WG_DB_POSTGRES, "db.example", 5432, "", "");
  assert_int_equal(wg__target_match(&empty, &t, &out, &err), WG_REFUSED);
  assert_non_null(strstr(err.hint, "warp.toml"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_matches),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_odd_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
