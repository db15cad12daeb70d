/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/name.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { FNV_BASIS = 0x811c9dc5, FNV_PRIME = 0x01000193, DNS_PORT = 53 };

uint32_t wg_dns_hash(const void *p, size_t len) {
  const uint8_t *b = p;
  uint32_t h = FNV_BASIS;
  for (size_t i = 0; i < len; i++) h = (h ^ b[i]) * FNV_PRIME;
  return h;
}

bool wg_dns_normalise(const char *name, size_t len, wg_dns_name *out, const char **why) {
  if (len && name[len - 1] == '.') len--;
  if (len == 0 || len > WG_DNS_NAME_MAX) {
    *why = len == 0 ? "is empty" : "is longer than 253 characters";
    return false;
  }
  size_t label = 0, last = 0; /* length so far, start of the last one */
  bool digits = true; /* nothing else in the last label */
  uint32_t h = FNV_BASIS;
  const char *bad = NULL;
  for (size_t i = 0; i < len; i++) {
    char c = name[i];
    if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
    out->text[i] = c;
    h = (h ^ (uint8_t)c) * FNV_PRIME;
    if (c == '.') {
      if (label == 0) bad = "has an empty label";
      label = 0;
      last = i + 1;
      digits = true;
    } else {
      if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) {
        *why = "has a character that no host name has";
        return false;
      }
      if (c < '0' || c > '9') digits = false;
      if (++label > WG_DNS_LABEL_MAX) bad = "has a label of more than 63 characters";
    }
    if (bad) break;
  }
  if (!bad && label == 0) bad = "has an empty label";
  out->text[len] = '\0';
  /* No top-level domain is a number. */
  if (!bad && (digits || (out->text[last] == '0' && out->text[last + 1] == 'x')))
    bad = "is a number, not a name or an IP address in its usual form";
  if (bad) {
    *why = bad;
    return false;
  }
  out->len = len;
  out->hash = h;
  return true;
}

bool wg_dns_literal(const char *text, size_t len, wg_dns_addr *out) {
  char copy[INET6_ADDRSTRLEN];
  /* Most names are told apart by their last character: "10.0.0.1" ends with a digit, and so does
   * "::1" or with a letter up to f; but only a literal has a colon or begins with a digit. */
  if (len == 0 || len >= sizeof copy || memchr(text, 0, len)) return false;
  if (!(text[0] >= '0' && text[0] <= '9') && !memchr(text, ':', len)) return false;
  memcpy(copy, text, len);
  copy[len] = '\0';
  memset(out, 0, sizeof *out);
  if (inet_pton(AF_INET, copy, out->bytes) == 1)
    out->family = 4;
  else if (inet_pton(AF_INET6, copy, out->bytes) == 1)
    out->family = 6;
  else
    return false;
  return true;
}

void wg_dns_addr_text(const wg_dns_addr *a, char out[46]) {
  if (!inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->bytes, out, 46)) out[0] = '\0';
}

bool wg_dns_addr_equal(const wg_dns_addr *a, const wg_dns_addr *b) {
  return a->family == b->family && memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 16) == 0;
}

size_t wg_dns_to_arpa(const wg_dns_addr *a, char out[WG_DNS_ARPA_MAX]) {
  static const char hex[] = "0123456789abcdef";
  if (a->family == 4) {
    const uint8_t *b = a->bytes;
    return (size_t)snprintf(out, WG_DNS_ARPA_MAX, "%u.%u.%u.%u.in-addr.arpa", b[3], b[2], b[1],
                            b[0]);
  }
  size_t n = 0;
  for (size_t i = 16; i-- > 0;) {
    out[n++] = hex[a->bytes[i] & 15];
    out[n++] = '.';
    out[n++] = hex[a->bytes[i] >> 4];
    out[n++] = '.';
  }
  memcpy(out + n, "ip6.arpa", 9);
  return n + 8;
}

static bool from_arpa4(const char *name, wg_dns_addr *out) {
  const char *p = name;
  for (size_t i = 0; i < 4; i++) {
    unsigned v = 0;
    size_t digits = 0;
    for (; *p >= '0' && *p <= '9' && digits < 3; p++, digits++) v = v * 10 + (unsigned)(*p - '0');
    if (digits == 0 || v > 255 || (digits > 1 && p[-(ptrdiff_t)digits] == '0') || *p != '.')
      return false;
    p++;
    out->bytes[3 - i] = (uint8_t)v;
  }
  out->family = 4;
  return strcmp(p, "in-addr.arpa") == 0;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool from_arpa6(const char *name, wg_dns_addr *out) {
  if (strlen(name) != 72 || strcmp(name + 64, "ip6.arpa") != 0) return false;
  for (size_t i = 0; i < 16; i++) {
    const char *p = name + 4 * i;
    int low = hex_digit(p[0]), high = hex_digit(p[2]);
    if (low < 0 || high < 0 || p[1] != '.' || p[3] != '.') return false;
    out->bytes[15 - i] = (uint8_t)(high << 4 | low);
  }
  out->family = 6;
  return true;
}

bool wg_dns_from_arpa(const char *name, wg_dns_addr *out) {
  memset(out, 0, sizeof *out);
  return from_arpa4(name, out) || from_arpa6(name, out);
}

bool wg_dns_is_below(const char *name, size_t len, const char *domain) {
  size_t n = domain ? strlen(domain) : 0;
  return n > 0 && len >= n && memcmp(name + len - n, domain, n) == 0 &&
         (len == n || name[len - n - 1] == '.');
}

bool wg_dns_server_parse(const char *text, wg_dns_addr *out, uint16_t *port) {
  size_t len = strlen(text);
  *port = DNS_PORT;
  if (wg_dns_literal(text, len, out)) return true;
  const char *colon = strrchr(text, ':');
  if (!colon) return false;
  unsigned v = 0;
  size_t digits = strspn(colon + 1, "0123456789");
  if (digits == 0 || digits > 5 || colon[1 + digits]) return false;
  for (size_t i = 1; i <= digits; i++) v = v * 10 + (unsigned)(colon[i] - '0');
  if (v == 0 || v > 65535) return false;
  *port = (uint16_t)v;
  if (text[0] != '[') return wg_dns_literal(text, (size_t)(colon - text), out) && out->family == 4;
  return colon[-1] == ']' && colon > text + 2 &&
         wg_dns_literal(text + 1, (size_t)(colon - text) - 2, out) && out->family == 6;
}
