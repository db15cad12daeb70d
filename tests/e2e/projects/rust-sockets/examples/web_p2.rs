// SPDX-License-Identifier: Apache-2.0
//! A service of wasi:http 0.2 with tokio-postgres; where the database is: see pg_tokio.
//!
//! ```text
//! /sql?q=SQL[&q=SQL]   rows as lines, of one statement after the other; a connection for this request
//! /sql?q=SQL&keep=1    the same over a connection that the instance keeps
//! /leave?q=SQL         asks, answers without waiting, and leaves the connection open
//! /trap?q=SQL          asks, and traps with the connection open
//! ```
use rust_sockets::driver::{Place, each, rows, why};
use rust_sockets::web::{Target, answer};
use std::cell::RefCell;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

type Session = (Client, JoinHandle<()>);

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_all().build().expect("a runtime of one thread");
    static KEPT: RefCell<Option<Session>> = const { RefCell::new(None) };
}

async fn open() -> Result<Session, String> {
    let place = Place::of_environment();
    let socket = TcpStream::connect(place.address()?).await;
    let socket = socket.map_err(|e| format!("io {:?} {e}", e.kind()))?;
    let (client, connection) = place.config().connect_raw(socket, NoTls).await.map_err(why)?;
    Ok((client, tokio::spawn(async move { drop(connection.await) })))
}

async fn respond(target: &Target) -> Result<Vec<String>, String> {
    let sql = target.text("q");
    match target.path.as_str() {
        "/sql" if target.text("keep").is_empty() => {
            let (client, connection) = open().await?;
            let found = each(&client, target.all("q")).await;
            drop(client);
            let _ = connection.await;
            found
        }
        "/sql" => {
            let session = match KEPT.take() {
                Some(session) if !session.0.is_closed() => session,
                _ => open().await?,
            };
            let found = each(&session.0, target.all("q")).await;
            KEPT.set(Some(session));
            found
        }
        "/leave" => {
            let (client, _) = open().await?;
            let sql = sql.to_owned();
            let asked = tokio::spawn(async move { drop(client.simple_query(&sql).await) });
            // Long enough for the statement to leave.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(50), asked).await;
            Ok(vec!["left".into()])
        }
        "/trap" => {
            let (client, _) = open().await?;
            let asked = rows(&client, sql);
            let _ = tokio::time::timeout(std::time::Duration::from_millis(50), asked).await;
            std::process::abort()
        }
        _ => Ok(vec!["nothing here".into()]),
    }
}

struct App;
wasip2::http::proxy::export!(App);

impl wasip2::exports::http::incoming_handler::Guest for App {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = Target::parse(&request.path_with_query().unwrap_or_default());
        let result = RUNTIME.with(|runtime| runtime.block_on(respond(&target)));
        let (status, text) = answer(result);
        let response = OutgoingResponse::new(Fields::new());
        response.set_status_code(status).expect("a status of three digits");
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the stream is taken once");
        for part in text.as_bytes().chunks(4096) {
            // A client that went away is no failure.
            if stream.blocking_write_and_flush(part).is_err() {
                break;
            }
        }
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}
