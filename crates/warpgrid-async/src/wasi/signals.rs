// SPDX-License-Identifier: Apache-2.0
//! Lifecycle signals of the host's process.
use super::bindings::warpgrid::shim_async::signals as host;
use super::task::local;
use futures_core::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a guest can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// The host is about to stop: finish what is in flight.
    Terminate,
    /// Configuration was reloaded.
    Hangup,
    /// The operator pressed Ctrl-C.
    Interrupt,
}

/// Asks for signals, in addition to earlier calls. Those that come are queued.
pub fn listen(signals: &[Signal]) {
    let types: Vec<_> = signals
        .iter()
        .map(|signal| match signal {
            Signal::Terminate => host::SignalType::Terminate,
            Signal::Hangup => host::SignalType::Hangup,
            Signal::Interrupt => host::SignalType::Interrupt,
        })
        .collect();
    host::on_signal(&types);
}

/// Takes the oldest queued signal, waiting until there is one.
pub async fn wait() -> Signal {
    match local(host::wait_signal()).await {
        host::SignalType::Terminate => Signal::Terminate,
        host::SignalType::Hangup => Signal::Hangup,
        host::SignalType::Interrupt => Signal::Interrupt,
    }
}

/// Asks for signals and yields them; it never ends.
pub fn stream(signals: &[Signal]) -> Signals {
    listen(signals);
    Signals(None)
}

/// A stream of signals.
pub struct Signals(Option<Pin<Box<dyn Future<Output = Signal> + Send>>>);

impl Stream for Signals {
    type Item = Signal;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        let next = self.0.get_or_insert_with(|| Box::pin(wait()));
        let signal = std::task::ready!(next.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(signal))
    }
}
