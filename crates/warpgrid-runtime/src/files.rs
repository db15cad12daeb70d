// SPDX-License-Identifier: Apache-2.0
//! Virtual files as C describes them, and what a path means to a guest that also sees folders of
//! the host.
//!
//! A folder of the host that a guest sees can hold virtual paths (`/` does, `/data` does not). Only
//! below such a folder does anything here happen; of every directory opened there we keep which
//! guest path it stands for, because WASI's paths count from opaque descriptors.

use crate::abi::{
    Bytes, NODE_AS_DIRECTORY, NODE_DEVICE, NODE_DIRECTORY, NODE_FILE, NODE_MISSING, NODE_OUTSIDE,
    NODE_WHOLE, NODE_WRITABLE, Node, PATH_MAX,
};
use crate::host::{HostError, Instance, host, with_error};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File as OsFile;
use std::os::fd::{AsRawFd, FromRawFd};
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

/// The open files of an app's virtual paths: one of each, for all opens of all instances.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<u64, (u64, File)>>);

impl Cache {
    /// The content of a file or device, readable from any position.
    pub fn open(&self, inst: &Instance, found: &Found) -> Result<File, HostError> {
        let h = host();
        let id = found.node.id;
        let mut files = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let known = files.get(&id);
        let (mut version, mut fd) = (known.map_or(0, |k| k.0), -1);
        with_error(|e| {
            unsafe { (h.file_open)(h.ctx, inst.ptr(), id, &mut version, &mut fd, e) }.into()
        })?;
        if fd < 0 {
            let msg = || "no content".to_string();
            return known.map(|k| k.1.clone()).ok_or_else(|| HostError { code: -3, msg: msg() });
        }
        // SAFETY: the fd is ours from here on.
        let file = unsafe { OsFile::from_raw_fd(fd) };
        let (perms, mode) = if found.is_writable() {
            (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE)
        } else {
            (FsPerms::ReadOnly, OpenMode::READ)
        };
        // Memory and devices do not block.
        let file = File::new(file, perms, mode, true);
        if version != 0 {
            files.insert(id, (version, file.clone()));
        }
        Ok(file)
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

/// A folder of the host that holds virtual paths.
pub struct Root {
    host: PathBuf,
    guest: String,
}

/// Which guest path a directory's descriptor stands for.
#[derive(Clone)]
pub struct GuestDir {
    pub path: String,
    /// None: nothing of the host is behind it.
    root: Option<Arc<Root>>,
}

impl GuestDir {
    pub fn synthetic(path: String) -> GuestDir {
        GuestDir { path, root: None }
    }

    /// A preopened folder; None when no virtual path is in it.
    pub fn preopen(inst: &Instance, dir: &Dir, guest: &str) -> Option<GuestDir> {
        let found = find(inst, "", guest).filter(Found::is_virtual)?;
        let host = host_path(&dir.dir)?;
        let root = Arc::new(Root { host, guest: found.path.clone() });
        Some(GuestDir { path: found.path, root: Some(root) })
    }

    /// A directory that was opened below this one, by whatever way.
    pub fn child(&self, dir: &Dir) -> Option<GuestDir> {
        let root = self.root.as_ref()?;
        let path = root.guest_path(&host_path(&dir.dir)?)?;
        Some(GuestDir { path, root: Some(root.clone()) })
    }

    pub fn is_synthetic(&self) -> bool {
        self.root.is_none()
    }
}

impl Root {
    /// None: not below this root, or not text, and so no virtual path.
    fn guest_path(&self, host: &Path) -> Option<String> {
        let rest = host.strip_prefix(&self.host).ok()?.to_str()?;
        let guest = self.guest.trim_end_matches('/');
        Some(if rest.is_empty() { self.guest.clone() } else { format!("{guest}/{rest}") })
    }
}

fn host_path(dir: &OsFile) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).ok()
}

/// What a guest means to do with a path.
#[derive(Clone, Copy, PartialEq)]
pub enum Purpose {
    /// Look at what is there; true: follow a symbolic link at the end.
    Look(bool),
    /// Make or write what is there; true: follow a symbolic link at the end.
    Make(bool),
}

/// What a path means.
pub enum Meaning {
    /// Nothing of ours: WASI answers.
    Real,
    /// A virtual file or device.
    Content(Found),
    /// A virtual directory; a real one of that path, if there can be one, goes first.
    Directory {
        found: Found,
        real: bool,
    },
    /// Nothing is there, and nothing can be put there.
    Missing,
    /// It gets at a shadowed file of the host by another name, or leaves its directory.
    Refused,
    /// A NUL byte.
    Invalid,
    TooLong,
}

/// What a path means by its text, and whether links on its way must be looked at (`check_links`).
pub fn meaning(inst: &Instance, dir: &GuestDir, path: &str) -> (Meaning, bool) {
    if path.len() > PATH_MAX {
        return (Meaning::TooLong, false);
    }
    let Some(found) = find(inst, &dir.path, path) else { return (Meaning::Invalid, false) };
    let real = !dir.is_synthetic();
    let meaning = match found.node.kind {
        NODE_FILE | NODE_DEVICE => Meaning::Content(found),
        NODE_DIRECTORY => {
            let real = real && found.node.flags & NODE_WHOLE == 0;
            Meaning::Directory { found, real }
        }
        NODE_MISSING => Meaning::Missing,
        // By its letters only: ".." after a link may well stay inside.
        NODE_OUTSIDE if real => return (Meaning::Real, true),
        NODE_OUTSIDE => Meaning::Refused,
        _ if real => return (Meaning::Real, true),
        _ => Meaning::Missing,
    };
    (meaning, false)
}

/// The guest path of what a path of the host really names, links followed; None when it is not
/// there, or not in the root. Blocks.
pub fn real_path(dir: &GuestDir, at: &OsFile, path: &str, purpose: Purpose) -> Option<String> {
    let root = dir.root.as_ref()?;
    let full = PathBuf::from(format!("/proc/self/fd/{}", at.as_raw_fd())).join(path);
    let (Purpose::Look(follow) | Purpose::Make(follow)) = purpose;
    if follow {
        match std::fs::canonicalize(&full) {
            Ok(p) => return root.guest_path(&p),
            // What is to be made is not there yet. A link that leads to nothing is judged by its
            // target.
            Err(_) if matches!(purpose, Purpose::Make(_)) => {
                if let Ok(target) = std::fs::read_link(&full) {
                    let full = full.parent()?.join(target);
                    let parent = std::fs::canonicalize(full.parent()?).ok()?;
                    return root.guest_path(&parent.join(full.file_name()?));
                }
            }
            Err(_) => return None,
        }
    }
    let parent = std::fs::canonicalize(full.parent()?).ok()?;
    root.guest_path(&parent.join(full.file_name()?))
}

/// False when a real path of the host is shadowed by a virtual one.
pub fn is_open_to(inst: &Instance, guest: Option<&str>) -> bool {
    match guest.map(|g| find(inst, "", g)) {
        None => true,
        Some(None) => false,
        Some(Some(found)) => found.is_directory() || !found.is_virtual(),
    }
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
