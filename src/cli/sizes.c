/* SPDX-License-Identifier: Apache-2.0 */
/* A binary is a header of 8 bytes and sections: an id, a length (unsigned LEB128), content (Core
 * Specification, 5.5.2; the Component Model's Binary.md). Components hold modules and components. */
#include "cli/sizes.h"

#include "base/buf.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_SIZE = 8, DEPTH_MAX = 16 };
enum { SECTION_CUSTOM = 0, MODULE_CODE = 10, MODULE_DATA = 11 };
enum { COMPONENT_MODULE = 1, COMPONENT_COMPONENT = 4 };

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

/** An unsigned LEB128 of 32 bits. */
static size_t take_length(wg_reader *r) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    uint8_t byte = wg_take_u8(r);
    value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte & 0x80) continue;
    if (value <= UINT32_MAX) return (size_t)value;
    break;
  }
  r->failed = true;
  return 0;
}

wg_code cli_sizes_read(const void *bytes, size_t len, cli_sizes *out, wg_error *err) {
  level levels[DEPTH_MAX] = {{wg_reader_of(bytes, len), false}};
  size_t depth = 1;
  cli_sizes sizes = {.total = len};
  if (!enter(&levels[0])) return broken("its header is that of something else", err);
  sizes.component = levels[0].component;
  if (!sizes.component) sizes.modules = 1;
  while (depth) {
    level *l = &levels[depth - 1];
    if (l->r.len == 0) {
      depth--;
      continue;
    }
    uint8_t id = wg_take_u8(&l->r);
    size_t n = take_length(&l->r);
    const uint8_t *content = wg_take_bytes(&l->r, n);
    if (l->r.failed || !content) return broken("it is cut short", err);
    if (id == SECTION_CUSTOM) {
      sizes.custom += n;
    } else if (l->component && (id == COMPONENT_MODULE || id == COMPONENT_COMPONENT)) {
      if (depth == DEPTH_MAX) return broken("it is nested too deeply", err);
      level *inner = &levels[depth++];
      *inner = (level){wg_reader_of(content, n), false};
      if (!enter(inner) || inner->component != (id == COMPONENT_COMPONENT))
        return broken("what is inside has another header", err);
      sizes.modules += !inner->component;
    } else if (!l->component && id == MODULE_CODE) {
      sizes.code += n;
    } else if (!l->component && id == MODULE_DATA) {
      sizes.data += n;
    }
  }
  sizes.other = sizes.total - sizes.code - sizes.data - sizes.custom;
  *out = sizes;
  return WG_OK;
}

wg_code cli_sizes_of_file(const char *path, cli_sizes *out, wg_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat s;
  if (fd < 0 || fstat(fd, &s) != 0) {
    wg_error_set(err, WG_IO, errno, "cannot read '%s': %s", path, wg_os_error(errno));
    if (fd >= 0) close(fd);
    return WG_IO;
  }
  void *bytes = s.st_size > 0 ? mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
  close(fd);
  if (bytes == MAP_FAILED)
    return wg_error_set(err, WG_IO, errno, "cannot read '%s': %s", path, wg_os_error(errno));
  wg_code code = cli_sizes_read(bytes, (size_t)s.st_size, out, err);
  if (bytes) munmap(bytes, (size_t)s.st_size);
  if (code != WG_OK) wg_error_wrap(err, "'%s'", path);
  return code;
}
