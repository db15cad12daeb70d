// SPDX-License-Identifier: Apache-2.0
//! The host side of `warpgrid:shim` and `warpgrid:shim-async`: each function one line over the
//! operations of `host`.

mod channel;
mod database;
mod database_async;
mod files;
mod names;
mod signals;
mod threading;

pub use channel::{Receiver, Sender, outcome};
pub use database::{Input, Output};
pub use names::PendingResolve;

use crate::app::State;
use wasmtime::component::{HasSelf, Linker};

/// Bindings of the interfaces for WASI 0.2 guests.
pub mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package warpgrid:host;
            world sync {
                import warpgrid:shim/filesystem@0.1.0;
                import warpgrid:shim/dns@0.1.0;
                import warpgrid:shim/signals@0.1.0;
                import warpgrid:shim/database-proxy@0.1.0;
                import warpgrid:shim/threading@0.1.0;
            }
        ",
        path: "../../wit/shim",
        world: "warpgrid:host/sync",
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "warpgrid:shim/filesystem.file": super::files::OpenFile,
            "warpgrid:shim/dns.pending-resolve": super::names::PendingResolve,
            "warpgrid:shim/database-proxy.pending-connect": super::database::PendingConnect,
        },
        imports: { default: async | trappable },
    });
}

/// Bindings of the interfaces for WASI 0.3 guests.
pub mod bindings_async {
    wasmtime::component::bindgen!({
        inline: "
            package warpgrid:host;
            world concurrent {
                import warpgrid:shim-async/filesystem@0.1.0;
                import warpgrid:shim-async/dns@0.1.0;
                import warpgrid:shim-async/signals@0.1.0;
                import warpgrid:shim-async/database-proxy@0.1.0;
            }
        ",
        path: "../../wit/shim-async",
        world: "warpgrid:host/concurrent",
        imports: {
            "warpgrid:shim-async/filesystem.open": store | trappable,
            "warpgrid:shim-async/database-proxy.receive-channel": store | trappable,
            "warpgrid:shim-async/database-proxy.send-channel": store | trappable,
            default: async | trappable,
        },
    });
}

pub const LINK_FILESYSTEM: u32 = 1 << 0;
pub const LINK_DNS: u32 = 1 << 1;
pub const LINK_SIGNALS: u32 = 1 << 2;
pub const LINK_DATABASE_PROXY: u32 = 1 << 3;
pub const LINK_THREADING: u32 = 1 << 4;

/// The interfaces of both packages, and the bit that links each.
pub const LINKS: &[(&str, u32)] = &[
    ("filesystem", LINK_FILESYSTEM),
    ("dns", LINK_DNS),
    ("signals", LINK_SIGNALS),
    ("database-proxy", LINK_DATABASE_PROXY),
    ("threading", LINK_THREADING),
];

pub fn add_to_linker(l: &mut Linker<State>, link: u32) -> wasmtime::Result<()> {
    use bindings::warpgrid::shim::{database_proxy, dns, filesystem, signals, threading};
    use bindings_async::warpgrid::shim_async as concurrent;
    if link & LINK_FILESYSTEM != 0 {
        filesystem::add_to_linker::<_, HasSelf<_>>(l, |s| s)?;
        concurrent::filesystem::add_to_linker::<_, HasSelf<_>>(l, |s| s)?;
    }
    if link & LINK_DNS != 0 {
        dns::add_to_linker::<_, HasSelf<_>>(l, |s| s)?;
        concurrent::dns::add_to_linker::<_, HasSelf<_>>(l, |s| s)?;
    }
    if link & LINK_SIGNALS != 0 {
        signals::add_to_linker::<_, HasSelf<_>>(l, |s| s)?;
        concurrent::signals::add_to_linker::<_, HasSelf<_>>(l, |s| s)?;
    }
    if link & LINK_DATABASE_PROXY != 0 {
        database_proxy::add_to_linker::<_, HasSelf<_>>(l, |s| s)?;
        database::add_send(l)?;
        concurrent::database_proxy::add_to_linker::<_, HasSelf<_>>(l, |s| s)?;
    }
    if link & LINK_THREADING != 0 {
        threading::add_to_linker::<_, HasSelf<_>>(l, |s| s)?;
    }
    Ok(())
}

/// Both packages have a `db-error` of their own; this fills either from a host error.
macro_rules! db_errors {
    ($error:ty) => {
        /// What a failed connect tells the guest.
        fn connect_error(e: $crate::host::HostError) -> $error {
            match e.code {
                INVALID => <$error>::InvalidArgument(e.msg),
                _ => common_error(e, <$error>::ConnectionFailed),
            }
        }

        /// What a failed operation on a handle tells the guest.
        fn handle_error(e: $crate::host::HostError) -> $error {
            match e.code {
                INVALID => <$error>::InvalidHandle(e.msg),
                AGAIN => <$error>::WouldBlock(e.msg),
                _ => common_error(e, <$error>::ConnectionLost),
            }
        }

        fn common_error(e: $crate::host::HostError, other: fn(String) -> $error) -> $error {
            match e.code {
                TIMEOUT => <$error>::Timeout(e.msg),
                REFUSED => <$error>::NotAllowed(e.msg),
                AUTH => <$error>::AuthenticationFailed(e.msg),
                EXHAUSTED => <$error>::PoolExhausted(e.msg),
                UNSUPPORTED => <$error>::Unsupported(e.msg),
                _ => other(e.msg),
            }
        }
    };
}
use db_errors;

/// The values of wg_code (include/warpgrid/error.h) that have a case of their own.
pub mod code {
    pub const INVALID: i64 = -1;
    pub const IO: i64 = -3;
    pub const TIMEOUT: i64 = -4;
    pub const NOT_FOUND: i64 = -6;
    pub const REFUSED: i64 = -10;
    pub const AUTH: i64 = -12;
    pub const EXHAUSTED: i64 = -13;
    pub const UNSUPPORTED: i64 = -15;
    pub use crate::host::AGAIN;
}

/// What `send` and `recv` answer on a handle whose direction became a stream, and what a second
/// call that would make it one answers.
const STREAMED: &str = "this direction of the connection was taken as a stream";

/// A receive of 0 bytes is the peer's end of file in our contract, so a guest may not ask for it.
const ZERO_MAX: &str = "max-bytes is 0; ask for at least 1";
