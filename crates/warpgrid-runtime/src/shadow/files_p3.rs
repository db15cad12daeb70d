// SPDX-License-Identifier: Apache-2.0
//! `wasi:filesystem@0.3`: the same as files_p2, without holding the store while something waits.

use super::{At, Change, Meaning, Place, Question, Refusal, Wants, os_error, refusals};
use crate::abi::{NODE_DEVICE, NODE_DIRECTORY};
use crate::app::State;
use crate::files::{self, Purpose};
use futures::channel::oneshot;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use wasmtime::component::{
    Access, Accessor, Destination, FutureReader, Linker, Resource, ResourceType, StreamProducer,
    StreamReader, StreamResult, VecBuffer,
};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
    HostDescriptorWithStore, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::FilesystemResult;

refusals!(ErrorCode);

type Fd = Resource<Descriptor>;
type Answer<T> = std::result::Result<T, ErrorCode>;
type Acc = Accessor<State>;

/// WASI's answer as a value.
fn settle<T>(r: FilesystemResult<T>) -> Result<Answer<T>> {
    match r {
        Ok(v) => Ok(Ok(v)),
        Err(e) => Ok(Err(e.downcast()?)),
    }
}

fn follows(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

/// The guest's own flags, unless a place says whether to follow.
fn flags_at(at: &At, asked: PathFlags) -> PathFlags {
    match at.follow {
        None => asked,
        Some(true) => PathFlags::SYMLINK_FOLLOW,
        Some(false) => PathFlags::empty(),
    }
}

async fn meaning(a: &Acc, fd: &Fd, path: &str, purpose: Purpose) -> Meaning {
    let question = a.with(|mut s| Question::ask(s.get(), fd, path, purpose));
    question.answer(purpose).await
}

fn at(a: &Acc, fd: Fd, path: String, place: Option<Place>) -> Result<At> {
    a.with(|mut s| At::new(s.get(), fd, path, place))
}

fn end(a: &Acc, at: At) -> Result<()> {
    a.with(|mut s| at.end(s.get()))
}

/// Where WASI changes what a path names, or why not.
async fn changing(
    a: &Acc,
    fd: Fd,
    path: String,
    purpose: Purpose,
    creates: bool,
) -> Result<Answer<At>> {
    let found = meaning(a, &fd, &path, purpose).await;
    match super::change(found, creates) {
        Change::Stock(place) => Ok(Ok(at(a, fd, path, place)?)),
        Change::Refused(r) => Ok(Err(r.into())),
        Change::Failed(errno) => Ok(Err(os_error(errno).into())),
    }
}

/// WASI's own functions, called with what they expect.
macro_rules! stock {
    ($a:ident . $f:ident ($($arg:expr),*)) => {{
        let a = $a.with_getter::<WasiFilesystem>(State::filesystem);
        let r = <WasiFilesystem as HostDescriptorWithStore<State>>::$f(&a, $($arg),*).await;
        settle(r)?
    }};
}

/// Shadows an operation that changes what one path names, the last argument.
macro_rules! change {
    ($instance:ident, $name:literal, $creates:literal, $f:ident ($($arg:ident: $type:ty),*)) => {
        $instance.func_wrap_concurrent(
            concat!("[method]descriptor.", $name),
            |a: &Acc, (fd, $($arg,)* path): (Fd, $($type,)* String)| {
                Box::pin(async move {
                    let to = match changing(a, fd, path, Purpose::Make(false), $creates).await? {
                        Ok(to) => to,
                        Err(e) => return Ok((Err(e),)),
                    };
                    let r = stock!(a.$f(to.fd(), $($arg,)* to.path.clone()));
                    end(a, to)?;
                    Ok((r,))
                })
            },
        )?
    };
}

pub fn add(l: &mut Linker<State>) -> Result<()> {
    l.instance("wasi:filesystem/preopens@0.3.0")?
        .func_wrap("get-directories", |mut cx: StoreContextMut<'_, State>, ()| {
            Ok((super::get_directories(cx.data_mut())?,))
        })?;

    let mut i = l.instance("wasi:filesystem/types@0.3.0")?;
    i.resource("descriptor", ResourceType::host::<Descriptor>(), |mut cx, rep| {
        super::drop_descriptor(cx.data_mut(), rep)
    })?;
    i.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |a: &Acc,
         (fd, at, path, open, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags)| {
            Box::pin(async move { Ok((open_at(a, fd, at, path, open, flags).await?,)) })
        },
    )?;
    i.func_wrap_concurrent(
        "[method]descriptor.stat-at",
        |a: &Acc, (fd, flags, path): (Fd, PathFlags, String)| {
            Box::pin(async move { Ok((stat_at(a, fd, flags, path).await?,)) })
        },
    )?;
    i.func_wrap_concurrent(
        "[method]descriptor.metadata-hash-at",
        |a: &Acc, (fd, flags, path): (Fd, PathFlags, String)| {
            Box::pin(async move { Ok((metadata_hash_at(a, fd, flags, path).await?,)) })
        },
    )?;
    i.func_wrap_concurrent("[method]descriptor.metadata-hash", |a: &Acc, (fd,): (Fd,)| {
        Box::pin(async move {
            if let Some((lower, upper)) = a.with(|mut s| super::synthetic_hash(s.get(), fd.rep())) {
                return Ok((Ok(MetadataHashValue { lower, upper }),));
            }
            Ok((stock!(a.metadata_hash(fd)),))
        })
    })?;
    i.func_wrap_concurrent(
        "[method]descriptor.is-same-object",
        |a: &Acc, (one, other): (Fd, Fd)| {
            Box::pin(async move {
                let known = a.with(|mut s| super::is_same(s.get(), one.rep(), other.rep()));
                if let Some(same) = known {
                    return Ok((same,));
                }
                let a = a.with_getter::<WasiFilesystem>(State::filesystem);
                type Stock = WasiFilesystem;
                let same =
                    <Stock as HostDescriptorWithStore<State>>::is_same_object(&a, one, other);
                Ok((same.await?,))
            })
        },
    )?;
    i.func_wrap_concurrent(
        "[method]descriptor.readlink-at",
        |a: &Acc, (fd, path): (Fd, String)| {
            Box::pin(async move {
                let place = match meaning(a, &fd, &path, Purpose::Look(false)).await {
                    Meaning::Content(_) | Meaning::Directory { real: None, .. } => {
                        return Ok((Err(ErrorCode::Invalid),));
                    }
                    Meaning::Directory { real, .. } => real,
                    found => match super::change(found, false) {
                        Change::Stock(place) => place,
                        Change::Refused(r) => return Ok((Err(r.into()),)),
                        Change::Failed(errno) => return Ok((Err(os_error(errno).into()),)),
                    },
                };
                let to = at(a, fd, path, place)?;
                let r = stock!(a.readlink_at(to.fd(), to.path.clone()));
                end(a, to)?;
                Ok((r,))
            })
        },
    )?;
    change!(i, "create-directory-at", true, create_directory_at());
    change!(i, "remove-directory-at", false, remove_directory_at());
    change!(i, "unlink-file-at", false, unlink_file_at());
    change!(i, "symlink-at", true, symlink_at(target: String));
    i.func_wrap_concurrent(
        "[method]descriptor.set-times",
        |a: &Acc, (fd, accessed, modified): (Fd, NewTimestamp, NewTimestamp)| {
            Box::pin(async move {
                if a.with(|mut s| super::is_shared_device(s.get(), &fd)) {
                    return Ok((Err(ErrorCode::NotPermitted),));
                }
                Ok((stock!(a.set_times(fd, accessed, modified)),))
            })
        },
    )?;
    i.func_wrap_concurrent(
        "[method]descriptor.set-times-at",
        |a: &Acc,
         (fd, flags, path, accessed, modified): (
            Fd,
            PathFlags,
            String,
            NewTimestamp,
            NewTimestamp,
        )| {
            Box::pin(async move {
                let purpose = Purpose::Make(follows(flags));
                let to = match changing(a, fd, path, purpose, false).await? {
                    Ok(to) => to,
                    Err(e) => return Ok((Err(e),)),
                };
                let (flags, path) = (flags_at(&to, flags), to.path.clone());
                let r = stock!(a.set_times_at(to.fd(), flags, path, accessed, modified));
                end(a, to)?;
                Ok((r,))
            })
        },
    )?;
    i.func_wrap_concurrent(
        "[method]descriptor.link-at",
        |a: &Acc, (fd, flags, old, to, new): (Fd, PathFlags, String, Fd, String)| {
            Box::pin(async move {
                let purpose = Purpose::Make(follows(flags));
                let from = match changing(a, fd, old, purpose, false).await? {
                    Ok(from) => from,
                    Err(e) => return Ok((Err(e),)),
                };
                let to = match changing(a, to, new, Purpose::Make(false), true).await? {
                    Ok(to) => to,
                    Err(e) => {
                        end(a, from)?;
                        return Ok((Err(e),));
                    }
                };
                let (old, new) = (from.path.clone(), to.path.clone());
                let flags = flags_at(&from, flags);
                let r = stock!(a.link_at(from.fd(), flags, old, to.fd(), new));
                end(a, from)?;
                end(a, to)?;
                Ok((r,))
            })
        },
    )?;
    i.func_wrap_concurrent(
        "[method]descriptor.rename-at",
        |a: &Acc, (fd, old, to, new): (Fd, String, Fd, String)| {
            Box::pin(async move {
                let purpose = Purpose::Make(false);
                let from = match changing(a, fd, old, purpose, false).await? {
                    Ok(from) => from,
                    Err(e) => return Ok((Err(e),)),
                };
                // What is there would be replaced.
                let to = match changing(a, to, new, purpose, false).await? {
                    Ok(to) => to,
                    Err(e) => {
                        end(a, from)?;
                        return Ok((Err(e),));
                    }
                };
                let (old, new) = (from.path.clone(), to.path.clone());
                let r = stock!(a.rename_at(from.fd(), old, to.fd(), new));
                end(a, from)?;
                end(a, to)?;
                Ok((r,))
            })
        },
    )?;
    i.func_wrap(
        "[method]descriptor.read-directory",
        |mut cx: StoreContextMut<'_, State>, (fd,): (Fd,)| {
            let (mine, beside) = super::virtual_entries(cx.data(), fd.rep());
            if beside && mine.is_empty() {
                let access = Access::<State, WasiFilesystem>::new(cx, State::filesystem);
                let listing =
                    <WasiFilesystem as HostDescriptorWithStore<State>>::read_directory(access, fd)?;
                return Ok((listing,));
            }
            Ok((read_mixed(&mut cx, &fd, mine, beside)?,))
        },
    )?;
    Ok(())
}

