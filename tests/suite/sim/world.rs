//! The world of one run: a broker, its disk, the connections and clients, and the one who chooses
//! what happens next.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use npayload::broker::config::{ChannelConfig, Encryption};
use npayload::broker::producers::ProducerLimits;
use npayload::broker::{Broker, BrokerConfig, Fetch, FetchFrom, FetchStep, Looked, Stop};
use npayload::keys::MasterKeys;
use npayload::storage::disk::Disk;
use npayload::storage::{
    IoFailure, LoadTask, Loaded, PointJob, Round, RoundEnd, StorageConfig, Upkeep, UpkeepEnd,
};
use npayload::types::{ChannelName, LogEpoch, Timestamp};

use super::chance::Chance;
use super::clients::{Client, Ctx};
use super::disk::SimDisk;
use super::faults::Faults;
use super::history::History;
use super::network::Connection;
use super::server::Call;
use super::trace::{Trace, anomaly};

pub const ROOT: &str = "/data";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What the committer is at.
pub enum Committer {
    Idle,
    Planned(Box<Round>),
    Ran(RoundEnd),
    /// The disk was full: the same round is run again.
    Full(Box<Round>),
    Point(PointJob),
    PointRan(Result<(), IoFailure>),
}

/// What the keeper is at.
pub enum Keeper {
    Idle,
    Planned(Upkeep),
    Ran(UpkeepEnd),
    Load(LoadTask),
    Loaded(Loaded),
}

pub struct World {
    pub chance: Chance,
    pub trace: Trace,
    pub step: u64,
    pub now: i64,
    pub disk: SimDisk,
    pub broker: Option<Broker>,
    pub config: BrokerConfig,
    pub history: History,
    pub faults: Faults,
    pub committer: Committer,
    pub keeper: Keeper,
    /// Neither goes on before these steps: the disk is slow.
    pub slow: (u64, u64),
    pub connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    next_correlation: u64,
    clients: Vec<Client>,
    channels: Vec<ChannelName>,
    next_uid: u64,
    pub is_closing: bool,
    /// The broker was asked to stop, and how often a full disk was tried since.
    pub stopping: Option<u32>,
}

/// Small limits, so that rolls, direct runs and a full ring happen within a few appends.
pub fn small_storage(chance: &mut Chance) -> StorageConfig {
    StorageConfig {
        journal_file_bytes: 32 * 1024,
        journal_files: u32::try_from(chance.within(2..5)).unwrap(),
        max_round_bytes: 16 * 1024,
        direct_bytes: 3 * 1024,
        always_direct_bytes: 8 * 1024,
        write_behind_bytes: chance.within(512..4096),
        max_unwritten_bytes: 64 * 1024,
        own_segment_bytes: 4096 * chance.within(1..4),
        max_open_segments: 3,
        min_free_bytes: 100_000,
        reserve_bytes: 20_000,
        checkpoint_interval_ms: *chance.pick(&[200, 2_000, 30_000]),
        ..StorageConfig::default()
    }
}

fn config(seed: u64, chance: &mut Chance) -> BrokerConfig {
    let mut own = Chance::new(seed ^ 0x5ea1);
    BrokerConfig {
        storage: small_storage(chance),
        auto_create: !chance.one_in(4),
        defaults: ChannelConfig {
            segment_bytes: 4096 * chance.within(1..4),
            encryption: *own.pick(&[Encryption::On, Encryption::Off]),
            ..ChannelConfig::default()
        },
        master_keys: MasterKeys::parse(&"5e".repeat(32)).unwrap(),
        // Now and then a key is replaced by itself.
        max_key_offsets: *own.pick(&[8, 40, 1 << 31]),
        producers: ProducerLimits::default(),
        fold_events: *chance.pick(&[10, 30, 10_000]),
        ..BrokerConfig::default()
    }
}

