// SPDX-License-Identifier: Apache-2.0
//! `wasi:filesystem@0.2`: path functions see virtual files first.

use super::{At, Change, Meaning, Place, Question, Refusal, Wants, os_error, refusals};
use crate::abi::{NODE_DEVICE, NODE_DIRECTORY};
use crate::app::State;
use crate::files::{self, Purpose};
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

/// The guest's own flags, unless a place says whether to follow.
fn flags_at(at: &At, asked: PathFlags) -> PathFlags {
    match at.follow {
        None => asked,
        Some(true) => PathFlags::SYMLINK_FOLLOW,
        Some(false) => PathFlags::empty(),
    }
}

async fn meaning(cx: &mut Cx<'_>, fd: &Fd, path: &str, purpose: Purpose) -> Meaning {
    Question::ask(cx.data(), fd, path, purpose).answer(purpose).await
}

/// Where WASI changes what a path names, or why not.
async fn changing(
    cx: &mut Cx<'_>,
    fd: Fd,
    path: String,
    purpose: Purpose,
    creates: bool,
) -> Result<Answer<At>> {
    let found = meaning(cx, &fd, &path, purpose).await;
    match super::change(found, creates) {
        Change::Stock(place) => Ok(Ok(At::new(cx.data_mut(), fd, path, place)?)),
        Change::Refused(r) => Ok(Err(r.into())),
        Change::Failed(errno) => Ok(Err(os_error(errno).into())),
    }
}

/// The entries of a directory that are still to be read.
struct Entries(std::vec::IntoIter<FsResult<DirectoryEntry>>);

