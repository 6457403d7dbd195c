//! Records of agents, sessions and tool calls: staged as one entry, applied, and told to those who
//! wait for them.

use std::sync::Arc;

use super::waiters::AspWaiter;
use super::{OrgAsp, Topic};
use crate::asp::commitment::CommitmentRecord;
use crate::asp::escrow::{EscrowRecord, Move};
use crate::asp::market::MarketRecord;
use crate::asp::registry::AgentEvent;
use crate::asp::session::SessionRecord;
use crate::asp::tool::ToolRecord;
use crate::asp::trust::TrustRecord;
use crate::broker::core::{Broker, Wait};
use crate::broker::error::BrokerError;
use crate::broker::journal::{OwnRecord, own_batch};
use crate::folding::IllegalEvent;
use crate::storage::{Need, NewBatch};
use crate::types::{AgentId, Incarnation, Offset, OrgId, SessionId, Timestamp};

/// What one command records.
#[derive(Default)]
pub(super) struct Entry {
    pub agents: Vec<AgentEvent>,
    pub sessions: Vec<SessionRecord>,
    pub tools: Vec<ToolRecord>,
    pub commitments: Vec<CommitmentRecord>,
    pub escrow: Vec<EscrowRecord>,
    /// Movements that become records behind these; linked together, before it is recorded.
    pub moves: Vec<Move>,
    /// What it is evidence of; linked when it is written.
    pub evidence: Vec<TrustRecord>,
    /// What it does on the market.
    pub market: Vec<MarketRecord>,
}

impl Entry {
    /// The records of each topic.
    fn encode(&self) -> [Vec<OwnRecord>; 5] {
        let agents = self.agents.iter();
        let sessions = self.sessions.iter();
        let tools = self.tools.iter();
        let promises = self.commitments.iter();
        let moves = self.escrow.iter();
        [
            agents.map(|e| own(e.record_type(), e.encode())).collect(),
            sessions.map(|r| own(r.record_type(), r.encode())).collect(),
            tools.map(|r| own(r.record_type(), r.encode())).collect(),
            promises.map(|r| own(r.record_type(), r.encode())).collect(),
            moves.map(|r| own(r.record_type(), r.encode())).collect(),
        ]
    }
}

pub(super) fn own(record_type: &str, payload: Vec<u8>) -> OwnRecord {
    OwnRecord {
        record_type: record_type.to_owned(),
        key: String::new(),
        payload,
    }
}

impl Broker {
    /// The offset that the next record of a topic will have.
    pub(in crate::broker) fn next_offset(&self, log: Incarnation) -> Offset {
        self.storage.log(log).map_or(Offset(0), |log| log.end())
    }

    /// Records what a command does in one entry, and applies it.
    ///
    /// A session that is tied to subscriptions is metered in the entry that ends it.
    ///
    /// - `entry`: the sessions' and tools' records are linked behind the ends of their topics.
    pub(super) fn record_asp(
        &mut self,
        org: OrgId,
        entry: &Entry,
        need: Need,
        now: Timestamp,
    ) -> Result<Wait, BrokerError> {
        let of_org = self.made_asp(org)?;
        let logs = of_org.logs();
        let written = logs.into_iter().zip(entry.encode());
        let written: Vec<_> = written.filter(|(_, records)| !records.is_empty()).collect();
        let mut batches = Vec::with_capacity(written.len());
        for (log, records) in &written {
            batches.push(self.asp_batch(*log, records)?);
        }
        let drafted = self.draft_audit(&mut batches, now)?;
        let is_uncounted = entry.evidence.is_empty() || self.goes_uncounted(entry);
        let evidence = match is_uncounted {
            true => None,
            false => {
                self.make_evidence(now)?;
                let (log, evidence) = self.linked_evidence(&entry.evidence, now)?;
                batches.push(self.evidence_batch(log, &evidence)?);
                Some((log, evidence))
            }
        };
        let mut market = entry.market.clone();
        market.extend(self.metered_by(org, entry, now));
        let market_log = match market.is_empty() {
            true => None,
            false => {
                self.make_market(now)?;
                let log = self.asp.market.as_ref().map(|topic| topic.log);
                let log = log.unwrap_or_default();
                batches.push(self.market_batch(log, &market)?);
                Some(log)
            }
        };
        // What can't be staged must not be applied, and what can't follow must not be staged.
        self.storage.check_stage(&batches, need)?;
        let ends = logs.map(|log| self.next_offset(log));
        let of_org = self.made_asp(org)?;
        of_org
            .apply(entry, ends)
            .map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        if let Some((log, evidence)) = &evidence {
            self.apply_evidence(evidence, self.next_offset(*log))?;
        }
        if let Some(log) = market_log {
            self.apply_market(&market, self.next_offset(log))?;
        }
        let staged = self.storage.stage_for(&mut batches, need, now)?;
        for (log, _) in &written {
            self.booked(*log, &staged);
        }
        if let Some((log, _)) = &evidence {
            self.booked(*log, &staged);
        }
        if let Some(log) = market_log {
            self.booked(log, &staged);
        }
        self.book_audit(drafted, &staged);
        self.tell(org, &entry.sessions);
        Ok(Wait {
            entry: staged.entry,
            level: staged.level,
        })
    }

