// SPDX-License-Identifier: Apache-2.0
//! The engine and components: compilation, its cache, and what a component is.

use crate::abi::{EngineCfg, Failure, Kind};
use crate::versions::{P2, P3, compatible};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use wasmtime::component::Component;
use wasmtime::{
    Cache, CacheConfig, Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig,
};

pub struct Engine {
    pub wasmtime: wasmtime::Engine,
    pub epochs: bool,
    pub traffic: Arc<Traffic>,
    ticker: Option<(Arc<AtomicBool>, std::thread::JoinHandle<()>)>,
}

/// Requests of the process.
#[derive(Default)]
pub struct Traffic {
    pub inflight: AtomicU32,
    /// So far: the id of the last one.
    pub requests: AtomicU64,
}

/// Core instances, memories and tables that a component may have on average; a component made by
/// ordinary toolchains has one memory and a handful of core instances.
const CORE_INSTANCES: u32 = 6;
const TABLES: u32 = 4;

impl Engine {
    /// # Safety
    /// `cfg`'s pointers must be valid.
    pub unsafe fn new(cfg: &EngineCfg) -> Result<Engine, Failure> {
        crate::trace::begin().map_err(|e| Failure::new(Kind::Other, e))?;
        let mut c = Config::new();
        c.wasm_component_model_async(true);
        // The C SDK lifts a handler that waits this way (sdk/c/src/task.h); off by default.
        c.wasm_component_model_async_stackful(true);
        c.wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable);
        c.epoch_interruption(cfg.epoch_ms != 0);
        let n = cfg.max_instances.max(1);
        let mut p = PoolingAllocationConfig::new();
        p.total_component_instances(n)
            .total_core_instances(n.saturating_mul(CORE_INSTANCES))
            .total_memories(n)
            .total_tables(n.saturating_mul(TABLES))
            .total_stacks(n.saturating_add(cfg.max_tasks))
            .max_memory_size(cfg.max_memory_bytes as usize)
            .linear_memory_keep_resident(256 << 10)
            .table_keep_resident(16 << 10)
            .async_stack_keep_resident(8 << 10)
            .max_unused_warm_slots(n)
            .pagemap_scan(Enabled::Auto);
        c.allocation_strategy(InstanceAllocationStrategy::Pooling(p));
        c.memory_init_cow(true);
        let cache_dir = unsafe { cfg.cache_dir.text() };
        if !cache_dir.is_empty() {
            let mut cc = CacheConfig::new();
            cc.with_directory(PathBuf::from(cache_dir));
            c.cache(Some(Cache::new(cc)?));
        }
        let wasmtime = wasmtime::Engine::new(&c)?;
        let ticker = (cfg.epoch_ms != 0).then(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let (flag, engine) = (stop.clone(), wasmtime.weak());
            let tick = Duration::from_millis(cfg.epoch_ms.into());
            let thread = std::thread::spawn(move || {
                while !flag.load(Ordering::Relaxed) {
                    std::thread::park_timeout(tick);
                    match engine.upgrade() {
                        Some(e) => e.increment_epoch(),
                        None => return,
                    }
                }
            });
            (stop, thread)
        });
        Ok(Engine { wasmtime, epochs: cfg.epoch_ms != 0, traffic: Arc::default(), ticker })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            stop.store(true, Ordering::Relaxed);
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
#[repr(u32)]
pub enum ComponentKind {
    Other = 0,
    P2Http = 1,
    P3Http = 2,
    P2Command = 3,
    P3Command = 4,
}

pub struct Loaded {
    pub component: Component,
    pub kind: ComponentKind,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Loaded {
    pub fn from_file(e: &Engine, path: &str, trusted: bool) -> Result<Loaded, Failure> {
        let io = |e: std::io::Error| {
            let what = match e.kind() {
                std::io::ErrorKind::NotFound => "no such file".to_string(),
                std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
                std::io::ErrorKind::IsADirectory => "it is a directory".to_string(),
                _ => e.to_string(),
            };
            Failure::new(Kind::Io, format!("cannot read '{path}': {what}"))
        };
        let bytes = std::fs::read(path).map_err(io)?;
        if bytes.starts_with(b"\x7fELF") {
            if !trusted {
                return Err(Failure::new(
                    Kind::Untrusted,
                    format!("'{path}' holds native code, which is loaded only when trusted"),
                ));
            }
            // SAFETY: the caller vouches for the file. Wasmtime refuses other versions' files.
            let component = unsafe { Component::deserialize_file(&e.wasmtime, path) }
                .map_err(|err| broken(path, &err))?;
            return Ok(Loaded::describe(e, component));
        }
        Loaded::from_bytes(e, &bytes, path)
    }

    pub fn from_bytes(e: &Engine, bytes: &[u8], name: &str) -> Result<Loaded, Failure> {
        let bad = |why: &str| Err(Failure::new(Kind::Component, format!("'{name}' {why}")));
        if bytes.is_empty() {
            return bad("is empty");
        }
        if let Some(rest) = bytes.strip_prefix(b"\0asm") {
            match rest {
                [1, 0, 0, 0, ..] => {
                    return bad("is a core WebAssembly module, not a component; build it for \
                                wasm32-wasip2, or wrap it with 'wasm-tools component new'");
                }
                [0x0d, 0, 1, 0, ..] => {}
                [_, _, _, _, ..] => return bad("is of an unknown WebAssembly version"),
                _ => return bad("is truncated"),
            }
        } else if !bytes.trim_ascii_start().starts_with(b"(") {
            return bad("is not a WebAssembly file");
        }
        let component = Component::new(&e.wasmtime, bytes).map_err(|err| broken(name, &err))?;
        Ok(Loaded::describe(e, component))
    }

    fn describe(e: &Engine, component: Component) -> Loaded {
        let ty = component.component_type();
        let imports = ty.imports(&e.wasmtime).map(|(n, _)| n.to_string()).collect();
        let exports: Vec<String> = ty.exports(&e.wasmtime).map(|(n, _)| n.to_string()).collect();
        let has = |interface: &str, version: &str| {
            exports
                .iter()
                .filter_map(|n| n.split_once('@'))
                .any(|(n, v)| n == interface && compatible(v, version))
        };
        let kind = if has("wasi:http/handler", P3) {
            ComponentKind::P3Http
        } else if has("wasi:http/incoming-handler", P2) {
            ComponentKind::P2Http
        } else if has("wasi:cli/run", P3) {
            ComponentKind::P3Command
        } else if has("wasi:cli/run", P2) {
            ComponentKind::P2Command
        } else {
            ComponentKind::Other
        };
        Loaded { component, kind, imports, exports }
    }

    /// Writes the compiled code under a temporary name, then renames it.
    pub fn save(&self, path: &str) -> Result<(), Failure> {
        let bytes = self.component.serialize()?;
        let temporary = format!("{path}.{}.tmp", std::process::id());
        let write = || -> std::io::Result<()> {
            std::fs::write(&temporary, &bytes)?;
            std::fs::rename(&temporary, Path::new(path))
        };
        write().map_err(|e| {
            let _ = std::fs::remove_file(&temporary);
            Failure::new(Kind::Io, format!("cannot write '{path}': {e}"))
        })
    }
}

fn broken(name: &str, err: &wasmtime::Error) -> Failure {
    let text = format!("{err:#}");
    let why = if text.contains("unexpected end") || text.contains("out of bounds") {
        "is truncated"
    } else {
        "is not valid"
    };
    Failure::new(Kind::Component, format!("'{name}' {why}: {text}"))
}
