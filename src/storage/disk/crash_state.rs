//! Names and files of a [`CrashingDisk`](super::CrashingDisk): as they are, and as a crash may
//! leave them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::memory::names;
use super::power_loss::FileHistory;

pub(super) type NodeId = u64;

/// The root directory.
const ROOT: NodeId = 0;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Dir(Dir),
    File(FileHistory),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    pub live: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
}

/// A change of one directory that no sync has covered; all of its edits are kept, or none.
#[derive(Clone, Debug)]
struct NameChange {
    sequence: u64,
    dir: NodeId,
    edits: Vec<Edit>,
}

/// A name, and what it names from now on.
type Edit = (String, Option<NodeId>);

#[derive(Clone, Debug)]
pub(super) struct State {
    pub nodes: BTreeMap<NodeId, Node>,
    next_node: NodeId,
    /// Number of the next unsynced change.
    sequence: u64,
    renames: Vec<NameChange>,
    pub locks: BTreeSet<NodeId>,
    pub calls: u64,
    pub crash: Option<Crash>,
    /// A sync of a file fails, after so many more; the draws decide what reaches the device.
    pub failing_sync: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Crash {
    pub after_calls: u64,
    /// Whether a write that is the next call gets half of its bytes through.
    pub tears_write: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Dir(Dir::default()))]),
            next_node: ROOT + 1,
            sequence: 0,
            renames: Vec::new(),
            locks: BTreeSet::new(),
            calls: 0,
            crash: None,
            failing_sync: None,
        }
    }
}

impl State {
    pub fn is_crashed(&self) -> bool {
        self.crash
            .is_some_and(|crash| self.calls >= crash.after_calls)
    }

    /// Whether the write in progress at the crash is to be torn; true once.
    pub fn take_tear(&mut self) -> bool {
        self.crash
            .as_mut()
            .is_some_and(|crash| std::mem::take(&mut crash.tears_write))
    }

