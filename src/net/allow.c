/* SPDX-License-Identifier: Apache-2.0 */
#include "net/allow.h"

#include "dns/sentinel.h"

#include <stdlib.h>
#include <string.h>

enum { RULE_BYTES_MAX = WG_DNS_NAME_MAX + 16, SHOWN = 80 };

/* ---- addresses ---- */

typedef struct block {
  wg_dns_addr network;
  uint8_t bits;
} block;

/* Where no name may lead. */
static const block special[] = {
    {{4, {0}}, 8}, /* unspecified, "this network" */
    {{4, {127}}, 8}, /* loopback */
    {{4, {169, 254}}, 16}, /* link-local, metadata of most clouds */
    {{4, {100, 100, 100, 200}}, 32}, /* metadata of one */
    {{4, {168, 63, 129, 16}}, 32}, /* of another */
    {{4, {192, 0, 0, 0}}, 24}, /* protocol assignments, RFC 6890; metadata of a third */
    {{4, {224}}, 3}, /* multicast, reserved, broadcast, and the sentinels */
    {{6, {0}}, 96}, /* unspecified, loopback, IPv4-compatible */
    {{6, {1}}, 64}, /* discard only, RFC 6666: the sentinels */
    {{6, {0xfe, 0x80}}, 10}, /* link-local */
    {{6, {0xfe, 0xc0}}, 10}, /* site-local */
    {{6, {0xff}}, 8}, /* multicast */
    {{6, {0xfd, 0x00, 0x0e, 0xc2}}, 32}, /* metadata, as above */
    {{6, {0xfd, 0x20, 0x00, 0xce}}, 32},
};

static const block mapped = {{6, {[10] = 0xff, [11] = 0xff}}, 96};
/* Ways of IPv6 to IPv4, and where in it the IPv4 address stands. */
static const struct {
  block block;
  size_t at;
} ways[] = {
    {{{6, {[10] = 0xff, [11] = 0xff}}, 96}, 12},
    {{{6, {0x00, 0x64, 0xff, 0x9b}}, 96}, 12}, /* NAT64, RFC 6052 */
    {{{6, {0x20, 0x02}}, 16}, 2}, /* 6to4, RFC 3056 */
};

static bool in_block(const wg_dns_addr *a, const wg_dns_addr *network, unsigned bits) {
  if (a->family != network->family) return false;
  size_t whole = bits / 8;
  if (memcmp(a->bytes, network->bytes, whole) != 0) return false;
  unsigned rest = bits % 8;
  return rest == 0 || (uint8_t)((a->bytes[whole] ^ network->bytes[whole]) >> (8 - rest)) == 0;
}

static wg_dns_addr ipv4_at(const wg_dns_addr *a, size_t at) {
  wg_dns_addr v4 = {.family = 4};
  memcpy(v4.bytes, a->bytes + at, 4);
  return v4;
}

wg_dns_addr wg_allow_unmapped(const wg_dns_addr *a) {
  return in_block(a, &mapped.network, mapped.bits) ? ipv4_at(a, 12) : *a;
}

/** The special block that an address, or a whole network, lies in; NULL: none. */
static const block *special_of(const wg_dns_addr *a, unsigned bits) {
  for (size_t i = 0; i < WG_COUNT(special); i++)
    if (bits >= special[i].bits && in_block(a, &special[i].network, special[i].bits))
      return &special[i];
  return NULL;
}

bool wg_allow_special(const wg_dns_addr *a) {
  if (special_of(a, 128)) return true;
  for (size_t i = 0; i < WG_COUNT(ways); i++) {
    if (!in_block(a, &ways[i].block.network, ways[i].block.bits)) continue;
    wg_dns_addr v4 = ipv4_at(a, ways[i].at);
    return special_of(&v4, 32) != NULL;
  }
  return false;
}

bool wg_allow_resolved(const wg_dns_addr *a) { return !wg_allow_special(a); }

bool wg_allow_is_loopback(const wg_dns_addr *a) {
  static const wg_dns_addr v4 = {4, {127}}, v6 = {6, {[15] = 1}};
  wg_dns_addr plain = wg_allow_unmapped(a);
  return in_block(&plain, &v4, 8) || wg_dns_addr_equal(&plain, &v6);
}

/* ---- one rule ---- */

static wg_code bad(wg_error *err, const char *text, size_t len, const char *what) {
  return wg_error_set(err, WG_INVALID, 0, "'%.*s' %s", len > SHOWN ? SHOWN : (int)len, text, what);
}

