//! One example of every request, every answer and an error, as values.

use bytes::{Bytes, BytesMut};
use npayload::access::{self, KeyKind, Operation, Pattern, Scope, Secret};
use npayload::protocol::access::*;
use npayload::protocol::control::*;
use npayload::protocol::frame::{MAX_CONTROL_FRAME_BYTES, MAX_FRAME_BYTES, decode_one};
use npayload::protocol::*;
use npayload::region::directory::Spread;
use npayload::types::*;

use super::asp_fixtures;

/// An example: the file's name without `.bin`, and what it holds.
pub struct Example {
    pub name: &'static str,
    pub message: Message,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Request(Request),
    Response(Response),
}

/// The correlation id of every example.
pub const CORRELATION: u64 = 7;

impl Message {
    pub fn version(&self) -> u16 {
        match self {
            Self::Request(request) => request.version(),
            Self::Response(response) => response.version(),
        }
    }

    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Request(request) => request.encode(CORRELATION, &mut bytes),
            Self::Response(response) => response.encode(CORRELATION, &mut bytes),
        }
        bytes.freeze()
    }

    /// Reads bytes as the kind of message that `self` is.
    pub fn decode_like(&self, bytes: &Bytes) -> Result<Self, String> {
        let decoder = match self {
            Self::Request(_) => FrameDecoder::requests(),
            Self::Response(_) => FrameDecoder::responses(MAX_FRAME_BYTES),
        };
        let frame = decode_one(decoder, bytes).map_err(|error| error.to_string())?;
        if frame.header.correlation != CORRELATION {
            return Err("another correlation id".to_owned());
        }
        match self {
            Self::Request(_) => Request::decode(frame)
                .map(Self::Request)
                .map_err(|error| error.to_string()),
            Self::Response(_) => Response::decode(frame)
                .map(Self::Response)
                .map_err(|error| error.to_string()),
        }
    }
}

/// A batch of two records as a producer sends it, written by hand from `storage-format.md`.
pub fn produced_batch() -> Vec<u8> {
    let mut records = Vec::new();
    record(
        &mut records,
        0,
        Some(b"u1"),
        "chat.message",
        &[("lang", b"en")],
        b"hello",
    );
    record(&mut records, 1, None, "", &[], b"");
    let mut batch = vec![0; 128];
    let records_len = u32::try_from(records.len()).unwrap();
    batch.extend_from_slice(&records);
    batch.resize(batch.len().next_multiple_of(8), 0);
    let length = u32::try_from(batch.len()).unwrap();
    put(&mut batch, 0, &length.to_le_bytes());
    put(&mut batch, 8, &1u16.to_le_bytes()); // version
    put(&mut batch, 72, &[1]); // not compressed
    put(&mut batch, 76, &2u32.to_le_bytes()); // record_count
    put(&mut batch, 80, &2u32.to_le_bytes()); // offset_span
    put(&mut batch, 84, &records_len.to_le_bytes()); // uncompressed_len
    put(&mut batch, 88, &PRODUCER.to_le_bytes());
    put(&mut batch, 104, &1u32.to_le_bytes()); // producer_epoch
    put(&mut batch, 108, &records_len.to_le_bytes());
    let crc = crc32fast::hash(&batch[72..]);
    put(&mut batch, 12, &crc.to_le_bytes());
    batch
}

/// The same batch as the broker stores and serves it.
pub fn stored_batch() -> Vec<u8> {
    let mut batch = produced_batch();
    put(&mut batch, 16, &INCARNATION.0.to_le_bytes());
    put(&mut batch, 32, &41u64.to_le_bytes()); // base_offset
    put(&mut batch, 40, &TIME.0.to_le_bytes());
    put(&mut batch, 48, &3u64.to_le_bytes()); // log_epoch
    let mut crc = crc32fast::Hasher::new();
    crc.update(&batch[0..4]);
    crc.update(&batch[8..72]);
    put(&mut batch, 4, &crc.finalize().to_le_bytes());
    batch
}

