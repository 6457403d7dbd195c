//! A copy of the source tree that faults are put into.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::list::Fault;

/// Changed files, as they were before.
pub type Originals = BTreeMap<PathBuf, String>;

/// The copy, and where it is built.
#[derive(Debug)]
pub struct Tree {
    source: PathBuf,
    /// The root of the copy.
    pub dir: PathBuf,
    /// Its cargo target directory.
    pub target_dir: PathBuf,
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

    /// Puts a fault into the copy. Returns what to hand to [`Tree::take_back`].
    ///
    /// # Errors
    /// A change that no longer applies; nothing is changed then.
    pub fn apply(&self, fault: &Fault) -> Result<Originals> {
        let mut originals = Originals::new();
        let mut changed = Originals::new();
        for change in fault.changes() {
            let path = self.dir.join(&change.file);
            if !changed.contains_key(&path) {
                let source = fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                originals.insert(path.clone(), source.clone());
                changed.insert(path.clone(), source);
            }
            let source = change.apply(&changed[&path])?;
            changed.insert(path, source);
        }
        for (path, source) in changed {
            fs::write(&path, source).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(originals)
    }

    /// Takes a fault out again. The tree that was copied may have changed since.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn take_back(&self, originals: Originals) -> Result<()> {
        for (path, source) in originals {
            fs::write(&path, source).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
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
