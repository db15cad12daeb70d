// SPDX-License-Identifier: Apache-2.0
//! HTTP requests of guests: to a service of this process without a socket, else over connections
//! that are kept and shared by the worker. C says which address may be reached, as for sockets.

use crate::app::App;
use crate::host::{self, HostError, Instance, Outgoing};
use crate::names;
use crate::serve;
use crate::shims::code::NOT_FOUND;
use crate::sockets::{self, Route};
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509VerifyResult;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Sleep, timeout, timeout_at};
use tokio_openssl::SslStream;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody, WasiHttpHooks};

/// What holds where the guest gives no timeout of its own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections that one worker keeps, and for how long without use.
const KEPT_MAX: usize = 256;
const KEPT_FOR: Duration = Duration::from_secs(30);
/// So long a guest may take to say that a request has no content.
const NO_CONTENT: Duration = Duration::from_millis(20);
/// A connection whose response was read, but whose request is still being sent, gets so long.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    /// The last used one last.
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
    static SWEEPING: Cell<bool> = const { Cell::new(false) };
    static TLS: OnceCell<SslConnector> = const { OnceCell::new() };
}

/// Before the worker's runtime goes.
pub fn forget_connections() {
    drop(KEPT.take());
}

/// What wasi:http asks of its embedder.
pub struct Hooks(pub Arc<Instance>);

type Processed = Box<dyn Future<Output = Result<(), HttpError>> + Send>;
type Answered = (Response<WasiBody>, Processed);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Processed,
    ) -> Box<dyn Future<Output = Result<Answered, HttpError>> + Send> {
        let inst = self.0.clone();
        Box::new(async move {
            let answer = send(&inst, request, options.unwrap_or_default()).await;
            let answered = if answer.is_ok() { Outgoing::Answered } else { Outgoing::Failed };
            host::count_outgoing(&inst, answered);
            Ok((answer?, Box::new(std::future::ready(Ok(()))) as Processed))
        })
    }
}

async fn send(
    inst: &Arc<Instance>,
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, HttpError> {
    let uri = std::mem::take(request.uri_mut());
    *request.uri_mut() = origin_form(&uri)?;
    let to = Target::of(&uri)?;
    if request.method() == Method::CONNECT {
        return Err(HttpError::HttpRequestMethodInvalid);
    }
    if let Some((_user, host)) = uri.authority().and_then(|a| a.as_str().rsplit_once('@')) {
        // RFC 9110, section 4.2.4: it is never sent.
        let host = HeaderValue::from_str(host).map_err(|_| HttpError::HttpRequestUriInvalid)?;
        request.headers_mut().insert(header::HOST, host);
    }
    if let Some(app) = host::service(inst, to.host) {
        host::count_outgoing(inst, Outgoing::InProcess);
        return call(app, inst.depth() + 1, request, options).await;
    }
    let request = without_content(request).await;
    let (request, sending) = Sending::of(request);
    let connect_timeout = options.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    let read_timeout = options.first_byte_timeout.unwrap_or(READ_TIMEOUT);
    let between = options.between_bytes_timeout.unwrap_or(READ_TIMEOUT);
    let connect = to.connect(inst, false);
    let (connection, kept) =
        in_time(connect_timeout, HttpError::ConnectionTimeout, connect).await?;
    let exchange = async {
        match connection.exchange(request, kept).await {
            Exchange::Answered(connection, response) => Ok((connection, response)),
            Exchange::Failed(e) => Err(e),
            // The server ended a connection that it had kept: that says nothing about this request.
            Exchange::Unsent(request) => {
                let connect = to.connect(inst, true);
                let (fresh, _) =
                    in_time(connect_timeout, HttpError::ConnectionTimeout, connect).await?;
                match fresh.exchange(request, false).await {
                    Exchange::Answered(connection, response) => Ok((connection, response)),
                    Exchange::Failed(e) => Err(e),
                    Exchange::Unsent(_) => Err(HttpError::ConnectionTerminated),
                }
            }
        }
    };
    let (connection, response) = sending.then_in_time(read_timeout, exchange).await?;
    Ok(response.map(|inner| Answer::new(inner, Some(connection), between).boxed_unsync()))
}

/// What stands in the request's line (RFC 9112, section 3.2.1).
fn origin_form(uri: &Uri) -> Result<Uri, HttpError> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let whole = if path.starts_with('?') { format!("/{path}").parse() } else { path.parse() };
    whole.map_err(|_| HttpError::HttpRequestUriInvalid)
}

