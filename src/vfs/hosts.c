/* SPDX-License-Identifier: Apache-2.0 */
/** @file hosts.c  /etc/hosts and /etc/warpgrid/proxy.conf: names, and what is behind them. */
#include "dns/sentinel.h"
#include "vfs/standard.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* ---- /etc/hosts ---- */

typedef struct hosts {
  wg_vfs_names names;
  char own[]; /**< the app's name */
} hosts;

/** The app's own name is this machine, unless somebody else has that name. */
static void put_own(const wg_names *names, const char *own, wg_buf *out) {
  const wg_dns_addr *addresses;
  size_t n, n4;
  wg_dns_name name;
  const char *why;
  if (!wg_dns_normalise(own, strlen(own), &name, &why) ||
      wg_names_sentinel(names, &name, &addresses, &n, &n4))
    return;
  (void)wg_names_find(names, &name, &addresses, &n, &n4);
  if (n == 0) wg_buf_printf(out, "127.0.0.1\t%s\n", own);
}

static wg_code hosts_content(void *user, wg_buf *out, wg_error *err) {
  (void)err;
  const hosts *h = user;
  wg_names *names = h->names.current(h->names.user);
  size_t n;
  const char *text = wg_names_hosts(names, &n);
  wg_buf_put(out, text, n);
  put_own(names, h->own, out);
  wg_names_unref(names);
  return WG_OK;
}

static uint64_t hosts_version(void *user) {
  const hosts *h = user;
  wg_names *names = h->names.current(h->names.user);
  uint64_t version = wg_names_generation(names);
  wg_names_unref(names);
  return version;
}

void wg__vfs_add_hosts(wg_vfs_builder *b, const wg_vfs_options *o) {
  size_t n = strlen(o->name) + 1;
  hosts *h = malloc(sizeof *h + n);
  if (h) {
    h->names = o->names;
    memcpy(h->own, o->name, n);
  }
  const wg_vfs_provider p = {
      .version = hosts_version, .content = hosts_content, .release = free, .user = h};
  wg_vfs_add_provider(b, "/etc/hosts", h ? &p : NULL);
}

/* ---- /etc/warpgrid/proxy.conf ---- */

/** A text without spaces, whatever it was. */
static void put_word(wg_buf *out, const char *text) {
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    wg_buf_put_u8(out, c <= ' ' || c == 0x7f ? '_' : c);
  }
}

void wg__vfs_put_databases(const wg_config *c, wg_buf *out) {
  static const char *const protocols[] = {"postgres", "mysql", "redis"};
  static const int families[] = {AF_INET, AF_INET6};
  wg_buf_printf(out, "# Databases: connect without credentials, the host logs in.\n"
                     "# NAME PROTOCOL HOST PORT DATABASE ADDRESS...\n");
  for (size_t i = 0; i < c->database_count; i++) {
    const wg_database_config *d = &c->databases[i];
    put_word(out, d->name);
    wg_buf_printf(out, " %s %s %u ", protocols[d->protocol], d->host, d->port);
    put_word(out, d->database ? d->database : "*");
    for (size_t f = 0; f < WG_COUNT(families); f++) {
      uint8_t raw[16];
      char text[INET6_ADDRSTRLEN];
      if (wg_dns_sentinel(c, i, families[f], raw) && inet_ntop(families[f], raw, text, sizeof text))
        wg_buf_printf(out, " %s", text);
      if (wg_dns_sentinel_own(c, i, families[f], raw) &&
          inet_ntop(families[f], raw, text, sizeof text))
        wg_buf_printf(out, " %s", text);
    }
    wg_buf_put_u8(out, '\n');
  }
}
