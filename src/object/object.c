/* SPDX-License-Identifier: Apache-2.0 */
#include "object/object_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  HEADER_SIZE = 8,
  FUNCTION_TYPE = 0x60,
  SECTION_CUSTOM = 0,
  SECTION_TYPE = 1,
  SECTION_IMPORT = 2,
  SECTION_FUNCTION = 3,
  SECTION_TABLE = 4,
  SECTION_GLOBAL = 6,
  SECTION_CODE = 10,
  SECTION_DATA = 11,
  SECTION_TAG = 13
};

/** Relocations by their number: no symbol (a type), a symbol, a symbol and an addend. */
enum { RELOC_NO_SYMBOL, RELOC_SYMBOL, RELOC_ADDEND };
static const uint8_t relocations[] = {
    RELOC_SYMBOL,    RELOC_SYMBOL, RELOC_SYMBOL, RELOC_ADDEND, RELOC_ADDEND, RELOC_ADDEND,
    RELOC_NO_SYMBOL, RELOC_SYMBOL, RELOC_ADDEND, RELOC_ADDEND, RELOC_SYMBOL, RELOC_ADDEND,
    RELOC_SYMBOL,    RELOC_SYMBOL, RELOC_ADDEND, RELOC_ADDEND, RELOC_ADDEND, RELOC_ADDEND,
    RELOC_SYMBOL,    RELOC_SYMBOL, RELOC_SYMBOL, RELOC_ADDEND, RELOC_ADDEND, RELOC_ADDEND,
    RELOC_SYMBOL,    RELOC_ADDEND, RELOC_SYMBOL};

/** While an object is read. */
typedef struct reading {
  wg_object *o;
  size_t symbol_cap, use_cap, function_cap, segment_cap, type_cap;
  unsigned sections; /**< how many came: relocations name theirs by this number */
  unsigned code_section, data_section; /**< their numbers plus 1; 0: there is none */
  bool has_linking, nomem, over;
  char what[96]; /**< why it cannot be read; over: it is not broken, but not known */
} reading;

const char *wg_object_other_format(const void *bytes, size_t len) {
  static const struct {
    const char *magic;
    size_t len;
    const char *name;
  } formats[] = {{"\0asm\x0d\0\1\0", 8, "a component"},
                 {"\x7f"
                  "ELF",
                  4, "an ELF file"},
                 {"BC\xc0\xde", 4, "LLVM bitcode"},
                 {"\xde\xc0\x17\x0b", 4, "LLVM bitcode"},
                 {"\xcf\xfa\xed\xfe", 4, "a Mach-O file"},
                 {"!<arch>\n", 8, "an archive"},
                 {"!<thin>\n", 8, "a thin archive"}};
  static const uint8_t header[HEADER_SIZE] = {0, 'a', 's', 'm', 1, 0, 0, 0};
  if (len >= HEADER_SIZE && memcmp(bytes, header, HEADER_SIZE) == 0) return NULL;
  for (size_t i = 0; i < WG_COUNT(formats); i++)
    if (len >= formats[i].len && memcmp(bytes, formats[i].magic, formats[i].len) == 0)
      return formats[i].name;
  if (len >= 4 && memcmp(bytes, header, 4) == 0) return "WebAssembly of another version";
  return len == 0 ? "an empty file" : "of an unknown format";
}

const char *wg_object_kind_name(wg_object_kind kind) {
  static const char *const names[] = {"function", "data", "global", "section", "tag", "table"};
  return names[kind];
}

const char *wg__object_value_type(uint8_t type) {
  switch (type) {
  case 0x7F: return "i32";
  case 0x7E: return "i64";
  case 0x7D: return "f32";
  case 0x7C: return "f64";
  case 0x7B: return "v128";
  case 0x70: return "funcref";
  case 0x6F: return "externref";
  case 0x69: return "exnref";
  default: return NULL;
  }
}

/* ---- small parts ---- */

/** Keeps the first reason. @return false, for `return broken(...)` */
static WG_PRINTF(2, 3) bool broken(reading *x, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  if (!x->what[0]) vsnprintf(x->what, sizeof x->what, fmt, args);
  va_end(args);
  return false;
}

