// SPDX-License-Identifier: Apache-2.0
//! `warpgrid:shim`: calls that wait block the guest.
use crate::steps::{Step, escape, ok};
use crate::{groups, octets, v4, v6, wit_name};
use std::net::IpAddr;

wit_bindgen::generate!({
    path: "../../../../wit/shim",
    world: "warpgrid:shim/shims",
    generate_all,
});
use warpgrid::shim::{database_proxy, dns, filesystem, signals, threading};

pub fn read_virtual(path: &str) -> String {
    match filesystem::read_virtual(path) {
        Ok(Some(bytes)) => ok([escape(bytes)]),
        Ok(None) => "none".into(),
        Err(e) => format!("error {}", e.name()),
    }
}

fn open(path: &str, max: u32, offset: u64, limit: u64) -> String {
    let file = match filesystem::open(path) {
        Ok(Some(file)) => file,
        Ok(None) => return "none".into(),
        Err(e) => return format!("error {}", e.name()),
    };
    file.seek(offset);
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < limit {
        match file.read(max) {
            Ok(part) if part.is_empty() => break,
            Ok(part) => bytes.extend(part),
            Err(e) => return format!("error {}", e.name()),
        }
    }
    ok([escape(&bytes[..bytes.len().min(limit as usize)])])
}

fn stat(path: &str) -> String {
    match filesystem::stat(path) {
        Ok(Some(found)) => format!("ok {} {}", wit_name(found.type_), found.size),
        Ok(None) => "none".into(),
        Err(e) => format!("error {}", e.name()),
    }
}

fn put(answer: Result<Vec<dns::IpAddressRecord>, dns::DnsError>) -> String {
    let records = match answer {
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

pub fn resolve(name: &str) -> String {
    put(dns::resolve_address(name))
}

fn start_resolve(name: &str) -> String {
    let pending = dns::start_resolve(name);
    pending.subscribe().block();
    put(pending.finish())
}

fn reverse(address: &str) -> String {
    let address = match address.parse() {
        Ok(IpAddr::V4(a)) => dns::IpAddress::Ipv4(octets(a)),
        Ok(IpAddr::V6(a)) => dns::IpAddress::Ipv6(groups(a)),
        Err(_) => return "error not-an-address".into(),
    };
    match dns::reverse_resolve(address) {
        Ok(Some(name)) => ok([name]),
        Ok(None) => "none".into(),
        Err(e) => format!("error {}", e.name()),
    }
}

fn record(name: &str, rrtype: &str) -> String {
    let rrtype = match rrtype {
        "a" => dns::Rrtype::A,
        "aaaa" => dns::Rrtype::Aaaa,
        "cname" => dns::Rrtype::Cname,
        "ptr" => dns::Rrtype::Ptr,
        "srv" => dns::Rrtype::Srv,
        _ => dns::Rrtype::Txt,
    };
    match dns::resolve_record(name, rrtype) {
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

fn poll_signal() -> String {
    signals::poll_signal().map_or("none".into(), |signal| ok([wit_name(signal)]))
}

pub fn declare(model: &str) -> String {
    let model = match model {
        "cooperative" => threading::ThreadingModel::Cooperative,
        _ => threading::ThreadingModel::ParallelRequired,
    };
    threading::declare_threading_model(model)
        .map_or_else(|e| format!("error {}", wit_name(e)), |()| "ok".into())
}

pub fn close_connection() -> String {
    database_proxy::close(12345).map_or_else(|e| format!("error {}", wit_name(e)), |()| "ok".into())
}

/// Does one step; its line.
pub fn run(text: &str) -> String {
    let s = Step::parse(text);
    let word = s.text(1);
    match s.verb() {
        "read-virtual" => read_virtual(word),
        "open" => open(word, s.number(2, 65536) as u32, s.number(3, 0), s.number(4, 1 << 20)),
        "stat" => stat(word),
        "resolve" => resolve(word),
        "start-resolve" => start_resolve(word),
        "reverse" => reverse(word),
        "record" => record(word, s.text(2)),
        "on-signal" => on_signal(word),
        "poll-signal" => poll_signal(),
        "wait-signal" => {
            signals::subscribe().block();
            poll_signal()
        }
        "declare" => declare(word),
        "close-connection" => close_connection(),
        "say" => ok([word]),
        verb => format!("error unknown-verb {verb}"),
    }
}
