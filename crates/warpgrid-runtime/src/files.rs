// SPDX-License-Identifier: Apache-2.0
//! Virtual files as C describes them, and what a path means to a guest that also sees folders of
//! the host.
//!
//! A folder of the host that a guest sees can hold virtual paths (`/` does, `/data` does not). Only
//! below such a folder does anything here happen; of every directory opened there we keep which
//! guest path it stands for, because WASI's paths count from opaque descriptors. A path that is none
//! of ours by its letters is followed to an open directory and a name in it, that name is judged by
//! where it is now, and WASI acts on that name in that directory: nothing that is moved or linked in
//! between changes what was judged.

use crate::abi::{
    Bytes, NODE_AS_DIRECTORY, NODE_BELOW_FILE, NODE_DEVICE, NODE_DIRECTORY, NODE_FILE,
    NODE_MISSING, NODE_OUTSIDE, NODE_WHOLE, NODE_WRITABLE, Node, PATH_MAX,
};
use crate::host::{HostError, Instance, host, with_error};
use crate::shims::code::IO;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsString};
use std::fs::File as OsFile;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use wasmtime_wasi::filesystem::{Dir, File};
use wasmtime_wasi::{FsPerms, OpenMode};

thread_local! {
    static CANONICAL: RefCell<Box<[u8]>> = RefCell::new(vec![0; PATH_MAX + 1].into());
}

/// What C knows of a path.
pub struct Found {
    pub node: Node,
    /// Canonical; empty when the path leads outside of its base.
    pub path: String,
}

impl Found {
    fn is(&self, kind: u32) -> bool {
        self.node.kind == kind
    }

    pub fn is_content(&self) -> bool {
        self.is(NODE_FILE) || self.is(NODE_DEVICE)
    }

    pub fn is_device(&self) -> bool {
        self.is(NODE_DEVICE)
    }

    pub fn is_directory(&self) -> bool {
        self.is(NODE_DIRECTORY)
    }

    pub fn is_virtual(&self) -> bool {
        self.is_content() || self.is(NODE_DIRECTORY) || self.is(NODE_MISSING)
    }

    /// The path says that it is a directory.
    pub fn as_directory(&self) -> bool {
        self.node.flags & NODE_AS_DIRECTORY != 0
    }

    /// A directory of which nothing real is seen.
    pub fn is_whole(&self) -> bool {
        self.node.flags & NODE_WHOLE != 0
    }

    fn is_below_file(&self) -> bool {
        self.node.flags & NODE_BELOW_FILE != 0
    }

    pub fn is_writable(&self) -> bool {
        self.node.flags & NODE_WRITABLE != 0
    }
}

/// `base` empty: the path must be absolute. None: no path at all (see file_find in wgrt.h).
pub fn find(inst: &Instance, base: &str, path: &str) -> Option<Found> {
    let h = host();
    let mut node = Node::default();
    CANONICAL.with_borrow_mut(|buf| {
        let (base, path) = (Bytes::of(base.as_bytes()), Bytes::of(path.as_bytes()));
        let to = buf.as_mut_ptr().cast();
        let r = unsafe { (h.file_find)(h.ctx, inst.ptr(), base, path, &mut node, to) };
        if r < 0 {
            return None;
        }
        let path = CStr::from_bytes_until_nul(buf).unwrap_or_default();
        Some(Found { node, path: path.to_string_lossy().into_owned() })
    })
}

/// Name and kind of each entry of a virtual directory.
pub fn list(inst: &Instance, id: u64) -> Vec<(String, u32)> {
    let h = host();
    let mut entries = Vec::new();
    loop {
        let (mut name, mut node) = (Bytes::EMPTY, Node::default());
        let at = entries.len();
        if unsafe { (h.file_list)(h.ctx, inst.ptr(), id, at, &mut name, &mut node) } != 1 {
            return entries;
        }
        entries.push((unsafe { name.text() }, node.kind));
    }
}

/// Files that an app keeps open for those who open the same path next; the least used one goes.
const KEPT_FILES: usize = 64;

/// A file of the app: which version of its content, and when it was asked for last.
struct Kept {
    version: u64,
    file: File,
    turn: u64,
}

/// The open files of an app's virtual paths: one of each, for all opens of all instances.
#[derive(Default)]
pub struct Cache(Mutex<(u64, HashMap<u64, Kept>)>);

/// The content of a virtual path.
pub struct Content {
    pub file: File,
    /// A file of the host, which may block, and change.
    pub live: bool,
}

