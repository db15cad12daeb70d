// SPDX-License-Identifier: Apache-2.0
use std::pin::Pin;
use std::task::{Context, Poll};

/// A task that [`spawn`] started. Dropping the handle lets the task go on; awaiting it gives the result,
/// or `None` when it was cancelled.
#[derive(Debug)]
pub struct JoinHandle<T>(Wrapped<T>);

struct Wrapped<T>(wit_bindgen::JoinHandle<T>);

impl<T> std::fmt::Debug for Wrapped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("task")
    }
}

impl<T> JoinHandle<T> {
    /// Ends the task at its next await.
    pub fn cancel(&mut self) {
        self.0.0.cancel();
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0.0).poll(cx)
    }
}

/// Runs a future beside the request that calls this, and beyond its response: what a driver's
/// connection needs. The host counts the request as in progress until the task ends: at a stop it waits
/// for it, for as long as `drain_timeout`, so end tasks that are endless when [`signals`](crate::signals)
/// says so.
///
/// # Panics
///
/// Outside of the component's export, such as in a test.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    JoinHandle(Wrapped(wit_bindgen::spawn_local(future)))
}

/// A future of the host's, with the marker that drivers and axum's handlers ask for.
pub(crate) struct Local<F>(F);

// SAFETY: without the atomics feature an instance has one thread, and nothing can be sent elsewhere.
#[cfg(not(target_feature = "atomics"))]
unsafe impl<F> Send for Local<F> {}

impl<F: Future> Future for Local<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: pinned with its owner, never moved out.
        unsafe { self.map_unchecked_mut(|this| &mut this.0) }.poll(cx)
    }
}

/// Marks a future as `Send`, which it is for want of threads.
pub(crate) fn local<F: Future>(future: F) -> Local<F> {
    Local(future)
}
