// SPDX-License-Identifier: Apache-2.0
//! Sends back what comes, in upper case, while it comes: of a body of any size one chunk is held.
use std::pin::Pin;
use std::task::{Context, Poll};
use warpgrid_async::bytes::Bytes;
use warpgrid_async::http::{HeaderMap, StatusCode};
use warpgrid_async::{AsyncHandler, BodyStream, Request, Response, export};

/// `futures_util::StreamExt::map` does this, too, but for errors: here they end the response.
struct Upper(BodyStream);

impl futures_core::Stream for Upper {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Pin::new(&mut self.0).poll_next(cx).map(|chunk| match chunk? {
            Ok(chunk) => Some(chunk.to_ascii_uppercase().into()),
            Err(e) => {
                eprintln!("{e}");
                None
            }
        })
    }
}

struct Service;

impl AsyncHandler for Service {
    async fn handle_request(&self, request: Request) -> Response {
        let chunks = Upper(request.body_stream());
        Response::streaming(StatusCode::OK, HeaderMap::new(), chunks)
    }
}

export!(Service);
