/* SPDX-License-Identifier: Apache-2.0 */
#include "config/read.h"

#include "base/text.h"
#include "config/value.h"
#include "dns/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECRET_FILE_MAX = 64 * 1024, KEYS_MAX = 160 };

/* In parentheses: a macro under the analyzer. */
wg_code(cfg_fail)(cfg_reader *r, uint32_t line, uint32_t column, const char *fmt, ...) {
  char text[sizeof r->err->msg];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return wg_error_set(r->err, WG_CONFIG, 0, "%s:%u:%u: %s", r->file, line, column, text);
}

wg_code cfg_nomem(cfg_reader *r) { return wg_error_set(r->err, WG_NOMEM, 0, "out of memory"); }

wg_code cfg_fail_type(cfg_reader *r, const cfg_node *n, const char *expected) {
  if (!n->key[0])
    return cfg_fail(r, n->value_line, n->value_column, "expected %s, got %s", expected,
                    cfg_type_name(n->type));
  return cfg_fail(r, n->value_line, n->value_column, "'%s' must be %s, got %s", n->key, expected,
                  cfg_type_name(n->type));
}

void cfg_warn_unknown(cfg_reader *r, const cfg_node *n, const char *what, const char *nearest) {
  if (!r->warn) return;
  char text[1024];
  int len = snprintf(text, sizeof text, "%s:%u:%u: unknown %s '%s'", r->file, n->line, n->column,
                     what, n->key);
  if (nearest && len > 0 && (size_t)len < sizeof text)
    snprintf(text + len, sizeof text - (size_t)len, "; did you mean '%s'?", nearest);
  r->warn(r->user, text);
}

wg_code cfg_text(cfg_reader *r, const cfg_node *n, char **out) {
  if (n->type != WGRT_TOML_STRING) return cfg_fail_type(r, n, "a string");
  if (strlen(n->text) != n->text_len)
    return cfg_fail(r, n->value_line, n->value_column, "the text contains a NUL character");
  wg_error why;
  wg_code code = cfg_expand_env(n->text, out, &why);
  if (code == WG_OK) return WG_OK;
  if (code == WG_NOMEM) return cfg_nomem(r);
  cfg_fail(r, n->value_line, n->value_column, "%s%s%s%s", n->key[0] ? "'" : "", n->key,
           n->key[0] ? "': " : "", why.msg);
  wg_error_hint(r->err, "%s", why.hint);
  return WG_CONFIG;
}

wg_code cfg_join(cfg_reader *r, char *path, char **out) {
  if (path[0] == '/' || strcmp(r->c->dir, ".") == 0) {
    *out = path;
    return WG_OK;
  }
  int n = asprintf(out, "%s/%s", r->c->dir, path);
  free(path);
  return n < 0 ? cfg_nomem(r) : WG_OK;
}

wg_code cfg_append(cfg_reader *r, char ***list, char *item) {
  size_t n = 0;
  while (*list && (*list)[n]) n++;
  char **grown = realloc(*list, (n + 2) * sizeof *grown);
  if (!grown) {
    free(item);
    return cfg_nomem(r);
  }
  grown[n] = item;
  grown[n + 1] = NULL;
  *list = grown;
  return WG_OK;
}

void cfg_free_list(char **list) {
  for (char **p = list; p && *p; p++) free(*p);
  free(list);
}

/* ---- one value ---- */

static void *at(const cfg_key *k, void *base) { return (char *)base + k->offset; }

/** Stores a number in the unit of the key's field; the range was checked. */
static void store_number(const cfg_key *k, void *base, uint64_t v) {
  switch (k->type) {
  case CFG_SIZE: *(uint64_t *)at(k, base) = v; break;
  case CFG_PORT: *(uint16_t *)at(k, base) = (uint16_t)v; break;
  default: *(uint32_t *)at(k, base) = (uint32_t)v; break;
  }
}

static void format_number(const cfg_key *k, uint64_t v, char out[32]) {
  if (k->type == CFG_SIZE || k->type == CFG_SIZE32)
    cfg_format_size(v, out);
  else if (k->type == CFG_DURATION)
    cfg_format_duration(v, out);
  else if (k->type == CFG_DURATION_S)
    cfg_format_duration(v * 1000, out);
  else
    snprintf(out, 32, "%" PRIu64, v);
}

