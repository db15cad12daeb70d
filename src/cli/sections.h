/* SPDX-License-Identifier: Apache-2.0 */
/** @file sections.h  The sections of a component or core module. Pure functions.
 *
 *  A binary is a header of 8 bytes and sections: an id, a length (unsigned LEB128), content (Core
 *  Specification, 5.5.2; the Component Model's Binary.md). Components hold modules and components. */
#pragma once
#include "base/buf.h"

typedef enum cli_section_id {
  CLI_CUSTOM = 0,              /**< in both */
  CLI_MODULE_CODE = 10,        /**< of a module */
  CLI_MODULE_DATA = 11,        /**< of a module */
  CLI_COMPONENT_MODULE = 1,    /**< of a component: a module in it */
  CLI_COMPONENT_COMPONENT = 4, /**< of a component: a component in it */
  CLI_COMPONENT_IMPORT = 10,   /**< of a component */
} cli_section_id;

typedef struct cli_section {
  bool of_component; /**< of which the section is one; else of a core module */
  uint8_t id;        /**< a cli_section_id or another number */
  unsigned depth;    /**< 0: of the file itself */
  const uint8_t *content;
  size_t len;
  wg_reader custom;     /**< of a custom section: what is behind its name */
  const char *name;     /**< of a custom section, not NUL-terminated; else NULL */
  size_t name_len;
} cli_section;

/** Borrowed for the call. A section that holds a module or component comes before those inside. */
typedef void (*cli_section_cb)(void *user, const cli_section *s);

/** Goes through all sections, also of what is inside.
 *  @param is_component  gets what the file itself is, NULL is fine
 *  @return WG_OK; WG_COMPONENT: it is neither, it is cut short, or nested too deeply; sections in
 *          front of that place have been told */
WG_MUSTCHECK wg_code cli_sections_each(const void *bytes, size_t len, cli_section_cb each,
                                       void *user, bool *is_component, wg_error *err);
/** "code", "core module", ... of a section that is not custom; "section 77" into `number` for those
 *  that we do not know. */
const char *cli_section_name(const cli_section *s, char number[16]);