impl World {
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut chance = Chance::new(seed);
        let config = config(seed, &mut chance);
        let names = ["a", "b", "c", "d", "e"];
        let count = usize::try_from(chance.within(2..6)).unwrap();
        let parse = |name: &&str| ChannelName::parse(name).unwrap();
        let mut world = Self {
            disk: SimDisk::new(trace.clone()),
            history: History::new(trace.clone(), config.producers.max_age_ms),
            faults: Faults::new(&mut chance),
            trace,
            step: 0,
            now: 1_700_000_000_000,
            broker: None,
            config,
            committer: Committer::Idle,
            keeper: Keeper::Idle,
            slow: (0, 0),
            connections: BTreeMap::new(),
            next_connection: 0,
            next_correlation: 0,
            clients: Vec::new(),
            channels: names[..count].iter().map(parse).collect(),
            next_uid: 0,
            is_closing: false,
            stopping: None,
            chance,
        };
        let clients = world.chance.within(4..16);
        let from = world.chance.below(12);
        for n in 0..clients {
            let client = Client::new(n + from, &mut world.ctx());
            world.clients.push(client);
        }
        world
    }

    fn ctx(&mut self) -> Ctx<'_> {
        Ctx {
            chance: &mut self.chance,
            next_uid: &mut self.next_uid,
            channels: &self.channels,
            is_closing: self.is_closing,
            now: self.now,
        }
    }

    /// The broker opens the disk as it is.
    pub fn open(&mut self) -> Result<(), npayload::broker::BrokerOpenError> {
        let mut random = Chance::new(self.chance.draw());
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        self.history.latest = self.history.latest.max(self.now);
        let broker = Broker::open(
            disk,
            Path::new(ROOT),
            self.config.clone(),
            "simulation",
            Timestamp(self.now),
            Box::new(move || random.draw()),
        )?;
        self.broker = Some(broker);
        Ok(())
    }

    /// Whatever comes next.
    pub fn step(&mut self) {
        self.step += 1;
        self.trace.set_step(self.step);
        match self.chance.below(100) {
            0..=24 => self.step_client(),
            25..=44 => self.deliver_request(),
            45..=59 => self.deliver_reply(),
            60..=69 => self.step_committer(),
            70..=77 => self.step_keeper(),
            78..=85 => self.settle(),
            86..=93 => self.step_task(),
            94 => self.tick(),
            95..=96 => self.step_clock(),
            _ => self.step_fault(),
        }
        self.history.latest = self.history.latest.max(self.now);
    }

    pub fn call(&mut self, connection: u64, act: impl FnOnce(&mut Connection, &mut Call<'_>)) {
        let Some(broker) = self.broker.as_mut() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&connection) else {
            return;
        };
        let mut call = Call {
            broker,
            history: &mut self.history,
            now: self.now,
            step: self.step,
            auto_create: self.config.auto_create,
        };
        act(connection, &mut call);
        for (correlation, reply) in &connection.session.out {
            let name = reply.name();
            self.trace.note(&name, &[*correlation], || {
                format!("{correlation} {reply:?}")
            });
            self.trace.count(format!("answer: {name}"));
        }
        connection.flush(self.step + self.chance.below(12));
    }

    fn step_client(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = usize::try_from(self.chance.below(self.clients.len() as u64)).unwrap();
        let mut client = self.clients.swap_remove(at);
        if client.rests_until <= self.step && self.stopping.is_none() {
            let correlation = self.next_correlation;
            if let Some(request) = client.step(&mut self.ctx(), correlation) {
                self.next_correlation += 1;
                self.trace.note("ask", &[at as u64, correlation], || {
                    format!("{correlation} by client {at}: {request:?}")
                });
                self.trace.count(format!("request: {}", request.name()));
                let id = self.connection_of(at);
                let due = self.step + self.chance.below(8);
                let connection = self.connections.get_mut(&id).unwrap();
                connection.send(due, correlation, request);
            }
        }
        self.clients.push(client);
        let last = self.clients.len() - 1;
        self.clients.swap(at, last);
    }

    fn connection_of(&mut self, client: usize) -> u64 {
        let is_open = |one: &Connection| one.client == client && !one.is_cut;
        if let Some((id, _)) = self.connections.iter().find(|(_, one)| is_open(one)) {
            return *id;
        }
        let id = self.next_connection;
        self.next_connection += 1;
        self.connections.insert(id, Connection::new(client));
        id
    }

    /// One of the connections for which `wants` says so.
    fn any_connection(&mut self, wants: impl Fn(&Connection) -> bool) -> Option<u64> {
        let ids: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| wants(connection))
            .map(|(id, _)| *id)
            .collect();
        (!ids.is_empty()).then(|| *self.chance.pick(&ids))
    }

    fn deliver_request(&mut self) {
        let step = self.step;
        if self.stopping.is_some() {
            return;
        }
        let Some(id) = self.any_connection(|one| one.has_arrived(step)) else {
            return;
        };
        self.call(id, |connection, call| {
            if let Some((_, correlation, request)) = connection.to_server.pop_front() {
                connection.session.take(call, correlation, request);
            }
        });
        self.connections.retain(|_, one| !one.is_over());
    }

    fn deliver_reply(&mut self) {
        let step = self.step;
        let is_due = |one: &Connection| one.to_client.front().is_some_and(|(due, ..)| *due <= step);
        let Some(id) = self.any_connection(is_due) else {
            return;
        };
        let connection = self.connections.get_mut(&id).unwrap();
        let (_, correlation, reply) = connection.to_client.pop_front().unwrap();
        let at = connection.client;
        let mut client = self.clients.swap_remove(at);
        let rest = client.told(&mut self.ctx(), correlation, &reply);
        client.rests_until = self.step + rest;
        self.clients.push(client);
        let last = self.clients.len() - 1;
        self.clients.swap(at, last);
    }

    /// Cuts a connection: its client does not know what became of its requests.
    pub fn cut(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.cut(&mut self.chance);
        let at = connection.client;
        let mut client = self.clients.swap_remove(at);
        client.cut(&mut self.ctx());
        self.clients.push(client);
        let last = self.clients.len() - 1;
        self.clients.swap(at, last);
        self.trace
            .note("cut", &[id], || format!("connection {id} of client {at}"));
        self.trace.count("fault: connection cut");
    }

    pub fn any_live_connection(&mut self) -> Option<u64> {
        self.any_connection(|one| !one.is_cut)
    }

    pub fn settle(&mut self) {
        // A stalled command is tried again also without a round.
        let may_look = self.chance.one_in(4);
        let wants =
            |one: &Connection| one.session.is_woken() || may_look && one.session.is_stalled();
        if let Some(id) = self.any_connection(wants) {
            self.call(id, |connection, call| connection.session.settle(call));
        }
        self.connections.retain(|_, one| !one.is_over());
    }

    fn step_task(&mut self) {
        let Some(id) = self.any_connection(|one| one.session.task_count() > 0) else {
            return;
        };
        let at = self.chance.draw();
        self.call(id, |connection, call| {
            let at = at % connection.session.task_count();
            connection.session.step_task(call, at);
        });
    }

    pub fn step_committer(&mut self) {
        let Some(broker) = self.broker.as_mut() else {
            return;
        };
        if self.step < self.slow.0 {
            return;
        }
        let now = Timestamp(self.now);
        self.committer = match std::mem::replace(&mut self.committer, Committer::Idle) {
            Committer::Idle => match broker.plan_round(now) {
                Some(round) => Committer::Planned(round),
                None if self.chance.one_in(3) => broker
                    .plan_point()
                    .map_or(Committer::Idle, Committer::Point),
                None => Committer::Idle,
            },
            Committer::Planned(round) => {
                if self.chance.one_in(20) {
                    self.slow.0 = self.step + self.chance.within(10..120);
                    self.trace.count("fault: slow disk");
                }
                Committer::Ran(round.run())
            }
            Committer::Full(round) => Committer::Ran(round.run()),
            Committer::Ran(end) => {
                let event = match &end {
                    RoundEnd::Done(_) => "round done",
                    RoundEnd::Full(..) => "round found the disk full",
                    RoundEnd::Failed(..) => "journal failed",
                };
                let result = broker.finish_round(end);
                self.trace.note(event, &[], String::new);
                self.trace.count(format!("event: {event}"));
                for waiter in result.wake {
                    waiter.wake();
                }
                self.history.check_taken_back(broker);
                match result.again {
                    None => Committer::Idle,
                    Some(round) => match &mut self.stopping {
                        Some(tries) if *tries >= 10 => {
                            broker.give_up();
                            Committer::Idle
                        }
                        Some(tries) => {
                            *tries += 1;
                            Committer::Full(round)
                        }
                        None => Committer::Full(round),
                    },
                }
            }
            Committer::Point(job) => Committer::PointRan(job.run()),
            Committer::PointRan(ended) => {
                self.trace.count("event: recovery point");
                broker.finish_point(ended);
                Committer::Idle
            }
        };
        self.check_failures();
    }

    pub fn step_keeper(&mut self) {
        let Some(broker) = self.broker.as_mut() else {
            return;
        };
        if self.step < self.slow.1 {
            return;
        }
        let now = Timestamp(self.now);
        self.keeper = match std::mem::replace(&mut self.keeper, Keeper::Idle) {
            Keeper::Idle => broker
                .plan_upkeep(now)
                .map_or(Keeper::Idle, Keeper::Planned),
            Keeper::Planned(job) => {
                if self.chance.one_in(20) {
                    self.slow.1 = self.step + self.chance.within(10..200);
                    self.trace.count("fault: slow disk");
                }
                let event = match &job {
                    Upkeep::WriteBehind(_) => "write behind",
                    Upkeep::Prepare(_) => "journal file prepared",
                    Upkeep::Checkpoint(_) => "checkpoint",
                    Upkeep::Copy(_) => "copied forward",
                    Upkeep::Cut(_) => "end of a log cut off",
                    Upkeep::Index(_) => "indexes saved",
                    Upkeep::Remove(job) if job.removed_log().is_some() => "channel removed",
                    Upkeep::Replace(_) => "log replaced",
                    Upkeep::Remove(_) => "segments removed",
                };
                self.trace.note(event, &[], String::new);
                self.trace.count(format!("event: {event}"));
                Keeper::Ran(job.run())
            }
            Keeper::Ran(end) => {
                broker.finish_upkeep(end, now);
                self.history.check_taken_back(broker);
                self.history.observe(broker, Vec::new(), Vec::new());
                Keeper::Idle
            }
            Keeper::Load(task) => Keeper::Loaded(task.run()),
            Keeper::Loaded(loaded) => {
                // A directory that can't be listed is listed another time.
                let _ = broker.finish_load(loaded);
                Keeper::Idle
            }
        };
        self.check_failures();
    }

    /// Retention, and a look at the disk's free space.
    pub fn tick(&mut self) {
        let Some(broker) = self.broker.as_mut() else {
            return;
        };
        if let Ok(available) = self.disk.available(Path::new(ROOT)) {
            broker.book_free_bytes(Some(available));
        }
        if !matches!(self.keeper, Keeper::Idle) {
            return;
        }
        self.history.allow_retention(broker, self.now);
        let before = self.history.directory.end() + self.history.consumers.end();
        if let Looked::Unlisted(task) = broker.tick(Timestamp(self.now)) {
            self.keeper = Keeper::Load(task);
        }
        self.history.observe(broker, Vec::new(), Vec::new());
        let after = self.history.directory.end() + self.history.consumers.end();
        if after > before {
            self.trace.note("tick", &[after - before], || {
                format!("{} records", after - before)
            });
            self.trace.count("event: retention or fold recorded");
        }
    }

    fn step_clock(&mut self) {
        let jump = match self.chance.below(if self.faults.clock { 200 } else { 100 }) {
            100 => -DAY_MS,
            101 => DAY_MS,
            102 => -3652 * DAY_MS,
            103 => 3652 * DAY_MS,
            104..=110 => -i64::try_from(self.chance.below(5_000)).unwrap(),
            n if n % 10 == 0 => i64::try_from(self.chance.below(3_000)).unwrap(),
            _ => i64::try_from(self.chance.below(40)).unwrap(),
        };
        if jump.abs() >= DAY_MS {
            let kind = if jump < 0 { "back" } else { "forward" };
            let far = if jump.abs() > DAY_MS {
                "ten years"
            } else {
                "a day"
            };
            self.trace.count(format!("fault: clock {kind} by {far}"));
        }
        self.now += jump;
        self.trace
            .note("clock", &[u64::try_from(self.now).unwrap_or(0)], || {
                format!("{jump} ms")
            });
    }

    /// What refuses writes must have a call behind it that failed.
    fn check_failures(&mut self) {
        let Some(broker) = self.broker.as_ref() else {
            return;
        };
        if self.disk.is_crashed() {
            return;
        }
        if broker.storage().journal_failure().is_some()
            && !self.disk.was_struck_at("journal")
            && !self.disk.was_struck_at("recovery-point")
        {
            anomaly!(
                "bug",
                "the journal failed by itself: {:?}",
                broker.storage().journal_failure()
            );
        }
        for info in broker.list_channels("", true, None, 1000).value {
            let log = self.history.logs.get(&info.incarnation);
            if let Some(refused) = &info.refused
                && !log.is_some_and(|log| log.is_damaged)
                && !self.disk.was_struck_at(&info.incarnation.to_string())
                && !self.disk.was_struck_in("channels")
            {
                anomaly!(
                    "bug",
                    "{} refuses writes without a reason: {refused}",
                    info.name
                );
            }
        }
        self.history.check_starts(broker);
    }

    /// Reads every channel from its start to its end.
    pub fn read_all(&mut self) {
        let Some(broker) = self.broker.as_mut() else {
            return;
        };
        'channels: for (name, id) in self.history.names.clone() {
            let mut from = FetchFrom::Start;
            loop {
                let mut fetch =
                    Fetch::new(name.clone(), None, from, LogEpoch(0), 4096).for_socket();
                let fetched = loop {
                    match broker.fetch_step(&mut fetch) {
                        Ok(FetchStep::Done(fetched)) => break fetched,
                        Ok(FetchStep::Run(job)) => {
                            let end = job.run();
                            if let Err(error) = broker.feed_fetch(&mut fetch, end) {
                                if self.history.logs[&id].is_damaged {
                                    continue 'channels;
                                }
                                anomaly!("unseen", "{name} from {from:?}: {error}");
                            }
                        }
                        Err(_) if self.history.logs[&id].is_damaged => continue 'channels,
                        Err(error) => anomaly!("unseen", "{name} from {from:?}: {error}"),
                    }
                };
                let head = fetched.head;
                let (at, high) = (head.from.0, head.high_watermark.0);
                let got = self.history.check_read(id, at, high, &fetched.slices.parts);
                match got.last() {
                    Some(last) => from = FetchFrom::Offset(npayload::types::Offset(last.end)),
                    None if at < high => anomaly!("unseen", "{name}: nothing from {at} to {high}"),
                    None => break,
                }
            }
        }
    }

    /// Whether nothing is asked, waits, or is on its way.
    pub fn is_quiet(&self) -> bool {
        self.clients.iter().all(Client::is_done)
            && self.connections.values().all(|one| {
                one.session.is_idle() && one.to_client.is_empty() && one.to_server.is_empty()
            })
    }

    pub fn stop_state(&self) -> Stop {
        self.broker
            .as_ref()
            .map_or(Stop::Failed, Broker::stop_state)
    }
}
