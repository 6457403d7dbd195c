//! The broker's words as the wire's: values as answers, refusals as errors of the table.

use crate::broker::config::{
    AllowedCompression, ChannelConfig, ConfigChange, Encryption, InvalidConfig,
};
use crate::broker::directory::{ChangeError, CreateError};
use crate::broker::producers::ProducerError;
use std::path::Path;

use crate::broker::{
    Broker, BrokerError, ChannelInfo, ChannelRefusal, Place, Published, TopicError,
};
use crate::consumer::CommitError as PositionError;
use crate::consumer::Expected;
use crate::format::DamageKind;
use crate::protocol::control;
use crate::protocol::{ErrorCode, ExpectedPosition, FetchFrom, PublishResponse, WireError};
use crate::region::directory::NameError;
use crate::region::interest::DeclareError;
use crate::storage::{Closed, CommitError, IoFailure, ReadError, StageError};
use crate::types::Timestamp;

/// How long a client should wait before it tries a retryable request again.
const RETRY_MS: u64 = 200;

pub(super) fn published(published: &Published) -> PublishResponse {
    PublishResponse {
        first_offset: published.first,
        last_offset: published.last,
        append_time: published.append_time,
        log_epoch: published.log_epoch,
        incarnation: published.incarnation,
        level: published.level,
        duplicate: published.is_duplicate,
    }
}

pub(super) fn fetch_from(from: FetchFrom) -> Place {
    match from {
        FetchFrom::Offset(offset) => Place::Offset(offset),
        FetchFrom::Start => Place::Start,
        FetchFrom::End => Place::End,
        FetchFrom::Time(time) => Place::Time(time),
    }
}

pub(super) fn place(place: control::Place) -> Place {
    match place {
        control::Place::Offset(offset) => Place::Offset(offset),
        control::Place::Start => Place::Start,
        control::Place::End => Place::End,
        control::Place::Time(time) => Place::Time(time),
        control::Place::Back(records) => Place::Back(records),
    }
}

pub(super) fn expected(expected: ExpectedPosition) -> Expected {
    match expected {
        ExpectedPosition::Any => Expected::Any,
        ExpectedPosition::Absent => Expected::Absent,
        ExpectedPosition::At(offset) => Expected::At(offset),
    }
}

pub(super) fn config_change(change: control::ConfigChange) -> ConfigChange {
    let compression = |names: Vec<control::CompressionName>| {
        names
            .into_iter()
            .map(|name| match name {
                control::CompressionName::None => AllowedCompression::None,
                control::CompressionName::Lz4 => AllowedCompression::Lz4,
                control::CompressionName::Zstd => AllowedCompression::Zstd,
            })
            .collect()
    };
    ConfigChange {
        retention_days: change.retention_days.map(|days| days.map(u64::from)),
        retention_bytes: change.retention_bytes,
        durability: change.durability,
        sync_interval_ms: change.sync_interval_ms,
        segment_bytes: change.segment_bytes,
        max_record_bytes: change.max_record_bytes.map(u64::from),
        compression: change.compression.map(compression),
        encryption: change.encryption.map(|encryption| match encryption {
            control::Encryption::Off => Encryption::Off,
            control::Encryption::On => Encryption::On,
        }),
        regions: change.regions,
        ack_regions: change.ack_regions,
    }
}

fn config(config: ChannelConfig) -> control::ChannelConfig {
    control::ChannelConfig {
        retention_days: config
            .retention_days
            .map(|days| u32::try_from(days).unwrap_or(u32::MAX)),
        retention_bytes: config.retention_bytes,
        durability: config.durability,
        sync_interval_ms: config.sync_interval_ms,
        segment_bytes: config.segment_bytes,
        max_record_bytes: u32::try_from(config.max_record_bytes).unwrap_or(u32::MAX),
        compression: config
            .compression
            .iter()
            .map(|allowed| match allowed {
                AllowedCompression::None => control::CompressionName::None,
                AllowedCompression::Lz4 => control::CompressionName::Lz4,
                AllowedCompression::Zstd => control::CompressionName::Zstd,
            })
            .collect(),
        encryption: match config.encryption {
            Encryption::Off => control::Encryption::Off,
            Encryption::On => control::Encryption::On,
        },
        regions: config.regions,
        ack_regions: config.ack_regions,
    }
}

