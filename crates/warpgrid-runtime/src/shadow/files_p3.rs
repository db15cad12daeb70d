// SPDX-License-Identifier: Apache-2.0
//! `wasi:filesystem@0.3`: the same as files_p2, without holding the store while something waits.

use super::{Question, Refusal, Wants, refusal, refusals};
use crate::abi::{NODE_DEVICE, NODE_DIRECTORY};
use crate::app::State;
use crate::files::{self, Meaning, Purpose};
use std::os::fd::AsRawFd;
use wasmtime::component::{
    Access, Accessor, FutureReader, Linker, Resource, ResourceType, StreamReader,
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

async fn meaning(a: &Acc, fd: &Fd, path: &str, purpose: Purpose) -> Meaning {
    let question = a.with(|mut s| Question::ask(s.get(), fd, path));
    question.answer(purpose).await
}

/// WASI's own functions, called with what they expect.
macro_rules! stock {
    ($a:ident . $f:ident ($($arg:expr),*)) => {{
        let a = $a.with_getter::<WasiFilesystem>(State::filesystem);
        let r = <WasiFilesystem as HostDescriptorWithStore<State>>::$f(&a, $($arg),*).await;
        settle(r)?
    }};
}

/// Shadows an operation that changes what one path names.
macro_rules! change {
    ($instance:ident, $name:literal, $purpose:expr, $creates:literal,
     $f:ident ($fd:ident, $($arg:ident: $type:ty),*)) => {
        $instance.func_wrap_concurrent(
            concat!("[method]descriptor.", $name),
            |a: &Acc, ($fd, $($arg,)*): (Fd, $($type,)*)| {
                Box::pin(async move {
                    let found = meaning(a, &$fd, &path_of!($($arg),*), $purpose).await;
                    if let Some(r) = refusal(&found, $creates) {
                        return Ok((Err(r.into()),));
                    }
                    Ok((stock!(a.$f($fd, $($arg),*)),))
                })
            },
        )?
    };
}

/// The last argument is the path.
macro_rules! path_of {
    ($path:ident) => { $path };
    ($first:ident, $($rest:ident),+) => { path_of!($($rest),+) };
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
        "[method]descriptor.readlink-at",
        |a: &Acc, (fd, path): (Fd, String)| {
            Box::pin(async move {
                let real = match meaning(a, &fd, &path, Purpose::Look(false)).await {
                    Meaning::Content(_) => false,
                    Meaning::Directory { real, .. } => real,
                    found => match refusal(&found, false) {
                        Some(r) => return Ok((Err(r.into()),)),
                        None => true,
                    },
                };
                if !real {
                    return Ok((Err(ErrorCode::Invalid),));
                }
                Ok((stock!(a.readlink_at(fd, path)),))
            })
        },
    )?;
    change!(i, "create-directory-at", Purpose::Make(false), true,
        create_directory_at(fd, path: String));
    change!(i, "remove-directory-at", Purpose::Make(false), false,
        remove_directory_at(fd, path: String));
    change!(i, "unlink-file-at", Purpose::Make(false), false, unlink_file_at(fd, path: String));
    change!(i, "symlink-at", Purpose::Make(false), true,
        symlink_at(fd, target: String, path: String));
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
                let found = meaning(a, &fd, &path, Purpose::Make(follows(flags))).await;
                if let Some(r) = refusal(&found, false) {
                    return Ok((Err(r.into()),));
                }
                Ok((stock!(a.set_times_at(fd, flags, path, accessed, modified)),))
            })
        },
    )?;
    i.func_wrap_concurrent(
        "[method]descriptor.link-at",
        |a: &Acc, (fd, flags, old, to, new): (Fd, PathFlags, String, Fd, String)| {
            Box::pin(async move {
                let from = meaning(a, &fd, &old, Purpose::Make(follows(flags))).await;
                let at = meaning(a, &to, &new, Purpose::Make(false)).await;
                if let Some(r) = refusal(&from, false).or(refusal(&at, true)) {
                    return Ok((Err(r.into()),));
                }
                Ok((stock!(a.link_at(fd, flags, old, to, new)),))
            })
        },
    )?;
    i.func_wrap_concurrent(
        "[method]descriptor.rename-at",
        |a: &Acc, (fd, old, to, new): (Fd, String, Fd, String)| {
            Box::pin(async move {
                let from = meaning(a, &fd, &old, Purpose::Make(false)).await;
                // What is there would be replaced.
                let at = meaning(a, &to, &new, Purpose::Make(false)).await;
                if let Some(r) = refusal(&from, false).or(refusal(&at, false)) {
                    return Ok((Err(r.into()),));
                }
                Ok((stock!(a.rename_at(fd, old, to, new)),))
            })
        },
    )?;
    i.func_wrap(
        "[method]descriptor.read-directory",
        |mut cx: StoreContextMut<'_, State>, (fd,): (Fd,)| {
            let mine = super::virtual_entries(cx.data(), fd.rep());
            if mine.is_empty() {
                let access = Access::<State, WasiFilesystem>::new(cx, State::filesystem);
                let (entries, end) =
                    <WasiFilesystem as HostDescriptorWithStore<State>>::read_directory(access, fd)?;
                return Ok(((entries, end),));
            }
            Ok((read_mixed(&mut cx, &fd, mine)?,))
        },
    )?;
    Ok(())
}

