//! A broker behind the server's doors, with master keys, over a disk that can be looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use npayload::broker::config::{ChannelConfig, Encryption};
use npayload::format::{BatchBuilder, BatchHeader, Compression, NewRecord, check_stored, records};
use npayload::keys::MasterKeys;
use npayload::protocol::control::{
    self, BrokerInfoRequest, ChannelCreate, ChannelInfo, ChannelUpdate, ConfigChange, Health,
    NamedChannel,
};
use npayload::protocol::{
    FetchFrom, FetchRequest, PublishRequest, PublishTarget, Request, Response, WireError,
};
use npayload::server::{Desk, ServeOptions};
use npayload::storage::disk::{CrashingDisk, Disk, OpenMode};
use npayload::types::{ChannelName, LogEpoch, Offset};

pub const ROOT: &str = "/data";

/// What is on nobody's disk unless it was stored in plain.
pub const CANARY: &[u8] = b"the canary sings at noon";

pub fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

/// Master keys of 32 times each byte; the first wraps.
pub fn masters(bytes: &[u8]) -> MasterKeys {
    if bytes.is_empty() {
        return MasterKeys::default();
    }
    let lines: Vec<String> = bytes
        .iter()
        .map(|byte| format!("{byte:02x}").repeat(32))
        .collect();
    MasterKeys::parse(&lines.join("\n")).unwrap()
}

/// A broker that is asked one thing at a time.
pub struct Office {
    pub disk: CrashingDisk,
    desk: Desk,
}

/// What a test may set.
#[derive(Clone, Default)]
pub struct Settings {
    pub masters: MasterKeys,
    /// Channels that are made by a publish are encrypted.
    pub is_default: bool,
    pub max_key_offsets: Option<u64>,
}

impl Settings {
    pub fn with(masters: MasterKeys) -> Self {
        Self {
            masters,
            ..Self::default()
        }
    }
}

fn options(settings: Settings) -> ServeOptions {
    let mut options = ServeOptions::default();
    let broker = &mut options.broker;
    broker.master_keys = settings.masters;
    broker.max_key_offsets = settings.max_key_offsets.unwrap_or(broker.max_key_offsets);
    broker.defaults = ChannelConfig {
        segment_bytes: 16 * 1024,
        retention_days: None,
        ..ChannelConfig::default()
    };
    if settings.is_default {
        broker.defaults.encryption = Encryption::On;
    }
    let storage = &mut broker.storage;
    storage.journal_file_bytes = 64 * 1024;
    storage.journal_files = 3;
    storage.max_round_bytes = 16 * 1024;
    storage.direct_bytes = 4 * 1024;
    storage.always_direct_bytes = 8 * 1024;
    storage.write_behind_bytes = 512;
    storage.max_unwritten_bytes = 64 * 1024;
    storage.min_free_bytes = 0;
    options
}

impl Office {
    pub fn open(disk: CrashingDisk, settings: Settings) -> Self {
        // As the operating system's would be: never the same twice.
        let random = || uuid_bits();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let desk = Desk::open(shared, Path::new(ROOT), options(settings), Box::new(random));
        Self {
            disk,
            desk: desk.unwrap(),
        }
    }

    pub fn with_keys(bytes: &[u8]) -> Self {
        Self::open(CrashingDisk::new(), Settings::with(masters(bytes)))
    }

    /// Stops in order, and starts with other master keys.
    pub fn restart(self, settings: Settings) -> Self {
        assert!(self.desk.stop(), "a clean stop");
        Self::open(self.disk, settings)
    }

    pub fn ask(&self, request: Request) -> Result<Response, WireError> {
        match self.desk.ask(request) {
            Response::Error(error) => Err(error),
            response => Ok(response),
        }
    }

    pub fn keep(&self) {
        self.desk.keep();
    }

    pub fn retain(&self) {
        self.desk.retain();
    }

    pub fn create(&self, channel: &str, encryption: control::Encryption) -> Result<(), WireError> {
        let config = ConfigChange {
            encryption: Some(encryption),
            ..ConfigChange::default()
        };
        let create = ChannelCreate {
            name: name(channel),
            config,
            if_not_exists: false,
            home: None,
            residency: None,
        };
        self.ask(Request::ChannelCreate(create)).map(drop)
    }

    pub fn update(&self, channel: &str, config: ConfigChange) -> Result<ChannelInfo, WireError> {
        let name = name(channel);
        match self.ask(Request::ChannelUpdate(ChannelUpdate { name, config }))? {
            Response::ChannelUpdate(info) => Ok(info),
            other => panic!("{other:?}"),
        }
    }

