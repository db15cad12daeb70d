/* SPDX-License-Identifier: Apache-2.0 */
/** @file symbols.c  What is known of an object's symbols, and other names for them. */
#include "object/object_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool name_is(const wg_object_symbol *s, const char *name) {
  return s->name && s->name_len == strlen(name) && memcmp(s->name, name, s->name_len) == 0;
}

const wg_object_symbol *wg_object_find(const wg_object *o, const char *name) {
  for (size_t i = 0; i < o->symbol_count; i++)
    if (wg_object_is_public(&o->symbols[i]) && name_is(&o->symbols[i], name)) return &o->symbols[i];
  return NULL;
}

bool wg_object_same(const wg_object_symbol *a, const wg_object_symbol *b) {
  if (a == b) return true;
  if (a->kind != b->kind || a->index != b->index) return false;
  if ((a->flags | b->flags) & (WG_OBJECT_UNDEFINED | WG_OBJECT_ABSOLUTE)) return false;
  return a->kind != WG_OBJECT_DATA || a->offset == b->offset;
}

/* ---- signatures ---- */

/** Appends to a text of WG_OBJECT_TEXT_MAX; what does not fit is cut. */
static WG_PRINTF(2, 3) void add(char *out, const char *fmt, ...) {
  size_t len = strlen(out);
  va_list args;
  va_start(args, fmt);
  vsnprintf(out + len, WG_OBJECT_TEXT_MAX - len, fmt, args);
  va_end(args);
}

static void add_type(const wg_object *o, uint32_t type, char *out) {
  wg_reader r = o->types->types[type];
  for (unsigned part = 0; part < 2; part++) {
    add(out, part ? " -> (" : "(");
    for (uint32_t n = wg_take_leb(&r), i = 0; i < n && !r.failed; i++)
      add(out, "%s%s", i ? " " : "", wg__object_value_type(wg_take_u8(&r)));
    add(out, ")");
  }
}

void wg_object_signature(const wg_object *o, const wg_object_symbol *s,
                         char out[WG_OBJECT_TEXT_MAX]) {
  out[0] = '\0';
  switch (s->kind) {
  case WG_OBJECT_DATA:
    if (s->flags & WG_OBJECT_UNDEFINED)
      add(out, "data");
    else
      add(out, "%u bytes%s", s->size, s->flags & WG_OBJECT_TLS ? " of each thread" : "");
    return;
  case WG_OBJECT_SECTION: add(out, "section %u", s->index); return;
  default: break;
  }
  const wg__object_entry *e = &o->types->spaces[s->kind].entries[s->index];
  if (s->kind == WG_OBJECT_FUNCTION || s->kind == WG_OBJECT_TAG)
    add_type(o, e->type, out);
  else
    add(out, "%s%s", wg__object_value_type(e->value), e->is_mutable ? " mutable" : "");
}

/* ---- uses ---- */

/** What holds a place: a function or a piece of data, and one of its names if it has any. */
typedef struct holder {
  wg_object_kind kind;
  uint32_t index;
  const wg_object_symbol *symbol;
} holder;

static holder holder_of(const wg_object *o, const wg_object_use *u) {
  holder h = {.kind = u->in_code ? WG_OBJECT_FUNCTION : WG_OBJECT_DATA};
  const wg_object_range *ranges = u->in_code ? o->functions : o->segments;
  size_t count = u->in_code ? o->function_count : o->segment_count, i = 0;
  while (i < count && (u->offset < ranges[i].start || u->offset >= ranges[i].end)) i++;
  size_t imported = u->in_code ? o->types->spaces[WG_OBJECT_FUNCTION].imported : 0;
  h.index = (uint32_t)(i + imported);
  for (size_t k = 0; k < o->symbol_count && i < count; k++) {
    const wg_object_symbol *s = &o->symbols[k];
    if (s->kind != h.kind || s->index != h.index || s->flags & WG_OBJECT_UNDEFINED) continue;
    if (h.kind == WG_OBJECT_DATA) {
      uint32_t at = u->offset - ranges[i].start;
      if (at < s->offset || at - s->offset >= s->size) continue;
    }
    h.symbol = s;
    break;
  }
  return h;
}

