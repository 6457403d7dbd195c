//! What the broker has taken, and what it has promised: the model that every answer, every read and
//! every restart is judged by.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use npayload::broker::config::ChannelConfig;
use npayload::broker::{Broker, CommitRequest, Published};
use npayload::format::{BatchHeader, check_stored};
use npayload::types::{ChannelName, ConsumerName, Durability, Incarnation};

use super::request::{BODY_AT, Batch, GotBatch};
use super::trace::{Trace, anomaly};

#[derive(Clone, Debug)]
pub struct BatchModel {
    pub uid: u64,
    pub first: u64,
    pub end: u64,
    pub epoch: u64,
    pub time: i64,
    pub body: Bytes,
    pub producer: u128,
    pub producer_epoch: u32,
    pub sequence: u64,
    pub count: u32,
    pub fence: u64,
}

#[derive(Clone, Debug)]
pub struct LogModel {
    pub name: ChannelName,
    pub config: ChannelConfig,
    /// All that was ever taken and not lost since, trimmed or not.
    pub batches: Vec<BatchModel>,
    pub end: u64,
    /// Lowest readable offset, as last seen.
    pub start: u64,
    /// Somebody was told of everything below: it survives a power cut.
    pub promised: u64,
    /// As above: it survives a killed process.
    pub promised_written: u64,
    /// What was readable when the channel became `synced`.
    pub shown: u64,
    /// The highest log start that retention may have asked for.
    pub may_start: u64,
    /// Bytes of the largest segment it may have.
    pub largest_segment: u64,
    /// A failed sync has lost what was acknowledged as `written` alone, and the broker has said so.
    pub is_damaged: bool,
    /// The offsets of what it has lost so.
    pub lost: Vec<Range<u64>>,
    /// Taken back when a segment failed.
    pub taken_back: Vec<BatchModel>,
}

impl LogModel {
    pub fn batch_of(&self, offset: u64) -> Option<&BatchModel> {
        let at = self.batches.partition_point(|batch| batch.end <= offset);
        self.batches.get(at).filter(|batch| batch.first <= offset)
    }

    fn fence(&self) -> u64 {
        let fences = self.batches.iter().map(|batch| batch.fence);
        fences.max().unwrap_or(0)
    }
}

/// A fact of the topic `__channels`.
#[derive(Clone, Debug)]
pub enum Fact {
    Created(ChannelName, Incarnation, ChannelConfig),
    Updated(Incarnation, ChannelConfig),
    Deleted(Incarnation),
    /// What changes no name and no configuration.
    Other,
}

/// A fact of the topic `__consumers`.
#[derive(Clone, Debug)]
pub enum Move {
    Placed(Incarnation, ConsumerName, u64),
    Forgotten(Incarnation, ConsumerName),
    Dropped(Incarnation),
    Other,
}

/// An internal topic: what each of its records says.
#[derive(Clone, Debug)]
pub struct Topic<E> {
    pub id: Incarnation,
    pub facts: Vec<E>,
    pub promised: u64,
}

impl<E> Topic<E> {
    pub fn end(&self) -> u64 {
        self.facts.len() as u64
    }
}

pub type Positions = BTreeMap<(Incarnation, ConsumerName), u64>;

pub struct History {
    pub logs: BTreeMap<Incarnation, LogModel>,
    pub names: BTreeMap<ChannelName, Incarnation>,
    pub directory: Topic<Fact>,
    pub consumers: Topic<Move>,
    pub positions: Positions,
    /// Entries over several logs, as the end that each part gave its log.
    pub shared: Vec<Vec<(Incarnation, u64)>>,
    /// The latest time the broker was told.
    pub latest: i64,
    pub max_age_ms: i64,
    pub trace: Trace,
}

/// What is found by somebody who looks at a table of producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    New,
    Duplicate(u64),
    Refused(&'static str),
}

