/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/sentinel.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

enum { PLACES = 65536 }; /* of 240.77.0.0/16; the first and the last are not given */

/** Which of a database's two names. */
typedef enum sentinel_name { NAME_HOST, NAME_OWN } sentinel_name;

/** FNV-1a over several pieces. */
static uint32_t hash_more(uint32_t h, const char *text) {
  for (; *text; text++) h = (h ^ (uint8_t)*text) * 16777619u;
  return h;
}

static bool has_host_name(const wg_database_config *d) {
  unsigned char raw[16];
  return inet_pton(AF_INET, d->host, raw) != 1 && inet_pton(AF_INET6, d->host, raw) != 1 &&
         d->host[0] != '/' && strcmp(d->host, "localhost") != 0;
}

static uint32_t preferred_place(const wg_config *c, size_t i, sentinel_name which) {
  const wg_database_config *d = &c->databases[i];
  uint32_t h = 2166136261u;
  if (which == NAME_HOST) {
    h = hash_more(h, d->host);
  } else {
    h = hash_more(hash_more(h, d->name), ".db.");
    h = hash_more(h, c->dns_domain ? c->dns_domain : "");
  }
  h ^= h >> 16;
  return 1 + h % (PLACES - 2);
}

static bool same_host(const wg_config *c, size_t a, size_t b) {
  return strcmp(c->databases[a].host, c->databases[b].host) == 0;
}

/** The place of a name: those that stand before it, and all hosts before own names, choose first. */
static uint32_t place_of(const wg_config *c, size_t index, sentinel_name which) {
  uint8_t taken[PLACES / 8] = {0};
  size_t given = 0;
  for (sentinel_name pass = NAME_HOST; pass <= NAME_OWN; pass++) {
    for (size_t i = 0; i < c->database_count; i++) {
      bool wanted = pass == which && (i == index || (pass == NAME_HOST && same_host(c, i, index)));
      bool before = false; /* the same host stood before, and has its place */
      if (pass == NAME_HOST && !has_host_name(&c->databases[i])) continue;
      for (size_t k = 0; pass == NAME_HOST && k < i && !before; k++) before = same_host(c, k, i);
      if (before) continue;
      if (given++ == PLACES - 2) return 0;
      uint32_t at = preferred_place(c, i, pass);
      while (taken[at / 8] & (1u << at % 8)) at = at == PLACES - 2 ? 1 : at + 1;
      if (wanted) return at;
      taken[at / 8] |= (uint8_t)(1u << at % 8);
    }
  }
  return 0;
}

static bool sentinel(const wg_config *c, size_t index, sentinel_name which, int family,
                     uint8_t out[16]) {
  uint32_t at = index < c->database_count ? place_of(c, index, which) : 0;
  if (at == 0) return false;
  memset(out, 0, 16);
  if (family == AF_INET) {
    out[0] = 240;
    out[1] = 77;
    out[2] = (uint8_t)(at >> 8);
    out[3] = (uint8_t)at;
  } else {
    out[0] = 1;
    out[14] = (uint8_t)(at >> 8);
    out[15] = (uint8_t)at;
  }
  return true;
}

bool wg_dns_sentinel(const wg_config *c, size_t database_index, int family, uint8_t out[16]) {
  return sentinel(c, database_index, NAME_HOST, family, out);
}

bool wg_dns_sentinel_own(const wg_config *c, size_t database_index, int family, uint8_t out[16]) {
  return sentinel(c, database_index, NAME_OWN, family, out);
}
