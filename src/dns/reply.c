/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/reply.h"

#include <ares.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
  HEADER_BYTES = 12,
  ALIASES_MAX = 16,       /* of a name; longer chains are loops */
  RECORDS_MAX = 4096,     /* of a reply: 64 KiB hold hardly more */
  ALIAS_RECORDS_MAX = 64, /* of a reply: each step of a chain looks at all of them */
  NAME_TEXT_MAX = 1024 + 1, /* 255 bytes, each escaped as \DDD */
  DATA_TEXT_MAX = 4 * 65536 + 8192
};

/** A record in place. */
typedef struct record {
  const uint8_t *owner; /**< not looked into */
  uint16_t type, cls;
  uint32_t ttl_s;
  const uint8_t *data;
  size_t data_len;
} record;

typedef struct walker {
  const uint8_t *p;
  size_t len;
  const uint8_t *at; /* of the next record */
  unsigned answers, authorities;
  char question[NAME_TEXT_MAX];
} walker;

/** Reads a name, compressed or not, in c-ares's presentation form; *at moves behind it. */
static bool take_name(const walker *w, const uint8_t **at, char out[NAME_TEXT_MAX]) {
  char *text;
  long used;
  /* Takes int and long: a reply is at most 64 KiB. */
  if (ares_expand_name(*at, w->p, (int)w->len, &text, &used) != ARES_SUCCESS) return false;
  size_t n = strlen(text);
  bool ok = n < NAME_TEXT_MAX;
  if (ok) memcpy(out, text, n + 1);
  ares_free_string(text);
  *at += used;
  return ok;
}

static uint16_t u16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t u32(const uint8_t *p) { return (uint32_t)u16(p) << 16 | u16(p + 2); }

static bool walk_begin(walker *w, const uint8_t *p, size_t len) {
  if (len < HEADER_BYTES || len > 65535) return false;
  *w = (walker){.p = p, .len = len, .at = p + HEADER_BYTES};
  w->answers = u16(p + 6);
  w->authorities = u16(p + 8);
  if (!(p[2] & 0x80) || u16(p + 4) != 1 || w->answers + w->authorities > RECORDS_MAX) return false;
  if (!take_name(w, &w->at, w->question) || (size_t)(p + len - w->at) < 4) return false;
  w->at += 4;
  return true;
}

/** Passes over a name without following it. */
static bool skip_name(const uint8_t **at, const uint8_t *end) {
  const uint8_t *p = *at;
  while (p < end && *p && *p < 0xc0) p += *p + 1;
  if (p >= end) return false;
  p += *p ? 2 : 1;
  *at = p;
  return p <= end;
}

static bool owner_is(const walker *w, const record *r, const char *name) {
  char owner[NAME_TEXT_MAX];
  const uint8_t *at = r->owner;
  return take_name(w, &at, owner) && strcasecmp(owner, name) == 0;
}

static bool walk_next(walker *w, record *r) {
  const uint8_t *end = w->p + w->len;
  r->owner = w->at;
  if (!skip_name(&w->at, end) || end - w->at < 10) return false;
  r->type = u16(w->at);
  r->cls = u16(w->at + 2);
  r->ttl_s = u32(w->at + 4);
  if (r->ttl_s > INT32_MAX) r->ttl_s = 0; /* RFC 2181, section 8 */
  r->data_len = u16(w->at + 8);
  r->data = w->at + 10;
  if ((size_t)(end - r->data) < r->data_len) return false;
  w->at = r->data + r->data_len;
  return true;
}

/** The name that the question's aliases lead to; *ttl_s is lowered to their least. Servers need not
 *  send aliases in order, so each step looks at all answers. */
static bool canonical_name(const walker *start, char name[NAME_TEXT_MAX], uint32_t *ttl_s) {
  memcpy(name, start->question, NAME_TEXT_MAX);
  for (unsigned step = 0; step < ALIASES_MAX; step++) {
    walker w = *start;
    bool moved = false;
    unsigned aliases = 0;
    for (unsigned i = 0; i < start->answers && !moved; i++) {
      record r;
      if (!walk_next(&w, &r)) return false;
      if (r.type != WG__RR_CNAME || r.cls != 1) continue;
      if (++aliases > ALIAS_RECORDS_MAX) return false;
      if (!owner_is(&w, &r, name)) continue;
      const uint8_t *at = r.data;
      if (!take_name(&w, &at, name)) return false;
      if (r.ttl_s < *ttl_s) *ttl_s = r.ttl_s;
      moved = true;
    }
    if (!moved) return true;
  }
  return false;
}

