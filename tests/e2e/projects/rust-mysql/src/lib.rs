// SPDX-License-Identifier: Apache-2.0
//! What the guests share.
#[path = "../../steps.rs"]
pub mod steps;

/// A variable of the environment; "" when it is not set.
pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Where DB_HOST and DB_PORT are. Drivers ask tokio to look names up, which wants a thread: they get an
/// address.
pub fn address() -> Result<std::net::SocketAddr, String> {
    let (host, port) = (env("DB_HOST"), env("DB_PORT").parse().expect("DB_PORT is a port"));
    let found = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port));
    found.map_err(|e| format!("io {e}"))?.next().ok_or("io no address".into())
}