impl History {
    pub fn new(trace: Trace, max_age_ms: i64) -> Self {
        let id = Incarnation(0);
        Self {
            logs: BTreeMap::new(),
            names: BTreeMap::new(),
            directory: Topic {
                id,
                facts: Vec::new(),
                promised: 0,
            },
            consumers: Topic {
                id,
                facts: Vec::new(),
                promised: 0,
            },
            positions: Positions::new(),
            shared: Vec::new(),
            latest: i64::MIN,
            max_age_ms,
            trace,
        }
    }

    /// The log's end, also of an internal topic.
    pub fn end_of(&self, id: Incarnation) -> u64 {
        if id == self.directory.id {
            self.directory.end()
        } else if id == self.consumers.id {
            self.consumers.end()
        } else {
            self.logs.get(&id).map_or(0, |log| log.end)
        }
    }

    pub fn log_named(&self, name: &ChannelName) -> Option<(Incarnation, &LogModel)> {
        let id = *self.names.get(name)?;
        Some((id, &self.logs[&id]))
    }

    /// Somebody is told of everything below `end`.
    pub fn promise(&mut self, id: Incarnation, end: u64, level: Durability) {
        if id == self.directory.id {
            self.directory.promised = self.directory.promised.max(end);
        } else if id == self.consumers.id {
            self.consumers.promised = self.consumers.promised.max(end);
        } else if let Some(log) = self.logs.get_mut(&id) {
            if end > log.end {
                anomaly!(
                    "lost-write",
                    "{}: told up to {end}, taken up to {}",
                    log.name,
                    log.end
                );
            }
            log.promised_written = log.promised_written.max(end);
            if level == Durability::Synced {
                log.promised = log.promised.max(end);
            }
        }
    }

    /// What the table of producers may say of a batch. A producer that may be forgotten by its age
    /// has two answers.
    pub fn verdicts(
        &self,
        id: Option<Incarnation>,
        batch: &Batch,
        is_failed: bool,
    ) -> Vec<Verdict> {
        let none = VecDeque::new();
        let log = id.and_then(|id| self.logs.get(&id));
        let Some(log) = log.filter(|_| !batch.producer.is_none()) else {
            return vec![judge(&none, batch)];
        };
        let of = |one: &&BatchModel| one.producer == batch.producer.0;
        let (known, last) = fold(log.batches.iter().filter(of));
        let mut verdicts = vec![judge(&known, batch)];
        if last.is_some_and(|time| time.saturating_add(self.max_age_ms) <= self.latest) {
            verdicts.push(judge(&none, batch));
        }
        if is_failed {
            // The table still knows what was taken back with a failed segment.
            let all = log.batches.iter().chain(&log.taken_back).filter(of);
            verdicts.push(judge(&fold(all).0, batch));
        }
        if log.is_damaged {
            // Nobody knows whose the batches were that were lost.
            let is_lost = |one: &&BatchModel| {
                let mut lost = log.lost.iter();
                lost.any(|lost| one.first < lost.end && lost.start < one.end)
            };
            let left = log.batches.iter().filter(of).filter(|one| !is_lost(one));
            verdicts.push(judge(&fold(left).0, batch));
        }
        verdicts
    }

    /// Whether a fence may write.
    pub fn is_fenced(&self, id: Option<Incarnation>, token: u64) -> bool {
        let log = id.and_then(|id| self.logs.get(&id));
        log.is_some_and(|log| token < log.fence())
    }

