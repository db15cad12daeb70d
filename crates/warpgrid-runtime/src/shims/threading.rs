// SPDX-License-Identifier: Apache-2.0
//! `warpgrid:shim/threading`.

use super::bindings::warpgrid::shim::threading::{Host, ThreadingError, ThreadingModel};
use crate::app::State;
use crate::host::host;

impl Host for State {
    async fn declare_threading_model(
        &mut self,
        model: ThreadingModel,
    ) -> wasmtime::Result<Result<(), ThreadingError>> {
        let h = host();
        let r = unsafe { (h.declare_threading)(h.ctx, self.inst.ptr(), model as u32) };
        Ok(if r == 0 { Ok(()) } else { Err(ThreadingError::AlreadyDeclared) })
    }
}
