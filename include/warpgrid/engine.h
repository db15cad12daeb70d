/* SPDX-License-Identifier: Apache-2.0 */
/** @file warpgrid/engine.h  Load WebAssembly components and serve or run them: the embedding API.
 *
 *  A wg_engine holds one configuration (warp.toml) and everything that is shared by its workers.
 *  Make one a process. Unless marked "any thread", call from the thread that made it. The library
 *  never calls exit() and installs no signal handler.
 *
 *  @par Example
 *  @code
 *    wg_error err;
 *    wg_engine *engine;
 *    const wg_serve_options service = {.component = "service.wasm"};
 *    if (wg_engine_new(NULL, &engine, &err) == WG_OK)
 *      wg_engine_serve(engine, &service, &err);
 *  @endcode */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <warpgrid/error.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct wg_engine wg_engine;
typedef struct wg_component wg_component;
typedef struct wg_app wg_app;

/** A message about the configuration that did not stop it ("warp.toml:3:1: ..."). Borrowed. */
typedef void (*wg_warning_cb)(void *user, const char *text);

/** How to make an engine; zero-initialise, then set what matters. All pointers are borrowed for
 *  the call. */
typedef struct wg_engine_options {
  const char *config_path; /**< NULL: warp.toml or .warpgrid.toml of the current folder, if any */
  const char *config_text; /**< instead of a file; not NULL wins */
  const char *const *listen; /**< NULL-terminated "ADDR:PORT"; overrides [http] listen */
  const char *const *admin; /**< the same for [admin] listen: loopback only */
  uint32_t workers; /**< 0: as configured */
  int allow_loopback_databases; /**< undeclared ones of this machine; for development */
  const char *const *env;  /**< NULL-terminated "K=V", added to [env] */
  const char *const *dirs; /**< NULL-terminated "HOST::GUEST[:rw]", added to [files] */
  const char *cache_dir;   /**< compilation cache; NULL: the user's cache folder; "": none */
  wg_warning_cb on_warning; /**< NULL: warnings go to the log */
  void *user;              /**< first argument of on_warning */
} wg_engine_options;

/** Reads and checks the configuration and makes the engine (the PRD's WarpGridEngine::new).
 *  Logs "engine_started" with the shims that are on and their key settings.
 *  @param options  NULL: all defaults
 *  @param out      owned by the caller: wg_engine_free()
 *  @return WG_OK; WG_CONFIG, WG_IO, WG_NOMEM */
WG_API WG_MUSTCHECK wg_code wg_engine_new(const wg_engine_options *options, wg_engine **out,
                                          wg_error *err);
/** Components and apps made from it must be freed first. NULL is fine. */
WG_API void wg_engine_free(wg_engine *e);

enum { WG_LOAD_TRUSTED = 1u /**< a .cwasm may be loaded: it is native code */ };
/** Loads and compiles a component: .wasm, .wat, or a trusted .cwasm. Uses the compilation cache.
 *  @param out  owned by the caller: wg_component_free()
 *  @return WG_OK; WG_NOT_FOUND, WG_IO, WG_COMPONENT, WG_REFUSED (an untrusted .cwasm) */
WG_API WG_MUSTCHECK wg_code wg_engine_load(wg_engine *e, const char *path, unsigned flags,
                                           wg_component **out, wg_error *err);
/** The same from memory. */
WG_API WG_MUSTCHECK wg_code wg_engine_load_bytes(wg_engine *e, const void *bytes, size_t len,
                                                 wg_component **out, wg_error *err);
/** The component to serve according to [build] and name; relative to the configuration's folder.
 *  Borrowed; valid as long as the engine. */
WG_API const char *wg_engine_component_path(const wg_engine *e);

typedef enum wg_component_kind {
  WG_COMPONENT_OTHER = 0,      /**< neither a service nor a command */
  WG_COMPONENT_P2_SERVICE = 1, /**< exports wasi:http/incoming-handler@0.2.x */
  WG_COMPONENT_P3_SERVICE = 2, /**< exports wasi:http/handler@0.3.x */
  WG_COMPONENT_P2_COMMAND = 3, /**< exports wasi:cli/run@0.2.x */
  WG_COMPONENT_P3_COMMAND = 4  /**< exports wasi:cli/run@0.3.x */
} wg_component_kind;
WG_API wg_component_kind wg_component_get_kind(const wg_component *c);
/** "p2 service", "p3 command", ... Static. */
WG_API const char *wg_component_kind_name(wg_component_kind kind);
/** Writes the compiled code, for wg_engine_load() with WG_LOAD_TRUSTED on the same machine and
 *  version. Atomic: the file is whole or absent. */
