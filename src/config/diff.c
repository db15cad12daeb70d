/* SPDX-License-Identifier: Apache-2.0 */
/** @file diff.c  What differs between two configurations, for a reload. */
#include "config/keys.h"
#include "config/read.h"
#include "db/db.h"
#include "db/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same_text(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

static bool same_list(char *const *a, char *const *b) {
  size_t i = 0;
  if (!a || !b) return (!a || !*a) && (!b || !*b);
  while (a[i] && b[i] && strcmp(a[i], b[i]) == 0) i++;
  return !a[i] && !b[i];
}

static wg_code copy_list(char ***to, char *const *from, wg_error *err) {
  cfg_reader r = {.err = err};
  cfg_free_list(*to);
  *to = NULL;
  for (; from && *from; from++) {
    char *copy = strdup(*from);
    wg_code code = copy ? cfg_append(&r, to, copy) : cfg_nomem(&r);
    if (code != WG_OK) return code;
  }
  return WG_OK;
}

/** Makes the field of `c` that of `old`. @param differed  whether it was another */
static wg_code keep(const cfg_key *k, wg_config *c, const wg_config *old, bool *differed,
                    wg_error *err) {
  char *to = (char *)c + k->offset;
  const char *from = (const char *)old + k->offset;
  size_t size = 0;
  switch (k->type) {
  case CFG_COUNT:
  case CFG_DURATION:
  case CFG_SIZE32: size = sizeof(uint32_t); break;
  case CFG_SIZE: size = sizeof(uint64_t); break;
  case CFG_FLAG: size = sizeof(bool); break;
  case CFG_LISTEN:
    *differed = !same_list(*(char ***)(void *)to, *(char *const *const *)(const void *)from);
    return *differed
               ? copy_list((char ***)(void *)to, *(char *const *const *)(const void *)from, err)
               : WG_OK;
  default: WG_ASSERT(false); /* no other type is fixed; docs_test walks the table */
  }
  *differed = memcmp(to, from, size) != 0;
  memcpy(to, from, size);
  return WG_OK;
}

wg_code wg_config_keep_fixed(wg_config *c, const wg_config *old, char *names, size_t cap,
                             wg_error *err) {
  wg_error local;
  size_t used = 0;
  names[0] = '\0';
  for (const cfg_key *k = cfg_keys; k < cfg_keys + cfg_key_count; k++) {
    if (k->live) continue;
    bool differed = false;
    wg_code code = keep(k, c, old, &differed, err ? err : &local);
    if (code != WG_OK) return code;
    if (!differed || used >= cap) continue;
    const char *section = cfg_section_name(k->section);
    int n = snprintf(names + used, cap - used, "%s%.*s.%s", used ? ", " : "",
                     (int)strlen(section) - 2, section + 1, k->name);
    used += n > 0 ? (size_t)n : 0;
  }
  return WG_OK;
}

static bool same_secret(const wg_secret *a, const wg_secret *b) {
  return a->len == b->len && (a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

static bool same_pool(const wg_pool_config *a, const wg_pool_config *b) {
  return a->pool_size == b->pool_size && a->max_waiters == b->max_waiters &&
         a->connect_timeout_ms == b->connect_timeout_ms &&
         a->idle_timeout_ms == b->idle_timeout_ms &&
         a->health_interval_ms == b->health_interval_ms &&
         a->recv_timeout_ms == b->recv_timeout_ms && a->send_timeout_ms == b->send_timeout_ms &&
         a->slow_wait_ms == b->slow_wait_ms && a->drain_timeout_ms == b->drain_timeout_ms &&
         a->min_idle == b->min_idle && a->max_lifetime_ms == b->max_lifetime_ms &&
         a->tcp_keepalive_ms == b->tcp_keepalive_ms &&
         a->tcp_user_timeout_ms == b->tcp_user_timeout_ms && a->reset == b->reset &&
         a->spin == b->spin;
}

static const wg_registry_entry *registered(const wg_config *c, const char *name) {
  for (size_t i = 0; i < c->registry_count; i++)
    if (strcmp(c->registry[i].name, name) == 0) return &c->registry[i];
  for (size_t i = 0; i < c->host_count; i++)
    if (strcmp(c->hosts[i].name, name) == 0) return &c->hosts[i];
  return NULL;
}

/** Whether a name stands for the same addresses: where it is dialled is part of what it is. */
static bool same_name(const wg_config *a, const wg_config *b, const char *name) {
  const wg_registry_entry *x = registered(a, name), *y = registered(b, name);
  if (!x || !y) return x == y;
  if (x->address_count != y->address_count) return false;
  for (size_t i = 0; i < x->address_count; i++)
    if (strcmp(x->addresses[i], y->addresses[i]) != 0) return false;
  return true;
}

static bool same_place(const wg_config *a, const wg_config *b, const wg_database_config *d) {
  if (d->host_count == 0) return same_name(a, b, d->address ? d->address : d->host);
  for (size_t i = 0; i < d->host_count; i++)
    if (!same_name(a, b, d->hosts[i].name)) return false;
  return true;
}

bool wg_config_same_databases(const wg_config *a, const wg_config *b) {
  if (a->database_count != b->database_count || !same_pool(&a->pool, &b->pool) ||
      !same_text(a->dns_domain, b->dns_domain))
    return false;
  for (size_t i = 0; i < a->database_count; i++) {
    const wg_database_config *x = &a->databases[i], *y = &b->databases[i];
    if (!same_text(x->name, y->name) || x->protocol != y->protocol ||
        !same_text(x->host, y->host) || x->port != y->port || !same_text(x->address, y->address) ||
        x->address_port != y->address_port || !same_text(x->database, y->database) ||
        x->auth != y->auth || x->credential_ttl_ms != y->credential_ttl_ms ||
        !same_text(x->user, y->user) || !same_secret(&x->password, &y->password) ||
        !same_pool(&x->pool, &y->pool) || !wg_db_same_hosts(x, y) ||
        !wg_tls_same(&x->tls, &y->tls) || !same_place(a, b, x))
      return false;
  }
  return true;
}
