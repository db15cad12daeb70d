/* SPDX-License-Identifier: Apache-2.0 */
/** @file wgrt.h  C ABI of crates/warpgrid-runtime: Wasmtime, HTTP and host functions for the C host.
 *
 *  Written by hand; tests/unit/runtime/abi_test.c compares sizes and offsets with the Rust side.
 *  Internal to libwarpgrid: no embedder sees it.
 *
 *  Conventions. Functions return 0 or -1 with *err filled. wgrt_bytes are borrowed for the call.
 *  Rust never unwinds into C: a panic in the crate logs and aborts. Every pointer that C hands over
 *  for longer than a call says so. All calls on a worker happen on its thread unless marked
 *  "any thread". */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define WGRT_ABI_VERSION 4u

typedef struct wgrt_bytes {
  const uint8_t *p;
  size_t n;
} wgrt_bytes;
/** What went wrong, for people. */
typedef struct wgrt_error {
  int32_t kind; /**< WGRT_ERR_* */
  char msg[1020]; /**< NUL-terminated, cut with "..." */
} wgrt_error;
enum {
  WGRT_ERR_OTHER = 1,
  WGRT_ERR_IO = 2, /**< file or socket */
  WGRT_ERR_COMPONENT = 3, /**< not a component, truncated, wrong version */
  WGRT_ERR_LINK = 4, /**< an import is not to be had */
  WGRT_ERR_EXPORT = 5, /**< no HTTP handler / no command to run */
  WGRT_ERR_UNTRUSTED = 6, /**< a precompiled file without permission to load it */
  WGRT_ERR_TRAP = 7
};

uint32_t wgrt_abi_version(void);
/** "48.0.8": the Wasmtime this was built with. Static. */
const char *wgrt_wasmtime_version(void);
/** Sizes and offsets of every struct of this header as the Rust side sees them, in the order of
 *  abi_test.c; returns how many there are and writes at most cap. */
size_t wgrt_abi_layout(uint32_t *out, size_t cap);

/* ---- TOML grammar (keys and their meaning are C's) ---- */
typedef enum wgrt_toml_type {
  WGRT_TOML_STRING = 1,
  WGRT_TOML_INT,
  WGRT_TOML_FLOAT,
  WGRT_TOML_BOOL,
  WGRT_TOML_DATETIME,
  WGRT_TOML_TABLE_BEGIN,
  WGRT_TOML_TABLE_END,
  WGRT_TOML_ARRAY_BEGIN,
  WGRT_TOML_ARRAY_END
} wgrt_toml_type;
typedef struct wgrt_toml_event {
  uint32_t type; /**< wgrt_toml_type */
  uint32_t line, column; /**< 1-based, in characters: of the key if there is one, else the value */
  uint32_t value_line, value_column;
  wgrt_bytes key; /**< empty for array items and the document itself */
  wgrt_bytes string; /**< STRING: its text; FLOAT, DATETIME: as written */
  int64_t integer; /**< INT, BOOL */
} wgrt_toml_event;
/** Walks a document depth first, the whole of it between one TABLE_BEGIN and TABLE_END.
 *  @param event  returns 0 to go on; anything else ends the walk with that value
 *  @return 0; what event returned; -1 with "line:column: message" in err->msg for bad grammar */
int wgrt_toml_walk(wgrt_bytes text, int (*event)(void *user, const wgrt_toml_event *e), void *user,
                   wgrt_error *err);

/* ---- engine: one a process, any thread ---- */
typedef struct wgrt_engine wgrt_engine;
typedef struct wgrt_engine_cfg {
  uint32_t size; /**< sizeof, for growth of the ABI */
  uint32_t epoch_ms; /**< tick of the epoch thread; 0: no interruption */
  uint32_t max_instances; /**< component instances at once in the process */
  uint32_t max_tasks; /**< guest calls in progress at once: each may hold a stack while it waits */
  uint64_t max_memory_bytes; /**< largest linear memory of any app */
  wgrt_bytes cache_dir; /**< compilation cache; empty: none */
} wgrt_engine_cfg;
int wgrt_engine_new(const wgrt_engine_cfg *cfg, wgrt_engine **out, wgrt_error *err);
/** Components, apps and workers made from it must be gone. NULL is fine. */
void wgrt_engine_free(wgrt_engine *e);
/** Requests in flight, all workers and apps. */
uint32_t wgrt_engine_inflight(const wgrt_engine *e);

