/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include "base/buf.h"
#include "base/text.h"
#include "config/read.h"
#include "config/value.h"
#include "dns/name.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_FILE_MAX = 1 << 20 };

const char *wg_shim_name(uint32_t bit) {
  for (size_t i = 0; i < cfg_key_count; i++)
    if (cfg_keys[i].section == CFG_SHIMS && cfg_keys[i].offset == bit) return cfg_keys[i].name;
  return NULL;
}

wg_code wg_listen_parse(const char *text, char host[256], uint16_t *port, wg_error *err) {
  const char *colon = strrchr(text, ':');
  const char *begin = text, *end = colon;
  if (!colon) goto bad;
  if (text[0] == '[') {
    if (colon == text || colon[-1] != ']') goto bad;
    begin = text + 1;
    end = colon - 1;
  } else if (memchr(text, ':', (size_t)(colon - text))) {
    wg_error_set(err, WG_INVALID, 0, "'%s': an IPv6 address needs brackets", text);
    wg_error_hint(err, "write [%.*s]:%s", (int)(colon - text), text, colon + 1);
    return WG_INVALID;
  }
  unsigned long n = 0;
  size_t digits = strlen(colon + 1);
  if (digits == 0 || digits > 5) goto bad;
  for (const char *p = colon + 1; *p; p++) {
    if (*p < '0' || *p > '9') goto bad;
    n = n * 10 + (unsigned long)(*p - '0');
  }
  size_t len = (size_t)(end - begin);
  if (n > 65535 || len > 255 || (len == 0 && text[0] == '[')) goto bad;
  if (len == 0) {
    memcpy(host, "127.0.0.1", 10);
  } else {
    memcpy(host, begin, len);
    host[len] = '\0';
  }
  *port = (uint16_t)n;
  return WG_OK;
bad:
  wg_error_set(err, WG_INVALID, 0, "'%s' is not an address and a port", text);
  wg_error_hint(err, "write 127.0.0.1:8080, [::1]:8080 or :8080");
  return WG_INVALID;
}

wg_code wg_admin_listen_check(const char *text, wg_error *err) {
  char host[256];
  uint16_t port;
  struct in_addr v4;
  wg_code code = wg_listen_parse(text, host, &port, err);
  if (code != WG_OK) return code;
  bool loopback = strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
                  (inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127);
  if (loopback) return WG_OK;
  wg_error_set(err, WG_INVALID, 0, "the admin endpoint cannot listen on '%s'", text);
  wg_error_hint(err, "it has no log-in, so it listens on loopback only: 127.0.0.1:%u", port);
  return WG_INVALID;
}

