/* SPDX-License-Identifier: Apache-2.0 */
/** @file plan.h  What an archive defines, as text, and a list of changes to it. */
#pragma once
#include "object/archive.h"
#include "object/object.h"

enum {
  WG_PLAN_MAX = 1024,      /**< hooks of one plan */
  WG_PLAN_LINE_MAX = 2048, /**< bytes of a line */
  WG_PLAN_LABEL_MAX = 256  /**< bytes of a member's label, with its NUL */
};

/** What tells a member from others of its name: "errno.c.obj", the second one "errno.c.obj@2". */
void wg_plan_label(const wg_archive *a, size_t member, char out[WG_PLAN_LABEL_MAX]);

/** A public definition of an archive; all borrowed for the call. */
typedef struct wg_plan_item {
  const char *member; /**< its label */
  const char *symbol;
  const char *kind;      /**< "function", "data", ... */
  const char *binding;   /**< "global" or "weak" */
  const char *signature; /**< see wg_object_signature() */
  const char *aliases;   /**< other public names of the same, with spaces between; "-": none */
  const char *users;     /**< what in its member uses it, the same way */
} wg_plan_item;
/** Tells of every public definition, in the order of the archive.
 *  @return WG_OK; what wg_object_read() returns, with the member's name; WG_NOMEM; or what `item`
 *          returned, which ends it */
WG_MUSTCHECK wg_code wg_plan_each(const wg_archive *a,
                                  wg_code (*item)(void *user, const wg_plan_item *i, wg_error *err),
                                  void *user, wg_error *err);

/** One definition that gets another name, so that a new one can take its place. */
typedef struct wg_plan_hook {
  char *member; /**< label of its member; "*": whichever defines it */
  char *symbol, *name, *signature;
  unsigned line;
} wg_plan_hook;
typedef struct wg_plan {
  wg_plan_hook hooks[WG_PLAN_MAX];
  size_t count;
  char *text;
} wg_plan;
/** Reads a plan: lines "MEMBER SYMBOL NEW-NAME SIGNATURE"; empty ones and those with '#' in front say
 *  nothing. The signature is that of the symbol and has spaces in it.
 *  @return WG_OK: wg_plan_release() afterwards; WG_INVALID: err names the line; WG_NOMEM */
WG_MUSTCHECK wg_code wg_plan_read(const char *text, size_t len, wg_plan *out, wg_error *err);
void wg_plan_release(wg_plan *p);

/** Appends the archive, changed by the plan, to `out`.
 *  @return WG_OK; WG_NOT_FOUND: no member of that label, or it does not define the symbol;
 *          WG_REFUSED: it has another signature, two members define it, it has another name by which
 *          it can be reached, or it is used inside of its member; else what
 *          wg_object_write_renamed() and wg_archive_write() return */
WG_MUSTCHECK wg_code wg_plan_apply(const wg_plan *p, const wg_archive *a, wg_buf *out,
                                   wg_error *err);