/** Room for one more item of an array. */
static bool grow(reading *x, void **items, size_t *cap, size_t count, size_t size) {
  if (count < *cap) return true;
  size_t more = *cap ? *cap * 2 : 16;
  void *bigger = realloc(*items, more * size);
  if (!bigger) {
    x->nomem = true;
    return broken(x, "out of memory");
  }
  *items = bigger;
  *cap = more;
  return true;
}
#define GROW(x, array, cap, count) grow((x), (void **)&(array), &(cap), (count), sizeof *(array))

/** Any LEB128 of at most 64 bits, signed or not: its value does not matter. */
static void skip_leb(wg_reader *r) {
  for (unsigned i = 0; i < 10; i++)
    if (!(wg_take_u8(r) & 0x80)) return;
  r->failed = true;
}

static bool take_value_type(reading *x, wg_reader *r, uint8_t *out) {
  *out = wg_take_u8(r);
  if (r->failed) return broken(x, "it is cut short");
  if (wg__object_value_type(*out)) return true;
  x->over = true;
  return broken(x, "value type 0x%02x is not known", *out);
}

static void skip_limits(wg_reader *r) {
  uint8_t flags = wg_take_u8(r);
  skip_leb(r);
  if (flags & 1) skip_leb(r);
  if (flags & 8) skip_leb(r); /* page size */
}

static bool skip_init(reading *x, wg_reader *r) {
  for (;;) {
    uint8_t op = wg_take_u8(r);
    if (r->failed) return broken(x, "it is cut short");
    switch (op) {
    case 0x0B: return true;
    case 0x23: /* global.get */
    case 0x41: /* i32.const */
    case 0x42: /* i64.const */
    case 0xD2: /* ref.func */ skip_leb(r); break;
    case 0x43: wg_take_bytes(r, 4); break;
    case 0x44: wg_take_bytes(r, 8); break;
    case 0xD0: wg_take_u8(r); break;
    case 0x6A: /* additions and so on of the extended expressions */
    case 0x6B:
    case 0x6C:
    case 0x7C:
    case 0x7D:
    case 0x7E: break;
    default:
      x->over = true;
      return broken(x, "instruction 0x%02x in an initial value is not known", op);
    }
  }
}

static bool put_entry(reading *x, wg_object_kind kind, const wg__object_entry *e) {
  wg__object_space *s = &x->o->types->spaces[kind];
  if (!GROW(x, s->entries, s->cap, s->count)) return false;
  s->entries[s->count++] = *e;
  if (e->import_name) s->imported++;
  return true;
}

/* ---- sections ---- */

static bool read_types(reading *x, wg_reader *r) {
  struct wg__object_types *t = x->o->types;
  for (uint32_t n = wg_take_leb(r); n && !r->failed; n--) {
    uint8_t form = wg_take_u8(r), value;
    if (form != FUNCTION_TYPE) {
      x->over = !r->failed;
      return broken(x, "type form 0x%02x is not known", form);
    }
    wg_reader start = *r;
    for (unsigned part = 0; part < 2; part++)
      for (uint32_t values = wg_take_leb(r); values && !r->failed; values--)
        if (!take_value_type(x, r, &value)) return false;
    start.len -= r->len;
    if (!GROW(x, t->types, x->type_cap, t->type_count)) return false;
    t->types[t->type_count++] = start;
  }
  return true;
}

static bool read_imports(reading *x, wg_reader *r) {
  for (uint32_t n = wg_take_leb(r); n && !r->failed; n--) {
    size_t module_len;
    wg__object_entry e = {0};
    wg_take_name(r, &module_len);
    e.import_name = wg_take_name(r, &e.import_len);
    uint8_t kind = wg_take_u8(r);
    if (!e.import_name) break;
    wg_object_kind space = WG_OBJECT_FUNCTION;
    switch (kind) {
    case 0: e.type = wg_take_leb(r); break;
    case 1:
      space = WG_OBJECT_TABLE;
      if (!take_value_type(x, r, &e.value)) return false;
      skip_limits(r);
      break;
    case 2: skip_limits(r); continue;
    case 3:
      space = WG_OBJECT_GLOBAL;
      if (!take_value_type(x, r, &e.value)) return false;
      e.is_mutable = wg_take_u8(r) != 0;
      break;
    case 4:
      space = WG_OBJECT_TAG;
      wg_take_u8(r);
      e.type = wg_take_leb(r);
      break;
    default: x->over = !r->failed; return broken(x, "import kind %u is not known", kind);
    }
    if (!put_entry(x, space, &e)) return false;
  }
  return true;
}

