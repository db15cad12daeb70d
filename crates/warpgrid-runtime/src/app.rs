// SPDX-License-Identifier: Apache-2.0
//! Apps: a component linked with what its policy allows, and the store of each of its instances.

use crate::abi::{AppCfg, Failure, Kind};
use crate::engine::{ComponentKind, Engine, Loaded, Traffic};
use crate::files;
use crate::host::Instance;
use crate::outgoing::Hooks;
use crate::shadow;
use crate::shims;
use crate::sockets::Socket;
use crate::stdio::GuestOutput;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use wasmtime::component::{InstancePre, Linker, ResourceTable};
use wasmtime::{Result, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// What a store holds.
pub struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    pub table: ResourceTable,
    limits: StoreLimits,
    hooks: Hooks,
    pub inst: Arc<Instance>,
    /// Directories that hold virtual paths, by their descriptors.
    pub dirs: files::Dirs,
    pub files: Arc<files::Cache>,
    /// Database handles of which directions (READ, WRITE) became streams.
    pub streamed: HashMap<u64, u32>,
    /// Sockets that were connected, by the number of WASI's own.
    pub connected: HashMap<u32, Socket>,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

impl State {
    /// False when one of the directions became a stream before.
    pub fn take_as_stream(&mut self, handle: u64, directions: u32) -> bool {
        let taken = self.streamed.entry(handle).or_default();
        let free = *taken & directions == 0;
        *taken |= directions;
        free
    }

    /// The guest has dropped the socket: its session goes back.
    pub fn end_socket(&mut self, socket: u32) {
        if let Some(handle) = self.connected.remove(&socket).and_then(|s| s.handle()) {
            let _ = crate::host::db_close(&self.inst, handle);
        }
    }

    pub fn is_stream(&self, handle: u64, direction: u32) -> bool {
        !self.streamed.is_empty()
            && self.streamed.get(&handle).is_some_and(|taken| taken & direction != 0)
    }
}

pub enum Pre {
    P2Http(wasmtime_wasi_http::p2::bindings::ProxyPre<State>),
    P3Http(wasmtime_wasi_http::p3::bindings::ServicePre<State>),
    P2Command(wasmtime_wasi::p2::bindings::CommandPre<State>),
    P3Command(wasmtime_wasi::p3::bindings::CommandPre<State>),
    /// Links, but exports nothing that can be called.
    Other,
}

struct Dir {
    host: String,
    guest: String,
    writable: bool,
}

/// The figures of wgrt_app_cfg.
pub struct Policy {
    pub memory_bytes: usize,
    pub body_bytes: u64,
    pub reuse: usize,
    pub max_concurrent: usize,
    pub max_inflight: u32,
    pub request_timeout: Duration,
    pub instance_idle: Duration,
    pub inherit_stdio: bool,
    host_names: bool,
    env: Vec<(String, String)>,
    args: Vec<String>,
    preopens: Vec<Dir>,
}

pub struct App {
    pub engine: wasmtime::Engine,
    epochs: bool,
    pub pre: Pre,
    pub policy: Policy,
    /// C's own pointer.
    pub user: *mut c_void,
    pub traffic: Arc<Traffic>,
    files: Arc<files::Cache>,
    /// A reload put another app in its place: instances end as soon as they are idle.
    pub retired: AtomicBool,
}
// SAFETY: `user` is handed back to C, which says what it may do with it on which thread.
unsafe impl Send for App {}
unsafe impl Sync for App {}

impl App {
    /// # Safety
    /// `cfg`'s pointers must be valid for the call.
    pub unsafe fn new(e: &Engine, c: &Loaded, cfg: &AppCfg) -> Result<App, Failure> {
        let link_error = |err: wasmtime::Error| Failure::new(Kind::Link, format!("{err:#}"));
        let mut l: Linker<State> = Linker::new(&e.wasmtime);
        wasmtime_wasi::p2::add_to_linker_async(&mut l)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut l)?;
        wasmtime_wasi::p3::add_to_linker(&mut l)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut l)?;
        shims::add_to_linker(&mut l, cfg.link)?;
        shadow::add_to_linker(&mut l, cfg.link)?;
        let pre = l.instantiate_pre(&c.component).map_err(link_error)?;
        Ok(App {
            engine: e.wasmtime.clone(),
            epochs: e.epochs,
            pre: typed(c.kind, pre)?,
            policy: unsafe { policy(cfg)? },
            user: cfg.app,
            traffic: e.traffic.clone(),
            files: Arc::default(),
            retired: AtomicBool::new(false),
        })
    }

    /// A store with its limits, ready to instantiate in.
    pub fn new_store(&self, inst: Arc<Instance>, output: Option<&GuestOutput>) -> Store<State> {
        let p = &self.policy;
        let mut b = WasiCtx::builder();
        b.envs(&p.env).args(&p.args);
        b.allow_ip_name_lookup(p.host_names);
        // Where a connect may go is decided before WASI sees it; nothing listens, nothing sends
        // datagrams.
        b.allow_tcp(true).allow_udp(false);
        b.socket_addr_check(|to, what| {
            let ok = match what {
                SocketAddrUse::TcpConnect => true,
                SocketAddrUse::TcpBind => to.ip().is_unspecified() && to.port() == 0,
                _ => false,
            };
            Box::pin(async move { ok })
        });
        for d in &p.preopens {
            let perms = if d.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            // Checked when the app was made; a folder that went away since is simply not there.
            let _ = b.preopened_dir(&d.host, &d.guest, perms);
        }
        match output {
            Some(o) => {
                b.stdout(o.stream(1)).stderr(o.stream(2));
            }
            None => {
                b.inherit_stdio();
            }
        }
        let state = State {
            wasi: b.build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            limits: StoreLimitsBuilder::new().memory_size(p.memory_bytes).build(),
            hooks: Hooks(inst.clone()),
            inst,
            dirs: files::Dirs::default(),
            files: self.files.clone(),
            streamed: HashMap::new(),
            connected: HashMap::new(),
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|s| &mut s.limits);
        if self.epochs {
            store.set_epoch_deadline(1);
            // The yield must reach tokio, so that I/O and deadlines are served meanwhile.
            store.epoch_deadline_callback(|_| {
                Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
            });
        }
        store
    }
}

