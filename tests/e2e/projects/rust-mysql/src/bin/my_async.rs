// SPDX-License-Identifier: Apache-2.0
//! mysql_async over sockets, for US-117. A session has a NAME; it goes to DB_HOST, DB_PORT and DB_NAME as
//! DB_USER with DB_PASSWORD.
//!
//! ```text
//! connect NAME                ok VERSION: of the server
//! run NAME SQL                ok COUNT: of rows it changed
//! insert NAME ID LABEL        ok COUNT: bound values, into e2e_async
//! rows NAME SQL               ok ROW...: all columns as text, by a prepared statement
//! transaction NAME ID LABEL   ok COUNT: inserts, counts, and rolls back
//! close NAME                  ok
//! pool SIZE COUNT SQL         ok ROW...: COUNT statements one after the other over its own pool
//! ```
use mysql_async::prelude::*;
use mysql_async::{
    Conn, Error, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, Row, TxOpts, Value,
};
use rust_mysql::steps::{Step, escape, ok};
use rust_mysql::{address, env};
use std::collections::HashMap;

fn why(e: Error) -> String {
    match e {
        Error::Server(e) => format!("{} {} {}", e.state, e.code, e.message),
        e => format!("io {e}"),
    }
}

fn options() -> Result<Opts, String> {
    let address = address()?;
    let builder = OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some(env("DB_USER")))
        .pass(Some(env("DB_PASSWORD")).filter(|p| !p.is_empty()))
        .db_name(Some(env("DB_NAME")).filter(|name| !name.is_empty()))
        .prefer_socket(false);
    Ok(builder.into())
}

fn text(row: Row) -> String {
    let cell = |v: Value| match v {
        Value::NULL => String::new(),
        Value::Bytes(b) => String::from_utf8_lossy(&b).into_owned(),
        v => v.as_sql(true).trim_matches('\'').to_owned(),
    };
    row.unwrap().into_iter().map(cell).collect::<Vec<_>>().join("|")
}

fn lines(rows: Vec<Row>) -> String {
    ok(rows.into_iter().map(|row| escape(text(row))))
}

const INSERT: &str = "INSERT INTO e2e_async (id, label) VALUES (?, ?)";

async fn step(s: &Step, c: &mut Conn) -> Result<String, Error> {
    let values = || (s.number(2, 0), s.text(3).to_owned());
    Ok(match s.verb() {
        "run" => {
            c.query_drop(s.text(2)).await?;
            ok([c.affected_rows()])
        }
        "insert" => {
            c.exec_drop(INSERT, values()).await?;
            ok([c.affected_rows()])
        }
        "rows" => lines(c.exec(s.text(2), ()).await?),
        "transaction" => {
            let mut t = c.start_transaction(TxOpts::default()).await?;
            t.exec_drop(INSERT, values()).await?;
            let count: Option<u64> = t.query_first("SELECT count(*) FROM e2e_async").await?;
            t.rollback().await?;
            ok(count)
        }
        verb => format!("error unknown-verb {verb}"),
    })
}

async fn run(s: &Step, sessions: &mut HashMap<String, Conn>) -> Result<String, String> {
    let name = s.text(1);
    match s.verb() {
        "connect" => {
            let session = Conn::new(options()?).await.map_err(why)?;
            let (major, minor, _) = session.server_version();
            sessions.insert(name.into(), session);
            Ok(ok([format!("{major}.{minor}")]))
        }
        "close" => {
            let session = sessions.remove(name).ok_or("no such session")?;
            session.disconnect().await.map(|()| "ok".into()).map_err(why)
        }
        "pool" => {
            let most = PoolConstraints::new(0, s.number(1, 1) as usize).expect("SIZE is not 0");
            let own = PoolOpts::default().with_constraints(most);
            let pool = Pool::new(OptsBuilder::from_opts(options()?).pool_opts(own));
            let mut found = Vec::new();
            for _ in 0..s.number(2, 1) {
                let mut c = pool.get_conn().await.map_err(why)?;
                found.extend(c.query::<Row, _>(s.text(3)).await.map_err(why)?);
            }
            pool.disconnect().await.map_err(why)?;
            Ok(lines(found))
        }
        _ => step(s, sessions.get_mut(name).ok_or("no such session")?).await.map_err(why),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut sessions = HashMap::new();
    for text in std::env::args().skip(1) {
        let line = run(&Step::parse(&text), &mut sessions).await;
        println!("{}", line.unwrap_or_else(|e| format!("error {}", escape(e))));
    }
}