/** Functions, tables, globals and tags that are defined here. */
static bool read_definitions(reading *x, wg_reader *r, wg_object_kind kind) {
  for (uint32_t n = wg_take_leb(r); n && !r->failed; n--) {
    wg__object_entry e = {0};
    switch (kind) {
    case WG_OBJECT_TAG:
      wg_take_u8(r);
      e.type = wg_take_leb(r);
      break;
    case WG_OBJECT_TABLE:
      if (!take_value_type(x, r, &e.value)) return false;
      skip_limits(r);
      break;
    case WG_OBJECT_GLOBAL:
      if (!take_value_type(x, r, &e.value)) return false;
      e.is_mutable = wg_take_u8(r) != 0;
      if (!skip_init(x, r)) return false;
      break;
    default: e.type = wg_take_leb(r);
    }
    if (!put_entry(x, kind, &e)) return false;
  }
  return true;
}

static bool read_code(reading *x, wg_reader *r) {
  const uint8_t *content = r->p;
  for (uint32_t n = wg_take_leb(r); n && !r->failed; n--) {
    uint32_t size = wg_take_leb(r);
    const uint8_t *body = wg_take_bytes(r, size);
    if (!body) break;
    if (!GROW(x, x->o->functions, x->function_cap, x->o->function_count)) return false;
    uint32_t start = (uint32_t)(body - content);
    x->o->functions[x->o->function_count++] = (wg_object_range){start, start + size};
  }
  return true;
}

static bool read_data(reading *x, wg_reader *r) {
  const uint8_t *content = r->p;
  for (uint32_t n = wg_take_leb(r); n && !r->failed; n--) {
    uint32_t flags = wg_take_leb(r);
    if (flags == 2) wg_take_leb(r);
    if (flags != 1 && !skip_init(x, r)) return false;
    uint32_t size = wg_take_leb(r);
    const uint8_t *bytes = wg_take_bytes(r, size);
    if (!bytes) break;
    if (!GROW(x, x->o->segments, x->segment_cap, x->o->segment_count)) return false;
    uint32_t start = (uint32_t)(bytes - content);
    x->o->segments[x->o->segment_count++] = (wg_object_range){start, start + size};
  }
  return true;
}

bool wg__object_take_symbol(wg_reader *r, wg_object_symbol *out) {
  wg_object_symbol s = {.kind = (wg_object_kind)wg_take_u8(r)};
  s.flags = wg_take_leb(r);
  bool defined = !(s.flags & WG_OBJECT_UNDEFINED);
  switch (s.kind) {
  case WG_OBJECT_DATA:
    s.name = wg_take_name(r, &s.name_len);
    if (defined && s.name) {
      s.index = wg_take_leb(r);
      s.offset = wg_take_leb(r);
      s.size = wg_take_leb(r);
    }
    break;
  case WG_OBJECT_SECTION: s.index = wg_take_leb(r); break;
  case WG_OBJECT_FUNCTION:
  case WG_OBJECT_GLOBAL:
  case WG_OBJECT_TAG:
  case WG_OBJECT_TABLE:
    s.index = wg_take_leb(r);
    if (defined || (s.flags & WG_OBJECT_EXPLICIT_NAME)) s.name = wg_take_name(r, &s.name_len);
    break;
  default: return false;
  }
  *out = s;
  return !r->failed && s.name_len <= WG_OBJECT_NAME_MAX;
}

/** Names become words of text. */
static bool is_word(const char *name, size_t len) {
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)name[i] <= ' ' || name[i] == 0x7F) return false;
  return len > 0;
}

