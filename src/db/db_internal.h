/* SPDX-License-Identifier: Apache-2.0 */
/** @file db_internal.h  The objects behind db.h, and who may touch what.
 *
 *     wg_db ── wg_pool (one a key) ── wg_local (a pool's side on one worker)
 *                 │ lists by state        │ its idle servers, most recently used first
 *                 └── wg_server ──────────┘   leased to ── wg_session ── wg_db_guest
 *
 *  Threads. A wg_pool's mutex guards its lists, its counters and the state of its servers; it is
 *  held for list operations only. A worker's inbox has a mutex of its own, taken inside the
 *  pool's. Everything else belongs to one worker's thread: a server to its local's worker, and
 *  while SRV_MOVING to nobody but the inbox that it lies in. */
#pragma once
#include "base/log.h"
#include "db/db.h"
#include "db/tls.h"
#include "db/wire/scram.h"
#include "db/wire/wire.h"
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

typedef struct wg_pool wg_pool;
typedef struct wg_local wg_local;
typedef struct wg_server wg_server;
typedef struct wg_session wg_session;
typedef struct wg_cancel wg_cancel;
typedef struct wg_turn wg_turn;

/** On the stack of a function that calls back and then goes on with a session: `s` becomes NULL
 *  when the callback made an end of it. */
typedef struct wg_guard {
  wg_session *s;
  struct wg_guard *next;
} wg_guard;

enum {
  DB_POOLS_MAX = 1024, /**< keys; guests can make them where `database` is not declared */
  DB_SHAPES_MAX = 8, /**< pools of one log-in that differ in what guests' drivers ask for (MySQL) */
  DB_LOOPBACKS_MAX = 32, /**< undeclared databases of this machine */
  DB_PASSWORD_MAX = 4096, /**< bytes of a password that a guest brings */
  DB_SESSIONS_MAX = 4096, /**< handles and connects of one guest */
  DB_ADDRESSES_MAX = 8, /**< of a name that are tried */
  DB_RESET_TIMEOUT_MS = 5000, /**< also of a ping and of the guest's settings */
  DB_FINISH_MS = 25, /**< for the rest of an answer whose guest has gone */
  DB_FINISH_BYTES = 64 * 1024, /**< of it that are read */
  DB_CANCEL_TIMEOUT_MS = 5000, /**< of a forwarded cancel request, from its connect to its end */
  DB_CANCELS_MAX = 8, /**< of one connection at a time; more are ignored */
  DB_RETRY_MS = 100, /**< how often a queue looks whether backoff is over, and after how long it
                         counts no more on a connection that is being cleaned */
  DB_BACKOFF_MIN_MS = 50,
  DB_BACKOFF_MAX_MS = 2000,
  DB_HOST_DOWN_MS = 10000, /**< for so long a server of a list that failed is tried last */
  DB_TIDY_MS = 1000, /**< how often lifetimes are looked at, and min_idle is seen to */
  DB_STATS_LOG_MS = 60000
};

/* ---- one connection to a server: server.c ---- */

typedef enum wg_server_state {
  SRV_RESOLVING, /**< its name is being looked up */
  SRV_DIALING, /**< connect(2) in progress */
  SRV_SECURING, /**< TLS is asked for, its handshake in progress */
  SRV_LOGIN,
  SRV_IDLE, /**< in its local's idle list */
  SRV_LEASED, /**< a session's, or in hand-over on its own worker */
  SRV_FINISHING, /**< its guest left in front of the rest of an answer, which is read and dropped */
  SRV_FENCED, /**< its guest left, and a cancel request is still on its way to the server */
  SRV_RESETTING, /**< cleaned between two guests */
  SRV_PINGING,
  SRV_MOVING, /**< in another worker's inbox */
  SRV_CLOSED /**< in no list; memory goes at once */
} wg_server_state;
enum { SRV_STATES = SRV_CLOSED };

/** Why a connection ended that had no failure; beside wg_db_cause. */
enum {
  END_UNKNOWN = WG_DB_CAUSES,
  END_IDLE, /**< nobody used it for idle_timeout */
  END_LIFETIME, /**< older than max_lifetime lets it be */
  END_GUEST, /**< its guest left it in a state that cannot be cleaned */
  END_POLICY, /**< reset = "close" */
  END_STOP, /**< the host stops, or has new settings */
  SRV_ENDS
};

