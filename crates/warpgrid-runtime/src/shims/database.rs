// SPDX-License-Identifier: Apache-2.0
//! `warpgrid:shim/database-proxy`: the calls of WASI 0.2 guests, which suspend their fiber.

use super::bindings::warpgrid::shim::database_proxy::{
    ConnectConfig, ConnectionHandle, DbError, Host, HostPendingConnect, ShutdownHow,
};
use super::code::*;
use super::{STREAMED, ZERO_MAX, db_errors};
use crate::app::State;
use crate::host::{self, ConnectArgs, HostError, Instance, READ, WRITE};
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use wasmtime::component::{Linker, Resource, WasmList};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, InputStream, OutputStream, Pollable, StreamError,
    StreamResult, subscribe,
};

db_errors!(DbError);

type Connecting = Pin<Box<dyn Future<Output = Result<u64, HostError>> + Send + Sync>>;

/// The resource behind `start-connect`.
pub enum PendingConnect {
    Running(Connecting),
    Done(Result<u64, HostError>),
    Taken,
}

impl PendingConnect {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let PendingConnect::Running(f) = self {
            let result = std::task::ready!(f.as_mut().poll(cx));
            *self = PendingConnect::Done(result);
        }
        Poll::Ready(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for PendingConnect {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

fn connecting(inst: &Arc<Instance>, c: ConnectConfig) -> Connecting {
    let args = ConnectArgs {
        protocol: c.protocol as u32,
        port: c.port,
        host: c.host,
        database: c.database,
        user: c.user,
        password: c.password,
    };
    Box::pin(host::db_connect(inst.clone(), args))
}

impl Host for State {
    async fn connect(&mut self, c: ConnectConfig) -> Result<Result<ConnectionHandle, DbError>> {
        Ok(connecting(&self.inst, c).await.map_err(connect_error))
    }

    async fn start_connect(
        &mut self,
        c: ConnectConfig,
    ) -> Result<Result<Resource<PendingConnect>, DbError>> {
        let mut p = PendingConnect::Running(connecting(&self.inst, c));
        // Starts it now; the pollable's task takes over the wake-up.
        let _ = p.poll(&mut Context::from_waker(Waker::noop()));
        Ok(Ok(self.table.push(p)?))
    }

    async fn open(&mut self, to: String, port: u16) -> Result<Result<ConnectionHandle, DbError>> {
        Ok(host::db_open(&self.inst, &to, port).map_err(connect_error))
    }

    /// Replaced by `add_send`.
    async fn send(&mut self, h: ConnectionHandle, data: Vec<u8>) -> Result<Result<u64, DbError>> {
        if self.is_stream(h, WRITE) {
            return Ok(Err(DbError::InvalidArgument(STREAMED.into())));
        }
        let inst = self.inst.clone();
        Ok(host::db_send(&inst, h, &data).await.map_err(handle_error))
    }

    async fn recv(&mut self, h: ConnectionHandle, max: u32) -> Result<Result<Vec<u8>, DbError>> {
        if self.is_stream(h, READ) {
            return Ok(Err(DbError::InvalidArgument(STREAMED.into())));
        }
        if max == 0 {
            return Ok(Err(DbError::InvalidArgument(ZERO_MAX.into())));
        }
        let inst = self.inst.clone();
        Ok(host::db_recv(&inst, h, max).await.map_err(handle_error))
    }

    async fn shutdown(
        &mut self,
        h: ConnectionHandle,
        how: ShutdownHow,
    ) -> Result<Result<(), DbError>> {
        let how = match how {
            ShutdownHow::Receive => READ,
            ShutdownHow::Send => WRITE,
            ShutdownHow::Both => READ | WRITE,
        };
        Ok(host::db_shutdown(&self.inst, h, how).map_err(handle_error))
    }

    async fn close(&mut self, h: ConnectionHandle) -> Result<Result<(), DbError>> {
        self.streamed.remove(&h);
        Ok(host::db_close(&self.inst, h).map_err(handle_error))
    }

    async fn streams(
        &mut self,
        h: ConnectionHandle,
    ) -> Result<Result<(Resource<DynInputStream>, Resource<DynOutputStream>), DbError>> {
        // Sending nothing asks whether the handle is alive.
        if let Err(e) = host::db_try_send(&self.inst, h, &[]) {
            return Ok(Err(handle_error(e)));
        }
        if !self.take_as_stream(h, READ | WRITE) {
            return Ok(Err(DbError::InvalidArgument(STREAMED.into())));
        }
        let input = Input { inst: self.inst.clone(), handle: h, closes: false };
        let output =
            Output { inst: self.inst.clone(), handle: h, closes: false, rest: Bytes::new() };
        let input = self.table.push(Box::new(input) as DynInputStream)?;
        let output = self.table.push(Box::new(output) as DynOutputStream)?;
        Ok(Ok((input, output)))
    }
}

impl HostPendingConnect for State {
    async fn subscribe(&mut self, p: Resource<PendingConnect>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.table, p)
    }

    async fn finish(
        &mut self,
        p: Resource<PendingConnect>,
    ) -> Result<Result<ConnectionHandle, DbError>> {
        let p = self.table.get_mut(&p)?;
        let _ = p.poll(&mut Context::from_waker(Waker::noop()));
        if matches!(p, PendingConnect::Running(_)) {
            return Ok(Err(DbError::WouldBlock("the connection is not ready yet".into())));
        }
        Ok(match std::mem::replace(p, PendingConnect::Taken) {
            PendingConnect::Done(r) => r.map_err(connect_error),
            _ => Err(DbError::WouldBlock("finish was called before".into())),
        })
    }

    async fn drop(&mut self, p: Resource<PendingConnect>) -> Result<()> {
        // A connection that came and was not taken goes back.
        if let PendingConnect::Done(Ok(handle)) = self.table.delete(p)? {
            let _ = host::db_close(&self.inst, handle);
        }
        Ok(())
    }
}

/// `send` again, written by hand: the bytes go from the guest's memory to the socket.
pub fn add_send(l: &mut Linker<State>) -> Result<()> {
    l.allow_shadowing(true);
    l.instance("warpgrid:shim/database-proxy@0.1.0")?.func_wrap_async(
        "send",
        |cx: StoreContextMut<'_, State>, (h, data): (u64, WasmList<u8>)| {
            Box::new(async move {
                if cx.data().is_stream(h, WRITE) {
                    return Ok((Err(DbError::InvalidArgument(STREAMED.into())),));
                }
                let inst = cx.data().inst.clone();
                loop {
                    // Asked for again after each wait: the guest's memory may have moved.
                    match host::db_try_send(&inst, h, data.as_le_slice(&cx)) {
                        Err(e) if e.code == AGAIN => {
                            if let Err(e) = host::db_wait(&inst, h, WRITE, true).await {
                                return Ok((Err(handle_error(e)),));
                            }
                        }
                        r => return Ok((r.map(|n| n as u64).map_err(handle_error),)),
                    }
                }
            })
        },
    )?;
    l.allow_shadowing(false);
    Ok(())
}

pub struct Input {
    inst: Arc<Instance>,
    handle: u64,
    /// The stream's end is the direction's: it is a socket's.
    closes: bool,
}

impl Input {
    pub fn of_socket(inst: Arc<Instance>, handle: u64) -> Self {
        Input { inst, handle, closes: true }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if self.closes {
            let _ = host::db_shutdown(&self.inst, self.handle, READ);
        }
    }
}

/// As the error of a socket, whose kind guests can ask for.
fn stream_error(e: HostError) -> StreamError {
    let kind = match e.code {
        INVALID => return StreamError::Closed, // this end was shut down, or the socket is gone
        TIMEOUT => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::ConnectionReset,
    };
    StreamError::LastOperationFailed(io::Error::new(kind, e.msg).into())
}

#[wasmtime_wasi::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        // A failure is ready too: the read that follows says what it is.
        let _ = host::db_wait(&self.inst, self.handle, READ, false).await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        match host::db_try_recv(&self.inst, self.handle, size) {
            Ok(b) if b.is_empty() => Err(StreamError::Closed),
            Ok(b) => Ok(b.into()),
            Err(e) if e.code == AGAIN => Ok(Bytes::new()),
            Err(e) => Err(stream_error(e)),
        }
    }
}

