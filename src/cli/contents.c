/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/contents.h"

#include "cli/sections.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

const char *cli_format_name(cli_format f) {
  switch (f) {
  case CLI_FORMAT_COMPONENT: return "component";
  case CLI_FORMAT_MODULE: return "core module";
  case CLI_FORMAT_CWASM: return "compiled component";
  case CLI_FORMAT_TEXT: return "text";
  }
  return "";
}

static void copy(char out[CLI_CONTENTS_TEXT], const char *text, size_t len) {
  size_t n = 0;
  for (; n < len && text[n] && n < CLI_CONTENTS_TEXT - 1; n++) out[n] = text[n];
  out[n] = '\0';
}

static void add_section(cli_contents *c, const char *name, size_t len, bool custom, bool inner,
                        uint64_t bytes) {
  cli_content new = {.custom = custom, .inner = inner};
  copy(new.name, name, len);
  cli_content *s = c->sections, *end = s + c->section_count;
  while (s < end &&
         (s->custom != custom || (!custom && s->inner != inner) || strcmp(s->name, new.name) != 0))
    s++;
  if (s == end) {
    if (c->section_count == CLI_CONTENTS_MAX) return;
    c->section_count++;
    *s = new;
  }
  s->count++;
  s->bytes += bytes;
}

static void add_producer(cli_contents *c, const cli_producer *new) {
  for (size_t i = 0; i < c->producer_count; i++)
    if (memcmp(&c->producers[i], new, sizeof *new) == 0) return;
  if (c->producer_count < CLI_CONTENTS_MAX) c->producers[c->producer_count++] = *new;
}

/** A list of fields, each a list of names with versions (tool-conventions, ProducersSection.md). */
static void read_producers(cli_contents *c, wg_reader r) {
  uint32_t fields = wg_take_leb(&r);
  for (uint32_t i = 0; i < fields && !r.failed; i++) {
    size_t field_len, name_len, version_len;
    const char *field = wg_take_name(&r, &field_len);
    uint32_t values = wg_take_leb(&r);
    for (uint32_t k = 0; k < values && !r.failed; k++) {
      const char *name = wg_take_name(&r, &name_len), *version = wg_take_name(&r, &version_len);
      if (r.failed || !field || !name || !version) return;
      cli_producer p = {0};
      copy(p.field, field, field_len);
      copy(p.name, name, name_len);
      copy(p.version, version, version_len);
      add_producer(c, &p);
    }
  }
}

static void on_section(void *user, const cli_section *s) {
  static const char producers[] = "producers";
  cli_contents *c = user;
  char number[16];
  if (s->name) {
    add_section(c, s->name, s->name_len, true, s->depth > 0, s->len);
    if (s->name_len == sizeof producers - 1 && memcmp(s->name, producers, s->name_len) == 0)
      read_producers(c, s->custom);
    return;
  }
  const char *name = cli_section_name(s, number);
  add_section(c, name, strlen(name), false, c->format == CLI_FORMAT_COMPONENT && !s->of_component,
              s->len);
}

/** The section headers of a 64-bit ELF file of this machine's byte order. */
static wg_code read_elf(const uint8_t *bytes, size_t len, cli_contents *c, wg_error *err) {
  Elf64_Ehdr head;
  Elf64_Shdr names, s;
  if (len < sizeof head) return wg_error_set(err, WG_COMPONENT, 0, "the file is cut short");
  memcpy(&head, bytes, sizeof head);
  if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_shentsize != sizeof s || head.e_shoff > len ||
      head.e_shnum > (len - head.e_shoff) / sizeof s || head.e_shstrndx >= head.e_shnum)
    return wg_error_set(err, WG_COMPONENT, 0, "its table of sections is outside of the file");
  const uint8_t *table = bytes + head.e_shoff;
  memcpy(&names, table + head.e_shstrndx * sizeof s, sizeof names);
  if (names.sh_offset > len || names.sh_size > len - names.sh_offset)
    return wg_error_set(err, WG_COMPONENT, 0, "the names of its sections are outside of the file");
  for (unsigned i = 1; i < head.e_shnum; i++) {
    memcpy(&s, table + i * sizeof s, sizeof s);
    if (s.sh_name >= names.sh_size) continue;
    const char *name = (const char *)bytes + names.sh_offset + s.sh_name;
    add_section(c, name, strnlen(name, names.sh_size - s.sh_name), false, false, s.sh_size);
  }
  return WG_OK;
}

wg_code cli_contents_read(const void *bytes, size_t len, cli_contents *out, wg_error *err) {
  *out = (cli_contents){.bytes = len, .format = CLI_FORMAT_TEXT};
  if (len >= SELFMAG && memcmp(bytes, ELFMAG, SELFMAG) == 0) {
    out->format = CLI_FORMAT_CWASM;
    return read_elf(bytes, len, out, err);
  }
  if (len < 4 || memcmp(bytes, "\0asm", 4) != 0) return WG_OK;
  /* Bytes 6 and 7 are the layer: 0 is a module, 1 a component. */
  out->format =
      len >= 8 && ((const uint8_t *)bytes)[6] == 0 ? CLI_FORMAT_MODULE : CLI_FORMAT_COMPONENT;
  return cli_sections_each(bytes, len, on_section, out, NULL, err);
}
