// SPDX-License-Identifier: Apache-2.0
//! Functions of WASI that are answered by the host's own files, names and
//! database sessions, for guests that never
//! heard of us. The exact versions are those that wasmtime-wasi registers; guests of other minor
//! versions resolve to them.

mod files_p2;
mod files_p3;
mod names;
mod tcp_p2;
mod tcp_p3;

use crate::app::State;
use crate::files::{self, Found, GuestDir, Purpose};
use std::io;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::OpenMode;
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemView};

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
    tcp_p2::add(l)?;
    tcp_p3::add(l)?;
    l.allow_shadowing(false);
    Ok(())
}

/// Why a file operation on a virtual path fails: error codes that p2 and p3 share by name.
#[derive(Clone, Copy, Debug, PartialEq)]
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
        } else if self.write || self.truncate || (self.create && !self.directory) {
            Err(Refusal::IsDirectory)
        } else {
            Ok(())
        }
    }
}

/// What a path of a descriptor means, links and all.
enum Meaning {
    /// Nothing virtual is near: WASI answers as it was asked.
    Untouched,
    /// WASI answers, at this place.
    Real(Place),
    /// A virtual file or device.
    Content(Found),
    /// A virtual directory; a real one at that place, if there is one, goes first.
    Directory {
        found: Found,
        real: Option<Place>,
    },
    /// Nothing is there, and nothing can be put there.
    Missing {
        below_file: bool,
    },
    Refused(Refusal),
    /// What the system said on the way there.
    Failed(i32),
}

/// A name in a directory of the host.
struct Place {
    dir: Dir,
    name: String,
    /// The guest path of it, if that is text.
    guest: Option<String>,
    /// Whether a link of that name is to be followed.
    follow: bool,
}

/// A path of a descriptor, before its links are looked at.
enum Question {
    Answered(Meaning),
    Links { inst: Arc<crate::host::Instance>, dir: Dir, guest: String, path: String },
}

impl Question {
    fn ask(s: &State, fd: &Resource<Descriptor>, path: &str, purpose: Purpose) -> Question {
        use files::Meaning as Letters;
        let Some(base) = s.dirs.get(fd.rep()) else {
            return Question::Answered(Meaning::Untouched);
        };
        let Ok(Descriptor::Dir(dir)) = s.table.get(fd) else {
            return Question::Answered(Meaning::Untouched);
        };
        Question::Answered(match files::meaning(&s.inst, base, path) {
            Letters::Real => {
                return Question::Links {
                    inst: s.inst.clone(),
                    dir: dir.clone(),
                    guest: base.path.clone(),
                    path: path.to_string(),
                };
            }
            Letters::Content(found) => Meaning::Content(found),
            Letters::Directory { found, real } => {
                let rest = found.path.strip_prefix(base.path.trim_end_matches('/'));
                let rest = rest.unwrap_or_default().trim_start_matches('/');
                let real = real.then(|| Place {
                    dir: dir.clone(),
                    name: if rest.is_empty() { "." } else { rest }.to_string(),
                    guest: Some(found.path.clone()),
                    follow: purpose.follow(),
                });
                Meaning::Directory { found, real }
            }
            Letters::Missing { below_file } => Meaning::Missing { below_file },
            Letters::Refused => Meaning::Refused(Refusal::NotPermitted),
            Letters::Invalid => Meaning::Refused(Refusal::Invalid),
            Letters::TooLong => Meaning::Refused(Refusal::NameTooLong),
        })
    }

