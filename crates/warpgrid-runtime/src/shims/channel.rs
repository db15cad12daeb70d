// SPDX-License-Identifier: Apache-2.0
//! A database connection as WASI 0.3 streams: bytes are read straight into, and written straight
//! from, the guest's memory.

use super::code::AGAIN;
use crate::abi::OpDbWait;
use crate::host::{self, HostError, Instance, OpFuture, READ, WRITE};
use futures::channel::oneshot;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult};
use wasmtime::{Result, StoreContextMut};

/// Tells the future beside a stream how the stream ended; dropped: it ended well.
pub struct End<E>(Option<oneshot::Sender<Result<(), E>>>, fn(HostError) -> E);

impl<E> End<E> {
    fn finish(&mut self, r: Result<(), HostError>) {
        if let Some(tx) = self.0.take() {
            let _ = tx.send(r.map_err(self.1));
        }
    }
}

type Outcome<E> = Pin<Box<dyn Future<Output = Result<Result<(), E>>> + Send>>;

/// The two ends of a channel's outcome.
pub fn outcome<E: Send + 'static>(convert: fn(HostError) -> E) -> (End<E>, Outcome<E>) {
    let (tx, rx) = oneshot::channel();
    (End(Some(tx), convert), Box::pin(async move { Ok(rx.await.unwrap_or(Ok(()))) }))
}

/// One direction of a connection and the wait it may be in.
struct Half {
    inst: Arc<Instance>,
    handle: u64,
    events: u32,
    wait: Option<Pin<Box<OpFuture<OpDbWait>>>>,
}

impl Half {
    /// Ready when trying again makes sense.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HostError>> {
        let wait = self.wait.get_or_insert_with(|| {
            Box::pin(host::db_wait(&self.inst, self.handle, self.events, false))
        });
        let r = std::task::ready!(wait.as_mut().poll(cx));
        self.wait = None;
        Poll::Ready(r)
    }
}

pub struct Receiver<E> {
    half: Half,
    end: End<E>,
}

impl<E> Receiver<E> {
    pub fn new(inst: Arc<Instance>, handle: u64, end: End<E>) -> Self {
        Receiver { half: Half { inst, handle, events: READ, wait: None }, end }
    }
}

impl<E: Send + 'static, D> StreamProducer<D> for Receiver<E> {
    type Item = u8;
    type Buffer = Option<u8>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, Option<u8>>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut to = destination.as_direct(store, host::RECV_CHUNK);
        loop {
            if to.remaining().is_empty() {
                // A read of 0 bytes asks whether there is something to read.
                return match self.half.poll_wait(cx) {
                    Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(_) => Poll::Ready(Ok(StreamResult::Completed)),
                };
            }
            match host::db_try_recv_into(&self.half.inst, self.half.handle, to.remaining()) {
                Ok(0) => {
                    self.end.finish(Ok(()));
                    return Poll::Ready(Ok(StreamResult::Dropped));
                }
                Ok(n) => {
                    to.mark_written(n);
                    return Poll::Ready(Ok(StreamResult::Completed));
                }
                Err(e) if e.code == AGAIN => match self.half.poll_wait(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(e)) => {
                        self.end.finish(Err(e));
                        return Poll::Ready(Ok(StreamResult::Dropped));
                    }
                    Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                    Poll::Pending => return Poll::Pending,
                },
                Err(e) => {
                    self.end.finish(Err(e));
                    return Poll::Ready(Ok(StreamResult::Dropped));
                }
            }
        }
    }
}

pub struct Sender<E> {
    half: Half,
    end: End<E>,
}

impl<E> Sender<E> {
    pub fn new(inst: Arc<Instance>, handle: u64, end: End<E>) -> Self {
        Sender { half: Half { inst, handle, events: WRITE, wait: None }, end }
    }
}

impl<E: Send + 'static, D> StreamConsumer<D> for Sender<E> {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut from = source.as_direct(store);
        loop {
            if from.remaining().is_empty() {
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            match host::db_try_send(&self.half.inst, self.half.handle, from.remaining()) {
                Ok(n) => {
                    from.mark_read(n);
                    return Poll::Ready(Ok(StreamResult::Completed));
                }
                Err(e) if e.code == AGAIN => match self.half.poll_wait(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(e)) => {
                        self.end.finish(Err(e));
                        return Poll::Ready(Ok(StreamResult::Dropped));
                    }
                    Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                    Poll::Pending => return Poll::Pending,
                },
                Err(e) => {
                    self.end.finish(Err(e));
                    return Poll::Ready(Ok(StreamResult::Dropped));
                }
            }
        }
    }
}