struct wg_server {
  wg_node by_state; /* in pool->servers[state] */
  wg_node by_local; /* in local->idle */
  wg_node by_worker; /* in worker->servers; in worker->inbox while moving */
  wg_node by_busy; /* in worker->busy: LOGIN computes, and goes on at the loop's next turn */
  wg_pool *pool;
  wg_local *local; /* whose thread it is on; while moving: whose it will be */
  wg_server_state state; /* changed by server_enter*() only, under the pool's mutex */
  const wg_wire_ops *ops;
  wg_wire_server *wire;
  int fd; /* -1: none */
  wg_tls_conn *tls; /* NULL: plain text */
  wg_tls_mode tls_mode; /* for the address that was dialled */
  bool second_try; /* of that address: with TLS after ALLOW, without after PREFER */
  wg_watch *watch; /* NULL: none */
  bool readable; /* a read may find something: since the watch said so */
  bool blocked; /* the kernel took less than it was given; since then not writable */
  uint64_t id; /* in the log; unique in the process */
  uint64_t born_ms;
  uint64_t life_end_ms; /* to be closed from then on, when no guest has it; 0: never */
  uint64_t since_ms; /* in this state */
  bool logged_in; /* was at some time */
  bool broken; /* the connection has ended: the last read or write said so */
  unsigned end; /* wg_db_cause or END_*: why it will be closed */
  wg_session *session; /* LEASED: whose; NULL in hand-over */
  wg_list cancels; /* on their way to what this connection runs */
  bool doubtful; /* the end of one was not seen: no other guest gets it */
  wg_wire_track left; /* FINISHING, FENCED: how its guest left it */
  size_t said; /* bytes of the server in this state that we read ourselves */
  wg_buf in, out; /* of our own talk only; a guest's bytes never pass here */
  uint64_t idle_ms; /* since when no guest has it */
  uint64_t leased; /* times */
  wg_deadline step; /* of the state that it is in: dial, log-in, reset, ping */
  wg_deadline idle_end; /* IDLE: to be reaped */
  wg_deadline next_ping; /* IDLE */
  wg_dns_req dns;
  bool resolving; /* `dns` is on its way */
  size_t host; /* of the config's list: the one that is tried, or was taken */
  uint8_t host_order[WG_DB_HOSTS_MAX], host_at; /* in which they are tried; where it stands */
  bool misfit; /* it is not what target_session_attrs asks for */
  bool reached; /* prefer-standby: one of the list was a server, but no standby */
  bool second_pass; /* prefer-standby: no standby is there, so any will do */
  struct sockaddr_storage *addresses; /* owned; while dialing */
  size_t address_count, address_next;
  wg_error error; /* of the last address tried */
};

/** Makes a server in SRV_RESOLVING. The pool's mutex is held. NULL: out of memory. */
wg_server *wg__server_new(wg_local *local);
/** Tells the server goodbye, without waiting: it is about to be closed in good order. */
void wg__server_bye(wg_server *srv);
/** Tells it goodbye, and closes it. @param end  END_* */
void wg__server_dismiss(wg_server *srv, unsigned end);
/** Moves it; the pool's mutex must not be held. SRV_CLOSED frees it. */
void wg__server_enter(wg_server *srv, wg_server_state next);
/** The same with the pool's mutex held; not to SRV_CLOSED. Entry actions that are not about lists
 *  follow with wg__server_entered(), without the mutex. */
void wg__server_enter_locked(wg_server *srv, wg_server_state next);
void wg__server_entered(wg_server *srv);
/** True when an idle connection still stands and is silent. One recv(2), never waits. */
bool wg__server_alive(wg_server *srv);
/** Starts a reset or a ping; ends in wg__pool_on_ready() or wg__pool_on_failed(). */
void wg__server_reset(wg_server *srv, const wg_wire_track *track);
void wg__server_ping(wg_server *srv);
/** Stops the readiness watch, so that another worker can start its own. */
void wg__server_unwatch(wg_server *srv);
/** Starts it on the worker that the server belongs to now. */
WG_MUSTCHECK wg_code wg__server_watch(wg_server *srv, wg_error *err);
void wg__server_arm(wg_server *srv, unsigned events);
/** The one pair of functions that touches the connection's bytes, under TLS or not.
 *  @return bytes; 0 at the end of the stream (read); -errno. Keep `readable` and `blocked`. */
