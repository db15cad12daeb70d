// SPDX-License-Identifier: Apache-2.0
//! A query through tokio-postgres. `warp.toml` declares the database `db.test.warp.local`; its password
//! stays with the host.
#![cfg(target_family = "wasm")]
use std::error::Error;
use tokio_postgres::{Config, NoTls};
use warpgrid_async::http::StatusCode;
use warpgrid_async::{AsyncHandler, Request, Response, db, export, spawn};

struct Users;

async fn names() -> Result<String, Box<dyn Error>> {
    let stream = db::connect("db.test.warp.local", 5432).await?;
    let (client, connection) =
        Config::new().user("warpgrid_app").dbname("warpgrid").connect_raw(stream, NoTls).await?;
    spawn(connection);
    let rows = client.query("SELECT name FROM test_users ORDER BY id", &[]).await?;
    Ok(rows.iter().map(|row| format!("{}\n", row.get::<_, &str>(0))).collect())
}

impl AsyncHandler for Users {
    async fn handle_request(&self, _: Request) -> Response {
        match names().await {
            Ok(text) => Response::text(text),
            Err(e) => {
                Response::text(format!("{e}\n")).with_status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

export!(Users);
