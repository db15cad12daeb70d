// SPDX-License-Identifier: Apache-2.0
//! HTTP/1.1 and h2c in front of a ProxyHandler: connections, limits, and what clients are told.

use crate::app::{App, Pre};
use crate::gate::Gate;
use crate::host;
use crate::instances::{self, Factory, Request};
use crate::peer::{self, Active, End, Peer, Stream, Streams, Vigil};
use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::server::conn::auto;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wasmtime_wasi_http::handler::{ExpirationError, InstantiationError, ProxyHandler};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

thread_local! {
    static CONNECTIONS: Cell<usize> = const { Cell::new(0) };
    /// Of the apps that requests were routed to; a handful at most.
    static HANDLERS: RefCell<Vec<(Arc<App>, Handler)>> = const { RefCell::new(Vec::new()) };
}

/// The worker's way to an app's instances.
#[derive(Clone)]
struct Handler {
    proxy: ProxyHandler<Factory>,
    /// None when an instance serves one request at a time.
    gate: Option<Arc<Gate>>,
}

impl Handler {
    fn new(app: &Arc<App>) -> Handler {
        let shared = matches!(app.pre, Pre::P3Http(_)) && app.policy.max_concurrent > 1;
        let gate = shared.then(|| Arc::new(Gate::new()));
        Handler { proxy: ProxyHandler::new(Factory::new(app, gate.clone())), gate }
    }
}

/// The worker's handler of an app, made with its first request.
fn handler_of(app: &Arc<App>) -> Handler {
    HANDLERS.with_borrow_mut(|all| match all.iter().find(|(a, _)| Arc::ptr_eq(a, app)) {
        Some((_, handler)) => handler.clone(),
        None => {
            let handler = Handler::new(app);
            all.push((app.clone(), handler.clone()));
            handler
        }
    })
}

/// Forgets the app: its instances end when they have nothing to do.
pub fn retire(app: &Arc<App>) {
    app.retired.store(true, Relaxed);
    // Dropped outside the borrow: what it drops may call back.
    let _gone = HANDLERS.with_borrow_mut(|all| {
        all.iter().position(|(a, _)| Arc::ptr_eq(a, app)).map(|i| all.swap_remove(i))
    });
    instances::wake_all();
}

/// Before the worker's runtime goes.
pub fn forget_handlers() {
    drop(HANDLERS.take());
}

/// How a listener's connections are served.
#[derive(Clone, Copy)]
pub struct Listen {
    pub header_bytes: usize,
    pub admin: bool,
}

pub fn connections() -> usize {
    CONNECTIONS.get()
}

/// hyper reads heads up to this many times the header limit, so that we can answer 431 to all but
/// the absurd; those it answers itself.
const HEAD_BUFFER: usize = 4;
/// hyper's least buffer.
const MIN_BUFFER: usize = 8 << 10;
/// Services of this process that call each other, each in the course of the call before.
const DEPTH_MAX: u32 = 16;

/// Accepts until `stopping` says so.
pub async fn accept(listener: TcpListener, listen: Listen, stopping: watch::Receiver<bool>) {
    let mut stop = stopping.clone();
    loop {
        let accepted = tokio::select! {
            a = listener.accept() => a,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, listen, stopping.clone()));
            }
            // Out of fds or memory: what is being served ends and frees some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

struct Counted;
impl Counted {
    fn new() -> Counted {
        CONNECTIONS.set(CONNECTIONS.get() + 1);
        Counted
    }
}
impl Drop for Counted {
    fn drop(&mut self) {
        CONNECTIONS.set(CONNECTIONS.get() - 1);
    }
}

