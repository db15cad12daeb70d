/* SPDX-License-Identifier: Apache-2.0 */
/** @file schema.c  The JSON Schema of warp.toml, out of the table of keys. What a schema cannot say
 *  (the range of a size that is a text, say) only the reader checks. */
#include "base/text.h"
#include "config/config.h"
#include "config/keys.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A text with ${NAME} in it may become anything. */
#define OR_VARIABLE "|\\$\\{"

/** Indented JSON. */
typedef struct writer {
  wg_buf *out;
  unsigned depth;
  bool begun; /**< the innermost object or array has an item */
} writer;

static void put_string(writer *w, const char *text, size_t left) {
  char one[8];
  size_t len;
  wg_buf_put_u8(w->out, '"');
  while (left) {
    size_t used = wg_json_escape(text, left, one, &len);
    wg_buf_put(w->out, one, len);
    text += used;
    left -= used;
  }
  wg_buf_put_u8(w->out, '"');
}

/** Begins an item of an object (with a name) or an array (NULL). */
static void item(writer *w, const char *name) {
  wg_buf_printf(w->out, "%s\n%*s", w->begun ? "," : "", (int)(2 * w->depth), "");
  w->begun = true;
  if (!name) return;
  put_string(w, name, strlen(name));
  wg_buf_printf(w->out, ": ");
}
static void begin(writer *w, const char *name, char bracket) {
  item(w, name);
  wg_buf_put_u8(w->out, (uint8_t)bracket);
  w->depth++;
  w->begun = false;
}
static void end(writer *w, char bracket) {
  w->depth--;
  wg_buf_printf(w->out, "\n%*s%c", (int)(2 * w->depth), "", bracket);
  w->begun = true;
}
static void text(writer *w, const char *name, const char *value) {
  item(w, name);
  put_string(w, value, strlen(value));
}
static void number(writer *w, const char *name, uint64_t value) {
  item(w, name);
  wg_buf_printf(w->out, "%" PRIu64, value);
}
static void flag(writer *w, const char *name, bool value) {
  item(w, name);
  wg_buf_printf(w->out, value ? "true" : "false");
}

/* ---- keys ---- */

static bool is_time(const cfg_key *k) {
  return k->type == CFG_DURATION || k->type == CFG_DURATION_S;
}
static bool is_size(const cfg_key *k) { return k->type == CFG_SIZE || k->type == CFG_SIZE32; }

/** type string, with a pattern that its texts match; NULL: not empty. */
static void string_type(writer *w, const char *pattern) {
  text(w, "type", "string");
  if (pattern)
    text(w, "pattern", pattern);
  else
    number(w, "minLength", 1);
}

static void integer_type(writer *w, uint64_t min, uint64_t max) {
  text(w, "type", "integer");
  number(w, "minimum", min);
  number(w, "maximum", max);
}

/** One text, or a list of them. */
static void strings_type(writer *w, const char *pattern) {
  begin(w, "anyOf", '[');
  begin(w, NULL, '{');
  text(w, "type", "string");
  if (pattern) text(w, "pattern", pattern);
  end(w, '}');
  begin(w, NULL, '{');
  text(w, "type", "array");
  begin(w, "items", '{');
  text(w, "type", "string");
  if (pattern) text(w, "pattern", pattern);
  end(w, '}');
  end(w, '}');
  end(w, ']');
}

static void choice_type(writer *w, const cfg_key *k) {
  begin(w, "anyOf", '[');
  begin(w, NULL, '{');
  begin(w, "enum", '[');
  for (const char *p = k->choices; *p;) {
    size_t len = strcspn(p, "|");
    item(w, NULL);
    put_string(w, p, len);
    p += len + (p[len] == '|');
  }
  end(w, ']');
  end(w, '}');
  begin(w, NULL, '{');
  string_type(w, "\\$\\{");
  end(w, '}');
  end(w, ']');
}

static void count_type(writer *w, const cfg_key *k) {
  begin(w, "anyOf", '[');
  begin(w, NULL, '{');
  integer_type(w, k->min, k->max);
  end(w, '}');
  begin(w, NULL, '{');
  string_type(w, "\\$\\{");
  end(w, '}');
  end(w, ']');
}