bool wg__reply_addresses(const uint8_t *p, size_t len, uint16_t type, wg_dns_addr *out, size_t cap,
                         size_t *count, uint32_t *ttl_s) {
  walker w;
  record r;
  char name[NAME_TEXT_MAX];
  size_t n = 0, size = type == WG__RR_A ? 4 : 16;
  uint32_t ttl = *ttl_s;
  *count = 0;
  if (!walk_begin(&w, p, len) || !canonical_name(&w, name, &ttl)) return false;
  for (unsigned i = 0; i < w.answers && n < cap; i++) {
    if (!walk_next(&w, &r)) return false;
    if (r.type != type || r.cls != 1 || r.data_len != size || !owner_is(&w, &r, name)) continue;
    memset(&out[n], 0, sizeof out[n]);
    out[n].family = type == WG__RR_A ? 4 : 6;
    memcpy(out[n++].bytes, r.data, size);
    if (r.ttl_s < ttl) ttl = r.ttl_s;
  }
  if (n) *ttl_s = ttl;
  *count = n;
  return true;
}

/* ---- presentation form ---- */

/** Character strings in quotes, one after another. */
static bool put_strings(wg_buf *out, const uint8_t *p, size_t len) {
  bool first = true;
  while (len) {
    size_t n = *p++;
    if (n > --len) return false;
    if (!first) wg_buf_put_u8(out, ' ');
    first = false;
    wg_buf_put_u8(out, '"');
    for (size_t i = 0; i < n; i++) {
      uint8_t c = p[i];
      if (c == '"' || c == '\\')
        wg_buf_printf(out, "\\%c", c);
      else if (c < ' ' || c > '~')
        wg_buf_printf(out, "\\%03u", c);
      else
        wg_buf_put_u8(out, c);
    }
    wg_buf_put_u8(out, '"');
    p += n;
    len -= n;
  }
  return !first;
}

static bool put_name(const walker *w, const record *r, size_t skip, wg_buf *out) {
  char name[NAME_TEXT_MAX];
  const uint8_t *at = r->data + skip;
  if (r->data_len <= skip || !take_name(w, &at, name)) return false;
  wg_buf_printf(out, "%s.", name);
  return true;
}

static bool put_data(const walker *w, const record *r, wg_buf *out) {
  wg_dns_addr a = {0};
  char text[46];
  switch (r->type) {
  case WG__RR_A:
  case WG__RR_AAAA:
    a.family = r->type == WG__RR_A ? 4 : 6;
    if (r->data_len != (a.family == 4 ? 4u : 16u)) return false;
    memcpy(a.bytes, r->data, r->data_len);
    wg_dns_addr_text(&a, text);
    wg_buf_printf(out, "%s", text);
    return true;
  case WG__RR_CNAME:
  case WG__RR_PTR: return put_name(w, r, 0, out);
  case WG__RR_SRV:
    if (r->data_len < 7) return false;
    wg_buf_printf(out, "%u %u %u ", u16(r->data), u16(r->data + 2), u16(r->data + 4));
    return put_name(w, r, 6, out);
  case WG__RR_TXT: return put_strings(out, r->data, r->data_len);
  default: return false;
  }
}

bool wg__reply_records(const uint8_t *p, size_t len, uint16_t type,
                       void (*item)(void *user, uint32_t ttl_s, const char *data), void *user) {
  walker w;
  record r;
  char name[NAME_TEXT_MAX];
  uint32_t ttl = INT32_MAX;
  if (!walk_begin(&w, p, len)) return false;
  if (type == WG__RR_CNAME) /* the question's own alias, not where it leads */
    memcpy(name, w.question, sizeof name);
  else if (!canonical_name(&w, name, &ttl))
    return false;
  wg_buf text;
  wg_buf_init(&text, DATA_TEXT_MAX);
  bool ok = true;
  for (unsigned i = 0; i < w.answers && ok; i++) {
    ok = walk_next(&w, &r);
    if (!ok || r.type != type || r.cls != 1 || !owner_is(&w, &r, name)) continue;
    wg_buf_clear(&text);
    ok = put_data(&w, &r, &text);
    wg_buf_put_u8(&text, 0);
    ok = ok && !text.failed;
    if (ok) item(user, r.ttl_s < ttl ? r.ttl_s : ttl, (const char *)wg_buf_head(&text));
  }
  wg_buf_release(&text);
  return ok;
}

bool wg__reply_negative_ttl(const uint8_t *p, size_t len, uint32_t *ttl_s) {
  walker w;
  record r;
  if (!walk_begin(&w, p, len)) return false;
  for (unsigned i = 0; i < w.answers; i++)
    if (!walk_next(&w, &r)) return false;
  for (unsigned i = 0; i < w.authorities; i++) {
    if (!walk_next(&w, &r)) return false;
    if (r.type != WG__RR_SOA || r.data_len < 22) continue;
    /* Two names and five numbers; the last is the minimum. */
    uint32_t minimum = u32(r.data + r.data_len - 4);
    if (minimum > INT32_MAX) minimum = 0;
    *ttl_s = minimum < r.ttl_s ? minimum : r.ttl_s;
    return true;
  }
  return false;
}