ssize_t wg__server_read(wg_server *srv, uint8_t *p, size_t cap);
ssize_t wg__server_write(wg_server *srv, const uint8_t *p, size_t n);
/** Lets the next read ask the kernel again, though the last one has drained the socket. */
void wg__server_look(wg_server *srv);
/** Writes what `out` holds.  @return false when the connection is lost */
bool wg__server_flush(wg_server *srv);
/** Reads what there is into `in`, up to WG_WIRE_SAID_MAX.
 *  @return false when the connection is lost; *sys says why (0: the server closed) */
bool wg__server_fill(wg_server *srv, int *sys);
/** True when the server has said more than WG_WIRE_SAID_MAX without coming to an end; *err says
 *  so. */
bool wg__server_babbles(const wg_server *srv, wg_error *err);

/** What is known of the server before it has said anything. NULL: out of memory. */
wg_wire_server *wg__server_wire(wg_pool *pool);
/** Ends an attempt with this failure. @param sys  errno, or 0 */
void wg__server_fail(wg_server *srv, wg_code code, int sys, const char *sqlstate, const char *what);
/** Log-in, reset, ping: goes on with what the state is about. */
void wg__server_talk(wg_server *srv);
/** Begins the log-in; a guest that does it itself gets the connection as it is. */
void wg__server_login(wg_server *srv);

/* ---- from its name to a connection: dial.c ---- */

/** Begins; may end in wg__pool_on_ready() or wg__pool_on_failed() before it returns. */
void wg__server_start(wg_server *srv);
/** Its address was no good: the name is looked up afresh next time. */
void wg__server_distrust(const wg_server *srv);
/** Hangs up and dials the same address once more, as `second_try`. May end in
 *  wg__pool_on_failed() before it returns.  @return false: out of memory, nothing was done */
bool wg__server_redial(wg_server *srv);
/** Makes it look for another address from the start: as it was before wg__server_start(), but for
 *  `host`. Begins with that. @return false: out of memory, nothing was done */
bool wg__server_start_over(wg_server *srv);
/** SRV_DIALING: the socket is connected, or says why not. */
void wg__dial_answered(wg_server *srv);
/** SRV_DIALING: this address's share of the time is over. */
void wg__dial_expired(wg_server *srv);

/* ---- which of several servers: hosts.c ---- */

/** Where the server is looked for now. The name is the config's. */
const char *wg__hosts_name(const wg_server *srv);
uint16_t wg__hosts_port(const wg_server *srv);
/** How many there are, at least 1. */
size_t wg__hosts_count(const wg_server *srv);
/** The same. @param host  index in the list of the config */
const char *wg__hosts_name_at(const wg_database_config *config, size_t host);
/** The time that one of them has for each step. */
wg_deadline_class *wg__hosts_share(const wg_server *srv);
/** Puts the servers of a list in the order that they are tried in. The pool's mutex is held. */
void wg__hosts_begin(wg_server *srv);
/** An attempt failed: begins with the next of the list.  @return false: that was the last one */
bool wg__hosts_next(wg_server *srv, const wg_error *why);
/** Whether a server that answers is what is asked for; sets `misfit`.  @return false: *err says
 *  what it is */
bool wg__hosts_fit(wg_server *srv, wg_error *err);

/* ---- TLS to it: secure.c ---- */

/** TLS with the settings of a pool, which are loaded at need, on a connected fd.
 *  @param host  which of the pool's servers it leads to
 *  @param mode  of that connection, WG_TLS_ALLOW or more */
WG_MUSTCHECK wg_code wg__secure_open(wg_pool *pool, size_t host, int fd, wg_tls_mode mode,
                                     wg_tls_conn **out, wg_error *err);
/** True when the connection that was just made begins with TLS. */
bool wg__secure_wanted(const wg_server *srv);
/** SRV_SECURING: goes on. Ends in SRV_LOGIN or in wg__pool_on_failed(). */
void wg__secure_talk(wg_server *srv);
/** An attempt failed: makes another where the mode says so. True: the failure is not one. */
bool wg__secure_again(wg_server *srv);
/** The watch's events for a connection with TLS.  @return those that its user is to know of */
unsigned wg__secure_ready(wg_server *srv, unsigned events);

