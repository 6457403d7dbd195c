//! The commitments of an organisation and the disputes about them, folded from
//! [`CommitmentRecord`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::evidence::Reference;
use super::fold::{CommitmentRow, MAX_HELD};
use super::one::Commitment;
use super::promise::Promise;
use super::record::{Closed, CommitmentRecord, CommitmentsFiled, Created, Stepped};
use super::table::{Standing, Voice};
use super::threads::Threads;
use crate::asp::Files;
use crate::asp::chain::Digest;
use crate::asp::dispute::{Dispute, DisputeDue, DisputeRecord, DisputeStep, DisputeStepped};
use crate::asp::tool::Plain;
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent};
use crate::types::{
    AgentId, ChannelName, CommitmentId, DisputeId, MessageId, Offset, SessionId, Timestamp,
};

/// The commitments of one organisation and the disputes about them. Those that are not closed and
/// the last 1,000 to 2,000 that are, are held; rows are shared with clones, so that a clone for a
/// query or a snapshot copies none. A state record replaces all once its last part is there; no
/// other record may stand between its parts. An unknown record changes nothing. Limits are judged
/// once, at the door, and not by a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commitments {
    /// Time of the last record.
    pub(super) at: Timestamp,
    pub(super) live: BTreeMap<CommitmentId, Arc<Commitment>>,
    live_bytes: usize,
    pub(super) obligors: BTreeSet<(AgentId, CommitmentId)>,
    pub(super) counterparties: BTreeSet<(AgentId, CommitmentId)>,
    pub(super) sessions: BTreeSet<(SessionId, CommitmentId)>,
    /// Of those that are held: the messages that offered them.
    pub(super) offers: BTreeMap<(SessionId, MessageId), CommitmentId>,
    /// Disputes about live commitments, ended ones too.
    pub(super) disputes: BTreeMap<DisputeId, Arc<Dispute>>,
    pub(super) of_commitments: BTreeSet<(CommitmentId, DisputeId)>,
    pub(super) of_agents: BTreeSet<(AgentId, DisputeId)>,
    /// What open disputes point to.
    pub(super) needed: BTreeSet<(ChannelName, Offset, Offset, DisputeId)>,
    deadlines: BTreeSet<(Timestamp, Subject)>,
    pub(super) seal: Option<Digest>,
    /// Number of the secret that it seals, 0 for the first.
    pub(super) seal_number: Option<u64>,
    pub(super) closed: BTreeMap<Offset, Arc<Closed>>,
    pub(super) closed_ids: BTreeMap<CommitmentId, Offset>,
    pub(super) closed_disputes: BTreeMap<DisputeId, Offset>,
    pub(super) files: Files<CommitmentId>,
    pub(super) dispute_files: Files<DisputeId>,
    pub(super) session_files: Files<SessionId>,
    pub(super) threads: Threads,
    assembly: Option<Assembly<CommitmentRow>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Commitment(CommitmentId),
    Dispute(DisputeId),
}

/// What the clock does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// This is to be recorded.
    Record(CommitmentRecord),
    /// This dispute goes to review: find candidates, and ask
    /// [`Commitments::check_review`](super::Commitments::check_review) for the record.
    Review(DisputeId),
}

impl Commitments {
    /// Takes a record into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the record cannot follow; the state is unchanged.
    pub fn apply(&mut self, record: &CommitmentRecord, offset: Offset) -> Result<(), IllegalEvent> {
        self.transition(record, offset)
            .map_err(|rule| illegal(record, rule))
    }

