//! The service itself: plain functions, which `cargo test` tests without WebAssembly.
use http::header::CONTENT_TYPE;
use http::{Method, Response, StatusCode, Uri};
use serde_json::{Value, json};

/// Answers one request.
pub fn handle(method: &Method, uri: &Uri, body: &[u8]) -> Response<String> {
    let get = method == Method::GET || method == Method::HEAD;
    match uri.path() {
        "/" if get => answer(StatusCode::OK, json!({"service": "@@name@@"})),
        "/hello" if get => hello(uri),
        "/echo" if method == Method::POST => echo(body),
        _ => answer(StatusCode::NOT_FOUND, json!({"error": "not found"})),
    }
}

fn answer(status: StatusCode, body: Value) -> Response<String> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string())
        .expect("status and header are valid")
}

/// GET /hello?name=Ada
fn hello(uri: &Uri) -> Response<String> {
    let query = uri.query().unwrap_or_default();
    let name = form_urlencoded::parse(query.as_bytes())
        .find_map(|(key, value)| (key == "name").then_some(value))
        .unwrap_or("world".into());
    answer(StatusCode::OK, json!({"hello": name}))
}

/// POST /echo
fn echo(body: &[u8]) -> Response<String> {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) if value.is_object() || value.is_array() => {
            answer(StatusCode::OK, json!({"echo": value}))
        }
        _ => answer(
            StatusCode::BAD_REQUEST,
            json!({"error": "the body must be a JSON object or array"}),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method, uri: &str, body: &str) -> (u16, String) {
        let response = handle(&method, &uri.parse().unwrap(), body.as_bytes());
        (response.status().as_u16(), response.into_body())
    }

    #[test]
    fn routes() {
        assert_eq!(ask(Method::GET, "/hello", ""), (200, r#"{"hello":"world"}"#.into()));
        assert_eq!(ask(Method::GET, "/hello?name=A+B", ""), (200, r#"{"hello":"A B"}"#.into()));
        assert_eq!(ask(Method::POST, "/echo", "[1]"), (200, r#"{"echo":[1]}"#.into()));
        assert_eq!(ask(Method::POST, "/echo", "1").0, 400);
        assert_eq!(ask(Method::GET, "/echo", "").0, 404);
    }
}
