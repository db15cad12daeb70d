/* SPDX-License-Identifier: Apache-2.0 */
/* From a server's name to a connection, SRV_RESOLVING and SRV_DIALING:
 *
 *   name --addresses--> the first one --refused | no answer in its share of the time--> the next one
 *     \--a folder: its socket--^    \--connected--> TLS (secure.c) or the log-in (server.c)
 *                                    \--that was the last one--> failed, with what it said
 *
 * Other servers of a list are hosts.c's. */
#include "db/db_internal.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void dial(wg_server *srv);

void wg__server_distrust(const wg_server *srv) {
  const char *name = wg__hosts_name(srv);
  if (name[0] != '/') wg_dns_distrust(srv->local->worker->dns, name, strlen(name));
}

static void on_resolved(wg_dns_req *req, const wg_error *failed) {
  wg_server *srv = req->user;
  srv->resolving = false;
  if (failed) {
    wg_error err = *failed;
    wg_error_wrap(&err, "resolve '%s' (SQLSTATE 08001)", wg__hosts_name(srv));
    wg__pool_on_failed(srv, &err);
    return;
  }
  size_t n = req->count < DB_ADDRESSES_MAX ? req->count : DB_ADDRESSES_MAX;
  srv->addresses = calloc(n ? n : 1, sizeof *srv->addresses);
  if (!srv->addresses) {
    wg__server_fail(srv, WG_NOMEM, 0, "08001", "connect: out of memory");
    return;
  }
  uint16_t port = wg__hosts_port(srv);
  for (size_t i = 0; i < n; i++)
    (void)wg_dns_sockaddr(&req->addresses[i], port, &srv->addresses[i]);
  srv->address_count = n;
  wg__server_enter(srv, SRV_DIALING);
  dial(srv);
}

static void server_start_unix(wg_server *srv, const char *dir) {
  struct sockaddr_un *sun;
  srv->addresses = calloc(1, sizeof *srv->addresses);
  if (!srv->addresses) {
    wg__server_fail(srv, WG_NOMEM, 0, "08001", "connect: out of memory");
    return;
  }
  srv->address_count = 1;
  sun = (struct sockaddr_un *)srv->addresses;
  sun->sun_family = AF_UNIX;
  uint16_t port = wg__hosts_port(srv);
  int n = srv->ops->socket_path(dir, port, sun->sun_path, sizeof sun->sun_path);
  if (n < 0 || (size_t)n >= sizeof sun->sun_path) {
    wg__server_fail(srv, WG_INVALID, ENAMETOOLONG, "08001", "connect to the server's socket");
    return;
  }
  wg__server_enter(srv, SRV_DIALING);
  dial(srv);
}

/** RESOLVING, which has just been entered. */
static void server_look_up(wg_server *srv) {
  const char *name = wg__hosts_name(srv);
  wg__tell_connecting(srv, name);
  if (name[0] == '/') {
    server_start_unix(srv, name);
    return;
  }
  srv->resolving = true;
  wg_dns_resolve(srv->local->worker->dns, name, strlen(name), &srv->dns, on_resolved, srv);
}

void wg__server_start(wg_server *srv) {
  wg__server_entered(srv);
  server_look_up(srv);
}

static void address_text(const struct sockaddr_storage *a, char *out, size_t cap) {
  char ip[INET6_ADDRSTRLEN] = "?";
  if (a->ss_family == AF_UNIX) {
    snprintf(out, cap, "%s", ((const struct sockaddr_un *)a)->sun_path);
  } else if (a->ss_family == AF_INET6) {
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)a;
    inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof ip);
    snprintf(out, cap, "[%s]:%u", ip, ntohs(in->sin6_port));
  } else {
    const struct sockaddr_in *in = (const struct sockaddr_in *)a;
    inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
    snprintf(out, cap, "%s:%u", ip, ntohs(in->sin_port));
  }
}

static void server_hang_up(wg_server *srv) {
  if (srv->watch) wg__server_unwatch(srv);
  wg_tls_close(srv->tls);
  srv->tls = NULL;
  if (srv->fd >= 0) close(srv->fd);
  srv->fd = -1;
}

/** Gives the current address up; the next one, if any, follows. */
static void dial_failed(wg_server *srv, wg_code code, int sys) {
  char where[128];
  address_text(&srv->addresses[srv->address_next], where, sizeof where);
  wg_error_set(&srv->error, code, sys, "connect to %s: %s (SQLSTATE 08001)", where,
               code == WG_TIMEOUT ? "no answer in time" : strerror(sys));
  server_hang_up(srv);
  srv->second_try = false;
  srv->address_next++;
}

