// SPDX-License-Identifier: Apache-2.0
//! `wasi:sockets/ip-name-lookup`, 0.2 and 0.3.

use crate::app::State;
use crate::host::HostError;
use crate::names;
use crate::shims::PendingResolve;
use crate::shims::code::{INVALID, NOT_FOUND};
use std::net::IpAddr;
use wasmtime::component::{Accessor, Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup::ErrorCode as P3Error;
use wasmtime_wasi::p3::bindings::sockets::types as p3;

/// Addresses on their way to a p2 guest, one by one.
enum Stream {
    Waiting(PendingResolve),
    Addresses(std::vec::IntoIter<(IpAddr, u32)>),
    Failed(network::ErrorCode),
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        if let Stream::Waiting(p) = self {
            p.ready().await
        }
    }
}

impl Stream {
    /// False: nothing to see yet.
    fn advance(&mut self) -> bool {
        if let Stream::Waiting(p) = self {
            match p.take() {
                None => return false,
                Some(Ok(found)) => *self = Stream::Addresses(found.into_iter()),
                Some(Err(e)) => *self = Stream::Failed(p2_error(e)),
            }
        }
        true
    }
}

fn p2_error(e: HostError) -> network::ErrorCode {
    match e.code {
        INVALID => network::ErrorCode::InvalidArgument,
        NOT_FOUND => network::ErrorCode::NameUnresolvable,
        _ => network::ErrorCode::TemporaryResolverFailure,
    }
}

fn p3_error(e: HostError) -> P3Error {
    match e.code {
        INVALID => P3Error::InvalidArgument,
        NOT_FOUND => P3Error::NameUnresolvable,
        _ => P3Error::TemporaryResolverFailure,
    }
}

type Cx<'a> = StoreContextMut<'a, State>;

pub fn add(l: &mut Linker<State>) -> Result<()> {
    let mut i = l.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    i.resource("resolve-address-stream", ResourceType::host::<Stream>(), |mut cx, rep| {
        cx.data_mut().table.delete(Resource::<Stream>::new_own(rep))?;
        Ok(())
    })?;
    i.func_wrap(
        "resolve-addresses",
        |mut cx: Cx<'_>, (network, name): (Resource<network::Network>, String)| {
            let s = cx.data_mut();
            s.table.get(&network)?;
            let mut stream = Stream::Waiting(PendingResolve::start(&s.inst, name));
            // What is wrong with the name itself is said at once.
            if stream.advance()
                && let Stream::Failed(e) = stream
            {
                return Ok((Err(e),));
            }
            Ok((Ok(s.table.push(stream)?),))
        },
    )?;
    i.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut cx: Cx<'_>, (stream,): (Resource<Stream>,)| {
            let stream = cx.data_mut().table.get_mut(&stream)?;
            if !stream.advance() {
                return Ok((Err(network::ErrorCode::WouldBlock),));
            }
            Ok((match stream {
                Stream::Addresses(left) => {
                    Ok(left.next().map(|(ip, _)| network::IpAddress::from(ip)))
                }
                Stream::Failed(e) => Err(*e),
                Stream::Waiting(_) => Err(network::ErrorCode::WouldBlock),
            },))
        },
    )?;
    i.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut cx: Cx<'_>, (stream,): (Resource<Stream>,)| -> Result<(Resource<DynPollable>,)> {
            Ok((subscribe(&mut cx.data_mut().table, stream)?,))
        },
    )?;

    l.instance("wasi:sockets/ip-name-lookup@0.3.0")?.func_wrap_concurrent(
        "resolve-addresses",
        |a: &Accessor<State>, (name,): (String,)| {
            Box::pin(async move {
                let inst = a.with(|mut s| s.get().inst.clone());
                let found = names::resolve(inst, name).await;
                let ips = |found: Vec<(IpAddr, u32)>| -> Vec<p3::IpAddress> {
                    found.into_iter().map(|(ip, _)| ip.into()).collect()
                };
                Ok((found.map(ips).map_err(p3_error),))
            })
        },
    )?;
    Ok(())
}
