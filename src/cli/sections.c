/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/sections.h"

#include <stdio.h>
#include <string.h>

enum { HEADER_SIZE = 8, DEPTH_MAX = 16 };

static const uint8_t module_header[HEADER_SIZE] = {0, 'a', 's', 'm', 1, 0, 0, 0};
static const uint8_t component_header[HEADER_SIZE] = {0, 'a', 's', 'm', 13, 0, 1, 0};

typedef struct level {
  wg_reader r;
  bool component;
} level;

static wg_code broken(const char *what, wg_error *err) {
  return wg_error_set(err, WG_COMPONENT, 0, "not a component: %s", what);
}

/** Takes the header of a binary that begins here. */
static bool enter(level *l) {
  const uint8_t *header = wg_take_bytes(&l->r, HEADER_SIZE);
  if (!header) return false;
  l->component = memcmp(header, component_header, HEADER_SIZE) == 0;
  return l->component || memcmp(header, module_header, HEADER_SIZE) == 0;
}

wg_code cli_sections_each(const void *bytes, size_t len, cli_section_cb each, void *user,
                          bool *is_component, wg_error *err) {
  level levels[DEPTH_MAX] = {{wg_reader_of(bytes, len), false}};
  unsigned depth = 1;
  if (!enter(&levels[0])) return broken("its header is that of something else", err);
  if (is_component) *is_component = levels[0].component;
  while (depth) {
    level *l = &levels[depth - 1];
    if (l->r.len == 0) {
      depth--;
      continue;
    }
    cli_section s = {.of_component = l->component, .depth = depth - 1};
    s.id = wg_take_u8(&l->r);
    s.len = wg_take_leb(&l->r);
    s.content = wg_take_bytes(&l->r, s.len);
    if (l->r.failed || !s.content) return broken("it is cut short", err);
    if (s.id == CLI_CUSTOM) {
      s.custom = wg_reader_of(s.content, s.len);
      s.name = wg_take_name(&s.custom, &s.name_len);
      if (!s.name) s.name = "", s.name_len = 0; /* broken, and of no meaning to anybody */
    }
    each(user, &s);
    if (!l->component || (s.id != CLI_COMPONENT_MODULE && s.id != CLI_COMPONENT_COMPONENT))
      continue;
    if (depth == DEPTH_MAX) return broken("it is nested too deeply", err);
    level *inner = &levels[depth++];
    *inner = (level){wg_reader_of(s.content, s.len), false};
    if (!enter(inner) || inner->component != (s.id == CLI_COMPONENT_COMPONENT))
      return broken("what is inside has another header", err);
  }
  return WG_OK;
}

const char *cli_section_name(const cli_section *s, char number[16]) {
  static const char *const of_module[] = {"custom", "type",   "import",     "function", "table",
                                          "memory", "global", "export",     "start",    "element",
                                          "code",   "data",   "data count", "tag"};
  static const char *const of_component[] = {
      "custom", "core module", "core instance", "core type", "component", "instance", "alias",
      "type",   "canon",       "start",         "import",    "export",    "value"};
  if (s->of_component && s->id < WG_COUNT(of_component)) return of_component[s->id];
  if (!s->of_component && s->id < WG_COUNT(of_module)) return of_module[s->id];
  snprintf(number, 16, "section %u", s->id);
  return number;
}
