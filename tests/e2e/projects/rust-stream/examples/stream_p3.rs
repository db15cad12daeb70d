// SPDX-License-Identifier: Apache-2.0
//! A service of wasi:http 0.3 that streams.
//!
//! ```text
//! /pass               answers with the stream of the request itself
//! /copy?chunk=N&ms=T  reads up to N bytes, writes them, rests T ms; trailers are passed on
//! /upper?chunk=N      the same in upper case
//! /lines?n=N&size=S   N lines of S bytes, a write each
//! /hold?ms=T&after=T  does not read for T ms, reads it all, rests, and says how much came
//! /after?ms=T         answers at once, and goes on for T ms
//! /seen?ms=T          after T ms, how many requests this instance had seen when this one came, bytes
//!                     that it wrote, streams whose other end went away
//! ```
use rust_stream::{Target, line};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};
use wasip3::{wit_future, wit_stream};

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static WRITTEN: AtomicU64 = AtomicU64::new(0);
static BROKEN: AtomicU64 = AtomicU64::new(0);

type End = FutureReader<Result<Option<Trailers>, ErrorCode>>;

/// Writes it all; None when nobody reads any more.
async fn write(body: &mut StreamWriter<u8>, bytes: Vec<u8>) -> Option<Vec<u8>> {
    let count = bytes.len();
    let left = body.write_all(bytes).await;
    WRITTEN.fetch_add((count - left.len()) as u64, Relaxed);
    if left.is_empty() {
        return Some(left);
    }
    BROKEN.fetch_add(1, Relaxed);
    None
}

async fn copy(mut from: StreamReader<u8>, to: &mut StreamWriter<u8>, target: &Target, upper: bool) {
    let (chunk, rest) = (target.number("chunk", 65536) as usize, target.number("ms", 0));
    let mut buf = Vec::with_capacity(chunk);
    loop {
        let (status, mut bytes) = from.read(buf).await;
        if upper {
            bytes.make_ascii_uppercase();
        }
        if !bytes.is_empty() {
            match write(to, bytes).await {
                Some(spare) => bytes = spare,
                None => return,
            }
        }
        if !matches!(status, StreamResult::Complete(_)) {
            return;
        }
        if rest > 0 {
            wait_for(rest * 1_000_000).await;
        }
        bytes.clear();
        buf = bytes;
    }
}

/// The fields of a request that announce its trailers: HTTP/1.1 sends no others.
fn announced(request: &Request) -> Fields {
    let fields = Fields::new();
    let names = request.get_headers().get("trailer");
    fields.set("trailer", &names).expect("a field that a guest may set");
    fields
}

/// A response that `fill` writes after its head went out.
fn stream<F>(fields: Fields, fill: impl FnOnce(StreamWriter<u8>) -> F + 'static) -> Response
where
    F: Future<Output = Result<Option<Trailers>, ErrorCode>>,
{
    let (body, reader) = wit_stream::new();
    let (end, end_reader) = wit_future::new(|| Ok(None));
    wasip3::spawn_local(async move {
        let result = fill(body).await;
        // What a client that went away left over is of no use.
        let _ = end.write(result).await;
    });
    Response::new(fields, Some(reader), end_reader).0
}

fn text(text: String) -> Response {
    stream(Fields::new(), async move |mut body| {
        body.write_all(text.into_bytes()).await;
        Ok(None)
    })
}

fn body_of(request: Request) -> (StreamReader<u8>, End) {
    let (done, done_reader) = wit_future::new(|| Ok(()));
    drop(done);
    Request::consume_body(request, done_reader)
}

struct App;
wasip3::http::service::export!(App);

impl wasip3::exports::http::handler::Guest for App {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let requests = REQUESTS.fetch_add(1, Relaxed) + 1;
        let target = Target(request.get_path_with_query().unwrap_or_default());
        Ok(match target.path() {
            "/pass" => {
                let fields = announced(&request);
                let (body, end) = body_of(request);
                Response::new(fields, Some(body), end).0
            }
            "/copy" | "/upper" => {
                let fields = announced(&request);
                let (body, end) = body_of(request);
                stream(fields, async move |mut to| {
                    copy(body, &mut to, &target, target.path() == "/upper").await;
                    drop(to);
                    let end = end.await;
                    BROKEN.fetch_add(end.is_err().into(), Relaxed);
                    end
                })
            }
            "/lines" => stream(Fields::new(), async move |mut to| {
                for n in 0..target.number("n", 1) {
                    if write(&mut to, line(n, target.number("size", 1024) as usize)).await.is_none()
                    {
                        break;
                    }
                }
                Ok(None)
            }),
            "/hold" => {
                wait_for(target.number("ms", 0) * 1_000_000).await;
                let (mut body, end) = body_of(request);
                let (mut got, mut buf) = (0, Vec::with_capacity(65536));
                loop {
                    let (status, bytes) = body.read(buf).await;
                    got += bytes.len();
                    if !matches!(status, StreamResult::Complete(_)) {
                        break;
                    }
                    buf = bytes;
                    buf.clear();
                }
                drop(body);
                wait_for(target.number("after", 0) * 1_000_000).await;
                text(format!("{got} {}\n", end.await.is_ok()))
            }
            "/after" => {
                wasip3::spawn_local(wait_for(target.number("ms", 0) * 1_000_000));
                text(format!("{requests}\n"))
            }
            _ => {
                wait_for(target.number("ms", 0) * 1_000_000).await;
                let (written, broken) = (WRITTEN.load(Relaxed), BROKEN.load(Relaxed));
                text(format!("{requests} {written} {broken}\n"))
            }
        })
    }
}
