// SPDX-License-Identifier: Apache-2.0
//! Where users come from. The host logs in to both, so there is no password here.
use crate::Failure;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use redis::AsyncTypedCommands;
use redis::aio::MultiplexedConnection;
use serde::Serialize;
use tokio_postgres::{Client, Config, NoTls};
use warpgrid_async::{db, spawn};

/// For how long the cache keeps a user.
const TTL_S: u64 = 30;

#[derive(Serialize)]
pub struct User {
    id: i32,
    name: String,
    email: String,
    created_at: DateTime<Utc>,
}

/// An error that has nothing to do with what the client asked for.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| format!("the variable {name} is not set").into())
}

/// Redis, as long as it answers: the first failure is the last that is tried.
pub struct Cache(Option<MultiplexedConnection>);

impl Cache {
    pub async fn connect() -> Cache {
        Cache(connect_cache().await.inspect_err(told).ok())
    }

    pub async fn get(&mut self, id: i32) -> Option<String> {
        let found = self.0.as_mut()?.get(key(id)).await.inspect_err(told);
        if found.is_err() {
            self.0 = None;
        }
        found.ok()?
    }

    /// False when it could not be kept.
    pub async fn put(&mut self, id: i32, user: &str) -> bool {
        let Some(connection) = &mut self.0 else { return false };
        connection.set_ex(key(id), user, TTL_S).await.inspect_err(told).is_ok()
    }
}

fn told(e: &impl std::fmt::Display) {
    eprintln!("the cache is not there: {e}");
}

fn key(id: i32) -> String {
    format!("user:{id}")
}

async fn connect_cache() -> Result<MultiplexedConnection> {
    let stream = db::connect(&variable("CACHE_HOST")?, 6379).await?;
    // Its own timeouts need tokio's timer.
    let config =
        redis::AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let login = redis::RedisConnectionInfo::default();
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&login, stream, config).await?;
    spawn(driver);
    Ok(connection)
}

async fn connect_database() -> Result<Client> {
    let stream = db::connect(&variable("DATABASE_HOST")?, 5432).await?;
    let mut config = Config::new();
    config.user(variable("DATABASE_USER")?).dbname(variable("DATABASE_NAME")?);
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    spawn(async {
        // What went wrong there, the client's calls say, too.
        let _ = connection.await;
    });
    Ok(client)
}

async fn find(id: i32) -> Result<Option<User>> {
    let sql = "SELECT id, name, email, created_at FROM test_users WHERE id = $1";
    let Some(row) = connect_database().await?.query_opt(sql, &[&id]).await? else {
        return Ok(None);
    };
    Ok(Some(User {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        email: row.try_get(2)?,
        created_at: row.try_get(3)?,
    }))
}

/// A user from PostgreSQL.
pub async fn user(id: i32) -> std::result::Result<Option<User>, Failure> {
    find(id).await.map_err(|e| {
        eprintln!("the database failed: {e}");
        Failure(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be reached".into())
    })
}