pub(super) fn channel_info(info: ChannelInfo) -> control::ChannelInfo {
    let (segments, bytes) = info.size.unwrap_or_default();
    let damage = info.damage.iter().map(|row| control::DamageRow {
        first_offset: row.first_offset,
        end_offset: row.end_offset,
        file: format!(
            "channels/{}/{:020}.log",
            info.incarnation, row.segment_base.0
        ),
        position: row.position,
        length: row.length,
        what: damage_kind(row.what).to_owned(),
    });
    control::ChannelInfo {
        damage: damage.collect(),
        name: info.name,
        id: info.incarnation,
        incarnation: info.incarnation,
        log_start: info.log_start,
        flushed: info.flushed,
        high_watermark: info.high_watermark,
        log_end: info.log_end,
        bytes,
        segments: segments as u64,
        created_at: info.created_at,
        log_epoch: info.log_epoch,
        writes_refused: info.refused,
        errno: info.errno,
        config: config(info.config),
        home: info.home,
        residency: info.residency,
        encryption_key: info.key.map(|key| control::EncryptionKey {
            id: key.id,
            created_at: key.created_at,
            from: key.from,
            keys: key.keys as u64,
            locked: key.locked,
        }),
    }
}

pub(super) fn refusal(refusal: ChannelRefusal) -> control::ChannelRefusal {
    control::ChannelRefusal {
        channel: refusal.channel.to_string(),
        reason: refusal.reason,
        errno: refusal.errno,
    }
}

/// How many files are named at most.
const MOST_FAULTS: usize = 20;

/// Where the scrubber is.
pub(super) fn scrub(broker: &Broker, data_dir: &Path) -> control::Scrub {
    let status = broker.storage().scrub_status();
    let below = |path: &Path| {
        let path = path.strip_prefix(data_dir).unwrap_or(path);
        path.display().to_string()
    };
    let unreadable = status.unreadable.iter().map(|failure| control::FileFault {
        file: below(&failure.path),
        what: format!("{}: {}", failure.action, failure.source),
        errno: failure.source.raw_os_error(),
    });
    let faulty = status.faulty_files.iter().map(|faulty| control::FileFault {
        file: below(&faulty.path),
        what: faulty.what.clone(),
        errno: None,
    });
    let (log, file, position) = match &status.at {
        Some((log, path, position)) => (Some(*log), Some(below(path)), *position),
        None => (None, None, 0),
    };
    let name = log.and_then(|log| broker.name_of(log));
    control::Scrub {
        running: status.is_running,
        channel: name.map(ToString::to_string),
        file,
        position,
        pass_bytes: status.pass_bytes,
        last_pass_started_at: status.last_pass.map(|pass| pass.started_at),
        last_pass_ended_at: status.last_pass.map(|pass| pass.ended_at),
        last_pass_bytes: status.last_pass.map(|pass| pass.bytes),
        passes: status.passes,
        bytes: status.bytes,
        damage_found: status.damage_found,
        indexes_rebuilt: status.indexes_rebuilt,
        read_errors: status.read_errors,
        faults: faulty.chain(unreadable).take(MOST_FAULTS).collect(),
    }
}

fn damage_kind(kind: DamageKind) -> &'static str {
    match kind {
        DamageKind::JournalGroup => "a journal group that had reached no segment",
        DamageKind::SegmentBatch => "a batch in a segment",
        DamageKind::Reference => "bytes that a journal reference names",
        DamageKind::SegmentFile => "a segment file",
        DamageKind::Padding => "padding that should be zero",
    }
}

/// Why an entry was never acknowledged.
pub(super) fn never_acknowledged(error: &CommitError) -> WireError {
    match error {
        CommitError::Segment { .. } => {
            WireError::new(ErrorCode::ChannelPoisoned, error.to_string())
        }
        _ => WireError::new(ErrorCode::JournalFailed, error.to_string()),
    }
}