    /// Takes a batch into the model, as the broker has taken it.
    pub fn book(&mut self, batch: &Batch, published: &Published) {
        let latest = self.latest;
        let max_age = self.max_age_ms;
        let Some(log) = self.logs.get_mut(&published.incarnation) else {
            anomaly!("bug", "a batch was taken for a channel that nobody made");
        };
        let (first, end) = (published.first.0, published.last.0 + 1);
        if first != log.end || end != first + u64::from(batch.count) {
            anomaly!(
                "inconsistent-offset",
                "{}: a batch of {} records got {first}..{end}, the log ended at {}",
                log.name,
                batch.count,
                log.end
            );
        }
        let twice = log.batches.iter().find(|known| known.uid == batch.uid);
        if let Some(known) = twice
            && known.time.saturating_add(max_age) > latest
        {
            anomaly!(
                "duplicate",
                "{}: batch {} is at {} and again at {first}",
                log.name,
                batch.uid,
                known.first
            );
        }
        if published.append_time.0 < log.batches.last().map_or(i64::MIN, |batch| batch.time) {
            anomaly!("non-monotonic-time", "{}: offset {first}", log.name);
        }
        log.end = end;
        log.batches.push(BatchModel {
            uid: batch.uid,
            first,
            end,
            epoch: published.log_epoch.0,
            time: published.append_time.0,
            body: batch.body(),
            producer: batch.producer.0,
            producer_epoch: batch.epoch,
            sequence: batch.sequence,
            count: batch.count,
            fence: batch.fence,
        });
        log.largest_segment = log.largest_segment.max(batch.bytes.len() as u64);
    }

    /// Books what a call recorded on the internal topics, and that the broker agrees.
    pub fn observe(&mut self, broker: &Broker, facts: Vec<Fact>, moves: Vec<Move>) {
        let storage = broker.storage();
        let end = |id| storage.log(id).map_or(0, |log| log.end().0);
        let directory = end(self.directory.id);
        let consumers = end(self.consumers.id);
        for fact in facts {
            self.apply_fact(&fact);
            self.directory.facts.push(fact);
        }
        for one in moves {
            if self.consumers.end() < consumers {
                apply_move(&mut self.positions, &one);
                self.consumers.facts.push(one);
            }
        }
        if self.directory.end() > directory {
            anomaly!("bug", "an event of the directory is not on its topic");
        }
        while self.directory.end() < directory {
            self.directory.facts.push(Fact::Other);
        }
        while self.consumers.end() < consumers {
            self.consumers.facts.push(Move::Other);
        }
        self.compare_names(broker);
    }

    /// The live channels as the broker lists them are those of the model.
    pub fn compare_names(&self, broker: &Broker) {
        let listed = broker.list_channels("", false, None, 1000).value;
        let names: Vec<_> = self.names.iter().collect();
        let found: Vec<_> = listed
            .iter()
            .map(|info| (&info.name, &info.incarnation))
            .collect();
        if names != found {
            anomaly!("lost-channel", "expected {names:?}, found {found:?}");
        }
        for info in &listed {
            let log = &self.logs[&info.incarnation];
            if log.config != info.config {
                anomaly!(
                    "lost-config",
                    "{}: {:?} became {:?}",
                    info.name,
                    log.config,
                    info.config
                );
            }
        }
    }

    fn apply_fact(&mut self, fact: &Fact) {
        match fact {
            Fact::Created(name, id, config) => {
                self.names.insert(name.clone(), *id);
                self.logs.insert(*id, new_log(name.clone(), config.clone()));
            }
            Fact::Updated(id, config) => {
                if let Some(log) = self.logs.get_mut(id) {
                    log.largest_segment = log.largest_segment.max(config.segment_bytes);
                    log.config = config.clone();
                }
            }
            Fact::Deleted(id) => self.names.retain(|_, named| named != id),
            Fact::Other => {}
        }
    }

