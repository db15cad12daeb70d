/* SPDX-License-Identifier: Apache-2.0 */
/* A cancel request: a guest opens a session of its own, says the key of the one that is meant, and
 * waits for the end of the stream. The host looks the key up and says the server's own key on a
 * fresh connection to the same address, under TLS when the session's connection is.
 *
 *   ASKED (in the inbox of the worker of the session that is meant)
 *     --key is void--> OVER
 *     --key found--> DIALING --connected--> [SECURING --TLS-->] SENT --the server closed--> OVER
 *   any --failed | deadline | worker gone--> OVER (in the inbox of the sender's worker, if that is
 *     another one) --> the sender's session ends; freed
 *
 * A server acts on a cancel before it closes the connection that brought it, so until then it may
 * hit whatever the backend runs. That is the fence: a connection with a cancel under way is not
 * given to anybody (SRV_FENCED), and where the end was not seen it is not used again.
 *
 * Threads. db->cancel_lock guards the table of keys, the inboxes, `waiter` and `posted`, and all of
 * a wg_cancel that lies in an inbox. A key is in the table as long as its session has its
 * server; so under the lock the session's worker is there, and so is the sender's as long as
 * `waiter` is. The rest belongs to the thread of `at`. */
#include "db/db_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef enum cancel_state {
  CANCEL_ASKED,
  CANCEL_DIALING,
  CANCEL_SECURING,
  CANCEL_SENT, /* all of it, or what the kernel took so far */
  CANCEL_OVER
} cancel_state;

struct wg_cancel {
  wg_node node;      /* in `at`'s inbox, then among its cancels; OVER: in `from`'s inbox */
  wg_node by_server; /* in srv->cancels */
  wg_session *waiter; /* the sender's; NULL: closed meanwhile */
  wg_db_worker *from, *at;
  uint64_t key;
  cancel_state state;
  wg_server *srv; /* what is fenced; NULL: gone */
  const wg_wire_ops *ops;
  wg_pool *pool;
  wg_wire_server *wire; /* to ask for TLS with; NULL: not */
  size_t host; /* of `srv` */
  wg_tls_mode tls_mode; /* of `srv`; WG_TLS_DISABLE: plain text */
  wg_tls_conn *tls;
  int fd;
  wg_watch *watch;
  bool readable, blocked;
  bool posted; /* lies in an inbox */
  bool heard; /* the server may have seen some of it */
  wg_buf in, words, out; /* `words`: what is to be said once the connection is fit for it */
  wg_deadline deadline;
};

/* ---- keys ---- */

static wg_list *bucket(wg_db *db, uint64_t key) {
  return &db->keys[(key ^ key >> 32) % WG_COUNT(db->keys)];
}

void wg__cancel_register(wg_session *s) {
  wg_db *db = s->guest->worker->db;
  if (!s->wire->key) return;
  s->key = s->wire->key;
  pthread_mutex_lock(&db->cancel_lock);
  wg_list_push_back(bucket(db, s->key), &s->by_key);
  pthread_mutex_unlock(&db->cancel_lock);
}

void wg__cancel_void(wg_session *s) {
  wg_db *db = s->guest->worker->db;
  if (!s->key) return;
  pthread_mutex_lock(&db->cancel_lock);
  wg_list_remove(bucket(db, s->key), &s->by_key);
  pthread_mutex_unlock(&db->cancel_lock);
  s->key = 0;
}

/** The lock is held. */
static wg_session *key_find(wg_db *db, uint64_t key) {
  wg_list *list = bucket(db, key);
  for (wg_node *n = wg_list_first(list); n; n = wg_list_next(list, n))
    if (WG_CONTAINER(n, wg_session, by_key)->key == key) return WG_CONTAINER(n, wg_session, by_key);
  return NULL;
}

/* ---- the end ---- */

static void cancel_hang_up(wg_cancel *c) {
  const wg_loop *loop = c->at->loop;
  if (c->watch) loop->watch->stop(loop->watch_ctx, c->watch);
  wg_tls_close(c->tls);
  if (c->fd >= 0) close(c->fd);
  if (c->wire) c->ops->server_free(c->wire);
  wg_buf_release(&c->in);
  wg_buf_release(&c->out);
  if (c->words.data) wg_wipe(c->words.data, c->words.cap);
  wg_buf_release(&c->words);
}

/** Lifts the fence when this was the last one. May lead to any callback. */
static void cancel_release(wg_cancel *c, bool clean) {
  wg_server *srv = c->srv;
  c->srv = NULL;
  if (!srv) return;
  wg_list_remove(&srv->cancels, &c->by_server);
  if (!clean) srv->doubtful = true;
  if (srv->state != SRV_FENCED || !wg_list_empty(&srv->cancels)) return;
  wg__pool_unfenced(srv);
}

