//! @@name@@: a small JSON service. One instance serves many requests at once: one that waits holds up
//! no other.
use serde_json::{Value, json};
use warpgrid_async::http::{Method, StatusCode, Uri};
use warpgrid_async::{AsyncHandler, Request, Response, export};

struct Service;

export!(Service);

impl AsyncHandler for Service {
    async fn handle_request(&self, request: Request) -> Response {
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/" if get => Response::json(&json!({"service": "@@name@@"})),
            "/health" if get => Response::json(&json!({"status": "ok"})),
            "/hello" if get => hello(request.uri()),
            "/echo" if request.method() == Method::POST => echo(&request).await,
            // @@if postgres
            #[cfg(target_family = "wasm")]
            "/time" if get => time().await,
            // @@end
            _ => error(StatusCode::NOT_FOUND, "not found"),
        }
    }
}

fn error(status: StatusCode, text: &str) -> Response {
    Response::json(&json!({"error": text})).with_status(status)
}

/// GET /hello?name=Ada
fn hello(uri: &Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let name = form_urlencoded::parse(query.as_bytes())
        .find_map(|(key, value)| (key == "name").then_some(value))
        .unwrap_or("world".into());
    Response::json(&json!({"hello": name}))
}

/// POST /echo
async fn echo(request: &Request) -> Response {
    match request.json::<Value>().await {
        Ok(value) if value.is_object() || value.is_array() => {
            Response::json(&json!({"echo": value}))
        }
        _ => error(
            StatusCode::BAD_REQUEST,
            "the body must be a JSON object or array",
        ),
    }
}
// @@if postgres

/// GET /time, as the database tells it
#[cfg(target_family = "wasm")]
async fn time() -> Response {
    match database::time().await {
        Ok(time) => Response::json(&json!({"time": time})),
        Err(e) => {
            eprintln!("database: {e}");
            error(
                StatusCode::SERVICE_UNAVAILABLE,
                "the database is not available",
            )
        }
    }
}

/// What the service asks its database: [databases.main] of warp.toml.
#[cfg(target_family = "wasm")]
mod database {
    use std::{env, error::Error};
    use tokio_postgres::{Config, NoTls};
    use warpgrid_async::{db, spawn};

    pub async fn time() -> Result<String, Box<dyn Error>> {
        // A session of the host's pool, which logs in; it goes back when the client is dropped.
        let stream = db::connect("db.warp.local", 5432).await?;
        let (client, connection) = Config::new()
            .dbname(env::var("DATABASE_NAME")?)
            .user(env::var("DATABASE_USER")?)
            .connect_raw(stream, NoTls)
            .await?;
        spawn(connection);
        let row = client.query_one("SELECT now()::text", &[]).await?;
        Ok(row.get(0))
    }
}
// @@end

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use warpgrid_async::{Body, http};

    /// What a future gives that waits for nothing: natively the whole body is there.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    fn ask(method: Method, uri: &str, body: &'static str) -> (u16, String) {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(Body::from(body))
            .unwrap();
        let response = now(Service.handle_request(request.into()));
        let status = response.status().as_u16();
        let body = now(response.into_body().collect(1 << 20)).unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn routes() {
        assert_eq!(
            ask(Method::GET, "/health", ""),
            (200, r#"{"status":"ok"}"#.into())
        );
        assert_eq!(
            ask(Method::GET, "/hello", ""),
            (200, r#"{"hello":"world"}"#.into())
        );
        assert_eq!(
            ask(Method::GET, "/hello?name=A+B", ""),
            (200, r#"{"hello":"A B"}"#.into())
        );
        assert_eq!(
            ask(Method::POST, "/echo", "[1]"),
            (200, r#"{"echo":[1]}"#.into())
        );
        assert_eq!(ask(Method::POST, "/echo", "1").0, 400);
        assert_eq!(ask(Method::GET, "/echo", "").0, 404);
    }
}
