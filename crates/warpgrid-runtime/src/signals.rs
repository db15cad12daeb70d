// SPDX-License-Identifier: Apache-2.0
//! Signals from C's queue of an instance.

use crate::abi::{Host, OpSignal};
use crate::host::{HostError, Instance, OpFuture, OpKind, host, new_op};
use std::ffi::c_void;
use std::sync::Arc;

impl OpKind for OpSignal {
    type Out = ();
    unsafe fn start(h: &Host, inst: *mut c_void, op: *mut Self) {
        unsafe { (h.signal_wait)(h.ctx, inst, op) }
    }
    unsafe fn cancel(h: &Host, inst: *mut c_void, op: *mut Self) {
        unsafe { (h.signal_wait_cancel)(h.ctx, inst, op) }
    }
    fn out(&self, _status: i32, _text: String) {}
}

/// Asks for signals, by their bits.
pub fn interest(inst: &Instance, mask: u32) {
    let h = host();
    unsafe { (h.signal_interest)(h.ctx, inst.ptr(), mask) }
}

/// The oldest one that waits.
pub fn take(inst: &Instance) -> Option<u32> {
    let h = host();
    u32::try_from(unsafe { (h.signal_take)(h.ctx, inst.ptr()) }).ok()
}

/// Waits until there is one to take.
pub async fn wait(inst: &Arc<Instance>) -> Result<(), HostError> {
    OpFuture::new(Some(inst.clone()), OpSignal { op: new_op(), space: [0; 4] }).await
}

/// Somebody waits, and there is nothing to take.
pub fn is_waiting(inst: &Instance) -> bool {
    let h = host();
    unsafe { (h.signal_waiting)(h.ctx, inst.ptr()) != 0 }
}