static bool read_symbols(reading *x, wg_reader *r) {
  if (x->o->symbols) return broken(x, "it has two symbol tables");
  for (uint32_t n = wg_take_leb(r); n && !r->failed; n--) {
    wg_object_symbol s;
    if (!wg__object_take_symbol(r, &s)) return broken(x, "its symbol table is broken");
    const wg__object_space *space = &x->o->types->spaces[s.kind];
    bool defined = !(s.flags & WG_OBJECT_UNDEFINED);
    if (s.kind != WG_OBJECT_DATA && s.kind != WG_OBJECT_SECTION) {
      /* A definition is none of the imports, and the other way round. */
      if (s.index >= space->count || defined != (s.index >= space->imported))
        return broken(x, "a symbol is of a %s that is not there", wg_object_kind_name(s.kind));
      if (!s.name) {
        s.name = space->entries[s.index].import_name;
        s.name_len = space->entries[s.index].import_len;
      }
    }
    if (s.name && !is_word(s.name, s.name_len)) return broken(x, "the name of a symbol is none");
    if (!GROW(x, x->o->symbols, x->symbol_cap, x->o->symbol_count)) return false;
    x->o->symbols[x->o->symbol_count++] = s;
  }
  return true;
}

static bool read_linking(reading *x, wg_reader *r) {
  if (x->has_linking) return broken(x, "it has two sections 'linking'");
  x->has_linking = true;
  uint32_t version = wg_take_leb(r);
  if (version != WG__OBJECT_VERSION && !r->failed) {
    x->over = true;
    return broken(x, "its section 'linking' has version %u, not %d", version, WG__OBJECT_VERSION);
  }
  while (r->len && !r->failed) {
    uint8_t id = wg_take_u8(r);
    uint32_t size = wg_take_leb(r);
    const uint8_t *bytes = wg_take_bytes(r, size);
    if (!bytes) break;
    wg_reader sub = wg_reader_of(bytes, size);
    if (id == WG__OBJECT_COMDAT) x->o->types->comdats = sub;
    if (id != WG__OBJECT_SYMBOL_TABLE) continue;
    if (!read_symbols(x, &sub)) return false;
    if (sub.failed || sub.len) return broken(x, "its symbol table is broken");
  }
  return true;
}

/** Uses in code and data; those of debug information say nothing about calls. */
static bool read_relocations(reading *x, wg_reader *r) {
  uint32_t section = wg_take_leb(r);
  bool in_code = section + 1 == x->code_section, in_data = section + 1 == x->data_section;
  for (uint32_t n = wg_take_leb(r); n && !r->failed; n--) {
    uint32_t type = wg_take_leb(r);
    if (type >= sizeof relocations && !r->failed) {
      x->over = true;
      return broken(x, "relocation type %u is not known", type);
    }
    wg_object_use u = {.in_code = in_code, .offset = wg_take_leb(r), .symbol = wg_take_leb(r)};
    if (r->failed) break;
    if (relocations[type] == RELOC_ADDEND) skip_leb(r);
    if (relocations[type] == RELOC_NO_SYMBOL || (!in_code && !in_data)) continue;
    if (u.symbol >= x->o->symbol_count)
      return broken(x, "a relocation is for a symbol that is not there");
    if (!GROW(x, x->o->uses, x->use_cap, x->o->use_count)) return false;
    x->o->uses[x->o->use_count++] = u;
  }
  return true;
}

static bool name_is(const char *name, size_t len, const char *is) {
  return len == strlen(is) && memcmp(name, is, len) == 0;
}

static bool read_custom(reading *x, wg_reader *r, size_t at, size_t end) {
  size_t len;
  const char *name = wg_take_name(r, &len);
  if (!name) return true;
  if (name_is(name, len, "linking")) {
    x->o->linking_at = at;
    x->o->linking_end = end;
    return read_linking(x, r);
  }
  if (len > 6 && memcmp(name, "reloc.", 6) == 0) {
    if (!x->has_linking) return broken(x, "relocations come before the symbol table");
    return read_relocations(x, r);
  }
  r->p += r->len, r->len = 0; /* of no meaning here */
  return true;
}

