// SPDX-License-Identifier: Apache-2.0
//! `warpgrid:shim-async`: a call that waits lets the guest's other tasks run.
use crate::steps::{Step, escape, ok};
use crate::{groups, octets, v4, v6, wit_name};
use std::net::IpAddr;

wit_bindgen::generate!({
    path: "../../../../wit/shim-async",
    world: "warpgrid:shim-async/shims",
    generate_all,
});
use warpgrid::shim_async::{database_proxy, dns, filesystem, signals};

pub async fn read_virtual(path: &str) -> String {
    match filesystem::read_virtual(path.into()).await {
        Ok(Some(bytes)) => ok([escape(bytes)]),
        Ok(None) => "none".into(),
        Err(e) => format!("error {}", e.name()),
    }
}

async fn open(path: &str, max: u64, limit: u64) -> String {
    let mut stream = match filesystem::open(path) {
        Ok(Some(stream)) => stream,
        Ok(None) => return "none".into(),
        Err(e) => return format!("error {}", e.name()),
    };
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < limit {
        let room = max.min(limit - bytes.len() as u64) as usize;
        let (status, part) = stream.read(Vec::with_capacity(room)).await;
        bytes.extend(part);
        if !matches!(status, wit_bindgen::StreamResult::Complete(_)) {
            break;
        }
    }
    ok([escape(bytes)])
}

pub async fn resolve(name: &str) -> String {
    let records = match dns::resolve_address(name.into()).await {
        Ok(records) => records,
        Err(e) => return format!("error {}", e.name()),
    };
    ok(records.iter().map(|r| {
        let address = match r.address {
            dns::IpAddress::Ipv4(a) => v4(a),
            dns::IpAddress::Ipv6(a) => v6(a),
        };
        format!("{address}/{}", r.ttl)
    }))
}

async fn reverse(address: &str) -> String {
    let address = match address.parse() {
        Ok(IpAddr::V4(a)) => dns::IpAddress::Ipv4(octets(a)),
        Ok(IpAddr::V6(a)) => dns::IpAddress::Ipv6(groups(a)),
        Err(_) => return "error not-an-address".into(),
    };
    match dns::reverse_resolve(address).await {
        Ok(Some(name)) => ok([name]),
        Ok(None) => "none".into(),
        Err(e) => format!("error {}", e.name()),
    }
}

async fn record(name: &str, rrtype: &str) -> String {
    let rrtype = match rrtype {
        "a" => dns::Rrtype::A,
        "aaaa" => dns::Rrtype::Aaaa,
        "cname" => dns::Rrtype::Cname,
        "ptr" => dns::Rrtype::Ptr,
        "srv" => dns::Rrtype::Srv,
        _ => dns::Rrtype::Txt,
    };
    match dns::resolve_record(name.into(), rrtype).await {
        Ok(records) => ok(records.iter().map(|r| format!("{}/{}", escape(&r.data), r.ttl))),
        Err(e) => format!("error {}", e.name()),
    }
}

pub fn on_signal(names: &str) -> String {
    let wanted: Vec<_> = names
        .split(',')
        .map(|name| match name {
            "terminate" => signals::SignalType::Terminate,
            "hangup" => signals::SignalType::Hangup,
            _ => signals::SignalType::Interrupt,
        })
        .collect();
    signals::on_signal(&wanted);
    "ok".into()
}

pub async fn close_connection() -> String {
    let closed = database_proxy::close(12345).await;
    closed.map_or_else(|e| format!("error {}", wit_name(e)), |()| "ok".into())
}

/// Does one step; its line.
pub async fn run(text: &str) -> String {
    let s = Step::parse(text);
    let word = s.text(1);
    match s.verb() {
        "read-virtual" => read_virtual(word).await,
        "open" => open(word, s.number(2, 65536), s.number(4, 1 << 20)).await,
        "resolve" => resolve(word).await,
        "reverse" => reverse(word).await,
        "record" => record(word, s.text(2)).await,
        "on-signal" => on_signal(word),
        "wait-signal" => ok([wit_name(signals::wait_signal().await)]),
        "declare" => crate::p2::declare(word),
        "close-connection" => close_connection().await,
        "say" => ok([word]),
        verb => format!("error unknown-verb {verb}"),
    }
}