pub(super) fn refused(error: &BrokerError) -> WireError {
    let text = error.to_string();
    let plain = |code| WireError::new(code, text.clone());
    match error {
        BrokerError::NoSuchChannel { name } => {
            plain(ErrorCode::ChannelNotFound).with("channel", name.clone())
        }
        BrokerError::Recreated { expected, actual } => plain(ErrorCode::ChannelRecreated)
            .with("expected", expected.to_string())
            .with("actual", actual.to_string()),
        BrokerError::Held {
            channel,
            range,
            dispute,
        } => plain(ErrorCode::ChannelHeld)
            .with("channel", channel.clone())
            .with("disputeId", dispute.to_string())
            .with("start", range.start.0)
            .with("end", range.end.0),
        BrokerError::Internal { name } => {
            plain(ErrorCode::InternalTopic).with("channel", name.clone())
        }
        BrokerError::Create(error) => create(error, &text),
        BrokerError::Change(ChangeError::Config(error)) => invalid_config(error),
        BrokerError::Change(ChangeError::Internal { .. }) => plain(ErrorCode::InternalTopic),
        BrokerError::Change(_) => plain(ErrorCode::ChannelNotFound),
        BrokerError::Config(error) => invalid_config(error),
        BrokerError::TooManyChannels { found, limit } => plain(ErrorCode::TooManyChannels)
            .with("found", *found)
            .with("limit", *limit),
        BrokerError::Stage(error) => stage(error, &text),
        BrokerError::Producer(error) => producer(error, &text),
        BrokerError::Fenced(fenced) => plain(ErrorCode::Fenced)
            .with("token", fenced.token)
            .with("highest", fenced.highest),
        BrokerError::Position(error) => position(error, &text),
        BrokerError::Reset(error) => plain(ErrorCode::OffsetOutOfRange)
            .with("offset", error.offset.0)
            .with("start", error.available.start.0)
            .with("end", error.available.end.0),
        BrokerError::Delete(_) | BrokerError::NoSuchConsumer { .. } => {
            plain(ErrorCode::ConsumerNotFound)
        }
        BrokerError::UnknownPositions(error) => unknown_positions(error, &text),
        BrokerError::Read(error) => read(error, &text),
        BrokerError::Diverged {
            offset,
            seen,
            log_end,
        } => plain(ErrorCode::Diverged)
            .with("offset", offset.0)
            .with("seen", *seen)
            .with("end", log_end.0),
        BrokerError::KeyUnavailable {
            channel, key_id, ..
        } => plain(ErrorCode::KeyUnavailable)
            .with("channel", channel.clone())
            .with("key", *key_id),
        BrokerError::NoMasterKey { channel, .. } => {
            plain(ErrorCode::KeyUnavailable).with("channel", channel.clone())
        }
        BrokerError::NotEncrypted { channel } => {
            plain(ErrorCode::NotEncrypted).with("channel", channel.clone())
        }
        BrokerError::NotAuthentic {
            channel,
            offset,
            next,
            key_id,
        } => plain(ErrorCode::NotAuthentic)
            .with("channel", channel.clone())
            .with("offset", offset.0)
            .with("next", next.0)
            .with("key", *key_id),
        BrokerError::Atomic { .. } => plain(ErrorCode::InvalidRequest),
        BrokerError::Access(error) => super::access::refused(error),
        BrokerError::OrgLimit(error) => plain(ErrorCode::AccessLimit)
            .with("org", error.org.as_str())
            .with("field", error.field)
            .with("found", error.found.as_str())
            .with("limit", error.limit),
        BrokerError::Asp(error) => super::asp::refused(error),
        BrokerError::LivesElsewhere { channel, home } => plain(ErrorCode::NotHome)
            .with("channel", channel.clone())
            .with("home", home.as_str()),
        BrokerError::EachRegion { channel } => {
            plain(ErrorCode::EachRegion).with("channel", channel.clone())
        }
        BrokerError::Aside { file, .. } => {
            plain(ErrorCode::AsideUnreadable).with("file", file.as_str())
        }
        BrokerError::HomesUnknown {
            channel, region, ..
        } => plain(ErrorCode::Damaged)
            .with("channel", channel.clone())
            .with("region", region.as_str()),
        BrokerError::HomeMoving { channel, to } => plain(ErrorCode::HomeMoving)
            .with("channel", channel.clone())
            .with("to", to.as_str())
            .retry_after_ms(RETRY_MS),
        BrokerError::MoveRefused { channel, reason } => plain(ErrorCode::MoveRefused)
            .with("channel", channel.clone())
            .with("reason", reason.clone()),
        BrokerError::NotStopped { channel, .. } => {
            plain(ErrorCode::InvalidRequest).with("channel", channel.clone())
        }
        BrokerError::NotARegion => plain(ErrorCode::NotARegion),
        BrokerError::Unnamed { channel, directory } => plain(ErrorCode::RegionUnreachable)
            .with("region", directory.as_str())
            .with("channel", channel.clone())
            .retry_after_ms(500),
        BrokerError::InvalidPeer { .. } => plain(ErrorCode::InvalidRequest),
        BrokerError::Name(error) => unnamed(error, &text),
        BrokerError::NoConsent { channel, region } => plain(ErrorCode::NoConsent)
            .with("channel", channel.clone())
            .with("region", region.as_str()),
        BrokerError::Interest(error) => undeclared(error, &text),
        BrokerError::NoSuchInterest { pattern } => {
            plain(ErrorCode::InterestNotFound).with("pattern", pattern.clone())
        }
        BrokerError::NotPurged { channel, .. } => {
            plain(ErrorCode::PurgeRefused).with("channel", channel.clone())
        }
        BrokerError::NoOutbox { channel, .. } => {
            plain(ErrorCode::OutboxRefused).with("channel", channel.clone())
        }
        BrokerError::CopyPartial { from, types, .. } => {
            let error = plain(ErrorCode::CopyPartial).with("from", from.0);
            match types {
                Some(types) => error.with("types", types.clone()),
                None => error,
            }
        }
        BrokerError::NotCopied { .. } | BrokerError::NotBeside { .. } => plain(ErrorCode::Internal),
        BrokerError::NoSecret => plain(ErrorCode::Internal),
        BrokerError::Io(failure) => io(failure),
        BrokerError::Bug(_) => plain(ErrorCode::Internal),
    }
}

