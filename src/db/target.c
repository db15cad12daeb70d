/* SPDX-License-Identifier: Apache-2.0 */
#include "db/db_internal.h"
#include <string.h>
#include <strings.h>

/* A guest names host, port and protocol; database and user choose among what is declared there.
 * Its words go into messages, so they are cut and cleaned first. */

enum { TEXT_MAX = 64 };

typedef struct clean_text {
  char s[TEXT_MAX + 1];
} clean_text;

/** What may stand between quotes of a TOML line and in a log. */
static clean_text clean(const char *p, size_t n) {
  clean_text t;
  size_t o = 0;
  for (size_t i = 0; i < n && o < TEXT_MAX; i++)
    t.s[o++] = p[i] < 0x20 || p[i] > 0x7E || p[i] == '"' || p[i] == '\\' ? '?' : p[i];
  t.s[o] = '\0';
  return t;
}

static bool same(const char *a, const char *p, size_t n) {
  return a && strlen(a) == n && memcmp(a, p, n) == 0;
}

/** Names of hosts: without regard to case, and to a dot at the end. */
static bool same_host(const char *a, const char *p, size_t n) {
  if (n > 0 && p[n - 1] == '.') n--;
  return strlen(a) == n && strncasecmp(a, p, n) == 0;
}

const char *wg_db_protocol_name(wg_db_protocol protocol) {
  switch (protocol) {
  case WG_DB_POSTGRES: return "postgres";
  case WG_DB_MYSQL: return "mysql";
  case WG_DB_REDIS: return "redis";
  }
  return NULL;
}

static wg_code target_check(const wg_db_target *t, wg_error *err) {
  if (!wg_db_protocol_name(t->protocol))
    return wg_error_set(err, WG_INVALID, 0, "connect: unknown protocol %u", (unsigned)t->protocol);
  const struct {
    const char *what, *p;
    size_t n;
  } texts[] = {{"host", t->host, t->host_len},
               {"database", t->database, t->database_len},
               {"user", t->user, t->user_len}};
  for (size_t i = 0; i < WG_COUNT(texts); i++) {
    if (texts[i].n > 253)
      return wg_error_set(err, WG_INVALID, 0,
                          "connect: the %s has %zu bytes, at most 253 are taken", texts[i].what,
                          texts[i].n);
    if (texts[i].n && memchr(texts[i].p, '\0', texts[i].n))
      return wg_error_set(err, WG_INVALID, 0, "connect: the %s holds a NUL byte", texts[i].what);
  }
  if (t->host_len == 0) return wg_error_set(err, WG_INVALID, 0, "connect: the host is empty");
  return WG_OK;
}

/** How well a declared database fits; 0: not at all. */
static int target_rank(const wg_database_config *d, const wg_db_target *t) {
  bool by_name = same(d->name, t->host, t->host_len) && (t->port == 0 || t->port == d->port);
  bool by_host = same_host(d->host, t->host, t->host_len) && t->port == d->port;
  if (d->protocol != t->protocol || (!by_name && !by_host)) return 0;
  int rank = by_name ? 9 : 1;
  if (t->database_len) {
    if (same(d->database, t->database, t->database_len))
      rank += 4;
    else if (d->database)
      return 0;
  }
  /* The host logs in with its own user, whatever the guest's is: the user only breaks ties. */
  if (t->user_len && same(d->user, t->user, t->user_len)) rank += 2;
  return rank;
}

static bool at(const wg_database_config *d, const char *host, size_t len, uint16_t port) {
  return d->port == port && (same(d->name, host, len) || same_host(d->host, host, len));
}

const wg_database_config *wg__target_first(const wg_config *config, const char *host,
                                           uint16_t port) {
  for (size_t i = 0; i < config->database_count; i++)
    if (wg__target_fits(&config->databases[i], host, port)) return &config->databases[i];
  return NULL;
}

bool wg__target_fits(const wg_database_config *d, const char *host, uint16_t port) {
  return at(d, host, strlen(host), port);
}

bool wg__target_same_place(const wg_database_config *a, const wg_database_config *b) {
  return a == b || (a->protocol == b->protocol && a->port == b->port &&
                    same_host(a->host, b->host, strlen(b->host)));
}

bool wg__target_at(const wg_config *config, const char *host, size_t *len, uint16_t port,
                   wg_db_protocol *protocol) {
  char tail[300];
  int n = snprintf(tail, sizeof tail, ".db.%s", config->dns_domain ? config->dns_domain : "");
  size_t given = *len > 0 && host[*len - 1] == '.' ? *len - 1 : *len, cut = (size_t)n;
  if (n > 0 && cut < sizeof tail && given > cut && strncasecmp(host + given - cut, tail, cut) == 0)
    *len = given - cut;
  for (size_t i = 0; i < config->database_count; i++) {
    const wg_database_config *d = &config->databases[i];
    if (!at(d, host, *len, port)) continue;
    *protocol = d->protocol;
    return true;
  }
  return false;
}

wg_code wg__target_match(const wg_config *config, const wg_db_target *t,
                         const wg_database_config **out, wg_error *err) {
  wg_code code = target_check(t, err);
  if (code != WG_OK) return code;
  const wg_database_config *best = NULL, *there = NULL, *other_protocol = NULL;
  int best_rank = 0;
  for (size_t i = 0; i < config->database_count; i++) {
    const wg_database_config *d = &config->databases[i];
    int rank = target_rank(d, t);
    if (rank > best_rank) {
      best = d;
      best_rank = rank;
    }
    if (same_host(d->host, t->host, t->host_len) && t->port == d->port) {
      if (d->protocol == t->protocol)
        there = d;
      else
        other_protocol = d;
    }
  }
  if (best && wg_wire_of(best->protocol)) {
    *out = best;
    return WG_OK;
  }
  if (best)
    return wg_error_set(err, WG_UNSUPPORTED, 0,
                        "connect: this version does not speak %s (database '%s')",
                        wg_db_protocol_name(best->protocol), best->name);

  clean_text host = clean(t->host, t->host_len), user = clean(t->user, t->user_len);
  clean_text database = clean(t->database, t->database_len);
  if (there) {
    wg_error_set(err, WG_REFUSED, 0,
                 "connect: database '%s' on %s:%u is not declared; '%s' of [databases.%s] is",
                 database.s, host.s, t->port, there->database ? there->database : "any",
                 there->name);
  } else if (other_protocol) {
    wg_error_set(err, WG_REFUSED, 0, "connect: %s:%u is declared as %s, not %s", host.s, t->port,
                 wg_db_protocol_name(other_protocol->protocol), wg_db_protocol_name(t->protocol));
    return WG_REFUSED;
  } else {
    wg_error_set(err, WG_REFUSED, 0, "connect: no %s database at %s:%u is declared",
                 wg_db_protocol_name(t->protocol), host.s, t->port);
  }
  wg_error_hint(err,
                "add to %.200s:\n[databases.main]\nprotocol = \"%s\"\nhost = \"%s\"\nport = %u\n"
                "database = \"%s\"\nuser = \"%s\"",
                config->path ? config->path : "warp.toml", wg_db_protocol_name(t->protocol), host.s,
                t->port, database.s, user.s);
  return WG_REFUSED;
}
