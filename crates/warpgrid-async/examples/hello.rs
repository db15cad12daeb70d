// SPDX-License-Identifier: Apache-2.0
//! The smallest service. It needs WASI alone, so other hosts can run it, too.
use warpgrid_async::{AsyncHandler, Request, Response, export};

struct Hello;

impl AsyncHandler for Hello {
    async fn handle_request(&self, request: Request) -> Response {
        Response::text(format!("hello from {}\n", request.uri().path()))
    }
}

export!(Hello);