type Listing = (StreamReader<DirectoryEntry>, FutureReader<Answer<()>>);

/// The entries of a directory that has virtual ones, and perhaps real ones too.
fn read_mixed(
    cx: &mut StoreContextMut<'_, State>,
    fd: &Fd,
    mine: Vec<(String, u32)>,
) -> Result<Listing> {
    let dir = match cx.data().table.get(fd)? {
        Descriptor::Dir(d) => d.dir.clone(),
        Descriptor::File(_) => wasmtime::bail!("not a directory"),
    };
    let mut entries: Vec<DirectoryEntry> = mine
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
    let virtuals = entries.len();
    let mut end = Ok(());
    // An empty directory that was removed has no entries, and may say so by an error.
    if let Ok(real) = std::fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd())) {
        for entry in real {
            let (Ok(entry), true) = (entry, end.is_ok()) else {
                end = end.and(Err(ErrorCode::Io));
                break;
            };
            let Ok(name) = entry.file_name().into_string() else {
                end = Err(ErrorCode::IllegalByteSequence);
                break;
            };
            if !entries[..virtuals].iter().any(|e| e.name == name) {
                let type_ = entry.file_type().map_or(DescriptorType::Other(None), kind_of);
                entries.push(DirectoryEntry { type_, name });
            }
        }
    }
    let stream = StreamReader::new(&mut *cx, entries)?;
    let end = FutureReader::new(&mut *cx, async move { Ok::<_, wasmtime::Error>(end) })?;
    Ok((stream, end))
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
    let mut otherwise = None;
    match meaning(a, &fd, &path, wants.purpose()).await {
        Meaning::Real => {}
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
            if !real {
                return synthetic(found.path);
            }
            otherwise = Some(found.path);
        }
        Meaning::Missing => return Ok(Err(wants.missing().into())),
        refused => {
            return Ok(Err(refusal(&refused, false).unwrap_or(Refusal::NotPermitted).into()));
        }
    }
    match (stock!(a.open_at(fd, at, path, open, flags)), otherwise) {
        (Ok(opened), _) => {
            a.with(|mut s| super::track(s.get(), parent, &opened));
            Ok(Ok(opened))
        }
        (Err(ErrorCode::NoEntry), Some(path)) => synthetic(path),
        (Err(e), _) => Ok(Err(e)),
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
    let mut otherwise = false;
    match meaning(a, &fd, &path, Purpose::Look(follows(flags))).await {
        Meaning::Content(found) if found.as_directory() => return Ok(Err(ErrorCode::NotDirectory)),
        Meaning::Content(found) => {
            let d = a.with(|mut s| super::content(s.get(), &found));
            return stat_of(a, d).await;
        }
        Meaning::Directory { real: true, .. } => otherwise = true,
        Meaning::Directory { .. } => return stat_of(a, super::empty_dir()).await,
        found => {
            if let Some(r) = refusal(&found, false) {
                return Ok(Err(r.into()));
            }
        }
    }
    match stock!(a.stat_at(fd, flags, path)) {
        Err(ErrorCode::NoEntry) if otherwise => stat_of(a, super::empty_dir()).await,
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
    let mut otherwise = None;
    match meaning(a, &fd, &path, Purpose::Look(follows(flags))).await {
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
        Meaning::Directory { found, real: true } => otherwise = Some(hash(&found.path)),
        Meaning::Directory { found, .. } => return Ok(Ok(hash(&found.path))),
        found => {
            if let Some(r) = refusal(&found, false) {
                return Ok(Err(r.into()));
            }
        }
    }
    match (stock!(a.metadata_hash_at(fd, flags, path)), otherwise) {
        (Err(ErrorCode::NoEntry), Some(hash)) => Ok(Ok(hash)),
        (r, _) => Ok(r),
    }
}
