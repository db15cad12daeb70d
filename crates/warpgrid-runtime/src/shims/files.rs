// SPDX-License-Identifier: Apache-2.0
//! `warpgrid:shim/filesystem` and `warpgrid:shim-async/filesystem`.

use super::bindings::warpgrid::shim::filesystem::{FileStat, FileType, FsError, Host, HostFile};
use super::bindings_async::warpgrid::shim_async::filesystem as concurrent;
use crate::abi::PATH_MAX;
use crate::app::State;
use crate::files::{self, Content, Found};
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};
use wasmtime::component::{
    Access, Accessor, Destination, HasSelf, Resource, StreamProducer, StreamReader, StreamResult,
    VecBuffer,
};
use wasmtime::{Result, StoreContextMut};

/// The most that one `read` gives.
const READ_MAX: usize = 1 << 20;
/// What `read-virtual` gives of a device, whose content has no end.
const DEVICE_BYTES: usize = 4096;

/// What `read-virtual` gives at most; a larger file is one of the host, to be read bit by bit.
const WHOLE_MAX: u64 = 16 << 20;

/// An open virtual file with its position.
pub struct OpenFile {
    content: Content,
    stat: FileStat,
    at: u64,
}

enum Trouble {
    InvalidPath,
    IsDirectory,
    Io,
}

impl From<Trouble> for FsError {
    fn from(t: Trouble) -> FsError {
        match t {
            Trouble::InvalidPath => FsError::InvalidPath,
            Trouble::IsDirectory => FsError::IsDirectory,
            Trouble::Io => FsError::Io,
        }
    }
}

impl From<Trouble> for concurrent::FsError {
    fn from(t: Trouble) -> concurrent::FsError {
        match t {
            Trouble::InvalidPath => concurrent::FsError::InvalidPath,
            Trouble::IsDirectory => concurrent::FsError::IsDirectory,
            Trouble::Io => concurrent::FsError::Io,
        }
    }
}

type Outcome<T> = std::result::Result<T, Trouble>;

/// None: not virtual, or not there.
fn find(s: &State, path: &str) -> Outcome<Option<Found>> {
    if path.len() > PATH_MAX {
        return Err(Trouble::InvalidPath);
    }
    let found = files::find(&s.inst, "", path).ok_or(Trouble::InvalidPath)?;
    // "/etc/hosts/" asks for a directory that is not there.
    let there = found.is_directory() || (found.is_content() && !found.as_directory());
    Ok(there.then_some(found))
}

fn open(s: &State, path: &str) -> Outcome<Option<(Content, Found)>> {
    let Some(found) = find(s, path)? else { return Ok(None) };
    if found.is_directory() {
        return Err(Trouble::IsDirectory);
    }
    let content = s.files.open(&s.inst, &found).map_err(|_| Trouble::Io)?;
    Ok(Some((content, found)))
}

