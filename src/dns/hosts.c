/* SPDX-License-Identifier: Apache-2.0 */
/** @file hosts.c  The table of names as a hosts file, for guests that read that instead of asking. */
#include "dns/names.h"

#include <string.h>

/** Bytes of the file; names that do not fit are left out. */
enum { HOSTS_BYTES_MAX = 8 << 20 };
static const char cut_mark[] = "# and more than there is room for\n";

/** One writing of the file. */
typedef struct hosts_writer {
  const wg_names *names;
  wg_buf *out;
  bool cut;
} hosts_writer;

static void put_lines(void *user, const char *name, const wg_dns_addr *addresses, size_t count) {
  hosts_writer *w = user;
  char text[46];
  size_t name_len = strlen(name);
  for (size_t i = 0; i < count && !w->cut; i++) {
    wg_dns_addr_text(&addresses[i], text);
    size_t len = strlen(text);
    w->cut = wg_buf_len(w->out) + len + name_len + 2 + sizeof cut_mark > HOSTS_BYTES_MAX;
    if (w->cut) return;
    wg_buf_put(w->out, text, len);
    wg_buf_put_u8(w->out, '\t');
    wg_buf_put(w->out, name, name_len);
    wg_buf_put_u8(w->out, '\n');
  }
}

/** Guests see a database's sentinel and nothing else; localhost stands at the top. */
static void put_known(void *user, const char *text, const wg_dns_addr *addresses, size_t count) {
  const hosts_writer *w = user;
  const wg_dns_addr *other;
  size_t n, n4;
  wg_dns_name name;
  const char *why;
  if (strcmp(text, "localhost") == 0 || (wg_dns_normalise(text, strlen(text), &name, &why) &&
                                         wg_names_sentinel(w->names, &name, &other, &n, &n4)))
    return;
  put_lines(user, text, addresses, count);
}

static void put_localhost(hosts_writer *w) {
  const wg_dns_addr *addresses;
  size_t n, n4;
  wg_dns_name name;
  const char *why;
  if (!wg_dns_normalise("localhost", strlen("localhost"), &name, &why)) return;
  (void)wg_names_find(w->names, &name, &addresses, &n, &n4);
  put_lines(w, "localhost", addresses, n);
}

wg_code wg__names_write_hosts(const wg_names *n, wg_buf *out, wg_error *err) {
  hosts_writer w = {.names = n, .out = out};
  wg_buf_init(out, HOSTS_BYTES_MAX);
  put_localhost(&w);
  wg_code code = wg_names_each(n, WG_DNS_DATABASE, put_lines, &w, err);
  if (code == WG_OK) code = wg_names_each(n, WG_DNS_REGISTRY, put_known, &w, err);
  if (code == WG_OK) code = wg_names_each(n, WG_DNS_HOSTS, put_known, &w, err);
  if (w.cut) wg_buf_put(out, cut_mark, sizeof cut_mark - 1);
  if (code == WG_OK && out->failed) code = wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  return code;
}