/** The number of at most `most` that `text` is, without sign or zeros in front; -1: none. */
static long number(const char *text, size_t len, long most) {
  long v = 0;
  if (len == 0 || len > 5 || (len > 1 && text[0] == '0')) return -1;
  for (size_t i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9') return -1;
    v = v * 10 + (text[i] - '0');
  }
  return v > most ? -1 : v;
}

static wg_code parse_port(const char *text, size_t len, size_t host, wg_allow_rule *out,
                          wg_error *err) {
  long port = number(text + host + 1, len - host - 1, 65535);
  if (len - host - 1 == 1 && text[host + 1] == '*')
    port = 0;
  else if (port <= 0) {
    bad(err, text, len, "has no port from 1 to 65535, nor '*' for all of them");
    wg_error_hint(err, "write %.*s:443", host > SHOWN ? SHOWN : (int)host, text);
    return WG_INVALID;
  }
  out->port = (uint16_t)port;
  return WG_OK;
}

/** Clears the bits behind the prefix. */
static wg_dns_addr network_of(const wg_dns_addr *a, unsigned bits) {
  wg_dns_addr n = {.family = a->family};
  memcpy(n.bytes, a->bytes, bits / 8);
  if (bits % 8) n.bytes[bits / 8] = (uint8_t)(a->bytes[bits / 8] & (0xff00u >> (bits % 8)));
  return n;
}

/** An address with or without a prefix length. @param slash  where its '/' is; 0: it has none */
static wg_code parse_network(const char *text, size_t host, size_t slash, const wg_dns_addr *a,
                             wg_allow_rule *out, wg_error *err) {
  long most = a->family == 4 ? 32 : 128;
  long bits = slash ? number(text + slash + 1, host - slash - 1, most) : most;
  char shown[46];
  if (bits < 0) {
    bad(err, text, host, "has no length of a prefix behind '/'");
    wg_error_hint(err, "it is a number from 0 to %ld", most);
    return WG_INVALID;
  }
  out->kind = WG_ALLOW_NETWORK;
  out->bits = (uint8_t)bits;
  out->network = network_of(a, out->bits);
  if (!wg_dns_addr_equal(&out->network, a)) {
    bad(err, text, host, "has bits behind its prefix");
    wg_dns_addr_text(&out->network, shown);
    wg_error_hint(err, a->family == 4 ? "write %s/%ld" : "write [%s]/%ld", shown, bits);
    return WG_INVALID;
  }
  if (in_block(a, &mapped.network, mapped.bits) && bits >= mapped.bits) {
    wg_dns_addr v4 = ipv4_at(a, 12);
    bad(err, text, host, "is IPv4 in the form of IPv6");
    wg_dns_addr_text(&v4, shown);
    wg_error_hint(err, "write %s/%ld", shown, bits - mapped.bits);
    return WG_INVALID;
  }
  if (wg_dns_in_sentinels(a) && bits >= (a->family == 4 ? 16 : 64)) {
    bad(err, text, host, "is among the addresses that stand for databases");
    wg_error_hint(err, "declare the database in [databases.NAME]; it needs no rule");
    return WG_INVALID;
  }
  return WG_OK;
}

static wg_code parse_name(const char *text, size_t len, size_t host, wg_allow_rule *out,
                          wg_error *err) {
  bool below = host > 2 && text[0] == '*' && text[1] == '.';
  size_t skip = below ? 2 : 0;
  const char *why;
  out->kind = below ? WG_ALLOW_BELOW : WG_ALLOW_NAME;
  if (wg_dns_normalise(text + skip, host - skip, &out->name, &why)) return WG_OK;
  wg_error_set(err, WG_INVALID, 0, "the host name '%.*s' %s", host > SHOWN ? SHOWN : (int)host,
               text, why);
  if (host == 1 && text[0] == '*')
    wg_error_hint(err, "write *.example.com%.*s for all names below one, or 0.0.0.0/0%.*s",
                  (int)(len - host), text + host, (int)(len - host), text + host);
  else if (memchr(text, '*', host))
    wg_error_hint(err, "'*' stands for the first labels of a name only: *.example.com");
  else if (memchr(text, '/', host))
    wg_error_hint(err, "write HOST:PORT, such as api.example.com:443, without scheme and path");
  else
    wg_error_hint(err, "write api.example.com:443, *.example.com:443, 10.0.0.0/8:5432 or "
                       "[2001:db8::]/32:443");
  return WG_INVALID;
}

