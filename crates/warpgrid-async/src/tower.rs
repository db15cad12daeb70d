// SPDX-License-Identifier: Apache-2.0
use crate::{AsyncHandler, Body, Request, Response};
use bytes::Bytes;
use http::StatusCode;
use std::future::poll_fn;
use tower_service::Service;

/// A tower service, such as an axum `Router`, as an [`AsyncHandler`]:
///
/// ```ignore
/// export!(Tower(Router::new().route("/", get(|| async { "hello" }))));
/// ```
///
/// Each request gets a clone of the service. Its errors become status 500, with the cause on stderr.
#[derive(Clone, Debug)]
pub struct Tower<S>(pub S);

impl<S, B> AsyncHandler for Tower<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone,
    S::Error: std::fmt::Display,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn handle_request(&self, request: Request) -> Response {
        let mut service = self.0.clone();
        let answer = async {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request.into()).await
        };
        match answer.await {
            Ok(response) => response.map(Body::from_http_body).into(),
            Err(e) => {
                eprintln!("the service failed: {e}");
                Response::new(StatusCode::INTERNAL_SERVER_ERROR, "")
            }
        }
    }
}
