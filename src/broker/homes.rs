//! Who is home of which log: recorded on `__homes`, with what other regions say on theirs, and what
//! follows from it here: who may append, and with which epochs.

use std::collections::{BTreeSet, HashMap};

use super::core::{Accepted, Broker, Refusal};
use super::error::BrokerError;
use super::journal::OwnRecord;
use crate::folding::IllegalEvent;
use crate::region::homes::{
    Acknowledged, Fence, Held, Home, HomeEvent, Homes, Lineage, Move, MoveError, Run,
};
use crate::region::{HomeEpoch, LogName, RegionNumber, Tenure};
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, RegionName, Timestamp};

/// What is known of homes.
#[derive(Debug, Default)]
pub(super) struct KnownHomes {
    pub homes: Homes,
    /// The topic of what this region says, once the broker is a region.
    pub log: Option<Incarnation>,
    pub events: u64,
    /// Where the logs live of which anybody has said something.
    now: HashMap<Incarnation, Home>,
    /// Logs that take no writes here while what they have is synced, before their fence is recorded.
    stopping: HashMap<Incarnation, RegionName>,
}

/// A log whose home was moved or is being moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedLog {
    /// Its name.
    pub name: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// Where it lives.
    pub home: Home,
    /// What forced moves may have lost, the oldest first.
    pub missing: Vec<(RegionName, crate::region::homes::Missing)>,
}

/// The log, and what was on the list: who forced the move, in which term, what may be lost.
pub type AcknowledgedMissing = (
    Incarnation,
    Vec<(RegionName, u32, crate::region::homes::Missing)>,
);

/// The number that a region's batches carry; 0 for a broker without a name.
fn number_of(region: Option<&RegionName>) -> RegionNumber {
    region.map_or(RegionNumber(0), RegionNumber::of)
}

impl Broker {
    /// The epoch that logs are stamped with which were never moved.
    ///
    /// # Errors
    /// [`crate::region::EpochOverflow`] after more starts than an epoch counts.
    pub(super) fn first_stamp(&self) -> Result<LogEpoch, crate::region::EpochOverflow> {
        let starts = self.storage.epoch();
        let Some(region) = &self.config.region else {
            return Ok(starts);
        };
        let region = RegionNumber::of(region);
        let epoch = HomeEpoch::new(Tenure { term: 0, region }, starts.0)?;
        Ok(epoch.log_epoch())
    }

    /// The number of the region that the data directory belongs to, where it is another one than
    /// the broker is told to be: nothing could be appended whose epoch is not lower.
    pub(super) fn other_region(&self) -> Option<RegionNumber> {
        let log = self.storage.log(self.storage.directory_id())?;
        let known = HomeEpoch::of(log.last_epoch()).tenure.region;
        let is_it = known == number_of(self.config.region.as_ref());
        (known != RegionNumber(0) && !is_it).then_some(known)
    }

    /// What is known of homes, as it was said.
    #[must_use]
    pub fn known_homes(&self) -> &Homes {
        &self.homes.homes
    }

    /// Where a log lives; none for a broker that is no region, and where there is no such log.
    #[must_use]
    pub fn home_of(&self, id: Incarnation) -> Option<Home> {
        if let Some(home) = self.homes.now.get(&id) {
            return Some(home.clone());
        }
        let made_in = self.made_in(id)?;
        Some(self.homes.homes.home(id, &made_in))
    }

    /// The region where a log lives, where that is another one.
    pub(super) fn elsewhere(&self, id: Incarnation) -> Option<&RegionName> {
        match self.homes.now.get(&id) {
            Some(home) => {
                Some(&home.region).filter(|home| self.config.region.as_ref() != Some(home))
            }
            None => {
                let copy = self.directory.by_incarnation(id)?.copy.as_ref()?;
                Some(&copy.home)
            }
        }
    }

    /// The region to which the home of a log is being moved from here.
    fn moving_to(&self, id: Incarnation) -> Option<&RegionName> {
        if let Some(to) = self.homes.stopping.get(&id) {
            return Some(to);
        }
        let fence = self.homes.now.get(&id)?.moving.as_ref()?;
        Some(&fence.to)
    }