fn create(error: &CreateError, text: &str) -> WireError {
    match error {
        CreateError::Exists { name, incarnation } => WireError::new(ErrorCode::ChannelExists, text)
            .with("channel", name.to_string())
            .with("incarnation", incarnation.to_string()),
        CreateError::Config(error) => invalid_config(error),
        CreateError::Internal { .. } => WireError::new(ErrorCode::InternalTopic, text),
        CreateError::NamesLog { .. } => WireError::new(ErrorCode::InvalidName, text),
        _ => WireError::new(ErrorCode::Internal, text),
    }
}

fn unnamed(error: &NameError, text: &str) -> WireError {
    let plain = |code| WireError::new(code, text);
    match error {
        NameError::Exists { channel } => {
            plain(ErrorCode::ChannelExists).with("channel", channel.as_str())
        }
        NameError::UnknownRegion { region } => {
            plain(ErrorCode::UnknownRegion).with("region", region.as_str())
        }
        NameError::NoConsent { channel, region } => plain(ErrorCode::NoConsent)
            .with("channel", channel.as_str())
            .with("region", region.as_str()),
        NameError::TooFewRegions {
            wanted, allowed, ..
        } => plain(ErrorCode::InvalidRequest)
            .with("wanted", *wanted)
            .with("allowed", *allowed),
    }
}

/// Whose limit it is that an organisation met is in the details: its own, or the region's.
fn undeclared(error: &DeclareError, text: &str) -> WireError {
    let plain = WireError::new(ErrorCode::InvalidRequest, text);
    match error {
        DeclareError::TooManyOfOrg { org, found, limit } => plain
            .with("org", org.as_str())
            .with("found", *found)
            .with("limit", *limit),
        DeclareError::TooManyOfRegion { found, limit } => {
            plain.with("found", *found).with("limit", *limit)
        }
        _ => plain,
    }
}

fn invalid_config(error: &InvalidConfig) -> WireError {
    WireError::new(ErrorCode::InvalidConfig, error.to_string())
        .with("field", error.field)
        .with("value", error.value.clone())
        .with("rule", error.rule.clone())
}

fn stage(error: &StageError, text: &str) -> WireError {
    let plain = |code| WireError::new(code, text);
    match error {
        StageError::NoSuchLog(_) => plain(ErrorCode::ChannelNotFound),
        StageError::WrongOffset { expected, actual } => plain(ErrorCode::ExpectedOffsetMismatch)
            .with("expected", expected.0)
            .with("actual", actual.0),
        StageError::Busy => plain(ErrorCode::Overloaded).retry_after_ms(RETRY_MS),
        StageError::DiskFull(shortage) => plain(ErrorCode::DiskFull)
            .with("free", shortage.free)
            .with("limit", shortage.limit)
            .with("reopens", shortage.reopens)
            .retry_after_ms(5 * RETRY_MS),
        StageError::TooLarge { found, limit } => plain(ErrorCode::AtomicTooLarge)
            .with("found", *found)
            .with("limit", *limit),
        StageError::Refused { reason, .. } => plain(match reason {
            Closed::Damaged(_) => ErrorCode::Damaged,
            Closed::Failed(_) => ErrorCode::ChannelPoisoned,
            Closed::Cutting => ErrorCode::HomeMoving,
        }),
        StageError::JournalFailed(_) => plain(ErrorCode::JournalFailed),
        StageError::EpochFell { .. } | StageError::TimeFell { .. } => plain(ErrorCode::Internal),
    }
}

