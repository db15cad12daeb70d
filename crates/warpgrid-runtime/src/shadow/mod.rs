// SPDX-License-Identifier: Apache-2.0
//! Functions of WASI that are answered by the host's own files and names, for guests that never
//! heard of us. The exact versions are those that wasmtime-wasi registers; guests of other minor
//! versions resolve to them.

mod files_p2;
mod files_p3;
mod names;

use crate::app::State;
use crate::files::{self, Found, GuestDir, Meaning, Purpose};
use crate::host::Instance;
use std::fs::File as OsFile;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::OpenMode;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};

/// Shadows what `link` says is on; the originals are linked already.
pub fn add_to_linker(l: &mut Linker<State>, link: u32) -> Result<()> {
    l.allow_shadowing(true);
    if link & crate::shims::LINK_FILESYSTEM != 0 {
        files_p2::add(l)?;
        files_p3::add(l)?;
    }
    if link & crate::shims::LINK_DNS != 0 {
        names::add(l)?;
    }
    l.allow_shadowing(false);
    Ok(())
}

/// Why a file operation on a virtual path fails: error codes that p2 and p3 share by name.
#[derive(Clone, Copy)]
enum Refusal {
    Exist,
    Invalid,
    Io,
    IsDirectory,
    NameTooLong,
    NoEntry,
    NotDirectory,
    NotPermitted,
    ReadOnly,
}

macro_rules! refusals {
    ($code:ty) => {
        impl From<$crate::shadow::Refusal> for $code {
            fn from(r: $crate::shadow::Refusal) -> Self {
                use $crate::shadow::Refusal::*;
                match r {
                    Exist => <$code>::Exist,
                    Invalid => <$code>::Invalid,
                    Io => <$code>::Io,
                    IsDirectory => <$code>::IsDirectory,
                    NameTooLong => <$code>::NameTooLong,
                    NoEntry => <$code>::NoEntry,
                    NotDirectory => <$code>::NotDirectory,
                    NotPermitted => <$code>::NotPermitted,
                    ReadOnly => <$code>::ReadOnly,
                }
            }
        }
    };
}
use refusals;

/// What an open asks for, of `open-flags` and `descriptor-flags`.
#[derive(Clone, Copy)]
struct Wants {
    create: bool,
    directory: bool,
    exclusive: bool,
    truncate: bool,
    write: bool,
    read: bool,
    follow: bool,
}

impl Wants {
    fn purpose(&self) -> Purpose {
        if self.create || self.truncate || self.write {
            Purpose::Make(self.follow)
        } else {
            Purpose::Look(self.follow)
        }
    }

    /// Whether it may open a virtual file or device.
    fn check_content(&self, found: &Found) -> std::result::Result<(), Refusal> {
        if self.directory || found.as_directory() {
            Err(Refusal::NotDirectory)
        } else if self.create && self.exclusive {
            Err(Refusal::Exist)
        } else if (self.write || self.truncate) && !found.is_writable() {
            Err(Refusal::ReadOnly)
        } else {
            Ok(())
        }
    }

    fn check_directory(&self) -> std::result::Result<(), Refusal> {
        if self.create && self.exclusive {
            Err(Refusal::Exist)
        } else if self.write || self.truncate {
            Err(Refusal::IsDirectory)
        } else {
            Ok(())
        }
    }

    fn missing(&self) -> Refusal {
        if self.create { Refusal::ReadOnly } else { Refusal::NoEntry }
    }
}

/// What a path of a descriptor means, or what must be looked at to know.
enum Question {
    Answered(Meaning),
    Links { inst: Arc<Instance>, dir: GuestDir, at: Arc<OsFile>, path: String },
}

impl Question {
    fn ask(s: &State, fd: &Resource<Descriptor>, path: &str) -> Question {
        let Some(dir) = s.dirs.get(fd.rep()) else { return Question::Answered(Meaning::Real) };
        let (meaning, links) = files::meaning(&s.inst, dir, path);
        match s.table.get(fd) {
            Ok(Descriptor::Dir(d)) if links => Question::Links {
                inst: s.inst.clone(),
                dir: dir.clone(),
                at: d.dir.clone(),
                path: path.to_string(),
            },
            _ => Question::Answered(meaning),
        }
    }

    async fn answer(self, purpose: Purpose) -> Meaning {
        let (inst, dir, at, path) = match self {
            Question::Answered(m) => return m,
            Question::Links { inst, dir, at, path } => (inst, dir, at, path),
        };
        let look = move || files::real_path(&dir, &at, &path, purpose);
        let Ok(guest) = tokio::task::spawn_blocking(look).await else { return Meaning::Refused };
        if files::is_open_to(&inst, guest.as_deref()) { Meaning::Real } else { Meaning::Refused }
    }
}

