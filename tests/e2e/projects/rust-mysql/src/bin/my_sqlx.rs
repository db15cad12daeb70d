// SPDX-License-Identifier: Apache-2.0
//! sqlx over sockets, for US-117. A session has a NAME; it goes to DB_HOST, DB_PORT and DB_NAME as
//! DB_USER with DB_PASSWORD.
//!
//! ```text
//! connect NAME                ok
//! run NAME SQL                ok COUNT: of rows it changed
//! insert NAME ID LABEL        ok COUNT: bound values, into e2e_sqlx
//! rows NAME SQL               ok ROW...: all columns as text, by a prepared statement
//! text NAME SQL               ok ROW...: the same as plain text, any number of statements
//! transaction NAME ID LABEL   ok COUNT: inserts, counts, and rolls back
//! large NAME BYTES            ok BYTES: of a value that was sent and came back
//! ping NAME                   ok
//! close NAME                  ok
//! drop NAME                   ok: without a goodbye
//! pool SIZE COUNT SQL         ok ROW...: COUNT statements at once over sqlx's own pool
//! ```
use futures_util::future::join_all;
use rust_mysql::steps::{Step, escape, ok};
use rust_mysql::{address, env};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlRow, MySqlSslMode};
use sqlx::{Connection, Executor, MySqlConnection, Row};
use std::collections::HashMap;

fn why(e: sqlx::Error) -> String {
    match e.as_database_error() {
        Some(e) => format!("{} {}", e.code().unwrap_or_default(), e.message()),
        None => format!("io {e}"),
    }
}

fn options() -> Result<MySqlConnectOptions, String> {
    let address = address()?;
    let options = MySqlConnectOptions::new()
        .host(&address.ip().to_string())
        .port(address.port())
        .username(&env("DB_USER"))
        .password(&env("DB_PASSWORD"))
        .ssl_mode(MySqlSslMode::Disabled);
    Ok(match env("DB_NAME").as_str() {
        "" => options,
        name => options.database(name),
    })
}

fn text(row: MySqlRow) -> Result<String, sqlx::Error> {
    let columns: Result<Vec<Option<String>>, _> =
        (0..row.len()).map(|i| row.try_get_unchecked(i)).collect();
    Ok(columns?.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|"))
}

fn lines(rows: Vec<MySqlRow>) -> Result<String, sqlx::Error> {
    let found: Result<Vec<String>, _> = rows.into_iter().map(text).collect();
    Ok(ok(found?.iter().map(escape)))
}

const INSERT: &str = "INSERT INTO e2e_sqlx (id, label) VALUES (?, ?)";

async fn step(s: &Step, c: &mut MySqlConnection) -> Result<String, sqlx::Error> {
    let id = s.number(2, 0) as i32;
    let sql = sqlx::AssertSqlSafe(s.text(2).to_owned());
    Ok(match s.verb() {
        "run" => ok([c.execute(sqlx::raw_sql(sql)).await?.rows_affected()]),
        "insert" => {
            ok([sqlx::query(INSERT).bind(id).bind(s.text(3)).execute(c).await?.rows_affected()])
        }
        "rows" => lines(sqlx::query(sql).fetch_all(c).await?)?,
        "text" => lines(sqlx::raw_sql(sql).fetch_all(c).await?)?,
        "transaction" => {
            let mut t = c.begin().await?;
            sqlx::query(INSERT).bind(id).bind(s.text(3)).execute(&mut *t).await?;
            let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM e2e_sqlx");
            let count = count.fetch_one(&mut *t).await?;
            t.rollback().await?;
            ok([count])
        }
        "large" => {
            let sent = "x".repeat(s.number(2, 1) as usize);
            let back: String = sqlx::query_scalar("SELECT ?").bind(&sent).fetch_one(c).await?;
            assert_eq!(sent, back);
            ok([back.len()])
        }
        "ping" => c.ping().await.map(|()| "ok".into())?,
        verb => format!("error unknown-verb {verb}"),
    })
}

async fn run(s: &Step, sessions: &mut HashMap<String, MySqlConnection>) -> Result<String, String> {
    let name = s.text(1);
    match s.verb() {
        "connect" => {
            let session = MySqlConnection::connect_with(&options()?).await.map_err(why)?;
            sessions.insert(name.into(), session);
            Ok("ok".into())
        }
        "close" => {
            let session = sessions.remove(name).ok_or("no such session")?;
            session.close().await.map(|()| "ok".into()).map_err(why)
        }
        "drop" => sessions.remove(name).map(|_| "ok".into()).ok_or("no such session".into()),
        "pool" => {
            let pool = MySqlPoolOptions::new().max_connections(s.number(1, 1) as u32);
            let pool = pool.connect_with(options()?).await.map_err(why)?;
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
