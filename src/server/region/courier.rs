//! Who brings the batches of one channel to its home.
//!
//! Publishes that may wait pass one task for each channel, in the order in which they came. While the
//! home can be reached and nothing is kept, it sends them there at once. When the home is lost it
//! keeps what is not answered and what comes after (`keeping.rs`), in the outbox of the channel; then
//! it carries that to the home, in order, under the producers' own identities and sequences, so that
//! the home takes each batch once. What the home refuses for good it sets aside (`refused.rs`), so that
//! nobody waits behind another's. Only when all is carried are publishes sent at once again.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Regions;
use super::forward::{Asker, home_of};
use super::keeping::{RefusedProducers, Sequences};
use super::outbox::{Handed, Told, lock};
use super::refusals::{Fate, ends_its_producer, fate};
use super::refused::Refused;
use super::requests::unreachable;
use crate::broker::{BrokerError, Fetch, Outbox, Place};
use crate::client::{Backoff, BackoffLimits, LinkCall, RequestError};
use crate::format::{BatchHeader, check_stored, unstamp};
use crate::protocol::{
    ErrorCode, PublishAsks, PublishRequest, PublishTarget, Request, Response, WireError,
};
use crate::server::ranks::Mutex;
use crate::server::shared::Shared;
use crate::server::{clock, fetching};
use crate::types::{LogEpoch, Offset, ProducerId, Timestamp};

/// Batches that are on their way to the home at once, and bytes that are read for them.
const WINDOW: usize = 16;
const READ_BYTES: u64 = 1 << 20;
/// How long a home may take to answer, beside what it waits for other regions.
const ANSWER: Duration = Duration::from_secs(15);
/// Waits before what could not be carried is tried again.
const AGAIN: BackoffLimits = BackoffLimits {
    min: Duration::from_millis(200),
    max: Duration::from_secs(60),
};
/// What was carried is recorded after so many bytes, or when nothing is left.
const RECORD_BYTES: u64 = 1 << 20;
/// Most producers whose epochs are borne in mind until all before is carried on the record.
const MAX_EPOCHS: usize = 10_000;
/// When it is looked again for what is kept and was not synced yet.
const UNSYNCED: Duration = Duration::from_millis(20);
/// A courier without work ends after this.
const IDLE: Duration = Duration::from_secs(30);

/// What is on its way to the home.
enum Load {
    /// A publish whose client waits.
    Publish(Handed),
    /// A batch of the outbox, and who wrote it.
    Kept(Box<(BatchHeader, Asker)>),
}

struct Sent {
    load: Load,
    call: LinkCall,
    deadline: Instant,
}

/// Who brings the batches of one channel to its home.
pub(super) struct Courier {
    pub(super) shared: Arc<Shared>,
    pub(super) regions: Arc<Regions>,
    pub(super) outbox: Outbox,
    inbox: mpsc::UnboundedReceiver<Handed>,
    told: Arc<Mutex<Told>>,
    flight: VecDeque<Sent>,
    /// Everything of the outbox below is at home, or set aside.
    carried: Offset,
    /// As far as that is on the record.
    pub(super) recorded: Offset,
    /// The home has taken or refused everything below; what it has refused from `carried` on is in
    /// `refused`.
    pub(super) answered: Offset,
    /// The record of the outbox that is sent next.
    next: Offset,
    pub(super) end: Offset,
    /// Bytes that wait.
    pub(super) bytes: u64,
    /// Bytes that were carried, which is not on the record yet.
    unrecorded: u64,
    /// What is to be set aside.
    pub(super) refused: Refused,
    /// Epochs of the producers whose batches were sent, at once or from the outbox, since it was last
    /// durable what is carried. One that is sent again behind one of a higher epoch would be refused,
    /// though it is at home.
    epochs: HashMap<ProducerId, u32>,
    /// A publish that may not be sent before that is durable. Nothing is taken before it is.
    waiting: Option<Handed>,
    /// Nothing is sent before it is durable what is carried.
    is_barred: bool,
    /// That could not be brought on the record, and is tried again with what is sent next.
    is_unsettled: bool,
    pub(super) sequences: Sequences,
    pub(super) refused_producers: RefusedProducers,
    /// Who wrote what is kept, by the principal that it is stamped with.
    askers: HashMap<u32, Asker>,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    backoff: Backoff,
    /// Why the home does not take what is kept.
    pub(super) refusal: Option<WireError>,
    oldest: Option<Timestamp>,
}

