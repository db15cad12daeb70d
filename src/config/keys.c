/* SPDX-License-Identifier: Apache-2.0 */
#include "config/keys.h"

#include "config/value.h"

#include <string.h>

#define AT(field) offsetof(wg_config, field)
#define POOL(field) offsetof(wg_pool_config, field)
#define DB(field) offsetof(wg_database_config, field)
#define SERVICE(field) offsetof(wg_service_config, field)
#define KEY(sec, key, kind, where, ...) \
  {.section = (sec), .name = (key), .type = (kind), .offset = (where), __VA_ARGS__}
#define RANGE(lo, hi) .min = (lo), .max = (hi)
/* A day in ms: no wait is meant to be longer, and sums of two fit everywhere. */
#define DAY 86400000u

const cfg_key cfg_keys[] = {
    KEY(CFG_ROOT, "name", CFG_STRING, AT(name), .standard = "service", .live = true,
        .help = "Name of the service, in logs and as the name of its packed file"),
    KEY(CFG_ROOT, "lang", CFG_STRING, AT(lang), .live = true,
        .help = "Language that `warp pack` compiles, `c` or `rust`; not set: what the files tell"),

    KEY(CFG_BUILD, "component", CFG_PATH, AT(component), .live = true,
        .help = "Component to write and to serve; not set: `dist/NAME.wasm`"),
    KEY(CFG_BUILD, "sources", CFG_STRINGS, AT(build_sources), .live = true,
        .help = "C files and globs to compile, relative to this file; not set: `src/*.c`"),
    KEY(CFG_BUILD, "world", CFG_STRING, AT(build_world), .live = true,
        .help = "What to make of C, a world of the SDK: `service-p2` (also when not set), "
                "`service-p3`, "
                "`command-p2`, `command-p3`"),
    KEY(CFG_BUILD, "flags", CFG_STRINGS, AT(build_flags), .live = true,
        .help = "More arguments for the compiler (clang) or for `cargo build`"),

    KEY(CFG_HTTP, "listen", CFG_LISTEN, AT(listen), .standard = "localhost:8080",
        .help = "Address and port, or a list of them; localhost is both families; IPv6 in "
                "brackets: `[::1]:8080`"),
    KEY(CFG_HTTP, "workers", CFG_COUNT, AT(workers), RANGE(0, 1024), .standard = "0",
        .help = "Threads that serve, each with its own loop; 0: one per core"),
    KEY(CFG_HTTP, "max_inflight", CFG_COUNT, AT(max_inflight), RANGE(1, 1000000),
        .standard = "1000", .help = "Requests in progress in the process; more are answered 503"),
    KEY(CFG_HTTP, "reuse", CFG_COUNT, AT(reuse), RANGE(0, 1000000), .standard = "0", .live = true,
        .help = "Requests that one instance serves in its life; 0: 1 for WASI 0.2, 128 for 0.3"),
    KEY(CFG_HTTP, "max_concurrent", CFG_COUNT, AT(max_concurrent), RANGE(1, 10000),
        .standard = "16", .live = true,
        .help = "Requests at once in one WASI 0.3 instance; WASI 0.2 always serves one"),
    KEY(CFG_HTTP, "instance_idle", CFG_DURATION, AT(instance_idle_ms), RANGE(1, DAY),
        .standard = "1s", .live = true, .help = "An instance without work is dropped after this"),

    KEY(CFG_ADMIN, "listen", CFG_LISTEN, AT(admin_listen),
        .help = "Loopback address and port of the admin endpoint: health, metrics, statistics, "
                "reload and drain; not set: none"),

    KEY(CFG_LIMITS, "memory", CFG_SIZE, AT(memory_bytes), RANGE(65536, 1ull << 32),
        .standard = "128MiB", .help = "Linear memory of one instance"),
    KEY(CFG_LIMITS, "request_timeout", CFG_DURATION, AT(request_timeout_ms), RANGE(1, DAY),
        .standard = "30s", .live = true, .help = "A request that takes longer is cut"),
    KEY(CFG_LIMITS, "body", CFG_SIZE, AT(body_bytes), RANGE(0, 1ull << 40), .standard = "10MiB",
        .live = true, .help = "Body of a request; more is answered 413; 0: no limit"),
    KEY(CFG_LIMITS, "header", CFG_SIZE32, AT(header_bytes), RANGE(1024, 16u << 20),
        .standard = "64KiB", .help = "Header of a request; more is answered 431"),
    KEY(CFG_LIMITS, "instances", CFG_COUNT, AT(instances), RANGE(1, 10000), .standard = "1000",
        .help = "Instances at once in the process"),
    KEY(CFG_LIMITS, "drain_timeout", CFG_DURATION, AT(drain_timeout_ms), RANGE(0, DAY),
        .standard = "30s", .help = "At stop, requests in progress may take this long"),
    KEY(CFG_LIMITS, "epochs", CFG_FLAG, AT(epochs), .standard = "true",
        .help = "Interrupt guests that compute for long, so that others on the worker go on"),

    KEY(CFG_FILES, "preopens", CFG_PREOPENS, AT(preopens), .live = true,
        .help = "Folders that guests see: `HOST::GUEST`, or `HOST::GUEST:rw` to write there too"),

    KEY(CFG_SHIMS, "filesystem", CFG_SHIM, WG_SHIM_FILESYSTEM, .standard = "true", .live = true,
        .help = "Virtual files, such as `/etc/hosts`"),
    KEY(CFG_SHIMS, "dns", CFG_SHIM, WG_SHIM_DNS, .standard = "true", .live = true,
        .help = "Names from `[registry]`, then from the host"),
    KEY(CFG_SHIMS, "signals", CFG_SHIM, WG_SHIM_SIGNALS, .standard = "true", .live = true,
        .help = "Signals of the process, for guests that ask for them"),
    KEY(CFG_SHIMS, "database_proxy", CFG_SHIM, WG_SHIM_DATABASE_PROXY, .standard = "true",
        .live = true, .help = "Connections to `[databases.NAME]` from the host's pool"),
    KEY(CFG_SHIMS, "threading", CFG_SHIM, WG_SHIM_THREADING, .standard = "true", .live = true,
        .help = "Declaration of the guest's threading model"),

    KEY(CFG_FILESYSTEM, "extra_virtual_paths", CFG_VIRTUAL, AT(virtual_paths), .live = true,
        .help = "More virtual files, or others in place of the built-in ones: a table of "
                "`\"/guest/path\" = \"host/path\"`, `{ text = \"...\" }` or "
                "`{ file = \"host/path\", live = true }`"),
    KEY(CFG_FILESYSTEM, "nameservers", CFG_ADDRESSES, AT(nameservers), .standard = "127.0.0.1",
        .live = true, .help = "Addresses in `/etc/resolv.conf`"),
    KEY(CFG_FILESYSTEM, "timezone", CFG_STRING, AT(timezone), .standard = "UTC", .live = true,
        .help = "Zone of `/etc/localtime` for guests without `TZ` in `[env]`"),
    KEY(CFG_FILESYSTEM, "zoneinfo", CFG_PATH, AT(zoneinfo), .live = true,
        .help = "Folder of time zones for `/usr/share/zoneinfo`, read when components are loaded; "
                "not set: the built-in ones"),
    KEY(CFG_DNS, "ttl", CFG_DURATION_S, AT(dns_ttl_s), RANGE(0, 86400), .standard = "30s",
        .live = true, .help = "Longest time that an answer is kept"),
    KEY(CFG_DNS, "cache_size", CFG_COUNT, AT(dns_cache_size), RANGE(0, 1000000), .standard = "1024",
        .live = true, .help = "Names whose answers a worker keeps"),
    KEY(CFG_DNS, "domain", CFG_STRING, AT(dns_domain), .standard = "warp.local", .live = true,
        .help = "Names below it are answered by `[registry]` and `[hosts]` alone and never leave "
                "the host"),
    KEY(CFG_DNS, "timeout", CFG_DURATION, AT(dns_timeout_ms), RANGE(1, DAY), .standard = "5s",
        .live = true, .help = "A lookup that takes longer fails; all tries and servers included"),
    KEY(CFG_DNS, "servers", CFG_SERVERS, AT(dns_servers), .live = true,
        .help =
            "Name servers to ask, `ADDRESS` or `ADDRESS:PORT`; not set: those of the host, with "
            "its search domains"),
    KEY(CFG_DNS, "negative_ttl", CFG_DURATION, AT(dns_negative_ttl_ms), RANGE(0, DAY),
        .standard = "5s", .live = true,
        .help = "Longest time that a name is known not to exist; its zone may say less"),
    KEY(CFG_SIGNALS, "queue", CFG_COUNT, AT(signals_queue), RANGE(1, 1024), .standard = "16",
        .live = true, .help = "Signals that wait for one instance"),

    KEY(CFG_POOL, "pool_size", CFG_COUNT, POOL(pool_size), RANGE(1, 10000), .standard = "10",
        .live = true,
        .help = "Connections of one pool in the process: one server, database and user"),
    KEY(CFG_POOL, "max_waiters", CFG_COUNT, POOL(max_waiters), RANGE(0, 1000000),
        .standard = "10000", .live = true,
        .help = "Guests that may wait for a connection; more are refused at once"),
    KEY(CFG_POOL, "connect_timeout", CFG_DURATION, POOL(connect_timeout_ms), RANGE(1, DAY),
        .standard = "5s", .live = true, .help = "A guest's connect, waiting for its turn included"),
    KEY(CFG_POOL, "idle_timeout", CFG_DURATION, POOL(idle_timeout_ms), RANGE(0, DAY),
        .standard = "300s", .live = true,
        .help = "An unused connection is closed after this; 0: never"),
    KEY(CFG_POOL, "health_interval", CFG_DURATION, POOL(health_interval_ms), RANGE(0, DAY),
        .standard = "30s", .live = true,
        .help = "Unused connections are checked this often; 0: never"),
    KEY(CFG_POOL, "recv_timeout", CFG_DURATION, POOL(recv_timeout_ms), RANGE(0, DAY),
        .standard = "30s", .live = true, .help = "Wait of `recv` for the server; 0: no limit"),
    KEY(CFG_POOL, "send_timeout", CFG_DURATION, POOL(send_timeout_ms), RANGE(0, DAY),
        .standard = "30s", .live = true, .help = "Wait of `send` for the server; 0: no limit"),
    KEY(CFG_POOL, "slow_wait", CFG_DURATION, POOL(slow_wait_ms), RANGE(0, DAY), .standard = "1s",
        .live = true,
        .help = "A guest that waits this long for a connection is told in the log, at most one a "
                "second; 0: never"),
    KEY(CFG_POOL, "drain_timeout", CFG_DURATION, POOL(drain_timeout_ms), RANGE(0, DAY),
        .standard = "30s", .live = true, .help = "At stop, work in progress may take this long"),
    KEY(CFG_POOL, "min_idle", CFG_COUNT, POOL(min_idle), RANGE(0, 10000), .standard = "0",
        .live = true,
        .help = "Unused connections kept ready from the start on, within `pool_size`; for "
                "databases with a `database`. With MySQL from the first guest on"),
    KEY(CFG_POOL, "max_lifetime", CFG_DURATION, POOL(max_lifetime_ms), RANGE(0, 30 * DAY),
        .standard = "3600s", .live = true,
        .help = "A connection of this age, less up to a tenth by chance, is closed when no guest "
                "has it; 0: never"),
    KEY(CFG_POOL, "tcp_keepalive", CFG_DURATION, POOL(tcp_keepalive_ms), RANGE(0, DAY),
        .standard = "60s", .live = true,
        .help = "Silence after which the kernel probes whether the server is still there, in whole "
                "seconds; 0: never"),
    KEY(CFG_POOL, "tcp_user_timeout", CFG_DURATION, POOL(tcp_user_timeout_ms), RANGE(0, DAY),
        .standard = "30s", .live = true,
        .help = "A connection is lost when the server's machine does not confirm bytes for this "
                "long; 0: as the kernel has it"),
    KEY(CFG_POOL, "reset", CFG_CHOICE, POOL(reset), .choices = "discard|close",
        .standard = "discard", .live = true,
        .help = "Between two guests: clear the session and reuse it, or close it; what clearing "
                "leaves is told in architecture.md"),
    KEY(CFG_POOL, "spin", CFG_CHOICE, POOL(spin), .choices = "auto|off", .standard = "auto",
        .live = true,
        .help = "`auto`: a worker that has nothing else to do looks for an answer for up to 150 us "
                "before it sleeps, where that pays; not with less than two cores"),

    KEY(CFG_DATABASE, "protocol", CFG_CHOICE, DB(protocol), .choices = "postgres|mysql|redis",
        .standard = "postgres", .live = true, .help = "Protocol of the server"),
    KEY(CFG_DATABASE, "host", CFG_STRING, DB(host), .live = true,
        .help = "Host name that guests ask for, and that is dialled; not set: NAME"),
    KEY(CFG_DATABASE, "port", CFG_PORT, DB(port), RANGE(1, 65535), .live = true,
        .help = "Port that guests ask for; not set: 5432, 3306 or 6379 by the protocol"),
    KEY(CFG_DATABASE, "address", CFG_STRING, DB(address), .live = true,
        .help =
            "Where the server really is, when that is not `host`: a name, an IP address, or "
            "the folder of its Unix socket, for MySQL and Redis also the socket itself (`.sock`)"),
    KEY(CFG_DATABASE, "address_port", CFG_PORT, DB(address_port), RANGE(1, 65535), .live = true,
        .help = "Port of `address`; not set: `port`"),
    KEY(CFG_DATABASE, "addresses", CFG_STRINGS, DB(addresses), .live = true,
        .help =
            "In place of `address`: up to 16 servers, `HOST:PORT` each, that are tried in this "
            "order for each connection, those that failed in the last 10 s at the end; the time "
            "of `connect_timeout` is shared among them, and one that refuses the credentials "
            "ends the search"),
    KEY(CFG_DATABASE, "load_balance", CFG_FLAG, DB(load_balance), .standard = "false", .live = true,
        .help = "Tries `addresses` in random order, so that connections spread over them"),
    KEY(CFG_DATABASE, "target_session_attrs", CFG_CHOICE, DB(target_attrs),
        .choices = "any|read-write|read-only|primary|standby|prefer-standby", .standard = "any",
        .live = true,
        .help = "As libpq's: what a server must be to be used; needs PostgreSQL 14 or newer. "
                "An unused connection is closed when its server is that no more"),
    KEY(CFG_DATABASE, "database", CFG_STRING, DB(database), .live = true,
        .help = "Database that guests may use; not set: any that the user may. With Redis a "
                "number, not set: 0"),
    KEY(CFG_DATABASE, "auth", CFG_CHOICE, DB(auth), .choices = "service|guest|relay",
        .standard = "service", .live = true,
        .help = "Who logs in. `service`: the host with `user` and `password`, guests need none; "
                "`guest`: the host with the guest's own, asked for in clear inside of the process; "
                "`relay`: the guest itself, on a connection that nobody shares"),
    KEY(CFG_DATABASE, "credential_ttl", CFG_DURATION, DB(credential_ttl_ms), RANGE(0, DAY),
        .standard = "60s", .live = true,
        .help = "`auth = \"guest\"`: connections are reused for so long after a log-in proved the "
                "password; a password that changed on the server works no longer than this"),
    KEY(CFG_DATABASE, "user", CFG_STRING, DB(user), .live = true,
        .help = "User that the host logs in as (`auth = \"service\"`)"),
    KEY(CFG_DATABASE, "password", CFG_SECRET, DB(password), .live = true,
        .help = "Its password; better `${VARIABLE}` than the text itself"),
    KEY(CFG_DATABASE, "password_env", CFG_SECRET_ENV, DB(password), .live = true,
        .help = "Environment variable that holds the password"),
    KEY(CFG_DATABASE, "password_file", CFG_SECRET_FILE, DB(password), .live = true,
        .help = "File that holds the password; one newline at its end is dropped"),
    KEY(CFG_DATABASE, "tls", CFG_CHOICE, DB(tls.mode),
        .choices = "auto|disable|allow|prefer|require|verify-ca|verify-full", .standard = "auto",
        .live = true,
        .help = "As libpq's `sslmode`; auto: `verify-full`, but no TLS to an address of this "
                "machine unless another key asks for it; never over a Unix socket"),
    KEY(CFG_DATABASE, "tls_negotiation", CFG_CHOICE, DB(tls.negotiation),
        .choices = "postgres|direct", .standard = "postgres", .live = true,
        .help = "Ask the server for TLS first, or begin with it (ALPN; PostgreSQL 17 or newer)"),
    KEY(CFG_DATABASE, "tls_ca", CFG_PATH, DB(tls.ca), .live = true,
        .help = "PEM file of the issuers to trust; not set: the system's. `require` checks the "
                "issuer when it is set"),
    KEY(CFG_DATABASE, "tls_cert", CFG_PATH, DB(tls.cert), .live = true,
        .help = "PEM file of the host's own certificate, then its chain, shown to a server that "
                "asks"),
    KEY(CFG_DATABASE, "tls_key", CFG_PATH, DB(tls.key), .live = true,
        .help = "PEM file of its private key, readable by its owner only; not set: in `tls_cert`"),
    KEY(CFG_DATABASE, "tls_server_name", CFG_STRING, DB(tls.server_name), .live = true,
        .help = "Name or IP address that the server's certificate must be for, and that is sent "
                "as SNI; not set: `address` if it is a name, else `host`"),
    KEY(CFG_DATABASE, "tls_min_version", CFG_CHOICE, DB(tls.min_version), .choices = "1.2|1.3",
        .standard = "1.2", .live = true, .help = "Oldest version of TLS to speak"),
    KEY(CFG_DATABASE, "channel_binding", CFG_CHOICE, DB(tls.channel_binding),
        .choices = "disable|prefer|require", .standard = "prefer", .live = true,
        .help = "Bind the proof of the password to the TLS connection (SCRAM-SHA-256-PLUS)"),

    KEY(CFG_SERVICE, "component", CFG_PATH, SERVICE(component), .live = true,
        .help = "Its component; not set: `dist/NAME.wasm`"),
    KEY(CFG_SERVICE, "host", CFG_STRINGS, SERVICE(hosts), .live = true,
        .help = "Hosts of the requests it gets, without port; `*.example.com` is every name below; "
                "not set: any"),
    KEY(CFG_SERVICE, "path", CFG_STRINGS, SERVICE(paths), .live = true,
        .help = "Paths of the requests it gets: `/api` is itself and all below; the longest wins; "
                "not set: `/`"),

    KEY(CFG_REGISTRY, "url", CFG_URL, AT(registry_url), .live = true,
        .help = "Where an HTTP registry answers `{\"services\": {NAME: [ADDRESS, ...]}}`; "
                "`http://` only; names in this file win over its names"),
    KEY(CFG_REGISTRY, "interval", CFG_DURATION, AT(registry_interval_ms), RANGE(100, DAY),
        .standard = "5s", .live = true, .help = "How often it is asked"),
    KEY(CFG_REGISTRY, "timeout", CFG_DURATION, AT(registry_timeout_ms), RANGE(1, 60000),
        .standard = "2s", .live = true,
        .help = "An answer that takes longer is none; a start waits as long for the first one"),
    KEY(CFG_REGISTRY, "token", CFG_SECRET, AT(registry_token), .live = true,
        .help = "Sent to it as `Authorization: Bearer`; better `${VARIABLE}` than the text itself"),
    KEY(CFG_REGISTRY, "token_env", CFG_SECRET_ENV, AT(registry_token), .live = true,
        .help = "Environment variable that holds the token"),

    KEY(CFG_NET, "host_dns", CFG_FLAG, AT(host_dns), .standard = "false", .live = true,
        .help = "With `shims.dns = false`: lets guests ask the host's resolver through WASI"),
    KEY(CFG_NET, "allow", CFG_ALLOW, AT(allow), .live = true,
        .help =
            "Where guests may connect to besides declared databases, `HOST:PORT` each: "
            "`api.example.com:443`, `*.example.com:443`, `192.0.2.7:80`, `10.0.0.0/8:5432`, "
            "`[2001:db8::]/32:443`, `api.example.com:*` for all ports. A name holds for what the "
            "guest's own instance resolved, until a minute after its TTL; loopback, link-local "
            "and metadata addresses need a rule of their own"),
};
const size_t cfg_key_count = WG_COUNT(cfg_keys);

