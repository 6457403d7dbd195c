//! A copy of the source tree that faults are put into.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::list::Fault;

/// The variable that switches one fault on, by its name.
pub const VARIABLE: &str = "NPAYLOAD_FAULT";

/// Goes to the end of the library.
const SWITCH: &str = r#"
/// Whether a deliberate fault is switched on.
#[must_use]
pub fn is_fault(name: &str) -> bool {
    static ON: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("NPAYLOAD_FAULT").unwrap_or_default());
    *ON == name
}
"#;

/// Files of the copy by their path in it.
type Sources = BTreeMap<PathBuf, String>;

/// The copy, and where it is built.
#[derive(Debug)]
pub struct Tree {
    source: PathBuf,
    /// The root of the copy.
    pub dir: PathBuf,
    /// Its cargo target directory.
    pub target_dir: PathBuf,
    /// The files with faults in them, as they were before.
    planted: Sources,
}

impl Tree {
    /// Brings the copy of a tree up to date: all that git knows or would take. A file that is the
    /// same already keeps its time, so that only what changed is built again.
    ///
    /// # Errors
    /// A tree that git does not know, or a file that can't be copied.
    pub fn copy(source: &Path) -> Result<Self> {
        let scratch = source.join("target/faults");
        let tree = Self {
            source: source.to_owned(),
            dir: scratch.join("tree"),
            target_dir: scratch.join("target"),
            planted: Sources::new(),
        };
        let listed = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(source)
            .output()
            .context("running git")?;
        ensure!(listed.status.success(), "git does not list the tree");
        let listed = String::from_utf8(listed.stdout)?;
        let files: BTreeSet<PathBuf> = listed
            .split_terminator('\0')
            .map(PathBuf::from)
            .filter(|path| source.join(path).is_file())
            .collect();
        for path in &files {
            tree.restore(path)?;
        }
        remove_others(&tree.dir, Path::new(""), &files)?;
        Ok(tree)
    }

    /// Puts faults into the copy, each behind a switch, and takes out those put in before. Returns
    /// the faults that wait for another turn, because they change what one of these changes.
    ///
    /// # Errors
    /// A change that no longer applies, or a file that can't be read or written.
    pub fn plant<'a>(&mut self, faults: &[&'a Fault]) -> Result<Vec<&'a Fault>> {
        let mut waiting = Vec::new();
        let mut planted = Sources::new();
        for fault in faults {
            self.change(fault, Sources::new())?;
            match self.change(fault, planted.clone()) {
                Ok(changed) => planted = changed,
                Err(_) => waiting.push(*fault),
            }
        }
        let root = PathBuf::from("src/lib.rs");
        let mut library = self.original(&root)?;
        library.push_str(SWITCH);
        planted.insert(root, library);
        for (path, source) in self.planted.clone() {
            if !planted.contains_key(&path) {
                self.write(&path, &source)?;
            }
        }
        for (path, source) in &planted {
            let original = self.original(path)?;
            self.write(path, source)?;
            self.planted.insert(path.clone(), original);
        }
        Ok(waiting)
    }

    /// `sources` with one more fault in them.
    fn change(&self, fault: &Fault, mut sources: Sources) -> Result<Sources> {
        for change in fault.changes() {
            let known = sources.get(&change.file).cloned();
            let source = match known {
                Some(source) => source,
                None => self.original(&change.file)?,
            };
            let changed = change
                .apply(&source, &fault.name)
                .with_context(|| fault.name.clone())?;
            sources.insert(change.file.clone(), changed);
        }
        Ok(sources)
    }

    /// A file of the copy without any fault.
    fn original(&self, path: &Path) -> Result<String> {
        match self.planted.get(path) {
            Some(original) => Ok(original.clone()),
            None => fs::read_to_string(self.dir.join(path))
                .with_context(|| format!("reading {}", path.display())),
        }
    }

    fn write(&self, path: &Path, source: &str) -> Result<()> {
        let path = self.dir.join(path);
        if fs::read_to_string(&path).is_ok_and(|known| known == source) {
            return Ok(());
        }
        fs::write(&path, source).with_context(|| format!("writing {}", path.display()))
    }

    fn restore(&self, path: &Path) -> Result<()> {
        let (from, to) = (self.source.join(path), self.dir.join(path));
        let bytes = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
        if fs::read(&to).is_ok_and(|known| known == bytes) {
            return Ok(());
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&to, bytes).with_context(|| format!("writing {}", to.display()))?;
        fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
        Ok(())
    }
}

/// Removes what was part of the tree when it was copied before.
fn remove_others(root: &Path, below: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(root, &path, files)?;
        } else if !files.contains(&path) && path != Path::new("Cargo.lock") {
            fs::remove_file(root.join(&path))?;
        }
    }
    Ok(())
}