/* ---- components: any thread ---- */
typedef struct wgrt_component wgrt_component;
typedef enum wgrt_kind {
  WGRT_KIND_OTHER = 0, /**< exports neither */
  WGRT_KIND_P2_HTTP = 1, /**< wasi:http/incoming-handler@0.2.x */
  WGRT_KIND_P3_HTTP = 2, /**< wasi:http/handler@0.3.x */
  WGRT_KIND_P2_COMMAND = 3, /**< wasi:cli/run@0.2.x */
  WGRT_KIND_P3_COMMAND = 4 /**< wasi:cli/run@0.3.x */
} wgrt_kind;
/** Loads .wasm, .wat text, or .cwasm (native code: only with trusted != 0).
 *  Tells apart: a missing file, an empty file, a core module, other bytes, a truncated component. */
int wgrt_component_load(wgrt_engine *e, wgrt_bytes path, int trusted, wgrt_component **out,
                        wgrt_error *err);
int wgrt_component_from_bytes(wgrt_engine *e, wgrt_bytes wasm, wgrt_component **out,
                              wgrt_error *err);
/** Writes the compiled code (.cwasm), through a temporary name. */
int wgrt_component_save(wgrt_component *c, wgrt_bytes path, wgrt_error *err);
wgrt_kind wgrt_component_kind(const wgrt_component *c);
/** Names each import and export, such as "wasi:http/types@0.2.12". */
void wgrt_component_each(const wgrt_component *c,
                         void (*item)(void *user, int is_export, wgrt_bytes name), void *user);
void wgrt_component_free(wgrt_component *c);

/* ---- apps: component + linker + policy; any thread, immutable ---- */
typedef struct wgrt_app wgrt_app;
typedef struct wgrt_preopen {
  wgrt_bytes host, guest;
  uint32_t writable, reserved;
} wgrt_preopen;
enum { /* which host interfaces go into the linker; FILESYSTEM and DNS also shadow those of WASI */
       WGRT_LINK_FILESYSTEM = 1u << 0,
       WGRT_LINK_DNS = 1u << 1,
       WGRT_LINK_SIGNALS = 1u << 2,
       WGRT_LINK_DATABASE_PROXY = 1u << 3,
       WGRT_LINK_THREADING = 1u << 4,
       WGRT_LINK_ALL = (1u << 5) - 1
};
/** What this version of the runtime has of an interface such as "warpgrid:shim/dns@0.1.0".
 *  @param is_export  0: of what guests may import; 1: of what is called in them
 *  @param link       gets its WGRT_LINK_ bit; 0: none, or always linked
 *  @param version    is told each version that there is ("0.2.12"), in ascending order
 *  @return 1 when one of these serves a guest that was built with the version in the name: the same
 *          one, or one of the same minor series (0.3.x); drafts ("0.3.0-rc") serve only themselves */
int wgrt_implements(wgrt_bytes interface_name, int is_export, uint32_t *link,
                    void (*version)(void *user, wgrt_bytes version), void *user);

typedef struct wgrt_app_cfg {
  uint32_t size;
  uint32_t link; /**< WGRT_LINK_* */
  void *app; /**< C's own; handed to host callbacks */
  const wgrt_bytes *env;
  size_t env_count; /**< "K=V" */
  const wgrt_bytes *args;
  size_t arg_count; /**< for commands; args[0] is the name */
  const wgrt_preopen *preopens;
  size_t preopen_count;
  uint64_t memory_bytes;
  uint64_t body_bytes; /**< 0: no limit */
  uint32_t reuse; /**< requests in the life of an instance; >= 1 */
  uint32_t max_concurrent; /**< p3: requests at once in an instance; >= 1 */
  uint32_t max_inflight; /**< requests in flight, all workers and apps */
  uint32_t request_timeout_ms;
  uint32_t instance_idle_ms;
  uint32_t inherit_stdio; /**< commands: stdin, stdout and stderr are the process's */
  uint32_t host_names; /**< without LINK_DNS: 1 lets guests ask the system's resolver */
  uint32_t reserved;
} wgrt_app_cfg;
/** Links; the component and the engine must outlive the app. */
int wgrt_app_new(wgrt_engine *e, wgrt_component *c, const wgrt_app_cfg *cfg, wgrt_app **out,
                 wgrt_error *err);
