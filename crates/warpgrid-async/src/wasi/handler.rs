// SPDX-License-Identifier: Apache-2.0
//! The export: requests of wasi:http to ours, and responses back.
use super::pipe::Source;
use crate::body::{Sink, pump};
use crate::convert::{headers_from, headers_into, uri_from};
use crate::{AsyncHandler, Body, Error, ErrorKind, Request, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Frame;
use std::any::Any;
use std::cell::OnceCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use wasip3::http::types::{self as wasi, ErrorCode, Fields, Scheme};
use wasip3::{wit_future, wit_stream};
use wit_bindgen::{FutureRead, FutureReader, FutureWriter, StreamWriter};

/// Bytes that one read of a request's body asks for.
const CHUNK: usize = 16 << 10;

/// The handler of an instance.
#[doc(hidden)]
pub struct Instance(OnceCell<Box<dyn Any>>);

// SAFETY: without the atomics feature an instance has one thread.
#[cfg(not(target_feature = "atomics"))]
unsafe impl Sync for Instance {}

impl Instance {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(OnceCell::new())
    }
}

/// Answers one request by the instance's handler, which `make` makes for the first.
#[doc(hidden)]
pub async fn serve<H: AsyncHandler + 'static>(
    instance: &'static Instance,
    make: fn() -> H,
    request: wasi::Request,
) -> Result<wasi::Response, ErrorCode> {
    let handler = instance.0.get_or_init(|| Box::new(make()));
    let handler: &H = handler.downcast_ref().expect("one handler an export");
    let response = match request_from(request) {
        Ok(request) => handler.handle_request(request).await,
        Err(e) => Response::text(format!("{e}\n")).with_status(StatusCode::BAD_REQUEST),
    };
    response_into(response)
}

fn request_from(request: wasi::Request) -> Result<Request, Error> {
    let scheme = request.get_scheme().map(|scheme| match scheme {
        Scheme::Http => "http".into(),
        Scheme::Https => "https".into(),
        Scheme::Other(other) => other,
    });
    let (authority, path) = (request.get_authority(), request.get_path_with_query());
    let uri = uri_from(scheme.as_deref(), authority.as_deref(), path.as_deref())?;
    let method = http::Method::try_from(request.get_method())
        .map_err(|_| Error::new(ErrorKind::Message, "invalid method"))?;
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.headers = headers_from(request.get_headers().copy_all())?;
    (head.method, head.uri) = (method, uri);
    let length = head.headers.get(header::CONTENT_LENGTH);
    let body = if length.is_some_and(|length| length == "0") {
        Body::empty()
    } else {
        Body::from_boxed(Incoming::Unread(request))
    };
    Ok(Request::from_parts(head, body))
}

/// The body of a request. What nobody reads is never asked for.
enum Incoming {
    Unread(wasi::Request),
    Reading(Reading),
    Trailers(Pin<Box<FutureRead<Ended>>>, #[allow(dead_code)] FutureWriter<Result<(), ErrorCode>>),
    Done,
}

type Ended = Result<Option<Fields>, ErrorCode>;

struct Reading {
    source: Source,
    end: FutureReader<Ended>,
    /// Says when dropped that we are done.
    done: FutureWriter<Result<(), ErrorCode>>,
}

// SAFETY: without the atomics feature an instance has one thread.
#[cfg(not(target_feature = "atomics"))]
unsafe impl Send for Incoming {}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            match &mut *self {
                Self::Unread(_) => {
                    let Self::Unread(request) = std::mem::replace(&mut *self, Self::Done) else {
                        unreachable!()
                    };
                    let (done, told) = wit_future::new(|| Ok(()));
                    let (stream, end) = wasi::Request::consume_body(request, told);
                    *self = Self::Reading(Reading { source: Source::new(stream), end, done });
                }
                Self::Reading(reading) => {
                    let room = || Vec::with_capacity(CHUNK);
                    if let Some(bytes) = ready!(reading.source.poll_read(cx, room)) {
                        return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
                    }
                    let Self::Reading(reading) = std::mem::replace(&mut *self, Self::Done) else {
                        unreachable!()
                    };
                    let end = IntoFuture::into_future(reading.end);
                    *self = Self::Trailers(Box::pin(end), reading.done);
                }
                Self::Trailers(end, _) => {
                    let end = ready!(end.as_mut().poll(cx));
                    *self = Self::Done;
                    return Poll::Ready(match end {
                        Ok(None) => None,
                        Ok(Some(fields)) => {
                            Some(headers_from(fields.copy_all()).map(Frame::trailers))
                        }
                        Err(e) => {
                            let text = format!("the request's body ended early: {e:?}");
                            Some(Err(Error::new(ErrorKind::Body, text)))
                        }
                    });
                }
                Self::Done => return Poll::Ready(None),
            }
        }
    }
}

impl Sink for StreamWriter<u8> {
    async fn write(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        self.write_all(chunk).await
    }
}

fn internal(e: impl std::fmt::Display) -> ErrorCode {
    ErrorCode::InternalError(Some(e.to_string()))
}

fn fields_into(headers: &HeaderMap) -> Result<Fields, ErrorCode> {
    Fields::from_list(&headers_into(headers)).map_err(|e| internal(format!("headers: {e:?}")))
}

fn response_into(response: Response) -> Result<wasi::Response, ErrorCode> {
    let response = http::Response::from(response);
    let (mut head, body) = response.into_parts();
    let length = body.full_len();
    let bare = head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(length) = length
        && !bare
    {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    // HTTP/1.1 servers send the trailers that a response announces, and drop others.
    if let Some(names) = body.trailer_names() {
        head.headers.entry(header::TRAILER).or_insert(names);
    }
    let fields = fields_into(&head.headers)?;
    let (ended, end) = wit_future::new(|| Err(internal("the response's body was dropped")));
    let contents = if length == Some(0) {
        wit_bindgen::spawn_local(async move {
            let _ = ended.write(Ok(None)).await;
        });
        None
    } else {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            let end: Ended = match pump(body, &mut writer).await {
                Ok(trailers) => trailers.map(|t| fields_into(&t)).transpose(),
                Err(e) => Err(internal(e)),
            };
            drop(writer);
            // A client that went away is told nothing.
            let _ = ended.write(end).await;
        });
        Some(reader)
    };
    let (out, _sent) = wasi::Response::new(fields, contents, end);
    out.set_status_code(head.status.as_u16()).map_err(|()| internal("invalid status"))?;
    Ok(out)
}
