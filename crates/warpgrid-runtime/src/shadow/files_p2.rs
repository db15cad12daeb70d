// SPDX-License-Identifier: Apache-2.0
//! `wasi:filesystem@0.2`: path functions see virtual files first.

use super::{Question, Refusal, Wants, refusal, refusals};
use crate::abi::{NODE_DEVICE, NODE_DIRECTORY};
use crate::app::State;
use crate::files::{self, Meaning, Purpose};
use wasmtime::component::{Linker, Resource, ResourceType, WasmStr};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Host,
    HostDescriptor, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};

refusals!(ErrorCode);

type Cx<'a> = StoreContextMut<'a, State>;
type Fd = Resource<Descriptor>;
type Answer<T> = std::result::Result<T, ErrorCode>;

/// WASI's answer as a value.
fn settle<T>(s: &mut State, r: FsResult<T>) -> Result<Answer<T>> {
    match r {
        Ok(v) => Ok(Ok(v)),
        Err(e) => Ok(Err(s.filesystem().convert_error_code(e)?)),
    }
}

/// None: not UTF-8, so no path of WASI at all.
fn text(cx: &Cx<'_>, path: &WasmStr) -> Option<String> {
    path.to_str(cx).ok().map(|p| p.into_owned())
}

fn follows(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

async fn meaning(cx: &mut Cx<'_>, fd: &Fd, path: &str, purpose: Purpose) -> Meaning {
    Question::ask(cx.data(), fd, path).answer(purpose).await
}

/// The entries of a directory that are still to be read.
struct Entries(std::vec::IntoIter<FsResult<DirectoryEntry>>);

/// Shadows an operation that changes what one path names. The body is WASI's own, as `FsResult`.
macro_rules! change {
    ($instance:ident, $name:literal, $purpose:expr, $creates:literal,
     |$s:ident, $fd:ident, $path:ident $(, $arg:ident: $type:ty)*| $stock:expr) => {
        $instance.func_wrap_async(
            concat!("[method]descriptor.", $name),
            |mut cx: Cx<'_>, ($fd, $($arg,)* $path): (Fd, $($type,)* WasmStr)| {
                Box::new(async move {
                    let Some($path) = text(&cx, &$path) else {
                        return Ok((Err(ErrorCode::IllegalByteSequence),));
                    };
                    let found = meaning(&mut cx, &$fd, &$path, $purpose).await;
                    if let Some(r) = refusal(&found, $creates) {
                        return Ok((Err(r.into()),));
                    }
                    let mut $s = cx.data_mut().filesystem();
                    let r = $stock.await;
                    Ok((settle(cx.data_mut(), r)?,))
                })
            },
        )?
    };
}