/// For operations that change what a path names: None when it is WASI's business.
fn refusal(meaning: &Meaning, creates: bool) -> Option<Refusal> {
    Some(match meaning {
        Meaning::Real => return None,
        Meaning::Content(_) | Meaning::Directory { .. } if creates => Refusal::Exist,
        Meaning::Content(_) | Meaning::Directory { .. } => Refusal::ReadOnly,
        Meaning::Missing if creates => Refusal::ReadOnly,
        Meaning::Missing => Refusal::NoEntry,
        Meaning::Refused => Refusal::NotPermitted,
        Meaning::Invalid => Refusal::Invalid,
        Meaning::TooLong => Refusal::NameTooLong,
    })
}

type Opened = std::result::Result<Descriptor, Refusal>;

/// The descriptor of a virtual file or device.
fn content(s: &State, found: &Found) -> Opened {
    s.files.open(&s.inst, found).map(Descriptor::File).map_err(|_| Refusal::Io)
}

/// The same, opened as a guest asked.
fn open_content(s: &State, found: &Found, wants: Wants) -> Opened {
    wants.check_content(found)?;
    let mut d = content(s, found)?;
    if let Descriptor::File(f) = &mut d {
        f.open_mode.set(OpenMode::READ, wants.read || !wants.write);
        f.open_mode.set(OpenMode::WRITE, wants.write);
    }
    Ok(d)
}

fn empty_dir() -> Opened {
    files::empty_dir().map(Descriptor::Dir).map_err(|_| Refusal::Io)
}

/// The descriptor of a directory that only has virtual entries.
fn open_synthetic(
    s: &mut State,
    path: String,
) -> Result<std::result::Result<Resource<Descriptor>, Refusal>> {
    let d = match empty_dir() {
        Ok(d) => d,
        Err(r) => return Ok(Err(r)),
    };
    let fd = s.table.push(d)?;
    s.dirs.insert(fd.rep(), GuestDir::synthetic(path));
    Ok(Ok(fd))
}

/// Remembers a real directory that was opened below `parent`, if virtual paths are in it.
fn track(s: &mut State, parent: u32, opened: &Resource<Descriptor>) {
    let Some(parent) = s.dirs.get(parent) else { return };
    let Ok(Descriptor::Dir(d)) = s.table.get(opened) else { return };
    let Some(child) = parent.child(d) else { return };
    if files::find(&s.inst, "", &child.path).is_some_and(|f| f.is_virtual()) {
        s.dirs.insert(opened.rep(), child);
    }
}

/// The folders that the guest begins with: those of the host, and a `/` for virtual paths where
/// there is none.
fn get_directories(s: &mut State) -> Result<Vec<(Resource<Descriptor>, String)>> {
    use wasmtime_wasi::p2::bindings::filesystem::preopens::Host;
    let mut all = Host::get_directories(&mut s.filesystem())?;
    for (fd, guest) in &all {
        let Ok(Descriptor::Dir(d)) = s.table.get(fd) else { continue };
        if let Some(dir) = GuestDir::preopen(&s.inst, d, guest) {
            s.dirs.insert(fd.rep(), dir);
        }
    }
    let has_root = all.iter().any(|(_, guest)| guest.chars().all(|c| c == '/'));
    if !has_root && let Ok(fd) = open_synthetic(s, "/".into())? {
        all.push((fd, "/".into()));
    }
    Ok(all)
}

fn drop_descriptor(s: &mut State, rep: u32) -> Result<()> {
    s.dirs.remove(rep);
    s.table.delete(Resource::<Descriptor>::new_own(rep))?;
    Ok(())
}

/// Name and kind of the virtual entries of a directory.
fn virtual_entries(s: &State, rep: u32) -> Vec<(String, u32)> {
    let Some(dir) = s.dirs.get(rep) else { return Vec::new() };
    match files::find(&s.inst, &dir.path, ".") {
        Some(found) if found.is_directory() => files::list(&s.inst, found.node.id),
        _ => Vec::new(),
    }
}

/// `metadata-hash` of a directory that only has virtual entries.
fn synthetic_hash(s: &State, rep: u32) -> Option<(u64, u64)> {
    s.dirs.get(rep).filter(|d| d.is_synthetic()).map(|d| files::path_hash(&d.path))
}
