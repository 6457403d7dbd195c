//! Judges the answer to each call by the model, and books what was taken.

use std::sync::Arc;

use npayload::broker::{
    Accepted, AtomicPublished, Broker, BrokerError, CommitRequest, Published, Refusal, Target,
};
use npayload::consumer::Expected;
use npayload::storage::StageError;
use npayload::types::{ChannelName, Durability, Incarnation};

use super::history::{Fact, History, Verdict};
use super::request::{Batch, class};
use super::trace::anomaly;

/// What an answer tells somebody, once it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    pub id: Incarnation,
    pub end: u64,
    pub level: Durability,
    /// It is of whatever the channel holds, asked for by a change of its configuration.
    pub is_rest: bool,
}

/// The answer of a call, as far as the model can tell it beforehand.
type Answer = Result<Option<u64>, &'static str>;

impl History {
    /// Whether the broker may refuse for the state it is in.
    fn may_refuse(
        &self,
        broker: &Broker,
        (what, class): (&str, &str),
        ids: &[Option<Incarnation>],
    ) -> bool {
        let storage = broker.storage();
        match class {
            "busy" => true,
            "too large" => what.starts_with("atomic"),
            "disk full" => storage.is_disk_full(),
            "journal failed" => storage.journal_failure().is_some(),
            // A channel that is yet to be made is recorded in the directory.
            "channel failed" => {
                let directory = [Some(self.directory.id)];
                let ids = ids.iter().chain(&directory).flatten();
                ids.into_iter().any(|id| is_failed(broker, *id))
            }
            _ => false,
        }
    }

    fn compare(
        &self,
        broker: &Broker,
        what: &str,
        ids: &[Option<Incarnation>],
        allowed: &[Answer],
        found: Answer,
    ) {
        if found == Ok(None) && broker.storage().journal_failure().is_some() {
            anomaly!(
                "ack-after-failure",
                "{what} was taken after the journal failed"
            );
        }
        if allowed.contains(&found) {
            return;
        }
        let is_stage = |answer: &Answer| matches!(answer, Ok(None) | Err("wrong offset"));
        if let Err(class) = found
            && allowed.iter().any(is_stage)
            && self.may_refuse(broker, (what, class), ids)
        {
            return;
        }
        anomaly!(
            "wrong-answer",
            "{what}: expected one of {allowed:?}, got {found:?}"
        );
    }

