// SPDX-License-Identifier: Apache-2.0
//! Connections to databases, out of the host's pool. No password is needed here: the host logs in.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use warpgrid_async::{db, spawn};
//!
//! let stream = db::connect("db.test.warp.local", 5432).await?;
//! let mut config = tokio_postgres::Config::new();
//! config.user("warpgrid_app").dbname("warpgrid");
//! let (client, connection) = config.connect_raw(stream, tokio_postgres::NoTls).await?;
//! spawn(connection);
//! let row = client.query_one("SELECT 1 + 1", &[]).await?;
//! # Ok(()) }
//! ```
use super::bindings::warpgrid::shim_async::database_proxy as host;
use super::pipe::{Drain, Gone, Source};
use super::task::local;
use crate::{Error, ErrorKind};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wit_bindgen::{FutureRead, FutureReader};

/// Bytes that one operation moves at most: what a stream buffers in each direction.
const CHUNK: usize = 16 << 10;

/// The wire protocol that a driver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// PostgreSQL 3.0 and later.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// Redis: RESP2 and RESP3.
    Redis,
}

/// Which database to lease a session of, when it is not the driver's start-up that says so.
#[derive(Clone)]
pub struct Config {
    /// The wire protocol.
    pub protocol: Protocol,
    /// Host name, address or name of a `[databases]` table of `warp.toml`.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database; for Redis its number.
    pub database: String,
    /// User.
    pub user: String,
    /// Used with `auth = "guest"` only.
    pub password: Option<String>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { protocol, host, port, database, user, password } = self;
        let password = password.as_ref().map(|_| "***");
        write!(f, "Config({protocol:?} {user}:{password:?}@{host}:{port}/{database})")
    }
}

impl Config {
    /// Leases a session now, waiting at most the pool's `connect_timeout`.
    pub async fn connect(&self) -> Result<Stream, Error> {
        let config = host::ConnectConfig {
            protocol: match self.protocol {
                Protocol::Postgres => host::Protocol::Postgres,
                Protocol::Mysql => host::Protocol::Mysql,
                Protocol::Redis => host::Protocol::Redis,
            },
            host: self.host.clone(),
            port: self.port,
            database: self.database.clone(),
            user: self.user.clone(),
            password: self.password.clone(),
        };
        Stream::new(local(host::connect(config)).await.map_err(error)?)
    }
}

/// Opens a connection to a declared database, like a TCP connection to it. The session is leased when
/// the driver's start-up says which database and user are meant; an error of that comes as the server
/// would send it. `host` is a database's name or host in `warp.toml`.
pub async fn connect(host: &str, port: u16) -> Result<Stream, Error> {
    Stream::new(host::open(host, port).map_err(error)?)
}

/// A connection to a database: what drivers want of a socket. Waiting suspends one task and blocks
/// nothing. It has no deadline of its own: see [`time::timeout`](crate::time::timeout). Dropping it gives
/// the session back to the host's pool.
pub struct Stream {
    source: Option<Source>,
    drain: Option<Drain>,
    received: End,
    sent: End,
    // Last: it is closed when nothing uses it any more.
    handle: Handle,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({})", self.handle.0)
    }
}

struct Handle(u64);

impl Drop for Handle {
    fn drop(&mut self) {
        // The host closes at once, so one poll does it; there is nobody to tell about an error.
        let closed = std::pin::pin!(host::close(self.0));
        let _ = closed.poll(&mut Context::from_waker(Waker::noop()));
    }
}

/// How a direction ended: asked for once, when its stream has ended.
enum End {
    Unasked(FutureReader<Result<(), host::DbError>>),
    Asked(Pin<Box<FutureRead<Result<(), host::DbError>>>>),
    Known,
}

// SAFETY: without the atomics feature an instance has one thread.
#[cfg(not(target_feature = "atomics"))]
unsafe impl Send for End {}

impl End {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self {
                Self::Unasked(_) => {
                    let Self::Unasked(end) = std::mem::replace(self, Self::Known) else {
                        unreachable!()
                    };
                    *self = Self::Asked(Box::pin(end.into_future()));
                }
                Self::Asked(end) => {
                    let end = ready!(end.as_mut().poll(cx));
                    *self = Self::Known;
                    return Poll::Ready(end.map_err(|e| error(e).into()));
                }
                Self::Known => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Stream {
    fn new(handle: u64) -> Result<Self, Error> {
        let handle = Handle(handle);
        let (reader, received) = host::receive_channel(handle.0).map_err(error)?;
        let (writer, bytes) = super::bindings::wit_stream::new();
        let sent = host::send_channel(handle.0, bytes).map_err(error)?;
        Ok(Self {
            source: Some(Source::new(reader)),
            drain: Some(Drain::new(writer)),
            received: End::Unasked(received),
            sent: End::Unasked(sent),
            handle,
        })
    }

    /// The error of a direction that takes no more bytes.
    fn poll_broken<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.drain = None;
        let broken = || io::Error::new(io::ErrorKind::BrokenPipe, "the connection takes no more");
        Poll::Ready(Err(ready!(self.sent.poll(cx)).err().unwrap_or_else(broken)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(source) = &mut self.source {
            if ready!(source.poll_fill(cx, CHUNK)) {
                source.take(buf);
                return Poll::Ready(Ok(()));
            }
            self.source = None;
        }
        self.received.poll(cx)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(drain) = &mut self.drain {
            match ready!(drain.poll_write(cx, bytes, CHUNK)) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(Gone) => self.drain = None,
            }
        }
        self.poll_broken(cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(drain) = &mut self.drain {
            match ready!(drain.poll_flush(cx)) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(Gone) => self.drain = None,
            }
        }
        self.poll_broken(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(drain) = &mut self.drain {
            let flushed = ready!(drain.poll_flush(cx));
            self.drain = None;
            if flushed.is_err() {
                return self.poll_broken(cx);
            }
        }
        // The end of our stream is the end of the direction; the future says that it was told.
        self.sent.poll(cx)
    }
}

fn error(e: host::DbError) -> Error {
    use host::DbError as E;
    let (kind, text) = match e {
        E::InvalidHandle(text) | E::ConnectionLost(text) => (ErrorKind::ConnectionLost, text),
        E::InvalidArgument(text) | E::WouldBlock(text) => (ErrorKind::InvalidArgument, text),
        E::NotAllowed(text) => (ErrorKind::NotAllowed, text),
        E::ConnectionFailed(text) => (ErrorKind::ConnectionFailed, text),
        E::AuthenticationFailed(text) => (ErrorKind::AuthenticationFailed, text),
        E::PoolExhausted(text) => (ErrorKind::PoolExhausted, text),
        E::Timeout(text) => (ErrorKind::Timeout, text),
        E::Unsupported(text) => (ErrorKind::Unsupported, text),
    };
    Error::new(kind, text)
}
