// SPDX-License-Identifier: Apache-2.0
use crate::{Error, ErrorKind};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The content of a message: nothing, bytes, or a stream of them that is pulled one chunk at a time,
/// and trailers.
#[derive(Default)]
pub struct Body {
    content: Content,
    trailers: Option<HeaderMap>,
}

#[derive(Default)]
enum Content {
    #[default]
    Empty,
    Full(Bytes),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>),
}

impl Body {
    /// No content.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body of chunks as they come. The next one is asked for when the one before is sent. An error
    /// ends the message in a way that the peer sees as broken.
    pub fn from_stream<S, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        Self::from_boxed(Chunks(stream, |chunk: S::Item| chunk.map_err(body_error)))
    }

    /// A body of chunks that cannot fail.
    pub(crate) fn from_chunks(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::from_boxed(Chunks(stream, Ok))
    }

    /// Any body, with the trailers that it yields.
    pub fn from_http_body<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if body.is_end_stream() { Self::empty() } else { Self::from_boxed(Foreign(body)) }
    }

    pub(crate) fn from_boxed(
        body: impl http_body::Body<Data = Bytes, Error = Error> + Send + 'static,
    ) -> Self {
        Self { content: Content::Stream(Box::pin(body)), trailers: None }
    }

    /// The same content, followed by these trailers, and those that the content itself yields. HTTP/1.1
    /// clients get those that the response's header `trailer` names, which is set for these here, and
    /// only if they asked (`te: trailers`).
    #[must_use]
    pub fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.trailers = Some(trailers);
        self
    }

    /// The length, when it is known and nothing follows.
    #[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
    pub(crate) fn full_len(&self) -> Option<usize> {
        match (&self.content, &self.trailers) {
            (Content::Empty, None) => Some(0),
            (Content::Full(bytes), None) => Some(bytes.len()),
            _ => None,
        }
    }

    /// The names of the trailers that are known beforehand, as a value of the header `trailer`.
    #[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
    pub(crate) fn trailer_names(&self) -> Option<HeaderValue> {
        let names: Vec<_> = self.trailers.as_ref()?.keys().map(|name| name.as_str()).collect();
        if names.is_empty() { None } else { names.join(", ").try_into().ok() }
    }

    /// The next chunk or the trailers, which come last; `None` at the end.
    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await
    }

    /// All of the content. More than `limit` bytes are [`ErrorKind::TooLarge`].
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, Error> {
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = self.frame().await {
            let Ok(chunk) = frame?.into_data() else { continue };
            if chunk.len() > limit - first.len() - all.len() {
                let text = format!("the body is larger than {limit} bytes");
                return Err(Error::new(ErrorKind::TooLarge, text));
            }
            if first.is_empty() && all.is_empty() {
                first = chunk; // One chunk is never copied.
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&chunk);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.content {
            Content::Empty => {}
            Content::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Content::Empty;
                if !bytes.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
            Content::Stream(body) => {
                let frame = std::task::ready!(body.as_mut().poll_frame(cx));
                let Some(frame) = frame else {
                    self.content = Content::Empty;
                    return Poll::Ready(self.trailers.take().map(|t| Ok(Frame::trailers(t))));
                };
                if frame.is_err() {
                    *self = Body::empty();
                    return Poll::Ready(Some(frame));
                }
                return Poll::Ready(Some(frame.map(|frame| match frame.into_trailers() {
                    Ok(mut found) => {
                        found.extend(self.trailers.take().unwrap_or_default());
                        Frame::trailers(found)
                    }
                    Err(data) => data,
                })));
            }
        }
        Poll::Ready(self.trailers.take().map(|t| Ok(Frame::trailers(t))))
    }

    fn is_end_stream(&self) -> bool {
        self.full_len() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Empty => f.write_str("Body(empty)"),
            Content::Full(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Content::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let content = if bytes.is_empty() { Content::Empty } else { Content::Full(bytes) };
        Self { content, trailers: None }
    }
}

macro_rules! from {
    ($($type:ty),*) => {$(
        impl From<$type> for Body {
            fn from(content: $type) -> Self {
                Bytes::from(content).into()
            }
        }
    )*};
}
from!(Vec<u8>, String, &'static str, &'static [u8]);

/// The chunks of a body. Each is asked for when it is polled: what is not read yet stays with the peer.
#[derive(Debug)]
pub struct BodyStream {
    body: Option<Body>,
    error: Option<Error>,
    trailers: Option<HeaderMap>,
}

impl BodyStream {
    pub(crate) fn new(body: Option<Body>) -> Self {
        let taken = || Error::new(ErrorKind::BodyTaken, "the body was taken before");
        let error = if body.is_none() { Some(taken()) } else { None };
        Self { body, error, trailers: None }
    }

    /// The next chunk, `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Trailers, once the stream has ended, if there were any.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        while let Some(body) = &mut self.body {
            match std::task::ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => return Poll::Ready(Some(Ok(chunk))),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Some(Err(e)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(e)));
                }
                None => self.body = None,
            }
        }
        Poll::Ready(None)
    }
}

