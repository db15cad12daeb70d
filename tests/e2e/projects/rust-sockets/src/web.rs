// SPDX-License-Identifier: Apache-2.0
//! Paths of requests.

/// A path and its parameters.
pub struct Target {
    pub path: String,
    parameters: Vec<(String, String)>,
}

fn decode(text: &str) -> String {
    let words = crate::steps::Step::parse(&text.replace('+', "%20"));
    words.text(0).into()
}

impl Target {
    pub fn parse(target: &str) -> Self {
        let (path, rest) = target.split_once('?').unwrap_or((target, ""));
        let pairs = rest.split('&').filter_map(|pair| pair.split_once('='));
        Self {
            path: path.into(),
            parameters: pairs.map(|(name, value)| (decode(name), decode(value))).collect(),
        }
    }
    /// A parameter; "" when it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.parameters.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
    /// All of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.parameters.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }
    pub fn number(&self, name: &str, standard: u64) -> u64 {
        self.text(name).parse().unwrap_or(standard)
    }
}

/// Status and body: rows as lines, or "SQLSTATE message".
pub fn answer(result: Result<Vec<String>, String>) -> (u16, String) {
    match result {
        Ok(rows) => (200, rows.into_iter().map(|row| row + "\n").collect()),
        Err(why) if ["08", "53", "57", "io"].iter().any(|class| why.starts_with(class)) => {
            (503, why)
        }
        Err(why) => (400, why),
    }
}
