// SPDX-License-Identifier: Apache-2.0
//! The TCP half of `wasi:sockets/types@0.3`.

use crate::app::State;
use crate::host::{HostError, READ, WRITE};
use crate::shims::code::*;
use crate::shims::{Receiver, Sender, outcome};
use crate::sockets::{self, Route, Socket, local_address};
use std::net::SocketAddr;
use wasmtime::component::{
    Access, Accessor, FutureReader, Linker, Resource, ResourceType, StreamReader,
};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p3::bindings::sockets::types::{
    ErrorCode, HostTcpSocket, HostTcpSocketWithStore, IpAddressFamily, IpSocketAddress, TcpSocket,
};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

type Cx<'a> = StoreContextMut<'a, State>;
type This = Resource<TcpSocket>;
type Ended = FutureReader<std::result::Result<(), ErrorCode>>;

fn code(e: HostError) -> ErrorCode {
    match e.code {
        REFUSED => ErrorCode::AccessDenied,
        TIMEOUT => ErrorCode::Timeout,
        INVALID => ErrorCode::InvalidArgument,
        EXHAUSTED => ErrorCode::Other(Some(e.msg)),
        _ => ErrorCode::RemoteUnreachable,
    }
}

/// How a stream ended.
fn stream_code(e: HostError) -> ErrorCode {
    match e.code {
        TIMEOUT => ErrorCode::Timeout,
        _ => ErrorCode::ConnectionReset,
    }
}

fn borrow(this: &This) -> This {
    Resource::new_borrow(this.rep())
}

async fn connect(
    a: &Accessor<State>,
    this: This,
    address: IpSocketAddress,
) -> Result<std::result::Result<(), ErrorCode>> {
    let to = SocketAddr::from(address);
    let inst = a.with(|mut s| -> Result<_> {
        let s = s.get();
        if s.connected.contains_key(&this.rep()) {
            return Ok(Err(ErrorCode::InvalidState));
        }
        let family = HostTcpSocket::get_address_family(&mut s.sockets(), borrow(&this))?;
        if sockets::is_invalid(to, family == IpAddressFamily::Ipv6) {
            return Ok(Err(ErrorCode::InvalidArgument));
        }
        Ok(Ok(s.inst.clone()))
    })?;
    let inst = match inst {
        Ok(inst) => inst,
        Err(e) => return Ok(Err(e)),
    };
    let route = match sockets::route(inst, to).await {
        Ok(route) => route,
        Err(e) => return Ok(Err(code(e))),
    };
    // Two connects at once: the second finds the first one's.
    let first = a.with(|mut s| {
        let s = s.get();
        let first = !s.connected.contains_key(&this.rep());
        if first {
            let done = matches!(route, Route::Database(_));
            s.connected.insert(this.rep(), Socket::new(to, route, done));
        } else if let Route::Database(handle) = route {
            let _ = crate::host::db_close(&s.inst, handle);
        }
        first
    });
    if !first {
        return Ok(Err(ErrorCode::InvalidState));
    }
    let Route::Real(real) = route else { return Ok(Ok(())) };
    let rep = this.rep();
    let stock = a.with_getter::<WasiSockets>(State::sockets);
    let r = <WasiSockets as HostTcpSocketWithStore<State>>::connect(&stock, this, real.into());
    match r.await {
        Ok(()) => {
            a.with(|mut s| {
                if let Some(socket) = s.get().connected.get_mut(&rep) {
                    socket.connected = true;
                }
            });
            Ok(Ok(()))
        }
        Err(e) => Ok(Err(e.downcast()?)),
    }
}

/// What `send` and `receive` find.
enum Found {
    /// WASI's own connection, or none.
    Stock,
    Session(u64),
    /// The direction was taken before.
    Taken,
}

fn take(s: &mut State, this: &This, direction: u32) -> Found {
    match s.connected.get_mut(&this.rep()) {
        Some(socket) if let Some(handle) = socket.handle() => {
            if socket.streamed & direction != 0 {
                return Found::Taken;
            }
            socket.streamed |= direction;
            Found::Session(handle)
        }
        _ => Found::Stock,
    }
}

