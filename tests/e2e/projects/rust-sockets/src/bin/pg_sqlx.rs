// SPDX-License-Identifier: Apache-2.0
//! sqlx, for US-114. A session has a NAME; where it goes: see pg_tokio.
//!
//! ```text
//! connect NAME [HOST ...]          ok
//! run NAME SQL                     ok COUNT: of rows it changed
//! insert NAME ID LABEL             ok COUNT: bound values, into e2e_sqlx
//! rows NAME SQL                    ok ROW...: all columns as text
//! transaction NAME ID LABEL        ok COUNT: inserts, counts, and rolls back
//! close NAME                       ok
//! pool SIZE COUNT SQL [HOST ...]   ok ROW...: COUNT statements at once over sqlx's own pool
//! ```
use futures_util::future::join_all;
use rust_sockets::driver::Place;
use rust_sockets::steps::{Step, escape, ok};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow, PgSslMode};
use sqlx::{Connection, Executor, PgConnection, Row};
use std::collections::HashMap;

fn why(e: sqlx::Error) -> String {
    match e.as_database_error() {
        Some(e) => format!("{} {}", e.code().unwrap_or_default(), e.message()),
        None => format!("io {e}"),
    }
}

fn options(place: &Place) -> Result<PgConnectOptions, String> {
    // sqlx asks tokio to look names up, which wants a thread: it gets an address.
    let options = PgConnectOptions::new_without_pgpass()
        .host(&place.address()?.ip().to_string())
        .port(place.port)
        .database(&place.database)
        .username(&place.user)
        .ssl_mode(PgSslMode::Disable);
    Ok(if place.password.is_empty() { options } else { options.password(&place.password) })
}

fn text(row: PgRow) -> Result<String, sqlx::Error> {
    let columns: Result<Vec<Option<String>>, _> = (0..row.len()).map(|i| row.try_get(i)).collect();
    Ok(columns?.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|"))
}

fn lines(rows: Vec<PgRow>) -> Result<String, sqlx::Error> {
    let found: Result<Vec<String>, _> = rows.into_iter().map(text).collect();
    Ok(ok(found?.iter().map(escape)))
}

const INSERT: &str = "INSERT INTO e2e_sqlx (id, label) VALUES ($1, $2)";

async fn step(s: &Step, c: &mut PgConnection) -> Result<String, sqlx::Error> {
    let id = s.number(2, 0) as i32;
    let sql = sqlx::AssertSqlSafe(s.text(2).to_owned());
    Ok(match s.verb() {
        "run" => ok([c.execute(sqlx::query(sql)).await?.rows_affected()]),
        "insert" => {
            ok([sqlx::query(INSERT).bind(id).bind(s.text(3)).execute(c).await?.rows_affected()])
        }
        "rows" => lines(sqlx::query(sql).fetch_all(c).await?)?,
        "transaction" => {
            let mut t = c.begin().await?;
            sqlx::query(INSERT).bind(id).bind(s.text(3)).execute(&mut *t).await?;
            let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM e2e_sqlx");
            let count = count.fetch_one(&mut *t).await?;
            t.rollback().await?;
            ok([count])
        }
        verb => format!("error unknown-verb {verb}"),
    })
}

async fn run(s: &Step, sessions: &mut HashMap<String, PgConnection>) -> Result<String, String> {
    let name = s.text(1);
    match s.verb() {
        "connect" => {
            let options = options(&Place::of_step(s, 2))?;
            let session = PgConnection::connect_with(&options).await.map_err(why)?;
            sessions.insert(name.into(), session);
            Ok("ok".into())
        }
        "close" => {
            let session = sessions.remove(name).ok_or("no such session")?;
            session.close().await.map(|()| "ok".into()).map_err(why)
        }
        "pool" => {
            let pool = PgPoolOptions::new().max_connections(s.number(1, 1) as u32);
            let pool = pool.connect_with(options(&Place::of_step(s, 4))?).await.map_err(why)?;
            let ask = || sqlx::query(sqlx::AssertSqlSafe(s.text(3).to_owned())).fetch_all(&pool);
            let found = join_all((0..s.number(2, 1)).map(|_| ask())).await;
            let found: Result<Vec<_>, _> = found.into_iter().collect();
            let line = lines(found.map_err(why)?.into_iter().flatten().collect()).map_err(why);
            pool.close().await;
            line
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