static wg_code no_port(const char *text, size_t len, const char *open, const char *close,
                       wg_error *err) {
  int shown = len > SHOWN ? SHOWN : (int)len;
  bad(err, text, len, "has no port");
  wg_error_hint(err, "write %s%.*s%s:443, or %s%.*s%s:* for all ports", open, shown, text, close,
                open, shown, text, close);
  return WG_INVALID;
}

/** "[V6]:PORT" and "[V6]/BITS:PORT". */
static wg_code parse_bracketed(const char *text, size_t len, wg_allow_rule *out, wg_error *err) {
  const char *close = memchr(text, ']', len);
  size_t end = close ? (size_t)(close - text) : 0;
  wg_dns_addr a;
  if (!close || !wg_dns_literal(text + 1, end - 1, &a) || a.family != 6) {
    bad(err, text, len, "has no IPv6 address in its brackets");
    wg_error_hint(err, "write [2001:db8::1]:443 or [2001:db8::]/32:443");
    return WG_INVALID;
  }
  const char *colon = memchr(close, ':', len - end);
  size_t host = colon ? (size_t)(colon - text) : len;
  bool slash = host > end + 1 && text[end + 1] == '/';
  if (!slash && host != end + 1)
    return bad(err, text, len, "has something else than '/' or ':' behind ']'");
  if (!colon) return no_port(text, len, "", "", err);
  wg_code code = parse_network(text, host, slash ? end + 1 : 0, &a, out, err);
  return code == WG_OK ? parse_port(text, len, host, out, err) : code;
}

wg_code wg_allow_parse(const char *text, size_t len, wg_allow_rule *out, wg_error *err) {
  *out = (wg_allow_rule){0};
  wg_dns_addr a;
  if (len == 0 || len > RULE_BYTES_MAX || memchr(text, 0, len)) {
    wg_error_set(err, WG_INVALID, 0, "a rule of 'allow' %s",
                 len == 0               ? "is empty"
                 : len > RULE_BYTES_MAX ? "is longer than a host name and a port"
                                        : "has a NUL character");
    wg_error_hint(err, "write HOST:PORT, such as api.example.com:443");
    return WG_INVALID;
  }
  if (text[0] == '[') return parse_bracketed(text, len, out, err);
  if (wg_dns_literal(text, len, &a) && a.family == 6) return no_port(text, len, "[", "]", err);
  const char *colon = memchr(text, ':', len);
  if (!colon) return no_port(text, len, "", "", err);
  size_t host = (size_t)(colon - text);
  if (memchr(colon + 1, ':', len - host - 1)) {
    bad(err, text, len, "has more than one ':'");
    wg_error_hint(err, "an IPv6 address needs brackets: [2001:db8::1]:443 or [2001:db8::]/32:443");
    return WG_INVALID;
  }
  if (len - host > 2 && colon[1] == '/' && colon[2] == '/') {
    bad(err, text, len, "is a URL");
    wg_error_hint(err, "write HOST:PORT, such as api.example.com:443, without scheme and path");
    return WG_INVALID;
  }
  const char *slash = memchr(text, '/', host);
  size_t address = slash ? (size_t)(slash - text) : host;
  wg_code code = wg_dns_literal(text, address, &a)
                     ? parse_network(text, host, slash ? address : 0, &a, out, err)
                     : parse_name(text, len, host, out, err);
  return code == WG_OK ? parse_port(text, len, host, out, err) : code;
}

/* ---- all rules ---- */

static bool rule_names(const wg_allow_rule *r, const wg_dns_name *name) {
  if (r->kind == WG_ALLOW_NAME)
    return r->name.hash == name->hash && strcmp(r->name.text, name->text) == 0;
  return r->kind == WG_ALLOW_BELOW && name->len > r->name.len &&
         wg_dns_is_below(name->text, name->len, r->name.text);
}

bool wg_allow_name(wg_allow allow, const wg_dns_name *name, uint16_t port) {
  for (size_t i = 0; name && i < allow.count; i++) {
    const wg_allow_rule *r = &allow.rules[i];
    if ((r->port == 0 || r->port == port) && rule_names(r, name)) return true;
  }
  return false;
}

