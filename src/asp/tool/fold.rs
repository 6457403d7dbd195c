//! The whole state as records, for snapshots.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::durations::ToolStats;
use super::record::{Kind, ToolRecord};
use super::tools::{EndedCall, OpenCall, Tools};
use crate::asp::{File, Thread, shared};
use crate::folding::{self, EVENT_VERSION, Folded, MAX_PART_BYTES, WrittenPart};
use crate::types::{AgentId, CallId, SessionId, Timestamp, ToolName};

/// Ended calls that are held at most; once there are so many, the oldest half is filed.
pub const MAX_HELD: usize = 2_000;

/// One part of the whole state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolPart {
    /// The part.
    pub folded: Folded<ToolRow>,
    /// Type of the record.
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
}

/// One row of the whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolRow {
    /// An agent's thread.
    Agent(AgentId, #[serde(with = "shared")] Arc<Thread>),
    /// The thread of all.
    All(#[serde(with = "shared")] Arc<Thread>),
    /// Time of the last record.
    At(Timestamp),
    /// An ended call that is held.
    Ended(#[serde(with = "shared")] Arc<EndedCall>),
    /// A record that files calls.
    File(File<CallId>),
    /// An open call.
    Open(#[serde(with = "shared")] Arc<OpenCall>),
    /// The thread of an agent's calls of one tool.
    Pair(AgentId, ToolName, #[serde(with = "shared")] Arc<Thread>),
    /// A session's thread.
    Session(SessionId, #[serde(with = "shared")] Arc<Thread>),
    /// A record that files sessions.
    SessionFile(File<SessionId>),
    /// A tool's totals.
    Stats(ToolName, ToolStats),
    /// A tool's thread.
    Tool(ToolName, #[serde(with = "shared")] Arc<Thread>),
}

impl Serialize for ToolPart {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        WrittenPart::of(&self.folded, self.kind, self.v).serialize(to)
    }
}

impl<'de> Deserialize<'de> for ToolPart {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (folded, kind, v) = WrittenPart::<Vec<_>, _>::deserialize(from)?.into_parts();
        Ok(Self { folded, kind, v })
    }
}

impl Tools {
    /// The whole state as records. Applied in order, to any state that stands between two entries,
    /// they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<ToolRecord> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    pub(super) fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<ToolRecord> {
        folding::split(self.rows(), max_part_bytes)
            .into_iter()
            .map(|folded| {
                ToolRecord::Folded(ToolPart {
                    folded,
                    kind: Kind::Folded,
                    v: EVENT_VERSION.into(),
                })
            })
            .collect()
    }

    fn rows(&self) -> impl Iterator<Item = ToolRow> {
        let threads = &self.threads;
        let pairs = threads.pairs.iter();
        [ToolRow::At(self.at), ToolRow::All(threads.all.clone())]
            .into_iter()
            .chain(self.files.iter().cloned().map(ToolRow::File))
            .chain(self.session_files.iter().cloned().map(ToolRow::SessionFile))
            .chain(self.open.values().cloned().map(ToolRow::Open))
            .chain(self.ended.values().cloned().map(ToolRow::Ended))
            .chain((threads.agents.iter()).map(|(id, thread)| ToolRow::Agent(*id, thread.clone())))
            .chain(pairs.map(|((id, tool), end)| ToolRow::Pair(*id, tool.clone(), end.clone())))
            .chain((threads.sessions.iter()).map(|(id, end)| ToolRow::Session(*id, end.clone())))
            .chain(
                (threads.tools.iter()).map(|(tool, end)| ToolRow::Tool(tool.clone(), end.clone())),
            )
            .chain((self.stats.iter()).map(|(tool, all)| ToolRow::Stats(tool.clone(), all.clone())))
    }

    pub(super) fn from_rows(
        rows: &mut dyn Iterator<Item = &ToolRow>,
    ) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            state.insert_row(row)?;
        }
        Ok(state)
    }

    fn insert_row(&mut self, row: &ToolRow) -> Result<(), &'static str> {
        let threads = &mut self.threads;
        let is_twice = match row {
            ToolRow::Agent(agent, end) => threads.agents.insert(*agent, end.clone()).is_some(),
            ToolRow::All(end) => {
                let before = std::mem::replace(&mut threads.all, end.clone());
                !before.is_empty()
            }
            ToolRow::At(at) => {
                self.at = *at;
                false
            }
            ToolRow::Ended(ended) => {
                self.insert_ended(ended.clone())?;
                false
            }
            ToolRow::File(File { ids, offset }) => {
                self.files
                    .push([*ids.start(), *ids.end()].into_iter(), *offset);
                false
            }
            ToolRow::Open(open) => {
                self.insert_open(open.clone())?;
                false
            }
            ToolRow::Pair(agent, tool, end) => {
                let pair = (*agent, tool.clone());
                threads.pairs.insert(pair, end.clone()).is_some()
            }
            ToolRow::Session(session, end) => {
                threads.sessions.insert(*session, end.clone()).is_some()
            }
            ToolRow::SessionFile(File { ids, offset }) => {
                let ids = [*ids.start(), *ids.end()].into_iter();
                self.session_files.push(ids, *offset);
                false
            }
            ToolRow::Stats(tool, stats) => self.stats.insert(tool.clone(), stats.clone()).is_some(),
            ToolRow::Tool(tool, end) => threads.tools.insert(tool.clone(), end.clone()).is_some(),
        };
        if is_twice {
            return Err("something stands in it twice");
        }
        Ok(())
    }
}
