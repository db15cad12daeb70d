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
    /// The stream's end is the direction's: it is a socket's.
    closes: bool,
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

impl Drop for Half {
    fn drop(&mut self) {
        self.wait = None;
        if self.closes {
            let _ = host::db_shutdown(&self.inst, self.handle, self.events);
        }
    }
}

/// A half and the future that tells how it ended.
struct Side<E> {
    half: Half,
    end: End<E>,
}

impl<E> Side<E> {
    fn new(inst: Arc<Instance>, handle: u64, events: u32, closes: bool, end: End<E>) -> Self {
        Side { half: Half { inst, handle, events, closes, wait: None }, end }
    }

    /// After an attempt that failed: what to answer, or None to try again.
    fn after(
        &mut self,
        e: HostError,
        cx: &mut Context<'_>,
        finish: bool,
    ) -> Option<Poll<Result<StreamResult>>> {
        let mut e = e;
        if e.code == AGAIN {
            match self.half.poll_wait(cx) {
                Poll::Ready(Ok(())) => return None,
                Poll::Ready(Err(failed)) => e = failed,
                Poll::Pending if finish => return Some(Poll::Ready(Ok(StreamResult::Cancelled))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        self.end.finish(Err(e));
        Some(Poll::Ready(Ok(StreamResult::Dropped)))
    }
}

pub struct Receiver<E>(Side<E>);

impl<E> Receiver<E> {
    pub fn new(inst: Arc<Instance>, handle: u64, end: End<E>) -> Self {
        Receiver(Side::new(inst, handle, READ, false, end))
    }

    pub fn of_socket(inst: Arc<Instance>, handle: u64, end: End<E>) -> Self {
        Receiver(Side::new(inst, handle, READ, true, end))
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
        let side = &mut self.0;
        let mut to = destination.as_direct(store, host::RECV_CHUNK);
        loop {
            if to.remaining().is_empty() {
                // A read of 0 bytes asks whether there is something to read.
                return match side.half.poll_wait(cx) {
                    Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(_) => Poll::Ready(Ok(StreamResult::Completed)),
                };
            }
            match host::db_try_recv_into(&side.half.inst, side.half.handle, to.remaining()) {
                Ok(0) => {
                    side.end.finish(Ok(()));
                    return Poll::Ready(Ok(StreamResult::Dropped));
                }
                Ok(n) => {
                    to.mark_written(n);
                    return Poll::Ready(Ok(StreamResult::Completed));
                }
                Err(e) => {
                    if let Some(answer) = side.after(e, cx, finish) {
                        return answer;
                    }
                }
            }
        }
    }
}

pub struct Sender<E>(Side<E>);

impl<E> Sender<E> {
    pub fn new(inst: Arc<Instance>, handle: u64, end: End<E>) -> Self {
        Sender(Side::new(inst, handle, WRITE, false, end))
    }

    pub fn of_socket(inst: Arc<Instance>, handle: u64, end: End<E>) -> Self {
        Sender(Side::new(inst, handle, WRITE, true, end))
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
        let side = &mut self.0;
        let mut from = source.as_direct(store);
        loop {
            if from.remaining().is_empty() {
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            match host::db_try_send(&side.half.inst, side.half.handle, from.remaining()) {
                Ok(n) => {
                    from.mark_read(n);
                    return Poll::Ready(Ok(StreamResult::Completed));
                }
                Err(e) => {
                    if let Some(answer) = side.after(e, cx, finish) {
                        return answer;
                    }
                }
            }
        }
    }
}