wg_code wg_preopen_parse(const char *text, const char *dir, wg_preopen *out, wg_error *err) {
  const char *mid = strstr(text, "::");
  const char *guest = mid ? mid + 2 : NULL;
  size_t host_len = mid ? (size_t)(mid - text) : 0, guest_len = guest ? strlen(guest) : 0;
  bool writable = false;
  if (guest_len > 3 &&
      (!strcmp(guest + guest_len - 3, ":rw") || !strcmp(guest + guest_len - 3, ":ro"))) {
    writable = guest[guest_len - 1] == 'w';
    guest_len -= 3;
  }
  if (!mid || host_len == 0 || guest_len == 0 || guest[0] != '/') {
    wg_error_set(err, WG_INVALID, 0, "'%s' is not HOST::GUEST with an absolute GUEST", text);
    wg_error_hint(err, "write data::/data, or data::/data:rw to write there too");
    return WG_INVALID;
  }
  char *host = NULL, *copy = strndup(guest, guest_len);
  bool join = dir && text[0] != '/' && strcmp(dir, ".") != 0;
  if (asprintf(&host, "%s%s%.*s", join ? dir : "", join ? "/" : "", (int)host_len, text) < 0)
    host = NULL;
  if (!host || !copy) {
    free(host);
    free(copy);
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  *out = (wg_preopen){host, copy, writable};
  return WG_OK;
}

/** Folder of a path, "." for a bare name. */
static char *config_dir(const char *path) {
  const char *slash = path ? strrchr(path, '/') : NULL;
  if (!slash) return strdup(".");
  return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static wg_code config_read_root(cfg_reader *r, const cfg_node *root) {
  static const struct {
    const char *name;
    cfg_section section;
    wg_code (*read)(cfg_reader *r, const cfg_node *table);
  } tables[] = {
      {"build", CFG_BUILD, NULL},
      {"http", CFG_HTTP, NULL},
      {"admin", CFG_ADMIN, NULL},
      {"limits", CFG_LIMITS, NULL},
      {"files", CFG_FILES, NULL},
      {"shims", CFG_SHIMS, cfg_read_shims},
      /* After shims, wherever it stands: [shims.database_proxy] gives its defaults. */
      {"databases", CFG_DATABASE, cfg_read_databases},
      {"services", CFG_SERVICE, cfg_read_services},
      {"registry", CFG_REGISTRY, cfg_read_registry},
      {"net", CFG_NET, NULL},
      {"hosts", CFG_ROOT, cfg_read_hosts},
      {"env", CFG_ROOT, cfg_read_env},
  };
  static const char *const names[] = {"build", "http",      "admin",    "limits",   "files",
                                      "shims", "databases", "services", "registry", "hosts",
                                      "net",   "env",       "name",     "lang"};
  wg_config *c = r->c;
  wg_code code = WG_OK;
  for (size_t i = 0; i < WG_COUNT(tables) && code == WG_OK; i++) {
    for (const cfg_node *n = root->child; n && code == WG_OK; n = n->next) {
      if (strcmp(n->key, tables[i].name) != 0) continue;
      if (tables[i].read) {
        code = tables[i].read(r, n);
      } else if (n->type != WGRT_TOML_TABLE_BEGIN) {
        code = cfg_fail_type(r, n, "a table");
      } else {
        const cfg_target target = {tables[i].section, c};
        code = cfg_read_table(r, n, &target, 1, NULL);
      }
    }
  }
  if (code != WG_OK) return code;
  /* What is left at the top: name, lang and strangers. */
  for (const cfg_node *n = root->child; n; n = n->next) {
    uint64_t unit;
    bool known = cfg_find_key(CFG_ROOT, n->key, &unit) != NULL;
    for (size_t i = 0; i < WG_COUNT(tables); i++) known |= strcmp(n->key, tables[i].name) == 0;
    if (!known)
      cfg_warn_unknown(r, n, n->type == WGRT_TOML_TABLE_BEGIN ? "section" : "key",
                       cfg_nearest_of(n->key, names, WG_COUNT(names)));
  }
  return WG_OK;
}

/** `name` becomes part of a file name and of every log line. */
static wg_code config_check_name(cfg_reader *r, const cfg_node *root) {
  const char *name = r->c->name;
  bool ok = name[0] != '.' && strlen(name) <= 63;
  for (const char *p = name; *p; p++)
    ok = ok && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *p);
  if (ok) return WG_OK;
  for (const cfg_node *n = root->child; n; n = n->next)
    if (strcmp(n->key, "name") == 0)
      return cfg_fail(r, n->value_line, n->value_column,
                      "'name' must be at most 63 letters, digits, '-', '_' and '.', got \"%s\"",
                      name);
  return WG_OK;
}

/** Who reaches the admin endpoint can stop the process, so it is for this machine only. */
static wg_code config_check_admin(cfg_reader *r, const cfg_node *root) {
  uint32_t line = 0, column = 0;
  for (const cfg_node *n = root->child; n; n = n->next)
    if (strcmp(n->key, "admin") == 0)
      for (const cfg_node *k = n->child; k; k = k->next)
        line = k->value_line, column = k->value_column;
  for (char **l = r->c->admin_listen; l && *l; l++) {
    wg_error why;
    if (wg_admin_listen_check(*l, &why) == WG_OK) continue;
    cfg_fail(r, line, column, "%s", why.msg);
    wg_error_hint(r->err, "%s", why.hint);
    return WG_CONFIG;
  }
  return WG_OK;
}

static bool root_is_other(const cfg_node *n) {
  uint64_t unit;
  return cfg_find_key(CFG_ROOT, n->key, &unit) == NULL;
}

/** A private domain that is none would keep nothing private. "" is none at all. */
static wg_code config_check_domain(cfg_reader *r, const cfg_node *root) {
  char *domain = r->c->dns_domain;
  wg_dns_name name;
  const char *why;
  if (!domain || !*domain) return WG_OK;
  if (domain[0] == '.') memmove(domain, domain + 1, strlen(domain));
  if (wg_dns_normalise(domain, strlen(domain), &name, &why)) {
    memcpy(domain, name.text, name.len + 1);
    return WG_OK;
  }
  const cfg_node *at = cfg_child(cfg_child(cfg_child(root, "shims"), "dns"), "domain");
  return cfg_fail(r, at ? at->value_line : 1, at ? at->value_column : 1, "'domain': '%s' %s",
                  domain, why);
}

static wg_code config_fill(cfg_reader *r, const cfg_node *root) {
  wg_config *c = r->c;
  static const cfg_section sections[] = {CFG_ROOT,     CFG_BUILD,      CFG_HTTP, CFG_LIMITS,
                                         CFG_FILES,    CFG_FILESYSTEM, CFG_DNS,  CFG_SIGNALS,
                                         CFG_REGISTRY, CFG_NET};
  c->shims = WG_SHIM_ALL;
  wg_code code = cfg_defaults(r, CFG_POOL, &c->pool);
  for (size_t i = 0; i < WG_COUNT(sections) && code == WG_OK; i++)
    code = cfg_defaults(r, sections[i], c);
  const cfg_target target = {CFG_ROOT, c};
  if (code == WG_OK) code = cfg_read_table(r, root, &target, 1, root_is_other);
  if (code == WG_OK) code = config_check_name(r, root);
  if (code == WG_OK) code = config_read_root(r, root);
  if (code == WG_OK) code = config_check_admin(r, root);
  if (code == WG_OK) code = cfg_check_zones(r, root);
  if (code == WG_OK && !c->component) {
    char *path;
    if (asprintf(&path, "dist/%s.wasm", c->name) < 0) return cfg_nomem(r);
    code = cfg_join(r, path, &c->component);
  }
  if (code != WG_OK) return code;
  return config_check_domain(r, root);
}

static wg_code config_from(const char *path, const char *name, const char *text, size_t len,
                           wg_config_warn_cb warn, void *user, wg_config **out, wg_error *err) {
  wg_error local;
  if (!err) err = &local;
  wg_config *c = calloc(1, sizeof *c);
  if (!c) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  cfg_reader r = {.file = name, .c = c, .warn = warn, .user = user, .err = err};
  cfg_node *root = NULL;
  c->path = path ? strdup(path) : NULL;
  c->dir = config_dir(path);
  wg_code code = (path && !c->path) || !c->dir ? cfg_nomem(&r) : WG_OK;
  if (code == WG_OK) {
    code = cfg_doc_parse(text, len, &root, err);
    /* The grammar knows the place, not the file: "3:7: message". */
    if (code == WG_CONFIG) wg_error_set(err, WG_CONFIG, 0, "%s:%s", name, err->msg);
  }
  if (code == WG_OK) code = config_fill(&r, root);
  cfg_doc_free(root);
  if (code != WG_OK) {
    wg_config_free(c);
    return code;
  }
  *out = c;
  return WG_OK;
}

wg_code wg_config_parse(const char *name, const char *text, size_t len, wg_config_warn_cb warn,
                        void *user, wg_config **out, wg_error *err) {
  return config_from(NULL, name, text, len, warn, user, out, err);
}

wg_code wg_config_load(const char *path, wg_config_warn_cb warn, void *user, wg_config **out,
                       wg_error *err) {
  static const char *const standard[] = {"warp.toml", ".warpgrid.toml"};
  int fd = -1;
  if (path) {
    fd = open(path, O_RDONLY | O_CLOEXEC);
  } else {
    for (size_t i = 0; i < WG_COUNT(standard) && fd < 0; i++) {
      path = standard[i];
      fd = open(path, O_RDONLY | O_CLOEXEC);
      if (fd < 0 && errno != ENOENT) break;
    }
    if (fd < 0 && errno == ENOENT)
      return config_from(NULL, "defaults", "", 0, warn, user, out, err);
  }
  if (fd < 0) {
    int sys = errno;
    wg_error_set(err, WG_IO, sys, "cannot read '%s': %s", path, wg_os_error(sys));
    if (sys == ENOENT) wg_error_hint(err, "write one, or pass --config PATH");
    return WG_IO;
  }
  enum { CHUNK = 8192 };
  wg_buf text;
  wg_buf_init(&text, CONFIG_FILE_MAX + CHUNK);
  ssize_t got = 0;
  do {
    uint8_t *at = wg_buf_reserve(&text, CHUNK);
    if (!at) break;
    got = read(fd, at, CHUNK);
    if (got > 0) wg_buf_commit(&text, (size_t)got);
  } while (wg_buf_len(&text) <= CONFIG_FILE_MAX && (got > 0 || (got < 0 && errno == EINTR)));
  int sys = errno;
  close(fd);
  wg_code code;
  if (text.nomem)
    code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
  else if (got < 0)
    code = wg_error_set(err, WG_IO, sys, "cannot read '%s': %s", path, wg_os_error(sys));
  else if (wg_buf_len(&text) > CONFIG_FILE_MAX)
    code = wg_error_set(err, WG_CONFIG, 0, "'%s' is larger than 1 MiB", path);
  else
    code = config_from(path, path, (const char *)wg_buf_head(&text), wg_buf_len(&text), warn, user,
                       out, err);
  if (text.data) wg_wipe(text.data, text.cap);
  wg_buf_release(&text);
  return code;
}

wg_config *wg_config_ref(wg_config *c) {
  atomic_fetch_add(&c->refs, 1);
  return c;
}

static void registry_release(wg_registry_entry *e) {
  free(e->name);
  cfg_free_list(e->addresses);
}

void wg_config_free(wg_config *c) {
  if (!c || atomic_fetch_sub(&c->refs, 1) > 0) return;
  for (size_t i = 0; i < c->database_count; i++) cfg_database_release(&c->databases[i]);
  for (size_t i = 0; i < c->service_count; i++) cfg_service_release(&c->services[i]);
  for (size_t i = 0; i < c->registry_count; i++) registry_release(&c->registry[i]);
  for (size_t i = 0; i < c->host_count; i++) registry_release(&c->hosts[i]);
  for (size_t i = 0; i < c->virtual_path_count; i++) cfg_virtual_release(&c->virtual_paths[i]);
  for (size_t i = 0; i < c->preopen_count; i++) {
    free(c->preopens[i].host);
    free(c->preopens[i].guest);
  }
  for (char **e = c->env; e && *e; e++) wg_wipe(*e, strlen(*e));
  free(c->databases);
  free(c->services);
  free(c->registry);
  free(c->hosts);
  free(c->virtual_paths);
  free(c->preopens);
  free(c->allow);
  cfg_free_list(c->env);
  cfg_free_list(c->listen);
  cfg_free_list(c->admin_listen);
  cfg_free_list(c->build_sources);
  cfg_free_list(c->build_flags);
  cfg_free_list(c->nameservers);
  free(c->timezone);
  free(c->zoneinfo);
  free(c->build_world);
  free(c->component);
  cfg_free_list(c->dns_servers);
  free(c->dns_domain);
  free(c->registry_url);
  wg_secret_release(&c->registry_token);
  free(c->lang);
  free(c->name);
  free(c->dir);
  free(c->path);
  free(c);
}
