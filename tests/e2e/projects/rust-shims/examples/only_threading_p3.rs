// SPDX-License-Identifier: Apache-2.0
struct App;
wasip3::cli::command::export!(App);

impl wasip3::exports::cli::run::Guest for App {
    async fn run() -> Result<(), ()> {
        println!("{}", rust_shims::p2::declare("cooperative"));
        Ok(())
    }
}
