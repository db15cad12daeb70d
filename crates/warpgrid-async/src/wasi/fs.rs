// SPDX-License-Identifier: Apache-2.0
//! Files that the host supplies: those of `[files]`, `/etc/hosts`, time zones and so on.
use super::bindings::warpgrid::shim_async::filesystem as host;
use super::pipe::Source;
use super::task::local;
use crate::{Error, ErrorKind};
use bytes::Bytes;
use futures_core::Stream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that one read asks for.
const CHUNK: usize = 16 << 10;

/// The whole of a virtual file; `None` when the path is not virtual. Devices without an end, such as
/// `/dev/urandom`, give 4,096 bytes.
pub async fn read(path: &str) -> Result<Option<Bytes>, Error> {
    let found = local(host::read_virtual(path.into())).await.map_err(|e| error(e, path))?;
    Ok(found.map(Bytes::from))
}

/// A virtual file, to be read as it is needed; `None` when the path is not virtual.
pub fn open(path: &str) -> Result<Option<File>, Error> {
    Ok(host::open(path).map_err(|e| error(e, path))?.map(|stream| File(Source::new(stream))))
}

/// An open virtual file: a stream of chunks, or [`AsyncRead`]. Use one of both.
pub struct File(Source);

impl Stream for File {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let bytes = ready!(self.0.poll_read(cx, || Vec::with_capacity(CHUNK)));
        Poll::Ready(bytes.map(Bytes::from))
    }
}

impl AsyncRead for File {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if ready!(self.0.poll_fill(cx, CHUNK)) {
            self.0.take(buf);
        }
        Poll::Ready(Ok(()))
    }
}

fn error(e: host::FsError, path: &str) -> Error {
    let path = path.escape_debug();
    match e {
        host::FsError::InvalidPath => {
            let text = format!("'{path}' is not absolute, too long, or has a NUL byte");
            Error::new(ErrorKind::InvalidArgument, text)
        }
        host::FsError::IsDirectory => {
            Error::new(ErrorKind::IsDirectory, format!("'{path}' is a directory"))
        }
        host::FsError::ReadOnly => {
            Error::new(ErrorKind::ReadOnly, format!("'{path}' cannot be written"))
        }
        host::FsError::Io => Error::new(ErrorKind::Io, format!("'{path}' cannot be read")),
    }
}
