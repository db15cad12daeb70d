/* SPDX-License-Identifier: Apache-2.0 */
/** @file db.h  The database proxy as the rest of the host sees it.
 *
 *    wg_db        one a process: declared databases, and per pool key the limit, the idle list and
 *                 the queue of waiters that workers share (one short mutex, never held over I/O)
 *    wg_db_worker one a worker: its loop, its server connections, its sessions
 *    wg_db_guest  one a guest instance: its handles. Dies with the instance, which gives back or
 *                 closes every session it left open
 *
 *  Everything but wg_db_new/_free runs on the worker's thread. */
#pragma once
#include "config/config.h"
#include "dns/dns.h"
#include "net/deadline.h"
#include "net/watch.h"
#include <sys/types.h>

typedef struct wg_db wg_db;
typedef struct wg_db_worker wg_db_worker;
typedef struct wg_db_guest wg_db_guest;

/** @param config  borrowed; must outlive the wg_db */
WG_MUSTCHECK wg_code wg_db_new(const wg_config *config, wg_db **out, wg_error *err);
/** All workers must be gone. */
void wg_db_free(wg_db *db);

/** @param loop, dns  borrowed; must outlive the worker */
WG_MUSTCHECK wg_code wg_db_worker_new(wg_db *db, const wg_loop *loop, wg_dns *dns,
                                      wg_db_worker **out, wg_error *err);
/** Starts draining: new connects are refused, idle connections are closed now, leased ones when
 *  they come back. `done` comes once from the loop when no server connection is left, or after
 *  the longest drain_timeout_ms, when the rest were cut. */
void wg_db_worker_drain(wg_db_worker *w, void (*done)(void *user), void *user);
/** Cuts what is left. All guests must be gone; run the loop until it is empty before closing it. */
void wg_db_worker_free(wg_db_worker *w);

WG_MUSTCHECK wg_code wg_db_guest_new(wg_db_worker *w, wg_db_guest **out, wg_error *err);
/** Cancels its waits and connects (their callbacks do not come) and gives back or closes its
 *  sessions. Not from inside a wg_db_ function called with the same guest. NULL is fine. */
void wg_db_guest_free(wg_db_guest *g);

/** The guest's wish; all strings borrowed for the call, not NUL-terminated. */
typedef struct wg_db_target {
  wg_db_protocol protocol;
  const char *host;
  size_t host_len;
  uint16_t port;
  const char *database;
  size_t database_len;
  const char *user;
  size_t user_len;
  const char *password;
  size_t password_len; /**< NULL: none given */
} wg_db_target;

/** A connect or a wait in progress; caller's memory at a stable address until the callback or the
 *  cancel. Fields are the implementation's own. */
typedef struct wg_db_req {
  wg_node node; /**< in the pool's queue of waiters, or among those promised a server */
  wg_node by_guest; /**< in the guest's list */
  wg_deadline deadline;
  void (*done)(struct wg_db_req *req, const wg_error *err);
  void *user; /**< the caller's */
  uint64_t handle; /**< connect: the new handle, when err is NULL */
  uint64_t since_ms; /**< when the wait began */
  void *impl, *impl2;
  void *session; /**< a session that waits for its server; NULL: a guest's connect or wait */
  uint32_t state;
  uint32_t events;
} wg_db_req;

/** Asks for a session. @param done  called exactly once unless canceled; may be called before this
 *  function returns. err: WG_REFUSED (not declared; hint shows the lines), WG_UNSUPPORTED,
 *  WG_EXHAUSTED (waiters or deadline in the queue), WG_TIMEOUT, WG_IO, WG_AUTH, WG_INVALID. */
void wg_db_connect(wg_db_guest *g, const wg_db_target *target, wg_db_req *req,
                   void (*done)(wg_db_req *req, const wg_error *err), void *user);
/** Opens a session whose database the guest's own start-up chooses, as a socket that is connected to
 *  a declared host does. Never waits: the pool is asked when the start-up is whole, and failures are
 *  told in the protocol's own words, then end of stream.
 *  @param host  a declared host, a database's name, or NAME.db.DOMAIN; not NUL-terminated
 *  @return WG_OK and the handle; WG_NOT_FOUND: none is declared there; WG_REFUSED, WG_EXHAUSTED,
 *  WG_NOMEM */
WG_MUSTCHECK wg_code wg_db_open(wg_db_guest *g, const char *host, size_t host_len, uint16_t port,
                                uint64_t *handle, wg_error *err);
/** Synchronous: req is the caller's again, and its callback does not come. */
void wg_db_cancel(wg_db_guest *g, wg_db_req *req);

/** Takes bytes from the guest. Never blocks.
 *  @return bytes taken (0 only when n is 0); or a negative wg_code: WG_AGAIN (wait for
 *  WG_WATCH_WRITE; *err is not set), WG_INVALID (handle), WG_LOST, WG_PROTOCOL. The first send after
 *  the server went may be taken all the same: what recv gives then says why. */
