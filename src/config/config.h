/* SPDX-License-Identifier: Apache-2.0 */
/** @file config.h  warp.toml, read whole, checked whole, immutable afterwards.
 *  Shared by all workers behind one pointer; freed when the last user is gone. */
#pragma once
#include "base/buf.h"
#include "net/allow.h"
#include <stdatomic.h>

/** The shims of `[shims]`; bit positions of wg_config.shims. */
enum {
  WG_SHIM_FILESYSTEM = 1u << 0,
  WG_SHIM_DNS = 1u << 1,
  WG_SHIM_SIGNALS = 1u << 2,
  WG_SHIM_DATABASE_PROXY = 1u << 3,
  WG_SHIM_THREADING = 1u << 4,
  WG_SHIM_ALL = (1u << 5) - 1
};

typedef enum wg_db_protocol { WG_DB_POSTGRES, WG_DB_MYSQL, WG_DB_REDIS } wg_db_protocol;
/** Who logs in to a server. */
typedef enum wg_db_auth {
  WG_DB_AUTH_SERVICE, /**< the host, with its own credentials; guests need none */
  WG_DB_AUTH_GUEST, /**< the host, with those of the guest; sessions are shared among equal ones */
  WG_DB_AUTH_RELAY /**< the guest itself; its connection is nobody else's */
} wg_db_auth;
typedef enum wg_db_spin { WG_DB_SPIN_AUTO, WG_DB_SPIN_OFF } wg_db_spin;
typedef enum wg_db_reset { WG_DB_RESET_DISCARD, WG_DB_RESET_CLOSE } wg_db_reset;

/** Pool figures; `[shims.database_proxy]` gives the defaults that `[databases.NAME]` overrides. */
typedef struct wg_pool_config {
  uint32_t pool_size; /**< connections a key may have, all workers; 1..10000 */
  uint32_t max_waiters; /**< guests queued for one key */
  uint32_t connect_timeout_ms; /**< deadline of a guest's connect, queueing included */
  uint32_t idle_timeout_ms; /**< an idle connection is closed after this; 0 = never */
  uint32_t health_interval_ms; /**< idle connections are pinged this often; 0 = never */
  uint32_t recv_timeout_ms; /**< of shim `recv`; 0 = none */
  uint32_t send_timeout_ms; /**< of shim `send`; 0 = none */
  uint32_t slow_wait_ms; /**< a guest that waits longer is logged; 0 = none */
  uint32_t drain_timeout_ms; /**< in-flight work may take this long at stop */
  uint32_t min_idle; /**< idle connections to keep ready; at most pool_size */
  uint32_t max_lifetime_ms; /**< a connection is closed at this age; 0 = never */
  uint32_t tcp_keepalive_ms; /**< silence before the kernel probes; 0 = never */
  uint32_t tcp_user_timeout_ms; /**< unanswered bytes end a connection; 0 = the kernel's */
  wg_db_reset reset;
  wg_db_spin spin; /**< look for answers for a short time before the worker sleeps */
} wg_pool_config;

/** libpq's sslmode, and what holds when nothing is said. */
typedef enum wg_tls_mode {
  WG_TLS_AUTO, /**< VERIFY_FULL; none to this machine, unless another key asks for TLS */
  WG_TLS_DISABLE,
  WG_TLS_ALLOW, /**< in plain text, with TLS when the server refuses that */
  WG_TLS_PREFER, /**< with TLS, in plain text when the server cannot */
  WG_TLS_REQUIRE, /**< the server may be anybody; its issuer is checked when `ca` is given */
  WG_TLS_VERIFY_CA,
  WG_TLS_VERIFY_FULL
} wg_tls_mode;
typedef enum wg_tls_negotiation { WG_TLS_ASK, WG_TLS_DIRECT } wg_tls_negotiation;
typedef enum wg_tls_version { WG_TLS_1_2, WG_TLS_1_3 } wg_tls_version;
typedef enum wg_tls_binding {
  WG_TLS_BINDING_DISABLE,
  WG_TLS_BINDING_PREFER,
  WG_TLS_BINDING_REQUIRE
} wg_tls_binding;

/** How a server is reached under TLS. Owned by the config that it is part of. */
typedef struct wg_tls_config {
  wg_tls_mode mode;
  wg_tls_negotiation negotiation;
  wg_tls_version min_version;
  wg_tls_binding channel_binding;
  char *ca; /**< PEM file of issuers; NULL: the system's */
  char *cert; /**< PEM file of the host's own certificate and its chain; NULL: none */
  char *key; /**< its private key; NULL: in `cert` */
  char *server_name; /**< NULL: that of the database */
  struct wg_tls *made; /**< from the files, by whoever read them: src/db/tls.h. NULL: not yet */
} wg_tls_config;

/** libpq's target_session_attrs: what a server must be. */
typedef enum wg_db_target_attrs {
  WG_DB_TARGET_ANY,
  WG_DB_TARGET_READ_WRITE,
  WG_DB_TARGET_READ_ONLY,
  WG_DB_TARGET_PRIMARY,
  WG_DB_TARGET_STANDBY,
  WG_DB_TARGET_PREFER_STANDBY
} wg_db_target_attrs;

