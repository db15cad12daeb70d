// SPDX-License-Identifier: Apache-2.0
//! What both services share.

/// Path and a numeric parameter of `/path?name=N&name=N`.
pub struct Target(pub String);

impl Target {
    pub fn path(&self) -> &str {
        self.0.split('?').next().unwrap_or_default()
    }
    pub fn number(&self, name: &str, standard: u64) -> u64 {
        let query = self.0.split_once('?').map_or("", |(_, query)| query);
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|v| v.parse().ok()).unwrap_or(standard)
    }
}

/// The n-th line of a produced body: its number, padded to `size` bytes with the newline.
pub fn line(n: u64, size: usize) -> Vec<u8> {
    format!("{n:0width$}\n", width = size - 1).into_bytes()
}