impl Courier {
    /// Who carries what an outbox has, which is in these offsets and bytes.
    pub(super) fn new(
        shared: &Arc<Shared>,
        regions: &Arc<Regions>,
        outbox: Outbox,
        inbox: mpsc::UnboundedReceiver<Handed>,
        told: Arc<Mutex<Told>>,
        kept: Range<Offset>,
        bytes: u64,
    ) -> Self {
        let Range { start, end } = kept;
        Self {
            shared: shared.clone(),
            regions: regions.clone(),
            outbox,
            inbox,
            told,
            flight: VecDeque::new(),
            carried: start,
            recorded: start,
            answered: start,
            next: start,
            end,
            bytes,
            unrecorded: 0,
            refused: Refused::default(),
            epochs: HashMap::new(),
            waiting: None,
            is_barred: false,
            is_unsettled: false,
            sequences: Sequences::default(),
            refused_producers: RefusedProducers::default(),
            askers: HashMap::new(),
            not_before: None,
            backoff: Backoff::new(AGAIN),
            refusal: None,
            oldest: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut linked = self.regions.linked.subscribe();
        let stop = self.shared.stop.clone();
        loop {
            if self.is_empty() && self.recorded < self.carried {
                self.record_carried();
            }
            if let Err(error) = self.fill().await {
                self.pause(None, &error.to_string());
            }
            if self.is_due() {
                match self.settle().await {
                    Ok(()) => {
                        self.is_barred = false;
                        self.epochs.clear();
                        continue;
                    }
                    Err(error) => {
                        tracing::error!(
                            channel = %self.outbox.channel, %error,
                            "what the home has refused of the outbox is not set aside yet"
                        );
                        self.is_unsettled = true;
                        self.pause(error.retry_after_ms, &error.to_string());
                    }
                }
            }
            // It is sent now, or kept where it can't be told what is carried.
            let is_next = !self.is_barred || self.is_unsettled;
            if let Some(handed) = self.waiting.take_if(|_| is_next) {
                self.take(handed).await;
                continue;
            }
            self.tell();
            let not_before = self.not_before;
            // What was kept last is not synced yet.
            let is_behind = self.flight.is_empty() && self.may_send();
            // Whose batches were refused is borne in mind here alone.
            let is_idle =
                self.flight.is_empty() && self.is_empty() && self.refused_producers.is_empty();
            let front = self.flight.front_mut();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                answer = answer_of(front) => self.answered(answer).await,
                handed = self.inbox.recv(), if self.waiting.is_none() => match handed {
                    Some(handed) => self.take(handed).await,
                    None => return,
                },
                _ = linked.changed() => self.go_on(),
                () = until(not_before) => self.go_on(),
                () = sleep(UNSYNCED), if is_behind => {}
                () = sleep(IDLE), if is_idle => {
                    // The next courier knows what is carried from the outbox alone.
                    let is_settled = self.settle().await.is_ok();
                    let broker = self.shared.broker();
                    let outboxes = &self.regions.outboxes;
                    if is_settled && outboxes.let_go(&broker, &self.outbox, &self.inbox) {
                        return;
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.carried == self.end
    }

    fn go_on(&mut self) {
        self.not_before = None;
        self.is_unsettled = false;
    }

    /// Whether it is time to set aside what was refused, or to make durable what is carried: all that
    /// was sent is answered, and nothing more is sent.
    fn is_due(&self) -> bool {
        if self.is_unsettled || !self.flight.is_empty() {
            return false;
        }
        let is_over = self.answered == self.end || self.refused.is_full();
        let is_stopped = is_over || self.not_before.is_some();
        self.is_barred || (!self.refused.is_empty() && is_stopped)
    }

    /// Whether more of what is kept may be sent now.
    pub(super) fn may_send(&self) -> bool {
        let is_stopped = self.is_barred || self.refused.is_full();
        self.next < self.end && !is_stopped && self.not_before.is_none()
    }

    /// Whether a batch may be sent behind those that were sent since it was last durable what is
    /// carried. If not, that is seen to first.
    pub(super) fn may_follow(&mut self, header: &BatchHeader) -> bool {
        let (producer, epoch) = (header.producer_id(), header.producer_epoch());
        if producer.is_none() {
            return true;
        }
        let before = self.epochs.get(&producer);
        self.is_barred = match before {
            Some(before) => *before < epoch,
            None => self.epochs.len() >= MAX_EPOCHS,
        };
        if !self.is_barred {
            self.epochs.insert(producer, epoch);
        }
        !self.is_barred
    }

    /// Says how the outbox is.
    pub(super) fn tell(&self) {
        let mut told = lock(&self.told);
        told.records = self.end.0 - self.carried.0;
        told.bytes = self.bytes;
        told.oldest = self.oldest.filter(|_| !self.is_empty());
        if self.is_empty() {
            told.error = None;
        }
    }

    /// Takes a publish: sends it at once, or keeps it, or has it wait until it may be sent.
    async fn take(&mut self, mut handed: Handed) {
        let link = match self.is_empty() && self.not_before.is_none() {
            true => self.link(),
            false => None,
        };
        let Some(link) = link else {
            // What was sent before it and is not answered comes first.
            self.fall_back().await;
            return self.keep(handed).await;
        };
        let header = BatchHeader::peek_produced(&handed.publish.batch);
        if header.is_ok_and(|header| !self.may_follow(&header)) {
            self.waiting = Some(handed);
            return;
        }
        let wait_ms = handed.publish.asks.map_or(0, |asks| asks.wait_ms);
        handed.publish.asks = Some(PublishAsks {
            outbox: false,
            wait_ms,
        });
        let request = Request::Publish(handed.publish.clone());
        let forward = self.regions.forwarding(handed.by.clone(), &request);
        let wait = Duration::from_millis(u64::from(wait_ms)) + self.regions.ack_wait;
        self.flight.push_back(Sent {
            load: Load::Publish(handed),
            call: link.send(&Request::LinkForward(Box::new(forward))),
            deadline: Instant::from_std(clock::instant()) + ANSWER + wait,
        });
    }

    /// The link to the home of the channel.
    fn link(&self) -> Option<crate::client::Link> {
        let home = {
            let broker = self.shared.broker();
            home_of(&broker, &self.regions, &self.outbox.channel)
        };
        let (home, _) = home?;
        self.regions.link_to(&home)
    }

    /// Keeps what was sent at once and is not answered: nobody knows whether it has arrived. Nothing
    /// is sent at once while something is kept, so what else is on its way stays so.
    async fn fall_back(&mut self) {
        let is_kept = |sent: &Sent| matches!(sent.load, Load::Kept(_));
        if self.flight.iter().any(is_kept) {
            return;
        }
        for sent in std::mem::take(&mut self.flight) {
            if let Load::Publish(handed) = sent.load {
                self.keep(handed).await;
            }
        }
        self.next = self.answered;
    }

    async fn answered(&mut self, answer: Option<Result<Response, RequestError>>) {
        let Some(sent) = self.flight.pop_front() else {
            return;
        };
        match (sent.load, answer) {
            (Load::Publish(handed), Some(Ok(Response::LinkForward(answer)))) => {
                self.backoff.reset();
                let kind = crate::protocol::Kind::Publish;
                let response = answer.response(kind, 2).unwrap_or_else(|error| {
                    let text = format!("the home of the channel has answered: {error}");
                    Response::Error(WireError::new(ErrorCode::Internal, text))
                });
                if let Ok(header) = BatchHeader::peek_produced(&handed.publish.batch) {
                    self.went_on(&header);
                    self.refused_producers.taken(&header);
                }
                let _ = handed.reply.send((response, None));
            }
            (Load::Publish(handed), Some(Err(RequestError::Server(error)))) => {
                self.sequences.stands_at(&handed.publish.batch);
                if ends_its_producer(&error)
                    && let Ok(header) = BatchHeader::peek_produced(&handed.publish.batch)
                {
                    self.refused_producers.refused(&header, &error);
                }
                let _ = handed.reply.send((Response::Error(*error), None));
            }
            (load @ Load::Publish(_), _) => {
                let error = self.home_unreachable().to_string();
                self.flight.push_front(Sent { load, ..sent });
                self.pause(None, &error);
                self.fall_back().await;
            }
            (Load::Kept(kept), Some(Ok(Response::LinkForward(_)))) => {
                self.arrived(&kept.0);
            }
            (Load::Kept(kept), Some(Err(RequestError::Server(error)))) => {
                self.kept_was_answered(&kept.0, &kept.1, *error);
            }
            (Load::Kept(..), _) => {
                let error = self.home_unreachable().to_string();
                self.pause(None, &error);
            }
        }
    }

    pub(super) fn home_unreachable(&self) -> WireError {
        let home = home_of(&self.shared.broker(), &self.regions, &self.outbox.channel);
        let home = home.map_or_else(|| self.regions.name.clone(), |(home, _)| home);
        unreachable(&home)
    }

    /// The home has answered a batch of the outbox with an error.
    pub(super) fn kept_was_answered(&mut self, header: &BatchHeader, by: &Asker, error: WireError) {
        match fate(&error, by, &self.outbox.channel) {
            Fate::There => self.arrived(header),
            Fate::Aside => {
                tracing::debug!(
                    channel = %self.outbox.channel, offset = %header.base_offset(), %error,
                    "the home refuses what waits in the outbox: it is set aside"
                );
                self.refused_producers.refused(header, &error);
                let cause = self.refused_producers.cause(header, error);
                self.refused.push(header, cause);
                self.was_answered(header.end_offset());
            }
            Fate::Stuck | Fate::Again => self.was_refused(error),
        }
    }

    /// The home has taken or refused everything below an offset.
    fn was_answered(&mut self, end: Offset) {
        self.backoff.reset();
        self.refusal = None;
        lock(&self.told).error = None;
        self.answered = end;
        self.next = self.next.max(end);
    }

    /// A batch of the outbox is at home.
    pub(super) fn arrived(&mut self, header: &BatchHeader) {
        let (end, bytes) = (header.end_offset(), header.len() as u64);
        self.was_answered(end);
        self.refused_producers.taken(header);
        match self.refused.is_empty() {
            true => self.carried_to(end, bytes),
            // What is before it is to be set aside first.
            false => self.refused.pass(bytes),
        }
    }

    /// Everything below an offset is at home, or set aside.
    ///
    /// - `bytes`: of what was not carried before.
    pub(super) fn carried_to(&mut self, end: Offset, bytes: u64) {
        self.carried = end;
        self.unrecorded += bytes;
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.regions.outboxes.give_room(bytes);
        if self.is_empty() {
            self.regions.outboxes.give_room(self.bytes);
            self.bytes = 0;
            self.oldest = None;
        }
        if self.is_empty() || self.unrecorded >= RECORD_BYTES {
            self.record_carried();
        }
    }

    /// Brings what is carried on the record; where that fails it is tried again.
    fn record_carried(&mut self) {
        let (below, now) = (self.carried, clock::now());
        let recorded = self.shared.broker().carried(&self.outbox, below, now);
        self.shared.wake_committer();
        match recorded {
            Ok(()) => {
                self.unrecorded = 0;
                self.recorded = below;
            }
            Err(error) => {
                tracing::debug!(channel = %self.outbox.channel, %error, "an outbox is trimmed later");
            }
        }
    }

    /// The home does not take a batch of the outbox, and nothing behind it either.
    fn was_refused(&mut self, error: WireError) {
        let text = format!("{}: {}", error.name, error.message);
        let after = error.retry_after_ms;
        if !error.retryable {
            tracing::error!(
                channel = %self.outbox.channel, offset = %self.answered, error = text,
                "the home does not take what waits in the outbox"
            );
            self.refusal = Some(error);
        }
        self.pause(after, &text);
    }

    /// Sends nothing for a while; what was on its way is sent again.
    fn pause(&mut self, after_ms: Option<u64>, text: &str) {
        self.flight
            .retain(|sent| matches!(sent.load, Load::Publish(_)));
        self.next = self.answered;
        let wait = self.backoff.next(after_ms);
        self.not_before = Some(Instant::from_std(clock::instant()) + wait);
        lock(&self.told).error = Some(text.to_owned());
    }

    /// Sends what is kept, as much as may be on its way.
    async fn fill(&mut self) -> Result<(), BrokerError> {
        if self.flight.len() >= WINDOW || !self.may_send() {
            return Ok(());
        }
        if self.lives_here() {
            // What is on its way to where it lived before may not be passed over: that is answered, or
            // given up, first.
            if self.flight.is_empty() {
                self.empty_here().await?;
            }
            return Ok(());
        }
        let Some(link) = self.link() else {
            self.look_at_oldest().await?;
            let error = self.home_unreachable().to_string();
            self.pause(None, &error);
            return Ok(());
        };
        for batch in self.read(READ_BYTES).await? {
            if self.flight.len() >= WINDOW {
                break;
            }
            let (header, request) = self.request_of(batch)?;
            if !self.may_follow(&header) {
                break;
            }
            let by = self.asker(header.principal());
            let forward = self.regions.forwarding(by.clone(), &request);
            let end = header.end_offset();
            self.flight.push_back(Sent {
                load: Load::Kept(Box::new((header, by))),
                call: link.send(&Request::LinkForward(Box::new(forward))),
                deadline: Instant::from_std(clock::instant()) + ANSWER + self.regions.ack_wait,
            });
            self.next = end;
        }
        Ok(())
    }

    /// Finds out how old the oldest record is.
    async fn look_at_oldest(&mut self) -> Result<(), BrokerError> {
        if self.oldest.is_none() {
            self.read(1).await?;
        }
        Ok(())
    }

    /// The next batches of the outbox.
    pub(super) async fn read(&mut self, max_bytes: u64) -> Result<Vec<BytesMut>, BrokerError> {
        let (name, id) = (self.outbox.name.clone(), Some(self.outbox.log));
        let place = Place::Offset(self.next);
        let mut fetch = Fetch::new(name, id, place, LogEpoch(0), max_bytes);
        let fetched = fetching::run(&self.shared, &mut fetch).await?;
        let mut batches = Vec::new();
        for part in &fetched.slices.parts {
            let mut rest = &part[..];
            while let Ok(header) = BatchHeader::peek(rest) {
                let Some((batch, after)) = rest.split_at_checked(header.len()) else {
                    break;
                };
                if header.end_offset() > self.next {
                    self.oldest.get_or_insert(header.append_time());
                    batches.push(BytesMut::from(batch));
                }
                rest = after;
            }
        }
        Ok(batches)
    }

    /// A kept batch as its producer has sent it.
    pub(super) fn request_of(
        &self,
        mut batch: BytesMut,
    ) -> Result<(BatchHeader, Request), BrokerError> {
        let header = check_stored(&batch)
            .map_err(|error| BrokerError::Bug(format!("a batch of an outbox: {error}").into()))?;
        unstamp(&mut batch);
        let target = PublishTarget {
            channel: self.outbox.channel.clone(),
            incarnation: Some(self.outbox.incarnation),
            expected_offset: None,
        };
        let publish = PublishRequest {
            target,
            batch,
            asks: Some(PublishAsks::default()),
        };
        Ok((header, Request::Publish(publish)))
    }

    /// Who wrote a batch.
    pub(super) fn asker(&mut self, principal: u32) -> Asker {
        let (shared, channel) = (&self.shared, &self.outbox.channel);
        let asker = self.askers.entry(principal);
        asker
            .or_insert_with(|| Asker::of_principal(&shared.broker(), principal, channel))
            .clone()
    }

    /// Notes when a record was kept.
    pub(super) fn kept_at(&mut self, at: Timestamp) {
        self.oldest.get_or_insert(at);
    }
}

/// The answer to what was sent first; none where it does not come in time.
async fn answer_of(front: Option<&mut Sent>) -> Option<Result<Response, RequestError>> {
    match front {
        Some(sent) => {
            let deadline = sent.deadline;
            timeout_at(deadline, sent.call.answer()).await.ok()
        }
        None => std::future::pending().await,
    }
}

async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}