/** One of `addresses`. */
typedef struct wg_db_host {
  char *name; /**< name or IP address, without brackets */
  uint16_t port;
} wg_db_host;
enum { WG_DB_HOSTS_MAX = 16 };

/** One `[databases.NAME]`. `auth = "service"`: the host holds user and password. */
typedef struct wg_database_config {
  char *name; /**< the table's name; for logs and statistics */
  wg_db_protocol protocol;
  char *host; /**< what guests say; also what is dialled unless `address` is set */
  uint16_t port;
  char *address; /**< NULL, or where the server really is: name, IP, or "/dir" of its socket */
  uint16_t address_port; /**< 0: the same as port */
  char **addresses; /**< "HOST:PORT", NULL-terminated, in place of `address`; NULL: none */
  wg_db_host *hosts; /**< the same, parsed */
  size_t host_count;
  bool load_balance; /**< in random order */
  wg_db_target_attrs target_attrs;
  char *database; /**< NULL: any name the guest asks for */
  wg_db_auth auth;
  uint32_t
      credential_ttl_ms; /**< GUEST: sessions are reused so long after a log-in proved the password */
  char *user; /**< SERVICE: the role the host logs in as; NULL: none is named */
  wg_secret password; /**< empty: none */
  wg_tls_config tls;
  wg_pool_config pool;
  uint32_t line; /**< of warp.toml, for messages */
} wg_database_config;

/** One name of `[registry]` or `[hosts]` with its literal addresses. */
typedef struct wg_registry_entry {
  char *name; /**< lower case, no trailing dot */
  char **addresses; /**< IPv4 or IPv6 literals, checked */
  size_t address_count;
} wg_registry_entry;

/** One `[services.NAME]`: a component and which requests it gets. */
typedef struct wg_service_config {
  char *name;
  char *component; /**< joined with the file's folder; never NULL */
  char **hosts; /**< lower case, "*.example.com" for all below; NULL-terminated; NULL: any */
  char **paths; /**< prefixes that begin with '/', no '/' at the end; NULL-terminated; NULL: all */
  char **env; /**< "K=V", added to [env]; NULL-terminated; NULL: none */
  uint32_t line; /**< of warp.toml, for messages */
} wg_service_config;
enum { WG_SERVICES_MAX = 128 };

/** "HOST::GUEST[:rw]" of `[files]` preopens; host is joined with the file's folder. */
typedef struct wg_preopen {
  char *host, *guest;
  bool writable;
} wg_preopen;

/** One of `extra_virtual_paths`: what a guest finds there. */
typedef struct wg_virtual_path {
  char *guest; /**< canonical: src/vfs/path.h */
  char *host; /**< file of the host, joined with the file's folder; NULL: `text` is all of it */
  char *text;
  bool live; /**< `host` is opened each time, instead of read when an app is made */
  uint32_t line, column; /**< of warp.toml, for messages */
} wg_virtual_path;

typedef struct wg_config {
  atomic_uint refs; /**< who else uses it: wg_config_ref() */
  char *path; /**< the file that was read; NULL: defaults only */
  char *name; /**< service name, for logs; never NULL */
  char *lang; /**< NULL: unknown */

  char *dir; /**< folder of that file, "." when there is none; all relative paths of the
                            file count from here, and those below are joined with it already */

  /* [build] */
  char *component; /**< component to write and to serve; never NULL: dist/<name>.wasm */
  char **build_sources; /**< globs of C sources, as written; NULL-terminated; NULL: src/ *.c */
  char *build_world; /**< world of the SDK; NULL: service-p2 */
  char **build_flags; /**< more arguments for the compiler; NULL: none */

  /* [http] */
  char **listen; /**< "ADDR:PORT", NULL-terminated; NULL: localhost:8080 */
  uint32_t workers; /**< 0: one per core */
  uint32_t max_inflight; /**< requests in flight in the process; more are answered 503 */
  uint32_t reuse; /**< requests one instance serves in its life; 0: the kind's default */
  uint32_t max_concurrent; /**< requests at once in one p3 instance */
  uint32_t instance_idle_ms; /**< a reusable instance is dropped after this */

  /* [admin] */
  char **admin_listen; /**< loopback "ADDR:PORT", NULL-terminated; NULL: no admin endpoint */

  /* [limits] */
  uint64_t memory_bytes; /**< linear memory of an instance */
  uint32_t request_timeout_ms;
  uint64_t body_bytes; /**< of a request; more is answered 413 */
  uint32_t header_bytes; /**< of a request; more is answered 431 */
  uint32_t instances; /**< in the process */
  uint32_t drain_timeout_ms; /**< at stop */
  bool epochs; /**< interrupt guests that compute too long without waiting */

  /* [shims] */
  uint32_t shims; /**< WG_SHIM_* bits that are on */
  uint32_t shim_line[5]; /**< line that set each shim, in bit order; 0: not set */
  uint32_t shims_line; /**< line of [shims] itself; 0: no such section */
  uint32_t dns_ttl_s; /**< cap of a cached answer */
  uint32_t dns_cache_size;
  uint32_t dns_timeout_ms; /**< of a lookup, all tries included */
  uint32_t dns_negative_ttl_ms; /**< cap of a cached "not found" */
  char **dns_servers; /**< "ADDR[:PORT]", NULL-terminated; NULL: the host's */
  char *dns_domain; /**< names below it never leave the host; "warp.local" */
  uint32_t signals_queue; /**< capacity of an instance's queue */
  wg_virtual_path *virtual_paths; /**< `extra_virtual_paths`; each guest path once */
  size_t virtual_path_count;
  char **nameservers; /**< of /etc/resolv.conf: IP addresses, NULL-terminated */
  char *timezone; /**< of /etc/localtime, unless the guest has TZ; in the database of zones */
  char *zoneinfo; /**< folder of the time zones; NULL: the built-in ones */
  wg_pool_config pool; /**< [shims.database_proxy] */

  wg_database_config *databases;
  size_t database_count;
  bool loopback_databases; /**< those of this machine need no declaration; an option of the engine,
                              never of a file */
  wg_service_config *services;
  size_t service_count; /**< 0: `component` is served, to all requests */
  wg_registry_entry *registry;
  size_t registry_count;
  wg_registry_entry *hosts; /**< [hosts]: lines of /etc/hosts */
  size_t host_count;
  char *registry_url; /**< of the HTTP registry, "http://..."; NULL: none */
  uint32_t registry_interval_ms;
  uint32_t registry_timeout_ms;
  wg_secret registry_token; /**< empty: none */
  bool host_dns; /**< guests without the DNS shim may ask the host's resolver */
  wg_allow_rule *allow; /**< [net] allow */
  size_t allow_count;
  char **env; /**< "K=V", NULL-terminated; NULL: none */
  wg_preopen *preopens;
  size_t preopen_count;
} wg_config;