    /// The channel that a write goes to, or why it can't.
    fn writable(
        &self,
        target: &Target,
        auto_create: bool,
    ) -> Result<Option<Incarnation>, &'static str> {
        match (self.names.get(&target.channel), target.incarnation) {
            (Some(id), Some(expected)) if *id != expected => Err("recreated"),
            (Some(id), _) => Ok(Some(*id)),
            (None, None) if auto_create => Ok(None),
            (None, _) => Err("no such channel"),
        }
    }

    /// The channels of these names that the call has made.
    fn created(&self, broker: &Broker, names: &[&ChannelName]) -> Vec<Fact> {
        let mut facts = Vec::new();
        for name in names {
            if self.names.contains_key(*name) {
                continue;
            }
            if let Ok(info) = broker.channel_info(name) {
                let info = info.value;
                facts.push(Fact::Created(info.name, info.incarnation, info.config));
            }
        }
        facts
    }

    fn level(&self, id: Incarnation) -> Durability {
        let log = self.logs.get(&id);
        log.map_or(Durability::Synced, |log| log.config.durability)
    }

    pub fn check_publish(
        &mut self,
        broker: &Broker,
        auto_create: bool,
        (target, batch): (&Target, &Arc<Batch>),
        result: &Result<Accepted<Published>, Refusal>,
    ) -> Vec<Promise> {
        let what = format!("publish of {} to {}", batch.uid, target.channel);
        let writable = self.writable(target, auto_create);
        let id = writable.unwrap_or_default();
        let allowed: Vec<Answer> = match writable {
            Err(class) => vec![Err(class)],
            Ok(id) => {
                let is_failed = id.is_some_and(|id| is_failed(broker, id));
                let end = id.map_or(0, |id| self.end_of(id));
                let answer = |verdict| match verdict {
                    Verdict::Duplicate(first) => Ok(Some(first)),
                    Verdict::Refused(class) => Err(class),
                    Verdict::New if self.is_fenced(id, batch.fence) && !is_failed => Err("fenced"),
                    Verdict::New if target.expected.is_some_and(|expected| expected.0 != end) => {
                        Err("wrong offset")
                    }
                    Verdict::New => Ok(None),
                };
                self.verdicts(id, batch, is_failed)
                    .into_iter()
                    .map(answer)
                    .collect()
            }
        };
        let found = match result {
            Ok(accepted) if accepted.value.is_duplicate => Ok(Some(accepted.value.first.0)),
            Ok(_) => Ok(None),
            Err(refusal) => Err(class(&refusal.error)),
        };
        let fenced = found == Err("fenced") && id.is_some_and(|id| is_failed(broker, id));
        if !fenced {
            self.compare(broker, &what, &[id], &allowed, found);
        }
        let facts = self.created(broker, &[&target.channel]);
        self.observe(broker, facts, Vec::new());
        match result {
            Ok(accepted) => {
                let published = accepted.value;
                if !published.is_duplicate {
                    self.book(batch, &published);
                }
                let (id, end) = (published.incarnation, published.last.0 + 1);
                vec![Promise {
                    id,
                    end,
                    level: published.level,
                    is_rest: false,
                }]
            }
            Err(refusal) => self.revealed(id, refusal),
        }
    }

    /// What a refusal tells of the log.
    fn revealed(&self, id: Option<Incarnation>, refusal: &Refusal) -> Vec<Promise> {
        match (&refusal.error, id) {
            (BrokerError::Stage(StageError::WrongOffset { actual, expected }), Some(id)) => {
                if actual.0 != self.end_of(id) || actual == expected {
                    anomaly!(
                        "wrong-answer",
                        "the log ends at {}, not {actual}",
                        self.end_of(id)
                    );
                }
                vec![Promise {
                    id,
                    end: actual.0,
                    level: self.level(id),
                    is_rest: false,
                }]
            }
            _ => Vec::new(),
        }
    }

    pub fn check_atomic(
        &mut self,
        broker: &Broker,
        auto_create: bool,
        (batches, commits): (&[(Target, Arc<Batch>)], &[CommitRequest]),
        result: &Result<Accepted<AtomicPublished>, Refusal>,
    ) -> Vec<Promise> {
        let found = match result {
            Ok(accepted) if accepted.value.published.iter().any(|one| one.is_duplicate) => {
                Ok(Some(0))
            }
            Ok(_) => Ok(None),
            Err(refusal) => Err(class(&refusal.error)),
        };
        let mut ids = Vec::new();
        // A producer may be remembered, or forgotten by its age.
        let allowed = [false, true].map(|is_forgotten| {
            ids.clear();
            self.atomic_answer(
                broker,
                auto_create,
                (batches, commits),
                is_forgotten,
                &mut ids,
            )
        });
        // A failed log still knows the fence of what was taken back.
        let has_failed = |id: &Incarnation| is_failed(broker, *id);
        if found != Err("fenced") || !ids.iter().flatten().any(has_failed) {
            self.compare(broker, "atomic publish", &ids, &allowed, found);
        }
        let names: Vec<_> = batches.iter().map(|(target, _)| &target.channel).collect();
        let facts = self.created(broker, &names);
        let moves = match found {
            Ok(None) => self.commit_moves(commits),
            _ => Vec::new(),
        };
        self.observe(broker, facts, moves);
        let Ok(accepted) = result else {
            return Vec::new();
        };
        let mut promises = Vec::new();
        for ((_, batch), published) in batches.iter().zip(&accepted.value.published) {
            if found == Ok(None) {
                self.book(batch, published);
            }
            promises.push(Promise {
                id: published.incarnation,
                end: published.last.0 + 1,
                level: published.level,
                is_rest: false,
            });
        }
        if !commits.is_empty() {
            promises.push(Promise {
                id: self.consumers.id,
                end: self.consumers.end(),
                level: Durability::Synced,
                is_rest: false,
            });
        }
        if found == Ok(None) && promises.len() > 1 {
            let parts = promises.iter().map(|part| (part.id, part.end));
            self.shared.push(parts.collect());
        }
        promises
    }

    fn atomic_answer(
        &self,
        broker: &Broker,
        auto_create: bool,
        (batches, commits): (&[(Target, Arc<Batch>)], &[CommitRequest]),
        is_forgotten: bool,
        ids: &mut Vec<Option<Incarnation>>,
    ) -> Answer {
        for (target, _) in batches {
            ids.push(self.writable(target, auto_create)?);
        }
        let mut duplicates = 0;
        for (id, (_, batch)) in ids.iter().zip(batches) {
            let is_failed = id.is_some_and(|id| is_failed(broker, id));
            let verdicts = self.verdicts(*id, batch, is_failed);
            match verdicts[if is_forgotten { verdicts.len() - 1 } else { 0 }] {
                Verdict::Duplicate(_) => duplicates += 1,
                Verdict::Refused(class) => return Err(class),
                Verdict::New if self.is_fenced(*id, batch.fence) => return Err("fenced"),
                Verdict::New => {}
            }
        }
        if duplicates == batches.len() && duplicates > 0 {
            return Ok(Some(0));
        }
        if duplicates > 0 {
            return Err("atomic rule");
        }
        for commit in commits {
            self.commit_answer(broker, commit)?;
        }
        if !commits.is_empty() {
            ids.push(Some(self.consumers.id));
        }
        for (id, (target, _)) in ids.iter().zip(batches) {
            let end = id.map_or(0, |id| self.end_of(id));
            if target.expected.is_some_and(|expected| expected.0 != end) {
                return Err("wrong offset");
            }
        }
        Ok(None)
    }

    fn commit_answer(&self, broker: &Broker, commit: &CommitRequest) -> Result<(), &'static str> {
        let id = *self.names.get(&commit.channel).ok_or("no such channel")?;
        if commit.incarnation.is_some_and(|expected| expected != id) {
            return Err("recreated");
        }
        let log = broker.storage().log(id).ok_or("no such channel")?;
        let is_ahead = commit.offset > log.high_watermark();
        if is_ahead && commit.log_epoch > log.last_epoch() {
            return Err("diverged");
        }
        let at = self.positions.get(&(id, commit.consumer.clone())).copied();
        let holds = match commit.expected {
            Expected::Any => true,
            Expected::Absent => at.is_none(),
            Expected::At(offset) => at == Some(offset.0),
        };
        if !holds || is_ahead {
            return Err("position");
        }
        Ok(())
    }

    pub fn check_commit(
        &mut self,
        broker: &Broker,
        commit: &CommitRequest,
        result: &Result<Accepted<npayload::types::Offset>, Refusal>,
    ) -> Vec<Promise> {
        let found = match result {
            Ok(_) => Ok(None),
            Err(refusal) => Err(class(&refusal.error)),
        };
        let allowed = self.commit_answer(broker, commit).map(|()| None);
        let what = format!("commit of {}", commit.consumer);
        self.compare(broker, &what, &[Some(self.consumers.id)], &[allowed], found);
        let moves = match found {
            Ok(_) => self.commit_moves(std::slice::from_ref(commit)),
            Err(_) => Vec::new(),
        };
        self.observe(broker, Vec::new(), moves);
        self.topic_promise(found.is_ok(), self.consumers.id)
    }

    /// The answer to a call that an internal topic records tells all that the topic holds.
    pub fn topic_promise(&self, is_told: bool, id: Incarnation) -> Vec<Promise> {
        let promise = Promise {
            id,
            end: self.end_of(id),
            level: Durability::Synced,
            is_rest: false,
        };
        is_told.then_some(promise).into_iter().collect()
    }
}

/// Whether a segment of the channel failed since the start.
pub fn is_failed(broker: &Broker, id: Incarnation) -> bool {
    let log = broker.storage().log(id);
    log.is_some_and(|log| log.refused().is_some())
}