/** A table of guest paths: a file's name, or a table that says more. */
static void virtual_type(writer *w) {
  text(w, "type", "object");
  begin(w, "propertyNames", '{');
  text(w, "pattern", "^/.*[^/]$");
  end(w, '}');
  begin(w, "additionalProperties", '{');
  begin(w, "anyOf", '[');
  begin(w, NULL, '{');
  string_type(w, NULL);
  end(w, '}');
  begin(w, NULL, '{');
  text(w, "type", "object");
  begin(w, "properties", '{');
  begin(w, "file", '{');
  string_type(w, NULL);
  end(w, '}');
  begin(w, "live", '{');
  text(w, "type", "boolean");
  end(w, '}');
  end(w, '}');
  begin(w, "required", '[');
  text(w, NULL, "file");
  end(w, ']');
  flag(w, "additionalProperties", false);
  end(w, '}');
  begin(w, NULL, '{');
  text(w, "type", "object");
  begin(w, "properties", '{');
  begin(w, "text", '{');
  text(w, "type", "string");
  end(w, '}');
  end(w, '}');
  begin(w, "required", '[');
  text(w, NULL, "text");
  end(w, ']');
  flag(w, "additionalProperties", false);
  end(w, '}');
  end(w, ']');
  end(w, '}');
}

static void put_table(writer *w, const char *prefix);

/** true, false, or the shim's own table. */
static void shim_type(writer *w, const cfg_key *k) {
  char prefix[64] = "shims.";
  strncat(prefix, k->name, sizeof prefix - strlen(prefix) - 1);
  begin(w, "anyOf", '[');
  begin(w, NULL, '{');
  text(w, "type", "boolean");
  end(w, '}');
  begin(w, NULL, '{');
  put_table(w, prefix);
  end(w, '}');
  end(w, ']');
}

static void put_type(writer *w, const cfg_key *k) {
  switch (k->type) {
  case CFG_STRING:
  case CFG_PATH:
  case CFG_SECRET_ENV:
  case CFG_SECRET_FILE: string_type(w, NULL); break;
  case CFG_SECRET:
    text(w, "type", "string");
    flag(w, "writeOnly", true);
    break;
  case CFG_STRINGS: strings_type(w, NULL); break;
  case CFG_LISTEN: strings_type(w, ":[0-9]{1,5}$" OR_VARIABLE); break;
  case CFG_PREOPENS:
    text(w, "type", "array");
    begin(w, "items", '{');
    string_type(w, "^.+::/" OR_VARIABLE);
    end(w, '}');
    break;
  case CFG_SERVERS: strings_type(w, "^[0-9a-fA-F.:\\[\\]]+$" OR_VARIABLE); break;
  case CFG_URL: string_type(w, "^http://." OR_VARIABLE); break;
  case CFG_ALLOW: strings_type(w, "^.+:([0-9]{1,5}|\\*)$" OR_VARIABLE); break;
  case CFG_ADDRESSES: strings_type(w, "^[0-9a-fA-F.:]+$" OR_VARIABLE); break;
  case CFG_VIRTUAL: virtual_type(w); break;
  case CFG_SHIM: shim_type(w, k); break;
  case CFG_FLAG: text(w, "type", "boolean"); break;
  case CFG_COUNT:
  case CFG_PORT: count_type(w, k); break;
  case CFG_SIZE:
  case CFG_SIZE32: string_type(w, "^[0-9]+ *([KMG]iB|[kKMG]B|B)$" OR_VARIABLE); break;
  case CFG_DURATION:
  case CFG_DURATION_S: string_type(w, "^[0-9]+ *(h|m|s|ms)$" OR_VARIABLE); break;
  case CFG_CHOICE: choice_type(w, k); break;
  }
}

static void put_default(writer *w, const cfg_key *k) {
  if (!k->standard) return;
  bool plain =
      k->type == CFG_COUNT || k->type == CFG_PORT || k->type == CFG_FLAG || k->type == CFG_SHIM;
  item(w, "default");
  if (plain)
    wg_buf_printf(w->out, "%s", k->standard);
  else
    put_string(w, k->standard, strlen(k->standard));
}

