/* SPDX-License-Identifier: Apache-2.0 */
/** @file sections.c  The tables whose keys are names: [shims], [databases], [registry], [hosts],
 *  [env]. */
#include "config/read.h"
#include "config/value.h"
#include "db/tls.h"
#include "db/wire/wire.h"
#include "dns/name.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- [shims] ---- */

/** A shim's own table, in bit order, and the struct of its keys. */
static cfg_target shim_target(wg_config *c, unsigned bit) {
  static const cfg_section sections[] = {CFG_FILESYSTEM, CFG_DNS, CFG_SIGNALS, CFG_POOL,
                                         CFG_THREADING};
  return (cfg_target){sections[bit], sections[bit] == CFG_POOL ? (void *)&c->pool : (void *)c};
}

static bool is_enabled_key(const cfg_node *n) { return strcmp(n->key, "enabled") == 0; }

wg_code cfg_read_shims(cfg_reader *r, const cfg_node *table) {
  if (table->type != WGRT_TOML_TABLE_BEGIN) return cfg_fail_type(r, table, "a table");
  r->c->shims_line = table->line;
  for (const cfg_node *n = table->child; n; n = n->next) {
    uint64_t unit;
    const cfg_key *k = cfg_find_key(CFG_SHIMS, n->key, &unit);
    if (!k) {
      cfg_warn_unknown(r, n, "shim", cfg_nearest_key(CFG_SHIMS, CFG_SHIMS, n->key));
      continue;
    }
    uint32_t mask = (uint32_t)k->offset;
    unsigned bit = (unsigned)__builtin_ctz(mask);
    bool on = true;
    uint32_t line = n->line;
    if (n->type == WGRT_TOML_BOOL) {
      on = n->integer != 0;
    } else if (n->type == WGRT_TOML_TABLE_BEGIN) {
      for (const cfg_node *e = n->child; e; e = e->next) {
        if (!is_enabled_key(e)) continue;
        if (e->type != WGRT_TOML_BOOL) return cfg_fail_type(r, e, "true or false");
        on = e->integer != 0;
        line = e->line;
      }
      cfg_target target = shim_target(r->c, bit);
      wg_code code = cfg_read_table(r, n, &target, 1, is_enabled_key);
      if (code != WG_OK) return code;
    } else {
      return cfg_fail_type(r, n, "true, false or a table");
    }
    r->c->shim_line[bit] = line;
    if (on)
      r->c->shims |= mask;
    else
      r->c->shims &= ~mask;
  }
  return WG_OK;
}

/* ---- [databases.NAME] ---- */

/** A lower-case host name or address; a Unix socket's folder only where a path may stand. */
static bool database_host_ok(const char *host, bool path) {
  size_t n = strlen(host);
  if (path && host[0] == '/') return n < 100;
  if (n == 0 || n > 253) return false;
  for (const char *p = host; *p; p++)
    if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:", *p))
      return false;
  return true;
}

void cfg_lower(char *text) {
  for (; *text; text++)
    if (*text >= 'A' && *text <= 'Z') *text = (char)(*text - 'A' + 'a');
}

static const cfg_node *value_of(const cfg_node *table, const char *key) {
  const cfg_node *n = cfg_child(table, key);
  return n ? n : table;
}

