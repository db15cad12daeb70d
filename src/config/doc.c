/* SPDX-License-Identifier: Apache-2.0 */
#include "config/doc.h"

#include <stdlib.h>
#include <string.h>

enum { DOC_DEPTH_MAX = 32, DOC_NODES_MAX = 100000 };

typedef struct doc_builder {
  cfg_node *root;
  cfg_node *stack[DOC_DEPTH_MAX]; /**< open tables and arrays */
  cfg_node *last[DOC_DEPTH_MAX];  /**< their last child so far */
  size_t depth;
  size_t nodes;
  wg_error *err;
} doc_builder;

static char *doc_copy(wgrt_bytes b) {
  char *copy = malloc(b.n + 1);
  if (!copy) return NULL;
  if (b.n) memcpy(copy, b.p, b.n);
  copy[b.n] = '\0';
  return copy;
}

static int on_toml(void *user, const wgrt_toml_event *e) {
  doc_builder *b = user;
  if (e->type == WGRT_TOML_TABLE_END || e->type == WGRT_TOML_ARRAY_END) {
    b->depth--;
    return 0;
  }
  bool opens = e->type == WGRT_TOML_TABLE_BEGIN || e->type == WGRT_TOML_ARRAY_BEGIN;
  if ((opens && b->depth == DOC_DEPTH_MAX) || ++b->nodes > DOC_NODES_MAX) {
    wg_error_set(b->err, WG_CONFIG, 0, "%u:%u: the document is nested too deep or too large",
                 e->line, e->column);
    return 1;
  }
  cfg_node *n = calloc(1, sizeof *n);
  if (!n) goto nomem;
  *n = (cfg_node){.type = (wgrt_toml_type)e->type,
                  .line = e->line,
                  .column = e->column,
                  .value_line = e->value_line,
                  .value_column = e->value_column,
                  .text_len = e->string.n,
                  .integer = e->integer};
  /* Linked before it is filled, so that one free reaches everything. */
  if (b->depth == 0)
    b->root = n;
  else if (b->last[b->depth - 1])
    b->last[b->depth - 1]->next = n;
  else
    b->stack[b->depth - 1]->child = n;
  if (b->depth) b->last[b->depth - 1] = n;
  n->key = doc_copy(e->key);
  n->text = doc_copy(e->string);
  if (!n->key || !n->text) goto nomem;
  if (e->key.n && strlen(n->key) != e->key.n) {
    wg_error_set(b->err, WG_CONFIG, 0, "%u:%u: the key contains a NUL character", e->line,
                 e->column);
    return 1;
  }
  if (opens) {
    b->stack[b->depth] = n;
    b->last[b->depth++] = NULL;
  }
  return 0;
nomem:
  wg_error_set(b->err, WG_NOMEM, 0, "out of memory");
  return 1;
}

wg_code cfg_doc_parse(const char *text, size_t len, cfg_node **out, wg_error *err) {
  wg_error local;
  doc_builder b = {.err = err ? err : &local};
  wgrt_error grammar;
  grammar.msg[0] = '\0';
  int rc = wgrt_toml_walk((wgrt_bytes){(const uint8_t *)text, len}, on_toml, &b, &grammar);
  if (rc == 0 && b.root) {
    *out = b.root;
    return WG_OK;
  }
  cfg_doc_free(b.root);
  if (rc < 0) return wg_error_set(err, WG_CONFIG, 0, "%s", grammar.msg);
  return b.err->code;
}

void cfg_doc_free(cfg_node *root) {
  /* Without recursion: hang the children in front of what is still to be freed. */
  for (cfg_node *n = root; n;) {
    if (n->child) {
      cfg_node *tail = n->child;
      while (tail->next) tail = tail->next;
      tail->next = n->next;
      n->next = n->child;
    }
    cfg_node *next = n->next;
    if (n->text) wg_wipe(n->text, n->text_len);
    free(n->text);
    free(n->key);
    free(n);
    n = next;
  }
}

const char *cfg_type_name(wgrt_toml_type type) {
  switch (type) {
  case WGRT_TOML_STRING: return "a string";
  case WGRT_TOML_INT: return "an integer";
  case WGRT_TOML_FLOAT: return "a number with a fraction, or out of range";
  case WGRT_TOML_BOOL: return "true or false";
  case WGRT_TOML_DATETIME: return "a date";
  case WGRT_TOML_TABLE_BEGIN:
  case WGRT_TOML_TABLE_END: return "a table";
  case WGRT_TOML_ARRAY_BEGIN:
  case WGRT_TOML_ARRAY_END: return "a list";
  }
  return "something else";
}

const cfg_node *cfg_child(const cfg_node *table, const char *key) {
  const cfg_node *n = table ? table->child : NULL;
  while (n && strcmp(n->key, key) != 0) n = n->next;
  return n;
}
