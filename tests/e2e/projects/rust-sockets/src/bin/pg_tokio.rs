// SPDX-License-Identifier: Apache-2.0
//! tokio-postgres over tokio's sockets. A session has a NAME; where it goes is said by DB_HOST, DB_PORT,
//! DB_NAME, DB_USER and DB_PASSWORD, or by the words HOST PORT DATABASE USER PASSWORD, all optional:
//!
//! ```text
//! connect NAME [HOST ...]          ok
//! query NAME SQL                   ok ROW...
//! prepared NAME COUNT              ok COUNT: so many times a prepared SELECT $1 + 1, checked
//! within NAME MS SQL               ok ROW..., or error timeout
//! cancel NAME MS SQL [HOST ...]    cancels it after a time; what the statement said
//! together NAME COUNT SQL          ok ROW...: so many statements at once down one connection
//! close NAME                       ok
//! checkouts COUNT SQL [HOST ...]   ok ROW...: so many sessions at once, one statement each
//! trap
//! ```
use futures_util::future::{join, join_all};
use rust_sockets::driver::{Place, rows, why};
use rust_sockets::steps::{Step, escape, ok};
use std::collections::HashMap;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

struct Session {
    client: Client,
    connection: JoinHandle<()>,
}

async fn socket(place: &Place) -> Result<TcpStream, String> {
    let address = place.address()?;
    TcpStream::connect(address).await.map_err(|e| format!("io {:?} {e}", e.kind()))
}

async fn open(place: &Place) -> Result<Session, String> {
    let socket = socket(place).await?;
    let (client, connection) = place.config().connect_raw(socket, NoTls).await.map_err(why)?;
    let connection = tokio::spawn(async move {
        if let Err(e) = connection.await {
            eprintln!("connection: {e}");
        }
    });
    Ok(Session { client, connection })
}

impl Session {
    async fn close(self) {
        drop(self.client);
        let _ = self.connection.await;
    }
}

async fn once(place: &Place, sql: &str) -> Result<Vec<String>, String> {
    let session = open(place).await?;
    let found = rows(&session.client, sql).await;
    session.close().await;
    found
}

async fn run(s: &Step, sessions: &mut HashMap<String, Session>) -> Result<String, String> {
    let name = s.text(1);
    match s.verb() {
        "connect" => {
            sessions.insert(name.into(), open(&Place::of_step(s, 2)).await?);
            return Ok("ok".into());
        }
        "checkouts" => {
            let place = Place::of_step(s, 3);
            let all = (0..s.number(1, 1)).map(|_| once(&place, s.text(2)));
            let lines = join_all(all).await;
            return Ok(ok(lines
                .into_iter()
                .map(|l| escape(l.map_or_else(|e| e, |r| r.join(","))))));
        }
        "close" => {
            sessions.remove(name).ok_or("no such session")?.close().await;
            return Ok("ok".into());
        }
        "trap" => std::process::abort(),
        _ => {}
    }
    let client = &sessions.get(name).ok_or("no such session")?.client;
    let found = match s.verb() {
        "query" => rows(client, s.text(2)).await?,
        "prepared" => {
            let statement = client.prepare("SELECT $1::int4 + 1").await.map_err(why)?;
            let count = s.number(2, 1) as i32;
            for i in 0..count {
                let row = client.query_one(&statement, &[&i]).await.map_err(why)?;
                assert_eq!(row.get::<_, i32>(0), i + 1);
            }
            vec![count.to_string()]
        }
        "within" => {
            let limit = Duration::from_millis(s.number(2, 1));
            tokio::time::timeout(limit, rows(client, s.text(3))).await.map_err(|_| "timeout")??
        }
        "cancel" => {
            let token = client.cancel_token();
            let place = Place::of_step(s, 4);
            let cancel = async {
                tokio::time::sleep(Duration::from_millis(s.number(2, 1))).await;
                token.cancel_query_raw(socket(&place).await?, NoTls).await.map_err(why)
            };
            let (found, canceled) = join(rows(client, s.text(3)), cancel).await;
            canceled?;
            found?
        }
        "together" => {
            let all = (0..s.number(2, 1)).map(|_| rows(client, s.text(3)));
            let found: Result<Vec<_>, _> = join_all(all).await.into_iter().collect();
            found?.concat()
        }
        verb => return Err(format!("unknown-verb {verb}")),
    };
    Ok(ok(found.iter().map(escape)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut sessions = HashMap::new();
    for text in std::env::args().skip(1) {
        let line = run(&Step::parse(&text), &mut sessions).await;
        println!("{}", line.unwrap_or_else(|e| format!("error {}", escape(e))));
    }
}
