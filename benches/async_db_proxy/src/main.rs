// SPDX-License-Identifier: Apache-2.0
//! A mock of PostgreSQL's server, `async_db_proxy PORT`: takes any login, and answers each simple query
//! with one row of one empty column after the time that its `pg_sleep(SECONDS)` says, else at once.
//! A thread a connection.
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
/// Longer messages than this are none of a bench.
const MESSAGE_MAX: usize = 1 << 16;

/// Appends a message: its type, its length, which counts itself, and its body.
fn message(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend(body);
}

/// The body of the message whose length comes next.
fn body(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if !(4..=MESSAGE_MAX).contains(&length) {
        return Err(Error::new(ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// The seconds of the first `pg_sleep(SECONDS)`; none: zero.
fn latency(sql: &str) -> Duration {
    let seconds = sql.split_once("pg_sleep(").and_then(|(_, rest)| rest.split_once(')'));
    let seconds = seconds.and_then(|(seconds, _)| seconds.trim().parse().ok());
    Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default()
}

fn answer(out: &mut Vec<u8>, sql: &str) {
    let verb = sql.split_whitespace().next().unwrap_or("").to_uppercase();
    if verb == "SELECT" {
        // One column: name, table, column, type text, its size, modifier, format.
        message(out, b'T', b"\0\x01v\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
        message(out, b'D', b"\0\x01\0\0\0\0");
        message(out, b'C', b"SELECT 1\0");
    } else {
        message(out, b'C', format!("{verb}\0").as_bytes());
    }
    message(out, b'Z', b"I");
}

fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let startup = body(&mut stream)?;
        let code = startup.get(..4).map_or(0, |b| u32::from_be_bytes(b.try_into().unwrap()));
        if code != SSL_REQUEST && code != GSS_REQUEST {
            break;
        }
        stream.write_all(b"N")?;
    }
    let mut out = Vec::new();
    message(&mut out, b'R', &[0; 4]);
    for parameter in ["server_version\x0015.0\0", "client_encoding\0UTF8\0"] {
        message(&mut out, b'S', parameter.as_bytes());
    }
    message(&mut out, b'K', &[0; 8]);
    message(&mut out, b'Z', b"I");
    loop {
        stream.write_all(&out)?;
        out.clear();
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        let body = body(&mut stream)?;
        match kind[0] {
            b'Q' => {
                let sql = String::from_utf8_lossy(&body);
                let sql = sql.trim_end_matches('\0');
                std::thread::sleep(latency(sql));
                answer(&mut out, sql);
            }
            b'X' => return Ok(()),
            other => {
                let text =
                    format!("SERROR\0C0A000\0Mthe mock has no message '{}'\0\0", other as char);
                message(&mut out, b'E', text.as_bytes());
                message(&mut out, b'Z', b"I");
            }
        }
    }
}

fn main() -> Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let Some(port) = port else {
        eprintln!("error: no port\nhint: async_db_proxy PORT");
        std::process::exit(2);
    };
    for stream in TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.incoming() {
        let stream = stream?;
        std::thread::spawn(move || drop(serve(stream)));
    }
    Ok(())
}
