//! Organisations, keys and grants on the record: kept over restarts and crashes, or the start is
//! refused; and the file under which keys are hashed.

mod audit;
mod changes;
mod command;
mod damage;
mod secret_file;

use std::path::Path;
use std::sync::Arc;

use npayload::access::{
    GrantRequest, Key, KeyKind, KeyRequest, Limits, Operation, Principal, Scope, Secret,
};
use npayload::broker::{
    Accepted, Broker, BrokerConfig, BrokerError, BrokerOpenError, Refusal, Wait,
};
use npayload::storage::Outcome;
use npayload::storage::disk::{CrashingDisk, Disk, OpenMode};
use npayload::types::{ChannelName, Incarnation, OrgId, OrgName, Timestamp};

use crate::storage_harness::{CHECKPOINT_MS, ROOT, small};

const ME: Principal = Principal::LOCAL;

/// A broker without threads, on a disk that forgets what was not synced.
struct Desk {
    broker: Broker,
    disk: CrashingDisk,
    now: i64,
}

impl Desk {
    fn new() -> Self {
        Self::open(&CrashingDisk::new(), 1_000).unwrap()
    }

    fn open(disk: &CrashingDisk, now: i64) -> Result<Self, BrokerOpenError> {
        Self::open_with(disk, now, |_| {})
    }

    fn open_with(
        disk: &CrashingDisk,
        now: i64,
        change: fn(&mut BrokerConfig),
    ) -> Result<Self, BrokerOpenError> {
        let mut config = BrokerConfig {
            storage: small(),
            ..BrokerConfig::default()
        };
        change(&mut config);
        let mut seed = now.unsigned_abs();
        let random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.rotate_left(29)
        };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let root = Path::new(ROOT);
        let at = Timestamp(now);
        let broker = Broker::open(shared, root, config, "a test", at, Box::new(random))?;
        let disk = disk.clone();
        let mut desk = Self { broker, disk, now };
        desk.rounds();
        Ok(desk)
    }

    /// The same on a disk that `change` was made to, which lost nothing.
    fn reopened(mut self) -> Result<Self, BrokerOpenError> {
        self.rounds();
        let (disk, now) = (self.disk.clone(), self.now + 1);
        drop(self);
        Self::open(&disk, now)
    }

    fn at(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn rounds(&mut self) {
        loop {
            while let Some(round) = self.broker.plan_round(self.at()) {
                self.broker.finish_round(round.run());
            }
            // The ring of the journal is small: what waits for room in it gets some.
            let Some(job) = self.broker.plan_upkeep(self.at()) else {
                return;
            };
            let at = self.at();
            self.broker.finish_upkeep(job.run(), at);
        }
    }

    /// Rounds and upkeep until neither has work, a checkpoint with them.
    fn settle(&mut self) {
        self.now += CHECKPOINT_MS;
        self.rounds();
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

    fn make_secret(&mut self) {
        if let Some(job) = self.broker.plan_secret() {
            self.broker.finish_secret(job.run()).unwrap();
        }
    }

    fn org(&mut self, text: &str) -> OrgId {
        let at = self.at();
        let limits = Limits::default();
        let made = self.broker.create_org(&ME, org_name(text), limits, at);
        self.durable(made.unwrap()).org
    }

    fn try_key(&mut self, by: &Principal, org: OrgId) -> Result<Accepted<(Key, Secret)>, Refusal> {
        let at = self.at();
        self.broker.create_key(by, key_request(org), at)
    }

    fn key(&mut self, org: OrgId) -> (Key, Secret) {
        self.make_secret();
        let made = self.try_key(&ME, org).unwrap();
        self.durable(made)
    }

    fn info(&self, name: &str) -> npayload::broker::ChannelInfo {
        let name = ChannelName::parse_any(name).unwrap();
        self.broker.channel_info(&name).unwrap().value
    }

    fn topic(&self) -> Incarnation {
        self.info("__access").incarnation
    }
}

fn org_name(text: &str) -> OrgName {
    OrgName::parse(text).unwrap()
}

fn key_request(org: OrgId) -> KeyRequest {
    KeyRequest {
        org,
        name: "ci".to_owned(),
        kind: KeyKind::Test,
        scopes: vec![Scope::all()],
        limits: Limits::default(),
        expires_at: None,
        certificate: None,
    }
}

fn grant_request(owner: OrgId, guest: OrgId) -> GrantRequest {
    GrantRequest {
        owner,
        guest,
        channels: "shared.*".parse().unwrap(),
        operation: Operation::Consume,
        expires_at: None,
    }
}

fn refused<T>(result: Result<T, Refusal>) -> Refusal {
    match result {
        Ok(_) => panic!("taken"),
        Err(refusal) => refusal,
    }
}

/// Every file of the disk, with its bytes.
fn files(disk: &CrashingDisk, dir: &Path, found: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
    for entry in disk.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            files(disk, &path, found);
            continue;
        }
        let file = disk.open(&path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        found.push((path, bytes));
    }
}

fn all_files(disk: &CrashingDisk) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    files(disk, Path::new(ROOT), &mut found);
    found
}
