//! What the broker saw agents do, on the one topic `__asp.evidence`, and the trust that follows
//! from it. The topic is the default organisation's, and every key with the scope `asp` reads it: it
//! names parties, digests, outcomes and times, and nothing of what was said.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use super::record::own;
use super::snapshot::Snapshot;
use super::{AspError, Topic};
use crate::access::Principal;
use crate::asp::commitment::{self, DisputeOutcome, Mode, Outcome, OutcomeKind};
use crate::asp::dispute::{self, Verdict};
use crate::asp::registry::AgentRef;
use crate::asp::session::Settled;
use crate::asp::trust::{
    AgentScore, ClockRead, CommitmentEnded, Confirmation, DisputeRuled, Explanation, Kind,
    Mechanism, Party, Ruling, Scope, TaskSettled, TrustRecord, TrustState,
};
use crate::asp::{Links, Trust, TrustScore};
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::broker::error::BrokerError;
use crate::broker::topic::{Fold, TopicError};
use crate::folding::{EventError, IllegalEvent};
use crate::storage::{Need, NewBatch};
use crate::types::{AgentId, ChannelName, Incarnation, Offset, OrgId, SessionId, Timestamp};

/// Name of the topic of evidence.
pub const EVIDENCE_TOPIC: &str = "__asp.evidence";

/// Version of the records.
pub(super) const VERSION: u64 = 1;

impl Fold for TrustState {
    type Event = TrustRecord;
    const TOPIC: &'static str = EVIDENCE_TOPIC;

    fn decode(record_type: &str, payload: &[u8]) -> Result<TrustRecord, EventError> {
        TrustRecord::decode(record_type, payload)
    }

    fn event(&mut self, offset: Offset, event: TrustRecord) -> Result<(), IllegalEvent> {
        self.apply(&event, offset)
    }

    /// A score without a part of what it rests on would be another one.
    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        let topic = Self::TOPIC;
        Err(TopicError::Lost { topic, lost })
    }
}

impl Snapshot for TrustState {
    const STATE_RECORD: &'static str = "trust.folded";

    fn state_records(&self) -> Vec<Vec<u8>> {
        self.fold().iter().map(TrustRecord::encode).collect()
    }
}

/// An agent's trust as somebody is told it.
#[derive(Clone, Debug)]
pub struct TrustSeen {
    /// The agent.
    pub agent: super::Named,
    /// What is told of it.
    pub score: AgentScore,
}

impl Broker {
    /// The name of the topic of evidence.
    pub(super) fn evidence_channel() -> ChannelName {
        ChannelName::parse_any(TrustState::TOPIC).expect("a constant that follows the rule")
    }

    /// Makes the topic of evidence, where there is none.
    pub(super) fn make_evidence(&mut self, now: Timestamp) -> Result<(), BrokerError> {
        if self.asp.evidence.is_some() {
            return Ok(());
        }
        let incarnation = self.new_incarnation();
        self.make_kept_topics(&[(Self::evidence_channel(), incarnation)], now)?;
        self.asp.evidence = Some(Topic::new(incarnation));
        Ok(())
    }

    /// Evidence as it is written next: behind a clock record where one is due, and linked.
    pub(super) fn linked_evidence(
        &self,
        evidence: &[TrustRecord],
        now: Timestamp,
    ) -> Result<(Incarnation, Vec<TrustRecord>), BrokerError> {
        let missing = || BrokerError::Bug("the topic of evidence was not made".into());
        let topic = self.asp.evidence.as_ref().ok_or_else(missing)?;
        let state = topic.known()?;
        let clock = self.clock_due(state, now);
        let records = clock.into_iter().chain(evidence.iter().cloned());
        let offset = self.next_offset(topic.log);
        Ok((topic.log, state.link_all(records.collect(), offset)))
    }

    /// The record of the clock that is due, if one is: an hour has begun, or the half-life is another
    /// one than that of the evidence so far. It is on the record, so that every rebuild counts alike.
    fn clock_due(&self, state: &TrustState, now: Timestamp) -> Option<TrustRecord> {
        let half_life_hours = self.config.trust_half_life_hours;
        let is_changed = state.half_life_hours() != half_life_hours;
        let is_due = is_changed || state.next_clock() <= now;
        let at = state.clock().map_or(now, |last| now.max(last));
        is_due.then(|| clock_record(half_life_hours, at))
    }

