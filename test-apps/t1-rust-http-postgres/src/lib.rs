// SPDX-License-Identifier: Apache-2.0
//! Users over HTTP, kept in PostgreSQL (US-702): axum and tokio-postgres as they are, in a component of
//! WASI 0.3.
//!
//!   GET  /users                            all of them
//!   POST /users {"name":..., "email":...}  201 and the new one
mod failure;

use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use failure::Failure;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Config, NoTls, Row};
use warpgrid_async::{Tower, db, dns, export, spawn};

#[derive(Serialize)]
struct User {
    id: i32,
    name: String,
    email: String,
    created_at: DateTime<Utc>,
}

impl TryFrom<&Row> for User {
    type Error = tokio_postgres::Error;

    fn try_from(row: &Row) -> Result<Self, Self::Error> {
        Ok(User {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            email: row.try_get("email")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

#[derive(Deserialize)]
struct NewUser {
    name: String,
    email: String,
}

/// A session of the host's pool, for one request. The host logs in, so there is no password here.
async fn database() -> Result<Client, Failure> {
    let variable = |name| std::env::var(name).map_err(|_| Failure::unset(name));
    let host = variable("DATABASE_HOST")?;
    let found = dns::resolve(&host).await?;
    let address = found.first().ok_or_else(|| Failure::no_address(&host))?;
    let stream = db::connect(&address.ip.to_string(), 5432).await?;
    let mut config = Config::new();
    config.user(variable("DATABASE_USER")?).dbname(variable("DATABASE_NAME")?);
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    spawn(async {
        // What went wrong there, the client's calls say, too.
        let _ = connection.await;
    });
    Ok(client)
}

async fn list() -> Result<Json<Vec<User>>, Failure> {
    let rows = database().await?.query("SELECT * FROM test_users ORDER BY id", &[]).await?;
    Ok(Json(rows.iter().map(User::try_from).collect::<Result<_, _>>()?))
}

type Created = (StatusCode, [(HeaderName, String); 1], Json<User>);

async fn add(new: Result<Json<NewUser>, JsonRejection>) -> Result<Created, Failure> {
    let Json(new) = new?;
    if new.name.trim().is_empty() || !new.email.contains('@') {
        return Err(Failure::client("a user has a name, and an email with an '@'"));
    }
    let sql = "INSERT INTO test_users (name, email) VALUES ($1, $2) RETURNING *";
    let row = database().await?.query_one(sql, &[&new.name, &new.email]).await?;
    let user = User::try_from(&row)?;
    let location = format!("/users/{}", user.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(user)))
}

fn router() -> Router {
    Router::new()
        .route("/users", get(list).post(add))
        .fallback(async || Failure::not_found("there is nothing but /users"))
}

export!(Tower(router()));