type Listing = (StreamReader<DirectoryEntry>, FutureReader<Answer<()>>);
type Entries = (Vec<DirectoryEntry>, Answer<()>);

/// Entries that a thread is still collecting.
struct Collected {
    task: Option<tokio::task::JoinHandle<Entries>>,
    end: Option<oneshot::Sender<Answer<()>>>,
}

impl<D> StreamProducer<D> for Collected {
    type Item = DirectoryEntry;
    type Buffer = VecBuffer<DirectoryEntry>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _store: StoreContextMut<'a, D>,
        mut to: Destination<'a, DirectoryEntry, VecBuffer<DirectoryEntry>>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let Some(task) = &mut self.task else { return Poll::Ready(Ok(StreamResult::Dropped)) };
        let (entries, end) = match Pin::new(task).poll(cx) {
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(r) => r?,
        };
        self.task = None;
        if let Some(tx) = self.end.take() {
            let _ = tx.send(end);
        }
        to.set_buffer(entries.into());
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

/// The entries of a directory that has virtual ones, and perhaps real ones beside them.
fn read_mixed(
    cx: &mut StoreContextMut<'_, State>,
    fd: &Fd,
    mine: Vec<(String, u32)>,
    beside: bool,
) -> Result<Listing> {
    let Descriptor::Dir(dir) = cx.data().table.get(fd)? else {
        wasmtime::bail!("not a directory");
    };
    let dir = dir.dir.clone();
    let entries: Vec<DirectoryEntry> = mine
        .into_iter()
        .map(|(name, kind)| DirectoryEntry {
            type_: match kind {
                NODE_DIRECTORY => DescriptorType::Directory,
                NODE_DEVICE => DescriptorType::CharacterDevice,
                _ => DescriptorType::RegularFile,
            },
            name,
        })
        .collect();
    let task = tokio::task::spawn_blocking(move || match beside {
        true => add_real(&dir, entries),
        false => (entries, Ok(())),
    });
    let (tx, rx) = oneshot::channel();
    let stream = StreamReader::new(&mut *cx, Collected { task: Some(task), end: Some(tx) })?;
    // Nobody waits for the end of what it dropped.
    let end = async move { Ok::<_, wasmtime::Error>(rx.await.unwrap_or(Ok(()))) };
    Ok((stream, FutureReader::new(&mut *cx, end)?))
}

/// Adds what a directory of the host has under other names. Blocks.
fn add_real(dir: &std::fs::File, mut entries: Vec<DirectoryEntry>) -> Entries {
    let virtuals = entries.len();
    let real = match std::fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd())) {
        Ok(real) => real,
        Err(e) => return (entries, Err(e.into())),
    };
    for entry in real {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => return (entries, Err(e.into())),
        };
        let Ok(name) = entry.file_name().into_string() else {
            return (entries, Err(ErrorCode::IllegalByteSequence));
        };
        if !entries[..virtuals].iter().any(|e| e.name == name) {
            let type_ = entry.file_type().map_or(DescriptorType::Other(None), kind_of);
            entries.push(DirectoryEntry { type_, name });
        }
    }
    (entries, Ok(()))
}

