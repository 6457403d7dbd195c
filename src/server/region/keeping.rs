//! What may wait in an outbox, and in which order: the checks before a batch is kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::courier::Courier;
use super::outbox::{Handed, Reply};
use super::recent::Recent;
use crate::broker::config::ChannelConfig;
use crate::broker::{BrokerError, CheckedBatch, Published, Refusal, Wake};
use crate::format::{BatchHeader, DoorLimits, check_produced};
use crate::protocol::{ErrorCode, Response, Whereabouts, WireError};
use crate::server::shared::TaskWake;
use crate::server::{answer, clock};
use crate::types::{Durability, ProducerId};

/// How long a batch waits for room in the broker's buffers.
const BUSY: Duration = Duration::from_secs(20);
/// Most producers whose sequences are remembered; past that those are forgotten that were heard of
/// least recently.
const MAX_PRODUCERS: usize = 10_000;
/// Most producers of which it is remembered that the home has refused them, the last half of which
/// surely are; past that a batch of theirs is kept, refused, and set aside.
const MAX_REFUSED: usize = 2_000;

/// Where the producers of a channel stand, as far as their batches passed here: a batch is kept only
/// where none before it was left out.
#[derive(Debug)]
pub(super) struct Sequences(Recent<ProducerId, (u32, u64)>);

impl Default for Sequences {
    fn default() -> Self {
        Self(Recent::new(MAX_PRODUCERS))
    }
}

impl Sequences {
    /// A batch is at home, or kept.
    fn passed(&mut self, header: &BatchHeader) {
        // Whatever sequence a client makes up.
        let count = u64::from(header.record_count());
        let next = header.base_sequence().saturating_add(count);
        let stands = (header.producer_epoch(), next);
        let known = self.0.get(&header.producer_id());
        // A retry of an older one takes nothing back.
        if known.is_none_or(|known| *known < stands) {
            self.0.set(header.producer_id(), stands);
        }
    }

    /// A batch is at home, or kept, with which its producer begins anew: whatever it had reached.
    fn began(&mut self, header: &BatchHeader) {
        self.0.remove(&header.producer_id());
        self.passed(header);
    }

    /// A batch was refused: its producer goes on with it.
    pub fn stands_at(&mut self, batch: &[u8]) {
        if let Ok(header) = BatchHeader::peek_produced(batch) {
            self.stopped(&header);
        }
    }

    fn stopped(&mut self, header: &BatchHeader) {
        let stands = (header.producer_epoch(), header.base_sequence());
        if self.0.get(&header.producer_id()).is_none() {
            self.0.set(header.producer_id(), stands);
        }
    }

    /// Whether a batch leaves out what is before it; the sequence that is expected then.
    fn gap(&mut self, header: &BatchHeader) -> Option<u64> {
        let (epoch, next) = *self.0.get(&header.producer_id())?;
        let expected = match header.producer_epoch() > epoch {
            true => 0,
            false => next,
        };
        (header.base_sequence() > expected).then_some(expected)
    }
}

/// Producers whose batches the home has refused for good: what follows in the same epoch is not
/// promised, while the home can't be asked.
#[derive(Debug)]
pub(super) struct RefusedProducers(Recent<ProducerId, RefusedSince>);

/// From where on a producer is refused, and why.
#[derive(Debug)]
struct RefusedSince {
    epoch: u32,
    sequence: u64,
    error: WireError,
}

impl Default for RefusedProducers {
    fn default() -> Self {
        Self(Recent::new(MAX_REFUSED))
    }
}

impl RefusedProducers {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The home has refused a batch for good.
    pub fn refused(&mut self, header: &BatchHeader, error: &WireError) {
        let (producer, epoch) = (header.producer_id(), header.producer_epoch());
        let known = self.0.get(&producer);
        if known.is_some_and(|known| known.epoch >= epoch) {
            // What follows is refused for that.
            return;
        }
        let since = RefusedSince {
            epoch,
            sequence: header.base_sequence(),
            error: error.clone(),
        };
        self.0.set(producer, since);
    }

    /// The home has taken a batch, so it knows the producer.
    pub fn taken(&mut self, header: &BatchHeader) {
        let producer = header.producer_id();
        let known = self.0.peek(&producer);
        if known.is_some_and(|known| known.epoch <= header.producer_epoch()) {
            self.0.remove(&producer);
        }
    }

    /// Why the home would not take a batch, where that is known.
    fn refusal(&mut self, header: &BatchHeader) -> Option<WireError> {
        let known = self.0.get(&header.producer_id())?;
        (known.is_before(header) && !known.may_begin(header)).then(|| known.error.clone())
    }