/** Ends the sender's session, if it is still there. On its thread; frees. */
static void cancel_deliver(wg_cancel *c) {
  if (c->waiter) wg__session_canceled(c->waiter);
  free(c);
}

/** @param clean  the server closed, or never heard of it */
static void cancel_over(wg_cancel *c, bool clean) {
  wg_db_worker *w = c->at;
  wg_deadline_stop(&c->deadline);
  cancel_hang_up(c);
  if (c->state != CANCEL_ASKED) wg_list_remove(&w->cancels, &c->node);
  c->state = CANCEL_OVER;
  cancel_release(c, clean);
  pthread_mutex_lock(&w->db->cancel_lock);
  bool away = c->waiter && c->from != w;
  if (away) {
    wg_list_push_back(&c->from->cancel_inbox, &c->node);
    c->posted = true;
    uv_async_send(&c->from->wake);
  }
  pthread_mutex_unlock(&w->db->cancel_lock);
  if (!away) cancel_deliver(c);
}

static void cancel_fail(wg_cancel *c, const char *what, const char *why) {
  wg_log(&c->at->log, WG_LOG_WARN, "db_cancel_failed", WG_KV_S("database", c->pool->config->name),
         WG_KV_S("during", what), WG_KV_S("error", why));
  cancel_over(c, !c->heard);
}

static void on_cancel_deadline(wg_deadline *d) {
  wg_cancel *c = WG_CONTAINER(d, wg_cancel, deadline);
  cancel_fail(c, c->state == CANCEL_SENT ? "end" : "connect", "no answer in time");
}

/* ---- the connection ---- */

static void cancel_arm(wg_cancel *c, unsigned events) {
  const wg_loop *loop = c->at->loop;
  loop->watch->arm(loop->watch_ctx, c->watch, events);
}

static ssize_t cancel_read(wg_cancel *c, uint8_t *p, size_t cap) {
  ssize_t n;
  if (c->tls) return wg_tls_read(c->tls, p, cap, &c->readable);
  do n = recv(c->fd, p, cap, 0);
  while (n < 0 && errno == EINTR);
  if (n >= 0) return n;
  int sys = errno;
  if (sys != EAGAIN && sys != EWOULDBLOCK) return -sys;
  c->readable = false;
  return -EAGAIN;
}

/** Writes what `b` holds, as far as the kernel takes it.  @return 0, or errno */
static int cancel_write(wg_cancel *c, wg_buf *b) {
  while (wg_buf_len(b) && !c->blocked) {
    ssize_t n;
    if (c->tls) {
      n = wg_tls_write(c->tls, wg_buf_head(b), wg_buf_len(b), &c->blocked);
    } else {
      do n = send(c->fd, wg_buf_head(b), wg_buf_len(b), MSG_NOSIGNAL);
      while (n < 0 && errno == EINTR);
      if (n < 0) n = -errno;
    }
    if (n == -EAGAIN || n == -EWOULDBLOCK) {
      c->blocked = true;
    } else if (n < 0) {
      return (int)-n;
    } else {
      wg_buf_consume(b, (size_t)n);
    }
  }
  return 0;
}

/** SENT: says the rest, then reads up to the end of the stream, which is all there is to come. */
static void cancel_talk(wg_cancel *c) {
  uint8_t ignored[256];
  c->heard = true;
  int sys = cancel_write(c, &c->words);
  if (sys) {
    cancel_fail(c, "send", strerror(sys));
    return;
  }
  while (c->readable) {
    ssize_t n = cancel_read(c, ignored, sizeof ignored);
    if (n == -EAGAIN) break;
    if (n > 0) continue; /* an error's words, if any: the sender of a cancel is told nothing */
    if (n == 0 && !wg_buf_len(&c->words))
      cancel_over(c, true);
    else
      cancel_fail(c, "end", n ? strerror((int)-n) : "the server closed the connection");
    return;
  }
  unsigned waits = c->tls ? wg_tls_waits(c->tls) : c->blocked ? WG_WATCH_WRITE : 0u;
  cancel_arm(c, WG_WATCH_READ | waits);
}

static void cancel_say(wg_cancel *c) {
  c->state = CANCEL_SENT;
  c->readable = true;
  c->blocked = c->tls && wg_tls_unsent(c->tls);
  wg_log(&c->at->log, WG_LOG_DEBUG, "db_cancel", WG_KV_S("database", c->pool->config->name));
  cancel_talk(c);
}

