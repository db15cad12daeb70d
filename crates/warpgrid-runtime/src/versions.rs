// SPDX-License-Identifier: Apache-2.0
//! Which interfaces there are, in which versions. The lists say what the linker is given and what is
//! called, which Wasmtime does not tell; a test holds them against wit/ and against the linker.

use crate::shims::LINKS;

/// The versions of WASI that the wasmtime-wasi crates of Cargo.lock have, and of wit/.
pub const P2: &str = "0.2.12";
pub const P3: &str = "0.3.0";
const SHIM: &str = "0.1.0";

/// A package, its version, and its interfaces.
type Package = (&'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const IMPORTS: &[Package] = &[
    ("wasi:cli", P2, &[
        "environment", "exit", "stdin", "stdout", "stderr", "terminal-input", "terminal-output",
        "terminal-stdin", "terminal-stdout", "terminal-stderr",
    ]),
    ("wasi:cli", P3, &[
        "environment", "exit", "stdin", "stdout", "stderr", "terminal-input", "terminal-output",
        "terminal-stdin", "terminal-stdout", "terminal-stderr", "types",
    ]),
    ("wasi:clocks", P2, &["monotonic-clock", "wall-clock"]),
    ("wasi:clocks", P3, &["monotonic-clock", "system-clock", "types"]),
    ("wasi:filesystem", P2, &["preopens", "types"]),
    ("wasi:filesystem", P3, &["preopens", "types"]),
    ("wasi:http", P2, &["outgoing-handler", "types"]),
    ("wasi:http", P3, &["client", "types"]),
    ("wasi:io", P2, &["error", "poll", "streams"]),
    ("wasi:random", P2, &["insecure", "insecure-seed", "random"]),
    ("wasi:random", P3, &["insecure", "insecure-seed", "random"]),
    ("wasi:sockets", P2, &[
        "instance-network", "ip-name-lookup", "network", "tcp", "tcp-create-socket", "udp",
        "udp-create-socket",
    ]),
    ("wasi:sockets", P3, &["ip-name-lookup", "types"]),
    ("warpgrid:shim", SHIM, &["database-proxy", "dns", "filesystem", "signals", "threading"]),
    ("warpgrid:shim-async", SHIM, &["database-proxy", "dns", "filesystem", "signals"]),
];
const EXPORTS: &[Package] = &[
    ("wasi:cli", P2, &["run"]),
    ("wasi:cli", P3, &["run"]),
    ("wasi:http", P2, &["incoming-handler"]),
    ("wasi:http", P3, &["handler"]),
];

/// What there is of an interface.
pub struct Found {
    /// One of the versions serves a guest that was built with the one in the name.
    pub served: bool,
    /// The bit that links it; 0: always linked.
    pub link: u32,
    pub versions: Vec<&'static str>,
}

/// Looks for "wasi:http/types@0.2.4" among what guests may import, or what of theirs is called.
pub fn find(name: &str, is_export: bool) -> Found {
    let (plain, wanted) = name.split_once('@').unwrap_or((name, ""));
    let (package, interface) = plain.split_once('/').unwrap_or((plain, ""));
    let versions: Vec<&str> = if is_export { EXPORTS } else { IMPORTS }
        .iter()
        .filter(|(p, _, interfaces)| *p == package && interfaces.contains(&interface))
        .map(|(_, version, _)| *version)
        .collect();
    let ours = package.starts_with("warpgrid:") && !versions.is_empty();
    Found {
        served: versions.iter().any(|has| compatible(wanted, has)),
        link: LINKS.iter().find(|(n, _)| ours && *n == interface).map_or(0, |(_, bit)| *bit),
        versions,
    }
}

/// Semantic versions as Wasmtime's linker sees them: the first number that is not 0 decides, what
/// comes after it are additions. A draft fits nothing but itself.
pub fn compatible(wanted: &str, has: &str) -> bool {
    fn series(version: &str) -> Option<(u64, u64)> {
        let version = version.split_once('+').map_or(version, |(v, _)| v);
        let mut numbers = version.splitn(3, '.').map(|n| n.parse().ok());
        match (numbers.next()??, numbers.next()??, numbers.next()??) {
            (0u64, 0u64, _) => None,
            (0, minor, _) => Some((0, minor)),
            (major, ..) => Some((major, 0)),
        }
    }
    wanted == has || series(wanted).is_some_and(|w| series(has) == Some(w))
}