/** KEY_seconds, KEY_ms or KEY_bytes: the same as a number. @param unit  in the range's unit */
static void put_number_key(writer *w, const cfg_key *k, const char *suffix, uint64_t unit,
                           uint64_t multiple) {
  char name[96];
  uint64_t factor = k->type == CFG_DURATION_S ? 1000 : 1; /* its range is in seconds */
  snprintf(name, sizeof name, "%s_%s", k->name, suffix);
  begin(w, name, '{');
  integer_type(w, (k->min * factor + unit - 1) / unit, k->max * factor / unit);
  if (multiple > 1) number(w, "multipleOf", multiple);
  snprintf(name, sizeof name, "`%s` in %s", k->name, suffix);
  text(w, "description", name);
  end(w, '}');
}

static void put_key(writer *w, const cfg_key *k) {
  begin(w, k->name, '{');
  put_type(w, k);
  put_default(w, k);
  text(w, "description", k->help);
  end(w, '}');
  if (is_time(k)) {
    put_number_key(w, k, "seconds", 1000, 1);
    put_number_key(w, k, "ms", 1, k->type == CFG_DURATION_S ? 1000 : 1);
  }
  if (is_size(k)) put_number_key(w, k, "bytes", 1, 1);
}

/* ---- tables ---- */

/** True when the keys of a section stand in the table "shims.dns". Databases also take the keys of
 *  their pool. */
static bool stands_in(cfg_section s, const char *prefix) {
  char name[64];
  snprintf(name, sizeof name, *prefix ? "[%s]" : "%s", prefix);
  return strcmp(cfg_section_name(s), name) == 0 ||
         (s == CFG_POOL && strcmp(prefix, "databases.NAME") == 0);
}

/** False when a key in front of it sets the same field. */
static bool is_first_form(const cfg_key *k) {
  for (const cfg_key *o = cfg_keys; o < k; o++)
    if (o->section == k->section && o->offset == k->offset) return false;
  return true;
}

/** Two forms of one field contradict: no key may stand beside another form of itself. */
static void put_contradictions(writer *w, const char *prefix) {
  bool any = false;
  for (const cfg_key *k = cfg_keys; k < cfg_keys + cfg_key_count; k++) {
    if (!stands_in(k->section, prefix) || !is_first_form(k)) continue;
    char names[8][96];
    size_t count = 0;
    static const char *const suffixes[] = {"seconds", "ms", "bytes"};
    for (size_t i = 0; i < WG_COUNT(suffixes); i++)
      if (i < 2 ? is_time(k) : is_size(k))
        snprintf(names[count++], sizeof names[0], "%s_%s", k->name, suffixes[i]);
    for (const cfg_key *o = k + 1; o < cfg_keys + cfg_key_count && count < 7; o++)
      if (o->section == k->section && o->offset == k->offset && k->type != CFG_SHIM)
        snprintf(names[count++], sizeof names[0], "%s", o->name);
    if (!count) continue;
    if (!any) begin(w, "dependentSchemas", '{');
    any = true;
    snprintf(names[count], sizeof names[0], "%s", k->name);
    for (size_t i = 0; i < count; i++) { /* each excludes those behind it */
      begin(w, names[i], '{');
      begin(w, "properties", '{');
      for (size_t j = i + 1; j <= count; j++) flag(w, names[j], false);
      end(w, '}');
      end(w, '}');
    }
  }
  if (any) end(w, '}');
}

/** Values of environment variables of guests. */
static void put_variables(writer *w, const char *name) {
  begin(w, name, '{');
  text(w, "type", "object");
  text(w, "description", "Environment variables of guests");
  begin(w, "propertyNames", '{');
  text(w, "pattern", "^[^=]+$");
  end(w, '}');
  begin(w, "additionalProperties", '{');
  begin(w, "type", '[');
  text(w, NULL, "string");
  text(w, NULL, "integer");
  text(w, NULL, "boolean");
  end(w, ']');
  end(w, '}');
  end(w, '}');
}

