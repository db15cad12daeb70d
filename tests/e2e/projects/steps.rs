// SPDX-License-Identifier: Apache-2.0
//! Steps as tests/fixtures/steps/steps.h has them: words between single spaces, %XX for a byte; one
//! line for each, which begins with "ok", "none" or "error NAME".

pub struct Step(Vec<Vec<u8>>);

impl Step {
    pub fn parse(text: &str) -> Self {
        Self(text.split(' ').map(unescape).collect())
    }
    pub fn verb(&self) -> &str {
        self.text(0)
    }
    /// A word as text; "" when there is none.
    pub fn text(&self, word: usize) -> &str {
        std::str::from_utf8(self.bytes(word)).expect("a word of UTF-8")
    }
    /// A word as it is.
    pub fn bytes(&self, word: usize) -> &[u8] {
        self.0.get(word).map_or(&[][..], Vec::as_slice)
    }
    pub fn number(&self, word: usize, standard: u64) -> u64 {
        let text = std::str::from_utf8(self.bytes(word));
        text.ok().and_then(|text| text.parse().ok()).unwrap_or(standard)
    }
}

fn unescape(word: &str) -> Vec<u8> {
    let bytes = word.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| word.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

pub fn escape(bytes: impl AsRef<[u8]>) -> String {
    let mut out = String::new();
    for &b in bytes.as_ref() {
        if b > b' ' && b < 127 && b != b'%' {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// "ok", then each item after a space.
pub fn ok<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().fold("ok".into(), |line, item| format!("{line} {item}"))
}
