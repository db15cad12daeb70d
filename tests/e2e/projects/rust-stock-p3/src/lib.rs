// SPDX-License-Identifier: Apache-2.0
//! A program that calls wasi:filesystem and wasi:sockets of WASI 0.3 itself and knows nothing of
//! WarpGrid. Paths are absolute, and count from the preopen with the longest name that they begin
//! with, unless a verb names the preopen.
//!
//! ```text
//! preopens                    ok NAME...
//! read PATH [MAX]             ok CONTENT
//! stat PATH | lstat PATH      ok TYPE SIZE
//! hash PATH                   ok HASH
//! list PATH                   ok NAME:TYPE... in order of names
//! readlink PATH               ok TARGET
//! write PATH TEXT             ok
//! create PATH | mkdir PATH | rmdir PATH | unlink PATH | utimes PATH       ok
//! rename PATH PATH | link PATH PATH | symlink TARGET PATH                 ok
//! open-at PREOPEN PATH        ok CONTENT: PATH as it is
//! stat-at PREOPEN PATH        ok TYPE SIZE
//! via FOLDER PATH             ok CONTENT: PATH as it is, below an opened folder
//! open-many PATH COUNT        ok BYTES: opens it so often, keeps all of them open, reads each
//! resolve NAME                ok ADDRESS...
//! resolve-many NAME COUNT     ok ADDRESS...: the first of each answer
//! ```
#[path = "../../steps.rs"]
mod steps;
use steps::{Step, escape, ok};
use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, NewTimestamp,
    OpenFlags, PathFlags,
};
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::IpAddress;
use wasip3::wit_stream;

/// The preopen that a path counts from, and the rest of the path.
fn place(path: &str) -> Result<(Descriptor, String), String> {
    let mut found: Option<(Descriptor, String)> = None;
    let mut longest = 0;
    for (directory, name) in get_directories() {
        let prefix = name.trim_end_matches('/');
        let rest = path.strip_prefix(prefix);
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'))
            && name.len() > longest
        {
            longest = name.len();
            let rest = rest.strip_prefix('/').unwrap_or(rest);
            found = Some((directory, if rest.is_empty() { ".".into() } else { rest.into() }));
        }
    }
    found.ok_or_else(|| "error no-preopen".into())
}

fn preopen(name: &str) -> Result<Descriptor, String> {
    let found = get_directories().into_iter().find(|(_, n)| n == name);
    found.map(|(d, _)| d).ok_or_else(|| "error no-preopen".into())
}

fn why(code: ErrorCode) -> String {
    format!("error {}", escape(format!("{code:?}").replace("ErrorCode::", "")))
}

fn kind(kind: &DescriptorType) -> &'static str {
    match kind {
        DescriptorType::RegularFile => "file",
        DescriptorType::Directory => "directory",
        DescriptorType::SymbolicLink => "link",
        DescriptorType::CharacterDevice => "device",
        _ => "other",
    }
}

fn stat_line(found: &DescriptorStat) -> String {
    format!("ok {} {}", kind(&found.type_), found.size)
}

async fn content(file: &Descriptor, max: usize) -> Result<Vec<u8>, String> {
    let (mut stream, end) = file.read_via_stream(0);
    let mut bytes = Vec::new();
    while bytes.len() < max {
        let room = (max - bytes.len()).min(65536);
        let (status, got) = stream.read(Vec::with_capacity(room)).await;
        bytes.extend_from_slice(&got);
        if !matches!(status, wasip3::wit_bindgen::StreamResult::Complete(_)) {
            drop(stream);
            return end.await.map(|()| bytes).map_err(why);
        }
    }
    Ok(bytes)
}