/* ---- a pool key: pool.c ---- */

/** Who a guest says it is; borrowed. */
typedef struct wg_credentials {
  const char *user;
  const char *password; /* not NUL-terminated; NULL with auth other than "guest" */
  size_t password_len;
} wg_credentials;

struct wg_pool {
  wg_node by_db;
  wg_db *db;
  const wg_database_config *config;
  const wg_wire_ops *ops;
  wg_db_auth auth;
  char *database; /* as logged in to; RELAY: as the guest asks for */
  char *user; /* logged in as; RELAY: NULL */
  uint64_t shape; /* what else the log-in fixes, in the codec's terms */
  uint8_t digest[32]; /* of the password: SHA-256, salted */
  wg_tls_cache resume; /* has a lock of its own */
  wg_scram_cache keys; /* has a lock of its own; while there is a password */
  _Atomic bool retiring; /* another shape has its place. Changed under the db's lock */
  pthread_mutex_t lock;
  /* under the lock */
  wg_tls *tls; /* made at need where the config has none; then constant */
  wg_list servers[SRV_STATES];
  wg_list turns; /* of wg_turn.by_pool: guests that wait, whose turn it is first */
  size_t waiting; /* requests of all turns */
  wg_list locals; /* of wg_local.by_pool */
  wg_secret password; /* GUEST: while there are connections or waiters */
  uint64_t proved_ms; /* GUEST: when a log-in last proved the password */
  uint64_t host_down_ms[WG_DB_HOSTS_MAX]; /* of a list: tried last until then */
  uint32_t failures; /* waves of attempts that failed since the last that did not */
  uint64_t failed_ms; /* when the last of them was found to fail */
  uint64_t retry_ms; /* no attempt before this */
  wg_error last_error; /* of the last attempt */
  bool full; /* the last failure: the server takes no more */
  uint64_t logged_ms, logged_leases;
  wg_db_stats stats; /* counters only; the rest is counted from the lists, and the bytes are those
                        of locals that are gone */
};

/** A guest's place in the queue of a pool: its requests in order of arrival. While it has any it is
 *  in the lists of its pool and of its local, under the pool's lock: queue.c. */
struct wg_turn {
  wg_node by_guest, by_pool, by_local;
  wg_local *local;
  wg_list reqs; /* of wg_db_req.node, whose impl2 is this */
};

/** The guest's place in the queue of this pool, made at its first wait.  @return NULL: no memory */
wg_turn *wg__turn_of(wg_db_guest *g, wg_local *local);
/** The local is about to go; none of the guest's requests may be queued at it. */
void wg__turns_forget(wg_db_guest *g, const wg_local *local);
/** None of its requests may be queued. */
void wg__turns_free(wg_db_guest *g);
/* The rest with the pool's lock held. */
/** Behind the guest's other requests. */
void wg__queue_push(wg_turn *t, wg_db_req *req);
/** Back to where it was: the next one to be served. */
void wg__queue_push_front(wg_turn *t, wg_db_req *req);
/** Takes it out, and passes the turn to the next guest. */
void wg__queue_take(wg_db_req *req);
/** Takes it out; whose turn it is stays. */
void wg__queue_drop(wg_db_req *req);
/** The request that is served next; NULL: nobody waits. */
wg_db_req *wg__queue_first(const wg_pool *pool);
/** The same among those of one worker. */
wg_db_req *wg__queue_first_of(const wg_local *local);

struct wg_local {
  wg_node by_pool, by_worker;
  wg_pool *pool;
  wg_db_worker *worker;
  wg_list idle; /* front: most recently used. Changed under the pool's lock */
  wg_list granted; /* requests of ours that a server in our inbox was sent for */
  wg_list turns; /* of wg_turn.by_local. Changed under the pool's lock */
  /* classes of deadlines; NULL: none */
  wg_deadline_class *connect, *talk, *recv, *send, *idle_timeout, *health, *retry_class, *finish;
  wg_deadline_class *slow, *connect_rest; /* slow_wait, and what is left of `connect` then */
  wg_deadline_class *tidy_class;
  wg_deadline retry, tidy;
  wg_log_limit tls_hint, fail_limit, open_limit, close_limit, slow_limit, host_limit;
  _Atomic uint64_t received, sent; /* bytes; only this worker writes them: local_count() */
};

