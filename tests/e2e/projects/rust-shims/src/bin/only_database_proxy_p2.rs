// SPDX-License-Identifier: Apache-2.0
fn main() {
    println!("{}", rust_shims::p2::close_connection());
}