static wg_code store_in_range(cfg_reader *r, const cfg_key *k, const cfg_node *n, void *base,
                              uint64_t v, bool negative) {
  if (!negative && v >= k->min && v <= k->max) {
    store_number(k, base, v);
    return WG_OK;
  }
  char lo[32], hi[32], seen[32];
  format_number(k, k->min, lo);
  format_number(k, k->max, hi);
  if (negative)
    snprintf(seen, sizeof seen, "%" PRId64, n->integer);
  else
    format_number(k, v, seen);
  return cfg_fail(r, n->value_line, n->value_column, "'%s' must be from %s to %s, got %s", n->key,
                  lo, hi, seen);
}

static bool is_size(const cfg_key *k) { return k->type == CFG_SIZE || k->type == CFG_SIZE32; }

/** A number without a unit, also out of the environment ("${PORT}"). */
static wg_code read_count(cfg_reader *r, const cfg_key *k, const cfg_node *n, void *base) {
  if (n->type == WGRT_TOML_STRING && strstr(n->text, "${")) {
    char *text, *end;
    wg_code code = cfg_text(r, n, &text);
    if (code != WG_OK) return code;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    bool ok = text[0] >= '0' && text[0] <= '9' && !*end && errno == 0;
    free(text);
    if (!ok)
      return cfg_fail(r, n->value_line, n->value_column, "'%s' must be an integer, but '%s' is not",
                      n->key, n->text);
    return store_in_range(r, k, n, base, v, false);
  }
  if (n->type != WGRT_TOML_INT) return cfg_fail_type(r, n, "an integer");
  return store_in_range(r, k, n, base, (uint64_t)n->integer, n->integer < 0);
}

/** A size or a duration: a text with a unit, or an integer where the key names the unit. */
static wg_code read_measure(cfg_reader *r, const cfg_key *k, uint64_t unit, const cfg_node *n,
                            void *base) {
  const char *example = is_size(k) ? "a size such as \"64MiB\"" : "a duration such as \"30s\"";
  uint64_t v;
  if (unit) {
    if (n->type != WGRT_TOML_INT) return cfg_fail_type(r, n, "an integer");
    if (n->integer < 0) return store_in_range(r, k, n, base, 0, true);
    if (__builtin_mul_overflow((uint64_t)n->integer, unit, &v)) v = UINT64_MAX;
  } else {
    if (n->type != WGRT_TOML_STRING) {
      cfg_fail_type(r, n, example);
      if (n->type == WGRT_TOML_INT)
        wg_error_hint(r->err, "write %s = \"%" PRId64 "%s\", or %s_%s = %" PRId64, k->name,
                      n->integer, is_size(k) ? "B" : "s", k->name, is_size(k) ? "bytes" : "seconds",
                      n->integer);
      return WG_CONFIG;
    }
    char *text;
    wg_code code = cfg_text(r, n, &text);
    if (code != WG_OK) return code;
    bool ok = is_size(k) ? cfg_parse_size(text, &v) : cfg_parse_duration(text, &v);
    free(text);
    if (!ok) {
      cfg_fail(r, n->value_line, n->value_column, "'%s' must be %s, got \"%s\"", n->key, example,
               n->text);
      wg_error_hint(r->err, "units are %s", is_size(k) ? "B, KiB, MiB, GiB" : "ms, s, m, h");
      return WG_CONFIG;
    }
  }
  if (k->type == CFG_DURATION_S) {
    if (v % 1000)
      return cfg_fail(r, n->value_line, n->value_column, "'%s' must be whole seconds", n->key);
    v /= 1000;
  }
  return store_in_range(r, k, n, base, v, false);
}

/** The position of a word in "a|b|c"; -1: none of them. */
static int choice_index(const char *choices, const char *word) {
  size_t n = strlen(word);
  int i = 0;
  for (const char *p = choices; p; i++) {
    const char *bar = strchr(p, '|');
    size_t len = bar ? (size_t)(bar - p) : strlen(p);
    if (len == n && memcmp(p, word, n) == 0) return i;
    p = bar ? bar + 1 : NULL;
  }
  return -1;
}

static wg_code read_choice(cfg_reader *r, const cfg_key *k, const cfg_node *n, void *base) {
  char *text;
  wg_code code = cfg_text(r, n, &text);
  if (code != WG_OK) return code;
  int i = choice_index(k->choices, text);
  free(text);
  if (i < 0)
    return cfg_fail(r, n->value_line, n->value_column, "'%s' must be one of %s, got \"%s\"", n->key,
                    k->choices, n->text);
  *(int *)at(k, base) = i;
  return WG_OK;
}

