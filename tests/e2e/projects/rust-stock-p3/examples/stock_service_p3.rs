// SPDX-License-Identifier: Apache-2.0
//! Steps out of the lines of a request's body.
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

struct App;
wasip3::http::service::export!(App);

impl wasip3::exports::http::handler::Guest for App {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let (_, taken) = wit_future::new(|| Ok(()));
        let (body, _trailers) = Request::consume_body(request, taken);
        let text = String::from_utf8(body.collect().await).expect("steps are text");
        let mut answer = String::new();
        for line in text.lines() {
            answer += &rust_stock_p3::run(line).await;
            answer.push('\n');
        }
        let (mut body, reader) = wit_stream::new();
        let (trailers, trailers_reader) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(Fields::new(), Some(reader), trailers_reader);
        drop(trailers);
        wasip3::spawn_local(async move {
            // What a client that went away left over is of no use.
            let _ = body.write_all(answer.into_bytes()).await;
        });
        Ok(response)
    }
}