async fn connection(stream: TcpStream, listen: Listen, mut stopping: watch::Receiver<bool>) {
    let _counted = Counted::new();
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(Streams);
    let header_bytes = listen.header_bytes;
    // Without pipeline_flush: it holds back answers while a byte of the request is unread, loses them
    // when the connection closes then, and takes a response's body without bound.
    builder.http1().max_buf_size(header_bytes.saturating_mul(HEAD_BUFFER).max(MIN_BUFFER));
    builder.http2().max_header_list_size(header_bytes.try_into().unwrap_or(u32::MAX));
    let peer = Arc::new(Peer::default());
    let service = service_fn(|r| {
        let active = Active::new(&peer);
        async move {
            let mut response = pin!(async {
                match listen.admin {
                    true => administer(r).await,
                    false => respond(header_bytes, r, active).await,
                }
            });
            std::future::poll_fn(|cx| peer::gives(response.as_mut().poll(cx))).await
        }
    });
    let mut vigil = Vigil::new(&peer, stream.as_raw_fd());
    let mut conn =
        pin!(builder.serve_connection(TokioIo::new(Stream::new(stream, &peer)), service));
    let mut ends = false;
    loop {
        tokio::select! {
            biased;
            // The peer's resets and protocol errors end its connection and concern nobody else.
            _ = conn.as_mut() => return,
            end = &mut vigil => match end {
                End::Idle if !ends => {}
                _ => return,
            },
            _ = stopping.wait_for(|s| *s), if !ends => {}
        }
        ends = true;
        vigil.hurry();
        conn.as_mut().graceful_shutdown();
    }
}

/// Counts a request as in flight, and tells its instance when the client went away before the end.
struct InFlight {
    app: Arc<App>,
    request: Arc<Request>,
    /// The request's body was longer than allowed.
    over: Arc<AtomicBool>,
    finished: bool,
    /// None: a guest of this process is the client.
    _active: Option<Active>,
}

impl InFlight {
    /// Takes over from route(): dropping it gives the app back.
    fn new(app: Arc<App>, depth: u32, active: Option<Active>) -> InFlight {
        app.traffic.inflight.fetch_add(1, Relaxed);
        let id = app.traffic.requests.fetch_add(1, Relaxed) + 1;
        let over = Arc::new(AtomicBool::new(false));
        let request = Request::new(id, depth);
        InFlight { app, request, over, finished: false, _active: active }
    }

    fn too_many(&self) -> bool {
        self.app.traffic.inflight.load(Relaxed) > self.app.policy.max_inflight
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.app.traffic.inflight.fetch_sub(1, Relaxed);
        self.request.end(!self.finished);
        let h = host::host();
        unsafe { (h.app_unuse)(h.ctx, self.app.user) };
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<WasiBody> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|e| match e {});
    let mut r = Response::new(body.boxed_unsync());
    *r.status_mut() = status;
    r.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        r.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    r
}

/// The host that a request is for, as the client wrote it; None without a single valid one (RFC 9112,
/// section 3.2).
fn host_of(r: &hyper::Request<Incoming>) -> Option<&str> {
    let mut given = r.headers().get_all(header::HOST).iter();
    let name = match (r.uri().authority(), given.next(), given.next()) {
        (_, _, Some(_)) => return None,
        (Some(_), None, _) if r.version() == http::Version::HTTP_11 => return None,
        (Some(a), _, _) => a.as_str().rsplit('@').next()?,
        (None, first, _) => first?.to_str().ok()?,
    };
    // Of RFC 3986's host and port; no user.
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&b);
    name.bytes().all(valid).then_some(name)
}

/// C's choice for a request.
fn route(host_name: &str, path: &str, active: Active) -> Option<InFlight> {
    let (host_name, path) = (host_name.as_bytes(), path.as_bytes());
    let h = host::host();
    let app = unsafe {
        (h.route)(h.ctx, crate::abi::Bytes::of(host_name), crate::abi::Bytes::of(path)).as_ref()
    };
    app.map(|a| InFlight::new(a.clone(), 0, Some(active)))
}

fn done(user: *mut std::ffi::c_void, id: u64, status: StatusCode, began: Instant) {
    let h = host::host();
    let usec = began.elapsed().as_micros() as u64;
    unsafe { (h.request_done)(h.ctx, user, id, status.as_u16().into(), usec) };
}