/// Up to `max` bytes from a position; memory of their own size.
fn read_at(file: &std::fs::File, at: u64, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(max)?;
    bytes.resize(max, 0);
    let mut n = 0;
    while n < max {
        match file.read_at(&mut bytes[n..], at + n as u64) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(n);
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// Reads from memory and devices here, from a file of the host where it may block.
async fn read(c: &Content, at: u64, max: usize) -> io::Result<Vec<u8>> {
    if !c.live {
        return read_at(&c.file.file, at, max);
    }
    let file = c.file.file.clone();
    let read = tokio::task::spawn_blocking(move || read_at(&file, at, max));
    read.await.map_err(io::Error::other)?
}

async fn read_whole(opened: Outcome<Option<(Content, Found)>>) -> Outcome<Option<Vec<u8>>> {
    let Some((content, found)) = opened? else { return Ok(None) };
    let size = content.file.file.metadata().map_err(|_| Trouble::Io)?.len();
    if size > WHOLE_MAX {
        return Err(Trouble::Io);
    }
    let max = if found.is_device() { DEVICE_BYTES } else { size as usize };
    read(&content, 0, max).await.map(Some).map_err(|_| Trouble::Io)
}

fn stat(found: &Found) -> FileStat {
    let type_ = if found.is_directory() {
        FileType::Directory
    } else if found.is_device() {
        FileType::CharacterDevice
    } else {
        FileType::RegularFile
    };
    FileStat { type_, size: if found.is_content() { found.node.size } else { 0 } }
}

type Given<T> = Result<std::result::Result<T, FsError>>;

impl Host for State {
    async fn open(&mut self, path: String) -> Given<Option<Resource<OpenFile>>> {
        match open(self, &path) {
            Ok(Some((content, found))) => {
                let open = OpenFile { stat: stat(&found), content, at: 0 };
                Ok(Ok(Some(self.table.push(open)?)))
            }
            Ok(None) => Ok(Ok(None)),
            Err(t) => Ok(Err(t.into())),
        }
    }

    async fn stat(&mut self, path: String) -> Given<Option<FileStat>> {
        Ok(find(self, &path).map(|f| f.as_ref().map(stat)).map_err(Trouble::into))
    }

    async fn read_virtual(&mut self, path: String) -> Given<Option<Vec<u8>>> {
        let opened = open(self, &path);
        Ok(read_whole(opened).await.map_err(Trouble::into))
    }
}

impl HostFile for State {
    async fn read(&mut self, file: Resource<OpenFile>, max: u32) -> Given<Vec<u8>> {
        let f = self.table.get_mut(&file)?;
        let mut max = (max as usize).min(READ_MAX);
        if !matches!(f.stat.type_, FileType::CharacterDevice) {
            max = max.min(f.stat.size.saturating_sub(f.at) as usize);
        }
        Ok(match read(&f.content, f.at, max).await {
            Ok(bytes) => {
                f.at += bytes.len() as u64;
                Ok(bytes)
            }
            Err(_) => Err(FsError::Io),
        })
    }

    async fn seek(&mut self, file: Resource<OpenFile>, offset: u64) -> Result<()> {
        // Positions of the system end here.
        self.table.get_mut(&file)?.at = offset.min(i64::MAX as u64);
        Ok(())
    }

    async fn stat(&mut self, file: Resource<OpenFile>) -> Given<FileStat> {
        Ok(Ok(self.table.get(&file)?.stat))
    }

    async fn drop(&mut self, file: Resource<OpenFile>) -> Result<()> {
        self.table.delete(file)?;
        Ok(())
    }
}

impl concurrent::Host for State {}

/// A virtual file as a stream.
struct Reader {
    content: Content,
    at: u64,
    /// A read of a file that may block.
    pending: Option<tokio::task::JoinHandle<io::Result<Vec<u8>>>>,
}

const STREAM_CHUNK: usize = 64 << 10;

impl Reader {
    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let task = self.pending.get_or_insert_with(|| {
            let (file, at) = (self.content.file.file.clone(), self.at);
            tokio::task::spawn_blocking(move || read_at(&file, at, STREAM_CHUNK))
        });
        let r = std::task::ready!(Pin::new(task).poll(cx));
        self.pending = None;
        Poll::Ready(r.map_err(io::Error::other)?)
    }
}

impl<D> StreamProducer<D> for Reader {
    type Item = u8;
    type Buffer = VecBuffer<u8>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, u8, VecBuffer<u8>>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        // A read of 0 bytes asks whether there is something to read.
        let max = destination.remaining(&mut store).unwrap_or(STREAM_CHUNK);
        if max == 0 {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let read = if self.content.live {
            match self.poll_live(cx) {
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(r) => r,
            }
        } else {
            read_at(&self.content.file.file, self.at, max.min(STREAM_CHUNK))
        };
        Poll::Ready(match read {
            Ok(bytes) if bytes.is_empty() => Ok(StreamResult::Dropped),
            Ok(bytes) => {
                self.at += bytes.len() as u64;
                destination.set_buffer(bytes.into());
                Ok(StreamResult::Completed)
            }
            Err(e) => Err(wasmtime::format_err!("cannot read a virtual file: {e}")),
        })
    }
}

impl<T: 'static> concurrent::HostWithStore<T> for HasSelf<State> {
    async fn read_virtual(
        a: &Accessor<T, Self>,
        path: String,
    ) -> Result<std::result::Result<Option<Vec<u8>>, concurrent::FsError>> {
        let opened = a.with(|mut s| open(s.get(), &path));
        Ok(read_whole(opened).await.map_err(Trouble::into))
    }

    fn open(
        mut a: Access<'_, T, Self>,
        path: String,
    ) -> Result<std::result::Result<Option<StreamReader<u8>>, concurrent::FsError>> {
        match open(a.get(), &path) {
            Ok(Some((content, _))) => {
                let reader = Reader { content, at: 0, pending: None };
                Ok(Ok(Some(StreamReader::new(&mut a, reader)?)))
            }
            Ok(None) => Ok(Ok(None)),
            Err(t) => Ok(Err(t.into())),
        }
    }
}
