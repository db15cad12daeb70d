/* SPDX-License-Identifier: Apache-2.0 */
#include "object/archive.h"

#include "object/object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_SIZE = 8, HEADER_SIZE = 60, NAME_SIZE = 16, SHORT_NAME_MAX = 15 };
static const char magic[] = "!<arch>\n", thin_magic[] = "!<thin>\n";

bool wg_archive_is(const void *bytes, size_t len) {
  return len >= MAGIC_SIZE &&
         (memcmp(bytes, magic, MAGIC_SIZE) == 0 || memcmp(bytes, thin_magic, MAGIC_SIZE) == 0);
}

/* ---- reading ---- */

static wg_code broken(const char *what, size_t at, wg_error *err) {
  return wg_error_set(err, WG_INVALID, 0, "broken archive: %s at byte %zu", what, at);
}

/** A decimal number of up to `len` characters, filled with spaces. @return false: it is none */
static bool take_number(const char *s, size_t len, size_t *out) {
  size_t value = 0, i = 0;
  for (; i < len && s[i] >= '0' && s[i] <= '9'; i++) value = value * 10 + (size_t)(s[i] - '0');
  bool some = i > 0;
  while (i < len && s[i] == ' ') i++;
  *out = value;
  return some && i == len;
}

static wg_code put_member(wg_archive *a, const char *name, size_t name_len, const void *bytes,
                          size_t len, wg_error *err) {
  bool full = (a->count & (a->count - 1)) == 0; /* room grows at powers of two */
  if (full) {
    void *bigger = realloc(a->members, (a->count ? a->count * 2 : 1) * sizeof *a->members);
    if (!bigger) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
    a->members = bigger;
  }
  char *copy = malloc(name_len + 1);
  if (!copy) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  memcpy(copy, name, name_len);
  copy[name_len] = '\0';
  a->members[a->count++] = (wg_archive_member){copy, bytes, len};
  return WG_OK;
}

/** The name of a member: "short/", or "/123", an offset in `names`. NULL: it is broken. */
static const char *member_name(const char *field, wg_reader names, size_t *len) {
  const char *from = field, *end = memchr(field, '/', NAME_SIZE);
  size_t offset;
  if (field[0] == '/') {
    if (!take_number(field + 1, NAME_SIZE - 1, &offset) || offset >= names.len) return NULL;
    from = (const char *)names.p + offset;
    end = memchr(from, '/', names.len - offset);
  }
  if (!end || end == from) return NULL;
  *len = (size_t)(end - from);
  return memchr(from, '\0', *len) || memchr(from, '\n', *len) ? NULL : from;
}

static wg_code read_members(wg_archive *a, const char *bytes, size_t len, wg_error *err) {
  wg_reader r = wg_reader_of(bytes + MAGIC_SIZE, len - MAGIC_SIZE), names = {0};
  while (r.len) {
    size_t at = len - r.len, size, name_len;
    const char *header = (const char *)wg_take_bytes(&r, HEADER_SIZE);
    if (!header) return broken("a header is cut short", at, err);
    if (memcmp(header + 58, "`\n", 2) != 0 || !take_number(header + 48, 10, &size))
      return broken("a header is none", at, err);
    const uint8_t *content = wg_take_bytes(&r, size);
    if (!content) return broken("a member is cut short", at, err);
    if (size % 2 && r.len) wg_take_u8(&r);
    bool bsd_name = memcmp(header, "#1/", 3) == 0 && header[3] != ' ';
    bool bsd_table = memcmp(header, "__.SYMDEF       ", NAME_SIZE) == 0 ||
                     memcmp(header, "__.SYMDEF SORTED", NAME_SIZE) == 0;
    if (bsd_name || bsd_table)
      return wg_error_set(err, WG_UNSUPPORTED, 0, "not a GNU archive: it has names in BSD's way");
    if (memcmp(header, "//              ", NAME_SIZE) == 0) {
      names = wg_reader_of(content, size);
      continue;
    }
    /* Tables of symbols are made anew. */
    if (memcmp(header, "/               ", NAME_SIZE) == 0) continue;
    if (memcmp(header, "/SYM64/         ", NAME_SIZE) == 0) continue;
    const char *name = member_name(header, names, &name_len);
    if (!name) return broken("a member has no name", at, err);
    wg_code code = put_member(a, name, name_len, content, size, err);
    if (code != WG_OK) return code;
  }
  return WG_OK;
}

wg_code wg_archive_read(const void *bytes, size_t len, wg_archive *out, wg_error *err) {
  if (len < MAGIC_SIZE || memcmp(bytes, magic, MAGIC_SIZE) != 0) {
    const char *other = wg_object_other_format(bytes, len);
    return wg_error_set(err, WG_UNSUPPORTED, 0, "not an archive with content: it is %s",
                        other ? other : "a core module");
  }
  wg_archive a = {0};
  wg_code code = read_members(&a, bytes, len, err);
  if (code == WG_OK)
    *out = a;
  else
    wg_archive_release(&a);
  return code;
}

void wg_archive_release(wg_archive *a) {
  for (size_t i = 0; i < a->count; i++) free(a->members[i].name);
  free(a->members);
  *a = (wg_archive){0};
}

