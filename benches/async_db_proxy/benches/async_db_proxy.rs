// SPDX-License-Identifier: Apache-2.0
//! Queries a second through `warp serve`'s database proxy (US-507), at 1, 10, 50 and 100 clients of HTTP
//! and queries of 0, 5 and 50 ms. `WARPGRID_SIDES` is the sides, `NAME=PORT` with blanks between;
//! async_db_proxy.sh starts them. Each request is one query; an answer other than 200 ends the bench.
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn ask(stream: &mut TcpStream, request: &[u8]) {
    let mut buf = [0; 4096];
    let mut have = 0;
    stream.write_all(request).expect("the server takes a request");
    loop {
        let n = stream.read(&mut buf[have..]).expect("the server answers");
        assert!(n > 0, "the server closed: {:?}", String::from_utf8_lossy(&buf[..have]));
        have += n;
        let text = std::str::from_utf8(&buf[..have]).expect("an answer of text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        let head = head.to_ascii_lowercase();
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
        let complete = match length {
            Some(length) => body.len() >= length.trim().parse().expect("a length"),
            None => body.ends_with("0\r\n\r\n"),
        };
        if complete {
            return;
        }
    }
}

/// The time of `total` requests, over all connections at once.
fn drive(clients: &mut [TcpStream], request: &[u8], total: u64) -> Duration {
    let left = AtomicU64::new(total);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in clients {
            scope.spawn(|| {
                let one = |n: u64| n.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_ok() {
                    ask(client, request);
                }
            });
        }
    });
    began.elapsed()
}

fn main() {
    let sides = std::env::var("WARPGRID_SIDES").unwrap_or_default();
    if sides.is_empty() {
        eprintln!("error: WARPGRID_SIDES is not set\nhint: run benches/async_db_proxy.sh");
        std::process::exit(2);
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .without_plots()
        .configure_from_args();
    for ms in [0, 5, 50] {
        let mut group = criterion.benchmark_group(format!("async_db_proxy_{ms}ms"));
        group.sampling_mode(SamplingMode::Flat);
        for side in sides.split_whitespace() {
            let (name, port) = side.split_once('=').expect("NAME=PORT");
            let port: u16 = port.parse().expect("a port");
            let sql =
                if ms == 0 { "SELECT+1".into() } else { format!("SELECT+pg_sleep({}e-3)", ms) };
            let request = format!("GET /sql?q={sql} HTTP/1.1\r\nHost: bench\r\n\r\n");
            for c in [1, 10, 50, 100] {
                // The serial side is one client, so one instance; few of its queries do, as a hundred of 50 ms take 5 s.
                let serial = name.contains("serial");
                let batch = if serial && ms > 0 { c.min(100 / ms) } else { c };
                group.throughput(Throughput::Elements(batch));
                let connect = |_| TcpStream::connect(("127.0.0.1", port)).expect("a server");
                let mut clients: Vec<_> = (0..if serial { 1 } else { c }).map(connect).collect();
                group.bench_function(BenchmarkId::new(name, c), |bench| {
                    bench.iter_custom(|n| drive(&mut clients, request.as_bytes(), n * batch));
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
}