static wg_code read_strings(cfg_reader *r, const cfg_key *k, const cfg_node *n, void *base,
                            wg_code (*check)(cfg_reader *r, const cfg_node *item,
                                             const char *text)) {
  const cfg_node *item = n;
  if (n->type == WGRT_TOML_ARRAY_BEGIN)
    item = n->child;
  else if (n->type != WGRT_TOML_STRING)
    return cfg_fail_type(r, n, "a string or a list of strings");
  char **list = NULL;
  size_t count = 0;
  wg_code code = WG_OK;
  for (; item && code == WG_OK; item = item == n ? NULL : item->next) {
    char *text;
    code = cfg_text(r, item, &text);
    if (code != WG_OK) break;
    if (check) code = check(r, item, text);
    if (code == WG_OK && k->type == CFG_SERVERS && ++count > WG_DNS_SERVERS_MAX)
      code = cfg_fail(r, item->value_line, item->value_column, "'%s' has more than %d addresses",
                      k->name, WG_DNS_SERVERS_MAX);
    if (code == WG_OK)
      code = cfg_append(r, &list, text);
    else
      free(text);
  }
  if (code != WG_OK) {
    cfg_free_list(list);
    return code;
  }
  char ***field = at(k, base);
  cfg_free_list(*field);
  *field = list;
  return WG_OK;
}

static wg_code check_listen(cfg_reader *r, const cfg_node *item, const char *text) {
  char host[256];
  uint16_t port;
  wg_error why;
  if (wg_listen_parse(text, host, &port, &why) == WG_OK) return WG_OK;
  cfg_fail(r, item->value_line, item->value_column, "%s", why.msg);
  wg_error_hint(r->err, "%s", why.hint);
  return WG_CONFIG;
}

static wg_code check_address(cfg_reader *r, const cfg_node *item, const char *text) {
  if (cfg_is_address(text)) return WG_OK;
  return cfg_fail(r, item->value_line, item->value_column, "'%s' is not an IPv4 or IPv6 address",
                  text);
}

static wg_code check_server(cfg_reader *r, const cfg_node *item, const char *text) {
  wg_dns_addr address;
  uint16_t port;
  if (wg_dns_server_parse(text, &address, &port)) return WG_OK;
  cfg_fail(r, item->value_line, item->value_column, "'%s' is not the address of a name server",
           text);
  wg_error_hint(r->err, "write 192.0.2.1, 192.0.2.1:5353, 2001:db8::1 or [2001:db8::1]:5353");
  return WG_CONFIG;
}

/** "HOST", "HOST:PORT" or "[IPV6]:PORT" up to the path. */
static bool authority_ok(const char *p) {
  size_t len = strcspn(p, "/?"), host = *p == '[' ? strcspn(p, "]") + 1 : strcspn(p, ":/?");
  if (host == 0 || host > len || (*p == '[' && host < 4)) return false;
  if (host == len) return true;
  size_t digits = strspn(p + host + 1, "0123456789");
  long port = digits && digits < 6 ? strtol(p + host + 1, NULL, 10) : 0;
  return p[host] == ':' && host + 1 + digits == len && port > 0 && port < 65536;
}

static wg_code check_url(cfg_reader *r, const cfg_node *n, const char *url) {
  if (strncmp(url, "https://", 8) == 0) {
    cfg_fail(r, n->value_line, n->value_column,
             "'%s' must begin with http://; https:// is not "
             "supported in this version",
             n->key);
    wg_error_hint(r->err, "put a proxy on this machine that speaks TLS to the other side");
    return WG_CONFIG;
  }
  bool ok = strncmp(url, "http://", 7) == 0 && strlen(url) < 2048 && authority_ok(url + 7);
  for (const char *p = url; *p; p++) ok = ok && *p > ' ' && *p < 0x7f && *p != '@' && *p != '#';
  if (ok) return WG_OK;
  cfg_fail(r, n->value_line, n->value_column, "'%s' must be http://HOST[:PORT][/PATH]", n->key);
  return WG_CONFIG;
}

static wg_code read_preopens(cfg_reader *r, const cfg_node *n) {
  if (n->type != WGRT_TOML_ARRAY_BEGIN)
    return cfg_fail_type(r, n, "a list of \"HOST::GUEST\" texts");
  for (const cfg_node *item = n->child; item; item = item->next) {
    char *text;
    wg_preopen p, *grown;
    wg_error why;
    wg_code code = cfg_text(r, item, &text);
    if (code != WG_OK) return code;
    code = wg_preopen_parse(text, r->c->dir, &p, &why);
    free(text);
    if (code == WG_NOMEM) return cfg_nomem(r);
    if (code != WG_OK) {
      cfg_fail(r, item->value_line, item->value_column, "%s", why.msg);
      wg_error_hint(r->err, "%s", why.hint);
      return WG_CONFIG;
    }
    grown = realloc(r->c->preopens, (r->c->preopen_count + 1) * sizeof *grown);
    if (!grown) {
      free(p.host);
      free(p.guest);
      return cfg_nomem(r);
    }
    r->c->preopens = grown;
    grown[r->c->preopen_count++] = p;
  }
  return WG_OK;
}

