//! The whole state as records, for snapshots.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::commitments::Commitments;
use super::one::Commitment;
use super::record::{Closed, CommitmentRecord};
use crate::asp::chain::Digest;
use crate::asp::dispute::Dispute;
use crate::asp::{File, Thread, shared};
use crate::folding::{self, MAX_PART_BYTES};
use crate::types::{AgentId, CommitmentId, DisputeId, Offset, SessionId, Timestamp};

/// Closed commitments that are held at most; once there are so many, the oldest half is filed.
pub const MAX_HELD: usize = 2_000;

/// One row of the whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CommitmentRow {
    /// The thread of all.
    All(#[serde(with = "shared")] Arc<Thread>),
    /// Time of the last record.
    At(Timestamp),
    /// A closed commitment that is held.
    Closed(Offset, #[serde(with = "shared")] Arc<Closed>),
    /// A counterparty's thread.
    Counterparty(AgentId, #[serde(with = "shared")] Arc<Thread>),
    /// A dispute about a commitment that is not closed.
    Dispute(#[serde(with = "shared")] Arc<Dispute>),
    /// A record that files disputes.
    DisputeFile(File<DisputeId>),
    /// A record that files commitments.
    File(File<CommitmentId>),
    /// A commitment that is not closed.
    Live(#[serde(with = "shared")] Arc<Commitment>),
    /// An obligor's thread.
    Obligor(AgentId, #[serde(with = "shared")] Arc<Thread>),
    /// Digest of the secret for the next dispute.
    Seal(Digest),
    /// Number of that secret, where it is known.
    SealNumber(u64),
    /// A session's thread.
    Session(SessionId, #[serde(with = "shared")] Arc<Thread>),
    /// A record that files sessions.
    SessionFile(File<SessionId>),
}

impl Commitments {
    /// The whole state as records. Applied in order, to any state that stands between two entries,
    /// they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<CommitmentRecord> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    pub(super) fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<CommitmentRecord> {
        folding::split(self.rows(), max_part_bytes)
            .into_iter()
            .map(CommitmentRecord::Folded)
            .collect()
    }

    fn rows(&self) -> impl Iterator<Item = CommitmentRow> {
        use CommitmentRow as Row;
        let threads = &self.threads;
        let counterparties = threads.counterparties.iter();
        let obligors = threads.obligors.iter();
        let sessions = threads.sessions.iter();
        [Row::At(self.at), Row::All(threads.all.clone())]
            .into_iter()
            .chain(self.seal.map(Row::Seal))
            .chain(self.seal_number.map(Row::SealNumber))
            .chain(self.files.iter().cloned().map(Row::File))
            .chain(self.dispute_files.iter().cloned().map(Row::DisputeFile))
            .chain(self.session_files.iter().cloned().map(Row::SessionFile))
            .chain(self.live.values().cloned().map(Row::Live))
            .chain(self.disputes.values().cloned().map(Row::Dispute))
            .chain((self.closed.iter()).map(|(at, closed)| Row::Closed(*at, closed.clone())))
            .chain(counterparties.map(|(id, end)| Row::Counterparty(*id, end.clone())))
            .chain(obligors.map(|(id, end)| Row::Obligor(*id, end.clone())))
            .chain(sessions.map(|(id, end)| Row::Session(*id, end.clone())))
    }

    pub(super) fn from_rows(
        rows: &mut dyn Iterator<Item = &CommitmentRow>,
    ) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            state.insert_row(row)?;
        }
        Ok(state)
    }

    fn insert_row(&mut self, row: &CommitmentRow) -> Result<(), &'static str> {
        let threads = &mut self.threads;
        let is_twice = match row {
            CommitmentRow::All(end) => {
                let before = std::mem::replace(&mut threads.all, end.clone());
                !before.is_empty()
            }
            CommitmentRow::At(at) => {
                self.at = *at;
                false
            }
            CommitmentRow::Closed(offset, closed) => {
                let is_twice = self.is_held(closed.commitment.id());
                self.insert_closed(closed.clone(), *offset);
                is_twice
            }
            CommitmentRow::Counterparty(id, end) => {
                threads.counterparties.insert(*id, end.clone()).is_some()
            }
            CommitmentRow::Dispute(dispute) => {
                let is_twice = self.disputes.contains_key(&dispute.id());
                self.insert_dispute(dispute.clone());
                is_twice
            }
            CommitmentRow::DisputeFile(file) => {
                self.dispute_files.push_file(file.clone());
                false
            }
            CommitmentRow::File(file) => {
                self.files.push_file(file.clone());
                false
            }
            CommitmentRow::Live(commitment) => {
                let is_twice = self.is_held(commitment.id());
                self.insert(commitment.clone());
                is_twice
            }
            CommitmentRow::Obligor(id, end) => threads.obligors.insert(*id, end.clone()).is_some(),
            CommitmentRow::Seal(seal) => self.seal.replace(*seal).is_some(),
            CommitmentRow::SealNumber(number) => self.seal_number.replace(*number).is_some(),
            CommitmentRow::Session(id, end) => threads.sessions.insert(*id, end.clone()).is_some(),
            CommitmentRow::SessionFile(file) => {
                self.session_files.push_file(file.clone());
                false
            }
        };
        if is_twice {
            return Err("something stands in it twice");
        }
        Ok(())
    }
}