/** Leases a server for the request or queues it. Ends in wg__session_granted() or in a failure of
 *  the request.
 *  @param who  borrowed for the call; NULL unless auth = "guest" */
void wg__pool_ask(wg_local *local, wg_db_req *req, const wg_credentials *who);
/** Takes a queued request out: canceled. */
void wg__pool_forget(wg_db_req *req);
/** A server is clean and free: for the first waiter, or idle. */
void wg__pool_on_ready(wg_server *srv);
/** A server could not be had, or did not stand its reset or ping. Closes it. */
void wg__pool_on_failed(wg_server *srv, const wg_error *err);
/** An idle or leased server is to be closed. */
void wg__pool_close(wg_server *srv);
/** An idle server became readable: it hung up. */
void wg__pool_lost(wg_server *srv);
/** A session is over. @param fit  the server can serve again: reset it if `dirty` */
void wg__pool_return(wg_server *srv, bool fit, const wg_wire_track *dirty);
/** FINISHING: something came. */
void wg__pool_finish(wg_server *srv);
/** FENCED: the last of the cancel requests is over. */
void wg__pool_unfenced(wg_server *srv);
/** Does for the queue what can be done on this worker. */
void wg__pool_pump(wg_local *local);
/** A server came out of the inbox. */
void wg__pool_arrived(wg_server *srv);
/** Closes it and lets the queue know of the room. @param end  END_* */
void wg__pool_discard(wg_server *srv, unsigned end);
/** Connections being made, and those that will be free without anybody's doing. The lock is held. */
size_t wg__pool_connecting(const wg_pool *pool);
size_t wg__pool_coming(const wg_pool *pool);

/* ---- what is done for a pool as time goes by: care.c ---- */

/** Times out of one idle server. */
void wg__pool_reap(wg_server *srv);
void wg__pool_health(wg_server *srv);
/** A server has logged in: how long it may live. */
void wg__care_born(wg_server *srv);
/** It is older than max_lifetime lets it be. */
bool wg__care_expired(const wg_server *srv);
/** Sees to lifetimes and min_idle from now on. */
void wg__care_start(wg_local *local);
void wg__care_init(wg_local *local);
/** True when all that the pool has is idle. @param used_ms  out: since when; 0: it has nothing */
bool wg__pool_rests(wg_pool *pool, uint64_t *used_ms);
/** Lets its workers close what is idle, and forget it. The db's lock is held. */
void wg__pool_retire(wg_pool *pool);
/** The worker's part of that. */
void wg__pool_leave(wg_local *local);

/* ---- what is told of a pool: told.c ---- */

/** Adds to a counter that only this thread writes: no read-modify-write of the machine's. */
static inline void wg__local_count(_Atomic uint64_t *counter, size_t n) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                        memory_order_relaxed);
}
/** Connections that exist or are being made. The pool's mutex is held. */
size_t wg__pool_total(const wg_pool *pool);
/** Counts a lease that came after `waited_ms`. The pool's mutex is held. */
void wg__pool_count_wait(wg_pool *pool, uint64_t waited_ms);
/** What an attempt's failure is, in the state that it failed in. */
wg_db_cause wg__server_cause(const wg_server *srv, const wg_error *err);
/** The events of a connection's life. */
void wg__tell_connecting(const wg_server *srv, const char *address);
void wg__tell_connected(const wg_server *srv);
void wg__tell_leased(const wg_server *srv, uint64_t waited_ms);
void wg__tell_returned(const wg_server *srv, bool fit, bool dirty);
void wg__tell_reset(const wg_server *srv);
void wg__tell_closed(const wg_server *srv);
/** A guest has waited for slow_wait: says what the pool is busy with. */
void wg__tell_slow(wg_local *local, uint64_t waited_ms);
/** Now and then: the pool's gauges. */
void wg__tell_pool(wg_local *local);
/** Forgets a guest's password with the last connection and the last wait: the next guest brings it
 *  again. The lock is held. */
void wg__pool_unneeded(wg_pool *pool);
/** GUEST: the connection may not be lent any more: the password may have changed since it was
 *  proved. The lock is held. */
