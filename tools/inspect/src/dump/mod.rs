//! `dump`: what the files hold, one row for each structure, with every field.
//!
//! It shows what is there and judges as little as it can: a structure that does not decode is a row that says why.

mod asp;
mod files;
mod keys;
mod promises;
mod row;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::layout::{self, MARKER, SECRET};
use crate::report::Kind;
use keys::Keys;
use npayload::server::{MasterKeySource, MasterKeyText};
use row::Out;

/// Arguments of `npayload-inspect dump`.
#[derive(Args)]
pub struct DumpArgs {
    /// A data directory, or one file of it.
    pub path: PathBuf,
    /// Print the records of each batch too, with their payloads.
    #[arg(long)]
    pub records: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// Only what holds records A up to, not including, B. `A:` and `:B` leave one end open, `A` is one record.
    #[arg(long, value_name = "A:B")]
    pub offset: Option<OffsetRange>,
    /// Stop after so many rows.
    #[arg(long, value_name = "N")]
    pub max: Option<u64>,
    /// File with the master keys, as for the broker: records of encrypted channels are shown.
    #[arg(long, value_name = "FILE", conflicts_with = "master_key_command")]
    pub master_key_file: Option<PathBuf>,
    /// Command that writes the master keys to its standard output.
    #[arg(long, value_name = "COMMAND")]
    pub master_key_command: Option<String>,
}

/// The variable that holds master keys, as for the broker.
const MASTER_KEY: &str = "NPAYLOAD_MASTER_KEY";

impl DumpArgs {
    /// Where the master keys come from. A flag goes before the environment.
    fn master_key(&self) -> MasterKeySource {
        let variable = |name: &str| std::env::var(format!("{MASTER_KEY}{name}")).ok();
        if let Some(path) = &self.master_key_file {
            return MasterKeySource::File(path.clone());
        }
        if let Some(command) = &self.master_key_command {
            return MasterKeySource::Command(command.clone());
        }
        if let Some(path) = variable("_FILE") {
            return MasterKeySource::File(path.into());
        }
        if let Some(command) = variable("_COMMAND") {
            return MasterKeySource::Command(command);
        }
        let text = variable("").map(MasterKeyText::new);
        text.map_or(MasterKeySource::None, MasterKeySource::Text)
    }
}

/// A half-open range of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// First offset in it.
    pub first: u64,
    /// The offset after its last.
    pub end: u64,
}

impl OffsetRange {
    const ALL: Self = Self {
        first: 0,
        end: u64::MAX,
    };

    /// Whether any of the records `first..end` is in the range.
    fn overlaps(self, first: u64, end: u64) -> bool {
        first < self.end && end > self.first
    }
}

impl FromStr for OffsetRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str, none| match text {
            "" => Ok(none),
            text => text
                .parse::<u64>()
                .map_err(|error| format!("`{text}`: {error}")),
        };
        let range = match text.split_once(':') {
            Some((first, end)) => Self {
                first: number(first, 0)?,
                end: number(end, u64::MAX)?,
            },
            None => {
                let first = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
                Self {
                    first,
                    end: first.saturating_add(1),
                }
            }
        };
        if range.first >= range.end {
            return Err(format!("{}:{} holds no offset", range.first, range.end));
        }
        Ok(range)
    }
}

/// Prints what `args` ask for.
///
/// # Errors
/// When the path is nothing of ours, or can't be read.
pub fn run(args: &DumpArgs, to: &mut dyn Write) -> Result<()> {
    let range = args.offset.unwrap_or(OffsetRange::ALL);
    let keys = match args.records {
        true => Keys::read(&args.path, &args.master_key().load()?).context("read the keys")?,
        // Nothing but records is encrypted.
        false => Keys::default(),
    };
    let mut dump = Dump {
        keys,
        out: Out::new(to, args.json, args.max),
        records: args.records,
        range,
    };
    if !args.path.is_dir() {
        let kind = layout::kind_of(&args.path)?;
        return dump.file(&args.path, kind);
    }
    if !layout::is_data_directory(&args.path) {
        bail!(
            "{}: not a data directory: it has neither {MARKER} nor recovery-point",
            args.path.display()
        );
    }
    dump.directory(&args.path)
}

/// A dump in progress.
struct Dump<'a> {
    keys: Keys,
    out: Out<'a>,
    records: bool,
    range: OffsetRange,
}

impl Dump<'_> {
    fn directory(&mut self, directory: &Path) -> Result<()> {
        for (name, kind) in [
            (MARKER, Kind::Marker),
            (SECRET, Kind::Secret),
            ("recovery-point", Kind::RecoveryPoint),
        ] {
            let path = directory.join(name);
            if path.exists() {
                self.file(&path, kind)?;
            }
        }
        for path in layout::snapshots(directory)? {
            self.file(&path, Kind::Snapshot)?;
        }
        let mut strangers = Vec::new();
        for (folder, extensions, kind) in [
            ("checkpoints", ["checkpoint", "copy"], Kind::Checkpoint),
            ("journal", ["journal", ""], Kind::Journal),
        ] {
            for file in layout::numbered(&directory.join(folder), &extensions, &mut strangers)? {
                self.file(&file.path, kind)?;
            }
        }
        for (_, folder) in layout::logs(directory, &mut strangers)? {
            let segments = layout::numbered(&folder, &["log"], &mut Vec::new())?;
            for (at, segment) in segments.iter().enumerate() {
                let end = segments.get(at + 1).map_or(u64::MAX, |next| next.number);
                if !self.range.overlaps(segment.number, end) {
                    continue;
                }
                self.file(&segment.path, Kind::Segment)?;
                for (extension, kind) in
                    [("index", Kind::OffsetIndex), ("timeindex", Kind::TimeIndex)]
                {
                    let path = segment.path.with_extension(extension);
                    if path.exists() {
                        self.file(&path, kind)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Prints one file. One that a running broker has just removed is passed over.
    fn file(&mut self, path: &Path, kind: Kind) -> Result<()> {
        if self.out.is_full() {
            return Ok(());
        }
        self.out.start(path, kind);
        match self.file_of(path, kind) {
            Err(error) if is_not_found(&error) && path.parent().is_some_and(Path::exists) => {
                self.out.error("file", "removed meanwhile")
            }
            done => done.with_context(|| format!("dump {}", path.display())),
        }
    }

    fn file_of(&mut self, path: &Path, kind: Kind) -> Result<()> {
        match kind {
            Kind::Marker => self.marker(path),
            Kind::Secret => self.secret(path),
            Kind::Snapshot => self.snapshot(path),
            Kind::RecoveryPoint => self.recovery_point(path),
            Kind::Checkpoint => self.checkpoint(path),
            Kind::Journal => self.journal(path),
            Kind::Segment => self.segment(path),
            Kind::Batches => self.batches(path),
            Kind::OffsetIndex | Kind::TimeIndex => self.index(path, kind),
        }
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
