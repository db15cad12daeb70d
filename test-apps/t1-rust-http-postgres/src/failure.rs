// SPDX-License-Identifier: Apache-2.0
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio_postgres::error::SqlState;

/// What a client is told: a status, and `{"error": why}`.
pub struct Failure(StatusCode, String);

impl Failure {
    pub fn client(why: &str) -> Failure {
        Failure(StatusCode::BAD_REQUEST, why.into())
    }

    pub fn not_found(why: &str) -> Failure {
        Failure(StatusCode::NOT_FOUND, why.into())
    }

    pub fn no_address(host: &str) -> Failure {
        Failure(StatusCode::SERVICE_UNAVAILABLE, format!("'{host}' has no address"))
    }

    pub fn unset(variable: &str) -> Failure {
        Failure(StatusCode::INTERNAL_SERVER_ERROR, format!("the variable {variable} is not set"))
    }
}

impl From<JsonRejection> for Failure {
    fn from(e: JsonRejection) -> Failure {
        Failure(e.status(), e.body_text())
    }
}

/// Of the host: a name or a session that is not to be had.
impl From<warpgrid_async::Error> for Failure {
    fn from(e: warpgrid_async::Error) -> Failure {
        Failure(StatusCode::SERVICE_UNAVAILABLE, format!("the database cannot be reached: {e}"))
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(e: tokio_postgres::Error) -> Failure {
        let Some(server) = e.as_db_error() else {
            return Failure(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the database went away: {e}"),
            );
        };
        if server.code() == &SqlState::UNIQUE_VIOLATION {
            return Failure(StatusCode::CONFLICT, "there is a user with this email".into());
        }
        // Connections, resources, operators: nothing that the request could have done better.
        if ["08", "53", "57"].contains(&&server.code().code()[..2]) {
            let why = format!("the database cannot be reached: {}", server.message());
            return Failure(StatusCode::SERVICE_UNAVAILABLE, why);
        }
        eprintln!("a statement failed: {server}");
        Failure(StatusCode::INTERNAL_SERVER_ERROR, "a statement failed".into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}
