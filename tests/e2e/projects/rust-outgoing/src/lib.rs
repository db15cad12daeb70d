// SPDX-License-Identifier: Apache-2.0
//! What both services understand of a request's headers. `x-to` is the URL that it is sent on to;
//! `x-next` the URLs, between blanks, that it goes to from there; with `x-loop` it goes to the same one
//! for ever. `x-wait-ms`: the last one answers after so long. `x-pause-ms`: each waits so long (0.3).

/// The headers of the request to `to`, of those that `header` finds.
pub fn onwards(to: &str, header: impl Fn(&str) -> Option<String>) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    if let Some(next) = header("x-next") {
        let (first, rest) = next.split_once(' ').unwrap_or((&next, ""));
        out.push(("x-to", first.to_string()));
        if !rest.is_empty() {
            out.push(("x-next", rest.to_string()));
        }
    } else if header("x-loop").is_some() {
        out.push(("x-to", to.to_string()));
        out.push(("x-loop", "1".to_string()));
    }
    for name in ["x-wait-ms", "x-pause-ms"] {
        out.extend(header(name).map(|ms| (name, ms)));
    }
    out
}
