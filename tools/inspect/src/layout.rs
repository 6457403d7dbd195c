//! Where the files of a data directory are, and what a file is by its first bytes.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use npayload::types::Incarnation;

use crate::report::Kind;
use crate::source::Source;

/// Name of the file that marks a data directory.
pub const MARKER: &str = "npayload.marker";

/// Name of the file with the key that API keys are hashed under.
pub const SECRET: &str = "npayload.secret";

/// The data directory that a path is or lies in, if any.
pub fn data_directory_of(path: &Path) -> Option<PathBuf> {
    // The deepest files are channels/<incarnation>/<segment>.
    path.ancestors()
        .take(4)
        .find(|dir| is_data_directory(dir))
        .map(Path::to_owned)
}

/// Whether a directory is a data directory: it has the marker, or lost it and still has the recovery point.
pub fn is_data_directory(path: &Path) -> bool {
    path.join(MARKER).is_file() || path.join("recovery-point").is_file()
}

/// The snapshots of a data directory, by name; what was not finished is none.
///
/// # Errors
/// When the directory is there and can't be listed.
pub fn snapshots(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match std::fs::read_dir(directory.join("snapshots")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let paths: io::Result<Vec<PathBuf>> = listed.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "snapshot"));
    paths.sort();
    Ok(paths)
}

/// What a file is, told by its magic.
///
/// # Errors
/// When it can't be read, or begins with no magic of ours.
pub fn kind_of(path: &Path) -> Result<Kind> {
    let source = Source::open(path).with_context(|| format!("open {}", path.display()))?;
    let head = source
        .read(0, 8)
        .with_context(|| format!("read {}", path.display()))?;
    if let Some(kind) = kind_of_magic(&head) {
        return Ok(kind);
    }
    // A damaged magic is found by the name, and the first slot of a recovery point may be empty.
    match kind_of_name(path) {
        Some(kind) => Ok(kind),
        None => bail!("{}: not a file of npayload", path.display()),
    }
}

fn kind_of_magic(head: &[u8]) -> Option<Kind> {
    if head.starts_with(b"NPAYLOAD") {
        return Some(Kind::Marker);
    }
    Some(match head.get(..4)? {
        b"NPSK" => Kind::Secret,
        b"NPSN" => Kind::Snapshot,
        b"NPRP" => Kind::RecoveryPoint,
        b"NPCP" => Kind::Checkpoint,
        b"NPJF" => Kind::Journal,
        b"NPSG" => Kind::Segment,
        b"NPOI" => Kind::OffsetIndex,
        b"NPTI" => Kind::TimeIndex,
        _ => return None,
    })
}

fn kind_of_name(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    if name == MARKER {
        return Some(Kind::Marker);
    }
    if name == SECRET {
        return Some(Kind::Secret);
    }
    if name == "recovery-point" {
        return Some(Kind::RecoveryPoint);
    }
    Some(match path.extension()?.to_str()? {
        "journal" => Kind::Journal,
        "checkpoint" | "copy" => Kind::Checkpoint,
        "log" => Kind::Segment,
        "index" => Kind::OffsetIndex,
        "timeindex" => Kind::TimeIndex,
        "batches" => Kind::Batches,
        _ => return None,
    })
}

/// A numbered file of a folder.
#[derive(Debug, Clone)]
pub struct Numbered {
    pub number: u64,
    pub path: PathBuf,
}

/// The files of `folder` named by a number and one of `extensions`, ascending; a folder that does not exist has none. Names that
/// are neither are added to `strangers`.
pub fn numbered(
    folder: &Path,
    extensions: &[&str],
    strangers: &mut Vec<PathBuf>,
) -> io::Result<Vec<Numbered>> {
    let mut found = Vec::new();
    for path in children(folder)? {
        let extension = path.extension().and_then(|name| name.to_str());
        let number = path
            .file_stem()
            .and_then(|name| name.to_str())
            .and_then(|stem| stem.parse().ok());
        match (extension, number) {
            (Some(extension), Some(number)) if extensions.contains(&extension) => {
                found.push(Numbered { number, path });
            }
            _ => strangers.push(path),
        }
    }
    found.sort_by_key(|file| file.number);
    Ok(found)
}

/// The logs of a data directory: the folders of `channels` that are named by an incarnation.
pub fn logs(
    data_directory: &Path,
    strangers: &mut Vec<PathBuf>,
) -> io::Result<Vec<(Incarnation, PathBuf)>> {
    let mut found = Vec::new();
    for path in children(&data_directory.join("channels"))? {
        let name = path.file_name().and_then(|name| name.to_str());
        match name.and_then(|name| name.parse::<Incarnation>().ok()) {
            Some(incarnation) if path.is_dir() => found.push((incarnation, path)),
            _ => strangers.push(path),
        }
    }
    Ok(found)
}

/// What a folder holds, by name; nothing when it is not there.
fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
