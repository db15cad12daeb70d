// SPDX-License-Identifier: Apache-2.0
//! The Rust side of `include/wgrt.h`: plain data, in the order of the header.

use crate::app::App;
use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

pub const ABI_VERSION: u32 = 4;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    pub p: *const u8,
    pub n: usize,
}

impl Bytes {
    pub const EMPTY: Bytes = Bytes { p: std::ptr::null(), n: 0 };

    pub fn of(b: &[u8]) -> Bytes {
        Bytes { p: b.as_ptr(), n: b.len() }
    }

    /// The pointer is ignored when the length is 0.
    ///
    /// # Safety
    /// `p` must point to `n` readable bytes that outlive the result.
    pub unsafe fn slice<'a>(&self) -> &'a [u8] {
        if self.n == 0 {
            return &[];
        }
        unsafe { std::slice::from_raw_parts(self.p, self.n) }
    }

    /// # Safety
    /// As `slice`. Bytes that are not UTF-8 are replaced.
    pub unsafe fn text(&self) -> String {
        String::from_utf8_lossy(unsafe { self.slice() }).into_owned()
    }
}

#[repr(C)]
pub struct Error {
    pub kind: i32,
    pub msg: [c_char; 1020],
}

#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(i32)]
pub enum Kind {
    Other = 1,
    Io = 2,
    Component = 3,
    Link = 4,
    Export = 5,
    Untrusted = 6,
    Trap = 7,
}

/// An error on its way to C.
pub struct Failure(pub Kind, pub String);

impl Failure {
    pub fn new(kind: Kind, msg: impl Into<String>) -> Failure {
        Failure(kind, msg.into())
    }

    /// Fills `*err` (which may be NULL), cutting at a character boundary with "...".
    ///
    /// # Safety
    /// `err` must be NULL or valid for writes.
    pub unsafe fn write(&self, err: *mut Error) {
        if err.is_null() {
            return;
        }
        let err = unsafe { &mut *err };
        err.kind = self.0 as i32;
        let room = err.msg.len() - 1;
        let mut text = self.1.as_str();
        let cut;
        if text.len() > room {
            let mut end = room - 3;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            cut = format!("{}...", &text[..end]);
            text = &cut;
        }
        for (to, from) in err.msg.iter_mut().zip(text.bytes().chain([0])) {
            *to = from as c_char;
        }
    }
}

impl From<wasmtime::Error> for Failure {
    fn from(e: wasmtime::Error) -> Self {
        Failure(Kind::Other, format!("{e:#}"))
    }
}

#[repr(C)]
pub struct TomlEvent {
    pub kind: u32,
    pub line: u32,
    pub column: u32,
    pub value_line: u32,
    pub value_column: u32,
    pub key: Bytes,
    pub string: Bytes,
    pub integer: i64,
}

#[repr(C)]
pub struct EngineCfg {
    pub size: u32,
    pub epoch_ms: u32,
    pub max_instances: u32,
    pub max_tasks: u32,
    pub max_memory_bytes: u64,
    pub cache_dir: Bytes,
}

#[repr(C)]
pub struct Preopen {
    pub host: Bytes,
    pub guest: Bytes,
    pub writable: u32,
    pub reserved: u32,
}

#[repr(C)]
pub struct AppCfg {
    pub size: u32,
    pub link: u32,
    pub app: *mut c_void,
    pub env: *const Bytes,
    pub env_count: usize,
    pub args: *const Bytes,
    pub arg_count: usize,
    pub preopens: *const Preopen,
    pub preopen_count: usize,
    pub memory_bytes: u64,
    pub body_bytes: u64,
    pub reuse: u32,
    pub max_concurrent: u32,
    pub max_inflight: u32,
    pub request_timeout_ms: u32,
    pub instance_idle_ms: u32,
    pub inherit_stdio: u32,
    pub host_names: u32,
    pub reserved: u32,
}

#[repr(C)]
pub struct Op {
    pub priv_: *mut c_void,
    pub priv2: *mut c_void,
}

#[repr(C)]
pub struct OpDbConnect {
    pub op: Op,
    pub protocol: u32,
    pub port: u32,
    pub host: Bytes,
    pub database: Bytes,
    pub user: Bytes,
    pub password: Bytes,
    pub has_password: u32,
    pub reserved: u32,
    pub handle: u64,
    pub space: [u64; 24],
}