/** Hangs up and forgets what was said. @return false: out of memory, nothing was done */
static bool server_anew(wg_server *srv) {
  wg_wire_server *fresh = wg__server_wire(srv->pool);
  if (!fresh) return false;
  srv->ops->server_free(srv->wire);
  srv->wire = fresh;
  server_hang_up(srv);
  wg_buf_clear(&srv->in);
  wg_buf_clear(&srv->out);
  srv->broken = false;
  return true;
}

bool wg__server_start_over(wg_server *srv) {
  if (!server_anew(srv)) return false;
  if (srv->resolving) wg_dns_cancel(srv->local->worker->dns, &srv->dns);
  srv->resolving = srv->second_try = false;
  free(srv->addresses);
  srv->addresses = NULL;
  srv->address_count = srv->address_next = 0;
  wg__server_enter(srv, SRV_RESOLVING);
  server_look_up(srv);
  return true;
}

bool wg__server_redial(wg_server *srv) {
  if (!server_anew(srv)) return false;
  srv->second_try = true;
  wg__server_enter(srv, SRV_DIALING);
  dial(srv);
  return true;
}

static void server_connected(wg_server *srv) {
  srv->readable = srv->blocked = false;
  srv->wire->secure.local = srv->addresses[srv->address_next].ss_family == AF_UNIX;
  srv->tls_mode = wg_tls_mode_for(&srv->pool->config->tls, &srv->addresses[srv->address_next]);
  if (wg__secure_wanted(srv)) {
    wg__server_enter(srv, SRV_SECURING);
    wg__secure_talk(srv);
    return;
  }
  wg__server_login(srv);
}

enum { TCP_PROBES = 3 };

/** So that a peer which vanished without a word is noticed. What the kernel refuses, it refuses: a
 *  failure is no reason to give up. */
static void tcp_tune(wg_server *srv) {
  const wg_pool_config *c = &srv->pool->config->pool;
  int on = 1, probes = TCP_PROBES, idle_s = (int)((c->tcp_keepalive_ms + 999) / 1000);
  int between_s = idle_s / TCP_PROBES > 0 ? idle_s / TCP_PROBES : 1;
  unsigned unconfirmed_ms = c->tcp_user_timeout_ms;
  if (idle_s) {
    setsockopt(srv->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(srv->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(srv->fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof between_s);
    setsockopt(srv->fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  }
  if (unconfirmed_ms)
    setsockopt(srv->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unconfirmed_ms, sizeof unconfirmed_ms);
}

/** Tries addresses until one is on its way. */
static void dial(wg_server *srv) {
  wg_deadline_stop(&srv->step);
  while (srv->address_next < srv->address_count) {
    const struct sockaddr_storage *a = &srv->addresses[srv->address_next];
    socklen_t len = a->ss_family == AF_UNIX    ? sizeof(struct sockaddr_un)
                    : a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                               : sizeof(struct sockaddr_in);
    srv->fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (srv->fd < 0) {
      dial_failed(srv, WG_IO, errno);
      continue;
    }
    if (a->ss_family != AF_UNIX) {
      int on = 1; /* both only help: a failure is no reason to give up */
      setsockopt(srv->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      tcp_tune(srv);
    }
    bool now = connect(srv->fd, (const struct sockaddr *)a, len) == 0;
    if (!now && errno != EINPROGRESS) {
      dial_failed(srv, WG_IO, errno);
      continue;
    }
    wg_error err;
    if (wg__server_watch(srv, &err) != WG_OK) {
      wg__pool_on_failed(srv, &err);
      return;
    }
    if (now) {
      server_connected(srv);
      return;
    }
    wg_db_worker *w = srv->local->worker;
    uint64_t share =
        srv->pool->config->pool.connect_timeout_ms / srv->address_count / wg__hosts_count(srv);
    wg_deadline_class *c = wg_deadlines_class(w->deadlines, share ? share : 1);
    wg_deadline_start(c ? c : srv->local->connect, &srv->step);
    wg__server_arm(srv, WG_WATCH_WRITE);
    return;
  }
  if (srv->address_count == 0)
    wg_error_set(&srv->error, WG_NOT_FOUND, 0, "connect: the name has no address (SQLSTATE 08001)");
  wg_error last = srv->error;
  wg__pool_on_failed(srv, &last);
}

void wg__dial_answered(wg_server *srv) {
  int sys = 0;
  socklen_t len = sizeof sys;
  if (getsockopt(srv->fd, SOL_SOCKET, SO_ERROR, &sys, &len) != 0) sys = errno;
  if (sys == 0) {
    server_connected(srv);
    return;
  }
  dial_failed(srv, WG_IO, sys);
  dial(srv);
}

void wg__dial_expired(wg_server *srv) {
  dial_failed(srv, WG_TIMEOUT, ETIMEDOUT);
  dial(srv);
}