pub fn add(l: &mut Linker<State>) -> Result<()> {
    l.instance("wasi:filesystem/preopens@0.2.12")?
        .func_wrap("get-directories", |mut cx: Cx<'_>, ()| {
            Ok((super::get_directories(cx.data_mut())?,))
        })?;

    let mut i = l.instance("wasi:filesystem/types@0.2.12")?;
    i.resource("descriptor", ResourceType::host::<Descriptor>(), |mut cx, rep| {
        super::drop_descriptor(cx.data_mut(), rep)
    })?;
    i.func_wrap_async(
        "[method]descriptor.open-at",
        |mut cx: Cx<'_>,
         (fd, at, path, open, flags): (Fd, PathFlags, WasmStr, OpenFlags, DescriptorFlags)| {
            Box::new(async move {
                let Some(path) = text(&cx, &path) else {
                    return Ok((Err(ErrorCode::IllegalByteSequence),));
                };
                Ok((open_at(&mut cx, fd, at, path, open, flags).await?,))
            })
        },
    )?;
    i.func_wrap_async(
        "[method]descriptor.stat-at",
        |mut cx: Cx<'_>, (fd, flags, path): (Fd, PathFlags, WasmStr)| {
            Box::new(async move {
                let Some(path) = text(&cx, &path) else {
                    return Ok((Err(ErrorCode::IllegalByteSequence),));
                };
                Ok((stat_at(&mut cx, fd, flags, path).await?,))
            })
        },
    )?;
    i.func_wrap_async(
        "[method]descriptor.metadata-hash-at",
        |mut cx: Cx<'_>, (fd, flags, path): (Fd, PathFlags, WasmStr)| {
            Box::new(async move {
                let Some(path) = text(&cx, &path) else {
                    return Ok((Err(ErrorCode::IllegalByteSequence),));
                };
                Ok((metadata_hash_at(&mut cx, fd, flags, path).await?,))
            })
        },
    )?;
    i.func_wrap_async("[method]descriptor.metadata-hash", |mut cx: Cx<'_>, (fd,): (Fd,)| {
        Box::new(async move {
            if let Some((lower, upper)) = super::synthetic_hash(cx.data(), fd.rep()) {
                return Ok((Ok(MetadataHashValue { lower, upper }),));
            }
            let r = cx.data_mut().filesystem().metadata_hash(fd).await;
            Ok((settle(cx.data_mut(), r)?,))
        })
    })?;
    i.func_wrap_async(
        "[method]descriptor.readlink-at",
        |mut cx: Cx<'_>, (fd, path): (Fd, WasmStr)| {
            Box::new(async move {
                let Some(path) = text(&cx, &path) else {
                    return Ok((Err(ErrorCode::IllegalByteSequence),));
                };
                let real = match meaning(&mut cx, &fd, &path, Purpose::Look(false)).await {
                    Meaning::Content(_) => return Ok((Err(ErrorCode::Invalid),)),
                    Meaning::Directory { real, .. } => real,
                    found => match refusal(&found, false) {
                        Some(r) => return Ok((Err(r.into()),)),
                        None => true,
                    },
                };
                if !real {
                    return Ok((Err(ErrorCode::Invalid),));
                }
                let r = cx.data_mut().filesystem().readlink_at(fd, path).await;
                Ok((settle(cx.data_mut(), r)?,))
            })
        },
    )?;
    change!(i, "create-directory-at", Purpose::Make(false), true, |s, fd, path| {
        s.create_directory_at(fd, path)
    });
    change!(i, "remove-directory-at", Purpose::Make(false), false, |s, fd, path| {
        s.remove_directory_at(fd, path)
    });
    change!(i, "unlink-file-at", Purpose::Make(false), false, |s, fd, path| {
        s.unlink_file_at(fd, path)
    });
    change!(i, "symlink-at", Purpose::Make(false), true, |s, fd, path, target: String| {
        s.symlink_at(fd, target, path)
    });
    i.func_wrap_async(
        "[method]descriptor.set-times-at",
        |mut cx: Cx<'_>,
         (fd, flags, path, accessed, modified): (
            Fd,
            PathFlags,
            WasmStr,
            NewTimestamp,
            NewTimestamp,
        )| {
            Box::new(async move {
                let Some(path) = text(&cx, &path) else {
                    return Ok((Err(ErrorCode::IllegalByteSequence),));
                };
                let found = meaning(&mut cx, &fd, &path, Purpose::Make(follows(flags))).await;
                if let Some(r) = refusal(&found, false) {
                    return Ok((Err(r.into()),));
                }
                let mut s = cx.data_mut().filesystem();
                let r = s.set_times_at(fd, flags, path, accessed, modified).await;
                Ok((settle(cx.data_mut(), r)?,))
            })
        },
    )?;
    i.func_wrap_async(
        "[method]descriptor.link-at",
        |mut cx: Cx<'_>, (fd, flags, old, to, new): (Fd, PathFlags, WasmStr, Fd, WasmStr)| {
            Box::new(async move {
                let (Some(old), Some(new)) = (text(&cx, &old), text(&cx, &new)) else {
                    return Ok((Err(ErrorCode::IllegalByteSequence),));
                };
                let from = meaning(&mut cx, &fd, &old, Purpose::Make(follows(flags))).await;
                let at = meaning(&mut cx, &to, &new, Purpose::Make(false)).await;
                if let Some(r) = refusal(&from, false).or(refusal(&at, true)) {
                    return Ok((Err(r.into()),));
                }
                let r = cx.data_mut().filesystem().link_at(fd, flags, old, to, new).await;
                Ok((settle(cx.data_mut(), r)?,))
            })
        },
    )?;
    i.func_wrap_async(
        "[method]descriptor.rename-at",
        |mut cx: Cx<'_>, (fd, old, to, new): (Fd, WasmStr, Fd, WasmStr)| {
            Box::new(async move {
                let (Some(old), Some(new)) = (text(&cx, &old), text(&cx, &new)) else {
                    return Ok((Err(ErrorCode::IllegalByteSequence),));
                };
                let from = meaning(&mut cx, &fd, &old, Purpose::Make(false)).await;
                // What is there would be replaced.
                let at = meaning(&mut cx, &to, &new, Purpose::Make(false)).await;
                if let Some(r) = refusal(&from, false).or(refusal(&at, false)) {
                    return Ok((Err(r.into()),));
                }
                let r = cx.data_mut().filesystem().rename_at(fd, old, to, new).await;
                Ok((settle(cx.data_mut(), r)?,))
            })
        },
    )?;

    i.resource("directory-entry-stream", ResourceType::host::<Entries>(), |mut cx, rep| {
        cx.data_mut().table.delete(Resource::<Entries>::new_own(rep))?;
        Ok(())
    })?;
    i.func_wrap_async("[method]descriptor.read-directory", |mut cx: Cx<'_>, (fd,): (Fd,)| {
        Box::new(async move {
            let mine = super::virtual_entries(cx.data(), fd.rep());
            let r = cx.data_mut().filesystem().read_directory(fd).await;
            let real = match settle(cx.data_mut(), r)? {
                Ok(stream) => cx.data_mut().table.delete(stream)?.into_iter(),
                Err(e) => return Ok((Err(e),)),
            };
            let names: Vec<String> = mine.iter().map(|(name, _)| name.clone()).collect();
            let rest: Vec<_> =
                real.filter(|e| !matches!(e, Ok(e) if names.contains(&e.name))).collect();
            let mine = mine.into_iter().map(|(name, kind)| {
                let type_ = match kind {
                    NODE_DIRECTORY => DescriptorType::Directory,
                    NODE_DEVICE => DescriptorType::CharacterDevice,
                    _ => DescriptorType::RegularFile,
                };
                Ok(DirectoryEntry { type_, name })
            });
            let all: Vec<_> = mine.chain(rest).collect();
            Ok((Ok(cx.data_mut().table.push(Entries(all.into_iter()))?),))
        })
    })?;
    i.func_wrap(
        "[method]directory-entry-stream.read-directory-entry",
        |mut cx: Cx<'_>, (stream,): (Resource<Entries>,)| {
            let next = cx.data_mut().table.get_mut(&stream)?.0.next().transpose();
            Ok((settle(cx.data_mut(), next)?,))
        },
    )?;
    Ok(())
}