bool wg_allow_address(wg_allow allow, const wg_dns_addr *a, uint16_t port) {
  wg_dns_addr plain = wg_allow_unmapped(a);
  if (wg_dns_in_sentinels(&plain)) return false;
  bool guarded = wg_allow_special(&plain);
  for (size_t i = 0; i < allow.count; i++) {
    const wg_allow_rule *r = &allow.rules[i];
    if (r->kind != WG_ALLOW_NETWORK || (r->port != 0 && r->port != port) ||
        !in_block(&plain, &r->network, r->bits))
      continue;
    /* Of an IPv6 form of a special address only the address itself is within. */
    if (!guarded || special_of(&r->network, r->bits) || r->bits == 128) return true;
  }
  return false;
}

/* ---- what an instance learned ---- */

typedef struct wg__allow_answer {
  struct wg__allow_answer *next;
  uint64_t until_ms;
  wg_dns_name name;
  size_t count;
  wg_dns_addr addresses[];
} answer;

static bool has(const wg_dns_addr *list, size_t count, const wg_dns_addr *a) {
  for (size_t i = 0; i < count; i++)
    if (wg_dns_addr_equal(&list[i], a)) return true;
  return false;
}

static bool any_rule_names(wg_allow allow, const wg_dns_name *name) {
  for (size_t i = 0; i < allow.count; i++)
    if (rule_names(&allow.rules[i], name)) return true;
  return false;
}

static void drop(wg_allow_memory *m, answer **at) {
  answer *gone = *at;
  *at = gone->next;
  free(gone);
  m->count--;
}

/** Drops what is over, what the new answer says again in full, and the oldest when there is no room. */
static void make_room(wg_allow_memory *m, const wg_dns_name *name, const wg_dns_addr *addresses,
                      size_t count, uint64_t now_ms) {
  for (answer **at = &m->answers; *at;) {
    answer *old = *at;
    bool again = strcmp(old->name.text, name->text) == 0;
    for (size_t i = 0; i < old->count && again; i++)
      again = has(addresses, count, &old->addresses[i]);
    if (old->until_ms <= now_ms || again)
      drop(m, at);
    else
      at = &old->next;
  }
  if (m->count < WG_ALLOW_ANSWERS_MAX) return;
  answer **at = &m->answers;
  while (*at && (*at)->next) at = &(*at)->next;
  if (*at) drop(m, at);
}

void wg_allow_learn(wg_allow_memory *m, wg_allow allow, const char *name, size_t len,
                    const wg_dns_addr *addresses, size_t count, uint32_t ttl_s, uint64_t now_ms) {
  wg_dns_name normal;
  const char *why;
  if (count == 0) return;
  if (allow.count && wg_dns_normalise(name, len, &normal, &why) && any_rule_names(allow, &normal)) {
    make_room(m, &normal, addresses, count, now_ms);
    answer *new = malloc(sizeof *new + count * sizeof *addresses);
    if (!new) return;
    new->next = m->answers;
    new->until_ms = now_ms + 1000 * ((uint64_t)ttl_s + WG_ALLOW_GRACE_S);
    new->name = normal;
    new->count = count;
    for (size_t i = 0; i < count; i++) new->addresses[i] = wg_allow_unmapped(&addresses[i]);
    m->answers = new;
    m->count++;
    return;
  }
  if (len == 0 || len > sizeof m->last.name) return;
  m->last.len = (uint8_t)len;
  memcpy(m->last.name, name, len);
  m->last.addresses = 0;
  for (size_t i = 0; i < count && i < WG_COUNT(m->last.address); i++)
    m->last.address[m->last.addresses++] = wg_allow_unmapped(&addresses[i]);
}

bool wg_allow_learned(const wg_allow_memory *m, wg_allow allow, const wg_dns_addr *a, uint16_t port,
                      uint64_t now_ms) {
  wg_dns_addr plain = wg_allow_unmapped(a);
  if (!wg_allow_resolved(a)) return false;
  for (const answer *n = m->answers; n; n = n->next)
    if (n->until_ms > now_ms && has(n->addresses, n->count, &plain) &&
        wg_allow_name(allow, &n->name, port))
      return true;
  return false;
}

const char *wg_allow_asked(const wg_allow_memory *m, const wg_dns_addr *a, size_t *len) {
  wg_dns_addr plain = wg_allow_unmapped(a);
  for (const answer *n = m->answers; n; n = n->next) {
    if (!has(n->addresses, n->count, &plain)) continue;
    *len = n->name.len;
    return n->name.text;
  }
  if (!has(m->last.address, m->last.addresses, &plain)) return NULL;
  *len = m->last.len;
  return m->last.name;
}

void wg_allow_memory_release(wg_allow_memory *m) {
  while (m->answers) drop(m, &m->answers);
}
