// SPDX-License-Identifier: Apache-2.0
//! Byte streams of the component model as things that are polled, without an allocation an operation
//! other than the chunk itself.
use std::marker::PhantomPinned;
use std::mem::transmute;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;
use wit_bindgen::{StreamRead, StreamReader, StreamResult, StreamWrite, StreamWriter};

/// The reading end.
pub(crate) struct Source(Pin<Box<Reading>>);

struct Reading {
    /// Borrows `reader`, so it comes first: fields are dropped in order.
    op: Option<StreamRead<'static, u8>>,
    reader: StreamReader<u8>,
    /// Bytes that came and were not taken yet, from `start` on; else the buffer of the next read.
    held: Vec<u8>,
    start: usize,
    _pinned: PhantomPinned,
}

// SAFETY: without the atomics feature an instance has one thread.
#[cfg(not(target_feature = "atomics"))]
unsafe impl Send for Source {}

impl Source {
    pub fn new(reader: StreamReader<u8>) -> Self {
        let pinned = PhantomPinned;
        Self(Box::pin(Reading { op: None, reader, held: Vec::new(), start: 0, _pinned: pinned }))
    }

    /// Waits until `take` has something to give, reading at most `most` bytes into the one buffer;
    /// false at the end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<bool> {
        // SAFETY: as in `poll_read`.
        let this = unsafe { self.0.as_mut().get_unchecked_mut() };
        if this.start < this.held.len() {
            return Poll::Ready(true);
        }
        let mut spare = std::mem::take(&mut this.held);
        this.start = 0;
        let room = || {
            spare.clear();
            spare.reserve_exact(most);
            spare
        };
        let bytes = ready!(self.poll_read(cx, room));
        let more = bytes.is_some();
        // SAFETY: as in `poll_read`.
        unsafe { self.0.as_mut().get_unchecked_mut() }.held = bytes.unwrap_or_default();
        Poll::Ready(more)
    }

    /// Gives what was read, as much as fits.
    pub fn take(&mut self, buf: &mut ReadBuf<'_>) {
        // SAFETY: as in `poll_read`.
        let this = unsafe { self.0.as_mut().get_unchecked_mut() };
        let count = buf.remaining().min(this.held.len() - this.start);
        buf.put_slice(&this.held[this.start..this.start + count]);
        this.start += count;
    }

    /// The next bytes, into a buffer that `room` gives when a read begins; `None` at the end.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: impl FnOnce() -> Vec<u8>,
    ) -> Poll<Option<Vec<u8>>> {
        // SAFETY: nothing is moved out of the box; `op` stays in its place while it is polled, and its
        // borrow of `reader` ends before `reader` is used again or dropped.
        let this = unsafe { self.0.as_mut().get_unchecked_mut() };
        if this.op.is_none() {
            let op = this.reader.read(room());
            this.op = Some(unsafe { transmute::<StreamRead<'_, u8>, StreamRead<'static, u8>>(op) });
        }
        let op = this.op.as_mut().expect("set above");
        let (status, bytes) = ready!(unsafe { Pin::new_unchecked(op) }.poll(cx));
        this.op = None;
        let end = bytes.is_empty() && !matches!(status, StreamResult::Complete(_));
        Poll::Ready(if end { None } else { Some(bytes) })
    }
}

/// The writing end.
pub(crate) struct Drain(Pin<Box<Writing>>);

struct Writing {
    /// Borrows `writer`, so it comes first.
    op: Option<StreamWrite<'static, u8>>,
    writer: StreamWriter<u8>,
    /// The buffer of the last write, for the next one.
    spare: Vec<u8>,
    _pinned: PhantomPinned,
}

// SAFETY: as above.
#[cfg(not(target_feature = "atomics"))]
unsafe impl Send for Drain {}

/// The reader is gone: nothing more will be taken.
#[derive(Debug)]
pub(crate) struct Gone;

impl Drain {
    pub fn new(writer: StreamWriter<u8>) -> Self {
        let pinned = PhantomPinned;
        Self(Box::pin(Writing { op: None, writer, spare: Vec::new(), _pinned: pinned }))
    }

    /// Takes a copy of bytes once those before are written; how many.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        most: usize,
    ) -> Poll<Result<usize, Gone>> {
        ready!(self.poll_flush(cx))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // SAFETY: as in `Source::poll_read`.
        let this = unsafe { self.0.as_mut().get_unchecked_mut() };
        let count = bytes.len().min(most);
        let mut chunk = std::mem::take(&mut this.spare);
        chunk.extend_from_slice(&bytes[..count]);
        self.start(chunk);
        // Starts it now: not every caller flushes before it waits for an answer.
        match self.poll_flush(cx) {
            Poll::Ready(Err(gone)) => Poll::Ready(Err(gone)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    /// Waits until all that was taken is written.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        loop {
            // SAFETY: as above.
            let this = unsafe { self.0.as_mut().get_unchecked_mut() };
            let Some(op) = &mut this.op else { return Poll::Ready(Ok(())) };
            let (status, left) = ready!(unsafe { Pin::new_unchecked(op) }.poll(cx));
            this.op = None;
            if !matches!(status, StreamResult::Complete(_)) {
                return Poll::Ready(Err(Gone));
            }
            let left = left.into_vec();
            if left.is_empty() {
                this.spare = left;
                return Poll::Ready(Ok(()));
            }
            self.start(left);
        }
    }

    fn start(&mut self, chunk: Vec<u8>) {
        // SAFETY: as above; there is no operation in progress.
        let this = unsafe { self.0.as_mut().get_unchecked_mut() };
        let op = this.writer.write(chunk);
        this.op = Some(unsafe { transmute::<StreamWrite<'_, u8>, StreamWrite<'static, u8>>(op) });
    }
}