async fn open_at(
    cx: &mut Cx<'_>,
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
    let parent = fd.rep();
    let mut otherwise = None;
    match meaning(cx, &fd, &path, wants.purpose()).await {
        Meaning::Real => {}
        Meaning::Content(found) => {
            return match super::open_content(cx.data(), &found, wants) {
                Ok(d) => Ok(Ok(cx.data_mut().table.push(d)?)),
                Err(r) => Ok(Err(r.into())),
            };
        }
        Meaning::Directory { found, real } => {
            if let Err(r) = wants.check_directory() {
                return Ok(Err(r.into()));
            }
            if !real {
                let opened = super::open_synthetic(cx.data_mut(), found.path)?;
                return Ok(opened.map_err(Refusal::into));
            }
            otherwise = Some(found.path);
        }
        Meaning::Missing => return Ok(Err(wants.missing().into())),
        refused => {
            return Ok(Err(refusal(&refused, false).unwrap_or(Refusal::NotPermitted).into()));
        }
    }
    let r = cx.data_mut().filesystem().open_at(fd, at, path, open, flags).await;
    match (settle(cx.data_mut(), r)?, otherwise) {
        (Ok(opened), _) => {
            super::track(cx.data_mut(), parent, &opened);
            Ok(Ok(opened))
        }
        (Err(ErrorCode::NoEntry), Some(path)) => {
            Ok(super::open_synthetic(cx.data_mut(), path)?.map_err(Refusal::into))
        }
        (Err(e), _) => Ok(Err(e)),
    }
}