fn typed(kind: ComponentKind, pre: InstancePre<State>) -> Result<Pre, Failure> {
    let export_error = |err: wasmtime::Error| Failure::new(Kind::Export, format!("{err:#}"));
    Ok(match kind {
        ComponentKind::P2Http => {
            Pre::P2Http(wasmtime_wasi_http::p2::bindings::ProxyPre::new(pre).map_err(export_error)?)
        }
        ComponentKind::P3Http => Pre::P3Http(
            wasmtime_wasi_http::p3::bindings::ServicePre::new(pre).map_err(export_error)?,
        ),
        ComponentKind::P2Command => {
            Pre::P2Command(wasmtime_wasi::p2::bindings::CommandPre::new(pre).map_err(export_error)?)
        }
        ComponentKind::P3Command => {
            Pre::P3Command(wasmtime_wasi::p3::bindings::CommandPre::new(pre).map_err(export_error)?)
        }
        ComponentKind::Other => Pre::Other,
    })
}

unsafe fn policy(cfg: &AppCfg) -> Result<Policy, Failure> {
    unsafe fn list<'a, T>(p: *const T, n: usize) -> &'a [T] {
        if n == 0 { &[] } else { unsafe { std::slice::from_raw_parts(p, n) } }
    }
    let (env, args, preopens) = unsafe {
        (
            list(cfg.env, cfg.env_count)
                .iter()
                .map(|b| {
                    let kv = b.text();
                    let (k, v) = kv.split_once('=').unwrap_or((&kv, ""));
                    (k.to_string(), v.to_string())
                })
                .collect(),
            list(cfg.args, cfg.arg_count).iter().map(|b| b.text()).collect(),
            list(cfg.preopens, cfg.preopen_count)
                .iter()
                .map(|d| Dir {
                    host: d.host.text(),
                    guest: d.guest.text(),
                    writable: d.writable != 0,
                })
                .collect::<Vec<Dir>>(),
        )
    };
    for d in &preopens {
        if let Err(e) = std::fs::read_dir(&d.host) {
            let msg = format!("cannot open directory '{}' for the guest: {e}", d.host);
            return Err(Failure::new(Kind::Io, msg));
        }
    }
    Ok(Policy {
        memory_bytes: usize::try_from(cfg.memory_bytes).unwrap_or(usize::MAX),
        body_bytes: if cfg.body_bytes == 0 { u64::MAX } else { cfg.body_bytes },
        reuse: cfg.reuse.max(1) as usize,
        max_concurrent: cfg.max_concurrent.max(1) as usize,
        max_inflight: cfg.max_inflight.max(1),
        request_timeout: Duration::from_millis(cfg.request_timeout_ms.into()),
        instance_idle: Duration::from_millis(cfg.instance_idle_ms.into()),
        inherit_stdio: cfg.inherit_stdio != 0,
        host_names: cfg.host_names != 0,
        env,
        args,
        preopens,
    })
}