static wg_code read_allow(cfg_reader *r, const cfg_node *n) {
  const cfg_node *item = n->type == WGRT_TOML_ARRAY_BEGIN ? n->child : n;
  if (item == n && n->type != WGRT_TOML_STRING)
    return cfg_fail_type(r, n, "a list of \"HOST:PORT\" texts");
  for (; item; item = item == n ? NULL : item->next) {
    char *text;
    wg_error why;
    if (r->c->allow_count == WG_ALLOW_RULES_MAX)
      return cfg_fail(r, item->value_line, item->value_column, "'%s' has more than %d rules",
                      n->key, WG_ALLOW_RULES_MAX);
    wg_allow_rule *grown = realloc(r->c->allow, (r->c->allow_count + 1) * sizeof *grown);
    if (!grown) return cfg_nomem(r);
    r->c->allow = grown;
    wg_code code = cfg_text(r, item, &text);
    if (code != WG_OK) return code;
    code = wg_allow_parse(text, strlen(text), &grown[r->c->allow_count], &why);
    free(text);
    if (code != WG_OK) {
      cfg_fail(r, item->value_line, item->value_column, "%s", why.msg);
      wg_error_hint(r->err, "%s", why.hint);
      return WG_CONFIG;
    }
    r->c->allow_count++;
  }
  return WG_OK;
}

/* ---- secrets: their text is in no message, and every copy is wiped ---- */

static wg_code secret_from_file(cfg_reader *r, const cfg_node *n, const char *path,
                                wg_secret *out) {
  char bytes[SECRET_FILE_MAX + 1];
  size_t len = 0;
  ssize_t got = -1;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    while ((got = read(fd, bytes + len, sizeof bytes - len)) > 0) len += (size_t)got;
  }
  wg_code code = WG_OK;
  if (fd < 0 || got < 0)
    code = cfg_fail(r, n->value_line, n->value_column, "'%s': cannot read '%s': %s", n->key, path,
                    wg_os_error(errno));
  else if (len > SECRET_FILE_MAX)
    code = cfg_fail(r, n->value_line, n->value_column, "'%s': '%s' is larger than 64 KiB", n->key,
                    path);
  if (fd >= 0) close(fd);
  if (code == WG_OK) {
    if (len && bytes[len - 1] == '\n') len--;
    if (len && bytes[len - 1] == '\r') len--;
    code = wg_secret_set(out, bytes, len, r->err);
  }
  wg_wipe(bytes, sizeof bytes);
  return code;
}

static wg_code read_secret(cfg_reader *r, const cfg_key *k, const cfg_node *n, void *base) {
  wg_secret *out = at(k, base);
  char *text;
  wg_code code = cfg_text(r, n, &text);
  if (code != WG_OK) return code;
  if (k->type == CFG_SECRET) {
    code = wg_secret_set(out, text, strlen(text), r->err);
    wg_wipe(text, strlen(text));
  } else if (k->type == CFG_SECRET_ENV) {
    const char *value = getenv(text);
    if (value) {
      code = wg_secret_set(out, value, strlen(value), r->err);
    } else {
      code = cfg_fail(r, n->value_line, n->value_column,
                      "'%s': the environment variable '%s' is not set", n->key, text);
      int len = (int)(strlen(n->key) - strlen("_env"));
      wg_error_hint(r->err, "'%s' holds the variable's name; the %.*s itself is '%.*s'", n->key,
                    len, n->key, len, n->key);
    }
  } else {
    code = cfg_join(r, text, &text);
    if (code != WG_OK) return code;
    code = secret_from_file(r, n, text, out);
  }
  free(text);
  return code;
}