impl Cache {
    /// The content of a file or device, readable from any position.
    pub fn open(&self, inst: &Instance, found: &Found) -> Result<Content, HostError> {
        let h = host();
        let id = found.node.id;
        let mut kept = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let (turns, files) = &mut *kept;
        *turns += 1;
        let (mut version, mut fd) = (files.get(&id).map_or(0, |k| k.version), -1);
        with_error(|e| {
            unsafe { (h.file_open)(h.ctx, inst.ptr(), id, &mut version, &mut fd, e) }.into()
        })?;
        if fd < 0 {
            let Some(k) = files.get_mut(&id) else {
                return Err(HostError { code: IO, msg: "no content".into() });
            };
            k.turn = *turns;
            return Ok(Content { file: k.file.clone(), live: false });
        }
        // SAFETY: the fd is ours from here on.
        let file = unsafe { OsFile::from_raw_fd(fd) };
        let (perms, mode) = if found.is_writable() {
            (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE)
        } else {
            (FsPerms::ReadOnly, OpenMode::READ)
        };
        // Memory and devices do not block.
        let live = version == 0;
        let file = File::new(file, perms, mode, !live);
        if !live {
            if files.len() >= KEPT_FILES && !files.contains_key(&id) {
                let oldest = files.iter().min_by_key(|(_, k)| k.turn).map(|(id, _)| *id);
                oldest.map(|id| files.remove(&id));
            }
            files.insert(id, Kept { version, file: file.clone(), turn: *turns });
        }
        Ok(Content { file, live })
    }
}