    /// A batch of a fetch is what was taken at its place; gives what the reader learns.
    pub fn check_read(
        &self,
        id: Incarnation,
        from: u64,
        high_watermark: u64,
        parts: &[Bytes],
    ) -> Vec<GotBatch> {
        let Some(log) = self.logs.get(&id) else {
            anomaly!("bug", "read from a channel that nobody made");
        };
        let mut next = from;
        let mut got = Vec::new();
        for part in parts {
            let mut rest = part.clone();
            while !rest.is_empty() {
                let header = match BatchHeader::peek(&rest) {
                    Ok(header) if header.len() <= rest.len() => header,
                    other => anomaly!("torn-read", "{} from {next}: {other:?}", log.name),
                };
                let bytes = rest.split_to(header.len());
                if let Err(error) = check_stored(&bytes) {
                    let known = log.batch_of(next).map(|known| known.body.clone());
                    let known = known.unwrap_or_default();
                    let differ = |at: &usize| known.get(*at) != bytes.get(BODY_AT + at);
                    let bad: Vec<usize> = (0..known.len()).filter(differ).collect();
                    let (first, last) = (bad.first(), bad.last());
                    anomaly!(
                        "torn-read",
                        "{} from {next}: {error}; bytes {first:?} to {last:?} of the body differ",
                        log.name
                    );
                }
                let (first, end) = (header.base_offset().0, header.end_offset().0);
                let is_next = if got.is_empty() {
                    (first..end).contains(&next)
                } else {
                    first == next
                };
                if !is_next {
                    anomaly!(
                        "poll-skip",
                        "{}: expected {next}, got {first}..{end}",
                        log.name
                    );
                }
                let Some(known) = log.batch_of(first) else {
                    anomaly!(
                        "aborted-read",
                        "{}: {first}..{end} was never taken",
                        log.name
                    );
                };
                if (known.first, known.end) != (first, end)
                    || known.body != bytes[BODY_AT..]
                    || header.incarnation() != id
                    || (known.epoch, known.time) != (header.log_epoch().0, header.append_time().0)
                {
                    anomaly!(
                        "inconsistent-offset",
                        "{}: {first}..{end} of epoch {} is not batch {}",
                        log.name,
                        header.log_epoch(),
                        known.uid
                    );
                }
                if end > high_watermark {
                    anomaly!(
                        "dirty-read",
                        "{}: {end} is above {high_watermark}",
                        log.name
                    );
                }
                got.push(GotBatch {
                    uid: known.uid,
                    end,
                    epoch: header.log_epoch(),
                });
                next = end;
            }
        }
        got
    }

    /// After a segment failed: what its log took since is taken back, and nothing else.
    pub fn check_taken_back(&mut self, broker: &Broker) {
        let mut cut = Vec::new();
        for (id, log) in &mut self.logs {
            let Some(found) = broker.storage().log(*id) else {
                continue;
            };
            let end = found.end().0;
            if end == log.end {
                continue;
            }
            if end > log.end || found.refused().is_none() {
                anomaly!(
                    "lost-write",
                    "{}: ended at {}, ends at {end}",
                    log.name,
                    log.end
                );
            }
            if end < log.promised_written {
                anomaly!(
                    "lost-write",
                    "{}: told up to {}, now {end}",
                    log.name,
                    log.promised_written
                );
            }
            self.trace.count("event: taken back after a failed segment");
            let at = log.batches.partition_point(|batch| batch.end <= end);
            log.taken_back.extend(log.batches.drain(at..));
            log.end = end;
            cut.push((*id, end));
        }
        for (id, end) in cut {
            let is_cut = |part: &(Incarnation, u64)| part.0 == id && part.1 > end;
            if let Some(parts) = self.shared.iter().find(|parts| parts.iter().any(is_cut)) {
                anomaly!("torn-entry", "a part was taken back alone: {parts:?}");
            }
        }
    }

    /// Takes note of what retention may do now; see [`Self::check_starts`].
    pub fn allow_retention(&mut self, broker: &Broker, now: i64) {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        for (id, log) in &mut self.logs {
            let Some(found) = broker.storage().log(*id) else {
                continue;
            };
            if let Some(days) = log.config.retention_days {
                let oldest = now.saturating_sub(i64::try_from(days).unwrap() * DAY_MS);
                let old = log.batches.iter().take_while(|batch| batch.time < oldest);
                if let Some(last) = old.last() {
                    log.may_start = log.may_start.max(last.end);
                }
            }
            let Some(((_, bytes), limit)) = found.size().zip(log.config.retention_bytes) else {
                continue;
            };
            if bytes > limit {
                // Whole segments go while there is more than the limit.
                let mut budget = bytes - limit + log.largest_segment + 4096;
                let start = found.log_start().0;
                for batch in log.batches.iter().filter(|batch| batch.first >= start) {
                    let bytes = (batch.body.len() + BODY_AT) as u64;
                    if bytes > budget {
                        break;
                    }
                    budget -= bytes;
                    log.may_start = log.may_start.max(batch.end);
                }
            }
        }
    }

