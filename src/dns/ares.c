/* SPDX-License-Identifier: Apache-2.0 */
/** @file ares.c  c-ares tells which of its sockets wait for what and when it wants to be called;
 *  uv_poll and one uv_timer call it then.
 *
 *    channel:  OPEN --retire--> RETIRED --last question answered--> freed        OPEN --free--> freed
 *
 *  c-ares opens and closes sockets of one number again and again, so that a handle belongs to a
 *  socket only until c-ares says that it closes it. */
#include "dns/ares.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
  TRIES = 3,       /* of each server; c-ares doubles its wait with each */
  TRY_SHARE = 7,   /* 1 + 2 + 4: what the waits of three tries add up to */
  TRY_LEAST_MS = 50,
  TICK_MS = 1000   /* c-ares looks at its waits at least this often */
};

typedef struct ares_socket {
  uv_poll_t poll;
  wg_node node;
  wg__ares *ares;
  ares_socket_t fd;
} ares_socket;

struct wg__ares {
  wg_loop loop;
  ares_channel channel, files; /* files: looks into /etc/hosts only */
  char **search; /* domains, NULL-terminated; NULL: none */
  int ndots;
  uv_timer_t timer;
  wg_list sockets;
  size_t questions;     /* in progress */
  wg__ares **retired;   /* the list that it is in; NULL: not retired */
  wg__ares *next;       /* there */
};

typedef struct question {
  wg__ares *ares;
  wg__ares_answer answer;
  void *user;
} question;

static void ares_settle(wg__ares *a);

static void on_socket_closed(uv_handle_t *h) { free(h->data); }

static void on_ready(uv_poll_t *poll, int status, int events) {
  ares_socket *s = poll->data;
  wg__ares *a = s->ares;
  bool read = status < 0 || (events & UV_READABLE), write = status < 0 || (events & UV_WRITABLE);
  ares_process_fd(a->channel, read ? s->fd : ARES_SOCKET_BAD, write ? s->fd : ARES_SOCKET_BAD);
  ares_settle(a);
}

static void on_socket_state(void *user, ares_socket_t fd, int readable, int writable) {
  wg__ares *a = user;
  ares_socket *s = NULL;
  for (wg_node *n = wg_list_first(&a->sockets); n && !s; n = wg_list_next(&a->sockets, n))
    if (WG_CONTAINER(n, ares_socket, node)->fd == fd) s = WG_CONTAINER(n, ares_socket, node);
  if (!readable && !writable) {
    if (!s) return;
    wg_list_remove(&a->sockets, &s->node);
    uv_close((uv_handle_t *)&s->poll, on_socket_closed);
    return;
  }
  if (!s) {
    s = calloc(1, sizeof *s);
    if (!s || uv_poll_init_socket(a->loop.uv, &s->poll, fd) != 0) {
      free(s); /* its question runs into its time-out */
      return;
    }
    s->poll.data = s;
    s->ares = a;
    s->fd = fd;
    wg_node_init(&s->node);
    wg_list_push_back(&a->sockets, &s->node);
  }
  (void)uv_poll_start(&s->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
                      on_ready);
}

