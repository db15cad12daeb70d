//! @@name@@: a small JSON service. Its routes are in service.rs; this file connects it to wasi:http.
// Outside of WebAssembly there are only the tests.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod service;

// @@if p2
#[cfg(target_arch = "wasm32")]
mod wasi {
    use wstd::http::{Body, Error, Request, Response};

    #[wstd::http_server]
    async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
        let (head, mut body) = request.into_parts();
        let body = body.contents().await?;
        let response = crate::service::handle(&head.method, &head.uri, body);
        Ok(response.map(Body::from))
    }
}
// @@end
// @@if p3
#[cfg(target_arch = "wasm32")]
mod wasi {
    use http_body_util::BodyExt;
    use wasip3::http::types::{ErrorCode, Request, Response};
    use wasip3::http_compat::{http_from_wasi_request, http_into_wasi_response};

    struct Service;
    wasip3::http::service::export!(Service);

    impl wasip3::exports::http::handler::Guest for Service {
        async fn handle(request: Request) -> Result<Response, ErrorCode> {
            let (head, body) = http_from_wasi_request(request)?.into_parts();
            let body = body.collect().await?.to_bytes();
            http_into_wasi_response(crate::service::handle(&head.method, &head.uri, &body))
        }
    }
}
// @@end