bool wg__pool_stale(const wg_server *srv, uint64_t now_ms);
/** A guest's key is about to go: its counts stay with its database. The db's lock is held. */
void wg__counts_keep(wg_pool *pool);
void wg__counts_free(wg_db *db);
/** Counts and copies; any thread. */
void wg__pool_stats(wg_pool *pool, wg_db_stats *out);
/** All its servers, waiters and locals must be gone. */
void wg__pool_free(wg_pool *pool);
/** True when guests chose what a pool is of, so that there may be any number of such pools. */
bool wg__key_chosen(const wg_database_config *config, uint64_t shape);
bool wg__pool_chosen(const wg_pool *pool);
/** True when nothing of the pool lives on any worker, nor waits. */
bool wg__local_unused(wg_local *local);
/** Fills a zeroed local; linking it is the caller's. */
void wg__local_init(wg_local *local, wg_pool *pool, wg_db_worker *w);
/** Worker is going: takes the local out of its pool and frees it. */
void wg__local_free(wg_local *local);

/* ---- a worker and the process: db.c ---- */

struct wg_db {
  const wg_config *config;
  uint8_t salt[16]; /* of the digests of passwords */
  pthread_mutex_t lock; /* guards what is below */
  wg_list pools;
  wg_list loopbacks; /* of loopback.c; its members are immutable */
  wg_list counts; /* of told.c: what guests' keys that are gone have counted */
  wg_list hellos; /* of hello.c */
  unsigned workers;
  pthread_mutex_t cancel_lock; /* guards what is below; taken alone */
  wg_list keys[256]; /* of wg_session.by_key: whom a cancel request can mean */
};

typedef enum wg_worker_state { WORKER_RUNNING, WORKER_DRAINING, WORKER_DRAINED } wg_worker_state;

struct wg_db_worker {
  wg_db *db;
  const wg_loop *loop;
  wg_dns *dns;
  wg_worker_state state; /* changed by worker_enter() only */
  bool freeing;
  bool sweeps; /* guests' keys that nobody uses are to go, from the loop */
  wg_deadlines *deadlines;
  wg_list locals; /* of wg_local.by_worker */
  wg_local **by_database; /* [config->database_count], for declared names; NULL: not yet */
  wg_list servers; /* of wg_server.by_worker: all that live on this thread */
  wg_list busy; /* of wg_server.by_busy */
  wg_list guests;
  wg_guard *guards; /* sessions that somebody up the stack still needs */
  uint64_t next_serial; /* of handles */
  wg_log_ctx log;
  uv_async_t wake; /* from other workers */
  pthread_mutex_t inbox_lock;
  wg_list inbox; /* of wg_server.by_worker, SRV_MOVING */
  wg_list cancel_inbox; /* from and to other workers. Under the db's cancel_lock */
  wg_list cancels; /* that this worker forwards */
  wg_deadline drain;
  void (*drained)(void *user);
  void *drained_user;
};

/** The worker's side of the pool for a database of warp.toml; both are made at need.
 *  @param database  the guest's wish, used where `config` names none
 *  @param who       NULL: the service
 *  @param shape     as the codec says */
WG_MUSTCHECK wg_code wg__worker_pool(wg_db_worker *w, const wg_database_config *config,
                                     const char *database, size_t database_len,
                                     const wg_credentials *who, uint64_t shape, wg_local **out,
                                     wg_error *err);
static inline uint64_t wg__db_now(const wg_db_worker *w) { return wg_now_ms(&w->loop->clock); }
/** A server is gone: perhaps draining is done. */
void wg__worker_check_drained(wg_db_worker *w);

/* ---- a guest and its sessions: session.c ---- */

/** wg_db_req.state */
enum { REQ_NONE, REQ_QUEUED, REQ_GRANTED, REQ_WAITING };

typedef enum wg_session_state {
  SES_STARTING, /**< the guest's start-up, before there is a server */
  SES_QUEUED, /**< the pool was asked for one */
  SES_GREETING, /**< the guest's start-up, answered from memory */
  SES_SETTING, /**< the server is asked to take the guest's parameters */
  SES_CANCELING, /**< the start-up was a cancel request; its end is awaited */
  SES_RUNNING, /**< bytes pass */
  SES_ENDED, /**< the guest said goodbye or was refused; answers on their way still pass */
  SES_LOST /**< no server any more */
} wg_session_state;

