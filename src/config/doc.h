/* SPDX-License-Identifier: Apache-2.0 */
/** @file doc.h  A TOML document as a tree with positions. Internal to config. */
#pragma once
#include "base/base.h"

#include <wgrt.h>

/** One value. Tables and arrays have children in the order of the file. */
typedef struct cfg_node {
  wgrt_toml_type type; /**< TABLE_BEGIN stands for a table, ARRAY_BEGIN for an array */
  uint32_t line, column; /**< of the key, or of the value where there is no key */
  uint32_t value_line, value_column;
  char *key; /**< "" for items of arrays and the root */
  char *text; /**< of strings; floats and dates as written */
  size_t text_len; /**< strings may hold NUL bytes */
  int64_t integer; /**< of integers and booleans */
  struct cfg_node *child, *next;
} cfg_node;

/** Parses a whole document.
 *  @param out  owned by the caller: cfg_doc_free()
 *  @return WG_OK; WG_CONFIG with "line:column: message" (no file name); WG_NOMEM */
WG_MUSTCHECK wg_code cfg_doc_parse(const char *text, size_t len, cfg_node **out, wg_error *err);
/** Wipes the texts (they may be passwords) and frees. NULL is fine. */
void cfg_doc_free(cfg_node *root);
/** The key of a table (NULL: none); NULL when it is not there. */
const cfg_node *cfg_child(const cfg_node *table, const char *key);

/** "a string", "a table", ... for messages. */
const char *cfg_type_name(wgrt_toml_type type);
