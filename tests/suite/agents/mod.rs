//! Agents, their sessions and tool calls in the broker: what is recorded is known again after any
//! end, with a snapshot and without; deadlines are the broker's; organisations are walls.

mod agreed;
mod agreed_live;
mod arbitration;
mod beyond;
mod bounds;
mod clock;
mod companies;
mod court;
mod ended;
mod endorsements;
mod evidence;
mod held;
mod history;
mod intruders;
mod live;
mod market;
mod market_live;
mod payments;
mod promises;
mod promises_crash;
mod promises_live;
mod refusals;
mod shared_evidence;
mod spoiled;
mod thieves;
mod walls;

use std::path::Path;
use std::sync::Arc;

use npayload::access::Principal;
use npayload::asp::Canonical;
use npayload::asp::chain::Digest;
use npayload::asp::registry::{AgentRef, Agents};
use npayload::asp::session::{
    Constraints, Limits, Message, Performative, Role, Send, Sessions, State,
};
use npayload::asp::tool::Tools;
use npayload::broker::asp::{NewSession, Register, SentMessage, SessionSeen};
use npayload::broker::{
    Accepted, Broker, BrokerConfig, BrokerError, BrokerOpenError, Refusal, Wait,
};
use npayload::storage::disk::{CrashingDisk, Disk};
use npayload::storage::{Outcome, StorageConfig};
use npayload::types::{AgentName, MessageId, OrgId, SessionId, Timestamp};

use crate::storage_harness::{ROOT, small};

const ME: Principal = Principal::LOCAL;
/// When these tests begin, in ms since 1970.
const BEGIN: i64 = 1_700_000_000_000;

/// A broker without threads, on a disk that forgets what was not synced.
struct Floor {
    storage: StorageConfig,
    broker: Broker,
    disk: CrashingDisk,
    now: i64,
    ids: u64,
}

impl Floor {
    fn new() -> Self {
        Self::open(&CrashingDisk::new(), BEGIN)
    }

    fn open(disk: &CrashingDisk, now: i64) -> Self {
        Self::open_with(disk, now, |_| {})
    }

    fn open_with(disk: &CrashingDisk, now: i64, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        Self::try_open_with(disk, now, change).unwrap()
    }

    fn try_open(disk: &CrashingDisk, now: i64) -> Result<Self, BrokerOpenError> {
        Self::try_open_with(disk, now, |_| {})
    }

    fn try_open_with(
        disk: &CrashingDisk,
        now: i64,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Result<Self, BrokerOpenError> {
        let mut config = BrokerConfig {
            storage: small(),
            snapshot_records: 8,
            ..BrokerConfig::default()
        };
        change(&mut config);
        let storage = config.storage.clone();
        let mut seed = now.unsigned_abs();
        let random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.rotate_left(29)
        };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (root, at) = (Path::new(ROOT), Timestamp(now));
        let broker = Broker::open(shared, root, config, "a test", at, Box::new(random))?;
        let mut floor = Self {
            storage,
            broker,
            disk: disk.clone(),
            now,
            ids: now.unsigned_abs(),
        };
        floor.rounds();
        Ok(floor)
    }

