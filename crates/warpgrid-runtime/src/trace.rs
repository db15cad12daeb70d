// SPDX-License-Identifier: Apache-2.0
//! What Wasmtime tells of what it does, on stderr, for whoever looks for a fault: WARPGRID_TRACE is a list of `LEVEL` and `TARGET=LEVEL`, with commas between, of which the longest
//! TARGET that begins a record's own counts.

use log::{LevelFilter, Metadata, Record};
use std::sync::OnceLock;
use std::time::Instant;

const VARIABLE: &str = "WARPGRID_TRACE";

struct Trace {
    began: Instant,
    /// The longest first.
    targets: Vec<(String, LevelFilter)>,
}

impl Trace {
    fn of(text: &str) -> Result<Trace, String> {
        let mut targets = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (target, level) = part.rsplit_once('=').unwrap_or(("", part));
            let level = level.parse().map_err(|_| {
                format!(
                    "{VARIABLE}: '{level}' is no level; use [TARGET=]LEVEL, with a level of off, error, \
                     warn, info, debug, trace"
                )
            })?;
            targets.push((target.to_string(), level));
        }
        targets.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        Ok(Trace { began: Instant::now(), targets })
    }

    fn most(&self) -> LevelFilter {
        self.targets.iter().map(|(_, level)| *level).max().unwrap_or(LevelFilter::Off)
    }
}

impl log::Log for Trace {
    fn enabled(&self, of: &Metadata) -> bool {
        let found = self.targets.iter().find(|(target, _)| of.target().starts_with(target));
        found.is_some_and(|(_, level)| of.level() <= *level)
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let (ms, level) = (self.began.elapsed().as_secs_f64() * 1e3, record.level());
            let text = record.args().to_string();
            eprintln!(
                "ms={ms:.3} level={level} event=trace target={} text={text:?}",
                record.target()
            );
        }
    }

    fn flush(&self) {}
}

/// Begins once a process, if the environment asks for it.
pub fn begin() -> Result<(), String> {
    static TRACE: OnceLock<Result<Option<Trace>, String>> = OnceLock::new();
    let trace = TRACE.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => Trace::of(&text).map(Some),
        _ => Ok(None),
    });
    match trace {
        Ok(Some(trace)) => {
            // A second engine finds it in its place.
            if log::set_logger(trace).is_ok() {
                log::set_max_level(trace.most());
            }
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(text) => Err(text.clone()),
    }
}
