// SPDX-License-Identifier: Apache-2.0
//! Bodies of requests that go out, and of their responses.

use super::connection::Connection;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::{Sleep, timeout, timeout_at};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};
/// So long a guest may take to say that a request has no content.
const NO_CONTENT: Duration = Duration::from_millis(20);
/// A request's body on its way: the time for the answer counts from its last frame.
pub struct Sending {
    body: WasiBody,
    sent: Arc<Sent>,
}

/// When a frame was sent last, in ms since the request began.
pub struct Sent {
    began: Instant,
    last_ms: AtomicU64,
}

impl Sending {
    pub fn of(request: Request<WasiBody>) -> (Request<WasiBody>, Arc<Sent>) {
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
    pub async fn then_in_time<T>(
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
pub async fn without_content(request: Request<WasiBody>) -> Request<WasiBody> {
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

/// A body that gives its connection back at its end; dropped before, it ends the connection. None for a
/// service of this process.
pub struct Answer<B> {
    inner: B,
    connection: Option<Connection>,
    between: Duration,
    /// Made when it waits for the first time.
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<B: Body> Answer<B> {
    pub fn new(inner: B, connection: Option<Connection>, between: Duration) -> Answer<B> {
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