    pub fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub fn dir(&self, node: NodeId) -> io::Result<&Dir> {
        match &self.nodes[&node] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn dir_mut(&mut self, node: NodeId) -> Option<&mut Dir> {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) => Some(dir),
            _ => None,
        }
    }

    pub fn file(&self, node: NodeId) -> io::Result<&FileHistory> {
        match &self.nodes[&node] {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub fn file_mut(&mut self, node: NodeId) -> io::Result<&mut FileHistory> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub fn node_at(&self, names: &[&str]) -> io::Result<NodeId> {
        names.iter().try_fold(ROOT, |dir, name| {
            Ok(*self
                .dir(dir)?
                .live
                .get(*name)
                .ok_or(io::ErrorKind::NotFound)?)
        })
    }

    /// The directory that holds `path`, and the name of `path` in it.
    pub fn parent<'a>(&self, path: &'a Path) -> io::Result<(NodeId, &'a str)> {
        let names = names(path)?;
        let (name, parents) = names.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.node_at(parents)?;
        self.dir(dir)?;
        Ok((dir, name))
    }

    pub fn open_or_create(&mut self, path: &Path) -> io::Result<NodeId> {
        let (dir, name) = self.parent(path)?;
        match self.dir(dir)?.live.get(name).copied() {
            Some(node) => self.file(node).map(|_| node),
            None => self.create(dir, name, Node::File(FileHistory::default())),
        }
    }

    pub fn create(&mut self, dir: NodeId, name: &str, node: Node) -> io::Result<NodeId> {
        let id = self.next_node;
        self.next_node += 1;
        self.nodes.insert(id, node);
        self.edit(dir, vec![(name.to_owned(), Some(id))])?;
        Ok(id)
    }

    /// Changes names of a directory, for now without durability.
    pub fn edit(&mut self, dir: NodeId, edits: Vec<Edit>) -> io::Result<()> {
        let sequence = self.next_sequence();
        let live = &mut self.dir_mut(dir).ok_or(io::ErrorKind::NotADirectory)?.live;
        edit_all(live, &edits);
        self.renames.push(NameChange {
            sequence,
            dir,
            edits,
        });
        Ok(())
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&mut self, dir: NodeId) {
        let changes = std::mem::take(&mut self.renames);
        let (synced, pending): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| change.dir == dir);
        self.renames = pending;
        if let Some(dir) = self.dir_mut(dir) {
            synced
                .iter()
                .for_each(|change| edit_all(&mut dir.durable, &change.edits));
        }
    }

    /// Numbers of the unsynced changes, ascending, of all files and directories that have a name
    /// or could get one back.
    pub fn pending(&self) -> Vec<u64> {
        let mut named: BTreeSet<NodeId> = BTreeSet::from([ROOT]);
        for node in self.nodes.values() {
            if let Node::Dir(dir) = node {
                named.extend(dir.live.values().chain(dir.durable.values()));
            }
        }
        let edits = self.renames.iter().flat_map(|change| &change.edits);
        named.extend(edits.filter_map(|(_, node)| *node));
        let mut pending: Vec<u64> = self.renames.iter().map(|change| change.sequence).collect();
        for id in named {
            if let Node::File(file) = &self.nodes[&id] {
                pending.extend(file.pending.iter().map(|change| change.sequence));
            }
        }
        pending.sort_unstable();
        pending
    }

    /// All that was written, still unsynced.
    pub fn after_process_death(&self) -> Self {
        Self {
            locks: BTreeSet::new(),
            calls: 0,
            crash: None,
            failing_sync: None,
            ..self.clone()
        }
    }

    pub fn after_prefix(&self, changes: u64, tears_next: bool) -> Self {
        let pending = self.pending();
        let cut = usize::try_from(changes).map_or(pending.len(), |n| n.min(pending.len()));
        let first_lost = pending.get(cut).copied();
        let is_kept = |sequence| first_lost.is_none_or(|lost| sequence < lost);
        let torn = first_lost.filter(|_| tears_next);
        self.crashed(
            |change| is_kept(change.sequence),
            |file| file.prefix(is_kept, torn).unwrap_or_default(),
        )
    }

    pub fn after_power_loss(&self, sector_bytes: usize, fate: &mut dyn FnMut(&str) -> u64) -> Self {
        let mut kept = BTreeSet::new();
        let mut lost_names = BTreeSet::new();
        for change in &self.renames {
            let names = || {
                change
                    .edits
                    .iter()
                    .map(|(name, _)| (change.dir, name.as_str()))
            };
            if fate("name") % 2 == 1 && !names().any(|name| lost_names.contains(&name)) {
                kept.insert(change.sequence);
            } else {
                lost_names.extend(names());
            }
        }
        self.crashed(
            |change| kept.contains(&change.sequence),
            |file| file.image(sector_bytes, fate),
        )
    }

    /// The state that a device holds when it kept these names and these images of files.
    fn crashed(
        &self,
        is_kept: impl Fn(&NameChange) -> bool,
        mut image: impl FnMut(&FileHistory) -> Vec<u8>,
    ) -> Self {
        let mut dirs: BTreeMap<NodeId, BTreeMap<String, NodeId>> = BTreeMap::new();
        for (id, node) in &self.nodes {
            if let Node::Dir(dir) = node {
                dirs.insert(*id, dir.durable.clone());
            }
        }
        for change in self.renames.iter().filter(|change| is_kept(change)) {
            edit_all(dirs.entry(change.dir).or_default(), &change.edits);
        }
        let mut after = Self {
            next_node: self.next_node,
            ..Self::default()
        };
        let mut to_visit = vec![ROOT];
        while let Some(id) = to_visit.pop() {
            let node = match &self.nodes[&id] {
                Node::Dir(_) => {
                    let names = dirs.remove(&id).unwrap_or_default();
                    to_visit.extend(names.values());
                    Node::Dir(Dir {
                        live: names.clone(),
                        durable: names,
                    })
                }
                Node::File(_) if after.nodes.contains_key(&id) => continue, // has two names
                Node::File(file) => Node::File(FileHistory::durable(image(file))),
            };
            after.nodes.insert(id, node);
        }
        after
    }
}

fn edit_all(names: &mut BTreeMap<String, NodeId>, edits: &[Edit]) {
    for (name, node) in edits {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}