    /// Refuses what only the home of a log may do, where that is another region, or does nothing for
    /// a moment.
    pub(super) fn check_home(
        &self,
        id: Incarnation,
        name: &ChannelName,
    ) -> Result<(), BrokerError> {
        let channel = || name.to_string();
        if let Some(home) = self.elsewhere(id) {
            let (channel, home) = (channel(), home.clone());
            return Err(BrokerError::LivesElsewhere { channel, home });
        }
        if let Some(to) = self.moving_to(id) {
            let (channel, to) = (channel(), to.clone());
            return Err(BrokerError::HomeMoving { channel, to });
        }
        let mut unknown = self.lacking.of_homes();
        // One that has left is home of nothing.
        let unknown = unknown.find(|(region, _)| !self.is_without(region));
        match unknown {
            None => Ok(()),
            Some((region, why)) => Err(BrokerError::HomesUnknown {
                channel: channel(),
                region,
                why: why.to_owned(),
            }),
        }
    }

    /// The region that a log was made in, as far as is known here.
    fn made_in(&self, id: Incarnation) -> Option<RegionName> {
        let me = self.config.region.as_ref()?;
        let channel = self.directory.by_incarnation(id)?;
        let copy = channel.copy.as_ref();
        Some(copy.map_or(me, |copy| &copy.home).clone())
    }

    /// Which batches belong to a log, by the claims that are known.
    #[must_use]
    pub fn lineage_of(&self, id: Incarnation) -> Lineage {
        self.homes.homes.lineage(id)
    }

    /// Whether anybody ever claimed a log's home: then what is here may be a loser's.
    #[must_use]
    pub fn was_moved(&self, id: Incarnation) -> bool {
        self.homes
            .now
            .get(&id)
            .is_some_and(|home| home.tenure.term > 0)
    }

    /// The logs here of which anybody has said where they live, by name.
    #[must_use]
    pub fn moved_logs(&self) -> Vec<MovedLog> {
        let mut moved: Vec<MovedLog> = Vec::new();
        for (id, home) in &self.homes.now {
            let channel = self.directory.by_incarnation(*id);
            let Some(channel) = channel.filter(|channel| channel.is_live()) else {
                continue;
            };
            let mut claims: Vec<_> = self.homes.homes.claims(*id).collect();
            claims.sort_by_key(|(_, claim)| claim.term);
            let missing = claims.into_iter().filter_map(|(by, claim)| {
                let missing = claim.missing?;
                let is_seen_to = self.homes.homes.is_acknowledged(*id, by, claim.term);
                let is_told = !is_seen_to && missing.to != Some(missing.from);
                is_told.then(|| (by.clone(), missing))
            });
            moved.push(MovedLog {
                name: channel.name.clone(),
                incarnation: *id,
                home: home.clone(),
                missing: missing.collect(),
            });
        }
        moved.sort_by(|a, b| a.name.cmp(&b.name));
        moved
    }

    /// Takes what another region has said on its topic, in the order of it. Gives the logs of which
    /// something else is true now.
    ///
    /// # Errors
    /// [`IllegalEvent`] at the first event that can't follow; those before it are taken.
    pub fn apply_homes(
        &mut self,
        by: &RegionName,
        events: &[HomeEvent],
    ) -> Result<BTreeSet<Incarnation>, IllegalEvent> {
        let mut changed = BTreeSet::new();
        for event in events {
            let is_all = matches!(event, HomeEvent::Folded(part) if part.part == part.parts);
            self.homes.homes.apply(by, event)?;
            match event.incarnation() {
                Some(id) => changed.extend(self.settle_home(id).then_some(id)),
                None if is_all => changed.extend(self.settle_homes()),
                None => {}
            }
        }
        Ok(changed)
    }

    /// Works out anew where all logs live of which anything is known.
    pub(super) fn settle_homes(&mut self) -> BTreeSet<Incarnation> {
        let logs: Vec<Incarnation> = self.homes.homes.logs().collect();
        let changed = logs.into_iter().filter(|id| self.settle_home(*id));
        changed.collect()
    }

    /// Works out anew where a log lives; whether that is something else than before.
    pub(super) fn settle_home(&mut self, id: Incarnation) -> bool {
        let Some(made_in) = self.made_in(id) else {
            return false; // It is not here: once it is, this is asked again.
        };
        let home = self.homes.homes.home(id, &made_in);
        if Some(&home.region) == self.config.region.as_ref() {
            let starts = self.storage.epoch().0;
            match HomeEpoch::new(home.tenure, starts) {
                Ok(epoch) => self.storage.set_stamp_of(id, epoch.log_epoch()),
                Err(error) => tracing::error!(log = %id, %error, "the log takes no more records"),
            }
        }
        let before = self.homes.now.insert(id, home.clone());
        before != Some(home)
    }