pub struct Output {
    inst: Arc<Instance>,
    handle: u64,
    /// As of Input.
    closes: bool,
    /// Accepted from the guest and not yet by the connection.
    rest: Bytes,
}

const OUTPUT_CHUNK: usize = 64 << 10;

impl Drop for Output {
    fn drop(&mut self) {
        if self.closes {
            let _ = self.push();
            let _ = host::db_shutdown(&self.inst, self.handle, WRITE);
        }
    }
}

impl Output {
    pub fn of_socket(inst: Arc<Instance>, handle: u64) -> Self {
        Output { inst, handle, closes: true, rest: Bytes::new() }
    }

    fn push(&mut self) -> StreamResult<()> {
        while !self.rest.is_empty() {
            match host::db_try_send(&self.inst, self.handle, &self.rest) {
                Ok(n) => drop(self.rest.split_to(n)),
                Err(e) if e.code == AGAIN => break,
                Err(e) => return Err(stream_error(e)),
            }
        }
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        while !self.rest.is_empty() {
            let wait = host::db_wait(&self.inst, self.handle, WRITE, false).await;
            if wait.is_err() || self.push().is_err() {
                return;
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > self.check_write()? {
            return Err(StreamError::trap("write exceeds what check-write allowed"));
        }
        self.rest = bytes;
        self.push()
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.push()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.push()?;
        Ok(if self.rest.is_empty() { OUTPUT_CHUNK } else { 0 })
    }
}
