// SPDX-License-Identifier: Apache-2.0
//! HTTP services as components of WASI 0.3: one instance serves many requests at once, and a request
//! that waits for its database holds up no other. The types here stay as they are when WASI moves.
//!
//! ```no_run
//! # #[cfg(target_family = "wasm")] mod service {
//! use warpgrid_async::{AsyncHandler, Request, Response, export};
//!
//! struct Hello;
//!
//! impl AsyncHandler for Hello {
//!     async fn handle_request(&self, request: Request) -> Response {
//!         Response::text(format!("hello from {}\n", request.uri().path()))
//!     }
//! }
//!
//! export!(Hello);
//! # } fn main() {}
//! ```
//!
//! What waits for the host ([`db`], [`dns`], [`signals`], [`fs`], [`time`], [`spawn`]) exists on `wasm32`
//! only; messages are there everywhere, so that handlers can be tested natively.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_family = "wasm"))]
#[allow(dead_code)] // Used on wasm32; its tests run natively.
mod convert;
#[cfg(target_family = "wasm")]
mod convert;

mod body;
mod error;
mod message;
#[cfg(feature = "axum")]
mod tower;

pub use body::{Body, BodyStream};
pub use error::{Error, ErrorKind};
pub use message::{DEFAULT_BODY_LIMIT, Request, Response};
#[cfg(feature = "axum")]
pub use tower::Tower;

/// The crates that the public API is built on, in the versions it uses.
pub use {bytes, http};

#[cfg(target_family = "wasm")]
mod wasi;
#[cfg(target_family = "wasm")]
pub use wasi::{
    db, dns, fs, signals,
    task::{JoinHandle, spawn},
    time,
};

/// A service: what [`export!`] makes a component of.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement `AsyncHandler`",
    label = "this is no handler",
    note = "implement `async fn handle_request(&self, request: Request) -> Response`, or wrap a \
            tower service in `Tower` (feature `axum`)"
)]
#[allow(async_fn_in_trait)] // An instance has one thread: no future needs to be Send.
pub trait AsyncHandler {
    /// Answers one request. Other requests of the instance run while this one waits, so `&self` is
    /// shared between them. A response may stream after this returned.
    async fn handle_request(&self, request: Request) -> Response;
}

/// Makes the component's `wasi:http/handler` of an expression whose type is an [`AsyncHandler`]. It is
/// evaluated once an instance, by the first request. Use it once a component.
///
/// ```no_run
/// # #[cfg(target_family = "wasm")] mod service {
/// # use warpgrid_async::{AsyncHandler, Request, Response};
/// struct Counter(std::cell::Cell<u64>);
/// # impl AsyncHandler for Counter {
/// #     async fn handle_request(&self, _: Request) -> Response { Response::text("") }
/// # }
/// warpgrid_async::export!(Counter(std::cell::Cell::new(0)));
/// # } fn main() {}
/// ```
#[cfg(target_family = "wasm")]
#[macro_export]
macro_rules! export {
    ($handler:expr $(,)?) => {
        const _: () = {
            // Names of the user's own must mean what they mean outside.
            struct __WarpgridService;
            static __WARPGRID_INSTANCE: $crate::__private::Instance =
                $crate::__private::Instance::new();

            impl $crate::__private::wasip3::exports::http::handler::Guest for __WarpgridService {
                async fn handle(
                    request: $crate::__private::wasip3::http::types::Request,
                ) -> ::core::result::Result<
                    $crate::__private::wasip3::http::types::Response,
                    $crate::__private::wasip3::http::types::ErrorCode,
                > {
                    $crate::__private::serve(&__WARPGRID_INSTANCE, || $handler, request).await
                }
            }
            $crate::__private::wasip3::http::service::export!(__WarpgridService);
        };
    };
}

/// Natively there is nobody to export to: that the handler is one is checked.
#[cfg(not(target_family = "wasm"))]
#[macro_export]
macro_rules! export {
    ($handler:expr $(,)?) => {
        const _: () = {
            fn is_handler<H: $crate::AsyncHandler>(_: fn() -> H) {}
            #[allow(dead_code)]
            fn check() {
                is_handler(|| $handler);
            }
        };
    };
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod __private {
    pub use crate::wasi::handler::{Instance, serve};
    pub use wasip3;
}