async fn respond(
    header_bytes: usize,
    mut request: hyper::Request<Incoming>,
    active: Active,
) -> Result<Response<WasiBody>, Infallible> {
    let began = Instant::now();
    // HTTP/1.0 has no Host, and load balancers check services by it; wasi:http wants one.
    if request.version() == http::Version::HTTP_10 && request.uri().authority().is_none() {
        request.headers_mut().entry(header::HOST).or_insert(header::HeaderValue::from_static(""));
    }
    let routed = match host_of(&request) {
        None => Err(plain(
            StatusCode::BAD_REQUEST,
            "the request must have one Host header, with a host\n",
        )),
        Some(name) => route(name, request.uri().path(), active).ok_or_else(|| {
            plain(StatusCode::NOT_FOUND, "no service here answers to this host and path\n")
        }),
    };
    match routed {
        Ok(inflight) => Ok(answer(inflight, header_bytes, request, began).await),
        Err(response) => {
            done(std::ptr::null_mut(), 0, response.status(), began);
            Ok(response)
        }
    }
}

/// Lets a service of this process answer a guest of this process. The app comes with a use.
pub async fn call(
    app: Arc<App>,
    depth: u32,
    request: hyper::Request<WasiBody>,
) -> Result<Response<WasiBody>, HttpError> {
    let inflight = InFlight::new(app, depth, None);
    if depth > DEPTH_MAX {
        return Err(HttpError::LoopDetected);
    }
    Ok(answer(inflight, usize::MAX, request, Instant::now()).await)
}

async fn answer<B>(
    mut inflight: InFlight,
    header_bytes: usize,
    request: hyper::Request<B>,
    began: Instant,
) -> Response<WasiBody>
where
    B: Body<Data = Bytes, Error: Into<HttpError>> + Send + Unpin + 'static,
{
    let asked = match *request.method() {
        http::Method::HEAD => Asked::Head,
        http::Method::CONNECT => Asked::Tunnel,
        _ => Asked::Content,
    };
    let mut response = match refuse(&inflight, header_bytes, &request) {
        Some(r) => r,
        None => forward(&inflight, request).await,
    };
    let status = response.status();
    if status.is_informational() {
        failed(&inflight, &format!("the response has the status {status}, which ends no request"));
        response = plain(StatusCode::INTERNAL_SERVER_ERROR, "the service failed\n");
    }
    done(inflight.app.user, inflight.request.id, response.status(), began);
    if asked.has_no_content(status) {
        // Nobody would ask for its end; HTTP/2 would send it.
        inflight.finished = true;
        return response.map(|_| Empty::new().map_err(|e| match e {}).boxed_unsync());
    }
    let length = response.headers().get(header::CONTENT_LENGTH);
    let left = length.and_then(|v| v.to_str().ok()?.parse().ok());
    if inflight.over.load(Relaxed) || left == Some(0) || response.body().is_end_stream() {
        inflight.finished = true;
    } else {
        response = response.map(|inner| Tracked { inner, left, inflight }.boxed_unsync());
    }
    response
}

/// What a request asked for, as far as it decides whether its response has content.
enum Asked {
    Content,
    Head,
    Tunnel,
}

impl Asked {
    /// RFC 9110, section 6.4.1.
    fn has_no_content(&self, status: StatusCode) -> bool {
        matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || match self {
                Asked::Content => false,
                Asked::Head => true,
                Asked::Tunnel => status.is_success(),
            }
    }
}

/// Says in the log what was wrong with the guest.
fn failed(inflight: &InFlight, text: &str) {
    let h = host::host();
    let text = crate::abi::Bytes::of(text.as_bytes());
    unsafe { (h.guest_failed)(h.ctx, inflight.app.user, inflight.request.id, text) };
}

/// Answers what the guest need not see.
fn refuse(
    inflight: &InFlight,
    header_bytes: usize,
    r: &hyper::Request<impl Body>,
) -> Option<Response<WasiBody>> {
    if inflight.too_many() {
        return Some(plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests are in flight; try again later\n",
        ));
    }
    let size: usize = r.headers().iter().map(|(k, v)| k.as_str().len() + v.len() + 4).sum();
    if size > header_bytes {
        return Some(plain(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the request's header is too large\n",
        ));
    }
    if r.body().size_hint().lower() > inflight.app.policy.body_bytes {
        return Some(too_large());
    }
    None
}

