//! Who did what to the broker, on the record: an act and its audit record are one entry, so there
//! is neither without the other.

use bytes::Bytes;

use super::core::{Broker, Wait};
use super::error::{BrokerError, BrokerOpenError};
use super::journal::{AUDIT, OwnRecord, own_batch};
use super::topic::{Fold, TopicError, fold_topic, read_topic};
use crate::access::{
    AUDIT_TYPE, AuditAct, AuditHash, AuditHead, AuditOutcome, AuditRecord, Refusals,
};
use crate::folding::{EventError, IllegalEvent};
use crate::storage::{Need, NewBatch, Staged};
use crate::types::{Incarnation, Offset, OrgId, Timestamp};

/// What the broker has of the topic `__audit`.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// The topic.
    pub log: Incarnation,
    head: AuditHead,
    /// What the command under way is recorded as, if it changes anything.
    acting: Option<AuditAct>,
    refusals: Refusals,
}

/// A record that is staged with others: where the chain ends behind it.
#[must_use = "the chain goes on from it once it is staged"]
pub(super) struct Drafted(AuditHead);

impl Broker {
    /// Carries out a command as an act of somebody: whatever it changes about channels,
    /// organisations, keys and grants is recorded on `__audit` in the same entry. A command that
    /// changes nothing leaves no record; one that is refused is for [`Broker::audit`].
    ///
    /// - `act`: its outcome is [`AuditOutcome::Done`].
    pub fn acting<T>(&mut self, act: AuditAct, command: impl FnOnce(&mut Self) -> T) -> T {
        self.audit.acting = Some(act);
        let answer = command(self);
        self.audit.acting = None;
        answer
    }

    /// Records an act that changes nothing that the broker records itself: one that was refused
    /// above all. Of refused acts of an organisation, and of those of nobody known, 30 are
    /// recorded in a row and one more every ten seconds; the others are counted, and the next
    /// record tells how many there were.
    ///
    /// Gives what to wait for until it is durable; nothing where it has no record of its own.
    pub fn audit(&mut self, act: AuditAct, now: Timestamp) -> Option<Wait> {
        let org = act.who.map(|who| who.org);
        let suppressed = match act.outcome {
            AuditOutcome::Done => 0,
            AuditOutcome::Refused { .. } => self.audit.refusals.take(org, now)?,
        };
        let need = match act.outcome {
            AuditOutcome::Done => Need::Own,
            // It leaves the space that others need.
            AuditOutcome::Refused { .. } => Need::Producer,
        };
        match self.stage_audit(&act, suppressed, need, now) {
            Ok(()) => Some(self.audit_wait()),
            Err(error) => {
                tracing::warn!(%error, act = act.act, "an act has no record of its own");
                if need == Need::Producer {
                    self.audit.refusals.give_back(org, suppressed);
                }
                None
            }
        }
    }

    /// Where the chain of the topic `__audit` ends.
    #[must_use]
    pub fn audit_head(&self) -> AuditHead {
        self.audit.head
    }

    /// What an answer about the audit waits for.
    #[must_use]
    pub fn audit_wait(&self) -> Wait {
        self.wait_for(self.audit.log)
    }

    /// Tells of refused acts that were only counted, once it may.
    pub(super) fn audit_suppressed(&mut self, now: Timestamp) {
        while let Some(org) = self.audit.refusals.due(now) {
            let Some(suppressed) = self.audit.refusals.take(org, now) else {
                return;
            };
            let act = AuditAct {
                who: None,
                from: String::new(),
                act: "audit.suppressed",
                target: self.org_of(org),
                detail: "refused acts that have no record of their own".to_owned(),
                outcome: AuditOutcome::Done,
            };
            if let Err(error) = self.stage_audit(&act, suppressed, Need::Producer, now) {
                tracing::debug!(%error, "counted refusals are told of later");
                // The record of the count itself is none of them.
                self.audit.refusals.give_back(org, suppressed - 1);
                return;
            }
        }
    }