    /// The log starts never fall, and never pass what retention asked for.
    pub fn check_starts(&mut self, broker: &Broker) {
        for (id, log) in &mut self.logs {
            let Some(found) = broker.storage().log(*id) else {
                continue;
            };
            let start = found.log_start().0;
            if start < log.start {
                anomaly!(
                    "undeleted",
                    "{}: started at {}, now at {start}",
                    log.name,
                    log.start
                );
            }
            if start > log.start {
                self.trace.count("event: retention moved a log start");
                if start > log.may_start {
                    anomaly!(
                        "lost-write",
                        "{}: trimmed to {start}, retention asked for {} at most",
                        log.name,
                        log.may_start
                    );
                }
            }
            log.start = start;
        }
    }

    pub fn commit_moves(&self, commits: &[CommitRequest]) -> Vec<Move> {
        let place = |commit: &CommitRequest| {
            let id = self.names.get(&commit.channel).copied().unwrap_or_default();
            Move::Placed(id, commit.consumer.clone(), commit.offset.0)
        };
        commits.iter().map(place).collect()
    }
}

pub fn new_log(name: ChannelName, config: ChannelConfig) -> LogModel {
    LogModel {
        name,
        largest_segment: config.segment_bytes,
        config,
        batches: Vec::new(),
        end: 0,
        start: 0,
        promised: 0,
        promised_written: 0,
        shown: 0,
        may_start: 0,
        is_damaged: false,
        lost: Vec::new(),
        taken_back: Vec::new(),
    }
}

pub fn apply_move(positions: &mut Positions, one: &Move) {
    match one {
        Move::Placed(id, consumer, offset) => {
            positions.insert((*id, consumer.clone()), *offset);
        }
        Move::Forgotten(id, consumer) => {
            positions.remove(&(*id, consumer.clone()));
        }
        Move::Dropped(id) => positions.retain(|(channel, _), _| channel != id),
        Move::Other => {}
    }
}

/// The remembered batches of one producer: epoch, first and next sequence, offset; and when the
/// last was appended.
type Known = VecDeque<(u32, u64, u64, u64)>;

fn fold<'a>(batches: impl Iterator<Item = &'a BatchModel>) -> (Known, Option<i64>) {
    let mut known = Known::new();
    let mut last = None;
    for batch in batches {
        let next = batch.sequence + u64::from(batch.count);
        let follows = known.back().is_some_and(|(epoch, _, next, _)| {
            (*epoch, *next) == (batch.producer_epoch, batch.sequence)
        });
        if !follows {
            known.clear();
        } else if known.len() == 5 {
            known.pop_front();
        }
        known.push_back((batch.producer_epoch, batch.sequence, next, batch.first));
        last = Some(batch.time);
    }
    (known, last)
}

fn judge(known: &Known, batch: &Batch) -> Verdict {
    if batch.producer.is_none() {
        return Verdict::New;
    }
    let Some((epoch, _, next, _)) = known.back().copied() else {
        return match batch.sequence {
            0 => Verdict::New,
            _ => Verdict::Refused("producer unknown"),
        };
    };
    if batch.epoch < epoch {
        return Verdict::Refused("producer fenced");
    }
    let expected = if batch.epoch > epoch { 0 } else { next };
    if batch.sequence >= expected {
        return match batch.sequence - expected {
            0 => Verdict::New,
            _ => Verdict::Refused("sequence gap"),
        };
    }
    let end = batch.sequence + u64::from(batch.count);
    let same =
        |(_, first, next, _): &&(u32, u64, u64, u64)| (*first, *next) == (batch.sequence, end);
    match known.iter().find(same) {
        Some((_, _, _, offset)) => Verdict::Duplicate(*offset),
        None if batch.sequence < known[0].1 => Verdict::Refused("sequence too old"),
        None => Verdict::Refused("sequence overlap"),
    }
}