static wg_code read_value(cfg_reader *r, const cfg_key *k, uint64_t unit, const cfg_node *n,
                          void *base) {
  switch (k->type) {
  case CFG_STRING:
  case CFG_URL:
  case CFG_PATH: {
    char *text;
    wg_code code = cfg_text(r, n, &text);
    if (code == WG_OK && !*text) {
      free(text);
      return cfg_fail(r, n->value_line, n->value_column, "'%s' must not be empty", n->key);
    }
    if (code == WG_OK && k->type == CFG_URL && check_url(r, n, text) != WG_OK) {
      free(text);
      return WG_CONFIG;
    }
    if (code == WG_OK && k->type == CFG_PATH) code = cfg_join(r, text, &text);
    if (code != WG_OK) return code;
    char **field = at(k, base);
    free(*field);
    *field = text;
    return WG_OK;
  }
  case CFG_STRINGS: return read_strings(r, k, n, base, NULL);
  case CFG_LISTEN: return read_strings(r, k, n, base, check_listen);
  case CFG_SERVERS: return read_strings(r, k, n, base, check_server);
  case CFG_FLAG:
    if (n->type != WGRT_TOML_BOOL) return cfg_fail_type(r, n, "true or false");
    *(bool *)at(k, base) = n->integer != 0;
    return WG_OK;
  case CFG_COUNT:
  case CFG_PORT: return read_count(r, k, n, base);
  case CFG_SIZE:
  case CFG_SIZE32:
  case CFG_DURATION:
  case CFG_DURATION_S: return read_measure(r, k, unit, n, base);
  case CFG_CHOICE: return read_choice(r, k, n, base);
  case CFG_SECRET:
  case CFG_SECRET_ENV:
  case CFG_SECRET_FILE: return read_secret(r, k, n, base);
  case CFG_PREOPENS: return read_preopens(r, n);
  case CFG_ALLOW: return read_allow(r, n);
  case CFG_ADDRESSES: return read_strings(r, k, n, base, check_address);
  case CFG_VIRTUAL: return cfg_read_virtual(r, n);
  case CFG_SHIM: break; /* [shims] has a reader of its own */
  }
  return WG_OK;
}

wg_code cfg_defaults(cfg_reader *r, cfg_section section, void *base) {
  for (const cfg_key *k = cfg_keys; k < cfg_keys + cfg_key_count; k++) {
    if (k->section != section || !k->standard) continue;
    uint64_t v = 0;
    char *text, ***list = at(k, base);
    bool ok = true;
    switch (k->type) {
    case CFG_SIZE:
    case CFG_SIZE32: ok = cfg_parse_size(k->standard, &v); break;
    case CFG_DURATION: ok = cfg_parse_duration(k->standard, &v); break;
    case CFG_DURATION_S: ok = cfg_parse_duration(k->standard, &v), v /= 1000; break;
    case CFG_COUNT:
    case CFG_PORT: v = strtoull(k->standard, NULL, 10); break;
    case CFG_CHOICE: *(int *)at(k, base) = choice_index(k->choices, k->standard); continue;
    case CFG_FLAG: *(bool *)at(k, base) = strcmp(k->standard, "true") == 0; continue;
    case CFG_SHIM: continue;
    default:
      text = strdup(k->standard);
      if (!text) return cfg_nomem(r);
      if (k->type == CFG_STRING) {
        *(char **)at(k, base) = text;
      } else {
        wg_code code = cfg_append(r, list, text);
        if (code != WG_OK) return code;
      }
      continue;
    }
    WG_ASSERT(ok && v >= k->min && v <= k->max);
    store_number(k, base, v);
  }
  return WG_OK;
}

wg_code cfg_read_table(cfg_reader *r, const cfg_node *table, const cfg_target *targets,
                       size_t count, bool (*other)(const cfg_node *child)) {
  uint32_t seen[KEYS_MAX] = {0};
  WG_ASSERT(cfg_key_count <= KEYS_MAX);
  for (const cfg_node *n = table->child; n; n = n->next) {
    if (other && other(n)) continue;
    const cfg_key *k = NULL;
    void *base = NULL;
    uint64_t unit = 0;
    for (size_t i = 0; i < count && !k; i++) {
      k = cfg_find_key(targets[i].section, n->key, &unit);
      base = targets[i].base;
    }
    if (!k) {
      cfg_warn_unknown(r, n, "key",
                       cfg_nearest_key(targets[0].section, targets[count - 1].section, n->key));
      continue;
    }
    /* Two keys for one field (ttl and ttl_seconds, password and password_file) contradict. */
    for (size_t i = 0; i < cfg_key_count; i++)
      if (seen[i] && cfg_keys[i].section == k->section && cfg_keys[i].offset == k->offset)
        return cfg_fail(r, n->line, n->column, "'%s' was given in another form in line %u", n->key,
                        seen[i]);
    seen[k - cfg_keys] = n->line;
    wg_code code = read_value(r, k, unit, n, base);
    if (code != WG_OK) return code;
  }
  return WG_OK;
}