fn kind_of(t: std::fs::FileType) -> DescriptorType {
    if t.is_dir() {
        DescriptorType::Directory
    } else if t.is_symlink() {
        DescriptorType::SymbolicLink
    } else if t.is_file() {
        DescriptorType::RegularFile
    } else {
        DescriptorType::Other(None)
    }
}

/// A descriptor for the guest, or why not.
fn give(s: &mut State, d: std::result::Result<Descriptor, Refusal>) -> Result<Answer<Fd>> {
    Ok(match d {
        Ok(d) => Ok(s.table.push(d)?),
        Err(r) => Err(r.into()),
    })
}

async fn open_at(
    a: &Acc,
    fd: Fd,
    at: PathFlags,
    path: String,
    open: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Answer<Fd>> {
    let wants = Wants {
        create: open.contains(OpenFlags::CREATE),
        directory: open.contains(OpenFlags::DIRECTORY),
        exclusive: open.contains(OpenFlags::EXCLUSIVE),
        truncate: open.contains(OpenFlags::TRUNCATE),
        write: flags.contains(DescriptorFlags::WRITE),
        read: flags.contains(DescriptorFlags::READ),
        follow: follows(at),
    };
    let synthetic =
        |path| a.with(|mut s| Ok(super::open_synthetic(s.get(), path)?.map_err(ErrorCode::from)));
    let parent = fd.rep();
    let (place, directory) = match meaning(a, &fd, &path, wants.purpose()).await {
        Meaning::Content(found) => {
            return a.with(|mut s| {
                let s = s.get();
                let d = super::open_content(s, &found, wants);
                give(s, d)
            });
        }
        Meaning::Directory { found, real } => {
            if let Err(r) = wants.check_directory() {
                return Ok(Err(r.into()));
            }
            if real.is_none() {
                return synthetic(found.path);
            }
            (real, Some(found))
        }
        found => match super::change(found, wants.create) {
            Change::Stock(place) => (place, None),
            Change::Refused(r) => return Ok(Err(r.into())),
            Change::Failed(errno) => return Ok(Err(os_error(errno).into())),
        },
    };
    let guest = place.as_ref().and_then(|p| p.guest.clone());
    let to = self::at(a, fd, path, place)?;
    let (at, path) = (flags_at(&to, at), to.path.clone());
    // A directory is opened as one, so that nothing is made in its place.
    let open = if directory.is_some() { OpenFlags::DIRECTORY } else { open };
    let r = stock!(a.open_at(to.fd(), at, path, open, flags));
    end(a, to)?;
    let Some(found) = directory else {
        if let Ok(opened) = &r {
            a.with(|mut s| super::track(s.get(), guest, opened));
        }
        return Ok(r);
    };
    match r {
        Ok(opened) if a.with(|mut s| super::adopt(s.get(), parent, &found, &opened))? => {
            Ok(Ok(opened))
        }
        Ok(_) | Err(ErrorCode::NoEntry | ErrorCode::NotDirectory) => synthetic(found.path),
        Err(e) => Ok(Err(e)),
    }
}

/// A descriptor that the guest never sees.
fn hidden(a: &Acc, d: std::result::Result<Descriptor, Refusal>) -> Result<Answer<Fd>> {
    a.with(|mut s| give(s.get(), d))
}

fn forget(a: &Acc, rep: u32) -> Result<()> {
    a.with(|mut s| s.get().table.delete(Fd::new_own(rep)))?;
    Ok(())
}

async fn stat_of(
    a: &Acc,
    d: std::result::Result<Descriptor, Refusal>,
) -> Result<Answer<DescriptorStat>> {
    let rep = match hidden(a, d)? {
        Ok(fd) => fd.rep(),
        Err(e) => return Ok(Err(e)),
    };
    let r = stock!(a.stat(Fd::new_borrow(rep)));
    forget(a, rep)?;
    Ok(r)
}

async fn stat_at(
    a: &Acc,
    fd: Fd,
    flags: PathFlags,
    path: String,
) -> Result<Answer<DescriptorStat>> {
    let (place, directory) = match meaning(a, &fd, &path, Purpose::Look(follows(flags))).await {
        Meaning::Content(found) if found.as_directory() => return Ok(Err(ErrorCode::NotDirectory)),
        Meaning::Content(found) => {
            let d = a.with(|mut s| super::content(s.get(), &found));
            return stat_of(a, d).await;
        }
        Meaning::Directory { real: None, .. } => return stat_of(a, super::empty_dir()).await,
        Meaning::Directory { real, .. } => (real, true),
        found => match super::change(found, false) {
            Change::Stock(place) => (place, false),
            Change::Refused(r) => return Ok(Err(r.into())),
            Change::Failed(errno) => return Ok(Err(os_error(errno).into())),
        },
    };
    let to = at(a, fd, path, place)?;
    let (flags, path) = (flags_at(&to, flags), to.path.clone());
    let r = stock!(a.stat_at(to.fd(), flags, path));
    end(a, to)?;
    match r {
        Err(ErrorCode::NoEntry | ErrorCode::NotDirectory) if directory => {
            stat_of(a, super::empty_dir()).await
        }
        Ok(stat) if directory && !matches!(stat.type_, DescriptorType::Directory) => {
            stat_of(a, super::empty_dir()).await
        }
        r => Ok(r),
    }
}

async fn metadata_hash_at(
    a: &Acc,
    fd: Fd,
    flags: PathFlags,
    path: String,
) -> Result<Answer<MetadataHashValue>> {
    let hash = |path: &str| {
        let (lower, upper) = files::path_hash(path);
        MetadataHashValue { lower, upper }
    };
    let (place, otherwise) = match meaning(a, &fd, &path, Purpose::Look(follows(flags))).await {
        Meaning::Content(found) if found.as_directory() => return Ok(Err(ErrorCode::NotDirectory)),
        Meaning::Content(found) => {
            let d = a.with(|mut s| super::content(s.get(), &found));
            let rep = match hidden(a, d)? {
                Ok(fd) => fd.rep(),
                Err(e) => return Ok(Err(e)),
            };
            let r = stock!(a.metadata_hash(Fd::new_borrow(rep)));
            forget(a, rep)?;
            return Ok(r);
        }
        Meaning::Directory { found, real: None } => return Ok(Ok(hash(&found.path))),
        Meaning::Directory { found, real } => (real, Some(hash(&found.path))),
        found => match super::change(found, false) {
            Change::Stock(place) => (place, None),
            Change::Refused(r) => return Ok(Err(r.into())),
            Change::Failed(errno) => return Ok(Err(os_error(errno).into())),
        },
    };
    let to = at(a, fd, path, place)?;
    let (flags, path) = (flags_at(&to, flags), to.path.clone());
    let r = stock!(a.metadata_hash_at(to.fd(), flags, path));
    end(a, to)?;
    match (r, otherwise) {
        (Err(ErrorCode::NoEntry | ErrorCode::NotDirectory), Some(hash)) => Ok(Ok(hash)),
        (r, _) => Ok(r),
    }
}