/// A service of this process answers, within its own limits and the guest's timeouts.
async fn call(
    app: Arc<App>,
    depth: u32,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, HttpError> {
    let answer = serve::call(app, depth, request);
    let response = match options.first_byte_timeout {
        Some(limit) => in_time(limit, HttpError::HttpResponseTimeout, answer).await?,
        None => answer.await?,
    };
    Ok(match options.between_bytes_timeout {
        Some(limit) => response.map(|inner| Answer::new(inner, None, limit).boxed_unsync()),
        None => response,
    })
}

/// A request's body on its way: the time for the answer counts from its last frame.
struct Sending {
    body: WasiBody,
    sent: Arc<Sent>,
}

/// When a frame was sent last, in ms since the request began.
struct Sent {
    began: Instant,
    last_ms: AtomicU64,
}

impl Sending {
    fn of(request: Request<WasiBody>) -> (Request<WasiBody>, Arc<Sent>) {
        let sent = Arc::new(Sent { began: Instant::now(), last_ms: AtomicU64::new(0) });
        if request.body().is_end_stream() {
            return (request, sent);
        }
        let of = sent.clone();
        (request.map(|body| Sending { body, sent: of }.boxed_unsync()), sent)
    }
}

impl Sent {
    /// Gives an answer so long from the last frame, or, without one, from now.
    async fn then_in_time<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, HttpError>>,
    ) -> Result<T, HttpError> {
        let mut work = pin!(work);
        let mut due = Instant::now() + limit;
        loop {
            if let Ok(done) = timeout_at(due.into(), work.as_mut()).await {
                return done;
            }
            let last = self.began + Duration::from_millis(self.last_ms.load(Relaxed));
            if last + limit <= due {
                return Err(HttpError::HttpResponseTimeout);
            }
            due = last + limit;
        }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ms = self.sent.began.elapsed().as_millis();
        self.sent.last_ms.store(ms.try_into().unwrap_or(u64::MAX), Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request of a method that has no content, without the body that WASI 0.3 gives each request for
/// its trailers: it would be sent in chunks, which servers do not expect.
async fn without_content(request: Request<WasiBody>) -> Request<WasiBody> {
    let bare = matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE)
        && !request.headers().contains_key(header::CONTENT_LENGTH)
        && !request.body().is_end_stream();
    if !bare {
        return request;
    }
    let (head, mut body) = request.into_parts();
    let first = timeout(NO_CONTENT, std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
    let body = match first.await {
        Ok(None) => Empty::new().map_err(|e| match e {}).boxed_unsync(),
        Ok(first) => Begun { first, rest: body }.boxed_unsync(),
        Err(_) => body,
    };
    Request::from_parts(head, body)
}

/// A body whose first frame was taken from it.
struct Begun {
    first: Option<Result<Frame<Bytes>, HttpError>>,
    rest: WasiBody,
}

impl Body for Begun {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}

async fn in_time<T>(
    limit: Duration,
    late: HttpError,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    timeout(limit, work).await.unwrap_or(Err(late))
}

/// Where a request goes.
struct Target<'a> {
    /// Without the brackets of an IPv6 address.
    host: &'a str,
    port: u16,
    /// The name that the server must prove.
    tls: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(uri: &'a Uri) -> Result<Target<'a>, HttpError> {
        let authority = uri.authority().ok_or(HttpError::HttpRequestUriInvalid)?;
        let host = authority.host().trim_matches(['[', ']']);
        let proved = host.strip_suffix('.').unwrap_or(host);
        let tls = (uri.scheme() == Some(&Scheme::HTTPS)).then_some(proved);
        let port = match authority.port_u16() {
            Some(0) => return Err(HttpError::HttpRequestUriInvalid),
            Some(port) => port,
            None if tls.is_some() => 443,
            None => 80,
        };
        Ok(Target { host, port, tls })
    }

    async fn addresses(&self, inst: &Arc<Instance>) -> Result<Vec<IpAddr>, HttpError> {
        if let Ok(ip) = self.host.parse() {
            return Ok(vec![ip]);
        }
        let found = names::resolve(inst.clone(), self.host.to_string()).await.map_err(dns_error)?;
        Ok(found.into_iter().map(|(ip, _)| ip).collect())
    }

    /// A connection to the first address that gives one, and whether it was kept; `fresh`: a new one.
    async fn connect(
        &self,
        inst: &Arc<Instance>,
        fresh: bool,
    ) -> Result<(Connection, bool), HttpError> {
        let mut failed = HttpError::DestinationNotFound;
        for ip in self.addresses(inst).await? {
            let to = match permitted(inst, SocketAddr::new(ip, self.port)).await {
                Ok(to) => to,
                Err(e) => {
                    failed = e;
                    continue;
                }
            };
            while !fresh && let Some(mut kept) = take(to, self.tls) {
                if kept.sender.ready().await.is_ok() {
                    host::count_outgoing(inst, Outgoing::Kept);
                    return Ok((kept, true));
                }
            }
            match Connection::open(to, self.tls).await {
                Ok(connection) => {
                    host::count_outgoing(inst, Outgoing::Connected);
                    return Ok((connection, false));
                }
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }
}

fn dns_error(e: HostError) -> HttpError {
    let rcode = (e.code == NOT_FOUND).then(|| "NXDOMAIN".to_string());
    HttpError::DnsError { rcode, info_code: None }
}

/// C's word on an address: it logs a refusal, with the rule that would allow it.
async fn permitted(inst: &Arc<Instance>, to: SocketAddr) -> Result<SocketAddr, HttpError> {
    match sockets::route(inst.clone(), to).await {
        Ok(Route::Real(real)) => Ok(real),
        Ok(Route::Database(handle)) => {
            let _ = host::db_close(inst, handle);
            Err(HttpError::HttpRequestDenied)
        }
        Err(_) => Err(HttpError::HttpRequestDenied),
    }
}

// ---- connections ----

struct Connection {
    sender: SendRequest<WasiBody>,
    to: SocketAddr,
    tls: Option<Box<str>>,
}

enum Exchange {
    Answered(Connection, Response<Incoming>),
    /// Nothing of it was seen by a server that is still there.
    Unsent(Request<WasiBody>),
    Failed(HttpError),
}

impl Connection {
    async fn open(to: SocketAddr, tls: Option<&str>) -> Result<Connection, HttpError> {
        let socket = TcpStream::connect(to).await.map_err(HttpError::Connect)?;
        let _ = socket.set_nodelay(true);
        let sender = match tls {
            None => start(socket).await?,
            Some(name) => start(secure(socket, name).await?).await?,
        };
        Ok(Connection { sender, to, tls: tls.map(Box::from) })
    }

    async fn exchange(mut self, request: Request<WasiBody>, kept: bool) -> Exchange {
        // What may be sent twice (RFC 9110, section 9.2.2) and has no body to lose.
        let again = (kept && request.method().is_idempotent() && request.body().is_end_stream())
            .then(|| {
                let mut copy = Request::new(Empty::new().map_err(|e| match e {}).boxed_unsync());
                *copy.method_mut() = request.method().clone();
                *copy.uri_mut() = request.uri().clone();
                *copy.headers_mut() = request.headers().clone();
                copy
            });
        match self.sender.try_send_request(request).await {
            Ok(response) => Exchange::Answered(self, response),
            Err(mut e) => match (e.take_message(), again) {
                (Some(request), _) if kept => Exchange::Unsent(request),
                (_, Some(copy)) if !e.error().is_parse() => Exchange::Unsent(copy),
                _ => Exchange::Failed(e.into_error().into()),
            },
        }
    }

    /// Another request may have it.
    fn give_back(mut self) {
        if self.sender.is_closed() {
            return;
        }
        if self.sender.is_ready() {
            return keep(self);
        }
        tokio::spawn(async move {
            if let Ok(Ok(())) = timeout(LINGER, self.sender.ready()).await {
                keep(self);
            }
        });
    }
}

async fn start<T>(stream: T) -> Result<SendRequest<WasiBody>, HttpError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What ends it, the exchange in progress is told, too.
    tokio::spawn(connection);
    Ok(sender)
}

async fn secure(socket: TcpStream, name: &str) -> Result<SslStream<TcpStream>, HttpError> {
    let broken = |e: openssl::error::ErrorStack| HttpError::Tls(e.into());
    let connector = TLS.with(|tls| match tls.get() {
        Some(connector) => Ok(connector.clone()),
        None => {
            // The system's roots, or those of SSL_CERT_FILE and SSL_CERT_DIR.
            let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(broken)?;
            builder.set_verify(SslVerifyMode::PEER);
            Ok::<_, HttpError>(tls.get_or_init(|| builder.build()).clone())
        }
    })?;
    let ssl = connector.configure().and_then(|c| c.into_ssl(name)).map_err(broken)?;
    let mut stream = SslStream::new(ssl, socket).map_err(broken)?;
    match Pin::new(&mut stream).connect().await {
        Ok(()) => Ok(stream),
        Err(_) if stream.ssl().verify_result() != X509VerifyResult::OK => {
            Err(HttpError::TlsCertificateError)
        }
        Err(_) => Err(HttpError::TlsProtocolError),
    }
}

struct Kept {
    connection: Connection,
    since: Instant,
}

/// The one that was used last, of those that are still there.
fn take(to: SocketAddr, tls: Option<&str>) -> Option<Connection> {
    KEPT.with_borrow_mut(|all| {
        loop {
            let same = |k: &Kept| k.connection.to == to && k.connection.tls.as_deref() == tls;
            let kept = all.remove(all.iter().rposition(same)?);
            if !kept.connection.sender.is_closed() && kept.since.elapsed() < KEPT_FOR {
                return Some(kept.connection);
            }
        }
    })
}

fn keep(connection: Connection) {
    let oldest = KEPT.with_borrow_mut(|all| {
        all.push(Kept { connection, since: Instant::now() });
        (all.len() > KEPT_MAX).then(|| all.remove(0))
    });
    drop(oldest);
    if !SWEEPING.replace(true) {
        tokio::spawn(sweep());
    }
}

/// Ends connections that nobody wants, until there is none.
async fn sweep() {
    loop {
        tokio::time::sleep(KEPT_FOR).await;
        let left = KEPT.with_borrow_mut(|all| {
            all.retain(|k| !k.connection.sender.is_closed() && k.since.elapsed() < KEPT_FOR);
            all.len()
        });
        if left == 0 {
            SWEEPING.set(false);
            return;
        }
    }
}

// ---- the response's body ----

/// A body that gives its connection back at its end; dropped before, it ends the connection. None for a
/// service of this process.
struct Answer<B> {
    inner: B,
    connection: Option<Connection>,
    between: Duration,
    /// Made when it waits for the first time.
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<B: Body> Answer<B> {
    fn new(inner: B, connection: Option<Connection>, between: Duration) -> Answer<B> {
        let mut answer = Answer { inner, connection, between, sleep: None, waiting: false };
        answer.end_if_whole();
        answer
    }

    fn end_if_whole(&mut self) {
        if self.inner.is_end_stream()
            && let Some(connection) = self.connection.take()
        {
            connection.give_back();
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<HttpError>> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let me = &mut *self;
        match Pin::new(&mut me.inner).poll_frame(cx) {
            Poll::Ready(None) => {
                if let Some(connection) = me.connection.take() {
                    connection.give_back();
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                me.waiting = false;
                me.end_if_whole();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(e))) => {
                me.connection = None;
                Poll::Ready(Some(Err(e.into())))
            }
            Poll::Pending => {
                let due = tokio::time::Instant::now() + me.between;
                let sleep = me.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
                if !me.waiting {
                    me.waiting = true;
                    sleep.as_mut().reset(due);
                }
                std::task::ready!(sleep.as_mut().poll(cx));
                me.connection = None;
                Poll::Ready(Some(Err(HttpError::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
