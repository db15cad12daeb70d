// SPDX-License-Identifier: Apache-2.0
//! PostgreSQL's protocol 3.0, as little as a trusted role needs.

pub fn startup(database: &str, user: &str) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, 0, 3, 0, 0];
    for word in ["user", user, "database", database, ""] {
        out.extend_from_slice(word.as_bytes());
        out.push(0);
    }
    let length = out.len() as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

pub fn query(sql: &str) -> Vec<u8> {
    let mut out = vec![b'Q'];
    out.extend_from_slice(&(sql.len() as u32 + 5).to_be_bytes());
    out.extend_from_slice(sql.as_bytes());
    out.push(0);
    out
}

pub const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// What the server says until it is ready: feed() it.
#[derive(Default)]
pub struct Answer {
    bytes: Vec<u8>,
    at: usize,
    pub ready: bool,
    /// Each row's columns with '|' between.
    pub rows: Vec<String>,
    /// SQLSTATE and message.
    pub error: Option<String>,
}

impl Answer {
    /// Takes what came; true when the answer is complete.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        while let Some(head) = self.bytes.get(self.at..self.at + 5) {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let end = self.at + 1 + length;
            if self.bytes.len() < end {
                break;
            }
            let (tag, body) = (head[0], self.bytes[self.at + 5..end].to_vec());
            self.at = end;
            match tag {
                b'D' => self.rows.push(row(&body)),
                b'E' => self.error = Some(error(&body)),
                b'Z' => self.ready = true,
                _ => {}
            }
        }
        self.ready
    }

    /// The step's line once it is complete, or the connection ended.
    pub fn line(self) -> String {
        match self.error {
            Some(error) => format!("error {}", crate::steps::escape(error)),
            None if !self.ready => "error eof".into(),
            None => crate::steps::ok(self.rows.iter().map(crate::steps::escape)),
        }
    }
}

fn row(body: &[u8]) -> String {
    let mut columns = Vec::new();
    let mut at = 2;
    while at + 4 <= body.len() {
        let length = i32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"));
        at += 4;
        let end = at + length.max(0) as usize;
        columns.push(String::from_utf8_lossy(&body[at..end]).into_owned());
        at = end;
    }
    columns.join("|")
}

fn error(body: &[u8]) -> String {
    let fields = body.split(|b| *b == 0);
    let field = |tag: u8| {
        let found = fields.clone().find(|f| f.first() == Some(&tag));
        String::from_utf8_lossy(found.map_or(&[][..], |f| &f[1..])).into_owned()
    };
    format!("{} {}", field(b'C'), field(b'M'))
}
