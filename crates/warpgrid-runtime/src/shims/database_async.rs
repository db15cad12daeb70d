// SPDX-License-Identifier: Apache-2.0
//! `warpgrid:shim-async/database-proxy`: the calls of WASI 0.3 guests. A waiting call holds no
//! store, so the other tasks of its instance go on.

use super::bindings_async::warpgrid::shim_async::database_proxy::{
    ConnectConfig, ConnectionHandle, DbError, Host, HostWithStore, ShutdownHow,
};
use super::channel::{Receiver, Sender, outcome};
use super::code::*;
use super::{STREAMED, ZERO_MAX, db_errors};
use crate::app::State;
use crate::host::{self, ConnectArgs, Instance, READ, WRITE};
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{Access, Accessor, FutureReader, HasSelf, StreamReader};

db_errors!(DbError);

fn instance<T: 'static>(a: &Accessor<T, HasSelf<State>>) -> Arc<Instance> {
    a.with(|mut s| s.get().inst.clone())
}

/// The instance, unless this direction of the connection became a stream.
fn unstreamed<T: 'static>(
    a: &Accessor<T, HasSelf<State>>,
    handle: u64,
    direction: u32,
) -> std::result::Result<Arc<Instance>, DbError> {
    a.with(|mut s| {
        let s = s.get();
        if s.is_stream(handle, direction) {
            return Err(DbError::InvalidArgument(STREAMED.into()));
        }
        Ok(s.inst.clone())
    })
}

impl Host for State {
    async fn open(&mut self, to: String, port: u16) -> Result<Result<ConnectionHandle, DbError>> {
        Ok(host::db_open(&self.inst, &to, port).map_err(connect_error))
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
}

impl<T: 'static> HostWithStore<T> for HasSelf<State> {
    async fn connect(
        a: &Accessor<T, Self>,
        c: ConnectConfig,
    ) -> Result<Result<ConnectionHandle, DbError>> {
        let args = ConnectArgs {
            protocol: c.protocol as u32,
            port: c.port,
            host: c.host,
            database: c.database,
            user: c.user,
            password: c.password,
        };
        Ok(host::db_connect(instance(a), args).await.map_err(connect_error))
    }

    async fn send(
        a: &Accessor<T, Self>,
        h: ConnectionHandle,
        data: Vec<u8>,
    ) -> Result<Result<u64, DbError>> {
        let inst = match unstreamed(a, h, WRITE) {
            Ok(inst) => inst,
            Err(e) => return Ok(Err(e)),
        };
        Ok(host::db_send(&inst, h, &data).await.map_err(handle_error))
    }

    async fn recv(
        a: &Accessor<T, Self>,
        h: ConnectionHandle,
        max: u32,
    ) -> Result<Result<Vec<u8>, DbError>> {
        if max == 0 {
            return Ok(Err(DbError::InvalidArgument(ZERO_MAX.into())));
        }
        let inst = match unstreamed(a, h, READ) {
            Ok(inst) => inst,
            Err(e) => return Ok(Err(e)),
        };
        Ok(host::db_recv(&inst, h, max).await.map_err(handle_error))
    }

    async fn close(a: &Accessor<T, Self>, h: ConnectionHandle) -> Result<Result<(), DbError>> {
        let inst = a.with(|mut s| {
            let s = s.get();
            s.streamed.remove(&h);
            s.inst.clone()
        });
        Ok(host::db_close(&inst, h).map_err(handle_error))
    }

    fn receive_channel(
        mut a: Access<'_, T, Self>,
        h: ConnectionHandle,
    ) -> Result<Result<(StreamReader<u8>, FutureReader<Result<(), DbError>>), DbError>> {
        let inst = a.get().inst.clone();
        // Sending nothing asks whether the handle is alive.
        if let Err(e) = host::db_try_send(&inst, h, &[]) {
            return Ok(Err(handle_error(e)));
        }
        if !a.get().take_as_stream(h, READ) {
            return Ok(Err(DbError::InvalidArgument(STREAMED.into())));
        }
        let (end, future) = outcome(handle_error);
        let stream = StreamReader::new(&mut a, Receiver::new(inst, h, end))?;
        let future = FutureReader::new(&mut a, future)?;
        Ok(Ok((stream, future)))
    }

    fn send_channel(
        mut a: Access<'_, T, Self>,
        h: ConnectionHandle,
        data: StreamReader<u8>,
    ) -> Result<Result<FutureReader<Result<(), DbError>>, DbError>> {
        let inst = a.get().inst.clone();
        if let Err(e) = host::db_try_send(&inst, h, &[]) {
            return Ok(Err(handle_error(e)));
        }
        if !a.get().take_as_stream(h, WRITE) {
            return Ok(Err(DbError::InvalidArgument(STREAMED.into())));
        }
        let (end, future) = outcome(handle_error);
        data.pipe(&mut a, Sender::new(inst, h, end))?;
        Ok(Ok(FutureReader::new(&mut a, future)?))
    }
}
