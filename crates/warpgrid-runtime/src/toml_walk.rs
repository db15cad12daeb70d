// SPDX-License-Identifier: Apache-2.0
//! TOML's grammar for C: a depth-first walk with positions. What keys mean is C's business.

use crate::abi::{Bytes, Failure, Kind, TomlEvent};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

#[derive(Clone, Copy)]
#[repr(u32)]
enum Type {
    String = 1,
    Int,
    Float,
    Bool,
    Datetime,
    TableBegin,
    TableEnd,
    ArrayBegin,
    ArrayEnd,
}

/// Ends the walk early with what the callback returned.
pub struct Stop(pub i32);

struct Walk<'a> {
    lines: Vec<usize>,
    text: &'a str,
    event: &'a mut dyn FnMut(&TomlEvent) -> i32,
}

impl Walk<'_> {
    /// 1-based line, and column in characters.
    fn place(&self, at: usize) -> (u32, u32) {
        let at = at.min(self.text.len());
        let line = self.lines.partition_point(|&start| start <= at);
        let start = self.lines[line - 1];
        (line as u32, self.text[start..at].chars().count() as u32 + 1)
    }

    fn emit(
        &mut self,
        kind: Type,
        key: Option<&Spanned<std::borrow::Cow<'_, str>>>,
        at: Range<usize>,
        string: &[u8],
        integer: i64,
    ) -> Result<(), Stop> {
        let (value_line, value_column) = self.place(at.start);
        let (line, column) = key.map_or((value_line, value_column), |k| self.place(k.span().start));
        let e = TomlEvent {
            kind: kind as u32,
            line,
            column,
            value_line,
            value_column,
            key: key.map_or(Bytes::EMPTY, |k| Bytes::of(k.get_ref().as_bytes())),
            string: Bytes::of(string),
            integer,
        };
        match (self.event)(&e) {
            0 => Ok(()),
            n => Err(Stop(n)),
        }
    }

    fn table(
        &mut self,
        key: Option<&Spanned<std::borrow::Cow<'_, str>>>,
        at: Range<usize>,
        table: &DeTable<'_>,
    ) -> Result<(), Stop> {
        self.emit(Type::TableBegin, key, at.clone(), &[], 0)?;
        let mut items: Vec<_> = table.iter().collect();
        items.sort_by_key(|(k, _)| k.span().start);
        for (k, v) in items {
            self.value(Some(k), v)?;
        }
        self.emit(Type::TableEnd, key, at, &[], 0)
    }

    fn value(
        &mut self,
        key: Option<&Spanned<std::borrow::Cow<'_, str>>>,
        v: &Spanned<DeValue<'_>>,
    ) -> Result<(), Stop> {
        let at = v.span();
        match v.get_ref() {
            DeValue::String(s) => self.emit(Type::String, key, at, s.as_bytes(), 0),
            DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
                Ok(n) => self.emit(Type::Int, key, at, &[], n),
                // Too large for 64 bits: C sees a float and says what it wanted.
                Err(_) => self.emit(Type::Float, key, at, n.as_str().as_bytes(), 0),
            },
            DeValue::Float(f) => self.emit(Type::Float, key, at, f.as_str().as_bytes(), 0),
            DeValue::Boolean(b) => self.emit(Type::Bool, key, at, &[], *b as i64),
            DeValue::Datetime(d) => self.emit(Type::Datetime, key, at, d.to_string().as_bytes(), 0),
            DeValue::Array(items) => {
                self.emit(Type::ArrayBegin, key, at.clone(), &[], 0)?;
                for item in items.iter() {
                    self.value(None, item)?;
                }
                self.emit(Type::ArrayEnd, key, at, &[], 0)
            }
            DeValue::Table(t) => self.table(key, at, t),
        }
    }
}

/// Calls `event` for each value of the document; see wgrt_toml_walk().
pub fn walk(text: &[u8], event: &mut dyn FnMut(&TomlEvent) -> i32) -> Result<i32, Failure> {
    let lines = |text: &str| -> Vec<usize> {
        std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect()
    };
    let text = match std::str::from_utf8(text) {
        Ok(t) => t,
        Err(e) => {
            let good = std::str::from_utf8(&text[..e.valid_up_to()]).unwrap_or_default();
            let w = Walk { lines: lines(good), text: good, event };
            let (line, column) = w.place(good.len());
            return Err(Failure::new(Kind::Other, format!("{line}:{column}: not UTF-8 text")));
        }
    };
    let mut w = Walk { lines: lines(text), text, event };
    match DeTable::parse(text) {
        Ok(doc) => match w.table(None, doc.span(), doc.get_ref()) {
            Ok(()) => Ok(0),
            Err(Stop(n)) => Ok(n),
        },
        Err(e) => {
            let (line, column) = w.place(e.span().map_or(0, |s| s.start));
            let what = e.message().replace('\n', ", ");
            Err(Failure::new(Kind::Other, format!("{line}:{column}: {what}")))
        }
    }
}
