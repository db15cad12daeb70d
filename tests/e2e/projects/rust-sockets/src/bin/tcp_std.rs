// SPDX-License-Identifier: Apache-2.0
//! Sockets of the standard library. A connection has a NAME:
//!
//! ```text
//! resolve HOST                     ok ADDRESS...
//! connect NAME HOST PORT           ok: HOST is a name or an address
//! write NAME BYTES                 ok COUNT: of one call
//! read NAME MAX                    ok BYTES: of one call; "ok " at the end of the stream
//! peek NAME MAX                    the same, and the bytes stay
//! nonblocking NAME on|off          ok
//! wait NAME MAX MS                 reads without blocking until there is something
//! timeout NAME MS                  ok: of reads
//! shutdown NAME read|write|both    ok
//! peer NAME, local NAME            ok ADDRESS
//! nodelay NAME                     ok
//! startup NAME DATABASE USER       ok: as a PostgreSQL client, until it is ready
//! query NAME SQL                   ok ROW...
//! terminate NAME                   ok: says good-bye
//! close NAME                       ok
//! udp HOST PORT                    ok COUNT: sends a datagram
//! listen                           ok: on a port of its own
//! trap
//! ```
#![allow(clippy::unused_io_amount)]
use rust_sockets::steps::{Step, escape, ok};
use rust_sockets::wire;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

type Sockets = HashMap<String, TcpStream>;

fn converse(socket: &mut TcpStream, request: &[u8]) -> io::Result<String> {
    socket.write_all(request)?;
    let mut answer = wire::Answer::default();
    let mut bytes = vec![0; 1 << 16];
    loop {
        let n = socket.read(&mut bytes)?;
        if n == 0 || answer.feed(&bytes[..n]) {
            return Ok(answer.line());
        }
    }
}

fn run(s: &Step, sockets: &mut Sockets) -> io::Result<String> {
    let name = s.text(1);
    if s.verb() == "connect" {
        let socket = TcpStream::connect((s.text(2), s.number(3, 0) as u16))?;
        sockets.insert(name.into(), socket);
        return Ok("ok".into());
    }
    match s.verb() {
        "resolve" => {
            let found = (name, 0).to_socket_addrs()?;
            return Ok(ok(found.map(|address| address.ip())));
        }
        "udp" => {
            let sent =
                UdpSocket::bind("0.0.0.0:0")?.send_to(b"hello", (name, s.number(2, 0) as u16))?;
            return Ok(ok([sent]));
        }
        "listen" => return TcpListener::bind("0.0.0.0:0").map(|_| "ok".into()),
        "close" => {
            sockets.remove(name);
            return Ok("ok".into());
        }
        "trap" => std::process::abort(),
        _ => {}
    }
    let socket = sockets.get_mut(name).ok_or(ErrorKind::NotFound)?;
    let mut bytes = vec![0; s.number(2, 0) as usize];
    Ok(match s.verb() {
        "write" => ok([socket.write(s.bytes(2))?]),
        "read" => {
            let n = socket.read(&mut bytes)?;
            ok([escape(&bytes[..n])])
        }
        "peek" => {
            let n = socket.peek(&mut bytes)?;
            ok([escape(&bytes[..n])])
        }
        "wait" => {
            let end = Instant::now() + Duration::from_millis(s.number(3, 1000));
            loop {
                match socket.read(&mut bytes) {
                    Err(e) if e.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    found => return found.map(|n| ok([escape(&bytes[..n])])),
                }
            }
        }
        "nonblocking" => socket.set_nonblocking(s.text(2) == "on").map(|()| "ok".into())?,
        "timeout" => {
            let limit = Duration::from_millis(s.number(2, 1));
            socket.set_read_timeout(Some(limit)).map(|()| "ok".into())?
        }
        "shutdown" => {
            let how = match s.text(2) {
                "read" => Shutdown::Read,
                "write" => Shutdown::Write,
                _ => Shutdown::Both,
            };
            socket.shutdown(how).map(|()| "ok".into())?
        }
        "peer" => ok([socket.peer_addr()?]),
        "local" => ok([socket.local_addr()?]),
        "nodelay" => socket.set_nodelay(true).map(|()| "ok".into())?,
        "startup" => converse(socket, &wire::startup(s.text(2), s.text(3)))?,
        "query" => converse(socket, &wire::query(s.text(2)))?,
        "terminate" => socket.write_all(wire::TERMINATE).map(|()| "ok".into())?,
        verb => format!("error unknown-verb {verb}"),
    })
}

fn main() {
    let mut sockets = Sockets::new();
    for text in std::env::args().skip(1) {
        let line = run(&Step::parse(&text), &mut sockets);
        let failed = |e: io::Error| format!("error {:?} {}", e.kind(), escape(e.to_string()));
        println!("{}", line.unwrap_or_else(failed));
    }
}