fn send(mut cx: Cx<'_>, this: This, mut data: StreamReader<u8>) -> Result<Ended> {
    match take(cx.data_mut(), &this, WRITE) {
        Found::Stock => {
            let stock = Access::<State, WasiSockets>::new(cx, State::sockets);
            <WasiSockets as HostTcpSocketWithStore<State>>::send(stock, this, data)
        }
        Found::Taken => {
            data.close(&mut cx)?;
            FutureReader::new(&mut cx, async { wasmtime::error::Ok(Err(ErrorCode::InvalidState)) })
        }
        Found::Session(handle) => {
            let (end, future) = outcome(stream_code);
            let inst = cx.data().inst.clone();
            data.pipe(&mut cx, Sender::of_socket(inst, handle, end))?;
            FutureReader::new(&mut cx, future)
        }
    }
}

fn receive(mut cx: Cx<'_>, this: This) -> Result<(StreamReader<u8>, Ended)> {
    match take(cx.data_mut(), &this, READ) {
        Found::Stock => {
            let stock = Access::<State, WasiSockets>::new(cx, State::sockets);
            <WasiSockets as HostTcpSocketWithStore<State>>::receive(stock, this)
        }
        Found::Taken => Ok((
            StreamReader::new(&mut cx, std::iter::empty())?,
            FutureReader::new(&mut cx, async {
                wasmtime::error::Ok(Err(ErrorCode::InvalidState))
            })?,
        )),
        Found::Session(handle) => {
            let (end, future) = outcome(stream_code);
            let inst = cx.data().inst.clone();
            let stream = StreamReader::new(&mut cx, Receiver::of_socket(inst, handle, end))?;
            Ok((stream, FutureReader::new(&mut cx, future)?))
        }
    }
}

pub fn add(l: &mut Linker<State>) -> Result<()> {
    let mut i = l.instance("wasi:sockets/types@0.3.0")?;
    i.resource("tcp-socket", ResourceType::host::<TcpSocket>(), |mut cx, rep| {
        let s: &mut State = cx.data_mut();
        HostTcpSocket::drop(&mut s.sockets(), Resource::new_own(rep))?;
        s.end_socket(rep);
        Ok(())
    })?;
    i.func_wrap_concurrent(
        "[method]tcp-socket.connect",
        |a: &Accessor<State>, (this, to): (This, IpSocketAddress)| {
            Box::pin(async move { Ok((connect(a, this, to).await?,)) })
        },
    )?;
    i.func_wrap(
        "[method]tcp-socket.send",
        |cx: Cx<'_>, (this, data): (This, StreamReader<u8>)| Ok((send(cx, this, data)?,)),
    )?;
    i.func_wrap("[method]tcp-socket.receive", |cx: Cx<'_>, (this,): (This,)| {
        Ok((receive(cx, this)?,))
    })?;
    i.func_wrap("[method]tcp-socket.get-remote-address", |mut cx: Cx<'_>, (this,): (This,)| {
        let s = cx.data_mut();
        if let Some(socket) = s.connected.get(&this.rep())
            && socket.connected
        {
            return Ok((Ok(IpSocketAddress::from(socket.to)),));
        }
        let r = HostTcpSocket::get_remote_address(&mut s.sockets(), this);
        Ok((stock(r)?,))
    })?;
    i.func_wrap("[method]tcp-socket.get-local-address", |mut cx: Cx<'_>, (this,): (This,)| {
        let s = cx.data_mut();
        if let Some(socket) = s.connected.get(&this.rep())
            && let Some(handle) = socket.handle()
        {
            return Ok((Ok(IpSocketAddress::from(local_address(socket.to, handle))),));
        }
        let r = HostTcpSocket::get_local_address(&mut s.sockets(), this);
        Ok((stock(r)?,))
    })?;
    Ok(())
}

fn stock<T>(
    r: wasmtime_wasi::p3::sockets::SocketResult<T>,
) -> Result<std::result::Result<T, ErrorCode>> {
    match r {
        Ok(x) => Ok(Ok(x)),
        Err(e) => Ok(Err(e.downcast()?)),
    }
}