struct wg_session {
  wg_node by_guest;
  uint64_t handle;
  wg_db_guest *guest;
  wg_server *srv; /* NULL: SES_STARTING, SES_QUEUED, SES_CANCELING, SES_LOST */
  wg_node by_key; /* in db->keys, from the welcome until the server is taken away */
  uint64_t key; /* 0: none, or void */
  wg_cancel *cancel; /* CANCELING */
  const wg_database_config *place; /* CANCELING: whose server it had; NULL: by host and port */
  wg_db_req lease; /* QUEUED */
  char *host; /* STARTING: where the guest's socket is connected to */
  uint16_t port;
  const wg_database_config *config; /* of a guest's connect; NULL: the start-up chooses */
  bool probing; /* QUEUED: only to learn how the server greets */
  char *given_user; /* of the same, with its password */
  wg_secret given;
  wg_wire_guest *wire;
  wg_session_state state; /* changed by wg__session_enter() only */
  bool used; /* the server saw something of this guest */
  bool hung_up; /* ENDED: the server was told, and ends when it has answered */
  bool cut; /* LOST in the middle of a message */
  bool swallowed; /* LOST: one send was taken without effect */
  unsigned shut; /* WG_WATCH_* directions that the guest has shut down */
  wg_db_req *waiting[2]; /* [0] to read, [1] to write */
  wg_deadline talk; /* SETTING */
  wg_buf to_guest; /* our own answers, before the server's bytes */
};

struct wg_db_guest {
  wg_node by_worker;
  wg_db_worker *worker;
  wg_list connects, waits; /* of wg_db_req.by_guest */
  wg_list turns; /* of wg_turn.by_guest */
  wg_list sessions;
  wg_session **slots; /* handle & 0xFFFF is the index */
  size_t slot_count;
};

/** The request gets its server. */
void wg__session_granted(wg_db_req *req, wg_server *srv);
/** Ends a queued request with a failure. */
void wg__req_fail(wg_db_req *req, const wg_error *err);
/** The server of a session became ready in some direction. */
void wg__session_on_ready(wg_session *s, unsigned events);
/** The server of a session is cut by the host (drain). */
void wg__session_cut(wg_session *s, const wg_error *err);

void wg__session_enter(wg_session *s, wg_session_state next);
void wg__session_bind(wg_session *s, wg_server *srv);
/** Takes the server away from the session. */
wg_server *wg__session_detach(wg_session *s);
/** Ends the waits that the session's new state has an answer for. Their callbacks may close it. */
void wg__session_changed(wg_session *s);
/** The server is of no more use: the guest reads what it was already told, then why, then the
 *  end. Waiters are woken; the caller must not use `s` afterwards unless guarded. */
void wg__session_lose(wg_session *s, const char *why);
/** A session without a server gets none: the guest reads why, then the end. As above. */
void wg__session_refuse(wg_session *s, const wg_error *why);

/* ---- a session that its guest ends: goodbye.c ---- */

/** To ENDED: the guest says no more, or is to. It reads what is still owed, then the end. `s` may be
 *  gone afterwards. */
void wg__session_end(wg_session *s);
/** ENDED: goes on, after something that was owed has come. The same. */
void wg__session_finish(wg_session *s);
/** The guest is done, and was told all it asked for: its server is the pool's, however long the guest
 *  keeps its socket, where it reads what is left, then the end. The same. */
void wg__session_part(wg_session *s);
/** ENDED, nothing more will come, and nothing is owed. */
bool wg__session_over(const wg_session *s);
/** Gives a server that was the session's back to the pool. @param fit  the protocol is idle */
void wg__session_return(const wg_session *s, wg_server *srv, bool fit);
/** Says the rest of a goodbye that was not taken at once. */
void wg__goodbye_say(wg_server *srv);

/* ---- how servers greet: hello.c ---- */

/** A server has logged in: keeps what it said first, where the protocol has it speak first. */
void wg__hello_learn(const wg_server *srv);
/** What a server of this database said first.
 *  @return false: none has logged in yet */