WG_API WG_MUSTCHECK wg_code wg_component_save(wg_component *c, const char *path, wg_error *err);
WG_API void wg_component_free(wg_component *c);

/** What an engine can do for an import, or with an export. */
typedef enum wg_interface_status {
  WG_INTERFACE_OK, /**< linked; or an export that is called, or none of the host's affair */
  WG_INTERFACE_DISABLED, /**< a shim that warp.toml turns off */
  WG_INTERFACE_UNAVAILABLE, /**< a shim that this version does not have yet */
  WG_INTERFACE_UNKNOWN /**< no host interface of this name or version; or an export that the
                                 host would call in another version */
} wg_interface_status;
/** One import or export of a component. */
typedef struct wg_interface {
  const char *name; /**< "warpgrid:shim/dns@0.1.0"; NUL-terminated, borrowed for the call */
  int is_export;
  wg_interface_status status;
  const char *reason; /**< for people, with the line of warp.toml that helps; "" when OK */
  const char
      *versions; /**< that the host has of it, "0.2.12 and 0.3.0"; "" when none. A guest of any
                             version of the same minor series is served, if all that it uses is there */
} wg_interface;
/** Names every import, then every export. */
WG_API void wg_engine_inspect(const wg_engine *e, const wg_component *c,
                              void (*item)(void *user, const wg_interface *i), void *user);

/** What differs from one app of an engine to the next; zero-initialise. Borrowed for the call. */
typedef struct wg_app_options {
  const char *const *args; /**< NULL-terminated arguments of a command, without its name */
  const char *name; /**< args[0] and log name; NULL: the configured name */
} wg_app_options;
/** Links the component with the enabled shims only (the PRD's WarpGridEngine::instantiate). What it
 *  exports says whether it is called as a WASI 0.2 or an async WASI 0.3 one; both may be side by side.
 *  @param options  NULL: defaults
 *  @param out      owned by the caller: wg_app_free(), after the engine has stopped
 *  @return WG_OK; WG_LINK: an import is disabled, not available or unknown, or all that could be
 *          called in it is of another version: err names the interface, the hint the line of
 *          warp.toml that enables it or the versions that there are; WG_INVALID: an export is not
 *          what its name says; WG_COMPONENT */
WG_API WG_MUSTCHECK wg_code wg_engine_instantiate(wg_engine *e, wg_component *c,
                                                  const wg_app_options *options, wg_app **out,
                                                  wg_error *err);
WG_API void wg_app_free(wg_app *a);

/** Called once, when all sockets listen. @param urls  NULL-terminated, "http://127.0.0.1:8080";
 *  borrowed for the call */
typedef void (*wg_listening_cb)(void *user, const char *const *urls);
/** Called after each reload, on a thread of the library: new requests get the new code (err is
 *  NULL), or all is as it was and err says why. Borrowed for the call.
 *  @param generation  what is served now: 1 at the start, one more with each good reload */
typedef void (*wg_reloaded_cb)(void *user, uint64_t generation, const wg_error *err);
/** What to serve; zero-initialise: what warp.toml names. Borrowed until wg_engine_serve() returns.
 */
typedef struct wg_serve_options {
  wg_app *app; /**< one made with wg_engine_instantiate(); or */
  const char *component; /**< a file to load; both NULL: [services], or the one component that
                              warp.toml names */
  unsigned load_flags; /**< WG_LOAD_* for files */
  wg_listening_cb on_listening; /**< may be NULL */
  wg_reloaded_cb on_reloaded; /**< may be NULL */
  void *user; /**< first argument of the callbacks */
} wg_serve_options;
/** Serves HTTP/1.1 and h2c until wg_engine_stop(); then drains: no new connections, requests in
 *  flight finish for at most drain_timeout. An engine serves once.
 *  @param options  NULL: what warp.toml names
 *  @return WG_OK after a stop; WG_IO (a port in use: err names it), WG_INVALID (not a service), and
 *          what wg_engine_load() and wg_engine_instantiate() return */
WG_API WG_MUSTCHECK wg_code wg_engine_serve(wg_engine *e, const wg_serve_options *options,
                                            wg_error *err);
