// SPDX-License-Identifier: Apache-2.0
//! A program of nothing but the standard library, with some verbs of tests/fixtures/steps/stock.c:
//! read, read-fd, stat, lstat, list, readlink, write, create, unlink, resolve, resolve-many.
#[path = "../../steps.rs"]
mod steps;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use steps::{Step, escape, ok};

fn kind(kind: fs::FileType) -> &'static str {
    match () {
        () if kind.is_file() => "file",
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "link",
        () => "other",
    }
}

fn addresses(name: &str) -> io::Result<Vec<String>> {
    let found = (name, 0).to_socket_addrs()?;
    Ok(found.map(|a| a.ip().to_string()).collect())
}

fn run(s: &Step) -> io::Result<String> {
    let path = s.text(1);
    Ok(match s.verb() {
        "read" => ok([escape(fs::read(path)?)]),
        "read-fd" => {
            let mut bytes = vec![0; s.number(2, 0) as usize];
            let n = File::open(path)?.read(&mut bytes)?;
            ok([escape(&bytes[..n])])
        }
        "stat" => {
            let found = fs::metadata(path)?;
            format!("ok {} {}", kind(found.file_type()), found.len())
        }
        "lstat" => {
            let found = fs::symlink_metadata(path)?;
            format!("ok {} {}", kind(found.file_type()), found.len())
        }
        "list" => {
            let entries = fs::read_dir(path)?.map(|entry| {
                let entry = entry?;
                let name = escape(entry.file_name().to_string_lossy().as_bytes());
                Ok(format!("{name}:{}", kind(entry.file_type()?)))
            });
            let mut names = entries.collect::<io::Result<Vec<_>>>()?;
            names.sort();
            ok(names)
        }
        "readlink" => ok([fs::read_link(path)?.display()]),
        "write" => ok([OpenOptions::new().write(true).open(path)?.write(s.text(2).as_bytes())?]),
        "create" => File::create(path).map(|_| "ok".into())?,
        "unlink" => fs::remove_file(path).map(|()| "ok".into())?,
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
        let line = run(&Step::parse(&text));
        println!("{}", line.unwrap_or_else(|e| format!("error {}", escape(e.to_string()))));
    }
}
