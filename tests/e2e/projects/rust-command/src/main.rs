// SPDX-License-Identifier: Apache-2.0
//! A command of nothing but the standard library.
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    println!("rust says {}", words.join(" "));
    if words.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
