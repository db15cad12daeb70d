// SPDX-License-Identifier: Apache-2.0
//! Connections to HTTP servers: made, kept by the worker, and shared by its guests.

use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509VerifyResult;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_openssl::SslStream;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};
/// Connections that one worker keeps, and for how long without use.
const KEPT_MAX: usize = 256;
const KEPT_FOR: Duration = Duration::from_secs(30);
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

pub struct Connection {
    pub sender: SendRequest<WasiBody>,
    to: SocketAddr,
    tls: Option<Box<str>>,
}

pub enum Exchange {
    Answered(Connection, Response<Incoming>),
    /// Nothing of it was seen by a server that is still there.
    Unsent(Request<WasiBody>),
    Failed(HttpError),
}

impl Connection {
    pub async fn open(to: SocketAddr, tls: Option<&str>) -> Result<Connection, HttpError> {
        let socket = TcpStream::connect(to).await.map_err(HttpError::Connect)?;
        let _ = socket.set_nodelay(true);
        let sender = match tls {
            None => start(socket).await?,
            Some(name) => start(secure(socket, name).await?).await?,
        };
        Ok(Connection { sender, to, tls: tls.map(Box::from) })
    }

    pub async fn exchange(mut self, request: Request<WasiBody>, kept: bool) -> Exchange {
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
    pub fn give_back(mut self) {
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
pub fn take(to: SocketAddr, tls: Option<&str>) -> Option<Connection> {
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
