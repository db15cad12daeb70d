// SPDX-License-Identifier: Apache-2.0
//! A service of wasi:http 0.3 with tokio-postgres over sockets of WASI 0.3; where the database is: see
//! pg_tokio.
//!
//! ```text
//! /sql?q=SQL[&q=SQL]   rows as lines, of one statement after the other; a connection for this request
//! /many?n=N&q=SQL      N connections at once, one statement each; the first line says how many
//!                      milliseconds all of it took, then their rows
//! /warm?n=N&q=SQL      the same, and the time counts from when all N are connected
//! /waiters?n=N&turns=T  N guests at once, who connect, ask once and close, T times each, without a driver;
//!                      the first line says how large the memory is, in kB, then how long each waited
//!                      for a session, in microseconds; the first turn, of all at once, does not count
//! /trap?q=SQL          asks, and traps with the connection open
//! ```
use futures_util::future::{join_all, select};
use rust_sockets::driver::{Place, each, rows, why};
use rust_sockets::p3::open;
use rust_sockets::web::{Target, answer};
use rust_sockets::wire;
use std::time::Instant;
use tokio_postgres::{Client, NoTls};
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

/// Bytes of a read of those who are many.
const SMALL: usize = 512;

async fn connect() -> Result<Client, String> {
    let place = Place::of_environment();
    let socket = open(&place.host, place.port).await.map_err(|e| format!("io {e}"))?;
    let socket = socket.into_tokio();
    let (client, connection) = place.config().connect_raw(socket, NoTls).await.map_err(why)?;
    wasip3::spawn_local(async move { drop(connection.await) });
    Ok(client)
}

async fn once(sql: &str) -> Result<Vec<String>, String> {
    rows(&connect().await?, sql).await
}

async fn waiter(turns: u64) -> Result<Vec<String>, String> {
    let place = Place::of_environment();
    let mut waits = Vec::new();
    for turn in 0..turns {
        let began = Instant::now();
        let mut socket = open(&place.host, place.port).await.map_err(|e| format!("io {e}"))?;
        let hello = wire::startup(&place.database, &place.user);
        let started = socket.converse(hello, SMALL).await;
        if turn > 0 {
            waits.push(began.elapsed().as_micros().to_string());
        }
        let line = socket.converse(wire::query("SELECT 1"), SMALL).await;
        if started != "ok" || line != "ok 1" {
            return Err(format!("io {started} {line}"));
        }
        socket.send(wire::TERMINATE.into()).await;
    }
    Ok(waits)
}

async fn respond(target: &Target) -> Result<Vec<String>, String> {
    let sql = target.text("q");
    let began = Instant::now();
    let took = |began: Instant| format!("{:.1}", began.elapsed().as_secs_f64() * 1e3);
    let n = target.number("n", 1);
    match target.path.as_str() {
        "/sql" => each(&connect().await?, target.all("q")).await,
        "/many" => {
            let found: Result<Vec<_>, _> =
                join_all((0..n).map(|_| once(sql))).await.into_iter().collect();
            Ok([vec![took(began)], found?.concat()].concat())
        }
        "/warm" => {
            let clients: Result<Vec<_>, _> =
                join_all((0..n).map(|_| connect())).await.into_iter().collect();
            let clients = clients?;
            let began = Instant::now();
            let found: Result<Vec<_>, _> =
                join_all(clients.iter().map(|c| rows(c, sql))).await.into_iter().collect();
            Ok([vec![took(began)], found?.concat()].concat())
        }
        "/waiters" => {
            let turns = target.number("turns", 2);
            let found: Result<Vec<_>, _> =
                join_all((0..n).map(|_| waiter(turns))).await.into_iter().collect();
            let size_kb = core::arch::wasm32::memory_size(0) * 64;
            Ok([vec![size_kb.to_string()], found?.concat()].concat())
        }
        "/trap" => {
            let client = connect().await?;
            let asked = Box::pin(rows(&client, sql));
            let a_while = Box::pin(wasip3::clocks::monotonic_clock::wait_for(50_000_000));
            select(asked, a_while).await;
            std::process::abort()
        }
        _ => Ok(vec!["nothing here".into()]),
    }
}

struct App;
wasip3::http::service::export!(App);

impl wasip3::exports::http::handler::Guest for App {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = Target::parse(&request.get_path_with_query().unwrap_or_default());
        drop(request);
        let (status, text) = answer(respond(&target).await);
        let (mut body, reader) = wit_stream::new();
        let (trailers, trailers_reader) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(Fields::new(), Some(reader), trailers_reader);
        let _ = response.set_status_code(status);
        drop(trailers);
        wasip3::spawn_local(async move {
            let wait = target.number("ms", 0) * 1_000_000;
            match target.path.as_str() {
                "/trap-in-body" => {
                    if target.number("n", 0) > 0 {
                        body.write_all(b"begun".to_vec()).await;
                    }
                    wasip3::clocks::monotonic_clock::wait_for(wait).await;
                    std::process::abort()
                }
                "/late" => wasip3::clocks::monotonic_clock::wait_for(wait).await,
                _ => {}
            }
            // What a client that went away left over is of no use.
            let _ = body.write_all(text.into_bytes()).await;
        });
        Ok(response)
    }
}
