//! A data directory as bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::path::Path;

use npayload::storage::disk::{Disk, MemoryDisk, OpenMode};

/// Where the directory is on every disk.
pub const ROOT: &str = "/data";

/// All files and directories of a data directory, by their paths within it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub files: BTreeMap<String, Vec<u8>>,
    pub dirs: BTreeSet<String>,
}

impl Image {
    /// What a broker that is killed now leaves on `disk`.
    pub fn of(disk: &MemoryDisk) -> Self {
        let mut image = Self::default();
        image.take(disk, "");
        image
    }

    fn take(&mut self, disk: &MemoryDisk, dir: &str) {
        let path = Path::new(ROOT).join(dir);
        for entry in disk.list(&path).unwrap() {
            let name = match dir {
                "" => entry.name.clone(),
                dir => format!("{dir}/{}", entry.name),
            };
            if entry.is_dir {
                self.take(disk, &name);
                self.dirs.insert(name);
                continue;
            }
            let file = disk.open(&path.join(&entry.name), OpenMode::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_at(0, &mut bytes).unwrap();
            self.files.insert(name, bytes);
        }
    }

    /// A disk with this directory on it.
    pub fn to_disk(&self) -> MemoryDisk {
        let disk = MemoryDisk::new();
        let root = Path::new(ROOT);
        disk.create_dir(root).unwrap();
        for dir in &self.dirs {
            disk.create_dir(&root.join(dir)).unwrap();
        }
        for (name, bytes) in &self.files {
            let file = disk.open(&root.join(name), OpenMode::Create).unwrap();
            file.write_at(0, &[IoSlice::new(bytes)]).unwrap();
        }
        disk
    }

    /// The file at `name`.
    pub fn file(&self, name: &str) -> &[u8] {
        &self.files[name]
    }

    /// Names of the files in `dir` with this ending, in order.
    pub fn names(&self, dir: &str, ending: &str) -> Vec<String> {
        let names = self.files.keys();
        let is_in = |name: &&String| name.starts_with(dir) && name.ends_with(ending);
        names.filter(is_in).cloned().collect()
    }

    /// The files in which `other` differs, also those that only one has.
    pub fn changed(&self, other: &Self) -> BTreeSet<String> {
        let names = self.files.keys().chain(other.files.keys());
        let differs = |name: &&String| self.files.get(*name) != other.files.get(*name);
        names.filter(differs).cloned().collect()
    }
}
