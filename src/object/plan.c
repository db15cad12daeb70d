/* SPDX-License-Identifier: Apache-2.0 */
#include "object/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void wg_plan_label(const wg_archive *a, size_t member, char out[WG_PLAN_LABEL_MAX]) {
  const char *name = a->members[member].name;
  size_t same = 1;
  for (size_t i = 0; i < member; i++) same += strcmp(a->members[i].name, name) == 0;
  if (same == 1)
    snprintf(out, WG_PLAN_LABEL_MAX, "%s", name);
  else
    snprintf(out, WG_PLAN_LABEL_MAX, "%.*s@%zu", WG_PLAN_LABEL_MAX - 24, name, same);
}

static wg_code read_member(const wg_archive *a, size_t member, wg_object *out, wg_error *err) {
  const wg_archive_member *m = &a->members[member];
  wg_code code = wg_object_read(m->bytes, m->len, out, err);
  if (code != WG_OK) wg_error_wrap(err, "member '%s'", m->name);
  return code;
}

/* ---- listing ---- */

enum { WORDS_MAX = 1 << 20 };

/** Words with spaces between, each once. */
static void put_word(wg_buf *b, const char *word, size_t len) {
  const char *p = (const char *)wg_buf_head(b), *end = p + wg_buf_len(b);
  while (p < end) {
    const char *space = memchr(p, ' ', (size_t)(end - p));
    size_t n = (size_t)((space ? space : end) - p);
    if (n == len && memcmp(p, word, len) == 0) return;
    p += n + 1;
  }
  if (wg_buf_len(b)) wg_buf_put_u8(b, ' ');
  wg_buf_put(b, word, len);
}

static void put_user(void *user, const char *name, size_t len) { put_word(user, name, len); }

/** The words as a string; valid until the buffer changes. */
static const char *words(wg_buf *b) {
  if (!wg_buf_len(b)) return "-";
  wg_buf_put_u8(b, 0);
  return b->failed ? "..." : (const char *)wg_buf_head(b);
}

static void put_aliases(const wg_object *o, const wg_object_symbol *s, wg_buf *b) {
  for (size_t i = 0; i < o->symbol_count; i++) {
    const wg_object_symbol *other = &o->symbols[i];
    if (other != s && wg_object_is_public(other) && wg_object_same(other, s))
      put_word(b, other->name, other->name_len);
  }
}

wg_code wg_plan_each(const wg_archive *a,
                     wg_code (*item)(void *user, const wg_plan_item *i, wg_error *err), void *user,
                     wg_error *err) {
  wg_buf name, aliases, users;
  wg_buf_init(&name, WG_OBJECT_NAME_MAX + 1);
  wg_buf_init(&aliases, WORDS_MAX);
  wg_buf_init(&users, WORDS_MAX);
  wg_code code = WG_OK;
  for (size_t m = 0; m < a->count && code == WG_OK; m++) {
    wg_object o;
    code = read_member(a, m, &o, err);
    if (code != WG_OK) break;
    char label[WG_PLAN_LABEL_MAX], signature[WG_OBJECT_TEXT_MAX];
    wg_plan_label(a, m, label);
    for (size_t i = 0; i < o.symbol_count && code == WG_OK; i++) {
      const wg_object_symbol *s = &o.symbols[i];
      if (!wg_object_is_public(s)) continue;
      wg_buf_clear(&name);
      wg_buf_clear(&aliases);
      wg_buf_clear(&users);
      wg_buf_put(&name, s->name, s->name_len);
      wg_buf_put_u8(&name, 0);
      put_aliases(&o, s, &aliases);
      wg_object_each_use(&o, s, put_user, &users);
      wg_object_signature(&o, s, signature);
      const wg_plan_item it = {.member = label,
                               .symbol = (const char *)wg_buf_head(&name),
                               .kind = wg_object_kind_name(s->kind),
                               .binding = s->flags & WG_OBJECT_WEAK ? "weak" : "global",
                               .signature = signature,
                               .aliases = words(&aliases),
                               .users = words(&users)};
      code = name.nomem || aliases.nomem || users.nomem
                 ? wg_error_set(err, WG_NOMEM, 0, "out of memory")
                 : item(user, &it, err);
    }
    wg_object_release(&o);
  }
  wg_buf_release(&name);
  wg_buf_release(&aliases);
  wg_buf_release(&users);
  return code;
}

/* ---- plans ---- */

/** Ends the word at *p with a NUL and moves *p behind it. NULL: there is none. */
static char *next_word(char **p) {
  char *word = *p + strspn(*p, " \t");
  size_t len = strcspn(word, " \t");
  if (!len) return NULL;
  *p = word + len;
  if (**p) *(*p)++ = '\0';
  return word;
}

static wg_code read_line(wg_plan *p, char *line, unsigned number, wg_error *err) {
  if (strlen(line) > WG_PLAN_LINE_MAX)
    return wg_error_set(err, WG_INVALID, 0, "line %u is longer than %d bytes", number,
                        WG_PLAN_LINE_MAX);
  line += strspn(line, " \t");
  if (!*line || *line == '#') return WG_OK;
  if (p->count == WG_PLAN_MAX)
    return wg_error_set(err, WG_INVALID, 0, "there are more than %d hooks", WG_PLAN_MAX);
  wg_plan_hook h = {.line = number};
  h.member = next_word(&line);
  h.symbol = h.member ? next_word(&line) : NULL;
  h.name = h.symbol ? next_word(&line) : NULL;
  h.signature = line + strspn(line, " \t");
  if (!h.name || !*h.signature)
    return wg_error_set(err, WG_INVALID, 0, "line %u is not 'MEMBER SYMBOL NEW-NAME SIGNATURE'",
                        number);
  for (size_t i = 0; i < p->count; i++)
    if (strcmp(p->hooks[i].symbol, h.symbol) == 0)
      return wg_error_set(err, WG_INVALID, 0, "'%.64s' is hooked in line %u and in line %u",
                          h.symbol, p->hooks[i].line, number);
  p->hooks[p->count++] = h;
  return WG_OK;
}

