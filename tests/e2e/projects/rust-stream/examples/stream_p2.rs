// SPDX-License-Identifier: Apache-2.0
//! A service of wasi:http 0.2 that streams. Its instances serve one request each, so that what they did
//! is printed.
//!
//! ```text
//! /copy?chunk=N       reads up to N bytes and writes them; trailers are passed on
//! /upper?chunk=N      the same in upper case
//! /hold?ms=T&after=T  does not read for T ms, reads it all, and rests before it answers
//! /lines?n=N&size=S   N lines of S bytes, a write each; prints "written BYTES" now and then
//! ```
use rust_stream::{Target, line};
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{OutputStream, StreamError};

/// What blocking-write-and-flush takes at most.
const MOST: usize = 4096;

fn write(to: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes.chunks(MOST).try_for_each(|part| to.blocking_write_and_flush(part))
}

fn copy(from: &IncomingBody, to: &OutputStream, target: &Target) -> Result<(), StreamError> {
    let from = from.stream().expect("the stream is taken once");
    loop {
        match from.blocking_read(target.number("chunk", 65536)) {
            Ok(mut bytes) => {
                if target.path() == "/upper" {
                    bytes.make_ascii_uppercase();
                }
                write(to, &bytes)?;
            }
            Err(StreamError::Closed) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

fn lines(to: &OutputStream, target: &Target) -> Result<(), StreamError> {
    let size = target.number("size", 1024) as usize;
    for n in 0..target.number("n", 1) {
        write(to, &line(n, size))?;
        if n % 1024 == 1023 {
            println!("written {}", (n + 1) * size as u64);
        }
    }
    Ok(())
}

struct App;
wasip2::http::proxy::export!(App);

impl wasip2::exports::http::incoming_handler::Guest for App {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = Target(request.path_with_query().unwrap_or_default());
        let incoming = request.consume().expect("the body is taken once");
        if target.path() == "/hold" {
            std::thread::sleep(std::time::Duration::from_millis(target.number("ms", 0)));
            let from = incoming.stream().expect("the stream is taken once");
            while from.blocking_read(65536).is_ok() {}
            std::thread::sleep(std::time::Duration::from_millis(target.number("after", 0)));
        }
        let fields = Fields::new();
        // HTTP/1.1 sends no trailers that are not announced.
        let names = request.headers().get("trailer");
        fields.set("trailer", &names).expect("a field that a guest may set");
        let response = OutgoingResponse::new(fields);
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let to = body.write().expect("the stream is taken once");
        let result = match target.path() {
            "/copy" | "/upper" => copy(&incoming, &to, &target),
            "/lines" => lines(&to, &target),
            _ => Ok(()),
        };
        drop(to);
        if result.is_err() {
            println!("broken");
            return;
        }
        let end = IncomingBody::finish(incoming);
        end.subscribe().block();
        let trailers = end.get().and_then(|end| end.ok()?.ok()?);
        let _ = OutgoingBody::finish(body, trailers.map(|t| Fields::clone(&t)));
    }
}