/// Asks WASI about a descriptor that the guest never sees.
async fn stat_of(cx: &mut Cx<'_>, d: Descriptor) -> Result<Answer<DescriptorStat>> {
    let fd = cx.data_mut().table.push(d)?;
    let r = cx.data_mut().filesystem().stat(Resource::new_borrow(fd.rep())).await;
    cx.data_mut().table.delete(fd)?;
    settle(cx.data_mut(), r)
}

async fn stat_at(
    cx: &mut Cx<'_>,
    fd: Fd,
    flags: PathFlags,
    path: String,
) -> Result<Answer<DescriptorStat>> {
    let mut otherwise = false;
    match meaning(cx, &fd, &path, Purpose::Look(follows(flags))).await {
        Meaning::Content(found) if found.as_directory() => return Ok(Err(ErrorCode::NotDirectory)),
        Meaning::Content(found) => {
            return match super::content(cx.data(), &found) {
                Ok(d) => stat_of(cx, d).await,
                Err(r) => Ok(Err(r.into())),
            };
        }
        Meaning::Directory { real: true, .. } => otherwise = true,
        Meaning::Directory { .. } => return stat_synthetic(cx).await,
        found => {
            if let Some(r) = refusal(&found, false) {
                return Ok(Err(r.into()));
            }
        }
    }
    let r = cx.data_mut().filesystem().stat_at(fd, flags, path).await;
    match settle(cx.data_mut(), r)? {
        Err(ErrorCode::NoEntry) if otherwise => stat_synthetic(cx).await,
        r => Ok(r),
    }
}

async fn stat_synthetic(cx: &mut Cx<'_>) -> Result<Answer<DescriptorStat>> {
    match super::empty_dir() {
        Ok(d) => stat_of(cx, d).await,
        Err(r) => Ok(Err(r.into())),
    }
}

async fn metadata_hash_at(
    cx: &mut Cx<'_>,
    fd: Fd,
    flags: PathFlags,
    path: String,
) -> Result<Answer<MetadataHashValue>> {
    let hash = |path: &str| {
        let (lower, upper) = files::path_hash(path);
        MetadataHashValue { lower, upper }
    };
    let mut otherwise = None;
    match meaning(cx, &fd, &path, Purpose::Look(follows(flags))).await {
        Meaning::Content(found) if found.as_directory() => return Ok(Err(ErrorCode::NotDirectory)),
        Meaning::Content(found) => {
            let d = match super::content(cx.data(), &found) {
                Ok(d) => d,
                Err(r) => return Ok(Err(r.into())),
            };
            let fd = cx.data_mut().table.push(d)?;
            let r = cx.data_mut().filesystem().metadata_hash(Resource::new_borrow(fd.rep())).await;
            cx.data_mut().table.delete(fd)?;
            return settle(cx.data_mut(), r);
        }
        Meaning::Directory { found, real: true } => otherwise = Some(hash(&found.path)),
        Meaning::Directory { found, .. } => return Ok(Ok(hash(&found.path))),
        found => {
            if let Some(r) = refusal(&found, false) {
                return Ok(Err(r.into()));
            }
        }
    }
    let r = cx.data_mut().filesystem().metadata_hash_at(fd, flags, path).await;
    match (settle(cx.data_mut(), r)?, otherwise) {
        (Err(ErrorCode::NoEntry), Some(hash)) => Ok(Ok(hash)),
        (r, _) => Ok(r),
    }
}
