// SPDX-License-Identifier: Apache-2.0
//! Guest stdout and stderr as lines for C's log.

use crate::abi::Bytes as CBytes;
use crate::host::host;
use bytes::Bytes;
use std::ffi::c_void;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Longer lines are cut.
const MAX_LINE: usize = 8 << 10;
const CUT: &[u8] = b"...";

/// The output of one instance.
pub struct GuestOutput {
    lines: [Arc<Lines>; 2],
}

struct Lines {
    app: *mut c_void,
    request: Arc<AtomicU64>,
    fd: i32,
    partial: Mutex<Partial>,
}
// SAFETY: `app` is C's; lines are written on the instance's own thread.
unsafe impl Send for Lines {}
unsafe impl Sync for Lines {}

#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    cut: bool,
}

impl GuestOutput {
    /// `request` names the request that the instance works on; 0: not known.
    pub fn new(app: *mut c_void, request: &Arc<AtomicU64>) -> GuestOutput {
        let lines = |fd| {
            let partial = Mutex::default();
            Arc::new(Lines { app, request: request.clone(), fd, partial })
        };
        GuestOutput { lines: [lines(1), lines(2)] }
    }

    pub fn stream(&self, fd: usize) -> GuestStream {
        GuestStream(self.lines[fd - 1].clone())
    }
}

impl Lines {
    fn write(&self, mut bytes: &[u8]) {
        let mut p = self.partial.lock().unwrap();
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.add(&mut p, &bytes[..end]);
            self.end(&mut p);
            bytes = &bytes[end + 1..];
        }
        self.add(&mut p, bytes);
    }

    fn add(&self, p: &mut Partial, bytes: &[u8]) {
        let room = MAX_LINE - CUT.len() - p.bytes.len().min(MAX_LINE - CUT.len());
        p.cut |= bytes.len() > room;
        p.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end(&self, p: &mut Partial) {
        if p.cut {
            p.bytes.extend_from_slice(CUT);
        }
        let h = host();
        let request = self.request.load(Ordering::Relaxed);
        unsafe { (h.guest_output)(h.ctx, self.app, request, self.fd, CBytes::of(&p.bytes)) };
        p.bytes.clear();
        p.cut = false;
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let mut p = std::mem::take(self.partial.get_mut().unwrap());
        if !p.bytes.is_empty() {
            self.end(&mut p);
        }
    }
}

/// One of the two streams.
#[derive(Clone)]
pub struct GuestStream(Arc<Lines>);

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.0.write(buf);
        Poll::Ready(Ok(buf.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}
