// SPDX-License-Identifier: Apache-2.0
//! tokio-postgres, over whatever carries its bytes.
use crate::steps::Step;
use tokio_postgres::{Client, Config, Error, SimpleQueryMessage};

/// Where a database is, and who asks.
#[derive(Clone)]
pub struct Place {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: String,
}

fn env(name: &str, standard: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| standard.into())
}

impl Place {
    /// DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD.
    pub fn of_environment() -> Self {
        Self {
            host: env("DB_HOST", "localhost"),
            port: env("DB_PORT", "5432").parse().expect("DB_PORT is a port"),
            database: env("DB_NAME", "postgres"),
            user: env("DB_USER", "guest"),
            password: env("DB_PASSWORD", ""),
        }
    }
    /// The same, with the words HOST PORT DATABASE USER PASSWORD of a step instead, as far as given.
    pub fn of_step(step: &Step, first: usize) -> Self {
        let given = Self::of_environment();
        let or = |word: usize, standard: String| match step.text(first + word) {
            "" => standard,
            text => text.into(),
        };
        Self {
            host: or(0, given.host),
            port: step.number(first + 1, given.port.into()) as u16,
            database: or(2, given.database),
            user: or(3, given.user),
            password: or(4, given.password),
        }
    }
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config.dbname(&self.database).user(&self.user);
        if !self.password.is_empty() {
            config.password(&self.password);
        }
        config
    }
    /// The addresses by the standard library's resolver: tokio's wants a thread.
    pub fn address(&self) -> Result<std::net::SocketAddr, String> {
        use std::net::ToSocketAddrs;
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        found.map_err(|e| format!("io {e}"))?.next().ok_or_else(|| "io no address".into())
    }
}

/// "SQLSTATE message" when the server said it, else "io why".
pub fn why(e: Error) -> String {
    match e.as_db_error() {
        Some(e) => format!("{} {}", e.code().code(), e.message()),
        None => format!("io {e}"),
    }
}

/// The rows of any SQL, their columns with '|' between.
pub async fn rows(client: &Client, sql: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for message in client.simple_query(sql).await.map_err(why)? {
        if let SimpleQueryMessage::Row(row) = message {
            let columns = (0..row.len()).map(|i| row.get(i).unwrap_or(""));
            found.push(columns.collect::<Vec<_>>().join("|"));
        }
    }
    Ok(found)
}

/// The same of one statement after the other, up to the first that fails.
pub async fn each<'a>(
    client: &Client,
    statements: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for sql in statements {
        found.extend(rows(client, sql).await?);
    }
    Ok(found)
}
