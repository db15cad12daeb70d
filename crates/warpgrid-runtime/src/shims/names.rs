// SPDX-License-Identifier: Apache-2.0
//! `warpgrid:shim/dns` and `warpgrid:shim-async/dns`.

use super::bindings::warpgrid::shim::dns::{
    DnsError, Host, HostPendingResolve, IpAddress, IpAddressRecord, ResourceRecord, Rrtype,
};
use super::bindings_async::warpgrid::shim_async::dns as concurrent;
use crate::app::State;
use crate::host::{HostError, Instance};
use crate::names;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

/// Both packages have types of their own for the same nouns.
macro_rules! nouns {
    ($module:ident: $($path:ident)::+) => {
        mod $module {
            use crate::host::HostError;
            use crate::shims::$($path)::+::{
                DnsError, IpAddress, IpAddressRecord, ResourceRecord,
            };
            use crate::shims::code::{INVALID, NOT_FOUND};
            use std::net::IpAddr;

            pub fn error(e: HostError) -> DnsError {
                match e.code {
                    INVALID => DnsError::InvalidName,
                    NOT_FOUND => DnsError::HostNotFound,
                    _ => DnsError::TemporaryFailure,
                }
            }

            pub fn record((ip, ttl): (IpAddr, u32)) -> IpAddressRecord {
                let address = match ip {
                    IpAddr::V4(v4) => IpAddress::Ipv4(v4.octets().into()),
                    IpAddr::V6(v6) => IpAddress::Ipv6(v6.segments().into()),
                };
                IpAddressRecord { address, ttl }
            }

            pub fn ip(a: IpAddress) -> IpAddr {
                match a {
                    IpAddress::Ipv4(octets) => <[u8; 4]>::from(octets).into(),
                    IpAddress::Ipv6(groups) => <[u16; 8]>::from(groups).into(),
                }
            }

            pub fn data((data, ttl): (String, u32)) -> ResourceRecord {
                ResourceRecord { data, ttl }
            }
        }
    };
}
nouns!(sync: bindings::warpgrid::shim::dns);
nouns!(parallel: bindings_async::warpgrid::shim_async::dns);

type Addresses = std::result::Result<Vec<(IpAddr, u32)>, HostError>;

/// The resource behind `start-resolve`.
pub enum PendingResolve {
    Running(Pin<Box<dyn Future<Output = Addresses> + Send + Sync>>),
    Done(Addresses),
    Taken,
}

impl PendingResolve {
    /// Starts it now; the pollable's task takes over the wake-up.
    pub fn start(inst: &Arc<Instance>, name: String) -> PendingResolve {
        let mut p = PendingResolve::Running(Box::pin(names::resolve(inst.clone(), name)));
        let _ = p.poll(&mut Context::from_waker(Waker::noop()));
        p
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let PendingResolve::Running(f) = self {
            let result = std::task::ready!(f.as_mut().poll(cx));
            *self = PendingResolve::Done(result);
        }
        Poll::Ready(())
    }

    /// None: not ready.
    pub fn take(&mut self) -> Option<Addresses> {
        let _ = self.poll(&mut Context::from_waker(Waker::noop()));
        match std::mem::replace(self, PendingResolve::Taken) {
            PendingResolve::Done(r) => Some(r),
            other => {
                *self = other;
                None
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for PendingResolve {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

impl Host for State {
    async fn resolve_address(
        &mut self,
        name: String,
    ) -> Result<std::result::Result<Vec<IpAddressRecord>, DnsError>> {
        Ok(names::resolve(self.inst.clone(), name)
            .await
            .map(|found| found.into_iter().map(sync::record).collect())
            .map_err(sync::error))
    }

    async fn start_resolve(&mut self, name: String) -> Result<Resource<PendingResolve>> {
        Ok(self.table.push(PendingResolve::start(&self.inst, name))?)
    }

    async fn reverse_resolve(
        &mut self,
        address: IpAddress,
    ) -> Result<std::result::Result<Option<String>, DnsError>> {
        Ok(names::reverse(self.inst.clone(), sync::ip(address)).await.map_err(sync::error))
    }

    async fn resolve_record(
        &mut self,
        name: String,
        rrtype: Rrtype,
    ) -> Result<std::result::Result<Vec<ResourceRecord>, DnsError>> {
        Ok(names::records(self.inst.clone(), name, rrtype as u32)
            .await
            .map(|found| found.into_iter().map(sync::data).collect())
            .map_err(sync::error))
    }
}

impl HostPendingResolve for State {
    async fn subscribe(&mut self, p: Resource<PendingResolve>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.table, p)
    }

    async fn finish(
        &mut self,
        p: Resource<PendingResolve>,
    ) -> Result<std::result::Result<Vec<IpAddressRecord>, DnsError>> {
        Ok(match self.table.get_mut(&p)?.take() {
            None => Err(DnsError::WouldBlock),
            Some(r) => {
                r.map(|found| found.into_iter().map(sync::record).collect()).map_err(sync::error)
            }
        })
    }

    async fn drop(&mut self, p: Resource<PendingResolve>) -> Result<()> {
        self.table.delete(p)?;
        Ok(())
    }
}

fn instance<T: 'static>(a: &Accessor<T, HasSelf<State>>) -> Arc<Instance> {
    a.with(|mut s| s.get().inst.clone())
}

impl concurrent::Host for State {}

impl<T: 'static> concurrent::HostWithStore<T> for HasSelf<State> {
    async fn resolve_address(
        a: &Accessor<T, Self>,
        name: String,
    ) -> Result<std::result::Result<Vec<concurrent::IpAddressRecord>, concurrent::DnsError>> {
        Ok(names::resolve(instance(a), name)
            .await
            .map(|found| found.into_iter().map(parallel::record).collect())
            .map_err(parallel::error))
    }

    async fn reverse_resolve(
        a: &Accessor<T, Self>,
        address: concurrent::IpAddress,
    ) -> Result<std::result::Result<Option<String>, concurrent::DnsError>> {
        Ok(names::reverse(instance(a), parallel::ip(address)).await.map_err(parallel::error))
    }

    async fn resolve_record(
        a: &Accessor<T, Self>,
        name: String,
        rrtype: concurrent::Rrtype,
    ) -> Result<std::result::Result<Vec<concurrent::ResourceRecord>, concurrent::DnsError>> {
        Ok(names::records(instance(a), name, rrtype as u32)
            .await
            .map(|found| found.into_iter().map(parallel::data).collect())
            .map_err(parallel::error))
    }
}