static void on_timer(uv_timer_t *t) {
  wg__ares *a = t->data;
  ares_process_fd(a->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  ares_settle(a);
}

/** After each call into c-ares: when does it want the next one? */
static void ares_settle(wg__ares *a) {
  struct timeval tv, *at = a->questions ? ares_timeout(a->channel, NULL, &tv) : NULL;
  if (a->questions == 0 && a->retired) {
    wg__ares **link = a->retired;
    while (*link != a) link = &(*link)->next;
    *link = a->next;
    wg__ares_free(a);
    return;
  }
  if (!at) {
    uv_timer_stop(&a->timer);
    return;
  }
  uint64_t ms = (uint64_t)at->tv_sec * 1000 + (uint64_t)at->tv_usec / 1000 + 1;
  uv_update_time(a->loop.uv); /* we may be called from outside of the loop */
  uv_timer_start(&a->timer, on_timer, ms < TICK_MS ? ms : TICK_MS, 0);
}

static wg_code ares_error(int status, wg_error *err) {
  if (status == ARES_ENOMEM) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  return wg_error_set(err, WG_IO, status, "dns: cannot set up the resolver: %s",
                      ares_strerror(status));
}

static wg_code set_servers(ares_channel channel, char *const *servers, wg_error *err) {
  struct ares_addr_port_node nodes[WG_DNS_SERVERS_MAX];
  size_t n = 0;
  for (; servers[n]; n++) {
    wg_dns_addr a;
    uint16_t port;
    if (n == WG_DNS_SERVERS_MAX)
      return wg_error_set(err, WG_INVALID, 0, "dns: there are more than %d name servers",
                          WG_DNS_SERVERS_MAX);
    if (!wg_dns_server_parse(servers[n], &a, &port))
      return wg_error_set(err, WG_INVALID, 0, "dns: '%s' is not the address of a name server",
                          servers[n]);
    nodes[n] = (struct ares_addr_port_node){
        .family = a.family == 4 ? AF_INET : AF_INET6, .udp_port = port, .tcp_port = port};
    memcpy(&nodes[n].addr, a.bytes, a.family == 4 ? 4 : 16);
    if (n) nodes[n - 1].next = &nodes[n];
  }
  int rc = ares_set_servers_ports(channel, nodes);
  return rc == ARES_SUCCESS ? WG_OK : ares_error(rc, err);
}

static void free_search(wg__ares *a) {
  for (char **s = a->search; s && *s; s++) free(*s);
  free(a->search);
}

char *const *wg__dns_search;

/** Copies the search domains that the channel read. */
static wg_code take_search(wg__ares *a, wg_error *err) {
  struct ares_options o = {0};
  int mask = 0, rc = ares_save_options(a->channel, &o, &mask);
  if (rc != ARES_SUCCESS) return ares_error(rc, err);
  char *const *from = wg__dns_search ? wg__dns_search : o.domains;
  size_t n = 0;
  if (wg__dns_search)
    while (from[n]) n++;
  else
    n = o.ndomains > 0 ? (size_t)o.ndomains : 0;
  a->ndots = wg__dns_search ? 1 : o.ndots;
  a->search = calloc(n + 1, sizeof *a->search);
  bool ok = a->search != NULL;
  for (size_t i = 0; i < n && ok; i++) ok = (a->search[i] = strdup(from[i])) != NULL;
  ares_destroy_options(&o);
  return ok ? WG_OK : wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
}

bool wg__ares_candidate(const wg__ares *a, const wg_dns_name *name, const char *own, unsigned *at,
                        wg_dns_name *out) {
  unsigned domains = 0;
  int dots = 0;
  while (a->search && a->search[domains]) domains++;
  for (const char *p = name->text; *p; p++) dots += *p == '.';
  bool first = dots >= a->ndots;
  for (; *at <= domains; ++*at) {
    if (first ? *at == 0 : *at == domains) {
      *out = *name;
      ++*at;
      return true;
    }
    char text[2 * WG_DNS_NAME_MAX + 2];
    const char *why, *domain = a->search[*at - (first ? 1 : 0)];
    int n = snprintf(text, sizeof text, "%s.%s", name->text, domain);
    if (n < 0 || (size_t)n >= sizeof text || !wg_dns_normalise(text, (size_t)n, out, &why) ||
        wg_dns_is_below(out->text, out->len, own))
      continue;
    ++*at;
    return true;
  }
  return false;
}

bool wg__ares_searches(const wg__ares *a) { return a->search && a->search[0]; }

wg_code wg__ares_new(const wg_loop *loop, char *const *servers, uint32_t timeout_ms, wg__ares **out,
                     wg_error *err) {
  wg__ares *a = calloc(1, sizeof *a);
  if (!a) return wg_error_set(err, WG_NOMEM, 0, "dns: out of memory");
  a->loop = *loop;
  wg_list_init(&a->sockets);
  uint32_t share = timeout_ms / TRY_SHARE;
  bool own = servers && servers[0];
  char files[] = "f";
  /* Both families are asked for under one name at a time: see wg__ares_candidate(). */
  struct ares_options o = {.flags = ARES_FLAG_NOSEARCH,
                           .timeout = (int)(share > TRY_LEAST_MS ? share : TRY_LEAST_MS),
                           .tries = TRIES,
                           .sock_state_cb = on_socket_state,
                           .sock_state_cb_data = a,
                           .lookups = files};
  int rc = ares_init_options(&a->channel, &o,
                             ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                 ARES_OPT_SOCK_STATE_CB);
  if (rc != ARES_SUCCESS) {
    free(a);
    return ares_error(rc, err);
  }
  wg_code code = WG_OK;
  rc = ares_init_options(&a->files, &o, ARES_OPT_LOOKUPS);
  if (rc != ARES_SUCCESS) {
    a->files = NULL;
    code = ares_error(rc, err);
  }
  if (code == WG_OK && own) code = set_servers(a->channel, servers, err);
  /* The host's search domains are for the host's servers. */
  if (code == WG_OK && (!own || wg__dns_search)) code = take_search(a, err);
  if (code == WG_OK && (rc = uv_timer_init(loop->uv, &a->timer)) != 0)
    code = wg_error_set(err, WG_IO, rc, "dns: %s", uv_strerror(rc));
  if (code != WG_OK) {
    ares_destroy(a->channel);
    if (a->files) ares_destroy(a->files);
    free_search(a);
    free(a);
    return code;
  }
  a->timer.data = a;
  *out = a;
  return WG_OK;
}

static void on_ares_closed(uv_handle_t *h) {
  free_search(h->data);
  free(h->data);
}

void wg__ares_free(wg__ares *a) {
  if (!a) return;
  ares_destroy(a->channel); /* answers all questions, closes all sockets */
  ares_destroy(a->files);
  WG_ASSERT(a->questions == 0 && wg_list_empty(&a->sockets));
  uv_close((uv_handle_t *)&a->timer, on_ares_closed);
}

void wg__ares_retire(wg__ares *a, wg__ares **list) {
  a->retired = list;
  a->next = *list;
  *list = a;
  ares_settle(a);
}

void wg__ares_free_list(wg__ares **list) {
  for (wg__ares *a; (a = *list);) {
    *list = a->next;
    wg__ares_free(a);
  }
}

/* ---- questions ---- */

static void on_answer(void *user, int status, int timeouts, unsigned char *reply, int len) {
  (void)timeouts;
  question *q = user;
  wg_code code;
  q->ares->questions--;
  switch (status) {
  case ARES_SUCCESS:
  case ARES_ENODATA: code = WG_OK; break;
  case ARES_ENOTFOUND:
  case ARES_EBADNAME: code = WG_NOT_FOUND; break;
  case ARES_EDESTRUCTION:
  case ARES_ECANCELLED: code = WG_CANCELED; break;
  case ARES_ENOMEM: code = WG_NOMEM; break;
  default: code = WG_IO; break;
  }
  /* This version does not tell apart why no server of several gave an answer. */
  const char *why =
      status == ARES_ECONNREFUSED || status == ARES_ESERVFAIL || status == ARES_EREFUSED
          ? "no name server gave an answer: they failed (SERVFAIL), refused, or "
            "cannot be reached"
          : ares_strerror(status);
  q->answer(q->user, code, why, reply, reply && len > 0 ? (size_t)len : 0);
  free(q);
}

void wg__ares_ask(wg__ares *a, const char *name, uint16_t type, wg__ares_answer answer,
                  void *user) {
  question *q = calloc(1, sizeof *q);
  if (!q) {
    answer(user, WG_NOMEM, "out of memory", NULL, 0);
    return;
  }
  *q = (question){a, answer, user};
  a->questions++;
  ares_query(a->channel, name, 1 /* IN */, type, on_answer, q);
  ares_settle(a);
  if (a->loop.kick) a->loop.kick(a->loop.watch_ctx);
}

/* ---- the host's own file ---- */

size_t wg__ares_hosts(wg__ares *a, const char *name, wg_dns_addr *out, size_t cap, size_t *count4) {
  size_t n = 0;
  for (int family = AF_INET;; family = AF_INET6) {
    struct hostent *h = NULL;
    if (ares_gethostbyname_file(a->files, name, family, &h) == ARES_SUCCESS) {
      for (char **at = h->h_addr_list; h->h_addrtype == family && *at && n < cap; at++, n++) {
        memset(&out[n], 0, sizeof out[n]);
        out[n].family = family == AF_INET ? 4 : 6;
        memcpy(out[n].bytes, *at, family == AF_INET ? 4 : 16);
      }
      ares_free_hostent(h);
    }
    if (family == AF_INET6) return n;
    *count4 = n;
  }
}

typedef struct reverse_answer {
  wg_dns_name *out;
  bool found;
} reverse_answer;

static void on_reverse(void *user, int status, int timeouts, struct hostent *h) {
  reverse_answer *r = user;
  const char *why;
  (void)timeouts;
  r->found = status == ARES_SUCCESS && h && h->h_name &&
             wg_dns_normalise(h->h_name, strlen(h->h_name), r->out, &why);
}

bool wg__ares_hosts_reverse(wg__ares *a, const wg_dns_addr *address, wg_dns_name *out) {
  reverse_answer r = {.out = out};
  /* Looks into the file alone, and so answers within the call. */
  ares_gethostbyaddr(a->files, address->bytes, address->family == 4 ? 4 : 16,
                     address->family == 4 ? AF_INET : AF_INET6, on_reverse, &r);
  return r.found;
}