/** Names with an address or a list of them: the rest of their table's schema. */
static void put_addresses(writer *w, const char *description) {
  text(w, "description", description);
  begin(w, "additionalProperties", '{');
  begin(w, "anyOf", '[');
  begin(w, NULL, '{');
  text(w, "type", "string");
  end(w, '}');
  begin(w, NULL, '{');
  text(w, "type", "array");
  number(w, "minItems", 1);
  begin(w, "items", '{');
  text(w, "type", "string");
  end(w, '}');
  end(w, '}');
  end(w, ']');
  end(w, '}');
}

/** What stands in a table and is no key: tables whose keys are names, and words of one value. */
static void put_others(writer *w, const char *prefix) {
  if (!*prefix) {
    put_variables(w, "env");
    begin(w, "hosts", '{');
    text(w, "type", "object");
    put_addresses(w, "Lines of the virtual `/etc/hosts`");
    end(w, '}');
  } else if (strncmp(prefix, "shims.", 6) == 0) {
    begin(w, "enabled", '{');
    text(w, "type", "boolean");
    end(w, '}');
  } else if (strcmp(prefix, "services.NAME") == 0) {
    put_variables(w, "env");
  }
}

/** The next part of a section's name below a table; "" when it is none of its tables. */
static void next_part(cfg_section s, const char *prefix, char out[64]) {
  const char *name = cfg_section_name(s);
  size_t n = strlen(prefix);
  out[0] = '\0';
  if (*name != '[' || strncmp(name + 1, prefix, n) != 0 || (n && name[1 + n] != '.')) return;
  const char *part = name + 1 + n + (n > 0);
  snprintf(out, 64, "%.*s", (int)strcspn(part, ".]"), part);
}

static bool seen_before(cfg_section s, const char *prefix, const char *part) {
  char other[64];
  for (int i = CFG_ROOT + 1; i < (int)s; i++) {
    next_part((cfg_section)i, prefix, other);
    if (strcmp(other, part) == 0) return true;
  }
  return false;
}

/** The members of a table's schema. */
static void put_table(writer *w, const char *prefix) {
  char part[64], below[160];
  bool named = false; /* its keys are names */
  text(w, "type", "object");
  begin(w, "properties", '{');
  for (const cfg_key *k = cfg_keys; k < cfg_keys + cfg_key_count; k++)
    if (stands_in(k->section, prefix)) put_key(w, k);
  for (int i = CFG_ROOT + 1; *cfg_section_name((cfg_section)i); i++) {
    next_part((cfg_section)i, prefix, part);
    if (isupper((unsigned char)part[0])) named = true;
    /* The tables of shims stand with their keys. */
    if (!*part || named || strcmp(prefix, "shims") == 0 ||
        seen_before((cfg_section)i, prefix, part))
      continue;
    snprintf(below, sizeof below, "%s%s%s", prefix, *prefix ? "." : "", part);
    begin(w, part, '{');
    put_table(w, below);
    end(w, '}');
  }
  put_others(w, prefix);
  end(w, '}');
  if (named) {
    snprintf(below, sizeof below, "%s.NAME", prefix);
    begin(w, "additionalProperties", '{');
    put_table(w, below);
    end(w, '}');
  } else if (strcmp(prefix, "registry") == 0) {
    put_contradictions(w, prefix);
    put_addresses(w, "Addresses of names, and where to find more of them");
  } else {
    put_contradictions(w, prefix);
    flag(w, "additionalProperties", false);
  }
  if (strcmp(prefix, "databases.NAME") == 0) {
    begin(w, "if", '{');
    begin(w, "properties", '{');
    begin(w, "protocol", '{');
    begin(w, "enum", '[');
    text(w, NULL, "redis");
    end(w, ']');
    end(w, '}');
    end(w, '}');
    begin(w, "required", '[');
    text(w, NULL, "protocol");
    end(w, ']');
    end(w, '}');
    begin(w, "else", '{');
    begin(w, "required", '[');
    text(w, NULL, "user");
    end(w, ']');
    end(w, '}');
  }
}

void wg_config_schema(wg_buf *out) {
  writer w = {out, 1, false};
  wg_buf_put_u8(out, '{');
  text(&w, "$schema", "https://json-schema.org/draft/2020-12/schema");
  text(&w, "title", "warp.toml");
  text(&w, "description", "Configuration of warp; generated from the table of keys");
  put_table(&w, "");
  end(&w, '}');
  wg_buf_put_u8(out, '\n');
}