void wgrt_app_free(wgrt_app *a);

/* ---- host operations ----
 * An op lives in memory of Rust at a stable address from start until wgrt_op_complete() or cancel.
 * C may complete it inside start ("inline"). After complete or cancel C must not touch it. Bytes it
 * borrows (strings of connect) are valid as long as the op. */
typedef struct wgrt_op {
  void *priv; /**< C's own, from start to the end */
  void *priv2;
} wgrt_op;
typedef struct wgrt_op_db_connect {
  wgrt_op op;
  uint32_t protocol; /**< wg_db_protocol */
  uint32_t port;
  wgrt_bytes host, database, user, password;
  uint32_t has_password, reserved;
  uint64_t handle; /**< out */
  uint64_t space[24]; /**< C's own: room for its request, so that nothing is allocated */
} wgrt_op_db_connect;
typedef struct wgrt_op_db_wait {
  wgrt_op op;
  uint64_t handle;
  uint32_t events; /**< 1 = receive, 2 = send */
  uint32_t deadline; /**< 1: the configured timeout applies */
  uint32_t spin; /**< out, before it completes: 1: an answer that may come soon is awaited */
  uint32_t reserved;
  uint64_t space[24];
} wgrt_op_db_wait;
/** An IP address and how long it may be kept. */
typedef struct wgrt_address {
  uint8_t family; /**< 4 or 6 */
  uint8_t reserved[3];
  uint32_t ttl_s;
  uint8_t bytes[16]; /**< network order; IPv4: the first four */
} wgrt_address;
enum { WGRT_RESOLVE_ADDRESSES, WGRT_RESOLVE_REVERSE, WGRT_RESOLVE_RECORDS };
/** ADDRESSES: status 0, out[0..count). REVERSE: 1 and the name as msg, or 0 for none. RECORDS: 1 and
 *  a line "TTL DATA" for each as msg, or 0 for none. Failures: WG_INVALID (not a host name),
 *  WG_NOT_FOUND, others are temporary. */
typedef struct wgrt_op_resolve {
  wgrt_op op;
  uint32_t what; /**< WGRT_RESOLVE_* */
  uint32_t rrtype; /**< RECORDS: position in `rrtype` of the WIT */
  wgrt_bytes name; /**< as the guest gave it */
  wgrt_address address; /**< REVERSE: of which */
  wgrt_address *out; /**< ADDRESSES: room for cap */
  uint32_t cap, count;
  uint64_t space[24]; /**< C's own */
} wgrt_op_resolve;
typedef struct wgrt_op_signal {
  wgrt_op op;
  uint64_t space[4]; /**< C's own */
} wgrt_op_signal;
enum { WGRT_TCP_DATABASE = 1, WGRT_TCP_REAL = 2 };
/** Where a guest's TCP connection goes. Status 0 and one of:
 *    DATABASE: `handle` is a session that db_send, db_recv, db_wait, db_shutdown and db_close take;
 *    REAL: the guest's socket is connected to `real`.
 *  Failures: WG_REFUSED (not allowed), others: it cannot be reached. */
typedef struct wgrt_op_tcp_connect {
  wgrt_op op;
  wgrt_address to; /**< as the guest said; ttl_s is 0 */
  uint32_t port;
  uint32_t route; /**< out: WGRT_TCP_* */
  uint64_t handle; /**< out, DATABASE */
  wgrt_address real; /**< out, REAL: of the same family as `to` */
  uint32_t real_port; /**< out, REAL */
  uint32_t reserved;
  uint64_t space[24]; /**< C's own */
} wgrt_op_tcp_connect;
typedef struct wgrt_op_admin {
  wgrt_op op;
  wgrt_bytes method, path; /**< without the query */
  wgrt_bytes host; /**< the Host header; empty: none */
  wgrt_bytes origin; /**< the Origin header: a browser's page asks; empty: none */
  uint32_t json; /**< out: the answer is JSON; 0: plain text */
  uint32_t reserved;
} wgrt_op_admin;
/** Ends an op, at most once. @param status  0 or a negative wg_code; admin: the HTTP status
 *  @param msg  the sentence for people when status < 0; admin: the body; copied; may be NULL */