    fn org_of(&self, org: Option<OrgId>) -> String {
        let org = org.and_then(|org| self.access.org(org));
        org.map_or(String::new(), |org| org.name.to_string())
    }

    fn stage_audit(
        &mut self,
        act: &AuditAct,
        suppressed: u64,
        need: Need,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let (batch, head) = self.audit_batch(act, suppressed, now)?;
        let staged = self.storage.stage_for(&mut vec![batch], need, now)?;
        self.book_audit(Some(Drafted(head)), &staged);
        Ok(())
    }

    /// Adds the record of the act under way, if there is one, to the batches of an entry that
    /// carries it out.
    pub(super) fn draft_audit(
        &self,
        batches: &mut Vec<NewBatch>,
        now: Timestamp,
    ) -> Result<Option<Drafted>, BrokerError> {
        let Some(act) = &self.audit.acting else {
            return Ok(None);
        };
        let (batch, head) = self.audit_batch(act, 0, now)?;
        batches.push(batch);
        Ok(Some(Drafted(head)))
    }

    /// Goes on behind a record that was staged. What a command changes further is part of the
    /// same act.
    pub(super) fn book_audit(&mut self, drafted: Option<Drafted>, staged: &Staged) {
        if let Some(Drafted(head)) = drafted {
            self.audit.head = head;
            self.audit.acting = None;
            self.booked(self.audit.log, staged);
        }
    }

    fn audit_batch(
        &self,
        act: &AuditAct,
        suppressed: u64,
        now: Timestamp,
    ) -> Result<(NewBatch, AuditHead), BrokerError> {
        let org = act.who.and_then(|who| self.access.org(who.org));
        let org = org.map(|org| &org.name);
        let record = AuditRecord::new(act, org, suppressed, &self.audit.head, now);
        let payload = record.encode();
        let head = self.audit.head.behind(&payload);
        let own = OwnRecord {
            record_type: AUDIT_TYPE.to_owned(),
            key: org.map_or(String::new(), ToString::to_string),
            payload,
        };
        Ok((own_batch(self.audit.log, &[own])?, head))
    }

    /// Finds where the chain ends: in the last record, and no other is read.
    pub(super) fn find_audit_head(&mut self) -> Result<(), BrokerOpenError> {
        let Some(log) = self.storage.log(self.audit.log) else {
            return Ok(());
        };
        let (start, end) = (log.log_start(), log.end());
        self.audit.head = AuditHead {
            next: end.0,
            hash: AuditHash::NONE,
        };
        if start >= end {
            return Ok(());
        }
        match self.last_payload(Offset(end.0 - 1)) {
            Ok(Some(payload)) => self.audit.head.hash = AuditHash::of(&payload),
            Err(error) if error.refuses_start() => return Err(error.into()),
            Ok(None) => tracing::error!("the last audit record is lost: the chain begins anew"),
            Err(error) => {
                tracing::error!(%error, "the last audit record is damaged: the chain begins anew");
            }
        }
        Ok(())
    }

    fn last_payload(&mut self, from: Offset) -> Result<Option<Bytes>, TopicError> {
        let mut last = LastPayload::default();
        let (batches, _) = read_topic(&mut self.storage, AUDIT, self.audit.log, from)?;
        for batches in batches {
            fold_topic(&mut last, &batches)?;
        }
        Ok(last.0)
    }
}

/// The payload of the last record that was seen, unless it is lost.
#[derive(Default)]
struct LastPayload(Option<Bytes>);

impl Fold for LastPayload {
    type Event = Bytes;
    const TOPIC: &'static str = AUDIT;

    fn decode(_: &str, payload: &[u8]) -> Result<Bytes, EventError> {
        Ok(Bytes::copy_from_slice(payload))
    }

    fn event(&mut self, _: Offset, payload: Bytes) -> Result<(), IllegalEvent> {
        self.0 = Some(payload);
        Ok(())
    }

    fn gap(&mut self, _: std::ops::Range<Offset>) -> Result<(), TopicError> {
        self.0 = None;
        Ok(())
    }
}