    /// Refuses to make a log here that lives in another region by now: it was made here before, moved,
    /// and what was here of it is gone.
    pub(super) fn check_made(
        &self,
        id: Incarnation,
        name: &ChannelName,
    ) -> Result<(), BrokerError> {
        let Some(me) = self.config.region.as_ref() else {
            return Ok(());
        };
        let home = self.homes.homes.home(id, me).region;
        match home == *me {
            true => Ok(()),
            false => Err(BrokerError::LivesElsewhere {
                channel: name.to_string(),
                home,
            }),
        }
    }

    /// Works out where a log lives that was just made, of which others may have spoken before.
    pub(super) fn settle_made(&mut self, id: Incarnation) {
        if self.homes.homes.name(id).is_some() {
            self.settle_home(id);
        }
    }

    /// Records what this region says, in one entry, and applies it.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, an event can't follow, or there is no room.
    fn record_home(&mut self, event: &HomeEvent, now: Timestamp) -> Result<Accepted<()>, Refusal> {
        let me = self.config.region.clone().ok_or(BrokerError::NotARegion)?;
        let log = self.homes.log.ok_or(BrokerError::NotARegion)?;
        let accepted = self.record_own(log, &[OwnRecord::of_home(event)], now, |broker| {
            broker.homes.homes.apply(&me, event)
        })?;
        self.homes.events += 1;
        if let Some(id) = event.incarnation() {
            self.settle_home(id);
        }
        Ok(accepted)
    }

    /// Stops writes to a log of which this region is home, for a move; nothing is recorded yet.
    /// True where its fence for that target stands already.
    ///
    /// # Errors
    /// [`BrokerError`]: there is no such channel, or it can't be moved to that region.
    pub fn stop_for_move(
        &mut self,
        name: &ChannelName,
        id: Incarnation,
        to: &RegionName,
        now: Timestamp,
    ) -> Result<bool, BrokerError> {
        self.channel_is(name, id)?;
        if let Some(other) = self.homes.stopping.get(&id).filter(|other| *other != to) {
            let error = MoveError::Moving { to: other.clone() };
            return Err(move_refused(name, &error));
        }
        let fenced = self.home_step(name, id, now, |homes, step| {
            homes.fence(step, to, Offset(0))
        })?;
        if fenced.is_some() {
            self.homes.stopping.insert(id, to.clone());
            self.storage.want_sync();
        }
        Ok(fenced.is_none())
    }

    /// Takes writes again that [`Broker::stop_for_move`] has stopped.
    pub fn go_on(&mut self, id: Incarnation) {
        self.homes.stopping.remove(&id);
    }

    /// Records the fence of a log whose writes are stopped and all of which is synced.
    ///
    /// # Errors
    /// [`Refusal`]: it can't be moved any more, or there is no room for the record.
    pub fn record_fence(
        &mut self,
        name: &ChannelName,
        id: Incarnation,
        to: &RegionName,
        now: Timestamp,
    ) -> Result<Accepted<Home>, Refusal> {
        let log = self.storage.log(id);
        let end = log.filter(|log| log.flushed() == log.end());
        let end = end.ok_or(BrokerError::Bug("a fence before all is synced".into()))?;
        let end = end.end();
        let event = self.home_step(name, id, now, |homes, step| homes.fence(step, to, end))?;
        if let Some(event) = event {
            self.record_home(&event, now)?;
        }
        self.homes.stopping.remove(&id);
        let home = self.home_of(id).ok_or(BrokerError::NotARegion)?;
        let log = self.homes.log.ok_or(BrokerError::NotARegion)?;
        Ok(Accepted {
            value: home,
            wait: self.wait_for(log),
        })
    }

    /// The fence that stands for a move of a log to this region.
    #[must_use]
    pub fn fence_for_me(&self, id: Incarnation) -> Option<Fence> {
        let fence = self.homes.now.get(&id)?.moving.as_ref();
        let is_mine = |fence: &&Fence| Some(&fence.to) == self.config.region.as_ref();
        fence.filter(is_mine).cloned()
    }