/** Reads warp.toml and the components again, and serves them in place of the old ones, which finish
 *  the requests that they have; no connection is closed. When anything is wrong with the new ones,
 *  the old ones stay. Returns at once; the log and on_reloaded tell the end. Nothing happens unless
 *  wg_engine_serve() is running. An app given by the program cannot be read again.
 *  Any thread; safe in a signal handler. */
WG_API void wg_engine_reload(wg_engine *e);
/** Runs a command component with the process's standard streams, to its end or to a stop.
 *  @param exit_code  the guest's, 0..255; 130 after a stop, unless the guest asked for its signal and
 *                    ends by itself within drain_timeout
 *  @return WG_OK; WG_INVALID (not a command), WG_TRAP (err carries the backtrace) */
WG_API WG_MUSTCHECK wg_code wg_engine_run(wg_engine *e, wg_app *app, int *exit_code, wg_error *err);
/** What `warpgrid:shim/signals` brings to a guest, in the order of its enum. */
typedef enum wg_signal {
  WG_SIGNAL_TERMINATE = 0, /**< the host is about to stop */
  WG_SIGNAL_HANGUP = 1, /**< the configuration was reloaded */
  WG_SIGNAL_INTERRUPT = 2 /**< the operator pressed Ctrl-C */
} wg_signal;

/** Ends wg_engine_serve() or wg_engine_run(). Guests that asked for the signal get it first, and may
 *  go on for at most drain_timeout; the first stop's signal holds. wg_engine_stop() is the one with
 *  WG_SIGNAL_TERMINATE. Any thread; safe in a signal handler; a second call ends without draining. */
WG_API void wg_engine_stop(wg_engine *e);
WG_API void wg_engine_stop_with(wg_engine *e, wg_signal signal);

/** Queues a signal for one guest instance. It is told nothing else: WG_SIGNAL_TERMINATE stops no
 *  host. A signal that the instance did not ask for is ignored; when its queue is full the oldest
 *  goes, which the log says once. Any thread, not a signal handler.
 *  @param instance_id  from wg_engine_each_instance()
 *  @return WG_OK; WG_NOT_FOUND: it is gone, or never asked for a signal; WG_INVALID: no signal */
WG_API WG_MUSTCHECK wg_code wg_engine_deliver_signal(wg_engine *e, uint64_t instance_id,
                                                     wg_signal signal, wg_error *err);
/** The same for all instances of a service, also those of the code before a reload.
 *  @param service  its name in [services], else the configured name; NULL: all
 *  @param told     gets how many asked for this signal and have it now; may be NULL
 *  @return WG_OK, also when nobody asked; WG_NOT_FOUND: no such service (the hint names those that
 *          there are); WG_INVALID: no signal */
WG_API WG_MUSTCHECK wg_code wg_engine_signal(wg_engine *e, const char *service, wg_signal signal,
                                             size_t *told, wg_error *err);

/** What a guest declared by `warpgrid:shim/threading`. Every instance runs on one thread. */
typedef enum wg_threading {
  WG_THREADING_NONE = 0, /**< nothing */
  WG_THREADING_PARALLEL_REQUIRED = 1,
  WG_THREADING_COOPERATIVE = 2
} wg_threading;
/** A guest instance that asked for signals or declared a threading model. */
typedef struct wg_instance_info {
  uint64_t id; /**< unique in the process, never 0, never used again */
  char *service; /**< borrowed for the call */
  unsigned worker; /**< 1-based */
  uint32_t interest; /**< 1 << wg_signal for each signal it asked for */
  uint32_t queued; /**< signals that it has not taken yet */
  uint64_t dropped; /**< signals that it took too late */
  wg_threading threading;
  uint64_t age_ms;
} wg_instance_info;
/** Tells of every such instance as it was when asked; one that does neither is not known. The
 *  callback may call the engine. Any thread.
 *  @return WG_OK; WG_NOMEM: none was told of */
WG_API WG_MUSTCHECK wg_code wg_engine_each_instance(
    wg_engine *e, void (*item)(void *user, const wg_instance_info *i), void *user, wg_error *err);

/** "0.1.0"; static. */
WG_API const char *wg_version(void);
/** The Wasmtime inside, "48.0.8"; static. */
WG_API const char *wg_wasmtime_version(void);

#ifdef __cplusplus
}
#endif
