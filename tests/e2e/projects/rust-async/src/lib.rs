// SPDX-License-Identifier: Apache-2.0
//! What the services share: drivers over the crate's streams.
pub mod mysql;

use std::error::Error;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use warpgrid_async::{db, spawn};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A client of tokio-postgres whose connection runs beside the request.
pub async fn postgres() -> Result<Client> {
    let stream = db::connect("db.test.warp.local", 5432).await?;
    let mut config = Config::new();
    config.user("anybody").dbname("warpgrid");
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    spawn(connection);
    Ok(client)
}

/// The rows of a statement as text, columns parted by '|'.
pub async fn query(client: &Client, sql: &str) -> Result<String> {
    let mut lines = Vec::new();
    for message in client.simple_query(sql).await? {
        if let SimpleQueryMessage::Row(row) = message {
            let columns = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL"));
            lines.push(columns.collect::<Vec<_>>().join("|"));
        }
    }
    Ok(lines.join("\n"))
}

/// A connection of the crate redis, without the timeouts that need tokio's runtime.
pub async fn redis() -> Result<redis::aio::MultiplexedConnection> {
    let stream = db::connect("cache.test.warp.local", 6379).await?;
    let config =
        redis::AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let (connection, driver) = redis::aio::MultiplexedConnection::new_with_config(
        &redis::RedisConnectionInfo::default(),
        stream,
        config,
    )
    .await?;
    spawn(driver);
    Ok(connection)
}