async fn open(
    base: &Descriptor,
    path: &str,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, String> {
    base.open_at(PathFlags::SYMLINK_FOLLOW, path.into(), how, flags).await.map_err(why)
}

async fn open_to_read(base: &Descriptor, path: &str) -> Result<Descriptor, String> {
    open(base, path, OpenFlags::empty(), DescriptorFlags::READ).await
}

async fn names(directory: &Descriptor) -> Result<String, String> {
    let (stream, end) = directory.read_directory();
    let entries = stream.collect().await;
    end.await.map_err(why)?;
    let mut names: Vec<_> =
        entries.iter().map(|e| format!("{}:{}", escape(&e.name), kind(&e.type_))).collect();
    names.sort();
    Ok(ok(names))
}

async fn write(path: &str, text: &str) -> Result<String, String> {
    let (base, rest) = place(path)?;
    let file = open(&base, &rest, OpenFlags::empty(), DescriptorFlags::WRITE).await?;
    let (mut stream, reader) = wit_stream::new();
    let end = file.write_via_stream(reader, 0);
    let left = stream.write_all(text.as_bytes().to_vec()).await;
    drop(stream);
    end.await.map_err(why)?;
    Ok(if left.is_empty() { "ok".into() } else { format!("error {} left", left.len()) })
}

async fn addresses(name: &str) -> Result<Vec<String>, String> {
    let found = resolve_addresses(name.into()).await;
    let found = found.map_err(|e| format!("error {}", escape(format!("{e:?}"))))?;
    let text = found.iter().map(|address| match *address {
        IpAddress::Ipv4((a, b, c, d)) => std::net::Ipv4Addr::new(a, b, c, d).to_string(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => {
            std::net::Ipv6Addr::new(a, b, c, d, e, f, g, h).to_string()
        }
    });
    Ok(text.collect())
}

async fn step(s: &Step) -> Result<String, String> {
    let path = s.text(1);
    let done = |result: Result<(), ErrorCode>| result.map(|()| String::from("ok")).map_err(why);
    Ok(match s.verb() {
        "preopens" => ok(get_directories().iter().map(|(_, name)| escape(name))),
        "read" => {
            let (base, rest) = place(path)?;
            let file = open_to_read(&base, &rest).await?;
            ok([escape(content(&file, s.number(2, 16 << 20) as usize).await?)])
        }
        "open-at" => {
            let file = open_to_read(&preopen(path)?, s.text(2)).await?;
            ok([escape(content(&file, 16 << 20).await?)])
        }
        "via" => {
            let (base, rest) = place(path)?;
            let folder = open(&base, &rest, OpenFlags::DIRECTORY, DescriptorFlags::READ).await?;
            drop(base);
            let file = open_to_read(&folder, s.text(2)).await?;
            ok([escape(content(&file, 16 << 20).await?)])
        }
        "stat" | "lstat" => {
            let follow =
                if s.verb() == "stat" { PathFlags::SYMLINK_FOLLOW } else { PathFlags::empty() };
            let (base, rest) = place(path)?;
            stat_line(&base.stat_at(follow, rest).await.map_err(why)?)
        }
        "stat-at" => {
            let found = preopen(path)?.stat_at(PathFlags::SYMLINK_FOLLOW, s.text(2).into()).await;
            stat_line(&found.map_err(why)?)
        }
        "hash" => {
            let (base, rest) = place(path)?;
            let hash = base.metadata_hash_at(PathFlags::SYMLINK_FOLLOW, rest).await.map_err(why)?;
            format!("ok {:016x}{:016x}", hash.upper, hash.lower)
        }
        "list" => {
            let (base, rest) = place(path)?;
            names(&open(&base, &rest, OpenFlags::DIRECTORY, DescriptorFlags::READ).await?).await?
        }
        "readlink" => {
            let (base, rest) = place(path)?;
            ok([escape(base.readlink_at(rest).await.map_err(why)?)])
        }
        "write" => write(path, s.text(2)).await?,
        "create" => {
            let (base, rest) = place(path)?;
            open(&base, &rest, OpenFlags::CREATE, DescriptorFlags::WRITE).await?;
            "ok".into()
        }
        "mkdir" => {
            let (base, rest) = place(path)?;
            done(base.create_directory_at(rest).await)?
        }
        "rmdir" => {
            let (base, rest) = place(path)?;
            done(base.remove_directory_at(rest).await)?
        }
        "unlink" => {
            let (base, rest) = place(path)?;
            done(base.unlink_file_at(rest).await)?
        }
        "utimes" => {
            let (base, rest) = place(path)?;
            let now = NewTimestamp::Now;
            done(base.set_times_at(PathFlags::SYMLINK_FOLLOW, rest, now, NewTimestamp::Now).await)?
        }
        "rename" => {
            let ((from, old), (to, new)) = (place(path)?, place(s.text(2))?);
            done(from.rename_at(old, &to, new).await)?
        }
        "link" => {
            let ((from, old), (to, new)) = (place(path)?, place(s.text(2))?);
            done(from.link_at(PathFlags::empty(), old, &to, new).await)?
        }
        "symlink" => {
            let (base, rest) = place(s.text(2))?;
            done(base.symlink_at(path.into(), rest).await)?
        }
        "open-many" => {
            let (base, rest) = place(path)?;
            let mut files = Vec::new();
            let mut bytes = 0;
            for _ in 0..s.number(2, 1) {
                let file = open_to_read(&base, &rest).await?;
                bytes += content(&file, 65536).await?.len();
                files.push(file);
            }
            ok([bytes])
        }
        "resolve" => ok(addresses(path).await?),
        "resolve-many" => {
            let mut first = Vec::new();
            for _ in 0..s.number(2, 1) {
                first.push(addresses(path).await?.swap_remove(0));
            }
            ok(first)
        }
        verb => format!("error unknown-verb {verb}"),
    })
}

/// Does one step; its line.
pub async fn run(text: &str) -> String {
    step(&Step::parse(text)).await.unwrap_or_else(|line| line)
}