    fn at(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn rounds(&mut self) {
        loop {
            let at = self.at();
            while let Some(round) = self.broker.plan_round(at) {
                self.broker.finish_round(round.run());
            }
            if self.disk.is_crashed() {
                return;
            }
            let Some(job) = self.broker.plan_upkeep(at) else {
                return;
            };
            self.broker.finish_upkeep(job.run(), at);
        }
    }

    /// What the keeper does when it looks.
    fn look(&mut self) {
        while self.broker.settle_asp(self.at()) {}
        self.rounds();
    }

    fn snapshots(&mut self) -> usize {
        let mut written = 0;
        while let Some(job) = self.broker.plan_snapshot() {
            let end = job.run();
            self.broker.finish_snapshot(&end);
            written += 1;
        }
        written
    }

    /// The same directory, opened again after an orderly or any other end.
    fn reopened(mut self) -> Self {
        self.rounds();
        let (disk, now, storage) = (self.disk.clone(), self.now + 1, self.storage.clone());
        drop(self);
        Self::open_with(&disk, now, |config| config.storage = storage)
    }

    fn is_done(&self, wait: Wait) -> bool {
        matches!(self.broker.outcome(wait), Outcome::Done)
    }

    /// What a change gave, once it is durable; not before.
    fn durable<T>(&mut self, accepted: Accepted<T>) -> T {
        assert!(!self.is_done(accepted.wait), "answered before its round");
        self.rounds();
        assert!(self.is_done(accepted.wait));
        accepted.value
    }

    /// What the default organisation's topics fold to.
    fn states(&self) -> (Agents, Sessions, Tools) {
        let mut states = self.broker.asp_states();
        let found = states.find(|(org, ..)| *org == OrgId::DEFAULT);
        found.map_or_else(Default::default, |(_, agents, sessions, tools)| {
            (agents.clone(), sessions.clone(), tools.clone())
        })
    }

    fn register(&mut self, name: &str) -> npayload::types::AgentId {
        let request = Register {
            name: AgentName::parse(name).unwrap(),
            profile: npayload::asp::registry::Profile::default(),
            public_key: None,
        };
        let at = self.at();
        let accepted = self.broker.register_agent(&ME, request, at).unwrap();
        self.durable(accepted).agent.agent
    }

    fn create(&mut self, participants: &[(&str, Role)]) -> SessionSeen {
        let at = self.at();
        let new = new_session(participants);
        let accepted = self.broker.create_session(&ME, new, at).unwrap();
        self.durable(accepted)
    }

    fn next_id(&mut self) -> MessageId {
        self.ids += 1;
        MessageId(u128::from(self.ids) << 80 | 7 << 76 | 2 << 62)
    }

    fn try_send(
        &mut self,
        session: SessionId,
        from: &str,
        said: Said,
    ) -> Result<Accepted<SentMessage>, Refusal> {
        let id = said.id.unwrap_or_else(|| self.next_id());
        self.try_send_as(&ME, session, from, said, id)
    }

    fn try_send_as(
        &mut self,
        by: &Principal,
        session: SessionId,
        from: &str,
        said: Said,
        id: MessageId,
    ) -> Result<Accepted<SentMessage>, Refusal> {
        let at = self.at();
        let from = AgentRef::parse(from).unwrap();
        let to = said.to.map(|to| AgentRef::parse(to).unwrap());
        let addressed = self
            .broker
            .address(by, session, &from, to.as_ref(), at)
            .map_err(Refusal::from)?;
        let message = Message {
            id,
            session,
            sender: addressed.sender,
            recipient: addressed.recipient,
            performative: said.performative,
            message_type: Some("test.said".to_owned()),
            payload: Digest::ZERO,
            in_reply_to: said.in_reply_to,
            constraints: said.constraints,
        };
        let payload = Canonical::of(&said.payload).unwrap();
        let send = Send::new(message, Some(payload), by.id).unwrap();
        let send = send.signed(None, addressed.key).map_err(|error| {
            Refusal::from(BrokerError::from(npayload::broker::asp::AspError::from(
                error,
            )))
        })?;
        self.broker.send_message(by, &send, None, None, at)
    }

    fn send(&mut self, session: SessionId, from: &str, said: Said) -> SentMessage {
        let accepted = self.try_send(session, from, said).unwrap();
        self.durable(accepted)
    }

    fn state_of(&self, session: SessionId) -> State {
        let (_, sessions, _) = self.states();
        sessions.session(session).unwrap().state
    }
}

/// A message of a test.
#[derive(Clone, Debug)]
struct Said {
    id: Option<MessageId>,
    to: Option<&'static str>,
    performative: Performative,
    payload: serde_json::Value,
    in_reply_to: Option<MessageId>,
    constraints: Constraints,
}

fn say(performative: Performative) -> Said {
    Said {
        id: None,
        to: None,
        performative,
        payload: serde_json::json!({"n": 1}),
        in_reply_to: None,
        constraints: Constraints::default(),
    }
}

fn new_session(participants: &[(&str, Role)]) -> NewSession {
    let refs = participants.iter();
    NewSession {
        topic: "a test".to_owned(),
        participants: refs
            .map(|(agent, role)| (AgentRef::parse(agent).unwrap(), *role))
            .collect(),
        ttl_ms: 3_600_000,
        invitation_ms: 30_000,
        limits: Limits::default(),
        metadata: serde_json::Map::default(),
    }
}

/// Three agents that nobody registered: one leads.
const TRIO: &[(&str, Role)] = &[
    ("lead", Role::Coordinator),
    ("writer", Role::Specialist),
    ("watcher", Role::Observer),
];