    pub fn turn(
        &self,
        channel: &str,
        encryption: control::Encryption,
    ) -> Result<ChannelInfo, WireError> {
        let config = ConfigChange {
            encryption: Some(encryption),
            ..ConfigChange::default()
        };
        self.update(channel, config)
    }

    pub fn rotate(&self, channel: &str) -> Result<ChannelInfo, WireError> {
        let name = name(channel);
        match self.ask(Request::ChannelRotateKey(NamedChannel { name }))? {
            Response::ChannelRotateKey(info) => Ok(info),
            other => panic!("{other:?}"),
        }
    }

    pub fn info(&self, channel: &str) -> ChannelInfo {
        let name = name(channel);
        match self
            .ask(Request::ChannelInfo(NamedChannel { name }))
            .unwrap()
        {
            Response::ChannelInfo(info) => info,
            other => panic!("{other:?}"),
        }
    }

    pub fn health(&self) -> Health {
        match self.ask(Request::BrokerInfo(BrokerInfoRequest {})).unwrap() {
            Response::BrokerInfo(info) => info.health,
            other => panic!("{other:?}"),
        }
    }

    /// Publishes one batch; gives its first offset.
    pub fn publish(&self, channel: &str, batch: BytesMut) -> Result<u64, WireError> {
        let target = PublishTarget {
            channel: name(channel),
            incarnation: None,
            expected_offset: None,
        };
        match self.ask(Request::Publish(PublishRequest {
            target,
            batch,
            asks: None,
        }))? {
            Response::Publish(published) => Ok(published.first_offset.0),
            other => panic!("{other:?}"),
        }
    }

    /// One fetch, as its answer comes: checked stored batches.
    pub fn fetch(&self, channel: &str, from: u64) -> Result<Vec<Bytes>, WireError> {
        let fetch = FetchRequest {
            channel: name(channel),
            incarnation: None,
            from: FetchFrom::Offset(Offset(from)),
            last_epoch: LogEpoch(0),
            max_bytes: 20_000,
            min_bytes: 1,
            max_wait_ms: 0,
        };
        let Response::Fetch(fetched) = self.ask(Request::Fetch(fetch))? else {
            panic!("not a fetch");
        };
        let mut rest = fetched.batches;
        let mut batches = Vec::new();
        while !rest.is_empty() {
            let header = BatchHeader::peek(&rest).unwrap();
            let batch = rest.split_to(header.len());
            assert_eq!(check_stored(&batch).unwrap().key_id(), 0, "in plain");
            batches.push(batch);
        }
        Ok(batches)
    }

    /// The producers' parts of all batches from an offset on, by base offset.
    pub fn read_all(&self, channel: &str, from: u64) -> Result<BTreeMap<u64, Bytes>, WireError> {
        let mut all = BTreeMap::new();
        let mut next = from;
        loop {
            let batches = self.fetch(channel, next)?;
            let Some(last) = batches.last() else {
                return Ok(all);
            };
            next = check_stored(last).unwrap().end_offset().0;
            for batch in batches {
                let header = check_stored(&batch).unwrap();
                all.insert(header.base_offset().0, batch.slice(72..));
            }
        }
    }

    pub fn first_payload(&self, channel: &str, offset: u64) -> Result<Bytes, WireError> {
        let batches = self.fetch(channel, offset)?;
        let record = records(&batches[0]).unwrap().next().unwrap().unwrap();
        Ok(record.payload.unwrap())
    }
}

/// A batch whose every part holds the canary, and so many bytes besides.
pub fn batch(compression: Compression, more: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(compression);
    let mut payload = CANARY.to_vec();
    payload.extend((0..more).map(|at| u8::try_from(at * at % 251).unwrap()));
    let canary = std::str::from_utf8(CANARY).unwrap();
    for _ in 0..2 {
        builder
            .push(&NewRecord {
                record_type: canary,
                key: Some(CANARY),
                headers: &[(canary, CANARY)],
                payload: Some(&payload),
                event_time: None,
            })
            .unwrap();
    }
    builder.build().unwrap()
}

/// All files of a disk.
pub fn files(disk: &CrashingDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    collect(disk, Path::new(ROOT), &mut found);
    found
}

fn collect(disk: &CrashingDisk, dir: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in disk.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            collect(disk, &path, found);
            continue;
        }
        let file = disk.open(&path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(entry.len).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        found.push((path, bytes));
    }
}

/// The files in which something is found.
pub fn showing(disk: &CrashingDisk, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = files(disk);
    let shows = |bytes: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
    found.retain(|(_, bytes)| shows(bytes));
    found.into_iter().map(|(path, _)| path).collect()
}

/// 64 bits that no other call gives.
fn uuid_bits() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
