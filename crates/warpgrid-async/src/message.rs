// SPDX-License-Identifier: Apache-2.0
use crate::{Body, BodyStream, Error, ErrorKind};
use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use std::sync::{Mutex, PoisonError};

/// How many bytes [`Request::bytes`], [`Request::text`] and [`Request::json`] accept: 2 MiB.
pub const DEFAULT_BODY_LIMIT: usize = 2 << 20;

/// A request as it came in. Its body can be taken once.
#[derive(Debug)]
pub struct Request {
    head: http::request::Parts,
    body: Mutex<Option<Body>>,
}

impl Request {
    /// A request of parts, for tests and adapters.
    pub fn from_parts(head: http::request::Parts, body: Body) -> Self {
        Self { head, body: Mutex::new(Some(body)) }
    }

    /// Its parts; the body is empty when it was taken before.
    pub fn into_parts(self) -> (http::request::Parts, Body) {
        let body = self.body.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.head, body.unwrap_or_default())
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// Path and query; scheme and authority, too, if the client said which.
    pub fn uri(&self) -> &Uri {
        &self.head.uri
    }

    /// The headers, all values of each in their order.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The first value of a header, when it is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// Takes the body as a stream of chunks, one of which is held at a time. Yields one
    /// [`ErrorKind::BodyTaken`] when it was taken before.
    pub fn body_stream(&self) -> BodyStream {
        BodyStream::new(self.take())
    }

    /// Takes the whole body, of at most [`DEFAULT_BODY_LIMIT`] bytes.
    pub async fn bytes(&self) -> Result<Bytes, Error> {
        self.bytes_up_to(DEFAULT_BODY_LIMIT).await
    }

    /// Takes the whole body, of at most `limit` bytes.
    pub async fn bytes_up_to(&self, limit: usize) -> Result<Bytes, Error> {
        let taken = || Error::new(ErrorKind::BodyTaken, "the body was taken before");
        self.take().ok_or_else(taken)?.collect(limit).await
    }

    /// Takes the whole body as UTF-8, of at most [`DEFAULT_BODY_LIMIT`] bytes.
    pub async fn text(&self) -> Result<String, Error> {
        String::from_utf8(self.bytes().await?.into())
            .map_err(|_| Error::new(ErrorKind::Body, "the body is no UTF-8"))
    }

    /// Takes the whole body as JSON, of at most [`DEFAULT_BODY_LIMIT`] bytes.
    #[cfg(feature = "json")]
    pub async fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes().await?)
            .map_err(|e| Error::new(ErrorKind::Json, format!("the body is not as expected: {e}")))
    }

    fn take(&self) -> Option<Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl From<http::Request<Body>> for Request {
    fn from(request: http::Request<Body>) -> Self {
        let (head, body) = request.into_parts();
        Self::from_parts(head, body)
    }
}

impl From<Request> for http::Request<Body> {
    fn from(request: Request) -> Self {
        let (head, body) = request.into_parts();
        Self::from_parts(head, body)
    }
}

/// A response: status, headers, and a body that may still stream. Headers of the connection, such as
/// `connection` or `transfer-encoding`, are not sent: the connection is the host's.
#[derive(Debug, Default)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

impl Response {
    /// A response with a body, without any header.
    pub fn new(status: StatusCode, body: impl Into<Body>) -> Self {
        Self { status, headers: HeaderMap::new(), body: body.into() }
    }

    /// 200 with text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::typed(text.into(), "text/plain; charset=utf-8")
    }

    /// 200 with a value as JSON; 500 when it has no JSON, such as a map whose keys are no strings.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => Self::typed(bytes, "application/json"),
            Err(e) => {
                Self::text(format!("no JSON: {e}\n")).with_status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// A response whose body is sent as the stream yields it. The next chunk is asked for when the one
    /// before was taken by the client's side; the stream is dropped when the client goes away.
    pub fn streaming(
        status: StatusCode,
        headers: HeaderMap,
        chunks: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Self {
        Self { status, headers, body: Body::from_chunks(chunks) }
    }

    fn typed(body: impl Into<Body>, kind: &'static str) -> Self {
        let mut response = Self::new(StatusCode::OK, body);
        response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with one more value of a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The same with trailers behind the body.
    #[must_use]
    pub fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.body = self.body.with_trailers(trailers);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The headers, to be changed.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// The body, as in a test of a handler.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// The body as a stream of chunks.
    pub fn into_stream(self) -> BodyStream {
        BodyStream::new(Some(self.body))
    }
}

impl From<http::Response<Body>> for Response {
    fn from(response: http::Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status, headers: head.headers, body }
    }
}

impl From<Response> for http::Response<Body> {
    fn from(response: Response) -> Self {
        let mut out = Self::new(response.body);
        *out.status_mut() = response.status;
        *out.headers_mut() = response.headers;
        out
    }
}