fn put(batch: &mut [u8], at: usize, bytes: &[u8]) {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
}

fn record(
    to: &mut Vec<u8>,
    offset_delta: u32,
    key: Option<&[u8]>,
    kind: &str,
    headers: &[(&str, &[u8])],
    payload: &[u8],
) {
    let start = to.len();
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let name_len = |text: &str| u16::try_from(text.len()).unwrap().to_le_bytes();
    to.extend_from_slice(&[0; 4]);
    to.extend_from_slice(&offset_delta.to_le_bytes());
    to.extend_from_slice(&0i64.to_le_bytes());
    to.extend_from_slice(&len(key.unwrap_or_default()));
    to.extend_from_slice(&name_len(kind));
    to.push(u8::try_from(headers.len()).unwrap());
    to.push(u8::from(key.is_some()) | 2);
    to.extend_from_slice(kind.as_bytes());
    to.extend_from_slice(key.unwrap_or_default());
    for (name, value) in headers {
        to.extend_from_slice(&name_len(name));
        to.extend_from_slice(&len(value));
        to.extend_from_slice(name.as_bytes());
        to.extend_from_slice(value);
    }
    to.extend_from_slice(payload);
    let length = u32::try_from(to.len() - start).unwrap();
    to[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

pub const INCARNATION: Incarnation = Incarnation(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
pub const PRODUCER: u128 = 0xf0e1_d2c3_b4a5_9687_7869_5a4b_3c2d_1e0f;
pub const TIME: Timestamp = Timestamp(1_700_000_000_123);

pub fn channel() -> ChannelName {
    ChannelName::parse("chat.log").unwrap()
}

fn consumer() -> ConsumerName {
    ConsumerName::parse("trainer-1").unwrap()
}

fn target(expected_offset: Option<Offset>) -> PublishTarget {
    PublishTarget {
        channel: channel(),
        incarnation: None,
        expected_offset,
    }
}

fn scrub() -> Scrub {
    Scrub {
        running: true,
        channel: Some("a.b".to_owned()),
        file: Some("channels/00000000000000000000000000000001/00000000000000000000.log".to_owned()),
        position: 1_048_576,
        pass_bytes: 3_145_728,
        last_pass_started_at: Some(TIME),
        last_pass_ended_at: Some(TIME),
        last_pass_bytes: Some(1 << 30),
        passes: 2,
        bytes: 1 << 31,
        damage_found: 1,
        indexes_rebuilt: 1,
        read_errors: 1,
        faults: vec![FileFault {
            file: "recovery-point".to_owned(),
            what: "reading: Input/output error (os error 5)".to_owned(),
            errno: Some(5),
        }],
    }
}

pub fn info() -> ChannelInfo {
    ChannelInfo {
        name: channel(),
        id: INCARNATION,
        incarnation: INCARNATION,
        log_start: Offset(0),
        flushed: Offset(43),
        high_watermark: Offset(43),
        log_end: Offset(43),
        bytes: 8192,
        segments: 1,
        created_at: TIME,
        log_epoch: LogEpoch(3),
        damage: vec![DamageRow {
            first_offset: Offset(10),
            end_offset: Offset(20),
            file: "channels/00112233445566778899aabbccddeeff/00000000000000000000.log".to_owned(),
            position: 4096,
            length: 512,
            what: "batch body checksum".to_owned(),
        }],
        writes_refused: None,
        errno: None,
        config: ChannelConfig {
            retention_days: Some(7),
            retention_bytes: None,
            durability: Durability::Synced,
            sync_interval_ms: 200,
            segment_bytes: 128 << 20,
            max_record_bytes: 1 << 20,
            encryption: Encryption::Off,
            regions: Spread::One,
            ack_regions: 1,
            compression: vec![
                CompressionName::None,
                CompressionName::Lz4,
                CompressionName::Zstd,
            ],
        },
        home: None,
        residency: None,
        encryption_key: None,
    }
}

fn lag_row() -> ConsumerLagRow {
    ConsumerLagRow {
        channel: channel(),
        consumer: consumer(),
        offset: Offset(41),
        metadata: "step 12".to_owned(),
        lag_records: 2,
        lag_bytes: 224,
        lag_ms: 1500,
        committed_at: TIME,
        repositioned: false,
    }
}

pub fn published() -> PublishResponse {
    PublishResponse {
        first_offset: Offset(41),
        last_offset: Offset(42),
        append_time: TIME,
        log_epoch: LogEpoch(3),
        incarnation: INCARNATION,
        level: Durability::Synced,
        duplicate: false,
    }
}

pub fn whereabouts() -> Whereabouts {
    Whereabouts {
        region: Some(RegionName::parse("us-east").unwrap()),
        held: 2,
        outbox: false,
    }
}

/// Every example.
pub fn examples() -> Vec<Example> {
    let mut all = Vec::new();
    for request in requests() {
        all.push((request.kind(), "request", Message::Request(request)));
    }
    for response in responses() {
        let kind = response.kind().unwrap();
        all.push((kind, "response", Message::Response(response)));
    }
    let mut all: Vec<_> = all
        .into_iter()
        .map(|(kind, side, message)| Example {
            name: name_of(kind, message.version(), side),
            message,
        })
        .collect();
    let error = WireError::new(
        ErrorCode::OffsetTrimmed,
        "offset 3 is below the log start 10",
    )
    .with("first", 10)
    .with("end", 43);
    all.push(Example {
        name: "error_response",
        message: Message::Response(Response::Error(error)),
    });
    all
}

fn name_of(kind: Kind, version: u16, side: &str) -> &'static str {
    let name = kind.name().replace('.', "_");
    match version {
        1 => format!("{name}_{side}"),
        version => format!("{name}_v{version}_{side}"),
    }
    .leak()
}

fn requests() -> Vec<Request> {
    let batch = || BytesMut::from(&produced_batch()[..]);
    vec![
        Request::Hello(HelloRequest {
            client: "golden".to_owned(),
            version: Some("0.1.0".to_owned()),
            api_key: None,
            min_version: 1,
            max_version: 1,
        }),
        Request::Ping,
        Request::Publish(PublishRequest {
            target: target(None),
            batch: batch(),
            asks: None,
        }),
        Request::Publish(PublishRequest {
            target: target(None),
            batch: batch(),
            asks: Some(PublishAsks {
                outbox: true,
                wait_ms: 5000,
            }),
        }),
        Request::PublishAtomic(PublishAtomicRequest {
            parts: vec![
                AtomicPart::Publish(PublishRequest {
                    target: target(None),
                    batch: batch(),
                    asks: None,
                }),
                AtomicPart::Commit(AtomicCommit {
                    channel: channel(),
                    consumer: consumer(),
                    offset: Offset(41),
                    expected_previous: ExpectedPosition::Any,
                    metadata: String::new(),
                }),
            ],
            asks: Some(PublishAsks::default()),
        }),
        Request::PublishAtomic(PublishAtomicRequest {
            parts: vec![
                AtomicPart::Publish(PublishRequest {
                    target: target(Some(Offset(41))),
                    batch: batch(),
                    asks: None,
                }),
                AtomicPart::Commit(AtomicCommit {
                    channel: channel(),
                    consumer: consumer(),
                    offset: Offset(41),
                    expected_previous: ExpectedPosition::At(Offset(40)),
                    metadata: "step 12".to_owned(),
                }),
            ],
            asks: None,
        }),
        Request::Fetch(FetchRequest {
            channel: channel(),
            incarnation: Some(INCARNATION),
            from: FetchFrom::Offset(Offset(42)),
            last_epoch: LogEpoch(3),
            max_bytes: 1 << 20,
            min_bytes: 1,
            max_wait_ms: 500,
        }),
        Request::FetchBeyond(Box::new(FetchBeyondRequest {
            lacking: Lacking::ReadHome,
            types: vec!["model.deployed".to_owned()],
            fetch: FetchRequest {
                channel: channel(),
                incarnation: Some(INCARNATION),
                from: FetchFrom::Offset(Offset(42)),
                last_epoch: LogEpoch(3),
                max_bytes: 1 << 20,
                min_bytes: 1,
                max_wait_ms: 500,
            },
        })),
        Request::Commit(CommitRequest {
            channel: channel(),
            incarnation: Some(INCARNATION),
            consumer: consumer(),
            offset: Offset(43),
            log_epoch: LogEpoch(3),
            expected_previous: ExpectedPosition::Absent,
            metadata: String::new(),
        }),
        Request::ChannelCreate(ChannelCreate {
            name: channel(),
            config: ConfigChange {
                retention_days: Some(None),
                durability: Some(Durability::Synced),
                ..ConfigChange::default()
            },
            if_not_exists: true,
            home: None,
            residency: None,
        }),
        Request::ChannelList(ChannelList {
            prefix: Some("chat.".to_owned()),
            limit: Some(100),
            ..ChannelList::default()
        }),
        Request::ChannelInfo(NamedChannel { name: channel() }),
        Request::ChannelUpdate(ChannelUpdate {
            name: channel(),
            config: ConfigChange {
                retention_bytes: Some(Some(1 << 30)),
                compression: Some(vec![CompressionName::None, CompressionName::Zstd]),
                ..ConfigChange::default()
            },
        }),
        Request::ChannelDelete(ChannelDelete {
            name: channel(),
            incarnation: None,
        }),
        Request::ChannelResolve(ChannelResolve {
            channel: channel(),
            at: Place::Back(10),
        }),
        Request::ConsumerList(OneChannel { channel: channel() }),
        Request::ConsumerPosition(ConsumerTarget {
            channel: channel(),
            consumer: consumer(),
        }),
        Request::ConsumerReset(ConsumerReset {
            channel: channel(),
            consumer: consumer(),
            to: Place::Start,
        }),
        Request::ConsumerLag(LagRequest { channel: None }),
        Request::ConsumerDelete(ConsumerTarget {
            channel: channel(),
            consumer: consumer(),
        }),
        Request::BrokerInfo(BrokerInfoRequest {}),
        Request::BrokerScrub(BrokerScrubRequest {}),
        Request::ChannelRotateKey(NamedChannel { name: channel() }),
    ]
    .into_iter()
    .chain(access_requests().into_iter().map(Request::Access))
    .chain(
        asp_fixtures::requests()
            .into_iter()
            .map(|request| Request::Asp(Box::new(request))),
    )
    .chain(super::region_fixtures::requests())
    .collect()
}

fn responses() -> Vec<Response> {
    vec![
        Response::Hello(HelloResponse {
            broker: "npayload".to_owned(),
            version: "0.1.0".to_owned(),
            protocol: VersionRange { min: 1, max: 1 },
            kinds: kind_rows(),
            limits: Limits {
                frame_bytes: MAX_FRAME_BYTES,
                control_frame_bytes: MAX_CONTROL_FRAME_BYTES,
                batch_bytes: (64 << 20) + (64 << 10),
                record_bytes: 64 << 20,
                in_flight_bytes: 256 << 20,
            },
            directory_id: INCARNATION,
            epoch: LogEpoch(3),
            principal: Some(PrincipalRow {
                id: PrincipalId(5),
                org: org("acme"),
                key: Some(KEY),
            }),
        }),
        Response::Pong,
        Response::Publish(published()),
        Response::PublishAt(published(), whereabouts()),
        Response::PublishAtomic(PublishAtomicResponse {
            published: vec![published()],
            committed: vec![Offset(41)],
        }),
        Response::PublishAtomicAt(
            PublishAtomicResponse {
                published: vec![published()],
                committed: vec![Offset(41)],
            },
            whereabouts(),
        ),
        Response::Fetch(FetchResponse {
            head: FetchHead {
                incarnation: INCARNATION,
                log_start: Offset(0),
                high_watermark: Offset(43),
                log_end: Offset(43),
                from_offset: Offset(42),
                log_epoch: LogEpoch(3),
            },
            batches: stored_batch().into(),
        }),
        Response::FetchBeyond(FetchResponse {
            head: FetchHead {
                incarnation: INCARNATION,
                log_start: Offset(0),
                high_watermark: Offset(43),
                log_end: Offset(43),
                from_offset: Offset(42),
                log_epoch: LogEpoch(3),
            },
            batches: stored_batch().into(),
        }),
        Response::Commit(CommitResponse { offset: Offset(43) }),
        Response::ChannelCreate(ChannelCreated {
            created: true,
            channel: info(),
        }),
        Response::ChannelList(ChannelPage {
            channels: vec![info()],
            cursor: Some("chat.log".to_owned()),
        }),
        Response::ChannelInfo(info()),
        Response::ChannelUpdate(ChannelInfo {
            writes_refused: Some("damage hides the end of the log".to_owned()),
            ..info()
        }),
        Response::ChannelDelete(ChannelDeleted {
            name: channel(),
            incarnation: INCARNATION,
        }),
        Response::ChannelResolve(Resolved {
            offset: Offset(33),
            log_start: Offset(0),
            high_watermark: Offset(43),
            log_end: Offset(43),
            log_epoch: LogEpoch(3),
            incarnation: INCARNATION,
        }),
        Response::ConsumerList(Consumers {
            consumers: vec![lag_row()],
        }),
        Response::ConsumerPosition(lag_row()),
        Response::ConsumerReset(lag_row()),
        Response::ConsumerLag(Consumers {
            consumers: Vec::new(),
        }),
        Response::ConsumerDelete(ConsumerDeleted {
            channel: channel(),
            consumer: consumer(),
        }),
        Response::BrokerInfo(BrokerInfo {
            version: "0.1.0".to_owned(),
            epoch: LogEpoch(3),
            directory_id: INCARNATION,
            started_at: TIME,
            channels: 1,
            connections: 2,
            health: Health {
                insecure: None,
                ok: false,
                writes_refused: None,
                damaged_channels: 0,
                refusing_channels: 1,
                locked_channels: 0,
                master_key: None,
                refusals: vec![ChannelRefusal {
                    channel: "__consumers".to_owned(),
                    reason: "syncing a segment: Input/output error (os error 5)".to_owned(),
                    errno: Some(5),
                }],
                errno: None,
                disk_free_bytes: Some(10_000_000_000),
                disk_limit_bytes: 67_108_864,
                scrub: Some(Box::new(scrub())),
            },
        }),
        Response::BrokerScrub(scrub()),
        Response::ChannelRotateKey(ChannelInfo {
            config: ChannelConfig {
                encryption: Encryption::On,
                ..info().config
            },
            encryption_key: Some(EncryptionKey {
                id: 2,
                created_at: TIME,
                from: Offset(43),
                keys: 2,
                locked: None,
            }),
            ..info()
        }),
    ]
    .into_iter()
    .chain(
        access_responses()
            .into_iter()
            .map(|answer| Response::Access(Box::new(answer))),
    )
    .chain(
        asp_fixtures::responses()
            .into_iter()
            .map(|answer| Response::Asp(Box::new(answer))),
    )
    .chain(super::region_fixtures::responses())
    .collect()
}

pub const KEY: KeyId = KeyId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0607);
const GRANT: GrantId = GrantId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0608);

