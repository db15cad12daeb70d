/* SPDX-License-Identifier: Apache-2.0 */
/** @file cargo.h  What cargo writes with --message-format json: one JSON object a line. Pure
 *  functions over its text. */
#pragma once
#include "base/base.h"

/** What a package made. */
typedef struct cargo_made {
  char *wasm;       /**< path of the one component; NULL: none was made */
  char *other;      /**< a second one; NULL: there is none */
  bool fresh;       /**< cargo had nothing to do for it */
  bool elsewhere;   /**< other packages made some */
} cargo_made;

/** Finds the .wasm files that a package made.
 *  @param text      all lines; those that are no JSON objects are passed over
 *  @param manifest  absolute path of the package's Cargo.toml
 *  @param out       cargo_made_release() afterwards */
void cargo_find_made(const char *text, const char *manifest, cargo_made *out);
void cargo_made_release(cargo_made *m);

/* ---- the little of JSON (RFC 8259) that this takes ---- */

/** A value, or what is left of a list: borrowed text. */
typedef struct cargo_json {
  const char *p;
  size_t len;
} cargo_json;
/** The value of an object's member, the first of that name; len 0: there is none, or the object is
 *  broken in front of it. */
cargo_json cargo_json_member(cargo_json object, const char *name);
/** Takes the next item of an array. @param array  in: from "[" on; out: what is left
 *  @return false at its end */
bool cargo_json_next(cargo_json *array, cargo_json *item);
/** The content of a string, escapes resolved; the caller frees it. NULL: it is none, it holds a
 *  NUL, or out of memory. */
char *cargo_json_string(cargo_json value);
