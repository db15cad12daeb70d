// SPDX-License-Identifier: Apache-2.0
//! Sends each request on to the URL in its x-to header, body and answer as they stream, by wasi:http
//! 0.3. x-connect-ms, x-first-ms and x-between-ms are timeouts. What fails is a 502 that names it.
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, RequestOptions, Response, Scheme};
use wasip3::{wit_future, wit_stream};

struct App;
wasip3::http::service::export!(App);

fn header(fields: &Fields, name: &str) -> Option<String> {
    String::from_utf8(fields.get(name).into_iter().next()?).ok()
}

fn text(status: u16, text: String) -> Response {
    let (mut body, reader) = wit_stream::new();
    let (trailers, trailers_reader) = wit_future::new(|| Ok(None));
    drop(trailers);
    let (response, _sent) = Response::new(Fields::new(), Some(reader), trailers_reader);
    let _ = response.set_status_code(status);
    wasip3::spawn_local(async move {
        let _ = body.write_all(text.into_bytes()).await;
    });
    response
}

impl wasip3::exports::http::handler::Guest for App {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let fields = request.get_headers();
        let ms = |name| Some(header(&fields, name)?.parse::<u64>().ok()? * 1_000_000);
        wait_for(ms("x-pause-ms").unwrap_or(0)).await;
        let Some(to) = header(&fields, "x-to") else {
            wait_for(ms("x-wait-ms").unwrap_or(0)).await;
            return Ok(text(200, "here\n".into()));
        };
        let options = RequestOptions::new();
        let _ = options.set_connect_timeout(ms("x-connect-ms"));
        let _ = options.set_first_byte_timeout(ms("x-first-ms"));
        let _ = options.set_between_bytes_timeout(ms("x-between-ms"));
        let (scheme, rest) = to.split_once("://").expect("a URL");
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let method = request.get_method();
        let headers = Fields::new();
        for value in fields.get("content-length") {
            let _ = headers.append("content-length", &value);
        }
        for (name, value) in rust_outgoing::onwards(&to, |name| header(&fields, name)) {
            let _ = headers.append(name, value.as_bytes());
        }
        let (_, done) = wit_future::new(|| Ok(()));
        let bare = matches!(method, Method::Get | Method::Head);
        let (body, trailers) = Request::consume_body(request, done);
        let body = (!bare).then_some(body);
        let (out, _sent) = Request::new(headers, body, trailers, Some(options));
        let _ = out.set_method(&method);
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        if header(&fields, "x-scheme").as_deref() != Some("none") {
            let _ = out.set_scheme(Some(&scheme));
        }
        if out.set_authority(Some(authority)).is_err() {
            return Ok(text(400, "no authority\n".into()));
        }
        let _ = out.set_path_with_query(Some(path));
        client::send(out).await.or_else(|e| Ok(text(502, format!("{e:?}\n"))))
    }
}