wg_code wg_plan_read(const char *text, size_t len, wg_plan *out, wg_error *err) {
  out->count = 0;
  out->text = malloc(len + 1);
  if (!out->text) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  if (len) memcpy(out->text, text, len);
  out->text[len] = '\0';
  wg_code code = WG_OK;
  if (strlen(out->text) != len)
    code = wg_error_set(err, WG_INVALID, 0, "it is not text: it has a NUL byte");
  unsigned number = 1;
  for (char *line = out->text; line && code == WG_OK; number++) {
    char *end = strchr(line, '\n');
    if (end) *end = '\0';
    code = read_line(out, line, number, err);
    line = end ? end + 1 : NULL;
  }
  if (code != WG_OK) wg_plan_release(out);
  return code;
}

void wg_plan_release(wg_plan *p) {
  free(p->text);
  p->text = NULL;
  p->count = 0;
}

/** Checks one hook against the one definition that it means; others of the name are an error. */
static wg_code check_hook(const wg_plan_hook *h, const wg_object *o, const wg_object_symbol *s,
                          wg_error *err) {
  char signature[WG_OBJECT_TEXT_MAX];
  wg_object_signature(o, s, signature);
  if (strcmp(signature, h->signature) != 0)
    return wg_error_set(err, WG_REFUSED, 0, "'%s' is '%s' here, not '%s'", h->symbol, signature,
                        h->signature);
  for (size_t i = 0; i < o->symbol_count; i++) {
    const wg_object_symbol *other = &o->symbols[i];
    if (other == s || !wg_object_is_public(other) || !wg_object_same(other, s)) continue;
    wg_error_set(err, WG_REFUSED, 0, "'%s' is also known as '%.*s'", h->symbol,
                 (int)other->name_len, other->name);
    wg_error_hint(err, "a call by that name would go past the new '%s'", h->symbol);
    return WG_REFUSED;
  }
  return WG_OK;
}

/** While a plan is applied. */
typedef struct applying {
  const wg_plan *plan;
  const wg_archive *from;
  size_t owners[WG_PLAN_MAX]; /**< number of the member of each hook, plus 1; 0: not found */
  wg_archive to;
  wg_buf *renamed; /**< a changed member; as many as members, most of them empty */
  size_t max;
} applying;

static wg_code change_member(applying *x, size_t member, const wg_object *o, wg_error *err) {
  static wg_object_rename renames[WG_PLAN_MAX];
  size_t count = 0;
  char label[WG_PLAN_LABEL_MAX];
  wg_plan_label(x->from, member, label);
  for (size_t i = 0; i < x->plan->count; i++) {
    const wg_plan_hook *h = &x->plan->hooks[i];
    const wg_object_symbol *s = wg_object_find(o, h->symbol);
    bool any = strcmp(h->member, "*") == 0;
    if (!s || (!any && strcmp(h->member, label) != 0)) continue;
    if (x->owners[i])
      return wg_error_set(err, WG_REFUSED, 0, "'%s' is defined by '%s' and by '%s'", h->symbol,
                          x->from->members[x->owners[i] - 1].name, label);
    wg_code code = check_hook(h, o, s, err);
    if (code != WG_OK) {
      wg_error_wrap(err, "member '%s'", label);
      return code;
    }
    x->owners[i] = member + 1;
    renames[count++] = (wg_object_rename){h->symbol, h->name};
  }
  const wg_archive_member *m = &x->from->members[member];
  if (!count) return wg_archive_add(&x->to, m->name, m->bytes, m->len, err);
  wg_buf *b = &x->renamed[member];
  wg_buf_init(b, x->max);
  wg_code code = wg_object_write_renamed(o, renames, count, b, err);
  if (code == WG_OK) return wg_archive_add(&x->to, m->name, wg_buf_head(b), wg_buf_len(b), err);
  wg_error_wrap(err, "member '%s'", label);
  return code;
}

static wg_code missing(const wg_plan_hook *h, wg_error *err) {
  if (strcmp(h->member, "*") == 0)
    return wg_error_set(err, WG_NOT_FOUND, 0, "no member defines '%s'", h->symbol);
  return wg_error_set(err, WG_NOT_FOUND, 0, "member '%s' is not there or does not define '%s'",
                      h->member, h->symbol);
}

wg_code wg_plan_apply(const wg_plan *p, const wg_archive *a, wg_buf *out, wg_error *err) {
  applying x = {.plan = p, .from = a, .max = out->max};
  x.renamed = calloc(a->count ? a->count : 1, sizeof *x.renamed);
  if (!x.renamed) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  wg_code code = WG_OK;
  for (size_t i = 0; i < a->count && code == WG_OK; i++) {
    wg_object o;
    code = read_member(a, i, &o, err);
    if (code != WG_OK) break;
    code = change_member(&x, i, &o, err);
    wg_object_release(&o);
  }
  for (size_t i = 0; i < p->count && code == WG_OK; i++)
    if (!x.owners[i]) code = missing(&p->hooks[i], err);
  if (code == WG_OK) code = wg_archive_write(&x.to, out, err);
  for (size_t i = 0; i < a->count; i++) wg_buf_release(&x.renamed[i]);
  free(x.renamed);
  wg_archive_release(&x.to);
  return code;
}