ssize_t wg_db_send(wg_db_guest *g, uint64_t handle, const uint8_t *p, size_t n, wg_error *err);
/** Gives bytes to the guest. Never blocks.
 *  @return 1..cap; 0: the peer closed; negative as above, WG_AGAIN: wait for WG_WATCH_READ. When the
 *  server is lost between two messages the guest gets an ErrorResponse with SQLSTATE 08006, then 0;
 *  in the middle of one what came of it, then WG_LOST. */
ssize_t wg_db_recv(wg_db_guest *g, uint64_t handle, uint8_t *p, size_t cap, wg_error *err);
/** Waits until send or recv will not answer WG_AGAIN, or until the deadline (WG_TIMEOUT).
 *  @param events    WG_WATCH_READ or WG_WATCH_WRITE; one wait per direction and handle at a time
 *  @param deadline  true: recv_timeout_ms/send_timeout_ms apply; false: none (streams, sockets)
 *  done may be called before this returns. */
void wg_db_wait(wg_db_guest *g, uint64_t handle, unsigned events, bool deadline, wg_db_req *req,
                void (*done)(wg_db_req *req, const wg_error *err), void *user);
/** True when a server's answer to this session is worth looking for before the thread sleeps. */
bool wg_db_spins(const wg_db_guest *g, uint64_t handle);
/** The guest is done with a direction. Writing: as its goodbye; answers that are owed still come.
 *  @param how  WG_WATCH_READ, WG_WATCH_WRITE or both */
WG_MUSTCHECK wg_code wg_db_shutdown(wg_db_guest *g, uint64_t handle, unsigned how, wg_error *err);
/** Gives the session back: it is reset for the next guest, or closed when anything is owed or half
 *  said. Waits on it end with WG_CANCELED. */
WG_MUSTCHECK wg_code wg_db_close(wg_db_guest *g, uint64_t handle, wg_error *err);

/** True when both list the same servers in the same order and want the same of them. */
bool wg_db_same_hosts(const wg_database_config *a, const wg_database_config *b);

/** Why a connection to a server could not be had, or was no good. */
typedef enum wg_db_cause {
  WG_DB_CAUSE_CONNECT, /**< nobody answers there, or the name has no address */
  WG_DB_CAUSE_AUTH, /**< the server refuses the credentials */
  WG_DB_CAUSE_TLS,
  WG_DB_CAUSE_ROLE, /**< no server is what target_session_attrs asks for */
  WG_DB_CAUSE_BUSY, /**< the server takes no more connections now */
  WG_DB_CAUSE_TIMEOUT, /**< no answer to connect or log-in in time */
  WG_DB_CAUSE_PROTOCOL, /**< what is said there is not the protocol */
  WG_DB_CAUSE_RESET, /**< did not stand the reset between two guests */
  WG_DB_CAUSE_PING, /**< did not stand the check of idle connections */
  WG_DB_CAUSE_LOST, /**< ended by the server or the network after the log-in */
  WG_DB_CAUSES
} wg_db_cause;
/** "connect", "auth", ... */
const char *wg_db_cause_name(wg_db_cause cause);

enum { WG_DB_WAIT_BUCKETS = 13 };
/** Upper bounds of the buckets of waiting times, ms: 1 to 10,000. */
extern const uint32_t wg_db_wait_bounds[WG_DB_WAIT_BUCKETS];

/** Statistics of one pool key, all workers. */
typedef struct wg_db_stats {
  char name[64]; /**< of [databases.NAME] */
  char database[64]; /**< on the server: guests may choose where warp.toml names none */
  uint32_t active, idle, total, waiting, limit;
  uint64_t connects; /**< logins to the server */
  uint64_t leases; /**< sessions given to guests */
  uint64_t reuses; /**< of them, from the idle list */
  uint64_t wait_ms_total; /**< from a guest's wish to its session, of all leases */
  uint64_t waits[WG_DB_WAIT_BUCKETS + 1]; /**< leases by that time; the last: longer than all */
  uint64_t resets; /**< sessions cleaned for the next guest */
  uint64_t timeouts; /**< guests that waited in vain */
  uint64_t failures; /**< attempts to connect */
  uint64_t reaped; /**< closed because nobody used them */
  uint64_t unhealthy; /**< closed because they were no good any more, without a guest */
  uint64_t by_cause[WG_DB_CAUSES]; /**< all of those, and what guests lost */
  uint64_t received, sent; /**< bytes of the protocol, those of TLS not counted */
} wg_db_stats;
/** Calls back once a key, with auth = "guest" once a database for the keys of all guests, with the
 *  counts of those that are gone; thread-safe. */
void wg_db_each_stats(wg_db *db, void (*cb)(void *user, const wg_db_stats *s), void *user);
