//! What the clock does to sessions and calls, the filing of what has ended, and snapshots.

use super::evidence::of_task;
use super::record::Entry;
use super::snapshot::{Snapshot, SnapshotEnd, SnapshotJob};
use super::{Asp, OrgAsp, Topic};
use crate::asp::session::SessionEvent;
use crate::broker::core::Broker;
use crate::broker::error::BrokerError;
use crate::storage::{Need, StageError, Storage};
use crate::types::{LogEpoch, OrgId, Timestamp};

/// Deadlines recorded under one hold of the broker's lock.
const DUE_AT_ONCE: usize = 256;

/// Records that are worth a snapshot as the broker stops.
const WORTH_AT_STOP: u64 = 1_000;

/// What has deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timed {
    /// Sessions, and what is asked in them.
    Sessions,
    /// Tool calls.
    Tools,
    /// Commitments and their disputes.
    Promises,
}

impl Timed {
    const ALL: [Self; 3] = [Self::Sessions, Self::Tools, Self::Promises];
}

impl Broker {
    /// Records the deadlines of sessions and calls that have passed, some at a time; whether there
    /// may be more.
    pub fn settle_asp(&mut self, now: Timestamp) -> bool {
        if self.is_stopping {
            return false;
        }
        let due = |of_org: &OrgAsp| {
            let sessions = of_org.sessions.state.next_deadline();
            let tools = of_org.tools.state.next_deadline();
            let promises = of_org.commitments.state.next_deadline();
            let all = sessions.into_iter().chain(tools).chain(promises);
            all.min().is_some_and(|due| due <= now)
        };
        let orgs = self.asp.orgs.iter();
        let orgs: Vec<OrgId> = orgs
            .filter(|(_, of)| due(of))
            .map(|(org, _)| *org)
            .collect();
        self.read_clock(now);
        self.meter_strays(now);
        let mut left = DUE_AT_ONCE;
        for org in orgs {
            for what in Timed::ALL {
                while left > 0 {
                    match self.settle_next(org, what, now) {
                        Ok(true) => left -= 1,
                        Ok(false) => break,
                        Err(error) => {
                            tracing::debug!(%error, ?what, "deadlines are recorded later");
                            break;
                        }
                    }
                }
            }
            self.file_ended(org, now);
        }
        left == 0
    }

    /// Records all deadlines of one kind that have passed in an organisation. Those of the others
    /// are the keeper's: a topic that takes no writes holds up nothing but itself.
    pub(super) fn settle_due(
        &mut self,
        org: OrgId,
        what: Timed,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        while self.settle_next(org, what, now)? {}
        Ok(())
    }

    /// Records the next deadline of that kind that has passed; whether there was one.
    fn settle_next(
        &mut self,
        org: OrgId,
        what: Timed,
        now: Timestamp,
    ) -> Result<bool, BrokerError> {
        let Some(of_org) = self.asp_of(org) else {
            return Ok(false);
        };
        let mut entry = Entry::default();
        match what {
            Timed::Sessions => {
                let sessions = &of_org.sessions;
                let due = sessions.state.next_due(now);
                let Some(event) = due.filter(|_| sessions.unknown.is_none()) else {
                    return Ok(false);
                };
                let offset = self.next_offset(sessions.log);
                if let SessionEvent::ResponseOverdue(overdue) = &event {
                    let session = sessions.state.session(overdue.session);
                    let missed = session.and_then(|session| session.task_missed(overdue));
                    let of_task = |missed| of_task(overdue.session, &missed, false, now);
                    entry.evidence.extend(missed.map(of_task));
                }
                let linked = sessions.state.link(event, offset);
                let records = linked.map_err(bug)?;
                self.lapse_offers(org, &records, &mut entry, now)?;
                entry.sessions = records;
                self.link_moves(org, &mut entry)?;
            }
            Timed::Tools => {
                let tools = &of_org.tools;
                let due = tools.state.next_due(now);
                let Some(event) = due.filter(|_| tools.unknown.is_none()) else {
                    return Ok(false);
                };
                entry.tools.push(tools.state.link(event).map_err(bug)?);
            }
            Timed::Promises => return self.settle_promise(org, now),
        }
        self.record_asp(org, &entry, Need::Own, now)?;
        Ok(true)
    }