bool wg__hello_known(wg_db *db, const wg_database_config *config, wg_wire_hello *out);
/** A guest needs log-ins of this shape: it is the next guess. */
void wg__hello_shape(wg_db *db, const wg_database_config *config, uint64_t shape);
/** The shape that a guest of this database is likely to need. */
uint64_t wg__hello_guess(wg_db *db, const wg_database_config *config);
void wg__hellos_free(wg_db *db);

/* ---- a guest's start-up: startup.c ---- */

/** STARTING, no byte came yet: greets where the protocol has the server speak first. Where no server
 *  was met it meets one before; what comes of that may come later.
 *  `s` may be gone afterwards */
void wg__startup_greet(wg_session *s);

/** STARTING, GREETING: takes bytes of it.
 *  @return bytes taken, or a negative wg_code; `s` may be gone afterwards */
ssize_t wg__startup_take(wg_session *s, const uint8_t *p, size_t n, wg_error *err);
/** QUEUED: the pool gives a server. */
void wg__startup_leased(wg_session *s, wg_server *srv);
/** SETTING: the server answers. */
void wg__startup_talk(wg_session *s);
/** SETTING: the server did not answer in time. */
void wg__startup_expired(wg_deadline *d);
/** A session's cancel request is done with: the guest reads the end of the stream. */
void wg__session_canceled(wg_session *s);

/* ---- cancel requests: cancel.c ---- */

/** The session has its server and has told its guest the key (wire->key). */
void wg__cancel_register(wg_session *s);
/** Before the session's server is taken away: its key means nothing from now on. */
void wg__cancel_void(wg_session *s);
/** A guest wants canceled what the session of this key runs. Ends in wg__session_canceled(), which
 *  may come before this returns, unless the sender is closed: then the request goes on alone. */
void wg__cancel_ask(wg_session *sender, uint64_t key);
/** The sender's session is being freed. */
void wg__cancel_forget(wg_session *sender);
/** Something is in the worker's inbox. */
void wg__cancels_arrived(wg_db_worker *w);
/** True while the worker forwards one to a server of this pool; its session may be gone. */
bool wg__cancels_use(const wg_db_worker *w, const wg_pool *pool);
/** The worker is going, its guests and servers are gone: ends all. */
void wg__cancels_stop(wg_db_worker *w);
/** The server connection is going: what is on its way to it is nobody's fence any more. */
void wg__cancels_orphan(wg_server *srv);

/* ---- loopback.c ---- */

/** True when the target is on this machine and such databases need no declaration. */
bool wg__loopback_meant(const wg_db *db, const wg_db_target *t);
/** Finds or makes the database of a target that wg__loopback_meant() and whose texts are checked.
 *  @param out  valid as long as the db
 *  @return WG_OK; WG_INVALID, WG_EXHAUSTED, WG_NOMEM */
WG_MUSTCHECK wg_code wg__loopback_match(wg_db_worker *w, const wg_db_target *t,
                                        const wg_database_config **out, wg_error *err);
/** All pools must be gone. */
void wg__loopbacks_free(wg_db *db);

/* ---- target.c ---- */

/** The protocol that is spoken at a host and port: that of the first database declared there.
 *  @param len  in, out: the bytes of the host that name it; NAME.db.DOMAIN becomes NAME
 *  @return false when none is declared there */
bool wg__target_at(const wg_config *config, const char *host, size_t *len, uint16_t port,
                   wg_db_protocol *protocol);

/** The first database declared there, as wg__target_at() cut the host; NULL: none. */
const wg_database_config *wg__target_first(const wg_config *config, const char *host,
                                           uint16_t port);

/** True when a guest's connection to this host (as wg__target_at() cut it) and port means `d`. */
bool wg__target_fits(const wg_database_config *d, const char *host, uint16_t port);
/** True when two declarations are of one server. */
bool wg__target_same_place(const wg_database_config *a, const wg_database_config *b);

/** "postgres", "mysql", "redis"; NULL for others. */
const char *wg_db_protocol_name(wg_db_protocol protocol);

/** Finds the declared database that a guest means.
 *  @return WG_OK; WG_INVALID, WG_UNSUPPORTED, WG_REFUSED with a hint that shows the lines to add */
WG_MUSTCHECK wg_code wg__target_match(const wg_config *config, const wg_db_target *target,
                                      const wg_database_config **out, wg_error *err);
