// SPDX-License-Identifier: Apache-2.0
//! The same by wasi:http 0.2; the body of the request is not sent on.
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions,
    ResponseOutparam, Scheme,
};

struct App;
wasip2::http::proxy::export!(App);

fn answer(out: ResponseOutparam, status: u16, text: &[u8]) {
    let response = OutgoingResponse::new(Fields::new());
    let _ = response.set_status_code(status);
    let body = response.body().expect("once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("once");
    for chunk in text.chunks(4096) {
        if stream.blocking_write_and_flush(chunk).is_err() {
            return;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn ask(request: &IncomingRequest, to: &str) -> Result<(u16, Vec<u8>), String> {
    let fields = request.headers();
    let header = |name: &str| String::from_utf8(fields.get(name).into_iter().next()?).ok();
    let ms = |name| Some(header(name)?.parse::<u64>().ok()? * 1_000_000);
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(ms("x-connect-ms"));
    let _ = options.set_first_byte_timeout(ms("x-first-ms"));
    let _ = options.set_between_bytes_timeout(ms("x-between-ms"));
    let (scheme, rest) = to.split_once("://").expect("a URL");
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let headers = Fields::new();
    for (name, value) in rust_outgoing::onwards(to, header) {
        let _ = headers.append(name, value.as_bytes());
    }
    let out = OutgoingRequest::new(headers);
    let _ = out.set_method(&request.method());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    if header("x-scheme").as_deref() != Some("none") {
        let _ = out.set_scheme(Some(&scheme));
    }
    let _ = out.set_authority(Some(authority));
    let _ = out.set_path_with_query(Some(path));
    let future = outgoing_handler::handle(out, Some(options)).map_err(|e| format!("{e:?}"))?;
    future.subscribe().block();
    let response = future.get().expect("ready").expect("once").map_err(|e| format!("{e:?}"))?;
    let body = response.consume().expect("once");
    let stream = body.stream().expect("once");
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => all.extend(bytes),
            Err(wasip2::io::streams::StreamError::Closed) => break,
            Err(e) => return Err(format!("{e:?}")),
        }
    }
    Ok((response.status(), all))
}

impl Guest for App {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let to = request.headers().get("x-to").into_iter().next();
        let Some(to) = to.and_then(|to| String::from_utf8(to).ok()) else {
            return answer(out, 200, b"here\n");
        };
        match ask(&request, &to) {
            Ok((status, body)) => answer(out, status, &body),
            Err(e) => answer(out, 502, format!("{e}\n").as_bytes()),
        }
    }
}
