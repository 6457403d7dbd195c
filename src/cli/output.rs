//! Output for people and for programs: tables, JSON, sizes, durations, times.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::failure::Failure;
use crate::types::Timestamp;

/// Prints a line on stdout.
///
/// # Errors
/// [`Failure::OutputClosed`] when nobody reads it.
pub fn print(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(|error| Failure::output(&error))
}

/// Prints one line of JSON on stdout.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let line =
        serde_json::to_string(value).map_err(|error| Failure::new("writing JSON", &error))?;
    print(&line)
}

/// A table without lines, so that it can be cut by columns; numbers are on the right.
#[derive(Debug)]
pub struct Columns {
    table: Table,
    is_empty: bool,
}

impl Columns {
    /// A table with these headings; one that begins with `>` is aligned to the right.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(headings.iter().map(|name| name.trim_start_matches('>')));
        for (column, heading) in table.column_iter_mut().zip(headings) {
            column.set_padding((0, 2));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self {
            table,
            is_empty: true,
        }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.is_empty = false;
        self.table.add_row(cells);
    }

    /// Prints the table, or `none` on stderr when it has no rows.
    ///
    /// # Errors
    /// As [`print()`].
    pub fn print(&self, none: &str) -> Result<(), Failure> {
        if self.is_empty {
            eprintln!("{none}");
            return Ok(());
        }
        print(&self.to_text())
    }

    fn to_text(&self) -> String {
        self.table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Lines of a name and a value each.
#[must_use]
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    fields
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}").trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Bytes with a unit: `1.5 MiB`. Below 1 KiB, and where it is exact, all digits are kept.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut whole, mut rest, mut unit) = (bytes, 0, 0);
    for (at, _) in UNITS.iter().enumerate() {
        rest = whole % 1024;
        whole /= 1024;
        unit = at;
        if whole < 1024 {
            break;
        }
    }
    match rest * 10 / 1024 {
        0 => format!("{whole} {}", UNITS[unit]),
        tenth => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

/// Milliseconds as the two largest units: `2 h 5 min`.
#[must_use]
pub fn duration(ms: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("min", 60_000),
        ("s", 1000),
    ];
    if ms < 1000 {
        return format!("{ms} ms");
    }
    let mut parts = Vec::new();
    let mut rest = ms;
    for (name, length) in UNITS {
        let count = rest / length;
        rest %= length;
        if count > 0 || !parts.is_empty() {
            parts.push((count, name));
        }
    }
    let parts: Vec<_> = parts
        .iter()
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    parts.join(" ")
}

/// A time in UTC, RFC 3339.
#[must_use]
pub fn time(time: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(time.0) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{} ms", time.0),
    }
}

/// A number with its thousands apart: `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 record`, `2 records`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let ending = match number {
        1 => "",
        _ if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{} {noun}{ending}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_durations_and_counts_are_short_and_have_units() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (134_217_728, "128 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "record"), "1 record");
        assert_eq!(counted(100, "record"), "100 records");
        assert_eq!(counted(2, "batch"), "2 batches");
        assert_eq!(time(Timestamp(1500)), "1970-01-01T00:00:01.500Z");
    }

    #[test]
    fn a_table_has_no_lines_no_colours_and_no_trailing_space() {
        let mut columns = Columns::new(&["NAME", ">END"]);
        columns.row(["a.long.name".to_owned(), "7".to_owned()]);
        columns.row(["b".to_owned(), "1000".to_owned()]);
        assert_eq!(
            columns.to_text(),
            "NAME          END\na.long.name     7\nb            1000"
        );
        assert_eq!(
            fields(&[("name", "x".to_owned()), ("log end", "7".to_owned())]),
            "name     x\nlog end  7"
        );
    }
}