static wg_code database_check(cfg_reader *r, const cfg_node *table, wg_database_config *d) {
  static const uint16_t ports[] = {5432, 3306, 6379};
  if (!d->host) {
    d->host = strdup(d->name);
    if (!d->host) return cfg_nomem(r);
  }
  cfg_lower(d->host);
  wg_dns_addr literal;
  wg_dns_name name;
  const char *why;
  if (!wg_dns_literal(d->host, strlen(d->host), &literal)) {
    if (!wg_dns_normalise(d->host, strlen(d->host), &name, &why))
      return cfg_fail(r, table->line, table->column, "database '%s': the host name '%s' %s",
                      d->name, d->host, why);
    d->host[name.len] = '\0'; /* without the root's dot */
  }
  if (d->port == 0) d->port = ports[d->protocol];
  if (d->protocol == WG_DB_REDIS && !d->database && !(d->database = strdup("0")))
    return cfg_nomem(r);
  if (d->protocol == WG_DB_REDIS && !wg_redis_database_ok(d->database, strlen(d->database))) {
    const cfg_node *n = value_of(table, "database");
    return cfg_fail(r, n->value_line, n->value_column,
                    "'database' of protocol \"redis\" is a number, such as \"0\"");
  }
  if (!database_host_ok(d->host, false))
    return cfg_fail(r, table->line, table->column, "database '%s': '%s' is not a host name",
                    d->name, d->host);
  if (d->address && !database_host_ok(d->address, true))
    return cfg_fail(r, table->line, table->column,
                    "database '%s': 'address' is not a host name, an address or a folder", d->name);
  if (d->pool.min_idle > d->pool.pool_size) {
    cfg_fail(r, table->line, table->column,
             "database '%s': 'min_idle' is %u, more than its 'pool_size' of %u", d->name,
             d->pool.min_idle, d->pool.pool_size);
    wg_error_hint(r->err, "raise pool_size, or lower min_idle");
    return WG_CONFIG;
  }
  if (!d->user && d->protocol != WG_DB_REDIS && d->auth == WG_DB_AUTH_SERVICE) {
    cfg_fail(r, table->line, table->column, "database '%s' needs 'user'", d->name);
    wg_error_hint(r->err, "add to [databases.%s]: user = \"NAME\" and password = \"${VARIABLE}\"",
                  d->name);
    return WG_CONFIG;
  }
  return WG_OK;
}

/** A password that nobody uses, and what cannot be relayed. */
static wg_code database_check_auth(cfg_reader *r, const cfg_node *table,
                                   const wg_database_config *d) {
  static const char *const passwords[] = {"password", "password_env", "password_file"};
  if (d->auth == WG_DB_AUTH_SERVICE) return WG_OK;
  for (size_t i = 0; i < WG_COUNT(passwords); i++) {
    const cfg_node *n = cfg_child(table, passwords[i]);
    if (!n) continue;
    cfg_fail(r, n->line, n->column, "'%s' is not used: with this 'auth' guests bring their own",
             passwords[i]);
    wg_error_hint(r->err, "leave it out, or set auth = \"service\"");
    return WG_CONFIG;
  }
  const cfg_node *n = value_of(table, "tls");
  if (d->auth == WG_DB_AUTH_RELAY && d->protocol == WG_DB_MYSQL && d->tls.mode >= WG_TLS_ALLOW) {
    cfg_fail(r, n->value_line, n->value_column,
             "'tls' cannot be had with auth = \"relay\" and protocol \"mysql\": its first words "
             "come before TLS");
    wg_error_hint(r->err, "set auth = \"service\" or \"guest\", or tls = \"disable\"");
    return WG_CONFIG;
  }
  n = value_of(table, "channel_binding");
  if (d->auth == WG_DB_AUTH_RELAY && d->tls.channel_binding == WG_TLS_BINDING_REQUIRE)
    return cfg_fail(
        r, n->value_line, n->value_column,
        "'channel_binding' cannot be required with auth = \"relay\": the guest does not "
        "see the TLS channel");
  return WG_OK;
}

/** `addresses` and what goes with it; fills hosts. */
static wg_code database_check_hosts(cfg_reader *r, const cfg_node *table, wg_database_config *d) {
  const cfg_node *n = value_of(table, "target_session_attrs");
  if (d->target_attrs != WG_DB_TARGET_ANY && d->protocol != WG_DB_POSTGRES)
    return cfg_fail(r, n->value_line, n->value_column,
                    "'target_session_attrs' is for databases of protocol \"postgres\"");
  if (d->target_attrs != WG_DB_TARGET_ANY && d->auth == WG_DB_AUTH_RELAY) {
    cfg_fail(r, n->value_line, n->value_column,
             "'target_session_attrs' needs the host's own log-in, which auth = \"relay\" has not");
    wg_error_hint(r->err, "leave it out, or set auth = \"service\" or \"guest\"");
    return WG_CONFIG;
  }
  if (!cfg_child(table, "addresses")) {
    if (!d->load_balance) return WG_OK;
    n = value_of(table, "load_balance");
    return cfg_fail(r, n->value_line, n->value_column, "'load_balance' needs 'addresses'");
  }
  size_t count = 0;
  while (d->addresses && d->addresses[count]) count++;
  n = value_of(table, "addresses");
  if (d->address || d->address_port) {
    cfg_fail(r, n->value_line, n->value_column,
             "'addresses' and 'address' or 'address_port' contradict each other");
    wg_error_hint(r->err, "write all servers into 'addresses', as HOST:PORT");
    return WG_CONFIG;
  }
  if (count == 0 || count > WG_DB_HOSTS_MAX)
    return cfg_fail(r, n->value_line, n->value_column,
                    "'addresses' needs 1 to %d addresses, has %zu", WG_DB_HOSTS_MAX, count);
  d->hosts = calloc(count, sizeof *d->hosts);
  if (!d->hosts) return cfg_nomem(r);
  for (const char *const *a = (const char *const *)d->addresses; *a; a++) {
    char host[256];
    uint16_t port = 0;
    wg_error why;
    bool ok = (*a)[0] != ':' && wg_listen_parse(*a, host, &port, &why) == WG_OK && port > 0 &&
              database_host_ok(host, false);
    if (!ok) {
      cfg_fail(r, n->value_line, n->value_column, "'addresses': '%s' is not a host and a port", *a);
      wg_error_hint(r->err, "write HOST:PORT, such as db1.example.com:5432 or [2001:db8::1]:5432");
      return WG_CONFIG;
    }
    cfg_lower(host);
    wg_db_host *h = &d->hosts[d->host_count];
    h->port = port;
    h->name = strdup(host);
    if (!h->name) return cfg_nomem(r);
    d->host_count++;
  }
  return WG_OK;
}