static bool read_section(reading *x, uint8_t id, wg_reader *r, size_t at, size_t end) {
  switch (id) {
  case SECTION_CUSTOM: return read_custom(x, r, at, end);
  case SECTION_TYPE: return read_types(x, r);
  case SECTION_IMPORT: return read_imports(x, r);
  case SECTION_FUNCTION: return read_definitions(x, r, WG_OBJECT_FUNCTION);
  case SECTION_TABLE: return read_definitions(x, r, WG_OBJECT_TABLE);
  case SECTION_GLOBAL: return read_definitions(x, r, WG_OBJECT_GLOBAL);
  case SECTION_TAG: return read_definitions(x, r, WG_OBJECT_TAG);
  case SECTION_CODE: x->code_section = x->sections + 1; return read_code(x, r);
  case SECTION_DATA: x->data_section = x->sections + 1; return read_data(x, r);
  default: r->p += r->len, r->len = 0; return true;
  }
}

/** What the sections say of each other. */
static bool check(reading *x) {
  const wg_object *o = x->o;
  const struct wg__object_types *t = o->types;
  if (!x->has_linking) {
    x->over = true;
    return broken(x, "it has no section 'linking': it is linked already");
  }
  const wg__object_space *f = &t->spaces[WG_OBJECT_FUNCTION];
  if (f->count - f->imported != o->function_count)
    return broken(x, "it declares %zu functions and has %zu", f->count - f->imported,
                  o->function_count);
  for (wg_object_kind kind = 0; kind <= WG_OBJECT_TABLE; kind++) {
    if (kind != WG_OBJECT_FUNCTION && kind != WG_OBJECT_TAG) continue;
    for (size_t i = 0; i < t->spaces[kind].count; i++)
      if (t->spaces[kind].entries[i].type >= t->type_count)
        return broken(x, "a %s has a type that is not there", wg_object_kind_name(kind));
  }
  for (size_t i = 0; i < o->symbol_count; i++) {
    const wg_object_symbol *s = &o->symbols[i];
    if (s->kind != WG_OBJECT_DATA || s->flags & (WG_OBJECT_UNDEFINED | WG_OBJECT_ABSOLUTE))
      continue;
    if (s->index >= o->segment_count ||
        s->offset > o->segments[s->index].end - o->segments[s->index].start)
      return broken(x, "a symbol is of data that is not there");
  }
  return true;
}

wg_code wg_object_read(const void *bytes, size_t len, wg_object *out, wg_error *err) {
  const char *other = wg_object_other_format(bytes, len);
  if (other)
    return wg_error_set(err, WG_UNSUPPORTED, 0, "not a WebAssembly object: it is %s", other);
  wg_object o = {.bytes = bytes, .len = len, .types = calloc(1, sizeof *o.types)};
  if (!o.types) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  reading x = {.o = &o};
  wg_reader r = wg_reader_of((const uint8_t *)bytes + HEADER_SIZE, len - HEADER_SIZE);
  bool ok = true;
  for (; ok && r.len; x.sections++) {
    size_t at = (size_t)(r.p - o.bytes);
    uint8_t id = wg_take_u8(&r);
    uint32_t size = wg_take_leb(&r);
    const uint8_t *content = wg_take_bytes(&r, size);
    wg_reader section = wg_reader_of(content, content ? size : 0);
    if (!content)
      ok = broken(&x, "it is cut short");
    else if (!read_section(&x, id, &section, at, (size_t)(r.p - o.bytes)))
      ok = false;
    else if (section.failed || section.len)
      ok = broken(&x, "section %u is broken", x.sections);
  }
  if (ok && check(&x)) {
    *out = o;
    return WG_OK;
  }
  wg_object_release(&o);
  wg_code code = x.nomem ? WG_NOMEM : x.over ? WG_UNSUPPORTED : WG_INVALID;
  return wg_error_set(err, code, 0, "not a WebAssembly object that can be read: %s", x.what);
}

void wg_object_release(wg_object *o) {
  if (o->types) {
    for (size_t i = 0; i < WG_COUNT(o->types->spaces); i++) free(o->types->spaces[i].entries);
    free(o->types->types);
  }
  free(o->types);
  free(o->symbols);
  free(o->uses);
  free(o->functions);
  free(o->segments);
  *o = (wg_object){0};
}
