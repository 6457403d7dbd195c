//! What `verify` found: for each file the ranges it checked and the damage in them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// More notes than these are only counted: a long list hides what matters.
const SHOWN_NOTES: usize = 20;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The file that makes a directory a data directory.
    Marker,
    /// The key that API keys are hashed under.
    Secret,
    /// What a topic folds to; a cache.
    Snapshot,
    /// What is known to be synced.
    RecoveryPoint,
    /// The state of every log at one moment, or a copy of it.
    Checkpoint,
    /// One file of the journal.
    Journal,
    /// One file of a log.
    Segment,
    /// Where a segment's offsets are.
    OffsetIndex,
    /// When a segment's offsets were appended.
    TimeIndex,
    /// Batches that were taken out of a log, end to end.
    Batches,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Marker => "marker",
            Self::Secret => "secret file",
            Self::Snapshot => "snapshot",
            Self::RecoveryPoint => "recovery point",
            Self::Checkpoint => "checkpoint",
            Self::Journal => "journal",
            Self::Segment => "segment",
            Self::OffsetIndex => "offset index",
            Self::TimeIndex => "time index",
            Self::Batches => "batches set aside",
        })
    }
}

/// Bytes that are not what was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Damage {
    /// First byte of the smallest range known to hold the damage.
    pub from: u64,
    /// The byte after that range.
    pub to: u64,
    /// First record that can't be read, where records are hit and known.
    pub first_offset: Option<u64>,
    /// Last such record.
    pub last_offset: Option<u64>,
    /// What is wrong, for a person.
    pub what: String,
}

/// The findings about one file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileReport {
    /// The file.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Half-open byte ranges, ascending, whose every bit is under a check.
    pub used_ranges: Vec<[u64; 2]>,
    /// What is damaged, in the order in which it was found.
    pub damage: Vec<Damage>,
    /// Name of the channel it belongs to, where it is known.
    #[serde(skip)]
    pub channel: Option<String>,
    /// What is worth knowing and is no damage.
    #[serde(skip)]
    pub notes: Vec<String>,
}

fn as_text<S: serde::Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}

impl FileReport {
    /// A report that nothing was booked in yet.
    pub fn new(path: &Path, kind: Kind) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            used_ranges: Vec::new(),
            damage: Vec::new(),
            channel: None,
            notes: Vec::new(),
        }
    }

    /// Books `from..to` as checked. Ranges may touch or overlap, in any order.
    pub fn checked(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let at = self.used_ranges.partition_point(|range| range[1] < from);
        let mut joined = [from, to];
        let mut end = at;
        while let Some(range) = self
            .used_ranges
            .get(end)
            .filter(|range| range[0] <= joined[1])
        {
            joined = [joined[0].min(range[0]), joined[1].max(range[1])];
            end += 1;
        }
        self.used_ranges.splice(at..end, [joined]);
    }

    /// Books damage that hits no record, or none that is known.
    pub fn damaged(&mut self, from: u64, to: u64, what: impl fmt::Display) {
        self.damaged_records(from, to, None, what);
    }

    /// Books damage that hits the records `offsets` (first, end).
    pub fn damaged_records(
        &mut self,
        from: u64,
        to: u64,
        offsets: Option<(u64, u64)>,
        what: impl fmt::Display,
    ) {
        let offsets = offsets.filter(|(first, end)| first < end);
        self.damage.push(Damage {
            from,
            to,
            first_offset: offsets.map(|(first, _)| first),
            last_offset: offsets.map(|(_, end)| end - 1),
            what: what.to_string(),
        });
    }

    /// Adds a note.
    pub fn note(&mut self, what: impl fmt::Display) {
        self.notes.push(what.to_string());
    }

    fn checked_bytes(&self) -> u64 {
        self.used_ranges
            .iter()
            .map(|range| range[1] - range[0])
            .sum()
    }
}

/// The findings about everything that was looked at.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Every file that was looked at, by path.
    pub files: Vec<FileReport>,
    /// None of them is damaged.
    pub clean: bool,
    /// Notes that belong to no single file.
    #[serde(skip)]
    pub notes: Vec<String>,
}

impl Report {
    /// Puts the findings together.
    pub fn new(mut files: Vec<FileReport>, notes: Vec<String>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let clean = files.iter().all(|file| file.damage.is_empty());
        Self {
            files,
            clean,
            notes,
        }
    }

    /// Prints the report for a person: one row for each kind of file, then a line for each damage and note. `base` is cut off
    /// the paths.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn print(&self, base: &Path, to: &mut dyn Write) -> io::Result<()> {
        let mut kinds: BTreeMap<Kind, [u64; 3]> = BTreeMap::new();
        for file in &self.files {
            let row = kinds.entry(file.kind).or_default();
            row[0] += 1;
            row[1] = row[1].saturating_add(file.checked_bytes());
            row[2] += file.damage.len() as u64;
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["kind", "files", "bytes checked", "damage"]);
        for (kind, row) in kinds {
            let [files, bytes, damage] = row.map(|number| number.to_string());
            table.add_row([kind.to_string(), files, bytes, damage]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(to, "{}", table.trim_fmt())?;
        let mut notes = 0;
        for file in &self.files {
            let path = file.path.strip_prefix(base).unwrap_or(&file.path).display();
            let channel = file
                .channel
                .as_ref()
                .map_or(String::new(), |name| format!(" (channel {name})"));
            for damage in &file.damage {
                write!(
                    to,
                    "damage: {path}{channel}: bytes {}..{}",
                    damage.from, damage.to
                )?;
                if let (Some(first), Some(last)) = (damage.first_offset, damage.last_offset) {
                    write!(to, ", offsets {first} to {last}")?;
                }
                writeln!(to, ": {}", damage.what)?;
            }
            for note in &file.notes {
                notes += 1;
                if notes > SHOWN_NOTES {
                    continue;
                }
                writeln!(to, "note: {path}{channel}: {note}")?;
            }
        }
        for note in &self.notes {
            writeln!(to, "note: {note}")?;
        }
        if notes > SHOWN_NOTES {
            writeln!(to, "note: {} more like these", notes - SHOWN_NOTES)?;
        }
        writeln!(to, "{}", if self.clean { "clean" } else { "damaged" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_or_overlap_are_joined_whatever_their_order() {
        let mut file = FileReport::new(Path::new("x"), Kind::Segment);
        for (from, to) in [
            (10, 20),
            (30, 40),
            (0, 5),
            (20, 30),
            (4, 8),
            (50, 50),
            (8, 10),
        ] {
            file.checked(from, to);
        }
        assert_eq!(file.used_ranges, [[0, 40]]);
    }
}
