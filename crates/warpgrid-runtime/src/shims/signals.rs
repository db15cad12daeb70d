// SPDX-License-Identifier: Apache-2.0
//! `warpgrid:shim/signals` and `warpgrid:shim-async/signals`.

use super::bindings::warpgrid::shim::signals::{Host, SignalType};
use super::bindings_async::warpgrid::shim_async::signals as concurrent;
use crate::app::State;
use crate::host::Instance;
use crate::signals;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

/// Behind a pollable: ready while the queue holds a signal.
struct Queue(Arc<Instance>);

#[wasmtime_wasi::async_trait]
impl Pollable for Queue {
    async fn ready(&mut self) {
        // A failure is ready too: poll-signal then answers none.
        let _ = signals::wait(&self.0).await;
    }
}

impl Host for State {
    async fn on_signal(&mut self, wanted: Vec<SignalType>) -> Result<()> {
        signals::interest(&self.inst, wanted.iter().fold(0, |mask, s| mask | 1 << *s as u32));
        Ok(())
    }

    async fn poll_signal(&mut self) -> Result<Option<SignalType>> {
        Ok(signals::take(&self.inst).map(|s| match s {
            0 => SignalType::Terminate,
            1 => SignalType::Hangup,
            _ => SignalType::Interrupt,
        }))
    }

    async fn subscribe(&mut self) -> Result<Resource<DynPollable>> {
        let queue = self.table.push(Queue(self.inst.clone()))?;
        subscribe(&mut self.table, queue)
    }
}

impl concurrent::Host for State {
    async fn on_signal(&mut self, wanted: Vec<concurrent::SignalType>) -> Result<()> {
        signals::interest(&self.inst, wanted.iter().fold(0, |mask, s| mask | 1 << *s as u32));
        Ok(())
    }
}

impl<T: 'static> concurrent::HostWithStore<T> for HasSelf<State> {
    async fn wait_signal(a: &Accessor<T, Self>) -> Result<concurrent::SignalType> {
        let inst = a.with(|mut s| s.get().inst.clone());
        loop {
            match signals::take(&inst) {
                Some(0) => return Ok(concurrent::SignalType::Terminate),
                Some(1) => return Ok(concurrent::SignalType::Hangup),
                Some(_) => return Ok(concurrent::SignalType::Interrupt),
                None => {
                    if let Err(e) = signals::wait(&inst).await {
                        wasmtime::bail!("cannot wait for a signal: {}", e.msg);
                    }
                }
            }
        }
    }
}
