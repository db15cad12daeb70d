// SPDX-License-Identifier: Apache-2.0
//! A user over HTTP, from Redis or else from PostgreSQL (US-703): axum, redis and tokio-postgres as
//! they are, in a component of WASI 0.3.
//!
//!   GET /users/{id}  the user; x-cache says whether Redis had it ("hit") or PostgreSQL ("miss"),
//!                    or that Redis could not be asked ("down")
mod sources;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sources::Cache;
use warpgrid_async::{Tower, export};

/// What a client is told: a status, and `{"error": why}`.
pub struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

fn answer(cache: &'static str, user: String) -> Response {
    let json = (header::CONTENT_TYPE, "application/json");
    ([json, (HeaderName::from_static("x-cache"), cache)], user).into_response()
}

async fn user(id: Result<Path<i32>, PathRejection>) -> Result<Response, Failure> {
    let Path(id) = id.map_err(|e| Failure(StatusCode::BAD_REQUEST, e.body_text()))?;
    // Without its cache a service is slow, not broken.
    let mut cache = Cache::connect().await;
    if let Some(user) = cache.get(id).await {
        return Ok(answer("hit", user));
    }
    let user = sources::user(id).await?;
    let user = user.ok_or_else(|| Failure(StatusCode::NOT_FOUND, format!("no user {id}")))?;
    let text = serde_json::to_string(&user)
        .map_err(|e| Failure(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let kept = cache.put(id, &text).await;
    Ok(answer(if kept { "miss" } else { "down" }, text))
}

fn router() -> Router {
    let nothing =
        || async { Failure(StatusCode::NOT_FOUND, "there is nothing but /users/{id}".into()) };
    Router::new().route("/users/{id}", get(user)).fallback(nothing)
}

export!(Tower(router()));