pub fn org(name: &str) -> OrgName {
    OrgName::parse(name).unwrap()
}

/// The text of a key that opens nothing anywhere.
fn secret() -> ShownSecret {
    ShownSecret(Secret::new(KeyKind::Test, &[0xab; 32]))
}

fn scopes() -> Vec<Scope> {
    vec![Scope {
        operations: [Operation::Publish, Operation::Consume].into(),
        channels: vec!["chat.*".parse().unwrap(), "beta/orders".parse().unwrap()],
        agents: vec![Pattern::all()],
    }]
}

fn limits() -> access::Limits {
    access::Limits {
        requests_per_s: Some(1000),
        ..access::Limits::default()
    }
}

fn key_row() -> KeyRow {
    KeyRow {
        id: KEY,
        org: org("acme"),
        principal: PrincipalId(5),
        name: "chat service".to_owned(),
        kind: KeyKind::Test,
        hint: secret().0.hint(),
        certificate: None,
        scopes: scopes(),
        limits: limits(),
        created_at: TIME,
        expires_at: Some(Timestamp(TIME.0 + 86_400_000)),
        used_at: None,
        revoked_at: None,
        replaces: None,
    }
}

fn org_row() -> OrgRow {
    OrgRow {
        name: org("acme"),
        limits: limits(),
        created_at: TIME,
    }
}

