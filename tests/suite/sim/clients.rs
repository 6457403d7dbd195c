//! Those who use the broker: each asks for one thing or several, and goes on from what it is told.

use std::collections::VecDeque;
use std::sync::Arc;

use npayload::broker::config::{ConfigChange, Encryption};
use npayload::broker::{CommitRequest, FetchFrom, Target};
use npayload::consumer::Expected;
use npayload::types::{
    ChannelName, ConsumerName, Durability, Incarnation, LogEpoch, Offset, ProducerId, Timestamp,
};

use super::chance::Chance;
use super::request::{Batch, FetchAsk, Reply, Request, Sender, class, new_batch};

/// What a client's step may use.
pub struct Ctx<'a> {
    pub chance: &'a mut Chance,
    pub next_uid: &'a mut u64,
    pub channels: &'a [ChannelName],
    /// The end of the run: nothing new is begun.
    pub is_closing: bool,
    pub now: i64,
}

impl Ctx<'_> {
    fn channel(&mut self) -> ChannelName {
        self.chance.pick(self.channels).clone()
    }

    fn batch(&mut self, from: Sender) -> Arc<Batch> {
        *self.next_uid += 1;
        new_batch(self.chance, *self.next_uid, from)
    }

    fn producer(&mut self) -> ProducerId {
        ProducerId(u128::from(self.chance.draw()) << 64 | u128::from(self.chance.draw()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sends again until it is told; several batches in flight.
    Idempotent,
    /// Says which offset it expects.
    Expected,
    /// Writes under a fence, which it raises now and then.
    Fenced,
    /// Sends once and forgets.
    Plain,
}

struct Unacked {
    batch: Arc<Batch>,
    /// The request that carries it, while one does.
    correlation: Option<u64>,
}

pub struct Producer {
    kind: Kind,
    channel: ChannelName,
    sender: Sender,
    expected: u64,
    incarnation: Option<Incarnation>,
    unacked: VecDeque<Unacked>,
}

pub struct Reader {
    channel: ChannelName,
    from: FetchFrom,
    incarnation: Option<Incarnation>,
    epoch: LogEpoch,
    seen: Option<u64>,
    tails: bool,
}

/// Where a consumer is in its round.
enum At {
    Lost,
    Reading,
    Got(Offset, LogEpoch),
}

pub struct Consumer {
    name: ConsumerName,
    reader: Reader,
    previous: Option<Offset>,
    at: At,
    /// It publishes what it has read, together with its commit.
    transforms: bool,
    /// An atomic publish whose answer was lost: sent again as it was.
    again: Option<Request>,
}

pub enum Role {
    Producer(Producer),
    Reader(Reader),
    Consumer(Consumer),
    Admin,
}

pub struct Client {
    pub role: Role,
    /// Requests without an answer.
    pub waiting: Vec<u64>,
    last: Option<Request>,
    /// The next step at which it does something.
    pub rests_until: u64,
}

fn consumer_name(n: u64) -> ConsumerName {
    ConsumerName::parse(&format!("consumer-{n}")).unwrap()
}

impl Client {
    pub fn new(n: u64, ctx: &mut Ctx<'_>) -> Self {
        let role = match n % 12 {
            0 | 1 | 5 => Role::Producer(Producer::new(Kind::Idempotent, ctx)),
            2 => Role::Producer(Producer::new(Kind::Expected, ctx)),
            3 => Role::Producer(Producer::new(Kind::Fenced, ctx)),
            4 => Role::Producer(Producer::new(Kind::Plain, ctx)),
            6 => Role::Reader(Reader::new(false, ctx)),
            7 => Role::Reader(Reader::new(true, ctx)),
            8 => Role::Admin,
            _ => Role::Consumer(Consumer {
                name: consumer_name(ctx.chance.below(3)),
                reader: Reader::new(false, ctx),
                previous: None,
                at: At::Lost,
                transforms: n % 12 != 9,
                again: None,
            }),
        };
        Self {
            role,
            waiting: Vec::new(),
            last: None,
            rests_until: 0,
        }
    }

    /// Whether it has nothing left to do.
    pub fn is_done(&self) -> bool {
        let is_acked = match &self.role {
            Role::Producer(producer) => producer.unacked.is_empty(),
            _ => true,
        };
        self.waiting.is_empty() && is_acked
    }

    /// The next request, if it has one to send.
    pub fn step(&mut self, ctx: &mut Ctx<'_>, correlation: u64) -> Option<Request> {
        let request = match &mut self.role {
            Role::Producer(producer) => {
                let window = if producer.kind == Kind::Idempotent {
                    4
                } else {
                    1
                };
                if self.waiting.len() >= window {
                    return None;
                }
                producer.step(ctx, correlation)
            }
            _ if !self.waiting.is_empty() || ctx.is_closing => None,
            Role::Reader(reader) => Some(reader.ask(ctx)),
            Role::Consumer(consumer) => Some(consumer.step(ctx)),
            Role::Admin => Some(administrate(ctx)),
        }?;
        self.waiting.push(correlation);
        self.last = Some(request.clone());
        Some(request)
    }

    /// Takes an answer; says for how many steps the client rests.
    pub fn told(&mut self, ctx: &mut Ctx<'_>, correlation: u64, reply: &Reply) -> u64 {
        self.waiting.retain(|waiting| *waiting != correlation);
        let rest = match reply {
            Reply::Refused(error) => match class(error) {
                "journal failed" | "channel failed" => 40,
                "disk full" | "read failed" => 15,
                "no such channel" => 30,
                _ => 0,
            },
            Reply::Overloaded | Reply::ShuttingDown | Reply::NeverAcknowledged(_) => 15,
            _ => 0,
        };
        match &mut self.role {
            Role::Producer(producer) => producer.told(ctx, correlation, reply),
            Role::Reader(reader) => reader.told(ctx, reply),
            Role::Consumer(consumer) => consumer.told(ctx, reply),
            Role::Admin => {}
        }
        rest
    }

    /// The connection is gone: what was asked may have been done, or not.
    pub fn cut(&mut self, ctx: &mut Ctx<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        self.waiting.clear();
        match &mut self.role {
            Role::Producer(producer) => producer.cut(ctx),
            Role::Reader(_) | Role::Admin => {}
            Role::Consumer(consumer) => {
                consumer.at = At::Lost;
                consumer.again = match self.last.take() {
                    Some(request @ Request::Atomic(..)) => Some(request),
                    _ => None,
                };
            }
        }
    }
}

impl Producer {
    fn new(kind: Kind, ctx: &mut Ctx<'_>) -> Self {
        let mut producer = Self {
            kind,
            channel: ctx.channel(),
            sender: Sender::default(),
            expected: 0,
            incarnation: None,
            unacked: VecDeque::new(),
        };
        producer.start_anew(ctx);
        producer
    }

    /// Another identity, or the next life of this one.
    fn start_anew(&mut self, ctx: &mut Ctx<'_>) {
        self.unacked.clear();
        self.incarnation = None;
        if self.kind == Kind::Idempotent {
            self.sender.sequence = 0;
            self.sender.epoch += 1;
            if self.sender.producer.is_none() || ctx.chance.one_in(3) {
                self.sender.producer = ctx.producer();
                self.sender.epoch = 0;
            }
        }
        if ctx.chance.one_in(3) {
            self.channel = ctx.channel();
        }
    }

    fn step(&mut self, ctx: &mut Ctx<'_>, correlation: u64) -> Option<Request> {
        let in_flight = self.unacked.len();
        let mut unacked = self.unacked.iter_mut();
        let unsent = unacked.find(|one| one.correlation.is_none());
        let batch = match unsent {
            Some(one) => {
                one.correlation = Some(correlation);
                one.batch.clone()
            }
            None if ctx.is_closing || in_flight >= 4 => return None,
            None => {
                if self.kind == Kind::Idempotent && self.unacked.is_empty() && ctx.chance.one_in(40)
                {
                    self.start_anew(ctx);
                }
                if self.kind == Kind::Fenced && ctx.chance.one_in(8) {
                    self.sender.fence += 1;
                }
                let batch = ctx.batch(self.sender);
                self.sender.sequence += match self.kind {
                    Kind::Idempotent => u64::from(batch.count),
                    _ => 0,
                };
                if self.kind == Kind::Idempotent {
                    self.unacked.push_back(Unacked {
                        batch: batch.clone(),
                        correlation: Some(correlation),
                    });
                }
                batch
            }
        };
        let target = Target {
            channel: self.channel.clone(),
            incarnation: self.incarnation,
            expected: (self.kind == Kind::Expected).then_some(Offset(self.expected)),
            principal: 0,
        };
        Some(Request::Publish(target, batch))
    }

    fn told(&mut self, ctx: &mut Ctx<'_>, correlation: u64, reply: &Reply) {
        let at = |one: &Unacked| one.correlation == Some(correlation);
        match reply {
            Reply::Published(published) => {
                self.expected = published.last.0 + 1;
                if self.kind != Kind::Plain && ctx.chance.one_in(2) {
                    self.incarnation = Some(published.incarnation);
                }
                self.unacked.retain(|one| !at(one));
            }
            Reply::Refused(error) => {
                use npayload::broker::BrokerError;
                use npayload::storage::StageError;
                match error {
                    BrokerError::Stage(StageError::WrongOffset { actual, .. }) => {
                        self.expected = actual.0;
                    }
                    BrokerError::Fenced(fenced) => {
                        // A former leader gives up, or another becomes one.
                        self.sender.fence = fenced.highest + ctx.chance.below(2);
                        self.start_anew(ctx);
                    }
                    _ => self.refused(ctx, correlation, class(error)),
                }
            }
            _ => self.send_again(correlation),
        }
    }

    fn refused(&mut self, ctx: &mut Ctx<'_>, correlation: u64, class: &str) {
        let is_first = self
            .unacked
            .front()
            .is_some_and(|one| one.correlation == Some(correlation));
        match class {
            "channel failed" if ctx.is_closing => self.start_anew(ctx),
            "disk full" | "journal failed" | "channel failed" | "busy" => {
                self.send_again(correlation);
            }
            // One before it was refused, or is on its way again.
            "sequence gap" if !is_first => self.send_again(correlation),
            "no such channel" if !ctx.is_closing && ctx.chance.one_in(2) => {
                self.send_again(correlation);
            }
            _ => self.start_anew(ctx),
        }
    }

    fn send_again(&mut self, correlation: u64) {
        for one in &mut self.unacked {
            if one.correlation == Some(correlation) {
                one.correlation = None;
            }
        }
    }

    fn cut(&mut self, ctx: &mut Ctx<'_>) {
        for one in &mut self.unacked {
            one.correlation = None;
        }
        if ctx.chance.one_in(20) {
            // A new life of the same producer, while its former one may still be on the way.
            self.start_anew(ctx);
        }
    }
}

impl Reader {
    fn new(tails: bool, ctx: &mut Ctx<'_>) -> Self {
        let mut reader = Self {
            channel: ctx.channel(),
            from: FetchFrom::Start,
            incarnation: None,
            epoch: LogEpoch(0),
            seen: None,
            tails,
        };
        reader.start_anew(ctx);
        reader
    }

    fn start_anew(&mut self, ctx: &mut Ctx<'_>) {
        if !self.tails {
            self.channel = ctx.channel();
        }
        self.incarnation = None;
        self.epoch = LogEpoch(0);
        self.seen = None;
        self.from = match ctx.chance.below(6) {
            0 => FetchFrom::End,
            1 => FetchFrom::Back(ctx.chance.below(20)),
            2 => FetchFrom::Time(Timestamp(
                ctx.now - i64::try_from(ctx.chance.below(5_000)).unwrap(),
            )),
            3 => FetchFrom::Offset(Offset(ctx.chance.below(60))),
            _ => FetchFrom::Start,
        };
    }

    fn ask(&mut self, ctx: &mut Ctx<'_>) -> Request {
        Request::Fetch(FetchAsk {
            channel: self.channel.clone(),
            incarnation: self.incarnation,
            from: self.from,
            last_epoch: self.epoch,
            max_bytes: ctx.chance.within(1..6_000),
            max_wait: if self.tails {
                ctx.chance.within(1..80)
            } else {
                0
            },
            seen: self.seen,
        })
    }

    fn told(&mut self, ctx: &mut Ctx<'_>, reply: &Reply) {
        match reply {
            Reply::Fetched(head, batches) => {
                self.incarnation = Some(head.incarnation);
                match batches.last() {
                    Some(last) => {
                        self.from = FetchFrom::Offset(Offset(last.end));
                        self.epoch = last.epoch;
                        self.seen = Some(last.uid);
                    }
                    None => self.from = FetchFrom::Offset(head.from),
                }
                if !self.tails && (batches.is_empty() || ctx.chance.one_in(12)) {
                    self.start_anew(ctx);
                }
            }
            Reply::Refused(error) if class(error) != "read failed" => self.start_anew(ctx),
            _ => {}
        }
    }
}

impl Consumer {
    fn step(&mut self, ctx: &mut Ctx<'_>) -> Request {
        if let Some(again) = self.again.take() {
            return again;
        }
        match self.at {
            At::Lost => {
                if ctx.chance.one_in(12) {
                    let offset = Offset(ctx.chance.below(40));
                    let (channel, name) = (self.reader.channel.clone(), self.name.clone());
                    return Request::Reset(channel, name, offset);
                }
                Request::Position(self.reader.channel.clone(), self.name.clone())
            }
            At::Reading => self.reader.ask(ctx),
            At::Got(offset, epoch) => {
                let commit = CommitRequest {
                    channel: self.reader.channel.clone(),
                    incarnation: self.reader.incarnation,
                    consumer: self.name.clone(),
                    offset,
                    log_epoch: epoch,
                    expected: match self.previous {
                        _ if !self.transforms && ctx.chance.one_in(3) => Expected::Any,
                        Some(previous) => Expected::At(previous),
                        None => Expected::Absent,
                    },
                    metadata: String::new(),
                };
                if !self.transforms {
                    return Request::Commit(commit);
                }
                let mut batches: Vec<(Target, Arc<Batch>)> = Vec::new();
                let producer = ctx.producer();
                for _ in 0..ctx.chance.within(1..4) {
                    let channel = ctx.channel();
                    if batches.iter().any(|(target, _)| target.channel == channel) {
                        continue;
                    }
                    let target = Target {
                        channel,
                        incarnation: None,
                        expected: None,
                        principal: 0,
                    };
                    let sender = Sender {
                        producer,
                        ..Sender::default()
                    };
                    batches.push((target, ctx.batch(sender)));
                }
                let commits = match ctx.chance.below(6) {
                    0 => Vec::new(),
                    _ => vec![commit],
                };
                Request::Atomic(batches, commits)
            }
        }
    }

    fn told(&mut self, ctx: &mut Ctx<'_>, reply: &Reply) {
        match reply {
            Reply::Position(position, incarnation) => {
                self.previous = Some(position.offset);
                self.reader.from = FetchFrom::Offset(position.offset);
                self.reader.epoch = position.log_epoch;
                self.reader.incarnation = Some(*incarnation);
                self.reader.seen = None;
                self.at = At::Reading;
            }
            Reply::Refused(error) if class(error) == "no such consumer" => {
                self.previous = None;
                self.reader.from = FetchFrom::Start;
                self.reader.epoch = LogEpoch(0);
                self.reader.incarnation = None;
                self.reader.seen = None;
                self.at = At::Reading;
            }
            Reply::Fetched(_, batches) => {
                self.reader.told(ctx, reply);
                self.at = match batches.last() {
                    Some(last) => At::Got(Offset(last.end), last.epoch),
                    None => At::Lost,
                };
            }
            Reply::Committed(offset) => {
                self.previous = Some(*offset);
                self.at = At::Reading;
            }
            Reply::Atomic(atomic) if !atomic.committed.is_empty() => {
                self.previous = atomic.committed.first().copied();
                self.at = At::Reading;
            }
            Reply::Refused(error)
                if class(error) == "out of range" || class(error) == "diverged" =>
            {
                self.at = At::Lost;
                if ctx.chance.one_in(2) {
                    self.reader.start_anew(ctx);
                }
            }
            Reply::Refused(_) | Reply::Atomic(_) => {
                self.at = At::Lost;
                if ctx.chance.one_in(8) {
                    self.reader.start_anew(ctx);
                }
            }
            _ => self.at = At::Lost,
        }
    }
}

/// A change somebody makes to the channels and consumers.
fn administrate(ctx: &mut Ctx<'_>) -> Request {
    let name = ctx.channel();
    let consumer = consumer_name(ctx.chance.below(3));
    match ctx.chance.below(20) {
        0..=7 => Request::Create(name, change(ctx.chance)),
        8..=10 => Request::Update(name, change(ctx.chance)),
        11 | 12 => Request::Delete(name, None),
        13 => Request::Delete(name, Some(Incarnation(ctx.chance.draw().into()))),
        14..=16 => Request::Info(name),
        17 => Request::Forget(name, consumer),
        18 => Request::Reset(name, consumer, Offset(ctx.chance.below(50))),
        _ => Request::Position(name, consumer),
    }
}

fn change(chance: &mut Chance) -> ConfigChange {
    let blocks = chance.within(1..6);
    ConfigChange {
        durability: match chance.below(3) {
            0 => Some(Durability::Written),
            1 => Some(Durability::Synced),
            _ => None,
        },
        sync_interval_ms: chance.one_in(3).then(|| chance.within(1..400)),
        segment_bytes: Some(4096 * blocks),
        retention_bytes: match chance.below(3) {
            0 => Some(Some(chance.within(2_000..40_000))),
            1 => Some(None),
            _ => None,
        },
        retention_days: match chance.below(4) {
            0 => Some(Some(1)),
            1 => Some(None),
            _ => None,
        },
        // Without a draw of its own, which would make another run of every seed.
        encryption: match blocks {
            1 | 2 => Some(Encryption::On),
            3 => Some(Encryption::Off),
            _ => None,
        },
        ..ConfigChange::default()
    }
}
