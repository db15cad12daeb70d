/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/sentinel.h"

#include <arpa/inet.h>
#include <stdlib.h>
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

/** The place of each name. Hosts choose before own names, and what stands before in warp.toml before
 *  what stands after it; databases of one host share theirs.
 *  @param owner  PLACES numbers, all 0; the database that took a place, from 1 on */
static void choose(const wg_config *c, uint32_t *owner, uint16_t *hosts, uint16_t *own) {
  size_t given = 0;
  for (sentinel_name which = NAME_HOST; which <= NAME_OWN; which++) {
    for (size_t i = 0; i < c->database_count; i++) {
      uint16_t *place = which == NAME_HOST ? &hosts[i] : &own[i];
      *place = 0;
      if (which == NAME_HOST && !has_host_name(&c->databases[i])) continue;
      uint32_t at = preferred_place(c, i, which);
      bool shared = false;
      for (; owner[at] && given < PLACES - 2; at = at == PLACES - 2 ? 1 : at + 1) {
        shared = which == NAME_HOST &&
                 strcmp(c->databases[owner[at] - 1].host, c->databases[i].host) == 0;
        if (shared) break;
      }
      if (!shared) {
        if (given == PLACES - 2) continue;
        given++;
        owner[at] = (uint32_t)i + 1;
      }
      *place = (uint16_t)at;
    }
  }
}

wg_code wg_dns_sentinel_places(const wg_config *c, uint16_t *hosts, uint16_t *own, wg_error *err) {
  uint32_t *owner = calloc(PLACES, sizeof *owner);
  if (!owner) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  choose(c, owner, hosts, own);
  free(owner);
  return WG_OK;
}

bool wg_dns_sentinel_at(uint16_t place, int family, uint8_t out[16]) {
  if (place == 0) return false;
  memset(out, 0, 16);
  if (family == AF_INET) {
    out[0] = 240;
    out[1] = 77;
    out[2] = (uint8_t)(place >> 8);
    out[3] = (uint8_t)place;
  } else {
    out[0] = 1;
    out[14] = (uint8_t)(place >> 8);
    out[15] = (uint8_t)place;
  }
  return true;
}

bool wg_dns_in_sentinels(const wg_dns_addr *a) {
  static const uint8_t v4[2] = {240, 77}, v6[8] = {1};
  return a->family == 4 ? memcmp(a->bytes, v4, sizeof v4) == 0
                        : memcmp(a->bytes, v6, sizeof v6) == 0;
}

uint16_t wg_dns_sentinel_place(const wg_dns_addr *a) {
  const uint8_t *place = a->bytes + (a->family == 4 ? 2 : 14);
  uint8_t same[16];
  uint16_t n = (uint16_t)(place[0] << 8 | place[1]);
  if (!wg_dns_sentinel_at(n, a->family == 4 ? AF_INET : AF_INET6, same)) return 0;
  return memcmp(a->bytes, same, a->family == 4 ? 4 : 16) == 0 ? n : 0;
}

static bool sentinel(const wg_config *c, size_t index, sentinel_name which, int family,
                     uint8_t out[16]) {
  if (index >= c->database_count) return false;
  uint16_t *places = calloc(2 * c->database_count, sizeof *places);
  bool ok = places && wg_dns_sentinel_places(c, places, places + c->database_count, NULL) == WG_OK;
  uint16_t place = ok ? places[index + (which == NAME_OWN ? c->database_count : 0)] : 0;
  free(places);
  return wg_dns_sentinel_at(place, family, out);
}

bool wg_dns_sentinel(const wg_config *c, size_t database_index, int family, uint8_t out[16]) {
  return sentinel(c, database_index, NAME_HOST, family, out);
}

bool wg_dns_sentinel_own(const wg_config *c, size_t database_index, int family, uint8_t out[16]) {
  return sentinel(c, database_index, NAME_OWN, family, out);
}