    /// Whether a batch that is at home, or kept, is one with which its producer begins anew. Then it
    /// is refused no more.
    fn begins(&mut self, header: &BatchHeader) -> bool {
        let known = self.0.peek(&header.producer_id());
        let begins = known.is_some_and(|known| known.may_begin(header));
        if begins {
            self.0.remove(&header.producer_id());
        }
        begins
    }

    /// What a refusal is about: of what is refused for what is missing before it, what was refused
    /// there, where that is known.
    pub fn cause(&self, header: &BatchHeader, error: WireError) -> WireError {
        // Of whom the home has taken nothing it says that it doesn't know them.
        let is_missing = error.is(ErrorCode::SequenceGap) || error.is(ErrorCode::UnknownProducer);
        let known = self.0.peek(&header.producer_id());
        match known.filter(|known| is_missing && known.is_before(header)) {
            Some(known) => known.error.clone(),
            None => error,
        }
    }
}

impl RefusedSince {
    /// Whether a batch is refused since, of the same epoch.
    fn is_before(&self, header: &BatchHeader) -> bool {
        header.producer_epoch() == self.epoch && header.base_sequence() >= self.sequence
    }

    /// Whether its producer may begin anew with a batch: whom the home does not know may.
    fn may_begin(&self, header: &BatchHeader) -> bool {
        let is_first = header.producer_epoch() == self.epoch && header.base_sequence() == 0;
        is_first && self.error.is(ErrorCode::UnknownProducer)
    }
}

/// What holds for the batches of a channel.
struct Rules {
    limits: DoorLimits,
    /// Encrypted at rest.
    encrypted: bool,
    /// How safe the channel makes what is in it.
    durability: Durability,
}

fn refused(why: &str) -> WireError {
    WireError::new(ErrorCode::OutboxRefused, why)
}

fn full(limit: u64) -> WireError {
    let text =
        format!("what waits in the outbox of this region would have more than {limit} bytes");
    let error = WireError::new(ErrorCode::OutboxFull, text);
    error.with("limit", limit).retry_after_ms(500)
}

/// What a batch for a channel is checked against, whose configuration is this.
fn limits(config: &ChannelConfig) -> DoorLimits {
    DoorLimits {
        max_record_bytes: u32::try_from(config.max_record_bytes).unwrap_or(u32::MAX),
        lz4: config.allows(2),
        zstd: config.allows(3),
    }
}

impl Courier {
    /// A batch is at home, or kept: where its producer stands by that.
    pub(super) fn went_on(&mut self, header: &BatchHeader) {
        match self.refused_producers.begins(header) {
            true => self.sequences.began(header),
            false => self.sequences.passed(header),
        }
    }

    /// Keeps a publish, and answers it.
    pub(super) async fn keep(&mut self, handed: Handed) {
        let Handed { publish, by, reply } = handed;
        let kept = self.kept(publish, by.principal).await;
        let answer = kept.unwrap_or_else(|error| (Response::Error(error), None));
        // Whoever has gone asks again.
        let _ = reply.send(answer);
    }

    async fn kept(
        &mut self,
        publish: crate::protocol::PublishRequest,
        principal: u32,
    ) -> Result<Reply, WireError> {
        if publish.target.expected_offset.is_some() {
            let why = "a batch with an expected offset does not wait: nobody knows its offset";
            return Err(refused(why));
        }
        if let Some(error) = &self.refusal {
            return Err(error.clone());
        }
        let channel = &self.outbox.channel;
        if self.regions.is_alone() {
            let why = "this region has no peers, and no way to the home";
            return Err(refused(why).with("channel", channel.as_str()));
        }
        if !self.shared.broker().may_hold_here(channel) {
            let why = "this region may not hold the channel's bytes";
            return Err(refused(why).with("channel", channel.as_str()));
        }
        let Rules {
            limits,
            encrypted,
            durability,
        } = self.rules()?;
        let bytes = publish.batch;
        let header = check_produced(&bytes, &limits);
        let header = header.map_err(|error| WireError::from_batch(&error))?;
        if header.fence() != 0 {
            let why = "a fenced batch does not wait: its fence may have been overtaken";
            return Err(refused(why));
        }
        if let Some(error) = self.refused_producers.refusal(&header) {
            return Err(error);
        }
        if let Some(expected) = self.sequences.gap(&header) {
            let found = header.base_sequence();
            let text = format!("sequence {found} leaves a gap, expected {expected}");
            return Err(WireError::new(ErrorCode::SequenceGap, text)
                .with("expected", expected)
                .with("actual", found));
        }
        let len = bytes.len() as u64;
        if !self.regions.outboxes.take_room(len) {
            self.sequences.stopped(&header);
            return Err(full(self.regions.outboxes.limit));
        }
        let mut batch = Some(CheckedBatch { header, bytes });
        let kept = self.append(&mut batch, encrypted, principal).await;
        let accepted = kept.map_err(|refusal| {
            self.regions.outboxes.give_room(len);
            self.sequences.stopped(&header);
            answer::refused(&refusal.error)
        })?;
        if accepted.value.is_duplicate {
            self.regions.outboxes.give_room(len);
        } else {
            self.bytes += len;
            self.end = crate::types::Offset(accepted.value.last.0 + 1);
            self.kept_at(accepted.value.append_time);
        }
        self.went_on(&header);
        // It is synced here, and from the moment it is carried only as safe as the channel makes it:
        // no more than that is promised, as nobody is told when it was carried.
        let level = accepted.value.level.min(durability);
        let at = Whereabouts {
            region: Some(self.regions.name.clone()),
            held: u32::from(level == Durability::Synced),
            outbox: true,
        };
        let published = answer::published(&Published {
            level,
            ..accepted.value
        });
        Ok((Response::PublishAt(published, at), Some(accepted.wait)))
    }

