// SPDX-License-Identifier: Apache-2.0
//! `warpgrid:shim/filesystem` and `warpgrid:shim-async/filesystem`.

use super::bindings::warpgrid::shim::filesystem::{FileStat, FileType, FsError, Host, HostFile};
use super::bindings_async::warpgrid::shim_async::filesystem as concurrent;
use crate::abi::PATH_MAX;
use crate::app::State;
use crate::files::{self, Found};
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};
use wasmtime::component::{
    Access, Accessor, Destination, HasSelf, Resource, StreamProducer, StreamReader, StreamResult,
};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::filesystem::File;

/// The most that one `read` gives.
const READ_MAX: usize = 1 << 20;
/// What `read-virtual` gives of a device, whose content has no end.
const DEVICE_BYTES: usize = 4096;

/// An open virtual file with its position.
pub struct OpenFile {
    file: File,
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

fn open(s: &State, path: &str) -> Outcome<Option<(File, Found)>> {
    let Some(found) = find(s, path)? else { return Ok(None) };
    if found.is_directory() {
        return Err(Trouble::IsDirectory);
    }
    let file = s.files.open(&s.inst, &found).map_err(|_| Trouble::Io)?;
    Ok(Some((file, found)))
}

/// Up to `max` bytes from a position; memory of their own size.
fn read_at(file: &File, at: u64, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; max];
    let mut n = 0;
    while n < max {
        match file.file.read_at(&mut bytes[n..], at + n as u64) {
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

fn read_whole(s: &State, path: &str) -> Outcome<Option<Vec<u8>>> {
    let Some((file, found)) = open(s, path)? else { return Ok(None) };
    let size = file.file.metadata().map_err(|_| Trouble::Io)?.len() as usize;
    let max = if found.is_device() { DEVICE_BYTES } else { size };
    read_at(&file, 0, max).map(Some).map_err(|_| Trouble::Io)
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
            Ok(Some((file, found))) => {
                let open = OpenFile { stat: stat(&found), file, at: 0 };
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
        Ok(read_whole(self, &path).map_err(Trouble::into))
    }
}

impl HostFile for State {
    async fn read(&mut self, file: Resource<OpenFile>, max: u32) -> Given<Vec<u8>> {
        let f = self.table.get_mut(&file)?;
        let mut max = (max as usize).min(READ_MAX);
        if !matches!(f.stat.type_, FileType::CharacterDevice) {
            max = max.min(f.stat.size.saturating_sub(f.at) as usize);
        }
        Ok(match read_at(&f.file, f.at, max) {
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
struct Content {
    file: File,
    at: u64,
}

impl<D> StreamProducer<D> for Content {
    type Item = u8;
    type Buffer = Option<u8>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, Option<u8>>,
        _finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let me = &mut *self;
        let mut to = destination.as_direct(store, 64 << 10);
        if to.remaining().is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        loop {
            return Poll::Ready(match me.file.file.read_at(to.remaining(), me.at) {
                Ok(0) => Ok(StreamResult::Dropped),
                Ok(n) => {
                    me.at += n as u64;
                    to.mark_written(n);
                    Ok(StreamResult::Completed)
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(wasmtime::format_err!("cannot read a virtual file: {e}")),
            });
        }
    }
}

impl<T: 'static> concurrent::HostWithStore<T> for HasSelf<State> {
    async fn read_virtual(
        a: &Accessor<T, Self>,
        path: String,
    ) -> Result<std::result::Result<Option<Vec<u8>>, concurrent::FsError>> {
        Ok(a.with(|mut s| read_whole(s.get(), &path)).map_err(Trouble::into))
    }

    fn open(
        mut a: Access<'_, T, Self>,
        path: String,
    ) -> Result<std::result::Result<Option<StreamReader<u8>>, concurrent::FsError>> {
        match open(a.get(), &path) {
            Ok(Some((file, _))) => {
                Ok(Ok(Some(StreamReader::new(&mut a, Content { file, at: 0 })?)))
            }
            Ok(None) => Ok(Ok(None)),
            Err(t) => Ok(Err(t.into())),
        }
    }
}