    /// Files the oldest of what has ended, where there is enough of it. What finds no room is
    /// filed later.
    pub(super) fn file_ended(&mut self, org: OrgId, now: Timestamp) {
        while let Some(of_org) = self.asp_of(org) {
            let mut entry = Entry::default();
            let promises = &of_org.commitments.state;
            // Who judges a promise is who is in its session.
            let is_needed = |session| promises.has_live_in(session);
            let filing = of_org.sessions.state.next_filing(&is_needed);
            entry.sessions.extend(filing);
            entry.tools.extend(of_org.tools.state.next_filing());
            entry
                .commitments
                .extend(of_org.commitments.state.next_filing());
            let is_empty = entry.sessions.is_empty() && entry.tools.is_empty();
            if is_empty && entry.commitments.is_empty() {
                return;
            }
            match self.record_asp(org, &entry, Need::Own, now) {
                Ok(_) => {
                    let asp = &mut self.asp;
                    let held = asp.orgs.get(&org).map(|of| of.sessions.state.clone());
                    asp.shared.retain(|session, at| {
                        *at != org || held.as_ref().is_some_and(|s| s.session(*session).is_some())
                    });
                }
                Err(BrokerError::Stage(StageError::Busy)) => return,
                Err(error) => {
                    tracing::debug!(%error, "what has ended is filed later");
                    return;
                }
            }
        }
    }

    /// The next snapshot that is worth its writing; to be run without the lock.
    pub fn plan_snapshot(&mut self) -> Option<SnapshotJob> {
        let worth = match self.is_stopping {
            true => WORTH_AT_STOP.min(self.config.snapshot_records),
            false => self.config.snapshot_records,
        };
        let storage = &self.storage;
        let evidence = self.asp.evidence.as_mut();
        if let Some(job) = evidence.and_then(|topic| topic.plan(storage, worth)) {
            return Some(job);
        }
        let market = self.asp.market.as_mut();
        if let Some(job) = market.and_then(|topic| topic.plan(storage, worth)) {
            return Some(job);
        }
        self.asp.orgs.values_mut().find_map(|of_org| {
            let registry = of_org.registry.plan(storage, worth);
            let sessions = || of_org.sessions.plan(storage, worth);
            registry
                .or_else(sessions)
                .or_else(|| of_org.tools.plan(storage, worth))
                .or_else(|| of_org.commitments.plan(storage, worth))
                .or_else(|| of_org.escrow.plan(storage, worth))
        })
    }

    /// Books how the writing of a snapshot ended.
    pub fn finish_snapshot(&mut self, end: &SnapshotEnd) {
        match &end.written {
            Ok(bytes) => tracing::info!(log = %end.log, bytes, "a snapshot was written"),
            // A start does without it, and takes longer.
            Err(error) => tracing::warn!(log = %end.log, %error, "a snapshot was not written"),
        }
        let Asp {
            orgs,
            evidence,
            market,
            ..
        } = &mut self.asp;
        if let Some(market) = market {
            market.finish(end);
        }
        if let Some(evidence) = evidence {
            evidence.finish(end);
        }
        for of_org in orgs.values_mut() {
            of_org.registry.finish(end);
            of_org.sessions.finish(end);
            of_org.tools.finish(end);
            of_org.commitments.finish(end);
            of_org.escrow.finish(end);
        }
    }
}

impl<S: Snapshot + Sync> Topic<S> {
    fn plan(&mut self, storage: &Storage, worth: u64) -> Option<SnapshotJob> {
        if self.unknown.is_some() || self.saving.is_some() || self.unsaved < worth.max(1) {
            return None;
        }
        let log = storage.log(self.log)?;
        let next_offset = log.end();
        let is_empty = next_offset <= log.log_start();
        self.saving = Some(next_offset);
        self.unsaved = 0;
        let (disk, layout) = storage.place();
        let state = self.state.clone();
        Some(SnapshotJob {
            disk: disk.clone(),
            layout: layout.clone(),
            log: self.log,
            next_offset,
            log_epoch: if is_empty {
                LogEpoch(0)
            } else {
                log.last_epoch()
            },
            state_records: Box::new(move || state.state_records()),
        })
    }

    /// After a failure the next try comes with as many more records.
    fn finish(&mut self, end: &SnapshotEnd) {
        if self.log == end.log && self.saving == Some(end.next_offset) {
            self.saving = None;
        }
    }
}

fn bug(error: impl std::fmt::Display) -> BrokerError {
    BrokerError::Bug(error.to_string().into())
}