    /// What was due first of all, once it is; `None` when nothing is. Record and apply it, and ask
    /// again.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<Due> {
        self.next_due_but(now, &|_| false)
    }

    /// [`Commitments::next_due`], of what is about no commitment that is held up.
    #[must_use]
    pub fn next_due_but(
        &self,
        now: Timestamp,
        is_held_up: &dyn Fn(&Commitment) -> bool,
    ) -> Option<Due> {
        let due = self.deadlines.iter().take_while(|(due, _)| *due <= now);
        let mut free = due.filter(|(_, subject)| {
            let of = match subject {
                Subject::Commitment(id) => Some(*id),
                Subject::Dispute(id) => self.disputes.get(id).map(|of| of.commitment()),
            };
            let of = of.and_then(|id| self.live.get(&id));
            of.is_none_or(|commitment| !is_held_up(commitment))
        });
        free.find_map(|(_, subject)| match subject {
            Subject::Commitment(id) => self.due_commitment(*id, now).map(Due::Record),
            Subject::Dispute(id) => self.due_dispute(*id, now),
        })
    }

    /// When something becomes due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// The record that files the oldest half of the closed commitments, once [`MAX_HELD`] are
    /// held.
    #[must_use]
    pub fn next_filing(&self) -> Option<CommitmentRecord> {
        let is_full = self.closed.len() >= MAX_HELD;
        is_full.then(|| CommitmentRecord::Filed(self.filing(MAX_HELD / 2)))
    }

    pub(super) fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// The time that a record gets: the clock's, but never one before the last record's, so that
    /// the order of the topic is that of time.
    pub(in crate::asp) fn stamp(&self, now: Timestamp) -> Timestamp {
        now.max(self.at)
    }

    /// A state with nothing in it but a commitment and the disputes about it, in which what
    /// follows for them alone is tried out.
    pub(super) fn alone(&self, id: CommitmentId) -> Self {
        let mut alone = Self {
            at: self.at,
            seal: self.seal,
            seal_number: self.seal_number,
            ..Self::default()
        };
        if let Some(commitment) = self.live.get(&id) {
            alone.insert(Arc::clone(commitment));
        }
        for dispute in self.disputes_of(id) {
            alone.insert_dispute(Arc::clone(dispute));
        }
        alone
    }

    fn due_commitment(&self, id: CommitmentId, now: Timestamp) -> Option<CommitmentRecord> {
        let commitment = self.live.get(&id)?;
        let at = self.stamp(now);
        let Some(step) = commitment.clock_step() else {
            return Some(CommitmentRecord::Closed(Arc::new(
                self.closing(commitment, at),
            )));
        };
        let stepped = Stepped {
            at,
            by: None,
            commitment: id,
            message: None,
            message_offset: None,
            party: None,
            role: Voice::Clock,
            shortened_to: None,
        };
        Some(CommitmentRecord::Stepped { step, stepped })
    }

    fn due_dispute(&self, id: DisputeId, now: Timestamp) -> Option<Due> {
        let dispute = self.disputes.get(&id)?;
        let (step, agent) = match dispute.due()?.1 {
            DisputeDue::Review => return Some(Due::Review(id)),
            DisputeDue::Replace(agent) => (DisputeStep::Replace, Some(agent)),
            DisputeDue::Escalate => (DisputeStep::Escalate, None),
            DisputeDue::Expire => (DisputeStep::Expire, None),
        };
        let stepped = DisputeStepped {
            agent,
            at: self.stamp(now),
            by: None,
            commitment: dispute.commitment(),
            dispute: id,
        };
        let record = DisputeRecord::Stepped { step, stepped };
        Some(Due::Record(CommitmentRecord::Dispute(record)))
    }

    /// What the record says that closes a commitment.
    fn closing(&self, commitment: &Commitment, at: Timestamp) -> Closed {
        Closed {
            at,
            commitment: Commitment {
                closed: true,
                ..commitment.clone()
            },
            disputes: self
                .disputes_of(commitment.id())
                .map(|dispute| (**dispute).clone())
                .collect(),
            threads: self.threads.links(commitment),
        }
    }

    fn transition(
        &mut self,
        record: &CommitmentRecord,
        offset: Offset,
    ) -> Result<(), &'static str> {
        match record {
            CommitmentRecord::Unknown { .. } => Ok(()),
            CommitmentRecord::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    *self = state;
                }
                Ok(())
            }
            _ if self.assembly.is_some() => Err(BETWEEN_PARTS),
            CommitmentRecord::Created(created) => self.create(created, offset),
            CommitmentRecord::Delivered(delivered) => {
                let mut commitment = self.next_of(delivered.commitment, delivered.at)?;
                commitment.deliver(delivered, offset)?;
                self.at = delivered.at;
                self.replace(commitment);
                Ok(())
            }
            CommitmentRecord::Stepped { step, stepped } => {
                let mut commitment = self.next_of(stepped.commitment, stepped.at)?;
                commitment.step(*step, stepped, offset)?;
                self.at = stepped.at;
                self.replace(commitment);
                Ok(())
            }
            CommitmentRecord::Closed(closed) => self.close(closed, offset),
            CommitmentRecord::Dispute(record) => self.dispute_step(record, offset),
            CommitmentRecord::Filed(filed) => self.file(filed, offset),
        }
    }

    fn create(&mut self, created: &Arc<Created>, offset: Offset) -> Result<(), &'static str> {
        self.follows(created.at)?;
        if self.is_held(created.commitment) {
            return Err("the commitment is there already");
        }
        let commitment = Commitment::begin(created, offset)?;
        self.at = created.at;
        self.insert(Arc::new(commitment));
        Ok(())
    }

    fn dispute_step(&mut self, record: &DisputeRecord, offset: Offset) -> Result<(), &'static str> {
        let at = record.at();
        self.follows(at)?;
        let (Some(id), Some(commitment)) = (record.dispute(), record.commitment()) else {
            if let DisputeRecord::Sealed(sealed) = record {
                self.seal = Some(sealed.seal);
                self.seal_number = Some(0);
                self.at = at;
            }
            return Ok(());
        };
        let (commitment, dispute) = self.after(record, id, commitment, offset)?;
        if let DisputeRecord::Filed(filed) = record {
            self.seal = Some(filed.next_seal);
            self.seal_number = filed.seal_number.map(|number| number.saturating_add(1));
        }
        self.at = at;
        self.remove_dispute(id);
        self.insert_dispute(Arc::new(dispute));
        self.replace(commitment);
        Ok(())
    }

    /// What a record makes of a dispute and its commitment.
    fn after(
        &self,
        record: &DisputeRecord,
        id: DisputeId,
        commitment: CommitmentId,
        offset: Offset,
    ) -> Result<(Commitment, Dispute), &'static str> {
        let mut commitment = (**self.live.get(&commitment).ok_or(NOT_LIVE)?).clone();
        if let DisputeRecord::Filed(filed) = record {
            if self.disputes.contains_key(&id) || self.closed_disputes.contains_key(&id) {
                return Err("the dispute is there already");
            }
            let mut before = self.disputes_of(commitment.id());
            if before.any(|other| other.filed.filer.agent == filed.filer.agent) {
                return Err("that agent has disputed it");
            }
            if self.seal != Some(filed.seal) {
                return Err("its seal is not the one that was recorded before");
            }
            if let (Some(number), Some(known)) = (filed.seal_number, self.seal_number)
                && number != known
            {
                return Err("its seal has another number than the one that was recorded before");
            }
            let named = commitment.voice(filed.filer, Standing::Participant);
            if named == Some(Voice::Obligor)
                || filed.against != commitment.created.promise.obligor
                || (named == Some(Voice::Judge) && filed.role != Voice::Judge)
            {
                return Err("it is not filed by whom it says");
            }
            commitment.dispute(filed.at, filed.role, offset)?;
            return Ok((commitment, Dispute::begin(filed, offset)));
        }
        let mut dispute = (**self.disputes.get(&id).ok_or("there is no such dispute")?).clone();
        if dispute.commitment() != commitment.id() {
            return Err("the dispute is about another commitment");
        }
        dispute.follow(record, offset)?;
        commitment.note(offset);
        if dispute.state.is_terminal() {
            commitment.settle(record.at(), dispute.against());
        }
        Ok((commitment, dispute))
    }

    fn close(&mut self, closed: &Arc<Closed>, offset: Offset) -> Result<(), &'static str> {
        self.follows(closed.at)?;
        let id = closed.commitment.id();
        let commitment = self.live.get(&id).ok_or(NOT_LIVE)?;
        let is_due = commitment.due().is_some_and(|due| due <= closed.at);
        if !is_due || commitment.clock_step().is_some() {
            return Err("something can still happen to it");
        }
        let expected = self.closing(commitment, closed.at);
        if expected.threads != closed.threads {
            return Err("it is not linked behind the closed commitments before it");
        }
        if expected != **closed {
            return Err("it does not close the commitment as it is");
        }
        self.at = closed.at;
        self.remove(id);
        for dispute in &closed.disputes {
            self.remove_dispute(dispute.id());
        }
        self.threads.push(&closed.commitment, offset);
        self.insert_closed(Arc::clone(closed), offset);
        Ok(())
    }

    fn file(&mut self, filed: &CommitmentsFiled, offset: Offset) -> Result<(), &'static str> {
        if filed.commitments.is_empty() || *filed != self.filing(filed.commitments.len()) {
            return Err("it does not file the oldest of the closed commitments that are held");
        }
        for (id, closed) in &filed.commitments {
            self.closed_ids.remove(id);
            if let Some(closed) = self.closed.remove(closed) {
                self.remove_offer(&closed.commitment);
            }
        }
        for (id, _) in &filed.disputes {
            self.closed_disputes.remove(id);
        }
        for (session, _) in &filed.sessions {
            self.threads.sessions.remove(session);
        }
        let ids = filed.commitments.iter().map(|(id, _)| *id);
        self.files.push(ids, offset);
        let ids = filed.disputes.iter().map(|(id, _)| *id);
        self.dispute_files.push(ids, offset);
        let ids = filed.sessions.iter().map(|(id, _)| *id);
        self.session_files.push(ids, offset);
        Ok(())
    }

    /// The oldest closed commitments with their disputes, and the sessions none of whose
    /// commitments is held without them.
    pub(super) fn filing(&self, count: usize) -> CommitmentsFiled {
        let oldest = || self.closed.iter().take(count);
        let keeps_from = self.closed.keys().nth(count);
        let sessions: BTreeSet<_> = oldest()
            .map(|(_, closed)| closed.commitment.created.promise.session)
            .collect();
        let let_go = sessions.into_iter().filter_map(|session| {
            let last = self.threads.sessions.get(&session)?.last()?;
            let is_old = keeps_from.is_none_or(|keeps| last.offset < *keeps);
            let is_over = !self.has_live_in(session);
            (is_old && is_over).then_some((session, last))
        });
        let disputes = oldest().flat_map(|(offset, closed)| {
            let all = closed.disputes.iter();
            all.map(|dispute| (dispute.id(), *offset))
        });
        CommitmentsFiled {
            commitments: oldest()
                .map(|(offset, closed)| (closed.commitment.id(), *offset))
                .collect(),
            disputes: disputes.collect(),
            sessions: let_go.collect(),
        }
    }

    fn follows(&self, at: Timestamp) -> Result<(), &'static str> {
        if at < self.at {
            return Err("its time lies before that of the record before it");
        }
        Ok(())
    }

    pub(super) fn is_held(&self, id: CommitmentId) -> bool {
        self.live.contains_key(&id) || self.closed_ids.contains_key(&id)
    }

    fn next_of(&self, id: CommitmentId, at: Timestamp) -> Result<Commitment, &'static str> {
        self.follows(at)?;
        self.live
            .get(&id)
            .map(|one| (**one).clone())
            .ok_or(NOT_LIVE)
    }

    fn replace(&mut self, commitment: Commitment) {
        self.remove(commitment.id());
        self.insert(Arc::new(commitment));
    }

    pub(super) fn insert(&mut self, commitment: Arc<Commitment>) {
        let (id, promise) = (commitment.id(), &commitment.created.promise);
        self.live_bytes += bytes(&commitment);
        self.obligors.insert((promise.obligor.agent, id));
        self.sessions.insert((promise.session, id));
        self.insert_offer(&commitment);
        if let Some(party) = commitment.counterparty {
            self.counterparties.insert((party.agent, id));
        }
        if let Some(due) = commitment.due() {
            self.deadlines.insert((due, Subject::Commitment(id)));
        }
        self.live.insert(id, commitment);
    }

    fn remove(&mut self, id: CommitmentId) {
        let Some(commitment) = self.live.remove(&id) else {
            return;
        };
        let promise = &commitment.created.promise;
        self.live_bytes -= bytes(&commitment);
        self.obligors.remove(&(promise.obligor.agent, id));
        self.sessions.remove(&(promise.session, id));
        self.remove_offer(&commitment);
        if let Some(party) = commitment.counterparty {
            self.counterparties.remove(&(party.agent, id));
        }
        if let Some(due) = commitment.due() {
            self.deadlines.remove(&(due, Subject::Commitment(id)));
        }
    }

    fn insert_offer(&mut self, commitment: &Commitment) {
        if let Some(offer) = offer(commitment) {
            self.offers.insert(offer, commitment.id());
        }
    }

    fn remove_offer(&mut self, commitment: &Commitment) {
        if let Some(offer) = offer(commitment) {
            self.offers.remove(&offer);
        }
    }

    pub(super) fn insert_dispute(&mut self, dispute: Arc<Dispute>) {
        let id = dispute.id();
        self.of_commitments.insert((dispute.commitment(), id));
        self.of_agents
            .extend(dispute.agents().map(|agent| (agent, id)));
        if let Some((due, _)) = dispute.due() {
            self.deadlines.insert((due, Subject::Dispute(id)));
        }
        self.needed.extend(needs(&dispute));
        self.disputes.insert(id, dispute);
    }

    fn remove_dispute(&mut self, id: DisputeId) {
        let Some(dispute) = self.disputes.remove(&id) else {
            return;
        };
        self.of_commitments.remove(&(dispute.commitment(), id));
        for agent in dispute.agents() {
            self.of_agents.remove(&(agent, id));
        }
        if let Some((due, _)) = dispute.due() {
            self.deadlines.remove(&(due, Subject::Dispute(id)));
        }
        for need in needs(&dispute) {
            self.needed.remove(&need);
        }
    }

    pub(super) fn insert_closed(&mut self, closed: Arc<Closed>, offset: Offset) {
        self.closed_ids.insert(closed.commitment.id(), offset);
        self.insert_offer(&closed.commitment);
        let disputes = closed.disputes.iter();
        self.closed_disputes
            .extend(disputes.map(|dispute| (dispute.id(), offset)));
        self.closed.insert(offset, closed);
    }
}