/** Keys of TLS that contradict each other, and the files that they name. */
static wg_code database_check_tls(cfg_reader *r, const cfg_node *table, wg_database_config *d) {
  wg_tls_config *t = &d->tls;
  const cfg_node *n = value_of(table, "tls");
  const char *why = NULL;
  if (d->protocol != WG_DB_POSTGRES) {
    if (t->channel_binding == WG_TLS_BINDING_REQUIRE) why = "channel_binding";
    if (t->negotiation == WG_TLS_DIRECT) why = "tls_negotiation";
    n = value_of(table, why ? why : "tls");
    if (why)
      return cfg_fail(r, n->value_line, n->value_column,
                      "'%s' is for databases of protocol \"postgres\"", why);
  }
  if (t->mode >= WG_TLS_REQUIRE && d->address && d->address[0] == '/') {
    cfg_fail(r, n->value_line, n->value_column,
             "'tls': there is no TLS over the Unix socket of 'address'");
    wg_error_hint(r->err, "leave 'tls' out, or give an address with a port");
    return WG_CONFIG;
  }
  if (t->mode == WG_TLS_DISABLE || t->mode == WG_TLS_ALLOW || t->mode == WG_TLS_PREFER) {
    if (t->channel_binding == WG_TLS_BINDING_REQUIRE) why = "channel_binding";
    if (t->negotiation == WG_TLS_DIRECT) why = "tls_negotiation";
  }
  if (why) {
    n = value_of(table, why);
    cfg_fail(r, n->value_line, n->value_column, "'%s' needs TLS, which 'tls' does not make sure of",
             why);
    wg_error_hint(r->err, "set tls to \"require\", \"verify-ca\" or \"verify-full\"");
    return WG_CONFIG;
  }
  if (t->key && !t->cert) {
    n = value_of(table, "tls_key");
    return cfg_fail(r, n->value_line, n->value_column, "'tls_key' needs 'tls_cert'");
  }
  if (t->server_name && !database_host_ok(t->server_name, false)) {
    n = value_of(table, "tls_server_name");
    return cfg_fail(r, n->value_line, n->value_column, "'tls_server_name': '%s' is not a host name",
                    t->server_name);
  }
  if (t->mode == WG_TLS_DISABLE || (t->mode == WG_TLS_AUTO && !t->ca && !t->cert)) return WG_OK;
  wg_error failed;
  const char *key;
  wg_code code = wg_tls_new(t, &t->made, &key, &failed);
  if (code == WG_OK) return WG_OK;
  n = value_of(table, key);
  cfg_fail(r, n->value_line, n->value_column, "%s", failed.msg);
  wg_error_hint(r->err, "%s", failed.hint);
  return WG_CONFIG;
}

