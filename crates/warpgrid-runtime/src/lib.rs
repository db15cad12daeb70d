// SPDX-License-Identifier: Apache-2.0
//! The one crate over Wasmtime: engine, components, instances, HTTP, and the bridge of host
//! functions to C. `include/wgrt.h` documents each function of this file; there is no policy here.
//!
//! Panics do not unwind into C: the crate is built with panic=abort.

// What each function asks of its caller is said in wgrt.h.
#![allow(clippy::missing_safety_doc)]

mod abi;
mod app;
mod engine;
mod fetch;
mod files;
mod gate;
mod host;
mod instances;
mod names;
mod outgoing;
mod peer;
mod serve;
mod shadow;
mod shims;
mod signals;
mod sockets;
mod spin;
mod stdio;
mod toml_walk;
mod trace;
mod versions;
mod watch;
mod worker;

use abi::{AppCfg, Bytes, EngineCfg, Error, Failure, FetchCfg, Host, Kind, ListenCfg, TomlEvent};
use app::App;
use engine::{Engine, Loaded};
use serve::Listen;
use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;
use std::time::Duration;
use worker::Worker;

/// Of this crate's Rust code only: C keeps malloc(3), and nothing allocated on one side is freed on
/// the other. A request is dozens of short-lived allocations on one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Hands a result to C.
unsafe fn give<T>(r: Result<T, Failure>, out: *mut *mut T, err: *mut Error) -> c_int {
    match r {
        Ok(v) => {
            unsafe { *out = Box::into_raw(Box::new(v)) };
            0
        }
        Err(f) => {
            unsafe { f.write(err) };
            -1
        }
    }
}

unsafe fn status(r: Result<(), Failure>, err: *mut Error) -> c_int {
    match r {
        Ok(()) => 0,
        Err(f) => {
            unsafe { f.write(err) };
            -1
        }
    }
}

unsafe fn free<T>(p: *mut T) {
    if !p.is_null() {
        drop(unsafe { Box::from_raw(p) });
    }
}

fn size_mismatch(what: &str) -> Failure {
    Failure::new(Kind::Other, format!("{what}: header and library do not match"))
}

#[unsafe(no_mangle)]
pub extern "C" fn wgrt_abi_version() -> u32 {
    abi::ABI_VERSION
}

