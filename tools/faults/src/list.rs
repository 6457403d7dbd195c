//! The list of faults: what is changed where, what that breaks, and which tests notice.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// What stands in a change for the question whether its fault is switched on.
const SWITCHED_ON: &str = "FAULT";

/// Where the list lies in the tree.
const PATH: &str = "tools/faults/faults.toml";

/// All faults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// In the order of the document.
    #[serde(rename = "fault")]
    pub faults: Vec<Fault>,
}

/// One fault.
#[derive(Debug, Deserialize)]
pub struct Fault {
    /// A few words with hyphens between them.
    pub name: String,
    /// What it breaks, as a sentence.
    pub breaks: String,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// More changes that belong to it.
    #[serde(default)]
    pub also: Vec<Change>,
    /// Tests that must turn red, every one of them.
    #[serde(default)]
    pub caught_by: Vec<Test>,
    /// Why no test can turn red: another part of the code makes the fault harmless. Such a fault
    /// is not tried and does not count.
    pub harmless_because: Option<String>,
}

/// A piece of source text, and what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Change {
    /// From the root of the tree.
    pub file: PathBuf,
    /// Must occur exactly once.
    pub find: String,
    /// What it becomes; `FAULT` in it says whether the fault is on.
    pub replace: String,
}

/// A test, or a part of its name for several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Test {
    /// The binary that holds it.
    pub target: Target,
    /// Its path in that binary.
    pub name: String,
}

/// A binary of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// `tests/suite`.
    Suite,
    /// The tests beside the code of the library.
    Lib,
    /// The tests of `npayload-inspect`.
    Inspect,
}

impl Target {
    /// Its name in the list.
    pub fn name(self) -> &'static str {
        match self {
            Self::Suite => "suite",
            Self::Lib => "lib",
            Self::Inspect => "inspect",
        }
    }
}

impl FromStr for Test {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (target, name) = text.split_once(':').context("a test is TARGET:NAME")?;
        let target = match target {
            "suite" => Target::Suite,
            "lib" => Target::Lib,
            "inspect" => Target::Inspect,
            other => bail!("{other:?} is neither suite, lib nor inspect"),
        };
        let name = name.to_owned();
        Ok(Self { target, name })
    }
}

impl TryFrom<String> for Test {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.target.name(), self.name)
    }
}

impl List {
    /// Reads the list of a tree and checks what can be checked without the sources.
    ///
    /// # Errors
    /// A list that can't be read, or breaks a rule.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(PATH);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let list: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        let mut names = BTreeSet::new();
        for fault in &list.faults {
            let name = &fault.name;
            ensure!(names.insert(name), "{name}: two faults have this name");
            ensure!(
                fault.caught_by.is_empty() == fault.harmless_because.is_some(),
                "{name}: it has tests that catch it, or a reason why it harms nothing"
            );
        }
        Ok(list)
    }
}

impl Fault {
    /// All its changes.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        std::iter::once(&self.change).chain(&self.also)
    }
}

impl Change {
    /// `source` with the change made, behind the switch of the fault `name`.
    ///
    /// # Errors
    /// The text to find does not occur exactly once.
    pub fn apply(&self, source: &str, name: &str) -> Result<String> {
        let file = self.file.display();
        let library = if self.file.starts_with("src") {
            "crate"
        } else if self.file.starts_with("tools/inspect/src") {
            "npayload"
        } else {
            bail!("{file}: a change is in the library or in npayload-inspect");
        };
        ensure!(
            self.replace.contains(SWITCHED_ON),
            "{file}: a change says what depends on {SWITCHED_ON}"
        );
        let switch = format!("{library}::is_fault({name:?})");
        let replace = self.replace.replace(SWITCHED_ON, &switch);
        match source.matches(&self.find).count() {
            1 => Ok(source.replacen(&self.find, &replace, 1)),
            0 => bail!("{file} no longer holds the text to change: {:?}", self.find),
            n => bail!("{file} holds the text to change {n} times: {:?}", self.find),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
    }

    #[test]
    fn every_fault_can_be_put_into_the_code() {
        let root = root();
        for fault in List::read(&root).unwrap().faults {
            for change in fault.changes() {
                let source = std::fs::read_to_string(root.join(&change.file)).unwrap();
                let changed = change.apply(&source, &fault.name);
                changed.unwrap_or_else(|error| panic!("{}: {error}", fault.name));
            }
        }
    }

    #[test]
    fn at_least_18_faults_are_caught_and_every_test_that_catches_one_exists() {
        let root = root();
        let list = List::read(&root).unwrap();
        let caught = list
            .faults
            .iter()
            .filter(|fault| !fault.caught_by.is_empty());
        assert!(caught.count() >= 18, "the list has shrunk");
        let mut sources = Vec::new();
        for dir in ["tests", "src", "tools/inspect/src"] {
            read_sources(&root.join(dir), &mut sources);
        }
        for fault in &list.faults {
            for test in &fault.caught_by {
                let name = test.name.rsplit("::").next().unwrap();
                let function = format!("fn {name}(");
                let is_there = sources.iter().any(|source| source.contains(&function));
                assert!(is_there, "{}: no test is called {test}", fault.name);
            }
        }
    }

    fn read_sources(path: &Path, into: &mut Vec<String>) {
        if path.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                read_sources(&entry.unwrap().path(), into);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(std::fs::read_to_string(path).unwrap());
        }
    }

    #[test]
    fn a_text_that_is_not_there_exactly_once_is_refused() {
        let change = Change {
            file: "src/a.rs".into(),
            find: "sync()".into(),
            replace: "if !FAULT { sync() }".into(),
        };
        let changed = change.apply("write(); sync();", "no-sync").unwrap();
        let expected = "write(); if !crate::is_fault(\"no-sync\") { sync() };";
        assert_eq!(changed, expected);
        assert!(change.apply("write();", "no-sync").is_err());
        let mut elsewhere = change.clone();
        elsewhere.file = "tools/inspect/src/a.rs".into();
        let changed = elsewhere.apply("sync();", "no-sync").unwrap();
        assert!(changed.contains("npayload::is_fault"), "{changed}");
        elsewhere.file = "tests/suite/a.rs".into();
        assert!(elsewhere.apply("sync();", "no-sync").is_err());
        assert!(change.apply("sync(); sync();", "no-sync").is_err());
    }
}
