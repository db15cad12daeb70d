// SPDX-License-Identifier: Apache-2.0
//! wasi:sockets of WASI 0.2 itself, by pollables:
//!
//! ```text
//! states ADDRESS PORT                      ok WORD...: what each call says, in an order that is wrong
//! connect ADDRESS PORT                     ok, or error NAME
//! checkouts COUNT ADDRESS PORT DB USER SQL ok ROW...: so many connections at once, one poll for all
//! ```
use rust_sockets::steps::{Step, escape, ok};
use rust_sockets::wire;
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

fn address(s: &Step, word: usize) -> (IpAddressFamily, IpSocketAddress) {
    use std::net::IpAddr;
    let port = s.number(word + 1, 0) as u16;
    match s.text(word).parse().expect("an address") {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            let place = Ipv4SocketAddress { port, address: (a, b, c, d) };
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(place))
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            let address = (a, b, c, d, e, f, g, h);
            let place = Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 };
            (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(place))
        }
    }
}

/// "ok", or the error's name.
fn said<T>(result: &Result<T, ErrorCode>) -> String {
    result.as_ref().map_or_else(|e| e.name().to_string(), |_| "ok".into())
}

fn finish(socket: &TcpSocket) -> Result<(InputStream, OutputStream), ErrorCode> {
    loop {
        match socket.finish_connect() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            result => return result,
        }
    }
}

fn states(s: &Step) -> String {
    let (family, to) = address(s, 1);
    let other = match family {
        IpAddressFamily::Ipv4 => IpAddressFamily::Ipv6,
        IpAddressFamily::Ipv6 => IpAddressFamily::Ipv4,
    };
    let network = instance_network();
    let wrong = create_tcp_socket(other).map(|other| other.start_connect(&network, to));
    let wrong = wrong.map_or_else(|e| e.name().to_string(), |r| said(&r));
    let socket = create_tcp_socket(family).expect("a socket");
    let mut seen = vec![
        format!("wrong-family={wrong}"),
        format!("finish-early={}", said(&socket.finish_connect())),
        format!("remote-early={}", said(&socket.remote_address())),
        format!("shutdown-early={}", said(&socket.shutdown(ShutdownType::Both))),
        format!("start={}", said(&socket.start_connect(&network, to))),
        format!("start-twice={}", said(&socket.start_connect(&network, to))),
    ];
    let both = finish(&socket);
    seen.push(format!("finish={}", said(&both)));
    seen.push(format!("finish-twice={}", said(&socket.finish_connect())));
    seen.push(format!("start-late={}", said(&socket.start_connect(&network, to))));
    seen.push(format!("listen-late={}", said(&socket.start_listen())));
    let remote = socket.remote_address();
    seen.push(format!("remote={}", said(&remote)));
    seen.push(format!("local={}", said(&socket.local_address())));
    seen.push(format!("family={}", socket.address_family() as u8));
    seen.push(format!("keep-alive={}", said(&socket.set_keep_alive_enabled(true))));
    seen.push(format!("hop-limit={}", said(&socket.set_hop_limit(33))));
    if let Ok((input, output)) = both {
        let empty = input.read(100).map(|bytes| bytes.len());
        seen.push(format!("nothing-yet={}", empty.is_ok_and(|n| n == 0)));
        seen.push(format!("room={}", output.check_write().is_ok_and(|n| n > 0)));
        seen.push(format!("shutdown={}", said(&socket.shutdown(ShutdownType::Send))));
        // The streams outlive nothing: they are children of the socket.
        drop((input, output));
    }
    drop(socket);
    ok(seen)
}

/// A connection on its way through start-up, one statement and its end.
struct Checkout {
    ready: Option<Pollable>,
    input: Option<InputStream>,
    output: Option<OutputStream>,
    socket: Option<TcpSocket>,
    answer: wire::Answer,
    asked: bool,
    line: Option<String>,
}

impl Checkout {
    fn send(&self, bytes: &[u8]) {
        let output = self.output.as_ref().expect("it is connected");
        // What is asked is shorter than any stream's room.
        output.blocking_write_and_flush(bytes).expect("the server takes a question");
    }

    /// What its pollable announced.
    fn advance(&mut self, s: &Step) {
        let Some(input) = &self.input else {
            match self.socket.as_ref().expect("it is open").finish_connect() {
                Err(ErrorCode::WouldBlock) => {}
                Err(e) => self.line = Some(format!("error {}", e.name())),
                Ok((input, output)) => {
                    self.ready = Some(input.subscribe());
                    (self.input, self.output) = (Some(input), Some(output));
                    self.send(&wire::startup(s.text(4), s.text(5)));
                }
            }
            return;
        };
        match input.read(1 << 16) {
            Ok(bytes) => {
                if !self.answer.feed(&bytes) {
                    return;
                }
                let answer = std::mem::take(&mut self.answer);
                if self.asked || answer.error.is_some() {
                    self.send(wire::TERMINATE);
                    self.line = Some(answer.line());
                } else {
                    self.asked = true;
                    self.send(&wire::query(s.text(6)));
                }
            }
            Err(_) => self.line = Some(std::mem::take(&mut self.answer).line()),
        }
        if self.line.is_some() {
            (self.ready, self.input, self.output) = (None, None, None);
            self.socket = None;
        }
    }
}

fn checkouts(s: &Step) -> String {
    let network = instance_network();
    let (family, to) = address(s, 2);
    let mut all: Vec<Checkout> = (0..s.number(1, 1))
        .map(|_| {
            let socket = create_tcp_socket(family).expect("a socket");
            let started = socket.start_connect(&network, to);
            Checkout {
                ready: Some(socket.subscribe()),
                input: None,
                output: None,
                socket: Some(socket),
                answer: wire::Answer::default(),
                asked: false,
                line: started.err().map(|e| format!("error {}", e.name())),
            }
        })
        .collect();
    loop {
        let waiting: Vec<usize> = (0..all.len()).filter(|&i| all[i].line.is_none()).collect();
        if waiting.is_empty() {
            break;
        }
        let ready: Vec<&Pollable> =
            waiting.iter().map(|&i| all[i].ready.as_ref().expect("it waits")).collect();
        let woken: Vec<usize> = poll(&ready).into_iter().map(|k| waiting[k as usize]).collect();
        for i in woken {
            all[i].advance(s);
        }
    }
    ok(all.into_iter().map(|c| escape(c.line.unwrap_or_default())))
}

fn main() {
    for text in std::env::args().skip(1) {
        let s = Step::parse(&text);
        println!(
            "{}",
            match s.verb() {
                "states" => states(&s),
                "checkouts" => checkouts(&s),
                "connect" => {
                    let (family, to) = address(&s, 1);
                    let socket = create_tcp_socket(family).expect("a socket");
                    let started = socket.start_connect(&instance_network(), to);
                    match started.and_then(|()| finish(&socket)) {
                        Ok(_) => "ok".into(),
                        Err(e) => format!("error {}", e.name()),
                    }
                }
                verb => format!("error unknown-verb {verb}"),
            }
        );
    }
}