fn grant_row(state: GrantState) -> GrantRow {
    GrantRow {
        id: GRANT,
        state,
        owner: org("acme"),
        guest: org("default"),
        proposer: org("acme"),
        channels: "orders.*".parse().unwrap(),
        operation: Operation::Consume,
        proposed_at: TIME,
        accepted_at: (state == GrantState::Active).then_some(TIME),
        expires_at: None,
        revoked_at: (state == GrantState::Revoked).then_some(TIME),
    }
}

fn access_requests() -> Vec<AccessRequest> {
    vec![
        AccessRequest::OrgCreate(OrgCreate {
            name: org("acme"),
            limits: limits(),
        }),
        AccessRequest::OrgList(OrgList {}),
        AccessRequest::OrgLimit(OrgLimit {
            name: org("acme"),
            limits: access::Limits::default(),
        }),
        AccessRequest::KeyCreate(KeyCreate {
            org: Some(org("acme")),
            name: "chat service".to_owned(),
            kind: KeyKind::Test,
            scopes: scopes(),
            limits: limits(),
            expires_at: Some(Timestamp(TIME.0 + 86_400_000)),
            certificate: Some("spiffe://acme/chat".to_owned()),
        }),
        AccessRequest::KeyList(KeyList { org: None }),
        AccessRequest::KeyRotate(KeyRotate {
            key: KEY,
            overlap_ms: 60_000,
        }),
        AccessRequest::KeyRevoke(KeyRevoke { key: KEY }),
        AccessRequest::GrantPropose(GrantPropose {
            owner: None,
            guest: Some(org("default")),
            channels: "orders.*".parse().unwrap(),
            operation: Operation::Consume,
            expires_at: None,
        }),
        AccessRequest::GrantList(GrantList { org: None }),
        AccessRequest::GrantAccept(GrantAccept { grant: GRANT }),
        AccessRequest::GrantRevoke(GrantRevoke { grant: GRANT }),
    ]
}

fn access_responses() -> Vec<AccessResponse> {
    let made = || KeyMade {
        key: key_row(),
        secret: secret(),
    };
    vec![
        AccessResponse::OrgCreate(org_row()),
        AccessResponse::OrgList(Orgs {
            orgs: vec![org_row()],
        }),
        AccessResponse::OrgLimit(org_row()),
        AccessResponse::KeyCreate(made()),
        AccessResponse::KeyList(Keys {
            keys: vec![key_row()],
        }),
        AccessResponse::KeyRotate(made()),
        AccessResponse::KeyRevoke(KeyRow {
            revoked_at: Some(TIME),
            ..key_row()
        }),
        AccessResponse::GrantPropose(grant_row(GrantState::Proposed)),
        AccessResponse::GrantList(Grants {
            grants: vec![grant_row(GrantState::Active)],
        }),
        AccessResponse::GrantAccept(grant_row(GrantState::Active)),
        AccessResponse::GrantRevoke(grant_row(GrantState::Revoked)),
    ]
}