fn producer(error: &ProducerError, text: &str) -> WireError {
    let plain = |code| WireError::new(code, text);
    match error {
        ProducerError::Unknown { sequence } => {
            plain(ErrorCode::UnknownProducer).with("sequence", *sequence)
        }
        ProducerError::Gap { expected, found } => plain(ErrorCode::SequenceGap)
            .with("expected", *expected)
            .with("actual", *found),
        ProducerError::Fenced {
            epoch,
            highest_epoch,
        } => plain(ErrorCode::ProducerFenced)
            .with("epoch", *epoch)
            .with("highest", *highest_epoch),
        ProducerError::TooOld { oldest, found } => plain(ErrorCode::SequenceTooOld)
            .with("oldest", *oldest)
            .with("found", *found),
        ProducerError::Overlap {
            expected, found, ..
        } => plain(ErrorCode::SequenceGap)
            .with("expected", *expected)
            .with("actual", *found),
    }
}

fn position(error: &PositionError, text: &str) -> WireError {
    let plain = |code| WireError::new(code, text);
    match error {
        PositionError::PositionMismatch { expected, actual } => plain(ErrorCode::PositionMismatch)
            .with(
                "expected",
                match expected {
                    Expected::At(offset) => offset.0.into(),
                    Expected::Any | Expected::Absent => serde_json::Value::Null,
                },
            )
            .with(
                "actual",
                actual.map_or(serde_json::Value::Null, |offset| offset.0.into()),
            ),
        PositionError::BeyondLogEnd {
            offset,
            log_start,
            log_end,
        } => plain(ErrorCode::OffsetOutOfRange)
            .with("offset", offset.0)
            .with("start", log_start.0)
            .with("end", log_end.0),
        PositionError::MetadataTooLarge { found, limit } => plain(ErrorCode::MetadataTooLarge)
            .with("found", *found)
            .with("limit", *limit),
    }
}

fn read(error: &ReadError, text: &str) -> WireError {
    let plain = |code| WireError::new(code, text);
    match error {
        ReadError::NoSuchLog(_) => plain(ErrorCode::ChannelNotFound),
        ReadError::OutOfRange { offset, available } => {
            let code = if *offset < available.start {
                ErrorCode::OffsetTrimmed
            } else {
                ErrorCode::OffsetOutOfRange
            };
            plain(code)
                .with("offset", offset.0)
                .with("first", available.start.0)
                .with("start", available.start.0)
                .with("end", available.end.0)
        }
        ReadError::Damaged {
            segment,
            position,
            offset,
            next,
            ..
        } => plain(ErrorCode::Damaged)
            .with("file", segment.display().to_string())
            .with("position", *position)
            .with("offset", offset.0)
            .with(
                "next",
                next.map_or(serde_json::Value::Null, |offset| offset.0.into()),
            ),
        ReadError::Diverged {
            offset,
            seen,
            found,
        } => plain(ErrorCode::Diverged)
            .with("offset", offset.0)
            .with("seen", *seen)
            .with("found", *found),
        ReadError::Io(failure) => io(failure),
    }
}

/// Names the topic and, where it is known, the place.
fn unknown_positions(error: &TopicError, text: &str) -> WireError {
    let damaged = WireError::new(ErrorCode::Damaged, text);
    let of = |topic: &str| damaged.clone().with("channel", topic);
    match error {
        TopicError::Batch { topic, .. } => of(topic),
        TopicError::Record { topic, offset, .. } | TopicError::Event { topic, offset, .. } => {
            of(topic).with("offset", offset.0)
        }
        TopicError::Closed { topic, end, .. } => of(topic).with("offset", end.0),
        TopicError::Lost { topic, lost } => of(topic).with("offset", lost.start.0),
        TopicError::Read { topic, source } => match &**source {
            ReadError::Damaged {
                segment,
                position,
                offset,
                ..
            } => of(topic)
                .with("file", segment.display().to_string())
                .with("position", *position)
                .with("offset", offset.0),
            ReadError::Io(failure) => of(topic).with("file", failure.path.display().to_string()),
            _ => of(topic),
        },
    }
}

fn io(failure: &IoFailure) -> WireError {
    let text = failure.to_string();
    if failure.is_out_of_files() {
        return WireError::new(ErrorCode::Overloaded, text).retry_after_ms(RETRY_MS);
    }
    WireError::new(ErrorCode::Internal, text)
}

/// Milliseconds from `then` to `now`, never negative.
pub(super) fn since(then: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.0.saturating_sub(then.0)).unwrap_or(0)
}
