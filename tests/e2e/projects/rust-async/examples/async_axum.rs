// SPDX-License-Identifier: Apache-2.0
//! An axum Router as the handler, without axum's own server, which needs tokio's runtime.
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use rust_async::{postgres, query};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use warpgrid_async::{Tower, export, time};

async fn user(Path(id): Path<i64>) -> Result<String, (StatusCode, String)> {
    let error = |e: Box<dyn std::error::Error + Send + Sync>| {
        (StatusCode::INTERNAL_SERVER_ERROR, e.to_string())
    };
    let client = postgres().await.map_err(error)?;
    let sql = format!("SELECT name FROM test_users WHERE id = {id}");
    query(&client, &sql).await.map_err(error)
}

async fn upper(body: Body) -> Body {
    let upper = |chunk: Bytes| Bytes::from(chunk.to_ascii_uppercase());
    Body::from_stream(body.into_data_stream().map(move |chunk| chunk.map(upper)))
}

fn router() -> Router {
    let count = Arc::new(AtomicU64::new(0));
    Router::new()
        .route("/users/{id}", get(user))
        .route("/upper", post(upper))
        .route("/json", post(async |Json(value): Json<serde_json::Value>| Json(value)))
        .route(
            "/count",
            get(async |State(count): State<Arc<AtomicU64>>| {
                time::sleep(Duration::from_millis(1)).await;
                count.fetch_add(1, Ordering::Relaxed).to_string()
            }),
        )
        .with_state(count)
}

export!(Tower(router()));