    /// Records that an hour has begun, where there is evidence at all.
    pub(super) fn read_clock(&mut self, now: Timestamp) {
        let known = self.asp.evidence.as_ref();
        let known = known.and_then(|topic| topic.known().ok());
        if known.is_none_or(|state| self.clock_due(state, now).is_none()) {
            return;
        }
        if let Err(error) = self.record_clock(now) {
            tracing::debug!(%error, "the clock is recorded later");
        }
    }

    /// Records that an hour has begun, ahead of what is judged by scores.
    pub(super) fn read_clock_first(&mut self, now: Timestamp) -> Result<(), BrokerError> {
        let Some(topic) = &self.asp.evidence else {
            return Ok(());
        };
        match self.clock_due(topic.known()?, now) {
            Some(_) => self.record_clock(now),
            None => Ok(()),
        }
    }

    fn record_clock(&mut self, now: Timestamp) -> Result<(), BrokerError> {
        let (log, evidence) = self.linked_evidence(&[], now)?;
        let mut batches = vec![self.evidence_batch(log, &evidence)?];
        self.storage.check_stage(&batches, Need::Own)?;
        self.apply_evidence(&evidence, self.next_offset(log))?;
        let staged = self.storage.stage_for(&mut batches, Need::Own, now)?;
        self.booked(log, &staged);
        Ok(())
    }

    /// Evidence as a batch.
    pub(super) fn evidence_batch(
        &self,
        log: Incarnation,
        evidence: &[TrustRecord],
    ) -> Result<NewBatch, BrokerError> {
        let records = evidence.iter();
        let records = records.map(|record| own(record.record_type(), record.encode()));
        self.asp_batch(log, &records.collect::<Vec<_>>())
    }

    /// Takes evidence in.
    pub(super) fn apply_evidence(
        &mut self,
        evidence: &[TrustRecord],
        offset: Offset,
    ) -> Result<(), BrokerError> {
        let Some(topic) = &mut self.asp.evidence else {
            return Ok(());
        };
        for (offset, record) in (offset.0..).map(Offset).zip(evidence) {
            let applied = Arc::make_mut(&mut topic.state).apply(record, offset);
            applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        }
        topic.count(evidence.len());
        Ok(())
    }