#[unsafe(no_mangle)]
pub extern "C" fn wgrt_wasmtime_version() -> *const c_char {
    c"48.0.8".as_ptr()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_abi_layout(out: *mut u32, cap: usize) -> usize {
    let layout = abi::layout();
    for (i, v) in layout.iter().take(cap).enumerate() {
        unsafe { out.add(i).write(*v) };
    }
    layout.len()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_toml_walk(
    text: Bytes,
    event: unsafe extern "C" fn(*mut c_void, *const TomlEvent) -> c_int,
    user: *mut c_void,
    err: *mut Error,
) -> c_int {
    match toml_walk::walk(unsafe { text.slice() }, &mut |e| unsafe { event(user, e) }) {
        Ok(n) => n,
        Err(f) => {
            unsafe { f.write(err) };
            -1
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_engine_new(
    cfg: *const EngineCfg,
    out: *mut *mut Engine,
    err: *mut Error,
) -> c_int {
    let cfg = unsafe { &*cfg };
    let r = if cfg.size as usize == size_of::<EngineCfg>() {
        unsafe { Engine::new(cfg) }
    } else {
        Err(size_mismatch("wgrt_engine_cfg"))
    };
    unsafe { give(r, out, err) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_engine_free(e: *mut Engine) {
    unsafe { free(e) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_engine_inflight(e: *const Engine) -> u32 {
    let e = unsafe { &*e };
    e.traffic.inflight.load(std::sync::atomic::Ordering::Relaxed)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_component_load(
    e: *const Engine,
    path: Bytes,
    trusted: c_int,
    out: *mut *mut Loaded,
    err: *mut Error,
) -> c_int {
    let r = unsafe { Loaded::from_file(&*e, &path.text(), trusted != 0) };
    unsafe { give(r, out, err) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_component_from_bytes(
    e: *const Engine,
    wasm: Bytes,
    out: *mut *mut Loaded,
    err: *mut Error,
) -> c_int {
    let r = unsafe { Loaded::from_bytes(&*e, wasm.slice(), "component") };
    unsafe { give(r, out, err) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_component_save(
    c: *const Loaded,
    path: Bytes,
    err: *mut Error,
) -> c_int {
    unsafe { status((*c).save(&path.text()), err) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_component_kind(c: *const Loaded) -> u32 {
    unsafe { (*c).kind as u32 }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_component_each(
    c: *const Loaded,
    item: unsafe extern "C" fn(*mut c_void, c_int, Bytes),
    user: *mut c_void,
) {
    let c = unsafe { &*c };
    for (is_export, names) in [(0, &c.imports), (1, &c.exports)] {
        for name in names {
            unsafe { item(user, is_export, Bytes::of(name.as_bytes())) };
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_component_free(c: *mut Loaded) {
    unsafe { free(c) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_implements(
    name: Bytes,
    is_export: c_int,
    link: *mut u32,
    version: unsafe extern "C" fn(*mut c_void, Bytes),
    user: *mut c_void,
) -> c_int {
    let found = versions::find(&unsafe { name.text() }, is_export != 0);
    unsafe { *link = found.link };
    for v in &found.versions {
        unsafe { version(user, Bytes::of(v.as_bytes())) };
    }
    found.served.into()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_app_new(
    e: *const Engine,
    c: *const Loaded,
    cfg: *const AppCfg,
    out: *mut *mut Arc<App>,
    err: *mut Error,
) -> c_int {
    let cfg = unsafe { &*cfg };
    let r = if cfg.size as usize == size_of::<AppCfg>() {
        unsafe { App::new(&*e, &*c, cfg) }
    } else {
        Err(size_mismatch("wgrt_app_cfg"))
    };
    unsafe { give(r.map(Arc::new), out, err) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_app_free(a: *mut Arc<App>) {
    unsafe { free(a) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_op_complete(op: *mut abi::Op, status: i32, msg: *const c_char) {
    unsafe { host::complete(op, status, msg) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_worker_new(
    _e: *const Engine,
    host: *const Host,
    stop_fd: c_int,
    out: *mut *mut Worker,
    err: *mut Error,
) -> c_int {
    let host = unsafe { &*host };
    let r = if host.size as usize == size_of::<Host>() {
        Worker::new(*host, stop_fd)
    } else {
        Err(size_mismatch("wgrt_host"))
    };
    unsafe { give(r, out, err) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_worker_listen(
    w: *const Worker,
    cfg: *const ListenCfg,
    fds: *const c_int,
    count: usize,
    err: *mut Error,
) -> c_int {
    let cfg = unsafe { &*cfg };
    let fds = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(fds, count) } };
    let listen = Listen { header_bytes: cfg.header_bytes as usize, admin: cfg.admin != 0 };
    unsafe { (*w).listen(listen, fds) };
    let known = cfg.size as usize == size_of::<ListenCfg>();
    unsafe { status(if known { Ok(()) } else { Err(size_mismatch("wgrt_listen_cfg")) }, err) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_worker_retire(_w: *const Worker, app: *const Arc<App>) {
    serve::retire(unsafe { &*app });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_worker_run(
    w: *const Worker,
    drain_ms: u32,
    idle: unsafe extern "C" fn(*mut c_void) -> c_int,
    err: *mut Error,
) -> c_int {
    let ctx = host::host().ctx;
    unsafe { status((*w).run(Duration::from_millis(drain_ms.into()), &mut || idle(ctx)), err) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_worker_run_command(
    w: *const Worker,
    app: *const Arc<App>,
    drain_ms: u32,
    exit_code: *mut c_int,
    err: *mut Error,
) -> c_int {
    let r = unsafe { (*w).run_command(&*app, Duration::from_millis(drain_ms.into())) };
    unsafe { status(r.map(|code| *exit_code = code), err) }
}

#[unsafe(no_mangle)]
pub extern "C" fn wgrt_worker_kick(_w: *const Worker) {
    host::kick();
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_worker_free(w: *mut Worker) {
    unsafe { free(w) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_watch_start(
    w: *const Worker,
    fd: c_int,
    cb: watch::Callback,
    user: *mut c_void,
    out: *mut *mut watch::Watch,
    err: *mut Error,
) -> c_int {
    unsafe { give((*w).watch(fd, cb, user), out, err) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_watch_arm(w: *const watch::Watch, events: u32) {
    unsafe { (*w).arm(events) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_watch_stop(w: *mut watch::Watch) {
    unsafe { Box::from_raw(w) }.stop();
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_fetch_start(
    w: *const Worker,
    cfg: *const FetchCfg,
    done: unsafe extern "C" fn(*mut c_void, u32, Bytes, Bytes, *const c_char),
    user: *mut c_void,
    out: *mut *mut fetch::Fetch,
    err: *mut Error,
) -> c_int {
    let cfg = unsafe { &*cfg };
    let request = if cfg.size as usize == size_of::<FetchCfg>() {
        unsafe { fetch::Request::new(cfg) }
    } else {
        Err(size_mismatch("wgrt_fetch_cfg"))
    };
    let done = fetch::Done { call: done, user };
    unsafe { status(request.map(|r| *out = (*w).fetch(r, done)), err) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn wgrt_fetch_cancel(f: *mut fetch::Fetch) {
    unsafe { Box::from_raw(f) }.cancel();
}
