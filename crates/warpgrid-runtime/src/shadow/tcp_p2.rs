// SPDX-License-Identifier: Apache-2.0
//! `wasi:sockets/tcp@0.2`. WASI's own socket stays unconnected while a database's session stands
//! for it, and still answers what is asked of its options.

use crate::app::State;
use crate::host::{self, HostError, READ, WRITE};
use crate::shims::code::*;
use crate::shims::{Input, Output};
use crate::sockets::{self, Route, Socket, local_address};
use std::net::SocketAddr;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, Host as _, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::{HostTcpSocket, ShutdownType, TcpSocket};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi::sockets::WasiSocketsView;

type Cx<'a> = StoreContextMut<'a, State>;
type This = Resource<TcpSocket>;

fn code(e: HostError) -> ErrorCode {
    match e.code {
        REFUSED => ErrorCode::AccessDenied,
        TIMEOUT => ErrorCode::Timeout,
        EXHAUSTED => ErrorCode::NewSocketLimit,
        INVALID => ErrorCode::InvalidArgument,
        _ => ErrorCode::RemoteUnreachable,
    }
}

/// Calls WASI's own function and gives its error code.
macro_rules! stock {
    ($state:expr, $f:ident, $this:expr $(, $arg:expr)*) => {{
        let mut v = $state.sockets();
        match HostTcpSocket::$f(&mut v, $this $(, $arg)*) {
            Ok(x) => Ok(x),
            Err(e) => Err(v.convert_error_code(e)?),
        }
    }};
}

fn borrow(this: &This) -> This {
    Resource::new_borrow(this.rep())
}

async fn start_connect(
    cx: &mut Cx<'_>,
    this: This,
    network: Resource<Network>,
    address: IpSocketAddress,
) -> Result<std::result::Result<(), ErrorCode>> {
    let s = cx.data_mut();
    s.table.get(&network)?;
    if let Some(before) = s.connected.get(&this.rep()) {
        return Ok(Err(if before.connected {
            ErrorCode::InvalidState
        } else {
            ErrorCode::ConcurrencyConflict
        }));
    }
    let to = SocketAddr::from(address);
    let family = HostTcpSocket::address_family(&mut s.sockets(), borrow(&this))?;
    if sockets::is_invalid(to, family == IpAddressFamily::Ipv6) {
        return Ok(Err(ErrorCode::InvalidArgument));
    }
    let route = match sockets::route(s.inst.clone(), to).await {
        Ok(route) => route,
        Err(e) => return Ok(Err(code(e))),
    };
    let s = cx.data_mut();
    if let Route::Real(real) = route
        && let Err(e) = stock!(s, start_connect, borrow(&this), network, real.into())
    {
        return Ok(Err(e));
    }
    s.connected.insert(this.rep(), Socket::new(to, route, false));
    Ok(Ok(()))
}

type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

fn finish_connect(cx: &mut Cx<'_>, this: This) -> Result<std::result::Result<Streams, ErrorCode>> {
    let s = cx.data_mut();
    let inst = s.inst.clone();
    match s.connected.get_mut(&this.rep()) {
        Some(socket) if socket.connected => Ok(Err(ErrorCode::NotInProgress)),
        Some(socket) if let Some(handle) = socket.handle() => {
            socket.connected = true;
            let input = Box::new(Input::of_socket(inst.clone(), handle)) as DynInputStream;
            let output = Box::new(Output::of_socket(inst, handle)) as DynOutputStream;
            let input = s.table.push_child(input, &this)?;
            let output = s.table.push_child(output, &this)?;
            Ok(Ok((input, output)))
        }
        _ => {
            let rep = this.rep();
            let r = stock!(s, finish_connect, this);
            if !matches!(r, Err(ErrorCode::WouldBlock))
                && let Some(socket) = s.connected.get_mut(&rep)
            {
                socket.connected = true;
            }
            Ok(r)
        }
    }
}

/// The handle of a database's session behind the socket, and whether it counts as connected.
fn session(s: &State, this: &This) -> Option<(u64, SocketAddr, bool)> {
    let socket = s.connected.get(&this.rep())?;
    socket.handle().map(|handle| (handle, socket.to, socket.connected))
}

pub fn add(l: &mut Linker<State>) -> Result<()> {
    let mut i = l.instance("wasi:sockets/tcp@0.2.12")?;
    i.resource("tcp-socket", ResourceType::host::<TcpSocket>(), |mut cx, rep| {
        let s: &mut State = cx.data_mut();
        HostTcpSocket::drop(&mut s.sockets(), Resource::new_own(rep))?;
        s.end_socket(rep);
        Ok(())
    })?;
    i.func_wrap_async(
        "[method]tcp-socket.start-connect",
        |mut cx: Cx<'_>, (this, network, to): (This, Resource<Network>, IpSocketAddress)| {
            Box::new(async move { Ok((start_connect(&mut cx, this, network, to).await?,)) })
        },
    )?;
    i.func_wrap("[method]tcp-socket.finish-connect", |mut cx: Cx<'_>, (this,): (This,)| {
        Ok((finish_connect(&mut cx, this)?,))
    })?;
    i.func_wrap(
        "[method]tcp-socket.shutdown",
        |mut cx: Cx<'_>, (this, how): (This, ShutdownType)| {
            let s = cx.data_mut();
            let Some((handle, _, connected)) = session(s, &this) else {
                return Ok((stock!(s, shutdown, this, how),));
            };
            if !connected {
                return Ok((Err(ErrorCode::InvalidState),));
            }
            let how = match how {
                ShutdownType::Receive => READ,
                ShutdownType::Send => WRITE,
                ShutdownType::Both => READ | WRITE,
            };
            let _ = host::db_shutdown(&s.inst, handle, how);
            Ok((Ok(()),))
        },
    )?;
    i.func_wrap("[method]tcp-socket.remote-address", |mut cx: Cx<'_>, (this,): (This,)| {
        let s = cx.data_mut();
        // Also of a real connection: the guest reads the address that it asked for.
        if let Some(socket) = s.connected.get(&this.rep())
            && socket.connected
        {
            return Ok((Ok(IpSocketAddress::from(socket.to)),));
        }
        Ok((stock!(s, remote_address, this),))
    })?;
    i.func_wrap("[method]tcp-socket.local-address", |mut cx: Cx<'_>, (this,): (This,)| {
        let s = cx.data_mut();
        if let Some((handle, to, connected)) = session(s, &this) {
            let address = IpSocketAddress::from(local_address(to, handle));
            return Ok((connected.then_some(address).ok_or(ErrorCode::InvalidState),));
        }
        Ok((stock!(s, local_address, this),))
    })?;
    Ok(())
}
