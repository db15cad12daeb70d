/* SPDX-License-Identifier: Apache-2.0 */
/** @file example.h  Objects made byte by byte, for the tests of object/. */
#pragma once
#include "base/buf.h"

/** An object with functions alpha (i32 i64) -> (i32) and beta () -> (), which calls the undefined
 *  malloc; data: table, and the local piece secret; the global counter. Zero: no more than that. */
typedef struct example {
  const char *alpha;        /**< another name for alpha */
  const char *alias;        /**< a second, weak name of alpha */
  bool beta_calls_alpha;
  bool alpha_calls_itself;
  bool table_has_alpha; /**< its address is in the data */
  bool debug_has_alpha; /**< debug information speaks of it */
  bool comdat;          /**< alpha belongs to a group */
} example;

/** Appends it. */
void example_put(const example *e, wg_buf *out);
/** Appends a section: its id and length, then the content, which is cleared. */
void example_put_section(wg_buf *out, uint8_t id, wg_buf *content);
/** Appends the start of a relocatable module. */
void example_put_header(wg_buf *out);
/** A name with its length. */
void example_put_name(wg_buf *out, const char *name);
