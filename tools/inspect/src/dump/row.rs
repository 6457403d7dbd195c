//! One row of a dump, as text or as JSON, from the same fields.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use crate::report::Kind;

/// Longest payload that the text form shows; JSON shows all of it.
const SHOWN_CHARS: usize = 400;

/// Name and value of each field, in the order of the format.
#[derive(Default)]
pub struct Row {
    fields: Vec<(&'static str, Box<RawValue>)>,
}

impl Row {
    /// Adds a field.
    pub fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        let text = serde_json::to_string(&value)
            .unwrap_or_else(|error| format!("{:?}", error.to_string()));
        if let Ok(raw) = RawValue::from_string(text) {
            self.fields.push((name, raw));
        }
        self
    }

    /// Adds a field that is shown in hexadecimal, as checksums are.
    pub fn with_hex(self, name: &'static str, value: u32) -> Self {
        self.with(name, format!("{value:08x}"))
    }

    /// Adds bytes: under `json` as the JSON value they are, else under `text` as the text they are, else under `base64`.
    /// Numbers stay as they were written.
    pub fn with_bytes(mut self, [json, text, base64]: [&'static str; 3], bytes: &[u8]) -> Self {
        let Ok(as_text) = std::str::from_utf8(bytes) else {
            return self.with(base64, STANDARD.encode(bytes));
        };
        // A line break in JSON stands between values, never inside one.
        let line = as_text.replace(['\n', '\r'], " ");
        match serde_json::from_str::<Box<RawValue>>(&line) {
            Ok(raw) if serde_json::from_str::<&RawValue>(as_text).is_ok() => {
                self.fields.push((json, raw));
                self
            }
            _ => self.with(text, as_text),
        }
    }

    /// Adds bytes under `name` when they are text, else under `base64`.
    pub fn with_text(self, name: &'static str, base64: &'static str, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.with(name, text),
            Err(_) => self.with(base64, STANDARD.encode(bytes)),
        }
    }
}

/// Where rows go, and how many more may.
pub struct Out<'a> {
    to: &'a mut dyn Write,
    json: bool,
    left: u64,
    file: PathBuf,
    kind: Kind,
    is_started: bool,
}

impl<'a> Out<'a> {
    pub fn new(to: &'a mut dyn Write, json: bool, max: Option<u64>) -> Self {
        Self {
            to,
            json,
            left: max.unwrap_or(u64::MAX),
            file: PathBuf::new(),
            kind: Kind::Marker,
            is_started: false,
        }
    }

    /// Whether as many rows were printed as were asked for.
    pub fn is_full(&self) -> bool {
        self.left == 0
    }

    /// The rows from here on come from this file.
    pub fn start(&mut self, file: &Path, kind: Kind) {
        self.file = file.to_owned();
        self.kind = kind;
        self.is_started = false;
    }

    /// Prints a row of the structure `what`, unless it is one too many.
    pub fn row(&mut self, what: &str, row: &Row) -> Result<()> {
        if self.is_full() {
            return Ok(());
        }
        self.left -= 1;
        if self.json {
            let mut line = serde_json::Serializer::new(&mut *self.to);
            let mut map = serde::Serializer::serialize_map(&mut line, None)?;
            map.serialize_entry("file", &self.file.to_string_lossy())?;
            map.serialize_entry("is", what)?;
            for (name, value) in &row.fields {
                map.serialize_entry(name, value)?;
            }
            SerializeMap::end(map)?;
            writeln!(self.to)?;
            return Ok(());
        }
        if !self.is_started {
            writeln!(self.to, "== {} ({})", self.file.display(), self.kind)?;
            self.is_started = true;
        }
        write!(self.to, "{what}")?;
        for (name, value) in &row.fields {
            let value = value.get();
            let plain = value
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .filter(|text| !text.is_empty() && !text.contains([' ', '\\', '"', '=']))
                .unwrap_or(value);
            match plain.char_indices().nth(SHOWN_CHARS) {
                Some((cut, _)) => write!(
                    self.to,
                    " {name}={}… ({} bytes)",
                    &plain[..cut],
                    value.len()
                )?,
                None => write!(self.to, " {name}={plain}")?,
            }
        }
        writeln!(self.to)?;
        Ok(())
    }

    /// Prints that a structure can't be shown, and why.
    pub fn error(&mut self, what: &str, error: impl ToString) -> Result<()> {
        self.row(what, &Row::default().with("error", error.to_string()))
    }
}