    /// Whether a task is answered, or not in time, and nobody can count that: what is said in
    /// sessions does not wait for the topic of evidence to be restored.
    fn goes_uncounted(&self, entry: &Entry) -> bool {
        let topic = self.asp.evidence.as_ref();
        let unknown = topic.and_then(|topic| topic.unknown.as_ref());
        let Some(reason) = unknown.filter(|_| !entry.sessions.is_empty()) else {
            return false;
        };
        for record in &entry.evidence {
            let record = String::from_utf8_lossy(&record.encode()).into_owned();
            tracing::error!(%reason, record, "evidence that is not counted");
        }
        true
    }

    pub(super) fn asp_batch(
        &self,
        log: Incarnation,
        records: &[OwnRecord],
    ) -> Result<NewBatch, BrokerError> {
        let expected = Some(self.next_offset(log));
        Ok(NewBatch {
            expected,
            ..own_batch(log, records)?
        })
    }

    /// Wakes who waits for these sessions, once they can be read; notes which are shared.
    fn tell(&mut self, org: OrgId, records: &[SessionRecord]) {
        let sessions = records.iter().filter_map(SessionRecord::session);
        let mut sessions: Vec<SessionId> = sessions.collect();
        sessions.dedup();
        for id in sessions {
            let Some(of_org) = self.asp.orgs.get(&org) else {
                return;
            };
            let session = of_org.sessions.state.session(id);
            match session {
                Some(session) if session.is_shared() => {
                    self.asp.shared.insert(id, org);
                }
                Some(_) => {}
                None => {
                    self.asp.shared.remove(&id);
                }
            }
            if self.asp.waiters.is_empty() {
                continue;
            }
            let agents: Vec<AgentId> =
                session.map_or_else(Vec::new, |s| s.participants.keys().copied().collect());
            let woken = self.asp.waiters.take(AspWaiter::Session(id));
            self.round_waiters.extend(woken);
            for agent in agents {
                let woken = self.asp.waiters.take(AspWaiter::Inbox(agent));
                self.round_waiters.extend(woken);
            }
        }
    }
}

impl OrgAsp {
    /// The logs of its topics, in the order of an entry's parts.
    fn logs(&self) -> [Incarnation; 5] {
        [
            self.registry.log,
            self.sessions.log,
            self.tools.log,
            self.commitments.log,
            self.escrow.log,
        ]
    }

    /// Applies what was recorded; nothing of it is applied when the first can't follow.
    fn apply(&mut self, entry: &Entry, ends: [Offset; 5]) -> Result<(), IllegalEvent> {
        let [_, sessions, tools, commitments, escrow] = ends;
        for event in &entry.agents {
            Arc::make_mut(&mut self.registry.state).apply(event)?;
        }
        for (offset, record) in (sessions.0..).map(Offset).zip(&entry.sessions) {
            Arc::make_mut(&mut self.sessions.state).apply(record, offset)?;
        }
        for (offset, record) in (tools.0..).map(Offset).zip(&entry.tools) {
            Arc::make_mut(&mut self.tools.state).apply(record, offset)?;
        }
        for (offset, record) in (commitments.0..).map(Offset).zip(&entry.commitments) {
            Arc::make_mut(&mut self.commitments.state).apply(record, offset)?;
        }
        for (offset, record) in (escrow.0..).map(Offset).zip(&entry.escrow) {
            Arc::make_mut(&mut self.escrow.state).apply(record, offset)?;
        }
        self.commitments.count(entry.commitments.len());
        self.escrow.count(entry.escrow.len());
        self.registry.count(entry.agents.len());
        self.sessions.count(entry.sessions.len());
        self.tools.count(entry.tools.len());
        Ok(())
    }
}

impl<S> Topic<S> {
    pub(super) fn count(&mut self, records: usize) {
        self.unsaved += records as u64;
    }
}