    async fn answer(self, purpose: Purpose) -> Meaning {
        let (inst, mut dir, guest, path) = match self {
            Question::Answered(m) => return m,
            Question::Links { inst, dir, guest, path } => (inst, dir, guest, path),
        };
        match files::follow(dir.dir.clone(), guest, path, purpose).await {
            Ok(r) if files::is_open_to(&inst, r.guest.as_deref(), purpose) => {
                dir.dir = Arc::new(r.dir);
                Meaning::Real(Place { dir, name: r.name, guest: r.guest, follow: false })
            }
            Ok(_) => Meaning::Refused(Refusal::NotPermitted),
            Err(e) => Meaning::Failed(e.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

/// What WASI is asked: the guest's own descriptor and path, or a place that was found.
struct At {
    fd: Resource<Descriptor>,
    path: String,
    /// None: as the guest said.
    follow: Option<bool>,
    ours: bool,
}

impl At {
    fn new(
        s: &mut State,
        fd: Resource<Descriptor>,
        path: String,
        place: Option<Place>,
    ) -> Result<At> {
        Ok(match place {
            None => At { fd, path, follow: None, ours: false },
            Some(p) => {
                let fd = s.table.push(Descriptor::Dir(p.dir))?;
                At { fd, path: p.name, follow: Some(p.follow), ours: true }
            }
        })
    }

    fn fd(&self) -> Resource<Descriptor> {
        Resource::new_borrow(self.fd.rep())
    }

    fn end(self, s: &mut State) -> Result<()> {
        if self.ours {
            s.table.delete(self.fd)?;
        }
        Ok(())
    }
}

/// The system's error, for the error codes of either WASI.
fn os_error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// For operations that change what a path names.
enum Change {
    /// WASI does it: as asked, or at a place.
    Stock(Option<Place>),
    Refused(Refusal),
    Failed(i32),
}

fn change(meaning: Meaning, creates: bool) -> Change {
    Change::Refused(match meaning {
        Meaning::Untouched => return Change::Stock(None),
        Meaning::Real(place) => return Change::Stock(Some(place)),
        Meaning::Failed(errno) => return Change::Failed(errno),
        Meaning::Content(_) | Meaning::Directory { .. } if creates => Refusal::Exist,
        Meaning::Content(_) | Meaning::Directory { .. } => Refusal::ReadOnly,
        Meaning::Missing { below_file } => missing(below_file, creates),
        Meaning::Refused(r) => r,
    })
}

fn missing(below_file: bool, creates: bool) -> Refusal {
    match (below_file, creates) {
        (true, _) => Refusal::NotDirectory,
        (false, true) => Refusal::ReadOnly,
        (false, false) => Refusal::NoEntry,
    }
}

type Opened = std::result::Result<Descriptor, Refusal>;

/// The descriptor of a virtual file or device.
fn content(s: &State, found: &Found) -> Opened {
    let opened = s.files.open(&s.inst, found);
    opened.map(|c| Descriptor::File(c.file)).map_err(|_| Refusal::Io)
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
    s.dirs.insert(fd.rep(), GuestDir { path, real: false });
    Ok(Ok(fd))
}

/// Remembers a directory that was opened at a place, if virtual paths are in it.
fn track(s: &mut State, guest: Option<String>, opened: &Resource<Descriptor>) {
    let Some(path) = guest.map(|g| g.trim_end_matches('/').to_string()) else { return };
    if matches!(s.table.get(opened), Ok(Descriptor::Dir(_)))
        && let Some(found) = files::find(&s.inst, "", &path).filter(|f| f.is_virtual())
    {
        s.dirs.insert(opened.rep(), GuestDir { path: found.path, real: true });
    }
}

/// Whether what was opened for a virtual directory may stand for it: a directory that is no other
/// virtual one. If so it is remembered; if not it is gone.
fn adopt(s: &mut State, parent: u32, found: &Found, opened: &Resource<Descriptor>) -> Result<bool> {
    let is_it = |s: &State| {
        let base = s.dirs.get(parent)?;
        let at = s.table.get(&Resource::<Descriptor>::new_borrow(parent)).ok()?;
        let (Descriptor::Dir(at), Ok(Descriptor::Dir(d))) = (at, s.table.get(opened)) else {
            return None;
        };
        let guest = files::guest_path(&at.dir, &base.path, &d.dir).ok()?;
        let other = guest.filter(|g| *g != found.path);
        let shadowed = other.and_then(|g| files::find(&s.inst, "", &g));
        (!shadowed.is_some_and(|f| f.is_virtual())).then_some(())
    };
    if is_it(s).is_some() {
        s.dirs.insert(opened.rep(), GuestDir { path: found.path.clone(), real: true });
        return Ok(true);
    }
    s.table.delete(Resource::<Descriptor>::new_own(opened.rep()))?;
    Ok(false)
}

/// The folders that the guest begins with: those of the host, and a `/` for virtual paths where
/// there is none.
fn get_directories(s: &mut State) -> Result<Vec<(Resource<Descriptor>, String)>> {
    use wasmtime_wasi::p2::bindings::filesystem::preopens::Host;
    let mut all = Host::get_directories(&mut s.filesystem())?;
    for (fd, guest) in &all {
        if let Some(dir) = GuestDir::preopen(&s.inst, guest) {
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

/// Name and kind of the virtual entries of a directory, and whether real ones are seen beside them.
fn virtual_entries(s: &State, rep: u32) -> (Vec<(String, u32)>, bool) {
    let Some(dir) = s.dirs.get(rep) else { return (Vec::new(), true) };
    match files::find(&s.inst, "", &dir.path) {
        Some(f) if f.is_directory() => (files::list(&s.inst, f.node.id), dir.real && !f.is_whole()),
        _ => (Vec::new(), dir.real),
    }
}

/// `is-same-object` where a directory that only has virtual entries is asked about.
fn is_same(s: &State, a: u32, b: u32) -> Option<bool> {
    match (s.dirs.get(a).filter(|d| !d.real), s.dirs.get(b).filter(|d| !d.real)) {
        (None, None) => None,
        (Some(a), Some(b)) => Some(a.path == b.path),
        _ => Some(false),
    }
}

/// A device that all guests share has times that nobody sets.
fn is_shared_device(s: &State, fd: &Resource<Descriptor>) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let Ok(Descriptor::File(f)) = s.table.get(fd) else { return false };
    f.file.metadata().is_ok_and(|m| m.file_type().is_char_device())
}

/// `metadata-hash` of a directory that only has virtual entries.
fn synthetic_hash(s: &State, rep: u32) -> Option<(u64, u64)> {
    s.dirs.get(rep).filter(|d| !d.real).map(|d| files::path_hash(&d.path))
}