/** Two tables that a guest could not tell apart are a slip. */
static wg_code database_check_unique(cfg_reader *r, const cfg_node *table,
                                     const wg_database_config *d) {
  for (size_t i = 0; i + 1 < r->c->database_count; i++) {
    const wg_database_config *o = &r->c->databases[i];
    bool same_name = (!o->database && !d->database) ||
                     (o->database && d->database && strcmp(o->database, d->database) == 0);
    bool same_user = (!o->user && !d->user) || (o->user && d->user && !strcmp(o->user, d->user));
    if (o->protocol == d->protocol && o->port == d->port && strcmp(o->host, d->host) == 0 &&
        same_name && same_user)
      return cfg_fail(r, table->line, table->column,
                      "database '%s' is the same as '%s' in line %u: host, port, database and user",
                      d->name, o->name, o->line);
  }
  return WG_OK;
}

static wg_code read_database(cfg_reader *r, const cfg_node *table) {
  if (table->type != WGRT_TOML_TABLE_BEGIN) return cfg_fail_type(r, table, "a table");
  wg_config *c = r->c;
  wg_database_config *grown = realloc(c->databases, (c->database_count + 1) * sizeof *grown);
  if (!grown) return cfg_nomem(r);
  c->databases = grown;
  wg_database_config *d = &grown[c->database_count++];
  *d = (wg_database_config){.pool = c->pool, .line = table->line};
  d->name = strdup(table->key);
  if (!d->name) return cfg_nomem(r);
  wg_code code = cfg_defaults(r, CFG_DATABASE, d);
  if (code != WG_OK) return code;
  const cfg_target targets[] = {{CFG_DATABASE, d}, {CFG_POOL, &d->pool}};
  code = cfg_read_table(r, table, targets, WG_COUNT(targets), NULL);
  if (code != WG_OK) return code;
  code = database_check(r, table, d);
  if (code == WG_OK) code = database_check_auth(r, table, d);
  if (code == WG_OK) code = database_check_hosts(r, table, d);
  if (code == WG_OK) code = database_check_tls(r, table, d);
  return code == WG_OK ? database_check_unique(r, table, d) : code;
}

wg_code cfg_read_databases(cfg_reader *r, const cfg_node *table) {
  if (table->type != WGRT_TOML_TABLE_BEGIN) return cfg_fail_type(r, table, "a table");
  for (const cfg_node *n = table->child; n; n = n->next) {
    wg_code code = read_database(r, n);
    if (code != WG_OK) return code;
  }
  return WG_OK;
}

void cfg_database_release(wg_database_config *d) {
  free(d->name);
  free(d->host);
  free(d->address);
  cfg_free_list(d->addresses);
  for (size_t i = 0; i < d->host_count; i++) free(d->hosts[i].name);
  free(d->hosts);
  free(d->database);
  free(d->user);
  wg_secret_release(&d->password);
  free(d->tls.ca);
  free(d->tls.cert);
  free(d->tls.key);
  free(d->tls.server_name);
  wg_tls_free(d->tls.made);
}

/* ---- [registry] and [hosts] ---- */

bool cfg_is_address(const char *text) {
  unsigned char raw[16];
  return inet_pton(AF_INET, text, raw) == 1 || inet_pton(AF_INET6, text, raw) == 1;
}

static wg_code registry_address(cfg_reader *r, const cfg_node *n, wg_registry_entry *e) {
  char *text;
  wg_code code = cfg_text(r, n, &text);
  if (code != WG_OK) return code;
  if (!cfg_is_address(text)) {
    code = cfg_fail(r, n->value_line, n->value_column, "'%s' is not an IPv4 or IPv6 address", text);
    free(text);
    return code;
  }
  code = cfg_append(r, &e->addresses, text);
  if (code == WG_OK) e->address_count++;
  return code;
}