void wgrt_op_complete(wgrt_op *op, int32_t status, const char *msg);

/** What a guest path stands for. */
/** How a guest's HTTP request ended, and what it went by. */
typedef enum wgrt_outgoing {
  WGRT_OUTGOING_ANSWERED, /**< the head of an answer came */
  WGRT_OUTGOING_FAILED,
  WGRT_OUTGOING_CONNECTED, /**< a new connection */
  WGRT_OUTGOING_KEPT, /**< a connection that was kept */
  WGRT_OUTGOING_IN_PROCESS, /**< a service of this process */
  WGRT_OUTGOING_COUNT,
} wgrt_outgoing;

typedef enum wgrt_node_type {
  WGRT_NODE_NONE, /**< not virtual */
  WGRT_NODE_FILE,
  WGRT_NODE_DIRECTORY,
  WGRT_NODE_DEVICE, /**< of endless or no content */
  WGRT_NODE_MISSING, /**< below a directory of which nothing real is seen, and not there */
  WGRT_NODE_OUTSIDE /**< leaves `base` by "..", or is absolute: WASI refuses it */
} wgrt_node_type;
enum {
  WGRT_NODE_WRITABLE = 1u << 0, /**< takes writes */
  WGRT_NODE_WHOLE = 1u << 1, /**< a directory of which nothing real is seen */
  WGRT_NODE_AS_DIRECTORY = 1u << 2, /**< the path asked for a directory: it ended with "/" or "." */
  WGRT_NODE_BELOW_FILE = 1u << 3 /**< MISSING: what it would be in is no directory */
};
enum { WGRT_PATH_MAX = 4096 };
typedef struct wgrt_node {
  uint32_t type; /**< wgrt_node_type */
  uint32_t flags; /**< WGRT_NODE_* flags */
  uint64_t id; /**< within its app; 0: none */
  uint64_t size; /**< bytes of a file */
} wgrt_node;

/** What C gives each worker. Every function runs on the worker's thread; none may block, none may be
 *  NULL. */
