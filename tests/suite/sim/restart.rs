//! Judges what a restart has found: all that was promised, nothing that was never taken, and
//! entries over several logs whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use npayload::broker::Broker;
use npayload::storage::Damage;
use npayload::types::{Durability, Incarnation};

use super::history::{Fact, History, LogModel, Move, apply_move, new_log};
use super::trace::anomaly;

/// How a broker came to its end.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Unsynced bytes may be gone.
    pub lost_power: bool,
    /// It was marked clean: nothing at all is missing.
    pub is_clean: bool,
    /// A call failed while it was opened again.
    pub is_struck: bool,
    /// Files and folders of which a sync ever failed.
    pub lost_syncs: Vec<PathBuf>,
    /// What each log said was flushed.
    pub flushed: BTreeMap<Incarnation, u64>,
}

impl History {
    pub fn check_restart(&mut self, broker: &Broker, ending: &Ending) {
        let storage = broker.storage();
        let report = storage.recovery_report();
        // One copy of the checkpoint may be unreadable where a read was struck.
        let is_found = |damage: &&Damage| {
            !(ending.is_struck
                && damage.log.is_none()
                && damage.path.to_string_lossy().contains("checkpoint"))
        };
        for damage in report.damage.iter().filter(is_found) {
            self.judge_damage(damage, ending);
        }
        if ending.is_clean && !report.was_clean {
            anomaly!("unclean", "a clean stop was not found clean");
        }
        if report.is_new && self.directory.promised > 0 {
            anomaly!("lost-write", "the directory was made anew");
        }
        self.judge_directory(broker, ending);
        self.judge_consumers(broker, ending);
        let mut dropped = Vec::new();
        for (id, log) in &mut self.logs {
            if self.names.get(&log.name) != Some(id) {
                dropped.push(*id);
                continue;
            }
            judge_log(broker, *id, log, ending);
        }
        for id in dropped {
            if storage.log(id).is_some() {
                anomaly!("undeleted", "log {id} is back");
            }
            self.logs.remove(&id);
        }
        self.judge_entries();
        self.cut();
        self.judge_positions(broker);
        self.check_starts(broker);
    }

    /// Nothing that was synced is ever damaged. What was acknowledged as `written` alone may be lost
    /// with a failed sync of its segment; then the broker says so.
    fn judge_damage(&mut self, damage: &Damage, ending: &Ending) {
        let log = damage.log.and_then(|id| self.logs.get_mut(&id));
        let has_lost = |id: Incarnation| {
            let id = id.to_string();
            let mut lost = ending.lost_syncs.iter();
            // Its own files, or the folder that has its name.
            lost.any(|path| path.to_string_lossy().contains(&id) || path.ends_with("channels"))
        };
        match (log, damage.log, damage.offsets) {
            // An earlier start has said so; the place stays as it is.
            (Some(log), _, Some((first, end))) if log.lost.contains(&(first.0..end.0)) => {}
            (Some(log), Some(id), Some((first, end)))
                if has_lost(id) && first.0 >= log.promised.max(flushed(ending, id)) =>
            {
                self.trace
                    .count("event: unsynced bytes lost with a failed sync");
                log.is_damaged = true;
                log.lost.push(first.0..end.0);
            }
            _ => anomaly!("lost-write", "damage after a crash: {damage:?}"),
        }
    }

    /// The directory is a beginning of what was recorded, and names what that says.
    fn judge_directory(&mut self, broker: &Broker, ending: &Ending) {
        let storage = broker.storage();
        let id = storage.directory_id();
        let found = storage.log(id).map_or(0, |log| log.flushed().0);
        if id != self.directory.id {
            if self.directory.promised > 0 {
                anomaly!(
                    "lost-write",
                    "another directory is in the place of {}",
                    self.directory.id
                );
            }
            self.directory.id = id;
            self.directory.facts.clear();
        }
        let promised = self.directory.promised.max(flushed(ending, id));
        if found < promised || found > self.directory.end() {
            anomaly!(
                "lost-channel",
                "__channels: {promised} of {} events were promised, {found} found",
                self.directory.end()
            );
        }
        if ending.is_clean && found != self.directory.end() {
            anomaly!("lost-channel", "__channels: a clean stop lost events");
        }
        self.directory
            .facts
            .truncate(usize::try_from(found).unwrap());
        self.names.clear();
        let mut known = std::mem::take(&mut self.logs);
        for fact in self.directory.facts.clone() {
            match fact {
                Fact::Created(name, id, config) => {
                    self.names.insert(name.clone(), id);
                    if let Some(log) = known.remove(&id) {
                        self.logs.insert(id, LogModel { config, ..log });
                    } else {
                        let made = || new_log(name, config);
                        self.logs.entry(id).or_insert_with(made);
                    }
                }
                Fact::Updated(id, config) => {
                    if let Some(log) = self.logs.get_mut(&id) {
                        log.config = config;
                    }
                }
                Fact::Deleted(id) => self.names.retain(|_, named| *named != id),
                Fact::Other => {}
            }
        }
        for (id, log) in known {
            if log.promised > 0 || storage.log(id).is_some() {
                anomaly!(
                    "lost-channel",
                    "{}: its creation is lost, {} was promised",
                    log.name,
                    log.promised
                );
            }
        }
        let end = storage.log(id).map_or(0, |log| log.end().0);
        while self.directory.end() < end {
            self.directory.facts.push(Fact::Other);
        }
        self.directory.promised = found;
        self.compare_names(broker);
    }