fn too_large() -> Response<WasiBody> {
    plain(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large\n")
}

/// What the admin endpoint says.
async fn administer(request: hyper::Request<Incoming>) -> Result<Response<WasiBody>, Infallible> {
    let origin = request.headers().get(header::ORIGIN);
    let answer = host::admin(
        request.method().as_str(),
        request.uri().path(),
        host_of(&request).unwrap_or_default(),
        origin.map_or("", |v| v.to_str().unwrap_or("?")),
    )
    .await;
    let body = Full::new(Bytes::from(answer.text)).map_err(|e| match e {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = u16::try_from(answer.status)
        .ok()
        .and_then(|s| StatusCode::from_u16(s).ok())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if answer.json { "application/json" } else { "text/plain; charset=utf-8" };
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    Ok(response)
}

async fn forward<B>(inflight: &InFlight, request: hyper::Request<B>) -> Response<WasiBody>
where
    B: Body<Data = Bytes, Error: Into<HttpError>> + Send + Unpin + 'static,
{
    let (app, over) = (&inflight.app, &inflight.over);
    let handler = handler_of(app);
    let request = request.map(|inner| {
        if inner.is_end_stream() {
            return inner.map_err(Into::into).boxed_unsync();
        }
        let request = inflight.request.clone();
        Limited { inner, left: app.policy.body_bytes, over: over.clone(), request }.boxed_unsync()
    });
    let _inside = match &handler.gate {
        Some(gate) => Some(gate.enter(inflight.request.id).await),
        None => None,
    };
    match handler.proxy.handle(inflight.request.clone(), request).await {
        // Whatever the guest made of half a body.
        _ if over.load(Relaxed) => too_large(),
        Ok(r) => r,
        Err(_) if inflight.request.has_left() => plain(
            StatusCode::BAD_REQUEST,
            "the request's body is malformed, or shorter than announced\n",
        ),
        Err(e) if e.is::<ExpirationError>() || inflight.request.timed_out() => plain(
            StatusCode::GATEWAY_TIMEOUT,
            "the service did not answer within the request timeout\n",
        ),
        Err(e) => match e.downcast_ref::<InstantiationError<Arc<Request>>>() {
            Some(i) => {
                failed(inflight, &format!("cannot make an instance: {:#}", i.error));
                plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the service has no room for another instance; try again later\n",
                )
            }
            None => plain(StatusCode::INTERNAL_SERVER_ERROR, "the service failed\n"),
        },
    }
}

/// A response body that keeps its request in flight to the last byte.
struct Tracked {
    inner: WasiBody,
    /// Bytes up to the Content-Length: hyper drops the body there without asking for its end.
    left: Option<u64>,
    inflight: InFlight,
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let frame = std::task::ready!(peer::gives(polled));
        if self.inflight.over.load(Relaxed) {
            // The head is out already: cutting the response short is all that is left.
            return Poll::Ready(Some(Err(HttpError::HttpRequestBodySize(None))));
        }
        if frame.is_none() && self.inflight.request.failed() {
            // A stream ends with its instance, and looks whole: that would be a lie.
            let why = "the service failed".to_string();
            return Poll::Ready(Some(Err(HttpError::InternalError(Some(why)))));
        }
        if let Some(Ok(f)) = &frame
            && let (Some(data), Some(left)) = (f.data_ref(), self.left)
        {
            self.left = Some(left.saturating_sub(data.len() as u64));
        }
        if frame.is_none() || self.left == Some(0) || self.inner.is_end_stream() {
            self.inflight.finished = true;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A request body that ends in an error once it is longer than allowed.
struct Limited<B> {
    inner: B,
    left: u64,
    over: Arc<AtomicBool>,
    request: Arc<Request>,
}

impl<B: Body<Data = Bytes, Error: Into<HttpError>> + Unpin> Body for Limited<B> {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = match std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(f)) => f,
            Some(Err(e)) => {
                // A client that breaks off its request reads no response: hyper would only see it
                // when it has one to write.
                self.request.leave();
                return Poll::Ready(Some(Err(e.into())));
            }
            None => return Poll::Ready(None),
        };
        if let Some(data) = frame.data_ref() {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    self.over.store(true, Relaxed);
                    return Poll::Ready(Some(Err(HttpError::HttpRequestBodySize(None))));
                }
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