/// A real directory that is empty for ever, to stand for virtual ones: it was removed already.
pub fn empty_dir() -> std::io::Result<Dir> {
    static EMPTY: OnceLock<Dir> = OnceLock::new();
    if let Some(d) = EMPTY.get() {
        return Ok(d.clone());
    }
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    let own = std::env::temp_dir();
    for parent in [own.as_path(), Path::new("/dev/shm"), Path::new("/run"), Path::new(".")] {
        let name = format!(".warpgrid-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = parent.join(name.replace(['(', ')'], "-"));
        let made = std::fs::create_dir(&path).and_then(|()| {
            let dir = OsFile::open(&path);
            let removed = std::fs::remove_dir(&path);
            dir.and_then(|d| removed.map(|()| d))
        });
        match made {
            Ok(d) => {
                let dir = Dir::new(d, FsPerms::ReadOnly, OpenMode::READ, true);
                return Ok(EMPTY.get_or_init(|| dir).clone());
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Which guest path a directory's descriptor stands for.
pub struct GuestDir {
    pub path: String,
    /// False: nothing of the host is behind it.
    pub real: bool,
}

impl GuestDir {
    /// A preopened folder; None when no virtual path is in it.
    pub fn preopen(inst: &Instance, guest: &str) -> Option<GuestDir> {
        let found = find(inst, "", guest).filter(Found::is_virtual)?;
        Some(GuestDir { path: found.path, real: true })
    }
}

/// Where the kernel says that a descriptor is, now.
fn host_path(dir: &OsFile) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()))
}

fn join(guest: &str, rest: &str) -> String {
    match (guest.trim_end_matches('/'), rest) {
        ("", "") => "/".into(),
        (guest, "") => guest.into(),
        (guest, rest) => format!("{guest}/{rest}"),
    }
}

/// The guest path of a directory below `at`, which stands for `guest`. None: not text, and so no
/// virtual path.
pub fn guest_path(at: &OsFile, guest: &str, dir: &OsFile) -> io::Result<Option<String>> {
    let (root, path) = (host_path(at)?, host_path(dir)?);
    let outside = |_| io::Error::from_raw_os_error(libc::EPERM);
    let rest = path.strip_prefix(&root).map_err(outside)?;
    Ok(rest.to_str().map(|rest| join(guest, rest)))
}

/// Opens a directory below `at` to look from there, without leaving `at` on the way.
fn open_beneath(at: &OsFile, path: &Path) -> io::Result<OsFile> {
    #[repr(C)]
    struct How {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    const NO_MAGICLINKS: u64 = 0x02;
    const BENEATH: u64 = 0x08;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let how =
        How { flags: (flags | libc::O_CLOEXEC) as u64, mode: 0, resolve: BENEATH | NO_MAGICLINKS };
    let text = CString::new(path.as_os_str().as_bytes())?;
    for _ in 0..8 {
        // SAFETY: the arguments live as long as the call.
        let fd = unsafe {
            let size = size_of::<How>();
            libc::syscall(libc::SYS_openat2, at.as_raw_fd(), text.as_ptr(), &how, size)
        };
        if fd >= 0 {
            return Ok(unsafe { OsFile::from_raw_fd(fd as i32) });
        }
        let e = io::Error::last_os_error();
        match e.raw_os_error() {
            // Something was renamed meanwhile.
            Some(libc::EAGAIN) => continue,
            Some(libc::EXDEV) => return Err(io::Error::from_raw_os_error(libc::EPERM)),
            // An old kernel, or a filter of calls. Whoever calls looks where it is, too.
            Some(libc::ENOSYS) => {
                let path = PathBuf::from(format!("/proc/self/fd/{}", at.as_raw_fd())).join(path);
                return std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
            }
            _ => return Err(e),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EPERM))
}

/// A path with all links followed but, perhaps, one at its end: a name in an open directory. What
/// is done to that name in that directory is done to what was looked at.
pub struct Resolved {
    pub dir: OsFile,
    pub name: String,
    /// None: not text, and so no virtual path.
    pub guest: Option<String>,
}

/// Follows a path below `at`, which stands for `guest`. Blocks.
fn resolve(at: &OsFile, guest: &str, path: &str, follow: bool) -> io::Result<Resolved> {
    let slash = if path.ends_with('/') { "/" } else { "" };
    let mut path = PathBuf::from(path);
    // As many links as the kernel follows.
    for _ in 0..40 {
        // None: it ends with "..", or is nothing but dots.
        let name = path.file_name().map(OsString::from);
        let parent = if name.is_some() { path.parent() } else { None };
        let dir = open_beneath(at, parent.unwrap_or(&path))?;
        let (root, here) = (host_path(at)?, host_path(&dir)?);
        let outside = |_| io::Error::from_raw_os_error(libc::EPERM);
        let rest = here.strip_prefix(&root).map_err(outside)?;
        let guest_dir = rest.to_str().map(|rest| join(guest, rest));
        let Some(name) = name else {
            return Ok(Resolved { dir, name: ".".into(), guest: guest_dir });
        };
        if follow || !slash.is_empty() {
            let full = format!("/proc/self/fd/{}", dir.as_raw_fd());
            if let Ok(target) = std::fs::read_link(PathBuf::from(full).join(&name)) {
                if target.is_absolute() {
                    return Err(io::Error::from_raw_os_error(libc::EPERM));
                }
                path = rest.join(target);
                continue;
            }
        }
        let not_text = |_| io::Error::from_raw_os_error(libc::EILSEQ);
        let name = name.into_string().map_err(not_text)?;
        let guest = guest_dir.map(|dir| join(&dir, &name));
        return Ok(Resolved { dir, name: name + slash, guest });
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// What a guest means to do with a path.
#[derive(Clone, Copy, PartialEq)]
pub enum Purpose {
    /// Look at what is there; true: follow a symbolic link at the end.
    Look(bool),
    /// Make, write or take away what is there; true: follow a symbolic link at the end.
    Make(bool),
}

impl Purpose {
    pub fn follow(self) -> bool {
        match self {
            Purpose::Look(follow) | Purpose::Make(follow) => follow,
        }
    }
}

/// What a path means by its letters.
pub enum Meaning {
    /// Nothing of ours, as far as the letters tell: links on its way are to be looked at.
    Real,
    /// A virtual file or device.
    Content(Found),
    /// A virtual directory; `real`: one of the host of that path, if there is one, goes first.
    Directory {
        found: Found,
        real: bool,
    },
    /// Nothing is there, and nothing can be put there.
    Missing {
        below_file: bool,
    },
    /// It leaves its directory.
    Refused,
    /// A NUL byte.
    Invalid,
    TooLong,
}

pub fn meaning(inst: &Instance, dir: &GuestDir, path: &str) -> Meaning {
    if path.is_empty() {
        return Meaning::Missing { below_file: false };
    }
    if path.len() > PATH_MAX {
        return Meaning::TooLong;
    }
    let Some(found) = find(inst, &dir.path, path) else { return Meaning::Invalid };
    match found.node.kind {
        NODE_FILE | NODE_DEVICE => Meaning::Content(found),
        NODE_DIRECTORY => {
            let real = dir.real && !found.is_whole();
            Meaning::Directory { found, real }
        }
        NODE_MISSING => Meaning::Missing { below_file: found.is_below_file() },
        // By its letters only: ".." after a link may well stay inside.
        _ if dir.real => Meaning::Real,
        NODE_OUTSIDE => Meaning::Refused,
        _ => Meaning::Missing { below_file: false },
    }
}

/// Whether something of the host may be seen, or changed, where its links lead.
pub fn is_open_to(inst: &Instance, guest: Option<&str>, purpose: Purpose) -> bool {
    match guest.map(|g| find(inst, "", g)) {
        None => true,
        Some(None) => false,
        Some(Some(found)) if found.is_directory() => {
            matches!(purpose, Purpose::Look(_)) && !found.is_whole()
        }
        Some(Some(found)) => !found.is_virtual(),
    }
}

/// Follows a path on a thread that may block.
pub async fn follow(
    at: Arc<OsFile>,
    guest: String,
    path: String,
    purpose: Purpose,
) -> io::Result<Resolved> {
    // An absolute path would begin elsewhere.
    if path.starts_with('/') {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    let look = move || resolve(&at, &guest, &path, purpose.follow());
    tokio::task::spawn_blocking(look).await.map_err(io::Error::other)?
}

/// Directories of one instance by their resource's number.
#[derive(Default)]
pub struct Dirs(HashMap<u32, GuestDir>);

impl Dirs {
    pub fn get(&self, rep: u32) -> Option<&GuestDir> {
        if self.0.is_empty() { None } else { self.0.get(&rep) }
    }

    pub fn insert(&mut self, rep: u32, dir: GuestDir) {
        self.0.insert(rep, dir);
    }

    /// Numbers are used again: the descriptor's destructor says when.
    pub fn remove(&mut self, rep: u32) {
        if !self.0.is_empty() {
            self.0.remove(&rep);
        }
    }
}

/// Number of a path for `metadata-hash`: equal for equal paths, as an inode would be.
pub fn path_hash(path: &str) -> (u64, u64) {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut h = DefaultHasher::new();
    path.hash(&mut h);
    (h.finish(), !h.finish())
}
