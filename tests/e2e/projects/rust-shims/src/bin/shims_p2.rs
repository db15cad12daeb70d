// SPDX-License-Identifier: Apache-2.0
//! Steps out of the arguments.
fn main() {
    for text in std::env::args().skip(1) {
        println!("{}", rust_shims::p2::run(&text));
    }
}
