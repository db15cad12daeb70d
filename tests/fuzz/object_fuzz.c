/* SPDX-License-Identifier: Apache-2.0 */
/* An archive, or one object, as wasm-symbols reads it: all is listed or it is refused; what is
 * renamed and written is read again, with the new name in the place of the old one. */
#include "object/plan.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

enum { OUT_MAX = 1 << 22 };

/** The first definition that a hook can name. */
typedef struct found {
  char line[WG_PLAN_LINE_MAX];
  size_t items;
} found;

static wg_code see(void *user, const wg_plan_item *i, wg_error *err) {
  (void)err;
  found *f = user;
  f->items++;
  REQUIRE(i->member[0] && i->signature && i->aliases[0] && i->users[0]);
  bool plain = i->symbol[0] && !strpbrk(i->symbol, " \t\n") && !strpbrk(i->member, " \t\n#*");
  size_t len = strlen(i->member) + strlen(i->symbol) + strlen(i->signature) + 16;
  if (f->line[0] || !plain || !i->signature[0] || len > sizeof f->line) return WG_OK;
  strcpy(f->line, i->member);
  strcat(f->line, " ");
  strcat(f->line, i->symbol);
  strcat(f->line, " __other ");
  strcat(f->line, i->signature);
  return WG_OK;
}

static void hook_it(const wg_archive *a, const found *f) {
  static wg_plan plan;
  wg_buf out;
  wg_buf_init(&out, OUT_MAX);
  REQUIRE(wg_plan_read(f->line, strlen(f->line), &plan, NULL) == WG_OK);
  if (wg_plan_apply(&plan, a, &out, NULL) == WG_OK) {
    wg_archive again;
    static found g;
    g = (found){0};
    REQUIRE(wg_archive_read(wg_buf_head(&out), wg_buf_len(&out), &again, NULL) == WG_OK);
    REQUIRE(again.count == a->count);
    REQUIRE(wg_plan_each(&again, see, &g, NULL) == WG_OK);
    REQUIRE(g.items == f->items);
    wg_archive_release(&again);
  }
  wg_plan_release(&plan);
  wg_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  wg_archive a = {0};
  wg_error err = {0};
  if (wg_archive_is(data, size)) {
    wg_code code = wg_archive_read(data, size, &a, &err);
    REQUIRE(code == WG_OK || ((code == WG_INVALID || code == WG_UNSUPPORTED) && err.msg[0]));
    if (code != WG_OK) return 0;
  } else {
    REQUIRE(wg_archive_add(&a, "input.o", data, size, &err) == WG_OK);
  }
  static found f;
  f = (found){0};
  wg_code code = wg_plan_each(&a, see, &f, &err);
  REQUIRE(code == WG_OK || ((code == WG_INVALID || code == WG_UNSUPPORTED) && err.msg[0]));
  if (code == WG_OK && f.line[0]) hook_it(&a, &f);
  wg_archive_release(&a);
  return 0;
}
