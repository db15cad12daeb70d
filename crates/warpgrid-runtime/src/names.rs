// SPDX-License-Identifier: Apache-2.0
//! Lookups in C's DNS chain.

use crate::abi::{
    Address, Bytes, Host, OpResolve, RESOLVE_ADDRESSES, RESOLVE_RECORDS, RESOLVE_REVERSE,
};
use crate::host::{HostError, Instance, OpFuture, OpKind, new_op};
use std::ffi::c_void;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The most addresses that one answer has.
const ADDRESSES_MAX: usize = 64;

/// An op with room for its answer behind it.
#[repr(C)]
pub struct Resolve {
    op: OpResolve,
    room: [Address; ADDRESSES_MAX],
}

/// Addresses with their seconds to live, or a text.
pub struct Answer {
    pub addresses: Vec<(IpAddr, u32)>,
    pub text: Option<String>,
}

impl OpKind for Resolve {
    type Out = Answer;
    unsafe fn start(h: &Host, inst: *mut c_void, op: *mut Self) {
        unsafe {
            (*op).op.out = (&raw mut (*op).room).cast();
            (h.resolve)(h.ctx, inst, op.cast())
        }
    }
    unsafe fn cancel(h: &Host, inst: *mut c_void, op: *mut Self) {
        unsafe { (h.resolve_cancel)(h.ctx, inst, op.cast()) }
    }
    fn out(&self, status: i32, text: String) -> Answer {
        let found = &self.room[..(self.op.count as usize).min(ADDRESSES_MAX)];
        Answer {
            addresses: found.iter().map(|a| (ip(a), a.ttl_s)).collect(),
            text: (status > 0).then_some(text),
        }
    }
}

pub fn ip(a: &Address) -> IpAddr {
    match a.family {
        4 => Ipv4Addr::new(a.bytes[0], a.bytes[1], a.bytes[2], a.bytes[3]).into(),
        _ => Ipv6Addr::from(a.bytes).into(),
    }
}

/// `name` must live as long as the op.
fn op(what: u32, rrtype: u32, name: &str, address: Address) -> Resolve {
    Resolve {
        op: OpResolve {
            op: new_op(),
            what,
            rrtype,
            name: Bytes::of(name.as_bytes()),
            address,
            out: std::ptr::null_mut(),
            cap: ADDRESSES_MAX as u32,
            count: 0,
            space: [0; 24],
        },
        room: [Address::default(); ADDRESSES_MAX],
    }
}

pub async fn resolve(inst: Arc<Instance>, name: String) -> Result<Vec<(IpAddr, u32)>, HostError> {
    let op = op(RESOLVE_ADDRESSES, 0, &name, Address::default());
    OpFuture::new(Some(inst), op).await.map(|a| a.addresses)
}

pub fn address_of(ip: IpAddr) -> Address {
    let mut a = Address::default();
    match ip {
        IpAddr::V4(v4) => {
            a.family = 4;
            a.bytes[..4].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            a.family = 6;
            a.bytes = v6.octets();
        }
    }
    a
}

pub async fn reverse(inst: Arc<Instance>, address: IpAddr) -> Result<Option<String>, HostError> {
    let op = op(RESOLVE_REVERSE, 0, "", address_of(address));
    OpFuture::new(Some(inst), op).await.map(|a| a.text)
}

/// Each record's data and seconds to live.
pub async fn records(
    inst: Arc<Instance>,
    name: String,
    rrtype: u32,
) -> Result<Vec<(String, u32)>, HostError> {
    let op = op(RESOLVE_RECORDS, rrtype, &name, Address::default());
    let text = OpFuture::new(Some(inst), op).await?.text.unwrap_or_default();
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(ttl, data)| (data.to_string(), ttl.parse().unwrap_or(0)))
        .collect())
}