    /// How far an agent is trusted, as the caller's organisation is told.
    ///
    /// # Errors
    /// [`Refusal`]: no such agent, or the topic of evidence is damaged.
    pub fn trust_of(
        &self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<Accepted<TrustSeen>, Refusal> {
        let (org, id) = self.agent_there(by, agent, now)?;
        let scope = scope(by, org);
        let score = match &self.asp.evidence {
            Some(topic) => topic.known()?.score(id, scope),
            None => TrustState::default().score(id, scope),
        };
        let agent = self.named(org, id);
        Ok(Accepted {
            value: TrustSeen { agent, score },
            wait: self.evidence_wait(),
        })
    }

    /// What an agent's trust rests on, and where the evidence about it ends on the topic.
    ///
    /// # Errors
    /// As for [`Broker::trust_of`].
    pub fn explain_trust(
        &self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<Accepted<(TrustSeen, Option<Explanation>)>, Refusal> {
        let Accepted { value, wait } = self.trust_of(by, agent, now)?;
        let state = self.asp.evidence.as_ref().map(|topic| &topic.state);
        let scope = value.score.scope;
        let explained = state.and_then(|state| state.explain(value.agent.agent, scope));
        Ok(Accepted {
            value: (value, explained),
            wait,
        })
    }

    /// The state of trust, to be looked at without the broker's lock.
    pub(super) fn trust_state(&self) -> Result<Arc<TrustState>, AspError> {
        match &self.asp.evidence {
            Some(topic) => topic.shared(),
            None => Ok(Arc::default()),
        }
    }

    pub(super) fn evidence_wait(&self) -> Wait {
        let log = self.asp.evidence.as_ref().map(|topic| topic.log);
        self.wait_for(log.unwrap_or_default())
    }
}

/// Trust that nobody knows, as the topic of evidence cannot be read: whoever asks is noted.
#[derive(Debug, Default)]
pub(super) struct UnknownTrust(Cell<bool>);

impl UnknownTrust {
    /// Whether a score was asked for.
    pub(super) fn was_asked(&self) -> bool {
        self.0.get()
    }
}

impl Trust for UnknownTrust {
    fn score(&self, _: AgentId) -> TrustScore {
        self.0.set(true);
        TrustScore::NEUTRAL
    }
}

/// In which scope somebody is told of an organisation's agent.
fn scope(by: &Principal, org: OrgId) -> Scope {
    match by.org == org {
        true => Scope::Internal,
        false => Scope::External,
    }
}

fn clock_record(half_life_hours: u32, at: Timestamp) -> TrustRecord {
    TrustRecord::Clock(ClockRead {
        at,
        half_life_hours,
        kind: Kind::Clock,
        v: VERSION,
    })
}

/// The evidence of a task that was answered, or not in time.
pub(super) fn of_task(
    session: SessionId,
    settled: &Settled,
    signed: bool,
    at: Timestamp,
) -> TrustRecord {
    TrustRecord::Task(TaskSettled {
        agent: party(settled.agent),
        at,
        by: party(settled.by),
        links: Links::default(),
        message: settled.message,
        response_ms: settled.response_ms,
        session,
        signed,
        kind: Kind::Task,
        v: VERSION,
    })
}

/// The evidence of how a commitment came out by the clock or by the word of whoever judges it;
/// rulings are told by [`of_dispute`].
pub(super) fn of_commitment(outcome: &Outcome, has_escrow: bool) -> Option<TrustRecord> {
    let (confirmation, severity) = match outcome.kind {
        OutcomeKind::Fulfilled => (
            Some(match outcome.confirmation {
                Some(commitment::Confirmation::Explicit) => Confirmation::Explicit,
                Some(commitment::Confirmation::Silent) => Confirmation::Silence,
                Some(commitment::Confirmation::Unjudged) | None => Confirmation::Itself,
            }),
            None,
        ),
        OutcomeKind::Breached if outcome.mechanism.is_none() => (None, Some(outcome.severity)),
        OutcomeKind::Breached | OutcomeKind::Partial | OutcomeKind::Upheld => return None,
    };
    // One-sided promises are judged by whoever confirms them.
    let counterparty = outcome.counterparty.or(outcome.confirmed_by);
    Some(TrustRecord::Commitment(CommitmentEnded {
        at: outcome.at,
        commitment: outcome.commitment,
        confirmation,
        counterparty: counterparty.map(|of| party((of.agent, of.org))),
        escrow: has_escrow,
        links: Links::default(),
        obligor: party((outcome.obligor.agent, outcome.obligor.org)),
        one_sided: outcome.mode == Mode::OneSided,
        severity,
        signed: outcome.signed,
        terms: outcome.terms_hash,
        kind: Kind::Commitment,
        v: VERSION,
    }))
}

/// The evidence of a dispute that was ruled on.
///
/// - `counted`: severity with which the commitment counts already.
pub(super) fn of_dispute(outcome: &DisputeOutcome, counted: u8) -> Option<TrustRecord> {
    let (verdict, mechanism, severity) = outcome.ruling?;
    Some(TrustRecord::Dispute(DisputeRuled {
        against: party((outcome.against.agent, outcome.against.org)),
        at: outcome.at,
        commitment: outcome.commitment,
        counted,
        dispute: outcome.dispute,
        filer: party((outcome.filer.agent, outcome.filer.org)),
        filer_links: Links::default(),
        links: Links::default(),
        mechanism: match mechanism {
            dispute::Mechanism::Automated => Mechanism::Automated,
            dispute::Mechanism::Peer => Mechanism::Arbitrated,
            dispute::Mechanism::Human => Mechanism::Human,
        },
        ruling: match verdict {
            Verdict::Upheld => Ruling::Upheld,
            Verdict::Partial => Ruling::Partial,
            Verdict::Dismissed => Ruling::Dismissed,
        },
        severity,
        kind: Kind::Dispute,
        v: VERSION,
    }))
}

fn party((agent, org): (AgentId, OrgId)) -> Party {
    Party {
        agent,
        org,
        team: None,
    }
}