fn body_error(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Body, e.into().to_string())
}

/// A stream, and what makes a chunk of its item.
struct Chunks<S, F>(S, F);

impl<S: Stream, F: Fn(S::Item) -> Result<Bytes, Error>> http_body::Body for Chunks<S, F> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // SAFETY: the stream is pinned with its owner and never moved out; the function is not pinned.
        let (stream, chunk) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.0), &this.1)
        };
        stream.poll_next(cx).map(|item| item.map(|item| chunk(item).map(Frame::data)))
    }
}

/// Somebody else's body, with our errors.
struct Foreign<B>(B);

impl<B> http_body::Body for Foreign<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // SAFETY: pinned with its owner, never moved out.
        let body = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(body_error)))
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Where chunks go: what comes back was not taken, because the peer went away.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
pub(crate) trait Sink {
    async fn write(&mut self, chunk: Vec<u8>) -> Vec<u8>;
}

/// Moves a body, chunk by chunk: the next one is pulled when the one before was taken, so that one is
/// held at any time. The trailers; `None` without trailers, or when the peer went away.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
pub(crate) async fn pump(mut body: Body, to: &mut impl Sink) -> Result<Option<HeaderMap>, Error> {
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(chunk) if chunk.is_empty() => {}
            Ok(chunk) => {
                if !to.write(chunk.into()).await.is_empty() {
                    return Ok(None);
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Counts the bytes that were produced and not yet written; takes two polls for each chunk.
    struct Slow {
        held: Arc<AtomicUsize>,
        most: usize,
        written: usize,
        limit: usize,
    }

    impl Sink for Slow {
        async fn write(&mut self, chunk: Vec<u8>) -> Vec<u8> {
            let mut polled = false;
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.most = self.most.max(self.held.load(Relaxed));
            if self.written + chunk.len() > self.limit {
                return chunk;
            }
            self.held.fetch_sub(chunk.len(), Relaxed);
            self.written += chunk.len();
            Vec::new()
        }
    }

    fn produce(held: &Arc<AtomicUsize>, count: usize) -> impl Stream<Item = Bytes> + Send + use<> {
        let held = held.clone();
        futures_util::stream::iter(0..count).map_produce(move |n| {
            held.fetch_add(1024, Relaxed);
            Bytes::from(vec![n as u8; 1024])
        })
    }

    trait MapProduce: Stream + Sized {
        fn map_produce<F: FnMut(Self::Item) -> Bytes>(self, f: F) -> impl Stream<Item = Bytes>;
    }
    impl<S: Stream> MapProduce for S {
        fn map_produce<F: FnMut(Self::Item) -> Bytes>(self, f: F) -> impl Stream<Item = Bytes> {
            futures_util::StreamExt::map(self, f)
        }
    }

    #[test]
    fn us_505_no_more_than_one_chunk_is_held_while_the_peer_is_slow() {
        let held = Arc::new(AtomicUsize::new(0));
        let mut to = Slow { held: held.clone(), most: 0, written: 0, limit: usize::MAX };
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        let body = Body::from_chunks(produce(&held, 10 * 1024)).with_trailers(trailers.clone());
        let found = futures_util::FutureExt::now_or_never(drive(pump(body, &mut to))).unwrap();
        assert_eq!(found.unwrap(), Some(trailers));
        assert_eq!((to.most, to.written), (1024, 10 << 20));
    }

    #[test]
    fn us_505_a_peer_that_went_away_ends_the_stream() {
        let held = Arc::new(AtomicUsize::new(0));
        let mut to = Slow { held: held.clone(), most: 0, written: 0, limit: 5000 };
        let body = Body::from_chunks(produce(&held, 10 * 1024));
        let found = futures_util::FutureExt::now_or_never(drive(pump(body, &mut to))).unwrap();
        assert_eq!(found.unwrap(), None);
        assert_eq!((to.written, held.load(Relaxed)), (4096, 1024));
    }

    /// Polls to the end what only ever waits for itself.
    async fn drive<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
                return value;
            }
        }
    }
}