/// Shadows an operation that changes what one path names. The body is WASI's own, as `FsResult`.
macro_rules! change {
    ($instance:ident, $name:literal, $creates:literal,
     |$s:ident, $at:ident, $path:ident $(, $arg:ident: $type:ty)*| $stock:expr) => {
        $instance.func_wrap_async(
            concat!("[method]descriptor.", $name),
            |mut cx: Cx<'_>, (fd, $($arg,)* path): (Fd, $($type,)* WasmStr)| {
                Box::new(async move {
                    let Some(path) = text(&cx, &path) else {
                        return Ok((Err(ErrorCode::IllegalByteSequence),));
                    };
                    let $at = match changing(&mut cx, fd, path, Purpose::Make(false), $creates)
                        .await?
                    {
                        Ok(at) => at,
                        Err(e) => return Ok((Err(e),)),
                    };
                    let $path = $at.path.clone();
                    let mut $s = cx.data_mut().filesystem();
                    let r = $stock.await;
                    $at.end(cx.data_mut())?;
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
                let place = match meaning(&mut cx, &fd, &path, Purpose::Look(false)).await {
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
                let at = At::new(cx.data_mut(), fd, path, place)?;
                let r = cx.data_mut().filesystem().readlink_at(at.fd(), at.path.clone()).await;
                at.end(cx.data_mut())?;
                Ok((settle(cx.data_mut(), r)?,))
            })
        },
    )?;
    change!(i, "create-directory-at", true, |s, at, path| s.create_directory_at(at.fd(), path));
    change!(i, "remove-directory-at", false, |s, at, path| s.remove_directory_at(at.fd(), path));
    change!(i, "unlink-file-at", false, |s, at, path| s.unlink_file_at(at.fd(), path));
    change!(i, "symlink-at", true, |s, at, path, target: String| {
        s.symlink_at(at.fd(), target, path)
    });
    i.func_wrap_async(
        "[method]descriptor.set-times",
        |mut cx: Cx<'_>, (fd, accessed, modified): (Fd, NewTimestamp, NewTimestamp)| {
            Box::new(async move {
                if super::is_shared_device(cx.data(), &fd) {
                    return Ok((Err(ErrorCode::NotPermitted),));
                }
                let r = cx.data_mut().filesystem().set_times(fd, accessed, modified).await;
                Ok((settle(cx.data_mut(), r)?,))
            })
        },
    )?;
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
                let purpose = Purpose::Make(follows(flags));
                let at = match changing(&mut cx, fd, path, purpose, false).await? {
                    Ok(at) => at,
                    Err(e) => return Ok((Err(e),)),
                };
                let (flags, path) = (flags_at(&at, flags), at.path.clone());
                let mut s = cx.data_mut().filesystem();
                let r = s.set_times_at(at.fd(), flags, path, accessed, modified).await;
                at.end(cx.data_mut())?;
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
                let purpose = Purpose::Make(follows(flags));
                let from = match changing(&mut cx, fd, old, purpose, false).await? {
                    Ok(at) => at,
                    Err(e) => return Ok((Err(e),)),
                };
                let at = match changing(&mut cx, to, new, Purpose::Make(false), true).await? {
                    Ok(at) => at,
                    Err(e) => {
                        from.end(cx.data_mut())?;
                        return Ok((Err(e),));
                    }
                };
                let (old, new) = (from.path.clone(), at.path.clone());
                let flags = flags_at(&from, flags);
                let mut s = cx.data_mut().filesystem();
                let r = s.link_at(from.fd(), flags, old, at.fd(), new).await;
                from.end(cx.data_mut())?;
                at.end(cx.data_mut())?;
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
                let purpose = Purpose::Make(false);
                let from = match changing(&mut cx, fd, old, purpose, false).await? {
                    Ok(at) => at,
                    Err(e) => return Ok((Err(e),)),
                };
                // What is there would be replaced.
                let at = match changing(&mut cx, to, new, purpose, false).await? {
                    Ok(at) => at,
                    Err(e) => {
                        from.end(cx.data_mut())?;
                        return Ok((Err(e),));
                    }
                };
                let (old, new) = (from.path.clone(), at.path.clone());
                let mut s = cx.data_mut().filesystem();
                let r = s.rename_at(from.fd(), old, at.fd(), new).await;
                from.end(cx.data_mut())?;
                at.end(cx.data_mut())?;
                Ok((settle(cx.data_mut(), r)?,))
            })
        },
    )?;
    i.func_wrap_async("[method]descriptor.is-same-object", |mut cx: Cx<'_>, (a, b): (Fd, Fd)| {
        Box::new(async move {
            if let Some(same) = super::is_same(cx.data(), a.rep(), b.rep()) {
                return Ok((same,));
            }
            Ok((cx.data_mut().filesystem().is_same_object(a, b).await?,))
        })
    })?;

    i.resource("directory-entry-stream", ResourceType::host::<Entries>(), |mut cx, rep| {
        cx.data_mut().table.delete(Resource::<Entries>::new_own(rep))?;
        Ok(())
    })?;
    i.func_wrap_async("[method]descriptor.read-directory", |mut cx: Cx<'_>, (fd,): (Fd,)| {
        Box::new(async move {
            let (mine, beside) = super::virtual_entries(cx.data(), fd.rep());
            let r = cx.data_mut().filesystem().read_directory(fd).await;
            let real = match settle(cx.data_mut(), r)? {
                Ok(stream) => cx.data_mut().table.delete(stream)?.into_iter(),
                Err(e) => return Ok((Err(e),)),
            };
            let names: Vec<String> = mine.iter().map(|(name, _)| name.clone()).collect();
            let rest: Vec<_> =
                real.filter(|e| beside && !matches!(e, Ok(e) if names.contains(&e.name))).collect();
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
    let (place, directory): (Option<Place>, _) =
        match meaning(cx, &fd, &path, wants.purpose()).await {
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
                if real.is_none() {
                    let opened = super::open_synthetic(cx.data_mut(), found.path)?;
                    return Ok(opened.map_err(Refusal::into));
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
    let to = At::new(cx.data_mut(), fd, path, place)?;
    let (at, path) = (flags_at(&to, at), to.path.clone());
    // A directory is opened as one, so that nothing is made in its place.
    let open = if directory.is_some() { OpenFlags::DIRECTORY } else { open };
    let r = cx.data_mut().filesystem().open_at(to.fd(), at, path, open, flags).await;
    to.end(cx.data_mut())?;
    let r = settle(cx.data_mut(), r)?;
    let Some(found) = directory else {
        if let Ok(opened) = &r {
            super::track(cx.data_mut(), guest, opened);
        }
        return Ok(r);
    };
    match r {
        Ok(opened) if super::adopt(cx.data_mut(), parent, &found, &opened)? => Ok(Ok(opened)),
        Ok(_) | Err(ErrorCode::NoEntry | ErrorCode::NotDirectory) => {
            Ok(super::open_synthetic(cx.data_mut(), found.path)?.map_err(Refusal::into))
        }
        Err(e) => Ok(Err(e)),
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
    let (place, directory) = match meaning(cx, &fd, &path, Purpose::Look(follows(flags))).await {
        Meaning::Content(found) if found.as_directory() => return Ok(Err(ErrorCode::NotDirectory)),
        Meaning::Content(found) => {
            return match super::content(cx.data(), &found) {
                Ok(d) => stat_of(cx, d).await,
                Err(r) => Ok(Err(r.into())),
            };
        }
        Meaning::Directory { real: None, .. } => return stat_synthetic(cx).await,
        Meaning::Directory { real, .. } => (real, true),
        found => match super::change(found, false) {
            Change::Stock(place) => (place, false),
            Change::Refused(r) => return Ok(Err(r.into())),
            Change::Failed(errno) => return Ok(Err(os_error(errno).into())),
        },
    };
    let at = At::new(cx.data_mut(), fd, path, place)?;
    let (flags, path) = (flags_at(&at, flags), at.path.clone());
    let r = cx.data_mut().filesystem().stat_at(at.fd(), flags, path).await;
    at.end(cx.data_mut())?;
    match settle(cx.data_mut(), r)? {
        Err(ErrorCode::NoEntry | ErrorCode::NotDirectory) if directory => stat_synthetic(cx).await,
        Ok(stat) if directory && stat.type_ != DescriptorType::Directory => {
            stat_synthetic(cx).await
        }
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
    let (place, otherwise) = match meaning(cx, &fd, &path, Purpose::Look(follows(flags))).await {
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
        Meaning::Directory { found, real: None } => return Ok(Ok(hash(&found.path))),
        Meaning::Directory { found, real } => (real, Some(hash(&found.path))),
        found => match super::change(found, false) {
            Change::Stock(place) => (place, None),
            Change::Refused(r) => return Ok(Err(r.into())),
            Change::Failed(errno) => return Ok(Err(os_error(errno).into())),
        },
    };
    let at = At::new(cx.data_mut(), fd, path, place)?;
    let (flags, path) = (flags_at(&at, flags), at.path.clone());
    let r = cx.data_mut().filesystem().metadata_hash_at(at.fd(), flags, path).await;
    at.end(cx.data_mut())?;
    match (settle(cx.data_mut(), r)?, otherwise) {
        (Err(ErrorCode::NoEntry | ErrorCode::NotDirectory), Some(hash)) => Ok(Ok(hash)),
        (r, _) => Ok(r),
    }
}