const char *cfg_section_name(cfg_section s) {
  switch (s) {
  case CFG_ROOT: return "";
  case CFG_BUILD: return "[build]";
  case CFG_HTTP: return "[http]";
  case CFG_ADMIN: return "[admin]";
  case CFG_LIMITS: return "[limits]";
  case CFG_FILES: return "[files]";
  case CFG_SHIMS: return "[shims]";
  case CFG_FILESYSTEM: return "[shims.filesystem]";
  case CFG_DNS: return "[shims.dns]";
  case CFG_SIGNALS: return "[shims.signals]";
  case CFG_POOL: return "[shims.database_proxy]";
  case CFG_THREADING: return "[shims.threading]";
  case CFG_DATABASE: return "[databases.NAME]";
  case CFG_SERVICE: return "[services.NAME]";
  case CFG_REGISTRY: return "[registry]";
  case CFG_NET: return "[net]";
  }
  return "";
}

const cfg_key *cfg_find_key(cfg_section s, const char *name, uint64_t *unit) {
  static const struct {
    const char *suffix;
    bool time;
    uint64_t factor;
  } suffixes[] = {{"_seconds", true, 1000}, {"_ms", true, 1}, {"_bytes", false, 1}};
  *unit = 0;
  for (const cfg_key *k = cfg_keys; k < cfg_keys + cfg_key_count; k++) {
    if (k->section != s) continue;
    if (strcmp(k->name, name) == 0) return k;
    bool time = k->type == CFG_DURATION || k->type == CFG_DURATION_S;
    if (!time && k->type != CFG_SIZE && k->type != CFG_SIZE32) continue;
    size_t n = strlen(k->name);
    if (strncmp(k->name, name, n) != 0) continue;
    for (size_t i = 0; i < WG_COUNT(suffixes); i++) {
      if (suffixes[i].time == time && strcmp(name + n, suffixes[i].suffix) == 0) {
        *unit = suffixes[i].factor;
        return k;
      }
    }
  }
  return NULL;
}

typedef struct key_walk {
  cfg_section section, also;
  const cfg_key *at;
} key_walk;
static const char *next_key(void *user) {
  key_walk *w = user;
  while (w->at < cfg_keys + cfg_key_count) {
    const cfg_key *k = w->at++;
    if (k->section == w->section || k->section == w->also) return k->name;
  }
  return NULL;
}
const char *cfg_nearest_key(cfg_section s, cfg_section also, const char *name) {
  return cfg_nearest(name, next_key, &(key_walk){s, also, cfg_keys});
}
