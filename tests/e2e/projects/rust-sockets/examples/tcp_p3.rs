// SPDX-License-Identifier: Apache-2.0
//! wasi:sockets of WASI 0.3 itself, and no driver. A connection has a NAME:
//!
//! ```text
//! connect NAME HOST PORT             ok: HOST is a name or an address
//! send NAME BYTES                    ok COUNT
//! receive NAME MAX                   ok BYTES: "ok " at the end of the stream
//! end NAME                           ok, or error NAME: no more is sent; how sending ended
//! received NAME                      ok, or error NAME: takes no more; how receiving ended
//! peer NAME, local NAME              ok ADDRESS
//! startup NAME DATABASE USER         ok: as a PostgreSQL client, until it is ready
//! query NAME SQL                     ok ROW...
//! twice NAME                         ok WORD...: what a second connect, send and receive say
//! close NAME                         ok
//! checkouts COUNT HOST PORT DB USER SQL  ok ROW...: so many connections at once
//! ```
use futures_util::future::join_all;
use rust_sockets::p3::{Socket, name, open, std_address, wasi_address};
use rust_sockets::steps::{Step, escape, ok};
use rust_sockets::wire;
use std::collections::HashMap;
use wasip3::wit_stream;

/// Bytes of one read.
const PART: usize = 1 << 16;

struct App;
wasip3::cli::command::export!(App);

async fn checkout(s: &Step) -> Result<String, String> {
    let mut socket = open(s.text(2), s.number(3, 0) as u16).await?;
    let started = socket.converse(wire::startup(s.text(4), s.text(5)), PART).await;
    if started != "ok" {
        return Ok(started);
    }
    let line = socket.converse(wire::query(s.text(6)), PART).await;
    socket.send(wire::TERMINATE.into()).await;
    Ok(line)
}

async fn run(s: &Step, sockets: &mut HashMap<String, Socket>) -> Result<String, String> {
    let id = s.text(1);
    match s.verb() {
        "connect" => {
            sockets.insert(id.into(), open(s.text(2), s.number(3, 0) as u16).await?);
            return Ok("ok".into());
        }
        "checkouts" => {
            let lines = join_all((0..s.number(1, 1)).map(|_| checkout(s))).await;
            return Ok(ok(lines.into_iter().map(|l| escape(l.unwrap_or_else(|e| e)))));
        }
        "close" => return sockets.remove(id).map(|_| "ok".into()).ok_or("no-such-socket".into()),
        _ => {}
    }
    let socket = sockets.get_mut(id).ok_or("no-such-socket")?;
    let ended = |e: Result<(), _>| e.map(|()| String::from("ok")).map_err(|e| name(&e));
    Ok(match s.verb() {
        "send" => {
            let bytes = s.bytes(2).to_vec();
            let count = bytes.len();
            if socket.send(bytes).await { ok([count]) } else { "error refused".into() }
        }
        "receive" => ok([escape(socket.receive(s.number(2, 1) as usize).await)]),
        "end" => {
            socket.out = None;
            ended(socket.sent.take().ok_or("ended-before")?.await)?
        }
        "received" => {
            socket.incoming = None; // nobody reads any more
            ended(socket.received.take().ok_or("ended-before")?.await)?
        }
        "peer" => ok([std_address(socket.socket.get_remote_address().map_err(|e| name(&e))?)]),
        "local" => ok([std_address(socket.socket.get_local_address().map_err(|e| name(&e))?)]),
        "startup" => socket.converse(wire::startup(s.text(2), s.text(3)), PART).await,
        "query" => socket.converse(wire::query(s.text(2)), PART).await,
        "twice" => {
            let said = |r: Result<(), _>| r.map_or_else(|e| name(&e), |()| "ok".into());
            let to = std_address(socket.socket.get_remote_address().map_err(|e| name(&e))?);
            let connect = said(socket.socket.connect(wasi_address(to).1).await);
            let (_, data) = wit_stream::new();
            let send = said(socket.socket.send(data).await);
            let (stream, end) = socket.socket.receive();
            drop(stream);
            let receive = said(end.await);
            ok([format!("connect={connect}"), format!("send={send}"), format!("receive={receive}")])
        }
        verb => format!("error unknown-verb {verb}"),
    })
}

impl wasip3::exports::cli::run::Guest for App {
    async fn run() -> Result<(), ()> {
        let mut sockets = HashMap::new();
        for text in wasip3::cli::environment::get_arguments().iter().skip(1) {
            let line = run(&Step::parse(text), &mut sockets).await;
            println!("{}", line.unwrap_or_else(|e| format!("error {}", escape(e))));
        }
        Ok(())
    }
}
