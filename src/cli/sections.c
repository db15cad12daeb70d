/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/sections.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_SIZE = 8, DEPTH_MAX = 16, FILE_MAX = 1 << 30 };

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

uint32_t cli_take_leb(wg_reader *r) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    uint8_t byte = wg_take_u8(r);
    value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte & 0x80) continue;
    if (value <= UINT32_MAX) return (uint32_t)value;
    break;
  }
  r->failed = true;
  return 0;
}

const char *cli_take_name(wg_reader *r, size_t *len) {
  *len = cli_take_leb(r);
  return (const char *)wg_take_bytes(r, *len);
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
    s.len = cli_take_leb(&l->r);
    s.content = wg_take_bytes(&l->r, s.len);
    if (l->r.failed || !s.content) return broken("it is cut short", err);
    if (s.id == CLI_CUSTOM) {
      s.custom = wg_reader_of(s.content, s.len);
      s.name = cli_take_name(&s.custom, &s.name_len);
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

wg_code cli_file_read(const char *path, cli_file *out, wg_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat s = {0};
  int sys = fd < 0 || fstat(fd, &s) != 0 ? errno : 0;
  const char *why = NULL;
  if (sys == 0 && !S_ISREG(s.st_mode)) why = "it is no file";
  if (sys == 0 && s.st_size > FILE_MAX) why = "it is larger than 1 GiB";
  size_t size = (size_t)s.st_size;
  cli_file f = {0};
  if (sys == 0 && !why) {
    f.bytes = malloc(size ? size : 1);
    if (!f.bytes) {
      close(fd);
      return wg_error_set(err, WG_NOMEM, 0, "out of memory");
    }
  }
  while (f.bytes && f.len < size) {
    ssize_t n = read(fd, f.bytes + f.len, size - f.len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) sys = errno;
    if (n <= 0) break; /* what was cut short meanwhile is told by who reads it */
    f.len += (size_t)n;
  }
  if (fd >= 0) close(fd);
  if (sys == 0 && !why) {
    *out = f;
    return WG_OK;
  }
  free(f.bytes);
  return wg_error_set(err, sys == ENOENT ? WG_NOT_FOUND : WG_IO, sys, "cannot read '%s': %s", path,
                      why ? why : wg_os_error(sys));
}

void cli_file_release(cli_file *f) {
  free(f->bytes);
  *f = (cli_file){0};
}
