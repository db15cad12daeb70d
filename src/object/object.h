/* SPDX-License-Identifier: Apache-2.0 */
/** @file object.h  Relocatable WebAssembly objects: what they define, who refers to it inside of
 *  them, and other names for definitions. Pure functions over bytes.
 *
 *  An object is a core module with a custom section "linking", version 2, whose symbol table names
 *  what the module's index spaces hold, and custom sections "reloc.X", which say where code and data
 *  refer to a symbol (WebAssembly/tool-conventions, Linking.md). A symbol is renamed in that table
 *  alone: nothing else in an object knows the name of a definition. So references inside of the
 *  object still reach it under its new name, and all others look for the old one. */
#pragma once
#include "base/buf.h"

/** Numbers of the symbol table. */
typedef enum wg_object_kind {
  WG_OBJECT_FUNCTION = 0,
  WG_OBJECT_DATA = 1,
  WG_OBJECT_GLOBAL = 2,
  WG_OBJECT_SECTION = 3,
  WG_OBJECT_TAG = 4,
  WG_OBJECT_TABLE = 5
} wg_object_kind;

enum {
  WG_OBJECT_WEAK = 0x1,
  WG_OBJECT_LOCAL = 0x2,
  WG_OBJECT_UNDEFINED = 0x10,
  WG_OBJECT_EXPLICIT_NAME = 0x40, /**< an undefined symbol with another name than its import */
  WG_OBJECT_TLS = 0x100,
  WG_OBJECT_ABSOLUTE = 0x200,
  WG_OBJECT_NAME_MAX = 4096, /**< bytes of a symbol's name */
  WG_OBJECT_TEXT_MAX = 512   /**< bytes of a signature as text, with its NUL */
};

/** Borrowed from the object's bytes. */
typedef struct wg_object_symbol {
  wg_object_kind kind;
  uint32_t flags;
  const char *name; /**< not NUL-terminated; NULL for a section symbol */
  size_t name_len;
  uint32_t index;  /**< in the index space of its kind; of data: the segment */
  uint32_t offset; /**< of data: in its segment */
  uint32_t size;   /**< of data */
} wg_object_symbol;

/** A range of a section's content. */
typedef struct wg_object_range {
  uint32_t start, end;
} wg_object_range;

/** The place of an object where a symbol is used. */
typedef struct wg_object_use {
  bool in_code;    /**< else in data */
  uint32_t offset; /**< in the content of the code or data section */
  uint32_t symbol; /**< index into `symbols` */
} wg_object_use;

/** What an object is made of. The bytes are borrowed and must outlive it. */
typedef struct wg_object {
  const uint8_t *bytes;
  size_t len;
  wg_object_symbol *symbols;
  size_t symbol_count;
  wg_object_use *uses;
  size_t use_count;
  wg_object_range *functions; /**< bodies in the code section, of the functions defined here */
  size_t function_count;
  wg_object_range *segments; /**< contents in the data section */
  size_t segment_count;
  size_t linking_at, linking_end; /**< the whole section "linking" in `bytes` */
  struct wg__object_types *types;
} wg_object;

/** Says in a few words what bytes are that may be no object: "an ELF file", "LLVM bitcode", ...
 *  Static; NULL for a core module. */
const char *wg_object_other_format(const void *bytes, size_t len);

/** Reads an object.
 *  @return WG_OK: wg_object_release() afterwards; WG_UNSUPPORTED: it is of another format or a newer
 *          version, which err names; WG_INVALID: it is broken; WG_NOMEM */
WG_MUSTCHECK wg_code wg_object_read(const void *bytes, size_t len, wg_object *out, wg_error *err);
void wg_object_release(wg_object *o);

/** "function", "data", ...; static. */
const char *wg_object_kind_name(wg_object_kind kind);
/** A definition that other objects can see. */
static inline bool wg_object_is_public(const wg_object_symbol *s) {
  return s->name && !(s->flags & (WG_OBJECT_UNDEFINED | WG_OBJECT_LOCAL));
}
/** The public definition of a name, or NULL. Borrowed. */
const wg_object_symbol *wg_object_find(const wg_object *o, const char *name);
/** Whether both are definitions of the same thing. */
bool wg_object_same(const wg_object_symbol *a, const wg_object_symbol *b);
/** What a caller must know of a symbol, cut to fit: "(i32 i64) -> (i32)" of a function or tag, "12
 *  bytes" of data, "i32 mutable" of a global. */
void wg_object_signature(const wg_object *o, const wg_object_symbol *s,
                         char out[WG_OBJECT_TEXT_MAX]);
/** Tells of each use of a definition, under any of its names, by the rest of its object. What a
 *  function does with itself is not told.
 *  @param user_name  the function or data that refers to it, "function 7" if it has no name;
 *                    borrowed for the call; the same may come more than once */
void wg_object_each_use(const wg_object *o, const wg_object_symbol *s,
                        void (*item)(void *user, const char *user_name, size_t len), void *user);

/** Another name for a definition. */
typedef struct wg_object_rename {
  const char *from, *to;
} wg_object_rename;
/** Appends the object with other names for its public definitions to `out`.
 *  @return WG_OK; WG_NOT_FOUND: it does not define `from`; WG_INVALID: `to` is no name, or one that
 *          it has already, or the definition belongs to a COMDAT; WG_REFUSED: `from` is used inside
 *          of the object, which would go past whatever takes its place; WG_EXHAUSTED: `out` is full;
 *          WG_NOMEM. After a failure the content of `out` is undefined. */
WG_MUSTCHECK wg_code wg_object_write_renamed(const wg_object *o, const wg_object_rename *renames,
                                             size_t count, wg_buf *out, wg_error *err);
