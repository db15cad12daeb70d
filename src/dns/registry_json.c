/* SPDX-License-Identifier: Apache-2.0 */
/** @file registry_json.c  What an HTTP registry answers, from JSON to checked names. */
#include "dns/names.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static wg_code nomem(wg_error *err) { return wg_error_set(err, WG_NOMEM, 0, "out of memory"); }

static wg_code read_addresses(const json_t *list, const char *name, wg_registry_name *out,
                              wg_error *err) {
  if (!json_is_array(list))
    return wg_error_set(err, WG_INVALID, 0, "the name '%s' has no list of addresses", name);
  size_t n = json_array_size(list);
  if (n > WG_REGISTRY_ADDRESSES_MAX)
    return wg_error_set(err, WG_INVALID, 0, "the name '%s' has %zu addresses; at most %d are taken",
                        name, n, WG_REGISTRY_ADDRESSES_MAX);
  out->addresses = calloc(n ? n : 1, sizeof *out->addresses);
  if (!out->addresses) return nomem(err);
  for (; out->count < n; out->count++) {
    const json_t *item = json_array_get(list, out->count);
    const char *text = json_string_value(item);
    if (!text || !wg_dns_literal(text, json_string_length(item), &out->addresses[out->count]))
      return wg_error_set(err, WG_INVALID, 0, "the name '%s': address %zu is not an IP address",
                          name, out->count + 1);
  }
  return WG_OK;
}

static wg_code read_names(json_t *services, wg_registry_answer *a, wg_error *err) {
  size_t n = json_object_size(services);
  if (n > WG_REGISTRY_NAMES_MAX)
    return wg_error_set(err, WG_INVALID, 0, "there are %zu names; at most %d are taken", n,
                        WG_REGISTRY_NAMES_MAX);
  a->names = calloc(n ? n : 1, sizeof *a->names);
  if (!a->names) return nomem(err);
  const char *key;
  json_t *value;
  json_object_foreach(services, key, value) {
    wg_registry_name *name = &a->names[a->count];
    const char *why;
    if (!wg_dns_normalise(key, strlen(key), &name->name, &why))
      return wg_error_set(err, WG_INVALID, 0, "name %zu %s", a->count + 1, why);
    if (wg_dns_is_below(name->name.text, name->name.len, "localhost")) /* RFC 6761, section 6.3 */
      return wg_error_set(err, WG_INVALID, 0, "the name '%s' is this machine's own",
                          name->name.text);
    a->count++;
    wg_code code = read_addresses(value, name->name.text, name, err);
    if (code != WG_OK) return code;
  }
  return WG_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const wg_registry_name *)a)->name.text, ((const wg_registry_name *)b)->name.text);
}

wg_code wg_registry_parse(const void *json, size_t len, wg_registry_answer **out, wg_error *err) {
  if (len > WG_REGISTRY_BYTES_MAX)
    return wg_error_set(err, WG_INVALID, 0, "the answer is larger than %d MiB",
                        WG_REGISTRY_BYTES_MAX >> 20);
  json_error_t at;
  json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &at);
  if (!root)
    return wg_error_set(err, WG_INVALID, 0, "the answer is not JSON: line %d, column %d: %s",
                        at.line, at.column, at.text);
  wg_code code = WG_OK;
  json_t *services = json_object_get(root, "services");
  wg_registry_answer *a = calloc(1, sizeof *a);
  if (!a)
    code = nomem(err);
  else if (!json_is_object(services))
    code = wg_error_set(err, WG_INVALID, 0, "the answer has no object 'services'");
  else
    code = read_names(services, a, err);
  json_decref(root);
  if (code == WG_OK) {
    qsort(a->names, a->count, sizeof *a->names, by_name);
    for (size_t i = 1; i < a->count && code == WG_OK; i++)
      if (by_name(&a->names[i - 1], &a->names[i]) == 0)
        code =
            wg_error_set(err, WG_INVALID, 0, "the name '%s' is given twice", a->names[i].name.text);
  }
  if (code != WG_OK) {
    wg_registry_answer_free(a);
    return code;
  }
  *out = a;
  return WG_OK;
}

bool wg_registry_answer_equal(const wg_registry_answer *a, const wg_registry_answer *b) {
  if (!a || !b || a->count != b->count) return a == b;
  for (size_t i = 0; i < a->count; i++) {
    const wg_registry_name *x = &a->names[i], *y = &b->names[i];
    if (by_name(x, y) != 0 || x->count != y->count ||
        memcmp(x->addresses, y->addresses, x->count * sizeof *x->addresses) != 0)
      return false;
  }
  return true;
}

void wg_registry_answer_free(wg_registry_answer *a) {
  if (!a) return;
  for (size_t i = 0; i < a->count; i++) free(a->names[i].addresses);
  free(a->names);
  free(a);
}