/** A finding that did not stop the load (unknown key, unknown shim). Borrowed for the call.
 *  text is "file:line:column: ..." */
typedef void (*wg_config_warn_cb)(void *user, const char *text);

/** Reads and checks a file.
 *  @param path  a warp.toml; NULL: `warp.toml`, then `.warpgrid.toml` of the current folder, and
 *               the defaults when neither exists
 *  @param out   owned by the caller: wg_config_free()
 *  @return WG_OK; WG_CONFIG with "file:line:column: what" and a hint; WG_IO, WG_NOMEM */
WG_MUSTCHECK wg_code wg_config_load(const char *path, wg_config_warn_cb warn, void *user,
                                    wg_config **out, wg_error *err);
/** The same from text; `name` stands for the file in messages. */
WG_MUSTCHECK wg_code wg_config_parse(const char *name, const char *text, size_t len,
                                     wg_config_warn_cb warn, void *user, wg_config **out,
                                     wg_error *err);
/** Drops one reference; NULL is fine. Any thread. */
void wg_config_free(wg_config *c);
/** One more to call wg_config_free(). Any thread. */
wg_config *wg_config_ref(wg_config *c);

/** Appends the JSON Schema (draft 2020-12) of warp.toml, as docs/warp.schema.json has it. */
void wg_config_schema(wg_buf *out);
/** Before a reload: puts the values of `old` back into `c` for every key that only a restart can
 *  change.
 *  @param names  gets "http.listen, limits.memory" of those that differed, cut to cap; "" for none
 *  @return WG_OK; WG_NOMEM */
WG_MUSTCHECK wg_code wg_config_keep_fixed(wg_config *c, const wg_config *old, char *names,
                                          size_t cap, wg_error *err);
/** True when both describe the same databases and pools, credentials included. */
bool wg_config_same_databases(const wg_config *a, const wg_config *b);

/** Splits "HOST::GUEST" or "HOST::GUEST:rw" (also "HOST::GUEST:ro"); GUEST is an absolute path.
 *  @param dir  folder that a relative HOST counts from; NULL: the current one
 *  @param out  host and guest are the caller's to free
 *  @return WG_OK; WG_INVALID (the message has no position), WG_NOMEM */
WG_MUSTCHECK wg_code wg_preopen_parse(const char *text, const char *dir, wg_preopen *out,
                                      wg_error *err);
/** Splits "ADDR:PORT", "[IPV6]:PORT" or ":PORT" (127.0.0.1); port 0 lets the system choose.
 *  @param host  gets the address or name, without brackets
 *  @return WG_OK; WG_INVALID (the message has no position) */
WG_MUSTCHECK wg_code wg_listen_parse(const char *text, char host[256], uint16_t *port,
                                     wg_error *err);

/** An address that the admin endpoint may listen on: loopback, as for wg_listen_parse().
 *  @return WG_OK; WG_INVALID (the message has no position) */
WG_MUSTCHECK wg_code wg_admin_listen_check(const char *text, wg_error *err);

/** "filesystem", "dns", ... of one WG_SHIM_* bit; NULL for others. */
const char *wg_shim_name(uint32_t bit);