/** Asks for TLS in the protocol's own words.  @return true when the handshake can begin */
static bool cancel_ask_tls(wg_cancel *c) {
  bool granted = false;
  for (;;) {
    wg_error err;
    wg_wire_step step = c->ops->ask_tls(c->wire, &c->in, &c->out, &granted, &err);
    if (step == WG_WIRE_OK) break;
    int sys = step == WG_WIRE_ERROR ? 0 : cancel_write(c, &c->out);
    if (step == WG_WIRE_ERROR || sys) {
      cancel_fail(c, "TLS", step == WG_WIRE_ERROR ? err.msg : strerror(sys));
      return false;
    }
    if (!c->readable) {
      cancel_arm(c, WG_WATCH_READ | (c->blocked ? WG_WATCH_WRITE : 0u));
      return false;
    }
    uint8_t *p = wg_buf_reserve(&c->in, 64);
    ssize_t n = p ? cancel_read(c, p, 64) : -ENOMEM;
    if (n == -EAGAIN) continue;
    if (n <= 0) {
      cancel_fail(c, "TLS", n ? strerror((int)-n) : "the server closed the connection");
      return false;
    }
    wg_buf_commit(&c->in, (size_t)n);
  }
  if (granted && wg_buf_len(&c->in) == 0) return true;
  cancel_fail(c, "TLS",
              granted ? "unencrypted bytes came before the handshake's end"
                      : "the server refuses it now");
  return false;
}

static void cancel_secure(wg_cancel *c) {
  wg_error err;
  if (!c->tls) {
    if (c->wire && !cancel_ask_tls(c)) return;
    if (wg__secure_open(c->pool, c->host, c->fd, c->tls_mode, &c->tls, &err) != WG_OK) {
      cancel_fail(c, "TLS", err.msg);
      return;
    }
  }
  switch (wg_tls_handshake(c->tls, &err)) {
  case WG_TLS_DONE: cancel_say(c); break;
  case WG_TLS_MORE:
    cancel_arm(c, WG_WATCH_READ | (wg_tls_unsent(c->tls) ? WG_WATCH_WRITE : 0u));
    break;
  case WG_TLS_FAILED: cancel_fail(c, "TLS", err.msg); break;
  }
}

static void cancel_connected(wg_cancel *c) {
  if (c->tls_mode == WG_TLS_DISABLE) {
    cancel_say(c);
    return;
  }
  c->state = CANCEL_SECURING;
  cancel_secure(c);
}

static void on_cancel_watch(void *user, unsigned events) {
  wg_cancel *c = user;
  if (c->tls && (events & WG_WATCH_READ)) wg_tls_readable(c->tls);
  if (c->tls && (events & WG_WATCH_WRITE)) wg_tls_flush(c->tls);
  if (events & WG_WATCH_READ) c->readable = true;
  if (c->tls)
    c->blocked = wg_tls_waits(c->tls) != 0;
  else if (events & WG_WATCH_WRITE)
    c->blocked = false;
  if (c->state == CANCEL_SECURING) {
    cancel_secure(c);
  } else if (c->state == CANCEL_SENT) {
    cancel_talk(c);
  } else {
    int sys = 0;
    socklen_t len = sizeof sys;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &sys, &len) != 0) sys = errno;
    if (sys)
      cancel_fail(c, "connect", strerror(sys));
    else
      cancel_connected(c);
  }
}

static void cancel_dial(wg_cancel *c) {
  struct sockaddr_storage a = {0};
  socklen_t len = sizeof a;
  wg_error err;
  const wg_loop *loop = c->at->loop;
  c->fd = -1;
  c->host = c->srv->host;
  if (getpeername(c->srv->fd, (struct sockaddr *)&a, &len) == 0)
    c->fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  bool now = c->fd >= 0 && connect(c->fd, (struct sockaddr *)&a, len) == 0;
  if (!now && (c->fd < 0 || errno != EINPROGRESS)) {
    cancel_fail(c, "connect", strerror(errno));
    return;
  }
  if (loop->watch->start(loop->watch_ctx, c->fd, on_cancel_watch, c, &c->watch, &err) != WG_OK)
    cancel_fail(c, "connect", err.msg);
  else if (now)
    cancel_connected(c);
  else
    cancel_arm(c, WG_WATCH_WRITE);
}

/** On the thread of the session that is meant. */
static void cancel_start(wg_cancel *c) {
  wg_db_worker *w = c->at;
  pthread_mutex_lock(&w->db->cancel_lock);
  wg_session *s = key_find(w->db, c->key); /* of this thread, so it does not go away below */
  pthread_mutex_unlock(&w->db->cancel_lock);
  wg_server *srv = s ? s->srv : NULL;
  wg_deadline_class *limit = wg_deadlines_class(w->deadlines, DB_CANCEL_TIMEOUT_MS);
  if (!srv || w->freeing || !limit || srv->cancels.count >= DB_CANCELS_MAX) {
    cancel_over(c, true);
    return;
  }
  c->srv = srv;
  c->pool = srv->pool;
  c->ops = srv->ops;
  c->tls_mode = srv->tls ? srv->tls_mode : WG_TLS_DISABLE;
  c->state = CANCEL_DIALING;
  wg_list_push_back(&srv->cancels, &c->by_server);
  wg_list_push_back(&w->cancels, &c->node);
  wg_deadline_start(limit, &c->deadline);
  if (srv->tls && c->ops->ask_tls && c->pool->config->tls.negotiation != WG_TLS_DIRECT) {
    static const wg_secret none;
    c->wire = c->ops->server_new(&(wg_wire_login){.user = "", .database = "", .password = &none});
    if (!c->wire) {
      cancel_fail(c, "TLS", "out of memory");
      return;
    }
  }
  if (c->ops->cancel) c->ops->cancel(srv->wire, &c->words);
  if (c->words.failed || wg_buf_len(&c->words) == 0)
    cancel_fail(c, "connect", "the server gave no key for this, or no memory is left");
  else
    cancel_dial(c);
}