void wg_object_each_use(const wg_object *o, const wg_object_symbol *s,
                        void (*item)(void *user, const char *user_name, size_t len), void *user) {
  for (size_t i = 0; i < o->use_count; i++) {
    const wg_object_use *u = &o->uses[i];
    if (!wg_object_same(&o->symbols[u->symbol], s)) continue;
    holder h = holder_of(o, u);
    if (h.symbol && wg_object_same(h.symbol, s)) continue;
    char number[32];
    int len = snprintf(number, sizeof number, "%s %u", wg_object_kind_name(h.kind), h.index);
    if (h.symbol)
      item(user, h.symbol->name, h.symbol->name_len);
    else
      item(user, number, (size_t)len);
  }
}

/* ---- renaming ---- */

static bool in_comdat(const wg_object *o, const wg_object_symbol *s) {
  wg_reader r = o->types->comdats;
  for (uint32_t groups = r.p ? wg_take_leb(&r) : 0; groups && !r.failed; groups--) {
    size_t len;
    wg_take_name(&r, &len);
    wg_take_leb(&r); /* flags */
    for (uint32_t n = wg_take_leb(&r); n && !r.failed; n--) {
      uint8_t kind = wg_take_u8(&r); /* 0: data, 1: a function */
      uint32_t index = wg_take_leb(&r);
      if (r.failed || index != s->index) continue;
      if (kind == (s->kind == WG_OBJECT_DATA ? 0 : 1) && s->kind <= WG_OBJECT_DATA) return true;
    }
  }
  return false;
}

typedef struct first_use {
  char name[128];
} first_use;

static void keep_first(void *user, const char *name, size_t len) {
  first_use *f = user;
  if (!f->name[0]) snprintf(f->name, sizeof f->name, "%.*s", (int)len, name);
}

static wg_code check_rename(const wg_object *o, const wg_object_rename *all, size_t i,
                            wg_error *err) {
  const wg_object_rename *r = &all[i];
  const wg_object_symbol *s = wg_object_find(o, r->from);
  if (!s) return wg_error_set(err, WG_NOT_FOUND, 0, "'%s' is not defined here", r->from);
  if (!r->to[0] || strlen(r->to) > WG_OBJECT_NAME_MAX)
    return wg_error_set(err, WG_INVALID, 0, "'%s' cannot be renamed to '%.64s': no name", r->from,
                        r->to);
  for (size_t k = 0; k < i; k++)
    if (strcmp(all[k].from, r->from) == 0 || strcmp(all[k].to, r->to) == 0)
      return wg_error_set(err, WG_INVALID, 0, "'%s' is renamed to '%s', and '%s' to '%s'",
                          all[k].from, all[k].to, r->from, r->to);
  for (size_t k = 0; k < o->symbol_count; k++)
    if (name_is(&o->symbols[k], r->to))
      return wg_error_set(err, WG_INVALID, 0,
                          "'%s' cannot be renamed to '%s': that is here already", r->from, r->to);
  if (in_comdat(o, s))
    return wg_error_set(err, WG_INVALID, 0, "'%s' cannot be renamed: it is in a COMDAT", r->from);
  first_use f = {{0}};
  wg_object_each_use(o, s, keep_first, &f);
  if (!f.name[0]) return WG_OK;
  wg_error_set(err, WG_REFUSED, 0, "'%s' is used inside of its member, by '%s'", r->from, f.name);
  wg_error_hint(err, "that use would go past the new '%s': hook '%s' as well, or what both call",
                r->from, f.name);
  return WG_REFUSED;
}

