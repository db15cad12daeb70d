// SPDX-License-Identifier: Apache-2.0
//! Every shim from Rust, with the verbs of tests/fixtures/steps/shims.h. A function for each, so that
//! a program that calls one of them imports one interface.
pub mod p2;
pub mod p3;
#[path = "../../steps.rs"]
pub mod steps;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub fn v4((a, b, c, d): (u8, u8, u8, u8)) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}

type Groups = (u16, u16, u16, u16, u16, u16, u16, u16);
pub fn v6((a, b, c, d, e, f, g, h): Groups) -> IpAddr {
    Ipv6Addr::new(a, b, c, d, e, f, g, h).into()
}

pub fn octets(address: Ipv4Addr) -> (u8, u8, u8, u8) {
    let [a, b, c, d] = address.octets();
    (a, b, c, d)
}

pub fn groups(address: Ipv6Addr) -> Groups {
    let [a, b, c, d, e, f, g, h] = address.segments();
    (a, b, c, d, e, f, g, h)
}

/// "HostNotFound" as the WIT writes it: "host-not-found".
pub fn wit_name(name: impl std::fmt::Debug) -> String {
    let text = format!("{name:?}");
    let variant = text.rsplit("::").next().unwrap_or_default();
    let mut out = String::new();
    for c in variant.chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