/* ---- from the sender, and back ---- */

/** Whether the sender's own connection leads to where the session that is meant is. */
static bool same_place(const wg_session *sender, const wg_database_config *config) {
  const wg_config *all = sender->guest->worker->db->config;
  if (sender->place) return wg__target_same_place(sender->place, config);
  for (size_t i = 0; i < all->database_count; i++)
    if (wg__target_fits(&all->databases[i], sender->host, sender->port) &&
        wg__target_same_place(&all->databases[i], config))
      return true;
  return false;
}

void wg__cancel_ask(wg_session *sender, uint64_t key) {
  wg_db_worker *w = sender->guest->worker;
  wg_db *db = w->db;
  wg_cancel *c = calloc(1, sizeof *c);
  bool found = false, here = false;
  pthread_mutex_lock(&db->cancel_lock);
  wg_session *s = c ? key_find(db, key) : NULL;
  if (s && same_place(sender, s->srv->pool->config)) {
    found = true;
    c->at = s->guest->worker;
    here = c->at == w;
    c->from = w;
    c->waiter = sender;
    c->key = key;
    c->fd = -1;
    wg_node_init(&c->node);
    wg_node_init(&c->by_server);
    wg_buf_init(&c->in, 64);
    wg_buf_init(&c->out, 64);
    wg_buf_init(&c->words, 512);
    wg_deadline_init(&c->deadline, on_cancel_deadline);
    sender->cancel = c;
    if (!here) {
      wg_list_push_back(&c->at->cancel_inbox, &c->node);
      c->posted = true;
      uv_async_send(&c->at->wake);
    }
  }
  pthread_mutex_unlock(&db->cancel_lock);
  if (!found) {
    free(c);
    wg_log0(&w->log, WG_LOG_DEBUG, "db_cancel_ignored");
    wg__session_canceled(sender);
  } else if (here) {
    cancel_start(c);
  }
}

void wg__cancel_forget(wg_session *sender) {
  wg_db *db = sender->guest->worker->db;
  wg_cancel *c = sender->cancel;
  if (!c) return;
  sender->cancel = NULL;
  pthread_mutex_lock(&db->cancel_lock);
  c->waiter = NULL;
  bool mine = c->posted && c->state == CANCEL_OVER; /* in our inbox: nobody else's any more */
  if (mine) wg_list_remove(&c->from->cancel_inbox, &c->node);
  pthread_mutex_unlock(&db->cancel_lock);
  if (mine) free(c);
}

void wg__cancels_arrived(wg_db_worker *w) {
  for (;;) {
    pthread_mutex_lock(&w->db->cancel_lock);
    wg_cancel *c = WG_ITEM(wg_list_first(&w->cancel_inbox), wg_cancel, node);
    if (c) {
      wg_list_remove(&w->cancel_inbox, &c->node);
      c->posted = false;
    }
    pthread_mutex_unlock(&w->db->cancel_lock);
    if (!c) return;
    if (c->state == CANCEL_OVER)
      cancel_deliver(c);
    else
      cancel_start(c);
  }
}

bool wg__cancels_use(const wg_db_worker *w, const wg_pool *pool) {
  for (wg_node *n = wg_list_first(&w->cancels); n; n = wg_list_next(&w->cancels, n))
    if (WG_CONTAINER(n, wg_cancel, node)->pool == pool) return true;
  return false;
}

void wg__cancels_stop(wg_db_worker *w) {
  WG_ASSERT(w->freeing);
  wg__cancels_arrived(w); /* whom they meant is gone */
  for (wg_node *n; (n = wg_list_first(&w->cancels));)
    cancel_over(WG_CONTAINER(n, wg_cancel, node), false);
}

void wg__cancels_orphan(wg_server *srv) {
  for (wg_node *n; (n = wg_list_first(&srv->cancels));) {
    wg_list_remove(&srv->cancels, n);
    WG_CONTAINER(n, wg_cancel, by_server)->srv = NULL;
  }
}