/// The message that offered a commitment, where one did.
fn offer(commitment: &Commitment) -> Option<(SessionId, MessageId)> {
    let created = &commitment.created;
    Some((created.promise.session, created.message?))
}

/// What an open dispute points to in channels.
fn needs(dispute: &Dispute) -> Vec<(ChannelName, Offset, Offset, DisputeId)> {
    if dispute.state.is_terminal() {
        return Vec::new();
    }
    let places = dispute
        .references()
        .filter_map(|reference| match reference {
            Reference::Channel {
                channel,
                start,
                end,
                ..
            } => Some((channel.clone(), *start, *end, dispute.id())),
            Reference::Session { .. } => None,
        });
    places.collect()
}

const NOT_LIVE: &str = "there is no such commitment that is not closed";

fn bytes(commitment: &Commitment) -> usize {
    promise_bytes(&commitment.created.promise)
}

/// Bytes that a promise takes in memory, roughly: its texts.
pub(super) fn promise_bytes(promise: &Promise) -> usize {
    let obligations = promise.obligations.iter().map(|one| {
        let method = one.verification_method.as_deref().unwrap_or_default();
        one.action.len() + one.party.len() + method.len()
    });
    let terms = promise.terms.as_ref().map_or(0, Plain::bytes);
    promise.description.len() + obligations.sum::<usize>() + terms
}

fn illegal(record: &CommitmentRecord, rule: &'static str) -> IllegalEvent {
    IllegalEvent {
        event: record.record_type().to_owned(),
        subject: match record {
            CommitmentRecord::Filed(filed) => {
                format!("{} commitments", filed.commitments.len())
            }
            CommitmentRecord::Folded(part) => format!("part {} of {}", part.part, part.parts),
            _ => match record.commitment() {
                Some(commitment) => format!("commitment {commitment}"),
                None => "all commitments".to_owned(),
            },
        },
        rule,
    }
}