#[repr(C)]
pub struct OpDbWait {
    pub op: Op,
    pub handle: u64,
    pub events: u32,
    pub deadline: u32,
    pub spin: u32,
    pub reserved: u32,
    pub space: [u64; 24],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Address {
    pub family: u8,
    pub reserved: [u8; 3],
    pub ttl_s: u32,
    pub bytes: [u8; 16],
}

pub const RESOLVE_ADDRESSES: u32 = 0;
pub const RESOLVE_REVERSE: u32 = 1;
pub const RESOLVE_RECORDS: u32 = 2;

#[repr(C)]
pub struct OpResolve {
    pub op: Op,
    pub what: u32,
    pub rrtype: u32,
    pub name: Bytes,
    pub address: Address,
    pub out: *mut Address,
    pub cap: u32,
    pub count: u32,
    pub space: [u64; 24],
}

#[repr(C)]
pub struct OpSignal {
    pub op: Op,
    pub space: [u64; 4],
}

pub const TCP_DATABASE: u32 = 1;
pub const TCP_REAL: u32 = 2;

#[repr(C)]
pub struct OpTcpConnect {
    pub op: Op,
    pub to: Address,
    pub port: u32,
    pub route: u32,
    pub handle: u64,
    pub real: Address,
    pub real_port: u32,
    pub reserved: u32,
    pub space: [u64; 24],
}

#[repr(C)]
pub struct OpAdmin {
    pub op: Op,
    pub method: Bytes,
    pub path: Bytes,
    pub host: Bytes,
    pub origin: Bytes,
    pub json: u32,
    pub reserved: u32,
}

#[repr(C)]
pub struct ListenCfg {
    pub size: u32,
    pub header_bytes: u32,
    pub admin: u32,
    pub reserved: u32,
}

pub const NODE_FILE: u32 = 1;
pub const NODE_DIRECTORY: u32 = 2;
pub const NODE_DEVICE: u32 = 3;
pub const NODE_MISSING: u32 = 4;
pub const NODE_OUTSIDE: u32 = 5;
pub const NODE_WRITABLE: u32 = 1 << 0;
pub const NODE_WHOLE: u32 = 1 << 1;
pub const NODE_AS_DIRECTORY: u32 = 1 << 2;
pub const NODE_BELOW_FILE: u32 = 1 << 3;
pub const PATH_MAX: usize = 4096;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Node {
    pub kind: u32,
    pub flags: u32,
    pub id: u64,
    pub size: u64,
}

#[repr(C)]
pub struct FetchCfg {
    pub size: u32,
    pub timeout_ms: u32,
    pub max_bytes: u64,
    pub url: Bytes,
    pub etag: Bytes,
    pub authorization: Bytes,
    pub address: Bytes,
}

type Ctx = *mut c_void;
type Inst = *mut c_void;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Host {
    pub size: u32,
    pub spin: u32,
    pub ctx: Ctx,
    pub backend_fd: unsafe extern "C" fn(Ctx) -> c_int,
    pub backend_timeout: unsafe extern "C" fn(Ctx) -> c_int,
    pub run_nowait: unsafe extern "C" fn(Ctx),
    pub route: unsafe extern "C" fn(Ctx, Bytes, Bytes) -> *const Arc<App>,
    pub app_use: unsafe extern "C" fn(Ctx, *mut c_void),
    pub app_unuse: unsafe extern "C" fn(Ctx, *mut c_void),
    pub admin: unsafe extern "C" fn(Ctx, *mut OpAdmin),
    pub admin_cancel: unsafe extern "C" fn(Ctx, *mut OpAdmin),
    pub instance_new: unsafe extern "C" fn(Ctx, *mut c_void) -> Inst,
    pub instance_gone: unsafe extern "C" fn(Ctx, Inst),
    pub db_connect: unsafe extern "C" fn(Ctx, Inst, *mut OpDbConnect),
    pub db_connect_cancel: unsafe extern "C" fn(Ctx, Inst, *mut OpDbConnect),
    pub db_open: unsafe extern "C" fn(Ctx, Inst, Bytes, u32, *mut u64, *mut Error) -> i32,
    pub db_send: unsafe extern "C" fn(Ctx, Inst, u64, *const u8, usize, *mut Error) -> i64,
    pub db_recv: unsafe extern "C" fn(Ctx, Inst, u64, *mut u8, usize, *mut Error) -> i64,
    pub db_wait: unsafe extern "C" fn(Ctx, Inst, *mut OpDbWait),
    pub db_wait_cancel: unsafe extern "C" fn(Ctx, Inst, *mut OpDbWait),
    pub db_shutdown: unsafe extern "C" fn(Ctx, Inst, u64, u32, *mut Error) -> i32,
    pub db_close: unsafe extern "C" fn(Ctx, Inst, u64, *mut Error) -> i32,
    pub tcp_connect: unsafe extern "C" fn(Ctx, Inst, *mut OpTcpConnect),
    pub tcp_connect_cancel: unsafe extern "C" fn(Ctx, Inst, *mut OpTcpConnect),
    pub http_service: unsafe extern "C" fn(Ctx, Inst, Bytes) -> *const Arc<App>,
    pub outgoing: unsafe extern "C" fn(Ctx, Inst, u32),
    pub file_find: unsafe extern "C" fn(Ctx, Inst, Bytes, Bytes, *mut Node, *mut c_char) -> i32,
    pub file_open: unsafe extern "C" fn(Ctx, Inst, u64, *mut u64, *mut c_int, *mut Error) -> i32,
    pub file_list: unsafe extern "C" fn(Ctx, Inst, u64, usize, *mut Bytes, *mut Node) -> i32,
    pub resolve: unsafe extern "C" fn(Ctx, Inst, *mut OpResolve),
    pub resolve_cancel: unsafe extern "C" fn(Ctx, Inst, *mut OpResolve),
    pub signal_interest: unsafe extern "C" fn(Ctx, Inst, u32),
    pub signal_take: unsafe extern "C" fn(Ctx, Inst) -> i32,
    pub signal_wait: unsafe extern "C" fn(Ctx, Inst, *mut OpSignal),
    pub signal_wait_cancel: unsafe extern "C" fn(Ctx, Inst, *mut OpSignal),
    pub signal_waiting: unsafe extern "C" fn(Ctx, Inst) -> i32,
    pub stopping: unsafe extern "C" fn(Ctx) -> u32,
    pub declare_threading: unsafe extern "C" fn(Ctx, Inst, u32) -> i32,
    pub guest_output: unsafe extern "C" fn(Ctx, *mut c_void, u64, i32, Bytes),
    pub guest_failed: unsafe extern "C" fn(Ctx, *mut c_void, u64, Bytes),
    pub request_done: unsafe extern "C" fn(Ctx, *mut c_void, u64, u32, u64),
}

/// Sizes and some offsets, in the order of tests/unit/runtime/abi_test.c.
pub fn layout() -> Vec<u32> {
    use std::mem::{offset_of, size_of};
    [
        size_of::<Bytes>(),
        size_of::<Error>(),
        size_of::<TomlEvent>(),
        offset_of!(TomlEvent, key),
        offset_of!(TomlEvent, integer),
        size_of::<EngineCfg>(),
        offset_of!(EngineCfg, max_memory_bytes),
        offset_of!(EngineCfg, cache_dir),
        size_of::<Preopen>(),
        offset_of!(Preopen, writable),
        size_of::<AppCfg>(),
        offset_of!(AppCfg, app),
        offset_of!(AppCfg, memory_bytes),
        offset_of!(AppCfg, reuse),
        offset_of!(AppCfg, inherit_stdio),
        offset_of!(AppCfg, host_names),
        size_of::<Op>(),
        size_of::<OpDbConnect>(),
        offset_of!(OpDbConnect, host),
        offset_of!(OpDbConnect, handle),
        offset_of!(OpDbConnect, space),
        size_of::<OpDbWait>(),
        offset_of!(OpDbWait, handle),
        offset_of!(OpDbWait, spin),
        offset_of!(OpDbWait, space),
        size_of::<Address>(),
        offset_of!(Address, ttl_s),
        offset_of!(Address, bytes),
        size_of::<OpResolve>(),
        offset_of!(OpResolve, name),
        offset_of!(OpResolve, address),
        offset_of!(OpResolve, out),
        offset_of!(OpResolve, space),
        size_of::<OpTcpConnect>(),
        offset_of!(OpTcpConnect, to),
        offset_of!(OpTcpConnect, port),
        offset_of!(OpTcpConnect, handle),
        offset_of!(OpTcpConnect, real),
        offset_of!(OpTcpConnect, real_port),
        offset_of!(OpTcpConnect, space),
        size_of::<OpSignal>(),
        offset_of!(OpSignal, space),
        size_of::<Node>(),
        offset_of!(Node, id),
        offset_of!(Node, size),
        size_of::<FetchCfg>(),
        offset_of!(FetchCfg, url),
        offset_of!(FetchCfg, authorization),
        offset_of!(FetchCfg, address),
        size_of::<OpAdmin>(),
        offset_of!(OpAdmin, path),
        offset_of!(OpAdmin, json),
        size_of::<ListenCfg>(),
        offset_of!(ListenCfg, admin),
        size_of::<Host>(),
        offset_of!(Host, backend_fd),
        offset_of!(Host, route),
        offset_of!(Host, instance_new),
        offset_of!(Host, db_connect),
        offset_of!(Host, db_wait),
        offset_of!(Host, spin),
        offset_of!(Host, tcp_connect),
        offset_of!(Host, file_find),
        offset_of!(Host, resolve),
        offset_of!(Host, signal_interest),
        offset_of!(Host, stopping),
        offset_of!(Host, declare_threading),
        offset_of!(Host, request_done),
    ]
    .iter()
    .map(|&n| n as u32)
    .collect()
}
