//! What can be asked of the commitments and disputes that are held.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::commitments::Commitments;
use super::one::Commitment;
use super::record::Closed;
use super::threads::Which;
use crate::asp::Knot;
use crate::asp::chain::Digest;
use crate::asp::dispute::Dispute;
use crate::types::{AgentId, ChannelName, CommitmentId, DisputeId, MessageId, Offset, SessionId};

/// A commitment that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is not closed.
    Live(Arc<Commitment>),
    /// It is closed; the offset is that of the record.
    Closed(Arc<Closed>, Offset),
}

impl Held {
    /// The commitment.
    #[must_use]
    pub fn commitment(&self) -> &Commitment {
        match self {
            Self::Live(commitment) => commitment,
            Self::Closed(closed, _) => &closed.commitment,
        }
    }
}

impl Commitments {
    /// The commitment, when it is held: not closed, or among those that closed last.
    #[must_use]
    pub fn commitment(&self, id: CommitmentId) -> Option<Held> {
        if let Some(commitment) = self.live.get(&id) {
            return Some(Held::Live(Arc::clone(commitment)));
        }
        let offset = *self.closed_ids.get(&id)?;
        let closed = self.closed.get(&offset)?;
        Some(Held::Closed(Arc::clone(closed), offset))
    }

    /// The commitment, when it is not closed.
    #[must_use]
    pub fn live(&self, id: CommitmentId) -> Option<&Arc<Commitment>> {
        self.live.get(&id)
    }

    /// The commitment that a message offered, when it is held.
    #[must_use]
    pub fn offered_by(&self, session: SessionId, message: MessageId) -> Option<CommitmentId> {
        self.offers.get(&(session, message)).copied()
    }

    /// Whether some of that session are not closed.
    #[must_use]
    pub fn has_live_in(&self, session: SessionId) -> bool {
        let range = (session, CommitmentId(0))..=(session, CommitmentId(u128::MAX));
        self.sessions.range(range).next().is_some()
    }

    /// Those that are not closed of a thread's kind whose id is below that one, the newest first;
    /// no more of them is looked at than is taken.
    pub fn live_below(
        &self,
        which: Which,
        below: CommitmentId,
    ) -> Box<dyn Iterator<Item = &Arc<Commitment>> + '_> {
        match which {
            Which::All => Box::new(self.live.range(..below).rev().map(|(_, one)| one)),
            Which::Counterparty(agent) => self.below(&self.counterparties, agent, below),
            Which::Obligor(agent) => self.below(&self.obligors, agent, below),
            Which::Session(session) => self.below(&self.sessions, session, below),
        }
    }

    fn below<'a, Of: Ord + Copy + 'a>(
        &'a self,
        index: &'a BTreeSet<(Of, CommitmentId)>,
        of: Of,
        below: CommitmentId,
    ) -> Box<dyn Iterator<Item = &'a Arc<Commitment>> + 'a> {
        let ids = index.range((of, CommitmentId(0))..(of, below)).rev();
        Box::new(ids.filter_map(|(_, id)| self.live.get(id)))
    }

    /// The disputes about commitments that are not closed whose id is below that one, the newest
    /// first.
    pub fn disputes_below(&self, below: DisputeId) -> impl Iterator<Item = &Arc<Dispute>> {
        self.disputes.range(..below).rev().map(|(_, one)| one)
    }

    /// The last closed ones that are held, the latest first, each with its record's offset.
    pub fn held(&self) -> impl Iterator<Item = (Offset, &Arc<Closed>)> {
        let closed = self.closed.iter().rev();
        closed.map(|(offset, closed)| (*offset, closed))
    }

    /// The last record of a thread; none where it has none yet.
    #[must_use]
    pub fn knot(&self, which: Which) -> Option<Knot> {
        self.threads.of(which)?.last()
    }

    /// The records in which this commitment may be filed, the latest first.
    pub fn filed(&self, id: CommitmentId) -> impl Iterator<Item = Offset> {
        self.files.candidates(id)
    }

    /// The records in which this dispute may be filed, the latest first.
    pub fn filed_dispute(&self, id: DisputeId) -> impl Iterator<Item = Offset> {
        self.dispute_files.candidates(id)
    }

    /// The records in which threads of this session may be filed, the latest first.
    pub fn filed_session(&self, session: SessionId) -> impl Iterator<Item = Offset> {
        self.session_files.candidates(session)
    }

    /// The dispute, when it is held.
    #[must_use]
    pub fn dispute(&self, id: DisputeId) -> Option<Dispute> {
        self.held_dispute(id).cloned()
    }

    pub(in crate::asp) fn held_dispute(&self, id: DisputeId) -> Option<&Dispute> {
        if let Some(dispute) = self.disputes.get(&id) {
            return Some(dispute);
        }
        let closed = self.closed.get(self.closed_disputes.get(&id)?)?;
        closed.disputes.iter().find(|dispute| dispute.id() == id)
    }

    /// The disputes about a commitment that is not closed, the oldest first.
    pub fn disputes_of(&self, commitment: CommitmentId) -> impl Iterator<Item = &Arc<Dispute>> {
        let range = (commitment, DisputeId(0))..=(commitment, DisputeId(u128::MAX));
        let ids = self.of_commitments.range(range);
        ids.filter_map(|(_, id)| self.disputes.get(id))
    }

    /// The disputes about commitments that are not closed, the newest first.
    pub fn disputes(&self) -> impl Iterator<Item = &Arc<Dispute>> {
        self.disputes.values().rev()
    }

    /// Those of them that an agent filed, that are against it, or in which it has or had a seat,
    /// the newest first.
    pub fn disputes_of_agent(&self, agent: AgentId) -> impl Iterator<Item = &Arc<Dispute>> {
        let range = (agent, DisputeId(0))..=(agent, DisputeId(u128::MAX));
        let ids = self.of_agents.range(range).rev();
        ids.filter_map(|(_, id)| self.disputes.get(id))
    }

    /// The ranges of a channel that open disputes point to, by their start: they are to be held
    /// against retention.
    pub fn needed(
        &self,
        channel: &ChannelName,
    ) -> impl Iterator<Item = (std::ops::Range<Offset>, DisputeId)> {
        let first = (channel.clone(), Offset(0), Offset(0), DisputeId(0));
        let channel = channel.clone();
        self.needed
            .range(first..)
            .take_while(move |(name, ..)| *name == channel)
            .map(|(_, start, end, dispute)| (*start..*end, *dispute))
    }

    /// All ranges that open disputes point to, by channel and start.
    pub fn all_needed(
        &self,
    ) -> impl Iterator<Item = (&ChannelName, std::ops::Range<Offset>, DisputeId)> {
        let all = self.needed.iter();
        all.map(|(channel, start, end, dispute)| (channel, *start..*end, *dispute))
    }

    /// Digest of the secret for the next dispute; none before the first was sealed.
    #[must_use]
    pub fn seal(&self) -> Option<Digest> {
        self.seal
    }

    /// Number of the secret for the next dispute, 0 for the first; none where it is not known.
    #[must_use]
    pub fn seal_number(&self) -> Option<u64> {
        self.seal_number
    }

    /// How many are not closed.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    pub(super) fn closed_commitment(&self, id: CommitmentId) -> Option<&Commitment> {
        let closed = self.closed.get(self.closed_ids.get(&id)?)?;
        Some(&closed.commitment)
    }
}
