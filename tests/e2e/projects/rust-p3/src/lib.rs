// SPDX-License-Identifier: Apache-2.0
//! A service of wasi:http 0.3, with async handlers, without any WarpGrid in it.
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

struct App;
wasip3::http::service::export!(App);

impl wasip3::exports::http::handler::Guest for App {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (mut body, reader) = wit_stream::new();
        let (trailers, trailers_reader) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(Fields::new(), Some(reader), trailers_reader);
        drop(trailers);
        wasip3::spawn_local(async move {
            // What a client that went away left over is of no use.
            let _ = body.write_all(format!("rust p3 {path}\n").into_bytes()).await;
        });
        Ok(response)
    }
}