wg_code wg_archive_add(wg_archive *a, const char *name, const void *bytes, size_t len,
                       wg_error *err) {
  if (!name[0] || strpbrk(name, "/\n"))
    return wg_error_set(err, WG_INVALID, 0, "'%s' is no name of a member", name);
  return put_member(a, name, strlen(name), bytes, len, err);
}

/* ---- writing ---- */

/** GNU's way: names have only a size, the table of symbols no mode. */
static void put_header(wg_buf *out, const char *name, size_t size) {
  bool names = strcmp(name, "//") == 0;
  const char *zero = names ? "" : "0", *mode = strcmp(name, "/") == 0 || names ? zero : "644";
  wg_buf_printf(out, "%-16s%-12s%-6s%-6s%-8s%-10zu`\n", name, zero, zero, zero, mode, size);
}

static void put_padding(wg_buf *out) {
  if (wg_buf_len(out) % 2) wg_buf_put_u8(out, '\n');
}

/** The symbol table of an archive on its way. */
typedef struct table {
  wg_buf owners; /**< a member's number for each name */
  wg_buf names;  /**< NUL-terminated */
} table;

static wg_code add_symbols(table *t, const wg_archive_member *m, size_t number, wg_error *err) {
  wg_object o;
  wg_code code = wg_object_read(m->bytes, m->len, &o, err);
  if (code != WG_OK) {
    wg_error_wrap(err, "member '%s'", m->name);
    return code;
  }
  for (size_t i = 0; i < o.symbol_count; i++) {
    const wg_object_symbol *s = &o.symbols[i];
    if (!wg_object_is_public(s)) continue;
    wg_buf_put_u32(&t->owners, (uint32_t)number);
    wg_buf_put(&t->names, s->name, s->name_len);
    wg_buf_put_u8(&t->names, 0);
  }
  wg_object_release(&o);
  return WG_OK;
}

static void put_members(const wg_archive *a, const table *t, wg_buf *out) {
  wg_buf long_names;
  wg_buf_init(&long_names, out->max);
  for (size_t i = 0; i < a->count; i++)
    if (strlen(a->members[i].name) > SHORT_NAME_MAX)
      wg_buf_printf(&long_names, "%s/\n", a->members[i].name);
  put_padding(&long_names);
  size_t base = wg_buf_len(out);
  wg_buf_put(out, magic, MAGIC_SIZE);
  size_t symbols = wg_buf_len(&t->owners) / 4;
  size_t size = 4 + 4 * symbols + wg_buf_len(&t->names);
  size += size % 2;
  put_header(out, "/", size);
  wg_buf_put_u32(out, (uint32_t)symbols);
  size_t offsets = wg_buf_len(out);
  wg_buf_put(out, wg_buf_head(&t->owners), wg_buf_len(&t->owners)); /* offsets come here */
  wg_buf_put(out, wg_buf_head(&t->names), wg_buf_len(&t->names));
  if ((wg_buf_len(out) - base) % 2) wg_buf_put_u8(out, 0);
  if (wg_buf_len(&long_names)) {
    put_header(out, "//", wg_buf_len(&long_names));
    wg_buf_put(out, wg_buf_head(&long_names), wg_buf_len(&long_names));
  }
  wg_reader owners = wg_reader_of(wg_buf_head(&t->owners), wg_buf_len(&t->owners));
  uint32_t owner = wg_take_u32(&owners);
  size_t done = 0, name_at = 0;
  for (size_t i = 0; i < a->count && !out->failed; i++) {
    const wg_archive_member *m = &a->members[i];
    for (; done < symbols && owner == i; done++, owner = wg_take_u32(&owners))
      wg_buf_patch_u32(out, offsets + 4 * done, (uint32_t)(wg_buf_len(out) - base));
    char field[NAME_SIZE + 1 + 16];
    if (strlen(m->name) > SHORT_NAME_MAX) {
      snprintf(field, sizeof field, "/%zu", name_at);
      name_at += strlen(m->name) + 2;
    } else {
      snprintf(field, sizeof field, "%s/", m->name);
    }
    put_header(out, field, m->len);
    wg_buf_put(out, m->bytes, m->len);
    if ((wg_buf_len(out) - base) % 2) wg_buf_put_u8(out, '\n');
  }
  if (long_names.failed) out->failed = true, out->nomem |= long_names.nomem;
  wg_buf_release(&long_names);
}

wg_code wg_archive_write(const wg_archive *a, wg_buf *out, wg_error *err) {
  table t;
  wg_buf_init(&t.owners, out->max);
  wg_buf_init(&t.names, out->max);
  wg_code code = WG_OK;
  for (size_t i = 0; i < a->count && code == WG_OK; i++)
    code = add_symbols(&t, &a->members[i], i, err);
  if (code == WG_OK && (t.owners.failed || t.names.failed)) out->failed = true;
  out->nomem |= t.owners.nomem || t.names.nomem;
  if (code == WG_OK && !out->failed) put_members(a, &t, out);
  wg_buf_release(&t.owners);
  wg_buf_release(&t.names);
  if (code != WG_OK || !out->failed) return code;
  return out->nomem
             ? wg_error_set(err, WG_NOMEM, 0, "out of memory")
             : wg_error_set(err, WG_EXHAUSTED, 0, "the archive is larger than %zu bytes", out->max);
}
