//! `npayload-inspect verify` and `dump` over changed data directories. Shared by the target and the
//! tests of the tool.

#![allow(dead_code, reason = "the tests use a part of it")]

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use npayload_inspect::{DumpArgs, OffsetRange};

use super::directory::{disk_of, mutate, read_whole, snapshot};

/// More than any dump of so little has to say, and less than one that goes on for ever.
const MAX_DUMP_BYTES: usize = 64 << 20;

/// Any change to any file of a directory: `verify` and `dump` come to an end, and what `verify` calls
/// clean is served whole.
///
/// Of the first byte, bit 0 chooses a stopped broker's directory, bit 1 leaves one file alone in a
/// directory that is none, bits 2 to 4 are options of the dump.
pub fn inspect(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let is_stopped = first & 1 != 0;
    let is_alone = first & 2 != 0;
    let snapshot = snapshot(is_stopped);
    let mut files = snapshot.files.clone();
    let has_mended = mutate(&mut files, rest);
    if files.is_empty() {
        return;
    }
    if is_alone {
        let at = rest.first().map_or(0, |at| usize::from(*at) % files.len());
        files = vec![files.swap_remove(at)];
    }
    let memory = Some(Path::new("/dev/shm")).filter(|path| path.is_dir());
    let place = memory.map_or_else(std::env::temp_dir, Path::to_owned);
    let place = tempfile::tempdir_in(place).expect("a temporary directory");
    for (path, bytes) in &files {
        let path = place.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        std::fs::write(path, bytes).expect("its bytes");
    }
    let path = if is_alone {
        place.path().join(&files[0].0)
    } else {
        place.path().join("data")
    };
    let is_clean = verify(&path);
    dump(&path, *first);
    // What has no end in a killed broker's directory is no promise, so that only a stopped one's is.
    if is_clean && is_stopped && !is_alone && !has_mended {
        assert!(
            read_whole(&disk_of(&files)) == snapshot.records,
            "called clean, and not served as it was stored"
        );
    }
}

/// Whether everything that was promised is there.
fn verify(path: &Path) -> bool {
    let Ok(report) = npayload_inspect::verify(path) else {
        return false;
    };
    for file in &report.files {
        for damage in &file.damage {
            assert!(damage.from <= damage.to, "{}: {damage:?}", path.display());
        }
    }
    let mut out = Counted(0);
    report.print(path, &mut out).expect("few lines");
    report.clean
}

fn dump(path: &Path, options: u8) {
    let args = DumpArgs {
        path: PathBuf::from(path),
        records: options & 4 != 0,
        json: options & 8 != 0,
        offset: (options & 16 != 0).then_some(OffsetRange { first: 3, end: 9 }),
        max: None,
        master_key_file: None,
        master_key_command: None,
    };
    let mut out = Counted(0);
    if let Err(error) = npayload_inspect::dump(&args, &mut out) {
        let is_endless = format!("{error:#}").contains(Counted::FULL);
        assert!(!is_endless, "{}: {error:#}", path.display());
    }
}

/// Takes no more than a dump may have.
struct Counted(usize);

impl Counted {
    const FULL: &str = "a dump without end";
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        if self.0 > MAX_DUMP_BYTES {
            return Err(io::Error::other(Self::FULL));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