    /// What batches of the channel are checked against, and how they are kept: as a copy of it says,
    /// or its home did.
    fn rules(&self) -> Result<Rules, WireError> {
        let channel = &self.outbox.channel;
        {
            let broker = self.shared.broker();
            if let Some((encrypted, durability)) = broker.kept_as(self.outbox.incarnation) {
                let limits = broker.door(channel);
                return Ok(Rules {
                    limits: limits.map_err(|error| answer::refused(&error))?,
                    encrypted,
                    durability,
                });
            }
        }
        match self.regions.known_config(channel) {
            Some(config) => Ok(Rules {
                limits: limits(&config),
                encrypted: !config.encryption.is_off(),
                durability: config.durability,
            }),
            None => Err(self.home_unreachable()),
        }
    }

    async fn append(
        &self,
        batch: &mut Option<CheckedBatch>,
        encrypted: bool,
        principal: u32,
    ) -> Result<crate::broker::Accepted<crate::broker::Published>, Refusal> {
        let since = clock::instant();
        loop {
            let waiter = TaskWake::new();
            let kept = {
                let mut broker = self.shared.broker();
                let now = clock::now();
                let kept = broker.keep_in_outbox(&self.outbox, encrypted, batch, principal, now);
                if kept.as_ref().is_err_and(Refusal::is_busy) {
                    broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
                }
                kept
            };
            self.shared.wake_committer();
            match kept {
                Err(refusal) if refusal.is_busy() && since.elapsed() < BUSY => {}
                kept => return kept,
            }
            self.shared.wake_keeper();
            tokio::select! {
                woken = timeout(Duration::from_millis(200), waiter.0.notified()) => drop(woken),
                () = self.shared.stop.cancelled() => {
                    sleep(Duration::from_millis(1)).await;
                    return Err(BrokerError::Bug("the server ends".into()).into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BatchBuilder, Compression, NewRecord};

    const PRODUCER: ProducerId = ProducerId(7);

    /// The header of a batch of two records.
    fn header(epoch: u32, sequence: u64) -> BatchHeader {
        of(PRODUCER, epoch, sequence)
    }

    fn of(producer: ProducerId, epoch: u32, sequence: u64) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.producer(producer, epoch, sequence);
        for _ in 0..2 {
            builder.push(&NewRecord::default()).unwrap();
        }
        BatchHeader::peek_produced(&builder.build().unwrap()).unwrap()
    }

    #[test]
    fn a_batch_behind_one_that_was_refused_is_not_kept_before_it() {
        let mut sequences = Sequences::default();
        // Whoever comes first is taken at their word: the rest went to the home before.
        assert_eq!(sequences.gap(&header(1, 40)), None);
        sequences.passed(&header(1, 40));
        assert_eq!(sequences.gap(&header(1, 42)), None);
        assert_eq!(sequences.gap(&header(1, 44)), Some(42));
        // A retry leaves nothing out, and takes nothing back.
        assert_eq!(sequences.gap(&header(1, 40)), None);
        sequences.passed(&header(1, 40));
        assert_eq!(sequences.gap(&header(1, 44)), Some(42));
        // A higher epoch counts from 0.
        assert_eq!(sequences.gap(&header(2, 0)), None);
        assert_eq!(sequences.gap(&header(2, 2)), Some(0));
        sequences.passed(&header(2, 0));
        assert_eq!(sequences.gap(&header(2, 2)), None);
    }

    #[test]
    fn however_many_producers_come_those_that_write_are_not_forgotten() {
        let mut sequences = Sequences::default();
        sequences.passed(&header(1, 40));
        for other in 0..3 * MAX_PRODUCERS as u128 {
            sequences.passed(&of(ProducerId(1000 + other), 1, 0));
            assert!(sequences.0.len() <= MAX_PRODUCERS);
            if other % 1000 == 0 {
                assert_eq!(sequences.gap(&header(1, 44)), Some(42), "{other}");
            }
        }
    }

    #[test]
    fn a_producer_that_was_refused_is_promised_nothing_until_it_begins_anew_or_is_taken() {
        let mut refused = RefusedProducers::default();
        let told = |refused: &mut RefusedProducers, header: &BatchHeader| {
            refused.refusal(header).and_then(|error| error.known())
        };
        let unknown = WireError::new(ErrorCode::UnknownProducer, "m");
        refused.refused(&header(2, 40), &unknown);
        // What follows it is refused for the same, whatever the home calls it.
        let gap = WireError::new(ErrorCode::SequenceGap, "m");
        refused.refused(&header(2, 42), &gap);
        for sequence in [40, 42, 50] {
            let error = told(&mut refused, &header(2, sequence));
            assert_eq!(error, Some(ErrorCode::UnknownProducer), "{sequence}");
        }
        // What came before it may be there; one that begins is another matter; so are others.
        for header in [
            header(2, 38),
            header(2, 0),
            header(3, 0),
            of(ProducerId(8), 2, 40),
        ] {
            assert_eq!(told(&mut refused, &header), None);
        }
        refused.refused(&header(3, 0), &gap);
        let error = told(&mut refused, &header(3, 0));
        assert_eq!(error, Some(ErrorCode::SequenceGap));
        refused.taken(&header(2, 60));
        assert!(!refused.is_empty(), "that is of before");
        refused.taken(&header(3, 0));
        assert!(refused.is_empty());
        let count = 3 * MAX_REFUSED as u128 + 1;
        for other in 0..count {
            refused.refused(&of(ProducerId(1000 + other), 1, 7), &unknown);
            assert!(refused.0.len() <= MAX_REFUSED);
        }
        // As docs/regions.md promises.
        let mut last = (count - 1000..count).map(|other| ProducerId(1000 + other));
        assert!(last.all(|producer| refused.0.peek(&producer).is_some()));
    }

    #[test]
    fn a_producer_that_begins_anew_is_one_like_others() {
        let unknown = WireError::new(ErrorCode::UnknownProducer, "m");
        let (mut refused, mut sequences) = (RefusedProducers::default(), Sequences::default());
        refused.refused(&header(1, 40), &unknown);
        sequences.stopped(&header(1, 40));
        for other in [header(1, 38), header(1, 40), header(2, 0)] {
            assert!(!refused.begins(&other), "that is no new beginning");
        }
        assert!(refused.begins(&header(1, 0)));
        sequences.began(&header(1, 0));
        assert_eq!(sequences.gap(&header(1, 4)), Some(2));
        assert!(refused.is_empty());
        assert!(!refused.begins(&header(1, 0)), "a retry");
    }

    #[test]
    fn what_is_missing_before_a_batch_is_refused_for_what_was_refused_there() {
        let mut refused = RefusedProducers::default();
        let cause = |refused: &RefusedProducers, header: &BatchHeader, code| {
            let error = refused.cause(header, WireError::new(code, "m"));
            error.known()
        };
        let gap = ErrorCode::SequenceGap;
        let large = ErrorCode::RecordTooLarge;
        assert_eq!(cause(&refused, &header(1, 42), gap), Some(gap));
        refused.refused(&header(1, 40), &WireError::new(large, "m"));
        let unknown = ErrorCode::UnknownProducer;
        assert_eq!(cause(&refused, &header(1, 42), gap), Some(large));
        assert_eq!(cause(&refused, &header(1, 42), unknown), Some(large));
        // Another reason is its own, and so is another epoch.
        let forbidden = ErrorCode::Forbidden;
        assert_eq!(cause(&refused, &header(1, 42), forbidden), Some(forbidden));
        assert_eq!(cause(&refused, &header(2, 2), gap), Some(gap));
    }

    #[test]
    fn the_last_sequence_there_is_is_one_like_others() {
        let mut sequences = Sequences::default();
        sequences.passed(&header(1, u64::MAX));
        assert_eq!(sequences.gap(&header(1, u64::MAX)), None);
        assert_eq!(sequences.gap(&header(1, 40)), None);
    }

    #[test]
    fn one_that_was_refused_first_of_all_is_waited_for() {
        let mut sequences = Sequences::default();
        sequences.stopped(&header(1, 40));
        assert_eq!(sequences.gap(&header(1, 42)), Some(40));
        assert_eq!(sequences.gap(&header(1, 40)), None);
        // What is known of it already stays.
        sequences.passed(&header(1, 40));
        sequences.stopped(&header(1, 40));
        assert_eq!(sequences.gap(&header(1, 42)), None);
    }
}
