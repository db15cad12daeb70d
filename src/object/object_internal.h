/* SPDX-License-Identifier: Apache-2.0 */
/** @file object_internal.h  What the files of object/ share. */
#pragma once
#include "object/object.h"

/** One entry of an index space. */
typedef struct wg__object_entry {
  const char *import_name; /**< of an import; else NULL */
  size_t import_len;
  uint32_t type;  /**< of a function or tag */
  uint8_t value;  /**< value type of a global or table */
  bool is_mutable; /**< a global */
} wg__object_entry;

typedef struct wg__object_space {
  wg__object_entry *entries;
  size_t count, cap;
  size_t imported;
} wg__object_space;

/** The module's types and index spaces, by wg_object_kind. */
struct wg__object_types {
  wg_reader *types; /**< parameters and results of each function type */
  size_t type_count;
  wg__object_space spaces[WG_OBJECT_TABLE + 1];
  wg_reader comdats; /**< content of that subsection */
};

enum { WG__OBJECT_SYMBOL_TABLE = 8, WG__OBJECT_COMDAT = 7, WG__OBJECT_VERSION = 2 };

/** One symbol of the table, as it is written. @return false: it is broken */
bool wg__object_take_symbol(wg_reader *r, wg_object_symbol *out);
/** "i32", "funcref", ...; NULL for what we do not know. Static. */
const char *wg__object_value_type(uint8_t type);
