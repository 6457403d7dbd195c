//! What a repair does, step by step, for people and for programs.

use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// What one step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// What a start of the broker does: the journal is replayed, and what it still has is written again.
    Recover,
    /// Lost records become a gap.
    Gap,
    /// Bytes between batches become zeros again.
    Zero,
    /// A segment's header is written again.
    Header,
    /// A segment file is made again.
    Segment,
    /// An index is removed; the broker rebuilds it.
    Index,
    /// A log takes writes again.
    Reopen,
    /// A damaged copy is written again from the intact one.
    Copy,
    /// A file that belongs to nothing is moved to lost+found.
    Move,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Recover => "recover",
            Self::Gap => "gap",
            Self::Zero => "zero",
            Self::Header => "header",
            Self::Segment => "segment",
            Self::Index => "index",
            Self::Reopen => "reopen",
            Self::Copy => "copy",
            Self::Move => "move",
        }
    }
}

/// One step of a repair.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub action: Action,
    /// Relative to the data directory.
    pub file: PathBuf,
    /// First byte that is written, and the byte after the last.
    pub from: u64,
    pub to: u64,
    /// Name of the channel, where there is one.
    pub channel: Option<String>,
    /// First offset that is lost, last one, and how many.
    pub first_offset: Option<u64>,
    pub last_offset: Option<u64>,
    pub lost: u64,
    /// What is written, and why.
    pub what: String,
}

impl Step {
    pub fn new(
        action: Action,
        file: impl Into<PathBuf>,
        bytes: Range<u64>,
        what: impl Into<String>,
    ) -> Self {
        Self {
            action,
            file: file.into(),
            from: bytes.start,
            to: bytes.end,
            channel: None,
            first_offset: None,
            last_offset: None,
            lost: 0,
            what: what.into(),
        }
    }

    pub fn of_channel(mut self, name: &str) -> Self {
        self.channel = Some(name.to_owned());
        self
    }

    pub fn losing(mut self, offsets: &Range<u64>) -> Self {
        self.lost = offsets.end.saturating_sub(offsets.start);
        if self.lost > 0 {
            (self.first_offset, self.last_offset) = (Some(offsets.start), Some(offsets.end - 1));
        }
        self
    }
}

/// Damage that this can't repair.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// Relative to the data directory.
    pub file: PathBuf,
    pub channel: Option<String>,
    pub what: String,
    /// What to do about it.
    pub instead: String,
}

/// All steps of a repair, in order, and what they leave.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub steps: Vec<Step>,
    pub left: Vec<Left>,
}

impl Plan {
    /// Prints the plan for a person.
    pub fn print(&self, to: &mut dyn Write) -> io::Result<()> {
        if !self.steps.is_empty() {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header([
                "step",
                "file",
                "bytes",
                "channel",
                "offsets lost",
                "count",
                "what",
            ]);
            for step in &self.steps {
                let offsets = match (step.first_offset, step.last_offset) {
                    (Some(first), Some(last)) => format!("{first} to {last}"),
                    _ => String::new(),
                };
                let bytes = match (step.from, step.to) {
                    (0, 0) => String::new(),
                    (from, to) => format!("{from}..{to}"),
                };
                let lost = match step.lost {
                    0 => String::new(),
                    lost => lost.to_string(),
                };
                table.add_row([
                    step.action.name().to_owned(),
                    step.file.display().to_string(),
                    bytes,
                    step.channel.clone().unwrap_or_default(),
                    offsets,
                    lost,
                    step.what.clone(),
                ]);
            }
            if let Some(column) = table.column_mut(5) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            writeln!(to, "{}", table.trim_fmt())?;
        }
        for left in &self.left {
            let channel = left
                .channel
                .as_ref()
                .map_or(String::new(), |name| format!(" (channel {name})"));
            writeln!(
                to,
                "not repaired: {}{channel}: {}; {}",
                left.file.display(),
                left.what,
                left.instead
            )?;
        }
        Ok(())
    }
}