typedef struct wgrt_host {
  uint32_t size;
  uint32_t spin; /**< 1: look for the answers of databases for a short time before sleeping */
  void *ctx; /**< first argument of all others */
  /* libuv, nested in the worker's poller */
  int (*backend_fd)(void *ctx);
  int (*backend_timeout)(void *ctx); /**< ms, -1: none, 0: run at once */
  void (*run_nowait)(void *ctx);
  /* which app gets a request: NULL for none; host as the client wrote it, path raw. The app comes
   * with a use, which ends with app_unuse when the response was sent whole or the client went away.
   * Whatever may still make instances of an app holds a use of its own, from app_use on. */
  const wgrt_app *(*route)(void *ctx, wgrt_bytes host, wgrt_bytes path);
  void (*app_use)(void *ctx, void *app);
  void (*app_unuse)(void *ctx, void *app);
  /* a request to a listener for the admin */
  void (*admin)(void *ctx, wgrt_op_admin *op);
  void (*admin_cancel)(void *ctx, wgrt_op_admin *op);
  /* guest instances */
  void *(*instance_new)(void *ctx, void *app); /**< C's own for one instance; NULL: out of memory */
  void (*instance_gone)(void *ctx, void *instance); /**< its ops are canceled already */
  /* database-proxy; send and recv return bytes or a negative wg_code, and never wait */
  void (*db_connect)(void *ctx, void *instance, wgrt_op_db_connect *op);
  void (*db_connect_cancel)(void *ctx, void *instance, wgrt_op_db_connect *op);
  /** A session whose start-up says which database it means; never waits.
   *  @return 0 or a negative wg_code: WG_REFUSED when none is declared at the place */
  int32_t (*db_open)(void *ctx, void *instance, wgrt_bytes host, uint32_t port, uint64_t *handle,
                     wgrt_error *err);
  int64_t (*db_send)(void *ctx, void *instance, uint64_t handle, const uint8_t *p, size_t n,
                     wgrt_error *err);
  int64_t (*db_recv)(void *ctx, void *instance, uint64_t handle, uint8_t *p, size_t cap,
                     wgrt_error *err);
  void (*db_wait)(void *ctx, void *instance, wgrt_op_db_wait *op);
  void (*db_wait_cancel)(void *ctx, void *instance, wgrt_op_db_wait *op);
  int32_t (*db_shutdown)(void *ctx, void *instance, uint64_t handle, uint32_t how, wgrt_error *err);
  int32_t (*db_close)(void *ctx, void *instance, uint64_t handle, wgrt_error *err);
  /* sockets */
  void (*tcp_connect)(void *ctx, void *instance, wgrt_op_tcp_connect *op);
  void (*tcp_connect_cancel)(void *ctx, void *instance, wgrt_op_tcp_connect *op);
  /** The service of this process that a guest calls by its DNS name, with a use as from `route`;
   *  NULL: none has it. */
  const wgrt_app *(*http_service)(void *ctx, void *instance, wgrt_bytes host);
  /** Counts what came of the guest's HTTP requests: a wgrt_outgoing. */
  void (*outgoing)(void *ctx, void *instance, uint32_t what);
  /* virtual files */
  /** Looks a path up after canonicalising it.
   *  @param base  canonical guest path of the directory that the path counts from; empty: the path
   *               must be absolute
   *  @param canonical  WGRT_PATH_MAX + 1 bytes; gets the canonical path and a NUL; empty when OUTSIDE
   *  @return 0, or WG_INVALID: a NUL byte, longer than WGRT_PATH_MAX, not absolute without a base */
  int32_t (*file_find)(void *ctx, void *instance, wgrt_bytes base, wgrt_bytes path, wgrt_node *out,
                       char *canonical);
  /** Opens the content of a FILE or DEVICE, readable from any position.
   *  @param version  in: of the file the caller has of this node, 0: none; out: the current one's,
   *                  or 0 when each open needs a file of its own
   *  @param fd  the caller's; -1 when the file that the caller has is the current one */
  int32_t (*file_open)(void *ctx, void *instance, uint64_t id, uint64_t *version, int *fd,
                       wgrt_error *err);
  /** The index'th entry of a DIRECTORY, in order of names; name is valid as long as the app.
   *  @return 1, or 0 past the end */
  int32_t (*file_list)(void *ctx, void *instance, uint64_t id, size_t index, wgrt_bytes *name,
                       wgrt_node *out);
  /* names */
  void (*resolve)(void *ctx, void *instance, wgrt_op_resolve *op);
  void (*resolve_cancel)(void *ctx, void *instance, wgrt_op_resolve *op);
  /* signals, by their position in `signal-type` of the WIT */
  void (*signal_interest)(void *ctx, void *instance, uint32_t mask);
  int32_t (*signal_take)(void *ctx, void *instance); /**< the oldest one; -1: none */
  /** Completes once there is one to take. */
  void (*signal_wait)(void *ctx, void *instance, wgrt_op_signal *op);
  void (*signal_wait_cancel)(void *ctx, void *instance, wgrt_op_signal *op);
  /** 1 while somebody waits in signal_wait and there is nothing to take. */
  int32_t (*signal_waiting)(void *ctx, void *instance);
  /** The worker was asked to stop, and guests are told. @return how many asked to be */
  uint32_t (*stopping)(void *ctx);
  /* threading: 0, or -1 when declared before */
  int32_t (*declare_threading)(void *ctx, void *instance, uint32_t model);
  /* what happened */
  /** One line without its newline, at most 8 KiB; request 0: not known. */
  void (*guest_output)(void *ctx, void *app, uint64_t request, int32_t fd, wgrt_bytes line);
  /** The instance ended by a trap or a limit; text carries the cause and the backtrace. */
  void (*guest_failed)(void *ctx, void *app, uint64_t request, wgrt_bytes text);
  /** usec: from the request's head to the response's head; app NULL: no app was found for it. */
  void (*request_done)(void *ctx, void *app, uint64_t request, uint32_t status, uint64_t usec);
} wgrt_host;

