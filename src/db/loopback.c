/* SPDX-License-Identifier: Apache-2.0 */
/** @file loopback.c  Databases of this machine that warp.toml does not declare: allowed while a
 *  service is being developed, with the credentials that the guest brings.
 *
 *  Each distinct (protocol, host, port, user, password, database) becomes a wg_database_config of
 *  its own, made under the db's lock, immutable afterwards, kept until the db goes. Pools compare
 *  all of these, so that no guest gets a session that somebody else's password opened. */
#include "db/db_internal.h"
#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct loopback {
  wg_node by_db;
  wg_database_config config;
} loopback;

/** "localhost", 127.0.0.0/8 or ::1, as they stand in connection strings. */
static bool is_loopback(const char *host) {
  struct in_addr v4;
  struct in6_addr v6;
  if (strcasecmp(host, "localhost") == 0) return true;
  if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/** The target's host without brackets and the dot at the end; false: not of this machine. */
static bool loopback_host(const wg_db_target *t, char out[64]) {
  const char *p = t->host;
  size_t n = t->host_len;
  if (n > 1 && p[0] == '[' && p[n - 1] == ']') {
    p++;
    n -= 2;
  } else if (n > 1 && p[n - 1] == '.') {
    n--;
  }
  if (n == 0 || n >= 64) return false;
  memcpy(out, p, n);
  out[n] = '\0';
  return is_loopback(out);
}

static bool same(const char *a, const char *p, size_t n) {
  return strlen(a) == n && memcmp(a, p, n) == 0;
}

static void loopback_free(loopback *l) {
  wg_database_config *c = &l->config;
  free(c->name);
  free(c->host);
  free(c->database);
  free(c->user);
  wg_secret_release(&c->password);
  free(l);
}

/** Says once which lines do the same in production; the password is the reader's business. */
static void loopback_tell(const wg_db_worker *w, const wg_database_config *c) {
  wg_log(&w->log, WG_LOG_WARN, "db_loopback_undeclared", WG_KV_S("database", c->name),
         WG_KV_S("protocol", wg_db_protocol_name(c->protocol)), WG_KV_S("user", c->user),
         WG_KV_S("reason", "allowed while developing only; 'warp serve' wants it declared"),
         WG_KV_S("hint", "add [databases.main] with this protocol, host, port, database and user, "
                         "and password = \"${DATABASE_PASSWORD}\""));
}

static wg_code loopback_new(wg_db_worker *w, const wg_db_target *t, const char *host,
                            const char *database, size_t database_len, loopback **out,
                            wg_error *err) {
  wg_db *db = w->db;
  if (db->loopbacks.count >= DB_LOOPBACKS_MAX) {
    wg_error_set(err, WG_EXHAUSTED, 0, "connect: %d databases of this machine are in use already",
                 DB_LOOPBACKS_MAX);
    wg_error_hint(err, "declare those that are meant in warp.toml");
    return WG_EXHAUSTED;
  }
  loopback *l = calloc(1, sizeof *l);
  if (!l) return wg_error_set(err, WG_NOMEM, 0, "connect: out of memory");
  wg_database_config *c = &l->config;
  bool v6 = strchr(host, ':');
  c->protocol = t->protocol;
  c->port = t->port;
  c->pool = db->config->pool;
  c->host = strdup(host);
  c->user = strndup(t->user_len ? t->user : "", t->user_len);
  c->database = strndup(database, database_len);
  int n = asprintf(&c->name, "%s%s%s:%u/%.*s", v6 ? "[" : "", host, v6 ? "]" : "", t->port,
                   (int)database_len, database);
  if (n < 0) c->name = NULL;
  wg_code code = WG_OK;
  if (!c->host || !c->user || !c->database || !c->name)
    code = wg_error_set(err, WG_NOMEM, 0, "connect: out of memory");
  if (code == WG_OK && t->password_len)
    code = wg_secret_set(&c->password, t->password, t->password_len, err);
  if (code != WG_OK) {
    loopback_free(l);
    return code;
  }
  wg_node_init(&l->by_db);
  wg_list_push_back(&db->loopbacks, &l->by_db);
  loopback_tell(w, c);
  *out = l;
  return WG_OK;
}

bool wg__loopback_meant(const wg_db *db, const wg_db_target *t) {
  char host[64];
  return db->config->loopback_databases && t->port != 0 && wg_wire_of(t->protocol) &&
         loopback_host(t, host);
}

wg_code wg__loopback_match(wg_db_worker *w, const wg_db_target *t, const wg_database_config **out,
                           wg_error *err) {
  char host[64];
  WG_ASSERT(loopback_host(t, host));
  if (t->user_len == 0 && t->protocol != WG_DB_REDIS) {
    wg_error_set(err, WG_INVALID, 0, "connect: the user of %s:%u is empty", host, t->port);
    wg_error_hint(err, "name it in the connection, or declare the database in warp.toml");
    return WG_INVALID;
  }
  if (t->password_len > DB_PASSWORD_MAX)
    return wg_error_set(err, WG_INVALID, 0,
                        "connect: the password has %zu bytes, at most %d are taken",
                        t->password_len, DB_PASSWORD_MAX);
  /* As the server itself does, an unnamed database is the one named like the user, or none. */
  const char *none = wg_wire_of(t->protocol)->unnamed;
  const char *database = t->database_len ? t->database : none ? none : t->user;
  size_t database_len = t->database_len ? t->database_len : none ? strlen(none) : t->user_len;
  if (t->protocol == WG_DB_REDIS && !wg_redis_database_ok(database, database_len))
    return wg_error_set(err, WG_INVALID, 0, "connect: a database of Redis is a number");
  const char *password = t->password_len ? t->password : "";
  loopback *found = NULL;
  wg_code code = WG_OK;
  pthread_mutex_lock(&w->db->lock);
  for (wg_node *n = wg_list_first(&w->db->loopbacks); n && !found;
       n = wg_list_next(&w->db->loopbacks, n)) {
    loopback *l = WG_CONTAINER(n, loopback, by_db);
    const wg_database_config *c = &l->config;
    if (c->protocol == t->protocol && c->port == t->port && strcasecmp(c->host, host) == 0 &&
        same(c->user, t->user_len ? t->user : "", t->user_len) &&
        same(c->database, database, database_len) && c->password.len == t->password_len &&
        CRYPTO_memcmp(c->password.len ? c->password.bytes : "", password, t->password_len) == 0)
      found = l;
  }
  if (!found) code = loopback_new(w, t, host, database, database_len, &found, err);
  pthread_mutex_unlock(&w->db->lock);
  if (code == WG_OK) *out = &found->config;
  return code;
}

void wg__loopbacks_free(wg_db *db) {
  for (wg_node *n; (n = wg_list_first(&db->loopbacks));) {
    wg_list_remove(&db->loopbacks, n);
    loopback_free(WG_CONTAINER(n, loopback, by_db));
  }
}
