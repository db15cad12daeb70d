// SPDX-License-Identifier: Apache-2.0
//! Names as WarpGrid sees them: `[registry]`, `[hosts]`, then the host's resolver.
use super::bindings::warpgrid::shim_async::dns as host;
use super::task::local;
use crate::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// One address of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// For how long the answer may be kept.
    pub ttl: Duration,
}

/// The record types that [`records`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RecordType {
    A,
    Aaaa,
    Cname,
    Ptr,
    Srv,
    Txt,
}

/// A resource record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// In presentation form (RFC 1035 section 5.1).
    pub data: String,
    /// For how long the answer may be kept.
    pub ttl: Duration,
}

/// The addresses of a name, in the order in which they should be tried.
pub async fn resolve(name: &str) -> Result<Vec<Address>, Error> {
    let found = local(host::resolve_address(name.into())).await.map_err(|e| error(e, name))?;
    let address = |r: host::IpAddressRecord| {
        let ip = match r.address {
            host::IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
            host::IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => {
                Ipv6Addr::new(a, b, c, d, e, f, g, h).into()
            }
        };
        Address { ip, ttl: Duration::from_secs(r.ttl.into()) }
    };
    Ok(found.into_iter().map(address).collect())
}

/// The name of an address, if it has one.
pub async fn reverse(ip: IpAddr) -> Result<Option<String>, Error> {
    let address = match ip {
        IpAddr::V4(ip) => host::IpAddress::Ipv4(ip.octets().into()),
        IpAddr::V6(ip) => host::IpAddress::Ipv6(ip.segments().into()),
    };
    local(host::reverse_resolve(address)).await.map_err(|e| error(e, &ip.to_string()))
}

/// The records of a name.
pub async fn records(name: &str, kind: RecordType) -> Result<Vec<Record>, Error> {
    let rrtype = match kind {
        RecordType::A => host::Rrtype::A,
        RecordType::Aaaa => host::Rrtype::Aaaa,
        RecordType::Cname => host::Rrtype::Cname,
        RecordType::Ptr => host::Rrtype::Ptr,
        RecordType::Srv => host::Rrtype::Srv,
        RecordType::Txt => host::Rrtype::Txt,
    };
    let found = local(host::resolve_record(name.into(), rrtype)).await;
    let record = |r: host::ResourceRecord| {
        let ttl = Duration::from_secs(r.ttl.into());
        Record { data: r.data, ttl }
    };
    Ok(found.map_err(|e| error(e, name))?.into_iter().map(record).collect())
}

fn error(e: host::DnsError, name: &str) -> Error {
    let name = name.escape_debug();
    match e {
        host::DnsError::InvalidName => {
            Error::new(ErrorKind::InvalidName, format!("'{name}' is no host name"))
        }
        host::DnsError::HostNotFound => {
            Error::new(ErrorKind::NotFound, format!("no such name: '{name}'"))
        }
        host::DnsError::TemporaryFailure => {
            Error::new(ErrorKind::TemporaryFailure, format!("no answer for '{name}'"))
        }
    }
}
