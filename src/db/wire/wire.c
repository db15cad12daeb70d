/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/wire.h"
#include <stdio.h>
#include <string.h>

const wg_wire_ops *wg_wire_of(wg_db_protocol protocol) {
  switch (protocol) {
  case WG_DB_POSTGRES: return &wg_wire_postgres;
  case WG_DB_MYSQL: return &wg_wire_mysql;
  case WG_DB_REDIS: return &wg_wire_redis;
  }
  return NULL;
}

int wg_wire_socket_path(const char *dir, const char *name, char *out, size_t cap) {
  size_t n = strlen(dir);
  if (n > 5 && strcmp(dir + n - 5, ".sock") == 0) return snprintf(out, cap, "%s", dir);
  return snprintf(out, cap, "%s/%s", dir, name);
}

bool wg_wire_take_sqlstate(char *text, char code[6]) {
  static const char mark[] = " (SQLSTATE ";
  char *at = strstr(text, mark);
  if (!at || strlen(at) < sizeof mark + 5 || at[sizeof mark + 4] != ')') return false;
  char *given = at + sizeof mark - 1;
  if (code) {
    memcpy(code, given, 5);
    code[5] = '\0';
  }
  memmove(at, given + 6, strlen(given + 6) + 1);
  return true;
}

bool wg_redis_database_ok(const char *text, size_t n) {
  if (n == 0 || n > 5 || (text[0] == '0' && n > 1)) return false;
  for (size_t i = 0; i < n; i++)
    if (text[i] < '0' || text[i] > '9') return false;
  return true;
}
