// SPDX-License-Identifier: Apache-2.0
//! A program that calls wasi:filesystem and wasi:sockets of WASI 0.2 itself, past libc, with the verbs
//! of ../rust-stock-p3 and their lines.
#[path = "../../steps.rs"]
mod steps;
use steps::{Step, escape, ok};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::{IpAddress, resolve_addresses};

/// The preopen that a path counts from, and the rest of the path.
fn place(path: &str) -> Result<(Descriptor, String), String> {
    let mut found: Option<(Descriptor, String)> = None;
    let mut longest = 0;
    for (directory, name) in get_directories() {
        let rest = path.strip_prefix(name.trim_end_matches('/'));
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
    format!("error {}", code.name())
}

fn kind(kind: DescriptorType) -> &'static str {
    match kind {
        DescriptorType::RegularFile => "file",
        DescriptorType::Directory => "directory",
        DescriptorType::SymbolicLink => "link",
        DescriptorType::CharacterDevice => "device",
        _ => "other",
    }
}

fn content(file: &Descriptor, max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < max {
        let room = (max - bytes.len() as u64).min(65536);
        let (part, end) = file.read(room, bytes.len() as u64).map_err(why)?;
        bytes.extend_from_slice(&part);
        if end || part.is_empty() {
            break;
        }
    }
    Ok(bytes)
}

fn open(
    base: &Descriptor,
    path: &str,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, String> {
    base.open_at(PathFlags::SYMLINK_FOLLOW, path, how, flags).map_err(why)
}

fn open_to_read(base: &Descriptor, path: &str) -> Result<Descriptor, String> {
    open(base, path, OpenFlags::empty(), DescriptorFlags::READ)
}

fn stat(base: &Descriptor, follow: PathFlags, path: &str) -> Result<String, String> {
    let found = base.stat_at(follow, path).map_err(why)?;
    Ok(format!("ok {} {}", kind(found.type_), found.size))
}

fn addresses(name: &str) -> Result<Vec<String>, String> {
    let failed = |e: wasip2::sockets::network::ErrorCode| format!("error {}", e.name());
    let stream = resolve_addresses(&instance_network(), name).map_err(failed)?;
    let ready = stream.subscribe();
    let mut found = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(None) => return Ok(found),
            Ok(Some(IpAddress::Ipv4((a, b, c, d)))) => {
                found.push(std::net::Ipv4Addr::new(a, b, c, d).to_string());
            }
            Ok(Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h)))) => {
                found.push(std::net::Ipv6Addr::new(a, b, c, d, e, f, g, h).to_string());
            }
            Err(wasip2::sockets::network::ErrorCode::WouldBlock) => ready.block(),
            Err(e) => return Err(failed(e)),
        }
    }
}

fn step(s: &Step) -> Result<String, String> {
    let path = s.text(1);
    let done = |result: Result<(), ErrorCode>| result.map(|()| String::from("ok")).map_err(why);
    let follow = PathFlags::SYMLINK_FOLLOW;
    Ok(match s.verb() {
        "preopens" => ok(get_directories().iter().map(|(_, name)| escape(name))),
        "read" => {
            let (base, rest) = place(path)?;
            ok([escape(content(&open_to_read(&base, &rest)?, s.number(2, 16 << 20))?)])
        }
        "open-at" => ok([escape(content(&open_to_read(&preopen(path)?, s.text(2))?, 16 << 20)?)]),
        "via" => {
            let (base, rest) = place(path)?;
            let folder = open(&base, &rest, OpenFlags::DIRECTORY, DescriptorFlags::READ)?;
            drop(base);
            ok([escape(content(&open_to_read(&folder, s.text(2))?, 16 << 20)?)])
        }
        "stat" | "lstat" => {
            let (base, rest) = place(path)?;
            stat(&base, if s.verb() == "stat" { follow } else { PathFlags::empty() }, &rest)?
        }
        "stat-at" => stat(&preopen(path)?, follow, s.text(2))?,
        "hash" => {
            let (base, rest) = place(path)?;
            let hash = base.metadata_hash_at(follow, &rest).map_err(why)?;
            format!("ok {:016x}{:016x}", hash.upper, hash.lower)
        }
        "list" => {
            let (base, rest) = place(path)?;
            let folder = open(&base, &rest, OpenFlags::DIRECTORY, DescriptorFlags::READ)?;
            let stream = folder.read_directory().map_err(why)?;
            let mut names = Vec::new();
            while let Some(entry) = stream.read_directory_entry().map_err(why)? {
                names.push(format!("{}:{}", escape(&entry.name), kind(entry.type_)));
            }
            names.sort();
            ok(names)
        }
        "readlink" => {
            let (base, rest) = place(path)?;
            ok([escape(base.readlink_at(&rest).map_err(why)?)])
        }
        "write" => {
            let (base, rest) = place(path)?;
            let file = open(&base, &rest, OpenFlags::empty(), DescriptorFlags::WRITE)?;
            ok([file.write(s.text(2).as_bytes(), 0).map_err(why)?])
        }
        "create" => {
            let (base, rest) = place(path)?;
            open(&base, &rest, OpenFlags::CREATE, DescriptorFlags::WRITE)?;
            "ok".into()
        }
        "mkdir" => {
            let (base, rest) = place(path)?;
            done(base.create_directory_at(&rest))?
        }
        "rmdir" => {
            let (base, rest) = place(path)?;
            done(base.remove_directory_at(&rest))?
        }
        "unlink" => {
            let (base, rest) = place(path)?;
            done(base.unlink_file_at(&rest))?
        }
        "utimes" => {
            let (base, rest) = place(path)?;
            done(base.set_times_at(follow, &rest, NewTimestamp::Now, NewTimestamp::Now))?
        }
        "rename" => {
            let ((from, old), (to, new)) = (place(path)?, place(s.text(2))?);
            done(from.rename_at(&old, &to, &new))?
        }
        "link" => {
            let ((from, old), (to, new)) = (place(path)?, place(s.text(2))?);
            done(from.link_at(PathFlags::empty(), &old, &to, &new))?
        }
        "symlink" => {
            let (base, rest) = place(s.text(2))?;
            done(base.symlink_at(path, &rest))?
        }
        "resolve" => ok(addresses(path)?),
        "resolve-many" => {
            let mut first = Vec::new();
            for _ in 0..s.number(2, 1) {
                first.push(addresses(path)?.swap_remove(0));
            }
            ok(first)
        }
        verb => format!("error unknown-verb {verb}"),
    })
}

fn main() {
    for text in std::env::args().skip(1) {
        println!("{}", step(&Step::parse(&text)).unwrap_or_else(|line| line));
    }
}
