/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/build/cargo.h"

#include "base/buf.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { STRING_MAX = 1 << 16 };

/* ---- JSON ---- */

static cargo_json skip_space(cargo_json j) {
  while (j.len && strchr(" \t\r\n", *j.p) && *j.p) j.p++, j.len--;
  return j;
}

/** How long the value at the start is; 0: there is none, or it has no end. Nesting is counted, not
 *  checked: brackets need not match in kind. */
static size_t value_length(cargo_json j) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < j.len; i++) {
    char c = j.p[i];
    if (in_string) {
      if (c == '\\')
        i++;
      else if (c == '"')
        in_string = false;
      if (!in_string && depth == 0) return i + 1;
      continue;
    }
    switch (c) {
    case '"': in_string = true; break;
    case '{':
    case '[': depth++; break;
    case '}':
    case ']':
      if (depth == 0) return i;
      if (--depth == 0) return i + 1;
      break;
    case ',':
    case ':':
    case ' ':
    case '\t':
    case '\r':
    case '\n':
      if (depth == 0) return i;
      break;
    default: break;
    }
  }
  return depth || in_string ? 0 : j.len;
}

/** Takes a value, and the space behind it. */
static cargo_json take_value(cargo_json *j) {
  *j = skip_space(*j);
  cargo_json value = {j->p, value_length(*j)};
  j->p += value.len;
  j->len -= value.len;
  *j = skip_space(*j);
  return value;
}

static bool take_char(cargo_json *j, char c) {
  *j = skip_space(*j);
  if (!j->len || *j->p != c) return false;
  j->p++;
  j->len--;
  return true;
}

cargo_json cargo_json_member(cargo_json object, const char *name) {
  size_t n = strlen(name);
  if (!take_char(&object, '{')) return (cargo_json){0};
  do {
    cargo_json key = take_value(&object);
    if (!key.len || !take_char(&object, ':')) break;
    cargo_json value = take_value(&object);
    if (!value.len) break;
    if (key.len == n + 2 && key.p[0] == '"' && memcmp(key.p + 1, name, n) == 0) return value;
  } while (take_char(&object, ','));
  return (cargo_json){0};
}

bool cargo_json_next(cargo_json *array, cargo_json *item) {
  if (!take_char(array, '[') && !take_char(array, ',')) return false;
  *item = take_value(array);
  return item->len > 0;
}

static int hex_digits(const char *p, size_t len) {
  int value = 0;
  if (len < 4) return -1;
  for (size_t i = 0; i < 4; i++) {
    int c = (unsigned char)p[i];
    if (!isxdigit(c)) return -1;
    value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return value;
}

/** UTF-8 (RFC 3629). */
static void put_character(wg_buf *out, uint32_t c) {
  if (c < 0x80) {
    wg_buf_put_u8(out, (uint8_t)c);
  } else if (c < 0x800) {
    wg_buf_put_u8(out, (uint8_t)(0xC0 | c >> 6));
    wg_buf_put_u8(out, (uint8_t)(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    wg_buf_put_u8(out, (uint8_t)(0xE0 | c >> 12));
    wg_buf_put_u8(out, (uint8_t)(0x80 | (c >> 6 & 0x3F)));
    wg_buf_put_u8(out, (uint8_t)(0x80 | (c & 0x3F)));
  } else {
    wg_buf_put_u8(out, (uint8_t)(0xF0 | c >> 18));
    wg_buf_put_u8(out, (uint8_t)(0x80 | (c >> 12 & 0x3F)));
    wg_buf_put_u8(out, (uint8_t)(0x80 | (c >> 6 & 0x3F)));
    wg_buf_put_u8(out, (uint8_t)(0x80 | (c & 0x3F)));
  }
}

/** Resolves an escape; p stands behind the backslash. @return bytes used; 0: it is none */
static size_t put_escape(wg_buf *out, const char *p, size_t len) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (!len || !*p) return 0;
  const char *simple = strchr(from, *p);
  if (simple) {
    wg_buf_put_u8(out, (uint8_t)to[simple - from]);
    return 1;
  }
  int c = *p == 'u' ? hex_digits(p + 1, len - 1) : -1;
  if (c <= 0) return 0;
  if (c < 0xD800 || c > 0xDFFF) {
    put_character(out, (uint32_t)c);
    return 5;
  }
  int low = len >= 11 && p[5] == '\\' && p[6] == 'u' ? hex_digits(p + 7, len - 7) : -1;
  if (c > 0xDBFF || low < 0xDC00 || low > 0xDFFF) return 0;
  put_character(out, 0x10000 + ((uint32_t)(c - 0xD800) << 10) + (uint32_t)(low - 0xDC00));
  return 11;
}

char *cargo_json_string(cargo_json value) {
  wg_buf out;
  char *text = NULL;
  if (value.len < 2 || value.p[0] != '"' || value.p[value.len - 1] != '"') return NULL;
  wg_buf_init(&out, STRING_MAX);
  bool good = true;
  for (size_t i = 1; good && i + 1 < value.len;) {
    if (value.p[i] == '\\') {
      size_t used = put_escape(&out, value.p + i + 1, value.len - i - 2);
      good = used > 0;
      i += used + 1;
    } else {
      good = value.p[i] != '\0';
      wg_buf_put_u8(&out, (uint8_t)value.p[i++]);
    }
  }
  wg_buf_put_u8(&out, 0);
  if (good && !out.failed) text = strdup((const char *)wg_buf_head(&out));
  wg_buf_release(&out);
  return text;
}

/* ---- messages ---- */

static bool is_text(cargo_json value, const char *text) {
  size_t n = strlen(text);
  return value.len == n && memcmp(value.p, text, n) == 0;
}

static bool ends_in_wasm(const char *name) {
  size_t n = strlen(name);
  return n > 5 && strcmp(name + n - 5, ".wasm") == 0;
}

static void add_artifact(cargo_json message, const char *manifest, cargo_made *out) {
  char *from = cargo_json_string(cargo_json_member(message, "manifest_path"));
  if (!from) return;
  bool ours = strcmp(from, manifest) == 0;
  free(from);
  cargo_json list = cargo_json_member(message, "filenames"), item;
  while (cargo_json_next(&list, &item)) {
    char *name = cargo_json_string(item);
    if (!name) continue;
    if (!ends_in_wasm(name)) {
      free(name);
    } else if (!ours) {
      out->elsewhere = true;
      free(name);
    } else if (!out->wasm) {
      out->wasm = name;
      out->fresh = is_text(cargo_json_member(message, "fresh"), "true");
    } else if (!out->other && strcmp(out->wasm, name) != 0) {
      out->other = name;
    } else {
      free(name);
    }
  }
}

void cargo_find_made(const char *text, const char *manifest, cargo_made *out) {
  *out = (cargo_made){0};
  while (*text) {
    size_t n = strcspn(text, "\n");
    cargo_json line = {text, n};
    if (is_text(cargo_json_member(line, "reason"), "\"compiler-artifact\""))
      add_artifact(line, manifest, out);
    text += n + (text[n] == '\n');
  }
}

void cargo_made_release(cargo_made *m) {
  free(m->wasm);
  free(m->other);
  *m = (cargo_made){0};
}
