// SPDX-License-Identifier: Apache-2.0
//! What waits for the host.
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "shims" });
}

pub mod db;
pub mod dns;
pub mod fs;
pub(crate) mod handler;
mod pipe;
pub mod signals;
pub(crate) mod task;
pub mod time;