/* ---- workers ---- */
typedef struct wgrt_worker wgrt_worker;
/** Makes the worker of the calling thread: one a thread. Apps must outlive it.
 *  @param stop_fd  C's non-blocking EFD_SEMAPHORE eventfd, which must outlive the worker: the first
 *                  1 written to it asks for a stop, the next for one without draining */
int wgrt_worker_new(wgrt_engine *e, const wgrt_host *host, int stop_fd, wgrt_worker **out,
                    wgrt_error *err);
typedef struct wgrt_listen_cfg {
  uint32_t size;
  uint32_t header_bytes; /**< larger heads are refused before they are routed */
  uint32_t admin; /**< 1: requests go to wgrt_host.admin, not to apps */
  uint32_t reserved;
} wgrt_listen_cfg;
/** Serves connections of listening, non-blocking sockets (IPv4, IPv6) that C opened; the fds
 *  become Rust's, also on failure. HTTP/1.1 and h2c. Takes effect in wgrt_worker_run(). */
int wgrt_worker_listen(wgrt_worker *w, const wgrt_listen_cfg *cfg, const int *fds, size_t count,
                       wgrt_error *err);
/** The worker routes nothing more to the app: its idle instances end now, the others with their
 *  last request. */
void wgrt_worker_retire(wgrt_worker *w, const wgrt_app *app);
/** Runs until stopped. Then it closes the listeners, lets requests in flight finish for at most
 *  drain_ms, drops all instances, calls `idle` until that returns 0 (C ends its own work), and
 *  returns 0. */
int wgrt_worker_run(wgrt_worker *w, uint32_t drain_ms, int (*idle)(void *ctx), wgrt_error *err);
/** Runs a command component to its end; *exit_code is the guest's. After a stop it is 130, unless
 *  the guest asked to be told (`stopping`) and ends by itself within drain_ms. A trap is
 *  WGRT_ERR_TRAP. */
int wgrt_worker_run_command(wgrt_worker *w, wgrt_app *app, uint32_t drain_ms, int *exit_code,
                            wgrt_error *err);
/** The loop was changed outside run_nowait (a watcher started, a handle closed): look again soon. */
void wgrt_worker_kick(wgrt_worker *w);
void wgrt_worker_free(wgrt_worker *w);

/* ---- readiness of C's own sockets, edge-triggered as src/net/watch.h says ---- */
typedef struct wgrt_watch wgrt_watch;
int wgrt_watch_start(wgrt_worker *w, int fd, void (*cb)(void *user, unsigned events), void *user,
                     wgrt_watch **out, wgrt_error *err);
void wgrt_watch_arm(wgrt_watch *watch, unsigned events);
void wgrt_watch_stop(wgrt_watch *watch);

/* ---- a small HTTP client for the host's own needs ---- */
typedef struct wgrt_fetch wgrt_fetch;
typedef struct wgrt_fetch_cfg {
  uint32_t size;
  uint32_t timeout_ms; /**< from start to the last byte */
  uint64_t max_bytes; /**< of the body; more is a failure */
  wgrt_bytes url; /**< http://HOST[:PORT][/PATH]; borrowed for the call, as all bytes here */
  wgrt_bytes etag; /**< sent as If-None-Match; empty: none */
  wgrt_bytes authorization; /**< value of that header; empty: none */
  wgrt_bytes address; /**< IP address of HOST; empty: the system's resolver is asked */
} wgrt_fetch_cfg;
/** Comes once unless canceled, from the loop; the fetch is gone then.
 *  @param status  of HTTP; 0: no answer, error says why
 *  @param etag, body  borrowed for the call */
typedef void (*wgrt_fetched)(void *user, uint32_t status, wgrt_bytes etag, wgrt_bytes body,
                             const char *error);
/** GETs a URL. Fails at once for one that is not http://. */
int wgrt_fetch_start(wgrt_worker *w, const wgrt_fetch_cfg *cfg, wgrt_fetched done, void *user,
                     wgrt_fetch **out, wgrt_error *err);
void wgrt_fetch_cancel(wgrt_fetch *f);