    /// Makes this region the home of a log of which it has a copy, all of it synced.
    ///
    /// - `runs`: the epochs that the copy has.
    /// - `forced`: the home before is gone; the highest flushed offset of it that anybody has seen,
    ///   where anybody has.
    ///
    /// # Errors
    /// [`Refusal`]: the home has not stopped for this region, the copy is not what it should be, or
    /// there is no room for the record.
    pub fn take_home(
        &mut self,
        name: &ChannelName,
        id: Incarnation,
        runs: &[Run],
        forced: Option<Option<Offset>>,
        now: Timestamp,
    ) -> Result<Accepted<Home>, Refusal> {
        self.channel_is(name, id)?;
        let log = self.storage.log(id);
        let log = log.ok_or_else(|| super::positions::no_such(name))?;
        if let Some(reason) = log.refused() {
            let reason = reason.to_string();
            return Err(refused(name, reason).into());
        }
        if log.flushed() < log.end() {
            return Err(refused(name, "its copy is not synced yet".to_owned()).into());
        }
        let end = log.end();
        if runs.last().is_some_and(|run| run.offsets.end != end) {
            return Err(refused(name, "its copy has grown".to_owned()).into());
        }
        let held = Held { end, runs };
        let event = self.home_step(name, id, now, |homes, step| match forced {
            None => homes.take(step, held),
            Some(seen) => homes.take_by_force(step, held, seen),
        })?;
        let accepted = self.record_home(&event, now)?;
        let home = self.home_of(id).ok_or(BrokerError::NotARegion)?;
        tracing::warn!(channel = %name, term = home.tenure.term, from = %end, "this region is home now");
        Ok(Accepted {
            value: home,
            wait: accepted.wait,
        })
    }

    /// Gives up the move of a log to this region: the home before goes on.
    ///
    /// # Errors
    /// [`Refusal`]: no such move stands, or there is no room for the record.
    pub fn decline_home(
        &mut self,
        name: &ChannelName,
        id: Incarnation,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let event = self.home_step(name, id, now, |homes, step| homes.decline(step))?;
        self.record_home(&event, now)
    }

    /// Takes what forced moves of a log may have lost off the list of what is told of it. The claims
    /// keep it. Gives what was on the list: who forced the move, in which term, and what.
    ///
    /// # Errors
    /// [`Refusal`]: no such channel is here, the broker is no region, or there is no room.
    pub fn acknowledge_missing(
        &mut self,
        name: &ChannelName,
        now: Timestamp,
    ) -> Result<Accepted<AcknowledgedMissing>, Refusal> {
        let me = self.config.region.clone().ok_or(BrokerError::NotARegion)?;
        let id = match self.residence(name) {
            super::Residence::Home(id) | super::Residence::Copy(id, _) => id,
            super::Residence::Unknown => return Err(self.no_such_log(name).into()),
        };
        let log: Result<LogName, _> = name.as_str().parse();
        let log_name = log.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        let homes = &self.homes.homes;
        let claims = homes.claims(id).filter_map(|(by, claim)| {
            let missing = claim.missing?;
            let is_seen_to = homes.is_acknowledged(id, by, claim.term);
            let is_told = !is_seen_to && missing.to != Some(missing.from);
            is_told.then(|| (by.clone(), claim.term, missing))
        });
        let claims: Vec<_> = claims.collect();
        let log = self.homes.log.ok_or(BrokerError::NotARegion)?;
        if claims.is_empty() {
            return Ok(Accepted {
                value: (id, claims),
                wait: self.wait_for(log),
            });
        }
        let events: Vec<HomeEvent> = (claims.iter())
            .map(|(by, term, _)| {
                HomeEvent::Acknowledged(Acknowledged {
                    incarnation: id,
                    log: log_name.clone(),
                    by: by.clone(),
                    term: *term,
                    at: now,
                })
            })
            .collect();
        let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_home).collect();
        let accepted = self.record_own(log, &records, now, |broker| {
            let homes = &mut broker.homes.homes;
            events.iter().try_for_each(|event| homes.apply(&me, event))
        })?;
        self.homes.events += events.len() as u64;
        Ok(Accepted {
            value: (id, claims),
            wait: accepted.wait,
        })
    }

    fn home_step<T>(
        &self,
        name: &ChannelName,
        id: Incarnation,
        at: Timestamp,
        judge: impl FnOnce(&Homes, Move<'_>) -> Result<T, MoveError>,
    ) -> Result<T, BrokerError> {
        let me = self.config.region.as_ref().ok_or(BrokerError::NotARegion)?;
        let made_in = self.made_in(id);
        let made_in = made_in.ok_or_else(|| super::positions::no_such(name))?;
        let log: Result<LogName, _> = name.as_str().parse();
        let log = log.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        let step = Move {
            log: &log,
            incarnation: id,
            made_in: &made_in,
            me,
            at,
        };
        judge(&self.homes.homes, step).map_err(|error| move_refused(name, &error))
    }
}

fn move_refused(name: &ChannelName, error: &MoveError) -> BrokerError {
    refused(name, error.to_string())
}

fn refused(name: &ChannelName, reason: String) -> BrokerError {
    let channel = name.to_string();
    BrokerError::MoveRefused { channel, reason }
}
