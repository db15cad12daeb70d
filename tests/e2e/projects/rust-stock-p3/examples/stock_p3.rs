// SPDX-License-Identifier: Apache-2.0
//! Steps out of the arguments.
struct App;
wasip3::cli::command::export!(App);

impl wasip3::exports::cli::run::Guest for App {
    async fn run() -> Result<(), ()> {
        for text in wasip3::cli::environment::get_arguments().iter().skip(1) {
            println!("{}", rust_stock_p3::run(text).await);
        }
        Ok(())
    }
}
