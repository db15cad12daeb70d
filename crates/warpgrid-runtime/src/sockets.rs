// SPDX-License-Identifier: Apache-2.0
//! Where TCP connections of guests go: C decides.

use crate::abi::{Address, Host, OpTcpConnect, TCP_DATABASE, TCP_REAL};
use crate::host::{HostError, Instance, OpFuture, OpKind, new_op};
use crate::names::{address_of, ip};
use std::ffi::c_void;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// What C made of a connect.
#[derive(Clone, Copy)]
pub enum Route {
    /// A session of the database proxy, by its handle.
    Database(u64),
    /// The socket is to be connected there.
    Real(SocketAddr),
}

impl OpKind for OpTcpConnect {
    type Out = Route;
    unsafe fn start(h: &Host, inst: *mut c_void, op: *mut Self) {
        unsafe { (h.tcp_connect)(h.ctx, inst, op) }
    }
    unsafe fn cancel(h: &Host, inst: *mut c_void, op: *mut Self) {
        unsafe { (h.tcp_connect_cancel)(h.ctx, inst, op) }
    }
    fn out(&self, _status: i32, _text: String) -> Route {
        match self.route {
            TCP_DATABASE => Route::Database(self.handle),
            TCP_REAL => Route::Real(SocketAddr::new(ip(&self.real), self.real_port as u16)),
            route => unreachable!("C gave the route {route}"),
        }
    }
}

pub async fn route(inst: Arc<Instance>, to: SocketAddr) -> Result<Route, HostError> {
    let op = OpTcpConnect {
        op: new_op(),
        to: address_of(to.ip()),
        port: to.port().into(),
        route: 0,
        handle: 0,
        real: Address::default(),
        real_port: 0,
        reserved: 0,
        space: [0; 24],
    };
    OpFuture::new(Some(inst), op).await
}

/// A guest's socket that was connected, beside the one that WASI keeps for it.
pub struct Socket {
    pub to: SocketAddr,
    pub route: Route,
    /// Database: which directions (READ, WRITE) were made streams.
    pub streamed: u32,
    /// finish-connect was called (0.2), or connect has come back (0.3).
    pub connected: bool,
}

impl Socket {
    pub fn new(to: SocketAddr, route: Route, connected: bool) -> Self {
        Socket { to, route, streamed: 0, connected }
    }

    /// The session behind it; None: a real connection.
    pub fn handle(&self) -> Option<u64> {
        match self.route {
            Route::Database(handle) => Some(handle),
            Route::Real(_) => None,
        }
    }
}

/// What a database's socket calls its own address: this machine, and a port for people to tell
/// sessions apart by.
pub fn local_address(to: SocketAddr, handle: u64) -> SocketAddr {
    let ip: IpAddr =
        if to.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    SocketAddr::new(ip, 49152 + (handle >> 16) as u16 % 16384)
}

/// As WASI sees it, before anybody is asked: an address that no connect takes.
pub fn is_invalid(to: SocketAddr, socket_is_ipv6: bool) -> bool {
    let ip = to.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    let mapped = matches!(to.ip(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    to.is_ipv6() != socket_is_ipv6
        || to.port() == 0
        || ip.is_unspecified()
        || ip.is_multicast()
        || broadcast
        || mapped
}