    fn judge_consumers(&mut self, broker: &Broker, ending: &Ending) {
        let storage = broker.storage();
        let listed = broker.list_channels("__consumers", true, None, 1).value;
        let Some(id) = listed.first().map(|info| info.incarnation) else {
            anomaly!("lost-channel", "__consumers");
        };
        if id != self.consumers.id {
            if self.consumers.promised > 0 {
                anomaly!("lost-channel", "another __consumers is in its place");
            }
            self.consumers.id = id;
            self.consumers.facts.clear();
        }
        let found = storage.log(id).map_or(0, |log| log.flushed().0);
        let promised = self.consumers.promised.max(flushed(ending, id));
        if found < promised || found > self.consumers.end() {
            anomaly!(
                "lost-commit",
                "{promised} of {} moves were promised, {found} found",
                self.consumers.end()
            );
        }
        if ending.is_clean && found != self.consumers.end() {
            anomaly!("lost-commit", "a clean stop lost commits");
        }
        self.consumers
            .facts
            .truncate(usize::try_from(found).unwrap());
        self.positions.clear();
        for one in &self.consumers.facts {
            apply_move(&mut self.positions, one);
        }
        self.consumers.promised = found;
    }

    /// An entry over several logs is there as a whole, or not at all.
    fn judge_entries(&mut self) {
        for parts in std::mem::take(&mut self.shared) {
            let mut kept = parts.iter().filter_map(|(id, end)| {
                if *id == self.consumers.id {
                    return Some(self.consumers.end() >= *end);
                }
                let log = self.logs.get(id)?;
                Some(log.promised >= *end)
            });
            let first = kept.next();
            if kept.any(|one| Some(one) != first) {
                anomaly!("torn-entry", "{parts:?}");
            }
        }
    }

    /// Forgets what is gone; what is there is there for good.
    fn cut(&mut self) {
        for log in self.logs.values_mut() {
            let end = log.promised;
            if end < log.end {
                self.trace.count("event: a tail was lost");
            }
            log.batches.retain(|batch| batch.end <= end);
            log.taken_back.clear();
            log.end = end;
        }
    }

    /// The consumers stand where the kept moves put them, and never beyond a log's end.
    fn judge_positions(&mut self, broker: &Broker) {
        let storage = broker.storage();
        for ((id, consumer), offset) in &mut self.positions {
            let Some(log) = self.logs.get(id) else {
                continue;
            };
            if *offset > log.end {
                self.trace.count("event: a consumer was repositioned");
                *offset = log.end;
                let placed = Move::Placed(*id, consumer.clone(), log.end);
                self.consumers.facts.push(placed);
            }
        }
        let end = storage.log(self.consumers.id).map_or(0, |log| log.end().0);
        // Positions of a channel whose deletion was kept, and their dropping not, are dropped now.
        let mut gone: Vec<Incarnation> = self.positions.keys().map(|(id, _)| *id).collect();
        gone.retain(|id| !self.logs.contains_key(id));
        gone.dedup();
        for id in gone {
            if self.consumers.end() < end {
                self.trace.count("event: positions were dropped at a start");
                apply_move(&mut self.positions, &Move::Dropped(id));
                self.consumers.facts.push(Move::Dropped(id));
            }
        }
        if end != self.consumers.end() {
            anomaly!(
                "lost-commit",
                "__consumers ends at {end}, expected {}",
                self.consumers.end()
            );
        }
        let mut found = BTreeMap::new();
        let all = broker.consumers_from(None, None, usize::MAX).unwrap();
        for info in all.value.rows {
            found.insert((info.incarnation, info.consumer), info.position.offset.0);
        }
        let live = |(id, _): &&(Incarnation, _)| self.logs.contains_key(id);
        let expected: BTreeMap<_, _> = self
            .positions
            .iter()
            .filter(|(key, _)| live(key))
            .map(|(key, offset)| (key.clone(), *offset))
            .collect();
        if found != expected {
            anomaly!(
                "lost-commit",
                "positions: expected {expected:?}, found {found:?}"
            );
        }
    }
}

fn flushed(ending: &Ending, id: Incarnation) -> u64 {
    ending.flushed.get(&id).copied().unwrap_or(0)
}

/// One log ends at the end of a batch, and beyond all that was promised. Its `promised` is the end
/// that was found, afterwards.
fn judge_log(broker: &Broker, id: Incarnation, log: &mut LogModel, ending: &Ending) {
    let Some(found) = broker.storage().log(id) else {
        anomaly!("lost-channel", "{}: there is no log", log.name);
    };
    if let Some(refused) = found.refused().filter(|_| !log.is_damaged) {
        anomaly!("lost-write", "{}: {refused}", log.name);
    }
    let end = found.end().0;
    let promised = if ending.lost_power {
        log.promised
    } else {
        log.promised.max(log.promised_written)
    };
    let promised = promised.max(flushed(ending, id));
    if end < promised {
        anomaly!(
            "lost-write",
            "{}: promised up to {promised}, found up to {end}",
            log.name
        );
    }
    if ending.is_clean && end != log.end {
        anomaly!(
            "lost-write",
            "{}: a clean stop lost {end}..{}",
            log.name,
            log.end
        );
    }
    let ends_batch = log.batches.iter().any(|batch| batch.end == end);
    if end != log.start && end != 0 && !ends_batch && end != found.log_start().0 {
        anomaly!(
            "inconsistent-offset",
            "{}: ends at {end}, inside a batch",
            log.name
        );
    }
    if end > log.end {
        anomaly!(
            "aborted-read",
            "{}: ends at {end}, taken up to {}",
            log.name,
            log.end
        );
    }
    if log.config.durability == Durability::Synced {
        log.shown = 0;
    }
    (log.promised, log.promised_written) = (end, end);
}