static void put_symbol(wg_buf *out, const wg_object_symbol *s, const char *name, size_t len) {
  bool defined = !(s->flags & WG_OBJECT_UNDEFINED);
  wg_buf_put_u8(out, (uint8_t)s->kind);
  wg_buf_put_leb(out, s->flags);
  if (s->kind != WG_OBJECT_DATA) wg_buf_put_leb(out, s->index);
  bool named = defined || s->kind == WG_OBJECT_DATA || (s->flags & WG_OBJECT_EXPLICIT_NAME);
  if (s->kind == WG_OBJECT_SECTION || !named) return;
  wg_buf_put_leb(out, (uint32_t)len);
  wg_buf_put(out, name, len);
  if (s->kind != WG_OBJECT_DATA || !defined) return;
  wg_buf_put_leb(out, s->index);
  wg_buf_put_leb(out, s->offset);
  wg_buf_put_leb(out, s->size);
}

static void put_symbols(const wg_object *o, const wg_object_rename *renames, size_t count,
                        wg_buf *out) {
  wg_buf_put_leb(out, (uint32_t)o->symbol_count);
  for (size_t i = 0; i < o->symbol_count; i++) {
    const wg_object_symbol *s = &o->symbols[i];
    const char *name = s->name;
    size_t len = s->name_len;
    for (size_t k = 0; k < count && wg_object_is_public(s); k++)
      if (name_is(s, renames[k].from)) name = renames[k].to, len = strlen(name);
    put_symbol(out, s, name, len);
  }
}

/** A number of a section: id or length in front of it, and its bytes. */
static void put_block(wg_buf *out, uint8_t id, const wg_buf *content) {
  wg_buf_put_u8(out, id);
  wg_buf_put_leb(out, (uint32_t)wg_buf_len(content));
  wg_buf_put(out, wg_buf_head(content), wg_buf_len(content));
}

static void put_linking(const wg_object *o, const wg_object_rename *renames, size_t count,
                        wg_buf *section, wg_buf *table) {
  wg_reader r = wg_reader_of(o->bytes + o->linking_at, o->linking_end - o->linking_at);
  size_t len;
  wg_take_u8(&r);
  wg_take_leb(&r);
  const char *name = wg_take_name(&r, &len);
  wg_buf_put_leb(section, (uint32_t)len);
  wg_buf_put(section, name, len);
  wg_buf_put_leb(section, wg_take_leb(&r));
  while (r.len && !r.failed) {
    uint8_t id = wg_take_u8(&r);
    uint32_t size = wg_take_leb(&r);
    const uint8_t *bytes = wg_take_bytes(&r, size);
    wg_buf_clear(table);
    if (id == WG__OBJECT_SYMBOL_TABLE)
      put_symbols(o, renames, count, table);
    else
      wg_buf_put(table, bytes, size);
    if (table->failed) break;
    put_block(section, id, table);
  }
}

wg_code wg_object_write_renamed(const wg_object *o, const wg_object_rename *renames, size_t count,
                                wg_buf *out, wg_error *err) {
  for (size_t i = 0; i < count; i++) {
    wg_code code = check_rename(o, renames, i, err);
    if (code != WG_OK) return code;
  }
  wg_buf section, table;
  wg_buf_init(&section, out->max);
  wg_buf_init(&table, out->max);
  put_linking(o, renames, count, &section, &table);
  wg_buf_put(out, o->bytes, o->linking_at);
  put_block(out, 0, &section);
  wg_buf_put(out, o->bytes + o->linking_end, o->len - o->linking_end);
  bool nomem = section.nomem || table.nomem || out->nomem;
  bool failed = section.failed || table.failed || out->failed;
  wg_buf_release(&section);
  wg_buf_release(&table);
  if (!failed) return WG_OK;
  return nomem ? wg_error_set(err, WG_NOMEM, 0, "out of memory")
               : wg_error_set(err, WG_EXHAUSTED, 0, "the renamed object is larger than %zu bytes",
                              out->max);
}
