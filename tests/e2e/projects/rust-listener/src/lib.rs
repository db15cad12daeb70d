// SPDX-License-Identifier: Apache-2.0
//! A service of wasi:http 0.3 that listens to signals beside its requests: the first one begins a
//! task that goes on after the answer, and prints what it is told. `/work` makes that task take its
//! time over each signal, `/slow` sends its answer in six parts.
use std::cell::RefCell;
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

wit_bindgen::generate!({ inline: r#"
    package warpgrid:shim-async@0.1.0;
    interface signals {
      enum signal-type { terminate, hangup, interrupt }
      on-signal: func(signals: list<signal-type>);
      wait-signal: async func() -> signal-type;
    }
    world listener { import signals; }
"# });
use warpgrid::shim_async::signals::{SignalType, on_signal, wait_signal};

thread_local! {
    static SEEN: RefCell<Option<Vec<SignalType>>> = const { RefCell::new(None) };
}

struct App;
wasip3::http::service::export!(App);

impl wasip3::exports::http::handler::Guest for App {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (works, slow) = (path == "/work", path == "/slow");
        let (mut body, reader) = wit_stream::new();
        let (trailers, trailers_reader) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(Fields::new(), Some(reader), trailers_reader);
        drop(trailers);
        let text = SEEN.with_borrow(|seen| match seen {
            Some(list) => format!("{list:?}\n"),
            None => "begins\n".to_string(),
        });
        if SEEN.with_borrow(Option::is_none) {
            SEEN.set(Some(Vec::new()));
            on_signal(&[SignalType::Terminate, SignalType::Hangup]);
            wasip3::spawn_local(async move {
                loop {
                    let signal = wait_signal().await;
                    println!("told {signal:?}");
                    if works {
                        wait_for(300_000_000).await;
                        println!("done");
                    }
                    SEEN.with_borrow_mut(|s| s.get_or_insert_default().push(signal));
                }
            });
        }
        wasip3::spawn_local(async move {
            let _ = body.write_all(text.into_bytes()).await;
            for i in 0..if slow { 6 } else { 0 } {
                wait_for(200_000_000).await;
                let _ = body.write_all(format!("part {i}\n").into_bytes()).await;
            }
        });
        Ok(response)
    }
}