static wg_code read_registry_entry(cfg_reader *r, const cfg_node *n, wg_registry_entry **list,
                                   size_t *count) {
  if (n->type == WGRT_TOML_TABLE_BEGIN) {
    cfg_fail(r, n->line, n->column, "'%s' must be a list of addresses, got a table", n->key);
    wg_error_hint(r->err, "quote names with dots: \"%s.example\" = [\"10.0.0.1\"]", n->key);
    return WG_CONFIG;
  }
  wg_registry_entry *grown = realloc(*list, (*count + 1) * sizeof *grown);
  if (!grown) return cfg_nomem(r);
  *list = grown;
  wg_registry_entry *e = &grown[(*count)++];
  *e = (wg_registry_entry){.name = strdup(n->key)};
  if (!e->name) return cfg_nomem(r);
  cfg_lower(e->name);
  size_t len = strlen(e->name);
  if (len && e->name[len - 1] == '.') e->name[len - 1] = '\0';
  wg_dns_name name;
  const char *why;
  if (!wg_dns_normalise(e->name, strlen(e->name), &name, &why)) {
    cfg_fail(r, n->line, n->column, "'%s' is not a host name", n->key);
    wg_error_hint(r->err, "it %s", why);
    return WG_CONFIG;
  }
  for (size_t i = 0; i + 1 < *count; i++)
    if (strcmp(grown[i].name, e->name) == 0)
      return cfg_fail(r, n->line, n->column, "the name '%s' was given before", n->key);
  if (n->type == WGRT_TOML_STRING) return registry_address(r, n, e);
  if (n->type != WGRT_TOML_ARRAY_BEGIN)
    return cfg_fail_type(r, n, "an address or a list of addresses");
  if (!n->child)
    return cfg_fail(r, n->value_line, n->value_column, "'%s' needs at least one address", n->key);
  for (const cfg_node *item = n->child; item; item = item->next) {
    wg_code code = registry_address(r, item, e);
    if (code != WG_OK) return code;
  }
  return WG_OK;
}

/** In [registry] the words of the HTTP registry are never names. */
static bool is_registry_name(const cfg_node *n) {
  uint64_t unit;
  return cfg_find_key(CFG_REGISTRY, n->key, &unit) == NULL;
}

/** The token becomes part of a header. */
static wg_code check_token(cfg_reader *r, const cfg_node *table) {
  const wg_secret *t = &r->c->registry_token;
  const cfg_node *at = table;
  for (const cfg_node *n = table->child; n; n = n->next)
    if (strncmp(n->key, "token", 5) == 0) at = n;
  for (size_t i = 0; i < t->len; i++)
    if (t->bytes[i] <= ' ' || t->bytes[i] > '~')
      return cfg_fail(r, at->line, at->column,
                      "the token of [registry] has a character that no header can hold");
  return WG_OK;
}

wg_code cfg_read_registry(cfg_reader *r, const cfg_node *table) {
  if (table->type != WGRT_TOML_TABLE_BEGIN) return cfg_fail_type(r, table, "a table");
  const cfg_target target = {CFG_REGISTRY, r->c};
  wg_code code = cfg_read_table(r, table, &target, 1, is_registry_name);
  if (code == WG_OK) code = check_token(r, table);
  for (const cfg_node *n = table->child; n && code == WG_OK; n = n->next)
    if (is_registry_name(n))
      code = read_registry_entry(r, n, &r->c->registry, &r->c->registry_count);
  return code;
}

wg_code cfg_read_hosts(cfg_reader *r, const cfg_node *table) {
  if (table->type != WGRT_TOML_TABLE_BEGIN) return cfg_fail_type(r, table, "a table");
  for (const cfg_node *n = table->child; n; n = n->next) {
    wg_code code = read_registry_entry(r, n, &r->c->hosts, &r->c->host_count);
    if (code != WG_OK) return code;
  }
  return WG_OK;
}

/* ---- [env] ---- */

wg_code cfg_read_env(cfg_reader *r, const cfg_node *table) {
  return cfg_read_variables(r, table, &r->c->env);
}

wg_code cfg_read_variables(cfg_reader *r, const cfg_node *table, char ***list) {
  if (table->type != WGRT_TOML_TABLE_BEGIN) return cfg_fail_type(r, table, "a table");
  for (const cfg_node *n = table->child; n; n = n->next) {
    if (!n->key[0] || strchr(n->key, '='))
      return cfg_fail(r, n->line, n->column, "'%s' is not a name for a variable", n->key);
    char *value = NULL, *pair;
    int len;
    if (n->type == WGRT_TOML_STRING) {
      wg_code code = cfg_text(r, n, &value);
      if (code != WG_OK) return code;
      len = asprintf(&pair, "%s=%s", n->key, value);
      wg_wipe(value, strlen(value));
      free(value);
    } else if (n->type == WGRT_TOML_INT) {
      len = asprintf(&pair, "%s=%" PRId64, n->key, n->integer);
    } else if (n->type == WGRT_TOML_BOOL) {
      len = asprintf(&pair, "%s=%s", n->key, n->integer ? "true" : "false");
    } else {
      return cfg_fail_type(r, n, "a string, an integer, true or false");
    }
    if (len < 0) return cfg_nomem(r);
    wg_code code = cfg_append(r, list, pair);
    if (code != WG_OK) return code;
  }
  return WG_OK;
}
